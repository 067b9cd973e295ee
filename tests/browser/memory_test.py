#!/usr/bin/env python3
"""Measures the memory of the web page and of its herd over time, under a walking load.

usage: PROXYHERD=target/release/proxyherd memory_test.py [--minutes N] [--clients N] [--rate N] [--csv FILE]

Starts a herd of five processes, the load of `proxyherd bench --walk`, and the page of the first
server in chromium. Each minute it collects the page's garbage and prints a line: the JavaScript
heap, the nodes and the event listeners of the page, the resident memory of its renderer and of
the largest server, and the frames drawn. The exit code is 0 if the page did not grow (GROWTH)
from the first half of the time after the warm-up to the second.

Needs Debian's chromium and no package. The browser is driven through a pipe and not by
Playwright, which has the browser keep the bodies of all responses: 5 MB a minute here.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import herds

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,800",
    "--remote-debugging-pipe",
]

# Minutes in which lists, charts (ten minutes) and buffers fill.
WARM_UP = 12
# Growth that counts as noise, as a share.
GROWTH = 0.05
FIELDS = ["minute", "heap_kb", "nodes", "listeners", "renderer_kb", "server_kb", "clients", "frames"]


def resident_kb(pid):
    """Returns the resident memory of a process, or 0 if there is none."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")), 0)


class Browser:
    """A page in a browser, through the DevTools protocol: JSON, each message with a zero byte."""

    def __init__(self, profile):
        # The browser reads file 3 and writes file 4.
        (its_input, self.output), (own_input, its_output) = os.pipe(), os.pipe()
        move = f'exec "$@" 3<&{its_input} 4>&{its_output}'
        command = ["bash", "-c", move, "bash", CHROMIUM, *ARGUMENTS, f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(
            command, pass_fds=[its_input, its_output], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(its_input)
        os.close(its_output)
        self.input = os.fdopen(own_input, "rb")
        self.number, self.rest, self.session = 0, b"", None

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.output, json.dumps(message).encode() + b"\0")
        while True:
            answer = json.loads(self.read())
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def read(self):
        while b"\0" not in self.rest:
            chunk = self.input.read1()
            if not chunk:
                raise EOFError("the browser ended")
            self.rest += chunk
        message, self.rest = self.rest.split(b"\0", 1)
        return message

    def open(self, url):
        target = self.call("Target.createTarget", url=url)["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def evaluate(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait(self, expression):
        end = time.monotonic() + 300
        while time.monotonic() < end:
            # While a page loads, there is nothing to ask.
            with contextlib.suppress(RuntimeError):
                if value := self.evaluate(expression):
                    return value
            time.sleep(0.2)
        raise AssertionError(f"not within 300 s: {expression}")


def largest_renderer(profile):
    """Returns the resident memory of the page's process: the largest renderer of the browser."""
    largest = 0
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = path.read_bytes()
            if b"--type=renderer" in command and profile.encode() in command:
                largest = max(largest, resident_kb(path.parent.name))
    return largest


def sample(browser, profile, servers, minute):
    browser.call("HeapProfiler.collectGarbage")
    heap = browser.call("Runtime.getHeapUsage")["usedSize"]
    counters = browser.call("Memory.getDOMCounters")
    clients, frames = browser.evaluate("[proxyherd.store.size, proxyherd.map.frames]")
    return {
        "minute": minute,
        "heap_kb": round(heap / 1024),
        "nodes": counters["nodes"],
        "listeners": counters["jsEventListeners"],
        "renderer_kb": largest_renderer(profile),
        "server_kb": max(map(resident_kb, servers)),
        "clients": clients,
        "frames": frames,
    }


def growth(samples, field):
    """Returns the growth of the median from the first half to the second."""
    values = [it[field] for it in samples if it["minute"] >= WARM_UP]
    half = len(values) // 2
    first, second = statistics.median(values[:half]), statistics.median(values[half:])
    return second / first - 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--csv", type=pathlib.Path)
    options = parser.parse_args()
    if options.minutes < WARM_UP + 4:
        parser.error(f"--minutes: at least {WARM_UP + 4}, of which {WARM_UP} are a warm-up")
    program = pathlib.Path(os.environ["PROXYHERD"]).resolve()
    output = options.csv.open("w") if options.csv else sys.stdout
    samples = []
    with herds.processes(program, walkers=0) as herd:
        command = [program, "bench", "--walk", "--no-verify", "--timeout=60", "--rate", str(options.rate)]
        command += ["--clients", str(options.clients), "--seconds", str(60 * options.minutes + 120)]
        command += [f"--server={address}" for address in herd.clients]
        load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        profile = str(herd.folder / "profile")
        browser = Browser(profile)
        try:
            browser.open(herd.base)
            client = browser.wait("globalThis.proxyherd?.store.ids[0]")
            # A client that is open is asked for again and again, and the graph is drawn.
            browser.evaluate(f"location.hash = 'client={client}'; location.reload()")
            browser.wait("globalThis.proxyherd?.store.size > 0")
            browser.evaluate("document.getElementById('tab-herd').click()")
            servers = [it.pid for it in herd.running.values()]
            print(",".join(FIELDS), file=output, flush=True)
            start = time.monotonic()
            for minute in range(1, options.minutes + 1):
                time.sleep(max(0, start + 60 * minute - time.monotonic()))
                if load.poll() is not None:
                    raise AssertionError(f"the load ended with {load.returncode}")
                samples.append(sample(browser, profile, servers, minute))
                print(",".join(str(samples[-1][field]) for field in FIELDS), file=output, flush=True)
        finally:
            for process in (browser.process, load):
                process.terminate()
                process.wait()
    fields = ["heap_kb", "nodes", "listeners", "renderer_kb", "server_kb"]
    grown = {field: growth(samples, field) for field in fields}
    for field, share in grown.items():
        print(f"{field}: {share:+.1%}")
    return 1 if max(grown.values()) > GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())

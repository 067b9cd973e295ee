#!/usr/bin/env python3
"""Tries the web page in a real browser, as a person would.

usage: page_test.py [--base URL [--token TEXT]] [--pictures FOLDER] [--check NAME]

Needs Debian's chromium, and the Python packages playwright and axe-playwright-python.

Without --base, the page comes from mock_server.py or, if PROXYHERD names the program, from the
first server of a herd of five processes with a walking load (README.md). With --base, from a
server that runs already; checks that kill a server are left out then.

Every wait is for a condition, with a limit of 30 seconds. The exit code is 0 if all is well.
"""

import argparse
import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from playwright.sync_api import sync_playwright

import mock_server

LIMIT = 30_000
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CLIENTS = 10_000
NAMES = ["Riley", "Jaquez", "Juzang", "Campbell", "Bernard"]
LINKS = {"Riley": ["Jaquez", "Juzang"], "Juzang": ["Campbell"], "Bernard": ["Jaquez", "Juzang", "Campbell"]}

# Notes what the content security policy blocks, from the first moment.
WATCH_CSP = """
window.cspReports = [];
document.addEventListener('securitypolicyviolation', (event) => {
  window.cspReports.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


def check(what, holds):
    if not holds:
        raise AssertionError(what)
    print(f"  {what}", flush=True)


# Herds. Each has `base`, `second` (the page of another server, if any), `client`, `kill(name)`
# and `start(name)`, and ends with its context.


class Running:
    """A server that somebody else runs."""

    def __init__(self, base):
        self.base = self.second = base.rstrip("/") + "/"
        self.can_kill = False
        self.client = None


@contextlib.contextmanager
def mock(arguments):
    """The mock server, in a process of its own."""
    command = [sys.executable, pathlib.Path(mock_server.__file__), "--clients", str(CLIENTS), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        herd = Running(process.stdout.readline().strip())
        herd.can_kill = True
        herd.client = "kiwi.cs.ucla.edu"
        post = lambda path, name: urllib.request.urlopen(
            urllib.request.Request(f"{herd.base}mock/{path}?server={name}", method="POST"), timeout=30
        ).close()
        herd.kill = lambda name: post("kill", name)
        herd.start = lambda name: post("start", name)
        yield herd
    finally:
        process.kill()
        process.wait()


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [it.getsockname()[1] for it in sockets]
    for it in sockets:
        it.close()
    return ports


@contextlib.contextmanager
def processes(program):
    """A herd of five processes, with clients that walk around Los Angeles."""
    program = pathlib.Path(program).resolve()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ports = free_ports(15)
        config = "[herd]\nname = 'classic'\n[log]\nlevel = 'warn'\n"
        for i, name in enumerate(NAMES):
            clients, peers, web = ports[3 * i : 3 * i + 3]
            config += (
                f"[[servers]]\nname = '{name}'\nclients = '127.0.0.1:{clients}'\n"
                f"peers = '127.0.0.1:{peers}'\nweb = '127.0.0.1:{web}'\n"
                f"talks_to = {LINKS.get(name, [])}\n"
            )
        pathlib.Path(folder, "herd.toml").write_text(config)
        running = {}

        def start(name):
            running[name] = subprocess.Popen(
                [program, "serve", name, "--config", "herd.toml"],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

        def kill(name):
            running[name].kill()
            running[name].wait()

        stack.callback(lambda: [kill(name) for name in running])
        for name in NAMES:
            start(name)
        herd = Running(f"http://127.0.0.1:{ports[2]}")
        herd.second = f"http://127.0.0.1:{ports[5]}/"
        herd.can_kill, herd.client, herd.kill, herd.start = True, "walker00000", kill, start
        stop = threading.Event()
        for port in ports:
            wait_for_port(port)
        for i in range(len(NAMES)):
            walk = threading.Thread(target=walk_clients, args=(ports[3 * i], stop, 60 * i), daemon=True)
            walk.start()
            stack.callback(walk.join)
        stack.callback(stop.set)
        yield herd


def wait_for_port(port):
    end = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def walk_clients(port, stop, first, count=60):
    """Reports the positions of clients that walk, once a second each. A server that was killed has
    them again when it is back."""
    import math
    import random

    rng = random.Random(first)
    clients = [
        [34.05 + rng.gauss(0, 0.08), -118.25 + rng.gauss(0, 0.1), rng.uniform(0, 6.3)] for _ in range(count)
    ]

    def walk(connection):
        answers = connection.makefile("rb")
        while not stop.wait(1):
            lines = []
            for number, client in enumerate(clients, first):
                client[2] += rng.gauss(0, 0.3)
                client[0] += 14 * math.sin(client[2]) / 111_195
                client[1] += 14 * math.cos(client[2]) / 92_000
                lines.append(f"IAMAT walker{number:05d} {client[0]:+.6f}{client[1]:+.6f} {time.time():.9f}\n")
            connection.sendall("".join(lines).encode())
            for _ in lines:
                if not answers.readline():
                    return

    while not stop.wait(0.1):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            walk(connection)


# The page.


class Page:
    """A page in the browser, and all that went wrong on it."""

    def __init__(self, browser, herd, *, size=(1280, 800), scheme="light", path="", **more):
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, **more
        )
        self.context.add_init_script(WATCH_CSP)
        self.herd, self.errors, self.foreign = herd, [], []
        self.page = self.context.new_page()
        self.page.set_default_timeout(LIMIT)
        self.page.on("console", self.note_console)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self.note_request)
        self.page.on("response", self.note_response)
        self.page.goto(herd.base + path)

    def note_console(self, message):
        # The browser itself writes of answers such as 401 and of a server that is gone.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.errors.append(message.text)

    def note_response(self, response):
        if response.status >= 400 and response.status != 401:
            self.errors.append(f"{response.status} for {response.url}")

    def note_request(self, request):
        if not request.url.startswith((self.herd.base, "data:")):
            self.foreign.append(request.url)

    def wait(self, expression, what):
        """Waits until an expression is true. Playwright's own wait needs eval, which is blocked."""
        end = time.monotonic() + LIMIT / 1000
        while not self.page.evaluate(expression):
            if time.monotonic() > end:
                self.page.screenshot(path=pathlib.Path(tempfile.gettempdir(), "page_test.png"))
                raise AssertionError(f"not within {LIMIT / 1000:.0f} s: {what}; errors: {self.errors}")
            time.sleep(0.05)
        print(f"  {what}", flush=True)

    def wait_live(self):
        self.wait("document.getElementById('state').className === 'chip live'", "the page is live")

    def close(self):
        check("no error on the console" + "".join(f"\n{it}" for it in self.errors), not self.errors)
        reports = self.page.evaluate("window.cspReports")
        check(f"no report of the content security policy {reports or ''}", not reports)
        check(f"no request to another origin {self.foreign or ''}", not self.foreign)
        self.context.close()


def sees_clients_move(browser, herd):
    page = Page(browser, herd, path="#map=11/34.05/-118.25")
    page.wait_live()
    page.wait("proxyherd.store.size > 10", "clients are there")
    before = page.page.evaluate("[...proxyherd.store.toX.slice(0, 10)]")
    page.wait(f"proxyherd.store.toX.slice(0, 10).some((x, i) => x !== {before}[i])", "they move")
    page.wait("document.querySelectorAll('#servers tbody tr').length === 5", "five servers are listed")
    page.wait("proxyherd.herdPanel.history.samples.at(-1).rate > 0", "the chart has a rate")
    page.close()


def searches_and_opens(browser, herd):
    page = Page(browser, herd)
    page.wait_live()
    page.page.keyboard.press("/")
    page.page.keyboard.type(herd.client[:-1])
    page.page.wait_for_selector("#options li")
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("Enter")
    page.wait("document.querySelectorAll('#client-held tbody tr').length === 5", "the answer is there")
    check(
        "the report of every server is shown", herd.client.startswith(page.page.inner_text("#client-id")[:6])
    )
    page.wait("proxyherd.map.view.zoom > 10.9", "the map moves to the client")
    page.wait("document.getElementById('place-note').textContent.includes('within')", "the answer is there")
    check("places around are listed", page.page.locator("#place-list li").count() > 0)
    check("places are on the map", page.page.evaluate("proxyherd.map.places.length") > 0)
    page.page.click("#client-near")
    page.wait("document.getElementById('near-note').textContent.includes('within')", "the answer is there")
    check("the clients around it are listed", page.page.locator("#near-list li").count() > 0)
    page.page.locator("#near-list button").first.click()
    page.wait("!document.getElementById('panel-client').hidden", "a click opens one")
    page.page.reload()
    page.wait("document.getElementById('client-id').textContent !== ''", "a reload keeps the client")
    page.close()


def draws_a_circle(browser, herd):
    page = Page(browser, herd, path="#map=11/34.05/-118.25")
    page.wait_live()
    page.wait("proxyherd.store.size > 10", "clients are there")
    page.page.keyboard.press("c")
    page.page.mouse.move(400, 400)
    page.page.mouse.down()
    page.page.mouse.move(500, 450, steps=5)
    page.page.mouse.move(620, 520, steps=5)
    page.page.mouse.up()
    page.wait("document.getElementById('near-note').textContent.includes('within')", "the answer is there")
    check("the clients in the circle are listed", page.page.locator("#near-list li").count() > 0)
    page.close()


def works_by_keyboard(browser, herd):
    page = Page(browser, herd, path="#map=5/34.05/-118.25")
    page.wait_live()
    page.page.keyboard.press("m")
    page.page.keyboard.press("+")
    page.wait("Math.abs(proxyherd.map.view.zoom - 6) < 0.01", "plus zooms in")
    x = page.page.evaluate("proxyherd.map.view.x")
    page.page.keyboard.press("ArrowRight")
    page.wait(f"proxyherd.map.view.x > {x} + 0.001", "arrows move the map")
    page.page.focus("#tab-herd")
    for _ in range(3):
        page.page.keyboard.press("ArrowRight")
    page.wait("!document.getElementById('panel-list').hidden", "arrows move between tabs")
    page.wait("document.querySelectorAll('#list tbody tr').length > 0", "the answer is there")
    check("the table has the clients of the map", "client" in page.page.inner_text("#list-note"))
    page.close()


def works_by_touch(browser, herd):
    page = Page(browser, herd, size=(360, 740), path="#map=3/30/20", has_touch=True)
    page.wait_live()
    fingers = page.context.new_cdp_session(page.page)

    def touch(kind, *points):
        fingers.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]},
        )

    x = page.page.evaluate("proxyherd.map.view.x")
    touch("touchStart", (200, 250))
    for step in range(6):
        touch("touchMove", (200 - 20 * step, 250))
    touch("touchEnd")
    page.wait(f"proxyherd.map.view.x > {x} + 0.02", "a finger moves the map")
    touch("touchStart", (150, 250), (210, 250))
    for step in range(6):
        touch("touchMove", (150 - 10 * step, 250), (210 + 10 * step, 250))
    touch("touchEnd")
    page.wait("proxyherd.map.view.zoom > 4", "two fingers zoom it")
    page.close()


def sees_a_server_go_and_come_back(browser, herd):
    page = Page(browser, herd)
    page.wait_live()
    page.wait("document.querySelectorAll('#graph line.up').length === 12", "all links are up")
    herd.kill("Campbell")
    page.wait("document.querySelectorAll('#graph line.down').length >= 2", "the links to Campbell turn")
    page.wait("document.getElementById('news').textContent.includes('Campbell is down')", "the page says so")
    herd.start("Campbell")
    page.wait("document.querySelectorAll('#graph line.up').length === 12", "they turn back")
    page.wait("document.getElementById('news').textContent.includes('Campbell is back')", "the page says so")
    page.close()


def reconnects(browser, herd):
    page = Page(browser, herd)
    page.wait_live()
    herd.kill("Riley")
    page.wait("document.getElementById('state').className === 'chip retrying'", "a lost connection shows")
    herd.start("Riley")
    page.wait_live()
    page.errors.clear()
    page.close()


def asks_for_a_token(browser, herd):
    page = Page(browser, herd)
    page.page.wait_for_selector("#token-dialog[open]")
    page.page.fill("#token", "wrong")
    page.page.keyboard.press("Enter")
    page.page.wait_for_selector("#token-problem:not([hidden])")
    check("a wrong token is named", "wrong" in page.page.inner_text("#token-problem"))
    page.page.fill("#token", "secret")
    page.page.keyboard.press("Enter")
    page.wait_live()
    page.page.reload()
    page.wait_live()
    check("a reload keeps the token", not page.page.locator("#token-dialog").is_visible())
    check("there is no cookie", not page.context.cookies())
    page.close()


def shows_numbers_where_clients_are_many(browser, herd):
    page = Page(browser, herd)
    page.wait("proxyherd.map.grid !== null", "there is a grid")
    total = page.page.evaluate("proxyherd.map.grid.reduce((sum, it) => sum + it.properties.count, 0)")
    check(f"it counts all clients ({total})", total == CLIENTS)
    page.page.evaluate("proxyherd.map.view.lookAt(-118.25, 34.05, 12); proxyherd.map.pan(0, 0)")
    page.wait("proxyherd.map.grid === null && proxyherd.store.size > 0", "near by, there are clients")
    page.close()


def has_no_serious_accessibility_issue(browser, herd):
    from axe_playwright_python.sync_playwright import Axe

    for size, scheme in [((1280, 800), "light"), ((1280, 800), "dark"), ((360, 740), "light")]:
        page = Page(browser, herd, size=size, scheme=scheme, bypass_csp=True, path="#map=10/34.05/-118.25")
        page.wait_live()
        page.wait("document.querySelectorAll('#servers tbody tr').length === 5", "servers are listed")
        for tab in ["herd", "list", "near", "client"]:
            page.page.click(f"#tab-{tab}")
            violations = Axe().run(page.page).response["violations"]
            bad = [it for it in violations if it["impact"] in ("serious", "critical")]
            text = "".join(
                f"\n{it['id']}: {it['nodes'][0]['html'][:200]}: {it['nodes'][0]['failureSummary']}"
                for it in bad
            )
            check(f"axe finds nothing serious at {size[0]} px, {scheme}, tab {tab}{text}", not bad)
        width = page.page.evaluate("document.documentElement.scrollWidth")
        check(f"nothing is wider than the window ({width} px)", width <= size[0])
        page.close()


def draws_frames(browser, herd):
    """Measures how many frames a second the page draws if each is a new picture."""
    for size in [(1280, 800), (3840, 2160)]:
        page = Page(browser, herd, size=size, path="#map=2/25/20")
        page.wait_live()
        page.wait("proxyherd.store.size > 0", "clients are there")
        figures = page.page.evaluate("""async () => {
            const { map, store } = proxyherd;
            const [frames, start] = [map.frames, performance.now()];
            while (performance.now() - start < 5000) {
              map.redrawTop();
              await new Promise(requestAnimationFrame);
            }
            return [store.size, (map.frames - frames) / ((performance.now() - start) / 1000)];
        }""")
        print(
            f"  {figures[0]} clients at {size[0]} x {size[1]}: {figures[1]:.0f} frames a second", flush=True
        )
        page.close()


def takes_pictures(browser, herd, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, size, scheme, path in [
        ("page", (1280, 800), "light", "#map=11.3/34.05/-118.3&client=" + (herd.client or "")),
        ("page-dark", (1280, 800), "dark", "#map=4/48/10"),
        ("page-phone", (360, 740), "light", ""),
        ("page-4k", (3840, 2160), "dark", ""),
    ]:
        page = Page(browser, herd, size=size, scheme=scheme, path=path)
        page.wait_live()
        page.wait("proxyherd.herdPanel.history.samples.length >= 5", "there is something to see")
        page.page.screenshot(path=folder / f"{name}.png")
        page.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base")
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("--check", help="only the check with this name")
    options = parser.parse_args()
    program = os.environ.get("PROXYHERD")

    def herd(*arguments):
        if options.base:
            return contextlib.nullcontext(Running(options.base))
        return processes(program) if program else mock(arguments)

    is_mock = not options.base and not program
    common = [
        sees_clients_move,
        draws_a_circle,
        works_by_keyboard,
        works_by_touch,
        has_no_serious_accessibility_issue,
        draws_frames,
    ]
    killing = [searches_and_opens, sees_a_server_go_and_come_back, reconnects]
    plan = [(common + ([] if options.base else killing), ())]
    if is_mock:
        plan += [
            ([asks_for_a_token], ("--token", "secret")),
            ([shows_numbers_where_clients_are_many], ("--limit", "2000")),
        ]
    count = 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--headless=new", "--no-sandbox", "--disable-gpu"]
        )
        for checks, arguments in plan:
            wanted = [it for it in checks if options.check in (None, it.__name__)]
            if not wanted and not (options.pictures and checks is plan[0][0]):
                continue
            with herd(*arguments) as running:
                for it in wanted:
                    print(it.__name__.replace("_", " "), flush=True)
                    it(browser, running)
                    count += 1
                if options.pictures and checks is plan[0][0]:
                    takes_pictures(browser, running, options.pictures)
        browser.close()
    print(f"{count} passed, 0 failed")


if __name__ == "__main__":
    main()

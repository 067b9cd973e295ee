#!/usr/bin/env python3
"""Holds a running server against docs/openapi.json, by schemathesis.

usage: PROXYHERD=target/debug/proxyherd api_test.py [--seconds N] [--seed N]

Starts a herd of two servers with clients that move, and has schemathesis call every path with
valid and with invalid parameters, under all of its checks: status codes, content types, headers
and bodies must be those of the contract, what is valid must be accepted and what is not must be
rejected. A second, short run is against a server with a token, where every call without it must
fail. The exit code is 0 if nothing is found.

Needs the Python package schemathesis. hooks.py has the rules that the contract cannot express.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
CONTRACT = HERE.parents[1] / "docs/openapi.json"
LIMIT = 60
TOKEN = "0123456789abcdef0123456789abcdef"
# The first one is in the examples of the contract.
CLIENTS = ["kiwi.cs.ucla.edu", "a/b", "ü", "0", *(f"walker{number}" for number in range(40))]


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [it.getsockname()[1] for it in sockets]
    for it in sockets:
        it.close()
    return ports


@contextlib.contextmanager
def herd(program, web_settings=""):
    """A herd of two servers. Yields the base URL of the first."""
    ports = free_ports(5)
    config = (
        "[herd]\nname = 'classic'\n[log]\nlevel = 'warn'\n"
        f"[web]\n{web_settings}"
        f"[[servers]]\nname = 'Riley'\nclients = '127.0.0.1:{ports[0]}'\n"
        f"peers = '127.0.0.1:{ports[1]}'\nweb = '127.0.0.1:{ports[2]}'\ntalks_to = ['Jaquez']\n"
        f"[[servers]]\nname = 'Jaquez'\nclients = '127.0.0.1:{ports[3]}'\npeers = '127.0.0.1:{ports[4]}'\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "herd.toml").write_text(config)
        pathlib.Path(folder, "web.token").write_text(TOKEN)
        process = subprocess.Popen(
            [program, "up", "--config", "herd.toml"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stop = threading.Event()
        try:
            wait_for_port(process, ports[2])
            move = threading.Thread(target=move_clients, args=(ports[0], stop))
            move.start()
            yield f"http://127.0.0.1:{ports[2]}"
            if process.poll() is not None:
                raise AssertionError(f"the herd ended with {process.returncode}")
        finally:
            stop.set()
            process.kill()
            process.wait()


def wait_for_port(process, port):
    end = time.monotonic() + LIMIT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.1)


def move_clients(port, stop):
    """Reports the clients at random positions, again and again."""
    rng = random.Random(1)
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as server:
        answers = server.makefile("rb")
        while not stop.is_set():
            for client in CLIENTS:
                position = f"{rng.uniform(-90, 90):+.6f}{rng.uniform(-180, 180):+.6f}"
                server.sendall(f"IAMAT {client} {position} {time.time():.9f}\n".encode())
                answers.readline()
            stop.wait(0.2)


def schemathesis(folder, contract, base, *arguments):
    """Runs schemathesis, which writes into its folder. Returns whether it found nothing."""
    command = [pathlib.Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml"]
    command += ["run", contract, "--url", base, "--no-color", "--generation-database", "none", *arguments]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
    return subprocess.run(command, env=environment, cwd=folder).returncode == 0


def with_required_token(folder):
    """Writes the contract of a server that needs the token, and returns its path."""
    contract = json.loads(CONTRACT.read_text())
    contract["security"] = [it for it in contract["security"] if it]
    path = pathlib.Path(folder, "openapi.json")
    path.write_text(json.dumps(contract))
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=35, help="time of the long run")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    program = pathlib.Path(os.environ["PROXYHERD"]).resolve()
    seed = ["--seed", str(options.seed)]
    with tempfile.TemporaryDirectory() as folder, herd(program) as base:
        is_good = schemathesis(folder, CONTRACT, base, "--checks=all", f"--max-time={options.seconds}", *seed)
    with tempfile.TemporaryDirectory() as folder, herd(program, "token_file = 'web.token'\n") as base:
        # Ten wrong tokens lock the address out: one call of each path has fewer.
        token = [f"--header=Authorization: Bearer {TOKEN}", "--phases=examples", "--max-examples=1"]
        is_good &= schemathesis(folder, with_required_token(folder), base, "--checks=all", *token, *seed)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())

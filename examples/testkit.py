#!/usr/bin/env python3
"""Starts a herd for a test: two servers on free ports, from a config on standard input.

    python3 examples/testkit.py target/release/proxyherd
"""

import json
import socket
import subprocess
import sys
import time

SERVER = '[[servers]]\nname = "%s"\nclients = "127.0.0.1:0"\npeers = "127.0.0.1:0"\n'
HERD = '[herd]\nname = "test"\n[log]\nlevel = "off"\n' + SERVER % "Riley" + SERVER % "Jaquez"
HERD += 'talks_to = ["Riley"]\n'


def ask(address, line):
    """Returns the first line of the answer."""
    with socket.create_connection(address.rsplit(":", 1), timeout=30) as client:
        client.sendall(line.encode() + b"\n")
        return client.makefile().readline()


command = [sys.argv[1], "up", "--config", "-", "--json"]
herd = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
try:
    herd.stdin.write(HERD)
    herd.stdin.close()
    servers = json.loads(herd.stdout.readline())["servers"]
    clients = {server["name"]: server["clients"] for server in servers}
    print(ask(clients["Riley"], "IAMAT kiwi +34.068930-118.445127 1621464827.959498503"), end="")
    end = time.monotonic() + 30
    while (answer := ask(clients["Jaquez"], "WHATSAT kiwi 10 0")).startswith("?"):
        assert time.monotonic() < end, "Jaquez has no report of kiwi"
        time.sleep(0.01)
    print(answer, end="")
    assert answer.startswith("AT Riley "), answer
finally:
    herd.terminate()
assert herd.wait(30) == 0

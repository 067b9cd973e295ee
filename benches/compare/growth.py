#!/usr/bin/env python3
"""Measures how the cost of a herd grows with servers, links, clients and rate.

    cargo build --release
    python3 benches/compare/growth.py [--seconds S] [--out FOLDER]

Each herd is planned by `proxyherd plan` and runs as processes on this machine, under a load of
`proxyherd bench`. Writes growth.csv, growth.md and growth.svg into the folder (docs/comparison by default).
"""

import argparse
import csv
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "peers"))

import measure  # noqa: E402
import plots  # noqa: E402
from herds import await_true  # noqa: E402
from others import Processes  # noqa: E402

PROGRAM = ROOT / "target" / "release" / "proxyherd"
PORT = 21_000

# What grows, where it is in a herd, and the herds: servers, links of each server, clients, and
# IAMAT a second.
SERIES = {
    "servers": (0, [(n, 3, 10_000, 2_000) for n in (5, 10, 20, 40)]),
    "links of each of 20 servers": (1, [(20, n, 10_000, 2_000) for n in (2, 3, 5, 9)]),
    "clients": (2, [(5, 3, n, 4_000) for n in (10_000, 100_000, 1_000_000)]),
    "IAMAT a second": (3, [(5, 3, 10_000, n) for n in (500, 2_000, 8_000, 32_000)]),
}
# Plots of the time until a report is at every server.
PANELS = {
    "servers": "At every server, by servers (2,000 IAMAT/s)",
    "IAMAT a second": "At every of 5 servers, by IAMAT a second",
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


def plan(folder, servers, degree):
    """Writes the config of a herd. Returns its path, the names, and the number of links."""
    file = Path(folder) / "herd.toml"
    names = [f"s{n}" for n in range(1, servers + 1)]
    command = [PROGRAM, "plan", f"s{{1..{servers}}}", "--survive", str(degree - 1)]
    for port, kind in enumerate(["clients", "peers", "web"]):
        command += [f"--{kind}", f"127.0.0.1:{PORT + 100 * port}+"]
    subprocess.run([*command, "-o", file], check=True, capture_output=True)
    config = file.read_text()
    file.write_text(config + '\n[log]\nlevel = "off"\n')
    links = sum(line.count('"') // 2 for line in config.splitlines() if "talks_to" in line)
    return file, names, links


def counters(servers):
    """Returns the reports that clients gave to all servers, and those sent to neighbours."""
    totals = {}
    for n in range(servers):
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT + 200 + n}/metrics") as answer:
            page = answer.read().decode()
        for name in "client_reports", "link_reports_sent":
            found = re.findall(rf"^proxyherd_{name}_total\S* (\S+)", page, re.MULTILINE)
            totals[name] = totals.get(name, 0) + sum(map(float, found))
    return totals["client_reports"], totals["link_reports_sent"]


def cost(bench, pids, addresses, clients, rate, seconds):
    """Returns the times that a report is sent under a load, and its CPU time in seconds."""
    servers = len(pids)
    before, _ = counters(servers)
    load = ["--clients", clients, "--warmup", 0, "--rate", rate, "--seconds", seconds + 2]
    loading = threading.Thread(target=bench.run, args=[addresses, *load, "--no-verify"])
    loading.start()
    # Each client reports once before the load begins.
    while counters(servers)[0] < before + clients + rate / 2:
        time.sleep(0.1)
    reports, sent = counters(servers)
    cpu = measure.Cpu(pids)
    time.sleep(seconds)
    took, (reports_after, sent_after) = cpu.seconds(), counters(servers)
    loading.join()
    reports = reports_after - reports
    return (sent_after - sent) / reports, took / reports


def run(bench, seconds, herd):
    servers, degree, clients, rate = herd
    with tempfile.TemporaryDirectory() as folder:
        file, names, links = plan(folder, servers, degree)
        with Processes(*([PROGRAM, "serve", name, "--config", file] for name in names)) as started:
            addresses = [("127.0.0.1", PORT + n) for n in range(servers)]
            pids = [process.pid for process in started]
            for n in range(servers):
                await_true(lambda n=n: is_ready(n), "every server is ready", 60, 0.1)
            time.sleep(1)
            sent, cpu = cost(bench, pids, addresses, clients, rate, seconds)
            memory = sum(map(measure.memory, pids)) / servers
            # The queries of this measurement cost CPU time too.
            load = ["--clients", clients, "--warmup", 0, "--rate", rate, "--seconds", seconds]
            result = bench.run(addresses, *load, "--spread", "--under-load", "--no-verify")
            spread = measure.spread(result, "spread")
            return {
                "links": links,
                "sent": sent,
                "cpu_us": cpu * 1e6,
                "cpu_share_us": cpu * 1e6 / servers,
                "p50_ms": spread.get("spread_p50_ms"),
                "p99_ms": spread.get("spread_p99_ms"),
                "memory_mb": memory / 1e6,
            }


def is_ready(n):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{PORT + 200 + n}/readyz").close()
        return True
    except OSError:
        return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "comparison")
    arguments = parser.parse_args()
    measure.raise_file_limit()
    bench = measure.Bench(PROGRAM)
    rows = []
    for what, (_, herds) in SERIES.items():
        for herd in herds:
            rows.append((what, herd, run(bench, arguments.seconds, herd)))
            print(*rows[-1], flush=True)
    for fault in bench.faults:
        print("fault:", fault)
    write(arguments.out, rows)


def write(folder, rows):
    keys = ["servers", "degree", "clients", "rate"]
    with open(folder / "growth.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["growing", *keys, *FIGURES])
        for what, herd, figures in rows:
            table.writerow([what, *herd, *(figures[key] for key in FIGURES)])
    series = {
        what: [(f"{herd[place]:,}", figures) for growing, herd, figures in rows if growing == what]
        for what, (place, _) in SERIES.items()
    }
    lines = []
    for what, row in series.items():
        lines += ["", f"| {what} | {' | '.join(FIGURES.values())} |"]
        lines.append("|" + "---|" * (len(FIGURES) + 1))
        for growing, figures in row:
            cells = [plots.short(figures[key]) for key in FIGURES]
            lines.append(f"| {growing} | {' | '.join(cells)} |")
    (folder / "growth.md").write_text("\n".join(lines[1:]) + "\n")
    panels = [panel(title, series[what]) for what, title in PANELS.items()]
    (folder / "growth.svg").write_text(plots.lines(panels))


def panel(title, row):
    """Returns the times of a series, for a plot."""
    times = [(key, [figures[f"{key}_ms"] for _, figures in row]) for key in ("p50", "p99")]
    return title, [growing for growing, _ in row], times


if __name__ == "__main__":
    main()

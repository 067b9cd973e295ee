#!/usr/bin/env python3
"""Compares proxyherd with the same herd in other languages, and with Redis and NATS.

    cargo build --release --bins --examples
    python3 benches/compare/run.py [--rounds N] [--seconds S] [--only KEY,KEY] [--out FOLDER]

All run in turn, round after round, with the load generator `proxyherd bench` on the same machine,
so that ratios count and not absolute figures. Writes into the folder (docs/comparison by default)
figures.csv with every figure of every round, figures.md with their medians, and plots. What is
missing on this machine is skipped with its reason; examples/peers/README.md says how to get it.
"""

import argparse
import csv
import os
import platform
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "peers"))

import measure  # noqa: E402
import plots  # noqa: E402
from herds import find_proxyherd, implementations  # noqa: E402
from others import others  # noqa: E402

# The tables of figures.md: each figure, and what it is.
TABLES = {
    "Rate": {
        "one_rate_16": "one server, pipeline 16, IAMAT a second",
        "one_rate_1": "one server, pipeline 1, IAMAT a second",
        "five_rate_16": "herd of five, pipeline 16, IAMAT a second",
        "five_rate_1": "herd of five, pipeline 1, IAMAT a second",
        "five_settled_ms_16": "every report at every server after the load, pipeline 16, ms",
        "five_settled_ms_1": "the same, pipeline 1, ms",
    },
    "Spread of one report to every server": {
        "idle_spread_p50_ms": "idle herd, p50, ms",
        "idle_spread_p99_ms": "idle herd, p99, ms",
        "half_rate": "half of the implementation's own rate, IAMAT a second",
        "half_spread_p50_ms": "at that rate, p50, ms",
        "half_spread_p99_ms": "at that rate, p99, ms",
    },
    "Answers": {
        "common_p50_ms": f"herd of five, {measure.COMMON_RATE} IAMAT a second, p50, ms",
        "common_p99_ms": "the same, p99, ms",
        "common_p999_ms": "the same, p99.9, ms",
        "common_max_ms": "the same, longest, ms",
        "half_p50_ms": "at half of the own rate, p50, ms",
        "half_p99_ms": "the same, p99, ms",
        "half_p999_ms": "the same, p99.9, ms",
        "half_max_ms": "the same, longest, ms",
    },
    "Cost": {
        "one_cpu_us_16": "one server, pipeline 16, CPU for each IAMAT, µs",
        "one_cpu_us_1": "one server, pipeline 1, CPU for each IAMAT, µs",
        "five_cpu_us": f"all servers of a herd of five, {measure.COMMON_RATE} IAMAT a second, "
        "CPU for each, µs",
        "idle_server_mb": "server without clients, resident MB",
        "connection_bytes": "each idle connection, bytes",
        "client_bytes": "each client of 200,000, bytes",
        "start_ms": "start to the first answer, ms",
    },
    "Faults": {
        "restart_ms": "killed server, start to the first answer, ms",
        "catch_up_s": "the same until it holds 100,000 clients, s",
        "stopped_p99_ms": "answers of the others while one server is stopped, p99, ms",
        "stopped_max_ms": "the same, longest, ms",
        "stopped_growth_mb": "memory that its two neighbours took meanwhile, MB",
        "resumed_ms": "resumed server until it holds everything, ms",
        "killed_lost_clients": "killed under load: clients with lost acknowledged reports, of 64",
        "killed_lost_ms": "the same, time that the lost reports span, ms",
        "cut_settled_ms": "cut links: all reports everywhere after healing, ms",
        "cut_lost": "the same, reports lost",
        "stall_settled_ms": "stalled links: all reports everywhere after healing, ms",
        "stall_lost": "the same, reports lost",
    },
}


def steps(subject, folder, bench, seconds):
    if hasattr(subject, "measure"):
        return [lambda: subject.measure(folder, bench, seconds)]
    return [
        lambda: measure.one_server(subject, folder, bench, seconds),
        lambda: measure.one_server_memory(subject, folder, bench),
        lambda: measure.herd_of_five(subject, folder, bench, seconds),
        lambda: measure.catch_up(subject, folder, bench),
        lambda: measure.stopped(subject, folder, bench, seconds),
        lambda: measure.killed(subject, folder, bench, seconds),
        lambda: measure.partitioned(subject, folder, "cut"),
        lambda: measure.partitioned(subject, folder, "stall"),
    ]


def measure_round(subject, bench, seconds, note):
    """Returns the figures of one implementation; a step that fails leaves its figures out."""
    figures = {"load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        for step in steps(subject, folder, bench, seconds):
            try:
                figures |= step()
            except (OSError, RuntimeError, SystemExit) as error:
                note(f"{subject.title}: {error}")
            for fault in bench.faults:
                note(f"{subject.title}: {fault}")
            bench.faults.clear()
    return figures


def median_of(rounds, key, figure):
    values = [figures[figure] for figures in rounds[key] if figure in figures]
    return (statistics.median(values), min(values), max(values)) if values else None


def markdown(subjects, rounds, notes, arguments, begun):
    loads = [figures["load_average"] for each in rounds.values() for figures in each]
    lines = [
        "# Figures of the comparison",
        "",
        f"{begun}: {processor()}, {os.cpu_count()} cores that servers and load share, "
        f"{platform.system()} {platform.release()}. Medians of {arguments.rounds} rounds in turn, "
        f"loads of {arguments.seconds:g} s; the load average when each began was "
        f"{min(loads):.1f} to {max(loads):.1f}. Made by `python3 benches/compare/run.py`, which "
        "also says what each figure is. `figures.csv` has every round.",
        "",
        "| | version |",
        "|---|---|",
    ]
    lines += [f"| {each.title} | {each.version} |" for each in subjects if each.version]
    for title, figures in TABLES.items():
        shown = [each for each in subjects if any(median_of(rounds, each.key, f) for f in figures)]
        lines += ["", f"## {title}", "", "| |" + "".join(f" {each.title} |" for each in shown)]
        lines.append("|---|" + "---|" * len(shown))
        for figure, what in figures.items():
            row = [median_of(rounds, each.key, figure) for each in shown]
            cells = [plots.short(found[0]) if found else "" for found in row]
            lines.append(f"| {what} | " + " | ".join(cells) + " |")
    if notes:
        lines += ["", "## What went wrong", ""] + [f"- {note}" for note in notes]
    return "\n".join(lines) + "\n"


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def bar_panel(subjects, rounds, figure, title):
    found = [(each, median_of(rounds, each.key, figure)) for each in subjects]
    rows = [(each.title, each.key, *values) for each, values in found if values]
    return title, rows


def draw(subjects, rounds, folder):
    def bars(name, *panels):
        panels = [bar_panel(subjects, rounds, figure, title) for figure, title in panels]
        (folder / name).write_text(plots.bars(panels))

    bars(
        "rate.svg",
        ("one_rate_16", "One server, pipeline 16, IAMAT/s"),
        ("one_rate_1", "One server, pipeline 1, IAMAT/s"),
        ("five_rate_16", "Herd of five, pipeline 16, IAMAT/s"),
        ("five_rate_1", "Herd of five, pipeline 1, IAMAT/s"),
    )
    bars(
        "cost.svg",
        ("five_cpu_us", f"Herd of five, CPU per IAMAT at {measure.COMMON_RATE}/s, µs"),
        ("idle_server_mb", "Server without clients, MB"),
        ("connection_bytes", "Idle connection, bytes"),
        ("client_bytes", "Client, bytes"),
    )
    bars(
        "faults.svg",
        ("restart_ms", "Killed server: first answer, ms"),
        ("catch_up_s", "Killed server: holds 100,000 clients, s"),
        ("stopped_p99_ms", "Others while one is stopped, p99, ms"),
        ("killed_lost_ms", "Reports lost with a killed server, ms"),
        ("cut_settled_ms", "Cut links, healed: all everywhere, ms"),
        ("stall_settled_ms", "Stalled links, healed: all everywhere, ms"),
    )
    titles = {
        "common": f"Answers at {measure.COMMON_RATE} IAMAT/s",
        "half": "Answers at half of the own rate",
    }
    panels = []
    for prefix, title in titles.items():
        series = []
        for each in subjects:
            row = [median_of(rounds, each.key, f"{prefix}_{p}_ms") for p in measure.PERCENTILES]
            if all(row):
                series.append((each.title, [values[0] for values in row]))
        panels.append((title, ["p50", "p90", "p99", "p99.9", "max"], series))
    if all(series for _, _, series in panels):
        (folder / "latency.svg").write_text(plots.lines(panels))


def write(subjects, rounds, notes, arguments, begun):
    folder = Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "figures.csv", "w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["round", "implementation", "figure", "value"])
        for key, each in rounds.items():
            for number, figures in enumerate(each, 1):
                for figure, value in figures.items():
                    rows.writerow([number, key, figure, f"{value:.6g}"])
    (folder / "figures.md").write_text(markdown(subjects, rounds, notes, arguments, begun))
    draw(subjects, rounds, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="length of each load")
    parser.add_argument("--only", help="what to run, as in proxyherd,go,redis")
    parser.add_argument("--out", default=ROOT / "docs" / "comparison", help="folder of the results")
    arguments = parser.parse_args()
    only = set(arguments.only.split(",")) if arguments.only else None
    measure.raise_file_limit()
    generator = find_proxyherd()
    if generator.absent:
        raise SystemExit(generator.absent)
    bench = measure.Bench(generator.command[0])
    beside = [each for each in others() if not only or each.key in only]
    herds = only - {each.key for each in beside} if only else None
    subjects = (implementations(herds) if herds is None or herds else []) + beside
    for each in subjects:
        if each.absent:
            print(f"skipped: {each.title}: {each.absent}")
    subjects = [each for each in subjects if not each.absent]
    rounds, notes, begun = {each.key: [] for each in subjects}, [], date.today()
    for number in range(1, arguments.rounds + 1):
        for each in subjects:
            start = time.monotonic()

            def note(text, number=number):
                notes.append(f"round {number}: {text}")
                print(f"  {text}", flush=True)

            rounds[each.key].append(measure_round(each, bench, arguments.seconds, note))
            took = time.monotonic() - start
            print(f"round {number}: {each.title}: {took:.0f} s", flush=True)
            # What is there is kept if the next one ends the run.
            write(subjects, rounds, notes, arguments, begun)


if __name__ == "__main__":
    main()

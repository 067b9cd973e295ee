#!/usr/bin/env python3
"""Compares proxyherd with the same herd in other languages, and with Redis and NATS.

    cargo build --release --bins --examples
    python3 benches/compare/run.py [--rounds N] [--seconds S] [--only KEY,KEY] [--out FOLDER]

All run in turn, round after round, with the load generator `proxyherd bench` on the same machine,
so that ratios count and not absolute figures. Writes into the folder (docs/comparison by default)
figures.csv with every figure of every round, figures.md with their medians, and plots. A figure
beside which other programs took more than --quiet percent of the CPU counts only if there is none
from a quieter time. With --add, the rounds in the folder count as well, and with --patience each
step waits for a quiet time. What is missing on this machine is skipped with its reason;
examples/peers/README.md says how to get it.
"""

import argparse
import csv
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from datetime import date
from functools import partial
from operator import itemgetter
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "examples" / "peers"))

import measure  # noqa: E402
import plots  # noqa: E402
from herds import implementations  # noqa: E402
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


STEPS = {
    "one": measure.one_server,
    "memory": measure.one_server_memory,
    "five": measure.herd_of_five,
    "restart": measure.catch_up,
    "stop": measure.stopped,
    "kill": measure.killed,
    "cut": partial(measure.partitioned, "cut"),
    "stall": partial(measure.partitioned, "stall"),
}


def measure_round(subject, bench, arguments, note):
    """Returns the figures of one implementation, each with the CPU that other programs took.

    A step that fails leaves its figures out.
    """
    figures = {}
    steps = [STEPS[step] for step in arguments.steps.split(",")]
    if hasattr(subject, "measure"):
        steps = [type(subject).measure]
    with tempfile.TemporaryDirectory() as folder:
        for step in steps:
            await_quiet(arguments.quiet, arguments.patience)
            outside = Outside()
            try:
                found = step(subject, folder, bench, arguments.seconds)
                percent = outside.percent()
                figures |= {figure: (value, percent) for figure, value in found.items()}
            except (OSError, RuntimeError, SystemExit) as error:
                note(f"{subject.title}: {error}")
            for fault in bench.faults:
                note(f"{subject.title}: {fault}")
            bench.faults.clear()
    return figures


class Outside:
    """The share of the CPU that programs outside the comparison take."""

    def __init__(self):
        self.start = self.times()

    @staticmethod
    def times():
        with open("/proc/stat") as stat:
            user, nice, system, idle, wait, *rest = map(int, stat.readline().split()[1:9])
        total = user + nice + system + idle + wait + sum(rest)
        own = [resource.getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
        own = sum(each.ru_utime + each.ru_stime for each in own) * measure.TICK
        return total, total - idle - wait - own

    def percent(self):
        (total, outside), (total_now, outside_now) = self.start, self.times()
        return max(0.0, 100 * (outside_now - outside) / max(1, total_now - total))


def await_quiet(percent, patience):
    """Waits until other programs take little of the CPU, but not longer than `patience`."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        outside = Outside()
        time.sleep(1)
        if outside.percent() <= percent:
            return


def counted(rounds, figure, quiet):
    """Returns the values of a figure that count, with their CPU of others: the quiet, or one."""
    found = sorted((figures[figure] for figures in rounds if figure in figures), key=itemgetter(1))
    return [pair for number, pair in enumerate(found) if number == 0 or pair[1] <= quiet]


def medians(rounds, quiet):
    """Returns the median, the least and the greatest of each figure of each implementation."""
    found = {}
    for key, each in rounds.items():
        for figure in {figure for figures in each for figure in figures}:
            values = [value for value, _ in counted(each, figure, quiet)]
            found[key, figure] = statistics.median(values), min(values), max(values)
    return found


def markdown(subjects, rounds, found, notes, arguments, begun):
    pairs = [
        pair
        for each in rounds.values()
        for figure in {figure for figures in each for figure in figures}
        for pair in counted(each, figure, arguments.quiet)
    ]
    outside = [percent for _, percent in pairs]
    lines = [
        "# Figures of the comparison",
        "",
        f"{begun}: {processor()}, {os.cpu_count()} cores that servers and load share, "
        f"{platform.system()} {platform.release()}. Medians of rounds in turn, loads of "
        f"{arguments.seconds:g} s. Beside them other programs took {min(outside):.0f} to "
        f"{max(outside):.0f} percent of the CPU, half of the time less than "
        f"{statistics.median(outside):.0f}. Made by `python3 benches/compare/run.py`; "
        "`figures.csv` has every round.",
        "",
        "| | version | rounds |",
        "|---|---|---|",
    ]
    lines += [f"| {each.title} | {each.version} | {len(rounds[each.key])} |" for each in subjects]
    for title, figures in TABLES.items():
        measured = {figure for _, figure in found}
        figures = {figure: what for figure, what in figures.items() if figure in measured}
        if not figures:
            continue
        shown = [each for each in subjects if any((each.key, f) in found for f in figures)]
        lines += ["", f"## {title}", "", "| |" + "".join(f" {each.title} |" for each in shown)]
        lines.append("|---|" + "---|" * len(shown))
        for figure, what in figures.items():
            row = [found.get((each.key, figure)) for each in shown]
            cells = [plots.short(values[0]) if values else "" for values in row]
            lines.append(f"| {what} | " + " | ".join(cells) + " |")
    if notes:
        lines += ["", "## What went wrong", ""] + [f"- {note}" for note in notes]
    return "\n".join(lines) + "\n"


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


def bar_panel(subjects, found, figure, title):
    rows = [(each, found.get((each.key, figure))) for each in subjects]
    return title, [(each.title, each.key, *values) for each, values in rows if values]


def draw(subjects, found, folder):
    def bars(name, *panels):
        panels = [bar_panel(subjects, found, figure, title) for figure, title in panels]
        if panels := [panel for panel in panels if panel[1]]:
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
            row = [found.get((each.key, f"{prefix}_{p}_ms")) for p in measure.PERCENTILES]
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
        rows.writerow(["round", "implementation", "figure", "value", "outside_percent"])
        for key, each in rounds.items():
            for number, figures in enumerate(each, 1):
                for figure, (value, outside) in figures.items():
                    rows.writerow([number, key, figure, f"{value:.6g}", f"{outside:.3g}"])
    subjects = [each for each in subjects if rounds[each.key]]
    found = medians(rounds, arguments.quiet)
    (folder / "figures.md").write_text(markdown(subjects, rounds, found, notes, arguments, begun))
    draw(subjects, found, folder)


def read(folder, rounds):
    """Adds the rounds of an earlier run."""
    with open(Path(folder) / "figures.csv", newline="") as file:
        for row in csv.DictReader(file):
            each = rounds.setdefault(row["implementation"], [])
            while len(each) < int(row["round"]):
                each.append({})
            pair = float(row["value"]), float(row["outside_percent"])
            each[int(row["round"]) - 1][row["figure"]] = pair


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="length of each load")
    parser.add_argument("--only", help="what to run, as in proxyherd,go,redis")
    parser.add_argument("--quiet", type=float, default=10, help="percent of the CPU for others")
    parser.add_argument("--patience", type=float, default=0, help="seconds to wait for quiet")
    parser.add_argument("--add", action="store_true", help="to the results in the folder")
    parser.add_argument("--steps", default=",".join(STEPS), help="what to measure of herds")
    parser.add_argument("--out", default=ROOT / "docs" / "comparison", help="folder of the results")
    arguments = parser.parse_args()
    only = set(arguments.only.split(",")) if arguments.only else None
    measure.raise_file_limit()
    subjects = implementations() + others()
    if unknown := (only or set()) - {each.key for each in subjects}:
        raise SystemExit(f"unknown: {', '.join(unknown)}")
    if subjects[0].absent:
        raise SystemExit(f"no load generator: {subjects[0].absent}")
    bench = measure.Bench(subjects[0].command[0])
    measured = []
    for each in subjects:
        if each.absent:
            print(f"skipped: {each.title}: {each.absent}")
        elif not only or each.key in only:
            measured.append(each)
    rounds, notes, begun = {each.key: [] for each in subjects}, [], date.today()
    if arguments.add:
        read(arguments.out, rounds)
        write(subjects, rounds, notes, arguments, begun)
    for number in range(1, arguments.rounds + 1):
        for each in measured:
            start = time.monotonic()

            def note(text, number=number):
                notes.append(f"round {number}: {text}")
                print(f"  {text}", flush=True)

            rounds[each.key].append(measure_round(each, bench, arguments, note))
            took = time.monotonic() - start
            print(f"round {number}: {each.title}: {took:.0f} s", flush=True)
            # What is there is kept if the next one ends the run.
            write(subjects, rounds, notes, arguments, begun)


if __name__ == "__main__":
    main()

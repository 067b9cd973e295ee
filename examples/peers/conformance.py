#!/usr/bin/env python3
"""Runs the same cases of the line protocol against each implementation, and prints a table.

    python3 examples/peers/conformance.py [--only KEY,KEY] [--verbose]

The transcripts are those of the product's own tests (tests/protocol/golden). Their clocks stand
still in 2021 and those of these servers do not, so a skew is not compared with the transcript:
the clock that it implies must lie between the start of the case and now. Left out are transcripts
that need a setting or a clock of their own, and lines about the time after that clock.
"""

import argparse
import re
import socket
import sys
import tempfile
import threading
import time
from itertools import takewhile
from pathlib import Path

from herds import LINKS, NAMES, ROOT, Herd, ask, await_true, implementations
from relays import Relays

GOLDEN = ROOT / "tests" / "protocol" / "golden"
AT = re.compile(rb"(?m)^AT (\S+) ([+-])(\d+)\.(\d{9}) (\S+) (\S+) (\d+)(?:\.(\d+))?\n")
SKEW = re.compile(rb" [+-]\d+\.\d{9} ")
# The seconds of the clock of the transcripts.
GOLDEN_CLOCK = 1_621_464_828
# The clock of a server that has no finer one may be off by this much.
CLOCK_ERROR = 5 * 10**6
NO_PLACES = b"""\
{
   "html_attributions" : [],
   "results" : [],
   "status" : "ZERO_RESULTS"
}

"""


def check(is_true, message):
    if not is_true:
        raise AssertionError(message)


def implied_clock(match):
    """Returns the server's clock of an AT line, in nanoseconds."""
    _, sign, seconds, nanos, _, _, whole, fraction = match.groups()
    skew = int(seconds) * 10**9 + int(nanos)
    sent = int(whole) * 10**9 + int((fraction or b"").ljust(9, b"0")[:9])
    return sent + (-skew if sign == b"-" else skew)


def without_skews(answer, since):
    """Checks all skews, and returns the answer with `~` in their place."""

    def replace(match):
        clock = implied_clock(match)
        check(
            since - CLOCK_ERROR <= clock <= time.time_ns() + CLOCK_ERROR,
            f"{match[0]!r} implies a clock of {clock}",
        )
        return SKEW.sub(b" ~ ", match[0], count=1)

    return AT.sub(replace, answer)


def is_after_golden_clock(lines):
    times = re.findall(rb"(?:IAMAT|AT \S+ \S+) \S+ \S+ (\d{1,17})", lines)
    return any(GOLDEN_CLOCK < int(seconds) <= time.time() + 90_000 for seconds in times)


# The transcripts.


def unescape(text):
    def replace(match):
        kind, inner = match[0][1], match[0][2:].strip("{}")
        if kind == "x":
            return chr(int(inner, 16)).encode("latin1")
        if kind == "u":
            return chr(int(inner, 16)).encode()
        if kind == "{":
            char, count = match[0][2:-1].rsplit("*", 1)
            return char.encode() * int(count)
        return {"\\": b"\\", "t": b"\t", "r": b"\r"}[kind]

    escape = re.compile(r"\\(?:x[0-9a-f]{2}|u\{[0-9a-f]+\}|\{.*?\*\d+\}|[\\tr])")
    no_lf = re.search(r"(?<!\\)(?:\\\\)*\\$", text) is not None
    parts, last = [], 0
    for match in escape.finditer(text):
        parts += [text[last : match.start()].encode(), replace(match)]
        last = match.end()
    rest = text[last:]
    return b"".join(parts) + (rest[:-1] if no_lf else rest).encode() + (b"" if no_lf else b"\n")


def transcript(path):
    """Returns the servers, and for each connection its server, what is sent and what is received.

    Returns no connections if the transcript needs a setting.
    """
    lines = path.read_text().splitlines()
    lines = list(takewhile(lambda line: not line.startswith("set clock"), lines))
    settings = [line.split()[1:] for line in lines if line.startswith("set ")]
    servers = next((values for key, *values in settings if key == "servers"), ["Riley"])
    if any(key != "servers" for key, *_ in settings):
        return servers, []
    connections, is_new = [], True
    for line in lines:
        if sent := re.fullmatch(r"([A-Za-z]*)>(?: (.*)|)", line):
            server = sent[1] or servers[0]
            if is_new or connections[-1][0] != server:
                connections.append([server, b"", b""])
            connections[-1][1] += unescape(sent[2] or "")
            is_new = False
        elif line == "<" or line.startswith("< "):
            connections[-1][2] += unescape(line[2:])
            is_new = True
        else:
            is_new = True
    connections = [each for each in connections if not is_after_golden_clock(each[1] + each[2])]
    return servers, connections


def transcript_case(path):
    def run(implementation, folder):
        servers, connections = transcript(path)
        pairs = list(zip(servers, servers[1:]))
        since = time.time_ns()
        with Herd(implementation, folder, servers, pairs) as herd:
            for server, sent, wanted in connections:
                wanted = AT.sub(lambda match: SKEW.sub(b" ~ ", match[0], count=1), wanted)
                answer = b""

                def is_answered(server=server, sent=sent, wanted=wanted):
                    nonlocal answer
                    answer = without_skews(ask(herd.address(server), sent), since)
                    return answer == wanted

                # Only a query of another server's report may have to wait for it.
                patience = 5 if len(servers) > 1 and sent.startswith(b"WHATSAT") else 0
                try:
                    await_true(is_answered, "", patience)
                except TimeoutError:
                    texts = (text[:300] for text in (sent, wanted, answer))
                    check(False, "sent {!r}\n  wanted {!r}\n  got    {!r}".format(*texts))

    return run


# One server.


def one(test):
    def run(implementation, folder):
        with Herd(implementation, folder, NAMES[:1], []) as herd:
            test(herd.address(NAMES[0]))

    return run


@one
def exact_skews(address):
    """A skew that goes through a double is off by up to 128 ns, so that clocks would go back."""
    base = time.time_ns() - 10**9
    times = [base - 7 * k for k in range(1000)]
    lines = [f"IAMAT k{k} +1+1 {t // 10**9}.{t % 10**9:09d}\n" for k, t in enumerate(times)]
    clocks = [implied_clock(match) for match in AT.finditer(ask(address, "".join(lines).encode()))]
    check(len(clocks) == 1000, f"{len(clocks)} of 1000 answers")
    check(clocks == sorted(clocks), "the clock that skews imply goes back")


@one
def future(address):
    now = time.time()
    near, far = f"IAMAT a +1+1 {now + 86_390:.6f}", f"IAMAT b +1+1 {now + 86_410:.6f}"
    answer = ask(address, f"{near}\n{far}\n".encode())
    check(answer.startswith(b"AT Riley -86389."), answer)
    check(answer.endswith(f"? {far}\n".encode()), answer)


@one
def clock_ahead(address):
    """A client whose clock is an hour ahead counts as ten seconds ahead."""
    now = time.time()
    times = [f"{now + ahead:.6f}" for ahead in (3600, 5, 3500)]
    lines = [f"IAMAT kiwi +{n}+1 {time}" for n, time in enumerate(times)]
    query = "WHATSAT kiwi 0 0"
    answers = ask(address, "\n".join([lines[0], lines[1], query, ""]).encode())
    check(f" {times[0]}\n{{".encode() in answers, answers)
    # Later by any amount, but received later.
    answers = ask(address, "\n".join([lines[2], query, ""]).encode())
    check(f" {times[2]}\n{{".encode() in answers, answers)


@one
def pipelined(address):
    now = f"{time.time():.6f}"
    lines = [f"IAMAT c{n} +1+1 {now}\nx{n}\nWHATSAT c{n} 5 0\n" for n in range(5000)]
    at = [f"AT Riley ~ c{n} +1+1 {now}\n".encode() for n in range(5000)]
    wanted = b"".join(a + b"? x%d\n" % n + a + NO_PLACES for n, a in enumerate(at))
    since = time.time_ns()
    sent = "".join(lines).encode()
    # The answers are more than sockets hold, so the server must wait for the slow reader.
    with socket.create_connection(address, 30) as connection:
        sending = threading.Thread(target=connection.sendall, args=[sent])
        sending.start()
        got = without_skews(ask(address, sent), since)
        check(got == wanted, "other answers, or in another order")
        sending.join(0.5)
        got = b""
        while got.count(NO_PLACES) < 5000:
            part = connection.recv(1 << 20)
            check(part, "closed before the end")
            got += part
        sending.join()
        check(without_skews(got, since) == wanted, "other answers to a slow reader")


@one
def split(address):
    """A line in many segments, and a client that stays connected between lines."""
    with socket.create_connection(address, 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for round in range(3):
            for byte in b"hello %d\r\n" % round:
                connection.sendall(bytes([byte]))
                time.sleep(0.001)
            answer = b""
            while not answer.endswith(b"\n"):
                answer += connection.recv(100)
            check(answer == b"? hello %d\n" % round, answer)


@one
def endless_line(address):
    """A line of 8 MB takes no memory, and its connection goes on."""
    answer = ask(address, b"x" * (8 << 20) + b"\nhello\n")
    check(answer == b"? " + b"x" * 4096 + b"\n? hello\n", answer[:100])


@one
def no_reader(address):
    """A client that sends and does not read slows nobody else."""
    with socket.create_connection(address, 30) as connection:
        connection.setblocking(False)
        sent, start = 0, time.monotonic()
        while sent < 64 << 20 and time.monotonic() < start + 2:
            try:
                sent += connection.send(b"hello\n" * 10_000)
            except BlockingIOError:
                time.sleep(0.01)
        check(sent < 64 << 20, "the server reads on without bound")
        check(ask(address, b"hi\n") == b"? hi\n", "no answer for another client")


# The herd of five.


def five(test):
    def run(implementation, folder):
        with Herd(implementation, folder) as herd:
            test(herd)

    return run


def holders(herd, report, names=NAMES):
    """Returns the servers that hold exactly this report."""
    query = f"WHATSAT {report.split()[0]} 0 0\n".encode()
    found = [name for name in names if f" {report}\n".encode() in ask(herd.address(name), query)]
    return set(found)


def await_everywhere(herd, reports, names=NAMES):
    for report in reports:
        await_true(
            lambda report=report: holders(herd, report, names) == set(names),
            f"{report} at all of {', '.join(names)}",
        )


def report_at(herd, name, client, time, position="+1+1"):
    report = f"{client} {position} {time:.6f}"
    answer = ask(herd.address(name), f"IAMAT {report}\n".encode())
    check(answer.endswith(f" {report}\n".encode()), answer)
    return report


@five
def flooding(herd):
    """A report at each server is at every other; the newest wins, wherever it is reported."""
    now = time.time()
    await_everywhere(herd, [report_at(herd, name, f"at-{name}", now) for name in NAMES])
    report_at(herd, "Riley", "kiwi", now + 1)
    report_at(herd, "Campbell", "kiwi", now - 1)
    await_everywhere(herd, [report_at(herd, "Bernard", "kiwi", now + 2)])


@five
def restarts(herd):
    """Each server is killed in turn, and has all reports soon after its start."""
    now, held = time.time(), []
    for number, name in enumerate(NAMES):
        herd.kill(name)
        rest = [other for other in NAMES if other != name]
        held.append(report_at(herd, rest[number % 4], f"while-{name}", now))
        await_everywhere(herd, held, rest)
        herd.start(name)
        herd.await_answer(name)
        await_everywhere(herd, held)


def partition(implementation, folder):
    """Reports on both sides of a cut are everywhere once it heals, and the newest wins."""
    with Relays() as relays:
        with Herd(implementation, folder, via=relays.ports) as herd:
            now = time.time()
            # What stays: Riley and Juzang, Bernard and Campbell.
            kept = {("Riley", "Juzang"), ("Bernard", "Campbell")}
            relays.cut(link for link in LINKS if link not in kept)
            old = report_at(herd, "Riley", "kiwi", now)
            await_everywhere(herd, [old], ["Riley", "Juzang"])
            new = report_at(herd, "Campbell", "kiwi", now + 1)
            await_everywhere(herd, [new], ["Campbell", "Bernard"])
            alone = report_at(herd, "Jaquez", "plum", now)
            check(holders(herd, old) == {"Riley", "Juzang"}, "the cut has a hole")
            relays.heal()
            await_everywhere(herd, [new, alone])


@five
def ties(herd):
    """Of two reports with one time every server keeps the same one."""
    now = time.time() - 5
    for number in range(20):
        report_at(herd, NAMES[number % 5], f"tie-{number}", now, "+1+1")
        report_at(herd, NAMES[(number + 1 + number // 5) % 5], f"tie-{number}", now, "+2+2")
    queries = "".join(f"WHATSAT tie-{n} 0 0\n" for n in range(20)).encode()
    await_true(lambda: len({ask(herd.address(name), queries) for name in NAMES}) == 1, "agreement")


ONE = {
    "skew exact to the nanosecond": exact_skews,
    "time a day ahead, and beyond": future,
    "clock ahead counts as 10 s": clock_ahead,
    "15,000 pipelined lines, slow reader": pipelined,
    "lines in many segments": split,
    "line of 8 MB": endless_line,
    "client that does not read": no_reader,
}
FIVE = {
    "flooding, newest wins": flooding,
    "ties": ties,
    "each server killed and restarted": restarts,
    "partition and healing": partition,
}


def cases():
    for path in sorted(GOLDEN.glob("*.txt")):
        if connections := len(transcript(path)[1]):
            yield f"{path.stem} ({connections} connections)", transcript_case(path)
    yield from ONE.items()
    yield from FIVE.items()


def run(implementation, case, verbose):
    with tempfile.TemporaryDirectory() as folder:
        try:
            case(implementation, folder)
            return "yes"
        except (AssertionError, OSError, SystemExit) as error:
            if verbose:
                print(f"  {error}", file=sys.stderr)
            return "no"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="implementations, as in proxyherd,go")
    parser.add_argument("--case", help="cases whose names contain this")
    parser.add_argument("--verbose", action="store_true", help="print why a case fails")
    arguments = parser.parse_args()
    found = implementations(arguments.only and arguments.only.split(","))
    for implementation in found:
        if implementation.absent:
            print(f"skipped: {implementation.title}: {implementation.absent}", file=sys.stderr)
    found = [implementation for implementation in found if not implementation.absent]
    columns = [implementation.title for implementation in found]
    runs = [(name, case, found) for name, case in cases()]
    # One herd of all languages: they share their format between servers.
    mixed = [implementation for implementation in found if implementation.key != "proxyherd"]
    print("| case |", " | ".join(columns), "|\n|---|" + "---|" * len(columns))
    failed = 0
    for name, case, of in runs:
        if arguments.case and arguments.case not in name:
            continue
        results = [run(implementation, case, arguments.verbose) for implementation in of]
        failed += results.count("no")
        print(f"| {name} |", " | ".join(results), "|", flush=True)
    if len(mixed) > 1:
        herd = {name: mixed[number % len(mixed)] for number, name in enumerate(NAMES)}
        for name, case in FIVE.items():
            if arguments.case and arguments.case not in name:
                continue
            result = run(herd, case, arguments.verbose)
            failed += result == "no"
            print(f"one herd of {', '.join(i.title for i in mixed)}: {name}: {result}", flush=True)
    print(f"{failed} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())

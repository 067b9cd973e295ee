#!/usr/bin/env python3
"""A server of a herd, on asyncio: python3 herd.py [--uvloop] CONFIG NAME

Protocols and not streams, because a stream costs a task, a future and a lock for each line.
The answers to the lines of one segment leave in one write, and so do the reports that arrive
in one turn of the event loop.
"""

import argparse
import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

MAX_LINE = 4096
MAX_FUTURE = 86_400 * 10**9
MAX_AHEAD = 10 * 10**9
MIN_RETRY, MAX_RETRY = 0.05, 1.0

# In patterns of bytes, \s is exactly the white space of the protocol.
IAMAT = re.compile(
    rb"\s*IAMAT\s+(\S{1,255})"
    rb"\s+((?=[+-][\d.]{1,31}[+-][\d.]{1,31}/?\s)"
    rb"[+-]0*(?:[1-8]?\d(?:\.\d+)?|90(?:\.0+)?)"
    rb"[+-]0*(?:(?:1[0-7]\d|[1-9]?\d)(?:\.\d+)?|180(?:\.0+)?)/?)"
    rb"\s+((?=[\d.]{1,32}(?:\s|$))(\d+)(?:\.(\d{1,18}))?)\s*"
)
WHATSAT = re.compile(
    rb"\s*WHATSAT\s+(\S{1,255})"
    rb"\s+0*(?:[1-4]?\d(?:\.\d+)?|50(?:\.0+)?)"
    rb"\s+0*(?:1?\d|20)\s*"
)

NO_PLACES = b"""\
{
   "html_attributions" : [],
   "results" : [],
   "status" : "ZERO_RESULTS"
}

"""


def nanoseconds(seconds: bytes, fraction: bytes | None) -> int:
    return int(seconds) * 10**9 + int((fraction or b"0").ljust(9, b"0")[:9])


def order_time(sent: int, skew: int) -> int:
    """The time by which reports are ordered: at most 10 s after they were received."""
    return sent + min(0, skew + MAX_AHEAD)


def tie_break(line: bytes) -> tuple[int, bytes, bytes, int, bytes]:
    """The key that decides between two reports of one order time."""
    _, origin, skew, _, position, text = line.split()
    seconds, _, fraction = text.partition(b".")
    smaller_skew = -int(skew.replace(b".", b""))
    return nanoseconds(seconds, fraction), origin, position, smaller_skew, text


class Herd:
    """The reports of one server, and its links."""

    def __init__(self, name: str) -> None:
        self.name = name.encode()
        # The order time and the AT line of each client.
        self.reports: dict[bytes, tuple[int, bytes]] = {}
        self.links: dict[str, Link] = {}
        self.loop = asyncio.get_running_loop()
        self.is_flush_due = False

    def answer(self, line: bytes) -> bytes:
        if match := IAMAT.fullmatch(line):
            client, position, text, seconds, fraction = match.groups()
            now, sent = time.time_ns(), nanoseconds(seconds, fraction)
            if sent <= now + MAX_FUTURE and is_utf8(client):
                skew = now - sent
                at = b"AT %b %c%d.%09d %b %b %b\n" % (
                    self.name, 45 if skew < 0 else 43, *divmod(abs(skew), 10**9),
                    client, position, text,
                )  # fmt: skip
                self.merge(client, order_time(sent, skew), at, None)
                return at
        elif match := WHATSAT.fullmatch(line):
            if report := self.reports.get(match[1]):
                return report[1] + NO_PLACES
        return b"? %b\n" % line

    def merge(self, client: bytes, order: int, line: bytes, sender: str | None) -> None:
        """Keeps a report that is newer than the one held, and passes it on."""
        if held := self.reports.get(client):
            if order < held[0] or line == held[1]:
                return
            if order == held[0] and tie_break(line) <= tie_break(held[1]):
                return
        self.reports[client] = (order, line)
        for name, link in self.links.items():
            if name != sender:
                link.pending[client] = line
        if not self.is_flush_due:
            self.is_flush_due = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        self.is_flush_due = False
        for link in self.links.values():
            link.flush()


def is_utf8(text: bytes) -> bool:
    try:
        return text.isascii() or text.decode() is not None
    except UnicodeDecodeError:
        return False


class Client(asyncio.Protocol):
    """A connection of a client."""

    transport: asyncio.Transport

    def __init__(self, herd: Herd) -> None:
        self.herd, self.rest = herd, b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self.rest + data).split(b"\n")
        # Of a line that is too long, one byte more than the limit and a CR is enough.
        self.rest = rest[: MAX_LINE + 2]
        if lines:
            answers = [self.answer(line.removesuffix(b"\r")) for line in lines]
            self.transport.write(b"".join(answers))

    def answer(self, line: bytes) -> bytes:
        if len(line) > MAX_LINE:
            return b"? %b\n" % line[:MAX_LINE]
        return self.herd.answer(line)

    def eof_received(self) -> None:
        if self.rest:
            self.transport.write(self.answer(self.rest))

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class Neighbour(asyncio.Protocol):
    """A connection on which a neighbour sends its name and then AT lines."""

    def __init__(self, herd: Herd) -> None:
        self.herd, self.rest = herd, b""
        self.sender: str | None = None

    def data_received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        if lines and self.sender is None:
            self.sender = lines.pop(0).decode()
        for line in lines:
            _, _, skew, client, _, text = line.split()
            seconds, _, fraction = text.partition(b".")
            sent = nanoseconds(seconds, fraction)
            # Only a negative skew, that of a client whose clock is ahead, can change the order.
            order = sent if skew[0] == 43 else order_time(sent, int(skew.replace(b".", b"")))
            self.herd.merge(client, order, line + b"\n", self.sender)


class Link(asyncio.Protocol):
    """The connection on which this server sends to one neighbour."""

    def __init__(self, herd: Herd, port: int) -> None:
        self.herd, self.port = herd, port
        self.transport: asyncio.Transport | None = None
        self.is_paused = False
        # At most one report for each client, however long the neighbour takes.
        self.pending: dict[bytes, bytes] = {}

    async def run(self) -> None:
        retry = MIN_RETRY
        while True:
            try:
                closed = self.closed = self.herd.loop.create_future()
                await self.herd.loop.create_connection(lambda: self, "127.0.0.1", self.port)
                retry = MIN_RETRY
                await closed
            except OSError:
                pass
            await asyncio.sleep(retry)
            retry = min(2 * retry, MAX_RETRY)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport, self.is_paused = transport, False
        transport.write(self.herd.name + b"\n")
        # Nothing tells what the neighbour has, so it gets everything.
        self.pending = {client: line for client, (_, line) in self.herd.reports.items()}
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.transport, self.pending = None, {}
        self.closed.set_result(None)

    def pause_writing(self) -> None:
        self.is_paused = True

    def resume_writing(self) -> None:
        self.is_paused = False
        self.flush()

    def flush(self) -> None:
        if self.transport is None:
            self.pending.clear()
        elif self.pending and not self.is_paused:
            lines, self.pending = self.pending, {}
            self.transport.write(b"".join(lines.values()))


def read_config(path: str) -> tuple[dict[str, tuple[int, int]], list[tuple[str, str]]]:
    servers: dict[str, tuple[int, int]] = {}
    links: list[tuple[str, str]] = []
    for line in Path(path).read_text().splitlines():
        match line.partition("#")[0].split():
            case ["server", name, clients, peers]:
                servers[name] = int(clients), int(peers)
            case ["link", one, other]:
                links += (one, other), (other, one)
    return servers, links


async def serve(config: str, name: str) -> None:
    servers, links = read_config(config)
    herd = Herd(name)
    for one, other in links:
        if one == name:
            herd.links[other] = Link(herd, servers[other][1])
    clients, peers = servers[name]
    await listen(herd.loop, clients, lambda: Client(herd))
    await listen(herd.loop, peers, lambda: Neighbour(herd))
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.Event().wait())
        for link in herd.links.values():
            group.create_task(link.run())


async def listen(
    loop: asyncio.AbstractEventLoop, port: int, protocol: Callable[[], asyncio.Protocol]
) -> None:
    await loop.create_server(protocol, "127.0.0.1", port, backlog=4096)


def main() -> None:
    parser = argparse.ArgumentParser(description="A server of a herd.")
    parser.add_argument("--uvloop", action="store_true", help="libuv's event loop")
    parser.add_argument("config")
    parser.add_argument("name")
    arguments = parser.parse_args()
    loop_factory = None
    if arguments.uvloop:
        import uvloop

        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        try:
            runner.run(serve(arguments.config, arguments.name))
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()

"""Relays between the servers of a herd, which cut or stall its links."""

import selectors
import socket
import threading

from herds import FIRST_PEER_PORT, LINKS, NAMES

FIRST_PORT = FIRST_PEER_PORT + 100
SIZE = 1 << 16


class Relays:
    """One relay for each direction of each link, all on one thread.

    A link that is cut has its connections closed and new ones refused. One that is stalled keeps
    its connections, and accepts new ones, and moves no byte until it heals: what a network does
    that loses packets.
    """

    def __init__(self, links=LINKS, names=NAMES):
        self.ports, self.listeners = {}, {}
        self.selector = selectors.DefaultSelector()
        self.lock = threading.Lock()
        self.pairs = {}  # link: list of pairs of sockets
        self.is_cut, self.is_stalled = set(), set()
        self.target = {name: FIRST_PEER_PORT + number for number, name in enumerate(names)}
        for number, (one, other) in enumerate(both_ways(links)):
            self.ports[one, other] = FIRST_PORT + number
            self.listen((one, other))
        self.is_done = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def listen(self, link):
        listener = socket.create_server(("127.0.0.1", self.ports[link]))
        listener.setblocking(False)
        self.listeners[link] = listener
        self.selector.register(listener, selectors.EVENT_READ, (link, None))

    def __exit__(self, *_):
        self.is_done = True
        self.thread.join()
        self.cut(self.ports)

    def cut(self, links):
        with self.lock:
            self.is_cut |= set(both_ways(links))
            for link in self.is_cut:
                if listener := self.listeners.pop(link, None):
                    self.close([listener])
                for pair in self.pairs.pop(link, []):
                    self.close(pair)

    def stall(self, links):
        with self.lock:
            self.is_stalled |= set(both_ways(links))

    def heal(self):
        with self.lock:
            for link in self.is_cut:
                self.listen(link)
            self.is_cut.clear()
            self.is_stalled.clear()

    def close(self, pair):
        for end in pair:
            try:
                self.selector.unregister(end)
            except (KeyError, ValueError):
                pass
            end.close()

    def run(self):
        while not self.is_done:
            ready = self.selector.select(0.05)
            with self.lock:
                is_waiting = False
                for key, _ in ready:
                    link, pair = key.data
                    if pair is None:
                        self.accept(link, key.fileobj)
                    elif link in self.is_stalled:
                        is_waiting = True
                    elif key.fileobj.fileno() >= 0:
                        self.move(link, pair, key.fileobj)
            if is_waiting:
                threading.Event().wait(0.005)

    def accept(self, link, listener):
        try:
            caller, _ = listener.accept()
        except OSError:
            # It was cut meanwhile.
            return
        try:
            server = socket.create_connection(("127.0.0.1", self.target[link[1]]), 5)
        except OSError:
            caller.close()
            return
        pair = caller, server
        self.pairs.setdefault(link, []).append(pair)
        for end in pair:
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.selector.register(end, selectors.EVENT_READ, (link, pair))

    def move(self, link, pair, end):
        other = pair[1] if end is pair[0] else pair[0]
        try:
            data = end.recv(SIZE)
            if data:
                other.settimeout(5)
                other.sendall(data)
                return
        except OSError:
            pass
        self.close(pair)
        self.pairs[link].remove(pair)


def both_ways(links):
    return [pair for one, other in links for pair in ((one, other), (other, one))]

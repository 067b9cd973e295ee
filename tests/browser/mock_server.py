#!/usr/bin/env python3
"""Serves the web page with the API of a made-up herd, to try the page without a herd.

usage: mock_server.py [--port N] [--clients N] [--interval SECONDS] [--token TEXT] [--limit N] [--speed FACTOR]

The herd is the classic one, with clients that walk and drive around large cities; each reports
once in an interval. The contract is docs/openapi.json. POST /mock/kill?server=NAME and
/mock/start?server=NAME take a server of the herd down and up.
"""

import argparse
import collections
import functools
import gzip
import http.server
import json
import math
import pathlib
import random
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".gz": "application/gzip",
}
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
LINKS = {
    "Riley": ["Jaquez", "Juzang"],
    "Jaquez": ["Riley", "Bernard"],
    "Juzang": ["Riley", "Campbell", "Bernard"],
    "Campbell": ["Juzang", "Bernard"],
    "Bernard": ["Jaquez", "Juzang", "Campbell"],
}
TICK = 0.05
KM = 6371.0088


def rfc3339(seconds):
    millis = round(seconds * 1000) % 1000
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{millis:03d}Z"


def distance_km(lat1, lon1, lat2, lon2):
    lat1, lon1, lat2, lon2 = map(math.radians, (lat1, lon1, lat2, lon2))
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * KM * math.asin(min(1, math.sqrt(h)))


class Problem(Exception):
    def __init__(self, status, detail):
        super().__init__(detail)
        self.status = status


class Client:
    __slots__ = ("id", "lat", "lon", "heading", "speed", "origin", "time", "sequence")

    def __init__(self, number, city, rng):
        self.id = f"c{number:07d}" if number else "kiwi.cs.ucla.edu"
        spread = abs(rng.gauss(0, 0.12))
        angle = rng.uniform(0, 2 * math.pi)
        self.lat = max(-85, min(85, city[2] + spread * math.sin(angle)))
        self.lon = city[1] + spread * math.cos(angle) / math.cos(math.radians(self.lat))
        self.heading = rng.uniform(0, 2 * math.pi)
        self.speed = rng.choice((1.4, 1.4, 8, 14, 25))
        self.origin = rng.choice(list(LINKS))
        self.time = time.time()
        self.sequence = 0

    def step(self, seconds, rng):
        self.heading += rng.gauss(0, 0.25)
        meters = self.speed * OPTIONS.speed * seconds
        self.lat = max(-85, min(85, self.lat + meters * math.sin(self.heading) / 111_195))
        self.lon += meters * math.cos(self.heading) / 111_195 / math.cos(math.radians(self.lat))
        self.lon = (self.lon + 180) % 360 - 180

    def properties(self, now):
        learned = "null" if self.origin == "Riley" else '"Jaquez"'
        return (
            f'"position":"{self.lat:+.6f}{self.lon:+.6f}","time":"{self.time:.9f}",'
            f'"origin":"{self.origin}","skew_nanos":3795328,"sequence":{self.sequence},'
            f'"learned_at":"{rfc3339(self.time)}","learned_from":{learned},'
            f'"age_seconds":{now - self.time:.6f}'
        )

    def feature(self, now, more=""):
        return (
            f'{{"type":"Feature","id":{json.dumps(self.id)},"geometry":{{"type":"Point",'
            f'"coordinates":[{self.lon:.6f},{self.lat:.6f}]}},'
            f'"properties":{{{self.properties(now)}{more}}}}}'
        )


class Herd:
    """The state of the herd, and the thread that moves its clients."""

    def __init__(self, clients, interval):
        labels = json.loads(gzip.decompress((ROOT / "data/labels.json.gz").read_bytes()))
        rng = random.Random(7)
        cities = labels["cities"][:150]
        los_angeles = next(city for city in labels["cities"] if city[0] == "Los Angeles")
        self.clients = {}
        for number in range(clients):
            city = los_angeles if number < max(1, clients // 25) else rng.choice(cities)
            client = Client(number, city, rng)
            self.clients[client.id] = client
        self.order = sorted(self.clients.values(), key=lambda it: it.id.encode())
        self.interval, self.rng = interval, rng
        self.incarnation = f"{random.getrandbits(64):016x}"
        self.sequence = 0
        self.log = collections.deque(maxlen=200_000)
        self.changed = threading.Condition()
        self.down = {}
        self.started = {name: time.time() for name in LINKS}
        self.accepted = collections.Counter()
        threading.Thread(target=self.walk, daemon=True).start()

    def walk(self):
        everyone, at = list(self.clients.values()), 0.0
        last = time.time()
        while True:
            time.sleep(TICK)
            now = time.time()
            due, last = (now - last) / self.interval * len(everyone), now
            batch = []
            for _ in range(min(len(everyone), int(at + due) - int(at))):
                client = everyone[(int(at) + len(batch)) % len(everyone)]
                client.step(now - client.time, self.rng)
                if client.origin in self.down:
                    client.origin = next(name for name in LINKS if name not in self.down)
                client.time = now
                batch.append(client)
            at = (at + due) % max(1, len(everyone))
            with self.changed:
                for client in batch:
                    self.sequence += 1
                    client.sequence = self.sequence
                    self.accepted[client.origin] += 1
                    self.log.append((self.sequence, client))
                self.changed.notify_all()

    def status(self, name, now):
        up = now - self.started[name]
        total = sum(self.accepted.values()) - sum(
            count for other, count in self.accepted.items() if other == name
        )
        links = [self.link(name, other, now, total) for other in LINKS[name]]
        rejected = dict.fromkeys(
            [
                "max_connections",
                "network",
                "per_address",
                "no_certificate",
                "untrusted_ca",
                "expired",
                "plaintext",
                "proxy_header",
                "evicted",
                "own_certificate",
                "other",
            ],
            0,
        )
        lines = dict.fromkeys(
            [
                "accepted",
                "stale",
                "rejected_max_future",
                "rejected_max_clients",
                "located",
                "unknown",
                "malformed",
            ],
            0,
        )
        return {
            "name": name,
            "herd": "classic",
            "version": "0.1.0",
            "incarnation": self.incarnation,
            "started_at": rfc3339(self.started[name]),
            "uptime_seconds": up,
            "now": rfc3339(now),
            "draining": False,
            "config": {
                "last_reload_successful": True,
                "last_reload_at": rfc3339(self.started[name]),
                "last_success_at": rfc3339(self.started[name]),
            },
            "log_lines_dropped": 0,
            "expire_after_seconds": None,
            "clients": len(self.clients),
            "clients_limit": 10_000_000,
            "feed_entries": len(self.clients),
            "last_sequence": self.sequence,
            "client_lines": {**lines, "accepted": self.accepted[name]},
            "client_connections": 16,
            "client_connections_limit": 20_000,
            "client_connections_accepted": 16,
            "incarnation_renewals": 0,
            "client_reads_delayed": 0,
            "client_connections_rejected": rejected,
            "peer_connections_rejected": rejected,
            "web_connections_rejected": rejected,
            "peer_calls_rejected": {"certificate": 0, "other": 0},
            "web_calls_rejected": dict.fromkeys(
                ["missing_token", "wrong_token", "rate_limited", "host", "max_watches", "max_calls"], 0
            ),
            "peer_calls_evicted": 0,
            "servers_with_web": list(LINKS),
            "places": {"provider": "offline", "answered": 0, "failed": 0},
            "links": links,
        }

    def link(self, name, other, now, total):
        gone = self.down.get(other)
        lag = 0.004 + 0.004 * math.sin(now / 9 + hash((name, other)) % 7) if gone is None else now - gone
        pending = 0 if gone is None else int((now - gone) * len(self.clients) / self.interval)
        return {
            "neighbour": other,
            "up": gone is None,
            "since": rfc3339(gone or self.started[other]),
            "state_changes": 1,
            "reason": "" if gone is None else "Connection refused (os error 111)",
            "cursor": self.sequence - pending,
            "lag_reports": pending,
            "lag_seconds": lag,
            "batches_sent": 100,
            "reports_sent": total,
            "calls_failed": 0,
            "last_round_trip_seconds": 0.0007 + 0.0002 * math.sin(now),
            "batches_received": 100,
            "received_newer": total // len(LINKS[name]),
            "received_duplicate": int(total * 0.35 / len(LINKS[name])),
            "received_stale": 0,
            "stalled_seconds": None if gone is None else now - gone,
            "comparisons": 0,
            "ranges_differed": 0,
            "reports_pushed_again": 0,
            "clock_offset_seconds": 0.00003,
            "clock_offset_error_seconds": 0.0002,
            "incoming": gone is None,
            "incoming_silence_seconds": 0.2,
            "incoming_incarnation": self.incarnation,
            "neighbour_duplicates": 0,
        }


HERD = None
OPTIONS = None


def numbers(text, count, name):
    parts = text.split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) != count or not all(math.isfinite(value) for value in values):
        raise Problem(400, f"{name}: {text!r} is not {count} numbers; separate them with commas")
    return values


def bbox_of(query):
    if "bbox" not in query:
        return -180, -90, 180, 90
    west, south, east, north = numbers(query["bbox"], 4, "bbox")
    if south > north or not (-90 <= south and north <= 90):
        raise Problem(400, "bbox: south and north must be latitudes, south first")
    return west, south, east, north


def is_within(box, lon, lat):
    west, south, east, north = box
    inside = west <= lon <= east if west <= east else lon >= west or lon <= east
    return inside and south <= lat <= north


def limit_of(query, default, most):
    value = int(query.get("limit", default))
    if not 0 <= value <= most:
        raise Problem(400, f"limit: {value} is out of range; at most {most}")
    return value


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        url = urllib.parse.urlsplit(self.path)
        name = dict(urllib.parse.parse_qsl(url.query)).get("server")
        if url.path == "/mock/kill":
            HERD.down[name] = time.time()
        elif url.path == "/mock/start":
            HERD.down.pop(name, None)
            HERD.started[name] = time.time()
        self.send(200, "text/plain", b"done\n")

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        try:
            if url.path.startswith("/api/v1/"):
                self.api(url.path.removeprefix("/api/v1/"), query)
            else:
                self.file(url.path)
        except Problem as problem:
            body = {
                "type": "about:blank",
                "title": http.HTTPStatus(problem.status).phrase,
                "status": problem.status,
                "detail": str(problem),
            }
            self.send(problem.status, "application/problem+json", json.dumps(body).encode())
        except (BrokenPipeError, ConnectionResetError):
            pass

    def file(self, path):
        name = "index.html" if path == "/" else path.lstrip("/")
        folder = ROOT if name.startswith("data/") else ROOT / "page"
        file = (folder / name).resolve()
        if not file.is_file() or folder not in file.parents:
            raise Problem(404, f"there is no {path}")
        self.send(200, TYPES[file.suffix], file.read_bytes())

    def send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", CSP)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-cache")
        if status == 401:
            self.send_header("WWW-Authenticate", 'Bearer realm="proxyherd"')
        self.end_headers()
        self.wfile.write(body)

    def json(self, value, kind="application/json"):
        self.send(200, kind, (value if isinstance(value, str) else json.dumps(value)).encode())

    def api(self, path, query):
        if OPTIONS.token and self.headers.get("Authorization") != f"Bearer {OPTIONS.token}":
            raise Problem(
                401,
                "the token is wrong; it is the content of the file that token_file names"
                if self.headers.get("Authorization")
                else "a token is needed",
            )
        if "Riley" in HERD.down:
            self.close_connection = True
            self.connection.close()
            return
        if path.startswith("clients/"):
            self.locate(urllib.parse.unquote(path.removeprefix("clients/")))
            return
        call = {
            "herd": self.herd,
            "clients": self.list,
            "near": self.near,
            "places": self.places,
            "names": self.names,
            "watch": self.watch,
        }.get(path)
        if not call:
            raise Problem(404, f"there is no /api/v1/{path}")
        call(query)

    def herd(self, _):
        now = time.time()
        servers = [
            {
                "server": name,
                "address": f"127.0.0.1:{13000 + i}",
                "neighbours": LINKS[name],
                "asked_at": rfc3339(now),
                "error": "Connection refused (os error 111)" if name in HERD.down else None,
                "status": None if name in HERD.down else HERD.status(name, now),
            }
            for i, name in enumerate(LINKS)
        ]
        self.json(
            {
                "server": "Riley",
                "herd": "classic",
                "now": rfc3339(now),
                "healthy": not HERD.down,
                "problems": problems(),
                "tiles": None,
                "servers": servers,
            }
        )

    def list(self, query):
        box, prefix, limit = bbox_of(query), query.get("prefix", ""), limit_of(query, 1000, 20_000)
        limit = min(limit, OPTIONS.limit)
        cursor = f"{HERD.incarnation}-{HERD.sequence}"
        now = time.time()
        found = [it for it in HERD.order if it.id.startswith(prefix) and is_within(box, it.lon, it.lat)]
        cell = None
        if len(found) <= limit:
            features = [it.feature(now) for it in found]
        else:
            cell, features = grid(found, box)
        self.json(
            f'{{"type":"FeatureCollection","server":"Riley","matched":{len(found)},'
            f'"cell_degrees":{json.dumps(cell)},"cursor":"{cursor}","features":[{",".join(features)}]}}',
            "application/geo+json",
        )

    def locate(self, name):
        client, now = HERD.clients.get(name), time.time()
        if not client:
            raise Problem(404, f"no server holds a report of {name!r}")
        report = {
            "client": client.id,
            "position": f"{client.lat:+.6f}{client.lon:+.6f}",
            "time": f"{client.time:.9f}",
            "origin": client.origin,
            "skew_nanos": 3795328,
        }
        report["at_line"] = (
            f"AT {client.origin} +0.003795328 {client.id} {report['position']} {report['time']}"
        )
        up = [it for it in LINKS if it not in HERD.down]
        held = [
            {
                "server": it,
                "age_seconds": now - client.time,
                **report,
                "sequence": client.sequence,
                "learned_at": rfc3339(client.time),
                "learned_from": None if it == client.origin else LINKS[it][0],
            }
            for it in up
        ]
        errors = [{"server": it, "error": "Connection refused (os error 111)"} for it in HERD.down]
        self.json(
            {
                "client": client.id,
                "agree": True,
                "newest": report,
                "held": held,
                "unknown_to": [],
                "errors": errors,
            }
        )

    def center(self, query):
        if ("client" in query) == ("point" in query):
            raise Problem(400, "exactly one of client and point is needed")
        if "point" in query:
            return (*numbers(query["point"], 2, "point"), None)
        client = HERD.clients.get(query["client"])
        if not client:
            raise Problem(404, "this server holds no report of the client")
        return client.lat, client.lon, client

    def near(self, query):
        lat, lon, own = self.center(query)
        radius, limit, now = float(query.get("radius", "inf")), limit_of(query, 100, 10_000), time.time()
        all_ = ((distance_km(lat, lon, it.lat, it.lon), it) for it in HERD.order if it is not own)
        found = sorted((it for it in all_ if it[0] <= radius), key=lambda it: it[0])[:limit]
        features = [it.feature(now, f',"distance_meters":{km * 1000:.3f}') for km, it in found]
        self.json(
            f'{{"type":"FeatureCollection","server":"Riley","center":[{lon},{lat}],'
            f'"features":[{",".join(features)}]}}',
            "application/geo+json",
        )

    def places(self, query):
        lat, lon, client = self.center(query)
        radius, limit = float(query.get("radius", 10)), limit_of(query, 20, 20)
        found = sorted((distance_km(lat, lon, y, x), name, x, y) for name, x, y in places_list())
        results = [
            {
                "geometry": {"location": {"lat": y, "lng": x}},
                "name": name,
                "types": ["locality"],
                "vicinity": "Somewhere",
            }
            for km, name, x, y in found[:limit]
            if km <= radius
        ]
        self.json(
            {
                "server": "Riley",
                "center": [lon, lat],
                "at_line": client and f"AT Riley +0.003 {client.id} {lat:+.6f}{lon:+.6f} {client.time:.9f}",
                "places": {
                    "html_attributions": [],
                    "results": results,
                    "status": "OK" if results else "ZERO_RESULTS",
                },
            }
        )

    def names(self, query):
        box, limit = bbox_of(query), limit_of(query, 200, 1000)
        found = [it for it in places_list() if is_within(box, it[1], it[2])][:limit]
        self.json(
            {
                "type": "FeatureCollection",
                "features": [
                    {
                        "type": "Feature",
                        "geometry": {"type": "Point", "coordinates": [x, y]},
                        "properties": {"name": name},
                    }
                    for name, x, y in found
                ],
            },
            "application/geo+json",
        )

    def watch(self, query):
        box = bbox_of(query)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        last = self.headers.get("Last-Event-ID")
        incarnation, _, sequence = (last or f"{HERD.incarnation}-{HERD.sequence}").partition("-")
        at = int(sequence)
        first = "retry: 1000\n\n"
        if incarnation != HERD.incarnation:
            at = HERD.sequence
            cursor = f"{HERD.incarnation}-{at}"
            first += f'id: {cursor}\nevent: reset\ndata: {{"cursor":"{cursor}"}}\n\n'
        self.wfile.write(first.encode())
        quiet = time.time()
        while "Riley" not in HERD.down:
            with HERD.changed:
                HERD.changed.wait(1)
                fresh = []
                for entry in reversed(HERD.log):
                    if entry[0] <= at:
                        break
                    fresh.append(entry)
                at = HERD.sequence
            now = time.time()
            parts = [
                f"id: {HERD.incarnation}-{seq}\nevent: report\ndata: {client.feature(now)}\n\n"
                for seq, client in reversed(fresh)
                if client.sequence == seq and is_within(box, client.lon, client.lat)
            ]
            if parts:
                quiet = now
                self.wfile.write("".join(parts).encode())
            elif now - quiet > 5:
                quiet = now
                self.wfile.write(f"id: {HERD.incarnation}-{at}\n:\n\n".encode())


def problems():
    gone = "Connection refused (os error 111)"
    silent = [{"subject": name, "description": gone, "failure": True} for name in HERD.down]
    links = [
        {"subject": f"{name} -> {other}", "description": f"down: {gone}", "failure": True}
        for name, others in LINKS.items()
        for other in others
        if other in HERD.down and name not in HERD.down
    ]
    return silent + links


def grid(found, box):
    west, south, east, north = box
    size = 360.0
    while max((east - west) % 360 or 360, north - south) / size < 32:
        size /= 2
    cells = collections.defaultdict(lambda: [0, 0.0, 0.0])
    for it in found:
        cell = cells[math.floor(it.lat / size), math.floor(it.lon / size)]
        cell[0] += 1
        cell[1] += it.lon
        cell[2] += it.lat
    features = []
    for (row, column), (count, lon, lat) in sorted(cells.items()):
        features.append(
            json.dumps(
                {
                    "type": "Feature",
                    "bbox": [column * size, row * size, (column + 1) * size, (row + 1) * size],
                    "geometry": {"type": "Point", "coordinates": [lon / count, lat / count]},
                    "properties": {"count": count},
                }
            )
        )
    return size, features


@functools.cache
def places_list():
    """Returns the compiled-in places: name, longitude and latitude."""
    places = []
    text = gzip.decompress((ROOT / "data/places.csv.gz").read_bytes()).decode()
    for line in text.splitlines()[1:]:
        latitude, longitude, name, _ = line.split(",", 3)
        places.append((name, float(longitude), float(latitude)))
    return places


def serve(arguments=None):
    """Parses the arguments, and returns the server, which does not serve yet."""
    global HERD, OPTIONS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--token")
    parser.add_argument(
        "--limit", type=int, default=20_000, help="list at most so many clients, otherwise a grid"
    )
    parser.add_argument("--speed", type=float, default=1.0, help="factor of the speed of walkers and drivers")
    OPTIONS = parser.parse_args(arguments)
    HERD = Herd(OPTIONS.clients, OPTIONS.interval)
    places_list()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", OPTIONS.port), Handler)
    server.daemon_threads = True
    return server


if __name__ == "__main__":
    instance = serve()
    print(f"http://127.0.0.1:{instance.server_port}/", flush=True)
    try:
        instance.serve_forever()
    except KeyboardInterrupt:
        pass

#!/usr/bin/env python3
"""A neighbour written in another language, that knows nothing but an address.

    foreign_client.py PROGRAM

Starts PROGRAM as the server Riley of a herd of two, and is the other server
itself. It has no .proto file and no generated code: all that it knows of
the peer port, its services, messages and fields, it learns from reflection
(v1alpha, which older tools ask). Needs grpcio and grpcio-reflection; with
xxhash it works out the sums of digests too.
"""

import pathlib
import queue
import signal
import socket
import subprocess
import sys
import tempfile

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

try:
    import xxhash
except ImportError:
    xxhash = None

LIMIT = 20  # seconds that anything may take
CONFIG = """
[herd]
name = "foreign"
[[servers]]
name = "Riley"
clients = "127.0.0.1:{clients}"
peers = "127.0.0.1:{peers}"
talks_to = ["Python"]
[[servers]]
name = "Python"
clients = "127.0.0.1:{unused[0]}"
peers = "127.0.0.1:{unused[1]}"
"""


def free_ports(count):
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Port:
    """A gRPC port, called through what reflection tells of it."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.told = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.told)

    def services(self):
        return set(self.told.get_services())

    def message(self, name, **fields):
        """A message by its full name."""
        kind = self.pool.FindMessageTypeByName(name)
        return message_factory.GetMessageClass(kind)(**fields)

    def call(self, path, **fields):
        """Calls SERVICE/METHOD; a method that streams gives an iterator."""
        service, name = path.split("/")
        method = self.pool.FindServiceByName(service).methods_by_name[name]
        kind = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        answer = message_factory.GetMessageClass(method.output_type)
        call = kind(
            "/" + path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(self.message(method.input_type.full_name, **fields), timeout=LIMIT)

    def refusal(self, path, **fields):
        """The status and the words with which a call is refused."""
        try:
            answer = self.call(path, **fields)
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError(f"{path} was not refused but answered: {answer}")

    def open(self, path):
        """Opens SERVICE/METHOD, which streams both ways."""
        return Stream(self, path)


class Stream:
    """A call that streams both ways. Each request has one response."""

    def __init__(self, port, path):
        service, name = path.split("/")
        method = port.pool.FindServiceByName(service).methods_by_name[name]
        self.message = lambda **fields: port.message(method.input_type.full_name, **fields)
        self.requests = queue.SimpleQueue()
        call = port.channel.stream_stream(
            "/" + path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        self.responses = call(iter(self.requests.get, None), timeout=LIMIT)

    def ask(self, **fields):
        """Sends a request, and returns its response."""
        self.requests.put(self.message(**fields))
        return next(self.responses)

    def refusal(self, **fields):
        """Sends a request, and returns the status and the words that end the stream."""
        try:
            answer = self.ask(**fields)
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError(f"it was not refused but answered: {answer}")

    def close(self):
        """Ends the requests, and waits for the end of the responses."""
        self.requests.put(None)
        return list(self.responses)


def ask(port, line):
    """The first line with which the text edge answers one of ours."""
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as client:
        client.sendall(line.encode() + b"\n")
        return client.makefile("rb").readline().decode().rstrip("\n")


def check(what, holds):
    if not holds:
        raise AssertionError(what)
    print(f"  {what}")


def describe(port):
    check(
        "reflection lists the services of the peer port",
        port.services()
        >= {
            "proxyherd.v1.Propagate",
            "proxyherd.v1.Operator",
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
        },
    )
    service = port.pool.FindServiceByName("proxyherd.v1.Propagate")
    check("it describes Propagate", set(service.methods_by_name) == {"Greet", "Push"})
    push = service.methods_by_name["Push"]
    check("and that pushes stream both ways", push.client_streaming and push.server_streaming)
    report = port.pool.FindMessageTypeByName("proxyherd.v1.Report")
    fields = {"client", "position", "time", "origin", "skew_nanos"}
    check("it describes a report", set(report.fields_by_name) == fields)


def health(port):
    for name in ["", "proxyherd.v1.Propagate", "proxyherd.v1.Operator"]:
        answer = port.call("grpc.health.v1.Health/Check", service=name)
        check(f"the health of {name!r} is SERVING", answer.status == 1)


def greet(port):
    greeting = {
        "version_major": 2,
        "herd": "foreign",
        "sender": "Python",
        "sender_incarnation": 0xC0FFEE,
        "receiver": "Riley",
    }
    path = "proxyherd.v1.Propagate/Greet"
    for field, value, status, words in [
        ("herd", "another", grpc.StatusCode.PERMISSION_DENIED, '"another"'),
        ("sender", "Mallory", grpc.StatusCode.PERMISSION_DENIED, "Mallory"),
        ("version_major", 99, grpc.StatusCode.FAILED_PRECONDITION, "99"),
        ("sender_incarnation", 0, grpc.StatusCode.INVALID_ARGUMENT, "incarnation"),
    ]:
        refusal = port.refusal(path, **{**greeting, field: value})
        as_due = refusal[0] == status and words in refusal[1]
        check(f"a greeting with {field} = {value!r} is refused: {refusal[1]}", as_due)
    welcome = port.call(path, **greeting)
    known = (welcome.herd, welcome.receiver, welcome.applied_sequence)
    check("a neighbour's greeting is accepted", known == ("foreign", "Riley", 0))
    return welcome.receiver_incarnation


def push(port, clients, incarnation):
    path = "proxyherd.v1.Propagate/Push"
    report = port.message(
        "proxyherd.v1.Report",
        client="kiwi.cs.ucla.edu",
        position="+34.068930-118.445127",
        time="1621464827.959498503",
        origin="Python",
        skew_nanos=263873386,
    )
    batch = {
        "herd": "foreign",
        "sender": "Python",
        "sender_incarnation": 0xC0FFEE,
        "receiver_incarnation": incarnation,
        "from_sequence": 0,
        "to_sequence": 7,
        "reports": [report],
    }
    for field, value, status in [
        ("receiver_incarnation", incarnation ^ 1, grpc.StatusCode.FAILED_PRECONDITION),
        ("from_sequence", 3, grpc.StatusCode.FAILED_PRECONDITION),
        ("reports", [type(report)(client="no position")], grpc.StatusCode.INVALID_ARGUMENT),
    ]:
        refusal = port.open(path).refusal(**{**batch, field: value})
        check(f"a push whose {field} is wrong is refused: {refusal[1]}", refusal[0] == status)
    check("and nothing of it applied", ask(clients, "WHATSAT kiwi.cs.ucla.edu 0 0")[0] == "?")
    older = port.open(path)
    for time in ["a push", "the same push again"]:
        check(f"{time} is acknowledged", older.ask(**batch).applied_sequence == 7)
    heartbeat = {**batch, "from_sequence": 7, "reports": []}
    newer = port.open(path)
    check("so is a heartbeat on a newer stream", newer.ask(**heartbeat).applied_sequence == 7)
    refusal = older.refusal(**heartbeat)
    check(f"which ends the older: {refusal[1]}", refusal[0] == grpc.StatusCode.ABORTED)
    refusal = newer.refusal(**{**heartbeat, "from_sequence": 9, "to_sequence": 9})
    ended = refusal[0] == grpc.StatusCode.FAILED_PRECONDITION
    check(f"a gap ends a stream: {refusal[1]}", ended)
    last = port.open(path)
    check("a push without reports is one too", last.ask(**heartbeat).applied_sequence == 7)
    check("a stream ends when its caller ends it", last.close() == [])
    line = "AT Python +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503"
    answer = ask(clients, "WHATSAT kiwi.cs.ucla.edu 10 0")
    check(f"clients are answered from it: {answer}", answer == line)


def operate(port, clients, incarnation):
    """What operators ask, of a server that holds the report of `push`."""
    path = "proxyherd.v1.Operator/"
    line = "AT Python +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503"
    status = port.call(path + "GetStatus")
    check(f"it says how it is: {status.name} of {status.herd}", status.incarnation == incarnation)
    link = status.links[0]
    known = (link.neighbour, link.batches_received, link.received_newer, link.received_duplicate)
    check("and what came over its link", known == ("Python", 4, 1, 1))

    known = port.call(path + "Locate", client="kiwi.cs.ucla.edu").known
    check("it tells a report", known.report.position == "+34.068930-118.445127")
    check("and how it learned of it", (known.learned_from, known.sequence) == ("Python", 1))
    refusal = port.refusal(path + "Locate", client="nobody")
    check(f"of nobody it says: {refusal[1]}", refusal[0] == grpc.StatusCode.NOT_FOUND)

    ucla = port.message("proxyherd.v1.Point", latitude=34.07, longitude=-118.45)
    near = port.call(path + "Nearby", point=ucla, radius_meters=1000).clients
    check("it finds who is near", [it.known.report.client for it in near] == ["kiwi.cs.ucla.edu"])
    check(f"{near[0].distance_meters:.1f} m away", 463 < near[0].distance_meters < 466)

    bucket = port.call(path + "Digest").buckets[0]
    check("it sums up what it holds", (bucket.clients, len(bucket.sum)) == (1, 16))
    if xxhash:
        want = xxhash.xxh3_128_digest(line.encode())
        check(f"and the sum is that of the AT line: {want.hex()}", bucket.sum == want)
        parts = port.call(path + "Digest", buckets=4096).buckets
        place = xxhash.xxh3_64_intdigest(b"kiwi.cs.ucla.edu") >> 52
        check("in the bucket of the client's hash", parts[place].sum == want)

    told = port.call(path + "Watch", present=True)
    first = next(told)
    check("who watches is told what there is", first.reports[0] == known and first.up_to_date)
    ask(clients, "IAMAT plum +1+1 1")
    check("and what comes", next(told).reports[0].report.client == "plum")
    return told


def main(program):
    clients, peers, *unused = free_ports(4)
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "herd.toml")
        config.write_text(CONFIG.format(clients=clients, peers=peers, unused=unused))
        command = [pathlib.Path(program).resolve(), "serve", "Riley", "--config", config]
        server = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            for line in server.stdout:
                if line.startswith("Ctrl-C"):
                    break
            port = Port(f"127.0.0.1:{peers}")
            describe(port)
            health(port)
            incarnation = greet(port)
            push(port, clients, incarnation)
            watch = operate(port, clients, incarnation)
            told = (answer.status for answer in port.call("grpc.health.v1.Health/Watch"))
            check("who watches its health is told SERVING", next(told) == 1)
            server.send_signal(signal.SIGTERM)
            check("and NOT_SERVING when it is told to stop", next(told) == 2)
            try:
                next(watch)
                raise AssertionError("a watch goes on behind the end")
            except grpc.RpcError as error:
                ended = error.code() == grpc.StatusCode.UNAVAILABLE
                check(f"who watches reports is sent away: {error.details()}", ended)
            check("and it stops well", server.wait(LIMIT) == 0)
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

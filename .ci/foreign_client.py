#!/usr/bin/env python3
"""A neighbour in another language, without a .proto file.

    foreign_client.py PROGRAM

Starts PROGRAM as server Riley of a herd of two, and acts as the other server.
Services, messages and fields of the peer port come from reflection (v1alpha,
which older tools use). Needs grpcio and grpcio-reflection; with xxhash it also
checks the sums of digests.
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

TIME_LIMIT = 30  # seconds, of each step
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
    """Returns ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Port:
    """A gRPC port, called by the descriptions of its reflection service."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.reflection = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.reflection)

    def services(self):
        return set(self.reflection.get_services())

    def message(self, name, **fields):
        """Returns a message, by its full name."""
        kind = self.pool.FindMessageTypeByName(name)
        return message_factory.GetMessageClass(kind)(**fields)

    def call(self, path, **fields):
        """Calls SERVICE/METHOD. A method that streams returns an iterator."""
        service, name = path.split("/")
        method = self.pool.FindServiceByName(service).methods_by_name[name]
        kind = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        answer = message_factory.GetMessageClass(method.output_type)
        call = kind(
            "/" + path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(self.message(method.input_type.full_name, **fields), timeout=TIME_LIMIT)

    def rejection(self, path, **fields):
        """Returns the status and the message with which a call is rejected."""
        try:
            answer = self.call(path, **fields)
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError(f"{path} was answered instead of rejected: {answer}")

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
        self.responses = call(iter(self.requests.get, None), timeout=TIME_LIMIT)

    def ask(self, **fields):
        """Sends a request, and returns its response."""
        self.requests.put(self.message(**fields))
        return next(self.responses)

    def rejection(self, **fields):
        """Sends a request, and returns the status and the message that end the stream."""
        try:
            answer = self.ask(**fields)
        except grpc.RpcError as error:
            return error.code(), error.details()
        raise AssertionError(f"it was answered instead of rejected: {answer}")

    def close(self):
        """Ends the requests, and waits for the end of the responses."""
        self.requests.put(None)
        return list(self.responses)


def ask(port, line):
    """Sends a line to the client port, and returns the first line of the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIME_LIMIT) as client:
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
    check("pushes stream both ways", push.client_streaming and push.server_streaming)
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
    for field, value, status, text in [
        ("herd", "another", grpc.StatusCode.PERMISSION_DENIED, '"another"'),
        ("sender", "Mallory", grpc.StatusCode.PERMISSION_DENIED, "Mallory"),
        ("version_major", 99, grpc.StatusCode.FAILED_PRECONDITION, "99"),
        ("sender_incarnation", 0, grpc.StatusCode.INVALID_ARGUMENT, "incarnation"),
    ]:
        rejection = port.rejection(path, **{**greeting, field: value})
        is_expected = rejection[0] == status and text in rejection[1]
        check(f"a greeting with {field} = {value!r} is rejected: {rejection[1]}", is_expected)
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
        rejection = port.open(path).rejection(**{**batch, field: value})
        check(f"a push whose {field} is wrong is rejected: {rejection[1]}", rejection[0] == status)
    check("nothing of it was applied", ask(clients, "WHATSAT kiwi.cs.ucla.edu 0 0")[0] == "?")
    older = port.open(path)
    for time in ["a push", "the same push again"]:
        check(f"{time} is acknowledged", older.ask(**batch).applied_sequence == 7)
    heartbeat = {**batch, "from_sequence": 7, "reports": []}
    newer = port.open(path)
    check("a heartbeat on a newer stream is acknowledged", newer.ask(**heartbeat).applied_sequence == 7)
    rejection = older.rejection(**heartbeat)
    check(f"the newer stream ends the older: {rejection[1]}", rejection[0] == grpc.StatusCode.ABORTED)
    rejection = newer.rejection(**{**heartbeat, "from_sequence": 9, "to_sequence": 9})
    ended = rejection[0] == grpc.StatusCode.FAILED_PRECONDITION
    check(f"a gap ends a stream: {rejection[1]}", ended)
    last = port.open(path)
    check("a push without reports is acknowledged", last.ask(**heartbeat).applied_sequence == 7)
    check("a stream ends when its caller ends it", last.close() == [])
    line = "AT Python +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503"
    answer = ask(clients, "WHATSAT kiwi.cs.ucla.edu 10 0")
    check(f"clients get the report: {answer}", answer == line)


def operate(port, clients, incarnation):
    """Makes the calls of operators to a server that holds the report of `push`."""
    path = "proxyherd.v1.Operator/"
    line = "AT Python +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1621464827.959498503"
    status = port.call(path + "GetStatus")
    check(f"GetStatus returns the state of {status.name} of {status.herd}", status.incarnation == incarnation)
    link = status.links[0]
    known = (link.neighbour, link.batches_received, link.received_newer, link.received_duplicate)
    check("GetStatus counts what came over the link", known == ("Python", 4, 1, 1))

    known = port.call(path + "Locate", client="kiwi.cs.ucla.edu").known
    check("Locate returns a report", known.report.position == "+34.068930-118.445127")
    check("Locate returns where the report came from", (known.learned_from, known.sequence) == ("Python", 1))
    rejection = port.rejection(path + "Locate", client="unknown")
    check(f"an unknown client is an error: {rejection[1]}", rejection[0] == grpc.StatusCode.NOT_FOUND)

    ucla = port.message("proxyherd.v1.Point", latitude=34.07, longitude=-118.45)
    near = port.call(path + "Nearby", point=ucla, radius_meters=1000).clients
    check("Nearby returns a client", [it.known.report.client for it in near] == ["kiwi.cs.ucla.edu"])
    check(f"Nearby returns its distance: {near[0].distance_meters:.1f} m", 463 < near[0].distance_meters < 466)

    bucket = port.call(path + "Digest").buckets[0]
    check("Digest returns a sum", (bucket.clients, len(bucket.sum)) == (1, 16))
    if xxhash:
        want = xxhash.xxh3_128_digest(line.encode())
        check(f"the sum is that of the AT line: {want.hex()}", bucket.sum == want)
        parts = port.call(path + "Digest", buckets=4096).buckets
        place = xxhash.xxh3_64_intdigest(b"kiwi.cs.ucla.edu") >> 52
        check("the client is in the bucket of its hash", parts[place].sum == want)

    watch = port.call(path + "Watch", present=True)
    first = next(watch)
    check("a watch begins with the reports held", first.reports[0] == known and first.up_to_date)
    ask(clients, "IAMAT plum +1+1 1")
    check("a watch continues with new reports", next(watch).reports[0].report.client == "plum")
    return watch


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
            health_changes = (answer.status for answer in port.call("grpc.health.v1.Health/Watch"))
            check("a watch of the health returns SERVING", next(health_changes) == 1)
            server.send_signal(signal.SIGTERM)
            check("it returns NOT_SERVING while the server shuts down", next(health_changes) == 2)
            try:
                next(watch)
                raise AssertionError("the watch outlives the server")
            except grpc.RpcError as error:
                ended = error.code() == grpc.StatusCode.UNAVAILABLE
                check(f"the watch of reports ends with a status: {error.details()}", ended)
            check("the server exits with code 0", server.wait(TIME_LIMIT) == 0)
        finally:
            server.kill()
            server.wait()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

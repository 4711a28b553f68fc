"""As much of PostgreSQL's protocol as benchmarks need that must not wait for a client program: queries, and streams of WAL.

Everything is blocking, over the Unix socket or TCP, with trust authentication. Times are of the monotonic clock, which all processes of
a machine share.
"""

import multiprocessing
import selectors
import socket
import struct
import time

import servers


def message(kind, body):
    """A message with its length; the first message of a connection has no kind."""
    return kind + struct.pack("!I", len(body) + 4) + body


def cstring(text):
    return text.encode() + b"\0"


class Connection:
    """A connection to a node that runs one query after the other."""

    def __init__(self, node, tcp=False, **parameters):
        if tcp:
            self.socket = socket.create_connection(("127.0.0.1", node.port))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(str(node.system.sockets / f".s.PGSQL.{node.port}"))
        self.buffer = b""
        parameters = {"user": "postgres", "database": "postgres"} | parameters
        pairs = b"".join(cstring(name) + cstring(value) for name, value in parameters.items())
        self.socket.sendall(message(b"", struct.pack("!I", 3 << 16) + pairs + b"\0"))
        self.until_ready()

    def read_message(self):
        """The next message: its kind and its body."""
        while True:
            if len(self.buffer) >= 5:
                length = struct.unpack_from("!I", self.buffer, 1)[0] + 1
                if len(self.buffer) >= length:
                    kind, body, self.buffer = self.buffer[:1], self.buffer[5:length], self.buffer[length:]
                    return kind, body
            more = self.socket.recv(1 << 16)
            if not more:
                raise servers.Failure("the server closed a connection")
            self.buffer += more

    def until_ready(self):
        """The rows up to ReadyForQuery; an error becomes a Failure."""
        rows = []
        while True:
            kind, body = self.read_message()
            if kind == b"D":
                rows.append(row(body))
            elif kind == b"E":
                raise servers.Failure(body.replace(b"\0", b" ").decode(errors="replace"))
            elif kind == b"Z":
                return rows

    def query(self, text):
        """The rows of a simple query, as tuples of text."""
        self.socket.sendall(message(b"Q", cstring(text)))
        return self.until_ready()

    def prepare(self, text):
        """Parses a statement without parameters, for run()."""
        self.socket.sendall(message(b"P", cstring("s") + cstring(text) + b"\0\0") + message(b"S", b""))
        self.until_ready()

    def run(self):
        """The rows of the prepared statement."""
        self.socket.sendall(RUN)
        return self.until_ready()

    def close(self):
        self.socket.close()


# Bind, Execute and Sync for the statement "s".
RUN = message(b"B", b"\0s\0\0\0\0\0\0\0") + message(b"E", b"\0\0\0\0\0") + message(b"S", b"")


def row(body):
    """The columns of a DataRow as text; None for NULL."""
    columns, at = [], 2
    for _ in range(struct.unpack_from("!H", body)[0]):
        length = struct.unpack_from("!i", body, at)[0]
        at += 4
        columns.append(None if length < 0 else body[at:at + length].decode())
        at += max(length, 0)
    return tuple(columns)


class Receivers:
    """A process with streams of WAL from a node, which takes them all and drops the bytes, as a standby would take them: it says every
    100 ms how far it is. Counts bytes of WAL."""

    def __init__(self, node, count, start=None):
        self.bytes = multiprocessing.Value("Q", 0, lock=False)
        self.least = multiprocessing.Value("Q", 0, lock=False)
        self.ready = multiprocessing.Event()
        self.process = multiprocessing.Process(target=self.receive, args=(node, count, start), daemon=True)
        self.process.start()
        if not self.ready.wait(servers.START_TIMEOUT_S):
            raise servers.Failure("receivers do not get a stream")

    def receive(self, node, count, start):
        streams = []
        for number in range(count):
            stream = Stream(node, f"receiver{number}", start)
            streams.append(stream)
        self.ready.set()
        chosen = selectors.DefaultSelector()
        for stream in streams:
            chosen.register(stream.socket, selectors.EVENT_READ, stream)
        told = time.monotonic()
        while True:
            for key, _ in chosen.select(0.05):
                self.bytes.value += key.data.take()
            self.least.value = min(stream.end for stream in streams)
            if time.monotonic() - told >= 0.1:
                told = time.monotonic()
                for stream in streams:
                    stream.tell()

    def stop(self):
        self.process.terminate()
        self.process.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Stream:
    """One stream of WAL. Only the headers of its messages are looked at."""

    BUFFER = bytearray(1 << 18)

    def __init__(self, node, name, start):
        connection = Connection(node, tcp=True, replication="true", application_name=name)
        timeline, position = connection.query("IDENTIFY_SYSTEM")[0][1:3]
        begin = position if start is None else f"{start >> 32:X}/{start & 0xFFFFFFFF:X}"
        self.end = servers.lsn(begin)
        connection.socket.sendall(message(b"Q", cstring(f"START_REPLICATION {begin} TIMELINE {timeline}")))
        kind, body = connection.read_message()
        if kind != b"W":
            raise servers.Failure(f"no stream: {body}")
        self.socket, self.head, self.skip, self.asked = connection.socket, b"", 0, False
        self.parse(connection.buffer)

    def take(self):
        """Takes what is there; how many bytes of WAL that were."""
        got = self.socket.recv_into(Stream.BUFFER)
        if got == 0:
            raise servers.Failure("the server ended a stream")
        before = self.end
        self.parse(memoryview(Stream.BUFFER)[:got])
        if self.asked:
            self.tell()
        return self.end - before

    def parse(self, view):
        """Goes through what came: of WAL only the first 14 bytes (kind, length, w, start), of a keepalive whether it asks for a reply."""
        at = 0
        while at < len(view):
            if self.skip:
                step = min(self.skip, len(view) - at)
                self.skip -= step
                at += step
                continue
            short = 14 - len(self.head) if len(self.head) < 14 else 1
            self.head += bytes(view[at:at + short])
            at += short
            if len(self.head) < 14:
                continue
            length, inner = struct.unpack_from("!I", self.head, 1)[0], self.head[5:6]
            if inner == b"w":
                self.end = struct.unpack_from("!Q", self.head, 6)[0] + length - 4 - 25
                self.skip, self.head = length + 1 - 14, b""
            elif len(self.head) == length + 1:
                self.asked |= inner == b"k" and self.head[-1] == 1
                self.head = b""

    def tell(self):
        """A status update: all is written and flushed, nothing is replayed."""
        self.asked = False
        self.socket.sendall(message(b"d", b"r" + struct.pack("!QQQQB", self.end, self.end, 0, 0, 0)))

#!/usr/bin/env python3
"""How long writes pause in a switchover, and what clients see of it.

    benches/switchover.py --rounds 100 --clients 32

Two nodes of Plimsoll change their roles again and again while clients commit one row each at level on, over and over: who loses
its session goes to the other node at once, and back. The pause of a round is the longest time without an acknowledged commit. At the
end every acknowledged row must be on both nodes, and no client may have seen an error but 57P01, 57P03 and 25006, or a connection that is
refused or ends. With --sync each commit also waits for the other node (synchronous_standby_names = '*'), so that a pause lasts until the old
primary is back as a standby. Run it on a machine that does nothing else.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

from servers import percentile

HERE = pathlib.Path(__file__).resolve().parent
RETRYABLE = {"57P01", "57P03", "25006"}


class Refused(Exception):
    """The server's SQLSTATE."""


class Session:
    """A session over a Unix socket that speaks the simple protocol, so that a new one costs next to nothing."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        try:
            self.socket.connect(path)
            self.buffer = b""
            startup = struct.pack("!I", 3 << 16) + b"user\0postgres\0database\0postgres\0\0"
            self.socket.sendall(struct.pack("!I", len(startup) + 4) + startup)
            self.until_ready()
        except BaseException:
            self.socket.close()
            raise

    def message(self):
        while len(self.buffer) < 5 or len(self.buffer) < 1 + struct.unpack_from("!I", self.buffer, 1)[0]:
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionError("the server has closed the connection")
            self.buffer += more
        length = struct.unpack_from("!I", self.buffer, 1)[0]
        kind, body, self.buffer = self.buffer[:1], self.buffer[5:1 + length], self.buffer[1 + length:]
        return kind, body

    def until_ready(self):
        rows, refused = [], None
        while True:
            kind, body = self.message()
            if kind == b"E":
                fields = {field[:1]: field[1:].decode() for field in body.split(b"\0") if field}
                refused = Refused(fields[b"C"])
                if fields[b"S"] in ("FATAL", "PANIC"):
                    raise refused
            elif kind == b"D":
                length = struct.unpack_from("!i", body, 2)[0]
                rows.append(body[6:6 + length].decode())
            elif kind == b"Z":
                if refused:
                    raise refused
                return rows

    def query(self, sql):
        body = sql.encode() + b"\0"
        self.socket.sendall(b"Q" + struct.pack("!I", len(body) + 4) + body)
        return self.until_ready()


class Clients:
    """Who commits rows, and when which of them was acknowledged."""

    def __init__(self, paths, count):
        self.paths, self.over, self.lock = paths, threading.Event(), threading.Lock()
        self.next, self.acknowledged, self.errors = 0, [], collections.Counter()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        at = 0
        while not self.over.is_set():
            try:
                session = Session(self.paths[at])
                with contextlib.closing(session.socket):
                    while not self.over.is_set():
                        with self.lock:
                            self.next += 1
                            row = self.next
                        session.query(f"INSERT INTO t VALUES ({row}, {number})")
                        self.acknowledged.append((time.monotonic(), row))
            except Refused as refused:
                with self.lock:
                    self.errors[str(refused)] += 1
            except OSError:
                with self.lock:
                    self.errors["connection"] += 1
            at = 1 - at
            # So that 32 clients that find nobody do not take the processors from the servers.
            self.over.wait(0.002)

    def finish(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


class Nodes:
    def __init__(self, binary, folder, sync):
        self.binary, self.folder, self.names = binary, folder, ["one", "two"]
        self.ports = [self.free_port(), self.free_port()]
        self.paths = [f"{folder}/.s.PGSQL.{port}" for port in self.ports]
        self.tool("init", "-D", f"{folder}/one", "-U", "postgres")
        self.configure(0, sync)
        self.tool("start", "-d", "-D", f"{folder}/one")
        Session(self.paths[0]).query("CREATE TABLE t (id int PRIMARY KEY, client int)") if not sync else None
        self.tool("clone", "--from", self.conninfo(0), "-D", f"{folder}/two")
        self.configure(1, sync)
        self.tool("start", "-d", "-D", f"{folder}/two")
        self.wait_streaming(0)
        if sync:
            Session(self.paths[0]).query("CREATE TABLE t (id int PRIMARY KEY, client int)")

    @staticmethod
    def free_port():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    def conninfo(self, at):
        return f"host={self.folder} port={self.ports[at]} user=postgres"

    def configure(self, at, sync):
        with open(f"{self.folder}/{self.names[at]}/postgresql.conf", "a") as conf:
            conf.write(f"cluster_name = '{self.names[at]}'\nport = {self.ports[at]}\nunix_socket_directories = '{self.folder}'\n"
                       f"wal_retrieve_retry_interval = '100ms'\nsynchronous_standby_names = '{'*' if sync else ''}'\n")

    def tool(self, *words):
        done = subprocess.run([self.binary, *words], capture_output=True, text=True, env=dict(os.environ, PGUSER="postgres"))
        if done.returncode:
            sys.exit(f"switchover.py: plimsoll {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def wait_streaming(self, primary):
        deadline = time.monotonic() + 60
        while Session(self.paths[primary]).query("SELECT state FROM pg_stat_replication") != ["streaming"]:
            if time.monotonic() > deadline:
                sys.exit("switchover.py: the standby does not stream")
            time.sleep(0.05)

    def switch(self, primary):
        other = 1 - primary
        self.tool("switchover", "--to", self.names[other], "-D", f"{self.folder}/{self.names[primary]}",
                  "--rejoin", self.conninfo(other))
        return other

    def stop(self):
        for name in self.names:
            subprocess.run([self.binary, "stop", "-D", f"{self.folder}/{name}"], capture_output=True, check=False)


def longest_pause(times):
    return max((after - before for before, after in zip(times, times[1:])), default=0.0)


def measure(nodes, arguments):
    """The pause of each round in milliseconds; fails if a commit is lost or a client saw what it should not."""
    clients = Clients(nodes.paths, arguments.clients)
    primary, pauses = 0, []
    try:
        for number in range(arguments.rounds):
            time.sleep(arguments.between)
            first = len(clients.acknowledged)
            primary = nodes.switch(primary)
            time.sleep(0.2)
            times = sorted(when for when, _ in clients.acknowledged[max(first - 50, 0):])
            pauses.append(longest_pause(times) * 1e3)
            print(f"round {number + 1}: {pauses[-1]:.1f} ms", flush=True)
    finally:
        clients.finish()
    wrong = {code: count for code, count in clients.errors.items() if code not in RETRYABLE and code != "connection"}
    if wrong:
        sys.exit(f"switchover.py: clients saw {wrong}")
    nodes.wait_streaming(primary)
    end = Session(nodes.paths[primary]).query("SELECT pg_current_wal_lsn()")[0]
    standby = Session(nodes.paths[1 - primary])
    while standby.query(f"SELECT pg_last_wal_replay_lsn() >= '{end}'") != ["t"]:
        time.sleep(0.05)
    for path in nodes.paths:
        there = set(map(int, Session(path).query("SELECT id FROM t")))
        lost = [row for _, row in clients.acknowledged if row not in there]
        if lost:
            sys.exit(f"switchover.py: {len(lost)} acknowledged commits are lost, {lost[0]} among them")
    return pauses, clients


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plimsoll", type=pathlib.Path, default=HERE.parent / "target/release/plimsoll")
    parser.add_argument("--dir", default="/var/tmp", help="where the temporary folder goes")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--between", type=float, default=0.5, metavar="SECONDS", help="time between two switchovers")
    parser.add_argument("--sync", action="store_true", help="commits wait for the other node too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir, prefix="switch") as folder:
        nodes = Nodes(arguments.plimsoll.resolve(), folder, arguments.sync)
        try:
            pauses, clients = measure(nodes, arguments)
        finally:
            nodes.stop()
    print(f"{len(pauses)} switchovers, {arguments.clients} clients, {len(clients.acknowledged)} commits, none lost: pause median "
          f"{statistics.median(pauses):.1f} ms, p99 {percentile(pauses, 0.99):.1f} ms, max {max(pauses):.1f} ms; clients saw {dict(clients.errors)}")


if __name__ == "__main__":
    main()

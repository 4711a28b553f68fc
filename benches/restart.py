#!/usr/bin/env python3
"""How fast a killed server is back, and how fast redo is, beside PostgreSQL 15.

    benches/restart.py restart --pairs 20     # kill -9 with about 64 MB of WAL to redo: time from start to the first query
    benches/restart.py redo --pairs 5         # pgbench transactions redone a second, redo start and end from both logs

Each pair runs both products one after the other: restart until each has written so much WAL, redo through the same number of
transactions. The file cache is as the load left it, for both. Prints each pair, the medians and the ratio, with the machine.
"""

import argparse
import contextlib
import datetime
import os
import re
import socket
import statistics
import struct
import subprocess
import sys
import time

import servers

TIME = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+)")


def moment(line):
    """The time at the start of a log line, in seconds."""
    found = TIME.match(line)
    return datetime.datetime.fromisoformat(found[1]).timestamp() if found else None


def pgbench(node, *extent):
    """Runs pgbench's own transactions by 8 clients, without waiting for their flush; how many there were."""
    output = servers.run([servers.PGBIN / "pgbench", "-n", "-c", "8", "-M", "prepared", *extent, *node.connection(), "postgres"],
                         env=dict(os.environ, PGOPTIONS="-c synchronous_commit=off"))
    return int(re.search(r"transactions actually processed: (\d+)", output)[1])


def load(node, megabytes, transactions):
    """So many transactions wait for redo, or so much WAL; how many transactions, and how many MB of WAL, those are."""
    node.sql("CHECKPOINT")
    start = node.wal_position()
    done = pgbench(node, "-t", str(transactions // 8)) if transactions else 0
    while not transactions and node.wal_position() - start < megabytes << 20:
        done += pgbench(node, "-t", "100")
    # Flushes all of it.
    node.sql("SET synchronous_commit = local; UPDATE pgbench_branches SET filler = '' WHERE bid = 1")
    return done, (node.wal_position() - start) / 2**20


def first_query(node):
    """Whether a query on a new connection is answered. Speaks the protocol itself: psql would take longer to start than a try."""
    def message(kind, body):
        return kind + struct.pack("!I", len(body) + 4) + body

    with socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
        server.settimeout(10)
        server.connect(str(node.system.sockets / f".s.PGSQL.{node.port}"))
        # Both go at once; the answer to the query ends with the second ReadyForQuery.
        server.sendall(message(b"", struct.pack("!I", 3 << 16) + b"user\0postgres\0database\0postgres\0\0")
                       + message(b"Q", b"SELECT count(*) FROM pgbench_branches\0"))
        answer = b""
        while (more := server.recv(4096)):
            answer += more
            if answer.count(b"Z\0\0\0\5I") == 2:
                return b"SELECT 1\0" in answer
    return False


def killed_and_back(node):
    """Kills the server, starts it again; seconds until the first query is answered, and the seconds of redo by its log."""
    log = node.system.folder / f"{node.name}.log"
    before = log.stat().st_size
    node.kill()
    begun = time.monotonic()
    with open(log, "a") as out:
        node.process = subprocess.Popen(node.system.start_command(node), stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                        cwd=node.system.folder, **node.system.owner())
    while not first_query(node):
        if node.process.poll() is not None or time.monotonic() - begun > servers.START_TIMEOUT_S:
            raise servers.Failure(f"{node.name} of {node.system.label} does not come back: see {log}")
        time.sleep(0.002)
    took = time.monotonic() - begun
    with open(log, encoding="utf-8", errors="replace") as text:
        text.seek(before)
        lines = text.read().splitlines()
    starts = [moment(line) for line in lines if "redo starts at" in line]
    ends = [moment(line) for line in lines if "redo done at" in line]
    if not starts or not ends:
        raise servers.Failure(f"{log} does not tell when redo began and ended")
    return took, ends[-1] - starts[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["restart", "redo"])
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--megabytes", type=int, default=64, help="restart: WAL to redo")
    parser.add_argument("--transactions", type=int, default=400_000, help="redo: transactions to redo")
    parser.add_argument("--scale", type=int, default=10)
    servers.add_arguments(parser)
    arguments = parser.parse_args()
    pairs = arguments.pairs or (20 if arguments.what == "restart" else 5)
    wanted = arguments.transactions if arguments.what == "redo" else None
    servers.install_postgres()
    figures = {}
    options = servers.options_of(arguments, standby=False)
    with servers.started((servers.Postgres, servers.Plimsoll), options) as systems:
        for system in systems:
            servers.run([servers.PGBIN / "pgbench", "-i", "-q", "-s", str(arguments.scale), *system.primary.connection(),
                         "postgres"])
        for pair in range(pairs):
            for system in systems if pair % 2 == 0 else reversed(systems):
                transactions, megabytes = load(system.primary, arguments.megabytes, wanted)
                took, redo = killed_and_back(system.primary)
                figure = took if arguments.what == "restart" else transactions / redo
                figures.setdefault(system.label, []).append(figure)
                print(f"pair {pair + 1} {system.label}: {transactions} transactions, {megabytes:.0f} MB of WAL, back after "
                      f"{took:.3f} s, redo {redo:.3f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    unit = "s to the first query" if arguments.what == "restart" else "transactions redone a second"
    medians = {label: statistics.median(values) for label, values in figures.items()}
    for label, median in medians.items():
        print(f"{label}: median {median:.3f} {unit}, of {len(figures[label])}")
    first, second = medians.values()
    print(f"ratio {list(medians)[1]} / {list(medians)[0]}: {second / first:.2f}  ({servers.machine()})")


if __name__ == "__main__":
    try:
        main()
    except servers.Failure as failure:
        sys.exit(f"restart.py: {failure}")

#!/usr/bin/env python3
"""How fast a killed server is back, and how fast redo is, beside PostgreSQL 15.

    benches/restart.py restart --pairs 20     # kill -9 with about 64 MB of WAL to redo: time from start to the first query
    benches/restart.py redo --pairs 5         # pgbench transactions redone a second, redo start and end from both logs

Each pair runs both products one after the other on the same load; the file cache is as the load left it, for both. Prints each pair,
the medians and the ratio, with the machine.
"""

import argparse
import datetime
import re
import statistics
import subprocess
import sys
import time

import servers

TIME = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+)")


def moment(line):
    """The time at the start of a log line, in seconds."""
    found = TIME.match(line)
    return datetime.datetime.fromisoformat(found[1]).timestamp() if found else None


def load(node, megabytes, seconds):
    """pgbench's own transactions until so much WAL waits for redo; how many there were."""
    node.sql("CHECKPOINT")
    start = servers.lsn(node.sql("SELECT pg_current_wal_lsn()"))
    done = 0
    deadline = time.monotonic() + seconds
    while servers.lsn(node.sql("SELECT pg_current_wal_lsn()")) - start < megabytes << 20:
        if time.monotonic() > deadline:
            raise servers.Failure(f"{node.name}: {megabytes} MB of WAL take more than {seconds} s")
        output = servers.run([servers.PGBIN / "pgbench", "-n", "-c", "8", "-T", "2", "-M", "prepared",
                              *node.connection(), "postgres"])
        done += int(re.search(r"transactions actually processed: (\d+)", output)[1])
    return done


def killed_and_back(node):
    """Kills the server, starts it again; seconds until the first query is answered, and the seconds of redo by its log."""
    log = node.system.folder / f"{node.name}.log"
    before = log.stat().st_size
    node.kill()
    begun = time.monotonic()
    with open(log, "a") as out:
        node.process = subprocess.Popen(node.system.start_command(node), stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                        cwd=node.system.folder, **node.system.owner())
    while True:
        try:
            node.sql("SELECT count(*) FROM pgbench_branches")
            break
        except servers.Failure:
            if node.process.poll() is not None or time.monotonic() - begun > servers.START_TIMEOUT_S:
                raise
    took = time.monotonic() - begun
    with open(log, encoding="utf-8", errors="replace") as text:
        text.seek(before)
        lines = text.read().splitlines()
    starts = [moment(line) for line in lines if "redo starts at" in line]
    ends = [moment(line) for line in lines if "redo done at" in line]
    elapsed = [float(found[1]) for line in lines if (found := re.search(r"redo done at .*elapsed: ([\d.]+) s", line))]
    # Plimsoll states how long redo took; PostgreSQL's two lines frame it, and it states it too.
    redo = elapsed[-1] if elapsed else (ends[-1] - starts[-1] if starts and ends else float("nan"))
    return took, redo


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["restart", "redo"])
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--megabytes", type=int, help="WAL to redo (restart: 64, redo: 512)")
    parser.add_argument("--scale", type=int, default=10)
    parser.add_argument("--limit", type=int, default=600, help="seconds that a load may take")
    servers.add_arguments(parser)
    arguments = parser.parse_args()
    pairs = arguments.pairs or (20 if arguments.what == "restart" else 5)
    megabytes = arguments.megabytes or (64 if arguments.what == "restart" else 512)
    servers.install_postgres()
    figures = {}
    options = servers.options_of(arguments, standby=False)
    with servers.started((servers.Postgres, servers.Plimsoll), options) as systems:
        for system in systems:
            servers.run([servers.PGBIN / "pgbench", "-i", "-q", "-s", str(arguments.scale), *system.primary.connection(),
                         "postgres"])
        for pair in range(pairs):
            for system in systems if pair % 2 == 0 else reversed(systems):
                transactions = load(system.primary, megabytes, arguments.limit)
                took, redo = killed_and_back(system.primary)
                figure = took if arguments.what == "restart" else transactions / redo
                figures.setdefault(system.label, []).append(figure)
                print(f"pair {pair + 1} {system.label}: {transactions} transactions, back after {took:.3f} s, "
                      f"redo {redo:.2f} s", flush=True)
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

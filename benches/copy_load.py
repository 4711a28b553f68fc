#!/usr/bin/env python3
"""Loads rows by COPY into a table with a primary key, on PostgreSQL 15 and Plimsoll by turns, and compares the rates.

    benches/copy_load.py --rows 10000000 --pairs 3

Each run makes the table anew, takes a checkpoint, and times one COPY from a file, its commit included. The table has the columns and the
row width of pgbench_accounts. With --same-transaction the table is created in the transaction that loads it. Beside the rate it tells
the CPU time of the server, the log and the files that a row took, and the most memory that the server's processes had.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import threading
import time

import servers

TABLE = "CREATE TABLE load (aid int PRIMARY KEY, bid int, abalance int, filler text)"


def write_rows(path, rows, shuffled):
    """The file to load; ascending keys, or each key once in an order without a pattern."""
    # A multiplier without a common divisor visits each number once.
    step = 2_654_435_761 if shuffled else 1
    with open(path, "w", encoding="ascii") as file:
        for number in range(rows):
            aid = number * step % rows + 1
            file.write(f"{aid}\t{aid % 100 + 1}\t0\t{'':84}\n")


class Memory(threading.Thread):
    """The most that the server's processes have, looked at while a load runs."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.peak, self.ended = node, 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.5):
            self.peak = max(self.peak, self.node.resident_bytes())


def load(system, path, rows, same_transaction):
    """One run: seconds and what it took."""
    node = system.primary
    node.sql("DROP TABLE IF EXISTS load")
    if not same_transaction:
        node.sql(TABLE)
    node.sql("CHECKPOINT")
    script = f"\\copy load FROM '{path}'\n"
    if same_transaction:
        script = f"BEGIN;\n{TABLE};\n{script}COMMIT;\n"
    files, wal, cpu = node.relation_bytes(), node.wal_position(), node.cpu_seconds()
    memory = Memory(node)
    memory.start()
    began = time.monotonic()
    done = subprocess.run([str(part) for part in node.psql() + ["-f", "-"]], input=script, text=True, capture_output=True, check=False)
    seconds = time.monotonic() - began
    memory.ended.set()
    memory.join()
    if done.returncode != 0:
        raise servers.Failure(f"the load of {system.label} failed: {done.stderr.strip()}")
    cpu, wal = node.cpu_seconds() - cpu, node.wal_position() - wal
    found = node.sql("SELECT count(*), sum(aid) FROM load")
    if found != f"{rows}|{rows * (rows + 1) // 2}":
        raise servers.Failure(f"{system.label} has {found}")
    node.sql("CHECKPOINT")
    return {"rows_a_second": rows / seconds, "cpu_us": cpu * 1e6 / rows, "wal_bytes": wal / rows,
            "file_bytes": (node.relation_bytes() - files) / rows, "peak_mb": memory.peak / (1 << 20)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of a load")
    parser.add_argument("--pairs", type=int, default=3, help="loads of each product")
    parser.add_argument("--shuffled", action="store_true", help="keys in an order without a pattern")
    parser.add_argument("--same-transaction", action="store_true", help="create the table in the transaction that loads it")
    servers.add_arguments(parser)
    arguments = parser.parse_args()
    servers.install_postgres()
    options = servers.options_of(arguments, standby=False)
    print(servers.machine())
    with servers.started((servers.Postgres, servers.Plimsoll), options) as systems:
        path = pathlib.Path(systems[0].folder).parent / "rows.txt"
        write_rows(path, arguments.rows, arguments.shuffled)
        path.chmod(0o644)
        runs = {system.label: [] for system in systems}
        for pair in range(arguments.pairs):
            # Who comes first changes, so that neither always finds the disk as the other left it.
            for system in systems if pair % 2 == 0 else systems[::-1]:
                run = load(system, path, arguments.rows, arguments.same_transaction)
                runs[system.label].append(run)
                print(f"{system.label:10} {run['rows_a_second']:10.0f} rows/s", file=sys.stderr)
        print(f"{'':10} {'rows/s':>10} {'least':>10} {'most':>10} {'CPU us/row':>10} {'WAL B/row':>10} {'file B/row':>10} {'peak MB':>8}")
        for label, found in runs.items():
            rates = [run["rows_a_second"] for run in found]
            middle = {name: statistics.median(run[name] for run in found) for name in found[0]}
            print(f"{label:10} {middle['rows_a_second']:10.0f} {min(rates):10.0f} {max(rates):10.0f} {middle['cpu_us']:10.2f}"
                  f" {middle['wal_bytes']:10.1f} {middle['file_bytes']:10.1f} {max(run['peak_mb'] for run in found):8.0f}")
        ratios = [ours["rows_a_second"] / theirs["rows_a_second"] for ours, theirs in zip(runs["Plimsoll"], runs["PostgreSQL"])]
        print(f"Plimsoll / PostgreSQL: {statistics.median(ratios):.2f} (pairs: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")


if __name__ == "__main__":
    servers.main(main)

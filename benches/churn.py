#!/usr/bin/env python3
"""Churn on the same rows: does the file stay small, and does the speed hold?

    cargo build --release -p tools && benches/churn.py --minutes 10

pgbench changes 100,000 rows for so many minutes. Two kinds of churn, one after the other:

    update   rows at random are updated
    queue    rows are inserted on the right and deleted on the left

For each: the table's pages against those of a fresh load of the same rows, and the speed of the last tenth against that of the first.
Targets: at most 1.5 times the pages, at least 0.9 of the speed. With --postgres the same on PostgreSQL 15 beside it. The speed is also
what the machine gives: other work on it shows in the tenths.
"""

import argparse
import os
import pathlib
import re
import subprocess
import tempfile

import servers

ROWS = 100_000
CLIENTS = 8
SIZE_MAX = 1.5
SPEED_MIN = 0.9
TENTHS = 10

SCRIPTS = {
    "update": "\\set k random(1, :rows)\nUPDATE rows SET v = v + 1 WHERE k = :k;\n",
    # Each client has a lane of the queue, in which its own variable counts on.
    "queue": "\\set next :next + 1\n\\set high :next + :length\n"
             "BEGIN;\nINSERT INTO queue VALUES (:client_id, :high, repeat('q', 80));\n"
             "DELETE FROM queue WHERE lane = :client_id AND k = :next;\nEND;\n",
}


def load(node, kind, table):
    """A table of ROWS rows; its pages."""
    if kind == "update":
        node.sql(f"CREATE TABLE {table} (k int PRIMARY KEY, v int NOT NULL, filler text)")
        node.copy(table, (f"{k}\t0\t{'r' * 80}\n" for k in range(1, ROWS + 1)))
    else:
        node.sql(f"CREATE TABLE {table} (lane int, k int, v text, PRIMARY KEY (lane, k))")
        lanes = ((lane, k) for lane in range(CLIENTS) for k in range(ROWS // CLIENTS))
        node.copy(table, (f"{lane}\t{k}\t{'q' * 80}\n" for lane, k in lanes))
    return pages(node, table)


def pages(node, table):
    # PostgreSQL keeps the key apart; here the table is its primary key's tree.
    return int(node.sql(f"SELECT pg_total_relation_size('{table}') / 8192"))


def pgbench(node, script, seconds, level):
    """Runs a script; the TPS of each tenth and the number of transactions."""
    step = max(1, round(seconds / TENTHS))
    command = [servers.PGBIN / "pgbench", "-n", "-M", "prepared", "-f", script, "-c", CLIENTS, "-j", "1", "-T", step * TENTHS,
               "-P", step, "-D", f"rows={ROWS}", "-D", "next=-1", "-D", f"length={ROWS // CLIENTS}", *node.connection(), "postgres"]
    environment = dict(os.environ, PGOPTIONS=f"-c synchronous_commit={level}")
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
    count = re.search(r"actually processed: (\d+)", done.stdout)
    tenths = [float(tps) for tps in re.findall(r"^progress: [0-9.]+ s, ([0-9.]+) tps", done.stderr, re.MULTILINE)]
    if done.returncode != 0 or not count or len(tenths) < 2:
        raise servers.Failure(f"pgbench failed: {done.stderr.strip()[-300:]}")
    return tenths, int(count[1])


def churn(node, kind, seconds, level, folder):
    """One kind of churn; whether both targets were met."""
    table = "rows" if kind == "update" else "queue"
    fresh = load(node, kind, table)
    script = pathlib.Path(folder) / f"{kind}.sql"
    script.write_text(SCRIPTS[kind])
    tenths, done = pgbench(node, script, seconds, level)
    after = pages(node, table)
    size, speed = after / fresh, tenths[-1] / tenths[0]
    print(f"{node.system.label} {kind}: {done} transactions at {level}; {fresh} pages fresh, {after} after ({size:.2f}); "
          f"{tenths[0]:.0f} TPS in the first tenth, {tenths[-1]:.0f} in the last ({speed:.2f})")
    print("  tenths: " + " ".join(f"{tps:.0f}" for tps in tenths))
    statistics = node.sql("SELECT n_live_tup, n_dead_tup, autovacuum_count FROM pg_stat_user_tables "
                          f"WHERE relname = '{table}'")
    print(f"  live, dead, automatic sweeps: {statistics.replace('|', ', ')}", flush=True)
    return size <= SIZE_MAX and speed >= SPEED_MIN


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    servers.add_arguments(parser)
    parser.add_argument("--minutes", type=float, default=10, help="for each kind of churn (10)")
    parser.add_argument("--kind", choices=["update", "queue"], help="only this kind")
    parser.add_argument("--level", default="off", help="synchronous_commit (off: the most changes a minute)")
    parser.add_argument("--postgres", action="store_true", help="PostgreSQL 15 as well")
    arguments = parser.parse_args()
    options = servers.options_of(arguments, standby=False)
    products = (servers.Postgres, servers.Plimsoll) if arguments.postgres else (servers.Plimsoll,)
    kinds = [arguments.kind] if arguments.kind else ["update", "queue"]
    met = True
    with servers.started(products, options) as systems, tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            for system in systems:
                held = churn(system.primary, kind, arguments.minutes * 60, arguments.level, folder)
                met &= held or system.label != servers.Plimsoll.label
    print("targets met" if met else f"targets missed (size at most {SIZE_MAX}, speed at least {SPEED_MIN})")
    return 0 if met else 1


if __name__ == "__main__":
    servers.main(main)

#!/usr/bin/env python3
"""How long it takes from the command to promote a standby to the first write that it acknowledges, beside PostgreSQL 15.

    benches/promotion.py --rounds 100 --clients 8

In each round pgbench writes to the primary from so many clients, and as many others try all the time to insert a row on its streaming
standby, which refuses them. Then the primary is killed (kill -9) and the standby is promoted by command: plimsoll promote, pg_ctl promote.
The figure is the time from the start of the command to the first insert that is acknowledged. Then the old primary is made anew, as the
standby of the new one. The standby is asynchronous (synchronous_standby_names is empty). Each pair of rounds runs both products one after
the other, in turns. Prints each round, and the median, the 99th percentile and the longest of both.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import servers
import switchover

LOAD = ("\\set key random(1, 100000)\n"
        "INSERT INTO load VALUES (:client_id::bigint * 1000000000 + :key, repeat('x', 100)) ON CONFLICT DO NOTHING;\n")


class Triers:
    """Sessions on a standby that try to insert until it takes writes."""

    def __init__(self, path, count, round_number):
        self.over, self.first, self.lock = threading.Event(), None, threading.Lock()
        self.failure = None
        sessions = [switchover.Session(path) for _ in range(count)]
        self.threads = [threading.Thread(target=self.run, args=(session, round_number * 1000 + number))
                        for number, session in enumerate(sessions)]
        for thread in self.threads:
            thread.start()

    def run(self, session, row):
        with contextlib.closing(session.socket):
            while not self.over.is_set():
                try:
                    session.query(f"INSERT INTO tried VALUES ({row})")
                except switchover.Refused as refused:
                    if str(refused) != "25006":
                        self.failure = f"a client was told {refused}"
                        return
                    # So that those who are refused do not take the processors from the server.
                    time.sleep(0.001)
                    continue
                except OSError as error:
                    self.failure = f"a client lost its session: {error}"
                    return
                acknowledged = time.monotonic()
                with self.lock:
                    self.first = min(self.first or acknowledged, acknowledged)
                return

    def finish(self):
        """When the first insert was acknowledged."""
        for thread in self.threads:
            thread.join(60)
        self.over.set()
        if self.failure or self.first is None:
            raise servers.Failure(self.failure or "no insert was acknowledged within a minute")
        return self.first


def promote_command(system):
    data = str(system.standby.data)
    if system.label == "Plimsoll":
        return [str(system.options.plimsoll), "promote", "-D", data]
    return [str(servers.PGBIN / "pg_ctl"), "promote", "-D", data]


def one_round(system, number, arguments, script):
    """Milliseconds from the command to the first acknowledged insert."""
    load = subprocess.Popen([str(servers.PGBIN / "pgbench"), "-n", "-f", script, "-c", str(arguments.clients), "-T", "600",
                             *map(str, system.primary.connection()), "postgres"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        triers = Triers(str(system.sockets / f".s.PGSQL.{system.standby.port}"), arguments.clients, number)
        time.sleep(arguments.load)
        system.primary.kill()
        begun = time.monotonic()
        command = subprocess.Popen(promote_command(system), cwd=system.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                   **system.owner())
        first = triers.finish()
        said = command.communicate()[1]
        if command.returncode:
            raise servers.Failure(f"{system.label} was not promoted: {said.decode().strip()}")
        return (first - begun) * 1e3
    finally:
        load.kill()
        load.wait()


def change_roles(system):
    """The promoted standby is the primary now, and the killed one comes back as its clone."""
    system.primary, system.standby = system.standby, system.primary
    shutil.rmtree(system.standby.data)
    system.clone(system.primary, system.standby)
    system.write_settings(system.standby)
    system.standby.start()
    system.await_standby()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--clients", type=int, default=8, help="who write to the primary, and as many who try on the standby")
    parser.add_argument("--load", type=float, default=1.0, metavar="SECONDS", help="how long they write before the primary is killed")
    servers.add_arguments(parser)
    arguments = parser.parse_args()
    figures = {}
    options = servers.options_of(arguments, settings={"synchronous_standby_names": ""})
    with servers.started((servers.Postgres, servers.Plimsoll), options) as systems, tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder) / "load.sql"
        script.write_text(LOAD)
        for system in systems:
            system.primary.sql("CREATE TABLE load (a bigint PRIMARY KEY, b text)")
            system.primary.sql("CREATE TABLE tried (a int PRIMARY KEY)")
            system.await_standby()
        for number in range(1, arguments.rounds + 1):
            for system in systems if number % 2 else reversed(systems):
                took = one_round(system, number, arguments, script)
                figures.setdefault(system.label, []).append(took)
                print(f"round {number} {system.label}: {took:.1f} ms, load {os.getloadavg()[0]:.1f}", flush=True)
                change_roles(system)
    medians = {}
    for label, values in figures.items():
        medians[label] = statistics.median(values)
        p99 = servers.percentile(values, 0.99)
        print(f"{label}: median {medians[label]:.1f} ms, p99 {p99:.1f} ms, max {max(values):.1f} ms, of {len(values)}")
    print(f"ratio Plimsoll / PostgreSQL of the medians: {medians['Plimsoll'] / medians['PostgreSQL']:.2f}  ({servers.machine()})")


if __name__ == "__main__":
    try:
        main()
    except servers.Failure as failure:
        sys.exit(f"promotion.py: {failure}")

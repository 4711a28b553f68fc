#!/usr/bin/env python3
"""Streaming replication beside PostgreSQL 15: latency, drain of a backlog, and what many receivers cost.

    benches/replication.py                 # all three parts, five pairs each: about 45 minutes
    benches/replication.py --short         # all three, about 12 minutes
    benches/replication.py latency --pairs 3 --levels local

Both products run alternately on the same machine with the same settings, in alternating order. The report goes to --out
(REPLICATION.md beside this file) and to stdout; it says how each figure was taken.
"""

import argparse
import contextlib
import multiprocessing
import os
import pathlib
import random
import subprocess
import sys
import time

import replication_report
import servers
import wire

PARTS = ("latency", "drain", "fanout")
LEVELS = ("off", "local", "on")
# Load beside the writer whose commits are timed: name, options of pgbench.
LOADS = {"idle": None, "1000 TPS": ["-R", "1000"], "8 clients": []}
UPSERT = servers.HERE / "pgbench/upsert.sql"
KEYS = 1_000_000
SETTINGS = {"max_wal_senders": "40", "wal_keep_size": "6GB", "max_wal_size": "8GB", "wal_compression": "off",
            # Where no level is named: commits do not wait for a standby that was stopped.
            "synchronous_commit": "local"}
POLL_S = 0.00005


def upserts(node, clients, level, *extent):
    """A pgbench that upserts; the running process."""
    command = [servers.PGBIN / "pgbench", "-n", "-M", "prepared", "-f", UPSERT, "-D", f"keys={KEYS}", "-c", clients, "-j", 1, *extent,
               *node.connection(), "postgres"]
    return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env=dict(os.environ, PGOPTIONS=f"-c synchronous_commit={level}"))


def write_pulses(node, level, rate, seconds, out):
    """Commits growing numbers into one row, at times around a steady rate; sends [(number, sent, returned)]."""
    connection = wire.Connection(node, options=f"-c synchronous_commit={level}")
    first = int(connection.query("SELECT n FROM pulse WHERE k = 1")[0][0]) + 1
    done, begun = [], time.monotonic()
    for number in range(round(rate * seconds)):
        due = begun + (number + random.random()) / rate
        time.sleep(max(0, due - time.monotonic()))
        sent = time.monotonic()
        connection.query(f"UPDATE pulse SET n = {first + number} WHERE k = 1")
        done.append((first + number, sent, time.monotonic()))
    out.send(done)


def watch_pulses(node, out, ready, enough):
    """Reads the row on the standby again and again; sends {number: when a read first showed it or a later one}, and the mean time of
    a read."""
    connection = wire.Connection(node)
    connection.prepare("SELECT n FROM pulse WHERE k = 1")
    last = int(connection.run()[0][0])
    seen, reads, reading = {}, 0, 0.0
    ready.set()
    while not enough.is_set() or last < enough.number.value:
        asked = time.monotonic()
        number = int(connection.run()[0][0])
        now = time.monotonic()
        reads, reading = reads + 1, reading + now - asked
        for passed in range(last + 1, number + 1):
            seen[passed] = now
        last = max(last, number)
        time.sleep(POLL_S)
        if now - enough.limit > 0:
            break
    out.send((seen, reading / max(reads, 1)))


class Enough:
    """Tells the observer that the writer has ended, and with which number."""

    def __init__(self, limit):
        self.event, self.number, self.limit = multiprocessing.Event(), multiprocessing.Value("q", 0), limit

    def is_set(self):
        return self.event.is_set()


def latency(system, level, load, options):
    """Milliseconds from the moment that COMMIT had returned, and from when it was sent, until a read on the standby shows it."""
    background = upserts(system.primary, 8, level, "-T", round(options.seconds + 5), *load) if load is not None else None
    time.sleep(1.5 if background else 0.2)
    wrote, writes = multiprocessing.Pipe(False)
    watched, watches = multiprocessing.Pipe(False)
    ready, enough = multiprocessing.Event(), Enough(time.monotonic() + options.seconds + 60)
    observer = multiprocessing.Process(target=watch_pulses, args=(system.standby, watches, ready, enough))
    writer = multiprocessing.Process(target=write_pulses, args=(system.primary, level, options.rate, options.seconds, writes))
    observer.start()
    if not ready.wait(60):
        raise servers.Failure("the observer cannot read the standby")
    writer.start()
    try:
        if not wrote.poll(options.seconds + 60):
            raise servers.Failure("the writer does not come to its end")
        done = wrote.recv()
        enough.number.value = done[-1][0]
        enough.event.set()
        if not watched.poll(60):
            raise servers.Failure("the observer does not come to its end")
        seen, read_s = watched.recv()
    finally:
        for process in (writer, observer):
            process.terminate()
            process.join()
        if background:
            background.terminate()
            background.communicate()
    # The first ones warm both servers up.
    pairs = [(sent, returned, seen[number]) for number, sent, returned in done[20:] if number in seen]
    if len(pairs) < len(done) * 0.95 - 20:
        raise servers.Failure(f"the standby of {system.label} showed {len(pairs)} of {len(done)} commits")
    found = {"read_us": read_s * 1e6}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        found[f"returned_{name}"] = servers.percentile([at - returned for _, returned, at in pairs], share) * 1e3
        found[f"sent_{name}"] = servers.percentile([at - sent for sent, _, at in pairs], share) * 1e3
    return found


def latency_part(systems, options, report):
    for system in systems:
        system.primary.sql("CREATE TABLE pulse (k integer PRIMARY KEY, n bigint NOT NULL); INSERT INTO pulse VALUES (1, 0)")
        system.await_standby()
    for level in options.levels:
        for name, load in LOADS.items():
            if name not in options.loads:
                continue
            for pair in range(options.pairs):
                for system in order(systems, pair):
                    system.await_standby()
                    found = latency(system, level, load, options)
                    for what, value in found.items():
                        report.add(("latency", level, name, what), system.label, value)
                    progress(f"latency {level}, {name}, pair {pair + 1}, {system.label}: " + ", ".join(
                        f"{what} {value:.3f}" for what, value in found.items()))


def order(systems, pair):
    """Both, in alternating order."""
    return systems if pair % 2 == 0 else systems[::-1]


def backlog(system, kind, megabytes):
    """So much WAL on the primary, by COPY or by upserts; where it begins and ends, and its transactions or rows."""
    primary = system.primary
    primary.sql("CHECKPOINT")
    start, count = primary.wal_position(), 0
    if kind == "copy":
        primary.sql("DROP TABLE IF EXISTS load; CREATE TABLE load (a bigint PRIMARY KEY, b integer, c integer, d text)")
    while primary.wal_position() - start < megabytes << 20:
        if kind == "copy":
            primary.copy("load", (f"{a}\t1\t0\t{'':84}\n" for a in range(count, count + 200_000)), rows_a_transaction=10_000)
            count += 200_000
        else:
            run = primary.pgbench(UPSERT, 8, transactions=5_000, level="off", define={"keys": KEYS})
            count += run.transactions
    # Flushes all of it.
    primary.sql("SET synchronous_commit = local; UPDATE hot SET n = n + 1 WHERE k = 1")
    return start, primary.wal_position(), count


def drain(system, kind, megabytes):
    """A standby that was away takes a backlog: bytes a second until all is durable there, and until all is replayed."""
    system.await_standby()
    system.standby.stop()
    begin, end, count = backlog(system, kind, megabytes)
    # What the primary has written is no longer on its way to the disk.
    os.sync()
    with servers.used_memory(8 * megabytes):
        found = catch_up(system, end)
    size = (end - begin) / 2**20
    return {"received": size / found["received"], "replayed": size / found["replayed"], "size": size, "count": count,
            "transactions": count / found["replayed"], "cpu_s": found["cpu_s"]}


def catch_up(system, end):
    """Starts the standby; seconds from its stream's beginning until all up to `end` is received and replayed, CPU seconds of both servers."""
    primary = wire.Connection(system.primary)
    standby, cpu = system.standby, sum(system.cpu_seconds())
    with open(system.folder / "standby.log", "a") as log:
        standby.process = subprocess.Popen(system.start_command(standby), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                           cwd=system.folder, **system.owner())
    until = time.monotonic() + 600
    while not primary.query("SELECT 1 FROM pg_stat_replication WHERE state IN ('catchup', 'streaming')"):
        still(standby, until)
        time.sleep(0.002)
    started, connection, received, replayed = time.monotonic(), None, None, None
    while received is None or replayed is None:
        still(standby, until)
        time.sleep(0.004)
        try:
            connection = connection or wire.Connection(standby)
            row = connection.query("SELECT pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()")[0]
        except (OSError, servers.Failure):
            connection = None
            continue
        now, (flushed, shown) = time.monotonic(), (servers.lsn(at or "0/0") for at in row)
        received = received or (now if flushed >= end else None)
        replayed = replayed or (now if shown >= end else None)
    cpu = sum(system.cpu_seconds()) - cpu
    primary.close()
    return {"received": received - started, "replayed": replayed - started, "cpu_s": cpu}


def still(node, until):
    if node.process.poll() is not None or time.monotonic() > until:
        raise servers.Failure(f"the standby of {node.system.label} does not catch up")


def drain_part(systems, options, report):
    for kind in options.backlogs:
        for pair in range(options.drain_pairs):
            for system in order(systems, pair):
                found = drain(system, kind, options.megabytes)
                for what, value in found.items():
                    report.add(("drain", kind, what), system.label, value)
                progress(f"drain {kind}, pair {pair + 1}, {system.label}: {found['size']:.0f} MB, received {found['received']:.0f} MB/s, "
                         f"replayed {found['replayed']:.0f} MB/s, CPU {found['cpu_s']:.2f} s")


def fanout_tps(system, count, options):
    """TPS of 32 clients at local while so many receivers follow."""
    with wire.Receivers(system.primary, count) if count else contextlib.nullcontext() as receivers:
        before = receivers.bytes.value if receivers else 0
        run = system.primary.pgbench(UPSERT, 32, seconds=options.seconds, level="local", define={"keys": KEYS})
        shipped = (receivers.bytes.value - before) / 2**20 if receivers else 0
    return {"tps": run.tps, "cpu_us": run.cpu_primary_us, "shipped": shipped}


def paced_cpu(system, count, options):
    """CPU seconds of the primary under a paced load with so many receivers, MB shipped, and transactions."""
    with wire.Receivers(system.primary, count) if count else contextlib.nullcontext() as receivers:
        time.sleep(0.5)
        before = receivers.bytes.value if receivers else 0
        cpu = system.primary.cpu_seconds()
        output = upserts(system.primary, 32, "local", "-T", options.seconds, "-R", options.paced).communicate()[0]
        time.sleep(0.5)
        cpu = system.primary.cpu_seconds() - cpu
        shipped = (receivers.bytes.value - before) / 2**20 if receivers else 0
    return cpu, shipped, servers.pgbench_figures(output, [0, 0])["transactions"]


def old_wal_cpu(system, begin, end, count):
    """CPU seconds of the primary for each MB while so many receivers take the same old WAL, and MB/s of all together."""
    cpu, begun = system.primary.cpu_seconds(), time.monotonic()
    with wire.Receivers(system.primary, count, begin) as receivers:
        while receivers.least.value < end:
            time.sleep(0.002)
            if time.monotonic() - begun > 600:
                raise servers.Failure("receivers do not come to the end")
        took = time.monotonic() - begun
    shipped = count * (end - begin) / 2**20
    return {"cpu_ms": (system.primary.cpu_seconds() - cpu) / shipped * 1e3, "rate": shipped / took}


def fanout_part(systems, options, report):
    for system in systems:
        # The images of pages that come after a checkpoint are logged before anything is measured.
        system.primary.pgbench(UPSERT, 8, transactions=options.warm // 8, level="off", define={"keys": KEYS})
    for count in options.receivers:
        for pair in range(options.pairs):
            for system in order(systems, pair):
                found = fanout_tps(system, count, options)
                for what, value in found.items():
                    report.add(("fanout", f"{count}", what), system.label, value)
                progress(f"fanout {count}, pair {pair + 1}, {system.label}: {found['tps']:.0f} TPS, {found['shipped']:.0f} MB shipped")
    most = max(options.receivers)
    for pair in range(options.pairs):
        for system in order(systems, pair):
            before, _, few = paced_cpu(system, 0, options)
            with_all, shipped, many = paced_cpu(system, most, options)
            after, _, more = paced_cpu(system, 0, options)
            # Of the load itself each transaction costs the same; a run may have had some more of them.
            alone = (before + after) / (few + more) * many
            value = max(0.0, with_all - alone) / shipped * 1e3
            report.add(("paced", f"{most}", "cpu_ms"), system.label, value)
            progress(f"paced {most}, pair {pair + 1}, {system.label}: {alone:.2f} s alone, {with_all:.2f} s with all, "
                     f"{shipped:.0f} MB shipped, {value:.3f} ms/MB")
    spans = {system.label: backlog(system, "copy", options.old_megabytes)[:2] for system in systems}
    for pair in range(options.pairs):
        for system in order(systems, pair):
            found = old_wal_cpu(system, *spans[system.label], most)
            for what, value in found.items():
                report.add(("old", f"{most}", what), system.label, value)
            progress(f"old WAL to {most}, pair {pair + 1}, {system.label}: {found['cpu_ms']:.3f} ms/MB, {found['rate']:.0f} MB/s")


def progress(text):
    print(f"{time.strftime('%H:%M:%S')} {text}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)


def prepare(system):
    """The tables of the scripts, filled."""
    schema = (servers.HERE / "pgbench/schema.sql").read_text()
    system.primary.sql(schema)
    system.primary.copy("kv", (f"{key}\t{key}\n" for key in range(1, KEYS + 1)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"any of {', '.join(PARTS)} (all)")
    parser.add_argument("--short", action="store_true", help="fewer and shorter runs: about 12 minutes in all")
    parser.add_argument("--pairs", type=int, help="runs of each product for a figure (5; short: 2)")
    parser.add_argument("--drain-pairs", type=int, help="the same for drains (5; short: 2)")
    parser.add_argument("--seconds", type=int, help="length of a run (10; short: 5)")
    parser.add_argument("--rate", type=int, default=200, help="latency: commits a second that are timed")
    parser.add_argument("--levels", type=lambda text: text.split(","), default=LEVELS, help="latency: of off,local,on")
    parser.add_argument("--loads", type=lambda text: text.split(","), default=list(LOADS), help=f"latency: of {','.join(LOADS)}")
    parser.add_argument("--backlogs", type=lambda text: text.split(","), help="drain: of copy,upsert (both; short: copy)")
    parser.add_argument("--megabytes", type=int, default=1024, help="drain: WAL of the backlog")
    parser.add_argument("--old-megabytes", type=int, default=256, help="fanout: old WAL that all receivers take")
    parser.add_argument("--receivers", type=lambda text: [int(number) for number in text.split(",")], default=[1, 4, 16])
    parser.add_argument("--paced", type=int, default=5000, help="fanout: TPS of the load under which CPU time is compared")
    parser.add_argument("--warm", type=int, default=200_000, help="fanout: upserts before the first run")
    parser.add_argument("--out", type=pathlib.Path, default=servers.HERE / "REPLICATION.md")
    servers.add_arguments(parser)
    options = parser.parse_args()
    if set(options.parts) - set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    options.parts = options.parts or list(PARTS)
    options.pairs = options.pairs or (2 if options.short else 5)
    options.drain_pairs = options.drain_pairs or (2 if options.short else 5)
    options.seconds = options.seconds or (5 if options.short else 10)
    options.backlogs = options.backlogs or (["copy"] if options.short else ["copy", "upsert"])
    report = replication_report.Report()
    begun = time.monotonic()
    started = servers.options_of(options, settings=SETTINGS)
    with servers.started((servers.Postgres, servers.Plimsoll), started) as systems:
        versions = [system.version() for system in systems]
        for system in systems:
            prepare(system)
        for part in options.parts:
            # The fan-out has receivers of its own: real standbys would take the machine's two cores for themselves.
            if part == "fanout":
                for system in systems:
                    system.standby.stop()
            globals()[f"{part}_part"](systems, options, report)
    text = report.markdown(options, versions, time.monotonic() - begun)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    servers.main(main)

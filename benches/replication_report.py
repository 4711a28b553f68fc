"""The figures of replication.py as Markdown: medians, spreads, ratios of the pairs, and which targets are met."""

import os
import shlex
import statistics
import sys
import time

import servers

THEIRS, OURS = servers.Postgres.label, servers.Plimsoll.label
# What is judged: the limit of the ratio ours / theirs, and whether it must be at least that. Latency must be below PostgreSQL's.
DRAIN_MIN, CPU_MAX, LATENCY_MAX = 2.0, 0.5, 1.0


def spread(values, digits):
    """Median (lowest to highest)."""
    if not values:
        return "-"
    text = f"{statistics.median(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(header, rows):
    """A Markdown table whose first column is text."""
    return ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1),
            *("| " + " | ".join(row) + " |" for row in rows), ""]


class Report:
    """All figures, by what they are of."""

    def __init__(self):
        self.figures = {}

    def add(self, key, label, value):
        self.figures.setdefault(key, {THEIRS: [], OURS: []})[label].append(value)

    def has(self, part):
        return any(key[0] == part for key in self.figures)

    def row(self, key, name, digits, limit=None, at_least=False):
        """Name, both products, ratio of the pairs, target."""
        entry = self.figures.get(key, {THEIRS: [], OURS: []})
        ratios = [ours / theirs for ours, theirs in zip(entry[OURS], entry[THEIRS]) if theirs > 0]
        cells = [name, spread(entry[THEIRS], digits), spread(entry[OURS], digits), spread(ratios, 2)]
        if limit is None or not entry[OURS] or not entry[THEIRS]:
            return cells + [""]
        # Of the medians if a ratio of pairs makes no sense.
        ratio = statistics.median(ratios) if ratios else float("inf")
        if at_least:
            met, sign = round(ratio, 2) >= limit, "≥"
        elif limit == LATENCY_MAX:
            met, sign = statistics.median(entry[OURS]) < statistics.median(entry[THEIRS]), "<"
        else:
            met, sign = round(ratio, 2) <= limit, "≤"
        return cells + [f"{sign} {limit:g}: {'met' if met else '**missed**'}"]

    HEADER = ["", THEIRS, OURS, "ratio of the pairs", "target"]

    def latency(self, options):
        if not self.has("latency"):
            return []
        rows, loaded = [], []
        for level in options.levels:
            for load in options.loads:
                for share in ("p50", "p99"):
                    limit = LATENCY_MAX if share == "p99" else None
                    key = ("latency", level, load)
                    rows.append(self.row((*key, f"returned_{share}"), f"{level}, {load}, {share}", 3, limit))
                    loaded.append(self.row((*key, f"sent_{share}"), f"{level}, {load}, {share}", 3))
        return [
            "## From commit to visible", "",
            f"A writer commits a growing number into one row, {options.rate} times a second on average with random pauses, over a connection of "
            "its own; an observer reads that row on the standby over one connection with a prepared statement, again and again with a pause of "
            "50 µs. Milliseconds from the moment when the writer had COMMIT's answer until the observer had the answer that first showed the "
            "number; below zero if it came before. The standby is asynchronous at off and local, and synchronous at on. Beside it: nothing, "
            "pgbench upserts by 8 clients at 1000 TPS together, or as fast as they can, at the same level.", "",
            *table(self.HEADER, rows),
            "The same from the moment when COMMIT was sent (with the flush on the primary, at on with that on the standby):", "",
            *table(self.HEADER[:-1], [row[:-1] for row in loaded]),
        ]

    def drain(self, options):
        if not self.has("drain"):
            return []
        rows = []
        for kind in options.backlogs:
            key = ("drain", kind)
            rows += [self.row((*key, "received"), f"{kind}: received and flushed, MB/s", 0, DRAIN_MIN, True),
                     self.row((*key, "replayed"), f"{kind}: replayed, MB/s", 0, DRAIN_MIN, True),
                     self.row((*key, "transactions"), f"{kind}: rows replayed a second", 0),
                     self.row((*key, "size"), f"{kind}: MB of WAL", 0),
                     self.row((*key, "cpu_s"), f"{kind}: CPU seconds of both servers", 2)]
        return [
            "## Drain of a backlog", "",
            f"The standby is stopped; the primary makes a checkpoint and then {options.megabytes} MB of WAL (the same bytes in both products, not "
            "the same work: Plimsoll's rows take less WAL) by COPY in transactions of 10,000 rows, or by pgbench upserts of random keys; the "
            "standby is started, while memory that was in use is given back to the kernel (a virtual machine may get memory from its host only "
            "when it is first used, at ten times the cost of copying into it). Time counts from the moment when its stream begins, as pg_stat_replication shows it, until "
            "pg_last_wal_receive_lsn() and pg_last_wal_replay_lsn() on it show the end.", "",
            *table(self.HEADER, rows),
        ]

    def fanout(self, options):
        if not self.has("fanout"):
            return []
        rows = []
        for count in options.receivers:
            rows += [self.row(("fanout", f"{count}", "tps"), f"TPS with {count}", 0),
                     self.row(("fanout", f"{count}", "cpu_us"), f"CPU µs of the primary a transaction, {count}", 1)]
        most = max(options.receivers)
        rows += [self.row(("paced", f"{most}", "cpu_ms"), f"live WAL to {most}: CPU ms of the primary an MB shipped", 3, CPU_MAX),
                 self.row(("old", f"{most}", "cpu_ms"), f"old WAL to {most}: CPU ms of the primary an MB shipped", 3, CPU_MAX),
                 self.row(("old", f"{most}", "rate"), f"old WAL to {most}: MB/s shipped in all", 0)]
        return [
            "## Fan-out", "",
            "Upserts by 32 clients at local while receivers follow. The receivers are one process with that many streams over TCP, which takes "
            "all WAL, drops it, and reports every 100 ms that it is written and flushed: real standbys would leave a machine of two cores no time "
            "for the primary. CPU time for live WAL: that of the primary under "
            f"{options.paced} TPS with the receivers, less that of the same load without any, before and after. For old WAL: all of the primary's while each receiver takes "
            f"the same {options.old_megabytes} MB from segment files.", "",
            *table(self.HEADER, rows),
        ]

    def markdown(self, options, versions, took_s):
        """The whole report."""
        return "\n".join([
            "# Replication against PostgreSQL 15", "",
            f"{time.strftime('%Y-%m-%d')}, {servers.machine()}; {', '.join(versions)}. `benches/replication.py {shlex.join(sys.argv[1:])}`, "
            f"{took_s / 60:.0f} minutes; load average at its end {os.getloadavg()[0]:.1f}. Both products run alternately, in alternating order, with "
            "the same settings (256 MB of shared_buffers, no wal_compression, page images as each product logs them). Medians, in "
            f"brackets lowest to highest of {options.pairs} runs ({options.drain_pairs} drains); a ratio is Plimsoll's figure by PostgreSQL's.", "",
            *self.latency(options), *self.drain(options), *self.fanout(options),
        ])

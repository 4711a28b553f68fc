"""The matrix as Markdown: medians, spreads, ratios, shares of the ceiling, costs, and which targets are met."""

import math
import os
import shlex
import statistics
import sys
import time

import servers

THEIRS, OURS = servers.Postgres.label, servers.Plimsoll.label
# Targets: least ratio to PostgreSQL at one client and at more, by whether a level is a remote one.
RATIO_MIN = {(False, False): 1.25, (False, True): 1.1, (True, False): 0.95, (True, True): 0.9}
HOT_RATIO_MIN = 5.0
GEOMETRIC_MEAN_MIN = 1.5
CEILING_SHARE_MIN = 0.75
CPU_RATIO_MAX = 0.5
REMOTE = ("remote_write", "on", "remote_apply")


def good(runs, field):
    """The values of a field in the runs that were made."""
    return [run[field] for run in runs if run and run[field] is not None]


def middle(values):
    """The median; None of nothing."""
    return statistics.median(values) if values else None


def spread(values, digits=0):
    """Median (lowest to highest)."""
    if not values:
        return "-"
    text = f"{statistics.median(values):.{digits}f}"
    return text if len(values) == 1 else f"{text} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def pairs(entry, of):
    """The quotient ours / theirs of each pair."""
    both = [(of(ours), of(theirs)) for ours, theirs in zip(entry[OURS], entry[THEIRS]) if ours and theirs]
    return [ours / theirs for ours, theirs in both if ours is not None and theirs]


def cpu(run):
    """CPU time of both servers, in microseconds a transaction."""
    return run["cpu_primary_us"] + run["cpu_standby_us"]


def figures(entry):
    """What is compared with targets: medians of the pairs; None where something was not measured."""
    shares = [ours["tps"] / ceiling["tps"] for ours, ceiling in zip(entry[OURS], entry["ceiling"]) if ours and ceiling]
    return {
        "ratio": middle(pairs(entry, lambda run: run["tps"])),
        "share": middle(shares),
        "cpu": middle(pairs(entry, cpu)),
        "wal": middle(pairs(entry, lambda run: run["wal_bytes"])),
    }


def targets(entry):
    """(name, value, limit, whether the value must be at least the limit) for each target of the cell."""
    found = figures(entry)
    script, clients, level = entry["script"], entry["clients"], entry["level"]
    if script == "hot":
        return [("ratio", found["ratio"], HOT_RATIO_MIN, True)]
    if script == "read":
        return [("share", found["share"], CEILING_SHARE_MIN, True)]
    return [
        ("ratio", found["ratio"], RATIO_MIN[clients == 1, level in REMOTE], True),
        ("share", found["share"], CEILING_SHARE_MIN, True),
        ("cpu", found["cpu"], CPU_RATIO_MAX, False),
        ("wal", found["wal"], 1.0, False),
    ]


def verdict(value, limit, at_least):
    """A target's cell in the table: the value, the limit, and whether it is met."""
    if value is None:
        return "-"
    # What the table prints is what is judged.
    shown = round(value, 2)
    met = shown >= limit if at_least else shown <= limit
    return f"{value:.2f} {'≥' if at_least else '≤'} {limit:g}: {'met' if met else '**missed**'}"


def table(header, rows):
    """A Markdown table whose first column is text."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def name(entry):
    return f"{entry['script']}, {entry['clients']}, {entry['level']}"


def speed_rows(results):
    for entry in results:
        found = figures(entry)
        yield [name(entry), *(spread(good(entry[label], "tps")) for label in (THEIRS, OURS)),
               spread(pairs(entry, lambda run: run["tps"]), 2), spread(good(entry["ceiling"], "tps")),
               "-" if found["share"] is None else f"{found['share']:.0%}"]


def cost_rows(results):
    def both(runs, first, second):
        parts = [middle(good(runs, field)) for field in (first, second)]
        return "-" if None in parts else " + ".join(f"{part:.0f}" for part in parts)

    for entry in results:
        yield [name(entry), *(both(entry[label], "cpu_primary_us", "cpu_standby_us") for label in (THEIRS, OURS)),
               spread(pairs(entry, cpu), 2), *(both(entry[label], "wal_bytes", "image_bytes") for label in (THEIRS, OURS))]


def target_rows(results):
    for entry in results:
        found = {what: verdict(value, limit, at_least) for what, value, limit, at_least in targets(entry)}
        yield [name(entry), *(found.get(what, "") for what in ("ratio", "share", "cpu", "wal"))]


def summary(results):
    """The geometric mean of the write cells' ratios, and how many targets are met."""
    ratios = [figures(entry)["ratio"] for entry in results if entry["script"] in ("upsert", "tpcb")]
    ratios = [ratio for ratio in ratios if ratio]
    lines = []
    if ratios:
        mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
        lines.append(f"Geometric mean of the ratios of {len(ratios)} write cells: {verdict(mean, GEOMETRIC_MEAN_MIN, True)}.")
    judged = [verdict(value, limit, at_least) for entry in results for _, value, limit, at_least in targets(entry)]
    judged = [text for text in judged if text != "-"]
    met = sum(text.endswith("met") for text in judged)
    return lines + [f"Targets of single cells: {met} of {len(judged)} met."]


def markdown(results, options, versions, took_s, chart_name):
    """The whole report."""
    lines = [
        "# Plimsoll against PostgreSQL 15",
        "",
        f"{time.strftime('%Y-%m-%d')}, {servers.machine()}; {', '.join(versions)}. Load average at the end: {os.getloadavg()[0]:.1f}. "
        f"Took {took_s / 60:.0f} minutes.",
        "",
        f"    {shlex.join(['benches/matrix.py', *sys.argv[1:]])}",
        "",
        f"pgbench -n -M prepared, one thread, {options.seconds} s a run, {options.repeats} pairs a cell, interleaved, clients over "
        f"{'TCP under TLS' if options.tls else 'TCP' if options.host else 'a Unix socket'}. Each product: a primary and one streaming standby on the same machine and disk, "
        f"which pgbench shares.",
        f"Settings of both: {', '.join(f'{key} {value}' for key, value in servers.SETTINGS.items())}, "
        f"synchronous_standby_names '*', data checksums{''.join(', ' + pair for pair in options.set)}. "
        f"{options.keys} keys; TPC-B scale {options.scale}.",
        "",
        *([f"![Transactions a second]({chart_name})", ""] if chart_name else []),
        *summary(results),
        "",
        "## Transactions a second",
        "",
        "Medians, in brackets lowest to highest. A cell is script, clients, synchronous_commit. The ratio is that of each pair, Plimsoll / "
        "PostgreSQL. The ceiling is a server with Plimsoll's codec that does nothing else (off, reads), also makes 200 bytes durable in "
        "groups (local), also ships them to a stub standby that writes, fdatasyncs and answers (remote levels).",
        "",
        *table(["cell", "PostgreSQL", "Plimsoll", "ratio", "ceiling", "our share of it"], speed_rows(results)),
        "",
        "## CPU time and WAL a transaction",
        "",
        "CPU time: µs of primary + standby, all threads, in user and kernel mode. WAL: bytes without page images + bytes of page images.",
        "",
        *table(["cell", "PostgreSQL CPU", "Plimsoll CPU", "ratio", "PostgreSQL WAL", "Plimsoll WAL"], cost_rows(results)),
        "",
        "## Targets",
        "",
        *table(["cell", "TPS to PostgreSQL's", "TPS to the ceiling's", "CPU to PostgreSQL's", "WAL to PostgreSQL's"],
               target_rows(results)),
        "",
    ]
    return "\n".join(lines)

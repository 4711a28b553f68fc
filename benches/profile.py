#!/usr/bin/env python3
"""Where Plimsoll's CPU time goes in single cells of the matrix, and what the ceiling takes for the same.

    benches/profile.py --cells upsert:1:on,read:8:any --out PROFILE.md      # needs perf (Debian: linux-perf)

Runs a cell with perf attached to both nodes and sorts the samples by what they are in the middle of: the call into the kernel, or else
the part of the program. Then runs pgbench against the cell's ceiling (see matrix.py) and reads its CPU time. Prints µs a transaction.
"""

import argparse
import collections
import pathlib
import subprocess
import sys
import tempfile
import types

import matrix
import servers

SECONDS = 4
# What a sample is counted as: the first line of which its kernel stack has one of the symbols.
KERNEL = [
    ("fdatasync", ("do_fsync", "vfs_fsync_range", "__x64_sys_fdatasync")),
    ("writing the log", ("__x64_sys_pwrite64", "ksys_pwrite64", "vfs_write")),
    ("sending", ("__sys_sendto", "__x64_sys_sendto", "sock_write_iter", "do_writev", "unix_stream_sendmsg", "tcp_sendmsg")),
    ("receiving", ("__sys_recvfrom", "__x64_sys_recvfrom", "sock_read_iter")),
    ("waiting for sockets", ("do_epoll_wait", "__x64_sys_epoll_wait", "ep_poll")),
    ("threads waking each other", ("do_futex", "__x64_sys_futex", "eventfd_write")),
    ("reading files", ("__x64_sys_pread64", "ksys_pread64", "vfs_read")),
]
USER = [
    ("trees, pages, pool", ("storage::tree", "storage::page", "storage::pool", "storage::scan", "storage::store", "storage::records",
                            "storage::writer", "storage::relation")),
    ("commit, locks, snapshots", ("storage::",)),
    ("log", ("wal::",)),
    ("SQL", ("sql::", "datum::", "sqlparser::")),
    ("sessions and protocol", ("server::", "protocol::", "settings::")),
    ("replication", ("replica::",)),
    ("runtime", ("tokio::", "mio::")),
]


def kind_of(stack):
    """What a stack, innermost frame first, is counted as."""
    kernel = [symbol for symbol, where in stack if "kernel" in where]
    if kernel:
        for name, symbols in KERNEL:
            if any(symbol in kernel for symbol in symbols):
                return name
        return "other kernel"
    symbol, where = stack[0] if stack else ("", "")
    if "libc" in where or "vdso" in where:
        return "libc (memory, copies, clock)"
    for name, prefixes in USER:
        if any(prefix in symbol for prefix in prefixes):
            return name
    return "other of the program"


def samples(path):
    """How many samples there are of each kind."""
    text = subprocess.run(["perf", "script", "-i", str(path), "-F", "ip,sym,dso"], capture_output=True, text=True, check=False).stdout
    counts = collections.Counter()
    for block in text.split("\n\n"):
        stack = []
        for line in block.strip().splitlines():
            parts = line.strip().split(" ", 1)
            if len(parts) == 2 and "(" in parts[1]:
                symbol, where = parts[1].rsplit("(", 1)
                stack.append((symbol.strip().split("+")[0], where))
        if stack:
            counts[kind_of(stack)] += 1
    return counts


def profiled(system, cell, options, folder):
    """The run's figures, and the samples of each node."""
    files = {node.name: folder / f"{node.name}.perf" for node in system.nodes()}
    command = ["perf", "record", "-q", "-F", "1999", "-g"]
    recorders = [subprocess.Popen(command + ["-p", ",".join(str(pid) for pid in node.pids()), "-o", str(files[node.name])],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for node in system.nodes()]
    try:
        script, clients, level = cell
        run = system.primary.pgbench(matrix.HERE / "pgbench" / f"{script}.sql", clients, SECONDS, jobs=1,
                                     level=None if level == "any" else level, define=matrix.variables(options))
    finally:
        for recorder in recorders:
            recorder.terminate()
            recorder.wait()
    return run, {name: samples(path) for name, path in files.items()}


def ceiling_cpu(cell, options, folder):
    """Speed and CPU µs a transaction of the cell's ceiling: the server's and the stub standby's."""
    ceiling = matrix.Ceiling(matrix.ceiling_of(cell), folder, options.ceiling)
    try:
        spent = lambda: sum(servers.process_cpu_seconds(process.pid) for process in ceiling.processes)
        before = spent()
        tps = ceiling.measure(cell[0], cell[1], options)["tps"]
        return tps, (spent() - before) * 1e6 / (tps * options.seconds)
    finally:
        ceiling.stop()


def table(name, run, counts, ceiling):
    """One cell as Markdown."""
    tps, cpu = ceiling
    lines = [f"### {name}", "",
             f"{run.tps:.0f} TPS while sampled, CPU {run.cpu_primary_us:.0f} + {run.cpu_standby_us:.0f} µs a transaction. "
             f"The ceiling: {tps:.0f} TPS, {cpu:.0f} µs.", "", "| in the middle of | primary µs | standby µs |", "|---|---:|---:|"]
    cost = {}
    for node, total in (("primary", run.cpu_primary_us), ("standby", run.cpu_standby_us)):
        everything = sum(counts[node].values()) or 1
        cost[node] = {kind: total * count / everything for kind, count in counts[node].items()}
    kinds = sorted(set(cost["primary"]) | set(cost["standby"]), key=lambda kind: -sum(part.get(kind, 0) for part in cost.values()))
    for kind in kinds:
        both = [cost[node].get(kind, 0) for node in ("primary", "standby")]
        if sum(both) >= 0.01 * (run.cpu_primary_us + run.cpu_standby_us):
            lines.append(f"| {kind} | {both[0]:.1f} | {both[1]:.1f} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", required=True, help="SCRIPT:CLIENTS:LEVEL,...")
    parser.add_argument("--out", type=pathlib.Path, help="Markdown file to write (standard output)")
    parser.add_argument("--ceiling", type=pathlib.Path, default=matrix.HERE.parent / "target/release/ceiling")
    servers.add_arguments(parser)
    given = parser.parse_args()
    options = types.SimpleNamespace(keys=100_000, scale=10, jobs=1, seconds=SECONDS, ceiling=given.ceiling)
    parts = []
    with servers.started([servers.Plimsoll], servers.options_of(given)) as (system,), \
            tempfile.TemporaryDirectory(dir=given.dir) as folder:
        matrix.load(system, options)
        for number, cell in enumerate(matrix.cells_of(given.cells)):
            system.primary.sql("CHECKPOINT")
            place = pathlib.Path(folder) / str(number)
            place.mkdir()
            run, counts = profiled(system, cell, options, place)
            parts.append(table(", ".join(str(part) for part in cell), run, counts, ceiling_cpu(cell, options, place)))
    text = "\n".join(parts)
    if given.out:
        given.out.write_text(text)
    else:
        print(text)
    return 0


if __name__ == "__main__":
    servers.main(main)

#!/usr/bin/env python3
"""Plimsoll against PostgreSQL 15: transactions a second on one machine in one run, and their ratio.

Starts a PostgreSQL 15 primary with one streaming standby and a Plimsoll primary with one standby, all with the same settings, loads
the same rows into both by COPY, and runs pgbench (-n -M prepared) with a key-value upsert and a TPC-B script on the two in turn: each
cell (script, clients, synchronous_commit level) is measured in pairs, in alternating order. Writes a Markdown table of medians, spreads,
ratios and CPU time a transaction.

    cargo build --release
    benches/postgres_ratio.py --plimsoll target/release/plimsoll --out ratios.md
    benches/postgres_ratio.py --only postgres --cells upsert:1:on,tpcb:8:local --seconds 5 --pairs 1

A cell's ratio is the median of its pairs' ratios. Needs root, or sudo for installing postgresql-15 if it is missing. Everything
lies in one temporary folder (--dir says where: on the disk to be measured), and is gone afterwards.
"""

import argparse
import dataclasses
import os
import pathlib
import platform
import re
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PGBIN = pathlib.Path("/usr/lib/postgresql/15/bin")
SCRIPTS = ("upsert", "tpcb")
CLIENTS = (1, 8, 32)
LEVELS = ("off", "local", "on")
MORE_LEVELS = ("remote_write", "remote_apply")  # measured if named
START_TIMEOUT_S = 60
TICKS = os.sysconf("SC_CLK_TCK")


class Failure(Exception):
    """What went wrong, in one line."""


def run(command, **options):
    """Runs a command to its end; its output, or a Failure with what it said."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Failure(f"{pathlib.Path(command[0]).name} failed: {' / '.join(said[-3:])}")
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def install_postgres():
    if (PGBIN / "postgres").exists() and (PGBIN / "pgbench").exists():
        return
    print("installing postgresql-15", file=sys.stderr)
    root = [] if os.geteuid() == 0 else ["sudo"]
    # Debian starts a cluster of its own when the server package comes in; nobody wants that one.
    config = "/etc/postgresql-common/createcluster.conf"
    if not os.path.exists(config):
        run(root + ["mkdir", "-p", os.path.dirname(config)])
        subprocess.run(root + ["tee", config], input="create_main_cluster = false\n", text=True, check=True,
                       stdout=subprocess.DEVNULL)
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    run(root + ["apt-get", "update", "-qq"], env=environment)
    run(root + ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql-15"], env=environment)


class Node:
    """One running server: its folder, its port, its process."""

    def __init__(self, system, name, options):
        self.system, self.name, self.options = system, name, options
        self.data = system.folder / name
        self.port = free_port()
        self.process = None

    def start(self):
        self.log = open(self.system.folder / f"{self.name}.log", "a")
        self.process = subprocess.Popen(self.system.start_command(self), stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL, cwd=self.system.folder)
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                self.sql("SELECT 1")
                return
            except Failure:
                time.sleep(0.1)
        tail = pathlib.Path(self.log.name).read_text().strip().splitlines()[-3:]
        raise Failure(f"{self.system.label} {self.name} does not accept connections: {' / '.join(tail)}")

    def pid(self):
        """The server's own process: PostgreSQL's is a child of the one that changes users."""
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return self.process.pid

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        for wanted in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            try:
                os.kill(self.pid(), wanted)
                self.process.wait(20)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        self.log.close()

    def connection(self):
        return ["-h", self.options.host or str(self.system.sockets), "-p", str(self.port), "-U", "postgres"]

    def sql(self, text):
        command = [PGBIN / "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", *self.connection(), "-d", "postgres"]
        return run(command + ["-c", text], timeout=600).strip()

    def cpu_seconds(self):
        """CPU time of the server and all its processes so far, those that have ended included."""
        pids, total = [self.pid()], 0
        while pids:
            pid = pids.pop()
            try:
                stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += sum(int(stat[at]) for at in (11, 12, 13, 14))  # utime stime cutime cstime
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    pids += [int(child) for child in (task / "children").read_text().split()]
            except (OSError, IndexError):
                continue
        return total / TICKS


class System:
    """A primary with one standby of one product."""

    def __init__(self, folder, options):
        self.options = options
        self.folder = folder / self.label.lower()
        self.folder.mkdir()
        self.sockets = folder / self.label[:2].lower()
        self.sockets.mkdir()
        self.prepare_folders()
        self.primary = Node(self, "primary", options)
        self.standby = Node(self, "standby", options)

    def prepare_folders(self):
        """Hands the folders to whom the server runs as."""

    def settings(self, node):
        return {
            "port": node.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.sockets),
            "cluster_name": node.name,
            "fsync": "on",
            "full_page_writes": "on",
            "shared_buffers": self.options.shared_buffers,
            "max_wal_size": self.options.max_wal_size,
            "checkpoint_timeout": "30min",
            "max_connections": 100,
            "synchronous_standby_names": "*",
        }

    def write_settings(self, node):
        with open(node.data / "postgresql.conf", "a") as file:
            for name, value in self.settings(node).items():
                file.write(f"{name} = '{value}'\n")

    def start(self):
        self.init(self.primary)
        self.write_settings(self.primary)
        self.primary.start()
        self.clone(self.primary, self.standby)
        self.write_settings(self.standby)
        self.standby.start()
        self.await_standby()
        print(f"{self.label}: {self.version()}", file=sys.stderr)

    def await_standby(self):
        """Waits until the standby has replayed everything."""
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            here = self.primary.sql("SELECT pg_current_wal_lsn()")
            there = self.primary.sql("SELECT replay_lsn FROM pg_stat_replication")
            if there and lsn(there.splitlines()[0]) >= lsn(here):
                return
            time.sleep(0.1)
        raise Failure(f"the standby of {self.label} does not catch up")

    def load(self):
        psql = [PGBIN / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *self.primary.connection(), "-d", "postgres"]
        run(psql + ["-f", HERE / "pgbench" / "schema.sql"])
        began = time.monotonic()
        loader = subprocess.Popen([str(part) for part in psql + ["-f", "-"]], stdin=subprocess.PIPE, text=True,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            write_rows(loader.stdin, self.options)
            loader.stdin.close()
        except BrokenPipeError:
            pass
        errors = loader.stderr.read().strip()
        if loader.wait() != 0:
            raise Failure(f"loading {self.label}: {errors}")
        print(f"{self.label}: loaded in {time.monotonic() - began:.1f} s", file=sys.stderr)

    def stop(self):
        self.standby.stop()
        self.primary.stop()

    def measure(self, cell):
        """One run of pgbench."""
        self.await_standby()
        self.primary.sql("CHECKPOINT")
        script, clients, level = cell
        command = [PGBIN / "pgbench", "-n", "-M", "prepared", "-f", HERE / "pgbench" / f"{script}.sql",
                   "-c", clients, "-j", min(clients, self.options.jobs), "-T", self.options.seconds,
                   "-D", f"keys={self.options.keys}", "-D", f"accounts={self.options.accounts}",
                   "-D", f"branches={self.options.branches}", *self.primary.connection(), "postgres"]
        before = self.primary.cpu_seconds(), self.standby.cpu_seconds()
        # The level comes with the connection, so the same script serves all.
        output = run(command, env=dict(os.environ, PGOPTIONS=f"-c synchronous_commit={level}"),
                     timeout=self.options.seconds + 120)
        after = self.primary.cpu_seconds(), self.standby.cpu_seconds()
        tps = re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)
        count = re.search(r"actually processed: (\d+)", output)
        if not tps or not count or int(count[1]) == 0:
            raise Failure(f"pgbench says nothing of its speed: {output.strip()[-200:]}")
        per_transaction = [(late - early) * 1e6 / int(count[1]) for early, late in zip(before, after)]
        return Run(float(tps[1]), *per_transaction)


class Postgres(System):
    label = "PostgreSQL"

    def prepare_folders(self):
        self.user = []
        if os.geteuid() == 0:
            self.user = ["runuser", "-u", "postgres", "--"]
            for folder in (self.folder, self.sockets):
                shutil.chown(folder, "postgres", "postgres")

    def init(self, node):
        run(self.user + [PGBIN / "initdb", "-D", node.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                         "--locale=C", "--data-checksums"], cwd=self.folder)

    def clone(self, primary, standby):
        run(self.user + [PGBIN / "pg_basebackup", "-h", self.sockets, "-p", primary.port, "-U", "postgres",
                         "-D", standby.data, "-R", "-X", "stream", "-c", "fast"], cwd=self.folder)

    def start_command(self, node):
        return [str(part) for part in self.user + [PGBIN / "postgres", "-D", node.data]]

    def version(self):
        return run([PGBIN / "postgres", "--version"]).strip()


class Plimsoll(System):
    label = "Plimsoll"

    def init(self, node):
        run([self.options.plimsoll, "init", "-D", node.data, "-U", "postgres"])

    def clone(self, primary, standby):
        conninfo = f"host=127.0.0.1 port={primary.port} user=postgres"
        run([self.options.plimsoll, "clone", "--from", conninfo, "-D", standby.data])

    def start_command(self, node):
        return [str(self.options.plimsoll), "start", "-D", str(node.data)]

    def version(self):
        return run([self.options.plimsoll, "--version"]).strip()


@dataclasses.dataclass
class Run:
    """One run's figures; CPU time in microseconds a transaction."""

    tps: float
    cpu_primary_us: float
    cpu_standby_us: float


def lsn(text):
    high, low = text.strip().split("/")
    return int(high, 16) << 32 | int(low, 16)


def write_rows(out, options):
    """COPY commands for all tables, a transaction for each chunk."""
    filler = "x" * 60
    tables = [
        ("kv", options.keys, lambda at: f"{at}\tvalue {at:034d}"),
        ("branches", options.branches, lambda at: f"{at}\t0\t{filler}"),
        ("tellers", 10 * options.branches, lambda at: f"{at}\t{(at - 1) // 10 + 1}\t0\t{filler}"),
        ("accounts", options.accounts, lambda at: f"{at}\t{at % options.branches + 1}\t0\t{filler}"),
    ]
    for table, rows, row in tables:
        for start in range(1, rows + 1, options.chunk):
            out.write(f"COPY {table} FROM STDIN;\n")
            out.writelines(row(at) + "\n" for at in range(start, min(start + options.chunk, rows + 1)))
            out.write("\\.\n")


def cells_of(text):
    """The cells that a list of SCRIPT:CLIENTS:LEVEL names; a part left out or * means all of its kind."""
    chosen = []
    for pattern in text.split(","):
        parts = (pattern.split(":") + ["", ""])[:3]
        for script in SCRIPTS:
            for clients in CLIENTS if not parts[1].isdigit() else (int(parts[1]),):
                for level in LEVELS if parts[2] not in MORE_LEVELS else (parts[2],):
                    cell = (script, clients, level)
                    if all(part in ("", "*", str(value)) for part, value in zip(parts, cell)) and cell not in chosen:
                        chosen.append(cell)
    if not chosen:
        raise Failure(f"no cell is called {text}; a cell is SCRIPT:CLIENTS:LEVEL, such as upsert:8:on")
    return chosen


def measure_cell(cell, systems, options, failures):
    """The runs of a cell by system, in pairs of alternating order."""
    runs = {system.label: [] for system in systems}
    for pair in range(options.pairs):
        for system in systems if pair % 2 == 0 else systems[::-1]:
            try:
                figures = system.measure(cell)
            except (Failure, subprocess.TimeoutExpired) as failure:
                failures.append(f"{cell[0]} c={cell[1]} {cell[2]}, {system.label}: {failure}")
                print(f"  FAILED {failures[-1]}", file=sys.stderr)
                figures = None
            runs[system.label].append(figures)
            if figures:
                print(f"  {cell[0]} c={cell[1]} {cell[2]:6} {system.label:10} {figures.tps:9.0f} TPS, CPU us/txn "
                      f"{figures.cpu_primary_us:.0f} + {figures.cpu_standby_us:.0f}", file=sys.stderr)
    return runs


def spread(values, digits=0):
    """Median (lowest to highest)."""
    if not values:
        return "failed"
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(results, options):
    header = ["script", "clients", "level", "PostgreSQL TPS", "Plimsoll TPS", "ratio",
              "PostgreSQL CPU µs/txn", "Plimsoll CPU µs/txn"]
    lines = ["| " + " | ".join(header) + " |", "|---|---:|---|---:|---:|---:|---:|---:|"]
    for (script, clients, level), runs in results:
        theirs, ours = runs.get(Postgres.label, []), runs.get(Plimsoll.label, [])
        ratios = [our.tps / their.tps for their, our in zip(theirs, ours) if their and our]
        row = [script, str(clients), level]
        row += [spread([run.tps for run in each if run]) if each else "-" for each in (theirs, ours)]
        row.append(spread(ratios, 2) if theirs and ours else "-")
        for each in (theirs, ours):
            good = [run for run in each if run]
            row.append(f"{statistics.median(run.cpu_primary_us for run in good):.0f} + "
                       f"{statistics.median(run.cpu_standby_us for run in good):.0f}" if good else "-")
        lines.append("| " + " | ".join(row) + " |")
    return lines


def report(results, systems, failures, options):
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    lines = [
        "# Plimsoll against PostgreSQL 15",
        "",
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} CPUs ({model[1] if model else platform.machine()}), "
        f"Linux {platform.release()}; {', '.join(system.version() for system in systems)}.",
        f"pgbench -n -M prepared, {options.seconds} s a run, {options.pairs} pairs a cell in alternating order, clients over "
        f"{'TCP' if options.host else 'a Unix socket'}; one standby attached throughout. Load average before the first run: "
        f"{options.load_average:.1f}.",
        "",
        f"    benches/postgres_ratio.py {shlex.join(sys.argv[1:])}",
        "",
        f"Settings of both: fsync on, full_page_writes on, shared_buffers {options.shared_buffers}, max_wal_size "
        f"{options.max_wal_size}, data checksums. Rows: {options.keys} keys, {options.accounts} accounts, "
        f"{options.branches} branches.",
        "",
        "Medians, in brackets lowest to highest. The ratio is that of each pair, Plimsoll / PostgreSQL. CPU time is the servers': "
        "primary + standby.",
        "",
        *table(results, options),
        "",
    ]
    if failures:
        lines += ["Failed:", "", *(f"- {failure}" for failure in failures), ""]
    return "\n".join(lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--plimsoll", type=lambda text: pathlib.Path(text).resolve(),
                        default=HERE.parent / "target/release/plimsoll", help="the binary (target/release/plimsoll)")
    parser.add_argument("--seconds", type=int, default=10, help="length of a run (10)")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each system a cell (5)")
    parser.add_argument("--cells", default="", help="SCRIPT:CLIENTS:LEVEL,... parts may be * (all 18: remote_write and "
                        "remote_apply come only if named)")
    parser.add_argument("--out", type=pathlib.Path, help="Markdown file to write (standard output)")
    parser.add_argument("--only", choices=("postgres", "plimsoll"), help="measure one system alone")
    parser.add_argument("--dir", default="/var/tmp", help="where the temporary folder goes (/var/tmp)")
    parser.add_argument("--host", default="", help="connect by TCP to this address instead of the Unix socket")
    parser.add_argument("--jobs", type=int, default=1, help="most pgbench threads (1)")
    parser.add_argument("--keys", type=int, default=100_000, help="rows of the key-value table (100000)")
    parser.add_argument("--accounts", type=int, default=200_000, help="accounts of the TPC-B tables (200000)")
    parser.add_argument("--branches", type=int, default=32, help="branches of the TPC-B tables (32)")
    parser.add_argument("--chunk", type=int, default=20_000, help="rows a transaction while loading (20000)")
    parser.add_argument("--shared-buffers", default="256MB")
    parser.add_argument("--max-wal-size", default="4GB")
    parser.add_argument("--keep", action="store_true", help="leave the temporary folder")
    return parser.parse_args()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    cells = cells_of(options.cells)
    kinds = [kind for kind in (Postgres, Plimsoll) if options.only in (None, kind.__name__.lower())]
    if Plimsoll in kinds and not options.plimsoll.exists():
        raise Failure(f"{options.plimsoll} is not there: cargo build --release, or name it with --plimsoll")
    install_postgres()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="ratio-", dir=options.dir))
    folder.chmod(0o755)
    options.load_average = os.getloadavg()[0]
    systems, failures = [], []
    try:
        for kind in kinds:
            systems.append(kind(folder, options))
            systems[-1].start()
            systems[-1].load()
        results = []
        for number, cell in enumerate(cells, 1):
            print(f"cell {number} of {len(cells)}", file=sys.stderr)
            results.append((cell, measure_cell(cell, systems, options, failures)))
        text = report(results, systems, failures, options)
    finally:
        for system in systems:
            system.stop()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if options.out:
        options.out.write_text(text)
        print(f"written to {options.out}", file=sys.stderr)
    else:
        print(text)
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)

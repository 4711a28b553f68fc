#!/usr/bin/env python3
"""Plimsoll against PostgreSQL 15 and against what the machine allows: every durability level, 1, 8 and 32 clients, in pairs.

    cargo build --release -p tools -p benches
    benches/matrix.py --short --out benches/RESULTS.md      # about 13 minutes: 2 s a run, 3 repeats
    benches/matrix.py --out benches/RESULTS.md              # about 90 minutes: 10 s a run, 5 repeats
    benches/matrix.py --cells upsert:1:on,tpcb:8 --seconds 5 --repeats 1
    benches/matrix.py --tls --no-ceilings --cells read:8    # both products under TLS

Installs PostgreSQL 15 if it is missing, starts a primary with one streaming standby of each product with the same settings, and three
ceilings (benches/src/bin/ceiling.rs), loads the same rows, and runs pgbench (-n -M prepared) on them in turn. In each repeat a cell's
two runs follow one another, and who is first alternates; the ratio is that of each pair. Before a script's turn both products take a
checkpoint and are warmed up, so that the images of pages after a checkpoint fall to the warm-up.

Writes a Markdown table with medians and spreads, and a chart beside it (.svg). Every run is kept in a file (--state); with the same file
and options, what was broken off goes on where it was.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import time

import chart
import report
import servers
from servers import Failure

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = ("upsert", "tpcb", "read", "hot")
CLIENTS = (1, 8, 32)
LEVELS = ("off", "local", "remote_write", "on", "remote_apply")
CEILINGS = ("answer", "flush", "ship")
PRODUCTS = (servers.Postgres, servers.Plimsoll)
# Transactions of each of 32 clients before a script's turn, 1500 where nothing is said: most pages of the tables are changed by them.
WARM_UP = {"hot": 50}
SHORT = {"seconds": 2, "repeats": 3}
FULL = {"seconds": 10, "repeats": 5}


def all_cells():
    """(script, clients, level) of the whole matrix. Reads know no level; the hot row is a case of its own."""
    cells = [(script, clients, level) for script in ("upsert", "tpcb") for clients in CLIENTS for level in LEVELS]
    return cells + [("read", clients, "any") for clients in CLIENTS] + [("hot", 32, "on")]


def cells_of(text):
    """The cells that a list of SCRIPT:CLIENTS:LEVEL names; a part left out or * means all of its kind."""
    chosen = []
    for pattern in text.split(",") if text else [""]:
        parts = (pattern.split(":") + ["", ""])[:3]
        chosen += [cell for cell in all_cells()
                   if cell not in chosen and all(part in ("", "*", str(value)) for part, value in zip(parts, cell))]
    if not chosen:
        raise Failure(f"no cell is called {text}; a cell is SCRIPT:CLIENTS:LEVEL, such as upsert:8:on")
    return chosen


def ceiling_of(cell):
    """The ceiling that a cell is held against."""
    script, _, level = cell
    if script == "read" or level == "off":
        return "answer"
    return "flush" if level == "local" else "ship"


class Ceiling:
    """One server of benches/src/bin/ceiling.rs, with its stub standby if it ships."""

    def __init__(self, kind, folder, binary):
        self.kind, self.folder, self.port = kind, folder / kind, servers.free_port()
        self.folder.mkdir()
        self.processes = []
        command = [binary, kind, "--socket", self.folder, "--port", self.port]
        if kind == "ship":
            address = f"127.0.0.1:{servers.free_port()}"
            self.spawn([binary, "standby", "--listen", address, "--log", self.folder / "standby.log"])
            self.await_file(self.folder / "standby.log", 64 << 20)
            command += ["--standby", address]
        self.spawn(command + (["--log", self.folder / "primary.log"] if kind != "answer" else []))
        self.await_file(self.folder / f".s.PGSQL.{self.port}", 0)

    def spawn(self, command):
        self.processes.append(subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL))

    def await_file(self, path, size):
        until = time.monotonic() + 60
        while not path.exists() or path.stat().st_size < size:
            if time.monotonic() > until or any(process.poll() is not None for process in self.processes):
                raise Failure(f"the ceiling {self.kind} does not start")
            time.sleep(0.05)
        time.sleep(0.2)  # The file is there a moment before its owner listens.

    def stop(self):
        for process in self.processes[::-1]:
            process.terminate()
            process.wait()

    def measure(self, script, clients, options):
        command = [servers.PGBIN / "pgbench", "-n", "-M", "prepared", "-f", HERE / "pgbench" / f"{script}.sql", "-c", clients,
                   "-j", min(clients, options.jobs), "-T", options.seconds, "-h", self.folder, "-p", self.port, "-U", "postgres"]
        for name, value in variables(options).items():
            command += ["-D", f"{name}={value}"]
        output = servers.run(command + ["postgres"], timeout=options.seconds + 120)
        return {"tps": servers.pgbench_figures(output, (0.0, 0.0))["tps"]}


def variables(options):
    """What the scripts are told of the tables' sizes."""
    return {"keys": options.keys, "scale": options.scale}


def load(system, options):
    """The same rows for each product."""
    node, scale = system.primary, options.scale
    servers.run(node.psql() + ["-f", HERE / "pgbench" / "schema.sql"])
    filler = " " * 84
    tables = {
        "kv": (f"{at}\tvalue {at:034d}\n" for at in range(1, options.keys + 1)),
        "branches": (f"{at}\t0\t{filler}\n" for at in range(1, scale + 1)),
        "tellers": (f"{at}\t{(at - 1) // 10 + 1}\t0\t{filler}\n" for at in range(1, 10 * scale + 1)),
        "accounts": (f"{at}\t{(at - 1) // 100000 + 1}\t0\t{filler}\n" for at in range(1, 100000 * scale + 1)),
    }
    seconds = sum(node.copy(table, lines, rows_a_transaction=20_000) for table, lines in tables.items())
    if system.label == servers.Postgres.label:
        node.sql("VACUUM ANALYZE")
    system.await_standby()
    print(f"{system.label}: loaded in {seconds:.0f} s", file=sys.stderr)


class Matrix:
    """The plan, the runs that were made, and who makes them."""

    def __init__(self, options, systems, ceilings):
        self.options, self.systems, self.ceilings = options, systems, ceilings
        self.cells = cells_of(options.cells)
        self.runs, self.warm = {}, None
        self.state = options.state.open("a+") if options.state else None
        if self.state:
            self.resume()

    def resume(self):
        """Takes over the runs of a state file, if they were made with the same options."""
        self.state.seek(0)
        lines = self.state.readlines()
        header = {name: getattr(self.options, name) for name in ("seconds", "scale", "keys", "jobs", "host", "set", "tls")}
        if not lines:
            self.write(header)
        elif json.loads(lines[0]) != header:
            raise Failure(f"{self.options.state} was made with other options: {lines[0].strip()}")
        if lines and not lines[-1].endswith("\n"):
            # The machine stopped in the middle of a line.
            lines.pop()
            self.state.truncate(sum(len(line.encode()) for line in lines))
        for line in lines[1:]:
            entry = json.loads(line)
            self.runs[tuple(entry.pop("key"))] = entry
        if self.runs:
            print(f"{len(self.runs)} runs are there already", file=sys.stderr)

    def write(self, entry):
        self.state.write(json.dumps(entry) + "\n")
        self.state.flush()

    def once(self, key, measure):
        """Makes a run unless it is there. What fails is told, and tried again the next time."""
        if key in self.runs:
            return
        try:
            entry = measure()
        except Failure as failure:
            print(f"  FAILED {key}: {failure}", file=sys.stderr)
            self.revive()
            return
        self.runs[key] = entry
        if self.state:
            self.write({"key": list(key)} | entry)
        what = ", ".join(f"{name} {value:.0f}" for name, value in entry.items() if value is not None)
        print(f"  {' '.join(str(part) for part in key)}: {what}", file=sys.stderr)

    def revive(self):
        for system in self.systems:
            for node in system.nodes():
                if node.process.poll() is not None:
                    print(f"  {system.label}'s {node.name} has ended; it is started again", file=sys.stderr)
                    node.start()

    def measure(self, system, cell):
        """One run: speed, CPU time, and what went into the log."""
        script, clients, level = cell
        self.warm_up(script)
        system.await_standby()
        start = system.primary.wal_position()
        run = system.primary.pgbench(HERE / "pgbench" / f"{script}.sql", clients, self.options.seconds, jobs=self.options.jobs,
                                     level=None if level == "any" else level, define=variables(self.options))
        end = system.primary.wal_position()
        if run.failed:
            raise Failure(f"{run.failed} transactions failed")
        # A commit that waits for the disk makes durable what pg_waldump is to read.
        system.primary.sql("SET synchronous_commit TO local; UPDATE hot SET n = n WHERE k = 1")
        try:
            images = system.primary.wal_image_bytes(start, end)
        except Failure as failure:
            print(f"  no figures of the log: {failure}", file=sys.stderr)
            return dataclasses.asdict(run) | {"wal_bytes": None, "image_bytes": None}
        return dataclasses.asdict(run) | {"wal_bytes": (end - start - images) / run.transactions,
                                          "image_bytes": images / run.transactions}

    def warm_up(self, script):
        """Before a script's turn: a checkpoint, and a run that is not counted."""
        if self.warm == script:
            return
        self.warm = script
        for system in self.systems:
            system.primary.sql("CHECKPOINT")
            # So many transactions and not so long: both products' pages are to be equally warm.
            system.primary.pgbench(HERE / "pgbench" / f"{script}.sql", 32, transactions=WARM_UP.get(script, 1500), level="off",
                                   define=variables(self.options))
            system.await_standby()

    def run(self):
        """Everything that is missing."""
        for repeat in range(self.options.repeats):
            for script in SCRIPTS:
                cells = [cell for cell in self.cells if cell[0] == script]
                self.warm = None
                for clients in dict.fromkeys(cell[1] for cell in cells):
                    same = [cell for cell in cells if cell[1] == clients]
                    print(f"repeat {repeat + 1} of {self.options.repeats}: {script}, {clients} clients", file=sys.stderr)
                    for kind in CEILINGS:
                        if kind in self.ceilings and any(ceiling_of(cell) == kind for cell in same):
                            self.once((repeat, script, clients, kind),
                                      lambda: self.ceilings[kind].measure(script, clients, self.options))
                    for number, cell in enumerate(same):
                        for system in self.systems[::-1] if (repeat + number) % 2 else self.systems:
                            self.once((repeat, *cell, system.label), lambda: self.measure(system, cell))

    def results(self):
        """What report.py and chart.py want: a dictionary for each cell."""
        found = []
        for cell in self.cells:
            repeats = range(self.options.repeats)
            entry = {"script": cell[0], "clients": cell[1], "level": cell[2]}
            for system in PRODUCTS:
                entry[system.label] = [self.runs.get((repeat, *cell, system.label)) for repeat in repeats]
            entry["ceiling"] = [self.runs.get((repeat, cell[0], cell[1], ceiling_of(cell))) for repeat in repeats]
            found.append(entry)
        return found


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    servers.add_arguments(parser)
    parser.add_argument("--short", action="store_true", help=f"the short form: {SHORT}; otherwise {FULL}")
    parser.add_argument("--seconds", type=int, help="length of a run")
    parser.add_argument("--repeats", type=int, help="runs of each product a cell")
    parser.add_argument("--cells", default="", help="SCRIPT:CLIENTS:LEVEL,... parts may be * (all)")
    parser.add_argument("--out", type=pathlib.Path, help="Markdown file to write (standard output); the chart goes beside it")
    parser.add_argument("--state", type=pathlib.Path, help="file that keeps the runs, to go on after a break")
    parser.add_argument("--only", choices=("postgres", "plimsoll"), help="measure one product alone")
    parser.add_argument("--ceiling", type=lambda text: pathlib.Path(text).resolve(),
                        default=HERE.parent / "target/release/ceiling", help="the ceilings' binary (target/release/ceiling)")
    parser.add_argument("--no-ceilings", action="store_true", help="leave the ceilings out")
    parser.add_argument("--jobs", type=int, default=1, help="most pgbench threads (1)")
    parser.add_argument("--keys", type=int, default=100_000, help="rows of the key-value table (100000)")
    parser.add_argument("--scale", type=int, default=10, help="scale of the TPC-B tables (10)")
    options = parser.parse_args()
    if options.tls and not options.no_ceilings:
        parser.error("the ceilings know no TLS: say --no-ceilings")
    preset = SHORT if options.short else FULL
    options.seconds, options.repeats = options.seconds or preset["seconds"], options.repeats or preset["repeats"]
    return options


def body():
    options = arguments()
    kinds = [kind for kind in PRODUCTS if options.only in (None, kind.__name__.lower())]
    if not options.no_ceilings and not options.ceiling.exists():
        raise Failure(f"{options.ceiling} is not there: cargo build --release -p benches, or say --no-ceilings")
    began, ceilings = time.monotonic(), {}
    with servers.started(kinds, servers.options_of(options)) as systems:
        try:
            if not options.no_ceilings:
                for kind in CEILINGS:
                    ceilings[kind] = Ceiling(kind, systems[0].folder.parent, options.ceiling)
            matrix = Matrix(options, systems, ceilings)
            for system in systems:
                load(system, options)
            matrix.run()
        finally:
            for ceiling in ceilings.values():
                ceiling.stop()
        versions = [system.version() for system in systems]
    results = matrix.results()
    text = report.markdown(results, options, versions, time.monotonic() - began, chart_name=None)
    if options.out:
        picture = options.out.with_suffix(".svg")
        picture.write_text(chart.svg(results))
        options.out.write_text(report.markdown(results, options, versions, time.monotonic() - began, chart_name=picture.name))
        print(f"written to {options.out} and {picture}", file=sys.stderr)
    else:
        print(text)
    missing = [entry for entry in results for kind in kinds if None in entry[kind.label]]
    return 1 if missing else 0


if __name__ == "__main__":
    servers.main(body)

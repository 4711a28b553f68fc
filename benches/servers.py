"""Primaries and standbys of PostgreSQL 15 and Plimsoll, for benchmarks that run both side by side.

    import servers
    options = servers.options_of(parser.parse_args())          # after servers.add_arguments(parser)
    with servers.started((servers.Postgres, servers.Plimsoll), options) as systems:
        for system in systems:
            system.primary.sql("CREATE TABLE t (a int PRIMARY KEY)")
            system.primary.copy("t", (f"{a}\\n" for a in range(1000)))
            run = system.primary.pgbench(pathlib.Path("script.sql"), clients=8, seconds=10, level="on")
            print(system.label, run.tps, run.cpu_primary_us, system.primary.resident_bytes())

Both products get the same settings. Everything lies in one temporary folder (--dir says where: on the disk to be measured), which is
removed at the end; the servers are stopped however the block is left. As root, PostgreSQL runs as user postgres.
"""

import contextlib
import dataclasses
import math
import mmap
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
PGBIN = pathlib.Path("/usr/lib/postgresql/15/bin")
START_TIMEOUT_S = 120
TICKS = os.sysconf("SC_CLK_TCK")
SEGMENT_BYTES = 16 << 20
# What both products are set to; Options.settings comes on top.
SETTINGS = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
    "max_connections": "100",
}


class Failure(Exception):
    """What went wrong, in one line."""


@dataclasses.dataclass
class Options:
    """What servers to start, and how."""

    plimsoll: pathlib.Path = HERE.parent / "target/release/plimsoll"
    directory: str = "/var/tmp"
    standby: bool = True
    """Whether each primary has a streaming standby, which synchronous_standby_names counts."""
    host: str = ""
    """Address that clients connect to by TCP; empty for the Unix socket."""
    tls: bool = False
    """Whether clients connect under TLS."""
    settings: dict = dataclasses.field(default_factory=dict)
    """Further settings of all servers, by PostgreSQL's names."""
    keep: bool = False
    """Whether the folder stays at the end."""


def add_arguments(parser):
    """The options that all benchmarks have."""
    parser.add_argument("--plimsoll", type=lambda text: pathlib.Path(text).resolve(), default=Options.plimsoll,
                        help="the binary (target/release/plimsoll)")
    parser.add_argument("--dir", default=Options.directory, help="where the temporary folder goes (/var/tmp)")
    parser.add_argument("--host", default="", help="connect by TCP to this address instead of the Unix socket")
    parser.add_argument("--tls", action="store_true", help="connect by TCP under TLS, to 127.0.0.1 unless --host says otherwise")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of both products")
    parser.add_argument("--keep", action="store_true", help="leave the temporary folder")


def options_of(arguments, **changed):
    """The options that the arguments name; `changed` are fields of Options."""
    settings = dict(pair.split("=", 1) for pair in arguments.set) | changed.pop("settings", {})
    if arguments.tls:
        # For PostgreSQL's client programs.
        os.environ["PGSSLMODE"] = "require"
    return Options(plimsoll=arguments.plimsoll, directory=arguments.dir, settings=settings, keep=arguments.keep, tls=arguments.tls,
                   host=arguments.host or ("127.0.0.1" if arguments.tls else ""), **changed)


def run(command, **options):
    """Runs a command to its end; its output, or a Failure with what it said."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    except OSError as error:
        raise Failure(f"{command[0]}: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{pathlib.Path(command[0]).name} took more than {error.timeout:.0f} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Failure(f"{pathlib.Path(command[0]).name} failed: {' / '.join(said[-3:])}")
    return done.stdout


def free_port():
    """A port that the kernel says is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lsn(text):
    """A position in the log, in bytes."""
    high, low = text.strip().split("/")
    return int(high, 16) << 32 | int(low, 16)


def install_postgres():
    """Installs PostgreSQL 15's server and pgbench unless they are there."""
    if (PGBIN / "postgres").exists() and (PGBIN / "pgbench").exists():
        return
    print("installing postgresql-15", file=sys.stderr)
    root = [] if os.geteuid() == 0 else ["sudo"]
    # Debian starts a cluster of its own when the server package comes in; nobody wants that one.
    config = "/etc/postgresql-common/createcluster.conf"
    if not os.path.exists(config):
        run(root + ["mkdir", "-p", os.path.dirname(config)])
        run(root + ["tee", config], input="create_main_cluster = false\n")
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    run(root + ["apt-get", "update", "-qq"], env=environment)
    run(root + ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "postgresql-15"], env=environment)


def percentile(values, share):
    """The value that this share of them does not exceed, by nearest rank."""
    return sorted(values)[max(math.ceil(len(values) * share) - 1, 0)]


def process_cpu_seconds(pid):
    """CPU time of a process and of those of its children that have ended; 0 for one that is gone."""
    with contextlib.suppress(OSError, IndexError):
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(int(stat[at]) for at in (11, 12, 13, 14)) / TICKS  # utime stime cutime cstime
    return 0.0


def free_megabytes():
    """Memory that nothing uses, not even the page cache."""
    return int(re.search(r"MemFree:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) >> 10


@contextlib.contextmanager
def used_memory(megabytes, cushion=512):
    """Has so much memory used, and gives it back as fast as the body takes memory, a cushion ahead. A virtual machine may get memory from
    its host only when it is first used, at ten times the cost of copying into it, and may give it up again within seconds of
    its being free; what one product pays for that and the other does not says nothing of either."""
    pieces = []
    for _ in range(megabytes // 8):
        pieces.append(mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        pieces[-1].write(bytes(8 << 20))
    ended, free = threading.Event(), free_megabytes() + cushion

    def give_back():
        while pieces and not ended.wait(0.004):
            for _ in range(min(len(pieces), max(0, free - free_megabytes()) // 8)):
                pieces.pop().close()

    giving = threading.Thread(target=give_back)
    giving.start()
    try:
        yield
    finally:
        ended.set()
        giving.join()
        for piece in pieces:
            piece.close()


def machine():
    """The machine in one line."""
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} CPUs ({model[1] if model else platform.machine()}), Linux {platform.release()}"


@dataclasses.dataclass
class Run:
    """One run of pgbench; CPU time in microseconds a transaction, latency in milliseconds."""

    tps: float
    transactions: int
    failed: int
    latency_ms: float
    cpu_primary_us: float
    cpu_standby_us: float


class Node:
    """One server: its folder, its port, its process."""

    def __init__(self, system, name):
        self.system, self.name = system, name
        self.data = system.folder / name
        self.port = free_port()
        self.process = None

    def start(self):
        """Starts it and waits until it answers."""
        with open(self.system.folder / f"{self.name}.log", "a") as log:
            self.process = subprocess.Popen(self.system.start_command(self), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            cwd=self.system.folder, **self.system.owner())
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until and self.process.poll() is None:
            try:
                self.sql("SELECT 1")
                return
            except Failure:
                time.sleep(0.1)
        tail = pathlib.Path(log.name).read_text().strip().splitlines()[-3:]
        raise Failure(f"{self.system.label} {self.name} does not accept connections: {' / '.join(tail)}")

    def stop(self):
        """Stops it fast; by force if that takes longer than a minute."""
        for wanted in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if self.process is None or self.process.poll() is not None:
                return
            self.process.send_signal(wanted)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                continue

    def kill(self):
        """kill -9, and waits until the server's processes are gone."""
        pids = self.pids()
        self.process.kill()
        self.process.wait()
        until = time.monotonic() + START_TIMEOUT_S
        while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < until:
            time.sleep(0.02)

    def connection(self):
        """The options of PostgreSQL's client programs that lead here."""
        return ["-h", self.system.options.host or str(self.system.sockets), "-p", str(self.port), "-U", "postgres"]

    def psql(self):
        """A psql command that stops at errors."""
        return [PGBIN / "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", *self.connection(), "-d", "postgres"]

    def sql(self, text, timeout=600):
        """What psql prints for these statements: rows as lines, columns parted by |."""
        return run(self.psql() + ["-c", text], timeout=timeout).strip()

    def copy(self, table, lines, rows_a_transaction=None):
        """COPY table FROM STDIN of lines in its text form, newlines included; one transaction unless a number is given. Seconds."""
        began = time.monotonic()
        loader = subprocess.Popen([str(part) for part in self.psql() + ["-f", "-"]], stdin=subprocess.PIPE, text=True,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with contextlib.suppress(BrokenPipeError):
            loader.stdin.write(f"COPY {table} FROM STDIN;\n")
            for number, line in enumerate(lines):
                if rows_a_transaction and number and number % rows_a_transaction == 0:
                    loader.stdin.write(f"\\.\nCOPY {table} FROM STDIN;\n")
                loader.stdin.write(line)
            loader.stdin.write("\\.\n")
            loader.stdin.close()
        errors = loader.stderr.read().strip()
        if loader.wait() != 0:
            raise Failure(f"COPY into {table} of {self.system.label}: {errors}")
        return time.monotonic() - began

    def pgbench(self, script, clients, seconds=None, transactions=None, level=None, jobs=1, define=None):
        """Runs a script by pgbench, prepared, for a time or for a number of transactions of each client; `level` is
        synchronous_commit, `define` pgbench's variables."""
        extent = ["-T", seconds] if transactions is None else ["-t", transactions]
        command = [PGBIN / "pgbench", "-n", "-M", "prepared", "-f", script, "-c", clients, "-j", min(clients, jobs), *extent]
        for name, value in (define or {}).items():
            command += ["-D", f"{name}={value}"]
        # The level comes with the connection, so that the same script serves all.
        environment = dict(os.environ, **({"PGOPTIONS": f"-c synchronous_commit={level}"} if level else {}))
        before = self.system.cpu_seconds()
        output = run(command + self.connection() + ["postgres"], env=environment, timeout=(seconds or 1000) + 120)
        after = self.system.cpu_seconds()
        return Run(**pgbench_figures(output, [late - early for late, early in zip(after, before)]))

    def pids(self):
        """The server's process and those below it."""
        found, waiting = [], [self.process.pid]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    waiting += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu_seconds(self):
        """CPU time of the server and all its processes so far, those that have ended included."""
        return sum(process_cpu_seconds(pid) for pid in self.pids())

    def resident_bytes(self):
        """Memory of the server's processes, what they share divided among them."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                found = re.search(r"^Pss:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
                total += int(found[1]) * 1024 if found else 0
        return total

    def relation_bytes(self):
        """Length of all files below base/: tables and indexes, catalogues too."""
        return sum(file.stat().st_size for file in (self.data / "base").rglob("*") if file.is_file())

    def wal_position(self):
        """Where the next record goes, in bytes."""
        return lsn(self.sql("SELECT pg_current_wal_insert_lsn()"))

    def wal_image_bytes(self, start, end):
        """Bytes of page images in the log from one position to another, flushed both, as pg_waldump counts them."""
        if start >= end:
            return 0
        position = [f"{at >> 32:X}/{at & 0xFFFFFFFF:X}" for at in (start, end)]
        # pg_waldump asks the first file that it finds for the segment size, and the first may be one that is yet to be written.
        segments = [f"{1:08X}{at >> 32:08X}{(at & 0xFFFFFFFF) // SEGMENT_BYTES:08X}" for at in (start, end)]
        printed = run([PGBIN / "pg_waldump", "--stats", "-p", self.data / "pg_wal", "-s", position[0], "-e", position[1], *segments])
        total = re.search(r"^Total\s+(\d+)\s+(\d+) \[[^]]*\]\s+(\d+) \[", printed, re.MULTILINE)
        if not total:
            raise Failure("pg_waldump prints no total")
        return int(total[3])


def pgbench_figures(output, cpu_seconds):
    """The fields of a Run, of what pgbench printed."""
    tps = re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)
    count = re.search(r"actually processed: (\d+)", output)
    failed = re.search(r"number of failed transactions: (\d+)", output)
    latency = re.search(r"latency average = ([0-9.]+) ms", output)
    if not tps or not latency or not count or int(count[1]) == 0:
        raise Failure(f"pgbench says nothing of its speed: {output.strip()[-200:]}")
    primary, standby = (seconds * 1e6 / int(count[1]) for seconds in cpu_seconds)
    return {"tps": float(tps[1]), "transactions": int(count[1]), "failed": int(failed[1]) if failed else 0,
            "latency_ms": float(latency[1]), "cpu_primary_us": primary, "cpu_standby_us": standby}


class System:
    """A primary of one product, with one standby or without."""

    label = ""

    def __init__(self, folder, options):
        self.options = options
        self.folder = folder / self.label.lower()
        # A socket's path may have 107 bytes.
        self.sockets = folder / self.label[:2].lower()
        for made in (self.folder, self.sockets):
            made.mkdir()
            self.give(made)
        self.primary = Node(self, "primary")
        self.standby = Node(self, "standby") if options.standby else None

    def give(self, path):
        """Hands a folder to whom the server runs as."""

    def owner(self):
        """Arguments of Popen that say who runs the server."""
        return {}

    def nodes(self):
        """The primary first."""
        return [node for node in (self.primary, self.standby) if node]

    def write_settings(self, node):
        settings = SETTINGS | {
            "port": node.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.sockets,
            "cluster_name": node.name,
            "synchronous_standby_names": "*" if self.standby else "",
        } | ({"ssl": "on"} if self.options.tls else {}) | self.options.settings
        if self.options.tls:
            self.write_certificate(node)
        with open(node.data / "postgresql.conf", "a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def write_certificate(self, node):
        """A certificate that signs itself, and its key, in the server's folder."""
        certificate, key = node.data / "server.crt", node.data / "server.key"
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
             "-subj", "/CN=localhost", "-out", certificate, "-keyout", key])
        key.chmod(0o600)
        for made in (certificate, key):
            self.give(made)

    def start(self):
        """Makes the primary, and the standby as its clone, and starts both."""
        self.init(self.primary)
        self.write_settings(self.primary)
        self.primary.start()
        if self.standby:
            self.clone(self.primary, self.standby)
            self.write_settings(self.standby)
            self.standby.start()
            self.await_standby()
        print(f"{self.label}: {self.version()}", file=sys.stderr)

    def stop(self):
        """Stops both, the standby first."""
        for node in self.nodes()[::-1]:
            node.stop()

    def await_standby(self, timeout_s=START_TIMEOUT_S):
        """Waits until the standby, if any, has replayed everything."""
        until = time.monotonic() + timeout_s
        while self.standby:
            row = self.primary.sql("SELECT pg_current_wal_lsn(), replay_lsn FROM pg_stat_replication")
            here, _, there = row.splitlines()[0].partition("|") if row else ("", "", "")
            if there and lsn(there) >= lsn(here):
                return
            if time.monotonic() > until:
                raise Failure(f"the standby of {self.label} does not catch up")
            time.sleep(0.1)

    def cpu_seconds(self):
        """CPU time of the primary and of the standby (0 without one)."""
        return self.primary.cpu_seconds(), self.standby.cpu_seconds() if self.standby else 0.0


class Postgres(System):
    """PostgreSQL 15."""

    label = "PostgreSQL"

    def give(self, path):
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")

    def owner(self):
        return {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}

    def init(self, node):
        run([PGBIN / "initdb", "-D", node.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--data-checksums"],
            cwd=self.folder, **self.owner())

    def clone(self, primary, standby):
        run([PGBIN / "pg_basebackup", "-h", self.sockets, "-p", primary.port, "-U", "postgres", "-D", standby.data, "-R", "-X",
             "stream", "-c", "fast"], cwd=self.folder, **self.owner())

    def start_command(self, node):
        return [str(PGBIN / "postgres"), "-D", str(node.data)]

    def version(self):
        return run([PGBIN / "postgres", "--version"]).strip()


class Plimsoll(System):
    """The binary that Options.plimsoll names."""

    label = "Plimsoll"

    def init(self, node):
        run([self.options.plimsoll, "init", "-D", node.data, "-U", "postgres"])

    def clone(self, primary, standby):
        # In the clear, as PostgreSQL's standby follows over its socket.
        conninfo = f"host=127.0.0.1 port={primary.port} user=postgres sslmode=disable"
        run([self.options.plimsoll, "clone", "--from", conninfo, "-D", standby.data])

    def start_command(self, node):
        return [str(self.options.plimsoll), "start", "-D", str(node.data)]

    def version(self):
        return run([self.options.plimsoll, "--version"]).strip()


@contextlib.contextmanager
def started(kinds, options):
    """Systems of these kinds, running; SIGTERM ends the program in good order meanwhile."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if Plimsoll in kinds and not options.plimsoll.exists():
        raise Failure(f"{options.plimsoll} is not there: cargo build --release, or name it with --plimsoll")
    install_postgres()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="bench-", dir=options.directory))
    folder.chmod(0o755)
    systems = []
    try:
        for kind in kinds:
            systems.append(kind(folder, options))
            systems[-1].start()
        yield systems
    finally:
        for system in systems:
            system.stop()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def main(body):
    """Runs a benchmark's main function; failures are one line and exit status 1."""
    try:
        sys.exit(body())
    except Failure as failure:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)

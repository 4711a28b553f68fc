#!/usr/bin/env python3
"""How fast an old primary is back by a rewind, and how much it copies, beside a clone of the same directory.

    benches/rewind.py --rounds 5 --megabytes 2048

Two nodes of Plimsoll. In each round the standby is cut off, one page of a hundred is changed at the primary, the standby is promoted, and
the primary is killed. Then the old primary is rewound and started until it streams, and a clone into an empty directory is made and started
until it streams: which of the two comes first changes from round to round. Bytes are those that the rewind says it copied, against the
size of the directory without its log. The roles are changed after each round.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time

from switchover import HERE, Nodes, Session

ROW_BYTES = 900
ROWS_A_PAGE = 8
PAGE_BYTES = 8192
LIMIT_S = 120


def until(what, probe):
    deadline = time.monotonic() + LIMIT_S
    while not probe():
        if time.monotonic() > deadline:
            sys.exit(f"rewind.py: {what} does not happen")
        time.sleep(0.01)


def size_without_log(path):
    files = (file for file in pathlib.Path(path).rglob("*") if file.is_file() and "pg_wal" not in file.parts)
    return sum(file.stat().st_size for file in files)


class Pair(Nodes):
    def data(self, at):
        return f"{self.folder}/{self.names[at]}"

    def query(self, at, sql):
        session = Session(self.paths[at])
        session.socket.settimeout(600)
        rows = session.query(sql)
        session.socket.close()
        return rows

    def caught_up(self, primary, standby):
        end = self.query(primary, "SELECT pg_current_wal_lsn()")[0]
        until("the standby catches up", lambda: self.query(standby, f"SELECT pg_last_wal_replay_lsn() >= '{end}'") == ["t"])

    def diverge(self, old, round_number):
        """The standby, now a primary of its own branch; the old primary is dead, one of a hundred of its pages on the other branch."""
        new = 1 - old
        self.caught_up(old, new)
        self.query(old, "CHECKPOINT")
        self.caught_up(old, new)
        for change in ["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"]:
            self.query(new, change)
        until("the standby leaves", lambda: self.query(new, "SELECT count(*) FROM pg_stat_wal_receiver") == ["0"])
        every = 100 * ROWS_A_PAGE
        self.query(old, f"UPDATE big SET v = repeat('{round_number % 10}', {ROW_BYTES}) WHERE k % {every} = {round_number % every}")
        pid = int(pathlib.Path(self.data(old), "postmaster.pid").read_text(encoding="ascii").split()[0])
        os.kill(pid, signal.SIGKILL)
        until("the old primary ends", lambda: not pathlib.Path(f"/proc/{pid}").exists())
        self.tool("promote", "-D", self.data(new))
        self.query(new, f"UPDATE big SET v = repeat('n', {ROW_BYTES}) WHERE k <= 100")
        return new

    def streams(self, primary, name):
        sql = f"SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}' AND state = 'streaming'"
        return self.query(primary, sql) == ["1"]

    def rewind(self, old, new):
        """Seconds until it streams, and the bytes that were copied."""
        began = time.monotonic()
        said = self.tool("rewind", "--source", self.conninfo(new), "-D", self.data(old))
        self.tool("start", "-d", "-D", self.data(old))
        until("the rewound node streams", lambda: self.streams(new, self.names[old]))
        seconds = time.monotonic() - began
        found = re.search(r"(\d+) bytes copied", said)
        if not found:
            sys.exit(f"rewind.py: the rewind does not say what it copied: {said}")
        return seconds, int(found.group(1))

    def clone(self, new):
        """Seconds until a clone streams; it is removed again."""
        path = f"{self.folder}/third"
        port = self.free_port()
        began = time.monotonic()
        self.tool("clone", "--from", self.conninfo(new), "-D", path)
        with open(f"{path}/postgresql.conf", "a", encoding="ascii") as conf:
            conf.write(f"cluster_name = 'third'\nport = {port}\nunix_socket_directories = '{self.folder}'\n")
        self.tool("start", "-d", "-D", path)
        until("the clone streams", lambda: self.streams(new, "third"))
        seconds = time.monotonic() - began
        self.tool("stop", "-D", path)
        shutil.rmtree(path)
        return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plimsoll", type=pathlib.Path, default=HERE.parent / "target/release/plimsoll")
    parser.add_argument("--dir", default="/var/tmp", help="where the temporary folder goes")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=2048, help="size of the table")
    arguments = parser.parse_args()
    rewinds, clones, shares = [], [], []
    with tempfile.TemporaryDirectory(dir=arguments.dir, prefix="rewind") as folder:
        nodes = Pair(arguments.plimsoll.resolve(), folder, False)
        try:
            rows = arguments.megabytes * (1 << 20) // PAGE_BYTES * ROWS_A_PAGE
            nodes.query(0, "CREATE TABLE big (k int PRIMARY KEY, v text)")
            nodes.query(0, f"INSERT INTO big SELECT g, repeat('x', {ROW_BYTES}) FROM generate_series(1, {rows}) g")
            old = 0
            for number in range(arguments.rounds):
                new = nodes.diverge(old, number)
                size = size_without_log(nodes.data(old))
                clone_first = number % 2 == 1
                if clone_first:
                    clones.append(nodes.clone(new))
                seconds, copied = nodes.rewind(old, new)
                if not clone_first:
                    clones.append(nodes.clone(new))
                rewinds.append(seconds)
                shares.append(copied / size)
                print(f"round {number + 1}: {size >> 20} MB, rewind {seconds:.2f} s with {100 * shares[-1]:.2f}% copied, clone "
                      f"{clones[-1]:.2f} s", flush=True)
                nodes.caught_up(new, old)
                same = "SELECT count(*), count(DISTINCT v) FROM big"
                if nodes.query(new, same) != nodes.query(old, same):
                    sys.exit("rewind.py: the rewound node has other rows")
                old = new
        finally:
            nodes.stop()
    ratios = [clone / rewind for clone, rewind in zip(clones, rewinds)]
    print(f"{len(rewinds)} rounds: rewind median {statistics.median(rewinds):.2f} s, clone {statistics.median(clones):.2f} s, "
          f"{statistics.median(ratios):.1f} times as fast (least {min(ratios):.1f}); copied at most {100 * max(shares):.2f}%")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Do the tests notice when the code is wrong? Judges a seeded sample of the mutants of cargo-mutants.

usage: tests/mutants.py TREE RESULTS [--seed 14] [--count 200] [--alone]

TREE is a worktree for this alone (`git worktree add --detach ../mutate`); it must be clean, and is given back
so. RESULTS gets one line of JSON a mutant. A run that was stopped goes on where it ended, on the same commit;
to judge a mutant again, remove its line. `cargo mutants` and `cargo nextest` must be installed.
CARGO_TARGET_DIR is respected; it must share no files with another one, since linkers write in place.

cargo-mutants builds once for each mutant. Here all are woven into one build: a function with mutants gets one
body for each and its own, and the environment variable MUTANT chooses. A mutant that cannot be woven (a
`const fn`, a type that differs) is tried alone: if that does not compile either, it is unviable and another
takes its place; with --alone those that compile are judged one by one, each with a build of its own.

Judges, in this order, until one fails: the quick tests of the mutant's crate, 20 seeds of the simulator, the
quick tests of the crates around it, the simulator's regressions and 180 seeds more (a minute in all), the
slower tests. A test must fail twice. One that hangs has failed.
"""

import argparse, collections, glob, json, os, random, re, resource
import subprocess, sys, tempfile, time

FILES = """
wal/src/reader/*.rs wal/src/writer.rs wal/src/writer/*.rs wal/src/raw_writer.rs wal/src/log_file.rs
wal/src/watermark.rs wal/src/positions.rs wal/src/history.rs wal/src/timelines.rs wal/src/node_log.rs
wal/src/space.rs replica/src/sync/*.rs replica/src/timeline/*.rs replica/src/slots/*.rs
replica/src/sender/*.rs replica/src/receiver/*.rs
storage/src/commit/gate.rs storage/src/commit/levels.rs storage/src/commit/pipeline.rs
storage/src/commit/remote.rs storage/src/commit/request.rs storage/src/commit/suspension.rs
storage/src/commit/sync_record.rs storage/src/recovery/promote.rs server/src/node/promote.rs server/src/replication/*.rs
""".split()
CRATES = ["wal", "storage", "replica", "server"]
PACKAGES = [word for crate in CRATES for word in ("-p", crate)]
SLOW = " + ".join([
    "test(wherever_the_last_record_is_cut)", "test(every_flip_in_the_live_log)",
    "test(a_promotion_is_followed_by_all)", "test(standbys_converge_through_cuts)",
    "test(a_real_postgresql_is_followed)", "test(no_crash_state_of_any_short)",
])
# Of other things: pages, the tree, and clients that ask for too much.
OTHER = "(package(storage) & test(/^(pages|tree)::/)) + (package(server) & (binary(hostile) + binary(load)))"
NEXTEST = f"""
[profile.default]
slow-timeout = {{ period = "10s", terminate-after = 2 }}
[[profile.default.overrides]]
filter = '{SLOW}'
slow-timeout = {{ period = "60s", terminate-after = 2 }}
"""
SWITCH = """
/// Which mutant of the code runs, 0 for none.
pub fn mutant() -> u32 {
    static CHOSEN: std::sync::LazyLock<u32> =
        std::sync::LazyLock::new(|| std::env::var("MUTANT").ok().and_then(|n| n.parse().ok()).unwrap_or(0));
    *CHOSEN
}
"""


def run(tree, command, **environment):
    """Exit code and output of a command. Its memory and its files are bounded: mutants may go on for ever."""
    def bound():
        resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 30, 2 << 30))
    done = subprocess.run(command, cwd=tree, env=os.environ | environment, preexec_fn=bound, text=True,
                          errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def listed(tree):
    """All mutants, in an order that is the same everywhere."""
    command = ["cargo", "mutants", "--workspace", "--list", "--json"]
    for pattern in FILES:
        command += ["-f", pattern]
    found = json.loads(subprocess.run(command, cwd=tree, check=True, stdout=subprocess.PIPE).stdout)
    return sorted(found, key=lambda mutant: mutant["name"])


def offset(text, place):
    """Where a place in lines and columns, both from 1, lies in a text."""
    at = 0
    for _ in range(place["line"] - 1):
        at = text.index("\n", at) + 1
    return at + place["column"] - 1


def edited(text, mutant, start, end):
    """The text from start to end with the mutant in it."""
    first, last = (offset(text, mutant["span"][side]) for side in ("start", "end"))
    return text[start:first] + mutant["replacement"] + text[last:end]


def body(text, function):
    """Start and end of what is between a function's braces; None for one that is `const`."""
    start, end = (offset(text, function["span"][side]) for side in ("start", "end"))
    if re.search(r"\bconst\b", text[start:text.index("fn ", start)]):
        return None
    depth = 0
    for at in range(start, end):
        depth += (text[at] in "([") - (text[at] in ")]")
        if text[at] == "{" and depth == 0:
            return at + 1, end - 1


def weave(tree, mutants):
    """Writes all mutants (by number) into the tree; gives those for which there is no place."""
    alone, functions = set(), collections.defaultdict(lambda: collections.defaultdict(list))
    for number, mutant in mutants.items():
        text = read(tree, mutant["file"])
        place = mutant["function"] and body(text, mutant["function"])
        if not place:
            alone.add(number)
        else:
            functions[mutant["file"]][place].append(number)
    for file, places in functions.items():
        text = woven = read(tree, file)
        before = len(text)
        for (start, end), numbers in sorted(places.items(), reverse=True):
            if end > before:  # a function that holds another with mutants
                alone.update(numbers)
                continue
            before, marker = start, "\n// mutants " + " ".join(map(str, numbers)) + "\n"
            arms = [f"\n// mutants {n}\n{n} => {{{edited(text, mutants[n], start, end)}\n}}" for n in numbers]
            match = f"{marker}match ::host::mutant() {{{''.join(arms)}{marker}_ => {{{text[start:end]}\n}}\n}}"
            woven = woven[:start] + match + "\n// mutants\n" + woven[end:]
        write(tree, file, woven)
    write(tree, "base/host/src/lib.rs", read(tree, "base/host/src/lib.rs") + SWITCH)
    return alone


def refused(tree):
    """The mutants that the compiler complains of; none if all is well."""
    command = ["cargo", "check", "--quiet", "--message-format=json", "--keep-going"]
    code, output = run(tree, command + PACKAGES)
    numbers = set()
    for line in output.splitlines():
        message = json.loads(line).get("message") if line.startswith("{") else None
        if message and message["level"] == "error":
            for span in filter(lambda span: span["is_primary"], message["spans"]):
                lines = read(tree, span["file_name"]).splitlines()[:span["line_start"]]
                markers = [line for line in lines if line.startswith("// mutants")]
                numbers.update(map(int, markers[-1].split()[2:]) if markers else [])
    if code != 0 and not numbers:
        sys.exit(output[-5000:])
    return numbers


def read(tree, file):
    with open(os.path.join(tree, file)) as opened:
        return opened.read()


def write(tree, file, text):
    with open(os.path.join(tree, file), "w") as opened:
        opened.write(text)


def restore(tree):
    subprocess.run(["git", "checkout", "--quiet", "."], cwd=tree, check=True)


def compiles(tree, mutant):
    """Whether a mutant compiles with nothing else changed, which is how it stays in the tree."""
    text = read(tree, mutant["file"])
    write(tree, mutant["file"], edited(text, mutant, 0, len(text)))
    return run(tree, ["cargo", "check", "--quiet", "-p", mutant["package"]])[0] == 0


def build(tree):
    code, output = run(tree, ["cargo", "nextest", "run", "--no-run", "--cargo-quiet", *PACKAGES])
    if code == 0:
        code, output = run(tree, ["cargo", "build", "--quiet", "--profile", "simulation", "-p", "tools",
                                  "--features", "simulate"])
    if code != 0:
        sys.exit(output[-5000:])


def judged(tree, package, number):
    """What kills a mutant, None if nothing does."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(tree, "target"))
    simulate = [os.path.join(target, "simulation/plimsoll"), "simulate", "--jobs", "1", "--time-limit", "20"]
    stories = sorted(glob.glob(os.path.join(tree, "simulation/cluster/regressions/*.story")))
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # PostgreSQL's servers run as another user
        write(folder, "nextest.toml", NEXTEST)

        def test(filter):
            command = ["cargo", "nextest", "run", "-j2", "--retries", "1", "--fail-fast", "--cargo-quiet",
                       "--failure-output", "never", "--config-file", folder + "/nextest.toml", "-E", filter]
            code, output = run(tree, command + PACKAGES, MUTANT=str(number), TMPDIR=folder)
            failed = re.search(r"^ +TRY 2 (\w+) \[.*?\] +(?:\(.*?\) +)?(.*)$", output, re.M)
            if code and not failed:
                return "tests: " + " ".join(output.splitlines()[-3:])[:200]
            return code and f"test {failed[2]}" + (" hangs" if failed[1] == "TIMEOUT" else "")

        def simulation(*what):
            code, output = run(tree, simulate + list(what), MUTANT=str(number), TMPDIR=folder)
            return code and "simulation: " + output.split("\n")[0].split("  [")[0][:200]

        return (test(f"package({package}) - ({SLOW} + {OTHER})")
                or simulation("--seeds", "1..3") or simulation("--seeds", "3..21")
                or test(f"all() - package({package}) - ({SLOW} + {OTHER})")
                or simulation("--story", *stories)
                or any_of(simulation("--seeds", f"{first}..{first + 30}") for first in range(21, 201, 30))
                or test(SLOW) or None)


def any_of(answers):
    return next(filter(None, answers), None)


def main():
    options = argparse.ArgumentParser(usage=__doc__)
    options.add_argument("tree")
    options.add_argument("results")
    options.add_argument("--seed", type=int, default=14)
    options.add_argument("--count", type=int, default=200)
    options.add_argument("--alone", action="store_true")
    options = options.parse_args()
    tree = os.path.abspath(options.tree)
    if subprocess.check_output(["git", "status", "--porcelain"], cwd=tree):
        sys.exit(f"{tree} is not clean")
    os.environ["CARGO_TERM_COLOR"] = "never"

    known = {}
    if os.path.exists(options.results):
        known = {line["name"]: line["outcome"] for line in map(json.loads, open(options.results))}

    def note(mutant, outcome, by, since):
        known[mutant["name"]] = outcome
        line = {"name": mutant["name"], "outcome": outcome, "by": by, "seconds": round(time.time() - since)}
        with open(options.results, "a") as out:
            print(json.dumps(line), file=out)

    order = listed(tree)
    print(f"{len(order)} mutants")
    random.Random(options.seed).shuffle(order)
    try:
        # Enough of them that the viable ones suffice.
        order = order[:options.count * 3 // 2]
        fits = lambda mutant: known.get(mutant["name"]) != "unviable"
        mutants = {number: mutant for number, mutant in enumerate(order, 1) if fits(mutant)}
        woven, alone, again = dict(mutants), set(), True
        while again:
            restore(tree)
            alone |= weave(tree, woven)
            woven = {number: woven[number] for number in woven if number not in alone}
            again = refused(tree)
            alone |= again
            woven = {number: woven[number] for number in woven if number not in alone}
            print(f"woven {len(woven)}, alone {len(alone)}", flush=True)
        restore(tree)
        for number in sorted(alone):
            if mutants[number]["name"] not in known:
                since = time.time()
                viable = compiles(tree, mutants[number])
                restore(tree)
                if not viable:
                    note(mutants[number], "unviable", None, since)
        viable = [number for number in mutants if fits(mutants[number])][:options.count]
        open_ones = [number for number in viable if mutants[number]["name"] not in known]
        left = len(alone & set(open_ones))
        print(f"{len(viable)} viable, {len(open_ones)} to judge, {left} of them alone", flush=True)

        weave(tree, woven)
        build(tree)
        wrong = any_of(judged(tree, crate, 0) for crate in CRATES[:1])
        if wrong:
            sys.exit(f"without a mutant: {wrong}")
        for number in open_ones:
            if number in woven:
                since = time.time()
                killer = judged(tree, mutants[number]["package"], number)
                note(mutants[number], "killed" if killer else "survived", killer, since)
        for number in sorted(alone & set(open_ones)) if options.alone else []:
            restore(tree)
            since = time.time()
            compiles(tree, mutants[number])
            build(tree)
            killer = judged(tree, mutants[number]["package"], 0)
            note(mutants[number], "killed" if killer else "survived", killer, since)
        outcomes = collections.Counter(known.get(mutants[number]["name"], "not judged") for number in viable)
        print(", ".join(f"{outcome} {count}" for outcome, count in sorted(outcomes.items())))
    finally:
        restore(tree)


if __name__ == "__main__":
    main()

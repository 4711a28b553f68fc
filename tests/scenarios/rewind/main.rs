//! An old primary comes back by `plimsoll rewind`: it streams from the new one, and every byte is equal.

mod archived;
mod auto;
mod discarded;
mod programs;

use scenarios::{Node, Outcome, assert_relations_equal_after_stop, change_keys, plimsoll, run, run_ok};
use std::fs;
use std::ops::Range;
use std::process::{Command, Stdio};

/// A primary and its standby, both with contents, the log in segments of a megabyte.
struct Pair {
    one: Node,
    two: Node,
}

impl Pair {
    fn new(settings: &[(&str, &str)]) -> Self {
        let mut builder = Node::builder()
            .init_option("--wal-segsize=1")
            .setting("wal_keep_size", "1GB")
            .setting("autovacuum_naptime", "1s");
        for (name, value) in settings {
            builder = builder.setting(name, value);
        }
        let one = builder.start();
        one.sql("CREATE TABLE kv (k int PRIMARY KEY, v text, u bigserial UNIQUE)");
        one.sql("CREATE TABLE kept (k int PRIMARY KEY, v text)");
        one.sql("CREATE TABLE dropped_here (k int PRIMARY KEY)");
        one.sql("CREATE TABLE dropped_there (k int PRIMARY KEY)");
        one.sql("CREATE TABLE emptied (k int PRIMARY KEY, v text)");
        one.sql("INSERT INTO kv (k, v) SELECT g, repeat('x', g % 300) FROM generate_series(1, 4000) g");
        one.sql("INSERT INTO kept SELECT g, repeat('k', 200) FROM generate_series(1, 20000) g");
        one.sql("INSERT INTO dropped_here SELECT g FROM generate_series(1, 3000) g");
        one.sql("INSERT INTO dropped_there SELECT g FROM generate_series(1, 3000) g");
        one.sql("INSERT INTO emptied SELECT g, repeat('e', 100) FROM generate_series(1, 5000) g");
        one.sql("CHECKPOINT");
        let two =
            Node::builder().setting("wal_keep_size", "1GB").setting("shared_buffers", "4MB").clone_from(&one);
        two.wait_replayed(&one.sql("SELECT pg_current_wal_lsn()"));
        Self { one, two }
    }

    /// The standby has all, and gets no more.
    fn cut_off(&self) {
        self.two.wait_replayed(&self.one.sql("SELECT pg_current_wal_lsn()"));
        self.two.alter("SET primary_conninfo = ''");
        self.two.wait_for("SELECT count(*) FROM pg_stat_wal_receiver", "0");
    }

    /// From here on the old primary may hear that it was replaced.
    fn promote(&self) {
        run_ok(plimsoll().args(["promote", "-D"]).arg(self.two.data()));
    }

    /// Cuts the standby off, lets the primary go on alone, promotes the standby and lets that write, too.
    fn diverge(&self) {
        self.go_on_alone();
        self.take_over();
    }

    /// Cuts the standby off, and lets the primary go on.
    fn go_on_alone(&self) {
        load(&self.one, 200);
        self.cut_off();
        load(&self.one, 300);
        self.one.sql("DROP TABLE dropped_here");
        self.one.sql("CREATE TABLE made_here (k int PRIMARY KEY, v text)");
        self.one.sql("INSERT INTO made_here SELECT g, repeat('m', 500) FROM generate_series(1, 9000) g");
        self.one.sql("DELETE FROM emptied WHERE k > 100");
        self.one.sql("VACUUM emptied");
        self.one.sql("UPDATE kept SET v = 'here' WHERE k % 1000 = 0");
    }

    /// Promotes the standby and lets it write.
    fn take_over(&self) {
        self.promote();
        load(&self.two, 300);
        self.two.sql("DROP TABLE dropped_there");
        self.two.sql("CREATE TABLE made_there (k int PRIMARY KEY, v text)");
        self.two.sql("INSERT INTO made_there SELECT g, repeat('t', 700) FROM generate_series(1, 5000) g");
        self.two.sql("UPDATE kept SET v = 'there' WHERE k % 1500 = 0");
    }

    /// `plimsoll rewind` of the old primary.
    fn rewind(&self, source: &str, more: &[&str]) -> Outcome {
        let mut command = plimsoll();
        command.args(["rewind", "--source", source, "-D"]).arg(self.one.data()).args(more);
        run(&mut command)
    }

    /// The numbers of the whole segments from the common checkpoint's redo point to the fork, as a dry run
    /// has them.
    fn segments_before_the_fork(&self) -> Range<u64> {
        let dry = self.rewind(&self.two.conninfo(), &["--dry-run"]);
        is_ok(&dry);
        // The number of the segment that a position lies in, which follows these words.
        let segment = |words: &str| {
            let digits = dry.stdout.split(words).nth(1).expect("the words").trim_start_matches("0/");
            let end = digits.find(|char: char| !char.is_ascii_hexdigit()).unwrap_or(digits.len());
            u64::from_str_radix(&digits[..end], 16).expect("a position") >> 20
        };
        let (redo, fork) = (segment("(redo "), segment("diverged at "));
        assert!(redo < fork, "{redo} {fork}");
        redo..fork
    }

    /// The old primary streams from the new one, has its rows, and its bytes at the end.
    fn one_follows_two(&self) {
        self.one.start();
        load(&self.two, 50);
        self.one.wait_replayed(&self.two.sql("SELECT pg_current_wal_lsn()"));
        self.one.wait_for("SELECT status FROM pg_stat_wal_receiver", "streaming");
        assert_eq!(self.one.sql("SELECT count(*) FROM made_there"), "5000");
        assert_eq!(self.one.sql("SELECT count(*) FROM dropped_here"), "3000");
        assert_eq!(self.one.sql("SELECT count(*) FROM emptied"), "5000");
        assert_eq!(self.one.sql("SELECT count(*) FROM kept WHERE v = 'here'"), "0");
        assert_relations_equal_after_stop(&self.two, &self.one);
    }
}

/// Some transactions of pgbench.
fn load(node: &Node, transactions: u32) {
    change_keys(node, 5000, 2, transactions);
}

fn is_ok(outcome: &Outcome) {
    assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
}

#[test]
fn a_primary_that_was_stopped_follows_the_promoted_standby_again() {
    let pair = Pair::new(&[]);
    pair.diverge();
    pair.one.stop();
    let rewound = pair.rewind(&pair.two.conninfo(), &[]);
    is_ok(&rewound);
    assert!(rewound.stdout.contains("diverged at"), "{}", rewound.stdout);
    pair.one_follows_two();
}

#[test]
fn a_rewound_node_follows_by_the_name_that_it_had() {
    let pair = Pair::new(&[]);
    pair.one.alter("SET primary_conninfo = 'host=elsewhere application_name=''the first'''");
    pair.cut_off();
    pair.promote();
    pair.one.stop();
    is_ok(&pair.rewind(&pair.two.conninfo(), &[]));
    pair.one.start();
    pair.two.wait_for("SELECT application_name FROM pg_stat_replication", "the first");
    pair.one.stop();
    is_ok(&pair.rewind(&format!("{} application_name=second", pair.two.conninfo()), &[]));
    pair.one.start();
    pair.two.wait_for("SELECT application_name FROM pg_stat_replication", "second");
}

#[test]
fn a_primary_that_was_killed_needs_no_start_before_its_rewind() {
    let pair = Pair::new(&[("checkpoint_timeout", "1h")]);
    pair.diverge();
    pair.one.kill_9();
    is_ok(&pair.rewind(&pair.two.conninfo(), &["--progress"]));
    pair.one_follows_two();
}

#[test]
fn a_rewind_while_the_new_primary_works_gives_its_state() {
    let pair = Pair::new(&[("checkpoint_timeout", "1h")]);
    pair.two.alter("SET full_page_writes = off");
    pair.diverge();
    pair.one.kill_9();
    let script = pair.two.folder().join("busy.sql");
    fs::write(&script, "\\set k random(1, 20000)\nUPDATE kept SET v = v || 'b' WHERE k = :k;\n").unwrap();
    let mut pgbench = pair.two.tool("pgbench");
    pgbench.args(["-n", "-M", "prepared", "-c", "2", "-T", "8", "-f"]);
    let mut busy = pgbench.arg(&script).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let rewound = pair.rewind(&pair.two.conninfo(), &[]);
    assert!(busy.wait().unwrap().success());
    is_ok(&rewound);
    pair.two.alter("RESET full_page_writes");
    pair.one_follows_two();
}

/// What it redid before the target's last checkpoint is in the standby's memory alone when it is promoted.
#[test]
fn a_source_whose_pages_are_older_than_the_targets_checkpoint_gives_its_state() {
    let pair = Pair::new(&[("checkpoint_timeout", "1h")]);
    pair.two.stop();
    pair.two.set("shared_buffers", "64MB");
    pair.two.start();
    pair.one.sql("UPDATE kept SET v = 'known to both'");
    pair.two.wait_replayed(&pair.one.sql("SELECT pg_current_wal_lsn()"));
    pair.cut_off();
    pair.one.sql("CHECKPOINT");
    pair.one.sql("UPDATE kept SET v = 'here'");
    pair.one.kill_9();
    pair.promote();
    is_ok(&pair.rewind(&pair.two.conninfo(), &[]));
    pair.one.start();
    pair.one.wait_replayed(&pair.two.sql("SELECT pg_current_wal_lsn()"));
    assert_eq!(pair.one.sql("SELECT v, count(*) FROM kept GROUP BY v"), "known to both|20000");
    assert_relations_equal_after_stop(&pair.two, &pair.one);
}

#[test]
fn log_before_the_fork_that_the_target_has_no_more_comes_from_the_source() {
    let pair = Pair::new(&[("checkpoint_timeout", "1h")]);
    pair.one.sql("UPDATE kept SET v = repeat('common', 40)");
    pair.diverge();
    pair.one.kill_9();
    let segments = pair.segments_before_the_fork();
    let path = |number: u64| pair.one.data().join(format!("pg_wal/0000000100000000{number:08X}"));
    for number in segments.clone() {
        fs::remove_file(path(number)).expect("a segment");
    }
    is_ok(&pair.rewind(&pair.two.conninfo(), &["--dry-run"]));
    assert!(!path(segments.start).exists(), "a dry run leaves no log behind");
    is_ok(&pair.rewind(&pair.two.conninfo(), &[]));
    pair.one_follows_two();
}

#[test]
fn a_directory_at_rest_is_a_source_too() {
    let pair = Pair::new(&[]);
    pair.diverge();
    pair.one.stop();
    let source = pair.two.data().display().to_string();
    let refused = pair.rewind(&source, &[]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("in use by another server"), "{}", refused.stderr);
    pair.two.stop();
    is_ok(&pair.rewind(&source, &[]));
    pair.one.alter_while_stopped("primary_conninfo", &pair.two.conninfo());
    pair.two.start();
    pair.one_follows_two();
}

#[test]
fn a_dry_run_and_refusals_change_nothing() {
    let pair = Pair::new(&[]);
    let nothing = pair.rewind(&pair.two.conninfo(), &[]);
    assert_eq!(nothing.code, 1);
    assert!(nothing.stderr.contains("in use by another server"), "{}", nothing.stderr);
    pair.diverge();
    pair.one.stop();
    let listing = || {
        run_ok(Command::new("sh").arg("-c").arg(format!(
            "cd {} && find . -type f ! -name lock -exec sha256sum {{}} + | sort -k 2",
            pair.one.data().display()
        )))
    };
    let before = listing();
    let dry = pair.rewind(&pair.two.conninfo(), &["--dry-run"]);
    is_ok(&dry);
    assert!(dry.stdout.contains("nothing was changed"), "{}", dry.stdout);
    let stranger = Node::builder().start();
    let refused = pair.rewind(&stranger.conninfo(), &[]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("source and target clusters are from different systems"), "{refused:?}");
    assert_eq!(before, listing());
    is_ok(&pair.rewind(&pair.two.conninfo(), &[]));
    pair.one_follows_two();
}

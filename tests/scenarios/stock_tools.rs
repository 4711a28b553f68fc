//! PostgreSQL 15's own client programs on a Plimsoll server, unmodified.

use scenarios::{Node, pg_tool, run, run_ok, scratch_dir, wait_until};
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

/// A key-value upsert, as pgbench runs it.
const UPSERT: &str = "\\set k random(1, 2000)\n\
    INSERT INTO kv VALUES (:k, :k * 7) ON CONFLICT (k) DO UPDATE SET v = kv.v + 1;\n";

/// A transfer in the shape of TPC-B: three balances and a history row move together.
const TPCB: &str = "\\set aid random(1, 2000)\n\\set bid random(1, 2)\n\\set tid random(1, 20)\n\
    \\set delta random(-5000, 5000)\n\
    BEGIN;\n\
    UPDATE accounts SET abalance = abalance + :delta WHERE aid = :aid;\n\
    SELECT abalance FROM accounts WHERE aid = :aid;\n\
    UPDATE tellers SET tbalance = tbalance + :delta WHERE tid = :tid;\n\
    UPDATE branches SET bbalance = bbalance + :delta WHERE bid = :bid;\n\
    INSERT INTO history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP);\n\
    END;\n";

const SCHEMA: &str = "CREATE TABLE kv (k int PRIMARY KEY, v bigint);\
    CREATE TABLE branches (bid int PRIMARY KEY, bbalance int, filler char(88));\
    CREATE TABLE tellers (tid int PRIMARY KEY, bid int, tbalance int, filler char(84));\
    CREATE TABLE accounts (aid int PRIMARY KEY, bid int, abalance int, filler char(84));\
    CREATE TABLE history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));";

/// Makes the tables and loads them by COPY through psql.
fn load(node: &Node) {
    node.sql(SCHEMA);
    copy_in(node, "kv (k, v)", (1..=1000).map(|k| format!("{k}\t0\n")));
    copy_in(node, "branches (bid, bbalance)", (1..=2).map(|b| format!("{b}\t0\n")));
    copy_in(
        node,
        "tellers (tid, bid, tbalance)",
        (1..=20).map(|t| format!("{t}\t{}\t0\n", (t - 1) / 10 + 1)),
    );
    copy_in(node, "accounts", (1..=2000).map(|a| format!("{a}\t{}\t0\t\\N\n", (a - 1) / 1000 + 1)));
}

fn copy_in(node: &Node, target: &str, lines: impl Iterator<Item = String>) {
    let mut psql = node.psql();
    psql.args(["-c", &format!("COPY {target} FROM STDIN")]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = psql.stderr(Stdio::piped()).spawn().expect("psql starts");
    let mut stdin = child.stdin.take().expect("psql has an input");
    for line in lines {
        stdin.write_all(line.as_bytes()).expect("psql reads");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("psql ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn script(node: &Node, name: &str, text: &str) -> PathBuf {
    let path = node.folder().join(name);
    fs::write(&path, text).expect("the script is written");
    path
}

fn pgbench(node: &Node, file: &Path, clients: u32, more: &[&str]) -> Command {
    let mut command = node.tool("pgbench");
    command.args(["-n", "-M", "prepared", "-j", "1", "-c", &clients.to_string(), "-f"]).arg(file).args(more);
    command
}

/// A pgbench that runs until it is ended.
struct Load(Child);

impl Load {
    fn start(node: &Node, file: &Path) -> Self {
        let mut command = pgbench(node, file, 4, &["-T", "600"]);
        Self(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("pgbench starts"),
        )
    }

    fn assert_still_running(&mut self) {
        assert!(self.0.try_wait().expect("pgbench can be asked").is_none(), "pgbench ended too early");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn sums_agree(node: &Node) {
    let sums = node.sql(
        "SELECT (SELECT sum(abalance) FROM accounts) = (SELECT sum(tbalance) FROM tellers), \
         (SELECT sum(tbalance) FROM tellers) = (SELECT sum(bbalance) FROM branches), \
         (SELECT coalesce(sum(delta), 0) FROM history) = (SELECT sum(bbalance) FROM branches)",
    );
    assert_eq!(sums, "t|t|t");
}

#[test]
fn psql_creates_fills_and_queries_a_table() {
    let node = Node::builder().start();
    node.sql("CREATE TABLE boats (name text PRIMARY KEY, draught numeric(5,2), launched date)");
    node.sql("INSERT INTO boats VALUES ('Cutty Sark', 6.40, '1869-11-22'), ('Vasa', 4.8, '1628-08-10'), ('Fram', NULL, NULL)");
    assert_eq!(
        node.sql("SELECT name, draught FROM boats ORDER BY name"),
        "Cutty Sark|6.40\nFram|\nVasa|4.80"
    );
    assert_eq!(node.sql("SELECT count(*), max(draught) FROM boats WHERE launched < '1700-01-01'"), "1|4.80");
    let twice = node.try_sql("INSERT INTO boats VALUES ('Vasa', 1, NULL)");
    assert_eq!(twice.code, 1);
    assert!(
        twice.stderr.contains("duplicate key value violates unique constraint \"boats_pkey\""),
        "{}",
        twice.stderr
    );
    assert_eq!(
        run_ok(&mut node.tool("pg_isready")).trim_end().rsplit(" - ").next(),
        Some("accepting connections")
    );
}

#[test]
fn pgbench_runs_upserts_and_transfers_on_tables_loaded_by_copy() {
    let node = Node::builder().start();
    load(&node);
    let upsert = script(&node, "upsert.sql", UPSERT);
    let tpcb = script(&node, "tpcb.sql", TPCB);
    let said = run_ok(&mut pgbench(&node, &upsert, 8, &["-t", "250"]));
    assert!(said.contains("number of transactions actually processed: 2000/2000"), "{said}");
    let said = run_ok(&mut pgbench(&node, &tpcb, 8, &["-t", "100"]));
    assert!(said.contains("number of transactions actually processed: 800/800"), "{said}");
    assert_eq!(node.sql("SELECT count(*) FROM history"), "800");
    sums_agree(&node);
}

#[test]
fn pg_basebackup_clones_a_loaded_primary_and_the_clone_follows_it() {
    let primary = Node::builder().start();
    load(&primary);
    let tpcb = script(&primary, "tpcb.sql", TPCB);
    let mut pgbench = Load::start(&primary, &tpcb);

    let standby = Node::unprepared();
    let mut backup = primary.tool("pg_basebackup");
    backup.args(["-X", "stream", "-c", "fast", "-R", "-D"]).arg(standby.data());
    run_ok(&mut backup);
    pgbench.assert_still_running();
    let verified = run_ok(pg_tool("pg_verifybackup").arg(standby.data()));
    assert!(verified.contains("backup successfully verified"), "{verified}");

    standby.start();
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
    sums_agree(&standby);
    pgbench.assert_still_running();
    drop(pgbench);
    let end = primary.sql("SELECT pg_current_wal_lsn()");
    standby.wait_replayed(&end);
    let history = "SELECT count(*), sum(delta) FROM history";
    assert_eq!(standby.sql(history), primary.sql(history));
    sums_agree(&standby);
    let refused = standby.try_sql("INSERT INTO kv VALUES (-1, 0)");
    assert!(
        refused.stderr.contains("cannot execute INSERT in a read-only transaction"),
        "{}",
        refused.stderr
    );
}

#[test]
fn pg_basebackup_in_tar_format_unpacks_to_a_standby() {
    let primary = Node::builder().start();
    load(&primary);
    let standby = Node::unprepared();
    let tars = primary.folder().join("tars");
    run_ok(primary.tool("pg_basebackup").args(["-X", "stream", "-c", "fast", "-F", "t", "-D"]).arg(&tars));
    fs::create_dir(standby.data()).expect("a data folder");
    fs::set_permissions(standby.data(), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("its mode");
    run_ok(Command::new("tar").arg("-xf").arg(tars.join("base.tar")).arg("-C").arg(standby.data()));
    run_ok(
        Command::new("tar")
            .arg("-xf")
            .arg(tars.join("pg_wal.tar"))
            .arg("-C")
            .arg(standby.data().join("pg_wal")),
    );
    fs::copy(tars.join("backup_manifest"), standby.data().join("backup_manifest"))
        .expect("the manifest is there");
    run_ok(pg_tool("pg_verifybackup").arg(standby.data()));
    fs::write(standby.data().join("standby.signal"), "").expect("standby.signal");
    standby.set("primary_conninfo", &primary.conninfo());
    standby.start();
    primary.sql("INSERT INTO kv VALUES (-7, 7)");
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    assert_eq!(standby.sql("SELECT v FROM kv WHERE k = -7"), "7");
}

#[test]
fn pg_receivewal_streams_segments_equal_to_the_primarys() {
    let node = Node::builder().init_option("--wal-segsize=1").start();
    load(&node);
    let target = scratch_dir();
    run_ok(node.tool("pg_receivewal").args(["--slot=archive", "--create-slot"]));
    let mut receiver = node.tool("pg_receivewal");
    receiver.args(["--slot=archive", "--synchronous", "-D"]).arg(target.path());
    let mut receiver =
        Load(receiver.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("pg_receivewal starts"));
    let upsert = script(&node, "upsert.sql", UPSERT);
    run_ok(&mut pgbench(&node, &upsert, 4, &["-t", "2000"]));
    node.sql("SELECT pg_switch_wal()");
    node.sql("INSERT INTO kv VALUES (-1, -1)");
    let sealed = node.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    let complete = wait_until("pg_receivewal has every complete segment", Duration::from_secs(60), || {
        receiver.assert_still_running();
        let mut names: Vec<String> = fs::read_dir(target.path())
            .expect("the target is there")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        if names.iter().any(|name| *name == format!("{sealed}.partial")) {
            Ok(names)
        } else {
            Err(format!("{names:?}"))
        }
    });
    let segments: Vec<&String> = complete.iter().filter(|name| name.len() == 24).collect();
    assert!(segments.len() >= 2, "{complete:?}");
    for name in segments {
        let received = fs::read(target.path().join(name)).expect("received segment");
        let original =
            fs::read(node.data().join("pg_wal").join(name)).expect("the slot keeps the primary's segment");
        assert!(received == original, "segment {name} differs");
    }
}

#[test]
fn pg_waldump_reads_all_the_wal_and_pg_checksums_every_page() {
    let node = Node::builder().init_option("--wal-segsize=1").setting("wal_keep_size", "1GB").start();
    load(&node);
    let upsert = script(&node, "upsert.sql", UPSERT);
    run_ok(&mut pgbench(&node, &upsert, 4, &["-t", "1000"]));
    node.sql("CHECKPOINT");
    run_ok(&mut pgbench(&node, &upsert, 4, &["-t", "500"]));
    node.stop();

    let wal = node.data().join("pg_wal");
    let mut names: Vec<String> = fs::read_dir(&wal)
        .expect("pg_wal")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.len() == 24)
        .collect();
    names.sort();

    let control = run_ok(pg_tool("pg_controldata").arg(node.data()));
    let field = |name: &str| {
        let line = control
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_else(|| panic!("{name} in:\n{control}"));
        line.split_once(':').expect("a colon").1.trim().to_owned()
    };
    assert_eq!(field("Database cluster state"), "shut down");
    assert_eq!(field("pg_control version number"), "1300");
    assert_eq!(field("Bytes per WAL segment"), "1048576");
    assert_eq!(field("Data page checksum version"), "1");
    assert_eq!(field("Latest checkpoint's TimeLineID"), "1");
    let last = field("Latest checkpoint's REDO WAL file");
    let checkpoint = field("Latest checkpoint location");

    for name in names.iter().filter(|name| **name < last) {
        let outcome = run(pg_tool("pg_waldump").arg("-q").arg(wal.join(name)));
        assert_eq!(outcome.code, 0, "{name}: {}", outcome.stderr);
    }
    // Without a segment's name pg_waldump takes the segment size from any file, also from one made ahead,
    // still empty. The shutdown checkpoint is the last record: its end is where pg_waldump must be told to
    // stop.
    let printed = run(pg_tool("pg_waldump").arg("-p").arg(&wal).args(["-s", &checkpoint, &last]));
    let line = printed
        .stdout
        .lines()
        .next()
        .unwrap_or_else(|| panic!("no record at {checkpoint}: {}", printed.stderr));
    assert!(line.contains("CHECKPOINT_SHUTDOWN"), "{line}");
    assert_eq!(printed.stdout.lines().count(), 1, "{}", printed.stdout);
    let end = record_end(&checkpoint, line);
    let whole = run(pg_tool("pg_waldump").arg("-p").arg(&wal).args([
        "-e",
        &end,
        names.first().expect("a segment"),
        &last,
    ]));
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    assert!(whole.stdout.lines().count() > 1000, "{} records", whole.stdout.lines().count());

    let checked = run_ok(pg_tool("pg_checksums").args(["--check", "-D"]).arg(node.data()));
    assert!(checked.contains("Bad checksums:  0"), "{checked}");
}

/// The end of a record within one page: its start and the total length that pg_waldump prints.
fn record_end(start: &str, line: &str) -> String {
    let (high, low) = start.split_once('/').expect("an LSN");
    let total: u64 = line
        .split("len (rec/tot):")
        .nth(1)
        .and_then(|rest| rest.split('/').nth(1))
        .and_then(|rest| rest.trim_start().split(',').next().and_then(|number| number.trim().parse().ok()))
        .expect("a length");
    format!("{high}/{:X}", u64::from_str_radix(low, 16).expect("hexadecimal") + total)
}

/// A pg_basebackup that waits for the archive at its end, and has been told so; with its words from then on.
fn waiting_backup(node: &Node, target: &str) -> (Child, BufReader<ChildStderr>) {
    let mut tool = node.tool("pg_basebackup");
    tool.args(["-X", "none", "-c", "fast", "--no-sync", "-D"]).arg(node.folder().join(target));
    let mut backup = tool.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("pg_basebackup starts");
    let mut said = BufReader::new(backup.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("base backup done, waiting for required WAL segments to be archived") {
        line.clear();
        assert_ne!(said.read_line(&mut line).expect("a line"), 0, "it ends: {}", node.log());
    }
    (backup, said)
}

#[test]
fn a_backup_that_waits_for_the_archive_says_so_and_does_not_outlast_its_client() {
    let node = Node::builder().setting("archive_mode", "on").setting("archive_command", "false").start();
    let (mut backup, _) = waiting_backup(&node, "given_up");
    backup.kill().expect("it runs");
    backup.wait().expect("it ends");
    node.wait_for("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'", "0");
    let (mut backup, mut said) = waiting_backup(&node, "whole");
    node.alter("SET archive_command = 'true'");
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("its words");
    assert!(backup.wait().expect("it ends").success(), "{rest}");
    assert!(rest.contains("NOTICE:  all required WAL segments have been archived"), "{rest}");
}

#[test]
fn a_backup_that_nothing_archives_says_that_its_log_is_still_to_be_copied() {
    let node = Node::builder().start();
    let mut tool = node.tool("pg_basebackup");
    tool.args(["-X", "none", "-c", "fast", "--no-sync", "-D"]).arg(node.folder().join("backup"));
    let said = run(&mut tool);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("NOTICE:  WAL archiving is not enabled; you must ensure"), "{said:?}");
    let stop = "SELECT pg_backup_start('x', true); SELECT 1 FROM pg_backup_stop()";
    let said = run(node.psql().args(["-c", stop]));
    assert!(said.stderr.contains("NOTICE:  WAL archiving is not enabled"), "{said:?}");
}

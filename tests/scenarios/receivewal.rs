//! PostgreSQL's pg_receivewal as the synchronous standby: what was acknowledged is in its files, byte for
//! byte, through its own restart and through a change of timeline.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scenarios::{Node, pg_tool, wait_until};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const SEGMENT_BYTES: u64 = 1 << 20;

fn background(node: &Node, sql: &str) -> Child {
    let mut psql = node.psql();
    psql.args(["-c", sql]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    psql.spawn().expect("psql starts")
}

/// A pg_receivewal at work; ended when this is dropped.
struct Receiver {
    child: Child,
    dir: PathBuf,
}

impl Receiver {
    fn start(node: &Node, dir: &Path) -> Self {
        Self::start_with(node, dir, &["--slot", "archive", "--synchronous"])
    }

    fn start_with(node: &Node, dir: &Path, options: &[&str]) -> Self {
        std::fs::create_dir_all(dir).expect("a folder for segments");
        let conninfo = format!("{} application_name=archive", node.conninfo());
        let mut command = pg_tool("pg_receivewal");
        command.args(options).args(["--no-loop", "--status-interval", "1", "-d", &conninfo, "-D"]);
        let child = command
            .arg(dir)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pg_receivewal starts");
        node.wait_for(
            "SELECT state FROM pg_stat_replication WHERE application_name = 'archive'",
            "streaming",
        );
        Self { child, dir: dir.to_owned() }
    }

    fn stop(mut self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // Mostly it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn segments(dir: &Path) -> BTreeSet<String> {
    let names = std::fs::read_dir(dir).expect("the folder is there").flatten();
    names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.len() == 24)
        .collect()
}

/// The offset of a position in its segment of 1 MiB.
fn offset(lsn: &str) -> usize {
    let low = lsn.split_once('/').expect("a position").1;
    usize::try_from(u64::from_str_radix(low, 16).expect("hexadecimal") % SEGMENT_BYTES).expect("an offset")
}

/// Compares what was received with the server's own files; gives the names of the whole segments.
fn compare(node: &Node, dir: &Path) -> BTreeSet<String> {
    let ours = node.data().join("pg_wal");
    let received = segments(dir);
    for name in &received {
        let own = std::fs::read(ours.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(own == std::fs::read(dir.join(name)).expect("a received segment"), "{name} differs");
    }
    received
}

fn fill(node: &Node, rounds: u32) {
    for _ in 0..rounds {
        node.sql("INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series(1, 1200) g");
    }
}

fn settings(node: scenarios::NodeBuilder) -> scenarios::NodeBuilder {
    node.setting("wal_keep_size", "200MB")
        .setting("min_wal_size", "2MB")
        .setting("wal_retrieve_retry_interval", "100ms")
}

#[test]
fn commits_are_acknowledged_by_pg_receivewal_which_may_be_killed_in_the_middle() {
    let primary = settings(Node::builder().init_option("--wal-segsize=1")).start();
    primary.sql("CREATE TABLE t (id int, v text)");
    primary.sql("SELECT pg_create_physical_replication_slot('archive', true)");
    let dir = primary.folder().join("received");
    let receiver = Receiver::start(&primary, &dir);
    primary.alter("SET synchronous_standby_names = 'archive'");
    primary.wait_for("SELECT sync_state FROM pg_stat_replication", "sync");
    fill(&primary, 3);

    receiver.stop(Signal::SIGKILL);
    let waiting = background(&primary, "INSERT INTO t VALUES (0, 'waits')");
    let event = "SELECT wait_event FROM pg_stat_activity WHERE query LIKE 'INSERT INTO t VALUES (0%'";
    primary.wait_for(event, "SyncRep");
    let receiver = Receiver::start(&primary, &dir);
    let output = waiting.wait_with_output().expect("psql ends");
    assert!(output.status.success(), "{output:?}");
    fill(&primary, 3);

    // What is acknowledged is in the file that is still being written, too.
    primary.sql("INSERT INTO t VALUES (1, 'acknowledged')");
    let end = primary.sql("SELECT pg_current_wal_flush_lsn()");
    let name = primary.sql("SELECT pg_walfile_name(pg_current_wal_flush_lsn())");
    let part = std::fs::read(receiver.dir.join(format!("{name}.partial"))).expect("the segment at hand");
    let own = std::fs::read(primary.data().join("pg_wal").join(&name)).expect("the server's");
    assert!(part[..offset(&end)] == own[..offset(&end)], "{name}.partial differs before {end}");

    primary.sql("SELECT pg_switch_wal()");
    wait_until("the segment is whole", LIMIT, || {
        let received = segments(&dir);
        if received.contains(&name) { Ok(()) } else { Err(format!("{received:?}")) }
    });
    let received = compare(&primary, &dir);
    assert!(received.len() >= 4, "{received:?}");
    receiver.stop(Signal::SIGINT);
}

#[test]
fn pg_receivewal_follows_a_promotion_on_the_same_connection() {
    let primary = settings(Node::builder().init_option("--wal-segsize=1")).start();
    primary.sql("CREATE TABLE t (id int, v text)");
    let standby = settings(Node::builder()).clone_from(&primary);
    let end = primary.sql("SELECT pg_current_wal_lsn()");
    standby.wait_replayed(&end);
    standby.sql("SELECT pg_create_physical_replication_slot('archive', true)");
    let dir = standby.folder().join("received");
    let receiver = Receiver::start(&standby, &dir);
    standby.alter("SET synchronous_standby_names = 'archive'");
    standby.wait_for("SELECT state, sync_state FROM pg_stat_replication", "streaming|async");
    fill(&primary, 2);
    let end = primary.sql("SELECT pg_current_wal_lsn()");
    standby.wait_replayed(&end);
    primary.stop();
    assert_eq!(standby.sql("SELECT pg_promote(wait_seconds => 60)"), "t");
    standby.wait_for("SELECT sync_state FROM pg_stat_replication", "sync");
    fill(&standby, 3);
    let name = standby.sql("SELECT pg_walfile_name(pg_current_wal_flush_lsn())");
    assert!(name.starts_with("00000002"), "{name}");
    standby.sql("SELECT pg_switch_wal()");
    wait_until("the segment is whole", LIMIT, || {
        let received = segments(&dir);
        if received.contains(&name) { Ok(()) } else { Err(format!("{received:?}")) }
    });
    let received = compare(&standby, &dir);
    let on = |timeline: &str| received.iter().filter(|name| name.starts_with(timeline)).count();
    assert!(on("00000001") >= 1 && on("00000002") >= 2, "{received:?}");
    let history = "00000002.history";
    let ours =
        std::fs::read_to_string(standby.data().join("pg_wal").join(history)).expect("the server's history");
    assert_eq!(std::fs::read_to_string(dir.join(history)).expect("the received one"), ours);
    receiver.stop(Signal::SIGINT);
}

/// What PostgreSQL 15 shows of it with the same names (pg_receivewal without --synchronous, names '*').
#[test]
fn a_pg_receivewal_that_says_nothing_of_flushes_is_shown_as_asynchronous() {
    let primary = Node::builder().start();
    primary.sql("CREATE TABLE t (id int, v text)");
    primary.alter("SET synchronous_standby_names = '*'");
    let receiver = Receiver::start_with(&primary, &primary.folder().join("received"), &[]);
    let shown = "SELECT write_lsn IS NOT NULL, flush_lsn IS NULL, sync_priority, sync_state \
                 FROM pg_stat_replication";
    primary.wait_for(shown, "t|t|0|async");
    receiver.stop(Signal::SIGINT);
}

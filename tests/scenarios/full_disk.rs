//! A real small file system filled under load, and a real fdatasync that fails.
//!
//! The file system is a tmpfs of its own, mounted over the data folder; that takes the rights to mount, which
//! test machines and containers run as root have. Without them this part is passed over, which is printed
//! with the reason (nextest shows what these tests print, and it goes past cargo test's capture).
//!
//! How soon writing resumes is no matter for a test on a machine that does other things too: the first commit
//! that is tried after space has come back must work, whatever it takes, and the longest that one took is
//! printed.

use postgres::{Client, NoTls};
use scenarios::{Node, SmallDisk, pg_tool, plimsoll, run_ok, wait_until};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const CLIENTS: usize = 4;
/// Size of the small file system: some for the server, some for what each round leaves.
const SIZE_MB: u64 = 40;
const ROUND_MB: u64 = 5;

fn rounds() -> u64 {
    let long = std::env::var("PLIMSOLL_LONG_TESTS").is_ok_and(|value| value == "1");
    if long { 50 } else { 5 }
}

/// Says something that is to be seen also when the test passes.
fn report(text: &str) {
    let _ = writeln!(std::io::stderr(), "full_disk: {text}");
}

/// A primary whose whole data folder lies on a small file system.
fn node_on_small_disk() -> Option<(SmallDisk, Node)> {
    let node = Node::unprepared();
    let mounted = SmallDisk::mount(&node.data(), SIZE_MB + rounds() * ROUND_MB);
    let disk = mounted.map_err(|why| report(&format!("SKIPPED: {why}"))).ok()?;
    run_ok(plimsoll().arg("init").arg("-D").arg(node.data()).args(["-U", "postgres", "--wal-segsize=1"]));
    for (name, value) in [
        ("min_wal_size", "2MB"),
        ("max_wal_size", "4MB"),
        ("shared_buffers", "2MB"),
        ("checkpoint_timeout", "30s"),
        ("wal_keep_size", "0"),
    ] {
        node.set(name, value);
    }
    node.start();
    Some((disk, node))
}

/// What the clients of a load know.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    /// The last number that each client was told is committed.
    acknowledged: [AtomicI64; CLIENTS],
    commits: AtomicUsize,
    refused: AtomicUsize,
    /// Errors other than 53100.
    strange: Mutex<Vec<String>>,
}

impl Load {
    /// One client: rows with numbers that go up by one, each tried until it is there.
    fn run(&self, node: &Node, who: usize) {
        let Ok(mut client) = Client::connect(&node.conninfo(), NoTls) else { return };
        let me = i32::try_from(who).expect("few clients");
        let filler = "x".repeat(300);
        while !self.stop.load(Ordering::SeqCst) {
            let next = self.acknowledged[who].load(Ordering::SeqCst) + 1;
            match client.execute("INSERT INTO journal VALUES ($1, $2, $3)", &[&me, &next, &filler]) {
                Ok(_) => {
                    self.acknowledged[who].store(next, Ordering::SeqCst);
                    self.commits.fetch_add(1, Ordering::SeqCst);
                    // Old rows go, so that the load's own data never fills the disk.
                    if next % 50 == 0 {
                        let _ = client.execute(
                            "DELETE FROM journal WHERE client = $1 AND n < $2",
                            &[&me, &(next - 20)],
                        );
                    }
                }
                Err(error) => match error.code().map(|code| code.code().to_owned()).as_deref() {
                    Some("53100") => {
                        self.refused.fetch_add(1, Ordering::SeqCst);
                        std::thread::park_timeout(Duration::from_millis(5));
                    }
                    _ => {
                        self.strange.lock().expect("a lock").push(format!("{error:?}"));
                        return;
                    }
                },
            }
        }
    }

    fn none_strange(&self) {
        let strange = self.strange.lock().expect("a lock");
        assert!(strange.is_empty(), "errors other than 53100: {strange:?}");
    }

    /// Each client's newest rows, up to the last that it was told, are there.
    fn check(&self, node: &Node) -> Result<(), String> {
        let mut client = Client::connect(&node.conninfo(), NoTls).map_err(|error| error.to_string())?;
        for (who, acknowledged) in (0_i32..).zip(&self.acknowledged) {
            let last = acknowledged.load(Ordering::SeqCst);
            let row = client
                .query_one("SELECT count(*), min(n), max(n) FROM journal WHERE client = $1", &[&who])
                .map_err(|error| error.to_string())?;
            let (count, min, max): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
            if max < last || count != max - min + 1 {
                return Err(format!(
                    "client {who} was told {last}; {count} rows from {min} to {max} are there"
                ));
            }
        }
        Ok(())
    }
}

/// One commit that needs new pages, and how long it took.
fn commit_with_new_pages(node: &Node) -> Result<Duration, String> {
    let mut client = Client::connect(&node.conninfo(), NoTls).map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let sql = "INSERT INTO probe SELECT repeat('x', 1000) FROM generate_series(1, 200)";
    client.execute(sql, &[]).map(|_| begun.elapsed()).map_err(|error| format!("{error:?}"))
}

/// Ends the clients when a check fails, too.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One round under load: the disk is filled until commits are refused, reads go on, and once there is space
/// again the next commit works. How long that one took.
fn fill_and_free(disk: &SmallDisk, (node, standby): (&Node, &Node), load: &Load, round: u64) -> Duration {
    let before = load.commits.load(Ordering::SeqCst);
    wait_until("the load runs", Duration::from_secs(60), || {
        load.none_strange();
        let done = load.commits.load(Ordering::SeqCst) - before;
        if done >= 200 { Ok(()) } else { Err(format!("{done} commits")) }
    });
    disk.fill();
    let refused = load.refused.load(Ordering::SeqCst);
    wait_until("writers meet the full disk", Duration::from_secs(60), || {
        load.none_strange();
        // What a checkpoint frees is taken too.
        disk.fill();
        let more = load.refused.load(Ordering::SeqCst) - refused;
        if more >= 10 { Ok(()) } else { Err(format!("{more} refused")) }
    });
    // Reads go on, here and on the standby, and so does what reads only.
    assert_ne!(node.sql("SELECT count(*) FROM journal"), "0");
    wait_until("the standby reads", Duration::from_secs(20), || {
        // What is cancelled by a conflict with recovery is tried again, as anywhere.
        let outcome = standby.try_sql("SELECT count(*) FROM journal");
        if outcome.code == 0 && outcome.stdout.trim() != "0" { Ok(()) } else { Err(format!("{outcome:?}")) }
    });
    assert_eq!(node.sql("SELECT count(*) FROM pg_stat_replication"), "1");
    let refused = node.try_sql("CREATE TABLE no_space AS SELECT * FROM journal");
    if refused.code != 0 {
        assert!(refused.stderr.contains("53100") || refused.stderr.contains("space"), "{refused:?}");
    }
    node.try_sql("DROP TABLE IF EXISTS no_space");
    if round == 0 {
        // The control: without space, nothing resumes.
        disk.fill();
        let resumed = commit_with_new_pages(node);
        assert!(resumed.is_err(), "the disk was not full: {resumed:?}");
    }
    disk.free();
    let took = commit_with_new_pages(node);
    took.unwrap_or_else(|why| panic!("round {round}: {why}\n{}", node.log()))
}

/// Nothing is lost and no page is bad, after a kill and after a clean stop.
fn check_after_a_kill_and_a_stop(node: &Node, load: &Load) {
    node.kill_9();
    node.start();
    load.check(node).expect("nothing is lost by a kill");
    node.stop();
    let checked = run_ok(pg_tool("pg_checksums").arg("--check").arg("-D").arg(node.data()));
    assert!(checked.contains("Bad checksums:  0"), "{checked}");
    // The control of the check: a number that was never committed is missed.
    node.start();
    load.acknowledged[0].fetch_add(1, Ordering::SeqCst);
    assert!(load.check(node).is_err(), "a lost row goes unnoticed");
}

#[test]
fn a_disk_filled_again_and_again_under_load_corrupts_nothing_and_the_next_commit_works() {
    let rounds = rounds();
    let Some((disk, node)) = node_on_small_disk() else { return };
    node.sql("CREATE TABLE journal (client int, n bigint, filler text, PRIMARY KEY (client, n))");
    node.sql("CREATE TABLE probe (filler text)");
    let standby = Node::builder().clone_from(&node);
    let pid = node.pid().expect("it runs");
    let load = Load::default();
    let mut slowest = Duration::ZERO;
    std::thread::scope(|scope| {
        for who in 0..CLIENTS {
            let (load, node) = (&load, &node);
            scope.spawn(move || load.run(node, who));
        }
        let _stop = Stop(&load.stop);
        for round in 0..rounds {
            let took = fill_and_free(&disk, (&node, &standby), &load, round);
            slowest = slowest.max(took);
        }
    });
    load.none_strange();
    assert_eq!(node.pid(), Some(pid), "it was never restarted");
    load.check(&node).expect("nothing is lost");
    let lsn = node.sql("SELECT pg_current_wal_flush_lsn()");
    standby.wait_replayed(&lsn);
    load.check(&standby).expect("the standby has it all");
    report(&format!(
        "{rounds} times full: {} commits, {} refused; the first commit after space came back took {slowest:?} at most",
        load.commits.load(Ordering::SeqCst),
        load.refused.load(Ordering::SeqCst)
    ));
    check_after_a_kill_and_a_stop(&node, &load);
}

/// Fills the disk until the log takes no record any more.
fn fill_up_to_the_log(disk: &SmallDisk, node: &Node) {
    wait_until("the log takes nothing", Duration::from_secs(60), || {
        disk.fill();
        let record = node.try_sql("SELECT pg_create_restore_point('x') FROM generate_series(1, 50)");
        if record.code == 0 { Err("it takes records".to_owned()) } else { Ok(()) }
    });
}

fn logged(node: &Node, words: &str) {
    wait_until(words, Duration::from_secs(60), || {
        if node.log().contains(words) { Ok(()) } else { Err(node.log()) }
    });
}

#[test]
fn a_fallback_and_a_return_that_a_full_disk_kept_out_of_the_log_come_with_room() {
    let Some((disk, node)) = node_on_small_disk() else { return };
    node.sql("CREATE TABLE t (i int)");
    // Nothing is to make room by itself.
    for (name, value) in [("checkpoint_timeout", "1h"), ("max_wal_size", "1GB"), ("wal_recycle", "off")] {
        node.sql(&format!("ALTER SYSTEM SET {name} = '{value}'"));
    }
    let set = |name: &str, value: &str| {
        node.sql(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        node.sql("SELECT pg_reload_conf()");
    };
    set("synchronous_standby_names", "ghost");
    let mode = || node.sql("SELECT mode, fallbacks, returns FROM plimsoll_stat_sync");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| node.try_sql("INSERT INTO t VALUES (1)"));
        wait_until("the commit waits", Duration::from_secs(60), || {
            let waits = node.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
            if waits == "1" { Ok(()) } else { Err(waits) }
        });
        // While there is room for the settings' file.
        node.set("plimsoll.synchronous_timeout", "300ms");
        fill_up_to_the_log(&disk, &node);
        node.sql("SELECT pg_reload_conf()");
        // The fallback or, if less room is left than that takes, what allows it.
        logged(&node, "could not log ");
        assert!(!waiting.is_finished(), "nothing is acknowledged without a record");
        disk.free();
        assert_eq!(waiting.join().expect("it ends").code, 0);
    });
    assert_eq!(mode(), "fallen back|1|0");
    fill_up_to_the_log(&disk, &node);
    // Without a limit it returns at once.
    node.set("plimsoll.synchronous_timeout", "0");
    // The return or, if less room is left than that takes, what allows it.
    let before = node.log().matches("could not log ").count();
    node.sql("SELECT pg_reload_conf()");
    wait_until("the return is refused", Duration::from_secs(60), || {
        let refused = node.log().matches("could not log ").count();
        if refused > before { Ok(()) } else { Err(node.log()) }
    });
    disk.free();
    wait_until("the return is in the log", Duration::from_secs(60), || {
        let open = node.sql("SELECT count(*) FROM plimsoll_unconfirmed WHERE upto_lsn IS NULL");
        if open == "0" { Ok(()) } else { Err(open) }
    });
    assert_eq!(mode(), "synchronous|1|1");
}

#[test]
fn a_fence_that_rises_on_a_full_disk_lasts_through_a_restart() {
    let Some((disk, node)) = node_on_small_disk() else { return };
    node.sql("CREATE TABLE t (i int)");
    let fork = node.sql("SELECT pg_current_wal_flush_lsn()");
    disk.fill();
    let told = format!("PLIMSOLL descendant (timeline 2, history '1\t{fork}\ttold by a test\n')");
    run_ok(pg_tool("psql").arg(format!("{} replication=true", node.conninfo())).args(["-X", "-c", &told]));
    let fenced = || node.try_sql("INSERT INTO t VALUES (1)").stderr.contains("this server is fenced");
    assert!(fenced() && !node.log().contains("could not record the fence"), "{}", node.log());
    node.kill_9();
    disk.free();
    node.start();
    assert!(fenced(), "{}", node.log());
}

/// What a client saw of one commit.
#[derive(Clone, Copy)]
struct Commit {
    begun: f64,
    n: i64,
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// Runs commits until the server is gone or `limit` has passed; returns those that were acknowledged.
fn commit_until_it_stops(node: &Node, limit: Duration) -> Vec<Commit> {
    let acknowledged = Mutex::new(Vec::new());
    let deadline = Instant::now() + limit;
    std::thread::scope(|scope| {
        for who in 0..4_i64 {
            let acknowledged = &acknowledged;
            scope.spawn(move || {
                let Ok(mut client) = Client::connect(&node.conninfo(), NoTls) else { return };
                for n in 0.. {
                    let commit = Commit { begun: now(), n: n * 4 + who };
                    if client.execute("INSERT INTO t VALUES ($1)", &[&commit.n]).is_err() {
                        return;
                    }
                    acknowledged.lock().expect("a lock").push(commit);
                    if Instant::now() > deadline {
                        return;
                    }
                }
            });
        }
    });
    acknowledged.into_inner().expect("a lock")
}

/// strace at a running server, which makes all fdatasync calls from the fifth of each thread on end as
/// `outcome` says.
fn inject(node: &Node, outcome: &str, log: &Path) -> Child {
    let pid = node.pid().expect("it runs").to_string();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-ttt", "-q", "-e", "trace=fdatasync", "-e"]);
    strace.arg(format!("inject=fdatasync:{outcome}:when=5+")).arg("-o").arg(log).args(["-p", &pid]);
    strace.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    strace.spawn().expect("strace is there: run ./test.sh, which installs it")
}

/// Whether an injected failure of fdatasync did what it has to: the server is gone, and no commit that began
/// after the failure was acknowledged.
fn judge(node: &Node, log: &Path, acknowledged: &[Commit]) -> Result<(), String> {
    let trace = fs::read_to_string(log).map_err(|error| error.to_string())?;
    let first = trace.lines().find(|line| line.contains("(INJECTED)")).ok_or("nothing was injected")?;
    let failed: f64 =
        first.split_whitespace().nth(1).and_then(|time| time.parse().ok()).ok_or("a line without a time")?;
    let after = acknowledged.iter().filter(|commit| commit.begun > failed).count();
    if after > 0 {
        return Err(format!("{after} of {} commits were acknowledged after {first}", acknowledged.len()));
    }
    let begun = Instant::now();
    while node.pid().is_some() {
        if begun.elapsed() > Duration::from_secs(10) {
            return Err("the server did not stop".to_owned());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    Ok(())
}

/// A server, a load, and a fdatasync that ends as `outcome` says; the verdict, the acknowledged commits, and
/// the server.
fn with_broken_fdatasync(outcome: &str) -> (Result<(), String>, Vec<Commit>, Node) {
    let node = Node::builder().start();
    node.sql("CREATE TABLE t (n bigint PRIMARY KEY)");
    let log = node.folder().join("strace");
    let mut strace = inject(&node, outcome, &log);
    let acknowledged = commit_until_it_stops(&node, Duration::from_secs(5));
    let verdict = judge(&node, &log, &acknowledged);
    let _ = strace.kill();
    let _ = strace.wait();
    (verdict, acknowledged, node)
}

#[test]
fn a_failed_fdatasync_stops_the_server_and_nothing_is_acknowledged_after_it() {
    let (verdict, acknowledged, node) = with_broken_fdatasync("error=EIO");
    verdict.unwrap_or_else(|why| panic!("{why}\n{}", node.log()));
    assert!(node.log().contains("PANIC"), "{}", node.log());
    node.start();
    let mut client = Client::connect(&node.conninfo(), NoTls).expect("it is back");
    let found: Vec<i64> =
        client.query("SELECT n FROM t", &[]).expect("rows").iter().map(|row| row.get(0)).collect();
    for commit in &acknowledged {
        assert!(found.contains(&commit.n), "{} was acknowledged and is gone", commit.n);
    }
}

#[test]
fn a_kernel_that_only_claims_to_sync_is_caught_by_that_test() {
    // The control: the call is skipped and reported as done, so the server goes on.
    let (verdict, _, _) = with_broken_fdatasync("retval=0");
    let why = verdict.expect_err("acknowledgements without a sync were not noticed");
    assert!(why.contains("were acknowledged after"), "{why}");
}

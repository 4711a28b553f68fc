//! A planned change of roles with real servers: `plimsoll switchover` and the function that it calls.

mod archives;
mod places;
mod trouble;

use scenarios::{Node, plimsoll, run, run_ok, wait_until};
use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

fn primary() -> Node {
    let one = named("one").start();
    one.sql("CREATE TABLE t (id int PRIMARY KEY, client int)");
    one
}

fn named(name: &str) -> scenarios::NodeBuilder {
    Node::builder().setting("cluster_name", name).setting("wal_retrieve_retry_interval", "200ms")
}

fn standby(name: &str, of: &Node) -> Node {
    let standby = named(name).clone_from(of);
    of.wait_for(
        &format!("SELECT state FROM pg_stat_replication WHERE application_name = '{name}'"),
        "streaming",
    );
    standby
}

fn command(from: &Node, name: &str, to: &Node, more: &[&str]) -> Command {
    let mut command = plimsoll();
    command.env("PGUSER", "postgres").args(["switchover", "--to", name, "-D"]).arg(from.data());
    command.args(["--rejoin", &to.conninfo()]).args(more);
    command
}

fn switch(from: &Node, name: &str, to: &Node) -> String {
    run_ok(&mut command(from, name, to, &[]))
}

fn wait_for_log(node: &Node, text: &str) {
    wait_until(&format!("\"{text}\" in the log"), LIMIT, || {
        let log = node.log();
        if log.contains(text) { Ok(()) } else { Err(log) }
    });
}

fn is_primary(node: &Node) -> bool {
    node.sql("SELECT pg_is_in_recovery()") == "f"
}

/// Clients that commit one row after the other on whichever node takes writes.
struct Clients {
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
    committed: Arc<Mutex<Vec<i32>>>,
    /// What they saw besides what is documented.
    errors: Arc<Mutex<Vec<String>>>,
}

impl Clients {
    fn start(nodes: &[&Node], count: i32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (committed, errors) = (Arc::<Mutex<Vec<i32>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let next = Arc::new(AtomicU32::new(1));
        let ports: Vec<_> = nodes.iter().map(|node| node.port()).collect();
        let threads = (0..count).map(|client| {
            let (over, committed, errors) = (over.clone(), committed.clone(), errors.clone());
            let (ports, next) = (ports.clone(), next.clone());
            thread::spawn(move || {
                for port in ports.iter().cycle() {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let conninfo = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
                    match postgres::Client::connect(&conninfo, postgres::NoTls) {
                        Ok(mut session) => {
                            Self::commit(&mut session, client, &over, &next, &committed, &errors);
                        }
                        Err(error) => Self::judge(&error, &errors),
                    }
                }
            })
        });
        Self { threads: threads.collect(), over, committed, errors }
    }

    fn commit(
        session: &mut postgres::Client,
        client: i32,
        over: &AtomicBool,
        next: &AtomicU32,
        committed: &Mutex<Vec<i32>>,
        errors: &Mutex<Vec<String>>,
    ) {
        while !over.load(Ordering::Relaxed) {
            let id = i32::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("few rows");
            match session.execute("INSERT INTO t VALUES ($1, $2)", &[&id, &client]) {
                Ok(_) => committed.lock().expect("no panic").push(id),
                Err(error) => return Self::judge(&error, errors),
            }
        }
    }

    /// The connection ended or was refused, or the server ends, begins, or is a standby.
    fn judge(error: &postgres::Error, errors: &Mutex<Vec<String>>) {
        match error.code().map(postgres::error::SqlState::code) {
            None | Some("57P01" | "57P03" | "25006") => {}
            Some(_) => errors.lock().expect("no panic").push(error.to_string()),
        }
    }

    fn committed(&self) -> usize {
        self.committed.lock().expect("no panic").len()
    }

    fn wait_for_more(&self) {
        let before = self.committed();
        wait_until("commits go on", LIMIT, || {
            let now = self.committed();
            if now >= before + 50 { Ok(()) } else { Err(format!("{now} after {before}")) }
        });
    }

    /// Ends them; all that was acknowledged must be in the table of both.
    fn finish(self, primary: &Node, standby: &Node) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|client| client.join().expect("no client panics"));
        assert_eq!(*self.errors.lock().expect("no panic"), Vec::<String>::new());
        standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
        let committed = self.committed.lock().expect("no panic");
        for node in [primary, standby] {
            let there = node.sql("SELECT id FROM t ORDER BY id");
            let there: std::collections::HashSet<i32> =
                there.lines().map(|id| id.parse().expect("a number")).collect();
            let lost: Vec<_> = committed.iter().filter(|id| !there.contains(id)).collect();
            assert!(lost.is_empty(), "lost: {lost:?} of {}", committed.len());
        }
    }
}

#[test]
fn roles_change_and_change_back_while_clients_commit() {
    let one = primary();
    let two = standby("two", &one);
    let clients = Clients::start(&[&one, &two], 4);
    clients.wait_for_more();
    for round in 0..2 {
        let done = switch(&one, "two", &two);
        assert!(done.contains("\"two\" is the primary"), "{done}");
        assert!(is_primary(&two) && !is_primary(&one), "round {round}");
        clients.wait_for_more();
        switch(&two, "one", &one);
        assert!(is_primary(&one) && !is_primary(&two), "round {round}");
        clients.wait_for_more();
    }
    clients.finish(&one, &two);
    assert_eq!(one.sql("SELECT timeline_id FROM pg_control_checkpoint()"), "5");
    let left = [&one, &two].map(|node| node.data().join("plimsoll/handover").exists());
    assert_eq!(left, [false, false], "no marker stays");
    for node in [&one, &two] {
        node.wait_for("SELECT count(DISTINCT member) FROM plimsoll_roster", "2");
    }
}

/// Each node's cluster_name is that of neither stream.
#[test]
fn a_node_is_found_and_follows_by_the_application_name_of_its_primary_conninfo() {
    let one = primary();
    let two = standby("two", &one);
    let follow = |node: &Node, other: &Node, name: &str| {
        let conninfo = format!("{} application_name={name}", other.conninfo());
        node.alter(&format!("SET primary_conninfo = '{conninfo}'"));
    };
    follow(&one, &two, "first");
    follow(&two, &one, "second");
    let followers = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'";
    one.wait_for(followers, "second");
    two.wait_for("SELECT DISTINCT name FROM plimsoll_roster WHERE source = 'replication'", "first");
    one.wait_for("SELECT DISTINCT name FROM plimsoll_roster WHERE source = 'replication'", "second");
    let itself = one.try_sql(&format!("SELECT plimsoll_switchover('second', 500, '{}')", one.conninfo()));
    assert!(itself.stderr.contains("is this one"), "{}", itself.stderr);
    one.sql("SELECT plimsoll_switchover('second', 30000, '')");
    two.wait_for(followers, "first");
    switch(&two, "first", &one);
    one.wait_for(followers, "second");
}

#[test]
fn a_standby_that_does_not_keep_up_ends_it_before_a_session_ends() {
    let one = primary();
    let two = standby("two", &one);
    let mut session = one.session();
    session.query("SELECT 1").expect("an answer");
    two.freeze();
    let mut ask = one.psql();
    ask.arg("-c").arg(format!("SELECT plimsoll_switchover('two', 500, '{}')", two.conninfo()));
    let refused = run(&mut ask);
    assert!(refused.stderr.contains("does not answer within 500 ms"), "{}", refused.stderr);
    two.thaw();
    let three = standby("three", &one);
    let another = one.try_sql(&format!("SELECT plimsoll_switchover('two', 500, '{}')", three.conninfo()));
    assert!(another.stderr.contains("is another one, \"three\""), "{}", another.stderr);
    let itself = one.try_sql(&format!("SELECT plimsoll_switchover('two', 500, '{}')", one.conninfo()));
    assert!(itself.stderr.contains("is this one"), "{}", itself.stderr);
    session.query("INSERT INTO t VALUES (1, 0)").expect("the session goes on");
    two.sql("SELECT pg_wal_replay_pause()");
    one.sql("INSERT INTO t VALUES (2, 0)");
    let refused = run(&mut command(&one, "two", &two, &["--timeout", "500ms"]));
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("this command changed nothing"), "{}", refused.stderr);
    session.query("INSERT INTO t VALUES (3, 0)").expect("the session goes on");
    two.sql("SELECT pg_wal_replay_resume()");
    switch(&one, "two", &two);
    assert_eq!(two.sql("SELECT count(*) FROM t"), "3");
}

/// Freezes the successor once the primary has given up writing, which it does right before it asks. Whether
/// that came before the answer shows: then the switchover is undecided.
fn freeze_before_the_answer(one: &Node, two: &Node) -> bool {
    let marker = one.data().join("plimsoll/handover");
    let asked = command(one, "two", two, &["--timeout", "1s"]).spawn().expect("plimsoll starts");
    let began = Instant::now();
    while !marker.exists() {
        assert!(began.elapsed() < LIMIT, "{}", one.log());
    }
    two.freeze();
    drop(asked.wait_with_output());
    one.wait_for("SELECT pg_is_in_recovery()", "t");
    let undecided = one.log().contains("the switchover is undecided");
    if !undecided {
        two.thaw();
    }
    undecided
}

#[test]
fn a_successor_that_was_frozen_is_no_primary_after_the_old_one_was_promoted() {
    for round in 0..10 {
        let one = primary();
        let two = standby("two", &one);
        if !freeze_before_the_answer(&one, &two) {
            println!("round {round}: it answered before it was frozen");
            continue;
        }
        // Whoever waits for the frozen one gives it up.
        assert_eq!(one.sql("SELECT pg_promote()"), "t");
        one.sql("INSERT INTO t VALUES (1, 0)");
        two.thaw();
        two.wait_replayed(&one.sql("SELECT pg_current_wal_lsn()"));
        assert_eq!(two.sql("SELECT count(*) FROM t"), "1");
        assert_eq!([&one, &two].map(is_primary), [true, false]);
        assert!(!two.log().contains("has handed its role over"), "{}", two.log());
        return;
    }
    panic!("it always answered before it was frozen");
}

#[test]
fn what_cannot_take_over_is_refused_with_its_reason() {
    let one = primary();
    let two = standby("two", &one);
    let there = two.conninfo();
    let ask = |node: &Node, call: &str| {
        let outcome = node.try_sql(&format!("SELECT plimsoll_switchover({call})"));
        assert_ne!(outcome.code, 0, "{call}: {}", outcome.stdout);
        outcome.stderr
    };
    for (node, call, why) in [
        (&one, format!("'three', 1000, '{there}'"), "no standby \"three\" is connected"),
        (&one, "'two', 1000, 'host=127.0.0.1 port=1'".to_owned(), "cannot reach standby \"two\""),
        (&one, format!("'two', 0, '{there}'"), "must not be negative or zero"),
        (&two, format!("'two', 1000, '{there}'"), "recovery is in progress"),
    ] {
        let said = ask(node, &call);
        assert!(said.contains(why), "{call}: {said}");
    }
    one.sql("CREATE ROLE clerk LOGIN");
    let clerk = one.conninfo().replace("user=postgres", "user=clerk");
    let mut psql = scenarios::pg_tool("psql");
    let denied = run(psql.args(["-X", "-d", &clerk, "-c", "SELECT plimsoll_switchover('two')"]));
    assert!(
        denied.stderr.contains("permission denied for function plimsoll_switchover"),
        "{}",
        denied.stderr
    );
    let twin = named("two").clone_from(&one);
    one.wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2");
    let said = ask(&one, &format!("'two', 1000, '{there}'"));
    assert!(said.contains("more than one standby is connected under the name \"two\""), "{said}");
    drop(twin);
    let away = named("four").setting("plimsoll.advertised_address", "host=127.0.0.1 port=1").clone_from(&one);
    one.wait_for("SELECT count(DISTINCT member) FROM plimsoll_roster WHERE name = 'four'", "1");
    one.wait_for("SELECT state FROM pg_stat_replication WHERE application_name = 'four'", "streaming");
    let said = ask(&one, "'four', 1000");
    let why = "to follow it afterwards: host=127.0.0.1 port=1: could not ask server: ";
    assert!(said.contains(why), "{said}");
    drop(away);
    let trigger = one.folder().join("trigger");
    fs::write(&trigger, "").expect("a file");
    one.set("promote_trigger_file", &trigger.display().to_string());
    one.sql("SELECT pg_reload_conf()");
    one.wait_for("SELECT current_setting('promote_trigger_file') <> ''", "t");
    let said = ask(&one, &format!("'two', 1000, '{there}'"));
    assert!(said.contains("the file of promote_trigger_file is there"), "{said}");
    let usage = run(plimsoll().args(["switchover", "-D"]).arg(one.data()));
    assert_eq!(usage.code, 2, "{}", usage.stderr);
    assert!(is_primary(&one));
}

#[test]
fn a_standby_that_refuses_leaves_the_primary_what_it_was() {
    let one = primary();
    let two = standby("two", &one);
    // A record that nobody can read counts as a fence.
    std::fs::write(two.data().join("plimsoll/fence"), "damaged").expect("the record is written");
    let refused = run(&mut command(&one, "two", &two, &[]));
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("backed out"), "{}", refused.stderr);
    wait_for_log(&one, "is backed out: the standby refuses: ");
    one.sql("INSERT INTO t VALUES (1, 0)");
    assert!(!is_primary(&two) && !one.data().join("plimsoll/handover").exists());
    std::fs::remove_file(two.data().join("plimsoll/fence")).expect("it was there");
    two.wait_replayed(&one.sql("SELECT pg_current_wal_lsn()"));
    assert_eq!(one.sql("SELECT timeline_id FROM pg_control_checkpoint()"), "1");
    switch(&one, "two", &two);
}

#[test]
fn other_standbys_follow_through_the_old_primary_and_below_the_new_one() {
    let one = primary();
    let two = standby("two", &one);
    let beside = standby("beside", &one);
    let below = standby("below", &two);
    switch(&one, "two", &two);
    two.sql("INSERT INTO t VALUES (1, 0)");
    let end = two.sql("SELECT pg_current_wal_lsn()");
    for node in [&one, &beside, &below] {
        node.wait_replayed(&end);
        assert_eq!(node.sql("SELECT count(*) FROM t"), "1");
    }
    assert!(
        two.sql(
            "SELECT string_agg(application_name, ' ' ORDER BY application_name) FROM pg_stat_replication"
        )
        .contains("below one")
    );
    assert_eq!(one.sql("SELECT application_name FROM pg_stat_replication"), "beside");
}

/// As a crash leaves the old primary between the marker and the answer.
fn mark(one: &Node, two: &Node) {
    let lines = format!(
        "plimsoll handover 1\ntimeline=1\nend=0/0\nstandby=two\nconninfo=host={} port={} user=postgres\n",
        two.folder().display(),
        two.port()
    );
    let marker = wal::codec::seal_text(lines);
    std::fs::write(one.data().join("plimsoll/handover"), marker).expect("the marker is written");
}

#[test]
fn an_undecided_switchover_is_decided_by_the_promotion_of_the_standby() {
    let one = primary();
    let two = standby("two", &one);
    one.stop();
    two.stop();
    mark(&one, &two);
    for _ in 0..2 {
        one.start();
        assert!(one.log().contains("is undecided") && !is_primary(&one), "it does not write by itself");
        let refused = one.try_sql("INSERT INTO t VALUES (1, 0)");
        assert!(refused.stderr.contains("read-only"), "{}", refused.stderr);
        one.stop();
        // Not even if somebody makes it look like a primary.
        std::fs::remove_file(one.data().join("standby.signal")).expect("it was made a standby");
    }
    one.start();
    two.start();
    assert_eq!(two.sql("SELECT pg_promote()"), "t");
    two.sql("INSERT INTO t VALUES (2, 0)");
    one.wait_replayed(&two.sql("SELECT pg_current_wal_lsn()"));
    wait_for_log(&one, "the switchover is decided: this server follows a later timeline");
    assert!(!one.data().join("plimsoll/handover").exists());
}

#[test]
fn an_undecided_switchover_is_decided_by_the_promotion_of_the_old_primary() {
    let one = primary();
    let two = standby("two", &one);
    one.stop();
    two.kill_9();
    mark(&one, &two);
    one.start();
    assert_eq!(one.sql("SELECT pg_promote()"), "t");
    one.sql("INSERT INTO t VALUES (1, 0)");
    assert!(!one.data().join("plimsoll/handover").exists());
    // The other may have taken 2.
    wait_for_log(&one, "selected new timeline ID: 3");
    one.stop();
    one.start();
    one.sql("INSERT INTO t VALUES (2, 0)");
}

#[test]
fn an_old_primary_takes_no_number_that_its_successor_took_and_is_gone_with() {
    let one = primary();
    let two = standby("two", &one);
    let mut asked = command(&one, "two", &two, &[]).spawn().expect("plimsoll starts");
    let (began, history) = (Instant::now(), two.data().join("pg_wal/00000002.history"));
    while !history.exists() {
        assert!(began.elapsed() < LIMIT, "{}", two.log());
    }
    // Most often before the old primary has asked it for its log.
    two.kill_9();
    one.wait_for("SELECT pg_is_in_recovery()", "t");
    assert_eq!(one.sql("SELECT pg_promote()"), "t");
    wait_for_log(&one, "selected new timeline ID: 3");
    // It waits for both.
    asked.kill().expect("it runs, or has ended");
    drop(asked.wait());
}

#[test]
fn the_command_ends_soon_after_the_old_primary_was_killed() {
    let one = primary();
    let two = standby("two", &one);
    let mut asking = command(&one, "two", &two, &["--timeout", "120s"]);
    let (asked, began) = (asking.stderr(Stdio::piped()).spawn().expect("plimsoll starts"), Instant::now());
    let marker = one.data().join("plimsoll/handover");
    while !marker.exists() {
        assert!(began.elapsed() < LIMIT, "{}", one.log());
    }
    one.kill_9();
    let done = asked.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.code() == Some(1) && began.elapsed() < LIMIT, "{:?}: {said}", began.elapsed());
    let ends = ["is the primary, but the old one is not back", "the switchover is undecided"];
    assert!(ends.iter().any(|end| said.contains(end)), "{said}");
}

#[test]
fn the_command_waits_for_a_slow_promotion_that_was_decided_before_the_old_primary_was_killed() {
    let one = primary();
    // It takes longer than an undecided one is waited for.
    let two = named("two").setting("recovery_end_command", "sleep 7").clone_from(&one);
    one.wait_for("SELECT state FROM pg_stat_replication", "streaming");
    let pid = one.pid().expect("it runs");
    let asked = command(&one, "two", &two, &[]).stderr(Stdio::piped()).spawn().expect("plimsoll starts");
    let (began, exists) = (Instant::now(), |name: &str| one.data().join(name).exists());
    while !exists("standby.signal") || exists("plimsoll/handover") {
        assert!(began.elapsed() < LIMIT, "{}", one.log());
    }
    // Between two lives there may be no postmaster.pid.
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it is killed");
    let done = asked.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(said.contains("\"two\" is the primary, but the old one is not back: start it"), "{said}");
    one.start();
    one.wait_replayed(&two.sql("SELECT pg_current_wal_lsn()"));
}

/// Whether each takes writes; a server that does not answer does not.
fn primaries(nodes: [&Node; 2]) -> [bool; 2] {
    nodes.map(|node| node.try_sql("SELECT pg_is_in_recovery()").stdout.trim() == "f")
}

/// Waits until one of them is a primary; false if nobody is after a time in which all that was asked for is
/// done.
fn one_is_primary(nodes: [&Node; 2]) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        match primaries(nodes) {
            [true, true] => panic!("both write"),
            [false, false] => thread::park_timeout(Duration::from_millis(50)),
            _ => return true,
        }
    }
    false
}

#[test]
fn a_kill_at_any_moment_of_a_handover_leaves_at_most_one_primary_and_loses_nothing() {
    let one = primary();
    let two = standby("two", &one);
    let nodes = [(&one, "one"), (&two, "two")];
    let clients = Clients::start(&[&one, &two], 2);
    clients.wait_for_more();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut at, mut without) = (0, 0);
    for round in 0..12 {
        let ((from, _), (to, name)) = (nodes[at], nodes[1 - at]);
        from.wait_for("SELECT state FROM pg_stat_replication", "streaming");
        let begins = |node: &Node| node.log().matches("handing over to standby").count();
        let before = begins(from);
        let asked = command(from, name, to, &["--timeout", "1s"]).spawn().expect("plimsoll starts");
        wait_until("it hands over", LIMIT, || if begins(from) > before { Ok(()) } else { Err(from.log()) });
        // A moment of the handover, by chance: not a wait for anything.
        thread::park_timeout(Duration::from_micros(random.u64(0..120_000)));
        let killed = if random.bool() { from } else { to };
        killed.kill_9();
        assert_ne!(primaries([&one, &two]), [true, true], "round {round}");
        killed.start();
        if !one_is_primary([&one, &two]) {
            without += 1;
            assert_eq!(to.sql("SELECT pg_promote()"), "t", "round {round}: {}", to.log());
        }
        at = usize::from(primaries([&one, &two])[1]);
        clients.wait_for_more();
        assert_ne!(primaries([&one, &two]), [true, true], "round {round}");
        drop(asked.wait_with_output());
    }
    println!("{without} rounds without a primary");
    let ((primary, _), (standby, _)) = (nodes[at], nodes[1 - at]);
    primary.wait_for("SELECT state FROM pg_stat_replication", "streaming");
    clients.finish(primary, standby);
}

#[test]
fn a_standby_takes_the_role_beside_a_branch_that_was_given_up_on_the_primary() {
    let one = primary();
    let (two, three) = (standby("two", &one), standby("three", &one));
    two.wait_for("SELECT count(*) FROM t", "0");
    wait_until("the roster is on disk", LIMIT, || {
        let text = std::fs::read_to_string(one.data().join("plimsoll/roster")).unwrap_or_default();
        if text.lines().any(|line| line.ends_with(" two")) { Ok(()) } else { Err(text) }
    });
    // The third has log behind the fork, so it is told of timeline 2 and does not follow it.
    two.stop();
    one.sql("INSERT INTO t VALUES (1, 0)");
    three.wait_for("SELECT count(*) FROM t", "1");
    one.kill_9();
    two.start();
    run_ok(plimsoll().arg("promote").arg("-D").arg(two.data()));
    two.sql("INSERT INTO t VALUES (2, 0)");
    three.alter(&format!("SET primary_conninfo = '{}'", two.conninfo()));
    wait_for_log(&three, "tells of timeline 2, which left this server's timeline 1 at");
    one.start();
    wait_for_log(&one, "this server is fenced and takes no more writes");
    two.kill_9();
    one.stop();
    run_ok(plimsoll().args(["unfence", "--i-know", "-D"]).arg(one.data()));
    one.start();
    three.alter(&format!("SET primary_conninfo = '{}'", one.conninfo()));
    one.wait_for("SELECT state FROM pg_stat_replication", "streaming");
    // Who writes a branch that was given up would keep the third from the role: it asks again who is there.
    three.wait_for("SELECT count(*) FROM plimsoll_roster WHERE witnessed_timeline = 2", "0");
    switch(&one, "three", &three);
    assert!(is_primary(&three), "{}", three.log());
    three.sql("INSERT INTO t VALUES (3, 0)");
    one.wait_for("SELECT count(*) FROM t", "2");
}

#[test]
fn a_stop_during_a_handover_ends_the_server_and_leaves_at_most_one_primary() {
    for mode in ["smart", "fast", "immediate"] {
        let one = primary();
        let two = standby("two", &one);
        one.sql("INSERT INTO t VALUES (1, 0)");
        let mut ask = one.psql();
        ask.arg("-c").arg(format!("SELECT plimsoll_switchover('two', 5000, '{}')", two.conninfo()));
        let asked = ask.spawn().expect("psql starts");
        wait_for_log(&one, "handing over to standby");
        let _ = run(plimsoll().args(["stop", "-m", mode, "-D"]).arg(one.data()));
        drop(asked.wait_with_output());
        let began = Instant::now();
        if one.pid().is_none() {
            one.start();
        }
        wait_until("both are what they are", LIMIT, || {
            let primaries = primaries([&one, &two]);
            // Before the handover was decided, one stays; after that, two is.
            if primaries != [true, true] && (began.elapsed() > Duration::from_secs(2) || primaries[1]) {
                Ok(())
            } else {
                Err(format!("{mode}: {primaries:?}"))
            }
        });
        let primary = if is_primary(&two) { &two } else { &one };
        if is_primary(primary) {
            assert_eq!(primary.sql("SELECT count(*) FROM t"), "1", "{mode}");
        }
    }
}

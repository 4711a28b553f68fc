//! Semi-synchronous operation: a bounded stall, then service, then the return, and a record of exactly the
//! commits at risk.

use scenarios::{Node, wait_until};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const MODE: &str = "SELECT mode, waits_for, fallbacks, returns FROM plimsoll_stat_sync";
const RANGES: &str = "SELECT timeline, level, after_lsn, upto_lsn FROM plimsoll_unconfirmed ORDER BY began";

/// A primary with one synchronous standby.
fn pair(timeout: &str) -> (Node, Node) {
    let primary = Node::builder().setting("plimsoll.synchronous_timeout", timeout).start();
    primary.sql("CREATE TABLE t (id int PRIMARY KEY)");
    let standby = Node::builder()
        .setting("cluster_name", "s")
        .setting("wal_retrieve_retry_interval", "100ms")
        .setting("wal_receiver_status_interval", "1s")
        .clone_from(&primary);
    primary.wait_for("SELECT state FROM pg_stat_replication", "streaming");
    primary.alter("SET synchronous_standby_names = 's'");
    primary.wait_for("SELECT mode FROM plimsoll_stat_sync", "synchronous");
    (primary, standby)
}

fn insert(node: &Node, id: u32) {
    node.sql(&format!("INSERT INTO t VALUES ({id})"));
}

fn end_of_log(node: &Node) -> String {
    node.sql("SELECT pg_current_wal_flush_lsn()")
}

/// Those that wait for nobody do not wait for a switchover either: the successor has all of the log.
#[test]
fn a_fallback_that_a_switchover_ends_is_over_in_the_ledger_of_both() {
    let (primary, standby) = pair("300ms");
    let other = Node::builder().setting("cluster_name", "other").clone_from(&primary);
    primary.wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "2");
    standby.kill_9();
    insert(&primary, 1);
    primary.wait_for("SELECT mode FROM plimsoll_stat_sync", "fallen back");
    primary.sql(&format!("SELECT plimsoll_switchover('other', 30000, '{}')", other.conninfo()));
    other.wait_for("SELECT pg_is_in_recovery()", "f");
    primary.wait_for("SELECT pg_is_in_recovery()", "t");
    let told = ledger(&primary);
    let range = |event: &str| {
        told.iter()
            .find(|line| line.starts_with(event))
            .map(|line| line.split(' ').nth(1).expect("a position").to_owned())
    };
    assert_eq!(range("fallback "), range("return "), "{told:?}");
    other.wait_for("SELECT bool_and(ended IS NOT NULL) FROM plimsoll_unconfirmed", "t");
}

fn background(node: &Node, sql: &str) -> Child {
    let mut psql = node.psql();
    psql.args(["-c", sql]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    psql.spawn().expect("psql starts")
}

/// The lines of plimsoll/ledger without checksum and time.
fn ledger(node: &Node) -> Vec<String> {
    let text = std::fs::read_to_string(node.data().join("plimsoll/ledger")).unwrap_or_default();
    text.lines().map(|line| line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned()).collect()
}

/// What is no longer so is recorded once it is seen to be no longer so.
fn wait_for_entry(node: &Node, begin: &str) {
    wait_until("it is in the ledger", Duration::from_secs(30), || {
        let told = ledger(node);
        if told.iter().any(|line| line.starts_with(begin)) { Ok(()) } else { Err(format!("{told:?}")) }
    });
}

#[test]
fn a_dead_standby_costs_one_bounded_stall_and_the_record_names_exactly_the_commits_at_risk() {
    let (primary, standby) = pair("700ms");
    insert(&primary, 1);
    let safe = end_of_log(&primary);
    let held = |at: &str| {
        primary.sql(&format!(
            "SELECT node, sync_state, written, flushed FROM plimsoll_commit_receipts('{at}') ORDER BY 2"
        ))
    };
    assert_eq!(held(&safe), "|local|t|t\ns|sync|t|t");
    assert_eq!(held("7/0"), "|local|f|f\ns|sync|f|f");
    standby.kill_9();
    let began = Instant::now();
    insert(&primary, 2);
    assert!(began.elapsed() >= Duration::from_millis(700), "{:?}", began.elapsed());
    assert_eq!(primary.sql(MODE), "fallen back|local|1|0");
    assert!(primary.log().contains("falling back from synchronous replication after"), "{}", primary.log());
    for id in 3..=5 {
        insert(&primary, id);
    }
    assert_eq!(held(&safe), "|local|t|t", "who has gone gives no receipts");
    let at_risk = end_of_log(&primary);
    assert_eq!(primary.sql(MODE), "fallen back|local|1|0", "nobody waits any more");
    assert_eq!(
        primary.sql(&format!(
            "SELECT level, after_lsn >= '{safe}', after_lsn <= '{safe}', ended, upto_lsn FROM plimsoll_unconfirmed"
        )),
        "remote_write|t|t||",
        "row 1 was confirmed, row 2 was not"
    );

    standby.start();
    primary.wait_for(MODE, "synchronous|remote_apply|1|1");
    let returned = end_of_log(&primary);
    insert(&primary, 6);
    assert_eq!(
        primary.sql(&format!(
            "SELECT count(*), bool_and(after_lsn = '{safe}'), bool_and(upto_lsn BETWEEN '{at_risk}' AND '{returned}'), \
             bool_and(ended >= began) FROM plimsoll_unconfirmed"
        )),
        "1|t|t|t"
    );
    assert_eq!(primary.sql("SELECT count(*) FROM t"), "6");

    // The record travels in the log, and is in the node's own ledger.
    let ranges = primary.sql(RANGES);
    standby.wait_for(RANGES, &ranges);
    assert_eq!(standby.sql("SELECT mode, synchronous_standby_names FROM plimsoll_stat_sync"), "standby|s");
    wait_for_entry(&primary, &format!("return {safe} "));
    let ledger = ledger(&primary);
    assert_eq!(ledger.len(), 2, "{ledger:?}");
    assert!(ledger[0].starts_with(&format!("fallback {safe} ")), "{ledger:?}");
    assert!(ledger[1].starts_with(&format!("return {safe} ")), "{ledger:?}");
}

#[test]
fn replay_that_is_paused_costs_the_level_remote_apply_only() {
    let (primary, standby) = pair("500ms");
    standby.sql("SELECT pg_wal_replay_pause()");
    standby.wait_for("SELECT pg_get_wal_replay_pause_state()", "paused");
    primary.sql("SET synchronous_commit = remote_apply; INSERT INTO t VALUES (1)");
    assert_eq!(primary.sql(MODE), "fallen back|on|1|0");
    let end = end_of_log(&primary);
    insert(&primary, 2);
    assert_eq!(
        standby.sql(&format!("SELECT pg_last_wal_receive_lsn() > '{end}'")),
        "t",
        "what is acknowledged is durable on the standby all the same"
    );

    // A standby that stops altogether takes the rest.
    standby.freeze();
    insert(&primary, 3);
    assert_eq!(primary.sql(MODE), "fallen back|local|2|0");
    standby.thaw();
    primary.wait_for("SELECT mode FROM plimsoll_stat_sync", "synchronous");
    standby.sql("SELECT pg_wal_replay_resume()");
    primary.sql("SET synchronous_commit = remote_apply; INSERT INTO t VALUES (4)");
    assert_eq!(primary.sql("SELECT mode FROM plimsoll_stat_sync"), "synchronous");
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "4");
}

#[test]
fn a_standby_that_is_always_too_slow_costs_one_stall_and_returns_once_it_is_fast_enough() {
    let (primary, standby) = pair("300ms");
    standby.alter("SET recovery_min_apply_delay = '800ms'");
    standby.wait_for("SHOW recovery_min_apply_delay", "800ms");
    let began = Instant::now();
    // Long enough for it to catch up with where the log was, several times.
    for id in 1.. {
        primary.sql(&format!("SET synchronous_commit = remote_apply; INSERT INTO t VALUES ({id})"));
        if began.elapsed() > Duration::from_secs(4) {
            break;
        }
    }
    assert_eq!(primary.sql(MODE), "fallen back|on|1|0", "{:?}", ledger(&primary));
    standby.alter("SET recovery_min_apply_delay = 0");
    primary.wait_for(MODE, "synchronous|remote_apply|1|1");
    primary.sql("SET synchronous_commit = remote_apply; INSERT INTO t VALUES (0)");
    assert_eq!(standby.sql("SELECT count(*) FROM t WHERE id = 0"), "1");
    assert_eq!(primary.sql(MODE), "synchronous|remote_apply|1|1");
}

#[test]
fn a_reload_lets_commits_fall_back_that_wait_already_and_takes_the_mode_back() {
    let (primary, standby) = pair("0");
    standby.stop();
    let waiting = background(&primary, "INSERT INTO t VALUES (1)");
    let event = "SELECT wait_event FROM pg_stat_activity WHERE query LIKE 'INSERT INTO t VALUES (1)%'";
    primary.wait_for(event, "SyncRep");
    assert_eq!(primary.sql("SELECT count(*) FROM t"), "0");
    primary.alter("SET plimsoll.synchronous_timeout = '300ms'");
    let output = waiting.wait_with_output().expect("psql ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(primary.sql("SELECT count(*) FROM t"), "1");
    assert_eq!(primary.sql(MODE), "fallen back|local|1|0");
    primary.alter("SET plimsoll.synchronous_timeout = 0");
    primary.wait_for(MODE, "synchronous|remote_apply|1|1");
    let waiting = background(&primary, "INSERT INTO t VALUES (2)");
    primary.wait_for(&event.replace("(1)", "(2)"), "SyncRep");
    primary.alter("RESET synchronous_standby_names");
    assert!(waiting.wait_with_output().expect("psql ends").status.success());
}

/// Starts a primary again after a stop or a crash; what is undecided then does not stay so for long.
fn start_again(primary: &Node, clean: bool) {
    if clean {
        primary.stop();
    } else {
        primary.kill_9();
    }
    primary.set("plimsoll.unconfirmed_timeout", "100ms");
    primary.start();
}

#[test]
fn a_fallback_that_the_servers_end_cuts_off_is_closed_and_told_at_the_next_start() {
    for clean in [true, false] {
        let (primary, standby) = pair("300ms");
        standby.kill_9();
        insert(&primary, 1);
        let at_risk = end_of_log(&primary);
        let after = primary.sql("SELECT after_lsn FROM plimsoll_unconfirmed");
        start_again(&primary, clean);
        assert_eq!(primary.sql("SELECT count(*) FROM t"), "1");
        primary.wait_for(
            &format!("SELECT level, ended IS NOT NULL, upto_lsn >= '{at_risk}' FROM plimsoll_unconfirmed"),
            "remote_write|t|t",
        );
        assert!(primary.log().contains("without its synchronous standbys"), "{}", primary.log());
        let ends = primary.sql("SELECT after_lsn, upto_lsn FROM plimsoll_unconfirmed").replace('|', " ");
        let ledger = ledger(&primary);
        let told = |begin: &str| ledger.iter().filter(|line| line.starts_with(begin)).count();
        assert_eq!(told(&format!("fallback {after} ")), 1, "{ledger:?}");
        assert_eq!(told(&format!("return {ends} ")), 1, "{ledger:?}");
    }
}

#[test]
fn a_fallback_after_a_restart_without_a_standby_begins_where_confirmation_ends() {
    for clean in [true, false] {
        let (primary, standby) = pair("300ms");
        insert(&primary, 1);
        let safe = end_of_log(&primary);
        standby.kill_9();
        start_again(&primary, clean);
        insert(&primary, 2);
        let range = primary.sql(&format!(
            "SELECT after_lsn > '0/1000000', after_lsn <= '{safe}', after_lsn FROM plimsoll_unconfirmed"
        ));
        let mut words = range.split('|');
        assert_eq!(words.next(), Some("t"), "{range}");
        // What the stop itself wrote was decided by it; after a crash only what the log itself tells is
        // proven.
        assert!(clean || words.next() == Some("t"), "{range}");
        let after = range.rsplit('|').next().expect("a position");
        let ledger = ledger(&primary);
        assert!(ledger.iter().any(|line| line.starts_with(&format!("fallback {after} "))), "{ledger:?}");
        // The one row that nobody else has is behind it.
        let end = end_of_log(&primary);
        assert_eq!(primary.sql(&format!("SELECT '{after}'::pg_lsn < '{end}'")), "t");
        standby.start();
        primary.wait_for("SELECT mode FROM plimsoll_stat_sync", "synchronous");
        wait_for_entry(&primary, &format!("return {after} "));
    }
}

#[test]
fn of_two_fallbacks_in_a_row_the_one_that_a_crash_cuts_off_is_told_with_its_own_end() {
    let (primary, standby) = pair("300ms");
    standby.kill_9();
    insert(&primary, 1);
    standby.start();
    primary.wait_for("SELECT mode FROM plimsoll_stat_sync", "synchronous");
    wait_for_entry(&primary, "return ");
    standby.kill_9();
    insert(&primary, 2);
    let at_risk = end_of_log(&primary);
    start_again(&primary, false);
    wait_until("both are over", Duration::from_secs(30), || {
        let ends =
            ledger(&primary).into_iter().filter(|line| line.starts_with("return ")).collect::<Vec<_>>();
        if ends.len() == 2 { Ok(()) } else { Err(format!("{ends:?}")) }
    });
    let told = ledger(&primary);
    let last = told.iter().rfind(|line| line.starts_with("return ")).expect("an end");
    let upto = last.split(' ').nth(2).expect("a position");
    assert_eq!(primary.sql(&format!("SELECT '{upto}'::pg_lsn >= '{at_risk}'")), "t", "{told:?}");
    assert!(primary.log().contains(&format!("what it had beyond {upto} is not here")), "{}", primary.log());
}

/// Halts a server for that long.
fn freeze_for(node: &Node, time: Duration) {
    node.freeze();
    let began = Instant::now();
    wait_until("it was frozen for long enough", time * 2, || {
        if began.elapsed() >= time { Ok(()) } else { Err(format!("{:?}", began.elapsed())) }
    });
    node.thaw();
}

#[test]
fn a_primary_that_was_frozen_for_longer_than_its_timeout_does_not_fall_back_for_that() {
    let (primary, standby) = pair("5s");
    standby.freeze();
    let waiting = background(&primary, "INSERT INTO t VALUES (1)");
    let event = "SELECT wait_event FROM pg_stat_activity WHERE query LIKE 'INSERT INTO t VALUES (1)%'";
    primary.wait_for(event, "SyncRep");
    freeze_for(&primary, Duration::from_secs(6));
    // By the clock the commit has waited for too long.
    assert_eq!(primary.sql(MODE), "synchronous|remote_apply|0|0");
    standby.thaw();
    assert!(waiting.wait_with_output().expect("psql ends").status.success());
    assert_eq!(primary.sql(MODE), "synchronous|remote_apply|0|0");
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "1");
}

#[test]
fn a_primary_that_was_frozen_reads_what_its_standby_said_meanwhile_before_it_gives_it_up() {
    let (primary, _standby) = pair("0");
    primary.alter("SET wal_sender_timeout = '3s'");
    primary.wait_for("SHOW wal_sender_timeout", "3s");
    let stream = "SELECT pid FROM pg_stat_replication";
    let before = primary.sql(stream);
    freeze_for(&primary, Duration::from_secs(4));
    // The standby has to answer for this.
    insert(&primary, 1);
    assert_eq!(primary.sql(stream), before);
    assert!(!primary.log().contains("due to replication timeout"), "{}", primary.log());
}

/// Nobody was told of the commit, its standby has not got it and replaces the primary meanwhile.
#[test]
fn a_primary_that_was_frozen_asks_whether_it_was_replaced_before_it_shows_what_is_undecided() {
    let (primary, standby) = pair("0");
    primary.set("plimsoll.unconfirmed_timeout", "10s");
    let knows =
        "SELECT count(DISTINCT name) FROM plimsoll_roster WHERE source = 'replication' AND name = 's'";
    primary.wait_for(knows, "1");
    standby.freeze();
    let waiting = background(&primary, "INSERT INTO t VALUES (1)");
    let event = "SELECT wait_event FROM pg_stat_activity WHERE query LIKE 'INSERT INTO t VALUES (1)%'";
    primary.wait_for(event, "SyncRep");
    primary.kill_9();
    standby.kill_9();
    drop(waiting.wait_with_output());
    primary.start();
    wait_until("the commit is undecided", Duration::from_secs(30), || {
        if primary.log().contains("are undecided until") { Ok(()) } else { Err(primary.log()) }
    });
    primary.freeze();
    let began = Instant::now();
    standby.start();
    standby.sql("SELECT pg_promote()");
    wait_until("it was frozen for long enough", Duration::from_secs(60), || {
        if began.elapsed() > Duration::from_secs(11) { Ok(()) } else { Err(format!("{:?}", began.elapsed())) }
    });
    primary.thaw();
    wait_until("it is fenced", Duration::from_secs(60), || {
        if primary.data().join("plimsoll/fence").exists() { Ok(()) } else { Err(primary.log()) }
    });
    assert!(!primary.log().contains("released by plimsoll.unconfirmed_timeout"), "{}", primary.log());
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "0");
}

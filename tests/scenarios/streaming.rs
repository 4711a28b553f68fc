//! Streaming replication as the manual's chapters on standbys describe it, seen with PostgreSQL's own
//! clients.

use scenarios::script::{Observer, Session};
use scenarios::{Node, plimsoll, run, run_ok, wait_until};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// Waits until a standby has replayed all that its upstream has.
fn catch_up(upstream: &Node, standby: &Node) {
    let position =
        "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END";
    standby.wait_replayed(&upstream.sql(position));
}

fn wait_for_log(node: &Node, from: usize, text: &str) {
    wait_until(&format!("\"{text}\" in the log"), LIMIT, || {
        let log = node.log();
        let new = log.get(from..).unwrap_or_default();
        if new.contains(text) { Ok(()) } else { Err(new.to_owned()) }
    });
}

fn primary_with_table() -> Node {
    let primary = Node::builder().setting("wal_receiver_status_interval", "1s").start();
    primary.sql("CREATE TABLE t (a int)");
    primary.sql("INSERT INTO t SELECT generate_series(1, 100)");
    primary
}

fn standby_of(upstream: &Node, name: &str) -> Node {
    let standby = Node::builder()
        .setting("cluster_name", name)
        .setting("wal_retrieve_retry_interval", "200ms")
        .clone_from(upstream);
    catch_up(upstream, &standby);
    standby
}

/// A psql in the background.
fn background(node: &Node, sql: &str) -> Child {
    let mut psql = node.psql();
    psql.args(["-c", sql]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    psql.spawn().expect("psql starts")
}

#[test]
fn a_standby_knows_what_it_has_received_before_its_primary_answers() {
    let primary = primary_with_table();
    for _ in 0..5 {
        let standby = Node::builder().clone_from(&primary);
        let received = standby.sql("SELECT pg_last_wal_receive_lsn() <= pg_last_wal_replay_lsn()");
        assert_eq!(received, "t", "NULL before it asks: {}", standby.log());
    }
}

#[test]
fn a_delayed_standby_applies_commits_late_and_a_promotion_does_not_wait_for_the_delay() {
    let primary = primary_with_table();
    let standby = standby_of(&primary, "late");
    standby.alter("SET recovery_min_apply_delay = '2s'");
    let began = Instant::now();
    primary.sql("INSERT INTO t VALUES (101)");
    catch_up(&primary, &standby);
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    standby.alter("SET recovery_min_apply_delay = '1h'");
    primary.sql("INSERT INTO t VALUES (102)");
    let end = primary.sql("SELECT pg_current_wal_lsn()");
    standby.wait_for(&format!("SELECT pg_last_wal_receive_lsn() >= '{end}'"), "t");
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "101");
    assert_eq!(standby.sql("SELECT pg_promote()"), "t");
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "102");
    assert!(standby.log().contains("does not wait for recovery_min_apply_delay"), "{}", standby.log());
}

#[test]
fn the_trigger_file_promotes_a_paused_standby_which_replays_what_it_has() {
    let primary = primary_with_table();
    let standby = standby_of(&primary, "paused");
    standby.sql("SELECT pg_wal_replay_pause()");
    standby.wait_for("SELECT pg_get_wal_replay_pause_state()", "paused");
    primary.sql("INSERT INTO t VALUES (101)");
    let end = primary.sql("SELECT pg_current_wal_lsn()");
    standby.wait_for(&format!("SELECT pg_last_wal_receive_lsn() >= '{end}'"), "t");
    let trigger = standby.data().join("take over");
    std::fs::write(&trigger, "").unwrap();
    standby.alter("SET promote_trigger_file = 'take over'");
    standby.wait_for("SELECT pg_is_in_recovery()", "f");
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "101");
    assert!(!trigger.exists());
    for told in ["promote trigger file found: take over", "the promotion ends the pause of replay"] {
        assert!(standby.log().contains(told), "{told}: {}", standby.log());
    }
    // What lies there again asks a primary for nothing.
    std::fs::write(&trigger, "").unwrap();
    standby.sql("INSERT INTO t VALUES (102)");
    assert!(trigger.exists());
}

#[test]
fn a_promotion_in_the_middle_of_a_query_lets_it_go_on() {
    let primary = primary_with_table();
    let standby = standby_of(&primary, "asked");
    let script = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM t; SELECT pg_sleep(2); \
                  SELECT count(*), pg_is_in_recovery() FROM t; COMMIT";
    let asking = background(&standby, script);
    let asks = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid() \
                AND query LIKE '%pg_sleep%'";
    standby.wait_for(asks, "1");
    assert_eq!(standby.sql("SELECT pg_promote()"), "t");
    standby.sql("INSERT INTO t VALUES (101)");
    let said = asking.wait_with_output().unwrap();
    let (rows, errors) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success(), "{errors}");
    assert!(rows.contains("100") && rows.contains("100|f") && !rows.contains("101"), "{rows}");
}

#[test]
fn a_promotion_that_is_not_done_in_time_is_told_by_a_warning() {
    let primary = primary_with_table();
    let standby = standby_of(&primary, "slow");
    standby.alter("SET recovery_end_command = 'while [ ! -e go-on ]; do sleep 0.05; done'");
    let said = standby.psql().args(["-c", "SELECT pg_promote(true, 1)"]).output().unwrap();
    let (rows, errors) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert_eq!(rows.trim(), "f");
    assert_eq!(errors.trim(), "WARNING:  server did not promote within 1 second");
    std::fs::write(standby.data().join("go-on"), "").unwrap();
    standby.wait_for("SELECT pg_is_in_recovery()", "f");
}

#[test]
fn a_paused_standby_receives_without_replaying_until_it_is_resumed() {
    let primary = primary_with_table();
    let standby = standby_of(&primary, "paused");
    let state = "SELECT pg_get_wal_replay_pause_state()";
    assert_eq!(standby.sql(state), "not paused");
    standby.sql("SELECT pg_wal_replay_pause()");
    // An idle standby pauses as well: nothing has to arrive for it.
    standby.wait_for(state, "paused");
    wait_for_log(&standby, 0, "recovery has paused");
    primary.sql("INSERT INTO t VALUES (101)");
    let end = primary.sql("SELECT pg_current_wal_lsn()");
    standby.wait_for(&format!("SELECT pg_last_wal_receive_lsn() >= '{end}'"), "t");
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "100");
    standby.sql("SELECT pg_wal_replay_resume()");
    catch_up(&primary, &standby);
    assert_eq!(standby.sql(&format!("{state}, (SELECT count(*) FROM t)")), "not paused|101");
}

#[test]
fn an_immediate_stop_ends_a_standby_at_once_and_it_recovers() {
    let primary = primary_with_table();
    let standby = standby_of(&primary, "cut");
    for paused in [false, true] {
        if paused {
            standby.sql("SELECT pg_wal_replay_pause()");
        }
        let pid = standby.pid().expect("it runs");
        let began = Instant::now();
        run_ok(plimsoll().args(["stop", "-m", "immediate", "-D"]).arg(standby.data()));
        wait_until("the process is gone", LIMIT, || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if state.is_empty() || state.contains(") Z ") { Ok(()) } else { Err(state) }
        });
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        standby.start();
        primary.sql("INSERT INTO t VALUES (0)");
        catch_up(&primary, &standby);
    }
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "102");
}

#[test]
fn a_cascaded_standby_follows_its_promoted_upstream_on_the_same_connection() {
    let primary = primary_with_table();
    let middle = standby_of(&primary, "middle");
    let last = standby_of(&middle, "last");
    last.wait_for("SELECT status FROM pg_stat_wal_receiver", "streaming");
    let receiver = last.sql("SELECT pid FROM pg_stat_wal_receiver");
    primary.stop();
    assert_eq!(middle.sql("SELECT pg_promote(wait_seconds => 60)"), "t");
    middle.sql("INSERT INTO t SELECT generate_series(101, 150)");
    catch_up(&middle, &last);
    assert_eq!(last.sql("SELECT count(*) FROM t"), "150");
    last.wait_for("SELECT pid, received_tli FROM pg_stat_wal_receiver", &format!("{receiver}|2"));
    assert_eq!(middle.sql("SELECT application_name, state FROM pg_stat_replication"), "last|streaming");
}

#[test]
fn a_standby_goes_over_to_the_next_timeline_once_although_its_upstream_has_not_replayed_so_far() {
    let primary = primary_with_table();
    let middle = standby_of(&primary, "middle");
    let behind = standby_of(&middle, "behind");
    let last = standby_of(&behind, "last");
    last.wait_for("SELECT status FROM pg_stat_wal_receiver", "streaming");
    behind.sql("SELECT pg_wal_replay_pause()");
    behind.wait_for("SELECT pg_get_wal_replay_pause_state()", "paused");
    primary.stop();
    assert_eq!(middle.sql("SELECT pg_promote(wait_seconds => 60)"), "t");
    middle.sql("INSERT INTO t SELECT generate_series(101, 150)");
    let end = middle.sql("SELECT pg_current_wal_flush_lsn()");
    last.wait_for(&format!("SELECT received_tli, flushed_lsn >= '{end}' FROM pg_stat_wal_receiver"), "2|t");
    assert_eq!(last.log().matches("restarted WAL streaming").count(), 1, "{}", last.log());
    behind.sql("SELECT pg_wal_replay_resume()");
    catch_up(&middle, &last);
    assert_eq!(last.sql("SELECT count(*) FROM t"), "150");
}

#[test]
fn the_receiver_names_the_host_that_it_has_reached() {
    let primary = primary_with_table();
    let standby = standby_of(&primary, "choosy");
    // Nobody listens there by the standby's port.
    let (folder, nobody, port) = (primary.folder().display(), standby.port(), primary.port());
    let conninfo = format!("host={folder},{folder} port={nobody},{port} user=postgres");
    standby.alter(&format!("SET primary_conninfo = '{conninfo}'"));
    standby.wait_for(
        "SELECT sender_host, sender_port FROM pg_stat_wal_receiver WHERE conninfo LIKE '%,%'",
        &format!("{folder}|{port}"),
    );
}

#[test]
fn a_standby_restarts_and_answers_while_its_primary_is_down() {
    let primary = primary_with_table();
    let standby = standby_of(&primary, "alone");
    primary.kill_9();
    standby.stop();
    standby.start();
    assert_eq!(standby.sql("SELECT count(*), (SELECT count(*) FROM pg_stat_wal_receiver) FROM t"), "100|0");
    wait_for_log(&standby, 0, "could not connect to the primary server");
    primary.start();
    primary.sql("INSERT INTO t VALUES (101)");
    catch_up(&primary, &standby);
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "101");
}

#[test]
fn feedback_holds_the_slots_xmin_as_long_as_it_is_on() {
    let primary = primary_with_table();
    primary.sql("SELECT pg_create_physical_replication_slot('held')");
    let standby = standby_of(&primary, "reader");
    standby.alter("SET primary_slot_name = 'held'");
    let slot = "SELECT active, xmin IS NOT NULL, catalog_xmin IS NULL FROM pg_replication_slots";
    primary.wait_for(slot, "t|f|t");
    standby.alter("SET hot_standby_feedback = on");
    primary.wait_for(slot, "t|t|t");
    standby.alter("SET hot_standby_feedback = off");
    primary.wait_for(slot, "t|f|t");
    // Without a slot the sender itself says what its standby needs.
    standby.alter("SET primary_slot_name = ''");
    primary.wait_for(slot, "f|f|t");
    wait_for_log(&standby, 0, "WAL receiver process shutdown requested");
    standby.alter("SET hot_standby_feedback = on");
    primary.wait_for("SELECT backend_xmin IS NOT NULL FROM pg_stat_replication", "t");
}

#[test]
fn a_slot_that_falls_too_far_behind_is_lost_loudly_and_so_is_who_needs_it() {
    let primary = Node::builder()
        .init_option("--wal-segsize=1")
        .setting("min_wal_size", "2MB")
        // No checkpoint comes by itself.
        .setting("max_wal_size", "64MB")
        .setting("max_slot_wal_keep_size", "3MB")
        .start();
    primary.sql("CREATE TABLE t (a int)");
    primary.sql("SELECT pg_create_physical_replication_slot('behind', true)");
    let standby = standby_of(&primary, "slow");
    standby.alter("SET primary_slot_name = 'behind'");
    primary.wait_for("SELECT active FROM pg_replication_slots", "t");
    catch_up(&primary, &standby);
    standby.stop();
    let status = "SELECT wal_status FROM pg_replication_slots";
    assert_eq!(primary.sql(status), "reserved");
    for _ in 0..6 {
        primary.sql("INSERT INTO t VALUES (1)");
        primary.sql("SELECT pg_switch_wal()");
    }
    assert_eq!(primary.sql(status), "unreserved");
    primary.sql("CHECKPOINT");
    assert_eq!(primary.sql("SELECT wal_status, restart_lsn IS NULL FROM pg_replication_slots"), "lost|t");
    wait_for_log(&primary, 0, "invalidating slot \"behind\" because its restart_lsn");
    let advanced = primary.try_sql("SELECT pg_replication_slot_advance('behind', '0/1')");
    assert!(advanced.stderr.contains("replication slot \"behind\" cannot be advanced"), "{advanced:?}");
    let from = standby.log().len();
    standby.start();
    wait_for_log(&standby, from, "could not receive data from WAL stream: ERROR:  requested WAL segment");
    wait_for_log(&primary, 0, "has already been removed");
}

#[test]
fn a_standby_without_a_slot_comes_back_if_wal_keep_size_covers_its_absence_and_is_refused_if_not() {
    const KEPT: usize = 8;
    let primary = Node::builder()
        .init_option("--wal-segsize=1")
        .setting("min_wal_size", "2MB")
        // No checkpoint comes by itself.
        .setting("max_wal_size", "64MB")
        .setting("wal_keep_size", &format!("{KEPT}MB"))
        .start();
    primary.sql("CREATE TABLE t (a int)");
    let standby = standby_of(&primary, "away");
    let go_on = |segments: usize| {
        for _ in 0..segments {
            primary.sql("INSERT INTO t VALUES (1)");
            primary.sql("SELECT pg_switch_wal()");
        }
        // The position of this one is in the segment that follows.
        primary.sql("INSERT INTO t VALUES (1)");
        primary.sql("CHECKPOINT");
    };
    // Recycled segments have the names of later ones.
    let before_the_redo_point = || {
        let redo = primary.sql("SELECT redo_wal_file FROM pg_control_checkpoint()");
        let files = std::fs::read_dir(primary.data().join("pg_wal")).expect("a folder").flatten();
        let names = files.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.len() == redo.len() && *name < redo).count()
    };
    let rows = "SELECT count(*) FROM t";

    standby.stop();
    for _ in 0..2 {
        go_on(KEPT / 2 - 1);
    }
    standby.start();
    catch_up(&primary, &standby);
    assert_eq!(standby.sql(rows), primary.sql(rows));
    assert!(!primary.log().contains("has already been removed"), "{}", primary.log());
    go_on(2 * KEPT);
    assert_eq!(before_the_redo_point(), KEPT, "as many as the setting says, and no more");
    catch_up(&primary, &standby);

    standby.stop();
    primary.alter("SET wal_keep_size = 0");
    let from = standby.log().len();
    go_on(KEPT / 2);
    assert_eq!(before_the_redo_point(), 0);
    standby.start();
    let refusal = "could not receive data from WAL stream: ERROR:  requested WAL segment ";
    wait_for_log(&standby, from, refusal);
    wait_for_log(&standby, from, " has already been removed");
    assert_ne!(standby.sql(rows), primary.sql(rows));
}

#[test]
fn clients_find_the_node_that_target_session_attrs_asks_for() {
    let primary = primary_with_table();
    let standby = standby_of(&primary, "reads");
    let choose = |first: &Node, second: &Node, wanted: &str| {
        let hosts = format!(
            "host={},{} port={},{} user=postgres dbname=postgres target_session_attrs={wanted}",
            first.folder().display(),
            second.folder().display(),
            first.port(),
            second.port()
        );
        let mut psql = scenarios::pg_tool("psql");
        let outcome = run(psql.args(["-XAtq", "-d", &hosts, "-c", "SHOW port"]));
        outcome.stdout.trim().parse::<u16>().unwrap_or(0)
    };
    for (attribute, with_primary_first, with_standby_first) in [
        ("any", &primary, &standby),
        ("read-write", &primary, &primary),
        ("read-only", &standby, &standby),
        ("primary", &primary, &primary),
        ("standby", &standby, &standby),
        ("prefer-standby", &standby, &standby),
    ] {
        assert_eq!(choose(&primary, &standby, attribute), with_primary_first.port(), "{attribute}");
        assert_eq!(choose(&standby, &primary, attribute), with_standby_first.port(), "{attribute}");
    }
    assert_eq!(choose(&standby, &standby, "read-write"), 0);
}

#[test]
fn psql_speaks_replication_commands_on_both_kinds_of_connections() {
    let primary = primary_with_table();
    let ask = |mode: &str, command: &str| {
        let info = format!("{} replication={mode}", primary.conninfo());
        run(scenarios::pg_tool("psql").args(["-XAtq", "-d", &info, "-c", command]))
    };
    for mode in ["1", "database"] {
        let name = if mode == "database" { "postgres" } else { "" };
        let system = ask(mode, "IDENTIFY_SYSTEM").stdout;
        let fields: Vec<&str> = system.trim_end().split('|').collect();
        assert_eq!((fields[1], fields[3]), ("1", name), "{system}");
        assert_eq!(ask(mode, "SHOW wal_segment_size").stdout.trim(), "16MB");
        assert!(ask(mode, "SHOW ALL").stdout.contains("wal_segment_size|16MB"), "{mode}");
        assert_eq!(ask(mode, "READ_REPLICATION_SLOT nobody;").stdout.trim(), "||");
        let slot = format!("slot_{mode}");
        let made = ask(mode, &format!("CREATE_REPLICATION_SLOT {slot} PHYSICAL RESERVE_WAL"));
        assert_eq!(made.stdout.trim(), format!("{slot}|0/0||"));
        let read = ask(mode, &format!("READ_REPLICATION_SLOT {slot}")).stdout;
        assert!(read.starts_with("physical|0/") && read.trim_end().ends_with("|1"), "{read}");
        let missing = ask(mode, "TIMELINE_HISTORY 7").stderr;
        assert!(missing.trim_end().ends_with("00000007.history\": No such file or directory"), "{missing}");
    }
    assert_eq!(ask("database", "SELECT count(*) FROM t").stdout.trim(), "100");
    let refused = ask("1", "SELECT 1").stderr;
    assert!(
        refused.contains("cannot execute SQL commands in WAL sender for physical replication"),
        "{refused}"
    );
    assert_eq!(
        primary.sql("SELECT slot_name FROM pg_get_replication_slots() ORDER BY 1"),
        "slot_1\nslot_database"
    );
    primary.sql("SELECT pg_copy_physical_replication_slot('slot_1', 'copied')");
    assert_eq!(
        primary.sql(
            "SELECT count(DISTINCT restart_lsn) FROM pg_replication_slots WHERE slot_name <> 'slot_database'"
        ),
        "1"
    );
}

#[test]
fn a_commit_without_its_standby_shows_as_waiting_until_a_reload_frees_it() {
    let primary = primary_with_table();
    primary.alter("SET synchronous_standby_names = 'nobody'");
    let waiting = background(&primary, "INSERT INTO t VALUES (101)");
    let seen = "SELECT wait_event_type, wait_event FROM pg_stat_activity WHERE query LIKE 'INSERT INTO t VALUES (101)%'";
    primary.wait_for(seen, "IPC|SyncRep");
    assert_eq!(primary.sql("SELECT count(*) FROM t"), "100");
    let refused = primary.try_sql("ALTER SYSTEM SET synchronous_standby_names = 'a b'");
    assert!(
        refused.stderr.contains("invalid value for parameter \"synchronous_standby_names\": \"a b\""),
        "{refused:?}"
    );
    primary.alter("RESET synchronous_standby_names");
    let output = waiting.wait_with_output().expect("psql ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(primary.sql("SELECT count(*) FROM t"), "101");
}

#[test]
fn the_servers_own_parts_are_listed_with_the_sessions() {
    let primary = primary_with_table();
    let standby = standby_of(&primary, "parts");
    let parts = "SELECT string_agg(backend_type, ',') FROM (SELECT DISTINCT backend_type FROM pg_stat_activity ORDER BY 1) AS parts";
    primary.wait_for(parts, "background writer,checkpointer,client backend,walsender,walwriter");
    standby.wait_for(parts, "background writer,checkpointer,client backend,startup,walreceiver");
}

#[test]
fn messages_in_the_log_move_it_and_postgresql_reads_them() {
    let primary = primary_with_table();
    let before = primary.sql("SELECT pg_current_wal_insert_lsn()");
    let end = primary.sql("SELECT pg_logical_emit_message(true, 'note', repeat('x', 3000))");
    assert_eq!(primary.sql(&format!("SELECT '{end}'::pg_lsn - '{before}'::pg_lsn > 3000")), "t");
    let mut dump = scenarios::pg_tool("pg_waldump");
    dump.arg("-p").arg(primary.data().join("pg_wal")).args([
        "-s",
        &before,
        "-e",
        &end,
        "-r",
        "LogicalMessage",
    ]);
    let text = run_ok(&mut dump);
    assert!(text.contains("transactional, prefix \"note\"; payload (3000 bytes)"), "{text}");
}

/// Every message in a segment of a server that has stopped, as PostgreSQL reads it, with how its xid ended.
fn messages(data: &Path, segment: &str) -> Vec<(String, &'static str)> {
    let mut dump = scenarios::pg_tool("pg_waldump");
    dump.arg("-p").arg(data.join("pg_wal")).arg(segment);
    // It ends where the log does, and calls that an error.
    let text = String::from_utf8(dump.output().expect("pg_waldump runs").stdout).expect("text");
    let field = |line: &str, name: &str| {
        let rest = line.split_once(name).map(|(_, rest)| rest.trim_start().to_owned());
        rest.and_then(|rest| rest.split([',', ';', ' ']).next().map(str::to_owned)).unwrap_or_default()
    };
    let ends_with = |xid: &str, outcome: &str| {
        text.lines().filter(|line| line.contains(&format!("desc: {outcome}"))).any(|line| {
            let parts = line.split_once("subxacts:").map_or("", |(_, parts)| parts);
            let parts = parts.split(';').next().unwrap_or_default();
            field(line, "tx:") == xid || parts.split_whitespace().any(|part| part == xid)
        })
    };
    let told = text.lines().filter(|line| line.contains("desc: MESSAGE")).map(|line| {
        let xid = field(line, "tx:");
        let end = match (xid.as_str(), ends_with(&xid, "COMMIT"), ends_with(&xid, "ABORT")) {
            ("0", ..) => "no xid",
            (_, true, false) => "committed",
            (_, false, true) => "aborted",
            _ => "without an outcome",
        };
        (field(line, "prefix").replace('"', ""), end)
    });
    told.collect()
}

#[test]
fn a_transactional_message_stands_or_falls_with_its_transaction_or_savepoint() {
    let primary = primary_with_table();
    let emit = |kind: bool, name: &str| format!("SELECT pg_logical_emit_message({kind}, '{name}', '')");
    primary.sql(&emit(true, "alone"));
    primary.sql(&format!("BEGIN; {}; {}; ROLLBACK", emit(true, "undone"), emit(false, "at_once")));
    primary.sql(&format!(
        "BEGIN; {}; SAVEPOINT a; {}; ROLLBACK TO a; {}; RELEASE a; SAVEPOINT b; {}; COMMIT",
        emit(true, "outside"),
        emit(true, "given_up"),
        emit(true, "after"),
        emit(true, "deeper"),
    ));
    let told = "SELECT pg_current_xact_id()";
    let own = primary
        .sql(&format!("BEGIN; SAVEPOINT a; {}; {told}; RELEASE a; {told}", emit(true, "not_committed")));
    let own: Vec<&str> = own.lines().skip(1).collect();
    assert!(own.len() == 2 && own[0] == own[1], "{own:?}");
    // The commit of a message alone waits as any other does.
    primary.alter("SET synchronous_standby_names = 'nobody'");
    let mut observer = Observer::connect(&primary.conninfo());
    let writer = Session::connect(&primary.conninfo());
    writer.begin(&emit(true, "waits"));
    observer.wait_for_event(writer.pid, "SyncRep");
    observer.value(&format!("SELECT pg_cancel_backend({})", writer.pid));
    assert!(writer.answer().contains("canceling wait for synchronous replication"));
    drop((observer, writer));
    let segment = primary.sql("SELECT pg_walfile_name(pg_current_wal_lsn())");
    primary.stop();
    let expected = [
        ("alone", "committed"),
        ("undone", "aborted"),
        ("at_once", "no xid"),
        ("outside", "committed"),
        ("given_up", "aborted"),
        ("after", "committed"),
        ("deeper", "committed"),
        ("not_committed", "aborted"),
        ("waits", "committed"),
    ];
    assert_eq!(messages(&primary.data(), &segment), expected.map(|(name, end)| (name.to_owned(), end)));
}

#[test]
fn max_wal_size_sets_off_checkpoints_after_a_reload_and_restartpoints_on_a_standby() {
    let primary = Node::builder().init_option("--wal-segsize=1").setting("checkpoint_timeout", "1h").start();
    primary.sql("CREATE TABLE t (i bigserial PRIMARY KEY, filler text)");
    let standby = Node::builder().setting("max_wal_size", "4MB").clone_from(&primary);
    let fill = || {
        primary.sql("INSERT INTO t (filler) SELECT repeat(md5(g::text), 10) FROM generate_series(1, 6000) g")
    };
    fill();
    fill();
    assert!(!primary.log().contains("checkpoint starting: wal"), "max_wal_size is 1 GB");
    primary.alter("SET max_wal_size = '4MB'");
    let seen = |node: &Node, line: &str| {
        let log = node.log();
        if log.contains(line) { Ok(()) } else { Err(log) }
    };
    wait_until("a checkpoint by the log's growth", Duration::from_secs(60), || {
        seen(&primary, "checkpoint starting: wal")
    });
    wait_until("it is done", Duration::from_secs(60), || seen(&primary, "checkpoint complete"));
    // Only a checkpoint record that was replayed can begin a restartpoint, and log behind it makes one due.
    primary.sql("CHECKPOINT");
    fill();
    wait_until("a restartpoint by the log's growth", Duration::from_secs(60), || {
        seen(&standby, "restartpoint starting: wal")
    });
    wait_until("it is done", Duration::from_secs(60), || seen(&standby, "restartpoint complete"));
}

#[test]
fn a_stream_that_ends_for_a_reload_gives_the_archive_no_turn() {
    let primary = primary_with_table();
    let standby = Node::builder()
        .setting("wal_retrieve_retry_interval", "1h")
        .setting("restore_command", "false")
        .clone_from(&primary);
    primary.wait_for("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'", "1");
    standby.alter(&format!("SET primary_conninfo = '{} application_name=other'", primary.conninfo()));
    primary.wait_for("SELECT count(*) FROM pg_stat_replication WHERE application_name = 'other'", "1");
}

//! Replication over real sockets: PostgreSQL's own clients, our standbys, promotion and fencing.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, eventually, standby_of, stop};
use protocol::ClientError;
use server::StopMode;
use std::path::Path;

fn segments(dir: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.len() == 24).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_the_replication_protocol_are_answered() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let mut client = place.connect_with("replication=true").await.unwrap();
    let system = client.query("IDENTIFY_SYSTEM").await.unwrap();
    assert_eq!((system.text(0, 1), system.text(0, 3)), (Some("1"), None));
    assert_eq!(client.query("SHOW data_directory_mode").await.unwrap().text(0, 0), Some("0700"));
    assert_eq!(client.query("SHOW wal_segment_size").await.unwrap().text(0, 0), Some("16MB"));
    let made = client.query("CREATE_REPLICATION_SLOT s PHYSICAL RESERVE_WAL").await.unwrap();
    assert_eq!((made.text(0, 0), made.text(0, 1)), (Some("s"), Some("0/0")));
    let read = client.query("READ_REPLICATION_SLOT s").await.unwrap();
    assert_eq!((read.text(0, 0), read.text(0, 2)), (Some("physical"), Some("1")));
    assert_eq!(client.query("READ_REPLICATION_SLOT none").await.unwrap().text(0, 0), None);
    let error = client.query("CREATE_REPLICATION_SLOT l LOGICAL pgoutput").await.unwrap_err();
    assert_eq!(error.code().unwrap().as_str(), "0A000");
    let error = client.query("TIMELINE_HISTORY 7").await.unwrap_err();
    assert_eq!(error.code().unwrap().as_str(), "58P01");
    let error = client.query("select 1").await.unwrap_err();
    assert_eq!(error.code().unwrap().as_str(), "0A000", "a physical connection takes no SQL");
    let listed = "select slot_name, temporary, wal_status from pg_replication_slots order by 1";
    let temporary = "CREATE_REPLICATION_SLOT t TEMPORARY PHYSICAL (RESERVE_WAL)";
    client.query(temporary).await.unwrap();
    assert_eq!(place.psql(listed).await, "s|f|reserved\nt|t|reserved");
    client.query("TIMELINE_HISTORY 7").await.unwrap_err();
    assert_eq!(place.psql(listed).await, "s|f|reserved", "an error takes it away");
    client.query(temporary).await.unwrap();
    client.close().await;
    eventually(&place, "select count(*) from pg_replication_slots", "1").await;
    let mut both = place.connect_with("replication=database").await.unwrap();
    assert_eq!(both.query("select 1").await.unwrap().text(0, 0), Some("1"));
    assert_eq!(both.query("IDENTIFY_SYSTEM").await.unwrap().text(0, 3), Some("postgres"));
    both.query("DROP_REPLICATION_SLOT s").await.unwrap();
    assert_eq!(place.psql("select count(*) from pg_replication_slots").await, "0");
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_whose_wal_went_unsaid_is_lost_from_the_next_start_on_and_that_is_on_record() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    place.psql("select pg_create_physical_replication_slot('behind', true)").await;
    place.psql("create table t (id int primary key)").await;
    for row in 0..4 {
        place.psql(&format!("insert into t values ({row})")).await;
        place.psql("select pg_switch_wal()").await;
    }
    place.psql("checkpoint").await;
    place.psql("select pg_create_physical_replication_slot('near', true)").await;
    stop(server, StopMode::Immediate).await;
    // One of those between is enough.
    let pg_wal = place.data().join("pg_wal");
    std::fs::remove_file(pg_wal.join(&segments(&pg_wal)[1])).unwrap();
    for start in ["the first", "the second"] {
        let server = place.start(&[]).await;
        let slots = "select slot_name, wal_status from pg_replication_slots order by 1";
        assert_eq!(place.psql(slots).await, "behind|lost\nnear|reserved", "{start}");
        let ledger = std::fs::read_to_string(place.data().join("plimsoll/ledger")).unwrap();
        let entries =
            (ledger.matches(" slot_lost ").count(), ledger.matches("\"behind\": its WAL from ").count());
        assert_eq!(entries, (1, 1), "{start}: {ledger}");
        stop(server, StopMode::Fast).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_receivewal_gets_segments_equal_to_the_byte() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    place.psql("select pg_create_physical_replication_slot('archive', true)").await;
    place.psql("create table t (id int primary key, v text)").await;
    for round in 0..4 {
        place
            .psql(&format!("insert into t select {round} * 1000 + g, 'x' from generate_series(1, 1000) g"))
            .await;
        place.psql("select pg_switch_wal()").await;
    }
    let end = place.psql("select pg_current_wal_insert_lsn()").await;
    // It stops once it has more than was asked for.
    place.psql("insert into t values (0)").await;
    let dir = place.data().parent().unwrap().join("received");
    std::fs::create_dir(&dir).unwrap();
    let arguments = ["-S", "archive", "-D", dir.to_str().unwrap(), "-E", &end, "--no-loop", "--synchronous"];
    place.run_ok("pg_receivewal", &arguments).await;
    let received = segments(&dir);
    assert!(received.len() >= 3, "{received:?}");
    let kept = segments(&place.data().join("pg_wal"));
    for name in received {
        assert!(kept.contains(&name), "{name} is not among {kept:?}");
        let ours = std::fs::read(place.data().join("pg_wal").join(&name)).unwrap();
        assert!(ours == std::fs::read(dir.join(&name)).unwrap(), "{name} differs");
    }
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_follows_serves_reads_and_takes_over() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let (copy, standby) = standby_of(&place, "copy", &[]).await;
    place.psql("insert into t select g from generate_series(1, 5000) g").await;
    eventually(&copy, "select count(*) from t", "5000").await;
    assert_eq!(copy.psql("select pg_is_in_recovery()").await, "t");
    let mut reader = copy.connect().await;
    assert_eq!(reader.parameter("in_hot_standby"), Some("on"));
    assert_eq!(reader.query("insert into t values (0)").await.unwrap_err().code().unwrap().as_str(), "25006");
    let row = place.psql("select application_name, state, sync_state from pg_stat_replication").await;
    assert_eq!(row, "copy|streaming|async");
    assert_eq!(copy.psql("select status from pg_stat_wal_receiver").await, "streaming");

    // The stop hands over the shutdown checkpoint: both logs are equal to the byte.
    stop(primary, StopMode::Fast).await;
    let wal = "pg_wal";
    for name in segments(&place.data().join(wal)) {
        if let Ok(theirs) = std::fs::read(copy.data().join(wal).join(&name)) {
            let ours = std::fs::read(place.data().join(wal).join(&name)).unwrap();
            assert!(ours == theirs, "{name} differs");
        }
    }

    assert_eq!(copy.psql("select pg_promote()").await, "t");
    assert_eq!(reader.query("insert into t values (0)").await.unwrap().tag, "INSERT 0 1");
    assert_eq!(reader.parameter("in_hot_standby"), Some("off"));
    assert_eq!(copy.psql("select count(*) from t").await, "5001");
    for line in [
        "started streaming WAL from primary at",
        "consistent recovery state reached at",
        "database system is ready to accept read-only connections",
        "received promote request",
        "selected new timeline ID: 2",
        "archive recovery complete",
        "database system is ready to accept connections",
    ] {
        assert!(copy.log().contains(line), "{line}");
    }

    // The old primary meets its descendant before it takes a single commit.
    let peers = copy.conninfo();
    let old = place.start(&[("plimsoll.peers", peers.as_str())]).await;
    let mut writer = place.connect().await;
    let refused = writer.query("insert into t values (-1)").await.unwrap_err();
    assert!(refused.to_string().contains("fenced"), "{refused}");
    assert!(place.data().join("plimsoll/fence").exists());
    stop(old, StopMode::Fast).await;
    let old = place.start(&[]).await;
    let mut writer = place.connect().await;
    let refused = writer.query("insert into t values (-1)").await.unwrap_err();
    assert!(refused.to_string().contains("fenced"), "the fence holds through restarts: {refused}");
    stop(old, StopMode::Fast).await;
    stop(standby, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_synchronous_commit_waits_for_its_standby_and_is_seen_only_then() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let (copy, standby) = standby_of(&place, "copy", &[]).await;
    place.psql("alter system set synchronous_standby_names = 'copy'").await;
    place.psql("select pg_reload_conf()").await;
    place.psql("insert into t values (1)").await;
    eventually(&place, "select sync_state from pg_stat_replication", "sync").await;
    stop(standby, StopMode::Fast).await;

    let mut writer = place.connect().await;
    let cancel = writer.cancel_token();
    let waiting = tokio::spawn(async move { (writer.query("insert into t values (2)").await, writer) });
    eventually(&place, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'", "1").await;
    let mut reader = place.connect().await;
    for _ in 0..20 {
        assert_eq!(reader.query("select count(*) from t").await.unwrap().text(0, 0), Some("1"));
    }
    assert!(!waiting.is_finished(), "the commit waits");
    cancel.cancel().await.unwrap();
    let (outcome, mut writer) = waiting.await.unwrap();
    outcome.unwrap();
    assert!(!writer.take_notices().is_empty(), "the session is told that its commit is not confirmed");
    assert_eq!(reader.query("select count(*) from t").await.unwrap().text(0, 0), Some("1"), "still unseen");

    let standby = copy.start(&[("cluster_name", "copy"), ("wal_retrieve_retry_interval", "50ms")]).await;
    eventually(&place, "select count(*) from t", "2").await;
    stop(primary, StopMode::Fast).await;
    stop(standby, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_undecided_commits_wait_for_the_standby_which_can_log_in() {
    let place = Place::new().await;
    let sync = [("synchronous_standby_names", "copy"), ("plimsoll.unconfirmed_timeout", "1h")];
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let (copy, standby) = standby_of(&place, "copy", &[]).await;
    stop(standby, StopMode::Fast).await;
    stop(primary, StopMode::Fast).await;
    let primary = place.start(&sync).await;
    let mut writer = place.connect().await;
    let waiting = tokio::spawn(async move { writer.query("insert into t values (1)").await });
    let event =
        "select max(wait_event) from pg_stat_activity where query like 'insert%' and state = 'active'";
    eventually(&place, event, "SyncRep").await;
    stop(primary, StopMode::Immediate).await;
    assert!(waiting.await.unwrap().is_err());

    let primary = place.start(&sync).await;
    let mut reader = place.connect().await;
    assert_eq!(reader.query("show port").await.unwrap().text(0, 0), Some("5432"), "SHOW does not wait");
    let reading = tokio::spawn(async move { reader.query("select count(*) from t").await });
    let event = "select max(wait_event) from pg_stat_activity where query like 'select count(*) from t' and state = 'active'";
    eventually(&place, event, "CommitUndecided").await;
    assert!(!reading.is_finished(), "a read waits until the commit is decided");
    let standby = copy.start(&[("cluster_name", "copy"), ("wal_retrieve_retry_interval", "50ms")]).await;
    let read = reading.await.unwrap().unwrap();
    assert_eq!(read.text(0, 0), Some("1"));
    assert!(!place.log().contains("released"), "the time was not over");
    stop(primary, StopMode::Fast).await;
    stop(standby, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_given_to_programs_of_this_format_and_the_next_and_refused_to_others() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let ours = wal::format::FORMATS.newest;
    for (number, served) in [(ours, true), (ours + 1, true), (ours - 1, false), (ours + 2, false)] {
        let mut client = place.connect_with("replication=true").await.unwrap();
        let shown = client.show(wal::format::FORMAT_SETTING).await.unwrap();
        assert_eq!(shown, Some(ours.to_string()));
        let command = format!("START_REPLICATION 0/1000000 TIMELINE 1 (plimsoll '{number}')");
        match client.copy_both(&command).await {
            Ok(_) => assert!(served, "format {number} was served"),
            Err(ClientError::Server(report)) => {
                assert!(!served, "format {number}: {report}");
                assert_eq!(report.code.as_str(), "55000");
                let expected = format!(
                    "the standby's program has Plimsoll format {number}, this server writes format {ours}"
                );
                assert_eq!(report.message, expected);
                assert!(report.hint.is_some_and(|hint| hint.contains("upgrade standbys first")));
            }
            Err(other) => panic!("{other}"),
        }
    }
    let mut client = place.connect_with("replication=true").await.unwrap();
    assert_eq!(client.show("plimsoll.no_such_setting").await.unwrap(), None);
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_brings_the_number_and_one_of_before_does_not_start() {
    let primary = Place::new().await;
    let server = primary.start(&[]).await;
    let (standby, follower) = standby_of(&primary, "s1", &[]).await;
    eventually(&primary, "select count(*) from pg_stat_replication", "1").await;
    stop(follower, StopMode::Fast).await;
    let file = standby.data().join(wal::format::FORMAT_FILE);
    assert_eq!(
        std::fs::read(&file).unwrap(),
        std::fs::read(primary.data().join(wal::format::FORMAT_FILE)).unwrap()
    );
    std::fs::remove_file(&file).unwrap();
    let refused = standby.try_start(&[]).await.unwrap_err();
    assert!(refused.message.contains("has Plimsoll format 1"), "{refused:?}");
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reloaded_wal_sender_timeout_reaches_streams_that_run() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    place.psql("alter system set wal_sender_timeout = 0").await;
    server.reload();
    let mut silent = place.connect_with("replication=true application_name=silent").await.unwrap();
    let at = place.psql("select pg_current_wal_flush_lsn()").await;
    silent.copy_both(&format!("START_REPLICATION {at} TIMELINE 1")).await.unwrap();
    let streams = "select count(*) from pg_stat_replication";
    assert_eq!(place.psql(streams).await, "1");
    // It never says a word, and so far it need not.
    place.psql("alter system set wal_sender_timeout = '300ms'").await;
    server.reload();
    eventually(&place, streams, "0").await;
    assert!(place.log().contains("terminating walsender process due to replication timeout"));
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_with_fewer_connections_than_its_primary_serves_and_says_so() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    let (copy, standby) = standby_of(&place, "copy", &[("max_connections", "20")]).await;
    assert_eq!(copy.psql("select pg_is_in_recovery()").await, "t");
    let told = "max_connections = 20 is a lower setting than on the primary server, where its value was 100.";
    assert_eq!(copy.log().matches(told).count(), 1, "at the start");
    assert_eq!(copy.psql("select pg_promote()").await, "t");
    assert_eq!(copy.log().matches(told).count(), 2, "and when it becomes the primary");
    stop(standby, StopMode::Fast).await;
    stop(primary, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_give_way_to_a_drop_of_what_they_read_and_to_a_removal_of_versions_and_hear_which() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key, v int); create table u (id int, v int); create index on u (v)").await;
    let (copy, standby) = standby_of(&place, "copy", &[("max_standby_streaming_delay", "0")]).await;
    let end = place.psql("select pg_current_wal_flush_lsn()").await;
    eventually(&copy, &format!("select pg_last_wal_replay_lsn() >= '{end}'"), "t").await;
    let code = |error: &ClientError| error.code().map(|code| code.as_str().to_owned());
    let mut reads_t = copy.connect().await;
    let asleep =
        "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'";
    for (reads, changes, detail) in [
        ("u", "create index on t (v); drop index u_v_idx", "User was holding a relation lock for too long."),
        ("u", "truncate u", "User was holding a relation lock for too long."),
        ("u", "drop table u", "User was holding a relation lock for too long."),
        ("t", "insert into t values (1); delete from t; vacuum t", "row versions that must be removed."),
    ] {
        let begin = format!("begin isolation level repeatable read; select count(*) from {reads}");
        let mut reader = copy.connect().await;
        reader.simple_query(&begin).await.unwrap();
        if reads == "u" {
            let begin = "begin isolation level repeatable read; select count(*) from t";
            reads_t.simple_query(begin).await.unwrap();
        }
        let reading = tokio::spawn(async move { (reader.query("select pg_sleep(60)").await, reader) });
        eventually(&copy, asleep, "1").await;
        for statement in changes.split("; ") {
            place.psql(statement).await;
        }
        let (told, mut reader) = reading.await.unwrap();
        let told = told.unwrap_err();
        assert_eq!(code(&told), Some("40001".to_owned()), "{told}");
        assert!(told.to_string().contains(detail), "{changes}: {told}");
        if reads == "u" {
            reads_t.simple_query("select count(*) from t; rollback").await.unwrap();
        }
        // Its next end is another one.
        reader.simple_query("rollback").await.unwrap();
        let pid = reader.query("select pg_backend_pid()").await.unwrap().text(0, 0).unwrap().to_owned();
        copy.psql(&format!("select pg_terminate_backend({pid})")).await;
        assert_eq!(code(&reader.query("select 1").await.unwrap_err()), Some("57P01".to_owned()));
    }
    let conflicts =
        "select confl_lock, confl_snapshot from pg_stat_database_conflicts where datname = 'postgres'";
    assert_eq!(copy.psql(conflicts).await, "3|1");
    stop(standby, StopMode::Fast).await;
    stop(primary, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_says_more_than_a_standbys_log_does_not_bar_the_primary_that_it_becomes() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let (copy, standby) = standby_of(&place, "copy", &[]).await;
    copy.psql("select pg_create_physical_replication_slot('ahead', true)").await;
    stop(standby, StopMode::Fast).await;
    // As if it had held more of a log that was left while it was down.
    place.psql("select pg_create_physical_replication_slot('ahead', true)").await;
    place.psql("insert into t select generate_series(1, 5000)").await;
    let advance = "select pg_replication_slot_advance('ahead', pg_current_wal_flush_lsn()); checkpoint";
    place.psql(advance).await;
    stop(primary, StopMode::Fast).await;
    let state = |place: &Place| place.data().join("pg_replslot/ahead/state");
    std::fs::copy(state(&place), state(&copy)).unwrap();
    std::fs::remove_file(copy.data().join("standby.signal")).unwrap();
    for _ in 0..2 {
        let server = copy.start(&[("primary_conninfo", "")]).await;
        let ahead = "select restart_lsn <= pg_current_wal_lsn() from pg_replication_slots";
        assert_eq!(copy.psql(ahead).await, "t");
        copy.psql("insert into t select 1 + count(*) from t").await;
        stop(server, StopMode::Immediate).await;
    }
}

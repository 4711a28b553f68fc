//! What is believed when branches of the log change: reports, names, fences.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, eventually, logged, promote_alone, standby_of, stop, stopped_pair};
use protocol::Client;
use protocol::frame::message;
use protocol::replication::{StatusUpdate, WireLsn, encode_extension, encode_status_update};
use server::{Server, StopMode};
use wal::control::{ClusterState, ControlFile};

async fn query_one(client: &mut Client, sql: &str) -> String {
    client.query(sql).await.unwrap().text(0, 0).unwrap_or_default().to_owned()
}

/// Sets something on a server by ALTER SYSTEM and a reload.
async fn alter(place: &Place, setting: &str, value: &str) {
    place.psql(&format!("alter system set {setting} = '{value}'")).await;
    place.psql("select pg_reload_conf()").await;
}

const WAITING: &str = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";

#[tokio::test(flavor = "multi_thread")]
async fn two_streams_to_one_directory_count_once_and_copies_of_one_are_told() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let at = place.psql("select pg_current_wal_flush_lsn()").await;
    let ours = wal::format::FORMATS.newest;
    let stream = async |place: &Place| {
        let mut client = place.connect_with("replication=true application_name=twice").await.unwrap();
        let command = format!("START_REPLICATION {at} TIMELINE 1 (plimsoll '{ours}')");
        client.copy_both(&command).await.unwrap();
        client.queue(|out| message(out, b'd', |out| encode_extension(out, b'D', &77u64.to_be_bytes())));
        client.flush().await.unwrap();
        client
    };
    let reports = async |client: &mut Client, lsn: &str| {
        let lsn = WireLsn::parse(lsn).unwrap();
        let clock = host::Host::real().clock.now();
        let status = StatusUpdate { written: lsn, flushed: lsn, applied: lsn, clock, reply_requested: false };
        client.queue(|out| message(out, b'd', |out| encode_status_update(out, &status)));
        client.flush().await.unwrap();
    };
    alter(&place, "synchronous_standby_names", "FIRST 2 (twice)").await;
    let (mut old, mut new) = (stream(&place).await, stream(&place).await);
    let mut writer = place.connect().await;
    let waiting = tokio::spawn(async move { writer.query("insert into t values (1)").await.map(drop) });
    eventually(&place, WAITING, "1").await;
    let end = place.psql("select pg_current_wal_flush_lsn()").await;
    for client in [&mut old, &mut new] {
        reports(client, &end).await;
    }
    let reported = format!("select count(*) from pg_stat_replication where flush_lsn = '{end}'");
    eventually(&place, &reported, "2").await;
    let states = "select string_agg(sync_state, ' ' order by pid) from pg_stat_replication";
    assert_eq!(place.psql(states).await, "potential sync");
    assert!(!waiting.is_finished(), "one directory has it");
    // The older has answered what came after the newer: it is no leftover.
    logged(&place, "data directories with one id, 000000000000004d").await;
    stop(primary, StopMode::Immediate).await;
    assert!(waiting.await.unwrap().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_more_than_was_sent_confirms_no_commit() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    place.psql("select pg_create_physical_replication_slot('s', true)").await;
    let at = place.psql("select pg_current_wal_flush_lsn()").await;
    let mut liar = place.connect_with("replication=true application_name=liar").await.unwrap();
    liar.copy_both(&format!("START_REPLICATION SLOT \"s\" {at} TIMELINE 1")).await.unwrap();
    let everything = WireLsn::new(i64::MAX as u64);
    let clock = host::Host::real().clock.now();
    let status = StatusUpdate {
        written: everything,
        flushed: everything,
        applied: everything,
        clock,
        reply_requested: false,
    };
    liar.queue(|out| message(out, b'd', |out| encode_status_update(out, &status)));
    liar.flush().await.unwrap();
    alter(&place, "synchronous_standby_names", "*").await;
    eventually(&place, "select flush_lsn <= sent_lsn from pg_stat_replication", "t").await;
    eventually(&place, "select count(*) from pg_stat_replication where sync_state = 'sync'", "1").await;
    assert!(place.log().contains("which it was never sent"), "the lie is told");
    liar.close().await;
    eventually(&place, "select count(*) from pg_stat_replication", "0").await;
    let mut writer = place.connect().await;
    let waiting = tokio::spawn(async move { writer.query("insert into t values (1)").await.map(drop) });
    eventually(&place, WAITING, "1").await;
    assert!(!waiting.is_finished(), "nobody is connected");
    let kept = "select restart_lsn <= pg_current_wal_flush_lsn() from pg_replication_slots";
    assert_eq!(place.psql(kept).await, "t");
    stop(primary, StopMode::Immediate).await;
    assert!(waiting.await.unwrap().is_err());
}

/// A primary with a row that no synchronous standby confirms, and a standby that has it too.
async fn with_a_row_in_doubt() -> (Place, Server, Place, Server) {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let (copy, standby) = standby_of(&place, "copy", &[("plimsoll.unconfirmed_timeout", "-1")]).await;
    alter(&place, "synchronous_standby_names", "ghost").await;
    let mut writer = place.connect().await;
    let waiting = tokio::spawn(async move { writer.query("insert into t values (1)").await.map(drop) });
    eventually(&place, WAITING, "1").await;
    let end = place.psql("select pg_current_wal_flush_lsn()").await;
    eventually(&copy, &format!("select pg_last_wal_replay_lsn() >= '{end}'"), "t").await;
    stop(primary, StopMode::Immediate).await;
    assert!(waiting.await.unwrap().is_err());
    let primary = place.start(&[]).await;
    (place, primary, copy, standby)
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_are_undecided_after_a_promotion_by_the_names_in_force_then_and_later() {
    let (_place, primary, copy, standby) = with_a_row_in_doubt().await;
    stop(primary, StopMode::Immediate).await;
    // Named by a reload of the standby: its start knew of nobody.
    alter(&copy, "synchronous_standby_names", "ghost").await;
    copy.psql("select pg_promote(false)").await;
    eventually(&copy, "select pg_is_in_recovery()", "f").await;
    let mut reader = copy.connect().await;
    let reading = tokio::spawn(async move { query_one(&mut reader, "select count(*) from t").await });
    let event = "select max(wait_event) from pg_stat_activity where query = 'select count(*) from t'";
    eventually(&copy, event, "CommitUndecided").await;
    assert!(!reading.is_finished());
    // With nobody named there is nobody to wait for.
    alter(&copy, "synchronous_standby_names", "").await;
    assert_eq!(reading.await.unwrap(), "1");
    assert!(copy.log().contains("no synchronous standbys are named any more"));
    let ledger = std::fs::read_to_string(copy.data().join("plimsoll/ledger")).unwrap();
    assert!(ledger.contains(" released "), "{ledger}");
    stop(standby, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_names_nobody_records_what_it_shows_without_the_standbys_of_before() {
    let (place, primary, _copy, standby) = with_a_row_in_doubt().await;
    stop(primary, StopMode::Fast).await;
    for start in ["the first", "the second"] {
        let primary = place.start(&[("synchronous_standby_names", "")]).await;
        let mut reader = place.connect().await;
        assert_eq!(query_one(&mut reader, "select count(*) from t").await, "1", "{start}");
        let ledger = std::fs::read_to_string(place.data().join("plimsoll/ledger")).unwrap();
        assert_eq!(ledger.matches(" released 0/").count(), 1, "{start}: {ledger}");
        stop(primary, StopMode::Fast).await;
    }
    stop(standby, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_names_nobody_records_what_it_shows_without_the_standbys_of_before() {
    let (place, primary, copy, standby) = with_a_row_in_doubt().await;
    stop(primary, StopMode::Immediate).await;
    copy.psql("select pg_promote()").await;
    // The other's recovery ends by itself.
    std::fs::write(place.data().join("recovery.signal"), "").unwrap();
    let primary = place.start(&[("synchronous_standby_names", ""), ("restore_command", "false")]).await;
    for place in [&copy, &place] {
        eventually(place, "select pg_is_in_recovery()", "f").await;
        assert_eq!(place.psql("select count(*) from t").await, "1");
        let ledger = std::fs::read_to_string(place.data().join("plimsoll/ledger")).unwrap();
        assert_eq!(ledger.matches(" released 0/").count(), 1, "{ledger}");
    }
    stop(primary, StopMode::Fast).await;
    stop(standby, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_taken_away_stay_in_the_log_until_what_waited_for_them_is_on_record() {
    let (place, primary, _copy, standby) = with_a_row_in_doubt().await;
    // It takes no entry.
    let ledger = place.data().join("plimsoll/ledger");
    drop(std::fs::remove_file(&ledger));
    std::fs::create_dir(&ledger).unwrap();
    alter(&place, "synchronous_standby_names", "").await;
    logged(&place, "stay undecided").await;
    stop(primary, StopMode::Immediate).await;
    std::fs::remove_dir(&ledger).unwrap();
    let primary = place.start(&[]).await;
    let mut reader = place.connect().await;
    assert_eq!(query_one(&mut reader, "select count(*) from t").await, "1");
    let ledger = std::fs::read_to_string(ledger).unwrap();
    assert_eq!(ledger.matches(" released 0/").count(), 1, "{ledger}");
    stop(primary, StopMode::Fast).await;
    stop(standby, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_whose_standbys_are_named_no_more_wait_until_that_is_on_record() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    alter(&place, "synchronous_standby_names", "ghost").await;
    // It takes no entry.
    let ledger = place.data().join("plimsoll/ledger");
    std::fs::create_dir(&ledger).unwrap();
    let mut writer = place.connect().await;
    let waiting = tokio::spawn(async move { writer.query("insert into t values (1)").await.map(drop) });
    eventually(&place, WAITING, "1").await;
    // Who is named has changed, but somebody is.
    alter(&place, "synchronous_standby_names", "another").await;
    alter(&place, "synchronous_standby_names", "").await;
    logged(&place, "commits go on waiting").await;
    assert!(!waiting.is_finished());
    std::fs::remove_dir(&ledger).unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(place.psql("select count(*) from t").await, "1");
    let ledger = std::fs::read_to_string(ledger).unwrap();
    assert_eq!(ledger.matches(" released 0/").count(), 1, "{ledger}");
    eventually(&place, "select synchronous_standby_names from plimsoll_stat_sync", "").await;
    // Nobody waits.
    alter(&place, "synchronous_standby_names", "ghost").await;
    alter(&place, "synchronous_standby_names", "").await;
    eventually(&place, "select mode from plimsoll_stat_sync", "asynchronous").await;
    assert_eq!(place.log().matches("are released since").count(), 1);
    stop(primary, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeatable_read_waits_for_what_is_undecided_too_and_asks_for_its_token() {
    let (place, primary, _copy, standby) = with_a_row_in_doubt().await;
    let mut follower = place.connect().await;
    follower
        .simple_query("set plimsoll.read_after = '1:7F/0'; begin isolation level repeatable read")
        .await
        .unwrap();
    let refused = follower.query("select count(*) from t").await.unwrap_err();
    assert_eq!(refused.code().map(|code| code.as_str().to_owned()), Some("55000".to_owned()), "{refused}");
    let mut reader = place.connect().await;
    reader.query("begin isolation level repeatable read").await.unwrap();
    let reading = tokio::spawn(async move { query_one(&mut reader, "select count(*) from t").await });
    let event = "select max(wait_event) from pg_stat_activity where query = 'select count(*) from t'";
    eventually(&place, event, "CommitUndecided").await;
    assert!(!reading.is_finished());
    alter(&place, "synchronous_standby_names", "").await;
    assert_eq!(reading.await.unwrap(), "1");
    stop(standby, StopMode::Fast).await;
    stop(primary, StopMode::Immediate).await;
}

/// A primary, and the history of a timeline that leaves its own at `fork`.
async fn tell_of_descendant(place: &Place, fork: &str) {
    let mut peer = place.connect_with("replication=true").await.unwrap();
    let told = format!("PLIMSOLL descendant (timeline 2, history '1\t{fork}\ttold by a test\n')");
    peer.query(&told).await.unwrap();
    peer.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_descendant_that_left_where_the_log_has_never_been_fences_nobody() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    tell_of_descendant(&place, "7F/0").await;
    assert!(place.log().contains("that is not believed"));
    place.psql("insert into t values (1)").await;
    assert!(!place.data().join("plimsoll/fence").exists());
    // One that left where the log was is believed.
    let at = place.psql("select pg_current_wal_flush_lsn()").await;
    tell_of_descendant(&place, &at).await;
    assert!(place.data().join("plimsoll/fence").exists());
    let kept = std::fs::read_to_string(place.data().join("plimsoll/heard")).unwrap();
    assert!(kept.contains("told by a test"), "others may ask this server alone, after a crash too: {kept}");
    let mut client = place.connect().await;
    let refused = client.query("insert into t values (2)").await.unwrap_err();
    assert!(refused.to_string().contains("fenced"), "{refused}");
    stop(primary, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_that_a_standby_knows_from_an_archive_alone_fences_nobody() {
    let place = Place::new().await;
    let primary = place.start(&[("plimsoll.fence_probe_interval", "100ms")]).await;
    place.psql("create table t (id int primary key)").await;
    let (copy, standby) = standby_of(&place, "copy", &[]).await;
    eventually(&copy, "select status from pg_stat_wal_receiver", "streaming").await;
    let end = place.psql("select pg_current_wal_flush_lsn()").await;
    eventually(&copy, &format!("select pg_last_wal_replay_lsn() >= '{end}'"), "t").await;
    stop(standby, StopMode::Fast).await;
    // A copy of the primary was promoted elsewhere, and archives into the same place.
    let archive = tempfile::tempdir().unwrap();
    let history = format!("1\t{end}\ta test of the backup\n");
    std::fs::write(archive.path().join("00000002.history"), history).unwrap();
    alter(&place, "plimsoll.peers", &copy.conninfo()).await;
    logged(&place, "cannot tell whether this server was replaced").await;
    let restore = format!("cp {}/%f \"%p\"", archive.path().display());
    let standby = copy.start(&[("restore_command", &restore)]).await;
    // It follows that one, so it refuses the primary and would tell it why.
    logged(&copy, "highest timeline 1 of the primary is behind recovery timeline 2").await;
    let mut peer = copy.connect_with("replication=true").await.unwrap();
    assert_eq!(peer.query("IDENTIFY_SYSTEM").await.unwrap().text(0, 1), Some("2"));
    let answer = peer.query("PLIMSOLL witnessed").await.unwrap();
    assert_eq!((answer.text(0, 0), answer.rows.len()), (Some("1"), 1), "it passes on no other");
    logged(&place, "answers again").await;
    place.psql("insert into t values (1)").await;
    assert!(!place.data().join("plimsoll/fence").exists());
    stop(standby, StopMode::Fast).await;
    stop(primary, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_passes_on_of_what_a_client_tells_only_what_left_where_its_log_has_been() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let (copy, standby) = standby_of(&place, "copy", &[]).await;
    let end = place.psql("select pg_current_wal_flush_lsn()").await;
    eventually(&copy, &format!("select pg_last_wal_replay_lsn() >= '{end}'"), "t").await;
    let mut peer = copy.connect_with("replication=true").await.unwrap();
    let told = async |peer: &mut Client| {
        let answer = peer.query("PLIMSOLL witnessed").await.unwrap();
        (0..answer.rows.len()).map(|row| answer.text(row, 0).unwrap().to_owned()).collect::<Vec<_>>()
    };
    tell_of_descendant(&copy, "7F/0").await;
    assert_eq!(told(&mut peer).await, ["1"]);
    tell_of_descendant(&copy, &end).await;
    let kept = std::fs::read_to_string(copy.data().join("plimsoll/heard")).unwrap();
    assert!(kept.contains("told by a test"), "who told of it may be gone: {kept}");
    assert_eq!(told(&mut peer).await, ["1", "2"]);
    stop(standby, StopMode::Immediate).await;
    let standby = copy.start(&[]).await;
    let mut peer = copy.connect_with("replication=true").await.unwrap();
    assert_eq!(told(&mut peer).await, ["1", "2"], "in the next life, too");
    // The primary that it follows is told by it.
    let mut client = place.connect().await;
    let begun = std::time::Instant::now();
    while client.query("insert into t values ((select count(*) from t))").await.is_ok() {
        assert!(begun.elapsed().as_secs() < 20, "{}", place.log());
        client = place.connect().await;
    }
    assert!(place.log().contains("which was told of it"), "{}", place.log());
    stop(standby, StopMode::Fast).await;
    stop(primary, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_server_does_not_get_out_by_standby_signal_and_a_promotion() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let at = place.psql("select pg_current_wal_flush_lsn()").await;
    tell_of_descendant(&place, &at).await;
    assert!(place.data().join("plimsoll/fence").exists());
    stop(primary, StopMode::Fast).await;
    std::fs::write(place.data().join("standby.signal"), "").unwrap();
    let standby = place.start(&[]).await;
    let mut client = place.connect().await;
    let refused = client.query("select pg_promote()").await.unwrap_err();
    assert!(refused.to_string().contains("this server is fenced"), "{refused}");
    assert!(standby.promote().is_err());
    assert_eq!(query_one(&mut client, "select pg_is_in_recovery()").await, "t");
    stop(standby, StopMode::Fast).await;
    // Who asks while it starts asks in vain, too, and it starts.
    let refused = place.data().join(server::PROMOTION_REFUSED);
    let asks = |control: server::Control| control.promote().unwrap();
    let standby = Server::start_controlled(place.options(&[]), asks).await.unwrap();
    standby.wait_ready().await;
    let mut client = place.connect().await;
    assert_eq!(query_one(&mut client, "select pg_is_in_recovery()").await, "t");
    assert!(std::fs::read_to_string(refused).unwrap().contains("this server is fenced"));
    stop(standby, StopMode::Fast).await;
    // Redo that ends by itself is barred as well.
    std::fs::remove_file(place.data().join("standby.signal")).unwrap();
    std::fs::write(place.data().join("recovery.signal"), "").unwrap();
    let started =
        place.try_start(&[("restore_command", "false"), ("recovery_target_timeline", "current")]).await;
    let ended = match started {
        Ok(server) => server.join().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(ended.to_string().contains("this server is fenced"), "{ended}");
    assert!(!place.data().join("pg_wal/00000002.history").exists(), "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_that_cannot_be_written_is_in_force_and_is_written_when_that_is_possible() {
    let place = Place::new().await;
    let primary = place.start(&[("plimsoll.fence_probe_interval", "100ms")]).await;
    place.psql("create table t (id int primary key)").await;
    let at = place.psql("select pg_current_wal_flush_lsn()").await;
    let fence = place.data().join("plimsoll/fence");
    std::fs::create_dir(&fence).unwrap();
    tell_of_descendant(&place, &at).await;
    assert!(place.log().contains("could not record the fence"), "{}", place.log());
    let mut client = place.connect().await;
    assert!(client.query("insert into t values (1)").await.is_err(), "it is in force");
    std::fs::remove_dir(&fence).unwrap();
    let begun = std::time::Instant::now();
    while !fence.exists() {
        assert!(begun.elapsed().as_secs() < 20, "it is tried again");
        tokio::task::yield_now().await;
    }
    stop(primary, StopMode::Fast).await;
    let again = place.start(&[]).await;
    let mut client = place.connect().await;
    assert!(client.query("insert into t values (1)").await.is_err(), "through restarts");
    stop(again, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_lost_the_history_of_its_timeline_gets_it_from_its_primary_and_follows_on() {
    let place = Place::new().await;
    stop(place.start(&[]).await, StopMode::Fast).await;
    let primary = promote_alone(&place, &[]).await;
    place.psql("create table t (id int primary key)").await;
    let copy = Place::empty();
    let data = copy.data();
    place.run_ok("pg_basebackup", &["-D", data.to_str().unwrap(), "-X", "stream", "-R", "-c", "fast"]).await;
    let own = data.join("pg_wal/00000002.history");
    std::fs::remove_file(&own).unwrap();
    let standby = copy.start(&[]).await;
    eventually(&copy, "select status from pg_stat_wal_receiver", "streaming").await;
    assert_eq!(
        std::fs::read(&own).unwrap(),
        std::fs::read(place.data().join("pg_wal/00000002.history")).unwrap()
    );
    stop(standby, StopMode::Fast).await;
    std::fs::remove_file(&own).unwrap();
    // Without its own, the next timeline is nobody's child.
    stop(primary, StopMode::Fast).await;
    let primary = promote_alone(&place, &[]).await;
    place.psql("insert into t values (1)").await;
    let standby = copy.start(&[("wal_retrieve_retry_interval", "50ms")]).await;
    eventually(&copy, "select count(*) from t", "1").await;
    assert!(own.exists() && data.join("pg_wal/00000003.history").exists());
    stop(standby, StopMode::Fast).await;
    stop(primary, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_promoted_before_it_has_a_byte_of_the_timeline_that_it_follows_is_a_child_of_that() {
    let (place, copy) = stopped_pair().await;
    // The primary goes on alone as timeline 2, of which the standby hears the history only.
    stop(promote_alone(&place, &[]).await, StopMode::Immediate).await;
    let history = |of: &Place, timeline: u32| {
        let name = format!("pg_wal/{timeline:08X}.history");
        std::fs::read_to_string(of.data().join(name)).unwrap()
    };
    let two = history(&place, 2);
    std::fs::write(copy.data().join("pg_wal/00000002.history"), &two).unwrap();
    let standby =
        copy.start(&[("primary_conninfo", ""), ("archive_mode", "on"), ("archive_command", "true")]).await;
    copy.psql("select pg_promote()").await;
    let (three, fork) = (history(&copy, 3), two.split('\t').nth(1).unwrap());
    assert!(three.starts_with(&two), "{three}");
    assert!(three.contains(&format!("\n2\t{fork}\t")), "{three}");
    let at: wal::Lsn = fork.parse().unwrap();
    let size = wal::SegmentSize::new(16 << 20).unwrap();
    let ended = size.segment_of(at).file_name(wal::TimelineId::FIRST, size);
    let pg_wal = copy.data().join("pg_wal");
    assert!(pg_wal.join(format!("{ended}.partial")).exists(), "the file that has the end of timeline 1");
    assert!(!pg_wal.join(ended).exists());
    copy.psql("insert into t values (1)").await;
    stop(standby, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_timeline_that_cannot_be_settled_ends_no_server_and_waits_for_a_checkpoint() {
    let (_place, copy) = stopped_pair().await;
    let standby =
        copy.start(&[("primary_conninfo", ""), ("archive_mode", "on"), ("archive_command", "true")]).await;
    let end: wal::Lsn = copy.psql("select pg_last_wal_replay_lsn()").await.parse().unwrap();
    let size = wal::SegmentSize::new(16 << 20).unwrap();
    let ended = copy.data().join("pg_wal").join(size.segment_of(end).file_name(wal::TimelineId::FIRST, size));
    let aside = ended.with_extension("partial");
    // No file gets this name.
    std::fs::create_dir(&aside).unwrap();
    copy.psql("select pg_promote()").await;
    logged(&copy, "could not settle the segments of timeline 1").await;
    copy.psql("insert into t values (1)").await;
    copy.psql("checkpoint").await;
    assert!(ended.exists(), "it waits for the archive");
    std::fs::remove_dir(&aside).unwrap();
    copy.psql("checkpoint").await;
    assert!(aside.is_file() && !ended.exists());
    eventually(&copy, "select last_archived_wal like '%.partial' from pg_stat_archiver", "t").await;
    stop(standby, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_passes_over_a_branch_whose_history_its_primary_does_not_have() {
    let (place, copy) = stopped_pair().await;
    stop(promote_alone(&place, &[]).await, StopMode::Fast).await;
    let primary = promote_alone(&place, &[]).await;
    // A clone of it has the history of timeline 3 alone.
    let two = place.data().join("pg_wal/00000002.history");
    let text = std::fs::read(&two).unwrap();
    std::fs::remove_file(&two).unwrap();
    place.psql("insert into t values (1)").await;
    let mut asking = place.connect_with("replication=true").await.unwrap();
    let answer = asking.query("TIMELINE_HISTORY 2").await.unwrap();
    assert_eq!(answer.text(0, 1).unwrap().as_bytes(), text);
    let error = asking.query("TIMELINE_HISTORY 1").await.unwrap_err();
    assert!(error.to_string().contains("00000001.history"), "{error}");
    asking.close().await;
    let standby = copy.start(&[("wal_retrieve_retry_interval", "50ms")]).await;
    eventually(&copy, "select count(*) from t", "1").await;
    assert_eq!(std::fs::read(copy.data().join("pg_wal/00000002.history")).unwrap(), text);
    stop(standby, StopMode::Fast).await;
    stop(primary, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_that_broke_off_once_it_was_decided_is_told_and_its_history_archived() {
    let (_, copy) = stopped_pair().await;
    let archives = [("archive_mode", "on"), ("archive_command", "false")];
    let promoted = promote_alone(&copy, &archives).await;
    stop(promoted, StopMode::Immediate).await;
    // As it stands before the signal goes, which is after the control file names the timeline.
    let mut control = ControlFile::load(&host::RealDisk, &copy.data()).unwrap();
    control.state = ClusterState::InArchiveRecovery;
    control.store(&host::RealDisk, &copy.data()).unwrap();
    std::fs::write(copy.data().join("standby.signal"), "").unwrap();
    let mark = copy.data().join("pg_wal/archive_status/00000002.history.ready");
    std::fs::remove_file(&mark).unwrap();
    let standby = copy.start(&archives).await;
    assert!(copy.log().contains("the promotion to timeline 2 broke off"));
    assert!(mark.exists());
    assert_eq!(copy.psql("select pg_promote()").await, "t");
    copy.psql("checkpoint").await;
    assert_eq!(copy.psql("select timeline_id from pg_control_checkpoint()").await, "3");
    stop(standby, StopMode::Fast).await;
    let standby = {
        std::fs::write(copy.data().join("standby.signal"), "").unwrap();
        copy.start(&archives).await
    };
    assert_eq!(copy.log().matches("broke off").count(), 1, "that is over");
    stop(standby, StopMode::Fast).await;
}

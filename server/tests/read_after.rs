//! Reads that follow writes: the position that a commit tells, WAIT FOR LSN, plimsoll.read_after.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, eventually, standby_of, stop};
use protocol::{Client, ClientError};
use server::StopMode;

async fn value(client: &mut Client, sql: &str) -> String {
    client.query(sql).await.unwrap().text(0, 0).unwrap_or_default().to_owned()
}

/// A row by a client that asks for the commit's token.
async fn insert(client: &mut Client, id: i32) -> String {
    client.query("set plimsoll.report_commit_lsn = on").await.unwrap();
    client.query(&format!("insert into t values ({id})")).await.unwrap();
    client.parameter("plimsoll.commit_lsn").unwrap().to_owned()
}

fn error(outcome: Result<impl Sized, ClientError>) -> (String, String) {
    match outcome {
        Err(ClientError::Server(report)) => {
            (report.code.as_str().to_owned(), report.detail.clone().unwrap_or_default())
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("an error was expected"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_tells_its_position_to_a_client_that_asks_and_to_no_other() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let mut client = place.connect().await;
    client.query("create table t (id int primary key)").await.unwrap();
    assert_eq!(client.parameter("plimsoll.commit_lsn"), None, "a stock client sees no extension");
    let token = insert(&mut client, 1).await;
    let end = value(&mut client, "select pg_current_wal_insert_lsn()").await;
    assert_eq!(token, format!("1:{end}"));
    value(&mut client, "select count(*) from t").await;
    assert_eq!(
        client.parameter("plimsoll.snapshot_lsn"),
        Some(token.as_str()),
        "what was read is a token, too"
    );
    assert_eq!(client.parameter("plimsoll.commit_lsn"), Some(token.as_str()), "a read commits nothing");
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_on_a_standby_wait_for_the_commit_that_they_shall_follow() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    let mut writer = place.connect().await;
    writer.query("create table t (id int primary key)").await.unwrap();
    let (copy, standby) = standby_of(&place, "", &[]).await;
    let mut control = copy.connect().await;
    control.query("select pg_wal_replay_pause()").await.unwrap();
    eventually(&copy, "select pg_get_wal_replay_pause_state()", "paused").await;
    let token = insert(&mut writer, 1).await;

    // Without a token the standby shows what it has; with one it does not answer before.
    assert_eq!(value(&mut control, "select count(*) from t").await, "0");
    let late = error(control.query(&format!("wait for lsn '{token}' timeout 1")).await);
    assert_eq!(late.0, "57014");
    let mut reader = copy.connect().await;
    reader.query(&format!("set plimsoll.read_after = '{token}'")).await.unwrap();
    let reading = tokio::spawn(async move { (value(&mut reader, "select count(*) from t").await, reader) });
    let mut waiter = copy.connect().await;
    let wait = format!("wait for lsn '{token}'");
    let waiting = tokio::spawn(async move { waiter.query(&wait).await.map(|_| ()) });
    let events = "select count(*) from pg_stat_activity where wait_event = 'WaitForLsn'";
    eventually(&copy, events, "2").await;
    assert!(!reading.is_finished() && !waiting.is_finished());
    control.query("select pg_wal_replay_resume()").await.unwrap();
    let (count, mut reader) = reading.await.unwrap();
    assert_eq!(count, "1");
    waiting.await.unwrap().unwrap();

    // A wait can be cancelled, and a token that is none is refused when it is set.
    control.query("select pg_wal_replay_pause()").await.unwrap();
    eventually(&copy, "select pg_get_wal_replay_pause_state()", "paused").await;
    let token = insert(&mut writer, 2).await;
    reader.query("set statement_timeout = '20ms'").await.unwrap();
    reader.query(&format!("set plimsoll.read_after = '{token}'")).await.unwrap();
    assert_eq!(error(reader.query("select count(*) from t").await).0, "57014");
    reader.query("reset plimsoll.read_after").await.unwrap();
    assert_eq!(value(&mut reader, "select count(*) from t").await, "1");
    assert_eq!(error(reader.query("set plimsoll.read_after = 'x'").await).0, "22023");
    assert_eq!(error(reader.query("wait for lsn 'x'").await).0, "22023");
    stop(standby, StopMode::Immediate).await;
    stop(primary, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_commit_that_a_failover_lost_is_refused() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    let mut writer = place.connect().await;
    writer.query("create table t (id int primary key)").await.unwrap();
    let (copy, standby) = standby_of(&place, "", &[]).await;
    let kept = insert(&mut writer, 1).await;
    let mut reader = copy.connect().await;
    reader.query(&format!("wait for lsn '{kept}'")).await.unwrap();
    stop(standby, StopMode::Fast).await;
    let lost = insert(&mut writer, 2).await;
    let ahead = error(writer.query("wait for lsn '7/0' timeout 1000").await);
    assert!(ahead.0 == "55000" && ahead.1.starts_with("This server writes the log"), "{ahead:?}");
    stop(primary, StopMode::Immediate).await;

    let promoted = copy.start(&[]).await;
    let mut client = copy.connect().await;
    assert_eq!(value(&mut client, "select pg_promote()").await, "t");
    client.query(&format!("wait for lsn '{kept}'")).await.unwrap();
    let gone = error(client.query(&format!("wait for lsn '{lost}'")).await);
    assert!(gone.0 == "55000" && gone.1.starts_with("This server's branch left timeline 1 at"), "{gone:?}");
    let stranger = error(client.query("wait for lsn '9:0/1'").await);
    assert_eq!(stranger.0, "55000");
    assert!(
        insert(&mut client, 3).await.starts_with("2-"),
        "the token names the new timeline and its branch"
    );
    stop(promoted, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_another_promotion_that_took_the_same_number_is_refused() {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    // Neither can tell the other which number it has taken.
    let nowhere = [("plimsoll.advertised_address", "host=127.0.0.1 port=1")];
    let (left, left_standby) = standby_of(&place, "", &nowhere).await;
    let (right, right_standby) = standby_of(&place, "", &nowhere).await;
    eventually(&place, "select count(*) from pg_stat_replication where state = 'streaming'", "2").await;
    stop(primary, StopMode::Fast).await;
    let mut clients = Vec::new();
    for promoted in [&left, &right] {
        let mut client = promoted.connect().await;
        assert_eq!(value(&mut client, "select pg_promote()").await, "t");
        clients.push(client);
    }
    let mut right_client = clients.pop().unwrap();
    let mut left_client = clients.pop().unwrap();
    let token = insert(&mut left_client, 1).await;
    // Longer than the other's log, so that nothing but the branch tells them apart.
    for id in 2..10 {
        insert(&mut right_client, id).await;
    }
    let wait = format!("wait for lsn '{token}'");
    left_client.query(&wait).await.unwrap();
    let refused = error(right_client.query(&wait).await);
    assert!(refused.0 == "55000" && refused.1.contains("two promotions took the same number"), "{refused:?}");
    right_client.query(&format!("set plimsoll.read_after = '{token}'")).await.unwrap();
    assert_eq!(error(right_client.query("select count(*) from t").await).0, "55000");
    right_client.query("reset plimsoll.read_after").await.unwrap();
    // One that does not say which of the two it means is no token of either.
    let (_, lsn) = token.split_once(':').unwrap();
    let unnamed = error(left_client.query(&format!("wait for lsn '2:{lsn}'")).await);
    assert!(unnamed.0 == "55000" && unnamed.1.contains("which branch of timeline 2"), "{unnamed:?}");
    stop(left_standby, StopMode::Fast).await;
    stop(right_standby, StopMode::Fast).await;
}

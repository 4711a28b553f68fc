//! Advisory locks that are given back before the commit under them is confirmed.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, eventually, stop};
use protocol::Client;
use server::StopMode;
use tokio::task::JoinHandle;

/// Waits for a standby that is not there, and others behind it.
const STALLED: &str = "set synchronous_commit = on; insert into other values (1)";

fn ask(mut client: Client, sql: String) -> JoinHandle<String> {
    tokio::spawn(async move {
        let answers = client.simple_query(&sql).await.unwrap();
        answers.last().and_then(|answer| answer.text(0, 0)).unwrap_or_default().to_owned()
    })
}

/// How lock number N is taken, and the messages that give it back after something was done under it.
const STORIES: [(&str, &[&str]); 4] = [
    ("begin; select pg_advisory_xact_lock(N)", &["commit"]),
    ("begin; select pg_advisory_xact_lock_shared(N)", &["commit"]),
    ("select pg_advisory_lock(N); begin", &["commit", "discard all"]),
    // Its session ends.
    ("select pg_advisory_lock(N); begin", &["commit"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn who_gets_an_advisory_lock_sees_what_was_done_under_it() {
    let place = Place::new().await;
    let primary = place.start(&[("synchronous_commit", "off")]).await;
    place.psql("create table t (n int primary key); create table other (n int)").await;
    place.psql("alter system set synchronous_standby_names = 'ghost'").await;
    place.psql("select pg_reload_conf()").await;
    eventually(&place, "show synchronous_standby_names", "ghost").await;
    let stalled = ask(place.connect().await, STALLED.to_owned());
    eventually(&place, "select count(*) from pg_stat_activity where wait_event = 'SyncRep'", "1").await;

    let mut told = Vec::new();
    for (n, (takes, gives)) in STORIES.into_iter().enumerate() {
        let mut first = place.connect().await;
        let numbered = |sql: &str| sql.replace('N', &n.to_string());
        first.simple_query(&numbered(&format!("{takes}; insert into t values (N)"))).await.unwrap();
        for message in gives {
            // What rests on the commit is answered later, and done at once.
            first.queue(|out| protocol::frontend::query(out, &numbered(message)));
        }
        first.flush().await.unwrap();
        let held = format!("select count(*) from pg_locks where locktype = 'advisory' and objid = {n}");
        if gives.len() > 1 || takes.contains("xact") {
            eventually(&place, &held, "0").await;
        }
        first.close().await;
        eventually(&place, &held, "0").await;
        let mut next = place.connect().await;
        let taken = next.query(&numbered("select pg_try_advisory_lock(N)")).await.unwrap();
        assert_eq!(taken.text(0, 0), Some("t"), "{takes}");
        told.push(ask(next, numbered("select n from t where n = N")));
        let waits = "select count(*) from pg_stat_activity where query like 'select n from t%' and wait_event = 'CommitVisible'";
        eventually(&place, waits, &(n + 1).to_string()).await;
    }
    place.psql("alter system reset synchronous_standby_names").await;
    place.psql("select pg_reload_conf()").await;
    for (n, told) in told.into_iter().enumerate() {
        assert_eq!(told.await.unwrap(), n.to_string());
    }
    stalled.await.unwrap();
    stop(primary, StopMode::Fast).await;
}

//! A panic in a session's own layers ends that session and no other.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

use crate::{InitOptions, Server, ServerOptions, StopMode};
use protocol::{Client, ClientError};
use std::time::Duration;

/// Panics behind the last statement of a simple query whose text asks for it.
pub(super) fn panic_if_asked(sql: &str) {
    assert!(!sql.ends_with("/* panic */"), "injected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_session_ends_it_alone_and_lets_go_of_what_it_held() {
    let dir = tempfile::Builder::new().prefix("plim").tempdir_in("/tmp").unwrap();
    let data = dir.path().join("data");
    crate::init(&InitOptions::new(data.clone())).await.unwrap();
    let options = ServerOptions::new(data)
        .with("unix_socket_directories", dir.path().display().to_string())
        .with("listen_addresses", "")
        .with("shared_buffers", "8MB")
        .with("plimsoll.write_set_limit", "64kB");
    let server = Server::start(options).await.unwrap();
    server.wait_ready().await;
    let conninfo = format!("host={} port=5432 user=postgres dbname=postgres", dir.path().display());
    let connect = || Client::connect_to(&conninfo);
    let mut other = connect().await.unwrap();
    other.query("create table t (id int primary key, v text); create table u (id int)").await.unwrap();
    other.query("insert into t values (1, 'old')").await.unwrap();

    let mut doomed = connect().await.unwrap();
    let told = doomed
        .simple_query(
            "begin isolation level repeatable read; update t set v = 'new' where id = 1; \
             insert into t select n, repeat('x', 1000) from generate_series(2, 500) n; \
             alter table u add column v int; create table w (id int); \
             declare c cursor for select * from t; fetch 1 from c /* panic */",
        )
        .await;
    let Err(ClientError::Server(report)) = told else { panic!("{told:?}") };
    assert_eq!(report.code.to_string(), "XX000");
    assert!(doomed.query("select 1").await.is_err(), "that session is over");

    let free = async {
        other.query("set lock_timeout = '30s'").await.unwrap();
        other
            .query("update t set v = v || ', changed' where id = 1; insert into t values (2, 'mine')")
            .await
            .unwrap();
        other.query("begin; lock table u; create table w (id int); commit").await.unwrap();
        let rows = other.query("select string_agg(v, '; ' order by id) from t").await.unwrap();
        assert_eq!(rows.text(0, 0), Some("old, changed; mine"));
        let sessions = "select count(*) from pg_stat_activity where backend_type = 'client backend'";
        assert_eq!(other.query(sessions).await.unwrap().text(0, 0), Some("1"));
    };
    tokio::time::timeout(Duration::from_secs(60), free).await.unwrap();
    drop((doomed, other));
    server.stop(StopMode::Fast);
    server.join().await.unwrap();
}

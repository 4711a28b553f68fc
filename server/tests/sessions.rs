//! Sessions over a real socket: PostgreSQL's programs and our own client.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

mod common;

use common::{Place, stop};
use protocol::backend::{BackendMessage, Format};
use protocol::frontend::{self, StatementOrPortal};
use protocol::{ClientError, SqlState, TransactionStatus};
use server::StopMode;
use std::time::Duration;

fn code<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    match result {
        Err(ClientError::Server(report)) => report.code.to_string(),
        other => panic!("an error was expected: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_creates_fills_and_queries_a_table() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    place.psql("create table t (id int primary key, v text)").await;
    place.psql("insert into t values (1, 'one'), (2, null), (3, 'three')").await;
    assert_eq!(place.psql("select id, v from t order by id").await, "1|one\n2|\n3|three");
    assert_eq!(place.psql("begin; delete from t where id = 1; rollback; select count(*) from t").await, "3");
    let failed = place.run("psql", &["-X", "-c", "select nothing from t"]).await;
    let text = String::from_utf8_lossy(&failed.stderr);
    assert!(text.contains("ERROR:  column \"nothing\" does not exist") && text.contains('^'), "{text}");
    assert!(place.run_ok("pg_isready", &[]).await.contains("accepting connections"));
    let version = place.psql("show server_version").await;
    assert!(version.starts_with("15."), "{version}");
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_skips_to_its_sync_after_an_error() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let mut client = place.connect().await;
    client.query("create table t (id int primary key)").await.unwrap();
    client.queue(|out| {
        for sql in ["insert into t values (1)", "insert into t values (1)", "insert into t values (2)"] {
            frontend::parse(out, "", sql, &[]);
            frontend::bind(out, "", "", &[], Format::Text, Format::Text);
            frontend::execute(out, "", 0);
        }
        frontend::sync(out);
        frontend::parse(out, "", "select count(*) from t", &[]);
        frontend::bind(out, "", "", &[], Format::Text, Format::Binary);
        frontend::describe(out, StatementOrPortal::Portal(""));
        frontend::execute(out, "", 0);
        frontend::sync(out);
    });
    client.flush().await.unwrap();
    let mut seen = Vec::new();
    let mut counted = None;
    let mut ready = 0;
    while ready < 2 {
        match client.next_message().await.unwrap() {
            BackendMessage::ParseComplete => seen.push('1'),
            BackendMessage::BindComplete => seen.push('2'),
            BackendMessage::CommandComplete(_) => seen.push('C'),
            BackendMessage::RowDescription(_) => seen.push('T'),
            BackendMessage::DataRow(row) => counted = row.bytes(0).map(<[u8]>::to_vec),
            BackendMessage::Error(report) => {
                assert_eq!(report.code, SqlState::new("23505"));
                seen.push('E');
            }
            BackendMessage::ReadyForQuery(status) => {
                assert_eq!(status, TransactionStatus::Idle);
                seen.push('Z');
                ready += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen.into_iter().collect::<String>(), "12C12EZ12TCZ");
    assert_eq!(
        counted,
        Some(0_u64.to_be_bytes().to_vec()),
        "the pipeline was one transaction, undone as a whole"
    );
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_gives_its_rows_by_pieces() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let mut client = place.connect().await;
    client.query("create table t (id int primary key)").await.unwrap();
    client.query("insert into t values (1), (2), (3), (4), (5)").await.unwrap();
    client.query("begin").await.unwrap();
    client.queue(|out| {
        frontend::parse(out, "s", "select id from t where id > $1 order by id", &[]);
        frontend::bind(out, "p", "s", &[Some(b"1")], Format::Text, Format::Text);
        for _ in 0..3 {
            frontend::execute(out, "p", 2);
        }
        frontend::sync(out);
    });
    client.flush().await.unwrap();
    let mut seen = String::new();
    loop {
        match client.next_message().await.unwrap() {
            BackendMessage::DataRow(row) => seen.push_str(row.text(0).unwrap()),
            BackendMessage::PortalSuspended => seen.push('s'),
            BackendMessage::CommandComplete(tag) => seen.push_str(&tag),
            BackendMessage::ReadyForQuery(status) => {
                assert_eq!(status, TransactionStatus::Block);
                break;
            }
            BackendMessage::Error(report) => panic!("{report}"),
            _ => {}
        }
    }
    assert_eq!(seen, "23s45sSELECT 0");
    client.query("commit").await.unwrap();
    client.queue(|out| {
        frontend::execute(out, "p", 0);
        frontend::sync(out);
    });
    assert_eq!(code(client.run_queued().await), "34000", "a portal ends with its transaction");
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_refused_and_the_session_goes_on() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let mut client = place.connect().await;
    let statement = client.prepare("s", "select $1::int + 1", &[]).await.unwrap();
    assert_eq!(client.execute(&statement, &[Some("41")]).await.unwrap().text(0, 0), Some("42"));
    assert_eq!(code(client.execute(&statement, &[]).await), "08P01");
    assert_eq!(code(client.execute(&statement, &[Some("x")]).await), "22P02");
    assert_eq!(code(client.prepare("s", "select 1", &[]).await), "42P05");
    client.queue(|out| frontend::bind(out, "", "missing", &[], Format::Text, Format::Text));
    assert_eq!(code(client.run_queued().await), "26000");
    client.queue(|out| protocol::frame::message(out, b'F', |_| {}));
    client.flush().await.unwrap();
    assert!(matches!(client.next_message().await.unwrap(), BackendMessage::Error(_)));
    assert!(matches!(client.next_message().await.unwrap(), BackendMessage::ReadyForQuery(_)));
    assert_eq!(client.query("select 1").await.unwrap().text(0, 0), Some("1"));
    // A length word over all limits ends the session before anything is kept for it.
    client.queue(|out| out.extend_from_slice(b"Q\x7f\xff\xff\xff"));
    client.flush().await.unwrap();
    match client.next_message().await.unwrap() {
        BackendMessage::Error(report) => assert_eq!(report.code, SqlState::PROTOCOL_VIOLATION),
        other => panic!("{other:?}"),
    }
    assert!(client.next_message().await.is_err());
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_goes_in_and_out_and_back_out_of_an_error() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let mut client = place.connect().await;
    client.query("create table t (id int primary key, v text)").await.unwrap();
    let mut copy = client.copy_in("copy t from stdin").await.unwrap();
    for id in 0..20_000 {
        copy.send(format!("{id}\trow {id}\n").as_bytes()).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), "COPY 20000");
    let mut copy = client.copy_in("copy t from stdin").await.unwrap();
    for _ in 0..20_000 {
        copy.send(b"not a number\tx\n").await.unwrap();
    }
    assert_eq!(code(copy.finish().await), "22P02");
    let copy = client.copy_in("copy t from stdin").await.unwrap();
    copy.abort("no").await.unwrap();
    let (mut rows, mut bytes) = (0, 0);
    let mut out = client.copy_out("copy t to stdout").await.unwrap();
    while let Some(line) = out.next().await.unwrap() {
        rows += 1;
        bytes += line.len();
    }
    assert_eq!((rows, bytes), (20_000, (0..20_000).map(|id| format!("{id}\trow {id}\n").len()).sum()));
    assert_eq!(client.query("select count(*) from t").await.unwrap().text(0, 0), Some("20000"));
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_cancelled_by_request_by_timeout_and_by_an_administrator() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let mut client = place.connect().await;
    let cancel = client.cancel_token();
    let sleeping = tokio::spawn(async move { (client.query("select pg_sleep(60)").await, client) });
    while !sleeping.is_finished() {
        cancel.cancel().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (outcome, mut client) = sleeping.await.unwrap();
    assert_eq!(code(outcome), "57014");

    client.query("set statement_timeout = '20ms'").await.unwrap();
    assert_eq!(code(client.query("select pg_sleep(60)").await), "57014");
    client.query("set statement_timeout = 0").await.unwrap();

    let mut other = place.connect().await;
    let pid = client.key().pid;
    assert!(pid > 4 << 20, "session numbers hit no process: {pid}");
    let seen = other.query(&format!("select state from pg_stat_activity where pid = {pid}")).await.unwrap();
    assert_eq!(seen.text(0, 0), Some("idle"));
    let ended = other.query(&format!("select pg_terminate_backend({pid}, 10000)")).await.unwrap();
    assert_eq!(ended.text(0, 0), Some("t"));
    assert_eq!(code(client.query("select 1").await), "57P01");
    assert!(client.query("select 1").await.is_err());
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_sessions_are_ended_in_time() {
    let place = Place::new().await;
    let server = place.start(&[("idle_in_transaction_session_timeout", "30ms")]).await;
    let mut client = place.connect().await;
    client.query("begin").await.unwrap();
    match client.next_message().await.unwrap() {
        BackendMessage::Error(report) => assert_eq!(report.code, SqlState::new("25P03")),
        other => panic!("{other:?}"),
    }
    let mut client = place.connect_with("options='-c idle_session_timeout=30ms'").await.unwrap();
    match client.next_message().await.unwrap() {
        BackendMessage::Error(report) => assert_eq!(report.code, SqlState::new("57P05")),
        other => panic!("{other:?}"),
    }
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_connections_than_allowed_are_refused() {
    let place = Place::new().await;
    let server = place.start(&[("max_connections", "4"), ("superuser_reserved_connections", "2")]).await;
    let mut boss = place.connect().await;
    boss.query("create role ann login").await.unwrap();
    let _ann = place.connect_with("user=ann").await.unwrap();
    assert_eq!(code(place.connect_with("user=ann").await), "53300");
    let _second = place.connect().await;
    let _third = place.connect().await;
    let refused = place.connect_with("").await;
    assert!(
        refused.as_ref().is_err_and(|error| error.to_string().contains("too many clients")),
        "{refused:?}"
    );
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_pg_hba_decide_who_comes_in() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let mut boss = place.connect().await;
    boss.query("create role ann login password 'sécret'").await.unwrap();
    boss.query("create role bob login").await.unwrap();
    boss.query("create role nil nologin").await.unwrap();
    let hba = "local all postgres trust\nlocal all bert reject\nlocal all all scram-sha-256\n";
    std::fs::write(place.data().join("pg_hba.conf"), hba).unwrap();
    boss.query("select pg_reload_conf()").await.unwrap();
    let mut ann = place.connect_with("user=ann password=sécret").await.unwrap();
    assert_eq!(ann.query("select current_user").await.unwrap().text(0, 0), Some("ann"));
    assert_eq!(ann.parameter("is_superuser"), Some("off"));
    for wrong in ["user=ann password=x", "user=bob password=x", "user=nobody password=x"] {
        assert_eq!(code(place.connect_with(wrong).await), "28P01", "{wrong}");
    }
    for refused in ["user=bert password=x", "user=ann dbname=postgres replication=1 password=sécret"] {
        assert_eq!(code(place.connect_with(refused).await), "28000", "{refused}");
    }
    assert_eq!(code(place.connect_with("user=ann password=sécret dbname=nowhere").await), "3D000");
    assert!(place.log().contains("Role \"nobody\" does not exist."), "the log says why");
    // A broken file leaves the rules as they were.
    std::fs::write(place.data().join("pg_hba.conf"), "local all all magic\n").unwrap();
    boss.query("select pg_reload_conf()").await.unwrap();
    assert!(place.connect_with("user=ann password=sécret").await.is_ok());
    assert!(place.log().contains("pg_hba.conf was not reloaded"));
    let output = place.run("psql", &["-X", "-w", "-U", "ann", "-c", "select 1"]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("no password supplied"));
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_shown_set_reported_and_altered() {
    let place = Place::new().await;
    let server = place.start(&[("work_mem", "5MB")]).await;
    let mut client =
        place.connect_with("application_name=me options='-c statement_timeout=7s'").await.unwrap();
    let show = async |client: &mut protocol::Client, name: &str| {
        client.query(&format!("show {name}")).await.unwrap().text(0, 0).unwrap().to_owned()
    };
    for (name, value) in [
        ("work_mem", "5MB"),
        ("statement_timeout", "7s"),
        ("application_name", "me"),
        ("wal_segment_size", "16MB"),
    ] {
        assert_eq!(show(&mut client, name).await, value);
    }
    client.query("begin").await.unwrap();
    client.query("set application_name = 'you'").await.unwrap();
    assert_eq!(client.parameter("application_name"), Some("you"));
    client.query("rollback").await.unwrap();
    assert_eq!(client.parameter("application_name"), Some("me"), "a SET that is rolled back is reported too");
    assert_eq!(code(client.query("set shared_buffers = '1GB'").await), "55P02");
    assert_eq!(code(client.query("set workmem = '1GB'").await), "42704");
    client.query("alter system set checkpoint_timeout = '7min'").await.unwrap();
    assert_eq!(show(&mut client, "checkpoint_timeout").await, "5min");
    client.query("select pg_reload_conf()").await.unwrap();
    assert_eq!(show(&mut client, "checkpoint_timeout").await, "7min");
    let row =
        client.query("select setting, unit, source from pg_settings where name = 'checkpoint_timeout'").await;
    let row = row.unwrap();
    assert_eq!(
        (row.text(0, 0), row.text(0, 1), row.text(0, 2)),
        (Some("420"), Some("s"), Some("configuration file"))
    );
    stop(server, StopMode::Fast).await;
}

#[tokio::test]
async fn each_statement_of_a_query_string_has_the_time_that_is_in_force_when_it_begins() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    let mut client = place.connect().await;
    // As PostgreSQL 15 answers each of these.
    for sql in [
        "set statement_timeout = '100ms'; select pg_sleep(30)",
        "set statement_timeout = '100ms'; select pg_sleep(0.06); select pg_sleep(30)",
        "begin; set local statement_timeout = '100ms'; select pg_sleep(30); commit",
        "set statement_timeout = '30s'; set statement_timeout = '100ms'; select pg_sleep(30)",
        "select set_config('statement_timeout', '100ms', false); select pg_sleep(30)",
    ] {
        let error = client.query(sql).await.unwrap_err().to_string();
        assert_eq!(error, "ERROR:  canceling statement due to statement timeout", "{sql}");
        client.query("rollback; reset statement_timeout").await.unwrap();
    }
    for sql in [
        "set statement_timeout = '200ms'; select pg_sleep(0.12); select pg_sleep(0.12)",
        "set statement_timeout = '100ms'; set statement_timeout = 0; select pg_sleep(0.2)",
        "begin; set local statement_timeout = '100ms'; commit; select pg_sleep(0.2)",
    ] {
        client.query(sql).await.unwrap();
        client.query("reset statement_timeout").await.unwrap();
    }
    // A pipeline without Sync in between: a completed Execute ends a statement's time.
    client.queue(|out| {
        for sql in [
            "set statement_timeout = '100ms'",
            "select pg_sleep(0.06)",
            "select pg_sleep(0.06)",
            "select pg_sleep(30)",
        ] {
            frontend::parse(out, "", sql, &[]);
            frontend::bind(out, "", "", &[], Format::Text, Format::Text);
            frontend::execute(out, "", 0);
        }
        frontend::sync(out);
    });
    client.flush().await.unwrap();
    let (mut done, mut errors) = (0, Vec::new());
    loop {
        match client.next_message().await.unwrap() {
            BackendMessage::CommandComplete(_) => done += 1,
            BackendMessage::Error(report) => errors.push(report.code),
            BackendMessage::ReadyForQuery(_) => break,
            _ => {}
        }
    }
    assert_eq!((done, errors), (3, vec![SqlState::new("57014")]));
    stop(server, StopMode::Fast).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reloaded_settings_of_the_engine_hold_at_once() {
    let place = Place::new().await;
    let server = place.start(&[]).await;
    place.psql("create table t (id int primary key, v text)").await;
    place.psql("insert into t select g, repeat('x', 1000) from generate_series(1, 1000) g").await;
    place.psql("alter system set deadlock_timeout = '1h'").await;
    stop(server, StopMode::Fast).await;
    let server = place.start(&[]).await;
    let images = async || {
        place.psql("checkpoint").await;
        let before = place.psql("select pg_current_wal_insert_lsn()").await;
        place.psql("update t set v = v || 'y' where id % 7 = 0").await;
        let grown = format!("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{before}')");
        place.psql(&grown).await.parse::<u64>().unwrap()
    };
    let plain = images().await;
    place.psql("alter system set wal_compression = 'lz4'").await;
    server.reload();
    let packed = images().await;
    assert!(packed * 2 < plain, "{packed} bytes after {plain}");

    place.psql("alter system set deadlock_timeout = '100ms'").await;
    server.reload();
    let (mut one, mut two) = (place.connect().await, place.connect().await);
    for (client, id) in [(&mut one, 1), (&mut two, 2)] {
        client.query("begin").await.unwrap();
        client.query(&format!("update t set v = '' where id = {id}")).await.unwrap();
    }
    let crossed = async {
        tokio::join!(
            one.query("update t set v = '' where id = 2"),
            two.query("update t set v = '' where id = 1; rollback")
        )
    };
    let (first, second) = tokio::time::timeout(Duration::from_secs(20), crossed).await.unwrap();
    let codes = [first.err(), second.err()].map(|error| error.and_then(|error| error.code()));
    assert!(codes.iter().flatten().any(|code| code.as_str() == "40P01"), "{codes:?}");
    drop((one, two));
    stop(server, StopMode::Fast).await;
}

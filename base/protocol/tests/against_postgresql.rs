//! The client against a real PostgreSQL 15, which says whether we speak as it does.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking, also in its helpers

use protocol::client::CopyStart;
use protocol::replication::{FromPrimary, StatusUpdate, WireLsn, encode_status_update};
use protocol::{Client, SqlState};
use std::path::Path;
use std::process::{Command, Stdio};

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// A PostgreSQL in a temporary folder, on a socket there.
struct PostgreSql {
    dir: tempfile::TempDir,
}

/// Runs a program of PostgreSQL as a user that it accepts.
fn run(program: &str, args: &[&str]) {
    let root = nix::unistd::geteuid().is_root();
    let program = format!("{BIN}/{program}");
    let mut command = if root {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", &program]);
        command
    } else {
        Command::new(&program)
    };
    let status = command.args(args).current_dir("/tmp").stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{program} {args:?}: {status}");
}

impl PostgreSql {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        if nix::unistd::geteuid().is_root() {
            let postgres = nix::unistd::User::from_name("postgres").unwrap().unwrap();
            nix::unistd::chown(path, Some(postgres.uid), Some(postgres.gid)).unwrap();
        }
        let password = path.join("password");
        std::fs::write(&password, "sécret\n").unwrap();
        std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        let (data, password, socket) = (text(&path.join("data")), text(&password), text(path));
        let pwfile = format!("--pwfile={password}");
        run("initdb", &["-N", "-A", "scram-sha-256", "-U", "boss", &pwfile, "-D", &data]);
        let options = format!("-k {socket} -c listen_addresses= -c fsync=off -c max_wal_senders=4");
        run("pg_ctl", &["start", "-w", "-s", "-D", &data, "-l", &format!("{socket}/log"), "-o", &options]);
        Self { dir }
    }

    fn conninfo(&self, more: &str) -> String {
        format!("host={} user=boss dbname=postgres password=sécret {more}", self.dir.path().display())
    }
}

impl Drop for PostgreSql {
    fn drop(&mut self) {
        run("pg_ctl", &["stop", "-s", "-m", "immediate", "-D", &text(&self.dir.path().join("data"))]);
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[tokio::test]
async fn a_real_server_understands_every_kind_of_exchange() {
    let server = PostgreSql::start();
    let wrong = Client::connect_to(&server.conninfo("password=wrong")).await.unwrap_err();
    assert_eq!(wrong.code(), Some(SqlState::INVALID_PASSWORD), "{wrong}");
    let standby = Client::connect_to(&server.conninfo("target_session_attrs=standby")).await;
    assert!(standby.is_err(), "a primary is no standby");

    let mut client = Client::connect_to(&server.conninfo("application_name=me")).await.unwrap();
    assert!(client.parameter("server_version").unwrap().starts_with("15."));

    let results = client.simple_query("create table t(id int primary key, v text); select 1, null").await;
    let results = results.unwrap();
    assert_eq!((results.len(), results[0].tag.as_str()), (2, "CREATE TABLE"));
    assert_eq!((results[1].text(0, 0), results[1].text(0, 1)), (Some("1"), None));

    let error = client.query("select 1/0").await.unwrap_err();
    assert_eq!(error.code(), SqlState::parse(b"22012"));
    client.query("do $$begin raise notice 'hello'; end$$").await.unwrap();
    assert_eq!(client.take_notices()[0].message, "hello");

    let insert = client.prepare("i", "insert into t values ($1, $2)", &[]).await.unwrap();
    assert_eq!(insert.parameter_types, [23, 25]);
    for id in ["1", "2", "3"] {
        client.queue_execute(&insert, &[Some(id), None]);
    }
    let results = client.run_queued().await.unwrap();
    assert_eq!(results.iter().map(protocol::client::QueryResult::row_count).sum::<u64>(), 3);
    assert!(client.execute(&insert, &[Some("1"), None]).await.is_err(), "a duplicate key");

    let mut copy = client.copy_in("copy t from stdin").await.unwrap();
    for id in 10..20_000 {
        copy.send(format!("{id}\tvalue {id}\n").as_bytes()).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), "COPY 19990");
    let copy = client.copy_in("copy t from stdin").await.unwrap();
    copy.abort("changed my mind").await.unwrap();
    let mut rows = 0;
    let mut copy = client.copy_out("copy t to stdout").await.unwrap();
    while copy.next().await.unwrap().is_some() {
        rows += 1;
    }
    assert_eq!(rows, 19993);

    let cancel = client.cancel_token();
    let sleeping = tokio::spawn(async move { (client.query("select pg_sleep(60)").await, client) });
    let (outcome, _client) = loop {
        cancel.cancel().await.unwrap();
        if sleeping.is_finished() {
            break sleeping.await.unwrap();
        }
    };
    assert_eq!(outcome.unwrap_err().code(), Some(SqlState::QUERY_CANCELED));
}

#[tokio::test]
async fn a_real_server_streams_its_log_to_us() {
    let server = PostgreSql::start();
    let mut client = Client::connect_to(&server.conninfo("replication=true")).await.unwrap();
    let system = client.query("IDENTIFY_SYSTEM").await.unwrap();
    let end = WireLsn::parse(system.text(0, 2).unwrap()).unwrap();
    let start = WireLsn::new(end.get() - end.get() % (16 << 20));
    let command = format!("START_REPLICATION PHYSICAL {start} TIMELINE 1");
    let CopyStart::Streaming(mut stream) = client.copy_both(&command).await.unwrap() else {
        panic!("no stream")
    };
    let mut at = start;
    while at < end {
        let payload = stream.next().await.unwrap().unwrap();
        if let FromPrimary::Data { start, wal, .. } = FromPrimary::decode(&payload).unwrap() {
            assert_eq!(start, at, "the stream has no gaps");
            at = WireLsn::new(at.get() + wal.len() as u64);
        }
    }
    let status = StatusUpdate {
        written: at,
        flushed: at,
        applied: at,
        clock: host::Timestamp::default(),
        reply_requested: true,
    };
    stream.queue(|out| encode_status_update(out, &status));
    stream.flush().await.unwrap();
    loop {
        let payload = stream.next().await.unwrap().unwrap();
        if let FromPrimary::Keepalive(_) = FromPrimary::decode(&payload).unwrap() {
            break;
        }
    }
    stream.finish().await.unwrap();
    assert_eq!(client.query("SHOW wal_segment_size").await.unwrap().text(0, 0), Some("16MB"));
}

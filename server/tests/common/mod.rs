//! A server in a temporary folder, and PostgreSQL's programs on it.

// A test fails by panicking, also in its helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use host::sync::Mutex;
use protocol::Client;
use server::{InitOptions, Server, ServerError, ServerOptions, StopMode};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

/// A data directory with a short path, as Unix sockets need it, and what its servers logged.
pub struct Place {
    dir: tempfile::TempDir,
    log: Arc<Mutex<String>>,
}

impl Place {
    /// A fresh directory, initialised.
    pub async fn new() -> Self {
        let place = Self::empty();
        server::init(&InitOptions::new(place.data())).await.expect("init succeeds");
        place
    }

    /// A folder without a data directory.
    pub fn empty() -> Self {
        let dir = tempfile::Builder::new().prefix("plim").tempdir_in("/tmp").unwrap();
        Self { dir, log: Arc::default() }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn options(&self, settings: &[(&str, &str)]) -> ServerOptions {
        let log = self.log.clone();
        let mut options = ServerOptions {
            log: Arc::new(move |lines| {
                eprint!("{lines}");
                log.lock().push_str(lines);
            }),
            ..ServerOptions::new(self.data())
        }
        .with("unix_socket_directories", self.dir.path().display().to_string())
        .with("listen_addresses", "")
        .with("shared_buffers", "8MB");
        for (name, value) in settings {
            options = options.with(name, *value);
        }
        options
    }

    pub async fn start(&self, settings: &[(&str, &str)]) -> Server {
        let server = self.try_start(settings).await.expect("the server starts");
        server.wait_ready().await;
        server
    }

    pub async fn try_start(&self, settings: &[(&str, &str)]) -> Result<Server, ServerError> {
        Server::start(self.options(settings)).await
    }

    /// What was logged so far.
    pub fn log(&self) -> String {
        self.log.lock().clone()
    }

    /// A connection string for a superuser.
    pub fn conninfo(&self) -> String {
        format!("host={} port=5432 user=postgres dbname=postgres", self.dir.path().display())
    }

    pub async fn connect(&self) -> Client {
        self.connect_with("").await.expect("the server takes connections")
    }

    pub async fn connect_with(&self, more: &str) -> Result<Client, protocol::ClientError> {
        Client::connect_to(&format!("{} {more}", self.conninfo())).await
    }

    /// Runs a program of PostgreSQL against this server.
    pub async fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(format!("/usr/lib/postgresql/15/bin/{program}"));
        command
            .args(arguments)
            .env("PGHOST", self.dir.path())
            .env("PGPORT", "5432")
            .env("PGUSER", "postgres")
            .env("PGDATABASE", "postgres")
            .env("PGCONNECT_TIMEOUT", "20")
            .env_remove("PGPASSWORD")
            .current_dir(self.dir.path());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// The same; the program must succeed. Gives what it printed.
    pub async fn run_ok(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments).await;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program} {arguments:?}: {}\n{out}\n{err}", output.status);
        out.into_owned()
    }

    /// Runs SQL with psql; gives bare rows.
    pub async fn psql(&self, sql: &str) -> String {
        self.run_ok("psql", &["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .await
            .trim_end()
            .to_owned()
    }
}

/// Stops a server and checks that it stopped well.
pub async fn stop(server: Server, mode: StopMode) {
    server.stop(mode);
    server.join().await.expect("the server stops well");
}

/// Waits until `sql` on `place` prints `expected`.
pub async fn eventually(place: &Place, sql: &str, expected: &str) {
    let mut client = place.connect().await;
    let begun = std::time::Instant::now();
    loop {
        let got = client.query(sql).await.unwrap();
        let got = got.text(0, 0).unwrap_or_default().to_owned();
        if got == expected {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{sql}: {got} instead of {expected}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a server has logged this.
pub async fn logged(place: &Place, words: &str) {
    let logged = async {
        while !place.log().contains(words) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), logged).await.unwrap();
}

/// A standby of `primary`, cloned with pg_basebackup and started.
pub async fn standby_of(primary: &Place, name: &str, settings: &[(&str, &str)]) -> (Place, Server) {
    let place = Place::empty();
    let data = place.data();
    let arguments = ["-D", data.to_str().unwrap(), "-X", "stream", "-R", "-c", "fast"];
    primary.run_ok("pg_basebackup", &arguments).await;
    primary.run_ok("pg_verifybackup", &[data.to_str().unwrap()]).await;
    let mut all = vec![("cluster_name", name), ("wal_retrieve_retry_interval", "50ms")];
    all.extend(settings);
    let server = place.start(&all).await;
    (place, server)
}

/// A primary with a table, and a standby that has all of its log; both are stopped.
pub async fn stopped_pair() -> (Place, Place) {
    let place = Place::new().await;
    let primary = place.start(&[]).await;
    place.psql("create table t (id int primary key)").await;
    let (copy, standby) = standby_of(&place, "copy", &[]).await;
    // A fast stop waits for those who stream to have all of the log.
    eventually(&place, "select count(*) from pg_stat_replication where state = 'streaming'", "1").await;
    stop(primary, StopMode::Fast).await;
    stop(standby, StopMode::Fast).await;
    (place, copy)
}

/// Has a server that is stopped follow nobody, and promotes it.
pub async fn promote_alone(place: &Place, settings: &[(&str, &str)]) -> Server {
    std::fs::write(place.data().join("standby.signal"), "").unwrap();
    let alone = [("primary_conninfo", ""), ("wal_keep_size", "64MB")];
    let server = place.start(&[&alone, settings].concat()).await;
    place.psql("select pg_promote()").await;
    server
}

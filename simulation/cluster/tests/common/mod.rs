//! Real servers in folders, and clients that work on all of them.

// A test fails by panicking, also in its helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code)]

use parking_lot::Mutex;
use protocol::Client;
use server::{InitOptions, Server, ServerOptions, StopMode};
use simulator::features::Features;
use simulator::history::{History, State};
use simulator::workload::{self, Clock, Witness, Workload};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// A node of a cluster. Its name is `n` and its number.
pub struct Node {
    pub number: usize,
    dir: tempfile::TempDir,
    server: Option<Server>,
}

impl Node {
    /// An empty folder, with a short path as Unix sockets need it.
    pub fn empty(number: usize) -> Self {
        let dir = tempfile::Builder::new().prefix("plim").tempdir_in("/tmp").expect("a folder");
        Self { number, dir, server: None }
    }

    /// A primary with the clients' tables.
    pub async fn primary() -> Self {
        let mut node = Self::empty(0);
        server::init(&InitOptions::new(node.data())).await.expect("init succeeds");
        node.start().await;
        workload::set_up(&mut node.connect().await, &Features::all()).await.expect("tables");
        node
    }

    /// A standby.
    pub async fn standby(number: usize, of: &Self) -> Self {
        let mut node = Self::empty(number);
        let options = basebackup::clone::CloneOptions::new(of.conninfo(), node.data());
        basebackup::clone::clone(&host::Host::real(), &options, &mut |_| ()).await.expect("a clone");
        node.start().await;
        node
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn conninfo(&self) -> String {
        format!("host={} port=5432 user=postgres dbname=postgres", self.dir.path().display())
    }

    pub async fn start(&mut self) {
        let mut options = ServerOptions { log: Arc::new(|_| ()), ..ServerOptions::new(self.data()) }
            .with("unix_socket_directories", self.dir.path().display().to_string())
            .with("listen_addresses", "")
            .with("shared_buffers", "8MB")
            .with("cluster_name", format!("n{}", self.number))
            .with("wal_retrieve_retry_interval", "50ms")
            .with("plimsoll.unconfirmed_timeout", "-1");
        for (name, value) in workload::SETTINGS {
            options = options.with(name, *value);
        }
        let server = Server::start(options).await.expect("the server starts");
        server.wait_ready().await;
        self.server = Some(server);
    }

    pub async fn stop(&mut self, mode: StopMode) {
        if let Some(server) = self.server.take() {
            server.stop(mode);
            server.join().await.expect("the server stops");
        }
    }

    pub async fn connect(&self) -> Client {
        Client::connect_to(&self.conninfo()).await.expect("a session")
    }

    pub async fn value(&self, sql: &str) -> String {
        let answer = self.connect().await.query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
        answer.text(0, 0).unwrap_or_default().to_owned()
    }

    pub async fn set(&self, name: &str, value: &str) {
        self.value(&format!("ALTER SYSTEM SET {name} = '{value}'")).await;
        self.value("SELECT pg_reload_conf()").await;
    }

    pub async fn state(&self) -> State {
        workload::read_state(&mut self.connect().await).await.expect("the state")
    }

    /// Waits until a query gives a value.
    pub async fn wait_for(&self, sql: &str, expected: &str) {
        until(async || {
            let found = self.value(sql).await;
            if found == expected { Ok(()) } else { Err(format!("{sql}: {found}")) }
        })
        .await;
    }
}

/// Waits until something is so.
pub async fn until(mut ask: impl AsyncFnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while let Err(found) = ask().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{found}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Clients at work.
pub struct Work {
    pub run: Arc<Workload>,
    begun: Instant,
    clients: Vec<JoinHandle<()>>,
}

impl Work {
    pub fn start(
        nodes: Vec<String>,
        seed: u64,
        features: Features,
        (clients, operations_max): (u32, usize),
    ) -> Self {
        let begun = Instant::now();
        let run = Arc::new(Workload {
            nodes,
            seed,
            features,
            clock: Clock::new(move || begun.elapsed().as_millis() as u64),
            witness: Witness::none(),
            rests_until_ms: AtomicU64::new(0),
            history: Arc::new(Mutex::new(History::default())),
            operations_max,
            stop: AtomicBool::new(false),
        });
        let clients = (0..clients).map(|number| tokio::spawn(run.clone().run_client(number))).collect();
        Self { run, begun, clients }
    }

    pub fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// Waits until clients have begun so many operations more.
    pub async fn go_on(&self, operations: usize) {
        let begun = self.run.history.lock().entries().len();
        until(async || {
            let now = self.run.history.lock().entries().len() - begun;
            if now >= operations { Ok(()) } else { Err(format!("{now} operations")) }
        })
        .await;
    }

    /// Waits for the end of the clients. Gives what they did.
    pub async fn end(self) -> History {
        for client in self.clients {
            client.await.expect("a client ends");
        }
        std::mem::take(&mut *self.run.history.lock())
    }
}

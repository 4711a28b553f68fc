//! A real PostgreSQL 15 is the server that is cloned, the tool that verifies the clone, and the standby that
//! starts on it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use basebackup::clone::{
    CloneError, CloneOptions, CloneProgress, MARKER_FILE, Made, Phase, TakenBack, check_target, clone,
    clone_noting,
};
use basebackup::manifest::{Manifest, verify_directory};
use host::{Host, RealDisk};
use protocol::Client;
use protocol::replication::ChecksumAlgorithm;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BIN: &str = "/usr/lib/postgresql/15/bin";

/// Runs a tool; as user postgres when this runs as root, which PostgreSQL refuses.
fn tool(name: &str, arguments: &[&str]) -> String {
    let program = format!("{BIN}/{name}");
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--", &program]);
        command
    } else {
        Command::new(program)
    };
    let output = command.args(arguments).env("LC_ALL", "C").current_dir("/tmp").output();
    let output = output.unwrap_or_else(|error| panic!("PostgreSQL 15 must be installed ({name}): {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{name} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn give_to_postgres(path: &Path) {
    if nix::unistd::geteuid().is_root() {
        let status = Command::new("chown").args(["-R", "postgres"]).arg(path).status().unwrap();
        assert!(status.success());
    }
}

/// A running server, reached by its socket; stopped when dropped.
struct Postgres {
    data: PathBuf,
    sockets: PathBuf,
}

impl Postgres {
    /// A new cluster with small segments.
    fn init(folder: &Path) -> Self {
        give_to_postgres(folder);
        let data = folder.join("primary");
        let directory = data.to_str().unwrap();
        tool("initdb", &["-D", directory, "-A", "trust", "-U", "postgres", "-k", "--wal-segsize=1", "-N"]);
        Self::start(data, folder.to_owned())
    }
    fn start(data: PathBuf, sockets: PathBuf) -> Self {
        let server = Self { data, sockets };
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories={} -c fsync=off -c port={}",
            server.sockets.display(),
            server.port()
        );
        let log = server.sockets.join(format!("log{}", server.port()));
        let (data, log) = (server.data.to_str().unwrap(), log.to_str().unwrap());
        tool("pg_ctl", &["-D", data, "-w", "-l", log, "-o", &options, "start"]);
        server
    }
    /// Only a part of the socket's name.
    fn port(&self) -> u16 {
        if self.data.ends_with("primary") { 5432 } else { 5433 }
    }
    fn conninfo(&self) -> String {
        format!("host={} port={} user=postgres", self.sockets.display(), self.port())
    }
    async fn client(&self) -> Client {
        Client::connect_to(&format!("{} dbname=postgres", self.conninfo())).await.unwrap()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        tool("pg_ctl", &["-D", self.data.to_str().unwrap(), "-m", "immediate", "stop"]);
    }
}

async fn value(client: &mut Client, sql: &str) -> String {
    client.query(sql).await.unwrap().text(0, 0).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_clone_taken_under_load_verifies_and_starts_as_a_standby_that_catches_up() {
    let folder = TempDir::with_prefix("clone").unwrap();
    let primary = Postgres::init(folder.path());
    let mut client = primary.client().await;
    client.query("create table t(id int primary key, v text)").await.unwrap();
    client.query("insert into t select i, repeat('x', 500) from generate_series(1, 20000) i").await.unwrap();
    let mut writer = primary.client().await;
    let load = tokio::spawn(async move {
        for id in 100_000.. {
            let sql = format!("insert into t values ({id}, repeat('y', 500))");
            writer.query(&sql).await.unwrap();
            if id % 50 == 0 {
                writer.query("select pg_switch_wal()").await.unwrap();
            }
        }
    });

    let target = folder.path().join("standby");
    let options = CloneOptions {
        accept_postgresql: true,
        slot: Some("standby_1".to_owned()),
        create_slot: true,
        checksum: ChecksumAlgorithm::Sha256,
        ..CloneOptions::new(primary.conninfo(), &target)
    };
    let mut seen: Vec<CloneProgress> = Vec::new();
    let cloned = clone(&Host::real(), &options, &mut |progress| seen.push(progress)).await.unwrap();
    load.abort();
    let _ = load.await;
    assert!(cloned.end > cloned.start && cloned.wal_records > 0 && cloned.files > 900, "{cloned:?}");
    let phases: Vec<Phase> = seen.iter().map(|progress| progress.phase).collect();
    for phase in [Phase::Checkpoint, Phase::Copying, Phase::Log, Phase::Verifying, Phase::Syncing] {
        assert!(phases.contains(&phase), "{phases:?}");
    }
    assert!(seen.iter().any(|progress| progress.total_bytes.is_some_and(|bytes| bytes > 10 << 20)));

    // A primary made from this does not archive again what its own primary has.
    let size = wal::SegmentSize::new(1 << 20).unwrap();
    let whole = size.segment_of(cloned.start).get()..size.segment_of(cloned.end).get();
    assert!(!whole.is_empty(), "{cloned:?}");
    for segment in whole.map(wal::SegmentNumber::new) {
        let name = segment.file_name(wal::TimelineId::FIRST, size);
        assert!(target.join(wal::archive_status::done_mark(&name)).exists(), "{name}");
    }

    // Ours and theirs find it whole, the log included.
    let manifest = Manifest::parse(&std::fs::read(target.join("backup_manifest")).unwrap()).unwrap();
    assert_eq!(verify_directory(&RealDisk, &target, &manifest).unwrap(), []);
    assert!(!target.join(MARKER_FILE).exists());
    give_to_postgres(&target);
    tool("pg_verifybackup", &[target.to_str().unwrap()]);
    let configuration = std::fs::read_to_string(target.join("postgresql.auto.conf")).unwrap();
    assert!(configuration.contains("primary_slot_name = 'standby_1'"), "{configuration}");

    let expected = value(&mut client, "select count(*) || ' ' || max(id) from t").await;
    let lsn = value(&mut client, "select pg_current_wal_lsn()").await;
    let standby = Postgres::start(target, folder.path().to_owned());
    let mut reader = standby.client().await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while value(&mut reader, &format!("select pg_last_wal_replay_lsn() >= '{lsn}'")).await != "t" {
        assert!(Instant::now() < deadline, "the standby does not catch up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(value(&mut reader, "select pg_is_in_recovery()").await, "t");
    assert_eq!(value(&mut reader, "select count(*) || ' ' || max(id) from t").await, expected);
    assert_eq!(value(&mut client, "select count(*) from pg_stat_replication").await, "1");
}

/// Drops a clone in the middle, and removes what it leaves.
async fn drop_in_the_middle(options: &CloneOptions, client: &mut Client) {
    let target = &options.target;
    let host = Host::real();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut report = move |progress: CloneProgress| {
        if progress.received_bytes > 2 << 20 {
            let _ = sender.send(());
        }
    };
    let mut made = Made::default();
    tokio::select! {
        outcome = clone_noting(&host, options, &mut made, &mut report) => panic!("{outcome:?}"),
        _ = receiver.recv() => {}
    }
    assert!(target.join("base").exists() && !target.join("global/pg_control").exists());
    let deadline = Instant::now() + Duration::from_secs(10);
    while value(client, "select count(*) from pg_replication_slots").await != "0" {
        assert!(Instant::now() < deadline, "the slot goes with its connection");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(check_target(&RealDisk, target), Err(CloneError::Unfinished(_))));
    let error = clone(&Host::real(), options, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, CloneError::Unfinished(_)), "{error}");
    // The unpacker's thread may be at its last chunk still.
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = made.take_back_files(&RealDisk) {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(made.take_back_files(&RealDisk).unwrap(), TakenBack::NothingMarked);
    assert!(!target.exists());
}

#[tokio::test]
async fn a_clone_that_is_refused_or_broken_off_leaves_nothing_that_could_start() {
    let folder = TempDir::with_prefix("clone").unwrap();
    let primary = Postgres::init(folder.path());
    let mut client = primary.client().await;
    let rows = "create table t as select i, repeat('x', 500) from generate_series(1, 20000) i";
    client.query(rows).await.unwrap();
    let target = folder.path().join("standby");

    // A real PostgreSQL's directory is not for us: refused, and removed again, with the slot.
    let options = CloneOptions {
        slot: Some("mine".to_owned()),
        create_slot: true,
        ..CloneOptions::new(primary.conninfo(), &target)
    };
    let error = clone(&Host::real(), &options, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, CloneError::Foreign), "{error}");
    assert!(!target.exists());
    assert_eq!(value(&mut client, "select count(*) from pg_replication_slots").await, "0");

    // A slot that is there already is used, and stays.
    client.query("select pg_create_physical_replication_slot('theirs')").await.unwrap();
    let taken = CloneOptions { slot: Some("theirs".to_owned()), ..options.clone() };
    let error = clone(&Host::real(), &taken, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, CloneError::Foreign), "{error}");
    assert!(!target.exists());
    assert_eq!(value(&mut client, "select slot_name from pg_replication_slots").await, "theirs");
    client.query("select pg_drop_replication_slot('theirs')").await.unwrap();

    // Dropped in the middle: marked, without a control file, and known for what it is.
    let options = CloneOptions {
        accept_postgresql: true,
        max_rate_kilobytes: Some(4096),
        slot: Some("mine".to_owned()),
        create_slot: true,
        ..CloneOptions::new(primary.conninfo(), &target)
    };
    drop_in_the_middle(&options, &mut client).await;

    // The server breaks the backup off: an error, and nothing is left.
    let killer = tokio::spawn(async move {
        let sql = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                   where query like 'BASE_BACKUP%' and backend_type = 'walsender'";
        while value(&mut client, sql).await == "0" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let error = clone(&Host::real(), &options, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, CloneError::Client(_)), "{error}");
    killer.await.unwrap();
    assert!(!target.exists());

    // A directory with something in it is not touched.
    let other = folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("file"), "mine").unwrap();
    let options = CloneOptions::new(primary.conninfo(), &other);
    let error = clone(&Host::real(), &options, &mut |_| {}).await.unwrap_err();
    assert!(matches!(error, CloneError::NotEmpty(_)), "{error}");
    assert_eq!(std::fs::read(other.join("file")).unwrap(), b"mine");
}

#[tokio::test]
async fn a_slot_that_begins_behind_the_stream_leaves_no_gap() {
    let folder = TempDir::with_prefix("clone").unwrap();
    let primary = Postgres::init(folder.path());
    let mut client = primary.client().await;
    client.query("create table t(v text)").await.unwrap();
    let target = folder.path().join("standby");
    let options = CloneOptions {
        accept_postgresql: true,
        slot: Some("standby_1".to_owned()),
        create_slot: true,
        ..CloneOptions::new(primary.conninfo(), &target)
    };
    // The stream is on this thread, and hears nothing of what comes meanwhile.
    let conninfo = format!("{} dbname=postgres", primary.conninfo());
    let mut progress = |step: CloneProgress| {
        if step.phase == Phase::Finishing {
            let conninfo = conninfo.clone();
            let write = async move {
                let mut client = Client::connect_to(&conninfo).await.unwrap();
                client
                    .query("insert into t select repeat('x', 1000) from generate_series(1, 40000)")
                    .await
                    .unwrap();
                client.query("checkpoint").await.unwrap();
                client.query("select pg_switch_wal()").await.unwrap();
                client.query("checkpoint").await.unwrap();
            };
            let run = || {
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(write)
            };
            std::thread::scope(|scope| scope.spawn(run).join().unwrap());
        }
    };
    clone(&Host::real(), &options, &mut progress).await.unwrap();
    let kept_from = value(&mut client, "select pg_walfile_name(restart_lsn) from pg_replication_slots").await;
    let wal = |name: &str| target.join("pg_wal").join(name);
    assert!(wal(&kept_from).exists(), "{kept_from}");
    let first = std::fs::read_dir(target.join("pg_wal")).unwrap();
    let mut names: Vec<String> =
        first.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.len() == 24);
    names.sort();
    assert!(names.len() > 2, "{names:?}");
    give_to_postgres(&target);
    let standby = Postgres::start(target, folder.path().to_owned());
    let lsn = value(&mut client, "select pg_current_wal_lsn()").await;
    let mut reader = standby.client().await;
    let deadline = Instant::now() + Duration::from_secs(60);
    while value(&mut reader, &format!("select pg_last_wal_replay_lsn() >= '{lsn}'")).await != "t" {
        assert!(Instant::now() < deadline, "the standby does not catch up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(value(&mut reader, "select count(*) from t").await, "40000");
}

//! The files that nodes begin with.

use super::{DATA, SEGMENT_BYTES, conninfo, has, id_text};
use crate::machine::{DiskSpeed, Machine, NodeClock};
use crate::workload;
use basebackup::clone::CloneOptions;
use server::InitOptions;
use simulated::{NodeId, World, fiber};
use simulation::VirtualDisk;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::time::Instant;
use wal::SegmentSize;

/// Who may connect: everybody, as the network is the simulation's.
const HBA: &str = "host all all 0.0.0.0/0 trust\nhost replication all 0.0.0.0/0 trust\n";

/// Settings of every node: little memory, small pieces, timeouts that fit a run of some seconds.
const SETTINGS: &[(&str, &str)] = &[
    ("unix_socket_directories", ""),
    ("shared_buffers", "2MB"),
    ("wal_buffers", "256kB"),
    ("max_wal_size", "8MB"),
    ("min_wal_size", "2MB"),
    ("checkpoint_timeout", "30s"),
    ("wal_receiver_status_interval", "1s"),
    ("wal_receiver_timeout", "3s"),
    ("wal_sender_timeout", "3s"),
    ("wal_retrieve_retry_interval", "500ms"),
    ("hot_standby_feedback", "on"),
    ("autovacuum_naptime", "2s"),
    ("log_autovacuum_min_duration", "0"),
    ("max_standby_streaming_delay", "700ms"),
    ("max_wal_senders", "10"),
    ("max_connections", "40"),
    ("plimsoll.memory_limit", "4GB"),
];

/// A data directory that was made and stopped cleanly.
#[derive(Clone, Debug)]
pub struct Image(VirtualDisk);

impl Image {
    /// Makes one. Inside of a simulation, whose life `node` it takes.
    ///
    /// # Errors
    ///
    /// What init says.
    pub async fn make(world: World, node: NodeId, seed: u64) -> Result<Self, String> {
        let files = VirtualDisk::new();
        let clock = Arc::new(NodeClock::new(Instant::now(), 0));
        let machine = Machine::new(&files, &clock, DiskSpeed { sync_us: 0..=0, write_us: 0..=0 }, seed);
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let options = InitOptions {
            host: machine.host.clone(),
            segment_size: SegmentSize::new(SEGMENT_BYTES).ok_or("no such size of segments")?,
            settings: SETTINGS.iter().chain(workload::SETTINGS).map(owned).collect(),
            ..InitOptions::new(DATA)
        };
        let life = world.start(node);
        let made = fiber::run_in(life, "init", async move { server::init(&options).await }).await;
        world.end(node);
        made.map_err(|error| error.to_string())?.map_err(|error| error.message)?;
        let hba = Path::new(DATA).join("pg_hba.conf");
        host::write_file_durably(&files, &hba, HBA.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Self(files))
    }

    /// The files of a node that begins as a primary.
    pub fn primary(&self) -> VirtualDisk {
        self.0.fork()
    }

    /// The files of a standby that begins as a copy of a primary which has never run, and follows it.
    pub fn standby(&self, node: NodeId, upstream: NodeId) -> VirtualDisk {
        let files = self.0.fork();
        // The virtual disk takes it: the folder is there.
        let _ = follow(&files, node, upstream);
        files
    }
}

/// Makes a directory a standby's, as a clone does.
fn follow(files: &VirtualDisk, node: NodeId, upstream: NodeId) -> std::io::Result<()> {
    let conninfo = format!("{} application_name={}", conninfo(upstream), id_text(node));
    let auto = format!("primary_conninfo = '{conninfo}'\n");
    host::write_file_durably(files, &Path::new(DATA).join("postgresql.auto.conf"), auto.as_bytes())?;
    host::write_file_durably(files, &Path::new(DATA).join("standby.signal"), b"")
}

/// Clones a running server into an empty machine.
pub(super) async fn clone(machine: Machine, node: NodeId, from: NodeId) -> Result<(), String> {
    let source = format!("{} application_name={}", conninfo(from), id_text(node));
    let options = CloneOptions::new(source, PathBuf::from(DATA));
    let done = basebackup::clone::clone(&machine.host, &options, &mut |_| ()).await;
    done.map_err(|error| error.to_string())?;
    debug_assert!(has(machine.disk.files(), "standby.signal"), "{} is a standby", id_text(node));
    Ok(())
}

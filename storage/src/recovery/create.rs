//! Making a new database: the part of initdb below SQL.

use crate::changes::log::EngineLog;
use crate::changes::state_page::STATE_EARLY;
use crate::changes::store::{Fault, Store, StoreOptions};
use crate::commit::early_list::EarlyList;
use crate::engine::FIRST_NUMBER;
use crate::error::{log_error, tree_sync_error};
use crate::{CreateOptions, Error, ServerParameters};
use host::{Host, OpenMode};
use std::io;
use std::path::Path;
use std::sync::Arc;
use wal::control::{CATALOG_VERSION, ClusterState, ControlFile};
use wal::format::FORMATS;
use wal::xlog::{CheckPoint, ParameterChange, WalLevel, XlogRecord};
use wal::{Lsn, SystemId, TimelineId, WalWriter, WriteStart, WriterConfig, Xid};

/// The major version, as PG_VERSION files say it.
const VERSION: &[u8] = b"15\n";
/// PostgreSQL's skeleton of a data directory, parents first. base/<database> come besides.
const FOLDERS: [&str; 23] = [
    "base",
    "global",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_multixact",
    "pg_multixact/members",
    "pg_multixact/offsets",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
    "pg_wal/archive_status",
    "pg_xact",
    "plimsoll",
];

impl From<ServerParameters> for ParameterChange {
    fn from(parameters: ServerParameters) -> Self {
        Self {
            max_connections: parameters.max_connections,
            max_worker_processes: parameters.max_worker_processes,
            max_wal_senders: parameters.max_wal_senders,
            max_prepared_xacts: parameters.max_prepared_transactions,
            max_locks_per_xact: parameters.max_locks_per_transaction,
            wal_level: WalLevel::from_number(parameters.wal_level).unwrap_or(WalLevel::Replica),
            wal_log_hints: parameters.wal_log_hints,
            track_commit_timestamp: parameters.track_commit_timestamp,
        }
    }
}

/// The contents of a checkpoint record, with the fields that mean nothing here as a new PostgreSQL cluster
/// has them.
pub(crate) fn checkpoint_contents(
    redo: Lsn,
    timeline: TimelineId,
    previous_timeline: TimelineId,
    next_xid: Xid,
    next_oid: u32,
    unix_seconds: i64,
    full_page_writes: bool,
    online: bool,
) -> CheckPoint {
    CheckPoint {
        redo,
        timeline,
        previous_timeline,
        full_page_writes,
        next_xid,
        next_oid,
        next_multi: 1,
        next_multi_offset: 0,
        oldest_xid: Xid::FIRST_NORMAL.low(),
        oldest_xid_db: 1,
        oldest_multi: 1,
        oldest_multi_db: 1,
        time: unix_seconds,
        oldest_commit_ts_xid: 0,
        newest_commit_ts_xid: 0,
        oldest_active_xid: if online { next_xid.low() } else { 0 },
    }
}

/// PostgreSQL's recipe for a system identifier: the time, and what else tells two clusters of one moment
/// apart.
fn new_system_id(host: &Host) -> SystemId {
    let micros = host.clock.now().unix_micros().max(0) as u64;
    let (seconds, micros) = (micros / 1_000_000, micros % 1_000_000);
    SystemId::new(seconds << 32 | micros << 12 | host.entropy.next_u64() & 0xFFF)
}

fn check_empty(host: &Host, dir: &Path) -> Result<(), Error> {
    match host.disk.list(dir) {
        Ok(entries) if entries.is_empty() => Ok(()),
        Ok(_) => Err(Error::Unusable(format!(
            "directory \"{}\" exists but is not empty; remove or empty it, or choose another",
            dir.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("list directory", dir, error)),
    }
}

/// The log may lie elsewhere, but not in the data directory: there pg_wal is its place.
fn check_wal_dir(host: &Host, dir: &Path, wal_dir: &Path) -> Result<(), Error> {
    let shown = wal_dir.display();
    if !wal_dir.is_absolute() {
        return Err(Error::Unusable(format!("the WAL directory must be an absolute path, not \"{shown}\"")));
    }
    if wal_dir.starts_with(dir) {
        return Err(Error::Unusable(format!(
            "the WAL directory \"{shown}\" must not be in the data directory; choose another"
        )));
    }
    check_empty(host, wal_dir)
}

fn make_folders(host: &Host, dir: &Path, options: &CreateOptions) -> Result<(), Error> {
    let disk = &*host.disk;
    let make =
        |path: &Path| disk.create_dir_all(path).map_err(|error| Error::io("create directory", path, error));
    make(dir)?;
    if let Some(wal_dir) = &options.wal_dir {
        make(wal_dir)?;
        let link = dir.join("pg_wal");
        disk.link_folder(wal_dir, &link).map_err(|error| Error::io("link", &link, error))?;
    }
    for folder in FOLDERS {
        make(&dir.join(folder))?;
    }
    let write_version = |path: &Path| {
        let file = path.join("PG_VERSION");
        let write = || {
            let version = disk.open(&file, OpenMode::CreateNew)?;
            version.write_all_at(VERSION, 0)?;
            version.sync()
        };
        write().map_err(|error| Error::io("write file", &file, error))
    };
    write_version(dir)?;
    FORMATS.write(disk, dir).map_err(|error| Error::Unusable(error.to_string()))?;
    for database in &options.databases {
        let path = dir.join("base").join(database.to_string());
        make(&path)?;
        write_version(&path)?;
    }
    Ok(())
}

/// The first control file: that of a server that was stopped cleanly.
fn control_file(
    host: &Host,
    system_id: SystemId,
    options: &CreateOptions,
    checkpoint: Lsn,
    checkpoint_copy: CheckPoint,
) -> ControlFile {
    let mut nonce = [0; 32];
    host.entropy.fill(&mut nonce);
    ControlFile {
        system_id,
        catalog_version: CATALOG_VERSION,
        state: ClusterState::ShutDown,
        time: checkpoint_copy.time,
        checkpoint,
        checkpoint_copy,
        unlogged_lsn: Lsn::new(1000),
        min_recovery_point: Lsn::INVALID,
        min_recovery_point_timeline: TimelineId::INVALID,
        backup_start_point: Lsn::INVALID,
        backup_end_point: Lsn::INVALID,
        backup_end_required: false,
        parameters: options.parameters.into(),
        segment_size: options.segment_size,
        data_checksums: options.data_checksums,
        toast_max_chunk_size: 0,
        large_object_block_size: 0,
        mock_authentication_nonce: nonce,
    }
}

/// Lays out a new database; see [`crate::Database::create`].
pub(crate) fn create(host: &Host, dir: &Path, options: &CreateOptions) -> Result<SystemId, Error> {
    check_empty(host, dir)?;
    if let Some(wal_dir) = &options.wal_dir {
        check_wal_dir(host, dir, wal_dir)?;
    }
    make_folders(host, dir, options)?;
    let system_id = new_system_id(host);
    let mut config = WriterConfig::new(system_id, TimelineId::FIRST);
    config.segment_size = options.segment_size;
    config.background = false;
    // Segment 0 stays unused, so that no valid position is 0; as PostgreSQL has it.
    let insert_at = Lsn::new(options.segment_size.bytes());
    let start =
        WriteStart { insert_at, previous: Lsn::INVALID, overwrites_contrecord: false, forked_from: None };
    let wal = WalWriter::open(host, &dir.join("pg_wal"), config, start).map_err(log_error)?;
    let insert = |record: XlogRecord| {
        let mut record = record.encode().map_err(|error| Error::Log(error.to_string().into()))?;
        wal.insert(&mut record).map_err(log_error)
    };
    // The first record of a log is a checkpoint, as tools expect; the one that counts follows the first
    // pages.
    let now = host.clock.now();
    let contents = |redo| {
        let (first, xid) = (TimelineId::FIRST, Xid::FIRST_NORMAL);
        checkpoint_contents(redo, first, first, xid, FIRST_NUMBER, now.unix_seconds(), true, false)
    };
    insert(XlogRecord::CheckpointShutdown(contents(wal.set_redo_point_here())))?;
    let store_options = StoreOptions {
        dir: dir.to_path_buf(),
        frames: 256,
        checksums: options.data_checksums,
        full_page_writes: true,
    };
    let store = Store::open(host, store_options)?;
    let log = Arc::new(EngineLog(wal.clone()));
    store.set_log(log.clone());
    store.set_barrier(log);
    {
        let mut writer = store.writer();
        writer.allow_io(true);
        writer.put_state(STATE_EARLY, &EarlyList::default().encode()).map_err(Fault::into_error)?;
    }
    let redo = wal.set_redo_point_here();
    store.flush_before(redo, &mut |_| {})?;
    let checkpoint = insert(XlogRecord::CheckpointShutdown(contents(redo)))?;
    wal.flush(checkpoint.end).map_err(log_error)?;
    let control = control_file(host, system_id, options, checkpoint.start, contents(redo));
    wal.close().map_err(log_error)?;
    host::sync_tree(&*host.disk, dir, false).map_err(tree_sync_error)?;
    if let Some(wal_dir) = &options.wal_dir {
        host::sync_tree(&*host.disk, wal_dir, false).map_err(tree_sync_error)?;
        sync_parent(host, wal_dir)?;
    }
    // Last of all: a directory without a control file is no database.
    control.store(&*host.disk, dir).map_err(|error| Error::Unusable(error.to_string()))?;
    sync_parent(host, dir)?;
    Ok(system_id)
}

/// Makes a directory's own name durable.
fn sync_parent(host: &Host, dir: &Path) -> Result<(), Error> {
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), |parent| {
        host.disk.sync_dir(parent).map_err(|error| Error::io("fsync directory", parent, error))
    })
}

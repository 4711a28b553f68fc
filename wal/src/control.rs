//! global/pg_control: what the server must know before it can read anything else.
//!
//! catalog/pg_control.h, ControlFileData as a C compiler lays it out on 64-bit machines; 296 bytes in a file
//! of 8192, the rest zero:
//!
//! | offset | field | offset | field | offset | field |
//! | ---: | ---- | ---: | ---- | ---: | ---- |
//! | 0 | system_identifier | 152 | backupStartPoint | 212 | floatFormat (at 208) |
//! | 8 | pg_control_version | 160 | backupEndPoint | 216 | blcksz |
//! | 12 | catalog_version_no | 168 | backupEndRequired | 220 | relseg_size |
//! | 16 | state | 172 | wal_level | 224 | xlog_blcksz |
//! | 24 | time | 176 | wal_log_hints | 228 | xlog_seg_size |
//! | 32 | checkPoint | 180 | MaxConnections | 232 | nameDataLen |
//! | 40 | checkPointCopy | 184 | max_worker_processes | 236 | indexMaxKeys |
//! | 128 | unloggedLSN | 188 | max_wal_senders | 240 | toast_max_chunk_size, 0 |
//! | 136 | minRecoveryPoint | 192 | max_prepared_xacts | 244 | loblksize, 0 |
//! | 144 | minRecoveryPointTLI | 196 | max_locks_per_xact | 248 | float8ByVal |
//! |  |  | 200 | track_commit_timestamp | 252 | data_checksum_version |
//! |  |  | 204 | maxAlign | 256 | mock_authentication_nonce, 32 bytes |
//! |  |  |  |  | 288 | crc |
//!
//! toast_max_chunk_size and loblksize are 0 here: a real PostgreSQL server then refuses the directory, and
//! its tools accept it.

use crate::codec::{Fields, PutFields, Short};
use crate::crc::crc32c;
use crate::ids::{Lsn, SegmentSize, SystemId, TimelineId};
use crate::page::PAGE_SIZE;
use crate::record::DATA_PAGE_SIZE;
use crate::xlog::{CheckPoint, ParameterChange, WalLevel};
use host::{Disk, OpenMode, SECTOR_SIZE, durable_rename, overwrite_durably};
use std::io;
use std::path::{Path, PathBuf};

/// PG_CONTROL_VERSION of PostgreSQL 15.
pub const CONTROL_VERSION: u32 = 1300;
/// CATALOG_VERSION_NO of PostgreSQL 15.
pub const CATALOG_VERSION: u32 = 202_209_061;
/// Bytes of the file (PG_CONTROL_FILE_SIZE).
pub const CONTROL_FILE_SIZE: usize = 8192;
/// Bytes that mean something (sizeof(ControlFileData)).
pub const CONTROL_DATA_SIZE: usize = 296;
const _: () = assert!(CONTROL_DATA_SIZE <= SECTOR_SIZE);
/// Where the CRC stands.
const CRC_OFFSET: usize = 288;
/// FLOATFORMAT_VALUE.
const FLOAT_FORMAT: f64 = 1_234_567.0;
/// Blocks of a relation segment file: 1 GiB.
const RELATION_SEGMENT_BLOCKS: u32 = 131_072;

/// What the cluster was doing when the file was written (DBState).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterState {
    /// Starting up.
    Startup,
    /// Shut down cleanly as a primary.
    ShutDown,
    /// Shut down cleanly as a standby.
    ShutDownInRecovery,
    /// Shutting down.
    ShuttingDown,
    /// Recovering after a crash.
    InCrashRecovery,
    /// Following another log: a standby, or a backup that is being restored.
    InArchiveRecovery,
    /// Running as a primary.
    InProduction,
}

impl ClusterState {
    const ALL: [Self; 7] = [
        Self::Startup,
        Self::ShutDown,
        Self::ShutDownInRecovery,
        Self::ShuttingDown,
        Self::InCrashRecovery,
        Self::InArchiveRecovery,
        Self::InProduction,
    ];
    const fn number(self) -> u32 {
        self as u32
    }
    /// Whether a primary left it so that was not stopped: its own log says how new its pages may be.
    pub const fn is_crashed(self) -> bool {
        matches!(self, Self::InProduction | Self::InCrashRecovery)
    }
    /// Whether a standby left it so: the log is what it received, of whatever timeline that was.
    pub const fn is_standbys(self) -> bool {
        matches!(self, Self::InArchiveRecovery | Self::ShutDownInRecovery)
    }
    /// Whether its server was stopped, all pages being what the log up to its end makes of them.
    pub const fn is_at_rest(self) -> bool {
        matches!(self, Self::ShutDown | Self::ShutDownInRecovery)
    }
    /// As pg_controldata prints it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Startup => "starting up",
            Self::ShutDown => "shut down",
            Self::ShutDownInRecovery => "shut down in recovery",
            Self::ShuttingDown => "shutting down",
            Self::InCrashRecovery => "in crash recovery",
            Self::InArchiveRecovery => "in archive recovery",
            Self::InProduction => "in production",
        }
    }
}

/// What is wrong with a control file.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Not a whole file.
    #[error("control file has {found} bytes, expected {CONTROL_FILE_SIZE}")]
    Size {
        /// Its bytes.
        found: usize,
    },
    /// Another major version's file, or no control file at all.
    #[error("control file has version {found}, expected {CONTROL_VERSION} (PostgreSQL 15)")]
    Version {
        /// pg_control_version.
        found: u32,
    },
    /// The bytes are damaged.
    #[error("control file has an incorrect checksum: expected {expected:08X}, found {found:08X}")]
    Crc {
        /// Computed.
        expected: u32,
        /// In the file.
        found: u32,
    },
    /// A field that this build cannot work with.
    #[error("control file has {field} {found}, expected {expected}")]
    Field {
        /// The field's name in PostgreSQL.
        field: &'static str,
        /// What stands there.
        found: u64,
        /// What this build needs.
        expected: &'static str,
    },
    /// A cluster of PostgreSQL's own.
    #[error(
        "\"{dir}\" belongs to a PostgreSQL server: this engine does not read its tables; load a dump instead"
    )]
    Foreign {
        /// Its data directory.
        dir: String,
    },
    /// What stands at this path is no control file that can be used.
    #[error("could not use \"{path}\": {error}")]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        error: Box<ControlError>,
    },
    /// Reading or writing failed.
    #[error("could not access control file \"{path}\": {error}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        error: io::Error,
    },
}

/// The contents of the control file that vary (those that this build fixes are checked when it is read).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlFile {
    /// Tells this cluster from all others.
    pub system_id: SystemId,
    /// catalog_version_no.
    pub catalog_version: u32,
    /// What the cluster was doing.
    pub state: ClusterState,
    /// Seconds since 1970-01-01 UTC of the last update.
    pub time: i64,
    /// Start of the last checkpoint's record.
    pub checkpoint: Lsn,
    /// That record's contents.
    pub checkpoint_copy: CheckPoint,
    /// Fake LSN of unlogged relations; 1000 at least.
    pub unlogged_lsn: Lsn,
    /// Recovery must reach this before anybody reads: no page on disk is newer. 0/0 for a primary.
    pub min_recovery_point: Lsn,
    /// The timeline of that position.
    pub min_recovery_point_timeline: TimelineId,
    /// Redo position of the backup that is being recovered from, until its end is reached.
    pub backup_start_point: Lsn,
    /// End of a backup that was taken from a standby.
    pub backup_end_point: Lsn,
    /// Whether a backup-end record must come before the data is consistent.
    pub backup_end_required: bool,
    /// Settings that recovery and standbys depend on.
    pub parameters: ParameterChange,
    /// wal_segment_size.
    pub segment_size: SegmentSize,
    /// data_checksum_version: whether data pages carry checksums.
    pub data_checksums: bool,
    /// toast_max_chunk_size: 0 in our clusters, 1996 in PostgreSQL's.
    pub toast_max_chunk_size: u32,
    /// loblksize: 0 in our clusters, 2048 in PostgreSQL's.
    pub large_object_block_size: u32,
    /// Seed of the mock authentication of unknown users.
    pub mock_authentication_nonce: [u8; 32],
}

/// The control file's path below the data directory.
pub const CONTROL_FILE: &str = "global/pg_control";

/// The control file's path.
pub fn control_file_path(data_dir: &Path) -> PathBuf {
    data_dir.join(CONTROL_FILE)
}

/// The fields that say how a build lays out its files. Most have one value that this build can work with.
struct Layout {
    max_align: u32,
    float_format: f64,
    block_size: u32,
    segment_blocks: u32,
    wal_block_size: u32,
    wal_segment_size: u32,
    name_len: u32,
    index_keys: u32,
    toast_max_chunk_size: u32,
    large_object_block_size: u32,
    float8_by_value: bool,
}

impl Layout {
    fn parse(fields: &mut Fields<'_>) -> Result<Self, Short> {
        let layout = Self {
            max_align: fields.u32()?,
            float_format: f64::from_le_bytes(fields.array()?),
            block_size: fields.u32()?,
            segment_blocks: fields.u32()?,
            wal_block_size: fields.u32()?,
            wal_segment_size: fields.u32()?,
            name_len: fields.u32()?,
            index_keys: fields.u32()?,
            toast_max_chunk_size: fields.u32()?,
            large_object_block_size: fields.u32()?,
            float8_by_value: fields.bool()?,
        };
        fields.skip(3)?;
        Ok(layout)
    }

    /// Holds the fields with one value to it.
    fn check(&self) -> Result<(), ControlError> {
        let fixed: [(&'static str, u64, u64, &'static str); 8] = [
            ("maxAlign", self.max_align.into(), 8, "8"),
            ("floatFormat", self.float_format.to_bits(), FLOAT_FORMAT.to_bits(), "that of 1234567.0"),
            ("blcksz", self.block_size.into(), DATA_PAGE_SIZE as u64, "8192"),
            ("relseg_size", self.segment_blocks.into(), RELATION_SEGMENT_BLOCKS.into(), "131072"),
            ("xlog_blcksz", self.wal_block_size.into(), PAGE_SIZE as u64, "8192"),
            ("nameDataLen", self.name_len.into(), 64, "64"),
            ("indexMaxKeys", self.index_keys.into(), 32, "32"),
            ("float8ByVal", self.float8_by_value.into(), 1, "1"),
        ];
        let wrong = fixed.into_iter().find(|(_, found, wanted, _)| found != wanted);
        wrong
            .map_or(Ok(()), |(field, found, _, expected)| Err(ControlError::Field { field, found, expected }))
    }
}

impl ControlFile {
    /// The file's 8192 bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CONTROL_FILE_SIZE);
        out.put_u64(self.system_id.get());
        out.put_u32(CONTROL_VERSION);
        out.put_u32(self.catalog_version);
        out.put_u32(self.state.number());
        out.put_zeros(4);
        out.put_i64(self.time);
        out.put_u64(self.checkpoint.get());
        self.checkpoint_copy.put(&mut out);
        out.put_u64(self.unlogged_lsn.get());
        out.put_u64(self.min_recovery_point.get());
        out.put_u32(self.min_recovery_point_timeline.get());
        out.put_zeros(4);
        out.put_u64(self.backup_start_point.get());
        out.put_u64(self.backup_end_point.get());
        out.put_u8(self.backup_end_required.into());
        out.put_zeros(3);
        self.put_parameters(&mut out);
        out.put_u32(8); // maxAlign
        out.put(&FLOAT_FORMAT.to_le_bytes());
        out.put_u32(DATA_PAGE_SIZE as u32);
        out.put_u32(RELATION_SEGMENT_BLOCKS);
        out.put_u32(PAGE_SIZE as u32);
        out.put_u32(u32::try_from(self.segment_size.bytes()).unwrap_or(0));
        out.put_u32(64); // nameDataLen
        out.put_u32(32); // indexMaxKeys
        out.put_u32(self.toast_max_chunk_size);
        out.put_u32(self.large_object_block_size);
        out.put_u8(1); // float8ByVal
        out.put_zeros(3);
        out.put_u32(self.data_checksums.into());
        out.put(&self.mock_authentication_nonce);
        debug_assert_eq!(out.len(), CRC_OFFSET);
        let crc = crc32c(&out);
        out.put_u32(crc);
        out.resize(CONTROL_FILE_SIZE, 0);
        out
    }

    fn put_parameters(&self, out: &mut Vec<u8>) {
        let parameters = &self.parameters;
        out.put_i32(parameters.wal_level.number());
        out.put_u8(parameters.wal_log_hints.into());
        out.put_zeros(3);
        for number in [
            parameters.max_connections,
            parameters.max_worker_processes,
            parameters.max_wal_senders,
            parameters.max_prepared_xacts,
            parameters.max_locks_per_xact,
        ] {
            out.put_i32(number);
        }
        out.put_u8(parameters.track_commit_timestamp.into());
        out.put_zeros(3);
    }

    /// Reads the file's bytes, and holds them to what this build can work with.
    ///
    /// # Errors
    /// Fails if the bytes are no control file of a known version, or the CRC is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, ControlError> {
        let size = ControlError::Size { found: bytes.len() };
        if bytes.len() != CONTROL_FILE_SIZE {
            return Err(size);
        }
        let version = Fields::new(bytes.get(8..).unwrap_or_default()).u32();
        match version {
            Ok(CONTROL_VERSION) => {}
            Ok(found) => return Err(ControlError::Version { found }),
            Err(_) => return Err(size),
        }
        let expected = crc32c(bytes.get(..CRC_OFFSET).unwrap_or_default());
        match Fields::new(bytes.get(CRC_OFFSET..).unwrap_or_default()).u32() {
            Ok(found) if found == expected => {}
            Ok(found) => return Err(ControlError::Crc { expected, found }),
            Err(_) => return Err(size),
        }
        Self::parse(bytes).unwrap_or(Err(size))
    }

    /// Takes the fields apart; the outer error cannot happen, since the length was checked.
    fn parse(bytes: &[u8]) -> Result<Result<Self, ControlError>, Short> {
        let mut fields = Fields::new(bytes);
        let system_id = SystemId::new(fields.u64()?);
        fields.skip(4)?; // pg_control_version
        let catalog_version = fields.u32()?;
        let state = fields.u32()?;
        fields.skip(4)?;
        let time = fields.i64()?;
        let checkpoint = Lsn::new(fields.u64()?);
        let checkpoint_copy = CheckPoint::parse(&mut fields)?;
        let unlogged_lsn = Lsn::new(fields.u64()?);
        let min_recovery_point = Lsn::new(fields.u64()?);
        let min_recovery_point_timeline = TimelineId::new(fields.u32()?);
        fields.skip(4)?;
        let backup_start_point = Lsn::new(fields.u64()?);
        let backup_end_point = Lsn::new(fields.u64()?);
        let backup_end_required = fields.bool()?;
        fields.skip(3)?;
        let parameters = Self::parse_parameters(&mut fields)?;
        let layout = Layout::parse(&mut fields)?;
        let checksum_version = fields.u32()?;
        let mock_authentication_nonce = fields.array()?;

        if let Err(error) = layout.check() {
            return Ok(Err(error));
        }
        let field = |field, found, expected| Ok(Err(ControlError::Field { field, found, expected }));
        let Some(state_value) = usize::try_from(state).ok().and_then(|at| ClusterState::ALL.get(at).copied())
        else {
            return field("state", state.into(), "0 to 6");
        };
        let parameters = match parameters {
            Ok(parameters) => parameters,
            Err(error) => return Ok(Err(error)),
        };
        let Some(segment_size) = SegmentSize::new(layout.wal_segment_size.into()) else {
            return field(
                "xlog_seg_size",
                layout.wal_segment_size.into(),
                "a power of two from 1 MiB to 1 GiB",
            );
        };
        if checksum_version > 1 {
            return field("data_checksum_version", checksum_version.into(), "0 or 1");
        }
        Ok(Ok(Self {
            system_id,
            catalog_version,
            state: state_value,
            time,
            checkpoint,
            checkpoint_copy,
            unlogged_lsn,
            min_recovery_point,
            min_recovery_point_timeline,
            backup_start_point,
            backup_end_point,
            backup_end_required,
            parameters,
            segment_size,
            data_checksums: checksum_version == 1,
            toast_max_chunk_size: layout.toast_max_chunk_size,
            large_object_block_size: layout.large_object_block_size,
            mock_authentication_nonce,
        }))
    }

    /// The settings that a standby must not have lower.
    fn parse_parameters(fields: &mut Fields<'_>) -> Result<Result<ParameterChange, ControlError>, Short> {
        let wal_level = fields.i32()?;
        let wal_log_hints = fields.bool()?;
        fields.skip(3)?;
        let (max_connections, max_worker_processes) = (fields.i32()?, fields.i32()?);
        let (max_wal_senders, max_prepared_xacts) = (fields.i32()?, fields.i32()?);
        let max_locks_per_xact = fields.i32()?;
        let track_commit_timestamp = fields.bool()?;
        fields.skip(3)?;
        let parameters = WalLevel::from_number(wal_level).map(|wal_level| ParameterChange {
            max_connections,
            max_worker_processes,
            max_wal_senders,
            max_prepared_xacts,
            max_locks_per_xact,
            wal_level,
            wal_log_hints,
            track_commit_timestamp,
        });
        let found = u64::from(wal_level.unsigned_abs());
        Ok(parameters.ok_or(ControlError::Field { field: "wal_level", found, expected: "0 to 2" }))
    }

    /// Whether this cluster was made by this engine rather than by PostgreSQL's initdb.
    pub const fn is_ours(&self) -> bool {
        self.toast_max_chunk_size == 0 && self.large_object_block_size == 0
    }

    /// Refuses a cluster that this engine did not make, `dir`.
    ///
    /// # Errors
    ///
    /// [`ControlError::Foreign`]
    pub fn check_ours(&self, dir: &Path) -> Result<(), ControlError> {
        if self.is_ours() { Ok(()) } else { Err(ControlError::Foreign { dir: dir.display().to_string() }) }
    }

    /// Whether the directory is a backup whose end is not redone yet: its log is a copy, of which some may be
    /// missing.
    pub const fn is_unfinished_backup(&self) -> bool {
        self.backup_end_required || self.backup_end_point.is_valid()
    }

    /// The bytes of a control file, which a server may be writing at this moment: they are read again while
    /// their checksum is wrong, for as long as a write may take.
    ///
    /// # Errors
    /// Fails if the file cannot be read. Whether the bytes are good, [`Self::decode`] says.
    pub fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
        let is_whole = |bytes: &[u8]| !matches!(Self::decode(bytes), Err(ControlError::Crc { .. }));
        disk.read_settled(path, CONTROL_FILE_SIZE as u64 * 2, &is_whole)
    }

    /// Reads the control file of a data directory.
    ///
    /// # Errors
    /// Fails if the file cannot be read or is damaged.
    pub fn load(disk: &dyn Disk, data_dir: &Path) -> Result<Self, ControlError> {
        let path = control_file_path(data_dir);
        let bytes = Self::read(disk, &path)
            .map_err(|error| ControlError::Io { path: path.display().to_string(), error })?;
        Self::decode(&bytes).map_err(|error| ControlError::Unusable {
            path: path.display().to_string(),
            error: Box::new(error),
        })
    }

    /// Replaces the control file durably: after a crash either the old or the new one is there, whole. The
    /// temporary file's name begins with pgsql_tmp, which backup and checksum tools pass over.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn store(&self, disk: &dyn Disk, data_dir: &Path) -> Result<(), ControlError> {
        let path = control_file_path(data_dir);
        let temporary = path.with_file_name("pgsql_tmp.pg_control");
        let replace = || {
            let file = disk.open(&temporary, OpenMode::Create)?;
            file.truncate(0)?;
            file.write_all_at(&self.encode(), 0)?;
            if host::planted!("the control file is not synced") {
                return disk.rename(&temporary, &path);
            }
            durable_rename(disk, &temporary, &path)
        };
        replace()
            .or_else(|error| {
                if !host::is_disk_full(&error) {
                    return Err(error);
                }
                // A full disk must not keep a checkpoint from ending, which gives space back. Left as it is,
                // the file would only take space that is short.
                let _ = disk.remove_file(&temporary);
                self.overwrite(disk, &path)
            })
            .map_err(|error| ControlError::Io { path: path.display().to_string(), error })
    }

    /// Changes the control file where it lies, durably: one sync, and no new space. What is used of it lies
    /// in one sector, which a crash leaves old or new. The file must be there with its whole length.
    ///
    /// # Errors
    /// Fails if the file cannot be written; it may be the old or the new one then.
    pub fn store_in_place(&self, disk: &dyn Disk, data_dir: &Path) -> Result<(), ControlError> {
        let path = control_file_path(data_dir);
        self.overwrite(disk, &path)
            .map_err(|error| ControlError::Io { path: path.display().to_string(), error })
    }

    fn overwrite(&self, disk: &dyn Disk, path: &Path) -> io::Result<()> {
        let encoded = self.encode();
        overwrite_durably(disk, path, encoded.get(..SECTOR_SIZE).unwrap_or(&encoded))
    }
}

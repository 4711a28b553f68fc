//! Cloning a running server into a new data directory: base backup and log at the same time, verified,
//! durable, ready to start.
//!
//! The way of a clone:
//!
//! | step | what                                                                                            |
//! |-----:|-------------------------------------------------------------------------------------------------|
//! |    1 | the target must be absent or empty                                                              |
//! |    2 | two connections to one server of a format that this program reads; a temporary slot (or a given |
//! |      | one) on the second keeps the log. Before the slot the target, which must be absent or empty     |
//! |      | still, gets [`MARKER_FILE`] durably: from then on it is this clone's                            |
//! |    3 | BASE_BACKUP on the first; its archive is unpacked as it comes, each file's checksum taken on    |
//! |      | the way                                                                                         |
//! |    4 | meanwhile the log is streamed on the second into pg_wal, from the backup's start to its end     |
//! |    5 | the manifest's own checksum, each file against it, and each record of the log are checked       |
//! |    6 | standby.signal and primary_conninfo are written, settings that name the server itself are left  |
//! |      | out, everything is made durable                                                                 |
//! |    7 | the stream ends; a slot that is to stay is made again, for good, and streamed from until what   |
//! |      | it keeps is reached                                                                             |
//! |    8 | global/pg_control, kept under another name until here, gets its name; the marker goes           |
//!
//! A clone that is broken off before step 7 leaves a directory without pg_control and with the marker, and
//! nothing on the server: a temporary slot goes with its connection, however that ends. No server starts on
//! the directory, and another clone says what it is. Steps 7 and 8 are short ([`Phase::Finishing`]); an error
//! there takes back the slot. Whatever ends a clone, nothing is removed that it has not made ([`Made`]).
//! Memory: a few chunks in flight, and the manifest.

mod claim;
mod error;
mod finish;
mod receive;
mod stream;
mod unpack;

use crate::manifest::{MANIFEST_FILE, Manifest};
use claim::Claim;
use host::{Disk, Host};
use protocol::client::QueryResult;
use protocol::conninfo::{self, ConnInfo};
use protocol::replication::ChecksumAlgorithm;
use protocol::{Client, ClientError, SqlState};
use receive::{Backup, receive};
use std::path::{Path, PathBuf};
use stream::WalStream;
use unpack::Unpacked;
use wal::control::ControlFile;
use wal::format::{FORMAT_SETTING, FORMATS};
use wal::{Lsn, SegmentSize, SystemId, TimelineId};

pub use crate::manifest::MARKER_FILE;
pub use claim::{TakenBack, check_target};
pub use error::CloneError;
pub(crate) use error::io_error;
pub use finish::{
    OF_OTHER_RECOVERIES, SettingFiles, make_standby, primary_conninfo, primary_conninfo_of_node,
};

/// What to clone, and how.
#[derive(Clone, Debug)]
pub struct CloneOptions {
    /// The server to clone, as a connection string.
    pub from: String,
    /// The new data directory: absent, or empty.
    pub target: PathBuf,
    /// The backup's label.
    pub label: String,
    /// Whether the server's checkpoint runs at full speed.
    pub fast_checkpoint: bool,
    /// The most that the archive may take, in kilobytes a second.
    pub max_rate_kilobytes: Option<u32>,
    /// A permanent slot to use and to name in the standby's settings.
    pub slot: Option<String>,
    /// Whether that slot is made if it is missing: temporary while the clone goes on, for good at its end.
    pub create_slot: bool,
    /// Whether the clone is to start as a standby of the server.
    pub standby: bool,
    /// The files' checksums in the manifest.
    pub checksum: ChecksumAlgorithm,
    /// Whether a directory of a real PostgreSQL is taken too (this engine cannot start on it).
    pub accept_postgresql: bool,
    /// Whether a failed clone is left as it is.
    pub keep_failed: bool,
}

impl CloneOptions {
    /// A standby of `from` in `target`.
    pub fn new(from: impl Into<String>, target: impl Into<PathBuf>) -> Self {
        Self {
            from: from.into(),
            target: target.into(),
            label: "plimsoll clone".to_owned(),
            fast_checkpoint: true,
            max_rate_kilobytes: None,
            slot: None,
            create_slot: false,
            standby: true,
            checksum: ChecksumAlgorithm::Crc32c,
            accept_postgresql: false,
            keep_failed: false,
        }
    }
}

/// What a clone is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The server takes a checkpoint.
    Checkpoint,
    /// Files come.
    Copying,
    /// The rest of the log comes.
    Log,
    /// Everything is checked.
    Verifying,
    /// Everything is made durable.
    Syncing,
    /// The slot becomes permanent and the directory startable. Whoever wants to give a clone up does it
    /// before this.
    Finishing,
}

/// How far a clone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloneProgress {
    /// What it is doing.
    pub phase: Phase,
    /// Archive bytes received.
    pub received_bytes: u64,
    /// Estimated bytes of the whole archive.
    pub total_bytes: Option<u64>,
    /// The end of the log received.
    pub wal_end: Lsn,
}

/// A finished clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloned {
    /// The cluster.
    pub system_id: SystemId,
    /// The timeline.
    pub timeline: TimelineId,
    /// Where its redo starts.
    pub start: Lsn,
    /// Where its data becomes consistent.
    pub end: Lsn,
    /// Archive bytes received.
    pub received_bytes: u64,
    /// Files unpacked.
    pub files: u64,
    /// Log records checked.
    pub wal_records: u64,
    /// What the server warned of: what is missing in the clone, a settings file that is a link say.
    pub warnings: Vec<String>,
    /// Settings that name the server itself, which the clone was not given.
    pub left_out: Vec<&'static str>,
}

/// What a clone has made and nobody can use yet, for whoever drops it before its end.
#[derive(Debug, Default)]
pub struct Made {
    /// The target, once it is marked or about to be.
    claim: Option<Claim>,
    /// The slot that is to stay, once it is there or may be.
    slot: Option<MadeSlot>,
}

/// A slot that was made for a clone and stays, and the server that has it.
#[derive(Debug)]
struct MadeSlot {
    name: String,
    at: ConnInfo,
}

impl Made {
    /// Removes the files, unless the clone is whole. Blocks. Threads of a clone that was dropped may end
    /// their last write after it; this can be called again.
    ///
    /// # Errors
    ///
    /// Fails if something in the directory cannot be looked at or removed.
    pub fn take_back_files(&self, disk: &dyn Disk) -> Result<TakenBack, CloneError> {
        self.claim.as_ref().map_or(Ok(TakenBack::NothingMarked), |claim| claim.take_back(disk))
    }

    /// Drops the slot, if the clone had come to making one that stays.
    ///
    /// # Errors
    ///
    /// Fails if the server cannot be reached, or refuses.
    pub async fn take_back_slot(&mut self) -> Result<(), CloneError> {
        let Some(MadeSlot { name, at }) = self.slot.take() else { return Ok(()) };
        let mut client = connect(at).await?;
        match client.query(&format!("DROP_REPLICATION_SLOT {}", identifier::quote_always(&name))).await {
            // It had not come so far.
            Err(ClientError::Server(report)) if report.code == SqlState::UNDEFINED_OBJECT => {}
            dropped => _ = dropped?,
        }
        client.close().await;
        Ok(())
    }
}

/// Clones a server. `progress` is called now and then, and at each change of phase.
///
/// # Errors
///
/// Fails with what went wrong, and takes back what it has made; if the files are to stay
/// ([`CloneOptions::keep_failed`]), the directory keeps its marker, and no server starts on it.
pub async fn clone(
    host: &Host,
    options: &CloneOptions,
    progress: &mut (dyn FnMut(CloneProgress) + Send),
) -> Result<Cloned, CloneError> {
    clone_noting(host, options, &mut Made::default(), progress).await
}

/// The same for who may drop it: that leaves the directory broken off, and, from [`Phase::Finishing`] on, the
/// slot. `made` takes them back.
///
/// # Errors
///
/// As [`clone`].
pub async fn clone_noting(
    host: &Host,
    options: &CloneOptions,
    made: &mut Made,
    progress: &mut (dyn FnMut(CloneProgress) + Send),
) -> Result<Cloned, CloneError> {
    let info = ConnInfo::parse(&options.from)?;
    if options.standby {
        // Refused before anything is copied.
        primary_conninfo(&options.from)?;
    }
    check_target(&*host.disk, &options.target)?;
    let outcome = run(host, options, info, made, progress).await;
    if outcome.is_err() {
        let claim = made.claim.take().filter(|_| !options.keep_failed);
        let disk = host.disk.clone();
        let files = blocking(move || claim.map(|claim| claim.take_back(&*disk)).transpose()).await;
        // A whole directory stays, and needs its slot. The server may be gone: there is nothing more to do
        // then. The first error is the one that counts.
        if !matches!(files, Ok(Some(TakenBack::Whole))) {
            let _ = made.take_back_slot().await;
        }
    }
    outcome
}

async fn connect(mut info: ConnInfo) -> Result<Client, CloneError> {
    info.replication = Some("true".to_owned());
    info.application_name.get_or_insert_with(|| "plimsoll clone".to_owned());
    let client = Client::connect(&info).await?;
    let version = client.parameter("server_version").unwrap_or_default();
    if version.split(['.', ' ']).next() != Some("15") {
        return Err(CloneError::Version(version.to_owned()));
    }
    Ok(client)
}

/// What IDENTIFY_SYSTEM says.
async fn identify(client: &mut Client) -> Result<SystemId, CloneError> {
    let answer = client.query("IDENTIFY_SYSTEM").await?;
    let system = answer.text(0, 0).and_then(|system| system.parse().ok());
    system.ok_or_else(|| CloneError::Answer("IDENTIFY_SYSTEM names no system".to_owned()))
}

/// Refuses a server whose format this program does not read, before anything is made. A real PostgreSQL has
/// none.
async fn check_format(client: &mut Client) -> Result<(), CloneError> {
    if !client.is_plimsoll() {
        return Ok(());
    }
    let shown = client.show(FORMAT_SETTING).await?;
    FORMATS.check_shown(shown.as_deref()).map_err(CloneError::Format)
}

/// wal_segment_size as SHOW prints it: a number with kB, MB or GB.
async fn segment_size(client: &mut Client) -> Result<SegmentSize, CloneError> {
    let answer = client.query("SHOW wal_segment_size").await?;
    let text = answer.text(0, 0).unwrap_or_default();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => Some(1),
        "kB" => Some(1 << 10),
        "MB" => Some(1 << 20),
        "GB" => Some(1_u64 << 30),
        _ => None,
    };
    number
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .and_then(SegmentSize::new)
        .ok_or_else(|| CloneError::Answer(format!("wal_segment_size is \"{text}\"")))
}

/// The server, on two connections: one for the backup and one for the log beside it.
struct Server {
    control: Client,
    streaming: Client,
    system_id: SystemId,
    segment_size: SegmentSize,
    /// What leads to it and to no other.
    info: ConnInfo,
}

/// Connects twice, and makes sure that both met the same cluster, of a kind that can be cloned. Of several
/// hosts the second connection tries only the one that the first has met: log of another server need not be
/// that of these files.
async fn meet(from: &str, info: ConnInfo) -> Result<Server, CloneError> {
    let mut control = connect(info.clone()).await?;
    let info = match conninfo::server_at(from, &control.place()) {
        Some(met) => ConnInfo::parse(&met)?,
        None => info,
    };
    let system_id = identify(&mut control).await?;
    check_format(&mut control).await?;
    let segment_size = segment_size(&mut control).await?;
    let mut streaming = connect(info.clone()).await?;
    let found = identify(&mut streaming).await?;
    if found != system_id {
        return Err(CloneError::SystemId { expected: system_id, found });
    }
    Ok(Server { control, streaming, system_id, segment_size, info })
}

async fn run(
    host: &Host,
    options: &CloneOptions,
    info: ConnInfo,
    made: &mut Made,
    progress: &mut (dyn FnMut(CloneProgress) + Send),
) -> Result<Cloned, CloneError> {
    let Server { mut control, mut streaming, system_id, segment_size, info } =
        meet(&options.from, info).await?;
    let claim = take_target(host, options, made).await?;
    let (slot, keeps_slot) = make_slot(host, options, &mut streaming, &mut control).await?;

    let mut report = CloneProgress {
        phase: Phase::Checkpoint,
        received_bytes: 0,
        total_bytes: None,
        wal_end: Lsn::INVALID,
    };
    progress(report);
    let mut backup = Backup::begin(control, options).await?;
    let (start, timeline) = (backup.start, backup.timeline);
    report.phase = Phase::Copying;
    report.total_bytes = backup.total_bytes;
    progress(report);
    let pg_wal = options.target.join("pg_wal");
    let request =
        |start| stream::Request { pg_wal: pg_wal.clone(), slot: slot.clone(), start, timeline, segment_size };
    let mut wal = WalStream::start(host.clone(), streaming, request(start));
    let received = receive(host, options, &mut backup, &mut wal, &mut report, progress).await;
    let (unpacked, end) = match received {
        Ok(received) => received,
        Err(error) => {
            wal.abandon().await;
            return Err(error);
        }
    };
    report.phase = Phase::Log;
    progress(report);
    wal.reach(end).await?;
    report.wal_end = wal.received();
    report.phase = Phase::Verifying;
    progress(report);

    let range = finish::LogRange { start, end, timeline, segment_size, system_id };
    let wal_records = verify(host, options, &unpacked, range).await?;

    report.phase = Phase::Syncing;
    progress(report);
    let (files, received_bytes) = (unpacked.files.len() as u64, report.received_bytes);
    let left_out = complete(host, options, unpacked).await?;

    report.phase = Phase::Finishing;
    progress(report);
    let (mut client, received) = wal.finish().await?;
    if keeps_slot {
        client = keep_slot(host, client, request(received), (&mut made.slot, info)).await?;
    }
    client.close().await;
    let disk = host.disk.clone();
    blocking(move || claim.release(&*disk)).await?;
    *made = Made::default();
    let warnings = backup.warnings;
    Ok(Cloned { system_id, timeline, start, end, received_bytes, files, wal_records, warnings, left_out })
}

/// Makes the target this clone's own, which has seen the server by now: connecting may have taken long. Noted
/// first, so that whoever drops this finds the mark that is put there meanwhile.
async fn take_target(host: &Host, options: &CloneOptions, made: &mut Made) -> Result<Claim, CloneError> {
    let claim = Claim::look(host, &options.target)?;
    made.claim = Some(claim.clone());
    let disk = host.disk.clone();
    let pg_wal = options.target.join("pg_wal");
    blocking(move || {
        claim.take(&*disk)?;
        disk.create_dir(&pg_wal).map_err(io_error(&pg_wal))?;
        Ok(claim)
    })
    .await
}

/// Checks the manifest, each file against it, each record of the log and the control file; gives the number
/// of records.
async fn verify(
    host: &Host,
    options: &CloneOptions,
    unpacked: &Unpacked,
    range: finish::LogRange,
) -> Result<u64, CloneError> {
    let manifest = Manifest::parse(&unpacked.manifest)?;
    let problems = unpacked.compare(&manifest);
    if !problems.is_empty() {
        return Err(CloneError::Mismatch(problems));
    }
    let (disk, target) = (host.disk.clone(), options.target.clone());
    let system_id = range.system_id;
    let (wal_records, found) = blocking(move || {
        let records = finish::check_log(disk.clone(), &target, range)?;
        let control = finish::read_control(&*disk, &target)?;
        if control.is_ours() {
            FORMATS.check_directory(&*disk, &target).map_err(CloneError::Format)?;
        }
        Ok((records, control))
    })
    .await?;
    check_control(&found, system_id, options)?;
    Ok(wal_records)
}

/// Writes what makes it a standby, if it is to be one, and makes everything durable.
/// Gives the settings that the clone was not given.
async fn complete(
    host: &Host,
    options: &CloneOptions,
    unpacked: Unpacked,
) -> Result<Vec<&'static str>, CloneError> {
    let (disk, target) = (host.disk.clone(), options.target.clone());
    let conninfo = if options.standby { Some(primary_conninfo(&options.from)?) } else { None };
    let slot_name = options.slot.clone();
    blocking(move || {
        let standby = conninfo.as_deref().map(|conninfo| (conninfo, slot_name.as_deref()));
        finish::complete(&*disk, &target, &unpacked.manifest, standby)
    })
    .await
}

fn check_control(
    control: &ControlFile,
    system_id: SystemId,
    options: &CloneOptions,
) -> Result<(), CloneError> {
    if control.system_id != system_id {
        return Err(CloneError::SystemId { expected: system_id, found: control.system_id });
    }
    if !control.is_ours() && !options.accept_postgresql {
        return Err(CloneError::Foreign);
    }
    Ok(())
}

/// The slot that keeps the log while the backup runs: the one that is named, if it is there, or one that goes
/// with its connection. Gives its name, and whether one is to be made of that name that stays. One that is
/// made shows whether the `other` connection is to the same server: a host's name may have several addresses.
async fn make_slot(
    host: &Host,
    options: &CloneOptions,
    client: &mut Client,
    other: &mut Client,
) -> Result<(String, bool), CloneError> {
    let name = match &options.slot {
        Some(name) if !options.create_slot => return Ok((name.clone(), false)),
        Some(name) => name.clone(),
        None => format!("plimsoll_clone_{:016x}", host.entropy.next_u64()),
    };
    match create_slot(client, &name, "TEMPORARY PHYSICAL").await {
        Ok(()) if read_slot(other, &name).await?.text(0, 0).is_none() => Err(CloneError::OtherServer),
        Ok(()) => Ok((name, options.slot.is_some())),
        Err(CloneError::SlotExists(_)) if options.slot.is_some() => Ok((name, false)),
        Err(error) => Err(error),
    }
}

async fn create_slot(client: &mut Client, name: &str, kind: &str) -> Result<(), CloneError> {
    let command = format!("CREATE_REPLICATION_SLOT {} {kind} (RESERVE_WAL)", identifier::quote_always(name));
    match client.query(&command).await {
        Ok(_) => Ok(()),
        Err(ClientError::Server(report)) if report.code == SqlState::DUPLICATE_OBJECT => {
            Err(CloneError::SlotExists(name.to_owned()))
        }
        Err(error) => Err(error.into()),
    }
}

/// What the server says of a slot: its kind and where it begins, nothing if it has no such slot.
async fn read_slot(client: &mut Client, name: &str) -> Result<QueryResult, ClientError> {
    client.query(&format!("READ_REPLICATION_SLOT {}", identifier::quote_always(name))).await
}

/// Makes the temporary slot of the stream a permanent one. No command does that: it is dropped and made
/// again, and what it keeps may begin behind the stream's end, which is streamed then. What is gone already
/// is the stream's error.
async fn keep_slot(
    host: &Host,
    mut client: Client,
    request: stream::Request,
    (made, at): (&mut Option<MadeSlot>, ConnInfo),
) -> Result<Client, CloneError> {
    let (name, received) = (request.slot.clone(), request.start);
    client.query(&format!("DROP_REPLICATION_SLOT {}", identifier::quote_always(&name))).await?;
    // Noted first, so that whoever drops this knows of it.
    *made = Some(MadeSlot { name: name.clone(), at });
    let created = create_slot(&mut client, &name, "PHYSICAL").await;
    if matches!(created, Err(CloneError::SlotExists(_))) {
        // Somebody else's, who was quicker.
        *made = None;
    }
    created?;
    let answer = read_slot(&mut client, &name).await?;
    let kept_from: Option<Lsn> = answer.text(0, 1).and_then(|lsn| lsn.parse().ok());
    let kept_from = kept_from.ok_or_else(|| CloneError::Answer(format!("slot \"{name}\" keeps nothing")))?;
    if kept_from <= received {
        return Ok(client);
    }
    let mut wal = WalStream::start(host.clone(), client, request);
    wal.reach(kept_from).await?;
    Ok(wal.finish().await?.0)
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CloneError> + Send + 'static,
) -> Result<T, CloneError> {
    host::task::blocking(work).await.map_err(|_| CloneError::Broken)?
}

/// The manifest's name in the clone.
pub(crate) fn manifest_path(target: &Path) -> PathBuf {
    target.join(MANIFEST_FILE)
}

#[cfg(test)]
mod tests;

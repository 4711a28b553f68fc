//! A base backup out of a running server: its data directory as one tar archive, and the manifest.
//!
//! The manual's chapter "Streaming Replication Protocol", BASE_BACKUP, of PostgreSQL 15. [`send_backup`]
//! makes events ([`BackupEvent`]) and gives them to a sink; [`wire`] turns them into messages. What lies in
//! the archive, in this order:
//!
//! | part                | from                                                                             |
//! |---------------------|----------------------------------------------------------------------------------|
//! | `backup_label`      | the engine, when the backup starts                                               |
//! | the data directory  | every file but those that [`exclude`] names; folders that must exist come empty  |
//! | `global/pg_control` | last of the files, so that a broken archive never starts                         |
//! | `pg_wal/` segments  | with the option WAL only, from the start to the stop position, and history files |
//! | two blocks of zeros | tar's end                                                                        |
//!
//! Files change while they are read. A file is sent with the length that it had when it was opened (zeros
//! stand in for what was cut meanwhile), and one that vanishes before that is left out: redo from the start
//! position puts all of it right. No redo does so for the log: a segment that is removed before all of it was
//! read ends the backup, as in PostgreSQL.
//!
//! What cannot be sent, a symbolic link say, is left out and told ([`BackupEvent::Warning`]).
//!
//! Memory: a few chunks of 64 KiB, and the manifest's text (about 150 bytes a file, bounded).

pub mod exclude;
pub mod files;
mod pace;
mod tar_stream;
mod walk;
pub mod wire;

use crate::manifest::{ManifestError, ManifestWriter, WalRange};
use bytes::Bytes;
use host::Host;
use pace::Pace;
use protocol::replication::{BaseBackupOptions, BaseBackupTarget, ManifestMode};
use protocol::{Report, SqlState};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use storage::store::Store;
use storage::{BackupEnd, BackupStart};
use tar_stream::Piece;
use tokio::sync::mpsc;
use wal::{Lsn, SegmentSize, TimelineId};
use walk::DirectoryWalk;

/// What a client is told, in this order: Start, Size, then Archive and its Data with Progress and Warning
/// among it, Manifest and its Data, End.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupEvent {
    /// The backup has begun.
    Start {
        /// Where its log begins.
        lsn: Lsn,
        /// The timeline of that.
        timeline: TimelineId,
    },
    /// The one "tablespace" follows.
    Size {
        /// Estimated kilobytes, if PROGRESS was asked for.
        kilobytes: Option<u64>,
    },
    /// An archive begins.
    Archive {
        /// Its file name: base.tar.
        name: &'static str,
    },
    /// Bytes of the archive or of the manifest.
    Data(Bytes),
    /// The manifest begins.
    Manifest,
    /// So many archive bytes have been sent.
    Progress {
        /// Bytes.
        sent_bytes: u64,
    },
    /// The backup is complete.
    End {
        /// The end of its log, exclusive.
        lsn: Lsn,
        /// The timeline of that.
        timeline: TimelineId,
    },
    /// And nothing in it was found to be bad.
    Sound,
    /// At any place among the archive's Data: something that is left out of the backup. For the client and
    /// the server's log.
    Warning(String),
    /// At the same places: what the backup's end waits for. For both, at once.
    Note(Box<Report>),
}

/// Who takes the events; an error ends the backup.
pub trait BackupSink: Send {
    /// Why it takes no more.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Takes the next event; returns when there is room for another.
    fn send(&mut self, event: BackupEvent) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Returns once nobody takes events any more, with the reason; never while somebody does. For the time in
    /// which there is nothing to send.
    fn gone(&mut self) -> impl Future<Output = Self::Error> + Send;
}

/// What is told while a backup's end waits.
pub type Notes = mpsc::Sender<Report>;

/// What the engine does for a backup.
pub trait BackupEngine: Send + Sync {
    /// Forces page images, takes a checkpoint spread over `spread` (zero: as fast as it goes), makes the
    /// label.
    fn start(
        &self,
        label: &str,
        spread: Duration,
    ) -> impl Future<Output = Result<BackupStart, storage::Error>> + Send;
    /// Ends the backup in the log. What it waits for then, it notes.
    fn stop(
        &self,
        backup: BackupStart,
        notes: &Notes,
    ) -> impl Future<Output = Result<BackupEnd, storage::Error>> + Send;
    /// Gives the backup up.
    fn abort(&self, backup: BackupStart);
}

impl BackupEngine for storage::Database {
    async fn start(&self, label: &str, spread: Duration) -> Result<BackupStart, storage::Error> {
        self.start_backup(label, spread).await
    }
    async fn stop(&self, backup: BackupStart, _: &Notes) -> Result<BackupEnd, storage::Error> {
        self.stop_backup(backup).await
    }
    fn abort(&self, backup: BackupStart) {
        self.abort_backup(backup);
    }
}

/// Why a backup failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError<S: std::error::Error + 'static> {
    /// An option that this server does not have.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// The engine could not start or end it.
    #[error(transparent)]
    Engine(#[from] storage::Error),
    /// A file could not be read.
    #[error("could not read file \"{path}\": {error}")]
    Io {
        /// Path below the data directory.
        path: String,
        /// The cause.
        error: io::Error,
    },
    /// tar has no room for the name.
    #[error("file name too long for tar format: \"{0}\"")]
    NameTooLong(String),
    /// Pages do not check out.
    #[error(
        "checksum verification failure during base backup: {pages} pages in {files} files, the first is block {block} of \"{path}\""
    )]
    Checksum {
        /// Bad pages.
        pages: u64,
        /// Files that they are in.
        files: u64,
        /// The first file.
        path: String,
        /// Its first bad block.
        block: u32,
    },
    /// The manifest is too large.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A segment that the backup needs is not there.
    #[error("could not find WAL file \"{0}\"")]
    MissingWal(String),
    /// A checkpoint has removed a segment that the backup needs, before all of it was sent.
    #[error("requested WAL segment {0} has already been removed")]
    RemovedWal(String),
    /// The part that reads files broke down.
    #[error("base backup was interrupted")]
    Interrupted,
    /// The client is gone.
    #[error("base backup could not be sent: {0}")]
    Sink(S),
}

impl<S: std::error::Error> BackupError<S> {
    /// The SQLSTATE for the client; None for an error of the engine, which knows its own.
    pub fn sqlstate(&self) -> Option<SqlState> {
        Some(match self {
            Self::Unsupported(_) => SqlState::FEATURE_NOT_SUPPORTED,
            Self::Engine(_) => return None,
            Self::Io { .. } => SqlState::IO_ERROR,
            Self::NameTooLong(_) | Self::Manifest(_) => SqlState::PROGRAM_LIMIT_EXCEEDED,
            Self::Checksum { .. } => SqlState::DATA_CORRUPTED,
            Self::MissingWal(_) | Self::RemovedWal(_) => SqlState::UNDEFINED_FILE,
            Self::Interrupted => SqlState::INTERNAL_ERROR,
            Self::Sink(_) => SqlState::CONNECTION_FAILURE,
        })
    }
}

/// Where a backup is taken from.
#[derive(Clone, Debug)]
pub struct BackupSource {
    /// The machine.
    pub host: Host,
    /// The data directory.
    pub data_dir: PathBuf,
    /// The cluster's segment size.
    pub segment_size: SegmentSize,
    /// Whether data pages carry PostgreSQL's checksum.
    pub data_checksums: bool,
    /// Owner (user and group number) of the files in the archive.
    pub owner: (u32, u32),
    /// How long the first checkpoint may take when the client does not ask for a fast one.
    pub checkpoint_spread: Duration,
    /// The running server's pages: what is torn in a file since a crash may be whole there.
    pub store: Option<Store>,
}

/// Refuses options that this server does not have, before anything is started.
///
/// # Errors
///
/// Fails if an option is not supported.
pub fn check_options<S: std::error::Error>(options: &BaseBackupOptions) -> Result<(), BackupError<S>> {
    let unsupported = |what: String| Err(BackupError::Unsupported(what));
    match &options.target {
        BaseBackupTarget::Client => {}
        BaseBackupTarget::Blackhole => return unsupported("BASE_BACKUP target \"blackhole\"".to_owned()),
        BaseBackupTarget::Server(_) => return unsupported("BASE_BACKUP target \"server\"".to_owned()),
    }
    match &options.compression {
        Some((method, _)) if !method.eq_ignore_ascii_case("none") => {
            unsupported(format!("BASE_BACKUP compression \"{method}\""))
        }
        _ => Ok(()),
    }
}

/// Takes a base backup and gives it to `sink`. When this ends in any way but success, also by being dropped,
/// the backup is given up. It does not outlast its client: also while the engine waits, for its checkpoint or
/// for the archive, the sink is asked whether somebody still takes the backup.
///
/// # Errors
///
/// Fails if the engine, a file or the sink fails, or pages do not check out; the engine's backup is ended in
/// any case.
pub async fn send_backup<E: BackupEngine, S: BackupSink>(
    source: &BackupSource,
    options: &BaseBackupOptions,
    engine: &E,
    sink: &mut S,
) -> Result<BackupEnd, BackupError<S::Error>> {
    check_options::<S::Error>(options)?;
    let spread = if options.fast_checkpoint { Duration::ZERO } else { source.checkpoint_spread };
    let started = tokio::select! {
        biased;
        started = engine.start(&options.label, spread) => started?,
        why = sink.gone() => return Err(BackupError::Sink(why)),
    };
    let mut running = Running { engine, backup: Some(started.clone()) };
    let (lsn, timeline) = (started.start, started.timeline);
    send(sink, BackupEvent::Start { lsn, timeline }).await?;

    let walk = DirectoryWalk::new(source.clone(), options, &started);
    let (walk, kilobytes) = if options.progress {
        blocking(move || {
            let size = walk.estimate_bytes();
            (walk, Some(size / 1024))
        })
        .await?
    } else {
        (walk, None)
    };
    send(sink, BackupEvent::Size { kilobytes }).await?;
    send(sink, BackupEvent::Archive { name: "base.tar" }).await?;

    let mut progress = Progress::new(source.host.clone(), options.max_rate_kilobytes);
    let walk = run(walk, sink, &mut progress, DirectoryWalk::send_data_directory).await?;
    let verdict = walk.verdict();
    let ended = match running.backup.take() {
        Some(backup) => stop(engine, backup, sink, &progress).await?,
        None => return Err(BackupError::Interrupted),
    };
    // A primary has switched to the next segment.
    let (stop, is_switched) = ((ended.stop, ended.timeline), ended.history_file.is_some());
    let wal = options.wal;
    let walk = run(walk, sink, &mut progress, move |walk, out| {
        if wal {
            walk.send_wal(out, stop, is_switched)?;
        }
        walk.finish(out)
    })
    .await?;
    send(sink, BackupEvent::Progress { sent_bytes: progress.sent_bytes }).await?;

    if let Some(manifest) = walk.into_manifest() {
        let ranges = wal_ranges(source, &started, &ended);
        send(sink, BackupEvent::Manifest).await?;
        let mut bytes = Bytes::from(manifest.finish(&ranges));
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(tar_stream::CHUNK));
            send(sink, BackupEvent::Data(piece)).await?;
        }
    }
    send(sink, BackupEvent::End { lsn: ended.stop, timeline: ended.timeline }).await?;
    verdict?;
    send(sink, BackupEvent::Sound).await?;
    Ok(ended)
}

/// Ends the backup in the log, while somebody takes it, and passes on what is waited for.
async fn stop<E: BackupEngine, S: BackupSink>(
    engine: &E,
    backup: BackupStart,
    sink: &mut S,
    progress: &Progress,
) -> Result<BackupEnd, BackupError<S::Error>> {
    let (notes, mut noted) = mpsc::channel(1);
    let mut stopping = pin!(engine.stop(backup, &notes));
    let ended = loop {
        let note = tokio::select! {
            biased;
            ended = &mut stopping => break ended?,
            Some(note) = noted.recv() => note,
            why = sink.gone() => return Err(BackupError::Sink(why)),
        };
        progress.tell(sink, BackupEvent::Note(Box::new(note))).await?;
    };
    while let Ok(note) = noted.try_recv() {
        progress.tell(sink, BackupEvent::Note(Box::new(note))).await?;
    }
    Ok(ended)
}

/// The log of a backup, one range a timeline that it passes (a standby may be promoted meanwhile).
fn wal_ranges(source: &BackupSource, started: &BackupStart, ended: &BackupEnd) -> Vec<WalRange> {
    let pg_wal = source.data_dir.join("pg_wal");
    let whole = WalRange { timeline: ended.timeline, start: started.start, end: ended.stop };
    if started.timeline == ended.timeline {
        return vec![whole];
    }
    match wal::history::TimelineHistory::load(&*source.host.disk, &pg_wal, ended.timeline) {
        Ok(history) => history
            .newest_first()
            .map(|(timeline, begin, end)| WalRange {
                timeline,
                start: begin.max(started.start),
                end: end.unwrap_or(ended.stop).min(ended.stop),
            })
            .filter(|range| range.start < range.end)
            .collect(),
        Err(_) => vec![whole],
    }
}

/// Gives the backup up when it was not ended.
struct Running<'a, E: BackupEngine> {
    engine: &'a E,
    backup: Option<BackupStart>,
}

impl<E: BackupEngine> Drop for Running<'_, E> {
    fn drop(&mut self) {
        if let Some(backup) = self.backup.take() {
            self.engine.abort(backup);
        }
    }
}

async fn send<S: BackupSink>(sink: &mut S, event: BackupEvent) -> Result<(), BackupError<S::Error>> {
    sink.send(event).await.map_err(BackupError::Sink)
}

async fn blocking<T: Send + 'static, S: std::error::Error + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BackupError<S>> {
    host::task::blocking(work).await.map_err(|_| BackupError::Interrupted)
}

/// How far the archive is, and how fast it may go.
struct Progress {
    host: Host,
    pace: Option<Pace>,
    sent_bytes: u64,
    reported: Duration,
}

impl Progress {
    fn new(host: Host, kilobytes_per_second: Option<u32>) -> Self {
        let now = host.clock.monotonic();
        let pace = kilobytes_per_second.map(|rate| Pace::new(u64::from(rate) * 1024, now));
        Self { host, pace, sent_bytes: 0, reported: now }
    }

    /// Sends something that the client gets as a notice, of which it takes only so many between two messages
    /// of its copy.
    async fn tell<S: BackupSink>(
        &self,
        sink: &mut S,
        notice: BackupEvent,
    ) -> Result<(), BackupError<S::Error>> {
        send(sink, notice).await?;
        send(sink, BackupEvent::Progress { sent_bytes: self.sent_bytes }).await
    }
}

/// Runs a part of the walk on a thread that may block, and passes on what it makes.
async fn run<S: BackupSink>(
    mut walk: DirectoryWalk,
    sink: &mut S,
    progress: &mut Progress,
    part: impl FnOnce(&mut DirectoryWalk, &mut tar_stream::TarStream) -> Result<(), walk::Failure>
    + Send
    + 'static,
) -> Result<DirectoryWalk, BackupError<S::Error>> {
    const REPORT_EVERY: Duration = Duration::from_secs(1);
    let (sender, mut receiver) = mpsc::channel(4);
    let task = host::task::blocking(move || {
        let mut out = tar_stream::TarStream::new(sender);
        let outcome = part(&mut walk, &mut out).and_then(|()| out.flush());
        (walk, outcome)
    });
    while let Some(piece) = receiver.recv().await {
        let data = match piece {
            Piece::Data(data) => data,
            Piece::Warning(message) => {
                progress.tell(sink, BackupEvent::Warning(message)).await?;
                continue;
            }
        };
        progress.sent_bytes += data.len() as u64;
        if let Some(pace) = &mut progress.pace {
            let wait = pace.wait_for(data.len() as u64, progress.host.clock.monotonic());
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
        send(sink, BackupEvent::Data(data)).await?;
        let now = progress.host.clock.monotonic();
        if now.saturating_sub(progress.reported) >= REPORT_EVERY {
            progress.reported = now;
            send(sink, BackupEvent::Progress { sent_bytes: progress.sent_bytes }).await?;
        }
    }
    let (walk, outcome) = task.await.map_err(|_| BackupError::Interrupted)?;
    outcome.map_err(BackupError::from)?;
    Ok(walk)
}

impl<S: std::error::Error + 'static> From<walk::Failure> for BackupError<S> {
    fn from(failure: walk::Failure) -> Self {
        match failure {
            walk::Failure::Io { path, error } => Self::Io { path, error },
            walk::Failure::NameTooLong(path) => Self::NameTooLong(path),
            walk::Failure::Manifest(error) => Self::Manifest(error),
            walk::Failure::MissingWal(name) => Self::MissingWal(name),
            walk::Failure::RemovedWal(name) => Self::RemovedWal(name),
            walk::Failure::Checksum { pages, files, path, block } => {
                Self::Checksum { pages, files, path, block }
            }
            walk::Failure::Gone => Self::Interrupted,
        }
    }
}

/// A manifest writer as the options ask for it.
fn manifest_writer(options: &BaseBackupOptions) -> Option<ManifestWriter> {
    match options.manifest {
        ManifestMode::No => None,
        ManifestMode::Yes => Some(ManifestWriter::new(options.manifest_checksums, false)),
        ManifestMode::ForceEncode => Some(ManifestWriter::new(options.manifest_checksums, true)),
    }
}

/// For [`BackupSource::owner`]: the process's user and group.
pub fn process_owner() -> (u32, u32) {
    (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw())
}

/// A source over a running server's directory.
impl BackupSource {
    /// Files belong to the process's user in the archive; a checkpoint is spread as PostgreSQL's defaults
    /// have it (0.9 of 5 minutes).
    pub fn new(
        host: Host,
        data_dir: impl Into<PathBuf>,
        segment_size: SegmentSize,
        data_checksums: bool,
    ) -> Self {
        Self {
            host,
            data_dir: data_dir.into(),
            segment_size,
            data_checksums,
            owner: process_owner(),
            checkpoint_spread: Duration::from_secs(270),
            store: None,
        }
    }
}

/// Shared by the parts: the cause of a failed read.
fn io_failure(path: &str, error: io::Error) -> walk::Failure {
    walk::Failure::Io { path: path.to_owned(), error }
}

/// Engines are often shared.
impl<E: BackupEngine> BackupEngine for Arc<E> {
    async fn start(&self, label: &str, spread: Duration) -> Result<BackupStart, storage::Error> {
        (**self).start(label, spread).await
    }
    async fn stop(&self, backup: BackupStart, notes: &Notes) -> Result<BackupEnd, storage::Error> {
        (**self).stop(backup, notes).await
    }
    fn abort(&self, backup: BackupStart) {
        (**self).abort(backup);
    }
}

#[cfg(test)]
mod tests;

//! Why a rewind fails.

use basebackup::clone::CloneError;
use protocol::ClientError;
use std::io;
use std::path::Path;
use wal::backup_label::LabelError;
use wal::control::ControlError;
use wal::format::FormatError;
use wal::history::HistoryFileError;
use wal::timelines::TimelineError;
use wal::{BranchError, Lsn, ReadError, SourceError, SystemId, TimelineId, WalError};

/// Why a rewind failed.
#[derive(Debug, thiserror::Error)]
pub enum RewindError {
    /// The two directories have nothing to do with each other.
    #[error("source and target clusters are from different systems (source {source_id}, target {target_id})")]
    DifferentSystems {
        /// The source's.
        source_id: SystemId,
        /// The target's.
        target_id: SystemId,
        /// The source is a directory at rest.
        is_at_rest: bool,
    },
    /// One system, and not a byte of log in common.
    #[error("could not find common ancestor of the source and target cluster's timelines")]
    NoCommonAncestor,
    /// One has page checksums, the other has none.
    #[error("data page checksums are on in one of source and target and off in the other")]
    Checksums,
    /// The source does not stand still.
    #[error(
        "source data directory \"{0}\" must be shut down cleanly: start its server and stop it, or name the running server"
    )]
    SourceRuns(String),
    /// The source is a copy that is not consistent yet.
    #[error("source is a backup that has not recovered to its end yet: wait until it accepts reads")]
    SourceUnfinished,
    /// The source was promoted, or turned to another timeline, while it was read.
    #[error("source turned from timeline {from} to {to} meanwhile: run the rewind again")]
    SourceTurned {
        /// Before.
        from: TimelineId,
        /// After.
        to: TimelineId,
    },
    /// The source lacks log that the target has, of what both have in common.
    #[error(
        "source has its log only up to {at}, and {needed} is needed, which the target has: {}", catch_up(*is_at_rest)
    )]
    SourceBehind {
        /// The end of the source's log.
        at: Lsn,
        /// Where it must have come to.
        needed: Lsn,
        /// It is a directory at rest.
        is_at_rest: bool,
    },
    /// The source has all that the directory has, which a rewind to another branch has begun to change.
    #[error(
        "a rewind of this directory was broken off, and the source, on timeline {timeline}, has not come to a fork from the directory's branch: {}", catch_up(*is_at_rest)
    )]
    NoFork {
        /// The source's.
        timeline: TimelineId,
        /// It is a directory at rest.
        is_at_rest: bool,
    },
    /// It was to stop, before it changed anything.
    #[error("the server stops")]
    Stopped,
    /// The server is no Plimsoll.
    #[error("the server is not Plimsoll: only its own servers can be rewound to")]
    NotPlimsoll,
    /// The target is a backup whose end was not replayed: its pages may be of a branch of which its log says
    /// nothing.
    #[error(
        "target \"{0}\" is a backup whose end was not replayed yet: start its server until it accepts reads, or clone it anew"
    )]
    TargetUnfinished(String),
    /// The target was rewound to another branch and not started since.
    #[error(
        "target \"{0}\" was rewound before and not started since: start its server, stop it once it accepts reads, and run the rewind again"
    )]
    TargetNotStarted(String),
    /// The log of the target does not reach back far enough.
    #[error(
        "could not find a checkpoint before the fork at {fork} in the target's log: segments before it are gone, and the source has them no more; {}", fetch(*was_asked)
    )]
    NoCheckpoint {
        /// The fork.
        fork: Lsn,
        /// The begin of the segment that is gone.
        at: Lsn,
        /// The archive was asked for it.
        was_asked: bool,
    },
    /// Log of the target that must be read is nowhere.
    #[error(
        "WAL segment {name} is gone from the target's log, and the source does not have it; {}", fetch(*was_asked)
    )]
    GoneWal {
        /// The segment.
        name: String,
        /// The archive was asked for it.
        was_asked: bool,
    },
    /// A link or a folder stands where a file is to be written, or the other way round.
    #[error(
        "file \"{0}\" is of different type in source and target: move the target's out of the way, and run the rewind again"
    )]
    DifferentKind(String),
    /// Log that the rewound server will need is nowhere.
    #[error(
        "WAL segment {0}, which the rewound server will need, is neither in the target nor at the source: if an archive has it, set restore_command in the target's settings and rewind with -c, else clone the directory anew"
    )]
    MissingWal(String),
    /// Log that the source had when it was asked for its files is gone from there.
    #[error(
        "the source removed WAL segment {0} before it was copied: run the rewind again, which goes on and says what to do if it needs that segment still"
    )]
    VanishedWal(String),
    /// The end of the target's log was not reached.
    #[error("log of the target ends at {found}, but it was durable up to {expected}")]
    LogTooShort {
        /// What the control file proves.
        expected: Lsn,
        /// The end of the last whole record.
        found: Lsn,
    },
    /// A page of the source does not check out, however often it is read.
    #[error("block {block} of \"{path}\" is damaged at the source: {why}")]
    DamagedPage {
        /// The file.
        path: String,
        /// The block in the file.
        block: u64,
        /// What is wrong.
        why: String,
    },
    /// The marker of a rewind that was broken off makes no sense.
    #[error("the marker of a rewind that was broken off, \"{0}\", is damaged: clone the directory anew")]
    Marker(String),
    /// A rewind that was broken off began with another source.
    #[error(
        "a rewind of this directory to timeline {begun} was broken off behind the point where it can begin anew, and the source does not continue that: name the same source, or clone the directory anew"
    )]
    OtherSource {
        /// What it was to be.
        begun: TimelineId,
        /// The source is a directory at rest.
        is_at_rest: bool,
    },
    /// The source's answer makes no sense.
    #[error("unexpected answer from the source: {0}")]
    Answer(String),
    /// The catalogue of the target, which names what the discarded commits changed, makes no sense.
    #[error("could not read the target's catalogue: {0}")]
    Catalogue(String),
    /// There is no room for what the rewind would make.
    #[error(
        "there is no room for {bytes} bytes more in \"{folder}\", which the rewind may need: nothing was changed; make room, then rewind"
    )]
    NoRoom {
        /// Where.
        folder: String,
        /// How much.
        bytes: u64,
    },
    /// A file could not be read or written.
    #[error("could not access \"{path}\": {error}")]
    Io {
        /// The file.
        path: String,
        /// The cause.
        error: io::Error,
    },
    /// Somebody has the directory open, or it cannot be opened.
    #[error(transparent)]
    Engine(#[from] storage::Error),
    /// A control file makes no sense.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// backup_label makes no sense.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A history makes no sense.
    #[error(transparent)]
    History(#[from] HistoryFileError),
    /// The target's timeline cannot be told.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// The target's record of its branch cannot be read.
    #[error(transparent)]
    Branch(#[from] BranchError),
    /// The target's log cannot be read.
    #[error("log of the target: {0}")]
    Log(ReadError),
    /// The target's log cannot be read.
    #[error("log of the target: {0}")]
    LogSource(SourceError),
    /// The target's log cannot be brought into its place.
    #[error("log of the target: {0}")]
    LogFiles(WalError),
    /// A directory's format is not one that this program reads.
    #[error("{0}; {hint}", hint = .0.hint())]
    Format(FormatError),
    /// The connection or the server failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The settings of the standby could not be written.
    #[error(transparent)]
    Standby(#[from] CloneError),
}

impl RewindError {
    /// Whether the same may work later, without anybody's doing.
    pub fn may_pass(&self) -> bool {
        // The next try looks for log that vanished anew.
        matches!(
            self,
            Self::Client(_)
                | Self::DifferentSystems { is_at_rest: false, .. }
                | Self::SourceBehind { is_at_rest: false, .. }
                | Self::NoFork { is_at_rest: false, .. }
                | Self::OtherSource { is_at_rest: false, .. }
                | Self::SourceTurned { .. }
                | Self::SourceUnfinished
                | Self::VanishedWal(_)
        ) || self.is_disk_full()
    }

    /// Whether a disk has no room for what was to be written.
    fn is_disk_full(&self) -> bool {
        match self {
            Self::NoRoom { .. }
            | Self::Engine(storage::Error::DiskFull { .. })
            | Self::LogFiles(WalError::DiskFull { .. })
            | Self::Branch(BranchError::Segment(WalError::DiskFull { .. })) => true,
            Self::Io { error, .. }
            | Self::Control(ControlError::Io { error, .. })
            | Self::History(HistoryFileError::Io { error, .. })
            | Self::Branch(BranchError::Io { error, .. })
            | Self::LogSource(SourceError::Io { error, .. })
            | Self::Log(ReadError::Source(SourceError::Io { error, .. }))
            | Self::Standby(CloneError::Io { error, .. }) => host::is_disk_full(error),
            _ => false,
        }
    }

    /// As it is told when the segment of this name was looked for everywhere, in the archive too if that
    /// `was_asked`.
    pub(crate) fn of_gone_log(self, name: String, was_asked: bool) -> Self {
        match self {
            Self::NoCheckpoint { .. } => self,
            _ => Self::GoneWal { name, was_asked },
        }
    }

    /// Where a segment of the target's log may be gone, if that is why; one that ends too early may go on in
    /// a later one than that.
    pub(crate) fn missing_log(&self) -> Option<Lsn> {
        match self {
            Self::NoCheckpoint { at, .. } | Self::LogTooShort { found: at, .. } => Some(*at),
            Self::LogSource(SourceError::Missing { at, .. })
            | Self::Log(ReadError::Source(SourceError::Missing { at, .. })) => Some(*at),
            _ => None,
        }
    }
}

/// What helps where the source has not come so far.
const fn catch_up(is_at_rest: bool) -> &'static str {
    if is_at_rest {
        "start the source's server until it has come so far, or name another source"
    } else {
        "wait until the source has come so far, or name another"
    }
}

/// What helps where log is gone from the target.
const fn fetch(was_asked: bool) -> &'static str {
    if was_asked {
        "the target's restore_command does not find it either: clone the directory anew"
    } else {
        "fetch it from an archive by the target's restore_command (-c), or clone the directory anew"
    }
}

// By hand: what is in their text already is no cause that would be told after it.
impl From<ReadError> for RewindError {
    fn from(error: ReadError) -> Self {
        Self::Log(error)
    }
}

impl From<SourceError> for RewindError {
    fn from(error: SourceError) -> Self {
        Self::LogSource(error)
    }
}

impl From<WalError> for RewindError {
    fn from(error: WalError) -> Self {
        Self::LogFiles(error)
    }
}

pub(crate) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> RewindError {
    let path = path.display().to_string();
    move |error| RewindError::Io { path, error }
}

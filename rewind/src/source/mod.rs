//! Where the rewound directory gets the other branch's bytes from: a directory at rest, or a running server.

mod directory;
mod server;

use crate::error::RewindError;
use basebackup::send::files::SentFile;
use directory::DirectorySource;
use host::Host;
use protocol::replication::ReadFile;
use server::ServerSource;
use std::path::{Path, PathBuf};
use wal::control::{CONTROL_FILE, CONTROL_FILE_SIZE, ControlFile};
use wal::history::TimelineHistory;
use wal::{Lsn, SystemId, TimelineId};

/// Which source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceName {
    /// A data directory whose server was stopped.
    Directory(PathBuf),
    /// A running server, by its connection string.
    Server(String),
}

impl SourceName {
    /// For people; a password is left out.
    pub fn shown(&self) -> String {
        match self {
            Self::Directory(dir) => dir.display().to_string(),
            Self::Server(conninfo) => match protocol::conninfo::split(conninfo) {
                Ok(mut pairs) => {
                    pairs.retain(|(name, _)| name != "password");
                    protocol::conninfo::join(
                        pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())),
                    )
                }
                Err(_) => "a server".to_owned(),
            },
        }
    }
}

/// Where the source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    /// Its cluster.
    pub system_id: SystemId,
    /// Its timeline.
    pub timeline: TimelineId,
    /// No page of it is newer than this, and its log is durable up to here.
    pub at: Lsn,
    /// Where its log is known to go on to, durably; not before `at`.
    pub log_end: Lsn,
}

impl SourcePosition {
    /// Whether it is on the timeline still that it was on then.
    pub(crate) fn check_since(&self, then: &Self) -> Result<(), RewindError> {
        let (from, to) = (then.timeline, self.timeline);
        if from == to { Ok(()) } else { Err(RewindError::SourceTurned { from, to }) }
    }
}

/// A source, open.
pub enum Source {
    /// A directory, which no server opens meanwhile.
    Directory(Box<DirectorySource>),
    /// A server.
    Server(Box<ServerSource>),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Directory(_) => "Directory",
            Self::Server(_) => "Server",
        })
    }
}

/// What is done with bytes that were read: which read it was, and the bytes; None if there is no such file.
pub type Take<'t> = dyn FnMut(&ReadFile, Option<&[u8]>) -> Result<(), RewindError> + Send + 't;

impl Source {
    /// Opens a source.
    ///
    /// # Errors
    /// Fails if it cannot be reached, runs though it must not, or is none of ours.
    pub async fn open(host: &Host, name: &SourceName) -> Result<Self, RewindError> {
        match name {
            SourceName::Directory(dir) => {
                ControlFile::load(&*host.disk, dir)?.check_ours(dir)?;
                let lock = storage::lock_directory(host, dir)?;
                Ok(Self::Directory(Box::new(DirectorySource::new(host.disk.clone(), dir, lock)?)))
            }
            SourceName::Server(conninfo) => {
                Ok(Self::Server(Box::new(ServerSource::connect(conninfo).await?)))
            }
        }
    }

    /// Whether it stays where it is.
    pub const fn is_at_rest(&self) -> bool {
        matches!(self, Self::Directory(_))
    }

    /// Where it is now.
    ///
    /// # Errors
    /// Fails if it does not say so.
    pub async fn position(&mut self) -> Result<SourcePosition, RewindError> {
        match self {
            Self::Directory(directory) => Ok(directory.position()),
            Self::Server(server) => server.position().await,
        }
    }

    /// Where it is once all was read whose branch it continues up to `fork`: no page is newer than that,
    /// there or in what was read. Of a standby this is minRecoveryPoint, and not the end of its log, which
    /// may be a part of a record that no branch has.
    ///
    /// # Errors
    /// Fails if it does not say so.
    pub async fn position_after(&mut self, fork: Lsn) -> Result<SourcePosition, RewindError> {
        let control = self.control().await?;
        // A promotion in between shows by the timeline.
        let now = self.position().await?;
        let at = if control.state.is_standbys() { control.min_recovery_point.max(fork) } else { now.at };
        Ok(SourcePosition { at, ..now })
    }

    /// The history of its timeline.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub async fn history(&mut self, timeline: TimelineId) -> Result<TimelineHistory, RewindError> {
        match self {
            Self::Directory(directory) => directory.history(timeline),
            Self::Server(server) => server.history(timeline).await,
        }
    }

    /// Its files, as a base backup sends them. A server that was replaced does not list them to who begins;
    /// it does to who `goes_on`, and has all pages already.
    ///
    /// # Errors
    /// Fails if they cannot be listed.
    pub async fn files(&mut self, goes_on: bool) -> Result<Vec<SentFile>, RewindError> {
        match self {
            Self::Directory(directory) => directory.files(),
            Self::Server(server) => server.files(goes_on).await,
        }
    }

    /// Reads parts of files, and gives each to `take`, in their order.
    ///
    /// # Errors
    /// Fails if one cannot be read, or with what `take` fails with.
    pub async fn read(&mut self, reads: &[ReadFile], take: &mut Take<'_>) -> Result<(), RewindError> {
        match self {
            Self::Directory(directory) => directory.read(reads, take),
            Self::Server(server) => server.read(reads, take).await,
        }
    }

    /// Its control file as it is now.
    ///
    /// # Errors
    /// Fails if it cannot be read.
    pub async fn control(&mut self) -> Result<ControlFile, RewindError> {
        let path = CONTROL_FILE.to_owned();
        let read = ReadFile { path, offset: 0, length: CONTROL_FILE_SIZE as u32 };
        let mut found = None;
        self.read(std::slice::from_ref(&read), &mut |_, bytes| {
            found = bytes.map(ControlFile::decode);
            Ok(())
        })
        .await?;
        Ok(found.ok_or_else(|| RewindError::Answer(format!("there is no {CONTROL_FILE}")))??)
    }

    /// Ends the connection, or gives the directory free.
    pub async fn close(self) {
        if let Self::Server(server) = self {
            server.close().await;
        }
    }
}

/// The folder of a directory's log.
fn pg_wal(dir: &Path) -> PathBuf {
    dir.join("pg_wal")
}

//! The log as changes of pages need it, and `wal`'s writer as such a log, with errors of this crate.

use crate::Error;
use crate::error::log_error;
use crate::pages::barrier::WriteBarrier;
use std::fmt;
use wal::{EncodedRecord, Lsn, WalWriter};

/// Where a record went.
pub type Logged = wal::Inserted;

/// The log as page changes need it.
pub trait Log: Send + Sync + fmt::Debug {
    /// Appends a record. After an error it is not in the log.
    ///
    /// # Errors
    /// Fails if the log takes no more records or has no space.
    fn insert(&self, record: &mut EncodedRecord) -> Result<Logged, Error>;
    /// The redo point of the running or last checkpoint: pages not changed since need an image.
    fn redo_point(&self) -> Lsn;
}

/// A primary's log.
#[derive(Clone, Debug)]
pub(crate) struct EngineLog(pub(crate) WalWriter);

impl Log for EngineLog {
    fn insert(&self, record: &mut EncodedRecord) -> Result<Logged, Error> {
        let inserted = self.0.insert(record).map_err(log_error)?;
        Ok(Logged { start: inserted.start, end: inserted.end })
    }
    fn redo_point(&self) -> Lsn {
        if host::planted!("no page image after a checkpoint") {
            return Lsn::INVALID;
        }
        self.0.redo_point()
    }
}

impl WriteBarrier for EngineLog {
    fn before_page_write(&self, lsn: Lsn) -> Result<Lsn, Error> {
        self.0.flush(lsn).map_err(log_error)
    }
}

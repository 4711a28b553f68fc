//! What must be done before a page may be written.

use crate::Error;
use std::fmt;
use wal::Lsn;

/// What must be done before a page with this pd_lsn may be written: on a primary the log is flushed up to
/// there, in recovery minRecoveryPoint is raised; in the middle of a promotion both.
pub trait WriteBarrier: Send + Sync + fmt::Debug {
    /// Returns once the page may be written, and up to which pd_lsn others may be too.
    ///
    /// # Errors
    /// Fails if the log cannot be made durable up to there; the page must not be written then.
    fn before_page_write(&self, lsn: Lsn) -> Result<Lsn, Error>;
}

//! Telling a session's running statement to stop, from another task.

use crate::error::{Severity, SqlError, sqlstate};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use storage::{Interrupt, WaitEvent};

/// Why a statement is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// A CancelRequest or pg_cancel_backend().
    User,
    /// statement_timeout.
    StatementTimeout,
    /// lock_timeout.
    LockTimeout,
    /// pg_terminate_backend() or a fast shutdown: the session ends.
    Terminate,
    /// Replay on a standby needs what the statement still looks at.
    RecoveryConflict,
}

impl CancelReason {
    const ALL: [Self; 5] =
        [Self::User, Self::StatementTimeout, Self::LockTimeout, Self::Terminate, Self::RecoveryConflict];

    /// What the client is told.
    pub fn error(self) -> SqlError {
        let (code, message) = match self {
            Self::User => (sqlstate::QUERY_CANCELED, "canceling statement due to user request"),
            Self::StatementTimeout => {
                (sqlstate::QUERY_CANCELED, "canceling statement due to statement timeout")
            }
            Self::LockTimeout => (sqlstate::LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout"),
            Self::Terminate => {
                (sqlstate::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
            }
            Self::RecoveryConflict => {
                (sqlstate::SERIALIZATION_FAILURE, "canceling statement due to conflict with recovery")
            }
        };
        let mut error = SqlError::new(code, message);
        if self == Self::Terminate {
            error.fields_mut().severity = Severity::Fatal;
        }
        if self == Self::RecoveryConflict {
            error =
                error.with_detail("User query might have needed to see row versions that must be removed.");
        }
        error
    }
}

/// A handle on a session's current statement. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Canceller {
    /// 0, or 1 + the reason's place in `CancelReason::ALL`.
    reason: Arc<AtomicU8>,
    /// Ends the waits inside of storage.
    interrupt: Interrupt,
}

impl Canceller {
    /// Stops what runs now; if nothing runs, what runs next (until [`Canceller::clear`]). The first reason stays,
    /// except that `Terminate` replaces any other.
    pub fn cancel(&self, reason: CancelReason) {
        let number = CancelReason::ALL.iter().position(|one| *one == reason).map_or(0, |at| at + 1);
        let number = u8::try_from(number).unwrap_or(1);
        if reason == CancelReason::Terminate {
            self.reason.store(number, Ordering::Release);
        } else {
            let _ = self.reason.compare_exchange(0, number, Ordering::AcqRel, Ordering::Relaxed);
        }
        self.interrupt.cancel();
    }

    /// Forgets a cancellation that met nothing; the server calls this when a new query message begins. Terminate stays.
    pub fn clear(&self) {
        if self.reason() != Some(CancelReason::Terminate) {
            self.reason.store(0, Ordering::Release);
            self.interrupt.clear();
        }
    }

    /// The pending reason.
    pub fn reason(&self) -> Option<CancelReason> {
        let number = self.reason.load(Ordering::Acquire);
        CancelReason::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Fails if a cancellation is pending; long loops call this.
    pub fn check(&self) -> Result<(), SqlError> {
        match self.reason() {
            None => Ok(()),
            Some(reason) => Err(reason.error()),
        }
    }

    /// Waits for a cancellation. Cancel safe.
    pub async fn cancelled(&self) -> CancelReason {
        self.interrupt.cancelled().await;
        self.reason().unwrap_or(CancelReason::User)
    }

    /// The oldest snapshot that the session holds on a standby, by its next xid.
    pub fn oldest_snapshot(&self) -> Option<wal::Xid> {
        self.interrupt.oldest_snapshot()
    }

    /// The next xid and the position of the snapshot that the session's transaction took last; None if it has none.
    pub fn snapshot(&self) -> Option<(wal::Xid, wal::Lsn)> {
        self.interrupt.snapshot()
    }

    /// Gives the session the number by which others know it.
    pub fn set_session(&self, pid: i32) {
        self.interrupt.set_session(pid);
    }

    /// What the session's transaction waits for just now.
    pub fn waits_for(&self) -> Option<WaitEvent> {
        self.interrupt.waits_for()
    }
    /// The end of the commit whose level it waits for, or waited for last.
    pub fn commit_end(&self) -> wal::Lsn {
        self.interrupt.commit_end()
    }

    /// The switch that storage's waits listen to.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// What a storage error means to the client: a cancelled wait gets its reason.
    pub(crate) fn explain(&self, error: storage::Error) -> SqlError {
        match (&error, self.reason()) {
            (storage::Error::Cancelled, Some(reason)) => reason.error(),
            _ => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_waiter_is_told_the_first_reason_and_terminate_overrides_it() {
        let canceller = Canceller::default();
        assert_eq!(canceller.reason(), None);
        let waiter = tokio::spawn({
            let canceller = canceller.clone();
            async move { canceller.cancelled().await }
        });
        tokio::task::yield_now().await;
        canceller.cancel(CancelReason::StatementTimeout);
        canceller.cancel(CancelReason::User);
        assert_eq!(waiter.await.unwrap(), CancelReason::StatementTimeout);
        canceller.clear();
        assert!(canceller.check().is_ok());
        canceller.cancel(CancelReason::User);
        canceller.cancel(CancelReason::Terminate);
        canceller.clear();
        assert_eq!(canceller.reason(), Some(CancelReason::Terminate));
    }
}

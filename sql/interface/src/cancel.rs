//! Telling a session's running statement to stop, from another task.

use crate::error::{Severity, SqlError};
use host::{Instant, MemoryLimit};
use sql_types::work::{Keeper, Kept};
use sqlstate::SqlState;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use storage::{ConflictKind, Interrupt, WaitEvent};

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
    RecoveryConflict(ConflictKind),
}

impl CancelReason {
    const ALL: [Self; 6] = [
        Self::User,
        Self::StatementTimeout,
        Self::LockTimeout,
        Self::Terminate,
        Self::RecoveryConflict(ConflictKind::Snapshot),
        Self::RecoveryConflict(ConflictKind::Lock),
    ];

    /// 1 + its place in `ALL`.
    fn number(self) -> u8 {
        let place = Self::ALL.iter().position(|one| *one == self).map_or(0, |at| at + 1);
        u8::try_from(place).unwrap_or(1)
    }

    /// What the client is told.
    pub fn error(self) -> SqlError {
        let (code, message) = match self {
            Self::User => (SqlState::QUERY_CANCELED, "canceling statement due to user request"),
            Self::StatementTimeout => {
                (SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
            }
            Self::LockTimeout => (SqlState::LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout"),
            Self::Terminate => {
                (SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
            }
            Self::RecoveryConflict(_) => {
                (SqlState::SERIALIZATION_FAILURE, "canceling statement due to conflict with recovery")
            }
        };
        let mut error = SqlError::new(code, message);
        if self == Self::Terminate {
            error.fields_mut().severity = Severity::Fatal;
        }
        if let Self::RecoveryConflict(kind) = self {
            error = error.with_detail(kind.detail());
        }
        error
    }
}

/// A handle on a session's current statement. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Canceller(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// 0, or 1 + the reason's place in `CancelReason::ALL`.
    reason: AtomicU8,
    /// When the statement's time is over, in microseconds after `born`; 0 is never.
    deadline: AtomicU64,
    born: Instant,
    /// Long work may leave the thread, which is one of a runtime with several.
    leaves: AtomicBool,
    /// What the session and all others may take.
    memory: OnceLock<Arc<MemoryLimit>>,
    /// Ends the waits inside of storage.
    interrupt: Interrupt,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            reason: AtomicU8::new(0),
            deadline: AtomicU64::new(0),
            born: Instant::now(),
            leaves: AtomicBool::new(false),
            memory: OnceLock::new(),
            interrupt: Interrupt::default(),
        }
    }
}

impl Shared {
    #[inline]
    fn reason(&self) -> Option<CancelReason> {
        let number = self.reason.load(Ordering::Acquire);
        CancelReason::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    fn cancel(&self, reason: CancelReason) {
        let number = reason.number();
        if reason == CancelReason::Terminate {
            self.reason.store(number, Ordering::Release);
        } else {
            let _ = self.reason.compare_exchange(0, number, Ordering::AcqRel, Ordering::Relaxed);
        }
        self.interrupt.cancel();
    }

    /// The pending reason. A statement that never waits hears of the end of its time here.
    #[inline]
    fn pending(&self) -> Option<CancelReason> {
        let deadline = self.deadline.load(Ordering::Relaxed);
        if deadline != 0 && self.reason().is_none() && self.born.elapsed().as_micros() >= u128::from(deadline)
        {
            self.cancel(CancelReason::StatementTimeout);
        }
        self.reason()
    }
}

impl Keeper for Shared {
    fn check(&self) -> sql_types::Result<()> {
        match self.pending() {
            None => Ok(()),
            // The session says why.
            Some(_) => Err(sql_types::Error::new(SqlState::QUERY_CANCELED, "canceling statement")),
        }
    }

    fn aside(&self, work: &mut dyn FnMut()) {
        if self.leaves.load(Ordering::Relaxed) {
            // The thread's other tasks move to another one, and this becomes a thread of the work's own.
            host::task::in_place(work);
        } else {
            work();
        }
    }

    fn reserve(&self, bytes: usize) -> sql_types::Result<()> {
        let Some(memory) = self.memory.get() else { return Ok(()) };
        if memory.reserve(bytes as u64) {
            return Ok(());
        }
        Err(sql_types::Error::new(SqlState::OUT_OF_MEMORY, "out of memory").with_detail(format!(
            "Failed on request of size {bytes}: the server has taken what plimsoll.memory_limit allows."
        )))
    }

    fn release(&self, bytes: usize) {
        if let Some(memory) = self.memory.get() {
            memory.release(bytes as u64);
        }
    }
}

impl Canceller {
    /// Stops what runs now; if nothing runs, what runs next (until [`Canceller::clear`]). The first reason
    /// stays, except that `Terminate` replaces any other.
    pub fn cancel(&self, reason: CancelReason) {
        self.0.cancel(reason);
    }

    /// Forgets a cancellation that met nothing; the server calls this when a new query message begins.
    /// Terminate stays.
    #[inline]
    pub fn clear(&self) {
        if self.reason() != Some(CancelReason::Terminate) {
            self.0.reason.store(0, Ordering::Release);
            self.0.interrupt.clear();
        }
    }

    /// Forgets a request to cancel that came while nothing ran, since the next message was waited for. Other
    /// reasons stay.
    #[inline]
    pub fn forget_request(&self) {
        let request = CancelReason::User.number();
        if self.0.reason.load(Ordering::Relaxed) != request {
            return;
        }
        if self.0.reason.compare_exchange(request, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.0.interrupt.clear();
            if self.reason().is_some() {
                // Another reason came in between, and must be heard.
                self.0.interrupt.cancel();
            }
        }
    }

    /// When the time of what runs is over: it is cancelled then even if it computes without a pause. None is
    /// never.
    #[inline]
    pub fn set_deadline(&self, deadline: Option<Instant>) {
        let micros = |at: Instant| at.saturating_duration_since(self.0.born).as_micros();
        let deadline = deadline.map_or(0, |at| u64::try_from(micros(at)).unwrap_or(u64::MAX).max(1));
        self.0.deadline.store(deadline, Ordering::Relaxed);
    }

    /// Lets long work become a thread of its own. Only for sessions that run as tasks of a runtime with
    /// several threads.
    pub fn let_work_leave(&self) {
        self.0.leaves.store(true, Ordering::Relaxed);
    }

    /// Sets what the session may take together with all others; once.
    pub fn set_memory_limit(&self, memory: Arc<MemoryLimit>) {
        let _ = self.0.memory.set(memory);
    }

    /// Whether there is no more memory for what sessions keep.
    #[inline]
    pub fn is_out_of_memory(&self) -> bool {
        self.0.memory.get().is_some_and(|memory| memory.is_reached())
    }

    /// The same by a look taken now: the other may be as old as the time between two looks.
    #[cold]
    pub fn is_out_of_memory_now(&self) -> bool {
        self.0.memory.get().is_some_and(|memory| {
            memory.look();
            memory.is_reached()
        })
    }

    /// Runs what computes for the session: long computations inside of it hear of cancellations, leave the
    /// thread, and ask for memory. The future comes pinned, so that it is not moved around.
    pub async fn keeping<F: Future>(&self, mut future: Pin<&mut F>) -> F::Output {
        let mut keeper: Option<Arc<dyn Keeper>> = Some(self.0.clone());
        poll_fn(move |cx| {
            let _kept = Kept::new(&mut keeper);
            future.as_mut().poll(cx)
        })
        .await
    }

    /// The pending reason.
    #[inline]
    pub fn reason(&self) -> Option<CancelReason> {
        self.0.reason()
    }

    /// Fails if a cancellation is pending; long loops call this.
    ///
    /// # Errors
    ///
    /// 57014 or 57P01, as the cancellation says.
    #[inline]
    pub fn check(&self) -> Result<(), SqlError> {
        match self.0.pending() {
            None => Ok(()),
            Some(reason) => Err(reason.error()),
        }
    }

    /// Waits for a cancellation. Cancel safe.
    pub async fn cancelled(&self) -> CancelReason {
        self.0.interrupt.cancelled().await;
        self.reason().unwrap_or(CancelReason::User)
    }

    /// The oldest snapshot that the session holds on a standby, by its next xid.
    pub fn oldest_snapshot(&self) -> Option<wal::Xid> {
        self.0.interrupt.oldest_snapshot()
    }

    /// The next xid and the position of the snapshot that the session's transaction took last; None if it has
    /// none.
    pub fn snapshot(&self) -> Option<(wal::Xid, wal::Lsn)> {
        self.0.interrupt.snapshot()
    }

    /// Gives the session the number by which others know it.
    pub fn set_session(&self, pid: i32) {
        self.0.interrupt.set_session(pid);
    }

    /// What the session's transaction waits for just now.
    pub fn waits_for(&self) -> Option<WaitEvent> {
        self.0.interrupt.waits_for()
    }
    /// The end of the commit whose level it waits for, or waited for last.
    pub fn commit_end(&self) -> wal::Lsn {
        self.0.interrupt.commit_end()
    }

    /// The switch that storage's waits listen to.
    #[inline]
    pub fn interrupt(&self) -> &Interrupt {
        &self.0.interrupt
    }

    /// What a storage error means to the client: a cancelled wait gets its reason.
    #[cold]
    pub fn explain(&self, error: storage::Error) -> SqlError {
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
        canceller.cancel(CancelReason::StatementTimeout);
        canceller.forget_request();
        assert_eq!(canceller.reason(), Some(CancelReason::StatementTimeout));
        canceller.clear();
        canceller.cancel(CancelReason::User);
        canceller.forget_request();
        assert!(canceller.check().is_ok());
        canceller.cancel(CancelReason::User);
        canceller.cancel(CancelReason::Terminate);
        canceller.clear();
        assert_eq!(canceller.reason(), Some(CancelReason::Terminate));
    }
}

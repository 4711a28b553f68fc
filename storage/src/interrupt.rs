//! A session's cancel switch: one bit that ends every wait of its transactions, and what they wait for now.

use host::Instant;
use host::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU64, Ordering};
use tokio::sync::Notify;
use wal::{Lsn, Xid};

/// What a transaction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WaitEvent {
    /// A lock on a row.
    RowLock = 1,
    /// A lock on a table.
    TableLock,
    /// Its own commit's level.
    CommitLevel,
    /// Commits of others, which its result depends on and which are not visible to all yet.
    Visible,
    /// The decision on commits of before this server's start.
    Undecided,
    /// A position of the log (WAIT FOR LSN, plimsoll.read_after).
    Position,
    /// The word that commits are confirmed (plimsoll.standby_reads = confirmed).
    Confirmed,
    /// A place among the large transactions, of which few may be in pages at once.
    LargeTransaction,
    /// An advisory lock, which the layers above have.
    AdvisoryLock,
    /// A time that the statement itself has named (pg_sleep).
    Sleep,
}

impl WaitEvent {
    const ALL: [Self; 10] = [
        Self::RowLock,
        Self::TableLock,
        Self::CommitLevel,
        Self::Visible,
        Self::Undecided,
        Self::Position,
        Self::Confirmed,
        Self::LargeTransaction,
        Self::AdvisoryLock,
        Self::Sleep,
    ];

    /// Whether it is for a lock.
    pub fn is_of_lock(self) -> bool {
        matches!(self, Self::RowLock | Self::TableLock | Self::LargeTransaction | Self::AdvisoryLock)
    }
}

/// Cancels the waits of one session's transactions; cloning shares the switch.
///
/// The session keeps one for its life: the server sets it from a CancelRequest, a timeout or a closed
/// connection, and the session clears it when the next statement begins.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<Switch>);

#[derive(Debug, Default)]
struct Switch {
    set: AtomicBool,
    changed: Notify,
    /// The number by which others know the session; 0 for none.
    session: AtomicI32,
    /// A [`WaitEvent`], or 0.
    waits_for: AtomicU8,
    /// When it began to wait for a lock.
    waits_since: Mutex<Option<Instant>>,
    /// The end of the commit that the session waits for.
    commit_end: AtomicU64,
    /// The snapshots that the session holds on a standby, by their next xids.
    snapshots: Mutex<Vec<Xid>>,
    /// The newest snapshot of the session's transaction: its next xid (0 for none) and its position.
    snapshot: (AtomicU64, AtomicU64),
}

/// Says what is waited for as long as it lives.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Switch, bool);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waits_for.store(0, Ordering::Release);
        if self.1 {
            *self.0.waits_since.lock() = None;
        }
    }
}

impl Interrupt {
    /// A switch that is off.
    pub fn new() -> Self {
        Self::default()
    }
    /// Switches on: present and later waits end with [`crate::Error::Cancelled`] until [`Interrupt::clear`].
    pub fn cancel(&self) {
        self.0.set.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }
    /// Switches off.
    #[inline]
    pub fn clear(&self) {
        self.0.set.store(false, Ordering::Release);
    }
    /// Whether it is on.
    pub fn is_cancelled(&self) -> bool {
        self.0.set.load(Ordering::Acquire)
    }
    /// Gives the session the number under which lock tables and deadlock reports name it.
    pub fn set_session(&self, number: i32) {
        self.0.session.store(number, Ordering::Release);
    }
    /// That number; 0 if it has none.
    pub fn session(&self) -> i32 {
        self.0.session.load(Ordering::Acquire)
    }
    /// What its transaction waits for just now.
    pub fn waits_for(&self) -> Option<WaitEvent> {
        let event = self.0.waits_for.load(Ordering::Acquire);
        WaitEvent::ALL.into_iter().find(|known| *known as u8 == event)
    }
    /// Since when it waits for a lock; None if it does not.
    pub fn waits_since(&self) -> Option<Instant> {
        *self.0.waits_since.lock()
    }
    /// Tells of a wait, until the guard goes.
    pub fn waiting(&self, event: WaitEvent) -> Waiting<'_> {
        let is_timed = event.is_of_lock();
        if is_timed {
            *self.0.waits_since.lock() = Some(Instant::now());
        }
        self.0.waits_for.store(event as u8, Ordering::Release);
        Waiting(&self.0, is_timed)
    }
    /// Tells of a wait for the level of a commit that ends here.
    pub(crate) fn waiting_for_commit(&self, end: Lsn) -> Waiting<'_> {
        self.0.commit_end.store(end.get(), Ordering::Release);
        self.waiting(WaitEvent::CommitLevel)
    }
    /// The end of the commit of the last [`WaitEvent::CommitLevel`].
    pub fn commit_end(&self) -> Lsn {
        Lsn::new(self.0.commit_end.load(Ordering::Acquire))
    }
    /// The oldest snapshot that the session holds on a standby, by its next xid.
    pub fn oldest_snapshot(&self) -> Option<Xid> {
        self.0.snapshots.lock().iter().min().copied()
    }
    pub(crate) fn holds(&self, next_xid: Xid) {
        self.0.snapshots.lock().push(next_xid);
    }
    pub(crate) fn lets_go(&self, next_xid: Xid) {
        let mut snapshots = self.0.snapshots.lock();
        if let Some(at) = snapshots.iter().position(|xid| *xid == next_xid) {
            snapshots.swap_remove(at);
        }
    }
    /// Notes the snapshot that the session's transaction reads, for those who want to know what keeps old
    /// versions.
    pub(crate) fn note_snapshot(&self, snapshot: Option<(Xid, Lsn)>) {
        let (xid, lsn) = snapshot.map_or((0, 0), |(xid, lsn)| (xid.get(), lsn.get()));
        self.0.snapshot.1.store(lsn, Ordering::Relaxed);
        self.0.snapshot.0.store(xid, Ordering::Relaxed);
    }
    /// The next xid and the position of the snapshot that the session's transaction took last; None if it has
    /// none.
    pub fn snapshot(&self) -> Option<(Xid, Lsn)> {
        let xid = self.0.snapshot.0.load(Ordering::Relaxed);
        (xid != 0).then(|| (Xid::new(xid), Lsn::new(self.0.snapshot.1.load(Ordering::Relaxed))))
    }
    /// Waits until it is on.
    pub async fn cancelled(&self) {
        loop {
            let mut changed = std::pin::pin!(self.0.changed.notified());
            // Registered before the look, so that a switch thrown in between is not missed.
            changed.as_mut().enable();
            if self.is_cancelled() {
                return;
            }
            changed.await;
        }
    }
}

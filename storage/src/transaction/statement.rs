//! Statements of a transaction, and the snapshots that they read.

use super::{Transaction, View};
use crate::commit::write_set::CommandId;
use crate::visibility::snapshot::LiveSnapshot;
use crate::{Error, Isolation};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use wal::Lsn;

impl Transaction {
    /// Begins a statement: the next command id, and under READ COMMITTED a new snapshot.
    ///
    /// Waits while commits of before this server's start are undecided (a fenced one leaves them out), and
    /// on a standby until it is consistent. Fails with [`Error::RecoveryConflict`] on a standby whose replay
    /// had to give up this snapshot.
    ///
    /// # Errors
    /// Fails if the wait is cancelled, the server stops, or replay gave the snapshot up.
    pub async fn begin_statement(&mut self) -> Result<(), Error> {
        self.as_of = None;
        self.command = CommandId(self.command.0.saturating_add(1));
        let anew = host::planted!("REPEATABLE READ takes a new snapshot on a standby");
        if self.keeps_snapshot() && !(anew && self.engine.is_in_recovery()) {
            return self.check_snapshot();
        }
        self.engine.wait_open_and_consistent(&self.interrupt).await?;
        self.engine.levels.wait_decided_or_left_out(self.floor, &self.interrupt).await?;
        if self.reads_confirmed && self.engine.is_in_recovery() {
            self.take_confirmed_snapshot().await?;
        } else {
            self.take_snapshot();
        }
        Ok(())
    }

    /// Whether later statements on a standby see only commits that the server before it has named confirmed,
    /// and of these all that end at or before `floor` (a client's token); they may wait for that. On a
    /// primary it changes nothing.
    #[inline]
    pub fn read_confirmed(&mut self, confirmed: bool, floor: Lsn) {
        self.reads_confirmed = confirmed;
        self.floor = self.floor.max(floor);
    }

    /// Whether the snapshot is that of all statements to come.
    pub fn keeps_snapshot(&self) -> bool {
        self.isolation == Isolation::RepeatableRead && self.snapshot.is_some() && !self.is_provisional
    }

    /// Begins a statement that looks up names or who may log in, without waiting for commits of before this
    /// start to be decided: the standbys that decide them have to log in first. What it reads may reach a
    /// client only when they are decided ([`crate::CommitGate::wait_decided`]), and its snapshot serves no
    /// other statement.
    ///
    /// # Errors
    /// Fails if the wait is cancelled or the server stops.
    pub async fn begin_login_statement(&mut self) -> Result<(), Error> {
        self.command = CommandId(self.command.0.saturating_add(1));
        if self.keeps_snapshot() {
            return self.check_snapshot();
        }
        self.engine.wait_open_and_consistent(&self.interrupt).await?;
        self.take_snapshot();
        self.is_provisional = true;
        Ok(())
    }

    /// Begins a statement that must not miss any commit, be it in doubt: one that looks at all rows of a
    /// table which nobody else can write now. What it finds leaves the server only when all of that is
    /// visible.
    ///
    /// Under REPEATABLE READ the snapshot of before stays, and the statement is refused if there is one.
    ///
    /// # Errors
    /// Fails under REPEATABLE READ with a snapshot, if the wait is cancelled, or if the server stops.
    pub async fn begin_complete_statement(&mut self) -> Result<(), Error> {
        if self.keeps_snapshot() {
            return Err(Error::WrongState("this statement needs a newer snapshot than its transaction has"));
        }
        self.command = CommandId(self.command.0.saturating_add(1));
        self.engine.wait_readable(&self.interrupt).await?;
        self.take_snapshot_after(Lsn::MAX);
        Ok(())
    }

    /// Lets others have the locks on tables, and on rows that it did not write, only when the commit is
    /// visible, not when it is answered: what they look up under such a lock must be what the commit made of
    /// it (definitions of tables).
    pub fn hold_locks_until_visible(&mut self) {
        self.holds_locks = true;
    }

    fn take_snapshot(&mut self) {
        if let Some(decided) = self.engine.levels.before_undecided() {
            self.snapshot = None;
            self.keep_snapshot(decided);
            return;
        }
        self.take_snapshot_after(self.floor.max(self.evaluated_up_to()));
    }

    fn take_snapshot_after(&mut self, after: Lsn) {
        // The old one goes first, so that it does not hold the horizon back while the new one is taken.
        self.snapshot = None;
        let snapshot = self.snapshot_after(after);
        self.keep_snapshot(snapshot);
    }

    /// A snapshot of what is visible, and of all commits up to `after`.
    pub(super) fn snapshot_after(&self, after: Lsn) -> LiveSnapshot {
        let levels = &self.engine.levels;
        self.engine.visibility.take(after, |level, end| levels.reached(level, end))
    }

    async fn take_confirmed_snapshot(&mut self) -> Result<(), Error> {
        self.snapshot = None;
        match self.engine.wait_confirmed(self.floor, &self.interrupt).await? {
            Some(snapshot) => self.keep_snapshot(snapshot),
            None => {
                // It was promoted meanwhile, and may be fenced by now.
                self.engine.levels.wait_decided_or_left_out(self.floor, &self.interrupt).await?;
                self.take_snapshot();
            }
        }
        Ok(())
    }

    fn keep_snapshot(&mut self, snapshot: LiveSnapshot) {
        self.note_evaluated(snapshot.lsn);
        self.interrupt.note_snapshot(Some((snapshot.next_xid, snapshot.lsn)));
        // Only replay asks whose it is.
        let snapshot =
            if self.engine.is_in_recovery() { snapshot.held_by(&self.interrupt) } else { snapshot };
        self.snapshot = Some(Arc::new(snapshot));
        self.is_provisional = self.looks_up;
    }

    /// Whether the statements from here on do no more than look up names, as LOCK TABLE does: under
    /// REPEATABLE READ each has a snapshot of its own then, and the first one behind them takes that of the
    /// transaction.
    pub fn look_up_only(&mut self, only: bool) {
        self.looks_up = only;
    }

    /// Gives the snapshot back between two statements: under READ COMMITTED the next one takes its own, and
    /// nothing needs to be kept for a session that idles. Scans that are still open keep theirs.
    pub fn release_snapshot(&mut self) {
        if self.isolation == Isolation::ReadCommitted {
            self.snapshot = None;
            self.interrupt.note_snapshot(None);
        }
    }

    fn check_snapshot(&self) -> Result<(), Error> {
        match &self.snapshot {
            Some(snapshot) => self.engine.check_conflict(snapshot),
            None => Ok(()),
        }
    }

    /// What the statement that has begun reads; None before the first one.
    pub fn view(&self) -> Option<View> {
        self.snapshot.clone().map(|snapshot| View { snapshot, command: self.command })
    }

    /// Has reads give what an earlier statement of this transaction would read, until None is said or another
    /// statement begins.
    pub fn read_as_of(&mut self, view: Option<View>) {
        self.as_of = view;
    }

    #[inline]
    pub(crate) fn snapshot(&self) -> Result<&Arc<LiveSnapshot>, Error> {
        if let Some(view) = &self.as_of {
            return Ok(&view.snapshot);
        }
        match &self.snapshot {
            Some(snapshot) => Ok(snapshot),
            None => Err(Error::WrongState("no statement has begun in this transaction")),
        }
    }

    /// Reads see own writes of the commands before this one.
    #[inline]
    pub(crate) fn command(&self) -> CommandId {
        self.as_of.as_ref().map_or(self.command, |view| view.command)
    }

    pub(super) fn note_evaluated(&self, lsn: Lsn) {
        self.evaluated.fetch_max(lsn.get(), Ordering::Relaxed);
    }
}

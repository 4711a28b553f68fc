//! The end of a transaction.

use super::Transaction;
use crate::commit::request::{EarlyWrites, Request, TreeChanges, TreeOwner};
use crate::visibility::snapshot::Insertion;
use crate::{Committed, Error, SyncLevel};
use std::sync::Arc;
use wal::Lsn;

/// What a large transaction leaves to its commit at most.
const SPILLED_BEFORE_COMMIT_BYTES: usize = 256 << 10;

impl Transaction {
    /// Commits and does not wait for the level: whoever tells of what was written waits for it to become
    /// visible.
    ///
    /// # Errors
    /// Fails if nothing was committed; after an error of the log only a restart tells.
    pub async fn commit_in_doubt(mut self, level: SyncLevel) -> Result<Committed, Error> {
        let evaluated = self.evaluated_up_to();
        let inserted = self.insert_commit(level).await?;
        let (lsn, xid) = inserted.map_or((evaluated, None), |commit| (commit.end, Some(commit.xid)));
        Ok(Committed { lsn, timeline: self.engine.timeline(), xid, confirmed: false })
    }

    /// Puts the commit into the log; None if there is nothing to commit.
    async fn insert_commit(&mut self, level: SyncLevel) -> Result<Option<Insertion>, Error> {
        self.snapshot = None;
        if !self.has_writes() {
            return Ok(None);
        }
        let (created, dropped) = (std::mem::take(&mut self.created), std::mem::take(&mut self.dropped));
        let trees = (!created.is_empty() || !dropped.is_empty()).then(|| {
            let owner: Arc<dyn TreeOwner> = Arc::clone(&self.engine) as _;
            Box::new(TreeChanges { owner, created, dropped, committed: None })
        });
        // Who gets a lock on a row that was written meets its new version, which tells of the commit.
        // Whatever else is locked does not: those locks are given back with the answer to COMMIT.
        let passes_all = host::planted!("locks pass on before what was done under them is seen");
        let writes = &self.writes;
        let passing = self.locks.take_passing(|tree, key| !passes_all && writes.newest(tree, key).is_none());
        let mut request = Box::new(Request::new(passing, trees, level));
        std::mem::swap(&mut request.writes, &mut self.writes);
        request.assigned_xids = self.assigned.take();
        request.large = self.large.take().map(|large| large as Box<dyn EarlyWrites>);
        self.engine.pipeline()?.insert(request).await.map(Some)
    }

    /// Commits and waits until the commit has reached `level`, and all commits that it evaluated are visible.
    ///
    /// A cancelled wait ([`crate::Interrupt`]) is no error: the commit stands in this node's log, and
    /// [`Committed::confirmed`] is false. An error means that nothing was committed, except those of which
    /// [`Error::may_have_committed`] says otherwise.
    ///
    /// # Errors
    /// Fails if nothing was committed, with those exceptions.
    pub async fn commit(mut self, level: SyncLevel) -> Result<Committed, Error> {
        self.commit_in_place(level).await
    }

    /// The same where the transaction lies, since it is large. All that is left to do with it is to drop it.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub async fn commit_in_place(&mut self, level: SyncLevel) -> Result<Committed, Error> {
        let evaluated = self.evaluated_up_to();
        let timeline = self.engine.timeline();
        if self.is_early() && self.writes.bytes() > SPILLED_BEFORE_COMMIT_BYTES {
            self.spill().await?;
        }
        self.snapshot = None;
        self.interrupt.note_snapshot(None);
        let (lsn, xid, mut confirmed) = match self.insert_commit(level).await? {
            Some(inserted) => {
                let confirmed = self.engine.pipeline()?.wait(inserted, &self.interrupt).await?;
                (inserted.end, Some(inserted.xid), confirmed)
            }
            None => (evaluated, None, true),
        };
        let waits = !host::planted!("COMMIT does not wait for what it rests on");
        if evaluated > self.engine.visibility.visible() && waits {
            match self.engine.wait_visible(evaluated, &self.interrupt).await {
                Err(Error::Cancelled) => confirmed = false,
                other => other?,
            }
        }
        self.give_locks_back(lsn);
        Ok(Committed { lsn, timeline, xid, confirmed })
    }

    /// Releases the locks that did not pass on with the commit. If it is not visible, who gets one sees what
    /// was done under it all the same, or gets it only then.
    fn give_locks_back(&mut self, commit: Lsn) {
        if self.locks.is_empty() {
            return;
        }
        let sight = &self.engine.sight;
        if sight.sees(commit) {
            self.locks.release_after(0);
            return;
        }
        let locks = std::mem::replace(&mut self.locks, self.engine.locks.new_set(0));
        if self.holds_locks {
            sight.when_seen(commit, move || drop(locks));
        } else {
            sight.pass_on(locks, commit);
        }
    }

    /// Rolls back: forgets the write set, releases locks, removes trees it created.
    pub fn rollback(self) {}
}

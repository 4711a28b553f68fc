//! Files of trees that are gone: they are removed once nobody can need them any more.

use super::{Engine, FIRST_NUMBER};
use crate::commit::request::TreeOwner;
use crate::visibility::snapshot::Insertion;
use crate::{Error, TreeId};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use wal::{Lsn, RelFile};

/// Files that one record drops at most, of those that nothing names.
const DROPPED_AT_ONCE: usize = 512;

/// Files whose removal waits until no snapshot can need them, nor the next while the drop is in doubt, and
/// the log that drops them is durable.
#[derive(Debug)]
pub(super) struct Drop {
    after: Insertion,
    files: Vec<RelFile>,
}

impl Engine {
    /// Removes the files of trees whose drop was committed with `after`, once that is safe.
    pub(crate) fn drop_later(&self, after: Insertion, trees: &[TreeId]) {
        if trees.is_empty() {
            return;
        }
        let files = trees.iter().map(|tree| tree.file()).collect();
        // Redo has come by the drop, if it was not this node's. A standby may be promoted while a snapshot
        // still reads them.
        self.store.close_dropped(trees);
        self.row_numbers.lock().retain(|tree, _| !trees.contains(tree));
        self.drops.lock().push(Drop { after, files });
    }

    /// Removes the files whose time has come. Does I/O.
    pub(crate) fn remove_dropped(&self) -> Result<(), Error> {
        let owed = std::mem::take(&mut *self.unremoved.lock());
        // Those that the log does not take now, either, are owed on.
        let _ = self.remove_created(&owed);
        let durable = match self.primary.get() {
            Some(primary) => primary.wal.positions().flushed(),
            None => Lsn::MAX,
        };
        self.remove_dropped_if(|drop| drop.end <= durable && !self.visibility.is_unseen_by_some(drop.xid))
    }

    /// Removes the files that the log up to `upto` has dropped, which is durable, whoever may still have a
    /// snapshot: redo from there does not come by those records again. On a standby such snapshots were given
    /// up; at the end of a server nobody reads.
    pub(crate) fn remove_dropped_before(&self, upto: Lsn) -> Result<(), Error> {
        self.remove_dropped_if(|drop| drop.end <= upto)
    }

    fn remove_dropped_if(&self, is_due: impl Fn(&Insertion) -> bool) -> Result<(), Error> {
        // A checkpoint waits here for a removal that is under way.
        let _only = self.removing.lock();
        let (mut ready, mut upto) = (Vec::new(), Lsn::INVALID);
        for drop in self.drops.lock().iter().filter(|drop| is_due(&drop.after)) {
            upto = upto.max(drop.after.end);
            ready.extend_from_slice(&drop.files);
        }
        if ready.is_empty() {
            return Ok(());
        }
        self.remove_files(&ready, upto)?;
        self.drops.lock().retain(|drop| !drop.files.iter().all(|file| ready.contains(file)));
        Ok(())
    }

    /// Tries again to remove the files that could not be removed. Does I/O.
    pub(crate) fn remove_stuck(&self) -> Result<(), Error> {
        let _only = self.removing.lock();
        let stuck = std::mem::take(&mut *self.stuck.lock());
        if stuck.is_empty() { Ok(()) } else { self.remove_files(&stuck, Lsn::INVALID) }
    }

    /// What cannot go is told, and kept for [`Engine::remove_stuck`].
    fn remove_files(&self, files: &[RelFile], upto: Lsn) -> Result<(), Error> {
        for (file, failure) in self.store.drop_files(files, upto)? {
            self.troubles.note(failure.to_string());
            self.stuck.lock().push(file);
        }
        Ok(())
    }

    /// Removes the files of before this node took writes that are none of `named`, and tells the log. Returns
    /// which. They are what a crash left: of transactions that created them and did not commit, of tables
    /// that were dropped under an old snapshot.
    pub(crate) fn drop_unnamed(&self, named: &BTreeSet<TreeId>) -> Result<Vec<TreeId>, Error> {
        let before = self.first_own_number.load(Ordering::Acquire);
        let mut pending: BTreeSet<RelFile> =
            self.drops.lock().iter().flat_map(|drop| drop.files.iter().copied()).collect();
        pending.extend(self.unremoved.lock().iter().map(|tree| tree.file()));
        pending.extend(self.stuck.lock().iter());
        let relations = self.store.relations().all();
        let is_unnamed = |tree: &TreeId| {
            (FIRST_NUMBER..before).contains(&tree.relation)
                && !named.contains(tree)
                && !pending.contains(&tree.file())
        };
        let ids = relations.iter().filter_map(|relation| TreeId::try_from(relation.id()).ok());
        let mut unnamed: Vec<TreeId> = ids.filter(is_unnamed).collect();
        unnamed.sort_unstable();
        for some in unnamed.chunks(DROPPED_AT_ONCE) {
            self.remove_created(some)?;
        }
        Ok(unnamed)
    }

    /// Removes trees that a transaction created and does not keep. If the log does not take that, which it
    /// may later (a full disk), [`Engine::remove_dropped`] tries again.
    pub(crate) fn remove_created(&self, created: &[TreeId]) -> Result<(), Error> {
        if created.is_empty() {
            return Ok(());
        }
        let aborted = self.pipeline()?.abort_created(created);
        let aborted = aborted.inspect_err(|_| self.unremoved.lock().extend_from_slice(created))?;
        self.drop_later(aborted, created);
        Ok(())
    }
}

impl TreeOwner for Engine {
    fn drop_later(&self, after: Insertion, trees: &[TreeId]) {
        self.drop_later(after, trees);
    }
    fn remove_created(&self, created: &[TreeId]) {
        // What could not be removed is owed.
        let _ = self.remove_created(created);
    }
}

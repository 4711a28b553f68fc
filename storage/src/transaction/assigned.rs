//! The xids that a transaction has before its commit because somebody is told of them, or the log is.

use smallvec::SmallVec;
use wal::Xid;

/// The transaction's own xid (under no savepoint), and one for each level of savepoints under which something
/// went into the log that is undone with it. No version carries any of them: they end as parts of the commit,
/// or with an abort record.
#[derive(Debug, Default)]
pub(super) struct AssignedXids(SmallVec<[(usize, Xid); 1]>);

impl AssignedXids {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// That of what stands under `depth` savepoints; under none it is the transaction's own, which is given
    /// first.
    pub(super) fn at(&self, depth: usize) -> Option<Xid> {
        self.0.iter().find(|part| part.0 == depth).map(|part| part.1)
    }

    pub(super) fn add(&mut self, depth: usize, xid: Xid) {
        self.0.push((depth, xid));
    }

    /// Takes out what came to nothing: all that was given under more than `depth` savepoints.
    pub(super) fn take_deeper(&mut self, depth: usize) -> SmallVec<[Xid; 1]> {
        let gone = self.0.iter().filter(|part| part.0 > depth).map(|part| part.1).collect();
        self.0.retain(|part| part.0 <= depth);
        gone
    }

    /// Those savepoints are no more: their xids stand or fall with what is outside.
    pub(super) fn release_deeper(&mut self, depth: usize) {
        for part in &mut self.0 {
            part.0 = part.0.min(depth);
        }
    }

    /// All of them, which are none from then on.
    pub(super) fn take(&mut self) -> SmallVec<[Xid; 1]> {
        std::mem::take(&mut self.0).into_iter().map(|part| part.1).collect()
    }
}

//! Locks on tables that redo takes against readers. It has no runtime to wait in, so it looks again and
//! again; who asks for a lock meanwhile waits behind it, and no stream of readers keeps it out for ever.

use super::manager::LockManager;
use super::name::LockRef;
use super::set::{Asked, LockSet, Wait};
use crate::{TableLockMode, TreeId};
use std::sync::Arc;
use tokio::sync::oneshot;
use wal::Lsn;

/// Locks that exclude all others, taken one after the other. Dropping them releases what is held, and leaves
/// the queue of the next.
#[derive(Debug)]
pub(crate) struct ExclusiveTables {
    /// The place in the queue of the one that is waited for.
    waiting: Option<(Wait, oneshot::Receiver<Lsn>)>,
    /// Those that were not asked for yet, the next one last.
    missing: Vec<TreeId>,
    held: LockSet,
}

impl ExclusiveTables {
    /// None is taken yet.
    pub(crate) fn new(manager: &Arc<LockManager>, trees: &[TreeId]) -> Self {
        let missing = trees.iter().rev().copied().collect();
        Self { waiting: None, missing, held: manager.new_set(0) }
    }

    /// Takes what is free by now. Whether that is all.
    pub(crate) fn take(&mut self) -> bool {
        loop {
            if let Some((_, granted)) = &mut self.waiting {
                if granted.try_recv().is_err() {
                    return false;
                }
                let granted = self.waiting.take().and_then(|(mut place, _)| place.granted());
                granted.into_iter().for_each(|held| self.held.note(held, Lsn::INVALID));
            }
            let Some(tree) = self.missing.pop() else { return true };
            let exclusive = TableLockMode::AccessExclusive.into();
            if let Asked::Queued(place, granted) = self.held.ask(LockRef::Table(tree), exclusive, true) {
                self.waiting = Some((place, granted));
            }
        }
    }
}

//! Which commits are visible, for whoever keeps something until they are.

use super::levels::Levels;
use crate::locks::{LockManager, LockSet};
use crate::visibility::snapshot::Visibility;
use host::task::task;
use std::sync::Arc;
use wal::Lsn;

/// Tells when commits become visible. It holds no engine: its directory stays locked as long as anybody has
/// that.
#[derive(Clone, Debug)]
pub struct Sight {
    visibility: Arc<Visibility>,
    levels: Arc<Levels>,
}

impl Sight {
    pub(crate) fn new(visibility: &Arc<Visibility>, levels: &Arc<Levels>) -> Self {
        Self { visibility: Arc::clone(visibility), levels: Arc::clone(levels) }
    }

    /// Whether commits up to `lsn` are visible, among them those whose level has been reached by now.
    pub fn sees(&self, lsn: Lsn) -> bool {
        if self.visibility.visible() < lsn {
            self.visibility.settle(|level, end| self.levels.reached(level, end));
        }
        self.visibility.visible() >= lsn
    }

    /// Calls `then` once a commit that ends at `lsn` is visible, or will not be, since the server ends or is
    /// fenced. Its flush was asked for.
    pub fn when_seen(&self, lsn: Lsn, then: impl FnOnce() + Send + 'static) {
        let (visibility, levels) = (Arc::clone(&self.visibility), Arc::clone(&self.levels));
        tokio::spawn(task(async move {
            tokio::select! {
                biased;
                _ = visibility.mark().wait(lsn) => {}
                _ = levels.fenced() => {}
            }
            then();
        }));
    }

    /// Gives the locks of a transaction back whose commit was answered and is not visible: they tell of it
    /// until it is.
    pub(crate) fn pass_on(&self, locks: LockSet, commit: Lsn) {
        let manager = locks.manager();
        if locks.pass_on(commit) {
            self.clear_when_seen(manager);
        } else if self.sees(commit) {
            // Whoever clears may have come by before this.
            manager.clear_told(commit);
        }
    }

    /// One task does this for all, for as long as any lock tells of anything.
    fn clear_when_seen(&self, manager: Arc<LockManager>) {
        let (newest, sight) = (manager.newest_told(), self.clone());
        self.when_seen(newest, move || {
            if !manager.clear_told(newest) {
                sight.clear_when_seen(manager);
            }
        });
    }
}

//! Points in a transaction to which it can go back.

use super::Transaction;
use super::early::SavepointMark;
use crate::Error;

/// A point in a transaction to which it can go back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Savepoint {
    mark: SavepointMark,
    /// Savepoints around it.
    depth: usize,
    created: usize,
    dropped: usize,
}

impl Transaction {
    /// Marks a point to which [`Transaction::rollback_to`] returns.
    pub fn savepoint(&mut self) -> Savepoint {
        let mark = SavepointMark { writes: self.writes.mark(), locks: self.locks.mark() };
        let depth = self.savepoints.len();
        self.savepoints.push(mark);
        Savepoint { mark, depth, created: self.created.len(), dropped: self.dropped.len() }
    }

    /// Undoes all writes, created trees and locks since the savepoint, which stays.
    ///
    /// # Errors
    /// Fails if the log takes no record of created trees that go.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<(), Error> {
        self.savepoints.truncate(savepoint.depth + 1);
        self.writes.rollback_to(savepoint.mark.writes);
        if let Some(large) = &mut self.large {
            large.abort_deeper(savepoint.depth);
        }
        self.dropped.truncate(savepoint.dropped);
        let created = self.created.split_off(savepoint.created.min(self.created.len()));
        self.engine.remove_created(&created)?;
        self.locks.release_after(savepoint.mark.locks);
        // Without the record it came to nothing all the same.
        let _ = self.abort_assigned(|assigned| assigned.take_deeper(savepoint.depth));
        Ok(())
    }

    /// Forgets a savepoint and those after it: what was done since stands or falls with the rest. Only for
    /// economy; a savepoint that is never released does no harm.
    pub fn release(&mut self, savepoint: &Savepoint) {
        self.savepoints.truncate(savepoint.depth);
        if let Some(large) = &mut self.large {
            large.release_deeper(savepoint.depth);
        }
        self.assigned.release_deeper(savepoint.depth);
    }
}

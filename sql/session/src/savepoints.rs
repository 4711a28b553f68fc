//! Savepoints: where a transaction goes back to.

use super::SqlSession;
use super::block::{Block, no_block, setting_level};
use sql_interface::{CommandTag, Result, SqlError};
use sqlstate::SqlState;

impl Block {
    /// The transaction leaves its savepoints from this place on.
    fn leave_read_only(&mut self, at: usize) {
        if let Some(before) = self.read_only_at.get(at) {
            self.read_only = *before;
        }
        self.read_only_at.truncate(at);
    }
}

impl SqlSession {
    /// SAVEPOINT.
    pub(super) fn savepoint(&mut self, name: &str) -> Result<CommandTag> {
        if !self.block.as_ref().is_some_and(|block| block.explicit) {
            return Err(no_block("SAVEPOINT"));
        }
        let savepoint = self.transaction()?.savepoint();
        if let Some(block) = &mut self.block {
            block.savepoints.push((name.to_owned(), savepoint));
            block.read_only_at.push(block.read_only);
        }
        self.facts.levels.enter();
        Ok(CommandTag::Words("SAVEPOINT"))
    }

    fn find_savepoint(&self, name: &str, what: &str) -> Result<usize> {
        let Some(block) = self.block.as_ref().filter(|block| block.explicit) else {
            return Err(no_block(what));
        };
        block.savepoints.iter().rposition(|(known, _)| known == name).ok_or_else(|| {
            SqlError::new(
                SqlState::INVALID_SAVEPOINT_SPECIFICATION,
                format!("savepoint \"{name}\" does not exist"),
            )
        })
    }

    /// RELEASE SAVEPOINT.
    pub(super) fn release(&mut self, name: &str) -> Result<CommandTag> {
        let at = self.find_savepoint(name, "RELEASE SAVEPOINT")?;
        if let Some(block) = &mut self.block {
            if let (Some(transaction), Some((_, savepoint))) =
                (&mut block.transaction, block.savepoints.get(at))
            {
                transaction.release(savepoint);
            }
            block.savepoints.truncate(at);
            block.leave_read_only(at);
            self.facts.read_only = block.read_only;
        }
        self.keep_deeper(at);
        self.leave_levels(setting_level(at), true);
        Ok(CommandTag::Words("RELEASE"))
    }

    /// ROLLBACK TO SAVEPOINT: also the way out of a failed block.
    pub(super) fn rollback_to(&mut self, name: &str) -> Result<CommandTag> {
        let at = self.find_savepoint(name, "ROLLBACK TO SAVEPOINT")?;
        if let Some(block) = &mut self.block {
            block.savepoints.truncate(at + 1);
            if let (Some(transaction), Some((_, savepoint))) =
                (&mut block.transaction, block.savepoints.last())
            {
                transaction.rollback_to(savepoint)?;
            }
            block.failed = false;
            block.own_catalogue = None;
            block.leave_read_only(at);
            block.read_only_at.push(block.read_only);
            self.facts.read_only = block.read_only;
        }
        self.end_deeper(at);
        self.leave_levels(setting_level(at), false);
        self.facts.levels.enter();
        Ok(CommandTag::Words("ROLLBACK"))
    }
}

//! When an answer may leave: once every commit that it rests on is visible to everybody.
//!
//! What a transaction evaluates is noted in one place, storage's [`storage::Transaction::evaluated_up_to`]:
//! its snapshots, the newest version of each row or key that it locked, whether or not it then wrote
//! anything, and the numbers it took from sequences. What the client is told by that waits in one place,
//! [`SqlSession::wait_for_evaluated`]:
//!
//! - rows, before they leave;
//! - the end of a transaction, whether it wrote or not: so the tag of a statement outside of a block, and
//!   COMMIT's;
//! - an error that tells what rows hold (23505): nothing else may follow it that would wait.
//!
//! Tags inside of a block do not wait, COMMIT does. What was told in a block that is rolled back stays with
//! the session, and so do numbers that it took: its later transactions rest on that too. None of this costs
//! more than a comparison where no commit is in doubt.

use super::SqlSession;
use sql_interface::{Result, SqlError};
use std::sync::atomic::Ordering;
use wal::Lsn;

impl SqlSession {
    /// The highest commit that the transaction rests on.
    pub(super) fn evaluated(&self) -> Lsn {
        let transaction = self.block.as_ref().and_then(|block| block.transaction.as_ref());
        transaction.map_or(Lsn::INVALID, storage::Transaction::evaluated_up_to)
    }

    /// What a new transaction of the session rests on from its start: what rolled-back ones have told, and
    /// currval().
    #[inline]
    pub(super) fn rests_on(&self) -> Lsn {
        self.told_up_to.max(Lsn::new(self.facts.numbers_up_to.load(Ordering::Relaxed)))
    }

    /// Waits until every commit up to `upto` is visible. Fails if the wait is cancelled: then nothing may be
    /// told.
    #[inline]
    pub(super) async fn wait_for_evaluated(&mut self, upto: Lsn) -> Result<()> {
        let database = self.engine.database();
        if upto <= database.visible() || host::planted!("rows do not wait for what they rest on") {
            return Ok(());
        }
        let waited = database.wait_visible(upto, self.canceller.interrupt()).await;
        waited.map_err(|error| self.canceller.explain(error))
    }

    /// Marks the transaction as failed if the result is an error, which is held back as long as it rests on
    /// what is in doubt.
    #[inline]
    pub(super) async fn noting<T>(&mut self, result: Result<T>) -> Result<T> {
        match result {
            Ok(value) => Ok(value),
            Err(error) => Err(Box::pin(self.failed_with(error)).await),
        }
    }

    async fn failed_with(&mut self, error: SqlError) -> SqlError {
        let hurries = host::planted!("an error that tells of rows does not wait");
        let upto = if error.tells_of_rows() && !hurries { self.evaluated() } else { Lsn::INVALID };
        // Locks pass on before the wait.
        self.fail();
        match self.wait_for_evaluated(upto).await {
            Ok(()) => self.explained(error),
            Err(cancelled) => cancelled,
        }
    }

    /// The same for an error found without a look at any row.
    pub(super) fn noting_now<T>(&mut self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            self.fail();
            self.explained(error)
        })
    }
}

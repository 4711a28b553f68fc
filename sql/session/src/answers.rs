//! When an answer may leave: once every commit that it rests on is visible to everybody.
//!
//! What a transaction evaluates is noted in one place, storage's [`storage::Transaction::evaluated_up_to`]:
//! its snapshots, the newest version of each row or key that it locked, whether or not it then wrote
//! anything, and the numbers it took from sequences. What the client is told by that waits in one place,
//! [`SqlSession::wait_for_evaluated`]:
//!
//! - rows, or that there are none, before that leaves;
//! - the description of rows and parameters: names may be in doubt as well;
//! - notices of a statement, and the settings that it set, which the client hears of;
//! - the end of a transaction, whether it wrote or not: so the tag of a statement outside of a block, and
//!   COMMIT's;
//! - an error that tells what rows hold (23505): nothing else may follow it that would wait.
//!
//! Tags inside of a block do not wait, COMMIT does. What was told in a block that is rolled back or fails
//! stays with the session, and so do numbers that it took: its later transactions rest on that too. None of
//! this costs more than a comparison where no commit is in doubt.
//!
//! After a start, while commits of before it are undecided, statements do not begin, but are planned: those
//! that tell of the node alone run, so that it can be watched and set up. What else planning found (a
//! description, an error, a name in a constant) waits in [`SqlSession::wait_for_names`].
//!
//! Outside of this: a function that acts on the server (pg_cancel_backend) has acted once it is evaluated,
//! and pg_stat_activity shows an application_name once it is set; a COMMIT whose wait is cancelled answers
//! with the tag of what it wrote, and a warning; sizes and statistics tell what the server holds, in doubt or
//! not.

use super::{Prepared, SqlSession};
use sql_interface::{Result, SqlError};
use std::sync::atomic::Ordering;
use wal::Lsn;

impl SqlSession {
    /// The highest commit that the transaction rests on.
    pub(super) fn evaluated(&self) -> Lsn {
        let transaction = self.block.as_ref().and_then(|block| block.transaction.as_ref());
        transaction.map_or(Lsn::INVALID, |transaction| transaction.evaluated_up_to())
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

    /// Waits while commits of before this start are undecided, if the catalogue was asked for something that
    /// is about to be told.
    #[inline]
    pub(super) async fn wait_for_names(&mut self) -> Result<()> {
        if !self.facts.names_were_asked() {
            return Ok(());
        }
        let waited = self.engine.database().commit_gate().wait_decided(self.canceller.interrupt()).await;
        waited.map_err(|error| self.canceller.explain(error))
    }

    /// Waits with what a statement tells beside its rows and its tag.
    #[inline]
    pub(super) async fn wait_for_asides(&mut self) -> Result<()> {
        if self.notices.is_empty() && !self.facts.setting_was_set() {
            return Ok(());
        }
        self.wait_for_evaluated(self.evaluated()).await
    }

    /// A statement's tag may follow: in a block it does not wait.
    #[inline]
    pub(super) fn note_told(&mut self) {
        if self.block.as_ref().is_some_and(|block| block.explicit) {
            self.tag_told();
        }
    }

    /// To be called when a tag is sent before the transaction has ended, as it is for all statements of a
    /// simple query but the last, and in the extended protocol.
    #[inline]
    pub fn tag_told(&mut self) {
        let told = self.evaluated();
        if let Some(block) = &mut self.block {
            block.told = block.told.max(told);
        }
    }

    /// Whether a statement's parameters or columns may be described without [`Self::may_describe`]: nothing
    /// that they tell is in doubt.
    #[inline]
    pub fn may_describe_now(&self) -> bool {
        let database = self.engine.database();
        let is_clear = self.evaluated() <= database.visible() && !database.commit_gate().is_undecided();
        if is_clear {
            self.facts.names_were_asked();
        }
        is_clear
    }

    /// To be awaited before a statement's parameters or columns are described.
    ///
    /// # Errors
    ///
    /// What cancels the wait.
    pub async fn may_describe(&mut self, prepared: &Prepared) -> Result<()> {
        if prepared.of_names {
            self.facts.note_names();
        }
        let mut waited = self.wait_for_evaluated(self.evaluated()).await;
        if waited.is_ok() {
            waited = self.wait_for_names().await;
        }
        self.noting_now(waited)
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
        let mut waited = self.wait_for_evaluated(upto).await;
        if waited.is_ok() && self.canceller.reason().is_none() {
            waited = self.wait_for_names().await;
        }
        match waited {
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

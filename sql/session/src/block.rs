//! The transaction block of a session: BEGIN to COMMIT, savepoints, and what an error does to them.

use super::SqlSession;
use super::portal::PortalDepth;
use sql_catalogue::{Catalogue, store};
use sql_interface::{
    CancelReason, CommandTag, IsolationLevel, ReadToken, Result, Severity, SqlError, TransactionStatus,
};
use sql_language::parse::Mode;
use sqlstate::SqlState;
use std::sync::{Arc, Weak};
use std::time::Duration;
use storage::{Isolation, LockWait, Savepoint, SyncLevel, Transaction, TreeId};
use wal::Lsn;

/// A transaction, implicit or between BEGIN and COMMIT.
pub(super) struct Block {
    /// Tells blocks apart: a portal belongs to the one that it was opened in.
    pub(super) serial: u64,
    pub(super) explicit: bool,
    /// A statement of it has run to its end.
    pub(super) ran: bool,
    /// An error happened; only ROLLBACK (TO) helps.
    pub(super) failed: bool,
    pub(super) isolation: IsolationLevel,
    pub(super) read_only: bool,
    /// Begun when first needed; gone after a failure without savepoints. It is large, and so does not move.
    pub(super) transaction: Option<Box<Transaction>>,
    /// A statement has looked at rows: the isolation level is settled.
    pub(super) queried: bool,
    pub(super) savepoints: Vec<(String, Savepoint)>,
    /// Whether it was read-only when each of them was set: behind it, it is again.
    pub(super) read_only_at: Vec<bool>,
    /// The portals that were opened behind savepoints.
    pub(super) portals: Vec<Weak<PortalDepth>>,
    /// It has changed the catalogue: it reads its own, and counts the version up at COMMIT.
    pub(super) catalogue_changed: bool,
    /// That catalogue, until the next change.
    pub(super) own_catalogue: Option<Arc<Catalogue>>,
    /// The catalogue with rights that are newer than its snapshot, by their version.
    pub(super) newest_rights: Option<(u64, Arc<Catalogue>)>,
    /// The trees that it has made for tables, each with the number of savepoints before it.
    pub(super) made: Vec<(TreeId, usize)>,
    /// What the tags of its statements rest on.
    pub(super) told: Lsn,
}

/// What BEGIN says of a transaction, and AND CHAIN keeps.
struct Modes {
    isolation: IsolationLevel,
    read_only: bool,
    deferrable: Option<bool>,
}

/// The isolation that storage gives; SERIALIZABLE is refused rather than weakened.
fn storage_isolation(level: IsolationLevel) -> Result<Isolation> {
    match level {
        IsolationLevel::ReadUncommitted | IsolationLevel::ReadCommitted => Ok(Isolation::ReadCommitted),
        IsolationLevel::RepeatableRead => Ok(Isolation::RepeatableRead),
        IsolationLevel::Serializable => {
            Err(SqlError::unsupported("isolation level SERIALIZABLE").with_hint("Use REPEATABLE READ."))
        }
    }
}

#[cold]
pub(super) fn no_block(what: &str) -> SqlError {
    SqlError::new(
        SqlState::NO_ACTIVE_SQL_TRANSACTION,
        format!("{what} can only be used in transaction blocks"),
    )
}

impl SqlSession {
    /// For ReadyForQuery.
    pub fn transaction_status(&self) -> TransactionStatus {
        match &self.block {
            Some(block) if block.explicit && block.failed => TransactionStatus::Failed,
            Some(block) if block.explicit => TransactionStatus::InTransaction,
            _ => TransactionStatus::Idle,
        }
    }

    fn warn_no_transaction(&mut self, message: &str) {
        self.notices.push(SqlError::report(Severity::Warning, SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
    }

    /// Begins an implicit block if there is none.
    pub(super) fn ensure_block(&mut self) -> &mut Block {
        if self.block.is_none() {
            self.refresh_settings();
            let now = self.facts.statement_time;
            self.facts.transaction_time = now;
            self.facts.style.now_micros = now.micros();
            self.facts.levels.enter();
            self.facts.deferrable = None;
            self.serial += 1;
        }
        let (isolation, read_only) = match &self.block {
            Some(block) => (block.isolation, block.read_only),
            None => (self.quick.default_isolation, self.quick.default_read_only || self.takes_no_writes()),
        };
        self.facts.isolation = isolation.name();
        self.facts.read_only = read_only;
        let serial = self.serial;
        self.block.get_or_insert_with(|| Block {
            serial,
            explicit: false,
            ran: false,
            failed: false,
            isolation,
            read_only,
            transaction: None,
            queried: false,
            savepoints: Vec::new(),
            read_only_at: Vec::new(),
            portals: Vec::new(),
            catalogue_changed: false,
            own_catalogue: None,
            newest_rights: None,
            made: Vec::new(),
            told: Lsn::INVALID,
        })
    }

    /// Whether the server is a standby, or was replaced: nothing makes a transaction read-write then.
    fn takes_no_writes(&self) -> bool {
        let database = self.engine.database();
        database.is_in_recovery() || database.check_fence().is_err()
    }

    /// Storage's transaction, which begins here if that has not happened yet.
    pub(super) fn transaction(&mut self) -> Result<&mut Transaction> {
        if self.block.as_ref().is_none_or(|block| block.failed || block.transaction.is_none()) {
            self.begin_transaction()?;
        }
        let transaction = self.block.as_mut().and_then(|block| block.transaction.as_deref_mut());
        transaction.ok_or_else(|| SqlError::internal("no transaction"))
    }

    fn begin_transaction(&mut self) -> Result<()> {
        let block = self.ensure_block();
        if block.failed {
            return Err(in_failed_block());
        }
        let isolation = storage_isolation(block.isolation)?;
        let interrupt = self.canceller.interrupt().clone();
        let transaction = self.engine.database().begin_after(isolation, self.confirmed_commit, interrupt);
        let mut transaction = Box::new(transaction);
        transaction.set_lock_wait(self.lock_wait());
        transaction.set_deadlock_timeout(self.quick.deadlock_timeout);
        transaction.depend_on(self.rests_on());
        self.ensure_block().transaction = Some(transaction);
        Ok(())
    }

    /// How long a statement waits for a lock (lock_timeout).
    pub(super) fn lock_wait(&self) -> LockWait {
        match self.quick.lock_timeout_ms {
            0 => LockWait::Forever,
            limit => LockWait::AtMost(Duration::from_millis(limit)),
        }
    }

    /// The transaction waits as lock_timeout and deadlock_timeout say now.
    pub(super) fn limit_lock_waits(&mut self) {
        let (wait, deadlock_timeout) = (self.lock_wait(), self.quick.deadlock_timeout);
        if let Some(transaction) = self.block.as_mut().and_then(|block| block.transaction.as_mut()) {
            transaction.set_lock_wait(wait);
            transaction.set_deadlock_timeout(deadlock_timeout);
        }
    }

    /// A new statement: its own command number and, under READ COMMITTED, its own snapshot.
    pub(super) async fn begin_statement(&mut self) -> Result<()> {
        self.begun += 1;
        self.transaction()?;
        if let Some(token) = self.quick.read_after
            && !self.keeps_snapshot()
        {
            self.reach(token).await?;
        }
        let confirmed = self.quick.reads_confirmed;
        let floor = self.waited_for.max(self.advisory.rests_on());
        let floor = self.quick.read_after.map_or(floor, |token| token.lsn.max(floor));
        let transaction = self.transaction()?;
        transaction.read_confirmed(confirmed, floor);
        let begun = transaction.begin_statement().await;
        let lsn = transaction.snapshot_lsn();
        begun.map_err(|error| self.canceller.explain(error))?;
        // Asked last: a timeline that begins meanwhile has what the snapshot shows, the one before it may
        // not.
        self.last_snapshot = Some((self.engine.database().timeline(), lsn));
        if let Some(block) = &mut self.block {
            block.queried = true;
        }
        Ok(())
    }

    /// Whether the transaction goes on with the snapshot that it has.
    fn keeps_snapshot(&self) -> bool {
        let transaction = self.block.as_ref().and_then(|block| block.transaction.as_ref());
        transaction.is_some_and(|transaction| transaction.keeps_snapshot())
    }

    /// Waits until this node has what the token names.
    async fn reach(&mut self, token: ReadToken) -> Result<()> {
        let reach = self.environment.reach(token, self.canceller.interrupt());
        tokio::select! {
            biased;
            reason = self.canceller.cancelled() => Err(reason.error()),
            reached = reach => reached,
        }
    }

    /// WAIT FOR LSN: no snapshot is held meanwhile, since that could hold up the very replay that is waited
    /// for.
    pub(super) async fn wait_for(
        &mut self,
        token: ReadToken,
        timeout: Option<Duration>,
    ) -> Result<CommandTag> {
        if self.keeps_snapshot() {
            let what = "WAIT FOR LSN must be called before any query of a REPEATABLE READ transaction";
            return Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, what));
        }
        self.release_snapshot();
        let limit = async {
            match timeout {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            reached = self.reach(token) => reached?,
            () = limit => {
                let what = format!("timed out while waiting for log position {token}");
                return Err(SqlError::new(SqlState::QUERY_CANCELED, what));
            }
        }
        self.waited_for = self.waited_for.max(token.lsn);
        Ok(CommandTag::Words("WAIT"))
    }

    /// A statement of which only the catalogue's names are needed yet: it does not wait for undecided
    /// commits, what is told of it does (see `answers`).
    pub(super) async fn begin_planning(&mut self) -> Result<()> {
        if self.engine.database().commit_gate().undecided().is_none() {
            return self.begin_statement().await;
        }
        self.begun += 1;
        let canceller = self.canceller.clone();
        let begun = self.transaction()?.begin_login_statement().await;
        begun.map_err(|error| canceller.explain(error))
    }

    /// Between two statements of a transaction, nothing needs to be kept for it under READ COMMITTED. Only
    /// for a session without open portals: those look at rows on their transaction's behalf.
    pub fn release_snapshot(&mut self) {
        if let Some(transaction) = self.block.as_mut().and_then(|block| block.transaction.as_mut())
            && self.kept.portals.is_empty()
        {
            transaction.release_snapshot();
        }
    }

    /// Whether the transaction that is open has written.
    pub fn has_writes(&self) -> bool {
        let transaction = self.block.as_ref().and_then(|block| block.transaction.as_ref());
        transaction.is_some_and(|transaction| transaction.has_writes())
    }

    /// The catalogue as the running statement sees it.
    pub(super) async fn catalogue(&mut self) -> Result<Arc<Catalogue>> {
        let engine = &self.engine;
        let Some(block) = &mut self.block else { return Err(SqlError::internal("no transaction")) };
        let Some(transaction) = &block.transaction else { return Err(SqlError::internal("no transaction")) };
        let catalogue = match (block.catalogue_changed, &block.own_catalogue) {
            (true, Some(own)) => own.clone(),
            (true, None) => {
                let own = engine.private_catalogue(transaction).await?;
                block.own_catalogue = Some(own.clone());
                own
            }
            (false, _) => {
                let seen = engine.catalogue(transaction).await?;
                if transaction.isolation() == Isolation::RepeatableRead {
                    engine.with_newest_rights(seen, &mut block.newest_rights).await?
                } else {
                    seen
                }
            }
        };
        if Arc::ptr_eq(&catalogue, &self.facts.catalogue) {
            return Ok(catalogue);
        }
        self.facts.catalogue = catalogue.clone();
        self.refresh_role();
        Ok(catalogue)
    }

    /// After a change of the catalogue: what was read before no longer holds.
    pub(super) fn catalogue_changed(&mut self) {
        if let Some(block) = &mut self.block {
            block.catalogue_changed = true;
            block.own_catalogue = None;
        }
    }

    /// A table has a tree that this transaction has made.
    pub(super) fn note_made(&mut self, tree: TreeId) {
        if let Some(block) = &mut self.block {
            block.made.push((tree, block.savepoints.len()));
        }
    }

    /// Whether this transaction has made a table's tree, and since its last savepoint.
    pub(super) fn is_new(&self, tree: TreeId) -> bool {
        self.block.as_ref().is_some_and(|block| {
            block.made.iter().any(|(made, depth)| *made == tree && *depth >= block.savepoints.len())
        })
    }

    /// BEGIN and START TRANSACTION.
    pub(super) fn begin(&mut self, start: bool, modes: &[Mode]) -> Result<CommandTag> {
        let tag = CommandTag::Words(if start { "START TRANSACTION" } else { "BEGIN" });
        if self.block.as_ref().is_some_and(|block| block.explicit) {
            self.notices.push(SqlError::report(
                Severity::Warning,
                SqlState::ACTIVE_SQL_TRANSACTION,
                "there is already a transaction in progress",
            ));
        }
        // A BEGIN that fails begins nothing.
        self.set_modes(modes)?;
        let block = self.ensure_block();
        storage_isolation(block.isolation)?;
        block.explicit = true;
        Ok(tag)
    }

    /// SET TRANSACTION, and the modes of BEGIN.
    pub(super) fn set_modes(&mut self, modes: &[Mode]) -> Result<()> {
        let in_recovery = self.engine.database().is_in_recovery();
        if modes.contains(&Mode::ReadOnly(false)) {
            sql_interface::refuse_if_fenced(self.engine.database())?;
        }
        let refused = |message: &str| Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message));
        let mut deferrable = None;
        let block = self.ensure_block();
        let is_within = !block.savepoints.is_empty();
        for mode in modes {
            match mode {
                Mode::Isolation(level) => {
                    let isolation = storage_isolation(*level)?;
                    if block.queried && *level != block.isolation {
                        return refused("SET TRANSACTION ISOLATION LEVEL must be called before any query");
                    }
                    if is_within && *level != block.isolation {
                        return refused(
                            "SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction",
                        );
                    }
                    if let Some(transaction) = &mut block.transaction
                        && !block.queried
                    {
                        transaction.set_isolation(isolation)?;
                    }
                    block.isolation = *level;
                }
                Mode::ReadOnly(false) if in_recovery => {
                    return Err(SqlError::new(
                        SqlState::FEATURE_NOT_SUPPORTED,
                        "cannot set transaction read-write mode during recovery",
                    ));
                }
                Mode::ReadOnly(false) if block.read_only && is_within => {
                    return refused("cannot set transaction read-write mode inside a read-only transaction");
                }
                Mode::ReadOnly(false) if block.read_only && block.queried => {
                    return refused("transaction read-write mode must be set before any query");
                }
                Mode::ReadOnly(only) => block.read_only = *only,
                Mode::Deferrable(_) if block.queried => {
                    return refused("SET TRANSACTION [NOT] DEFERRABLE must be called before any query");
                }
                Mode::Deferrable(_) if is_within => {
                    return refused(
                        "SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction",
                    );
                }
                // It says something of SERIALIZABLE alone, which is refused, and is kept for who asks.
                Mode::Deferrable(yes) => deferrable = Some(*yes),
            }
        }
        let (isolation, read_only) = (block.isolation.name(), block.read_only);
        self.facts.isolation = isolation;
        self.facts.read_only = read_only;
        self.facts.deferrable = deferrable.or(self.facts.deferrable);
        Ok(())
    }

    /// COMMIT.
    pub(super) async fn commit(&mut self, chain: bool) -> Result<CommandTag> {
        let Some(block) = &self.block else { return self.end_without_block(chain, "COMMIT") };
        let (explicit, failed) = (block.explicit, block.failed);
        if chain && !explicit {
            return Err(no_block("COMMIT AND CHAIN"));
        }
        if !explicit {
            self.warn_no_transaction("there is no transaction in progress");
        }
        let modes = self.chained_modes(chain);
        let tag = if failed {
            self.rollback_block();
            CommandTag::Words("ROLLBACK")
        } else {
            self.commit_block().await?;
            CommandTag::Words("COMMIT")
        };
        self.chain(modes);
        Ok(tag)
    }

    fn end_without_block(&mut self, chain: bool, what: &'static str) -> Result<CommandTag> {
        if chain {
            return Err(no_block(if what == "COMMIT" { "COMMIT AND CHAIN" } else { "ROLLBACK AND CHAIN" }));
        }
        self.warn_no_transaction("there is no transaction in progress");
        self.kept.end_portals();
        Ok(CommandTag::Words(what))
    }

    /// What AND CHAIN begins the next block with.
    fn chained_modes(&self, chain: bool) -> Option<Modes> {
        let block = self.block.as_ref().filter(|_| chain)?;
        let deferrable = self.facts.deferrable;
        Some(Modes { isolation: block.isolation, read_only: block.read_only, deferrable })
    }

    fn chain(&mut self, modes: Option<Modes>) {
        if let Some(modes) = modes {
            let block = self.ensure_block();
            block.explicit = true;
            block.isolation = modes.isolation;
            block.read_only = modes.read_only;
            self.facts.deferrable = modes.deferrable;
        }
    }

    /// ROLLBACK.
    pub(super) fn rollback(&mut self, chain: bool) -> Result<CommandTag> {
        let Some(block) = &self.block else { return self.end_without_block(chain, "ROLLBACK") };
        let explicit = block.explicit;
        let modes = self.chained_modes(chain);
        if chain && !explicit {
            return Err(no_block("ROLLBACK AND CHAIN"));
        }
        if !explicit {
            self.warn_no_transaction("there is no transaction in progress");
        }
        self.rollback_block();
        self.chain(modes);
        Ok(CommandTag::Words("ROLLBACK"))
    }

    /// Commits what the block did, and waits for what it was told. An error means that nothing was committed.
    pub(super) async fn commit_block(&mut self) -> Result<()> {
        self.kept.end_portals();
        let Some(block) = &mut self.block else { return Ok(()) };
        // In case that the wait is cancelled.
        self.told_up_to = self.told_up_to.max(block.told);
        let changed = block.catalogue_changed;
        let writes = |transaction: &mut Box<Transaction>| changed || transaction.has_writes();
        let outcome = if let Some(transaction) = block.transaction.take_if(writes) {
            self.block = None;
            self.commit_transaction(transaction, changed).await
        } else {
            let upto = self.evaluated();
            self.block = None;
            self.wait_for_evaluated(upto).await
        };
        self.leave_levels(1, outcome.is_ok());
        outcome
    }

    async fn commit_transaction(
        &mut self,
        mut transaction: Box<Transaction>,
        catalogue_changed: bool,
    ) -> Result<()> {
        let level: SyncLevel = self.environment.quick().synchronous_commit;
        let committed = if catalogue_changed {
            // The last statement's snapshot may have been given back.
            let begun = transaction.begin_statement().await;
            begun.map_err(|error| self.canceller.explain(error))?;
            store::bump_version(&mut transaction).await.map_err(|error| self.explained(error))?;
            self.engine.commit_change(*transaction, level).await
        } else {
            transaction.commit_in_place(level).await
        };
        let committed = committed.map_err(|error| self.canceller.explain(error))?;
        self.last_commit = Some((committed.timeline, committed.lsn));
        self.advisory.note_commit(committed.lsn);
        if committed.confirmed || host::planted!("a cancelled wait answers as if the level were reached") {
            self.confirmed_commit = committed.lsn;
        } else {
            let reason = self.canceller.reason();
            // What has ended the wait ends no statement behind it.
            self.canceller.clear();
            let (code, what) = match reason {
                Some(CancelReason::Terminate) => (
                    SqlState::ADMIN_SHUTDOWN,
                    "canceling the wait for synchronous replication and terminating connection due to \
                     administrator command",
                ),
                _ => (SqlState::WARNING, "canceling wait for synchronous replication due to user request"),
            };
            self.notices.push(SqlError::report(Severity::Warning, code, what).with_detail(
                "The transaction has already committed locally, but might not have been replicated to the standby. \
                 Others see it once it is.",
            ));
        }
        Ok(())
    }

    /// Forgets what the block did.
    pub(super) fn rollback_block(&mut self) {
        self.kept.end_portals();
        if let Some(mut block) = self.block.take()
            && let Some(transaction) = block.transaction.take()
        {
            self.told_up_to = self.told_up_to.max(block.told);
            transaction.rollback();
        }
        self.leave_levels(1, false);
    }

    /// Puts the transaction into its failed state after an error that the server found itself.
    pub fn fail(&mut self) {
        let Some(block) = &mut self.block else { return };
        if block.failed {
            return;
        }
        block.failed = true;
        self.told_up_to = self.told_up_to.max(block.told);
        let level = block.savepoints.len().checked_sub(1).map_or(1, setting_level);
        // Locks taken since the last savepoint are of no more use; without one the transaction is over.
        match (block.savepoints.last(), &mut block.transaction) {
            (Some((_, savepoint)), Some(transaction)) => {
                if transaction.rollback_to(savepoint).is_err()
                    && let Some(transaction) = block.transaction.take()
                {
                    transaction.rollback();
                }
            }
            _ => {
                if let Some(transaction) = block.transaction.take() {
                    transaction.rollback();
                }
            }
        }
        self.leave_levels(level, false);
    }

    /// Ends a simple query or answers Sync: commits the implicit transaction, or rolls it back if it failed.
    /// Explicit transactions stay. An error means that the commit did not happen.
    ///
    /// # Errors
    ///
    /// What keeps the commit from happening.
    pub async fn sync(&mut self) -> Result<()> {
        host::give_back_freed_memory();
        (self.kept.several, self.kept.alone) = (false, false);
        match &self.block {
            Some(block) if block.explicit => Ok(()),
            Some(block) if block.failed => {
                self.rollback_block();
                Ok(())
            }
            Some(_) => self.commit_block().await,
            None => Ok(()),
        }
    }
}

/// The settings' level of the savepoint at this place: the transaction itself is level 1.
pub(super) fn setting_level(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX).saturating_add(2)
}

/// 25P02.
#[cold]
pub(super) fn in_failed_block() -> SqlError {
    SqlError::new(
        SqlState::IN_FAILED_SQL_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

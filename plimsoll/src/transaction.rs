//! Transactions: typed calls and SQL between BEGIN and COMMIT.

use crate::record::Record;
use crate::scan::{Direction, Scan};
use crate::session::{changed, run, run_sql};
use crate::table::{Prepared, Table};
use crate::{Datum, Error, Result, SyncLevel};
use host::sync::Mutex;
use server::LocalSession;
use sql_interface::CommandTag;
use std::ops::RangeBounds;
use std::sync::Arc;
use wal::{Lsn, TimelineId};

/// What a transaction sees of others, as SQL defines it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Each call sees what was visible when it began.
    #[default]
    ReadCommitted,
    /// All calls see what was visible when the first one began; a write to what changed since is 40001.
    RepeatableRead,
}

/// How a transaction runs.
#[derive(Clone, Debug)]
pub struct TransactionOptions {
    /// What it sees of others.
    pub isolation: Isolation,
    /// How durable its commit is before it is acknowledged and seen; None for the setting synchronous_commit.
    pub sync: Option<SyncLevel>,
    /// Refuses writes.
    pub read_only: bool,
    /// How often it is run again after 40001 or 40P01.
    pub retries_max: u32,
}

impl Default for TransactionOptions {
    /// READ COMMITTED at the setting's level, up to 20 retries.
    fn default() -> Self {
        Self { isolation: Isolation::default(), sync: None, read_only: false, retries_max: 20 }
    }
}

impl TransactionOptions {
    /// The same at this isolation level.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }
    /// The same with a commit as durable as this.
    pub fn sync(mut self, level: SyncLevel) -> Self {
        self.sync = Some(level);
        self
    }
    /// The same without writes.
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }
    /// The same with so many retries.
    pub fn retries_max(mut self, retries: u32) -> Self {
        self.retries_max = retries;
        self
    }
}

/// What a committed transaction gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed<T> {
    /// The closure's result.
    pub value: T,
    /// Where its commit ends, and on which timeline; None if it wrote nothing. Followers that have replayed
    /// up to there show it ([`crate::Database::wait_replayed`]).
    pub position: Option<(TimelineId, Lsn)>,
}

/// Where a transaction leaves its session when its closure is done with it.
pub(crate) type Home = Arc<Mutex<Option<LocalSession>>>;

/// An open transaction, given to the closure of [`crate::Database::transaction`]. It ends when the closure's
/// future does: with a commit after Ok, else with a rollback.
#[derive(Debug)]
pub struct Transaction {
    /// There until the drop.
    session: Option<LocalSession>,
    home: Home,
    savepoints: u32,
}

impl Drop for Transaction {
    fn drop(&mut self) {
        *self.home.lock() = self.session.take();
    }
}

/// A point to which a transaction can go back, from [`Transaction::savepoint`].
#[derive(Debug)]
pub struct Savepoint(u32);

async fn command(session: &mut LocalSession, text: &str) -> Result<()> {
    session.finish().await?;
    let done = session.run(text, &[], Vec::new()).await;
    session.finish().await?;
    done?;
    Ok(())
}

/// Begins.
pub(crate) async fn begin(session: &mut LocalSession, options: &TransactionOptions) -> Result<()> {
    let level = match options.isolation {
        Isolation::ReadCommitted => "READ COMMITTED",
        Isolation::RepeatableRead => "REPEATABLE READ",
    };
    let mode = if options.read_only { " READ ONLY" } else { "" };
    command(session, &format!("BEGIN ISOLATION LEVEL {level}{mode}")).await?;
    let Some(level) = options.sync else { return Ok(()) };
    command(session, &format!("SET LOCAL synchronous_commit = {}", level.name())).await
}

/// Commits; where, if it wrote anything.
pub(crate) async fn commit(session: &mut LocalSession) -> Result<Option<(TimelineId, Lsn)>> {
    if session.transaction_status() != sql_interface::TransactionStatus::InTransaction {
        rollback(session).await;
        return Err(Error::RolledBack);
    }
    let before = session.last_commit();
    command(session, "COMMIT").await?;
    match session.last_commit() {
        after if after == before => Ok(None),
        Some((timeline, lsn, true)) => Ok(Some((timeline, lsn))),
        Some((_, lsn, false)) => Err(Error::Unconfirmed { lsn }),
        None => Ok(None),
    }
}

/// Rolls back. A session in which that fails is not idle, and not used again.
pub(crate) async fn rollback(session: &mut LocalSession) {
    let _ = command(session, "ROLLBACK").await;
}

impl Transaction {
    pub(crate) fn new(session: LocalSession, home: Home) -> Self {
        Self { session: Some(session), home, savepoints: 0 }
    }

    fn session(&mut self) -> Result<&mut LocalSession> {
        self.session.as_mut().ok_or(Error::Closed)
    }

    async fn command(&mut self, text: &str) -> Result<()> {
        command(self.session()?, text).await
    }

    /// Runs a statement as a message of its own: the session is idle in transaction before and after.
    async fn call(
        &mut self,
        statement: &Prepared,
        parameters: Vec<Datum>,
    ) -> Result<(Vec<Vec<Datum>>, CommandTag)> {
        let session = self.session()?;
        session.finish().await?;
        let done = run(session, statement, parameters).await;
        session.finish().await?;
        done
    }

    async fn keyed<K: Record>(&mut self, statement: &Prepared, key: &K) -> Result<(Vec<Vec<Datum>>, u64)> {
        let mut parameters = Vec::with_capacity(statement.types.len());
        key.write(&mut parameters)?;
        let (rows, tag) = self.call(statement, parameters).await?;
        Ok((rows, changed(tag)))
    }

    /// The value of a key.
    pub async fn get<K: Record, V: Record>(&mut self, table: &Table<K, V>, key: &K) -> Result<Option<V>> {
        let (rows, _) = self.keyed(&table.shape().get, key).await?;
        first(rows)
    }

    /// The value of a key, which nobody else changes until this transaction ends (SELECT FOR UPDATE). A key
    /// that is not there is not locked.
    pub async fn get_for_update<K: Record, V: Record>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
    ) -> Result<Option<V>> {
        let (rows, _) = self.keyed(&table.shape().lock, key).await?;
        first(rows)
    }

    async fn write<K: Record, V: Record>(&mut self, statement: &Prepared, key: &K, value: &V) -> Result<()> {
        let mut parameters = Vec::with_capacity(statement.types.len());
        key.write(&mut parameters)?;
        value.write(&mut parameters)?;
        self.call(statement, parameters).await?;
        Ok(())
    }

    /// Puts a value under a key, whether there is one or not.
    pub async fn put<K: Record, V: Record>(&mut self, table: &Table<K, V>, key: &K, value: &V) -> Result<()> {
        self.write(&table.shape().put, key, value).await
    }

    /// Puts a value under a key that must be new: 23505 if it is not.
    pub async fn insert<K: Record, V: Record>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<()> {
        self.write(&table.shape().insert, key, value).await
    }

    /// Deletes a key; whether it was there.
    pub async fn delete<K: Record, V: Record>(&mut self, table: &Table<K, V>, key: &K) -> Result<bool> {
        Ok(self.keyed(&table.shape().delete, key).await?.1 > 0)
    }

    /// Walks over the keys of a range (`..` for all), in the order of SQL, with collation C for text.
    pub async fn scan<K: Record, V: Record>(
        &mut self,
        table: &Table<K, V>,
        range: impl RangeBounds<K>,
        direction: Direction,
    ) -> Result<Scan<'_, K, V>> {
        let (statement, parameters) = table.shape().scan(&range, direction)?;
        let session = self.session()?;
        session.finish().await?;
        let prepared = session.prepare(&statement.text, &statement.types).await?;
        let portal = session.open(prepared, parameters).await?;
        Ok(Scan::new(session, portal))
    }

    /// Runs a statement of SQL; its rows. Parameters are `$1` and so on.
    pub async fn sql(&mut self, text: &str, parameters: &[Datum]) -> Result<Vec<Vec<Datum>>> {
        let session = self.session()?;
        session.finish().await?;
        let done = run_sql(session, text, parameters).await;
        session.finish().await?;
        Ok(done?.0)
    }

    /// Marks a point to go back to.
    pub async fn savepoint(&mut self) -> Result<Savepoint> {
        self.savepoints += 1;
        self.command(&format!("SAVEPOINT plimsoll_{}", self.savepoints)).await?;
        Ok(Savepoint(self.savepoints))
    }

    /// Undoes what was done since, gives back the locks taken since, and makes a transaction in which a call
    /// failed usable again. The savepoint stays.
    pub async fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<()> {
        self.command(&format!("ROLLBACK TO SAVEPOINT plimsoll_{}", savepoint.0)).await
    }

    /// Keeps what was done since, and forgets the savepoint.
    pub async fn release(&mut self, savepoint: Savepoint) -> Result<()> {
        self.command(&format!("RELEASE SAVEPOINT plimsoll_{}", savepoint.0)).await
    }
}

/// The first row's value, if there is a row.
pub(crate) fn first<V: Record>(rows: Vec<Vec<Datum>>) -> Result<Option<V>> {
    rows.into_iter().next().map(|row| V::read(&mut row.into_iter(), "value")).transpose()
}

//! An open database: its sessions, its tables, its end.

use crate::record::Record;
use crate::session::{Sessions, changed, run, run_sql};
use crate::table::Table;
use crate::transaction::{self, Committed, Home, Transaction, TransactionOptions, first};
use crate::{Datum, Error, Options, Result};
use host::sync::Mutex;
use host::task::task;
use server::{LocalSession, Server, StopMode};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use wal::Lsn;

/// A data directory that is open in this process; cloning shares it. When the last clone is dropped without
/// [`Database::close`], a stop is asked for and not waited for: if the runtime ends first, the next start
/// recovers as after a crash.
#[derive(Clone, Debug)]
pub struct Database(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    sessions: Sessions,
    server: Mutex<Option<Server>>,
    conninfo: String,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.sessions.close();
        if let Some(server) = self.server.get_mut() {
            server.stop(StopMode::Fast);
        }
    }
}

impl Database {
    pub(crate) fn new(server: Server, user: &str) -> Self {
        let embedded = server.embedded();
        let shared = Arc::new(Shared {
            sessions: Sessions::new(embedded.clone(), user),
            conninfo: server.conninfo(),
            server: Mutex::new(Some(server)),
        });
        let weak = Arc::downgrade(&shared);
        tokio::spawn(task(async move {
            // A stop waits for all sessions, and nobody else ends the idle ones.
            embedded.stopping().await;
            if let Some(shared) = Weak::upgrade(&weak) {
                shared.sessions.close();
            }
        }));
        Self(shared)
    }

    /// Makes a new primary in a directory that is missing or empty, and opens it for this process alone.
    pub async fn create(data_dir: impl Into<PathBuf>) -> Result<Self> {
        Options::new(data_dir).create_if_missing().open().await
    }

    /// Opens an existing directory for this process alone.
    pub async fn open(data_dir: impl Into<PathBuf>) -> Result<Self> {
        Options::new(data_dir).open().await
    }

    /// What other programs connect to (without user and database); empty if it listens nowhere.
    pub fn conninfo(&self) -> &str {
        &self.0.conninfo
    }

    /// Whether it follows another server now, and takes no writes.
    pub fn is_follower(&self) -> bool {
        self.0.sessions.server().is_ok_and(|server| server.is_in_recovery())
    }

    /// Makes a follower a primary on a new timeline; it takes writes when this returns.
    pub async fn promote(&self) -> Result<()> {
        if self.0.sessions.server()?.promote().await { Ok(()) } else { Err(Error::Closed) }
    }

    /// On a follower: waits until the primary's log is replayed up to `lsn` ([`Committed::position`]), so
    /// that what was committed there is read here.
    pub async fn wait_replayed(&self, lsn: Lsn) -> Result<()> {
        Ok(self.0.sessions.server()?.wait_redone(lsn).await?)
    }

    /// A table with these types' columns, made on a primary if it is not there. One that is there must have
    /// columns of these names and types, and the key as its primary key; it may have others, which puts leave
    /// to their defaults.
    pub async fn table<K: Record, V: Record>(&self, name: &str) -> Result<Table<K, V>> {
        let table = Table::<K, V>::new(name)?;
        let mut session = self.0.sessions.take().await?;
        let mut checked = check(&mut session, &table).await;
        let undefined = |error: &Error| error.sqlstate().as_deref() == Some("42P01");
        if checked.as_ref().is_err_and(undefined) && !self.is_follower() {
            let made = run_sql(&mut session, &table.shape().create(), &[]).await;
            let finished = session.finish().await;
            made?;
            finished?;
            checked = check(&mut session, &table).await;
        }
        self.0.sessions.give_back(session);
        checked.map(|()| table)
    }

    /// Runs a transaction: commits when `work` gives Ok, rolls back when it gives an error. After a
    /// serialization failure or a deadlock (40001, 40P01) it is run again, so `work` must not change anything
    /// else that it could not change twice.
    ///
    /// Ok means that the commit has reached its level.
    pub async fn transaction<T, F>(&self, work: impl FnMut(Transaction) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let committed = self.transaction_with(&TransactionOptions::default(), work).await?;
        Ok(committed.value)
    }

    /// The same with a choice of isolation, durability and retries, and the position of the commit.
    pub async fn transaction_with<T, F>(
        &self,
        options: &TransactionOptions,
        mut work: impl FnMut(Transaction) -> F,
    ) -> Result<Committed<T>>
    where
        F: Future<Output = Result<T>>,
    {
        let mut retries = 0;
        loop {
            let mut session = self.0.sessions.take().await?;
            transaction::begin(&mut session, options).await?;
            let home = Home::default();
            let worked = work(Transaction::new(session, home.clone())).await;
            // Not there if the transaction was taken out of the closure: it rolls back when it is dropped.
            let Some(mut session) = home.lock().take() else { return Err(Error::RolledBack) };
            let outcome = match worked {
                Ok(value) => {
                    let committed = transaction::commit(&mut session).await;
                    committed.map(|position| Committed { value, position })
                }
                Err(error) => {
                    transaction::rollback(&mut session).await;
                    Err(error)
                }
            };
            self.0.sessions.give_back(session);
            match outcome {
                Err(error) if error.is_retryable() && retries < options.retries_max => retries += 1,
                outcome => return outcome,
            }
        }
    }

    /// Runs one statement of SQL in a transaction of its own; its rows. Parameters are `$1` and so on.
    pub async fn sql(&self, text: &str, parameters: &[Datum]) -> Result<Vec<Vec<Datum>>> {
        let mut session = self.0.sessions.take().await?;
        let done = run_sql(&mut session, text, parameters).await;
        Ok(self.finish(session, done).await?.0)
    }

    /// Ends a transaction of one statement.
    async fn finish<T>(&self, mut session: LocalSession, done: Result<T>) -> Result<T> {
        let before = session.last_commit();
        let finished = session.finish().await;
        let after = session.last_commit();
        self.0.sessions.give_back(session);
        let value = done?;
        finished?;
        match after {
            Some((_, lsn, false)) if after != before => Err(Error::Unconfirmed { lsn }),
            _ => Ok(value),
        }
    }

    /// The value of a key.
    pub async fn get<K: Record, V: Record>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>> {
        let mut session = self.0.sessions.take().await?;
        let mut parameters = Vec::new();
        key.write(&mut parameters)?;
        let done = run(&mut session, &table.shape().get, parameters).await;
        first(self.finish(session, done).await?.0)
    }

    /// Puts a value under a key, in a transaction of its own.
    pub async fn put<K: Record, V: Record>(&self, table: &Table<K, V>, key: &K, value: &V) -> Result<()> {
        let mut session = self.0.sessions.take().await?;
        let mut parameters = Vec::new();
        key.write(&mut parameters)?;
        value.write(&mut parameters)?;
        let done = run(&mut session, &table.shape().put, parameters).await;
        self.finish(session, done).await?;
        Ok(())
    }

    /// Deletes a key, in a transaction of its own; whether it was there.
    pub async fn delete<K: Record, V: Record>(&self, table: &Table<K, V>, key: &K) -> Result<bool> {
        let mut session = self.0.sessions.take().await?;
        let mut parameters = Vec::new();
        key.write(&mut parameters)?;
        let done = run(&mut session, &table.shape().delete, parameters).await;
        Ok(changed(self.finish(session, done).await?.1) > 0)
    }

    /// Stops: ends the sessions, waits for followers to have everything, writes a shutdown checkpoint.
    /// Transactions that run meanwhile fail with 57P01; their closures must come to an end for this to
    /// return.
    pub async fn close(&self) -> Result<()> {
        self.0.sessions.close();
        let server = self.0.server.lock().take();
        let Some(server) = server else { return Ok(()) };
        server.stop(StopMode::Fast);
        // It hands its role over to nobody: who runs it does not start it again.
        server.join().await?;
        Ok(())
    }
}

/// Whether the table has the columns of its types.
async fn check<K: Record, V: Record>(session: &mut LocalSession, table: &Table<K, V>) -> Result<()> {
    let shape = table.shape();
    let probed = session.prepare(&shape.probe(), &[]).await;
    // Analysed too, which fails if the key is not the primary key.
    let put = match &probed {
        Ok(_) => session.prepare(&shape.put.text, &shape.put.types).await.map(drop),
        Err(_) => Ok(()),
    };
    let finished = session.finish().await;
    let probed = probed?;
    put?;
    finished?;
    let found = probed.columns().unwrap_or_default();
    for (column, found) in shape.key.iter().chain(&shape.value).zip(found) {
        if column.ty != found.ty.id {
            let (wanted, found) = (column.ty.info().sql_name, found.ty.id.info().sql_name);
            return Err(Error::Mismatch {
                table: shape.name.clone(),
                what: format!("has column \"{}\" of type {found}, and not {wanted}", column.name),
            });
        }
    }
    Ok(())
}

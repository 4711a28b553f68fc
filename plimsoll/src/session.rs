//! Sessions kept open between transactions.

use crate::table::Prepared;
use crate::{Datum, Error, Result};
use host::sync::Mutex;
use server::{Embedded, LocalSession};
use sql_interface::{CommandTag, TransactionStatus};

/// The most sessions that are kept while nobody uses them.
const IDLE_MAX: usize = 32;

/// Sessions of one role on a server.
#[derive(Debug)]
pub(crate) struct Sessions {
    user: String,
    /// None once the database is closed: what is left of it here must not keep the directory in use.
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    server: Embedded,
    idle: Vec<LocalSession>,
}

impl Sessions {
    pub(crate) fn new(server: Embedded, user: &str) -> Self {
        Self { user: user.to_owned(), open: Mutex::new(Some(Open { server, idle: Vec::new() })) }
    }

    /// The server, while it is open.
    pub(crate) fn server(&self) -> Result<Embedded> {
        self.open.lock().as_ref().map(|open| open.server.clone()).ok_or(Error::Closed)
    }

    /// A session with no transaction open.
    pub(crate) async fn take(&self) -> Result<LocalSession> {
        let server = {
            let mut open = self.open.lock();
            let open = open.as_mut().ok_or(Error::Closed)?;
            // Those that were told to end meanwhile are dropped.
            while let Some(session) = open.idle.pop() {
                if !session.is_terminated() {
                    return Ok(session);
                }
            }
            open.server.clone()
        };
        Ok(server.session(&self.user, "postgres").await?)
    }

    /// Keeps a session for the next one, unless something is still open in it.
    pub(crate) fn give_back(&self, session: LocalSession) {
        if session.transaction_status() == TransactionStatus::Idle
            && !session.is_terminated()
            && let Some(open) = self.open.lock().as_mut()
            && open.idle.len() < IDLE_MAX
        {
            open.idle.push(session);
        }
    }

    /// Ends the idle sessions, and lets none in any more.
    pub(crate) fn close(&self) {
        let open = self.open.lock().take();
        drop(open);
    }
}

/// Runs a statement to its end inside of what is open.
pub(crate) async fn run(
    session: &mut LocalSession,
    statement: &Prepared,
    parameters: Vec<Datum>,
) -> Result<(Vec<Vec<Datum>>, CommandTag)> {
    Ok(session.run(&statement.text, &statement.types, parameters).await?)
}

/// Runs a statement of the program's own, with parameters of the types that the values have.
pub(crate) async fn run_sql(
    session: &mut LocalSession,
    text: &str,
    parameters: &[Datum],
) -> Result<(Vec<Vec<Datum>>, CommandTag)> {
    let types: Vec<u32> =
        parameters.iter().map(|value| value.natural_type().map_or(0, sql_types::TypeId::oid)).collect();
    Ok(session.run(text, &types, parameters.to_vec()).await?)
}

/// How many rows a command changed.
pub(crate) fn changed(tag: CommandTag) -> u64 {
    match tag {
        CommandTag::Insert(rows) | CommandTag::Update(rows) | CommandTag::Delete(rows) => rows,
        _ => 0,
    }
}

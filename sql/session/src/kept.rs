//! What a session keeps by name: prepared statements, of Parse and of PREPARE; portals, of Bind and of
//! DECLARE. As in PostgreSQL each kind has one space of names, however it was made.

use super::portal::{Body, Portal, Prepared};
use super::{HashMap, SqlSession, Statement, in_failed_block};
use host::Timestamp;
use sql_interface::{CommandTag, Format, Result, ResultFormats, SqlError, stack};
use sql_language::parse::{SqlCommand, StatementClass, Utility};
use sql_types::{Array, Datum, Style, Type, TypeId};
use sqlstate::SqlState;
use std::sync::Arc;

/// A prepared statement by its name.
pub(crate) struct Stored {
    pub(crate) prepared: Arc<Prepared>,
    /// When it was prepared.
    pub(crate) at: Timestamp,
    /// By PREPARE; else by a message of the protocol.
    pub(crate) by_sql: bool,
}

/// Statements and portals of a session by their names.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) statements: HashMap<String, Stored>,
    /// All of the present transaction; the unnamed portal is the server's.
    pub(crate) portals: HashMap<String, Box<Portal>>,
    /// The names of the portals that run, which are not among them meanwhile: one, and those that it fetches
    /// from, each inside the one before.
    pub(crate) running: Vec<String>,
    /// Transactions whose portals have ended with them.
    pub(crate) lives: u64,
    /// The statement is one of several of a message, which are in one transaction.
    pub(crate) several: bool,
    /// The statement stands alone: what follows it in its pipeline begins anew.
    pub(crate) alone: bool,
    /// It ends transactions by itself, so that what follows it is no longer the first of its pipeline.
    pub(crate) commits_inside: bool,
}

/// The rows of pg_prepared_statements and pg_cursors.
#[derive(Default)]
pub(crate) struct KeptRows {
    pub(crate) statements: Vec<Vec<Datum>>,
    pub(crate) portals: Vec<Vec<Datum>>,
}

impl Kept {
    /// What is kept, as views show it, in the order of names.
    pub(crate) fn rows(&self) -> KeptRows {
        let statement = |(name, stored): (&String, &Stored)| {
            let types = stored.prepared.parameter_types().iter().map(|ty| Datum::Regtype(ty.id.oid()));
            vec![
                Datum::text(name.as_str()),
                Datum::text(stored.prepared.sql().as_ref()),
                Datum::Timestamptz(stored.at.micros()),
                Datum::Array(Arc::new(Array::of(TypeId::Regtype, types.collect()))),
                Datum::Bool(stored.by_sql),
                // One plan is for all values of the parameters.
                Datum::Int8(0),
                Datum::Int8(0),
            ]
        };
        let portal = |name: &str, portal: &Portal| {
            vec![
                Datum::text(name),
                Datum::text(portal.prepared().sql().as_ref()),
                Datum::Bool(false),
                Datum::Bool(portal.formats == ResultFormats::All(Format::Binary)),
                Datum::Bool(false),
                Datum::Timestamptz(portal.opened.micros()),
            ]
        };
        let mut rows = KeptRows {
            statements: self.statements.iter().filter(|(name, _)| !name.is_empty()).map(statement).collect(),
            portals: self.portals.iter().map(|(name, kept)| portal(name, kept)).collect(),
        };
        rows.statements.sort();
        rows.portals.sort();
        rows
    }

    /// The transaction ends, and its portals with it.
    pub(crate) fn end_portals(&mut self) {
        self.portals.clear();
        self.lives += 1;
    }
}

fn exists(name: &str) -> SqlError {
    SqlError::new(
        SqlState::DUPLICATE_PREPARED_STATEMENT,
        format!("prepared statement \"{name}\" already exists"),
    )
}

impl SqlSession {
    /// Keeps a prepared statement under a name (`""` replaces what was there); shared with PREPARE, EXECUTE
    /// and DEALLOCATE.
    ///
    /// # Errors
    ///
    /// 42P05 if the name is taken.
    pub fn store(&mut self, name: &str, prepared: Arc<Prepared>) -> Result<()> {
        let stored = self.keep(name, prepared, false);
        self.noting_now(stored)
    }

    pub(super) fn keep(&mut self, name: &str, prepared: Arc<Prepared>, by_sql: bool) -> Result<()> {
        self.check_new_statement(name)?;
        let stored = Stored { prepared, at: self.facts.statement_time, by_sql };
        self.kept.statements.insert(name.to_owned(), stored);
        Ok(())
    }

    /// What kind of change a statement of a text makes.
    pub fn class_of(&self, statement: &Statement) -> StatementClass {
        self.class(&statement.0.command, 0)
    }

    /// The same of one that is prepared; an empty one changes nothing.
    pub fn class_of_prepared(&self, prepared: &Prepared) -> StatementClass {
        prepared.command().map_or(StatementClass::Other, |command| self.class(command, 0))
    }

    /// `levels`: how many EXECUTE it stands in.
    fn class(&self, command: &SqlCommand, levels: usize) -> StatementClass {
        StatementClass::of(command, &|name| {
            // What is deeper is refused before it runs.
            stack::check_nested(levels + 1, self.quick.max_stack_depth_bytes).ok()?;
            let stored = self.kept.statements.get(name)?;
            Some(self.class(stored.prepared.command()?, levels + 1))
        })
    }

    /// The text of the statement that an EXECUTE runs.
    pub fn text_executed_by(&self, statement: &Statement) -> Option<Arc<str>> {
        let SqlCommand::Utility(Utility::Execute { name, .. }) = &statement.0.command else { return None };
        Some(self.kept.statements.get(name)?.prepared.sql().clone())
    }

    /// 42P05 if the name of a statement is taken.
    pub(super) fn check_new_statement(&self, name: &str) -> Result<()> {
        if !name.is_empty() && self.kept.statements.contains_key(name) { Err(exists(name)) } else { Ok(()) }
    }

    /// A kept statement; 26000 if there is none.
    ///
    /// # Errors
    ///
    /// 26000 if there is no such statement.
    pub fn stored(&mut self, name: &str) -> Result<Arc<Prepared>> {
        let found = self.find_stored(name);
        self.noting_now(found)
    }

    pub(super) fn find_stored(&self, name: &str) -> Result<Arc<Prepared>> {
        let found = self.kept.statements.get(name).map(|stored| stored.prepared.clone());
        found.ok_or_else(|| {
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            SqlError::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    /// Close of a statement: no error if there is none.
    pub fn forget(&mut self, name: &str) {
        self.kept.statements.remove(name);
    }

    /// DEALLOCATE
    pub(super) fn deallocate(&mut self, name: Option<&str>) -> Result<CommandTag> {
        match name {
            None => {
                self.kept.statements.clear();
                Ok(CommandTag::Words("DEALLOCATE ALL"))
            }
            Some(name) => {
                self.find_stored(name)?;
                self.kept.statements.remove(name);
                Ok(CommandTag::Words("DEALLOCATE"))
            }
        }
    }

    /// 25P02 for a statement that a failed transaction does not take: only its end comes through, and that
    /// without parameters.
    ///
    /// # Errors
    ///
    /// 25P02 as above.
    #[inline]
    pub fn check_not_failed(&mut self, prepared: &Prepared) -> Result<()> {
        if !self.block.as_ref().is_some_and(|block| block.failed) {
            return Ok(());
        }
        match &prepared.body {
            Body::Utility(parsed) if Self::ends_transaction(&parsed.command) => Ok(()),
            _ => Err(in_failed_block()),
        }
    }

    /// 25P02 in a failed transaction.
    ///
    /// # Errors
    ///
    /// 25P02 as above.
    pub fn check_block(&self) -> Result<()> {
        if self.block.as_ref().is_some_and(|block| block.failed) { Err(in_failed_block()) } else { Ok(()) }
    }

    /// A value from its text, also of those types whose texts are names of the catalogue.
    ///
    /// # Errors
    ///
    /// What is wrong with the text.
    #[inline]
    pub fn parse_value(&self, ty: Type, text: &str, style: &Style) -> Result<Datum> {
        if let Some(value) = sql_language::expr::read_reg(ty.id, text, &self.facts.path, &self.facts)? {
            return Ok(value);
        }
        if !ty.id.element().unwrap_or(ty.id).is_of_time() {
            return Ok(Datum::parse(ty, text, style)?);
        }
        // 'now' is when the transaction began, which may be about to.
        let now_micros = match self.block {
            Some(_) => self.facts.style.now_micros,
            None => self.facts.statement_time.micros(),
        };
        Ok(Datum::parse(ty, text, &Style { now_micros, ..style.clone() })?)
    }

    /// The portal of this name.
    #[inline]
    pub fn portal(&self, name: &str) -> Option<&Portal> {
        self.kept.portals.get(name).map(Box::as_ref)
    }

    /// Whether the transaction of a portal has ended, or a savepoint behind which it was opened has been
    /// rolled back to: then it exists no more.
    #[inline]
    pub fn is_over(&self, portal: &Portal) -> bool {
        portal.has_ended() || portal.life != self.kept.lives
    }

    /// Keeps a portal by its name.
    pub fn keep_portal(&mut self, name: String, portal: Box<Portal>) {
        self.kept.running.clear();
        if !self.is_over(&portal) {
            self.kept.portals.insert(name, portal);
        }
    }

    /// Takes a portal out that is not over, to be run and then kept again: its name stays taken.
    pub fn take_to_run(&mut self, name: &str) -> Option<(String, Box<Portal>)> {
        let taken = self.kept.portals.remove_entry(name).filter(|(_, portal)| !self.is_over(portal))?;
        self.kept.running = vec![taken.0.clone()];
        Some(taken)
    }

    /// Whether the portal of this name runs.
    pub(super) fn is_running(&self, name: &str) -> bool {
        self.kept.running.iter().any(|running| running == name)
    }

    /// Takes a portal out, to be closed.
    pub fn take_portal(&mut self, name: &str) -> Option<(String, Box<Portal>)> {
        self.kept.portals.remove_entry(name)
    }

    /// All portals end: no transaction is open.
    #[inline]
    pub fn end_portals(&mut self) {
        self.kept.end_portals();
    }
}

//! DECLARE, FETCH, MOVE and CLOSE: portals that a session keeps by name until their transaction ends.

use super::SqlSession;
use super::portal::{CursorRun, PortalDepth, Run};
use sql_interface::{CommandTag, Fetch, Flow, Result, ResultColumn, RowSink, SqlError};
use sql_language::parse::{FetchCount, Parsed};
use sql_types::{Datum, Type};
use sqlstate::SqlState;
use std::sync::Arc;
use storage::Transaction;

/// 34000
fn no_cursor(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}

/// Counts the rows that pass to another sink, or keeps them from it (MOVE).
struct Counting<'a> {
    out: Option<&'a mut dyn RowSink>,
    rows: usize,
}

impl RowSink for Counting<'_> {
    fn row(&mut self, values: &[Datum]) -> Result<Flow> {
        self.rows += 1;
        match &mut self.out {
            Some(out) => out.row(values),
            None => Ok(Flow::More),
        }
    }
    fn copy_data(&mut self, _line: &[u8]) -> Flow {
        Flow::More
    }
}

impl SqlSession {
    /// A rollback to the savepoint at this place ends the portals that were opened after it.
    pub(super) fn end_deeper(&mut self, at: usize) {
        if let Some(block) = &mut self.block {
            block.portals.retain(|portal| portal.upgrade().is_some_and(|portal| portal.survives(at)));
        }
        self.kept.portals.retain(|_, cursor| !cursor.has_ended());
    }

    /// Savepoints from this place on are released: their portals belong to the level outside.
    pub(super) fn keep_deeper(&mut self, at: usize) {
        if let Some(block) = &mut self.block {
            block.portals.retain(|portal| {
                let portal = portal.upgrade();
                portal.iter().for_each(|portal| portal.rise(at));
                at > 0 && portal.is_some()
            });
        }
    }

    /// The depth of a portal that is opened now.
    pub(super) fn portal_depth(&mut self) -> Option<Arc<PortalDepth>> {
        let block = self.block.as_mut().filter(|block| !block.savepoints.is_empty())?;
        if block.portals.len() == block.portals.capacity() {
            // Those that were closed make room.
            block.portals.retain(|portal| portal.strong_count() > 0);
        }
        let depth = PortalDepth::new(block.savepoints.len());
        block.portals.push(Arc::downgrade(&depth));
        Some(depth)
    }

    /// DECLARE name CURSOR FOR query.
    pub(super) async fn declare(
        &mut self,
        name: &str,
        query: &Arc<Parsed>,
        (types, parameters): (Vec<Option<Type>>, Vec<Datum>),
    ) -> Result<CommandTag> {
        if !self.in_explicit_block() {
            return Err(SqlError::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "DECLARE CURSOR can only be used in transaction blocks",
            ));
        }
        if self.kept.portals.contains_key(name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_CURSOR, message));
        }
        let prepared = Arc::new(self.analyse(query.clone(), types, super::PARAMETERS_MAX).await?);
        let mut portal = Box::pin(self.open_portal(prepared, parameters)).await?;
        // It shows what there was when it was declared, whatever this transaction or another does before a
        // row is fetched.
        if let (Run::Plan(run), Some(block)) = (&mut portal.run, &self.block) {
            run.view = block.transaction.as_ref().and_then(Transaction::view);
        }
        self.kept.portals.insert(name.to_owned(), portal);
        Ok(CommandTag::Words("DECLARE CURSOR"))
    }

    /// The columns of what FETCH gives; None as long as there is no such cursor.
    pub(super) fn cursor_columns(&self, name: &str) -> Option<Vec<ResultColumn>> {
        self.kept.portals.get(name)?.columns().map(<[_]>::to_vec)
    }

    /// FETCH and MOVE begin.
    pub(super) fn open_fetch(&self, name: &str, count: FetchCount, shows: bool) -> Result<Run> {
        if !self.kept.portals.contains_key(name) {
            return Err(no_cursor(name));
        }
        let left = match count {
            FetchCount::All => usize::MAX,
            FetchCount::Rows(rows) => rows,
        };
        Ok(Run::Cursor(CursorRun { name: name.to_owned(), left, given: 0, shows }))
    }

    /// Gives the next rows of a cursor.
    pub(super) async fn fetch_cursor(
        &mut self,
        run: &mut CursorRun,
        max_rows: usize,
        out: &mut dyn RowSink,
    ) -> Result<Fetch> {
        let tag = |run: &CursorRun| {
            let rows = u64::try_from(run.given).unwrap_or(u64::MAX);
            if run.shows { CommandTag::Fetch(rows) } else { CommandTag::Move(rows) }
        };
        if run.left == 0 {
            return Ok(Fetch::Complete(tag(run)));
        }
        let mut cursor = self.kept.portals.remove(&run.name).ok_or_else(|| no_cursor(&run.name))?;
        let most = if max_rows == 0 { run.left } else { run.left.min(max_rows) };
        let mut sink = Counting { out: run.shows.then_some(out), rows: 0 };
        // 0 rows would mean all of them; a limit that no result reaches means the same.
        let fetched = match cursor.check_runnable(&run.name) {
            Ok(()) => Box::pin(self.fetch_portal(&mut cursor, most, &mut sink)).await,
            Err(error) => Err(error),
        };
        let rows = sink.rows;
        if fetched.is_err() {
            cursor.run = Run::Failed;
        }
        self.kept.portals.insert(run.name.clone(), cursor);
        let fetched = fetched?;
        run.given += rows;
        run.left -= rows.min(run.left);
        Ok(match fetched {
            Fetch::Complete(_) => {
                run.left = 0;
                Fetch::Complete(tag(run))
            }
            Fetch::Suspended if run.left == 0 => Fetch::Complete(tag(run)),
            other => other,
        })
    }

    /// CLOSE name, or ALL.
    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> Result<CommandTag> {
        match name {
            None => {
                self.kept.portals.clear();
                Ok(CommandTag::Words("CLOSE CURSOR ALL"))
            }
            Some(name) => {
                self.kept.portals.remove(name).ok_or_else(|| no_cursor(name))?;
                Ok(CommandTag::Words("CLOSE CURSOR"))
            }
        }
    }
}

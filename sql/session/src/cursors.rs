//! DECLARE, FETCH, MOVE and CLOSE: portals that a session keeps by name until their transaction ends.

use super::SqlSession;
use super::portal::{CursorRun, Given, Portal, PortalDepth, Run, cannot_be_run};
use sql_execution::Row;
use sql_interface::{CommandTag, Fetch, Flow, PortalKind, Result, ResultColumn, RowSink, SqlError, stack};
use sql_language::parse::{FetchCount, Parsed};
use sql_types::Datum;
use sqlstate::SqlState;
use std::sync::Arc;

/// 34000
fn no_cursor(name: &str) -> SqlError {
    SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}

/// Counts the rows that pass to another sink, or keeps them from it (MOVE).
struct Counting<'a> {
    out: Option<&'a mut dyn RowSink>,
    rows: usize,
    /// The last of them.
    last: Row,
}

impl RowSink for Counting<'_> {
    fn row(&mut self, values: &[Datum]) -> Result<Flow> {
        self.rows += 1;
        self.last.clear();
        self.last.extend_from_slice(values);
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
        given: Given,
        no_scroll: bool,
    ) -> Result<CommandTag> {
        if !self.in_transaction_block() {
            return Err(SqlError::new(
                SqlState::NO_ACTIVE_SQL_TRANSACTION,
                "DECLARE CURSOR can only be used in transaction blocks",
            ));
        }
        if self.kept.portals.contains_key(name) || self.is_running(name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_CURSOR, message));
        }
        let prepared = Arc::new(self.analyse(query.clone(), given.types, super::PARAMETERS_MAX).await?);
        let mut portal = Box::pin(self.open_portal(prepared, given.values, false)).await?;
        self.hold(&mut portal);
        portal.no_scroll = no_scroll;
        self.kept.portals.insert(name.to_owned(), portal);
        Ok(CommandTag::Words("DECLARE CURSOR"))
    }

    /// The columns of what FETCH gives; None as long as there is no such cursor.
    pub(super) fn cursor_columns(&self, name: &str) -> Option<Vec<ResultColumn>> {
        self.kept.portals.get(name)?.columns().map(<[_]>::to_vec)
    }

    /// FETCH and MOVE begin.
    pub(super) fn open_fetch(&self, name: &str, count: FetchCount, shows: bool) -> Result<Run> {
        if self.is_running(name) {
            return Err(cannot_be_run(name));
        }
        if !self.kept.portals.contains_key(name) {
            return Err(no_cursor(name));
        }
        let (left, current) = match count {
            FetchCount::All => (usize::MAX, false),
            FetchCount::Rows(rows) => (rows, false),
            FetchCount::Current => (0, true),
        };
        Ok(Run::Cursor(CursorRun { name: name.to_owned(), left, current, given: 0, shows }))
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
        // MOVE gives no rows, so that no limit of theirs ends it.
        let max_rows = if run.shows { max_rows } else { 0 };
        if std::mem::take(&mut run.current) {
            run.given = self.current_row(run, out)?;
            if run.given == max_rows && max_rows > 0 {
                return Ok(Fetch::Suspended);
            }
        }
        if run.left == 0 {
            return Ok(Fetch::Complete(tag(run)));
        }
        let mut cursor = self.kept.portals.remove(&run.name).ok_or_else(|| no_cursor(&run.name))?;
        // 0 rows would mean all of them; a limit that no result reaches means the same.
        let most = if max_rows == 0 { run.left } else { run.left.min(max_rows) };
        let mut sink = Counting { out: run.shows.then_some(out), rows: 0, last: Row::new() };
        self.kept.running.push(run.name.clone());
        let fetched = self.fetch_from(&mut cursor, &run.name, most, &mut sink).await;
        self.kept.running.pop();
        let (rows, last) = (sink.rows, sink.last);
        // Whoever asks for more than there is stands behind the last row.
        let stands = rows == most && rows > 0;
        cursor.current = stands.then_some(last);
        if fetched.is_err() {
            cursor.run = Run::Failed;
        }
        self.kept.portals.insert(run.name.clone(), cursor);
        let fetched = fetched?;
        run.given += rows;
        run.left -= rows.min(run.left);
        if matches!(fetched, Fetch::Complete(_)) {
            run.left = 0;
        }
        Ok(match fetched {
            // Whoever asks for as many rows as there are learns of the end by the next answer.
            _ if rows == max_rows && max_rows > 0 => Fetch::Suspended,
            Fetch::Complete(_) => Fetch::Complete(tag(run)),
            Fetch::Suspended if run.left == 0 => Fetch::Complete(tag(run)),
            other => other,
        })
    }

    /// The next rows of a portal, at most so many. It may be a FETCH itself, of another portal.
    async fn fetch_from(
        &mut self,
        cursor: &mut Portal,
        name: &str,
        most: usize,
        sink: &mut Counting<'_>,
    ) -> Result<Fetch> {
        let levels = self.kept.running.len();
        stack::check_nested(levels, self.quick.max_stack_depth_bytes)?;
        if self.is_behind(cursor) {
            Box::pin(self.renew(cursor)).await?;
        }
        cursor.check_runnable(name)?;
        if cursor.kind() != PortalKind::Rows {
            // What ends the transaction would end the portals of which this one is to be among.
            return Err(SqlError::internal("unsupported portal strategy"));
        }
        let fetch = Box::pin(self.fetch_portal(cursor, most, sink));
        // The portal that runs, and a cursor: there is room for these.
        if levels <= 2 { fetch.await } else { stack::nested(fetch).await }
    }

    /// FETCH 0: gives the row that a cursor stands on; how many that are.
    fn current_row(&self, run: &CursorRun, out: &mut dyn RowSink) -> Result<usize> {
        let cursor = self.kept.portals.get(&run.name).ok_or_else(|| no_cursor(&run.name))?;
        let Some(row) = &cursor.current else { return Ok(0) };
        if run.shows {
            if cursor.no_scroll {
                let message = "cursor can only scan forward";
                return Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, message)
                    .with_hint("Declare it with SCROLL option to enable backward scan."));
            }
            out.row(row)?;
        }
        Ok(1)
    }

    /// CLOSE name, or ALL.
    pub(super) fn close_cursor(&mut self, name: Option<&str>) -> Result<CommandTag> {
        match name {
            None => {
                self.kept.portals.clear();
                Ok(CommandTag::Words("CLOSE CURSOR ALL"))
            }
            Some(name) if self.is_running(name) => {
                let message = format!("cannot drop active portal \"{name}\"");
                Err(SqlError::new(SqlState::INVALID_CURSOR_STATE, message))
            }
            Some(name) => {
                self.kept.portals.remove(name).ok_or_else(|| no_cursor(name))?;
                Ok(CommandTag::Words("CLOSE CURSOR"))
            }
        }
    }
}

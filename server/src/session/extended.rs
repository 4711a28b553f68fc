//! The extended query protocol: statements prepared, portals bound, executed by pieces.

use super::rows::{self, ResultFormats, Rows};
use super::{Failure, Session, limited};
use crate::connection::registry::Statement;
use host::Instant;
use protocol::backend::{self, CopyDirection};
use protocol::frontend::{Bind, Parse, StatementOrPortal};
use protocol::{Format, Report, SqlState};
use sql_interface::{CommandTag, Environment, Fetch, PortalKind};
use sql_session::{Portal, Prepared};
use sql_types::Datum;
use std::pin::pin;

/// A portal and how its client wants it.
/// Reading a byte of a value takes about as long as touching so many.
const READ_WORK: usize = 4;

pub(super) struct OpenPortal {
    portal: Portal,
    formats: ResultFormats,
    /// It gave all that it has.
    finished: bool,
}

impl Session {
    /// Prepares a statement.
    pub(super) async fn parse(&mut self, parse: &Parse<'_>) -> Result<(), Failure> {
        self.restart_clock();
        self.handle.set_statement(Statement::Text(parse.sql.into()));
        self.check_memory(parse.sql)?;
        let began = self.clock();
        let types: Vec<u32> = parse.types().collect();
        let prepared =
            limited(self.deadline, &self.canceller, pin!(self.sql.prepare(parse.sql, &types))).await?;
        self.sql.store(parse.name, prepared)?;
        self.send_notices()?;
        self.log_duration("parse <unnamed>", parse.sql, &[], began);
        backend::parse_complete(&mut self.wire.out);
        Ok(())
    }

    /// Makes a portal.
    pub(super) async fn bind(&mut self, bind: &Bind<'_>) -> Result<(), Failure> {
        self.restart_clock();
        let began = self.clock();
        let prepared = self.sql.stored(bind.statement)?;
        self.handle.set_statement(Statement::Text(prepared.sql().clone()));
        if !bind.portal.is_empty() {
            self.check_memory(prepared.sql())?;
        }
        let types = prepared.parameter_types();
        if bind.parameter_count() != types.len() {
            self.sql.fail();
            let what = format!(
                "bind message supplies {} parameters, but prepared statement \"{}\" requires {}",
                bind.parameter_count(),
                bind.statement,
                types.len()
            );
            return Err(Report::error(SqlState::PROTOCOL_VIOLATION, what).into());
        }
        let columns = prepared.columns().map_or(0, <[_]>::len);
        if !bind.result_formats.fits(columns) {
            self.sql.fail();
            let what = format!(
                "bind message has {} result formats but query has {columns} columns",
                bind.result_formats.len()
            );
            return Err(Report::error(SqlState::PROTOCOL_VIOLATION, what).into());
        }
        let mut values = Vec::with_capacity(types.len());
        if !types.is_empty() {
            let quick = self.environment.quick();
            for (at, (value, ty)) in bind.parameters().zip(types).enumerate() {
                let Some(bytes) = value else {
                    values.push(Datum::Null);
                    continue;
                };
                let read = || match bind.parameter_formats.of(at) {
                    Format::Text => sql_types::binary::checked_text(bytes)
                        .and_then(|text| Datum::parse(*ty, text, &quick.style)),
                    Format::Binary => sql_types::binary::read(*ty, bytes),
                };
                let read = sql_types::work::large(bytes.len().saturating_mul(READ_WORK), read);
                values.push(read.map_err(|error| {
                    self.sql.fail();
                    sql_interface::SqlError::from(error)
                        .in_context(format!("unnamed portal parameter ${}", at + 1))
                })?);
            }
        }
        self.forget_ended(bind.portal);
        if !bind.portal.is_empty() && self.portals.contains_key(bind.portal) {
            self.sql.fail();
            let what = format!("cursor \"{}\" already exists", bind.portal);
            return Err(Report::error(SqlState::DUPLICATE_CURSOR, what).into());
        }
        let portal = limited(self.deadline, &self.canceller, pin!(self.sql.open(prepared, values))).await?;
        self.log_duration("bind <unnamed>", portal.prepared().sql(), portal.parameters(), began);
        let open = OpenPortal { portal, formats: ResultFormats::of(bind.result_formats), finished: false };
        if bind.portal.is_empty() {
            self.unnamed = Some(open);
        } else {
            self.portals.insert(bind.portal.to_owned(), open);
        }
        backend::bind_complete(&mut self.wire.out);
        Ok(())
    }

    /// Forgets a portal that a rollback to a savepoint has ended.
    #[inline]
    fn forget_ended(&mut self, name: &str) {
        let found = if name.is_empty() { self.unnamed.as_ref() } else { self.portals.get(name) };
        if found.is_some_and(|open| open.portal.has_ended()) {
            self.unnamed.take_if(|_| name.is_empty());
            self.portals.remove(name);
        }
    }

    #[cold]
    fn no_portal(&mut self, name: &str) -> Failure {
        self.sql.fail();
        let what = format!("portal \"{name}\" does not exist");
        Report::error(SqlState::INVALID_CURSOR_NAME, what).into()
    }

    /// Describes a statement or portal.
    pub(super) async fn describe(&mut self, target: StatementOrPortal<'_>) -> Result<(), Failure> {
        match target {
            StatementOrPortal::Statement(name) => {
                let prepared = self.sql.stored(name)?;
                self.may_describe(&prepared).await?;
                let out = &mut self.wire.out;
                let types = prepared.parameter_types().iter().map(|ty| ty.id.oid());
                backend::parameter_description(out, types);
                match prepared.columns() {
                    Some(columns) => rows::describe(out, columns, &ResultFormats::All(Format::Text)),
                    None => backend::no_data(out),
                }
            }
            StatementOrPortal::Portal(name) => {
                self.forget_ended(name);
                let open = if name.is_empty() { self.unnamed.as_ref() } else { self.portals.get(name) };
                let Some(open) = open else { return Err(self.no_portal(name)) };
                let prepared = open.portal.prepared().clone();
                self.may_describe(&prepared).await?;
                let open = if name.is_empty() { self.unnamed.as_ref() } else { self.portals.get(name) };
                let Some(open) = open else { return Err(self.no_portal(name)) };
                let out = &mut self.wire.out;
                match open.portal.columns().map(|columns| (columns, &open.formats)) {
                    Some((columns, formats)) => rows::describe(out, columns, formats),
                    None => backend::no_data(out),
                }
            }
        }
        Ok(())
    }

    /// Waits until a description may leave.
    #[inline]
    pub(super) async fn may_describe(&mut self, prepared: &Prepared) -> Result<(), Failure> {
        if self.sql.may_describe_now() {
            return Ok(());
        }
        Ok(limited(self.deadline, &self.canceller, pin!(self.sql.may_describe(prepared))).await?)
    }

    /// Closes a statement or portal; one that does not exist is no error.
    pub(super) fn close(&mut self, target: StatementOrPortal<'_>) {
        match target {
            StatementOrPortal::Statement(name) => self.sql.forget(name),
            StatementOrPortal::Portal("") => self.unnamed = None,
            StatementOrPortal::Portal(name) => {
                self.portals.remove(name);
            }
        }
        backend::close_complete(&mut self.wire.out);
    }

    /// Runs a portal, for at most `rows_max` rows if that is not 0.
    pub(super) async fn execute(&mut self, name: &str, rows_max: u32) -> Result<(), Failure> {
        self.restart_clock();
        self.forget_ended(name);
        // Taken out while it runs, so that session and portal are borrowed apart.
        let taken = if name.is_empty() {
            self.unnamed.take().map(|open| (String::new(), open))
        } else {
            self.portals.remove_entry(name)
        };
        let Some((key, mut open)) = taken else { return Err(self.no_portal(name)) };
        let prepared = open.portal.prepared().clone();
        let label = "execute <unnamed>";
        self.log_statement(label, prepared.sql(), open.portal.parameters());
        let began = self.clock();
        self.handle.set_statement(Statement::Text(prepared.sql().clone()));
        let done = self.run_portal(&key, &mut open, rows_max, began).await.map_err(|failure| match failure {
            Failure::Error(report) => {
                Failure::Error(Box::new(self.with_portal(*report, &key, open.portal.parameters())))
            }
            exit => exit,
        });
        self.log_duration(label, prepared.sql(), open.portal.parameters(), began);
        if key.is_empty() {
            self.unnamed = Some(open);
        } else {
            self.portals.insert(key, open);
        }
        done
    }

    /// Refuses a portal that cannot run, or not again.
    fn check_portal(&mut self, name: &str, open: &OpenPortal) -> Result<(), Failure> {
        let mut runnable = open.portal.check_runnable(name);
        if open.finished && matches!(open.portal.kind(), PortalKind::Command) {
            runnable = runnable.and(Err(sql_session::cannot_be_run(name)));
        }
        runnable.map_err(|error| {
            self.sql.fail();
            error.into()
        })
    }

    /// All of a portal has run, which gave `rows` rows this time.
    fn complete_portal(&mut self, open: &mut OpenPortal, tag: CommandTag, rows: u64) -> Result<(), Failure> {
        open.finished = true;
        self.statement_over = true;
        if matches!(open.portal.kind(), PortalKind::CopyOut { .. }) {
            backend::copy_done(&mut self.wire.out);
        }
        self.send_notices()?;
        // Of a portal run by pieces each tag counts its own rows.
        let select = matches!(tag, CommandTag::Select(_));
        self.complete(if select { CommandTag::Select(rows) } else { tag });
        Ok(())
    }

    async fn run_portal(
        &mut self,
        name: &str,
        open: &mut OpenPortal,
        rows_max: u32,
        began: Option<Instant>,
    ) -> Result<(), Failure> {
        self.check_portal(name, open)?;
        match open.portal.kind() {
            PortalKind::CopyIn { columns } => {
                let tag = self.copy_in(&mut open.portal, columns).await?;
                self.statement_over = true;
                self.track(open.portal.prepared(), 0, began, tag);
                self.send_notices()?;
                self.complete(tag);
                return Ok(());
            }
            PortalKind::CopyOut { columns } => {
                let (out, columns) = (&mut self.wire.out, usize::from(columns));
                backend::copy_response(out, CopyDirection::Out, Format::Text, columns);
            }
            PortalKind::Rows | PortalKind::Command => {}
        }
        let mut left = usize::try_from(rows_max).unwrap_or(usize::MAX);
        let mut rows = 0;
        let style = self.environment.quick().style.clone();
        loop {
            let (out, scratch) = (&mut self.wire.out, &mut self.scratch);
            let mut sink = Rows::new(out, scratch, &open.formats, &style);
            let fetched = limited(
                self.deadline,
                &self.canceller,
                pin!(self.sql.fetch(&mut open.portal, left, &mut sink)),
            )
            .await;
            if fetched.is_err() {
                sink.take_back();
            }
            let count = sink.count;
            rows += count as u64;
            match fetched? {
                Fetch::Complete(tag) => {
                    self.track(open.portal.prepared(), 0, began, tag);
                    self.complete_portal(open, tag, rows)?;
                    return Ok(());
                }
                Fetch::Suspended => {
                    self.send_notices()?;
                    backend::portal_suspended(&mut self.wire.out);
                    return Ok(());
                }
                Fetch::More => {
                    if left > 0 {
                        left = left.saturating_sub(count);
                        if left == 0 {
                            // The buffer was full with the last row that was asked for.
                            backend::portal_suspended(&mut self.wire.out);
                            return Ok(());
                        }
                    }
                    self.wire.flush().await?;
                }
            }
        }
    }
}

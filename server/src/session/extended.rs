//! The extended query protocol: statements prepared, portals bound, executed by pieces.

use super::logged::{Detail, execute_label, named, of_portal, quoted};
use super::rows::{self, Rows};
use super::{Failure, Session, limited};
use crate::connection::registry::Statement;
use crate::error::from_sql;
use host::Instant;
use protocol::backend::{self, CopyDirection};
use protocol::frontend::{Bind, Parse, StatementOrPortal};
use protocol::{Format, Report, SqlState};
use sql_interface::{CommandTag, Fetch, PortalKind, ResultFormats, SqlError};
use sql_session::{Portal, Prepared};
use sql_types::Datum;
use std::pin::pin;
use std::sync::Arc;

/// Reading a byte of a value takes about as long as touching so many.
const READ_WORK: usize = 4;

impl Session {
    /// Prepares a statement.
    pub(super) async fn parse(&mut self, parse: &Parse<'_>) -> Result<(), Failure> {
        self.restart_clock();
        self.handle.set_statement(Statement::Text(parse.sql.into()));
        self.check_memory(parse.sql)?;
        if parse.name.is_empty() {
            // Also by one that fails.
            self.sql.forget("");
        }
        self.hold_unnamed();
        let began = self.clock();
        let types: Vec<u32> = parse.types().collect();
        let prepared =
            limited(self.deadline, &self.canceller, pin!(self.sql.prepare(parse.sql, &types))).await?;
        self.sql.store(parse.name, prepared)?;
        self.send_notices()?;
        self.log_duration(
            || format!("parse {}", named(parse.name)),
            (parse.sql, false),
            Detail::Parameters(&[]),
            began,
        );
        backend::parse_complete(&mut self.wire.out);
        Ok(())
    }

    /// Makes a portal.
    pub(super) async fn bind(&mut self, bind: &Bind<'_>) -> Result<(), Failure> {
        self.restart_clock();
        let began = self.clock();
        self.sql.note_time();
        let prepared = self.stored(bind.statement)?;
        self.handle.set_statement(Statement::Text(prepared.sql().clone()));
        if !bind.portal.is_empty() {
            self.check_memory(prepared.sql())?;
            self.hold_unnamed();
        }
        if let Err(failure) = self.check_bind(bind, &prepared) {
            self.sql.fail();
            return Err(failure);
        }
        let values = self.parameters(bind, &prepared)?;
        let mut portal =
            limited(self.deadline, &self.canceller, pin!(self.sql.open(prepared, values))).await?;
        let columns = portal.columns().map_or(0, <[_]>::len);
        if !bind.result_formats.fits(columns) {
            self.sql.fail();
            let what = format!(
                "bind message has {} result formats but query has {columns} columns",
                bind.result_formats.len()
            );
            return Err(Report::error(SqlState::PROTOCOL_VIOLATION, what).into());
        }
        let label = || format!("bind {}", of_portal(bind.statement, bind.portal));
        self.log_duration(
            label,
            (portal.prepared().sql(), false),
            Detail::Parameters(portal.parameters()),
            began,
        );
        if !bind.statement.is_empty() && self.limits.names_statements() {
            portal.statement = Some(bind.statement.into());
        }
        portal.formats = rows::result_formats(bind.result_formats);
        if bind.portal.is_empty() {
            self.unnamed = Some(portal);
        } else {
            self.sql.hold(&mut portal);
            self.sql.keep_portal(bind.portal.to_owned(), portal);
        }
        backend::bind_complete(&mut self.wire.out);
        Ok(())
    }

    /// What can be said against a Bind before its parameters are read, in PostgreSQL's order.
    fn check_bind(&mut self, bind: &Bind<'_>, prepared: &Prepared) -> Result<(), Failure> {
        let (given, wanted) = (bind.parameter_count(), prepared.parameter_types().len());
        let violation = |what: String| Err(Report::error(SqlState::PROTOCOL_VIOLATION, what).into());
        if !bind.parameter_formats.fits(given) {
            let formats = bind.parameter_formats.len();
            return violation(format!("bind message has {formats} parameter formats but {given} parameters"));
        }
        if given != wanted {
            return violation(format!(
                "bind message supplies {given} parameters, but prepared statement \"{}\" requires {wanted}",
                bind.statement
            ));
        }
        self.sql.check_not_failed(prepared).map_err(|error| from_sql(&error))?;
        if !bind.portal.is_empty() && self.sql.portal(bind.portal).is_some() {
            let what = format!("cursor \"{}\" already exists", bind.portal);
            return Err(Report::error(SqlState::DUPLICATE_CURSOR, what).into());
        }
        let unsupported = bind.parameter_formats.unsupported().or_else(|| bind.result_formats.unsupported());
        match unsupported {
            None => Ok(()),
            Some(code) => {
                let what = format!("unsupported format code: {code}");
                Err(Report::error(SqlState::INVALID_PARAMETER_VALUE, what).into())
            }
        }
    }

    /// The values of the parameters.
    fn parameters(&mut self, bind: &Bind<'_>, prepared: &Prepared) -> Result<Vec<Datum>, SqlError> {
        let types = prepared.parameter_types();
        let mut values = Vec::with_capacity(types.len());
        if types.is_empty() {
            return Ok(values);
        }
        self.take_limits();
        let (sql, style) = (&mut self.sql, &self.limits.style);
        let limit = self.limits.parameter_bytes_max_on_error;
        for (at, (value, ty)) in bind.parameters().zip(types).enumerate() {
            let Some(bytes) = value else {
                values.push(Datum::Null);
                continue;
            };
            let format = bind.parameter_formats.of(at);
            let read = || match format {
                Format::Text => sql_types::binary::checked_text(bytes)
                    .map_err(SqlError::from)
                    .and_then(|text| sql.parse_value(*ty, text, style)),
                Format::Binary => sql_types::binary::read(*ty, bytes).map_err(SqlError::from),
            };
            let read = sql_types::work::large(bytes.len().saturating_mul(READ_WORK), read);
            values.push(read.map_err(|error| {
                sql.fail();
                let error = if error.message() == "incorrect binary data format" {
                    // PostgreSQL says of which parameter where the bytes do not end with the value.
                    let message = format!("{} in bind parameter {}", error.message(), at + 1);
                    SqlError::new(error.code(), message)
                } else {
                    error
                };
                error.in_context(of_parameter(bind.portal, at, (bytes, format), limit))
            })?);
        }
        Ok(values)
    }

    /// Another statement is about to begin: the unnamed portal goes on with what it sees.
    fn hold_unnamed(&mut self) {
        if let Some(portal) = &mut self.unnamed {
            self.sql.hold(portal);
        }
    }

    /// A prepared statement. The log is not to blame the one of before for an error that none is there.
    fn stored(&mut self, name: &str) -> Result<Arc<Prepared>, Failure> {
        let found = self.sql.stored(name);
        if found.is_err() {
            self.handle.set_statement(Statement::None);
        }
        Ok(found?)
    }

    /// A portal that is there and not over.
    fn portal(&self, name: &str) -> Option<&Portal> {
        let portal = if name.is_empty() { self.unnamed.as_deref() } else { self.sql.portal(name) };
        portal.filter(|portal| !self.sql.is_over(portal))
    }

    #[cold]
    fn no_portal(&mut self, name: &str) -> Failure {
        self.sql.fail();
        self.handle.set_statement(Statement::None);
        let what = format!("portal \"{name}\" does not exist");
        Report::error(SqlState::INVALID_CURSOR_NAME, what).into()
    }

    /// Describes a statement or portal. In a failed transaction only what gives no rows can be.
    pub(super) async fn describe(&mut self, target: StatementOrPortal<'_>) -> Result<(), Failure> {
        match target {
            StatementOrPortal::Statement(name) => {
                let prepared = self.stored(name)?;
                if prepared.columns().is_some() {
                    self.sql.check_not_failed(&prepared)?;
                }
                let types = prepared.parameter_types().iter().map(|ty| ty.id.oid());
                backend::parameter_description(&mut self.wire.out, types);
                let prepared =
                    limited(self.deadline, &self.canceller, pin!(self.sql.as_described(prepared))).await?;
                self.may_describe(&prepared).await?;
                let out = &mut self.wire.out;
                match prepared.columns() {
                    Some(columns) => rows::describe(out, columns, &ResultFormats::default()),
                    None => backend::no_data(out),
                }
            }
            StatementOrPortal::Portal(name) => {
                let Some(portal) = self.portal(name) else { return Err(self.no_portal(name)) };
                let prepared = portal.prepared().clone();
                if prepared.columns().is_some() {
                    self.sql.check_not_failed(&prepared)?;
                }
                self.may_describe(&prepared).await?;
                let portal = if name.is_empty() { self.unnamed.as_deref() } else { self.sql.portal(name) };
                let Some(portal) = portal else { return Err(self.no_portal(name)) };
                let out = &mut self.wire.out;
                match portal.columns() {
                    Some(columns) => rows::describe(out, columns, &portal.formats),
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
            StatementOrPortal::Portal(name) => drop(self.sql.take_portal(name)),
        }
        backend::close_complete(&mut self.wire.out);
    }

    /// Runs a portal, for at most `rows_max` rows if that is not 0.
    pub(super) async fn execute(&mut self, name: &str, rows_max: u32) -> Result<(), Failure> {
        self.restart_clock();
        // Taken out while it runs, so that session and portal are borrowed apart.
        let taken = if name.is_empty() {
            let unnamed = self.unnamed.take().filter(|portal| !self.sql.is_over(portal));
            unnamed.map(|portal| (String::new(), portal))
        } else {
            self.hold_unnamed();
            self.sql.take_to_run(name)
        };
        let Some((key, mut portal)) = taken else { return Err(self.no_portal(name)) };
        let prepared = portal.prepared().clone();
        let logged = self.log_portal(&key, &portal);
        let began = self.clock();
        self.handle.set_statement(Statement::Text(prepared.sql().clone()));
        let done =
            self.run_portal(&key, &mut portal, rows_max, began).await.map_err(|failure| match failure {
                Failure::Error(report) => {
                    Failure::Error(Box::new(self.with_portal(*report, &key, portal.parameters())))
                }
                exit => exit,
            });
        if done.is_ok() {
            let label = || execute_label(&key, &portal);
            self.log_duration(
                label,
                (prepared.sql(), logged),
                Detail::Parameters(portal.parameters()),
                began,
            );
        }
        portal.executed = true;
        if key.is_empty() {
            self.unnamed = Some(portal);
        } else {
            self.sql.keep_portal(key, portal);
        }
        done
    }

    /// Refuses a portal that cannot run, or not again.
    fn check_portal(&mut self, name: &str, portal: &Portal) -> Result<(), Failure> {
        if !portal.is_empty_query() {
            let runnable = self.sql.check_not_failed(portal.prepared());
            runnable.and_then(|()| portal.check_runnable(name)).inspect_err(|_| self.sql.fail())?;
        }
        Ok(())
    }

    /// All of a portal has run, which gave `rows` rows this time.
    fn complete_portal(
        &mut self,
        portal: &mut Portal,
        tag: CommandTag,
        (rows, copies): (u64, bool),
    ) -> Result<(), Failure> {
        self.statement_over = true;
        if copies {
            backend::copy_done(&mut self.wire.out);
        }
        let gives_rows = portal.kind() == PortalKind::Rows;
        if !portal.is_empty_query() {
            portal.finish();
        }
        self.send_notices()?;
        // Of a portal run by pieces each tag counts its own rows.
        self.complete(if gives_rows { tag.of_rows(rows) } else { tag });
        Ok(())
    }

    async fn run_portal(
        &mut self,
        name: &str,
        portal: &mut Portal,
        mut rows_max: u32,
        began: Option<Instant>,
    ) -> Result<(), Failure> {
        self.check_portal(name, portal)?;
        if self.sql.is_behind(portal) {
            limited(self.deadline, &self.canceller, pin!(Box::pin(self.sql.renew(portal)))).await?;
        }
        match portal.kind() {
            PortalKind::CopyIn { columns, format } => {
                let tag = self.copy_in(portal, columns, format).await?;
                self.statement_over = true;
                portal.finish();
                self.track(portal.prepared(), 0, began, tag);
                self.send_notices()?;
                self.complete(tag);
                return Ok(());
            }
            PortalKind::CopyOut { columns, format } => {
                let (out, columns) = (&mut self.wire.out, usize::from(columns));
                backend::copy_response(out, CopyDirection::Out, format, columns);
                // It runs to its end, however few rows are asked for.
                rows_max = 0;
            }
            PortalKind::Rows | PortalKind::Command => {}
        }
        let formats = std::mem::take(&mut portal.formats);
        let done = self.give_rows(portal, &formats, rows_max, began).await;
        portal.formats = formats;
        done
    }

    /// Fetches until all rows that were asked for have come.
    async fn give_rows(
        &mut self,
        portal: &mut Portal,
        formats: &ResultFormats,
        rows_max: u32,
        began: Option<Instant>,
    ) -> Result<(), Failure> {
        let copies = matches!(portal.kind(), PortalKind::CopyOut { .. });
        let mut left = usize::try_from(rows_max).unwrap_or(usize::MAX);
        let mut rows = 0;
        // Text says by itself what it is.
        let is_text = matches!(formats, ResultFormats::All(Format::Text));
        let described = (!is_text).then(|| portal.prepared().clone());
        self.take_limits();
        loop {
            let (out, scratch) = (&mut self.wire.out, &mut self.scratch);
            let mut sink = Rows::new(out, scratch, formats, &self.limits.style);
            sink.columns = described.as_ref().and_then(|one| one.columns()).unwrap_or_default();
            let fetched =
                limited(self.deadline, &self.canceller, pin!(self.sql.fetch(portal, left, &mut sink))).await;
            if fetched.is_err() {
                sink.take_back();
            }
            let count = sink.count;
            rows += count as u64;
            match fetched? {
                Fetch::Complete(tag) => {
                    self.track(portal.prepared(), 0, began, tag);
                    self.complete_portal(portal, tag, (rows, copies))?;
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

/// Which parameter an error is about, with its text if it is one.
#[cold]
fn of_parameter(portal: &str, at: usize, (bytes, format): (&[u8], Format), limit: Option<u64>) -> String {
    let portal = if portal.is_empty() { "unnamed portal".to_owned() } else { format!("portal \"{portal}\"") };
    let value = match (format, std::str::from_utf8(bytes)) {
        (Format::Text, Ok(text)) => format!(" = {}", quoted(text, limit)),
        _ => String::new(),
    };
    format!("{portal} parameter ${}{value}", at + 1)
}

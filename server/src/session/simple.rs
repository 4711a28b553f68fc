//! The simple query protocol: a text of statements, each run to its end.

use super::logged::Detail;
use super::rows::{self, Rows};
use super::{Exit, Failure, Session, limited};
use crate::connection::registry::Statement;
use host::Instant;
use protocol::backend::{self, CopyDirection};
use sql_interface::{CommandTag, Fetch, PortalKind, ResultFormats};
use sql_session::Portal;
use std::pin::pin;

impl Session {
    /// Answers a Query message.
    pub(super) async fn simple_query(&mut self, sql: &str) -> Result<(), Exit> {
        if let Some(done) = self.replication_command(sql).await {
            return done;
        }
        self.handle.set_statement(Statement::Text(sql.into()));
        let began = self.clock();
        // As in PostgreSQL, a simple query throws the unnamed statement and portal away.
        self.unnamed = None;
        self.sql.forget("");
        match self.run_statements(sql, began).await {
            Ok(tag) => self.finish(tag).await,
            Err(Failure::Exit(exit)) => Err(exit),
            Err(Failure::Error(report)) => {
                self.failed(*report)?;
                self.finish(None).await
            }
        }
    }

    /// Runs the statements of a text; the last one's tag is held back until its transaction has committed.
    async fn run_statements(
        &mut self,
        sql: &str,
        begun: Option<Instant>,
    ) -> Result<Option<CommandTag>, Failure> {
        self.check_memory(sql)?;
        // A long text is parsed where nobody waits for it.
        let statements = self.sql.start_simple(sql).inspect_err(|error| self.log_refused(sql, error))?;
        let logged = self.log_statements(sql, &statements);
        let mut held = None;
        if statements.is_empty() {
            held = Some(CommandTag::Empty);
        }
        for (nth, statement) in statements.iter().enumerate() {
            if let Some(tag) = held.take() {
                self.complete(tag);
                self.wire.make_room().await?;
            }
            self.restart_clock();
            let began = self.clock();
            let prepared =
                limited(self.deadline, &self.canceller, pin!(self.sql.prepare_statement(statement, &[])))
                    .await?;
            let mut portal =
                limited(self.deadline, &self.canceller, pin!(self.sql.open_untold(prepared))).await?;
            let formats = ResultFormats::default();
            let kind = portal.kind();
            if kind == PortalKind::Rows {
                self.may_describe(portal.prepared()).await?;
            }
            match kind {
                PortalKind::Rows => {
                    rows::describe(&mut self.wire.out, portal.columns().unwrap_or_default(), &formats);
                }
                PortalKind::CopyOut { columns, format } => {
                    let (out, columns) = (&mut self.wire.out, usize::from(columns));
                    backend::copy_response(out, CopyDirection::Out, format, columns);
                }
                PortalKind::CopyIn { columns, format } => {
                    let tag = self.copy_in(&mut portal, columns, format).await?;
                    self.track(portal.prepared(), nth, began, tag);
                    held = Some(tag);
                    self.send_notices()?;
                    self.statement_over = true;
                    continue;
                }
                PortalKind::Command => {}
            }
            self.take_limits();
            let tag = self.run_to_end(&mut portal, &formats).await?;
            if matches!(kind, PortalKind::CopyOut { .. }) {
                backend::copy_done(&mut self.wire.out);
            }
            self.track(portal.prepared(), nth, began, tag);
            self.send_notices()?;
            self.statement_over = true;
            held = Some(tag);
        }
        #[cfg(test)]
        super::tests::panic_if_asked(sql);
        let label = || "statement".to_owned();
        self.log_duration(label, (sql, logged), Detail::Statements(&statements), begun);
        Ok(held)
    }

    /// Runs a portal to its end.
    async fn run_to_end(
        &mut self,
        portal: &mut Portal,
        formats: &ResultFormats,
    ) -> Result<CommandTag, Failure> {
        loop {
            let (out, scratch) = (&mut self.wire.out, &mut self.scratch);
            let mut sink = Rows::new(out, scratch, formats, &self.limits.style);
            let fetch = self.sql.fetch(portal, 0, &mut sink);
            let fetched = limited(self.deadline, &self.canceller, pin!(fetch)).await;
            if fetched.is_err() {
                sink.take_back();
            }
            match fetched? {
                Fetch::Complete(tag) => return Ok(tag),
                Fetch::Suspended | Fetch::More => self.wire.flush().await?,
            }
        }
    }
}

//! Fetching: plans give rows to the sink, utilities are carried out.

use super::SqlSession;
use super::portal::{PlanRun, Portal, Run, cannot_be_run};
use super::utility::asks_of_role;
use sql_execution::{Budget, Cx, Row, build, collect, direct};
use sql_interface::{CommandTag, Fetch, Flow, Format, Result, RowSink, SqlError, stack};
use sql_language::expr;
use sql_language::parse::{Parsed, SqlCommand, Utility, parse_with_notices};
use sql_language::plan::{BATCH, Verb};
use sql_types::{Datum, TypeId};
use sqlstate::SqlState;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// An operator may hold this many times work_mem before it is refused: what it holds is counted in full, with
/// the overhead that PostgreSQL's figure leaves out, and nothing spills to disk.
const MEMORY_FACTOR: usize = 16;

impl SqlSession {
    /// The statements of a text; the client is told of names that are cut.
    pub(super) fn parsed(&mut self, sql: &str) -> Result<Vec<Arc<Parsed>>> {
        let (statements, notices) = parse_with_notices(sql, self.quick.max_stack_depth_bytes)?;
        self.notices.extend(notices);
        Ok(statements)
    }

    /// Runs a portal for at most `max_rows` rows (0: all).
    ///
    /// # Errors
    ///
    /// What the statement fails with; the transaction has failed then.
    pub async fn fetch(
        &mut self,
        portal: &mut Portal,
        max_rows: usize,
        out: &mut dyn RowSink,
    ) -> Result<Fetch> {
        if self.is_behind(portal) {
            Box::pin(self.renew(portal)).await?;
        }
        let result = match portal.check_runnable("") {
            Ok(()) => self.fetch_portal(portal, max_rows, out).await,
            Err(error) => Err(error),
        };
        let mut ends = false;
        let mut result = match result {
            Ok(fetched) => self.wait_for_asides().await.map(|()| {
                self.note_told();
                self.take_role_to_be();
                let alone = std::mem::take(&mut self.kept.alone);
                ends = alone && matches!(fetched, Fetch::Complete(_));
                if let (Fetch::Complete(_), Some(block)) = (&fetched, &mut self.block) {
                    block.ran |= !alone;
                }
                fetched
            }),
            failed => failed,
        };
        if ends && self.block.as_ref().is_none_or(|block| !block.explicit) {
            // What fails behind it in its pipeline does not undo it.
            if self.block.is_some() {
                let committed = Box::pin(self.commit_block()).await;
                result = result.and_then(|fetched| committed.map(|()| fetched));
            }
            if std::mem::take(&mut self.kept.commits_inside) {
                self.ensure_block().ran = true;
            }
        }
        if result.is_err() {
            portal.run = Run::Failed;
            // What it has said of the role is undone with it.
            self.facts.role_to_be();
        }
        self.noting(result).await
    }

    pub(super) async fn fetch_portal(
        &mut self,
        portal: &mut Portal,
        max_rows: usize,
        out: &mut dyn RowSink,
    ) -> Result<Fetch> {
        if let Run::Utility(parsed) = &portal.run {
            let parsed = parsed.clone();
            // It may change who acts, or what the transaction may do.
            self.begun += 1;
            portal.run = match &parsed.command {
                SqlCommand::Utility(Utility::Declare { name, query, no_scroll }) => {
                    Run::Done(self.declare(name, query, portal.given(), *no_scroll).await?)
                }
                SqlCommand::CreateTable(table) => {
                    let given = portal.given();
                    self.create_table(&parsed, table, given).await.map(Run::Done)?
                }
                SqlCommand::Utility(Utility::Explain { options, statement, refusal }) => {
                    let given = portal.given();
                    self.explain(*options, statement, given, refusal).await?
                }
                command => {
                    if asks_of_role(command) {
                        self.see_roles().await?;
                    }
                    self.run_utility(&parsed).await?
                }
            };
        }
        let behind = portal.begun() != self.begun;
        match &mut portal.run {
            Run::Empty => Ok(Fetch::Complete(CommandTag::Empty)),
            Run::Done(tag) => Ok(Fetch::Complete(*tag)),
            Run::Failed => Err(cannot_be_run("")),
            Run::Rows(rows, tag) => {
                self.wait_for_evaluated(self.evaluated()).await?;
                give_rows(rows, *tag, max_rows, out)
            }
            Run::Plan(run) => {
                // Twice, so that the future of a shallow plan, which is most often what runs, lies in one
                // place only.
                let fetched = match run.plan.stack_bytes {
                    0 => self.fetch_plan((run, behind), &portal.parameters, max_rows, out).await?,
                    bytes => {
                        let fetch =
                            Box::pin(self.fetch_plan((run, behind), &portal.parameters, max_rows, out));
                        stack::Tall::new(bytes, fetch).await?
                    }
                };
                if let Fetch::Complete(tag) = fetched {
                    portal.run = Run::Done(tag.of_nothing());
                }
                Ok(fetched)
            }
            Run::Cursor(run) => self.fetch_cursor(run, max_rows, out).await,
            Run::CopyIn(_) => Err(SqlError::new(SqlState::PROTOCOL_VIOLATION, "COPY FROM waits for data")),
            Run::Utility(_) => Err(SqlError::internal("a utility did not run")),
        }
    }

    /// What a running statement works with. Inlined, so that it is made where it stays.
    #[inline(always)]
    pub(super) fn context<'a>(&'a mut self, params: &'a [Datum]) -> Result<Cx<'a>> {
        let block = self.block.as_mut().ok_or_else(|| SqlError::internal("no transaction"))?;
        let read_only = block.read_only;
        let transaction = block.transaction.as_mut().ok_or_else(|| SqlError::internal("no transaction"))?;
        Ok(Cx {
            transaction,
            database: self.engine.database(),
            sequences: self.engine.sequences(),
            read_only,
            catalogue: &self.facts.catalogue,
            environment: &*self.environment,
            actor: self.facts.actor(),
            facts: &self.facts,
            canceller: &self.canceller,
            params,
            outer: Vec::new(),
            memory_max_bytes: self.quick.work_mem_bytes.saturating_mul(MEMORY_FACTOR),
            advisory: &self.advisory,
            deadlock_timeout: self.quick.deadlock_timeout,
            depth: self.facts.levels.depth(),
            join_rows: BATCH,
            deep: false,
            pauses: AtomicU32::new(0),
            affected: 0,
            rows: 0,
            paused: None,
            scratch: Vec::new(),
        })
    }

    /// `behind`: other statements have begun since it was made ready.
    async fn fetch_plan(
        &mut self,
        (run, behind): (&mut PlanRun, bool),
        params: &[Datum],
        max_rows: usize,
        out: &mut dyn RowSink,
    ) -> Result<Fetch> {
        if self.block.as_ref().is_none_or(|block| block.serial != run.block) {
            return Err(SqlError::new(SqlState::INVALID_CURSOR_NAME, "portal's transaction has ended"));
        }
        if behind {
            self.ask_for_sequences_again(run).await?;
        }
        let explicit = self.block.as_ref().is_some_and(|block| block.explicit);
        if run.plan.reads_session && run.exec.is_none() {
            *self.facts.kept.lock() = self.kept.rows();
        }
        let mut cx = self.context(params)?;
        cx.suit(&run.plan);
        let given_before = run.given;
        if run.view.is_some() {
            cx.transaction.read_as_of(run.view.clone());
        }
        let fetched = match &run.plan.direct {
            Some(plan) if run.copy.is_none() => direct::run(&mut cx, plan, out).await.map(|tag| {
                if let CommandTag::Select(rows) = tag {
                    run.given += rows;
                }
                Fetch::Complete(tag)
            }),
            _ => give_plan_rows(&mut cx, run, max_rows, out).await,
        };
        if run.view.is_some() {
            cx.transaction.read_as_of(None);
        }
        let fetched = fetched?;
        if run.plan.columns.is_none() {
            return Ok(fetched);
        }
        // That there are none is told, too: at the end of the transaction, which lets go of its locks first,
        // unless that comes later.
        if run.given > given_before || explicit {
            let upto = cx.transaction.evaluated_up_to();
            self.wait_for_evaluated(upto).await?;
        }
        if run.plan.of_node_alone {
            self.wait_for_names().await?;
        }
        Ok(fetched)
    }
}

/// Runs operators and gives what comes to the sink.
async fn give_plan_rows(
    cx: &mut Cx<'_>,
    run: &mut PlanRun,
    max_rows: usize,
    out: &mut dyn RowSink,
) -> Result<Fetch> {
    let changes = run.plan.verb != Verb::Select;
    let mut now: usize = 0;
    let mut line = Vec::new();
    if run.exec.is_none() {
        run.exec = Some(build(&run.plan.node));
        if max_rows > 0 && run.view.is_none() {
            // Its later rows are to come of the same state as its first ones.
            run.view = cx.transaction.view();
        }
        if changes && max_rows > 0 && run.plan.columns.is_some() {
            // A statement that changes data runs to its end, however few of its rows are wanted at first.
            let Some(exec) = &mut run.exec else { return Err(SqlError::internal("no plan")) };
            let rows = collect(exec.as_mut(), cx, &mut Budget::default()).await?;
            run.affected += std::mem::take(&mut cx.affected);
            run.pending = rows.into_iter();
        }
    }
    if let Some(copy) = &mut run.copy
        && let Some(names) = copy.header.take()
    {
        copy.writer.header(names.iter().map(String::as_str), &mut line);
        out.copy_data(&line);
    }
    loop {
        for mut row in run.pending.by_ref() {
            for (at, ty) in &run.plan.regs {
                let as_text = match &run.copy {
                    Some(copy) => copy.writer.format() == Format::Text,
                    None => out.wants_text(*at),
                };
                if as_text {
                    name_reg(cx, &mut row, *at, *ty)?;
                }
            }
            let flow = match &mut run.copy {
                None => out.row(&row)?,
                Some(copy) => {
                    line.clear();
                    copy.writer.row(&row, cx.facts.style(), &mut line);
                    out.copy_data(&line)
                }
            };
            run.given += 1;
            now += 1;
            if now == max_rows {
                return Ok(Fetch::Suspended);
            }
            if flow == Flow::Full {
                return Ok(Fetch::More);
            }
        }
        let want = if max_rows > 0 { (max_rows - now).min(BATCH) } else { BATCH };
        let Some(exec) = &mut run.exec else { return Err(SqlError::internal("no plan")) };
        let more = exec.next(cx, want).await?;
        run.affected += std::mem::take(&mut cx.affected);
        match more {
            Some(rows) => run.pending = rows.into_iter(),
            None => break,
        }
    }
    Ok(Fetch::Complete(end_of_rows(run, out)))
}

/// All rows have been given.
fn end_of_rows(run: &mut PlanRun, out: &mut dyn RowSink) -> CommandTag {
    if let Some(copy) = &mut run.copy {
        let mut line = Vec::new();
        copy.writer.end(&mut line);
        if !line.is_empty() {
            out.copy_data(&line);
        }
        return CommandTag::Copy(run.given);
    }
    match run.plan.verb {
        Verb::Select => CommandTag::Select(run.given),
        Verb::Insert => CommandTag::Insert(run.affected),
        Verb::Update => CommandTag::Update(run.affected),
        Verb::Delete => CommandTag::Delete(run.affected),
    }
}

/// Puts names in the place of OIDs.
fn name_reg(cx: &Cx<'_>, row: &mut Row, at: usize, ty: TypeId) -> Result<()> {
    if let Some(value) = row.get_mut(at)
        && let Some(named) = expr::named_reg(ty, value, cx.facts)?
    {
        *value = named;
    }
    Ok(())
}

fn give_rows(
    rows: &mut std::vec::IntoIter<Row>,
    tag: CommandTag,
    max_rows: usize,
    out: &mut dyn RowSink,
) -> Result<Fetch> {
    let mut now = 0;
    for row in rows.by_ref() {
        let flow = out.row(&row)?;
        now += 1;
        if now == max_rows {
            return Ok(Fetch::Suspended);
        }
        if flow == Flow::Full {
            return Ok(Fetch::More);
        }
    }
    Ok(Fetch::Complete(tag))
}

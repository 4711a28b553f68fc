//! Prepared statements, and portals that run them.

use super::copy::CopyIn;
use host::Timestamp;
use host::sync::Mutex;
use sql_execution::copy::RowWriter;
use sql_execution::{Exec, Row};
use sql_interface::{CommandTag, PortalKind, Result, ResultColumn, ResultFormats, SqlError, stack};
use sql_language::parse::{Parsed, SqlCommand, Utility};
use sql_language::plan::{Plan, Verb};
use sql_types::{Datum, Type};
use sqlstate::SqlState;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use storage::View;

/// The parameters of a statement that has another one inside it.
pub(crate) struct Given {
    pub(crate) types: Vec<Option<Type>>,
    pub(crate) values: Vec<Datum>,
}

/// What a prepared statement holds beyond its description.
pub(crate) enum Body {
    Empty,
    /// SELECT, INSERT, UPDATE, DELETE: planned, and planned anew when the catalogue has changed.
    Plan {
        parsed: Arc<Parsed>,
        declared: Vec<Option<Type>>,
        plan: Mutex<Arc<Plan>>,
    },
    Utility(Arc<Parsed>),
}

/// An analysed statement; shared by the portals that run it.
pub struct Prepared {
    sql: Arc<str>,
    parameters: Vec<Type>,
    columns: Option<Vec<ResultColumn>>,
    pub(crate) body: Body,
    /// What it is made of depends on the catalogue.
    pub(crate) of_names: bool,
}

impl Prepared {
    pub(crate) fn new(
        sql: Arc<str>,
        parameters: Vec<Type>,
        columns: Option<Vec<ResultColumn>>,
        body: Body,
    ) -> Self {
        Self { sql, parameters, columns, body, of_names: false }
    }

    /// The same with other columns.
    pub(crate) fn with_columns(&self, columns: Option<Vec<ResultColumn>>) -> Self {
        let body = match &self.body {
            Body::Utility(parsed) => Body::Utility(parsed.clone()),
            Body::Plan { parsed, declared, plan } => Body::Plan {
                parsed: parsed.clone(),
                declared: declared.clone(),
                plan: Mutex::new(plan.lock().clone()),
            },
            Body::Empty => Body::Empty,
        };
        Self {
            sql: self.sql.clone(),
            parameters: self.parameters.clone(),
            columns,
            body,
            of_names: self.of_names,
        }
    }

    pub(crate) fn of_names(self, of_names: bool) -> Self {
        Self { of_names, ..self }
    }

    /// The text of the message that it came in.
    pub fn sql(&self) -> &Arc<str> {
        &self.sql
    }
    pub(crate) fn command(&self) -> Option<&SqlCommand> {
        match &self.body {
            Body::Plan { parsed, .. } | Body::Utility(parsed) => Some(&parsed.command),
            Body::Empty => None,
        }
    }
    /// EXECUTE, PREPARE and DEALLOCATE, which are about another statement.
    pub fn is_about_prepared(&self) -> bool {
        let Some(SqlCommand::Utility(utility)) = self.command() else { return false };
        matches!(utility, Utility::Execute { .. } | Utility::Prepare { .. } | Utility::Deallocate(_))
    }
    /// Whether it is carried out by a plan: SELECT, INSERT, UPDATE, DELETE.
    pub fn has_plan(&self) -> bool {
        matches!(self.body, Body::Plan { .. })
    }
    /// Whether the same text, prepared again, means the same while the catalogue stays as it is.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(&self.body, Body::Plan { plan, .. } if !plan.lock().of_moment)
    }
    /// The version of the catalogue by which it was analysed; None if it is nothing to it.
    pub(super) fn version(&self) -> Option<u64> {
        let Body::Plan { plan, .. } = &self.body else { return None };
        let plan = plan.lock();
        (!plan.of_node_alone).then_some(plan.version)
    }
    /// For ParameterDescription and for decoding Bind's values.
    pub fn parameter_types(&self) -> &[Type] {
        &self.parameters
    }
    /// For RowDescription; None is NoData.
    pub fn columns(&self) -> Option<&[ResultColumn]> {
        self.columns.as_deref()
    }
}

/// A plan on its way.
pub(crate) struct PlanRun {
    pub(crate) plan: Arc<Plan>,
    /// The transaction block that it belongs to.
    pub(crate) block: u64,
    /// None before the first fetch (and always for direct plans).
    pub(crate) exec: Option<Exec>,
    /// Rows that came but were not given yet.
    pub(crate) pending: std::vec::IntoIter<Row>,
    pub(crate) given: u64,
    pub(crate) affected: u64,
    /// COPY (query or table) TO.
    pub(crate) copy: Option<Box<CopyOutState>>,
    /// What it reads, if other statements may begin before it ends.
    pub(crate) view: Option<View>,
}

impl PlanRun {
    /// Whether rows were asked for.
    fn has_begun(&self) -> bool {
        self.exec.is_some() || self.given > 0
    }
}

impl Drop for PlanRun {
    fn drop(&mut self) {
        let exec = self.exec.take();
        stack::with_bytes(self.plan.stack_bytes, || drop(exec));
    }
}

/// A FETCH or MOVE on its way.
pub(crate) struct CursorRun {
    pub(crate) name: String,
    /// Rows still wanted; usize::MAX for all.
    pub(crate) left: usize,
    /// The row that it stands on is wanted, and no more.
    pub(crate) current: bool,
    pub(crate) given: usize,
    /// FETCH.
    pub(crate) shows: bool,
}

/// The lines or rows of a COPY TO.
pub(crate) struct CopyOutState {
    pub(crate) writer: RowWriter,
    /// The names of the columns, until they were written.
    pub(crate) header: Option<Vec<String>>,
    pub(crate) columns: u16,
}

/// Whether a client that knows one plan's parameters and columns can go on with another's.
pub(crate) fn same_result(one: &Plan, other: &Plan) -> bool {
    let shape = |plan: &Plan| -> Option<Vec<(String, Type)>> {
        Some(plan.columns.as_ref()?.iter().map(|column| (column.name.clone(), column.ty)).collect())
    };
    one.parameters == other.parameters && shape(one) == shape(other)
}

/// 0A000
#[cold]
pub(crate) fn changed_result() -> SqlError {
    SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, "cached plan must not change result type")
}

/// 55000
#[cold]
pub fn cannot_be_run(name: &str) -> SqlError {
    SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, format!("portal \"{name}\" cannot be run"))
}

/// How far a portal is.
pub(crate) enum Run {
    Empty,
    Plan(PlanRun),
    /// Not run yet.
    Utility(Arc<Parsed>),
    CopyIn(Box<CopyIn>),
    /// FETCH and MOVE.
    Cursor(CursorRun),
    /// A utility's rows, and its tag.
    Rows(std::vec::IntoIter<Row>, CommandTag),
    Done(CommandTag),
    /// It ended with an error.
    Failed,
}

impl Run {
    pub(crate) fn plan(plan: Arc<Plan>, block: u64) -> Self {
        Self::Plan(PlanRun {
            plan,
            block,
            exec: None,
            pending: Vec::new().into_iter(),
            given: 0,
            affected: 0,
            copy: None,
            view: None,
        })
    }
}

/// Where a portal was opened: how many savepoints there are around it. A rollback to one of these ends it.
pub(crate) struct PortalDepth(AtomicUsize);

impl PortalDepth {
    const ENDED: usize = usize::MAX;

    pub(crate) fn new(savepoints: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(savepoints)))
    }

    /// After a rollback to the savepoint at this place; false if the portal ended with it.
    pub(crate) fn survives(&self, at: usize) -> bool {
        let survives = self.0.load(Ordering::Relaxed) <= at;
        if !survives {
            self.0.store(Self::ENDED, Ordering::Relaxed);
        }
        survives
    }

    /// After the release of the savepoints from this place on: it belongs to the level outside.
    pub(crate) fn rise(&self, at: usize) {
        self.0.fetch_min(at, Ordering::Relaxed);
    }
}

/// A statement with its parameters, running or about to.
pub struct Portal {
    prepared: Arc<Prepared>,
    /// The EXECUTE by whose name the statement was found.
    pub(crate) executes: Option<Arc<Prepared>>,
    pub(crate) parameters: Vec<Datum>,
    pub(crate) run: Run,
    /// None outside of savepoints.
    depth: Option<Arc<PortalDepth>>,
    /// The session's count of transactions when it was opened: with the next one it is over.
    pub(crate) life: u64,
    /// The session's count of begun statements when it was made ready to run.
    begun: u64,
    pub(crate) opened: Timestamp,
    /// How its client wants the columns.
    pub formats: ResultFormats,
    /// The name of its statement, where the log wants it.
    pub statement: Option<Box<str>>,
    /// An Execute has run it, if not to its end.
    pub executed: bool,
    /// It gave all that it has.
    finished: bool,
    /// As a cursor: the row that it stands on.
    pub(crate) current: Option<Row>,
    /// As a cursor: NO SCROLL.
    pub(crate) no_scroll: bool,
}

impl Portal {
    pub(crate) fn new(
        prepared: Arc<Prepared>,
        parameters: Vec<Datum>,
        run: Run,
        depth: Option<Arc<PortalDepth>>,
        (life, begun, opened): (u64, u64, Timestamp),
    ) -> Self {
        let formats = ResultFormats::default();
        Self {
            prepared,
            executes: None,
            parameters,
            run,
            depth,
            life,
            begun,
            opened,
            formats,
            statement: None,
            executed: false,
            finished: false,
            current: None,
            no_scroll: false,
        }
    }

    /// Made ready once more.
    pub(crate) fn run_anew(&mut self, run: Run, begun: u64) {
        self.run = run;
        self.begun = begun;
    }

    /// What EXECUTE finds now.
    pub(crate) fn execute_anew(&mut self, fresh: Self) {
        self.prepared = fresh.prepared;
        self.parameters = fresh.parameters;
        self.run_anew(fresh.run, fresh.begun);
    }

    pub(crate) const fn begun(&self) -> u64 {
        self.begun
    }

    /// Whether it has not begun to run, and changes rows or copies them.
    pub(crate) fn goes_by_now(&self) -> bool {
        match &self.run {
            Run::Plan(run) => !run.has_begun() && !self.is_query(run),
            Run::CopyIn(_) => !self.finished,
            _ => false,
        }
    }

    /// Whether it shows what there was when it was opened.
    fn is_query(&self, run: &PlanRun) -> bool {
        run.plan.verb == Verb::Select && run.copy.is_none() && self.executes.is_none()
    }

    /// The run of a query that has not begun, and sees no other state than the statement's yet.
    pub(crate) fn query_to_begin(&mut self) -> Option<&mut PlanRun> {
        match &mut self.run {
            Run::Plan(run)
                if !run.has_begun()
                    && self.executes.is_none()
                    && run.plan.verb == Verb::Select
                    && run.copy.is_none()
                    && run.view.is_none() =>
            {
                Some(run)
            }
            _ => None,
        }
    }

    /// A statement of nothing.
    pub fn is_empty_query(&self) -> bool {
        matches!(self.prepared.body, Body::Empty)
    }

    /// It gave all that it has: what gives no rows does not run again.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Whether a savepoint that it was opened behind has been rolled back to: then it exists no more.
    #[inline]
    pub fn has_ended(&self) -> bool {
        self.depth.as_ref().is_some_and(|depth| depth.0.load(Ordering::Relaxed) == PortalDepth::ENDED)
    }

    /// 55000 for a portal whose run has failed, 34000 for one that has ended. `name`: the portal's or
    /// cursor's.
    ///
    /// # Errors
    ///
    /// 55000 or 34000, as above.
    #[inline]
    pub fn check_runnable(&self, name: &str) -> Result<()> {
        match self.run {
            _ if self.has_ended() => {
                Err(SqlError::new(SqlState::INVALID_CURSOR_NAME, format!("portal \"{name}\" does not exist")))
            }
            Run::Failed => Err(cannot_be_run(name)),
            _ if self.finished && self.kind() == PortalKind::Command => Err(cannot_be_run(name)),
            _ => Ok(()),
        }
    }

    /// The statement (for EXECUTE the one that it names).
    pub fn prepared(&self) -> &Arc<Prepared> {
        &self.prepared
    }
    /// The values of its parameters.
    pub fn parameters(&self) -> &[Datum] {
        &self.parameters
    }
    /// Types and values of its parameters, for a statement inside it.
    pub(crate) fn given(&self) -> Given {
        let types = self.prepared.parameter_types().iter().copied().map(Some).collect();
        Given { types, values: self.parameters.clone() }
    }
    /// What to do with it.
    pub fn kind(&self) -> PortalKind {
        match &self.run {
            Run::CopyIn(copy) => PortalKind::CopyIn { columns: copy.columns(), format: copy.format() },
            Run::Plan(run) => match &run.copy {
                Some(copy) => PortalKind::CopyOut { columns: copy.columns, format: copy.writer.format() },
                None if self.prepared.columns.is_some() => PortalKind::Rows,
                None => PortalKind::Command,
            },
            _ if self.prepared.columns.is_some() => PortalKind::Rows,
            _ => PortalKind::Command,
        }
    }
    /// Columns of its rows; None if it gives none.
    pub fn columns(&self) -> Option<&[ResultColumn]> {
        self.prepared.columns()
    }
}

//! Portals made ready to run: by the catalogue, the rights and the snapshot of the moment.
//!
//! As in PostgreSQL a query shows what there was when its portal was opened (Bind, DECLARE), and what changes
//! rows or copies them goes by what there is when it runs (Execute).

use super::portal::{Body, PlanRun, Portal, Prepared, Run, changed_result, same_result};
use super::{PARAMETERS_MAX, SqlSession};
use sql_catalogue::{Catalogue, Relation};
use sql_interface::{Result, ResultColumn, SqlError, stack};
use sql_language::parse::{Parsed, SqlCommand, Utility};
use sql_language::plan::Plan;
use sql_language::plan::rights::{self, Requirement};
use sql_types::{Datum, Type};
use sqlstate::SqlState;
use std::collections::BTreeSet;
use std::iter;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::{TableLockMode, TreeId};

/// The columns of a run, where they are others than was known when the statement was prepared.
fn other_columns(prepared: &Prepared, run: &Run) -> Option<Vec<ResultColumn>> {
    let Run::Plan(run) = run else { return None };
    let now = run.plan.columns.as_ref()?;
    (Some(now.as_slice()) != prepared.columns()).then(|| now.clone())
}

/// A run in the place of another, if both go to the same tables. What was bound to one is not to change
/// another that has its name by now.
fn same_tables(before: &Run, now: Run) -> Result<Run> {
    if let (Run::Plan(before), Run::Plan(after)) = (before, &now) {
        let relations = |run: &PlanRun| -> BTreeSet<u32> {
            run.plan.tables.iter().map(|used| used.relation.oid).collect()
        };
        if relations(before) != relations(after) {
            return Err(SqlError::unsupported("a statement whose tables were renamed since it was bound"));
        }
    }
    Ok(now)
}

impl SqlSession {
    /// Binds parameters (of exactly `Prepared::parameter_types`) and makes ready to run. Fails with 25P02 in
    /// a failed transaction, unless the statement ends it.
    ///
    /// # Errors
    ///
    /// 25P02 as above, and what analysis finds if the catalogue has changed.
    pub async fn open(&mut self, prepared: Arc<Prepared>, parameters: Vec<Datum>) -> Result<Box<Portal>> {
        let result = self.open_portal(prepared, parameters, true).await;
        self.noting(result).await
    }

    /// The same for a statement without parameters of which its client has not been told: its columns are
    /// those of now, also where it had to wait for somebody who changes a table.
    ///
    /// # Errors
    ///
    /// As above.
    pub async fn open_untold(&mut self, prepared: Arc<Prepared>) -> Result<Box<Portal>> {
        let result = self.open_portal(prepared, Vec::new(), false).await;
        self.noting(result).await
    }

    pub(super) async fn open_portal(
        &mut self,
        mut prepared: Arc<Prepared>,
        mut parameters: Vec<Datum>,
        mut told: bool,
    ) -> Result<Box<Portal>> {
        let mut executes = None;
        // An EXECUTE may run another one, or itself.
        for levels in 1.. {
            self.check_open(&prepared, &parameters)?;
            let Body::Utility(parsed) = &prepared.body else { break };
            let parsed = parsed.clone();
            let SqlCommand::Utility(Utility::Execute { name, arguments }) = &parsed.command else { break };
            stack::check_nested(levels, self.quick.max_stack_depth_bytes)?;
            let (inner, values) = self.execute_arguments(&parsed, name, arguments).await?;
            executes.get_or_insert(std::mem::replace(&mut prepared, inner));
            (parameters, told) = (values, true);
        }
        if let Some(SqlCommand::Utility(Utility::Fetch { name, shows: true, .. })) = prepared.command() {
            let columns = self.cursor_columns(name);
            if columns.as_deref() != prepared.columns() {
                prepared = Arc::new(prepared.with_columns(columns));
            }
        }
        let run = self.run_of(&prepared, told).await?;
        if !told && let Some(columns) = other_columns(&prepared, &run) {
            prepared = Arc::new(prepared.with_columns(Some(columns)));
        }
        let opened = (self.kept.lives, self.begun, self.facts.statement_time);
        let mut portal = Box::new(Portal::new(prepared, parameters, run, self.portal_depth(), opened));
        portal.executes = executes;
        Ok(portal)
    }

    /// Whether a statement can be opened with these parameters.
    fn check_open(&mut self, prepared: &Prepared, parameters: &[Datum]) -> Result<()> {
        self.canceller.check()?;
        if parameters.len() != prepared.parameter_types().len() {
            return Err(SqlError::new(
                SqlState::PROTOCOL_VIOLATION,
                format!(
                    "bind message supplies {} parameters, but prepared statement requires {}",
                    parameters.len(),
                    prepared.parameter_types().len()
                ),
            ));
        }
        self.check_not_failed(prepared)
    }

    /// A statement's run by what there is now.
    async fn run_of(&mut self, prepared: &Prepared, told: bool) -> Result<Run> {
        match &prepared.body {
            Body::Empty => Ok(Run::Empty),
            Body::Plan { parsed, declared, plan } => {
                let known = plan.lock().clone();
                let current = self.settle_plan(parsed, declared, known.clone()).await?;
                if !Arc::ptr_eq(&current, &known) {
                    let fits = if told {
                        same_result(&current, &known)
                    } else {
                        current.parameters == known.parameters
                    };
                    if !fits {
                        return Err(changed_result());
                    }
                    *plan.lock() = current.clone();
                }
                self.refuse_in_read_only(current.writes, current.words())?;
                Ok(Run::plan(current, self.serial))
            }
            Body::Utility(parsed) => match &parsed.command {
                SqlCommand::Utility(Utility::Copy(copy)) => self.open_copy(parsed, copy).await,
                _ => Ok(Run::Utility(parsed.clone())),
            },
        }
    }

    /// Whether a portal is to be made ready anew before it runs ([`Self::renew`]).
    #[inline]
    pub fn is_behind(&self, portal: &Portal) -> bool {
        portal.begun() != self.begun && portal.goes_by_now()
    }

    /// Makes a portal ready anew that has not begun to run, where other statements have begun since it was
    /// opened: these may have changed the table and what it has beside it, the role, or what the transaction
    /// may do, and what it changes or copies is what there is now.
    ///
    /// # Errors
    ///
    /// What [`Self::open`] fails with.
    pub async fn renew(&mut self, portal: &mut Portal) -> Result<()> {
        if let Some(statement) = portal.executes.clone() {
            // What EXECUTE names is looked up when it runs.
            let fresh = self.open(statement, Vec::new()).await?;
            portal.execute_anew(*fresh);
            return Ok(());
        }
        let prepared = portal.prepared().clone();
        let run = match self.check_not_failed(&prepared) {
            Ok(()) => self.run_of(&prepared, true).await.and_then(|run| same_tables(&portal.run, run)),
            Err(error) => Err(error),
        };
        let run = self.noting(run).await?;
        portal.run_anew(run, self.begun);
        Ok(())
    }

    /// To be called where the client has been waited for: others may have committed meanwhile, so that what
    /// goes by now is made ready anew.
    pub fn note_wait(&mut self) {
        self.begun += 1;
    }

    /// Asks again for what a query that began before other statements takes of sequences: these may be gone,
    /// or out of reach of the role by now.
    pub(super) async fn ask_for_sequences_again(&mut self, run: &mut PlanRun) -> Result<()> {
        let of_sequences = run.plan.rights.iter().filter(|one| one.sequence().is_some());
        let wanted: Vec<Requirement> = of_sequences.cloned().collect();
        if wanted.is_empty() {
            return Ok(());
        }
        if run.view.is_none() {
            run.view = self.transaction()?.view();
        }
        // What the statement before has changed is there for the next one alone.
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        for oid in wanted.iter().filter_map(Requirement::sequence) {
            if !catalogue.sequences.contains_key(&oid) {
                let message = format!("could not open relation with OID {oid}");
                return Err(SqlError::new(SqlState::UNDEFINED_OBJECT, message));
            }
        }
        rights::check(&wanted, &catalogue, self.role.oid)
    }

    /// Has a query that has not begun to run see what there was when it was opened, whatever other statements
    /// do before its first row is asked for. To be called before another one begins.
    pub fn hold(&self, portal: &mut Portal) {
        let transaction = self.block.as_ref().and_then(|block| block.transaction.as_ref());
        if let (Some(run), Some(transaction)) = (portal.query_to_begin(), transaction) {
            run.view = transaction.view();
        }
    }

    /// [`Self::settle`] for the plan of a whole statement.
    pub(super) async fn settle_plan(
        &mut self,
        parsed: &Parsed,
        declared: &[Option<Type>],
        plan: Arc<Plan>,
    ) -> Result<Arc<Plan>> {
        let anew =
            |session: &Self, catalogue: &Catalogue| session.plan(parsed, declared, catalogue, PARAMETERS_MAX);
        self.settle(plan, anew).await
    }

    /// Locks a plan's tables and takes the statement's snapshot; plans `anew` until the plan is that
    /// snapshot's.
    pub(super) async fn settle(
        &mut self,
        mut plan: Arc<Plan>,
        anew: impl Fn(&Self, &Catalogue) -> Result<Plan>,
    ) -> Result<Arc<Plan>> {
        loop {
            self.lock_tables(&plan).await?;
            if plan.of_node_alone {
                self.begin_planning().await?;
            } else {
                self.begin_statement().await?;
            }
            let catalogue = self.catalogue().await?;
            if catalogue.version == plan.version {
                // Rights that are newer than the snapshot are none of those that the plan was checked with.
                let newer = self.block.as_ref().is_some_and(|block| block.newest_rights.is_some());
                if newer || plan.allowed.load(Ordering::Relaxed) != self.role.oid {
                    self.check_rights(&plan, &catalogue)?;
                }
                self.hold_definitions(&plan).await?;
                return Ok(plan);
            }
            plan = Arc::new(anew(self, &catalogue)?);
        }
    }

    /// Under REPEATABLE READ a statement must not write by a definition that others have left behind: it
    /// would miss an index, or write where nobody looks any more. Nor must it lock rows there.
    async fn hold_definitions(&mut self, plan: &Plan) -> Result<()> {
        for used in plan.tables.iter().filter(|used| used.mode > TableLockMode::AccessShare) {
            if !plan.writes || used.mode < TableLockMode::RowExclusive {
                self.require_not_replaced(&used.relation).await?;
            } else if self.transaction()?.isolation() == storage::Isolation::RepeatableRead {
                let transaction = self.transaction()?;
                let held = sql_catalogue::definitions::hold(transaction, used.relation.oid).await;
                held.map_err(|error| self.canceller.explain(error))?;
            }
        }
        Ok(())
    }

    /// 40001 under REPEATABLE READ if a table, which is locked, was dropped or truncated since the snapshot.
    pub(super) async fn require_not_replaced(&mut self, table: &Relation) -> Result<()> {
        let is_standby = self.engine.database().is_in_recovery();
        let transaction = self.transaction()?;
        if is_standby || transaction.isolation() != storage::Isolation::RepeatableRead {
            return Ok(());
        }
        let changed = sql_catalogue::definitions::has_changed(transaction, table.oid).await;
        if !changed.map_err(|error| self.canceller.explain(error))? {
            return Ok(());
        }
        // Others cannot replace it any more, and what they did before is visible.
        let newest = self.engine.newest().await?;
        if newest.relations.get(&table.oid).is_some_and(|relation| relation.tree == table.tree) {
            return Ok(());
        }
        let message = "could not serialize access due to concurrent update";
        Err(SqlError::new(SqlState::SERIALIZATION_FAILURE, message))
    }

    /// Locks a tree as a table until the transaction ends, and waits for that as lock_timeout says.
    pub(super) async fn hold_tree(&mut self, tree: TreeId, mode: TableLockMode) -> Result<()> {
        let wait = self.lock_wait();
        let locked = self.transaction()?.lock_table(tree, mode, wait).await;
        locked.map_err(|error| self.canceller.explain(error))
    }

    pub(super) async fn lock_tables(&mut self, plan: &Plan) -> Result<()> {
        // Replay locks each tree that goes, and does not know whose index it is.
        let locks_indexes = self.engine.database().is_in_recovery();
        for used in &plan.tables {
            let indexes = used.relation.indexes.iter().filter(|_| locks_indexes).map(|index| index.tree);
            for tree in iter::once(used.relation.tree).chain(indexes) {
                self.hold_tree(tree, used.mode).await?;
            }
        }
        Ok(())
    }
}

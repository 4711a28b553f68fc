//! The statements that are no queries.

use super::SqlSession;
use super::names::unsupported_for;
use super::portal::{Prepared, Run};
use sql_catalogue::rights::{Object, Privileges};
use sql_catalogue::schema::Schema;
use sql_execution::Row;
use sql_interface::{CommandTag, Environment, Result, ResultColumn, SetScope, Severity, SqlError};
use sql_language::expr::{self, EvalContext};
use sql_language::parse::{DiscardKind, DropKind, Mode, Parsed, SetTarget, SqlCommand, Utility};
use sql_language::plan::{Analyzer, Node, Plan, plan_arguments};
use sql_types::{Datum, Type, TypeId};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::{CheckpointKind, LockWait, TableLockMode};

/// A result column of type text.
pub(super) fn text_column(name: &str) -> ResultColumn {
    ResultColumn { name: name.to_owned(), table_oid: 0, attribute: 0, ty: Type::of(TypeId::Text) }
}

/// What SHOW gives.
pub(super) fn show_columns(target: &SetTarget, environment: &dyn Environment) -> Vec<ResultColumn> {
    match target {
        SetTarget::Name(name) => vec![text_column(&environment.setting_name(name))],
        SetTarget::All => vec![text_column("name"), text_column("setting"), text_column("description")],
    }
}

/// The isolation level of SET transaction_isolation.
pub(super) fn isolation_mode(value: &str) -> Result<Mode> {
    use sql_interface::IsolationLevel::{ReadCommitted, ReadUncommitted, RepeatableRead, Serializable};
    let level = [ReadUncommitted, ReadCommitted, RepeatableRead, Serializable]
        .into_iter()
        .find(|level| level.name().eq_ignore_ascii_case(value));
    level.map(Mode::Isolation).ok_or_else(|| {
        SqlError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"transaction_isolation\": \"{value}\""),
        )
    })
}

impl SqlSession {
    /// Tells the client something that is no error.
    pub(super) fn notice(&mut self, text: String) {
        self.notices.push(SqlError::report(Severity::Notice, SqlState::SUCCESSFUL_COMPLETION, text));
    }

    /// What a statement names and is not there: an error, or with IF EXISTS a notice.
    pub(super) fn skip_missing(&mut self, if_exists: bool, code: SqlState, message: String) -> Result<()> {
        if !if_exists {
            return Err(SqlError::new(code, message));
        }
        self.notice(format!("{message}, skipping"));
        Ok(())
    }

    /// What a statement would make and is there already: an error, or with IF NOT EXISTS a notice.
    pub(super) fn skip_existing(&mut self, if_not_exists: bool, error: SqlError) -> Result<()> {
        if !if_not_exists {
            return Err(error);
        }
        let notice = format!("{}, skipping", error.message());
        self.notices.push(SqlError::report(Severity::Notice, error.code(), notice));
        Ok(())
    }

    /// Carries a utility statement out.
    pub(super) async fn run_utility(&mut self, parsed: &Arc<Parsed>) -> Result<Run> {
        let utility = match &parsed.command {
            SqlCommand::AlterTable(alter) => return self.alter_table(parsed, alter).await.map(Run::Done),
            SqlCommand::CreateIndex(create) => return self.create_index(parsed, create).await.map(Run::Done),
            SqlCommand::Truncate(truncate) => return self.truncate(parsed, truncate).await.map(Run::Done),
            SqlCommand::Utility(utility) => utility,
            _ => return Err(SqlError::internal("a query is no utility")),
        };
        match utility {
            Utility::Begin { start, modes } => self.begin(*start, modes).map(Run::Done),
            Utility::Commit { chain } => self.commit(*chain).await.map(Run::Done),
            Utility::Rollback { chain } => self.rollback(*chain).map(Run::Done),
            Utility::Savepoint(name) => self.savepoint(name).map(Run::Done),
            Utility::RollbackTo(name) => self.rollback_to(name).map(Run::Done),
            Utility::Release(name) => self.release(name).map(Run::Done),
            Utility::SetTransaction { session, modes } => {
                self.set_transaction(*session, modes).map(Run::Done)
            }
            Utility::SetConstraints { names, deferred } => {
                self.set_constraints(parsed, names, *deferred).await.map(Run::Done)
            }
            Utility::Set { name, .. } | Utility::Reset(SetTarget::Name(name)) if is_identity(name) => {
                self.run_of_rights(parsed, utility).await.map(Run::Done)
            }
            Utility::Set { local, name, value } => self.set(*local, name, value.as_deref()).map(Run::Done),
            Utility::Show(target) => self.show(target),
            Utility::Reset(target) => self.reset(target).map(Run::Done),
            Utility::AlterSystem { target, value } => {
                self.alter_system(target, value.as_deref()).map(Run::Done)
            }
            Utility::Checkpoint => self.checkpoint().await.map(Run::Done),
            Utility::Cluster => self.cluster().map(Run::Done),
            Utility::Maintain(maintenance) => self.maintain(parsed, maintenance).await.map(Run::Done),
            Utility::Discard(kind) => self.discard(*kind).map(Run::Done),
            Utility::Deallocate(name) => self.deallocate(name.as_deref()).map(Run::Done),
            Utility::Prepare { name, types, statement } => {
                self.prepare_named(name, types, statement).await.map(Run::Done)
            }
            Utility::Fetch { name, count, shows } => self.open_fetch(name, *count, *shows),
            Utility::Close(name) => self.close_cursor(name.as_deref()).map(Run::Done),
            Utility::Refused { .. }
            | Utility::CreateExtension { .. }
            | Utility::Drop(_)
            | Utility::Rename { .. }
            | Utility::CreateView { .. }
            | Utility::AlterView { .. }
            | Utility::CreateSequence { .. }
            | Utility::AlterSequence { .. } => self.run_of_objects(parsed, utility).await.map(Run::Done),
            Utility::CreateRole { .. }
            | Utility::AlterRole { .. }
            | Utility::RenameRole { .. }
            | Utility::DropRole { .. }
            | Utility::Grant(_)
            | Utility::GrantRole(_)
            | Utility::ChangeOwner { .. }
            | Utility::ReassignOwned { .. }
            | Utility::DropOwned { .. }
            | Utility::AlterSettings { .. } => self.run_of_rights(parsed, utility).await.map(Run::Done),
            Utility::Reindex(reindex) => self.reindex(parsed, reindex).await.map(Run::Done),
            Utility::LockTable { tables, mode, no_wait } => {
                self.lock_named_tables(parsed, tables, *mode, *no_wait).await.map(Run::Done)
            }
            Utility::WaitFor { token, timeout } => self.wait_for(*token, *timeout).await.map(Run::Done),
            Utility::Unlisten => Ok(Run::Done(CommandTag::Words("UNLISTEN"))),
            Utility::Execute { .. }
            | Utility::Copy(_)
            | Utility::Declare { .. }
            | Utility::Explain { .. } => Err(SqlError::internal("a portal was expected")),
        }
    }

    /// Carries out a statement about a view, a sequence or an extension, a RENAME or a DROP, or one that is
    /// refused.
    async fn run_of_objects(&mut self, parsed: &Arc<Parsed>, utility: &Utility) -> Result<CommandTag> {
        match utility {
            Utility::Refused { writes, refusal, .. } => {
                self.refuse_in_read_only(writes.is_some(), writes.unwrap_or_default())?;
                Err(SqlError::clone(refusal))
            }
            Utility::CreateExtension { name, lenient } => self.create_extension(name, *lenient),
            Utility::Drop(target) => match target.kind {
                DropKind::Table => self.drop_tables(parsed, target).await,
                DropKind::Index => self.drop_indexes(parsed, target).await,
                DropKind::Sequence => self.drop_sequences(parsed, target).await,
                DropKind::View => self.drop_views(parsed, target).await,
            },
            Utility::Rename { kind, if_exists, name, renaming } => {
                self.rename(parsed, (*kind, *if_exists), name, renaming).await
            }
            Utility::CreateView { or_replace, name, columns, options, query, text } => {
                self.create_view(parsed, name, (columns, *or_replace, options), (query, text)).await
            }
            Utility::AlterView { if_exists, name, change } => {
                self.alter_view(parsed, (name, *if_exists), change).await
            }
            Utility::CreateSequence { if_not_exists, name, options } => {
                self.create_sequence(parsed, name, *if_not_exists, options).await
            }
            Utility::AlterSequence { if_exists, name, change } => {
                self.alter_sequence(parsed, name, *if_exists, change).await
            }
            _ => Err(SqlError::internal("a statement about something else")),
        }
    }

    /// SET CONSTRAINTS: no constraint is deferrable, so that all it can do is to find none by a name, or one
    /// that cannot be deferred.
    async fn set_constraints(
        &mut self,
        parsed: &Parsed,
        names: &[ast::ObjectName],
        deferred: bool,
    ) -> Result<CommandTag> {
        if !self.in_transaction_block() {
            self.warn("SET CONSTRAINTS can only be used in transaction blocks");
        }
        if names.is_empty() {
            return Ok(CommandTag::Words("SET CONSTRAINTS"));
        }
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        let analyzer = self.analyzer(parsed, Vec::new(), &catalogue);
        for name in names {
            let (schema, bare, _) = analyzer.table_name(name)?;
            let seen = match &schema {
                Some(schema) => catalogue.required_schema(&self.facts.path, schema)? == Schema::PUBLIC,
                None => self.facts.path.searched().any(|schema| schema == Schema::PUBLIC),
            };
            let is_there = catalogue.relations.values().filter(|_| seen).any(|table| {
                table.checks.iter().any(|check| check.name == bare)
                    || table.all_indexes().any(|index| index.constraint && index.name == bare)
            });
            let (code, what) = match is_there {
                true if !deferred => continue,
                true => (SqlState::WRONG_OBJECT_TYPE, "is not deferrable"),
                false => (SqlState::UNDEFINED_OBJECT, "does not exist"),
            };
            return Err(SqlError::new(code, format!("constraint \"{bare}\" {what}")));
        }
        Ok(CommandTag::Words("SET CONSTRAINTS"))
    }

    fn set_transaction(&mut self, session: bool, modes: &[Mode]) -> Result<CommandTag> {
        if session {
            for mode in modes {
                let (name, value) = match mode {
                    Mode::Isolation(level) => ("default_transaction_isolation", level.name()),
                    Mode::ReadOnly(only) => {
                        ("default_transaction_read_only", if *only { "on" } else { "off" })
                    }
                    Mode::Deferrable(yes) => {
                        ("default_transaction_deferrable", if *yes { "on" } else { "off" })
                    }
                };
                self.set(false, name, Some(value))?;
            }
            return Ok(CommandTag::Words("SET"));
        }
        if !self.in_transaction_block() {
            self.warn("SET TRANSACTION can only be used in transaction blocks");
        }
        self.set_modes(modes)?;
        Ok(CommandTag::Words("SET"))
    }

    /// In a transaction block, which the statements of one message are in together, too.
    pub(super) fn in_transaction_block(&self) -> bool {
        self.kept.several || self.block.as_ref().is_some_and(|block| block.explicit)
    }

    fn warn(&mut self, message: &str) {
        self.notices.push(SqlError::report(Severity::Warning, SqlState::NO_ACTIVE_SQL_TRANSACTION, message));
    }

    fn set(&mut self, local: bool, name: &str, value: Option<&str>) -> Result<CommandTag> {
        if local && !self.in_transaction_block() {
            self.warn("SET LOCAL can only be used in transaction blocks");
        }
        self.ensure_block();
        let is_on = |text: &str| {
            let message = format!("parameter \"{name}\" requires a Boolean value");
            sql_types::is_true(text).ok_or_else(|| SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message))
        };
        match (name.to_ascii_lowercase().as_str(), value) {
            ("transaction_isolation", Some(value)) => self.set_modes(&[isolation_mode(value)?])?,
            ("transaction_read_only", Some(value)) => self.set_modes(&[Mode::ReadOnly(is_on(value)?)])?,
            ("transaction_deferrable", Some(value)) => self.set_modes(&[Mode::Deferrable(is_on(value)?)])?,
            ("transaction_isolation" | "transaction_read_only" | "transaction_deferrable", None) => {}
            _ => {
                let environment = self.environment.clone();
                self.facts.levels.touch(&*environment);
                let scope = if local { SetScope::Local } else { SetScope::Session };
                environment.set(self.actor(), name, value, scope)?;
                self.refresh_settings();
            }
        }
        Ok(CommandTag::Words("SET"))
    }

    fn show(&mut self, target: &SetTarget) -> Result<Run> {
        self.ensure_block();
        let rows: Vec<Row> = match target {
            SetTarget::Name(name) => vec![vec![Datum::from(self.facts.show(name)?)]],
            SetTarget::All => self
                .environment
                .show_all(self.actor())
                .into_iter()
                .map(|line| vec![line.name.into(), line.value.into(), line.description.into()])
                .collect(),
        };
        Ok(Run::Rows(rows.into_iter(), CommandTag::Words("SHOW")))
    }

    fn reset(&mut self, target: &SetTarget) -> Result<CommandTag> {
        self.ensure_block();
        match target {
            SetTarget::Name(name) => {
                self.set(false, name, None)?;
            }
            SetTarget::All => {
                let environment = self.environment.clone();
                self.facts.levels.touch(&*environment);
                environment.reset_all(self.actor())?;
                self.refresh_settings();
            }
        }
        Ok(CommandTag::Words("RESET"))
    }

    /// 25001 for what must stand alone: also in its message, and before anything else of its pipeline.
    pub(super) fn refuse_in_block(&mut self, what: &str) -> Result<()> {
        let message = if self.in_transaction_block() {
            format!("{what} cannot run inside a transaction block")
        } else if self.block.as_ref().is_some_and(|block| block.ran) {
            format!("{what} cannot be executed within a pipeline")
        } else {
            self.kept.alone = true;
            self.kept.commits_inside = !matches!(what, "ALTER SYSTEM" | "DISCARD ALL");
            return Ok(());
        };
        Err(SqlError::new(SqlState::ACTIVE_SQL_TRANSACTION, message))
    }

    fn alter_system(&mut self, target: &SetTarget, value: Option<&str>) -> Result<CommandTag> {
        self.refuse_in_block("ALTER SYSTEM")?;
        if !self.role.superuser {
            let what = match target {
                SetTarget::Name(name) => format!("permission denied to set parameter \"{name}\""),
                SetTarget::All => "permission denied to perform ALTER SYSTEM RESET ALL".to_owned(),
            };
            return Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, what));
        }
        let name = match target {
            SetTarget::Name(name) => Some(name.as_str()),
            SetTarget::All => None,
        };
        if let Some(name) = name.filter(|name| name.contains('.')) {
            // Of what extensions may have, what is known now.
            self.facts.show(name)?;
        }
        self.environment.alter_system(self.actor(), name, value)?;
        Ok(CommandTag::Words("ALTER SYSTEM"))
    }

    async fn checkpoint(&mut self) -> Result<CommandTag> {
        self.see_roles().await?;
        self.require_checkpoint()?;
        self.engine
            .database()
            .checkpoint(CheckpointKind::Immediate)
            .await
            .map_err(|error| self.canceller.explain(error))?;
        Ok(CommandTag::Words("CHECKPOINT"))
    }

    /// No table can be marked, so there is nothing to do.
    fn cluster(&mut self) -> Result<CommandTag> {
        self.refuse_in_block("CLUSTER")?;
        if self.engine.database().is_in_recovery() {
            let message = "cannot execute CLUSTER during recovery";
            return Err(SqlError::new(SqlState::READ_ONLY_SQL_TRANSACTION, message));
        }
        Ok(CommandTag::Words("CLUSTER"))
    }

    fn discard(&mut self, kind: DiscardKind) -> Result<CommandTag> {
        match kind {
            DiscardKind::All => {
                self.refuse_in_block("DISCARD ALL")?;
                self.kept.statements.clear();
                self.kept.end_portals();
                self.engine.advisory().unlock_all(self.environment.backend_pid());
                self.forget_cached();
                self.facts.numbers.lock().forget();
                self.ensure_block();
                self.reset_identity();
                self.reset(&SetTarget::All)?;
                Ok(CommandTag::Words("DISCARD ALL"))
            }
            DiscardKind::Plans => {
                self.forget_cached();
                Ok(CommandTag::Words("DISCARD PLANS"))
            }
            DiscardKind::Sequences => {
                self.facts.numbers.lock().forget();
                Ok(CommandTag::Words("DISCARD SEQUENCES"))
            }
            DiscardKind::Temporary => Ok(CommandTag::Words("DISCARD TEMP")),
        }
    }

    async fn prepare_named(
        &mut self,
        name: &str,
        types: &[ast::DataType],
        statement: &Arc<Parsed>,
    ) -> Result<CommandTag> {
        let declared = |ty: &ast::DataType| {
            self.require_type(ty)?;
            let id = expr::data_type(ty)?.id;
            Ok((id != TypeId::Unknown).then_some(Type::of(id)))
        };
        let declared = types.iter().map(declared).collect::<Result<_>>()?;
        // Whether the name is taken counts last.
        let prepared = Box::pin(self.analyse(statement.clone(), declared, usize::from(u16::MAX))).await?;
        self.keep(name, Arc::new(prepared), true)?;
        Ok(CommandTag::Words("PREPARE"))
    }

    /// The statement that EXECUTE names, and its arguments' values.
    pub(super) async fn execute_arguments(
        &mut self,
        parsed: &Parsed,
        name: &str,
        arguments: &[ast::Expr],
    ) -> Result<(Arc<Prepared>, Vec<Datum>)> {
        let prepared = self.find_stored(name)?;
        let types = prepared.parameter_types().to_vec();
        if arguments.len() != types.len() {
            return Err(SqlError::syntax(format!(
                "wrong number of parameters for prepared statement \"{name}\""
            ))
            .with_detail(format!(
                "Expected {} parameters but got {}.",
                types.len(),
                arguments.len()
            )));
        }
        self.ensure_block();
        let catalogue = self.facts.catalogue.clone();
        let plan = self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
            analyzer.parameters_max = 0;
            let mut values = Vec::with_capacity(arguments.len());
            for (argument, ty) in arguments.iter().zip(&types) {
                let value = analyzer.compile_in("EXECUTE parameters", argument)?;
                values.push(analyzer.assigned(value, *ty)?);
            }
            plan_arguments(analyzer, values)
        })?;
        let values = self.argument_values(&plan).await?;
        Ok((prepared, values))
    }

    /// The one row of a plan of arguments.
    async fn argument_values(&mut self, plan: &Plan) -> Result<Vec<Datum>> {
        if let Node::Values(values) = &plan.node
            && values.deferred.is_empty()
        {
            let cx = EvalContext::of_no_row(&self.facts);
            return values.rows.iter().flatten().map(|value| value.eval(&cx)).collect();
        }
        self.begin_statement().await?;
        let catalogue = self.catalogue().await?;
        self.check_rights(plan, &catalogue)?;
        let mut cx = self.context(&[])?;
        cx.suit(plan);
        let rows = sql_execution::build(&plan.node).next(&mut cx, 1).await?;
        let upto = cx.transaction.evaluated_up_to();
        self.wait_for_evaluated(upto).await?;
        Ok(rows.into_iter().flatten().next().unwrap_or_default())
    }

    async fn lock_named_tables(
        &mut self,
        parsed: &Parsed,
        tables: &[ast::ObjectName],
        mode: TableLockMode,
        no_wait: bool,
    ) -> Result<CommandTag> {
        if !self.in_transaction_block() {
            return Err(super::block::no_block("LOCK TABLE"));
        }
        if mode > TableLockMode::RowExclusive && self.engine.database().is_in_recovery() {
            return Err(SqlError::new(
                SqlState::READ_ONLY_SQL_TRANSACTION,
                "cannot execute LOCK TABLE during recovery",
            ));
        }
        let wait = if no_wait { LockWait::NoWait } else { self.lock_wait() };
        // What is read under the locks is to be as their holders before have left it, at each level.
        let queried = self.block.as_ref().is_some_and(|block| block.queried);
        self.transaction()?.look_up_only(true);
        let locked = self.lock_each(parsed, tables, (mode, wait), queried).await;
        if let Some(block) = &mut self.block {
            block.queried = queried;
            if let Some(transaction) = &mut block.transaction {
                transaction.look_up_only(false);
            }
        }
        locked?;
        Ok(CommandTag::Words("LOCK TABLE"))
    }

    async fn lock_each(
        &mut self,
        parsed: &Parsed,
        tables: &[ast::ObjectName],
        (mode, wait): (TableLockMode, LockWait),
        queried: bool,
    ) -> Result<()> {
        for table in tables {
            // Who may not lock it must not wait for it either.
            self.refuse_other_kinds(parsed, table, |name, kind| match kind {
                DropKind::Table | DropKind::View => None,
                kind => Some(unsupported_for("cannot lock relation", name, kind)),
            })
            .await?;
            let found = self.find(parsed, table).await?;
            self.require_any(&Object::Relation(found.oid), lock_rights(mode))?;
            let locked = self.lock_relation(parsed, table, mode, wait).await?;
            if queried {
                self.require_not_replaced(&locked).await?;
            }
        }
        Ok(())
    }

    /// Finds a table and locks it; looks again after waiting, since it may be another one then.
    pub(super) async fn lock_relation(
        &mut self,
        parsed: &Parsed,
        name: &ast::ObjectName,
        mode: TableLockMode,
        wait: LockWait,
    ) -> Result<Arc<sql_catalogue::Relation>> {
        self.begin_statement().await?;
        let mut found = self.find(parsed, name).await?;
        loop {
            let locked = self.transaction()?.lock_table(found.tree, mode, wait).await;
            locked.map_err(|error| match error {
                storage::Error::LockNotAvailable { timed_out: false } => SqlError::new(
                    SqlState::LOCK_NOT_AVAILABLE,
                    format!("could not obtain lock on relation \"{}\"", found.name),
                ),
                other => self.canceller.explain(other),
            })?;
            self.begin_statement().await?;
            let again = self.find(parsed, name).await?;
            if again.tree == found.tree {
                return Ok(again);
            }
            found = again;
        }
    }

    async fn find(
        &mut self,
        parsed: &Parsed,
        name: &ast::ObjectName,
    ) -> Result<Arc<sql_catalogue::Relation>> {
        let catalogue = self.catalogue().await?;
        let analyzer: Analyzer<'_> = self.analyzer(parsed, Vec::new(), &catalogue);
        analyzer.find_defined_table(name)
    }
}

/// What LOCK TABLE asks for: one of these.
fn lock_rights(mode: TableLockMode) -> Privileges {
    use Privileges as P;
    match mode {
        TableLockMode::AccessShare => P::SELECT,
        TableLockMode::RowExclusive => P::INSERT | P::UPDATE | P::DELETE | P::TRUNCATE,
        _ => P::UPDATE | P::DELETE | P::TRUNCATE,
    }
}

/// Whether it hangs on the role what a statement that looks at no table may do: that role as it is now.
pub(super) fn asks_of_role(command: &SqlCommand) -> bool {
    let SqlCommand::Utility(utility) = command else { return false };
    matches!(
        utility,
        Utility::Set { .. }
            | Utility::Show(_)
            | Utility::Reset(_)
            | Utility::AlterSystem { .. }
            | Utility::Checkpoint
    )
}

/// Whether a setting says who the session acts as.
fn is_identity(name: &str) -> bool {
    name.eq_ignore_ascii_case("role") || name.eq_ignore_ascii_case("session_authorization")
}

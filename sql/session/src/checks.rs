//! CHECK constraints of a table that is there: added, and kept in step with its columns.

use super::SqlSession;
use super::definition::NamedCheck;
use super::index::object_name;
use super::sequence::has_own_default;
use sql_catalogue::{Check, Relation, store};
use sql_execution::row;
use sql_interface::{Result, SqlError};
use sql_language::parse::{Parsed, columns};
use sql_language::plan::{BATCH, Defined};
use sqlstate::SqlState;
use std::collections::HashSet;
use std::sync::Arc;
use storage::{Direction, KeyRange};

/// The name of a new constraint: the one given, or the table's, with that of the one column that the
/// condition names.
pub(super) fn check_name(table: &str, (given, expression): &NamedCheck, taken: &[Check]) -> Result<String> {
    let taken: HashSet<&str> = taken.iter().map(|check| check.name.as_str()).collect();
    let is_taken = |name: &str| taken.contains(name);
    if let Some(name) = given {
        if is_taken(name) {
            let message = format!("constraint \"{name}\" for relation \"{table}\" already exists");
            return Err(SqlError::new(SqlState::DUPLICATE_OBJECT, message));
        }
        return Ok(name.clone());
    }
    let named = columns::columns_of(expression)?;
    let column = named.first().filter(|_| named.len() == 1).map_or("", String::as_str);
    let labels =
        std::iter::once("check".to_owned()).chain((1..u32::MAX).map(|number| format!("check{number}")));
    let mut names = labels.map(|label| object_name(table, column, &label));
    names.find(|name| !is_taken(name)).ok_or_else(|| SqlError::internal("no name is free"))
}

impl SqlSession {
    /// Compiles the default of a column, for its errors, and lets it be kept as it means the same in every
    /// session.
    pub(super) async fn keep_default(
        &mut self,
        parsed: &Parsed,
        relation: &mut Relation,
        at: usize,
    ) -> Result<()> {
        let default = self.holding(|session| session.kept_default(parsed, relation, at)).await?;
        if let Some(column) = relation.columns.get_mut(at) {
            column.default = default;
        }
        Ok(())
    }

    fn kept_default(
        &self,
        parsed: &Parsed,
        relation: &Relation,
        at: usize,
    ) -> Result<Defined<Option<String>>> {
        let catalogue = self.facts.catalogue.clone();
        self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
            analyzer.parameters_max = 0;
            match relation.columns.get(at) {
                // The name of its own sequence was not written: the session's path is not asked for it.
                Some(column) if has_own_default(&catalogue, relation, column) => {
                    analyzer.default_value(relation, at)?;
                    Ok(Defined { kept: column.default.clone(), names: Vec::new() })
                }
                _ => analyzer.defined_default(relation, at),
            }
        })
    }

    /// A new table with all that it says as it is kept.
    pub(super) async fn with_kept_texts(
        &mut self,
        parsed: &Parsed,
        mut relation: Relation,
    ) -> Result<Arc<Relation>> {
        for at in 0..relation.columns.len() {
            self.keep_default(parsed, &mut relation, at).await?;
        }
        let mut relation = Arc::new(relation);
        let checks = self.holding(|session| session.kept_checks(parsed, &relation)).await?;
        Arc::make_mut(&mut relation).checks = checks;
        Ok(relation)
    }

    /// Constraints that the statement itself has written, as they are kept.
    fn kept_checks(&self, parsed: &Parsed, relation: &Arc<Relation>) -> Result<Defined<Vec<Check>>> {
        let catalogue = self.facts.catalogue.clone();
        self.analysing(parsed, Vec::new(), &catalogue, |analyzer| {
            analyzer.parameters_max = 0;
            analyzer.defined_checks(relation)
        })
    }

    /// VALIDATE CONSTRAINT: a constraint that was added as NOT VALID is one as any other once all rows meet
    /// it.
    pub(super) async fn validate_check(
        &mut self,
        parsed: &Parsed,
        relation: &Arc<Relation>,
        name: &str,
    ) -> Result<()> {
        let of_index = relation.all_indexes().any(|index| index.constraint && index.name == name);
        let Some(check) = relation.checks.iter().find(|check| check.name == name) else {
            let table = &relation.name;
            return Err(if of_index {
                let message = format!(
                    "constraint \"{name}\" of relation \"{table}\" is not a foreign key or check constraint"
                );
                SqlError::new(SqlState::WRONG_OBJECT_TYPE, message)
            } else {
                let message = format!("constraint \"{name}\" of relation \"{table}\" does not exist");
                SqlError::new(SqlState::UNDEFINED_OBJECT, message)
            });
        };
        if !check.not_valid {
            return Ok(());
        }
        let check = Check { not_valid: false, ..check.clone() };
        let mut changed = Relation::clone(relation);
        changed.checks = vec![check.clone()];
        self.check_rows(parsed, &Arc::new(changed)).await?;
        store::put_check(self.transaction()?, relation.oid, &check).await
    }

    /// Adds a constraint once all rows meet it, or without asking them (NOT VALID).
    pub(super) async fn add_check(
        &mut self,
        parsed: &Parsed,
        relation: &Arc<Relation>,
        given: NamedCheck,
        not_valid: bool,
    ) -> Result<Check> {
        let name = check_name(&relation.name, &given, &relation.checks)?;
        let oid = self.engine.database().allocate_number()?;
        let mut changed = Relation::clone(relation);
        changed.checks = vec![Check { oid, name, expression: given.1, not_valid }];
        let added = Arc::new(changed.clone());
        changed.checks = self.holding(|session| session.kept_checks(parsed, &added)).await?;
        let Some(check) = changed.checks.first().cloned() else {
            return Err(SqlError::internal("a constraint is gone"));
        };
        if !not_valid {
            self.check_rows(parsed, &Arc::new(changed)).await?;
        }
        store::put_check(self.transaction()?, relation.oid, &check).await?;
        Ok(check)
    }

    /// Drops the constraints that name a column, which is dropped itself.
    pub(super) async fn drop_checks_of(&mut self, relation: &Relation, column: &str) -> Result<()> {
        for check in &relation.checks {
            if columns::columns_of(&check.expression)?.contains(column) {
                store::delete_constraint(self.transaction()?, relation.oid, check.oid).await?;
            }
        }
        Ok(())
    }

    /// Lets the constraints name a column by its new name.
    pub(super) async fn rename_in_checks(&mut self, relation: &Relation, old: &str, new: &str) -> Result<()> {
        for check in &relation.checks {
            let expression = columns::rename_column(&check.expression, old, new)?;
            let check = Check { expression, ..check.clone() };
            store::put_check(self.transaction()?, relation.oid, &check).await?;
        }
        Ok(())
    }

    /// Asks the CHECK constraints of a table, which nobody else can write, of all its rows.
    async fn check_rows(&mut self, parsed: &Parsed, relation: &Arc<Relation>) -> Result<()> {
        let checks = {
            let catalogue = self.facts.catalogue.clone();
            self.analysing(parsed, Vec::new(), &catalogue, |analyzer| analyzer.target_of(relation))?.checks
        };
        let needed: Vec<usize> = relation.live_columns().map(|(at, _)| at).collect();
        let cx = self.context(&[])?;
        let scan = cx.transaction.scan_complete(relation.tree, KeyRange::all(), Direction::Forward).await;
        let mut scan = cx.storage(scan)?;
        let mut batch = Vec::new();
        loop {
            batch.clear();
            let more = scan.next_batch(cx.transaction, BATCH, &mut batch).await;
            let more = cx.storage(more)?;
            for (key, value) in &batch {
                let values = row::decode(relation, &needed, key, value)?;
                for (name, condition) in &checks {
                    if condition.eval(&cx.eval(&values, &[]))?.as_bool() == Some(false) {
                        return Err(SqlError::new(
                            SqlState::CHECK_VIOLATION,
                            format!(
                                "check constraint \"{name}\" of relation \"{}\" is violated by some row",
                                relation.name
                            ),
                        )
                        .of_table("public", &relation.name)
                        .of_constraint(name));
                    }
                }
            }
            if !more {
                return Ok(());
            }
            cx.canceller.check()?;
        }
    }
}

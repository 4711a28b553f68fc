//! ON CONFLICT: which indexes decide, and what is done instead.

use super::analyzer::Analyzer;
use super::from::table_item;
use super::node::{Arbiter, ConflictAction, ConflictPlan};
use crate::parse::fold;
use sql_catalogue::rights::Privileges;
use sql_catalogue::{AnyIndex, Relation};
use sql_interface::{Result, SqlError};
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;

impl Analyzer<'_> {
    pub(super) fn conflict(
        &mut self,
        relation: &Arc<Relation>,
        alias: Option<&str>,
        conflict: &ast::OnConflict,
    ) -> Result<ConflictPlan> {
        let arbiters = self.arbiters(relation, conflict.conflict_target.as_ref())?;
        self.note_arbiters(relation, conflict.conflict_target.as_ref(), &arbiters);
        let ast::OnConflictAction::DoUpdate(update) = &conflict.action else {
            return Ok(ConflictPlan { arbiters, action: ConflictAction::Nothing });
        };
        if conflict.conflict_target.is_none() {
            return Err(SqlError::syntax(
                "ON CONFLICT DO UPDATE requires inference specification or constraint name",
            )
            .with_hint("For example, ON CONFLICT (column_name)."));
        }
        // The row that is there, then the one that was to be inserted, under the name `excluded`.
        self.push_level();
        let result = self.conflict_update(relation, alias, update);
        self.pop_level();
        Ok(ConflictPlan { arbiters, action: result? })
    }

    /// Whoever names a key asks whether a row has it: its columns are read.
    fn note_arbiters(
        &mut self,
        relation: &Relation,
        target: Option<&ast::ConflictTarget>,
        arbiters: &[Arbiter],
    ) {
        if target.is_none() {
            return;
        }
        for arbiter in arbiters {
            let places: Vec<usize> = match arbiter {
                Arbiter::Primary => {
                    relation.primary_key.iter().flat_map(|key| key.columns.iter().copied()).collect()
                }
                Arbiter::Index(at) => {
                    let index = relation.indexes.get(*at);
                    index.iter().flat_map(|index| index.columns.iter().map(|column| column.at)).collect()
                }
            };
            for column in places.iter().filter_map(|at| relation.columns.get(*at)) {
                self.note_read(Some((relation.oid, column.number)));
            }
        }
    }

    /// The unique keys that ON CONFLICT names: those over exactly these columns, or all of them.
    pub(super) fn arbiters(
        &mut self,
        relation: &Relation,
        target: Option<&ast::ConflictTarget>,
    ) -> Result<Vec<Arbiter>> {
        let unique: Vec<(Arbiter, AnyIndex<'_>)> = relation
            .all_indexes()
            .filter(|index| index.unique)
            .map(|index| {
                let place = relation.indexes.iter().position(|known| known.oid == index.oid);
                (place.map_or(Arbiter::Primary, Arbiter::Index), index)
            })
            .collect();
        match target {
            None => Ok(unique.into_iter().map(|(arbiter, _)| arbiter).collect()),
            Some(ast::ConflictTarget::Columns { columns, predicate: _ }) => {
                let mut named = Vec::with_capacity(columns.len());
                for column in columns {
                    let place = relation.column(&fold(column)).ok_or_else(|| {
                        let message = format!("column \"{}\" does not exist", fold(column));
                        SqlError::new(SqlState::UNDEFINED_COLUMN, message)
                    });
                    named.push(place?);
                }
                named.sort_unstable();
                named.dedup();
                let fits = |index: &AnyIndex<'_>| {
                    let mut columns: Vec<usize> = index.columns.iter().map(|column| column.at).collect();
                    columns.sort_unstable();
                    columns.dedup();
                    columns == named
                };
                let found: Vec<Arbiter> =
                    unique.iter().filter(|(_, index)| fits(index)).map(|(arbiter, _)| *arbiter).collect();
                if found.is_empty() {
                    return Err(SqlError::new(
                        SqlState::INVALID_COLUMN_REFERENCE,
                        "there is no unique or exclusion constraint matching the ON CONFLICT specification",
                    ));
                }
                Ok(found)
            }
            Some(ast::ConflictTarget::OnConstraint(name)) => {
                let (_, name, _) = self.table_name(name)?;
                let found = unique.iter().find(|(_, index)| index.constraint && index.name == name);
                found.map(|(arbiter, _)| vec![*arbiter]).ok_or_else(|| {
                    SqlError::new(
                        SqlState::UNDEFINED_OBJECT,
                        format!("constraint \"{name}\" for table \"{}\" does not exist", relation.name),
                    )
                })
            }
        }
    }

    pub(super) fn conflict_update(
        &mut self,
        relation: &Arc<Relation>,
        alias: Option<&str>,
        update: &ast::DoUpdate,
    ) -> Result<ConflictAction> {
        let mut item = table_item(relation, false);
        if let Some(alias) = alias {
            item.rename(alias, &[])?;
        }
        let mut excluded = table_item(relation, false);
        let width = excluded.width;
        for column in &mut excluded.columns {
            column.table = Arc::from("excluded");
            column.schema = None;
            column.index += width;
        }
        item.columns.extend(excluded.columns);
        let mut tables = excluded.tables;
        for table in &mut tables {
            table.alias = Arc::from("excluded");
            table.relation = None;
        }
        item.tables.extend(tables);
        item.width = 2 * width;
        self.show(item);
        self.level().no_aggregates_in = Some("UPDATE");
        let assignments = self.assignments(relation, &update.assignments)?;
        self.note_written(relation, assignments.iter().map(|(at, _)| *at), Privileges::UPDATE);
        let condition = update.selection.as_ref().map(|ast| self.condition("WHERE", ast)).transpose()?;
        let deferred = self.take_deferred();
        Ok(ConflictAction::Update { assignments, condition, deferred })
    }
}

//! Joins by columns of one name: USING and NATURAL.

use super::analyzer::{Analyzer, ScopeColumn};
use super::from::FromItem;
use super::node::{DeferredValues, JoinKind, Node};
use super::predicate;
use crate::expr;
use sql_interface::{Result, SqlError};
use sql_types::Type;
use sqlparser::ast;
use sqlstate::SqlState;
use std::sync::Arc;

impl Analyzer<'_> {
    /// Whether USING shows the right one of two columns, and in which type.
    fn shown_by_using(
        &mut self,
        left: &ScopeColumn,
        right: &ScopeColumn,
        kind: JoinKind,
    ) -> Result<(bool, Type)> {
        if kind == JoinKind::Full {
            return Err(SqlError::unsupported("FULL JOIN with USING"));
        }
        let (mut one, mut two) = (left.expr(), right.expr());
        let common = expr::common_type(&mut [&mut one, &mut two], "JOIN/USING", self)?;
        let fits = |column: &ScopeColumn| column.ty == common;
        // Where both sides have the value, the one that has it in the common type shows it.
        let right_shows = kind == JoinKind::Right || (kind == JoinKind::Inner && !fits(left) && fits(right));
        Ok((right_shows, common))
    }

    pub(super) fn join_using(
        &mut self,
        item: &mut FromItem,
        names: &[String],
        (chain_start, left_width): (usize, usize),
        kind: JoinKind,
        checked: bool,
    ) -> Result<()> {
        let mut merged = Vec::new();
        for (at, name) in names.iter().enumerate() {
            refuse_repeated(names, at, name)?;
            let place = (chain_start, left_width);
            let (left, right) = (column_of(item, name, place, false)?, column_of(item, name, place, true)?);
            self.note_read(left.origin);
            self.note_read(right.origin);
            let condition = expr::operator(&ast::BinaryOperator::Eq, left.expr(), right.expr(), self)?;
            if checked {
                item.check(&condition, &DeferredValues::default())?;
            }
            let Node::Join(plan) = &mut item.node else {
                return Err(SqlError::internal("a join without a join node"));
            };
            let plan = Arc::get_mut(plan).ok_or_else(|| SqlError::internal("a plan is shared too early"))?;
            match predicate::hash_key(condition, left_width) {
                Ok(pair) if !plan.lateral => plan.hash_keys.push(pair),
                Ok((left, right)) => {
                    let right = predicate::shift_right(right, left_width)?;
                    let again = expr::operator(&ast::BinaryOperator::Eq, left, right, self)?;
                    predicate::add_condition(&mut plan.condition, again);
                }
                Err(condition) => predicate::add_condition(&mut plan.condition, condition),
            }
            let (right_shows, ty) = self.shown_by_using(&left, &right, kind)?;
            let shown = if right_shows { &right } else { &left };
            merged.push(shown.index);
            merge(&mut item.columns, &left, &right, shown, ty);
        }
        // The merged columns come first in the join's part of `*`.
        item.columns.sort_by_key(|column| {
            let place = merged.iter().position(|shown| *shown == column.index).unwrap_or(usize::MAX);
            (column.index >= chain_start, if column.index >= chain_start { place } else { 0 })
        });
        Ok(())
    }
}

/// Hides both columns behind the one that is shown of them, which may be in another type then.
fn merge(
    columns: &mut Vec<ScopeColumn>,
    left: &ScopeColumn,
    right: &ScopeColumn,
    shown: &ScopeColumn,
    ty: Type,
) {
    let is_kept = |column: &ScopeColumn| column.index == shown.index && shown.ty == ty && !column.hidden;
    for column in columns.iter_mut() {
        let is_of_both = column.index == left.index || column.index == right.index;
        column.hidden |= is_of_both && !is_kept(column);
    }
    if shown.ty != ty {
        // With their tables before them both keep their types; the merged one is of no table.
        columns.push(ScopeColumn {
            table: Arc::from(""),
            schema: None,
            ty,
            stored: Some(shown.stored_type()),
            hidden: false,
            ..shown.clone()
        });
    }
}

/// The one column of this name on one side of a join.
fn column_of(
    item: &FromItem,
    name: &str,
    (chain_start, left_width): (usize, usize),
    right: bool,
) -> Result<ScopeColumn> {
    let word = if right { "right" } else { "left" };
    // What is before the comma, or the table that is changed, is no part of the join.
    let mut fitting = item.columns.iter().filter(|column| {
        !column.hidden
            && column.name == *name
            && column.index >= chain_start
            && (column.index >= left_width) == right
    });
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one.clone()),
        (None, _) => Err(SqlError::new(
            SqlState::UNDEFINED_COLUMN,
            format!("column \"{name}\" specified in USING clause does not exist in {word} table"),
        )),
        _ => Err(SqlError::new(
            SqlState::AMBIGUOUS_COLUMN,
            format!("common column name \"{name}\" appears more than once in {word} table"),
        )),
    }
}

/// 42701 for a name of USING that stands there before.
fn refuse_repeated(names: &[String], at: usize, name: &str) -> Result<()> {
    if names.iter().take(at).all(|before| before != name) {
        return Ok(());
    }
    let message = format!("column name \"{name}\" appears more than once in USING clause");
    Err(SqlError::new(SqlState::DUPLICATE_COLUMN, message))
}

/// The columns that NATURAL joins by; those of the left side from `start` on are the join's.
pub(super) fn common_names(left: &FromItem, start: usize, right: &FromItem) -> Vec<String> {
    let shown =
        |item: &FromItem, name: &str| item.columns.iter().any(|known| !known.hidden && known.name == name);
    let names = left
        .columns
        .iter()
        .filter(|column| column.index >= start && !column.hidden && shown(right, &column.name));
    names.map(|column| column.name.clone()).collect()
}

//! UPDATE and DELETE.

use super::deferred::DeferredState;
use super::lock::{Recheck, key_of, lock_and_recheck, lock_new_key};
use super::{Cx, Exec, Operator, Row, build, index, row, violation};
use bytes::Bytes;
use sql_catalogue::Relation;
use sql_interface::{Result, SqlError};
use sql_language::expr::Expr;
use sql_language::plan::{BATCH, DeferredValues, DeletePlan, ModifiedTable, Node, Returning, UpdatePlan};
use sql_types::Datum;
use std::sync::Arc;
use storage::LockMode;

/// Checks NOT NULL and CHECK of a new row.
pub(super) fn check_row(cx: &Cx<'_>, target: &ModifiedTable, new: &[Datum]) -> Result<()> {
    if let Some(at) = row::forbidden_null(&target.relation, new) {
        return Err(violation::not_null(cx.facts, target, at, new));
    }
    for (name, condition) in &target.checks {
        // A CHECK that is NULL holds.
        if condition.eval(&cx.eval(new, &[]))?.as_bool() == Some(false) {
            return Err(violation::check(cx.facts, target, name, new));
        }
    }
    Ok(())
}

/// Writes the new version of a row that is locked, under its key or, if that changed, under another, and the
/// entries in indexes that change with it. `old` has all live columns.
pub(super) async fn replace(
    cx: &mut Cx<'_>,
    relation: &Relation,
    key: Bytes,
    old: &[Datum],
    new: &[Datum],
    moves: bool,
) -> Result<()> {
    let value = cx.encoded(|out| row::append_value(relation, new, out))?;
    if moves && relation.primary_key.is_some() {
        let mut new_key = Vec::with_capacity(key.len());
        row::encode_key(relation, new, &mut new_key)?;
        if new_key[..] != key[..] {
            let locked = lock_new_key(cx, relation.tree, &new_key).await?;
            if locked.newest.is_some() {
                return Err(violation::same_primary_key(cx.facts, relation, new));
            }
            let deleted = cx.transaction.delete(relation.tree, key.clone());
            cx.storage(deleted)?;
            let put = cx.transaction.put(relation.tree, new_key.clone(), value);
            cx.storage(put)?;
            return index::change_row(cx, relation, (old, &key), (new, &new_key)).await;
        }
    }
    if relation.indexes.is_empty() {
        let put = cx.transaction.put(relation.tree, key, value);
        return cx.storage(put);
    }
    let put = cx.transaction.put(relation.tree, key.clone(), value);
    cx.storage(put)?;
    index::change_row(cx, relation, (old, &key), (new, &key)).await
}

/// Deletes a row that is locked, and its entries in indexes. `old` has all indexed columns.
pub(super) async fn delete(cx: &mut Cx<'_>, relation: &Relation, key: Bytes, old: &[Datum]) -> Result<()> {
    index::remove_row(cx, relation, old, &key).await?;
    let deleted = cx.transaction.delete(relation.tree, key);
    cx.storage(deleted)
}

/// RETURNING's expressions over a changed row.
pub(super) async fn returned(
    cx: &mut Cx<'_>,
    returning: &Returning,
    deferred: &mut DeferredState,
    row: &[Datum],
) -> Result<Row> {
    deferred.run(cx, row, |eval| returning.exprs.iter().map(|expr| expr.eval(eval)).collect()).await
}

/// The deferred values of a RETURNING that may not be there.
pub(super) fn returning_deferred(returning: Option<&Returning>) -> DeferredState {
    DeferredState::new(returning.map_or_else(DeferredValues::default, |returning| returning.deferred.clone()))
}

/// The rows that a running UPDATE or DELETE changes, each with the table's columns first.
struct Targets {
    rows: Exec,
    /// Places of the table's live columns.
    needed: Vec<usize>,
    recheck_deferred: DeferredState,
}

impl Targets {
    fn new(input: &Node, target: &ModifiedTable, recheck_deferred: &DeferredValues) -> Self {
        Self {
            rows: build(input),
            needed: target.relation.live_columns().map(|(at, _)| at).collect(),
            recheck_deferred: DeferredState::new(recheck_deferred.clone()),
        }
    }

    /// Locks the table's row that stands in `row`, brings it up to date and gives its key; None if it is not
    /// to be changed any more.
    async fn lock(
        &mut self,
        cx: &mut Cx<'_>,
        relation: &Relation,
        (key_at, mode): (usize, LockMode),
        recheck: Option<&Expr>,
        row: &mut Row,
    ) -> Result<Option<Bytes>> {
        let Some(key) = key_of(row, key_at) else { return Err(SqlError::internal("a row without a key")) };
        let target = (0, &key[..], mode, cx.lock_wait());
        let recheck = Recheck { joins: &[], condition: recheck, deferred: &mut self.recheck_deferred };
        let met = lock_and_recheck(cx, relation, target, row, &self.needed, recheck).await?;
        Ok(met.then_some(key))
    }
}

/// A running UPDATE.
pub(super) struct Update {
    plan: Arc<UpdatePlan>,
    targets: Targets,
    deferred: DeferredState,
    returning_deferred: DeferredState,
}

impl Update {
    pub(super) fn new(plan: Arc<UpdatePlan>) -> Self {
        Self {
            targets: Targets::new(&plan.input, &plan.target, &plan.recheck_deferred),
            deferred: DeferredState::new(plan.deferred.clone()),
            returning_deferred: returning_deferred(plan.returning.as_ref()),
            plan,
        }
    }
}

impl Operator for Update {
    async fn step(&mut self, cx: &mut Cx<'_>, _want: usize) -> Result<Option<Vec<Row>>> {
        let plan = self.plan.clone();
        let relation = &plan.target.relation;
        let mode = if plan.moves { LockMode::Exclusive } else { LockMode::NoKeyExclusive };
        while let Some(rows) = self.targets.rows.next(cx, BATCH).await? {
            let mut out = Vec::new();
            for mut row in rows {
                let (place, recheck) = ((plan.key, mode), plan.recheck.as_ref());
                let Some(key) = self.targets.lock(cx, relation, place, recheck, &mut row).await? else {
                    continue;
                };
                let mut new = row.get(..relation.columns.len()).unwrap_or_default().to_vec();
                assign(cx, &plan.assignments, &row, &mut self.deferred, &mut new).await?;
                check_row(cx, &plan.target, &new)?;
                let old = row.get(..relation.columns.len()).unwrap_or_default();
                replace(cx, relation, key, old, &new, plan.moves).await?;
                cx.affected += 1;
                if let Some(returning) = &plan.returning {
                    new.extend(row.into_iter().skip(relation.columns.len()));
                    out.push(returned(cx, returning, &mut self.returning_deferred, &new).await?);
                }
            }
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
        Ok(None)
    }
}

/// Puts the values of SET into a row.
pub(super) async fn assign(
    cx: &mut Cx<'_>,
    assignments: &[(usize, Expr)],
    row: &[Datum],
    deferred: &mut DeferredState,
    new: &mut [Datum],
) -> Result<()> {
    if deferred.is_empty() {
        return assign_plainly(cx, assignments, row, new);
    }
    let values = deferred
        .run(cx, row, |eval| assignments.iter().map(|(_, expr)| expr.eval(eval)).collect::<Result<Row>>());
    for ((at, _), value) in assignments.iter().zip(values.await?) {
        if let Some(place) = new.get_mut(*at) {
            *place = value;
        }
    }
    Ok(())
}

/// The same without subqueries.
pub(super) fn assign_plainly(
    cx: &Cx<'_>,
    assignments: &[(usize, Expr)],
    row: &[Datum],
    new: &mut [Datum],
) -> Result<()> {
    let eval = cx.eval(row, &[]);
    for (at, expr) in assignments {
        let value = expr.eval(&eval)?;
        if let Some(place) = new.get_mut(*at) {
            *place = value;
        }
    }
    Ok(())
}

/// A running DELETE.
pub(super) struct Delete {
    plan: Arc<DeletePlan>,
    targets: Targets,
    returning_deferred: DeferredState,
}

impl Delete {
    pub(super) fn new(plan: Arc<DeletePlan>) -> Self {
        Self {
            targets: Targets::new(&plan.input, &plan.target, &plan.recheck_deferred),
            returning_deferred: returning_deferred(plan.returning.as_ref()),
            plan,
        }
    }
}

impl Operator for Delete {
    async fn step(&mut self, cx: &mut Cx<'_>, _want: usize) -> Result<Option<Vec<Row>>> {
        let plan = self.plan.clone();
        let relation = &plan.target.relation;
        while let Some(rows) = self.targets.rows.next(cx, BATCH).await? {
            let mut out = Vec::new();
            for mut row in rows {
                let (place, recheck) = ((plan.key, LockMode::Exclusive), plan.recheck.as_ref());
                let Some(key) = self.targets.lock(cx, relation, place, recheck, &mut row).await? else {
                    continue;
                };
                delete(cx, relation, key, &row).await?;
                cx.affected += 1;
                if let Some(returning) = &plan.returning {
                    out.push(returned(cx, returning, &mut self.returning_deferred, &row).await?);
                }
            }
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
        Ok(None)
    }
}

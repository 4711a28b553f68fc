//! INSERT, with ON CONFLICT.

use super::change::{assign, check_row, replace, returned, returning_slots};
use super::lock::lock_new_key;
use super::slots::SlotState;
use super::{BATCH, Cx, Exec, Operator, Row, build, row};
use crate::error::{Result, SqlError, sqlstate};
use crate::plan::{ConflictPlan, InsertPlan, Slots, Target};
use bytes::Bytes;
use datum::Datum;
use std::sync::Arc;
use storage::Isolation;

/// A running INSERT.
pub(super) struct Insert {
    plan: Arc<InsertPlan>,
    input: Exec,
    conflict_slots: SlotState,
    returning_slots: SlotState,
}

/// What became of a row.
pub(super) enum Outcome {
    /// It is there, or what the conflict made of the one that was.
    Written(Row),
    /// ON CONFLICT left things as they were.
    Left,
}

impl Insert {
    pub(super) fn new(plan: Arc<InsertPlan>) -> Self {
        let conflict_slots = match &plan.conflict {
            Some(ConflictPlan::Update { slots, .. }) => slots.clone(),
            _ => Slots::default(),
        };
        Self {
            input: build(&plan.input),
            conflict_slots: SlotState::new(conflict_slots),
            returning_slots: returning_slots(plan.returning.as_ref()),
            plan,
        }
    }
}

impl Operator for Insert {
    async fn step(&mut self, cx: &mut Cx<'_>, _want: usize) -> Result<Option<Vec<Row>>> {
        let plan = self.plan.clone();
        while let Some(rows) = self.input.next(cx, BATCH).await? {
            let mut out = Vec::new();
            for input in rows {
                let eval = cx.eval(&input, &[]);
                let new = plan.values.iter().map(|expr| expr.eval(&eval)).collect::<Result<Row>>()?;
                let outcome =
                    insert_row(cx, &plan.target, new, plan.conflict.as_ref(), &mut self.conflict_slots)
                        .await?;
                let Outcome::Written(new) = outcome else { continue };
                cx.affected += 1;
                if let Some(returning) = &plan.returning {
                    out.push(returned(cx, returning, &mut self.returning_slots, &new).await?);
                }
            }
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
        Ok(None)
    }
}

/// Inserts one row, or does what ON CONFLICT says.
pub(super) async fn insert_row(
    cx: &mut Cx<'_>,
    target: &Target,
    new: Row,
    conflict: Option<&ConflictPlan>,
    slots: &mut SlotState,
) -> Result<Outcome> {
    let relation = &target.relation;
    check_row(cx, target, &new)?;
    if relation.primary_key.is_none() {
        let value = row::encode_value(relation, &new)?;
        let appended = cx.transaction.append(relation.tree, value).await;
        cx.storage(appended)?;
        return Ok(Outcome::Written(new));
    }
    let mut key = Vec::with_capacity(16);
    row::encode_key(relation, &new, &mut key)?;
    if matches!(conflict, Some(ConflictPlan::Nothing)) {
        // A row that is seen already needs no lock.
        let seen = cx.transaction.get(relation.tree, &key).await;
        if cx.storage(seen)?.is_some() {
            return Ok(Outcome::Left);
        }
    }
    let locked = lock_new_key(cx, relation, &key).await?;
    let Some(newest) = locked.newest else {
        let value = row::encode_value(relation, &new)?;
        let put = cx.transaction.put(relation.tree, key, value);
        cx.storage(put)?;
        return Ok(Outcome::Written(new));
    };
    let unseen = locked.changed_since_snapshot && cx.transaction.isolation() == Isolation::RepeatableRead;
    match conflict {
        Some(_) if unseen => cx.storage(Err(storage::Error::SerializationFailure { deleted: false })),
        None => Err(row::unique_violation(relation, &new)),
        Some(ConflictPlan::Nothing) => Ok(Outcome::Left),
        Some(ConflictPlan::Update { .. }) if locked.written_by_this_statement => Err(SqlError::new(
            sqlstate::CARDINALITY_VIOLATION,
            "ON CONFLICT DO UPDATE command cannot affect row a second time",
        )
        .with_hint(
            "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
        )),
        Some(ConflictPlan::Update { assignments, condition, .. }) => {
            let needed: Vec<usize> = relation.live_columns().map(|(at, _)| at).collect();
            let mut both = row::decode(relation, &needed, &key, &newest)?;
            both.extend(new);
            if let Some(condition) = condition
                && !slots.run(cx, &both, |eval| condition.eval_condition(eval)).await?
            {
                return Ok(Outcome::Left);
            }
            let mut changed: Row = both.get(..relation.columns.len()).unwrap_or_default().to_vec();
            assign(cx, assignments, &both, slots, &mut changed).await?;
            check_row(cx, target, &changed)?;
            let moves = moves_key(target, assignments.iter().map(|(at, _)| *at));
            replace(cx, relation, Bytes::from(key), &changed, moves).await?;
            Ok(Outcome::Written(changed))
        }
    }
}

/// Whether any of these columns belongs to the primary key.
fn moves_key(target: &Target, mut assigned: impl Iterator<Item = usize>) -> bool {
    let key: &[usize] = target.relation.primary_key.as_ref().map_or(&[], |key| &key.columns);
    assigned.any(|at| key.contains(&at))
}

/// Rows of values for COPY: no defaults are left to compute.
pub(crate) async fn copy_row(cx: &mut Cx<'_>, target: &Target, new: Vec<Datum>) -> Result<()> {
    let mut slots = SlotState::new(Slots::default());
    insert_row(cx, target, new, None, &mut slots).await?;
    cx.affected += 1;
    Ok(())
}

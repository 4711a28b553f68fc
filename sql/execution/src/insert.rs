//! INSERT, with ON CONFLICT.

use super::change::{assign, check_row, replace, returned, returning_deferred};
use super::deferred::DeferredState;
use super::index::Conflict;
use super::lock::{is_settled, lock_new_key};
use super::{Cx, Exec, Operator, Row, build, index, row, violation};
use bytes::Bytes;
use smallvec::SmallVec;
use sql_catalogue::Relation;
use sql_interface::{Result, SqlError};
use sql_language::expr::Expr;
use sql_language::plan::{
    Arbiter, BATCH, ConflictAction, ConflictPlan, DeferredValues, InsertPlan, ModifiedTable,
};
use sql_types::Datum;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::{LockMode, LockWait, RowBatch};

/// A running INSERT.
pub(super) struct Insert {
    plan: Arc<InsertPlan>,
    input: Exec,
    value_deferred: DeferredState,
    conflict_slots: DeferredState,
    returning_deferred: DeferredState,
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
            Some(ConflictPlan { action: ConflictAction::Update { deferred, .. }, .. }) => deferred.clone(),
            _ => DeferredValues::default(),
        };
        Self {
            input: build(&plan.input),
            value_deferred: DeferredState::new(plan.deferred.clone()),
            conflict_slots: DeferredState::new(conflict_slots),
            returning_deferred: returning_deferred(plan.returning.as_ref()),
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
                let new = values(cx, &plan.values, &mut self.value_deferred, &input).await?;
                let outcome =
                    insert_row(cx, &plan.target, new, plan.conflict.as_ref(), &mut self.conflict_slots)
                        .await?;
                let Outcome::Written(new) = outcome else { continue };
                cx.affected += 1;
                if let Some(returning) = &plan.returning {
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

/// The values of a new row.
pub(super) async fn values(
    cx: &mut Cx<'_>,
    exprs: &[Expr],
    deferred: &mut DeferredState,
    input: &[Datum],
) -> Result<Row> {
    if deferred.is_empty() {
        let (eval, mut row) = (cx.eval(input, &[]), Row::with_capacity(exprs.len()));
        for expr in exprs {
            row.push(expr.eval(&eval)?);
        }
        return Ok(row);
    }
    deferred.run(cx, input, |eval| exprs.iter().map(|expr| expr.eval(eval)).collect()).await
}

/// Inserts one row, or does what ON CONFLICT says.
pub(super) async fn insert_row(
    cx: &mut Cx<'_>,
    target: &ModifiedTable,
    new: Row,
    conflict: Option<&ConflictPlan>,
    deferred: &mut DeferredState,
) -> Result<Outcome> {
    let relation = &target.relation;
    check_row(cx, target, &new)?;
    let key = match &relation.primary_key {
        Some(_) => cx.encoded(|out| row::encode_key(relation, &new, out))?,
        None if relation.indexes.is_empty() => {
            let value = cx.encoded(|out| row::append_value(relation, &new, out))?;
            let appended = cx.transaction.append(relation.tree, value).await;
            cx.storage(appended)?;
            return Ok(Outcome::Written(new));
        }
        None => {
            let number = cx.transaction.next_row_number(relation.tree).await;
            Bytes::copy_from_slice(&cx.storage(number)?.to_be_bytes())
        }
    };
    if let Some(plan) = conflict
        && let Some(found) = find_or_lock_keys(cx, relation, plan, &new, &key).await?
    {
        return resolve(cx, target, &plan.action, found, new, deferred).await;
    }
    let value = cx.encoded(|out| row::append_value(relation, &new, out))?;
    if relation.primary_key.is_none() {
        let room = cx.transaction.make_room().await;
        cx.storage(room)?;
        let put = cx.transaction.put_guarded(relation.tree, key.clone(), value);
        cx.storage(put)?;
    } else {
        // With ON CONFLICT it has been looked at.
        if conflict.is_none() && lock_new_key(cx, relation.tree, &key).await?.newest.is_some() {
            return Err(violation::same_primary_key(cx.facts, relation, &new));
        }
        if relation.indexes.is_empty() {
            let put = cx.transaction.put(relation.tree, key, value);
            cx.storage(put)?;
            return Ok(Outcome::Written(new));
        }
        let put = cx.transaction.put(relation.tree, key.clone(), value);
        cx.storage(put)?;
    }
    index::add_row(cx, relation, &new, &key).await?;
    Ok(Outcome::Written(new))
}

/// Finds the row that is in the way of a new one; if there is none, the keys that ON CONFLICT is about are
/// locked, and so is the primary key; 23505 if another row has that.
async fn find_or_lock_keys(
    cx: &mut Cx<'_>,
    relation: &Relation,
    plan: &ConflictPlan,
    new: &[Datum],
    key: &[u8],
) -> Result<Option<Conflict>> {
    loop {
        let before = cx.transaction.lock_mark();
        let found = find_conflict(cx, relation, plan, new, key).await?;
        if found.is_some() || relation.primary_key.is_none() || plan.arbiters.contains(&Arbiter::Primary) {
            return Ok(found);
        }
        let tried =
            cx.transaction.lock_newest(relation.tree, key, LockMode::Exclusive, LockWait::NoWait).await;
        let (locked, waited) = match tried {
            Err(storage::Error::LockNotAvailable { timed_out: false }) => {
                // Who has it may want the entries that were found free: rows come before entries.
                cx.transaction.release_locks_after(before);
                (lock_new_key(cx, relation.tree, key).await?, true)
            }
            locked => (cx.storage(locked)?, false),
        };
        if locked.newest.is_some() {
            return Err(violation::same_primary_key(cx.facts, relation, new));
        }
        // Under the key the entries are waited for in their order. What came into the way meanwhile is met
        // without it, as by who came later.
        if !waited || find_conflict(cx, relation, plan, new, key).await?.is_none() {
            return Ok(None);
        }
        cx.transaction.release_locks_after(before);
    }
}

/// Looks for a row that is in the way of a new one, under the keys that ON CONFLICT is about.
async fn find_conflict(
    cx: &mut Cx<'_>,
    relation: &Relation,
    plan: &ConflictPlan,
    new: &[Datum],
    key: &[u8],
) -> Result<Option<Conflict>> {
    let locking = !matches!(plan.action, ConflictAction::Nothing);
    let before = cx.transaction.lock_mark();
    for arbiter in &plan.arbiters {
        let found = match arbiter {
            Arbiter::Primary => find_by_primary_key(cx, relation, key, locking).await?,
            Arbiter::Index(at) => match relation.indexes.get(*at) {
                Some(index) => index::find_conflict(cx, relation, index, (new, key), locking).await?,
                None => return Err(SqlError::internal("an index is gone")),
            },
        };
        if found.is_some() {
            if !locking {
                // The keys that are free are not to be inserted.
                cx.transaction.release_locks_after(before);
            }
            return Ok(found);
        }
    }
    Ok(None)
}

async fn find_by_primary_key(
    cx: &mut Cx<'_>,
    relation: &Relation,
    key: &[u8],
    locking: bool,
) -> Result<Option<Conflict>> {
    let conflict = |newest, written_since_read| Conflict {
        key: Bytes::copy_from_slice(key),
        newest,
        written_since_read,
    };
    if !locking {
        // A row that is seen already, and stays, needs no lock.
        let seen = cx.transaction.get(relation.tree, key).await;
        if let Some(seen) = cx.storage(seen)?
            && is_settled(cx, relation.tree, key).await?
        {
            index::refuse_changed(cx, relation, key).await?;
            return Ok(Some(conflict(seen, false)));
        }
    }
    let locked = lock_new_key(cx, relation.tree, key).await?;
    index::refuse_unseen(cx, &locked)?;
    Ok(locked.newest.map(|newest| conflict(newest, locked.written_since_read)))
}

/// Does what ON CONFLICT says with the row that is in the way.
async fn resolve(
    cx: &mut Cx<'_>,
    target: &ModifiedTable,
    action: &ConflictAction,
    found: Conflict,
    new: Row,
    deferred: &mut DeferredState,
) -> Result<Outcome> {
    let relation = &target.relation;
    let ConflictAction::Update { assignments, condition, .. } = action else { return Ok(Outcome::Left) };
    if found.written_since_read {
        return Err(SqlError::new(
            SqlState::CARDINALITY_VIOLATION,
            "ON CONFLICT DO UPDATE command cannot affect row a second time",
        )
        .with_hint(
            "Ensure that no rows proposed for insertion within the same command have duplicate constrained values.",
        ));
    }
    let needed: SmallVec<[usize; 8]> = relation.live_columns().map(|(at, _)| at).collect();
    let mut both = row::nulls(relation, relation.columns.len() + new.len());
    row::decode_into(relation, &needed, &found.key, &found.newest, &mut both)?;
    both.extend(new);
    if let Some(condition) = condition
        && !deferred.run(cx, &both, |eval| condition.eval_condition(eval)).await?
    {
        return Ok(Outcome::Left);
    }
    let old = both.get(..relation.columns.len()).unwrap_or_default();
    let mut changed: Row = old.to_vec();
    assign(cx, assignments, &both, deferred, &mut changed).await?;
    check_row(cx, target, &changed)?;
    let moves = moves_key(target, assignments.iter().map(|(at, _)| *at));
    replace(cx, relation, found.key, old, &changed, moves).await?;
    Ok(Outcome::Written(changed))
}

/// Whether any of these columns belongs to the primary key.
fn moves_key(target: &ModifiedTable, mut assigned: impl Iterator<Item = usize>) -> bool {
    let key: &[usize] = target.relation.primary_key.as_ref().map_or(&[], |key| &key.columns);
    assigned.any(|at| key.contains(&at))
}

/// Rows of values for COPY: no defaults are left to compute.
///
/// # Errors
///
/// 23514, 23502, 23505, and what storage fails with.
pub async fn copy_row(cx: &mut Cx<'_>, target: &ModifiedTable, new: Row) -> Result<()> {
    let mut deferred = DeferredState::new(DeferredValues::default());
    insert_row(cx, target, new, None, &mut deferred).await.map(drop)
}

/// Whether rows for this table may be collected and inserted many at once: each is one version in one tree.
#[inline]
pub fn takes_batches(relation: &Relation) -> bool {
    relation.indexes.is_empty()
}

/// Adds a checked row to a batch; `line` is where it came from.
///
/// # Errors
///
/// 23514, 23502, and a value that no row can hold.
pub async fn batch_row(
    cx: &mut Cx<'_>,
    target: &ModifiedTable,
    batch: &mut RowBatch,
    line: u64,
    new: &[Datum],
) -> Result<()> {
    let relation = &target.relation;
    check_row(cx, target, new)?;
    let value = |out: &mut Vec<u8>| row::append_value(relation, new, out);
    if relation.primary_key.is_some() {
        return batch.push(line, |out| row::encode_key(relation, new, out), value);
    }
    let number = cx.transaction.next_row_number(relation.tree).await;
    let number = cx.storage(number)?.to_be_bytes();
    let key = |out: &mut Vec<u8>| {
        out.extend_from_slice(&number);
        Ok(())
    };
    batch.push(line, key, value)
}

/// Inserts the rows of a batch and empties it. An error comes with the line of its row, if it is about one.
///
/// # Errors
///
/// 23505, and what storage fails with.
pub async fn insert_batch(
    cx: &mut Cx<'_>,
    target: &ModifiedTable,
    batch: &mut RowBatch,
) -> std::result::Result<(), (Option<u64>, SqlError)> {
    let relation = &target.relation;
    let direct = cx.transaction.insert_direct(relation.tree, batch).await;
    cx.storage(direct).map_err(|error| (None, error))?;
    for (key, value, line) in batch.rows() {
        insert_encoded(cx, relation, key, value).await.map_err(|error| (Some(line), error))?;
    }
    batch.clear();
    Ok(())
}

/// Inserts one row of a table without indexes.
async fn insert_encoded(cx: &mut Cx<'_>, relation: &Relation, key: &[u8], value: &[u8]) -> Result<()> {
    let (tree, owned) = (relation.tree, Bytes::copy_from_slice(key));
    let put = if relation.primary_key.is_some() {
        if lock_new_key(cx, tree, key).await?.newest.is_some() {
            let columns: Vec<usize> = relation.live_columns().map(|(at, _)| at).collect();
            let new = row::decode(relation, &columns, key, value)?;
            return Err(violation::same_primary_key(cx.facts, relation, &new));
        }
        cx.transaction.put(tree, owned, Bytes::copy_from_slice(value))
    } else {
        let room = cx.transaction.make_room().await;
        cx.storage(room)?;
        cx.transaction.put_guarded(tree, owned, Bytes::copy_from_slice(value))
    };
    cx.storage(put)
}

/// Puts the defaults of the columns that a line of COPY does not have into a new row.
///
/// # Errors
///
/// What the defaults fail with.
pub async fn default_values(
    cx: &mut Cx<'_>,
    defaults: &[(usize, Expr)],
    deferred: &mut DeferredState,
    new: &mut [Datum],
) -> Result<()> {
    assign(cx, defaults, &[], deferred, new).await
}

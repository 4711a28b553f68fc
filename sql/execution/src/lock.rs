//! Row locks: taking one, and looking at what the row has become meanwhile.

use super::deferred::DeferredState;
use super::{Cx, Exec, Operator, Row, build, out_of_memory, row};
use bytes::Bytes;
use sql_catalogue::Relation;
use sql_interface::{Result, SqlError};
use sql_language::expr::Expr;
use sql_language::plan::{JoinCheck, LockPlan, RowWait};
use sql_types::Datum;
use sqlstate::SqlState;
use std::sync::Arc;
use storage::{LockMode, LockWait, Locked, TreeId};

/// Locks a row and gives its newest version.
pub(super) async fn lock_row(
    cx: &mut Cx<'_>,
    relation: &Relation,
    key: &[u8],
    mode: LockMode,
    wait: LockWait,
) -> Result<Locked> {
    match cx.transaction.lock(relation.tree, key, mode, wait).await {
        Err(storage::Error::LockNotAvailable { timed_out: false }) => Err(SqlError::new(
            SqlState::LOCK_NOT_AVAILABLE,
            format!("could not obtain lock on row in relation \"{}\"", relation.name),
        )),
        other => cx.storage(other),
    }
}

/// Locks a key for a new row or a new entry of an index, in a tree of the table, and gives the newest version
/// under it, whoever wrote that and when.
pub(super) async fn lock_new_key(cx: &mut Cx<'_>, tree: TreeId, key: &[u8]) -> Result<Locked> {
    let wait = cx.lock_wait();
    let locked = cx.transaction.lock_newest(tree, key, LockMode::Exclusive, wait).await;
    cx.storage(locked)
}

/// Whether a key that is seen is there to stay, as far as those go who may delete it now. Leaves no lock.
pub(super) async fn is_settled(cx: &mut Cx<'_>, tree: TreeId, key: &[u8]) -> Result<bool> {
    let wait = cx.lock_wait();
    let settled = cx.transaction.settled(tree, key, wait).await;
    Ok(cx.storage(settled)?.newest.is_some())
}

/// The key that a scan put into a row; None where an outer join found no row.
pub(super) fn key_of(row: &[Datum], at: usize) -> Option<Bytes> {
    match row.get(at) {
        Some(Datum::Bytea(key)) => Some(Bytes::copy_from_slice(key)),
        _ => None,
    }
}

/// What is looked at again in a row that has changed: conditions of joins, then that of WHERE.
pub(super) struct Recheck<'a> {
    pub(super) joins: &'a [JoinCheck],
    pub(super) condition: Option<&'a Expr>,
    pub(super) deferred: &'a mut DeferredState,
}

/// Locks the row of a table that stands at `start` in `row`, and brings its columns up to date. False if the
/// row is gone, no longer meets the conditions, or was skipped.
pub(super) async fn lock_and_recheck(
    cx: &mut Cx<'_>,
    relation: &Relation,
    (start, key, mode, wait): (usize, &[u8], LockMode, LockWait),
    row: &mut Row,
    needed: &[usize],
    recheck: Recheck<'_>,
) -> Result<bool> {
    let before = cx.transaction.lock_mark();
    let locked = lock_row(cx, relation, key, mode, wait).await?;
    if locked.skipped || locked.written_since_read {
        return Ok(false);
    }
    let Some(newest) = locked.newest else {
        // Who inserts a row of this key does not wait for one that found none.
        cx.transaction.release_locks_after(before);
        return Ok(false);
    };
    if !locked.changed_since_snapshot {
        return Ok(true);
    }
    let end = start + relation.columns.len();
    let Some(columns) = row.get_mut(start..end) else { return Err(SqlError::internal("a row is too short")) };
    row::decode_into(relation, needed, key, &newest, columns)?;
    for JoinCheck { condition, missing } in recheck.joins {
        if condition.eval_condition(&cx.eval(row, &[]))? {
            continue;
        }
        let Some(columns) = missing else { return Ok(false) };
        row.get_mut(columns.clone()).unwrap_or_default().fill(Datum::Null);
    }
    let Some(condition) = recheck.condition else { return Ok(true) };
    recheck.deferred.run(cx, row, |eval| condition.eval_condition(eval)).await
}

/// SELECT ... FOR UPDATE and its kin.
pub(super) struct Lock {
    plan: Arc<LockPlan>,
    input: Exec,
    deferred: DeferredState,
}

impl Lock {
    pub(super) fn new(plan: Arc<LockPlan>) -> Self {
        let (input, deferred) = (build(&plan.input), DeferredState::new(plan.deferred.clone()));
        Self { plan, input, deferred }
    }
}

impl Operator for Lock {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        while let Some(rows) = self.input.next(cx, want).await? {
            let mut out = Vec::with_capacity(rows.len());
            'rows: for mut row in rows {
                for target in &self.plan.targets {
                    let Some(key) = key_of(&row, target.key) else { continue };
                    // Each lock is kept until the transaction ends.
                    if cx.canceller.is_out_of_memory() {
                        return Err(out_of_memory());
                    }
                    let wait = match target.wait {
                        RowWait::Wait => cx.lock_wait(),
                        RowWait::NoWait => LockWait::NoWait,
                        RowWait::SkipLocked => LockWait::Skip,
                    };
                    let kept = lock_and_recheck(
                        cx,
                        &target.relation,
                        (target.start, &key, target.mode, wait),
                        &mut row,
                        &target.needed,
                        Recheck {
                            joins: &self.plan.joins,
                            condition: self.plan.recheck.as_ref(),
                            deferred: &mut self.deferred,
                        },
                    )
                    .await?;
                    if !kept {
                        continue 'rows;
                    }
                }
                out.push(row);
            }
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
        Ok(None)
    }
}

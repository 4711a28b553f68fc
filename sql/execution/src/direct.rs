//! Statements on one row by its primary key, without operators in between.

use super::change::{self, assign_plainly, check_row, replace};
use super::deferred::DeferredState;
use super::insert::{self, Outcome, insert_row};
use super::lock::lock_row;
use super::row::{self, Fit};
use super::{Cx, Row};
use bytes::Bytes;
use sql_catalogue::Relation;
use sql_interface::{CommandTag, Result, RowSink};
use sql_language::expr::{Constant, Expr};
use sql_language::plan::{
    DeferredValues, Direct, DirectDelete, DirectGet, DirectInsert, DirectUpdate, Output,
};
use sql_types::key;
use storage::{Isolation, LockMode, LockWait};

/// Runs a direct statement to its end.
///
/// # Errors
///
/// What its expressions, its constraints and storage fail with.
pub async fn run(cx: &mut Cx<'_>, direct: &Direct, out: &mut dyn RowSink) -> Result<CommandTag> {
    match direct {
        Direct::Get(get) => get_row(cx, get, out).await.map(CommandTag::Select),
        Direct::Insert(insert) => insert_one(cx, insert).await.map(CommandTag::Insert),
        Direct::Update(update) => update_one(cx, update).await.map(CommandTag::Update),
        Direct::Delete(delete) => delete_one(cx, delete).await.map(CommandTag::Delete),
    }
}

/// The key's bytes and values; None if no row can have that key.
fn encode_key(
    cx: &Cx<'_>,
    relation: &Relation,
    exprs: &[Expr],
    values: Option<&mut Row>,
) -> Result<Option<Vec<u8>>> {
    let mut key = Vec::with_capacity(24);
    let mut values = values;
    for (column, expr) in relation.layout.key.iter().zip(exprs) {
        let value = match expr {
            Expr::Param { index, .. } => cx.params.get(*index).cloned().unwrap_or_default(),
            Expr::Const(Constant(value), _) => value.clone(),
            other => other.eval(&cx.eval(&[], &[]))?,
        };
        let Fit::Value(value) = row::fit(value, column.id) else { return Ok(None) };
        key::encode(*column, &value, &mut key)?;
        if let Some(values) = values.as_deref_mut() {
            values.push(value);
        }
    }
    Ok(Some(key))
}

async fn get_row(cx: &mut Cx<'_>, get: &DirectGet, out: &mut dyn RowSink) -> Result<u64> {
    let relation = &*get.relation;
    let shows_key = get.outputs.iter().any(|output| matches!(output, Output::Key(_)));
    let mut key_values = Row::new();
    let Some(key) = encode_key(cx, relation, &get.key, shows_key.then_some(&mut key_values))? else {
        return Ok(0);
    };
    let found = cx.transaction.get(relation.tree, &key).await;
    let Some(value) = cx.storage(found)? else { return Ok(0) };
    let whole =
        if get.needed.is_empty() { Row::new() } else { row::decode(relation, &get.needed, &key, &value)? };
    let stored = relation.layout.row.read(&value)?;
    let mut result = Row::with_capacity(get.outputs.len());
    for output in &get.outputs {
        result.push(match output {
            Output::Row { place, .. } if *place < stored.written_columns() => stored.get(*place)?,
            Output::Row { column, .. } => relation.layout.missing.get(*column).cloned().unwrap_or_default(),
            Output::Key(place) => key_values.get(*place).cloned().unwrap_or_default(),
            Output::Expr(expr) => expr.eval(&cx.eval(&whole, &[]))?,
        });
    }
    out.row(&result)?;
    Ok(1)
}

/// Whether the statement's snapshot has a row with this key.
async fn is_seen(cx: &mut Cx<'_>, relation: &Relation, key: &[u8]) -> Result<bool> {
    let seen = cx.transaction.get(relation.tree, key).await;
    Ok(cx.storage(seen)?.is_some())
}

/// Locks the row with this key and gives its newest version. None if the statement sees no such row: then
/// there is no lock either, and nobody who inserts one is waited for.
async fn lock_seen(
    cx: &mut Cx<'_>,
    relation: &Relation,
    key: &[u8],
    mode: LockMode,
) -> Result<Option<Bytes>> {
    let before = cx.transaction.lock_mark();
    // Under READ COMMITTED most rows are had at once, as the snapshot shows them. Under REPEATABLE READ what
    // it does not show is not there, rather than a conflict.
    let at_once = if cx.transaction.isolation() == Isolation::ReadCommitted {
        match cx.transaction.lock(relation.tree, key, mode, LockWait::NoWait).await {
            Err(storage::Error::LockNotAvailable { timed_out: false }) => None,
            locked => Some(cx.storage(locked)?),
        }
    } else {
        None
    };
    let (newest, is_known) = match at_once {
        Some(locked) => (locked.newest, !locked.changed_since_snapshot),
        None if !is_seen(cx, relation, key).await? => return Ok(None),
        None => {
            let wait = cx.lock_wait();
            (lock_row(cx, relation, key, mode, wait).await?.newest, true)
        }
    };
    if newest.is_none() || !(is_known || is_seen(cx, relation, key).await?) {
        cx.transaction.release_locks_after(before);
        return Ok(None);
    }
    Ok(newest)
}

async fn update_one(cx: &mut Cx<'_>, update: &DirectUpdate) -> Result<u64> {
    let relation = &*update.plan.target.relation;
    let Some(key) = encode_key(cx, relation, &update.key, None)? else { return Ok(0) };
    let Some(newest) = lock_seen(cx, relation, &key, LockMode::NoKeyExclusive).await? else { return Ok(0) };
    let old = row::decode(relation, &update.needed, &key, &newest)?;
    let mut new = old.clone();
    assign_plainly(cx, &update.plan.assignments, &old, &mut new)?;
    check_row(cx, &update.plan.target, &new)?;
    replace(cx, relation, Bytes::from(key), &old, &new, false).await?;
    Ok(1)
}

async fn delete_one(cx: &mut Cx<'_>, delete: &DirectDelete) -> Result<u64> {
    let relation = &*delete.plan.target.relation;
    let Some(key) = encode_key(cx, relation, &delete.key, None)? else { return Ok(0) };
    let Some(newest) = lock_seen(cx, relation, &key, LockMode::Exclusive).await? else { return Ok(0) };
    let old = if relation.indexes.is_empty() {
        Row::new()
    } else {
        let needed: Vec<usize> = relation.live_columns().map(|(at, _)| at).collect();
        row::decode(relation, &needed, &key, &newest)?
    };
    change::delete(cx, relation, Bytes::from(key), &old).await?;
    Ok(1)
}

async fn insert_one(cx: &mut Cx<'_>, insert: &DirectInsert) -> Result<u64> {
    let plan = &insert.plan;
    let mut value_deferred = DeferredState::new(plan.deferred.clone());
    let new = insert::values(cx, &insert.values, &mut value_deferred, &[]).await?;
    let mut deferred = DeferredState::new(DeferredValues::default());
    match insert_row(cx, &plan.target, new, plan.conflict.as_ref(), &mut deferred).await? {
        Outcome::Written(_) => Ok(1),
        Outcome::Left => Ok(0),
    }
}

//! Reading a table: by key, by a range of keys, or all of it.

use super::{BATCH, Cx, Operator, Row, row};
use crate::error::Result;
use crate::expr::Expr;
use crate::plan::{RangePlan, ScanPlan};
use bytes::Bytes;
use datum::{Datum, key};
use std::sync::Arc;
use storage::{KeyRange, Scan};

/// A running scan.
pub(super) struct ScanExec {
    plan: Arc<ScanPlan>,
    state: State,
}

enum State {
    Start,
    Range { scan: Box<Scan>, raw: Vec<(Bytes, Bytes)>, rounds: u32 },
    Points(std::vec::IntoIter<Vec<u8>>),
    End,
}

/// Where a scan looks.
pub(super) enum Keys {
    Nothing,
    Range(KeyRange),
    Points(Vec<Vec<u8>>),
}

impl ScanExec {
    pub(super) fn new(plan: Arc<ScanPlan>) -> Self {
        Self { plan, state: State::Start }
    }

    /// Decodes a stored row and asks the filter.
    fn take(plan: &ScanPlan, cx: &Cx<'_>, key: &Bytes, value: &Bytes) -> Result<Option<Row>> {
        let mut row = row::decode(&plan.relation, &plan.needed, key, value)?;
        if !plan.filter.is_empty() {
            let eval = cx.eval(&row, &[]);
            for condition in &plan.filter {
                if !condition.eval_condition(&eval)? {
                    return Ok(None);
                }
            }
        }
        if plan.emit_key {
            row.push(Datum::Bytea(Arc::from(&key[..])));
        }
        Ok(Some(row))
    }
}

impl Operator for ScanExec {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        let plan = self.plan.clone();
        let tree = plan.relation.tree;
        if matches!(self.state, State::Start) {
            self.state = match keys(cx, &plan)? {
                Keys::Nothing => State::End,
                Keys::Range(range) => {
                    let scan = Box::new(cx.transaction.scan(tree, range, plan.direction));
                    State::Range { scan, raw: Vec::new(), rounds: 0 }
                }
                Keys::Points(points) => State::Points(points.into_iter()),
            };
        }
        let mut out = Vec::new();
        // A selective filter should not make for tiny reads: they grow while nothing passes.
        let mut size = want.clamp(1, BATCH);
        loop {
            let ended = match &mut self.state {
                State::Range { scan, raw, rounds } => {
                    raw.clear();
                    let more = scan.next_batch(cx.transaction, size, raw).await;
                    let more = cx.storage(more)?;
                    for (key, value) in raw.iter() {
                        if let Some(row) = Self::take(&plan, cx, key, value)? {
                            out.push(row);
                        }
                    }
                    *rounds += 1;
                    if rounds.is_multiple_of(16) {
                        cx.pause().await?;
                    } else {
                        cx.canceller.check()?;
                    }
                    !more
                }
                State::Points(points) => match points.next() {
                    Some(key) => {
                        let found = cx.transaction.get(tree, &key).await;
                        if let Some(value) = cx.storage(found)?
                            && let Some(row) = Self::take(&plan, cx, &Bytes::from(key), &value)?
                        {
                            out.push(row);
                        }
                        false
                    }
                    None => true,
                },
                State::Start | State::End => true,
            };
            if ended {
                self.state = State::End;
                return Ok(if out.is_empty() { None } else { Some(out) });
            }
            if out.len() >= want.clamp(1, BATCH)
                || (!out.is_empty() && matches!(self.state, State::Range { .. }))
            {
                return Ok(Some(out));
            }
            size = (size * 2).min(BATCH);
        }
    }
}

/// The value of a bound, of the key column's type.
fn bound_value(cx: &Cx<'_>, expr: &Expr, id: datum::TypeId) -> Result<row::Fit> {
    Ok(row::fit(expr.eval(&cx.eval(&[], &[]))?, id))
}

/// Works out the keys that a scan visits, with the values that its expressions have now.
pub(super) fn keys(cx: &Cx<'_>, plan: &ScanPlan) -> Result<Keys> {
    let RangePlan { equal, lower, upper, point, points } = &plan.range;
    let columns = &plan.relation.layout.key;
    if let (Some(values), Some(column)) = (points, columns.first()) {
        let mut all = Vec::with_capacity(values.len());
        for value in values {
            if let row::Fit::Value(value) = bound_value(cx, value, column.id)? {
                let mut key = Vec::new();
                key::encode(*column, &value, &mut key)?;
                all.push(key);
            }
        }
        all.sort_unstable();
        all.dedup();
        return Ok(Keys::Points(all));
    }
    let mut prefix = Vec::new();
    for (value, column) in equal.iter().zip(columns) {
        match bound_value(cx, value, column.id)? {
            row::Fit::Value(value) => key::encode(*column, &value, &mut prefix)?,
            row::Fit::Null | row::Fit::Below | row::Fit::Above => return Ok(Keys::Nothing),
        }
    }
    if *point {
        return Ok(Keys::Points(vec![prefix]));
    }
    let mut start = prefix.clone();
    let mut end = if prefix.is_empty() { None } else { key::after_prefix(&prefix) };
    let Some(column) = columns.get(equal.len()) else {
        return Ok(Keys::Range(range(start, end)));
    };
    if let Some((value, inclusive)) = lower {
        match bound_value(cx, value, column.id)? {
            row::Fit::Value(value) => {
                key::encode(*column, &value, &mut start)?;
                if !inclusive {
                    match key::after_prefix(&start) {
                        Some(after) => start = after,
                        None => return Ok(Keys::Nothing),
                    }
                }
            }
            row::Fit::Below => {}
            row::Fit::Above | row::Fit::Null => return Ok(Keys::Nothing),
        }
    }
    if let Some((value, inclusive)) = upper {
        match bound_value(cx, value, column.id)? {
            row::Fit::Value(value) => {
                let mut last = prefix;
                key::encode(*column, &value, &mut last)?;
                end = if *inclusive { key::after_prefix(&last) } else { Some(last) };
            }
            row::Fit::Above => {}
            row::Fit::Below | row::Fit::Null => return Ok(Keys::Nothing),
        }
    }
    if end.as_ref().is_some_and(|end| *end <= start) {
        return Ok(Keys::Nothing);
    }
    Ok(Keys::Range(range(start, end)))
}

fn range(start: Vec<u8>, end: Option<Vec<u8>>) -> KeyRange {
    match end {
        Some(end) => KeyRange::new(start, end),
        None => KeyRange::from(start),
    }
}

//! The simple operators: values, filter, projection, limit, distinct, set operations.

use super::deferred::DeferredState;
use super::{BATCH_BYTES, Budget, Cx, Exec, Operator, Row, build, heap_bytes, row_bytes};
use sql_interface::{Result, SqlError};
use sql_language::plan::{
    BATCH, DistinctPlan, FilterPlan, LimitPlan, ProjectPlan, SetKind, SetOperationPlan, ValuesPlan,
};
use sql_types::Datum;
use sqlstate::SqlState;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// One row without columns.
#[derive(Default)]
pub(super) struct Unit {
    done: bool,
}

impl Operator for Unit {
    async fn step(&mut self, _cx: &mut Cx<'_>, _want: usize) -> Result<Option<Vec<Row>>> {
        let first = !std::mem::replace(&mut self.done, true);
        Ok(first.then(|| vec![Vec::new()]))
    }
}

/// VALUES.
pub(super) struct Values {
    plan: Arc<ValuesPlan>,
    at: usize,
    deferred: DeferredState,
}

impl Values {
    pub(super) fn new(plan: Arc<ValuesPlan>) -> Self {
        let deferred = DeferredState::new(plan.deferred.clone());
        Self { plan, at: 0, deferred }
    }
}

impl Operator for Values {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        let mut out = Vec::new();
        let mut bytes = 0;
        while let Some(exprs) = self.plan.rows.get(self.at) {
            if out.len() >= want.clamp(1, BATCH) || bytes > BATCH_BYTES {
                break;
            }
            self.at += 1;
            let row: Row = if self.deferred.is_empty() {
                let eval = cx.eval(&[], &[]);
                exprs.iter().map(|expr| expr.eval(&eval)).collect::<Result<Row>>()?
            } else {
                self.deferred.run(cx, &[], |eval| exprs.iter().map(|expr| expr.eval(eval)).collect()).await?
            };
            bytes += heap_bytes(&row);
            out.push(row);
        }
        if out.len() >= BATCH {
            cx.pause().await?;
        } else {
            cx.canceller.check()?;
        }
        Ok(if out.is_empty() { None } else { Some(out) })
    }
}

/// Rows that came before their turn. An input may give more than it was asked for, and what is computed for a
/// row may do something: a number of a sequence is taken, a lock is taken.
#[derive(Default)]
struct Waiting(std::vec::IntoIter<Row>);

impl Waiting {
    /// The next rows, no more than wanted; None at the end.
    async fn next(&mut self, input: &mut Exec, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        let want = want.max(1);
        if self.0.len() == 0 {
            let Some(rows) = input.next(cx, want).await? else { return Ok(None) };
            if rows.len() <= want {
                return Ok(Some(rows));
            }
            self.0 = rows.into_iter();
        }
        Ok(Some(self.0.by_ref().take(want).collect()))
    }

    /// Takes the last of these rows back.
    fn put_back(&mut self, mut rows: Vec<Row>) {
        rows.extend(self.0.by_ref());
        self.0 = rows.into_iter();
    }
}

/// WHERE and HAVING.
pub(super) struct Filter {
    plan: Arc<FilterPlan>,
    input: Exec,
    deferred: DeferredState,
    waiting: Waiting,
}

impl Filter {
    pub(super) fn new(plan: Arc<FilterPlan>) -> Self {
        let (input, deferred) = (build(&plan.input), DeferredState::new(plan.deferred.clone()));
        Self { plan, input, deferred, waiting: Waiting::default() }
    }
}

impl Operator for Filter {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        while let Some(rows) = self.waiting.next(&mut self.input, cx, want).await? {
            let mut out = Vec::with_capacity(rows.len());
            for row in rows {
                if cx.is_due() {
                    cx.pause().await?;
                }
                let condition = &self.plan.condition;
                let fits = if self.deferred.is_empty() {
                    condition.eval_condition(&cx.eval(&row, &[]))?
                } else {
                    self.deferred.run(cx, &row, |eval| condition.eval_condition(eval)).await?
                };
                if fits {
                    out.push(row);
                }
            }
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
        Ok(None)
    }
}

/// A select list.
pub(super) struct Project {
    plan: Arc<ProjectPlan>,
    input: Exec,
    deferred: DeferredState,
    /// Among others, rows of a batch that was full of what was made of the ones before them.
    waiting: Waiting,
}

impl Project {
    pub(super) fn new(plan: Arc<ProjectPlan>) -> Self {
        let (input, deferred) = (build(&plan.input), DeferredState::new(plan.deferred.clone()));
        Self { plan, input, deferred, waiting: Waiting::default() }
    }
}

impl Operator for Project {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        let Some(mut rows) = self.waiting.next(&mut self.input, cx, want).await? else { return Ok(None) };
        let mut bytes = 0;
        for at in 0..rows.len() {
            if cx.is_due() {
                cx.pause().await?;
            }
            let Some(row) = rows.get_mut(at) else { break };
            let exprs = &self.plan.exprs;
            *row = if self.deferred.is_empty() {
                let eval = cx.eval(row, &[]);
                exprs.iter().map(|expr| expr.eval(&eval)).collect::<Result<Row>>()?
            } else {
                self.deferred.run(cx, row, |eval| exprs.iter().map(|expr| expr.eval(eval)).collect()).await?
            };
            bytes += heap_bytes(row);
            if bytes > BATCH_BYTES {
                cx.pause().await?;
                self.waiting.put_back(rows.split_off(at + 1));
                break;
            }
        }
        Ok(Some(rows))
    }
}

/// LIMIT and OFFSET.
pub(super) struct Limit {
    plan: Arc<LimitPlan>,
    input: Exec,
    deferred: DeferredState,
    /// Rows still to skip, rows still to give; None before the first call.
    left: Option<(u64, u64)>,
}

impl Limit {
    pub(super) fn new(plan: Arc<LimitPlan>) -> Self {
        let (input, deferred) = (build(&plan.input), DeferredState::new(plan.deferred.clone()));
        Self { plan, input, deferred, left: None }
    }
}

impl Operator for Limit {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        let (mut skip, mut give) = match self.left {
            Some(left) => left,
            None => {
                let LimitPlan { limit, offset, .. } = &*self.plan;
                let counts = self.deferred.run(cx, &[], |eval| {
                    let skip =
                        offset.as_ref().map(|expr| row_count(expr.eval(eval)?, "OFFSET")).transpose()?;
                    let give = limit.as_ref().map(|expr| row_count(expr.eval(eval)?, "LIMIT")).transpose()?;
                    Ok((skip.flatten().unwrap_or(0), give.flatten().unwrap_or(u64::MAX)))
                });
                counts.await?
            }
        };
        self.left = Some((skip, give));
        while give > 0 {
            let ask = usize::try_from(skip.saturating_add(give))
                .unwrap_or(usize::MAX)
                .min(want.saturating_add(usize::try_from(skip).unwrap_or(usize::MAX)));
            let Some(mut rows) = self.input.next(cx, ask.max(1)).await? else { break };
            let skipped = usize::try_from(skip).unwrap_or(usize::MAX).min(rows.len());
            rows.drain(..skipped);
            skip -= skipped as u64;
            rows.truncate(usize::try_from(give).unwrap_or(usize::MAX));
            give -= rows.len() as u64;
            self.left = Some((skip, give));
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }
}

/// The value of LIMIT or OFFSET; NULL is none.
pub(super) fn row_count(value: Datum, what: &str) -> Result<Option<u64>> {
    match value.as_i64() {
        None => Ok(None),
        Some(count) => u64::try_from(count).map(Some).map_err(|_| {
            let state = if what == "LIMIT" {
                SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE
            } else {
                SqlState::INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE
            };
            SqlError::new(state, format!("{what} must not be negative"))
        }),
    }
}

/// DISTINCT.
pub(super) struct Distinct {
    plan: Arc<DistinctPlan>,
    input: Exec,
    seen: HashSet<Row>,
    last: Option<Row>,
    budget: Budget,
}

impl Distinct {
    pub(super) fn new(plan: Arc<DistinctPlan>) -> Self {
        let input = build(&plan.input);
        Self { plan, input, seen: HashSet::new(), last: None, budget: Budget::default() }
    }
}

impl Operator for Distinct {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        while let Some(rows) = self.input.next(cx, want).await? {
            let mut out = Vec::new();
            for row in rows {
                let key: Row =
                    self.plan.columns.iter().map(|at| row.get(*at).cloned().unwrap_or_default()).collect();
                let new = if self.plan.sorted {
                    let new = self.last.as_ref() != Some(&key);
                    self.last = Some(key);
                    new
                } else {
                    let size = row_bytes(&key);
                    let new = self.seen.insert(key);
                    if new {
                        self.budget.add(cx, size)?;
                    }
                    new
                };
                if new {
                    out.push(row);
                }
            }
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
        Ok(None)
    }
}

/// UNION, INTERSECT, EXCEPT.
pub(super) struct SetOperation {
    plan: Arc<SetOperationPlan>,
    left: Exec,
    right: Exec,
    left_done: bool,
    /// UNION: rows given. INTERSECT, EXCEPT: how often each row is on the right, and whether it was given.
    seen: HashMap<Row, (u64, bool)>,
    right_read: bool,
    budget: Budget,
}

impl SetOperation {
    pub(super) fn new(plan: Arc<SetOperationPlan>) -> Self {
        let (left, right) = (build(&plan.left), build(&plan.right));
        Self {
            plan,
            left,
            right,
            left_done: false,
            seen: HashMap::new(),
            right_read: false,
            budget: Budget::default(),
        }
    }

    async fn union(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        loop {
            let side = if self.left_done { &mut self.right } else { &mut self.left };
            let Some(mut rows) = side.next(cx, want).await? else {
                if self.left_done {
                    return Ok(None);
                }
                self.left_done = true;
                continue;
            };
            if !self.plan.all {
                let mut new = Vec::new();
                for row in rows {
                    if !self.seen.contains_key(&row) {
                        self.budget.add(cx, row_bytes(&row))?;
                        self.seen.insert(row.clone(), (0, true));
                        new.push(row);
                    }
                }
                rows = new;
            }
            if !rows.is_empty() {
                return Ok(Some(rows));
            }
        }
    }

    async fn compare(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        if !self.right_read {
            self.right_read = true;
            while let Some(rows) = self.right.next(cx, BATCH).await? {
                for row in rows {
                    match self.seen.get_mut(&row) {
                        Some((count, _)) => *count += 1,
                        None => {
                            self.budget.add(cx, row_bytes(&row))?;
                            self.seen.insert(row, (1, false));
                        }
                    }
                }
            }
        }
        let intersect = self.plan.kind == SetKind::Intersect;
        while let Some(rows) = self.left.next(cx, want).await? {
            let mut out = Vec::new();
            for row in rows {
                let give = match (self.seen.get_mut(&row), self.plan.all) {
                    (Some((count, _)), true) if *count > 0 => {
                        *count -= 1;
                        intersect
                    }
                    (Some(_) | None, true) => !intersect,
                    (Some((count, given)), false) => {
                        let on_right = *count > 0;
                        on_right == intersect && !std::mem::replace(given, true)
                    }
                    (None, false) if intersect => false,
                    (None, false) => {
                        self.budget.add(cx, row_bytes(&row))?;
                        self.seen.insert(row.clone(), (0, true));
                        true
                    }
                };
                if give {
                    out.push(row);
                }
            }
            if !out.is_empty() {
                return Ok(Some(out));
            }
        }
        Ok(None)
    }
}

impl Operator for SetOperation {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        if self.plan.kind == SetKind::Union {
            self.union(cx, want).await
        } else {
            self.compare(cx, want).await
        }
    }
}

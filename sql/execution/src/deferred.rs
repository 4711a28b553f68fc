//! Values computed before a row's expressions: subqueries and functions that wait.

use super::partners::{Partners, Tie};
use super::{Budget, Cx, Exec, Row, build, collect, row_bytes};
use crate::advisory::Waits;
use sql_interface::{AdvisoryRequest, BoxFuture, NodeCall, Result, SqlError, stack};
use sql_language::expr::{EvalContext, Expr, Replay};
use sql_language::plan::{BATCH, DeferredSource, DeferredValues, Node, OfRow};
use sql_types::{Array, Datum, TypeId};
use sqlstate::SqlState;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// The deferred values of one running operator. Each is computed when an expression first reads it, so that
/// what CASE or COALESCE do not reach is not run.
pub struct DeferredState {
    deferred: DeferredValues,
    values: Vec<Option<Datum>>,
    /// What the comparisons of `= ANY (subquery)` and its kin look through.
    sets: Vec<Option<Candidates>>,
    /// What EXISTS looks through, by its place.
    partners: BTreeMap<usize, Partners>,
}

/// A subquery's values: in a hash, or to be gone through.
enum Candidates {
    Set {
        values: HashSet<Datum>,
        has_null: bool,
    },
    /// Rows of several values: those without NULLs, and the others.
    Tuples {
        whole: HashSet<Row>,
        partial: Vec<Row>,
    },
    Rows(Vec<Row>),
}

/// A value as it is hashed: integers as bigint, so that widths do not matter.
pub(super) fn hashed(value: Datum) -> Datum {
    value.as_i64().map_or(value, Datum::Int8)
}

impl DeferredState {
    /// None of the values is computed yet.
    pub fn new(deferred: DeferredValues) -> Self {
        let count = deferred.len();
        let sets = (0..count).map(|_| None).collect();
        Self { deferred, values: vec![None; count], sets, partners: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.deferred.is_empty()
    }

    /// Evaluates over a row; `work` is done again after each deferred value that it turned out to need.
    pub(crate) async fn run<T: Send>(
        &mut self,
        cx: &mut Cx<'_>,
        row: &[Datum],
        work: impl Fn(&EvalContext<'_>) -> Result<T> + Send + Sync,
    ) -> Result<T> {
        for ((slot, value), set) in self.deferred.iter().zip(&mut self.values).zip(&mut self.sets) {
            // A comparison belongs to its row even where the subquery does not.
            if slot.per_row || slot.source.compares() {
                *value = None;
            }
            if slot.per_row {
                *set = None;
            }
        }
        if self.deferred.is_empty() {
            return work(&cx.eval(row, &[]));
        }
        let replay = Replay::default();
        loop {
            let outcome = work(&cx.eval_again(row, &self.values, &replay));
            match outcome.as_ref().err().and_then(SqlError::needed_value) {
                // It takes 6 kB, which all operators would have in them, and move, row for row.
                Some(slot) => Box::pin(self.compute(cx, row, slot)).await?,
                None => return outcome,
            }
        }
    }

    /// Evaluates the arguments of a deferred value, which may need others.
    fn evaluate<'a, 'b: 'a>(
        &'a mut self,
        cx: &'a mut Cx<'b>,
        row: &'a [Datum],
        exprs: &'a [Expr],
    ) -> BoxFuture<'a, Result<Row>> {
        Box::pin(async move {
            let replay = Replay::default();
            loop {
                let outcome = {
                    let eval = cx.eval_again(row, &self.values, &replay);
                    exprs.iter().map(|expr| expr.eval(&eval)).collect::<Result<Row>>()
                };
                match outcome.as_ref().err().and_then(SqlError::needed_value) {
                    Some(slot) => self.compute(cx, row, slot).await?,
                    None => return outcome,
                }
            }
        })
    }

    /// Computes one deferred value for a row.
    async fn compute(&mut self, cx: &mut Cx<'_>, row: &[Datum], at: usize) -> Result<()> {
        stack::check()?;
        let deferred = self.deferred.clone();
        let Some(slot) = deferred.get(at) else { return Err(SqlError::internal("an unknown subquery")) };
        let value = match &slot.source {
            DeferredSource::Quantified { left, node, matches, all, hashable } => {
                let mut sides = self.evaluate(cx, row, left).await?;
                self.find_candidates(cx, row, at, node, *hashable).await?;
                match self.sets.get(at) {
                    Some(Some(candidates)) => candidates.quantify(cx, &mut sides, matches, *all).await?,
                    _ => Datum::Null,
                }
            }
            DeferredSource::Scalar(node) => scalar(cx, node, row).await?,
            DeferredSource::Array(node, element) => array(cx, node, *element, row).await?,
            DeferredSource::Exists(node) => exists(cx, node, row).await?,
            DeferredSource::Partner { left, node, keys, matches } => {
                let left = self.evaluate(cx, row, left).await?;
                let partners = self.partners.entry(at).or_insert_with(|| Partners::of(node));
                let tie = Tie { node, keys: *keys, matches };
                Datum::Bool(partners.has_one(cx, row, left, tie).await?)
            }
            DeferredSource::Call { function, strict, arguments, of_row } => {
                let values = self.evaluate(cx, row, arguments).await?;
                call(cx, *function, *strict, &values, *of_row).await?
            }
            DeferredSource::Sequence { function, arguments } => {
                let values = self.evaluate(cx, row, arguments).await?;
                let named = arguments.first().is_some_and(|argument| argument.is_const());
                super::sequence::call(cx, *function, &values, named).await?
            }
        };
        if let Some(place) = self.values.get_mut(at) {
            *place = Some(value);
        }
        Ok(())
    }

    /// Runs the subquery of a comparison, unless that was done and stays good.
    async fn find_candidates(
        &mut self,
        cx: &mut Cx<'_>,
        row: &[Datum],
        at: usize,
        node: &Node,
        hashable: bool,
    ) -> Result<()> {
        let Some(place) = self.sets.get_mut(at) else { return Ok(()) };
        if place.is_some() {
            return Ok(());
        }
        let rows = subquery_rows(cx, node, row, &mut Budget::default()).await?;
        let rows_are_wide = rows.first().is_some_and(|row| row.len() > 1);
        *place = Some(if hashable && rows_are_wide {
            let rows = rows.into_iter().map(|row| row.into_iter().map(hashed).collect::<Row>());
            let (partial, whole): (Vec<Row>, Vec<Row>) = rows.partition(|row| row.iter().any(Datum::is_null));
            Candidates::Tuples { whole: whole.into_iter().collect(), partial }
        } else if hashable {
            let has_null = rows.iter().any(|row| row.first().is_none_or(Datum::is_null));
            let firsts = rows.into_iter().filter_map(|row| row.into_iter().next());
            Candidates::Set {
                values: firsts.filter(|value| !value.is_null()).map(hashed).collect(),
                has_null,
            }
        } else {
            Candidates::Rows(rows)
        });
        Ok(())
    }
}

impl Candidates {
    /// `left op ANY/ALL (subquery)` with three-valued logic. `sides` holds the left values.
    async fn quantify(&self, cx: &mut Cx<'_>, sides: &mut Row, matches: &Expr, all: bool) -> Result<Datum> {
        match self {
            // `= ANY`; `<> ALL` is its opposite.
            Self::Set { values, has_null } => {
                let Some(value) = sides.first().cloned().map(hashed) else { return Ok(Datum::Null) };
                let found = if values.is_empty() && !has_null {
                    Some(false)
                } else if value.is_null() {
                    None
                } else if values.contains(&value) {
                    Some(true)
                } else if *has_null {
                    None
                } else {
                    Some(false)
                };
                Ok(found.map_or(Datum::Null, |found| Datum::Bool(found != all)))
            }
            Self::Tuples { whole, partial } => {
                sides.iter_mut().for_each(|value| *value = hashed(std::mem::take(value)));
                let found = if whole.contains(sides) {
                    Some(true)
                } else {
                    // Only with NULLs on a side is it unknown whether rows are equal.
                    let has_null = sides.iter().any(Datum::is_null);
                    let whole = whole.iter().filter(|_| has_null);
                    let unknown = may_equal(cx, sides, whole.chain(partial)).await?;
                    (!unknown).then_some(false)
                };
                Ok(found.map_or(Datum::Null, |found| Datum::Bool(found != all)))
            }
            Self::Rows(rows) => {
                let count = sides.len();
                let mut unknown = false;
                for (number, candidate) in rows.iter().enumerate() {
                    if number % 4096 == 4095 {
                        cx.pause().await?;
                    }
                    sides.truncate(count);
                    sides.extend(candidate.iter().cloned());
                    match matches.eval(&cx.eval(sides, &[]))?.as_bool() {
                        None => unknown = true,
                        Some(one) if one != all => return Ok(Datum::Bool(!all)),
                        Some(_) => {}
                    }
                }
                Ok(if unknown { Datum::Null } else { Datum::Bool(all) })
            }
        }
    }
}

/// Whether one of these rows would equal a row if NULLs were some values.
async fn may_equal(cx: &Cx<'_>, sides: &[Datum], rows: impl Iterator<Item = &Row> + Send) -> Result<bool> {
    for (number, row) in rows.enumerate() {
        if number % 4096 == 4095 {
            cx.pause().await?;
        }
        if sides.iter().zip(row).all(|(one, other)| one.is_null() || other.is_null() || one == other) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Calls a function of the node for its one row, or a value of it.
async fn call(
    cx: &mut Cx<'_>,
    function: usize,
    strict: bool,
    values: &[Datum],
    of_row: OfRow,
) -> Result<Datum> {
    if strict && values.iter().any(Datum::is_null) {
        return Ok(Datum::Null);
    }
    let rows = call_node(cx, function, values).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(Datum::Null) };
    match of_row {
        // It was none.
        OfRow::Whole if row.iter().all(Datum::is_null) => Ok(Datum::Null),
        OfRow::Whole => Ok(Datum::text(record_text(&row, cx))),
        OfRow::Field(at) => Ok(row.into_iter().nth(at).unwrap_or_default()),
    }
}

/// A composite value as text: `(a,b)`.
fn record_text(row: &[Datum], cx: &Cx<'_>) -> String {
    let mut out = String::from("(");
    for (at, value) in row.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        let Some(text) = value.to_text(cx.facts.style()) else { continue };
        let quote = text.is_empty()
            || text.contains(['"', '\\', '(', ')', ','])
            || text.contains(char::is_whitespace);
        if quote {
            out.push('"');
            out.push_str(&text.replace('\\', "\\\\").replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(&text);
        }
    }
    out.push(')');
    out
}

/// Calls a function of the node and waits for it, unless the statement is cancelled.
pub(super) async fn call_node(cx: &mut Cx<'_>, function: usize, arguments: &[Datum]) -> Result<Vec<Row>> {
    let rows =
        match cx.environment.call(cx.actor, function, arguments, cx.canceller) {
            NodeCall::Now(rows) => rows,
            NodeCall::Later(future) => tokio::select! {
                biased;
                rows = future => rows,
                reason = cx.canceller.cancelled() => Err(reason.error()),
            },
            NodeCall::Advisory(request) => {
                let taken = advisory(cx, request).await?;
                Ok(vec![vec![if request.waits { Datum::text("") } else { Datum::Bool(taken) }]])
            }
            NodeCall::TransactionId { assign, as_xid8 } => {
                // In PostgreSQL what writes has one.
                let assign = assign || cx.transaction.has_writes();
                let xid =
                    if assign { Some(cx.transaction.assign_xid()?) } else { cx.transaction.assigned_xid() };
                let value = xid.map(|xid| {
                    if as_xid8 { Datum::Xid8(xid.get()) } else { Datum::Int8(xid.get().cast_signed()) }
                });
                Ok(vec![vec![value.unwrap_or_default()]])
            }
            // Not given up halfway: it must not come behind the abort that a cancel leads to.
            NodeCall::WithXid(call) => call(cx.transaction.assign_part_xid()?).await,
        };
    // It may have been one that stops this very statement.
    cx.canceller.check()?;
    rows
}

/// Takes an advisory lock.
async fn advisory(cx: &Cx<'_>, request: AdvisoryRequest) -> Result<bool> {
    let number = |name: &str| {
        let value = cx.facts.setting(name).ok().flatten().and_then(|value| value.parse::<usize>().ok());
        value.unwrap_or(64)
    };
    let waits = Waits {
        depth: cx.depth,
        lock_wait: cx.lock_wait(),
        deadlock_timeout: cx.deadlock_timeout,
        // As many as PostgreSQL has room for.
        held_max: number("max_locks_per_transaction").saturating_mul(number("max_connections")),
    };
    cx.advisory.take(request, waits, cx.database, cx.canceller).await
}

/// Starts a subquery that sees `row` as its nearest outer row; the caller pops it.
pub(super) fn enter(cx: &mut Cx<'_>, node: &Node, row: &[Datum]) -> Exec {
    cx.outer.push(row.to_vec());
    build(node)
}

async fn scalar(cx: &mut Cx<'_>, node: &Node, row: &[Datum]) -> Result<Datum> {
    let mut exec = enter(cx, node, row);
    let first = exec.next(cx, 2).await?;
    let mut rows = first.unwrap_or_default();
    if rows.len() == 1
        && let Some(more) = exec.next(cx, 1).await?
    {
        rows.extend(more);
    }
    cx.outer.pop();
    if rows.len() > 1 {
        return Err(SqlError::new(
            SqlState::CARDINALITY_VIOLATION,
            "more than one row returned by a subquery used as an expression",
        ));
    }
    Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).unwrap_or_default())
}

async fn exists(cx: &mut Cx<'_>, node: &Node, row: &[Datum]) -> Result<Datum> {
    let mut exec = enter(cx, node, row);
    let found = exec.next(cx, 1).await?.is_some();
    cx.outer.pop();
    Ok(Datum::Bool(found))
}

async fn subquery_rows(cx: &mut Cx<'_>, node: &Node, row: &[Datum], budget: &mut Budget) -> Result<Vec<Row>> {
    let mut exec = enter(cx, node, row);
    let rows = collect(exec.as_mut(), cx, budget).await;
    cx.outer.pop();
    rows
}

async fn array(cx: &mut Cx<'_>, node: &Node, element: TypeId, row: &[Datum]) -> Result<Datum> {
    let mut budget = Budget::default();
    let mut exec = enter(cx, node, row);
    let mut values = Vec::new();
    while let Some(rows) = exec.next(cx, BATCH).await? {
        for row in rows {
            budget.add(cx, row_bytes(&row))?;
            values.extend(row.into_iter().next());
        }
    }
    cx.outer.pop();
    let array = match element.element() {
        Some(inner) => Array::of_arrays(inner, &values)?,
        None => Array::of(element, values),
    };
    Ok(Datum::Array(Arc::new(array)))
}

//! Values computed before a row's expressions: subqueries and functions that wait.

use super::{BATCH, Budget, Cx, Exec, Row, build, collect, row_bytes};
use crate::environment::NodeCall;
use crate::error::{Result, SqlError, sqlstate};
use crate::expr::Expr;
use crate::plan::{Node, SlotSource, Slots};
use datum::{Array, Datum, Type, TypeId};
use std::collections::HashSet;
use std::sync::Arc;

/// The slots of one running operator.
pub(super) struct SlotState {
    slots: Slots,
    values: Vec<Datum>,
    /// What was computed once and stays.
    kept: Vec<Kept>,
}

enum Kept {
    Nothing,
    Value,
    /// The subquery's values, for the comparison with each row: in a hash, or to be gone through.
    Set {
        values: HashSet<Datum>,
        has_null: bool,
    },
    Rows(Vec<Row>),
}

impl SlotState {
    pub(super) fn new(slots: Slots) -> Self {
        let count = slots.len();
        Self { slots, values: vec![Datum::Null; count], kept: (0..count).map(|_| Kept::Nothing).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn values(&self) -> &[Datum] {
        &self.values
    }

    /// Computes all slots for a row.
    pub(super) async fn compute(&mut self, cx: &mut Cx<'_>, row: &[Datum]) -> Result<()> {
        let slots = self.slots.clone();
        for (at, slot) in slots.iter().enumerate() {
            if matches!(self.kept.get(at), Some(Kept::Value)) {
                continue;
            }
            let value = match &slot.source {
                SlotSource::Quantified { left, node, matches, all, hashable } => {
                    self.quantified(cx, row, at, slot.per_row, (left, node, matches, *all, *hashable)).await?
                }
                SlotSource::Scalar(node) => scalar(cx, node, row).await?,
                SlotSource::Array(node, element) => array(cx, node, *element, row).await?,
                SlotSource::Exists(node) => exists(cx, node, row).await?,
                SlotSource::Call { function, strict, arguments, record } => {
                    self.call(cx, row, *function, *strict, arguments, record.as_deref()).await?
                }
            };
            if !slot.per_row
                && !matches!(slot.source, SlotSource::Quantified { .. })
                && let Some(kept) = self.kept.get_mut(at)
            {
                *kept = Kept::Value;
            }
            if let Some(place) = self.values.get_mut(at) {
                *place = value;
            }
        }
        Ok(())
    }

    /// `left op ANY/ALL (subquery)` with three-valued logic.
    async fn quantified(
        &mut self,
        cx: &mut Cx<'_>,
        row: &[Datum],
        at: usize,
        per_row: bool,
        (left, node, matches, all, hashable): (&[Expr], &Node, &Expr, bool, bool),
    ) -> Result<Datum> {
        if per_row || matches!(self.kept.get(at), Some(Kept::Nothing)) {
            let mut budget = Budget::default();
            let rows = subquery_rows(cx, node, row, &mut budget).await?;
            let kept = if hashable {
                let has_null = rows.iter().any(|row| row.first().is_none_or(Datum::is_null));
                let values = rows
                    .into_iter()
                    .filter_map(|row| row.into_iter().next())
                    .filter(|v| !v.is_null())
                    .collect();
                Kept::Set { values, has_null }
            } else {
                Kept::Rows(rows)
            };
            if let Some(place) = self.kept.get_mut(at) {
                *place = kept;
            }
        }
        let mut sides: Row = Vec::with_capacity(left.len() * 2);
        for expr in left {
            sides.push(expr.eval(&cx.eval(row, &self.values))?);
        }
        match self.kept.get(at) {
            Some(Kept::Set { values, has_null }) => {
                // `= ANY`; `<> ALL` is its opposite.
                let Some(value) = sides.first() else { return Ok(Datum::Null) };
                let found = if values.is_empty() && !has_null {
                    Some(false)
                } else if value.is_null() {
                    None
                } else if values.contains(value) {
                    Some(true)
                } else if *has_null {
                    None
                } else {
                    Some(false)
                };
                Ok(found.map_or(Datum::Null, |found| Datum::Bool(found != all)))
            }
            Some(Kept::Rows(rows)) => {
                let count = sides.len();
                let mut unknown = false;
                for (number, candidate) in rows.iter().enumerate() {
                    if number % 4096 == 4095 {
                        cx.pause().await?;
                    }
                    sides.truncate(count);
                    sides.extend(candidate.iter().cloned());
                    match matches.eval(&cx.eval(&sides, &[]))?.as_bool() {
                        None => unknown = true,
                        Some(one) if one != all => return Ok(Datum::Bool(!all)),
                        Some(_) => {}
                    }
                }
                Ok(if unknown { Datum::Null } else { Datum::Bool(all) })
            }
            _ => Ok(Datum::Null),
        }
    }

    async fn call(
        &mut self,
        cx: &mut Cx<'_>,
        row: &[Datum],
        function: usize,
        strict: bool,
        arguments: &[Expr],
        record: Option<&[Type]>,
    ) -> Result<Datum> {
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(argument.eval(&cx.eval(row, &self.values))?);
        }
        if strict && values.iter().any(Datum::is_null) {
            return Ok(Datum::Null);
        }
        let rows = call_node(cx, function, &values).await?;
        let Some(row) = rows.into_iter().next() else { return Ok(Datum::Null) };
        if record.is_some() {
            return Ok(Datum::text(record_text(&row, cx)));
        }
        Ok(row.into_iter().next().unwrap_or_default())
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
    match cx.environment.call(cx.actor, function, arguments, cx.canceller) {
        NodeCall::Now(rows) => rows,
        NodeCall::Later(future) => tokio::select! {
            biased;
            rows = future => rows,
            reason = cx.canceller.cancelled() => Err(reason.error()),
        },
    }
}

/// Starts a subquery that sees `row` as its nearest outer row; the caller pops it.
fn enter(cx: &mut Cx<'_>, node: &Node, row: &[Datum]) -> Exec {
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
            sqlstate::CARDINALITY_VIOLATION,
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
    Ok(Datum::Array(Arc::new(Array::of(element, values))))
}

//! ORDER BY: in memory, within work_mem; with a LIMIT above it only the rows that can still matter are kept.

use super::misc::row_count;
use super::{Budget, Cx, Exec, Operator, Row, build, row_bytes};
use sql_interface::Result;
use sql_language::plan::{BATCH, SortKey, SortPlan};
use sql_types::{Datum, work};
use std::cmp::Ordering;
use std::sync::Arc;

/// A running sort.
pub(super) struct Sort {
    plan: Arc<SortPlan>,
    input: Exec,
    sorted: Option<std::vec::IntoIter<(Row, Row)>>,
}

/// How two values stand in an ORDER BY.
pub(super) fn compare(a: &Datum, b: &Datum, descending: bool, nulls_first: bool) -> Ordering {
    match (a.is_null(), b.is_null()) {
        (true, true) => Ordering::Equal,
        (true, false) => {
            if nulls_first {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
        (false, true) => {
            if nulls_first {
                Ordering::Greater
            } else {
                Ordering::Less
            }
        }
        (false, false) if descending => b.cmp(a),
        (false, false) => a.cmp(b),
    }
}

fn compare_keys(keys: &[SortKey], a: &[Datum], b: &[Datum]) -> Ordering {
    keys.iter()
        .zip(a.iter().zip(b))
        .map(|(key, (a, b))| compare(a, b, key.descending, key.nulls_first))
        .find(|ordering| *ordering != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

impl Sort {
    pub(super) fn new(plan: Arc<SortPlan>) -> Self {
        let input = build(&plan.input);
        Self { plan, input, sorted: None }
    }

    /// How many rows the LIMIT above can want.
    fn bound(&self, cx: &Cx<'_>) -> Result<Option<usize>> {
        let Some((limit, offset)) = &self.plan.limit else { return Ok(None) };
        let count = |expr: &Option<sql_language::expr::Expr>, what: &str| -> Result<Option<u64>> {
            match expr {
                Some(expr) => row_count(expr.eval(&cx.eval(&[], &[]))?, what),
                None => Ok(None),
            }
        };
        let (limit, offset) = (count(limit, "LIMIT")?, count(offset, "OFFSET")?);
        Ok(limit.and_then(|limit| usize::try_from(limit.saturating_add(offset.unwrap_or(0))).ok()))
    }

    async fn fill(&mut self, cx: &mut Cx<'_>) -> Result<Vec<(Row, Row)>> {
        let plan = self.plan.clone();
        let bound = self.bound(cx)?;
        // Twice the bound is collected before the worse half is thrown away.
        let cut = bound.map_or(usize::MAX, |bound| bound.saturating_mul(2).max(2 * BATCH));
        let mut budget = Budget::default();
        let mut rows: Vec<(Row, Row)> = Vec::new();
        while let Some(batch) = self.input.next(cx, BATCH).await? {
            for row in batch {
                if cx.is_due() {
                    cx.pause().await?;
                }
                let eval = cx.eval(&row, &[]);
                let key = plan.keys.iter().map(|key| key.expr.eval(&eval)).collect::<Result<Row>>()?;
                budget.add(cx, row_bytes(&row) + row_bytes(&key))?;
                rows.push((key, row));
            }
            if rows.len() >= cut {
                keep_first(&plan.keys, &mut rows, bound, &mut budget)?;
            }
        }
        work::sort_by(&mut rows, |(a, _), (b, _)| compare_keys(&plan.keys, a, b))?;
        cx.pause().await?;
        Ok(rows)
    }
}

/// Keeps the first rows in order, as many as the bound; equal ones in the order they came.
fn keep_first(
    keys: &[SortKey],
    rows: &mut Vec<(Row, Row)>,
    bound: Option<usize>,
    budget: &mut Budget,
) -> Result<()> {
    let Some(bound) = bound else { return Ok(()) };
    work::sort_by(rows, |(a, _), (b, _)| compare_keys(keys, a, b))?;
    let freed = rows.iter().skip(bound).map(|(key, row)| row_bytes(key) + row_bytes(row)).sum();
    budget.give_back(freed);
    rows.truncate(bound);
    Ok(())
}

impl Operator for Sort {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        let sorted = match &mut self.sorted {
            Some(sorted) => sorted,
            None => {
                let rows = self.fill(cx).await?;
                self.sorted.insert(rows.into_iter())
            }
        };
        let out: Vec<Row> = sorted.by_ref().take(want.clamp(1, BATCH)).map(|(_, row)| row).collect();
        Ok(if out.is_empty() { None } else { Some(out) })
    }
}

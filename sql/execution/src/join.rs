//! Joins: by hash where sides must be equal, by nested loops else, anew for each left row where the right
//! side depends on it (as lookups by primary key do).

use super::deferred::DeferredState;
use super::{Budget, Cx, Exec, Operator, Row, build, collect};
use sql_interface::Result;
use sql_language::plan::{JoinKind, JoinPlan};
use sql_types::Datum;
use std::collections::HashMap;
use std::sync::Arc;

/// A running join: the right side in memory, the left side in batches; the other way round where the plan
/// builds the hash of the left side, and then "left" and "right" below mean these roles.
pub(super) struct Join {
    plan: Arc<JoinPlan>,
    left: Exec,
    deferred: DeferredState,
    right: Option<Right>,
    /// The left rows at hand, and how far the first of them has come.
    pending: std::vec::IntoIter<Row>,
    current: Option<Current>,
    left_done: bool,
    /// RIGHT and FULL: the next right row to look at for having had no partner.
    unmatched_at: usize,
    /// Pairs looked at, over all steps.
    looked_at: u32,
}

/// The right side.
struct Right {
    rows: Vec<Row>,
    /// Which rows found a partner; only for RIGHT and FULL.
    matched: Vec<bool>,
    /// Rows by their hash keys.
    table: HashMap<Row, Vec<usize>>,
}

/// A left row on its way.
struct Current {
    row: Row,
    matched: bool,
    candidates: Candidates,
}

enum Candidates {
    /// All right rows, from this one on.
    All(usize),
    /// These ones.
    Some(std::vec::IntoIter<usize>),
    /// A run of the right side for this row.
    Lateral(Exec, std::vec::IntoIter<Row>),
}

impl Join {
    pub(super) fn new(plan: Arc<JoinPlan>) -> Self {
        let driving = if plan.build_left { &plan.right } else { &plan.left };
        let (left, deferred) = (build(driving), DeferredState::new(plan.deferred.clone()));
        Self {
            plan,
            left,
            deferred,
            right: None,
            pending: Vec::new().into_iter(),
            current: None,
            left_done: false,
            unmatched_at: 0,
            looked_at: 0,
        }
    }

    async fn read_right(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        if self.right.is_some() || self.plan.lateral {
            return Ok(());
        }
        let mut budget = Budget::default();
        let build_left = self.plan.build_left;
        let mut exec = build(if build_left { &self.plan.left } else { &self.plan.right });
        let rows = collect(exec.as_mut(), cx, &mut budget).await?;
        let mut table: HashMap<Row, Vec<usize>> = HashMap::new();
        if !self.plan.hash_keys.is_empty() {
            for (at, row) in rows.iter().enumerate() {
                if cx.is_due() {
                    cx.pause().await?;
                }
                let key = hash_key(cx, &self.plan, row, !build_left)?;
                // NULL equals nothing.
                if key.iter().any(Datum::is_null) {
                    continue;
                }
                budget.add(cx, super::row_bytes(&key) + size_of::<usize>())?;
                table.entry(key).or_default().push(at);
            }
        }
        let matched = match self.plan.kind {
            JoinKind::Right | JoinKind::Full => vec![false; rows.len()],
            JoinKind::Inner | JoinKind::Left => Vec::new(),
        };
        self.right = Some(Right { rows, matched, table });
        Ok(())
    }

    /// The next left row, with the right rows that may fit it.
    async fn next_left(&mut self, cx: &mut Cx<'_>) -> Result<bool> {
        let row = loop {
            if let Some(row) = self.pending.next() {
                break row;
            }
            if self.left_done {
                return Ok(false);
            }
            match self.left.next(cx, cx.join_rows).await? {
                Some(rows) => self.pending = rows.into_iter(),
                None => {
                    self.left_done = true;
                    return Ok(false);
                }
            }
        };
        let candidates = if self.plan.lateral {
            Candidates::Lateral(build(&self.plan.right), Vec::new().into_iter())
        } else if self.plan.hash_keys.is_empty() {
            Candidates::All(0)
        } else {
            let key = hash_key(cx, &self.plan, &row, self.plan.build_left)?;
            let found = if key.iter().any(Datum::is_null) {
                None
            } else {
                self.right.as_ref().and_then(|right| right.table.get(&key))
            };
            Candidates::Some(found.cloned().unwrap_or_default().into_iter())
        };
        self.current = Some(Current { row, matched: false, candidates });
        Ok(true)
    }

    /// The next right row for the current left row, and its place.
    async fn next_candidate(&mut self, cx: &mut Cx<'_>) -> Result<Option<(usize, Row)>> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let at = match &mut current.candidates {
            Candidates::All(next) => {
                *next += 1;
                *next - 1
            }
            Candidates::Some(list) => match list.next() {
                Some(at) => at,
                None => return Ok(None),
            },
            Candidates::Lateral(exec, rows) => loop {
                if let Some(row) = rows.next() {
                    return Ok(Some((0, row)));
                }
                cx.outer.push(current.row.clone());
                let more = exec.next(cx, cx.join_rows).await?;
                cx.outer.pop();
                match more {
                    Some(more) => *rows = more.into_iter(),
                    None => return Ok(None),
                }
            },
        };
        let row = self.right.as_ref().and_then(|right| right.rows.get(at)).cloned();
        Ok(row.map(|row| (at, row)))
    }

    /// RIGHT and FULL: right rows without a partner, after all else.
    fn give_unmatched(&mut self, out: &mut Vec<Row>, want: usize) {
        let Some(right) = &self.right else { return };
        while out.len() < want
            && let Some(matched) = right.matched.get(self.unmatched_at)
        {
            if !matched && let Some(row) = right.rows.get(self.unmatched_at) {
                let mut joined = vec![Datum::Null; self.plan.left_width];
                joined.extend(row.iter().cloned());
                out.push(joined);
            }
            self.unmatched_at += 1;
        }
    }
}

impl Operator for Join {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        self.read_right(cx).await?;
        let want = want.clamp(1, cx.join_rows);
        let mut out = Vec::new();
        while out.len() < want {
            if self.current.is_none() && !self.next_left(cx).await? {
                break;
            }
            self.looked_at = self.looked_at.wrapping_add(1);
            if self.looked_at.is_multiple_of(4096) || (self.plan.condition.is_some() && cx.is_due()) {
                cx.pause().await?;
            }
            match self.next_candidate(cx).await? {
                Some((at, right_row)) => {
                    let Some(current) = &self.current else { continue };
                    let mut joined = Vec::with_capacity(current.row.len() + right_row.len());
                    if self.plan.build_left {
                        joined.extend(right_row);
                        joined.extend(current.row.iter().cloned());
                    } else {
                        joined.extend(current.row.iter().cloned());
                        joined.extend(right_row);
                    }
                    if let Some(condition) = &self.plan.condition {
                        let fits = if self.deferred.is_empty() {
                            condition.eval_condition(&cx.eval(&joined, &[]))?
                        } else {
                            self.deferred.run(cx, &joined, |eval| condition.eval_condition(eval)).await?
                        };
                        if !fits {
                            continue;
                        }
                    }
                    if let Some(current) = &mut self.current {
                        current.matched = true;
                    }
                    if let Some(flag) = self.right.as_mut().and_then(|right| right.matched.get_mut(at)) {
                        *flag = true;
                    }
                    out.push(joined);
                }
                None => {
                    let Some(current) = self.current.take() else { continue };
                    if !current.matched && matches!(self.plan.kind, JoinKind::Left | JoinKind::Full) {
                        let mut row = current.row;
                        row.resize(self.plan.left_width + self.plan.right_width, Datum::Null);
                        out.push(row);
                    }
                }
            }
        }
        if self.left_done && self.current.is_none() {
            self.give_unmatched(&mut out, want);
        }
        Ok(if out.is_empty() { None } else { Some(out) })
    }
}

/// The values of the hash keys for a row of the right (or left) side, integers as bigint, so that widths do
/// not matter.
fn hash_key(cx: &Cx<'_>, plan: &JoinPlan, row: &[Datum], right_side: bool) -> Result<Row> {
    let eval = cx.eval(row, &[]);
    plan.hash_keys
        .iter()
        .map(|(left, right)| {
            let value = if right_side { right } else { left }.eval(&eval)?;
            Ok(value.as_i64().map_or(value, Datum::Int8))
        })
        .collect()
}

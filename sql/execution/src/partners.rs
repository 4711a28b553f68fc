//! The rows of a subquery below EXISTS that equalities tie to the row around it, found by their keys.
//!
//! They are read as far as they are needed: a partner that comes early spares the rest. Where they are more
//! than work_mem allows, the subquery runs anew for each row.

use super::deferred::{enter, hashed};
use super::{Budget, Cx, Exec, Row, build, row_bytes};
use sql_interface::Result;
use sql_language::expr::Expr;
use sql_language::plan::{BATCH, Node};
use sql_types::Datum;
use std::collections::HashMap;

/// The rows that were read.
pub(super) struct Partners {
    /// The subquery on its way; None once all of its rows are here.
    rest: Option<Exec>,
    by_key: HashMap<Row, Vec<Row>>,
    budget: Budget,
    /// They were too many.
    forgotten: bool,
}

/// What ties them to a row.
#[derive(Clone, Copy)]
pub(super) struct Tie<'p> {
    pub(super) node: &'p Node,
    /// How many of the first values on both sides are to be equal.
    pub(super) keys: usize,
    /// All that is asked, over the row's values and the subquery's.
    pub(super) matches: &'p Expr,
}

impl Tie<'_> {
    /// The key among the values of one side; None with a NULL in it, which equals nothing.
    fn key(&self, values: &[Datum]) -> Option<Row> {
        let key: Row = values.iter().take(self.keys).cloned().map(hashed).collect();
        (!key.iter().any(Datum::is_null)).then_some(key)
    }

    /// Whether a row of the subquery goes with the row.
    fn holds(&self, cx: &Cx<'_>, left: &[Datum], row: &[Datum]) -> Result<bool> {
        let both: Row = left.iter().chain(row).cloned().collect();
        self.matches.eval_condition(&cx.eval(&both, &[]))
    }
}

impl Partners {
    /// None of them is read yet.
    pub(super) fn of(node: &Node) -> Self {
        Self { rest: Some(build(node)), by_key: HashMap::new(), budget: Budget::default(), forgotten: false }
    }

    /// Whether there is one that goes with a row, whose values are `left`.
    pub(super) async fn has_one(
        &mut self,
        cx: &mut Cx<'_>,
        row: &[Datum],
        left: Row,
        tie: Tie<'_>,
    ) -> Result<bool> {
        let Some(key) = tie.key(&left) else { return Ok(false) };
        if self.forgotten {
            return passing(cx, row, &left, tie).await;
        }
        // Equal keys are all that is asked.
        let keys_suffice = left.len() == tie.keys;
        if let Some(known) = self.by_key.get(&key) {
            if keys_suffice {
                return Ok(true);
            }
            for partner in known {
                if cx.is_due() {
                    cx.pause().await?;
                }
                if tie.holds(cx, &left, partner)? {
                    return Ok(true);
                }
            }
        }
        while let Some(exec) = &mut self.rest {
            cx.outer.push(row.to_vec());
            let more = exec.next(cx, BATCH).await;
            cx.outer.pop();
            let Some(rows) = more? else {
                self.rest = None;
                break;
            };
            let mut found = false;
            for partner in rows {
                if cx.is_due() {
                    cx.pause().await?;
                }
                let Some(of) = tie.key(&partner) else { continue };
                found = found || (of == key && tie.holds(cx, &left, &partner)?);
                if !self.keep(cx, of, partner, keys_suffice)? {
                    return if found { Ok(true) } else { passing(cx, row, &left, tie).await };
                }
            }
            if found {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes a row in; false, and nothing is kept any more, where there is no room for it.
    fn keep(&mut self, cx: &Cx<'_>, key: Row, row: Row, keys_suffice: bool) -> Result<bool> {
        let is_known = self.by_key.contains_key(&key);
        let of_key = if is_known { 0 } else { row_bytes(&key) + size_of::<Vec<Row>>() };
        let of_row = if keys_suffice { 0 } else { row_bytes(&row) };
        if !self.budget.fits(cx, of_key + of_row)? {
            (self.rest, self.by_key, self.forgotten) = (None, HashMap::new(), true);
            return Ok(false);
        }
        let known = self.by_key.entry(key).or_default();
        if !keys_suffice {
            known.push(row);
        }
        Ok(true)
    }
}

/// Whether one of the subquery's rows goes with a row, while they pass by.
async fn passing(cx: &mut Cx<'_>, row: &[Datum], left: &[Datum], tie: Tie<'_>) -> Result<bool> {
    let mut exec = enter(cx, tie.node, row);
    let mut found = false;
    while !found && let Some(rows) = exec.next(cx, BATCH).await? {
        for partner in rows {
            if cx.is_due() {
                cx.pause().await?;
            }
            if tie.holds(cx, left, &partner)? {
                found = true;
                break;
            }
        }
    }
    cx.outer.pop();
    Ok(found)
}

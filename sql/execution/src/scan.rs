//! Reading a table: by key, by a range of keys, or all of it; through its own tree or through an index.

use super::{Cx, Operator, Row, index, row};
use bytes::Bytes;
use sql_catalogue::Index;
use sql_interface::{Result, SqlError};
use sql_language::expr::Expr;
use sql_language::plan::{BATCH, RangePlan, ScanPlan};
use sql_types::{Datum, TypeId, key};
use sqlstate::SqlState;
use std::sync::Arc;
use storage::{Direction, KeyRange, Scan};

/// A running scan.
pub(super) struct ScanExec {
    plan: Arc<ScanPlan>,
    state: State,
}

enum State {
    Start,
    Range(Walk),
    /// Keys to look up. The scan is of nothing: it says as of when.
    Points(std::vec::IntoIter<Vec<u8>>, Box<Scan>),
    End,
}

/// A way through ranges of a tree, one after the other.
struct Walk {
    ranges: std::vec::IntoIter<KeyRange>,
    scan: Option<Box<Scan>>,
    raw: Vec<(Bytes, Bytes)>,
    rounds: u32,
}

/// Where a scan looks.
pub(super) enum Keys {
    Nothing,
    /// Ranges in ascending order that do not overlap.
    Ranges(Vec<KeyRange>),
    /// Whole unique keys.
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

    fn start(plan: &ScanPlan, cx: &Cx<'_>) -> Result<State> {
        Ok(match keys(cx, plan)? {
            Keys::Nothing => State::End,
            Keys::Ranges(ranges) => {
                State::Range(Walk { ranges: ranges.into_iter(), scan: None, raw: Vec::new(), rounds: 0 })
            }
            Keys::Points(points) => {
                let nothing = KeyRange::new(Vec::new(), Vec::new());
                let scan = cx.transaction.scan(plan.relation.tree, nothing, Direction::Forward);
                State::Points(points.into_iter(), Box::new(scan))
            }
        })
    }
}

impl Operator for ScanExec {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        let plan = self.plan.clone();
        let index = plan.index();
        let table = plan.relation.tree;
        if matches!(self.state, State::Start) {
            self.state = Self::start(&plan, cx)?;
        }
        let mut out = Vec::new();
        // A selective filter should not make for tiny reads: they grow while nothing passes.
        let mut size = want.clamp(1, BATCH);
        loop {
            let ended = match &mut self.state {
                State::Range(walk) => !walk.step(&plan, index, cx, size, &mut out).await?,
                State::Points(points, as_of) => match points.next() {
                    Some(key) => {
                        let key = match index {
                            None => Some(Bytes::from(key)),
                            Some(index) => {
                                let found = as_of.lookup(cx.transaction, index.tree, &key).await;
                                let key = Bytes::from(key);
                                let found = cx.storage(found)?;
                                found.map(|value| index::row_key_of(index, &key, &value)).transpose()?
                            }
                        };
                        if let Some(key) = key {
                            let found = as_of.lookup(cx.transaction, table, &key).await;
                            if let Some(value) = cx.storage(found)?
                                && let Some(row) = Self::take(&plan, cx, &key, &value)?
                            {
                                out.push(row);
                            }
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

impl Walk {
    /// Takes the next rows or entries, about `size` of them; false at the end.
    async fn step(
        &mut self,
        plan: &ScanPlan,
        index: Option<&Index>,
        cx: &mut Cx<'_>,
        size: usize,
        out: &mut Vec<Row>,
    ) -> Result<bool> {
        let tree = index.map_or(plan.relation.tree, |index| index.tree);
        let scan = match &mut self.scan {
            Some(scan) => scan,
            None => {
                let Some(range) = self.ranges.next() else { return Ok(false) };
                self.scan.insert(Box::new(cx.transaction.scan(tree, range, plan.direction)))
            }
        };
        self.raw.clear();
        let more = scan.next_batch(cx.transaction, size, &mut self.raw).await;
        let more = cx.storage(more)?;
        for (key, value) in &self.raw {
            let row = match index {
                None => ScanExec::take(plan, cx, key, value)?,
                Some(index) => {
                    let key = index::row_key_of(index, key, value)?;
                    let found = scan.lookup(cx.transaction, plan.relation.tree, &key).await;
                    match cx.storage(found)? {
                        Some(value) => ScanExec::take(plan, cx, &key, &value)?,
                        None => return Err(stray_entry(index)),
                    }
                }
            };
            out.extend(row);
        }
        self.rounds += 1;
        if self.rounds.is_multiple_of(16) {
            cx.pause().await?;
        } else {
            cx.canceller.check()?;
        }
        if more {
            return Ok(true);
        }
        self.scan = None;
        Ok(self.ranges.len() > 0)
    }
}

#[cold]
fn stray_entry(index: &Index) -> SqlError {
    SqlError::new(SqlState::DATA_CORRUPTED, format!("index \"{}\" has an entry without a row", index.name))
        .with_hint("REINDEX makes it anew.")
}

/// How the keys of a scan's tree are made.
struct Form<'p> {
    plan: &'p ScanPlan,
    index: Option<&'p Index>,
}

impl Form<'_> {
    /// The type of a key column; None behind the last.
    fn id(&self, at: usize) -> Option<TypeId> {
        match self.index {
            None => self.plan.relation.layout.key.get(at).map(|column| column.id),
            Some(index) => {
                let column = index.columns.get(at)?;
                self.plan.relation.columns.get(column.at).map(|column| column.ty.id)
            }
        }
    }

    fn columns(&self) -> usize {
        self.index.map_or(self.plan.relation.layout.key.len(), |index| index.columns.len())
    }

    /// Whether values of all columns make a key that one row has at most.
    fn is_unique(&self) -> bool {
        self.index.is_none_or(|index| index.unique)
    }

    fn is_descending(&self, at: usize) -> bool {
        self.index.and_then(|index| index.columns.get(at)).is_some_and(|column| column.order.descending)
    }

    /// The byte before all values that are not NULL, where there is one.
    fn present(&self, at: usize) -> Option<u8> {
        Some(self.index?.columns.get(at)?.order.present())
    }

    fn encode(&self, at: usize, value: &Datum, out: &mut Vec<u8>) -> Result<()> {
        match self.index {
            None => match self.plan.relation.layout.key.get(at) {
                Some(column) => Ok(key::encode(*column, value, out)?),
                None => Err(SqlError::internal("a key has too few columns")),
            },
            Some(index) => match index.columns.get(at) {
                Some(column) => Ok(column.order.encode(value, out)?),
                None => Err(SqlError::internal("an index has too few columns")),
            },
        }
    }
}

/// What a bound comes to with the value that it has now.
enum Bound {
    /// Every value meets it.
    Open,
    /// No value does.
    Nothing,
    At(Datum, bool),
}

fn bound(cx: &Cx<'_>, given: Option<&(Expr, bool)>, id: TypeId, lower: bool) -> Result<Bound> {
    let Some((expr, inclusive)) = given else { return Ok(Bound::Open) };
    Ok(match bound_value(cx, expr, id)? {
        row::Fit::Value(value) => Bound::At(value, *inclusive),
        row::Fit::Below if lower => Bound::Open,
        row::Fit::Above if !lower => Bound::Open,
        row::Fit::Below | row::Fit::Above | row::Fit::Null => Bound::Nothing,
    })
}

/// The value of a bound, of the key column's type.
fn bound_value(cx: &Cx<'_>, expr: &Expr, id: TypeId) -> Result<row::Fit> {
    Ok(row::fit(expr.eval(&cx.eval(&[], &[]))?, id))
}

/// Works out the keys that a scan visits, with the values that its expressions have now.
pub(super) fn keys(cx: &Cx<'_>, plan: &ScanPlan) -> Result<Keys> {
    let RangePlan { equal, lower, upper, point, points } = &plan.range;
    let form = Form { plan, index: plan.index() };
    if let (Some(values), Some(id)) = (points, form.id(0)) {
        let mut all = Vec::with_capacity(values.len());
        for value in values {
            if let row::Fit::Value(value) = bound_value(cx, value, id)? {
                let mut key = Vec::new();
                form.encode(0, &value, &mut key)?;
                all.push(key);
            }
        }
        all.sort_unstable();
        all.dedup();
        if form.is_unique() && form.columns() == 1 {
            return Ok(Keys::Points(all));
        }
        return Ok(Keys::Ranges(all.into_iter().map(prefix_range).collect()));
    }
    let mut prefix = Vec::new();
    for (at, value) in equal.iter().enumerate() {
        let Some(id) = form.id(at) else { break };
        match bound_value(cx, value, id)? {
            row::Fit::Value(value) => form.encode(at, &value, &mut prefix)?,
            row::Fit::Null | row::Fit::Below | row::Fit::Above => return Ok(Keys::Nothing),
        }
    }
    if *point {
        return Ok(Keys::Points(vec![prefix]));
    }
    let at = equal.len();
    let (Some(id), true) = (form.id(at), lower.is_some() || upper.is_some()) else {
        return Ok(Keys::Ranges(vec![prefix_range(prefix)]));
    };
    let (lower, upper) = (bound(cx, lower.as_ref(), id, true)?, bound(cx, upper.as_ref(), id, false)?);
    let (first, last) = if form.is_descending(at) { (upper, lower) } else { (lower, upper) };
    // NULLs meet no bound: where they have a place in the key, it is left out.
    let mut values = prefix;
    values.extend(form.present(at));
    let bounded = |value: &Datum| -> Result<Vec<u8>> {
        let mut key = values.clone();
        key.truncate(values.len() - usize::from(form.present(at).is_some()));
        form.encode(at, value, &mut key)?;
        Ok(key)
    };
    let start = match first {
        Bound::Nothing => return Ok(Keys::Nothing),
        Bound::Open => values.clone(),
        Bound::At(value, true) => bounded(&value)?,
        Bound::At(value, false) => match key::after_prefix(&bounded(&value)?) {
            Some(after) => after,
            None => return Ok(Keys::Nothing),
        },
    };
    let end = match last {
        Bound::Nothing => return Ok(Keys::Nothing),
        Bound::Open if values.is_empty() => None,
        Bound::Open => key::after_prefix(&values),
        Bound::At(value, true) => key::after_prefix(&bounded(&value)?),
        Bound::At(value, false) => Some(bounded(&value)?),
    };
    if end.as_ref().is_some_and(|end| *end <= start) {
        return Ok(Keys::Nothing);
    }
    Ok(Keys::Ranges(vec![range(start, end)]))
}

/// All keys that begin so.
fn prefix_range(prefix: Vec<u8>) -> KeyRange {
    let end = if prefix.is_empty() { None } else { key::after_prefix(&prefix) };
    range(prefix, end)
}

fn range(start: Vec<u8>, end: Option<Vec<u8>>) -> KeyRange {
    match end {
        Some(end) => KeyRange::new(start, end),
        None => KeyRange::from(start),
    }
}

//! Rows that are made up: set-returning functions, the node's tables, the catalogue's views of itself.

use super::deferred::{DeferredState, call_node};
use super::{Cx, Exec, Operator, Row, build};
use sql_catalogue::rights::Privileges;
use sql_catalogue::system;
use sql_interface::{Result, SqlError};
use sql_language::expr;
use sql_language::plan::{
    BATCH, FunctionPlan, GeneratedPlan, GeneratedSource, ProjectSetPlan, SetCall, SetFunction,
};
use sql_types::{Array, Datum, Interval, Numeric, TypeId, time};
use sqlstate::SqlState;
use std::collections::HashMap;
use std::sync::Arc;

/// A running set-returning function.
enum Series {
    Int {
        next: i64,
        stop: i64,
        step: i64,
        done: bool,
        wide: bool,
    },
    Numeric {
        next: Numeric,
        stop: Numeric,
        step: Numeric,
    },
    Time {
        next: Datum,
        stop: Datum,
        step: Interval,
        up: bool,
    },
    Rows(std::vec::IntoIter<Row>),
    /// The elements of an array, from one of them on.
    Elements(Arc<Array>, usize),
    Empty,
}

impl Series {
    async fn start(
        cx: &mut Cx<'_>,
        call: &SetCall,
        row: &[Datum],
        deferred: &mut DeferredState,
    ) -> Result<Self> {
        let values = deferred.run(cx, row, |eval| {
            call.arguments.iter().map(|argument| argument.eval(eval)).collect::<Result<Row>>()
        });
        let values = values.await?;
        let any_null = values.iter().any(Datum::is_null);
        match call.function {
            SetFunction::Node { function, strict } => {
                if strict && any_null {
                    return Ok(Self::Empty);
                }
                Ok(Self::Rows(call_node(cx, function, &values).await?.into_iter()))
            }
            SetFunction::Unnest => Ok(match values.first() {
                Some(Datum::Array(array)) => Self::Elements(array.clone(), 0),
                _ => Self::Empty,
            }),
            SetFunction::GenerateSubscripts | SetFunction::RegexpMatches if any_null => Ok(Self::Empty),
            SetFunction::RegexpMatches => {
                let found: Vec<Row> =
                    expr::regexp_matches(&values)?.into_iter().map(|groups| vec![groups]).collect();
                Ok(Self::Rows(found.into_iter()))
            }
            SetFunction::GenerateSubscripts => Ok(subscripts(&values)),
            SetFunction::AclExplode => Ok(Self::Rows(exploded(cx, values.first())?.into_iter())),
            SetFunction::GenerateSeries(_) if any_null => Ok(Self::Empty),
            SetFunction::GenerateSeries(ty) => series(ty, values),
        }
    }

    fn next(&mut self, cx: &Cx<'_>) -> Result<Option<Row>> {
        match self {
            Self::Empty => Ok(None),
            Self::Rows(rows) => Ok(rows.next()),
            Self::Elements(array, next) => {
                let value = array.values().get(*next).cloned();
                *next += 1;
                Ok(value.map(|value| vec![value]))
            }
            Self::Int { next, stop, step, done, wide } => {
                if *done || (*step > 0 && *next > *stop) || (*step < 0 && *next < *stop) {
                    return Ok(None);
                }
                let value = *next;
                match value.checked_add(*step) {
                    Some(more) => *next = more,
                    None => *done = true,
                }
                let datum = if *wide {
                    Datum::Int8(value)
                } else {
                    i32::try_from(value).map_or(Datum::Null, Datum::Int4)
                };
                Ok(Some(vec![datum]))
            }
            Self::Numeric { next, stop, step } => {
                let up = step.signum() == Some(1);
                if (up && *next > *stop) || (!up && *next < *stop) {
                    return Ok(None);
                }
                let value = next.clone();
                *next = next.add(step)?;
                Ok(Some(vec![Datum::Numeric(value)]))
            }
            Self::Time { next, stop, step, up } => {
                let order = (*next).cmp(stop);
                if (*up && order.is_gt()) || (!*up && order.is_lt()) {
                    return Ok(None);
                }
                let value = next.clone();
                *next = match &value {
                    Datum::Timestamp(micros) => {
                        Datum::Timestamp(time::add_interval_to_timestamp(*micros, *step)?)
                    }
                    Datum::Timestamptz(micros) => {
                        let zone = &cx.facts.style().zone;
                        Datum::Timestamptz(time::add_interval_to_timestamptz(*micros, *step, zone)?)
                    }
                    _ => return Err(SqlError::internal("generate_series over another type")),
                };
                Ok(Some(vec![value]))
            }
        }
    }
}

/// The subscripts of a dimension of an array.
fn subscripts(values: &[Datum]) -> Series {
    let (Some(Datum::Array(array)), Some(number)) = (values.first(), values.get(1).and_then(Datum::as_i64))
    else {
        return Series::Empty;
    };
    let at = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    let Some(dimension) = at.and_then(|at| array.dimensions().get(at)) else { return Series::Empty };
    let first = i64::from(dimension.lower);
    let last = first + i64::from(dimension.len) - 1;
    let reverse = values.get(2).and_then(Datum::as_bool).unwrap_or(false);
    let (next, stop, step) = if reverse { (last, first, -1) } else { (first, last, 1) };
    Series::Int { next, stop, step, done: false, wide: false }
}

/// The rows of aclexplode.
fn exploded(cx: &Cx<'_>, list: Option<&Datum>) -> Result<Vec<Row>> {
    let Some(Datum::Array(list)) = list else { return Ok(Vec::new()) };
    let mut rows = Vec::new();
    for value in list.values() {
        let item = expr::read_acl_item(value, cx.facts)?;
        for (one, _, word) in Privileges::EACH.iter().filter(|(one, ..)| item.privileges.has(*one)) {
            rows.push(vec![
                Datum::Oid(item.grantor),
                Datum::Oid(item.grantee),
                Datum::text(*word),
                Datum::Bool(item.options.has(*one)),
            ]);
        }
    }
    Ok(rows)
}

fn series(ty: TypeId, values: Vec<Datum>) -> Result<Series> {
    let zero_step = || SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero");
    let mut values = values.into_iter();
    let (Some(next), Some(stop)) = (values.next(), values.next()) else { return Ok(Series::Empty) };
    let step = values.next();
    match (next, stop, step) {
        (Datum::Numeric(next), Datum::Numeric(stop), step) => {
            let step = match step {
                Some(Datum::Numeric(step)) => step,
                _ => Numeric::from(1_i64),
            };
            if step.signum() == Some(0) {
                return Err(zero_step());
            }
            if ![&next, &stop, &step].iter().all(|value| value.is_finite()) {
                return Err(SqlError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    "start, stop and step values must be finite numbers",
                ));
            }
            Ok(Series::Numeric { next, stop, step })
        }
        (next, stop, Some(Datum::Interval(step))) => {
            let span = step.span();
            if span == 0 {
                return Err(zero_step());
            }
            Ok(Series::Time { next, stop, step, up: span > 0 })
        }
        (next, stop, step) => {
            let (Some(next), Some(stop)) = (next.as_i64(), stop.as_i64()) else { return Ok(Series::Empty) };
            let step = step.as_ref().and_then(Datum::as_i64).unwrap_or(1);
            if step == 0 {
                return Err(zero_step());
            }
            Ok(Series::Int { next, stop, step, done: false, wide: ty == TypeId::Int8 })
        }
    }
}

/// A function in FROM.
pub(super) struct Function {
    plan: Arc<FunctionPlan>,
    deferred: DeferredState,
    series: Option<Series>,
    number: i64,
}

impl Function {
    pub(super) fn new(plan: Arc<FunctionPlan>) -> Self {
        let deferred = DeferredState::new(plan.deferred.clone());
        Self { plan, deferred, series: None, number: 0 }
    }
}

impl Operator for Function {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        if self.series.is_none() {
            self.series = Some(Series::start(cx, &self.plan.call, &[], &mut self.deferred).await?);
        }
        let Some(series) = &mut self.series else { return Ok(None) };
        let mut out = Vec::new();
        while out.len() < want.clamp(1, BATCH)
            && let Some(mut row) = series.next(cx)?
        {
            self.number += 1;
            if self.plan.ordinality {
                row.push(Datum::Int8(self.number));
            }
            out.push(row);
        }
        cx.pause().await?;
        Ok(if out.is_empty() { None } else { Some(out) })
    }
}

/// Set-returning functions of a select list: side by side, the shorter ones filled up with NULL.
pub(super) struct ProjectSet {
    plan: Arc<ProjectSetPlan>,
    input: Exec,
    deferred: DeferredState,
    pending: std::vec::IntoIter<Row>,
    current: Option<(Row, Vec<Series>)>,
}

impl ProjectSet {
    pub(super) fn new(plan: Arc<ProjectSetPlan>) -> Self {
        let (input, deferred) = (build(&plan.input), DeferredState::new(plan.deferred.clone()));
        Self { plan, input, deferred, pending: Vec::new().into_iter(), current: None }
    }
}

impl Operator for ProjectSet {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        let mut out = Vec::new();
        while out.len() < want.clamp(1, BATCH) {
            let Some((row, series)) = &mut self.current else {
                let row = match self.pending.next() {
                    Some(row) => row,
                    None => match self.input.next(cx, want.clamp(1, BATCH)).await? {
                        Some(rows) => {
                            self.pending = rows.into_iter();
                            continue;
                        }
                        None => break,
                    },
                };
                let mut series = Vec::with_capacity(self.plan.calls.len());
                for call in &self.plan.calls {
                    series.push(Series::start(cx, call, &row, &mut self.deferred).await?);
                }
                self.current = Some((row, series));
                continue;
            };
            let mut extended = row.clone();
            let mut any = false;
            for one in series.iter_mut() {
                let value = one.next(cx)?;
                any |= value.is_some();
                extended.push(value.and_then(|row| row.into_iter().next()).unwrap_or_default());
            }
            if any {
                out.push(extended);
            } else {
                self.current = None;
            }
        }
        cx.pause().await?;
        Ok(if out.is_empty() { None } else { Some(out) })
    }
}

/// A table of the node or of the catalogue.
pub(super) struct Generated {
    plan: Arc<GeneratedPlan>,
    rows: Option<std::vec::IntoIter<Row>>,
}

impl Generated {
    pub(super) fn new(plan: Arc<GeneratedPlan>) -> Self {
        Self { plan, rows: None }
    }

    async fn read(&self, cx: &Cx<'_>) -> Result<Vec<Row>> {
        match self.plan.source {
            GeneratedSource::Sequence(oid) => super::sequence::as_table(cx, oid).await,
            GeneratedSource::Node(table) => cx.environment.node_rows(cx.actor, table),
            GeneratedSource::System(table) => {
                let mut positions = HashMap::new();
                if system::shows_positions(table) {
                    let mut sequences: Vec<_> = cx.catalogue.sequences.values().collect();
                    sequences.sort_by_key(|sequence| sequence.oid);
                    for sequence in sequences {
                        positions.insert(sequence.oid, super::sequence::position(cx, sequence).await?);
                    }
                }
                let source = system::Context {
                    catalogue: cx.catalogue,
                    environment: cx.environment,
                    database: cx.database,
                    actor: cx.actor,
                    has_function: &|function| expr::has_function(function, cx.environment),
                    session_rows: &|view| cx.facts.session_rows(view),
                    positions: &positions,
                };
                Ok(system::rows(table, &source))
            }
        }
    }
}

impl Operator for Generated {
    async fn step(&mut self, cx: &mut Cx<'_>, _want: usize) -> Result<Option<Vec<Row>>> {
        let rows = match &mut self.rows {
            Some(rows) => rows,
            None => {
                let rows = self.read(cx).await?;
                self.rows.insert(rows.into_iter())
            }
        };
        let out: Vec<Row> = rows.by_ref().take(BATCH).collect();
        Ok(if out.is_empty() { None } else { Some(out) })
    }
}

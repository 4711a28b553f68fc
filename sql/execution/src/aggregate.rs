//! GROUP BY and aggregates: one hash table of groups, within work_mem.

use super::sort::compare;
use super::{Budget, Cx, Exec, Operator, Row, build, row_bytes};
use sql_interface::Result;
use sql_language::expr::{Accumulator, AggregateCall};
use sql_language::plan::{AggregatePlan, BATCH};
use sql_types::{Datum, work};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A running aggregation.
pub(super) struct Aggregate {
    plan: Arc<AggregatePlan>,
    input: Exec,
    groups: Option<std::vec::IntoIter<Row>>,
}

/// One aggregate of one group.
struct State {
    accumulator: Accumulator,
    /// DISTINCT: the arguments that came already.
    seen: Option<HashSet<Row>>,
    /// ORDER BY in the call: arguments wait here for their order, after their sort keys.
    waiting: Option<Vec<(Row, Row)>>,
}

impl State {
    fn new(call: &AggregateCall) -> Self {
        Self {
            accumulator: call.aggregate.start(),
            seen: call.distinct.then(HashSet::new),
            waiting: (!call.order_by.is_empty()).then(Vec::new),
        }
    }

    fn add(&mut self, call: &AggregateCall, cx: &Cx<'_>, row: &[Datum], budget: &mut Budget) -> Result<()> {
        let eval = cx.eval(row, &[]);
        if let Some(filter) = &call.filter
            && !filter.eval_condition(&eval)?
        {
            return Ok(());
        }
        let arguments =
            call.arguments.iter().map(|argument| argument.eval(&eval)).collect::<Result<Row>>()?;
        if let Some(seen) = &mut self.seen {
            if seen.contains(&arguments) {
                return Ok(());
            }
            budget.add(cx, row_bytes(&arguments))?;
            if self.waiting.is_none() && call.aggregate.is_ordered() {
                seen.insert(arguments);
                return Ok(());
            }
            seen.insert(arguments.clone());
        }
        if let Some(waiting) = &mut self.waiting {
            let keys = call.order_by.iter().map(|(key, ..)| key.eval(&eval)).collect::<Result<Row>>()?;
            budget.add(cx, row_bytes(&arguments) + row_bytes(&keys))?;
            waiting.push((keys, arguments));
            return Ok(());
        }
        let before = self.accumulator.size_bytes();
        let after = self.accumulate(&arguments)?;
        if after > before { budget.add(cx, after - before) } else { Ok(()) }
    }

    /// Takes arguments in; how many bytes the accumulator holds then.
    fn accumulate(&mut self, arguments: &[Datum]) -> Result<usize> {
        self.accumulator.add(arguments)?;
        let after = self.accumulator.size_bytes();
        if after > sql_types::VALUE_BYTES_MAX { Err(sql_types::Error::too_long().into()) } else { Ok(after) }
    }

    fn finish(mut self, call: &AggregateCall) -> Result<Datum> {
        let waiting = match (self.waiting.take(), self.seen.take()) {
            (Some(waiting), _) => Some(waiting),
            (None, Some(seen)) if call.aggregate.is_ordered() => {
                Some(seen.into_iter().map(|arguments| (Row::new(), arguments)).collect())
            }
            (None, _) => None,
        };
        if let Some(mut waiting) = waiting {
            work::sort_by(&mut waiting, |a, b| order(call, a, b))?;
            for (_, arguments) in waiting {
                self.accumulate(&arguments)?;
            }
        }
        self.accumulator.finish()
    }
}

/// How two rows of keys and arguments stand in a call: by its ORDER BY, then with DISTINCT by the arguments.
fn order(call: &AggregateCall, (a_keys, a): &(Row, Row), (b_keys, b): &(Row, Row)) -> Ordering {
    let keys = call.order_by.iter().zip(a_keys.iter().zip(b_keys));
    let by_keys = keys.map(|((_, descending, nulls_first), (a, b))| compare(a, b, *descending, *nulls_first));
    let arguments = a.iter().zip(b).filter(|_| call.distinct);
    let by_arguments = arguments.map(|(a, b)| compare(a, b, false, false));
    by_keys.chain(by_arguments).find(|ordering| *ordering != Ordering::Equal).unwrap_or(Ordering::Equal)
}

impl Aggregate {
    pub(super) fn new(plan: Arc<AggregatePlan>) -> Self {
        let input = build(&plan.input);
        Self { plan, input, groups: None }
    }

    async fn fill(&mut self, cx: &mut Cx<'_>) -> Result<Vec<Row>> {
        let plan = self.plan.clone();
        let mut budget = Budget::default();
        let start = || plan.aggregates.iter().map(State::new).collect::<Vec<State>>();
        // Groups in the order in which they first came.
        let mut places: HashMap<Row, usize> = HashMap::new();
        let mut groups: Vec<(Row, Vec<State>)> = Vec::new();
        if plan.plain {
            groups.push((Vec::new(), start()));
        }
        while let Some(rows) = self.input.next(cx, BATCH).await? {
            for row in rows {
                if cx.is_due() {
                    cx.pause().await?;
                }
                let place = if plan.plain {
                    0
                } else {
                    let eval = cx.eval(&row, &[]);
                    let key = plan.group_by.iter().map(|expr| expr.eval(&eval)).collect::<Result<Row>>()?;
                    match places.get(&key) {
                        Some(place) => *place,
                        None => {
                            budget
                                .add(cx, 2 * row_bytes(&key) + plan.aggregates.len() * size_of::<State>())?;
                            groups.push((key.clone(), start()));
                            places.insert(key, groups.len() - 1);
                            groups.len() - 1
                        }
                    }
                };
                let Some((_, states)) = groups.get_mut(place) else { continue };
                for (state, call) in states.iter_mut().zip(&plan.aggregates) {
                    state.add(call, cx, &row, &mut budget)?;
                }
            }
        }
        groups
            .into_iter()
            .map(|(mut row, states)| {
                for (state, call) in states.into_iter().zip(&plan.aggregates) {
                    row.push(state.finish(call)?);
                }
                Ok(row)
            })
            .collect()
    }
}

impl Operator for Aggregate {
    async fn step(&mut self, cx: &mut Cx<'_>, want: usize) -> Result<Option<Vec<Row>>> {
        let groups = match &mut self.groups {
            Some(groups) => groups,
            None => {
                let rows = self.fill(cx).await?;
                self.groups.insert(rows.into_iter())
            }
        };
        let out: Vec<Row> = groups.by_ref().take(want.clamp(1, BATCH)).collect();
        Ok(if out.is_empty() { None } else { Some(out) })
    }
}

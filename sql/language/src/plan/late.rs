//! What of a select list is computed behind ORDER BY, as in PostgreSQL: volatile functions and sets that rows
//! are not sorted by; and where a LIMIT follows, or others wait anyway, subqueries.
//!
//! So numbers of a sequence follow the order, and nothing is done for rows that the LIMIT leaves out. What
//! waits sees the row of FROM (or of the group) in the places that it always had: the sort carries along what
//! is looked at of it, and behind that what was computed before.

use super::analyzer::Analyzer;
use super::node::{
    DeferredSource, DeferredValue, DeferredValues, Node, ProjectPlan, ProjectSetPlan, SetCall, SortKey,
    SortPlan, null,
};
use super::prune::outer_columns;
use crate::expr::{Expr, Step};
use sql_catalogue::system::known;
use sql_interface::{Result, SqlError};
use sql_types::{Type, TypeId};
use sqlstate::SqlState;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A select list, and behind it what else its rows are sorted by and told apart by.
pub(super) struct List {
    pub(super) exprs: Vec<Expr>,
    /// How many of them are the select list's.
    pub(super) visible: usize,
    pub(super) deferred: DeferredValues,
    /// Set-returning functions that are not among the row's columns yet.
    pub(super) sets: Vec<SetCall>,
    /// Where the results of all set-returning functions begin in the row.
    pub(super) sets_at: usize,
}

/// What is computed behind a sort.
pub(super) struct Late {
    exprs: Vec<Expr>,
    deferred: DeferredValues,
    sets: Vec<SetCall>,
}

/// What PostgreSQL looks at in an entry of a select list to decide when it is computed.
#[derive(Default)]
struct Nature {
    volatile: bool,
    /// It runs a subquery for each row.
    costly: bool,
}

impl Analyzer<'_> {
    /// Which entries of the select list wait until the rows are sorted; None if none does. `is_key`: what
    /// rows are sorted and told apart by. `limited`: not all rows may be wanted.
    pub(super) fn late_entries(
        &self,
        list: &List,
        is_key: impl Fn(usize) -> bool,
        limited: bool,
    ) -> Option<Vec<bool>> {
        let sets_wait = !list.sets.is_empty();
        let mut found = Nature::default();
        let natures = list.exprs.iter().take(list.visible).enumerate().map(|(at, expr)| {
            let is_set = reads_from(expr, list.sets_at);
            if is_key(at) || is_set {
                return (is_set && sets_wait, Nature::default());
            }
            let nature = self.nature(expr, &list.deferred);
            found.volatile |= nature.volatile;
            found.costly |= nature.costly;
            (false, nature)
        });
        let natures: Vec<(bool, Nature)> = natures.collect();
        let some = sets_wait || found.volatile || (found.costly && limited);
        some.then(|| natures.iter().map(|(set, nature)| *set || nature.volatile || nature.costly).collect())
    }

    fn nature(&self, expr: &Expr, deferred: &DeferredValues) -> Nature {
        let mut found = Nature { volatile: expr.is_volatile(), costly: false };
        for slot in slots_of([expr], deferred).iter().filter_map(|at| deferred.get(*at)) {
            found.volatile |= slot.source.arguments().iter().any(Expr::is_volatile);
            match &slot.source {
                DeferredSource::Sequence { .. } => found.volatile = true,
                DeferredSource::Call { function, .. } => {
                    let function = self.environment.node_functions().get(*function);
                    found.volatile |= function.is_none_or(|function| may_change(function.name));
                }
                DeferredSource::Scalar(node)
                | DeferredSource::Array(node, _)
                | DeferredSource::Exists(node) => {
                    found.costly |= slot.per_row && reads(node);
                }
                DeferredSource::Partner { .. } => found.costly = true,
                DeferredSource::Quantified { node, hashable, .. } => {
                    found.costly |= (slot.per_row || !hashable) && reads(node);
                }
            }
        }
        found
    }
}

/// Whether a subquery reads rows. One that computes a value of its row alone costs no more than an
/// expression.
fn reads(node: &Node) -> bool {
    match node {
        Node::Unit | Node::Values(_) => false,
        Node::Project(plan) => {
            reads(&plan.input) || plan.deferred.iter().filter_map(|slot| slot.source.node()).any(reads)
        }
        Node::Filter(_) | Node::Sort(_) | Node::Limit(_) => node.inputs().any(reads),
        _ => true,
    }
}

/// Whether a function of the node is volatile. Those that PostgreSQL has not may be.
fn may_change(name: &str) -> bool {
    known::is_volatile(name) || !known::FUNCTIONS.iter().any(|function| function.name == name)
}

/// Whether an expression reads a column of the row from this place on.
pub(super) fn reads_from(expr: &Expr, start: usize) -> bool {
    let mut reads = false;
    expr.walk(&mut |part| {
        reads |= matches!(part, Expr::Column { index, .. } if *index >= start);
        !reads
    });
    reads
}

/// The values that wait for these expressions, and for each other.
fn slots_of<'e>(exprs: impl IntoIterator<Item = &'e Expr>, deferred: &'e [DeferredValue]) -> BTreeSet<usize> {
    let (mut found, mut rest) = (BTreeSet::new(), exprs.into_iter().collect::<Vec<_>>());
    while let Some(expr) = rest.pop() {
        expr.walk(&mut |part| {
            if let Expr::Deferred { index, .. } = part
                && found.insert(*index)
            {
                rest.extend(deferred.get(*index).map_or(&[][..], |slot| slot.source.arguments()));
            }
            true
        });
    }
    found
}

/// Whether an expression is as good behind a sort as before it: there is nothing to compute.
const fn is_plain(expr: &Expr) -> bool {
    matches!(expr, Expr::Column { .. } | Expr::Const(..) | Expr::Param { .. } | Expr::Outer { .. })
}

impl List {
    /// All of it over a row source.
    pub(super) fn over(self, input: Node) -> Node {
        Late { exprs: self.exprs, deferred: self.deferred, sets: self.sets }.over(input)
    }

    /// The rows that are sorted, where in them each expression is that is a key, and what is computed behind
    /// the sort.
    pub(super) fn split(
        self,
        input: Node,
        waits: &[bool],
        is_key: impl Fn(usize) -> bool,
    ) -> Result<(Node, Vec<usize>, Late)> {
        let Self { exprs, visible, deferred, sets, sets_at } = self;
        // The sets' results are behind whatever row there is then.
        let known_from = if sets.is_empty() { usize::MAX } else { sets_at };
        let count = exprs.len();
        let (mut early, mut late, mut types) = (Vec::new(), Vec::new(), Vec::new());
        for (at, expr) in exprs.into_iter().enumerate() {
            let waits = waits.get(at).copied().unwrap_or(false);
            let shown = at < visible;
            let is_late = shown && (waits || is_plain(&expr));
            if shown {
                types.push(expr.ty());
                late.push(is_late.then(|| expr.clone()));
            }
            if !is_late || is_key(at) {
                early.push((at, expr));
            }
        }
        let carried = carried(
            late.iter().flatten().chain(sets.iter().flat_map(|call| &call.arguments)),
            early.iter().map(|(_, expr)| expr).filter(|expr| matches!(expr, Expr::Column { .. })),
            &deferred,
            known_from,
        );
        let room = carried.last_key_value().map_or(0, |(last, _)| last + 1);
        let mut before: Vec<Expr> = (0..room).map(|index| column_or_null(&carried, index)).collect();
        let mut places = vec![0; count];
        let mut computes = false;
        for (at, expr) in early {
            let place = match &expr {
                Expr::Column { index, .. } => *index,
                _ => {
                    computes = true;
                    before.push(expr);
                    before.len() - 1
                }
            };
            if let Some(known) = places.get_mut(at) {
                *known = place;
            }
        }
        let shift = if computes { before.len() } else { sets_at };
        let mut after = Vec::with_capacity(visible);
        for ((expr, ty), place) in late.into_iter().zip(types).zip(&places) {
            after.push(match expr {
                Some(expr) => behind(expr, known_from, shift)?,
                None => Expr::Column { index: *place, ty },
            });
        }
        if !computes {
            return Ok((input, places, Late { exprs: after, deferred, sets }));
        }
        let mut late = Late { exprs: after, deferred: DeferredValues::default(), sets };
        let deferred = part(deferred, &mut before, &mut late)?;
        let node = Node::Project(Arc::new(ProjectPlan { input, exprs: before, deferred }));
        Ok((node, places, late))
    }
}

/// Adds to ORDER BY what it does not name of DISTINCT ON, so that rows that are one there come together.
pub(super) fn sort_by_all(sort: &mut Vec<(usize, SortKey)>, on: &[usize], types: &[Type]) -> Result<()> {
    let first_other = sort.iter().position(|(at, _)| !on.contains(at));
    for at in on {
        if sort.iter().take(first_other.unwrap_or(usize::MAX)).any(|(known, _)| known == at) {
            continue;
        }
        if first_other.is_some() {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
            ));
        }
        let ty = types.get(*at).copied().unwrap_or(Type::of(TypeId::Unknown));
        let expr = Expr::Column { index: *at, ty };
        sort.push((*at, SortKey { expr, descending: false, nulls_first: false }));
    }
    Ok(())
}

/// ORDER BY, with the numbers of its keys, of which `places` tells where in the row they are.
pub(super) fn sorted_by(input: Node, sort: Vec<(usize, SortKey)>, types: &[Type], places: &[usize]) -> Node {
    let column = |(at, key): (usize, SortKey)| {
        let ty = types.get(at).copied().unwrap_or(key.expr.ty());
        let index = places.get(at).copied().unwrap_or(at);
        SortKey { expr: Expr::Column { index, ty }, ..key }
    };
    let keys = sort.into_iter().map(column).collect();
    Node::Sort(Arc::new(SortPlan { input, keys, limit: None }))
}

/// A late expression over the sorted row, in which the sets' results begin at `shift` and not at `sets_at`.
fn behind(expr: Expr, sets_at: usize, shift: usize) -> Result<Expr> {
    expr.transform(&mut |part| {
        Ok(match part {
            Expr::Column { index, ty } if index >= sets_at => {
                Step::Done(Expr::Column { index: index - sets_at + shift, ty })
            }
            other => Step::Into(other),
        })
    })
}

impl Late {
    pub(super) fn over(self, mut input: Node) -> Node {
        let Self { exprs, deferred, sets: calls } = self;
        if !calls.is_empty() {
            let deferred = deferred.clone();
            input = Node::ProjectSet(Arc::new(ProjectSetPlan { input, calls, deferred }));
        }
        Node::Project(Arc::new(ProjectPlan { input, exprs, deferred }))
    }
}

/// The columns of the row that late expressions, the sets' arguments and keys look at, before `end`.
fn carried<'e>(
    late: impl Iterator<Item = &'e Expr>,
    keys: impl Iterator<Item = &'e Expr>,
    deferred: &[DeferredValue],
    end: usize,
) -> BTreeMap<usize, Type> {
    let mut carried = BTreeMap::new();
    let mut note = |expr: &Expr| {
        expr.walk(&mut |part| {
            if let Expr::Column { index, ty } = part
                && *index < end
            {
                carried.insert(*index, *ty);
            }
            true
        });
    };
    keys.for_each(&mut note);
    let late: Vec<&Expr> = late.collect();
    late.iter().for_each(|expr| note(expr));
    let slots = slots_of(late, deferred);
    let slots = || slots.iter().filter_map(|at| deferred.get(*at));
    slots().flat_map(|slot| slot.source.arguments()).for_each(note);
    for slot in slots() {
        outer_columns(slot, &mut |above, index, ty| {
            if above == 0 {
                carried.insert(index, ty);
            }
        });
    }
    carried
}

fn column_or_null(carried: &BTreeMap<usize, Type>, index: usize) -> Expr {
    match carried.get(&index) {
        Some(ty) => Expr::Column { index, ty: *ty },
        None => null(Type::of(TypeId::Unknown)),
    }
}

/// Gives each half the values that wait for it: the first half's come back. Where both need one, or others
/// hold them too, they share all.
fn part(mut deferred: DeferredValues, before: &mut [Expr], late: &mut Late) -> Result<DeferredValues> {
    let early = slots_of(before.iter(), &deferred);
    let arguments = late.sets.iter().flat_map(|call| &call.arguments);
    let behind = slots_of(late.exprs.iter().chain(arguments), &deferred);
    let slots = if early.is_disjoint(&behind) { Arc::get_mut(&mut deferred) } else { None };
    let Some(slots) = slots else {
        late.deferred = deferred.clone();
        return Ok(deferred);
    };
    let (mut first, mut second, mut places) = (Vec::new(), Vec::new(), Vec::with_capacity(slots.len()));
    for (at, slot) in std::mem::take(slots).into_iter().enumerate() {
        let half = if behind.contains(&at) { &mut second } else { &mut first };
        places.push(half.len());
        half.push(slot);
    }
    before.iter_mut().try_for_each(|expr| renumber(expr, &places))?;
    late.exprs.iter_mut().try_for_each(|expr| renumber(expr, &places))?;
    let arguments = late.sets.iter_mut().flat_map(|call| &mut call.arguments);
    let slots = first.iter_mut().chain(&mut second);
    let arguments = arguments.chain(slots.flat_map(|slot| slot.source.arguments_mut()));
    arguments.into_iter().try_for_each(|expr| renumber(expr, &places))?;
    late.deferred = Arc::new(second);
    Ok(Arc::new(first))
}

fn renumber(expr: &mut Expr, places: &[usize]) -> Result<()> {
    let before = std::mem::replace(expr, null(Type::of(TypeId::Unknown)));
    *expr = before.transform(&mut |part| {
        Ok(match part {
            Expr::Deferred { index, ty } => {
                Step::Done(Expr::Deferred { index: places.get(index).copied().unwrap_or(index), ty })
            }
            other => Step::Into(other),
        })
    })?;
    Ok(())
}

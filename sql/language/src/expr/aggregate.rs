//! Aggregate functions: resolution, and the state of one group.

mod statistic;

use sql_interface::{Result, SqlError};
use sql_types::ops::float_overflow;
use sql_types::{Array, Datum, Interval, Numeric, Type, TypeId, compare};
use sqlstate::SqlState;
use statistic::{Moments, Statistic, numeric_statistic};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    CountAll,
    Count,
    Sum,
    Average,
    Minimum,
    Maximum,
    And,
    Or,
    StringAgg,
    ArrayAgg,
    Statistic(Statistic),
}

/// A resolved aggregate function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aggregate {
    kind: Kind,
    argument: TypeId,
    result: TypeId,
}

/// Whether a name is that of an aggregate function.
pub(super) fn is_aggregate(name: &str) -> bool {
    kind_of(name).is_some()
}

/// All aggregates: name, what is computed, and a line for the documentation.
const AGGREGATES: &[(&str, Kind, &str)] = &[
    ("count", Kind::Count, "Number of rows, or of values that are not NULL"),
    ("sum", Kind::Sum, "Sum"),
    ("avg", Kind::Average, "Mean"),
    ("min", Kind::Minimum, "Least value"),
    ("max", Kind::Maximum, "Greatest value"),
    ("bool_and", Kind::And, "Whether all values are true"),
    ("every", Kind::And, "Whether all values are true"),
    ("bool_or", Kind::Or, "Whether a value is true"),
    ("string_agg", Kind::StringAgg, "All values as one, with a separator"),
    ("array_agg", Kind::ArrayAgg, "All values as an array"),
    ("variance", statistic(true, false), "Variance of a sample"),
    ("var_samp", statistic(true, false), "Variance of a sample"),
    ("var_pop", statistic(false, false), "Variance of a population"),
    ("stddev", statistic(true, true), "Standard deviation of a sample"),
    ("stddev_samp", statistic(true, true), "Standard deviation of a sample"),
    ("stddev_pop", statistic(false, true), "Standard deviation of a population"),
];

const fn statistic(sample: bool, deviation: bool) -> Kind {
    Kind::Statistic(Statistic { sample, deviation })
}

fn kind_of(name: &str) -> Option<Kind> {
    AGGREGATES.iter().find(|(known, ..)| *known == name).map(|(_, kind, _)| *kind)
}

/// All aggregates for the documentation: name, types of the arguments, type of the result, description.
pub(crate) fn described() -> impl Iterator<Item = (&'static str, Vec<TypeId>, TypeId, &'static str)> {
    let given =
        TypeId::ALL.iter().filter(|id| !matches!(id, TypeId::Unknown | TypeId::Void | TypeId::AnyArray));
    let lists: Vec<Vec<TypeId>> = std::iter::once(Vec::new())
        .chain(given.map(|id| vec![*id]))
        .chain([TypeId::Text, TypeId::Bytea].map(|id| vec![id, id]))
        .collect();
    AGGREGATES.iter().flat_map(move |(name, _, about)| {
        // Those that take a type as it is; others take it by a cast.
        let mut found = Vec::new();
        for types in &lists {
            if let Ok(Some((aggregate, taken))) = Aggregate::resolve(name, types)
                && taken == *types
            {
                found.push((*name, taken, aggregate.result, *about));
            }
        }
        found
    })
}

fn ambiguous(name: &str, id: TypeId) -> SqlError {
    SqlError::new(SqlState::AMBIGUOUS_FUNCTION, format!("function {name}({}) is not unique", id.sql_name()))
        .with_hint("Could not choose a best candidate function. You might need to add explicit type casts.")
}

impl Aggregate {
    /// The aggregate for arguments of these types, with the types that they are to be coerced to; None if
    /// there is none.
    ///
    /// # Errors
    ///
    /// 42725 where several fit equally well.
    pub(crate) fn resolve(name: &str, types: &[TypeId]) -> Result<Option<(Self, Vec<TypeId>)>> {
        use TypeId as T;
        let Some(kind) = kind_of(name) else { return Ok(None) };
        let given = types.first().copied();
        let found = |kind, argument, result| Ok(Some((Self { kind, argument, result }, vec![argument])));
        let id = match (kind, types, given) {
            (Kind::Count, [], _) => {
                let all = Self { kind: Kind::CountAll, argument: T::Void, result: T::Int8 };
                return Ok(Some((all, Vec::new())));
            }
            (Kind::StringAgg, [value, _], _) => {
                let id = if *value == T::Bytea { T::Bytea } else { T::Text };
                let string =
                    sql_types::cast::cast_context(*value, id) == Some(sql_types::cast::CastContext::Implicit);
                return Ok(string.then(|| (Self { kind, argument: id, result: id }, vec![id, id])));
            }
            (_, [id], _) if kind != Kind::StringAgg => *id,
            _ => return Ok(None),
        };
        match kind {
            Kind::Count => found(kind, if id == T::Unknown { T::Text } else { id }, T::Int8),
            Kind::Sum => match id {
                T::Int2 | T::Int4 => found(kind, id, T::Int8),
                T::Int8 | T::Numeric => found(kind, id, T::Numeric),
                T::Float4 | T::Float8 | T::Interval => found(kind, id, id),
                T::Time => found(kind, T::Interval, T::Interval),
                T::Unknown => Err(ambiguous(name, id)),
                _ => Ok(None),
            },
            Kind::Average => match id {
                T::Int2 | T::Int4 | T::Int8 | T::Numeric => found(kind, id, T::Numeric),
                T::Float4 | T::Float8 => found(kind, T::Float8, T::Float8),
                T::Interval | T::Time => found(kind, T::Interval, T::Interval),
                T::Unknown => Err(ambiguous(name, id)),
                _ => Ok(None),
            },
            Kind::Minimum | Kind::Maximum => match id {
                T::Varchar | T::Name | T::Unknown | T::Char => found(kind, T::Text, T::Text),
                id if id.is_reg() || id == T::Regtype => found(kind, T::Oid, T::Oid),
                T::Bool | T::Uuid | T::Bytea | T::Xid | T::Aclitem => Ok(None),
                id => found(kind, id, id),
            },
            Kind::And | Kind::Or => match id {
                T::Bool | T::Unknown => found(kind, T::Bool, T::Bool),
                _ => Ok(None),
            },
            Kind::ArrayAgg => match id.array() {
                // One takes what is no array, and one what is.
                _ if id == T::Unknown => Err(ambiguous(name, id)),
                Some(array) => found(kind, id, array),
                None => Err(SqlError::unsupported(format!("array_agg over {}", id.sql_name()))),
            },
            Kind::Statistic(_) => match id {
                T::Int2 | T::Int4 | T::Int8 | T::Numeric => found(kind, T::Numeric, T::Numeric),
                T::Float4 | T::Float8 => found(kind, T::Float8, T::Float8),
                T::Unknown => Err(ambiguous(name, id)),
                _ => Ok(None),
            },
            Kind::CountAll | Kind::StringAgg => Ok(None),
        }
    }

    /// Whether values of all types are alike to it.
    pub(crate) fn takes_any(&self) -> bool {
        self.kind == Kind::Count
    }

    /// Whether what it makes of values hangs on their order.
    pub fn is_ordered(&self) -> bool {
        let is_float = matches!(self.argument, TypeId::Float4 | TypeId::Float8);
        match self.kind {
            Kind::StringAgg | Kind::ArrayAgg => true,
            Kind::Sum | Kind::Average | Kind::Statistic(_) => is_float,
            _ => false,
        }
    }

    /// The name that it has in SQL; of several, the first.
    pub fn name(&self) -> &'static str {
        let kind = if self.kind == Kind::CountAll { Kind::Count } else { self.kind };
        AGGREGATES.iter().find(|(_, known, _)| *known == kind).map_or("?", |(name, ..)| *name)
    }

    /// The type of the result.
    pub fn ty(&self) -> Type {
        Type::of(self.result)
    }

    /// An empty group.
    pub fn start(&self) -> Accumulator {
        use TypeId as T;
        let state = match (self.kind, self.argument) {
            (Kind::CountAll | Kind::Count, _) => State::Count(0),
            (Kind::Sum | Kind::Average, T::Int2 | T::Int4 | T::Int8) => State::Integers { sum: 0, count: 0 },
            (Kind::Sum | Kind::Average, T::Float4) => State::Real { sum: 0.0, count: 0 },
            (Kind::Sum, T::Float8) => State::Double { sum: 0.0, count: 0 },
            (Kind::Average | Kind::Statistic(_), T::Float8) => State::Moments(Moments::default()),
            (Kind::Sum | Kind::Average, T::Interval) => {
                State::Intervals { sum: Interval::default(), count: 0 }
            }
            (Kind::Sum | Kind::Average, _) => State::Numerics { sum: Numeric::ZERO, count: 0 },
            (Kind::Statistic(_), _) => {
                State::NumericMoments { count: 0, sum: Numeric::ZERO, squares: Numeric::ZERO }
            }
            (Kind::StringAgg, T::Bytea) => State::Bytes(None),
            (Kind::StringAgg, _) => State::String(None),
            (Kind::ArrayAgg, _) => State::Values(None),
            (Kind::Minimum | Kind::Maximum | Kind::And | Kind::Or, _) => State::One(Datum::Null),
        };
        Accumulator { aggregate: *self, state, size_bytes: 0 }
    }
}

#[derive(Clone, Debug)]
enum State {
    Count(i64),
    Integers { sum: i128, count: i64 },
    Real { sum: f32, count: i64 },
    Double { sum: f64, count: i64 },
    Numerics { sum: Numeric, count: i64 },
    Intervals { sum: Interval, count: i64 },
    Moments(Moments),
    NumericMoments { count: i64, sum: Numeric, squares: Numeric },
    One(Datum),
    String(Option<String>),
    Bytes(Option<Vec<u8>>),
    Values(Option<Vec<Datum>>),
}

/// The state of an aggregate over one group.
#[derive(Clone, Debug)]
pub struct Accumulator {
    aggregate: Aggregate,
    state: State,
    size_bytes: usize,
}

fn out_of_range(what: &'static str) -> SqlError {
    SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, what)
}

impl Accumulator {
    /// Takes one row's arguments in.
    ///
    /// # Errors
    ///
    /// 22003 or 22008 where a sum leaves its type, 53200 where memory ends.
    pub fn add(&mut self, arguments: &[Datum]) -> Result<()> {
        if self.aggregate.kind == Kind::CountAll {
            if let State::Count(count) = &mut self.state {
                *count += 1;
            }
            return Ok(());
        }
        let Some(value) = arguments.first() else {
            return Err(SqlError::internal("an aggregate lacks its argument"));
        };
        // All but array_agg pass over NULLs.
        if value.is_null() && self.aggregate.kind != Kind::ArrayAgg {
            return Ok(());
        }
        let mismatch = || SqlError::internal("an aggregate met a value of a type that it does not take");
        match &mut self.state {
            State::Count(count) => *count += 1,
            State::Integers { sum, count } => {
                *sum += i128::from(value.as_i64().ok_or_else(mismatch)?);
                *count += 1;
            }
            State::Real { sum, count } => {
                let Datum::Float4(value) = value else { return Err(mismatch()) };
                let finite = sum.is_finite() && value.is_finite();
                *sum += value;
                *count += 1;
                if sum.is_infinite() && finite {
                    return Err(float_overflow().into());
                }
            }
            State::Double { sum, count } => {
                let Datum::Float8(value) = value else { return Err(mismatch()) };
                let finite = sum.is_finite() && value.is_finite();
                *sum += value;
                *count += 1;
                if sum.is_infinite() && finite {
                    return Err(float_overflow().into());
                }
            }
            State::Numerics { sum, count } => {
                let Datum::Numeric(value) = value else { return Err(mismatch()) };
                *sum = sum.add(value)?;
                *count += 1;
            }
            State::Intervals { sum, count } => {
                let Datum::Interval(value) = value else { return Err(mismatch()) };
                let added = sum.checked_add(*value);
                *sum = added.ok_or_else(|| {
                    SqlError::new(SqlState::DATETIME_FIELD_OVERFLOW, "interval out of range")
                })?;
                *count += 1;
            }
            State::Moments(moments) => {
                let Datum::Float8(value) = value else { return Err(mismatch()) };
                moments.add(*value)?;
            }
            State::NumericMoments { count, sum, squares } => {
                let Datum::Numeric(value) = value else { return Err(mismatch()) };
                *count += 1;
                *sum = sum.add(value)?;
                *squares = squares.add(&value.mul(value)?)?;
            }
            State::One(best) => {
                let replace = match (self.aggregate.kind, &*best) {
                    (_, Datum::Null) => true,
                    (Kind::Minimum, best) => compare(value, best).is_lt(),
                    (Kind::Maximum, best) => compare(value, best).is_gt(),
                    (Kind::And, _) => *value == Datum::Bool(false),
                    _ => *value == Datum::Bool(true),
                };
                if replace {
                    self.size_bytes = value.heap_bytes();
                    *best = value.clone();
                }
            }
            State::String(text) => {
                let value = value.as_str().ok_or_else(mismatch)?;
                match text {
                    None => *text = Some(value.to_owned()),
                    Some(text) => {
                        text.push_str(arguments.get(1).and_then(Datum::as_str).unwrap_or_default());
                        text.push_str(value);
                    }
                }
                self.size_bytes = text.as_ref().map_or(0, String::len);
            }
            State::Bytes(bytes) => {
                let Datum::Bytea(value) = value else { return Err(mismatch()) };
                match bytes {
                    None => *bytes = Some(value.to_vec()),
                    Some(bytes) => {
                        if let Some(Datum::Bytea(delimiter)) = arguments.get(1) {
                            bytes.extend_from_slice(delimiter);
                        }
                        bytes.extend_from_slice(value);
                    }
                }
                self.size_bytes = bytes.as_ref().map_or(0, Vec::len);
            }
            State::Values(values) => {
                self.size_bytes += size_of::<Datum>() + value.heap_bytes();
                values.get_or_insert_default().push(value.clone());
            }
        }
        Ok(())
    }

    /// The aggregate of the rows that were taken in.
    ///
    /// # Errors
    ///
    /// As [`Accumulator::add`].
    pub fn finish(self) -> Result<Datum> {
        let average = self.aggregate.kind == Kind::Average;
        Ok(match self.state {
            State::Count(count) => Datum::Int8(count),
            State::Integers { count: 0, .. }
            | State::Real { count: 0, .. }
            | State::Double { count: 0, .. }
            | State::Numerics { count: 0, .. }
            | State::Intervals { count: 0, .. } => Datum::Null,
            State::Integers { sum, count } if average => {
                Datum::Numeric(Numeric::from(sum).div(&Numeric::from(count))?)
            }
            State::Integers { sum, .. } if self.aggregate.result == TypeId::Numeric => {
                Datum::Numeric(Numeric::from(sum))
            }
            State::Integers { sum, .. } => {
                Datum::Int8(i64::try_from(sum).map_err(|_| out_of_range("bigint out of range"))?)
            }
            State::Real { sum, .. } => Datum::Float4(sum),
            State::Double { sum, .. } => Datum::Float8(sum),
            State::Numerics { sum, count } if average => Datum::Numeric(sum.div(&Numeric::from(count))?),
            State::Numerics { sum, .. } => Datum::Numeric(sum),
            State::Intervals { sum, count } if average => {
                Datum::Interval(sql_types::time::divide_interval(sum, count as f64)?)
            }
            State::Intervals { sum, .. } => Datum::Interval(sum),
            State::Moments(moments) => match self.aggregate.kind {
                Kind::Statistic(statistic) => moments.statistic(statistic),
                _ => moments.average(),
            },
            State::NumericMoments { count, sum, squares } => match self.aggregate.kind {
                Kind::Statistic(statistic) => numeric_statistic(statistic, count, &sum, &squares)?,
                _ => Datum::Null,
            },
            State::One(best) => best,
            State::String(text) => text.map_or(Datum::Null, Datum::from),
            State::Bytes(bytes) => bytes.map_or(Datum::Null, Datum::bytea),
            State::Values(values) => match values {
                Some(values) => Datum::Array(Arc::new(Array::of(self.aggregate.argument, values))),
                None => Datum::Null,
            },
        })
    }

    /// Bytes that the group's state holds outside of itself.
    #[inline]
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}

//! Computing expressions over a row.

use super::node::{Comparison, Constant, Expr};
use super::{EvalContext, Facts};
use sql_catalogue::names::SearchPath;
use sql_interface::{Result, SqlError};
use sql_types::cast;
use sql_types::ops::compare_mixed;
use sql_types::work;
use sql_types::{Array, Datum, Style, Type, TypeId};
use sqlstate::SqlState;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// A value, borrowed where it stands already.
enum Value<'a> {
    Borrowed(&'a Datum),
    Owned(Datum),
}

impl Deref for Value<'_> {
    type Target = Datum;
    fn deref(&self) -> &Datum {
        match self {
            Self::Borrowed(value) => value,
            Self::Owned(value) => value,
        }
    }
}

impl Value<'_> {
    fn into_owned(self) -> Datum {
        match self {
            Self::Borrowed(value) => value.clone(),
            Self::Owned(value) => value,
        }
    }
}

const NULL: Datum = Datum::Null;

/// Elements of an array between two looks at whether the statement is to stop.
const ELEMENTS_UNSEEN: usize = 16;

/// What is made of a value beside itself, in bytes, roughly.
fn held_bytes(value: &Datum) -> usize {
    match value {
        // Its text may have a sign before each byte.
        Datum::Array(array) => array.heap_bytes().saturating_mul(2),
        other => other.heap_bytes(),
    }
}

/// Computes a value from others that hold so many bytes: all together, and at most as the product of two.
/// What is much is done aside, and its result has a limit.
#[inline]
fn weighed(bytes: usize, product: usize, compute: impl FnOnce() -> Result<Datum>) -> Result<Datum> {
    if bytes < work::SHORT_BYTES { compute() } else { heavy(bytes, product, compute) }
}

#[cold]
fn heavy(bytes: usize, product: usize, compute: impl FnOnce() -> Result<Datum>) -> Result<Datum> {
    // The slowest (the division of long numbers, LIKE with long patterns) look at every pair of some thousand
    // bytes.
    let result = work::large(bytes, || work::aside(product / work::SHORT_BYTES, compute))?;
    if result.heap_bytes() > sql_types::VALUE_BYTES_MAX {
        return Err(sql_types::Error::too_long().into());
    }
    Ok(result)
}

#[cold]
fn missing(what: &'static str) -> SqlError {
    SqlError::internal(format!("an expression names a {what} that is not there"))
}

impl Expr {
    /// The value over the rows and parameters of `cx`.
    ///
    /// # Errors
    ///
    /// What the functions and operators in it fail with.
    #[inline]
    pub fn eval(&self, cx: &EvalContext<'_>) -> Result<Datum> {
        self.value(cx).map(Value::into_owned)
    }

    /// The value as a condition: NULL is false.
    ///
    /// # Errors
    ///
    /// As [`Expr::eval`].
    #[inline]
    pub fn eval_condition(&self, cx: &EvalContext<'_>) -> Result<bool> {
        Ok(self.truth(cx)?.unwrap_or(false))
    }

    /// The truth value; None is unknown.
    fn truth(&self, cx: &EvalContext<'_>) -> Result<Option<bool>> {
        match self {
            Self::Compare { op, left, right } => {
                let (left, right) = (left.value(cx)?, right.value(cx)?);
                if left.is_null() || right.is_null() {
                    return Ok(None);
                }
                Ok(Some(op.accepts(compare_mixed(&left, &right, cx.facts.style()))))
            }
            Self::And(parts) => {
                let mut all = Some(true);
                for part in parts {
                    match part.truth(cx)? {
                        Some(false) => return Ok(Some(false)),
                        Some(true) => {}
                        None => all = None,
                    }
                }
                Ok(all)
            }
            Self::Or(parts) => {
                let mut any = Some(false);
                for part in parts {
                    match part.truth(cx)? {
                        Some(true) => return Ok(Some(true)),
                        Some(false) => {}
                        None => any = None,
                    }
                }
                Ok(any)
            }
            Self::Not(operand) => Ok(operand.truth(cx)?.map(|truth| !truth)),
            Self::IsNull { operand, negated } => Ok(Some(operand.value(cx)?.is_null() != *negated)),
            Self::IsTruth { operand, truth, negated } => {
                Ok(Some((operand.truth(cx)? == Some(*truth)) != *negated))
            }
            Self::Distinct { sides, negated } => {
                let [left, right] = sides.as_ref();
                let (left, right) = (left.value(cx)?, right.value(cx)?);
                let distinct = match (left.is_null(), right.is_null()) {
                    (false, false) => compare_mixed(&left, &right, cx.facts.style()).is_ne(),
                    (left, right) => left != right,
                };
                Ok(Some(distinct != *negated))
            }
            Self::In { tested, list, negated } => {
                let found = is_member(&*tested.value(cx)?, list, cx)?;
                Ok(found.map(|found| found != *negated))
            }
            Self::Quantified { .. } => self.quantified(cx),
            _ => Ok(self.value(cx)?.as_bool()),
        }
    }

    fn value<'a>(&'a self, cx: &EvalContext<'a>) -> Result<Value<'a>> {
        let borrowed =
            |value: Option<&'a Datum>, what| value.map(Value::Borrowed).ok_or_else(|| missing(what));
        match self {
            Self::Const(Constant(value), _) => Ok(Value::Borrowed(value)),
            Self::Column { index, .. } => borrowed(cx.row.get(*index), "column"),
            Self::Param { index, .. } => borrowed(cx.params.get(*index), "parameter"),
            Self::Deferred { index, .. } => match cx.deferred.get(*index) {
                Some(Some(value)) => Ok(Value::Borrowed(value)),
                _ => Err(SqlError::value_needed(*index)),
            },
            Self::Outer { depth, index, .. } => {
                let row = cx.outer.len().checked_sub(depth + 1).and_then(|at| cx.outer.get(at));
                borrowed(row.and_then(|row| row.get(*index)), "column of an outer query")
            }
            Self::Aggregate { .. } => {
                Err(SqlError::internal("an aggregate is evaluated outside of its grouping"))
            }
            _ => self.compute(cx).map(Value::Owned),
        }
    }

    fn compute(&self, cx: &EvalContext<'_>) -> Result<Datum> {
        match self {
            Self::Binary { operator, sides } => {
                let [left, right] = sides.as_ref();
                let (left, right) = (left.value(cx)?, right.value(cx)?);
                if left.is_null() || right.is_null() {
                    return Ok(Datum::Null);
                }
                let (some, more) = (held_bytes(&left), held_bytes(&right));
                weighed(some + more, some.saturating_mul(more), || {
                    Ok((operator.0.function)(&left, &right, cx.facts.style())?)
                })
            }
            Self::Unary { operator, operand } => {
                let operand = operand.value(cx)?;
                if operand.is_null() {
                    return Ok(Datum::Null);
                }
                weighed(held_bytes(&operand), 0, || Ok((operator.0.function)(&operand)?))
            }
            Self::Call { function, arguments, ty } => call(function.0, ty.id, arguments, cx),
            Self::Cast { operand, to, explicit } => {
                let from = operand.ty().id;
                let value = operand.value(cx)?;
                // Each comma of a text may begin an element of an array.
                let factor = if to.id.element().is_some() { size_of::<Datum>() } else { 2 };
                weighed(held_bytes(&value).saturating_mul(factor), 0, || {
                    convert(&value, from, *to, *explicit, cx.facts)
                })
            }
            Self::Case { branches, otherwise, .. } => {
                for (condition, result) in branches {
                    if condition.eval_condition(cx)? {
                        return result.eval(cx);
                    }
                }
                otherwise.as_ref().map_or(Ok(Datum::Null), |otherwise| otherwise.eval(cx))
            }
            Self::Coalesce(parts, _) => {
                for part in parts {
                    let value = part.value(cx)?;
                    if !value.is_null() {
                        return Ok(value.into_owned());
                    }
                }
                Ok(Datum::Null)
            }
            Self::NullIf { equal, value } => {
                if equal.eval_condition(cx)? {
                    Ok(Datum::Null)
                } else {
                    value.eval(cx)
                }
            }
            Self::Extreme { greatest, arguments, .. } => {
                let wanted = if *greatest { Comparison::Gt } else { Comparison::Lt };
                let mut best = Datum::Null;
                for argument in arguments {
                    let value = argument.value(cx)?;
                    if !value.is_null()
                        && (best.is_null() || wanted.accepts(sql_types::compare(&value, &best)))
                    {
                        best = value.into_owned();
                    }
                }
                Ok(best)
            }
            Self::Array { elements, ty } => array(elements, *ty, cx),
            Self::Subscript { array, subscripts, .. } => {
                let array = array.value(cx)?;
                let mut places = Vec::with_capacity(subscripts.len());
                for subscript in subscripts {
                    let Some(place) = subscript.value(cx)?.as_i64() else { return Ok(Datum::Null) };
                    places.push(place);
                }
                Ok(match (&*array, places.as_slice()) {
                    (Datum::Array(array), places) => array.get(places).cloned().unwrap_or_default(),
                    (Datum::Text(name), [place]) => character_of(name, *place),
                    _ => Datum::Null,
                })
            }
            _ => Ok(Datum::from(self.truth(cx)?)),
        }
    }

    fn quantified(&self, cx: &EvalContext<'_>) -> Result<Option<bool>> {
        let Self::Quantified { left, operator, array, all } = self else { return Ok(None) };
        let (left, array) = (left.value(cx)?, array.value(cx)?);
        let Datum::Array(array) = &*array else { return Ok(None) };
        let finds_equal = operator.0.name == if *all { "<>" } else { "=" };
        if finds_equal
            && !left.is_null()
            && let Some(found) = array.look_up(&left, cx.facts.style())?
        {
            let unknown = !found && array.has_nulls();
            return Ok(if unknown { None } else { Some(found != *all) });
        }
        let mut unknown = false;
        for (at, element) in array.values().iter().enumerate() {
            if at % ELEMENTS_UNSEEN == ELEMENTS_UNSEEN - 1 {
                work::check()?;
            }
            if left.is_null() || element.is_null() {
                unknown = true;
                continue;
            }
            let found = (operator.0.function)(&left, element, cx.facts.style())?.as_bool();
            match found {
                Some(found) if found != *all => return Ok(Some(!*all)),
                Some(_) => {}
                None => unknown = true,
            }
        }
        Ok(if unknown { None } else { Some(*all) })
    }

    /// The value of an expression whose parts are constants.
    pub(super) fn eval_constant(&self) -> Result<Datum> {
        let facts = NoSession;
        self.eval(&EvalContext::of_no_row(&facts))
    }
}

/// Whether a list holds a value; None if it does not but holds NULLs.
fn is_member(tested: &Datum, list: &[Expr], cx: &EvalContext<'_>) -> Result<Option<bool>> {
    if tested.is_null() {
        return Ok(if list.is_empty() { Some(false) } else { None });
    }
    let mut unknown = false;
    for item in list {
        let item = item.value(cx)?;
        if item.is_null() {
            unknown = true;
        } else if sql_types::compare(tested, &item).is_eq() {
            return Ok(Some(true));
        }
    }
    Ok(if unknown { None } else { Some(false) })
}

/// Most functions take few arguments: those stand on the stack.
const FEW: usize = 4;

fn call(
    function: &super::functions::Function,
    result: TypeId,
    arguments: &[Expr],
    cx: &EvalContext<'_>,
) -> Result<Datum> {
    let mut few = [NULL; FEW];
    let mut many = Vec::new();
    let values: &mut [Datum] = match few.get_mut(..arguments.len()) {
        Some(few) => few,
        None => {
            many.resize(arguments.len(), Datum::Null);
            &mut many
        }
    };
    for (value, argument) in values.iter_mut().zip(arguments) {
        *value = argument.eval(cx)?;
        if function.strict && value.is_null() {
            return Ok(Datum::Null);
        }
    }
    let (mut bytes, mut product) = (0, 0_usize);
    for value in values.iter() {
        let more = held_bytes(value);
        product = product.max(more.saturating_mul(bytes));
        bytes += more;
    }
    let called = || weighed(bytes, product, || function.compute(result, values, cx.facts));
    match cx.replay {
        Some(replay) if function.is_volatile() => replay.call(called),
        _ => called(),
    }
}

/// A cast, with the names that only the catalogue knows.
pub(super) fn convert(
    value: &Datum,
    from: TypeId,
    to: Type,
    explicit: bool,
    facts: &dyn Facts,
) -> Result<Datum> {
    match (value, from, to.id) {
        (_, reg, id) if id.element().unwrap_or(id).is_string() && reg.element().unwrap_or(reg).is_reg() => {
            let named = super::coerce::named_reg(reg, value, facts)?;
            let (value, from) = match &named {
                Some(array @ Datum::Array(_)) => (array, TypeId::TextArray),
                Some(name) => (name, TypeId::Text),
                None => (value, from),
            };
            Ok(cast::cast(value, from, to, explicit, facts.style())?)
        }
        // The cast from text to regclass looks for a name alone.
        (Datum::Text(name), TypeId::Text | TypeId::Varchar, TypeId::Regclass) => {
            let found = facts.reg_oid(TypeId::Regclass, facts.search_path(), name)?;
            found.map(Datum::Oid).ok_or_else(|| facts.reg_missing(TypeId::Regclass, name))
        }
        (Datum::Bpchar(name), _, reg) if reg.is_reg() => {
            super::coerce::reg(reg, name.trim_end_matches(' '), facts.search_path(), facts)
        }
        (Datum::Text(name), _, reg) => {
            match super::coerce::read_reg(reg, name, facts.search_path(), facts)? {
                Some(value) => Ok(value),
                None => Ok(cast::cast(value, from, to, explicit, facts.style())?),
            }
        }
        _ => Ok(cast::cast(value, from, to, explicit, facts.style())?),
    }
}

/// An array that is no larger than values may be; its elements may be one value many times.
fn limited(array: Array) -> Result<Datum> {
    if array.heap_bytes() > sql_types::VALUE_BYTES_MAX {
        return Err(sql_types::Error::too_long().into());
    }
    Ok(Datum::Array(Arc::new(array)))
}

fn array(elements: &[Expr], ty: Type, cx: &EvalContext<'_>) -> Result<Datum> {
    let element = ty.id.element().ok_or_else(|| SqlError::internal("an array has no element type"))?;
    let values = elements.iter().map(|element| element.eval(cx)).collect::<Result<Vec<_>>>()?;
    let nested = elements.first().is_some_and(|first| first.ty().id == ty.id);
    if !nested {
        return limited(Array::of(element, values));
    }
    let mismatch = || {
        SqlError::new(
            SqlState::ARRAY_SUBSCRIPT_ERROR,
            "multidimensional arrays must have array expressions with matching dimensions",
        )
    };
    let (mut inner, mut all) = (None, Vec::new());
    for value in &values {
        // NULL counts as an empty array.
        let (dimensions, values) = match value {
            Datum::Array(array) => (array.dimensions(), array.values()),
            Datum::Null => (&[][..], &[][..]),
            _ => return Err(mismatch()),
        };
        if *inner.get_or_insert(dimensions) != dimensions {
            return Err(mismatch());
        }
        all.extend_from_slice(values);
    }
    if inner.is_some_and(<[_]>::is_empty) {
        return Ok(Datum::Array(Arc::new(Array::of(element, Vec::new()))));
    }
    let len = u32::try_from(values.len()).map_err(|_| mismatch())?;
    let outer = sql_types::Dimension { len, lower: 1 };
    let dimensions = std::iter::once(outer).chain(inner.unwrap_or_default().iter().copied()).collect();
    limited(Array::with_dimensions(element, dimensions, all)?)
}

/// The session of constants, which ask nothing of it.
struct NoSession;

fn default_style() -> &'static Style {
    static STYLE: OnceLock<Style> = OnceLock::new();
    STYLE.get_or_init(Style::default)
}

impl Facts for NoSession {
    fn transaction_time(&self) -> host::Timestamp {
        host::Timestamp::default()
    }
    fn statement_time(&self) -> host::Timestamp {
        host::Timestamp::default()
    }
    fn clock_time(&self) -> host::Timestamp {
        host::Timestamp::default()
    }
    fn random(&self, _: &mut [u8]) {}
    fn style(&self) -> &Style {
        default_style()
    }
    fn current_user(&self) -> &str {
        ""
    }
    fn session_user(&self) -> &str {
        ""
    }
    fn database(&self) -> &str {
        ""
    }
    fn backend_pid(&self) -> i32 {
        0
    }
    fn setting(&self, _: &str) -> Result<Option<String>> {
        Ok(None)
    }
    fn set_setting(&self, name: &str, _: Option<&str>, _: bool) -> Result<String> {
        Err(SqlError::internal(format!("setting {name} is asked for outside of a session")))
    }
    fn relation_oid(&self, _: &SearchPath, _: &str) -> Result<Option<u32>> {
        Ok(None)
    }
    fn relation_name(&self, _: u32) -> Option<String> {
        None
    }
    fn role_name(&self, _: u32) -> Option<String> {
        None
    }
}

/// A byte of a name, which is an array of 64 of them, counted from 0.
fn character_of(name: &str, place: i64) -> Datum {
    let place = usize::try_from(place).ok().filter(|place| *place < 64);
    place.map_or(Datum::Null, |place| match name.as_bytes().get(place) {
        None => Datum::text(""),
        Some(byte) if byte.is_ascii() => Datum::text(char::from(*byte).to_string()),
        Some(byte) => Datum::text(format!("\\{byte:03o}")),
    })
}

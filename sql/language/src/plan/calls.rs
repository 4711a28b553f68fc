//! Calls of functions that only the analyser knows: of the node, of sequences, and those that return sets.

use super::analyzer::{Analyzer, NamedSet};
use super::node::{DeferredSource, OfRow, SequenceFunction, SetCall, SetFunction};
use crate::expr::{self, Expr, FunctionArgument};
use sql_catalogue::rights::{Object, Privileges};
use sql_interface::{NodeFunction, NodeReturns, Result, SqlError};
use sql_types::cast::CastContext;
use sql_types::{Datum, Type, TypeId};
use sqlparser::ast;
use sqlstate::SqlState;

/// Places of conditions, as errors call them.
const CONDITIONS: [&str; 4] = ["WHERE", "JOIN/ON", "CHECK", "EXECUTE parameters"];

/// What generate_series takes: numbers, whose step may be left out, then times.
const SERIES: [[TypeId; 3]; 5] = {
    use TypeId::{Int4, Int8, Interval, Numeric, Timestamp, Timestamptz};
    [
        [Int4, Int4, Int4],
        [Int8, Int8, Int8],
        [Numeric, Numeric, Numeric],
        [Timestamp, Timestamp, Interval],
        [Timestamptz, Timestamptz, Interval],
    ]
};

/// How many of [`SERIES`] are of numbers.
const SERIES_OF_NUMBERS: usize = 3;

/// What aclexplode gives.
pub const ACL_COLUMNS: [(&str, TypeId); 4] = [
    ("grantor", TypeId::Oid),
    ("grantee", TypeId::Oid),
    ("privilege_type", TypeId::Text),
    ("is_grantable", TypeId::Bool),
];

/// A function's name and the types of its arguments, as grants name it.
pub fn signature(function: &NodeFunction) -> String {
    let types: Vec<&str> = function.arguments.iter().map(|argument| argument.ty.id.sql_name()).collect();
    format!("{}({})", function.name, types.join(", "))
}

impl<'a> Analyzer<'a> {
    /// nextval and setval, which wait for the log now and then; and where they may stand beside them currval
    /// and lastval, so that each is called in its turn. (A condition computes these two in passing.)
    pub(super) fn sequence_function(
        &mut self,
        name: &str,
        arguments: &[FunctionArgument],
    ) -> Result<Option<Expr>> {
        let (function, types): (_, &[TypeId]) = match (name, arguments.len()) {
            ("nextval", 1) => (SequenceFunction::Next, &[TypeId::Regclass]),
            ("setval", 2) => (SequenceFunction::Set, &[TypeId::Regclass, TypeId::Int8]),
            ("setval", 3) => (SequenceFunction::Set, &[TypeId::Regclass, TypeId::Int8, TypeId::Bool]),
            ("currval", 1) if !self.in_condition() => (SequenceFunction::Current, &[TypeId::Regclass]),
            ("lastval", 0) if !self.in_condition() => (SequenceFunction::Last, &[]),
            _ => return Ok(None),
        };
        let mut coerced = Vec::with_capacity(types.len());
        for (argument, id) in arguments.iter().zip(types) {
            coerced.push(expr::coerce(argument.value.clone(), Type::of(*id), CastContext::Implicit, self)?);
        }
        Ok(Some(self.sequence_call(function, coerced)))
    }

    /// pg_sleep_for and pg_sleep_until: pg_sleep for the time from now on.
    pub(super) fn sleep_function(
        &mut self,
        name: &str,
        arguments: &[FunctionArgument],
    ) -> Result<Option<Expr>> {
        let ("pg_sleep_for" | "pg_sleep_until", [argument]) = (name, arguments) else { return Ok(None) };
        let of = if name == "pg_sleep_for" { TypeId::Interval } else { TypeId::Timestamptz };
        let value = expr::coerce(argument.value.clone(), Type::of(of), CastContext::Implicit, self)?;
        let now = expr::named_call("clock_timestamp", Vec::new(), self)?;
        let until = match of {
            TypeId::Interval => expr::operator(&ast::BinaryOperator::Plus, now.clone(), value, self)?,
            _ => value,
        };
        let mut seconds = Vec::with_capacity(2);
        for time in [until, now] {
            let epoch = Expr::constant(Datum::text("epoch"), Type::of(TypeId::Text));
            seconds.push(expr::named_call("date_part", vec![epoch, time], self)?);
        }
        let (Some(now), Some(until)) = (seconds.pop(), seconds.pop()) else { return Ok(None) };
        let seconds = expr::operator(&ast::BinaryOperator::Minus, until, now, self)?;
        let passed = [FunctionArgument { name: None, value: seconds }];
        let Some((index, function, arguments)) = self.node_function("pg_sleep", &passed)? else {
            return Ok(None);
        };
        let NodeReturns::Scalar(ty) = function.returns else { return Ok(None) };
        let source = DeferredSource::Call {
            function: index,
            strict: function.strict,
            arguments,
            of_row: OfRow::Field(0),
        };
        Ok(Some(self.add_deferred(source, true, ty)))
    }

    /// Whether what is compiled decides about rows.
    pub(super) fn in_condition(&mut self) -> bool {
        self.level().no_aggregates_in.is_some_and(|place| CONDITIONS.contains(&place))
    }

    pub(crate) fn sequence_call(&mut self, function: SequenceFunction, arguments: Vec<Expr>) -> Expr {
        // Not of the node alone: what it gives depends on commits.
        self.reads_catalogue = true;
        if let Some(Datum::Oid(oid)) = arguments.first().and_then(Expr::as_const) {
            let any_of = match function {
                SequenceFunction::Next => Privileges::USAGE | Privileges::UPDATE,
                SequenceFunction::Set => Privileges::UPDATE,
                SequenceFunction::Current | SequenceFunction::Last => Privileges::USAGE | Privileges::SELECT,
            };
            if self.catalogue.sequences.contains_key(oid) {
                self.require_of_runner(&Object::Relation(*oid), any_of);
            }
        }
        self.add_deferred(DeferredSource::Sequence { function, arguments }, true, Type::of(TypeId::Int8))
    }

    /// The next number of an identity column, whose sequence comes with the table and needs no rights.
    pub(crate) fn identity_value(&mut self, sequence: u32) -> Expr {
        self.reads_catalogue = true;
        let arguments = vec![Expr::constant(Datum::Oid(sequence), Type::of(TypeId::Regclass))];
        let source = DeferredSource::Sequence { function: SequenceFunction::Next, arguments };
        self.add_deferred(source, true, Type::of(TypeId::Int8))
    }

    /// The overload of a node function that takes these arguments, coerced and completed with defaults.
    pub(crate) fn node_function(
        &mut self,
        name: &str,
        arguments: &[FunctionArgument],
    ) -> Result<Option<(usize, &'a NodeFunction, Vec<Expr>)>> {
        let environment = self.environment;
        let mut error = None;
        for (index, function) in
            environment.node_functions().iter().enumerate().filter(|(_, f)| f.name == name)
        {
            match self.match_arguments(function, arguments) {
                Ok(Some(complete)) => {
                    self.require_of_runner(&Object::Function(signature(function)), Privileges::EXECUTE);
                    return Ok(Some((index, function, complete)));
                }
                Ok(None) => {}
                // Arguments that do not fit are those of another function.
                Err(mismatch) if mismatch.code() == SqlState::DATATYPE_MISMATCH => {}
                Err(mismatch) => error = Some(mismatch),
            }
        }
        error.map_or(Ok(None), Err)
    }

    pub(super) fn match_arguments(
        &mut self,
        function: &NodeFunction,
        given: &[FunctionArgument],
    ) -> Result<Option<Vec<Expr>>> {
        if given.len() > function.arguments.len() {
            return Ok(None);
        }
        let mut complete: Vec<Option<Expr>> = vec![None; function.arguments.len()];
        for (place, argument) in given.iter().enumerate() {
            let place = match &argument.name {
                None => place,
                Some(name) => match function.arguments.iter().position(|known| known.name == name) {
                    Some(place) => place,
                    None => return Ok(None),
                },
            };
            let (Some(slot), Some(declared)) = (complete.get_mut(place), function.arguments.get(place))
            else {
                return Ok(None);
            };
            if slot.is_some() {
                return Ok(None);
            }
            *slot = Some(expr::coerce(argument.value.clone(), declared.ty, CastContext::Implicit, self)?);
        }
        let filled =
            complete.into_iter().zip(&function.arguments).enumerate().map(|(place, (value, declared))| {
                value.or_else(|| {
                    (place >= function.required)
                        .then(|| Expr::constant(declared.default.clone(), declared.ty))
                })
            });
        Ok(filled.collect())
    }

    /// A set-returning function by its name: its call and the columns that it gives.
    pub(crate) fn set_function(
        &mut self,
        name: &str,
        arguments: &[FunctionArgument],
    ) -> Result<Option<NamedSet>> {
        let values: Vec<Expr> = arguments.iter().map(|argument| argument.value.clone()).collect();
        match (name, values.len()) {
            ("generate_series", 2 | 3) => {
                let Some((call, ty)) = self.generate_series(values)? else { return Ok(None) };
                Ok(Some((call, vec![("generate_series".to_owned(), ty)])))
            }
            ("aclexplode", 1) => {
                let list = values.into_iter().next().ok_or_else(|| SqlError::internal("no argument"))?;
                let list = expr::coerce(list, Type::of(TypeId::AclitemArray), CastContext::Implicit, self)?;
                let columns = ACL_COLUMNS.map(|(name, id)| (name.to_owned(), Type::of(id))).to_vec();
                Ok(Some((SetCall { function: SetFunction::AclExplode, arguments: vec![list] }, columns)))
            }
            ("unnest", 1) => {
                let Some(value) = values.into_iter().next() else { return Ok(None) };
                if value.ty().id == TypeId::Unknown {
                    // Other functions of the name take what are no arrays.
                    return Err(expr::ambiguous(name, &[TypeId::Unknown]));
                }
                let Some(element) = value.ty().id.element() else { return Ok(None) };
                let call = SetCall { function: SetFunction::Unnest, arguments: vec![value] };
                Ok(Some((call, vec![("unnest".to_owned(), Type::of(element))])))
            }
            ("regexp_split_to_table" | "string_to_table", 2 | 3) => {
                let parts =
                    if name == "string_to_table" { "string_to_array" } else { "regexp_split_to_array" };
                let array = match expr::named_call(parts, values, self) {
                    // The error is to name the function that was called.
                    Err(error) if error.code() == SqlState::UNDEFINED_FUNCTION => return Ok(None),
                    array => array?,
                };
                let call = SetCall { function: SetFunction::Unnest, arguments: vec![array] };
                Ok(Some((call, vec![(name.to_owned(), Type::of(TypeId::Text))])))
            }
            ("regexp_matches", 2 | 3) => {
                let arguments = self.texts(values)?;
                let call = SetCall { function: SetFunction::RegexpMatches, arguments };
                Ok(Some((call, vec![(name.to_owned(), Type::of(TypeId::TextArray))])))
            }
            ("generate_subscripts", 2 | 3) => {
                let Some(arguments) = self.subscripts_arguments(values)? else { return Ok(None) };
                let call = SetCall { function: SetFunction::GenerateSubscripts, arguments };
                Ok(Some((call, vec![("generate_subscripts".to_owned(), Type::of(TypeId::Int4))])))
            }
            _ => {
                let Some((index, function, arguments)) = self.node_function(name, arguments)? else {
                    return Ok(None);
                };
                let (NodeReturns::Record(columns) | NodeReturns::Set(columns)) = &function.returns else {
                    return Ok(None);
                };
                let columns = columns.iter().map(|(name, ty)| ((*name).to_owned(), *ty)).collect();
                let function = SetFunction::Node { function: index, strict: function.strict };
                Ok(Some((SetCall { function, arguments }, columns)))
            }
        }
    }

    fn texts(&mut self, values: Vec<Expr>) -> Result<Vec<Expr>> {
        let text = Type::of(TypeId::Text);
        values.into_iter().map(|value| expr::coerce(value, text, CastContext::Implicit, self)).collect()
    }

    fn subscripts_arguments(&mut self, values: Vec<Expr>) -> Result<Option<Vec<Expr>>> {
        let mut arguments = Vec::with_capacity(values.len());
        for (value, id) in values.into_iter().zip([None, Some(TypeId::Int4), Some(TypeId::Bool)]) {
            arguments.push(match id {
                Some(id) => expr::coerce(value, Type::of(id), CastContext::Implicit, self)?,
                None if value.ty().id == TypeId::Unknown => return Err(expr::untold()),
                None if value.ty().id.element().is_some() => value,
                None => return Ok(None),
            });
        }
        Ok(Some(arguments))
    }

    /// generate_series: numbers, or times with an interval as the step. None for types that it has not.
    pub(super) fn generate_series(&mut self, values: Vec<Expr>) -> Result<Option<(SetCall, Type)>> {
        let types: Vec<TypeId> = values.iter().map(|value| value.ty().id).collect();
        let overloads = match types.len() {
            2 => SERIES.get(..SERIES_OF_NUMBERS).unwrap_or_default(),
            _ => &SERIES[..],
        };
        let overloads: Vec<&[TypeId]> =
            overloads.iter().filter_map(|overload| overload.get(..types.len())).collect();
        let found = expr::overload("generate_series", &types, &overloads)?;
        let Some(wanted @ [id, ..]) = found.and_then(|place| overloads.get(place).copied()) else {
            return Ok(None);
        };
        let mut arguments = Vec::with_capacity(values.len());
        for (value, id) in values.into_iter().zip(wanted) {
            arguments.push(expr::coerce(value, Type::of(*id), CastContext::Implicit, self)?);
        }
        Ok(Some((SetCall { function: SetFunction::GenerateSeries(*id), arguments }, Type::of(*id))))
    }
}

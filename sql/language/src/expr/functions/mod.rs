//! Scalar functions: which exist for which types (pg_proc), and what they compute.

pub(crate) mod analysed;
mod arrays;
pub(crate) mod bits;
mod catalogue;
mod descriptions;
#[cfg(test)]
mod extremes;
mod fixed_rights;
mod misc;
mod number;
pub(crate) mod patterns;
pub(super) mod printing;
pub(crate) mod rights;
mod similar;
mod string;
mod time;
mod tools;

use super::Facts;
use super::resolve::Takes;
use sql_catalogue::system::known::KnownFunction;
use sql_interface::{Environment, Result, SqlError};
use sql_types::{Datum, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

/// What one parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// Values of this type.
    Is(TypeId),
    /// Values of any type, as they are.
    Any,
    /// Arrays of any type, as they are.
    AnyArray,
}

impl Parameter {
    /// The type's name in SQL.
    pub(crate) fn sql_name(self) -> &'static str {
        match self {
            Self::Is(id) => id.sql_name(),
            Self::Any => "any",
            Self::AnyArray => TypeId::AnyArray.sql_name(),
        }
    }
    pub(super) fn takes(self) -> Takes {
        match self {
            Self::Is(id) => Takes::Type(id),
            Self::Any => Takes::Any,
            Self::AnyArray => Takes::AnyArray,
        }
    }
}

/// What a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// This type.
    Is(TypeId),
    /// The type of its array argument.
    SameArray,
    /// An array of its first argument's type.
    ArrayOfFirst,
}

impl Returns {
    /// The type's name in SQL.
    pub(crate) fn sql_name(self) -> &'static str {
        match self {
            Self::Is(id) => id.sql_name(),
            Self::SameArray | Self::ArrayOfFirst => TypeId::AnyArray.sql_name(),
        }
    }
    pub(super) fn is_text(&self) -> bool {
        matches!(self, Self::Is(TypeId::Text))
    }
}

/// When a function may be computed ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volatility {
    /// Depends on its arguments only.
    Immutable,
    /// Depends on the session or the transaction too.
    Stable,
    /// May differ at every call.
    Volatile,
}

/// What a function computes. Strict ones never see NULL.
pub type Body = fn(&[Datum], &dyn Facts) -> Result<Datum>;

/// What a function of arrays computes that is told the type of its result's elements, as NULL tells none.
pub type BodyOfElements = fn(TypeId, &[Datum]) -> Result<Datum>;

/// A scalar function.
pub struct Function {
    /// Its name in pg_catalog.
    pub name: &'static str,
    /// What it takes.
    pub parameters: Vec<Parameter>,
    /// The last parameter may come any number of times.
    pub variadic: bool,
    /// What it returns.
    pub result: Returns,
    /// A NULL argument makes the result NULL without a call.
    pub strict: bool,
    /// When it may be computed ahead.
    pub volatility: Volatility,
    /// What it computes.
    pub body: Body,
    /// What it computes instead where its result is an array.
    pub of_elements: Option<BodyOfElements>,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.name, self.parameters)
    }
}

impl Function {
    /// Computes it, where a call's result is of this type.
    pub(super) fn compute(&self, result: TypeId, arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
        match (self.of_elements, result.element()) {
            (Some(body), Some(element)) => body(element, arguments),
            _ => (self.body)(arguments, facts),
        }
    }
    pub(super) fn is_volatile(&self) -> bool {
        self.volatility == Volatility::Volatile
    }
    pub(super) fn is_immutable(&self) -> bool {
        self.volatility == Volatility::Immutable
    }
    /// Whether it can be called with so many arguments.
    pub(super) fn takes(&self, count: usize) -> bool {
        count == self.parameters.len() || (self.variadic && count >= self.parameters.len())
    }
    /// The parameter for the argument at this place.
    pub(super) fn parameter(&self, at: usize) -> Option<Parameter> {
        match self.parameters.get(at) {
            None if self.variadic => self.parameters.last().copied(),
            found => found.copied(),
        }
    }
}

/// All functions by their names.
fn all() -> &'static HashMap<&'static str, Vec<Function>> {
    static ALL: OnceLock<HashMap<&'static str, Vec<Function>>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut table = Table(HashMap::new());
        string::register(&mut table);
        patterns::register(&mut table);
        similar::register(&mut table);
        printing::register(&mut table);
        number::register(&mut table);
        time::register(&mut table);
        misc::register(&mut table);
        arrays::register(&mut table);
        bits::register(&mut table);
        catalogue::register(&mut table);
        rights::register(&mut table);
        fixed_rights::register(&mut table);
        tools::register(&mut table);
        table.0
    })
}

/// The functions of this name.
pub(super) fn named(name: &str) -> &'static [Function] {
    all().get(name).map_or(&[], Vec::as_slice)
}

/// Whether there is a function of PostgreSQL here: with its name, and of its arguments' types where it is no
/// aggregate and gives no rows.
fn exists(function: &KnownFunction) -> bool {
    let takes = |parameter: Parameter, oid: u32| match parameter {
        Parameter::Is(id) => id.oid() == oid,
        // Those that stand for others.
        Parameter::Any => matches!(oid, 2276 | 2283 | 2776 | 5077 | 5079),
        Parameter::AnyArray => matches!(oid, 2277 | 5078),
    };
    named(function.name).iter().any(|known| {
        known.parameters.len() == function.arguments.len()
            && known
                .parameters
                .iter()
                .zip(&function.arguments)
                .all(|(parameter, oid)| takes(*parameter, *oid))
    })
}

/// Whether there is a function of PostgreSQL here: one of ours, of the node's, of a type's.
pub fn has_function(function: &KnownFunction, environment: &dyn Environment) -> bool {
    let of_node = || environment.node_functions().iter().any(|known| known.name == function.name);
    let analysed = || analysed::ANALYSED.iter().any(|known| known.name == function.name);
    if sql_catalogue::system::known::is_of_type(function.oid) {
        return true;
    }
    if function.arguments.iter().any(|oid| sql_catalogue::system::known::type_name(*oid) == "???") {
        return false;
    }
    exists(function)
        || (function.kind == 'a' && super::aggregate::is_aggregate(function.name))
        || (function.kind == 'f' && (analysed() || of_node()))
}

/// All functions with what they give, in the order of their names.
pub(crate) fn described() -> impl Iterator<Item = (&'static Function, &'static str)> {
    let mut names: Vec<&&str> = all().keys().collect();
    names.sort_unstable();
    names.into_iter().flat_map(|name| {
        named(name).iter().map(|function| (function, descriptions::of(function.name).unwrap_or_default()))
    })
}

/// The table while it is filled.
struct Table(HashMap<&'static str, Vec<Function>>);

impl Table {
    fn add(
        &mut self,
        name: &'static str,
        parameters: &[TypeId],
        result: TypeId,
        body: Body,
    ) -> &mut Function {
        let parameters: Vec<Parameter> = parameters.iter().copied().map(Parameter::Is).collect();
        self.add_any(name, &parameters, Returns::Is(result), body)
    }
    fn add_any(
        &mut self,
        name: &'static str,
        parameters: &[Parameter],
        result: Returns,
        body: Body,
    ) -> &mut Function {
        let function = Function {
            name,
            parameters: parameters.to_vec(),
            variadic: false,
            result,
            strict: true,
            volatility: Volatility::Immutable,
            body,
            of_elements: None,
        };
        let of_name = self.0.entry(name).or_default();
        of_name.push(function);
        let last = of_name.len() - 1;
        &mut of_name[last]
    }
    /// One that takes NULL, and is told the type of its result's elements.
    fn add_of_elements(
        &mut self,
        name: &'static str,
        parameters: &[Parameter],
        result: Returns,
        body: BodyOfElements,
    ) {
        let function = self.add_any(name, parameters, result, |_, _| Err(mismatch())).lenient();
        function.of_elements = Some(body);
    }
}

impl Function {
    fn stable(&mut self) -> &mut Self {
        self.volatility = Volatility::Stable;
        self
    }
    fn volatile(&mut self) -> &mut Self {
        self.volatility = Volatility::Volatile;
        self
    }
    fn lenient(&mut self) -> &mut Self {
        self.strict = false;
        self
    }
    fn variadic(&mut self) -> &mut Self {
        self.variadic = true;
        self
    }
}

fn mismatch() -> SqlError {
    SqlError::internal("a function met a value of a type that it does not take")
}

/// The characters of an argument; of char(n) without its padding.
fn text(arguments: &[Datum], at: usize) -> Result<&str> {
    match arguments.get(at) {
        Some(Datum::Text(value)) => Ok(value),
        Some(Datum::Bpchar(value)) => Ok(value.trim_end_matches(' ')),
        _ => Err(mismatch()),
    }
}

/// The array that is the first argument.
fn array(arguments: &[Datum]) -> Result<&sql_types::Array> {
    match arguments.first() {
        Some(Datum::Array(array)) => Ok(array),
        _ => Err(mismatch()),
    }
}

/// An integer argument of any width.
fn integer(arguments: &[Datum], at: usize) -> Result<i64> {
    arguments.get(at).and_then(Datum::as_i64).ok_or_else(mismatch)
}

fn bytes(arguments: &[Datum], at: usize) -> Result<&[u8]> {
    match arguments.get(at) {
        Some(Datum::Bytea(value)) => Ok(value),
        _ => Err(mismatch()),
    }
}

fn float(arguments: &[Datum], at: usize) -> Result<f64> {
    match arguments.get(at) {
        Some(Datum::Float8(value)) => Ok(*value),
        _ => Err(mismatch()),
    }
}

fn int4(value: usize) -> Datum {
    Datum::Int4(i32::try_from(value).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_function_has_a_description_and_every_description_a_function() {
        assert!(descriptions::DESCRIPTIONS.is_sorted());
        let bare: Vec<&str> =
            described().filter(|(_, about)| about.is_empty()).map(|(function, _)| function.name).collect();
        assert!(bare.is_empty(), "without a description: {bare:?}");
        let unknown: Vec<&str> = descriptions::DESCRIPTIONS
            .iter()
            .map(|(name, _)| *name)
            .filter(|name| named(name).is_empty())
            .collect();
        assert!(unknown.is_empty(), "described, and not there: {unknown:?}");
    }
}

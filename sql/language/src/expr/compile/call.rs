//! Calls: functions, aggregates, and the constructs that are functions in other words.

use super::argument_names::{argument_names, require_names, types_by_names};
use super::literal::{field_name, text_constant};
use super::values::values_query;
use super::{Compiler, strip, unsupported};
use crate::expr::aggregate::{self, Aggregate};
use crate::expr::coerce::{self, choose_common, coerce};
use crate::expr::functions::{self, Function, Parameter};
use crate::expr::node::{Chosen, Expr, is_null};
use crate::expr::resolve::{Choice, Takes, choose};
use crate::expr::{AggregateCall, FunctionArgument, Scope, Subquery};
use sql_catalogue::system::absent::{is_absent_function, is_absent_name};
use sql_catalogue::system::known::{FUNCTIONS, KnownFunction};
use sql_catalogue::system::signatures;
use sql_interface::{Result, SqlError};
use sql_types::cast::CastContext;
use sql_types::{Datum, Type, TypeId};
use sqlparser::ast::{
    self, CeilFloorKind, DuplicateTreatment, Expr as Ast, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, ObjectNamePart, TrimWhereField,
};
use sqlstate::SqlState;

/// Names of types that the grammar keeps for itself: a parenthesis behind them holds a precision.
const GRAMMATICAL: [&str; 19] = [
    "bigint",
    "bit",
    "boolean",
    "char",
    "character",
    "dec",
    "decimal",
    "double",
    "float",
    "int",
    "integer",
    "interval",
    "nchar",
    "numeric",
    "real",
    "smallint",
    "time",
    "timestamp",
    "varchar",
];

/// Functions that PostgreSQL has for types of other categories too, which are absent here, with how many
/// arguments: a first one of no known type could be of any of them.
const TAKE_OTHERS: [(&str, usize); 3] = [("age", 1), ("to_char", 2), ("trunc", 1)];

/// The function's name if it is plain or in pg_catalog; names of other schemas are unknown here.
fn name_of(name: &ast::ObjectName) -> Option<(String, &ast::Ident)> {
    let fold = |part: &ast::Ident| {
        if part.quote_style.is_some() { part.value.clone() } else { part.value.to_lowercase() }
    };
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(name)] => Some((fold(name), name)),
        [ObjectNamePart::Identifier(schema), ObjectNamePart::Identifier(name)]
            if fold(schema) == "pg_catalog" =>
        {
            Some((fold(name), name))
        }
        _ => None,
    }
}

fn type_list(types: &[TypeId]) -> String {
    types.iter().map(|id| id.sql_name()).collect::<Vec<_>>().join(", ")
}

/// What a call of a function that is not found is told: 0A000 if PostgreSQL has it.
fn undefined(name: &str, types: &[TypeId]) -> SqlError {
    // A time of day becomes one with a zone, for which PostgreSQL has the function.
    if name == "timezone" && types.last() == Some(&TypeId::Time) {
        return unsupported("the type time with time zone");
    }
    // A type's name is a cast here, and PostgreSQL has no other function of that name and these arguments.
    if TypeId::of_catalogue(name).is_none() && is_absent_function(name, types) {
        return SqlError::unsupported(format!("function {name}({})", type_list(types)));
    }
    nowhere(name, &type_list(types))
}

/// The error for a function that PostgreSQL does not have either.
fn nowhere(name: &str, arguments: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_FUNCTION, format!("function {name}({arguments}) does not exist"))
        .with_hint(
            "No function matches the given name and argument types. You might need to add explicit type casts.",
        )
}

/// The same for a call with names before its arguments, which are not compared with those of functions that
/// are absent.
pub(super) fn undefined_by_names(name: &str, passed: &[(Option<String>, TypeId)]) -> SqlError {
    let types: Vec<TypeId> = passed.iter().map(|(_, id)| *id).collect();
    if is_absent_name(name) || passed.iter().all(|(name, _)| name.is_none()) {
        return undefined(name, &types);
    }
    let shown = passed.iter().map(|(name, id)| match name {
        Some(name) => format!("{name} => {}", id.sql_name()),
        None => id.sql_name().to_owned(),
    });
    nowhere(name, &shown.collect::<Vec<_>>().join(", "))
}

/// A call of one of our own functions by name.
pub(crate) fn named_call(name: &str, arguments: Vec<Expr>, scope: &mut dyn Scope) -> Result<Expr> {
    let types: Vec<TypeId> = arguments.iter().map(|argument| argument.ty().id).collect();
    match resolve(name, &types)? {
        Some(function) => build(function, arguments, scope),
        None => Err(undefined(name, &types)),
    }
}

/// The error for a call that several functions fit equally well.
pub(crate) fn ambiguous(name: &str, types: &[TypeId]) -> SqlError {
    let message = format!("function {name}({}) is not unique", type_list(types));
    SqlError::new(SqlState::AMBIGUOUS_FUNCTION, message)
        .with_hint("Could not choose a best candidate function. You might need to add explicit type casts.")
}

/// The place of the overload for arguments of these types, of lists of what each takes; None if none does.
///
/// # Errors
///
/// 42725 where several fit equally well.
pub(crate) fn overload(name: &str, types: &[TypeId], overloads: &[&[TypeId]]) -> Result<Option<usize>> {
    let taken = |overload: &&[TypeId]| overload.iter().copied().map(Takes::Type).collect();
    match choose(types, &overloads.iter().map(taken).collect::<Vec<Vec<Takes>>>()) {
        Choice::One(place) => Ok(Some(place)),
        Choice::None => Ok(None),
        Choice::Ambiguous => Err(ambiguous(name, types)),
    }
}

/// The function for arguments of these types; None if no function of this name takes so many, or any such.
fn resolve(name: &str, types: &[TypeId]) -> Result<Option<&'static Function>> {
    let named: Vec<&'static Function> =
        functions::named(name).iter().filter(|known| known.takes(types.len())).collect();
    if named.is_empty() {
        return Ok(None);
    }
    if types.first() == Some(&TypeId::Unknown) && TAKE_OTHERS.contains(&(name, types.len())) {
        return Err(ambiguous(name, types));
    }
    let candidates: Vec<Vec<Takes>> = named
        .iter()
        .map(|known| {
            (0..types.len()).map(|at| known.parameter(at).map_or(Takes::Any, Parameter::takes)).collect()
        })
        .collect();
    match choose(types, &candidates) {
        Choice::One(place) => Ok(named.get(place).copied()),
        Choice::None => Ok(None),
        Choice::Ambiguous => Err(ambiguous(name, types)),
    }
}

/// What the elements of all arrays of a call and the values beside them become: what all of them are
/// (`same`), or their common type. None where nothing tells it.
struct Elements {
    id: Option<TypeId>,
    same: bool,
}

impl Elements {
    fn of(function: &'static Function, arguments: &[Expr]) -> Result<Self> {
        let parameters = || (0..arguments.len()).filter_map(|at| function.parameter(at));
        let arrays = parameters().filter(|parameter| *parameter == Parameter::AnyArray).count();
        let tied = arrays > 1 || (arrays == 1 && parameters().any(|parameter| parameter == Parameter::Any));
        if !tied {
            return Ok(Self { id: None, same: true });
        }
        let element = |(at, argument): (usize, &Expr)| {
            let id = Some(argument.ty().id).filter(|id| *id != TypeId::Unknown)?;
            match function.parameter(at)? {
                Parameter::AnyArray => id.element(),
                Parameter::Any => Some(id),
                Parameter::Is(_) => None,
            }
        };
        let known: Vec<Type> = arguments.iter().enumerate().filter_map(element).map(Type::of).collect();
        let same = known.windows(2).all(|pair| matches!(pair, [one, other] if one.id == other.id));
        let common = choose_common(&known, function.name).map_err(|_| {
            undefined(function.name, &arguments.iter().map(|argument| argument.ty().id).collect::<Vec<_>>())
        })?;
        Ok(Self { id: Some(common.id), same })
    }

    fn array(&self) -> Result<TypeId> {
        self.id.and_then(TypeId::array).ok_or_else(untold)
    }
}

/// 42804 where no argument tells a type.
pub(crate) fn untold() -> SqlError {
    let message = "could not determine polymorphic type because input has type unknown";
    SqlError::new(SqlState::DATATYPE_MISMATCH, message)
}

fn build(function: &'static Function, arguments: Vec<Expr>, scope: &mut dyn Scope) -> Result<Expr> {
    let mut coerced = Vec::with_capacity(arguments.len());
    let elements = Elements::of(function, &arguments)?;
    if function.result == functions::Returns::ArrayOfFirst
        && arguments.first().is_some_and(|first| first.ty().id == TypeId::Unknown)
    {
        return Err(untold());
    }
    let mut array = None;
    for (at, argument) in arguments.into_iter().enumerate() {
        let given = argument.ty().id;
        let names = given.element().unwrap_or(given).is_reg();
        let implicit = |argument: Expr, id: TypeId, scope: &mut dyn Scope| {
            coerce(argument, Type::of(id), CastContext::Implicit, scope)
        };
        coerced.push(match function.parameter(at) {
            Some(Parameter::Is(TypeId::Text)) if given == TypeId::Varchar => argument,
            Some(Parameter::Is(id)) => implicit(argument, id, scope)?,
            Some(Parameter::AnyArray) if given == TypeId::Unknown || !elements.same => {
                let id = elements.array()?;
                array = array.or(Some(id));
                implicit(argument, id, scope)?
            }
            // What prints needs the names that OIDs stand for.
            Some(parameter @ (Parameter::Any | Parameter::AnyArray))
                if names && function.result.is_text() =>
            {
                let text = if parameter == Parameter::Any { TypeId::Text } else { TypeId::TextArray };
                coerce(argument, Type::of(text), CastContext::Assignment, scope)?
            }
            Some(Parameter::AnyArray) => {
                array = array.or(Some(given));
                argument
            }
            Some(Parameter::Any) if elements.id.is_some_and(|id| id != given) => {
                implicit(argument, elements.id.unwrap_or(given), scope)?
            }
            Some(Parameter::Any) if function.variadic => coerce::settle_literal(argument, scope)?,
            // Text of its own type is what unknown literals become.
            _ => coerce::settle(argument, scope)?,
        });
    }
    let ty = match function.result {
        functions::Returns::Is(id) => Type::of(id),
        functions::Returns::SameArray => Type::of(array.unwrap_or(TypeId::TextArray)),
        functions::Returns::ArrayOfFirst => {
            let first = coerced.first().map_or(TypeId::Unknown, |first: &Expr| first.ty().id);
            Type::of(first.array().ok_or_else(|| super::no_array_of(first))?)
        }
    };
    Ok(Expr::Call { function: Chosen(function), arguments: coerced, ty }.fold_here())
}

/// The arguments of a call in the function's order, with the defaults of those that are not given; None if
/// they are not this function's.
fn placed(function: &KnownFunction, passed: &[FunctionArgument], scope: &mut dyn Scope) -> Option<Vec<Expr>> {
    let mut places: Vec<Option<Expr>> = vec![None; function.arguments.len()];
    let names = signatures::input_names(function);
    for (at, argument) in passed.iter().enumerate() {
        let at = match &argument.name {
            None => at,
            Some(name) => names.iter().position(|known| known == name)?,
        };
        let place = places.get_mut(at).filter(|place| place.is_none())?;
        *place = Some(argument.value.clone());
    }
    let style = scope.facts().style();
    let complete = places.into_iter().zip(&function.arguments).enumerate().map(|(at, (place, oid))| {
        place.or_else(|| {
            let ty = Type::of(TypeId::from_oid(*oid)?);
            let value = Datum::parse(ty, signatures::default_of(function, at + 1)?, style).ok()?;
            Some(Expr::constant(value, ty))
        })
    });
    complete.collect()
}

impl Compiler<'_> {
    /// What is written in syntax of its own is a function of pg_catalog, whatever else has the name.
    fn require_schema_of_syntax(&self, ast: &Ast) -> Result<()> {
        match ast {
            Ast::Function(_) | Ast::Ceil { .. } | Ast::Floor { .. } => Ok(()),
            Ast::Substring { special: true, .. } => Ok(()),
            _ => self.require_own_schema(),
        }
    }

    /// What the parser has syntax of its own for, though it is a call.
    pub(super) fn call_like(&mut self, ast: &Ast) -> Result<Expr> {
        self.require_schema_of_syntax(ast)?;
        match ast {
            Ast::Function(call) => self.function(call),
            Ast::Extract { field, expr, .. } => {
                let value = self.expr(expr)?;
                named_call("extract", vec![text_constant(&field_name(field)), value], self.scope)
            }
            Ast::AtTimeZone { timestamp, time_zone } => {
                let (value, zone) = (self.expr(timestamp)?, self.expr(time_zone)?);
                named_call("timezone", vec![zone, value], self.scope)
            }
            Ast::Ceil { expr, field: CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                let value = self.expr(expr)?;
                named_call("ceil", vec![value], self.scope)
            }
            Ast::Floor { expr, field: CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                let value = self.expr(expr)?;
                named_call("floor", vec![value], self.scope)
            }
            Ast::Position { expr, r#in } => {
                let (wanted, text) = (self.expr(expr)?, self.expr(r#in)?);
                named_call("position", vec![text, wanted], self.scope)
            }
            Ast::Substring { expr, substring_from, substring_for, shorthand, .. } => {
                let mut arguments = vec![self.expr(expr)?];
                match (substring_from, substring_for) {
                    (Some(from), length) => {
                        arguments.push(self.expr(from)?);
                        if let Some(length) = length {
                            arguments.push(self.expr(length)?);
                        }
                    }
                    (None, Some(length)) => {
                        arguments.push(Expr::constant(Datum::Int4(1), Type::of(TypeId::Int4)));
                        arguments.push(self.expr(length)?);
                    }
                    (None, None) => {}
                }
                named_call(if *shorthand { "substr" } else { "substring" }, arguments, self.scope)
            }
            Ast::Trim { trim_where, trim_what, expr, trim_characters } => {
                let name = match trim_where {
                    None | Some(TrimWhereField::Both) => "btrim",
                    Some(TrimWhereField::Leading) => "ltrim",
                    Some(TrimWhereField::Trailing) => "rtrim",
                };
                let mut arguments = vec![self.expr(expr)?];
                if let Some(what) =
                    trim_what.as_deref().or(trim_characters.as_ref().and_then(|list| list.first()))
                {
                    arguments.push(self.expr(what)?);
                }
                named_call(name, arguments, self.scope)
            }
            Ast::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut arguments =
                    vec![self.expr(expr)?, self.expr(overlay_what)?, self.expr(overlay_from)?];
                if let Some(count) = overlay_for {
                    arguments.push(self.expr(count)?);
                }
                named_call("overlay", arguments, self.scope)
            }
            other => Err(unsupported(&format!("the expression {other}"))),
        }
    }

    fn function(&mut self, call: &ast::Function) -> Result<Expr> {
        if call.over.is_some() {
            return Err(unsupported("a window function"));
        }
        if !call.within_group.is_empty() {
            return Err(unsupported("WITHIN GROUP"));
        }
        if let [database, schema, name] = call.name.0.as_slice() {
            if database.as_ident().map(crate::parse::fold).as_deref() == Some(self.scope.facts().database()) {
                let name = ast::ObjectName(vec![schema.clone(), name.clone()]);
                return self.function(&ast::Function { name, ..call.clone() });
            }
            let message = format!("cross-database references are not implemented: {}", call.name);
            return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
        }
        if let [ObjectNamePart::Identifier(schema), _] = call.name.0.as_slice() {
            self.require_schema(&crate::parse::fold(schema))?;
        }
        let named = name_of(&call.name);
        let Some((name, ident)) = &named else {
            return self.elsewhere(call, &call.name.to_string());
        };
        let position = self.scope.position(ident.span);
        self.named_function(call, name).map_err(|error| error.at(position))
    }

    fn named_function(&mut self, call: &ast::Function, name: &str) -> Result<Expr> {
        let list = match &call.args {
            FunctionArguments::None => &[][..],
            FunctionArguments::List(list) => list.args.as_slice(),
            FunctionArguments::Subquery(query) if name == "array" => {
                return self.scope.subquery(Subquery::Array(query));
            }
            FunctionArguments::Subquery(_) => {
                return Err(unsupported("a subquery as the arguments of a function"));
            }
        };
        if aggregate::is_aggregate(name) {
            if list.iter().any(|argument| !matches!(argument, FunctionArg::Unnamed(_))) {
                // Those of no aggregate have names.
                return Err(undefined_by_names(name, &types_by_names(&self.passed(call, name)?)));
            }
            return self.aggregate(call, name, list);
        }
        if let FunctionArguments::List(list) = &call.args
            && (list.duplicate_treatment == Some(DuplicateTreatment::Distinct) || !list.clauses.is_empty())
            && functions::named(name).iter().next().is_some()
        {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("DISTINCT or ORDER BY specified, but {name} is not an aggregate function"),
            ));
        }
        if call.filter.is_some() {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                format!("FILTER specified, but {name} is not an aggregate function"),
            ));
        }
        if let Some(query) = values_query(call) {
            return self.scope.subquery(Subquery::Scalar(&query?));
        }
        if let Some(special) = self.special(name, list)? {
            return Ok(special);
        }
        if functions::named(name).is_empty() || self.scope.calls_in_turn(name) {
            return self.elsewhere(call, name);
        }
        if list.iter().any(|argument| !matches!(argument, FunctionArg::Unnamed(_))) {
            return self.call_by_names(call, name);
        }
        let mut arguments = Vec::with_capacity(list.len());
        for argument in list {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => arguments.push(self.expr(value)?),
                _ => return self.elsewhere(call, name),
            }
        }
        let types: Vec<TypeId> = arguments.iter().map(|argument| argument.ty().id).collect();
        if functions::bits::takes_bits(name, &types) && arguments.first().is_some_and(|bits| !is_null(bits)) {
            return Err(unsupported("the type bit"));
        }
        if let Some(read) = self.read_as_type(call, name, &arguments)? {
            return Ok(read);
        }
        if let Some(function) = resolve(name, &types)? {
            return build(function, arguments, self.scope);
        }
        let only = (arguments.len() == 1).then(|| arguments.first().cloned()).flatten();
        let passed = arguments.into_iter().map(|value| FunctionArgument { name: None, value }).collect();
        match self.scope.function(call, passed)? {
            Some(found) => Ok(found),
            None => self.named_cast(call, only)?.ok_or_else(|| undefined(name, &types)),
        }
    }

    /// A call of one of our own functions with names before its arguments.
    fn call_by_names(&mut self, call: &ast::Function, name: &str) -> Result<Expr> {
        let passed = self.passed(call, name)?;
        for known in FUNCTIONS.iter().filter(|known| known.name == name) {
            let Some(arguments) = placed(known, &passed, self.scope) else { continue };
            let types: Vec<TypeId> = arguments.iter().map(|argument| argument.ty().id).collect();
            if let Some(function) = resolve(name, &types)? {
                return build(function, arguments, self.scope);
            }
        }
        Err(undefined_by_names(name, &types_by_names(&passed)))
    }

    /// `int4(5.6)`: a cast by the name that pg_type has for the type, where no function is called so. What
    /// the grammar keeps for types must be quoted or qualified for that.
    fn named_cast(&mut self, call: &ast::Function, argument: Option<Expr>) -> Result<Option<Expr>> {
        let Some((name, ident)) = name_of(&call.name) else { return Ok(None) };
        if ident.quote_style.is_none() && call.name.0.len() == 1 && GRAMMATICAL.contains(&name.as_str()) {
            return Err(SqlError::syntax("syntax error at or near \"(\""));
        }
        let (Some(argument), Some(to)) = (argument, TypeId::of_catalogue(&name)) else { return Ok(None) };
        let from = argument.ty().id;
        if from != TypeId::Unknown && !coerce::can_coerce(from, to, CastContext::Explicit) {
            return Ok(None);
        }
        coerce(argument, Type::of(to), CastContext::Explicit, self.scope).map(Some)
    }

    /// A literal alone is read as the type that is called so, if there is one, whatever functions are.
    fn read_as_type(&mut self, call: &ast::Function, name: &str, given: &[Expr]) -> Result<Option<Expr>> {
        match given {
            [only] if only.ty().id == TypeId::Unknown && TypeId::of_catalogue(name).is_some() => {
                self.named_cast(call, Some(only.clone()))
            }
            _ => Ok(None),
        }
    }

    /// A function that the analyser may know.
    fn elsewhere(&mut self, call: &ast::Function, name: &str) -> Result<Expr> {
        let arguments = self.passed(call, name)?;
        require_names(name, &arguments)?;
        let types = types_by_names(&arguments);
        let only = match arguments.as_slice() {
            [FunctionArgument { name: None, value }] => Some(value.clone()),
            _ => None,
        };
        match self.scope.function(call, arguments)? {
            Some(found) => Ok(found),
            None => self.named_cast(call, only)?.ok_or_else(|| undefined_by_names(name, &types)),
        }
    }

    /// The arguments of a call with their names.
    fn passed(&mut self, call: &ast::Function, name: &str) -> Result<Vec<FunctionArgument>> {
        let list = match &call.args {
            FunctionArguments::List(list) => list.args.as_slice(),
            _ => &[],
        };
        let names = argument_names(name, list, self.scope)?;
        let mut arguments = Vec::with_capacity(list.len());
        for (argument, name) in list.iter().zip(names) {
            let (FunctionArg::Unnamed(FunctionArgExpr::Expr(value))
            | FunctionArg::Named { arg: FunctionArgExpr::Expr(value), .. }
            | FunctionArg::ExprNamed { arg: FunctionArgExpr::Expr(value), .. }) = argument
            else {
                continue;
            };
            arguments.push(FunctionArgument { name, value: self.expr(value)? });
        }
        Ok(arguments)
    }

    pub(super) fn plain_arguments(&mut self, name: &str, list: &[FunctionArg]) -> Result<Vec<Expr>> {
        let mut arguments = Vec::with_capacity(list.len());
        for argument in list {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => arguments.push(self.expr(value)?),
                other => return Err(unsupported(&format!("the argument {other} of function {name}"))),
            }
        }
        Ok(arguments)
    }

    fn aggregate(&mut self, call: &ast::Function, name: &str, list: &[FunctionArg]) -> Result<Expr> {
        let mut distinct = false;
        let mut order_by = Vec::new();
        if let FunctionArguments::List(list) = &call.args {
            distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
            for clause in &list.clauses {
                let FunctionArgumentClause::OrderBy(keys) = clause else {
                    return Err(unsupported(&format!("{clause} in an aggregate")));
                };
                for key in keys {
                    let compiled = self.expr(&key.expr)?;
                    let compiled = coerce::settle(compiled, self.scope)?;
                    let descending = matches!(key.options.sort, Some(ast::OrderBySort::Desc));
                    order_by.push((compiled, descending, key.options.nulls_first.unwrap_or(descending)));
                }
            }
        }
        let mut arguments = Vec::with_capacity(list.len());
        let mut star = false;
        for argument in list {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => {
                    arguments.push(self.expr(strip(value))?)
                }
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if name == "count" && list.len() == 1 => {
                    star = true
                }
                other => return Err(unsupported(&format!("the argument {other} of function {name}"))),
            }
        }
        if arguments.is_empty() && name == "count" && !star {
            return Err(SqlError::new(
                SqlState::WRONG_OBJECT_TYPE,
                "count(*) must be used to call a parameterless aggregate function",
            ));
        }
        if distinct && star {
            return Err(SqlError::syntax("DISTINCT specified, but count(*) has no argument"));
        }
        let types: Vec<TypeId> = arguments.iter().map(|argument| argument.ty().id).collect();
        let Some((aggregate, wanted)) = Aggregate::resolve(name, &types)? else {
            return Err(undefined(name, &types));
        };
        let mut coerced = Vec::with_capacity(arguments.len());
        for (argument, wanted) in arguments.into_iter().zip(wanted) {
            let is_plain = argument.ty().id == TypeId::Varchar && wanted == TypeId::Text;
            coerced.push(if is_plain {
                argument
            } else if aggregate.takes_any() {
                coerce::settle_literal(argument, self.scope)?
            } else {
                coerce(argument, Type::of(wanted), CastContext::Implicit, self.scope)?
            });
        }
        if distinct && order_by.iter().any(|(key, ..)| !coerced.contains(key)) {
            return Err(SqlError::new(
                SqlState::INVALID_COLUMN_REFERENCE,
                "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list",
            ));
        }
        let filter = call.filter.as_ref().map(|filter| self.condition(filter, "FILTER")).transpose()?;
        self.scope.aggregate(AggregateCall { aggregate, arguments: coerced, distinct, filter, order_by })
    }
}

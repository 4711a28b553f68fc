//! Literals: numbers, strings, typed strings, intervals, parameters.

use super::{BOOL, Compiler, UNKNOWN, strip, unsupported};
use crate::expr::coerce::coerce;
use crate::expr::data_type::{data_type, schema_of_type};
use crate::expr::node::{Constant, Expr};
use sql_catalogue::schema::Schema;
use sql_interface::{Result, SqlError};
use sql_types::cast::{self, CastContext};
use sql_types::time::{IntervalFields, parse_interval_of};
use sql_types::{Datum, Numeric, Type, TypeId};
use sqlparser::ast::{self, DateTimeField, Expr as Ast, UnaryOperator, Value};
use sqlparser::tokenizer::Span;

impl Compiler<'_> {
    /// A string that nobody has given a type yet.
    fn text(&mut self, value: &str, span: Span) -> Expr {
        Expr::constant(Datum::text(value), Type { modifier: self.scope.mark_literal(span), ..UNKNOWN })
    }

    pub(super) fn literal(&mut self, value: &ast::ValueWithSpan) -> Result<Expr> {
        let span = value.span;
        match &value.value {
            Value::Number(digits, _) => number(digits),
            Value::SingleQuotedString(value)
            | Value::EscapedStringLiteral(value)
            | Value::UnicodeStringLiteral(value) => Ok(self.text(value, span)),
            // NCHAR, which is char(n) without a length.
            Value::NationalStringLiteral(value) => {
                coerce(self.text(value, span), Type::of(TypeId::Bpchar), CastContext::Explicit, self.scope)
            }
            Value::DollarQuotedString(quoted) => Ok(self.text(&quoted.value, span)),
            Value::Boolean(value) => Ok(Expr::constant(Datum::Bool(*value), BOOL)),
            Value::Null => Ok(Expr::constant(Datum::Null, UNKNOWN)),
            Value::Placeholder(name) => {
                let number = name.strip_prefix('$').and_then(|digits| digits.parse().ok());
                let number =
                    number.ok_or_else(|| SqlError::syntax(format!("syntax error at or near \"{name}\"")))?;
                self.scope.parameter(number)
            }
            other => Err(unsupported(&format!("the literal {other}"))),
        }
    }

    /// The type of this name, in a schema that the role may look into.
    pub(super) fn named_type(&mut self, wanted: &ast::DataType) -> Result<Type> {
        if let Some(schema) = schema_of_type(wanted) {
            self.require_schema(&schema)?;
        }
        data_type(wanted)
    }

    /// 42501 for a schema that the role may not look into.
    pub(super) fn require_schema(&self, schema: &str) -> Result<()> {
        match self.scope.facts().catalogue() {
            Some(catalogue) => catalogue.schema(self.scope.search_path(), schema).map(drop),
            None => Ok(()),
        }
    }

    /// The same for syntax that stands for something in pg_catalog.
    pub(super) fn require_own_schema(&self) -> Result<()> {
        self.require_schema(Schema::PG_CATALOG.name())
    }

    /// `date '2000-01-01'`
    pub(super) fn typed_string(&mut self, typed: &ast::TypedString) -> Result<Expr> {
        let to = match &typed.data_type {
            // A column without a length has one character, a constant as many as are written.
            ast::DataType::Char(None) | ast::DataType::Character(None) => Type::of(TypeId::Bpchar),
            named => self.named_type(named)?,
        };
        let value = self.literal(&typed.value)?;
        coerce(value, to, CastContext::Explicit, self.scope)
    }

    /// `INTERVAL '1 day'`, `INTERVAL '1' DAY`, `INTERVAL '1:30' HOUR TO MINUTE`
    pub(super) fn interval(&mut self, interval: &ast::Interval) -> Result<Expr> {
        let value = self.expr(&interval.value)?;
        let Expr::Const(Constant(Datum::Text(written)), literal) = value else {
            return Err(SqlError::syntax("an interval literal needs a string"));
        };
        let digits = interval.fractional_seconds_precision.or(interval.leading_precision);
        let digits = digits.map(|digits| u32::try_from(digits).unwrap_or(u32::MAX));
        let to = Type::with_precision(TypeId::Interval, digits);
        let Some(fields) = interval_fields(interval)? else {
            let value = Expr::constant(Datum::Text(written), literal);
            return coerce(value, to, CastContext::Explicit, self.scope);
        };
        let style = self.scope.reading_style().interval_style;
        let value = Datum::Interval(parse_interval_of(style, Some(fields), &written)?);
        self.scope.note_reading(literal.modifier, &written, TypeId::Interval, &value);
        Ok(Expr::constant(cast::apply_modifier(value, to, true)?, to))
    }
}

/// The fields to which an interval is limited; None if to none.
fn interval_fields(interval: &ast::Interval) -> Result<Option<IntervalFields>> {
    use DateTimeField as F;
    Ok(Some(match (&interval.leading_field, &interval.last_field) {
        (None, None) => return Ok(None),
        (Some(F::Year), None) => IntervalFields::Year,
        (Some(F::Month), None) => IntervalFields::Month,
        (Some(F::Day), None) => IntervalFields::Day,
        (Some(F::Hour), None) => IntervalFields::Hour,
        (Some(F::Minute), None) => IntervalFields::Minute,
        (Some(F::Second), None) => IntervalFields::Second,
        (Some(F::Year), Some(F::Month)) => IntervalFields::YearToMonth,
        (Some(F::Day), Some(F::Hour)) => IntervalFields::DayToHour,
        (Some(F::Day), Some(F::Minute)) => IntervalFields::DayToMinute,
        (Some(F::Day), Some(F::Second)) => IntervalFields::DayToSecond,
        (Some(F::Hour), Some(F::Minute)) => IntervalFields::HourToMinute,
        (Some(F::Hour), Some(F::Second)) => IntervalFields::HourToSecond,
        (Some(F::Minute), Some(F::Second)) => IntervalFields::MinuteToSecond,
        _ => return Err(SqlError::syntax(format!("syntax error in \"{interval}\""))),
    }))
}

/// A number with the signs before it: whether they make it negative, and its digits.
pub(super) fn signed_number(ast: &Ast) -> Option<(bool, &str)> {
    let (mut negated, mut ast) = (false, strip(ast));
    while let Ast::UnaryOp { op: UnaryOperator::Minus, expr } = ast {
        (negated, ast) = (!negated, strip(expr));
    }
    match ast {
        Ast::Value(ast::ValueWithSpan { value: Value::Number(digits, _), span: _ }) => {
            Some((negated, digits))
        }
        _ => None,
    }
}

/// The narrowest of integer, bigint and numeric that holds the digits, a minus sign before them if there is
/// one.
pub(super) fn number(digits: &str) -> Result<Expr> {
    if digits.strip_prefix('-').unwrap_or(digits).bytes().all(|byte| byte.is_ascii_digit()) {
        if let Ok(value) = digits.parse::<i32>() {
            return Ok(Expr::constant(Datum::Int4(value), Type::of(TypeId::Int4)));
        }
        if let Ok(value) = digits.parse::<i64>() {
            return Ok(Expr::constant(Datum::Int8(value), Type::of(TypeId::Int8)));
        }
    }
    Ok(Expr::constant(Datum::Numeric(Numeric::parse(digits)?), Type::of(TypeId::Numeric)))
}

/// The name of a field in EXTRACT, as the function takes it.
pub(super) fn field_name(field: &DateTimeField) -> String {
    match field {
        DateTimeField::Custom(name) => name.value.clone(),
        DateTimeField::TimezoneHour => "timezone_hour".to_owned(),
        DateTimeField::TimezoneMinute => "timezone_minute".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

/// A string constant of type text.
pub(super) fn text_constant(value: &str) -> Expr {
    Expr::constant(Datum::text(value), Type::of(TypeId::Text))
}

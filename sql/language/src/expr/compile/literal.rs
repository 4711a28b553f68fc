//! Literals: numbers, strings, typed strings, intervals, parameters.

use super::{BOOL, Compiler, UNKNOWN, unsupported};
use crate::expr::coerce::coerce;
use crate::expr::data_type::{data_type, schema_of_type};
use crate::expr::node::Expr;
use sql_catalogue::schema::Schema;
use sql_interface::{Result, SqlError};
use sql_types::cast::CastContext;
use sql_types::{Datum, Interval, Numeric, Type, TypeId};
use sqlparser::ast::{self, DateTimeField, Value};
use sqlparser::tokenizer::Span;

impl Compiler<'_> {
    /// A string that nobody has given a type yet.
    fn text(&mut self, value: &str, span: Span) -> Expr {
        Expr::Const(Datum::text(value), Type { modifier: self.scope.mark_literal(span), ..UNKNOWN })
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
            Value::Boolean(value) => Ok(Expr::Const(Datum::Bool(*value), BOOL)),
            Value::Null => Ok(Expr::Const(Datum::Null, UNKNOWN)),
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

    /// `INTERVAL '1 day'`, `INTERVAL '1' DAY`
    pub(super) fn interval(&mut self, interval: &ast::Interval) -> Result<Expr> {
        if interval.last_field.is_some() {
            return Err(unsupported("an interval literal with a range of fields"));
        }
        let value = self.expr(&interval.value)?;
        let Expr::Const(Datum::Text(written), literal) = value else {
            return Err(SqlError::syntax("an interval literal needs a string"));
        };
        let digits = interval.fractional_seconds_precision.or(interval.leading_precision);
        let digits = digits.map(|digits| u32::try_from(digits).unwrap_or(u32::MAX));
        let to = Type::with_precision(TypeId::Interval, digits);
        let unit = match &interval.leading_field {
            None => "",
            Some(DateTimeField::Year) => "year",
            Some(DateTimeField::Month) => "month",
            Some(DateTimeField::Day) => "day",
            Some(DateTimeField::Hour) => "hour",
            Some(DateTimeField::Minute) => "minute",
            Some(DateTimeField::Second) => "second",
            Some(other) => return Err(unsupported(&format!("an interval literal in {other}"))),
        };
        let bare = written.parse::<f64>().is_ok();
        let full = if bare && !unit.is_empty() {
            Datum::text(format!("{written} {unit}"))
        } else {
            Datum::Text(written)
        };
        let found = coerce(Expr::Const(full, literal), to, CastContext::Explicit, self.scope)?;
        match found.as_const() {
            Some(Datum::Interval(found)) => {
                Ok(Expr::Const(Datum::Interval(down_to(*found, unit, digits)), to))
            }
            _ => Ok(found),
        }
    }
}

/// An interval without the fields below a unit, if there is one, and with so many digits of its seconds.
fn down_to(interval: Interval, unit: &str, digits: Option<u32>) -> Interval {
    let Interval { micros, days, months } = interval;
    let whole = |size: i64| micros - micros % size;
    let (micros, days, months) = match unit {
        "year" => (0, 0, months - months % 12),
        "month" => (0, 0, months),
        "day" => (0, days, months),
        "hour" => (whole(3_600_000_000), days, months),
        "minute" => (whole(60_000_000), days, months),
        _ => (micros, days, months),
    };
    let micros = match digits {
        Some(digits @ 0..6) => {
            let size = 10_i64.pow(6 - digits);
            let half = if micros < 0 { -size / 2 } else { size / 2 };
            let rounded = micros.saturating_add(half);
            rounded - rounded % size
        }
        _ => micros,
    };
    Interval { micros, days, months }
}

/// The narrowest of integer, bigint and numeric that holds the digits, a minus sign before them if there is
/// one.
pub(super) fn number(digits: &str) -> Result<Expr> {
    if digits.strip_prefix('-').unwrap_or(digits).bytes().all(|byte| byte.is_ascii_digit()) {
        if let Ok(value) = digits.parse::<i32>() {
            return Ok(Expr::Const(Datum::Int4(value), Type::of(TypeId::Int4)));
        }
        if let Ok(value) = digits.parse::<i64>() {
            return Ok(Expr::Const(Datum::Int8(value), Type::of(TypeId::Int8)));
        }
    }
    Ok(Expr::Const(Datum::Numeric(Numeric::parse(digits)?), Type::of(TypeId::Numeric)))
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
    Expr::Const(Datum::text(value), Type::of(TypeId::Text))
}

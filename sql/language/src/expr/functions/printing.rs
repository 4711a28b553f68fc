//! Functions that print values of any type: concat, format, quote_literal and their kin.

use super::string::invalid;
use super::{Parameter, Returns, Table, mismatch, text};
use crate::expr::Facts;
use sql_interface::{Result, SqlError};
use sql_types::TypeId::Text;
use sql_types::cast::cast;
use sql_types::{Datum, Type, work};
use sqlstate::SqlState;

/// Any value as text, as concat() and format() print it.
fn printed(value: &Datum, facts: &dyn Facts) -> String {
    value.to_text(facts.style()).unwrap_or_default()
}

/// A value as its cast to text has it, which is not always what it prints.
fn cast_to_text(value: &Datum, facts: &dyn Facts) -> Result<String> {
    let Some(id) = value.natural_type() else { return Ok(String::new()) };
    let text = cast(value, id, Type::of(Text), true, facts.style())?;
    Ok(printed(&text, facts))
}

pub(super) fn register(table: &mut Table) {
    table
        .add_any("concat", &[Parameter::Any], Returns::Is(Text), |a, facts| {
            joined(a.iter().map(|value| printed(value, facts)), "")
        })
        .lenient()
        .variadic()
        .stable();
    table
        .add_any("concat_ws", &[Parameter::Is(Text), Parameter::Any], Returns::Is(Text), |a, facts| {
            let Some((separator, values)) = a.split_first() else { return Ok(Datum::Null) };
            let Some(separator) = separator.as_str() else { return Ok(Datum::Null) };
            joined(
                values.iter().filter(|value| !value.is_null()).map(|value| printed(value, facts)),
                separator,
            )
        })
        .lenient()
        .variadic()
        .stable();
    table.add("quote_ident", &[Text], Text, |a, _| Ok(Datum::from(identifier::quote(text(a, 0)?))));
    table.add("quote_literal", &[Text], Text, |a, _| Ok(Datum::from(quote_literal(text(a, 0)?))));
    table
        .add_any("quote_literal", &[Parameter::Any], Returns::Is(Text), |a, facts| {
            Ok(Datum::from(quote_literal(&cast_to_text(a.first().ok_or_else(mismatch)?, facts)?)))
        })
        .stable();
    table
        .add_any("quote_nullable", &[Parameter::Any], Returns::Is(Text), |a, facts| {
            let value = a.first().ok_or_else(mismatch)?;
            Ok(Datum::from(if value.is_null() {
                "NULL".to_owned()
            } else {
                quote_literal(&cast_to_text(value, facts)?)
            }))
        })
        .lenient()
        .stable();
    for parameters in [&[Parameter::Is(Text)][..], &[Parameter::Is(Text), Parameter::Any]] {
        let function = table.add_any("format", parameters, Returns::Is(Text), format);
        function.lenient().stable();
        if parameters.len() > 1 {
            function.variadic();
        }
    }
    let all = [Parameter::AnyArray, Parameter::Is(Text), Parameter::Is(Text)];
    for parameters in [&all[..2], &all] {
        table.add_any("array_to_string", parameters, Returns::Is(Text), array_to_string).lenient().stable();
    }
}

fn array_to_string(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let (Some(Datum::Array(array)), Some(delimiter)) =
        (arguments.first(), arguments.get(1).and_then(Datum::as_str))
    else {
        return Ok(Datum::Null);
    };
    let null = arguments.get(2).and_then(Datum::as_str);
    let parts = array.values().iter().filter_map(|value| {
        if value.is_null() { null.map(str::to_owned) } else { Some(printed(value, facts)) }
    });
    joined(parts, delimiter)
}

/// Texts with another one between them.
fn joined(parts: impl Iterator<Item = String>, between: &str) -> Result<Datum> {
    let (mut out, mut growth) = (String::new(), work::Growth::default());
    for (at, part) in parts.enumerate() {
        growth.to(out.len() + part.len() + between.len())?;
        if at > 0 {
            out.push_str(between);
        }
        out.push_str(&part);
        if at % work::STEPS == work::STEPS - 1 {
            work::check()?;
        }
    }
    Ok(Datum::from(out))
}

/// A text as a literal of SQL.
pub(crate) fn quote_literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    if value.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// The width of a piece that an argument gives (`%*s`), and whether it stands at the left: a negative width
/// says so.
fn width_of(argument: Option<&Datum>) -> Result<(usize, bool)> {
    let width = match argument.ok_or_else(|| invalid("too few arguments for format()"))? {
        Datum::Null => 0,
        value => match value.as_i64() {
            Some(width) => width,
            None => value.as_str().and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
                let message = format!(
                    "invalid input syntax for type integer: \"{}\"",
                    value.as_str().unwrap_or_default()
                );
                SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
            })?,
        },
    };
    Ok((usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX), width < 0))
}

/// What stands behind a `%`.
struct Specifier {
    width: usize,
    left: bool,
    kind: char,
}

type Rest<'t> = std::iter::Peekable<std::str::Chars<'t>>;

fn digits(rest: &mut Rest<'_>) -> Option<usize> {
    let mut digits = String::new();
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    digits.parse().ok()
}

/// Reads a specifier, with a position (`%2$s`), which moves `next`, and a width (`%-10s`, `%*s`, `%*2$s`).
fn specifier(rest: &mut Rest<'_>, arguments: &[Datum], next: &mut usize) -> Result<Specifier> {
    let numbered = "format specifies argument 0, but arguments are numbered from 1";
    let mut width = digits(rest);
    let mut position = None;
    if rest.next_if_eq(&'$').is_some() {
        position = Some(width.filter(|at| *at > 0).ok_or_else(|| invalid(numbered))?);
        width = None;
    }
    let mut left = rest.next_if_eq(&'-').is_some();
    let width = if width.is_none() && rest.next_if_eq(&'*').is_some() {
        let at = match digits(rest) {
            None => *next,
            Some(0) => return Err(invalid(numbered)),
            Some(at) if rest.next_if_eq(&'$').is_some() => at,
            Some(_) => return Err(invalid("width argument position must be ended by \"$\"")),
        };
        let (width, turned) = width_of(arguments.get(at))?;
        left |= turned;
        // The value follows its width, wherever that stood.
        *next = at + 1;
        width
    } else {
        width.or_else(|| digits(rest)).unwrap_or(0)
    };
    *next = position.unwrap_or(*next);
    let hint = "For a single \"%\" use \"%%\".";
    let kind = rest.next().ok_or_else(|| invalid("unterminated format() type specifier").with_hint(hint))?;
    if !matches!(kind, 's' | 'I' | 'L') {
        return Err(invalid(format!("unrecognized format() type specifier \"{kind}\"")).with_hint(hint));
    }
    Ok(Specifier { width, left, kind })
}

/// format(): %s, %I, %L, %%.
fn format(arguments: &[Datum], facts: &dyn Facts) -> Result<Datum> {
    let Some(template) = arguments.first().and_then(Datum::as_str) else { return Ok(Datum::Null) };
    let (mut out, mut growth) = (String::new(), work::Growth::default());
    let mut next = 1;
    let mut rest = template.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if rest.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let Specifier { width, left, kind } = specifier(&mut rest, arguments, &mut next)?;
        let value = arguments.get(next).ok_or_else(|| invalid("too few arguments for format()"))?;
        next += 1;
        let piece = match (kind, value.is_null()) {
            ('s', _) => printed(value, facts),
            ('L', true) => "NULL".to_owned(),
            ('L', false) => quote_literal(&printed(value, facts)),
            (_, true) => {
                return Err(SqlError::new(
                    SqlState::NULL_VALUE_NOT_ALLOWED,
                    "null values cannot be formatted as an SQL identifier",
                ));
            }
            _ => identifier::quote(&printed(value, facts)),
        };
        let missing = width.saturating_sub(piece.chars().count());
        growth.to(out.len().saturating_add(piece.len()).saturating_add(missing))?;
        let padding = std::iter::repeat_n(' ', missing);
        if left {
            out.push_str(&piece);
            out.extend(padding);
        } else {
            out.extend(padding);
            out.push_str(&piece);
        }
    }
    Ok(Datum::from(out))
}

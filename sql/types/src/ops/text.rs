//! Operators on strings.

use crate::datum::{Datum, Str};
use crate::error::{Error, Result};
use crate::pattern;
use crate::style::Style;
use std::sync::Arc;

fn strings<'a>(a: &'a Datum, b: &'a Datum) -> Result<(&'a str, &'a str)> {
    a.as_str().zip(b.as_str()).ok_or_else(Error::type_mismatch)
}

pub(super) fn concatenate(a: &Datum, b: &Datum, style: &Style) -> Result<Datum> {
    if let (Datum::Bytea(a), Datum::Bytea(b)) = (a, b) {
        return Ok(Datum::Bytea(Arc::from([a.as_ref(), b.as_ref()].concat())));
    }
    let mut out = smol_str::SmolStrBuilder::new();
    for value in [a, b] {
        match value {
            Datum::Text(text) => out.push_str(text),
            Datum::Bpchar(text) => out.push_str(text.trim_end_matches(' ')),
            other => out.push_str(&other.to_text(style).unwrap_or_default()),
        }
    }
    Ok(Datum::Text(Str::from(out)))
}

pub(super) fn starts_with(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    strings(a, b).map(|(text, prefix)| Datum::Bool(text.starts_with(prefix)))
}

pub(super) fn bytea_like(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
    match (a, b) {
        (Datum::Bytea(bytes), Datum::Bytea(pattern)) => pattern::like_bytea(bytes, pattern).map(Datum::Bool),
        _ => Err(Error::type_mismatch()),
    }
}

pub(super) fn not_bytea_like(a: &Datum, b: &Datum, style: &Style) -> Result<Datum> {
    Ok(match bytea_like(a, b, style)? {
        Datum::Bool(found) => Datum::Bool(!found),
        other => other,
    })
}

macro_rules! matches {
    ($($name:ident, $negated:ident => $matches:path, $fold:literal;)*) => {
        $(
            pub(super) fn $name(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
                let (text, pattern) = strings(a, b)?;
                $matches(text, pattern, $fold).map(Datum::Bool)
            }
            pub(super) fn $negated(a: &Datum, b: &Datum, _: &Style) -> Result<Datum> {
                let (text, pattern) = strings(a, b)?;
                $matches(text, pattern, $fold).map(|found| Datum::Bool(!found))
            }
        )*
    };
}

matches! {
    like, not_like => pattern::like, false;
    ilike, not_ilike => pattern::like, true;
    regex, not_regex => pattern::regex_matches, false;
    iregex, not_iregex => pattern::regex_matches, true;
}

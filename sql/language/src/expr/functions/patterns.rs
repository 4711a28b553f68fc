//! Functions that look for patterns. Matches are numbered, and places counted, from 1.

use super::string::{invalid, many};
use super::{Table, int4, integer, text};
use sql_interface::{Result, SqlError};
use sql_types::TypeId::{Bool, Int4, Text, TextArray};
use sql_types::{Array, Datum, pattern};
use sqlstate::SqlState;
use std::sync::Arc;

/// Flags of the regular expression functions: options of the expression, and whether all matches count.
pub(super) fn flags(written: &str) -> Result<(pattern::Options, bool)> {
    let (mut options, mut all) = (pattern::Options::default(), false);
    for flag in written.chars() {
        if flag == 'g' {
            all = true;
        } else if !options.take(flag)? {
            return Err(invalid(format!("invalid regular expression option: \"{flag}\"")));
        }
    }
    Ok((options, all))
}

/// An expression without flags.
pub(super) fn plain(pattern: &str) -> Result<pattern::Regex> {
    Ok(pattern::cached(pattern, pattern::Options::default())?)
}

fn texts(parts: impl Iterator<Item = Option<impl Into<String>>>) -> Datum {
    let values = parts.map(|part| part.map_or(Datum::Null, |part| Datum::from(part.into()))).collect();
    Datum::Array(Arc::new(Array::of(Text, values)))
}

pub(super) fn register(table: &mut Table) {
    table.add("like_escape", &[Text, Text], Text, |a, _| {
        let (value, escape) = (text(a, 0)?, text(a, 1)?);
        let mut characters = escape.chars();
        match (characters.next(), characters.next()) {
            // Without an escape character backslashes are plain.
            (None, _) => Ok(Datum::from(value.replace('\\', "\\\\"))),
            (Some('\\'), None) => Ok(Datum::text(value)),
            (Some(escape), None) => Ok(Datum::from(pattern::with_backslash(value, escape))),
            _ => Err(SqlError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
                .with_hint("Escape string must be empty or one character.")),
        }
    });
    table.add("substring", &[Text, Text], Text, |a, _| {
        Ok(plain(text(a, 1)?)?.find(text(a, 0)?)?.map(Datum::text).unwrap_or_default())
    });
    table.add("regexp_replace", &[Text, Text, Text], Text, |a, _| {
        Ok(Datum::from(plain(text(a, 1)?)?.replace(text(a, 0)?, text(a, 2)?, false)?))
    });
    table.add("regexp_replace", &[Text, Text, Text, Text], Text, |a, _| {
        let (options, all) = flags(text(a, 3)?)?;
        Ok(Datum::from(pattern::cached(text(a, 1)?, options)?.replace(text(a, 0)?, text(a, 2)?, all)?))
    });
    matches(table);
    places(table);
    splits(table);
}

fn matches(table: &mut Table) {
    table.add("regexp_match", &[Text, Text], TextArray, |a, _| {
        let groups = plain(text(a, 1)?)?.groups(text(a, 0)?)?;
        Ok(groups.map_or(Datum::Null, |groups| texts(groups.into_iter())))
    });
    table.add("regexp_match", &[Text, Text, Text], TextArray, |a, _| {
        let (options, all) = flags(text(a, 2)?)?;
        if all {
            return Err(invalid("regexp_match() does not support the \"global\" option")
                .with_hint("Use the regexp_matches function instead."));
        }
        let groups = pattern::cached(text(a, 1)?, options)?.groups(text(a, 0)?)?;
        Ok(groups.map_or(Datum::Null, |groups| texts(groups.into_iter())))
    });
    for parameters in [&[Text, Text][..], &[Text, Text, Text]] {
        table.add("regexp_like", parameters, Bool, |a, _| {
            Ok(Datum::Bool(regex(a, 1, 2, "regexp_like")?.is_match(text(a, 0)?)))
        });
    }
}

/// The flags, if they are given.
fn given(arguments: &[Datum], at: usize) -> Result<(pattern::Options, bool)> {
    if arguments.len() > at { flags(text(arguments, at)?) } else { Ok((pattern::Options::default(), false)) }
}

/// The expression with its flags, if they are given, for a function that has no use for "g".
fn regex(arguments: &[Datum], at: usize, flags_at: usize, function: &str) -> Result<pattern::Regex> {
    let (options, all) = given(arguments, flags_at)?;
    if all {
        return Err(invalid(format!("{function}() does not support the \"global\" option")));
    }
    Ok(pattern::cached(text(arguments, at)?, options)?)
}

/// A number that is at least `least`, or `otherwise` where none is given.
fn number(arguments: &[Datum], at: usize, parameter: &str, least: i64, otherwise: usize) -> Result<usize> {
    if arguments.len() <= at {
        return Ok(otherwise);
    }
    let value = integer(arguments, at)?;
    let refused = || invalid(format!("invalid value for parameter \"{parameter}\": {value}"));
    usize::try_from(value).ok().filter(|_| value >= least).ok_or_else(refused)
}

/// The byte where a character begins, counted from 1; None behind the end.
fn byte_of(value: &str, character: usize) -> Option<usize> {
    let starts = value.char_indices().map(|(at, _)| at).chain([value.len()]);
    starts.into_iter().nth(character.saturating_sub(1))
}

/// What counts matches, or says where one is.
fn places(table: &mut Table) {
    let count = [Text, Text, Int4, Text];
    for given in 2..=count.len() {
        table.add("regexp_count", count.get(..given).unwrap_or_default(), Int4, |a, _| {
            let start = number(a, 2, "start", 1, 1)?;
            let regex = regex(a, 1, 3, "regexp_count")?;
            let from = byte_of(text(a, 0)?, start);
            Ok(int4(
                from.map(|from| regex.count(text(a, 0)?, from).map_err(SqlError::from))
                    .transpose()?
                    .unwrap_or(0),
            ))
        });
    }
    let instr = [Text, Text, Int4, Int4, Int4, Text, Int4];
    for given in 2..=instr.len() {
        table.add("regexp_instr", instr.get(..given).unwrap_or_default(), Int4, |a, _| {
            let (start, nth) = (number(a, 2, "start", 1, 1)?, number(a, 3, "n", 1, 1)?);
            let end = number(a, 4, "endoption", 0, 0)?;
            if end > 1 {
                return Err(invalid(format!("invalid value for parameter \"endoption\": {end}")));
            }
            let group = number(a, 6, "subexpr", 0, 0)?;
            let regex = regex(a, 1, 5, "regexp_instr")?;
            let value = text(a, 0)?;
            let Some(from) = byte_of(value, start) else { return Ok(Datum::Int4(0)) };
            let found = regex.range(value, from, nth, group)?;
            let place = found.map(|(first, last)| if end == 1 { last } else { first });
            Ok(int4(place.map_or(0, |at| value.get(..at).unwrap_or_default().chars().count() + 1)))
        });
    }
    let substr = [Text, Text, Int4, Int4, Text, Int4];
    for given in 2..=substr.len() {
        table.add("regexp_substr", substr.get(..given).unwrap_or_default(), Text, |a, _| {
            let (start, nth) = (number(a, 2, "start", 1, 1)?, number(a, 3, "n", 1, 1)?);
            let group = number(a, 5, "subexpr", 0, 0)?;
            let regex = regex(a, 1, 4, "regexp_substr")?;
            let value = text(a, 0)?;
            let Some(from) = byte_of(value, start) else { return Ok(Datum::Null) };
            let found = regex.range(value, from, nth, group)?;
            let part = found.and_then(|(first, last)| value.get(first..last));
            Ok(part.map_or(Datum::Null, Datum::text))
        });
    }
}

/// What takes a text apart.
fn splits(table: &mut Table) {
    for parameters in [&[Text, Text][..], &[Text, Text, Text]] {
        table.add("regexp_split_to_array", parameters, TextArray, |a, _| {
            let regex = regex(a, 1, 2, "regexp_split_to_array")?;
            let parts = regex.split(text(a, 0)?)?;
            many(parts.len(), text(a, 0)?.len(), || Ok(parts.into_iter().map(Datum::from).collect()))
        });
    }
}

/// regexp_matches: an array of groups for each match. The values are those of its arguments.
///
/// # Errors
///
/// What is wrong with the expression or its flags, and those of work that is to stop.
pub fn regexp_matches(arguments: &[Datum]) -> Result<Vec<Datum>> {
    let (options, all) = given(arguments, 2)?;
    let found = pattern::cached(text(arguments, 1)?, options)?.all_groups(text(arguments, 0)?, all)?;
    Ok(found.into_iter().map(|groups| texts(groups.into_iter())).collect())
}

//! Functions of strings and bytea. With collation C, case is that of ASCII letters.

use super::{Table, bytes, int4, integer, text};
use crate::expr::Facts;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use md5::Md5;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use sql_interface::{Result, SqlError};
use sql_types::TypeId::{Bool, Bpchar, Bytea, Int4, Int8, Text, TextArray};
use sql_types::{Array, Datum, Type, VALUE_BYTES_MAX, work};
use sqlstate::SqlState;
use std::collections::HashMap;
use std::sync::Arc;

/// Makes a value of about so many bytes, if one may have so many.
fn made<T>(bytes: usize, make: impl FnOnce() -> Result<T>) -> Result<T> {
    if bytes > VALUE_BYTES_MAX { Err(sql_types::Error::too_long().into()) } else { work::large(bytes, make) }
}

/// An array of texts, of which there are `count`, made from `bytes` of text.
pub(super) fn many(count: usize, bytes: usize, parts: impl FnOnce() -> Result<Vec<Datum>>) -> Result<Datum> {
    let most = VALUE_BYTES_MAX / size_of::<Datum>();
    if count > most {
        let what = format!("array size exceeds the maximum allowed ({most})");
        return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, what));
    }
    made(bytes + count * size_of::<Datum>(), || Ok(Datum::Array(Arc::new(Array::of(Text, parts()?)))))
}

/// Whether a character is one of these.
fn one_of(set: &str) -> impl Fn(char) -> bool {
    let mut sorted: Vec<char> = set.chars().collect();
    sorted.sort_unstable();
    move |c| sorted.binary_search(&c).is_ok()
}

pub(super) fn invalid(message: impl Into<String>) -> SqlError {
    SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

pub(super) fn register(table: &mut Table) {
    lengths(table);
    cases_and_trims(table);
    parts(table);
    changes(table);
    finds(table);
    encodings(table);
}

fn lengths(table: &mut Table) {
    for name in ["length", "char_length", "character_length"] {
        table.add(name, &[Text], Int4, |a, _| Ok(int4(text(a, 0)?.chars().count())));
        table.add(name, &[Bpchar], Int4, |a, _| Ok(int4(text(a, 0)?.chars().count())));
    }
    table.add("length", &[Bytea], Int4, |a, _| Ok(int4(bytes(a, 0)?.len())));
    table.add("octet_length", &[Text], Int4, |a, _| Ok(int4(text(a, 0)?.len())));
    table.add("octet_length", &[Bpchar], Int4, |a, _| {
        Ok(int4(a.first().and_then(Datum::as_str).unwrap_or_default().len()))
    });
    table.add("octet_length", &[Bytea], Int4, |a, _| Ok(int4(bytes(a, 0)?.len())));
    table.add("bit_length", &[Text], Int4, |a, _| Ok(int4(text(a, 0)?.len() * 8)));
    table.add("bit_length", &[Bytea], Int4, |a, _| Ok(int4(bytes(a, 0)?.len() * 8)));
}

fn cases_and_trims(table: &mut Table) {
    table.add("lower", &[Text], Text, |a, _| Ok(Datum::text(text(a, 0)?.to_ascii_lowercase())));
    table.add("upper", &[Text], Text, |a, _| Ok(Datum::text(text(a, 0)?.to_ascii_uppercase())));
    table.add("initcap", &[Text], Text, |a, _| {
        let mut inside = false;
        let capital = |c: char| {
            let changed = if inside { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
            inside = c.is_ascii_alphanumeric();
            changed
        };
        Ok(Datum::from(text(a, 0)?.chars().map(capital).collect::<String>()))
    });
    table.add("btrim", &[Text], Text, |a, _| Ok(Datum::text(text(a, 0)?.trim_matches(' '))));
    table.add("ltrim", &[Text], Text, |a, _| Ok(Datum::text(text(a, 0)?.trim_start_matches(' '))));
    table.add("rtrim", &[Text], Text, |a, _| Ok(Datum::text(text(a, 0)?.trim_end_matches(' '))));
    table.add("btrim", &[Text, Text], Text, |a, _| {
        let set = one_of(text(a, 1)?);
        Ok(Datum::text(text(a, 0)?.trim_matches(set)))
    });
    table.add("ltrim", &[Text, Text], Text, |a, _| {
        let set = one_of(text(a, 1)?);
        Ok(Datum::text(text(a, 0)?.trim_start_matches(set)))
    });
    table.add("rtrim", &[Text, Text], Text, |a, _| {
        let set = one_of(text(a, 1)?);
        Ok(Datum::text(text(a, 0)?.trim_end_matches(set)))
    });
    table.add("lpad", &[Text, Int4], Text, |a, _| pad(text(a, 0)?, integer(a, 1)?, " ", true));
    table.add("rpad", &[Text, Int4], Text, |a, _| pad(text(a, 0)?, integer(a, 1)?, " ", false));
    table.add("lpad", &[Text, Int4, Text], Text, |a, _| pad(text(a, 0)?, integer(a, 1)?, text(a, 2)?, true));
    table.add("rpad", &[Text, Int4, Text], Text, |a, _| pad(text(a, 0)?, integer(a, 1)?, text(a, 2)?, false));
}

fn pad(value: &str, length: i64, fill: &str, before: bool) -> Result<Datum> {
    let length = usize::try_from(length).unwrap_or(0);
    let have = value.chars().count();
    if have >= length {
        return Ok(Datum::from(value.chars().take(length).collect::<String>()));
    }
    made(length.saturating_mul(4), || {
        let padding: String =
            fill.chars().cycle().take(if fill.is_empty() { 0 } else { length - have }).collect();
        Ok(Datum::from(if before { padding + value } else { [value, &padding].concat() }))
    })
}

/// What takes a part of a text.
fn parts(table: &mut Table) {
    for name in ["substring", "substr"] {
        table.add(name, &[Text, Int4], Text, |a, _| substring(text(a, 0)?, integer(a, 1)?, None));
        table.add(name, &[Text, Int4, Int4], Text, |a, _| {
            substring(text(a, 0)?, integer(a, 1)?, Some(integer(a, 2)?))
        });
        table.add(name, &[Bytea, Int4], Bytea, |a, _| sub_bytes(bytes(a, 0)?, integer(a, 1)?, None));
        table.add(name, &[Bytea, Int4, Int4], Bytea, |a, _| {
            sub_bytes(bytes(a, 0)?, integer(a, 1)?, Some(integer(a, 2)?))
        });
    }
    table.add("left", &[Text, Int4], Text, |a, _| {
        let (value, count) = (text(a, 0)?, integer(a, 1)?);
        let keep = kept(value, count);
        Ok(Datum::from(value.chars().take(keep).collect::<String>()))
    });
    table.add("right", &[Text, Int4], Text, |a, _| {
        let (value, count) = (text(a, 0)?, integer(a, 1)?);
        let skip = value.chars().count().saturating_sub(kept(value, count));
        Ok(Datum::from(value.chars().skip(skip).collect::<String>()))
    });
    table.add("split_part", &[Text, Text, Int4], Text, |a, _| {
        split_part(text(a, 0)?, text(a, 1)?, integer(a, 2)?)
    });
    table.add("overlay", &[Text, Text, Int4], Text, |a, _| {
        overlay(text(a, 0)?, text(a, 1)?, integer(a, 2)?, None)
    });
    table.add("overlay", &[Text, Text, Int4, Int4], Text, |a, _| {
        overlay(text(a, 0)?, text(a, 1)?, integer(a, 2)?, Some(integer(a, 3)?))
    });
    for parameters in [&[Text, Text][..], &[Text, Text, Text]] {
        table.add("string_to_array", parameters, TextArray, string_to_array).lenient();
    }
}

/// The parts between delimiters, or all characters; those that are the third argument are NULL.
fn string_to_array(arguments: &[Datum], _: &dyn Facts) -> Result<Datum> {
    let Some(Datum::Text(value)) = arguments.first() else { return Ok(Datum::Null) };
    let null = arguments.get(2).and_then(Datum::as_str);
    let part = |part: &str| if Some(part) == null { Datum::Null } else { Datum::text(part) };
    match arguments.get(1).and_then(Datum::as_str) {
        _ if value.is_empty() => many(0, 0, || Ok(Vec::new())),
        None => {
            many(value.len(), 0, || Ok(value.chars().map(|c| part(c.encode_utf8(&mut [0; 4]))).collect()))
        }
        Some("") => many(1, 0, || Ok(vec![part(value)])),
        Some(delimiter) => many(value.matches(delimiter).count() + 1, value.len(), || {
            Ok(value.split(delimiter).map(part).collect())
        }),
    }
}

/// What makes another text of one.
fn changes(table: &mut Table) {
    table.add("repeat", &[Text, Int4], Text, |a, _| {
        let (value, times) = (text(a, 0)?, usize::try_from(integer(a, 1)?).unwrap_or(0));
        made(value.len().saturating_mul(times), || Ok(Datum::from(value.repeat(times))))
    });
    table
        .add("reverse", &[Text], Text, |a, _| Ok(Datum::from(text(a, 0)?.chars().rev().collect::<String>())));
    table.add("replace", &[Text, Text, Text], Text, |a, _| {
        let (value, from, to) = (text(a, 0)?, text(a, 1)?, text(a, 2)?);
        if from.is_empty() {
            return Ok(Datum::text(value));
        }
        let longer = to.len().saturating_sub(from.len());
        let found = if longer == 0 { 0 } else { value.matches(from).count() };
        let length = value.len().saturating_add(found.saturating_mul(longer));
        made(length, || Ok(Datum::from(value.replace(from, to))))
    });
    table.add("translate", &[Text, Text, Text], Text, |a, _| {
        let mut to = text(a, 2)?.chars();
        let mut changes = HashMap::new();
        for from in text(a, 1)?.chars() {
            let change = to.next();
            changes.entry(from).or_insert(change);
        }
        let change = |c: char| changes.get(&c).copied().unwrap_or(Some(c));
        let (mut out, mut growth) = (String::new(), work::Growth::default());
        for (at, c) in text(a, 0)?.chars().enumerate() {
            if at % work::STEPS == work::STEPS - 1 {
                work::check()?;
                growth.to(out.len() + work::STEPS * 4)?;
            }
            out.extend(change(c));
        }
        Ok(Datum::from(out))
    });
}

/// What looks for a text in another.
fn finds(table: &mut Table) {
    for name in ["strpos", "position"] {
        table.add(name, &[Text, Text], Int4, |a, _| {
            let value = text(a, 0)?;
            let found = value.find(text(a, 1)?);
            Ok(int4(found.map_or(0, |at| value.get(..at).map_or(0, |before| before.chars().count()) + 1)))
        });
    }
    table.add("starts_with", &[Text, Text], Bool, |a, _| {
        Ok(Datum::Bool(text(a, 0)?.starts_with(text(a, 1)?)))
    });
}

/// How many characters left() and right() keep: a negative count is that many fewer than all.
fn kept(value: &str, count: i64) -> usize {
    let all = value.chars().count();
    match usize::try_from(count) {
        Ok(count) => count.min(all),
        Err(_) => all.saturating_sub(usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX)),
    }
}

/// The range of places (from 0) of `FROM start FOR length`, which counts from 1 and may begin before the
/// value.
fn range(start: i64, length: Option<i64>) -> Result<(usize, usize)> {
    let end = match length {
        None => i64::MAX,
        Some(length) if length < 0 => {
            return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
        }
        Some(length) => start.saturating_add(length),
    };
    let from = usize::try_from(start - 1).unwrap_or(0);
    let to = usize::try_from(end - 1).unwrap_or(0);
    Ok((from, to.saturating_sub(from)))
}

fn substring(value: &str, start: i64, length: Option<i64>) -> Result<Datum> {
    let (skip, take) = range(start, length)?;
    Ok(Datum::from(value.chars().skip(skip).take(take).collect::<String>()))
}

fn sub_bytes(value: &[u8], start: i64, length: Option<i64>) -> Result<Datum> {
    let (skip, take) = range(start, length)?;
    let part: Vec<u8> = value.iter().copied().skip(skip).take(take).collect();
    Ok(Datum::bytea(part))
}

fn overlay(value: &str, with: &str, start: i64, count: Option<i64>) -> Result<Datum> {
    let count = count.unwrap_or_else(|| with.chars().count() as i64);
    if start <= 0 {
        return Err(SqlError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    if i32::try_from(start + count).is_err() {
        return Err(SqlError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "integer out of range"));
    }
    let before = usize::try_from(start - 1).unwrap_or(0);
    let after = usize::try_from(start - 1 + count).unwrap_or(0);
    let mut out: String = value.chars().take(before).collect();
    out.push_str(with);
    out.extend(value.chars().skip(after));
    Ok(Datum::from(out))
}

fn split_part(value: &str, delimiter: &str, field: i64) -> Result<Datum> {
    if field == 0 {
        return Err(invalid("field position must not be zero"));
    }
    let at = usize::try_from(field.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let part = if delimiter.is_empty() {
        (at == 0).then_some(value)
    } else if field > 0 {
        value.split(delimiter).nth(at)
    } else {
        value.rsplit(delimiter).nth(at)
    };
    Ok(Datum::text(part.unwrap_or_default()))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The digest of so many bytes that it may have to stop.
fn digest<D: md5::Digest>(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut digest = D::new();
    for piece in bytes.chunks(1 << 20) {
        digest.update(piece);
        work::check()?;
    }
    Ok(digest.finalize().to_vec())
}

fn encodings(table: &mut Table) {
    table.add("md5", &[Text], Text, |a, _| Ok(Datum::from(hex(&digest::<Md5>(text(a, 0)?.as_bytes())?))));
    table.add("md5", &[Bytea], Text, |a, _| Ok(Datum::from(hex(&digest::<Md5>(bytes(a, 0)?)?))));
    table.add("sha224", &[Bytea], Bytea, |a, _| Ok(Datum::bytea(digest::<Sha224>(bytes(a, 0)?)?)));
    table.add("sha256", &[Bytea], Bytea, |a, _| Ok(Datum::bytea(digest::<Sha256>(bytes(a, 0)?)?)));
    table.add("sha384", &[Bytea], Bytea, |a, _| Ok(Datum::bytea(digest::<Sha384>(bytes(a, 0)?)?)));
    table.add("sha512", &[Bytea], Bytea, |a, _| Ok(Datum::bytea(digest::<Sha512>(bytes(a, 0)?)?)));
    table.add("encode", &[Bytea, Text], Text, |a, _| encode(bytes(a, 0)?, text(a, 1)?));
    table.add("decode", &[Text, Text], Bytea, |a, facts| decode(text(a, 0)?, text(a, 1)?, facts));
    table.add("to_hex", &[Int4], Text, |a, _| Ok(Datum::from(format!("{:x}", integer(a, 0)? as i32))));
    table.add("to_hex", &[Int8], Text, |a, _| Ok(Datum::from(format!("{:x}", integer(a, 0)?))));
    table.add("ascii", &[Text], Int4, |a, _| {
        Ok(Datum::Int4(text(a, 0)?.chars().next().map_or(0, |c| c as i32)))
    });
    table.add("chr", &[Int4], Text, |a, _| {
        let code = integer(a, 0)?;
        if code == 0 {
            return Err(SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "null character not permitted"));
        }
        let character = u32::try_from(code).ok().and_then(char::from_u32).ok_or_else(|| {
            if code < 0 {
                return SqlError::new(SqlState::INVALID_PARAMETER_VALUE, "character number must be positive");
            }
            let message = format!("requested character not valid for encoding: {code}");
            SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
        })?;
        Ok(Datum::from(character.to_string()))
    });
    table.add("convert_from", &[Bytea, Text], Text, |a, _| {
        utf8_only(text(a, 1)?)?;
        Ok(Datum::text(sql_types::binary::checked_text(bytes(a, 0)?)?))
    });
    table.add("convert_to", &[Text, Text], Bytea, |a, _| {
        utf8_only(text(a, 1)?)?;
        Ok(Datum::bytea(text(a, 0)?.as_bytes().to_vec()))
    });
}

fn utf8_only(name: &str) -> Result<()> {
    match name.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "utf8" | "unicode" | "sqlascii" => Ok(()),
        _ => Err(SqlError::unsupported(format!("conversion from or to the encoding {name}"))),
    }
}

fn encode(value: &[u8], format: &str) -> Result<Datum> {
    Ok(Datum::from(match format.to_ascii_lowercase().as_str() {
        "hex" => hex(value),
        "base64" => {
            // Lines of 76 characters, as PostgreSQL breaks them.
            let all = BASE64.encode(value);
            let mut out = String::with_capacity(all.len() + all.len() / 76);
            for (at, c) in all.chars().enumerate() {
                if at > 0 && at % 76 == 0 {
                    out.push('\n');
                }
                out.push(c);
            }
            out
        }
        "escape" => {
            // Only NUL, bytes with the high bit and the backslash are escaped here; bytea output escapes
            // more.
            let (mut out, mut growth) = (String::new(), work::Growth::default());
            for piece in value.chunks(work::STEPS) {
                work::check()?;
                growth.to(out.len() + piece.len() * "\\377".len())?;
                for byte in piece {
                    match byte {
                        0 | 0x80.. => {
                            let digit = |shift: u8| char::from(b'0' + (byte >> shift & 7));
                            out.extend(['\\', digit(6), digit(3), digit(0)]);
                        }
                        b'\\' => out.push_str("\\\\"),
                        byte => out.push(char::from(*byte)),
                    }
                }
            }
            out
        }
        _ => return Err(invalid(format!("unrecognized encoding: \"{format}\""))),
    }))
}

fn decode(value: &str, format: &str, facts: &dyn Facts) -> Result<Datum> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => Ok(Datum::parse(Type::of(Bytea), &format!("\\x{value}"), facts.style())?),
        "escape" => {
            let escaped = if value.starts_with("\\x") {
                format!("\\134{}", value.get(1..).unwrap_or_default())
            } else {
                value.to_owned()
            };
            Ok(Datum::parse(Type::of(Bytea), &escaped, facts.style())?)
        }
        "base64" => {
            let plain: String = value.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            let strange =
                plain.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=')));
            if let Some(strange) = strange {
                return Err(invalid(format!(
                    "invalid symbol \"{strange}\" found while decoding base64 sequence"
                )));
            }
            BASE64.decode(plain).map(Datum::bytea).map_err(|_| {
                invalid("invalid base64 end sequence")
                    .with_hint("Input data is missing padding, is truncated, or is otherwise corrupted.")
            })
        }
        _ => Err(invalid(format!("unrecognized encoding: \"{format}\""))),
    }
}

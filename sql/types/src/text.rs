//! Values as text, as typinput and typoutput functions have them.

use crate::array::{Array, Dimension, MAX_DIMENSIONS};
use crate::datum::{Datum, Str};
use crate::error::{Error, Result};
use crate::numeric::Numeric;
use crate::style::Style;
use crate::types::{STANDING_FOR_OTHERS, Type, TypeId};
use crate::{bytea, float, inet, integer, single_byte, time, type_name, work};
use sqlstate::SqlState;
use std::fmt::Write as _;
use std::sync::Arc;

impl Datum {
    /// Reads a value of `ty` from its text, as `'text'::type` does, and applies the type's modifier.
    ///
    /// # Errors
    ///
    /// 22P02, 22003 or another code of the class 22 if the text is no such value.
    pub fn parse(ty: Type, text: &str, style: &Style) -> Result<Self> {
        let value = match ty.id {
            TypeId::Bool => Self::Bool(integer::parse_bool(text)?),
            TypeId::Int2 => {
                let value =
                    integer::parse_integer(text, "smallint", i64::from(i16::MIN), i64::from(i16::MAX))?;
                Self::Int2(value as i16)
            }
            TypeId::Int4 => {
                let value =
                    integer::parse_integer(text, "integer", i64::from(i32::MIN), i64::from(i32::MAX))?;
                Self::Int4(value as i32)
            }
            TypeId::Int8 => Self::Int8(integer::parse_integer(text, "bigint", i64::MIN, i64::MAX)?),
            TypeId::Float4 => Self::Float4(float::parse_f32(text)?),
            TypeId::Float8 => Self::Float8(float::parse_f64(text)?),
            TypeId::Numeric => Self::Numeric(Numeric::parse(text)?),
            // Who is named in an aclitem only the catalogue knows.
            TypeId::Text | TypeId::Varchar | TypeId::Unknown | TypeId::Aclitem => Self::Text(Str::from(text)),
            TypeId::Name => Self::Text(Str::from(crate::clipped(text))),
            TypeId::Char => single_byte::of_text(text),
            TypeId::Bpchar => Self::Bpchar(Arc::from(text)),
            TypeId::Bytea => Self::Bytea(Arc::from(bytea::parse(text)?)),
            TypeId::Date => Self::Date(time::parse_date(text, style)?),
            TypeId::Time => Self::Time(time::parse_time(text, style)?),
            TypeId::Timestamp => Self::Timestamp(time::parse_timestamp(text, style)?),
            TypeId::Timestamptz => Self::Timestamptz(time::parse_timestamptz(text, style)?),
            TypeId::Interval => Self::Interval(time::parse_interval_in(style.interval_style, text)?),
            TypeId::Lsn => Self::Lsn(integer::parse_lsn(text)?),
            TypeId::Oid | TypeId::Regtype => parse_oid(ty.id, text)?,
            id if id.is_reg() => parse_oid(id, text)?,
            TypeId::Int2Vector | TypeId::OidVector => parse_vector(ty.id, text, style)?,
            TypeId::Xid => Self::Xid(integer::parse_unsigned(text, "xid")?),
            TypeId::Xid8 => Self::Xid8(integer::parse_u64(text, "xid8")?),
            TypeId::Uuid => Self::Uuid(integer::parse_uuid(text)?),
            TypeId::Inet => {
                let (address, bits) = inet::parse(text)?;
                Self::Inet(address, bits)
            }
            TypeId::Void => Self::Text(Str::default()),
            TypeId::AnyArray => {
                return Err(Error::new(
                    SqlState::FEATURE_NOT_SUPPORTED,
                    format!("cannot accept a value of type {}", ty.id.sql_name()),
                ));
            }
            id => match id.element() {
                Some(element) => {
                    return parse_array(Type { id: element, modifier: ty.modifier }, text, style);
                }
                None => return Err(Error::type_mismatch()),
            },
        };
        if ty.modifier < 0 { Ok(value) } else { crate::cast::apply_modifier(value, ty, false) }
    }

    /// Appends the value's text. NULL has none: nothing is appended.
    pub fn write_text(&self, style: &Style, out: &mut String) {
        match self {
            Self::Null => {}
            Self::Bool(value) => out.push(if *value { 't' } else { 'f' }),
            Self::Int2(value) => write_display(out, value),
            Self::Int4(value) => write_display(out, value),
            Self::Int8(value) => write_display(out, value),
            Self::Float4(value) => float::write_f32(*value, style.extra_float_digits, out),
            Self::Float8(value) => float::write_f64(*value, style.extra_float_digits, out),
            Self::Numeric(value) => write_display(out, value),
            Self::Text(value) => out.push_str(value),
            Self::Bpchar(value) => out.push_str(value),
            Self::HighByte(byte) => single_byte::write_high(*byte, out),
            Self::Bytea(value) => bytea::write(value, style.bytea_output, out),
            Self::Date(value) => time::write_date(*value, out),
            Self::Time(value) => time::write_time(*value, out),
            Self::Timestamp(value) => time::write_timestamp(*value, out),
            Self::Timestamptz(value) => time::write_timestamptz(*value, &style.zone, out),
            Self::Interval(value) => time::write_interval_in(style.interval_style, *value, out),
            Self::Lsn(value) => {
                let _ = write!(out, "{:X}/{:X}", value >> 32, value & 0xFFFF_FFFF);
            }
            Self::Oid(value) | Self::Xid(value) => write_display(out, value),
            Self::Regtype(0) => out.push('-'),
            Self::Regtype(value) => match TypeId::from_oid(*value) {
                Some(id) => out.push_str(id.sql_name()),
                None => match STANDING_FOR_OTHERS.iter().find(|(oid, _)| oid == value) {
                    Some((_, name)) => out.push_str(name),
                    None => write_display(out, value),
                },
            },
            Self::Xid8(value) => write_display(out, value),
            Self::Uuid(value) => {
                for (at, part) in value.chunks(2).enumerate() {
                    if (2..=5).contains(&at) {
                        out.push('-');
                    }
                    bytea::write_hex(part, out);
                }
            }
            Self::Inet(address, bits) => inet::write(out, *address, *bits),
            Self::Array(array) if array.is_vector() => write_vector(array, style, out),
            Self::Array(array) => write_array(array, style, out),
        }
    }

    /// The value's text; None for NULL.
    pub fn to_text(&self, style: &Style) -> Option<String> {
        if self.is_null() {
            return None;
        }
        let mut out = String::new();
        self.write_text(style, &mut out);
        Some(out)
    }
}

fn write_display(out: &mut String, value: impl std::fmt::Display) {
    let _ = write!(out, "{value}");
}

/// An OID; a type by its name for regtype. Names of relations need a catalogue, which this crate does not
/// know.
fn parse_oid(id: TypeId, text: &str) -> Result<Datum> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if id != TypeId::Regtype {
        return Ok(Datum::Oid(integer::parse_unsigned(text, id.sql_name())?));
    }
    if text == "-" {
        return Ok(Datum::Regtype(0));
    }
    if is_number {
        return Ok(Datum::Regtype(integer::parse_unsigned(text, id.sql_name())?));
    }
    let found = type_name::type_named(text)?;
    found
        .map(Datum::Regtype)
        .map_err(|name| Error::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist")))
}

/// Numbers with blanks between them.
fn parse_vector(id: TypeId, text: &str, style: &Style) -> Result<Datum> {
    let element = id.element().ok_or_else(Error::type_mismatch)?;
    let values = text.split_ascii_whitespace().map(|part| Datum::parse(Type::of(element), part, style));
    Ok(Datum::Array(Arc::new(Array::vector(element, values.collect::<Result<_>>()?))))
}

fn write_vector(array: &Array, style: &Style, out: &mut String) {
    for (at, value) in array.values().iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        value.write_text(style, out);
    }
}

/// `{a,"b c",NULL}`, nested for more dimensions, lower bounds before it unless all are 1.
fn write_array(array: &Array, style: &Style, out: &mut String) {
    // Nothing stops it.
    let _ = write_array_until(array, style, out, &mut |_| Ok(()));
}

/// The text of an array, which may be long: it stops if the work is to stop.
///
/// # Errors
///
/// 57014 if the work is to stop.
pub(crate) fn array_text(array: &Array, style: &Style) -> Result<String> {
    const STEP_BYTES: usize = 1 << 20;
    let (mut out, mut next) = (String::new(), STEP_BYTES);
    write_array_until(array, style, &mut out, &mut |bytes| {
        if bytes < next {
            return Ok(());
        }
        next = bytes + STEP_BYTES;
        work::check()
    })?;
    Ok(out)
}

/// Between elements `check` hears how long the text is.
fn write_array_until(
    array: &Array,
    style: &Style,
    out: &mut String,
    check: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<()> {
    if array.dimensions().iter().any(|dimension| dimension.lower != 1) {
        for Dimension { len, lower } in array.dimensions() {
            let _ = write!(out, "[{lower}:{}]", i64::from(*lower) + i64::from(*len) - 1);
        }
        out.push('=');
    }
    let lengths: Vec<usize> = array.dimensions().iter().map(|dimension| dimension.len as usize).collect();
    write_nested(&lengths, array.values(), style, out, check)
}

fn write_nested(
    lengths: &[usize],
    values: &[Datum],
    style: &Style,
    out: &mut String,
    check: &mut dyn FnMut(usize) -> Result<()>,
) -> Result<()> {
    out.push('{');
    let inner = lengths.get(1..).unwrap_or_default();
    let size = inner.iter().product::<usize>().max(1);
    for (at, part) in values.chunks(size).enumerate() {
        if at > 0 {
            out.push(',');
        }
        match part {
            [value] if inner.is_empty() => write_element(value, style, out),
            part => write_nested(inner, part, style, out, check)?,
        }
        check(out.len())?;
    }
    out.push('}');
    Ok(())
}

fn write_element(value: &Datum, style: &Style, out: &mut String) {
    let Some(text) = value.to_text(style) else {
        out.push_str("NULL");
        return;
    };
    let special = |c: char| matches!(c, '"' | '\\' | '{' | '}' | ',') || integer::is_space(c);
    if text.is_empty() || text.eq_ignore_ascii_case("null") || text.contains(special) {
        out.push('"');
        let mut rest = text.as_str();
        while let Some((plain, tail)) = rest.find(['"', '\\']).and_then(|at| rest.split_at_checked(at)) {
            out.push_str(plain);
            out.push('\\');
            let (special, tail) = tail.split_at_checked(1).unwrap_or((tail, ""));
            out.push_str(special);
            rest = tail;
        }
        out.push_str(rest);
        out.push('"');
    } else {
        out.push_str(&text);
    }
}

fn malformed(text: &str, detail: &'static str) -> Error {
    Error::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\""))
        .with_detail(detail)
}

fn parse_array(element: Type, text: &str, style: &Style) -> Result<Datum> {
    let mut reader = ArrayReader {
        text,
        rest: integer::trim(text),
        element,
        style,
        values: Vec::new(),
        lengths: Vec::new(),
    };
    let lowers = reader.bounds()?;
    reader.nested(0)?;
    if !integer::trim(reader.rest).is_empty() {
        return Err(malformed(text, "Junk after closing right brace."));
    }
    let mut dimensions: Vec<Dimension> =
        reader.lengths.iter().map(|len| Dimension { len: len.unwrap_or(0), lower: 1 }).collect();
    if let Some(lowers) = lowers {
        if lowers.len() != dimensions.len()
            || lowers.iter().zip(&dimensions).any(|(given, found)| given.len != found.len)
        {
            return Err(malformed(text, "Specified array dimensions do not match array contents."));
        }
        dimensions = lowers;
    }
    Array::check_bounds(&dimensions)?;
    if reader.values.is_empty() {
        return Ok(Datum::Array(Arc::new(Array::of(element.id, Vec::new()))));
    }
    Array::with_dimensions(element.id, dimensions, reader.values).map(|array| Datum::Array(Arc::new(array)))
}

struct ArrayReader<'a> {
    text: &'a str,
    rest: &'a str,
    element: Type,
    style: &'a Style,
    values: Vec<Datum>,
    lengths: Vec<Option<u32>>,
}

impl ArrayReader<'_> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches(integer::is_space);
    }
    fn take(&mut self, expected: char) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }
    /// `[lower:upper]...=`, if there.
    fn bounds(&mut self) -> Result<Option<Vec<Dimension>>> {
        let mut found = Vec::new();
        while self.take('[') {
            let bad = || malformed(self.text, "Missing array dimension value.");
            let (inside, rest) = self.rest.split_once(']').ok_or_else(bad)?;
            let (lower, upper) = inside.split_once(':').unwrap_or(("1", inside));
            let lower: i32 = lower.parse().map_err(|_| bad())?;
            let upper: i32 = upper.parse().map_err(|_| bad())?;
            let len = (i64::from(upper) - i64::from(lower) + 1).max(0);
            if len == 0 {
                return Err(Error::new(
                    SqlState::ARRAY_SUBSCRIPT_ERROR,
                    "upper bound cannot be less than lower bound",
                ));
            }
            found.push(Dimension { len: u32::try_from(len).map_err(|_| bad())?, lower });
            self.rest = rest;
        }
        if found.is_empty() {
            return Ok(None);
        }
        if !self.take('=') {
            return Err(malformed(self.text, "Missing \"=\" after array dimensions."));
        }
        Ok(Some(found))
    }
    fn nested(&mut self, depth: usize) -> Result<()> {
        if !self.take('{') {
            return Err(malformed(self.text, "Array value must start with \"{\" or dimension information."));
        }
        if depth >= MAX_DIMENSIONS {
            return Err(Error::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("number of array dimensions exceeds the maximum allowed ({MAX_DIMENSIONS})"),
            ));
        }
        let uneven = "Multidimensional arrays must have sub-arrays with matching dimensions.";
        let leaf_depth = self.lengths.len();
        if depth == leaf_depth {
            if !self.values.is_empty() {
                return Err(malformed(self.text, uneven));
            }
            self.lengths.push(None);
        }
        let mut count = 0u32;
        if self.take('}') {
            // Only the whole may be empty.
            if depth > 0 {
                return Err(malformed(self.text, "Unexpected \"}\" character."));
            }
        } else {
            loop {
                self.skip_blanks();
                if self.rest.starts_with('{') {
                    self.nested(depth + 1)?;
                } else if depth + 1 == self.lengths.len() {
                    let value = self.item()?;
                    self.values.push(value);
                    if self.values.len().is_multiple_of(work::STEPS) {
                        work::check()?;
                    }
                } else {
                    return Err(malformed(self.text, uneven));
                }
                count += 1;
                if self.take('}') {
                    break;
                }
                if !self.take(',') {
                    return Err(malformed(self.text, "Unexpected end of input."));
                }
            }
        }
        match self.lengths.get_mut(depth) {
            Some(Some(len)) if *len != count => Err(malformed(self.text, uneven)),
            Some(slot) => {
                *slot = Some(count);
                Ok(())
            }
            None => Ok(()),
        }
    }
    fn item(&mut self) -> Result<Datum> {
        let mut out = String::new();
        let quoted = self.rest.starts_with('"');
        if quoted {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        let mut significant = 0;
        // A word with a backslash in it is no NULL, as one in quotes is none.
        let mut is_plain = true;
        loop {
            let Some(c) = self.rest.chars().next() else {
                return Err(malformed(self.text, "Unexpected end of input."));
            };
            let after = self.rest.get(c.len_utf8()..).unwrap_or_default();
            match c {
                '\\' => {
                    let Some(escaped) = after.chars().next() else {
                        return Err(malformed(self.text, "Unexpected end of input."));
                    };
                    out.push(escaped);
                    is_plain = false;
                    significant = out.len();
                    self.rest = after.get(escaped.len_utf8()..).unwrap_or_default();
                    continue;
                }
                '"' if quoted => {
                    self.rest = after;
                    return Datum::parse(self.element, &out, self.style);
                }
                ',' | '}' if !quoted => break,
                '"' => return Err(malformed(self.text, "Unexpected array element.")),
                '{' if !quoted => return Err(malformed(self.text, "Unexpected \"{\" character.")),
                _ => {
                    out.push(c);
                    if !integer::is_space(c) {
                        significant = out.len();
                    }
                    self.rest = after;
                }
            }
        }
        out.truncate(significant);
        if out.is_empty() {
            return Err(malformed(self.text, "Unexpected \",\" character."));
        }
        if is_plain && self.style.array_nulls && out.eq_ignore_ascii_case("null") {
            return Ok(Datum::Null);
        }
        Datum::parse(self.element, &out, self.style)
    }
}

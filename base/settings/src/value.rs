//! Values: reading them as PostgreSQL reads them, and printing them as SHOW and pg_settings do.

use crate::definition::{Definition, Kind, Unit, flag};
use crate::error::SettingError;
use std::sync::Arc;

/// A setting's value in base units.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// on or off.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(Arc<str>),
    /// One of the words of the definition.
    Choice(&'static str),
}

/// The unit names of one kind, largest first, each with its size in the smallest.
const MEMORY: [(&str, f64); 5] = [
    ("TB", (1u64 << 40) as f64),
    ("GB", (1u64 << 30) as f64),
    ("MB", (1u64 << 20) as f64),
    ("kB", 1024.0),
    ("B", 1.0),
];
const TIME: [(&str, f64); 6] =
    [("d", 86_400e6), ("h", 3_600e6), ("min", 60e6), ("s", 1e6), ("ms", 1e3), ("us", 1.0)];

/// The unit names that go with a base unit, and the base unit's size in the smallest of them.
fn scale(unit: Unit) -> Option<(&'static [(&'static str, f64)], f64)> {
    match (unit.bytes(), unit.micros()) {
        (Some(bytes), _) => Some((&MEMORY, bytes as f64)),
        (_, Some(micros)) => Some((&TIME, micros as f64)),
        _ => None,
    }
}

impl Value {
    /// The default of a setting.
    pub fn boot(of: &Definition) -> Self {
        match of.kind {
            Kind::Bool { boot } => Self::Bool(boot),
            Kind::Integer { boot, .. } => Self::Integer(boot),
            Kind::Real { boot, .. } => Self::Real(boot),
            Kind::Text { boot } => Self::Text(boot.into()),
            Kind::Choice { boot, .. } => Self::Choice(boot),
        }
    }

    /// Reads a value as postgresql.conf, SET and the command line give it.
    ///
    /// # Errors
    ///
    /// Fails if the text is no value of the setting's type, or out of its bounds.
    pub fn parse(of: &Definition, text: &str) -> Result<Self, SettingError> {
        match of.kind {
            Kind::Bool { .. } => parse_bool(text)
                .map(Self::Bool)
                .ok_or_else(|| SettingError::NotBoolean { name: of.name.to_owned() }),
            Kind::Integer { min, max, unit, .. } => {
                let number = parse_number(text, unit, true).map_err(|hint| invalid(of, text, hint))?;
                if number.abs() > f64::from(i32::MAX) + 1.0 || number > f64::from(i32::MAX) {
                    return Err(invalid(of, text, Some("Value exceeds integer range.".to_owned())));
                }
                let number = number as i64;
                if number < min || number > max {
                    return Err(out_of_range(of, number.to_string(), min.to_string(), max.to_string()));
                }
                Ok(Self::Integer(number))
            }
            Kind::Real { min, max, unit, .. } => {
                let number = parse_number(text, unit, false).map_err(|hint| invalid(of, text, hint))?;
                if !(min..=max).contains(&number) {
                    return Err(out_of_range(of, general(number), general(min), general(max)));
                }
                Ok(Self::Real(number))
            }
            Kind::Text { .. } => Ok(Self::Text(text.into())),
            Kind::Choice { words, .. } => choose(of.name, words, text)
                .map(Self::Choice)
                .ok_or_else(|| invalid(of, text, Some(format!("Available values: {}.", words.join(", "))))),
        }
    }

    /// As SHOW prints it: with the largest unit that needs no fraction.
    pub fn show(&self, of: &Definition) -> String {
        match (self, scale(of.kind.unit())) {
            (Self::Integer(number), _) if of.has(flag::OCTAL) => format!("{number:04o}"),
            (Self::Integer(number), Some((names, base))) if *number > 0 => {
                let total = *number as f64 * base;
                let fits = |size: f64| size <= base || total % size == 0.0;
                match names.iter().find(|(_, size)| fits(*size)) {
                    Some((name, size)) => format!("{}{name}", (total / size).round()),
                    None => number.to_string(),
                }
            }
            (Self::Real(number), Some((names, base))) if *number > 0.0 => {
                let total = number * base;
                let whole = |size: f64| {
                    let count = total / size;
                    count > 0.0 && (count.round() / count - 1.0).abs() <= 1e-8
                };
                match names.iter().find(|(_, size)| whole(*size)).or(names.last()) {
                    Some((name, size)) => format!("{}{name}", general(total / size)),
                    None => general(*number),
                }
            }
            _ => self.plain(of),
        }
    }

    /// As pg_settings prints what it was at first and will be when it is reset: numbers in base units, and in
    /// base ten.
    pub(crate) fn decimal(&self, of: &Definition) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            _ => self.plain(of),
        }
    }

    /// As pg_settings prints it: a number in base units, without the unit.
    pub fn plain(&self, of: &Definition) -> String {
        match self {
            Self::Bool(on) => if *on { "on" } else { "off" }.to_owned(),
            Self::Integer(number) if of.has(flag::OCTAL) => format!("{number:04o}"),
            Self::Integer(number) => number.to_string(),
            Self::Real(number) => general(*number),
            Self::Text(text) => text.to_string(),
            Self::Choice(word) => (*word).to_owned(),
        }
    }
}

fn invalid(of: &Definition, value: &str, hint: Option<String>) -> SettingError {
    SettingError::InvalidValue { name: of.name.to_owned(), value: value.to_owned(), detail: None, hint }
}

fn out_of_range(of: &Definition, value: String, min: String, max: String) -> SettingError {
    let with_unit = |number: String| match of.kind.unit().name() {
        Some(unit) => format!("{number} {unit}"),
        None => number,
    };
    SettingError::OutOfRange { name: of.name.to_owned(), value: with_unit(value), min, max }
}

/// The spellings of booleans: unique beginnings of true, false, yes, no; on, off; 1, 0.
pub fn parse_bool(text: &str) -> Option<bool> {
    let text = text.to_ascii_lowercase();
    let begins = |word: &str, at_least: usize| text.len() >= at_least && word.starts_with(&text);
    if begins("true", 1) || begins("yes", 1) || text == "on" || text == "1" {
        Some(true)
    } else if begins("false", 1) || begins("no", 1) || begins("off", 2) || text == "0" {
        Some(false)
    } else {
        None
    }
}

/// A word of an enum, in any case, or one of the further spellings that PostgreSQL takes.
fn choose(name: &str, words: &'static [&'static str], text: &str) -> Option<&'static str> {
    let listed = |wanted: &str| words.iter().copied().find(|word| word.eq_ignore_ascii_case(wanted));
    if let Some(word) = listed(text) {
        return Some(word);
    }
    let lower = text.to_ascii_lowercase();
    match (name, lower.as_str()) {
        (_, "true" | "yes" | "1") => listed("on"),
        (_, "false" | "no" | "0") => listed("off"),
        ("client_min_messages" | "log_min_messages" | "log_min_error_statement", "debug") => listed("debug2"),
        ("client_min_messages" | "trace_recovery_messages", "info") => listed("notice"),
        ("wal_level", "archive" | "hot_standby") => listed("replica"),
        _ => None,
    }
}

/// Reads a number with an optional unit into base units; `Err` carries the hint.
fn parse_number(text: &str, unit: Unit, whole: bool) -> Result<f64, Option<String>> {
    let is_blank = |c: char| c.is_ascii_whitespace() || c == '\u{b}';
    let text = text.trim_matches(is_blank);
    let (mut number, rest) = leading_number(text, whole).ok_or(None)?;
    let rest = rest.trim_start_matches(is_blank);
    if !rest.is_empty() {
        let Some((names, base)) = scale(unit) else { return Err(None) };
        let Some(at) = names.iter().position(|(name, _)| *name == rest) else {
            let names: Vec<String> = names.iter().rev().map(|(name, _)| format!("\"{name}\"")).collect();
            let (last, others) = names.split_last().ok_or(None)?;
            return Err(Some(format!(
                "Valid units for this parameter are {}, and {last}.",
                others.join(", ")
            )));
        };
        let size = names.get(at).map_or(1.0, |(_, size)| *size);
        let mut total = number * size;
        // A fraction is rounded to the next smaller unit, so that 0.3GB is a whole number of MB.
        if whole
            && number.fract() != 0.0
            && let Some((_, smaller)) = names.get(at + 1)
        {
            total = (total / smaller).round_ties_even() * smaller;
        }
        number = total / base;
    }
    if !number.is_finite() {
        return Err(None);
    }
    Ok(if whole { number.round_ties_even() } else { number })
}

/// A decimal, hexadecimal (0x) or octal (leading 0) integer or a decimal fraction, and what follows it.
fn leading_number(text: &str, whole: bool) -> Option<(f64, &str)> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    let sign = if negative { -1.0 } else { 1.0 };
    let run = |text: &str, allowed: fn(&u8) -> bool| text.bytes().take_while(allowed).count();
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        let n = run(hex, u8::is_ascii_hexdigit);
        let value = i64::from_str_radix(hex.get(..n)?, 16).ok()?;
        return Some((sign * value as f64, hex.get(n..)?));
    }
    let n = run(digits, u8::is_ascii_digit);
    let octal = whole && n > 1 && digits.starts_with('0');
    let mut end = n;
    if digits.get(end..)?.starts_with('.') {
        end += 1;
        end += run(digits.get(end..)?, u8::is_ascii_digit);
    }
    if end == 0 || (n == 0 && end == 1) {
        return None;
    }
    let rest = digits.get(end..)?;
    if rest.starts_with(['e', 'E']) {
        let signed = usize::from(rest.get(1..)?.starts_with(['+', '-']));
        let exponent = run(rest.get(1 + signed..)?, u8::is_ascii_digit);
        if exponent > 0 {
            end += 1 + signed + exponent;
        }
    }
    let value = if octal && end == n {
        i64::from_str_radix(digits.get(..n)?, 8).ok()? as f64
    } else {
        digits.get(..end)?.parse().ok()?
    };
    Some((sign * value, digits.get(end..)?))
}

/// C's %g: six significant digits, no trailing zeros.
fn general(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    let scientific = format!("{number:.5e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let power: i32 = exponent.parse().unwrap_or(0);
    if !(-4..6).contains(&power) {
        let mantissa = trim_zeros(mantissa);
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", power.abs());
    }
    let decimals = usize::try_from(5 - power).unwrap_or(0);
    trim_zeros(&format!("{number:.decimals$}")).to_owned()
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<String, SettingError> {
        let of = crate::find(name).unwrap();
        Value::parse(of, text).map(|value| format!("{}|{}", value.plain(of), value.show(of)))
    }

    #[test]
    fn numbers_are_read_and_printed_as_postgresql_does() {
        // What `SET`/`SHOW` and pg_settings.setting of PostgreSQL 15.20 answered.
        for (name, given, plain_and_shown) in [
            ("shared_buffers", "128MB", "16384|128MB"),
            ("shared_buffers", "16384", "16384|128MB"),
            ("shared_buffers", "1000kB", "125|1000kB"),
            ("shared_buffers", "1.5GB", "196608|1536MB"),
            ("work_mem", "0.3GB", "314368|307MB"),
            ("work_mem", " 64 kB ", "64|64kB"),
            ("work_mem", "\u{b}5MB\u{b}", "5120|5MB"),
            ("work_mem", "0x40", "64|64kB"),
            ("work_mem", "0100", "64|64kB"),
            ("work_mem", "1e2", "100|100kB"),
            ("checkpoint_timeout", "5min", "300|5min"),
            ("checkpoint_timeout", "90", "90|90s"),
            ("checkpoint_timeout", "0.5h", "1800|30min"),
            ("statement_timeout", "0", "0|0"),
            ("statement_timeout", "1500", "1500|1500ms"),
            ("statement_timeout", "2d", "172800000|2d"),
            ("log_temp_files", "-1", "-1|-1"),
            ("wal_segment_size", "16MB", "16777216|16MB"),
            ("autovacuum_vacuum_cost_delay", "2", "2|2ms"),
            ("autovacuum_vacuum_cost_delay", "0.5", "0.5|500us"),
            ("vacuum_cost_delay", "1500us", "1.5|1500us"),
            ("checkpoint_completion_target", ".9", "0.9|0.9"),
            ("random_page_cost", "1e-7", "1e-07|1e-07"),
            ("unix_socket_permissions", "0700", "0700|0700"),
            ("fsync", "of", "off|off"),
            ("fsync", "TRUE", "on|on"),
            ("synchronous_commit", "yes", "on|on"),
            ("synchronous_commit", "Remote_Apply", "remote_apply|remote_apply"),
            ("wal_level", "hot_standby", "replica|replica"),
        ] {
            assert_eq!(read(name, given).as_deref(), Ok(plain_and_shown), "{name} = {given}");
        }
    }

    #[test]
    fn bad_values_say_what_would_do() {
        let message = |name: &str, text: &str| read(name, text).unwrap_err().one_line();
        assert_eq!(
            message("shared_buffers", "10mb"),
            "invalid value for parameter \"shared_buffers\": \"10mb\"; \
             Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\"."
        );
        assert_eq!(
            message("port", "70000"),
            "70000 is outside the valid range for parameter \"port\" (1 .. 65535)"
        );
        assert_eq!(
            message("checkpoint_timeout", "1s"),
            "1 s is outside the valid range for parameter \"checkpoint_timeout\" (30 .. 86400)"
        );
        assert_eq!(message("fsync", "o"), "parameter \"fsync\" requires a Boolean value");
        assert_eq!(
            message("wal_level", "all"),
            "invalid value for parameter \"wal_level\": \"all\"; Available values: minimal, replica, logical."
        );
        assert_eq!(
            message("work_mem", "3000000000000"),
            "invalid value for parameter \"work_mem\": \"3000000000000\"; Value exceeds integer range."
        );
        for text in ["", "abc", "1 2", "--1", "0x", ".", "1kBx", "nan", "inf", "\u{a0}5MB"] {
            assert!(read("work_mem", text).is_err(), "{text:?}");
        }
    }
}

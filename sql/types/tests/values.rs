//! Text and binary forms against a table that a real PostgreSQL 15 wrote (golden/generate.sh).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by failing"
)]

use sql_types::cast::apply_modifier;
use sql_types::pattern::{Options, Regex};
use sql_types::{Array, Datum, Style, Type, TypeId, binary};
use std::fmt::Write as _;
use std::sync::Arc;

/// Undoes COPY's escaping; None for NULL.
fn unescape(field: &str) -> Option<String> {
    if field == "\\N" {
        return None;
    }
    let mut out = String::new();
    let mut characters = field.chars();
    while let Some(c) = characters.next() {
        match (c, c == '\\') {
            (_, true) => out.push(match characters.next().expect("an escape is whole") {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'b' => '\x08',
                'f' => '\x0c',
                'v' => '\x0b',
                other => other,
            }),
            (c, false) => out.push(c),
        }
    }
    Some(out)
}

/// The type that golden/values.in names.
fn type_of(name: &str) -> Type {
    let Some((base, rest)) = name.split_once('(') else {
        return Type::of(TypeId::from_name(name).expect("a known type"));
    };
    let (numbers, suffix) = rest.split_once(')').expect("a closing parenthesis");
    let numbers: Vec<i64> = numbers.split(',').map(|n| n.parse().expect("a number")).collect();
    let first = u32::try_from(numbers[0]).expect("positive");
    match base {
        "character varying" => Type::varchar(Some(first)).unwrap(),
        "character" => Type::bpchar(Some(first)).unwrap(),
        "numeric" => Type::numeric(Some(numbers[0]), numbers.get(1).copied().unwrap_or(0)).unwrap(),
        _ => {
            let id = TypeId::from_name(&format!("{base}{suffix}")).expect("a known type");
            Type::with_precision(id, Some(first))
        }
    }
}

fn style() -> Style {
    Style { zone: jiff::tz::TimeZone::get("America/New_York").unwrap(), ..Style::default() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[test]
fn every_text_is_read_and_written_as_postgresql_does() {
    let style = style();
    let mut wrong = String::new();
    let table = include_str!("golden/values.tsv");
    for line in table.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, input, state, printed, sent] = fields.as_slice() else { panic!("five fields: {line}") };
        let input = unescape(input).unwrap();
        let ty = type_of(name);
        // A literal with a written type is read without the modifier, then cast to it.
        let read =
            Datum::parse(Type::of(ty.id), &input, &style).and_then(|value| apply_modifier(value, ty, true));
        let note = match (read, *state) {
            (Ok(value), "ok") => {
                let text = value.to_text(&style).unwrap();
                let mut bytes = Vec::new();
                binary::write_as(ty.id, &value, &mut bytes);
                if text != unescape(printed).unwrap() {
                    format!("prints {text}, expected {printed}")
                } else if hex(&bytes) != *sent {
                    format!("sends {}, expected {sent}", hex(&bytes))
                } else {
                    match binary::read(ty, &bytes) {
                        Ok(again) if again == value => continue,
                        Ok(again) => format!("comes back as {again:?}"),
                        Err(error) => format!("cannot be read back: {error:?}"),
                    }
                }
            }
            (Ok(value), state) => format!("gives {:?}, expected {state} {sent}", value.to_text(&style)),
            (Err(error), "ok") => format!("fails with {error:?}, expected {printed}"),
            (Err(error), state) => {
                if error.state().as_str() == state && error.message() == unescape(sent).unwrap() {
                    continue;
                }
                format!("fails with {error:?}, expected {state}: {sent}")
            }
        };
        let _ = writeln!(wrong, "{name} {input:?} {note}");
    }
    assert!(wrong.is_empty(), "differences:\n{wrong}");
}

/// Of golden/matches.tsv, which golden/matches.py writes.
#[test]
fn expressions_match_what_they_match_in_postgresql() {
    let mut wrong = String::new();
    let table = include_str!("golden/matches.tsv");
    for line in table.lines() {
        let fields: Vec<Option<String>> = line.split('\t').map(unescape).collect();
        let [Some(pattern), Some(text), found, groups] = fields.as_slice() else { panic!("{line}") };
        let regex = Regex::new(pattern, Options::default()).unwrap();
        let range = regex.range(text, 0, 1, 0).unwrap();
        let ours = range.and_then(|(from, to)| text.get(from..to)).map(str::to_owned);
        let parts = regex.groups(text).unwrap().map(|parts| {
            let parts = parts.into_iter().map(|part| part.map_or(Datum::Null, Datum::text)).collect();
            Datum::Array(Arc::new(Array::of(TypeId::Text, parts))).to_text(&Style::default()).unwrap()
        });
        if (&ours, &parts) != (found, groups) {
            writeln!(wrong, "{pattern} in {text:?}: {ours:?} {parts:?}, not {found:?} {groups:?}").unwrap();
        }
    }
    assert!(table.lines().count() > 2000);
    assert_eq!(wrong, "", "{} differ", wrong.lines().count());
}

//! Functions that take definitions apart, for psql's descriptions.

use super::{Function, Returns, no_defaults};
use sql_interface::NodeCall;
use sql_types::{Datum, TypeId};

/// `name=value` of each option.
fn options(arguments: &[Datum]) -> Vec<Vec<Datum>> {
    let Some(Datum::Array(options)) = arguments.first() else { return Vec::new() };
    let apart = |option: &Datum| {
        let text = option.as_str()?;
        Some(match text.split_once('=') {
            Some((name, value)) => vec![Datum::text(name), Datum::text(value)],
            None => vec![Datum::text(text), Datum::Null],
        })
    };
    options.values().iter().filter_map(apart).collect()
}

/// The rows of pg_get_keywords().
fn keywords() -> Vec<Vec<Datum>> {
    let lines = include_str!("keywords.txt").lines().filter(|line| !line.starts_with('#'));
    let row = |line: &'static str| {
        let mut words = line.split(' ');
        let (word, category, bare) = (words.next()?, words.next()?, words.next()? == "t");
        let about = match category {
            "C" => "unreserved (cannot be function or type name)",
            "T" => "reserved (can be function or type name)",
            "R" => "reserved",
            _ => "unreserved",
        };
        let label = if bare { "can be bare label" } else { "requires AS" };
        let texts = [word, category].map(Datum::text);
        let about = [Datum::Bool(bare), Datum::text(about), Datum::text(label)];
        Some(texts.into_iter().chain(about).collect())
    };
    lines.filter_map(row).collect()
}

pub(super) static FUNCTIONS: &[Function] = &[
    Function {
        name: "pg_get_keywords",
        about: "Key words of SQL, with where they may be names.",
        arguments: &[],
        required: 0,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Set(&[
            ("word", TypeId::Text),
            ("catcode", TypeId::Char),
            ("barelabel", TypeId::Bool),
            ("catdesc", TypeId::Text),
            ("baredesc", TypeId::Text),
        ]),
        call: |_, _, _| NodeCall::Now(Ok(keywords())),
    },
    Function {
        name: "pg_options_to_table",
        about: "Options of the form name=value as rows.",
        arguments: &[("options_array", TypeId::TextArray)],
        required: 1,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Set(&[("option_name", TypeId::Text), ("option_value", TypeId::Text)]),
        call: |_, _, arguments| NodeCall::Now(Ok(options(arguments))),
    },
    Function {
        name: "pg_partition_tree",
        about: "Partitions of a table: there are none.",
        arguments: &[("rootrelid", TypeId::Regclass)],
        required: 1,
        defaults: no_defaults,
        strict: true,
        returns: Returns::Set(&[
            ("relid", TypeId::Regclass),
            ("parentrelid", TypeId::Regclass),
            ("isleaf", TypeId::Bool),
            ("level", TypeId::Int4),
        ]),
        call: |_, _, _| NodeCall::Now(Ok(Vec::new())),
    },
];

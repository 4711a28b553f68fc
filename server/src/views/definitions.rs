//! Functions that take definitions apart, for psql's descriptions.

use super::{Function, Returns, no_defaults};
use identifier::{KEY_WORDS, KeyWord, KeyWordKind};
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
    let row = |known: &KeyWord| {
        let (category, about) = match known.kind {
            KeyWordKind::Unreserved => ("U", "unreserved"),
            KeyWordKind::Column => ("C", "unreserved (cannot be function or type name)"),
            KeyWordKind::Type => ("T", "reserved (can be function or type name)"),
            KeyWordKind::Reserved => ("R", "reserved"),
        };
        let label = if known.is_bare_label { "can be bare label" } else { "requires AS" };
        let [word, category, about, label] = [known.word, category, about, label].map(Datum::text);
        vec![word, category, Datum::Bool(known.is_bare_label), about, label]
    };
    KEY_WORDS.iter().map(row).collect()
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

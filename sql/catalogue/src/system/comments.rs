//! Comments on what PostgreSQL brings. Nobody else's are kept here.

use super::known::{FUNCTIONS, KnownFunction, OPERATORS};
use super::{Context, is_shared};
use sql_types::Datum;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// pg_proc, whose rows are those that exist here.
const FUNCTION: u32 = 1255;
const OPERATOR: u32 = 2617;

/// By the table of the catalogue and the OID of what they are on.
static COMMENTS: LazyLock<BTreeMap<(u32, u32), &'static str>> = LazyLock::new(|| {
    let lines = include_str!("data/comments.txt").lines().filter(|line| !line.starts_with('#'));
    let read = |line: &'static str| {
        let mut words = line.splitn(3, ' ');
        let class = words.next()?.parse().ok()?;
        Some(((class, words.next()?.parse().ok()?), words.next()?))
    };
    lines.filter_map(read).collect()
});

/// Comments on the databases that there are from the start.
const OF_DATABASES: [(u32, &str); 3] = [
    (1, "default template for new databases"),
    (4, "unmodifiable empty database"),
    (5, "default administrative connection database"),
];
const DATABASE: u32 = 1262;

/// The comment on an object of a table of the catalogue, or (None) of any.
pub fn on(catalogue: Option<&str>, oid: u32) -> Option<&'static str> {
    let Some(name) = catalogue else {
        return COMMENTS.iter().find(|((_, of), _)| *of == oid).map(|(_, text)| *text);
    };
    let class = super::known::SHAPES.get(name)?.0;
    COMMENTS.get(&(class, oid)).copied()
}

/// The comment on an object that all databases share.
pub fn on_shared(catalogue: &str, oid: u32) -> Option<&'static str> {
    if !is_shared(catalogue) || catalogue != "pg_database" {
        return None;
    }
    OF_DATABASES.iter().find(|(of, _)| *of == oid).map(|(_, text)| *text)
}

fn exists(context: &Context<'_>, class: u32, oid: u32) -> bool {
    let is_here = |function: &KnownFunction| (context.has_function)(function);
    match class {
        FUNCTION => {
            let found = FUNCTIONS.binary_search_by_key(&oid, |function| function.oid).ok();
            found.and_then(|at| FUNCTIONS.get(at)).is_some_and(is_here)
        }
        OPERATOR => OPERATORS.iter().any(|operator| operator.oid == oid),
        _ => true,
    }
}

/// pg_description
pub(super) fn rows(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let known = COMMENTS.iter().filter(|((class, oid), _)| exists(context, *class, *oid));
    let row = |((class, oid), text): (&(u32, u32), &&'static str)| {
        vec![Datum::Oid(*oid), Datum::Oid(*class), Datum::Int4(0), Datum::text(*text)]
    };
    known.map(row).collect()
}

/// pg_shdescription
pub(super) fn shared_rows(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let exists = |oid: u32| context.catalogue.databases.iter().any(|database| database.oid == oid);
    let row = |(oid, text): &(u32, &str)| vec![Datum::Oid(*oid), Datum::Oid(DATABASE), Datum::text(*text)];
    OF_DATABASES.iter().filter(|(oid, _)| exists(*oid)).map(row).collect()
}

//! A function of PostgreSQL in words: what it takes and gives, as pg_get_function_arguments and its kin say.

use super::bodies::{self, Body};
use super::known::{FUNCTIONS, KnownFunction, type_name};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::LazyLock;

/// DEFAULT expressions of the last arguments, by the function's OID.
static DEFAULTS: LazyLock<HashMap<u32, Vec<&'static str>>> = LazyLock::new(|| {
    let lines = include_str!("data/function_defaults.txt").lines().filter(|line| !line.starts_with('#'));
    let read = |line: &'static str| {
        let (oid, expressions) = line.split_once(' ')?;
        Some((oid.parse().ok()?, expressions.split(", ").collect()))
    };
    lines.filter_map(read).collect()
});

/// The function of an OID.
pub fn function(oid: u32) -> Option<&'static KnownFunction> {
    let at = FUNCTIONS.binary_search_by_key(&oid, |function| function.oid).ok()?;
    FUNCTIONS.get(at)
}

/// How an argument is given: the letters of proargmodes.
fn is_input(mode: &str) -> bool {
    matches!(mode, "i" | "b" | "v")
}

/// Arguments with their modes, names and types, and those of the columns of a result.
fn all(function: &KnownFunction) -> impl Iterator<Item = (&'static str, &'static str, u32)> + '_ {
    let types = if function.all_arguments.is_empty() { &function.arguments } else { &function.all_arguments };
    types.iter().enumerate().map(|(at, oid)| {
        let mode = function.modes.get(at).copied().unwrap_or("i");
        (mode, function.names.get(at).copied().unwrap_or_default(), *oid)
    })
}

/// The names of the arguments that are given, in their order; empty ones of those without a name.
pub fn input_names(function: &KnownFunction) -> Vec<&'static str> {
    all(function).filter(|(mode, ..)| is_input(mode)).map(|(_, name, _)| name).collect()
}

/// The expressions of all defaults, as one text; None if no argument has one.
pub fn defaults(function: &KnownFunction) -> Option<String> {
    DEFAULTS.get(&function.oid).map(|expressions| expressions.join(", "))
}

/// The DEFAULT of an argument, counted from 1 among those that are given.
pub fn default_of(function: &KnownFunction, number: usize) -> Option<&'static str> {
    let expressions = DEFAULTS.get(&function.oid)?;
    let first = function.arguments.len().checked_sub(expressions.len())?;
    expressions.get(number.checked_sub(first + 1)?).copied()
}

/// The list of arguments; with their defaults, or as it tells the function from others.
pub fn arguments(function: &KnownFunction, with_defaults: bool) -> String {
    let mut text = String::new();
    let mut given = 0;
    for (mode, name, ty) in all(function).filter(|(mode, ..)| *mode != "t") {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(match mode {
            "o" => "OUT ",
            "b" => "INOUT ",
            "v" => "VARIADIC ",
            _ => "",
        });
        if !name.is_empty() {
            // Writing to a String does not fail.
            let _ = write!(text, "{} ", identifier::quote(name));
        }
        text.push_str(type_name(ty));
        given += usize::from(is_input(mode));
        let default = default_of(function, given).filter(|_| with_defaults && is_input(mode));
        if let Some(default) = default {
            let _ = write!(text, " DEFAULT {default}");
        }
    }
    text
}

/// The type that it gives, or the table.
pub fn result(function: &KnownFunction) -> Option<String> {
    let columns: Vec<String> = all(function)
        .filter(|(mode, ..)| *mode == "t")
        .map(|(_, name, ty)| format!("{} {}", identifier::quote(name), type_name(ty)))
        .collect();
    Some(match (function.kind, columns.is_empty()) {
        // A procedure gives nothing.
        ('p', _) => return None,
        (_, false) => format!("TABLE({})", columns.join(", ")),
        _ if function.set => format!("SETOF {}", type_name(function.result)),
        _ => type_name(function.result).to_owned(),
    })
}

/// CREATE FUNCTION as pg_get_functiondef writes it; None where the body is SQL, of which nothing is known.
pub fn definition(function: &KnownFunction) -> Option<String> {
    let Body { internal, leakproof, support } = bodies::of(function);
    let internal = internal?;
    let kind = if function.kind == 'p' { "PROCEDURE" } else { "FUNCTION" };
    let name = identifier::quote(function.name);
    let mut text = format!("CREATE OR REPLACE {kind} pg_catalog.{name}({})\n", arguments(function, true));
    if let Some(result) = result(function) {
        // Writing to a String does not fail.
        let _ = writeln!(text, " RETURNS {result}");
    }
    text.push_str(" LANGUAGE internal\n");
    let mut options = String::new();
    let flags = [
        (function.kind == 'w', " WINDOW"),
        (function.volatility == 'i', " IMMUTABLE"),
        (function.volatility == 's', " STABLE"),
        (function.parallel == 's', " PARALLEL SAFE"),
        (function.parallel == 'r', " PARALLEL RESTRICTED"),
        (function.strict, " STRICT"),
        (leakproof, " LEAKPROOF"),
    ];
    options.extend(flags.into_iter().filter(|(is, _)| *is).map(|(_, words)| words));
    // What CREATE FUNCTION takes by itself is not written.
    if function.cost != 1.0 {
        let _ = write!(options, " COST {}", function.cost);
    }
    if function.rows > 0.0 && function.rows != 1000.0 {
        let _ = write!(options, " ROWS {}", function.rows);
    }
    if let Some(support) = support {
        let _ = write!(options, " SUPPORT {support}");
    }
    if !options.is_empty() {
        let _ = writeln!(text, "{options}");
    }
    let _ = writeln!(text, "AS $function${internal}$function$");
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> &'static KnownFunction {
        FUNCTIONS.iter().find(|function| function.name == name).unwrap()
    }

    #[test]
    fn signatures_are_written_as_postgresql_writes_them() {
        let sleep = named("pg_terminate_backend");
        assert_eq!(arguments(sleep, true), "pid integer, timeout bigint DEFAULT 0");
        assert_eq!(arguments(sleep, false), "pid integer, timeout bigint");
        assert_eq!(result(sleep).as_deref(), Some("boolean"));
        assert_eq!(arguments(named("concat_ws"), true), "text, VARIADIC \"any\"");
        assert_eq!(
            arguments(named("pg_backup_stop"), true),
            "wait_for_archive boolean DEFAULT true, OUT lsn pg_lsn, OUT labelfile text, OUT spcmapfile text"
        );
        assert_eq!(default_of(named("pg_promote"), 2), Some("60"));
    }

    #[test]
    fn functions_are_found_by_their_numbers() {
        assert!(FUNCTIONS.is_sorted_by_key(|function| function.oid));
        assert_eq!(function(1299).map(|function| function.name), Some("now"));
        let with_defaults = FUNCTIONS.iter().filter(|function| function.defaults > 0);
        for function in with_defaults {
            let count = DEFAULTS.get(&function.oid).map_or(0, Vec::len);
            assert_eq!(count, usize::try_from(function.defaults).unwrap(), "{}", function.name);
        }
    }
}

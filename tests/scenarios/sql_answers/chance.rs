//! Statements by chance: casts between all types, operators and functions over values of all types, names of
//! the catalogue.

use super::written::Sessions;
use fastrand::Rng;
use scenarios::{Node, PostgreSql, variable};
use std::collections::BTreeMap;

/// Types with literals of their values: usual ones, bounds, and a NULL.
const TYPES: &[(&str, &[&str])] = &[
    ("bool", &["true", "false", "NULL"]),
    ("int2", &["0", "-1", "7", "32767", "-32768", "NULL"]),
    ("int4", &["0", "1", "-5", "42", "2147483647", "-2147483648", "NULL"]),
    ("int8", &["0", "3", "-9", "9223372036854775807", "NULL"]),
    ("float4", &["0", "-1.5", "3.25", "1e30", "NaN", "Infinity", "NULL"]),
    ("float8", &["0", "-0.5", "2.75", "1e300", "-Infinity", "NULL"]),
    ("numeric", &["0", "1.50", "-12.345", "99999999999999999999.9", "NaN", "NULL"]),
    ("text", &["", "abc", "12", "A b", "t", "2024-02-29", "NULL"]),
    ("varchar", &["", "xyz", "7", "NULL"]),
    ("char(3)", &["a", "abc", "NULL"]),
    ("name", &["pg_class", "abc", "NULL"]),
    ("bytea", &["", "\\x00ff", "abc", "NULL"]),
    ("date", &["2024-02-29", "1999-12-31", "infinity", "NULL"]),
    ("time", &["00:00", "12:30:15.5", "24:00", "NULL"]),
    ("timestamp", &["2024-02-29 12:30", "1970-01-01", "-infinity", "NULL"]),
    ("timestamptz", &["2024-02-29 12:30+02", "2000-01-01 00:00Z", "NULL"]),
    ("interval", &["1 day", "-3 hours", "1 year 2 mons", "NULL"]),
    ("uuid", &["00000000-0000-0000-0000-00000000000a", "NULL"]),
    ("oid", &["0", "25", "1259", "4294967295", "NULL"]),
    ("regclass", &["pg_class", "1249", "NULL"]),
    ("regtype", &["int4", "text", "NULL"]),
    ("regnamespace", &["pg_catalog", "public", "NULL"]),
    ("regrole", &["postgres", "NULL"]),
    ("int4[]", &["{}", "{1,2,3}", "{NULL,5}", "{{1,2},{3,4}}", "NULL"]),
    ("text[]", &["{}", "{a,\"b c\",NULL}", "{x}", "NULL"]),
    ("int2vector", &["", "1 2 3", "NULL"]),
    ("oidvector", &["23 25", "NULL"]),
    ("pg_lsn", &["0/0", "1/AB", "NULL"]),
    ("xid", &["3", "NULL"]),
    ("\"char\"", &["a", "", "NULL"]),
];

const OPERATORS: &[&str] = &[
    "=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "||", "&", "|", "#", "<<", ">>", "^", "~~",
    "!~~", "~", "~*", "~~*", "!~",
];

const FUNCTIONS: &[&str] = &[
    "abs",
    "sign",
    "ceil",
    "floor",
    "round",
    "trunc",
    "sqrt",
    "length",
    "upper",
    "lower",
    "initcap",
    "reverse",
    "ascii",
    "chr",
    "md5",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "btrim",
    "ltrim",
    "rtrim",
    "lpad",
    "rpad",
    "left",
    "right",
    "repeat",
    "replace",
    "split_part",
    "strpos",
    "substr",
    "substring",
    "translate",
    "concat",
    "concat_ws",
    "format",
    "starts_with",
    "octet_length",
    "bit_length",
    "char_length",
    "to_hex",
    "date_trunc",
    "date_part",
    "extract_is_syntax",
    "age",
    "to_char",
    "isfinite",
    "justify_days",
    "justify_hours",
    "make_date",
    "make_interval",
    "array_length",
    "array_lower",
    "array_upper",
    "array_ndims",
    "array_dims",
    "cardinality",
    "array_append",
    "array_prepend",
    "array_cat",
    "array_remove",
    "array_replace",
    "array_position",
    "array_positions",
    "array_to_string",
    "string_to_array",
    "trim_array",
    "array_fill",
    "greatest",
    "least",
    "coalesce",
    "nullif",
    "mod",
    "power",
    "gcd",
    "lcm",
    "div",
    "num_nulls",
    "num_nonnulls",
    "pg_typeof",
    "format_type",
    "to_regclass",
    "to_regtype",
    "to_regproc",
    "to_regrole",
    "to_regnamespace",
    "to_regprocedure",
    "to_regoper",
    "to_regoperator",
    "to_regcollation",
    "oidvectortypes",
    "pg_size_bytes",
    "pg_size_pretty",
    "pg_encoding_to_char",
    "pg_char_to_encoding",
    "obj_description",
    "col_description",
    "pg_table_is_visible",
    "pg_get_userbyid",
    "encode",
    "decode",
    "sha256",
    "to_timestamp",
    "timezone",
    "scale",
    "min_scale",
    "trim_scale",
    "regexp_replace",
    "regexp_match",
];

struct Generator(Rng);

impl Generator {
    fn new(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.usize(..of.len())]
    }

    /// A value with its type, or a literal that has none yet.
    fn value(&mut self) -> String {
        let (ty, literals) = self.one(TYPES);
        let literal = self.one(literals);
        let quoted = if literal == "NULL" { literal.to_owned() } else { format!("'{literal}'") };
        if self.0.u8(..8) == 0 { quoted } else { format!("{quoted}::{ty}") }
    }

    fn next(&mut self) -> String {
        match self.0.u8(..12) {
            0..=3 => {
                let (value, (ty, _)) = (self.value(), self.one(TYPES));
                format!("select ({value})::{ty}")
            }
            4..=6 => {
                let (left, right, operator) = (self.value(), self.value(), self.one(OPERATORS));
                format!("select {left} {operator} {right}")
            }
            7..=9 => {
                let name = self.one(FUNCTIONS);
                let count = self.0.usize(1..4);
                let arguments: Vec<String> = (0..count).map(|_| self.value()).collect();
                format!("select {name}({})", arguments.join(", "))
            }
            10 => {
                let (value, (ty, literals)) = (self.value(), self.one(TYPES));
                let operator = self.one(&["=", "<>", "<", ">="]);
                let (word, literal) = (self.one(&["any", "all"]), self.one(literals));
                let literal =
                    if literal == "NULL" { literal.to_owned() } else { format!("'{literal}'::{ty}") };
                format!("select {value} {operator} {word} (array[{literal}])")
            }
            _ => {
                let (first, second, test) =
                    (self.value(), self.value(), self.one(&["is null", "is not null"]));
                let shape = self.0.u8(..3);
                match shape {
                    0 => format!("select {first} {test}"),
                    1 => format!("select {first} is distinct from {second}"),
                    _ => format!("select case when true then {first} else {second} end"),
                }
            }
        }
    }
}

/// Why a statement is answered otherwise, if that is known.
fn reason(statement: &str, theirs: &str, ours: &str) -> Option<&'static str> {
    let has = |text: &str| statement.contains(text);
    Some(match (theirs, ours) {
        (_, "0A000") => "refused as absent",
        ("42725", _) => "ambiguous among functions of which fewer exist here",
        ("42883", "42725") => "ambiguous among functions of which fewer exist here",
        (theirs, "42883") if !theirs.is_empty() => "fails in an operator of types that do not exist here",
        ("", "42883") => "a function or an operator that does not exist here",
        ("", "42704") if has("regtype") => "a table's row type is no type here",
        _ if has("vector") => "int2vector and oidvector have what the catalogue needs",
        _ if has("::\"char\")") => "\"char\" becomes char(n) with its padding here",
        _ if has("make_interval") => "PostgreSQL 15 does not notice an overflow",
        (theirs, ours) if !theirs.is_empty() && !ours.is_empty() && !ours.starts_with("XX") => {
            "fails with another SQLSTATE"
        }
        _ if has("pg_size_bytes") || has("::xid") => "listed in the documentation",
        _ => return None,
    })
}

#[test]
fn statements_by_chance_are_answered_as_postgresql_answers_them() {
    // The same ones each time; another seed finds what differs elsewhere.
    let count = variable("PLIMSOLL_STATEMENTS").unwrap_or(5000);
    let seed = variable("PLIMSOLL_SEED").unwrap_or(80);
    eprintln!("PLIMSOLL_SEED={seed}");
    let (postgresql, node) = (PostgreSql::start(&[]), Node::builder().start());
    let [mut theirs, mut ours] = [postgresql.conninfo(), node.conninfo()].map(Sessions::new);
    let mut generator = Generator::new(seed);
    let (mut equal, mut known, mut unknown) = (0, BTreeMap::new(), Vec::new());
    for _ in 0..count {
        let statement = generator.next();
        let [their, our] = [&mut theirs, &mut ours].map(|server| server.say("postgres", &statement, true));
        if their == our {
            equal += 1;
            continue;
        }
        let [their_code, our_code] = [&their, &our].map(|answer| answer.error.as_deref().unwrap_or_default());
        match reason(&statement, their_code, our_code) {
            Some(reason) => *known.entry(reason).or_insert(0) += 1,
            None => unknown.push(format!("{statement}\n    PostgreSQL: {their:?}\n    here:       {our:?}")),
        }
    }
    eprintln!("{equal} of {count} statements equal; {known:?}");
    assert!(unknown.is_empty(), "PLIMSOLL_SEED={seed}: {} differ:\n{}", unknown.len(), unknown.join("\n"));
    assert!(equal * 100 >= count * 95, "PLIMSOLL_SEED={seed}: only {equal} of {count} are equal");
}

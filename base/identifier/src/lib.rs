//! Identifiers of SQL as text: the one place that says which need quotes.
//!
//! Owns PostgreSQL's rule (quote_identifier) and its list of key words. Knows no grammar and no catalogue.

/// An identifier as SQL must write it, in quotes only where it needs them: PostgreSQL's quote_identifier.
pub fn quote(name: &str) -> String {
    if needs_quotes(name) { quote_always(name) } else { name.to_owned() }
}

/// An identifier in quotes whatever it is, for commands whose grammars have key words of their own.
pub fn quote_always(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether an identifier means something else without quotes: it is no plain lower-case word, or a key word
/// that may not stand for every name.
pub fn needs_quotes(name: &str) -> bool {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    !plain || KEY_WORDS.binary_search(&name).is_ok()
}

/// Whether this word, without quotes and in any case, is none that may name a table or a column: a key word
/// that is reserved, or that may name functions and types alone.
pub fn is_reserved(word: &str) -> bool {
    let in_order = |known: &&str| {
        let lower = word.bytes().map(|byte| byte.to_ascii_lowercase());
        known.bytes().cmp(lower)
    };
    let is_in = |words: &[&str]| words.binary_search_by(in_order).is_ok();
    is_in(KEY_WORDS) && !is_in(COLUMN_WORDS)
}

/// Those of [`KEY_WORDS`] that may name a table or a column all the same (COL_NAME_KEYWORD), in order.
const COLUMN_WORDS: &[&str] = &[
    "between",
    "bigint",
    "bit",
    "boolean",
    "char",
    "character",
    "coalesce",
    "dec",
    "decimal",
    "exists",
    "extract",
    "float",
    "greatest",
    "grouping",
    "inout",
    "int",
    "integer",
    "interval",
    "least",
    "national",
    "nchar",
    "none",
    "normalize",
    "nullif",
    "numeric",
    "out",
    "overlay",
    "position",
    "precision",
    "real",
    "row",
    "setof",
    "smallint",
    "substring",
    "time",
    "timestamp",
    "treat",
    "trim",
    "values",
    "varchar",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

/// Key words of PostgreSQL 15 that are not unreserved (src/include/parser/kwlist.h), in order.
const KEY_WORDS: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_words_are_in_order() {
        assert!(KEY_WORDS.is_sorted());
        assert!(COLUMN_WORDS.is_sorted());
    }

    #[test]
    fn reserved_words_name_no_columns() {
        for word in ["select", "SELECT", "User", "left", "all", "notnull"] {
            assert!(is_reserved(word), "{word}");
        }
        for word in ["", "t", "time", "VALUES", "name", "selects", "over", "zone"] {
            assert!(!is_reserved(word), "{word}");
        }
    }

    /// `select quote_ident(...)` in PostgreSQL 15.
    #[test]
    fn names_are_quoted_as_postgresql_quotes_them() {
        for plain in ["t", "_x", "a1_b", "name", "value", "text", "date", "abort", "key", "type", "user_name"]
        {
            assert_eq!(quote(plain), plain);
        }
        for (name, quoted) in [
            ("order", "\"order\""),
            ("user", "\"user\""),
            ("left", "\"left\""),
            ("between", "\"between\""),
            ("timestamp", "\"timestamp\""),
            ("", "\"\""),
            ("1a", "\"1a\""),
            ("Big", "\"Big\""),
            ("a b", "\"a b\""),
            ("a$b", "\"a$b\""),
            ("\u{e4}", "\"\u{e4}\""),
            ("a\"b", "\"a\"\"b\""),
        ] {
            assert_eq!(quote(name), quoted);
        }
    }
}

//! The functions that the analyser compiles itself: those of sequences, and those that return sets.

use sql_types::TypeId;

/// A function that only the analyser knows, for the documentation.
pub(crate) struct AnalysedFunction {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static [TypeId],
    pub(crate) result: &'static str,
    /// It returns rows.
    pub(crate) set: bool,
    /// What it gives, in a line.
    pub(crate) about: &'static str,
}

const fn function(
    name: &'static str,
    arguments: &'static [TypeId],
    result: &'static str,
    set: bool,
    about: &'static str,
) -> AnalysedFunction {
    AnalysedFunction { name, arguments, result, set, about }
}

const SERIES: &str = "Values from the first to the second, in steps of the third or of 1";

const SUBSCRIPTS: &str = "The subscripts of a dimension of an array, with true from the last to the first";

const MATCHES: &str = "The groups of the first match of a regular expression, or with the flag g of each";

const PARTS: &str = "The parts of a text between matches of a regular expression";

/// All of them.
pub(crate) const ANALYSED: &[AnalysedFunction] = {
    use TypeId::{AnyArray, Bool, Int4, Int8, Interval, Numeric, Regclass, Text, Timestamp, Timestamptz};
    &[
        function("pg_sleep_for", &[Interval], "void", false, "Waits for an interval"),
        function("pg_sleep_until", &[Timestamptz], "void", false, "Waits until a time"),
        function("nextval", &[Regclass], "bigint", false, "The next number of a sequence"),
        function("setval", &[Regclass, Int8], "bigint", false, "Sets the last number of a sequence"),
        function(
            "setval",
            &[Regclass, Int8, Bool],
            "bigint",
            false,
            "Sets the last number of a sequence, or (false) its next one",
        ),
        function("generate_series", &[Int4, Int4], "integer", true, SERIES),
        function("generate_series", &[Int4, Int4, Int4], "integer", true, SERIES),
        function("generate_series", &[Int8, Int8], "bigint", true, SERIES),
        function("generate_series", &[Int8, Int8, Int8], "bigint", true, SERIES),
        function("generate_series", &[Numeric, Numeric], "numeric", true, SERIES),
        function("generate_series", &[Numeric, Numeric, Numeric], "numeric", true, SERIES),
        function(
            "generate_series",
            &[Timestamp, Timestamp, Interval],
            "timestamp without time zone",
            true,
            SERIES,
        ),
        function(
            "generate_series",
            &[Timestamptz, Timestamptz, Interval],
            "timestamp with time zone",
            true,
            SERIES,
        ),
        function("generate_subscripts", &[AnyArray, Int4], "integer", true, SUBSCRIPTS),
        function("generate_subscripts", &[AnyArray, Int4, Bool], "integer", true, SUBSCRIPTS),
        function(
            "aclexplode",
            &[TypeId::AclitemArray],
            "record",
            true,
            "The items of a list of rights: grantor, grantee, privilege_type, is_grantable",
        ),
        function("unnest", &[AnyArray], "anyelement", true, "The elements of an array"),
        function("regexp_matches", &[Text, Text], "text[]", true, MATCHES),
        function("regexp_matches", &[Text, Text, Text], "text[]", true, MATCHES),
        function("regexp_split_to_table", &[Text, Text], "text", true, PARTS),
        function("regexp_split_to_table", &[Text, Text, Text], "text", true, PARTS),
        function("string_to_table", &[Text, Text], "text", true, "The parts of a text between delimiters"),
        function(
            "string_to_table",
            &[Text, Text, Text],
            "text",
            true,
            "The parts of a text between delimiters, with NULL for those that are the third argument",
        ),
    ]
};

//! The settings of pg_stat_statements, PostgreSQL's module of that name. Its figures end with the server
//! here, so `save` is off.

use crate::definition::Context::{Postmaster, Sighup, Superuser};
use crate::definition::{Definition, Unit, boolean, cat, choice, flag, integer};

pub(crate) static STATEMENTS: &[Definition] = &[
    integer(
        "pg_stat_statements.max",
        Postmaster,
        cat::CUSTOMIZED,
        5_000,
        100,
        (i32::MAX / 2) as i64,
        Unit::None,
    )
    .flags(flag::NOT_IN_SAMPLE),
    boolean("pg_stat_statements.save", Sighup, cat::CUSTOMIZED, false).flags(flag::NOT_IN_SAMPLE),
    choice("pg_stat_statements.track", Superuser, cat::CUSTOMIZED, "top", &["none", "top", "all"])
        .flags(flag::NOT_IN_SAMPLE),
    boolean("pg_stat_statements.track_planning", Superuser, cat::CUSTOMIZED, false)
        .flags(flag::NOT_IN_SAMPLE),
    boolean("pg_stat_statements.track_utility", Superuser, cat::CUSTOMIZED, true).flags(flag::NOT_IN_SAMPLE),
];

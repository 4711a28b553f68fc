//! pg_stat_statements: the statements that ran, with their figures. What is not counted for a statement
//! (pages, log) is NULL; what there is none of here (local buffers, temporary files, just-in-time
//! compilation) is 0.

use super::{Asked, Function, Returns, View, count, one, refuse, sparse, text, time};
use crate::statements::{Entry, Key};
use protocol::SqlState;
use sql_interface::{NodeCall, NodeRows, SettingActor, SqlError};
use sql_types::{Datum, TypeId};

static COLUMNS: &[(&str, TypeId)] = &[
    ("userid", TypeId::Oid),
    ("dbid", TypeId::Oid),
    ("toplevel", TypeId::Bool),
    ("queryid", TypeId::Int8),
    ("query", TypeId::Text),
    ("plans", TypeId::Int8),
    ("total_plan_time", TypeId::Float8),
    ("min_plan_time", TypeId::Float8),
    ("max_plan_time", TypeId::Float8),
    ("mean_plan_time", TypeId::Float8),
    ("stddev_plan_time", TypeId::Float8),
    ("calls", TypeId::Int8),
    ("total_exec_time", TypeId::Float8),
    ("min_exec_time", TypeId::Float8),
    ("max_exec_time", TypeId::Float8),
    ("mean_exec_time", TypeId::Float8),
    ("stddev_exec_time", TypeId::Float8),
    ("rows", TypeId::Int8),
    ("shared_blks_hit", TypeId::Int8),
    ("shared_blks_read", TypeId::Int8),
    ("shared_blks_dirtied", TypeId::Int8),
    ("shared_blks_written", TypeId::Int8),
    ("local_blks_hit", TypeId::Int8),
    ("local_blks_read", TypeId::Int8),
    ("local_blks_dirtied", TypeId::Int8),
    ("local_blks_written", TypeId::Int8),
    ("temp_blks_read", TypeId::Int8),
    ("temp_blks_written", TypeId::Int8),
    ("blk_read_time", TypeId::Float8),
    ("blk_write_time", TypeId::Float8),
    ("temp_blk_read_time", TypeId::Float8),
    ("temp_blk_write_time", TypeId::Float8),
    ("wal_records", TypeId::Int8),
    ("wal_fpi", TypeId::Int8),
    ("wal_bytes", TypeId::Numeric),
    ("jit_functions", TypeId::Int8),
    ("jit_generation_time", TypeId::Float8),
    ("jit_inlining_count", TypeId::Int8),
    ("jit_inlining_time", TypeId::Float8),
    ("jit_optimization_count", TypeId::Int8),
    ("jit_optimization_time", TypeId::Float8),
    ("jit_emission_count", TypeId::Int8),
    ("jit_emission_time", TypeId::Float8),
];

/// Columns of what is not counted.
fn is_unknown(column: &str) -> bool {
    ["shared_blks_", "blk_", "wal_"].iter().any(|begin| column.starts_with(begin))
}

pub(super) static VIEWS: &[View] = &[
    View {
        name: "pg_stat_statements",
        oid: 12_980,
        about: "How often each statement ran and how long it took, with shared_preload_libraries = \
                'pg_stat_statements'; a row a statement of a role in a database.",
        columns: COLUMNS,
        rows: statements,
    },
    view! {
        "pg_stat_statements_info", 12_981,
        "Of pg_stat_statements: how often entries had to go because there were too many, and since when it counts.",
        rows |asked, _actor| {
            check_loaded(asked)?;
            let (leavings, reset_at) = asked.sessions.statements.info();
            [(leavings, reset_at.unwrap_or(asked.started))]
        },
        each |(leavings, reset_at)| [] {
            "dealloc": Int8 = count(leavings),
            "stats_reset": Timestamptz = time(Some(reset_at)),
        }
    },
];

pub(super) static FUNCTIONS: &[Function] = &[Function {
    name: "pg_stat_statements_reset",
    about: "Forgets what pg_stat_statements has counted, of a role, a database or a statement only if they are \
            named.",
    arguments: &[("userid", TypeId::Oid), ("dbid", TypeId::Oid), ("queryid", TypeId::Int8)],
    required: 0,
    defaults: || vec![Datum::Oid(0), Datum::Oid(0), Datum::Int8(0)],
    strict: true,
    returns: Returns::One(TypeId::Void),
    call: reset,
}];

fn check_loaded(asked: &Asked<'_>) -> Result<(), SqlError> {
    if crate::statements::is_loaded(&asked.ground.settings()) {
        return Ok(());
    }
    let what = "pg_stat_statements must be loaded via \"shared_preload_libraries\"";
    Err(SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, what))
}

fn statements(asked: &Asked<'_>, actor: SettingActor) -> sql_interface::Result<NodeRows> {
    check_loaded(asked)?;
    let row = |entry: &Entry| {
        let figures = entry.figures();
        let may_read = actor.reads_statistics || entry.key.role == actor.role;
        let query = if may_read { &*entry.text } else { "<insufficient privilege>" };
        let id = if may_read { Datum::Int8(entry.key.query) } else { Datum::Null };
        let known = [
            ("userid", Datum::Oid(entry.key.role)),
            ("dbid", Datum::Oid(entry.key.database)),
            ("toplevel", Datum::Bool(true)),
            ("queryid", id),
            ("query", text(Some(query))),
            ("calls", count(figures.calls)),
            ("total_exec_time", Datum::Float8(figures.total_ms)),
            ("min_exec_time", Datum::Float8(figures.min_ms)),
            ("max_exec_time", Datum::Float8(figures.max_ms)),
            ("mean_exec_time", Datum::Float8(figures.mean_ms)),
            ("stddev_exec_time", Datum::Float8(figures.stddev_ms())),
            ("rows", count(figures.rows)),
        ];
        let mut row = sparse(COLUMNS, &known);
        for ((name, ty), value) in COLUMNS.iter().zip(&mut row) {
            let is_known = known.iter().any(|(known, _)| known == name);
            if !is_known && !is_unknown(name) {
                *value = if *ty == TypeId::Float8 { Datum::Float8(0.0) } else { Datum::Int8(0) };
            }
        }
        row
    };
    let entries = asked.sessions.statements.all();
    // Whoever has not run to its end yet is not to be seen.
    Ok(entries.iter().filter(|entry| entry.figures().calls > 0).map(|entry| row(entry)).collect())
}

fn reset(asked: &Asked<'_>, _: SettingActor, arguments: &[Datum]) -> NodeCall {
    if let Err(error) = check_loaded(asked) {
        return refuse(error);
    }
    let oid = |at: usize| match arguments.get(at) {
        Some(Datum::Oid(oid)) => *oid,
        _ => 0,
    };
    let query = arguments.get(2).and_then(Datum::as_i64).unwrap_or(0);
    let key = Key { role: oid(0), database: oid(1), query };
    asked.sessions.statements.reset(key, asked.ground.host.clock.now());
    one(Datum::text(""))
}

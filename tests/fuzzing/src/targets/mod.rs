//! The targets: a file each.

mod conninfo;
mod copy;
mod messages;
mod settings;
mod sql;

use crate::Target;

/// All of them.
pub const ALL: &[&Target] = &[
    &messages::FROM_CLIENT,
    &messages::FROM_SERVER,
    &messages::REPLICATION,
    &sql::SQL,
    &copy::COPY,
    &conninfo::CONNINFO,
    &settings::SETTINGS,
];

/// The target of a name.
pub fn find(name: &str) -> Option<&'static Target> {
    ALL.iter().copied().find(|target| target.name == name)
}

/// Words of SQL, of which inputs of several targets are made.
const SQL_WORDS: &[&str] = &[
    "select", "from", "where", "group by", "having", "order by", "limit", "offset", "union all", "intersect", "except", "join",
    "left join", "full join", "cross join lateral", "using (id)", "on true", "as", "with x as (", "insert into t", "values (",
    "on conflict (id) do update set", "do nothing", "returning *", "update t set", "delete from t", "truncate", "create table",
    "primary key", "references", "check (", "default", "generated always as identity", "drop table if exists", "alter table t",
    "add column", "begin", "commit", "savepoint s", "declare c cursor for", "fetch", "copy t to stdout", "prepare p as",
    "execute p", "explain", "analyze", "set", "show", "reset all", "grant", "revoke", "case when", "then", "else", "end", "in (",
    "not in (", "exists (", "any(array[", "between", "is null", "is distinct from", "like", "similar to", "~", "::", "::int",
    "::text[]", "::numeric(10,2)", "cast(", "interval '1 day'", "timestamp 'now'", "date '2020-01-01'", "null", "true", "array[",
    "row(", "count(*)", "sum(a)", "filter (where", "over (partition by", "within group (", "extract(epoch from", "substring('a'",
    "position('a' in", "overlay('a' placing", "trim(both from", "coalesce(", "nullif(", "greatest(", "generate_series(1, 3)",
    "unnest(", "$1", "$$", "E'\\n'", "U&'\\0041'", "B'1'", "X'1F'", "--", "/*", "*/", "(", ")", "[", "]", ",", ";", ".", "'", "\"",
    "t", "id", "a", "b", "public.t", "pg_catalog.", "nosuch", "1", "-1", "1.5", "''", "'x'", "collate \"C\"", "at time zone 'UTC'",
    "for update", "nowait", "skip locked", "operator(pg_catalog.+)", "=", "<>", "<=", "||", "->", "->>", "!", "@>", "&&", "<<",
];

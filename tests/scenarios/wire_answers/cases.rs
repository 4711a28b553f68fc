//! The cases: by the sections of the manual's chapter "Message Flow".

use crate::messages::{
    Step, bind, bind_formats, close_portal, close_statement, describe_portal, describe_statement, execute,
    flush, function_call, parse, parse_typed, query, raw, sync,
};

/// What is there before all cases, which leave it as it is.
pub const SCHEMA: &str =
    "create table t (id int primary key, v text); insert into t values (1, 'one'), (2, null), (3, 'three')";

pub struct Case {
    pub name: &'static str,
    pub steps: fn() -> Vec<Step>,
}

/// A case that is answered otherwise here by intent.
pub struct Difference {
    pub case: &'static str,
    pub why: &'static str,
}

pub const DIFFERENCES: &[Difference] = &[
    Difference {
        case: "a declared type that does not exist",
        why: "PostgreSQL answers with an internal error (XX000), and here it is 42704",
    },
    Difference {
        case: "a format of results that does not exist",
        why: "PostgreSQL finds it when it prints the first row, and here Bind is refused",
    },
    Difference {
        case: "a constant that cannot be computed",
        why: "PostgreSQL's planner computes constants at Bind, before the columns are described, and here they are \
              computed when the statement runs",
    },
    Difference {
        case: "a function call",
        why: "the fast path is not offered, and refused with 0A000; libpq uses it for large objects alone",
    },
];

macro_rules! cases {
    ($($name:literal: [$($step:expr),* $(,)?],)*) => {
        pub const CASES: &[$crate::cases::Case] =
            &[$($crate::cases::Case { name: $name, steps: || vec![$($step),*] }),*];
    };
}
pub(crate) use cases;

cases! {
    // Simple query.
    "an empty query": [query("")],
    "a query of nothing but semicolons and a comment": [query(" ; ;; -- nothing\n")],
    "one statement": [query("select 1 as one, 'x'::text as two, null::int")],
    "columns of a table are described with their places": [query("select id, v, id + 1 from t order by id")],
    "a text that is parsed again is read by the settings of now": [
        query("set timezone = 'Asia/Tokyo'; set datestyle = 'iso, mdy'"),
        parse("", "select '2020-01-01 12:00'::timestamptz at time zone 'UTC', date '01/02/2020', '{null}'::text[]"),
        bind("", "", &[]), execute("", 0), sync(),
        query("set timezone = 'America/New_York'; set datestyle = 'iso, dmy'; set array_nulls = off"),
        parse("", "select '2020-01-01 12:00'::timestamptz at time zone 'UTC', date '01/02/2020', '{null}'::text[]"),
        bind("", "", &[]), execute("", 0), sync(),
        query("reset timezone; reset datestyle; reset array_nulls"),
    ],
    "a comparison with null that is parsed again": [
        parse("", "select count(*) from t where v = null"), bind("", "", &[]), execute("", 0), sync(),
        query("set transform_null_equals = on"),
        parse("", "select count(*) from t where v = null"), bind("", "", &[]), execute("", 0), sync(),
        query("reset transform_null_equals"),
    ],
    "escapes of literals that are none": [
        query("select 'ä', E'ab\\ud800cd'"), query("select E'ab\\ud800'"), query("select E'ab\\udc00', 1"),
        query("select E'ab\\u12 cd', 1"), query("select 1,\n 'ü', E'\\U00110000', 1"),
        query("select E'ab\\xe2\\x28'"), query("select U&'ab\\D83D', 1"), query("select U&'\\zz'"),
        query("select 'ä', e'\\xc3\\xa4', nosuch"),
    ],
    "now as the text of a parameter": [
        parse_typed("", "select $1 = current_date, $2 = now(), $3[1] > '2020-01-01'", &[1082, 1184, 1185]),
        bind("", "", &["today", "now", "{now}"]), execute("", 0), sync(),
        query("begin"), parse_typed("", "select $1 = now()", &[1184]), bind("", "", &["now"]), execute("", 0), sync(),
        query("rollback"),
    ],
    "a table that is gone when a text is parsed again": [
        query("create table u (a int)"),
        parse("", "select * from u"), bind("", "", &[]), execute("", 0), sync(),
        query("drop table u"),
        parse("", "select * from u"), bind("", "", &[]), execute("", 0), sync(),
    ],
    "a string of statements is one transaction": [
        query("insert into t values (10); insert into t values (1); select 1"),
        query("select count(*) from t"),
    ],
    "a syntax error anywhere in a string keeps all of it from running": [
        query("insert into t values (10); selec"),
        query("select count(*) from t"),
    ],
    "BEGIN and COMMIT inside of a string": [
        query("begin; insert into t values (10); rollback; select count(*) from t"),
        query("select 1; begin; select 2"),
        query("select 3; rollback; select 4"),
    ],
    "what was before BEGIN in a string belongs to its transaction": [
        query("insert into t values (10); begin; insert into t values (11)"),
        query("rollback"),
        query("select count(*) from t"),
    ],
    "an error after COMMIT in a string leaves what was committed": [
        query("begin; update t set v = 'uno' where id = 1; commit; select 1/(id - id) from t"),
        query("update t set v = 'one' where id = 1 returning v"),
    ],
    "a failed block takes nothing but its end": [
        query("begin"), query("select 1/(id - id) from t"), query("select 1"), query(""), query("savepoint s"),
        query("selec"), query("commit"), query("select 1"),
    ],
    "a savepoint brings a failed block back": [
        query("begin; savepoint s"), query("select 1/(id - id) from t"), query("rollback to s"), query("select 1"), query("commit"),
    ],
    "savepoints and cursors outside of a block": [
        query("savepoint s"), query("declare c cursor for select 1"), query("lock table t"),
        query("select 1; savepoint s"), query("rollback to s"), query("release s"),
    ],
    "warnings of transaction statements": [
        query("commit"), query("rollback"), query("begin; begin"), query("rollback; rollback"),
    ],
    "BEGIN in a block of several messages": [query("begin"), query("begin"), query("end")],
    "a query in the simple protocol has no parameters": [query("select $1"), query("select $1::int")],

    // Extended query.
    "the messages of one statement": [
        parse("", "select $1::int + 1 as sum"), bind("", "", &["41"]), describe_portal(""), execute("", 0), sync(),
    ],
    "a statement is described with its parameters": [
        parse("s", "select id, v from t where id = $1 and v = $2"), describe_statement("s"), sync(),
        parse("n", "insert into t values ($1, $2)"), describe_statement("n"), sync(),
        parse("e", ""), describe_statement("e"), sync(),
    ],
    "declared types of parameters": [
        parse_typed("", "select $1 + $2", &[20, 0]), describe_statement(""), sync(),
        parse_typed("", "select $1", &[]), describe_statement(""), sync(),
        parse_typed("", "select $1", &[16, 17, 18]), describe_statement(""), sync(),
        parse_typed("", "select $2::int", &[]), describe_statement(""), sync(),
    ],
    "what changes rows goes by what there is when it runs": [
        query("begin; create table later (a int primary key, b text); insert into later values (1, 'x'), (2, 'y')"),
        parse("i", "insert into later values ($1, $2)"), parse("u", "update later set b = 'u'"),
        parse("d", "delete from later"), parse("o", "copy later to stdout"), sync(),
        query("savepoint p"), bind("i", "i", &["3", "x"]), sync(), query("create unique index on later (b)"),
        execute("i", 0), sync(), query("rollback to p"),
        bind("i", "i", &["3", "x"]), sync(), query("alter table later add check (a < 3)"), execute("i", 0), sync(),
        query("rollback to p"), bind("i", "i", &["3", "x"]), bind("o", "o", &[]), sync(), query("truncate later"),
        execute("i", 0), sync(), query("select * from later"), execute("o", 0), sync(), query("rollback to p"),
        bind("i", "i", &["3", "x"]), sync(), query("set transaction read only"), execute("i", 0), sync(),
        query("rollback to p"), bind("i", "i", &["4", "z"]), bind("d", "d", &[]), bind("", "u", &[]),
        execute("i", 0), execute("", 0), execute("d", 0), sync(), query("select * from later; rollback"),
    ],
    "a portal's own name is taken while it runs": [
        query("begin"), parse("", "declare p cursor for select 1"), bind("p", "", &[]), execute("p", 0), sync(),
        query("rollback; begin"), parse("", "close p"), bind("p", "", &[]), execute("p", 0), sync(),
        query("rollback; begin"), parse("", "fetch p"), bind("p", "", &[]), execute("p", 0), sync(), query("rollback"),
    ],
    "a query shows what there was when it was bound": [
        query("begin; create table later (a int primary key); insert into later values (1)"),
        parse("i", "insert into later values ($1)"), parse("s", "select * from later order by a"), bind("s", "s", &[]),
        bind("", "s", &[]), bind("i", "i", &["2"]), execute("i", 0), bind("i2", "i", &["3"]), execute("i2", 0),
        execute("", 0), execute("s", 1), bind("i3", "i", &["4"]), execute("i3", 0), execute("s", 0), sync(),
        query("select count(*) from later; rollback"),
    ],
    "parameters of a statement inside another one": [
        parse("c", "create table filled as select $1::int as a, $2 as b"), describe_statement("c"), sync(),
        bind("", "c", &["7", "x"]), execute("", 0), sync(), query("select * from filled"),
        parse("", "create table if not exists filled as select $1::int"), describe_statement(""),
        bind("", "", &["8"]), execute("", 0), sync(), query("drop table filled"),
        parse("", "explain select * from t where id = $1"), describe_statement(""), sync(),
        parse("", "explain create table filled as select $1::int"), describe_statement(""), sync(),
        parse("", "explain insert into t values ($1, $2)"), describe_statement(""), sync(),
        parse("", "explain select $1 is null"), sync(), parse("", "create table filled as select nosuch"), sync(),
    ],
    "parameters that only their place gives a type": [
        parse("", "select $1 order by $1"), describe_statement(""), sync(),
        parse("", "select distinct $1 from t"), describe_statement(""), sync(),
        parse("", "select $1, count(*) from t group by 1"), describe_statement(""), sync(),
        parse("", "values ($1), ($2)"), describe_statement(""), sync(),
        parse("", "select distinct on ($1) id from t"), describe_statement(""), sync(),
        parse("", "select * from t where id = $1 or $1 is null"), describe_statement(""), sync(),
        parse("", "select * from t where $1 is null or id = $1"), sync(), parse("", "select $1 limit 1"), sync(),
        parse("", "select $1 is null"), sync(), parse("", "select count($1)"), sync(),
        parse("", "select exists (select $1)"), describe_statement(""), sync(),
    ],
    "a declared type that does not exist": [parse_typed("", "select $1", &[4_000_000_000]), sync()],
    "binary parameters and results": [
        parse("", "select $1::int4, $2::text, $3::bool, $1::int4 + 1"),
        bind_formats("", "", &[1, 0, 1], &[Some(&[0, 0, 0, 7]), Some(b"x"), Some(&[1])], &[1, 0, 1, 0]),
        describe_portal(""), execute("", 0), sync(),
        bind_formats("", "", &[1], &[Some(&[0, 0, 0, 7]), None, None], &[1]), execute("", 0), sync(),
    ],
    "wrong numbers of parameters and formats": [
        parse("s", "select $1::int, $2::int"), sync(),
        bind("", "s", &["1"]), sync(),
        bind_formats("", "s", &[0, 0, 0], &[Some(b"1"), Some(b"2")], &[]), sync(),
        bind_formats("", "s", &[], &[Some(b"1"), Some(b"2")], &[0, 0, 0]), sync(),
        bind("", "s", &["1", "2", "3"]), sync(),
    ],
    "values that are none of their type": [
        parse("s", "select $1::int, $2::text"), sync(),
        bind("", "s", &["x", "y"]), sync(),
        bind_formats("", "s", &[1, 0], &[Some(&[1, 2]), Some(b"y")], &[]), sync(),
        bind_formats("", "s", &[1, 0], &[Some(&[0, 0, 0, 1, 9]), Some(b"y")], &[]), sync(),
        bind_formats("", "s", &[0, 0], &[Some(b"1"), Some(b"a\xffb")], &[]), sync(),
        bind_formats("", "s", &[0, 0], &[Some(b"1"), Some(b"a\0b")], &[]), sync(),
        bind_formats("", "s", &[7], &[Some(b"1"), Some(b"2")], &[]), sync(),
    ],
    "binary values that are cut short, or go on": [
        parse("n", "select $1::numeric"), parse("a", "select $1::int[]"), sync(),
        bind_formats("", "n", &[1], &[Some(b"\0\0\0\0\xc0\0\0\0")], &[]), execute("", 0), sync(),
        bind_formats("", "n", &[1], &[Some(b"\0\0\0\0\xc0\0\0\0junk")], &[]), sync(),
        bind_formats("", "n", &[1], &[Some(b"\x7f\0\0\0\xc0\0\0\0")], &[]), sync(),
        bind_formats("", "n", &[1], &[Some(b"\0\x01\0\0\0\0")], &[]), sync(),
        bind_formats("", "a", &[1], &[Some(b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x17")], &[]), sync(),
        bind_formats("", "a", &[1], &[Some(b"\0\0\0\x07\0\0\0\0\0\0\0\x17")], &[]), sync(),
        bind_formats("", "a", &[1], &[Some(b"\0\0\0\x01\0\0\0\0\0\0\0\x17\0\0\0\x02\0\0\0\x01")], &[]), sync(),
        bind_formats("", "a", &[1], &[Some(b"\0\0\0\x01\0\0\0\0\0\0\0\x17\0\0\0\x01\0\0\0\x01\0\0\0\x05\0\0\0\0\0")], &[]), sync(),
    ],
    "a byte as a value": [
        parse("c", "select $1::\"char\", $1::\"char\" = ''"), sync(),
        bind_formats("", "c", &[1], &[Some(b"\0")], &[1, 0]), execute("", 0), sync(),
        bind_formats("", "c", &[1], &[Some(b"\x80")], &[1, 0]), execute("", 0), sync(),
        bind_formats("", "c", &[1], &[Some(b"\x80")], &[0]), execute("", 0), sync(),
        bind_formats("", "c", &[1], &[Some(b"")], &[0]), sync(), bind_formats("", "c", &[1], &[Some(b"ab")], &[0]), sync(),
        bind("", "c", &["\\377"]), execute("", 0), sync(),
        parse("", "select array['', 'a', '\\200']::\"char\"[]"), bind_formats("", "", &[], &[], &[1]), execute("", 0), sync(),
        parse("", "select attidentity, attname from pg_attribute where attrelid = 't'::regclass and attnum = 1"),
        bind_formats("", "", &[], &[], &[1]), execute("", 0), sync(),
        query("copy (select ''::\"char\", 'x'::\"char\", '') to stdout binary"),
    ],
    "a format of results that does not exist": [
        parse("", "select 1"), bind_formats("", "", &[], &[], &[7]), execute("", 0), sync(),
    ],
    "a constant that cannot be computed": [
        query("select 1/0"), parse("", "select 1/0"), bind("", "", &[]), execute("", 0), sync(),
    ],
    "an error skips all up to the next Sync": [
        parse("", "select 1/(id - id) from t"), bind("", "", &[]), execute("", 0), parse("x", "select 1"), query("select 2"),
        close_statement("x"), describe_statement("x"), execute("", 0), flush(), sync(),
        describe_statement("x"), sync(),
    ],
    "an error is sent without waiting for Sync": [
        parse("", "selec"), Step::Await(b'E'), sync(),
        parse("", "select nothing"), describe_statement(""), flush(), Step::Await(b'E'), flush(), sync(),
        parse("", "select 1/(id - $1) from t where id = 1"), describe_statement(""), flush(), Step::Await(b'T'),
        bind("", "", &["1"]), execute("", 0), flush(), Step::Await(b'E'), sync(),
        parse("", "select $1::int"), describe_statement(""), flush(), Step::Await(b'T'),
        bind("", "", &["x"]), execute("", 0), flush(), Step::Await(b'E'), sync(),
    ],
    "Flush sends what is there": [
        parse("", "select 1"), flush(), Step::Await(b'1'), bind("", "", &[]), flush(), Step::Await(b'2'),
        describe_portal(""), flush(), Step::Await(b'T'), execute("", 0), flush(), Step::Await(b'C'),
        close_portal(""), flush(), Step::Await(b'3'), sync(), Step::Await(b'Z'),
    ],
    "Sync and Flush alone": [sync(), flush(), sync(), flush(), flush(), sync()],
    "a named statement must be closed before its name is used again": [
        parse("s", "select 1"), parse("s", "select 2"), sync(),
        close_statement("s"), parse("s", "select 3"), bind("", "s", &[]), execute("", 0), sync(),
    ],
    "the unnamed statement is replaced": [
        parse("", "select 1"), parse("", "select 2"), bind("", "", &[]), execute("", 0), sync(),
    ],
    "a Parse that fails takes the unnamed statement away": [
        parse("", "select 1"), sync(), parse("", "selec"), sync(), bind("", "", &[]), sync(),
        describe_statement(""), sync(),
    ],
    "a simple query takes the unnamed statement and portal away": [
        query("begin"), parse("", "select 1"), bind("", "", &[]), sync(), query("select 2"),
        execute("", 0), sync(), query("rollback"), bind("", "", &[]), sync(),
    ],
    "a syntax error in a simple query takes the unnamed statement away, too": [
        parse("", "select 1"), sync(), query("selec"), bind("", "", &[]), sync(),
    ],
    "statements of PREPARE and of Parse are the same": [
        query("prepare p as select 5"), bind("", "p", &[]), execute("", 0), sync(),
        parse("q", "select 6"), sync(), query("execute q"), query("deallocate q"), bind("", "q", &[]), sync(),
        parse("e", "execute p"), describe_statement("e"), bind("", "e", &[]), execute("", 0), sync(),
    ],
    "several statements cannot be prepared together": [parse("", "select 1; select 2"), sync(), parse("", "select 1;"), sync()],
    "portals that are not there": [
        execute("nosuch", 0), sync(), describe_portal("nosuch"), sync(), close_portal("nosuch"), sync(),
        execute("", 0), sync(), describe_portal(""), sync(), describe_statement("nosuch"), sync(),
        close_statement("nosuch"), sync(), bind("", "nosuch", &[]), sync(),
    ],
    "a portal's name cannot be used twice": [
        parse("s", "select 1"), bind("p", "s", &[]), bind("p", "s", &[]), sync(),
        bind("p", "s", &[]), sync(), bind("p", "s", &[]), close_portal("p"), bind("p", "s", &[]), sync(),
        bind("", "s", &[]), bind("", "s", &[]), execute("", 0), sync(),
    ],
    "the name of a portal is looked at before its parameters": [
        parse("s", "select $1::int"), bind("p", "s", &["1"]), bind("p", "s", &["x"]), sync(),
    ],
    "a portal ends with its transaction": [
        parse("s", "select 1"), bind("p", "s", &[]), sync(), execute("p", 0), sync(),
        query("begin"), bind("p", "s", &[]), sync(), execute("p", 0), sync(), query("commit"),
        execute("p", 0), sync(),
    ],
    "a COMMIT in a pipeline ends its portals": [
        query("begin"), parse("s", "select 1"), parse("c", "commit"),
        bind("p", "s", &[]), bind("", "c", &[]), execute("", 0),
        bind("p", "s", &[]), execute("p", 0), sync(),
        query("begin"), bind("p", "s", &[]), bind("", "c", &[]), execute("", 0), execute("", 0), sync(),
        query("begin"), bind("p", "s", &[]), bind("", "c", &[]), execute("", 0), describe_portal("p"), sync(),
    ],
    "a COMMIT AND CHAIN in a pipeline ends its portals": [
        query("begin"), parse("s", "select 1"), parse("c", "commit and chain"),
        bind("p", "s", &[]), bind("", "c", &[]), execute("", 0), bind("p", "s", &[]), execute("p", 0), sync(),
        query("rollback"),
    ],
    "rows by pieces": [
        query("begin"), parse("", "select id from t order by id"), bind("p", "", &[]),
        execute("p", 2), execute("p", 2), execute("p", 2), execute("p", 0), sync(),
        bind("q", "", &[]), execute("q", 3), execute("q", 3), execute("q", 3), sync(),
        bind("n", "", &[]), execute("n", -1), sync(), query("rollback"),
    ],
    "rows by pieces over several Syncs": [
        query("begin"), parse("", "select id from t order by id"), bind("p", "", &[]), execute("p", 1), sync(),
        execute("p", 1), sync(), describe_portal("p"), close_portal("p"), execute("p", 1), sync(), query("rollback"),
    ],
    "what returns of changes comes by pieces": [
        query("begin"), parse("", "update t set v = v where id > 0 returning id"), bind("p", "", &[]),
        execute("p", 2), execute("p", 2), execute("p", 2), sync(),
        parse("", "insert into t values (20), (21), (22) returning id"), bind("q", "", &[]),
        execute("q", 2), execute("q", 2), execute("q", 2), sync(), query("rollback"),
    ],
    "changes without RETURNING run once, whatever number of rows is asked for": [
        query("begin"), parse("", "update t set v = v"), bind("", "", &[]), execute("", 1), execute("", 1), sync(),
        query("rollback"),
    ],
    "rows of utilities by pieces": [
        query("begin"), parse("", "show server_encoding"), bind("", "", &[]), describe_portal(""), execute("", 1),
        execute("", 1), sync(), parse("", "begin"), bind("", "", &[]), execute("", 1), sync(), query("rollback"),
    ],
    "cursors through the extended protocol": [
        query("begin; declare c cursor for select id, v from t order by id"),
        parse("f", "fetch 2 from c"), describe_statement("f"), bind("", "f", &[]), describe_portal(""),
        execute("", 0), sync(),
        bind("", "f", &[]), execute("", 1), execute("", 1), execute("", 1), sync(),
        parse("m", "move 1 from c"), describe_statement("m"), bind("", "m", &[]), execute("", 0), sync(),
        describe_portal("c"), sync(), execute("c", 1), sync(), close_portal("c"), sync(), query("fetch c"),
        query("rollback"),
    ],
    "FETCH by pieces of as many rows as there are left": [
        query("begin; declare c cursor for select id from t order by id"), parse("f", "fetch 3 c"), bind("p", "f", &[]),
        execute("p", 2), execute("p", 1), execute("p", 0), execute("p", 0), sync(),
        bind("q", "f", &[]), execute("q", 1), sync(), query("rollback"),
        query("begin; declare c cursor for select id from t order by id"), parse("m", "move 2 c"), bind("", "m", &[]),
        execute("", 1), sync(), parse("z", "fetch 0 c"), bind("z", "z", &[]), execute("z", 1), execute("z", 1), sync(),
        query("fetch all c"), query("rollback"),
    ],
    "tables that an open portal reads": [
        query("begin"), parse("", "select id from t"), bind("p", "", &[]), sync(), query("truncate t"), query("rollback"),
        query("begin"), parse("", "insert into t values (60)"), bind("p", "", &[]), sync(), query("create index on t (v)"),
        query("rollback"),
    ],
    "a declared cursor is a portal": [
        query("begin; declare c cursor for select id, v from t order by id"),
        describe_portal("c"), execute("c", 1), execute("c", 1), sync(), query("fetch 1 from c"), query("rollback"),
        describe_portal("c"), sync(),
    ],
    "a portal of the protocol is a cursor": [
        query("begin"), parse("", "select id from t order by id"), bind("p", "", &[]), execute("p", 1), sync(),
        query("fetch 1 from p"), query("move 1 from p"), execute("p", 1), sync(), query("close p"), execute("p", 1),
        sync(), query("rollback"),
    ],
    "FETCH prepared before its cursor is declared": [
        parse("f", "fetch 2 from c"), describe_statement("f"), sync(),
        query("begin; declare c cursor for select id from t order by id"), bind("", "f", &[]), describe_portal(""),
        execute("", 0), sync(), query("rollback"), bind("", "f", &[]), execute("", 0), sync(),
    ],
    "a failed block in the extended protocol": [
        query("begin"), parse("s", "select 1"), parse("p", "select $1::int"), parse("c", "commit"),
        parse("r", "rollback"), parse("e", ""), parse("u", "insert into t values (7)"),
        bind("before", "s", &[]), bind("mute", "u", &[]), sync(),
        parse("", "select 1/(id - id) from t"), bind("", "", &[]), execute("", 0), sync(),
        parse("", "select 1"), sync(), parse("", "selec"), sync(), parse("", ""), sync(), parse("", "rollback"), sync(),
        bind("", "s", &[]), sync(), bind("", "p", &["x"]), sync(), bind("", "p", &[]), sync(), bind("", "e", &[]), sync(),
        describe_statement("s"), sync(), describe_statement("c"), sync(), describe_statement("u"), sync(),
        execute("before", 0), sync(), describe_portal("before"), sync(),
        execute("mute", 0), sync(), describe_portal("mute"), sync(),
        close_portal("before"), close_statement("s"), sync(), bind("", "c", &[]), execute("", 0), sync(),
    ],
    "ROLLBACK in a pipeline ends a failed block": [
        query("begin"), query("select 1/(id - id) from t"), parse("", "rollback"), bind("", "", &[]), execute("", 0),
        parse("", "select 1"), bind("", "", &[]), execute("", 0), sync(),
    ],
    "a pipeline without BEGIN is one transaction": [
        parse("", "insert into t values (30)"), bind("", "", &[]), execute("", 0),
        parse("", "insert into t values (1)"), bind("", "", &[]), execute("", 0), sync(),
        query("select count(*) from t"),
    ],
    "each Sync of a pipeline ends a transaction": [
        parse("i", "insert into t values (30)"), bind("", "i", &[]), execute("", 0), sync(),
        parse("", "insert into t values (1)"), bind("", "", &[]), execute("", 0), sync(),
        query("delete from t where id = 30"),
    ],
    "BEGIN in a pipeline takes what was before into its block": [
        parse("i", "insert into t values (31)"), bind("", "i", &[]), execute("", 0),
        parse("", "begin"), bind("", "", &[]), execute("", 0), sync(), query("rollback"),
        query("select count(*) from t"),
    ],
    "COMMIT in a pipeline without BEGIN": [
        parse("i", "insert into t values (32)"), bind("", "i", &[]), execute("", 0),
        parse("", "commit"), bind("", "", &[]), execute("", 0),
        parse("", "select 1/(id - id) from t"), bind("", "", &[]), execute("", 0), sync(),
        query("delete from t where id = 32"),
    ],
    "ROLLBACK in a pipeline without BEGIN": [
        parse("i", "insert into t values (33)"), bind("", "i", &[]), execute("", 0),
        parse("", "rollback"), bind("", "", &[]), execute("", 0), sync(), query("select count(*) from t"),
    ],
    "savepoints in a pipeline without BEGIN": [
        parse("", "savepoint s"), bind("", "", &[]), execute("", 0), sync(),
        parse("", "declare c cursor for select 1"), bind("", "", &[]), execute("", 0), sync(),
    ],
    "a whole block in a pipeline": [
        parse("b", "begin"), bind("", "b", &[]), execute("", 0),
        parse("i", "insert into t values (34)"), bind("", "i", &[]), execute("", 0),
        parse("r", "rollback"), bind("", "r", &[]), execute("", 0),
        parse("c", "select count(*) from t"), bind("", "c", &[]), execute("", 0), sync(),
    ],
    "a simple query amid a pipeline": [
        parse("", "insert into t values (35)"), bind("", "", &[]), execute("", 0), query("select count(*) from t"),
        query("delete from t where id = 35"),
    ],
    "a failing simple query amid a pipeline takes it back": [
        parse("", "insert into t values (36)"), bind("", "", &[]), execute("", 0), query("select 1/(id - id) from t"),
        query("select count(*) from t"),
    ],
    "a statement whose tables change after it was prepared": [
        query("create table changing (a int)"), parse("s", "select * from changing"), describe_statement("s"), sync(),
        query("alter table changing add b int"), bind("", "s", &[]), execute("", 0), sync(),
        query("drop table changing"), bind("", "s", &[]), execute("", 0), sync(),
    ],
    "a statement is described as it would be now": [
        query("create table changing (a int)"), parse("s", "select * from changing"), parse("a", "select a from changing"),
        parse("i", "insert into changing values (1)"), sync(), query("alter table changing add b int"),
        describe_statement("s"), sync(), describe_statement("a"), sync(), describe_statement("i"), sync(),
        query("alter table changing drop b; alter table changing rename a to c"),
        describe_statement("s"), sync(), describe_statement("a"), sync(), bind("", "a", &[]), execute("", 0), sync(),
        query("drop table changing"), describe_statement("s"), sync(), describe_statement("i"), sync(),
        parse("e", "execute later"), describe_statement("e"), sync(),
        query("prepare later as select 1 as one"), describe_statement("e"), bind("", "e", &[]), execute("", 0), sync(),
    ],
    "what EXECUTE names is looked up when it runs": [
        query("begin; create table late (a int); insert into late values (1), (2); prepare late as select * from late"),
        parse("e", "execute late"), bind("p", "e", &[]), bind("q", "e", &[]), sync(),
        query("update late set a = a + 10"), execute("p", 0), sync(),
        query("deallocate late"), execute("q", 0), sync(), query("rollback"),
    ],
    "an empty statement": [
        parse("", ""), bind("", "", &[]), describe_portal(""), execute("", 0), execute("", 0), sync(),
        parse("", "  -- nothing"), bind("", "", &[]), execute("", 1), sync(),
    ],
    "notices come before the tag": [
        parse("", "drop table if exists nosuch"), bind("", "", &[]), execute("", 0), sync(),
        query("drop table if exists nosuch; select 1"),
    ],

    // Function call, cancel, and messages that are none.
    "a function call": [function_call(1598), query("select 1")],
    "a function call in a failed block": [query("begin"), query("select 1/(id - id) from t"), function_call(1598), query("rollback")],
    "a cancel request ends a statement": [
        query("create table slept as select pg_sleep(10)::text from t"), Step::Cancel(false), Step::CancelUntil(b'Z'), query("select 1"),
    ],
    "a cancel request while nothing runs is ignored": [
        query("select 1"), Step::Await(b'Z'), Step::Cancel(true), query("select 2"),
    ],
    "a cancel request while the next message of a pipeline is waited for is ignored": [
        parse("", "select 1"), bind("", "", &[]), execute("", 0), flush(), Step::Await(b'C'), Step::Cancel(true),
        parse("", "select 2"), bind("", "", &[]), execute("", 0), sync(),
    ],
    "a cancel request in the extended protocol": [
        parse("", "select pg_sleep(10)"), bind("", "", &[]), execute("", 0), flush(), Step::Await(b'2'),
        Step::CancelUntil(b'E'), parse("", "select 1"), sync(),
    ],
    "an unknown message ends the session": [query("select 1"), raw(b'!', b""), query("select 2")],
    "a password where none is asked for": [raw(b'p', b"x\0"), query("select 1")],
    "messages that are too short or too long": [
        raw(b'B', b"\0"), sync(), raw(b'D', b"S"), sync(), raw(b'D', b"Xs\0"), sync(), raw(b'C', b"Xs\0"), sync(),
        raw(b'E', b"\0"), sync(), raw(b'P', b"\0select 1\0\0\0junk"), sync(), raw(b'H', b"junk"), sync(),
        raw(b'Q', b"select 1"), raw(b'Q', b"select 1\0select 2\0"), query("select 3"),
    ],
    "a Sync with a body": [
        raw(b'S', b"x"), Step::Await(b'Z'), query("select 1"), parse("", "selec"), raw(b'S', b"x"), Step::Await(b'Z'), query("select 2"),
        query("begin"), raw(b'S', b"x"), Step::Await(b'Z'), query("rollback"),
    ],
    "texts that are not UTF-8": [raw(b'Q', b"select '\xff'\0"), raw(b'P', b"\0select '\xff'\0\0\0"), sync()],
}

//! Statements of a megabyte in every shape that the grammar can nest or repeat, from a role without rights:
//! each ends in an answer or an error, nobody's connection is lost, and the server's memory stays bounded.

use scenarios::wire::{Wire, WireError};
use scenarios::{Node, wait_until};
use std::fs;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const SHARED_BUFFERS_BYTES: u64 = 32 << 20;
const ABOVE_BYTES_MAX: u64 = 300 << 20;
const TEXT_BYTES: usize = 1 << 20;

/// What each shape has where the time is short; these have all of it always.
const SHORT_BYTES: usize = 50 << 10;
const ALWAYS_LONG: &[&str] = &["sum", "and of a column", "parentheses", "values rows"];

/// A shape: what stands before, what is repeated, what stands in the middle, what is repeated after it as
/// often, what stands at the end. `{}` becomes the number of the repetition.
type Shape = (&'static str, [&'static str; 5]);

const SHAPES: &[Shape] = &[
    // Operators and conditions, which nest to the left.
    ("sum", ["select 1", "+1", "", "", ""]),
    ("difference of a column", ["select x", "-x", "", "", " from (select 1 x) t"]),
    ("concatenation", ["select 'a'", "||'a'", "", "", ""]),
    ("concatenation of a column", ["select x", "||x", "", "", " from (select 'a' x) t"]),
    ("casts", ["select '1'", "::int", "", "", ""]),
    ("casts to other types", ["select x", "::text::int", "", "", " from (select 1 x) t"]),
    ("array types", ["select '{1}'::int", "[]", "", "", ""]),
    ("sized array types", ["select '{1}'::int", "[3]", "", "", ""]),
    ("and", ["select true", " and true", "", "", ""]),
    ("and of a column", ["select x", " and x", "", "", " from (select true x) t"]),
    ("or", ["select false", " or false", "", "", ""]),
    ("or of comparisons", ["select x=1", " or x=2", "", "", " from (select 1 x) t"]),
    ("and with or", ["select x", " and x or x", "", "", " from (select true x) t"]),
    ("chains in chains", ["select x", " and (x or x", "", ")", " from (select true x) t"]),
    ("comparisons", ["select 1", "=1", "", "", ""]),
    ("is null", ["select 1", " is null", "", "", ""]),
    ("is true", ["select true", " is true", "", "", ""]),
    ("is distinct from", ["select 1", " is distinct from 1", "", "", ""]),
    ("between", ["select 1", " between 1 and 1", "", "", ""]),
    ("nested between", ["select ", "(", "x", " between 1 and 2)::int", " from (select 1 x) t"]),
    ("like", ["select 'a'", " like 'a'", "", "", ""]),
    ("collate", ["select 'a'", " collate \"C\"", "", "", ""]),
    ("at time zone", ["select now()", " at time zone 'UTC'", "", "", ""]),
    ("subscripts", ["select ('{1}'::int[])", "[1]", "", "", ""]),
    ("subscripts in subscripts", ["select x", "[x", "[1]", "]", " from (select array[1] x) t"]),
    ("fields", ["select a", ".b", "", "", ""]),
    ("operators before", ["select ", "- ", "1", "", ""]),
    ("operators before a column", ["select ", "- ", "x", "", " from (select 1 x) t"]),
    ("not", ["select ", "not ", "true", "", ""]),
    ("not of a column", ["select ", "not ", "x", "", " from (select true x) t"]),
    ("words as names", ["select 1", "+and", "", "", ""]),
    // What opens and closes.
    ("parentheses", ["select ", "(", "1", ")", ""]),
    ("open parentheses", ["select ", "(", "", "", ""]),
    ("parentheses in FROM", ["select * from ", "(", "t", ")", ""]),
    ("open parentheses in FROM", ["select * from ", "(", "", "", ""]),
    ("functions", ["select ", "abs(", "1", ")", ""]),
    ("functions of a column", ["select ", "abs(", "x", ")", " from (select 1 x) t"]),
    ("coalesce", ["select ", "coalesce(x,", "1", ")", " from (select 1 x) t"]),
    ("nullif", ["select ", "nullif(", "x", ",1)", " from (select 1 x) t"]),
    ("case in else", ["select ", "case when x=1 then 1 else ", "1", " end", " from (select 2 x) t"]),
    ("case in condition", ["select ", "case when ", "x", " then true end", " from (select true x) t"]),
    ("case of a value", ["select ", "case ", "x", " when 1 then 1 end", " from (select 1 x) t"]),
    ("case cut off", ["select ", "case-", "c", "", ""]),
    ("case branches", ["select case x", " when 1 then 1", "", "", " end from (select 2 x) t"]),
    (
        "case branches of a sum",
        ["select case x+1+1+1+1+1+1+1", " when 1 then 1", "", "", " end from (select 2 x) t"],
    ),
    ("casts as functions", ["select ", "cast(", "1", " as int)", ""]),
    ("extract", ["select ", "extract(year from ", "now()", ")", ""]),
    ("position", ["select ", "position('a' in ", "'a'", ")", ""]),
    ("substring", ["select ", "substring(", "'a'", " from 1)", ""]),
    ("trim", ["select ", "trim(", "'a'", ")", ""]),
    ("array constructors", ["select ", "array[", "1", "]", ""]),
    ("brackets", ["select array", "[", "1", "]", ""]),
    ("rows", ["select ", "row(", "1", ")", ""]),
    ("row of many", ["select row(1", ",1", "", "", ") = row(1)"]),
    ("tuples", ["select ", "(1,", "1", ")", ""]),
    ("rows compared", ["select (1", ",1", "", "", ") < (1)"]),
    ("in", ["select ", "1 in (", "1", ")", ""]),
    ("in query", ["select ", "1 in (select ", "1", ")", ""]),
    ("exists", ["select ", "exists (select ", "1", ")", ""]),
    ("any", ["select ", "1 = any (array[", "1", "])", ""]),
    ("scalar subqueries", ["select ", "(select ", "1", ")", ""]),
    ("subqueries in FROM", ["", "select * from (", "select 1", ") t", ""]),
    ("subqueries in WHERE", ["", "select 1 where 1 in (", "select 1", ")", ""]),
    ("lateral", ["select * from ", "lateral (select * from ", "(select 1) t", ") t", ""]),
    ("queries in parentheses", ["", "(", "select 1", ")", ""]),
    ("values in values", ["", "values ((", "select 1", "))", ""]),
    ("with in with", ["", "with t as (", "select 1", ") select * from t", ""]),
    ("odbc", ["select ", "{fn abs(", "1", ")}", ""]),
    ("intervals", ["select ", "interval ", "'1'", "", ""]),
    ("filters", ["select ", "count(*) filter (where ", "true", ")", ""]),
    ("grouping sets", ["select 1 group by ", "grouping sets (", "1", ")", ""]),
    ("nested joins", ["select 1 from ", "((select 1) t join ", "(select 1) u", " on true)", ""]),
    ("joins with ON at the end", ["select 1 from (select 1) t", " join (select 1) t{}", "", " on true", ""]),
    // What is repeated.
    ("unions", ["select 1", " union all select 1", "", "", ""]),
    ("distinct unions", ["select 1", " union select 1", "", "", ""]),
    ("excepts", ["select 1", " except select 1", "", "", ""]),
    ("intersects", ["select 1", " intersect select 1", "", "", ""]),
    ("unions to the right", ["", "select 1 union all (", "select 1", ")", ""]),
    ("joins", ["select 1 from (select 1 x) t", " join (select 1 x) t{} on true", "", "", ""]),
    (
        "cross joins",
        ["select count(*) from pg_am t", " cross join (select * from pg_class limit 1) t{}", "", "", ""],
    ),
    ("natural joins", ["select count(*) from (select 1 x) t", " natural join (select 1 x) t{}", "", "", ""]),
    (
        "joins by USING",
        ["select count(*) from (select 1 x) t", " join (select 1 x) t{} using(x)", "", "", ""],
    ),
    ("lateral functions", ["select 1 from (select 1) t", ",generate_series(1,1) t{}", "", "", ""]),
    ("tables", ["select 1 from (select 1) t", ",(select * from pg_class limit 1) t{}", "", "", ""]),
    ("tables of one name", ["select 1 from t", ",t", "", "", ""]),
    ("targets", ["select 1", ",1", "", "", ""]),
    ("stars", ["select *", ",*", "", "", " from pg_class"]),
    ("in list", ["select 1 in (1", ",1", "", "", ")"]),
    ("in list of a column", ["select x in (1", ",1", "", "", ") from (select 1 x) t"]),
    ("in list of kinds", ["select x in (1", ",1.5", "", "", ") from (select 1 x) t"]),
    ("not in list", ["select x not in (1", ",2", "", "", ") from (select 1 x) t"]),
    ("in list of rows", ["select (1,1) in ((1,1)", ",(1,1)", "", "", ")"]),
    ("in list with placeholders", ["select 1 in (1", ",$1", "", "", ")"]),
    ("values rows", ["select count(*) from (values (1)", ",(1)", "", "", ") t"]),
    ("values at the top", ["values (1)", ",(1)", "", "", ""]),
    ("values of text", ["select count(*) from (values ('a')", ",('a')", "", "", ") t"]),
    ("values in one row", ["values (1", ",1", "", "", ")"]),
    ("array elements", ["select array_length(array[1", ",1", "", "", "], 1)"]),
    ("order by", ["select 1 x order by x", ",x", "", "", ""]),
    ("order by expressions", ["select 1 x from (select 1 y) t order by y", ",y+{}", "", "", ""]),
    ("group by", ["select 1 x group by 1", ",1", "", "", ""]),
    ("group by expressions", ["select 1 from (select 1 y) t group by y", ",y+{}", "", "", ""]),
    ("distinct on", ["select distinct on (1", ",1", "", "", ") 1"]),
    ("function arguments", ["select coalesce(null", ",null", "", "", ")"]),
    ("named arguments", ["select f(a=>1", ",a=>1", "", "", ")"]),
    ("aggregates", ["select count(1", "+1) + count(1", "", "", ")"]),
    ("with queries", ["with t as (select 1)", ",t{} as (select 1)", "", "", " select 1"]),
    ("windows", ["select 1 window w as (order by 1", ",1", "", "", ")"]),
    ("columns of a new table", ["create table wide (a int", ",a{} int", "", "", ")"]),
    ("checks", ["create table checked (a int", ", check (a>0)", "", "", ")"]),
    ("default", ["create table deep (a int default ", "(", "1", ")", ")"]),
    ("deep check", ["create table deep (a int check (a>0", " and a>0", "", "", "))"]),
    ("default of a sum", ["create table deep (a int default 1", "+1", "", "", ")"]),
    ("identity", ["create table serials (a int generated always as ", "identity (", "", "", ")"]),
    ("insert rows", ["insert into t values (1)", ",(1)", "", "", ""]),
    ("insert columns", ["insert into t (a", ",a", "", "", ") values (1)"]),
    ("insert queries", ["insert into t select 1", " union all select 1", "", "", ""]),
    ("returning", ["insert into t values (1) returning a", ",a", "", "", ""]),
    ("assignments", ["update t set a=1", ",a=1", "", "", ""]),
    ("update by a chain", ["update t set a=1 where a=1", " or a=2", "", "", ""]),
    ("delete by a chain", ["delete from t where a=1", " and a=1", "", "", ""]),
    ("drop", ["drop table if exists x", ",x", "", "", ""]),
    ("statements", ["select 1", ";select 1", "", "", ""]),
    ("semicolons", ["select 1", ";", "", "", ""]),
    // Statements in statements.
    ("explain", ["", "explain ", "select 1", "", ""]),
    ("explain of a sum", ["explain select x", "+x", "", "", " from (select 1 x) t"]),
    ("explain of joins", ["explain select 1 from (select 1) t", " join (select 1) t{} on true", "", "", ""]),
    ("explain of unions", ["explain select 1", " union all select 1", "", "", ""]),
    ("explain analyze", ["", "explain analyze ", "select 1", "", ""]),
    ("prepare", ["", "prepare p as ", "select 1", "", ""]),
    ("declare", ["", "declare c cursor for ", "select 1", "", ""]),
    ("copy", ["", "copy (", "select 1", ") to stdout", ""]),
    ("copy of a query", ["copy (select 1", " union all select 1", "", "", ") to stdout"]),
    ("execute", ["execute p(1", ",1", "", "", ")"]),
    ("create view of a chain", ["create view v as select true x where true", " and true", "", "", ""]),
    ("create table as", ["create table made as select 1", "+1", "", "", ""]),
    ("listen", ["", "listen ", "x", "", ""]),
    ("begin", ["", "begin ", "", "", ""]),
    // Words, literals, comments.
    ("spaces", ["select 1", " ", "", "", ""]),
    ("lines", ["select 1", "\n", "", "", "+x"]),
    ("columns on one line", ["select 1 in (x", ",x", "", "", ") from (select 1 x) t"]),
    ("columns on many lines", ["select 1 in (x", ",\nx", "", "", ") from (select 1 x) t"]),
    ("comments", ["select 1 ", "/*", "", "*/", ""]),
    ("open comments", ["select 1 ", "/*", "", "", ""]),
    ("line comments", ["select 1", "--\n", "", "", ""]),
    ("a number", ["select 1", "0", "", "", ""]),
    ("a number with a point", ["select 0.", "1", "", "", ""]),
    ("a text", ["select length('", "a", "", "", "')"]),
    ("quotes in a text", ["select length('", "''", "", "", "')"]),
    ("an open text", ["select '", "a", "", "", ""]),
    ("texts in a row", ["select 'a'", "\n'a'", "", "", ""]),
    ("dollar quotes", ["select length($$", "$", "", "", "$$)"]),
    ("dollar quotes in dollar quotes", ["select ", "$a{}$", "", "", ""]),
    ("a name", ["select 1 as a", "a", "", "", ""]),
    ("a quoted name", ["select 1 as \"", "a", "", "", "\""]),
    ("an operator", ["select 1 ", "@", "", "", " 1"]),
    ("array in a text", ["select '", "{", "1", "}", "'::int[]"]),
    ("array elements in a text", ["select array_length('{1", ",1", "", "", "}'::int[], 1)"]),
    ("bounds of an array in a text", ["select '", "[1:1]", "={1}", "", "'::int[]"]),
    ("interval in a text", ["select '1 day", " 1 day", "", "", "'::interval"]),
    ("a time in a text", ["select '2000-01-01", " 00:00", "", "", "'::timestamp"]),
    ("a numeric in a text", ["select '1", "1", "", "", "'::numeric"]),
    ("a regular expression", ["select 'a' ~ '", "(", "a", ")", "'"]),
    ("repetitions of a regular expression", ["select 'a' ~ 'a", "{1,9}", "", "", "'"]),
    ("branches of a regular expression", ["select 'a' ~ 'a", "|a", "", "", "'"]),
    ("classes of a regular expression", ["select 'a' ~ '", "\\w", "", "", "'"]),
    ("a pattern", ["select 'a' like '", "%", "a", "", "'"]),
    ("a pattern of letters", ["select 'a' like '", "_%", "", "", "'"]),
    ("a format", ["select to_char(now(), '", "YYYY", "", "", "')"]),
    ("a setting", ["set application_name = '", "a", "", "", "'"]),
    ("a list of settings", ["set search_path = a", ",a", "", "", ""]),
    ("overriding", ["insert into t ", "overriding ", "values (1)", "", ""]),
    ("table", ["table t", " union all table t", "", "", ""]),
    ("for", ["select 1 ", "for no key update ", "", "", ""]),
];

/// The text of a shape, as long as fits.
fn text(parts: &[&str; 5], bytes: usize) -> String {
    let [before, open, middle, close, after] = parts;
    let around = before.len() + middle.len() + after.len();
    let each = |count: usize| {
        open.len() + close.len() + if open.contains("{}") { count.to_string().len() } else { 0 }
    };
    let count = (bytes - around) / each(100_000);
    let mut text = (*before).to_owned();
    for number in 0..count {
        if open.contains("{}") {
            text.push_str(&open.replace("{}", &number.to_string()));
        } else {
            text.push_str(open);
        }
    }
    text.push_str(middle);
    (0..count).for_each(|_| text.push_str(close));
    text.push_str(after);
    text
}

/// A number of /proc/pid/status, in bytes.
fn status_bytes(node: &Node, name: &str) -> u64 {
    let pid = node.pid().expect("the server runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process has a status");
    let line = status.lines().find(|line| line.starts_with(name)).expect("status has the line");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|field| field.parse().ok()).expect("kB");
    kib * 1024
}

/// The most memory since the last call, without what is mapped from files.
fn peak_bytes(node: &Node) -> u64 {
    let peak = status_bytes(node, "VmHWM:").saturating_sub(status_bytes(node, "RssFile:"));
    let pid = node.pid().expect("the server runs");
    fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("the peak is reset");
    peak
}

fn connect(node: &Node) -> Wire<UnixStream> {
    let stream = UnixStream::connect(node.socket()).expect("the server takes connections");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    Wire::open(stream, &[("user", "guest"), ("database", "postgres")]).expect("logs in")
}

/// Sends a text in the extended protocol: Parse, Bind, Describe, Execute, Sync.
fn extended(client: &mut Wire<UnixStream>, sql: &str) -> Result<(), WireError> {
    client.send(b'P', format!("\0{sql}\0\0\0").as_bytes())?;
    client.send(b'B', b"\0\0\0\0\0\0\0\0")?;
    client.send(b'D', b"P\0")?;
    client.send(b'E', b"\0\0\0\0\0")?;
    client.send(b'S', b"")?;
    client.until_ready().map(|_| ())
}

/// What an answer came to: None for success, else the SQLSTATE.
fn outcome(name: &str, answer: Result<(), WireError>) -> Option<String> {
    match answer {
        Ok(()) => None,
        Err(WireError::Refused(state, message)) => {
            assert!(!state.starts_with("XX"), "{name}: {state} {}", &message[..message.len().min(200)]);
            Some(state)
        }
        Err(WireError::Gone(why)) => panic!("{name}: the connection is gone: {why}"),
    }
}

#[test]
fn a_thousand_joins_hold_few_of_their_rows() {
    let node = Node::builder().setting("shared_buffers", "32MB").start();
    node.sql("CREATE ROLE guest LOGIN; GRANT CREATE ON SCHEMA public TO guest");
    let mut client = connect(&node);
    let joins: String =
        (0..1000).map(|at| format!(" natural join generate_series(1,300) t{at}(x)")).collect();
    peak_bytes(&node);
    let answer = client.query(&format!("select x from generate_series(1,300) t(x){joins} limit 1"));
    assert_eq!(answer.expect("an answer").rows, [["1"]]);
    let peak = peak_bytes(&node);
    assert!(peak < SHARED_BUFFERS_BYTES + ABOVE_BYTES_MAX, "{} MB", peak >> 20);
}

#[test]
fn a_megabyte_of_any_shape_ends_in_an_answer_or_an_error_and_takes_bounded_memory() {
    let only = std::env::var("PLIMSOLL_SHAPE").ok();
    let long_tests = std::env::var("PLIMSOLL_LONG_TESTS").is_ok_and(|value| value == "1");
    let node = Node::builder().setting("shared_buffers", "32MB").start();
    node.sql("CREATE ROLE guest LOGIN; GRANT CREATE ON SCHEMA public TO guest");
    let mut bystander = connect(&node);
    let mut failures = Vec::new();
    for (name, parts) in SHAPES.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let long = long_tests || ALWAYS_LONG.contains(name);
        let sql = text(parts, if long { TEXT_BYTES } else { SHORT_BYTES });
        let mut client = connect(&node);
        peak_bytes(&node);
        let began = Instant::now();
        let simple = outcome(name, client.query(&sql).map(|_| ()));
        let simple_took = began.elapsed();
        let parsed = outcome(name, extended(&mut client, &sql));
        let peak = peak_bytes(&node);
        println!(
            "{name}: {:.1} s, {:.1} s, {} MB, {simple:?} {parsed:?}",
            simple_took.as_secs_f64(),
            (began.elapsed() - simple_took).as_secs_f64(),
            peak >> 20
        );
        if peak > SHARED_BUFFERS_BYTES + ABOVE_BYTES_MAX {
            failures.push(format!("{name}: {} MB", peak >> 20));
        }
        // The transaction that BEGIN began, if any, is over with its session.
        drop(client);
        let others = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'guest'";
        let left = || match bystander.value(others).expect("another session goes on").as_str() {
            "1" => Ok(()),
            more => Err(more.to_owned()),
        };
        wait_until("the session has ended", Duration::from_secs(60), left);
    }
    assert_eq!(failures, Vec::<String>::new());
}

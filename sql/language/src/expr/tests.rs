//! Expressions against a table that a real PostgreSQL 15 wrote (golden/generate.sh).

use super::{
    Aggregate, AggregateCall, EvalContext, Expr, Facts, FunctionArgument, Scope, Subquery, coerce, compile,
};
use host::Timestamp;
use sql_catalogue::names::SearchPath;
use sql_interface::{Result, SqlError};
use sql_types::cast::CastContext;
use sql_types::{Datum, Style, Type, TypeId};
use sqlparser::ast;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::Span;
use sqlstate::SqlState;
use std::fmt::Write as _;

struct Session(Style);

impl Facts for Session {
    fn transaction_time(&self) -> Timestamp {
        Timestamp::from_micros(0)
    }
    fn statement_time(&self) -> Timestamp {
        Timestamp::from_micros(1)
    }
    fn clock_time(&self) -> Timestamp {
        Timestamp::from_micros(2)
    }
    fn random(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
    fn style(&self) -> &Style {
        &self.0
    }
    fn current_user(&self) -> &str {
        "alice"
    }
    fn session_user(&self) -> &str {
        "bob"
    }
    fn database(&self) -> &str {
        "ships"
    }
    fn backend_pid(&self) -> i32 {
        42
    }
    fn setting(&self, name: &str) -> Result<Option<String>> {
        Ok((name == "server_encoding").then(|| "UTF8".to_owned()))
    }
    fn set_setting(&self, _: &str, value: Option<&str>, _: bool) -> Result<String> {
        Ok(value.unwrap_or_default().to_owned())
    }
    fn relation_oid(&self, _: &SearchPath, name: &str) -> Result<Option<u32>> {
        Ok((name == "t").then_some(16_384))
    }
    fn relation_name(&self, oid: u32) -> Option<String> {
        (oid == 16_384).then(|| "t".to_owned())
    }
    fn role_name(&self, _: u32) -> Option<String> {
        None
    }
}

struct Names {
    session: Session,
    columns: Vec<(&'static str, TypeId)>,
    parameters: Vec<Option<Type>>,
    aggregates: Vec<AggregateCall>,
}

impl Names {
    fn new() -> Self {
        let zone = jiff::tz::TimeZone::get("America/New_York").unwrap();
        Self {
            session: Session(Style { zone, ..Style::default() }),
            columns: vec![
                ("a", TypeId::Int4),
                ("b", TypeId::Text),
                ("c", TypeId::Numeric),
                ("v", TypeId::Varchar),
            ],
            parameters: vec![None; 3],
            aggregates: Vec::new(),
        }
    }
}

impl Scope for Names {
    fn column(&mut self, name: &[ast::Ident]) -> Result<Expr> {
        let wanted = &name.last().unwrap().value;
        let at = self.columns.iter().position(|(name, _)| name == wanted);
        let missing =
            || SqlError::new(SqlState::UNDEFINED_COLUMN, format!("column \"{wanted}\" does not exist"));
        let index = at.ok_or_else(missing)?;
        Ok(Expr::Column { index, ty: Type::of(self.columns[index].1) })
    }
    fn parameter(&mut self, number: usize) -> Result<Expr> {
        Ok(Expr::Param {
            index: number - 1,
            ty: self.parameters[number - 1].unwrap_or(Type::of(TypeId::Unknown)),
        })
    }
    fn determine_parameter(&mut self, index: usize, ty: Type) -> Result<()> {
        self.parameters[index] = Some(ty);
        Ok(())
    }
    fn subquery(&mut self, _: Subquery<'_>) -> Result<Expr> {
        Err(SqlError::unsupported("a subquery"))
    }
    fn aggregate(&mut self, call: AggregateCall) -> Result<Expr> {
        let ty = call.aggregate.ty();
        self.aggregates.push(call);
        Ok(Expr::Aggregate { index: self.aggregates.len() - 1, ty })
    }
    fn function(&mut self, _: &ast::Function, _: Vec<FunctionArgument>) -> Result<Option<Expr>> {
        Ok(None)
    }
    fn position(&self, _: Span) -> Option<u32> {
        None
    }
    fn facts(&self) -> &dyn Facts {
        &self.session
    }
}

fn parse(text: &str) -> ast::Expr {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(text).unwrap().parse_expr().unwrap()
}

fn compiled(text: &str, names: &mut Names) -> Result<Expr> {
    let parsed = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(text)
        .and_then(|mut parser| parser.parse_expr())
        .map_err(|error| SqlError::syntax(error.to_string()))?;
    compile(&parsed, names)
}

fn eval(expr: &Expr, names: &Names, row: &[Datum], params: &[Datum]) -> Result<Datum> {
    expr.eval(&EvalContext { row, outer: &[], params, deferred: &[], facts: &names.session, replay: None })
}

/// Type and text of a constant expression; a string nobody gave a type is text, as in a SELECT list.
fn outcome(text: &str) -> Result<(String, Option<String>)> {
    let mut names = Names::new();
    let mut expr = compiled(text, &mut names)?;
    if expr.ty().id == TypeId::Unknown {
        expr = coerce(expr, Type::of(TypeId::Text), CastContext::Implicit, &mut names)?;
    }
    let value = eval(&expr, &names, &[], &[])?;
    Ok((expr.ty().id.sql_name().to_owned(), value.to_text(names.session.style())))
}

fn unescape(field: &str) -> Option<String> {
    (field != "\\N").then(|| field.replace("\\n", "\n").replace("\\t", "\t").replace("\\\\", "\\"))
}

/// Where the SQLSTATE is PostgreSQL's and the words are ours.
fn same_words(ours: &str, theirs: &str) -> bool {
    ours == theirs || theirs.starts_with("invalid regular expression") || theirs.contains("syntax error")
}

#[test]
fn every_expression_has_the_type_and_value_that_postgresql_gives_it() {
    let mut wrong = String::new();
    for line in include_str!("golden/expressions.tsv").lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [expression, state, about, printed] = fields.as_slice() else { panic!("four fields: {line}") };
        let expression = unescape(expression).unwrap();
        let (about, printed) = (unescape(about).unwrap(), unescape(printed));
        let note = match (outcome(&expression), *state) {
            (Ok((ty, text)), "ok") if ty == about && text == printed => continue,
            (Ok((ty, text)), "ok") => format!("is {ty} {text:?}, expected {about} {printed:?}"),
            (Ok((ty, text)), state) => format!("is {ty} {text:?}, expected {state} {about}"),
            (Err(error), "ok") => format!("fails with {error}, expected {about} {printed:?}"),
            (Err(error), state) if error.code().as_str() == state && same_words(error.message(), &about) => {
                continue;
            }
            (Err(error), state) => format!("fails with {error}, expected {state} {about}"),
        };
        let _ = writeln!(wrong, "{expression}  ->  {note}");
    }
    assert!(wrong.is_empty(), "differences:\n{wrong}");
}

fn row() -> Vec<Datum> {
    vec![Datum::Int4(7), Datum::text("seven"), Datum::Null, Datum::text("var")]
}

fn over_row(text: &str) -> Datum {
    let mut names = Names::new();
    let expr = compiled(text, &mut names).unwrap();
    eval(&expr, &names, &row(), &[]).unwrap()
}

#[test]
fn columns_are_read_by_their_place() {
    assert_eq!(over_row("a + 1"), Datum::Int4(8));
    assert_eq!(over_row("b || '-' || a"), Datum::text("seven-7"));
    assert!(over_row("c + 1").is_null());
    assert_eq!(over_row("c IS NULL AND a IN (1, 7)"), Datum::Bool(true));
    assert_eq!(over_row("v = 'var' AND v LIKE 'v%'"), Datum::Bool(true));
    assert_eq!(over_row("a BETWEEN 7 AND 7"), Datum::Bool(true));
}

#[test]
fn parameters_take_the_type_that_their_place_needs() {
    for (text, expected) in [
        ("a = $1", TypeId::Int4),
        ("$1 < c", TypeId::Numeric),
        ("a + $1", TypeId::Int4),
        ("b LIKE $1", TypeId::Text),
        ("v = $1", TypeId::Text),
        ("$1::int8", TypeId::Int8),
        ("a IN (1, $1)", TypeId::Int4),
        ("a = ANY($1)", TypeId::Int4Array),
        ("coalesce($1, a)", TypeId::Int4),
        ("lower($1)", TypeId::Text),
        ("now() + $1", TypeId::Interval),
        ("CASE WHEN true THEN c ELSE $1 END", TypeId::Numeric),
        ("$1 AND true", TypeId::Bool),
        ("CAST($1 AS varchar(3))", TypeId::Varchar),
    ] {
        let mut names = Names::new();
        compiled(text, &mut names).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(names.parameters[0].map(|ty| ty.id), Some(expected), "{text}");
    }
}

#[test]
fn a_key_comparison_stays_a_plain_one_over_the_column() {
    let mut names = Names::new();
    for text in ["a = 5", "a = $1", "b = 'x'", "v = 'x'", "a = '5'"] {
        let expr = compiled(text, &mut names).unwrap();
        let (_, left, right) = expr.as_comparison().unwrap();
        assert!(matches!(left, Expr::Column { .. }), "{text}: {left:?}");
        assert!(matches!(right, Expr::Const(..) | Expr::Param { .. }), "{text}: {right:?}");
    }
    for text in ["a IN (1, 2)", "v IN ('x', 'y')", "a = ANY('{1,2}')", "a = ANY(ARRAY[1, 2])"] {
        let expr = compiled(text, &mut names).unwrap();
        let (tested, list) = expr.as_in_list().unwrap_or_else(|| panic!("{text}: {expr:?}"));
        assert!(matches!(tested, Expr::Column { .. }) && list.len() == 2, "{text}");
        assert!(list.iter().all(|item| item.ty().id == tested.ty().id), "{text}");
    }
}

#[test]
fn what_cannot_change_is_computed_once() {
    let mut names = Names::new();
    for text in [
        "1 + 2 * 3",
        "lower('ABC')",
        "'5'::int4 + 1",
        "CASE WHEN 1 = 1 THEN 1 ELSE 1 / 0 END",
        "coalesce(1, 1 / 0)",
        "1 IN (1, 2)",
    ] {
        assert!(compiled(text, &mut names).unwrap().as_const().is_some(), "{text}");
    }
    // Whoever judges grouping must see all columns that are named.
    let named = ["CASE WHEN 1 = 1 THEN 'x' ELSE b END", "coalesce(1, a)"];
    for text in ["random()", "now()", "1 / 0", "now()::text", "a + 1"].into_iter().chain(named) {
        assert!(compiled(text, &mut names).unwrap().as_const().is_none(), "{text}");
    }
    assert!(compiled("1 + random()", &mut names).unwrap().is_volatile());
    assert!(!compiled("1 + a", &mut names).unwrap().is_volatile());
}

#[test]
fn a_division_by_zero_that_is_not_reached_does_no_harm() {
    assert_eq!(over_row("CASE WHEN a = 0 THEN 1 / 0 ELSE 1 END"), Datum::Int4(1));
    assert_eq!(over_row("a = 7 OR 1 / 0 = 1"), Datum::Bool(true));
    assert_eq!(over_row("coalesce(a, 1 / 0)"), Datum::Int4(7));
}

#[test]
fn deep_nesting_is_an_error_and_long_chains_are_not() {
    let mut names = Names::new();
    let chain = format!("a = 1{}", " OR a = 2".repeat(5000));
    assert!(matches!(compiled(&chain, &mut names).unwrap(), Expr::Or(parts) if parts.len() == 5001));
    let sum = parse(&format!("a{}", " + 1".repeat(3000)));
    assert_eq!(compile(&sum, &mut names).unwrap_err().code(), SqlState::STATEMENT_TOO_COMPLEX);
}

/// Type and text of an aggregate over values of a type, as SELECT f(x) FROM unnest(...) has them.
fn aggregate(name: &str, id: TypeId, values: &[&str]) -> (String, Option<String>) {
    let style = Style::default();
    let (aggregate, wanted) = Aggregate::resolve(name, &[id]).unwrap().unwrap();
    let mut state = aggregate.start();
    for value in values {
        let read =
            if *value == "NULL" { Ok(Datum::Null) } else { Datum::parse(Type::of(wanted[0]), value, &style) };
        state.add(&[read.unwrap()]).unwrap();
    }
    (aggregate.ty().id.sql_name().to_owned(), state.finish().unwrap().to_text(&style))
}

#[test]
fn aggregates_have_postgresqls_types_and_scales() {
    let integers = ["1", "2", "4", "NULL"];
    // SELECT f(x) FROM unnest('{1,2,4,NULL}'::type[]) x, on PostgreSQL 15.
    for (name, id, values, ty, text) in [
        ("count", TypeId::Int4, &integers[..], "bigint", Some("3")),
        ("sum", TypeId::Int4, &integers, "bigint", Some("7")),
        ("sum", TypeId::Int8, &integers, "numeric", Some("7")),
        ("sum", TypeId::Numeric, &["1.5", "2.25"], "numeric", Some("3.75")),
        ("sum", TypeId::Float8, &["0.1", "0.2"], "double precision", Some("0.30000000000000004")),
        ("sum", TypeId::Int4, &["NULL"], "bigint", None),
        ("avg", TypeId::Int4, &integers, "numeric", Some("2.3333333333333333")),
        ("avg", TypeId::Int4, &["2", "4"], "numeric", Some("3.0000000000000000")),
        ("avg", TypeId::Numeric, &["1.5", "2.25"], "numeric", Some("1.8750000000000000")),
        ("avg", TypeId::Float8, &["1", "2"], "double precision", Some("1.5")),
        ("avg", TypeId::Interval, &["1 day", "2 hours"], "interval", Some("13:00:00")),
        ("min", TypeId::Varchar, &["b", "a"], "text", Some("a")),
        ("max", TypeId::Int4, &integers, "integer", Some("4")),
        ("max", TypeId::Int4, &[], "integer", None),
        ("bool_and", TypeId::Bool, &["t", "f"], "boolean", Some("f")),
        ("bool_or", TypeId::Bool, &["t", "f"], "boolean", Some("t")),
        ("array_agg", TypeId::Int4, &integers, "integer[]", Some("{1,2,4,NULL}")),
        ("stddev", TypeId::Int4, &integers, "numeric", Some("1.5275252316519467")),
        ("var_pop", TypeId::Float8, &["1", "2", "4"], "double precision", Some("1.5555555555555556")),
    ] {
        let expected = (ty.to_owned(), text.map(str::to_owned));
        assert_eq!(aggregate(name, id, values), expected, "{name} of {id:?}");
    }
}

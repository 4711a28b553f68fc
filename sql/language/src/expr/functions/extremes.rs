//! All functions over extreme values: none panics, and what is called immutable asks nothing of the session.

use super::{Function, Parameter, all};
use crate::expr::Facts;
use sql_catalogue::names::SearchPath;
use sql_interface::{Result, SqlError};
use sql_types::{ByteaOutput, DateOrder, Datum, IntervalStyle, Style, Type, TypeId};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls of one function.
const CALLS_MAX: usize = 3000;

struct Session(Style);

impl Facts for Session {
    fn transaction_time(&self) -> host::Timestamp {
        host::Timestamp::default()
    }
    fn statement_time(&self) -> host::Timestamp {
        host::Timestamp::default()
    }
    fn clock_time(&self) -> host::Timestamp {
        host::Timestamp::default()
    }
    fn random(&self, _: &mut [u8]) {}
    fn style(&self) -> &Style {
        &self.0
    }
    fn current_user(&self) -> &str {
        "role"
    }
    fn session_user(&self) -> &str {
        "role"
    }
    fn database(&self) -> &str {
        "database"
    }
    fn backend_pid(&self) -> i32 {
        1
    }
    fn setting(&self, _: &str) -> Result<Option<String>> {
        Ok(None)
    }
    fn set_setting(&self, _: &str, _: Option<&str>, _: bool) -> Result<String> {
        Err(SqlError::internal("no setting"))
    }
    fn relation_oid(&self, _: &SearchPath, _: &str) -> Result<Option<u32>> {
        Ok(None)
    }
    fn relation_name(&self, _: u32) -> Option<String> {
        None
    }
    fn role_name(&self, _: u32) -> Option<String> {
        None
    }
}

fn texts(id: TypeId) -> &'static [&'static str] {
    use TypeId as T;
    match id {
        T::Bool => &["t", "f"],
        T::Int2 => &["0", "-1", "32767", "-32768"],
        T::Int4 => &["0", "1", "-1", "2147483647", "-2147483648"],
        T::Int8 => &["0", "-1", "9223372036854775807", "-9223372036854775808"],
        T::Float4 => &["0", "1", "-1e38", "3e38", "1e-45", "NaN", "Infinity", "-Infinity"],
        T::Float8 => {
            &["0", "1", "-1", "9007199254740993", "1e308", "-1e308", "5e-324", "NaN", "Infinity", "-Infinity"]
        }
        T::Numeric => &["0", "1", "-1", "0.5", "1e300", "-1e300", "1e-300", "NaN", "Infinity", "-Infinity"],
        T::Date => {
            &["2000-01-01", "4713-01-01 BC", "5874897-12-31", "infinity", "-infinity", "0001-01-01 BC"]
        }
        T::Time => &["00:00", "24:00", "23:59:59.999999"],
        T::Timestamp | T::Timestamptz => &[
            "2000-01-01",
            "4713-11-25 BC",
            "294276-12-31 23:59:59",
            "infinity",
            "-infinity",
            "0001-01-01 BC",
        ],
        T::Interval => &[
            "0",
            "-1 mon 1 day",
            "178000000 years",
            "-178000000 years",
            "2147483647 days",
            "-2147483648 days",
            "2562047788 hours",
            "-2562047788 hours",
        ],
        T::Bytea => &["", "\\x00", "\\xff00ff"],
        T::Uuid => &["00000000-0000-0000-0000-000000000000"],
        T::Oid => &["0", "4294967295"],
        T::Lsn => &["0/0", "FFFFFFFF/FFFFFFFF"],
        T::Xid8 => &["3", "18446744073709551615"],
        T::Xid => &["3", "4294967295"],
        T::Inet => &["0.0.0.0", "255.255.255.255/32", "::1"],
        id if id.element().is_some() => &["{}", "{NULL}", "{1}", "[-2147483648:-2147483647]={1,2}"],
        _ => &["", "a", "é€", "year", "UTC", "%1$s", "YYYY-MM-DD HH24:MI:SS.US", "(", "\\", "-1"],
    }
}

/// What is tried for a parameter.
fn values(parameter: Parameter) -> Vec<Datum> {
    let ids: &[TypeId] = match parameter {
        Parameter::Is(id) => &[id],
        Parameter::Any => &[TypeId::Int4, TypeId::Text, TypeId::Interval],
        Parameter::AnyArray => &[TypeId::Int4Array, TypeId::TextArray],
    };
    let read = |id: &TypeId| {
        let of = Type::of(*id);
        texts(*id).iter().filter_map(move |text| Datum::parse(of, text, &Style::default()).ok()).collect()
    };
    ids.iter().flat_map(read as fn(&TypeId) -> Vec<Datum>).collect()
}

/// All combinations of arguments, or an even choice of so many.
fn calls(function: &Function) -> Vec<Vec<Datum>> {
    let choices: Vec<Vec<Datum>> = function.parameters.iter().map(|parameter| values(*parameter)).collect();
    if choices.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let total: usize = choices.iter().map(Vec::len).product();
    let step = total.div_ceil(CALLS_MAX).max(1);
    (0..total)
        .step_by(step)
        .map(|mut number| {
            let pick = |choice: &Vec<Datum>| {
                let value = choice[number % choice.len()].clone();
                number /= choice.len();
                value
            };
            choices.iter().map(pick).collect()
        })
        .collect()
}

/// Those that wait, or that fill memory with what they are asked for.
fn is_left_out(name: &str) -> bool {
    matches!(name, "repeat" | "lpad" | "rpad" | "array_fill" | "pg_sleep")
}

#[test]
fn no_function_panics_over_extreme_values_and_immutable_ones_ask_nothing_of_the_session() {
    let plain = Session(Style::default());
    let other = Session(Style {
        zone: sql_types::time::parse_zone("Europe/Berlin").expect("a zone").zone,
        date_order: DateOrder::Dmy,
        bytea_output: ByteaOutput::Escape,
        interval_style: IntervalStyle::Iso8601,
        array_nulls: false,
        extra_float_digits: 0,
        now_micros: 1,
    });
    let mut wrong = Vec::new();
    for function in all().values().flatten().filter(|function| !is_left_out(function.name)) {
        for arguments in calls(function) {
            let call = |session: &Session| {
                let value = catch_unwind(AssertUnwindSafe(|| {
                    function.compute(TypeId::Int4Array, &arguments, session)
                }));
                value.map(|value| value.ok().map(|value| value.to_text(&plain.0)))
            };
            match (call(&plain), call(&other)) {
                (Ok(one), Ok(two)) if !function.is_immutable() || one == two => {}
                (Ok(_), Ok(_)) => wrong.push(format!("{function:?} asks the session: {arguments:?}")),
                _ => wrong.push(format!("{function:?} panics: {arguments:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! Texts that values are read from and written to, against what PostgreSQL 15 answers with
//! `SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'`. An error is told by its SQLSTATE.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use sql_types::time::{self, IntervalFields};
use sql_types::{Datum, IntervalStyle, Result, Style, Type, TypeId};

type Expected = std::result::Result<&'static str, &'static str>;

fn read(id: TypeId, text: &str) -> Result<Datum> {
    Datum::parse(Type::of(id), text, &Style::default())
}

fn timestamp(text: &str) -> i64 {
    match read(TypeId::Timestamp, text) {
        Ok(Datum::Timestamp(micros)) => micros,
        other => panic!("{text} is no timestamp: {other:?}"),
    }
}

fn shown(value: &Datum) -> String {
    value.to_text(&Style::default()).unwrap_or_default()
}

fn assert_answer(found: Result<Datum>, expected: Expected, asked: &str) {
    let found = found.map(|value| shown(&value)).map_err(|error| error.state().as_str().to_owned());
    assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{asked}");
}

/// `SELECT to_char(timestamp '...', '...')`
#[test]
fn to_char_writes_what_the_template_says() {
    for (value, template, expected) in [
        ("2024-05-03 04:05:06.078", "[TMMonth][TMDay][TMmon][tmdy][TMRM]", "[May][Friday][may][fri][V   ]"),
        ("2024-05-03 04:05:06.078", "[Month][DAY][Dy][rm]", "[May      ][FRIDAY   ][Fri][v   ]"),
        (
            "2024-05-03 04:05:06.078",
            "FMMS FMUS FMFF1 FMFF2 FMFF3 FMFF4 FMFF5 FMFF6",
            "078 078000 0 07 078 0780 07800 078000",
        ),
        (
            "2024-05-03 04:05:06.078",
            "MonthTH|Dayth|AMTH|RMth|ADTH|TZTH|OFTH",
            "May      |Friday   |AM|V   |AD||+00",
        ),
        ("2024-05-03 04:05:06.078", "FXYYYY fxMM", "2024 05"),
        (
            "2024-05-03 04:05:06.078",
            "YYYYSP DDth Dth MSTH Y,YYYth JTH",
            "2024 03rd 6th 078TH 2,024th 2460434TH",
        ),
        ("2024-05-03 04:05:06.078", "FMMM FM MM FMTMMonth TMFMMonth", "5  05 T05onth F05onth"),
        ("2024-05-03 04:05:06.078", "Ddd Yyyy Hh24 MOnth Ssss", "603 4024 Hh24 MOnth S06s"),
        ("2024-05-03 04:05:06.078", "\"a\\\"b\"\\\"c\"d\\e\"\\x", "a\"b\"cde\\x"),
        (
            "0044-03-15 BC",
            "IYYY IYY IY I BC IW YYYY YYY YY Y Y,YYY CC FMCC CCth",
            "0044 044 44 4 BC 11 0044 044 44 4 0,044 -01 -1 -01st",
        ),
        ("0001-01-01", "Y,YYYTH CC", "0,001ST 01"),
    ] {
        assert_eq!(time::to_char(timestamp(value), None, template), expected, "{template}");
    }
}

/// `SELECT to_timestamp('...', '...')::timestamp`
#[test]
fn to_timestamp_reads_what_the_template_says() {
    let answers: &[(&str, &str, Expected)] = &[
        ("-44-02-01", "YYYY-MM-DD", Ok("0044-02-01 00:00:00 BC")),
        ("-44-02-01 BC", "YYYY-MM-DD BC", Ok("0044-02-01 00:00:00")),
        ("44-02-01 BC", "YYYY-MM-DD BC", Ok("0044-02-01 00:00:00 BC")),
        ("-1 060", "YYYY DDD", Err("22007")),
        ("-5", "YY", Ok("1995-01-01 00:00:00")),
        ("2000 53 7", "IYYY IW ID", Ok("2001-01-07 00:00:00")),
        ("2015 366", "IYYY IDDD", Ok("2015-12-29 00:00:00")),
        ("2020 10", "YYYY WW", Ok("2020-03-04 00:00:00")),
        ("2020 02 3", "YYYY MM W", Ok("2020-02-15 00:00:00")),
        ("21 00", "CC YY", Ok("2100-01-01 00:00:00")),
        ("6 99 BC", "CC YY BC", Ok("0599-01-01 00:00:00 BC")),
        ("6 BC", "CC BC", Ok("0600-01-01 00:00:00 BC")),
        ("2451545", "J", Ok("2000-01-01 00:00:00")),
        ("2,024-03", "Y,YYY-MM", Ok("2024-03-01 00:00:00")),
        ("2024 viii", "YYYY RM", Ok("2024-08-01 00:00:00")),
        ("2024 366", "YYYY DDD", Ok("2024-12-31 00:00:00")),
        ("2023 366", "YYYY DDD", Err("22008")),
        ("2024 10", "YYYY IW", Err("22007")),
        ("12.3456", "SS.FF3", Ok("0001-01-01 00:00:12.346 BC")),
        ("12.5", "SS.FF1", Ok("0001-01-01 00:00:12.5 BC")),
        ("59123", "SSFF3", Ok("0001-01-01 00:00:59.123 BC")),
        (" 520.1", "FX YY.MM", Ok("1520-01-01 00:00:00")),
        ("2024   05", "FXYYYY MM", Ok("2024-05-01 00:00:00")),
        ("2024 1", "FXYYYY MM", Ok("2024-01-01 00:00:00")),
        ("2024xx05", "FXYYYY MM", Err("22007")),
        ("1  5", "FXSSMI", Err("22007")),
        ("24 24", "YY YY", Err("22007")),
        ("PM AM 11", "PM AM HH", Err("22007")),
        ("5th may", "FMDDth month", Ok("0001-05-05 00:00:00 BC")),
        ("2024-01-01 CET", "YYYY-MM-DD TZ", Err("0A000")),
    ];
    for (text, template, expected) in answers {
        let found = time::timestamp_from_text(text, template).map(Datum::Timestamp);
        assert_answer(found, *expected, &format!("{text:?} in {template:?}"));
    }
}

/// PostgreSQL takes these two. Here they are refused, and never skipped.
#[test]
fn a_zone_in_the_template_of_to_timestamp_is_refused() {
    for template in ["YYYY-MM-DD TZH", "YYYY-MM-DD TZM"] {
        let found = time::timestamp_from_text("2024-01-01 02", template).map(Datum::Timestamp);
        assert_answer(found, Err("0A000"), template);
    }
}

/// `SELECT interval '...' HOUR` and so on.
#[test]
fn numbers_without_a_unit_count_the_last_field_of_an_interval() {
    let answers: &[(IntervalFields, &str, Expected)] = &[
        (IntervalFields::Hour, "@ 5", Ok("05:00:00")),
        (IntervalFields::Minute, "@ 5", Ok("00:05:00")),
        (IntervalFields::Month, " 5 ", Ok("5 mons")),
        (IntervalFields::Day, "5 @", Ok("5 days")),
        (IntervalFields::Year, "[5]", Ok("5 years")),
        (IntervalFields::Hour, "5 6", Ok("5 days 06:00:00")),
        (IntervalFields::DayToHour, "1 5", Ok("1 day 05:00:00")),
        (IntervalFields::Day, "1 2", Err("22007")),
        (IntervalFields::MinuteToSecond, "5:06", Ok("00:05:06")),
        (IntervalFields::HourToMinute, "5:06", Ok("05:06:00")),
        (IntervalFields::DayToMinute, "1 5:06", Ok("1 day 05:06:00")),
        (IntervalFields::YearToMonth, "5-3", Ok("5 years 3 mons")),
        (IntervalFields::Year, "5-3", Ok("5 years")),
        (IntervalFields::Hour, "5 days 06:07:08", Ok("5 days 06:00:00")),
        (IntervalFields::Day, "5 days 06:07:08", Ok("5 days")),
        (IntervalFields::Month, "1 year 5 days", Ok("1 year")),
        (IntervalFields::Second, "1 hour 2.5", Ok("01:00:02.5")),
        (IntervalFields::Hour, "-5", Ok("-05:00:00")),
        (IntervalFields::Hour, "5 ago", Err("22007")),
        (IntervalFields::Hour, "99999999999", Err("22015")),
        (IntervalFields::Hour, "5.min", Err("22007")),
    ];
    for (fields, text, expected) in answers {
        let found = time::parse_interval_of(IntervalStyle::Postgres, Some(*fields), text);
        assert_answer(found.map(Datum::Interval), *expected, &format!("{text:?} {fields:?}"));
    }
}

/// `SELECT '...'::regtype`
#[test]
fn regtype_reads_names_as_the_grammar_has_them() {
    let answers: &[(&str, Expected)] = &[
        ("float", Ok("double precision")),
        ("float(1)", Ok("real")),
        ("float(24)", Ok("real")),
        ("float ( 25 )", Ok("double precision")),
        ("float(53)[]", Ok("double precision[]")),
        ("float(0)", Err("22023")),
        ("float(54)", Err("22023")),
        ("float(a)", Err("42601")),
        ("float()", Err("42601")),
        ("nchar", Ok("character")),
        ("nchar(3)", Ok("character")),
        ("NATIONAL character", Ok("character")),
        ("national char varying(3)", Ok("character varying")),
        ("char varying", Ok("character varying")),
        ("national", Err("42601")),
        ("\"int4\"[]", Ok("integer[]")),
        ("\"int\"", Err("42704")),
        ("int[3][]", Ok("integer[]")),
        ("int array[3]", Ok("integer[]")),
        ("pg_catalog.int4", Ok("integer")),
        ("pg_catalog.integer", Err("42704")),
        ("real(3)", Err("42601")),
        ("text(3)", Err("42601")),
        ("varchar(0)", Err("22023")),
        ("numeric(2000)", Err("22023")),
        ("numeric(3,-2)", Ok("numeric")),
        ("numeric(a)", Err("22P02")),
        ("_varchar(3)", Ok("character varying[]")),
        ("timestamp(3) with time zone", Ok("timestamp with time zone")),
        ("time(3) without time zone", Ok("time without time zone")),
        ("interval day to second(2)", Ok("interval")),
        ("interval year to day", Err("42601")),
        ("setof int", Err("42601")),
        ("void[]", Err("42704")),
        ("any", Err("42601")),
        ("\"any\"", Ok("\"any\"")),
        ("-", Ok("-")),
        ("26", Ok("oid")),
        ("", Err("42601")),
        ("int int", Err("42601")),
        ("\"int", Err("42601")),
    ];
    for (text, expected) in answers {
        assert_answer(read(TypeId::Regtype, text), *expected, text);
    }
}

#[test]
fn names_of_types_that_are_not_here_are_refused_as_such() {
    for text in [
        "bit",
        "bit varying(3)",
        "varbit",
        "json",
        "jsonb[]",
        "_xml",
        "time(3) with time zone",
        "pg_catalog.box",
    ] {
        assert_answer(read(TypeId::Regtype, text), Err("0A000"), text);
    }
}

/// `SELECT '...'::float8`
#[test]
fn floats_are_rounded_when_read_and_shortest_when_written() {
    let answers: &[(&str, &str, Expected)] = &[
        ("0x1p3", "float8", Ok("8")),
        ("-0x1.8p-1", "float8", Ok("-0.75")),
        ("0xA", "float4", Ok("10")),
        ("0x.8", "float8", Ok("0.5")),
        ("0xAp", "float8", Err("22P02")),
        ("0x", "float8", Err("22P02")),
        ("0x1p1023", "float8", Ok("8.98846567431158e+307")),
        ("0x1p1024", "float8", Err("22003")),
        ("0x1p99999999999", "float8", Err("22003")),
        ("0x0p99999999999", "float8", Ok("0")),
        ("0x1p-1074", "float8", Ok("5e-324")),
        ("0x1.8p-1075", "float8", Ok("5e-324")),
        ("0x1p-1075", "float8", Err("22003")),
        ("0x1.00000000000008p0", "float8", Ok("1")),
        ("0x1.00000000000008000000000001p0", "float8", Ok("1.0000000000000002")),
        ("0x1.000001p0", "float4", Ok("1")),
        ("0x1.0000010000001p0", "float4", Ok("1.0000001")),
        ("0x1.ffffffp127", "float4", Err("22003")),
        ("0x1p-149", "float4", Ok("1e-45")),
        ("nan(1)", "float8", Ok("NaN")),
        ("nan(-)", "float8", Err("22P02")),
        ("0x71492209B4bc01", "float8", Ok("3.1887082908859392e+16")),
        ("1198873061634800.25", "float8", Ok("1.1988730616348002e+15")),
        ("0.00244140625", "float4", Ok("0.0024414062")),
        ("403718208", "float4", Ok("4.037182e+08")),
        ("1e23", "float8", Ok("9.999999999999999e+22")),
        ("9007199254740993", "float8", Ok("9.007199254740992e+15")),
        ("5.684341886080802e-14", "float8", Ok("5.684341886080802e-14")),
        ("65874958559977616", "float8", Ok("6.5874958559977616e+16")),
    ];
    for (text, name, expected) in answers {
        assert_answer(read(TypeId::from_name(name).unwrap(), text), *expected, text);
    }
}

/// `SELECT '...'::timestamp`
#[test]
fn a_date_in_one_field_stands_behind_nothing_but_a_zone() {
    let answers: &[(&str, &str, Expected)] = &[
        ("10:00 MSK", "time", Ok("10:00:00")),
        ("10:00 Europe/Moscow", "time", Err("22007")),
        ("10:00 Etc/GMT+3", "time", Ok("10:00:00")),
        ("2012-01-01 10:00 MSK DST", "timestamp", Err("22007")),
        ("10:00 2012-01-01", "timestamp", Err("22007")),
        ("10:00 2012.001", "timestamp", Err("22007")),
        ("Mon 2012-01-01", "date", Err("22007")),
        ("BC 0044-01-01", "date", Err("22007")),
        ("CET 2012-01-01 10:00", "timestamp", Ok("2012-01-01 10:00:00")),
        ("10:00 Jan 1 2012", "timestamp", Ok("2012-01-01 10:00:00")),
        ("EST5EDT 2012-01-01", "timestamp", Err("22007")),
        ("2012-01-01 PM", "timestamp", Ok("2012-01-01 12:00:00")),
        ("2012-01-01 10:00 allballs", "timestamp", Err("22007")),
        ("2012-01-01 T", "timestamp", Err("22007")),
        ("2012-01-01 T10:00", "timestamp", Ok("2012-01-01 10:00:00")),
        ("2000.Jan.05", "timestamp", Ok("2000-01-05 00:00:00")),
    ];
    for (text, name, expected) in answers {
        assert_answer(read(TypeId::from_name(name).unwrap(), text), *expected, text);
    }
}

/// `SELECT timestamp '...' AT TIME ZONE '...', timestamptz '...+00' AT TIME ZONE '...'`
#[test]
fn abbreviations_mean_what_their_zone_had_for_them_then() {
    for (value, abbreviation, expected) in [
        ("1850-01-01", "MSK", "1849-12-31 21:00:00 1850-01-01 03:00:00"),
        ("1990-07-15", "MSK", "1990-07-14 21:00:00 1990-07-15 03:00:00"),
        ("2010-01-01", "MSK", "2009-12-31 21:00:00 2010-01-01 03:00:00"),
        ("2012-01-01", "msk", "2011-12-31 20:00:00 2012-01-01 04:00:00"),
        ("2015-01-01", "MSK", "2014-12-31 21:00:00 2015-01-01 03:00:00"),
        ("2050-01-01", "MSK", "2049-12-31 21:00:00 2050-01-01 03:00:00"),
        ("1990-07-15", "VOLT", "1990-07-14 20:00:00 1990-07-15 04:00:00"),
        ("1970-07-15", "SGT", "1970-07-14 16:30:00 1970-07-15 07:30:00"),
        ("1990-07-15", "CLT", "1990-07-15 04:00:00 1990-07-14 20:00:00"),
        ("2010-01-15", "VET", "2010-01-15 04:30:00 2010-01-14 19:30:00"),
        ("1990-01-15", "CET", "1990-01-14 23:00:00 1990-01-15 01:00:00"),
    ] {
        let (micros, zone) = (timestamp(value), time::named_zone(abbreviation).unwrap().zone);
        let utc = time::timestamp_to_timestamptz(micros, &zone).unwrap();
        let local = time::timestamptz_to_timestamp(micros, &zone).unwrap();
        let found = format!("{} {}", shown(&Datum::Timestamp(utc)), shown(&Datum::Timestamp(local)));
        assert_eq!(found, expected, "{value} {abbreviation}");
    }
}

/// As PostgreSQL 15 reads them.
#[test]
fn a_time_without_colons_may_lead_past_its_hour_and_may_have_its_zone_behind_it() {
    let table: &[(TypeId, &str, Expected)] = &[
        (TypeId::Timestamp, "2020-01-14 236000", Ok("2020-01-15 00:00:00")),
        (TypeId::Timestamp, "2020-01-14 2460", Ok("2020-01-15 01:00:00")),
        (TypeId::Timestamp, "2020-01-14 235960.7", Ok("2020-01-15 00:00:00.7")),
        (TypeId::Timestamp, "2020-01-14 999999", Ok("2020-01-18 04:40:39")),
        (TypeId::Date, "2020-01-14 2460", Ok("2020-01-14")),
        (TypeId::Timestamp, "2020-01-14 130000 pm", Err("22008")),
        (TypeId::Timestamp, "2020-01-14 24:00:01", Err("22008")),
        (TypeId::Timestamptz, "20200114T010203-05", Ok("2020-01-14 06:02:03+00")),
        (TypeId::Timestamptz, "2020-01-14 010203.5-05:30", Ok("2020-01-14 06:32:03.5+00")),
        (TypeId::Timestamptz, "+02 2020-01-01", Ok("2019-12-31 22:00:00+00")),
        (TypeId::Timestamptz, "2020-01-14 010203-Foo", Err("22007")),
        (TypeId::Timestamp, "236000 2020-01-14", Err("22007")),
        (TypeId::Time, "2460", Err("22008")),
        (TypeId::Time, "0102-02", Ok("01:02:00")),
        (TypeId::Time, "2020-05-31 01:00", Ok("01:00:00")),
        (TypeId::Time, "2020-05-31 0100", Err("22007")),
        (TypeId::Time, "31-May-2020 0100 pm", Err("22007")),
        (TypeId::Timestamp, "infinity 01:00", Ok("infinity")),
        (TypeId::Timestamp, "-infinity 01:00", Ok("-infinity")),
        (TypeId::Timestamp, "12 epoch", Ok("1970-01-01 00:00:00")),
        (TypeId::Timestamp, "infinity J2458863", Ok("2020-01-14 00:00:00")),
        (TypeId::Timestamp, "13-45-2020 infinity", Err("22008")),
        (TypeId::Timestamp, "infinity epoch", Err("22007")),
        (TypeId::Timestamp, "infinity 2020-01-01", Err("22007")),
        (TypeId::Timestamp, "2020-01-01 infinity", Ok("infinity")),
        (TypeId::Time, "-infinity 01:00", Err("22007")),
    ];
    for (id, text, expected) in table {
        assert_answer(read(*id, text), *expected, text);
    }
}

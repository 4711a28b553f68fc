//! pg_timezone_names and pg_timezone_abbrevs: the time zones that there are.

use super::View;
use sql_types::Datum;
use sql_types::time::{Zone, abbreviation_at, abbreviations, is_summer_at, offset_seconds_at, zones};

const SECOND_US: i64 = 1_000_000;

/// An offset in seconds as an interval.
fn offset(seconds: i32) -> Datum {
    Datum::Interval(sql_types::Interval { months: 0, days: 0, micros: i64::from(seconds) * SECOND_US })
}

pub(super) static VIEWS: &[View] = &[
    view! {
        "pg_timezone_abbrevs", 12_122, "Abbreviations of time zones that times may be written with.",
        rows |_asked, _actor| abbreviations(),
        each |(abbreviation, seconds, summer)| [] {
            "abbrev": Text = Datum::from(abbreviation),
            "utc_offset": Interval = offset(seconds),
            "is_dst": Bool = Datum::Bool(summer),
        }
    },
    view! {
        "pg_timezone_names", 12_126, "Time zones by their names, and what holds in each just now; a row a zone.",
        rows |asked, _actor| {
            let now = asked.ground.host.clock.now().micros();
            zones().into_iter().map(move |known| (known, now))
        },
        each |(Zone { name, zone }, now)| [] {
            "name": Text = Datum::from(name),
            "abbrev": Text = Datum::from(abbreviation_at(now, &zone)),
            "utc_offset": Interval = offset(offset_seconds_at(now, &zone)),
            "is_dst": Bool = Datum::Bool(is_summer_at(now, &zone)),
        }
    },
];

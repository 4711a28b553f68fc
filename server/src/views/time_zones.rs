//! pg_timezone_names: the time zones that there are.

use super::View;
use sql_types::Datum;
use sql_types::time::{Zone, abbreviation_at, is_summer_at, offset_seconds_at, zones};

const SECOND_US: i64 = 1_000_000;

pub(super) static VIEWS: &[View] = &[view! {
    "pg_timezone_names", 12_126, "Time zones by their names, and what holds in each just now; a row a zone.",
    rows |asked, _actor| {
        let now = asked.ground.host.clock.now().micros();
        zones().into_iter().map(move |known| (known, now))
    },
    each |(Zone { name, zone }, now)| [
        let offset = i64::from(offset_seconds_at(now, &zone)) * SECOND_US;
    ] {
        "name": Text = Datum::from(name),
        "abbrev": Text = Datum::from(abbreviation_at(now, &zone)),
        "utc_offset": Interval = Datum::Interval(sql_types::Interval { months: 0, days: 0, micros: offset }),
        "is_dst": Bool = Datum::Bool(is_summer_at(now, &zone)),
    }
}];

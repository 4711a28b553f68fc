//! Names of months, weekdays and units.

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Roman numbers of the months.
pub(super) const ROMAN_MONTHS: [&str; 12] =
    ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];

/// 1 to 12 for a month's name or its first three letters (`sept` too), in lower case.
pub(super) fn month(word: &str) -> Option<u32> {
    if word == "sept" {
        return Some(9);
    }
    let matches = |name: &&str| word.eq_ignore_ascii_case(name) || (word.len() == 3 && starts(name, word));
    MONTHS.iter().position(matches).map(|at| at as u32 + 1)
}

/// Whether the word names a weekday.
pub(super) fn is_weekday(word: &str) -> bool {
    matches!(word, "tues" | "wednes" | "weds" | "thur" | "thurs")
        || WEEKDAYS
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name) || (word.len() == 3 && starts(name, word)))
}

fn starts(name: &str, word: &str) -> bool {
    name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Units of intervals and fields of dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    Decade,
    Century,
    Millennium,
    // Fields that only extract() knows.
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    IsoYear,
    Epoch,
    Julian,
    Timezone,
    TimezoneHour,
    TimezoneMinute,
}

/// What counts of a unit's name (TOKMAXLEN), in bytes.
const UNIT_BYTES_MAX: usize = 10;

fn shortened(word: &str) -> &str {
    word.get(..UNIT_BYTES_MAX).unwrap_or(word)
}

/// A unit as interval input, date_trunc() and extract() write it, in lower case.
pub(super) fn unit(word: &str) -> Option<Unit> {
    Some(match shortened(word) {
        "us" | "usec" | "usecs" | "usecond" | "useconds" | "microsecon" => Unit::Microsecond,
        "ms" | "msec" | "msecs" | "msecond" | "mseconds" | "millisecon" => Unit::Millisecond,
        "s" | "sec" | "secs" | "second" | "seconds" => Unit::Second,
        "m" | "min" | "mins" | "minute" | "minutes" => Unit::Minute,
        "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Hour,
        "d" | "day" | "days" => Unit::Day,
        "w" | "week" | "weeks" => Unit::Week,
        "mon" | "mons" | "month" | "months" => Unit::Month,
        "qtr" | "quarter" => Unit::Quarter,
        "y" | "yr" | "yrs" | "year" | "years" => Unit::Year,
        "dec" | "decs" | "decade" | "decades" => Unit::Decade,
        "c" | "cent" | "century" | "centuries" => Unit::Century,
        "mil" | "mils" | "millennia" | "millennium" => Unit::Millennium,
        _ => return None,
    })
}

/// A field of extract(), in lower case.
pub(super) fn field(word: &str) -> Option<Unit> {
    Some(match shortened(word) {
        "dow" => Unit::DayOfWeek,
        "isodow" => Unit::IsoDayOfWeek,
        "doy" => Unit::DayOfYear,
        "isoyear" => Unit::IsoYear,
        "epoch" => Unit::Epoch,
        "jd" | "julian" => Unit::Julian,
        "timezone" => Unit::Timezone,
        "timezone_h" => Unit::TimezoneHour,
        "timezone_m" => Unit::TimezoneMinute,
        other => return unit(other),
    })
}

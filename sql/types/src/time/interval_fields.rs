//! The fields that an interval may be limited to: `INTERVAL '5' HOUR`, `INTERVAL '1-2' YEAR TO MONTH`.

use super::words::Unit;
use super::{MICROS_PER_HOUR, MICROS_PER_MINUTE};
use crate::interval::Interval;

/// From which field to which: one alone is its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the fields of its name")]
pub enum IntervalFields {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    YearToMonth,
    DayToHour,
    DayToMinute,
    DayToSecond,
    HourToMinute,
    HourToSecond,
    MinuteToSecond,
}

impl IntervalFields {
    /// The last of them, which a number without a unit counts.
    pub(super) const fn last(self) -> Unit {
        match self {
            Self::Year => Unit::Year,
            Self::Month | Self::YearToMonth => Unit::Month,
            Self::Day => Unit::Day,
            Self::Hour | Self::DayToHour => Unit::Hour,
            Self::Minute | Self::DayToMinute | Self::HourToMinute => Unit::Minute,
            Self::Second | Self::DayToSecond | Self::HourToSecond | Self::MinuteToSecond => Unit::Second,
        }
    }

    /// An interval without what is below the last field. What is above the first is left, as in PostgreSQL.
    pub(super) fn limit(self, interval: Interval) -> Interval {
        let Interval { months, days, micros } = interval;
        let whole = |unit: i64| Interval { micros: micros - micros % unit, ..interval };
        match self.last() {
            Unit::Year => Interval { months: months - months % 12, days: 0, micros: 0 },
            Unit::Month => Interval { months, days: 0, micros: 0 },
            Unit::Day => Interval { months, days, micros: 0 },
            Unit::Hour => whole(MICROS_PER_HOUR),
            Unit::Minute => whole(MICROS_PER_MINUTE),
            _ => interval,
        }
    }
}

//! The date and the time that the fields of a format come to.

use super::source::bad;
use super::{Convention, Fields};
use crate::error::{Error, Result};
use crate::time::calendar::{civil_from_days, days_from_civil, days_in_month, iso_year_start};
use crate::time::{FIRST_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SECOND};
use sqlstate::SqlState;

impl Fields {
    /// Days since 2000-01-01 and microseconds of the day.
    pub(super) fn finish(self, text: &str) -> Result<(i64, i64)> {
        // What is wrong with a time of twelve hours is told first.
        let (hour, minute, second) = self.clock()?;
        let date = self.date()?;
        let fraction = self.millisecond * 1000 + self.microsecond;
        if !date.is_valid()
            || !(0..24).contains(&hour)
            || !(0..60).contains(&minute)
            || !(0..60).contains(&second)
            || !(0..MICROS_PER_SECOND).contains(&fraction)
        {
            let message = format!("date/time field value out of range: \"{text}\"");
            return Err(Error::new(SqlState::DATETIME_FIELD_OVERFLOW, message));
        }
        let (month, day) = (u32::try_from(date.month).unwrap_or(1), u32::try_from(date.day).unwrap_or(1));
        let time =
            hour * MICROS_PER_HOUR + minute * MICROS_PER_MINUTE + second * MICROS_PER_SECOND + fraction;
        Ok((days_from_civil(date.year, month, day), time))
    }

    fn clock(&self) -> Result<(i64, i64, i64)> {
        let of_day = self.seconds_of_day;
        let mut hour = if self.hour != 0 { self.hour } else { of_day / 3600 };
        let minute = if self.minute != 0 { self.minute } else { of_day % 3600 / 60 };
        let second = if self.second != 0 { self.second } else { of_day % 60 };
        if self.twelve_hours {
            if !(1..=12).contains(&hour) {
                return Err(bad(format!("hour \"{hour}\" is invalid for the 12-hour clock"))
                    .with_hint("Use the 24-hour clock, or give an hour between 1 and 12."));
            }
            hour = hour % 12 + 12 * self.afternoon;
        }
        Ok((hour, minute, second))
    }

    /// The year, in which 0 is 1 BC; None where neither a year nor a century was read.
    fn astronomical_year(&self) -> Option<i64> {
        let before_christ = self.before_christ != 0;
        let century = if before_christ { -self.century } else { self.century };
        // The 21st century is from 2001 to 2100, the 6th before Christ from 600 to 501.
        match (self.year, century) {
            (0, 0) => None,
            (0, 1..) => Some((century - 1) * 100 + 1),
            (0, _) => Some(century * 100 + 1),
            (year, century) if century != 0 && self.year_digits <= 2 => {
                Some(match (year % 100, century > 0) {
                    (0, true) => century * 100,
                    (0, false) => century * 100 + 1,
                    (short, true) => (century - 1) * 100 + short,
                    (short, false) => (century + 1) * 100 - short + 1,
                })
            }
            (year, _) => {
                let year = if before_christ { -year } else { year };
                Some(if year < 0 { year + 1 } else { year })
            }
        }
    }

    /// The date, by the last of what says one: a Julian day, an ISO week, a month with its day, a day of the
    /// year.
    fn date(&self) -> Result<Date> {
        let year = self.astronomical_year();
        let mut date = Date { has_year: year.is_some(), year: year.unwrap_or(0), ..Date::default() };
        if self.julian != 0 {
            date = Date::of(self.julian + i64::from(FIRST_DAY));
        }
        let mut day_of_year = self.day_of_year;
        let is_iso = self.convention == Some(Convention::IsoWeek);
        if self.week != 0 && is_iso {
            // Without a day it is the Monday; days count from Sunday, which is the last.
            let after_monday = match self.day_of_week {
                0 => 0,
                day @ 2.. => day - 2,
                _ => 6,
            };
            date = Date::of(iso_year_start(date.year) + (self.week - 1) * 7 + after_monday);
        } else if self.week != 0 {
            day_of_year = (self.week - 1) * 7 + 1;
        }
        let day = if self.week_of_month != 0 { (self.week_of_month - 1) * 7 + 1 } else { self.day };
        if day != 0 {
            (date.day, date.has_day) = (day, true);
        }
        if self.month != 0 {
            (date.month, date.has_month) = (self.month, true);
        }
        if day_of_year != 0 && (date.month <= 1 || date.day <= 1) {
            if date.year == 0 && self.before_christ == 0 {
                return Err(bad("cannot calculate day of year without year information".to_owned()));
            }
            if is_iso {
                return Ok(Date::of(iso_year_start(date.year) + day_of_year - 1));
            }
            let (month, day) = month_and_day(date.year, day_of_year);
            date.month = if date.month <= 1 { month } else { date.month };
            date.day = if date.day <= 1 { day } else { date.day };
            (date.has_month, date.has_day) = (true, true);
        }
        Ok(date)
    }
}

/// A date as far as a text says one.
struct Date {
    year: i64,
    month: i64,
    day: i64,
    has_year: bool,
    has_month: bool,
    has_day: bool,
}

impl Default for Date {
    fn default() -> Self {
        Self { year: 0, month: 1, day: 1, has_year: false, has_month: false, has_day: false }
    }
}

impl Date {
    /// That of a day since 2000-01-01.
    fn of(days: i64) -> Self {
        let civil = civil_from_days(days);
        let (month, day) = (i64::from(civil.month), i64::from(civil.day));
        Self { year: civil.year, month, day, has_year: true, has_month: true, has_day: true }
    }

    /// A day past its month's end is refused only where year, month and day are all there.
    fn is_valid(&self) -> bool {
        let in_month = |month| days_in_month(self.year, u32::try_from(month).unwrap_or(1));
        let is_whole = self.has_year && self.has_month && self.has_day;
        (1..=12).contains(&self.month)
            && (1..=31).contains(&self.day)
            && (!is_whole || self.day <= i64::from(in_month(self.month)))
    }
}

/// Month and day of a day of a year; one behind its end is in a 13th month.
fn month_and_day(year: i64, day_of_year: i64) -> (i64, i64) {
    let mut left = day_of_year;
    for month in 1..=12 {
        let days = i64::from(days_in_month(year, month));
        if left <= days {
            return (i64::from(month), left);
        }
        left -= days;
    }
    (13, left)
}

//! The proleptic Gregorian calendar.

use super::MICROS_PER_DAY;

/// A date and time of day. Year 0 is 1 BC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Civil {
    /// Astronomical year.
    pub year: i64,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// Microseconds since midnight.
    pub micros: i64,
}

/// Days from 0000-03-01 to 2000-01-01.
const EPOCH: i64 = 730_425;

/// Days since 2000-01-01; `month` may be any number from 1 to 12, `day` is simply added.
pub fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    // Years from March, so that the leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let from_march = i64::from((month + 9) % 12);
    let century_days = year.div_euclid(100) * 36_524 + year.div_euclid(400);
    let year_days = year.rem_euclid(100) * 365 + year.rem_euclid(100) / 4;
    century_days + year_days + (from_march * 153 + 2) / 5 + i64::from(day) - 1 - EPOCH
}

/// Year, month and day of a day since 2000-01-01.
pub fn civil_from_days(days: i64) -> Civil {
    let days = days + EPOCH;
    let cycle = days.div_euclid(146_097);
    let in_cycle = days.rem_euclid(146_097);
    let year = (in_cycle - in_cycle / 1460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
    let in_year = in_cycle - (365 * year + year / 4 - year / 100);
    let from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year + cycle * 400 + i64::from(month <= 2);
    Civil { year, month: month as u32, day: day as u32, micros: 0 }
}

pub(crate) fn civil_from_micros(micros: i64) -> Civil {
    let mut civil = civil_from_days(micros.div_euclid(MICROS_PER_DAY));
    civil.micros = micros.rem_euclid(MICROS_PER_DAY);
    civil
}

/// Microseconds since 2000-01-01; None past the ends of i64.
pub(crate) fn micros_from_civil(civil: Civil) -> Option<i64> {
    days_from_civil(civil.year, civil.month, civil.day).checked_mul(MICROS_PER_DAY)?.checked_add(civil.micros)
}

pub(crate) const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month.
pub(crate) const fn days_in_month(year: i64, month: u32) -> u32 {
    match month {
        2 => 28 + is_leap(year) as u32,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// 0 for Sunday to 6 for Saturday.
pub(crate) const fn weekday(days: i64) -> u32 {
    // 2000-01-01 was a Saturday.
    (days + 6).rem_euclid(7) as u32
}

/// ISO 8601's year and week of a day.
pub(crate) fn iso_week(days: i64) -> (i64, i64) {
    // The week belongs to the year of its Thursday.
    let thursday = days - i64::from((weekday(days) + 6) % 7) + 3;
    let year = civil_from_days(thursday).year;
    (year, (thursday - days_from_civil(year, 1, 1)) / 7 + 1)
}

/// The Monday on which ISO week 1 of a year begins.
pub(crate) fn iso_year_start(year: i64) -> i64 {
    let fourth = days_from_civil(year, 1, 4);
    fourth - i64::from((weekday(fourth) + 6) % 7)
}

//! Spans of time.

/// Months, days and microseconds, kept apart because a month and a day vary in length.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interval {
    /// Microseconds, the part below a day (but any size).
    pub micros: i64,
    /// Days.
    pub days: i32,
    /// Months (a year is 12).
    pub months: i32,
}

pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
pub(crate) const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
pub(crate) const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;
pub(crate) const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

impl Interval {
    /// From its parts.
    pub const fn new(months: i32, days: i32, micros: i64) -> Self {
        Self { micros, days, months }
    }
    /// From microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self { micros, days: 0, months: 0 }
    }
    /// The length in microseconds by which intervals compare: months of 30 days, days of 24 hours.
    pub const fn span(self) -> i128 {
        let days = self.months as i128 * 30 + self.days as i128;
        days * MICROS_PER_DAY as i128 + self.micros as i128
    }
    /// All parts with the other sign; None if one cannot be.
    pub fn negate(self) -> Option<Self> {
        Some(Self {
            micros: self.micros.checked_neg()?,
            days: self.days.checked_neg()?,
            months: self.months.checked_neg()?,
        })
    }
    /// Part by part; None on overflow.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            micros: self.micros.checked_add(other.micros)?,
            days: self.days.checked_add(other.days)?,
            months: self.months.checked_add(other.months)?,
        })
    }
    /// Part by part; None on overflow.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Some(Self {
            micros: self.micros.checked_sub(other.micros)?,
            days: self.days.checked_sub(other.days)?,
            months: self.months.checked_sub(other.months)?,
        })
    }
    /// Whole days of 24 hours moved from the microseconds to the days (justify_hours); None on overflow.
    pub fn justify_hours(self) -> Option<Self> {
        let mut days = self.days.checked_add(i32::try_from(self.micros / MICROS_PER_DAY).ok()?)?;
        let mut micros = self.micros % MICROS_PER_DAY;
        if days > 0 && micros < 0 {
            micros += MICROS_PER_DAY;
            days -= 1;
        } else if days < 0 && micros > 0 {
            micros -= MICROS_PER_DAY;
            days += 1;
        }
        Some(Self { micros, days, months: self.months })
    }
    /// With each 30 days as a month; None if the months do not fit.
    pub fn justify_days(self) -> Option<Self> {
        let mut months = self.months.checked_add(self.days / 30)?;
        let mut days = self.days % 30;
        if months > 0 && days < 0 {
            days += 30;
            months -= 1;
        } else if months < 0 && days > 0 {
            days -= 30;
            months += 1;
        }
        Some(Self { micros: self.micros, days, months })
    }
    /// With hours as days, days as months, and one sign in all fields; None if a field does not fit.
    pub fn justify_interval(self) -> Option<Self> {
        // The days that hours make may be more than fit beside those that are there: those go first.
        let whole = if (self.days > 0) == (self.micros > 0) { self.days / 30 } else { 0 };
        let first = Self { months: self.months.checked_add(whole)?, days: self.days - whole * 30, ..self };
        let mut all = first.justify_hours()?.justify_days()?;
        if all.months > 0 && (all.days < 0 || (all.days == 0 && all.micros < 0)) {
            all.days += 30;
            all.months -= 1;
        } else if all.months < 0 && (all.days > 0 || (all.days == 0 && all.micros > 0)) {
            all.days -= 30;
            all.months += 1;
        }
        if all.days > 0 && all.micros < 0 {
            all.micros += MICROS_PER_DAY;
            all.days -= 1;
        } else if all.days < 0 && all.micros > 0 {
            all.micros -= MICROS_PER_DAY;
            all.days += 1;
        }
        Some(all)
    }
}

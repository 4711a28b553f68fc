//! Time zones: names, abbreviations, offsets and POSIX rules.

use super::abbreviations::{self, Meaning};
use super::calendar::civil_from_micros;
use super::{MICROS_PER_DAY, MICROS_PER_SECOND};
use crate::{Datum, Style, Type, TypeId};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, civil};

/// A zone with the name that SHOW TimeZone prints.
#[derive(Clone, Debug)]
pub struct Zone {
    /// As PostgreSQL spells it.
    pub name: String,
    /// Its rules.
    pub zone: TimeZone,
}

/// 400 years: after these, weekdays and dates repeat.
const CYCLE_MICROS: i64 = 146_097 * MICROS_PER_DAY;
/// 2000-01-01 in seconds of Unix time.
const EPOCH_UNIX_SECONDS: i64 = 946_684_800;
const SECONDS_PER_MINUTE: i32 = 60;
const UNKNOWN_ZONE: &str = "Etc/Unknown";
/// 9000-01-01 and -9000-01-01 since 2000: well inside of what the zone library knows.
const LATEST_MICROS: i64 = 7000 * 365 * MICROS_PER_DAY;
const EARLIEST_MICROS: i64 = -10_000 * 365 * MICROS_PER_DAY;

/// A time moved into the range of the zone library by whole calendar cycles.
fn near(micros: i64) -> i64 {
    if micros > LATEST_MICROS {
        let cycles = (micros - LATEST_MICROS) / CYCLE_MICROS + 1;
        micros - cycles * CYCLE_MICROS
    } else {
        micros.max(EARLIEST_MICROS)
    }
}

/// Seconds that `zone` is ahead of UTC at a time in microseconds since 2000-01-01 UTC.
pub fn offset_seconds_at(micros: i64, zone: &TimeZone) -> i32 {
    if let Ok(fixed) = zone.to_fixed_offset() {
        return fixed.seconds();
    }
    let seconds = near(micros).div_euclid(MICROS_PER_SECOND) + EPOCH_UNIX_SECONDS;
    match Timestamp::from_second(seconds) {
        Ok(timestamp) => zone.to_offset(timestamp).seconds(),
        Err(_) => 0,
    }
}

/// The abbreviation that a zone goes by at a time: `EST`, `CEST`, `+03`.
pub fn abbreviation_at(micros: i64, zone: &TimeZone) -> String {
    let seconds = near(micros).div_euclid(MICROS_PER_SECOND) + EPOCH_UNIX_SECONDS;
    match Timestamp::from_second(seconds) {
        Ok(timestamp) => zone.to_offset_info(timestamp).abbreviation().to_owned(),
        Err(_) => String::new(),
    }
}

/// Whether a zone's offset was and is the same at all times.
pub(super) fn is_fixed(zone: &TimeZone) -> bool {
    zone.to_fixed_offset().is_ok() || zone.preceding(Timestamp::MAX).next().is_none()
}

/// Whether a zone keeps summer time at a time.
pub fn is_summer_at(micros: i64, zone: &TimeZone) -> bool {
    let seconds = near(micros).div_euclid(MICROS_PER_SECOND) + EPOCH_UNIX_SECONDS;
    Timestamp::from_second(seconds).is_ok_and(|timestamp| zone.to_offset_info(timestamp).dst().is_dst())
}

/// All zones that have names.
pub fn zones() -> Vec<Zone> {
    let names = jiff::tz::db().available();
    let found = names.filter_map(|name| {
        let zone = jiff::tz::db().get(name.as_str()).ok()?;
        Some(Zone { name: name.as_str().to_owned(), zone })
    });
    found.collect()
}

/// The local time of a zone, both in microseconds since 2000-01-01; None if out of range.
pub fn local_from_utc(micros: i64, zone: &TimeZone) -> Option<i64> {
    let local = micros.checked_add(i64::from(offset_seconds_at(micros, zone)) * MICROS_PER_SECOND)?;
    super::timestamp_in_range(local).then_some(local)
}

/// The time at which the zone's clocks show `micros`. In a gap the offset before it is taken, in a fold the
/// standard time (the later), as PostgreSQL does; None if out of range.
pub fn utc_from_local(micros: i64, zone: &TimeZone) -> Option<i64> {
    let offset = local_offset(micros, zone);
    let utc = micros.checked_sub(i64::from(offset) * MICROS_PER_SECOND)?;
    super::timestamp_in_range(utc).then_some(utc)
}

/// The offset that holds where the zone's clocks show `micros`.
pub(super) fn local_offset(micros: i64, zone: &TimeZone) -> i32 {
    if let Ok(fixed) = zone.to_fixed_offset() {
        return fixed.seconds();
    }
    let shown = civil_from_micros(near(micros));
    let seconds = shown.micros / MICROS_PER_SECOND;
    let parts = (i16::try_from(shown.year), i8::try_from(shown.month), i8::try_from(shown.day));
    let (Ok(year), Ok(month), Ok(day)) = parts else { return 0 };
    let time = ((seconds / 3600) as i8, (seconds / 60 % 60) as i8, (seconds % 60) as i8);
    let Ok(local) = civil::DateTime::new(year, month, day, time.0, time.1, time.2, 0) else { return 0 };
    match zone.to_ambiguous_timestamp(local).offset() {
        jiff::tz::AmbiguousOffset::Unambiguous { offset } => offset.seconds(),
        jiff::tz::AmbiguousOffset::Gap { before, .. } => before.seconds(),
        jiff::tz::AmbiguousOffset::Fold { after, .. } => after.seconds(),
    }
}

/// A zone as SET TimeZone takes it: hours ahead of UTC (`-3.5`), an interval (`INTERVAL '1:30:20'`), a name
/// of the zone database in any case, or a POSIX rule (`EST5EDT`, `+5:30`), which counts westwards. No name
/// and no rule may be off by seconds.
pub fn parse_zone(text: &str) -> Option<Zone> {
    if let Some((word, rest)) = text.split_at_checked("interval".len())
        && word.eq_ignore_ascii_case("interval")
    {
        return zone_of_interval(rest.trim_start().strip_prefix('\'')?.strip_suffix('\'')?);
    }
    if let Some(hours) = crate::float::strtod(text.trim_start()).filter(|hours| hours.is_finite()) {
        return fixed_zone((hours * 3600.0) as i32);
    }
    lasting_zone(text).filter(|Zone { zone, .. }| offset_seconds_at(0, zone) % SECONDS_PER_MINUTE == 0)
}

/// The zone that is an interval without days and months ahead of UTC.
fn zone_of_interval(text: &str) -> Option<Zone> {
    match Datum::parse(Type::of(TypeId::Interval), text, &Style::default()) {
        Ok(Datum::Interval(ahead)) if ahead.months == 0 && ahead.days == 0 => {
            fixed_zone(i32::try_from(ahead.micros / MICROS_PER_SECOND).ok()?)
        }
        _ => None,
    }
}

/// The zone of a name that [`parse_zone`] has given.
pub fn zone_of_name(name: &str) -> Option<TimeZone> {
    lasting_zone(name).map(|found| found.zone)
}

/// A zone as AT TIME ZONE takes it: an abbreviation, a name or a rule.
pub fn named_zone(text: &str) -> Option<Zone> {
    match of_abbreviation(text) {
        Some(zone) => Some(Zone { name: text.to_ascii_uppercase(), zone }),
        None => lasting_zone(text),
    }
}

/// A zone of the database, which is spelled as there, or a POSIX rule.
fn lasting_zone(text: &str) -> Option<Zone> {
    if text.eq_ignore_ascii_case("default") || text.eq_ignore_ascii_case("localtime") {
        return None;
    }
    let zone = parse_zone_name(text)?;
    let name = zone.iana_name().map_or_else(|| text.to_ascii_uppercase(), str::to_owned);
    Some(Zone { name, zone })
}

/// What an abbreviation in any case means: one offset, or those of a zone.
pub(super) fn of_abbreviation(text: &str) -> Option<TimeZone> {
    match abbreviations::meaning(&text.to_ascii_lowercase())? {
        Meaning::Offset(seconds) => Some(TimeZone::fixed(Offset::from_seconds(seconds).ok()?)),
        Meaning::Zone(zone) => Some(zone),
    }
}

/// A name of the zone database in any case, or a POSIX rule.
pub(super) fn parse_zone_name(name: &str) -> Option<TimeZone> {
    // The zone library's own, which no zone database has.
    if name.eq_ignore_ascii_case(UNKNOWN_ZONE) {
        return None;
    }
    TimeZone::get(name).ok().or_else(|| super::posix::zone(&name.to_ascii_uppercase()))
}

/// `<+02>-02`, `<-03:30>+03:30`: POSIX counts westwards.
pub(super) fn fixed_zone(seconds: i32) -> Option<Zone> {
    let zone = TimeZone::fixed(Offset::from_seconds(seconds).ok()?);
    let mut east = String::new();
    super::format::push_offset(seconds, &mut east);
    let mut west = String::new();
    super::format::push_offset(-seconds, &mut west);
    Some(Zone { name: format!("<{east}>{west}"), zone })
}

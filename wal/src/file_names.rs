//! The names of the files in pg_wal: the one place that forms them and takes them apart.
//!
//! | name                         | the file                                                             |
//! | ---------------------------- | -------------------------------------------------------------------- |
//! | 24 digits                    | a segment: timeline, then the segment's number in two halves          |
//! | `<segment>.partial`          | the last one of a timeline that a promotion ended                     |
//! | `<segment>.<offset>.backup`  | what is kept of a backup that began at this offset of the segment     |
//! | 8 digits, then `.history`    | a timeline's history                                                  |
//!
//! Digits are hexadecimal, in upper case.

use crate::ids::{Lsn, SegmentNumber, SegmentSize, TimelineId};

const HISTORY: &str = ".history";
const PARTIAL: &str = ".partial";
const BACKUP: &str = ".backup";

fn are_digits(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'))
}

/// Whether this is the name of a segment, of whatever size.
pub fn is_segment(name: &str) -> bool {
    name.len() == 24 && are_digits(name)
}

/// The name of a segment, given by its name, that a promotion ended in the middle.
pub fn partial(segment: &str) -> String {
    format!("{segment}{PARTIAL}")
}

/// Whether this is the name of a segment, of whatever size, that a promotion ended in the middle.
pub(crate) fn is_partial(name: &str) -> bool {
    name.strip_suffix(PARTIAL).is_some_and(is_segment)
}

/// The timeline and the segment that a promotion ended in the middle; None for any other name.
pub fn parse_partial(name: &str, size: SegmentSize) -> Option<(TimelineId, SegmentNumber)> {
    SegmentNumber::parse_file_name(name.strip_suffix(PARTIAL)?, size)
}

/// The name of what is kept of a backup that began at `start`.
pub(crate) fn backup(timeline: TimelineId, start: Lsn, size: SegmentSize) -> String {
    let segment = size.segment_of(start).file_name(timeline, size);
    format!("{segment}.{:08X}{BACKUP}", size.offset_of(start))
}

/// The timeline and the position at which the backup began of which a file has what is kept; None for any
/// other name.
pub fn parse_backup(name: &str, size: SegmentSize) -> Option<(TimelineId, Lsn)> {
    let (segment, digits) = name.strip_suffix(BACKUP)?.split_once('.')?;
    let (timeline, segment) = SegmentNumber::parse_file_name(segment, size)?;
    if digits.len() != 8 || !are_digits(digits) {
        return None;
    }
    let offset = u64::from_str_radix(digits, 16).ok().filter(|offset| *offset < size.bytes())?;
    Some((timeline, Lsn::new(size.start_of(segment).get() + offset)))
}

/// Whether a file of this name belongs into an archive: what PostgreSQL's archiver takes.
pub(crate) fn is_archivable(name: &str) -> bool {
    let digits = name.bytes().take_while(u8::is_ascii_hexdigit).count();
    (digits == 24 || digits == 8)
        && name.len() <= 40
        && name.bytes().all(|byte| byte.is_ascii_hexdigit() || b".historybackuppartial".contains(&byte))
}

impl TimelineId {
    /// The timeline that a file of any of these names belongs to.
    pub fn of_file_name(name: &str) -> Option<Self> {
        let digits = name.get(..8).filter(|digits| are_digits(digits))?;
        u32::from_str_radix(digits, 16).ok().map(Self::new)
    }
    /// The name of this timeline's history file.
    pub fn history_file_name(self) -> String {
        format!("{:08X}{HISTORY}", self.get())
    }
    /// The timeline whose history a file has, by its name; None if it is no history file.
    pub fn parse_history_file_name(name: &str) -> Option<Self> {
        let digits = name.strip_suffix(HISTORY).filter(|digits| digits.len() == 8 && are_digits(digits))?;
        u32::from_str_radix(digits, 16).ok().map(Self::new)
    }
}

impl SegmentNumber {
    /// The 24-digit file name of this segment on a timeline.
    pub fn file_name(self, timeline: TimelineId, size: SegmentSize) -> String {
        let (per_id, number) = ((1 << 32) / size.bytes(), self.get());
        format!("{:08X}{:08X}{:08X}", timeline.get(), number / per_id, number % per_id)
    }
    /// Reads a 24-digit segment file name; None if it is anything else.
    pub fn parse_file_name(name: &str, size: SegmentSize) -> Option<(TimelineId, Self)> {
        if !is_segment(name) {
            return None;
        }
        let part = |from: usize| u32::from_str_radix(name.get(from..from + 8)?, 16).ok();
        let per_id = (1 << 32) / size.bytes();
        let (timeline, high, low) = (part(0)?, u64::from(part(8)?), u64::from(part(16)?));
        (low < per_id).then_some((TimelineId::new(timeline), Self::new(high * per_id + low)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_follow_the_segment_size() {
        let small = SegmentSize::new(1 << 20).unwrap();
        let name = SegmentNumber::new(0x1234).file_name(TimelineId::new(2), small);
        assert_eq!(name, "000000020000000100000234");
        assert_eq!(
            SegmentNumber::parse_file_name(&name, small),
            Some((TimelineId::new(2), SegmentNumber::new(0x1234)))
        );
        assert_eq!(SegmentNumber::parse_file_name("000000020000000100000234", SegmentSize::DEFAULT), None);
        assert_eq!(SegmentSize::new(3 << 20), None);
    }

    #[test]
    fn the_name_of_a_backups_file_says_where_it_began() {
        let size = SegmentSize::new(1 << 20).unwrap();
        let (timeline, start) = (TimelineId::new(3), Lsn::new(0x1_0020_0028));
        let name = backup(timeline, start, size);
        assert_eq!(name, "000000030000000100000002.00000028.backup");
        assert_eq!(parse_backup(&name, size), Some((timeline, start)));
        for other in [
            "000000030000000100000002",
            "000000030000000100000002.backup",
            "000000030000000100000002.028.backup",
            "000000030000000100000002.00100000.backup",
            "000000030000000100000002.0000002g.backup",
            "0000000300000001.00000028.backup",
        ] {
            assert_eq!(parse_backup(other, size), None, "{other}");
        }
    }

    #[test]
    fn a_history_is_known_by_its_name_and_by_no_other() {
        let timeline = TimelineId::new(0xA1);
        assert_eq!(timeline.history_file_name(), "000000A1.history");
        assert_eq!(TimelineId::parse_history_file_name("000000A1.history"), Some(timeline));
        for other in ["000000a1.history", "0000A1.history", "+00000A1.history", "000000A1.histor", "000000A1"]
        {
            assert_eq!(TimelineId::parse_history_file_name(other), None, "{other}");
        }
    }
}

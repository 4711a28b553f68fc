//! backup_label and the backup history file, as PostgreSQL 15 writes them.

use crate::Error;
use host::Timestamp;
use std::fmt::Write;
use wal::{Lsn, SegmentSize, TimelineId};

/// The most that a backup_label may have.
pub(crate) const LABEL_SIZE_MAX: u64 = 64 << 10;

/// What backup_label says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackupLabel {
    /// START WAL LOCATION: the redo point.
    pub(crate) start: Lsn,
    /// CHECKPOINT LOCATION.
    pub(crate) checkpoint: Lsn,
    /// BACKUP METHOD.
    pub(crate) method: String,
    /// BACKUP FROM: taken on a standby.
    pub(crate) from_standby: bool,
    /// START TIME.
    pub(crate) started: Timestamp,
    /// LABEL.
    pub(crate) label: String,
    /// START TIMELINE.
    pub(crate) timeline: TimelineId,
}

/// A time as PostgreSQL's log_timezone UTC prints it.
pub(crate) fn time_text(time: Timestamp) -> String {
    let seconds = time.unix_seconds();
    let (days, second) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    // Civil date from days since 1970-01-01, counted in eras of 400 years that begin on 1 March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

impl BackupLabel {
    fn start_line(&self, size: SegmentSize) -> String {
        let file = size.segment_of(self.start).file_name(self.timeline, size);
        format!("START WAL LOCATION: {} (file {file})\n", self.start)
    }

    fn middle(&self) -> String {
        format!(
            "CHECKPOINT LOCATION: {}\nBACKUP METHOD: {}\nBACKUP FROM: {}\nSTART TIME: {}\nLABEL: {}\nSTART TIMELINE: {}\n",
            self.checkpoint,
            self.method,
            if self.from_standby { "standby" } else { "primary" },
            time_text(self.started),
            self.label,
            self.timeline
        )
    }

    /// The text of backup_label.
    pub(crate) fn text(&self, size: SegmentSize) -> String {
        self.start_line(size) + &self.middle()
    }

    /// The name and text of the backup history file.
    pub(crate) fn history(
        &self,
        size: SegmentSize,
        stop: Lsn,
        stop_timeline: TimelineId,
        stopped: Timestamp,
    ) -> (String, String) {
        let start_file = size.segment_of(self.start).file_name(self.timeline, size);
        let stop_file = size.segment_before(stop).file_name(stop_timeline, size);
        let mut text = self.start_line(size);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "STOP WAL LOCATION: {stop} (file {stop_file})");
        text += &self.middle();
        let _ = write!(text, "STOP TIME: {}\nSTOP TIMELINE: {stop_timeline}\n", time_text(stopped));
        (format!("{start_file}.{:08X}.backup", size.offset_of(self.start)), text)
    }

    /// Reads backup_label. Lines that it does not know are passed over, as PostgreSQL does.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let bad =
            |name: &str| Error::corrupt("backup_label", None, format!("invalid or missing line \"{name}\""));
        let start_line = line("START WAL LOCATION").ok_or_else(|| bad("START WAL LOCATION"))?;
        let (start, file) = start_line.split_once(' ').ok_or_else(|| bad("START WAL LOCATION"))?;
        let from_name = file
            .strip_prefix("(file ")
            .and_then(|file| file.get(..8))
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .map(TimelineId::new)
            .ok_or_else(|| bad("START WAL LOCATION"))?;
        let timeline = match line("START TIMELINE") {
            Some(timeline) => timeline.trim().parse().map_err(|_| bad("START TIMELINE"))?,
            None => from_name,
        };
        if timeline != from_name {
            return Err(bad("START TIMELINE"));
        }
        let checkpoint = line("CHECKPOINT LOCATION").and_then(|lsn| lsn.trim().parse().ok());
        Ok(Self {
            start: start.parse().map_err(|_| bad("START WAL LOCATION"))?,
            checkpoint: checkpoint.ok_or_else(|| bad("CHECKPOINT LOCATION"))?,
            method: line("BACKUP METHOD").unwrap_or("streamed").trim().to_owned(),
            from_standby: line("BACKUP FROM").is_some_and(|from| from.trim() == "standby"),
            started: Timestamp::default(),
            label: line("LABEL").unwrap_or_default().to_owned(),
            timeline,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label() -> BackupLabel {
        BackupLabel {
            start: Lsn::new(0x200_0028),
            checkpoint: Lsn::new(0x200_0060),
            method: "streamed".to_owned(),
            from_standby: false,
            started: Timestamp::from_unix_micros(1_709_210_096_000_000),
            label: "pg_basebackup base backup".to_owned(),
            timeline: TimelineId::FIRST,
        }
    }

    #[test]
    fn the_label_reads_as_postgresql_writes_it_and_back() {
        let text = label().text(SegmentSize::DEFAULT);
        assert_eq!(
            text,
            "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
             CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n\
             START TIME: 2024-02-29 12:34:56 UTC\nLABEL: pg_basebackup base backup\nSTART TIMELINE: 1\n"
        );
        assert_eq!(
            BackupLabel::parse(&text).unwrap(),
            BackupLabel { started: Timestamp::default(), ..label() }
        );
    }

    #[test]
    fn the_history_file_is_named_after_the_first_segment_and_its_offset() {
        let (name, text) =
            label().history(SegmentSize::DEFAULT, Lsn::new(0x300_0000), TimelineId::FIRST, label().started);
        assert_eq!(name, "000000010000000000000002.00000028.backup");
        assert!(text.contains("STOP WAL LOCATION: 0/3000000 (file 000000010000000000000002)\n"));
        assert!(text.ends_with("STOP TIME: 2024-02-29 12:34:56 UTC\nSTOP TIMELINE: 1\n"));
    }

    #[test]
    fn a_label_with_a_broken_line_is_refused_by_its_name() {
        let text = label().text(SegmentSize::DEFAULT);
        for name in ["START WAL LOCATION", "CHECKPOINT LOCATION"] {
            let broken = text.replace(name, "X");
            assert!(BackupLabel::parse(&broken).unwrap_err().to_string().contains(name));
        }
        let other = text.replace("START TIMELINE: 1", "START TIMELINE: 2");
        assert!(BackupLabel::parse(&other).is_err(), "the file's name says timeline 1");
    }
}

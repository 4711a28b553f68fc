//! A promotion that began, as the record tells of it, the signal files that it takes away, and what becomes
//! of it if it broke off.

use super::error::{BranchError, file_error};
use super::{BRANCH_FILE, BranchRecord, store};
use crate::control::ControlFile;
use crate::history::{BranchId, HistoryFileError, TimelineHistory};
use crate::ids::{SegmentNumber, SegmentSize, TimelineId};
use crate::position_file::LogPosition;
use crate::segments::SegmentFolder;
use host::{Disk, OpenMode, SharedDisk};
use std::fmt;
use std::io;
use std::path::Path;

/// The files of a data directory that make it a standby's, or that of a recovery from an archive.
pub const SIGNAL_FILES: [&str; 2] = ["standby.signal", "recovery.signal"];

/// Which of the [`SIGNAL_FILES`] are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals([bool; 2]);

impl Signals {
    /// Those of a data directory.
    ///
    /// # Errors
    /// Fails if that cannot be seen.
    pub fn found(disk: &dyn Disk, data_dir: &Path) -> Result<Self, BranchError> {
        let mut found = Self::default();
        for (name, there) in SIGNAL_FILES.iter().zip(&mut found.0) {
            let path = data_dir.join(name);
            *there = disk.exists(&path).map_err(|error| file_error(&path, error))?;
        }
        Ok(found)
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        SIGNAL_FILES.into_iter().zip(self.0).filter_map(|(name, there)| there.then_some(name))
    }

    fn decode(names: &str) -> Option<Self> {
        let mut found = Self::default();
        for name in names.split_whitespace() {
            let at = SIGNAL_FILES.iter().position(|known| *known == name)?;
            *found.0.get_mut(at)? = true;
        }
        Some(found)
    }

    /// Removes them, durably.
    ///
    /// # Errors
    /// Fails if one cannot be removed.
    pub fn remove(self, disk: &dyn Disk, data_dir: &Path) -> Result<(), BranchError> {
        for name in self.names() {
            let path = data_dir.join(name);
            match disk.remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(file_error(&path, error));
                }
                _ => {}
            }
        }
        disk.sync_dir(data_dir).map_err(|error| file_error(data_dir, error))
    }

    /// Has them there, durably.
    pub(super) fn restore(self, disk: &dyn Disk, data_dir: &Path) -> Result<(), BranchError> {
        for name in self.names() {
            let path = data_dir.join(name);
            disk.open(&path, OpenMode::Create).map_err(|error| file_error(&path, error))?;
        }
        disk.sync_dir(data_dir).map_err(|error| file_error(data_dir, error))
    }
}

/// A promotion that began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BegunPromotion {
    /// Its timeline.
    pub timeline: TimelineId,
    /// The branch id in its history.
    pub branch: BranchId,
    /// Where the ended timeline ends in its last segment, by the name of the file, if that is in the middle:
    /// the log may be written on in that file. Whether it was, the file tells.
    pub shared: Option<LogPosition>,
    /// The signal files that it found.
    pub signals: Signals,
}

impl BegunPromotion {
    pub(super) fn decode(text: &str) -> Option<Self> {
        let (timeline, rest) = text.split_once(' ')?;
        let (branch, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let (timeline, branch) = (timeline.parse().ok()?, branch.parse().ok()?);
        let (first, others) = rest.split_once(' ').unwrap_or((rest, ""));
        let (shared, signals) = match first.split_once('@') {
            Some((timeline, lsn)) => {
                let ended = LogPosition { timeline: timeline.parse().ok()?, lsn: lsn.parse().ok()? };
                (Some(ended), others)
            }
            None => (None, rest),
        };
        Some(Self { timeline, branch, shared, signals: Signals::decode(signals)? })
    }
}

impl fmt::Display for BegunPromotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.timeline, self.branch)?;
        if let Some(LogPosition { timeline, lsn }) = self.shared {
            write!(f, " {timeline}@{lsn}")?;
        }
        self.signals.names().try_for_each(|name| write!(f, " {name}"))
    }
}

impl BranchRecord {
    /// The promotion that began, if it is to a later timeline than the control file names.
    fn undecided(&self, named: TimelineId) -> Option<BegunPromotion> {
        self.promotion.filter(|began| began.timeline > named)
    }
}

/// What a start did about a promotion that broke off.
#[derive(Debug, Default)]
pub struct Settled {
    /// The timeline of the one that was taken back.
    pub undone: Option<TimelineId>,
    /// Where the timeline ended whose last segment got a file of its own now.
    pub separated: Option<LogPosition>,
    /// Why it got none: it is the new timeline's file still ([`shared_end`]).
    pub still_shared: Option<BranchError>,
}

/// Settles what a promotion left that broke off. Before the control file named its timeline nobody has seen
/// anything of it: it is taken back. Later its log is this node's: the ended timeline gets a file of its own
/// where both share one, as soon as there is the space for it. To be called before anybody looks for signal
/// files, or reads or changes the log.
///
/// # Errors
/// Fails if a file cannot be read, made or removed.
pub fn settle_promotion(
    disk: &SharedDisk,
    data_dir: &Path,
    control: &ControlFile,
) -> Result<Settled, BranchError> {
    let counts = control.state.is_standbys();
    let record = match BranchRecord::read(&**disk, data_dir) {
        // Nobody needs it, but to see whether two timelines share a file.
        Err(BranchError::Damaged(_)) if !counts => None,
        read => read?,
    };
    let Some(record) = record else { return Ok(Settled::default()) };
    if counts && let Some(undone) = undo(disk, data_dir, record, named(control), control.segment_size)? {
        return Ok(Settled { undone: Some(undone), ..Settled::default() });
    }
    Ok(match separate_shared_of(disk, data_dir, &record, control.segment_size) {
        Ok(separated) => Settled { separated, ..Settled::default() },
        Err(error) => Settled { still_shared: Some(error), ..Settled::default() },
    })
}

/// The timeline that the control file names: a promotion to a later one is not decided.
fn named(control: &ControlFile) -> TimelineId {
    control.checkpoint_copy.timeline.max(control.min_recovery_point_timeline)
}

/// Where the log of a directory ends that is at rest, if a promotion which is not decided has written behind
/// that in the same file: the next start takes that back. `record` is what [`BranchRecord::load`] gave.
///
/// # Errors
/// Fails if that cannot be seen.
pub fn undecided_end(
    disk: &SharedDisk,
    data_dir: &Path,
    control: &ControlFile,
    record: Option<&BranchRecord>,
) -> Result<Option<LogPosition>, BranchError> {
    let Some(record) = record.filter(|record| record.undecided(named(control)).is_some()) else {
        return Ok(None);
    };
    shared_end_of(&folder(disk, data_dir, control.segment_size), record)
}

/// Gives the segment in which a timeline ended a file of its own, if a promotion broke off before that. The
/// record of it counts here whatever the directory is by now, since the file tells whether it is so.
///
/// # Errors
/// Fails if a file cannot be read or made.
pub fn separate_shared(disk: &SharedDisk, data_dir: &Path, size: SegmentSize) -> Result<(), BranchError> {
    let Some(record) = read_undamaged(disk, data_dir)? else { return Ok(()) };
    separate_shared_of(disk, data_dir, &record, size).map(drop)
}

/// Where the timeline ended in whose last segment lies what the recorded promotion wrote behind, if one does.
///
/// # Errors
/// Fails if that cannot be seen.
pub fn shared_end(
    disk: &SharedDisk,
    data_dir: &Path,
    size: SegmentSize,
) -> Result<Option<LogPosition>, BranchError> {
    let Some(record) = read_undamaged(disk, data_dir)? else { return Ok(None) };
    shared_end_of(&folder(disk, data_dir, size), &record)
}

/// The record, unless it is damaged: whoever needs it tells of that.
fn read_undamaged(disk: &SharedDisk, data_dir: &Path) -> Result<Option<BranchRecord>, BranchError> {
    match BranchRecord::read(&**disk, data_dir) {
        Err(BranchError::Damaged(_)) => Ok(None),
        read => read,
    }
}

fn folder(disk: &SharedDisk, data_dir: &Path, size: SegmentSize) -> SegmentFolder {
    SegmentFolder::new(disk.clone(), &data_dir.join("pg_wal"), size)
}

/// As [`shared_end`], by a record that was read.
fn shared_end_of(folder: &SegmentFolder, record: &BranchRecord) -> Result<Option<LogPosition>, BranchError> {
    let Some(BegunPromotion { timeline, shared: Some(ended), .. }) = record.promotion else {
        return Ok(None);
    };
    Ok(folder.is_promotions(ended, timeline)?.then_some(ended))
}

/// As [`separate_shared`], by a record that was read. Where the timeline ended, if that was to be done.
fn separate_shared_of(
    disk: &SharedDisk,
    data_dir: &Path,
    record: &BranchRecord,
    size: SegmentSize,
) -> Result<Option<LogPosition>, BranchError> {
    let folder = folder(disk, data_dir, size);
    let ended = shared_end_of(&folder, record)?;
    if let Some(ended) = ended {
        folder.separate(ended)?;
    }
    Ok(ended)
}

/// Takes back a promotion that is later than the timeline that the control file names.
pub(super) fn undo(
    disk: &SharedDisk,
    data_dir: &Path,
    record: BranchRecord,
    named: TimelineId,
    size: SegmentSize,
) -> Result<Option<TimelineId>, BranchError> {
    let Some(BegunPromotion { timeline, branch, signals, .. }) = record.undecided(named) else {
        return Ok(None);
    };
    signals.restore(&**disk, data_dir)?;
    let pg_wal = data_dir.join("pg_wal");
    // First, and with or without the second name: what was written behind the switch may be on disk alone.
    if !host::planted!("an undone promotion leaves what it wrote behind the switch") {
        separate_shared_of(disk, data_dir, &record, size)?;
    }
    let history = pg_wal.join(timeline.history_file_name());
    let has_history = disk.exists(&history).map_err(|error| file_error(&history, error))?;
    let is_own = match TimelineHistory::load(&**disk, &pg_wal, timeline) {
        // The names of its history and its segment come to the disk in any order. The number was nobody's.
        Ok(found) => !has_history || found.branch() == Some(branch),
        Err(HistoryFileError::Io { path, error }) => return Err(BranchError::Io { path, error }),
        // It was not whole yet.
        Err(HistoryFileError::Invalid { .. }) => true,
    };
    let entries = disk.list(&pg_wal).map_err(|error| file_error(&pg_wal, error))?;
    let mut left: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
    left.retain(|name| {
        is_own && SegmentNumber::parse_file_name(name, size).is_some_and(|(of, _)| of == timeline)
    });
    left.extend((is_own && has_history).then(|| timeline.history_file_name()));
    for name in left {
        let path = pg_wal.join(name);
        disk.remove_file(&path).map_err(|error| file_error(&path, error))?;
    }
    TimelineHistory::forget_prepared(&**disk, &pg_wal, timeline)
        .map_err(|error| file_error(&pg_wal, error))?;
    disk.sync_dir(&pg_wal).map_err(|error| file_error(&pg_wal, error))?;
    store(&**disk, &data_dir.join(BRANCH_FILE), &BranchRecord { promotion: None, ..record }, false)?;
    Ok(Some(timeline))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Lsn, SystemId};
    use crate::page::{PageFlags, PageHeader};
    use crate::xlog::XlogRecord;
    use std::path::PathBuf;
    use std::sync::Arc;

    const SIZE: SegmentSize = SegmentSize::new(1 << 20).unwrap();
    const START: Lsn = Lsn::new(4 << 20);
    /// How much the ended timeline has of its last segment.
    const OLD_BYTES: usize = 104;
    const OWN: XlogRecord = XlogRecord::EndOfRecovery {
        time: host::Timestamp::from_micros(1),
        timeline: TimelineId::new(2),
        previous_timeline: TimelineId::FIRST,
    };

    /// A directory in which a promotion to timeline 2 has written on in the file of timeline 1's last
    /// segment, and the record of that.
    fn directory() -> (tempfile::TempDir, SharedDisk, BranchRecord) {
        let dir = tempfile::tempdir().unwrap();
        let disk: SharedDisk = Arc::new(host::RealDisk);
        for folder in ["plimsoll", "pg_wal"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        std::fs::write(segment(&dir, 1), with(&OWN)).unwrap();
        disk.link_file(&segment(&dir, 1), &segment(&dir, 2)).unwrap();
        let promotion = BegunPromotion {
            timeline: TimelineId::new(2),
            branch: BranchId::new(0xB2),
            shared: Some(LogPosition { timeline: TimelineId::FIRST, lsn: START + OLD_BYTES as u64 }),
            signals: Signals::default(),
        };
        let record = BranchRecord {
            timeline: TimelineId::FIRST,
            branch: None,
            received: TimelineId::INVALID,
            witnessed: TimelineId::INVALID,
            promotion: Some(promotion),
        };
        store(&*disk, &dir.path().join(BRANCH_FILE), &record, false).unwrap();
        (dir, disk, record)
    }
    fn segment(dir: &tempfile::TempDir, timeline: u32) -> PathBuf {
        let name = SegmentNumber::new(4).file_name(TimelineId::new(timeline), SIZE);
        dir.path().join("pg_wal").join(name)
    }
    /// What the ended timeline has of its last segment.
    fn old() -> Vec<u8> {
        let header =
            PageHeader::new(START, TimelineId::FIRST, PageFlags::NONE, 0, SystemId::new(1), SIZE).encode();
        let mut bytes = header.to_vec();
        bytes.resize(OLD_BYTES, 1);
        bytes
    }
    /// The segment with this record behind that.
    fn with(record: &XlogRecord) -> Vec<u8> {
        let mut bytes = old();
        bytes.extend_from_slice(record.encode().unwrap().finish(START + 40));
        bytes.resize(1 << 20, 0);
        bytes
    }
    /// Whether the ended timeline's segment has its bytes alone.
    fn ends(dir: &tempfile::TempDir) -> bool {
        let bytes = std::fs::read(segment(dir, 1)).unwrap();
        assert!(bytes.len() == 1 << 20 && bytes.starts_with(&old()));
        bytes[OLD_BYTES..].iter().all(|byte| *byte == 0)
    }

    #[test]
    fn what_an_undone_promotion_wrote_behind_the_switch_goes_also_without_its_second_name() {
        for has_name in [true, false] {
            let (dir, disk, record) = directory();
            if !has_name {
                std::fs::remove_file(segment(&dir, 2)).unwrap();
            }
            let undone = undo(&disk, dir.path(), record, TimelineId::FIRST, SIZE).unwrap();
            assert_eq!(undone, Some(TimelineId::new(2)));
            assert!(ends(&dir) && !segment(&dir, 2).exists(), "{has_name}");
        }
    }

    #[test]
    fn what_others_have_put_in_the_ended_timelines_place_stays_where_a_promotion_is_undone() {
        let another = XlogRecord::EndOfRecovery {
            time: host::Timestamp::from_micros(1),
            timeline: TimelineId::new(3),
            previous_timeline: TimelineId::FIRST,
        };
        for record_there in [XlogRecord::FpwChange(true), another] {
            for in_place in [true, false] {
                let (dir, disk, record) = directory();
                if !in_place {
                    std::fs::remove_file(segment(&dir, 1)).unwrap();
                }
                std::fs::write(segment(&dir, 1), with(&record_there)).unwrap();
                undo(&disk, dir.path(), record, TimelineId::FIRST, SIZE).unwrap();
                assert!(std::fs::read(segment(&dir, 1)).unwrap() == with(&record_there), "{in_place}");
                assert!(!segment(&dir, 2).exists());
            }
        }
    }

    #[test]
    fn a_file_that_two_timelines_share_is_so_no_longer_also_once_a_copy_made_two_of_it() {
        for is_copied in [false, true] {
            let (dir, disk, record) = directory();
            if is_copied {
                std::fs::remove_file(segment(&dir, 1)).unwrap();
                std::fs::copy(segment(&dir, 2), segment(&dir, 1)).unwrap();
            }
            let ended = record.promotion.unwrap().shared;
            assert_eq!(shared_end(&disk, dir.path(), SIZE).unwrap(), ended);
            separate_shared(&disk, dir.path(), SIZE).unwrap();
            assert!(ends(&dir) && std::fs::read(segment(&dir, 2)).unwrap() == with(&OWN), "{is_copied}");
            assert_eq!(shared_end(&disk, dir.path(), SIZE).unwrap(), None);
        }
    }

    #[test]
    fn a_file_of_the_ended_timelines_own_stays_as_it_is() {
        let (dir, disk, _) = directory();
        std::fs::remove_file(segment(&dir, 1)).unwrap();
        separate_shared(&disk, dir.path(), SIZE).unwrap();
        assert!(!segment(&dir, 1).exists());
        let mut torn = with(&OWN);
        torn[OLD_BYTES + 30] ^= 1;
        for bytes in [with(&XlogRecord::FpwChange(true)), torn] {
            std::fs::write(segment(&dir, 1), &bytes).unwrap();
            separate_shared(&disk, dir.path(), SIZE).unwrap();
            assert!(std::fs::read(segment(&dir, 1)).unwrap() == bytes);
        }
    }

    #[test]
    fn the_record_of_a_promotion_is_read_as_it_was_written_with_and_without_a_shared_file() {
        let (_, _, record) = directory();
        let shared = record.promotion.unwrap();
        for began in [shared, BegunPromotion { shared: None, ..shared }] {
            for signals in ["", "standby.signal", "standby.signal recovery.signal"] {
                let began = BegunPromotion { signals: Signals::decode(signals).unwrap(), ..began };
                assert_eq!(BegunPromotion::decode(&began.to_string()), Some(began));
            }
        }
        assert_eq!(BegunPromotion::decode("2 00000000000000b2 1@x"), None);
    }
}

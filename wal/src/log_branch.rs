//! Which branch a standby follows, over restarts: plimsoll/branch.
//!
//! pg_wal does not tell it. A history file lies there as soon as somebody has heard of a timeline, and a
//! promotion that broke off leaves one with the first segment; the control file learns of a timeline only
//! with the first page or restartpoint of it. So the branch is recorded before the log goes on along it: when
//! recovery begins, and whenever a standby turns to another history ([`crate::NodeLog::branch`]).
//!
//! | line | meaning |
//! | ---- | ---- |
//! | `timeline`, `branch` | what is followed: all that pg_wal has lies on this history; `none` names no id |
//! | `received` | the latest of its timelines that came by streaming, of which senders were told that it is |
//! |            | kept here; 0 if none did |
//! | `witnessed` | the latest of its timelines that this node wrote itself, or had from a server that did, |
//! |             | or from one that could say the same; 0 if there is none |
//! | `promotion` | a promotion that began and was not ended: its timeline and branch, where the ended |
//! |             | timeline ends if that is within a segment, whose file both may share, and the signal  |
//! |             | files that it found; or `none` |
//! | `padding` | dots that give the file its length |
//!
//! The lines are closed by a CRC-32. The file is written when recovery begins, and is read for as long as the
//! control file has a standby's state: of a primary the control file tells the timeline. It is node-local,
//! left out of backups, and dropped when the directory is rewound. The first change in a node's life replaces
//! it; each later one overwrites it where it lies, in one sector.
//!
//! A directory that comes without a record that counts is a witness of the timeline that its control file
//! names if it was a primary's, or was copied from a primary (by its backup_label). A copy of a standby may
//! have hearsay, and is told more when it streams.
//!
//! What is followed and not witnessed is hearsay: an archive's history says that somebody promoted himself,
//! not that he replaced anybody. It decides what is replayed here, and is never passed on as evidence.
//!
//! Beside it lies plimsoll/received, a [`PositionFile`]: up to there the log that is followed was durable
//! here, by a receiver's flush of which senders may have been told, or because this node wrote it as a
//! primary. It counts for as long as the record does.
//! A log that cannot be read up to there is damaged, and no log ends before it. The file is written without
//! a sync until such damage is seen: from then on a loss of power does not hide it.
//!
//! A promotion is decided by the control file, which names its timeline last. One that broke off before that
//! never was: the next start takes back what it left ([`settle_promotion`]), also what it wrote behind the
//! switch in a file that it shared ([`crate::fork`]), and the signal files that it had removed already are
//! there again. One that broke off later leaves a node of its timeline, with all that it acknowledged; a
//! file that is still shared is so no longer once it starts.

mod error;
mod promotion;

pub use error::BranchError;
pub use promotion::{
    BegunPromotion, SIGNAL_FILES, Settled, Signals, separate_shared, settle_promotion, shared_end,
    undecided_end,
};

use crate::codec::{SealedLines, seal_text};
use crate::control::ControlFile;
use crate::history::{BranchId, TimelineHistory};
use crate::ids::{Lsn, TimelineId};
use crate::position_file::{LogPosition, PositionFile};
use error::file_error;
use host::{Disk, Mutex, SECTOR_SIZE, overwrite_durably, write_file_durably};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file, in the data directory.
pub const BRANCH_FILE: &str = "plimsoll/branch";
/// How far its log was received.
pub const RECEIVED_FILE: &str = "plimsoll/received";
/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4096;
const FIRST_LINE: &str = "plimsoll branch 1";
/// Bytes of the file.
const FILE_BYTES: usize = 256;
const _: () = assert!(FILE_BYTES <= SECTOR_SIZE);
/// Bytes of the last line, with the CRC.
const SEAL_BYTES: usize = "crc=00000000\n".len();

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BranchRecord {
    /// What is followed.
    pub timeline: TimelineId,
    /// Its branch id, if its history names one.
    pub branch: Option<BranchId>,
    /// The latest timeline that came by streaming; INVALID if none did.
    pub received: TimelineId,
    /// The latest timeline that somebody wrote for whom there is more than a file; INVALID if there is none.
    pub witnessed: TimelineId,
    /// A promotion that began.
    pub promotion: Option<BegunPromotion>,
}

impl BranchRecord {
    /// That of a data directory with this control file; None if there is none that counts.
    ///
    /// # Errors
    /// Fails if the file cannot be read or is damaged.
    pub fn load(
        disk: &dyn Disk,
        data_dir: &Path,
        control: &ControlFile,
    ) -> Result<Option<Self>, BranchError> {
        if control.state.is_standbys() { Self::read(disk, data_dir) } else { Ok(None) }
    }

    fn read(disk: &dyn Disk, data_dir: &Path) -> Result<Option<Self>, BranchError> {
        let path = data_dir.join(BRANCH_FILE);
        let damaged = || BranchError::Damaged(path.display().to_string());
        match disk.read_text(&path, FILE_BYTES_MAX) {
            Ok(text) => Self::decode(&text).map(Some).ok_or_else(damaged),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(damaged()),
            Err(error) => Err(file_error(&path, error)),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = SealedLines::of(text, FIRST_LINE)?;
        Some(Self {
            timeline: lines.parsed("timeline")?,
            branch: match lines.value("branch")? {
                "none" => None,
                id => Some(id.parse().ok()?),
            },
            received: lines.parsed("received")?,
            witnessed: lines.parsed("witnessed")?,
            promotion: match lines.value("promotion")? {
                "none" => None,
                began => Some(BegunPromotion::decode(began)?),
            },
        })
    }
}

impl fmt::Display for BranchRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let branch = self.branch.map_or_else(|| "none".to_owned(), |branch| branch.to_string());
        let promotion = self.promotion.map(|promotion| promotion.to_string());
        let mut lines = format!(
            "{FIRST_LINE}\ntimeline={}\nbranch={branch}\nreceived={}\nwitnessed={}\npromotion={}\n",
            self.timeline,
            self.received,
            self.witnessed,
            promotion.unwrap_or_else(|| "none".to_owned()),
        );
        let rest = FILE_BYTES.saturating_sub(lines.len() + "padding=\n".len() + SEAL_BYTES);
        lines.push_str(&format!("padding={}\n", ".".repeat(rest)));
        f.write_str(&seal_text(lines))
    }
}

/// The record of a node at work.
pub struct LogBranch {
    files: Option<Files>,
    /// Held while it is changed, so that nobody who only asks waits for the disk. Whether the file is this
    /// life's, which is changed where it lies.
    changing: Mutex<bool>,
    now: Mutex<Option<BranchRecord>>,
    received: Mutex<Option<LogPosition>>,
}

/// Where it is kept.
struct Files {
    disk: Arc<dyn Disk>,
    record: PathBuf,
    received: PositionFile,
}

impl fmt::Debug for LogBranch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (now, received) = (self.record(), self.received());
        f.debug_struct("LogBranch").field("now", &now).field("received", &received).finish_non_exhaustive()
    }
}

impl LogBranch {
    /// Of a data directory.
    ///
    /// # Errors
    /// As [`BranchRecord::load`].
    pub fn open(disk: Arc<dyn Disk>, data_dir: &Path, control: &ControlFile) -> Result<Self, BranchError> {
        let now = BranchRecord::load(&*disk, data_dir, control)?;
        Self::with(disk, data_dir, now)
    }

    fn with(disk: Arc<dyn Disk>, data_dir: &Path, now: Option<BranchRecord>) -> Result<Self, BranchError> {
        let file = PositionFile::new(disk.clone(), data_dir.join(RECEIVED_FILE));
        let received = match now {
            Some(_) => file.read().map_err(|error| file_error(file.path(), error))?,
            None => None,
        };
        let files = Files { disk, record: data_dir.join(BRANCH_FILE), received: file };
        let (now, received) = (Mutex::new(now), Mutex::new(received));
        Ok(Self { files: Some(files), changing: Mutex::default(), now, received })
    }

    /// Of a log without a data directory.
    pub fn unrecorded() -> Arc<Self> {
        let (changing, now, received) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { files: None, changing, now, received })
    }

    /// What is recorded.
    pub fn record(&self) -> Option<BranchRecord> {
        *self.now.lock()
    }

    /// Recovery begins, along `history`, in a directory without a record that counts. It is a witness of the
    /// timeline `witnessed`, and `promotion` is one that came to nothing more.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn begin(
        &self,
        history: &TimelineHistory,
        witnessed: TimelineId,
        promotion: Option<BegunPromotion>,
    ) -> Result<(), BranchError> {
        let record = BranchRecord {
            timeline: history.target(),
            branch: history.branch(),
            received: TimelineId::INVALID,
            witnessed,
            promotion,
        };
        // There may be no file any more, whatever it said.
        *self.now.lock() = None;
        *self.received.lock() = None;
        if let Some(files) = &self.files {
            files.received.remove().map_err(|error| file_error(files.received.path(), error))?;
        }
        self.change(|_| Some(record))
    }

    /// The log goes on along `history`, which continues what is here up to `kept`.
    ///
    /// # Errors
    /// Fails if a file cannot be written.
    pub fn follow(&self, history: &TimelineHistory, kept: Lsn) -> Result<(), BranchError> {
        self.leave_behind(history, kept)?;
        let known = |timeline| if history.contains(timeline) { timeline } else { TimelineId::INVALID };
        let promotion = |now: BranchRecord| now.promotion.filter(|began| began.timeline == history.target());
        self.change(|now| {
            Some(BranchRecord {
                timeline: history.target(),
                branch: history.branch(),
                received: known(now.map_or(TimelineId::INVALID, |now| now.received)),
                witnessed: known(now.map_or(TimelineId::INVALID, |now| now.witnessed)),
                promotion: now.and_then(promotion),
            })
        })
    }

    /// From here on log of this timeline comes by streaming.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn receive(&self, timeline: TimelineId) -> Result<(), BranchError> {
        self.change(|now| now.map(|now| BranchRecord { received: now.received.max(timeline), ..now }))
    }

    /// There is a server that wrote this timeline of what is followed. What the disk does not take is known
    /// until this server ends: it will be told again.
    pub fn witness(&self, timeline: TimelineId) {
        let witnessed = |now: BranchRecord| BranchRecord { witnessed: now.witnessed.max(timeline), ..now };
        if self.change(|now| now.map(witnessed)).is_err() {
            let mut now = self.now.lock();
            *now = now.map(witnessed);
        }
    }

    /// A promotion begins.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn begin_promotion(&self, promotion: BegunPromotion) -> Result<(), BranchError> {
        self.change(|now| now.map(|now| BranchRecord { promotion: Some(promotion), ..now }))
    }

    /// Up to where the log that is followed was received and durable; None if nobody knows.
    pub fn received(&self) -> Option<LogPosition> {
        *self.received.lock()
    }

    /// The log is durable up to here, and others may have been told so. What the disk does not take is
    /// known until this server ends: less is proven then.
    pub fn flushed(&self, timeline: TimelineId, upto: Lsn) {
        let mut received = self.received.lock();
        // What is received once more, since it cannot be read, was durable before.
        if received.is_none_or(|before| before.lsn < upto) {
            let now = LogPosition { timeline, lsn: upto };
            *received = Some(now);
            if let Some(files) = &self.files {
                let _ = files.received.write(now);
            }
        }
    }

    /// What was received cannot be read here: that it was is to outlive the machine's power. What the disk
    /// does not take is known until this server ends.
    pub fn keep_received(&self) {
        if let (Some(files), Some(now)) = (&self.files, self.received()) {
            let _ = files.received.write_durably(now);
        }
    }

    /// What was received and is not on `history`, which goes on from `kept`, is given up.
    fn leave_behind(&self, history: &TimelineHistory, kept: Lsn) -> Result<(), BranchError> {
        let mut received = self.received.lock();
        let Some(before) = *received else { return Ok(()) };
        let now = match before.along(history) {
            Some(lsn) => LogPosition { lsn, ..before },
            None => LogPosition { timeline: history.timeline_at(kept), lsn: kept.min(before.lsn) },
        };
        if now != before {
            if let Some(files) = &self.files {
                let written = files.received.write_durably(now);
                written.map_err(|error| file_error(files.received.path(), error))?;
            }
            *received = Some(now);
        }
        Ok(())
    }

    fn change(
        &self,
        change: impl FnOnce(Option<BranchRecord>) -> Option<BranchRecord>,
    ) -> Result<(), BranchError> {
        let mut is_own = self.changing.lock();
        let now = self.record();
        let next = change(now);
        if next == now {
            return Ok(());
        }
        if let (Some(files), Some(record)) = (&self.files, next) {
            // What a sync that failed left of it is not changed, but replaced.
            let in_place = std::mem::take(&mut *is_own);
            store(&*files.disk, &files.record, &record, in_place)?;
            *is_own = true;
        }
        *self.now.lock() = next;
        Ok(())
    }
}

fn store(disk: &dyn Disk, path: &Path, record: &BranchRecord, in_place: bool) -> Result<(), BranchError> {
    let store = if in_place { overwrite_durably } else { write_file_durably };
    store(disk, path, record.to_string().as_bytes()).map_err(|error| file_error(path, error))
}

#[cfg(test)]
mod tests {
    use super::promotion::undo;
    use super::*;
    use crate::ids::{Lsn, SegmentNumber, SegmentSize};
    use host::{RealDisk, SharedDisk};

    fn tl(number: u32) -> TimelineId {
        TimelineId::new(number)
    }
    /// 1 -100-> 2 -200-> 3
    fn histories() -> [TimelineHistory; 3] {
        let one = TimelineHistory::root(tl(1));
        let two = one.fork(tl(2), Lsn::new(100), "x", BranchId::new(0xB2)).unwrap();
        let three = two.fork(tl(3), Lsn::new(200), "x", BranchId::new(0xB3)).unwrap();
        [one, two, three]
    }
    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["plimsoll", "pg_wal"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        dir
    }
    fn promotion(timeline: u32, branch: u64) -> BegunPromotion {
        let (timeline, branch) = (tl(timeline), BranchId::new(branch));
        BegunPromotion { timeline, branch, shared: None, signals: Signals::default() }
    }
    fn disk() -> SharedDisk {
        Arc::new(RealDisk)
    }
    fn open(dir: &tempfile::TempDir) -> LogBranch {
        let record = BranchRecord::read(&RealDisk, dir.path()).unwrap();
        LogBranch::with(Arc::new(RealDisk), dir.path(), record).unwrap()
    }

    #[test]
    fn what_is_followed_received_and_witnessed_lasts_and_hearsay_stays_hearsay() {
        let dir = directory();
        let [one, two, three] = histories();
        assert_eq!(open(&dir).record(), None);
        open(&dir).begin(&one, TimelineId::INVALID, None).unwrap();
        let branch = open(&dir);
        branch.receive(tl(1)).unwrap();
        branch.witness(tl(1));
        branch.follow(&two, Lsn::INVALID).unwrap();
        let record = open(&dir).record().unwrap();
        assert_eq!((record.timeline, record.branch), (tl(2), Some(BranchId::new(0xB2))));
        assert_eq!((record.received, record.witnessed), (tl(1), tl(1)), "of 2 there is a file alone");
        open(&dir).witness(tl(2));
        open(&dir).witness(tl(1));
        open(&dir).follow(&three, Lsn::INVALID).unwrap();
        assert_eq!(open(&dir).record().unwrap().witnessed, tl(2));
        // Another way from timeline 1 on: what was seen of 2 says nothing of it.
        let four = one.fork(tl(4), Lsn::new(90), "x", BranchId::new(4)).unwrap();
        open(&dir).follow(&four, Lsn::INVALID).unwrap();
        assert_eq!(open(&dir).record().unwrap().witnessed, TimelineId::INVALID);
        open(&dir).begin(&two, tl(2), None).unwrap();
        assert_eq!(open(&dir).record().unwrap().received, TimelineId::INVALID, "its log came from nobody");
    }

    #[test]
    fn what_was_received_lasts_and_is_given_up_with_its_branch_only() {
        let dir = directory();
        let [one, two, three] = histories();
        let at = |timeline, lsn| Some(LogPosition { timeline: tl(timeline), lsn: Lsn::new(lsn) });
        open(&dir).begin(&one, TimelineId::INVALID, None).unwrap();
        let branch = open(&dir);
        branch.flushed(tl(1), Lsn::new(90));
        branch.flushed(tl(1), Lsn::new(70));
        assert_eq!(open(&dir).received(), at(1, 90), "what comes once more was there before");
        // What lies before the fork is of both.
        open(&dir).follow(&two, Lsn::new(80)).unwrap();
        assert_eq!(open(&dir).received(), at(1, 90));
        open(&dir).flushed(tl(1), Lsn::new(120));
        open(&dir).follow(&two, Lsn::new(100)).unwrap();
        assert_eq!(open(&dir).received(), at(1, 100));
        open(&dir).flushed(tl(2), Lsn::new(250));
        open(&dir).follow(&three, Lsn::new(200)).unwrap();
        assert_eq!(open(&dir).received(), at(2, 200));
        // A branch that timeline 2 is not on.
        let four = one.fork(tl(4), Lsn::new(60), "x", BranchId::new(4)).unwrap();
        open(&dir).follow(&four, Lsn::new(60)).unwrap();
        assert_eq!(open(&dir).received(), at(4, 60));
        open(&dir).begin(&four, TimelineId::INVALID, None).unwrap();
        assert_eq!(open(&dir).received(), None, "of another life of the directory");
    }

    #[test]
    fn a_damaged_record_is_told_and_passes_for_none() {
        let dir = directory();
        open(&dir).begin(&histories()[1], tl(1), None).unwrap();
        open(&dir).begin_promotion(promotion(3, 0xB3)).unwrap();
        let path = dir.path().join(BRANCH_FILE);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bad = whole.clone();
            bad[at] ^= 4;
            std::fs::write(&path, &bad).unwrap();
            let told = BranchRecord::read(&RealDisk, dir.path()).unwrap_err().to_string();
            assert!(told.contains("plimsoll/branch\", is damaged"), "byte {at}: {told}");
        }
        std::fs::write(&path, &whole).unwrap();
        let found = BranchRecord::read(&RealDisk, dir.path()).unwrap().unwrap().promotion;
        assert_eq!(found, Some(promotion(3, 0xB3)));
    }

    #[test]
    fn a_crash_in_a_change_where_the_record_lies_leaves_the_old_or_the_new_one() {
        let disk = simulation::VirtualDisk::new();
        let dir = Path::new("/data");
        disk.create_dir_all(&dir.join("plimsoll")).unwrap();
        for folder in [Path::new("/"), dir] {
            disk.sync_dir(folder).unwrap();
        }
        let branch = LogBranch::with(Arc::new(disk.clone()), dir, None).unwrap();
        branch.begin(&histories()[0], tl(1), None).unwrap();
        let before = branch.record().unwrap();
        let states: Arc<Mutex<Vec<simulation::VirtualDisk>>> = Arc::default();
        let sink = states.clone();
        disk.observe(Box::new(move |_, moment| sink.lock().push(moment.fork())));
        branch.begin_promotion(promotion(2, 0xB2)).unwrap();
        disk.stop_observing();
        let after = branch.record().unwrap();
        let states = std::mem::take(&mut *states.lock());
        assert_eq!(states.len(), 2, "a write and a sync");
        let mut seen = Vec::new();
        for (seed, state) in (0..50).flat_map(|seed| states.iter().map(move |state| (seed, state))) {
            let image = state.crash(simulation::CrashPolicy::Anything { seed });
            seen.push(BranchRecord::read(&image, dir).unwrap().unwrap());
        }
        assert!(seen.iter().all(|record| [before, after].contains(record)), "{seen:?}");
        assert!(seen.contains(&before) && seen.contains(&after));
        let durable = disk.crash(simulation::CrashPolicy::LoseUnsynced);
        assert_eq!(BranchRecord::read(&durable, dir).unwrap(), Some(after));
        assert_eq!(disk.metadata(&dir.join(BRANCH_FILE)).unwrap().len, FILE_BYTES as u64);
    }

    #[test]
    fn the_signal_files_of_a_promotion_that_is_taken_back_are_there_again() {
        let dir = directory();
        open(&dir).begin(&histories()[0], tl(1), None).unwrap();
        let signal = dir.path().join("standby.signal");
        std::fs::write(&signal, b"").unwrap();
        let signals = Signals::found(&RealDisk, dir.path()).unwrap();
        open(&dir).begin_promotion(BegunPromotion { signals, ..promotion(2, 0xB2) }).unwrap();
        signals.remove(&RealDisk, dir.path()).unwrap();
        assert!(!signal.exists());
        let size = SegmentSize::new(1 << 20).unwrap();
        let record = open(&dir).record().unwrap();
        assert_eq!(undo(&disk(), dir.path(), record, tl(2), size).unwrap(), None);
        assert!(!signal.exists(), "it was decided");
        assert_eq!(undo(&disk(), dir.path(), record, tl(1), size).unwrap(), Some(tl(2)));
        assert!(signal.exists() && !dir.path().join("recovery.signal").exists());
    }

    #[test]
    fn what_a_promotion_left_is_taken_back_unless_it_was_decided() {
        let [one, two, _] = histories();
        let size = SegmentSize::new(1 << 20).unwrap();
        let segment = |timeline| SegmentNumber::new(4).file_name(tl(timeline), size);
        let twin = one.fork(tl(2), Lsn::new(100), "x", BranchId::new(0x77)).unwrap();
        for (decided, found, undone, left) in [
            (1, Some(&two), true, vec![segment(1)]),
            // Its segment's name came to the disk, and that of its history did not.
            (1, None, true, vec![segment(1)]),
            // A file of another branch is not its own.
            (1, Some(&twin), true, vec!["00000002.history".to_owned(), segment(1), segment(2)]),
            (2, Some(&two), false, vec!["00000002.history".to_owned(), segment(1), segment(2)]),
        ] {
            let dir = directory();
            open(&dir).begin(&one, tl(1), None).unwrap();
            open(&dir).begin_promotion(promotion(2, 0xB2)).unwrap();
            let pg_wal = dir.path().join("pg_wal");
            if let Some(found) = found {
                found.store(&RealDisk, &pg_wal).unwrap();
            }
            for timeline in [1, 2] {
                std::fs::write(pg_wal.join(segment(timeline)), b"").unwrap();
            }
            if decided == 1 {
                two.prepare(&RealDisk, &pg_wal).unwrap();
            }
            let record = || open(&dir).record().unwrap();
            let take_back = || undo(&disk(), dir.path(), record(), tl(decided), size).unwrap();
            assert_eq!(take_back(), undone.then_some(tl(2)));
            let mut there: Vec<_> = std::fs::read_dir(&pg_wal).unwrap().map(|entry| entry.unwrap()).collect();
            there.sort_by_key(std::fs::DirEntry::file_name);
            let there: Vec<_> = there.iter().map(|entry| entry.file_name().into_string().unwrap()).collect();
            let mut left = left;
            left.sort();
            assert_eq!(there, left, "{decided} {found:?}");
            assert_eq!(take_back(), None, "once");
        }
    }
}

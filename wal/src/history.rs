//! Timeline history files: how a timeline's log hangs together out of the ones before it.
//!
//! `<8 hex digits>.history` in pg_wal, text (access/transam/timeline.c documents the format in words):
//!
//! | line | meaning |
//! | ---- | ---- |
//! | `<timeline>\t<switch position>\t<reason>` | its log goes up to the position, exclusive; oldest first |
//! | empty, or starting with `#` | comment |
//! | `# plimsoll branch=<16 hex> crc=<8 hex>` | id of the branch that begins here; CRC-32 so far |
//!
//! Two promotions that cannot see each other may take the same timeline number; their branch ids differ.
//! PostgreSQL copies the parent's file and appends to it, so a `# plimsoll` line may stand in the middle: it
//! names the branch of the timeline in the next entry.

use crate::ids::{Lsn, ParseIdError, TimelineId};
use host::{Disk, FileKind, OpenMode, temporary_of, write_file_durably};
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;

/// The largest history file that is read, in bytes: room for about 10000 timelines.
pub const HISTORY_FILE_SIZE_MAX: u64 = 1 << 20;

/// What a line that names a branch begins with; no entry's reason has it.
const MARK: &str = "# plimsoll ";

/// Tells twins apart: two branches that took the same timeline number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BranchId(u64);

impl BranchId {
    /// From its number.
    pub const fn new(value: u64) -> Self {
        Self(value)
    }
    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for BranchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for BranchId {
    type Err = ParseIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = plain.then(|| u64::from_str_radix(text, 16).ok()).flatten();
        value.map(Self).ok_or_else(|| ParseIdError::new("branch", text))
    }
}

/// A timeline that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The timeline.
    pub timeline: TimelineId,
    /// Its end: the first byte that the next timeline owns.
    pub end: Lsn,
    /// Why it ended.
    pub reason: String,
    /// Its branch, if its own history file named one.
    pub branch: Option<BranchId>,
}

/// A timeline of a history.
struct Span {
    timeline: TimelineId,
    /// MAX for the one that goes on.
    end: Lsn,
    branch: Option<BranchId>,
}

/// Whether two branches took the same number, as their ids say.
fn are_twins(mine: &Span, theirs: &Span) -> bool {
    mine.timeline == theirs.timeline
        && matches!((mine.branch, theirs.branch), (Some(mine), Some(theirs)) if are_two(mine, theirs))
}

fn are_two(mine: BranchId, theirs: BranchId) -> bool {
    mine != theirs && !host::planted!("branches of one number pass for one branch")
}

/// A history that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// A line that is neither an entry nor a comment.
    #[error("line {line} of the history of timeline {timeline} is no entry: \"{text}\"")]
    Syntax {
        /// The file's timeline.
        timeline: TimelineId,
        /// Counted from 1.
        line: usize,
        /// The line's start.
        text: String,
    },
    /// Timelines or positions do not rise.
    #[error("line {line} of the history of timeline {timeline} goes back: timeline {found} ends at {end}")]
    Order {
        /// The file's timeline.
        timeline: TimelineId,
        /// Counted from 1.
        line: usize,
        /// The entry's timeline.
        found: TimelineId,
        /// The entry's position.
        end: Lsn,
    },
    /// The CRC in a comment does not fit the text before it.
    #[error(
        "history of timeline {timeline} is damaged above line {line}: CRC {found:08x}, computed {expected:08x}"
    )]
    Crc {
        /// The file's timeline.
        timeline: TimelineId,
        /// Counted from 1.
        line: usize,
        /// Computed.
        expected: u32,
        /// In the comment.
        found: u32,
    },
    /// A position is not on this history.
    #[error("timeline {timeline} is no ancestor of timeline {target}")]
    NotAnAncestor {
        /// The one asked for.
        timeline: TimelineId,
        /// The history's own.
        target: TimelineId,
    },
}

/// A history file that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryFileError {
    /// The contents make no sense.
    #[error("{path}: {error}")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong.
        error: HistoryError,
    },
    /// Reading or writing failed.
    #[error("could not access timeline history file \"{path}\": {error}")]
    Io {
        /// The file.
        path: String,
        /// The cause; NotFound where there is no such file.
        error: io::Error,
    },
}

/// The way from the first timeline to `target`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineHistory {
    target: TimelineId,
    entries: Vec<HistoryEntry>,
    branch: Option<BranchId>,
    /// The file's own text, so that it is passed on byte for byte.
    text: String,
}

impl TimelineHistory {
    /// A timeline without ancestors (usually 1).
    pub fn root(timeline: TimelineId) -> Self {
        Self { target: timeline, entries: Vec::new(), branch: None, text: String::new() }
    }

    /// Reads the contents of the history file of `target`.
    ///
    /// # Errors
    /// Fails if a line makes no sense, positions go back, or a CRC is wrong.
    pub fn parse(target: TimelineId, text: &str) -> Result<Self, HistoryError> {
        let mut entries: Vec<HistoryEntry> = Vec::new();
        let mut branch = None;
        let mut offset = 0;
        for (index, full) in text.split_inclusive('\n').enumerate() {
            let line = index + 1;
            let content = full.trim();
            if let Some(mark) = content.strip_prefix(MARK) {
                let (found_branch, crc) = parse_mark(mark).ok_or_else(|| syntax(target, line, content))?;
                // No sum covers the sum itself: only one way to write the line is right.
                if full != format!("{}\n", mark_text(found_branch, crc)) {
                    return Err(syntax(target, line, content));
                }
                let covered = offset + full.find(" crc=").unwrap_or(0);
                let expected = crc32fast::hash(text.get(..covered).unwrap_or_default().as_bytes());
                if crc != expected {
                    return Err(HistoryError::Crc { timeline: target, line, expected, found: crc });
                }
                branch = Some(found_branch);
            } else if content.starts_with('#') {
                if content.contains(" crc=") {
                    return Err(syntax(target, line, content)); // our own line, damaged at its start
                }
            } else if !content.is_empty() {
                let entry =
                    parse_entry(content, branch.take()).ok_or_else(|| syntax(target, line, content))?;
                let rises =
                    entries.last().is_none_or(|last| last.timeline < entry.timeline && last.end <= entry.end);
                if !rises || entry.timeline >= target {
                    let (found, end) = (entry.timeline, entry.end);
                    return Err(HistoryError::Order { timeline: target, line, found, end });
                }
                entries.push(entry);
            }
            offset += full.len();
        }
        Ok(Self { target, entries, branch, text: text.to_owned() })
    }

    /// The history of a new timeline that leaves this one at `end` (exclusive). None if `timeline` is not
    /// above this one or `end` lies before this timeline's own start.
    pub fn fork(&self, timeline: TimelineId, end: Lsn, reason: &str, branch: BranchId) -> Option<Self> {
        if timeline <= self.target || end < self.begin() {
            return None;
        }
        let reason: String =
            reason.chars().map(|char| if char.is_control() { ' ' } else { char }).take(200).collect();
        let reason = reason.replace(MARK, "");
        let mut text = self.text.clone();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("{}\t{end}\t{reason}\n", self.target));
        let crc = crc32fast::hash(format!("{text}{MARK}branch={branch}").as_bytes());
        text.push_str(&format!("{}\n", mark_text(branch, crc)));
        let mut entries = self.entries.clone();
        entries.push(HistoryEntry { timeline: self.target, end, reason, branch: self.branch });
        Some(Self { target: timeline, entries, branch: Some(branch), text })
    }

    /// The timeline whose history this is.
    pub const fn target(&self) -> TimelineId {
        self.target
    }
    /// The id of the target's branch, if its file names one.
    pub const fn branch(&self) -> Option<BranchId> {
        self.branch
    }
    /// The timelines that ended, oldest first.
    pub fn entries(&self) -> &[HistoryEntry] {
        &self.entries
    }
    /// The file's contents; empty for a timeline without ancestors, which has no file.
    pub fn text(&self) -> &str {
        &self.text
    }
    /// Where the target timeline begins; 0/0 without ancestors.
    pub fn begin(&self) -> Lsn {
        self.entries.last().map_or(Lsn::INVALID, |entry| entry.end)
    }
    /// Whether a timeline is the target or one of its ancestors.
    pub fn contains(&self, timeline: TimelineId) -> bool {
        timeline == self.target || self.entries.iter().any(|entry| entry.timeline == timeline)
    }
    /// The history of an ancestor, byte for byte as its own file has it: each file begins with its parent's.
    /// None for the target and for strangers.
    pub fn ancestor(&self, timeline: TimelineId) -> Option<Self> {
        let at = self.entries.iter().position(|entry| entry.timeline == timeline)?;
        let (mut before, mut entries) = (0, 0);
        for line in self.text.split_inclusive('\n') {
            let is_entry = !line.trim().is_empty() && !line.trim().starts_with('#');
            if is_entry && entries == at {
                break;
            }
            (before, entries) = (before + line.len(), entries + usize::from(is_entry));
        }
        Some(Self {
            target: timeline,
            entries: self.entries.get(..at)?.to_vec(),
            branch: self.entries.get(at)?.branch,
            text: self.text.get(..before)?.to_owned(),
        })
    }
    /// The history of one of its timelines, the target or an ancestor.
    pub fn up_to(&self, timeline: TimelineId) -> Option<Self> {
        if timeline == self.target { Some(self.clone()) } else { self.ancestor(timeline) }
    }
    /// Whether another history of the same timeline is of another branch. Where one does not name its branch,
    /// their texts tell: one may be the other's beginning, as a copy that was broken off is.
    pub fn is_twin_of(&self, other: &Self) -> bool {
        match (self.branch, other.branch) {
            (Some(mine), Some(theirs)) => are_two(mine, theirs),
            _ => !self.text.starts_with(&other.text) && !other.text.starts_with(&self.text),
        }
    }
    /// The timeline that owns the byte at `lsn`.
    pub fn timeline_at(&self, lsn: Lsn) -> TimelineId {
        self.entries.iter().find(|entry| lsn < entry.end).map_or(self.target, |entry| entry.timeline)
    }
    /// Where a timeline ends: Some for an ancestor (its switch point), None for the target. An error for any
    /// other.
    ///
    /// # Errors
    /// Fails if the timeline is no part of this history.
    pub fn end_of(&self, timeline: TimelineId) -> Result<Option<Lsn>, HistoryError> {
        match self.entries.iter().find(|entry| entry.timeline == timeline) {
            Some(entry) => Ok(Some(entry.end)),
            None if timeline == self.target => Ok(None),
            None => Err(HistoryError::NotAnAncestor { timeline, target: self.target }),
        }
    }
    /// Where a timeline of this history begins.
    ///
    /// # Errors
    /// Fails if the timeline is no part of this history.
    pub fn begin_of(&self, timeline: TimelineId) -> Result<Lsn, HistoryError> {
        let mut begin = Lsn::INVALID;
        for entry in &self.entries {
            if entry.timeline == timeline {
                return Ok(begin);
            }
            begin = entry.end;
        }
        if timeline == self.target {
            Ok(begin)
        } else {
            Err(HistoryError::NotAnAncestor { timeline, target: self.target })
        }
    }
    /// The branch id of one of its timelines, if that is known.
    pub fn branch_of(&self, timeline: TimelineId) -> Option<BranchId> {
        if timeline == self.target {
            return self.branch();
        }
        self.entries.iter().find(|entry| entry.timeline == timeline)?.branch
    }
    /// The timeline that follows `timeline` on the way to the target; None for the target and for strangers.
    pub fn successor_of(&self, timeline: TimelineId) -> Option<TimelineId> {
        let at = self.entries.iter().position(|entry| entry.timeline == timeline)?;
        Some(self.entries.get(at + 1).map_or(self.target, |entry| entry.timeline))
    }
    /// All timelines, newest first, each with its begin and its end (None: open).
    pub fn newest_first(&self) -> impl Iterator<Item = (TimelineId, Lsn, Option<Lsn>)> + '_ {
        let open = std::iter::once((self.target, self.begin(), None));
        open.chain((0..self.entries.len()).rev().filter_map(|at| {
            let entry = self.entries.get(at)?;
            let begin = at.checked_sub(1).and_then(|before| self.entries.get(before));
            Some((entry.timeline, begin.map_or(Lsn::INVALID, |before| before.end), Some(entry.end)))
        }))
    }
    /// The last position that both histories share, and the timeline that owns the byte before it. None if
    /// they have nothing in common or their branch ids say that equal numbers are twins from the start.
    pub fn common_ancestor(&self, other: &Self) -> Option<(TimelineId, Lsn)> {
        let mut common = None;
        for (mine, theirs) in self.spans().zip(other.spans()) {
            if mine.timeline != theirs.timeline || are_twins(&mine, &theirs) {
                break;
            }
            common = Some((mine.timeline, mine.end.min(theirs.end)));
            if mine.end != theirs.end {
                break;
            }
        }
        common
    }

    /// The lowest number that both histories have for different branches.
    pub fn first_twin(&self, other: &Self) -> Option<TimelineId> {
        self.spans()
            .find(|mine| other.spans().any(|theirs| are_twins(mine, &theirs)))
            .map(|twin| twin.timeline)
    }

    /// The timelines, oldest first.
    fn spans(&self) -> impl Iterator<Item = Span> + '_ {
        let ended = |entry: &HistoryEntry| {
            let HistoryEntry { timeline, end, branch, .. } = entry;
            Span { timeline: *timeline, end: *end, branch: *branch }
        };
        let open = Span { timeline: self.target, end: Lsn::MAX, branch: self.branch };
        self.entries.iter().map(ended).chain(std::iter::once(open))
    }

    /// Reads the history of `target` from pg_wal. A timeline without a file is a root: PostgreSQL sees it so
    /// too.
    ///
    /// # Errors
    /// Fails if the file cannot be read or makes no sense.
    pub fn load(disk: &dyn Disk, pg_wal: &Path, target: TimelineId) -> Result<Self, HistoryFileError> {
        let file = pg_wal.join(target.history_file_name());
        let path = file.display().to_string();
        // Reasons are texts for people, of PostgreSQL's servers in any encoding.
        let contents = match disk.read(&file, HISTORY_FILE_SIZE_MAX) {
            Ok(contents) => String::from_utf8_lossy(&contents).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::root(target)),
            Err(error) => return Err(HistoryFileError::Io { path, error }),
        };
        Self::parse(target, &contents).map_err(|error| HistoryFileError::Invalid { path, error })
    }

    /// Writes the file durably into pg_wal. A root has no file, and nothing is written.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn store(&self, disk: &dyn Disk, pg_wal: &Path) -> Result<(), HistoryFileError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let file = pg_wal.join(self.target.history_file_name());
        let contents = self.text.as_bytes();
        let stored = if host::planted!("a history file is not synced") {
            disk.open(&file, OpenMode::Create).and_then(|new| new.write_all_at(contents, 0))
        } else {
            write_file_durably(disk, &file, contents)
        };
        stored.map_err(|error| HistoryFileError::Io { path: file.display().to_string(), error })
    }

    /// The first half of [`Self::store`]: the file, durable under a temporary name.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn prepare(&self, disk: &dyn Disk, pg_wal: &Path) -> Result<(), HistoryFileError> {
        let temporary = temporary_of(&pg_wal.join(self.target.history_file_name()));
        let written = disk.open(&temporary, OpenMode::Create).and_then(|file| {
            file.truncate(0)?;
            file.write_all_at(self.text.as_bytes(), 0)?;
            if host::planted!("a history file is not synced") { Ok(()) } else { file.sync() }
        });
        written.map_err(|error| HistoryFileError::Io { path: temporary.display().to_string(), error })
    }

    /// Takes the first half back: the history of this timeline that has no name yet, if there is one.
    ///
    /// # Errors
    /// Fails if the file cannot be removed.
    pub fn forget_prepared(disk: &dyn Disk, pg_wal: &Path, timeline: TimelineId) -> io::Result<()> {
        match disk.remove_file(&temporary_of(&pg_wal.join(timeline.history_file_name()))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Removes what crashes left of histories that never got their name.
    ///
    /// # Errors
    /// Fails if the folder cannot be read or a file not be removed.
    pub fn remove_temporaries(disk: &dyn Disk, pg_wal: &Path) -> io::Result<()> {
        // A folder of such a name is told of by the promotion that needs the name.
        for entry in disk.list(pg_wal)?.into_iter().filter(|entry| entry.kind != FileKind::Directory) {
            let is_left =
                |of: &TimelineId| temporary_of(Path::new(&of.history_file_name())) == Path::new(&entry.name);
            if let Some(timeline) = TimelineId::of_file_name(&entry.name).filter(is_left) {
                Self::forget_prepared(disk, pg_wal, timeline)?;
            }
        }
        Ok(())
    }

    /// The second: gives it its name, which is durable after a sync of the folder.
    ///
    /// # Errors
    /// Fails if the file cannot be renamed.
    pub fn keep(&self, disk: &dyn Disk, pg_wal: &Path) -> Result<(), HistoryFileError> {
        let file = pg_wal.join(self.target.history_file_name());
        let renamed = disk.rename(&temporary_of(&file), &file);
        renamed.map_err(|error| HistoryFileError::Io { path: file.display().to_string(), error })
    }
}

fn syntax(timeline: TimelineId, line: usize, text: &str) -> HistoryError {
    HistoryError::Syntax { timeline, line, text: text.chars().take(64).collect() }
}

/// The line that names a branch and sums up what stands before the sum, without its end.
fn mark_text(branch: BranchId, crc: u32) -> String {
    format!("{MARK}branch={branch} crc={crc:08x}")
}

/// `branch=<hex> crc=<hex>`.
fn parse_mark(mark: &str) -> Option<(BranchId, u32)> {
    let (branch, crc) = mark.split_once(' ')?;
    let branch = branch.strip_prefix("branch=")?.parse().ok()?;
    Some((branch, u32::from_str_radix(crc.strip_prefix("crc=")?, 16).ok()?))
}

/// `<timeline> <position> <reason>`, parted by white space; the reason may be missing, as PostgreSQL takes
/// it.
fn parse_entry(line: &str, branch: Option<BranchId>) -> Option<HistoryEntry> {
    // A damaged line end would hide the next line in this one's reason.
    if line.contains(MARK) || line.chars().any(|char| char.is_control() && char != '\t') {
        return None;
    }
    let (timeline, rest) = line.split_once(char::is_whitespace)?;
    let (end, reason) = rest.trim_start().split_once(char::is_whitespace).unwrap_or((rest.trim_start(), ""));
    Some(HistoryEntry {
        timeline: timeline.parse().ok()?,
        end: end.parse().ok()?,
        reason: reason.to_owned(),
        branch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(text: &str) -> Lsn {
        text.parse().unwrap()
    }
    fn tli(number: u32) -> TimelineId {
        TimelineId::new(number)
    }

    #[test]
    fn a_file_of_postgresql_is_read() {
        let text = "1\t0/3000148\tno recovery target specified\n\n2\t0/5000110\tbefore 2000-01-01\n";
        let history = TimelineHistory::parse(tli(3), text).unwrap();
        assert_eq!(history.entries().len(), 2);
        assert_eq!(history.timeline_at(lsn("0/3000147")), tli(1));
        assert_eq!(history.timeline_at(lsn("0/3000148")), tli(2));
        assert_eq!(history.timeline_at(lsn("0/5000110")), tli(3));
        assert_eq!(history.end_of(tli(2)), Ok(Some(lsn("0/5000110"))));
        assert_eq!(history.end_of(tli(3)), Ok(None));
        assert!(history.end_of(tli(4)).is_err());
        assert_eq!(history.begin_of(tli(2)), Ok(lsn("0/3000148")));
        assert_eq!(history.successor_of(tli(1)), Some(tli(2)));
        assert_eq!(history.successor_of(tli(2)), Some(tli(3)));
        assert_eq!(history.successor_of(tli(3)), None);
        let spans: Vec<_> = history.newest_first().collect();
        assert_eq!(spans[0], (tli(3), lsn("0/5000110"), None));
        assert_eq!(spans[2], (tli(1), Lsn::INVALID, Some(lsn("0/3000148"))));
        assert_eq!(history.text(), text);
    }

    fn root_reason_of_a_mark() -> TimelineHistory {
        let reason = "at restore point \"# plimsoll branch=1 crc=2\"";
        TimelineHistory::root(tli(1)).fork(tli(2), lsn("0/300"), reason, BranchId::new(1)).unwrap()
    }

    #[test]
    fn a_fork_is_parsed_back_with_its_branches() {
        let second = TimelineHistory::root(tli(1))
            .fork(tli(2), lsn("0/3000148"), "promoted\nby hand", BranchId::new(0xA1))
            .unwrap();
        let third = second.fork(tli(3), lsn("0/4000000"), "promoted", BranchId::new(0xB2)).unwrap();
        let read = TimelineHistory::parse(tli(3), third.text()).unwrap();
        assert_eq!(read, third);
        assert_eq!(read.branch(), Some(BranchId::new(0xB2)));
        assert_eq!(read.entries()[1].branch, Some(BranchId::new(0xA1)));
        let named = root_reason_of_a_mark();
        assert_eq!(
            TimelineHistory::parse(tli(2), named.text()),
            Ok(named),
            "a reason is never taken for a mark"
        );
        assert_eq!(second.fork(tli(2), lsn("0/4000000"), "", BranchId::new(1)), None);
        assert_eq!(second.fork(tli(3), lsn("0/1000000"), "", BranchId::new(1)), None);
    }

    #[test]
    fn the_history_of_each_ancestor_is_the_beginning_of_its_descendants() {
        let two = TimelineHistory::root(tli(1)).fork(tli(2), lsn("0/300"), "a", BranchId::new(1)).unwrap();
        let four = two.fork(tli(4), lsn("0/400"), "b", BranchId::new(2)).unwrap();
        let five = four.fork(tli(5), lsn("0/400"), "c", BranchId::new(3)).unwrap();
        assert_eq!(five.ancestor(tli(4)), Some(four));
        assert_eq!(five.ancestor(tli(2)), Some(two));
        assert_eq!(five.ancestor(tli(1)), Some(TimelineHistory::root(tli(1))));
        assert_eq!((five.ancestor(tli(3)), five.ancestor(tli(5))), (None, None));
        let text = "# by hand\n\n1\t0/300\tone\n# more\n2\t0/400\ttwo\n";
        let foreign = TimelineHistory::parse(tli(3), text).unwrap();
        assert_eq!(foreign.ancestor(tli(2)).unwrap().text(), "# by hand\n\n1\t0/300\tone\n# more\n");
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        for text in [
            "one\t0/1\tx\n",
            "1 nowhere x\n",
            "2\t0/2\tx\n1\t0/3\tx\n",
            "1\t0/5\tx\n2\t0/4\tx\n",
            "3\t0/1\tx\n",
            "1\t0/1\tx\n# plimsoll branch=1 crc=0\n",
            "1\n",
        ] {
            assert!(TimelineHistory::parse(tli(3), text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_common_ancestor_is_the_last_shared_position_and_twins_share_nothing_of_their_own() {
        let root = TimelineHistory::root(tli(1));
        let left = root.fork(tli(2), lsn("0/300"), "", BranchId::new(1)).unwrap();
        let right = root.fork(tli(3), lsn("0/200"), "", BranchId::new(2)).unwrap();
        let twin = root.fork(tli(2), lsn("0/300"), "", BranchId::new(3)).unwrap();
        assert_eq!(left.common_ancestor(&right), Some((tli(1), lsn("0/200"))));
        assert_eq!(left.common_ancestor(&twin), Some((tli(1), lsn("0/300"))));
        assert_eq!(left.common_ancestor(&root), Some((tli(1), lsn("0/300"))));
        assert_eq!(left.common_ancestor(&left), Some((tli(2), Lsn::MAX)));
        assert_eq!(root.common_ancestor(&TimelineHistory::root(tli(4))), None);
    }
}

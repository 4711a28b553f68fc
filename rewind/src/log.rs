//! The log of the rewound directory: from the redo point to the end along the source's branch, and nothing of
//! the branch that is given up.

use crate::copy::{Copier, TEMPORARY, remove_tree, settle_folder};
use crate::error::{RewindError, io_error};
use crate::source::SourcePosition;
use crate::target::Target;
use basebackup::send::files::{FileClass, SentFile};
use std::collections::{BTreeMap, BTreeSet};
use wal::file_names::{parse_backup, parse_partial};
use wal::history::TimelineHistory;
use wal::reader::{Next, ReaderOptions, WalReader};
use wal::{Lsn, SegmentNumber, SegmentSize, TimelineId};

/// What becomes of pg_wal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPlan {
    /// Segments to copy, by name, with the bytes that are the log.
    copy: Vec<(String, u64)>,
    /// Files whose marks of the archive go: the files go, others come in their place, or they are gone.
    unmark: Vec<String>,
    /// Files to remove.
    remove: Vec<String>,
    /// Segments that are neither here nor there.
    pub missing: Vec<String>,
    /// Bytes by which the log grows at most.
    pub added_bytes: u64,
}

/// What a plan is made of.
pub struct LogPlanning<'p> {
    /// The source's files.
    pub source: &'p [SentFile],
    /// Its history.
    pub history: &'p TimelineHistory,
    /// The names in the target's pg_wal.
    pub own: &'p [String],
    /// The names of which it knows that the archive has them, or waits for them.
    pub marked: &'p [String],
    /// Segments' size.
    pub size: SegmentSize,
    /// Where the branches parted.
    pub fork: Lsn,
    /// The redo point.
    pub redo: Lsn,
    /// How far the source has its log durably, at least: all of it comes.
    pub end: Lsn,
}

impl LogPlan {
    /// How many segments to copy.
    pub fn files(&self) -> usize {
        self.copy.len()
    }

    /// Bytes to read of them.
    pub fn bytes(&self) -> u64 {
        self.copy.iter().map(|(_, length)| length).sum()
    }
}

impl LogPlanning<'_> {
    /// Chooses each segment's file: the own one where the log is common, else the source's.
    pub fn plan(&self) -> LogPlan {
        let there = self.bytes_there();
        let own: BTreeSet<&str> = self.own.iter().map(String::as_str).collect();
        let mut plan = LogPlan::default();
        let mut kept = BTreeSet::new();
        let end = self.end.max(self.fork);
        let mut segment = self.size.segment_of(self.redo);
        while segment <= self.size.segment_before(end) {
            let (start, stop) = (self.size.start_of(segment), self.size.start_of(segment.next()));
            let names = self.names(segment, stop.min(end));
            let is_common = stop <= self.fork;
            // A timeline's file is read for all that came before it, too.
            let needed = |begin: Lsn| stop.min(end.max(begin)).bytes_since(start);
            let has = |name: &str, begin| there.get(name).is_some_and(|bytes| *bytes >= needed(begin));
            if let Some((name, _)) = names.iter().find(|(name, _)| is_common && own.contains(name.as_str())) {
                kept.insert(name.clone());
            } else if let Some((name, begin)) = names.iter().find(|(name, begin)| has(name, *begin)) {
                kept.insert(name.clone());
                plan.copy.push((name.clone(), needed(*begin)));
            } else {
                plan.missing.extend(names.into_iter().next().map(|(name, _)| name));
            }
            segment = segment.next();
        }
        plan.remove =
            self.own.iter().filter(|name| !kept.contains(*name) && self.goes(name)).cloned().collect();
        plan.unmark = self.marked.iter().filter(|name| self.goes(name)).cloned().collect();
        plan.added_bytes = self.added_bytes(&plan);
        plan
    }

    /// How much the source has of each file of the log. What it keeps for rewinds is as good as what it has
    /// in its place.
    fn bytes_there(&self) -> BTreeMap<&str, u64> {
        let mut there = BTreeMap::new();
        for file in self.source.iter().filter(|file| file.class == FileClass::Log) {
            let bytes = there.entry(file.path.rsplit('/').next().unwrap_or_default()).or_default();
            *bytes = file.size.max(*bytes);
        }
        there
    }

    /// What goes, goes first; what is replaced lies beside its old file for a moment.
    fn added_bytes(&self, plan: &LogPlan) -> u64 {
        let is_segment = |name: &&String| SegmentNumber::parse_file_name(name, self.size).is_some();
        let removed = plan.remove.iter().filter(is_segment).count();
        let replaced = plan.copy.iter().filter(|(name, ..)| self.own.contains(name)).count();
        let added = plan.copy.len().saturating_sub(removed + replaced) + usize::from(replaced > 0);
        self.size.bytes() * added as u64
    }

    /// The names that a segment of this history may have which has the log up to `upto`, the one to read
    /// first, with where their timelines begin. That of a timeline of which the source knows alone, and has
    /// no log yet, comes last. The file of a timeline that ends before `upto` is none: recovery would come to
    /// its end and find no other.
    fn names(&self, segment: SegmentNumber, upto: Lsn) -> Vec<(String, Lsn)> {
        let end = self.end.max(self.fork);
        let names = self
            .history
            .newest_first()
            .filter(|(_, begin, stop)| {
                self.size.segment_of(*begin) <= segment
                    && *begin <= end
                    && stop.is_none_or(|stop| upto <= stop)
            })
            .map(|(timeline, begin, _)| (segment.file_name(timeline, self.size), begin));
        let (mut names, later): (Vec<_>, Vec<_>) = names.partition(|(_, begin)| *begin < end);
        names.extend(later);
        names
    }

    /// Whether a file of the target's pg_wal is of the branch that is given up, or may be.
    fn goes(&self, name: &str) -> bool {
        if name.ends_with(TEMPORARY) {
            return true;
        }
        if let Some(timeline) = TimelineId::parse_history_file_name(name) {
            return !self.history.contains(timeline);
        }
        if let Some((timeline, start)) = parse_backup(name, self.size) {
            return !self.history.contains(timeline) || start >= self.fork;
        }
        let segment = SegmentNumber::parse_file_name(name, self.size);
        let Some((timeline, segment)) = segment.or_else(|| parse_partial(name, self.size)) else {
            return false;
        };
        if host::planted!("a rewind keeps the log behind the fork") {
            return false;
        }
        !self.history.contains(timeline) || self.size.start_of(segment.next()) > self.fork
    }
}

impl Target {
    /// Where recovery must come to once the log is here, and on which timeline: pages may be that new, and
    /// what is said to have been rewound to the source's branch is on that as far as there is a record: on
    /// the newest timeline of which one has come.
    pub(crate) fn needed(
        &self,
        pages: Lsn,
        source: &SourcePosition,
        history: &TimelineHistory,
    ) -> (Lsn, TimelineId) {
        let timeline_before = |end: Lsn| history.timeline_at(Lsn::new(end.get().saturating_sub(1)));
        let options = ReaderOptions::new(self.control.segment_size);
        let mut reader = WalReader::new(self.log_along(history), options, pages);
        let mut end = pages;
        let newest = source.timeline.min(timeline_before(source.log_end));
        while timeline_before(end) < newest
            && let Ok(Next::Record(record)) = reader.next()
            && record.end() <= source.log_end
        {
            if timeline_before(record.end()) > timeline_before(end) {
                end = record.end();
            }
        }
        (end, timeline_before(end))
    }

    /// Brings the log, and takes the given-up branch's away. What it leaves is durable.
    pub(crate) async fn replace_log(
        &self,
        copier: &mut Copier<'_>,
        plan: &LogPlan,
        history: &TimelineHistory,
        source_end: Lsn,
    ) -> Result<(), RewindError> {
        let pg_wal = self.path("pg_wal");
        let size = self.control.segment_size;
        let marks = self.marks();
        // Before the files: what is left of a mark would vouch for the next file of that name.
        marks.forget_all(&plan.unmark).map_err(io_error(&pg_wal))?;
        for name in &plan.remove {
            // Whoever made a folder of such a name has no log in it.
            remove_tree(&*self.disk, &pg_wal.join(name))?;
        }
        for (name, length) in &plan.copy {
            // Whoever wrote it archives it. The mark goes first: a rewind that ends in between takes the
            // segment for the target's own.
            let whole = SegmentNumber::parse_file_name(name, size)
                .is_some_and(|(_, segment)| size.start_of(segment.next()) <= source_end);
            if whole {
                marks.force_done(name).map_err(io_error(&pg_wal))?;
            }
            let path = format!("pg_wal/{name}");
            if !copier.copy_segment(name, &path, *length, size.bytes()).await? {
                return Err(RewindError::VanishedWal(name.clone()));
            }
        }
        for (timeline, ..) in history.newest_first() {
            if let Some(history) = history.up_to(timeline).filter(|history| !history.entries().is_empty()) {
                history.store(&*self.disk, &pg_wal)?;
                marks.force_done(&timeline.history_file_name()).map_err(io_error(&pg_wal))?;
            }
        }
        // All of it: what a try that was killed has left to the kernel, this one did not find to do.
        settle_folder(&*self.disk, &pg_wal).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wal::history::BranchId;

    const MB: u64 = 1 << 20;

    fn segment(timeline: u32, number: u64) -> String {
        let size = SegmentSize::new(MB).unwrap();
        SegmentNumber::new(number).file_name(TimelineId::new(timeline), size)
    }

    #[test]
    fn common_segments_stay_and_the_given_up_branch_goes() {
        let size = SegmentSize::new(MB).unwrap();
        let fork = Lsn::new(5 * MB + 100);
        let history = TimelineHistory::root(TimelineId::new(1))
            .fork(TimelineId::new(2), fork, "x", BranchId::new(2))
            .unwrap();
        let names = [segment(1, 3), segment(1, 4), segment(2, 5), segment(2, 6), segment(2, 7)];
        let source: Vec<_> = names
            .iter()
            .map(|name| SentFile { path: format!("pg_wal/{name}"), size: MB, class: FileClass::Log })
            .collect();
        let own = [
            segment(1, 2),
            segment(1, 4),
            segment(1, 5),
            format!("{}.partial", segment(1, 5)),
            segment(1, 6),
            segment(3, 4),
            "00000003.history".to_owned(),
            "00000002.history".to_owned(),
            format!("{}.00000028.backup", segment(1, 5)),
            format!("{}.00000064.backup", segment(1, 5)),
            format!("{}.00000028.backup", segment(3, 4)),
            "archive_status".to_owned(),
        ];
        // Of one of the source's there is a mark, of whatever file.
        let marked =
            [segment(1, 2), segment(1, 4), segment(1, 5), segment(2, 6), "00000003.history".to_owned()];
        let planning = LogPlanning {
            source: &source,
            history: &history,
            own: &own,
            marked: &marked,
            size,
            fork,
            redo: Lsn::new(3 * MB + 40),
            end: Lsn::new(6 * MB + 4096),
        };
        let plan = planning.plan();
        let copied = |timeline, number, bytes| (segment(timeline, number), bytes);
        assert_eq!(plan.copy, [copied(1, 3, MB), copied(2, 5, MB), copied(2, 6, 4096)]);
        assert_eq!(
            plan.remove,
            [
                segment(1, 5),
                format!("{}.partial", segment(1, 5)),
                segment(1, 6),
                segment(3, 4),
                "00000003.history".to_owned(),
                format!("{}.00000064.backup", segment(1, 5)),
                format!("{}.00000028.backup", segment(3, 4)),
            ]
        );
        assert_eq!(plan.unmark, marked[2..], "what is common stays in the archive");
        assert_eq!(plan.missing, Vec::<String>::new());
        assert_eq!(plan.added_bytes, 0, "three come, and three go before");
        let plan = LogPlanning { redo: Lsn::new(MB), source: &source[3..], ..planning }.plan();
        assert_eq!(plan.missing, [segment(1, 1), segment(1, 3), segment(2, 5)]);
        let own = [segment(1, 4), segment(2, 6)];
        let plan = LogPlanning { own: &own, source: &source, ..planning }.plan();
        assert_eq!(plan.added_bytes, 3 * MB, "two are new, and one lies beside the old one for a moment");
    }

    #[test]
    fn a_later_timelines_file_comes_with_all_that_was_before_it() {
        let size = SegmentSize::new(MB).unwrap();
        let (fork, later) = (Lsn::new(5 * MB + 100), Lsn::new(5 * MB + 9000));
        let history = TimelineHistory::root(TimelineId::new(1))
            .fork(TimelineId::new(2), fork, "x", BranchId::new(2))
            .unwrap()
            .fork(TimelineId::new(3), later, "x", BranchId::new(3))
            .unwrap();
        let source: Vec<_> = [segment(2, 5), segment(3, 5)]
            .into_iter()
            .map(|name| SentFile { path: format!("pg_wal/{name}"), size: MB, class: FileClass::Log })
            .collect();
        let (redo, end) = (Lsn::new(5 * MB + 40), Lsn::new(6 * MB));
        let planning = |end| LogPlanning {
            source: &source,
            history: &history,
            own: &[],
            marked: &[],
            size,
            fork,
            redo,
            end,
        };
        assert_eq!(planning(end).plan().copy, [(segment(3, 5), MB)]);
        assert_eq!(planning(later).plan().copy, [(segment(2, 5), 9000)], "nothing of timeline 3 has come");
        let without = |end| LogPlanning { source: &source[1..], ..planning(end) };
        assert_eq!(without(later).plan().copy, [(segment(3, 5), 9000)]);
        let plan = without(Lsn::new(5 * MB + 4096)).plan();
        assert_eq!(plan.missing, [segment(2, 5)], "timeline 3 is known there, and its log has not come");
    }

    #[test]
    fn a_segment_whose_timeline_ends_before_what_is_needed_of_it_is_not_there() {
        let size = SegmentSize::new(MB).unwrap();
        let (switch, fork) = (Lsn::new(3 * MB + 100), Lsn::new(5 * MB + 100));
        let history = TimelineHistory::root(TimelineId::new(1))
            .fork(TimelineId::new(2), switch, "x", BranchId::new(2))
            .unwrap()
            .fork(TimelineId::new(3), fork, "x", BranchId::new(3))
            .unwrap();
        let source: Vec<_> = [segment(1, 3), segment(2, 3), segment(3, 5)]
            .into_iter()
            .map(|name| SentFile { path: format!("pg_wal/{name}"), size: MB, class: FileClass::Log })
            .collect();
        let own = [segment(1, 3), segment(2, 4)];
        let end = Lsn::new(6 * MB);
        let planning = || LogPlanning {
            source: &source,
            history: &history,
            own: &own,
            marked: &[],
            size,
            fork,
            redo: Lsn::new(3 * MB + 40),
            end,
        };
        assert_eq!(planning().plan().copy, [(segment(2, 3), MB), (segment(3, 5), MB)]);
        let without = [source[0].clone(), source[2].clone()];
        let plan = LogPlanning { source: &without, ..planning() }.plan();
        assert_eq!(plan.missing, [segment(2, 3)], "nor does the source have it in its timeline 1");
        let mut short = source.clone();
        short[1].size -= 1;
        let plan = LogPlanning { source: &short, ..planning() }.plan();
        assert_eq!(plan.missing, [segment(2, 3)], "what was broken off is not there");
        let all = [segment(2, 3), segment(2, 4)];
        let plan = LogPlanning { own: &all, source: &source[2..], ..planning() }.plan();
        assert_eq!((plan.copy, plan.missing), (vec![(segment(3, 5), MB)], vec![]));
    }
}

//! Whether what the archive has of a timeline is the log that this server has: another server may have gone on
//! with a copy of the directory, and archived its log under the same names.
//!
//! A segment of which something can be read here is compared itself, up to where the log here was confirmed.
//! One of which nothing can is taken only behind one that is the same: the segment that the archive has before
//! it is compared with the one here. Where the two differ, nothing is taken from there on. What fills a hole
//! must link to the log before and behind it.

use super::restore::{Restorer, SEGMENT_FILE, remove};
use host::OpenMode;
use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::Path;
use wal::history::TimelineHistory;
use wal::reader::{Compared, SegmentCopy, SegmentFiles};
use wal::{Lsn, SegmentNumber, TimelineId};

/// Bytes that are compared at once.
const COMPARED_BYTES: usize = 128 << 10;
/// The segments before that the archive is asked for, and how far back those lie at most.
const ASKED_BEFORE_MAX: usize = 2;
const SEGMENTS_BACK_MAX: u64 = 64;

/// What was seen of the archive.
#[derive(Default)]
pub(super) struct SameLog {
    /// The restore_command of which that was seen.
    command: String,
    /// The segment up to which the archive's log leads.
    leads_to: Option<(TimelineId, SegmentNumber)>,
    /// From here on the archive's log is another one.
    another_from: Option<SegmentNumber>,
    /// What was said already.
    told: HashSet<String>,
}

/// A segment that is wanted, and what is here.
pub(super) struct Wanted<'a> {
    pub(super) history: &'a TimelineHistory,
    pub(super) timeline: TimelineId,
    pub(super) segment: SegmentNumber,
    /// The log here, along that timeline.
    pub(super) ours: SegmentFiles,
    /// Up to where it was confirmed.
    pub(super) own_upto: Lsn,
}

impl Restorer {
    fn part_of(&self, segment: SegmentNumber, upto: Lsn) -> Range<Lsn> {
        let (start, end) = (self.segment_size.start_of(segment), self.segment_size.start_of(segment.next()));
        start..end.min(upto).max(start)
    }

    /// The timeline along which the last byte of a segment is read.
    fn timeline_of(&self, history: &TimelineHistory, segment: SegmentNumber) -> TimelineId {
        history.timeline_at(self.segment_size.start_of(segment.next()) - 1)
    }

    /// Whether the archive may be asked for a segment: the log that it has before is the one here, as far as
    /// that can be told.
    pub(super) fn leads_to(&self, wanted: &Wanted<'_>) -> io::Result<bool> {
        let Wanted { history, segment, ours, own_upto, .. } = wanted;
        let command = self.ground.config().restore_command.clone();
        let (another_from, leads_to) = {
            let mut seen = self.same_log.lock();
            if *seen.command != *command {
                *seen = SameLog { command: command.to_string(), ..SameLog::default() };
            }
            (seen.another_from, seen.leads_to)
        };
        if let Some(another) = another_from.filter(|another| another < segment) {
            if self.look_at(wanted, another)? == Some(false) {
                return Ok(false);
            }
            self.same_log.lock().another_from = None;
        }
        let is_next = |(timeline, led): (TimelineId, SegmentNumber)| {
            (led == *segment || led.next() == *segment) && timeline == self.timeline_of(history, led)
        };
        let part = self.part_of(*segment, *own_upto);
        if leads_to.is_some_and(is_next) || ours.can_tell(part).map_err(io::Error::other)? {
            return Ok(true);
        }
        let first = segment.get().saturating_sub(SEGMENTS_BACK_MAX);
        let mut asked = 0;
        for before in (first..segment.get()).rev().map(SegmentNumber::new) {
            if !ours.can_tell(self.part_of(before, *own_upto)).map_err(io::Error::other)? {
                continue;
            }
            match self.look_at(wanted, before)? {
                Some(is_same) => {
                    if is_same {
                        let led = SegmentNumber::new(segment.get().saturating_sub(1));
                        self.note_led(self.timeline_of(history, led), led);
                    }
                    return Ok(is_same);
                }
                None => asked += 1,
            }
            if asked == ASKED_BEFORE_MAX {
                break;
            }
        }
        Ok(true)
    }

    /// The archive's log leads to the end of this segment.
    pub(super) fn note_led(&self, timeline: TimelineId, segment: SegmentNumber) {
        let mut seen = self.same_log.lock();
        seen.leads_to = Some((timeline, segment));
        if seen.another_from == Some(segment) {
            seen.another_from = None;
        }
    }

    /// Compares the archive's copy of a segment before the one that is wanted with what is here; None if it
    /// has none.
    fn look_at(&self, wanted: &Wanted<'_>, before: SegmentNumber) -> io::Result<Option<bool>> {
        let timeline = self.timeline_of(wanted.history, before);
        if self.are_anothers(wanted.history, timeline)? {
            return Ok(None);
        }
        let name = before.file_name(timeline, self.segment_size);
        let Some(fetched) = self.fetch_file(&name, SEGMENT_FILE, Some(self.segment_size.bytes()))? else {
            return Ok(None);
        };
        let copy = self.copy_of(&fetched, before, &name)?;
        let mut is_same = true;
        self.compare_pieces(&wanted.ours, &copy, wanted.own_upto, |_, compared| {
            if let Compared::Another(differs_at) = compared {
                self.refuse(before, &name, differs_at, Some(wanted));
                is_same = false;
            }
            Ok(is_same)
        })?;
        remove(&*self.ground.host.disk, &fetched)?;
        Ok(Some(is_same))
    }

    fn copy_of(&self, fetched: &Path, segment: SegmentNumber, name: &str) -> io::Result<SegmentCopy> {
        let file = self.ground.host.disk.open(fetched, OpenMode::Read)?;
        Ok(SegmentCopy { file, segment, name: name.to_owned() })
    }

    /// Compares a fetched segment piece by piece up to where the log here was confirmed, for as long as `see`
    /// wants to go on.
    fn compare_pieces(
        &self,
        ours: &SegmentFiles,
        copy: &SegmentCopy,
        own_upto: Lsn,
        mut see: impl FnMut((Lsn, &[u8]), Compared) -> io::Result<bool>,
    ) -> io::Result<()> {
        let Range { start, end } = self.part_of(copy.segment, own_upto);
        let (mut buffer, mut at) = (vec![0; COMPARED_BYTES], start);
        while at < end {
            let most = usize::try_from(end.bytes_since(at)).unwrap_or(usize::MAX).min(COMPARED_BYTES);
            let got = copy.file.read_at(buffer.get_mut(..most).unwrap_or_default(), at.bytes_since(start))?;
            let piece = buffer.get(..got).unwrap_or_default();
            if got == 0 || !see((at, piece), ours.compare_copy(copy, at, piece).map_err(io::Error::other)?)? {
                return Ok(());
            }
            at = at + got as u64;
        }
        Ok(())
    }

    /// Puts into a fetched segment what of it can be read here, up to where that was confirmed. Gives the
    /// place that could not; None if the segment is of another log, which is said once.
    pub(super) fn unite(&self, wanted: &Wanted<'_>, fetched: &Path) -> io::Result<Option<Range<Lsn>>> {
        let Wanted { timeline, segment, ours, own_upto, .. } = wanted;
        let (disk, start) = (&self.ground.host.disk, self.segment_size.start_of(*segment));
        let name = segment.file_name(*timeline, self.segment_size);
        let copy = self.copy_of(fetched, *segment, &name)?;
        let (mut unreadable, mut is_same) = (start..start, true);
        let mut note = |part: Range<Lsn>| {
            let from = if unreadable.is_empty() { part.start } else { unreadable.start };
            unreadable = from..part.end;
        };
        self.compare_pieces(ours, &copy, *own_upto, |(at, piece), compared| {
            match compared {
                Compared::Same => {}
                Compared::Gone => note(at..at + piece.len() as u64),
                Compared::Alike { bytes, taken } => {
                    // A copy of a read-only file may be one, too, and mostly is as it is to be.
                    if piece != &bytes[..] {
                        let offset = at.bytes_since(start);
                        disk.open(fetched, OpenMode::ReadWrite)?.write_all_at(&bytes, offset)?;
                    }
                    taken.into_iter().for_each(&mut note);
                }
                Compared::Another(differs_at) => {
                    self.refuse(*segment, &name, differs_at, None);
                    is_same = false;
                }
            }
            Ok(is_same)
        })?;
        if is_same
            && !unreadable.is_empty()
            && !ours.goes_on_with(&copy, unreadable.clone()).map_err(io::Error::other)?
        {
            self.say(format!(
                "the archive's segment \"{name}\" does not go on with what this server has received, which cannot be \
                 read between {} and {}, and is not restored",
                unreadable.start, unreadable.end
            ));
            is_same = false;
        }
        Ok(is_same.then_some(unreadable))
    }

    /// From this segment on the archive has another log.
    fn refuse(&self, segment: SegmentNumber, name: &str, differs_at: Lsn, wanted: Option<&Wanted<'_>>) {
        {
            let mut seen = self.same_log.lock();
            seen.leads_to = None;
            seen.another_from = Some(seen.another_from.map_or(segment, |before| before.min(segment)));
        }
        let behind = match wanted {
            Some(wanted) => format!("\"{}\"", wanted.segment.file_name(wanted.timeline, self.segment_size)),
            None => "what the archive has".to_owned(),
        };
        self.say(format!(
            "the archive's segment \"{name}\" differs at {differs_at} from what this server has received, and is not \
             restored, nor is {behind} behind it"
        ));
    }

    /// Warns once.
    fn say(&self, warning: String) {
        if self.same_log.lock().told.insert(warning.clone()) {
            self.ground.log.warning(warning);
        }
    }
}

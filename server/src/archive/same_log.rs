//! Whether what the archive has of a timeline is the log that this server has: another server may have gone
//! on with a copy of the directory, and archived its log under the same names.
//!
//! Nothing gets a name in pg_wal before it is proven. What is here tells, below the point up to which it was
//! confirmed. If whole records of the wanted segment are
//! - here: they are the same in the archive's copy, and what that fills in links to the log around it;
//! - not here, or it is behind the end: so are those of the nearest segments before and behind that have some
//!   here, as far as the archive has these, and of one at least; what fills a hole links;
//! - here of no segment at all: what fills a hole links.
//!
//! So where the archive has another log, nothing behind that place is taken either. A segment of a later
//! timeline than the log here is taken without such a neighbour in the archive, too, if that timeline's
//! branch id is known and there: no other branch has it.
//!
//! Per segment that the archive has, it is asked for [`NEIGHBOURS_MAX`] more, each under [`NAMES_MAX`] names
//! at most, and [`LOOKED_AT_MAX`] files on each side are searched for a record; what was the same once is not
//! asked for again while the command and the end of the log here stay. All of it hears the server's stop.

use super::restore::{BESIDE_FILE, Fetched, Restorer};
use host::OpenMode;
use std::collections::{HashSet, VecDeque};
use std::io;
use std::ops::Range;
use wal::history::TimelineHistory;
use wal::log_branch::RECEIVED_FILE;
use wal::reader::{Compared, SegmentCopy, SegmentFiles, Sought};
use wal::{Lsn, SegmentNumber, TimelineId, WalSource};

/// Bytes that are compared at once.
const COMPARED_BYTES: usize = 128 << 10;
/// One before, and one behind.
const NEIGHBOURS_MAX: usize = 2;
/// Files on each side in which a whole record is looked for.
const LOOKED_AT_MAX: usize = 4;
/// Names under which the archive may have a segment: of a timeline that ends in it, and one that begins.
const NAMES_MAX: usize = 2;
/// Segments that are remembered to be the same.
const REMEMBERED_MAX: usize = 8;

/// What was seen of the archive.
#[derive(Default)]
pub(super) struct SameLog {
    /// The restore_command of which that was seen.
    command: String,
    /// These are the same up to here.
    same: VecDeque<(SegmentNumber, Lsn)>,
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

/// A part of the log that is filled in from the archive.
#[derive(Default)]
pub(super) struct Filled {
    /// It was here before, and could not be read.
    pub(super) unreadable: Option<Range<Lsn>>,
}

impl Restorer {
    fn part_of(&self, segment: SegmentNumber, upto: Lsn) -> Range<Lsn> {
        let (start, end) = (self.segment_size.start_of(segment), self.segment_size.start_of(segment.next()));
        start..end.min(upto).max(start)
    }

    fn goes_on(&self) -> bool {
        !self.stop.is_cancelled()
    }

    fn sought(&self, found: Result<Sought, wal::SourceError>) -> io::Result<bool> {
        match found.map_err(io::Error::other)? {
            Sought::Yes => Ok(true),
            Sought::No => Ok(false),
            Sought::BrokenOff => Err(io::Error::other("the server stops")),
        }
    }

    fn can_tell(&self, wanted: &Wanted<'_>, segment: SegmentNumber) -> io::Result<bool> {
        let part = self.part_of(segment, wanted.own_upto);
        self.sought(wanted.ours.can_tell(part, &|| self.goes_on()))
    }

    /// Whether the archive's segment may be the wanted one: the log that it has around it is the one here.
    pub(super) fn leads_to(&self, wanted: &Wanted<'_>) -> io::Result<bool> {
        self.forget_other_command();
        if self.can_tell(wanted, wanted.segment)? {
            return Ok(true);
        }
        let neighbours = self.neighbours(wanted)?;
        let mut is_proven = neighbours.is_empty() || self.is_branch_known(wanted);
        for neighbour in &neighbours {
            match self.look_at(wanted, *neighbour)? {
                Some(false) => return Ok(false),
                Some(true) => is_proven = true,
                None => {}
            }
        }
        if let Some(neighbour) = neighbours.first().filter(|_| !is_proven) {
            let name = |segment: SegmentNumber| segment.file_name(wanted.timeline, self.segment_size);
            self.say(format!(
                "the archive's segment \"{}\" is not restored: the archive has no \"{}\", which would tell whether that is \
                 the log which goes on here; put it there, or start without {RECEIVED_FILE}",
                name(wanted.segment),
                name(*neighbour),
            ));
        }
        Ok(is_proven)
    }

    /// The nearest segments before and behind the wanted one of which something can be read here.
    fn neighbours(&self, wanted: &Wanted<'_>) -> io::Result<Vec<SegmentNumber>> {
        let size = self.segment_size;
        let mut here = wanted.ours.segments_behind(SegmentNumber::new(0)).map_err(io::Error::other)?;
        here.retain(|segment| size.start_of(*segment) < wanted.own_upto);
        let before = here.iter().rev().filter(|segment| **segment < wanted.segment).take(LOOKED_AT_MAX);
        let behind = here.iter().filter(|segment| **segment > wanted.segment).take(LOOKED_AT_MAX);
        let mut found = Vec::with_capacity(NEIGHBOURS_MAX);
        for side in [before.collect::<Vec<_>>(), behind.collect()] {
            for segment in side {
                if self.can_tell(wanted, *segment)? {
                    found.push(*segment);
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Whether the wanted timeline began behind the log here, and the archive names its branch.
    fn is_branch_known(&self, wanted: &Wanted<'_>) -> bool {
        let last = Lsn::new(wanted.own_upto.get().saturating_sub(1));
        let is_later = wanted.timeline > wanted.history.timeline_at(last);
        is_later && wanted.ours.history().branch().is_some() && self.has_history(wanted.timeline)
    }

    /// Compares the archive's copy of a segment beside the wanted one with what is here; None if it has none.
    fn look_at(&self, wanted: &Wanted<'_>, beside: SegmentNumber) -> io::Result<Option<bool>> {
        let upto = self.part_of(beside, wanted.own_upto).end;
        if self.same_log.lock().same.contains(&(beside, upto)) {
            return Ok(Some(true));
        }
        let (start, end) = (self.segment_size.start_of(beside), self.segment_size.start_of(beside.next()));
        let timelines = wanted.ours.history().newest_first();
        let mut timelines: Vec<_> = timelines
            .filter(|(_, begin, ended)| *begin < end && ended.is_none_or(|ended| start < ended))
            .map(|(timeline, ..)| timeline)
            .collect();
        timelines.truncate(NAMES_MAX);
        for timeline in timelines {
            if self.are_anothers(wanted.history, timeline)? {
                continue;
            }
            let name = beside.file_name(timeline, self.segment_size);
            let size = Some(self.segment_size.bytes());
            let Some(fetched) = self.fetch_file(&name, BESIDE_FILE, size)? else { continue };
            let copy = self.copy_of(&fetched, beside, &name)?;
            let mut differs = None;
            self.compare_pieces(&wanted.ours, &copy, wanted.own_upto, |_, compared| {
                if let Compared::Another(at) = compared {
                    differs = Some(at);
                }
                Ok(differs.is_none())
            })?;
            if let Some(at) = differs {
                let wanted = wanted.segment.file_name(wanted.timeline, self.segment_size);
                self.say(format!(
                    "the archive's segment \"{name}\" differs at {at} from what this server has received, so \
                     \"{wanted}\" is not restored either"
                ));
                return Ok(Some(false));
            }
            self.note_same(beside, upto);
            return Ok(Some(true));
        }
        Ok(None)
    }

    fn copy_of(&self, fetched: &Fetched, segment: SegmentNumber, name: &str) -> io::Result<SegmentCopy> {
        let file = self.ground.host.disk.open(fetched.path(), OpenMode::Read)?;
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
            if !self.goes_on() {
                return Err(io::Error::other("the server stops"));
            }
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

    /// Puts into a fetched segment what of it can be read here, up to where that was confirmed. Gives what
    /// was filled in; None if the segment is of another log, or is not whole where this one is not, which is
    /// said once.
    pub(super) fn unite(&self, wanted: &Wanted<'_>, fetched: &Fetched) -> io::Result<Option<Filled>> {
        let Wanted { timeline, segment, ours, own_upto, .. } = wanted;
        let (disk, start) = (&self.ground.host.disk, self.segment_size.start_of(*segment));
        let name = segment.file_name(*timeline, self.segment_size);
        let copy = self.copy_of(fetched, *segment, &name)?;
        let (mut parts, mut filled): (Vec<Range<Lsn>>, _) = (Vec::new(), Filled::default());
        let mut differs = None;
        let mut note = |part: Range<Lsn>| match parts.last_mut().filter(|last| last.end == part.start) {
            Some(last) => last.end = part.end,
            None => parts.push(part),
        };
        self.compare_pieces(ours, &copy, *own_upto, |(at, piece), compared| {
            match compared {
                Compared::Same => {}
                Compared::Gone => note(at..at + piece.len() as u64),
                Compared::Alike { bytes, taken } => {
                    // A copy of a read-only file may be one, too, and mostly is as it is to be.
                    if piece != &bytes[..] {
                        let offset = at.bytes_since(start);
                        disk.open(fetched.path(), OpenMode::ReadWrite)?.write_all_at(&bytes, offset)?;
                    }
                    if let Some(part) = taken {
                        let from = filled.unreadable.as_ref().map_or(part.start, |before| before.start);
                        filled.unreadable = Some(from..part.end);
                        note(part);
                    }
                }
                Compared::Another(at) => differs = Some(at),
            }
            Ok(differs.is_none())
        })?;
        if let Some(at) = differs {
            self.say(format!(
                "the archive's segment \"{name}\" differs at {at} from what this server has received, and is not restored"
            ));
            return Ok(None);
        }
        for part in parts {
            if !self.sought(ours.goes_on_with(&copy, part.clone(), &|| self.goes_on()))? {
                self.say(format!(
                    "the archive's segment \"{name}\" does not link to what this server has received, which cannot be \
                     read between {} and {}, and is not restored",
                    part.start, part.end
                ));
                return Ok(None);
            }
        }
        Ok(Some(filled))
    }

    /// What the archive has of this segment up to `upto` is what is here.
    pub(super) fn note_same(&self, segment: SegmentNumber, upto: Lsn) {
        let mut seen = self.same_log.lock();
        if upto > self.segment_size.start_of(segment) && !seen.same.contains(&(segment, upto)) {
            seen.same.push_back((segment, upto));
            if seen.same.len() > REMEMBERED_MAX {
                seen.same.pop_front();
            }
        }
    }

    /// The same for what is in pg_wal by now.
    pub(super) fn note_kept(&self, wanted: &Wanted<'_>) {
        self.note_same(wanted.segment, self.part_of(wanted.segment, wanted.own_upto).end);
    }

    /// Another command may ask another archive.
    fn forget_other_command(&self) {
        let command = self.ground.config().restore_command.clone();
        let mut seen = self.same_log.lock();
        if *seen.command != *command {
            *seen = SameLog { command: command.to_string(), ..SameLog::default() };
        }
    }

    /// Warns once.
    fn say(&self, warning: String) {
        if self.same_log.lock().told.insert(warning.clone()) {
            self.ground.log.warning(warning);
        }
    }
}

//! What the log says of how far it is confirmed. It is a field of the state page, so standbys, backups and a
//! promoted node know it too.
//!
//! | bytes | contents of the field |
//! | ---- | ---- |
//! | 8 | the confirmed position; the last one of all after a clean stop that left nothing in doubt |
//! | 8 | up to here the next fields tell what is visible, if it can be told; a commit between here and the
//! confirmed position may have been shown |
//! | 8 | the end of the last commit that is visible up to there |
//! | 8 | the next xid there |
//! | 8 each | xids below that which are open there, or a part of later commits |
//!
//! A fenced server that crashed, whose last commits stay undecided, shows what was confirmed, without them.
//! Redo begins behind commits that may be undecided, and does not come by them: so each checkpoint puts
//! on record, between its redo point and its own record, what is seen without them. A record of before the
//! redo point would not do: versions may have been removed since of which redo does not hear. Of those that
//! are removed behind a record it does, and for that reason the next commit puts it anew. Commits do not
//! remove what a record needs that is but some commits old, so it is not put anew for each.
//!
//! It serves that server alone, and only if the second position is as far as the first. A standby may have
//! shown more, and its readers' tokens may ask for more (`visibility::prefixes`).
//!
//! A commit that waits for standbys to replay it is not seen before, though a quorum may have flushed it: the
//! position stays before it, so that a restart does not show it. Redo learns from its record what it waits
//! for; where a checkpoint or a stop passes it, the end of the last such commit is put on record, 8 bytes in
//! a field of its own.

use super::pipeline::{Committer, Pipeline};
use crate::Error;
use crate::changes::state_page::{STATE_APPLY, STATE_CONFIRMED};
use crate::changes::store::{Fault, Writer};
use crate::visibility::prefixes::{KnownPrefix, LastPrefix, Prefix};
use crate::visibility::xid_set::XidSet;
use wal::codec::{Fields, PutFields, Short};
use wal::{Lsn, Xid};

/// How far the confirmed position must have moved before it is written again.
const CONFIRMED_STEP_BYTES: u64 = 64 << 10;
/// So many commits keep the versions that what is on record needs, and so need no record of their own.
const KEPT_XIDS: u64 = 64;
/// A prefix that leaves out more xids is not told: the list of early xids has most of the page.
const XIDS_MAX: usize = 16;

/// What the field holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfirmedRecord {
    pub(crate) position: Lsn,
    /// What is seen up to there, or to an earlier place.
    pub(crate) prefix: Option<LastPrefix>,
}

impl ConfirmedRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64(self.position.get());
        if let Some(LastPrefix { upto, prefix: Prefix { end, next_xid, excluded } }) = &self.prefix {
            out.put_u64(upto.get());
            out.put_u64(end.get());
            out.put_u64(next_xid.get());
            excluded.iter().for_each(|xid| out.put_u64(xid.get()));
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Short> {
        let mut fields = Fields::new(bytes);
        let position = Lsn::new(fields.u64()?);
        if fields.left() == 0 {
            return Ok(Self { position, prefix: None });
        }
        let upto = Lsn::new(fields.u64()?);
        let (end, next_xid) = (Lsn::new(fields.u64()?), Xid::new(fields.u64()?));
        let mut excluded = Vec::new();
        while fields.left() > 0 {
            excluded.push(Xid::new(fields.u64()?));
        }
        let excluded: XidSet = excluded.into_iter().collect();
        let prefix = Prefix { end, next_xid, excluded };
        Ok(Self { position, prefix: Some(LastPrefix { upto, prefix }) })
    }
}

/// What the committer knows of the record.
#[derive(Debug, Default)]
pub(super) struct OnRecord {
    /// Its position.
    position: Lsn,
    /// Its prefix.
    known: Option<KnownPrefix>,
    /// The last commit that waited for standbys to replay it.
    apply: Lsn,
    /// The end of the last commit of this life that dropped trees. Their files may be gone.
    pub(super) dropped_up_to: Lsn,
}

impl OnRecord {
    /// Whether a prefix can be put on record: all that it sees is there.
    fn may_have(&self, known: &KnownPrefix, pruned_below: Xid) -> bool {
        known.oldest >= pruned_below
            && known.last.prefix.end >= self.dropped_up_to
            && known.last.prefix.excluded.iter().count() <= XIDS_MAX
    }
}

impl Pipeline {
    /// Takes over what recovery found on record.
    pub(crate) fn begin_confirmed(&self, position: Lsn, known: Option<KnownPrefix>) {
        self.alone(|committer| {
            committer.on_record.position = position;
            committer.on_record.known = known;
        });
    }

    /// What a commit may remove, unless a snapshot needs it: all below this.
    pub(super) fn removable_below(&self, committer: &Committer) -> Xid {
        let horizon = self.visibility.horizon();
        let Some(known) = &committer.on_record.known else { return horizon };
        let is_recent = committer.next_xid.get() < known.oldest.get().saturating_add(KEPT_XIDS);
        if is_recent && self.levels.quorum_confirmed().is_some() {
            horizon.min(known.oldest)
        } else {
            horizon
        }
    }

    /// Lets the confirmed position ride along with a commit, if it has moved enough to be worth its bytes, or
    /// if what is on record cannot be seen any more.
    pub(super) fn note_confirmed(&self, committer: &mut Committer, writer: &mut Writer<'_>) {
        let Some(confirmed) = self.levels.quorum_confirmed() else { return };
        if committer.insertions.first().is_some_and(|first| first.end <= confirmed) {
            // No prefix has yet what this leader has put into the log: the next one tells.
            return;
        }
        let (on_record, pruned_below) = (&committer.on_record, self.store.pruned_below());
        let may_have = |known: &KnownPrefix| on_record.may_have(known, pruned_below);
        let has_moved = |to: Lsn| to.bytes_since(on_record.position) >= CONFIRMED_STEP_BYTES;
        let is_known = on_record.known.as_ref().is_some_and(may_have);
        if is_known && !has_moved(confirmed) {
            return;
        }
        let position = self.levels.before_apply_in_doubt(confirmed).max(on_record.position);
        let is_found = || self.visibility.prefix_up_to(position).as_ref().is_some_and(may_have);
        if has_moved(position) || (!is_known && is_found()) {
            // If there is no place for it, the next commit tries again.
            let _ = self.record_confirmed(committer, writer, position);
        }
    }

    /// The same for a sweep, after which no commit may come for long.
    pub(crate) fn note_confirmed_after_sweep(&self) {
        self.alone(|committer| {
            if self.check_open().is_ok() {
                let mut writer = self.store.writer();
                writer.allow_io(true);
                self.note_confirmed(committer, &mut writer);
            }
        });
    }

    /// Puts on record what is confirmed, for those who begin redo at the checkpoint that is under way. Its
    /// redo point is taken.
    pub(crate) fn record_for_checkpoint(&self) {
        let confirmed = self.levels.confirmed();
        self.alone(|committer| {
            let position = self.levels.before_apply_in_doubt(confirmed).max(committer.on_record.position);
            let mut writer = self.store.writer();
            writer.allow_io(true);
            // Without it less is shown after a crash, and the checkpoint is as good: it may make the room
            // that was lacking.
            let _ = self.record_confirmed(committer, &mut writer, position);
            let _ = self.record_apply(committer, &mut writer);
        });
    }

    /// Writes the confirmed position to the state page now.
    pub(crate) fn put_confirmed(&self, confirmed: Lsn) -> Result<(), Error> {
        self.alone(|committer| {
            let mut writer = self.store.writer();
            writer.allow_io(true);
            self.record_confirmed(committer, &mut writer, confirmed)
                .and_then(|()| self.record_apply(committer, &mut writer))
                .map_err(Fault::into_error)
        })
    }

    /// Writes the end of the last commit that waits for standbys to replay it.
    fn record_apply(&self, committer: &mut Committer, writer: &mut Writer<'_>) -> Result<(), Fault> {
        let Some((_, upto)) = self.levels.apply_in_doubt() else { return Ok(()) };
        if upto > committer.on_record.apply {
            writer.put_state(STATE_APPLY, &upto.get().to_le_bytes())?;
            committer.on_record.apply = upto;
        }
        Ok(())
    }

    /// Writes it with the longest prefix up to there that can be told: of what is visible, or what is on
    /// record already.
    fn record_confirmed(
        &self,
        committer: &mut Committer,
        writer: &mut Writer<'_>,
        position: Lsn,
    ) -> Result<(), Fault> {
        let (on_record, pruned_below) = (&mut committer.on_record, self.store.pruned_below());
        let before = on_record.known.clone().filter(|known| known.last.upto <= position);
        let mut known = [self.visibility.prefix_up_to(position), before].into_iter().flatten();
        let known = known.find(|known| on_record.may_have(known, pruned_below));
        let record = ConfirmedRecord { position, prefix: known.as_ref().map(|known| known.last.clone()) };
        writer.put_state(STATE_CONFIRMED, &record.encode())?;
        (on_record.position, on_record.known) = (position, known);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_from_its_bytes_and_one_of_a_position_alone_is_read() {
        let excluded = [Xid::new(5), Xid::new(7)].into_iter().collect();
        let prefix = Prefix { end: Lsn::new(80), next_xid: Xid::new(9), excluded };
        for prefix in [None, Some(Prefix { excluded: XidSet::default(), ..prefix.clone() }), Some(prefix)] {
            let prefix = prefix.map(|prefix| LastPrefix { upto: Lsn::new(90), prefix });
            let record = ConfirmedRecord { position: Lsn::new(100), prefix };
            let bytes = record.encode();
            assert_eq!(ConfirmedRecord::decode(&bytes).unwrap(), record);
            assert!(ConfirmedRecord::decode(&bytes[..bytes.len() - 1]).is_err());
        }
        assert_eq!(ConfirmedRecord::decode(&100u64.to_le_bytes()).unwrap().prefix, None);
    }
}

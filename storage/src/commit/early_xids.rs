//! The committer's part in large transactions: xids before the commit, and the list of those.

use super::early_list::{ABORTED_MAX, EarlyList, Entry, Touched};
use super::pipeline::{Committer, Pipeline};
use super::request::{EarlyWrites, Request};
use crate::changes::state_page::STATE_EARLY;
use crate::changes::store::{Fault, Writer};
use crate::visibility::xid_set::XidSet;
use crate::{Error, TreeId};
use wal::Xid;

impl Request {
    /// The xids that end as parts of this commit.
    pub(super) fn parts(&self) -> Vec<Xid> {
        let early = self.large.iter().flat_map(|large| large.xids().iter().copied());
        self.assigned_xids.iter().copied().chain(early).collect()
    }
}

impl Pipeline {
    /// An xid for a transaction that wants to know one before it commits. No version will carry it.
    pub(crate) fn assign_xid(&self) -> Result<Xid, Error> {
        self.check_open()?;
        Ok(self.alone(|committer| {
            let xid = committer.next_xid;
            self.give_out(committer, xid);
            xid
        }))
    }

    /// As if so many transactions had come and gone.
    #[cfg(test)]
    pub(crate) fn skip_xids(&self, count: u64) {
        self.alone(|committer| {
            let last = Xid::new(committer.next_xid.get() + count);
            self.give_out(committer, last);
        });
    }

    /// Logs that what was told an xid came to nothing, and so did its `parts`.
    pub(crate) fn abort_assigned(&self, xid: Xid, parts: &[Xid]) -> Result<(), Error> {
        self.check_open()?;
        self.alone(|committer| self.log_outcome(committer, None, xid, &[], parts).map(drop))
    }

    /// An xid for versions that go into pages before the commit; logged, and unseen from now on. It is of the
    /// transaction that has the early xid `first` already, or of a new one. None: the list is full, or has
    /// aborted xids that are to be swept unless they `were_swept`. Does I/O if the state page is not in the
    /// pool.
    pub(crate) fn begin_early(
        &self,
        first: Option<Xid>,
        touched: Touched,
        were_swept: bool,
    ) -> Result<Option<Xid>, Error> {
        self.check_open()?;
        self.alone(|committer| {
            let mut writer = self.store.writer();
            self.log_aborts(committer, &mut writer)?;
            let xid = committer.next_xid;
            if (!were_swept && committer.early.aborted_xids().count() >= ABORTED_MAX)
                || !committer.early.open_one(xid, first, touched)
            {
                return Ok(None);
            }
            if let Err(error) = self.put_early(committer, &mut writer) {
                committer.early.remove(&[xid]);
                return Err(error);
            }
            self.give_out(committer, xid);
            self.visibility.open_early(xid);
            Ok(Some(xid))
        })
    }

    /// Notes that the transaction of an early xid gets versions in this relation too. To be called before the
    /// first one is written.
    pub(crate) fn touch(&self, xid: Xid, tree: TreeId) -> Result<(), Error> {
        self.check_open()?;
        self.alone(|committer| {
            let added = committer.early.touch(xid, tree);
            if added { self.put_early(committer, &mut self.store.writer()) } else { Ok(()) }
        })
    }

    /// Early xids came to nothing, the first of them with the others as its parts.
    pub(crate) fn abort_early(&self, xids: &[Xid]) {
        let Some((first, parts)) = xids.split_first() else { return };
        self.alone(|committer| {
            self.visibility.abort(xids);
            if !committer.early.abort(xids) {
                self.visibility.forget(xids);
            }
            if self.check_open().is_err() {
                // The log may have got its last record; the next start finds them without an outcome.
                committer.unlogged_aborts.extend_from_slice(xids);
                return;
            }
            let mut writer = self.store.writer();
            let logged = self
                .log_aborts(committer, &mut writer)
                .and_then(|()| self.log_outcome(committer, None, *first, &[], parts))
                .and_then(|_| self.put_early(committer, &mut writer));
            if logged.is_err() {
                // Before anything else goes into the log; after a restart recovery does it.
                committer.unlogged_aborts.extend_from_slice(xids);
            }
        });
    }

    /// The commit `commit` is in the log: the early xids that are its parts leave the list. The state page is
    /// held in the pool, and space in the log was promised.
    pub(super) fn end_early(
        &self,
        committer: &mut Committer,
        writer: &mut Writer<'_>,
        commit: Xid,
        large: &mut dyn EarlyWrites,
    ) {
        let parts: Vec<Xid> = large.xids().to_vec();
        large.committed();
        self.visibility.end_early(commit, &parts);
        committer.early.remove(&parts);
        if let Err(error) = self.put_early(committer, writer) {
            // A checkpoint from here on would make recovery take a committed transaction for an open one.
            self.store.pool().poison(error);
        }
    }

    /// Writes the list to the state page, so that it outlives the log that tells of it.
    pub(super) fn put_early(&self, committer: &Committer, writer: &mut Writer<'_>) -> Result<(), Error> {
        writer.allow_io(true);
        let put = writer.put_state(STATE_EARLY, &committer.early.encode());
        writer.allow_io(false);
        put.map_err(Fault::into_error)
    }

    /// Takes over the list as recovery found it, and logs the abort of `xids`, which have no outcome. Unless
    /// the list is `on_page` as it was found, it is put there.
    pub(crate) fn abort_leftovers(&self, found: EarlyList, on_page: bool, xids: &[Xid]) -> Result<(), Error> {
        self.alone(|committer| {
            let on_page = on_page.then(|| found.clone());
            committer.early = found;
            let outdated: Vec<Xid> = committer.early.open().filter(|xid| !xids.contains(xid)).collect();
            committer.early.remove(&outdated);
            for xid in xids {
                committer.early.abort(&[*xid]);
                if !host::planted!("no abort is logged for what has no outcome") {
                    committer.unlogged_aborts.push(*xid);
                }
            }
            let aborted = committer.early.aborted_xids().collect();
            self.visibility.set_early(XidSet::default(), aborted);
            let mut writer = self.store.writer();
            self.log_aborts(committer, &mut writer)?;
            if on_page.as_ref() == Some(&committer.early) {
                return Ok(());
            }
            self.put_early(committer, &mut writer)
        })
    }

    /// The xids to be swept.
    pub(crate) fn aborted(&self) -> Vec<Entry> {
        self.alone(|committer| committer.early.aborted().cloned().collect())
    }

    /// Forgets aborted xids whose versions are gone from all pages.
    pub(crate) fn forget_aborted(&self, swept: &[Xid]) -> Result<(), Error> {
        self.alone(|committer| {
            let mut writer = self.store.writer();
            self.log_aborts(committer, &mut writer)?;
            committer.early.remove(swept);
            self.visibility.forget(swept);
            self.put_early(committer, &mut writer)
        })
    }
}

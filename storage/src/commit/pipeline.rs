//! The commit pipeline: one committer at a time.
//!
//! ```text
//! prepare     leaves in the pool and pinned, no lock held
//! submit      the commit lock is free: lead; else queue, and the leader commits for us
//! lead        for each transaction: xid, its versions, its commit record, contiguous in the log
//!             publish to the visibility queue in log order; then the locks of written rows pass on
//! wait        until the level is reached, without any lock
//! ```
//!
//! A panic while one of these locks is held ends the process ([`host::Mutex`]): the pages may hold half a
//! transaction under an xid that the next commit would take.
//!
//! Order of locks: `committer`, then the store's write lock, then the visibility queue. `queue` is a leaf. No
//! I/O happens under them, except where a transaction that has begun to apply meets a page that went away
//! meanwhile: it cannot be sent back any more, so it reads that page there.

use super::confirmed_record::OnRecord;
use super::early_list::EarlyList;
use super::levels::Levels;
use super::request::{IN_PLACE_AFTER, Request};
use crate::changes::store::{Fault, NewVersion, Store, Writer};
use crate::error::log_error;
use crate::lock_order::{Rank, Ranked};
use crate::visibility::snapshot::{Insertion, Visibility};
use crate::{Error, Interrupt, SyncLevel, TreeId};
use host::Clock;
use host::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use tokio::sync::oneshot;
use wal::codec::PutFields;
use wal::record::BuildError;
use wal::xact::{self, Completion, XactEnd, XactRecord};
use wal::{EncodedRecord, Lsn, RecordBuilder, RelFile, Rmgr, WalWriter, Xid};

/// How often a committer looks whether the lock is free before it queues.
const SPINS: u32 = 64;
/// The most transactions that a leader commits for others in a row; then one of them leads.
const GROUP_MAX: usize = 64;

/// Why a request was not committed.
enum Refused {
    /// A page was missing, or the leader had done enough: come again.
    Again(Box<Request>),
    /// Nothing was committed.
    Failed(Error),
}

type Outcome = Result<Insertion, Refused>;

struct Follower {
    request: Box<Request>,
    answer: oneshot::Sender<Outcome>,
}

/// What is done to a follower once the commit lock is free again.
struct Done {
    outcome: Outcome,
    answer: oneshot::Sender<Outcome>,
    request: Option<Box<Request>>,
}

/// State of the one committer.
pub(super) struct Committer {
    pub(super) next_xid: Xid,
    record: EncodedRecord,
    payload: Vec<u8>,
    pub(super) insertions: Vec<Insertion>,
    done: Vec<Done>,
    /// xids that have versions in pages, and whose abort record is still to be written.
    pub(super) unlogged_aborts: Vec<Xid>,
    /// What the state page says of early xids, or will say once `unlogged_aborts` is empty.
    pub(super) early: EarlyList,
    /// What the state page says of how far the log is confirmed.
    pub(super) on_record: OnRecord,
}

/// The commit lock.
type CommitLock<'a> = Ranked<MutexGuard<'a, Committer>>;

/// Everything between a write set and an acknowledged commit.
pub(crate) struct Pipeline {
    pub(super) store: Store,
    log: WalWriter,
    clock: Arc<dyn Clock>,
    committer: Mutex<Committer>,
    queue: Mutex<VecDeque<Follower>>,
    queued: AtomicUsize,
    next_xid: AtomicU64,
    pub(crate) visibility: Arc<Visibility>,
    pub(crate) levels: Arc<Levels>,
    closed: AtomicBool,
    /// Called once when the next commit's versions are in their pages and its commit record is not in the
    /// log.
    #[cfg(test)]
    pub(crate) before_record: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Called once between the next commit's way into the log and its publication.
    #[cfg(test)]
    pub(crate) before_publish: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Pipeline {
    pub(crate) fn new(
        store: Store,
        log: WalWriter,
        clock: Arc<dyn Clock>,
        (visibility, levels): (Arc<Visibility>, Arc<Levels>),
        next_xid: Xid,
    ) -> Self {
        let committer = Committer {
            next_xid,
            record: EncodedRecord::default(),
            payload: Vec::new(),
            insertions: Vec::new(),
            done: Vec::new(),
            unlogged_aborts: Vec::new(),
            early: EarlyList::default(),
            on_record: OnRecord::default(),
        };
        Self {
            store,
            log,
            clock,
            committer: Mutex::new(committer),
            queue: Mutex::default(),
            queued: AtomicUsize::new(0),
            next_xid: AtomicU64::new(next_xid.get()),
            visibility,
            levels,
            closed: AtomicBool::new(false),
            #[cfg(test)]
            before_record: Mutex::default(),
            #[cfg(test)]
            before_publish: Mutex::default(),
        }
    }

    /// The next xid to be given out.
    pub(crate) fn next_xid(&self) -> Xid {
        Xid::new(self.next_xid.load(Ordering::Acquire))
    }

    /// Puts a transaction into the log. Its versions are in the pages then, and its locks have passed on.
    pub(crate) async fn insert(&self, mut request: Box<Request>) -> Result<Insertion, Error> {
        loop {
            request.prepare(&self.store, &self.log).await?;
            match self.submit(request).await {
                Ok(insertion) => return Ok(insertion),
                Err(Refused::Again(back)) => request = back,
                Err(Refused::Failed(error)) => return Err(error),
            }
        }
    }

    /// Waits until the level of a commit is reached. False: `interrupt` ended the wait.
    pub(crate) async fn wait(&self, commit: Insertion, interrupt: &Interrupt) -> Result<bool, Error> {
        if commit.level == SyncLevel::Off {
            self.log.request_background_flush();
            return Ok(true);
        }
        if commit.level == SyncLevel::Local && host::planted!("local does not wait for the flush") {
            return Ok(true);
        }
        if commit.level == SyncLevel::Local {
            return self.log.flush_async(commit.end).await.map(|_| true).map_err(log_error);
        }
        // A remote level includes the flush here, of which `levels` hears: the session is woken once.
        self.log.begin_flush(commit.end).map_err(log_error)?;
        let reached = self.levels.wait_remote(commit.level, commit.end, interrupt).await;
        let reached = reached.map_err(|error| self.log.failure().map_or(error, log_error))?;
        if !reached {
            // The client will be told that the transaction is committed here.
            self.log.flush_async(commit.end).await.map_err(log_error)?;
        }
        Ok(reached)
    }

    fn try_commit_lock(&self) -> Option<CommitLock<'_>> {
        self.committer.try_lock().map(|committer| Ranked::taken(Rank::Commit, committer))
    }

    async fn submit(&self, request: Box<Request>) -> Outcome {
        for _ in 0..SPINS {
            if let Some(committer) = self.try_commit_lock() {
                return self.lead(committer, request);
            }
            host::thread::spin();
        }
        let (answer, outcome) = oneshot::channel();
        self.queued.fetch_add(1, Ordering::SeqCst);
        self.queue.lock().push_back(Follower { request, answer });
        self.help();
        outcome.await.unwrap_or(Err(Refused::Failed(Error::Shutdown)))
    }

    /// Commits one's own transaction, and those of all who queued meanwhile.
    fn lead(&self, mut committer: CommitLock<'_>, request: Box<Request>) -> Outcome {
        let (outcome, request) = self.commit_one(&mut committer, request);
        self.publish(&mut committer);
        drop(committer);
        // The row locks pass on here, the memory goes with them.
        drop(request);
        if !host::planted!("who queues while the leader ends is forgotten") {
            self.help();
        }
        outcome
    }

    /// Commits for those who queue, unless somebody does already.
    fn help(&self) {
        while self.queued.load(Ordering::SeqCst) > 0 {
            let Some(mut committer) = self.try_commit_lock() else { return };
            for _ in 0..GROUP_MAX {
                let Some(Follower { request, answer }) = self.queue.lock().pop_front() else { break };
                self.queued.fetch_sub(1, Ordering::SeqCst);
                let (outcome, request) = if answer.is_closed() {
                    // Its session went away before anything was done: that is a rollback.
                    (Err(Refused::Failed(Error::Cancelled)), Some(request))
                } else {
                    self.commit_one(&mut committer, request)
                };
                committer.done.push(Done { outcome, answer, request });
            }
            self.publish(&mut committer);
            let mut done = std::mem::take(&mut committer.done);
            drop(committer);
            for Done { outcome, answer, request } in done.drain(..) {
                drop(request);
                // A session that is gone does not hear; its commit stands.
                let _ = answer.send(outcome);
            }
        }
    }

    fn publish(&self, committer: &mut Committer) {
        if !committer.insertions.is_empty() {
            #[cfg(test)]
            if let Some(look) = self.before_publish.lock().take() {
                look();
            }
            self.visibility.publish(&committer.insertions, |level, end| self.levels.reached(level, end));
            committer.insertions.clear();
        }
    }

    /// Runs with the commit lock. Gives the request back unless it went into the answer.
    fn commit_one(
        &self,
        committer: &mut Committer,
        mut request: Box<Request>,
    ) -> (Outcome, Option<Box<Request>>) {
        if let Err(error) = self.check_open() {
            return (Err(Refused::Failed(error)), Some(request));
        }
        let xid = committer.next_xid;
        let mut writer = self.store.writer();
        if let Err(error) = self.log_aborts(committer, &mut writer) {
            return (Err(Refused::Failed(error)), Some(request));
        }
        writer.set_xid(xid);
        writer.set_horizon(self.removable_below(committer));
        match apply(&mut writer, &mut request) {
            Applied::All => {}
            Applied::Nothing(Fault::Failed(error)) => return (Err(Refused::Failed(error)), Some(request)),
            Applied::Nothing(_) => return (Err(Refused::Again(request)), None),
            Applied::Part(error) => {
                drop(writer);
                self.doom(committer, xid);
                return (Err(Refused::Failed(error)), Some(request));
            }
        }
        #[cfg(test)]
        if let Some(look) = self.before_record.lock().take() {
            look();
        }
        self.note_confirmed(committer, &mut writer);
        let dropped = request.trees.as_ref().map_or(&[][..], |trees| &trees.dropped);
        let logged = if request.assigned_xids.is_empty() && request.large.is_none() {
            self.log_outcome(committer, Some(request.level), xid, dropped, &[])
        } else {
            self.log_outcome(committer, Some(request.level), xid, dropped, &request.parts())
        };
        if logged.is_ok()
            && let Some(large) = &mut request.large
        {
            self.end_early(committer, &mut writer, xid, &mut **large);
        }
        if logged.is_ok() {
            self.store.close_dropped(dropped);
        }
        drop(writer);
        match logged {
            Ok(logged) => {
                self.give_out(committer, xid);
                let insertion = Insertion { end: logged, xid, level: request.level };
                committer.insertions.push(insertion);
                if let Some(trees) = &mut request.trees {
                    trees.committed = Some(insertion);
                    if !trees.dropped.is_empty() {
                        committer.on_record.dropped_up_to = logged;
                    }
                }
                (Ok(insertion), Some(request))
            }
            Err(error) => {
                self.doom(committer, xid);
                (Err(Refused::Failed(error)), Some(request))
            }
        }
    }

    pub(super) fn give_out(&self, committer: &mut Committer, xid: Xid) {
        let next = committer.next_xid;
        assert!(xid >= next, "xid {xid} is given out after those below {next}");
        committer.next_xid = xid.next();
        self.next_xid.store(committer.next_xid.get(), Ordering::Release);
    }

    /// A transaction failed with versions in pages: it becomes an aborted one that nobody sees.
    fn doom(&self, committer: &mut Committer, xid: Xid) {
        self.give_out(committer, xid);
        committer.unlogged_aborts.push(xid);
        committer.early.abort(&[xid]);
        self.visibility.abort(&[xid]);
    }

    /// Writes the abort records that are owed, before anything else goes into the log.
    pub(super) fn log_aborts(&self, committer: &mut Committer, writer: &mut Writer<'_>) -> Result<(), Error> {
        while let Some(xid) = committer.unlogged_aborts.last().copied() {
            self.log_outcome(committer, None, xid, &[], &[])?;
            self.put_early(committer, writer)?;
            committer.unlogged_aborts.pop();
        }
        Ok(())
    }

    /// Appends the record of a commit, which waits for `level`, or of an abort; returns its end.
    pub(super) fn log_outcome(
        &self,
        committer: &mut Committer,
        level: Option<SyncLevel>,
        xid: Xid,
        dropped: &[TreeId],
        parts: &[Xid],
    ) -> Result<Lsn, Error> {
        let Committer { record, payload, .. } = committer;
        let time = self.clock.now();
        let proven_flush = self.log.proven_flush();
        let is_plain = matches!(level, Some(level) if level != SyncLevel::RemoteApply);
        let info = if is_plain && dropped.is_empty() && parts.is_empty() {
            // xl_xact_commit without parts: just the time, and ours.
            payload.clear();
            payload.put_i64(time.micros());
            if let Some(flushed) = proven_flush {
                payload.put_u64(flushed.get());
            }
            xact::COMMIT
        } else {
            let dropped: Vec<RelFile> = dropped.iter().map(|tree| tree.file()).collect();
            let subxacts = parts.iter().map(|xid| xid.low()).collect();
            // What was early, or told, may be older than its low half can say; so may the xid of an abort.
            let epochs = [xid].iter().chain(parts).map(|xid| xid.epoch()).collect();
            let completion = match level {
                Some(SyncLevel::RemoteApply) => Completion::APPLY_FEEDBACK,
                _ => Completion::default(),
            };
            let end =
                XactEnd { time, completion, dropped, subxacts, proven_flush, epochs, ..XactEnd::default() };
            let outcome = if level.is_some() { XactRecord::Commit(end) } else { XactRecord::Abort(end) };
            *payload = outcome.payload();
            outcome.info()
        };
        RecordBuilder::new(Rmgr::XACT, info, xid.low())
            .main_data(payload)
            .encode_into(record)
            .map_err(|error: BuildError| Error::Log(error.to_string().into()))?;
        self.log.insert(record).map(|inserted| inserted.end).map_err(log_error)
    }

    /// Logs the abort of a transaction that had created trees, which go with it. Returns where.
    pub(crate) fn abort_created(&self, created: &[TreeId]) -> Result<Insertion, Error> {
        self.alone(|committer| {
            let xid = committer.next_xid;
            let writer = self.store.writer();
            let end = self.log_outcome(committer, None, xid, created, &[])?;
            self.store.close_dropped(created);
            drop(writer);
            self.give_out(committer, xid);
            Ok(Insertion { end, xid, level: SyncLevel::Local })
        })
    }

    /// Runs `work` while no transaction is inside the log.
    pub(crate) fn at_rest<T>(&self, work: impl FnOnce(&mut Writer<'_>) -> T) -> T {
        self.alone(|_| work(&mut self.store.writer()))
    }

    /// The same for a redo point, before which the aborts go that are owed. Redo from there does not see
    /// their versions come, and would take them for committed.
    ///
    /// # Errors
    /// Fails, and there may be no redo point here, if they find no place.
    pub(crate) fn at_redo_point<T>(&self, work: impl FnOnce(Xid) -> T) -> Result<T, Error> {
        self.alone(|committer| {
            let mut writer = self.store.writer();
            self.log_aborts(committer, &mut writer)?;
            Ok(work(committer.next_xid))
        })
    }

    /// Runs `work` with the commit lock, then commits for those who queued meanwhile: nobody else would.
    pub(super) fn alone<T>(&self, work: impl FnOnce(&mut Committer) -> T) -> T {
        let done = work(&mut Ranked::take(Rank::Commit, || self.committer.lock()));
        self.help();
        done
    }

    /// Sees to it that all commits are published whose records are in the log up to `lsn`. One may be
    /// flushed, sent and shown by a standby before its leader comes to that here.
    pub(crate) fn publish_up_to(&self, lsn: Lsn) {
        if !self.visibility.is_published(lsn) {
            self.alone(|_| ());
        }
    }

    /// The position up to which commits are decided if others, of this start or of before it, are not.
    pub(crate) fn decided_up_to(&self) -> Option<Lsn> {
        let of_before = self.levels.undecided().map(|(after, _)| after);
        let of_now = self.alone(|_| self.visibility.decided_up_to());
        of_before.into_iter().chain(of_now).min()
    }

    /// Fails once commits are refused.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::Shutdown);
        }
        self.levels.check_fence()?;
        // No page takes a change any more: the log must not tell of xids what the state page cannot.
        self.store.pool().check_poison()
    }

    /// Refuses commits from now on; one that waits for a remote level fails, since what it waits for will not
    /// come.
    pub(crate) fn fence(&self, reason: &str) {
        self.levels.fence(reason);
        // Whoever is inside the lock has seen the old state; after this nobody has.
        self.alone(|_| ());
    }

    /// Refuses commits from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.alone(|_| ());
    }
}

enum Applied {
    All,
    /// No version was written.
    Nothing(Fault),
    /// Some were, and the rest cannot be.
    Part(Error),
}

/// Writes the versions of one transaction into the pages and the log.
fn apply(writer: &mut Writer<'_>, request: &mut Request) -> Applied {
    let Request { writes, targets, attempts, trees, .. } = request;
    let dropped = trees.as_ref().map_or(&[][..], |trees| &trees.dropped);
    let mut written = false;
    let in_place = *attempts > IN_PLACE_AFTER;
    if in_place {
        writer.allow_io(true);
    }
    let mut outcome = Applied::All;
    for (write, (tree, prepared)) in writes.last_writes().zip(targets.iter_mut()) {
        if dropped.contains(&write.tree) {
            continue;
        }
        // Commands matter only while a transaction is open, and this one is over: 0 takes no bytes in the
        // log.
        let version = NewVersion { cid: 0, value: write.value.as_deref() };
        let mut result = writer.insert_version(tree, prepared, &write.key, version);
        if matches!(result, Err(Fault::Miss(_) | Fault::NeedFrames)) && (written || in_place) {
            writer.allow_io(true);
            result = writer.insert_version(tree, prepared, &write.key, version);
        }
        match result {
            Ok(()) => written = true,
            Err(Fault::Failed(error)) if written => outcome = Applied::Part(error),
            Err(fault) if written => outcome = Applied::Part(fault.into_error()),
            Err(fault) => outcome = Applied::Nothing(fault),
        }
        if !matches!(outcome, Applied::All) {
            break;
        }
    }
    writer.allow_io(false);
    outcome
}

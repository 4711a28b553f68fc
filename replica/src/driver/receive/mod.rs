//! The walreceiver: one thread that owns the connection, the log's files and the state machine.
//!
//! It is a thread of its own because it fsyncs: what the log's end needs is done in order and without a hop,
//! and nothing else waits behind it. Between messages it drains the socket, lets redo read what it wrote,
//! then flushes once, then replies. A flush that nobody waits for runs on another thread, while this one goes
//! on receiving.

mod asking;
mod beyond;
mod catching_up;
mod comparing;
mod handover;
mod messages;
mod running;
mod writing;

use super::log::LogPlace;
use super::peers::Peer;
use super::replay::StandbyFeed;
use crate::error::ReplicaError;
use crate::receiver::{ReceiverOptions, ReceiverView};
use crate::roster::Roster;
use crate::roster::heard_file::GivenUp;
use crate::slots::UpstreamSlot;
use host::sync::Mutex;
use host::{Host, Timestamp, vital_task};
use protocol::conninfo::AskedLast;
use protocol::startup::CancelKey;
use running::Driver;
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wal::history::{BranchId, TimelineHistory};
use wal::reader::CutTail;
use wal::{Lsn, NodeLog, TimelineId, Xid};

/// What can be changed while it runs.
#[derive(Clone, Debug)]
pub struct ReceiveSettings {
    /// primary_conninfo
    pub conninfo: String,
    /// The name that this node follows by.
    pub application_name: String,
    /// The machine's settings.
    pub options: ReceiverOptions,
    /// Copy the primary's slots, if it is a Plimsoll node.
    pub copy_slots: bool,
    /// Whether to fsync.
    pub fsync: bool,
}

impl ReceiveSettings {
    /// Whether both ask the same server for the same slot's log.
    fn names_same_source(&self, other: &Self) -> bool {
        self.conninfo == other.conninfo && self.options.slot == other.options.slot
    }
}

/// What the receiver tells the server.
pub trait ReceiveObserver: Send + Sync {
    /// Streaming begins; `again` if it goes on after a timeline's end.
    fn started(&self, at: Lsn, timeline: TimelineId, again: bool) {
        let _ = (at, timeline, again);
    }
    /// The settings of the connection changed: it is made anew.
    fn reconnects(&self) {}
    /// A try ended, and another one follows.
    fn failed(&self, error: &ReplicaError) {
        let _ = error;
    }
    /// A stream was ended by order, the primary's or that of other settings here, and is tried again at once:
    /// no source has failed.
    fn ended(&self, error: &ReplicaError) {
        let _ = error;
    }
    /// A new timeline's history is durable and followed from now on.
    fn followed(&self, history: &TimelineHistory) {
        let _ = history;
    }
    /// Log behind the last whole record is cut away: called before that is done.
    fn cut(&self, cut: &CutTail, timeline: TimelineId) {
        let _ = (cut, timeline);
    }
    /// Log that was received before could not be read, and was replaced by what the primary has there.
    fn mended(&self, part: &Range<Lsn>) {
        let _ = part;
    }
    /// The primary names the log up to here confirmed.
    fn confirmed(&self, upto: Lsn) {
        let _ = upto;
    }
    /// The primary says what it knows of branches; its own is not followed.
    fn told(&self, primary: &Peer) {
        let _ = primary;
    }
    /// Whether this server itself has a session of this key: the receiver has connected to its own.
    fn is_own(&self, session: CancelKey) -> bool {
        let _ = session;
        false
    }
    /// The node that sends has this one's id: the roster has another one for this node afterwards, if it can
    /// get one.
    fn shares_id(&self) {}
    /// A stream will tell of the primary's slots, or tells nothing of them.
    fn asks_for_slots(&self, asks: bool) {
        let _ = asks;
    }
    /// The slots of the primary.
    fn slots(&self, slots: &[UpstreamSlot]) {
        let _ = slots;
    }
    /// The primary's log ends at `end` on this branch, and it asks whether this node promotes itself there:
    /// an error says why it does not, and else which timeline is the newest that this node knows. What was
    /// given up there is no reason for that. Asked once more before it does.
    fn handed_over(
        &self,
        end: Lsn,
        branch: Option<BranchId>,
        given_up: &GivenUp,
    ) -> Result<TimelineId, String> {
        let _ = (end, branch, given_up);
        Err("this program promotes nobody".to_owned())
    }
    /// The primary has its answer, and said in time that it may: the promotion is to begin.
    fn takes_over(&self) {}
    /// The primary said that it may, and it does not promote itself after all.
    fn lets_go(&self, why: &str) {
        let _ = why;
    }
    /// The oldest transaction that this node's queries need.
    fn oldest_xmin(&self) -> Option<Xid> {
        None
    }
}

/// What a receiver needs of the server.
#[derive(Clone)]
pub struct ReceiveContext {
    /// Clock and files.
    pub host: Host,
    /// Where the log lies.
    pub place: LogPlace,
    /// Whether the data directory keeps the id that this node has in the roster: it may not have got one.
    pub keeps_id: bool,
    /// The nodes of the cluster, this one among them.
    pub roster: Roster,
    /// Where redo is fed.
    pub feed: Arc<StandbyFeed>,
    /// The log, for cascading senders; its history is what this node follows.
    pub log: NodeLog,
    /// Who hears of it.
    pub observer: Arc<dyn ReceiveObserver>,
    /// Pages here may be as new as that: minRecoveryPoint as recovery began.
    pub needed: Lsn,
    /// Whether readers here want to hear at once what is confirmed.
    pub wants_confirmed: watch::Receiver<bool>,
    /// What receivers have found so far. It outlives them: where there is an archive, each failure ends one.
    pub search: Arc<Mutex<Search>>,
}

/// The search for a server that has a primary.
#[derive(Debug, Default)]
pub struct Search {
    /// The servers that were found to be of no use, or to be this one itself.
    asked_last: AskedLast,
    /// How often one was left since a primary was heard of.
    left: u32,
}

/// What others see of a receiver.
#[derive(Debug, Default)]
struct Shown {
    view: Option<ReceiverView>,
    /// What a primary itself, and no standby before this one, said last of where its log ends, and when.
    end_of_primary: Option<(Lsn, Timestamp)>,
    /// The host that was reached last, or the folder of its socket, and the port.
    place: Option<(String, u16)>,
}

/// A receiver at work.
#[derive(Debug)]
pub struct ReceiveHandle {
    cancel: CancellationToken,
    settings: watch::Sender<ReceiveSettings>,
    shown: Arc<Mutex<Shown>>,
    failed: watch::Receiver<Option<String>>,
    /// Closed when the thread has ended.
    runs: watch::Receiver<()>,
}

impl ReceiveHandle {
    /// What pg_stat_wal_receiver shows; None before it has begun.
    pub fn view(&self) -> Option<ReceiverView> {
        self.shown.lock().view
    }
    /// What the primary itself said last of where its log ends, and when; None if no primary has.
    pub fn end_of_primary(&self) -> Option<(Lsn, Timestamp)> {
        self.shown.lock().end_of_primary
    }
    /// Of which server it receives: the host, or the folder of the Unix socket, and the port. None before it
    /// has reached one.
    pub fn place(&self) -> Option<(String, u16)> {
        self.shown.lock().place.clone()
    }
    /// Takes over reloaded settings; another connection string or slot makes it connect anew.
    pub fn set(&self, settings: ReceiveSettings) {
        self.settings.send_replace(settings);
    }
    /// Has it tell the primary what is new in the roster.
    pub fn tell_roster(&self) {
        self.settings.send_modify(|_| {});
    }
    /// Waits until the log can no longer be written: the server has to stop. For ever if that never happens.
    pub fn failure(&self) -> impl Future<Output = String> + Send + use<> {
        let mut failed = self.failed.clone();
        async move {
            let found = failed.wait_for(Option::is_some).await.ok().and_then(|what| what.clone());
            match found {
                Some(what) => what,
                // The thread ended in good order.
                None => std::future::pending().await,
            }
        }
    }
    /// Ends it: what came is flushed, the connection closed. Returns when the thread writes and acknowledges
    /// nothing more, to whoever asks: of several that stop it, the first is no earlier than the others.
    pub async fn stop(&self) {
        self.cancel.cancel();
        // It ends by its cancellation alone: a panic would have ended the process.
        while self.runs.clone().changed().await.is_ok() {}
    }
}

impl Drop for ReceiveHandle {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Starts a receiver. It begins to stream when redo has used up the local log ([`StandbyFeed::wait_wanted`]).
///
/// # Errors
///
/// Fails if the system gives no thread or no runtime for it.
pub fn start(context: ReceiveContext, settings: ReceiveSettings) -> std::io::Result<ReceiveHandle> {
    let cancel = CancellationToken::new();
    let (settings, changes) = watch::channel(settings);
    let shown = Arc::<Mutex<Shown>>::default();
    let (failing, failed) = watch::channel(None);
    let (running, runs) = watch::channel(());
    let receiving = {
        let (cancel, shown) = (cancel.clone(), shown.clone());
        async move {
            let wanted = tokio::select! {
                biased;
                () = cancel.cancelled() => return running,
                wanted = context.feed.wait_wanted() => wanted,
            };
            let ran = match Driver::open(context, changes, cancel, shown, wanted) {
                Ok(mut driver) => driver.run().await,
                Err(error) => Err(error),
            };
            if let Err(error) = ran {
                failing.send_replace(Some(error.to_string()));
            }
            // Told when all else of the thread is over.
            running
        }
    };
    host::thread::drive("walreceiver", vital_task("the walreceiver", receiving))?;
    Ok(ReceiveHandle { cancel, settings, shown, failed, runs })
}

#[cfg(test)]
mod tests;

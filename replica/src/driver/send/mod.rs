//! One stream to a standby, over the connection that START_REPLICATION came on.

mod news;
mod replies;
mod succession;
mod wire;

use super::log::{LogPlace, LogReading, Outlet};
use crate::directory_id::DirectoryId;
use crate::error::ReplicaError;
use crate::roster::{Roster, Seen};
use crate::sender::streams::SenderHandle;
use crate::sender::{Action, Finish, Sender, SenderState, SenderTimes, StreamPlan, TimelineEnd};
use crate::slots::{ActiveSlot, Slots, UpstreamSlot};
use bytes::BytesMut;
use durability::Stages;
use host::FineTimer;
use host::Host;
use protocol::backend::{self, CopyDirection, FieldDescription, Format};
use protocol::replication::{WireLsn, encode_xlog_data_header};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use succession::{Part, stepped};
use tokio::sync::watch;
use wal::history::BranchId;
use wal::history::TimelineHistory;
use wal::page::PAGE_SIZE;
use wal::{Live, LogState, Lsn, NodeLog, Replaced, Stopping, TimelineId, WalSource};
use wire::Wire;

/// OIDs of the result's columns.
const INT8_OID: u32 = 20;
const TEXT_OID: u32 = 25;

/// What the standby asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// The first byte.
    pub start: Lsn,
    /// Where to begin instead, before it, if that log is here still: the standby compares it.
    pub overlap: Option<Lsn>,
    /// The timeline; None for this node's own.
    pub timeline: Option<TimelineId>,
    /// The standby is a Plimsoll node whose format goes with ours, and has this branch for that timeline if
    /// it knows one.
    pub plimsoll: Option<Option<BranchId>>,
}

/// How far the log is confirmed, for standbys that show their readers nothing else.
pub trait Confirmations: Send + Sync {
    /// The position now, on a branch that the log is known to be on by then.
    fn confirmed(&self) -> Lsn;
    /// Its changes.
    fn changes(&self) -> watch::Receiver<Lsn>;
    /// A standby wants to hear of changes at once; called again and again while it does.
    fn wanted(&self);
}

impl Confirmations for storage::CommitGate {
    fn confirmed(&self) -> Lsn {
        Self::confirmed(self)
    }
    fn changes(&self) -> watch::Receiver<Lsn> {
        self.confirmed_changes()
    }
    fn wanted(&self) {
        self.want_confirmed();
    }
}

/// What a stream needs of the server.
pub struct SendContext {
    /// Clock and files.
    pub host: Host,
    /// Where the log lies.
    pub place: LogPlace,
    /// The log.
    pub log: NodeLog,
    /// The stream's row.
    pub row: SenderHandle,
    /// The slot, if one is used.
    pub slot: Option<ActiveSlot>,
    /// The nodes of the cluster.
    pub roster: Roster,
    /// Where the standby is seen.
    pub seen: Seen,
    /// All slots of the node, for standbys that copy them.
    pub slots: Slots,
    /// The times that the settings say, asked at the stream's begin and after [`Senders::reloaded`].
    pub times: Box<dyn Fn() -> StreamTimes + Send + Sync>,
    /// What commits are confirmed.
    pub confirmations: Arc<dyn Confirmations>,
    /// Called when the standby first says what cannot be true.
    pub on_doubt: Box<dyn Fn(Doubt) + Send + Sync>,
    /// Called when the standby's oldest transaction may have changed (then ask slots and senders for the
    /// oldest).
    pub on_feedback: Box<dyn Fn() + Send + Sync>,
}

/// What a standby says that cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It claims to have this, which it was never sent.
    Overstated(Lsn),
    /// It works on a directory on which another server works, too.
    SharedDirectory(DirectoryId),
}

/// What the settings say of a stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamTimes {
    /// wal_sender_timeout
    pub timeout: Option<Duration>,
    /// plimsoll.heartbeat_interval
    pub heartbeat: Duration,
}

/// How a stream ended for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The connection takes the next command; the caller sends ReadyForQuery.
    Ready,
    /// The node stops and the standby has everything: close the connection.
    Stopped,
    /// The standby has gone.
    Gone,
}

/// Why a stream failed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Tell the standby, then close (or go on, if nothing was streamed yet: `streaming` is false).
    #[error("{error}")]
    Refused {
        /// What to tell.
        error: ReplicaError,
        /// Whether the stream had begun.
        streaming: bool,
    },
    /// The connection broke.
    #[error("could not send data to client: {0}")]
    Io(#[from] io::Error),
}

/// Serves one START_REPLICATION: everything from CopyBothResponse to the last CommandComplete. `input` holds
/// what was read from the connection and not used yet, before and after. A stream that ends in the middle of
/// a message, also since nobody waits for it any more, leaves the rest of that in `rest`: it goes out before
/// anything else.
///
/// # Errors
///
/// Fails if the request is refused, the stream has to end with an error, or the connection breaks.
pub async fn stream<S: Outlet>(
    io: &mut S,
    input: &mut BytesMut,
    rest: &mut BytesMut,
    context: &SendContext,
    request: &StreamRequest,
) -> Result<Ended, SendError> {
    let refused = |error| SendError::Refused { error, streaming: false };
    let state = context.log.state();
    let mut plan =
        StreamPlan::new(&state.history, state.flushed(), request.start, request.timeline).map_err(refused)?;
    if let Some(Some(theirs)) = request.plimsoll
        && state.history.branch_of(plan.timeline).is_some_and(|ours| ours != theirs)
    {
        return Err(refused(ReplicaError::Twin { timeline: plan.timeline }));
    }
    if let Some(Replaced { at, by }) = state.replaced.filter(|replaced| plan.start >= replaced.at)
        && plan.end.is_none()
    {
        return Err(refused(ReplicaError::Replaced { timeline: plan.timeline, at, by }));
    }
    let mut wire = Wire::new(io, input, rest);
    if plan.is_empty() {
        wire.put(|out| finish_copy(out, plan.end));
        wire.flush().await?;
        return Ok(Ended::Ready);
    }
    wire.put(|out| backend::copy_response(out, CopyDirection::Both, Format::Text, 0));
    let asked = plan.start;
    if let Some(overlap) = request.overlap {
        if overlap < plan.start && has_log(context, &state.history, overlap, plan.timeline) {
            plan.start = overlap;
        }
        wire.put_begin(plan.start);
    }
    let times = sender_times(context, request.plimsoll.is_some());
    let now = context.host.clock.monotonic();
    context.row.begin(plan.start, state.generation());
    let mut streaming = Streaming {
        wire,
        context,
        generation: state.generation(),
        asked,
        sender: Sender::new(plan, times, now),
        shown: None,
        reading: LogReading::new(context.place.clone()),
        plimsoll: request.plimsoll.is_some(),
        confirmed: Lsn::INVALID,
        witnessed: TimelineId::INVALID,
        confirmed_changes: None,
        copies_slots: false,
        told_slots: None,
        told_roster: None,
        told_route: Vec::new(),
        standby: None,
        awaited_untold: false,
        part: None,
        ended: None,
    };
    match streaming.run().await {
        Err(SendError::Refused { error, .. }) => Err(SendError::Refused { error, streaming: true }),
        other => other,
    }
}

/// Whether the log of this timeline is here from `at` on.
fn has_log(context: &SendContext, history: &TimelineHistory, at: Lsn, timeline: TimelineId) -> bool {
    let mut byte = [0];
    history.timeline_at(at) == timeline
        && matches!(context.place.files(history).read(at, &mut byte), Ok(read) if read > 0)
}

/// What is durable here is sent.
fn end_of_what_is_sent(log: &LogState) -> Lsn {
    if host::planted!("log is shipped before it is flushed") {
        return log.written();
    }
    let end = log.flushed();
    let is_standby = matches!(log.live, Live::Standby(_));
    if is_standby && host::planted!("a standby ships its last page to the end") {
        return (end + (PAGE_SIZE as u64 - 1)).page_start();
    }
    end
}

/// Heartbeats are for Plimsoll nodes.
fn sender_times(context: &SendContext, plimsoll: bool) -> SenderTimes {
    let StreamTimes { timeout, heartbeat } = (context.times)();
    SenderTimes { timeout, heartbeat: plimsoll.then_some(heartbeat) }
}

/// The end of a stream as clients read it: the next timeline if this one is over, and both commands' ends.
fn finish_copy(out: &mut BytesMut, end: Option<TimelineEnd>) {
    if let Some(end) = end {
        let column = FieldDescription::computed;
        let columns = [column("next_tli", INT8_OID, 8), column("next_tli_startpos", TEXT_OID, -1)];
        backend::row_description(out, columns.into_iter());
        let (timeline, start) = (end.next.to_string(), end.at.to_string());
        backend::text_row(out, &[Some(&timeline), Some(&start)]);
    }
    backend::command_complete(out, "START_STREAMING");
    backend::command_complete(out, "START_REPLICATION");
}

struct Streaming<'a, S> {
    wire: Wire<'a, S>,
    context: &'a SendContext,
    /// That of the log which was followed last.
    generation: u64,
    /// What the standby lacks begins here; before it comes what it compares.
    asked: Lsn,
    sender: Sender,
    /// What the table of standbys says of it.
    shown: Option<(SenderState, TimelineId)>,
    reading: LogReading,
    plimsoll: bool,
    /// The confirmed position that the standby was told last.
    confirmed: Lsn,
    /// The timeline that it was told last to be more than hearsay.
    witnessed: TimelineId,
    /// It wants to hear of changes at once.
    confirmed_changes: Option<watch::Receiver<Lsn>>,
    /// It copies slots.
    copies_slots: bool,
    /// Those that it was told of last.
    told_slots: Option<Vec<UpstreamSlot>>,
    /// The version of the roster that it was told last.
    told_roster: Option<u64>,
    /// The way of the log as it was told last; empty before that.
    told_route: Vec<u8>,
    /// Which member of the roster the standby is, if it has said so.
    standby: Option<DirectoryId>,
    /// It was not told yet which stages commits wait for.
    awaited_untold: bool,
    /// The standby is to take over.
    part: Option<Part>,
    /// The standby has gone.
    ended: Option<Ended>,
}

impl<S: Outlet> Streaming<'_, S> {
    async fn run(&mut self) -> Result<Ended, SendError> {
        let mut changes = self.context.log.subscribe();
        let (mut awaited, mut routes) = (self.context.row.awaited(), self.context.roster.route_changes());
        let streams = self.context.row.streams();
        let mut handovers = self.context.row.handovers();
        let timer = FineTimer::start();
        let mut log = changes.borrow_and_update().clone();
        self.begin(&log).await?;
        self.tell_awaited(*awaited.borrow_and_update());
        self.tell_news();
        loop {
            if changes.has_changed().unwrap_or(false) {
                log = changes.borrow_and_update().clone();
                self.follow(&log)?;
                self.tell_news();
            }
            self.take_messages()?;
            self.follow_handover(&mut handovers);
            if let Some(ended) = self.ended {
                return Ok(ended);
            }
            if self.awaited_untold && self.wire.has_room() {
                self.tell_awaited(*awaited.borrow_and_update());
            }
            let now = self.context.host.clock.monotonic();
            self.sender.set_streams(*streams.borrow());
            let mut until = self.sender.deadline();
            let mut idle = None;
            if self.wire.is_flushed() || self.sender.is_overdue(now) {
                let end = end_of_what_is_sent(&log);
                match self.poll(now, end) {
                    Action::Send { from, upto } => {
                        self.send_wal(&log, (from, upto), end).await?;
                        continue;
                    }
                    Action::Keepalive { reply_requested } => {
                        self.keepalive(log.flushed(), reply_requested);
                        continue;
                    }
                    Action::CopyDone => {
                        self.wire.put_copy_done();
                        continue;
                    }
                    Action::Reached => self.reached(),
                    Action::Finish(finish) => return self.finish(finish).await,
                    Action::Fail(error) => return Err(SendError::Refused { error, streaming: true }),
                    Action::Wait { until: wake, past } => (until, idle) = (wake, Some(past)),
                    Action::LookOnce { until: ends } => until = Some(ends),
                }
            }
            let pause = until.map_or(Duration::MAX, |until| until.saturating_sub(now));
            let past = idle.unwrap_or(Lsn::MAX);
            let reads = !self.sender.standby_is_done();
            // First what comes rarely, and last what is looked at above anyway.
            tokio::select! {
                biased;
                // The caller's NodeLog keeps the channel open. Looked at above.
                _ = changes.changed() => changes.mark_changed(),
                () = either(&mut awaited, &mut routes) => self.reloaded(&mut awaited),
                () = stepped(&mut handovers, &mut self.part) => {}
                moved = self.wire.progress(reads) => if !moved? { return Ok(Ended::Gone) },
                () = changed(&mut self.confirmed_changes) => {
                    self.context.confirmations.wanted();
                    self.tell_confirmed();
                }
                () = log.wait_past(past), if idle.is_some() && self.sender.wants_log() => {}
                () = timer.sleep(pause) => {}
            }
        }
    }

    /// The settings, the stages that commits wait for, or the way of the log changed.
    fn reloaded(&mut self, awaited: &mut watch::Receiver<Stages>) {
        // In a statement of its own: the channel is locked until that ends.
        let awaited = *awaited.borrow_and_update();
        let now = self.context.host.clock.monotonic();
        self.sender.set_times(sender_times(self.context, self.plimsoll), now);
        self.tell_awaited(awaited);
        self.tell_roster();
        self.tell_route();
    }

    /// Takes over the log, and makes sure that what is asked for is still there.
    async fn begin(&mut self, log: &LogState) -> Result<(), SendError> {
        self.follow(log)?;
        self.tell_route();
        self.tell_primary(log);
        if self.reading.check_there(log, self.sender.sent_upto()).is_err()
            && self.sender.sent_upto() < self.asked
        {
            self.leave_overlap();
        }
        if let Err(error) = self.reading.check_there(log, self.sender.sent_upto()) {
            // The stream has begun: the error is an answer inside of it.
            self.wire.flush().await?;
            return Err(SendError::Refused { error, streaming: true });
        }
        Ok(())
    }

    /// Takes over a changed log.
    fn follow(&mut self, log: &LogState) -> Result<(), SendError> {
        let failed = |error| SendError::Refused { error, streaming: true };
        let kept = log.generations.kept_since(self.generation);
        self.sender.on_branch(&log.history, kept).map_err(failed)?;
        self.generation = log.generation();
        self.context.row.follow(self.generation);
        // What was confirmed behind the cut was said of another branch.
        self.confirmed = self.confirmed.min(kept);
        if let Some(replaced) = log.replaced {
            self.sender.on_replaced(replaced);
        }
        match log.stopping {
            Stopping::No => {}
            Stopping::Soon => self.sender.on_stopping(),
            Stopping::LogEnds(end) => self.sender.on_log_end(end),
        }
        self.show_state();
        Ok(())
    }

    /// Shows in the table of standbys how far this one is; it is asked of every message.
    fn show_state(&mut self) {
        let state = (self.sender.state(), self.sender.timeline());
        if self.shown != Some(state) {
            self.shown = Some(state);
            self.context.row.set_state(state.0, state.1);
        }
    }

    /// What to do next, of a log that ends at `end`. Who has caught up counts from now on, even if there is
    /// more to send.
    fn poll(&mut self, now: Duration, end: Lsn) -> Action {
        let action = self.sender.poll(now, end);
        self.show_state();
        action
    }

    /// Sends a range of the log, and says that the log ended at `end` when that was cut.
    async fn send_wal(&mut self, log: &LogState, range: (Lsn, Lsn), end: Lsn) -> Result<(), SendError> {
        let failed = |error| SendError::Refused { error, streaming: true };
        let (from, upto) = range;
        let wal = match self.reading.read(log, from, upto).await {
            Err(ReplicaError::SegmentRemoved(_)) if from < self.asked => {
                self.leave_overlap();
                return Ok(());
            }
            read => read.map_err(failed)?,
        };
        if self.context.log.state().generation() != log.generation() {
            // What was read may have been cut meanwhile. The new log is looked at first.
            return Ok(());
        }
        let upto = from + wal.len() as u64;
        let (now, monotonic) = (self.context.host.clock.now(), self.context.host.clock.monotonic());
        self.wire.put_wal(|out| encode_xlog_data_header(out, wire_lsn(from), wire_lsn(end), now), wal);
        self.sender.sent(upto, monotonic);
        self.context.row.on_sent(upto, now);
        Ok(())
    }

    /// What was to be compared is removed meanwhile: the stream goes on with what the standby lacks.
    fn leave_overlap(&mut self) {
        self.wire.put_begin(self.asked);
        self.sender.sent(self.asked, self.context.host.clock.monotonic());
    }

    async fn finish(&mut self, finish: Finish) -> Result<Ended, SendError> {
        let ended = match finish {
            Finish::TimelineEnded(end) => {
                self.wire.put(|out| finish_copy(out, Some(end)));
                Ended::Ready
            }
            Finish::StandbyLeft => {
                self.wire.put(|out| finish_copy(out, None));
                Ended::Ready
            }
            Finish::Stopped => {
                self.wire.put(|out| backend::command_complete(out, "COPY 0"));
                Ended::Stopped
            }
        };
        self.wire.flush().await?;
        Ok(ended)
    }
}

/// Waits for the next change of one of both. Who asks keeps their channels open.
async fn either<A, B>(one: &mut watch::Receiver<A>, other: &mut watch::Receiver<B>) {
    tokio::select! {
        biased;
        _ = one.changed() => {}
        _ = other.changed() => {}
    }
}

/// Waits for the next change; for ever if nobody wants to hear of one.
async fn changed(changes: &mut Option<watch::Receiver<Lsn>>) {
    let ended = match changes {
        Some(changes) => changes.changed().await.is_err(),
        None => true,
    };
    if ended {
        std::future::pending().await
    }
}

fn wire_lsn(lsn: Lsn) -> WireLsn {
    WireLsn::new(lsn.get())
}

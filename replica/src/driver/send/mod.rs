//! One stream to a standby, over the connection that START_REPLICATION came on.

use super::log::{FilePart, LogPlace, LogReading, Outgoing, Outlet};
use super::timer::FineTimer;
use crate::error::ReplicaError;
use crate::sender::streams::SenderHandle;
use crate::sender::{Action, Finish, Reply, Sender, SenderTimes, StreamPlan, TimelineEnd};
use crate::slots::{ActiveSlot, Slots, UpstreamSlot, copied};
use crate::sync::Progress;
use bytes::{Buf, BufMut, BytesMut};
use durability::Stages;
use host::Host;
use protocol::backend::{self, CopyDirection, FieldDescription, Format};
use protocol::frame::{Frame, FrameLimits};
use protocol::frontend::FrontendMessage;
use protocol::replication::{
    FromStandby, HotStandbyFeedback, Keepalive, StatusUpdate, WireLsn, XLOG_DATA_HEADER_BYTES,
    encode_extension, encode_keepalive, encode_xlog_data_header,
};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::sync::watch;
use wal::history::BranchId;
use wal::{LogState, Lsn, NodeLog, Stopping, TimelineId, Xid};

/// Longest message taken from a standby, in bytes.
const FRAME_LIMITS: FrameLimits = FrameLimits { large: 64 << 10, small: 10_000 };
/// Messages that wait for the socket, from which on no more news are added to them.
const QUEUED_MAX: usize = 256;
/// Type of the extension message about the stages that commits wait for: one byte, [`Stages::to_byte`].
pub(super) const AWAITED: u8 = b'I';
/// Type of the extension message about confirmed positions. From the sender: 8 bytes, the position up to which the quorum holds the
/// log. From a standby: one byte, whether it wants to hear of each change at once.
pub(super) const CONFIRMED: u8 = b'C';
/// Type of the extension message about slots. From a standby: one byte, whether it copies them. From the sender: the node's slots.
pub(super) const SLOTS: u8 = b'S';
/// OIDs of the result's columns.
const INT8_OID: u32 = 20;
const TEXT_OID: u32 = 25;

/// What the standby asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// The first byte.
    pub start: Lsn,
    /// The timeline; None for this node's own.
    pub timeline: Option<TimelineId>,
    /// The standby is a Plimsoll node whose format goes with ours, and has this branch for that timeline if it knows one.
    pub plimsoll: Option<Option<BranchId>>,
}

/// How far the log is confirmed, for standbys that show their readers nothing else.
pub trait Confirmations: Send + Sync {
    /// The position now.
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
    /// All slots of the node, for standbys that copy them.
    pub slots: Slots,
    /// wal_sender_timeout
    pub timeout: Option<Duration>,
    /// plimsoll.heartbeat_interval
    pub heartbeat: Duration,
    /// What commits are confirmed.
    pub confirmations: Arc<dyn Confirmations>,
    /// Called when the standby first claims to be further than it was sent, with what it claims.
    pub on_overstatement: Box<dyn Fn(Lsn) + Send + Sync>,
    /// Called when the standby's oldest transaction may have changed (then ask slots and senders for the oldest).
    pub on_feedback: Box<dyn Fn() + Send + Sync>,
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

/// Serves one START_REPLICATION: everything from CopyBothResponse to the last CommandComplete. `input` holds what was read
/// from the connection and not used yet, before and after.
pub async fn stream<S: Outlet>(
    io: &mut S,
    input: &mut BytesMut,
    context: &SendContext,
    request: &StreamRequest,
) -> Result<Ended, SendError> {
    let refused = |error| SendError::Refused { error, streaming: false };
    let state = context.log.state();
    let plan =
        StreamPlan::new(&state.history, state.flushed(), request.start, request.timeline).map_err(refused)?;
    if let Some(Some(theirs)) = request.plimsoll
        && state.history.branch_of(plan.timeline).is_some_and(|ours| ours != theirs)
    {
        return Err(refused(ReplicaError::Twin { timeline: plan.timeline }));
    }
    let mut wire = Wire { io, input, output: VecDeque::new() };
    if plan.is_empty() {
        wire.put(|out| finish_copy(out, plan.end));
        wire.flush().await?;
        return Ok(Ended::Ready);
    }
    wire.put(|out| backend::copy_response(out, CopyDirection::Both, Format::Text, 0));
    let times =
        SenderTimes { timeout: context.timeout, heartbeat: request.plimsoll.map(|_| context.heartbeat) };
    let now = context.host.clock.monotonic();
    context.row.begin(plan.start, state.generation);
    let mut streaming = Streaming {
        wire,
        context,
        generation: state.generation,
        sender: Sender::new(plan, times, now),
        reading: LogReading::new(context.place.clone()),
        plimsoll: request.plimsoll.is_some(),
        confirmed: Lsn::INVALID,
        confirmed_changes: None,
        copies_slots: false,
        told_slots: None,
        awaited_untold: false,
        ended: None,
    };
    match streaming.run().await {
        Err(SendError::Refused { error, .. }) => Err(SendError::Refused { error, streaming: true }),
        other => other,
    }
}

/// The end of a stream as clients read it: the next timeline if this one is over, and both commands' ends.
fn finish_copy(out: &mut BytesMut, end: Option<TimelineEnd>) {
    if let Some(end) = end {
        let column = |name: &'static str, data_type: u32, type_len: i16| FieldDescription {
            name,
            table: 0,
            column: 0,
            data_type,
            type_len,
            type_modifier: -1,
            format: Format::Text,
        };
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
    sender: Sender,
    reading: LogReading,
    plimsoll: bool,
    /// The confirmed position that the standby was told last.
    confirmed: Lsn,
    /// It wants to hear of changes at once.
    confirmed_changes: Option<watch::Receiver<Lsn>>,
    /// It copies slots.
    copies_slots: bool,
    /// Those that it was told of last.
    told_slots: Option<Vec<UpstreamSlot>>,
    /// It was not told yet which stages commits wait for.
    awaited_untold: bool,
    /// The standby has gone.
    ended: Option<Ended>,
}

impl<S: Outlet> Streaming<'_, S> {
    async fn run(&mut self) -> Result<Ended, SendError> {
        let mut changes = self.context.log.subscribe();
        let mut awaited = self.context.row.awaited();
        let streams = self.context.row.streams();
        let timer = FineTimer::new();
        let mut log = changes.borrow_and_update().clone();
        self.follow(&log)?;
        let first = self.sender.sent_upto();
        if let Err(error) = self.reading.check_there(&log, first) {
            // The stream has begun: the error is an answer inside of it.
            self.wire.flush().await?;
            return Err(SendError::Refused { error, streaming: true });
        }
        self.tell_awaited(*awaited.borrow_and_update());
        self.tell_confirmed();
        loop {
            if changes.has_changed().unwrap_or(false) {
                log = changes.borrow_and_update().clone();
                self.follow(&log)?;
            }
            self.take_messages()?;
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
                match self.sender.poll(now, log.flushed()) {
                    Action::Send { from, upto } => {
                        self.send_wal(&log, from, upto).await?;
                        continue;
                    }
                    Action::Keepalive { reply_requested } => {
                        self.keepalive(log.flushed(), reply_requested);
                        continue;
                    }
                    Action::CopyDone => {
                        self.wire.put(backend::copy_done);
                        continue;
                    }
                    Action::Finish(finish) => return self.finish(finish).await,
                    Action::Fail(error) => return Err(SendError::Refused { error, streaming: true }),
                    Action::Wait { until: wake, past } => (until, idle) = (wake, Some(past)),
                }
                self.context.row.set_state(self.sender.state(), self.sender.timeline());
            }
            let pause = until.map_or(Duration::MAX, |until| until.saturating_sub(now));
            let past = idle.unwrap_or(Lsn::MAX);
            tokio::select! {
                moved = self.wire.progress() => {
                    if !moved? {
                        return Ok(Ended::Gone);
                    }
                }
                // The caller's NodeLog keeps the channel open. Looked at above.
                _ = changes.changed() => changes.mark_changed(),
                _ = awaited.changed() => {
                    self.tell_awaited(*awaited.borrow_and_update());
                }
                () = changed(&mut self.confirmed_changes) => {
                    self.context.confirmations.wanted();
                    self.tell_confirmed();
                }
                () = log.wait_past(past), if idle.is_some() && self.sender.wants_log() => {}
                () = timer.sleep(pause) => {}
            }
        }
    }

    /// Takes over a changed log.
    fn follow(&mut self, log: &LogState) -> Result<(), SendError> {
        let failed = |error| SendError::Refused { error, streaming: true };
        let kept = log.kept_since(self.generation);
        self.sender.on_branch(&log.history, kept).map_err(failed)?;
        self.context.row.follow(log.generation);
        self.generation = log.generation;
        // What was confirmed behind the cut was said of another branch.
        self.confirmed = self.confirmed.min(kept);
        match log.stopping {
            Stopping::No => {}
            Stopping::Soon => self.sender.on_stopping(),
            Stopping::LogEnds(end) => self.sender.on_log_end(end),
        }
        self.context.row.set_state(self.sender.state(), self.sender.timeline());
        Ok(())
    }

    /// Takes over which stages commits wait for; a Plimsoll standby is told.
    fn tell_awaited(&mut self, awaited: Stages) {
        self.sender.set_hurried(!awaited.is_empty());
        self.awaited_untold = !self.wire.has_room();
        if self.plimsoll && !self.awaited_untold {
            let stages = [awaited.to_byte()];
            self.wire.put(|out| backend::copy_data(out, |out| encode_extension(out, AWAITED, &stages)));
        }
    }

    /// Tells a Plimsoll standby how far the log is confirmed, if that is news.
    fn tell_confirmed(&mut self) {
        let ends = self.sender.end().map_or(Lsn::MAX, |end| end.at);
        let confirmed = self.context.confirmations.confirmed().min(ends);
        if self.plimsoll && confirmed > self.confirmed && self.wire.has_room() {
            self.confirmed = confirmed;
            let payload = confirmed.get().to_be_bytes();
            self.wire.put(|out| backend::copy_data(out, |out| encode_extension(out, CONFIRMED, &payload)));
        }
    }

    /// Tells a standby that copies slots of them, if anything moved.
    fn tell_slots(&mut self) {
        if !self.copies_slots || !self.plimsoll || !self.wire.has_room() {
            return;
        }
        let own = self.context.slot.as_ref().map(ActiveSlot::name);
        let slots = Some(self.context.slots.to_copy(own));
        if self.told_slots != slots {
            let payload = copied::encode(slots.as_deref().unwrap_or_default());
            self.wire.put(|out| backend::copy_data(out, |out| encode_extension(out, SLOTS, &payload)));
            self.told_slots = slots;
        }
    }

    async fn send_wal(&mut self, log: &LogState, from: Lsn, upto: Lsn) -> Result<(), SendError> {
        let failed = |error| SendError::Refused { error, streaming: true };
        let wal = self.reading.read(log, from, upto).await.map_err(failed)?;
        if self.context.log.state().generation != log.generation {
            // What was read may have been cut meanwhile. The new log is looked at first.
            return Ok(());
        }
        let upto = from + wal.len() as u64;
        let (now, monotonic) = (self.context.host.clock.now(), self.context.host.clock.monotonic());
        let payload = u32::try_from(XLOG_DATA_HEADER_BYTES + wal.len()).unwrap_or(u32::MAX);
        self.wire.put(|out| {
            backend::copy_data_header(out, payload);
            encode_xlog_data_header(out, wire_lsn(from), wire_lsn(log.flushed()), now);
        });
        self.wire.output.push_back(wal);
        self.sender.sent(upto, monotonic);
        self.context.row.on_sent(upto, now);
        Ok(())
    }

    fn keepalive(&mut self, end: Lsn, reply_requested: bool) {
        if self.confirmed_changes.is_some() {
            self.context.confirmations.wanted();
        }
        self.tell_confirmed();
        self.tell_slots();
        let clock = self.context.host.clock.now();
        let keepalive = Keepalive { end: wire_lsn(end), clock, reply_requested };
        self.wire.put(|out| backend::copy_data(out, |out| encode_keepalive(out, &keepalive)));
    }

    /// Takes all whole messages that are here.
    fn take_messages(&mut self) -> Result<(), SendError> {
        let violation =
            |what: String| SendError::Refused { error: ReplicaError::Protocol(what), streaming: true };
        loop {
            let frame = Frame::peek(self.wire.input, FRAME_LIMITS).map_err(|e| violation(e.to_string()))?;
            let Some(frame) = frame else { return Ok(()) };
            let mut message = self.wire.input.split_to(frame.len);
            message.advance(Frame::HEADER);
            match FrontendMessage::decode(frame.kind, &message).map_err(|e| violation(e.to_string()))? {
                FrontendMessage::CopyData(payload) => {
                    match FromStandby::decode(payload).map_err(|e| violation(e.to_string()))? {
                        FromStandby::Status(status) => self.on_status(&status),
                        FromStandby::Feedback(feedback) => self.on_feedback(&feedback),
                        FromStandby::Extension(CONFIRMED, wants) => {
                            let wants = wants.first().is_some_and(|wants| *wants != 0);
                            self.confirmed_changes = wants.then(|| self.context.confirmations.changes());
                            // What moved until now is told with the next word.
                            self.tell_confirmed();
                        }
                        FromStandby::Extension(SLOTS, wants) => {
                            self.copies_slots = wants.first().is_some_and(|wants| *wants != 0);
                            // At once, and even if there are none: copies of before may have to go.
                            self.told_slots = None;
                            self.tell_slots();
                        }
                        FromStandby::Extension(..) => {}
                    }
                    self.sender.on_life_sign(self.context.host.clock.monotonic());
                }
                FrontendMessage::CopyDone | FrontendMessage::CopyFail(_) => {
                    self.sender.on_copy_done();
                    // What follows belongs to the next command.
                    return Ok(());
                }
                FrontendMessage::Terminate => {
                    self.ended = Some(Ended::Gone);
                    return Ok(());
                }
                FrontendMessage::Sync | FrontendMessage::Flush => {}
                _ => {
                    return Err(violation(format!(
                        "unexpected message type {:?} while streaming",
                        char::from(frame.kind)
                    )));
                }
            }
        }
    }

    fn on_status(&mut self, status: &StatusUpdate) {
        let lsn = |wire: WireLsn| Lsn::new(wire.get());
        let progress = Progress {
            written: lsn(status.written),
            flushed: lsn(status.flushed),
            applied: lsn(status.applied),
        };
        let clock = &self.context.host.clock;
        let (believed, overstates) = self.context.row.believe(progress);
        if overstates {
            (self.context.on_overstatement)(progress.written.max(progress.flushed).max(progress.applied));
        }
        self.sender.on_reply(
            Reply { progress: believed, reply_requested: status.reply_requested },
            clock.monotonic(),
        );
        // The slot first: it holds back WAL that a confirmed commit must not outlive.
        if let Some(slot) = &self.context.slot {
            slot.confirm_flushed(believed.flushed);
        }
        self.context.row.on_reply(believed, status.clock, clock.now());
    }

    fn on_feedback(&mut self, feedback: &HotStandbyFeedback) {
        let full = u64::from(feedback.xmin_epoch) << 32 | u64::from(feedback.xmin);
        let xmin = (feedback.xmin != 0).then(|| Xid::new(full));
        match &self.context.slot {
            Some(slot) => slot.set_xmin(xmin),
            None => self.context.row.set_xmin(xmin),
        }
        (self.context.on_feedback)();
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

/// The next part of a segment file and the bytes in front of it, if those are one piece or none.
fn first_file(output: &VecDeque<Outgoing>) -> Option<FilePart<'_>> {
    let (first, second) = (output.front()?, output.get(1));
    let (head, part) = match first.file() {
        Some(_) => (&[][..], first),
        None => (first.bytes(), second?),
    };
    part.file().map(|(file, offset)| FilePart { head, file, offset, len: part.len() })
}

/// The first pieces as far as they are in memory, but for the one that goes out with a part of a file.
fn first_in_memory<'a, 'b>(
    output: &'a VecDeque<Outgoing>,
    slices: &'b mut [IoSlice<'a>],
) -> &'b [IoSlice<'a>] {
    let in_memory = output.iter().take_while(|piece| piece.file().is_none()).count();
    let count = if in_memory < output.len() { in_memory.saturating_sub(1) } else { in_memory };
    let count = count.min(slices.len());
    for (slice, piece) in slices.iter_mut().zip(output) {
        *slice = IoSlice::new(piece.bytes());
    }
    slices.get(..count).unwrap_or_default()
}

/// The connection, read and written in turns by one task. Nothing is lost when a wait is dropped.
struct Wire<'a, S> {
    io: &'a mut S,
    input: &'a mut BytesMut,
    output: VecDeque<Outgoing>,
}

impl<S: Outlet> Wire<'_, S> {
    /// Queues a message.
    fn put(&mut self, fill: impl FnOnce(&mut BytesMut)) {
        let mut message = BytesMut::with_capacity(64);
        fill(&mut message);
        self.output.push_back(message.freeze().into());
    }

    /// Whether news may be queued. To a standby that does not read they are told later, the newest alone.
    fn has_room(&self) -> bool {
        self.output.len() < QUEUED_MAX
    }

    fn is_flushed(&self) -> bool {
        self.output.is_empty()
    }

    /// Waits until something was written to the end of the queue, or read; false if the peer has closed.
    async fn progress(&mut self) -> io::Result<bool> {
        poll_fn(|context| {
            let wrote = self.poll_write(context)?;
            match self.poll_read(context)? {
                Poll::Ready(open) => Poll::Ready(Ok(open)),
                Poll::Pending if wrote => Poll::Ready(Ok(true)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            self.poll_write(context)?;
            if self.output.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Writes as much as goes; true if the queue has become empty by this.
    fn poll_write(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        let had = !self.output.is_empty();
        while !self.output.is_empty() {
            let polled = match first_file(&self.output) {
                Some(part) => self.io.poll_send_file(context, &part),
                None => {
                    let mut slices = [IoSlice::new(&[]); 8];
                    let slices = first_in_memory(&self.output, &mut slices);
                    Pin::new(&mut *self.io).poll_write_vectored(context, slices)
                }
            };
            match polled {
                Poll::Pending => return Ok(false),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => self.consume(written),
            }
        }
        Ok(had)
    }

    fn consume(&mut self, mut written: usize) {
        while let Some(first) = self.output.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.output.pop_front();
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> io::Result<Poll<bool>> {
        let mut chunk = [0; 4096];
        let mut buffer = ReadBuf::new(&mut chunk);
        let polled = Pin::new(&mut *self.io).poll_read(context, &mut buffer);
        match polled {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) => {
                self.input.put_slice(buffer.filled());
                Ok(Poll::Ready(!buffer.filled().is_empty()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use host::{Disk, Mapping, OpenMode, RealDisk};
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream, UnixStream};

    /// Heads, parts of a file and bytes in memory in turns, and all of them as they have to arrive.
    fn pieces(mapping: &Arc<dyn Mapping>) -> (VecDeque<Outgoing>, Vec<u8>) {
        let mut random = fastrand::Rng::with_seed(7);
        let (mut output, mut whole) = (VecDeque::new(), Vec::new());
        for number in 0..60u8 {
            for _ in 0..random.usize(0..4) {
                output.push_back(Outgoing::from(Bytes::from(vec![number; random.usize(1..2000)])));
            }
            let start = random.usize(0..mapping.len());
            let end = random.usize(start + 1..=mapping.len());
            let part = Outgoing::of_segment(mapping.clone(), start..end).unwrap();
            output.push_back(part.slice(0..part.len()));
        }
        output.iter().for_each(|piece| whole.extend_from_slice(piece.bytes()));
        (output, whole)
    }

    async fn arrives<S: Outlet>(mut io: S, mut other: S, mapping: &Arc<dyn Mapping>) {
        let (output, whole) = pieces(mapping);
        assert!(output.iter().any(|piece| piece.file().is_some()));
        let mut wire = Wire { io: &mut io, input: &mut BytesMut::new(), output };
        let mut got = vec![0; whole.len()];
        let (sent, read) = tokio::join!(wire.flush(), other.read_exact(&mut got));
        sent.unwrap();
        read.unwrap();
        assert!(got == whole);
    }

    #[tokio::test]
    async fn parts_of_files_and_bytes_in_memory_arrive_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let mut random = fastrand::Rng::with_seed(8);
        let contents: Vec<u8> = (0..1 << 20).map(|_| random.u8(..)).collect();
        RealDisk.open(&path, OpenMode::Create).unwrap().write_all_at(&contents, 0).unwrap();
        let mapping: Arc<dyn Mapping> = RealDisk.map_sealed(&path).unwrap().into();
        std::fs::remove_file(&path).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (ours, theirs) = tokio::join!(connecting, listener.accept());
        arrives(ours.unwrap(), theirs.unwrap().0, &mapping).await;
        let (ours, theirs) = UnixStream::pair().unwrap();
        arrives(ours, theirs, &mapping).await;
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_ends_the_stream() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("segment");
        let file = RealDisk.open(&path, OpenMode::Create).unwrap();
        file.write_all_at(&[1; 100_000], 0).unwrap();
        let mapping: Arc<dyn Mapping> = RealDisk.map_sealed(&path).unwrap().into();
        assert!(Outgoing::of_segment(mapping.clone(), 99_999..100_001).is_none());
        file.truncate(50_000).unwrap();
        let output = VecDeque::from([Outgoing::of_segment(mapping, 40_000..60_000).unwrap()]);
        let (mut ours, _theirs) = UnixStream::pair().unwrap();
        let mut wire = Wire { io: &mut ours, input: &mut BytesMut::new(), output };
        assert_eq!(wire.flush().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

//! The receiver's loop: it waits for what happens, asks the state machine and performs what that says.

use super::beyond::{Begun, begun_at, stays_upto};
use super::catching_up::CatchingUp;
use super::comparing::whole_end;
use super::handover::Promised;
use super::writing::{branch_error, finished, last_page, log_end, open_writer, received};
use super::{ReceiveContext, ReceiveSettings, Shown};
use crate::directory_id::DirectoryId;
use crate::driver::extensions::{CONFIRMED, DIRECTORY, FORMER, NETWORK, ROSTER, SLOTS};
use crate::error::ReplicaError;
use crate::receiver::{Event, Receiver, ReceiverAction};
use crate::sync::Progress;
use bytes::{Bytes, BytesMut};
use host::FineTimer;
use host::sync::Mutex;
use host::task::Blocking;
use protocol::backend::BackendMessage;
use protocol::conninfo::ConnInfo;
use protocol::frame::message;
use protocol::replication::{
    HotStandbyFeedback, StatusUpdate, WireLsn, encode_extension, encode_feedback, encode_status_update,
};
use protocol::{Client, ClientError};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wal::history::TimelineHistory;
use wal::{Lsn, RawWriter, WalError, Xid};

/// WAL written and not yet flushed at which a flush comes even if more is waiting in the socket, in bytes.
const UNFLUSHED_MAX: u64 = 4 << 20;
/// Pause between two words to redo that more of the log is written, while nobody waits for what is replayed:
/// each wakes its thread. Less than a sender's pause, so that what comes after that is not held up once more.
const REDO_PAUSE: Duration = Duration::from_micros(100);

pub(super) struct Driver {
    pub(super) context: ReceiveContext,
    pub(super) settings: ReceiveSettings,
    pub(super) changes: watch::Receiver<ReceiveSettings>,
    pub(super) cancel: CancellationToken,
    pub(super) shown: Arc<Mutex<Shown>>,
    pub(super) machine: Receiver,
    pub(super) writer: RawWriter,
    /// So much of what comes was here before, though some of it could not be read: it is compared.
    pub(super) known_upto: Lsn,
    /// What was here of a record at the log's end, if that was not whole.
    pub(super) begun: Option<Begun>,
    pub(super) client: Option<Client>,
    pub(super) plimsoll: bool,
    pub(super) streaming: bool,
    /// The version of the roster that the primary was told last on this stream.
    pub(super) told_roster: Option<u64>,
    /// Which member of the roster the primary is, if it has said so.
    pub(super) primary: Option<DirectoryId>,
    /// The server at the other end of the stream said, or was heard not to say, where its log comes from.
    pub(super) told_route: bool,
    /// The server at the other end of the stream said that it writes the timeline which it streams.
    pub(super) from_primary: bool,
    /// Whether a stream was started on this connection before.
    pub(super) streamed: bool,
    /// A flush that nobody waits for.
    pub(super) flushing: Option<Blocking<Result<Lsn, WalError>>>,
    /// Something was written since the socket was last found empty.
    pub(super) undrained: bool,
    /// When redo was last told of the log's end, on the monotonic clock.
    pub(super) announced_at: Duration,
    /// What it is to be told when the pause ends.
    pub(super) unannounced: Option<Lsn>,
    /// The primary asks this node to take over.
    pub(super) asked_over: Option<Bytes>,
    /// Whether all is here that the primary had at one moment.
    pub(super) catching_up: CatchingUp,
    /// It answered that it does, and waits for the word that it may.
    pub(super) promised: Option<Promised>,
}

impl Driver {
    pub(super) fn open(
        context: ReceiveContext,
        mut changes: watch::Receiver<ReceiveSettings>,
        cancel: CancellationToken,
        shown: Arc<Mutex<Shown>>,
        end: Lsn,
    ) -> Result<Self, ReplicaError> {
        let settings = changes.borrow_and_update().clone();
        let history = context.log.state().history.clone();
        let wanted = end;
        let (timeline, end) = log_end(&context.place, &history, wanted)?;
        let begun = begun_at(&context.place, &history, wanted)?;
        let had = context.feed.positions().replayed();
        context.log.receive_from(end);
        let known_upto = received(&context, &history).max(wanted);
        let again_upto = stays_upto(begun, known_upto);
        let writer =
            open_writer(&context, settings.fsync, (timeline, end), again_upto, context.feed.positions())?;
        let writer = writer.recorded_in(context.log.record());
        context.feed.set_writer(Some(writer.clone()));
        let replayed = context.feed.positions().replayed();
        // What was replayed or can be read behind a bad place is to be on what is followed, too.
        let files = (end < known_upto).then(|| context.place.files(&history));
        let lost = files.map(|files| whole_end(files, context.place.segment_size, end, known_upto));
        let mut machine = Receiver::new(settings.options.clone(), history, timeline, end, replayed);
        machine.set_needed(context.needed);
        machine.set_servers_left(context.search.lock().left);
        if let Some(begun) = begun {
            machine.set_begun(wanted, begun.upto);
        }
        if let Some(lost) = lost {
            machine.set_lost(lost?.max(had));
        }
        Ok(Self {
            context,
            settings,
            changes,
            cancel,
            shown,
            machine,
            writer,
            known_upto,
            begun,
            client: None,
            plimsoll: false,
            streaming: false,
            told_roster: None,
            primary: None,
            told_route: false,
            from_primary: false,
            streamed: false,
            flushing: None,
            undrained: false,
            announced_at: Duration::ZERO,
            unannounced: None,
            asked_over: None,
            catching_up: CatchingUp::default(),
            promised: None,
        })
    }

    pub(super) async fn run(&mut self) -> Result<(), ReplicaError> {
        let timer = FineTimer::start();
        loop {
            self.answer_handover().await;
            if let Some(event) = self.prove().await? {
                self.handle(event).await?;
            }
            let positions = self.context.feed.positions();
            if !self.machine.hurries_replayed() {
                // Nobody waits for replay: it is looked at, and does not wake this thread.
                self.machine.set_replayed(positions.replayed());
            }
            self.note_place();
            let now = self.context.host.clock.monotonic();
            if now >= self.announced_at + REDO_PAUSE {
                self.announce_written(now);
            }
            let announces = self.unannounced.map(|_| self.announced_at + REDO_PAUSE);
            let wake = [self.machine.wake_at(), announces, self.looks_at()].into_iter().flatten().min();
            let pause = wake.map(|wake| wake.saturating_sub(now));
            let due = pause.is_some_and(|pause| pause.is_zero());
            let event = tokio::select! {
                biased;
                () = self.cancel.cancelled() => break,
                Ok(()) = self.context.wants_confirmed.changed(), if self.streaming => {
                    self.tell_wants().await;
                    continue;
                }
                _ = self.changes.changed() => {
                    self.reload().await?;
                    continue;
                }
                () = std::future::ready(()), if due => Event::Tick,
                Ok(replayed) = positions.wait_replayed_past(self.machine.replayed()),
                    if self.machine.hurries_replayed() => Event::Replayed(replayed),
                flushed = finished(&mut self.flushing) => {
                    self.flushing = None;
                    let end = flushed?;
                    self.context.feed.flushed();
                    // What came meanwhile may be due, too.
                    self.undrained |= end < self.writer.end();
                    Event::Flushed(end)
                }
                message = next_message(&mut self.client),
                    if self.streaming && self.unflushed() < UNFLUSHED_MAX =>
                {
                    match self.stream_event(message) {
                        Some(event) => event,
                        None => continue,
                    }
                }
                () = std::future::ready(()), if self.undrained => {
                    self.undrained = false;
                    Event::Drained
                }
                () = timer.sleep(pause.unwrap_or(Duration::MAX)) => Event::Tick,
            };
            self.handle(event).await?;
        }
        self.disconnect().await;
        self.await_flush().await?;
        if !host::planted!("a receiver that ends does not flush") {
            self.writer.flush()?;
        }
        self.context.feed.flushed();
        self.context.feed.set_writer(None);
        self.announce(self.writer.end());
        Ok(())
    }

    /// Tells a Plimsoll primary whether to name what is confirmed at once.
    pub(super) async fn tell_wants(&mut self) {
        let wants = *self.context.wants_confirmed.borrow_and_update();
        self.queue_wants(wants);
        self.send_queued().await;
    }

    pub(super) fn queue_wants(&mut self, wants: bool) {
        if self.plimsoll {
            self.queue(|out| encode_extension(out, CONFIRMED, &[u8::from(wants)]));
        }
    }

    pub(super) fn queue_directory(&mut self) {
        if self.plimsoll && self.context.keeps_id {
            let directory = self.context.roster.own_id();
            self.queue(|out| encode_extension(out, DIRECTORY, &directory.number().to_be_bytes()));
        }
    }

    /// Tells a Plimsoll primary of this node and those that it knows, if anything of them is news.
    pub(super) fn queue_roster(&mut self) {
        let version = Some(self.context.roster.version());
        if self.plimsoll && self.streaming && self.told_roster != version {
            self.told_roster = version;
            if let Some(formers) = self.context.roster.told_formers() {
                self.queue(|out| encode_extension(out, FORMER, &formers));
            }
            if let Some(network) = host::net::namespace() {
                self.queue(|out| encode_extension(out, NETWORK, network.as_bytes()));
            }
            let payload = self.context.roster.told(self.context.host.clock.monotonic());
            self.queue(|out| encode_extension(out, ROSTER, &payload));
        }
    }

    pub(super) fn queue_copies(&mut self, copies: bool) {
        self.context.observer.asks_for_slots(self.plimsoll && copies);
        if self.plimsoll {
            self.queue(|out| encode_extension(out, SLOTS, &[u8::from(copies)]));
        }
    }

    /// For pg_stat_wal_receiver.
    pub(super) fn show(&self) {
        let view = self.machine.view();
        let mut shown = self.shown.lock();
        if self.from_primary
            && let Some(at) = view.last_received
        {
            shown.end_of_primary = Some((view.primary_end, at));
        }
        shown.view = Some(view);
    }

    /// What counts as received is recorded first, also if it came from an archive.
    fn note_reported(&self, flushed: Lsn) {
        if self.settings.fsync && flushed.is_valid() {
            let timeline = self.machine.history().timeline_at(flushed);
            self.context.log.record().flushed(timeline, flushed);
        }
    }

    /// Takes over new settings, and leaves a source that they name no more for the other one, at once.
    async fn reload(&mut self) -> Result<(), ReplicaError> {
        if !self.take_settings().await? {
            if self.client.is_some() {
                self.context.observer.reconnects();
                self.handle(Event::Lost(ReplicaError::ReceiverTerminated)).await?;
            }
            self.machine.try_at_once();
        }
        self.send_queued().await;
        Ok(())
    }

    /// Takes over changed settings; whether they name the same source.
    async fn take_settings(&mut self) -> Result<bool, ReplicaError> {
        let new = self.changes.borrow_and_update().clone();
        if new.fsync != self.settings.fsync {
            self.await_flush().await?;
            self.writer.set_fsync(new.fsync)?;
        }
        if new.copy_slots != self.settings.copy_slots && self.streaming {
            self.queue_copies(new.copy_slots);
        }
        self.queue_roster();
        let same = new.names_same_source(&self.settings);
        self.machine.set_options(new.options.clone());
        self.settings = new;
        Ok(same)
    }

    pub(super) async fn handle(&mut self, event: Event) -> Result<(), ReplicaError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let clock = self.context.host.clock.clone();
            // Feedback is sent at these events only.
            if self.settings.options.feedback && matches!(event, Event::Tick | Event::Started) {
                self.machine.set_xmin(self.context.observer.oldest_xmin());
            }
            for command in self.machine.handle(event, clock.monotonic(), clock.now()) {
                match self.perform(command).await? {
                    Some(event @ (Event::Lost(_) | Event::Differs(_))) => {
                        events.push_back(event);
                        break;
                    }
                    Some(event) => events.push_back(event),
                    None => {}
                }
            }
        }
        self.send_queued().await;
        Ok(())
    }

    /// Sends replies; a broken connection shows at the next read.
    pub(super) async fn send_queued(&mut self) {
        if let Some(client) = &mut self.client {
            let cancelled = self.cancel.cancelled();
            tokio::select! {
                biased;
                // What the socket takes at once goes out even at the end.
                _ = client.flush() => {}
                () = cancelled => {}
            }
        }
    }

    /// Tells why there is no stream, and whom not to ask first from now on.
    fn report(&mut self, error: &ReplicaError) {
        self.context.search.lock().left = self.machine.servers_left();
        if error.asks_others() {
            self.ask_last();
        }
        self.context.observer.failed(error);
    }

    /// Has the server that was reached last asked after the others that are named.
    pub(super) fn ask_last(&self) {
        let place = self.shown.lock().place.clone();
        if let (Some(place), Ok(info)) = (place, ConnInfo::parse(&self.settings.conninfo)) {
            self.context.search.lock().asked_last.note(&place, &info);
        }
    }

    /// It is of use again.
    fn note_serves(&self) {
        let place = self.shown.lock().place.clone();
        if let Some(place) = place {
            self.context.search.lock().asked_last.serves(&place);
        }
    }

    pub(super) async fn perform(&mut self, command: ReceiverAction) -> Result<Option<Event>, ReplicaError> {
        match command {
            ReceiverAction::Identify => {
                // On this connection what came before is known to be the primary's.
                if !self.streamed {
                    let end = self.writer.end();
                    let page = last_page(&self.context.place, self.machine.history(), end)?;
                    self.machine.set_last_page(end, page);
                }
                return Ok(Some(self.ask(command).await));
            }
            ReceiverAction::Connect | ReceiverAction::FetchHistory(_) => {
                return Ok(Some(self.ask(command).await));
            }
            ReceiverAction::Start { timeline, .. } => {
                if let Err(error) = self.context.log.receive(timeline) {
                    return Ok(Some(Event::Lost(branch_error(&error))));
                }
                return Ok(Some(self.ask(command).await));
            }
            ReceiverAction::FinishStream => return Ok(Some(self.finish_stream().await)),
            ReceiverAction::TellDescendant => self.tell_descendant().await,
            ReceiverAction::AskWitnessed => self.ask_witnessed().await,
            ReceiverAction::Disconnect => self.disconnect().await,
            ReceiverAction::StoreHistory(history) => self.store_history(&history)?,
            ReceiverAction::FindWholeEnd => return Ok(Some(self.find_whole_end())),
            ReceiverAction::Follow { history, kept } => {
                self.await_flush().await?;
                self.follow(history, kept)?;
            }
            ReceiverAction::SwitchTimeline(to) => {
                self.await_flush().await?;
                self.writer.switch_timeline(to)?;
                self.context.feed.flushed();
            }
            ReceiverAction::GoOnAt(at) => {
                self.await_flush().await?;
                self.go_on_at(at)?;
            }
            ReceiverAction::Count => self.count()?,
            ReceiverAction::Compare { at, wal } => return self.compare(at, &wal),
            ReceiverAction::Write { at, wal } => return self.write(at, &wal),
            ReceiverAction::Flush => return self.flush().await,
            ReceiverAction::Reply { progress, reply_requested } => {
                self.queue_reply(progress, reply_requested);
            }
            ReceiverAction::Feedback(xmin) => {
                let feedback = HotStandbyFeedback {
                    clock: self.context.host.clock.now(),
                    xmin: xmin.map_or(0, Xid::low),
                    xmin_epoch: xmin.map_or(0, Xid::epoch),
                    catalog_xmin: 0,
                    catalog_epoch: 0,
                };
                self.queue(|out| encode_feedback(out, &feedback));
            }
            ReceiverAction::Report(error) => self.report(&error),
            ReceiverAction::ReportEnd(error) => self.context.observer.ended(&error),
            ReceiverAction::ReportStart { at, timeline } => {
                self.note_serves();
                let again = std::mem::replace(&mut self.streamed, true);
                self.context.observer.started(at, timeline, again);
            }
        }
        Ok(None)
    }

    fn queue_reply(&mut self, progress: Progress, reply_requested: bool) {
        self.note_reported(progress.flushed);
        // Nobody is told more of this node than it shows itself.
        self.show();
        let wire = |lsn: Lsn| WireLsn::new(lsn.get());
        let status = StatusUpdate {
            written: wire(progress.written),
            flushed: wire(progress.flushed),
            applied: wire(progress.replayed),
            clock: self.context.host.clock.now(),
            reply_requested,
        };
        self.queue(|out| encode_status_update(out, &status));
    }

    pub(super) fn queue(&mut self, fill: impl FnOnce(&mut BytesMut)) {
        if let Some(client) = &mut self.client {
            client.queue(|out| message(out, b'd', fill));
        }
    }

    pub(super) fn store_history(&self, history: &TimelineHistory) -> Result<(), ReplicaError> {
        let place = &self.context.place;
        history.store(&*place.disk, &place.pg_wal).map_err(|error| ReplicaError::Protocol(error.to_string()))
    }
}

async fn next_message(client: &mut Option<Client>) -> Result<BackendMessage, ClientError> {
    match client {
        Some(client) => client.next_message().await,
        None => std::future::pending().await,
    }
}

//! The walreceiver: one thread that owns the connection, the log's files and the state machine.
//!
//! It is a thread of its own because it fsyncs: what the log's end needs is done in order and without a hop, and nothing
//! else waits behind it. Between messages it drains the socket, lets redo read what it wrote, then flushes once, then replies. A
//! flush that nobody waits for runs on another thread, while this one goes on receiving.

mod writing;

use super::log::LogPlace;
use super::replay::StandbyFeed;
use super::send::{AWAITED, CONFIRMED, SLOTS};
use super::timer::FineTimer;
use crate::error::ReplicaError;
use crate::receiver::{Command, Event, Receiver, ReceiverOptions, ReceiverView};
use crate::slots::{UpstreamSlot, copied};
use bytes::BytesMut;
use durability::Stages;
use host::Host;
use parking_lot::Mutex;
use protocol::backend::BackendMessage;
use protocol::client::CopyStart;
use protocol::conninfo::ConnInfo;
use protocol::frame::message;
use protocol::replication::{
    FromPrimary, HotStandbyFeedback, StatusUpdate, WireLsn, encode_extension, encode_feedback,
    encode_status_update,
};
use protocol::{Client, ClientError, frontend};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wal::format::{FORMAT_SETTING, FORMATS};
use wal::history::TimelineHistory;
use wal::{Lsn, NodeLog, RawWriter, TimelineId, WalError, Xid};
use writing::{finished, log_end, open_writer};

/// WAL written and not yet flushed at which a flush comes even if more is waiting in the socket, in bytes.
const UNFLUSHED_MAX: u64 = 4 << 20;
/// Pause between two words to redo that more of the log is written, while nobody waits for what is replayed: each wakes its thread.
/// Less than a sender's pause, so that what comes after that is not held up once more.
const REDO_PAUSE: Duration = Duration::from_micros(100);
/// How long an answer to a command may take without wal_receiver_timeout.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// What the receiver asks for, in the words of the log when it is refused.
const IDENTIFY: &str = "receive database system identifier and timeline ID from the primary server";
const HISTORY: &str = "receive timeline history file from the primary server";
const START: &str = "start WAL streaming";
const FORMAT: &str = "receive the format's number from the primary server";
const RECEIVE: &str = "receive data from WAL stream";

/// What can be changed while it runs.
#[derive(Clone, Debug)]
pub struct ReceiveSettings {
    /// primary_conninfo
    pub conninfo: String,
    /// application_name where the connection string has none: cluster_name, or walreceiver.
    pub application_name: String,
    /// The machine's settings.
    pub options: ReceiverOptions,
    /// Copy the primary's slots, if it is a Plimsoll node.
    pub copy_slots: bool,
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
    /// A new timeline's history is durable and followed from now on.
    fn followed(&self, history: &TimelineHistory) {
        let _ = history;
    }
    /// Log that was no whole record is cut away: called before that is done.
    fn cut(&self, from: Lsn, to: Lsn, timeline: TimelineId) {
        let _ = (from, to, timeline);
    }
    /// The primary names the log up to here confirmed.
    fn confirmed(&self, upto: Lsn) {
        let _ = upto;
    }
    /// The slots of the primary.
    fn slots(&self, slots: &[UpstreamSlot]) {
        let _ = slots;
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
    /// Whether to fsync (the setting).
    pub fsync: bool,
    /// Where redo is fed.
    pub feed: Arc<StandbyFeed>,
    /// The log, for cascading senders; its history is what this node follows.
    pub log: NodeLog,
    /// Who hears of it.
    pub observer: Arc<dyn ReceiveObserver>,
    /// Whether readers here want to hear at once what is confirmed.
    pub wants_confirmed: watch::Receiver<bool>,
}

/// A receiver at work.
#[derive(Debug)]
pub struct ReceiveHandle {
    cancel: CancellationToken,
    settings: watch::Sender<ReceiveSettings>,
    view: Arc<Mutex<Option<ReceiverView>>>,
    failed: watch::Receiver<Option<String>>,
    /// Closed when the thread has ended.
    runs: watch::Receiver<()>,
}

impl ReceiveHandle {
    /// What pg_stat_wal_receiver shows; None before it has begun.
    pub fn view(&self) -> Option<ReceiverView> {
        *self.view.lock()
    }
    /// Takes over reloaded settings; another connection string or slot makes it connect anew.
    pub fn set(&self, settings: ReceiveSettings) {
        self.settings.send_replace(settings);
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
    /// Ends it: what came is flushed, the connection closed. Returns when the thread writes and acknowledges nothing more, to
    /// whoever asks: of several that stop it, the first is no earlier than the others.
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
pub fn start(context: ReceiveContext, settings: ReceiveSettings) -> std::io::Result<ReceiveHandle> {
    let cancel = CancellationToken::new();
    let (settings, changes) = watch::channel(settings);
    let view = Arc::new(Mutex::new(None));
    let (failing, failed) = watch::channel(None);
    let (running, runs) = watch::channel(());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("walreceiver".to_owned()).spawn({
        let (cancel, view) = (cancel.clone(), view.clone());
        move || {
            // Told when all else of this thread is over.
            let _running = running;
            let runtime = runtime;
            let _vital = host::vital("the walreceiver");
            runtime.block_on(async move {
                let wanted = tokio::select! {
                    () = cancel.cancelled() => return,
                    wanted = context.feed.wait_wanted() => wanted,
                };
                let ran = match Driver::open(context, changes, cancel, view, wanted) {
                    Ok(mut driver) => driver.run().await,
                    Err(error) => Err(error),
                };
                if let Err(error) = ran {
                    failing.send_replace(Some(error.to_string()));
                }
            });
        }
    })?;
    Ok(ReceiveHandle { cancel, settings, view, failed, runs })
}

struct Driver {
    context: ReceiveContext,
    settings: ReceiveSettings,
    changes: watch::Receiver<ReceiveSettings>,
    cancel: CancellationToken,
    view: Arc<Mutex<Option<ReceiverView>>>,
    machine: Receiver,
    writer: RawWriter,
    client: Option<Client>,
    plimsoll: bool,
    streaming: bool,
    /// Whether a stream was started on this connection before.
    streamed: bool,
    /// A flush that nobody waits for.
    flushing: Option<tokio::task::JoinHandle<Result<Lsn, WalError>>>,
    /// Something was written since the socket was last found empty.
    undrained: bool,
    /// When redo was last told of the log's end, on the monotonic clock.
    announced_at: Duration,
    /// What it is to be told when the pause ends.
    unannounced: Option<Lsn>,
}

impl Driver {
    fn open(
        context: ReceiveContext,
        mut changes: watch::Receiver<ReceiveSettings>,
        cancel: CancellationToken,
        view: Arc<Mutex<Option<ReceiverView>>>,
        end: Lsn,
    ) -> Result<Self, ReplicaError> {
        let settings = changes.borrow_and_update().clone();
        let history = context.log.state().history.clone();
        let (timeline, end) = log_end(&context.place, &history, end)?;
        context.log.receive_from(end);
        let writer = open_writer(&context, timeline, end)?;
        context.feed.set_writer(Some(writer.clone()));
        let applied = context.feed.positions().replayed();
        let machine = Receiver::new(settings.options.clone(), history, timeline, end, applied);
        Ok(Self {
            context,
            settings,
            changes,
            cancel,
            view,
            machine,
            writer,
            client: None,
            plimsoll: false,
            streaming: false,
            streamed: false,
            flushing: None,
            undrained: false,
            announced_at: Duration::ZERO,
            unannounced: None,
        })
    }

    async fn run(&mut self) -> Result<(), ReplicaError> {
        let timer = FineTimer::new();
        loop {
            let positions = self.context.feed.positions();
            if !self.machine.hurries_applied() {
                // Nobody waits for replay: it is looked at, and does not wake this thread.
                self.machine.set_applied(positions.replayed());
            }
            *self.view.lock() = Some(self.machine.view());
            let now = self.context.host.clock.monotonic();
            if now >= self.announced_at + REDO_PAUSE {
                self.announce_written(now);
            }
            let announces = self.unannounced.map(|_| self.announced_at + REDO_PAUSE);
            let wake = [self.machine.wake_at(), announces].into_iter().flatten().min();
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
                    if self.take_settings() {
                        self.send_queued().await;
                        continue;
                    }
                    self.context.observer.reconnects();
                    Event::Lost(ReplicaError::ReceiverTerminated)
                }
                () = std::future::ready(()), if due => Event::Tick,
                Ok(replayed) = positions.wait_replayed_past(self.machine.applied()),
                    if self.machine.hurries_applied() => Event::Applied(replayed),
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
        self.writer.flush()?;
        self.context.feed.flushed();
        self.context.feed.set_writer(None);
        self.announce(self.writer.end());
        Ok(())
    }

    /// Tells a Plimsoll primary whether to name what is confirmed at once.
    async fn tell_wants(&mut self) {
        let wants = *self.context.wants_confirmed.borrow_and_update();
        self.queue_wants(wants);
        self.send_queued().await;
    }

    fn queue_wants(&mut self, wants: bool) {
        if self.plimsoll {
            self.queue(|out| encode_extension(out, CONFIRMED, &[u8::from(wants)]));
        }
    }

    fn queue_copies(&mut self, copies: bool) {
        if self.plimsoll {
            self.queue(|out| encode_extension(out, SLOTS, &[u8::from(copies)]));
        }
    }

    /// Takes over changed settings; false if the connection must be made anew.
    fn take_settings(&mut self) -> bool {
        let new = self.changes.borrow_and_update().clone();
        if new.copy_slots != self.settings.copy_slots && self.streaming {
            self.queue_copies(new.copy_slots);
        }
        let same = new.conninfo == self.settings.conninfo && new.options.slot == self.settings.options.slot;
        self.machine.set_options(new.options.clone());
        self.settings = new;
        same || self.client.is_none()
    }

    async fn handle(&mut self, event: Event) -> Result<(), ReplicaError> {
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
    async fn send_queued(&mut self) {
        if let Some(client) = &mut self.client {
            let cancelled = self.cancel.cancelled();
            tokio::select! {
                _ = client.flush() => {}
                () = cancelled => {}
            }
        }
    }

    async fn perform(&mut self, command: Command) -> Result<Option<Event>, ReplicaError> {
        match command {
            Command::Connect | Command::Identify | Command::FetchHistory(_) | Command::Start { .. } => {
                return Ok(Some(self.ask(command).await));
            }
            Command::FinishStream => return Ok(Some(self.finish_stream().await)),
            Command::TellDescendant(history) => self.tell_descendant(&history).await,
            Command::Disconnect => self.disconnect().await,
            Command::StoreHistory(history) => self.store_history(&history)?,
            Command::FindWholeEnd => return Ok(Some(self.find_whole_end())),
            Command::Follow { history, kept } => {
                self.await_flush().await?;
                self.follow(history, kept)?;
            }
            Command::SwitchTimeline(to) => {
                self.await_flush().await?;
                self.writer.switch_timeline(to)?;
                self.context.feed.flushed();
            }
            Command::Compare { at, wal } => return self.compare(at, &wal),
            Command::Write { at, wal } => return self.write(at, &wal),
            Command::Flush => return self.flush().await,
            Command::Reply { progress, reply_requested } => {
                let wire = |lsn: Lsn| WireLsn::new(lsn.get());
                let status = StatusUpdate {
                    written: wire(progress.written),
                    flushed: wire(progress.flushed),
                    applied: wire(progress.applied),
                    clock: self.context.host.clock.now(),
                    reply_requested,
                };
                self.queue(|out| encode_status_update(out, &status));
            }
            Command::Feedback(xmin) => {
                let feedback = HotStandbyFeedback {
                    clock: self.context.host.clock.now(),
                    xmin: xmin.map_or(0, Xid::low),
                    xmin_epoch: xmin.map_or(0, Xid::epoch),
                    catalog_xmin: 0,
                    catalog_epoch: 0,
                };
                self.queue(|out| encode_feedback(out, &feedback));
            }
            Command::Report(error) => self.context.observer.failed(&error),
            Command::ReportStart { at, timeline } => {
                let again = std::mem::replace(&mut self.streamed, true);
                self.context.observer.started(at, timeline, again);
            }
        }
        Ok(None)
    }

    fn queue(&mut self, fill: impl FnOnce(&mut BytesMut)) {
        if let Some(client) = &mut self.client {
            client.queue(|out| message(out, b'd', fill));
        }
    }

    /// Asks the primary something and waits for the answer, for as long as a silence may last.
    async fn ask(&mut self, command: Command) -> Event {
        let limit = self.settings.options.timeout.unwrap_or(ANSWER_TIME);
        let cancel = self.cancel.clone();
        let asked = async {
            match command {
                Command::Connect => self.connect().await,
                Command::Identify => self.identify().await,
                Command::FetchHistory(timeline) => self.fetch_history(timeline).await,
                Command::Start { slot, at, timeline } => self.start_stream(slot, at, timeline).await,
                _ => Err(ReplicaError::Protocol("no question".to_owned())),
            }
        };
        tokio::select! {
            answer = tokio::time::timeout(limit, asked) => match answer {
                Ok(Ok(event)) => event,
                Ok(Err(error)) => Event::Lost(error),
                Err(_) => Event::Lost(ReplicaError::ReceiverTimeout),
            },
            () = cancel.cancelled() => Event::Lost(ReplicaError::ReceiverTerminated),
        }
    }

    async fn connect(&mut self) -> Result<Event, ReplicaError> {
        let failed = |cause: String| connection("could not connect to the primary server", &cause);
        let mut info = ConnInfo::parse(&self.settings.conninfo).map_err(|error| failed(error.to_string()))?;
        info.replication = Some("true".to_owned());
        info.dbname = "replication".to_owned();
        info.application_name.get_or_insert_with(|| self.settings.application_name.clone());
        let client = Client::connect(&info).await.map_err(|error| failed(error.to_string()))?;
        self.plimsoll =
            client.parameter("server_version").is_some_and(|version| version.contains("Plimsoll"));
        self.client = Some(client);
        (self.streaming, self.streamed) = (false, false);
        if self.plimsoll {
            self.check_format().await?;
        }
        Ok(Event::Connected { plimsoll: self.plimsoll })
    }

    fn client(&mut self) -> Result<&mut Client, ReplicaError> {
        self.client.as_mut().ok_or_else(|| connection("could not send", "there is no connection"))
    }

    /// Refuses a primary whose log this program does not read.
    async fn check_format(&mut self) -> Result<(), ReplicaError> {
        let shown = self.client()?.show(FORMAT_SETTING).await.map_err(|error| refused(FORMAT, error))?;
        Ok(FORMATS.check_shown(shown.as_deref())?)
    }

    async fn identify(&mut self) -> Result<Event, ReplicaError> {
        let answer =
            self.client()?.query("IDENTIFY_SYSTEM").await.map_err(|error| refused(IDENTIFY, error))?;
        let number = |column: usize| answer.text(0, column).and_then(|text| text.parse::<u64>().ok());
        match (number(0), number(1).and_then(|timeline| u32::try_from(timeline).ok())) {
            (Some(system), Some(timeline)) => Ok(Event::Identified {
                system: wal::SystemId::new(system),
                timeline: TimelineId::new(timeline),
            }),
            _ => Err(ReplicaError::Protocol("invalid response to IDENTIFY_SYSTEM from primary".to_owned())),
        }
    }

    async fn fetch_history(&mut self, timeline: TimelineId) -> Result<Event, ReplicaError> {
        let answer = self
            .client()?
            .query(&format!("TIMELINE_HISTORY {timeline}"))
            .await
            .map_err(|error| refused(HISTORY, error))?;
        match answer.text(0, 1) {
            Some(text) => Ok(Event::History { timeline, text: text.to_owned() }),
            None => {
                Err(ReplicaError::Protocol("invalid response to TIMELINE_HISTORY from primary".to_owned()))
            }
        }
    }

    async fn start_stream(
        &mut self,
        slot: Option<String>,
        at: Lsn,
        timeline: TimelineId,
    ) -> Result<Event, ReplicaError> {
        let slot = slot.map(|slot| format!(" SLOT \"{}\"", slot.replace('"', "\"\""))).unwrap_or_default();
        let mut command = format!("START_REPLICATION{slot} {at} TIMELINE {timeline}");
        if self.plimsoll {
            let history = self.machine.history();
            command.push_str(&format!(" (plimsoll '{}'", FORMATS.newest));
            if let Some(branch) = history.branch_of(timeline) {
                command.push_str(&format!(", branch '{branch}'"));
            }
            command.push(')');
        }
        let started = match self.client()?.copy_both(&command).await.map_err(|error| refused(START, error))? {
            CopyStart::Streaming(_) => None,
            CopyStart::Ended(results) => {
                Some(results.first().and_then(|result| next_timeline(result.text(0, 0), result.text(0, 1))))
            }
        };
        self.streaming = started.is_none();
        if self.streaming && *self.context.wants_confirmed.borrow_and_update() {
            self.queue_wants(true);
        }
        if self.streaming && self.settings.copy_slots {
            self.queue_copies(true);
        }
        Ok(started.map_or(Event::Started, |next| Event::StreamEnded { next }))
    }

    fn stream_event(&mut self, message: Result<BackendMessage, ClientError>) -> Option<Event> {
        let payload = match message {
            Ok(BackendMessage::CopyData(payload)) => payload,
            Ok(BackendMessage::CopyDone) => return Some(Event::StreamEnded { next: None }),
            Ok(BackendMessage::CommandComplete(_)) => {
                let cause = "the server is shutting down";
                return Some(Event::Lost(connection("replication terminated by primary server", cause)));
            }
            Ok(BackendMessage::Error(report)) => {
                return Some(Event::Lost(refused(RECEIVE, ClientError::Server(report))));
            }
            Ok(_) => {
                let what = "unexpected message from the primary while streaming".to_owned();
                return Some(Event::Lost(ReplicaError::Protocol(what)));
            }
            Err(error) => return Some(Event::Lost(refused(RECEIVE, error))),
        };
        let lsn = |wire: WireLsn| Lsn::new(wire.get());
        match FromPrimary::decode(&payload) {
            Ok(FromPrimary::Data { start, end, clock, wal }) => {
                Some(Event::Data { start: lsn(start), primary_end: lsn(end), clock, wal })
            }
            Ok(FromPrimary::Keepalive(keepalive)) => Some(Event::Keepalive {
                primary_end: lsn(keepalive.end),
                clock: keepalive.clock,
                reply_requested: keepalive.reply_requested,
            }),
            Ok(FromPrimary::Extension(AWAITED, stages)) => {
                let stages = stages.first().map_or(Stages::ALL, |byte| Stages::from_byte(*byte));
                Some(Event::Awaited(stages))
            }
            Ok(FromPrimary::Extension(CONFIRMED, upto)) => {
                let upto = upto.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
                self.context.observer.confirmed(Lsn::new(upto));
                None
            }
            Ok(FromPrimary::Extension(SLOTS, slots)) => match copied::decode(&slots) {
                Ok(slots) => {
                    self.context.observer.slots(&slots);
                    None
                }
                Err(error) => Some(Event::Lost(error)),
            },
            Ok(FromPrimary::Extension(..)) => None,
            Err(error) => Some(Event::Lost(ReplicaError::Protocol(error.to_string()))),
        }
    }

    /// Ends our side of the stream and reads what follows: the next timeline, if this one is over.
    async fn finish_stream(&mut self) -> Event {
        self.streaming = false;
        let limit = self.settings.options.timeout.unwrap_or(ANSWER_TIME);
        let cancel = self.cancel.clone();
        let read = async {
            let client = self.client()?;
            client.queue(frontend::copy_done);
            client.flush().await.map_err(|error| refused(RECEIVE, error))?;
            let mut next = None;
            loop {
                match client.next_message().await.map_err(|error| refused(RECEIVE, error))? {
                    BackendMessage::DataRow(row) => next = next_timeline(row.text(0), row.text(1)),
                    BackendMessage::ReadyForQuery(_) => return Ok(Event::StreamEnded { next }),
                    BackendMessage::Error(report) => {
                        return Err(refused(RECEIVE, ClientError::Server(report)));
                    }
                    _ => {}
                }
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Event::Lost(ReplicaError::ReceiverTerminated),
            read = tokio::time::timeout(limit, read) => match read {
                Ok(Ok(event)) => event,
                Ok(Err(error)) => Event::Lost(error),
                Err(_) => Event::Lost(ReplicaError::ReceiverTimeout),
            },
        }
    }

    /// A primary that was replaced shall know; if it does not want to hear, that changes nothing here.
    async fn tell_descendant(&mut self, history: &TimelineHistory) {
        let text = history.text().replace('\'', "''");
        let command = format!("PLIMSOLL descendant (timeline {}, history '{text}')", history.target());
        if let Some(client) = &mut self.client {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => {}
                _ = tokio::time::timeout(ANSWER_TIME, client.query(&command)) => {}
            }
        }
    }

    async fn disconnect(&mut self) {
        (self.streaming, self.streamed) = (false, false);
        if let Some(client) = self.client.take() {
            // A peer that takes nothing more shall not hold us up.
            let _ = tokio::time::timeout(Duration::from_secs(1), client.close()).await;
        }
    }

    fn store_history(&self, history: &TimelineHistory) -> Result<(), ReplicaError> {
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

fn next_timeline(timeline: Option<&str>, start: Option<&str>) -> Option<(TimelineId, Lsn)> {
    Some((timeline?.parse().ok()?, start?.parse().ok()?))
}

fn connection(what: &str, cause: &str) -> ReplicaError {
    ReplicaError::Connection { what: what.to_owned(), cause: cause.to_owned() }
}

fn refused(what: &'static str, error: ClientError) -> ReplicaError {
    match error {
        ClientError::Server(report) => ReplicaError::Refused {
            what,
            sqlstate: report.code.as_str().to_owned(),
            message: report.message.clone(),
        },
        other => connection(&format!("could not {what}"), &other.to_string()),
    }
}

#[cfg(test)]
mod tests;

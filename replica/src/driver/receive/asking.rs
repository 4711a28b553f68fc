//! What the receiver asks of the primary before and after a stream, and how long it waits for the answers.

use super::catching_up::CatchingUp;
use super::running::Driver;
use super::{ReceiveObserver, ReceiveSettings};
use crate::driver::peers;
use crate::error::ReplicaError;
use crate::receiver::{Event, ReceiverAction};
use protocol::backend::BackendMessage;
use protocol::client::CopyStart;
use protocol::conninfo::ConnInfo;
use protocol::{Client, ClientError, frontend};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wal::format::{FORMAT_SETTING, FORMATS};
use wal::history::TimelineHistory;
use wal::{Lsn, TimelineId};

/// How long an answer to a command may take without wal_receiver_timeout.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// What the receiver asks for, in the words of the log when it is refused.
const IDENTIFY: &str = "receive database system identifier and timeline ID from the primary server";
const HISTORY: &str = "receive timeline history file from the primary server";
const START: &str = "start WAL streaming";
/// Tells of a branch that somebody else is a witness of.
const PASSED_ON: &str = ", passed_on 'true'";
const FORMAT: &str = "receive the format's number from the primary server";
pub(super) const RECEIVE: &str = "receive data from WAL stream";

/// How long an answer is waited for: as long as a silence may last, and it is the primary that the settings
/// name.
struct Patience {
    limit: Duration,
    cancel: CancellationToken,
    changes: watch::Receiver<ReceiveSettings>,
    asking: ReceiveSettings,
    observer: Arc<dyn ReceiveObserver>,
}

impl Patience {
    async fn answer<T>(
        self,
        asked: impl Future<Output = Result<T, ReplicaError>>,
    ) -> Result<T, ReplicaError> {
        let Self { limit, cancel, mut changes, asking, observer } = self;
        let turns_away = async move {
            let found = changes.wait_for(|new| !asking.names_same_source(new)).await.is_ok();
            if !found || host::planted!("who waits for an answer hears of no other primary") {
                std::future::pending().await
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ReplicaError::ReceiverTerminated),
            () = turns_away => {
                observer.reconnects();
                Err(ReplicaError::ReceiverTerminated)
            }
            answer = tokio::time::timeout(limit, asked) => {
                answer.unwrap_or(Err(ReplicaError::ReceiverTimeout))
            }
        }
    }
}

impl Driver {
    fn patience(&self) -> Patience {
        Patience {
            limit: self.settings.options.timeout.unwrap_or(ANSWER_TIME),
            cancel: self.cancel.clone(),
            changes: self.changes.clone(),
            asking: self.settings.clone(),
            observer: self.context.observer.clone(),
        }
    }

    /// Asks the primary something and waits for the answer.
    pub(super) async fn ask(&mut self, command: ReceiverAction) -> Event {
        let mut patience = self.patience();
        if matches!(command, ReceiverAction::Connect) {
            // One that is silent keeps nobody from the next.
            patience.limit = patience.limit.saturating_mul(self.servers_named());
        }
        let asked = async {
            match command {
                ReceiverAction::Connect => self.connect().await,
                ReceiverAction::Identify => self.identify().await,
                ReceiverAction::FetchHistory(timeline) => self.fetch_history(timeline).await,
                ReceiverAction::Start { slot, at, overlap, timeline } => {
                    self.start_stream(slot, at, overlap, timeline).await
                }
                _ => Err(ReplicaError::Protocol("no question".to_owned())),
            }
        };
        patience.answer(asked).await.unwrap_or_else(Event::Lost)
    }

    /// How many servers the settings name.
    fn servers_named(&self) -> u32 {
        let named = ConnInfo::parse(&self.settings.conninfo).map_or(1, |info| info.endpoints.len());
        u32::try_from(named).unwrap_or(u32::MAX).max(1)
    }

    pub(super) async fn connect(&mut self) -> Result<Event, ReplicaError> {
        let failed = |cause: String| connection("could not connect to the primary server", &cause);
        let mut info = ConnInfo::parse(&self.settings.conninfo).map_err(|error| failed(error.to_string()))?;
        let has_others = info.endpoints.len() > 1;
        if has_others {
            let limit = self.patience().limit;
            info.connect_timeout = Some(info.connect_timeout.map_or(limit, |own| own.min(limit)));
        }
        info.ask_last(&self.context.search.lock().asked_last);
        info.replication = Some("true".to_owned());
        info.dbname = "replication".to_owned();
        info.application_name = Some(self.settings.application_name.clone());
        let client = Client::connect(&info).await.map_err(|error| failed(error.to_string()))?;
        let place = client.place();
        self.shown.lock().place = Some(place.clone());
        self.machine.set_server(format!("\"{}\", port {}", place.0, place.1), has_others);
        if self.context.observer.is_own(client.key()) {
            // It would wait for log that it sends to itself while another one has it.
            self.ask_last();
            let (host, port) = place;
            return Err(failed(format!("the server at \"{host}\", port {port} is this server itself")));
        }
        self.plimsoll = client.is_plimsoll();
        self.client = Some(client);
        (self.streaming, self.streamed) = (false, false);
        // It may follow by another name now.
        self.catching_up = CatchingUp::default();
        self.context.feed.follow_as(&self.settings.application_name);
        if self.plimsoll {
            self.check_format().await?;
        }
        Ok(Event::Connected { plimsoll: self.plimsoll })
    }

    pub(super) fn client(&mut self) -> Result<&mut Client, ReplicaError> {
        self.client.as_mut().ok_or_else(|| connection("could not send", "there is no connection"))
    }

    /// Refuses a primary whose log this program does not read.
    pub(super) async fn check_format(&mut self) -> Result<(), ReplicaError> {
        let shown = self.client()?.show(FORMAT_SETTING).await.map_err(|error| refused(FORMAT, error))?;
        Ok(FORMATS.check_shown(shown.as_deref())?)
    }

    pub(super) async fn identify(&mut self) -> Result<Event, ReplicaError> {
        let answer =
            self.client()?.query("IDENTIFY_SYSTEM").await.map_err(|error| refused(IDENTIFY, error))?;
        let number = |column: usize| answer.text(0, column).and_then(|text| text.parse::<u64>().ok());
        let end = answer.text(0, 2).and_then(|text| text.parse().ok());
        let timeline = number(1).and_then(|timeline| u32::try_from(timeline).ok());
        let (Some(system), Some(timeline)) = (number(0), timeline) else {
            let what = "invalid response to IDENTIFY_SYSTEM from primary".to_owned();
            return Err(ReplicaError::Protocol(what));
        };
        let (system, timeline) = (wal::SystemId::new(system), TimelineId::new(timeline));
        if system == self.settings.options.system {
            self.context.roster.hear_of_timeline(timeline);
            self.pass_on(timeline).await;
        }
        Ok(Event::Identified { system, timeline, end: end.unwrap_or(Lsn::MAX) })
    }

    pub(super) async fn fetch_history(&mut self, timeline: TimelineId) -> Result<Event, ReplicaError> {
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

    pub(super) async fn start_stream(
        &mut self,
        slot: Option<String>,
        at: Lsn,
        overlap: Option<Lsn>,
        timeline: TimelineId,
    ) -> Result<Event, ReplicaError> {
        let slot = slot.map(|slot| format!(" SLOT {}", identifier::quote_always(&slot))).unwrap_or_default();
        let mut command = format!("START_REPLICATION{slot} {at} TIMELINE {timeline}");
        if self.plimsoll {
            let history = self.machine.history();
            command.push_str(&format!(" (plimsoll '{}'", FORMATS.newest));
            if let Some(branch) = history.branch_of(timeline) {
                command.push_str(&format!(", branch '{branch}'"));
            }
            if let Some(overlap) = overlap {
                command.push_str(&format!(", overlap '{overlap}'"));
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
        // What was asked or answered on another stream is of that alone.
        (self.asked_over, self.promised, self.from_primary) = (None, None, false);
        self.told_route = false;
        if self.streaming {
            (self.told_roster, self.primary) = (None, None);
            self.queue_roster();
            self.queue_directory();
            self.queue_takes_over();
        }
        if self.streaming && *self.context.wants_confirmed.borrow_and_update() {
            self.queue_wants(true);
        }
        if self.streaming {
            self.queue_copies(self.settings.copy_slots);
        }
        Ok(started.map_or(Event::Started, |next| Event::StreamEnded { next }))
    }

    /// Ends our side of the stream and reads what follows: the next timeline, if this one is over.
    pub(super) async fn finish_stream(&mut self) -> Event {
        self.streaming = false;
        let patience = self.patience();
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
        patience.answer(read).await.unwrap_or_else(Event::Lost)
    }

    /// A primary that was replaced shall know, from who is a witness; if it does not want to hear, or does
    /// not answer, that changes nothing here.
    pub(super) async fn tell_descendant(&mut self) {
        if let Some(history) = self.context.log.witnessed() {
            self.tell_branch(&history, "").await;
        }
    }

    /// The same of branches of which this node was told itself, as such: it may follow this primary, and be
    /// the only one that knows.
    async fn pass_on(&mut self, primary: TimelineId) {
        if !self.plimsoll {
            return;
        }
        let mut heard = self.context.roster.heard_branches(&self.context.log.state().history);
        heard.retain(|history| history.successor_of(primary).is_some());
        if heard.is_empty() || !self.takes_passed_on().await {
            return;
        }
        for history in &heard {
            self.tell_branch(history, PASSED_ON).await;
        }
    }

    async fn takes_passed_on(&mut self) -> bool {
        let patience = self.patience();
        let Some(client) = &mut self.client else { return false };
        let asked = async { Ok(peers::takes_passed_on(client).await) };
        patience.answer(asked).await.unwrap_or(false)
    }

    async fn tell_branch(&mut self, history: &TimelineHistory, more: &str) {
        let text = history.text().replace('\'', "''");
        let command = format!("PLIMSOLL descendant (timeline {}, history '{text}'{more})", history.target());
        let patience = self.patience();
        if let Some(client) = &mut self.client {
            let told = async { Ok(client.query(&command).await) };
            let _ = patience.answer(told).await;
        }
    }

    /// What the primary says of its branch, which is not followed here, is passed on.
    pub(super) async fn ask_witnessed(&mut self) {
        let patience = self.patience();
        let Some(client) = &mut self.client else { return };
        let asked = async { Ok(peers::ask(client).await) };
        if let Ok(Ok(peer)) = patience.answer(asked).await {
            self.context.observer.told(&peer);
        }
    }

    pub(super) async fn disconnect(&mut self) {
        (self.streaming, self.streamed) = (false, false);
        self.context.roster.end_route();
        if let Some(client) = self.client.take() {
            // A peer that takes nothing more shall not hold us up.
            let _ = tokio::time::timeout(Duration::from_secs(1), client.close()).await;
        }
    }
}

pub(super) fn next_timeline(timeline: Option<&str>, start: Option<&str>) -> Option<(TimelineId, Lsn)> {
    Some((timeline?.parse().ok()?, start?.parse().ok()?))
}

pub(super) fn connection(what: &str, cause: &str) -> ReplicaError {
    ReplicaError::Connection { what: what.to_owned(), cause: cause.to_owned() }
}

pub(super) fn refused(what: &'static str, error: ClientError) -> ReplicaError {
    match error {
        ClientError::Server(report) => {
            ReplicaError::Refused { what, code: report.code, message: report.message.clone() }
        }
        other => connection(&format!("could not {what}"), &other.to_string()),
    }
}

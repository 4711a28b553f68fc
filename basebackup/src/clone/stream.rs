//! The log that comes beside the backup.

use super::{CloneError, blocking, io_error};
use bytes::Bytes;
use host::task::task;
use host::{Host, write_file_durably};
use protocol::client::{CopyBoth, CopyStart};
use protocol::replication::{COPY_OPTION, FromPrimary, StatusUpdate, WireLsn, encode_status_update};
use protocol::{Client, ClientError, SqlState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wal::history::TimelineHistory;
use wal::{
    ArchiveStatus, Lsn, RawConfig, RawWriter, SegmentNumber, SegmentSize, StandbyPositions, TimelineId,
};

/// How often the server hears where the stream is, at least.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// What to stream.
pub(super) struct Request {
    /// Where segments go.
    pub pg_wal: PathBuf,
    /// The slot that keeps the log.
    pub slot: String,
    /// The backup's start: the stream begins with its segment.
    pub start: Lsn,
    pub timeline: TimelineId,
    pub segment_size: SegmentSize,
}

/// How long the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// Nobody has said yet.
    Open,
    /// What has come is enough.
    Finished,
    /// Nobody wants it any longer.
    Abandoned,
}

/// A stream under way on a task of its own; ended when dropped.
pub(super) struct WalStream {
    until: watch::Sender<Until>,
    received: watch::Receiver<Lsn>,
    task: Option<JoinHandle<Result<(Client, Lsn), CloneError>>>,
    /// The connection and the end of what came, if the server has ended the stream: its timeline has ended.
    ended: Option<(Client, Lsn)>,
}

impl WalStream {
    pub(super) fn start(host: Host, client: Client, request: Request) -> Self {
        let (until, changes) = watch::channel(Until::Open);
        let (sender, received) = watch::channel(Lsn::INVALID);
        let task = tokio::spawn(task(run(host, client, request, sender, changes)));
        Self { until, received, task: Some(task), ended: None }
    }

    /// The end of what has come.
    pub(super) fn received(&self) -> Lsn {
        *self.received.borrow()
    }

    /// Waits until the log up to `end` has come; the stream goes on.
    pub(super) async fn reach(&mut self, end: Lsn) -> Result<(), CloneError> {
        // The sender goes with the task, whose error comes from the check.
        let _ = self.received.wait_for(|received| *received >= end).await;
        if self.received() >= end {
            return Ok(());
        }
        if let Some(task) = self.task.take() {
            self.ended = Some(task.await.map_err(|_| CloneError::Broken)??);
        }
        match &self.ended {
            Some((_, at)) => Err(CloneError::StreamEnded { at: *at }),
            None => Err(CloneError::Broken),
        }
    }

    /// The stream's error, if it has failed. Where it has ended may be behind the backup's end, which nobody
    /// knows yet.
    pub(super) async fn check(&mut self) -> Result<(), CloneError> {
        match self.task.take_if(|task| task.is_finished()) {
            None => Ok(()),
            Some(task) => match task.await {
                Ok(Err(error)) => Err(error),
                Ok(Ok(ended)) => {
                    self.ended = Some(ended);
                    Ok(())
                }
                Err(_) => Err(CloneError::Broken),
            },
        }
    }

    /// Ends the stream: what has come is durable. Gives its end, and the connection.
    pub(super) async fn finish(mut self) -> Result<(Client, Lsn), CloneError> {
        // A stream that has failed already has nobody who listens; its error comes below.
        let _ = self.until.send(Until::Finished);
        match (self.task.take(), self.ended.take()) {
            (_, Some(ended)) => Ok(ended),
            (Some(task), None) => task.await.map_err(|_| CloneError::Broken)?,
            (None, None) => Err(CloneError::Broken),
        }
    }

    /// Gives the stream up; nothing is written any more when this returns.
    pub(super) async fn abandon(mut self) {
        let _ = self.until.send(Until::Abandoned);
        if let Some(task) = self.task.take() {
            // Whatever it says, another error came first.
            let _ = task.await;
        }
    }
}

impl Drop for WalStream {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn run(
    host: Host,
    mut client: Client,
    request: Request,
    received: watch::Sender<Lsn>,
    mut changes: watch::Receiver<Until>,
) -> Result<(Client, Lsn), CloneError> {
    let begin = request.segment_size.start_of(request.segment_size.segment_of(request.start));
    fetch_history(&host, &mut client, &request).await?;
    let writer = open_writer(&host, &request, begin).await?;
    let command = format!(
        "START_REPLICATION SLOT {} PHYSICAL {begin} TIMELINE {}",
        identifier::quote_always(&request.slot),
        request.timeline
    );
    let as_copy = client.is_plimsoll().then(|| format!("{command} ({COPY_OPTION} 'true')"));
    let started = match client.copy_both(as_copy.as_deref().unwrap_or(&command)).await {
        // The server is of before this option.
        Err(ClientError::Server(report)) if as_copy.is_some() && report.code == SqlState::SYNTAX_ERROR => {
            client.copy_both(&command).await
        }
        started => started,
    };
    let mut copy = match started? {
        CopyStart::Streaming(copy) => copy,
        CopyStart::Ended(_) => return Err(CloneError::StreamEnded { at: begin }),
    };
    let status = ArchiveStatus::new(host.disk.clone(), &request.pg_wal);
    let (timeline, segment_size) = (request.timeline, request.segment_size);
    let mut log = ReceivedLog { host, writer, status, timeline, segment_size, flushed: begin, received };
    log.receive(&mut copy, &mut changes).await?;
    log.flush(&mut copy).await?;
    copy.finish().await?;
    Ok((client, log.flushed))
}

async fn open_writer(host: &Host, request: &Request, begin: Lsn) -> Result<RawWriter, CloneError> {
    let config = RawConfig {
        background: false,
        segments_ahead: 0,
        ..RawConfig::new(request.timeline, request.segment_size)
    };
    let (host, pg_wal) = (host.clone(), request.pg_wal.clone());
    let positions = Arc::new(StandbyPositions::new(request.start));
    blocking(move || Ok(RawWriter::open(&host, &pg_wal, config, begin, positions)?)).await
}

/// What came of the log.
struct ReceivedLog {
    host: Host,
    writer: RawWriter,
    status: ArchiveStatus,
    timeline: TimelineId,
    segment_size: SegmentSize,
    flushed: Lsn,
    /// Who waits for its end.
    received: watch::Sender<Lsn>,
}

impl ReceivedLog {
    /// Takes what comes until the server ends the stream, or nothing more of it is wanted.
    async fn receive(
        &mut self,
        copy: &mut CopyBoth<'_>,
        changes: &mut watch::Receiver<Until>,
    ) -> Result<(), CloneError> {
        let mut timer = tokio::time::interval(STATUS_EVERY);
        loop {
            let until = *changes.borrow_and_update();
            match until {
                Until::Finished => return Ok(()),
                Until::Abandoned => return Err(CloneError::Broken),
                Until::Open => {}
            }
            // Messages last: they may come without a pause.
            let message = tokio::select! {
                biased;
                changed = changes.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Err(CloneError::Broken),
                },
                _ = timer.tick() => {
                    self.flush(copy).await?;
                    continue;
                }
                message = copy.next() => match message? {
                    Some(message) => FromPrimary::decode(&message).map_err(ClientError::from)?,
                    None => return Ok(()),
                },
            };
            match message {
                FromPrimary::Data { start, wal, .. } => self.write(Lsn::new(start.get()), wal, copy).await?,
                FromPrimary::Keepalive(keepalive) if keepalive.reply_requested => self.report(copy).await?,
                FromPrimary::Keepalive(_) | FromPrimary::Extension(..) => {}
            }
        }
    }

    async fn write(&mut self, start: Lsn, wal: Bytes, copy: &mut CopyBoth<'_>) -> Result<(), CloneError> {
        let to = self.writer.clone();
        let end = blocking(move || Ok(to.write_at(start, &wal)?)).await?;
        self.received.send_replace(end);
        // The slot keeps every segment that is not reported durable.
        if self.segment_size.segment_of(end) != self.segment_size.segment_of(self.flushed) {
            self.flush(copy).await?;
        }
        Ok(())
    }

    /// Makes what came durable, and says so.
    async fn flush(&mut self, copy: &mut CopyBoth<'_>) -> Result<(), CloneError> {
        let (writer, size) = (self.writer.clone(), self.segment_size);
        let (status, timeline, from) = (self.status.clone(), self.timeline, self.flushed);
        self.flushed = blocking(move || {
            let flushed = writer.flush()?;
            let whole = size.segment_of(from).get()..size.segment_of(flushed).get();
            for segment in whole.map(SegmentNumber::new) {
                mark_done(&status, &segment.file_name(timeline, size))?;
            }
            Ok(flushed)
        })
        .await?;
        self.report(copy).await
    }

    async fn report(&self, copy: &mut CopyBoth<'_>) -> Result<(), CloneError> {
        let update = StatusUpdate {
            written: WireLsn::new(self.writer.end().get()),
            flushed: WireLsn::new(self.flushed.get()),
            applied: WireLsn::new(0),
            clock: self.host.clock.now(),
            reply_requested: false,
        };
        copy.queue(|out| encode_status_update(out, &update));
        copy.flush().await?;
        Ok(())
    }
}

/// Marks what came as archived: otherwise a server made from this clone would archive it again.
fn mark_done(status: &ArchiveStatus, name: &str) -> Result<(), CloneError> {
    status.force_done(name).map_err(io_error(Path::new(&wal::archive_status::done_mark(name))))
}

/// Has the history file of the timeline in pg_wal, which the clone needs to know where its log comes from:
/// without it, a promotion of the clone would begin a timeline without a past.
async fn fetch_history(host: &Host, client: &mut Client, request: &Request) -> Result<(), CloneError> {
    let timeline = request.timeline;
    if timeline == TimelineId::FIRST {
        return Ok(());
    }
    let answer = client.query(&format!("TIMELINE_HISTORY {timeline}")).await?;
    let invalid = |why: String| CloneError::Answer(format!("history of timeline {timeline}: {why}"));
    let text = answer.text(0, 1).ok_or_else(|| invalid("none came".to_owned()))?;
    let history = TimelineHistory::parse(timeline, text).map_err(|error| invalid(error.to_string()))?;
    let (disk, name, pg_wal) = (host.disk.clone(), timeline.history_file_name(), request.pg_wal.clone());
    blocking(move || {
        let path = pg_wal.join(&name);
        write_file_durably(&*disk, &path, history.text().as_bytes()).map_err(io_error(&path))?;
        mark_done(&ArchiveStatus::new(disk, &pg_wal), &name)
    })
    .await
}

//! The log that comes beside the backup.

use super::{CloneError, blocking, quoted};
use host::Host;
use protocol::client::{CopyBoth, CopyStart};
use protocol::replication::{FromPrimary, StatusUpdate, WireLsn, encode_status_update};
use protocol::{Client, ClientError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use wal::{Lsn, RawConfig, RawWriter, SegmentSize, StandbyPositions, TimelineId};

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
    /// Up to here.
    Reached(Lsn),
    /// Not any longer.
    Abandoned,
}

/// A stream under way on a task of its own; ended when dropped.
pub(super) struct WalStream {
    until: watch::Sender<Until>,
    positions: Arc<StandbyPositions>,
    task: Option<JoinHandle<Result<Lsn, CloneError>>>,
}

impl WalStream {
    pub(super) fn start(host: Host, client: Client, request: Request) -> Self {
        let (until, changes) = watch::channel(Until::Open);
        let positions = Arc::new(StandbyPositions::new(request.start));
        let task = tokio::spawn(run(host, client, request, positions.clone(), changes));
        Self { until, positions, task: Some(task) }
    }

    /// The end of what has come.
    pub(super) fn received(&self) -> Lsn {
        self.positions.received()
    }

    /// The stream's error, if it has ended before anybody asked it to.
    pub(super) async fn check(&mut self) -> Result<(), CloneError> {
        match self.task.take_if(|task| task.is_finished()) {
            None => Ok(()),
            Some(task) => match task.await {
                Ok(Err(error)) => Err(error),
                Ok(Ok(at)) => Err(CloneError::StreamEnded { at }),
                Err(_) => Err(CloneError::Broken),
            },
        }
    }

    /// Waits until the log up to `end` is there and durable; gives the end of what came.
    pub(super) async fn finish(mut self, end: Lsn) -> Result<Lsn, CloneError> {
        // A stream that has failed already has nobody who listens; its error comes below.
        let _ = self.until.send(Until::Reached(end));
        match self.task.take() {
            Some(task) => task.await.map_err(|_| CloneError::Broken)?,
            None => Err(CloneError::Broken),
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
    positions: Arc<StandbyPositions>,
    mut changes: watch::Receiver<Until>,
) -> Result<Lsn, CloneError> {
    let begin = request.segment_size.start_of(request.segment_size.segment_of(request.start));
    let config = RawConfig {
        background: false,
        segments_ahead: 0,
        ..RawConfig::new(request.timeline, request.segment_size)
    };
    let (writer_host, pg_wal) = (host.clone(), request.pg_wal);
    let writer =
        blocking(move || Ok(RawWriter::open(&writer_host, &pg_wal, config, begin, positions)?)).await?;
    let command = format!(
        "START_REPLICATION SLOT {} PHYSICAL {begin} TIMELINE {}",
        quoted(&request.slot),
        request.timeline
    );
    let mut copy = match client.copy_both(&command).await? {
        CopyStart::Streaming(copy) => copy,
        CopyStart::Ended(_) => return Err(CloneError::StreamEnded { at: begin }),
    };
    let mut flushed = begin;
    let mut timer = tokio::time::interval(STATUS_EVERY);
    loop {
        let until = *changes.borrow_and_update();
        match until {
            Until::Reached(end) if writer.end() >= end => break,
            Until::Abandoned => return Err(CloneError::Broken),
            Until::Open | Until::Reached(_) => {}
        }
        let message = tokio::select! {
            message = copy.next() => match message? {
                Some(message) => FromPrimary::decode(&message).map_err(ClientError::from)?,
                None => return Err(CloneError::StreamEnded { at: writer.end() }),
            },
            changed = changes.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return Err(CloneError::Broken),
            },
            _ = timer.tick() => {
                flushed = flush(&writer).await?;
                status(&host, &mut copy, writer.end(), flushed).await?;
                continue;
            }
        };
        match message {
            FromPrimary::Data { start, wal, .. } => {
                let to = writer.clone();
                let end = blocking(move || Ok(to.write_at(Lsn::new(start.get()), &wal)?)).await?;
                // The slot keeps every segment that is not reported durable.
                if request.segment_size.segment_of(end) != request.segment_size.segment_of(flushed) {
                    flushed = flush(&writer).await?;
                    status(&host, &mut copy, end, flushed).await?;
                }
            }
            FromPrimary::Keepalive(keepalive) if keepalive.reply_requested => {
                status(&host, &mut copy, writer.end(), flushed).await?;
            }
            FromPrimary::Keepalive(_) | FromPrimary::Extension(..) => {}
        }
    }
    let end = flush(&writer).await?;
    status(&host, &mut copy, end, end).await?;
    copy.finish().await?;
    client.close().await;
    Ok(end)
}

async fn flush(writer: &RawWriter) -> Result<Lsn, CloneError> {
    let writer = writer.clone();
    blocking(move || Ok(writer.flush()?)).await
}

async fn status(host: &Host, copy: &mut CopyBoth<'_>, written: Lsn, flushed: Lsn) -> Result<(), CloneError> {
    let update = StatusUpdate {
        written: WireLsn::new(written.get()),
        flushed: WireLsn::new(flushed.get()),
        applied: WireLsn::new(0),
        clock: host.clock.now(),
        reply_requested: false,
    };
    copy.queue(|out| encode_status_update(out, &update));
    copy.flush().await?;
    Ok(())
}

//! What a running server knows of timelines, over a replication connection.

use super::{Known, first_time};
use anyhow::{Context, Result, anyhow};
use host::Timestamp;
use protocol::client::CopyStart;
use protocol::conninfo::{ConnInfo, Endpoint};
use protocol::replication::FromPrimary;
use protocol::{Client, ClientError};
use std::time::Duration;
use wal::history::TimelineHistory;
use wal::page::PAGE_SIZE;
use wal::{Lsn, SegmentSize, TimelineId, WalBytes};

/// How long the first bytes of a timeline are waited for.
const BEGIN_TIME: Duration = Duration::from_secs(5);
/// Bytes of a timeline's log that are looked at for its first moment.
const BEGIN_MAX: usize = 1 << 16;

/// Asks a server, and adds what it knows.
pub(super) fn ask(conninfo: &str, known: &mut Known<'_>) -> Result<()> {
    let mut info = ConnInfo::parse(conninfo)?;
    let name = match info.endpoints.as_slice() {
        [(Endpoint::Tcp(host), port)] => format!("server {host}:{port}"),
        [(Endpoint::Unix(folder), port)] => format!("server {}:{port}", folder.display()),
        _ => "server".to_owned(),
    };
    info.replication = Some("database".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = crate::connect::connect_as(info).await?;
        look(&mut client, &name, known).await
    })
}

async fn look(client: &mut Client, name: &str, known: &mut Known<'_>) -> Result<()> {
    let identity = client.query("IDENTIFY_SYSTEM").await?;
    let told = |column| identity.text(0, column).unwrap_or_default();
    let (timeline, at) = (told(1), told(2).to_owned());
    let timeline: TimelineId =
        timeline.parse().with_context(|| format!("IDENTIFY_SYSTEM says timeline \"{timeline}\""))?;
    let own = history_of(client, timeline).await?;
    let size = client.query("SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'").await?;
    let size = size.text(0, 0).and_then(|bytes| SegmentSize::new(bytes.parse().ok()?));
    let size = size.ok_or_else(|| anyhow!("the server does not say its wal_segment_size"))?;
    let mut others: Vec<_> = match client.query("SELECT name FROM pg_ls_waldir()").await {
        Ok(files) => (0..usize::try_from(files.row_count())?)
            .filter_map(|row| TimelineId::parse_history_file_name(files.text(row, 0)?))
            .collect(),
        Err(ClientError::Server(report)) => {
            known.leave_out("what the server's own timeline does not come from", &report.message);
            Vec::new()
        }
        Err(error) => return Err(error.into()),
    };
    others.extend(own.entries().iter().map(|entry| entry.timeline).chain([timeline]));
    others.sort_unstable();
    others.dedup();
    for timeline in others {
        let history = match own.up_to(timeline) {
            Some(history) => history,
            None => history_of(client, timeline).await?,
        };
        let is_own = own.contains(timeline) && history.begin() > Lsn::INVALID;
        let began = if is_own { began(client, &history, size).await? } else { None };
        known.add(&history, began);
    }
    known.note(&own, format!("{name}, at {at}"));
    Ok(())
}

async fn history_of(client: &mut Client, timeline: TimelineId) -> Result<TimelineHistory> {
    if timeline == TimelineId::FIRST {
        return Ok(TimelineHistory::root(timeline));
    }
    let answer = client.query(&format!("TIMELINE_HISTORY {timeline}")).await?;
    let text = answer.text(0, 1).ok_or_else(|| anyhow!("no history of timeline {timeline} came"))?;
    TimelineHistory::parse(timeline, text).with_context(|| format!("history of timeline {timeline}"))
}

/// When a timeline of the server's own history began, if the server has that log still.
async fn began(
    client: &mut Client,
    history: &TimelineHistory,
    size: SegmentSize,
) -> Result<Option<Timestamp>> {
    let begin = history.begin();
    let page = Lsn::new(begin.get() - begin.get() % PAGE_SIZE as u64);
    let command = format!("START_REPLICATION {page} TIMELINE {}", history.target());
    let mut stream = match client.copy_both(&command).await {
        Ok(CopyStart::Streaming(stream)) => stream,
        // Nothing of it is there, or not any more.
        Ok(CopyStart::Ended(_)) | Err(ClientError::Server(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut log = Vec::new();
    let mut found = None;
    let looked = tokio::time::timeout(BEGIN_TIME, async {
        while found.is_none() && log.len() < BEGIN_MAX {
            let Some(payload) = stream.next().await? else { break };
            if let FromPrimary::Data { wal, .. } = FromPrimary::decode(&payload)? {
                log.extend_from_slice(&wal);
                found = first_time(WalBytes::new(page, log.clone()), size, begin);
            }
        }
        anyhow::Ok(())
    });
    match looked.await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) if error.downcast_ref::<ClientError>().is_some_and(|error| error.code().is_some()) => {
            return Ok(None);
        }
        Ok(Err(error)) => return Err(error),
    }
    stream.finish().await?;
    Ok(found)
}

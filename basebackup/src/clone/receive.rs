//! BASE_BACKUP, the client's side: its result sets, and the parts of its copy.

use super::stream::WalStream;
use super::unpack::{Part, Unpacked, Unpacker};
use super::{CloneError, CloneOptions, CloneProgress};
use bytes::Bytes;
use host::Host;
use protocol::backend::BackendMessage;
use protocol::{Client, ClientError, Severity};
use std::sync::Arc;
use tokio::sync::mpsc;
use wal::{Lsn, TimelineId};

/// A BASE_BACKUP under way, past its first two result sets.
pub(super) struct Backup {
    client: Client,
    /// Where its log begins.
    pub start: Lsn,
    /// The timeline of that.
    pub timeline: TimelineId,
    /// Estimated bytes of the archive.
    pub total_bytes: Option<u64>,
    /// What the server warned of, as far as it is kept.
    pub warnings: Vec<String>,
}

/// Most warnings of a server that are kept.
const WARNINGS_MAX: usize = 1000;

impl Backup {
    /// Keeps what the server has warned of since the last call.
    fn keep_warnings(&mut self) {
        let room = WARNINGS_MAX.saturating_sub(self.warnings.len());
        let notices = self.client.take_notices().into_iter();
        let warnings = notices.filter(|notice| notice.severity == Severity::Warning);
        self.warnings.extend(warnings.take(room).map(|warning| warning.message));
    }

    /// Sends the command and waits for the server's checkpoint.
    pub(super) async fn begin(mut client: Client, options: &CloneOptions) -> Result<Self, CloneError> {
        let checkpoint = if options.fast_checkpoint { "fast" } else { "spread" };
        let checksum = crate::manifest::checksum::algorithm_name(options.checksum).unwrap_or("NONE");
        let rate = options.max_rate_kilobytes.map_or(String::new(), |rate| format!(", MAX_RATE {rate}"));
        let command = format!(
            "BASE_BACKUP (LABEL '{}', PROGRESS, CHECKPOINT '{checkpoint}', WAIT 0, MANIFEST 'yes', \
             MANIFEST_CHECKSUMS '{checksum}', TARGET 'client'{rate})",
            options.label.replace('\'', "''")
        );
        client.queue(|out| protocol::frontend::query(out, &command));
        client.flush().await?;
        let (start, timeline) = position(&mut client).await?;
        let (mut total, mut rows) = (None, 0);
        loop {
            match next(&mut client).await? {
                BackendMessage::DataRow(row) => {
                    rows += 1;
                    if row.text(0).is_some() {
                        return Err(CloneError::Answer("the server has tablespaces".to_owned()));
                    }
                    total = row.text(2).and_then(|size| size.parse::<u64>().ok());
                }
                BackendMessage::Copy(_) if rows == 1 => break,
                BackendMessage::RowDescription(_) | BackendMessage::CommandComplete(_) => {}
                other => return Err(unexpected(&other)),
            }
        }
        let total_bytes = total.map(|kilobytes| kilobytes.saturating_mul(1024));
        Ok(Self { client, start, timeline, total_bytes, warnings: Vec::new() })
    }
}

/// The next message; an error of the server is one.
async fn next(client: &mut Client) -> Result<BackendMessage, CloneError> {
    match client.next_message().await? {
        BackendMessage::Error(report) => Err(ClientError::Server(report).into()),
        message => Ok(message),
    }
}

fn unexpected(message: &BackendMessage) -> CloneError {
    let text = format!("{message:?}");
    let name: String = text.chars().take_while(|char| char.is_ascii_alphanumeric()).collect();
    CloneError::Answer(format!("message {name} does not belong here"))
}

/// Reads a result set of one position and its timeline.
async fn position(client: &mut Client) -> Result<(Lsn, TimelineId), CloneError> {
    let mut found = None;
    loop {
        match next(client).await? {
            BackendMessage::RowDescription(_) => {}
            BackendMessage::DataRow(row) => {
                let lsn = row.text(0).and_then(|text| text.parse().ok());
                let timeline = row.text(1).and_then(|text| text.parse().ok());
                found = lsn.zip(timeline);
            }
            BackendMessage::CommandComplete(_) => {
                return found
                    .ok_or_else(|| CloneError::Answer("the server names no WAL position".to_owned()));
            }
            other => return Err(unexpected(&other)),
        }
    }
}

/// Receives the archive and the manifest; gives what was unpacked, and where the backup ends.
pub(super) async fn receive(
    host: &Host,
    options: &CloneOptions,
    backup: &mut Backup,
    wal: &mut WalStream,
    report: &mut CloneProgress,
    progress: &mut (dyn FnMut(CloneProgress) + Send),
) -> Result<(Unpacked, Lsn), CloneError> {
    let (sender, mut receiver) = mpsc::channel::<Part>(8);
    let mut unpacker = Unpacker::new(host.disk.clone(), options.target.clone(), options.checksum);
    let going = Arc::new(());
    let still_going = Arc::downgrade(&going);
    let unpacking = host::task::blocking(move || {
        while let Some(part) = host::task::blocking_recv(&mut receiver) {
            // Whoever dropped the clone wants no more files, also none of those that wait here.
            if still_going.strong_count() == 0 {
                return Err(CloneError::Broken);
            }
            unpacker.take(part)?;
        }
        unpacker.finish()
    });
    let received = receive_parts(backup, wal, sender, report, progress).await;
    // Waited for on errors too: nothing may be written any more when the target is removed.
    let unpacked = unpacking.await.map_err(|_| CloneError::Broken)?;
    drop(going);
    // A full disk is the unpacker's to tell; it ends the receiving without an error.
    let unpacked = match (received, unpacked) {
        (Ok(()), unpacked) => unpacked?,
        (Err(error), _) => return Err(error),
    };
    let (end, timeline) = position(&mut backup.client).await?;
    if timeline != backup.timeline {
        return Err(CloneError::TimelineEnded { from: backup.timeline, to: timeline });
    }
    loop {
        match next(&mut backup.client).await? {
            BackendMessage::ReadyForQuery(_) => break,
            BackendMessage::CommandComplete(_) => {}
            other => return Err(unexpected(&other)),
        }
    }
    Ok((unpacked, end))
}

/// Receives CopyData up to its end and passes it on; ends early, without an error, when nobody takes it.
async fn receive_parts(
    backup: &mut Backup,
    wal: &mut WalStream,
    unpacker: mpsc::Sender<Part>,
    report: &mut CloneProgress,
    progress: &mut (dyn FnMut(CloneProgress) + Send),
) -> Result<(), CloneError> {
    const REPORT_EVERY_BYTES: u64 = 1 << 20;
    let mut reported = 0;
    loop {
        let message = next(&mut backup.client).await?;
        backup.keep_warnings();
        let data = match message {
            BackendMessage::CopyData(data) => data,
            BackendMessage::CopyDone => return Ok(()),
            other => return Err(unexpected(&other)),
        };
        let Some(part) = parse_part(data)? else { continue };
        if let Part::Data(data) = &part {
            report.received_bytes += data.len() as u64;
        }
        if unpacker.send(part).await.is_err() {
            return Ok(());
        }
        if report.received_bytes - reported >= REPORT_EVERY_BYTES {
            reported = report.received_bytes;
            report.wal_end = wal.received();
            progress(*report);
        }
        wal.check().await?;
    }
}

/// Takes apart a CopyData of BASE_BACKUP; None for what only reports progress.
fn parse_part(mut data: Bytes) -> Result<Option<Part>, CloneError> {
    if data.is_empty() {
        return Err(CloneError::Answer("empty CopyData in a backup".to_owned()));
    }
    let body = data.split_off(1);
    match data.first() {
        Some(b'd') => Ok(Some(Part::Data(body))),
        Some(b'n') => {
            let name = body.split(|byte| *byte == 0).next().unwrap_or_default();
            Ok(Some(Part::Archive(String::from_utf8_lossy(name).into_owned())))
        }
        Some(b'm') => Ok(Some(Part::Manifest)),
        Some(b'p') => Ok(None),
        other => Err(CloneError::Answer(format!("unknown CopyData type {other:?} in a backup"))),
    }
}

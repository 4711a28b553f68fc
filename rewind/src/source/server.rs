//! A running server, over a replication connection.

use super::{SourcePosition, Take};
use crate::error::RewindError;
use basebackup::send::files::{FileClass, SentFile};
use protocol::backend::BackendMessage;
use protocol::conninfo::ConnInfo;
use protocol::replication::{FILES_COMMAND, FILES_GO_ON, ReadFile};
use protocol::{Client, ClientError, SqlState, frontend};
use wal::format::{FORMAT_SETTING, FORMATS};
use wal::history::TimelineHistory;
use wal::{Lsn, TimelineId};

/// Commands that are on their way at a time, so that the way to the server and back does not rule.
const ON_THE_WAY: usize = 32;

/// A connection.
pub struct ServerSource {
    client: Client,
}

impl ServerSource {
    pub(super) async fn connect(conninfo: &str) -> Result<Self, RewindError> {
        let mut info = ConnInfo::parse(conninfo).map_err(ClientError::from)?;
        info.replication = Some("true".to_owned());
        info.application_name.get_or_insert_with(|| "plimsoll rewind".to_owned());
        let mut client = Client::connect(&info).await?;
        if !client.is_plimsoll() {
            return Err(RewindError::NotPlimsoll);
        }
        let shown = client.show(FORMAT_SETTING).await?;
        FORMATS.check_shown(shown.as_deref()).map_err(RewindError::Format)?;
        Ok(Self { client })
    }

    /// What IDENTIFY_SYSTEM says. Its position is durable, and no page is newer, on a standby neither.
    pub(super) async fn position(&mut self) -> Result<SourcePosition, RewindError> {
        let answer = self.client.query("IDENTIFY_SYSTEM").await?;
        let position = || {
            let at: Lsn = answer.text(0, 2)?.parse().ok()?;
            Some(SourcePosition {
                system_id: answer.text(0, 0)?.parse().ok()?,
                timeline: answer.text(0, 1)?.parse().ok()?,
                at,
                log_end: at,
            })
        };
        position().ok_or_else(|| RewindError::Answer("IDENTIFY_SYSTEM names no position".to_owned()))
    }

    pub(super) async fn history(&mut self, timeline: TimelineId) -> Result<TimelineHistory, RewindError> {
        let answer = match self.client.query(&format!("TIMELINE_HISTORY {timeline}")).await {
            // The first timeline of a cluster has none.
            Err(error) if error.code() == Some(SqlState::UNDEFINED_FILE) => {
                return Ok(TimelineHistory::root(timeline));
            }
            other => other?,
        };
        let text = answer.text(0, 1).unwrap_or_default();
        TimelineHistory::parse(timeline, text).map_err(|error| RewindError::Answer(error.to_string()))
    }

    pub(super) async fn files(&mut self, goes_on: bool) -> Result<Vec<SentFile>, RewindError> {
        let more = if goes_on { format!(" ({FILES_GO_ON} 'true')") } else { String::new() };
        let answer = self.client.query(&format!("PLIMSOLL {FILES_COMMAND}{more}")).await?;
        let file = |row| {
            let text = |column| answer.text(row, column);
            let (path, size) = (text(0)?.to_owned(), text(1)?.parse().ok()?);
            Some(SentFile { path, size, class: FileClass::from_name(text(2)?)? })
        };
        let files: Option<Vec<_>> = (0..answer.rows.len()).map(file).collect();
        let files = files.ok_or_else(|| RewindError::Answer("a file without its kind".to_owned()))?;
        // What a server names becomes a path here.
        match files.iter().find(|file| !basebackup::send::files::may_be_sent(&file.path) && !is_folder(file))
        {
            Some(file) => Err(RewindError::Answer(format!("\"{}\" is no file of a base backup", file.path))),
            None => Ok(files),
        }
    }

    pub(super) async fn read(&mut self, reads: &[ReadFile], take: &mut Take<'_>) -> Result<(), RewindError> {
        let mut sent = 0;
        for (at, read) in reads.iter().enumerate() {
            // Refilled when half of them are answered, so that several go with one packet.
            if sent < reads.len() && sent - at <= ON_THE_WAY / 2 {
                let upto = reads.len().min(at + ON_THE_WAY);
                for next in reads.get(sent..upto).unwrap_or_default() {
                    self.client.queue(|out| frontend::query(out, &next.text()));
                }
                sent = upto;
                self.client.flush().await?;
            }
            self.answer(read, take).await?;
        }
        Ok(())
    }

    /// The answer to one read.
    async fn answer(&mut self, read: &ReadFile, take: &mut Take<'_>) -> Result<(), RewindError> {
        let mut is_taken = false;
        loop {
            match self.client.next_message().await? {
                BackendMessage::DataRow(row) => {
                    take(read, Some(row.bytes(0).unwrap_or_default()))?;
                    is_taken = true;
                }
                BackendMessage::Error(report) => return Err(ClientError::Server(report).into()),
                BackendMessage::ReadyForQuery(_) if is_taken => return Ok(()),
                BackendMessage::ReadyForQuery(_) => return take(read, None),
                BackendMessage::RowDescription(_) | BackendMessage::CommandComplete(_) => {}
                _ => return Err(ClientError::Unexpected("reading a file").into()),
            }
        }
    }

    pub(super) async fn close(self) {
        self.client.close().await;
    }
}

/// Folders are made, never read.
fn is_folder(file: &SentFile) -> bool {
    let is_plain = file.path.split('/').all(|name| !matches!(name, "" | "." | ".."));
    matches!(file.class, FileClass::Folder | FileClass::EmptyFolder) && is_plain
}

//! COPY in, COPY out, and CopyBoth for replication.

use super::{Client, ClientError, QueryResult};
use crate::backend::{BackendMessage, CopyDirection};
use crate::frame::message;
use crate::frontend;
use bytes::{Bytes, BytesMut};

/// A COPY FROM STDIN under way.
#[derive(Debug)]
pub struct CopyIn<'c> {
    client: &'c mut Client,
}

/// A COPY TO STDOUT, or another command that answers with CopyOut, under way.
#[derive(Debug)]
pub struct CopyOut<'c> {
    client: &'c mut Client,
    ended: bool,
}

/// A two-way stream under way (START_REPLICATION).
#[derive(Debug)]
pub struct CopyBoth<'c> {
    client: &'c mut Client,
    ended: bool,
}

/// What START_REPLICATION led to.
#[derive(Debug)]
pub enum CopyStart<'c> {
    /// The stream runs.
    Streaming(CopyBoth<'c>),
    /// There was nothing to stream: the timeline ends at the start point. The results name the next one.
    Ended(Vec<QueryResult>),
}

impl Client {
    /// Sends a command and waits for the answer that data goes in this direction now.
    async fn start_copy(&mut self, sql: &str, direction: CopyDirection) -> Result<(), ClientError> {
        self.queue(|out| frontend::query(out, sql));
        self.flush().await?;
        match self.next_message().await? {
            BackendMessage::Copy(answered) if answered == direction => return Ok(()),
            BackendMessage::Error(report) => self.finish(Some(report)).await?,
            _ => {}
        }
        Err(ClientError::Unexpected("starting a COPY"))
    }

    /// Starts a COPY FROM STDIN.
    ///
    /// # Errors
    ///
    /// Fails if the server refuses the statement, or the connection breaks.
    pub async fn copy_in(&mut self, sql: &str) -> Result<CopyIn<'_>, ClientError> {
        self.start_copy(sql, CopyDirection::In).await?;
        Ok(CopyIn { client: self })
    }

    /// Starts a COPY TO STDOUT (or BASE_BACKUP's archives, after its result sets were read with
    /// `next_message`).
    ///
    /// # Errors
    ///
    /// Fails if the server refuses the statement, or the connection breaks.
    pub async fn copy_out(&mut self, sql: &str) -> Result<CopyOut<'_>, ClientError> {
        self.start_copy(sql, CopyDirection::Out).await?;
        Ok(CopyOut { client: self, ended: false })
    }

    /// Sends a command that starts a two-way stream.
    ///
    /// # Errors
    ///
    /// Fails if the server refuses the command, or the connection breaks.
    pub async fn copy_both(&mut self, command: &str) -> Result<CopyStart<'_>, ClientError> {
        self.queue(|out| frontend::query(out, command));
        self.flush().await?;
        match self.next_message().await? {
            BackendMessage::Copy(CopyDirection::Both) => {
                Ok(CopyStart::Streaming(CopyBoth { client: self, ended: false }))
            }
            BackendMessage::RowDescription(columns) => {
                let mut results = self.results().await?;
                if let Some(first) = results.first_mut() {
                    first.columns = columns;
                }
                Ok(CopyStart::Ended(results))
            }
            BackendMessage::Error(report) => {
                self.finish(Some(report)).await?;
                Err(ClientError::Unexpected("starting a stream"))
            }
            BackendMessage::CommandComplete(_) => {
                self.finish(None).await?;
                Ok(CopyStart::Ended(Vec::new()))
            }
            _ => Err(ClientError::Unexpected("starting a stream")),
        }
    }
}

impl CopyIn<'_> {
    /// Sends a piece of data, of any length.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks.
    pub async fn send(&mut self, data: &[u8]) -> Result<(), ClientError> {
        self.client.queue(|out| frontend::copy_data(out, data));
        self.client.flush_if_large().await
    }

    /// Ends the data; gives the command tag.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks, or the server refuses the data.
    pub async fn finish(self) -> Result<String, ClientError> {
        self.client.queue(frontend::copy_done);
        self.client.flush().await?;
        Ok(self.client.results().await?.pop().unwrap_or_default().tag)
    }

    /// Gives the COPY up; the server undoes it.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks.
    pub async fn abort(self, why: &str) -> Result<(), ClientError> {
        self.client.queue(|out| frontend::copy_fail(out, why));
        self.client.flush().await?;
        match self.client.finish(None).await {
            Err(ClientError::Server(_)) | Ok(()) => Ok(()),
            Err(other) => Err(other),
        }
    }
}

impl CopyOut<'_> {
    /// The next piece of data; None at its end. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks, or the server reports an error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        match self.client.next_message().await? {
            BackendMessage::CopyData(data) => Ok(Some(data)),
            BackendMessage::CopyDone => {
                self.ended = true;
                self.client.finish(None).await?;
                Ok(None)
            }
            BackendMessage::Error(report) => {
                self.ended = true;
                self.client.finish(Some(report)).await?;
                Ok(None)
            }
            _ => Err(ClientError::Unexpected("copying")),
        }
    }
}

impl CopyBoth<'_> {
    /// The next message's payload; None when the server has ended its side. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks, or the server reports an error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        match self.client.next_message().await? {
            BackendMessage::CopyData(data) => Ok(Some(data)),
            BackendMessage::CopyDone => {
                self.ended = true;
                Ok(None)
            }
            BackendMessage::Error(report) => Err(ClientError::Server(report)),
            _ => Err(ClientError::Unexpected("streaming")),
        }
    }

    /// Queues a message whose payload `fill` writes.
    pub fn queue(&mut self, fill: impl FnOnce(&mut BytesMut)) {
        self.client.queue(|out| message(out, b'd', fill));
    }

    /// Sends what is queued. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        self.client.flush().await
    }

    /// Ends our side, waits for the server to end its own, and reads the results that follow (the next
    /// timeline, if this one ended). Data still on its way is dropped. The connection then takes commands
    /// again.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks, or the server reports an error.
    pub async fn finish(self) -> Result<Vec<QueryResult>, ClientError> {
        self.client.queue(frontend::copy_done);
        self.client.flush().await?;
        self.client.results().await
    }
}

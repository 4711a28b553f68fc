//! An asynchronous connection to a server: ours or PostgreSQL's.
//!
//! Used by the walreceiver, by clone and lag, by load generators and tests. One task owns a [`Client`].
//! Receiving is cancel-safe (what arrived stays in the buffer); so is [`Client::flush`]. Other calls must run
//! to their end: after one was dropped midway the connection is out of step and has to be dropped too.

mod connect;
mod copy;
mod query;
mod stream;

pub use connect::CancelToken;
pub use copy::{CopyBoth, CopyIn, CopyOut, CopyStart};
pub use query::{QueryResult, Statement};

use crate::backend::{BackendMessage, CopyDirection, TransactionStatus};
use crate::cursor::ProtocolError;
use crate::frame::{Frame, client_limit};
use crate::frontend;
use crate::report::Report;
use crate::scram::ScramError;
use crate::startup::CancelKey;
use crate::tls::{Encryption, TlsError};
use bytes::{Buf, BytesMut};
use sqlstate::SqlState;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use stream::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Notices kept until somebody takes them; older ones are dropped.
const NOTICES_MAX: usize = 64;
/// Parameters of different names that a server may report; PostgreSQL's are fourteen.
const PARAMETERS_MAX: usize = 256;
/// Bytes of notices, parameters and the like that a server may send before the next message that answers.
const ASIDE_BYTES_MAX: usize = 4 << 20;
/// Pending output over which [`Client::flush`] is due.
const OUTPUT_BYTES: usize = 64 << 10;
/// Bytes that a server may send until it has let its client in: some dozen parameters, or why it does not.
const LOGIN_BYTES_MAX: usize = 64 << 10;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection string is wrong.
    #[error(transparent)]
    ConnInfo(#[from] crate::conninfo::ConnInfoError),
    /// No endpoint could be reached.
    #[error(
        "connection to server at \"{endpoint}\" failed. Is the server running there and accepting connections?"
    )]
    Connect {
        /// Host or socket, and port.
        endpoint: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("connection to server was lost: {0}")]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("server closed the connection unexpectedly")]
    Closed,
    /// The server answered with an error.
    #[error("{0}")]
    Server(Box<Report>),
    /// The server sent what the protocol does not have there.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The server sent a message that does not belong here.
    #[error("unexpected message from server while {0}")]
    Unexpected(&'static str),
    /// The server sends, without an end, what is no answer.
    #[error("the server sends more {0} than a client takes")]
    Flood(&'static str),
    /// SCRAM failed.
    #[error("authentication failed: {0}")]
    Scram(#[from] ScramError),
    /// The server asks for a password and none is known; why a password file is not used.
    #[error("no password supplied{}", .0.as_ref().map(|why| format!(" ({why})")).unwrap_or_default())]
    NoPassword(Option<String>),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// SCRAM cannot be bound to the channel as asked.
    #[error("{0}")]
    ChannelBinding(&'static str),
    /// The server asks for a method that is not built.
    #[error("authentication method {0} is not supported")]
    Authentication(String),
    /// The server is not of the kind that target_session_attrs asks for.
    #[error("{0}")]
    WrongServer(&'static str),
}

impl ClientError {
    /// The server's SQLSTATE, if it was the server that refused.
    pub fn code(&self) -> Option<SqlState> {
        match self {
            Self::Server(report) => Some(report.code),
            _ => None,
        }
    }
    /// Whether the connection is gone.
    pub fn is_disconnect(&self) -> bool {
        matches!(self, Self::Io(_) | Self::Closed)
    }
}

fn closed_by_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    // The last is TLS whose end was not announced.
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    input: BytesMut,
    output: BytesMut,
    cancel: CancelToken,
    /// None on a connection in the clear.
    encryption: Option<Encryption>,
    parameters: BTreeMap<String, String>,
    status: TransactionStatus,
    notices: VecDeque<Report>,
    /// Bytes that may come yet; None is any number.
    allowance: Option<usize>,
    /// Bytes of what came since the last message that answers.
    aside: usize,
    /// The COPY of which the server may send data.
    copies: Option<CopyDirection>,
}

impl Client {
    fn new(stream: Stream, cancel: CancelToken) -> Self {
        Self {
            stream,
            input: BytesMut::with_capacity(16 << 10),
            output: BytesMut::with_capacity(16 << 10),
            cancel,
            encryption: None,
            parameters: BTreeMap::new(),
            status: TransactionStatus::Idle,
            notices: VecDeque::new(),
            allowance: Some(LOGIN_BYTES_MAX),
            aside: 0,
            copies: None,
        }
    }

    /// Lets the server send so many bytes more and no others: it is asked for little, and may be another one
    /// than is thought.
    pub fn allow(&mut self, bytes: usize) {
        self.allowance = Some(bytes);
    }

    /// The last value of a parameter that the server reports (`server_version`, `in_hot_standby`...).
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }

    /// Whether the server is a Plimsoll, which knows more than PostgreSQL's commands.
    pub fn is_plimsoll(&self) -> bool {
        self.parameter("server_version").is_some_and(|version| version.contains("Plimsoll"))
    }

    /// Where the server was reached: the host, or the folder of the Unix socket, and the port.
    pub fn place(&self) -> (String, u16) {
        (self.cancel.endpoint.to_string(), self.cancel.port)
    }

    /// The encryption of the connection; None in the clear.
    pub const fn encryption(&self) -> Option<&Encryption> {
        self.encryption.as_ref()
    }

    /// The transaction status of the last ReadyForQuery.
    pub const fn transaction_status(&self) -> TransactionStatus {
        self.status
    }

    /// The server process's number and secret.
    pub const fn key(&self) -> CancelKey {
        self.cancel.key
    }

    /// What cancels this session's statements from another task.
    pub fn cancel_token(&self) -> CancelToken {
        self.cancel.clone()
    }

    /// Takes the notices that came since the last call (the last 64 of them).
    pub fn take_notices(&mut self) -> Vec<Report> {
        self.notices.drain(..).collect()
    }

    /// Encodes messages into the output buffer; [`Self::flush`] sends them.
    pub fn queue(&mut self, fill: impl FnOnce(&mut BytesMut)) {
        fill(&mut self.output);
    }

    /// Sends what is queued. Cancel-safe. That the server has closed the connection is told by the next read,
    /// after what it said last (why it ended the session, say).
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        while self.output.has_remaining() {
            match self.stream.write_buf(&mut self.output).await {
                Ok(_) => {}
                Err(error) if closed_by_peer(&error) => self.output.clear(),
                Err(error) => return Err(error.into()),
            }
        }
        // Under TLS some of it may have been encrypted and not sent.
        match self.stream.flush().await {
            Err(error) if !closed_by_peer(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn flush_if_large(&mut self) -> Result<(), ClientError> {
        if self.output.len() >= OUTPUT_BYTES { self.flush().await } else { Ok(()) }
    }

    /// The next message, as it comes: also ErrorResponse and ReadyForQuery. Notices, notifications and
    /// parameter statuses are kept aside. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Fails if the connection breaks, or a message is malformed.
    pub async fn next_message(&mut self) -> Result<BackendMessage, ClientError> {
        loop {
            if let Some(message) = self.buffered_message()? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    fn limit(&self, kind: u8) -> usize {
        let limit = client_limit(kind, self.copies.is_some());
        self.allowance.map_or(limit, |bytes| bytes.min(limit))
    }

    /// The next message that is already here.
    fn buffered_message(&mut self) -> Result<Option<BackendMessage>, ClientError> {
        while let Some(frame) = Frame::peek_by(&self.input, |kind| self.limit(kind))? {
            if let Some(bytes) = &mut self.allowance {
                *bytes = bytes.saturating_sub(frame.len);
            }
            self.aside += frame.len;
            let mut body = self.input.split_to(frame.len).freeze();
            body.advance(Frame::HEADER);
            match BackendMessage::decode(frame.kind, body)? {
                BackendMessage::Notice(report) => {
                    if self.notices.len() == NOTICES_MAX {
                        self.notices.pop_front();
                    }
                    self.notices.push_back(*report);
                }
                BackendMessage::ParameterStatus(name, value) => {
                    self.parameters.insert(name, value);
                    if self.parameters.len() > PARAMETERS_MAX {
                        return Err(ClientError::Flood("parameters"));
                    }
                }
                BackendMessage::Other(_) => {}
                message => {
                    self.aside = 0;
                    self.note(&message)?;
                    return Ok(Some(message));
                }
            }
            if self.aside > ASIDE_BYTES_MAX {
                return Err(ClientError::Flood("notices and parameters without an answer"));
            }
        }
        let missing = Frame::missing(&self.input);
        self.input.reserve(missing.clamp(8 << 10, 1 << 20));
        Ok(None)
    }

    /// What a message that answers says of the session.
    fn note(&mut self, message: &BackendMessage) -> Result<(), ProtocolError> {
        match message {
            BackendMessage::ReadyForQuery(status) => (self.status, self.copies) = (*status, None),
            BackendMessage::Copy(direction) => {
                self.copies = Some(*direction).filter(|direction| *direction != CopyDirection::In);
            }
            // PostgreSQL's walsender may send a keepalive after its CopyDone, until it has the client's.
            BackendMessage::CopyDone if self.copies == Some(CopyDirection::Both) => {}
            BackendMessage::CopyDone | BackendMessage::CommandComplete(_) | BackendMessage::Error(_) => {
                self.copies = None;
            }
            BackendMessage::CopyData(_) if self.copies.is_none() => {
                return Err(ProtocolError::Malformed { kind: 'd', what: "no COPY is under way" });
            }
            _ => {}
        }
        Ok(())
    }

    async fn fill(&mut self) -> Result<(), ClientError> {
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(ClientError::Closed),
            Ok(_) => Ok(()),
            Err(error) if closed_by_peer(&error) => Err(ClientError::Closed),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads on to ReadyForQuery, dropping what comes before it; the first error on the way is the result.
    async fn finish(&mut self, mut failed: Option<Box<Report>>) -> Result<(), ClientError> {
        loop {
            match self.next_message().await {
                Ok(BackendMessage::ReadyForQuery(_)) => {
                    return failed.map_or(Ok(()), |report| Err(ClientError::Server(report)));
                }
                Ok(BackendMessage::Error(report)) => failed = failed.or(Some(report)),
                Ok(_) => {}
                // What the server said before it closed the connection says more.
                Err(error) => return Err(failed.map_or(error, ClientError::Server)),
            }
        }
    }

    /// Says goodbye and closes the connection.
    pub async fn close(mut self) {
        frontend::terminate(&mut self.output);
        // The peer may be gone already; there is nobody left to tell.
        let _ = self.flush().await;
        drop(self.stream.shutdown().await);
    }
}

//! Reaching a server and logging in.

use super::{Client, ClientError};
use crate::backend::{Authentication, BackendMessage};
use crate::conninfo::{ConnInfo, Endpoint, Silence, TargetSession};
use crate::frontend;
use crate::scram::{self, ClientExchange, ClientProof};
use crate::startup::{CancelKey, encode_cancel, encode_session};
use bytes::{Bytes, BytesMut};
use host::net::TcpStream;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    async fn connect(endpoint: &Endpoint, port: u16, silence: Silence) -> io::Result<Self> {
        match endpoint {
            Endpoint::Unix(dir) => {
                UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await.map(Self::Unix)
            }
            Endpoint::Tcp(host) => {
                let stream = TcpStream::connect((host.as_str(), port)).await?;
                stream.set_nodelay(true)?;
                if let Some(keepalive) = silence.keepalive {
                    host::net::set_keepalive(&stream, keepalive)?;
                }
                if silence.user_timeout.is_some() {
                    host::net::set_user_timeout(&stream, silence.user_timeout)?;
                }
                Ok(Self::Tcp(stream))
            }
        }
    }
}

/// What cancels a session's statements: it asks on a connection of its own.
#[derive(Clone, Debug)]
pub struct CancelToken {
    pub(super) endpoint: Endpoint,
    pub(super) port: u16,
    pub(super) silence: Silence,
    pub(super) key: CancelKey,
}

impl CancelToken {
    /// Sends the request and waits until the server has taken it. Whether it came in time is not known.
    ///
    /// # Errors
    ///
    /// Fails if the server cannot be reached.
    pub async fn cancel(&self) -> Result<(), ClientError> {
        let mut stream = Stream::connect(&self.endpoint, self.port, self.silence).await?;
        let mut packet = BytesMut::new();
        encode_cancel(&mut packet, self.key);
        // The server answers nothing and closes: reading to the end waits for it.
        let mut rest = Vec::new();
        match &mut stream {
            Stream::Tcp(stream) => {
                stream.write_all(&packet).await?;
                stream.take(1).read_to_end(&mut rest).await?;
            }
            Stream::Unix(stream) => {
                stream.write_all(&packet).await?;
                stream.take(1).read_to_end(&mut rest).await?;
            }
        }
        Ok(())
    }
}

fn describe(endpoint: &Endpoint, port: u16) -> String {
    match endpoint {
        Endpoint::Unix(dir) => dir.join(format!(".s.PGSQL.{port}")).display().to_string(),
        Endpoint::Tcp(host) => format!("{host}, port {port}"),
    }
}

/// A client's proof; one that takes long is made on a thread that serves nobody else.
async fn prove(exchange: ClientExchange, server_first: Bytes) -> Result<(ClientProof, String), ClientError> {
    if !scram::takes_long(&server_first) {
        return Ok(exchange.prove(&server_first)?);
    }
    let proving = host::task::blocking(move || exchange.prove(&server_first));
    Ok(proving.await.map_err(|error| io::Error::other(error.to_string()))??)
}

impl Client {
    /// Connects with a connection string, completed as libpq does.
    ///
    /// # Errors
    ///
    /// Fails if the text is no connection string, and as [`Client::connect`].
    pub async fn connect_to(conninfo: &str) -> Result<Self, ClientError> {
        Self::connect(&ConnInfo::parse(conninfo)?).await
    }

    /// Connects to the first endpoint that answers and is of the kind wanted.
    ///
    /// # Errors
    ///
    /// Fails if no server can be reached, or it refuses the login.
    pub async fn connect(info: &ConnInfo) -> Result<Self, ClientError> {
        let passes: &[TargetSession] = match info.target_session {
            TargetSession::PreferStandby => &[TargetSession::Standby, TargetSession::Any],
            ref one => std::slice::from_ref(one),
        };
        let mut failed = None;
        for wanted in passes {
            for (endpoint, port) in &info.endpoints {
                let limit = info.connect_timeout.unwrap_or(Duration::MAX);
                let attempt = tokio::time::timeout(limit, Self::login(info, endpoint, *port)).await;
                let attempt = attempt.unwrap_or_else(|_| {
                    let source = io::Error::new(io::ErrorKind::TimedOut, "timeout expired");
                    Err(ClientError::Connect { endpoint: describe(endpoint, *port), source })
                });
                match attempt {
                    Ok(mut client) => match client.suits(*wanted).await {
                        Ok(()) => return Ok(client),
                        Err(error) => failed = Some(error),
                    },
                    // A server that answers and refuses is the answer, unless it only can't serve now.
                    Err(error @ (ClientError::Connect { .. } | ClientError::Closed | ClientError::Io(_))) => {
                        failed = Some(error);
                    }
                    Err(error) if info.endpoints.len() == 1 => return Err(error),
                    Err(error) => failed = Some(error),
                }
            }
        }
        Err(failed.unwrap_or(ClientError::Closed))
    }

    /// Checks target_session_attrs by the statuses that the server reports, or asks one that reports none.
    async fn suits(&mut self, wanted: TargetSession) -> Result<(), ClientError> {
        if matches!(wanted, TargetSession::Any | TargetSession::PreferStandby) {
            return Ok(());
        }
        let mut flags = Vec::with_capacity(2);
        for name in ["in_hot_standby", "default_transaction_read_only"] {
            let value = match self.parameter(name) {
                Some(value) => value.to_owned(),
                None => {
                    let shown = self.simple_query(&format!("SHOW {name}")).await?;
                    let row = shown.first().and_then(|result| result.rows.first());
                    row.and_then(|row| row.text(0)).unwrap_or("off").to_owned()
                }
            };
            flags.push(value == "on");
        }
        let (standby, read_only) = (flags.first() == Some(&true), flags.get(1) == Some(&true));
        match wanted {
            TargetSession::ReadWrite if standby || read_only => Err("session is read-only"),
            TargetSession::ReadOnly if !standby && !read_only => Err("session is not read-only"),
            TargetSession::Primary if standby => Err("server is in hot standby mode"),
            TargetSession::Standby if !standby => Err("server is not in hot standby mode"),
            _ => Ok(()),
        }
        .map_err(ClientError::WrongServer)
    }

    async fn login(info: &ConnInfo, endpoint: &Endpoint, port: u16) -> Result<Self, ClientError> {
        let stream = Stream::connect(endpoint, port, info.silence)
            .await
            .map_err(|source| ClientError::Connect { endpoint: describe(endpoint, port), source })?;
        let key = CancelKey { pid: 0, secret: 0 };
        let mut client =
            Self::new(stream, CancelToken { endpoint: endpoint.clone(), port, silence: info.silence, key });
        let mut parameters = vec![("user", info.user.as_str())];
        let optional = [
            ("replication", info.replication.as_deref()),
            ("application_name", info.application_name.as_deref()),
            ("options", info.options.as_deref()),
        ];
        if info.replication.as_deref().is_none_or(|mode| mode == "database") {
            parameters.push(("database", info.database()));
        }
        parameters.extend(optional.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
        parameters.extend(info.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        client.queue(|out| encode_session(out, parameters));
        client.flush().await?;
        client.authenticate(info).await?;
        loop {
            match client.next_message().await? {
                BackendMessage::BackendKeyData(key) => client.cancel.key = key,
                BackendMessage::ReadyForQuery(_) => {
                    client.allowance = None;
                    return Ok(client);
                }
                BackendMessage::Error(report) => return Err(ClientError::Server(report)),
                _ => return Err(ClientError::Unexpected("starting the session")),
            }
        }
    }

    async fn authenticate(&mut self, info: &ConnInfo) -> Result<(), ClientError> {
        let mut exchange = None;
        let mut proof = None;
        let mut is_proven = false;
        loop {
            let request = match self.next_message().await? {
                BackendMessage::Authentication(request) => request,
                BackendMessage::Error(report) => return Err(ClientError::Server(report)),
                _ => return Err(ClientError::Unexpected("authenticating")),
            };
            let password = || {
                let found = info.password_for(&self.cancel.endpoint, self.cancel.port);
                found.ok_or(ClientError::NoPassword)
            };
            match request {
                Authentication::Ok if exchange.is_some() || proof.is_some() => {
                    return Err(ClientError::Unexpected("authenticating: the server skipped its proof"));
                }
                Authentication::Ok | Authentication::Cleartext if info.requires_proof && !is_proven => {
                    return Err(ClientError::Unexpected("authenticating: the server proves nothing"));
                }
                Authentication::Ok => return Ok(()),
                Authentication::Cleartext => {
                    let password = password()?;
                    self.queue(|out| frontend::password(out, &password));
                }
                Authentication::Sasl(mechanisms) => {
                    if !mechanisms.iter().any(|mechanism| mechanism == scram::MECHANISM) {
                        return Err(ClientError::Authentication(mechanisms.join(", ")));
                    }
                    let (started, first) = ClientExchange::start(&password()?, scram::nonce(rand::random()));
                    exchange = Some(started);
                    self.queue(|out| frontend::sasl_initial(out, scram::MECHANISM, first.as_bytes()));
                }
                Authentication::SaslContinue(data) => {
                    let started = exchange.take().ok_or(ClientError::Unexpected("authenticating"))?;
                    let (waiting, last) = prove(started, data).await?;
                    proof = Some(waiting);
                    self.queue(|out| frontend::sasl_response(out, last.as_bytes()));
                }
                Authentication::SaslFinal(data) => {
                    proof.take().ok_or(ClientError::Unexpected("authenticating"))?.verify(&data)?;
                    is_proven = true;
                }
                Authentication::Unknown(code) => {
                    return Err(ClientError::Authentication(format!("code {code}")));
                }
            }
            self.flush().await?;
        }
    }
}

//! Reaching a server and logging in.

use super::stream::Stream;
use super::{Client, ClientError};
use crate::backend::{Authentication, BackendMessage};
use crate::conninfo::{ChannelBinding, ConnInfo, Endpoint, Silence, SslMode, TargetSession};
use crate::frontend;
use crate::scram::{self, Channel, ClientExchange, ClientProof};
use crate::startup::{CancelKey, encode_cancel, encode_session};
use crate::tls::TlsError;
use crate::tls::client::ClientTls;
use bytes::{Bytes, BytesMut};
use sqlstate::SqlState;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What cancels a session's statements: it asks on a connection of its own.
#[derive(Clone, Debug)]
pub struct CancelToken {
    pub(super) endpoint: Endpoint,
    pub(super) port: u16,
    pub(super) silence: Silence,
    /// The session is encrypted, and so is this.
    pub(super) tls: Option<ClientTls>,
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
        if let Some(tls) = &self.tls {
            let (encrypted, encryption) = stream.encrypt(tls).await?;
            if encryption.is_none() {
                return Err(no_ssl());
            }
            stream = encrypted;
        }
        let mut packet = BytesMut::new();
        encode_cancel(&mut packet, self.key);
        // The server answers nothing and closes: reading to the end waits for it.
        let mut rest = Vec::new();
        stream.write_all(&packet).await?;
        stream.flush().await?;
        match stream.take(1).read_to_end(&mut rest).await {
            // It need not say goodbye.
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error.into()),
            _ => Ok(()),
        }
    }
}

fn no_ssl() -> ClientError {
    TlsError::Handshake("server does not support SSL, but SSL was required".to_owned()).into()
}

/// Whether the next place is tried: nobody serves there, or not yet.
fn leads_on(error: &ClientError) -> bool {
    match error {
        ClientError::Connect { .. } | ClientError::Closed | ClientError::Io(_) => true,
        ClientError::Server(report) => report.code == SqlState::CANNOT_CONNECT_NOW,
        _ => false,
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
                    Err(error) if leads_on(&error) => failed = Some(error),
                    // A server that answers and refuses is the answer: no other one hears the password.
                    Err(error) => return Err(error),
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

    /// Logs in at one endpoint, encrypted or not as sslmode has it.
    async fn login(info: &ConnInfo, endpoint: &Endpoint, port: u16) -> Result<Self, ClientError> {
        let mode = match endpoint {
            Endpoint::Unix(_) => SslMode::Disable,
            Endpoint::Tcp(_) => info.tls.mode,
        };
        let refused = match mode {
            SslMode::Disable => return Self::login_once(info, endpoint, port, None).await,
            SslMode::Allow => match Self::login_once(info, endpoint, port, None).await {
                Err(error @ ClientError::Server(_)) => Some(error),
                other => return other,
            },
            _ => None,
        };
        let host = match endpoint {
            Endpoint::Tcp(host) => info.name_of(endpoint, port).unwrap_or(host),
            Endpoint::Unix(_) => "",
        };
        let tls = match ClientTls::load(&info.tls, host) {
            // As in libpq: what cannot be encrypted goes in the clear, if that is allowed.
            Err(_) if mode == SslMode::Prefer => return Self::login_once(info, endpoint, port, None).await,
            loaded => loaded?,
        };
        let reached = Self::reach(info, endpoint, port, Some(&tls)).await;
        let encrypted = reached.as_ref().map_or(true, |reached| reached.encryption.is_some());
        let session = match reached {
            Ok(reached) => reached.begin(info).await,
            Err(error) => Err(error),
        };
        match session {
            // Nobody has said yet that this is the session: another way may lead to one.
            Err(ClientError::Server(_) | ClientError::Tls(_)) if mode == SslMode::Prefer && encrypted => {
                Self::login_once(info, endpoint, port, None).await
            }
            Err(ClientError::Tls(error)) => Err(refused.unwrap_or(error.into())),
            other => other,
        }
    }

    async fn login_once(
        info: &ConnInfo,
        endpoint: &Endpoint,
        port: u16,
        tls: Option<&ClientTls>,
    ) -> Result<Self, ClientError> {
        Self::reach(info, endpoint, port, tls).await?.begin(info).await
    }

    /// Reaches a server, and encrypts what is said to it if that takes it.
    async fn reach(
        info: &ConnInfo,
        endpoint: &Endpoint,
        port: u16,
        tls: Option<&ClientTls>,
    ) -> Result<Self, ClientError> {
        let mut stream = Stream::connect(endpoint, port, info.silence)
            .await
            .map_err(|source| ClientError::Connect { endpoint: describe(endpoint, port), source })?;
        if let Some(wanted) = &info.peer_user {
            stream.check_peer(wanted)?;
        }
        let mut encryption = None;
        if let Some(tls) = tls {
            (stream, encryption) = stream.encrypt(tls).await?;
            if encryption.is_none() && !matches!(info.tls.mode, SslMode::Allow | SslMode::Prefer) {
                return Err(no_ssl());
            }
        }
        let key = CancelKey { pid: 0, secret: 0 };
        let tls = tls.filter(|_| encryption.is_some()).cloned();
        let cancel = CancelToken { endpoint: endpoint.clone(), port, silence: info.silence, tls, key };
        let mut client = Self::new(stream, cancel);
        client.encryption = encryption;
        Ok(client)
    }

    /// Says who wants a session, proves it, and waits until that has begun.
    async fn begin(mut self, info: &ConnInfo) -> Result<Self, ClientError> {
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
        self.queue(|out| encode_session(out, parameters));
        self.flush().await?;
        self.authenticate(info).await?;
        loop {
            match self.next_message().await? {
                BackendMessage::BackendKeyData(key) => self.cancel.key = key,
                BackendMessage::ReadyForQuery(_) => {
                    self.allowance = None;
                    return Ok(self);
                }
                BackendMessage::Error(report) => return Err(ClientError::Server(report)),
                _ => return Err(ClientError::Unexpected("starting the session")),
            }
        }
    }

    /// How SCRAM speaks of the channel, of the mechanisms that the server offers.
    fn channel(&self, binding: ChannelBinding, offered: &[String]) -> Result<Channel<'_>, ClientError> {
        let offers = |mechanism: &str| offered.iter().any(|name| name == mechanism);
        let refuse = |what: &'static str| Err(ClientError::ChannelBinding(what));
        let hash = self.encryption.as_ref().and_then(|encryption| encryption.end_point.as_deref());
        if offers(scram::MECHANISM_PLUS) && self.encryption.is_none() {
            return refuse("server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection");
        }
        match (hash, binding) {
            (Some(hash), ChannelBinding::Prefer | ChannelBinding::Require)
                if offers(scram::MECHANISM_PLUS) =>
            {
                Ok(Channel::Bound(hash))
            }
            (None, ChannelBinding::Require) if self.encryption.is_none() => {
                refuse("channel binding required, but SSL not in use")
            }
            (_, ChannelBinding::Require) => refuse(
                "channel binding is required, but server did not offer an authentication method \
                        that supports channel binding",
            ),
            _ if !offers(scram::MECHANISM) => Err(ClientError::Authentication(offered.join(", "))),
            (Some(_), ChannelBinding::Prefer) => Ok(Channel::NotOffered),
            _ => Ok(Channel::Unbound),
        }
    }

    async fn authenticate(&mut self, info: &ConnInfo) -> Result<(), ClientError> {
        let mut exchange = None;
        let mut proof = None;
        let mut is_proven = false;
        let must_bind = info.tls.binding == ChannelBinding::Require;
        loop {
            let request = match self.next_message().await? {
                BackendMessage::Authentication(request) => request,
                BackendMessage::Error(report) => return Err(ClientError::Server(report)),
                _ => return Err(ClientError::Unexpected("authenticating")),
            };
            let password = || {
                let found = info.password_for(&self.cancel.endpoint, self.cancel.port);
                found.map_err(ClientError::NoPassword)
            };
            match request {
                Authentication::Ok if exchange.is_some() || proof.is_some() => {
                    return Err(ClientError::Unexpected("authenticating: the server skipped its proof"));
                }
                // A proof is bound wherever one has to be.
                Authentication::Ok | Authentication::Cleartext if must_bind && !is_proven => {
                    return Err(ClientError::ChannelBinding(
                        "channel binding required, but server authenticated client without channel binding",
                    ));
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
                    let channel = self.channel(info.tls.binding, &mechanisms)?;
                    let mechanism = channel.mechanism();
                    let (started, first) =
                        ClientExchange::start(&password()?, scram::nonce(rand::random()), channel);
                    exchange = Some(started);
                    self.queue(|out| frontend::sasl_initial(out, mechanism, first.as_bytes()));
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

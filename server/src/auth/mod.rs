//! Whether a connection is who it says it is.

pub(crate) mod hba;

use crate::connection::wire::{Exit, Wire};
use crate::error::from_sql;
use crate::log::Log;
use bytes::BytesMut;
use hba::{Candidate, Hba, Method};
use host::Host;
use protocol::backend;
use protocol::frame::FrameLimits;
use protocol::frontend::decode_sasl_initial;
use protocol::scram::{self, ScramError, ServerExchange, Verifier};
use protocol::{Report, SqlState};
use replica::roster::login::{MEMBER_USER, MemberLogin};
use sql_session::SqlEngine;

/// Who connects to what.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) user: String,
    pub(crate) database: String,
    /// Physical replication, which names no database.
    pub(crate) replication: bool,
}

/// What authentication uses.
pub(crate) struct Authenticator<'a> {
    pub(crate) host: &'a Host,
    pub(crate) log: &'a Log,
    pub(crate) hba: &'a Hba,
    /// Keeps mock verifiers of unknown roles stable.
    pub(crate) secret: &'a [u8; 32],
    /// Knows the roles; there once the database is open.
    pub(crate) engine: Option<&'a SqlEngine>,
}

fn fatal(code: SqlState, message: impl Into<String>) -> Exit {
    Exit::Fatal(Box::new(Report::fatal(code, message)))
}

/// Carries out what pg_hba.conf asks for. Ends with AuthenticationOk in the output.
pub(crate) async fn authenticate(by: &Authenticator<'_>, wire: &mut Wire, claim: &Claim) -> Result<(), Exit> {
    let peer = wire.socket().peer();
    let candidate = Candidate {
        address: peer.map(|peer| peer.ip()),
        interfaces: hba::interfaces,
        user: &claim.user,
        database: &claim.database,
        replication: claim.replication,
        encrypted: false,
    };
    let host = peer.map_or_else(|| "[local]".to_owned(), |peer| peer.ip().to_string());
    let whom = if claim.replication {
        format!("replication connection from host \"{host}\", user \"{}\", no encryption", claim.user)
    } else {
        let (user, database) = (&claim.user, &claim.database);
        format!("host \"{host}\", user \"{user}\", database \"{database}\", no encryption")
    };
    let Some((method, line)) = by.hba.method(&candidate) else {
        let what = format!("no pg_hba.conf entry for {whom}");
        return Err(fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, what));
    };
    match method {
        Method::Trust => {}
        Method::Reject => {
            let what = format!("pg_hba.conf rejects connection for {whom}");
            return Err(fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, what));
        }
        Method::Peer => {
            let name = wire
                .socket()
                .peer_user()
                .and_then(|uid| nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten());
            if name.is_none_or(|user| user.name != claim.user) {
                let what = format!("Peer authentication failed for user \"{}\"", claim.user);
                return Err(fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, what));
            }
        }
        Method::ScramSha256 => scram(by, wire, claim, line).await?,
    }
    backend::authentication_ok(&mut wire.out);
    Ok(())
}

async fn scram(by: &Authenticator<'_>, wire: &mut Wire, claim: &Claim, line: u32) -> Result<(), Exit> {
    let Some(engine) = by.engine else {
        return Err(fatal(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up"));
    };
    let role = engine.role(&claim.user).await.map_err(|error| {
        Exit::Fatal(Box::new(Report { severity: protocol::Severity::Fatal, ..from_sql(&error) }))
    })?;
    let now = by.host.clock.now();
    let mut why = match &role {
        None => Some(format!("Role \"{}\" does not exist.", claim.user)),
        Some(role) if role.password.is_none() => {
            Some(format!("User \"{}\" has no password assigned.", claim.user))
        }
        Some(role) if role.valid_until.is_some_and(|until| until < now) => {
            Some(format!("User \"{}\" has an expired password.", claim.user))
        }
        Some(_) => None,
    };
    let verifier = role.and_then(|role| role.password).and_then(|text| Verifier::parse(&text));
    if verifier.is_none() && why.is_none() {
        why = Some(format!("User \"{}\" does not have a valid SCRAM secret.", claim.user));
    }
    let verifier = verifier.unwrap_or_else(|| Verifier::mock(by.secret, &claim.user));

    if prove(by.host, wire, verifier, why.is_some()).await? {
        return Ok(());
    }
    let detail = format!("Connection matched pg_hba.conf line {line}.");
    let detail = why.map_or(detail.clone(), |why| format!("{why}\n{detail}"));
    Err(wrong_password(by.log, &claim.user, detail))
}

/// What the client is told. The detail is for the log alone: the client must not learn which roles exist.
fn wrong_password(log: &Log, user: &str, detail: String) -> Exit {
    let message = format!("password authentication failed for user \"{user}\"");
    log.write(
        None,
        &Report::new(protocol::Severity::Log, SqlState::INVALID_PASSWORD, message.clone())
            .with_detail(detail),
        None,
    );
    fatal(SqlState::INVALID_PASSWORD, message)
}

/// Lets another node of the cluster in, whatever pg_hba.conf says of others ([`replica::roster::login`]).
/// Ends with AuthenticationOk in the output.
pub(crate) async fn authenticate_member(
    host: &Host,
    log: &Log,
    wire: &mut Wire,
    login: &MemberLogin,
) -> Result<(), Exit> {
    if !prove(host, wire, login.verifier(), false).await? {
        let detail = "It has not the secret of this cluster.".to_owned();
        return Err(wrong_password(log, MEMBER_USER, detail));
    }
    backend::authentication_ok(&mut wire.out);
    Ok(())
}

/// Whether the client knows the password; `doomed` does not, whatever it says.
async fn prove(host: &Host, wire: &mut Wire, verifier: Verifier, doomed: bool) -> Result<bool, Exit> {
    backend::authentication_sasl(&mut wire.out, &[scram::MECHANISM]);
    let body = answer(wire).await?;
    let (mechanism, first) = decode_sasl_initial(&body)?;
    if mechanism != scram::MECHANISM {
        return Err(fatal(
            SqlState::PROTOCOL_VIOLATION,
            "client selected an invalid SASL authentication mechanism",
        ));
    }
    let mut random = [0; 18];
    host.entropy.fill(&mut random);
    let violation = |error: ScramError| fatal(SqlState::PROTOCOL_VIOLATION, error.to_string());
    let (exchange, challenge) =
        ServerExchange::start(verifier, doomed, first.unwrap_or_default(), &scram::nonce(random))
            .map_err(violation)?;
    backend::authentication_sasl_continue(&mut wire.out, challenge.as_bytes());
    let body = answer(wire).await?;
    match exchange.finish(&body) {
        Ok(last) => {
            backend::authentication_sasl_final(&mut wire.out, last.as_bytes());
            Ok(true)
        }
        Err(ScramError::WrongPassword) => Ok(false),
        Err(other) => Err(violation(other)),
    }
}

/// Sends what is pending and waits for the client's next password message.
async fn answer(wire: &mut Wire) -> Result<BytesMut, Exit> {
    wire.flush().await?;
    match wire.next(FrameLimits::AUTHENTICATION).await? {
        (b'p', body) => Ok(body),
        (b'X', _) => Err(Exit::Gone),
        (kind, _) => Err(fatal(
            SqlState::PROTOCOL_VIOLATION,
            format!("expected SASL response, got message type {kind}"),
        )),
    }
}

//! Passwords: by SCRAM, bound to the TLS channel where the client can, or in the clear.

use super::hba::Rule;
use super::{Authenticator, Claim, failed, fatal, refused, role_of, starting};
use crate::connection::wire::{Exit, Wire};
use crate::log::Log;
use bytes::BytesMut;
use host::Host;
use protocol::frame::FrameLimits;
use protocol::frontend::decode_sasl_initial;
use protocol::scram::{self, Chosen, ScramError, ServerExchange, Verifier};
use protocol::{SqlState, backend};
use replica::roster::login::{MEMBER_USER, MemberLogin};
use tokio_util::sync::CancellationToken;

/// What is kept of a user's password, and why that cannot let anybody in, if it cannot.
struct Kept {
    verifier: Verifier,
    why: Option<String>,
}

async fn kept(by: &Authenticator<'_>, user: &str) -> Result<Kept, Exit> {
    let role = role_of(by, user).await?;
    let now = by.host.clock.now();
    let mut why = match &role {
        None => Some(format!("Role \"{user}\" does not exist.")),
        Some(role) if role.password.is_none() => Some(format!("User \"{user}\" has no password assigned.")),
        Some(role) if role.valid_until.is_some_and(|until| until < now) => {
            Some(format!("User \"{user}\" has an expired password."))
        }
        Some(_) => None,
    };
    let verifier = role.and_then(|role| role.password).and_then(|text| Verifier::parse(&text));
    if verifier.is_none() && why.is_none() {
        why = Some(format!("User \"{user}\" does not have a valid SCRAM secret."));
    }
    let mock_secret = by.mock_secret.ok_or_else(starting)?;
    Ok(Kept { verifier: verifier.unwrap_or_else(|| Verifier::mock(mock_secret, user)), why })
}

/// Asks for a proof of the password.
pub(super) async fn scram(
    by: &Authenticator<'_>,
    wire: &mut Wire,
    claim: &Claim,
    rule: &Rule,
) -> Result<(), Exit> {
    let Kept { verifier, why } = kept(by, &claim.user).await?;
    if prove(by.host, wire, verifier, why.is_some()).await? {
        return Ok(());
    }
    Err(failed(by, claim, rule, why))
}

/// Asks for the password itself.
pub(super) async fn cleartext(
    by: &Authenticator<'_>,
    wire: &mut Wire,
    claim: &Claim,
    rule: &Rule,
) -> Result<(), Exit> {
    let Kept { verifier, why } = kept(by, &claim.user).await?;
    backend::authentication_cleartext_password(&mut wire.out);
    let body = answer(wire, "password").await?;
    let password = body.strip_suffix(&[0]).and_then(|text| std::str::from_utf8(text).ok());
    let Some(password) = password.filter(|password| !password.contains('\0')).map(str::to_owned) else {
        return Err(fatal(SqlState::PROTOCOL_VIOLATION, "invalid password packet size"));
    };
    if password.is_empty() {
        return Err(fatal(SqlState::INVALID_PASSWORD, "empty password returned by client"));
    }
    // It takes milliseconds by intention, and more if the role's verifier says so. It ends with this future,
    // which authentication_timeout ends.
    let asking = CancellationToken::new();
    let asked = asking.clone();
    let _ends = asking.drop_guard();
    let matching = host::task::blocking(move || verifier.matches_while(&password, &|| !asked.is_cancelled()));
    let matching = matching.await;
    match matching.map_err(|_| Exit::Gone)? && why.is_none() {
        true => Ok(()),
        false => {
            let why = why.or_else(|| Some(format!("Password does not match for user \"{}\".", claim.user)));
            Err(failed(by, claim, rule, why))
        }
    }
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
        let message = format!("password authentication failed for user \"{MEMBER_USER}\"");
        let detail = "It has not the secret of this cluster.".to_owned();
        return Err(refused(log, SqlState::INVALID_PASSWORD, message, detail));
    }
    backend::authentication_ok(&mut wire.out);
    Ok(())
}

/// Whether the client knows the password; `doomed` does not, whatever it says.
async fn prove(host: &Host, wire: &mut Wire, verifier: Verifier, doomed: bool) -> Result<bool, Exit> {
    // Without a hash of the certificate, which few kinds of it lack, there is nothing to bind to.
    let encryption = wire.socket().encryption().cloned();
    let hash = encryption.as_deref().and_then(|encryption| encryption.end_point.as_deref());
    let offered = [scram::MECHANISM_PLUS, scram::MECHANISM];
    let offered = if hash.is_some() { &offered[..] } else { &offered[1..] };
    backend::authentication_sasl(&mut wire.out, offered);
    let body = answer(wire, "SASL").await?;
    let (mechanism, first) = decode_sasl_initial(&body)?;
    let chosen = match (mechanism, hash) {
        (scram::MECHANISM_PLUS, Some(hash)) => Chosen::Bound(hash),
        (scram::MECHANISM, _) => Chosen::Plain { bound_offered: hash.is_some() },
        _ => {
            let what = "client selected an invalid SASL authentication mechanism";
            return Err(fatal(SqlState::PROTOCOL_VIOLATION, what));
        }
    };
    let first = match first {
        Some(first) => first.to_vec(),
        // Who has not begun is told to.
        None => {
            backend::authentication_sasl_continue(&mut wire.out, b"");
            answer(wire, "SASL").await?.to_vec()
        }
    };
    let mut random = [0; 18];
    host.entropy.fill(&mut random);
    let violation = |error: ScramError| Exit::Fatal(Box::new(error.report()));
    let (exchange, challenge) =
        ServerExchange::start(verifier, doomed, &first, &scram::nonce(random), chosen).map_err(violation)?;
    backend::authentication_sasl_continue(&mut wire.out, challenge.as_bytes());
    let body = answer(wire, "SASL").await?;
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
async fn answer(wire: &mut Wire, kind: &str) -> Result<BytesMut, Exit> {
    wire.flush().await?;
    match wire.next(FrameLimits::AUTHENTICATION).await? {
        (b'p', body) => Ok(body),
        (b'X', _) => Err(Exit::Gone),
        (found, _) => Err(fatal(
            SqlState::PROTOCOL_VIOLATION,
            format!("expected {kind} response, got message type {found}"),
        )),
    }
}

//! Whether a connection is who it says it is.

pub(crate) mod hba;
pub(crate) mod ident;
mod password;
mod trial;

pub(crate) use password::authenticate_member;
pub use trial::LoginFiles;

use crate::connection::wire::{Exit, Wire};
use crate::error::from_sql;
use crate::log::Log;
use hba::{Candidate, ClientCert, ClientName, Hba, HbaError, Method, Rule, Verdict};
use host::Host;
use ident::IdentMaps;
use protocol::backend;
use protocol::{Report, Severity, SqlState};
use sql_session::SqlEngine;
use std::sync::Arc;

/// Who connects to what.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) user: String,
    pub(crate) database: String,
    /// Physical replication, which names no database.
    pub(crate) replication: bool,
}

/// The rules in force: both files are replaced together or each keeps its old ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoginRules {
    pub(crate) hba: Hba,
    /// The name of the first file, for the log.
    pub(crate) hba_file: String,
    pub(crate) maps: Arc<IdentMaps>,
    /// What is wrong with pg_ident.conf, which then gives no maps.
    pub(crate) map_errors: Vec<HbaError>,
}

/// What authentication uses.
pub(crate) struct Authenticator<'a> {
    pub(crate) host: &'a Host,
    pub(crate) log: &'a Log,
    /// log_connections
    pub(crate) logs_connections: bool,
    pub(crate) rules: &'a LoginRules,
    /// Clients are asked for certificates.
    pub(crate) asks_certificates: bool,
    /// Knows the roles; there once the database is open.
    pub(crate) engine: Option<&'a SqlEngine>,
    /// What mock verifiers of unknown roles are made from; there with the engine.
    pub(crate) mock_secret: Option<&'a [u8; 32]>,
}

fn fatal(code: SqlState, message: impl Into<String>) -> Exit {
    Exit::Fatal(Box::new(Report::fatal(code, message)))
}

/// Carries out what pg_hba.conf asks for. Ends with AuthenticationOk in the output.
pub(crate) async fn authenticate(by: &Authenticator<'_>, wire: &mut Wire, claim: &Claim) -> Result<(), Exit> {
    let rule = rule(by, wire, claim).await?;
    check_certificate(by, wire, rule)?;
    let identity = match rule.method {
        // Refused already.
        Method::Trust | Method::Reject => None,
        Method::Peer => Some(peer(by, wire, claim, rule)?),
        Method::ScramSha256 | Method::Md5 => {
            password::scram(by, wire, claim, rule).await?;
            Some(claim.user.clone())
        }
        Method::Password => {
            password::cleartext(by, wire, claim, rule).await?;
            Some(claim.user.clone())
        }
        Method::Cert => None,
    };
    let by_certificate = match rule.client_cert {
        ClientCert::VerifyFull => Some(certificate_names_user(by, wire, claim, rule)?),
        ClientCert::Off | ClientCert::VerifyCa => None,
    };
    if by.logs_connections
        && let Some(identity) = identity.or(by_certificate)
    {
        let (method, file, line) = (rule.method.name(), &by.rules.hba_file, rule.line);
        by.log.log(format!(
            "connection authenticated: identity=\"{identity}\" method={method} ({file}:{line})"
        ));
    }
    backend::authentication_ok(&mut wire.out);
    Ok(())
}

/// The rule for a connection. What it takes to find it, roles and the machine's name, is asked for only if a
/// rule does that is reached.
async fn rule<'r>(by: &Authenticator<'r>, wire: &Wire, claim: &Claim) -> Result<&'r Rule, Exit> {
    let address = wire.socket().peer().map(|peer| peer.ip());
    let (mut roles, mut name) = (None, None);
    let rule = loop {
        let candidate = Candidate {
            address,
            interfaces: hba::interfaces,
            user: &claim.user,
            database: &claim.database,
            replication: claim.replication,
            encrypted: wire.socket().encryption().is_some(),
            roles: roles.as_deref(),
            name: name.as_ref(),
        };
        match (by.rules.hba.verdict(&candidate), address) {
            (Verdict::Rule(rule), _) => break Some(rule),
            (Verdict::NeedsRoles, _) => roles = Some(roles_of(by, &claim.user).await?),
            (Verdict::NeedsName, Some(address)) => {
                // The system's resolver blocks.
                let asked = host::task::blocking(move || ClientName::of(address)).await;
                name = Some(asked.map_err(|_| Exit::Gone)?);
            }
            (Verdict::Nothing | Verdict::NeedsName, _) => break None,
        }
    };
    rule.filter(|rule| rule.method != Method::Reject).ok_or_else(|| {
        let what = refusal(wire, claim, rule.is_some());
        fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, what)
    })
}

/// What a client is told that a rule refuses, or that none lets in: who it is, from where, and for what.
fn refusal(wire: &Wire, claim: &Claim, by_a_rule: bool) -> String {
    let host = wire.socket().peer().map_or_else(|| "[local]".to_owned(), |peer| peer.ip().to_string());
    let encryption = if wire.socket().encryption().is_some() { "SSL encryption" } else { "no encryption" };
    let database = match claim.replication {
        true => String::new(),
        false => format!("database \"{}\", ", claim.database),
    };
    let whom = format!("host \"{host}\", user \"{}\", {database}{encryption}", claim.user);
    match (by_a_rule, claim.replication) {
        (true, true) => format!("pg_hba.conf rejects replication connection for {whom}"),
        (true, false) => format!("pg_hba.conf rejects connection for {whom}"),
        (false, true) => format!("no pg_hba.conf entry for replication connection from {whom}"),
        (false, false) => format!("no pg_hba.conf entry for {whom}"),
    }
}

fn engine<'a>(by: &Authenticator<'a>) -> Result<&'a SqlEngine, Exit> {
    by.engine.ok_or_else(starting)
}

fn starting() -> Exit {
    fatal(SqlState::CANNOT_CONNECT_NOW, "the database system is starting up")
}

/// The role of a name, if there is one.
async fn role_of(by: &Authenticator<'_>, user: &str) -> Result<Option<sql_catalogue::Role>, Exit> {
    let found = engine(by)?.role(user).await;
    found.map_err(|error| Exit::Fatal(Box::new(Report { severity: Severity::Fatal, ..from_sql(&error) })))
}

/// The roles that a user is a member of: the one place where pg_hba.conf (+role, samerole) asks the
/// catalogue. A role is a member of itself; one that does not exist is a member of none.
async fn roles_of(by: &Authenticator<'_>, user: &str) -> Result<Vec<String>, Exit> {
    let found = engine(by)?.roles_of(user).await;
    found.map_err(|error| Exit::Fatal(Box::new(Report { severity: Severity::Fatal, ..from_sql(&error) })))
}

/// Refuses a connection without the certificate that its rule asks for.
fn check_certificate(by: &Authenticator<'_>, wire: &Wire, rule: &Rule) -> Result<(), Exit> {
    if rule.client_cert == ClientCert::Off {
        return Ok(());
    }
    if !by.asks_certificates {
        let what = "client certificates can only be checked if a root certificate store is available";
        return Err(fatal(SqlState::CONFIG_FILE_ERROR, what));
    }
    if wire.socket().encryption().is_none_or(|encryption| encryption.peer.is_none()) {
        let what = "connection requires a valid client certificate";
        return Err(fatal(SqlState::INVALID_AUTHORIZATION_SPECIFICATION, what));
    }
    Ok(())
}

/// Whether the client's certificate is that of the user; gives its distinguished name.
fn certificate_names_user(
    by: &Authenticator<'_>,
    wire: &Wire,
    claim: &Claim,
    rule: &Rule,
) -> Result<String, Exit> {
    let names = wire.socket().encryption().and_then(|encryption| encryption.peer.as_ref());
    let name = names.and_then(|names| match rule.by_distinguished_name {
        true => Some(&names.distinguished_name).filter(|name| !name.is_empty()),
        false => names.common_name.as_ref().filter(|name| !name.is_empty()),
    });
    let user = &claim.user;
    let checked = match name {
        None => Err(format!(
            "certificate authentication failed for user \"{user}\": client certificate contains no user name"
        )),
        Some(name) => by.rules.maps.check(rule.map.as_deref(), name, user),
    };
    if let Err(why) = checked {
        by.log.log(why);
        if rule.method != Method::Cert {
            let kind = if rule.by_distinguished_name { "DN" } else { "CN" };
            by.log.log(format!(
                "certificate validation (clientcert=verify-full) failed for user \"{user}\": {kind} mismatch"
            ));
        }
        return Err(failed(by, claim, rule, None));
    }
    Ok(names.map(|names| names.distinguished_name.clone()).unwrap_or_default())
}

/// Whether the operating system's user at the other end may be the role; gives its name.
fn peer(by: &Authenticator<'_>, wire: &Wire, claim: &Claim, rule: &Rule) -> Result<String, Exit> {
    let user = wire
        .socket()
        .peer_user()
        .and_then(|uid| nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(uid)).ok().flatten());
    let Some(user) = user else {
        by.log.log("could not look up the operating system's user at the other end of a Unix socket");
        return Err(failed(by, claim, rule, None));
    };
    match by.rules.maps.check(rule.map.as_deref(), &user.name, &claim.user) {
        Ok(()) => Ok(user.name),
        Err(why) => {
            by.log.log(why);
            Err(failed(by, claim, rule, None))
        }
    }
}

/// What the client is told that has not proven itself. Why is for the log alone: the client must not learn
/// which roles exist.
fn failed(by: &Authenticator<'_>, claim: &Claim, rule: &Rule, why: Option<String>) -> Exit {
    let user = &claim.user;
    let (what, code) = match rule.method {
        Method::Peer => ("Peer authentication", SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
        Method::Cert => ("certificate authentication", SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
        Method::Trust | Method::Reject => {
            ("\"trust\" authentication", SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
        }
        Method::ScramSha256 | Method::Md5 | Method::Password => {
            ("password authentication", SqlState::INVALID_PASSWORD)
        }
    };
    let line = format!("Connection matched pg_hba.conf line {}: \"{}\"", rule.line, rule.raw);
    let detail = why.map_or(line.clone(), |why| format!("{why}\n{line}"));
    refused(by.log, code, format!("{what} failed for user \"{user}\""), detail)
}

fn refused(log: &Log, code: SqlState, message: String, detail: String) -> Exit {
    let report = Report::new(Severity::Log, code, message.clone()).with_detail(detail);
    log.write(None, &report, None);
    fatal(code, message)
}

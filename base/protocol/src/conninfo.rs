//! Connection strings as libpq reads them: `keyword=value` text and `postgresql://` URIs, completed from the
//! service file, the environment and the password file (the manual's sections "Connection Strings",
//! "The Connection Service File", "Environment Variables", "The Password File").

mod endpoints;
mod passfile;
mod service;
mod silence;
mod tls;
mod uri;

pub use endpoints::{AskedLast, server_at, servers};
pub use silence::Silence;
pub use tls::{ChannelBinding, SslMode, TlsParameters};

use endpoints::{Names, endpoints};
use passfile::Found;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Folders where a server's Unix socket is looked for when no host is named.
pub const DEFAULT_SOCKET_DIRS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
/// The port when none is named.
pub const DEFAULT_PORT: u16 = 5432;

/// What is wrong with a connection string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnInfoError {
    /// A keyword without `=`.
    #[error("missing \"=\" after \"{0}\" in connection info string")]
    MissingEquals(String),
    /// A quote without its end.
    #[error("unterminated quoted string in connection info string")]
    Unterminated,
    /// A keyword that does not exist.
    #[error("invalid connection option \"{0}\"")]
    UnknownOption(String),
    /// A value that its keyword does not take.
    #[error("invalid value for connection option \"{option}\": \"{value}\"")]
    BadValue {
        /// The keyword.
        option: &'static str,
        /// What was given.
        value: String,
    },
    /// A URI that does not follow the grammar.
    #[error("invalid connection URI: {0}")]
    BadUri(&'static str),
    /// An option whose effect is not built.
    #[error("connection option {0} is not supported")]
    Unsupported(&'static str),
    /// No version of TLS lies in the range.
    #[error("invalid SSL protocol version range")]
    VersionRange,
    /// What is wrong with the service that is named.
    #[error("{0}")]
    Service(String),
}

/// One place to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The socket file in this folder.
    Unix(PathBuf),
    /// A host name or address.
    Tcp(String),
}

/// Which kind of server a session wants (target_session_attrs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetSession {
    /// Any.
    #[default]
    Any,
    /// One that takes writes by default.
    ReadWrite,
    /// One that does not.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is.
    Standby,
    /// A standby if there is one, else any.
    PreferStandby,
}

/// A connection's parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnInfo {
    /// Places to try in order, each with its port.
    pub endpoints: Vec<(Endpoint, u16)>,
    /// The role.
    pub user: String,
    /// The database; empty for the user's name.
    pub dbname: String,
    /// The password, if one is known.
    pub password: Option<String>,
    /// application_name, or its fallback.
    pub application_name: Option<String>,
    /// Command-line options for the session (`-c name=value`).
    pub options: Option<String>,
    /// The `replication` parameter.
    pub replication: Option<String>,
    /// How long one endpoint may take; None is forever.
    pub connect_timeout: Option<Duration>,
    /// How it is found out that a server is gone which says nothing.
    pub silence: Silence,
    /// Which kind of server is wanted.
    pub target_session: TargetSession,
    /// What the connection's TLS is to be.
    pub tls: TlsParameters,
    /// The operating system's user that a server behind a Unix socket has to run as (requirepeer).
    pub peer_user: Option<String>,
    /// Take no server that does not prove that it knows the password.
    pub requires_proof: bool,
    /// Other startup parameters, sent as they are.
    pub parameters: Vec<(String, String)>,
    /// How the user has written the endpoints.
    names: Vec<Names>,
    passfile: Option<PathBuf>,
}

impl std::fmt::Debug for ConnInfo {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnInfo")
            .field("endpoints", &self.endpoints)
            .field("user", &self.user)
            .field("dbname", &self.dbname)
            .field("application_name", &self.application_name)
            .field("replication", &self.replication)
            .finish_non_exhaustive()
    }
}

/// Keywords of libpq that change nothing here: those of Kerberos, compression of TLS, which rustls has not,
/// and the passphrase of a key, since keys with one are refused.
const IGNORED: &[&str] = &["gsslib", "krbsrvname", "sslcompression", "sslpassword"];

/// Keywords that we act on.
const KNOWN: &[&str] = &[
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "options",
    "passfile",
    "password",
    "port",
    "replication",
    "requirepeer",
    "requiressl",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Environment variables that stand in for keywords.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("PGAPPNAME", "application_name"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGCLIENTENCODING", "client_encoding"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGDATABASE", "dbname"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGOPTIONS", "options"),
    ("PGPASSFILE", "passfile"),
    ("PGPASSWORD", "password"),
    ("PGPORT", "port"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGSERVICE", "service"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLSNI", "sslsni"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGUSER", "user"),
];

/// What the process has for a variable: of its environment, but for who runs it and where that one lives.
fn of_process(variable: &str) -> Option<String> {
    match variable {
        "USER" => system_user(),
        "HOME" => host::home_folder(),
        _ => host::variable(variable),
    }
}

/// The name of the process's user. As in libpq, the environment has no say: a server that was started by
/// another user's shell (runuser, sudo) connects as the one that it runs as.
fn system_user() -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name)
}

/// Splits a connection string of either form into keywords and values, in order; nothing is added to them.
///
/// # Errors
///
/// Fails where the text is no list of `name = value`.
pub fn split(text: &str) -> Result<Vec<(String, String)>, ConnInfoError> {
    let pairs = match text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://")) {
        Some(rest) => uri::split(rest)?,
        None => split_keywords(text)?,
    };
    for (keyword, _) in &pairs {
        if !is_option(keyword) {
            return Err(ConnInfoError::UnknownOption(keyword.clone()));
        }
    }
    Ok(pairs)
}

/// Whether libpq has a keyword of this name.
fn is_option(keyword: &str) -> bool {
    KNOWN.contains(&keyword) || IGNORED.contains(&keyword)
}

/// Writes keywords and values as a `keyword=value` string, quoted where needed.
pub fn join<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let quote = |value: &str| {
        let needs = |c: char| c.is_whitespace() || matches!(c, '\'' | '\\');
        let plain = !value.is_empty() && !value.contains(needs);
        if plain {
            value.to_owned()
        } else {
            format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
        }
    };
    let words: Vec<_> =
        pairs.into_iter().map(|(keyword, value)| format!("{keyword}={}", quote(value))).collect();
    words.join(" ")
}

/// The blanks of libpq and of a session's options, which are those of ASCII.
pub const fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

fn behind_blanks(text: &str) -> &str {
    text.trim_start_matches(is_blank)
}

fn split_keywords(text: &str) -> Result<Vec<(String, String)>, ConnInfoError> {
    let mut pairs = Vec::new();
    let mut rest = behind_blanks(text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || is_blank(c)).unwrap_or(rest.len());
        let (keyword, after) = rest.split_at(end);
        let Some(after) = behind_blanks(after).strip_prefix('=') else {
            return Err(ConnInfoError::MissingEquals(keyword.to_owned()));
        };
        let after = behind_blanks(after);
        let quoted = after.starts_with('\'');
        let mut value = String::new();
        let mut chars = after.char_indices();
        if quoted {
            chars.next();
        }
        let mut end = None;
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                '\'' if quoted => {
                    end = Some(at + 1);
                    break;
                }
                c if !quoted && is_blank(c) => {
                    end = Some(at);
                    break;
                }
                c => value.push(c),
            }
        }
        if quoted && end.is_none() {
            return Err(ConnInfoError::Unterminated);
        }
        pairs.push((keyword.to_owned(), value));
        rest = behind_blanks(after.get(end.unwrap_or(after.len())..).unwrap_or_default());
    }
    Ok(pairs)
}

/// The last value of a keyword; an empty one is none.
fn given(pairs: &[(String, String)], keyword: &str) -> Option<String> {
    written(pairs, keyword).filter(|value| !value.is_empty())
}

/// The last value of a keyword, which may be empty.
fn written(pairs: &[(String, String)], keyword: &str) -> Option<String> {
    pairs.iter().rev().find(|(name, _)| name == keyword).map(|(_, value)| value.clone())
}

/// Keywords that libpq refuses to be empty, and does not take for missing then.
const NEVER_EMPTY: &[&str] = &[
    "channel_binding",
    "connect_timeout",
    "gssencmode",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "sslmode",
    "target_session_attrs",
    "tcp_user_timeout",
];

/// What the string, the service and the environment say of a keyword.
fn value_of(
    pairs: &[(String, String)],
    keyword: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    if keyword == "sslmode" {
        // A keyword and a variable of former times.
        let required = |value: &str| if value.starts_with('1') { "require" } else { "prefer" }.to_owned();
        let of_string =
            pairs.iter().rev().find(|(name, _)| matches!(name.as_str(), "sslmode" | "requiressl"));
        return match of_string {
            Some((name, value)) if name == "requiressl" => Some(required(value)),
            Some((_, value)) => Some(value.clone()),
            None => variable("PGSSLMODE").or_else(|| {
                variable("PGREQUIRESSL").filter(|value| value.starts_with('1')).map(|_| "require".to_owned())
            }),
        };
    }
    if NEVER_EMPTY.contains(&keyword) {
        return written(pairs, keyword).or_else(|| variable(variable_of(keyword)?));
    }
    said(pairs, keyword, variable)
}

/// What the string says of a keyword, or else the environment. One that is written and empty has its default.
fn said(
    pairs: &[(String, String)],
    keyword: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    match written(pairs, keyword) {
        Some(value) => Some(value).filter(|value| !value.is_empty()),
        None => in_environment(keyword, variable),
    }
}

/// A connection string's words behind those of its service that it leaves out: of one keyword's, the last
/// counts.
///
/// # Errors
///
/// Fails where the string, or the environment, names a service that there is not.
fn with_service(
    pairs: Vec<(String, String)>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, ConnInfoError> {
    let Some(service) = given(&pairs, "service").or_else(|| in_environment("service", &variable)) else {
        return Ok(pairs);
    };
    let mut all = service::read(&service, variable)?;
    all.retain(|(keyword, _)| written(&pairs, keyword).is_none());
    all.extend(pairs);
    Ok(all)
}

/// A connection string's own words, and for those of these keywords that it leaves out what its service file
/// or the environment says.
///
/// # Errors
///
/// Fails where the text is no connection string, or names a service that there is not.
pub fn completed(text: &str, keywords: &[&str]) -> Result<Vec<(String, String)>, ConnInfoError> {
    completed_with(text, keywords, of_process)
}

/// The same with environment variables from `variable`.
fn completed_with(
    text: &str,
    keywords: &[&str],
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, ConnInfoError> {
    let mut pairs = with_service(split(text)?, &variable)?;
    pairs.retain(|(name, _)| name != "service");
    for keyword in keywords {
        if written(&pairs, keyword).is_none()
            && let Some(value) = in_environment(keyword, &variable)
        {
            pairs.push(((*keyword).to_owned(), value));
        }
    }
    Ok(pairs)
}

/// What the environment says where a keyword is not given.
fn in_environment(keyword: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    variable(variable_of(keyword)?).filter(|value| !value.is_empty())
}

fn variable_of(keyword: &str) -> Option<&'static str> {
    ENVIRONMENT.iter().find(|(_, known)| *known == keyword).map(|(variable, _)| *variable)
}

fn application_name_in(
    pairs: &[(String, String)],
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    said(pairs, "application_name", variable).or_else(|| given(pairs, "fallback_application_name"))
}

/// The application_name that a session by this connection string takes, from its service and the environment
/// too; None if nothing names one, or it is no connection string. A service that cannot be read says nothing.
pub fn application_name(text: &str) -> Option<String> {
    application_name_with(text, of_process)
}

/// The same with environment variables from `variable`.
fn application_name_with(text: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let own = split(text).ok()?;
    let pairs = with_service(own.clone(), &variable).unwrap_or(own);
    application_name_in(&pairs, variable)
}

impl ConnInfo {
    /// Reads a connection string and completes it from the process's environment and user.
    ///
    /// # Errors
    ///
    /// Fails where the text is no connection string, or names an option or value that there is not.
    pub fn parse(text: &str) -> Result<Self, ConnInfoError> {
        Self::parse_with(text, of_process)
    }

    /// The same with environment variables from `variable`; USER is the system's name of who runs this, and
    /// HOME that one's folder.
    ///
    /// # Errors
    ///
    /// As [`ConnInfo::parse`].
    pub fn parse_with(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConnInfoError> {
        let pairs = with_service(split(text)?, &variable)?;
        let get = |keyword: &str| value_of(&pairs, keyword, &variable);
        let user = get("user").or_else(|| variable("USER"));
        let home = variable("HOME").map(PathBuf::from);
        let mut parameters = Vec::new();
        // What `auto` finds out from the locale is always the one encoding of these programs, and of the
        // server.
        if let Some(encoding) = get("client_encoding").filter(|encoding| encoding != "auto") {
            parameters.push(("client_encoding".to_owned(), encoding));
        }
        let places = endpoints(get("host"), get("hostaddr"), get("port"))?;
        let (endpoints, names) =
            places.into_iter().map(|place| ((place.at, place.port), place.names)).unzip();
        Ok(Self {
            endpoints,
            names,
            user: user.unwrap_or_else(|| "root".to_owned()),
            dbname: get("dbname").unwrap_or_default(),
            password: get("password"),
            application_name: application_name_in(&pairs, &variable),
            options: get("options"),
            replication: get("replication"),
            connect_timeout: connect_timeout(get("connect_timeout"))?,
            silence: silence::parse(get)?,
            target_session: target_session(get("target_session_attrs"))?,
            tls: tls::parse(get, home.as_deref())?,
            peer_user: get("requirepeer"),
            requires_proof: false,
            parameters,
            passfile: get("passfile").map(PathBuf::from).or_else(|| home.map(|home| home.join(".pgpass"))),
        })
    }

    /// The database that will be asked for.
    pub fn database(&self) -> &str {
        if self.dbname.is_empty() { &self.user } else { &self.dbname }
    }

    /// The name that the user gave to an endpoint: what its certificate has to say, and what the password
    /// file has it under.
    pub(crate) fn name_of(&self, endpoint: &Endpoint, port: u16) -> Option<&str> {
        self.names_of(endpoint, port)?.host.as_deref()
    }

    fn names_of(&self, endpoint: &Endpoint, port: u16) -> Option<&Names> {
        let at = self.endpoints.iter().position(|(known, of)| (known, *of) == (endpoint, port))?;
        self.names.get(at)
    }

    /// The password for an endpoint: the one given, or that of the password file.
    ///
    /// # Errors
    ///
    /// Without one, with the reason for which the password file is not used, if there is such.
    pub fn password_for(&self, endpoint: &Endpoint, port: u16) -> Result<String, Option<String>> {
        if let Some(password) = &self.password {
            return Ok(password.clone());
        }
        let physical = self.replication.as_deref().is_some_and(|value| value != "database");
        let database = if physical { "replication" } else { self.database() };
        let (known, unknown) = (self.names_of(endpoint, port), passfile::names(endpoint, port));
        let (host, port) = known.map_or(&unknown, |names| &names.in_passfile);
        let wanted = [host.as_str(), port, database, &self.user];
        match self.passfile.as_deref().map(|path| passfile::look_up(path, wanted)) {
            Some(Found::Password(password)) => Ok(password),
            Some(Found::Unused(why)) => Err(Some(why)),
            Some(Found::Nothing) | None => Err(None),
        }
    }
}

/// A number, around which blanks may stand.
fn number<N: FromStr>(text: &str) -> Result<N, N::Err> {
    text.trim_matches(is_blank).parse()
}

fn connect_timeout(text: Option<String>) -> Result<Option<Duration>, ConnInfoError> {
    let Some(text) = text else { return Ok(None) };
    match number::<i32>(&text) {
        Ok(seconds) if seconds <= 0 => Ok(None),
        // libpq takes 1 for 2, as one second may be hardly any at all.
        Ok(seconds) => Ok(Some(Duration::from_secs(u64::try_from(seconds.max(2)).unwrap_or(2)))),
        Err(_) => Err(ConnInfoError::BadValue { option: "connect_timeout", value: text }),
    }
}

fn target_session(text: Option<String>) -> Result<TargetSession, ConnInfoError> {
    Ok(match text.as_deref() {
        None | Some("any") => TargetSession::Any,
        Some("read-write") => TargetSession::ReadWrite,
        Some("read-only") => TargetSession::ReadOnly,
        Some("primary") => TargetSession::Primary,
        Some("standby") => TargetSession::Standby,
        Some("prefer-standby") => TargetSession::PreferStandby,
        Some(other) => {
            let value = other.to_owned();
            return Err(ConnInfoError::BadValue { option: "target_session_attrs", value });
        }
    })
}

#[cfg(test)]
mod tests;

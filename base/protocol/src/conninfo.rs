//! Connection strings as libpq reads them: `keyword=value` text and `postgresql://` URIs, completed from the
//! environment and the password file (the manual's sections "Connection Strings", "Environment Variables",
//! "The Password File").

mod silence;

pub use silence::Silence;

use host::Disk;
use std::path::{Path, PathBuf};
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
    /// Take no server that does not prove that it knows the password.
    pub requires_proof: bool,
    /// Other startup parameters, sent as they are.
    pub parameters: Vec<(String, String)>,
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

/// Keywords of libpq that change nothing for an unencrypted connection of ours.
const IGNORED: &[&str] = &[
    "channel_binding",
    "gssencmode",
    "gsslib",
    "krbsrvname",
    "requirepeer",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcompression",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslsni",
];

/// Keywords that we act on.
const KNOWN: &[&str] = &[
    "application_name",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
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
    "service",
    "sslmode",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Environment variables that stand in for keywords.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("PGAPPNAME", "application_name"),
    ("PGCLIENTENCODING", "client_encoding"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGDATABASE", "dbname"),
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGOPTIONS", "options"),
    ("PGPASSFILE", "passfile"),
    ("PGPASSWORD", "password"),
    ("PGPORT", "port"),
    ("PGSSLMODE", "sslmode"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGUSER", "user"),
];

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
        Some(rest) => split_uri(rest)?,
        None => split_keywords(text)?,
    };
    for (keyword, _) in &pairs {
        if !KNOWN.contains(&keyword.as_str()) && !IGNORED.contains(&keyword.as_str()) {
            return Err(ConnInfoError::UnknownOption(keyword.clone()));
        }
    }
    Ok(pairs)
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

fn split_keywords(text: &str) -> Result<Vec<(String, String)>, ConnInfoError> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (keyword, after) = rest.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            return Err(ConnInfoError::MissingEquals(keyword.to_owned()));
        };
        let after = after.trim_start();
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
                c if !quoted && c.is_whitespace() => {
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
        rest = after.get(end.unwrap_or(after.len())..).unwrap_or_default().trim_start();
    }
    Ok(pairs)
}

fn percent_decoded(text: &str) -> Result<String, ConnInfoError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let value = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            .filter(|value| *value != 0)
            .ok_or(ConnInfoError::BadUri("invalid percent-encoded token"))?;
        bytes.push(value);
        rest = after.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_err(|_| ConnInfoError::BadUri("percent-encoded text is not UTF-8"))
}

fn split_uri(rest: &str) -> Result<Vec<(String, String)>, ConnInfoError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
    let (authority, dbname) = rest.split_once('/').map_or((rest, ""), |(rest, dbname)| (rest, dbname));
    let hosts = match authority.rsplit_once('@') {
        Some((login, hosts)) => {
            let (user, password) =
                login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
            if !user.is_empty() {
                pairs.push(("user".into(), percent_decoded(user)?));
            }
            if let Some(password) = password.filter(|password| !password.is_empty()) {
                pairs.push(("password".into(), percent_decoded(password)?));
            }
            hosts
        }
        None => authority,
    };
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',') {
        let (name, port) = if let Some(inside) = host.strip_prefix('[') {
            let (name, after) =
                inside.split_once(']').ok_or(ConnInfoError::BadUri("IPv6 address without its \"]\""))?;
            let port = match after.strip_prefix(':') {
                Some(port) => port,
                None if after.is_empty() => "",
                None => return Err(ConnInfoError::BadUri("unexpected character after an IPv6 address")),
            };
            (name, port)
        } else {
            host.split_once(':').unwrap_or((host, ""))
        };
        names.push(percent_decoded(name)?);
        ports.push(port);
    }
    if names.iter().any(|name| !name.is_empty()) {
        pairs.push(("host".into(), names.join(",")));
    }
    if ports.iter().any(|port| !port.is_empty()) {
        pairs.push(("port".into(), ports.join(",")));
    }
    if !dbname.is_empty() {
        pairs.push(("dbname".into(), percent_decoded(dbname)?));
    }
    for pair in query.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
        let (keyword, value) =
            pair.split_once('=').ok_or(ConnInfoError::BadUri("query parameter without \"=\""))?;
        pairs.push((percent_decoded(keyword)?, percent_decoded(value)?));
    }
    Ok(pairs)
}

/// The last value of a keyword; an empty one is none.
fn given(pairs: &[(String, String)], keyword: &str) -> Option<String> {
    let last = pairs.iter().rev().find(|(name, _)| name == keyword);
    last.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
}

/// What the environment says where a keyword is not given.
fn in_environment(keyword: &str, variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let name = ENVIRONMENT.iter().find(|(_, known)| *known == keyword)?.0;
    variable(name).filter(|value| !value.is_empty())
}

fn application_name_in(
    pairs: &[(String, String)],
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let named = given(pairs, "application_name");
    named
        .or_else(|| in_environment("application_name", variable))
        .or_else(|| given(pairs, "fallback_application_name"))
}

/// The application_name that a session by this connection string takes, from the environment too; None if
/// nothing names one, or it is no connection string.
pub fn application_name(text: &str) -> Option<String> {
    application_name_in(&split(text).ok()?, host::variable)
}

impl ConnInfo {
    /// Reads a connection string and completes it from the process's environment and user.
    ///
    /// # Errors
    ///
    /// Fails where the text is no connection string, or names an option or value that there is not.
    pub fn parse(text: &str) -> Result<Self, ConnInfoError> {
        Self::parse_with(text, |name| if name == "USER" { system_user() } else { host::variable(name) })
    }

    /// The same with environment variables from `variable`; USER is the system's name of who runs this.
    ///
    /// # Errors
    ///
    /// As [`ConnInfo::parse`].
    pub fn parse_with(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConnInfoError> {
        let pairs = split(text)?;
        let get = |keyword: &str| given(&pairs, keyword).or_else(|| in_environment(keyword, &variable));
        if get("service").is_some() {
            return Err(ConnInfoError::Unsupported("service"));
        }
        match get("sslmode").as_deref() {
            None | Some("disable" | "allow" | "prefer") => {}
            Some("require" | "verify-ca" | "verify-full") => {
                return Err(ConnInfoError::Unsupported("sslmode above prefer (there is no TLS yet)"));
            }
            Some(other) => {
                return Err(ConnInfoError::BadValue { option: "sslmode", value: other.to_owned() });
            }
        }
        let user = get("user").or_else(|| variable("USER"));
        let mut parameters = Vec::new();
        if let Some(encoding) = get("client_encoding") {
            parameters.push(("client_encoding".to_owned(), encoding));
        }
        Ok(Self {
            endpoints: endpoints(get("host"), get("hostaddr"), get("port"))?,
            user: user.unwrap_or_else(|| "root".to_owned()),
            dbname: get("dbname").unwrap_or_default(),
            password: get("password"),
            application_name: application_name_in(&pairs, &variable),
            options: get("options"),
            replication: get("replication"),
            connect_timeout: connect_timeout(get("connect_timeout"))?,
            silence: silence::parse(get)?,
            target_session: target_session(get("target_session_attrs"))?,
            requires_proof: false,
            parameters,
            passfile: get("passfile")
                .map(PathBuf::from)
                .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".pgpass"))),
        })
    }

    /// The database that will be asked for.
    pub fn database(&self) -> &str {
        if self.dbname.is_empty() { &self.user } else { &self.dbname }
    }

    /// The password for an endpoint: the one given, or that of the password file.
    pub fn password_for(&self, endpoint: &Endpoint, port: u16) -> Option<String> {
        if self.password.is_some() {
            return self.password.clone();
        }
        let host = match endpoint {
            Endpoint::Tcp(host) => host.clone(),
            Endpoint::Unix(dir) if DEFAULT_SOCKET_DIRS.iter().any(|known| dir == Path::new(known)) => {
                "localhost".to_owned()
            }
            Endpoint::Unix(dir) => dir.display().to_string(),
        };
        let physical = self.replication.as_deref().is_some_and(|value| value != "database");
        let database = if physical { "replication" } else { self.database() };
        let path = self.passfile.as_deref()?;
        let found = host::RealDisk.metadata(path).ok()?;
        if found.permissions & 0o077 != 0 {
            return None;
        }
        let contents = host::RealDisk.read(path, 1 << 20).ok()?;
        let contents = String::from_utf8_lossy(&contents);
        lookup(&contents, [&host, &port.to_string(), database, &self.user])
    }
}

/// The password of the first line that fits.
fn lookup(passfile: &str, wanted: [&str; 4]) -> Option<String> {
    passfile.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = vec![String::new()];
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\\' => fields.last_mut()?.extend(chars.next()),
                ':' if fields.len() < 5 => fields.push(String::new()),
                c => fields.last_mut()?.push(c),
            }
        }
        let (password, patterns) = fields.split_last()?;
        let fits = patterns.len() == 4
            && patterns.iter().zip(wanted).all(|(pattern, wanted)| pattern == "*" || pattern == wanted);
        fits.then(|| password.clone())
    })
}

fn endpoints(
    host: Option<String>,
    hostaddr: Option<String>,
    port: Option<String>,
) -> Result<Vec<(Endpoint, u16)>, ConnInfoError> {
    let parse_port = |text: &str| {
        if text.is_empty() {
            return Ok(DEFAULT_PORT);
        }
        let bad = || ConnInfoError::BadValue { option: "port", value: text.to_owned() };
        text.trim().parse::<u16>().ok().filter(|port| *port != 0).ok_or_else(bad)
    };
    let ports = port.unwrap_or_default().split(',').map(parse_port).collect::<Result<Vec<_>, _>>()?;
    let defaults = || DEFAULT_SOCKET_DIRS.iter().map(|dir| Endpoint::Unix(PathBuf::from(dir)));
    let Some(names) = hostaddr.or(host) else {
        let port = ports.first().copied().unwrap_or(DEFAULT_PORT);
        return Ok(defaults().map(|endpoint| (endpoint, port)).collect());
    };
    let names: Vec<_> = names.split(',').collect();
    if ports.len() != 1 && ports.len() != names.len() {
        return Err(ConnInfoError::BadValue { option: "port", value: format!("{} ports", ports.len()) });
    }
    let mut all = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
        match name {
            "" => all.extend(defaults().map(|endpoint| (endpoint, port))),
            dir if dir.starts_with('/') => all.push((Endpoint::Unix(PathBuf::from(dir)), port)),
            name => all.push((Endpoint::Tcp(name.to_owned()), port)),
        }
    }
    Ok(all)
}

fn connect_timeout(text: Option<String>) -> Result<Option<Duration>, ConnInfoError> {
    let Some(text) = text else { return Ok(None) };
    match text.trim().parse::<i64>() {
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

//! The places to try that a connection string names, and how it has written them.

use super::{ConnInfo, ConnInfoError, DEFAULT_PORT, DEFAULT_SOCKET_DIRS, Endpoint, number, passfile};
use std::fmt;
use std::path::PathBuf;

/// How an endpoint is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The name that the user gave it, if it is an address (hostaddr).
    pub(super) host: Option<String>,
    /// The host and the port under which the password file has it.
    pub(super) in_passfile: (String, String),
}

/// A place to try.
pub(super) struct Place {
    pub(super) at: Endpoint,
    pub(super) port: u16,
    pub(super) names: Names,
}

/// The places that a connection string names, or those where a server usually is.
pub(super) fn endpoints(
    host: Option<String>,
    hostaddr: Option<String>,
    port: Option<String>,
) -> Result<Vec<Place>, ConnInfoError> {
    let bad = |option, value: &str| ConnInfoError::BadValue { option, value: value.to_owned() };
    let parse_port = |text: &str| {
        if text.is_empty() {
            return Ok(DEFAULT_PORT);
        }
        number(text).ok().filter(|port| *port != 0).ok_or_else(|| bad("port", text))
    };
    let port = port.unwrap_or_default();
    let ports = port.split(',').map(|text| Ok((parse_port(text)?, text))).collect::<Result<Vec<_>, _>>()?;
    let defaults = || DEFAULT_SOCKET_DIRS.iter().map(|dir| Endpoint::Unix(PathBuf::from(dir)));
    let hosts: Option<Vec<_>> = host.as_deref().map(|host| host.split(',').collect());
    let names: Vec<_> = match (&hostaddr, &hosts) {
        (Some(addresses), _) => addresses.split(',').collect(),
        (None, Some(hosts)) => hosts.clone(),
        (None, None) => {
            let port = ports.first().copied().unwrap_or((DEFAULT_PORT, ""));
            return Ok(defaults().map(|at| place(at, port, ("", None))).collect());
        }
    };
    if ports.len() != 1 && ports.len() != names.len() {
        return Err(bad("port", &format!("{} ports", ports.len())));
    }
    if hosts.as_ref().is_some_and(|hosts| hosts.len() != names.len()) {
        return Err(bad("hostaddr", &format!("{} addresses", names.len())));
    }
    if let Some(addresses) = &hostaddr
        && let Some(name) = addresses.split(',').find(|text| !text.is_empty() && !is_address(text))
    {
        return Err(bad("hostaddr", name));
    }
    let mut all = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        let port = ports.get(at).or(ports.first()).copied().unwrap_or((DEFAULT_PORT, ""));
        // An empty address leaves the host's name to be looked up.
        let host = hosts.as_ref().and_then(|hosts| hosts.get(at)).copied().filter(|host| !host.is_empty());
        let given = if name.is_empty() { None } else { host.filter(|host| *host != name) };
        match if name.is_empty() { host.unwrap_or_default() } else { name } {
            "" => all.extend(defaults().map(|at| place(at, port, ("", None)))),
            dir if dir.starts_with('/') => {
                all.push(place(Endpoint::Unix(PathBuf::from(dir)), port, (dir, None)));
            }
            name => {
                let names = (host.unwrap_or_default(), given.map(str::to_owned));
                all.push(place(Endpoint::Tcp(name.to_owned()), port, names));
            }
        }
    }
    Ok(all)
}

/// `written`: the host as it is written, which an address alone has none of.
fn place(at: Endpoint, (port, text): (u16, &str), (written, host): (&str, Option<String>)) -> Place {
    let number = if text.is_empty() { DEFAULT_PORT.to_string() } else { text.to_owned() };
    let names = Names { host, in_passfile: (passfile::host_name(written).to_owned(), number) };
    Place { at, port, names }
}

/// Whether this is an address, of which 127.1 and 0x7f.1 are some, too, and an interface may be a part.
fn is_address(text: &str) -> bool {
    let address = text.split('%').next().unwrap_or(text);
    let is_number = |part: &str| match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => part.bytes().all(|byte| byte.is_ascii_digit()),
    };
    address.parse::<std::net::IpAddr>().is_ok() || address.split('.').all(is_number)
}

impl fmt::Display for Endpoint {
    /// As messages and views name the host: its name, or the folder of its socket.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(folder) => write!(f, "{}", folder.display()),
            Self::Tcp(host) => f.write_str(host),
        }
    }
}

impl ConnInfo {
    /// Has this server asked after the others, whose order stays.
    pub fn ask_last(&mut self, (host, port): &(String, u16)) {
        let is_last = |(endpoint, at): &(Endpoint, u16)| at == port && endpoint.to_string() == *host;
        let mut order: Vec<usize> = (0..self.endpoints.len()).collect();
        order.sort_by_key(|at| self.endpoints.get(*at).is_some_and(is_last));
        self.names = order.iter().filter_map(|at| self.names.get(*at).cloned()).collect();
        self.endpoints = order.iter().filter_map(|at| self.endpoints.get(*at).cloned()).collect();
    }
}

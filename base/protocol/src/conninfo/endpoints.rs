//! The places to try that a connection string names, and how it has written them.

use super::{
    ConnInfo, ConnInfoError, DEFAULT_PORT, DEFAULT_SOCKET_DIRS, Endpoint, completed_with, given, join,
    number, of_process, passfile,
};
use std::fmt;
use std::path::PathBuf;

/// The keywords that say where servers are: lists, of which each server has a part.
const PLACES: [&str; 3] = ["host", "hostaddr", "port"];

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

/// Servers of a connection string that were found to be of no use, as one is that another has replaced: each
/// by the host, or the folder of its socket, and the port. They are asked after the others, the one that was
/// found last at the very end: so each has its turn, and none is left out for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedLast(Vec<(String, u16)>);

impl AskedLast {
    /// The server at this place was found to be of no use. Kept are only places that the connection string
    /// names, so there is an end to them.
    pub fn note(&mut self, place: &(String, u16), info: &ConnInfo) {
        self.0.retain(|known| known != place && info.leads_to(known));
        if info.leads_to(place) {
            self.0.push(place.clone());
        }
    }

    /// The server at this place is of use now.
    pub fn serves(&mut self, place: &(String, u16)) {
        self.0.retain(|known| known != place);
    }
}

fn is_at((endpoint, at): &(Endpoint, u16), (host, port): &(String, u16)) -> bool {
    at == port && endpoint.to_string() == *host
}

impl ConnInfo {
    /// Has these servers asked after the others, whose order stays.
    pub fn ask_last(&mut self, last: &AskedLast) {
        let mut order: Vec<usize> = (0..self.endpoints.len()).collect();
        order.sort_by_key(|at| {
            let endpoint = self.endpoints.get(*at)?;
            last.0.iter().position(|place| is_at(endpoint, place))
        });
        self.names = order.iter().filter_map(|at| self.names.get(*at).cloned()).collect();
        self.endpoints = order.iter().filter_map(|at| self.endpoints.get(*at).cloned()).collect();
    }

    /// Whether it names this place.
    fn leads_to(&self, place: &(String, u16)) -> bool {
        self.endpoints.iter().any(|endpoint| is_at(endpoint, place))
    }
}

/// A connection string for each server that this one names, in its order, with all else that it says; what
/// its service and the environment say of where they are is written out. One that names a single server, or
/// none, comes out as it is, and so does one that is wrong: who connects is told what is.
pub fn servers(text: &str) -> Vec<String> {
    servers_with(text, of_process)
}

/// The same with environment variables from `variable`.
pub(super) fn servers_with(text: &str, variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let Ok(pairs) = completed_with(text, &PLACES, variable) else { return vec![text.to_owned()] };
    let [hosts, addresses, ports] =
        PLACES.map(|keyword| given(&pairs, keyword).map_or(0, |list| list.split(',').count()));
    let named = if addresses > 0 { addresses } else { hosts };
    let fits = (hosts == 0 || hosts == named) && (ports <= 1 || ports == named);
    if named < 2 || !fits {
        return vec![text.to_owned()];
    }
    let of_server = |at: usize| {
        let part = |(keyword, value): &(String, String)| {
            let is_list = PLACES.contains(&keyword.as_str()) && value.contains(',');
            let own = if is_list { value.split(',').nth(at).unwrap_or_default() } else { value };
            (keyword.clone(), own.to_owned())
        };
        let pairs: Vec<_> = pairs.iter().map(part).collect();
        join(pairs.iter().map(|(keyword, value)| (keyword.as_str(), value.as_str())))
    };
    (0..named).map(of_server).collect()
}

/// What a connection string says of the one server of those it names that is at this place; None if it names
/// none there.
pub fn server_at(text: &str, place: &(String, u16)) -> Option<String> {
    servers(text).into_iter().find(|server| ConnInfo::parse(server).is_ok_and(|info| info.leads_to(place)))
}

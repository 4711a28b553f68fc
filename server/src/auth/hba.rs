//! pg_hba.conf: who may connect from where and how (the manual's section "The pg_hba.conf File").

use std::net::IpAddr;

/// How a connection has to prove itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Trust,
    /// It is refused.
    Reject,
    /// By SCRAM-SHA-256.
    ScramSha256,
    /// By the operating system's user of the other end of a Unix socket.
    Peer,
}

/// A line that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line} of configuration file \"{file}\")")]
pub struct HbaError {
    /// What is wrong.
    pub message: String,
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
}

/// A connection, as the rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The client's address; None on a Unix socket.
    pub address: Option<IpAddr>,
    /// This machine's addresses with the length of their networks' prefixes, asked for `samehost` and
    /// `samenet` alone.
    pub interfaces: fn() -> Vec<(IpAddr, u32)>,
    /// The role asked for.
    pub user: &'a str,
    /// The database asked for.
    pub database: &'a str,
    /// A connection for physical replication, which names no database.
    pub replication: bool,
    /// TLS protects it.
    pub encrypted: bool,
}

/// The rules in order; the first that fits counts.
#[derive(Clone, Debug, Default)]
pub struct Hba {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    line: u32,
    transport: Transport,
    databases: Vec<Word>,
    users: Vec<Word>,
    from: From,
    method: Method,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Local,
    Host { encrypted: Option<bool> },
}

#[derive(Clone, Debug)]
enum From {
    All,
    SameHost,
    SameNet,
    Network { address: IpAddr, prefix_bits: u32 },
}

/// A word of a line; in quotes it loses its special meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Word {
    text: String,
    quoted: bool,
}

impl Word {
    fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.text == keyword
    }
}

/// Splits a line into fields, each a list of words joined by commas.
fn fields(line: &str) -> Result<Vec<Vec<Word>>, String> {
    let mut fields: Vec<Vec<Word>> = Vec::new();
    let mut chars = line.chars().peekable();
    let mut continues = false;
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        match chars.peek() {
            None | Some('#') => return Ok(fields),
            Some(',') => {
                chars.next();
                continues = true;
                continue;
            }
            Some(_) => {}
        }
        let mut word = Word { text: String::new(), quoted: false };
        let mut inside = false;
        while let Some(c) = chars.next_if(|c| inside || !(c.is_whitespace() || matches!(c, ',' | '#'))) {
            if c == '"' {
                inside = !inside;
                word.quoted = true;
            } else {
                word.text.push(c);
            }
        }
        if inside {
            return Err("unterminated quote".to_owned());
        }
        match fields.last_mut() {
            Some(field) if continues => field.push(word),
            _ => fields.push(vec![word]),
        }
        continues = false;
    }
}

impl Hba {
    /// Reads the text of the file `file`. All its errors are given, in order.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<HbaError>> {
        let mut rules = Vec::new();
        let mut errors = Vec::new();
        let mut line_number = 0;
        let mut lines = text.lines();
        while let Some(first) = lines.next() {
            line_number += 1;
            let start = line_number;
            let mut line = first.to_owned();
            while line.ends_with('\\') {
                line.pop();
                let Some(more) = lines.next() else { break };
                line.push_str(more);
                line_number += 1;
            }
            let mut fail = |message| errors.push(HbaError { message, file: file.to_owned(), line: start });
            match fields(&line).and_then(|fields| Rule::parse(fields, start)) {
                Ok(rule) => rules.extend(rule),
                Err(message) => fail(message),
            }
        }
        if rules.is_empty() && errors.is_empty() {
            let message = "configuration file contains no entries".to_owned();
            errors.push(HbaError { message, file: file.to_owned(), line: line_number });
        }
        if errors.is_empty() { Ok(Self { rules }) } else { Err(errors) }
    }

    /// The method for a connection and the line that says so; None if no line fits.
    pub fn method(&self, candidate: &Candidate<'_>) -> Option<(Method, u32)> {
        let rule = self.rules.iter().find(|rule| rule.fits(candidate))?;
        Some((rule.method, rule.line))
    }
}

impl Rule {
    fn parse(fields: Vec<Vec<Word>>, line: u32) -> Result<Option<Self>, String> {
        let mut fields = fields.into_iter();
        let Some(kind) = fields.next() else { return Ok(None) };
        let transport = match kind.as_slice() {
            [word] => match word.text.as_str() {
                "local" => Transport::Local,
                "host" => Transport::Host { encrypted: None },
                "hostssl" => Transport::Host { encrypted: Some(true) },
                "hostnossl" | "hostnogssenc" => Transport::Host { encrypted: Some(false) },
                "hostgssenc" => Transport::Host { encrypted: Some(true) },
                other => return Err(format!("invalid connection type \"{other}\"")),
            },
            _ => return Err("multiple values specified for connection type".to_owned()),
        };
        let databases = fields.next().ok_or("end-of-line before database specification")?;
        let users = fields.next().ok_or("end-of-line before role specification")?;
        for word in databases.iter().chain(&users).filter(|word| !word.quoted) {
            if word.text.starts_with('@') {
                return Err(format!("including names from a file (\"{}\") is not supported", word.text));
            }
        }
        if let Some(word) = databases.iter().find(|word| word.is("samerole") || word.is("samegroup")) {
            return Err(format!("database \"{}\" is not supported: roles have no members here", word.text));
        }
        if let Some(word) = users.iter().find(|word| !word.quoted && word.text.starts_with('+')) {
            return Err(format!("role \"{}\" is not supported: roles have no members here", word.text));
        }
        let from = match transport {
            Transport::Local => From::All,
            Transport::Host { .. } => parse_from(&mut fields)?,
        };
        let method = match fields.next().ok_or("end-of-line before authentication method")?.as_slice() {
            [word] => parse_method(&word.text, transport)?,
            _ => return Err("multiple values specified for authentication type".to_owned()),
        };
        if let Some(option) = fields.next().and_then(|words| words.into_iter().next()) {
            return Err(format!("authentication option \"{}\" is not supported", option.text));
        }
        Ok(Some(Self { line, transport, databases, users, from, method }))
    }

    fn fits(&self, candidate: &Candidate<'_>) -> bool {
        let transport = match (self.transport, candidate.address) {
            (Transport::Local, None) => true,
            (Transport::Host { encrypted }, Some(_)) => {
                encrypted.is_none_or(|wanted| wanted == candidate.encrypted)
            }
            _ => false,
        };
        let from = match (&self.from, candidate.address) {
            (From::All, _) => true,
            (From::SameHost, Some(address)) => {
                (candidate.interfaces)().iter().any(|(own, _)| *own == address)
            }
            (From::SameNet, Some(address)) => {
                (candidate.interfaces)().iter().any(|(own, bits)| same_network(*own, address, *bits))
            }
            (From::Network { address: network, prefix_bits }, Some(address)) => {
                same_network(*network, address, *prefix_bits)
            }
            (_, None) => false,
        };
        let database = self.databases.iter().any(|word| {
            if candidate.replication {
                return word.is("replication");
            }
            let keyword = word.is("all") || word.is("sameuser") && candidate.user == candidate.database;
            keyword || !word.is("replication") && word.text == candidate.database
        });
        let user = self.users.iter().any(|word| word.is("all") || word.text == candidate.user);
        transport && from && database && user
    }
}

fn parse_method(word: &str, transport: Transport) -> Result<Method, String> {
    match word {
        "trust" => Ok(Method::Trust),
        "reject" => Ok(Method::Reject),
        // As in PostgreSQL, md5 accepts SCRAM verifiers too; others do not exist here.
        "scram-sha-256" | "md5" => Ok(Method::ScramSha256),
        "peer" if transport == Transport::Local => Ok(Method::Peer),
        "peer" => Err("peer authentication is only supported on local sockets".to_owned()),
        "password" | "gss" | "sspi" | "ident" | "ldap" | "radius" | "cert" | "pam" | "bsd" => {
            Err(format!("authentication method \"{word}\" is not supported"))
        }
        _ => Err(format!("invalid authentication method \"{word}\"")),
    }
}

fn parse_from(fields: &mut impl Iterator<Item = Vec<Word>>) -> Result<From, String> {
    let field = fields.next().ok_or("end-of-line before IP address specification")?;
    let [word] = field.as_slice() else {
        return Err("multiple values specified for host address".to_owned());
    };
    if word.is("all") {
        return Ok(From::All);
    }
    if word.is("samehost") {
        return Ok(From::SameHost);
    }
    if word.is("samenet") {
        return Ok(From::SameNet);
    }
    let (address, bits) = word.text.split_once('/').map_or((word.text.as_str(), None), |(a, b)| (a, Some(b)));
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(format!("host name \"{}\" is not supported; write its address", word.text));
    };
    let width = if address.is_ipv4() { 32 } else { 128 };
    let prefix_bits = match bits {
        Some(bits) => bits.parse::<u32>().ok().filter(|bits| *bits <= width),
        None => {
            let mask = fields.next().ok_or("end-of-line before netmask specification")?;
            let mask = mask.first().and_then(|word| word.text.parse::<IpAddr>().ok());
            mask.filter(|mask| mask.is_ipv4() == address.is_ipv4()).and_then(mask_bits)
        }
    };
    let Some(prefix_bits) = prefix_bits else {
        return Err(format!("invalid CIDR mask in address \"{}\"", word.text));
    };
    Ok(From::Network { address, prefix_bits })
}

/// This machine's addresses with the length of their networks' prefixes.
pub fn interfaces() -> Vec<(IpAddr, u32)> {
    let ip = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let found = nix::ifaddrs::getifaddrs().into_iter().flatten();
    found
        .filter_map(|interface| {
            let address = ip(interface.address?)?;
            let whole = if address.is_ipv4() { 32 } else { 128 };
            let bits = interface.netmask.and_then(ip).and_then(mask_bits);
            Some((address, bits.unwrap_or(whole)))
        })
        .collect()
}

/// The length of a netmask, None if its ones have gaps.
fn mask_bits(mask: IpAddr) -> Option<u32> {
    match mask {
        IpAddr::V4(mask) => {
            let bits = u32::from(mask);
            (bits.leading_ones() + bits.trailing_zeros() >= 32).then(|| bits.leading_ones())
        }
        IpAddr::V6(mask) => {
            let bits = u128::from(mask);
            (bits.leading_ones() + bits.trailing_zeros() >= 128).then(|| bits.leading_ones())
        }
    }
}

fn same_network(network: IpAddr, address: IpAddr, prefix_bits: u32) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - prefix_bits).unwrap_or(0);
            u32::from(network) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - prefix_bits).unwrap_or(0);
            u128::from(network) & mask == u128::from(address) & mask
        }
        // An IPv4 client of an IPv6 socket.
        (IpAddr::V4(_), IpAddr::V6(address)) => address
            .to_ipv4_mapped()
            .is_some_and(|address| same_network(network, IpAddr::V4(address), prefix_bits)),
        (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate<'a>(address: Option<&str>, user: &'a str, database: &'a str) -> Candidate<'a> {
        let address = address.map(|address| address.parse().unwrap());
        let interfaces = || vec![(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8)];
        Candidate { address, interfaces, user, database, replication: false, encrypted: false }
    }

    #[test]
    fn the_first_fitting_line_counts() {
        let hba = Hba::parse(
            "# comment\n\
             local all all trust\n\
             host  all,replication \"all\" 10.0.0.0/8 trust # a role named all\n\
             host  app  ann,bob 10.1.0.0 255.255.0.0 scram-sha-256\n\
             hostssl all all 0.0.0.0/0 trust\n\
             host sameuser all ::1/128 trust\n\
             host replication rep samehost \\\n  reject\n\
             host all all 192.168.0.0/16 md5\n\
             host all all samenet reject\n",
            "hba",
        )
        .unwrap();
        let method = |candidate: Candidate<'_>| hba.method(&candidate);
        assert_eq!(method(candidate(None, "x", "y")), Some((Method::Trust, 2)));
        assert_eq!(method(candidate(Some("10.1.2.3"), "all", "y")), Some((Method::Trust, 3)));
        assert_eq!(method(candidate(Some("10.1.2.3"), "bob", "app")), Some((Method::ScramSha256, 4)));
        assert_eq!(method(candidate(Some("10.2.2.3"), "bob", "app")), None);
        assert_eq!(method(candidate(Some("::1"), "bob", "bob")), Some((Method::Trust, 6)));
        assert_eq!(method(candidate(Some("::1"), "bob", "app")), None);
        assert_eq!(method(candidate(Some("::ffff:192.168.7.1"), "b", "a")), Some((Method::ScramSha256, 9)));
        assert_eq!(method(candidate(Some("127.9.9.9"), "b", "a")), Some((Method::Reject, 10)));
        let replication = Candidate { replication: true, ..candidate(Some("127.0.0.1"), "rep", "") };
        assert_eq!(method(replication), Some((Method::Reject, 7)));
        let replication = Candidate { replication: true, ..candidate(None, "rep", "") };
        assert_eq!(method(replication), None, "all does not stand for replication");
    }

    #[test]
    fn bad_lines_are_named() {
        for (line, part) in [
            ("locale all all trust", "connection type"),
            ("local all", "role"),
            ("local all all", "authentication method"),
            ("host all all trust", "host name"),
            ("host all all 10.0.0.0/33 trust", "CIDR"),
            ("host all all 10.0.0.0 255.0.255.0 trust", "CIDR"),
            ("host all all 10.0.0.1/8 peer", "local sockets"),
            ("local all all ldap", "not supported"),
            ("local all all magic", "invalid authentication method"),
            ("local all +admins trust", "members"),
            ("local all \"x trust", "quote"),
            ("local all all trust map=x", "option"),
            ("", "no entries"),
        ] {
            let errors = Hba::parse(&format!("\n{line}\n"), "f").unwrap_err();
            assert!(errors[0].message.contains(part), "{line}: {}", errors[0]);
            assert!(line.is_empty() || errors[0].line == 2, "{line}: {}", errors[0]);
        }
    }
}

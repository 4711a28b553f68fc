//! Addresses of clients: networks, this machine's own, and names.

use super::lines::Word;
use super::{Candidate, Missing};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    All,
    SameHost,
    SameNet,
    Network {
        address: IpAddr,
        /// Which bits of it count. Its ones may have gaps.
        mask: IpAddr,
    },
    /// A machine's name, or with a dot in front the end of it.
    Host(String),
}

/// The name of a client's machine: the one that its address leads to, if that leads back to the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientName(Option<String>);

impl ClientName {
    /// Asks the system. Blocks as long as that takes.
    pub(crate) fn of(address: IpAddr) -> Self {
        let name = dns_lookup::lookup_addr(&address).ok().filter(|name| name.parse::<IpAddr>().is_err());
        let leads_back = |name: &String| {
            let found = (name.as_str(), 0).to_socket_addrs();
            found
                .is_ok_and(|mut found| found.any(|found| found.ip().to_canonical() == address.to_canonical()))
        };
        Self(name.filter(leads_back))
    }

    fn is(&self, pattern: &str) -> bool {
        let Some(name) = &self.0 else { return false };
        match pattern.starts_with('.') {
            true => {
                let from = name.len().checked_sub(pattern.len()).filter(|from| *from > 0);
                let end = from.and_then(|from| name.get(from..));
                end.is_some_and(|end| end.eq_ignore_ascii_case(pattern))
            }
            false => name.eq_ignore_ascii_case(pattern),
        }
    }
}

impl From {
    /// Reads the address of a rule, and its mask if that is a field of its own.
    pub(super) fn parse(fields: &mut impl Iterator<Item = Vec<Word>>) -> Result<Self, String> {
        let field = fields.next().ok_or("end-of-line before IP address specification")?;
        let [word] = field.as_slice() else {
            return Err("multiple values specified for host address".to_owned());
        };
        for (keyword, from) in [("all", Self::All), ("samehost", Self::SameHost), ("samenet", Self::SameNet)]
        {
            if word.is(keyword) {
                return Ok(from);
            }
        }
        let (text, bits) =
            word.text.split_once('/').map_or((word.text.as_str(), None), |(text, bits)| (text, Some(bits)));
        let Some(address) = numeric(text) else {
            return match bits {
                Some(_) => {
                    Err(format!("specifying both host name and CIDR mask is invalid: \"{}\"", word.text))
                }
                None => Ok(Self::Host(text.to_owned())),
            };
        };
        let width = if address.is_ipv4() { 32 } else { 128 };
        let mask = match bits {
            Some(bits) => {
                let bits = bits.parse::<u32>().ok().filter(|bits| *bits <= width);
                bits.map(|bits| mask_of(address, bits))
            }
            None => Some(parse_mask(address, fields)?),
        };
        let mask = mask.ok_or_else(|| format!("invalid CIDR mask in address \"{}\"", word.text))?;
        Ok(Self::Network { address, mask })
    }

    /// Whether a connection over TCP from this address comes from here.
    pub(super) fn fits(&self, address: IpAddr, candidate: &Candidate<'_>) -> Result<bool, Missing> {
        Ok(match self {
            Self::All => true,
            Self::SameHost => (candidate.interfaces)()
                .iter()
                .any(|(own, _)| same_network(*own, address, mask_of(*own, 128))),
            Self::SameNet => {
                (candidate.interfaces)().iter().any(|(own, mask)| same_network(*own, address, *mask))
            }
            Self::Network { address: network, mask } => same_network(*network, address, *mask),
            Self::Host(pattern) => candidate.name.ok_or(Missing::Name)?.is(pattern),
        })
    }
}

/// A mask that is a field of its own.
fn parse_mask(address: IpAddr, fields: &mut impl Iterator<Item = Vec<Word>>) -> Result<IpAddr, String> {
    let field = fields.next().ok_or("end-of-line before netmask specification")?;
    let [word] = field.as_slice() else {
        return Err("multiple values specified for netmask".to_owned());
    };
    let mask = numeric(&word.text).ok_or_else(|| format!("invalid IP mask \"{}\"", word.text))?;
    if mask.is_ipv4() != address.is_ipv4() {
        return Err("IP address and mask do not match".to_owned());
    }
    Ok(mask)
}

/// An address in digits, as getaddrinfo reads it: of IPv4 there may be fewer than four parts, in octal or
/// hexadecimal digits, too; of IPv6 it may be said by which interface it is reached.
fn numeric(text: &str) -> Option<IpAddr> {
    let Some((address, zone)) = text.split_once('%') else {
        return text.parse().ok().map(IpAddr::V6).or_else(|| v4(text).map(IpAddr::V4));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let by_name = address.is_unicast_link_local() || address.segments()[0] & 0xff0f == 0xff02;
    let known = zone.parse::<u32>().is_ok() || by_name && nix::net::if_::if_nametoindex(zone).is_ok();
    known.then_some(IpAddr::V6(address))
}

/// The forms of inet_aton: the last part fills all bytes that are left.
fn v4(text: &str) -> Option<Ipv4Addr> {
    let part = |text: &str| {
        let lower = text.to_ascii_lowercase();
        let (digits, radix) = match lower.strip_prefix("0x") {
            Some(digits) => (digits, 16),
            None if lower.len() > 1 && lower.starts_with('0') => (lower.as_str(), 8),
            None => (lower.as_str(), 10),
        };
        u32::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))
    };
    let parts: Vec<u32> = text.split('.').map(part).collect::<Option<_>>()?;
    let (last, heads) = parts.split_last().filter(|(_, heads)| heads.len() < 4)?;
    let mut found =
        u32::MAX.checked_shr(8 * u32::try_from(heads.len()).ok()?).filter(|most| last <= most)? & *last;
    for (at, head) in (0..).zip(heads) {
        found |= head.checked_shl(24 - 8 * at).filter(|_| *head < 256)?;
    }
    Some(Ipv4Addr::from(found))
}

/// This machine's addresses with their networks' masks.
pub(crate) fn interfaces() -> Vec<(IpAddr, IpAddr)> {
    let ip = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    let found = nix::ifaddrs::getifaddrs().into_iter().flatten();
    found
        .filter_map(|interface| {
            let address = ip(interface.address?)?;
            let mask = interface.netmask.and_then(ip).filter(|mask| mask.is_ipv4() == address.is_ipv4());
            Some((address, mask.unwrap_or_else(|| mask_of(address, 128))))
        })
        .collect()
}

/// The mask of a network whose prefix is so long; all of the address's bits at most.
fn mask_of(address: IpAddr, prefix_bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(_) => {
            IpAddr::V4(u32::MAX.checked_shl(32_u32.saturating_sub(prefix_bits)).unwrap_or(0).into())
        }
        IpAddr::V6(_) => {
            IpAddr::V6(u128::MAX.checked_shl(128_u32.saturating_sub(prefix_bits)).unwrap_or(0).into())
        }
    }
}

fn same_network(network: IpAddr, address: IpAddr, mask: IpAddr) -> bool {
    match (network, address, mask) {
        (IpAddr::V4(network), IpAddr::V4(address), IpAddr::V4(mask)) => {
            let mask = u32::from(mask);
            u32::from(network) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address), IpAddr::V6(mask)) => {
            let mask = u128::from(mask);
            u128::from(network) & mask == u128::from(address) & mask
        }
        // An IPv4 client of an IPv6 socket.
        (IpAddr::V4(_), IpAddr::V6(address), _) => {
            address.to_ipv4_mapped().is_some_and(|address| same_network(network, IpAddr::V4(address), mask))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_all_forms_that_the_system_reads() {
        for (text, read) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("127.1", Some("127.0.0.1")),
            ("255.255.255", Some("255.255.0.255")),
            ("0x7f.0.010.1", Some("127.0.8.1")),
            ("256", Some("0.0.1.0")),
            ("1.2.3.4.5", None),
            ("1.256.3", None),
            ("1.2.3.256", None),
            ("1..2", None),
            ("+1.2.3.4", None),
            ("08.1.1.1", None),
            ("::1", Some("::1")),
            ("fe80::1%lo", Some("fe80::1")),
            ("fe80::1%1", Some("fe80::1")),
            ("fe80::1%nosuch", None),
            ("2001:db8::1%lo", None),
            ("localhost", None),
        ] {
            assert_eq!(numeric(text), read.map(|read| read.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_mask_may_have_gaps() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (network, mask) = (address("10.1.7.1"), address("255.0.255.0"));
        assert!(same_network(network, address("10.9.7.9"), mask));
        assert!(!same_network(network, address("10.1.8.1"), mask));
        assert!(same_network(network, address("::ffff:10.9.7.9"), mask));
    }

    #[test]
    fn names_fit_whole_or_by_their_end() {
        let name = ClientName(Some("Db1.Example.com".to_owned()));
        for (pattern, fits) in [
            ("db1.example.com", true),
            ("example.com", false),
            (".example.com", true),
            (".db1.example.com", false),
            ("1.example.com", false),
        ] {
            assert_eq!(name.is(pattern), fits, "{pattern}");
        }
        assert!(!ClientName(None).is("x"));
    }
}

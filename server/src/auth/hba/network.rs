//! Addresses of clients: networks, this machine's own, and names.

use super::lines::Word;
use super::{Candidate, Missing};
use std::net::{IpAddr, ToSocketAddrs};

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    All,
    SameHost,
    SameNet,
    Network {
        address: IpAddr,
        prefix_bits: u32,
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
        let Ok(address) = text.parse::<IpAddr>() else {
            return match bits {
                Some(_) => {
                    Err(format!("specifying both host name and CIDR mask is invalid: \"{}\"", word.text))
                }
                None => Ok(Self::Host(text.to_owned())),
            };
        };
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits {
            Some(bits) => bits.parse::<u32>().ok().filter(|bits| *bits <= width),
            None => Some(parse_mask(address, fields)?),
        };
        let prefix_bits =
            prefix_bits.ok_or_else(|| format!("invalid CIDR mask in address \"{}\"", word.text))?;
        Ok(Self::Network { address, prefix_bits })
    }

    /// Whether a connection over TCP from this address comes from here.
    pub(super) fn fits(&self, address: IpAddr, candidate: &Candidate<'_>) -> Result<bool, Missing> {
        Ok(match self {
            Self::All => true,
            Self::SameHost => {
                (candidate.interfaces)().iter().any(|(own, _)| same_network(*own, address, 128))
            }
            Self::SameNet => {
                (candidate.interfaces)().iter().any(|(own, bits)| same_network(*own, address, *bits))
            }
            Self::Network { address: network, prefix_bits } => same_network(*network, address, *prefix_bits),
            Self::Host(pattern) => candidate.name.ok_or(Missing::Name)?.is(pattern),
        })
    }
}

/// A mask that is a field of its own.
fn parse_mask(address: IpAddr, fields: &mut impl Iterator<Item = Vec<Word>>) -> Result<u32, String> {
    let field = fields.next().ok_or("end-of-line before netmask specification")?;
    let [word] = field.as_slice() else {
        return Err("multiple values specified for netmask".to_owned());
    };
    let invalid = || format!("invalid IP mask \"{}\"", word.text);
    let mask = word.text.parse::<IpAddr>().map_err(|_| invalid())?;
    if mask.is_ipv4() != address.is_ipv4() {
        return Err("IP address and mask do not match".to_owned());
    }
    mask_bits(mask).ok_or_else(invalid)
}

/// This machine's addresses with the length of their networks' prefixes.
pub(crate) fn interfaces() -> Vec<(IpAddr, u32)> {
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

/// The mask of a network whose prefix is so long.
pub(crate) fn mask_of(address: IpAddr, prefix_bits: u32) -> IpAddr {
    match address {
        IpAddr::V4(_) => IpAddr::V4(v4_mask(prefix_bits).into()),
        IpAddr::V6(_) => IpAddr::V6(v6_mask(prefix_bits).into()),
    }
}

fn v4_mask(prefix_bits: u32) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(prefix_bits)).unwrap_or(0)
}

fn v6_mask(prefix_bits: u32) -> u128 {
    u128::MAX.checked_shl(128_u32.saturating_sub(prefix_bits)).unwrap_or(0)
}

fn same_network(network: IpAddr, address: IpAddr, prefix_bits: u32) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = v4_mask(prefix_bits);
            u32::from(network) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = v6_mask(prefix_bits);
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

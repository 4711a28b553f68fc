//! inet: addresses with a network prefix.

use crate::error::{Error, Result};
use std::cmp::Ordering;
use std::net::IpAddr;

/// Family first, then the common prefix, then the prefix length, then the whole address.
pub(crate) fn compare(a: (IpAddr, u8), b: (IpAddr, u8)) -> Ordering {
    let ordinal = |address: IpAddr| match address {
        IpAddr::V4(address) => (0u8, u128::from(u32::from(address)) << 96),
        IpAddr::V6(address) => (1, u128::from(address)),
    };
    let ((family_a, bits_a), (family_b, bits_b)) = (ordinal(a.0), ordinal(b.0));
    let common = u32::from(a.1.min(b.1)).min(128);
    let prefix = |bits: u128| bits.checked_shr(128 - common).unwrap_or(0);
    family_a
        .cmp(&family_b)
        .then_with(|| prefix(bits_a).cmp(&prefix(bits_b)))
        .then_with(|| a.1.cmp(&b.1))
        .then_with(|| bits_a.cmp(&bits_b))
}

/// The prefix length of a single host.
pub(crate) fn host_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// `address` or `address/bits`.
pub(crate) fn parse(text: &str) -> Result<(IpAddr, u8)> {
    let invalid = || Error::invalid_text("inet", text);
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let bits = match bits {
        Some(bits) if !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit()) => {
            bits.parse().map_err(|_| invalid())?
        }
        Some(_) => return Err(invalid()),
        None => host_bits(address),
    };
    if bits > host_bits(address) { Err(invalid()) } else { Ok((address, bits)) }
}

/// Without the prefix length when it names a single host.
pub(crate) fn write(out: &mut String, address: IpAddr, bits: u8) {
    use std::fmt::Write as _;
    let _ = write!(out, "{address}");
    if bits != host_bits(address) {
        let _ = write!(out, "/{bits}");
    }
}

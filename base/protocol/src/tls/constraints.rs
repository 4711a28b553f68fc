//! What those who sign say of what they may sign (RFC 5280, sections 4.2.1.9 and 4.2.1.10), and of themselves
//! in extensions that must be understood. webpki knows a root's name and key alone, and no names in Common
//! Names.

use super::certificate::common_names;
use super::usage::is_self_issued;
use x509_cert::TbsCertificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::oid::db::rfc5280 as known;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, NameConstraints, SubjectAltName};

/// The extensions that OpenSSL understands in an authority's certificate.
const UNDERSTOOD: [ObjectIdentifier; 10] = [
    known::ID_CE_KEY_USAGE,
    known::ID_CE_SUBJECT_ALT_NAME,
    known::ID_CE_BASIC_CONSTRAINTS,
    known::ID_CE_NAME_CONSTRAINTS,
    known::ID_CE_CRL_DISTRIBUTION_POINTS,
    known::ID_CE_CERTIFICATE_POLICIES,
    known::ID_CE_POLICY_MAPPINGS,
    known::ID_CE_POLICY_CONSTRAINTS,
    known::ID_CE_EXT_KEY_USAGE,
    known::ID_CE_INHIBIT_ANY_POLICY,
];

/// Whether all is understood that a root says must be.
pub(super) fn is_understood(root: &TbsCertificate) -> bool {
    let mut extensions = root.extensions().into_iter().flatten();
    extensions.all(|extension| !extension.critical || UNDERSTOOD.contains(&extension.extn_id))
}

/// Whether a root lets chains be as long as one with these between it and the end.
pub(super) fn has_room_for(root: &TbsCertificate, between: &[&TbsCertificate]) -> bool {
    let Ok(constraints) = root.get_extension::<BasicConstraints>() else { return false };
    let longest = constraints.and_then(|(_, constraints)| constraints.path_len_constraint);
    // One that was renewed by itself is not counted.
    let length = between.iter().filter(|one| !is_self_issued(one)).count();
    longest.is_none_or(|longest| length <= usize::from(longest))
}

/// Whether an authority may sign a certificate whose host stands in its Common Name: where it has no names of
/// hosts elsewhere, these count.
pub(super) fn allows_name(authority: &TbsCertificate, said: &TbsCertificate) -> bool {
    let constraints = match authority.get_extension::<NameConstraints>() {
        Ok(Some((_, constraints))) => constraints,
        Ok(None) => return true,
        Err(_) => return false,
    };
    let has_hosts = said
        .get_extension::<SubjectAltName>()
        .ok()
        .flatten()
        .is_some_and(|(_, names)| names.0.iter().any(|name| matches!(name, GeneralName::DnsName(_))));
    if has_hosts {
        return true;
    }
    let (permitted, excluded) =
        (hosts(constraints.permitted_subtrees.as_deref()), hosts(constraints.excluded_subtrees.as_deref()));
    common_names(said.subject()).iter().filter_map(|name| host_in(name)).all(|name| {
        let is_within = |bases: &[&str]| bases.iter().any(|base| is_under(name, base));
        (permitted.is_empty() || is_within(&permitted)) && !is_within(&excluded)
    })
}

/// Those of hosts among the bases of subtrees.
fn hosts(subtrees: Option<&[GeneralSubtree]>) -> Vec<&str> {
    let mut hosts = Vec::new();
    for subtree in subtrees.unwrap_or_default() {
        if let GeneralName::DnsName(name) = &subtree.base {
            hosts.push(name.as_str());
        }
    }
    hosts
}

/// The host that a Common Name names, if it looks like one: of several labels. A star in front stands for
/// one.
fn host_in(name: &str) -> Option<&str> {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        !label.is_empty()
            && label.bytes().all(is_of_names)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (name.contains('.') && host.split('.').all(is_label)).then_some(host)
}

/// Whether a host is that of a constraint or below it; with a dot in front it is below alone.
fn is_under(host: &str, base: &str) -> bool {
    let Some(cut) = host.len().checked_sub(base.len()) else { return false };
    let (Some(before), Some(end)) = (host.get(..cut), host.get(cut..)) else { return false };
    let at_label = before.is_empty() || base.is_empty() || base.starts_with('.') || before.ends_with('.');
    at_label && end.eq_ignore_ascii_case(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_under_whole_labels() {
        for (host, base, under) in [
            ("db.example.com", "example.com", true),
            ("DB.Example.com", "example.COM", true),
            ("example.com", "example.com", true),
            ("db.example.com", ".example.com", true),
            ("example.com", ".example.com", false),
            ("badexample.com", "example.com", false),
            ("com", "example.com", false),
            ("db.example.com", "", true),
        ] {
            assert_eq!(is_under(host, base), under, "{host} under {base}");
        }
    }

    #[test]
    fn what_looks_like_a_host_is_one() {
        for (name, host) in [
            ("db.example.com", Some("db.example.com")),
            ("*.example.com", Some("example.com")),
            ("*.com", Some("com")),
            ("ann", None),
            ("Ann Smith.", None),
            ("a..b", None),
            ("-a.b", None),
            ("a.b-", None),
        ] {
            assert_eq!(host_in(name), host, "{name}");
        }
    }
}

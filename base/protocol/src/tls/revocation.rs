//! Which of several revocation lists counts.
//!
//! webpki asks the first list that names a certificate's issuer, whatever stands behind it. In a file that
//! new lists are appended to, and in a folder that keeps the old ones, an older list comes first. So it is
//! shown only the newest of those that cover the same, and none before its time.

use std::cmp::Reverse;
use std::time::Duration;
use tokio_rustls::rustls::pki_types::{CertificateRevocationListDer, UnixTime};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_cert::der::asn1::{AnyRef, Uint};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{self, Decode, Reader, SliceReader, Tag, TagNumber, Tagged};
use x509_cert::ext::Extensions;
use x509_cert::time::Time;

// Extensions of lists (RFC 5280, section 5.2).
const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");

/// What a list covers, in the bytes that it says it with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Scope {
    issuer: Vec<u8>,
    /// The issuer's key: one that was renewed under its old name has lists of its own.
    key: Option<Vec<u8>>,
    /// The part of the issuer's certificates, if it is not all of them.
    part: Option<Vec<u8>>,
}

/// What tells a revocation list from others.
#[derive(Clone, Debug)]
struct Head {
    scope: Scope,
    /// cRLNumber, big-endian and without leading zeros.
    number: Option<Vec<u8>>,
    /// Since 1970.
    this_update: Duration,
}

/// A revocation list.
#[derive(Debug)]
pub(super) struct RevocationList {
    head: Head,
    list: CertRevocationList<'static>,
}

/// Revocation lists of any number.
#[derive(Debug, Default)]
pub(super) struct RevocationLists(Vec<RevocationList>);

impl RevocationList {
    /// Reads a list (RFC 5280, section 5.1). Its signature is judged when it is asked.
    pub(super) fn read(list: CertificateRevocationListDer<'static>) -> Result<Self, String> {
        let head = Head::parse(&list).map_err(|error| error.to_string())?;
        match OwnedCertRevocationList::from_der(&list) {
            Ok(list) => Ok(Self { head, list: list.into() }),
            Err(webpki::Error::UnsupportedCrlVersion) => {
                Err("it is of version 1, which has no number: make it with crlnumber".to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Head {
    /// Of a list's fields and its extensions; what it revokes is passed over.
    fn parse(list: &[u8]) -> Result<Self, der::Error> {
        const EXTENSIONS: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
        let whole = AnyRef::from_der(list)?;
        let mut whole = SliceReader::new(whole.value())?;
        let signed = AnyRef::decode(&mut whole)?;
        let mut signed = SliceReader::new(signed.value())?;
        if AnyRef::decode(&mut signed)?.tag() == Tag::Integer {
            // That was the version, which is optional; the signature's algorithm is not.
            AnyRef::decode(&mut signed)?;
        }
        let issuer = AnyRef::decode(&mut signed)?.value().to_vec();
        let this_update = Time::decode(&mut signed)?.to_unix_duration();
        let mut extensions = Extensions::new();
        while !signed.is_finished() {
            let field = AnyRef::decode(&mut signed)?;
            if field.tag() == EXTENSIONS {
                extensions = Extensions::from_der(field.value())?;
            }
        }
        let value_of = |oid: ObjectIdentifier| {
            let found = extensions.iter().find(|extension| extension.extn_id == oid);
            found.map(|extension| extension.extn_value.as_bytes().to_vec())
        };
        let number = match value_of(CRL_NUMBER) {
            Some(number) => Some(Uint::from_der(&number)?.as_bytes().to_vec()),
            None => None,
        };
        let (key, part) = (value_of(AUTHORITY_KEY_IDENTIFIER), value_of(ISSUING_DISTRIBUTION_POINT));
        Ok(Self { scope: Scope { issuer, key, part }, number, this_update })
    }

    fn is_newer_than(&self, other: &Self) -> bool {
        match (&self.number, &other.number) {
            (Some(own), Some(others)) if own != others => (own.len(), own) > (others.len(), others),
            _ => self.this_update > other.this_update,
        }
    }
}

impl RevocationLists {
    pub(super) const fn new(lists: Vec<RevocationList>) -> Self {
        Self(lists)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that count at this time.
    pub(super) fn in_force(&self, now: UnixTime) -> Vec<&CertRevocationList<'static>> {
        let begun = self.0.iter().filter(|list| list.head.this_update.as_secs() <= now.as_secs());
        newest(begun.map(|list| (&list.head, &list.list)))
    }
}

/// The newest of those lists that cover the same. Of two that are equally new it is the first, as in OpenSSL.
///
/// The newer ones come first: an issuer's lists may differ in what they say of its key.
fn newest<'l, T>(lists: impl Iterator<Item = (&'l Head, T)>) -> Vec<T> {
    let mut kept: Vec<(&Head, T)> = Vec::new();
    for list in lists {
        match kept.iter_mut().find(|other| other.0.scope == list.0.scope) {
            None => kept.push(list),
            Some(other) => {
                if list.0.is_newer_than(other.0) {
                    *other = list;
                }
            }
        }
    }
    kept.sort_by_key(|(head, _)| Reverse(head.this_update));
    kept.into_iter().map(|(_, list)| list).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
        CrlIssuingDistributionPoint, Issuer, KeyIdMethod, KeyPair, SerialNumber, date_time_ymd,
    };

    /// A list of the issuer "a" or another, by its name.
    fn list<'n>(
        name: &'n str,
        scope: (&str, Option<&str>),
        number: Option<&[u8]>,
        day: u64,
    ) -> (Head, &'n str) {
        let head = Head {
            scope: Scope {
                issuer: scope.0.as_bytes().to_vec(),
                key: scope.1.map(|key| key.as_bytes().to_vec()),
                part: None,
            },
            number: number.map(<[u8]>::to_vec),
            this_update: Duration::from_secs(day * 86_400),
        };
        (head, name)
    }

    #[test]
    fn only_the_newest_list_of_an_issuer_and_its_key_counts() {
        let (a, renewed, b) = (("a", Some("1")), ("a", Some("2")), ("b", Some("1")));
        for (what, lists, newest_first) in [
            ("by number", vec![list("old", a, Some(&[1]), 1), list("new", a, Some(&[2]), 2)], "new"),
            ("in any order", vec![list("new", a, Some(&[2]), 2), list("old", a, Some(&[1]), 1)], "new"),
            ("number before time", vec![list("new", a, Some(&[2]), 1), list("old", a, Some(&[1]), 2)], "new"),
            ("long numbers", vec![list("old", a, Some(&[255]), 1), list("new", a, Some(&[1, 0]), 1)], "new"),
            ("equal numbers", vec![list("old", a, Some(&[1]), 1), list("new", a, Some(&[1]), 2)], "new"),
            ("one number", vec![list("old", a, Some(&[9]), 1), list("new", a, None, 2)], "new"),
            ("no number", vec![list("new", a, None, 2), list("old", a, None, 1)], "new"),
            ("equally new", vec![list("one", a, None, 1), list("two", a, None, 1)], "one"),
            ("three", vec![list("1", a, None, 1), list("3", a, None, 3), list("2", a, None, 2)], "3"),
            ("other issuers", vec![list("a", a, Some(&[1]), 1), list("b", b, Some(&[2]), 2)], "b a"),
            ("a renewed key", vec![list("a", a, Some(&[7]), 1), list("b", renewed, Some(&[1]), 2)], "b a"),
            ("no key", vec![list("old", ("a", None), None, 1), list("new", a, Some(&[1]), 2)], "new old"),
        ] {
            let kept = newest(lists.iter().map(|(head, name)| (head, *name)));
            assert_eq!(kept.join(" "), newest_first, "{what}");
        }
    }

    #[test]
    fn a_list_says_what_it_covers_and_when_it_was_made() {
        let issuer = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
        let made = |number: u64, year: i32, place: Option<&str>| {
            let part = place.map(|place| CrlIssuingDistributionPoint {
                distribution_point: CrlDistributionPoint { uris: vec![place.to_owned()] },
                scope: None,
            });
            let list = CertificateRevocationListParams {
                this_update: date_time_ymd(year, 1, 1),
                next_update: date_time_ymd(2100, 1, 1),
                crl_number: SerialNumber::from(number),
                issuing_distribution_point: part,
                revoked_certs: Vec::new(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            list.signed_by(&issuer).unwrap().der().clone()
        };
        let head = |list| RevocationList::read(list).unwrap().head;
        let read = head(made(300, 2021, None));
        assert_eq!(read.number.as_deref(), Some(&[1, 44][..]));
        assert_eq!(read.this_update.as_secs(), 1_609_459_200);
        assert!(read.scope.key.is_some() && read.scope.part.is_none());
        // From 2050 on times are written in another form.
        let later = head(made(301, 2060, None));
        assert!(later.this_update > read.this_update && later.scope == read.scope);
        let of_a_part = head(made(302, 2022, Some("http://a.example/part.crl")));
        assert!(of_a_part.scope.part.is_some() && of_a_part.scope.key == read.scope.key);
        let whole = made(300, 2021, None).to_vec();
        for cut in [0, 1, 20, whole.len() - 1] {
            assert!(RevocationList::read(whole[..cut].to_vec().into()).is_err(), "{cut}");
        }
    }
}

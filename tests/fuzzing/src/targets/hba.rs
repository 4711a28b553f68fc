//! pg_hba.conf and pg_ident.conf: an input is the text of both, and of the files that they name.

use crate::Target;
use server::LoginFiles;
use std::cell::Cell;
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many files an input may have read: it may name itself again and again.
const FILES_MAX: u32 = 100;

/// Both files of a login.
pub const HBA: Target = Target {
    name: "hba",
    inputs: || {
        [
            "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nhost all all ::1/128 md5",
            "hostssl \"all\",postgres +admins,@users.txt 10.0.0.0 255.0.0.0 cert clientcert=verify-full map=m",
            "hostnossl replication,sameuser,samerole \"Ann B\" samenet reject # no\nlocal all all peer map=\"m\"",
            "host all all .example.com password \\\n  clientcert=verify-ca clientname=DN\nhost all all all trust",
            "m /^(.*)@example\\.com$ \\1\nm \"/^svc-\" app\nother ann bob",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    },
    words: &[
        "local",
        "host",
        "hostssl",
        "hostnossl",
        "hostgssenc",
        "hostnogssenc",
        "all",
        "sameuser",
        "samerole",
        "samegroup",
        "replication",
        "samehost",
        "samenet",
        "trust",
        "reject",
        "md5",
        "scram-sha-256",
        "password",
        "peer",
        "ident",
        "cert",
        "ldap",
        "map=",
        "clientcert=verify-full",
        "clientname=CN",
        "@",
        "+",
        "/32",
        "/129",
        "255.255.0.0",
        "0.0.0.0/0",
        "::/0",
        "fe80::1%lo",
        ",",
        "\"",
        "\\\n",
        "\n",
        "#",
        "(.*)",
        "\\1",
        "[a",
        "{2,9}",
        "*",
        "|",
    ],
    memory_bytes: 4 << 20,
    memory_factor: 4096,
    open: || {
        Box::new(|input| {
            let Ok(text) = std::str::from_utf8(input) else { return };
            let left = Cell::new(FILES_MAX);
            let read = |_: &std::path::Path| {
                left.set(left.get().checked_sub(1).ok_or_else(|| Error::from(ErrorKind::NotFound))?);
                Ok(text.to_owned())
            };
            let lines = u32::try_from(text.split('\n').count()).unwrap_or(u32::MAX);
            match LoginFiles::parse(text, "", &read) {
                Ok(files) => {
                    for address in [
                        None,
                        Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                        Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
                        Some(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))),
                    ] {
                        let method = files.method(address, "ann", "postgres");
                        assert!(method != Some("cert"), "a certificate counts without TLS");
                    }
                }
                Err(errors) => {
                    assert!(!errors.is_empty(), "no rules and no error");
                    let inside = errors.iter().all(|error| error.line <= lines);
                    assert!(inside, "an error stands behind the file's end");
                }
            }
            let rule = "local all all trust";
            if let Ok(files) = LoginFiles::parse(rule, text, &read) {
                let _ = files.maps("m", "ann@example.com", "ann");
            }
        })
    },
};

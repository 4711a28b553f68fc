//! TLS, channels, certificates, and what is smuggled past them.

use super::scram::{Tampering, log_in, log_in_over};
use super::{Case, Target, other, same};
use protocol::scram::Channel;
use scenarios::raw::{GSS_REQUEST, Handshake, Raw, SSL_REQUEST, startup_packet};
use sha2::{Digest, Sha256};

/// The hash of the server's certificate, which ECDSA with SHA-256 has signed.
fn hash(raw: &Raw) -> Vec<u8> {
    Sha256::digest(raw.server_certificate().expect("a certificate")).to_vec()
}

fn bound(target: &Target, user: &str, change: fn(&mut Vec<u8>), tampering: Tampering) -> String {
    let mut raw = target.tls();
    let mut hash = hash(&raw);
    change(&mut hash);
    log_in_over(&mut raw, user, "right", Channel::Bound(&hash), tampering)
}

fn unbound(target: &Target, channel: Channel<'_>, tampering: Tampering) -> String {
    log_in_over(&mut target.tls(), "app", "right", channel, tampering)
}

/// Bytes behind a request for TLS, before the handshake.
fn smuggled(target: &Target, request: &[u8], handshake: bool) -> String {
    let mut raw = target.tcp();
    let startup = startup_packet(3 << 16, &[("user", "app"), ("database", "postgres")]);
    raw.write(&[request, &startup].concat());
    match raw.byte() {
        Some(b'S') if handshake => match raw.encrypt(Handshake::default()) {
            Ok(()) => raw.outcome(),
            Err(_) => "tls".to_owned(),
        },
        Some(b'N') => raw.outcome(),
        other => format!("{other:?}"),
    }
}

/// What a request gets as its answer, and what comes of a session after it.
fn then_session(mut raw: Raw, requests: &[&[u8]], user: &str) -> String {
    let mut answers = String::new();
    for request in requests {
        raw.write(request);
        match raw.byte() {
            Some(byte @ (b'N' | b'S')) => answers.push(char::from(byte)),
            Some(b'E') => return format!("{answers}E"),
            _ => return format!("{answers}closed"),
        }
    }
    raw.startup(&[("user", user), ("database", "postgres")]);
    format!("{answers}{}", raw.outcome())
}

fn inside(target: &Target, request: &[u8]) -> String {
    let mut raw = target.tls();
    raw.write(request);
    raw.outcome()
}

fn certificate(target: &Target, name: &str, user: &str) -> String {
    match target.with_certificate(name, user) {
        Ok(mut raw) => outcome_of_tls(&mut raw),
        Err(refused) => refused,
    }
}

/// Under TLS 1.3 a client hears that its certificate is refused when it reads.
fn outcome_of_tls(raw: &mut Raw) -> String {
    match raw.outcome() {
        closed if closed == "closed" => "tls".to_owned(),
        outcome => outcome,
    }
}

fn certificate_and_password(target: &Target, name: &str, user: &str, password: &str) -> String {
    let handshake = Handshake { certificate: Some((target.pki, name)), old: false };
    match Raw::tls(target.port, handshake) {
        Ok(mut raw) => log_in(&mut raw, user, password, Tampering::NONE),
        Err(_) => "tls".to_owned(),
    }
}

fn nothing(_: &mut Vec<u8>) {}

pub const CASES: &[Case] = &[
    same("a password bound to the channel", |target| bound(target, "app", nothing, Tampering::NONE)),
    same("a password bound to another channel", |target| {
        bound(target, "app", |hash| hash[0] ^= 1, Tampering::NONE)
    }),
    same("a password bound to the beginning of the hash", |target| {
        bound(target, "app", |hash| hash.truncate(16), Tampering::NONE)
    }),
    same("a client that was told that the server binds nothing", |target| {
        unbound(target, Channel::NotOffered, Tampering::NONE)
    }),
    same("a client that binds nothing", |target| unbound(target, Channel::Unbound, Tampering::NONE)),
    same("the bound mechanism without a channel", |target| {
        unbound(target, Channel::Unbound, Tampering::mechanism(|_| "SCRAM-SHA-256-PLUS".to_owned()))
    }),
    same("a kind of channel that there is not", |target| {
        bound(
            target,
            "app",
            nothing,
            Tampering::first(|first| first.replacen("p=tls-server-end-point", "p=tls-unique", 1)),
        )
    }),
    same("a bound beginning and an end without a channel", |target| {
        bound(
            target,
            "app",
            nothing,
            Tampering::last(|last| {
                let rest = last.split_once(',').expect("a nonce").1;
                format!("c=biws,{rest}")
            }),
        )
    }),
    same("a channel bound in the plain mechanism", |target| {
        bound(target, "app", nothing, Tampering::mechanism(|_| "SCRAM-SHA-256".to_owned()))
    }),
    same("the right password under TLS 1.2", |target| {
        let handshake = Handshake { certificate: None, old: true };
        log_in(&mut Raw::tls(target.port, handshake).expect("a handshake"), "app", "right", Tampering::NONE)
    }),
    same("a session smuggled in front of the handshake", |target| smuggled(target, &SSL_REQUEST, true)),
    other(
        "a session smuggled behind a request for GSSAPI",
        |target| smuggled(target, &GSS_REQUEST, false),
        "08P01",
        "PostgreSQL is built with GSSAPI",
    ),
    same("TLS asked for twice inside of TLS", |target| inside(target, &SSL_REQUEST)),
    same("GSSAPI asked for inside of TLS", |target| inside(target, &GSS_REQUEST)),
    same("a request for cancelling inside of TLS", |target| {
        inside(target, &[0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 0, 0, 0, 1])
    }),
    same("TLS asked for on a Unix socket", |target| then_session(target.unix(), &[&SSL_REQUEST], "app")),
    same("TLS asked for twice on a Unix socket", |target| {
        then_session(target.unix(), &[&SSL_REQUEST, &SSL_REQUEST], "app")
    }),
    same("GSSAPI and then TLS on a Unix socket", |target| {
        then_session(target.unix(), &[&GSS_REQUEST, &SSL_REQUEST], "app")
    }),
    other(
        "GSSAPI asked for twice",
        |target| then_session(target.tcp(), &[&GSS_REQUEST, &GSS_REQUEST], "listed"),
        "NE",
        "PostgreSQL is built with GSSAPI",
    ),
    same("no handshake behind a request for TLS", |target| {
        let mut raw = target.tcp();
        raw.write(&SSL_REQUEST);
        let agreed = raw.byte() == Some(b'S');
        raw.write(&startup_packet(3 << 16, &[("user", "app"), ("database", "postgres")]));
        // What TLS says of it is no message.
        let said = raw.outcome();
        format!("{agreed} {}", said == "ready")
    }),
    same("a handshake that nobody was asked for", |target| {
        let mut raw = target.tcp();
        raw.write(&[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]);
        raw.outcome()
    }),
    same("in the clear for a rule that wants TLS", |target| {
        log_in(&mut target.tcp(), "safe", "right", Tampering::NONE)
    }),
    same("under TLS for a rule that wants TLS", |target| {
        log_in(&mut target.tls(), "safe", "right", Tampering::NONE)
    }),
    same("under TLS for a rule that wants none", |target| {
        log_in(&mut target.tls(), "clear", "right", Tampering::NONE)
    }),
    same("a certificate of the user", |target| certificate(target, "app", "certified")),
    same("a certificate by a map", |target| certificate(target, "app", "mapped")),
    same("a certificate that no map knows", |target| certificate(target, "bob", "mapped")),
    same("a certificate by its distinguished name", |target| certificate(target, "app", "dn")),
    same("another distinguished name", |target| certificate(target, "bob", "dn")),
    same("no certificate", |target| {
        let mut raw = target.tls();
        raw.startup(&[("user", "certified"), ("database", "postgres")]);
        raw.outcome()
    }),
    same("a certificate of another root", |target| certificate(target, "rogue", "certified")),
    same("an expired certificate", |target| certificate(target, "app_past", "certified")),
    same("a certificate that the newer of two lists revokes", |target| {
        certificate(target, "app_revoked", "certified")
    }),
    same("a certificate that signed itself", |target| certificate(target, "own", "certified")),
    same("a server's certificate", |target| certificate(target, "server", "certified")),
    same("a certificate of a root beside the password", |target| {
        certificate_and_password(target, "bob", "ca", "right")
    }),
    same("a certificate of a root and a wrong password", |target| {
        certificate_and_password(target, "bob", "ca", "wrong")
    }),
    same("no certificate beside the password", |target| {
        log_in(&mut target.tls(), "ca", "right", Tampering::NONE)
    }),
    same("another user's certificate beside the password", |target| {
        certificate_and_password(target, "bob", "full_cert", "right")
    }),
];

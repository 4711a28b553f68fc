//! Passwords and SCRAM.

use super::scram::{Tampering, asked, challenge, initial, log_in, prove};
use super::{Case, Target, other, same};
use protocol::scram::{Channel, ClientExchange, nonce};
use scenarios::Node;
use scenarios::raw::{Raw, startup_packet};

fn tampered(target: &Target, tampering: Tampering) -> String {
    log_in(&mut target.tcp(), "app", "right", tampering)
}

fn as_user(target: &Target, user: &str, password: &str) -> String {
    log_in(&mut target.tcp(), user, password, Tampering::NONE)
}

/// Sends a password in the clear.
fn cleartext(target: &Target, user: &str, body: &[u8]) -> String {
    let mut raw = target.tcp();
    raw.startup(&[("user", user), ("database", "postgres")]);
    match asked(&mut raw) {
        Ok(3) => {}
        Ok(kind) => return format!("asked {kind}"),
        Err(outcome) => return outcome,
    }
    raw.send(b'p', body);
    raw.outcome()
}

/// Asks for a session, and answers the request for a proof in some way.
fn instead(target: &Target, kind: u8, body: &[u8]) -> String {
    let mut raw = target.tcp();
    raw.startup(&[("user", "app"), ("database", "postgres")]);
    if asked(&mut raw) != Ok(10) {
        return "not asked".to_owned();
    }
    raw.send(kind, body);
    raw.outcome()
}

fn without_proof(last: &str) -> String {
    last.split(",p=").next().unwrap_or_default().to_owned()
}

/// A last message that was good in an exchange before.
fn replayed(target: &Target) -> String {
    let mut earlier = target.tcp();
    earlier.startup(&[("user", "app"), ("database", "postgres")]);
    let recorded = |raw: &mut scenarios::raw::Raw| {
        asked(raw)?;
        let (exchange, first) = ClientExchange::start("right", nonce([7; 18]), Channel::Unbound);
        initial(raw, "SCRAM-SHA-256", Some(&first));
        let challenge = challenge(raw)?;
        exchange.prove(&challenge).map(|(_, last)| (first, last)).map_err(|error| error.to_string())
    };
    let Ok((first, last)) = recorded(&mut earlier) else { return "no exchange".to_owned() };
    earlier.send(b'p', last.as_bytes());
    assert_eq!(earlier.outcome(), "ready");
    let mut later = target.tcp();
    later.startup(&[("user", "app"), ("database", "postgres")]);
    if asked(&mut later) != Ok(10) {
        return "not asked".to_owned();
    }
    initial(&mut later, "SCRAM-SHA-256", Some(&first));
    if let Err(outcome) = challenge(&mut later) {
        return outcome;
    }
    later.send(b'p', last.as_bytes());
    later.outcome()
}

/// A client that lets the server begin.
fn late_beginning(target: &Target) -> String {
    let mut raw = target.tcp();
    raw.startup(&[("user", "app"), ("database", "postgres")]);
    if asked(&mut raw) != Ok(10) {
        return "not asked".to_owned();
    }
    initial(&mut raw, "SCRAM-SHA-256", None);
    match challenge(&mut raw) {
        Ok(empty) if empty.is_empty() => {}
        other => return format!("{other:?}"),
    }
    let (exchange, first) = ClientExchange::start("right", nonce([7; 18]), Channel::Unbound);
    raw.send(b'p', first.as_bytes());
    let Ok(challenge) = challenge(&mut raw) else { return "no challenge".to_owned() };
    let Ok((_, last)) = exchange.prove(&challenge) else { return "no proof".to_owned() };
    raw.send(b'p', last.as_bytes());
    raw.outcome()
}

/// Startup packets that are none.
fn packet(target: &Target, bytes: &[u8]) -> String {
    let mut raw = target.tcp();
    raw.write(bytes);
    raw.outcome()
}

pub const CASES: &[Case] = &[
    same("the right password", |target| as_user(target, "app", "right")),
    same("a wrong password", |target| as_user(target, "app", "wrong")),
    same("an empty password", |target| as_user(target, "app", "")),
    same("a role that does not exist", |target| as_user(target, "unknown", "right")),
    same("a role without a password", |target| as_user(target, "bare", "right")),
    same("an expired password", |target| as_user(target, "late", "right")),
    same("a role that may not log in", |target| as_user(target, "nologin", "right")),
    same("a role with no place left", |target| {
        let mut raw = target.unix();
        raw.startup(&[("user", "few"), ("database", "postgres")]);
        raw.outcome()
    }),
    same("a proof of zeros", |target| {
        tampered(target, Tampering::last(|last| format!("{},p={}=", without_proof(last), "A".repeat(43))))
    }),
    same("a proof that is too short", |target| {
        tampered(target, Tampering::last(|last| format!("{},p=AAAA", without_proof(last))))
    }),
    same("a proof that is no base64", |target| {
        tampered(target, Tampering::last(|last| format!("{},p=%%%%", without_proof(last))))
    }),
    same("no proof", |target| tampered(target, Tampering::last(without_proof))),
    same("a changed nonce", |target| {
        tampered(target, Tampering::last(|last| last.replacen("r=BwcH", "r=XwcH", 1)))
    }),
    same("the client's part of the nonce alone", |target| {
        tampered(
            target,
            Tampering::last(|last| {
                let (head, proof) = last.split_once(",p=").expect("a proof");
                let own = nonce([7; 18]);
                format!("{},r={own},p={proof}", head.split(',').next().expect("a binding"))
            }),
        )
    }),
    same("a nonce used again", replayed),
    same("a nonce with what is no letter", |target| {
        tampered(target, Tampering::first(|first| format!("{first}\u{7f}")))
    }),
    same("an authorization identity", |target| {
        tampered(target, Tampering::first(|first| first.replacen("n,,", "n,a=postgres,", 1)))
    }),
    same("a mandatory extension", |target| {
        tampered(target, Tampering::first(|first| first.replacen("n,,", "n,,m=x,", 1)))
    }),
    same("an unknown flag of channel binding", |target| {
        tampered(target, Tampering::first(|first| first.replacen("n,,", "z,,", 1)))
    }),
    same("channel binding in the plain mechanism", |target| {
        tampered(target, Tampering::first(|first| first.replacen("n,,", "p=tls-server-end-point,,", 1)))
    }),
    same("a first message without its name", |target| {
        tampered(target, Tampering::first(|first| first.replacen("n=,", "", 1)))
    }),
    same("another channel in the last message than in the first", |target| {
        tampered(target, Tampering::last(|last| last.replacen("c=biws", "c=eSws", 1)))
    }),
    same("a mechanism that there is not", |target| {
        tampered(target, Tampering::mechanism(|_| "PLAIN".to_owned()))
    }),
    same("the bound mechanism in the clear", |target| {
        tampered(target, Tampering::mechanism(|_| "SCRAM-SHA-256-PLUS".to_owned()))
    }),
    same("a client that lets the server begin", late_beginning),
    same("a statement instead of a proof", |target| instead(target, b'Q', b"SELECT 1\0")),
    same("a password instead of a mechanism", |target| instead(target, b'p', b"right\0")),
    same("nothing at all instead of a mechanism", |target| instead(target, b'p', b"")),
    same("a length beyond the message", |target| {
        instead(target, b'p', b"SCRAM-SHA-256\0\0\0\xff\xffn,,n=,r=x")
    }),
    other(
        "a proof of 20 kB",
        |target| instead(target, b'p', &[b'x'; 20_000]),
        "08P01",
        "PostgreSQL takes it for a wrong password",
    ),
    same("a second beginning", |target| {
        tampered(target, Tampering::last(|_| format!("n,,n=,r={}", nonce([7; 18]))))
    }),
    same("the right password in the clear", |target| cleartext(target, "plain", b"right\0")),
    same("a wrong password in the clear", |target| cleartext(target, "plain", b"wrong\0")),
    same("an empty password in the clear", |target| cleartext(target, "plain", b"\0")),
    same("a password in the clear with a zero inside", |target| cleartext(target, "plain", b"ri\0ght\0")),
    same("a role named all", |target| cleartext(target, "all", b"right\0")),
    same("md5 asks for a proof by SCRAM", |target| as_user(target, "digest", "right")),
    same("a wrong password under md5", |target| as_user(target, "digest", "wrong")),
    same("a startup packet of 20 kB", |target| packet(target, &[0, 0, 0x4e, 0x20, 0, 3, 0, 0])),
    same("a startup packet of 3 bytes", |target| packet(target, &[0, 0, 0, 3])),
    same("a startup packet without its end", |target| packet(target, b"\0\0\0\x10\0\x03\0\0user\0app")),
    other(
        "protocol 2",
        |target| packet(target, &startup_packet(2 << 16, &[])),
        "0A000",
        "PostgreSQL answers in the form of protocol 2, which has no length",
    ),
    same("protocol 4", |target| packet(target, &startup_packet(4 << 16, &[("user", "app")]))),
    same("a later protocol of version 3", |target| {
        let mut raw = target.tcp();
        raw.write(&startup_packet((3 << 16) + 9, &[("user", "app"), ("database", "postgres")]));
        prove(&mut raw, "right", Channel::Unbound, Tampering::NONE)
    }),
    same("no user", |target| packet(target, &startup_packet(3 << 16, &[("database", "postgres")]))),
    same("a database that does not exist", |target| {
        let mut raw = target.unix();
        raw.startup(&[("user", "app"), ("database", "nowhere")]);
        raw.outcome()
    }),
];

/// A role's salt stays what it is in the next life and is the same on a standby. Whoever looks twice at one
/// that does not would know who is there.
#[test]
fn a_role_that_is_not_there_keeps_its_salt() {
    let one = Node::builder().start();
    let two = Node::builder().clone_from(&one);
    let rules = "local all,replication all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    let salts = || {
        [&one, &two].map(|node| {
            node.stop();
            std::fs::write(node.data().join("pg_hba.conf"), rules).expect("a file");
            node.start();
            ["nobody", "nobody else"].map(|user| {
                let mut raw = Raw::tcp(node.port());
                raw.startup(&[("user", user), ("database", "postgres")]);
                assert_eq!(asked(&mut raw), Ok(10));
                initial(&mut raw, "SCRAM-SHA-256", Some("n,,n=,r=abc"));
                let challenge = String::from_utf8(challenge(&mut raw).expect("a challenge")).expect("text");
                challenge.split(',').find(|part| part.starts_with("s=")).expect("a salt").to_owned()
            })
        })
    };
    let before = salts();
    assert_eq!(before[0], before[1], "on both nodes");
    assert_ne!(before[0][0], before[0][1], "each its own");
    assert_eq!(salts(), before, "in the next life");
}

use super::*;

const PLAIN: Chosen<'_> = Chosen::Plain { bound_offered: false };

#[test]
fn the_exchange_of_rfc_7677_comes_out_to_the_byte() {
    // RFC 7677, section 3: user "user", password "pencil". The RFC's client names its user; libpq's does
    // not.
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let verifier = Verifier::derive("pencil", &salt, 4096);
    let (server, server_first) = ServerExchange::start(
        verifier,
        false,
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        PLAIN,
    )
    .unwrap();
    assert_eq!(
        server_first,
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let server_final = server
        .finish(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )
        .unwrap();
    assert_eq!(server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}

fn run(password: &str, verifier: Verifier, doomed: bool) -> Result<(), ScramError> {
    over(password, verifier, doomed, Channel::Unbound, PLAIN)
}

fn over(
    password: &str,
    verifier: Verifier,
    doomed: bool,
    channel: Channel<'_>,
    chosen: Chosen<'_>,
) -> Result<(), ScramError> {
    let (client, first) = ClientExchange::start(password, nonce([7; 18]), channel);
    let (server, answer) =
        ServerExchange::start(verifier, doomed, first.as_bytes(), &nonce([9; 18]), chosen)?;
    let (proof, last) = client.prove(answer.as_bytes())?;
    proof.verify(server.finish(last.as_bytes())?.as_bytes())
}

#[test]
fn only_the_right_password_passes() {
    let verifier = Verifier::derive("gruß\u{a0}x", b"0123456789abcdef", 64);
    let kept = Verifier::parse(&verifier.to_string()).unwrap();
    assert_eq!(kept, verifier);
    // SASLprep leaves nothing of a soft hyphen, which then counts as it is.
    let hyphen = Verifier::derive("\u{ad}", b"salt", 1);
    assert!(hyphen.matches("\u{ad}") && !hyphen.matches("") && !hyphen.matches("\u{ad}\u{ad}"));
    let long = Verifier::derive("x", b"salt", 2 * ITERATIONS);
    assert!(long.matches("x") && !long.matches_while("x", &|| false));
    // SASLprep maps a no-break space to a space.
    assert_eq!(run("gruß x", kept.clone(), false), Ok(()));
    assert_eq!(run("gruss x", kept.clone(), false), Err(ScramError::WrongPassword));
    assert_eq!(run("gruß x", kept.clone(), true), Err(ScramError::WrongPassword));
    assert!(kept.matches("gruß x") && !kept.matches("gruß  x"));
    assert_eq!(run("", Verifier::mock(b"secret", "nobody"), false), Err(ScramError::WrongPassword));
}

#[test]
fn passwords_are_prepared_as_postgresql_does_it() {
    for (password, is) in [
        ("plain\u{7f}", "plain\u{7f}"),
        ("I\u{ad}X", "IX"),
        ("\u{aa}", "a"),
        ("\u{2168}", "IX"),
        ("\u{1680}\u{3000}", "  "),
        // Prohibited, or not assigned in Unicode 3.2, whatever its normal form is.
        ("\u{2168}\u{7}", "\u{2168}\u{7}"),
        ("\u{32ff}", "\u{32ff}"),
        ("\u{2090}x", "\u{2090}x"),
        ("\u{1f130}z", "\u{1f130}z"),
        ("\u{340}", "\u{340}"),
        // From right to left and not alone, or not at both ends.
        ("\u{627}\u{aa}\u{628}", "\u{627}\u{aa}\u{628}"),
        ("\u{627}1", "\u{627}1"),
        ("\u{627}\u{2460}\u{628}", "\u{627}1\u{628}"),
    ] {
        assert_eq!(prepared(password), is, "{password:?}");
    }
}

#[test]
fn a_channel_is_bound_by_both_or_by_none() {
    use Channel::{Bound, NotOffered, Unbound};
    let offered = Chosen::Plain { bound_offered: true };
    for (channel, chosen, outcome) in [
        (Bound(b"one"), Chosen::Bound(b"one"), Ok(())),
        (Bound(b"one"), Chosen::Bound(b"two"), Err(ScramError::OtherChannel)),
        (Bound(b"one"), offered, Err(ScramError::Malformed("channel binding flag"))),
        (Unbound, Chosen::Bound(b"one"), Err(ScramError::Malformed("channel binding flag"))),
        (NotOffered, Chosen::Bound(b"one"), Err(ScramError::Malformed("channel binding flag"))),
        (NotOffered, offered, Err(ScramError::Downgraded)),
        (NotOffered, PLAIN, Ok(())),
        (Unbound, offered, Ok(())),
    ] {
        let verifier = Verifier::derive("x", b"0123456789abcdef", 64);
        assert_eq!(over("x", verifier, false, channel, chosen), outcome, "{channel:?} {chosen:?}");
    }
}

#[test]
fn a_last_message_of_another_exchange_or_channel_is_refused() {
    let start = || {
        let verifier = Verifier::derive("x", b"0123456789abcdef", 64);
        ServerExchange::start(verifier, false, b"n,,n=,r=abc", "def", PLAIN).unwrap().0
    };
    let proof = BASE64.encode([0; 32]);
    for (message, error) in [
        (format!("c=biws,r=abcdef,p={proof}"), ScramError::WrongPassword),
        (format!("c=biws,r=abcde,p={proof}"), ScramError::WrongNonce),
        (format!("c=eSws,r=abcdef,p={proof}"), ScramError::OtherBinding),
        ("c=biws,r=abcdef".to_owned(), ScramError::Malformed("proof")),
        ("c=biws,r=abcdef,p=AAAA".to_owned(), ScramError::Malformed("proof")),
        (format!("r=abcdef,c=biws,p={proof}"), ScramError::Malformed("attribute")),
    ] {
        assert_eq!(start().finish(message.as_bytes()), Err(error), "{message}");
    }
    for (first, error) in [
        ("n,a=ann,n=,r=x", "client uses authorization identity, but it is not supported"),
        ("n,,m=x,n=,r=x", "client requires an unsupported SCRAM extension"),
        ("x,,n=,r=x", "malformed SCRAM message"),
        ("n,,n=,r=", "malformed SCRAM message"),
    ] {
        let verifier = Verifier::mock(b"s", "u");
        let refused = ServerExchange::start(verifier, true, first.as_bytes(), "d", PLAIN).unwrap_err();
        assert_eq!(refused.report().message, error, "{first}");
    }
}

/// The answers are those of PostgreSQL 15.
#[test]
fn attributes_behind_the_nonce_are_passed_over_if_they_are_some() {
    let takes = |bare: &str| {
        let (verifier, plain) = (Verifier::derive("p", b"salt", 1), Chosen::Plain { bound_offered: false });
        ServerExchange::start(verifier, false, format!("n,,{bare}").as_bytes(), "more", plain).is_ok()
    };
    for taken in ["n=,r=abc", "n=,r=abc,", "n=,r=abc,x=ext", "n=,r=abc,x=,Y=e=f"] {
        assert!(takes(taken), "{taken}");
    }
    for refused in ["n=,r=abc,ext", "n=,r=abc,x", "n=,r=abc,,x=1", "n=,r=abc,1=x", "n=,r=abc,xy=z"] {
        assert!(!takes(refused), "{refused}");
    }
}

#[test]
fn a_client_makes_a_million_iterations_at_most_and_many_where_nobody_waits() {
    let own = nonce([7; 18]);
    let demand = |iterations: u32| format!("r={own}9,s=AAAA,i={iterations}").into_bytes();
    for (iterations, long) in [(1, false), (4096, false), (16_385, true), (1_000_000, true)] {
        assert_eq!(takes_long(&demand(iterations)), long, "{iterations}");
    }
    for (iterations, error) in [
        (0, ScramError::Malformed("iteration count")),
        (1_000_001, ScramError::Iterations(1_000_001)),
        (u32::MAX, ScramError::Iterations(u32::MAX)),
    ] {
        let (client, _) = ClientExchange::start("x", own.clone(), Channel::Unbound);
        assert_eq!(client.prove(&demand(iterations)).err(), Some(error));
    }
}

#[test]
fn a_verifier_made_by_postgresql_is_read() {
    // psql -c "set password_encryption='scram-sha-256'; create role r password 'pencil'; select
    // rolpassword ..."
    for (text, good) in [
        (
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            true,
        ),
        (
            "SCRAM-SHA-256$0:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
            false,
        ),
        ("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d:wfPL", false),
        ("md5c0ffee", false),
    ] {
        assert_eq!(Verifier::parse(text).is_some_and(|verifier| verifier.matches("pencil")), good, "{text}");
    }
}

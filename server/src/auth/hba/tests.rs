use super::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

fn candidate<'a>(address: Option<&str>, user: &'a str, database: &'a str) -> Candidate<'a> {
    Candidate {
        address: address.map(|address| address.parse().unwrap()),
        interfaces: || {
            let mask = Ipv4Addr::new(255, 0, 0, 0);
            vec![(IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V4(mask))]
        },
        user,
        database,
        replication: false,
        encrypted: false,
        roles: None,
        name: None,
    }
}

fn nothing(_: &Path) -> io::Result<String> {
    Err(io::ErrorKind::NotFound.into())
}

fn parsed(text: &str) -> Result<Hba, Vec<HbaError>> {
    Hba::parse(text, Path::new("/data/hba"), &nothing)
}

fn method(hba: &Hba, candidate: Candidate<'_>) -> Option<(Method, u32)> {
    match hba.verdict(&candidate) {
        Verdict::Rule(rule) => Some((rule.method, rule.line)),
        _ => None,
    }
}

#[test]
fn the_first_fitting_line_counts() {
    let hba = parsed(
        "# comment\n\
         local all all trust\n\
         host  all,replication \"all\" 10.0.0.0/8 trust # a role named all\n\
         host  app  ann,bob 10.1.0.0 255.255.0.0 scram-sha-256\n\
         hostssl all all 0.0.0.0/0 trust\n\
         host sameuser all ::1/128 trust\n\
         host replication rep samehost \\\n  reject\n\
         host all all 192.168.0.0/16 md5\n\
         host all all samenet reject\n",
    )
    .unwrap();
    let method = |candidate| method(&hba, candidate);
    assert_eq!(method(candidate(None, "x", "y")), Some((Method::Trust, 2)));
    assert_eq!(method(candidate(Some("10.1.2.3"), "all", "y")), Some((Method::Trust, 3)));
    assert_eq!(method(candidate(Some("10.1.2.3"), "bob", "app")), Some((Method::ScramSha256, 4)));
    assert_eq!(method(candidate(Some("10.2.2.3"), "bob", "app")), None);
    assert_eq!(method(candidate(Some("::1"), "bob", "bob")), Some((Method::Trust, 6)));
    assert_eq!(method(candidate(Some("::1"), "bob", "app")), None);
    assert_eq!(method(candidate(Some("::ffff:192.168.7.1"), "b", "a")), Some((Method::Md5, 9)));
    assert_eq!(method(candidate(Some("127.9.9.9"), "b", "a")), Some((Method::Reject, 10)));
    let encrypted = Candidate { encrypted: true, ..candidate(Some("10.2.2.3"), "bob", "app") };
    assert_eq!(method(encrypted), Some((Method::Trust, 5)));
    let replication = Candidate { replication: true, ..candidate(Some("127.0.0.1"), "rep", "") };
    assert_eq!(method(replication), Some((Method::Reject, 7)));
    let replication = Candidate { replication: true, ..candidate(None, "rep", "") };
    assert_eq!(method(replication), None, "all does not stand for replication");
}

#[test]
fn transports_ask_for_encryption_or_for_none() {
    let hba = parsed(
        "hostgssenc all all all trust\n\
         hostnossl all all 10.0.0.1/32 reject\n\
         hostssl all all 10.0.0.1/32 cert map=m clientname=DN\n\
         hostnogssenc all all all scram-sha-256\n",
    )
    .unwrap();
    for (address, encrypted, expected) in [
        ("10.0.0.1", false, (Method::Reject, 2)),
        ("10.0.0.1", true, (Method::Cert, 3)),
        ("10.0.0.2", true, (Method::ScramSha256, 4)),
        ("10.0.0.2", false, (Method::ScramSha256, 4)),
    ] {
        let candidate = Candidate { encrypted, ..candidate(Some(address), "u", "d") };
        assert_eq!(method(&hba, candidate), Some(expected), "{address} {encrypted}");
    }
    let warnings: Vec<_> = hba.warnings(false).collect();
    assert!(
        warnings.len() == 2 && warnings[0].contains("GSSAPI") && warnings[1].contains("line 3"),
        "{warnings:?}"
    );
    for (tls, lines) in [(false, &[1, 3][..]), (true, &[1])] {
        let never: Vec<_> =
            hba.rules.iter().filter(|rule| rule.never_fits(tls).is_some()).map(|rule| rule.line).collect();
        assert_eq!(never, lines, "{tls}");
    }
}

#[test]
fn what_a_line_asks_of_roles_and_names_is_found_out_only_when_it_is_reached() {
    let hba = parsed(
        "host all ann all trust\n\
         host all +staff,\"+odd\" all reject\n\
         host samerole all all md5\n\
         host all all .example.com trust\n",
    )
    .unwrap();
    let of = |user, database| candidate(Some("10.0.0.1"), user, database);
    assert!(matches!(hba.verdict(&of("ann", "d")), Verdict::Rule(_)));
    assert!(matches!(hba.verdict(&of("bob", "d")), Verdict::NeedsRoles));
    let staff = ["bob".to_owned(), "staff".to_owned()];
    let bob = Candidate { roles: Some(&staff), ..of("bob", "d") };
    assert_eq!(method(&hba, bob), Some((Method::Reject, 2)));
    let own = ["eve".to_owned(), "club".to_owned()];
    let eve = Candidate { roles: Some(&own), ..of("eve", "club") };
    assert_eq!(method(&hba, eve), Some((Method::Md5, 3)));
    let eve = Candidate { database: "d", ..eve };
    assert!(matches!(hba.verdict(&eve), Verdict::NeedsName));
    let odd = Candidate { roles: Some(&own), ..of("+odd", "d") };
    assert_eq!(method(&hba, odd), Some((Method::Reject, 2)), "in quotes a plus is a letter");
}

#[test]
fn names_come_from_files_and_quotes_keep_their_letters() {
    let files = BTreeMap::from([
        (Path::new("/data/admins").to_owned(), "ann, \"bob\"\n# none\n@more/others\n"),
        (Path::new("/data/more/others").to_owned(), "\"a \"\"b\"\"\"\ncarl"),
        (Path::new("/data/round").to_owned(), "@round"),
    ]);
    let read =
        |path: &Path| files.get(path).map(|text| (*text).to_owned()).ok_or(io::ErrorKind::NotFound.into());
    let parse = |text: &str| Hba::parse(text, Path::new("/data/hba"), &read);
    let hba = parse("local all @admins trust\nlocal \"my, db\" x\"y z\" trust\n").unwrap();
    for user in ["ann", "bob", "a \"b\"", "carl"] {
        assert_eq!(method(&hba, candidate(None, user, "d")), Some((Method::Trust, 1)), "{user}");
    }
    assert_eq!(method(&hba, candidate(None, "dora", "d")), None);
    assert_eq!(method(&hba, candidate(None, "xy z", "my, db")), Some((Method::Trust, 2)));
    for (text, words) in
        [("local all @none trust", "\"@none\" as \"/data/none\""), ("local all @round trust", "too deep")]
    {
        let errors = parse(text).unwrap_err();
        assert!(errors[0].message.contains(words), "{}", errors[0]);
    }
}

#[test]
fn files_that_name_others_many_times_are_read_to_an_end() {
    let count = std::cell::Cell::new(0);
    let next = |path: &Path| {
        count.set(count.get() + 1);
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // At the ninth file words stand, so that none is too deep.
        Ok(if name.len() < 9 { format!("@{name}x\n").repeat(8) } else { "ann".to_owned() })
    };
    let errors = Hba::parse("local all @x trust", Path::new("/data/hba"), &next).unwrap_err();
    assert!(errors[0].message.contains("more than 1000 files are named"), "{}", errors[0]);
    assert_eq!(count.replace(0), 1000);
    let round = |_: &Path| {
        count.set(count.get() + 1);
        Ok("@x\n".repeat(8))
    };
    let errors = Hba::parse("local all @x trust", Path::new("/data/hba"), &round).unwrap_err();
    assert!(errors[0].message.contains("too deep"), "{}", errors[0]);
    assert!(count.get() <= 1000);
}

#[test]
fn two_backslashes_continue_in_one_line_alone() {
    let hba = parsed(
        "# See C:\\docs\\\\\n\nhost all all 127.0.0.1/32 reject\nhost all all 0.0.0.0/0 \\\ntrust\nlocal all all trust\n",
    )
    .unwrap();
    assert_eq!(method(&hba, candidate(Some("127.0.0.1"), "x", "y")), Some((Method::Reject, 3)));
    assert_eq!(method(&hba, candidate(None, "x", "y")), Some((Method::Trust, 6)));
}

/// The answers are those of pg_hba_file_rules of PostgreSQL 15.
#[test]
fn words_end_at_blanks_tabs_and_carriage_returns_alone() {
    for (users, expected) in [
        ("a\u{a0}b", &["a\u{a0}b"][..]),
        ("a\u{3000}b", &["a\u{3000}b"]),
        ("a\u{b}b", &["a\u{b}b"]),
        ("a\u{c}b", &["a\u{c}b"]),
        ("\"a\"\"b\"", &["a\"b"]),
        ("a\"\"b", &["ab"]),
        ("\"\"\"\"", &["\""]),
        ("a\"b c\"d", &["ab cd"]),
        ("a, b,\"c,d\"", &["a", "b", "c,d"]),
        (",a", &["a"]),
        ("@names", &["a\u{a0}b", "c\u{b}d", "e f", "open x"]),
    ] {
        let read = |_: &Path| Ok("a\u{a0}b\nc\u{b}d \"e f\"\n#x\n\"open x\n".to_owned());
        let line = format!("local\rall\t{users} reject\n");
        let hba = Hba::parse(&line, Path::new("/data/hba"), &read).unwrap();
        for user in expected {
            assert_eq!(method(&hba, candidate(None, user, "d")), Some((Method::Reject, 1)), "{line}: {user}");
        }
        for user in ["", "d", "reject"] {
            assert_eq!(method(&hba, candidate(None, user, "d")), None, "{line}");
        }
    }
}

#[test]
fn bad_lines_are_named() {
    for (line, part) in [
        ("locale all all trust", "invalid connection type \"locale\""),
        ("local,host all all trust", "multiple values specified for connection type"),
        ("local", "end-of-line before database specification"),
        ("local all", "end-of-line before role specification"),
        ("local all all", "end-of-line before authentication method"),
        ("host all all", "end-of-line before IP address specification"),
        ("host all all 10.0.0.1", "end-of-line before netmask specification"),
        ("host all all 10.0.0.1,10.0.0.2 255.0.0.0 trust", "multiple values specified for host address"),
        ("host all all 10.0.0.1 255.0.0.0,1 trust", "multiple values specified for netmask"),
        ("host all all db.example.com/8 trust", "specifying both host name and CIDR mask is invalid"),
        ("host all all 10.0.0.0/33 trust", "invalid CIDR mask in address \"10.0.0.0/33\""),
        ("host all all 10.0.0.0 255.0.256.0 trust", "invalid IP mask \"255.0.256.0\""),
        ("host all all 10.0.0.0 ::1 trust", "IP address and mask do not match"),
        ("host all all 10.0.0.1/8 peer", "only supported on local sockets"),
        ("host all all 10.0.0.1/8 cert", "only supported on hostssl connections"),
        ("host all all 10.0.0.1/8 ident", "not supported by this build"),
        ("local all all ldap", "not supported by this build"),
        ("local all all magic", "invalid authentication method \"magic\""),
        ("local all all trust,md5", "multiple values specified for authentication type"),
        ("local all \"x trust", "end-of-line before authentication method"),
        ("local\u{b}all all trust", "invalid connection type \"local\u{b}all\""),
        ("local all all trust\u{b}", "invalid authentication method \"trust\u{b}\""),
        ("local all all trust map=x", "only valid for authentication methods"),
        ("local all all peer map", "not in name=value format: map"),
        ("local all all peer krb_realm=x", "unrecognized authentication option name: \"krb_realm\""),
        ("host all all all md5 clientcert=verify-ca", "only be configured for \"hostssl\" rows"),
        ("hostssl all all all md5 clientcert=1", "invalid value for clientcert: \"1\""),
        ("hostssl all all all cert clientcert=verify-ca", "only accepts \"verify-full\""),
        ("hostssl all all all md5 clientname=X", "invalid value for clientname: \"X\""),
        ("", "no entries"),
    ] {
        let errors = parsed(&format!("\n{line}\n")).unwrap_err();
        assert!(errors[0].message.contains(part), "{line}: {}", errors[0]);
        assert!(line.is_empty() || errors[0].line == 2, "{line}: {}", errors[0]);
    }
}

#[test]
fn all_errors_are_given_with_their_lines() {
    let errors = parsed("local all all trust\nlocal\n# x\nlocal all all \\\n magic\n").unwrap_err();
    assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [2, 4]);
}

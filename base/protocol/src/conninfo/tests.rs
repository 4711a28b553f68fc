use super::*;

fn parsed(text: &str) -> ConnInfo {
    ConnInfo::parse_with(text, |name| (name == "USER").then(|| "me".to_owned())).unwrap()
}

fn tcp(host: &str, port: u16) -> (Endpoint, u16) {
    (Endpoint::Tcp(host.into()), port)
}

#[test]
fn keywords_and_uris_mean_the_same() {
    let keywords = parsed("host=h,::1 port='5433,5434' user = ann password='a\\'b c' dbname=d");
    let uri = parsed("postgresql://ann:a%27b%20c@h:5433,[::1]:5434/d");
    assert_eq!(keywords, uri);
    assert_eq!(uri.endpoints, [tcp("h", 5433), tcp("::1", 5434)]);
    assert_eq!(uri.password.as_deref(), Some("a'b c"));
    let jdbc = split("postgresql://h/?ssl=true").unwrap();
    assert_eq!(jdbc, [("host".to_owned(), "h".to_owned()), ("sslmode".to_owned(), "require".to_owned())]);
    assert!(split("postgresql://h/?ssl=1").is_err());
    assert_eq!(parsed("postgresql://a:p@w@h/").endpoints, [tcp("w@h", 5432)]);
    let socket = parsed("postgres://%2Ftmp%2Fx/?application_name=w1&connect_timeout=10");
    assert_eq!(socket.endpoints, [(Endpoint::Unix("/tmp/x".into()), 5432)]);
    assert_eq!((socket.database(), socket.application_name.as_deref()), ("me", Some("w1")));
    assert_eq!(socket.connect_timeout, Some(Duration::from_secs(10)));
}

#[test]
fn what_is_not_given_comes_from_the_environment() {
    let variables = [("PGHOST", "/run/x"), ("PGPORT", "6000"), ("PGUSER", "bob"), ("PGDATABASE", "d")];
    let lookup = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let info = ConnInfo::parse_with("user=eve", lookup).unwrap();
    assert_eq!(info.endpoints, [(Endpoint::Unix("/run/x".into()), 6000)]);
    assert_eq!((info.user.as_str(), info.database()), ("eve", "d"));
    assert_eq!(parsed("").endpoints.len(), DEFAULT_SOCKET_DIRS.len());
    let empty = ConnInfo::parse_with("host='' user='' dbname=''", lookup).unwrap();
    assert_eq!(empty.endpoints.len(), DEFAULT_SOCKET_DIRS.len());
    let own = ConnInfo::parse_with("", |_| None).unwrap().user;
    assert_eq!((empty.user.as_str(), empty.database()), (own.as_str(), own.as_str()));
}

#[test]
fn a_session_is_named_by_the_string_then_the_environment_then_the_fallback() {
    let named = |text: &str, variable: Option<&str>| {
        let variable = |name: &str| variable.filter(|_| name == "PGAPPNAME").map(str::to_owned);
        application_name_in(&split(text).unwrap(), variable)
    };
    let text = "application_name=a fallback_application_name=b";
    assert_eq!(named(text, Some("c")).as_deref(), Some("a"));
    assert_eq!(named("application_name='' fallback_application_name=b", Some("c")).as_deref(), Some("b"));
    assert_eq!(named("application_name='' fallback_application_name=b", None).as_deref(), Some("b"));
    assert_eq!(named("host=x application_name=''", Some("")), None);
}

#[test]
fn blanks_are_those_of_ascii() {
    assert_eq!(
        parsed("host=h\u{b}password=a\u{a0}b\u{3000}c").password.as_deref(),
        Some("a\u{a0}b\u{3000}c")
    );
    assert_eq!(parsed("host=h port=' 5433\u{b}'").endpoints, [tcp("h", 5433)]);
    assert_eq!(parsed("postgresql://h:%35433/").endpoints, [tcp("h", 5433)]);
    assert_eq!(parsed("hostaddr=0x7f.1").endpoints, [tcp("0x7f.1", 5432)]);
}

#[test]
fn the_password_file_has_hosts_and_ports_as_they_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pgpass");
    let lines = "127.0.0.1:*:*:*:address\nx:*:*:*:name\nlocalhost:5432:*:*:local\n/tmp:*:*:*:folder\nh:05432:*:*:port\n";
    std::fs::write(&file, lines).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    for (text, expected) in [
        ("host=127.0.0.1", "address"),
        ("host=127.0.0.1 hostaddr=127.0.0.1", "address"),
        ("hostaddr=127.0.0.1", "local"),
        ("host=x hostaddr=127.0.0.1", "name"),
        ("host=/tmp", "folder"),
        ("", "local"),
        ("host=h port=05432", "port"),
    ] {
        let info = parsed(&format!("{text} passfile={}", file.display()));
        let (endpoint, port) = info.endpoints[0].clone();
        assert_eq!(info.password_for(&endpoint, port).as_deref(), Ok(expected), "{text}");
    }
}

#[test]
fn nonsense_is_refused() {
    for text in [
        "host",
        "host='x",
        "hots=x",
        "port=0",
        "port=70000",
        "port=1,2 host=a,b,c",
        "host=a,b hostaddr=1.1.1.1",
        "sslmode=required",
        "target_session_attrs=some",
        "connect_timeout=x",
        "keepalives=x",
        "keepalives_idle=1s",
        "tcp_user_timeout=-",
        "postgresql://h/?x",
        "postgresql://[::1/",
        "postgresql://h%0",
        "postgresql://h/?application_name=a=b",
        "postgresql://h/?application_name=a&&",
        "postgresql://[]:1/",
        "hostaddr=localhost",
        "connect_timeout=",
        "connect_timeout=99999999999",
        "keepalives_idle=",
        "keepalives_idle=-1",
        "hostaddr=0x",
        "port=5433\u{a0}",
        "connect_timeout=\u{a0}5",
        "keepalives_count=5\u{2003}",
    ] {
        assert!(ConnInfo::parse_with(text, |_| None).is_err(), "{text}");
    }
}

#[test]
fn joined_text_splits_into_the_same_pairs() {
    let pairs = [("host", "/a b"), ("password", "it's \\ \n"), ("user", "u"), ("options", "")];
    let text = join(pairs);
    let back = split(&text).unwrap();
    let expected: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    assert_eq!(back, expected, "{text}");
}

#[test]
fn an_address_keeps_the_name_that_the_user_gave() {
    let info = parsed("host=db,db2 hostaddr=10.0.0.1,10.0.0.2 port=1,2");
    assert_eq!(info.endpoints, [tcp("10.0.0.1", 1), tcp("10.0.0.2", 2)]);
    assert_eq!(info.name_of(&Endpoint::Tcp("10.0.0.2".into()), 2), Some("db2"));
    let info = parsed("hostaddr=10.0.0.1");
    assert_eq!(info.name_of(&Endpoint::Tcp("10.0.0.1".into()), 5432), None);
}

#[test]
fn servers_of_no_use_are_asked_last_and_in_their_turn() {
    let info = parsed("host=a,b,/run,b port=1,2,3,4");
    let mut last = AskedLast::default();
    let place = |host: &str, port| (host.to_owned(), port);
    let order = |last: &AskedLast| {
        let mut asked = info.clone();
        asked.ask_last(last);
        asked.endpoints.iter().map(|(_, port)| *port).collect::<Vec<u16>>()
    };
    for (found, expected) in [
        (place("b", 2), [1, 3, 4, 2]),
        (place("/run", 3), [1, 4, 2, 3]),
        (place("elsewhere", 3), [1, 4, 2, 3]),
        (place("a", 1), [4, 2, 3, 1]),
        (place("b", 4), [2, 3, 1, 4]),
        (place("b", 2), [3, 1, 4, 2]),
    ] {
        last.note(&found, &info);
        assert_eq!(order(&last), expected, "{found:?}");
    }
    last.serves(&place("a", 1));
    assert_eq!(order(&last), [1, 3, 4, 2]);
    // What another connection string does not name is forgotten.
    last.note(&place("b", 2), &parsed("host=b,c port=2,3"));
    assert_eq!(order(&last), [1, 3, 4, 2]);
    last.note(&place("c", 3), &parsed("host=c port=3"));
    assert_eq!(order(&last), [1, 2, 3, 4]);
}

#[test]
fn a_string_that_names_several_servers_comes_apart() {
    let environment = |name: &str| match name {
        "PGHOST" => Some("e1,e2".to_owned()),
        "PGPORT" => Some("7".to_owned()),
        _ => None,
    };
    for (text, expected) in [
        (
            "host=a,b user=u password='x y'",
            &["host=a user=u password='x y' port=7", "host=b user=u password='x y' port=7"][..],
        ),
        ("host=a,b port=1,2", &["host=a port=1", "host=b port=2"]),
        ("host=a,,b port=1,,3", &["host=a port=1", "host='' port=''", "host=b port=3"]),
        (
            "host=n,n hostaddr=1.1.1.1,::1 port=5",
            &["host=n hostaddr=1.1.1.1 port=5", "host=n hostaddr=::1 port=5"],
        ),
        ("postgresql://u@a:1,b:2/d", &["user=u host=a port=1 dbname=d", "user=u host=b port=2 dbname=d"]),
        ("dbname=d", &["dbname=d host=e1 port=7", "dbname=d host=e2 port=7"]),
        // What names one server, or is wrong, stays as it is.
        ("host=a port=1", &["host=a port=1"]),
        ("host=''", &["host=''"]),
        ("postgresql://a:1/d", &["postgresql://a:1/d"]),
        ("host=a,b port=1,2,3", &["host=a,b port=1,2,3"]),
        ("host=a,b hostaddr=1.1.1.1", &["host=a,b hostaddr=1.1.1.1"]),
        ("host", &["host"]),
    ] {
        assert_eq!(endpoints::servers_with(text, environment), expected, "{text}");
    }
    // Each leads where the whole leads, in that order.
    let text = "host=a,/run,c port=1,2,3 hostaddr=''";
    let apart = endpoints::servers_with(text, |_| None);
    let places: Vec<_> = apart.iter().flat_map(|server| parsed(server).endpoints).collect();
    assert_eq!(places, parsed(text).endpoints);
    assert_eq!(server_at(text, &("/run".to_owned(), 2)).as_deref(), Some("host=/run port=2 hostaddr=''"));
    assert_eq!(server_at(text, &("/run".to_owned(), 3)), None);
}

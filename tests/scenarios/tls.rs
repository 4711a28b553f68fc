//! TLS between servers, tools and drivers, with PostgreSQL's libpq beside our own client.

use scenarios::pki::Pki;
use scenarios::{Node, Outcome, PostgreSql, pg_tool, plimsoll, run, run_ok, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A running server with this certificate, whose users have SCRAM passwords.
fn encrypted(pki: &Pki, certificate: &str, hba: &str) -> Node {
    let node = Node::builder().setting("ssl", "on").setting("wal_keep_size", "1GB").init();
    pki.install(certificate, &node.data());
    fs::write(node.data().join("pg_hba.conf"), format!("local all,replication all trust\n{hba}"))
        .expect("written");
    node.start();
    node.sql("CREATE ROLE app LOGIN REPLICATION SUPERUSER PASSWORD 'right'");
    node
}

const SCRAM_OVER_TLS: &str = "hostssl all,replication all all scram-sha-256\n";

fn psql(conninfo: &str, sql: &str) -> Command {
    let mut command = pg_tool("psql");
    command.args(["-X", "-q", "-A", "-t", "-d", conninfo, "-c", sql]).env("HOME", "/nonexistent");
    command
}

/// A command of ours that connects, asks and ends.
fn lag(conninfo: &str) -> Command {
    let mut command = plimsoll();
    command.args(["lag", conninfo, "--count", "1"]).env("HOME", "/nonexistent");
    command
}

#[test]
fn each_sslmode_takes_the_servers_that_libpq_takes() {
    let pki = Pki::make();
    let hba = "host all all all scram-sha-256\n";
    let server = encrypted(&pki, "server", hba);
    let address = |host: &str, more: &str| {
        format!(
            "host={host} hostaddr=127.0.0.1 port={} user=app password=right dbname=postgres {more}",
            server.port()
        )
    };
    let (root, other, own) = (pki.text("root.crt"), pki.text("other_root.crt"), pki.text("own.crt"));
    let crl = pki.text("root.crl");
    let check = |certificate: &str, host: &str, more: &str, ssl: Option<bool>| {
        let conninfo = address(host, more);
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let theirs = run(&mut psql(&conninfo, sql));
        let ours = run(&mut lag(&conninfo));
        let said = format!("{certificate} {host} {more}: {theirs:?} {ours:?}");
        match ssl {
            Some(ssl) => {
                assert_eq!(theirs.stdout.trim(), if ssl { "t" } else { "f" }, "{said}");
                assert!(ours.code != 1, "{said}");
            }
            None => assert!(theirs.code != 0 && ours.code == 1, "{said}"),
        }
    };
    check("server", "localhost", "sslmode=disable", Some(false));
    check("server", "localhost", "sslmode=allow", Some(false));
    check("server", "localhost", "sslmode=prefer", Some(true));
    check("server", "localhost", "sslmode=require channel_binding=require", Some(true));
    check("server", "localhost", "sslmode=disable channel_binding=require", None);
    check("server", "localhost", "sslmode=verify-ca", None);
    check("server", "localhost", &format!("sslmode=require sslrootcert={other}"), None);
    check("server", "nowhere", &format!("sslmode=verify-ca sslrootcert={root}"), Some(true));
    check("server", "nowhere", &format!("sslmode=verify-full sslrootcert={root}"), None);
    check("server", "localhost", &format!("sslmode=verify-full sslrootcert={root}"), Some(true));
    check("server", "127.0.0.1", &format!("sslmode=verify-full sslrootcert={root}"), Some(true));
    check("server", "localhost", &format!("sslmode=verify-full sslrootcert={other}"), None);
    check("server", "localhost", &format!("sslmode=verify-ca sslrootcert={root} sslcrl={crl}"), Some(true));
    check("server", "localhost", "sslmode=require ssl_min_protocol_version=TLSv1.3", Some(true));
    check("server", "localhost", "sslmode=require ssl_max_protocol_version=TLSv1.2", Some(true));
    check(
        "server",
        "localhost",
        "sslmode=require ssl_max_protocol_version=TLSv1.1 ssl_min_protocol_version=TLSv1",
        None,
    );
    for (certificate, host, more, ssl) in [
        ("named", "localhost", format!("sslmode=verify-full sslrootcert={root}"), Some(true)),
        ("named", "127.0.0.1", format!("sslmode=verify-full sslrootcert={root}"), None),
        ("elsewhere", "localhost", format!("sslmode=verify-full sslrootcert={root}"), None),
        ("elsewhere", "localhost", format!("sslmode=verify-ca sslrootcert={root}"), Some(true)),
        ("past", "localhost", format!("sslmode=verify-ca sslrootcert={root}"), None),
        ("past", "localhost", "sslmode=require".to_owned(), Some(true)),
        ("own", "localhost", format!("sslmode=verify-full sslrootcert={own}"), Some(true)),
        ("own", "localhost", format!("sslmode=verify-ca sslrootcert={root}"), None),
    ] {
        pki.install(certificate, &server.data());
        server.sql("SELECT pg_reload_conf()");
        check(certificate, host, &more, ssl);
    }
}

#[test]
fn a_reload_takes_a_new_certificate_and_keeps_the_old_one_if_the_new_is_bad() {
    let pki = Pki::make();
    let node = encrypted(&pki, "past", SCRAM_OVER_TLS);
    let conninfo = format!(
        "host=localhost port={} user=app password=right dbname=postgres sslmode=verify-full sslrootcert={}",
        node.port(),
        pki.text("root.crt")
    );
    assert_ne!(run(&mut psql(&conninfo, "SELECT 1")).code, 0);
    pki.install("server", &node.data());
    node.sql("SELECT pg_reload_conf()");
    run_ok(&mut psql(&conninfo, "SELECT 1"));
    for spoil in [
        &(|data: &Path| fs::write(data.join("server.crt"), "no certificate").expect("written"))
            as &dyn Fn(&Path),
        &|data| {
            pki.install("server", data);
            fs::set_permissions(data.join("server.key"), fs::Permissions::from_mode(0o644)).expect("a mode");
        },
        &|data| {
            pki.install("server", data);
            fs::copy(pki.path("named.key"), data.join("server.key")).expect("copied");
        },
        &|data| {
            pki.install("server", data);
            let chain = fs::read_to_string(data.join("server.crt")).expect("there")
                + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
            fs::write(data.join("server.crt"), chain).expect("written");
        },
        &|data| fs::remove_file(data.join("server.key")).expect("removed"),
    ] {
        let before = node.log().matches("SSL configuration was not reloaded").count();
        spoil(&node.data());
        node.sql("SELECT pg_reload_conf()");
        run_ok(&mut psql(&conninfo, "SELECT 1"));
        assert_eq!(
            node.log().matches("SSL configuration was not reloaded").count(),
            before + 1,
            "{}",
            node.log()
        );
    }
    // What a reload refuses a start refuses, and says where.
    node.stop();
    let refused = node.try_start();
    assert!(refused.code != 0 && node.log().contains("server.key"), "{refused:?} {}", node.log());
    pki.install("server", &node.data());
    node.start();
    run_ok(&mut psql(&conninfo, "SELECT 1"));
}

#[test]
fn rules_with_errors_are_named_with_file_and_line_and_leave_the_old_ones_in_force() {
    let pki = Pki::make();
    let node = encrypted(&pki, "server", SCRAM_OVER_TLS);
    let hba = node.data().join("pg_hba.conf");
    let good = fs::read_to_string(&hba).expect("there");
    fs::write(&hba, format!("{good}host all all all magic\n")).expect("written");
    node.sql("SELECT pg_reload_conf()");
    let named = format!(
        "invalid authentication method \"magic\" (line 3 of configuration file \"{}\")",
        hba.display()
    );
    assert!(node.log().contains(&named), "{}", node.log());
    assert_eq!(
        node.sql("SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL"),
        "3|invalid authentication method \"magic\""
    );
    fs::write(&hba, format!("{good}host all all all password\n")).expect("written");
    node.sql("SELECT pg_reload_conf()");
    assert!(node.log().contains("passwords are sent in the clear"), "{}", node.log());
}

#[test]
fn standbys_and_backups_follow_over_tls_up_to_verify_full() {
    let pki = Pki::make();
    let primary = encrypted(&pki, "server", SCRAM_OVER_TLS);
    let passwords = primary.folder().join("pgpass");
    fs::write(&passwords, "localhost:*:*:app:right\n").expect("written");
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o600)).expect("a mode");
    let conninfo = format!(
        "host=localhost port={} user=app sslmode=verify-full sslrootcert={} channel_binding=require passfile={}",
        primary.port(),
        pki.text("root.crt"),
        passwords.display()
    );
    primary.sql("CREATE TABLE t (id int PRIMARY KEY, filler text)");
    let standby = Node::builder().setting("wal_keep_size", "1GB").clone_over(&conninfo, &[]);
    // While it is away, more is written than is in memory: the rest comes from segment files.
    standby.stop();
    primary.sql("INSERT INTO t SELECT g, repeat('x', 900) FROM generate_series(1, 60000) g");
    standby.start();
    let end = primary.sql("SELECT pg_current_wal_lsn()");
    standby.wait_replayed(&end);
    assert_eq!(standby.sql("SELECT count(*), sum(id) FROM t"), "60000|1800030000");
    let sender =
        "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_replication USING (pid) WHERE ssl AND cipher <> ''";
    assert_eq!(primary.sql(sender), "1");
    // PostgreSQL's own tool over the same.
    let backup = primary.folder().join("backup");
    run_ok(pg_tool("pg_basebackup").args(["-c", "fast", "-X", "stream", "-d", &conninfo, "-D"]).arg(&backup));
    run_ok(pg_tool("pg_verifybackup").arg("-n").arg(&backup));
    // The password file lets nobody else in, and a file that others can read none at all.
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o644)).expect("a mode");
    let refused = run(&mut lag(&conninfo));
    assert!(refused.code == 1 && refused.stderr.contains("group or world access"), "{refused:?}");
    scenarios::assert_equal_after_stop(&primary, &standby);
}

#[test]
fn large_answers_and_copies_arrive_whole_over_tls() {
    let pki = Pki::make();
    let node = encrypted(&pki, "server", SCRAM_OVER_TLS);
    let conninfo = format!(
        "host=localhost port={} user=app password=right dbname=postgres sslmode=require",
        node.port()
    );
    run_ok(&mut psql(&conninfo, "CREATE TABLE t (id int PRIMARY KEY, filler text)"));
    let rows: String = (0..40_000).map(|id| format!("{id}\t{}\n", "y".repeat(id % 700))).collect();
    let file = node.folder().join("rows");
    fs::write(&file, &rows).expect("written");
    run_ok(&mut psql(&conninfo, &format!("\\copy t FROM '{}'", file.display())));
    let back = run_ok(&mut psql(&conninfo, "COPY (SELECT * FROM t ORDER BY id) TO STDOUT"));
    assert!(back == rows, "{} bytes came back of {}", back.len(), rows.len());
    let long = run_ok(&mut psql(&conninfo, "SELECT repeat('z', 30000000)"));
    assert_eq!(long.trim_end().len(), 30_000_000);
}

#[test]
fn a_service_names_how_our_tools_and_libpq_connect() {
    let pki = Pki::make();
    let node = encrypted(&pki, "server", SCRAM_OVER_TLS);
    let services = node.folder().join("services");
    let text = format!(
        "[ship]\nhost=localhost\nport={}\nuser=app\npassword=right\ndbname=postgres\nsslmode=verify-full\nsslrootcert={}\n",
        node.port(),
        pki.text("root.crt")
    );
    fs::write(&services, text).expect("written");
    for mut command in [psql("service=ship", "SELECT 1"), lag("service=ship")] {
        let said = run(command.env("PGSERVICEFILE", &services));
        assert!(said.code != 1, "{said:?}");
    }
    let said = run(lag("service=boat").env("PGSERVICEFILE", &services));
    assert!(said.code != 0 && said.stderr.contains("definition of service \"boat\" not found"), "{said:?}");
}

/// What the views say of a session and of the rules, on both servers alike.
#[test]
fn views_of_tls_and_of_the_rules_say_what_postgresqls_say() {
    let pki = Pki::make();
    let settings = [
        ("ssl", "on"),
        ("ssl_ca_file", "root.crt"),
        ("listen_addresses", "127.0.0.1"),
        ("ssl_ciphers", "HIGH"),
    ];
    let rules = "local all,replication all trust\n\
                 hostssl all app 127.0.0.1/32 cert\n\
                 host \"a b\",sameuser +staff,\"x\" 10.0.0.0 255.0.0.0 scram-sha-256\n\
                 hostssl all all .example.com md5 clientcert=verify-ca\n\
                 hostssl all all all cert map=m clientname=DN\n\
                 host all all samenet reject # no\n\
                 host replication all ::1/128 password\n\
                 local all all peer map=m\n\
                 host all all 10.0.0.0/99 trust\n\
                 locals all all trust\n\
                 host all all all nonsense\n";
    let maps = "m root postgres\nm /^(.*)@x$ \\1\nm \"/bad(\" y\nm z\n";
    let ours = Node::builder().init();
    let theirs = PostgreSql::start(&[]);
    for (name, value) in settings {
        ours.set(name, value);
    }
    theirs.configure(&settings);
    pki.install("server", &ours.data());
    fs::copy(pki.path("root.crt"), ours.data().join("root.crt")).expect("copied");
    for (file, from) in [("server.crt", "server.crt"), ("server.key", "server.key"), ("root.crt", "root.crt")]
    {
        theirs.place(file, &fs::read(pki.path(from)).expect("there"));
    }
    let good: String = rules.lines().take(2).map(|line| format!("{line}\n")).collect();
    fs::write(ours.data().join("pg_hba.conf"), &good).expect("written");
    theirs.place("pg_hba.conf", good.as_bytes());
    theirs.stop("fast");
    theirs.start_again();
    ours.start();
    ours.sql("CREATE ROLE app LOGIN");
    theirs.sql("CREATE ROLE app LOGIN");
    let session = "SELECT ssl, version, cipher, bits, client_dn, client_serial, issuer_dn FROM pg_stat_ssl \
                   WHERE pid = pg_backend_pid()";
    for more in ["", " ssl_max_protocol_version=TLSv1.2"] {
        let asked = |port: u16| {
            run_ok(&mut psql(
                &format!(
                    "host=127.0.0.1 port={port} user=app dbname=postgres sslmode=require sslcert={} sslkey={}{more}",
                    pki.text("app.crt"),
                    pki.text("app.key")
                ),
                session,
            ))
        };
        assert_eq!(asked(ours.port()), asked(theirs.port()));
    }
    fs::write(ours.data().join("pg_hba.conf"), rules).expect("written");
    fs::write(ours.data().join("pg_ident.conf"), maps).expect("written");
    theirs.place("pg_hba.conf", rules.as_bytes());
    theirs.place("pg_ident.conf", maps.as_bytes());
    for view in [
        "SELECT line_number, type, database, user_name, address, netmask, auth_method, options, error \
         FROM pg_hba_file_rules",
        "SELECT line_number, map_name, sys_name, pg_username FROM pg_ident_file_mappings",
        "SELECT gss_authenticated, principal, encrypted FROM pg_stat_gssapi WHERE pid = pg_backend_pid()",
    ] {
        assert_eq!(ours.sql(view), theirs.sql(view), "{view}");
    }
}

#[test]
fn a_rule_for_tls_without_tls_is_shown_with_its_error() {
    let (ours, theirs) = (Node::builder().start(), PostgreSql::start(&[]));
    let rules =
        "local all all trust\nhostssl all all 10.0.0.0/8 reject\nhostssl all all ::1/128 cert map=m\n";
    fs::write(ours.data().join("pg_hba.conf"), rules).expect("written");
    theirs.place("pg_hba.conf", rules.as_bytes());
    let view =
        "SELECT line_number, type, address, netmask, auth_method, options, error FROM pg_hba_file_rules";
    assert_eq!(ours.sql(view), theirs.sql(view));
}

#[test]
fn a_secure_directory_lets_nobody_in_without_its_password_and_encryption() {
    let node = Node::unprepared();
    let made = run_ok(plimsoll().args(["init", "--secure", "-U", "postgres", "-D"]).arg(node.data()));
    let password =
        made.lines().find(|line| line.starts_with("    ") && !line.contains(' ') || line.trim().len() == 24);
    let password = password.expect("a password is told").trim().to_owned();
    // It counts none in any file, and says so by its status, too.
    let kept = run(Command::new("grep").args(["-rc", &password]).arg(node.data()).arg("--include=*.conf"));
    assert!(kept.code == 1 && kept.stdout.lines().all(|line| line.ends_with(":0")), "{kept:?}");
    node.start();
    let refused = |outcome: Outcome, words: &str| {
        assert!(outcome.code != 0 && outcome.stderr.contains(words), "{outcome:?}");
    };
    refused(node.try_sql("SELECT 1"), "no password supplied");
    let place = format!("host=localhost port={} user=postgres dbname=postgres", node.port());
    let with = |more: &str| run(&mut psql(&format!("{place} {more}"), "SELECT 1"));
    refused(with(&format!("password={password} sslmode=disable")), "no encryption");
    refused(with("password=wrong sslmode=require"), "password authentication failed");
    let root = node.data().join("server.crt");
    let full = format!(
        "password={password} sslmode=verify-full sslrootcert={} channel_binding=require",
        root.display()
    );
    assert_eq!(with(&full).stdout.trim(), "1", "{:?}", with(&full));
    let ours = run(&mut lag(&format!("{place} {full}")));
    assert!(ours.code != 1, "{ours:?}");

    // Without it init warns of whom it lets in.
    let open = Node::unprepared();
    let made = run(plimsoll().args(["init", "-D"]).arg(open.data()));
    assert!(
        made.code == 0 && made.stderr.contains("enabling \"trust\" authentication for local connections"),
        "{made:?}"
    );
    let told = Node::unprepared();
    let made = run(plimsoll().args(["init", "-A", "trust", "-D"]).arg(told.data()));
    assert!(made.code == 0 && made.stderr.is_empty(), "{made:?}");
}

#[test]
fn a_key_that_others_can_read_and_settings_that_rustls_lacks_are_refused() {
    let pki = Pki::make();
    let node = encrypted(&pki, "server", SCRAM_OVER_TLS);
    for (change, words) in [
        ("ssl_ciphers = 'AES256-SHA'", "there is no cipher"),
        ("ssl_ecdh_curve = 'sect571r1'", "unrecognized curve name"),
        ("ssl_dh_params_file = 'dh.pem'", "invalid value for parameter"),
        ("ssl_passphrase_command = 'echo x'", "invalid value for parameter"),
        ("ssl_cert_file = 'none.crt'", "none.crt"),
        ("ssl_max_protocol_version = 'TLSv1.1'", "SSL protocol version range"),
    ] {
        let outcome = node.try_sql(&format!("ALTER SYSTEM SET {change}"));
        assert!(outcome.code != 0 && outcome.stderr.contains(words), "{change}: {outcome:?}");
    }
    for good in [
        "ssl_ciphers = 'ECDHE-ECDSA-AES128-GCM-SHA256'",
        "ssl_max_protocol_version = 'TLSv1.2'",
        "ssl_ecdh_curve = 'X25519'",
    ] {
        node.sql(&format!("ALTER SYSTEM SET {good}"));
    }
    node.sql("SELECT pg_reload_conf()");
    let conninfo = format!(
        "host=localhost port={} user=app password=right dbname=postgres sslmode=require",
        node.port()
    );
    let sql = "SELECT version, cipher FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    wait_until("the settings are in force", Duration::from_secs(20), || {
        let said = run(&mut psql(&conninfo, sql)).stdout;
        if said.trim() == "TLSv1.2|ECDHE-ECDSA-AES128-GCM-SHA256" { Ok(()) } else { Err(said) }
    });
}

/// The roster knows where a server is, and not how it is to be checked.
#[test]
fn a_switchover_keeps_how_strictly_a_node_checks_the_server_that_it_follows() {
    let pki = Pki::make();
    let one = encrypted(&pki, "server", "hostssl all,replication all all trust\n");
    one.set("cluster_name", "one");
    one.stop();
    one.start();
    let root = pki.text("root.crt");
    let way = |node: &Node| {
        format!("host=localhost port={} user=app sslmode=verify-full sslrootcert={root}", node.port())
    };
    let two = Node::builder().setting("cluster_name", "two").clone_over(&way(&one), &[]);
    let followers = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'";
    let members = "SELECT count(DISTINCT member) FROM plimsoll_roster";
    let switch = |from: &Node, name: &str, to: &Node, own: &str| {
        from.wait_for(followers, name);
        from.wait_for(members, "2");
        from.sql(&format!("SELECT plimsoll_switchover('{name}', 30000, '')"));
        to.wait_for(followers, own);
        from.sql("SHOW primary_conninfo")
    };
    // It never followed anybody, so nobody has said how.
    let first = switch(&one, "two", &two, "one");
    assert!(!first.contains("sslmode=verify-full"), "{first}");
    assert!(one.log().contains("does not check the certificate there"), "{}", one.log());
    let back = switch(&two, "one", &one, "two");
    assert!(back.contains("sslmode=verify-full") && back.contains(&root), "{back}");
    assert!(!two.log().contains("does not check the certificate there"), "{}", two.log());
    // What an administrator wrote goes before what the roster leads to, though that answers sooner.
    one.alter(&format!("SET plimsoll.peers = '{}'", way(&two)));
    for _ in 0..2 {
        let there = switch(&one, "two", &two, "one");
        assert!(there.contains("sslmode=verify-full"), "{there}");
        switch(&two, "one", &one, "two");
        one.alter("RESET primary_conninfo");
    }
}

//! Administration: reload and restart, log files, what the log says of statements and locks, statistics of
//! statements, and directories without page checksums.

use nix::sys::signal::{Signal, kill};
use protocol::scram::Verifier;
use scenarios::{Node, PostgreSql, pg_tool, plimsoll, run, run_ok, scratch_dir, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// The text of the collector's file of a format, by current_logfiles.
fn log_file(node: &Node, format: &str) -> String {
    let named = fs::read_to_string(node.data().join("current_logfiles")).unwrap_or_default();
    let name = named.lines().find_map(|line| line.strip_prefix(format)?.strip_prefix(' ').map(str::to_owned));
    name.map(|name| fs::read_to_string(node.data().join(name)).unwrap_or_default()).unwrap_or_default()
}

fn wait_for_log(node: &Node, format: &str, wanted: &str) -> String {
    wait_until(&format!("{format} has {wanted}"), LIMIT, || {
        let text = log_file(node, format);
        if text.contains(wanted) { Ok(text) } else { Err(text) }
    })
}

/// One line of comma-separated values, its columns without their quotes.
fn csv_columns(line: &str) -> Vec<String> {
    let (mut columns, mut quoted) = (vec![String::new()], false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => columns.last_mut().expect("one").push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            c => columns.last_mut().expect("one").push(c),
        }
    }
    columns
}

#[test]
fn reload_restart_and_logrotate_do_what_pg_ctl_does() {
    let node = Node::builder().start();
    let command = |name: &str| {
        let mut command = plimsoll();
        command.arg(name).arg("-D").arg(node.data());
        command
    };
    node.set("work_mem", "7MB");
    run_ok(&mut command("reload"));
    node.wait_for("SHOW work_mem", "7MB");
    let before = node.pid();
    let said = run_ok(command("restart").args(["-c", "cluster_name=it's", "-l"]).arg(node.log_path()));
    assert!(said.starts_with("server stopped\nserver started (PID: "), "{said}");
    assert_ne!(node.pid(), before);
    assert_eq!(node.sql("SHOW cluster_name"), "it's");
    assert_eq!(node.sql("SHOW port"), node.port().to_string(), "the options of the start are kept");
    run_ok(command("restart").args(["-m", "immediate", "-l"]).arg(node.log_path()));
    assert_eq!(node.sql("SHOW cluster_name"), "it's");
    node.stop();
    for name in ["reload", "logrotate", "stop"] {
        let refused = run(&mut command(name));
        assert!(refused.code == 1 && refused.stderr.contains("Is server running?"), "{refused:?}");
    }
    let started = run(command("restart").arg("-l").arg(node.log_path()));
    assert!(started.code == 0 && started.stderr.contains("It is started."), "{started:?}");
    assert!(!node.data().join("logrotate").exists());
}

#[test]
fn another_users_directory_and_a_relative_name_are_told_in_clear_words() {
    let folder = scratch_dir();
    let relative = run(plimsoll().args(["start", "-D", "no/such", "-d"]).current_dir(folder.path()));
    let whole = folder.path().join("no/such");
    assert!(
        relative.stderr.contains(&format!("\"no/such\" (\"{}\") does not exist", whole.display())),
        "{relative:?}"
    );
    run_ok(plimsoll().args(["init", "-D", "data"]).current_dir(folder.path()));
    if nix::unistd::geteuid().is_root() {
        let data = folder.path().join("data");
        run_ok(Command::new("chown").args(["-R", "daemon"]).arg(&data));
        let refused = run(plimsoll().arg("start").arg("-D").arg(&data).arg("-d"));
        let words = "has wrong ownership: it belongs to user daemon, and this is user root";
        assert!(refused.code == 1 && refused.stderr.contains(words), "{refused:?}");
    }
}

#[test]
fn the_collector_writes_each_form_of_the_log_and_goes_on_in_new_files() {
    let node = Node::builder()
        .setting("logging_collector", "on")
        .setting("log_destination", "stderr,csvlog,jsonlog")
        .setting("log_filename", "node-%H%M%S.log")
        .setting("log_rotation_age", "0")
        .start();
    assert!(node.log().contains("redirecting log output to logging collector process"), "{}", node.log());
    let _ = node.try_sql("SELECT 1 / 0 AS \"a,b\"");
    wait_for_log(&node, "stderr", "ERROR:  division by zero");
    let text = wait_for_log(&node, "csvlog", "division by zero");
    let line = text.lines().find(|line| line.contains("division by zero")).expect("that line");
    let columns = csv_columns(line);
    assert_eq!(columns.len(), 26, "{line}");
    assert_eq!((columns[1].as_str(), columns[2].as_str()), ("postgres", "postgres"));
    assert_eq!((columns[11].as_str(), columns[12].as_str()), ("ERROR", "22012"));
    assert_eq!(columns[13], "division by zero");
    assert_eq!(columns[19], "SELECT 1 / 0 AS \"a,b\"");
    assert_eq!((columns[22].as_str(), columns[23].as_str()), ("psql", "client backend"));
    let text = wait_for_log(&node, "jsonlog", "division by zero");
    let line = text.lines().find(|line| line.contains("division by zero")).expect("that line");
    let json: serde_json::Value = serde_json::from_str(line).expect("an object a line");
    assert_eq!(json["state_code"], "22012");
    assert_eq!(json["statement"], "SELECT 1 / 0 AS \"a,b\"");
    assert_eq!(json["backend_type"], "client backend");

    let name = || node.sql("SELECT pg_current_logfile('jsonlog')");
    for rotate in ["signal", "function"] {
        let before = name();
        // A second has to pass for another name.
        wait_until("a new file begins", LIMIT, || {
            match rotate {
                "signal" => drop(run_ok(plimsoll().arg("logrotate").arg("-D").arg(node.data()))),
                _ => assert_eq!(node.sql("SELECT pg_rotate_logfile()"), "t"),
            }
            if name() == before { Err(before.clone()) } else { Ok(()) }
        });
    }
    let named = fs::read_to_string(node.data().join("current_logfiles")).expect("it names the files");
    let formats: Vec<&str> = named.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(formats, ["stderr", "csvlog", "jsonlog"]);
    node.alter("SET log_destination = 'csvlog'");
    wait_until("one file is left", LIMIT, || {
        let named = fs::read_to_string(node.data().join("current_logfiles")).unwrap_or_default();
        if named.lines().count() == 1 { Ok(()) } else { Err(named) }
    });
    node.stop();
    assert!(
        log_file(&node, "csvlog").contains("database system is shut down"),
        "the end is in the file, too"
    );
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let node = Node::builder().setting("logging_collector", "on").setting("log_statement", "all").start();
    let name = node.sql("SELECT pg_current_logfile()");
    // What opens the file again meets a full disk.
    let path = node.data().join(&name);
    fs::remove_file(&path).expect("the file is there");
    std::os::unix::fs::symlink("/dev/full", &path).expect("a link");
    node.set("log_filename", path.file_name().expect("a name").to_str().expect("text"));
    run_ok(plimsoll().arg("reload").arg("-D").arg(node.data()));
    wait_until("the failure is told on standard error", LIMIT, || {
        assert_eq!(node.sql("SELECT 7"), "7");
        let log = node.log();
        if log.contains("could not write to log file") { Ok(()) } else { Err(log) }
    });
    fs::remove_file(&path).expect("the link");
    node.sql("SELECT pg_rotate_logfile()");
    wait_until("it says what is missing", LIMIT, || {
        node.sql("SELECT 8");
        let log = fs::read_to_string(&path).unwrap_or_default();
        if log.contains("bytes of log were lost") { Ok(()) } else { Err(log) }
    });
}

#[test]
fn durations_parameters_and_lock_waits_are_logged_and_passwords_are_not() {
    let node = Node::builder()
        .setting("log_lock_waits", "on")
        .setting("deadlock_timeout", "50ms")
        .setting("log_min_duration_statement", "0")
        .setting("log_statement", "ddl")
        .start();
    node.sql("CREATE TABLE t (i int PRIMARY KEY)");
    node.sql("INSERT INTO t VALUES (1)");
    node.sql("CREATE ROLE ann LOGIN PASSWORD 'hush-hush'");
    let _ = node.try_sql("CREATE ROLE ann LOGIN PASSWORD 'hush-hush'");
    node.sql("CREATE ROLE bob LOGIN PASSWORD 'hush'\n '-hush'");
    node.sql("/* password 'x */ ALTER ROLE bob PASSWORD /* /* ' */ ' */ 'hush-hush'");
    node.sql("ALTER SYSTEM SET primary_conninfo = 'postgresql://nowhere/?pass%77ord=hush-hush'");
    node.sql("ALTER SYSTEM SET primary_conninfo = 'host=nowhere password=hush-hush'");
    node.sql("SELECT pg_reload_conf()");
    let mut client = postgres::Client::connect(&node.conninfo(), postgres::NoTls).expect("connects");
    client.query("SELECT i FROM t WHERE i = $1", &[&1_i32]).expect("a row");
    let statement = "ALTER ROLE bob PASSWORD 'hush-hush'";
    client.query("SELECT length($1)", &[&statement]).expect("a row");
    client.batch_execute("SET log_parameter_max_length_on_error = 100").expect("a setting");
    let failed = client.query("SELECT 1 / $1", &[&0_i32]).expect_err("no quotient");
    let context =
        failed.as_db_error().and_then(|error| error.where_().map(str::to_owned)).unwrap_or_default();
    assert_eq!(context, "unnamed portal with parameters: $1 = '0'");

    let mut holder = postgres::Client::connect(&node.conninfo(), postgres::NoTls).expect("connects");
    holder.batch_execute("BEGIN; UPDATE t SET i = i WHERE i = 1").expect("it holds the row");
    let conninfo = node.conninfo();
    let waiter = std::thread::spawn(move || {
        let mut waiter = postgres::Client::connect(&conninfo, postgres::NoTls).expect("connects");
        waiter.execute("DELETE FROM t WHERE i = 1", &[]).expect("in the end it has the row")
    });
    let wait_for = |wanted: &str| {
        wait_until(wanted, LIMIT, || {
            let log = node.log();
            if log.contains(wanted) { Ok(log) } else { Err(log) }
        })
    };
    wait_for("still waiting for ");
    holder.batch_execute("COMMIT").expect("it lets go");
    assert_eq!(waiter.join().expect("it ends"), 1);
    let log = wait_for("no longer waits for ");
    assert!(log.contains("Process holding the lock: "), "{log}");
    assert!(log.contains("STATEMENT:  DELETE FROM t WHERE i = 1"), "{log}");
    assert!(log.contains("  execute s") && log.contains(": SELECT i FROM t WHERE i = $1"), "{log}");
    assert!(log.contains("DETAIL:  parameters: $1 = '1'"), "{log}");
    assert!(log.contains("  statement: INSERT INTO t VALUES (1)"), "{log}");
    assert!(log.contains("LOG:  statement: CREATE ROLE ann LOGIN PASSWORD '********'"), "{log}");
    assert!(log.contains("STATEMENT:  CREATE ROLE ann LOGIN PASSWORD '********'"), "{log}");
    assert!(!log.contains("hush'") && !log.contains("-hush"), "{log}");
}

#[test]
fn statements_that_change_something_are_logged_whatever_stands_in_front_of_them() {
    let node = Node::builder().setting("log_statement", "mod").start();
    node.sql("CREATE TABLE t (i int)");
    let logged = [
        "/* app=web */ INSERT INTO t VALUES (1)",
        "-- by hand\nDELETE FROM t",
        "PREPARE x AS INSERT INTO t VALUES (2); EXECUTE x",
        "EXPLAIN ANALYZE INSERT INTO t VALUES (3)",
        "/**/ TRUNCATE t",
    ];
    let others = ["EXPLAIN INSERT INTO t VALUES (4)", "COPY t TO STDOUT", "/* insert */ SELECT 5"];
    for statement in logged.iter().chain(&others) {
        node.sql(statement);
    }
    let log = node.log();
    for statement in logged {
        let beginning = statement.split('\n').next().expect("a line");
        assert!(log.contains(&format!("LOG:  statement: {beginning}")), "{statement}: {log}");
    }
    for statement in others {
        assert!(!log.contains(statement), "{statement}: {log}");
    }
}

#[test]
fn what_no_session_can_have_yet_and_sizes_without_sense_end_a_start() {
    let node = Node::builder().start();
    for (name, value) in [("min_wal_size", "16MB"), ("max_wal_size", "16MB"), ("max_connections", "262143")] {
        let refused = node.try_sql(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        assert!(refused.code != 0 && refused.stderr.contains("would not start again"), "{refused:?}");
    }
    node.stop();
    for setting in ["role=nosuch", "session_authorization=postgres", "min_wal_size=16MB"] {
        let started = plimsoll().args(["start", "-d", "-c", setting, "-D"]).arg(node.data()).output();
        assert!(!started.expect("it runs").status.success(), "{setting}");
    }
}

#[test]
fn settings_without_effect_say_so_wherever_they_are_set() {
    let node = Node::builder().setting("enable_seqscan", "off").setting("log_hostname", "on").start();
    let log = node.log();
    assert!(log.contains("settings without an effect on this server are set"), "{log}");
    assert!(log.contains("DETAIL:  enable_seqscan, log_hostname."), "{log}");
    let warned = node.try_sql("SET geqo = off");
    assert_eq!(warned.stderr.trim(), "WARNING:  parameter \"geqo\" has no effect on this server");
    assert_eq!(node.try_sql("SET geqo = on").stderr, "", "it is the default");
    let warned = node.try_sql("ALTER SYSTEM SET jit = off");
    assert!(warned.stderr.contains("parameter \"jit\" has no effect"), "{warned:?}");
    let about = node.sql("SELECT short_desc FROM pg_settings WHERE name = 'geqo'");
    assert!(about.contains("no effect"), "{about}");
}

#[test]
fn statements_are_counted_without_their_constants_once_that_is_on() {
    let node = Node::builder().start();
    let off = node.try_sql("SELECT * FROM pg_stat_statements");
    assert!(off.stderr.contains("must be loaded via \"shared_preload_libraries\""), "{off:?}");
    assert!(
        node.try_sql("CREATE EXTENSION pg_stat_statements")
            .stderr
            .contains("HINT:  Set shared_preload_libraries")
    );
    node.alter("SET shared_preload_libraries = 'pg_stat_statements'");
    node.stop();
    node.start();
    let there = node.try_sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
    assert!(there.code == 0 && there.stderr.contains("already exists, skipping"), "{there:?}");
    node.sql("CREATE TABLE t (i int PRIMARY KEY, a text)");
    for i in 0..3 {
        node.sql(&format!("INSERT INTO t VALUES ({i}, 'x'), ({}, 'y')", i + 10));
    }
    node.sql("SELECT 1; SELECT a FROM t WHERE i > 5;");
    let mut client = postgres::Client::connect(&node.conninfo(), postgres::NoTls).expect("connects");
    let statement = client.prepare("SELECT a FROM t WHERE i = $1").expect("prepared");
    (0..5).for_each(|i| drop(client.query(&statement, &[&i]).expect("it runs")));
    node.sql("CREATE ROLE ann LOGIN PASSWORD 'hush-hush'");
    let counted = |query: &str| {
        node.sql(&format!(
            "SELECT calls, rows, total_exec_time > 0 AND max_exec_time >= min_exec_time FROM pg_stat_statements \
             WHERE query = '{}'",
            query.replace('\'', "''")
        ))
    };
    assert_eq!(counted("INSERT INTO t VALUES ($1, $2), ($3, $4)"), "3|6|t");
    assert_eq!(counted("SELECT a FROM t WHERE i > $1"), "1|3|t");
    assert_eq!(counted("SELECT a FROM t WHERE i = $1"), "5|3|t");
    assert_eq!(counted("CREATE ROLE ann LOGIN PASSWORD '********'"), "1|0|t");
    let foreign = run_ok(
        pg_tool("psql")
            .args(["-XAt", "-c"])
            .arg("SELECT DISTINCT query FROM pg_stat_statements WHERE userid = 10")
            .arg(node.conninfo().replace("user=postgres", "user=ann")),
    );
    assert_eq!(foreign, "<insufficient privilege>\n");
    node.sql("SELECT pg_stat_statements_reset()");
    assert_eq!(counted("SELECT a FROM t WHERE i = $1"), "");
    assert_eq!(client.query(&statement, &[&1]).expect("it runs").len(), 1);
    assert_eq!(counted("SELECT a FROM t WHERE i = $1"), "1|1|t");
}

/// What pg_controldata says of page checksums.
fn checksum_version(node: &Node) -> String {
    let said = run_ok(pg_tool("pg_controldata").arg(node.data()));
    let line = said.lines().find(|line| line.starts_with("Data page checksum version"));
    line.and_then(|line| line.split_whitespace().last()).unwrap_or_default().to_owned()
}

#[test]
fn a_directory_without_page_checksums_says_so_and_pg_checksums_turns_them_on_and_off() {
    let node = Node::builder().init_option("--no-data-checksums").start();
    assert_eq!((node.sql("SHOW data_checksums"), checksum_version(&node)), ("off".into(), "0".into()));
    node.sql("CREATE TABLE t (i int PRIMARY KEY, a text)");
    node.sql("INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 2000) g");
    let path = node.sql("SELECT pg_relation_filepath('t')");
    node.stop();
    // pd_checksum is 0 in every page (bufpage.h: two bytes at 8).
    let bytes = fs::read(node.data().join(&path)).expect("the table's file");
    assert!(bytes.len() >= 10 * 8192);
    assert!(bytes.chunks(8192).all(|page| page[8..10] == [0, 0]));
    let refused = run(pg_tool("pg_checksums").arg("--check").arg("-D").arg(node.data()));
    assert!(refused.code == 1 && refused.stderr.contains("data checksums are not enabled"), "{refused:?}");

    run_ok(pg_tool("pg_checksums").arg("--enable").arg("-D").arg(node.data()));
    let checked = run_ok(pg_tool("pg_checksums").arg("--check").arg("-D").arg(node.data()));
    assert!(checked.contains("Bad checksums:  0"), "{checked}");
    node.start();
    assert_eq!(node.sql("SHOW data_checksums"), "on");
    assert_eq!(node.sql("SELECT count(*), sum(length(a)) FROM t"), "2000|200000");
    node.sql("UPDATE t SET a = 'y'");
    node.stop();
    let checked = run_ok(pg_tool("pg_checksums").arg("--check").arg("-D").arg(node.data()));
    assert!(checked.contains("Bad checksums:  0"), "{checked}");

    run_ok(pg_tool("pg_checksums").arg("--disable").arg("-D").arg(node.data()));
    node.start();
    assert_eq!(node.sql("SHOW data_checksums"), "off");
    assert_eq!(node.sql("SELECT count(*) FROM t WHERE a = 'y'"), "2000");
    let standby = Node::builder().clone_from(&node);
    assert_eq!((standby.sql("SHOW data_checksums"), checksum_version(&standby)), ("off".into(), "0".into()));
}

/// The modes of all files, and of all folders, below a folder that is one of them.
fn modes(folder: &Path, files: &mut Vec<u32>, folders: &mut Vec<u32>) {
    let mode = |path: &Path| fs::metadata(path).map(|found| found.permissions().mode() & 0o777);
    folders.push(mode(folder).expect("the folder"));
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            modes(&path, files, folders);
        } else if let Ok(mode) = mode(&path) {
            files.push(mode);
        }
    }
}

#[test]
fn what_a_server_makes_in_a_directory_of_its_group_is_the_groups_to_read() {
    for (option, file_mode, folder_mode) in
        [("--allow-group-access", 0o640, 0o750), ("--no-sync", 0o600, 0o700)]
    {
        let node = Node::builder().init_option(option).setting("logging_collector", "on").init();
        // A copy has no such folder; and whoever starts it allows nobody anything.
        fs::remove_dir_all(node.data().join("plimsoll")).expect("the folder");
        let mut start = Command::new("sh");
        start.args(["-c", "umask 077; exec \"$0\" \"$@\""]).arg(plimsoll().get_program());
        run_ok(start.args(["start", "-d", "-D"]).arg(node.data()).args([
            "-p",
            &node.port().to_string(),
            "-c",
            &format!("unix_socket_directories={}", node.folder().display()),
            "-c",
            "listen_addresses=",
        ]));
        node.sql("CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1); CHECKPOINT; SELECT pg_switch_wal()");
        assert_eq!(node.sql("SHOW data_directory_mode"), format!("0{folder_mode:o}"));
        assert_modes(&node.data(), (file_mode, folder_mode));
        let at = fs::read_link(format!("/proc/{}/cwd", node.pid().expect("it runs")));
        assert_eq!(at.expect("its folder"), node.data(), "where PostgreSQL works, too");
        node.stop();
    }
}

/// All files, and all folders, below a folder have these modes.
fn assert_modes(folder: &Path, (file_mode, folder_mode): (u32, u32)) {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    modes(folder, &mut files, &mut folders);
    let all_are = |modes: &[u32], wanted, least| {
        let shown: Vec<String> = modes.iter().map(|mode| format!("{mode:o}")).collect();
        assert!(
            modes.len() > least && modes.iter().all(|mode| *mode == wanted),
            "{}: {shown:?}",
            folder.display()
        );
    };
    all_are(&files, file_mode, 10);
    all_are(&folders, folder_mode, 5);
}

#[test]
fn copies_and_rewinds_leave_the_group_its_right() {
    let groups = (0o640, 0o750);
    let one = Node::builder().init_option("--allow-group-access").start();
    one.sql("CREATE TABLE t (i int PRIMARY KEY)");
    let two = Node::builder().clone_from(&one);
    assert_modes(&two.data(), groups);
    let copy = one.folder().join("copy");
    run_ok(one.tool("pg_basebackup").args(["-X", "fetch", "-D"]).arg(&copy));
    assert_modes(&copy, groups);
    two.alter("SET primary_conninfo = ''");
    two.wait_for("SELECT count(*) FROM pg_stat_wal_receiver", "0");
    one.sql("INSERT INTO t VALUES (1)");
    run_ok(plimsoll().args(["promote", "-D"]).arg(two.data()));
    two.sql("CREATE TABLE there (i int PRIMARY KEY); INSERT INTO there SELECT generate_series(1, 1000)");
    one.stop();
    run_ok(plimsoll().args(["rewind", "--source", &two.conninfo(), "-D"]).arg(one.data()));
    assert_modes(&one.data(), groups);
}

#[test]
fn a_server_that_is_killed_leaves_a_log_that_the_next_one_appends_to() {
    let node = Node::builder().setting("logging_collector", "on").setting("log_filename", "one.log").start();
    let _ = node.try_sql("SELECT 1 / 0");
    wait_for_log(&node, "stderr", "division by zero");
    kill(node.pid().expect("it runs"), Signal::SIGKILL).expect("a signal");
    node.kill_9();
    node.start();
    let log = wait_for_log(&node, "stderr", "automatic recovery in progress");
    assert!(log.contains("division by zero"), "{log}");
}

#[test]
fn a_pid_file_that_names_another_process_is_that_of_no_server() {
    let node = Node::builder().start();
    node.stop();
    let mut other = Command::new("sleep").arg("600").spawn().expect("a process");
    let lines = format!("{}\n{}\n1\n{}\n\n\n\nready   \n", other.id(), node.data().display(), node.port());
    fs::write(node.data().join("postmaster.pid"), lines).expect("a file");
    let command = |name: &str| run(plimsoll().arg(name).arg("-D").arg(node.data()));
    let status = command("status");
    assert!(status.code == 3 && status.stdout.contains("no server running"), "{status:?}");
    for name in ["reload", "stop"] {
        let refused = command(name);
        assert!(refused.code == 1 && refused.stderr.contains("seems to be gone"), "{refused:?}");
    }
    assert!(other.try_wait().expect("its state").is_none(), "it lives");
    node.start();
    assert_eq!(node.sql("SELECT 1"), "1");
    other.kill().expect("it ends");
    other.wait().expect("it ended");
}

/// Its server may be running: nothing in it is touched.
#[test]
fn a_directory_of_postgresql_is_left_alone() {
    let postgresql = PostgreSql::start(&[]);
    postgresql.stop("fast");
    let folder = postgresql.data();
    let is_root = nix::unistd::geteuid().is_root();
    let give_to = |user: &str| {
        if is_root {
            run_ok(Command::new("chown").args(["-R", user]).arg(&folder));
        }
    };
    let seen = || {
        let entries = fs::read_dir(&folder).expect("a folder");
        let mut names: Vec<_> = entries.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        (fs::read_to_string(folder.join("postmaster.pid")).ok(), names)
    };
    // As one has it that runs: this process does.
    fs::write(folder.join("postmaster.pid"), format!("{}\n", std::process::id())).expect("a file");
    fs::write(folder.join("promote"), "").expect("a file");
    give_to("root");
    let before = seen();
    let commands = [&["start", "-D"][..], &["start", "-d", "-D"], &["restart", "-D"], &["run", "-D"]];
    let told = commands.map(|words| (run(plimsoll().args(words).arg(&folder)), seen()));
    fs::remove_file(folder.join("postmaster.pid")).expect("it is there");
    give_to("postgres");
    for (refused, after) in told {
        assert!(
            refused.code == 1 && refused.stderr.contains("belongs to a PostgreSQL server"),
            "{refused:?}"
        );
        assert_eq!(after, before, "{refused:?}");
    }
}

#[test]
fn a_pipe_in_a_files_place_stops_nobody() {
    let node = Node::builder().start();
    let folder = scratch_dir();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let pipe = pipe.display();
    let read = node.try_sql(&format!("SELECT pg_read_file('{pipe}')"));
    assert!(read.stderr.contains("reading a pipe"), "{read:?}");
    node.alter(&format!("SET ssl_ca_file = '{pipe}'"));
    assert_eq!(node.sql("SELECT 1"), "1");
    fs::write(node.data().join("pg_hba.conf"), format!("local all all trust\nlocal @{pipe} all trust\n"))
        .expect("a file");
    node.sql("SELECT pg_reload_conf()");
    let error = node.sql("SELECT error FROM pg_hba_file_rules WHERE error IS NOT NULL");
    assert!(error.ends_with("it is not a regular file"), "{error}");
}

#[test]
fn settings_that_contradict_each_other_are_refused_at_the_start() {
    let node = Node::builder().start();
    node.stop();
    for (settings, words) in [
        (
            ["max_connections=10", "superuser_reserved_connections=10"],
            "must be less than max_connections (10)",
        ),
        (["wal_level=minimal", "max_wal_senders=3"], "requires wal_level \"replica\" or \"logical\""),
    ] {
        let mut command = plimsoll();
        command.args(["start", "-d", "-D"]).arg(node.data());
        settings.iter().for_each(|setting| _ = command.args(["-c", *setting]));
        let refused = run(&mut command);
        assert!(refused.code == 1 && refused.stderr.contains(words), "{refused:?}");
    }
}

#[test]
fn a_secret_that_takes_too_long_or_is_that_of_no_password_is_not_kept() {
    let node = Node::builder().start();
    let secret = |iterations: u32, password: &str| {
        let verifier = Verifier::derive(password, b"salt of sixteen b", 1).to_string();
        verifier.replacen("$1:", &format!("${iterations}:"), 1)
    };
    let refused = node.try_sql(&format!("CREATE ROLE slow PASSWORD '{}'", secret(2_000_000_000, "x")));
    assert!(refused.stderr.contains("more than 1000000 iterations is not supported"), "{refused:?}");
    let cleared = node.try_sql(&format!("CREATE ROLE nobody PASSWORD '{}'", secret(1, "")));
    assert!(cleared.stderr.contains("empty string is not a valid password"), "{cleared:?}");
    node.sql(&format!("CREATE ROLE somebody PASSWORD '{}'", secret(1, "x")));
    let kept = "SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL ORDER BY 1";
    assert_eq!(node.sql(kept), "somebody");
}

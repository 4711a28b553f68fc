//! The program's own commands, and its personalities of initdb, pg_ctl and postgres.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use scenarios::{Node, pg_tool, plimsoll, run, run_ok, scratch_dir, wait_until};
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn the_demo_tells_its_story_to_the_end() {
    let said = run_ok(plimsoll().arg("demo"));
    let figure = |name: &str| {
        let line = said.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_else(|| panic!("{name} in:\n{said}"))
            .split_whitespace()
            .last()
            .expect("a figure")
            .to_owned()
    };
    assert_eq!(figure("transfers lost"), "0");
    assert_eq!(figure("rows loaded"), "34924");
    assert!(said.contains("this server is fenced: timeline 2 left"), "{said}");
    let discarded: u64 = figure("commits discarded").parse().expect("a number");
    assert!(discarded >= 1 && said.contains("client='-1'"), "{said}");
    assert!(said.contains("it takes writes, all transfers are there, and both have them"), "{said}");
    assert!(said.trim_end().lines().last().is_some_and(|line| line.contains("the whole story")), "{said}");
}

#[test]
fn an_interrupted_demo_leaves_no_server_and_no_folder() {
    let scratch = scratch_dir();
    // Once while servers start, once under load: the line that is waited for, which stands before what takes
    // time.
    for chapter in ["A primary is initialised", "The standby follows"] {
        let mut demo = plimsoll();
        demo.arg("demo").env("TMPDIR", scratch.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut demo = demo.spawn().expect("the demo starts");
        let mut said = BufReader::new(demo.stdout.take().expect("its output")).lines();
        let reached = said.find(|line| line.as_ref().is_ok_and(|line| line.contains(chapter)));
        assert!(reached.is_some(), "{chapter}");
        kill(Pid::from_raw(demo.id().cast_signed()), Signal::SIGINT).expect("it runs");
        let outcome = demo.wait_with_output().expect("it ends");
        assert_eq!(outcome.status.code(), Some(1));
        assert_eq!(String::from_utf8_lossy(&outcome.stderr), "plimsoll: error: interrupted\n");
        let left: Vec<_> = fs::read_dir(scratch.path()).expect("the folder").collect();
        assert!(left.is_empty(), "{left:?}");
        let place = scratch.path().to_string_lossy().into_owned();
        let commands = fs::read_dir("/proc").expect("processes").filter_map(|process| {
            let words = fs::read(process.ok()?.path().join("cmdline")).ok()?;
            Some(String::from_utf8_lossy(&words).replace('\0', " "))
        });
        let running: Vec<String> = commands.filter(|command| command.contains(&place)).collect();
        assert_eq!(running, Vec::<String>::new());
    }
}

#[test]
fn a_command_goes_on_if_its_reader_has_gone_and_fails_if_what_it_says_is_lost() {
    let scratch = scratch_dir();
    let data = scratch.path().join("data");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let made =
        plimsoll().args(["init", "-A", "trust", "-D"]).arg(&data).stdout(writer).output().expect("it runs");
    assert_eq!((made.status.code(), String::from_utf8_lossy(&made.stderr).as_ref()), (Some(0), ""));
    let full = fs::File::options().write(true).open("/dev/full").expect("a full device");
    let checked = plimsoll().arg("check").arg("-D").arg(&data).stdout(full).output().expect("it runs");
    let told = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(1), "{told}");
    assert!(told.contains("could not write to standard output: No space left on device"), "{told}");
}

#[test]
fn a_peer_that_cannot_be_asked_is_told_of_once_until_it_answers_again() {
    let primary = Node::builder().start();
    let standby = Node::builder().clone_from(&primary);
    standby.stop();
    let peers = format!("{};{}", standby.conninfo(), primary.conninfo());
    primary.sql("ALTER SYSTEM SET plimsoll.fence_probe_interval = '100ms'");
    primary.sql(&format!("ALTER SYSTEM SET plimsoll.peers = '{peers}'"));
    primary.sql("SELECT pg_reload_conf()");
    let named = format!("peer \"host={} ", standby.folder().display());
    let tells = |line: &&str| line.contains(&named) && line.contains("cannot tell whether this server");
    let told = || primary.log().lines().filter(tells).count();
    let limit = Duration::from_secs(60);
    wait_until("the log tells", limit, || if told() > 0 { Ok(()) } else { Err(primary.log()) });
    standby.start();
    wait_until("the peer answers", limit, || {
        let again = |line: &str| line.contains(&named) && line.contains("answers again");
        if primary.log().lines().any(again) { Ok(()) } else { Err(primary.log()) }
    });
    assert_eq!(told(), 1, "{}", primary.log());
}

#[test]
fn an_immediate_stop_ends_a_start_that_asks_a_silent_peer() {
    let node = Node::builder().start();
    node.kill_9();
    // It takes the connection and says nothing.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = silent.local_addr().expect("its port").port();
    node.set("plimsoll.peers", &format!("host=127.0.0.1 port={port} user=postgres"));
    node.set("plimsoll.fence_check_timeout", "60s");
    let before = node.log().matches("ready to accept connections").count();
    node.start_without_waiting();
    let (asked, _) = silent.accept().expect("the node asks");
    run_ok(plimsoll().args(["stop", "-m", "immediate", "-D"]).arg(node.data()));
    let log = node.log();
    assert!(log.contains("received immediate shutdown request"), "{log}");
    assert_eq!(log.matches("ready to accept connections").count(), before, "{log}");
    drop(asked);
}

#[test]
fn what_asked_for_a_promotion_before_a_start_or_another_promotion_asks_for_nothing_more() {
    let primary = Node::builder().start();
    let standby = Node::builder().clone_from(&primary);
    let asked = standby.data().join("promote");
    standby.stop();
    fs::write(&asked, "").expect("a file");
    standby.start();
    assert!(!asked.exists());
    assert_eq!(standby.sql("SELECT pg_is_in_recovery()"), "t");
    // Nobody signals for it.
    fs::write(&asked, "").expect("a file");
    assert_eq!(standby.sql("SELECT pg_promote()"), "t");
    wait_until("the file is gone", Duration::from_secs(60), || {
        if asked.exists() { Err("it is there".to_owned()) } else { Ok(()) }
    });
}

#[test]
fn a_promotion_that_the_server_refuses_says_why() {
    let primary = Node::builder().start();
    let standby = Node::builder().clone_from(&primary);
    run_ok(plimsoll().arg("promote").arg("-D").arg(standby.data()));
    primary.sql(&format!("ALTER SYSTEM SET plimsoll.peers = '{}'", standby.conninfo()));
    primary.sql(&format!("ALTER SYSTEM SET primary_conninfo = '{}'", standby.conninfo()));
    primary.sql("SELECT pg_reload_conf()");
    wait_until("the old primary is fenced", Duration::from_secs(60), || {
        let answer = primary.try_sql("DROP TABLE IF EXISTS t; CREATE TABLE t (i int)");
        if answer.stderr.contains("this server is fenced") { Ok(()) } else { Err(answer.stderr) }
    });
    primary.stop();
    fs::write(primary.data().join("standby.signal"), "").expect("a signal file");
    primary.start_without_waiting();
    let mut why = String::new();
    wait_until("the standby hears of a promotion", Duration::from_secs(60), || {
        let refused = run(plimsoll().arg("promote").arg("-D").arg(primary.data()));
        why = refused.stderr;
        if why.contains("fenced") { Ok(()) } else { Err(why.clone()) }
    });
    assert!(
        why.starts_with("plimsoll: error: server did not promote: this server is fenced: timeline 2"),
        "{why}"
    );
    assert!(!primary.data().join("plimsoll/promotion_refused").exists());
}

#[test]
fn lag_prints_each_standby_as_text_and_as_json() {
    let primary = Node::builder().start();
    for (options, said) in [
        (&["--count", "1"][..], "no standby is connected\n"),
        (&["--count", "1", "--json"], "{\"standbys\":0}\n"),
    ] {
        let none = run(plimsoll().arg("lag").arg(primary.conninfo()).args(options));
        assert_eq!((none.code, none.stdout.as_str()), (3, said));
    }
    let standby = Node::builder().setting("cluster_name", "boat").clone_from(&primary);
    primary.sql("CREATE TABLE t (i int PRIMARY KEY)");
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    knows_it_caught_up(&primary);
    let text = run_ok(plimsoll().arg("lag").arg(primary.conninfo()).args(["--count", "2"]));
    assert_eq!(text.lines().filter(|line| line.starts_with("boat streaming async at ")).count(), 2, "{text}");
    let json = run_ok(plimsoll().arg("lag").arg(primary.conninfo()).args(["--json", "--count", "1"]));
    let standby: serde_json::Value = serde_json::from_str(json.trim()).expect("a JSON object a line");
    assert_eq!(standby["application_name"], "boat");
    assert_eq!(standby["sync_state"], "async");
    for stage in ["sent", "write", "flush", "replay"] {
        assert!(standby[stage]["lsn"].is_string() && standby[stage]["bytes_behind"].is_u64(), "{json}");
    }
}

/// A primary hears of a stream's standby only after its first report.
fn knows_it_caught_up(primary: &Node) {
    let caught_up = "SELECT replay_bytes, replay_seconds, catch_up_seconds FROM plimsoll_stat_lag";
    wait_until("the primary knows", Duration::from_secs(30), || {
        let shown = primary.sql(caught_up);
        if shown == "0|0|0" { Ok(()) } else { Err(shown) }
    });
}

#[test]
fn lag_is_true_at_idle_and_in_a_stall_and_scripts_get_an_exit_code() {
    let primary = Node::builder().start();
    let lag = |limits: &[&str]| {
        let outcome =
            run(plimsoll().arg("lag").arg(primary.conninfo()).args(["--json", "--count", "1"]).args(limits));
        let line = outcome.stdout.trim().to_owned();
        (outcome.code, serde_json::from_str::<serde_json::Value>(&line).unwrap_or_default())
    };
    assert_eq!(lag(&["--max-seconds", "3600"]).0, 2, "no standby is an alarm");
    primary.sql("CREATE TABLE t (i int PRIMARY KEY)");
    let standby = Node::builder().setting("cluster_name", "boat").clone_from(&primary);
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    knows_it_caught_up(&primary);
    let (code, idle) = lag(&["--max-seconds", "0", "--max-bytes", "0"]);
    assert_eq!(
        (code, &idle["replay"]["bytes_behind"], &idle["slowest"]),
        (0, &0.into(), &serde_json::Value::Null)
    );

    standby.sql("SELECT pg_wal_replay_pause()");
    primary.sql("INSERT INTO t VALUES (1)");
    wait_until("a stall grows on an idle primary", Duration::from_secs(30), || {
        let (code, stalled) = lag(&["--max-seconds", "0.5", "--max-bytes", "1000000"]);
        if code == 2 && stalled["slowest"] == "replay" { Ok(()) } else { Err(stalled.to_string()) }
    });
    assert_eq!(lag(&["--max-bytes", "10"]).0, 2);
    assert_eq!(lag(&["--max-seconds", "3600", "--max-bytes", "1000000"]).0, 0);
    // A forecast goes by the last two seconds, in which it may still have caught up with its clone.
    wait_until("no end of the stall is forecast", Duration::from_secs(30), || {
        let shown = primary.sql("SELECT catch_up_seconds IS NULL, flush_bytes FROM plimsoll_stat_lag");
        if shown == "t|0" { Ok(()) } else { Err(shown) }
    });
    standby.sql("SELECT pg_wal_replay_resume()");
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
}

/// Runs a program on a terminal of its own until it shows `wanted`, then presses q; gives the exit code.
fn on_a_terminal(mut command: std::process::Command, wanted: &[&str]) -> Option<i32> {
    use std::io::{Read as _, Write as _};
    let size = nix::pty::Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(&size, None).expect("a terminal");
    let side = || std::process::Stdio::from(pty.slave.try_clone().expect("a descriptor"));
    let mut child = command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("it starts");
    // While anybody here has that side open, the reader finds no end.
    drop((pty.slave, command));
    let mut terminal = fs::File::from(pty.master);
    let mut keys = terminal.try_clone().expect("a descriptor");
    let (shows, shown) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        // The terminal is gone when the program is.
        while let Ok(count @ 1..) = terminal.read(&mut bytes) {
            if shows.send(String::from_utf8_lossy(&bytes[..count]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut screen = String::new();
    let end = std::time::Instant::now() + Duration::from_secs(30);
    while !wanted.iter().all(|text| screen.contains(text)) {
        let more = shown.recv_timeout(end.saturating_duration_since(std::time::Instant::now()));
        screen += &more.unwrap_or_else(|_| panic!("it shows {wanted:?}; it showed {screen:?}"));
    }
    keys.write_all(b"q").expect("a key");
    let code = child.wait().expect("it ends").code();
    drop((keys, shown));
    reader.join().expect("the reader ends");
    code
}

#[test]
fn the_screen_of_lag_shows_standbys_and_alarms_and_is_left_with_q() {
    let primary = Node::builder().start();
    let standby = Node::builder().setting("cluster_name", "boat").clone_from(&primary);
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    knows_it_caught_up(&primary);
    let watch = |limit: &str| {
        let mut command = plimsoll();
        command
            .arg("lag")
            .arg(primary.conninfo())
            .args(["--watch", "--max-bytes", limit])
            .env("TERM", "xterm");
        command
    };
    assert_eq!(on_a_terminal(watch("1000000"), &["boat:", "streaming,", "quit"]), Some(0));
    standby.sql("SELECT pg_wal_replay_pause()");
    primary.sql("CREATE TABLE t (i int)");
    assert_eq!(on_a_terminal(watch("1"), &["boat:", "ALARM"]), Some(2));
    let piped = run(&mut watch("1"));
    assert_eq!(piped.code, 1);
    assert!(piped.stderr.contains("--watch needs a terminal"), "{}", piped.stderr);
}

#[test]
fn the_commands_of_the_readme_clone_a_standby_that_starts_in_the_background_and_follows() {
    // As a newcomer types them: no user, no folder for sockets, no file for the log.
    let (primary, standby) = (Node::unprepared(), Node::unprepared());
    let command = |name: &str, node: &Node, options: &[&str]| {
        let mut command = plimsoll();
        command.arg(name).arg("-D").arg(node.data()).args(options);
        command
    };
    let start = |node: &Node| {
        let said = run_ok(&mut command("start", node, &["-d", "-p", &node.port().to_string()]));
        let pid = node.pid().expect("it runs in the background");
        assert!(said.starts_with(&format!("server started (PID: {pid}, log: ")), "{said}");
    };
    let psql = |node: &Node, sql: &str| {
        let port = node.port().to_string();
        let options = ["-XAtq", "-h", "localhost", "-p", &port, "-d", "postgres", "-c", sql];
        run_ok(pg_tool("psql").args(options)).trim_end().to_owned()
    };
    let status = |node: &Node| run(&mut command("status", node, &[])).code;

    run_ok(&mut command("init", &primary, &[]));
    start(&primary);
    psql(&primary, "CREATE TABLE t (i int PRIMARY KEY)");
    run_ok(&mut command("clone", &standby, &["--from", &format!("host=localhost port={}", primary.port())]));
    start(&standby);
    psql(&primary, "INSERT INTO t VALUES (1)");
    wait_until("the clone follows", Duration::from_secs(60), || {
        let shown = psql(&standby, "SELECT pg_is_in_recovery(), (SELECT count(*) FROM t)");
        if shown == "t|1" { Ok(()) } else { Err(shown) }
    });
    assert_eq!(psql(&primary, "SELECT state FROM pg_stat_replication"), "streaming");
    assert_eq!(status(&standby), 0);

    run_ok(&mut command("stop", &standby, &[]));
    assert_eq!((status(&standby), standby.pid()), (3, None));
    assert_eq!(psql(&primary, "SELECT count(*) FROM t"), "1");
    run_ok(&mut command("stop", &primary, &[]));
}

#[test]
fn a_promoted_standby_takes_writes_on_a_new_timeline_with_a_history_file() {
    let primary = Node::builder().start();
    primary.sql("CREATE TABLE t (i int PRIMARY KEY)");
    let standby = Node::builder().clone_from(&primary);
    let refused = run(plimsoll().arg("promote").arg("-D").arg(primary.data()));
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("server is not in standby mode"), "{}", refused.stderr);
    primary.sql("INSERT INTO t VALUES (1)");
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    primary.kill_9();
    let said = run_ok(plimsoll().arg("promote").arg("-D").arg(standby.data()));
    assert!(said.contains("timeline 2"), "{said}");
    standby.sql("INSERT INTO t VALUES (2)");
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "2");
    let history = fs::read_to_string(standby.data().join("pg_wal/00000002.history")).expect("a history file");
    assert!(history.lines().any(|line| line.starts_with("1\t0/")), "{history}");
    assert!(!standby.data().join("standby.signal").exists());
    // The new timeline survives a crash at once, without a checkpoint having been waited for.
    standby.kill_9();
    standby.start();
    // Whether its first checkpoint was done or not, it has one soon.
    wait_until("a checkpoint on the new timeline", Duration::from_secs(60), || {
        let timeline = standby.sql("SELECT timeline_id FROM pg_control_checkpoint()");
        if timeline == "2" { Ok(()) } else { Err(timeline) }
    });
    assert_eq!(standby.sql("SELECT count(*) FROM t"), "2");
    assert_eq!(standby.sql("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)"), "00000002");
}

#[test]
fn a_fence_outlives_a_restart_without_the_peer() {
    let primary = Node::builder().start();
    primary.sql("CREATE TABLE t (i int PRIMARY KEY)");
    let standby = Node::builder().clone_from(&primary);
    standby.wait_replayed(&primary.sql("SELECT pg_current_wal_lsn()"));
    primary.stop();
    run_ok(plimsoll().arg("promote").arg("-D").arg(standby.data()));
    primary.set("plimsoll.peers", &standby.conninfo());
    primary.start();
    let fenced = |node: &Node| {
        scenarios::wait_until("a write is refused", std::time::Duration::from_secs(30), || {
            let outcome = node.try_sql("INSERT INTO t VALUES (1)");
            assert_ne!(outcome.code, 0, "the old primary acknowledged a write");
            if outcome.stderr.contains("fenced") { Ok(()) } else { Err(outcome.stderr) }
        });
    };
    fenced(&primary);
    primary.stop();
    standby.stop();
    primary.start();
    fenced(&primary);
}

#[test]
fn waldump_prints_the_engines_own_records() {
    let node = Node::builder().start();
    node.sql("CREATE TABLE t (i int PRIMARY KEY, note text)");
    let start = node.sql("SELECT pg_current_wal_lsn()");
    node.sql("INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    let end = node.sql("SELECT pg_current_wal_lsn()");
    let printed = run_ok(
        plimsoll()
            .args(["waldump", "--start", &start, "--end", &end, "--path"])
            .arg(node.data().join("pg_wal")),
    );
    assert_eq!(printed.matches("INSERT").count(), 2, "{printed}");
    assert!(printed.contains("rmgr: Transaction") && printed.contains("COMMIT"), "{printed}");
    let bad =
        run(plimsoll().args(["waldump", "--start", "nonsense", "--path"]).arg(node.data().join("pg_wal")));
    assert_eq!(bad.code, 1);
    assert!(bad.stderr.contains("nonsense"), "{}", bad.stderr);
}

/// Links with PostgreSQL's names to this program.
struct Links(tempfile::TempDir);

impl Links {
    fn new() -> Self {
        let folder = scratch_dir();
        let binary = PathBuf::from(plimsoll().get_program());
        for name in ["initdb", "pg_ctl", "pg_rewind", "postgres"] {
            symlink(&binary, folder.path().join(name)).expect("a link");
        }
        Self(folder)
    }

    fn command(&self, name: &str) -> Command {
        Command::new(self.0.path().join(name))
    }
}

#[test]
fn a_directory_that_is_not_there_or_may_not_be_looked_at_is_named() {
    let links = Links::new();
    // Nobody may look at a name that is too long, root neither.
    let (missing, closed) = (links.0.path().join("nope"), links.0.path().join("x".repeat(300)));
    for (data, what) in [
        (&missing, format!("directory \"{}\" does not exist", missing.display())),
        (&closed, format!("could not access directory \"{}\": ", closed.display())),
    ] {
        for action in ["start", "stop", "restart", "reload", "promote", "status"] {
            let refused = run(links.command("pg_ctl").arg(action).arg("-D").arg(data));
            assert_eq!(refused.code, if action == "status" { 4 } else { 1 }, "{refused:?}");
            let said = refused.stderr.strip_prefix("pg_ctl: ").unwrap_or_default();
            assert!(said.starts_with(&what) && said.lines().count() == 1, "{action}: {refused:?}");
        }
        for (action, code) in [("stop", 1), ("status", 4)] {
            let refused = run(plimsoll().arg(action).arg("-D").arg(data));
            assert!(refused.code == code && refused.stderr.contains(&what), "{action}: {refused:?}");
        }
    }
}

#[test]
fn initdb_pg_ctl_and_postgres_take_those_programs_options() {
    let links = Links::new();
    for name in ["initdb", "pg_ctl", "pg_rewind", "postgres"] {
        let said = run_ok(links.command(name).arg("-V"));
        assert!(said.starts_with(&format!("{name} (PostgreSQL) 15.")), "{said}");
    }
    let node = Node::unprepared();
    run_ok(
        links
            .command("initdb")
            .args(["-A", "trust", "-N", "-U", "postgres", "--no-locale", "-E", "UTF8", "-D"])
            .arg(node.data()),
    );
    let options = format!(
        "--cluster-name='one two' -p {} -k {} -c listen_addresses=",
        node.port(),
        node.folder().display()
    );
    let pg_ctl = |arguments: &[&str]| {
        let mut command = links.command("pg_ctl");
        command.arg("-D").arg(node.data()).args(arguments);
        command
    };
    let start = pg_ctl(&["-w", "-l", &node.log_path().display().to_string(), "-o", &options, "start"])
        .output()
        .expect("pg_ctl runs");
    assert!(start.status.success(), "{}", String::from_utf8_lossy(&start.stderr));
    let said = String::from_utf8_lossy(&start.stdout);
    assert!(said.starts_with("waiting for server to start...."), "{said}");
    assert!(said.ends_with(" done\nserver started\n"), "{said}");
    assert_eq!(node.sql("SHOW cluster_name"), "one two");
    let status = run_ok(&mut pg_ctl(&["status"]));
    assert!(status.contains("server is running"), "{status}");

    node.set("work_mem", "7MB");
    run_ok(&mut pg_ctl(&["reload"]));
    scenarios::wait_until("the reload arrives", std::time::Duration::from_secs(10), || {
        let now = node.sql("SHOW work_mem");
        if now == "7MB" { Ok(()) } else { Err(now) }
    });

    let first = node.pid();
    run_ok(&mut pg_ctl(&["-w", "-m", "immediate", "-l", &node.log_path().display().to_string(), "restart"]));
    assert_ne!(node.pid(), first);
    assert_eq!(node.sql("SHOW cluster_name"), "one two", "restart repeats the options of the start");
    run_ok(&mut pg_ctl(&["-m", "smart", "stop"]));
    assert_eq!(run(&mut pg_ctl(&["status"])).code, 3);
    assert_eq!(run(links.command("pg_ctl").args(["status", "-D", "/nonexistent"])).code, 4);
    assert_eq!(
        run_ok(links.command("postgres").arg("-D").arg(node.data()).args(["-C", "work_mem"])),
        "7168\n"
    );
    let log = node.log_path().display().to_string();
    let late = run(&mut pg_ctl(&["-t", "0", "-l", &log, "-o", &options, "start"]));
    assert_eq!(late.code, 1, "{late:?}");
    assert_eq!(late.stdout, "waiting for server to start... stopped waiting\n");
    assert_eq!(late.stderr, "pg_ctl: server did not start in time\n");
    node.wait_for("SELECT 1", "1");
    run_ok(&mut pg_ctl(&["stop"]));
}

#[test]
fn the_environment_stands_below_the_files_and_the_command_line() {
    let (links, node) = (Links::new(), Node::builder().init());
    let conf = node.data().join("postgresql.conf");
    let shown = |name: &str, variable: (&str, &str), more: &[&str]| {
        let mut command = links.command("postgres");
        command.env_remove("PGPORT").env_remove("PGDATESTYLE").env(variable.0, variable.1);
        run(command.arg("-D").arg(node.data()).args(more).args(["-C", name]))
    };
    let port = ("PGPORT", "5999");
    fs::write(&conf, "").expect("the file is written");
    assert_eq!(shown("port", port, &[]).stdout, "5999\n");
    assert_eq!(shown("DateStyle", ("PGDATESTYLE", "iso, dmy"), &[]).stdout, "ISO, DMY\n");
    assert_eq!(shown("port", port, &["-p", "6001"]).stdout, "6001\n");
    fs::write(&conf, "port = 6000\n").expect("the file is written");
    assert_eq!(shown("port", port, &[]).stdout, "6000\n");
    let refused = shown("port", ("PGPORT", "x"), &[]);
    assert!(refused.code != 0 && refused.stderr.contains("invalid value for parameter \"port\": \"x\""));
}

#[test]
fn a_session_s_options_may_be_switches_of_one_letter() {
    let node = Node::builder().start();
    let shown = |options: &str| {
        let sql = "SELECT current_setting('datestyle'), current_setting('work_mem')";
        run(node.psql().env("PGOPTIONS", options).args(["-Atc", sql]))
    };
    assert_eq!(shown("-eS 777 -D x").stdout, "ISO, DMY|777kB\n");
    for (options, said) in [
        ("-p 33", "FATAL:  parameter \"port\" cannot be changed without restarting the server"),
        ("-F", "FATAL:  parameter \"fsync\" cannot be changed now"),
        ("-S x", "FATAL:  invalid value for parameter \"work_mem\": \"x\""),
        ("-z", "FATAL:  invalid command-line argument for server process: -z"),
    ] {
        let refused = shown(options);
        assert!(refused.code != 0 && refused.stderr.contains(said), "{refused:?}");
    }
}

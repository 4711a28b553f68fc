//! Interleaved sessions, written down as what was said and what was answered.
//!
//! A script is its own expected transcript:
//!
//! ```text
//! # a remark
//! 1> update t set v = 1 where id = 1
//!    ok 1
//! 2> select v from t for update
//!    waits
//! 1> commit
//!    ok
//! 2: 1
//! ```
//!
//! Session 1 says what stands behind `1>` and hears the lines below. `2:` is what a session that waited heard
//! at last.
//!
//! A statement that waits is told from one that runs by pg_stat_activity, pg_locks and pg_blocking_pids().
//! Where a wait ends by itself (a timeout), `1>>` stands for `1>`: the answer is awaited, whether the session
//! was seen waiting or not.

use crate::tools::wait_until;
use postgres::{Client, NoTls, SimpleQueryMessage};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer than any wait in here lasts on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A session on a thread of its own, so that it can wait.
#[derive(Debug)]
pub struct Session {
    /// The number by which the server knows it.
    pub pid: i32,
    ask: Option<Sender<String>>,
    answers: Receiver<String>,
    thread: Option<JoinHandle<()>>,
}

impl Session {
    /// Connects.
    pub fn connect(conninfo: &str) -> Self {
        let (warn, warnings) = channel();
        let mut config: postgres::Config = conninfo.parse().expect("a connection string");
        config.notice_callback(move |notice| {
            // The session may have ended.
            let _ =
                warn.send(format!("{} {}: {}", notice.severity(), notice.code().code(), notice.message()));
        });
        let mut client = config.connect(NoTls).expect("the server takes a session");
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).expect("a pid").get(0);
        let (ask, asked) = channel::<String>();
        let (answer, answers) = channel();
        let thread = std::thread::spawn(move || {
            for sql in asked {
                let mut said = say(&mut client, &sql);
                for warning in warnings.try_iter() {
                    let _ = write!(said, "\n{warning}");
                }
                if answer.send(said).is_err() {
                    return;
                }
            }
        });
        Self { pid, ask: Some(ask), answers, thread: Some(thread) }
    }

    /// Sends a statement and does not wait for what comes back.
    pub fn begin(&self, sql: &str) {
        self.ask.as_ref().and_then(|ask| ask.send(sql.to_owned()).ok()).expect("the session is open");
    }

    /// The answer, if it is there.
    pub fn poll(&self) -> Option<String> {
        match self.answers.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("the session's thread ended"),
        }
    }

    /// Waits for the answer.
    pub fn answer(&self) -> String {
        self.answers.recv_timeout(LIMIT).expect("an answer comes")
    }

    /// Sends a statement and waits for its answer.
    pub fn say(&self, sql: &str) -> String {
        self.begin(sql);
        self.answer()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.ask.take());
        // What it waits for may never come, in a test that fails.
        if !std::thread::panicking()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Runs SQL and writes down what comes back: rows as `a|b; c|d`, the count of a command, or the error.
fn say(client: &mut Client, sql: &str) -> String {
    let messages = match client.simple_query(sql) {
        Ok(messages) => messages,
        Err(error) => {
            // PostgreSQL tells of an error before it rolls back what failed; an empty query behind it is
            // answered when the locks are given back. A session that is over has nothing more to say.
            let _ = client.simple_query("");
            return error.as_db_error().map_or_else(
                || error.to_string(),
                |error| {
                    let detail = error.detail().map(|detail| format!("\nDETAIL: {detail}"));
                    let (severity, code) = (error.severity(), error.code().code());
                    format!("{severity} {code}: {}{}", error.message(), detail.unwrap_or_default())
                },
            );
        }
    };
    let mut rows = Vec::new();
    let mut described = false;
    let mut count = 0;
    for message in &messages {
        match message {
            SimpleQueryMessage::RowDescription(_) => described = true,
            SimpleQueryMessage::Row(row) => {
                let values: Vec<&str> = (0..row.len()).map(|at| row.get(at).unwrap_or("null")).collect();
                rows.push(values.join("|"));
            }
            SimpleQueryMessage::CommandComplete(rows) => count = *rows,
            _ => {}
        }
    }
    match (described, count) {
        (true, _) if rows.is_empty() => "no rows".to_owned(),
        (true, _) => rows.join("; "),
        (false, 0) => "ok".to_owned(),
        (false, count) => format!("ok {count}"),
    }
}

/// An extra session that looks at the others.
pub struct Observer(Client);

impl Observer {
    /// Connects.
    pub fn connect(conninfo: &str) -> Self {
        Self(Client::connect(conninfo, NoTls).expect("the server takes a session"))
    }

    /// One value, as text; empty for NULL or no row.
    pub fn value(&mut self, sql: &str) -> String {
        let messages = self.0.simple_query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
            _ => None,
        });
        row.unwrap_or_default()
    }

    /// Changes a setting for good and has it read (`SET name = value`, `RESET name`).
    pub fn alter(&mut self, change: &str) {
        self.value(&format!("ALTER SYSTEM {change}"));
        self.value("SELECT pg_reload_conf()");
    }

    /// Names a standby the synchronous one and waits until it is.
    pub fn make_synchronous(&mut self, standby: &str) {
        self.alter(&format!("SET synchronous_standby_names = '{standby}'"));
        let state =
            format!("SELECT sync_state FROM pg_stat_replication WHERE application_name = '{standby}'");
        wait_until(&format!("{standby} is synchronous"), LIMIT, || match self.value(&state) {
            state if state == "sync" => Ok(()),
            state => Err(state),
        });
    }

    /// Whether a session waits for a lock, as all three views have it.
    pub fn waits(&mut self, pid: i32) -> bool {
        self.value(&format!("SELECT wait_event_type FROM pg_stat_activity WHERE pid = {pid}")) == "Lock"
            && self.value(&format!("SELECT pg_blocking_pids({pid})")) != "{}"
            && self.value(&format!("SELECT count(*) FROM pg_locks WHERE pid = {pid} AND NOT granted")) == "1"
    }

    /// Waits until a session is seen waiting as pg_stat_activity names it.
    pub fn wait_for_event(&mut self, pid: i32, event: &str) {
        wait_until(event, LIMIT, || {
            let seen =
                self.value(&format!("SELECT wait_event || '' FROM pg_stat_activity WHERE pid = {pid}"));
            if seen == event { Ok(()) } else { Err(seen) }
        });
    }
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Observer")
    }
}

/// Waits until the session has answered (Some) or is seen waiting for a lock (None).
fn settle(observer: &mut Observer, session: &Session) -> Option<String> {
    wait_until("the session answers or waits", LIMIT, || {
        if let Some(answer) = session.poll() {
            return Ok(Some(answer));
        }
        if observer.waits(session.pid) { Ok(None) } else { Err("neither".to_owned()) }
    })
}

/// Runs a script's statements on a server and writes its transcript.
pub fn transcript(conninfo: &str, script: &str) -> String {
    let mut observer = Observer::connect(conninfo);
    let mut sessions: BTreeMap<String, (Session, bool)> = BTreeMap::new();
    let mut written = String::new();
    for line in script.lines() {
        if line.starts_with('#') {
            let _ = writeln!(written, "{line}");
        }
        let Some((name, sql)) = line.split_once('>').filter(|(name, _)| is_name(name)) else { continue };
        let (to_the_end, sql) = (sql.starts_with('>'), sql.trim_start_matches('>').trim());
        let (session, waits) =
            sessions.entry(name.to_owned()).or_insert_with(|| (Session::connect(conninfo), false));
        assert!(!*waits, "session {name} waits and cannot say: {sql}\n{written}");
        let _ = writeln!(written, "{line}");
        session.begin(sql);
        let answer = if to_the_end { Some(session.answer()) } else { settle(&mut observer, session) };
        *waits = answer.is_none();
        write_answer(&mut written, "   ", answer.as_deref().unwrap_or("waits"));
        for (name, (session, waits)) in
            sessions.iter_mut().filter(|(other, (_, waits))| *waits && *other != name)
        {
            if let Some(answer) = settle(&mut observer, session) {
                *waits = false;
                write_answer(&mut written, &format!("{name}: "), &answer);
            }
        }
    }
    let stuck: Vec<&String> =
        sessions.iter().filter(|(_, (_, waits))| *waits).map(|(name, _)| name).collect();
    assert!(stuck.is_empty(), "sessions {stuck:?} wait for good\n{written}");
    written
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn write_answer(written: &mut String, head: &str, answer: &str) {
    for (at, line) in answer.lines().enumerate() {
        let _ = writeln!(written, "{}{line}", if at == 0 { head } else { "   " });
    }
}

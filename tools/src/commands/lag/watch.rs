//! `plimsoll lag --watch`: a screen that shows each standby's lag with its last minutes as a sparkline.
//!
//! [`Screen`] is what is shown, without a terminal: looks go in, a frame is drawn. [`run`] asks the server
//! once a second, connects anew when that fails, and reads the keys.

use super::{Limits, Stage, StandbyLag, TOO_FAR, query_lag};
use crate::connect::connect;
use crate::output::plain;
use anyhow::{Context, Result, bail};
use protocol::Client;
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Sparkline};
use std::collections::{BTreeMap, VecDeque};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

/// Looks kept a standby: what the widest terminal shows.
const HISTORY_MAX: usize = 512;
/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Longest time for one look.
const LOOK_TIME: Duration = Duration::from_secs(5);
/// Lines of a standby: its frame, the stages, the sparkline.
const STANDBY_LINES: u16 = 8;

/// A standby as it was seen last, and how far behind it was before.
struct Seen {
    /// None while it is not connected.
    now: Option<StandbyLag>,
    /// Replay's seconds (or bytes, where the server has no seconds), the newest last; None while it was not
    /// connected.
    history: VecDeque<Option<u64>>,
}

/// What is on the screen.
pub(super) struct Screen {
    server: String,
    limits: Limits,
    standbys: BTreeMap<String, Seen>,
    /// Why the last look failed.
    error: Option<String>,
    looks: u64,
}

impl Screen {
    pub(super) fn new(server: &str, limits: Limits) -> Self {
        Self { server: server.to_owned(), limits, standbys: BTreeMap::new(), error: None, looks: 0 }
    }

    /// Takes over a look. Who was there before and is not now stays on the screen, as missing; a copy that is
    /// gone is made.
    pub(super) fn look(&mut self, found: Result<Vec<StandbyLag>, String>) {
        self.looks += 1;
        let found = match found {
            Ok(found) => {
                self.error = None;
                found
            }
            Err(error) => {
                self.error = Some(error);
                return;
            }
        };
        self.standbys.retain(|_, seen| seen.now.take().is_none_or(|standby| !standby.copying));
        for standby in found {
            // Two of the same name are told apart by their pids.
            let taken = self.standbys.get(&standby.name).is_some_and(|seen| seen.now.is_some());
            let name =
                if taken { format!("{} ({})", standby.name, standby.pid) } else { standby.name.clone() };
            let seen =
                self.standbys.entry(name).or_insert_with(|| Seen { now: None, history: VecDeque::new() });
            seen.now = Some(standby);
        }
        for seen in self.standbys.values_mut() {
            if seen.history.len() == HISTORY_MAX {
                seen.history.pop_front();
            }
            seen.history.push_back(seen.now.as_ref().map(|standby| height(standby.replay)));
        }
    }

    /// Whether a limit is exceeded now, as for `lag` without a screen: a standby too far behind, or none at
    /// all. One that has gone counts too: a screen is looked at to see just that.
    pub(super) fn alarm(&self) -> bool {
        let gone = self.limits.any() && self.standbys.values().any(|seen| seen.now.is_none());
        let there = self.standbys.values().filter_map(|seen| seen.now.as_ref());
        self.error.is_some() || gone || !self.limits.hold(there)
    }

    pub(super) fn draw(&self, frame: &mut Frame<'_>) {
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)])
                .areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        let fit = usize::from(body.height / STANDBY_LINES).max(1);
        let mut area = Rect { height: STANDBY_LINES.min(body.height), ..body };
        for (name, seen) in self.standbys.iter().take(fit) {
            self.draw_standby(frame, area, name, seen);
            area.y += area.height;
        }
        if self.standbys.is_empty() && body.height > 0 {
            let line = Line::styled("no standby is connected", self.alarm_style());
            frame.render_widget(Paragraph::new(line), Rect { height: 1, ..body });
        }
        let hidden = self.standbys.len().saturating_sub(fit);
        let more =
            if hidden > 0 { format!("   {hidden} more: make the window higher") } else { String::new() };
        frame.render_widget(Paragraph::new(format!("q: quit{more}")), foot);
    }

    fn head(&self) -> Line<'static> {
        let current = self.standbys.values().filter_map(|seen| seen.now.as_ref()).map(|s| s.current).max();
        let at = current.map_or_else(String::new, |lsn| format!("  WAL ends at {lsn}"));
        let mut spans = vec![Span::styled(
            format!("{}{at}  {} standbys", self.server, self.standbys.len()),
            Style::new().add_modifier(Modifier::BOLD),
        )];
        if let Some(error) = &self.error {
            spans.push(Span::styled(format!("  {error}"), Style::new().fg(Color::Red)));
        }
        Line::from(spans)
    }

    fn alarm_style(&self) -> Style {
        if self.alarm() { Style::new().fg(Color::Red) } else { Style::new() }
    }

    fn draw_standby(&self, frame: &mut Frame<'_>, area: Rect, name: &str, seen: &Seen) {
        let late = seen.now.as_ref().is_none_or(|standby| !self.limits.near(standby));
        let style = if late { Style::new().fg(Color::Red) } else { Style::new().fg(Color::Green) };
        let title = match &seen.now {
            Some(standby) => {
                let alarm = if late { " ALARM" } else { "" };
                let kind = if standby.copying { "copying" } else { &standby.sync_state };
                format!(" {name}: {}, {kind}{alarm} ", standby.state)
            }
            None => format!(" {name}: NOT CONNECTED "),
        };
        let block = Block::new().borders(Borders::ALL).border_style(style).title(title);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let [stages, line] = Layout::vertical([Constraint::Length(5), Constraint::Min(1)]).areas(inner);
        frame.render_widget(Paragraph::new(stage_lines(seen.now.as_ref())), stages);
        let width = usize::from(line.width);
        let shown = seen.history.len().saturating_sub(width);
        let data = seen.history.iter().skip(shown).copied();
        frame.render_widget(Sparkline::default().data(data).style(style), line);
    }
}

/// A sparkline's height for a lag: milliseconds, or bytes where the server has no time. One that has not
/// reported has none.
fn height(replay: Stage) -> u64 {
    match replay.seconds {
        Some(seconds) => (seconds.max(0.0) * 1000.0) as u64,
        None => replay.bytes,
    }
}

fn stage_lines(standby: Option<&StandbyLag>) -> Vec<Line<'static>> {
    let Some(standby) = standby else { return Vec::new() };
    let mut lines: Vec<Line<'static>> = standby
        .stages()
        .into_iter()
        .map(|(name, stage)| {
            let at = stage.lsn.map_or_else(|| "-".to_owned(), |lsn| lsn.to_string());
            let behind = stage.seconds.map_or_else(String::new, |seconds| format!("{seconds:>10.3} s"));
            Line::from(format!("{name:<7}{at:>18}{:>15} B{behind}", stage.bytes))
        })
        .collect();
    let forecast = match (&standby.slowest, standby.catch_up) {
        (None, _) => String::new(),
        (Some(slowest), Some(seconds)) => format!("slowest: {slowest}; caught up in {seconds:.1} s"),
        (Some(slowest), None) => format!("slowest: {slowest}; not catching up"),
    };
    lines.push(Line::from(forecast));
    lines
}

/// Shows the screen until it is left with q, or after `count` looks. The exit code is that of the last look.
pub(super) fn run(
    runtime: &tokio::runtime::Runtime,
    conninfo: &str,
    limits: Limits,
    count: Option<u64>,
) -> Result<u8> {
    if !std::io::stdout().is_terminal() {
        bail!("--watch needs a terminal; for scripts there is --json");
    }
    // A server that is not there at the start is an error of the command line, later it is something to show.
    let client = runtime.block_on(connect(conninfo)).context("could not connect")?;
    let mut screen = Screen::new(&server_name(conninfo), limits);
    let mut terminal = ratatui::try_init().context("could not set up the terminal")?;
    let shown = watch(runtime, conninfo, client, &mut screen, &mut terminal, count);
    ratatui::try_restore().context("could not restore the terminal")?;
    shown?;
    Ok(if screen.alarm() { TOO_FAR } else { 0 })
}

fn watch(
    runtime: &tokio::runtime::Runtime,
    conninfo: &str,
    client: Client,
    screen: &mut Screen,
    terminal: &mut ratatui::DefaultTerminal,
    count: Option<u64>,
) -> Result<()> {
    let mut client = Some(client);
    while count.is_none_or(|count| screen.looks < count) {
        let next = Instant::now() + INTERVAL;
        screen.look(runtime.block_on(look(&mut client, conninfo)));
        terminal.draw(|frame| screen.draw(frame))?;
        if count.is_some_and(|count| screen.looks >= count) {
            break;
        }
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            if !event::poll(left)? {
                continue;
            }
            match event::read()? {
                Event::Key(key) if key.kind == KeyEventKind::Press => {
                    let ends = match key.code {
                        KeyCode::Char('q') | KeyCode::Esc => true,
                        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
                        _ => false,
                    };
                    if ends {
                        return Ok(());
                    }
                }
                Event::Resize(..) => {
                    terminal.draw(|frame| screen.draw(frame))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Asks the server, over a new connection if the last one broke.
async fn look(client: &mut Option<Client>, conninfo: &str) -> Result<Vec<StandbyLag>, String> {
    let asked = async {
        let mut open = match client.take() {
            Some(open) => open,
            None => connect(conninfo)
                .await
                .map_err(|error| format!("could not connect: {}", plain(&error.to_string())))?,
        };
        let found = query_lag(&mut open).await.map_err(|error| plain(&error.to_string()))?;
        *client = Some(open);
        Ok(found)
    };
    tokio::time::timeout(LOOK_TIME, asked)
        .await
        .unwrap_or_else(|_| Err("the server does not answer".to_owned()))
}

/// How the server is named on the screen: without what is secret in a connection string.
fn server_name(conninfo: &str) -> String {
    let info = protocol::conninfo::ConnInfo::parse(conninfo).ok();
    let first = info.and_then(|info| info.endpoints.into_iter().next());
    first.map_or_else(String::new, |(endpoint, port)| match endpoint {
        protocol::conninfo::Endpoint::Unix(folder) => format!("{} port {port}", folder.display()),
        protocol::conninfo::Endpoint::Tcp(host) => format!("{host} port {port}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use wal::Lsn;

    fn standby(name: &str, seconds: f64) -> StandbyLag {
        let current = Lsn::new(0x300_0000);
        let stage = |at: u64, seconds: f64| Stage {
            lsn: Some(Lsn::new(at)),
            bytes: current.bytes_since(Lsn::new(at)),
            seconds: Some(seconds),
        };
        StandbyLag {
            name: name.to_owned(),
            pid: "7".to_owned(),
            state: "streaming".to_owned(),
            sync_state: "async".to_owned(),
            copying: false,
            current,
            sent: stage(0x300_0000, 0.0),
            write: stage(0x300_0000, 0.0),
            flush: stage(0x300_0000, 0.0),
            replay: stage(0x200_0000, seconds),
            slowest: Some("replay".to_owned()),
            catch_up: None,
        }
    }
    fn shown(screen: &Screen, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(60, height)).unwrap();
        terminal.draw(|frame| screen.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let cells = buffer.content.chunks(60);
        cells
            .map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>().trim_end().to_owned())
            .collect()
    }
    fn limits(max_seconds: f64) -> Limits {
        Limits { max_seconds: Some(max_seconds), max_bytes: None }
    }

    #[test]
    fn a_standby_has_its_stages_its_slowest_one_and_a_line_of_its_last_looks() {
        let mut screen = Screen::new("host port 5432", limits(10.0));
        for seconds in [0.0, 1.0, 2.0, 4.0] {
            screen.look(Ok(vec![standby("boat", seconds)]));
        }
        let lines = shown(&screen, 12);
        assert_eq!(lines[0], "host port 5432  WAL ends at 0/3000000  1 standbys");
        assert!(lines[1].starts_with("┌ boat: streaming, async ─"), "{lines:?}");
        assert!(lines[5].contains("replay          0/2000000       16777216 B     4.000 s"), "{lines:?}");
        assert!(lines[6].contains("slowest: replay; not catching up"), "{lines:?}");
        assert!(lines[7].starts_with("│ ▂▄█"), "{lines:?}");
        assert!(!screen.alarm());
    }

    #[test]
    fn too_far_behind_gone_and_unanswered_are_alarms() {
        let mut screen = Screen::new("h", limits(3.0));
        screen.look(Ok(vec![standby("a", 1.0), standby("b", 3.5)]));
        let lines = shown(&screen, 20);
        assert!(
            lines[1].contains("a: streaming, async ─") && lines[9].contains("b: streaming, async ALARM"),
            "{lines:?}"
        );
        assert!(screen.alarm());
        screen.look(Ok(vec![standby("a", 1.0)]));
        assert!(shown(&screen, 20)[9].contains("b: NOT CONNECTED") && screen.alarm());
        screen.look(Ok(vec![standby("a", 1.0), standby("b", 0.0)]));
        assert!(!screen.alarm());
        screen.look(Err("no answer".to_owned()));
        assert!(shown(&screen, 20)[0].ends_with("no answer") && screen.alarm());
    }

    #[test]
    fn a_copy_is_never_late_and_never_missed_and_is_no_standby() {
        let copy = |name| StandbyLag { copying: true, ..standby(name, 9.0) };
        let mut screen = Screen::new("h", limits(3.0));
        screen.look(Ok(vec![standby("a", 1.0), copy("b")]));
        assert!(!screen.alarm() && shown(&screen, 20)[9].contains("b: streaming, copying ─"));
        screen.look(Ok(vec![standby("a", 1.0)]));
        assert!(!screen.alarm(), "it is made");
        let mut alone = Screen::new("h", limits(3.0));
        alone.look(Ok(vec![copy("b")]));
        assert!(alone.alarm());
    }

    #[test]
    fn a_receiver_that_replays_nothing_is_judged_by_what_it_has_written_and_is_no_standby() {
        let receiver = |written: f64| {
            let mut receiver = standby("archive", 0.0);
            (receiver.replay, receiver.write.seconds) =
                (Stage { lsn: None, ..receiver.replay }, Some(written));
            receiver
        };
        let hold = |all: &[StandbyLag]| limits(3.0).hold(all.iter());
        assert!(hold(&[standby("a", 1.0), receiver(1.0)]));
        assert!(!hold(&[standby("a", 1.0), receiver(4.0)]));
        assert!(!hold(&[receiver(1.0)]));
        // One that has reported nothing at all.
        let mut new = receiver(0.0);
        new.write.lsn = None;
        assert!(!hold(&[standby("a", 1.0), new]));
    }

    #[test]
    fn no_standby_and_too_many_for_the_window_are_said() {
        let mut screen = Screen::new("h", Limits::default());
        screen.look(Ok(Vec::new()));
        assert_eq!(shown(&screen, 5)[1], "no standby is connected");
        assert!(!screen.alarm(), "nothing was limited");
        screen.look(Ok(["a", "b", "c"].map(|name| standby(name, 0.0)).into()));
        assert_eq!(shown(&screen, 19).last().unwrap(), "q: quit   1 more: make the window higher");
        // The smallest window does not bring it down.
        shown(&screen, 1);
    }
}

//! Lag tells the truth: what plimsoll_stat_lag says is held against a row with a clock that is read on the
//! standby, and its forecast against when the standby really has caught up.

use scenarios::script::Observer;
use scenarios::{Node, wait_until};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
/// A figure may be wrong by this, or by this share.
const WRONG_MAX: f64 = 0.050;
const WRONG_SHARE_MAX: f64 = 0.10;
const FORECAST_WRONG_MAX: f64 = 0.25;
/// Between two clock rows, two looks at them and two samples: a pace, not a synchronisation.
const WRITE_PAUSE: Duration = Duration::from_millis(5);
const LOOK_PAUSE: Duration = Duration::from_millis(2);
const SAMPLE_PAUSE: Duration = Duration::from_millis(40);

const FIGURE: &str = "SELECT replay_seconds FROM plimsoll_stat_lag";
/// The figure, and for how long the standby has reported nothing.
const HEARD: &str = "SELECT replay_seconds || ' ' || extract(epoch FROM clock_timestamp() - reply_time) \
                     FROM plimsoll_stat_lag AS lag JOIN pg_stat_replication AS stream ON lag.pid = stream.pid";
const READ: &str = "SELECT at FROM clock";

/// One clock row: its number, and between which moments it was committed.
#[derive(Clone, Copy, Debug)]
struct Tick {
    begun: Duration,
    done: Duration,
}

/// Does a thing again and again, until it is stopped.
struct Repeated {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Repeated {
    fn start(pause: Duration, mut deed: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                deed();
                std::thread::park_timeout(pause);
            }
        });
        Self { stop, thread: Some(thread) }
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the thread did not fail");
        }
    }
}

/// Commits a new value of the clock row every few milliseconds; the value is the number of the tick.
struct Clock {
    start: Instant,
    ticks: Arc<Mutex<Vec<Tick>>>,
    writer: Repeated,
}

impl Clock {
    fn start(primary: &Node) -> Self {
        let start = Instant::now();
        let ticks = Arc::new(Mutex::new(vec![Tick { begun: Duration::ZERO, done: Duration::ZERO }]));
        let mut observer = Observer::connect(&primary.conninfo());
        let to = ticks.clone();
        let writer = Repeated::start(WRITE_PAUSE, move || {
            let number = to.lock().unwrap().len();
            let begun = start.elapsed();
            observer.value(&format!("UPDATE clock SET at = {number} WHERE id = 1 RETURNING at"));
            to.lock().unwrap().push(Tick { begun, done: start.elapsed() });
        });
        Self { start, ticks, writer }
    }

    fn last(&self) -> usize {
        self.ticks.lock().unwrap().len() - 1
    }

    /// How long a node that shows `value` at `now` has lacked something: at least and at most, in seconds.
    fn behind(&self, value: usize, now: Duration) -> (f64, f64) {
        let ticks = self.ticks.lock().unwrap();
        ticks.get(value + 1).map_or((0.0, 0.0), |missing| {
            let age = |since: Duration| now.saturating_sub(since).as_secs_f64();
            (age(missing.done), age(missing.begun))
        })
    }
}

/// What a reader on the standby has seen by when.
struct Watch {
    seen: Arc<Mutex<Vec<(Duration, usize)>>>,
    reader: Repeated,
}

impl Watch {
    fn start(standby: &Node, start: Instant) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut observer = Observer::connect(&standby.conninfo());
        let to = seen.clone();
        let reader = Repeated::start(LOOK_PAUSE, move || {
            let value = observer.value(READ).parse().expect("a number");
            to.lock().unwrap().push((start.elapsed(), value));
        });
        Self { seen, reader }
    }

    /// What the standby showed at `time` at least.
    fn by(&self, time: Duration) -> usize {
        let seen = self.seen.lock().unwrap();
        let later = seen.partition_point(|(at, _)| *at <= time);
        later.checked_sub(1).map_or(0, |last| seen[last].1)
    }
}

/// What is shown and what is true, in seconds.
#[derive(Clone, Copy, Debug)]
struct Sample {
    figure: f64,
    /// By how much it is more than a reader sees now.
    stale: f64,
    /// What the standby is behind: at least by what a reader sees after, at most by what it saw before the
    /// last report.
    least: f64,
    most: f64,
}

impl Sample {
    fn off(&self) -> f64 {
        (self.least - self.figure).max(self.figure - self.most).max(0.0)
    }

    fn is_wrong(&self) -> bool {
        self.off() > self.tolerance()
    }

    /// What the standby has replayed is not told yet.
    fn is_untold(&self) -> bool {
        self.stale > self.tolerance()
    }

    fn tolerance(&self) -> f64 {
        WRONG_MAX.max(WRONG_SHARE_MAX * self.most)
    }
}

struct Bench {
    primary: Observer,
    standby: Observer,
    clock: Clock,
    watch: Watch,
}

impl Bench {
    fn read(&mut self) -> usize {
        self.standby.value(READ).parse().expect("a number")
    }

    /// Waits until the standby has caught up after a stall.
    fn settle(&mut self) {
        wait_until("the standby and the figure have caught up", LIMIT, || {
            let seen = self.sample(None);
            if seen.figure.max(seen.most) < WRONG_MAX { Ok(()) } else { Err(format!("{seen:?}")) }
        });
    }

    /// A standby that is `frozen` cannot be asked, and shows no later tick than that.
    fn sample(&mut self, frozen: Option<usize>) -> Sample {
        let asked = self.clock.start.elapsed();
        let shown = self.primary.value(HEARD);
        let (figure, silent) = shown.split_once(' ').expect("two figures");
        let (figure, silent): (f64, f64) =
            (figure.parse().expect("seconds"), silent.parse().expect("seconds"));
        let answered = self.clock.start.elapsed();
        let told = asked.saturating_sub(Duration::from_secs_f64(silent));
        let before = self.watch.by(told);
        let after = frozen.unwrap_or_else(|| self.read());
        Sample {
            figure,
            stale: figure - self.clock.behind(self.watch.by(asked), answered).1,
            least: self.clock.behind(after, asked).0,
            most: self.clock.behind(before, answered).1,
        }
    }

    /// Takes samples for so long. Each must lie close to the truth; prints how close.
    fn holds_for(&mut self, phase: &str, time: Duration, frozen: Option<usize>) {
        let begun = Instant::now();
        let mut seen = Vec::new();
        while begun.elapsed() < time {
            seen.push(self.sample(frozen));
            std::thread::park_timeout(SAMPLE_PAUSE);
        }
        seen.sort_by(|a, b| a.off().total_cmp(&b.off()));
        let (median, worst) = (seen[seen.len() / 2].off() * 1000.0, seen[seen.len() - 1].off() * 1000.0);
        let most = seen.iter().map(|sample| sample.most).fold(0.0, f64::max);
        println!(
            "{phase}: {} samples, the truth up to {most:.3} s; off by {median:.1} ms in the median, {worst:.1} ms at most",
            seen.len()
        );
        // A disk that is slow holds reports up, but not most of the time.
        let untold: Vec<_> = seen.iter().filter(|sample| frozen.is_none() && sample.is_untold()).collect();
        assert!(untold.len() * 2 <= seen.len(), "{phase}: {untold:?} of {}", seen.len());
        // One that the machine held up between two of its looks is no evidence.
        let wrong: Vec<_> = seen.iter().filter(|sample| sample.is_wrong()).collect();
        assert!(wrong.len() * 20 <= seen.len(), "{phase}: {wrong:?} of {}", seen.len());
    }
}

#[test]
fn lag_is_true_in_steady_load_in_stalls_and_at_idle() {
    let node = Node::builder().start();
    node.sql("CREATE TABLE clock (id int PRIMARY KEY, at bigint)");
    node.sql("INSERT INTO clock VALUES (1, 0)");
    let replica = Node::builder().clone_from(&node);
    let clock = Clock::start(&node);
    let (primary, standby) = (Observer::connect(&node.conninfo()), Observer::connect(&replica.conninfo()));
    let watch = Watch::start(&replica, clock.start);
    let mut bench = Bench { primary, standby, clock, watch };
    wait_until("the standby streams", LIMIT, || {
        let shown = bench.primary.value("SELECT count(*) FROM plimsoll_stat_lag WHERE state = 'streaming'");
        if shown == "1" && bench.read() > 10 { Ok(()) } else { Err(shown) }
    });
    let second = Duration::from_secs(1);
    bench.holds_for("steady load", 2 * second, None);

    bench.standby.value("SELECT pg_wal_replay_pause()");
    bench.holds_for("replay paused", 2 * second, None);
    bench.standby.value("SELECT pg_wal_replay_resume()");
    bench.settle();
    bench.holds_for("replay resumed", second, None);

    bench.standby.alter("SET recovery_min_apply_delay = '700ms'");
    bench.holds_for("replay delayed", 2 * second, None);
    bench.standby.alter("SET recovery_min_apply_delay = 0");

    bench.settle();
    replica.freeze();
    let newest = bench.clock.last();
    bench.holds_for("standby frozen", 2 * second, Some(newest));
    replica.thaw();
    bench.settle();
    bench.holds_for("standby thawed", second, None);

    // A stall goes on on an idle primary, by the age of what was written last.
    bench.standby.value("SELECT pg_wal_replay_pause()");
    wait_until("replay is paused", LIMIT, || {
        let state = bench.standby.value("SELECT pg_get_wal_replay_pause_state()");
        if state == "paused" { Ok(()) } else { Err(state) }
    });
    let held = bench.read();
    wait_until("the clock goes on", LIMIT, || {
        if bench.clock.last() > held + 3 { Ok(()) } else { Err(String::new()) }
    });
    bench.clock.writer.stop();
    bench.holds_for("a stall on an idle primary", 2 * second, None);
    bench.standby.value("SELECT pg_wal_replay_resume()");
    let last = bench.clock.last();
    wait_until("all is replayed", LIMIT, || {
        let value = bench.read();
        if value == last { Ok(()) } else { Err(value.to_string()) }
    });
    bench.settle();
    bench.holds_for("idle", second, None);
    wait_until("an idle standby that has everything is not behind", LIMIT, || {
        let figure = bench.primary.value(FIGURE);
        if figure == "0" { Ok(()) } else { Err(figure) }
    });
    bench.watch.reader.stop();
}

/// Passes bytes between a standby and its primary, towards the standby at a limited rate.
struct SlowLink {
    bytes_a_second: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

/// So often a second a piece goes through.
const PIECES: u64 = 50;

impl SlowLink {
    /// Listens on the socket of a server with this port in `folder`.
    fn to(primary: &Node, folder: &Path, port: u16) -> Self {
        let bytes_a_second = Arc::new(AtomicU64::new(u64::MAX));
        let listener = UnixListener::bind(folder.join(format!(".s.PGSQL.{port}"))).expect("a socket");
        let target = primary.folder().join(format!(".s.PGSQL.{}", primary.port()));
        let rate = bytes_a_second.clone();
        let connections = Arc::new(AtomicU64::new(0));
        let taken = connections.clone();
        std::thread::spawn(move || {
            for down in listener.incoming().map_while(Result::ok) {
                let Ok(up) = UnixStream::connect(&target) else { continue };
                taken.fetch_add(1, Ordering::Relaxed);
                let (down_too, up_too) =
                    (down.try_clone().expect("a socket"), up.try_clone().expect("a socket"));
                let free = Arc::new(AtomicU64::new(u64::MAX));
                let rate = rate.clone();
                std::thread::spawn(move || pass(up, down, &rate));
                std::thread::spawn(move || pass(down_too, up_too, &free));
            }
        });
        Self { bytes_a_second, connections }
    }

    fn passes(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    fn set(&self, bytes_a_second: u64) {
        self.bytes_a_second.store(bytes_a_second, Ordering::Relaxed);
    }
}

/// Passes bytes on until one side ends.
fn pass(mut from: UnixStream, mut to: UnixStream, bytes_a_second: &AtomicU64) {
    let mut buffer = vec![0; 1 << 20];
    let mut due = Instant::now();
    loop {
        let rate = bytes_a_second.load(Ordering::Relaxed);
        let limited = rate < u64::MAX;
        let piece = if limited { (rate / PIECES) as usize } else { buffer.len() };
        if piece > 0 {
            let count = from.read(&mut buffer[..piece]).unwrap_or(0);
            if count == 0 || to.write_all(&buffer[..count]).is_err() {
                // The other direction ends with it.
                let _ = from.shutdown(std::net::Shutdown::Both);
                let _ = to.shutdown(std::net::Shutdown::Both);
                return;
            }
        }
        if limited && rate == 0 {
            std::thread::park_timeout(Duration::from_secs(1) / PIECES as u32);
            due = Instant::now();
        } else if limited {
            // What a machine that stood still has held up goes through after it.
            due += Duration::from_secs(1) / PIECES as u32;
            while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                std::thread::park_timeout(left);
            }
        }
    }
}

/// What a standby lacked while it caught up, and when it was said to have everything.
struct CatchUp {
    /// Seconds since the link let bytes through, bytes behind, and the forecast in seconds.
    samples: Vec<(f64, f64, f64)>,
    /// When it had everything, in seconds.
    end: f64,
}

impl CatchUp {
    fn watch(primary: &mut Observer) -> Self {
        let begun = Instant::now();
        let mut samples = Vec::new();
        loop {
            let shown = primary
                .value("SELECT replay_bytes || ' ' || coalesce(catch_up_seconds, -1) FROM plimsoll_stat_lag");
            let (bytes, forecast) = shown.split_once(' ').expect("two numbers");
            let at = begun.elapsed().as_secs_f64();
            if bytes == "0" {
                return Self { samples, end: at };
            }
            assert!(begun.elapsed() < LIMIT, "{shown} after {LIMIT:?}");
            samples.push((at, bytes.parse().expect("bytes"), forecast.parse().expect("seconds")));
            std::thread::park_timeout(SAMPLE_PAUSE);
        }
    }

    /// The first seconds are for measuring the rate; in the last one a quarter is less than what a figure may
    /// be wrong by.
    fn judged(&self) -> impl Iterator<Item = &(f64, f64, f64)> {
        self.samples.iter().filter(|(at, ..)| *at > 2.5 && self.end - at > 1.0)
    }

    /// By which share the rate of what was left differed from the rate of the two seconds before, at most:
    /// what nobody can foresee.
    fn unsteadiness(&self) -> f64 {
        let off = |(at, bytes, _): &(f64, f64, f64)| {
            let (from, before, _) = self.samples.iter().find(|(from, ..)| at - from <= 2.0).expect("samples");
            let (past, rest) = ((before - bytes) / (at - from), bytes / (self.end - at));
            (past / rest - 1.0).abs()
        };
        self.judged().map(off).fold(0.0, f64::max)
    }

    /// By which share of what was left a forecast was wrong, at most.
    fn worst(&self) -> f64 {
        let off = |(at, _, forecast): &(f64, f64, f64)| (forecast - (self.end - at)).abs() / (self.end - at);
        self.judged().map(off).fold(0.0, f64::max)
    }
}

#[test]
fn a_catch_up_at_a_constant_rate_ends_when_the_forecast_says() {
    const BACKLOG: u64 = 28 << 20;
    const RATE: u64 = 4 << 20;
    /// A catch-up on a machine that has other work is not at a constant rate, and proves nothing. Bytes come
    /// in pieces, so that a constant rate looks this unsteady.
    const STEADY: f64 = 0.20;
    const TRIES: u64 = 6;
    let node = Node::builder().setting("max_wal_size", "1GB").start();
    node.sql("CREATE TABLE t (id int PRIMARY KEY, filler text)");
    let folder = scenarios::scratch_dir();
    let port = scenarios::free_port();
    let link = SlowLink::to(&node, folder.path(), port);
    let replica = Node::builder().clone_from(&node);
    let mut primary = Observer::connect(&node.conninfo());
    let through_link =
        format!("SET primary_conninfo = 'host={} port={port} user=postgres'", folder.path().display());
    replica.alter(&through_link);
    wait_until("the standby streams over the slow link", LIMIT, || {
        let shown = primary.value("SELECT count(*) FROM plimsoll_stat_lag WHERE state = 'streaming'");
        if link.passes() > 0 && shown == "1" { Ok(()) } else { Err(shown) }
    });
    for a_try in 0..TRIES {
        replica.wait_replayed(&node.sql("SELECT pg_current_wal_lsn()"));
        link.set(0);
        let rows = BACKLOG / 1100;
        let (first, last) = (a_try * rows + 1, (a_try + 1) * rows);
        let fill = format!("SELECT i, repeat('x', 1000) FROM generate_series({first}, {last}) AS s (i)");
        node.sql(&format!("INSERT INTO t {fill}"));
        let behind: u64 = primary.value("SELECT replay_bytes FROM plimsoll_stat_lag").parse().expect("bytes");
        assert!(behind > BACKLOG * 8 / 10, "{behind} bytes behind");
        wait_until("nothing is foretold of a link that is dead", LIMIT, || {
            let shown = primary.value("SELECT coalesce(catch_up_seconds, -1) FROM plimsoll_stat_lag");
            if shown == "-1" { Ok(()) } else { Err(shown) }
        });
        link.set(RATE);
        let catch_up = CatchUp::watch(&mut primary);
        let (count, end) = (catch_up.judged().count(), catch_up.end);
        let (worst, unsteadiness) = (catch_up.worst(), catch_up.unsteadiness());
        println!(
            "forecast: {count} samples over {end:.1} s, off by {:.0} % at most; the rate by {:.0} %",
            worst * 100.0,
            unsteadiness * 100.0
        );
        assert!(count > 20, "{:?}", catch_up.samples);
        if unsteadiness <= STEADY {
            assert!(worst <= FORECAST_WRONG_MAX, "the end came after {end} s: {:?}", catch_up.samples);
            return;
        }
    }
    panic!("no catch-up of {TRIES} was at a constant rate");
}

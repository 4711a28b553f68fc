//! The metrics: one table of names, kinds, labels, help texts, and what fills them.

use super::Shown;
use crate::connection::registry::{Activity, SessionHandle, SessionKind};
use crate::replication::Replication;
use crate::replication::fencing::silent_count;
use crate::views::slots::forecast;
use replica::lag::StageLag;
use replica::sender::streams::SenderRow;
use replica::slots::{SlotView, WalLimits};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write as _};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::Database;
use wal::Lsn;

/// What stands before each name.
pub(crate) const PREFIX: &str = "plimsoll_";

/// A metric.
pub(crate) struct Metric {
    /// Without [`PREFIX`].
    pub(crate) name: &'static str,
    /// `counter` or `gauge`.
    pub(crate) kind: &'static str,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
    /// Writes its samples. False: this node has none of this kind.
    fill: fn(&Seen<'_>, &mut Samples<'_>) -> bool,
}

/// What a scrape shows, looked at once.
struct Seen<'a> {
    shown: &'a Shown,
    database: &'a Database,
    replication: &'a Replication,
    standbys: Vec<SenderRow>,
    slots: Vec<SlotView>,
    limits: WalLimits,
}

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

macro_rules! metric {
    ($name:literal, $kind:ident, [$($label:literal),*], $help:literal, $fill:expr) => {
        Metric { name: $name, kind: $kind, labels: &[$($label),*], help: $help, fill: $fill }
    };
}

/// All metrics, in the order in which they are written.
pub(crate) static METRICS: &[Metric] = &[
    metric!("in_recovery", GAUGE, [], "1 on a standby, 0 on a primary.", |seen, out| {
        out.one(u8::from(seen.database.is_in_recovery()))
    }),
    metric!("timeline", GAUGE, [], "The timeline that is written or replayed.", |seen, out| {
        out.one(seen.database.timeline())
    }),
    metric!(
        "wal_inserted_bytes_total",
        COUNTER,
        [],
        "End of the log, in bytes from its beginning.",
        |seen, out| { out.position(seen.database.positions().map(|positions| positions.inserted())) }
    ),
    metric!("wal_written_bytes_total", COUNTER, [], "Log handed to the kernel.", |seen, out| {
        out.position(seen.database.positions().map(|positions| positions.written()))
    }),
    metric!("wal_flushed_bytes_total", COUNTER, [], "Log that is durable here.", |seen, out| {
        out.position(seen.database.positions().map(|positions| positions.flushed()))
    }),
    metric!("wal_visible_bytes_total", COUNTER, [], "Log whose commits are visible.", |seen, out| {
        out.position(seen.database.positions().map(|_| seen.database.visible()))
    }),
    metric!("wal_received_bytes_total", COUNTER, [], "Log received and durable here.", |seen, out| {
        out.position(seen.database.positions().is_none().then(|| seen.replication.last_receive_lsn()))
    }),
    metric!("wal_replayed_bytes_total", COUNTER, [], "Log replayed here.", |seen, out| {
        out.position(seen.database.positions().is_none().then(|| seen.database.replayed()))
    }),
    metric!("sessions", GAUGE, ["state"], "Client sessions by state.", sessions),
    metric!(
        "fenced",
        GAUGE,
        [],
        "1 on a primary that was replaced and takes no more writes.",
        |seen, out| { out.one(u8::from(seen.database.fenced().is_some())) }
    ),
    metric!("roster_members", GAUGE, [], "Other nodes of the cluster that this one knows.", |seen, out| {
        out.one(seen.replication.roster.members().len())
    }),
    metric!(
        "roster_silent",
        GAUGE,
        [],
        "Nodes that did not answer when they were last asked whether this one was replaced.",
        |seen, out| out.one(silent_count(seen.replication))
    ),
    metric!("sync_suspended", GAUGE, [], "1 while commits do not wait for all that is set.", |seen, out| {
        out.one(u8::from(seen.database.commit_gate().suspended().is_some()))
    }),
    metric!(
        "sync_suspended_level",
        GAUGE,
        ["level"],
        "The level of synchronous_commit that is not waited for.",
        |seen, out| {
            let suspended = seen.database.commit_gate().suspended();
            out.all(suspended.map(|level| ([level.name()], 1)))
        }
    ),
    metric!(
        "sync_fallbacks_total",
        COUNTER,
        [],
        "Fallbacks by plimsoll.synchronous_timeout since the start.",
        |seen, out| out.one(seen.replication.semi_sync.counts().fallbacks)
    ),
    metric!("sync_returns_total", COUNTER, [], "Returns from them.", |seen, out| {
        out.one(seen.replication.semi_sync.counts().returns)
    }),
    metric!(
        "sync_releases_total",
        COUNTER,
        [],
        "Releases of commits without the synchronous standbys' confirmation since the start.",
        |seen, out| out.one(seen.replication.semi_sync.counts().releases)
    ),
    metric!(
        "standby_lag_bytes",
        GAUGE,
        ["standby", "stage"],
        "Log that has not reached a stage of a standby.",
        |seen, out| out.stages(&seen.standbys, |lag| lag.bytes as f64)
    ),
    metric!(
        "standby_lag_seconds",
        GAUGE,
        ["standby", "stage"],
        "Age of the oldest log that has not reached a stage of a standby.",
        |seen, out| out.stages(&seen.standbys, |lag| lag.age.as_secs_f64())
    ),
    metric!(
        "standby_silent_seconds",
        GAUGE,
        ["standby", "sync_state"],
        "Time since a standby's last report.",
        |seen, out| {
            let row = |row: &SenderRow| row.lag.silent.as_secs_f64();
            let labels =
                |row: &'_ SenderRow| [row.info.application_name.clone(), row.sync_state.name().to_owned()];
            out.worst(seen.standbys.iter().map(|standby| (labels(standby), row(standby))))
        }
    ),
    metric!(
        "standby_catch_up_seconds",
        GAUGE,
        ["standby"],
        "Time until a standby has replayed everything at its present pace; +Inf if never.",
        |seen, out| {
            let forecast = |row: &SenderRow| seconds(row.catch_up);
            out.worst(seen.standbys.iter().map(|row| ([row.info.application_name.clone()], forecast(row))))
        }
    ),
    metric!("slot_retained_bytes", GAUGE, ["slot"], "Log that a slot keeps.", |seen, out| {
        let kept = |slot: &SlotView| seen.limits.end.bytes_since(slot.restart);
        out.all(seen.keeping().map(|slot| ([&*slot.name], kept(slot))))
    }),
    metric!(
        "slot_lost_in_seconds",
        GAUGE,
        ["slot"],
        "Time until a slot loses its log to a setting, as things go; +Inf if never.",
        |seen, out| {
            let ground = &seen.shown.ground;
            let (idle, now) = (ground.config().idle_replication_slot_timeout, ground.host.clock.monotonic());
            let left =
                |slot: &SlotView| seconds(forecast(slot, &seen.limits, idle, now).map(|(left, _)| left));
            out.all(seen.keeping().map(|slot| ([&*slot.name], Number(left(slot)))))
        }
    ),
    metric!("slots_lost_total", COUNTER, [], "Slots invalidated since the start.", |seen, out| {
        out.one(seen.replication.slots_lost.load(Ordering::Relaxed))
    }),
    metric!("slot_lost", GAUGE, ["slot"], "1 for a slot whose log was removed.", |seen, out| {
        let lost = |slot: &SlotView| u8::from(slot.invalidated_at.is_valid());
        out.all(seen.slots.iter().map(|slot| ([&*slot.name], lost(slot))))
    }),
    metric!("archived_segments_total", COUNTER, [], "Segments archived.", |seen, out| {
        let archiver = seen.shown.archive.archiver();
        archiver.is_some_and(|archiver| out.one(archiver.stats().archived))
    }),
    metric!("archive_failures_total", COUNTER, [], "Tries of archive_command that failed.", |seen, out| {
        let archiver = seen.shown.archive.archiver();
        archiver.is_some_and(|archiver| out.one(archiver.stats().failed))
    }),
];

impl Seen<'_> {
    /// The slots that keep log.
    fn keeping(&self) -> impl Iterator<Item = &SlotView> {
        self.slots.iter().filter(|slot| slot.restart.is_valid())
    }
}

/// A time that may never come.
fn seconds(time: Option<Duration>) -> f64 {
    time.map_or(f64::INFINITY, |time| time.as_secs_f64())
}

/// A number as Prometheus writes it.
struct Number(f64);

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 == f64::INFINITY { f.write_str("+Inf") } else { self.0.fmt(f) }
    }
}

fn sessions(seen: &Seen<'_>, out: &mut Samples<'_>) -> bool {
    let sessions = seen.shown.sessions.list();
    let states =
        [Activity::Active, Activity::Idle, Activity::IdleInTransaction, Activity::IdleInFailedTransaction];
    out.all(states.into_iter().map(|state| {
        let has = |session: &&Arc<SessionHandle>| {
            session.kind == SessionKind::Client && session.activity() == state
        };
        ([state.name().unwrap_or_default()], sessions.iter().filter(has).count())
    }))
}

/// The samples of one metric, as Prometheus reads them.
struct Samples<'a> {
    metric: &'a Metric,
    text: String,
}

impl Samples<'_> {
    fn add(&mut self, labels: &[impl AsRef<str>], value: impl Display) {
        // Writing to a String does not fail.
        let _ = write!(self.text, "{PREFIX}{}", self.metric.name);
        for (at, (label, text)) in self.metric.labels.iter().zip(labels).enumerate() {
            let text = text.as_ref().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.text, "{}{label}=\"{text}\"", if at == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// The only sample, without labels.
    fn one(&mut self, value: impl Display) -> bool {
        self.add(&[] as &[&str], value);
        true
    }

    /// A position, if this node has it.
    fn position(&mut self, at: Option<Lsn>) -> bool {
        at.is_some_and(|at| self.one(at.get()))
    }

    /// A sample for each set of labels.
    fn all<const N: usize>(
        &mut self,
        samples: impl IntoIterator<Item = ([impl AsRef<str>; N], impl Display)>,
    ) -> bool {
        samples.into_iter().for_each(|(labels, value)| self.add(&labels, value));
        true
    }

    /// The same of standbys: of those with one name the worst, since each set of labels may come but once.
    fn worst<const N: usize>(&mut self, samples: impl IntoIterator<Item = ([String; N], f64)>) -> bool {
        let mut worst: BTreeMap<[String; N], f64> = BTreeMap::new();
        for (labels, value) in samples {
            worst.entry(labels).and_modify(|known| *known = known.max(value)).or_insert(value);
        }
        self.all(worst.into_iter().map(|(labels, value)| (labels, Number(value))))
    }

    /// A sample for each stage that a standby reports.
    fn stages(&mut self, standbys: &[SenderRow], value: impl Fn(StageLag) -> f64) -> bool {
        let of = |row: &SenderRow| {
            let (name, lag) = (row.info.application_name.clone(), row.lag);
            let stages = [
                ("sent", row.sent, lag.sent),
                ("written", row.progress.written, lag.written),
                ("flushed", row.progress.flushed, lag.flushed),
                ("replayed", row.progress.replayed, lag.replayed),
            ];
            let told = stages.into_iter().filter(|(_, reached, _)| reached.is_valid());
            told.map(move |(stage, _, lag)| ([name.clone(), stage.to_owned()], lag))
        };
        self.worst(standbys.iter().flat_map(of).map(|(labels, lag)| (labels, value(lag))))
    }
}

/// All metrics of a node with their samples.
pub(super) fn text(shown: &Shown) -> String {
    let replication = &*shown.replication;
    let database = &replication.database;
    let end = replication.log.flushed();
    let rows = replication.sender_rows(end);
    let seen = Seen {
        shown,
        database,
        replication,
        standbys: rows.into_iter().filter(|row| !row.copying).collect(),
        slots: replication.slots.list(),
        limits: replication.limits(),
    };
    let mut out = String::new();
    for metric in METRICS {
        let mut samples = Samples { metric, text: String::new() };
        if (metric.fill)(&seen, &mut samples) {
            let Metric { name, kind, help, .. } = metric;
            let _ = writeln!(out, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} {kind}");
            out.push_str(&samples.text);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_as_prometheus_reads_them_and_each_set_comes_once() {
        let lag = metric!("lag", GAUGE, ["standby", "stage"], "Lag.", |_, _| true);
        let mut out = Samples { metric: &lag, text: String::new() };
        out.all([(["a\"b\\c\nd", "sent"], 0.5)]);
        assert_eq!(out.text, "plimsoll_lag{standby=\"a\\\"b\\\\c\\nd\",stage=\"sent\"} 0.5\n");
        let mut out = Samples { metric: &lag, text: String::new() };
        let named = |value| (["a".to_owned(), "sent".to_owned()], value);
        out.worst([named(1.0), named(3.0), named(2.0)]);
        assert_eq!(out.text, "plimsoll_lag{standby=\"a\",stage=\"sent\"} 3\n");
        let mut out = Samples { metric: &lag, text: String::new() };
        out.worst([named(1.0), named(seconds(None))]);
        assert_eq!(out.text, "plimsoll_lag{standby=\"a\",stage=\"sent\"} +Inf\n");
        let up = metric!("up", GAUGE, [], "Up.", |_, _| true);
        let mut out = Samples { metric: &up, text: String::new() };
        out.one(1);
        assert_eq!(out.text, "plimsoll_up 1\n");
    }
}

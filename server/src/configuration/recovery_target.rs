//! The recovery target as the settings give it, and what the log and the history file say of it.

use super::{Ground, checks};
use crate::error::ServerError;
use crate::log::format_time;
use host::Timestamp;
use settings::{RECOVERY_TARGETS, Settings};
use storage::{RecoveryStop, RecoveryTarget, StopCause, TargetPoint};
use wal::TimelineId;
use wal::timelines::TargetTimeline;

/// recovery_target_action
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetAction {
    Pause,
    Promote,
    ShutDown,
}

fn setting(ground: &Ground, name: &str) -> String {
    ground.settings().show(name).unwrap_or_default()
}

/// The settings that name a target, with what they say.
pub(crate) fn named(settings: &Settings) -> impl Iterator<Item = (&'static str, String)> {
    let all = RECOVERY_TARGETS.iter().map(|name| (*name, settings.show(name).unwrap_or_default()));
    all.filter(|(_, value)| !value.is_empty())
}

/// The target; None goes to the end of the log. More than one is an error, whether recovery follows or not.
pub(crate) fn of_settings(settings: &Settings) -> Result<Option<RecoveryTarget>, ServerError> {
    let set: Vec<(&str, String)> = named(settings).collect();
    let (name, value) = match set.as_slice() {
        [] => return Ok(None),
        [one] => one,
        _ => {
            return Err(ServerError::new("multiple recovery targets specified")
                .with_hint(format!("At most one of {} may be set.", RECOVERY_TARGETS.join(", "))));
        }
    };
    let invalid = |why: String| {
        ServerError::new(format!("invalid value for parameter \"{name}\": \"{value}\"")).with_hint(why)
    };
    let point = match *name {
        "recovery_target_lsn" => {
            TargetPoint::Lsn(value.parse().map_err(|error| invalid(format!("{error}")))?)
        }
        "recovery_target_name" => TargetPoint::Name(value.clone()),
        "recovery_target_time" => {
            TargetPoint::Time(read_time(value, &checks::node_style(settings)).map_err(invalid)?)
        }
        "recovery_target_xid" => {
            let xid: u64 = value.parse().map_err(|error| invalid(format!("{error}")))?;
            // The log has the low half; the epoch that pg_current_xact_id() shows is left out.
            TargetPoint::Xid(u32::try_from(xid & u64::from(u32::MAX)).unwrap_or(0))
        }
        _ => TargetPoint::Immediate,
    };
    let inclusive = settings.value("recovery_target_inclusive") == Some(settings::Value::Bool(true));
    Ok(Some(RecoveryTarget { point, inclusive }))
}

/// Reads a moment; without a zone in it the style's is meant. Err is the detail.
pub(crate) fn read_time(text: &str, style: &sql_types::Style) -> Result<Timestamp, String> {
    const WORDS: [&str; 6] = ["now", "today", "tomorrow", "yesterday", "epoch", "infinity"];
    let mut words = text.split(|char: char| !char.is_ascii_alphabetic());
    if words.any(|word| WORDS.iter().any(|known| word.eq_ignore_ascii_case(known))) {
        return Err("A recovery target is a moment, not a word for one.".to_owned());
    }
    let micros = sql_types::time::parse_timestamptz(text, style).map_err(|error| error.to_string())?;
    Ok(Timestamp::from_micros(micros))
}

/// What happens at the target. Without reads nobody could end a pause, so it is a shutdown then.
pub(crate) fn action(ground: &Ground) -> TargetAction {
    match setting(ground, "recovery_target_action").as_str() {
        "promote" => TargetAction::Promote,
        "shutdown" => TargetAction::ShutDown,
        _ if !ground.config().hot_standby => TargetAction::ShutDown,
        _ => TargetAction::Pause,
    }
}

/// Which timeline is followed.
pub(crate) fn timeline(ground: &Ground) -> TargetTimeline {
    match ground.config().recovery_target_timeline.as_ref() {
        "latest" => TargetTimeline::Latest,
        number => number
            .parse()
            .map_or(TargetTimeline::Current, |number| TargetTimeline::Number(TimelineId::new(number))),
    }
}

/// A moment as PostgreSQL's log has it.
pub(crate) fn time_text(at: Timestamp) -> String {
    format_time(at, &jiff::tz::TimeZone::UTC, "%Y-%m-%d %H:%M:%S%.6f+00")
}

/// The line that says what kind of recovery begins.
pub(crate) fn starting(target: Option<&RecoveryTarget>) -> String {
    match target.map(|target| &target.point) {
        None => "starting archive recovery".to_owned(),
        Some(TargetPoint::Immediate) => {
            "starting point-in-time recovery to earliest consistent point".to_owned()
        }
        Some(TargetPoint::Name(name)) => format!("starting point-in-time recovery to \"{name}\""),
        Some(TargetPoint::Time(at)) => format!("starting point-in-time recovery to {}", time_text(*at)),
        Some(TargetPoint::Xid(xid)) => format!("starting point-in-time recovery to XID {xid}"),
        Some(TargetPoint::Lsn(lsn)) => {
            format!("starting point-in-time recovery to WAL location (LSN) \"{lsn}\"")
        }
    }
}

fn side(stop: &RecoveryStop) -> &'static str {
    if stop.after { "after" } else { "before" }
}

/// The line that says where recovery stops.
pub(crate) fn stopping(stop: &RecoveryStop) -> String {
    let side = side(stop);
    match &stop.cause {
        StopCause::Consistent => "recovery stopping after reaching consistency".to_owned(),
        StopCause::RestorePoint { name, time } => {
            format!("recovery stopping at restore point \"{name}\", time {}", time_text(*time))
        }
        StopCause::Lsn(lsn) => format!("recovery stopping {side} WAL location (LSN) \"{lsn}\""),
        StopCause::Transaction { commit, xid_low, time, .. } => {
            let what = if *commit { "commit" } else { "abort" };
            format!("recovery stopping {side} {what} of transaction {xid_low}, time {}", time_text(*time))
        }
    }
}

/// The reason in the new timeline's history file.
pub(crate) fn reason(stop: Option<&RecoveryStop>) -> String {
    let Some(stop) = stop else { return "no recovery target specified".to_owned() };
    let side = side(stop);
    match &stop.cause {
        StopCause::Consistent => "reached consistency".to_owned(),
        StopCause::RestorePoint { name, .. } => format!("at restore point \"{name}\""),
        StopCause::Lsn(lsn) => format!("{side} LSN {lsn}"),
        StopCause::Transaction { time, by_time: true, .. } => format!("{side} {}", time_text(*time)),
        StopCause::Transaction { xid_low, .. } => format!("{side} transaction {xid_low}"),
    }
}

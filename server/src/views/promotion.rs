//! plimsoll_promotion_report(): what the promotion of each standby would lose.

use super::replication::shared;
use super::{Asked, Function, Returns, count, lsn, no_defaults, refuse, text, time, timeline};
use crate::replication::fencing;
use crate::replication::loss::{ReportedNode, report};
use protocol::SqlState;
use replica::timeline::loss::{Answer, Further, Node, Role, further};
use sql_interface::{NodeCall, SettingActor, SqlError};
use sql_types::{Datum, TypeId};
use wal::Lsn;

const NAME: &str = "plimsoll_promotion_report";

static COLUMNS: &[(&str, TypeId)] = &[
    ("node", TypeId::Text),
    ("is_this_node", TypeId::Bool),
    ("address", TypeId::Text),
    ("role", TypeId::Text),
    ("timeline", TypeId::Int4),
    ("received_lsn", TypeId::Lsn),
    ("flushed_lsn", TypeId::Lsn),
    ("replayed_lsn", TypeId::Lsn),
    ("behind_bytes", TypeId::Int8),
    ("is_best", TypeId::Bool),
    ("verdict", TypeId::Text),
    ("by_quorum", TypeId::Bool),
    ("reason", TypeId::Text),
    ("missing_after", TypeId::Lsn),
    ("missing_upto", TypeId::Lsn),
    ("missing_commits", TypeId::Int8),
    ("missing_since", TypeId::Timestamptz),
    ("missing_until", TypeId::Timestamptz),
    ("synchronous_standby_names", TypeId::Text),
    ("primary_lsn", TypeId::Lsn),
    ("primary_time", TypeId::Timestamptz),
    ("is_fenced", TypeId::Bool),
];

fn call(asked: &Asked<'_>, _: SettingActor, _arguments: &[Datum]) -> NodeCall {
    let replication = match shared(asked) {
        Ok(replication) => replication,
        Err(error) => return refuse(error),
    };
    NodeCall::Later(Box::pin(async move {
        let nodes = report(&replication).await;
        let nodes = nodes.map_err(|error| SqlError::new(SqlState::IO_ERROR, error.to_string()))?;
        let judged: Vec<Node> = nodes.iter().map(|reported| reported.node.clone()).collect();
        let mut rows: Vec<_> =
            nodes.iter().enumerate().map(|(at, node)| row(node, at == 0, further(&judged, at))).collect();
        if let Some((own, fence)) = rows.first_mut().zip(fencing::own(&replication)) {
            tell_fence(own, &fence);
        }
        Ok(rows)
    }))
}

/// Why this node is fenced, which comes before all else that keeps it from being the one to promote.
fn tell_fence(row: &mut [Datum], fence: &str) {
    for ((name, _), value) in COLUMNS.iter().zip(row) {
        match *name {
            "reason" => {
                let reason = value.as_str().map_or_else(String::new, |reason| format!("; {reason}"));
                *value = Datum::text(format!("{fence}{reason}"));
            }
            "is_fenced" => *value = Datum::Bool(true),
            _ => {}
        }
    }
}

fn row(reported: &ReportedNode, is_this_node: bool, lacks: Option<Further>) -> Vec<Datum> {
    let ReportedNode { node, address, error, report, commits, is_best } = reported;
    let answer = node.answer.as_ref();
    let position = |of: fn(&Answer) -> Lsn| answer.map_or(Datum::Null, |answer| lsn(of(answer)));
    let role = answer.map(|answer| match answer.role {
        Role::Primary { .. } => "primary",
        Role::Standby { .. } => "standby",
    });
    let behind = answer.map(|_| lacks.map_or(0, |lacks| lacks.upto.bytes_since(lacks.from)));
    // Who knows the commits knows their times; else they lie between what is here and the last that was
    // heard.
    let counted = commits.map(|commits| commits.count);
    let may_lack = report.as_ref().is_some_and(|report| report.verdict.may_lose());
    let told = answer.and_then(|answer| answer.primary_end);
    let (since, until) = match commits.and_then(|commits| commits.times) {
        Some((first, last)) => (Some(first), Some(last)),
        None if may_lack && counted.is_none() => {
            (answer.and_then(|answer| answer.last_commit), told.map(|(_, at)| at))
        }
        None => (None, None),
    };
    let verdict = report.as_ref();
    let reason = verdict.map(|report| report.reason.as_str()).or(error.as_deref());
    let rule = answer.and_then(|answer| answer.rule.as_ref());
    vec![
        Datum::text(&node.name),
        Datum::Bool(is_this_node),
        text(address.as_ref().map(ToString::to_string)),
        text(role),
        answer.map_or(Datum::Null, |answer| timeline(answer.history.target())),
        position(|answer| answer.progress.written),
        position(|answer| answer.progress.flushed),
        position(|answer| answer.progress.replayed),
        behind.map_or(Datum::Null, count),
        Datum::Bool(*is_best),
        text(verdict.map(|report| report.verdict.name())),
        verdict.map_or(Datum::Null, |report| Datum::Bool(report.by_quorum)),
        text(reason),
        verdict.filter(|_| may_lack).map_or(Datum::Null, |report| lsn(report.from)),
        verdict.filter(|_| may_lack).and_then(|report| report.upto).map_or(Datum::Null, lsn),
        counted.map_or(Datum::Null, count),
        time(since),
        time(until),
        text(rule.and_then(|rule| rule.names.as_deref())),
        told.map_or(Datum::Null, |(end, _)| lsn(end)),
        time(told.map(|(_, at)| at)),
        answer.map_or(Datum::Null, |answer| Datum::Bool(answer.is_fenced)),
    ]
}

pub(super) static FUNCTIONS: &[Function] = &[Function {
    name: NAME,
    about: "What the promotion of each standby would lose, by what all nodes say that can be asked now; a row a node, this one first.",
    arguments: &[],
    required: 0,
    defaults: no_defaults,
    strict: true,
    returns: Returns::Set(COLUMNS),
    call,
}];

//! plimsoll_roster: the nodes of the cluster that this one knows, and what they said last.

use super::replication::ready;
use super::{View, float, number, text, time, timeline};
use crate::replication::roster::{RosterRow, rows};
use sql_types::Datum;

pub(super) static VIEWS: &[View] = &[view! {
    "plimsoll_roster", 15_011,
    "The nodes of the cluster that this one knows by replication or by plimsoll.peers, when each was last heard of, and what it said when it was last asked what it is a witness of; a row an address, this node first.",
    rows |asked, actor| rows(ready(asked)?).into_iter().map(move |row| (row, actor.reads_statistics)),
    each |(row, seen)| [
        // As in pg_stat_wal_receiver: where nodes are, and what they said, is for pg_read_all_stats.
        let shown = |value: Datum| if seen { value } else { Datum::Null };
        let RosterRow { member, name, host, port, source, silent, told } = row;
        let (writes, witnesses) = told.as_ref().and_then(|told| told.timelines).unzip();
        let answered_by = told.as_ref().and_then(|told| told.member);
    ] {
        "member": Text = text(member.map(|member| member.to_string())),
        "name": Text = text(name),
        "host": Text = shown(text(host)),
        "port": Int4 = shown(number(port.map(i32::from))),
        "source": Text = Datum::text(source),
        "silent_seconds": Float8 = shown(float(silent.map(|silent| silent.as_secs_f64()))),
        "asked": Timestamptz = shown(time(told.as_ref().map(|told| told.at))),
        "answer": Text = shown(text(told.as_ref().map(|told| told.state))),
        "answered_by": Text = shown(text(answered_by.map(|member| member.to_string()))),
        "timeline": Int4 = shown(writes.map_or(Datum::Null, timeline)),
        "witnessed_timeline": Int4 = shown(witnesses.map_or(Datum::Null, timeline)),
        "error": Text = shown(text(told.and_then(|told| told.error))),
    }
}];

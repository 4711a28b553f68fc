//! plimsoll_roster: the nodes of the cluster that this one knows, and what they said last.

use super::replication::ready;
use super::{View, float, number, text, time, timeline};
use crate::replication::roster::{RosterRow, rows};
use sql_types::Datum;

pub(super) static VIEWS: &[View] = &[view! {
    "plimsoll_roster", 15_011,
    "The nodes of the cluster that this one knows by replication or by plimsoll.peers, when each was last heard of, and what it said when it was last asked what it is a witness of; a row an address, this node first.",
    rows |asked, _actor| rows(ready(asked)?),
    each |row| [
        let RosterRow { member, name, host, port, source, silent, told } = row;
        let (writes, witnesses) = told.as_ref().and_then(|told| told.timelines).unzip();
        let answered_by = told.as_ref().and_then(|told| told.member);
    ] {
        "member": Text = text(member.map(|member| member.to_string())),
        "name": Text = text(name),
        "host": Text = text(host),
        "port": Int4 = number(port.map(i32::from)),
        "source": Text = Datum::text(source),
        "silent_seconds": Float8 = float(silent.map(|silent| silent.as_secs_f64())),
        "asked": Timestamptz = time(told.as_ref().map(|told| told.at)),
        "answer": Text = text(told.as_ref().map(|told| told.state)),
        "answered_by": Text = text(answered_by.map(|member| member.to_string())),
        "timeline": Int4 = writes.map_or(Datum::Null, timeline),
        "witnessed_timeline": Int4 = witnesses.map_or(Datum::Null, timeline),
        "error": Text = text(told.and_then(|told| told.error)),
    }
}];

//! pg_settings, pg_file_settings' smaller kin, and what names the server.

use super::Asked;
use super::{Function, Returns, View, no_defaults, one, text};
use sql::{NodeRows, SettingActor};
use sql_types::{Array, Datum, TypeId};

pub(super) static VIEWS: &[View] = &[View {
    name: "pg_settings",
    oid: 12_119,
    columns: &[
        ("name", TypeId::Text),
        ("setting", TypeId::Text),
        ("unit", TypeId::Text),
        ("category", TypeId::Text),
        ("short_desc", TypeId::Text),
        ("extra_desc", TypeId::Text),
        ("context", TypeId::Text),
        ("vartype", TypeId::Text),
        ("source", TypeId::Text),
        ("min_val", TypeId::Text),
        ("max_val", TypeId::Text),
        ("enumvals", TypeId::TextArray),
        ("boot_val", TypeId::Text),
        ("reset_val", TypeId::Text),
        ("sourcefile", TypeId::Text),
        ("sourceline", TypeId::Int4),
        ("pending_restart", TypeId::Bool),
    ],
    rows: settings,
}];

fn settings(asked: &Asked<'_>, actor: SettingActor) -> sql::Result<NodeRows> {
    let row = |row: settings::Row| {
        let words = row.enumvals.map(|words| words.iter().map(|word| Datum::text(*word)).collect::<Vec<_>>());
        vec![
            Datum::text(row.name),
            Datum::text(row.setting),
            text(row.unit),
            Datum::text(row.category),
            Datum::text(row.short_desc),
            Datum::Null,
            Datum::text(row.context),
            Datum::text(row.vartype),
            Datum::text(row.source),
            text(row.min_val),
            text(row.max_val),
            words.map_or(Datum::Null, |words| Datum::Array(Array::of(TypeId::Text, words).into())),
            text(row.boot_val),
            Datum::text(row.reset_val),
            if actor.superuser { text(row.sourcefile) } else { Datum::Null },
            match row.sourceline.and_then(|line| i32::try_from(line).ok()) {
                Some(line) if actor.superuser => Datum::Int4(line),
                _ => Datum::Null,
            },
            Datum::Bool(row.pending_restart),
        ]
    };
    Ok((asked.setting_rows)(actor.superuser).into_iter().map(row).collect())
}

pub(super) static FUNCTIONS: &[Function] = &[Function {
    name: "pg_conf_load_time",
    arguments: &[],
    required: 0,
    defaults: no_defaults,
    strict: true,
    returns: Returns::One(TypeId::Timestamptz),
    call: |asked, _, _| one(Datum::Timestamptz(asked.node().ground.current().loaded.micros())),
}];

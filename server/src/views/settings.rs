//! pg_settings, and when the settings were read.

use super::{Function, Returns, View, no_defaults, one, text, time};
use sql_types::{Array, Datum, TypeId};

pub(super) static VIEWS: &[View] = &[view! {
    "pg_settings", 12_119, "All settings with their values, defaults and bounds; a row a setting.",
    rows |asked, actor| {
        // pg_read_all_settings sees what superusers see.
        let superuser = actor.superuser || actor.reads_settings;
        (asked.setting_rows)(superuser).into_iter().map(move |row| (row, superuser))
    },
    each |(row, superuser)| [
        let words = row.enumvals.map(|words| words.iter().map(|word| Datum::text(*word)).collect());
        let words = words.map_or(Datum::Null, |words| Datum::Array(Array::of(TypeId::Text, words).into()));
        let line = row.sourceline.and_then(|line| i32::try_from(line).ok()).filter(|_| superuser);
    ] {
        "name": Text = Datum::text(row.name),
        "setting": Text = Datum::text(row.setting),
        "unit": Text = text(row.unit),
        "category": Text = Datum::text(row.category),
        "short_desc": Text = Datum::text(row.short_desc),
        "extra_desc": Text = Datum::Null,
        "context": Text = Datum::text(row.context),
        "vartype": Text = Datum::text(row.vartype),
        "source": Text = Datum::text(row.source),
        "min_val": Text = text(row.min_val),
        "max_val": Text = text(row.max_val),
        "enumvals": TextArray = words,
        "boot_val": Text = text(row.boot_val),
        "reset_val": Text = Datum::text(row.reset_val),
        "sourcefile": Text = if superuser { text(row.sourcefile) } else { Datum::Null },
        "sourceline": Int4 = line.map_or(Datum::Null, Datum::Int4),
        "pending_restart": Bool = Datum::Bool(row.pending_restart),
    }
}];

pub(super) static FUNCTIONS: &[Function] = &[Function {
    name: "pg_conf_load_time",
    about: "When the configuration files were read last.",
    arguments: &[],
    required: 0,
    defaults: no_defaults,
    strict: true,
    returns: Returns::One(TypeId::Timestamptz),
    call: |asked, _, _| one(time(Some(asked.ground.current().loaded))),
}];

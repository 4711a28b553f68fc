//! Rows about views.

use super::values::{name, role_name};
use super::{Context, is_table, virtual_tables};
use crate::model::{BOOTSTRAP_ROLE_OID, Catalogue, View};
use sql_types::Datum;
use std::sync::Arc;

pub(super) fn sorted(catalogue: &Catalogue) -> Vec<&Arc<View>> {
    let mut all: Vec<&Arc<View>> = catalogue.views.values().collect();
    all.sort_by_key(|view| view.oid);
    all
}

pub(super) fn definitions(context: &Context<'_>) -> Vec<Vec<Datum>> {
    let row = |view: &Arc<View>| {
        vec![
            name("public"),
            name(&view.name),
            role_name(context.catalogue, view.owner),
            Datum::from(format!(" {};", view.query)),
        ]
    };
    // The queries of those that the server makes up are not there to be told.
    let made_up = virtual_tables(context.environment).filter(|(_, view, ..)| !is_table(view));
    let made_up = made_up.map(|(schema, view, ..)| {
        vec![name(schema), name(view), role_name(context.catalogue, BOOTSTRAP_ROLE_OID), Datum::Null]
    });
    sorted(context.catalogue).into_iter().map(row).chain(made_up).collect()
}

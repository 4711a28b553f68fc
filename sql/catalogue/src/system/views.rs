//! Rows about views.

use super::Context;
use super::values::{name, role_name};
use crate::model::{Catalogue, View};
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
    sorted(context.catalogue).into_iter().map(row).collect()
}

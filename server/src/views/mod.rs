//! The node's own tables and functions: what SQL shows of the server around it.

mod activity;
mod archive;
mod control;
mod lag;
mod locks;
mod recovery;
mod replication;
mod settings;
pub(crate) mod slots;
mod space;
mod statistics;
mod sync;

use crate::connection::registry::SessionHandle;
use crate::node::Node;
use crate::replication::standby::Recovery;
use sql::{NodeArgument, NodeCall, NodeFunction, NodeReturns, NodeRows, NodeTable, SettingActor, SqlError};
use sql_types::{Datum, Type, TypeId};
use std::sync::{Arc, OnceLock};

/// Who asks, and of which node.
pub(crate) struct Asked<'a> {
    pub(crate) node: &'a Arc<Node>,
    /// The session that asks.
    pub(crate) handle: &'a Arc<SessionHandle>,
    /// The rows of pg_settings as the session sees them; `true` shows what is for superusers only.
    pub(crate) setting_rows: &'a dyn Fn(bool) -> Vec<::settings::Row>,
}

impl<'a> Asked<'a> {
    fn node(&self) -> &'a Arc<Node> {
        self.node
    }
    fn handle(&self) -> &'a Arc<SessionHandle> {
        self.handle
    }
    /// What feeds redo, while the node is in recovery.
    fn recovery(&self) -> Option<Arc<Recovery>> {
        self.node.replication().and_then(|replication| replication.recovery())
    }
}

/// A table and what fills it.
struct View {
    name: &'static str,
    oid: u32,
    columns: &'static [(&'static str, TypeId)],
    rows: fn(&Asked<'_>, SettingActor) -> sql::Result<NodeRows>,
}

/// A function and what it does.
struct Function {
    name: &'static str,
    /// Names, types and, from `required` on, defaults.
    arguments: &'static [(&'static str, TypeId)],
    required: usize,
    defaults: fn() -> Vec<Datum>,
    strict: bool,
    returns: Returns,
    call: fn(&Asked<'_>, SettingActor, &[Datum]) -> NodeCall,
}

enum Returns {
    One(TypeId),
    Record(&'static [(&'static str, TypeId)]),
    Set(&'static [(&'static str, TypeId)]),
}

static VIEWS: &[&[View]] = &[
    activity::VIEWS,
    archive::VIEWS,
    lag::VIEWS,
    locks::VIEWS,
    recovery::VIEWS,
    slots::VIEWS,
    replication::VIEWS,
    settings::VIEWS,
    space::VIEWS,
    statistics::VIEWS,
    sync::VIEWS,
];
static FUNCTIONS: &[&[Function]] = &[
    control::FUNCTIONS,
    activity::FUNCTIONS,
    archive::FUNCTIONS,
    locks::FUNCTIONS,
    replication::FUNCTIONS,
    settings::FUNCTIONS,
    sync::FUNCTIONS,
];

fn typed(columns: &[(&'static str, TypeId)]) -> Vec<(&'static str, Type)> {
    columns.iter().map(|(name, ty)| (*name, Type::of(*ty))).collect()
}

/// The shapes of all tables.
pub(crate) fn tables() -> &'static [NodeTable] {
    static TABLES: OnceLock<Vec<NodeTable>> = OnceLock::new();
    TABLES.get_or_init(|| {
        let views = VIEWS.iter().flat_map(|group| group.iter());
        views
            .map(|view| NodeTable {
                schema: "pg_catalog",
                name: view.name,
                oid: view.oid,
                columns: typed(view.columns),
            })
            .collect()
    })
}

/// The rows of one of them.
pub(crate) fn rows(asked: &Asked<'_>, actor: SettingActor, table: usize) -> sql::Result<NodeRows> {
    let view = VIEWS.iter().flat_map(|group| group.iter()).nth(table);
    view.map_or_else(|| Err(SqlError::internal("no such node table")), |view| (view.rows)(asked, actor))
}

/// The signatures of all functions.
pub(crate) fn functions() -> &'static [NodeFunction] {
    static SIGNATURES: OnceLock<Vec<NodeFunction>> = OnceLock::new();
    SIGNATURES.get_or_init(|| FUNCTIONS.iter().flat_map(|group| group.iter()).map(signature).collect())
}

fn signature(function: &Function) -> NodeFunction {
    let mut defaults = (function.defaults)().into_iter();
    let arguments = function.arguments.iter().enumerate().map(|(at, (name, ty))| NodeArgument {
        name,
        ty: Type::of(*ty),
        default: if at < function.required { Datum::Null } else { defaults.next().unwrap_or_default() },
    });
    NodeFunction {
        name: function.name,
        arguments: arguments.collect(),
        required: function.required,
        strict: function.strict,
        returns: match function.returns {
            Returns::One(ty) => NodeReturns::Scalar(Type::of(ty)),
            Returns::Record(columns) => NodeReturns::Record(typed(columns)),
            Returns::Set(columns) => NodeReturns::Set(typed(columns)),
        },
    }
}

/// Calls one of them.
pub(crate) fn call(asked: &Asked<'_>, actor: SettingActor, function: usize, arguments: &[Datum]) -> NodeCall {
    match FUNCTIONS.iter().flat_map(|group| group.iter()).nth(function) {
        Some(function) => (function.call)(asked, actor, arguments),
        None => NodeCall::Now(Err(SqlError::internal("no such node function"))),
    }
}

/// A single value as a function's result.
fn one(value: Datum) -> NodeCall {
    NodeCall::Now(Ok(vec![vec![value]]))
}

/// A refusal as a function's result.
fn refuse(error: SqlError) -> NodeCall {
    NodeCall::Now(Err(error))
}

/// A text, or NULL.
fn text(value: Option<impl AsRef<str>>) -> Datum {
    value.map_or(Datum::Null, |value| Datum::text(value.as_ref()))
}

/// No arguments have defaults.
fn no_defaults() -> Vec<Datum> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique_and_below_those_of_users() {
        let mut seen = std::collections::BTreeSet::new();
        for table in tables() {
            assert!(table.oid < 16384 && seen.insert(table.oid.to_string()), "{}", table.name);
            assert!(seen.insert(table.name.to_owned()), "{}", table.name);
        }
        for function in functions() {
            let types: Vec<_> = function.arguments.iter().map(|argument| argument.ty.id).collect();
            assert!(seen.insert(format!("{}({types:?})", function.name)), "{}", function.name);
            assert!(function.required <= function.arguments.len(), "{}", function.name);
        }
    }
}

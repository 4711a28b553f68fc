//! The node's own tables and functions: what SQL shows of the server around it.

macro_rules! view {
    (
        $name:literal, $oid:literal, $about:literal,
        rows |$asked:ident, $actor:ident| $rows:expr,
        each |$row:pat_param| [$($setup:stmt;)*] {
            $($column:literal: $ty:ident = $value:expr,)+
        }
    ) => {
        crate::views::View {
            name: $name,
            oid: $oid,
            about: $about,
            columns: &[$(($column, sql_types::TypeId::$ty)),+],
            rows: |$asked, $actor| {
                let rows = $rows.into_iter();
                let rows = rows.map(|$row| {
                    $($setup)*
                    vec![$($value),+]
                });
                Ok(rows.collect())
            },
        }
    };
}

mod activity;
mod advisory;
mod archive;
mod backup;
mod control;
mod definitions;
mod files;
mod lag;
mod locks;
mod logging;
mod login;
mod progress;
mod promotion;
mod recovery;
mod replication;
mod roster;
mod settings;
pub(crate) mod slots;
mod space;
mod statements;
mod statistics;
mod switchover;
mod sync;
mod time_zones;

pub(crate) use advisory::mode as advisory_mode;

use crate::archive::Archive;
use crate::configuration::Ground;
use crate::connection::registry::{SessionHandle, Sessions};
use crate::error::ServerError;
use crate::node::states::Life;
use crate::node::{self, Node, PartPids};
use crate::replication::Replication;
use crate::replication::standby::Recovery;
use host::Timestamp;
use protocol::SqlState;
use sql_catalogue::rights::predefined;
use sql_interface::{
    NodeArgument, NodeCall, NodeFunction, NodeReturns, NodeRows, NodeTable, SettingActor, SqlError,
};
use sql_session::SqlEngine;
use sql_types::{Datum, Type, TypeId};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use storage::Database;
use wal::{Lsn, TimelineId};

/// Who asks, and the parts of the node that views show and functions act on; each takes those that it names.
pub(crate) struct Asked<'a> {
    /// The session that asks.
    handle: &'a Arc<SessionHandle>,
    /// The rows of pg_settings as the session sees them; `true` shows what is for superusers only.
    setting_rows: &'a dyn Fn(bool) -> Vec<::settings::Row>,
    ground: &'a Arc<Ground>,
    life: &'a Arc<Life>,
    sessions: &'a Arc<Sessions>,
    archive: &'a Arc<Archive>,
    /// None until the database is open, as the next.
    engine: Option<&'a SqlEngine>,
    replication: Option<&'a Arc<Replication>>,
    started: Timestamp,
    part_pids: &'a PartPids,
    /// Checkpoints that the log's growth set off.
    checkpoints_by_log: &'a AtomicU64,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(
        node: &'a Node,
        handle: &'a Arc<SessionHandle>,
        setting_rows: &'a dyn Fn(bool) -> Vec<::settings::Row>,
    ) -> Self {
        Self {
            handle,
            setting_rows,
            ground: &node.ground,
            life: &node.life,
            sessions: &node.sessions,
            archive: &node.archive,
            engine: node.engine(),
            replication: node.replication(),
            started: node.started,
            part_pids: &node.part_pids,
            checkpoints_by_log: &node.checkpoints_by_log,
        }
    }

    fn database(&self) -> Option<&'a Database> {
        self.engine.map(SqlEngine::database)
    }
    /// What feeds redo, while the node is in recovery.
    fn recovery(&self) -> Option<Arc<Recovery>> {
        self.replication.and_then(|replication| replication.recovery())
    }
    /// Whether this one has the rights of a role: what that role does concerns it.
    fn acts_for(&self, actor: SettingActor, role: u32) -> bool {
        actor.superuser
            || actor.role == role
            || self.engine.is_some_and(|engine| engine.has_rights_of(actor.role, role))
    }
    /// What the role of a session is called now; if that is not known, what it was called at the login.
    fn user_name(&self, role: u32, at_login: &str) -> String {
        let known = self.engine.and_then(|engine| engine.role_name(role));
        known.unwrap_or_else(|| at_login.to_owned())
    }
    /// Reads the configuration files again.
    fn reload(&self) {
        node::reload(self.ground, || self.replication);
    }
    /// Asks a standby to become a primary.
    fn request_promotion(&self) -> Result<(), ServerError> {
        node::request_promotion(self.ground, self.life, self.replication)
    }
}

/// The path of a file that a function reads. Whoever may execute it reaches only what is in or below the data
/// directory; others are for pg_read_server_files.
fn readable_path(asked: &Asked<'_>, actor: SettingActor, name: &str) -> Result<PathBuf, SqlError> {
    let path = Path::new(name);
    if !asked.acts_for(actor, predefined::READ_SERVER_FILES) {
        let denied = |what: &str| Err(SqlError::new(SqlState::INSUFFICIENT_PRIVILEGE, what));
        if path.is_absolute() {
            if !path.starts_with(&asked.ground.data_dir) {
                return denied("absolute path not allowed");
            }
        } else if path.components().any(|part| part == Component::ParentDir) {
            return denied("path must be in or below the current directory");
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return denied("reference to parent directory (\"..\") not allowed");
        }
    }
    Ok(asked.ground.data_dir.join(path))
}

/// A view and what fills it. The macro `view!` makes one from a single table of columns: name, type and
/// value.
struct View {
    name: &'static str,
    oid: u32,
    /// What it shows, in one line.
    about: &'static str,
    columns: &'static [(&'static str, TypeId)],
    rows: fn(&Asked<'_>, SettingActor) -> sql_interface::Result<NodeRows>,
}

/// A function and what it does.
struct Function {
    name: &'static str,
    /// What it gives or does, in one line.
    about: &'static str,
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
    /// At most one row of a view, as a record.
    RecordOf(&'static View),
    /// The rows of a view without some of its columns.
    SetOf {
        view: &'static View,
        without: &'static [&'static str],
    },
}

impl Returns {
    /// The columns of a record or of rows; None for a single value.
    fn columns(&self) -> Option<Vec<(&'static str, TypeId)>> {
        match self {
            Self::One(_) => None,
            Self::Record(columns) | Self::Set(columns) => Some(columns.to_vec()),
            Self::RecordOf(view) => Some(view.columns.to_vec()),
            Self::SetOf { view, without } => {
                let columns = view.columns.iter().filter(|(name, _)| !without.contains(name));
                Some(columns.copied().collect())
            }
        }
    }
}

/// The rows of a view without some of its columns.
fn without(
    view: &View,
    left_out: &[&str],
    asked: &Asked<'_>,
    actor: SettingActor,
) -> sql_interface::Result<NodeRows> {
    let stays = |row: Vec<Datum>| {
        let columns = view.columns.iter().zip(row);
        columns.filter(|((name, _), _)| !left_out.contains(name)).map(|(_, value)| value).collect()
    };
    Ok((view.rows)(asked, actor)?.into_iter().map(stays).collect())
}

/// A row of which only these columns have values.
fn sparse(columns: &[(&str, TypeId)], values: &[(&str, Datum)]) -> Vec<Datum> {
    let known = |(name, _): &(&str, Datum)| columns.iter().any(|(column, _)| column == name);
    debug_assert!(values.iter().all(known), "a column that the view does not have");
    let value = |(column, _): &(&str, TypeId)| {
        let found = values.iter().find(|(name, _)| name == column);
        found.map_or(Datum::Null, |(_, value)| value.clone())
    };
    columns.iter().map(value).collect()
}

static VIEWS: &[&[View]] = &[
    activity::VIEWS,
    archive::VIEWS,
    lag::VIEWS,
    locks::VIEWS,
    progress::FILES,
    progress::VIEWS,
    login::VIEWS,
    recovery::VIEWS,
    slots::VIEWS,
    replication::VIEWS,
    roster::VIEWS,
    settings::VIEWS,
    space::VIEWS,
    statements::VIEWS,
    statistics::VIEWS,
    sync::VIEWS,
    time_zones::VIEWS,
];
static FUNCTIONS: &[&[Function]] = &[
    control::FUNCTIONS,
    activity::CONNECTION,
    activity::FUNCTIONS,
    advisory::FUNCTIONS,
    advisory::OF_ONE,
    advisory::OF_TWO,
    archive::FUNCTIONS,
    backup::FUNCTIONS,
    definitions::FUNCTIONS,
    files::FUNCTIONS,
    locks::FUNCTIONS,
    logging::FUNCTIONS,
    promotion::FUNCTIONS,
    replication::FUNCTIONS,
    settings::FUNCTIONS,
    statements::FUNCTIONS,
    switchover::FUNCTIONS,
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
pub(crate) fn rows(asked: &Asked<'_>, actor: SettingActor, table: usize) -> sql_interface::Result<NodeRows> {
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
        returns: match (&function.returns, function.returns.columns()) {
            (Returns::Record(_) | Returns::RecordOf(_), Some(columns)) => {
                NodeReturns::Record(typed(&columns))
            }
            (Returns::Set(_) | Returns::SetOf { .. }, Some(columns)) => NodeReturns::Set(typed(&columns)),
            (Returns::One(ty), _) => NodeReturns::Scalar(Type::of(*ty)),
            (_, None) => NodeReturns::Set(Vec::new()),
        },
    }
}

/// All views, for documents: name, what it shows, columns with their types.
pub(crate) fn described_views()
-> impl Iterator<Item = (&'static str, &'static str, &'static [(&'static str, TypeId)])> {
    VIEWS.iter().flat_map(|group| group.iter()).map(|view| (view.name, view.about, view.columns))
}

/// All functions, for documents: signature, and what it gives or does.
pub(crate) fn described_functions() -> impl Iterator<Item = (&'static NodeFunction, &'static str)> {
    let all = FUNCTIONS.iter().flat_map(|group| group.iter());
    functions().iter().zip(all.map(|function| function.about))
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

/// A count.
fn count(value: u64) -> Datum {
    Datum::Int8(i64::try_from(value).unwrap_or(i64::MAX))
}

/// A position; NULL if there is none.
fn lsn(at: Lsn) -> Datum {
    if at.is_valid() { Datum::Lsn(at.get()) } else { Datum::Null }
}

/// A moment; NULL if there is none.
fn time(at: Option<Timestamp>) -> Datum {
    at.map_or(Datum::Null, |at| Datum::Timestamptz(at.micros()))
}

/// A number that may be missing.
fn float(value: Option<f64>) -> Datum {
    value.map_or(Datum::Null, Datum::Float8)
}

/// A process number that may be missing.
fn number(value: Option<i32>) -> Datum {
    value.map_or(Datum::Null, Datum::Int4)
}

/// A timeline's number.
fn timeline(timeline: TimelineId) -> Datum {
    Datum::Int4(i32::try_from(timeline.get()).unwrap_or(0))
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
        for (name, about, _) in described_views() {
            assert!(about.len() > 10 && about.ends_with('.'), "{name}: {about}");
        }
        for (function, about) in described_functions() {
            assert!(about.len() > 10 && about.ends_with('.'), "{}: {about}", function.name);
        }
        for function in functions() {
            let types: Vec<_> = function.arguments.iter().map(|argument| argument.ty.id).collect();
            assert!(seen.insert(format!("{}({types:?})", function.name)), "{}", function.name);
            assert!(function.required <= function.arguments.len(), "{}", function.name);
        }
    }
}

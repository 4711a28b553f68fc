//! Lists of what a server offers, for documents: system views, SQL functions, metrics.
//!
//! Each list is read from the table that the server itself works by, so it cannot differ from what the server
//! does.
//!
//! ```
//! for view in server::reference::views() {
//!     println!("{}: {}", view.name, view.about);
//!     for column in &view.columns {
//!         println!("    {} {}", column.name, column.data_type);
//!     }
//! }
//! ```

use crate::{metrics, views};
use settings::{Kind, Value, definitions};
use sql_interface::NodeReturns;
use sql_types::{Type, TypeId};

/// A column of a view or of a function's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type, as SQL writes it.
    pub data_type: &'static str,
}

/// A system view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its name, in the schema pg_catalog.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// Its columns, in order.
    pub columns: Vec<Column>,
}

/// An argument of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// Its type, as SQL writes it.
    pub data_type: &'static str,
    /// It may be left out.
    pub optional: bool,
}

/// What a function gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returns {
    /// One value of this type.
    Value(&'static str),
    /// One row of these columns.
    Record(Vec<Column>),
    /// Any number of rows of these columns.
    Rows(Vec<Column>),
}

/// A SQL function of the server. Functions of one name differ in their arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// What it gives or does, in one line.
    pub about: &'static str,
    /// Its arguments, in order.
    pub arguments: Vec<Argument>,
    /// What it gives.
    pub returns: Returns,
}

/// A metric of `plimsoll.metrics_listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its whole name.
    pub name: String,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// The labels of its samples.
    pub labels: &'static [&'static str],
    /// Its help text.
    pub help: &'static str,
}

fn columns(columns: impl IntoIterator<Item = (&'static str, TypeId)>) -> Vec<Column> {
    let column = |(name, ty): (&'static str, TypeId)| Column { name, data_type: ty.sql_name() };
    columns.into_iter().map(column).collect()
}

fn typed(list: &[(&'static str, Type)]) -> Vec<Column> {
    columns(list.iter().map(|(name, ty)| (*name, ty.id)))
}

/// All system views that the server offers, by name. The catalogue's own views (pg_class and its kin) are
/// SQL's.
pub fn views() -> Vec<View> {
    let view =
        |(name, about, list): (_, _, &[_])| View { name, about, columns: columns(list.iter().copied()) };
    let mut all: Vec<View> = views::described_views().map(view).collect();
    all.sort_by_key(|view| view.name);
    all
}

/// All SQL functions that the server offers, by name. Those that need no server (upper() and its kin) are
/// SQL's.
pub fn functions() -> Vec<Function> {
    let mut all: Vec<Function> = views::described_functions()
        .map(|(function, about)| Function {
            name: function.name,
            about,
            arguments: function
                .arguments
                .iter()
                .enumerate()
                .map(|(at, argument)| Argument {
                    name: argument.name,
                    data_type: argument.ty.id.sql_name(),
                    optional: at >= function.required,
                })
                .collect(),
            returns: match &function.returns {
                NodeReturns::Scalar(ty) => Returns::Value(ty.id.sql_name()),
                NodeReturns::Record(columns) => Returns::Record(typed(columns)),
                NodeReturns::Set(columns) => Returns::Rows(typed(columns)),
            },
        })
        .collect();
    all.sort_by_key(|function| function.name);
    all
}

/// All metrics of `plimsoll.metrics_listen`, in the order in which they are written.
pub fn metrics() -> Vec<Metric> {
    let metric = |metric: &metrics::table::Metric| Metric {
        name: format!("{}{}", metrics::table::PREFIX, metric.name),
        kind: metric.kind,
        labels: metric.labels,
        help: metric.help,
    };
    metrics::table::METRICS.iter().map(metric).collect()
}

/// A line a setting, as `postgres --describe-config` has them: name, context, group, type, default, least and
/// greatest value, what it does, and a last column that is empty here; tabulators stand between.
pub fn settings_lines() -> impl Iterator<Item = String> {
    definitions().iter().map(|known| {
        let plain = |value: Value| value.plain(known);
        let boot = plain(Value::boot(known));
        let (kind, default, min, max) = match known.kind {
            Kind::Bool { boot } => ("BOOLEAN", if boot { "TRUE" } else { "FALSE" }.to_owned(), None, None),
            Kind::Integer { min, max, .. } => {
                ("INTEGER", boot, Some(Value::Integer(min)), Some(Value::Integer(max)))
            }
            Kind::Real { min, max, .. } => ("REAL", boot, Some(Value::Real(min)), Some(Value::Real(max))),
            Kind::Text { .. } => ("STRING", boot, None, None),
            Kind::Choice { .. } => ("ENUM", boot, None, None),
        };
        let bound = |value: Option<Value>| value.map(plain).unwrap_or_default();
        let (context, about) = (known.context.name(), known.description());
        format!(
            "{}\t{context}\t{}\t{kind}\t{default}\t{}\t{}\t{about}\t",
            known.name,
            known.category,
            bound(min),
            bound(max)
        )
    })
}

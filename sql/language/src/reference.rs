//! What SQL offers, from the code's own tables: documentation is generated from here.

use crate::expr::{aggregate, functions};
use sql_catalogue::system;
use sql_types::TypeId;

/// How a function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FunctionKind {
    /// A value for each row.
    Scalar,
    /// A value for a group of rows.
    Aggregate,
    /// Rows.
    Set,
}

/// A function, under one list of arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionEntry {
    /// Its name.
    pub name: &'static str,
    /// How it is called.
    pub kind: FunctionKind,
    /// SQL names of the arguments' types; `any` and `anyarray` stand for values and arrays of all types.
    pub arguments: Vec<&'static str>,
    /// The last argument may come any number of times.
    pub variadic: bool,
    /// SQL name of the result's type.
    pub result: &'static str,
    /// What it gives, in a line.
    pub about: &'static str,
}

/// A table that the catalogue makes up when it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Its schema.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Names and SQL types of its columns, in order.
    pub columns: Vec<(&'static str, &'static str)>,
    /// What it shows, in a line.
    pub about: &'static str,
}

/// All functions and aggregates by their names, without those of the node (`Environment::node_functions`).
pub fn functions() -> Vec<FunctionEntry> {
    let names = |ids: &[TypeId]| ids.iter().map(|id| id.sql_name()).collect::<Vec<_>>();
    let scalar = functions::described().map(|(function, about)| FunctionEntry {
        name: function.name,
        kind: FunctionKind::Scalar,
        arguments: function.parameters.iter().map(|parameter| parameter.sql_name()).collect(),
        variadic: function.variadic,
        result: function.result.sql_name(),
        about,
    });
    let aggregates = aggregate::described().map(|(name, arguments, result, about)| FunctionEntry {
        name,
        kind: FunctionKind::Aggregate,
        arguments: names(&arguments),
        variadic: false,
        result: result.sql_name(),
        about,
    });
    let analysed = functions::analysed::ANALYSED.iter().map(|function| FunctionEntry {
        name: function.name,
        kind: if function.set { FunctionKind::Set } else { FunctionKind::Scalar },
        arguments: names(function.arguments),
        variadic: false,
        result: function.result,
        about: function.about,
    });
    let mut all: Vec<FunctionEntry> = scalar.chain(aggregates).chain(analysed).collect();
    all.sort_by_key(|function| (function.name, function.kind));
    all
}

/// All tables that the catalogue makes up, without those of the node (`Environment::node_tables`).
pub fn system_tables() -> Vec<TableEntry> {
    let entry = |table: &system::SystemTable| TableEntry {
        schema: table.schema,
        name: table.name,
        columns: table.columns.iter().map(|(name, id)| (*name, id.sql_name())).collect(),
        about: table.about,
    };
    system::TABLES.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_sql_offers_is_described() {
        let (functions, tables) = (functions(), system_tables());
        assert!(functions.len() > 250 && tables.len() > 40, "{} and {}", functions.len(), tables.len());
        assert!(functions.iter().all(|function| !function.about.is_empty()));
        assert!(tables.iter().all(|table| !table.about.is_empty() && !table.columns.is_empty()));
        let sum = |argument| {
            functions
                .iter()
                .find(|known| known.name == "sum" && known.arguments == [argument])
                .map(|f| f.result)
        };
        assert_eq!((sum("integer"), sum("bigint")), (Some("bigint"), Some("numeric")));
    }
}

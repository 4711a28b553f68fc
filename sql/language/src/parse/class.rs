//! What kind of change a statement makes, for log_statement: GetCommandLogLevel of PostgreSQL.

use super::{SqlCommand, Utility};
use sqlparser::ast::{self, SetExpr};

/// The kinds, in the order in which values of log_statement take them in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatementClass {
    /// It changes definitions, rights or settings that are kept.
    Definition,
    /// It changes rows.
    Change,
    /// All others.
    Other,
}

impl StatementClass {
    /// `prepared`: the class of a statement that PREPARE has made, if there is one of that name.
    pub fn of(command: &SqlCommand, prepared: &dyn Fn(&str) -> Option<Self>) -> Self {
        match command {
            SqlCommand::Query(query) => Self::of_query(query),
            SqlCommand::Insert(_)
            | SqlCommand::Update(_)
            | SqlCommand::Delete(_)
            | SqlCommand::Truncate(_) => Self::Change,
            SqlCommand::CreateTable(_) | SqlCommand::AlterTable(_) | SqlCommand::CreateIndex(_) => {
                Self::Definition
            }
            SqlCommand::Utility(utility) => Self::of_utility(utility, prepared),
        }
    }

    /// What changes something inside a query is absent, and refused when it is analysed.
    fn of_query(query: &ast::Query) -> Self {
        match &*query.body {
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => Self::Change,
            SetExpr::Select(select) if select.into.is_some() => Self::Definition,
            _ => Self::Other,
        }
    }

    fn of_utility(utility: &Utility, prepared: &dyn Fn(&str) -> Option<Self>) -> Self {
        match utility {
            Utility::Prepare { statement, .. } => Self::of(&statement.command, prepared),
            Utility::Explain { options, statement, .. } if options.analyze => {
                Self::of(&statement.command, prepared)
            }
            Utility::Execute { name, .. } => prepared(name).unwrap_or(Self::Other),
            Utility::Copy(copy) => {
                if copy.from {
                    Self::Change
                } else {
                    Self::Other
                }
            }
            Utility::Refused { class, .. } => *class,
            Utility::AlterSystem { .. }
            | Utility::Cluster
            | Utility::CreateRole { .. }
            | Utility::AlterRole { .. }
            | Utility::RenameRole { .. }
            | Utility::DropRole { .. }
            | Utility::CreateExtension { .. }
            | Utility::Drop(_)
            | Utility::Grant(_)
            | Utility::GrantRole(_)
            | Utility::ReassignOwned { .. }
            | Utility::DropOwned { .. }
            | Utility::ChangeOwner { .. }
            | Utility::AlterSettings { .. }
            | Utility::Rename { .. }
            | Utility::AlterView { .. }
            | Utility::CreateView { .. }
            | Utility::CreateSequence { .. }
            | Utility::AlterSequence { .. } => Self::Definition,
            _ => Self::Other,
        }
    }

    /// By the words of a text that has no tree, because it holds what is absent here.
    pub fn of_text(text: &str) -> Self {
        text.split(';').map(Self::of_words).min().unwrap_or(Self::Other)
    }

    fn of_words(text: &str) -> Self {
        let has = |wanted: &[&str]| {
            let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words.any(|word| wanted.iter().any(|one| word.eq_ignore_ascii_case(one)))
        };
        match first_word(text).to_ascii_lowercase().as_str() {
            "create" | "alter" | "drop" | "grant" | "revoke" | "comment" | "security" | "import"
            | "reassign" | "refresh" | "cluster" => Self::Definition,
            "select" | "with" if has(&["into"]) && !has(&["insert", "merge"]) => Self::Definition,
            "with" | "prepare" | "explain" if has(&["insert", "update", "delete", "merge"]) => Self::Change,
            "insert" | "update" | "delete" | "merge" | "truncate" => Self::Change,
            "copy" if has(&["from"]) => Self::Change,
            _ => Self::Other,
        }
    }
}

/// A text behind the blanks and comments that it begins with.
pub fn behind_comments(text: &str) -> &str {
    let mut rest = text.trim_start();
    loop {
        rest = match (rest.strip_prefix("--"), rest.strip_prefix("/*")) {
            (Some(line), _) => line.find(['\n', '\r']).and_then(|end| line.get(end..)).unwrap_or_default(),
            (_, Some(inside)) => behind_block(inside),
            _ => return rest,
        }
        .trim_start();
    }
}

/// What stands behind a comment whose `/*` is read already; there may be others inside it.
fn behind_block(text: &str) -> &str {
    let (mut depth, mut rest) = (1, text);
    while let Some(at) = rest.find("*/").into_iter().chain(rest.find("/*")).min() {
        let (begins, behind) = (rest.get(at..at + 1) == Some("/"), rest.get(at + 2..));
        depth += if begins { 1 } else { -1 };
        rest = behind.unwrap_or_default();
        if depth == 0 {
            return rest;
        }
    }
    ""
}

/// The first word of a statement.
pub fn first_word(text: &str) -> &str {
    behind_comments(text).split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    fn class(text: &str) -> StatementClass {
        let parsed = parse(text, 2 << 20).unwrap();
        StatementClass::of(&parsed[0].command, &|name| (name == "p").then_some(StatementClass::Change))
    }

    #[test]
    fn a_class_is_that_of_the_statement_that_runs() {
        use StatementClass::{Change, Definition, Other};
        for (text, expected) in [
            ("/* a */ insert into t values (1)", Change),
            ("-- a\rtruncate t", Change),
            ("prepare x as delete from t", Change),
            ("execute p", Change),
            ("execute q", Other),
            ("explain analyze insert into t values (1)", Change),
            ("explain (analyze) execute p", Change),
            ("explain insert into t values (1)", Other),
            ("copy t from stdin", Change),
            ("copy t to stdout", Other),
            ("declare c cursor for select 1", Other),
            ("create table a as select 1", Definition),
            ("reassign owned by a to b", Definition),
            ("grant a to b", Definition),
            ("alter system set work_mem = '4MB'", Definition),
            ("reindex table t", Other),
            ("set role a", Other),
        ] {
            assert_eq!(class(text), expected, "{text}");
        }
        for (text, expected) in [
            ("/**/ select 1 into t", Definition),
            ("with a as (select 1) insert into t select 1", Change),
            ("select 1", Other),
            ("/* /* */ insert */ create trigger t", Definition),
        ] {
            assert_eq!(StatementClass::of_text(text), expected, "{text}");
        }
    }

    #[test]
    fn comments_in_front_are_passed_over() {
        assert_eq!(first_word(" /* a /* b */ c */ -- d\n\t/**/rollback;"), "rollback");
        assert_eq!(first_word("-- a\rcommit"), "commit");
        assert_eq!(first_word("/* never ends /* */"), "");
        assert_eq!(first_word("--"), "");
    }
}

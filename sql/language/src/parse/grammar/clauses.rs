//! How what is absent is called.

use super::Tree;
use postgresql_cst_parser::syntax_kind::SyntaxKind;
use postgresql_cst_parser::{NodeOrToken, ResolvedNode};

/// Clauses that tell by themselves what is absent, by their rules in the grammar.
const CLAUSES: &[(SyntaxKind, &str)] = &[
    (SyntaxKind::over_clause, "a window function"),
    (SyntaxKind::window_clause, "WINDOW"),
    (SyntaxKind::within_group_clause, "WITHIN GROUP"),
    (SyntaxKind::tablesample_clause, "TABLESAMPLE"),
    (SyntaxKind::xmltable, "XMLTABLE"),
    (SyntaxKind::json_table, "JSON_TABLE"),
    (SyntaxKind::rowsfrom_list, "ROWS FROM"),
    (SyntaxKind::opt_search_clause, "SEARCH"),
    (SyntaxKind::opt_cycle_clause, "CYCLE"),
    (SyntaxKind::cube_clause, "CUBE"),
    (SyntaxKind::rollup_clause, "ROLLUP"),
    (SyntaxKind::grouping_sets_clause, "GROUPING SETS"),
    (SyntaxKind::PartitionSpec, "PARTITION BY"),
    (SyntaxKind::PartitionBoundSpec, "a partition"),
    (SyntaxKind::OptInherit, "INHERITS"),
    (SyntaxKind::TableLikeClause, "LIKE in a table's definition"),
    (SyntaxKind::OptTableSpace, "TABLESPACE"),
    (SyntaxKind::ExclusionConstraintList, "EXCLUDE"),
    (SyntaxKind::ConstraintAttr, "a deferrable constraint"),
    (SyntaxKind::where_or_current_clause, "WHERE CURRENT OF"),
    (SyntaxKind::table_access_method_clause, "an access method of a table"),
    (SyntaxKind::OptConsTableSpace, "TABLESPACE"),
    (SyntaxKind::AlterObjectSchemaStmt, "SET SCHEMA"),
    (SyntaxKind::AlterObjectDependsStmt, "DEPENDS ON EXTENSION"),
];

/// The innermost of those clauses around a place of the plain text.
pub(super) fn named(tree: &Tree, at: usize) -> Option<String> {
    let mut node: ResolvedNode = tree.clone();
    let mut name = None;
    loop {
        let inner = node.children_with_tokens().find_map(|child| match child {
            NodeOrToken::Node(child) => {
                let range = child.text_range();
                let (start, end) = (usize::from(range.start()), usize::from(range.end()));
                (start <= at && at < end).then(|| child.clone())
            }
            NodeOrToken::Token(_) => None,
        });
        let Some(inner) = inner else { return name };
        if let Some((_, found)) = CLAUSES.iter().find(|(kind, _)| *kind == inner.kind()) {
            name = Some((*found).to_owned());
        } else if inner.kind() == SyntaxKind::alter_table_cmd {
            name = keywords(&inner);
        }
        node = inner;
    }
}

/// The keywords at the front of a command of ALTER TABLE, which are all it is known by.
fn keywords(command: &ResolvedNode) -> Option<String> {
    let mut words = Vec::new();
    for part in command.descendants_with_tokens() {
        let NodeOrToken::Token(token) = part else { continue };
        let text = token.text();
        if text.trim().is_empty() {
            continue;
        }
        if token.kind() == SyntaxKind::IDENT || !text.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            break;
        }
        words.push(text.to_ascii_uppercase());
    }
    (!words.is_empty()).then(|| format!("ALTER TABLE {}", words.join(" ")))
}

/// Words between CREATE and what is created, which do not name it.
const BETWEEN: [&str; 11] = [
    "or",
    "replace",
    "temp",
    "temporary",
    "unlogged",
    "unique",
    "recursive",
    "trusted",
    "procedural",
    "constraint",
    "default",
];

/// Things that more than one word names, by those words.
const KINDS: [&[&str]; 20] = [
    &["access", "method"],
    &["default", "privileges"],
    &["event", "trigger"],
    &["foreign", "data", "wrapper"],
    &["foreign", "table"],
    &["large", "object"],
    &["materialized", "view"],
    &["operator", "class"],
    &["operator", "family"],
    &["text", "search", "configuration"],
    &["text", "search", "dictionary"],
    &["text", "search", "parser"],
    &["text", "search", "template"],
    &["user", "mapping"],
    &["owned", "by"],
    &["foreign", "schema"],
    &["security", "label"],
    &["transaction"],
    &["prepared"],
    &["system"],
];

/// How a statement is called, by its first words, and how many bytes of the text these are.
pub(super) fn statement_name(text: &str) -> (String, usize) {
    let mut words = Words { text, at: 0 };
    let Some(verb) = words.next() else { return ("this statement".to_owned(), 0) };
    let mut name = verb.to_uppercase();
    let mut end = words.at;
    if matches!(
        verb.as_str(),
        "create" | "alter" | "drop" | "comment" | "import" | "refresh" | "reassign" | "security"
    ) {
        let start = words.at;
        let mut kind: Vec<String> = Vec::new();
        while let Some(word) = words.next() {
            let between = kind.is_empty() && BETWEEN.contains(&word.as_str());
            if between && !(word == "default" && verb == "alter") {
                continue;
            }
            kind.push(word);
            if kind.len() == 3 {
                break;
            }
        }
        let length = KINDS
            .iter()
            .filter(|known| {
                kind.iter().zip(known.iter()).filter(|(a, b)| a.as_str() == **b).count() == known.len()
            })
            .map(|known| known.len())
            .max()
            .unwrap_or(1);
        words.at = start;
        let mut taken = 0;
        while taken < length.min(kind.len()) {
            let Some(word) = words.next() else { break };
            if kind.get(taken) == Some(&word) {
                name = format!("{name} {}", word.to_uppercase());
                taken += 1;
            }
        }
        end = words.at;
    }
    (name, end)
}

/// The words at the front of a text, in lower case, up to anything else.
struct Words<'t> {
    text: &'t str,
    at: usize,
}

impl Words<'_> {
    fn next(&mut self) -> Option<String> {
        loop {
            let rest = self.text.get(self.at..)?;
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("--") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                self.at += trimmed.find("*/").map_or(trimmed.len(), |end| end + 2);
            } else if trimmed.starts_with('(') && self.at == 0 {
                self.at += 1;
            } else {
                break;
            }
        }
        let rest = self.text.get(self.at..)?;
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let word = rest.get(..length).filter(|word| !word.is_empty())?;
        self.at += length;
        Some(word.to_lowercase())
    }
}

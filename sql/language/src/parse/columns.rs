//! Expressions that the catalogue keeps as text, and the columns that they name: a CHECK condition goes with
//! its columns.

use super::{Source, fold, parse_expression, walk};
use sql_interface::{Result, SqlError};
use sqlparser::ast;
use sqlparser::tokenizer::Span;
use std::collections::BTreeSet;

/// The identifier of a column's name in `expression`, if that is a column's name: `column`, `table.column`.
fn column_of(expression: &ast::Expr) -> Option<&ast::Ident> {
    match expression {
        ast::Expr::Identifier(name) => Some(name),
        ast::Expr::CompoundIdentifier(parts) => parts.last(),
        _ => None,
    }
}

/// The text of an expression, from which it can be read again: two signs side by side would be another
/// operator, or begin a comment.
pub fn text_of(expression: &ast::Expr) -> String {
    let is_sign = |part: &ast::Expr| matches!(part, ast::Expr::UnaryOp { op, .. } if !matches!(op, ast::UnaryOperator::Not));
    let mut apart = expression.clone();
    walk::expressions(&mut apart, |part| {
        let sign = is_sign(part);
        if let ast::Expr::UnaryOp { expr, .. } = part
            && sign
            && is_sign(expr)
        {
            let placeholder = Box::new(ast::Expr::Identifier(ast::Ident::new("")));
            **expr = ast::Expr::Nested(std::mem::replace(expr, placeholder));
        }
    });
    apart.to_string()
}

/// The names of the columns in the expression of this text.
///
/// # Errors
///
/// 42601 for a text that is no expression.
pub fn columns_of(text: &str) -> Result<BTreeSet<String>> {
    let mut parsed = parse_expression(text)?;
    let mut found = BTreeSet::new();
    walk::expressions(parsed.tree_mut()?, |part| found.extend(column_of(part).map(fold)));
    Ok(found)
}

/// The expression's text with a column under its new name.
///
/// # Errors
///
/// 42601 for a text that is no expression.
pub fn rename_column(text: &str, old: &str, new: &str) -> Result<String> {
    let mut parsed = parse_expression(text)?;
    let quote = identifier::needs_quotes(new).then_some('"');
    let renamed = ast::Ident { quote_style: quote, ..ast::Ident::new(new) };
    walk::expressions(parsed.tree_mut()?, |part| {
        let name = match part {
            ast::Expr::Identifier(name) => Some(name),
            ast::Expr::CompoundIdentifier(parts) => parts.last_mut(),
            _ => None,
        };
        if let Some(name) = name.filter(|name| fold(name) == old) {
            *name = renamed.clone();
        }
    });
    Ok(parsed.tree()?.to_string())
}

/// What a text must say otherwise to mean the same in every session.
#[derive(Debug, Default)]
pub struct Rewriting {
    /// Literals by their places, in the order of these.
    pub literals: Vec<(Span, String)>,
    /// Comparisons with NULL that are tests for it: where the NULL stands, if it stands bare behind the sign.
    pub null_tests: Vec<Option<Span>>,
}

impl Rewriting {
    /// Whether the text can stay.
    pub fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.null_tests.is_empty()
    }
}

/// The expression's text, rewritten.
///
/// # Errors
///
/// 42601 for a text that is no expression.
pub fn rewritten_expression(text: &str, rewriting: &Rewriting) -> Result<String> {
    if rewriting.is_empty() {
        return Ok(text.to_owned());
    }
    let replace = |literal: &mut ast::ValueWithSpan| {
        if let Some((_, kept)) = rewriting.literals.iter().find(|(at, _)| at.start == literal.span.start) {
            literal.value = ast::Value::SingleQuotedString(kept.clone());
        }
    };
    let mut parsed = parse_expression(text)?;
    walk::expressions(parsed.tree_mut()?, |part| {
        if !rewriting.null_tests.is_empty() {
            test_null(part);
        }
        match part {
            ast::Expr::Value(literal) => replace(literal),
            ast::Expr::TypedString(typed) => replace(&mut typed.value),
            // The parser's own way to print it is no other type's.
            ast::Expr::Cast { data_type: data_type @ ast::DataType::Regclass, .. } => {
                *data_type = ast::DataType::Custom(vec![ast::Ident::new("regclass")].into(), Vec::new());
            }
            _ => {}
        }
    });
    Ok(text_of(parsed.tree()?))
}

/// Makes a comparison with NULL a test for it.
fn test_null(part: &mut ast::Expr) {
    fn is_null(mut part: &ast::Expr) -> bool {
        while let ast::Expr::Nested(inner) = part {
            part = inner;
        }
        matches!(part, ast::Expr::Value(value) if value.value == ast::Value::Null)
    }
    let ast::Expr::BinaryOp { left, op: ast::BinaryOperator::Eq, right } = part else { return };
    let tested = match (is_null(left), is_null(right)) {
        (true, _) => right,
        (_, true) => left,
        _ => return,
    };
    let placeholder = Box::new(ast::Expr::Identifier(ast::Ident::new("")));
    let tested = std::mem::replace(tested, placeholder);
    *part = ast::Expr::IsNull(tested);
}

/// The text of a query, rewritten where it must be, and else as it was written.
///
/// # Errors
///
/// 0A000 for a comparison with NULL of another form.
pub fn rewritten_text(text: &str, rewriting: &Rewriting) -> Result<String> {
    let source = Source::new(text);
    let offset = |at| source.position(at).map(|position| source.offset(position));
    let gone = || SqlError::internal("a literal has no place in its text");
    let mut changes: Vec<(usize, usize, String)> = Vec::new();
    for (span, kept) in &rewriting.literals {
        let (start, end) = offset(span.start).zip(offset(span.end)).ok_or_else(gone)?;
        changes.push((start, end, format!("'{}'", kept.replace('\'', "''"))));
    }
    for null in &rewriting.null_tests {
        let absent = || SqlError::unsupported("CREATE VIEW with this form of a comparison with NULL");
        let span = null.ok_or_else(absent)?;
        let (null, end) = offset(span.start).zip(offset(span.end)).ok_or_else(gone)?;
        let before = text.get(..null).ok_or_else(gone)?.trim_end();
        let tested = before.strip_suffix('=').ok_or_else(absent)?;
        changes.push((tested.len(), end, " IS NULL".to_owned()));
    }
    changes.sort();
    changes.dedup();
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    for (start, end, new) in changes {
        out.push_str(text.get(done..start).ok_or_else(gone)?);
        out.push_str(&new);
        done = end;
    }
    out.push_str(text.get(done..).ok_or_else(gone)?);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_names_columns_bare_quoted_and_behind_a_table_and_nothing_else() {
        for text in [
            "b > 1",
            "(c > 0) AND t.b IS NULL",
            "abs(\"b\") = 2",
            "c IN (1, B)",
            "CASE WHEN b THEN 1 END = 1",
        ] {
            assert!(columns_of(text).unwrap().contains("b"), "{text}");
        }
        for text in ["b.c > 1", "b(c) = 1", "\"B\" > 1", "c = 'b'", "c > date '2000-01-01'"] {
            assert!(!columns_of(text).unwrap().contains("b"), "{text}");
        }
    }

    #[test]
    fn signs_side_by_side_are_kept_apart() {
        for (written, kept) in [("- -1", "-(-1)"), ("@ -1 = 1", "@ (-1) = 1"), ("not - 1 < 2", "NOT -1 < 2")]
        {
            let parsed = parse_expression(written).unwrap();
            let text = text_of(parsed.tree().unwrap());
            assert_eq!(text, kept);
            assert!(parse_expression(&text).is_ok());
        }
    }

    #[test]
    fn a_renamed_column_is_renamed_wherever_it_is_named() {
        let renamed = |text: &str, new: &str| rename_column(text, "b", new).unwrap();
        assert_eq!(renamed("b > c AND t.b < b(c)", "d"), "d > c AND t.d < b(c)");
        assert_eq!(renamed("b > 'b'", "Big \"one\""), "\"Big \"\"one\"\"\" > 'b'");
    }
}

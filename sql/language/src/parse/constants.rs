//! Constants with a type's name before them, where the name is qualified, quoted or unknown to the parser:
//! `pg_catalog.int4 '5'`, `"int4" '5'`, `pg_lsn '0/1'`.

use identifier::needs_quotes;
use sqlparser::ast::{DataType, Expr, Ident, ObjectName, TypeModifier, TypedString, Value, ValueWithSpan};
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;
use sqlparser::tokenizer::{Token, TokenWithSpan, Word};

/// The constant that comes next, if it is one of these.
pub(super) fn typed_constant(parser: &mut Parser<'_>) -> Option<Expr> {
    let [first, second, third, fourth] = parser.peek_tokens_ref();
    let Token::Word(word) = &first.token else { return None };
    let (last, behind, width) = match (&second.token, &third.token) {
        (Token::Period, Token::Word(last)) => (Some(last), fourth, 3),
        (Token::Period, _) => return None,
        _ => (None, second, 1),
    };
    let (modifiers, value_at) = match &behind.token {
        Token::LParen => modifiers(parser, width + 1)?,
        _ => (Vec::new(), width),
    };
    let value = string(parser.peek_nth_token_ref(value_at))?;
    let is_free = if last.is_some() { !is_reserved(word) } else { !is_of_grammar(word) };
    // Made only now: most words stand before no string.
    let mut name = vec![word.to_ident(first.span)];
    name.extend(last.map(|last| last.to_ident(third.span)));
    let expr = match word.keyword {
        _ if is_free => typed(name, modifiers, value),
        Keyword::NCHAR if modifiers.is_empty() => national(value)?,
        Keyword::NCHAR => typed(vec![Ident::new("bpchar")], modifiers, value),
        _ => return None,
    };
    for _ in 0..=value_at {
        parser.advance_token();
    }
    Some(expr)
}

/// Whether the grammar has the word: as the name of a type with a syntax of its own, or for something else.
fn is_of_grammar(word: &Word) -> bool {
    word.quote_style.is_none() && needs_quotes(&word.value.to_ascii_lowercase())
}

fn is_reserved(word: &Word) -> bool {
    word.quote_style.is_none() && identifier::is_reserved(&word.value)
}

/// The numbers in parentheses from this place on, and the place behind the parentheses.
fn modifiers(parser: &Parser<'_>, mut at: usize) -> Option<(Vec<TypeModifier>, usize)> {
    let mut found = Vec::new();
    loop {
        let Token::Number(digits, false) = &parser.peek_nth_token_ref(at).token else { return None };
        found.push(TypeModifier::Number(digits.clone(), false));
        match &parser.peek_nth_token_ref(at + 1).token {
            // No type takes more.
            Token::Comma if found.len() == 1 => at += 2,
            Token::RParen => return Some((found, at + 2)),
            _ => return None,
        }
    }
}

fn typed(name: Vec<Ident>, modifiers: Vec<TypeModifier>, value: ValueWithSpan) -> Expr {
    let data_type = DataType::Custom(ObjectName::from(name), modifiers);
    Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax: false })
}

/// NCHAR 'text' is N'text'.
fn national(value: ValueWithSpan) -> Option<Expr> {
    let text = value.value.into_string()?;
    Some(Expr::Value(Value::NationalStringLiteral(text).with_span(value.span)))
}

fn string(token: &TokenWithSpan) -> Option<ValueWithSpan> {
    let value = match &token.token {
        Token::SingleQuotedString(text) => Value::SingleQuotedString(text.clone()),
        Token::EscapedStringLiteral(text) => Value::EscapedStringLiteral(text.clone()),
        Token::UnicodeStringLiteral(text) => Value::UnicodeStringLiteral(text.clone()),
        Token::DollarQuotedString(text) => Value::DollarQuotedString(text.clone()),
        _ => return None,
    };
    Some(value.with_span(token.span))
}

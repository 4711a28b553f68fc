//! PostgreSQL's dialect of sqlparser, with an end of its patience.
//!
//! Where the parser can't tell by the next token what comes, it tries one way and then another. It remembers
//! where most of these tries failed, but not all: a text made for this (`case-case-case-...`) has it try the
//! same again and again. So the expressions that it begins are counted.

use super::constants::typed_constant;
use sqlparser::ast::{BinaryOperator, Expr, Ident, UnaryOperator, Value};
use sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;
use std::any::TypeId;
use std::cell::{Cell, RefCell};

/// Expressions begun at one token.
const TRIES_MAX: u8 = 40;

/// So many may be begun anywhere before they are counted for each token: what is short needs no count.
const UNCOUNTED_MAX: usize = 1000;

/// What stands before the lower end in the tree of BETWEEN SYMMETRIC, for which the parser has no word.
pub(crate) const SYMMETRIC: &str = "SYMMETRIC";

/// [`PostgreSqlDialect`] for one text.
#[derive(Debug)]
pub(super) struct Patient {
    inner: PostgreSqlDialect,
    /// Expressions begun so far, up to [`UNCOUNTED_MAX`].
    begun: Cell<usize>,
    /// Those begun since at each token.
    tries: RefCell<Vec<u8>>,
    /// The patience is over.
    ended: Cell<bool>,
}

impl Patient {
    /// For one text.
    pub(super) fn new() -> Self {
        Self {
            inner: PostgreSqlDialect {},
            begun: Cell::new(0),
            tries: RefCell::default(),
            ended: Cell::new(false),
        }
    }

    /// Whether one more expression may be begun at this token.
    fn may_begin(&self, at: usize) -> bool {
        if self.begun.get() < UNCOUNTED_MAX {
            self.begun.set(self.begun.get() + 1);
            return true;
        }
        let mut tries = self.tries.borrow_mut();
        if tries.len() <= at {
            tries.resize((at + 1).next_power_of_two(), 0);
        }
        if let Some(tries) = tries.get_mut(at) {
            *tries = tries.saturating_add(1);
            self.ended.set(self.ended.get() || *tries > TRIES_MAX);
        }
        !self.ended.get()
    }

    /// An operator before its operand: a sign takes what binds tighter than `^`, any other operator what
    /// binds tighter than infix ones of its kind. The parser takes both for tighter than `*`.
    fn prefixed(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        let (op, precedence) = match &parser.peek_token_ref().token {
            Token::Minus => (UnaryOperator::Minus, Precedence::AtTz),
            Token::Plus => (UnaryOperator::Plus, Precedence::AtTz),
            Token::Tilde => (UnaryOperator::BitwiseNot, Precedence::PgOther),
            Token::AtSign => (UnaryOperator::PGAbs, Precedence::PgOther),
            Token::PGSquareRoot => (UnaryOperator::PGSquareRoot, Precedence::PgOther),
            Token::PGCubeRoot => (UnaryOperator::PGCubeRoot, Precedence::PgOther),
            _ => return None,
        };
        parser.advance_token();
        let operand = parser.parse_subexpr(self.prec_value(precedence));
        Some(operand.map(|expr| Expr::UnaryOp { op, expr: Box::new(expr) }))
    }
}

/// An expression of one token, a name or a number, where what follows says that there is no more of it. The
/// parser takes each name for a type's at first, and writes an error of it before it tries another way.
fn single(parser: &mut Parser<'_>) -> Option<Expr> {
    let [first, next] = parser.peek_tokens_ref();
    let is_whole = match &next.token {
        Token::EOF | Token::Comma | Token::RParen => true,
        Token::Eq | Token::Neq | Token::Lt | Token::LtEq | Token::Gt | Token::GtEq => true,
        Token::Plus | Token::Minus | Token::Mul | Token::Div => true,
        Token::Word(word) => matches!(word.keyword, Keyword::FROM | Keyword::WHERE | Keyword::AND),
        _ => false,
    };
    let expr = match &first.token {
        Token::Word(word) if is_whole && word.keyword == Keyword::NoKeyword => {
            Expr::Identifier(word.to_ident(first.span))
        }
        Token::Number(digits, long) if is_whole => {
            Expr::Value(Value::Number(digits.clone(), *long).with_span(first.span))
        }
        _ => return None,
    };
    parser.advance_token();
    Some(expr)
}

/// `[NOT] BETWEEN SYMMETRIC low AND high`, and with ASYMMETRIC, which says nothing.
fn between(parser: &mut Parser<'_>, expr: &Expr) -> Option<Result<Expr, ParserError>> {
    let negated = is_keyword(&parser.peek_token_ref().token, Keyword::NOT);
    let at = usize::from(negated);
    if !is_keyword(&parser.peek_nth_token_ref(at).token, Keyword::BETWEEN) {
        return None;
    }
    let Token::Word(word) = &parser.peek_nth_token_ref(at + 1).token else { return None };
    let symmetric = word.value.eq_ignore_ascii_case(SYMMETRIC);
    if word.quote_style.is_some() || !(symmetric || word.value.eq_ignore_ascii_case("asymmetric")) {
        return None;
    }
    let span = parser.peek_nth_token_ref(at + 1).span;
    for _ in 0..at + 2 {
        parser.advance_token();
    }
    let mut made = parser.parse_between(expr.clone(), negated);
    if let (true, Ok(Expr::Between { low, .. })) = (symmetric, &mut made) {
        let value = std::mem::replace(low, Box::new(Expr::value(Value::Null)));
        **low = Expr::Prefixed { prefix: Ident::with_span(span, SYMMETRIC), value };
    }
    Some(made)
}

/// An operator that matches a pattern.
const fn matching(token: &Token) -> Option<BinaryOperator> {
    Some(match token {
        Token::Tilde => BinaryOperator::PGRegexMatch,
        Token::TildeAsterisk => BinaryOperator::PGRegexIMatch,
        Token::ExclamationMarkTilde => BinaryOperator::PGRegexNotMatch,
        Token::ExclamationMarkTildeAsterisk => BinaryOperator::PGRegexNotIMatch,
        Token::DoubleTilde => BinaryOperator::PGLikeMatch,
        Token::DoubleTildeAsterisk => BinaryOperator::PGILikeMatch,
        Token::ExclamationMarkDoubleTilde => BinaryOperator::PGNotLikeMatch,
        Token::ExclamationMarkDoubleTildeAsterisk => BinaryOperator::PGNotILikeMatch,
        _ => return None,
    })
}

/// `[NOT] LIKE ANY (array or query)` and its kin, as comparisons with the operators that LIKE stands for, and
/// these operators. The parser itself takes ALL for the name of a function behind LIKE, and behind an
/// operator reads no more in the parenthesis than an operand of that.
fn quantified(parser: &mut Parser<'_>, expr: &Expr) -> Option<Result<Expr, ParserError>> {
    let negated = is_keyword(&parser.peek_token_ref().token, Keyword::NOT);
    let at = usize::from(negated);
    let operator = &parser.peek_nth_token_ref(at).token;
    let compare_op = match (keyword(operator), negated) {
        (Keyword::LIKE, false) => BinaryOperator::PGLikeMatch,
        (Keyword::LIKE, true) => BinaryOperator::PGNotLikeMatch,
        (Keyword::ILIKE, false) => BinaryOperator::PGILikeMatch,
        (Keyword::ILIKE, true) => BinaryOperator::PGNotILikeMatch,
        (_, false) => matching(operator)?,
        _ => return None,
    };
    let quantifier = keyword(&parser.peek_nth_token_ref(at + 1).token);
    let is_quantifier = matches!(quantifier, Keyword::ALL | Keyword::ANY | Keyword::SOME);
    if !is_quantifier || parser.peek_nth_token_ref(at + 2).token != Token::LParen {
        return None;
    }
    for _ in 0..at + 3 {
        parser.advance_token();
    }
    let left = Box::new(expr.clone());
    Some(patterns(parser).map(|right| {
        let right = Box::new(right);
        match quantifier {
            Keyword::ALL => Expr::AllOp { left, compare_op, right },
            _ => Expr::AnyOp { left, compare_op, right, is_some: quantifier == Keyword::SOME },
        }
    }))
}

/// An array or a query, and the parenthesis behind it.
fn patterns(parser: &mut Parser<'_>) -> Result<Expr, ParserError> {
    let first = keyword(&parser.peek_token_ref().token);
    let made = match first {
        Keyword::SELECT | Keyword::WITH | Keyword::VALUES => Expr::Subquery(parser.parse_query()?),
        _ => parser.parse_expr()?,
    };
    parser.expect_token(&Token::RParen)?;
    Ok(made)
}

/// The keyword that a token is; none is `NoKeyword`.
fn keyword(token: &Token) -> Keyword {
    match token {
        Token::Word(word) => word.keyword,
        _ => Keyword::NoKeyword,
    }
}

fn is_keyword(token: &Token, keyword: Keyword) -> bool {
    matches!(token, Token::Word(word) if word.keyword == keyword)
}

/// All that [`PostgreSqlDialect`] answers otherwise than any dialect does; but that COPY's rows come behind
/// its semicolon, as psql has them in its files, and numbers like 0x1f, which came with PostgreSQL 16.
macro_rules! as_postgresql {
    ($($name:ident),* $(,)?) => {
        $(fn $name(&self) -> bool {
            self.inner.$name()
        })*
    };
}

impl Dialect for Patient {
    fn dialect(&self) -> TypeId {
        self.inner.dialect()
    }

    /// Called for each expression that is begun. This error ends the parse: no other way is tried after it.
    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        if self.may_begin(parser.index()) {
            let whole = single(parser).or_else(|| typed_constant(parser)).map(Ok);
            whole.or_else(|| self.prefixed(parser))
        } else {
            Some(Err(ParserError::RecursionLimitExceeded))
        }
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        expr: &Expr,
        _precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        between(parser, expr).or_else(|| quantified(parser, expr))
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.inner.identifier_quote_style(identifier)
    }
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.inner.is_delimited_identifier_start(ch)
    }
    fn is_identifier_start(&self, ch: char) -> bool {
        self.inner.is_identifier_start(ch)
    }
    fn is_identifier_part(&self, ch: char) -> bool {
        self.inner.is_identifier_part(ch)
    }
    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        self.inner.is_reserved_for_identifier(keyword)
    }
    /// ON CONFLICT may come behind a query without FROM.
    fn is_column_alias(&self, keyword: &Keyword, parser: &mut Parser<'_>) -> bool {
        *keyword != Keyword::ON && self.inner.is_column_alias(keyword, parser)
    }
    fn is_table_alias(&self, keyword: &Keyword, parser: &mut Parser<'_>) -> bool {
        self.inner.is_table_alias(keyword, parser)
    }
    fn is_custom_operator_part(&self, ch: char) -> bool {
        self.inner.is_custom_operator_part(ch)
    }
    /// What matches patterns is an operator like any other, and so is what has its name in OPERATOR(): the
    /// parser takes them for comparisons.
    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        let token = &parser.peek_token_ref().token;
        if matching(token).is_some() || is_keyword(token, Keyword::OPERATOR) {
            return Some(Ok(self.prec_value(Precedence::PgOther)));
        }
        self.inner.get_next_precedence(parser)
    }
    fn prec_value(&self, precedence: Precedence) -> u8 {
        self.inner.prec_value(precedence)
    }
    fn supports_string_literal_column_alias(&self, explicit: bool) -> bool {
        self.inner.supports_string_literal_column_alias(explicit)
    }
    fn supports_string_literal_table_alias(&self, explicit: bool) -> bool {
        self.inner.supports_string_literal_table_alias(explicit)
    }
    fn is_interval_qualifier(&self, keyword: Keyword) -> bool {
        self.inner.is_interval_qualifier(keyword)
    }
    fn is_custom_type_typed_string(&self, first: Keyword, qualified: bool) -> bool {
        self.inner.is_custom_type_typed_string(first, qualified)
    }

    as_postgresql!(
        supports_unicode_string_literal,
        supports_cte_materialization,
        supports_drop_group,
        supports_create_group,
        supports_create_role_if_not_exists,
        supports_sql_option_without_value,
        supports_tilde_like_match_operator,
        supports_comparison_in_between_low_bound,
        supports_named_fn_args_with_assignment_operator,
        supports_add_column_if_not_exists,
        supports_table_inheritance_markers,
        supports_filter_during_aggregation,
        supports_group_by_expr,
        supports_alter_user_as_alter_role,
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_create_index_with_clause,
        supports_explain_with_utility_options,
        supports_listen_notify,
        supports_exclude_constraint,
        supports_factorial_operator,
        supports_bitwise_shift_operators,
        supports_comment_on,
        supports_load_extension,
        supports_named_fn_args_with_colon_operator,
        supports_named_fn_args_with_expr_name,
        supports_empty_projections,
        supports_nested_comments,
        supports_string_escape_constant,
        supports_numeric_literal_underscores,
        supports_array_typedef_with_brackets,
        supports_geometric_types,
        supports_order_by_using_operator,
        supports_set_names,
        supports_alter_column_type_using,
        supports_left_associative_joins_without_parens,
        supports_notnull_operator,
        supports_interval_options,
        supports_insert_table_alias,
        supports_create_table_like_parenthesized,
        supports_select_wildcard_with_alias,
        supports_comma_separated_trim,
        supports_xml_expressions,
        supports_aliased_function_args,
        supports_comment_optimizer_hint,
    );
}

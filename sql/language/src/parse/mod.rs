//! From text to statements: sqlparser for queries, DML and table definitions; hand-written parsing for the
//! utility statements that it does not know or reads differently from PostgreSQL.

mod class;
pub mod columns;
mod constants;
mod copy;
mod copy_options;
mod cursor;
mod dialect;
mod doubts;
mod escapes;
mod explain;
mod extent;
mod grammar;
mod grant;
mod inserted;
mod literals;
mod maintain;
mod operators;
mod options;
mod precision;
mod rewrite;
mod role;
mod sequence;
mod setting;
mod settle;
mod source;
#[expect(missing_docs, reason = "statements and their parts are named after the words of SQL")]
mod statement;
mod tablespace;
mod transaction;
mod unicode;
mod utility;
mod values;
pub(crate) mod walk;

pub use class::{StatementClass, behind_comments, first_word};
pub use sequence::identity_options;
pub use source::Source;
pub use statement::{
    Change, CopyFormat, CopyHeader, CopyOptions, CopyStatement, CopySubject, DiscardKind, DropKind,
    DropTarget, ExplainFormat, ExplainOptions, FetchCount, FunctionName, Grant, GrantTarget, MaintainedTable,
    Maintenance, MemberGrant, Mode, NamedPrivilege, OwnedKind, Reindex, ReindexTarget, Renaming, RoleOption,
    RoleSpec, SequenceChange, SequenceOptions, SetTarget, SettingChange, SettingOf, SqlCommand, Utility,
    ViewChange,
};

use cursor::Cursor;
use dialect::Patient;
pub(crate) use dialect::SYMMETRIC;
use doubts::Found;
pub(crate) use extent::{TARGETS_MAX, too_many_tables, too_many_targets};
pub(crate) use settings::{encoding_name, encoding_number};
use settle::settle;
use sql_interface::{NAME_BYTES_MAX, Result, Severity, SqlError, clipped, stack};
use sql_types::work;
use sqlparser::ast::{self, SetExpr, Statement};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError, ParserOptions};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, TokenizerError, Word};
use sqlstate::SqlState;
use std::fmt::{self, Write};
use std::sync::Arc;

/// An identifier as PostgreSQL folds it.
pub fn fold(ident: &ast::Ident) -> String {
    cursor::folded(ident.quote_style, &ident.value)
}

/// A query that is this and no more: without WITH, ORDER BY, LIMIT and what else may stand around it.
pub fn bare_query(body: SetExpr) -> ast::Query {
    ast::Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

/// A table in FROM, by its name alone.
pub fn table_factor(name: ast::ObjectName) -> ast::TableFactor {
    ast::TableFactor::Table {
        name,
        alias: None,
        args: None,
        with_hints: Vec::new(),
        version: None,
        with_ordinality: false,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_directives: Vec::new(),
        inheritance: None,
    }
}

/// The most statements that one message may hold: each is parsed before the first runs.
const STATEMENTS_MAX: usize = 10_000;

/// A text of more tokens takes so much memory that it is worth time to give it back.
const LARGE_TOKENS: usize = 10_000;

/// A token is seldom shorter than so much, with the space behind it.
const TOKEN_BYTES: usize = 2;

/// Room is made for so many tokens at once.
const TOKENS_AT_FIRST: usize = 256;

/// The tokens of a longer text are counted before they are made.
const COUNTED_BYTES: usize = 64 << 10;

/// The parser may cut the rest of a text into tokens so often again: each time is a way through all of it.
const CUT_AGAIN_MAX: usize = 100;

/// Parsing a byte takes about as long as touching so many.
const PARSE_WORK: usize = 16;

/// One parsed statement.
#[derive(Debug)]
pub struct Parsed {
    /// The message that it stands in, for error positions.
    pub source: Source,
    /// What it says.
    pub command: SqlCommand,
    /// Of how many tokens it is made: more than its tree is deep.
    pub tokens: usize,
}

impl Drop for Parsed {
    fn drop(&mut self) {
        if self.tokens > stack::SHALLOW_TOKENS {
            let command = std::mem::replace(&mut self.command, SqlCommand::Utility(Utility::Checkpoint));
            stack::drop_tree(self.tokens, command);
            note_freed(self.tokens);
        }
    }
}

/// Has memory given back at the message's end after a text of this many tokens, if these were many.
pub(crate) fn note_freed(tokens: usize) {
    if tokens > LARGE_TOKENS {
        host::note_freed_memory();
    }
}

/// A parsed part of what the catalogue keeps as text.
pub(crate) struct Kept<T> {
    /// Its tree. Taken out only to be dropped.
    tree: Option<T>,
    /// Of how many tokens the text is made.
    pub(crate) tokens: usize,
}

impl<T> Kept<T> {
    /// The tree.
    pub(crate) fn tree(&self) -> Result<&T> {
        self.tree.as_ref().ok_or_else(|| SqlError::internal("a tree is gone"))
    }

    /// The tree, to change.
    pub(crate) fn tree_mut(&mut self) -> Result<&mut T> {
        self.tree.as_mut().ok_or_else(|| SqlError::internal("a tree is gone"))
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        stack::drop_tree(self.tokens, self.tree.take());
    }
}

/// Parses a message of any number of statements; empty ones are left out. `max_stack_depth_bytes`: the
/// session's.
///
/// # Errors
///
/// 42601 with its position, and 54000 or 54001 for what is too much or nests too deep.
pub fn parse(sql: &str, max_stack_depth_bytes: usize) -> Result<Vec<Arc<Parsed>>> {
    parse_with_notices(sql, max_stack_depth_bytes).map(|(parsed, _)| parsed)
}

/// Like [`parse`], with the notices about names that were cut.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_with_notices(
    sql: &str,
    max_stack_depth_bytes: usize,
) -> Result<(Vec<Arc<Parsed>>, Vec<SqlError>)> {
    if sql.contains('\0') {
        return Err(SqlError::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            "invalid byte sequence for encoding \"UTF8\": 0x00",
        ));
    }
    if sql.bytes().all(is_between_statements) {
        // However many semicolons there are, no token is made of any.
        return Ok((Vec::new(), Vec::new()));
    }
    work::aside(sql.len().saturating_mul(PARSE_WORK), || {
        stack::limited(max_stack_depth_bytes, || {
            let source = Source::new(sql);
            let many = if sql.len() > COUNTED_BYTES { grammar::count_tokens(sql) } else { 0 };
            let tokens = work::large(many.saturating_mul(size_of::<TokenWithSpan>()), || tokens(&source))?;
            let (count, notices) = (tokens.len(), notices(&source, &tokens));
            let mut begun = None;
            let parsed = stack::with_tokens(count, || parse_statements(&source, tokens, &mut begun));
            let parsed = parsed
                .map_err(|error| grammar::judged(&source, error, begun.and_then(|at| source.position(at))))?;
            Ok((parsed, notices))
        })
    })
}

/// Whether this stands between statements: a semicolon, or PostgreSQL's white space.
const fn is_between_statements(byte: u8) -> bool {
    matches!(byte, b';' | b' ' | b'\t' | b'\n' | b'\r' | b'\x0C')
}

/// A notice for each name that is longer than names are, and a warning for each precision that times lack.
fn notices(source: &Source, tokens: &[TokenWithSpan]) -> Vec<SqlError> {
    let cut = |(at, token): (usize, &TokenWithSpan)| match &token.token {
        Token::Word(word) if word.value.len() > NAME_BYTES_MAX => {
            let quoted = word.quote_style.is_some();
            Some(cut_name(&if quoted { word.value.clone() } else { word.value.to_ascii_lowercase() }))
        }
        Token::Number(digits, _) if digits.len() > 1 || digits.as_str() > "6" => {
            precision::reduced(source, tokens, at, digits)
        }
        _ => None,
    };
    tokens.iter().enumerate().filter_map(cut).collect()
}

/// The notice about a name that is longer than names are.
pub fn cut_name(name: &str) -> SqlError {
    let message = format!("identifier \"{name}\" will be truncated to \"{}\"", clipped(name));
    SqlError::report(Severity::Notice, SqlState::NAME_TOO_LONG, message)
}

/// The tokens without the white space, which the parser would only pass over.
fn tokens(source: &Source) -> Result<Vec<TokenWithSpan>> {
    let mut tokens = lexed(source)?;
    note_freed(tokens.len());
    check_tags(source, &tokens)?;
    if literals::go_on(&tokens) {
        tokens = literals::read(source, literals::joined(tokens))?;
    }
    tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
    if tokens.len() > LARGE_TOKENS {
        tokens.shrink_to_fit();
    }
    Ok(tokens)
}

/// A tag that begins with digits is a parameter, and what follows it begins a string.
fn check_tags(source: &Source, tokens: &[TokenWithSpan]) -> Result<()> {
    let digits = |token: &TokenWithSpan| {
        let Token::DollarQuotedString(quoted) = &token.token else { return None };
        let count = quoted.tag.as_ref()?.bytes().take_while(u8::is_ascii_digit).count();
        Some(u64::try_from(count).unwrap_or(0)).filter(|count| *count > 0)
    };
    let Some((start, digits)) = tokens.iter().find_map(|token| Some((token.span.start, digits(token)?)))
    else {
        return Ok(());
    };
    let position = source.position(Location { column: start.column + 1 + digits, ..start });
    let rest = source.text_from(position.unwrap_or(1));
    let what = format!("unterminated dollar-quoted string at or near \"{rest}\"");
    Err(SqlError::syntax(what).at(position))
}

/// The tokens as the parser cuts them; of literals with escapes that it can't read, the places alone.
fn lexed(source: &Source) -> Result<Vec<TokenWithSpan>> {
    let dialect = Patient::new();
    let mut tokens = Vec::with_capacity((source.text().len() / TOKEN_BYTES).min(TOKENS_AT_FIRST));
    let mut places = source.places();
    let mut start = Location { line: 1, column: 1 };
    let mut again = 0;
    loop {
        let begun = start;
        let in_source = |at: Location| match at.line {
            1 => Location { line: begun.line, column: begun.column + at.column - 1 },
            line => Location { line: begun.line + line - 1, column: at.column },
        };
        let known = tokens.len();
        let rest = source.text().get(places.offset(start)..).unwrap_or_default();
        let cut = Tokenizer::new(&dialect, rest).tokenize_with_location_into_buf(&mut tokens);
        if known > 0 {
            for token in tokens.iter_mut().skip(known) {
                token.span = Span::new(in_source(token.span.start), in_source(token.span.end));
            }
        }
        let behind_operator = operators::end_at_comment(&mut tokens, known);
        let behind_literal = literals::take_pieces(source, &mut places, &mut tokens, known);
        if let Some(end) = behind_literal.or(behind_operator) {
            start = end;
            again += 1;
            if again > CUT_AGAIN_MAX {
                let what =
                    "so many literals with escapes of several pieces, and comments right behind operators";
                return Err(SqlError::unsupported(what));
            }
            continue;
        }
        let Err(error) = cut else { return Ok(tokens) };
        // Tokens and white space leave nothing out, so what failed begins behind the last one.
        start = tokens.last().map_or(start, |last| last.span.end);
        let text = source.text().get(places.offset(start)..).unwrap_or_default();
        let Some(literal) = literals::Escaped::at(text) else {
            let error = TokenizerError { location: in_source(error.location), ..error };
            return Err(grammar::unread(source, source.lexical_error(&error)));
        };
        let end = literal.text.chars().fold(start, source::behind);
        tokens.push(TokenWithSpan::new(literal.into_token(), Span::new(start, end)));
        start = end;
    }
}

/// Parses all statements; `begun` tells, if that fails, where the one that failed begins.
fn parse_statements(
    source: &Source,
    mut tokens: Vec<TokenWithSpan>,
    begun: &mut Option<Location>,
) -> Result<Vec<Arc<Parsed>>> {
    let mut statements = Vec::new();
    if tokens.iter().all(|token| token.token != Token::SemiColon) {
        // The one statement's tokens need not be moved: they may be many.
        tokens.retain(|token| token.token != Token::EOF);
        if !tokens.is_empty() {
            let count = tokens.len();
            *begun = tokens.first().map(|token| token.span.start);
            let command = parse_believed(source, tokens)?;
            statements.push(Arc::new(Parsed { source: source.clone(), command, tokens: count }));
        }
        return Ok(statements);
    }
    let mut rest = tokens.into_iter();
    loop {
        let mut part = Vec::new();
        // The semicolon behind the statement, if it has one.
        let mut end = None;
        for token in rest.by_ref() {
            if token.token == Token::SemiColon {
                end = Some(token);
                break;
            }
            part.push(token);
        }
        if part.iter().any(|token| token.token != Token::EOF) {
            if statements.len() == STATEMENTS_MAX {
                return Err(SqlError::new(
                    SqlState::PROGRAM_LIMIT_EXCEEDED,
                    format!("a query string may hold at most {STATEMENTS_MAX} statements"),
                ));
            }
            let tokens = part.len();
            *begun = part.first().map(|token| token.span.start);
            let command = parse_believed(source, part).map_err(|error| match &end {
                // A statement that ends too early ends at its semicolon.
                Some(end) if error.message() == source::END_OF_INPUT => source.unexpected_here(end),
                _ => error,
            })?;
            statements.push(Arc::new(Parsed { source: source.clone(), command, tokens }));
        }
        if end.is_none() {
            return Ok(statements);
        }
    }
}

/// Parses a scalar expression that the catalogue keeps as text (DEFAULT, CHECK).
pub(crate) fn parse_expression(text: &str) -> Result<Kept<ast::Expr>> {
    let source = Source::new(text);
    kept(&source, |tokens| read(&source, tokens, |parser| parser.parse_expr()))
}

/// Parses a query that the catalogue keeps as text (a view's).
pub(crate) fn parse_view(text: &str) -> Result<Kept<Box<ast::Query>>> {
    let source = Source::new(text);
    kept(&source, |tokens| read_query(&source, tokens))
}

fn kept<T: ast::VisitMut>(
    source: &Source,
    parse: impl FnOnce(Vec<TokenWithSpan>) -> Result<T>,
) -> Result<Kept<T>> {
    let tokens = tokens(source)?;
    let count = tokens.len();
    stack::with_tokens(count, || {
        let tree = settle(parse(tokens)?, count)?;
        Ok(Kept { tree: Some(tree), tokens: count })
    })
}

/// Lets the parser make something of some tokens; the first that it does not take is an error.
fn read<T>(
    source: &Source,
    tokens: Vec<TokenWithSpan>,
    read: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T> {
    let dialect = Patient::new();
    let mut parser = Parser::new(&dialect)
        .with_options(ParserOptions::new().with_trailing_commas(false))
        .with_recursion_limit(stack::parser_levels_max())
        .with_tokens_with_locations(tokens);
    let made = read(&mut parser).map_err(|error| source.syntax_error(&error))?;
    let rest = parser.peek_token();
    if rest.token == Token::EOF { Ok(made) } else { Err(source.unexpected(&rest)) }
}

/// Like [`read`], for what may hold long lists of rows and words that the parser lacks.
fn read_whole<T: ast::VisitMut>(
    source: &Source,
    tokens: Vec<TokenWithSpan>,
    parse: impl FnOnce(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Result<T> {
    let (tokens, lists) = values::cut(source, tokens)?;
    let mut tree = read(source, rewrite::adapt(source, tokens), parse)?;
    lists.put_back(source, &mut tree)?;
    Ok(tree)
}

/// Parses the tokens of one statement, and asks PostgreSQL's grammar about what is doubtful.
fn parse_believed(source: &Source, tokens: Vec<TokenWithSpan>) -> Result<SqlCommand> {
    let ends = tokens.first().zip(tokens.last()).map(|(first, last)| (first.span.start, last.span.end));
    let (command, found) = parse_statement(source, tokens)?;
    if let (true, Some((start, end))) = (found.ask, ends)
        && let (Some(start), Some(end)) = (source.position(start), source.position(end))
    {
        let statement = source.offset(start)..source.offset(end);
        grammar::confirm(source, statement, found.absent)?;
    }
    Ok(command)
}

/// Parses the tokens of one statement, and tells what is doubtful about it.
fn parse_statement(source: &Source, tokens: Vec<TokenWithSpan>) -> Result<(SqlCommand, Found)> {
    extent::check(&tokens)?;
    let mut cursor = Cursor::new(source, &tokens);
    let is_query = cursor.peek().is_some_and(begins_query);
    if !is_query && let Some(command) = utility::parse(&mut cursor)? {
        let of_itself = if utility::is_plain(&command) { Found::default() } else { Found::ASK };
        let found = of_itself.and(cursor.doubts()).and(doubts::of_tokens(&tokens));
        let command = match cursor.take_refusal() {
            Some(refusal) => utility::refused(&command, refusal),
            None => command,
        };
        return Ok((command, found));
    }
    parse_plain(source, tokens)
}

/// Parses the tokens of a statement that is none of those parsed by hand, which may have others inside them.
fn parse_plain(source: &Source, mut tokens: Vec<TokenWithSpan>) -> Result<(SqlCommand, Found)> {
    let (count, of_tokens) = (tokens.len(), doubts::of_tokens(&tokens));
    if tokens.first().is_some_and(|first| begins_query(&first.token)) {
        // As the parser would do, without moving a tree of the largest statement's size about.
        let mut query = settle(read_query(source, tokens)?, count)?;
        let found = of_tokens.and(doubts::of_tree(source, &mut query));
        return Ok((behind_with(query)?, found));
    }
    let refusal = tablespace::take(&mut tokens);
    let mut statement = settle(read_whole(source, tokens, |parser| parser.parse_statement())?, count)?;
    let found = of_tokens.and(doubts::of_tree(source, &mut statement));
    let command = classify(None, statement)?;
    let command = match refusal {
        Some(refusal) => utility::refused(&command, refusal),
        None => command,
    };
    Ok((command, found))
}

/// Whether a statement that begins so is a query.
fn begins_query(first: &Token) -> bool {
    let is_word = |word: &Word| matches!(word.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES);
    matches!(first, Token::LParen) || matches!(first, Token::Word(word) if is_word(word))
}

/// Parses a query inside another statement from all of `tokens`, as a statement of its own; what is doubtful
/// about it is noted at the cursor.
fn parse_inner_query(cursor: &Cursor<'_>, tokens: Vec<TokenWithSpan>) -> Result<Arc<Parsed>> {
    let (source, count) = (cursor.source(), tokens.len());
    let mut query = settle(read_query(source, tokens)?, count)?;
    cursor.note(doubts::of_tree(source, &mut query));
    Ok(Arc::new(Parsed { source: source.clone(), command: SqlCommand::Query(query), tokens: count }))
}

fn read_query(source: &Source, tokens: Vec<TokenWithSpan>) -> Result<Box<ast::Query>> {
    read_whole(source, tokens, |parser| parser.parse_query())
}

/// A query, or the change of rows that stands behind a WITH.
fn behind_with(query: Box<ast::Query>) -> Result<SqlCommand> {
    match *query.body {
        SetExpr::Insert(statement) | SetExpr::Update(statement) | SetExpr::Delete(statement) => {
            classify(query.with, statement)
        }
        _ => Ok(SqlCommand::Query(query)),
    }
}

fn classify(with: Option<ast::With>, statement: Statement) -> Result<SqlCommand> {
    Ok(match statement {
        Statement::Query(query) => SqlCommand::Query(query),
        Statement::Insert(statement) => SqlCommand::Insert(Box::new(Change { with, statement })),
        Statement::Update(statement) => SqlCommand::Update(Box::new(Change { with, statement })),
        Statement::Delete(statement) => SqlCommand::Delete(Box::new(Change { with, statement })),
        Statement::CreateTable(table) => SqlCommand::CreateTable(Box::new(table)),
        Statement::AlterTable(alter) => SqlCommand::AlterTable(Box::new(alter)),
        Statement::Truncate(truncate) => SqlCommand::Truncate(Box::new(truncate)),
        Statement::CreateIndex(index) => SqlCommand::CreateIndex(Box::new(index)),
        Statement::CreateView(_) => return Err(SqlError::unsupported("CREATE VIEW")),
        Statement::CreateFunction(_) => return Err(SqlError::unsupported("CREATE FUNCTION")),
        Statement::CreateExtension(create) => SqlCommand::Utility(Utility::CreateExtension {
            name: create.name.value,
            lenient: create.if_not_exists,
        }),
        Statement::CreateTrigger(_) => return Err(SqlError::unsupported("CREATE TRIGGER")),
        Statement::CreateType { .. } => return Err(SqlError::unsupported("CREATE TYPE")),
        Statement::CreateDomain(_) => return Err(SqlError::unsupported("CREATE DOMAIN")),
        Statement::CreateSchema { .. } => return Err(SqlError::unsupported("CREATE SCHEMA")),
        Statement::Merge(_) => return Err(SqlError::unsupported("MERGE")),
        Statement::Call(_) => return Err(SqlError::unsupported("CALL")),
        other => {
            // Its own text begins with the words that name it.
            let mut text = Head(String::new());
            let _ = write!(text, "{other}");
            let words: Vec<&str> = text
                .0
                .split_whitespace()
                .take_while(|word| word.bytes().all(|b| b.is_ascii_uppercase()))
                .take(2)
                .collect();
            return Err(SqlError::unsupported(if words.is_empty() {
                "this statement".to_owned()
            } else {
                words.join(" ")
            }));
        }
    })
}

/// The beginning of a text: what writes it is stopped, so that it does not follow the whole tree.
struct Head(String);

impl Write for Head {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(text);
        if self.0.len() < 100 { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The text of a sqlparser error without its place.
pub(crate) fn parser_error_parts(error: &ParserError) -> (String, Option<(u64, u64)>) {
    let message = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
        // Told otherwise: by stack::exceeded().
        ParserError::RecursionLimitExceeded => return (String::new(), None),
    };
    let Some((text, place)) = message.rsplit_once(" at Line: ") else { return (message, None) };
    let place = place
        .split_once(", Column: ")
        .and_then(|(line, column)| Some((line.trim().parse().ok()?, column.trim().parse().ok()?)));
    (text.to_owned(), place)
}

#[cfg(test)]
mod tests;

//! What PostgreSQL's grammar has and sqlparser's does not, said in words that it knows.
//!
//! - FOR NO KEY UPDATE and FOR KEY SHARE become the next stronger locks, FOR UPDATE and FOR SHARE.
//! - ISNULL and NOTNULL behind an expression become IS NULL and IS NOT NULL.
//! - TABLE name becomes SELECT * FROM name, and parentheses around all that INSERT inserts go.
//! - The options of an identity column come in the one order that it takes.
//! - pg_catalog before substring goes, and so does OPERATOR(pg_catalog. ) around an operator before ANY and
//!   ALL; trim(LEADING FROM text) is told that it means blanks.
//! - substring(text SIMILAR pattern ESCAPE escape) becomes substring(text FROM pattern FOR escape).
//! - INTERVAL(n) 'text' becomes INTERVAL 'text' SECOND(n).

use super::{Source, inserted, operators};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Whitespace};
use std::sync::LazyLock;

pub(super) fn is_word(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(wanted))
}

/// After these words a query may begin.
const BEFORE_QUERIES: [&str; 6] = ["union", "all", "except", "intersect", "distinct", "as"];

/// Whether a word may begin what is said otherwise.
fn is_rewritten(token: &Token) -> bool {
    use Keyword::{FOR, IDENTITY, NOTNULL, NoKeyword, TABLE};
    match token {
        Token::Word(word) => match word.keyword {
            TABLE | FOR | IDENTITY | NOTNULL => true,
            // No word of the parser's, which then tells of none.
            NoKeyword => is_word(token, "isnull"),
            _ => false,
        },
        _ => false,
    }
}

/// Whether a word may begin what [`unqualified`] says otherwise.
fn is_qualified(token: &Token) -> bool {
    use Keyword::{BOTH, INTERVAL, LEADING, NoKeyword, OPERATOR, TRAILING};
    match token {
        Token::Word(word) => match word.keyword {
            BOTH | INTERVAL | LEADING | OPERATOR | TRAILING => true,
            NoKeyword => is_word(token, "pg_catalog"),
            _ => false,
        },
        _ => false,
    }
}

/// The tokens as sqlparser shall see them; places stay those of the text.
pub(super) fn adapt(source: &Source, mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    tokens = operators::joined(source, tokens);
    let is_insert = |token: &Token| matches!(token, Token::Word(word) if word.keyword == Keyword::INSERT);
    if tokens.iter().any(|token| is_insert(&token.token)) {
        tokens = inserted::plainly(tokens);
    }
    if tokens.iter().any(|token| is_qualified(&token.token)) {
        tokens = unqualified(&tokens);
    }
    if tokens.iter().any(|token| is_word(&token.token, "similar")) {
        extract_similar(&mut tokens);
    }
    if !tokens.iter().any(|token| is_rewritten(&token.token)) {
        return tokens;
    }
    rewritten(&tokens)
}

/// Whether a literal is one of a text, however that is written.
const fn is_string(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::DollarQuotedString(_)
    )
}

/// SIMILAR without TO, which stands in substring only, and its ESCAPE become FROM and FOR.
fn extract_similar(tokens: &mut [TokenWithSpan]) {
    // The place of SIMILAR in each parenthesis that is open.
    let mut open: Vec<Option<usize>> = vec![None];
    let mut changed = Vec::new();
    let mut said = said_from(tokens, 0).peekable();
    while let Some((at, token)) = said.next() {
        match token {
            Token::LParen => open.push(None),
            Token::RParen => {
                open.pop();
            }
            word if is_word(word, "similar") => {
                let is_operator = said.peek().is_none_or(|(_, next)| is_word(next, "to"));
                if let (false, Some(place)) = (is_operator, open.last_mut()) {
                    *place = Some(at);
                }
            }
            word if is_word(word, "escape") => {
                if let Some(similar) = open.last_mut().and_then(Option::take) {
                    changed.push((similar, keyword("FROM", Keyword::FROM)));
                    changed.push((at, keyword("FOR", Keyword::FOR)));
                }
            }
            _ => {}
        }
    }
    drop(said);
    for (at, word) in changed {
        if let Some(token) = tokens.get_mut(at) {
            token.token = word;
        }
    }
}

/// Constructs of their own syntax without the schema before them.
fn unqualified(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        let near: Vec<(usize, &Token)> = said_from(tokens, at).take(7).collect();
        match near.as_slice() {
            [(_, schema), (_, Token::Period), (name_at, name), (_, Token::LParen), ..]
                if is_word(schema, "pg_catalog")
                    && (is_word(name, "substring") || is_word(name, "substr")) =>
            {
                at = *name_at;
            }
            [
                (_, word),
                (_, Token::LParen),
                (_, schema),
                (_, Token::Period),
                (name_at, _),
                (end, Token::RParen),
                (_, next),
            ] if is_word(word, "operator")
                && is_word(schema, "pg_catalog")
                && ["any", "all", "some"].iter().any(|word| is_word(next, word)) =>
            {
                out.extend(tokens.get(*name_at).cloned());
                at = *end + 1;
            }
            [
                (word_at, word),
                (open, Token::LParen),
                (_, Token::Number(..)),
                (close, Token::RParen),
                (text_at, text),
                ..,
            ] if is_word(word, "interval") && is_string(text) => {
                let space = || TokenWithSpan::new(Token::Whitespace(Whitespace::Space), token.span);
                for place in [word_at, text_at] {
                    out.extend(tokens.get(*place).cloned());
                    out.push(space());
                }
                out.push(TokenWithSpan::new(keyword("SECOND", Keyword::SECOND), token.span));
                out.extend(tokens.get(*open..=*close).into_iter().flatten().cloned());
                at = *text_at + 1;
            }
            [(_, side), (from_at, from), ..]
                if ["leading", "trailing", "both"].iter().any(|word| is_word(side, word))
                    && is_word(from, "from") =>
            {
                out.push(token.clone());
                let space = || TokenWithSpan::new(Token::Whitespace(Whitespace::Space), token.span);
                out.push(space());
                out.push(TokenWithSpan::new(Token::SingleQuotedString(" ".to_owned()), token.span));
                out.push(space());
                at = *from_at;
            }
            _ => {
                out.push(token.clone());
                at += 1;
            }
        }
    }
    out
}

fn rewritten(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len() + 3);
    let mut before: Option<&Token> = None;
    let (mut skip, mut has_with) = (0, false);
    for (at, token) in tokens.iter().enumerate() {
        if is_space(token) {
            out.push(token.clone());
            continue;
        }
        if skip > 0 {
            skip -= 1;
            continue;
        }
        let mut after = said_from(tokens, at + 1).map(|(_, token)| token);
        let mut next = || after.next();
        if before.is_some_and(ends_expression) && test_for_null(&token.token, token.span, &mut out) {
            before = Some(&NULL);
            continue;
        }
        has_with |= is_word(&token.token, "with");
        let begins = may_begin_query(before) || has_with && before == Some(&Token::RParen);
        if is_word(&token.token, "table") && begins && is_name(next()) {
            out.extend(select_all(token.span));
        } else {
            out.push(token.clone());
        }
        if is_word(&token.token, "for") {
            let mut is_next = |wanted: &str| next().is_some_and(|token| is_word(token, wanted));
            let mut words = ["no", "key", "update"].into_iter();
            let no_key = words.all(&mut is_next);
            let mut after = said_from(tokens, at + 1).map(|(_, token)| token);
            let mut next = || after.next();
            let key = next().is_some_and(|token| is_word(token, "key"))
                && next().is_some_and(|token| is_word(token, "share"));
            skip = if no_key { 2 } else { usize::from(key) };
        }
        before = Some(&token.token);
    }
    order_identity_options(&mut out);
    out
}

/// The last word of what [`test_for_null`] makes.
static NULL: LazyLock<Token> = LazyLock::new(|| keyword("NULL", Keyword::NULL));

/// Whether an expression may end with this token.
fn ends_expression(token: &Token) -> bool {
    const VALUES: [&str; 6] = ["null", "true", "false", "end", "user", "unknown"];
    match token {
        Token::Word(word) if word.quote_style.is_none() && identifier::is_reserved(&word.value) => {
            let value = word.value.to_ascii_lowercase();
            VALUES.contains(&value.as_str()) || value.starts_with("current_") || value == "session_user"
        }
        Token::Word(_) | Token::Number(..) | Token::Placeholder(_) | Token::RParen | Token::RBracket => true,
        other => is_string(other),
    }
}

/// Puts IS NULL in the place of ISNULL, and IS NOT NULL in that of NOTNULL.
fn test_for_null(token: &Token, span: Span, out: &mut Vec<TokenWithSpan>) -> bool {
    let not = is_word(token, "notnull");
    if !not && !is_word(token, "isnull") {
        return false;
    }
    let words = [
        Some(keyword("IS", Keyword::IS)),
        not.then(|| keyword("NOT", Keyword::NOT)),
        Some(keyword("NULL", Keyword::NULL)),
    ];
    out.extend(words.into_iter().flatten().map(|word| TokenWithSpan::new(word, span)));
    true
}

/// Sorts what stands in parentheses after AS IDENTITY.
fn order_identity_options(tokens: &mut [TokenWithSpan]) {
    let mut from = 0;
    while let Some(at) =
        tokens.iter().skip(from).position(|token| is_word(&token.token, "identity")).map(|at| at + from)
    {
        from = at + 1;
        let before = tokens.iter().take(at).rev().find(|token| !is_space(token));
        if !before.is_some_and(|token| is_word(&token.token, "as")) {
            continue;
        }
        let Some(open) = tokens.iter().skip(from).position(|token| !is_space(token)).map(|at| at + from)
        else {
            return;
        };
        if tokens.get(open).is_none_or(|token| token.token != Token::LParen) {
            continue;
        }
        let near = tokens.iter().skip(open).take(OPTION_TOKENS_MAX);
        let Some(close) = near.into_iter().position(|token| token.token == Token::RParen) else { continue };
        let Some(inside) = tokens.get_mut(open + 1..open + close) else { return };
        // AS identity (a, b) names columns.
        if inside.iter().any(|token| token.token == Token::Comma) {
            continue;
        }
        let mut options: Vec<(usize, Vec<TokenWithSpan>)> = Vec::new();
        let mut negated = false;
        for token in inside.iter() {
            let rank = OPTION_ORDER.iter().position(|word| is_word(&token.token, word));
            match (rank, options.last_mut()) {
                // NO belongs to the word behind it.
                (Some(rank), Some((of, option))) if negated => {
                    *of = rank;
                    option.push(token.clone());
                }
                (Some(rank), _) => options.push((rank, vec![token.clone()])),
                (None, _) if is_word(&token.token, "no") => options.push((0, vec![token.clone()])),
                (None, Some((_, option))) => option.push(token.clone()),
                (None, None) => options.push((0, vec![token.clone()])),
            }
            if !is_space(token) {
                negated = is_word(&token.token, "no");
            }
        }
        options.sort_by_key(|(rank, _)| *rank);
        for (place, token) in inside.iter_mut().zip(options.into_iter().flat_map(|(_, option)| option)) {
            *place = token;
        }
    }
}

/// What stands in the parentheses of an identity column is short; what is not stays as it is.
const OPTION_TOKENS_MAX: usize = 200;

/// The options of a sequence as sqlparser wants them.
const OPTION_ORDER: [&str; 6] = ["increment", "minvalue", "maxvalue", "start", "cache", "cycle"];

fn follows_one_of(before: Option<&Token>, words: &[&str]) -> bool {
    before.is_some_and(|before| words.iter().any(|word| is_word(before, word)))
}

fn may_begin_query(before: Option<&Token>) -> bool {
    matches!(before, None | Some(Token::LParen)) || follows_one_of(before, &BEFORE_QUERIES)
}

pub(super) fn is_name(token: Option<&Token>) -> bool {
    matches!(token, Some(Token::Word(_)))
}

fn is_space(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

/// The tokens from a place on that say something, with their places.
pub(super) fn said_from(tokens: &[TokenWithSpan], from: usize) -> impl Iterator<Item = (usize, &Token)> {
    let said = tokens.iter().enumerate().skip(from).filter(|(_, token)| !is_space(token));
    said.map(|(at, token)| (at, &token.token))
}

/// SELECT * FROM, in the place of TABLE.
pub(super) fn select_all(span: Span) -> impl Iterator<Item = TokenWithSpan> {
    let [select, from] = [keyword("SELECT", Keyword::SELECT), keyword("FROM", Keyword::FROM)];
    let apart = |word| [word, Token::Whitespace(Whitespace::Space)];
    [select, Token::Mul, from].into_iter().flat_map(apart).map(move |token| TokenWithSpan::new(token, span))
}

fn keyword(text: &str, keyword: Keyword) -> Token {
    Token::Word(sqlparser::tokenizer::Word { value: text.to_owned(), quote_style: None, keyword })
}

//! COPY, with the option list in parentheses and the older bare words.

use super::cursor::Cursor;
use super::parse_inner_query;
use super::statement::{
    CopyFormat, CopyHeader, CopyOptions, CopyStatement, CopySubject, SqlCommand, Utility,
};
use sql_interface::{Result, SqlError};
use sqlparser::tokenizer::Token;
use sqlstate::SqlState;

/// The options as written, before the format's defaults are known.
#[derive(Default)]
struct Given {
    format: Option<CopyFormat>,
    delimiter: Option<String>,
    null: Option<String>,
    header: Option<CopyHeader>,
    quote: Option<String>,
    escape: Option<String>,
    force_quote: Option<Vec<String>>,
    force_not_null: Option<Vec<String>>,
    force_null: Option<Vec<String>>,
    freeze: Option<bool>,
    /// Checked, and forgotten: it is UTF-8.
    encoding: Option<()>,
}

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<SqlCommand>> {
    if !cursor.word("copy") {
        return Ok(None);
    }
    let mut given = Given::default();
    if cursor.word("binary") {
        given.format = Some(CopyFormat::Binary);
    }
    let subject = if cursor.peek() == Some(&Token::LParen) {
        let inside = cursor.parenthesised()?;
        CopySubject::Query(parse_inner_query(cursor, inside)?)
    } else {
        let name = cursor.object_name()?;
        let columns = if cursor.peek() == Some(&Token::LParen) { cursor.name_list()? } else { Vec::new() };
        CopySubject::Table { name, columns }
    };
    let from = if cursor.word("from") {
        true
    } else if cursor.word("to") {
        false
    } else {
        return Err(cursor.unexpected());
    };
    if from && matches!(subject, CopySubject::Query(_)) {
        return Err(SqlError::syntax("COPY query cannot be used with COPY FROM"));
    }
    if cursor.word("program") || matches!(cursor.peek(), Some(Token::SingleQuotedString(_))) {
        return Err(SqlError::unsupported("COPY with a file or program on the server").with_hint(
            "Anyone can COPY to stdout or from stdin. psql's \\copy command also works for anyone.",
        ));
    }
    if !cursor.any_word(&["stdin", "stdout"]) {
        return Err(cursor.unexpected());
    }
    cursor.word("with");
    if cursor.token(&Token::LParen) {
        loop {
            let position = cursor.position();
            listed_option(cursor, &mut given).map_err(|error| at_option(error, position))?;
            if !cursor.token(&Token::Comma) {
                break;
            }
        }
        cursor.expect_token(&Token::RParen)?;
    } else {
        while !cursor.is_at_end() && !cursor.sees(&["where"]) {
            bare_option(cursor, &mut given)?;
        }
    }
    if cursor.sees(&["where"]) {
        return Err(SqlError::unsupported("COPY FROM ... WHERE"));
    }
    cursor.expect_end()?;
    let options = settle(given, from)?;
    Ok(Some(SqlCommand::Utility(Utility::Copy(Box::new(CopyStatement { subject, from, options })))))
}

/// An error of an option is at that option, unless it says where it is.
fn at_option(error: SqlError, position: Option<u32>) -> SqlError {
    if error.fields().position.is_some() { error } else { error.at(position) }
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<()> {
    if slot.is_some() {
        return Err(SqlError::syntax("conflicting or redundant options"));
    }
    *slot = Some(value);
    Ok(())
}

/// A boolean of an option: absent is true.
fn flag(cursor: &mut Cursor<'_>, option: &str) -> Result<bool> {
    if matches!(cursor.peek(), Some(Token::Comma | Token::RParen)) {
        return Ok(true);
    }
    let text = match cursor.string().or_else(|| cursor.number()) {
        Some(text) => text,
        None => cursor.identifier()?,
    };
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        _ => Err(SqlError::syntax(format!("{option} requires a Boolean value"))),
    }
}

fn name_list_or_star(cursor: &mut Cursor<'_>) -> Result<Vec<String>> {
    if cursor.token(&Token::Mul) { Ok(Vec::new()) } else { cursor.name_list() }
}

fn listed_option(cursor: &mut Cursor<'_>, given: &mut Given) -> Result<()> {
    let position = cursor.position();
    let name = cursor.identifier()?;
    match name.as_str() {
        "format" => {
            let format = cursor.string().map_or_else(|| cursor.identifier(), Ok)?;
            match format.as_str() {
                "text" => set(&mut given.format, CopyFormat::Text),
                "csv" => set(&mut given.format, CopyFormat::Csv),
                "binary" => set(&mut given.format, CopyFormat::Binary),
                _ => Err(SqlError::new(
                    SqlState::INVALID_PARAMETER_VALUE,
                    format!("COPY format \"{format}\" not recognized"),
                )
                .at(position)),
            }
        }
        "delimiter" => set(&mut given.delimiter, cursor.expect_string()?),
        "null" => set(&mut given.null, cursor.expect_string()?),
        "header" => {
            let value = if cursor.word("match") {
                CopyHeader::Match
            } else if flag(cursor, "header")? {
                CopyHeader::On
            } else {
                CopyHeader::Off
            };
            set(&mut given.header, value)
        }
        "quote" => set(&mut given.quote, cursor.expect_string()?),
        "escape" => set(&mut given.escape, cursor.expect_string()?),
        "force_quote" => {
            let columns = name_list_or_star(cursor)?;
            set(&mut given.force_quote, columns)
        }
        "force_not_null" => {
            let columns = cursor.name_list()?;
            set(&mut given.force_not_null, columns)
        }
        "force_null" => {
            let columns = cursor.name_list()?;
            set(&mut given.force_null, columns)
        }
        "freeze" => {
            let freeze = flag(cursor, "freeze")?;
            set(&mut given.freeze, freeze)
        }
        "encoding" => {
            encoding(&cursor.expect_string()?)?;
            set(&mut given.encoding, ())
        }
        _ => Err(SqlError::syntax(format!("option \"{name}\" not recognized")).at(position)),
    }
}

fn encoding(name: &str) -> Result<()> {
    match name.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
        "utf8" | "unicode" | "sqlascii" => Ok(()),
        _ => Err(SqlError::unsupported(format!("COPY with encoding \"{name}\""))),
    }
}

fn bare_option(cursor: &mut Cursor<'_>, given: &mut Given) -> Result<()> {
    if cursor.word("binary") {
        set(&mut given.format, CopyFormat::Binary)
    } else if cursor.word("csv") {
        set(&mut given.format, CopyFormat::Csv)
    } else if cursor.word("header") {
        set(&mut given.header, CopyHeader::On)
    } else if cursor.any_word(&["delimiter", "delimiters"]) {
        cursor.word("as");
        set(&mut given.delimiter, cursor.expect_string()?)
    } else if cursor.word("null") {
        cursor.word("as");
        set(&mut given.null, cursor.expect_string()?)
    } else if cursor.word("quote") {
        cursor.word("as");
        set(&mut given.quote, cursor.expect_string()?)
    } else if cursor.word("escape") {
        cursor.word("as");
        set(&mut given.escape, cursor.expect_string()?)
    } else if cursor.words(&["force", "quote"]) {
        let columns = if cursor.token(&Token::Mul) { Vec::new() } else { bare_names(cursor)? };
        set(&mut given.force_quote, columns)
    } else if cursor.words(&["force", "not", "null"]) {
        let columns = bare_names(cursor)?;
        set(&mut given.force_not_null, columns)
    } else if cursor.words(&["force", "null"]) {
        let columns = bare_names(cursor)?;
        set(&mut given.force_null, columns)
    } else if cursor.word("freeze") {
        set(&mut given.freeze, true)
    } else if cursor.word("encoding") {
        encoding(&cursor.expect_string()?)?;
        set(&mut given.encoding, ())
    } else {
        Err(cursor.unexpected())
    }
}

fn bare_names(cursor: &mut Cursor<'_>) -> Result<Vec<String>> {
    let mut names = vec![cursor.identifier()?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.identifier()?);
    }
    Ok(names)
}

/// The lists of columns belong to CSV, and each to one direction.
fn check_forced(given: &Given, csv: bool, from: bool) -> Result<()> {
    let unsupported = |message: String| Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    for (is_given, name, input) in [
        (given.force_quote.is_some(), "force quote", false),
        (given.force_not_null.is_some(), "force not null", true),
        (given.force_null.is_some(), "force null", true),
    ] {
        if is_given && !csv {
            return unsupported(format!("COPY {name} available only in CSV mode"));
        }
        if is_given && input != from {
            let direction = if input { "FROM" } else { "TO" };
            return unsupported(format!("COPY {name} only available using COPY {direction}"));
        }
    }
    Ok(())
}

/// In binary there are no lines to describe.
fn check_binary(given: &Given) -> Result<()> {
    for (is_given, option) in [(given.delimiter.is_some(), "DELIMITER"), (given.null.is_some(), "NULL")] {
        if is_given {
            return Err(SqlError::syntax(format!("cannot specify {option} in BINARY mode")));
        }
    }
    if given.header.is_some_and(|header| header != CopyHeader::Off) {
        let what = "cannot specify HEADER in BINARY mode";
        return Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, what));
    }
    Ok(())
}

/// Fills in the format's defaults and checks what excludes what, as PostgreSQL does.
fn settle(mut given: Given, from: bool) -> Result<CopyOptions> {
    let format = given.format.unwrap_or(CopyFormat::Text);
    let csv = format == CopyFormat::Csv;
    if format == CopyFormat::Binary {
        check_binary(&given)?;
    }
    let unsupported = |message: &str| Err(SqlError::new(SqlState::FEATURE_NOT_SUPPORTED, message));
    let invalid = |message: &str| Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    let single = |text: Option<&String>, default: u8| match text.map(|text| text.as_bytes()) {
        None => Some(default),
        Some([byte]) => Some(*byte),
        Some(_) => None,
    };
    let Some(delimiter) = single(given.delimiter.as_ref(), if csv { b',' } else { b'\t' }) else {
        return unsupported("COPY delimiter must be a single one-byte character");
    };
    if matches!(delimiter, b'\r' | b'\n') {
        return invalid("COPY delimiter cannot be newline or carriage return");
    }
    let null = given.null.take().unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() });
    if null.contains(['\r', '\n']) {
        return invalid("COPY null representation cannot use newline or carriage return");
    }
    if !csv && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&delimiter) {
        return invalid(&format!("COPY delimiter cannot be \"{}\"", char::from(delimiter)));
    }
    if !csv && given.quote.is_some() {
        return unsupported("COPY quote available only in CSV mode");
    }
    let Some(quote) = single(given.quote.as_ref(), b'"') else {
        return unsupported("COPY quote must be a single one-byte character");
    };
    if csv && delimiter == quote {
        return invalid("COPY delimiter and quote must be different");
    }
    if !csv && given.escape.is_some() {
        return unsupported("COPY escape available only in CSV mode");
    }
    let Some(escape) = single(given.escape.as_ref(), quote) else {
        return unsupported("COPY escape must be a single one-byte character");
    };
    check_forced(&given, csv, from)?;
    if null.as_bytes().contains(&delimiter) {
        return unsupported("COPY delimiter must not appear in the NULL specification");
    }
    if csv && null.as_bytes().contains(&quote) {
        return unsupported("CSV quote character must not appear in the NULL specification");
    }
    let header = given.header.unwrap_or(CopyHeader::Off);
    if header == CopyHeader::Match && !from {
        return unsupported("cannot use \"match\" with HEADER in COPY TO");
    }
    Ok(CopyOptions {
        format,
        delimiter,
        null,
        header,
        quote,
        escape,
        force_quote: given.force_quote,
        force_not_null: given.force_not_null.unwrap_or_default(),
        force_null: given.force_null.unwrap_or_default(),
        freeze: given.freeze.unwrap_or_default(),
    })
}

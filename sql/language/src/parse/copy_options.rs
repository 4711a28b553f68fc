//! Options of COPY. The grammar takes any: what is wrong with one is told when the statement runs.

use super::cursor::Cursor;
use super::encoding_number;
use super::statement::{CopyFormat, CopyHeader, CopyOptions};
use sql_interface::{Result, SqlError};
use sqlparser::tokenizer::Token;
use sqlstate::SqlState;

/// An option as it was written.
pub(super) struct Written {
    name: String,
    value: Value,
    position: Option<u32>,
}

enum Value {
    None,
    /// A word, a number or a string.
    Text(String),
    /// `*`
    Star,
    List(Vec<String>),
}

impl Written {
    pub(super) fn text(name: &str, value: &str, position: Option<u32>) -> Self {
        Self { name: name.to_owned(), value: Value::Text(value.to_owned()), position }
    }

    /// The value of an option that has one.
    fn required(&self) -> Result<String> {
        match &self.value {
            Value::None => Err(SqlError::syntax(format!("{} requires a parameter", self.name))),
            Value::Text(text) => Ok(text.clone()),
            Value::Star => Ok("*".to_owned()),
            Value::List(names) => Ok(names.join(".")),
        }
    }

    /// The value of an option that is on or off; on where there is none.
    fn boolean(&self) -> Option<bool> {
        let text = match &self.value {
            Value::None => return Some(true),
            Value::Text(text) => text.to_ascii_lowercase(),
            Value::Star | Value::List(_) => return None,
        };
        match text.as_str() {
            "true" | "on" | "1" => Some(true),
            "false" | "off" | "0" => Some(false),
            _ => None,
        }
    }

    /// The columns that it names.
    fn columns(&self) -> Result<Vec<String>> {
        match &self.value {
            Value::List(names) => Ok(names.clone()),
            _ => {
                let message = format!("argument to option \"{}\" must be a list of column names", self.name);
                Err(self.invalid(message))
            }
        }
    }

    fn invalid(&self, message: String) -> SqlError {
        SqlError::new(SqlState::INVALID_PARAMETER_VALUE, message).at(self.position)
    }
}

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
    encoding: Option<()>,
    /// It is another one than UTF8.
    foreign_encoding: bool,
}

/// The list in parentheses that comes next.
pub(super) fn listed(cursor: &mut Cursor<'_>, written: &mut Vec<Written>) -> Result<()> {
    cursor.expect_token(&Token::LParen)?;
    loop {
        let position = cursor.position();
        let name = cursor.identifier()?;
        written.push(Written { name, value: value(cursor)?, position });
        if !cursor.token(&Token::Comma) {
            break;
        }
    }
    cursor.expect_token(&Token::RParen)
}

fn value(cursor: &mut Cursor<'_>) -> Result<Value> {
    match cursor.peek() {
        Some(Token::Comma | Token::RParen) => Ok(Value::None),
        Some(Token::Mul) => {
            cursor.token(&Token::Mul);
            Ok(Value::Star)
        }
        Some(Token::LParen) => {
            cursor.token(&Token::LParen);
            let names = texts(cursor)?;
            cursor.expect_token(&Token::RParen)?;
            Ok(Value::List(names))
        }
        _ => word(cursor).map(Value::Text),
    }
}

fn word(cursor: &mut Cursor<'_>) -> Result<String> {
    match cursor.string().or_else(|| cursor.number()) {
        Some(text) => Ok(text),
        None => cursor.identifier(),
    }
}

/// Words or strings with commas between them.
fn texts(cursor: &mut Cursor<'_>) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    loop {
        texts.push(match cursor.string() {
            Some(text) => text,
            None => cursor.identifier()?,
        });
        if !cursor.token(&Token::Comma) {
            return Ok(texts);
        }
    }
}

/// The next option that stands without parentheses.
pub(super) fn bare(cursor: &mut Cursor<'_>) -> Result<Written> {
    let position = cursor.position();
    for format in ["binary", "csv"] {
        if cursor.word(format) {
            return Ok(Written::text("format", format, position));
        }
    }
    for flag in ["header", "freeze"] {
        if cursor.word(flag) {
            return Ok(Written { name: flag.to_owned(), value: Value::None, position });
        }
    }
    const TEXTS: [(&str, &str); 5] = [
        ("delimiter", "delimiter"),
        ("delimiters", "delimiter"),
        ("null", "null"),
        ("quote", "quote"),
        ("escape", "escape"),
    ];
    for (word, name) in TEXTS {
        if cursor.word(word) {
            cursor.word("as");
            return Ok(Written::text(name, &cursor.expect_string()?, position));
        }
    }
    if cursor.word("encoding") {
        return Ok(Written::text("encoding", &cursor.expect_string()?, position));
    }
    const LISTS: [(&[&str], &str); 3] = [
        (&["force", "quote"], "force_quote"),
        (&["force", "not", "null"], "force_not_null"),
        (&["force", "null"], "force_null"),
    ];
    for (words, name) in LISTS {
        if cursor.words(words) {
            let all = name == "force_quote" && cursor.token(&Token::Mul);
            let value = if all { Value::Star } else { Value::List(bare_names(cursor)?) };
            return Ok(Written { name: name.to_owned(), value, position });
        }
    }
    Err(cursor.unexpected())
}

fn bare_names(cursor: &mut Cursor<'_>) -> Result<Vec<String>> {
    let mut names = vec![cursor.identifier()?];
    while cursor.token(&Token::Comma) {
        names.push(cursor.identifier()?);
    }
    Ok(names)
}

/// What the options say together.
///
/// # Errors
///
/// What is wrong with them.
pub(super) fn read(written: &[Written], from: bool) -> Result<CopyOptions> {
    let mut given = Given::default();
    for option in written {
        take(&mut given, option)?;
    }
    settle(given, from)
}

fn set<T>(slot: &mut Option<T>, option: &Written, value: impl FnOnce() -> Result<T>) -> Result<()> {
    if slot.is_some() {
        return Err(SqlError::syntax("conflicting or redundant options").at(option.position));
    }
    *slot = Some(value()?);
    Ok(())
}

fn take(given: &mut Given, option: &Written) -> Result<()> {
    match option.name.as_str() {
        "format" => set(&mut given.format, option, || format(option)),
        "delimiter" => set(&mut given.delimiter, option, || option.required()),
        "null" => set(&mut given.null, option, || option.required()),
        "header" => set(&mut given.header, option, || header(option)),
        "quote" => set(&mut given.quote, option, || option.required()),
        "escape" => set(&mut given.escape, option, || option.required()),
        "force_quote" => set(&mut given.force_quote, option, || match option.value {
            Value::Star => Ok(Vec::new()),
            _ => option.columns(),
        }),
        "force_not_null" => set(&mut given.force_not_null, option, || option.columns()),
        "force_null" => set(&mut given.force_null, option, || option.columns()),
        "freeze" => set(&mut given.freeze, option, || {
            option.boolean().ok_or_else(|| SqlError::syntax("freeze requires a Boolean value"))
        }),
        "encoding" => {
            let foreign = &mut given.foreign_encoding;
            set(&mut given.encoding, option, || {
                *foreign = is_foreign_encoding(option)?;
                Ok(())
            })
        }
        name => Err(SqlError::syntax(format!("option \"{name}\" not recognized")).at(option.position)),
    }
}

fn format(option: &Written) -> Result<CopyFormat> {
    match option.required()?.as_str() {
        "text" => Ok(CopyFormat::Text),
        "csv" => Ok(CopyFormat::Csv),
        "binary" => Ok(CopyFormat::Binary),
        other => Err(option.invalid(format!("COPY format \"{other}\" not recognized"))),
    }
}

fn header(option: &Written) -> Result<CopyHeader> {
    match (&option.value, option.boolean()) {
        (Value::Text(word), _) if word.eq_ignore_ascii_case("match") => Ok(CopyHeader::Match),
        (_, Some(true)) => Ok(CopyHeader::On),
        (_, Some(false)) => Ok(CopyHeader::Off),
        (_, None) => Err(SqlError::syntax("header requires a Boolean value or \"match\"")),
    }
}

/// Whether an encoding is another one than that of all texts here.
fn is_foreign_encoding(option: &Written) -> Result<bool> {
    match encoding_number(&option.required()?) {
        None => {
            Err(option.invalid("argument to option \"encoding\" must be a valid encoding name".to_owned()))
        }
        Some(number) => Ok(!matches!(number, SQL_ASCII | UTF8)),
    }
}

/// PostgreSQL's numbers of encodings.
const SQL_ASCII: i32 = 0;
const UTF8: i32 = 6;

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
    if given.foreign_encoding {
        return unsupported("COPY with another encoding than UTF8 is not supported");
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

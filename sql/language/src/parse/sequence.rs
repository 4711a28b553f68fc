//! CREATE SEQUENCE and ALTER SEQUENCE.

use super::cursor::Cursor;
use super::statement::{SequenceChange, SequenceOptions, SqlCommand, Utility};
use sql_interface::{Result, SqlError};
use sqlparser::ast;

pub(super) fn parse(cursor: &mut Cursor<'_>) -> Result<Option<SqlCommand>> {
    let utility = if cursor.words(&["create", "sequence"]) {
        let if_not_exists = cursor.words(&["if", "not", "exists"]);
        let name = cursor.object_name()?;
        Utility::CreateSequence { if_not_exists, name, options: Box::new(options(cursor)?) }
    } else if cursor.words(&["alter", "sequence"]) {
        let if_exists = cursor.words(&["if", "exists"]);
        let name = cursor.object_name()?;
        let change = if cursor.words(&["rename", "to"]) {
            SequenceChange::Rename(cursor.identifier()?)
        } else if cursor.sees(&["set"]) {
            return Err(SqlError::unsupported("this form of ALTER SEQUENCE"));
        } else {
            if cursor.is_at_end() {
                return Err(cursor.unexpected());
            }
            SequenceChange::Options(Box::new(options(cursor)?))
        };
        Utility::AlterSequence { if_exists, name, change }
    } else if ["temp", "temporary", "unlogged"].iter().any(|word| cursor.sees(&["create", word, "sequence"]))
    {
        return Err(SqlError::unsupported("a temporary or unlogged sequence"));
    } else {
        return Ok(None);
    };
    cursor.expect_end()?;
    Ok(Some(SqlCommand::Utility(utility)))
}

/// Sets an option that may be given once; false where it was given before.
fn once<T>(option: &mut Option<T>, value: T) -> bool {
    option.replace(value).is_none()
}

fn integer(cursor: &mut Cursor<'_>) -> Result<i64> {
    let unexpected = cursor.unexpected();
    let text = cursor.number().ok_or(unexpected)?;
    text.parse().map_err(|_| SqlError::syntax(format!("value \"{text}\" is out of range for type bigint")))
}

fn options(cursor: &mut Cursor<'_>) -> Result<SequenceOptions> {
    let mut found = SequenceOptions::default();
    while !cursor.is_at_end() {
        let position = cursor.position();
        let is_first = if cursor.word("as") {
            let name = cursor.identifier()?;
            let ty = match name.as_str() {
                "smallint" => ast::DataType::SmallInt(None),
                "int2" => ast::DataType::Int2(None),
                "integer" | "int" => ast::DataType::Integer(None),
                "int4" => ast::DataType::Int4(None),
                "bigint" => ast::DataType::BigInt(None),
                "int8" => ast::DataType::Int8(None),
                "text" => ast::DataType::Text,
                _ => ast::DataType::Custom(ast::ObjectName::from(vec![ast::Ident::new(name)]), Vec::new()),
            };
            once(&mut found.data_type, ty)
        } else if cursor.word("increment") {
            cursor.word("by");
            let value = integer(cursor)?;
            once(&mut found.increment, value)
        } else if cursor.words(&["no", "minvalue"]) {
            once(&mut found.min, None)
        } else if cursor.words(&["no", "maxvalue"]) {
            once(&mut found.max, None)
        } else if cursor.words(&["no", "cycle"]) {
            once(&mut found.cycle, false)
        } else if cursor.word("minvalue") {
            let value = integer(cursor)?;
            once(&mut found.min, Some(value))
        } else if cursor.word("maxvalue") {
            let value = integer(cursor)?;
            once(&mut found.max, Some(value))
        } else if cursor.word("start") {
            cursor.word("with");
            let value = integer(cursor)?;
            once(&mut found.start, value)
        } else if cursor.word("restart") {
            let with = cursor.word("with");
            let place = cursor.place();
            let value = match integer(cursor) {
                Ok(value) => Some(value),
                Err(error) if with => return Err(error),
                Err(_) => {
                    cursor.rewind(place);
                    None
                }
            };
            once(&mut found.restart, value)
        } else if cursor.word("cache") {
            let value = integer(cursor)?;
            once(&mut found.cache, value)
        } else if cursor.word("cycle") {
            once(&mut found.cycle, true)
        } else if cursor.words(&["owned", "by"]) {
            let owner = if cursor.word("none") { None } else { Some(cursor.object_name()?) };
            once(&mut found.owned_by, owner)
        } else {
            return Err(cursor.unexpected());
        };
        if !is_first {
            cursor.refuse(SqlError::syntax("conflicting or redundant options").at(position));
        }
    }
    Ok(found)
}

/// The options of an identity column, as the other parser has them.
///
/// # Errors
///
/// 42601 for a value that is no number.
pub fn identity_options(list: &[ast::SequenceOptions]) -> Result<SequenceOptions> {
    let number = |expr: &ast::Expr| -> Result<i64> {
        let text = expr.to_string().replace(' ', "");
        text.parse().map_err(|_| SqlError::syntax(format!("invalid number \"{text}\" of a sequence")))
    };
    let mut found = SequenceOptions::default();
    for option in list {
        match option {
            ast::SequenceOptions::IncrementBy(value, _) => found.increment = Some(number(value)?),
            ast::SequenceOptions::MinValue(value) => {
                found.min = Some(value.as_ref().map(number).transpose()?);
            }
            ast::SequenceOptions::MaxValue(value) => {
                found.max = Some(value.as_ref().map(number).transpose()?);
            }
            ast::SequenceOptions::StartWith(value, _) => found.start = Some(number(value)?),
            ast::SequenceOptions::Cache(value) => found.cache = Some(number(value)?),
            // The parser says of NO CYCLE that it is true.
            ast::SequenceOptions::Cycle(no) => found.cycle = Some(!no),
            ast::SequenceOptions::DataType(_) | ast::SequenceOptions::OwnedBy(_) => {
                return Err(SqlError::unsupported("this option of an identity column"));
            }
        }
    }
    Ok(found)
}

//! Names of types as statements write them.

use super::Facts;
use sql_catalogue::Catalogue;
use sql_catalogue::names::{SearchPath, split_qualified};
use sql_catalogue::schema::Schema;
use sql_interface::{Result, SqlError};
use sql_types::{AbsentType, Datum, Type, TypeId};
use sqlparser::ast::{
    self, ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, IntervalFields, ObjectNamePart,
    TimezoneInfo,
};
use sqlstate::SqlState;
use std::borrow::Cow;

/// The type that a statement names: 42704 for an unknown name, 0A000 for one that is absent.
///
/// # Errors
///
/// 42704 and 0A000.
pub fn data_type(ast: &DataType) -> Result<Type> {
    let of = |id| Ok(Type::of(id));
    match ast {
        DataType::Bool | DataType::Boolean => of(TypeId::Bool),
        DataType::SmallInt(None) | DataType::Int2(None) => of(TypeId::Int2),
        DataType::Int(None) | DataType::Integer(None) | DataType::Int4(None) => of(TypeId::Int4),
        DataType::BigInt(None) | DataType::Int8(None) => of(TypeId::Int8),
        DataType::Real | DataType::Float4 => of(TypeId::Float4),
        DataType::DoublePrecision | DataType::Float8 => of(TypeId::Float8),
        DataType::Float(precision) => float(precision),
        DataType::Numeric(precision) | DataType::Decimal(precision) | DataType::Dec(precision) => {
            numeric(precision)
        }
        DataType::Text => of(TypeId::Text),
        DataType::Varchar(length) | DataType::CharacterVarying(length) | DataType::CharVarying(length) => {
            Ok(Type::varchar(limit(length.as_ref())?)?)
        }
        DataType::Char(length) | DataType::Character(length) => Ok(Type::bpchar(limit(length.as_ref())?)?),
        DataType::Bytea => of(TypeId::Bytea),
        DataType::Uuid => of(TypeId::Uuid),
        DataType::Regclass => of(TypeId::Regclass),
        DataType::Date => of(TypeId::Date),
        DataType::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            time(TypeId::Time, *precision)
        }
        DataType::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            time(TypeId::Timestamp, *precision)
        }
        DataType::Timestamp(precision, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            time(TypeId::Timestamptz, *precision)
        }
        DataType::Interval { fields: None | Some(IntervalFields::Second), precision } => {
            time(TypeId::Interval, *precision)
        }
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::Qualified(element, _),
        ) => array(data_type(element)?),
        DataType::Custom(name, modifiers) => custom(name, modifiers),
        DataType::JSON
        | DataType::JSONB
        | DataType::Bit(_)
        | DataType::BitVarying(_)
        | DataType::VarBit(_)
        | DataType::Time(..)
        | DataType::Interval { .. }
        | DataType::TsVector
        | DataType::TsQuery
        | DataType::Trigger
        | DataType::GeometricType(_) => {
            Err(SqlError::unsupported(format!("type {}", ast.to_string().to_lowercase())))
        }
        // Names that the parser knows from other servers.
        other => {
            let text = other.to_string().to_lowercase();
            Err(unknown(text.split(['(', '<']).next().unwrap_or_default().trim_end()))
        }
    }
}

fn array(element: Type) -> Result<Type> {
    // An array of arrays is an array of more dimensions.
    if element.id.element().is_some() {
        return Ok(element);
    }
    match element.id.array() {
        Some(id) => Ok(Type { id, modifier: element.modifier }),
        None => Err(unknown(&format!("{}[]", element.id.sql_name()))),
    }
}

fn unknown(name: &str) -> SqlError {
    SqlError::new(SqlState::UNDEFINED_OBJECT, format!("type \"{name}\" does not exist"))
}

fn limit(length: Option<&CharacterLength>) -> Result<Option<u32>> {
    match length {
        None => Ok(None),
        Some(CharacterLength::Max) => Err(SqlError::syntax("syntax error at or near \"max\"")),
        Some(CharacterLength::IntegerLength { length, .. }) => {
            Ok(Some(u32::try_from(*length).unwrap_or(u32::MAX)))
        }
    }
}

fn float(precision: &ExactNumberInfo) -> Result<Type> {
    let invalid = |what| Err(SqlError::new(SqlState::INVALID_PARAMETER_VALUE, what));
    match precision {
        ExactNumberInfo::None => Ok(Type::of(TypeId::Float8)),
        ExactNumberInfo::Precision(0) => invalid("precision for type float must be at least 1 bit"),
        ExactNumberInfo::Precision(1..=24) => Ok(Type::of(TypeId::Float4)),
        ExactNumberInfo::Precision(25..=53) => Ok(Type::of(TypeId::Float8)),
        ExactNumberInfo::Precision(_) => invalid("precision for type float must be less than 54 bits"),
        ExactNumberInfo::PrecisionAndScale(..) => {
            Err(SqlError::syntax("type modifier is not allowed for type \"float8\""))
        }
    }
}

fn numeric(precision: &ExactNumberInfo) -> Result<Type> {
    let wide = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Ok(match precision {
        ExactNumberInfo::None => Type::of(TypeId::Numeric),
        ExactNumberInfo::Precision(precision) => Type::numeric(Some(wide(*precision)), 0)?,
        ExactNumberInfo::PrecisionAndScale(precision, scale) => {
            Type::numeric(Some(wide(*precision)), *scale)?
        }
    })
}

fn time(id: TypeId, precision: Option<u64>) -> Result<Type> {
    Ok(Type::with_precision(id, precision.map(|digits| u32::try_from(digits).unwrap_or(u32::MAX))))
}

/// The first words of names for types that are syntax: they stand for a type of pg_catalog, whatever else has
/// the name.
const WORDS_OF_SYNTAX: [&str; 20] = [
    "bigint",
    "bit",
    "boolean",
    "char",
    "character",
    "dec",
    "decimal",
    "double",
    "float",
    "int",
    "integer",
    "interval",
    "national",
    "nchar",
    "numeric",
    "real",
    "smallint",
    "time",
    "timestamp",
    "varchar",
];

/// The schema in which alone a type is looked for: the one before its name, or pg_catalog if the name is
/// syntax.
pub(crate) fn schema_of_type(ast: &DataType) -> Option<Cow<'_, str>> {
    let of_syntax = match ast {
        DataType::Custom(name, _) => {
            return match name.0.as_slice() {
                [ObjectNamePart::Identifier(schema), _] => Some(Cow::Owned(crate::parse::fold(schema))),
                _ => None,
            };
        }
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::Qualified(element, _),
        ) => return schema_of_type(element),
        DataType::Timestamp(_, zone) | DataType::Time(_, zone) => *zone != TimezoneInfo::Tz,
        DataType::Boolean
        | DataType::SmallInt(_)
        | DataType::Int(_)
        | DataType::Integer(_)
        | DataType::BigInt(_)
        | DataType::Real
        | DataType::DoublePrecision
        | DataType::Float(_)
        | DataType::Numeric(_)
        | DataType::Decimal(_)
        | DataType::Dec(_)
        | DataType::Varchar(_)
        | DataType::CharacterVarying(_)
        | DataType::CharVarying(_)
        | DataType::Char(_)
        | DataType::Character(_)
        | DataType::Bit(_)
        | DataType::BitVarying(_)
        | DataType::Interval { .. } => true,
        _ => false,
    };
    of_syntax.then_some(Cow::Borrowed(Schema::PG_CATALOG.name()))
}

/// The same of a type's name in a text, as regtype reads it.
fn schema_of_type_text(text: &str) -> Option<String> {
    let name = text.split(['(', '[']).next().unwrap_or_default().trim();
    if let Ok(parts) = split_qualified(name)
        && let [schema, _] = parts.as_slice()
    {
        return Some(schema.clone());
    }
    let first = name.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    WORDS_OF_SYNTAX.contains(&first.as_str()).then(|| Schema::PG_CATALOG.name().to_owned())
}

/// Asks for the right to look into the schema of a type.
///
/// # Errors
///
/// 3F000 for a schema that is not there, 42501 for one that the role may not look into.
pub fn require_schema_of_type(ast: &DataType, catalogue: &Catalogue, path: &SearchPath) -> Result<()> {
    schema_of_type(ast).map_or(Ok(()), |schema| catalogue.required_schema(path, &schema).map(drop))
}

/// The same of a type's name in a text.
///
/// # Errors
///
/// 3F000 and 42501 as above.
pub fn require_schema_of_type_text(text: &str, catalogue: &Catalogue, path: &SearchPath) -> Result<()> {
    schema_of_type_text(text).map_or(Ok(()), |schema| catalogue.required_schema(path, &schema).map(drop))
}

/// The type of a name in a text, as the cast to regtype finds it.
///
/// # Errors
///
/// 3F000 and 42501 as above, 42704 for a type that is not there.
pub(crate) fn regtype(text: &str, path: &SearchPath, facts: &dyn Facts) -> Result<Datum> {
    if let Some(catalogue) = facts.catalogue() {
        require_schema_of_type_text(text, catalogue, path)?;
    }
    Ok(Datum::parse(Type::of(TypeId::Regtype), text, facts.style())?)
}

/// The same for to_regtype: NULL where nothing has the name.
pub(crate) fn to_regtype(text: &str, facts: &dyn Facts) -> Result<Datum> {
    if let (Some(schema), Some(catalogue)) = (schema_of_type_text(text), facts.catalogue())
        && catalogue.schema(facts.search_path(), &schema)?.is_none()
    {
        return Ok(Datum::Null);
    }
    sql_types::require_type_name(text)?;
    Ok(TypeId::from_sql(text).map_or(Datum::Null, |id| Datum::Regtype(id.oid())))
}

/// What stands for a type in CREATE TABLE alone, and the type of an extension.
const SHORTHANDS: [&str; 4] = ["bigserial", "hstore", "serial", "smallserial"];

/// The domains of the information schema.
const DOMAINS: [&str; 5] = ["cardinal_number", "character_data", "sql_identifier", "time_stamp", "yes_or_no"];

fn custom(name: &ast::ObjectName, modifiers: &[ast::TypeModifier]) -> Result<Type> {
    let mut parts: Vec<String> = Vec::new();
    for part in &name.0 {
        match part {
            ObjectNamePart::Identifier(part) => {
                let quoted = part.quote_style.is_some();
                parts.push(if quoted { part.value.clone() } else { part.value.to_lowercase() });
            }
            ObjectNamePart::Function(_) => return Err(SqlError::syntax("syntax error in a type's name")),
        }
    }
    let quoted =
        matches!(name.0.last(), Some(ObjectNamePart::Identifier(part)) if part.quote_style.is_some());
    let last = match parts.as_slice() {
        [schema, last] if schema == "pg_catalog" => last,
        [last] => last,
        [schema, last] => {
            if Schema::required(schema)? == Schema::INFORMATION_SCHEMA && DOMAINS.contains(&last.as_str()) {
                return Err(SqlError::unsupported(format!("type {}", parts.join("."))));
            }
            return Err(unknown(&parts.join(".")));
        }
        _ => return Err(unknown(&parts.join("."))),
    };
    // What is quoted or has a schema is a name of the catalogue, and no word of the grammar.
    let by_catalogue = quoted || parts.len() > 1;
    let found = if by_catalogue { TypeId::of_catalogue(last) } else { TypeId::from_name(last) };
    let known = match found {
        Some(id) => id,
        None if AbsentType::named(last).is_some() || SHORTHANDS.contains(&last.as_str()) => {
            return Err(SqlError::unsupported(format!("type {last}")));
        }
        None => return Err(unknown(&parts.join("."))),
    };
    let numbers = modifiers.iter().map(modifier).collect::<Result<Vec<i64>>>()?;
    let small = |number: &i64| u32::try_from(*number).unwrap_or(0);
    Ok(match (known, numbers.as_slice()) {
        (_, []) => Type::of(known),
        (TypeId::Varchar, [length]) => Type::varchar(Some(small(length)))?,
        (TypeId::Bpchar, [length]) => Type::bpchar(Some(small(length)))?,
        (TypeId::Numeric, [precision]) => Type::numeric(Some(*precision), 0)?,
        (TypeId::Numeric, [precision, scale]) => Type::numeric(Some(*precision), *scale)?,
        (TypeId::Time | TypeId::Timestamp | TypeId::Timestamptz | TypeId::Interval, [digits]) => {
            Type::with_precision(known, Some(small(digits)))
        }
        _ => {
            let message = format!("type modifier is not allowed for type \"{last}\"");
            return Err(SqlError::syntax(message));
        }
    })
}

/// A number in the parentheses behind a type's name.
fn modifier(modifier: &ast::TypeModifier) -> Result<i64> {
    let text = match modifier {
        ast::TypeModifier::Identifier(name) => &name.value,
        ast::TypeModifier::Number(text, _) | ast::TypeModifier::String(text) => text,
    };
    text.trim().parse().map_err(|_| {
        let message = format!("invalid input syntax for type integer: \"{text}\"");
        SqlError::new(SqlState::INVALID_TEXT_REPRESENTATION, message)
    })
}

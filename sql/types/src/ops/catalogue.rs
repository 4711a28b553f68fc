//! The table of operators by name.

use super::arithmetic as a;
use super::comparison as c;
use super::text as s;
use super::times as t;
use super::{BinaryFunction, BinaryOperator, UnaryFunction, UnaryOperator};
use crate::types::TypeId::{self, *};
use std::collections::HashMap;
use std::sync::OnceLock;

type Catalogue = HashMap<&'static str, Vec<BinaryOperator>>;

/// The operators of this name between two values, in no order that matters; none if the name is unknown.
pub fn operators(name: &str) -> &'static [BinaryOperator] {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(build).get(name).map_or(&[], Vec::as_slice)
}

/// The operators of this name before one value.
pub fn unary_operators(name: &str) -> &'static [UnaryOperator] {
    static CATALOGUE: OnceLock<HashMap<&'static str, Vec<UnaryOperator>>> = OnceLock::new();
    CATALOGUE.get_or_init(build_unary).get(name).map_or(&[], Vec::as_slice)
}

/// The wider of two integers, or of two floats.
fn wider(left: TypeId, right: TypeId) -> TypeId {
    if left.width() >= right.width() { left } else { right }
}

fn build() -> Catalogue {
    let mut all = Catalogue::new();
    let mut add =
        |name: &'static str, left: TypeId, right: TypeId, result: TypeId, function: BinaryFunction| {
            all.entry(name).or_default().push(BinaryOperator { name, left, right, result, function });
        };
    comparisons(&mut add);
    numbers(&mut add);
    times(&mut add);
    strings(&mut add);
    all
}

type Add<'a> = dyn FnMut(&'static str, TypeId, TypeId, TypeId, BinaryFunction) + 'a;

fn comparisons(add: &mut Add<'_>) {
    let mut pairs: Vec<(TypeId, TypeId)> =
        [Bool, Text, Bpchar, Name, Char, Bytea, Time, Interval, Numeric, Lsn, Oid, Uuid, Inet, Xid8]
            .map(|id| (id, id))
            .to_vec();
    for family in [&[Int2, Int4, Int8][..], &[Float4, Float8], &[Date, Timestamp, Timestamptz], &[Name, Text]]
    {
        let crossed = family.iter().flat_map(|left| family.iter().map(|right| (*left, *right)));
        pairs.extend(crossed.filter(|(left, right)| left != right || !matches!(left, Name | Text)));
    }
    pairs.extend(TypeId::ALL.iter().filter(|id| id.element().is_some()).map(|id| (*id, *id)));
    for (left, right) in pairs {
        add("=", left, right, Bool, c::equal);
        add("<>", left, right, Bool, c::not_equal);
        add("<", left, right, Bool, c::less);
        add("<=", left, right, Bool, c::less_or_equal);
        add(">", left, right, Bool, c::greater);
        add(">=", left, right, Bool, c::greater_or_equal);
    }
    // What text_pattern_ops and bpchar_pattern_ops order by: bytes, as the order of texts here is anyway.
    for id in [Text, Bpchar] {
        add("~<~", id, id, Bool, c::less);
        add("~<=~", id, id, Bool, c::less_or_equal);
        add("~>~", id, id, Bool, c::greater);
        add("~>=~", id, id, Bool, c::greater_or_equal);
    }
    add("=", Aclitem, Aclitem, Bool, c::equal);
    for right in [Xid, Int4] {
        add("=", Xid, right, Bool, c::equal);
        add("<>", Xid, right, Bool, c::not_equal);
    }
}

fn numbers(add: &mut Add<'_>) {
    let integers: [(&str, [BinaryFunction; 3]); 5] = [
        ("+", [a::add2, a::add4, a::add8]),
        ("-", [a::sub2, a::sub4, a::sub8]),
        ("*", [a::mul2, a::mul4, a::mul8]),
        ("/", [a::div2, a::div4, a::div8]),
        ("%", [a::rem2, a::rem4, a::rem8]),
    ];
    let bits: [(&str, [BinaryFunction; 3]); 3] = [
        ("&", [a::and2, a::and4, a::and8]),
        ("|", [a::or2, a::or4, a::or8]),
        ("#", [a::xor2, a::xor4, a::xor8]),
    ];
    let choose = |functions: [BinaryFunction; 3], result: TypeId| match result {
        Int2 => functions[0],
        Int4 => functions[1],
        _ => functions[2],
    };
    for left in [Int2, Int4, Int8] {
        for right in [Int2, Int4, Int8] {
            let result = wider(left, right);
            for (name, functions) in integers {
                if name != "%" || left == right {
                    add(name, left, right, result, choose(functions, result));
                }
            }
        }
        for (name, functions) in bits {
            add(name, left, left, left, choose(functions, left));
        }
        add("<<", left, Int4, left, a::shift_left);
        add(">>", left, Int4, left, a::shift_right);
    }
    let floats: [(&str, BinaryFunction, BinaryFunction); 4] = [
        ("+", a::float_add4, a::float_add8),
        ("-", a::float_sub4, a::float_sub8),
        ("*", a::float_mul4, a::float_mul8),
        ("/", a::float_div4, a::float_div8),
    ];
    for (name, four, eight) in floats {
        add(name, Float4, Float4, Float4, four);
        for (left, right) in [(Float4, Float8), (Float8, Float4), (Float8, Float8)] {
            add(name, left, right, Float8, eight);
        }
    }
    add("^", Float8, Float8, Float8, a::power8);
    let numerics: [(&str, BinaryFunction); 6] = [
        ("+", a::numeric_add),
        ("-", a::numeric_sub),
        ("*", a::numeric_mul),
        ("/", a::numeric_div),
        ("%", a::numeric_rem),
        ("^", a::numeric_power),
    ];
    for (name, function) in numerics {
        add(name, Numeric, Numeric, Numeric, function);
    }
    add("-", Lsn, Lsn, Numeric, a::lsn_difference);
    add("+", Lsn, Numeric, Lsn, a::lsn_plus);
    add("+", Numeric, Lsn, Lsn, a::lsn_plus);
    add("-", Lsn, Numeric, Lsn, a::lsn_minus);
}

fn times(add: &mut Add<'_>) {
    add("+", Date, Int4, Date, t::date_plus_days);
    add("+", Int4, Date, Date, t::date_plus_days);
    add("-", Date, Int4, Date, t::date_minus_days);
    add("-", Date, Date, Int4, t::date_minus_date);
    add("+", Date, Time, Timestamp, t::date_plus_time);
    add("+", Time, Date, Timestamp, t::date_plus_time);
    for (moved, result) in
        [(Date, Timestamp), (Timestamp, Timestamp), (Timestamptz, Timestamptz), (Time, Time)]
    {
        add("+", moved, Interval, result, t::plus_interval);
        add("+", Interval, moved, result, t::plus_interval);
        add("-", moved, Interval, result, t::minus_interval);
    }
    add("+", Interval, Interval, Interval, t::plus_interval);
    add("-", Interval, Interval, Interval, t::minus_interval);
    for point in [Timestamp, Timestamptz, Time] {
        add("-", point, point, Interval, t::difference);
    }
    add("*", Interval, Float8, Interval, t::times_factor);
    add("*", Float8, Interval, Interval, t::times_factor);
    add("/", Interval, Float8, Interval, t::by_divisor);
}

fn strings(add: &mut Add<'_>) {
    add("||", Text, Text, Text, s::concatenate);
    add("||", Bytea, Bytea, Bytea, s::concatenate);
    let patterns: [(&str, BinaryFunction); 8] = [
        ("~~", s::like),
        ("!~~", s::not_like),
        ("~~*", s::ilike),
        ("!~~*", s::not_ilike),
        ("~", s::regex),
        ("!~", s::not_regex),
        ("~*", s::iregex),
        ("!~*", s::not_iregex),
    ];
    for left in [Text, Bpchar, Name] {
        for (name, function) in patterns {
            add(name, left, Text, Bool, function);
        }
    }
    add("~~", Bytea, Bytea, Bool, s::bytea_like);
    add("!~~", Bytea, Bytea, Bool, s::not_bytea_like);
    add("^@", Text, Text, Bool, s::starts_with);
}

fn build_unary() -> HashMap<&'static str, Vec<UnaryOperator>> {
    let mut all: HashMap<&'static str, Vec<UnaryOperator>> = HashMap::new();
    let mut add = |name: &'static str, operands: &[TypeId], function: UnaryFunction| {
        let operators = operands.iter().map(|&operand| UnaryOperator { operand, result: operand, function });
        all.entry(name).or_default().extend(operators);
    };
    add("-", &[Int2, Int4, Int8, Float4, Float8, Numeric, Interval], a::negate);
    add("+", &[Int2, Int4, Int8, Float4, Float8, Numeric], a::identity);
    add("@", &[Int2, Int4, Int8, Float4, Float8, Numeric], a::absolute);
    add("~", &[Int2, Int4, Int8], a::complement);
    add("|/", &[Float8], a::square_root);
    add("||/", &[Float8], a::cube_root);
    all
}

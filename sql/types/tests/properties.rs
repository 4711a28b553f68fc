//! Laws that hold for every value: seeded random ones of every type, awkward ones among them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what is wrong by failing"
)]

use fastrand::Rng;
use sql_types::key::{self, KeyColumn};
use sql_types::row::RowLayout;
use sql_types::{Datum, Interval, Numeric, Style, Type, TypeId, binary, compare};
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

const KINDS: &[TypeId] = &[
    TypeId::Bool,
    TypeId::Int2,
    TypeId::Int4,
    TypeId::Int8,
    TypeId::Float4,
    TypeId::Float8,
    TypeId::Numeric,
    TypeId::Text,
    TypeId::Varchar,
    TypeId::Bpchar,
    TypeId::Name,
    TypeId::Bytea,
    TypeId::Date,
    TypeId::Time,
    TypeId::Timestamp,
    TypeId::Timestamptz,
    TypeId::Interval,
    TypeId::Lsn,
    TypeId::Oid,
    TypeId::Xid8,
    TypeId::Uuid,
    TypeId::Inet,
    TypeId::Regtype,
];

/// The seed, printed on failure; set PLIMSOLL_SEED to replay one.
fn seed() -> u64 {
    std::env::var("PLIMSOLL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..))
}

fn number(rng: &mut Rng) -> i64 {
    match rng.u8(0..6) {
        0 => rng.i64(-3..=3),
        1 => i64::MIN + rng.i64(0..2),
        2 => i64::MAX - rng.i64(0..2),
        3 => rng.i64(..) >> rng.u32(0..63),
        4 => 10i64.pow(rng.u32(0..19)) * if rng.bool() { 1 } else { -1 },
        _ => rng.i64(-70_000..70_000),
    }
}

fn text(rng: &mut Rng) -> String {
    let letters = ['a', 'b', ' ', 'é', '\u{1}', '日', '\u{7f}', '\u{10ffff}', 'A'];
    (0..rng.usize(0..6)).map(|_| letters[rng.usize(0..letters.len())]).collect()
}

fn float(rng: &mut Rng) -> f64 {
    match rng.u8(0..5) {
        0 => [0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, 1e23]
            [rng.usize(0..8)],
        1 => number(rng) as f64,
        2 => f64::from_bits(rng.u64(..)),
        _ => number(rng) as f64 / 1000.0,
    }
}

fn numeric(rng: &mut Rng) -> Numeric {
    match rng.u8(0..6) {
        0 => [Numeric::NAN, Numeric::INFINITY, Numeric::NEGATIVE_INFINITY, Numeric::ZERO][rng.usize(0..4)]
            .clone(),
        1 => Numeric::parse(&format!("{}{}e{}", number(rng), rng.u64(..), rng.i32(-60..60))).unwrap(),
        _ => Numeric::small(number(rng), rng.u16(0..24)),
    }
}

fn value(kind: TypeId, rng: &mut Rng) -> Datum {
    let micros = |rng: &mut Rng| match rng.u8(0..8) {
        0 => i64::MAX,
        1 => i64::MIN,
        _ => rng.i64(-211_813_488_000_000_000..9_223_371_331_200_000_000),
    };
    match kind {
        TypeId::Bool => Datum::Bool(rng.bool()),
        TypeId::Int2 => Datum::Int2(number(rng) as i16),
        TypeId::Int4 => Datum::Int4(number(rng) as i32),
        TypeId::Int8 => Datum::Int8(number(rng)),
        TypeId::Float4 => Datum::Float4(float(rng) as f32),
        TypeId::Float8 => Datum::Float8(float(rng)),
        TypeId::Numeric => Datum::Numeric(numeric(rng)),
        TypeId::Bpchar => Datum::Bpchar(text(rng).into()),
        TypeId::Bytea => {
            Datum::bytea((0..rng.usize(0..5)).map(|_| rng.u8(..) & rng.u8(..)).collect::<Vec<u8>>())
        }
        TypeId::Date => Datum::Date(match rng.u8(0..8) {
            0 => i32::MAX,
            1 => i32::MIN,
            _ => rng.i32(-2_451_545..2_145_031_949),
        }),
        TypeId::Time => Datum::Time(rng.i64(0..=86_400_000_000)),
        TypeId::Timestamp => Datum::Timestamp(micros(rng)),
        TypeId::Timestamptz => Datum::Timestamptz(micros(rng)),
        TypeId::Interval => {
            // The least number of microseconds PostgreSQL writes as a text that it does not read.
            Datum::Interval(Interval::new(number(rng) as i32, number(rng) as i32, number(rng).max(-i64::MAX)))
        }
        TypeId::Lsn => Datum::Lsn(number(rng) as u64),
        TypeId::Oid => Datum::Oid(number(rng) as u32),
        TypeId::Xid8 => Datum::Xid8(number(rng) as u64),
        TypeId::Uuid => Datum::Uuid(rng.u128(..).to_be_bytes()),
        TypeId::Regtype => Datum::Regtype([16, 23, 25][rng.usize(0..3)]),
        TypeId::Inet if rng.bool() => Datum::Inet(IpAddr::from(rng.u32(..).to_be_bytes()), rng.u8(0..=32)),
        TypeId::Inet => Datum::Inet(IpAddr::from(rng.u128(..).to_be_bytes()), rng.u8(0..=128)),
        _ => Datum::text(text(rng)),
    }
}

#[test]
fn keys_sort_as_their_values_and_decode_to_equals() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    for round in 0..40_000 {
        let kinds: Vec<TypeId> = (0..rng.usize(1..4)).map(|_| KINDS[rng.usize(0..KINDS.len())]).collect();
        let columns: Vec<KeyColumn> =
            kinds.iter().map(|id| KeyColumn { id: *id, nullable: rng.bool() }).collect();
        let row = |rng: &mut Rng, near: Option<&Vec<Datum>>| -> Vec<Datum> {
            let one = |at: usize, column: &KeyColumn, rng: &mut Rng| match near {
                // Half of the pairs share a beginning, so that later columns decide.
                Some(near) if rng.bool() => near[at].clone(),
                _ if column.nullable && rng.u8(0..5) == 0 => Datum::Null,
                _ => value(column.id, rng),
            };
            columns.iter().enumerate().map(|(at, column)| one(at, column, rng)).collect()
        };
        let a = row(&mut rng, None);
        let b = row(&mut rng, Some(&a));
        let encode = |row: &[Datum]| {
            let mut out = Vec::new();
            key::encode_all(&columns, row, &mut out).unwrap();
            out
        };
        let (key_a, key_b) = (encode(&a), encode(&b));
        let expected = a
            .iter()
            .zip(&b)
            .map(|(a, b)| compare(a, b))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal);
        assert_eq!(key_a.cmp(&key_b), expected, "seed {seed} round {round}: {a:?} {b:?}");
        let mut back = Vec::new();
        key::decode_all(&columns, &key_a, &mut back).unwrap();
        assert_eq!(back, a, "seed {seed} round {round}");
        for (column, (back, original)) in columns.iter().zip(back.iter().zip(&a)) {
            if key::is_lossless(column.id) {
                assert_eq!(format!("{back:?}"), format!("{original:?}"), "seed {seed} round {round}");
            }
        }
        let hash = |values: &[Datum]| {
            let mut hasher = DefaultHasher::new();
            values.hash(&mut hasher);
            hasher.finish()
        };
        assert_eq!(
            hash(&back),
            hash(&a),
            "equal values have equal hashes: seed {seed} round {round} {a:?} {back:?}"
        );
    }
}

#[test]
fn rows_read_back_column_by_column_under_longer_layouts_too() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    for round in 0..10_000 {
        let mut kinds: Vec<TypeId> =
            (0..rng.usize(0..12)).map(|_| KINDS[rng.usize(0..KINDS.len())]).collect();
        let mut values: Vec<Datum> = kinds
            .iter()
            .map(|id| if rng.u8(0..4) == 0 { Datum::Null } else { value(*id, &mut rng) })
            .collect();
        if rng.u8(0..20) == 0 {
            kinds.insert(0, TypeId::Text);
            values.insert(0, Datum::text("x".repeat(rng.usize(65_000..66_000))));
        }
        let mut bytes = vec![0xAA; rng.usize(0..3)];
        let before = bytes.len();
        RowLayout::new(&kinds).encode(&values, &mut bytes).unwrap();
        let bytes = &bytes[before..];
        kinds.push(TypeId::Int4);
        kinds.push(TypeId::Text);
        let longer = RowLayout::new(&kinds);
        let row = longer.read(bytes).unwrap();
        assert_eq!(row.written_columns(), values.len());
        for at in (0..values.len()).rev() {
            let again = format!("{:?}", row.get(at).unwrap());
            assert_eq!(again, format!("{:?}", values[at]), "seed {seed} round {round} column {at}");
        }
        assert!(row.get(values.len()).unwrap().is_null());
        // Damage may give other values or an error, never a panic.
        let mut damaged = bytes.to_vec();
        if !damaged.is_empty() {
            let at = rng.usize(0..damaged.len());
            damaged[at] ^= 1 << rng.u8(0..8);
            damaged.truncate(rng.usize(0..=damaged.len()));
            let _ = longer.decode(&damaged, &mut Vec::new());
        }
    }
}

#[test]
fn text_and_binary_forms_read_back_as_the_same_value() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    let style = Style { zone: jiff::tz::TimeZone::get("Europe/Berlin").unwrap(), ..Style::default() };
    for round in 0..60_000 {
        let kind = KINDS[rng.usize(0..KINDS.len())];
        let original = value(kind, &mut rng);
        let mut bytes = Vec::new();
        binary::write(&original, &mut bytes);
        let back = binary::read(Type::of(kind), &bytes).unwrap();
        assert_eq!(format!("{back:?}"), format!("{original:?}"), "seed {seed} round {round} {kind:?}");
        let text = original.to_text(&style).unwrap();
        let back = Datum::parse(Type::of(kind), &text, &style)
            .unwrap_or_else(|error| panic!("seed {seed} round {round} {kind:?} {text:?}: {error:?}"));
        assert_eq!(back, original, "seed {seed} round {round} {kind:?} {text:?}");
    }
}

#[test]
fn random_bytes_are_refused_without_a_panic() {
    let seed = seed();
    let mut rng = Rng::with_seed(seed);
    for _ in 0..100_000 {
        let kind = TypeId::ALL[rng.usize(0..TypeId::ALL.len())];
        let bytes: Vec<u8> =
            (0..rng.usize(0..40)).map(|_| if rng.bool() { rng.u8(..) } else { rng.u8(0..4) }).collect();
        let _ = binary::read(Type::of(kind), &bytes);
        let _ = key::decode(KeyColumn::nullable(kind), &mut bytes.as_slice());
        let _ = RowLayout::new(&[kind, TypeId::Int4]).decode(&bytes, &mut Vec::new());
        let letters = b"0123456789-+:. TZPYMDjanfebBCe{}[],\"\\/";
        let text: String =
            bytes.iter().map(|byte| char::from(letters[usize::from(*byte) % letters.len()])).collect();
        let _ = Datum::parse(Type::of(kind), &text, &Style::default());
    }
}

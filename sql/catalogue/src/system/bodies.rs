//! What functions of PostgreSQL are made of, as far as their definitions say it.

use super::known::KnownFunction;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What a definition says behind the signature.
#[derive(Clone, Copy)]
pub(super) struct Body {
    /// Its name in the program; None for a function whose body is SQL.
    pub(super) internal: Option<&'static str>,
    pub(super) leakproof: bool,
    /// The function that tells the planner of it.
    pub(super) support: Option<&'static str>,
}

/// Those that say more than the function's name, by the function's OID.
static BODIES: LazyLock<HashMap<u32, Body>> = LazyLock::new(|| {
    let lines = include_str!("data/function_bodies.txt").lines().filter(|line| !line.starts_with('#'));
    let read = |line: &'static str| {
        let mut words = line.split(' ');
        let oid = words.next()?.parse().ok()?;
        let (language, leakproof, support) = (words.next()?, words.next()?, words.next()?);
        let internal = words.next().filter(|_| language == "internal");
        let support = Some(support).filter(|support| *support != "-");
        Some((oid, Body { internal, leakproof: leakproof == "t", support }))
    };
    lines.filter_map(read).collect()
});

/// What a function is made of.
pub(super) fn of(function: &KnownFunction) -> Body {
    let plain = Body { internal: Some(function.name), leakproof: false, support: None };
    BODIES.get(&function.oid).copied().unwrap_or(plain)
}

//! Looking settings up by name.

use crate::definition::Definition;
use crate::plimsoll::PLIMSOLL;
use crate::postgresql15::POSTGRESQL;
use crate::statements::STATEMENTS;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::LazyLock;

static BY_NAME: LazyLock<Vec<&'static Definition>> = LazyLock::new(|| {
    let mut all: Vec<&'static Definition> = POSTGRESQL.iter().chain(PLIMSOLL).chain(STATEMENTS).collect();
    all.sort_by(|a, b| compare_names(a.name, b.name));
    all
});

/// Positions in [`BY_NAME`]: asked some hundred times for each connection and SET, by names as they are
/// listed.
static POSITIONS: LazyLock<HashMap<&'static str, usize, BuildHasherDefault<DefaultHasher>>> =
    LazyLock::new(|| BY_NAME.iter().enumerate().map(|(at, known)| (known.name, at)).collect());

/// All known settings, sorted by name without regard to case, as SHOW ALL lists them.
pub fn definitions() -> &'static [&'static Definition] {
    &BY_NAME
}

/// The order of names: ASCII case does not count.
pub(crate) fn compare_names(a: &str, b: &str) -> Ordering {
    a.bytes().map(|byte| byte.to_ascii_lowercase()).cmp(b.bytes().map(|byte| byte.to_ascii_lowercase()))
}

pub(crate) fn position(name: &str) -> Option<usize> {
    POSITIONS.get(name).copied().or_else(|| {
        let name = old_name(name);
        BY_NAME.binary_search_by(|known| compare_names(known.name, name)).ok()
    })
}

/// The settings that say where a recovery ends, of which only one may be set.
pub const RECOVERY_TARGETS: [&str; 5] = [
    "recovery_target",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_xid",
];

/// The setting of this name.
pub fn find(name: &str) -> Option<&'static Definition> {
    position(name).and_then(|at| BY_NAME.get(at).copied())
}

/// Names of earlier versions that PostgreSQL still takes.
fn old_name(name: &str) -> &str {
    const OLD: [(&str, &str); 2] = [("sort_mem", "work_mem"), ("vacuum_mem", "maintenance_work_mem")];
    OLD.iter().find(|(old, _)| old.eq_ignore_ascii_case(name)).map_or(name, |(_, new)| new)
}

/// The known name that differs least from this one, if it differs little.
pub fn nearest_name(name: &str) -> Option<&'static str> {
    let wanted: String = name.chars().take(64).map(|c| c.to_ascii_lowercase()).collect();
    let allowed = (wanted.chars().count() / 3).clamp(1, 4);
    BY_NAME
        .iter()
        .map(|known| (strsim::osa_distance(&wanted, &known.name.to_ascii_lowercase()), known.name))
        .min()
        .filter(|(distance, _)| *distance <= allowed)
        .map(|(_, name)| name)
}

/// Whether a name may stand for a customized setting: two or more identifiers joined by dots.
pub fn is_custom_name(name: &str) -> bool {
    let part = |part: &str| {
        let mut bytes = part.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b >= 0x80)
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$' || b >= 0x80)
    };
    name.contains('.') && name.len() < 256 && name.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case_and_old_names_still_work() {
        assert_eq!(find("DATESTYLE").map(|d| d.name), Some("DateStyle"));
        assert_eq!(find("sort_mem").map(|d| d.name), Some("work_mem"));
        assert!(find("no_such").is_none());
    }

    #[test]
    fn a_slip_names_the_nearest_setting() {
        assert_eq!(nearest_name("shared_bufers"), Some("shared_buffers"));
        assert_eq!(nearest_name("max_conections"), Some("max_connections"));
        assert_eq!(nearest_name("plimsoll.unconfirmed_timout"), Some("plimsoll.unconfirmed_timeout"));
        assert_eq!(nearest_name("completely_different"), None);
    }

    #[test]
    fn every_name_is_there_once() {
        assert!(definitions().windows(2).all(|pair| compare_names(pair[0].name, pair[1].name).is_lt()));
        assert!(definitions().len() > 360);
    }

    #[test]
    fn custom_names_need_a_prefix_and_identifiers() {
        for good in ["a.b", "my_ext.x1", "a.b.c", "a.b$"] {
            assert!(is_custom_name(good), "{good}");
        }
        for bad in ["ab", "a.", ".b", "a.1b", "a b.c", "a.b-c", "$a.b"] {
            assert!(!is_custom_name(bad), "{bad}");
        }
    }
}

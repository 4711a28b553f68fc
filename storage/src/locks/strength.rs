//! How strong a lock is, and which strengths exclude each other: PostgreSQL's tables.

use crate::{LockMode, TableLockMode};

/// A mode as a bit, with the bits that it excludes. Row modes take bits 0 to 3, table modes bits 4 to 11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strength {
    pub(super) bit: u16,
    pub(super) excludes: u16,
}

const fn table_bits(modes: &[TableLockMode]) -> u16 {
    let (mut bits, mut at) = (0, 0);
    while at < modes.len() {
        bits |= 1 << (4 + modes[at] as u16);
        at += 1;
    }
    bits
}

impl From<LockMode> for Strength {
    fn from(mode: LockMode) -> Self {
        let excludes = match mode {
            LockMode::KeyShare => 0b1000,
            LockMode::Shared => 0b1100,
            LockMode::NoKeyExclusive => 0b1110,
            LockMode::Exclusive => 0b1111,
        };
        Self { bit: 1 << mode as u16, excludes }
    }
}

impl From<TableLockMode> for Strength {
    fn from(mode: TableLockMode) -> Self {
        use TableLockMode::*;
        const FROM_SHARE: u16 = table_bits(&[Share, ShareRowExclusive, Exclusive, AccessExclusive]);
        let excludes = match mode {
            AccessShare => table_bits(&[AccessExclusive]),
            RowShare => table_bits(&[Exclusive, AccessExclusive]),
            RowExclusive => FROM_SHARE,
            ShareUpdateExclusive => FROM_SHARE | table_bits(&[ShareUpdateExclusive]),
            Share => (FROM_SHARE & !table_bits(&[Share])) | table_bits(&[RowExclusive, ShareUpdateExclusive]),
            ShareRowExclusive => FROM_SHARE | table_bits(&[RowExclusive, ShareUpdateExclusive]),
            Exclusive => FROM_SHARE | table_bits(&[RowShare, RowExclusive, ShareUpdateExclusive]),
            AccessExclusive => 0xFF0,
        };
        Self { bit: 1 << (4 + mode as u16), excludes }
    }
}

/// Everything that the modes in `held` exclude.
pub(super) fn excluded_by(held: u16) -> u16 {
    let rows = [LockMode::KeyShare, LockMode::Shared, LockMode::NoKeyExclusive, LockMode::Exclusive];
    rows.into_iter()
        .map(Strength::from)
        .chain(TableLockMode::ALL.into_iter().map(Strength::from))
        .filter(|strength| held & strength.bit != 0)
        .fold(0, |bits, strength| bits | strength.excludes)
}

//! How strong a lock is, and which strengths exclude each other: PostgreSQL's tables.

use crate::{LockMode, TableLockMode};

/// A mode as a bit, with the bits that it excludes. Row modes take bits 0 to 5, table modes bits 6 to 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strength {
    pub(super) bit: u16,
    pub(super) excludes: u16,
}

/// The modes of rows, by their bits.
const ROWS: [LockMode; 6] = [
    LockMode::Settled,
    LockMode::KeyShare,
    LockMode::Shared,
    LockMode::NoKeyExclusive,
    LockMode::Update,
    LockMode::Exclusive,
];

const fn table_bit(mode: TableLockMode) -> u16 {
    1 << (ROWS.len() + mode as usize)
}

const fn table_bits(modes: &[TableLockMode]) -> u16 {
    let (mut bits, mut at) = (0, 0);
    while at < modes.len() {
        bits |= table_bit(modes[at]);
        at += 1;
    }
    bits
}

impl From<LockMode> for Strength {
    fn from(mode: LockMode) -> Self {
        let excludes = match mode {
            LockMode::Settled => 0b10_0000,
            LockMode::KeyShare => 0b11_0000,
            LockMode::Shared => 0b11_1000,
            LockMode::NoKeyExclusive => 0b11_1100,
            LockMode::Update => 0b11_1110,
            LockMode::Exclusive => 0b11_1111,
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
            AccessExclusive => table_bits(&TableLockMode::ALL),
        };
        Self { bit: table_bit(mode), excludes }
    }
}

/// Everything that the modes in `held` exclude.
pub(super) fn excluded_by(held: u16) -> u16 {
    ROWS.into_iter()
        .map(Strength::from)
        .chain(TableLockMode::ALL.into_iter().map(Strength::from))
        .filter(|strength| held & strength.bit != 0)
        .fold(0, |bits, strength| bits | strength.excludes)
}

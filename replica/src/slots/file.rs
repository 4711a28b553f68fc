//! `pg_replslot/<name>/state`, laid out as PostgreSQL 15 does (ReplicationSlotOnDisk in replication/slot.c):
//!
//! ```text
//!   0  magic u32 = 0x01051CA1      80  database oid u32        112  confirmed_flush u64
//!   4  CRC-32C u32 of 8..200       84  persistency u32         120  two_phase_at u64
//!   8  version u32 = 2             88  xmin u32                128  two_phase u8
//!  12  length u32 = 184            92  catalog_xmin u32        129  plugin, 64 bytes
//!  16  name, 64 bytes              96  restart_lsn u64         193  zeros
//!                                 104  invalidated_at u64     195  the epoch of xmin u32
//!                                                            199  1 for the copy of an upstream's slot
//! ```
//!
//! All numbers are little-endian, texts end with a zero. A physical slot has database 0, no plugin and no
//! confirmed_flush. PostgreSQL's struct has padding from 193 on.

use wal::crc::crc32c;
use wal::{Lsn, Xid};

const MAGIC: u32 = 0x0105_1CA1;
const VERSION: u32 = 2;
/// Bytes of the whole file.
pub(super) const FILE_SIZE: usize = 200;
const LENGTH: u32 = 184;
const NAME_SIZE: usize = 64;
const EPOCH_AT: usize = 195;
/// RS_EPHEMERAL: dropped at start, like a temporary one.
const PERSISTENCY_PERSISTENT: u32 = 0;

/// What the state file says of a physical slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotState {
    pub(super) name: String,
    /// False for one that a crash left half made (ephemeral) or that belonged to a session.
    pub(super) persistent: bool,
    /// INVALID if it reserves nothing.
    pub(super) restart: Lsn,
    /// Where it stood when it lost its WAL; INVALID if it did not.
    pub(super) invalidated_at: Lsn,
    /// The oldest transaction that the receiver's queries need.
    pub(super) xmin: Option<Xid>,
    /// It follows the upstream's slot of this name.
    pub(super) copied: bool,
}

impl SlotState {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(FILE_SIZE);
        body.extend(VERSION.to_le_bytes());
        body.extend(LENGTH.to_le_bytes());
        let mut name = self.name.as_bytes().to_vec();
        name.resize(NAME_SIZE, 0);
        body.extend(name);
        body.extend(0u32.to_le_bytes());
        body.extend(u32::from(!self.persistent).to_le_bytes());
        body.extend(self.xmin.map_or(0, Xid::low).to_le_bytes());
        body.extend([0; 4]);
        body.extend(self.restart.get().to_le_bytes());
        body.extend(self.invalidated_at.get().to_le_bytes());
        body.resize(EPOCH_AT - 8, 0);
        body.extend(self.xmin.map_or(0, Xid::epoch).to_le_bytes());
        body.push(u8::from(self.copied));
        let mut file = MAGIC.to_le_bytes().to_vec();
        file.extend(crc32c(&body).to_le_bytes());
        file.extend(body);
        file
    }

    /// Reads the file; `Err` says what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let number = |at: usize| {
            let four = bytes.get(at..at + 4).and_then(|slice| slice.try_into().ok());
            four.map(u32::from_le_bytes).ok_or_else(|| format!("it ends after {} bytes", bytes.len()))
        };
        let position = |at: usize| -> Result<Lsn, String> {
            Ok(Lsn::new(u64::from(number(at)?) | u64::from(number(at + 4)?) << 32))
        };
        let expect = |what: &str, found: u32, expected: u32| {
            if found == expected {
                Ok(())
            } else {
                Err(format!("{what} is {found:#x}, expected {expected:#x}"))
            }
        };
        expect("magic number", number(0)?, MAGIC)?;
        expect("version", number(8)?, VERSION)?;
        expect("length", number(12)?, LENGTH)?;
        if bytes.len() != FILE_SIZE {
            return Err(format!("it has {} bytes, expected {FILE_SIZE}", bytes.len()));
        }
        expect("checksum", number(4)?, crc32c(bytes.get(8..).unwrap_or_default()))?;
        expect("database", number(80)?, 0)?;
        let name = bytes.get(16..16 + NAME_SIZE).unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        let xmin = u64::from(number(EPOCH_AT)?) << 32 | u64::from(number(88)?);
        let name = String::from_utf8(name.to_vec()).map_err(|_| "its name is not UTF-8".to_owned())?;
        Ok(Self {
            name,
            persistent: number(84)? == PERSISTENCY_PERSISTENT,
            restart: position(96)?,
            invalidated_at: position(104)?,
            xmin: (xmin != 0).then(|| Xid::new(xmin)),
            copied: bytes.last() == Some(&1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PostgreSQL 15.20 after `CREATE_REPLICATION_SLOT s1 PHYSICAL RESERVE_WAL` (restart_lsn 0/1551EB8):
    /// `od -A d -t x1 pg_replslot/s1/state`.
    fn golden() -> Vec<u8> {
        let mut file = vec![0; FILE_SIZE];
        file[..18].copy_from_slice(&[
            0xa1, 0x1c, 0x05, 0x01, 0x8e, 0xb6, 0x96, 0x92, 2, 0, 0, 0, 0xb8, 0, 0, 0, b's', b'1',
        ]);
        file[96..100].copy_from_slice(&[0xb8, 0x1e, 0x55, 0x01]);
        file
    }

    #[test]
    fn a_slot_file_is_byte_for_byte_that_of_postgresql() {
        let state = SlotState {
            name: "s1".to_owned(),
            persistent: true,
            restart: "0/1551EB8".parse().unwrap(),
            invalidated_at: Lsn::INVALID,
            xmin: None,
            copied: false,
        };
        assert_eq!(state.encode(), golden());
        assert_eq!(SlotState::decode(&golden()), Ok(state.clone()));
        let reading = SlotState { xmin: Some(Xid::new(3 << 32 | 725)), ..state };
        assert_eq!(SlotState::decode(&reading.encode()), Ok(reading));
    }

    #[test]
    fn every_cut_is_noticed() {
        for len in 0..FILE_SIZE {
            assert!(SlotState::decode(&golden()[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn every_flipped_bit_is_found_by_one_of_the_checks() {
        let mut found = std::collections::BTreeMap::new();
        for bit in 0..FILE_SIZE * 8 {
            let mut bad = golden();
            bad[bit / 8] ^= 1 << (bit % 8);
            let error = SlotState::decode(&bad).expect_err("a flip that nobody noticed");
            assert!(error.contains(" is 0x") && error.contains("expected 0x"), "bit {bit}: {error}");
            *found.entry(error.split(" is ").next().unwrap().to_owned()).or_insert(0) += 1;
        }
        println!("slot file: {} flips, {found:?}", FILE_SIZE * 8);
        let expected = [("checksum", 1504), ("length", 32), ("magic number", 32), ("version", 32)];
        assert_eq!(found, expected.map(|(name, count)| (name.to_owned(), count)).into());
    }

    #[test]
    fn without_the_checksum_flips_would_pass() {
        let state = SlotState::decode(&golden()).unwrap();
        let passed = (8 * 8..FILE_SIZE * 8).filter(|bit| {
            let mut bad = golden();
            bad[bit / 8] ^= 1 << (bit % 8);
            // A sum that fits is what a reader without the check takes any for.
            let sum = crc32c(&bad[8..]);
            bad[4..8].copy_from_slice(&sum.to_le_bytes());
            SlotState::decode(&bad).is_ok_and(|read| read != state)
        });
        assert!(passed.count() > 100, "the control found nothing");
    }
}

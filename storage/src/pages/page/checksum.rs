//! The two sums of a page: PostgreSQL's (the algorithm of storage/checksum_impl.h, FNV-1a over 32 lanes) and
//! CRC-32C.

use super::PAGE_SIZE;
use wal::BlockNumber;

const LANES: usize = 32;
const PRIME: u32 = 16_777_619;

/// Where each lane starts; part of the format.
const START: [u32; LANES] = [
    0x5B1F_36E9,
    0xB852_5960,
    0x02AB_50AA,
    0x1DE6_6D2A,
    0x79FF_467A,
    0x9BB9_F8A3,
    0x217E_7CD2,
    0x83E1_3D2C,
    0xF8D4_474F,
    0xE39E_B970,
    0x42C6_AE16,
    0x9932_16FA,
    0x7B09_3B5D,
    0x98DA_FF3C,
    0xF718_902A,
    0x0B1C_9CDB,
    0xE58F_764B,
    0x1876_36BC,
    0x5D7B_3BB1,
    0xE73D_E7DE,
    0x92BE_C979,
    0xCCA6_C0B2,
    0x304A_0979,
    0x85AA_43D4,
    0x7831_25BB,
    0x6CA8_EAA2,
    0xE407_EAC6,
    0x4B5C_FC3E,
    0x9FBF_8C76,
    0x15CA_20BE,
    0xF2CA_9FD3,
    0x959B_D756,
];

const fn mix(sum: u32, value: u32) -> u32 {
    let mixed = sum ^ value;
    mixed.wrapping_mul(PRIME) ^ (mixed >> 17)
}

/// pd_checksum of a page whose own pd_checksum is zero.
pub(super) fn page_checksum(page: &[u8; PAGE_SIZE], block: BlockNumber) -> u16 {
    let mut sums = START;
    let (rows, _) = page.as_chunks::<{ 4 * LANES }>();
    for row in rows {
        let (words, _) = row.as_chunks::<4>();
        for (sum, word) in sums.iter_mut().zip(words) {
            *sum = mix(*sum, u32::from_le_bytes(*word));
        }
    }
    let folded = sums.iter().fold(0, |folded, sum| folded ^ mix(mix(*sum, 0), 0));
    ((folded ^ block.get()) % 65535 + 1) as u16
}

/// CRC-32C of a page whose own CRC and pd_checksum are zero.
pub(super) fn crc(page: &[u8; PAGE_SIZE]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, page) as u32
}

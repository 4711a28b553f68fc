//! CRC-32C (Castagnoli), as PostgreSQL's WAL, control file and backup manifests use it (port/pg_crc32c.h).

use crc_fast::{CrcAlgorithm, Digest};

/// The CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// A CRC-32C in the making. Small and cheap to copy, so a body's can be kept and continued when its header is
/// known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc32c(u32);

impl Crc32c {
    /// Over no bytes yet (INIT_CRC32C).
    pub const fn new() -> Self {
        Self(u32::MAX)
    }
    /// Takes in more bytes (COMP_CRC32C).
    pub fn update(&mut self, bytes: &[u8]) {
        let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(self.0));
        digest.update(bytes);
        self.0 = (digest.get_state() & 0xFFFF_FFFF) as u32;
    }
    /// The checksum of all bytes taken in (FIN_CRC32C).
    pub const fn finish(self) -> u32 {
        self.0 ^ u32::MAX
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_check_value_comes_out_however_the_bytes_are_cut() {
        let text = b"123456789";
        assert_eq!(crc32c(text), 0xE306_9283);
        for cut in 0..=text.len() {
            let mut crc = Crc32c::new();
            crc.update(&text[..cut]);
            let mut continued = crc;
            continued.update(&text[cut..]);
            assert_eq!(continued.finish(), 0xE306_9283, "cut at {cut}");
        }
        assert_eq!(Crc32c::new().finish(), crc32c(b""));
    }
}

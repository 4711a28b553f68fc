//! Checksums of files in a backup manifest.

use protocol::replication::ChecksumAlgorithm;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use std::fmt::Write;
use wal::crc::Crc32c;

/// The name that a manifest gives an algorithm; None for no checksum.
pub fn algorithm_name(algorithm: ChecksumAlgorithm) -> Option<&'static str> {
    match algorithm {
        ChecksumAlgorithm::None => None,
        ChecksumAlgorithm::Crc32c => Some("CRC32C"),
        ChecksumAlgorithm::Sha224 => Some("SHA224"),
        ChecksumAlgorithm::Sha256 => Some("SHA256"),
        ChecksumAlgorithm::Sha384 => Some("SHA384"),
        ChecksumAlgorithm::Sha512 => Some("SHA512"),
    }
}

/// A file's checksum in the making.
#[derive(Clone, Debug)]
pub enum FileChecksum {
    /// None wanted.
    None,
    /// CRC-32C.
    Crc32c(Crc32c),
    /// SHA-224.
    Sha224(Sha224),
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-384.
    Sha384(Sha384),
    /// SHA-512.
    Sha512(Sha512),
}

impl FileChecksum {
    /// Over no bytes yet.
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        match algorithm {
            ChecksumAlgorithm::None => Self::None,
            ChecksumAlgorithm::Crc32c => Self::Crc32c(Crc32c::new()),
            ChecksumAlgorithm::Sha224 => Self::Sha224(Sha224::new()),
            ChecksumAlgorithm::Sha256 => Self::Sha256(Sha256::new()),
            ChecksumAlgorithm::Sha384 => Self::Sha384(Sha384::new()),
            ChecksumAlgorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::Crc32c(crc) => crc.update(bytes),
            Self::Sha224(sha) => sha.update(bytes),
            Self::Sha256(sha) => sha.update(bytes),
            Self::Sha384(sha) => sha.update(bytes),
            Self::Sha512(sha) => sha.update(bytes),
        }
    }
    /// The bytes that a manifest shows in hexadecimal: a CRC as it lies in memory (lowest byte first); none
    /// without a checksum.
    pub fn finish(self) -> Vec<u8> {
        match self {
            Self::None => Vec::new(),
            Self::Crc32c(crc) => crc.finish().to_le_bytes().to_vec(),
            Self::Sha224(sha) => sha.finalize().to_vec(),
            Self::Sha256(sha) => sha.finalize().to_vec(),
            Self::Sha384(sha) => sha.finalize().to_vec(),
            Self::Sha512(sha) => sha.finalize().to_vec(),
        }
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads hexadecimal; None for anything else.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

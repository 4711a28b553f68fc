//! Writing a manifest while the files go by.

use super::{MANIFEST_SIZE_MAX, ManifestError, WalRange};
use crate::manifest::checksum::{algorithm_name, hex};
use host::Timestamp;
use protocol::replication::ChecksumAlgorithm;
use sha2::{Digest, Sha256};
use wal::backup_label::BackupLabel;

/// One file as the manifest lists it.
#[derive(Clone, Copy, Debug)]
pub struct FileEntry<'a> {
    /// Path below the data directory, with slashes.
    pub path: &'a str,
    /// Bytes sent.
    pub size_bytes: u64,
    /// Its last change.
    pub modified: Timestamp,
    /// The checksum's bytes, as [`crate::manifest::checksum::FileChecksum::finish`] gives them.
    pub checksum: &'a [u8],
}

/// Collects the manifest's text.
#[derive(Debug)]
pub struct ManifestWriter {
    algorithm: ChecksumAlgorithm,
    force_encode: bool,
    text: Vec<u8>,
    files: u64,
}

impl ManifestWriter {
    /// A manifest whose files carry this checksum. `force_encode` writes every path in hexadecimal.
    pub fn new(algorithm: ChecksumAlgorithm, force_encode: bool) -> Self {
        let text = b"{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [".to_vec();
        Self { algorithm, force_encode, text, files: 0 }
    }

    /// The checksum of its files.
    pub const fn algorithm(&self) -> ChecksumAlgorithm {
        self.algorithm
    }

    /// Lists a file.
    ///
    /// # Errors
    ///
    /// Fails if the manifest would grow beyond [`MANIFEST_SIZE_MAX`](super::MANIFEST_SIZE_MAX).
    pub fn add_file(&mut self, file: FileEntry<'_>) -> Result<(), ManifestError> {
        let mut line = String::with_capacity(200);
        line.push_str(if self.files == 0 { "\n" } else { ",\n" });
        if self.force_encode {
            line.push_str(&format!("{{ \"Encoded-Path\": \"{}\", ", hex(file.path.as_bytes())));
        } else {
            line.push_str(&format!("{{ \"Path\": {}, ", serde_json::Value::from(file.path)));
        }
        let modified = BackupLabel::time_text(file.modified).replace("UTC", "GMT");
        line.push_str(&format!("\"Size\": {}, \"Last-Modified\": \"{modified}\"", file.size_bytes));
        if let Some(name) = algorithm_name(self.algorithm) {
            let checksum = hex(file.checksum);
            line.push_str(&format!(", \"Checksum-Algorithm\": \"{name}\", \"Checksum\": \"{checksum}\""));
        }
        line.push_str(" }");
        if self.text.len() + line.len() > MANIFEST_SIZE_MAX {
            return Err(ManifestError::TooLarge { limit: MANIFEST_SIZE_MAX });
        }
        self.text.extend_from_slice(line.as_bytes());
        self.files += 1;
        Ok(())
    }

    /// Ends the manifest; gives its bytes.
    pub fn finish(mut self, ranges: &[WalRange]) -> Vec<u8> {
        self.text.extend_from_slice(b"\n],\n\"WAL-Ranges\": [");
        for (at, range) in ranges.iter().enumerate() {
            let line = format!(
                "{}{{ \"Timeline\": {}, \"Start-LSN\": \"{}\", \"End-LSN\": \"{}\" }}",
                if at == 0 { "\n" } else { ",\n" },
                range.timeline,
                range.start,
                range.end
            );
            self.text.extend_from_slice(line.as_bytes());
        }
        self.text.extend_from_slice(b"\n],\n");
        let checksum = hex(&Sha256::digest(&self.text));
        self.text.extend_from_slice(format!("\"Manifest-Checksum\": \"{checksum}\"}}\n").as_bytes());
        self.text
    }
}

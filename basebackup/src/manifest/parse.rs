//! Reading a manifest: its own checksum first, then every field.

use super::{MANIFEST_SIZE_MAX, WalRange};
use crate::manifest::checksum::{hex, unhex};
use protocol::replication::ChecksumAlgorithm;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use wal::TimelineId;

/// A manifest that cannot be written or believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Longer than the limit.
    #[error("backup manifest is longer than the limit of {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// Its checksum does not fit.
    #[error("backup manifest checksum mismatch: found {found}, computed {expected}")]
    Checksum {
        /// Computed.
        expected: String,
        /// In the file.
        found: String,
    },
    /// It is not JSON, or not the JSON of a manifest.
    #[error("could not parse backup manifest: {0}")]
    Syntax(String),
    /// Another version.
    #[error("unexpected manifest version {found}, expected 1")]
    Version {
        /// What stands there.
        found: String,
    },
}

/// A file that a manifest lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its checksum; None for none.
    pub checksum: Option<(ChecksumAlgorithm, Vec<u8>)>,
}

/// A manifest that has been read and whose own checksum is right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The files, by path below the data directory.
    pub files: BTreeMap<String, ManifestFile>,
    /// The log that is needed with them.
    pub wal_ranges: Vec<WalRange>,
}

fn syntax(what: impl Into<String>) -> ManifestError {
    ManifestError::Syntax(what.into())
}

impl Manifest {
    /// Reads a manifest's bytes.
    ///
    /// # Errors
    ///
    /// Fails if the text is no manifest of version 1, or its checksum does not match.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_SIZE_MAX {
            return Err(ManifestError::TooLarge { limit: MANIFEST_SIZE_MAX });
        }
        let value: Value = serde_json::from_slice(bytes).map_err(|error| syntax(error.to_string()))?;
        let object = value.as_object().ok_or_else(|| syntax("expected an object"))?;
        match object.get("PostgreSQL-Backup-Manifest-Version") {
            Some(version) if version.as_u64() == Some(1) => {}
            other => {
                return Err(ManifestError::Version {
                    found: other.map_or_else(String::new, Value::to_string),
                });
            }
        }
        let stated = text(object, "Manifest-Checksum")?;
        // The last line is not covered, and ends with a line break.
        let body = bytes.strip_suffix(b"\n").ok_or_else(|| syntax("last line not newline-terminated"))?;
        let last =
            body.iter().rposition(|byte| *byte == b'\n').ok_or_else(|| syntax("expected several lines"))?;
        let expected = hex(&Sha256::digest(body.get(..=last).unwrap_or_default()));
        if !stated.eq_ignore_ascii_case(&expected) {
            return Err(ManifestError::Checksum { expected, found: stated.chars().take(64).collect() });
        }
        let mut manifest = Self::default();
        for file in list(object, "Files")? {
            let (path, file) = parse_file(file)?;
            if manifest.files.contains_key(&path) {
                return Err(syntax(format!("duplicate path name in backup manifest: \"{path}\"")));
            }
            manifest.files.insert(path, file);
        }
        for range in list(object, "WAL-Ranges")? {
            let range = range.as_object().ok_or_else(|| syntax("expected an object in \"WAL-Ranges\""))?;
            let timeline =
                range.get("Timeline").and_then(Value::as_u64).and_then(|number| number.try_into().ok());
            let position =
                |name| text(range, name)?.parse().map_err(|_| syntax(format!("invalid \"{name}\"")));
            manifest.wal_ranges.push(WalRange {
                timeline: TimelineId::new(timeline.ok_or_else(|| syntax("invalid \"Timeline\""))?),
                start: position("Start-LSN")?,
                end: position("End-LSN")?,
            });
        }
        Ok(manifest)
    }
}

fn text<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a str, ManifestError> {
    object.get(name).and_then(Value::as_str).ok_or_else(|| syntax(format!("missing \"{name}\"")))
}

fn list<'a>(object: &'a Map<String, Value>, name: &str) -> Result<&'a [Value], ManifestError> {
    let values = object.get(name).and_then(Value::as_array);
    values.map(Vec::as_slice).ok_or_else(|| syntax(format!("missing \"{name}\"")))
}

fn parse_file(value: &Value) -> Result<(String, ManifestFile), ManifestError> {
    let file = value.as_object().ok_or_else(|| syntax("expected an object in \"Files\""))?;
    let path = match file.get("Encoded-Path").and_then(Value::as_str) {
        Some(encoded) => unhex(encoded)
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| syntax("could not decode file name"))?,
        None => text(file, "Path")?.to_owned(),
    };
    let size_bytes = file
        .get("Size")
        .and_then(Value::as_u64)
        .ok_or_else(|| syntax(format!("file size of \"{path}\" is not an integer")))?;
    let checksum = match file.get("Checksum").and_then(Value::as_str) {
        None => None,
        Some(checksum) => {
            let algorithm = text(file, "Checksum-Algorithm")?;
            let algorithm = ChecksumAlgorithm::parse(algorithm)
                .ok_or_else(|| syntax(format!("unrecognized checksum algorithm: \"{algorithm}\"")))?;
            let bytes = unhex(checksum)
                .ok_or_else(|| syntax(format!("invalid checksum for file \"{path}\": \"{checksum}\"")))?;
            Some((algorithm, bytes))
        }
    };
    Ok((path, ManifestFile { size_bytes, checksum }))
}

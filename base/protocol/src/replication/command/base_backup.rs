//! The options of BASE_BACKUP.

use super::{CommandError, OptionValue};

/// Where a base backup goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BaseBackupTarget {
    /// To the client.
    Client,
    /// Nowhere.
    Blackhole,
    /// Into a folder of the server (absolute path).
    Server(String),
}

/// Whether a base backup carries a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManifestMode {
    /// It does not.
    No,
    /// It does.
    Yes,
    /// It does, with every file name in hexadecimal.
    ForceEncode,
}

/// The checksum of each file in a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumAlgorithm {
    /// None.
    None,
    /// CRC-32C
    Crc32c,
    /// SHA-224
    Sha224,
    /// SHA-256
    Sha256,
    /// SHA-384
    Sha384,
    /// SHA-512
    Sha512,
}

impl ChecksumAlgorithm {
    /// From its name in any case.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "NONE" => Self::None,
            "CRC32C" => Self::Crc32c,
            "SHA224" => Self::Sha224,
            "SHA256" => Self::Sha256,
            "SHA384" => Self::Sha384,
            "SHA512" => Self::Sha512,
            _ => return None,
        })
    }
}

/// Options of BASE_BACKUP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseBackupOptions {
    /// LABEL
    pub label: String,
    /// TARGET and TARGET_DETAIL
    pub target: BaseBackupTarget,
    /// PROGRESS: estimate and report sizes.
    pub progress: bool,
    /// CHECKPOINT 'fast', or FAST
    pub fast_checkpoint: bool,
    /// WAL: include the segments that the backup needs.
    pub wal: bool,
    /// WAIT (NOWAIT turns it off): wait until the WAL that the backup needs is archived.
    pub wait: bool,
    /// COMPRESSION with COMPRESSION_DETAIL
    pub compression: Option<(String, Option<String>)>,
    /// MAX_RATE in kilobytes a second.
    pub max_rate_kilobytes: Option<u32>,
    /// TABLESPACE_MAP
    pub tablespace_map: bool,
    /// VERIFY_CHECKSUMS (NOVERIFY_CHECKSUMS turns it off)
    pub verify_checksums: bool,
    /// MANIFEST
    pub manifest: ManifestMode,
    /// MANIFEST_CHECKSUMS
    pub manifest_checksums: ChecksumAlgorithm,
}

impl Default for BaseBackupOptions {
    fn default() -> Self {
        Self {
            label: "base backup".to_owned(),
            target: BaseBackupTarget::Client,
            progress: false,
            fast_checkpoint: false,
            wal: false,
            wait: true,
            compression: None,
            max_rate_kilobytes: None,
            tablespace_map: false,
            verify_checksums: true,
            manifest: ManifestMode::No,
            manifest_checksums: ChecksumAlgorithm::Crc32c,
        }
    }
}

/// What COMPRESSION may name.
const COMPRESSIONS: [&str; 4] = ["none", "gzip", "lz4", "zstd"];

/// What the options that were given ask for.
pub(super) fn base_backup_options(
    given: Vec<(String, OptionValue)>,
) -> Result<BaseBackupOptions, CommandError> {
    let mut options = BaseBackupOptions::default();
    let (mut target, mut target_detail) = (None, None);
    let (mut compression, mut compression_detail) = (None, None);
    let mut checksums_given = false;
    for (name, value) in given {
        let bad = |value: &str| CommandError::BadValue { option: name.clone(), value: value.to_owned() };
        match name.as_str() {
            "label" => options.label = value.text(&name)?,
            "target" => target = Some(value.text(&name)?),
            "target_detail" => target_detail = Some(value.text(&name)?),
            "progress" => options.progress = value.boolean(&name)?,
            "checkpoint" => {
                let kind = value.text(&name)?;
                options.fast_checkpoint = match kind.to_ascii_lowercase().as_str() {
                    "fast" => true,
                    "spread" => false,
                    _ => return Err(bad(&kind)),
                };
            }
            "wal" => options.wal = value.boolean(&name)?,
            "wait" => options.wait = value.boolean(&name)?,
            "compression" => compression = Some(value.text(&name)?),
            "compression_detail" => compression_detail = Some(value.text(&name)?),
            "max_rate" => options.max_rate_kilobytes = Some(max_rate(&value, bad)?),
            "tablespace_map" => options.tablespace_map = value.boolean(&name)?,
            "verify_checksums" => options.verify_checksums = value.boolean(&name)?,
            "manifest" => options.manifest = manifest_mode(&name, &value)?,
            "manifest_checksums" => {
                let algorithm = value.text(&name)?;
                options.manifest_checksums =
                    ChecksumAlgorithm::parse(&algorithm).ok_or_else(|| bad(&algorithm))?;
                checksums_given = true;
            }
            _ => return Err(CommandError::Unrecognized(name)),
        }
    }
    if checksums_given && options.manifest == ManifestMode::No {
        return Err(CommandError::Combination("manifest checksums require a backup manifest"));
    }
    options.target = target_of(target, target_detail)?;
    options.compression = match (compression, compression_detail) {
        (Some(value), _) if !COMPRESSIONS.contains(&value.as_str()) => {
            return Err(CommandError::UnknownWord { what: "compression algorithm", value });
        }
        (Some(method), Some(detail)) if method == "none" && !detail.is_empty() => {
            return Err(CommandError::Combination(
                "invalid compression specification: compression algorithm \"none\" takes no detail",
            ));
        }
        (Some(method), detail) => Some((method, detail)),
        (None, None) => None,
        (None, Some(_)) => {
            return Err(CommandError::Combination(
                "compression detail cannot be specified unless compression is enabled",
            ));
        }
    };
    Ok(options)
}

fn max_rate(value: &OptionValue, bad: impl Fn(&str) -> CommandError) -> Result<u32, CommandError> {
    let (option, min, max) = ("MAX_RATE", 32, 1_048_576);
    match *value {
        OptionValue::Number(rate) if (min..=max).contains(&rate) => Ok(rate),
        OptionValue::Number(value) => Err(CommandError::OutOfRange { option, value, min, max }),
        _ => Err(bad(&value.as_text().unwrap_or_default())),
    }
}

fn manifest_mode(name: &str, value: &OptionValue) -> Result<ManifestMode, CommandError> {
    match (value, value.boolean(name)) {
        (OptionValue::Text(text), _) if text.eq_ignore_ascii_case("force-encode") => {
            Ok(ManifestMode::ForceEncode)
        }
        (_, Ok(true)) => Ok(ManifestMode::Yes),
        (_, Ok(false)) => Ok(ManifestMode::No),
        (_, Err(_)) => {
            let value = value.as_text().unwrap_or_default();
            Err(CommandError::UnknownWord { what: "manifest option", value })
        }
    }
}

/// Where TARGET and TARGET_DETAIL together say that the backup goes.
fn target_of(target: Option<String>, detail: Option<String>) -> Result<BaseBackupTarget, CommandError> {
    match (target.as_deref(), detail) {
        (None | Some("client"), None) => Ok(BaseBackupTarget::Client),
        (Some("blackhole"), None) => Ok(BaseBackupTarget::Blackhole),
        (Some("server"), Some(folder)) => Ok(BaseBackupTarget::Server(folder)),
        (Some("server"), None) => {
            Err(CommandError::Combination("target \"server\" requires a target detail"))
        }
        (None, Some(_)) => Err(CommandError::Combination("target detail cannot be used without target")),
        (Some("client" | "blackhole"), Some(_)) => {
            Err(CommandError::Combination("this target does not accept a target detail"))
        }
        (Some(other), _) => {
            Err(CommandError::BadValue { option: "target".to_owned(), value: other.to_owned() })
        }
    }
}

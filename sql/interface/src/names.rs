//! How long names may be.

/// What a name keeps of its bytes (NAMEDATALEN without the zero behind it).
pub const NAME_BYTES_MAX: usize = 63;

/// A name cut down to what it keeps: whole characters.
pub fn clipped(name: &str) -> &str {
    if name.len() <= NAME_BYTES_MAX {
        return name;
    }
    let end = (0..=NAME_BYTES_MAX).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name.get(..end).unwrap_or(name)
}

//! How long names may be.

/// What a name keeps of its bytes (NAMEDATALEN without the zero behind it).
pub const NAME_BYTES_MAX: usize = 63;

/// A name cut down to what it keeps: whole characters.
pub fn clipped(name: &str) -> &str {
    clipped_to(name, NAME_BYTES_MAX)
}

/// A name, or any text, cut down to the whole characters of its first bytes.
pub fn clipped_to(name: &str, bytes_max: usize) -> &str {
    if name.len() <= bytes_max {
        return name;
    }
    let end = (0..=bytes_max).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
    name.get(..end).unwrap_or(name)
}

//! "char": one byte. Its value is kept as text: none for the zero byte, a backslash and three octal digits
//! for a byte above 127.

use crate::datum::Datum;

/// The byte that a text stands for: its first one, or what an octal form names.
pub(crate) fn byte_of(text: &str) -> u8 {
    let octal = text
        .strip_prefix('\\')
        .filter(|digits| digits.len() == 3 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7')));
    // Of more than eight bits the lower ones count.
    let named = octal.and_then(|digits| u16::from_str_radix(digits, 8).ok());
    match named {
        Some(named) => named.to_le_bytes()[0],
        None => text.bytes().next().unwrap_or(0),
    }
}

/// The value of a byte.
pub(crate) fn of_byte(byte: u8) -> Datum {
    Datum::text(match byte {
        0 => String::new(),
        1..=127 => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    })
}

/// The value that a text stands for.
pub(crate) fn of_text(text: &str) -> Datum {
    of_byte(byte_of(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_a_text_of_its_own() {
        for byte in 0..=u8::MAX {
            let Datum::Text(text) = of_byte(byte) else { panic!("no text") };
            assert_eq!(byte_of(&text), byte, "{text}");
        }
        assert_eq!(
            (byte_of("ab"), byte_of("\\101"), byte_of("\\18"), byte_of("é")),
            (b'a', b'A', b'\\', 0xC3)
        );
    }
}

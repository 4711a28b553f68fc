//! "char": one byte. Its text is empty for the zero byte, and a backslash and three octal digits for a byte
//! above 127. Such a byte is no text as a value, since bytes are compared and not their texts.

use crate::datum::Datum;
use std::fmt::Write as _;

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
    match byte {
        0 => Datum::text(""),
        1..=127 => Datum::text(char::from(byte).to_string()),
        _ => Datum::HighByte(byte),
    }
}

/// Appends the text of a byte above 127.
pub(crate) fn write_high(byte: u8, out: &mut String) {
    let _ = write!(out, "\\{byte:03o}");
}

/// The value that a text stands for.
pub(crate) fn of_text(text: &str) -> Datum {
    of_byte(byte_of(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::{self, KeyColumn};
    use crate::row::RowLayout;
    use crate::{Style, TypeId};

    #[test]
    fn each_byte_has_a_text_of_its_own() {
        for byte in 0..=u8::MAX {
            let text = of_byte(byte).to_text(&Style::default()).expect("no NULL");
            assert_eq!(byte_of(&text), byte, "{text}");
        }
        assert_eq!(
            (byte_of("ab"), byte_of("\\101"), byte_of("\\18"), byte_of("é")),
            (b'a', b'A', b'\\', 0xC3)
        );
    }

    #[test]
    fn bytes_stand_in_the_order_of_their_numbers_as_values_and_as_keys() {
        let column = KeyColumn::required(TypeId::Char);
        let key_of = |byte| {
            let mut key = Vec::new();
            key::encode(column, &of_byte(byte), &mut key).expect("a key");
            key
        };
        for byte in 0..u8::MAX {
            assert!(of_byte(byte) < of_byte(byte + 1), "{byte}");
            assert!(key_of(byte) < key_of(byte + 1), "{byte}");
        }
    }

    #[test]
    fn each_byte_comes_back_from_a_key_and_from_a_row() {
        let column = KeyColumn::required(TypeId::Char);
        let layout = RowLayout::new(&[TypeId::Char]);
        for byte in 0..=u8::MAX {
            let (mut key, mut row, mut values) = (Vec::new(), Vec::new(), Vec::new());
            key::encode(column, &of_byte(byte), &mut key).expect("a key");
            assert_eq!(key::decode(column, &mut key.as_slice()).expect("a key"), of_byte(byte));
            layout.encode(&[of_byte(byte)], &mut row).expect("a row");
            layout.decode(&row, &mut values).expect("a row");
            assert_eq!(values, [of_byte(byte)]);
        }
    }
}

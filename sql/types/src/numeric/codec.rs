//! Stored, key and wire forms of numeric.

use super::{MAX_SCALE, Numeric, Repr};
use crate::error::{Error, Result};
use num_bigint::{BigInt, Sign};

const NAN: u16 = 0xC000;
const POSITIVE_INFINITY: u16 = 0xD000;
const NEGATIVE_INFINITY: u16 = 0xF000;

/// First byte of a key, in order.
mod key_class {
    pub(super) const NEGATIVE_INFINITY: u8 = 0x10;
    pub(super) const NEGATIVE: u8 = 0x20;
    pub(super) const ZERO: u8 = 0x30;
    pub(super) const POSITIVE: u8 = 0x40;
    pub(super) const POSITIVE_INFINITY: u8 = 0x50;
    pub(super) const NAN: u8 = 0x60;
}

impl Numeric {
    /// Row form: scale (u16, little endian; special values above 0xBFFF), then the coefficient in two's
    /// complement, little endian, as short as it goes.
    pub(crate) fn write_stored(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Repr::NaN => out.extend_from_slice(&NAN.to_le_bytes()),
            Repr::PositiveInfinity => out.extend_from_slice(&POSITIVE_INFINITY.to_le_bytes()),
            Repr::NegativeInfinity => out.extend_from_slice(&NEGATIVE_INFINITY.to_le_bytes()),
            Repr::Small(value, scale) => {
                out.extend_from_slice(&scale.to_le_bytes());
                let bits = 65 - if *value < 0 { value.leading_ones() } else { value.leading_zeros() };
                let len = bits.div_ceil(8) as usize;
                out.extend(value.to_le_bytes().into_iter().take(len));
            }
            Repr::Big(value, scale) => {
                out.extend_from_slice(&scale.to_le_bytes());
                out.extend_from_slice(&value.to_signed_bytes_le());
            }
        }
    }

    /// Reads the row form.
    pub(crate) fn read_stored(bytes: &[u8]) -> Result<Self> {
        let (scale, coefficient) =
            bytes.split_first_chunk::<2>().ok_or_else(|| Error::corrupt("a stored numeric is cut short"))?;
        match u16::from_le_bytes(*scale) {
            NAN => Ok(Self::NAN),
            POSITIVE_INFINITY => Ok(Self::INFINITY),
            NEGATIVE_INFINITY => Ok(Self::NEGATIVE_INFINITY),
            scale if scale > MAX_SCALE => Err(Error::corrupt("a stored numeric has an impossible scale")),
            scale if coefficient.len() <= 8 => {
                let negative = coefficient.last().is_some_and(|byte| byte & 0x80 != 0);
                let mut wide = if negative { [0xFF; 8] } else { [0; 8] };
                for (to, from) in wide.iter_mut().zip(coefficient) {
                    *to = *from;
                }
                Ok(Self::small(i64::from_le_bytes(wide), scale))
            }
            scale => Ok(Self::big(BigInt::from_signed_bytes_le(coefficient), scale)),
        }
    }

    /// Key form: a class byte; then for numbers other than 0 the decimal exponent (u32, offset by 2^31) and
    /// the digits in pairs (1 + pair), ended by 0; all but the class complemented for negative numbers.
    pub(crate) fn write_key(&self, out: &mut Vec<u8>) {
        let Some((sign, digits, scale)) = self.decimal_digits() else {
            out.push(match self.0 {
                Repr::NaN => key_class::NAN,
                Repr::PositiveInfinity => key_class::POSITIVE_INFINITY,
                _ => key_class::NEGATIVE_INFINITY,
            });
            return;
        };
        if digits.is_empty() {
            out.push(key_class::ZERO);
            return;
        }
        let exponent = digits.len() as i64 - i64::from(scale);
        let flip = if sign == Sign::Minus { 0xFF } else { 0 };
        out.push(if sign == Sign::Minus { key_class::NEGATIVE } else { key_class::POSITIVE });
        let biased = (exponent + (1 << 31)) as u32;
        out.extend(biased.to_be_bytes().map(|byte| byte ^ flip));
        for pair in digits.trim_end_matches('0').as_bytes().chunks(2) {
            let (high, low) = (pair.first().copied().unwrap_or(b'0'), pair.get(1).copied().unwrap_or(b'0'));
            out.push(((high - b'0') * 10 + (low - b'0') + 1) ^ flip);
        }
        out.push(flip);
    }

    /// Reads the key form from the front of `bytes`, which moves past it. The scale is the smallest that
    /// shows the value in full.
    pub(crate) fn read_key(bytes: &mut &[u8]) -> Result<Self> {
        let corrupt = || Error::corrupt("a numeric key is malformed");
        let (class, rest) = bytes.split_first().ok_or_else(corrupt)?;
        *bytes = rest;
        let flip = match *class {
            key_class::NAN => return Ok(Self::NAN),
            key_class::POSITIVE_INFINITY => return Ok(Self::INFINITY),
            key_class::NEGATIVE_INFINITY => return Ok(Self::NEGATIVE_INFINITY),
            key_class::ZERO => return Ok(Self::ZERO),
            key_class::POSITIVE => 0,
            key_class::NEGATIVE => 0xFF,
            _ => return Err(corrupt()),
        };
        let (biased, rest) = bytes.split_first_chunk::<4>().ok_or_else(corrupt)?;
        let exponent = i64::from(u32::from_be_bytes(biased.map(|byte| byte ^ flip))) - (1 << 31);
        let end = rest.iter().position(|byte| *byte == flip).ok_or_else(corrupt)?;
        let (pairs, rest) = rest.split_at(end);
        *bytes = rest.get(1..).unwrap_or_default();
        let mut digits = String::with_capacity(pairs.len() * 2);
        for pair in pairs {
            let pair = (pair ^ flip) - 1;
            if pair > 99 {
                return Err(corrupt());
            }
            digits.push(char::from(b'0' + pair / 10));
            digits.push(char::from(b'0' + pair % 10));
        }
        let significant = digits.trim_end_matches('0');
        let scale = significant.len() as i64 - exponent;
        let mut all = significant.to_owned();
        if scale < 0 {
            if -scale > super::MAX_INTEGER_DIGITS {
                return Err(corrupt());
            }
            all.extend(std::iter::repeat_n('0', scale.unsigned_abs() as usize));
        }
        let scale = u16::try_from(scale.max(0)).map_err(|_| corrupt())?;
        let magnitude: BigInt = all.parse().map_err(|_| corrupt())?;
        Ok(Self::big(if flip == 0 { magnitude } else { -magnitude }, scale))
    }

    /// Wire form of numeric_send: digit count, weight, sign, display scale, then base-10000 digits, all 16
    /// bits.
    pub(crate) fn write_binary(&self, out: &mut Vec<u8>) {
        let Some((sign, digits, scale)) = self.decimal_digits() else {
            // Infinities carry a bit of their short header where the display scale stands.
            let (sign, scale) = match self.0 {
                Repr::NaN => (NAN, 0),
                Repr::PositiveInfinity => (POSITIVE_INFINITY, 0x20),
                _ => (NEGATIVE_INFINITY, 0x20),
            };
            for word in [0, 0, sign, scale] {
                out.extend_from_slice(&word.to_be_bytes());
            }
            return;
        };
        // Whole groups of four on both sides of the point.
        let whole_digits = digits.len() as i64 - i64::from(scale);
        let lead = (-whole_digits).rem_euclid(4) as usize;
        let mut groups: Vec<u16> = Vec::new();
        if !digits.is_empty() {
            let padded = [&"000"[..lead.min(3)], &digits].concat();
            for group in padded.as_bytes().chunks(4) {
                let mut value = 0;
                for at in 0..4 {
                    value = value * 10 + u16::from(group.get(at).map_or(0, |digit| digit - b'0'));
                }
                groups.push(value);
            }
        }
        while groups.last() == Some(&0) {
            groups.pop();
        }
        let weight = if groups.is_empty() { 0 } else { (whole_digits + 3).div_euclid(4) - 1 };
        let sign: u16 = if sign == Sign::Minus { 0x4000 } else { 0 };
        out.extend_from_slice(&(groups.len() as u16).to_be_bytes());
        out.extend_from_slice(&(weight as i16).to_be_bytes());
        out.extend_from_slice(&sign.to_be_bytes());
        out.extend_from_slice(&scale.to_be_bytes());
        for group in groups {
            out.extend_from_slice(&group.to_be_bytes());
        }
    }

    /// Reads the wire form.
    pub(crate) fn read_binary(bytes: &[u8]) -> Result<Self> {
        let mut words = bytes.chunks_exact(2).map(|pair| match pair {
            [high, low] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        });
        let invalid = |what: &'static str| Error::invalid_binary(what);
        let mut word = || words.next().ok_or_else(crate::binary::insufficient);
        let (count, weight, sign, scale) = (word()?, word()? as i16, word()?, word()?);
        let special = match sign {
            0 | 0x4000 => None,
            NAN => Some(Self::NAN),
            POSITIVE_INFINITY => Some(Self::INFINITY),
            NEGATIVE_INFINITY => Some(Self::NEGATIVE_INFINITY),
            _ => return Err(invalid("invalid sign in external \"numeric\" value")),
        };
        if scale > MAX_SCALE {
            return Err(invalid("invalid scale in external \"numeric\" value"));
        }
        let mut digits = String::with_capacity(usize::from(count) * 4);
        for _ in 0..count {
            let group = word()?;
            if group > 9999 {
                return Err(invalid("invalid digit in external \"numeric\" value"));
            }
            digits.push_str(&format!("{group:04}"));
        }
        if bytes.len() != 8 + usize::from(count) * 2 {
            return Err(invalid("incorrect binary data format"));
        }
        // Also behind these digits may stand, of which nothing is taken.
        if let Some(special) = special {
            return Ok(special);
        }
        // The coefficient at the scale of whole groups, then cut to the display scale.
        let group_scale = (i32::from(count) - 1 - i32::from(weight)) * 4;
        let mut coefficient: BigInt =
            if digits.is_empty() { BigInt::default() } else { digits.parse().unwrap_or_default() };
        if sign != 0 {
            coefficient = -coefficient;
        }
        let shift = i32::from(scale) - group_scale;
        coefficient = match u32::try_from(shift) {
            Ok(up) => coefficient * super::power_of_ten(up),
            Err(_) => coefficient / super::power_of_ten(shift.unsigned_abs()),
        };
        Self::checked(coefficient, scale)
    }
}

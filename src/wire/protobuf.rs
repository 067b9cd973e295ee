//! The part of the protobuf wire format that a push needs: fields read in place and
//! appended to a buffer.
//!
//! Follows <https://protobuf.dev/programming-guides/encoding/>. Unknown fields are
//! skipped, as the format requires, so that a later minor version may add some.

use std::fmt;

/// Maximum depth of nested groups, as in other implementations.
const MAX_GROUP_DEPTH: usize = 100;

/// Wire type of a field that begins a group.
const GROUP: u8 = 3;

/// Wire type of a field that ends a group.
const GROUP_END: u8 = 4;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    Group,
}

/// Why bytes are not a protobuf message, or not the expected one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireError {
    /// The message ends within a field.
    Truncated,
    /// A number has more than 64 bits.
    Overlong,
    /// Field numbers are 1 to 2^29 - 1, and a group ends where it began.
    BadKey,
    /// Groups are nested too deeply.
    TooDeep,
    /// The field with this number has an unexpected type.
    WrongType(u32),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the message ends within a field"),
            Self::Overlong => f.write_str("a number has more than 64 bits"),
            Self::BadKey => f.write_str("a field has no valid number and type"),
            Self::TooDeep => write!(f, "groups are nested more than {MAX_GROUP_DEPTH} deep"),
            Self::WrongType(field) => write!(f, "field {field} is not of its defined type"),
        }
    }
}

/// The fields of one encoded message, in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageFields<'a>(pub(super) &'a [u8]);

impl<'a> MessageFields<'a> {
    fn read(&mut self) -> Result<(u32, FieldValue<'a>), WireError> {
        let (field, kind) = self.key()?;
        let value = match kind {
            GROUP => {
                self.skip_group(field, MAX_GROUP_DEPTH)?;
                FieldValue::Group
            }
            kind => self.value(kind)?,
        };
        Ok((field, value))
    }

    /// Reads the number and the wire type of a field.
    fn key(&mut self) -> Result<(u32, u8), WireError> {
        let key = u32::try_from(self.varint()?).map_err(|_| WireError::BadKey)?;
        match key >> 3 {
            0 => Err(WireError::BadKey),
            field => Ok((field, (key & 7) as u8)),
        }
    }

    fn value(&mut self, kind: u8) -> Result<FieldValue<'a>, WireError> {
        Ok(match kind {
            0 => FieldValue::Varint(self.varint()?),
            1 => FieldValue::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                FieldValue::Bytes(self.bytes(length)?)
            }
            5 => FieldValue::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError::BadKey),
        })
    }

    /// Skips the rest of a group, with groups in it up to `depth`. No message here has
    /// one, but a later version's must be skipped.
    fn skip_group(&mut self, field: u32, depth: usize) -> Result<(), WireError> {
        let depth = depth.checked_sub(1).ok_or(WireError::TooDeep)?;
        loop {
            match self.key()? {
                (end, GROUP_END) if end == field => return Ok(()),
                (inner, GROUP) => self.skip_group(inner, depth)?,
                (_, kind) => {
                    self.value(kind)?;
                }
            }
        }
    }

    /// Reads a number without a key, as packed fields have them.
    pub(super) fn varint(&mut self) -> Result<u64, WireError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(WireError::Truncated)?;
            self.0 = rest;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(WireError::Overlong)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (bytes, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*bytes)
    }
}

impl<'a> Iterator for MessageFields<'a> {
    type Item = Result<(u32, FieldValue<'a>), WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.0.is_empty()).then(|| self.read())
    }
}

/// Decodes a signed number from zigzag (`sint64`).
pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Appends a field of type `string`, `bytes` or message.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field of type `uint64`.
pub(super) fn put_uint64(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(field << 3));
    put_varint(out, number);
}

/// Appends a field of type `sint64`.
pub(super) fn put_sint64(out: &mut Vec<u8>, field: u32, number: i64) {
    put_uint64(out, field, zigzag(number));
}

/// Appends a field of type `fixed32`.
pub(super) fn put_fixed32(out: &mut Vec<u8>, field: u32, number: u32) {
    put_varint(out, u64::from(field << 3 | 5));
    out.extend_from_slice(&number.to_le_bytes());
}

/// Appends a field of type `fixed64`.
pub(super) fn put_fixed64(out: &mut Vec<u8>, field: u32, number: u64) {
    put_varint(out, u64::from(field << 3 | 1));
    out.extend_from_slice(&number.to_le_bytes());
}

/// Returns the length of a field of type `string` with a number below 16, in bytes.
pub(super) fn bytes_len(bytes: &[u8]) -> usize {
    1 + varint_len(bytes.len() as u64) + bytes.len()
}

/// Returns the length of a field of type `uint64` with a number below 16, in bytes.
pub(super) fn uint64_len(number: u64) -> usize {
    1 + varint_len(number)
}

/// Returns the length of a field of type `sint64` with a number below 16, in bytes.
pub(super) fn sint64_len(number: i64) -> usize {
    uint64_len(zigzag(number))
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_that_are_appended_are_read_back(number: u64, small: u32, signed: i64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            put_uint64(&mut out, 1, number);
            put_fixed64(&mut out, 2, number);
            put_fixed32(&mut out, 4, small);
            let before = out.len();
            put_sint64(&mut out, 3, signed);
            prop_assert_eq!(out.len() - before, sint64_len(signed));
            let before = out.len();
            put_bytes(&mut out, 15, &bytes);
            prop_assert_eq!(out.len() - before, bytes_len(&bytes));
            let fields: Result<Vec<_>, _> = MessageFields(&out).collect();
            prop_assert_eq!(fields, Ok(vec![
                (1, FieldValue::Varint(number)),
                (2, FieldValue::Fixed64(number)),
                (4, FieldValue::Fixed32(small)),
                (3, FieldValue::Varint(zigzag(signed))),
                (15, FieldValue::Bytes(&bytes)),
            ]));
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
        }

        #[test]
        fn random_bytes_never_panic_and_always_end(bytes: Vec<u8>) {
            let fields = MessageFields(&bytes).take_while(Result::is_ok).count();
            prop_assert!(fields <= bytes.len());
        }
    }
}

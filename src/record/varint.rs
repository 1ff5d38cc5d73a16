//! [P] Zig-zag varints: small numbers of either sign in few bytes.
//!
//! A value is zig-zag mapped (0, -1, 1, -2, .. become 0, 1, 2, 3, ..) and written in groups of seven bits, lowest
//! first, the high bit set on all bytes but the last. At most 5 bytes carry 32 bits and at most 10 carry 64; longer
//! ones, and bits beyond the integer's width, are refused. An encoding padded with empty groups is read, never
//! written. Kafka's counterpart: `ByteUtils.readVarint` and its kin.

/// The most bytes that a 32-bit value takes.
const I32_LEN_MAX: usize = 5;
/// The most bytes that a 64-bit value takes.
const I64_LEN_MAX: usize = 10;

/// Why bytes are not a varint. Callers know the structure around it and say more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VarintError {
    /// The bytes end before the varint does.
    Truncated,
    /// It is longer, or larger, than the type allows.
    TooLong,
}

/// A 32-bit varint at the front of `bytes`, and the bytes behind it.
#[inline(always)]
pub(crate) fn decode_i32(bytes: &[u8]) -> Result<(i32, &[u8]), VarintError> {
    // Lengths and offset deltas nearly always take one byte or two: those are decoded without a loop.
    match bytes {
        [first, rest @ ..] if *first < 0x80 => Ok((unzigzag_32(u32::from(*first)), rest)),
        [first, second, rest @ ..] if *second < 0x80 => {
            Ok((unzigzag_32(u32::from(*first & 0x7f) | u32::from(*second) << 7), rest))
        }
        _ => {
            let (raw, rest) = decode_groups(bytes, I32_LEN_MAX)?;
            let raw = u32::try_from(raw).map_err(|_| VarintError::TooLong)?;
            Ok((unzigzag_32(raw), rest))
        }
    }
}

/// A 64-bit varint at the front of `bytes`, and the bytes behind it.
#[inline(always)]
pub(crate) fn decode_i64(bytes: &[u8]) -> Result<(i64, &[u8]), VarintError> {
    match bytes {
        [first, rest @ ..] if *first < 0x80 => Ok((unzigzag_64(u64::from(*first)), rest)),
        [first, second, rest @ ..] if *second < 0x80 => {
            Ok((unzigzag_64(u64::from(*first & 0x7f) | u64::from(*second) << 7), rest))
        }
        _ => {
            let (raw, rest) = decode_groups(bytes, I64_LEN_MAX)?;
            Ok((unzigzag_64(raw), rest))
        }
    }
}

/// Appends a 32-bit varint.
#[inline]
pub(crate) fn encode_i32(buffer: &mut Vec<u8>, value: i32) {
    encode_groups(buffer, u64::from(zigzag_32(value)));
}

/// Appends a 64-bit varint.
#[inline]
pub(crate) fn encode_i64(buffer: &mut Vec<u8>, value: i64) {
    encode_groups(buffer, zigzag_64(value));
}

/// How many bytes [`encode_i32`] appends: 1 to 5.
#[inline]
pub(crate) const fn len_i32(value: i32) -> usize {
    groups(zigzag_32(value) as u64)
}

/// How many bytes [`encode_i64`] appends: 1 to 10.
#[inline]
pub(crate) const fn len_i64(value: i64) -> usize {
    groups(zigzag_64(value))
}

/// A few bytes in a register: varints of small numbers, joined and then copied to a buffer at once. Encoding a record's
/// numbers one by one takes most of its time in checks of the buffer's capacity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShortRun {
    bits: u64,
    len: usize,
}

impl ShortRun {
    /// Room that [`append_to`](Self::append_to) uses, and the most bytes of a run.
    pub(crate) const ROOM: usize = size_of::<u64>();
    /// One byte, 0.
    pub(crate) const ZERO: ShortRun = ShortRun { bits: 0, len: 1 };

    /// A varint; `None` when it takes more than three bytes.
    #[inline]
    pub(crate) const fn varint(value: i64) -> Option<ShortRun> {
        let raw = zigzag_64(value);
        if raw < 0x80 {
            return Some(ShortRun { bits: raw, len: 1 });
        }
        let two = raw & 0x7f | 0x80 | (raw & 0x3f80) << 1;
        if raw < 0x4000 {
            return Some(ShortRun { bits: two, len: 2 });
        }
        let three = two | 0x8000 | (raw & 0x1f_c000) << 2;
        if raw < 0x20_0000 { Some(ShortRun { bits: three, len: 3 }) } else { None }
    }

    /// Both, one behind the other; together they must not be longer than [`ROOM`](Self::ROOM).
    #[inline]
    pub(crate) const fn then(self, next: ShortRun) -> ShortRun {
        ShortRun { bits: self.bits | next.bits << (self.len * 8 % 64), len: self.len + next.len }
    }

    /// Bytes in the run.
    #[inline]
    pub(crate) const fn len(self) -> usize {
        self.len
    }

    /// Appends the run to the buffer.
    #[inline]
    pub(crate) fn append_to(self, buffer: &mut Vec<u8>) {
        let end = buffer.len() + self.len;
        buffer.extend_from_slice(&self.bits.to_le_bytes());
        buffer.truncate(end);
    }
}

const fn zigzag_32(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

const fn zigzag_64(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

const fn unzigzag_32(raw: u32) -> i32 {
    (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()
}

const fn unzigzag_64(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()
}

/// Groups of seven bits that `raw` takes: one even for zero.
const fn groups(raw: u64) -> usize {
    let bits = 64 - (raw | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[inline]
fn encode_groups(buffer: &mut Vec<u8>, mut raw: u64) {
    // The length of a record of some 100 bytes: worth one check of the capacity instead of two.
    if (0x80..0x4000).contains(&raw) {
        return buffer.extend_from_slice(&[low_group(raw) | 0x80, low_group(raw >> 7)]);
    }
    while raw >= 0x80 {
        buffer.push(low_group(raw) | 0x80);
        raw >>= 7;
    }
    buffer.push(low_group(raw));
}

const fn low_group(raw: u64) -> u8 {
    let [low, ..] = raw.to_le_bytes();
    low & 0x7f
}

#[inline(never)]
fn decode_groups(bytes: &[u8], length_max: usize) -> Result<(u64, &[u8]), VarintError> {
    let mut raw = 0u64;
    let mut shift = 0u32;
    let mut rest = bytes;
    for _ in 0..length_max {
        let (byte, behind) = rest.split_first().ok_or(VarintError::Truncated)?;
        let group = u64::from(*byte & 0x7f);
        // Only the tenth group can lose bits: 9 * 7 = 63.
        if (group << shift) >> shift != group {
            return Err(VarintError::TooLong);
        }
        raw |= group << shift;
        rest = behind;
        if *byte < 0x80 {
            return Ok((raw, rest));
        }
        shift += 7;
    }
    Err(VarintError::TooLong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_numbers_of_either_sign_take_one_byte() {
        for (value, byte) in [(0, 0), (-1, 1), (1, 2), (-2, 3), (63, 126), (-64, 127)] {
            let mut buffer = Vec::new();
            encode_i32(&mut buffer, value);
            assert_eq!(buffer, [byte]);
            buffer.clear();
            encode_i64(&mut buffer, i64::from(value));
            assert_eq!(buffer, [byte]);
        }
    }

    #[test]
    fn the_extremes_take_five_and_ten_bytes() {
        let mut buffer = Vec::new();
        encode_i32(&mut buffer, i32::MIN);
        assert_eq!(buffer, [0xff, 0xff, 0xff, 0xff, 0x0f]);
        buffer.clear();
        encode_i64(&mut buffer, i64::MAX);
        assert_eq!(buffer, [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    #[test]
    fn a_longer_encoding_than_the_type_allows_is_refused() {
        assert_eq!(decode_i32(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]), Err(VarintError::TooLong));
        assert_eq!(decode_i64(&[0x80; 11]), Err(VarintError::TooLong));
    }

    #[test]
    fn bits_beyond_the_width_of_the_integer_are_refused() {
        assert_eq!(decode_i32(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(VarintError::TooLong));
        let mut bytes = [0xff; 10];
        bytes[9] = 0x02;
        assert_eq!(decode_i64(&bytes), Err(VarintError::TooLong));
    }

    #[test]
    fn missing_bytes_are_noticed_at_every_length() {
        let mut buffer = Vec::new();
        encode_i64(&mut buffer, i64::MIN);
        for length in 0..buffer.len() {
            assert_eq!(decode_i64(&buffer[..length]), Err(VarintError::Truncated));
        }
        assert_eq!(decode_i32(&[0x80]), Err(VarintError::Truncated));
    }

    #[test]
    fn an_encoding_padded_with_empty_groups_is_read() {
        assert_eq!(decode_i32(&[0x82, 0x80, 0x00, 7]), Ok((1, &[7][..])));
    }

    proptest! {
        #[test]
        fn every_32_bit_value_round_trips(value: i32, shift in 0u32..32) {
            let value = value >> shift;
            let mut buffer = Vec::new();
            encode_i32(&mut buffer, value);
            prop_assert_eq!(buffer.len(), len_i32(value));
            prop_assert_eq!(decode_i32(&buffer), Ok((value, &[][..])));
        }

        #[test]
        fn every_64_bit_value_round_trips(value: i64, shift in 0u32..64) {
            let value = value >> shift;
            let mut buffer = Vec::new();
            encode_i64(&mut buffer, value);
            prop_assert_eq!(buffer.len(), len_i64(value));
            prop_assert_eq!(decode_i64(&buffer), Ok((value, &[][..])));
        }

        #[test]
        fn short_runs_are_their_varints_one_behind_the_other(values: [i64; 2], shifts in (43u32..64, 43u32..64)) {
            let (first, second) = (values[0] >> shifts.0, values[1] >> shifts.1);
            let (mut run, mut expected) = (vec![7], vec![7]);
            ShortRun::varint(first).unwrap().then(ShortRun::ZERO).then(ShortRun::varint(second).unwrap()).append_to(&mut run);
            encode_i64(&mut expected, first);
            expected.push(0);
            encode_i64(&mut expected, second);
            prop_assert_eq!(run, expected);
        }

        #[test]
        fn runs_are_made_of_varints_of_up_to_three_bytes(value: i64, shift in 0u32..64) {
            let length = len_i64(value >> shift);
            let run = ShortRun::varint(value >> shift);
            prop_assert_eq!(run.map(ShortRun::len), (length <= 3).then_some(length));
        }

        #[test]
        fn arbitrary_bytes_give_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Ok((_, rest)) = decode_i32(&bytes) {
                prop_assert!(bytes.len() - rest.len() <= I32_LEN_MAX);
            }
            if let Ok((_, rest)) = decode_i64(&bytes) {
                prop_assert!(bytes.len() - rest.len() <= I64_LEN_MAX);
            }
        }
    }
}

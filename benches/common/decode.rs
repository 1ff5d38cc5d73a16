//! The hand-written decoder of the floors: as little as reading a batch takes, its checksum included.

use logstead::record::crc32c;

use super::common::BenchResult;

/// Bytes of the header of a batch.
const HEADER_BYTES: usize = 61;

/// What is done with a record: enough that nothing can be left out.
pub(crate) fn touch(sum: u64, value: &[u8]) -> u64 {
    let ends = [value.first(), value.last()].into_iter().flatten();
    ends.fold(sum.wrapping_add(value.len() as u64), |sum, byte| sum.wrapping_add(u64::from(*byte)))
}

/// Base offset and size of the batch at the front of `bytes`, if all of it is there.
pub(crate) fn batch_at(bytes: &[u8]) -> Option<(i64, usize)> {
    let header = bytes.get(..HEADER_BYTES)?;
    let base_offset = i64::from_be_bytes(header[..8].try_into().ok()?);
    let size = i32::from_be_bytes(header[8..12].try_into().ok()?) as usize + 12;
    (size <= bytes.len()).then_some((base_offset, size))
}

/// The batch, if its checksum is right.
pub(crate) fn check(batch: &[u8]) -> BenchResult<&[u8]> {
    if crc32c(&batch[21..]).to_be_bytes() == batch[17..21] { Ok(batch) } else { Err("a checksum is wrong".into()) }
}

/// Decodes the records of a batch, `at_most` of them, and returns how many.
pub(crate) fn each_value<'a>(batch: &'a [u8], at_most: usize, mut on_value: impl FnMut(&'a [u8])) -> usize {
    let count = (i32::from_be_bytes([batch[57], batch[58], batch[59], batch[60]]) as usize).min(at_most);
    let mut rest = &batch[HEADER_BYTES..];
    for _ in 0..count {
        let (length, body) = varint(rest);
        let (body, behind) = body.split_at(length as usize);
        let (_timestamp_delta, body) = varint(&body[1..]);
        let (_offset_delta, body) = varint(body);
        let (key_length, body) = varint(body);
        let (value_length, body) = varint(&body[key_length.max(0) as usize..]);
        on_value(&body[..value_length.max(0) as usize]);
        rest = behind;
    }
    count
}

fn varint(bytes: &[u8]) -> (i64, &[u8]) {
    let (mut raw, mut shift, mut at) = (0u64, 0, 0);
    loop {
        let byte = bytes[at];
        raw |= u64::from(byte & 0x7f) << shift;
        at += 1;
        if byte < 0x80 {
            return ((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed(), &bytes[at..]);
        }
        shift += 7;
    }
}

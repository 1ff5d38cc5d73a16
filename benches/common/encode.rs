//! The hand-written encoder of the floors.

use logstead::record::crc32c;

use super::common::Values;

/// A batch as Kafka has it, from values alone: the plainest loop that makes the same bytes.
pub(crate) fn encode_batch(buffer: &mut Vec<u8>, base_offset: i64, values: &mut Values, count: usize) {
    const TIMESTAMP: i64 = 1_700_000_000_000;
    let start = buffer.len();
    buffer.resize(start + 61, 0);
    for index in 0..count {
        let value = values.next();
        let body_len = 1 + 1 + varint_len(index as i64) + 1 + varint_len(value.len() as i64) + value.len() + 1;
        put_varint(buffer, body_len as i64);
        buffer.extend_from_slice(&[0, 0]);
        put_varint(buffer, index as i64);
        put_varint(buffer, -1);
        put_varint(buffer, value.len() as i64);
        buffer.extend_from_slice(value);
        buffer.push(0);
    }
    let batch = &mut buffer[start..];
    let length = batch.len() as i32 - 12;
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&(count as i32 - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&TIMESTAMP.to_be_bytes());
    batch[35..43].copy_from_slice(&TIMESTAMP.to_be_bytes());
    batch[43..57].fill(0xff);
    batch[57..61].copy_from_slice(&(count as i32).to_be_bytes());
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn varint_len(value: i64) -> usize {
    (64 - (zigzag(value) | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(buffer: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        buffer.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    buffer.push(rest as u8);
}

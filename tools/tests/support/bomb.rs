//! A batch that is small and becomes large.

use logstead::record::{BATCH_HEADER_LEN, BatchBuilder, BatchOptions, crc32c};
use logstead::types::Timestamp;

/// A batch of one record whose zstd stream becomes so many zeros: blocks that say which byte fills 128 KiB of them.
pub(crate) fn bomb(decompressed_bytes: u32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(Some(Timestamp::from_millis(0)), None, None, &[]).unwrap();
    let mut batch = builder.build().unwrap().into_buffer();
    batch.truncate(BATCH_HEADER_LEN);
    batch[22] |= 4;
    // The magic, a descriptor without a size, and a window of 8 MiB.
    batch.extend([0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3]);
    let (fill_bytes, count) = (128_u32 << 10, decompressed_bytes >> 17);
    for number in 1..=count {
        let block = fill_bytes << 3 | 1 << 1 | u32::from(number == count);
        batch.extend_from_slice(&block.to_le_bytes()[..3]);
        batch.push(0);
    }
    let length = u32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

//! Compressed batches, made of plain ones by other hands than the library's.

use logstead::record::{BATCH_HEADER_LEN, Compression, crc32c};

pub(crate) const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// The batch with its records compressed, and a right checksum.
pub(crate) fn packed(mut batch: Vec<u8>, codec: Compression) -> Vec<u8> {
    let records = batch.split_off(BATCH_HEADER_LEN);
    let (id, stream) = match codec {
        Compression::None => (0, records),
        Compression::Gzip => (1, gzip(&records)),
        Compression::Snappy => (2, snappy(&records)),
        Compression::Lz4 => (3, lz4(&records)),
        Compression::Zstd => (4, zstd::bulk::compress(&records, 1).unwrap()),
    };
    batch.extend(stream);
    batch[22] |= id;
    seal(&mut batch);
    batch
}

/// Puts length and checksum right.
pub(crate) fn seal(batch: &mut [u8]) {
    let length = u32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Stored blocks.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let blocks = bytes.chunks(0xffff);
    let last = blocks.len() - 1;
    for (index, block) in blocks.enumerate() {
        let len = block.len() as u16;
        stream.push(u8::from(index == last));
        stream.extend([len.to_le_bytes(), (!len).to_le_bytes()].concat());
        stream.extend(block);
    }
    stream.extend(crc32fast::hash(bytes).to_le_bytes());
    stream.extend((bytes.len() as u32).to_le_bytes());
    stream
}

/// Blocks of 32 KiB with their lengths, as Kafka's Java client frames them.
fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut stream = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in bytes.chunks(32 << 10) {
        let compressed = snap::raw::Encoder::new().compress_vec(block).unwrap();
        stream.extend((compressed.len() as u32).to_be_bytes());
        stream.extend(compressed);
    }
    stream
}

/// Independent blocks of up to 4 MiB; the header's checksum is that of its two bytes.
fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut stream = vec![0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73];
    for block in bytes.chunks(4 << 20) {
        let compressed = lz4_flex::block::compress(block);
        let (mark, block) = if compressed.len() < block.len() { (0, &compressed[..]) } else { (1 << 31, block) };
        stream.extend((block.len() as u32 | mark).to_le_bytes());
        stream.extend(block);
    }
    stream.extend([0; 4]);
    stream
}

//! Streams that others wrote: Python's gzip, lz4, zstandard and snappy, and a Kafka broker.

use super::*;
use crate::record::golden::bytes;
use crate::record::{BatchHeader, RecordBatch};

const PLAIN: &str =
    "logstead logstead logstead logstead logstead logstead logstead logstead logstead logstead logstead logstead end";

const GZIP: &str = "1f8b0800000000000003 cbc94f2f2e494d4c51c8a13d23352f0500 3e79deb1 6f000000";
/// With all optional fields: extra bytes, a name, a comment and the checksum of the header.
const GZIP_WITH_FIELDS: &str = "1f8b081e010203040203 0300 78797a 6e616d6500 636f6d6d656e7400 1dd2
    cbc94f2f2e494d4c51c8a13d23352f0500 3e79deb1 6f000000";
const LZ4: &str = "04224d18 60 40 82 13000000 9f6c6f6773746561642009004e506420656e64 00000000";
/// Blocks of 4 MiB with checksums, content size and content checksum.
const LZ4_WITH_FIELDS: &str = "04224d18 7c 70 6f00000000000000 dc 13000000 9f6c6f6773746561642009004e506420656e64
    d8e15e77 00000000 e436b975";
const SNAPPY_BLOCK: &str = "6f 206c6f67737465616420fe09008a090008656e64";
/// With content size and checksum.
const ZSTD: &str = "28b52ffd 24 6f 9d0000 606c6f67737465616420656e6401008069390247 99823a";
/// Streamed at level 22: a window of 128 MiB.
const ZSTD_STREAMED: &str = "28b52ffd 00 88 9d0000606c6f67737465616420656e64010080693902";

fn xerial(blocks: &[&[u8]]) -> Vec<u8> {
    let mut stream = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in blocks {
        stream.extend_from_slice(&u32::try_from(block.len()).unwrap().to_be_bytes());
        stream.extend_from_slice(block);
    }
    stream
}

fn assert_plain(codec: Compression, stream: &[u8], copies: usize) {
    let plain = unpack(codec, stream, 10 * PLAIN.len()).unwrap();
    assert_eq!(String::from_utf8(plain).unwrap(), PLAIN.repeat(copies), "{codec:?}");
}

#[test]
fn streams_of_other_programs_are_read() {
    assert_plain(Compression::Gzip, &bytes(GZIP), 1);
    assert_plain(Compression::Gzip, &bytes(GZIP_WITH_FIELDS), 1);
    assert_plain(Compression::Lz4, &bytes(LZ4), 1);
    assert_plain(Compression::Snappy, &bytes(SNAPPY_BLOCK), 1);
    assert_plain(Compression::Snappy, &xerial(&[&bytes(SNAPPY_BLOCK)]), 1);
    assert_plain(Compression::Zstd, &bytes(ZSTD_STREAMED), 1);
    assert_plain(Compression::Zstd, &bytes(ZSTD), 1);
    assert_eq!(unpack_pure(&bytes(ZSTD_STREAMED), 111).unwrap(), PLAIN.as_bytes());
    assert_eq!(unpack_pure(&bytes(ZSTD), 111).unwrap(), PLAIN.as_bytes());
}

#[test]
fn optional_fields_of_lz4_frames_are_read() {
    let mut frame = bytes(LZ4_WITH_FIELDS);
    let header_checksum = xxh32::xxh32(&frame[4..14]).to_le_bytes()[1];
    frame[14] = header_checksum;
    assert_plain(Compression::Lz4, &frame, 1);
    // The content checksum is skipped, as Kafka does; a block's is not.
    let last = frame.len() - 1;
    frame[last] ^= 1;
    assert_plain(Compression::Lz4, &frame, 1);
    assert_eq!(damage(unpack(Compression::Lz4, &frame[..last], 1000)).1, "the frame ends early");
    frame[38] ^= 1;
    assert_eq!(damage(unpack(Compression::Lz4, &frame, 1000)), (19, "the checksum of a block does not match"));
}

#[test]
fn lz4_frames_that_kafka_refuses_are_refused() {
    let with = |flags: u8, block_size: u8| {
        let mut frame = bytes(LZ4);
        frame[4] = flags;
        frame[5] = block_size;
        frame[6] = xxh32::xxh32(&frame[4..6]).to_le_bytes()[1];
        damage(unpack(Compression::Lz4, &frame, 1000))
    };
    assert_eq!(with(0x40, 0x40), (4, "the blocks depend on each other, which Kafka does not allow"));
    assert_eq!(with(0xa0, 0x40), (4, "the version of the frame is not 1"));
    for (flags, block_size) in [(0x61, 0x40), (0x62, 0x40), (0x60, 0x41), (0x60, 0x30), (0x60, 0xc0)] {
        assert_eq!(with(flags, block_size).1, "the header sets reserved bits or a block size that does not exist");
    }
}

#[test]
fn the_header_checksum_of_lz4_is_verified_unless_the_message_is_too_old() {
    let mut frame = bytes(LZ4);
    // Over the magic as well, as clients did for messages of magic 0.
    frame[6] = xxh32::xxh32(&frame[..6]).to_le_bytes()[1];
    let refused = damage(unpack(Compression::Lz4, &frame, 1000));
    assert_eq!(refused, (4, "the checksum of the header does not match"));
    let mut lenient = Decompressor::default();
    let mut plain = Vec::new();
    lenient.decompress_checking(HeaderChecksum::Ignored, Compression::Lz4, &frame, 1000, &mut plain).unwrap();
    assert_eq!(plain, PLAIN.as_bytes());
}

#[test]
fn checksums_and_lengths_of_gzip_are_verified() {
    let flipped = |index: usize| {
        let mut stream = bytes(GZIP_WITH_FIELDS);
        stream[index] ^= 1;
        damage(unpack(Compression::Gzip, &stream, 1000))
    };
    let end = bytes(GZIP_WITH_FIELDS).len() as u64;
    assert_eq!(flipped(4), (0, "the checksum of a member's header does not match"));
    assert_eq!(flipped(end as usize - 8), (end - 8, "the checksum of a member does not match its contents"));
    assert_eq!(flipped(end as usize - 1), (end - 4, "the length of a member does not match its contents"));
}

#[test]
fn what_stands_behind_a_stream_is_treated_as_by_kafka() {
    let twice = |stream: &[u8]| [stream, stream].concat();
    let tailed = |stream: &[u8], tail: &[u8]| [stream, tail].concat();
    let gzip = bytes(GZIP);
    assert_plain(Compression::Gzip, &twice(&gzip), 2);
    assert_plain(Compression::Gzip, &tailed(&gzip, &[0; 100]), 1);
    assert_plain(Compression::Gzip, &tailed(&gzip, &gzip[..18]), 1);
    assert_eq!(damage(unpack(Compression::Gzip, &tailed(&gzip, &gzip[..19]), 1000)).1, "a member ends early");
    let lz4 = bytes(LZ4);
    assert_plain(Compression::Lz4, &twice(&lz4), 1);
    let snappy = xerial(&[&bytes(SNAPPY_BLOCK)]);
    assert_plain(Compression::Snappy, &twice(&snappy), 2);
    assert_plain(Compression::Snappy, &tailed(&snappy, &[0; 3]), 1);
    assert_plain(Compression::Snappy, &tailed(&snappy, b"\x82SNAPPX\0\0\0\0\x01\0\0\0\x01..."), 1);
    assert_eq!(damage(unpack(Compression::Snappy, &tailed(&snappy, &[0; 4]), 1000)).1, "a block is empty");
    assert_eq!(damage(unpack(Compression::Snappy, &tailed(&snappy, &[0x80, 0, 0, 0]), 1000)).0, snappy.len() as u64);
    let zstd = bytes(ZSTD_STREAMED);
    let skippable = [0x53, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2];
    assert_plain(Compression::Zstd, &[&zstd[..], &skippable, &zstd].concat(), 2);
    assert_eq!(unpack_pure(&twice(&zstd), 1000).unwrap().len(), 2 * PLAIN.len());
    assert_eq!(damage(unpack(Compression::Zstd, &tailed(&zstd, &[0; 3]), 1000)).0, zstd.len() as u64);
}

#[test]
fn a_stream_of_snappy_older_than_version_1_is_refused() {
    let mut stream = xerial(&[&bytes(SNAPPY_BLOCK)]);
    stream[11] = 0;
    assert_eq!(damage(unpack(Compression::Snappy, &stream, 1000)), (0, "the version of the stream is older than 1"));
}

#[test]
fn zstd_without_what_kafka_lacks_is_refused() {
    let stream = bytes(ZSTD_STREAMED);
    let with_descriptor = |descriptor: u8, extra: &[u8]| {
        let mut changed = stream.clone();
        changed[4] = descriptor;
        changed.splice(6..6, extra.iter().copied());
        changed
    };
    assert_eq!(unpack(Compression::Zstd, &with_descriptor(1, &[0]), 111).unwrap(), PLAIN.as_bytes());
    let refused =
        |descriptor, extra: &[u8]| damage(unpack(Compression::Zstd, &with_descriptor(descriptor, extra), 111));
    assert_eq!(refused(1, &[1]).1, "a frame wants a dictionary, and Kafka knows none");
    assert_eq!(refused(8, &[]).1, "the header of a frame sets a reserved bit");
    let mut wide = stream;
    wide[5] += 1;
    assert_eq!(damage(unpack(Compression::Zstd, &wide, 111)), (0, "the window of a frame is larger than 128 MiB"));
}

#[test]
fn the_content_checksum_of_zstd_is_verified() {
    let mut stream = bytes(ZSTD);
    let last = stream.len() - 1;
    stream[last] ^= 1;
    assert!(unpack(Compression::Zstd, &stream, 111).is_err());
    assert!(unpack_pure(&stream, 111).is_err());
}

#[test]
fn batches_of_kafka_are_read() {
    let log = include_bytes!("../../../../tests/fixtures/kafka-4.0/codecs-0/00000000000000000000.log");
    let mut position = 0;
    let mut seen = Vec::new();
    while position < log.len() {
        let header = BatchHeader::parse(&log[position..]).unwrap();
        let bytes = &log[position..position + header.size_in_bytes()];
        let batch = RecordBatch::from_bytes(bytes).unwrap();
        let values: Vec<Vec<u8>> = batch.records().map(|record| record.value().unwrap().to_vec()).collect();
        if header.codec() == Compression::Zstd {
            assert_eq!(
                unpack_pure(&bytes[61..], 1 << 20).unwrap(),
                unpack(Compression::Zstd, &bytes[61..], 1 << 20).unwrap()
            );
        }
        seen.push((header.codec(), values));
        position += header.size_in_bytes();
    }
    let codecs: Vec<Compression> = seen.iter().map(|(codec, _)| *codec).collect();
    assert_eq!(codecs, [&[Compression::None][..], &CODECS].concat());
    let sentence = "the quick brown fox jumps over the lazy dog; ".repeat(10);
    for (codec, values) in &seen {
        let expected: Vec<Vec<u8>> =
            (0..4).map(|number| format!("{sentence}{} {number}", codec.as_str()).into_bytes()).collect();
        assert_eq!(values, &expected, "{codec:?}");
    }
}

//! Compressed batches that are made to exhaust their reader: each is refused, and memory stays within the limit of a reader.

use logstead::Error;
use logstead::record::{BATCH_HEADER_LEN, BatchBuilder, BatchOptions, DECOMPRESSED_BYTES_MAX, RecordBatch, crc32c};
use zlib_rs::{Deflate, DeflateFlush, Status};

use crate::allocation::peak_of;

const MIB: usize = 1 << 20;
/// What a codec may take beside what comes out: its tables, and the first guess at what will.
const OVERHEAD: usize = MIB;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Expected {
    TooLarge,
    /// The stream is damaged, or what comes out is no record.
    Damage,
}
use Expected::{Damage, TooLarge};

type Bomb = (&'static str, Vec<u8>, Expected);

/// A batch of one record whose records are this stream.
fn batch(codec: u8, stream: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(None, None, Some(b"value"), &[]).unwrap();
    let mut bytes = builder.build().unwrap().into_buffer();
    bytes.truncate(BATCH_HEADER_LEN);
    bytes.extend_from_slice(stream);
    let length = u32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[22] = codec;
    let crc = crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn assert_defused(codec: u8, bombs: Vec<Bomb>) {
    assert!(bombs.len() >= 10, "{}", bombs.len());
    for (name, stream, expected) in bombs {
        let bytes = batch(codec, &stream);
        let (result, peak) = peak_of(|| RecordBatch::from_bytes(&bytes).map(drop));
        match result {
            Err(Error::DecompressedTooLarge { .. }) => assert_eq!(expected, TooLarge, "{name}"),
            Err(Error::Corrupt(_)) => assert_eq!(expected, Damage, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
        let most = if expected == TooLarge { DECOMPRESSED_BYTES_MAX } else { 64 * MIB.min(bytes.len() * 4) };
        assert!(peak <= most + OVERHEAD, "{name}: {peak} bytes for {} bytes", bytes.len());
    }
}

/// Zeros, deflated.
fn deflated(length: usize) -> Vec<u8> {
    let mut deflate = Deflate::new(1, false, 15);
    let (zeros, mut packed, mut left) = (vec![0; MIB], vec![0; length / 100 + 100], length);
    loop {
        let at = usize::try_from(deflate.total_out()).unwrap();
        let taken = deflate.total_in();
        let flush = if left <= MIB { DeflateFlush::Finish } else { DeflateFlush::NoFlush };
        let status = deflate.compress(&zeros[..left.min(MIB)], &mut packed[at..], flush).unwrap();
        left -= usize::try_from(deflate.total_in() - taken).unwrap();
        if status == Status::StreamEnd {
            packed.truncate(usize::try_from(deflate.total_out()).unwrap());
            return packed;
        }
    }
}

fn gzip(deflated: &[u8], crc: u32, length: u32) -> Vec<u8> {
    let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    [&header[..], deflated, &crc.to_le_bytes(), &length.to_le_bytes()].concat()
}

/// A member of `length` zeros.
fn gzip_zeros(length: usize) -> Vec<u8> {
    let mut crc = crc32fast::Hasher::new();
    (0..length / MIB).for_each(|_| crc.update(&[0; MIB]));
    crc.update(&vec![0; length % MIB]);
    gzip(&deflated(length), crc.finalize(), u32::try_from(length).unwrap())
}

#[test]
fn bombs_of_gzip_are_defused() {
    let megabyte = gzip_zeros(MIB);
    let stored = |kind: &[u8], times: usize| [&kind.repeat(times)[..], &[1, 0, 0, 0xff, 0xff]].concat();
    let header = |flags: u8, rest: &[u8]| [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3], rest].concat();
    assert_defused(
        1,
        vec![
            ("a thousandfold", gzip_zeros(128 * MIB), TooLarge),
            ("one byte too many", gzip_zeros(64 * MIB + 1), TooLarge),
            ("a gigabyte in many members", megabyte.repeat(1_024), TooLarge),
            ("a bomb that nobody lit", gzip(&deflated(megabyte.len()), 0, 0), Damage),
            ("a bomb in a stream", gzip(&stored(&[], 0), 0, u32::MAX), Damage),
            ("empty members", gzip(&[3, 0], 0, 0).repeat(50_000), Damage),
            ("empty stored blocks", gzip(&stored(&[0, 0, 0, 0xff, 0xff], 200_000), 0, 0), Damage),
            ("empty fixed blocks", gzip(&[2, 4, 0x10, 0x40, 0].repeat(100_000), 0, 0), Damage),
            ("a header without end", header(8, &vec![b'n'; MIB]), Damage),
            ("extra fields only", header(4, &[0xff; 65_000]), Damage),
            ("a distance before the start", gzip(&[0x4b, 4, 0x42, 0xff, 0xff], 0, 0), Damage),
            ("dynamic trees of ones", header(0, &[0xfd; 100_000]), Damage),
        ],
    );
}

fn xerial(blocks: &[(i32, &[u8])]) -> Vec<u8> {
    let chunks = blocks.iter().flat_map(|(length, block)| [&length.to_be_bytes()[..], block].concat());
    b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".iter().copied().chain(chunks).collect()
}

#[test]
fn bombs_of_snappy_are_defused() {
    let compressed = |length: usize| snap::raw::Encoder::new().compress_vec(&vec![0; length]).unwrap();
    let megabyte = compressed(MIB);
    let chunk = (i32::try_from(megabyte.len()).unwrap(), &megabyte[..]);
    assert_defused(
        2,
        vec![
            ("a bare block of 100 MiB", compressed(100 * MIB), TooLarge),
            ("one byte too many", compressed(64 * MIB + 1), TooLarge),
            ("many chunks", xerial(&[chunk; 100]), TooLarge),
            ("many streams", xerial(&[chunk]).repeat(100), TooLarge),
            ("a preamble of 4 GiB", [&[0xff, 0xff, 0xff, 0xff, 0x0f], &[0; 100][..]].concat(), Damage),
            ("a preamble of 64 MiB", [&[0x80, 0x80, 0x80, 0x20], &[0; 100][..]].concat(), Damage),
            ("a preamble without end", vec![0xff; 1_000], Damage),
            ("a preamble of 64 MiB in a chunk", xerial(&[(4, &[0x80, 0x80, 0x80, 0x20])]), Damage),
            ("a chunk of 2 GiB", xerial(&[(i32::MAX, b"abc")]), Damage),
            ("a negative chunk", xerial(&[(-1, b"abc")]), Damage),
            ("empty chunks", xerial(&vec![(0, &b""[..]); 100_000]), Damage),
            ("chunks of nothing", xerial(&vec![(1, &b"\0"[..]); 100_000]), Damage),
            ("headers only", xerial(&[]).repeat(50_000), Damage),
            ("more than announced", [&[1], &megabyte[3..]].concat(), Damage),
        ],
    );
}

fn lz4(block_size: u8, blocks: &[&[u8]]) -> Vec<u8> {
    let checksum = match block_size {
        0x40 => 0x82,
        0x70 => 0x73,
        other => panic!("{other}"),
    };
    let mut frame = vec![0x04, 0x22, 0x4d, 0x18, 0x60, block_size, checksum];
    for block in blocks {
        frame.extend_from_slice(&u32::try_from(block.len()).unwrap().to_le_bytes());
        frame.extend_from_slice(block);
    }
    frame.extend_from_slice(&[0; 4]);
    frame
}

#[test]
fn bombs_of_lz4_are_defused() {
    let compressed = |length: usize| lz4_flex::block::compress(&vec![0; length]);
    let (small, large) = (compressed(64 << 10), compressed(4 * MIB));
    let length = |length: u32| [&lz4(0x40, &[])[..7], &length.to_le_bytes(), b"abc"].concat();
    assert_defused(
        3,
        vec![
            ("blocks of 4 MiB", lz4(0x70, &[&large[..]; 20]), TooLarge),
            ("one block too many", lz4(0x70, &[&large[..]; 17]), TooLarge),
            ("blocks of 64 KiB", lz4(0x40, &[&small[..]; 1_100]), TooLarge),
            ("a block larger than its frame allows", lz4(0x40, &[&large[..]]), Damage),
            ("tiny blocks where 4 MiB are allowed", lz4(0x70, &vec![&b"\x10a"[..]; 100_000]), Damage),
            ("blocks of nothing", lz4(0x70, &vec![&b"\0"[..]; 100_000]), Damage),
            ("a block of 2 GiB", length(0x7fff_ffff), Damage),
            ("a stored block of 2 GiB", length(0xffff_ffff), Damage),
            ("a block longer than what is left", length(60_000), Damage),
            ("a literal length without end", lz4(0x70, &[&[0xff; 100_000]]), Damage),
            ("a match before the start", lz4(0x70, &[&[0x1f, b'a', 9, 0, 0xff, 0xff]]), Damage),
            ("a match at no distance", lz4(0x70, &[&[0x1f, b'a', 0, 0, 0xff, 0xff]]), Damage),
        ],
    );
}

fn zstd(header: &[u8], blocks: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut frame = [&[0x28, 0xb5, 0x2f, 0xfd], header].concat();
    for (index, (kind, size, bytes)) in blocks.iter().enumerate() {
        let last = u32::from(index + 1 == blocks.len());
        frame.extend_from_slice(&(size << 3 | kind << 1 | last).to_le_bytes()[..3]);
        frame.extend_from_slice(bytes);
    }
    frame
}

#[test]
fn bombs_of_zstd_are_defused() {
    const BLOCK: u32 = 128 << 10;
    let run = (1, BLOCK, &b"a"[..]);
    let empty = (0, 0, &b""[..]);
    let literals = [&(BLOCK << 4 | 0x0d).to_le_bytes()[..3], b"a", &[0]].concat();
    let few = (1, 100, &b"a"[..]);
    let sized = |size: u64| [&[0xe0][..], &size.to_le_bytes()].concat();
    let skippable = |length: u32| [&[0x50, 0x2a, 0x4d, 0x18][..], &length.to_le_bytes()].concat();
    assert_defused(
        4,
        vec![
            ("runs of 128 KiB", zstd(&[0, 0x58], &vec![run; 1_000]), TooLarge),
            ("one run too many", zstd(&[0, 0x58], &vec![run; 513]), TooLarge),
            ("frames of one run", zstd(&[0, 0x58], &[run]).repeat(1_000), TooLarge),
            ("repeated literals", zstd(&[0, 0x58], &vec![(2, 5, &literals[..]); 1_000]), TooLarge),
            ("a size of 2^64 - 1", zstd(&sized(u64::MAX), &[few]), Damage),
            ("a size of 100 MiB", zstd(&sized(100 << 20), &[few]), TooLarge),
            ("a size of 64 MiB", zstd(&sized(64 << 20), &[few]), Damage),
            ("a size too small", zstd(&sized(100), &[run]), Damage),
            ("a window of 128 MiB", zstd(&[0, 0x88], &[few]), Damage),
            ("a window of 3.75 TiB", zstd(&[0, 0xff], &[few]), Damage),
            ("blocks of nothing", zstd(&[0, 0x58], &vec![empty; 200_000]), Damage),
            ("frames of nothing", zstd(&[0, 0x58], &[empty]).repeat(50_000), Damage),
            ("frames to skip", skippable(0).repeat(100_000), Damage),
            ("a frame to skip of 4 GiB", skippable(u32::MAX), Damage),
            ("compressed blocks of noise", zstd(&[0, 0x58], &vec![(2, 4, &b"\xfd\xff\xff\xff"[..]); 1_000]), Damage),
        ],
    );
}

//! What is compressed here comes back, at every size, level and through every reader.

use proptest::prelude::*;

use super::*;

/// Around the lengths of the blocks that the codecs cut.
const LENGTHS: [usize; 12] = [0, 1, 2, 100, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 131_073, 600_000];

fn assert_round_trip(codec: Compression, level: Option<i32>, plain: &[u8]) {
    let packed = pack(codec, level, plain);
    assert!(unpack(codec, &packed, plain.len()).unwrap() == plain, "{codec:?} {level:?} {}", plain.len());
    if codec == Compression::Zstd {
        assert!(unpack_pure(&packed, plain.len()).unwrap() == plain, "{level:?} {}", plain.len());
    }
    if !plain.is_empty() {
        for result in [unpack(codec, &packed, plain.len() - 1), unpack(codec, &packed, plain.len() / 2)] {
            assert!(matches!(result, Err(Error::DecompressedTooLarge { .. })), "{codec:?}: {result:?}");
        }
    }
}

#[test]
fn every_length_comes_back() {
    for length in LENGTHS {
        for plain in [json_lines(length), noise(length), vec![b'a'; length]] {
            for codec in CODECS {
                assert_round_trip(codec, None, &plain);
            }
        }
    }
}

#[test]
fn every_level_comes_back() {
    let plain = json_lines(40_000);
    for level in (1..=9).chain([-1]) {
        assert_round_trip(Compression::Gzip, Some(level), &plain);
    }
    for level in [-131_072, -5, -1, 0, 1, 3, 9, 15, 19, 22] {
        assert_round_trip(Compression::Zstd, Some(level), &plain);
    }
    for level in [1, 9, 17] {
        assert_round_trip(Compression::Lz4, Some(level), &plain);
    }
    assert!(pack(Compression::Gzip, Some(9), &plain).len() < pack(Compression::Gzip, Some(1), &plain).len());
    assert!(pack(Compression::Zstd, Some(19), &plain).len() < pack(Compression::Zstd, Some(-5), &plain).len());
}

#[test]
fn levels_that_a_codec_does_not_have_are_refused() {
    let levels = [(Compression::Gzip, 0), (Compression::Gzip, 10), (Compression::Lz4, 18), (Compression::Zstd, 23)];
    for (codec, level) in levels {
        let refused = Compressor::new(codec, Some(level)).unwrap_err();
        assert!(matches!(&refused, Error::InvalidConfig { .. }), "{refused:?}");
        assert!(refused.to_string().contains(&format!("compression.{}.level", codec.as_str())), "{refused}");
    }
    assert!(Compressor::new(Compression::Snappy, Some(99)).is_ok());
}

/// Kafka streams into zstd, so that its frames do not say how much they hold, and room has to be found by trying.
#[test]
fn frames_of_zstd_that_announce_nothing_are_read_up_to_the_limit() {
    use ::zstd::zstd_safe::{CCtx, CParameter, compress_bound};
    let mixed = [json_lines(150_000), noise(140_000), vec![0; 900_000], json_lines(50_000)].concat();
    for plain in [mixed, json_lines(300_000), noise(150_000), vec![b'a'; 1 << 20]] {
        for level in [-7, 3, 19] {
            let mut context = CCtx::create();
            context.set_parameter(CParameter::CompressionLevel(level)).unwrap();
            context.set_parameter(CParameter::ContentSizeFlag(false)).unwrap();
            let mut packed = Vec::with_capacity(compress_bound(plain.len()));
            context.compress2(&mut packed, &plain).unwrap();
            assert!(unpack(Compression::Zstd, &packed, plain.len()).unwrap() == plain);
            assert!(unpack(Compression::Zstd, &packed, 64 << 20).unwrap() == plain);
            assert!(unpack_pure(&packed, plain.len()).unwrap() == plain);
            for limit in (0..plain.len()).step_by(211_001).chain([plain.len() - 1]) {
                let result = unpack(Compression::Zstd, &packed, limit);
                assert!(matches!(result, Err(Error::DecompressedTooLarge { .. })), "{level} {limit}: {result:?}");
            }
            assert!(matches!(unpack_pure(&packed, plain.len() - 1), Err(Error::DecompressedTooLarge { .. })));
        }
    }
}

#[test]
fn compressed_bytes_are_appended_and_decompressed_ones_replace_what_was_there() {
    for codec in CODECS.into_iter().chain([Compression::None]) {
        let mut packed = b"before".to_vec();
        compress(codec, None, b"contents", &mut packed).unwrap();
        assert_eq!(packed[..6], b"before"[..]);
        for before in [vec![], b"before".to_vec(), json_lines(100_000)] {
            let mut plain = before;
            decompress(codec, &packed[6..], 8, &mut plain).unwrap();
            assert_eq!(plain, b"contents");
            let result = decompress(codec, &packed[6..], 7, &mut plain);
            assert!(matches!(result, Err(Error::DecompressedTooLarge { max: 7, .. })), "{codec:?}: {result:?}");
            assert_eq!(plain, b"");
        }
    }
}

#[test]
fn a_compressor_and_a_decompressor_serve_many_batches() {
    let mut decompressor = Decompressor::default();
    for codec in CODECS {
        let mut compressor = Compressor::new(codec, None).unwrap();
        for length in [70_000, 10, 0, 200_000] {
            let expected = json_lines(length);
            let (mut packed, mut plain) = (Vec::new(), Vec::new());
            compressor.compress(&expected, &mut packed).unwrap();
            assert_eq!(packed, pack(codec, None, &expected));
            // Damage leaves nothing behind for the next batch.
            decompressor.decompress(codec, &packed[..packed.len() - 1], length, &mut plain).unwrap_err();
            decompressor.decompress(codec, &packed, length, &mut plain).unwrap();
            assert!(plain == expected);
        }
    }
}

#[test]
fn the_bytes_written_are_those_that_kafka_expects() {
    assert_eq!(pack(Compression::Lz4, None, b""), [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, 0, 0, 0, 0]);
    let stored = pack(Compression::Lz4, None, &noise(65_537));
    assert_eq!(stored[7..11], (0x8000_0000_u32 | 65_536).to_le_bytes());
    assert_eq!(stored[11 + 65_536..][..4], 0x8000_0001_u32.to_le_bytes());
    assert_eq!(pack(Compression::Gzip, None, b"")[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
    assert_eq!(pack(Compression::Snappy, None, b"abc"), b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x05\x03\x08abc");
    assert_eq!(pack(Compression::Zstd, None, b"")[..4], [0x28, 0xb5, 0x2f, 0xfd]);
}

proptest! {
    #![proptest_config(cases(8))]
    #[test]
    fn what_goes_in_comes_out(
        runs in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 1..40), 1usize..400), 0..30),
    ) {
        let plain: Vec<u8> = runs.iter().flat_map(|(bytes, times)| bytes.repeat(*times)).collect();
        for codec in CODECS {
            assert_round_trip(codec, None, &plain);
        }
    }
}

//! Bytes that nobody wrote: cut, flipped, made up. Nothing panics, and no more than the limit comes out.

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 300_000;

/// Reads by every reader of the codec. What damaged bytes are taken for, if for anything, is for the batch's checksum to judge.
fn read_all_ways(codec: Compression, packed: &[u8]) -> Option<Vec<u8>> {
    let check = |result: &Result<Vec<u8>>| match result {
        Ok(plain) => assert!(plain.len() <= LIMIT),
        Err(Error::Corrupt(corrupt)) => {
            assert!(corrupt.position <= packed.len() as u64);
            assert!(matches!(corrupt.what, Damage::Compression { .. }), "{corrupt:?}");
        }
        Err(Error::DecompressedTooLarge { max, .. }) => assert_eq!(*max, LIMIT as u64),
        Err(other) => panic!("{other:?}"),
    };
    let result = unpack(codec, packed, LIMIT);
    check(&result);
    if codec == Compression::Zstd {
        check(&unpack_pure(packed, LIMIT));
    }
    result.ok()
}

/// Streams with every kind of block that the codecs know.
fn streams(codec: Compression) -> Vec<Vec<u8>> {
    let mixed = [json_lines(3_000), noise(200), vec![0; 5_000], json_lines(300)].concat();
    let mut plains = vec![vec![], b"a".to_vec(), json_lines(200), json_lines(2_000), noise(150), vec![7; 3_000], mixed];
    // Few symbols, so that zstd's literals are compressed although nothing repeats.
    plains.push(noise(2_500).iter().map(|byte| b"etaoin"[usize::from(*byte) % 6]).collect());
    let levels: &[Option<i32>] = if codec == Compression::Zstd { &[None, Some(-7), Some(19)] } else { &[None] };
    plains.iter().flat_map(|plain| levels.iter().map(|level| pack(codec, *level, plain))).collect()
}

#[test]
fn every_stream_cut_anywhere_is_damage() {
    for codec in CODECS {
        for stream in streams(codec) {
            for end in 0..stream.len() {
                let result = read_all_ways(codec, &stream[..end]);
                // A cut between two chunks of snappy, which has no end mark, shows in the records only, and up to three
                // bytes behind a chunk are ignored; and of zstd nothing at all is a stream without frames.
                let is_whole = match codec {
                    Compression::Snappy => (16..20).contains(&end),
                    Compression::Zstd => end == 0,
                    _ => false,
                };
                assert_eq!(result.is_some(), is_whole, "{codec:?}: {end} of {}", stream.len());
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_survived() {
    for codec in CODECS {
        for mut stream in streams(codec) {
            for index in 0..stream.len() {
                for mask in [0x01, 0xff] {
                    stream[index] ^= mask;
                    read_all_ways(codec, &stream);
                    stream[index] ^= mask;
                }
            }
        }
    }
}

/// How a valid stream is changed.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Remove(usize, usize),
    Repeat(usize, usize),
}

impl Change {
    fn strategy() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
            1 => (any::<usize>(), 1usize..9).prop_map(|(at, count)| Change::Remove(at, count)),
            1 => (any::<usize>(), 1usize..60).prop_map(|(at, count)| Change::Repeat(at, count)),
        ]
    }

    fn apply(&self, stream: &mut Vec<u8>) {
        let length = stream.len().max(1);
        let range = |at: usize, count: usize| at % length..(at % length + count).min(stream.len());
        match *self {
            Change::Set(at, byte) => stream[at % length] = byte,
            Change::Remove(at, count) => drop(stream.drain(range(at, count))),
            Change::Repeat(at, count) => {
                let copy = stream[range(at, count)].to_vec();
                stream.splice(at % length..at % length, copy);
            }
        }
    }
}

/// One frame of zstd with a window of 2 MiB and these blocks: type, size, bytes.
fn zstd_frame(blocks: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0x58];
    for (index, (kind, size, bytes)) in blocks.iter().enumerate() {
        let last = u32::from(index + 1 == blocks.len());
        frame.extend_from_slice(&(size << 3 | kind << 1 | last).to_le_bytes()[..3]);
        frame.extend_from_slice(bytes);
    }
    frame
}

#[test]
fn zstd_without_the_c_library_stops_at_the_limit_too() {
    const BLOCK: u32 = 128 << 10;
    let too_large = |packed: &[u8]| {
        let result = unpack_pure(packed, LIMIT);
        assert!(matches!(result, Err(Error::DecompressedTooLarge { .. })), "{result:?}");
    };
    let run = (1, BLOCK, &b"a"[..]);
    too_large(&zstd_frame(&vec![run; 1_000]));
    too_large(&zstd_frame(&[run]).repeat(1_000));
    // Literals that are one byte repeated, and no sequences.
    let literals = (BLOCK << 4 | 0x0d).to_le_bytes();
    let block = [&literals[..3], b"a", &[0]].concat();
    too_large(&zstd_frame(&vec![(2, 5, &block[..]); 1_000]));
    // Literals beyond what a block may hold are not even made.
    let literals = ((1_u32 << 20) - 1) << 4 | 0x0d;
    let block = [&literals.to_le_bytes()[..3], b"a", &[0]].concat();
    let result = unpack_pure(&zstd_frame(&[(2, 5, &block[..])]), 4 << 20);
    assert_eq!(damage(result), (6, "a block announces more literals than it may hold"));
    // Nothing at all, over and over.
    let empty = (0, 0, &[][..]);
    assert_eq!(unpack_pure(&zstd_frame(&vec![empty; 100_000]), LIMIT).unwrap(), b"");
    assert_eq!(unpack_pure(&zstd_frame(&[empty]).repeat(20_000), LIMIT).unwrap(), b"");
    assert_eq!(unpack_pure(&zstd_frame(&[(1, 0, b"a"), empty]), LIMIT).unwrap(), b"");
}

proptest! {
    #![proptest_config(cases(64))]
    #[test]
    fn changed_streams_are_survived(
        which in 0usize..4,
        stream: prop::sample::Index,
        changes in proptest::collection::vec(Change::strategy(), 1..6),
    ) {
        static STREAMS: std::sync::LazyLock<Vec<Vec<Vec<u8>>>> =
            std::sync::LazyLock::new(|| CODECS.into_iter().map(streams).collect());
        let mut bytes = stream.get(&STREAMS[which]).clone();
        for change in changes {
            change.apply(&mut bytes);
            if bytes.is_empty() {
                break;
            }
        }
        read_all_ways(CODECS[which], &bytes);
    }

    #[test]
    fn made_up_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for codec in CODECS {
            read_all_ways(codec, &bytes);
        }
    }

    /// One compressed block of zstd with arbitrary contents: most of its decoder is behind the headers.
    #[test]
    fn made_up_blocks_are_survived(block in proptest::collection::vec(any::<u8>(), 1..400)) {
        read_all_ways(Compression::Zstd, &zstd_frame(&[(2, u32::try_from(block.len()).unwrap(), &block)]));
    }
}

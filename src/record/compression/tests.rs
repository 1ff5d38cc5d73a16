use super::*;

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

#[test]
fn what_goes_in_comes_out() {
    for codec in CODECS {
        for length in [0_usize, 1, 100, 32 << 10, 64 << 10, 3 << 20] {
            let plain: Vec<u8> = (0..length).map(|i| (i * i / 7 % 251) as u8).collect();
            let mut packed = vec![7];
            compress(codec, None, &plain, &mut packed).unwrap();
            let mut back = vec![9];
            decompress(codec, &packed[1..], length, &mut back).unwrap();
            assert_eq!(packed[0], 7);
            assert_eq!(back[0], 9);
            assert!(back[1..] == plain, "{codec:?} {length}");
        }
    }
}

//! The codecs against vectors of others, against themselves, and against hostile bytes.

mod golden;
mod hostile;
mod round_trip;

use proptest::prelude::ProptestConfig;

use super::*;
use crate::error::Damage;

/// The codecs proper.
const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// So many cases, or as many as `PROPTEST_CASES` says.
fn cases(count: u32) -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: count, ..config } }
}

fn pack(codec: Compression, level: Option<i32>, plain: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    compress(codec, level, plain, &mut packed).unwrap();
    packed
}

fn unpack(codec: Compression, packed: &[u8], limit: usize) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    decompress(codec, packed, limit, &mut plain)?;
    Ok(plain)
}

/// zstd as it is read where there is no C library.
fn unpack_pure(packed: &[u8], limit: usize) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    let mut out = Output::new(Compression::Zstd, &mut plain, limit);
    let result = zstd::PureReader::default().decompress(packed, &mut out);
    out.finish(result)?;
    Ok(plain)
}

/// Where the stream is damaged, and the rule that it breaks.
fn damage(result: Result<Vec<u8>>) -> (u64, &'static str) {
    match result {
        Err(Error::Corrupt(corrupt)) => match corrupt.what {
            Damage::Compression { rule, .. } => (corrupt.position, rule),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

/// Lines as applications log them, `length` bytes of them.
fn json_lines(length: usize) -> Vec<u8> {
    let mut text = String::new();
    let mut number = 1_u64;
    while text.len() < length {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (user, amount) = (number >> 50, (number >> 20) & 0xffff);
        text +=
            &format!("{{\"user\":\"customer-{user}\",\"event\":\"order.created\",\"amount\":{amount},\"ok\":true}}\n");
    }
    text.into_bytes()[..length].to_vec()
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

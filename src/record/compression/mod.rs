//! [P] The codecs of Kafka: gzip, snappy, lz4 and zstd, each a feature of this package.
//!
//! Whole record areas go in and out; whatever the bytes announce, no more than the caller's limit comes out, and no memory
//! is taken for what has not come out yet. Kafka's counterpart: `org.apache.kafka.common.compress`.

use super::header::Compression;
use crate::error::{Error, Result};

/// Appends what `packed` holds to `plain`, but no more than `limit` bytes.
///
/// # Errors
/// - [`Error::Corrupt`], at a position in `packed`, when it is no stream of this codec, or not a whole one.
/// - [`Error::DecompressedTooLarge`] when more than `limit` bytes would come out.
/// - [`Error::UnsupportedCodec`] when the codec is not built in.
pub(crate) fn decompress(codec: Compression, packed: &[u8], limit: usize, plain: &mut Vec<u8>) -> Result<()> {
    match codec {
        Compression::None => {
            if packed.len() > limit {
                return Err(Error::DecompressedTooLarge { codec: codec.name(), max: limit as u64 });
            }
            plain.extend_from_slice(packed);
            Ok(())
        }
        Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd => {
            Err(Error::UnsupportedCodec { codec: codec.name() })
        }
    }
}

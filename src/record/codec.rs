//! [P] What batches are compressed with: a codec and how hard it tries, as a producer or a topic is configured.
//!
//! Kafka's counterpart: `Compression`, `CompressionConfig`.

use super::batch::DECOMPRESSED_BYTES_MAX;
use super::compression::Compressor;
use crate::config::{LogConfig, ProducerConfig, TopicCompression};
use crate::error::Result;
use crate::types::Compression;

/// A codec, and how hard it tries to make batches small.
///
/// ```
/// use logstead::record::{Codec, Compression};
/// assert_eq!(Codec::default(), Codec::NONE);
/// let hard = Codec { level: Some(9), ..Codec::from(Compression::Gzip) };
/// assert_eq!((hard.compression.as_str(), hard.level), ("gzip", Some(9)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Codec {
    /// The codec. Default: none.
    pub compression: Compression,
    /// The codec's own level, as in Kafka's `compression.*.level`; `None`, the default, is Kafka's default. Codecs without
    /// levels ignore it.
    pub level: Option<i32>,
}

impl Codec {
    /// No compression.
    pub const NONE: Codec = Codec { compression: Compression::None, level: None };

    /// What a producer compresses with where the topic leaves it to the producer.
    pub(crate) fn of_producer(config: &ProducerConfig) -> Codec {
        match config.get_compression() {
            Compression::None => Codec::NONE,
            Compression::Gzip => Codec::at(Compression::Gzip, config.get_compression_gzip_level()),
            Compression::Snappy => Compression::Snappy.into(),
            Compression::Lz4 => Codec::at(Compression::Lz4, config.get_compression_lz4_level()),
            Compression::Zstd => Codec::at(Compression::Zstd, config.get_compression_zstd_level()),
        }
    }

    /// What the batches of a topic are stored in; `None` when the topic leaves it to the producer.
    pub(crate) fn of_topic(config: &LogConfig) -> Option<Codec> {
        Some(match config.get_compression() {
            TopicCompression::Producer => return None,
            TopicCompression::Uncompressed => Codec::NONE,
            TopicCompression::Gzip => Codec::at(Compression::Gzip, config.get_compression_gzip_level()),
            TopicCompression::Snappy => Compression::Snappy.into(),
            TopicCompression::Lz4 => Codec::at(Compression::Lz4, config.get_compression_lz4_level()),
            TopicCompression::Zstd => Codec::at(Compression::Zstd, config.get_compression_zstd_level()),
        })
    }

    /// Whether records of so many bytes are compressed: there is a codec, and readers take as many from a compressed batch.
    pub(super) fn applies_to(self, area_bytes: usize) -> bool {
        self.compression != Compression::None && area_bytes <= DECOMPRESSED_BYTES_MAX
    }

    const fn at(compression: Compression, level: i32) -> Codec {
        Codec { compression, level: Some(level) }
    }
}

impl From<Compression> for Codec {
    /// The codec at Kafka's default level.
    fn from(compression: Compression) -> Codec {
        Codec { compression, level: None }
    }
}

/// Compresses one batch after another with one codec, and keeps what that takes.
#[derive(Debug)]
pub(crate) struct Packer {
    codec: Codec,
    compressor: Compressor,
}

impl Packer {
    /// # Errors
    /// [`Error::UnsupportedCodec`](crate::Error::UnsupportedCodec) when the codec is not built in for writing;
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) for a level that it does not have.
    pub(crate) fn new(codec: Codec) -> Result<Packer> {
        Ok(Packer { codec, compressor: Compressor::new(codec.compression, codec.level)? })
    }

    pub(crate) const fn codec(&self) -> Codec {
        self.codec
    }

    /// Appends the compressed records to `packed`.
    pub(super) fn pack(&mut self, area: &[u8], packed: &mut Vec<u8>) -> Result<()> {
        self.compressor.compress(area, packed)
    }
}

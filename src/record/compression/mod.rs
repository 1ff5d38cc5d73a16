//! [P] The codecs of Kafka: gzip, snappy, lz4 and zstd, each a feature of this package.
//!
//! Whole record areas go in and out; whatever the bytes announce, no more than the caller's limit comes out, and memory
//! is taken in step with what has come out. What stands behind a stream is treated as Kafka's readers treat it; each
//! codec says how. Kafka's counterpart: `org.apache.kafka.common.compress`.

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(any(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd", feature = "zstd-read"))]
mod input;
#[cfg(feature = "lz4")]
mod lz4;
mod output;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(test)]
mod tests;
#[cfg(feature = "lz4")]
mod xxh32;
#[cfg(any(feature = "zstd", feature = "zstd-read"))]
mod zstd;

use std::fmt;
use std::ops::RangeInclusive;

use crate::error::{ConfigViolation, Error, Result};
use crate::types::Compression;
use output::Output;

/// As [`Decompressor::decompress`].
///
/// # Errors
/// Those of [`Decompressor::decompress`].
pub(crate) fn decompress(codec: Compression, packed: &[u8], limit: usize, plain: &mut Vec<u8>) -> Result<()> {
    Decompressor::default().decompress(codec, packed, limit, plain)
}

/// As [`Compressor::compress`].
///
/// # Errors
/// Those of [`Compressor::new`] and [`Compressor::compress`].
pub(crate) fn compress(codec: Compression, level: Option<i32>, plain: &[u8], packed: &mut Vec<u8>) -> Result<()> {
    Compressor::new(codec, level)?.compress(plain, packed)
}

/// How the checksum over the header of an lz4 frame is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderChecksum {
    /// It has to be right.
    Verified,
    /// It may be anything: clients that wrote messages of magic 0 computed it over the wrong bytes.
    Ignored,
}

/// Decompresses one batch after another, and keeps what a codec has to allocate for it.
#[derive(Default)]
pub(crate) struct Decompressor {
    #[cfg(feature = "gzip")]
    gzip: gzip::Inflater,
    #[cfg(any(feature = "zstd", feature = "zstd-read"))]
    zstd: zstd::Reader,
}

impl Decompressor {
    /// Replaces what is in `plain` by what `packed` holds, but by no more than `limit` bytes; by nothing on failure.
    ///
    /// # Errors
    /// - [`Error::Corrupt`], at a position in `packed`, when it is no stream of this codec, or not a whole one.
    /// - [`Error::DecompressedTooLarge`] when more than `limit` bytes would come out.
    /// - [`Error::UnsupportedCodec`] when the codec is not built in.
    pub(crate) fn decompress(
        &mut self,
        codec: Compression,
        packed: &[u8],
        limit: usize,
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        self.decompress_checking(HeaderChecksum::Verified, codec, packed, limit, plain)
    }

    /// Like [`decompress`](Self::decompress), where lz4 may have a header checksum that is not looked at.
    ///
    /// # Errors
    /// Those of [`decompress`](Self::decompress).
    pub(crate) fn decompress_checking(
        &mut self,
        checksum: HeaderChecksum,
        codec: Compression,
        packed: &[u8],
        limit: usize,
        plain: &mut Vec<u8>,
    ) -> Result<()> {
        let mut out = Output::replacing(codec, plain, limit);
        let result = self.run(checksum, codec, packed, &mut out);
        out.finish(result)
    }

    #[cfg_attr(not(feature = "lz4"), allow(unused_variables, reason = "the checksum concerns lz4 only"))]
    fn run(&mut self, checksum: HeaderChecksum, codec: Compression, packed: &[u8], out: &mut Output<'_>) -> Result<()> {
        match codec {
            Compression::None => out.append(packed),
            #[cfg(feature = "gzip")]
            Compression::Gzip => self.gzip.decompress(packed, out),
            #[cfg(feature = "snappy")]
            Compression::Snappy => snappy::decompress(packed, out),
            #[cfg(feature = "lz4")]
            Compression::Lz4 => lz4::decompress(packed, checksum, out),
            #[cfg(any(feature = "zstd", feature = "zstd-read"))]
            Compression::Zstd => self.zstd.decompress(packed, out),
            #[allow(unreachable_patterns, reason = "with all codecs built in none is left")]
            _ => Err(Error::UnsupportedCodec { codec: codec.as_str() }),
        }
    }
}

impl fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

/// Compresses one batch after another, and keeps what its codec has to allocate for it.
pub(crate) struct Compressor {
    codec: Compression,
    engine: Engine,
}

enum Engine {
    None,
    #[cfg(feature = "gzip")]
    Gzip(gzip::Deflater),
    #[cfg(feature = "snappy")]
    Snappy(Box<snappy::Writer>),
    #[cfg(feature = "lz4")]
    Lz4(lz4::Writer),
    #[cfg(feature = "zstd")]
    Zstd(zstd::Writer),
}

impl Compressor {
    /// A compressor at this level, or at the codec's default level.
    ///
    /// The levels are Kafka's, see [`Compression::levels`]. A codec without levels ignores them; lz4 takes them, and always
    /// compresses fast.
    ///
    /// # Errors
    /// - [`Error::UnsupportedCodec`] when the codec, or writing it, is not built in.
    /// - [`Error::InvalidConfig`] for a level that the codec does not have.
    pub(crate) fn new(codec: Compression, level: Option<i32>) -> Result<Compressor> {
        check_level(codec, level)?;
        let engine = match codec {
            Compression::None => Engine::None,
            #[cfg(feature = "gzip")]
            Compression::Gzip => Engine::Gzip(gzip::Deflater::new(level)),
            #[cfg(feature = "snappy")]
            Compression::Snappy => Engine::Snappy(Box::default()),
            #[cfg(feature = "lz4")]
            Compression::Lz4 => Engine::Lz4(lz4::Writer::default()),
            #[cfg(feature = "zstd")]
            Compression::Zstd => Engine::Zstd(zstd::Writer::new(level)?),
            #[allow(unreachable_patterns, reason = "with all codecs built in none is left")]
            _ => return Err(Error::UnsupportedCodec { codec: codec.as_str() }),
        };
        Ok(Compressor { codec, engine })
    }

    /// Appends `plain`, as one stream of the codec, to `packed`. On failure `packed` is as it was.
    ///
    /// # Errors
    /// [`Error::InvalidRecord`] when the codec cannot take so many bytes at once; none can be in a batch.
    pub(crate) fn compress(&mut self, plain: &[u8], packed: &mut Vec<u8>) -> Result<()> {
        let mut out = Output::new(self.codec, packed, usize::MAX);
        let result = match &mut self.engine {
            Engine::None => out.append(plain),
            #[cfg(feature = "gzip")]
            Engine::Gzip(writer) => writer.compress(plain, &mut out),
            #[cfg(feature = "snappy")]
            Engine::Snappy(writer) => writer.compress(plain, &mut out),
            #[cfg(feature = "lz4")]
            Engine::Lz4(writer) => writer.compress(plain, &mut out),
            #[cfg(feature = "zstd")]
            Engine::Zstd(writer) => writer.compress(plain, &mut out),
        };
        out.finish(result)
    }
}

impl fmt::Debug for Compressor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressor").field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl Compression {
    /// Whether batches compressed so can be read: whether the feature `gzip`, `snappy` or `lz4` of the same name, or for
    /// zstd `zstd-read` or `zstd`, is enabled.
    ///
    /// ```
    /// use logstead::record::Compression;
    /// assert!(Compression::None.is_readable());
    /// assert_eq!(Compression::Gzip.is_readable(), Compression::Gzip.is_writable());
    /// ```
    pub const fn is_readable(self) -> bool {
        match self {
            Compression::Zstd => cfg!(any(feature = "zstd", feature = "zstd-read")),
            other => other.is_writable(),
        }
    }

    /// Whether batches can be compressed so. Other than reading, writing zstd takes the feature `zstd`, and with it a C
    /// compiler.
    ///
    /// ```
    /// use logstead::record::Compression;
    /// assert!(Compression::None.is_writable());
    /// assert!(!Compression::Zstd.is_writable() || Compression::Zstd.is_readable());
    /// ```
    pub const fn is_writable(self) -> bool {
        match self {
            Compression::None => true,
            Compression::Gzip => cfg!(feature = "gzip"),
            Compression::Snappy => cfg!(feature = "snappy"),
            Compression::Lz4 => cfg!(feature = "lz4"),
            Compression::Zstd => cfg!(feature = "zstd"),
        }
    }

    /// The levels that Kafka knows of this codec, or `None` where it has no levels. gzip knows -1 besides, its default.
    ///
    /// ```
    /// use logstead::record::Compression;
    /// assert_eq!(Compression::Gzip.levels(), Some(1..=9));
    /// assert_eq!(Compression::Snappy.levels(), None);
    /// ```
    pub const fn levels(self) -> Option<RangeInclusive<i32>> {
        match self {
            Compression::None | Compression::Snappy => None,
            Compression::Gzip => Some(1..=9),
            Compression::Lz4 => Some(1..=17),
            Compression::Zstd => Some(-131_072..=22),
        }
    }
}

/// Refuses a level that the codec does not have.
fn check_level(codec: Compression, level: Option<i32>) -> Result<()> {
    let (Some(level), Some(levels)) = (level, codec.levels()) else {
        return Ok(());
    };
    if levels.contains(&level) || (codec == Compression::Gzip && level == -1) {
        return Ok(());
    }
    let (lowest, highest) = levels.into_inner();
    let default = if codec == Compression::Gzip { ", or -1 for its default" } else { "" };
    let field = format!("compression.{}.level", codec.as_str());
    let reason = format!("{level} is no level of {}; expected {lowest} to {highest}{default}", codec.as_str());
    Err(Error::InvalidConfig { violations: vec![ConfigViolation { field, reason }] })
}

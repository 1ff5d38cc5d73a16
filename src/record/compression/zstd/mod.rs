//! [P] zstd: frames of RFC 8878, read by the C library where it is built in, and else in pure Rust.
//!
//! Like zstd-jni, through which Kafka reads: frames follow each other and all yield their bytes, skippable frames are
//! skipped, and anything else behind a frame is damage, as is a window of more than 128 MiB. Dictionaries do not exist in
//! Kafka. The content checksum is verified where there is one.

mod frame;
#[cfg(feature = "zstd")]
mod libzstd;
#[cfg(all(feature = "zstd-read", any(test, not(feature = "zstd"))))]
mod pure;
#[cfg(all(feature = "zstd-read", any(test, not(feature = "zstd"))))]
mod xxh64;

use super::input::Input;
use super::output::Output;
use crate::error::Result;
use crate::record::Compression;
use frame::Frame;

#[cfg(feature = "zstd")]
pub(super) use libzstd::Writer;

#[cfg(feature = "zstd")]
type Backend = libzstd::Decoder;
#[cfg(not(feature = "zstd"))]
type Backend = pure::Decoder;

/// Reads zstd.
pub(super) type Reader = Frames<Backend>;
/// Reads zstd without the C library, also where that is built in.
#[cfg(all(test, feature = "zstd-read"))]
pub(super) type PureReader = Frames<pure::Decoder>;

/// What decodes one frame.
trait Decode: Default {
    /// Appends what the frame holds.
    fn decode(&mut self, frame: &Frame<'_>, out: &mut Output<'_>) -> Result<()>;
}

/// Reads frame after frame.
#[derive(Default)]
pub(super) struct Frames<D> {
    decoder: D,
}

#[allow(private_bounds, reason = "the decoders stay in here")]
impl<D: Decode> Frames<D> {
    pub(super) fn decompress(&mut self, packed: &[u8], out: &mut Output<'_>) -> Result<()> {
        let mut input = Input::new(Compression::Zstd, packed);
        while !input.rest().is_empty() {
            let Some(frame) = Frame::take(&mut input)? else {
                continue;
            };
            let before = out.written();
            // What is announced is not believed, but it may be refused.
            if frame.content_size.is_some_and(|size| size > out.room() as u64) {
                return Err(out.too_large());
            }
            self.decoder.decode(&frame, out)?;
            let size = (out.written() - before) as u64;
            if frame.content_size.is_some_and(|announced| announced != size) {
                return Err(frame.damaged("a frame does not hold as much as it announces"));
            }
        }
        Ok(())
    }
}

//! [P] zstd by the C library.
//!
//! A frame is decoded in one call, straight to where it is wanted, since that takes no window besides. How much room it
//! takes is not known before; so the first attempt has room for what honest frames hold, and when that does not do, the
//! next one for eight times as much, until the frame cannot hold more.

use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_dstSize_tooSmall;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound, is_error_kind};

use super::Decode;
use super::frame::Frame;
use crate::error::{Error, Result};
use crate::record::compression::output::Output;

/// Kafka's default.
const DEFAULT_LEVEL: i32 = 3;
/// Room for the first attempt: this many times the length of the frame, but no less than the other.
const FIRST_EXPANSION: u64 = 8;
const FIRST_ROOM: u64 = 64 << 10;

/// Decodes frames.
#[derive(Default)]
pub(in super::super) struct Decoder {
    context: Option<DCtx<'static>>,
}

impl Decode for Decoder {
    fn decode(&mut self, frame: &Frame<'_>, out: &mut Output<'_>) -> Result<()> {
        if self.context.is_none() {
            self.context = DCtx::try_create();
        }
        let Some(context) = &mut self.context else {
            return Err(frame.damaged("there is no memory to read it"));
        };
        let bound = frame.size_bound.min(frame.content_size.unwrap_or(u64::MAX)).min(out.room() as u64);
        let mut room = (frame.bytes.len() as u64).saturating_mul(FIRST_EXPANSION).max(FIRST_ROOM).min(bound);
        loop {
            match context.decompress(out.chunk(usize::try_from(room).unwrap_or(usize::MAX)), frame.bytes) {
                Ok(written) => {
                    out.wrote(written);
                    return Ok(());
                }
                Err(code) if is_error_kind(code, ZSTD_error_dstSize_tooSmall) => {
                    // Damage is not tried again: it would take the whole limit each time.
                    if room == out.room() as u64 {
                        return Err(out.too_large());
                    }
                    if room == bound {
                        return Err(frame.damaged("a frame holds more than it announces"));
                    }
                    room = room.saturating_mul(FIRST_EXPANSION).min(bound);
                }
                Err(_) => return Err(frame.damaged("a frame breaks the format, or its checksum does not match")),
            }
        }
    }
}

/// Writes zstd: one frame, which announces its size.
pub(in super::super) struct Writer {
    context: CCtx<'static>,
}

impl Writer {
    pub(in super::super) fn new(level: Option<i32>) -> Result<Writer> {
        let mut context = CCtx::try_create().ok_or_else(refused)?;
        let level = CParameter::CompressionLevel(level.unwrap_or(DEFAULT_LEVEL));
        context.set_parameter(level).map_err(|_| refused())?;
        Ok(Writer { context })
    }

    pub(in super::super) fn compress(&mut self, plain: &[u8], out: &mut Output<'_>) -> Result<()> {
        let written = self.context.compress2(out.chunk(compress_bound(plain.len())), plain).map_err(|_| refused())?;
        out.wrote(written);
        Ok(())
    }
}

fn refused() -> Error {
    Error::InvalidRecord { index: None, what: "zstd refuses to compress the records" }
}

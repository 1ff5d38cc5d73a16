//! [P] zstd in pure Rust, for reading.
//!
//! The decoder keeps a window of its own, and its size is the frame's to announce. So it is shown another header, with a
//! window no larger than what the frame can hold and what may come out: it then takes memory in step with the contents.
//! At worst, when a frame needs the whole limit as its window, that is as much again as comes out, and half of it while the
//! window grows.

use std::io::Read;

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::Decode;
use super::frame::{BLOCK_LEN_MAX, Frame};
use super::xxh64::xxh64;
use crate::error::Result;
use crate::record::compression::output::Output;

/// Header of a frame that is one segment, the size of which follows in eight bytes.
const ONE_SEGMENT: [u8; 5] = [0x28, 0xb5, 0x2f, 0xfd, 0xe0];

/// The largest window that is kept for the next frame. A larger one is taken in step with the contents, each time.
const KEPT_WINDOW_MAX: u64 = 1 << 20;

/// Decodes frames.
#[derive(Default)]
pub(in super::super) struct Decoder {
    kept: Option<Box<FrameDecoder>>,
}

impl Decode for Decoder {
    fn decode(&mut self, frame: &Frame<'_>, out: &mut Output<'_>) -> Result<()> {
        const BROKEN: &str = "a frame breaks the format";
        let useful = frame.size_bound.min((out.room() as u64).max(BLOCK_LEN_MAX));
        let window = frame.window.min(useful);
        let mut header = [0; ONE_SEGMENT.len() + 8];
        let (magic, size) = header.split_at_mut(ONE_SEGMENT.len());
        magic.copy_from_slice(&ONE_SEGMENT);
        size.copy_from_slice(&window.to_le_bytes());
        let is_small = window <= KEPT_WINDOW_MAX;
        // One that served before makes room for the whole window at once.
        let mut decoder = self.kept.take_if(|_| is_small).unwrap_or_default();
        decoder.reset(&header[..]).map_err(|_| frame.damaged(BROKEN))?;
        let mut body = frame.body;
        let before = out.written();
        while !decoder.is_finished() {
            decoder
                .decode_blocks(&mut body, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(|_| frame.damaged(BROKEN))?;
            while decoder.can_collect() > 0 {
                let waiting = decoder.can_collect();
                if waiting > out.room() {
                    return Err(out.too_large());
                }
                let read = decoder.read(out.chunk(waiting)).map_err(|_| frame.damaged(BROKEN))?;
                out.wrote(read);
            }
        }
        if is_small {
            self.kept = Some(decoder);
        }
        if frame.has_checksum {
            let [a, b, c, d, ..] = xxh64(out.written_from(before)).to_le_bytes();
            if !frame.body.ends_with(&[a, b, c, d]) {
                return Err(frame.damaged("the checksum of a frame does not match its contents"));
            }
        }
        Ok(())
    }
}

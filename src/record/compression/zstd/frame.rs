//! [P] The structure of zstd frames: header and block headers, enough to know before decoding where a frame ends and how
//! much it can hold at most.

use crate::error::{Error, Result};
use crate::record::Compression;
use crate::record::compression::input::{Input, damaged};

const MAGIC: u32 = 0xfd2f_b528;
/// The lower four bits of the magic of a skippable frame are its owner's.
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
/// The most that a block holds, where the window is not smaller.
pub(super) const BLOCK_LEN_MAX: u64 = 128 << 10;
/// The largest window that Kafka's readers accept, 2^27.
const WINDOW_MAX: u64 = 128 << 20;
const ENDS_EARLY: &str = "a frame ends early";

/// A frame whose headers were checked.
#[derive(Debug)]
#[allow(dead_code, reason = "each of the two decoders reads fields that the other does not")]
pub(super) struct Frame<'a> {
    /// Where it stands in the stream.
    position: usize,
    /// The whole frame.
    pub(super) bytes: &'a [u8],
    /// The blocks, and the content checksum.
    pub(super) body: &'a [u8],
    /// How far back a block may refer.
    pub(super) window: u64,
    /// What the frame announces.
    pub(super) content_size: Option<u64>,
    pub(super) has_checksum: bool,
    /// What its blocks can hold at most, by their own headers.
    pub(super) size_bound: u64,
}

impl<'a> Frame<'a> {
    /// Takes the next frame, or `None` for a frame that is to be skipped.
    pub(super) fn take(input: &mut Input<'a>) -> Result<Option<Frame<'a>>> {
        let start = input.clone();
        let magic = u32::from_le_bytes(input.array(ENDS_EARLY)?);
        if magic & !0x0f == SKIPPABLE_MAGIC {
            let length = u32::from_le_bytes(input.array(ENDS_EARLY)?);
            input.take(usize::try_from(length).unwrap_or(usize::MAX), ENDS_EARLY)?;
            return Ok(None);
        }
        if magic != MAGIC {
            return Err(start.damaged("a frame does not begin with the bytes 28 b5 2f fd"));
        }
        let [descriptor] = input.array(ENDS_EARLY)?;
        let (window, content_size) = take_sizes(input, descriptor)?;
        if window > WINDOW_MAX {
            return Err(start.damaged("the window of a frame is larger than 128 MiB"));
        }
        let blocks = input.clone();
        let size_bound = take_blocks(input, window.min(BLOCK_LEN_MAX))?;
        let has_checksum = descriptor & 0x04 != 0;
        if has_checksum {
            input.array::<4>(ENDS_EARLY)?;
        }
        Ok(Some(Frame {
            position: start.position(),
            bytes: between(&start, input),
            body: between(&blocks, input),
            window,
            content_size,
            has_checksum,
            size_bound,
        }))
    }

    /// Damage somewhere in this frame.
    #[cold]
    pub(super) fn damaged(&self, rule: &'static str) -> Error {
        damaged(Compression::Zstd, self.position, rule)
    }
}

/// The bytes from `start` to where `end` is.
fn between<'a>(start: &Input<'a>, end: &Input<'a>) -> &'a [u8] {
    start.rest().get(..end.position() - start.position()).unwrap_or_default()
}

/// Takes the rest of a frame's header; returns the window and the content size.
fn take_sizes(input: &mut Input<'_>, descriptor: u8) -> Result<(u64, Option<u64>)> {
    let at = input.clone();
    if descriptor & 0x08 != 0 {
        return Err(at.damaged("the header of a frame sets a reserved bit"));
    }
    let single_segment = descriptor & 0x20 != 0;
    let mut window = 0;
    if !single_segment {
        let [byte] = input.array(ENDS_EARLY)?;
        let base = 1_u64 << (10 + (byte >> 3));
        window = base + base / 8 * u64::from(byte & 0x07);
    }
    let dictionary = match descriptor & 0x03 {
        0 => 0,
        1 => u32::from(input.array::<1>(ENDS_EARLY)? != [0]),
        2 => u32::from(u16::from_le_bytes(input.array(ENDS_EARLY)?)),
        _ => u32::from_le_bytes(input.array(ENDS_EARLY)?),
    };
    if dictionary != 0 {
        return Err(at.damaged("a frame wants a dictionary, and Kafka knows none"));
    }
    let content_size = match (descriptor >> 6, single_segment) {
        (0, false) => None,
        (0, true) => Some(u64::from(u8::from_le_bytes(input.array(ENDS_EARLY)?))),
        (1, _) => Some(u64::from(u16::from_le_bytes(input.array(ENDS_EARLY)?)) + 256),
        (2, _) => Some(u64::from(u32::from_le_bytes(input.array(ENDS_EARLY)?))),
        _ => Some(u64::from_le_bytes(input.array(ENDS_EARLY)?)),
    };
    if single_segment {
        window = content_size.unwrap_or_default();
    }
    Ok((window, content_size))
}

/// Takes all blocks, of which each holds `block_len_max` bytes at most; returns how much they can hold together.
fn take_blocks(input: &mut Input<'_>, block_len_max: u64) -> Result<u64> {
    let mut size_bound = 0;
    loop {
        let at = input.clone();
        let [a, b, c] = input.array(ENDS_EARLY)?;
        let header = u32::from_le_bytes([a, b, c, 0]);
        let size = header >> 3;
        if u64::from(size) > block_len_max {
            return Err(at.damaged("a block is larger than its frame allows"));
        }
        let (packed, plain) = match (header >> 1) & 0x03 {
            0 => (size, u64::from(size)),
            1 => (1, u64::from(size)),
            2 => (size, block_len_max),
            _ => return Err(at.damaged("a block is of a type that does not exist")),
        };
        let block = input.take(usize::try_from(packed).unwrap_or(usize::MAX), ENDS_EARLY)?;
        if (header >> 1) & 0x03 == 2 && literals_len(block) > block_len_max {
            return Err(at.damaged("a block announces more literals than it may hold"));
        }
        size_bound += plain;
        if header & 1 != 0 {
            return Ok(size_bound);
        }
    }
}

/// How many literals a compressed block announces, in one to five bytes that its first four bits lay out.
fn literals_len(block: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (byte, from) in bytes.iter_mut().zip(block.iter().take(5)) {
        *byte = *from;
    }
    let header = u64::from_le_bytes(bytes);
    let is_compressed = header & 0x02 != 0;
    let (shift, bits) = match ((header >> 2) & 0x03, is_compressed) {
        (0 | 2, false) => (3, 5),
        (1, false) => (4, 12),
        (_, false) => (4, 20),
        (0 | 1, true) => (4, 10),
        (2, true) => (4, 14),
        (_, true) => (4, 18),
    };
    header >> shift & ((1 << bits) - 1)
}

//! [P] Snappy, in the frame of snappy-java, or one bare block as some clients write it.
//!
//! | field | type | meaning |
//! |---|---|---|
//! | magic | 8 bytes | 82 `SNAPPY` 00 |
//! | version | int32 | 1 |
//! | min_version | int32 | 1, the oldest version that can read the stream |
//! | chunks | int32 length, block | each block of at most 32 KiB of contents when written here |
//!
//! Like `SnappyInputStream`: bytes that do not begin with a whole header are one bare block; where a chunk should begin,
//! another header may stand, the start of a stream that was appended, and what only resembles one ends the stream; up to
//! three bytes behind the last chunk are ignored.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::input::Input;
use super::output::Output;
use crate::error::{Error, Result};
use crate::record::Compression;

const MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const HEADER_LEN: usize = 16;
const VERSION: i32 = 1;
const CHUNK_LEN: usize = 32 << 10;
/// A block holds less than this many times its length: its densest element copies 64 bytes in three.
const EXPANSION_MAX: usize = 22;

pub(super) fn decompress(packed: &[u8], out: &mut Output<'_>) -> Result<()> {
    let mut input = Input::new(Compression::Snappy, packed);
    if packed.is_empty() {
        return Err(input.damaged("the stream is empty"));
    }
    if packed.len() < HEADER_LEN || !packed.starts_with(&MAGIC) {
        return read_block(&input, packed, out);
    }
    if !read_header(&mut input)? {
        return Ok(());
    }
    while let Some((length, _)) = input.rest().split_first_chunk::<4>() {
        if MAGIC.starts_with(length) {
            if read_header(&mut input)? {
                continue;
            }
            return Ok(());
        }
        let at = input.clone();
        let length = i32::from_be_bytes(input.array(ENDS_EARLY)?);
        let length = usize::try_from(length).map_err(|_| at.damaged("a chunk has a negative length"))?;
        let at = input.clone();
        let block = input.take(length, ENDS_EARLY)?;
        read_block(&at, block, out)?;
    }
    Ok(())
}

const ENDS_EARLY: &str = "a chunk ends early";

/// Takes the header of a stream; whether it is one.
fn read_header(input: &mut Input<'_>) -> Result<bool> {
    let mut rest = input.clone();
    let magic: [u8; 8] = rest.array("a header ends early")?;
    let (version, _) = (rest.array("a header ends early")?, rest.array::<4>("a header ends early")?);
    if magic != MAGIC {
        return Ok(false);
    }
    if i32::from_be_bytes(version) < VERSION {
        return Err(input.damaged("the version of the stream is older than 1"));
    }
    *input = rest;
    Ok(true)
}

/// Reads the block that stands at `at`.
fn read_block(at: &Input<'_>, block: &[u8], out: &mut Output<'_>) -> Result<()> {
    const BROKEN: &str = "a block breaks the format";
    if block.is_empty() {
        return Err(at.damaged("a block is empty"));
    }
    let length = decompress_len(block).map_err(|_| at.damaged(BROKEN))?;
    if length > block.len().saturating_mul(EXPANSION_MAX) {
        return Err(at.damaged("a block announces more than it can hold"));
    }
    if length > out.room() {
        return Err(out.too_large());
    }
    let written = Decoder::new().decompress(block, out.chunk(length)).map_err(|_| at.damaged(BROKEN))?;
    out.wrote(written);
    Ok(())
}

/// Writes snappy-java's frame.
pub(super) struct Writer {
    encoder: Encoder,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer { encoder: Encoder::new() }
    }
}

impl Writer {
    pub(super) fn compress(&mut self, plain: &[u8], out: &mut Output<'_>) -> Result<()> {
        out.append(&MAGIC)?;
        out.append(&VERSION.to_be_bytes())?;
        out.append(&VERSION.to_be_bytes())?;
        for part in plain.chunks(CHUNK_LEN) {
            let chunk = out.chunk(4 + max_compress_len(part.len()));
            let (prefix, block) = chunk.split_first_chunk_mut::<4>().ok_or_else(refused)?;
            let length = self.encoder.compress(part, block).map_err(|_| refused())?;
            *prefix = i32::try_from(length).map_err(|_| refused())?.to_be_bytes();
            out.wrote(4 + length);
        }
        Ok(())
    }
}

fn refused() -> Error {
    Error::InvalidRecord { index: None, what: "snappy refuses to compress the records" }
}

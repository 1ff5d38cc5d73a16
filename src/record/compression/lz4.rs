//! [P] lz4: one LZ4 frame, with the restrictions of Kafka's own reader.
//!
//! | field | size | meaning |
//! |---|---|---|
//! | magic | 4 | 04 22 4d 18 |
//! | flags | 1 | bits 6 and 7 the version, 01; 5 blocks are independent, has to be set; 4 blocks have checksums; 3 content size; 2 content checksum; 0 and 1 zero |
//! | block size | 1 | bits 4 to 6 the code, 4 to 7, of the most that a block holds, 2^(8 + 2 * code); the others zero |
//! | content size | 8 | where flagged; not looked at |
//! | header checksum | 1 | second byte of the xxHash32 of the fields behind the magic |
//! | blocks | length, bytes, checksum | the top bit of the length says that the bytes are stored; xxHash32 of the bytes where flagged |
//! | end mark | 4 | length 0 |
//! | content checksum | 4 | where flagged; not looked at |
//!
//! Integers are little-endian. As in `Lz4BlockInputStream`, what stands behind the frame is ignored.

use lz4_flex::block::{
    CompressTable, DecompressError, compress_into_with_table, decompress_into, get_maximum_output_size,
};

use super::HeaderChecksum;
use super::input::Input;
use super::output::Output;
use super::xxh32::xxh32;
use crate::error::{Error, Result};
use crate::record::Compression;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Version 1, independent blocks, nothing optional.
const FLAGS: u8 = 0x60;
/// Blocks of up to 64 KiB.
const BLOCK_SIZE_CODE: u8 = 0x40;
const BLOCK_LEN: usize = 64 << 10;
const STORED: u32 = 1 << 31;
const END_MARK: [u8; 4] = [0; 4];
/// A block holds at most this many times its length.
const EXPANSION_MAX: usize = 255;
const ENDS_EARLY: &str = "the frame ends early";

/// What the header of a frame says about its blocks.
struct Header {
    block_len_max: usize,
    block_checksums: bool,
    content_checksum: bool,
}

pub(super) fn decompress(packed: &[u8], checksum: HeaderChecksum, out: &mut Output<'_>) -> Result<()> {
    let mut input = Input::new(Compression::Lz4, packed);
    let header = read_header(&mut input, checksum)?;
    loop {
        let at = input.clone();
        let length = u32::from_le_bytes(input.array(ENDS_EARLY)?);
        let (stored, length) = (length & STORED != 0, length & !STORED);
        if length == 0 {
            break;
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > header.block_len_max {
            return Err(at.damaged("a block is longer than the frame allows"));
        }
        let at = input.clone();
        let block = input.take(length, ENDS_EARLY)?;
        if header.block_checksums && u32::from_le_bytes(input.array(ENDS_EARLY)?) != xxh32(block) {
            return Err(at.damaged("the checksum of a block does not match"));
        }
        if stored { out.append(block)? } else { read_block(&at, block, header.block_len_max, out)? }
    }
    if header.content_checksum {
        input.array::<4>(ENDS_EARLY)?;
    }
    Ok(())
}

fn read_header(input: &mut Input<'_>, checksum: HeaderChecksum) -> Result<Header> {
    let at = input.clone();
    if input.array(ENDS_EARLY)? != MAGIC {
        return Err(at.damaged("the stream does not begin with the bytes 04 22 4d 18"));
    }
    let at = input.clone();
    let [flags, block_size] = input.array(ENDS_EARLY)?;
    if flags >> 6 != 1 {
        return Err(at.damaged("the version of the frame is not 1"));
    }
    if flags & 0x20 == 0 {
        return Err(at.damaged("the blocks depend on each other, which Kafka does not allow"));
    }
    let code = block_size >> 4;
    if flags & 0x03 != 0 || block_size & 0x0f != 0 || !(4..=7).contains(&code) {
        return Err(at.damaged("the header sets reserved bits or a block size that does not exist"));
    }
    if flags & 0x08 != 0 {
        input.array::<8>(ENDS_EARLY)?;
    }
    let fields = at.rest().get(..input.position() - at.position()).unwrap_or_default();
    let [_, expected, ..] = xxh32(fields).to_le_bytes();
    let [found] = input.array(ENDS_EARLY)?;
    if found != expected && checksum == HeaderChecksum::Verified {
        return Err(at.damaged("the checksum of the header does not match"));
    }
    Ok(Header {
        block_len_max: 1 << (8 + 2 * code),
        block_checksums: flags & 0x10 != 0,
        content_checksum: flags & 0x04 != 0,
    })
}

/// Reads the compressed block that stands at `at`.
fn read_block(at: &Input<'_>, block: &[u8], block_len_max: usize, out: &mut Output<'_>) -> Result<()> {
    let most = block_len_max.min(block.len().saturating_mul(EXPANSION_MAX));
    let limited = out.room() < most;
    match decompress_into(block, out.chunk(most)) {
        // Kafka's reader stumbles over such a block.
        Ok(0) => Err(at.damaged("a block is empty")),
        Ok(written) => {
            out.wrote(written);
            Ok(())
        }
        Err(DecompressError::OutputTooSmall { .. }) if limited => Err(out.too_large()),
        Err(DecompressError::OutputTooSmall { .. }) => Err(at.damaged("a block holds more than the frame allows")),
        Err(_) => Err(at.damaged("a block breaks the format")),
    }
}

/// Writes frames as Kafka does. lz4_flex has the fast compressor only, so levels make no difference.
pub(super) struct Writer {
    table: CompressTable,
}

impl Default for Writer {
    fn default() -> Writer {
        Writer { table: CompressTable::large() }
    }
}

impl Writer {
    pub(super) fn compress(&mut self, plain: &[u8], out: &mut Output<'_>) -> Result<()> {
        let [_, header_checksum, ..] = xxh32(&[FLAGS, BLOCK_SIZE_CODE]).to_le_bytes();
        out.append(&MAGIC)?;
        out.append(&[FLAGS, BLOCK_SIZE_CODE, header_checksum])?;
        for part in plain.chunks(BLOCK_LEN) {
            let chunk = out.chunk(4 + get_maximum_output_size(part.len()));
            let (prefix, block) = chunk.split_first_chunk_mut::<4>().ok_or_else(refused)?;
            let mut length = compress_into_with_table(part, block, &mut self.table).map_err(|_| refused())?;
            let mut stored = 0;
            if length >= part.len() {
                (length, stored) = (part.len(), STORED);
                block.get_mut(..length).ok_or_else(refused)?.copy_from_slice(part);
            }
            *prefix = (u32::try_from(length).map_err(|_| refused())? | stored).to_le_bytes();
            out.wrote(4 + length);
        }
        out.append(&END_MARK)
    }
}

fn refused() -> Error {
    Error::InvalidRecord { index: None, what: "lz4 refuses to compress the records" }
}

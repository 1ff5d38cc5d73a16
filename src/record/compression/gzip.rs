//! [P] gzip: deflated members in the frame of RFC 1952.
//!
//! Like Java's `GZIPInputStream`: a member may follow a member, and both yield their bytes; what follows a member and has no
//! header, or is too short for a member, is ignored. Header checksum, checksum and length are verified.

use zlib_rs::{Deflate, DeflateFlush, Inflate, InflateFlush, Status};

use super::input::Input;
use super::output::Output;
use crate::error::{Error, Result};
use crate::record::Compression;

/// ID, "deflate", no flags, no time, no hint, and an unknown operating system: what current Java writes.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const WINDOW_BITS: u8 = 15;
/// Bits of the header's flags: what follows the ten fixed bytes. Bit 0 is a hint.
const HEADER_CRC: u8 = 0x02;
const EXTRA_FIELD: u8 = 0x04;
const FILE_NAME: u8 = 0x08;
const COMMENT: u8 = 0x10;
/// Java looks for another member only behind more bytes than this.
const IGNORED_TAIL: usize = 18;
/// The least that is made room for at once.
const CHUNK_MIN: usize = 4 << 10;

/// Reads gzip.
#[derive(Default)]
pub(super) struct Inflater {
    inflate: Option<Inflate>,
}

impl Inflater {
    pub(super) fn decompress(&mut self, packed: &[u8], out: &mut Output<'_>) -> Result<()> {
        let mut input = Input::new(Compression::Gzip, packed);
        read_header(&mut input)?;
        loop {
            self.read_member(&mut input, out)?;
            let mut next = input.clone();
            if next.rest().len() <= IGNORED_TAIL || read_header(&mut next).is_err() {
                return Ok(());
            }
            input = next;
        }
    }

    /// Reads what follows the header of a member.
    fn read_member(&mut self, input: &mut Input<'_>, out: &mut Output<'_>) -> Result<()> {
        let inflate = self.inflate.get_or_insert_with(|| Inflate::new(false, WINDOW_BITS));
        inflate.reset(false);
        let written_before = out.written();
        let mut crc = crc32fast::Hasher::new();
        let first_chunk = input.rest().len().saturating_mul(4).max(CHUNK_MIN);
        loop {
            let wanted = first_chunk.max(out.written());
            let mut beyond = [0];
            let at_limit = out.room() == 0;
            let target = if at_limit { &mut beyond } else { out.chunk(wanted) };
            let (consumed_before, produced_before) = (inflate.total_in(), inflate.total_out());
            let status = inflate
                .decompress(input.rest(), target, InflateFlush::NoFlush)
                .map_err(|_| input.damaged("the deflated bytes break the format"))?;
            let consumed = usize::try_from(inflate.total_in() - consumed_before).unwrap_or(usize::MAX);
            let produced = usize::try_from(inflate.total_out() - produced_before).unwrap_or(usize::MAX);
            input.take(consumed, ENDS_EARLY)?;
            if at_limit && produced > 0 {
                return Err(out.too_large());
            }
            crc.update(out.wrote(produced));
            match status {
                Status::StreamEnd => break,
                Status::Ok | Status::BufError if consumed == 0 && produced == 0 => {
                    return Err(input.damaged(ENDS_EARLY));
                }
                Status::Ok | Status::BufError => {}
            }
        }
        let at = input.clone();
        if u32::from_le_bytes(input.array(ENDS_EARLY)?) != crc.finalize() {
            return Err(at.damaged("the checksum of a member does not match its contents"));
        }
        let at = input.clone();
        // The length is that of the contents modulo 2^32.
        let [a, b, c, d, ..] = (out.written() - written_before).to_le_bytes();
        if input.array(ENDS_EARLY)? != [a, b, c, d] {
            return Err(at.damaged("the length of a member does not match its contents"));
        }
        Ok(())
    }
}

const ENDS_EARLY: &str = "a member ends early";

/// Takes the header of a member.
fn read_header(input: &mut Input<'_>) -> Result<()> {
    let whole = input.clone();
    let [id1, id2, method, flags, ..] = input.array::<10>("a member is shorter than its header")?;
    if [id1, id2, method] != [0x1f, 0x8b, 8] {
        return Err(whole.damaged("a member does not begin with the bytes 1f 8b 08"));
    }
    if flags & EXTRA_FIELD != 0 {
        let length = u16::from_le_bytes(input.array(ENDS_EARLY)?);
        input.take(usize::from(length), ENDS_EARLY)?;
    }
    for text in [FILE_NAME, COMMENT] {
        if flags & text != 0 {
            let length = input.rest().iter().position(|byte| *byte == 0).ok_or_else(|| input.damaged(ENDS_EARLY))?;
            input.take(length + 1, ENDS_EARLY)?;
        }
    }
    if flags & HEADER_CRC != 0 {
        let header = whole.rest().get(..whole.rest().len() - input.rest().len()).unwrap_or_default();
        let [low, high, ..] = crc32fast::hash(header).to_le_bytes();
        if input.array(ENDS_EARLY)? != [low, high] {
            return Err(whole.damaged("the checksum of a member's header does not match"));
        }
    }
    Ok(())
}

/// Writes gzip: one member.
pub(super) struct Deflater {
    deflate: Deflate,
}

impl Deflater {
    /// `None` and -1 are zlib's default, 6.
    pub(super) fn new(level: Option<i32>) -> Deflater {
        Deflater { deflate: Deflate::new(level.unwrap_or(-1), false, WINDOW_BITS) }
    }

    pub(super) fn compress(&mut self, plain: &[u8], out: &mut Output<'_>) -> Result<()> {
        self.deflate.reset();
        out.append(&HEADER)?;
        loop {
            let taken = usize::try_from(self.deflate.total_in()).unwrap_or(usize::MAX);
            let rest = plain.get(taken..).unwrap_or_default();
            let before = self.deflate.total_out();
            let target = out.chunk((rest.len() / 2).max(CHUNK_MIN));
            let status = self.deflate.compress(rest, target, DeflateFlush::Finish).map_err(|_| refused())?;
            out.wrote(usize::try_from(self.deflate.total_out() - before).unwrap_or(usize::MAX));
            if status == Status::StreamEnd {
                break;
            }
        }
        out.append(&crc32fast::hash(plain).to_le_bytes())?;
        let [a, b, c, d, ..] = plain.len().to_le_bytes();
        out.append(&[a, b, c, d])
    }
}

fn refused() -> Error {
    Error::InvalidRecord { index: None, what: "gzip refuses to compress the records" }
}

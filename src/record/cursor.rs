//! [P] Bounds-checked big-endian reading and writing: the only user of `byteorder`.
//!
//! A read past the end is [`Damage::Truncated`] at the position where the missing bytes should be; positions count
//! from the start of the bytes given. Kafka's counterpart: `java.nio.ByteBuffer` as its codecs use it.

use byteorder::{BigEndian, ByteOrder};

use crate::error::{Damage, Error, Result};

/// Reads fixed-size integers and byte runs from the front of a slice.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

/// Declares one method per integer type: the bytes are taken first, so `byteorder` always gets as many as it needs.
macro_rules! read {
    ($($name:ident -> $integer:ty, $decode:path;)*) => {$(
        pub(crate) fn $name(&mut self) -> Result<$integer> {
            Ok($decode(&self.array::<{ size_of::<$integer>() }>()?))
        }
    )*};
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes, length: bytes.len() }
    }

    /// Bytes consumed so far.
    pub(crate) const fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    /// Bytes not consumed yet.
    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `count` bytes. Nothing is consumed on failure.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.truncated(count))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes as an array. Nothing is consumed on failure.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.truncated(N))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(crate) fn i8(&mut self) -> Result<i8> {
        Ok(self.u8()?.cast_signed())
    }

    read! {
        i16 -> i16, BigEndian::read_i16;
        i32 -> i32, BigEndian::read_i32;
        i64 -> i64, BigEndian::read_i64;
        u16 -> u16, BigEndian::read_u16;
        u32 -> u32, BigEndian::read_u32;
        u64 -> u64, BigEndian::read_u64;
    }

    #[cold]
    fn truncated(&self, needed: usize) -> Error {
        let what = Damage::Truncated { needed: needed as u64, available: self.remaining() as u64 };
        Error::corrupt(self.position() as u64, what)
    }
}

/// Appends fixed-size integers and byte runs to a buffer.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    buffer: &'a mut Vec<u8>,
}

macro_rules! put {
    ($($name:ident($integer:ty), $encode:path;)*) => {$(
        pub(crate) fn $name(&mut self, value: $integer) {
            let mut bytes = [0; size_of::<$integer>()];
            $encode(&mut bytes, value);
            self.put_bytes(&bytes);
        }
    )*};
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(buffer: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { buffer }
    }

    pub(crate) fn put_bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(crate) fn put_u8(&mut self, value: u8) {
        self.buffer.push(value);
    }

    put! {
        put_i16(i16), BigEndian::write_i16;
        put_i32(i32), BigEndian::write_i32;
        put_i64(i64), BigEndian::write_i64;
        put_u16(u16), BigEndian::write_u16;
        put_u32(u32), BigEndian::write_u32;
        put_u64(u64), BigEndian::write_u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_integer_is_read_back_as_it_was_written() {
        let mut buffer = Vec::new();
        let mut writer = Writer::new(&mut buffer);
        writer.put_u8(0xfe);
        writer.put_u8(0xfd);
        writer.put_u16(0xfedc);
        writer.put_i16(-3);
        writer.put_u32(0xfedc_ba98);
        writer.put_i32(-4);
        writer.put_u64(0xfedc_ba98_7654_3210);
        writer.put_i64(-5);
        writer.put_bytes(b"end");

        let mut reader = Reader::new(&buffer);
        assert_eq!((reader.u8().unwrap(), reader.i8().unwrap()), (0xfe, -3));
        assert_eq!((reader.u16().unwrap(), reader.i16().unwrap()), (0xfedc, -3));
        assert_eq!((reader.u32().unwrap(), reader.i32().unwrap()), (0xfedc_ba98, -4));
        assert_eq!((reader.u64().unwrap(), reader.i64().unwrap()), (0xfedc_ba98_7654_3210, -5));
        assert_eq!((reader.position(), reader.remaining()), (30, 3));
        assert_eq!(reader.take(3).unwrap(), b"end");
    }

    #[test]
    fn integers_are_big_endian() {
        let mut buffer = Vec::new();
        Writer::new(&mut buffer).put_i32(0x0102_0304);
        assert_eq!(buffer, [1, 2, 3, 4]);
    }

    #[test]
    fn a_read_past_the_end_names_the_position_and_consumes_nothing() {
        let mut reader = Reader::new(&[1, 2, 3]);
        reader.u8().unwrap();
        let Err(Error::Corrupt(corrupt)) = reader.i64() else { panic!("expected damage") };
        assert_eq!(corrupt.position, 1);
        assert_eq!(corrupt.what, Damage::Truncated { needed: 8, available: 2 });
        assert!(reader.take(3).is_err());
        assert_eq!(reader.array::<2>().unwrap(), [2, 3]);
    }
}

//! [P] The flexible encoding of Kafka's messages: compact strings and arrays, unsigned varints, tagged fields.
//!
//! A compact string or array starts with its length plus one as an unsigned varint, 0 standing for null. A structure
//! ends with its tagged fields: their number, then tag, size in bytes and value of each, the tags ascending. Tags that
//! are not known are skipped. Nothing is allocated by an announced length: elements are read one after the other, and
//! each takes at least one byte. Kafka's counterparts: `ByteBufferAccessor`, `RawTaggedField`.

use crate::error::{Damage, Error, Result};
use crate::record::cursor::{Reader, Writer};
use crate::types::{BrokerId, LeaderEpoch, PartitionId, ProducerId, TopicId};

/// The most bytes that an unsigned varint of 32 bits takes.
const VARINT_LEN_MAX: u32 = 5;

/// Kafka's "no broker".
const NO_BROKER: i32 = -1;
/// Kafka's "the leader does not change".
const LEADER_UNCHANGED: i32 = -2;

/// A value with one flexible encoding.
pub(super) trait Wire: Sized {
    fn put(&self, buffer: &mut Vec<u8>);

    /// # Errors
    /// [`Error::Corrupt`] when the bytes end early or break a rule; positions count from the start of the reader.
    fn get(reader: &mut Reader<'_>) -> Result<Self>;
}

/// Appends an unsigned varint: groups of seven bits, lowest first.
pub(super) fn put_varint(buffer: &mut Vec<u8>, value: u32) {
    let mut rest = value;
    while rest >= 0x80 {
        let [low, ..] = rest.to_le_bytes();
        buffer.push(low | 0x80);
        rest >>= 7;
    }
    let [last, ..] = rest.to_le_bytes();
    buffer.push(last);
}

/// Reads an unsigned varint.
pub(super) fn get_varint(reader: &mut Reader<'_>) -> Result<u32> {
    let at = reader.position();
    let mut value = 0_u64;
    for group in 0..VARINT_LEN_MAX {
        let byte = reader.u8()?;
        value |= u64::from(byte & 0x7f) << (7 * group);
        if byte < 0x80 {
            return u32::try_from(value).map_err(|_| broken(at, "an unsigned varint is larger than 32 bits"));
        }
    }
    Err(broken(at, "an unsigned varint is longer than five bytes"))
}

/// Appends a compact length; lengths beyond 32 bits cannot be said, and no batch could hold the value either.
fn put_length(buffer: &mut Vec<u8>, length: usize) {
    put_varint(buffer, u32::try_from(length).unwrap_or(u32::MAX - 1).saturating_add(1));
}

/// Reads a compact length; `None` is null.
fn get_length(reader: &mut Reader<'_>) -> Result<Option<u32>> {
    Ok(get_varint(reader)?.checked_sub(1))
}

/// Appends the tagged fields that are present, in the order given, which must be that of the tags.
pub(super) fn put_tagged(buffer: &mut Vec<u8>, fields: &[(u32, Vec<u8>)]) {
    put_varint(buffer, u32::try_from(fields.len()).unwrap_or(u32::MAX));
    for (tag, value) in fields {
        put_varint(buffer, *tag);
        put_varint(buffer, u32::try_from(value.len()).unwrap_or(u32::MAX));
        buffer.extend_from_slice(value);
    }
}

/// Reads the tagged fields; `take` gets each tag with the reader of its value, and says whether it knows the tag.
pub(super) fn get_tagged(
    reader: &mut Reader<'_>,
    mut take: impl FnMut(u32, &mut Reader<'_>) -> Result<bool>,
) -> Result<()> {
    let count = get_varint(reader)?;
    for _ in 0..count {
        let tag = get_varint(reader)?;
        let size = get_varint(reader)?;
        let at = reader.position();
        let mut value = Reader::new(reader.take(usize::try_from(size).unwrap_or(usize::MAX))?);
        let is_known = take(tag, &mut value).map_err(|error| shifted(error, at))?;
        if is_known && value.remaining() > 0 {
            return Err(broken(at, "a tagged field is longer than its value"));
        }
    }
    Ok(())
}

/// Damage whose position counts from `start`.
fn shifted(error: Error, start: usize) -> Error {
    match error {
        Error::Corrupt(mut corrupt) => {
            corrupt.position = corrupt.position.saturating_add(start as u64);
            Error::Corrupt(corrupt)
        }
        other => other,
    }
}

pub(super) fn broken(position: usize, rule: &'static str) -> Error {
    Error::corrupt(position as u64, Damage::Structure(rule))
}

/// Declares the encoding of a fixed-size integer.
macro_rules! integers {
    ($($integer:ty: $put:ident, $get:ident;)*) => {$(
        impl Wire for $integer {
            fn put(&self, buffer: &mut Vec<u8>) {
                Writer::new(buffer).$put(*self);
            }

            fn get(reader: &mut Reader<'_>) -> Result<$integer> {
                reader.$get()
            }
        }
    )*};
}

integers! {
    i16: put_i16, i16;
    i32: put_i32, i32;
    i64: put_i64, i64;
    u16: put_u16, u16;
}

impl Wire for i8 {
    fn put(&self, buffer: &mut Vec<u8>) {
        buffer.push(self.cast_unsigned());
    }

    fn get(reader: &mut Reader<'_>) -> Result<i8> {
        reader.i8()
    }
}

impl Wire for bool {
    fn put(&self, buffer: &mut Vec<u8>) {
        buffer.push(u8::from(*self));
    }

    fn get(reader: &mut Reader<'_>) -> Result<bool> {
        Ok(reader.u8()? != 0)
    }
}

/// Declares the encoding of a number that is never negative.
macro_rules! non_negative {
    ($($number:ident($raw:ty), $rule:literal;)*) => {$(
        impl Wire for $number {
            fn put(&self, buffer: &mut Vec<u8>) {
                self.get().put(buffer);
            }

            fn get(reader: &mut Reader<'_>) -> Result<$number> {
                let at = reader.position();
                $number::new(<$raw>::get(reader)?).ok_or_else(|| broken(at, $rule))
            }
        }
    )*};
}

non_negative! {
    BrokerId(i32), "a broker id is negative";
    PartitionId(i32), "a partition number is negative";
    LeaderEpoch(i32), "a leader epoch is negative";
    ProducerId(i64), "a producer id is negative";
}

/// A broker, or Kafka's -1 for none.
impl Wire for Option<BrokerId> {
    fn put(&self, buffer: &mut Vec<u8>) {
        self.map_or(NO_BROKER, BrokerId::get).put(buffer);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Option<BrokerId>> {
        let at = reader.position();
        match i32::get(reader)? {
            NO_BROKER => Ok(None),
            id => BrokerId::new(id).map(Some).ok_or_else(|| broken(at, "a broker id is below -1")),
        }
    }
}

/// A change of the leader: to a broker, to none, or (the outer `None`, Kafka's -2) no change.
impl Wire for Option<Option<BrokerId>> {
    fn put(&self, buffer: &mut Vec<u8>) {
        match self {
            Some(leader) => leader.put(buffer),
            None => LEADER_UNCHANGED.put(buffer),
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Option<Option<BrokerId>>> {
        match i32::get(&mut reader.clone())? {
            LEADER_UNCHANGED => i32::get(reader).map(|_| None),
            _ => Option::<BrokerId>::get(reader).map(Some),
        }
    }
}

impl Wire for TopicId {
    fn put(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(self.as_bytes());
    }

    fn get(reader: &mut Reader<'_>) -> Result<TopicId> {
        Ok(TopicId::from_bytes(reader.array()?))
    }
}

impl Wire for Option<String> {
    fn put(&self, buffer: &mut Vec<u8>) {
        match self {
            Some(text) => text.put(buffer),
            None => put_varint(buffer, 0),
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Option<String>> {
        let Some(length) = get_length(reader)? else { return Ok(None) };
        let at = reader.position();
        let bytes = reader.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        let text = str::from_utf8(bytes).map_err(|error| broken(at + error.valid_up_to(), "a text is not UTF-8"))?;
        Ok(Some(text.to_owned()))
    }
}

impl Wire for String {
    fn put(&self, buffer: &mut Vec<u8>) {
        put_length(buffer, self.len());
        buffer.extend_from_slice(self.as_bytes());
    }

    fn get(reader: &mut Reader<'_>) -> Result<String> {
        let at = reader.position();
        Option::<String>::get(reader)?.ok_or_else(|| broken(at, "a text that must be there is null"))
    }
}

impl<T: Wire> Wire for Option<Vec<T>> {
    fn put(&self, buffer: &mut Vec<u8>) {
        match self {
            Some(list) => list.put(buffer),
            None => put_varint(buffer, 0),
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Option<Vec<T>>> {
        let Some(count) = get_length(reader)? else { return Ok(None) };
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(T::get(reader)?);
        }
        Ok(Some(list))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, buffer: &mut Vec<u8>) {
        put_length(buffer, self.len());
        self.iter().for_each(|element| element.put(buffer));
    }

    fn get(reader: &mut Reader<'_>) -> Result<Vec<T>> {
        let at = reader.position();
        Option::<Vec<T>>::get(reader)?.ok_or_else(|| broken(at, "a list that must be there is null"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(value: &impl Wire) -> Vec<u8> {
        let mut buffer = Vec::new();
        value.put(&mut buffer);
        buffer
    }

    fn read<T: Wire>(bytes: &[u8]) -> Result<T> {
        T::get(&mut Reader::new(bytes))
    }

    #[test]
    fn unsigned_varints_have_their_lowest_group_first() {
        for (value, expected) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut buffer = Vec::new();
            put_varint(&mut buffer, value);
            assert_eq!(buffer, expected);
            assert_eq!(get_varint(&mut Reader::new(&buffer)).unwrap(), value);
        }
        assert!(get_varint(&mut Reader::new(&[0xff; 6])).is_err());
        assert!(get_varint(&mut Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f])).is_err());
    }

    #[test]
    fn compact_lengths_are_one_more_than_the_length() {
        assert_eq!(bytes_of(&"ab".to_owned()), [3, b'a', b'b']);
        assert_eq!(bytes_of(&None::<String>), [0]);
        assert_eq!(bytes_of(&vec![1_i16, 2]), [3, 0, 1, 0, 2]);
        assert_eq!(read::<Vec<i16>>(&[3, 0, 1, 0, 2]).unwrap(), [1, 2]);
        assert_eq!(read::<Option<Vec<i16>>>(&[0]).unwrap(), None);
        assert!(read::<Vec<i16>>(&[0]).is_err() && read::<String>(&[0]).is_err());
    }

    #[test]
    fn an_announced_length_without_bytes_is_damage() {
        let announced = [0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3];
        assert!(read::<Vec<i64>>(&announced).is_err());
        assert!(read::<String>(&announced).is_err());
    }

    #[test]
    fn no_broker_and_no_change_are_not_the_same() {
        let broker = BrokerId::new(7).unwrap();
        for change in [None, Some(None), Some(Some(broker))] {
            assert_eq!(read::<Option<Option<BrokerId>>>(&bytes_of(&change)).unwrap(), change);
        }
        assert!(read::<Option<BrokerId>>(&bytes_of(&-2_i32)).is_err());
        assert!(read::<BrokerId>(&bytes_of(&-1_i32)).is_err());
    }

    #[test]
    fn tagged_fields_that_are_not_known_are_skipped() {
        let mut buffer = Vec::new();
        put_tagged(&mut buffer, &[(0, vec![9]), (200, vec![1, 2, 3])]);
        assert_eq!(buffer, [2, 0, 1, 9, 0xc8, 1, 3, 1, 2, 3]);
        let mut seen = None;
        get_tagged(&mut Reader::new(&buffer), |tag, value| {
            if tag == 0 {
                seen = Some(value.u8()?);
            }
            Ok(tag == 0)
        })
        .unwrap();
        assert_eq!(seen, Some(9));
    }

    #[test]
    fn a_tagged_field_ends_where_its_size_says() {
        let damaged = get_tagged(&mut Reader::new(&[1, 0, 2, 9, 9]), |_, value| value.u8().map(|_| true));
        match damaged {
            Err(Error::Corrupt(corrupt)) => assert_eq!(corrupt.position, 3),
            other => panic!("{other:?}"),
        }
    }
}

//! [P] The nouns of the log as types: offsets, epochs, ids, names, timestamps.
//!
//! No value of these types is a sentinel: where Kafka's formats say -1 for "absent", the codecs translate to
//! `Option` and back. Kafka's counterparts: `TopicPartition`, `Uuid`, `Topic` (names).
//!
//! [P]: crate

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::Error;

/// Declares a non-negative integer newtype: construction from the raw integer is checked, reading is free.
macro_rules! non_negative {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name($raw);

        impl $name {
            /// The smallest value.
            pub const ZERO: $name = $name(0);
            /// The largest value.
            pub const MAX: $name = $name(<$raw>::MAX);

            /// Wraps a raw value; `None` when it is negative (Kafka's "absent").
            pub const fn new(raw: $raw) -> Option<$name> {
                if raw < 0 { None } else { Some($name(raw)) }
            }

            /// The raw value, never negative.
            pub const fn get(self) -> $raw {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

non_negative! {
    /// The position of a record in its partition: dense, assigned by the leader, never reused.
    ///
    /// An `Offset` counts records, not bytes (a *position*), and is absolute, not relative to a segment or a batch.
    ///
    /// ```
    /// use logstead::types::Offset;
    /// let offset = Offset::from(41).next();
    /// assert_eq!(offset, Offset::from(42));
    /// assert_eq!(offset.since(Offset::from(40)), 2);
    /// assert_eq!(Offset::new(-1), None);
    /// ```
    Offset(i64)
}

impl Offset {
    /// The offset after this one; saturates at [`Offset::MAX`].
    pub const fn next(self) -> Offset {
        Offset(self.0.saturating_add(1))
    }

    /// The offset `count` records later; saturates at [`Offset::MAX`].
    pub const fn plus(self, count: u64) -> Offset {
        Offset(self.0.saturating_add_unsigned(count))
    }

    /// The offset `count` records later, or `None` past [`Offset::MAX`].
    pub const fn checked_plus(self, count: u64) -> Option<Offset> {
        match self.0.checked_add_unsigned(count) {
            Some(raw) => Some(Offset(raw)),
            None => None,
        }
    }

    /// How many offsets lie in `[earlier, self)`; 0 when `earlier` is not earlier.
    pub const fn since(self, earlier: Offset) -> u64 {
        if self.0 > earlier.0 { self.0.abs_diff(earlier.0) } else { 0 }
    }
}

impl From<u32> for Offset {
    fn from(raw: u32) -> Offset {
        Offset(i64::from(raw))
    }
}

non_negative! {
    /// Counts the leaderships of a partition: each new leader writes under a higher epoch.
    LeaderEpoch(i32)
}
non_negative! {
    /// Identifies a broker (Kafka's `node.id`).
    BrokerId(i32)
}
non_negative! {
    /// The number of a partition within its topic, from 0.
    PartitionId(i32)
}
non_negative! {
    /// Identifies a producer for duplicate detection and transactions.
    ProducerId(i64)
}
non_negative! {
    /// Counts the incarnations of one producer id; a higher epoch fences the lower ones.
    ProducerEpoch(i16)
}
non_negative! {
    /// Numbers the records of one producer in one partition, wrapping from 2^31 - 1 to 0.
    ///
    /// ```
    /// use logstead::types::Sequence;
    /// assert_eq!(Sequence::MAX.plus(1), Sequence::ZERO);
    /// assert_eq!(Sequence::ZERO.minus(1), Sequence::MAX);
    /// ```
    Sequence(i32)
}

impl Sequence {
    /// The sequence `count` records later, modulo 2^31. `count` is not negative in a valid batch; the sign is ignored.
    #[must_use]
    pub const fn plus(self, count: i32) -> Sequence {
        Sequence(self.0.wrapping_add(count) & i32::MAX)
    }

    /// The sequence `count` records earlier, modulo 2^31.
    #[must_use]
    pub const fn minus(self, count: i32) -> Sequence {
        Sequence(self.0.wrapping_sub(count) & i32::MAX)
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z, as in a record.
///
/// Records without a timestamp (Kafka's -1) have no `Timestamp`: accessors return `Option<Timestamp>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    ///
    /// ```
    /// use logstead::types::Timestamp;
    /// assert_eq!(Timestamp::from_millis(1_700_000_000_000).as_millis(), 1_700_000_000_000);
    /// ```
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`, negative when `earlier` is later; saturating.
    pub const fn millis_since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Whose clock a record's timestamp is (Kafka's `message.timestamp.type`).
///
/// ```
/// use logstead::types::TimestampType;
/// assert_eq!(TimestampType::LogAppendTime.to_string(), "LogAppendTime");
/// assert_eq!(TimestampType::default(), TimestampType::CreateTime);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum TimestampType {
    /// The producer's: when the record came into being.
    #[default]
    CreateTime,
    /// The leader's: when the batch was appended.
    LogAppendTime,
}

impl TimestampType {
    /// Kafka's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            TimestampType::CreateTime => "CreateTime",
            TimestampType::LogAppendTime => "LogAppendTime",
        }
    }
}

impl fmt::Display for TimestampType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the records of a batch are compressed.
///
/// ```
/// use logstead::types::Compression;
/// assert_eq!(Compression::Zstd.as_str(), "zstd");
/// assert_eq!(Compression::default(), Compression::None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// Snappy, in the framing of snappy-java.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    pub(crate) const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// The name in Kafka's `compression.type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A legal topic name: 1 to 249 characters of `[a-zA-Z0-9._-]`, neither `.` nor `..`.
///
/// Cheap to clone. The rule is Kafka's, and it is what makes a name safe as part of a folder name.
///
/// ```
/// use logstead::types::TopicName;
/// assert_eq!(TopicName::new("orders")?.as_str(), "orders");
/// assert!(TopicName::new("../etc").is_err());
/// # Ok::<(), logstead::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// The longest legal name, in characters (Kafka: `Topic.MAX_NAME_LENGTH`).
    pub const LENGTH_MAX: usize = 249;

    /// Checks a name.
    ///
    /// # Errors
    /// [`Error::InvalidTopicName`] when the name is empty, too long, `.` or `..`, or has any other character.
    pub fn new(name: &str) -> Result<TopicName, Error> {
        let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        let reason = if name.is_empty() {
            "it is empty"
        } else if name == "." || name == ".." {
            "it is a folder's own or parent's name"
        } else if name.len() > Self::LENGTH_MAX {
            "it is longer than 249 characters"
        } else if !name.bytes().all(legal) {
            "only ASCII letters, digits, '.', '_' and '-' are legal"
        } else {
            return Ok(TopicName(Arc::from(name)));
        };
        Err(Error::InvalidTopicName { name: name.chars().take(300).collect(), reason })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicName {
    type Err = Error;
    fn from_str(name: &str) -> Result<TopicName, Error> {
        TopicName::new(name)
    }
}

/// One partition of one topic. Its folder is `<topic>-<partition>`.
///
/// ```
/// use logstead::types::TopicPartition;
/// let tp = TopicPartition::new("orders", 3)?;
/// assert_eq!(tp.to_string(), "orders-3");
/// assert_eq!(TopicPartition::from_folder_name("orders-3"), Some(tp));
/// # Ok::<(), logstead::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's number.
    pub partition: PartitionId,
}

impl TopicPartition {
    /// Checks both parts.
    ///
    /// # Errors
    /// [`Error::InvalidTopicName`] for an illegal name, [`Error::InvalidPartition`] for a negative number.
    pub fn new(topic: &str, partition: i32) -> Result<TopicPartition, Error> {
        let number = PartitionId::new(partition).ok_or(Error::InvalidPartition { partition })?;
        Ok(TopicPartition { topic: TopicName::new(topic)?, partition: number })
    }

    /// Parses a partition folder's name, splitting at the last `-`; `None` when it is not one.
    ///
    /// Only the canonical form is accepted (no sign, no leading zeros), so two folders never name one partition.
    pub fn from_folder_name(name: &str) -> Option<TopicPartition> {
        let (topic, number) = name.rsplit_once('-')?;
        let is_canonical = number == "0" || number.starts_with(|first| matches!(first, '1'..='9'));
        TopicPartition::new(topic, number.parse().ok().filter(|_| is_canonical)?).ok()
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A topic's identity: 16 random bytes, written as 22 characters of URL-safe base64 without padding (Kafka's `Uuid`).
///
/// A topic that is deleted and created again under the same name has another id.
///
/// ```
/// use logstead::types::TopicId;
/// let id = TopicId::from_bytes([0xab; 16]);
/// assert_eq!(id.to_string().len(), 22);
/// assert_eq!(id.to_string().parse::<TopicId>()?, id);
/// # Ok::<(), logstead::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId([u8; 16]);

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The six bits that a character stands for; `None` when it stands for none.
const fn six_bits(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

impl TopicId {
    /// The all-zero id: Kafka's "no id". Never the id of a topic.
    pub const ZERO: TopicId = TopicId([0; 16]);

    /// From its 16 bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> TopicId {
        TopicId(bytes)
    }

    /// Its 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A random (version 4) id from two random words. `None` for the ids that Kafka reserves and for those whose text
    /// starts with `-`, which could not be a command-line argument: draw again.
    pub fn from_random(words: [u64; 2]) -> Option<TopicId> {
        let high = (words[0] & !0xf000) | 0x4000;
        let low = (words[1] & (u64::MAX >> 2)) | (1 << 63);
        let id = TopicId(((u128::from(high) << 64) | u128::from(low)).to_be_bytes());
        (!id.to_string().starts_with('-')).then_some(id)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 128 bits are 21 full groups of six bits and a last one of two, padded with zeros on the right.
        let bits = u128::from_be_bytes(self.0);
        let mut text = [b'A'; 22];
        for (group, character) in (0..22u32).zip(&mut text) {
            let six = if group < 21 { bits >> (122 - 6 * group) } else { bits << 4 };
            let index = usize::try_from(six & 0x3f).unwrap_or_default();
            *character = BASE64_URL.get(index).copied().unwrap_or(b'A');
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopicId({self})")
    }
}

impl FromStr for TopicId {
    type Err = Error;

    fn from_str(text: &str) -> Result<TopicId, Error> {
        let invalid = || Error::InvalidTopicId { text: text.chars().take(64).collect() };
        if text.len() != 22 {
            return Err(invalid());
        }
        let mut bits: u128 = 0;
        for (group, character) in text.bytes().enumerate() {
            let six = u128::from(six_bits(character).ok_or_else(invalid)?);
            if group < 21 {
                bits = (bits << 6) | six;
            } else if six & 0x0f == 0 {
                bits = (bits << 2) | (six >> 4);
            } else {
                return Err(invalid());
            }
        }
        Ok(TopicId(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_id_text_is_url_safe_base64() {
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(TopicId::from_bytes([0xff; 16]).to_string(), "_____________________w");
        let counting = TopicId::from_bytes(std::array::from_fn(|i| i as u8));
        assert_eq!(counting.to_string(), "AAECAwQFBgcICQoLDA0ODw");
        assert_eq!("AAECAwQFBgcICQoLDA0ODw".parse::<TopicId>().unwrap(), counting);
    }

    #[test]
    fn topic_id_text_that_is_not_canonical_is_refused() {
        for text in
            ["", "AAECAwQFBgcICQoLDA0OD", "AAECAwQFBgcICQoLDA0ODx", "AAECAwQFBgcICQoLDA0OD!", "AAECAwQFBgcICQoLDA0ODw="]
        {
            assert!(matches!(text.parse::<TopicId>(), Err(Error::InvalidTopicId { .. })), "{text}");
        }
    }

    #[test]
    fn random_topic_ids_are_version_4_and_never_look_like_options() {
        assert_eq!(TopicId::from_random([u64::MAX, 0]).unwrap().as_bytes()[6] >> 4, 4);
        assert_eq!(TopicId::from_random([0xf800_0000_0000_0000, 0]), None);
        assert_eq!(TopicId::from_random([0, 0]).unwrap().as_bytes()[8] >> 6, 2);
    }

    #[test]
    fn folder_names_have_one_spelling() {
        for name in ["orders", "orders-", "orders-01", "orders-+1", "-1", "a/b-0", "orders-0-delete"] {
            assert_eq!(TopicPartition::from_folder_name(name), None, "{name}");
        }
        let tp = TopicPartition::from_folder_name("a-b-7").unwrap();
        assert_eq!((tp.topic.as_str(), tp.partition.get()), ("a-b", 7));
    }

    #[test]
    fn topic_names_follow_kafkas_rule() {
        for name in ["", ".", "..", "a b", "a/b", "\u{e9}"] {
            assert!(matches!(TopicName::new(name), Err(Error::InvalidTopicName { .. })), "{name}");
        }
        assert!(TopicName::new(&"x".repeat(249)).is_ok());
        assert!(TopicName::new(&"x".repeat(250)).is_err());
        assert!(matches!(TopicPartition::new("a", -1), Err(Error::InvalidPartition { partition: -1 })));
    }

    #[test]
    fn sequences_wrap_at_two_to_the_31() {
        let near = Sequence::new(i32::MAX - 1).unwrap();
        assert_eq!(near.plus(1), Sequence::MAX);
        assert_eq!(near.plus(2), Sequence::ZERO);
        assert_eq!(Sequence::new(1).unwrap().minus(3), near);
    }

    #[test]
    fn offsets_saturate_instead_of_wrapping() {
        assert_eq!(Offset::MAX.next(), Offset::MAX);
        assert_eq!(Offset::MAX.checked_plus(1), None);
        assert_eq!(Offset::ZERO.since(Offset::MAX), 0);
        assert_eq!(Offset::MAX.since(Offset::ZERO), i64::MAX as u64);
    }
}

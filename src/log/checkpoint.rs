//! [P] The text of Kafka's checkpoint files.
//!
//! UTF-8, every line ends with a line feed: the version `0`, the number of entries, then one entry a line, its fields
//! separated by single spaces. An empty file has no entries.
//!
//! | file | entry |
//! |---|---|
//! | `leader-epoch-checkpoint` | `epoch start-offset`, ascending |
//! | `recovery-point-`, `replication-`, `log-start-`, `cleaner-offset-checkpoint` | `topic partition offset` |
//!
//! The text has no checksum, so reading is strict: whatever a complete file cannot hold is damage.
//! Kafka: `CheckpointFile`, `OffsetCheckpointFile`, `LeaderEpochCheckpointFile`.

use std::collections::{BTreeMap, BTreeSet};

use super::epoch_cache::EpochEntry;
use crate::error::{Damage, Error, Result};
use crate::types::{LeaderEpoch, Offset, TopicPartition};

/// The only version of the text.
const VERSION: i64 = 0;
/// The rule that most damaged lines break.
const NO_ENTRY: &str = "a line of a checkpoint is not an entry";

/// One offset a partition: recovery points, high watermarks, log starts.
pub(crate) type OffsetCheckpoint = BTreeMap<TopicPartition, Offset>;

/// The text of an offset checkpoint, sorted by topic and partition.
pub(crate) fn encode_offsets(offsets: &OffsetCheckpoint) -> Vec<u8> {
    encode(offsets.iter().map(|(tp, offset)| format!("{} {} {offset}", tp.topic, tp.partition)))
}

/// Reads an offset checkpoint.
///
/// # Errors
/// [`Error::Corrupt`] at the first line that is not what it must be, an illegal or repeated partition included.
pub(crate) fn decode_offsets(bytes: &[u8]) -> Result<OffsetCheckpoint> {
    let mut entries = Vec::new();
    decode_into(&mut entries, bytes, |line| offset_entry(line).ok_or(NO_ENTRY))?;
    if entries.is_sorted_by(|(before, _): &(TopicPartition, Offset), (after, _)| before < after) {
        // As we write them: none can be there twice.
        return Ok(entries.into_iter().collect());
    }
    match decode_offset_checkpoint(bytes) {
        (entries, None) => Ok(entries.into_iter().collect()),
        (_, Some(damage)) => Err(damage),
    }
}

/// The entries of an offset checkpoint in the file's order, up to the first damage, and that damage.
///
/// ```
/// use logstead::log::decode_offset_checkpoint;
/// use logstead::types::{Offset, TopicPartition};
///
/// let orders = (TopicPartition::new("orders", 0)?, Offset::from(17));
/// assert_eq!(decode_offset_checkpoint(b"0\n1\norders 0 17\n").0, [orders.clone()]);
///
/// let (readable, damage) = decode_offset_checkpoint(b"0\n2\norders 0 17\norders x\n");
/// assert_eq!(readable, [orders]);
/// assert!(damage.is_some());
/// # Ok::<(), logstead::Error>(())
/// ```
pub fn decode_offset_checkpoint(bytes: &[u8]) -> (Vec<(TopicPartition, Offset)>, Option<Error>) {
    let mut seen = BTreeSet::new();
    decode(bytes, |line| {
        let (tp, offset) = offset_entry(line).ok_or(NO_ENTRY)?;
        if seen.insert(tp.clone()) { Ok((tp, offset)) } else { Err("a checkpoint names a partition twice") }
    })
}

/// The text of a `leader-epoch-checkpoint`.
pub(crate) fn encode_epochs(entries: &[EpochEntry]) -> Vec<u8> {
    encode(entries.iter().map(|entry| format!("{} {}", entry.epoch, entry.start_offset)))
}

/// Reads a `leader-epoch-checkpoint`; whether the entries make a history is for
/// [`EpochCache::from_entries`](super::EpochCache::from_entries) to say.
///
/// # Errors
/// [`Error::Corrupt`] at the first line that is not what it must be.
pub(crate) fn decode_epochs(bytes: &[u8]) -> Result<Vec<EpochEntry>> {
    match decode(bytes, |line| epoch_entry(line).ok_or(NO_ENTRY)) {
        (entries, None) => Ok(entries),
        (_, Some(damage)) => Err(damage),
    }
}

/// The entries of a `leader-epoch-checkpoint`, up to the first damage, and that damage: an entry that does not ascend
/// is some.
///
/// ```
/// use logstead::log::decode_epoch_checkpoint;
/// use logstead::types::Offset;
///
/// let (epochs, damage) = decode_epoch_checkpoint(b"0\n2\n0 0\n4 1000\n");
/// assert_eq!(epochs.last().map(|entry| entry.start_offset), Some(Offset::from(1000)));
/// assert!(damage.is_none());
/// ```
pub fn decode_epoch_checkpoint(bytes: &[u8]) -> (Vec<EpochEntry>, Option<Error>) {
    let mut previous: Option<EpochEntry> = None;
    decode(bytes, |line| {
        let entry = epoch_entry(line).ok_or(NO_ENTRY)?;
        let stays = |previous: EpochEntry| previous.epoch >= entry.epoch || previous.start_offset >= entry.start_offset;
        if previous.replace(entry).is_some_and(stays) {
            return Err("leader epochs and their start offsets must ascend");
        }
        Ok(entry)
    })
}

fn offset_entry(line: &str) -> Option<(TopicPartition, Offset)> {
    let mut fields = line.split(' ');
    let tp = TopicPartition::new(fields.next()?, fields.next()?.parse().ok()?).ok()?;
    let offset = Offset::new(fields.next()?.parse().ok()?)?;
    fields.next().is_none().then_some((tp, offset))
}

fn epoch_entry(line: &str) -> Option<EpochEntry> {
    let (epoch, start_offset) = line.split_once(' ')?;
    let epoch = LeaderEpoch::new(epoch.parse().ok()?)?;
    let start_offset = Offset::new(start_offset.parse().ok()?)?;
    Some(EpochEntry { epoch, start_offset })
}

fn encode(entries: impl ExactSizeIterator<Item = String>) -> Vec<u8> {
    let mut text = format!("{VERSION}\n{}\n", entries.len());
    for entry in entries {
        text.push_str(&entry);
        text.push('\n');
    }
    text.into_bytes()
}

/// The entries up to the first damage, and that damage. `entry` names the rule that a line breaks.
fn decode<T>(bytes: &[u8], entry: impl FnMut(&str) -> Result<T, &'static str>) -> (Vec<T>, Option<Error>) {
    let mut entries = Vec::new();
    let damage = decode_into(&mut entries, bytes, entry).err();
    (entries, damage)
}

fn decode_into<T>(
    entries: &mut Vec<T>,
    bytes: &[u8],
    mut entry: impl FnMut(&str) -> Result<T, &'static str>,
) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let text =
        str::from_utf8(bytes).map_err(|error| damaged(error.valid_up_to() as u64, "a checkpoint is not text"))?;
    let mut lines = Lines { text, position: 0 };
    let (at, version) = lines.expect_number("the first line of a checkpoint is not a version")?;
    if version != VERSION {
        return Err(Error::corrupt(at, Damage::Magic { stored: version }));
    }
    let (count_at, count) = lines.expect_number("the second line of a checkpoint is not a count")?;
    while let Some((position, line)) = lines.next_line()? {
        entries.push(entry(line).map_err(|rule| damaged(position, rule))?);
    }
    if i64::try_from(entries.len()) != Ok(count) {
        return Err(Error::corrupt(count_at, Damage::Length { stored: count }));
    }
    Ok(())
}

/// The lines of a text, each with its position in bytes.
struct Lines<'a> {
    text: &'a str,
    position: u64,
}

impl<'a> Lines<'a> {
    /// The next line without its line feed. A last line without one may have lost digits.
    fn next_line(&mut self) -> Result<Option<(u64, &'a str)>> {
        if self.text.is_empty() {
            return Ok(None);
        }
        let position = self.position;
        let (line, rest) = self
            .text
            .split_once('\n')
            .ok_or_else(|| damaged(position, "the last line of a checkpoint is not complete"))?;
        self.text = rest;
        self.position += line.len() as u64 + 1;
        Ok(Some((position, line)))
    }

    fn expect_number(&mut self, otherwise: &'static str) -> Result<(u64, i64)> {
        let end = self.position;
        let (position, line) = self.next_line()?.ok_or_else(|| damaged(end, otherwise))?;
        let number = line.parse().map_err(|_| damaged(position, otherwise))?;
        Ok((position, number))
    }
}

fn damaged(position: u64, rule: &'static str) -> Error {
    Error::corrupt(position, Damage::Structure(rule))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> Vec<EpochEntry> {
        let entry = |&(epoch, start): &(i32, i64)| EpochEntry {
            epoch: LeaderEpoch::new(epoch).unwrap(),
            start_offset: Offset::new(start).unwrap(),
        };
        entries.iter().map(entry).collect()
    }

    fn offsets(entries: &[(&str, i32, i64)]) -> OffsetCheckpoint {
        let entry = |&(topic, partition, offset): &(&str, i32, i64)| {
            (TopicPartition::new(topic, partition).unwrap(), Offset::new(offset).unwrap())
        };
        entries.iter().map(entry).collect()
    }

    fn position_of_damage(text: &str) -> u64 {
        match decode_offsets(text.as_bytes()) {
            Err(Error::Corrupt(corrupt)) => corrupt.position,
            other => panic!("damage expected, got {other:?}"),
        }
    }

    #[test]
    fn epochs_have_kafkas_text() {
        let text = b"0\n2\n0 0\n4 1000\n";
        assert_eq!(encode_epochs(&epochs(&[(0, 0), (4, 1000)])), text);
        assert_eq!(decode_epochs(text).unwrap(), epochs(&[(0, 0), (4, 1000)]));
    }

    #[test]
    fn offsets_are_sorted_by_topic_and_partition_number() {
        let checkpoint = offsets(&[("b", 0, 7), ("a", 10, 2), ("a", 2, 1)]);
        let text = b"0\n3\na 2 1\na 10 2\nb 0 7\n";
        assert_eq!(encode_offsets(&checkpoint), text);
        assert_eq!(decode_offsets(text).unwrap(), checkpoint);
    }

    #[test]
    fn no_entries_are_two_lines_or_nothing_at_all() {
        assert_eq!(encode_offsets(&OffsetCheckpoint::new()), b"0\n0\n");
        assert_eq!(decode_offsets(b"0\n0\n").unwrap(), OffsetCheckpoint::new());
        assert_eq!(decode_offsets(b"").unwrap(), OffsetCheckpoint::new());
        assert_eq!(decode_epochs(b"").unwrap(), []);
    }

    #[test]
    fn damage_is_reported_at_its_line() {
        for (text, position) in [
            ("x\n0\n", 0),
            ("1\n0\n", 0),
            ("0\n", 2),
            ("0\nx\n", 2),
            ("0\n2\na 0 1\n", 2),
            ("0\n0\na 0 1\n", 2),
            ("0\n-1\n", 2),
            ("0\n1\na 0\n", 4),
            ("0\n1\na 0 1 2\n", 4),
            ("0\n1\na  0 1\n", 4),
            ("0\n1\na 0 -1\n", 4),
            ("0\n1\na -1 1\n", 4),
            ("0\n1\n.. 0 1\n", 4),
            ("0\n1\na 0 1\r\n", 4),
            ("0\n1\na 0 9223372036854775808\n", 4),
            ("0\n2\na 0 1\na 0 2\n", 10),
            ("0\n2\na 0 1\n\n", 10),
        ] {
            assert_eq!(position_of_damage(text), position, "{text:?}");
        }
        assert!(decode_offsets(b"0\n1\n\xff 0 1\n").is_err());
        assert!(decode_epochs(b"0\n1\n-1 0\n").is_err());
    }

    #[test]
    fn entries_before_the_damage_are_readable() {
        let (read, damage) = decode_offset_checkpoint(b"0\n3\nb 0 7\na 0 1\nb 0 8\n");
        assert_eq!(read.iter().map(|(tp, _)| tp.to_string()).collect::<Vec<_>>(), ["b-0", "a-0"]);
        assert!(matches!(damage, Some(Error::Corrupt(corrupt)) if corrupt.position == 16));
        let (read, damage) = decode_epoch_checkpoint(b"0\n3\n0 0\n4 9\n5 9\n");
        assert_eq!(read, epochs(&[(0, 0), (4, 9)]));
        assert!(matches!(damage, Some(Error::Corrupt(corrupt)) if corrupt.position == 12));
    }

    #[test]
    fn a_last_line_that_may_have_lost_digits_is_damage() {
        assert_eq!(position_of_damage("0\n1\na 0 12"), 4);
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(
            entries in prop::collection::vec(("[a-zA-Z0-9_-]{1,20}", 0..=i32::MAX, 0..=i64::MAX), 0..10),
        ) {
            let entries: Vec<_> = entries.iter().map(|(topic, partition, offset)| (topic.as_str(), *partition, *offset)).collect();
            let checkpoint = offsets(&entries);
            prop_assert_eq!(decode_offsets(&encode_offsets(&checkpoint)).unwrap(), checkpoint);
            let history = epochs(&entries.iter().map(|(_, epoch, start)| (*epoch, *start)).collect::<Vec<_>>());
            prop_assert_eq!(decode_epochs(&encode_epochs(&history)).unwrap(), history);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[01a \n-]{0,30}") {
            let _ = (decode_offsets(&bytes), decode_epochs(&bytes));
            let plausible = format!("0\n{text}");
            let _ = (decode_offsets(plausible.as_bytes()), decode_epochs(plausible.as_bytes()));
        }
    }
}

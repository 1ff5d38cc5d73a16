//! [P] The text of `partition.metadata`: the topic id of a partition folder.
//!
//! Exactly `version: 0`, a line feed, `topic_id: ` and 22 characters, **without** a line feed at the end. It must be on
//! disk before the first record. Kafka: `PartitionMetadataFile`.

use crate::error::{Damage, Error, Result};
use crate::types::TopicId;

/// The only version of the text.
const VERSION: i64 = 0;

/// The text of the file.
pub(crate) fn encode(topic_id: TopicId) -> Vec<u8> {
    format!("version: {VERSION}\ntopic_id: {topic_id}").into_bytes()
}

/// The topic id in a `partition.metadata`. White space around values and a final line feed are accepted, as Kafka does.
///
/// # Errors
/// [`Error::Corrupt`] when a field is missing, repeated, unknown or illegal, or the version is not known.
///
/// # Examples
/// ```
/// let topic_id = logstead::log::decode_partition_metadata(b"version: 0\ntopic_id: AAECAwQFBgcICQoLDA0ODw")?;
/// assert_eq!(topic_id.to_string(), "AAECAwQFBgcICQoLDA0ODw");
/// # Ok::<(), logstead::Error>(())
/// ```
pub fn decode(bytes: &[u8]) -> Result<TopicId> {
    let damaged = |at: usize, what| Error::corrupt(at as u64, what);
    let text = str::from_utf8(bytes)
        .map_err(|error| damaged(error.valid_up_to(), Damage::Structure("partition metadata is not text")))?;
    let (version_line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let version: i64 = value(version_line, "version")
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| damaged(0, Damage::Structure("partition metadata does not start with a version")))?;
    if version != VERSION {
        return Err(damaged(0, Damage::Magic { stored: version }));
    }
    value(rest, "topic_id")
        .and_then(|value| value.parse().ok())
        .filter(|topic_id| *topic_id != TopicId::ZERO)
        .ok_or_else(|| damaged(version_line.len() + 1, Damage::Structure("partition metadata has no legal topic id")))
}

/// The value of a line `name: value`.
fn value<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = line.split_once(':')?;
    (found.trim_ascii() == name).then_some(value.trim_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOPIC_ID: TopicId = TopicId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

    #[test]
    fn the_text_has_no_line_feed_at_its_end() {
        let text = b"version: 0\ntopic_id: AAECAwQFBgcICQoLDA0ODw";
        assert_eq!(encode(TOPIC_ID), text);
        assert_eq!(decode(text).unwrap(), TOPIC_ID);
    }

    #[test]
    fn a_final_line_feed_is_accepted() {
        assert_eq!(decode(b"version: 0\r\ntopic_id: AAECAwQFBgcICQoLDA0ODw\r\n").unwrap(), TOPIC_ID);
    }

    #[test]
    fn damage_is_reported_at_its_line() {
        for (text, position) in [
            ("", 0),
            ("version: x\n", 0),
            ("version: 1\ntopic_id: AAECAwQFBgcICQoLDA0ODw", 0),
            ("topic_id: AAECAwQFBgcICQoLDA0ODw\nversion: 0", 0),
            ("version: 0", 11),
            ("version: 0\ntopic_id: AAECAwQFBgcICQoLDA0OD", 11),
            ("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA", 11),
            ("version: 0\ntopic_id: AAECAwQFBgcICQoLDA0ODw\nmore: 1", 11),
        ] {
            match decode(text.as_bytes()) {
                Err(Error::Corrupt(corrupt)) => assert_eq!(corrupt.position, position, "{text:?}"),
                other => panic!("damage expected in {text:?}, got {other:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(bytes in any::<[u8; 16]>()) {
            prop_assume!(bytes != [0; 16]);
            let topic_id = TopicId::from_bytes(bytes);
            prop_assert_eq!(decode(&encode(topic_id)).unwrap(), topic_id);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&bytes);
            let _ = decode(&[b"version: 0\ntopic_id: ", bytes.as_slice()].concat());
        }
    }
}

//! [P] The names of folders whose partition is gone: `<topic>-<number>.<32 hex digits>-delete`, and `-stray`.
//!
//! A partition goes by one rename, after which its old name is free for another. The topic's name is cut where the new
//! name would be longer than 255 characters. Kafka: `UnifiedLog.logDeleteDirName`, `logStrayDirName`.

use crate::types::{TopicId, TopicPartition};

/// No name in a file system is longer, in bytes; those of topics are ASCII.
const NAME_LEN_MAX: usize = 255;
/// A UUID without dashes.
const ID_LEN: usize = 32;

/// Why a partition went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Departure {
    /// It was deleted: its files may be removed.
    Deleted,
    /// Nobody knows it: its files are kept.
    SetAside,
}

impl Departure {
    pub(crate) const ALL: [Departure; 2] = [Departure::Deleted, Departure::SetAside];

    /// What a user of its log is told.
    pub(crate) const fn state(self) -> &'static str {
        match self {
            Departure::Deleted => "it was deleted",
            Departure::SetAside => "it was set aside",
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Departure::Deleted => "-delete",
            Departure::SetAside => "-stray",
        }
    }

    /// The name of the partition's folder after it went.
    pub(crate) fn folder_name(self, tp: &TopicPartition, id: TopicId) -> String {
        format!("{}.{:032x}{}", self.stem(tp), u128::from_be_bytes(*id.as_bytes()), self.suffix())
    }

    /// Topic and number, as the new name begins with them.
    pub(crate) fn stem(self, tp: &TopicPartition) -> String {
        let number = tp.partition.to_string();
        let others = "-".len() + number.len() + ".".len() + ID_LEN + self.suffix().len();
        let topic = tp.topic.as_str();
        let topic = topic.get(..NAME_LEN_MAX.saturating_sub(others)).unwrap_or(topic);
        format!("{topic}-{number}")
    }

    /// Why the partition of a folder went, and the stem of its name; `None` for any other name.
    pub(crate) fn parse(name: &str) -> Option<(Departure, &str)> {
        let (departure, rest) =
            Self::ALL.into_iter().find_map(|departure| Some((departure, name.strip_suffix(departure.suffix())?)))?;
        let (stem, id) = rest.rsplit_once('.')?;
        let (topic, number) = stem.rsplit_once('-')?;
        let is_id = id.len() == ID_LEN && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        (is_id && !topic.is_empty() && number.parse::<u32>().is_ok()).then_some((departure, stem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas_and_round_trip() {
        let tp = TopicPartition::new("orders.v1-x", 3).unwrap();
        let name = Departure::Deleted
            .folder_name(&tp, TopicId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]));
        assert_eq!(name, "orders.v1-x-3.0102030405060708090a0b0c0d0e0f10-delete");
        assert_eq!(Departure::parse(&name), Some((Departure::Deleted, "orders.v1-x-3")));
        let stray = Departure::SetAside.folder_name(&tp, TopicId::ZERO);
        assert_eq!(Departure::parse(&stray), Some((Departure::SetAside, "orders.v1-x-3")));
    }

    #[test]
    fn a_long_topic_name_is_cut() {
        let tp = TopicPartition::new(&"t".repeat(249), 12_345).unwrap();
        for departure in Departure::ALL {
            let name = departure.folder_name(&tp, TopicId::from_bytes([0xab; 16]));
            assert_eq!(name.len(), 255);
            assert_eq!(Departure::parse(&name), Some((departure, departure.stem(&tp).as_str())));
        }
    }

    #[test]
    fn other_names_are_not_taken_for_one() {
        let id = "0123456789abcdef0123456789abcdef";
        for name in [
            "orders-0".to_owned(),
            "orders-delete".to_owned(),
            format!("orders-0.{id}-future"),
            format!("orders-x.{id}-delete"),
            format!("-0.{id}-delete"),
            format!("orders-0.{id}0-delete"),
            format!("orders-0.{}g-delete", &id[1..]),
            format!("orders-0{id}-stray"),
        ] {
            assert_eq!(Departure::parse(&name), None, "{name}");
        }
    }
}

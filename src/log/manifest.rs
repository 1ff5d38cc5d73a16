//! [P] The manifest: what a data folder should hold, and proof that nobody else has owned it since.
//!
//! Kafka's text checkpoints carry no checksum, and a Kafka broker that ran on the folder in between would leave our own
//! files (witness, seals) talking about a log that is no more. The manifest keeps second copies of the checkpointed
//! offsets, and the checksum of each file that a broker would have changed. If one of them differs, the folder has had
//! another owner: our extra files are dropped and everything is checked in full.
//!
//! Text, one entry a line, in this order; the last line is the CRC-32 of everything before it:
//!
//! ```text
//! logstead-manifest 1
//! cluster.id <text>
//! directory.id <uuid>
//! file <name> <absent | length:crc32>...      every state that the file may be in
//! partition <topic> <number> <topic id> slot=<n> log_start=<o> high_watermark=<o> recovery_point=<o>
//! crc32 <8 hex digits>
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::error::{Damage, Error, Result};
use crate::log::seal::FileSum;
use crate::types::{Offset, TopicId, TopicPartition};

/// Name of the manifest in its data folder.
pub const MANIFEST_FILE: &str = "logstead.manifest";
/// The newest format of our own files that this version knows: the data folder's format stamp.
pub const FORMAT: i64 = 1;

const TITLE: &str = "logstead-manifest";

/// What a data folder should hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// The cluster's id, as in `meta.properties`.
    pub cluster_id: String,
    /// The folder's id, as in `meta.properties`.
    pub directory_id: Option<TopicId>,
    /// Per file name: the states that it may be in if nobody but us has written it. `None` = absent.
    pub files: BTreeMap<String, Vec<Option<FileSum>>>,
    /// The partitions.
    pub partitions: BTreeMap<TopicPartition, ManifestPartition>,
}

/// Second copies of what the checkpoints say of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestPartition {
    /// The topic's id.
    pub topic_id: TopicId,
    /// The partition's slot in the witness.
    pub slot: u32,
    /// Log start offset.
    pub log_start: Offset,
    /// High watermark.
    pub high_watermark: Offset,
    /// Recovery point: everything below is durable and indexed.
    pub recovery_point: Offset,
}

impl Manifest {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{TITLE} {FORMAT}\ncluster.id {}\n", self.cluster_id);
        if let Some(id) = self.directory_id {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "directory.id {id}");
        }
        for (name, states) in &self.files {
            let _ = write!(text, "file {name}");
            for state in states {
                let _ = match state {
                    Some(sum) => write!(text, " {}:{:08x}", sum.len, sum.crc),
                    None => write!(text, " absent"),
                };
            }
            text.push('\n');
        }
        for (tp, known) in &self.partitions {
            let _ = writeln!(
                text,
                "partition {} {} {} slot={} log_start={} high_watermark={} recovery_point={}",
                tp.topic,
                tp.partition,
                known.topic_id,
                known.slot,
                known.log_start,
                known.high_watermark,
                known.recovery_point
            );
        }
        let _ = writeln!(text, "crc32 {:08x}", crc32fast::hash(text.as_bytes()));
        text.into_bytes()
    }

    /// The format version of a manifest's bytes, even of one that is newer than this version; `None` when it is none.
    pub fn format_of(bytes: &[u8]) -> Option<i64> {
        let line = bytes.split(|&byte| byte == b'\n').next()?;
        std::str::from_utf8(line).ok()?.strip_prefix(TITLE)?.trim().parse().ok()
    }

    /// Parses a manifest.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for a wrong checksum or a line that is none of the above.
    pub fn from_bytes(bytes: &[u8]) -> Result<Manifest> {
        let broken = |rule| Error::corrupt(0, Damage::Structure(rule));
        let body = checked_body(bytes)?;
        let mut manifest = Manifest::default();
        for line in body.lines().skip(1) {
            manifest.parse_line(line).ok_or_else(|| broken("a line of the manifest is malformed"))?;
        }
        Ok(manifest)
    }

    /// Whether the last line is the checksum of what is before it: true of every format, so that a flipped bit in the
    /// version is not taken for a newer one.
    pub(crate) fn is_intact(bytes: &[u8]) -> bool {
        checked_body(bytes).is_ok()
    }

    fn parse_line(&mut self, line: &str) -> Option<()> {
        let (keyword, rest) = line.split_once(' ')?;
        match keyword {
            "cluster.id" => self.cluster_id = rest.to_owned(),
            "directory.id" => self.directory_id = Some(rest.parse().ok()?),
            "file" => {
                let (name, states) = rest.split_once(' ')?;
                let states = states.split(' ').map(parse_state).collect::<Option<Vec<_>>>()?;
                self.files.insert(name.to_owned(), states);
            }
            "partition" => {
                let mut words = rest.split(' ');
                let tp = TopicPartition::new(words.next()?, words.next()?.parse().ok()?).ok()?;
                let topic_id = words.next()?.parse().ok()?;
                let slot = words.next()?.strip_prefix("slot=")?.parse().ok()?;
                let mut offset = |name: &str| -> Option<Offset> {
                    Offset::new(words.next()?.strip_prefix(name)?.strip_prefix('=')?.parse().ok()?)
                };
                let known = ManifestPartition {
                    topic_id,
                    slot,
                    log_start: offset("log_start")?,
                    high_watermark: offset("high_watermark")?,
                    recovery_point: offset("recovery_point")?,
                };
                self.partitions.insert(tp, known);
            }
            _ => return None,
        }
        Some(())
    }

    /// Whether each listed file is in one of its expected states; the name of the first that is not.
    pub fn first_foreign_file(&self, state_of: impl Fn(&str) -> Option<FileSum>) -> Option<&str> {
        self.files.iter().find(|(name, states)| !states.contains(&state_of(name))).map(|(name, _)| name.as_str())
    }
}

/// Everything before the checksum line, which must be right.
fn checked_body(bytes: &[u8]) -> Result<&str> {
    let broken = |rule| Error::corrupt(0, Damage::Structure(rule));
    let text = std::str::from_utf8(bytes).map_err(|_| broken("the manifest is not text"))?;
    let body_len = text.strip_suffix('\n').and_then(|lines| lines.rfind('\n')).map_or(0, |end| end + 1);
    let (body, last) = text.split_at(body_len);
    let stored = last.strip_suffix('\n').and_then(|line| line.strip_prefix("crc32 "));
    let stored = stored.and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let stored = stored.ok_or_else(|| broken("the manifest has no checksum line"))?;
    let computed = crc32fast::hash(body.as_bytes());
    if stored != computed {
        return Err(Error::corrupt(body_len as u64, Damage::Checksum { stored, computed }));
    }
    Ok(body)
}

fn parse_state(word: &str) -> Option<Option<FileSum>> {
    if word == "absent" {
        return Some(None);
    }
    let (len, crc) = word.split_once(':')?;
    Some(Some(FileSum { len: len.parse().ok()?, crc: u32::from_str_radix(crc, 16).ok()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let known = ManifestPartition {
            topic_id: TopicId::from_bytes([9; 16]),
            slot: 1,
            log_start: Offset::from(2),
            high_watermark: Offset::from(5),
            recovery_point: Offset::from(4),
        };
        Manifest {
            cluster_id: "home".to_owned(),
            directory_id: Some(TopicId::from_bytes([1; 16])),
            files: BTreeMap::from([("meta.properties".to_owned(), vec![None, Some(FileSum::of(b"x"))])]),
            partitions: BTreeMap::from([(TopicPartition::new("orders", 0).unwrap(), known)]),
        }
    }

    #[test]
    fn manifests_round_trip_and_state_their_format_first() {
        let bytes = sample().to_bytes();
        assert!(bytes.starts_with(b"logstead-manifest 1\n"));
        assert_eq!(Manifest::format_of(&bytes), Some(FORMAT));
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), sample());
    }

    #[test]
    fn damaged_manifests_are_refused() {
        let bytes = sample().to_bytes();
        for position in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[position] ^= 1;
            assert_ne!(Manifest::from_bytes(&bad).ok(), Some(sample()), "byte {position}");
        }
        assert!(Manifest::from_bytes(b"").is_err());
        assert!(Manifest::from_bytes(b"crc32 00000000\n").is_ok_and(|empty| empty == Manifest::default()));
    }

    #[test]
    fn a_file_in_another_state_gives_a_foreign_owner_away() {
        let manifest = sample();
        assert_eq!(manifest.first_foreign_file(|_| None), None);
        assert_eq!(manifest.first_foreign_file(|_| Some(FileSum::of(b"x"))), None);
        assert_eq!(manifest.first_foreign_file(|_| Some(FileSum::of(b"y"))), Some("meta.properties"));
    }
}

//! [P] The text of `meta.properties`: which cluster, broker and folder a data folder belongs to.
//!
//! Java properties, version 1: `cluster.id`, `node.id`, `directory.id`, `version`. In version 0 the node id was called
//! `broker.id`. Other keys are ignored. Kafka: `MetaProperties`; the syntax is that of `java.util.Properties`.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::error::{Damage, Error, Result};
use crate::types::{BrokerId, TopicId};

/// The version that is written.
const VERSION: i64 = 1;

/// Kafka reserves the first ids for marks such as "unassigned" (`DirectoryId`).
const DIRECTORY_IDS_RESERVED: u128 = 100;

/// Which cluster, broker and folder a data folder belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderIdentity {
    /// The cluster.
    pub cluster_id: String,
    /// The broker.
    pub node_id: BrokerId,
    /// The folder itself, among the broker's folders; older files do not name it.
    pub directory_id: Option<TopicId>,
}

impl FolderIdentity {
    /// The text of the file, its keys sorted.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = String::from("# The identity of this data folder\n");
        let mut property = |key: &str, value: &str| {
            text.push_str(key);
            text.push('=');
            escape(value, &mut text);
            text.push('\n');
        };
        property("cluster.id", &self.cluster_id);
        if let Some(directory_id) = self.directory_id {
            property("directory.id", &directory_id.to_string());
        }
        property("node.id", &self.node_id.to_string());
        property("version", &VERSION.to_string());
        text.into_bytes()
    }

    /// Reads a `meta.properties`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the text is not that of properties, the version is not known, or a property is missing or
    /// illegal.
    ///
    /// # Examples
    /// ```
    /// use logstead::log::FolderIdentity;
    /// let identity = FolderIdentity::decode(b"#\nversion=1\nnode.id=3\ncluster.id=MkU3\n")?;
    /// assert_eq!((identity.cluster_id.as_str(), identity.node_id.get()), ("MkU3", 3));
    /// # Ok::<(), logstead::Error>(())
    /// ```
    pub fn decode(bytes: &[u8]) -> Result<FolderIdentity> {
        let properties = parse(bytes)?;
        let get = |key: &str| properties.get(key).map(String::as_str);
        let damaged = |rule| Error::corrupt(0, Damage::Structure(rule));
        let version = get("version").map_or(Ok(0), str::parse);
        let node_id_key = match version {
            Ok(0) => "broker.id",
            Ok(VERSION) => "node.id",
            Ok(stored) => return Err(Error::corrupt(0, Damage::Magic { stored })),
            Err(_) => return Err(damaged("the version of meta.properties is not a number")),
        };
        let node_id = get(node_id_key).and_then(|text| text.parse().ok()).and_then(BrokerId::new);
        let directory_id = match get("directory.id").map(str::parse::<TopicId>) {
            Some(Ok(id)) if u128::from_be_bytes(*id.as_bytes()) >= DIRECTORY_IDS_RESERVED => Some(id),
            Some(_) => return Err(damaged("the directory.id of meta.properties is illegal")),
            None => None,
        };
        Ok(FolderIdentity {
            cluster_id: get("cluster.id")
                .filter(|id| !id.is_empty())
                .ok_or_else(|| damaged("meta.properties has no cluster.id"))?
                .to_owned(),
            node_id: node_id.ok_or_else(|| damaged("meta.properties has no legal node id"))?,
            directory_id,
        })
    }
}

/// Writes a value so that Java reads it back: no leading space, nothing outside printable ASCII, specials escaped.
fn escape(value: &str, text: &mut String) {
    for (index, unit) in value.encode_utf16().enumerate() {
        match u8::try_from(unit) {
            Ok(byte @ (b'\\' | b'=' | b':' | b'#' | b'!')) => text.extend(['\\', char::from(byte)]),
            Ok(b' ') if index == 0 => text.push_str("\\ "),
            Ok(byte @ b' '..=b'~') => text.push(char::from(byte)),
            // Writing to a string cannot fail.
            Ok(_) | Err(_) => _ = write!(text, "\\u{unit:04x}"),
        }
    }
}

/// All properties; of a repeated key the last one counts, as in Java.
fn parse(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let mut properties = BTreeMap::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (line, len) = logical_line(rest);
        if !line.is_empty() {
            let (key, value) = key_and_value(&line);
            let key = unescape(key).map_err(|what| Error::corrupt(at as u64, what))?;
            let value = unescape(value).map_err(|what| Error::corrupt(at as u64, what))?;
            properties.insert(key, value);
        }
        at += len;
    }
    Ok(properties)
}

/// The next line without leading white space, joined with those that continue it, and how many bytes it took. A blank
/// line or a comment is empty.
fn logical_line(bytes: &[u8]) -> (Vec<u8>, usize) {
    let mut line = Vec::new();
    let mut taken = 0;
    loop {
        let rest = bytes.get(taken..).unwrap_or_default();
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        let (content, terminator) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        taken += end + if terminator.starts_with(b"\r\n") { 2 } else { usize::from(!terminator.is_empty()) };
        let content = trim_start(content);
        if line.is_empty() && matches!(content.first(), Some(b'#' | b'!')) {
            return (line, taken);
        }
        let backslashes = content.iter().rev().take_while(|byte| **byte == b'\\').count();
        match content.split_last() {
            Some((_, continued)) if backslashes % 2 == 1 => line.extend_from_slice(continued),
            _ => {
                line.extend_from_slice(content);
                return (line, taken);
            }
        }
        if terminator.is_empty() {
            return (line, taken);
        }
    }
}

/// Splits a line at its first unescaped separator: white space, `=` or `:`, with white space around it.
fn key_and_value(line: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let end = line.iter().position(|&byte| {
        let separates = !escaped && (matches!(byte, b'=' | b':') || is_space(byte));
        escaped = !escaped && byte == b'\\';
        separates
    });
    let (key, rest) = line.split_at_checked(end.unwrap_or(line.len())).unwrap_or((line, &[]));
    let rest = trim_start(rest);
    let value = match rest.split_first() {
        Some((b'=' | b':', value)) => trim_start(value),
        Some(_) | None => rest,
    };
    (key, value)
}

/// Resolves escapes. Other bytes are Latin-1, as Java reads them.
fn unescape(raw: &[u8]) -> Result<String, Damage> {
    let mut units = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        let Some((&escaped, after)) = rest.split_first() else {
            break; // A backslash at the end of the file stands for nothing.
        };
        rest = after;
        units.push(match escaped {
            b't' => 0x09,
            b'n' => 0x0a,
            b'r' => 0x0d,
            b'f' => 0x0c,
            b'u' => {
                let (digits, after) = rest.split_first_chunk::<4>().ok_or(BAD_ESCAPE)?;
                rest = after;
                hexadecimal(digits).ok_or(BAD_ESCAPE)?
            }
            other => u16::from(other),
        });
    }
    String::from_utf16(&units).map_err(|_| BAD_ESCAPE)
}

const BAD_ESCAPE: Damage = Damage::Structure("a \\u escape in meta.properties is malformed");

fn hexadecimal(digits: &[u8; 4]) -> Option<u16> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(number << 4 | u16::try_from(digit).ok()?)
    })
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0c)
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let spaces = bytes.iter().take_while(|byte| is_space(**byte)).count();
    bytes.get(spaces..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(cluster_id: &str) -> FolderIdentity {
        FolderIdentity {
            cluster_id: cluster_id.to_owned(),
            node_id: BrokerId::new(1).unwrap(),
            directory_id: Some(TopicId::from_bytes([0xab; 16])),
        }
    }

    fn parsed(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes()).unwrap().into_iter().collect()
    }

    fn pair(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    #[test]
    fn the_keys_are_sorted_after_a_comment() {
        let text = "# The identity of this data folder\ncluster.id=MkU3\ndirectory.id=q6urq6urq6urq6urq6urqw\nnode.id=1\nversion=1\n";
        assert_eq!(String::from_utf8(identity("MkU3").encode()).unwrap(), text);
    }

    #[test]
    fn a_file_that_kafka_wrote_is_read() {
        let text = "#\r\n#Tue Nov 14 22:13:20 UTC 2023\r\nnode.id=1\r\nversion=1\r\ndirectory.id=q6urq6urq6urq6urq6urqw\r\ncluster.id=MkU3\r\n";
        assert_eq!(FolderIdentity::decode(text.as_bytes()).unwrap(), identity("MkU3"));
    }

    #[test]
    fn version_0_names_the_broker_and_no_directory() {
        let expected = FolderIdentity { directory_id: None, ..identity("c") };
        for text in ["version=0\nbroker.id=1\ncluster.id=c\n", "broker.id=1\ncluster.id=c"] {
            assert_eq!(FolderIdentity::decode(text.as_bytes()).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn separators_comments_and_blank_lines_follow_java() {
        for text in ["k=v", " k = v", "k:v\n", "k v", "k\t:\tv", "\n\n! c\n  # c\\\nk=v\r", "k=\\\n   v"] {
            assert_eq!(parsed(text), pair("k", "v"), "{text:?}");
        }
        assert_eq!(parsed("k"), pair("k", ""));
        assert_eq!(parsed("k==v "), pair("k", "=v "));
        assert_eq!(parsed("k=1\nk=2"), pair("k", "2"));
        assert_eq!(parsed(" \n#\n\r\n"), []);
    }

    #[test]
    fn escapes_follow_java() {
        assert_eq!(parsed(r"a\=\:\ b=\t\\\q\u00e9"), pair("a=: b", "\t\\q\u{e9}"));
        assert_eq!(parsed(r"k=\ud83d\ude00"), pair("k", "\u{1f600}"));
        assert_eq!(parsed("k=v\\"), pair("k", "v"));
        assert_eq!(parse(b"k=\xe9").unwrap().get("k").map(String::as_str), Some("\u{e9}"));
    }

    #[test]
    fn a_malformed_escape_is_reported_at_its_line() {
        for text in ["a=b\nk=\\u00g0", "a=b\nk=\\u12", "a=b\nk=\\ud83d"] {
            match parse(text.as_bytes()) {
                Err(Error::Corrupt(corrupt)) => {
                    assert_eq!((corrupt.position, corrupt.what), (4, BAD_ESCAPE), "{text:?}")
                }
                other => panic!("damage expected in {text:?}, got {other:?}"),
            }
        }
    }

    #[test]
    fn a_missing_or_illegal_property_is_damage() {
        for text in [
            "",
            "version=2\nnode.id=1\ncluster.id=c",
            "version=x\nnode.id=1\ncluster.id=c",
            "version=1\ncluster.id=c",
            "version=1\nbroker.id=1\ncluster.id=c",
            "version=1\nnode.id=-1\ncluster.id=c",
            "version=1\nnode.id=1",
            "version=1\nnode.id=1\ncluster.id=",
            "version=1\nnode.id=1\ncluster.id=c\ndirectory.id=x",
            "version=1\nnode.id=1\ncluster.id=c\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ",
        ] {
            assert!(matches!(FolderIdentity::decode(text.as_bytes()), Err(Error::Corrupt(_))), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(cluster_id in "\\PC{1,20}|[ \t\\\\=:#!\n\r\u{c}]{1,9}", node_id in 0..=i32::MAX) {
            let identity = FolderIdentity { node_id: BrokerId::new(node_id).unwrap(), ..identity(&cluster_id) };
            prop_assert_eq!(FolderIdentity::decode(&identity.encode()).unwrap(), identity);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), text in "[a=:\\\\u0 #\n\r]{0,40}") {
            let _ = (FolderIdentity::decode(&bytes), parse(text.as_bytes()));
        }
    }
}

//! [P] One configuration of a topic, with what is known about it (Kafka: `ConfigEntry`).

use std::collections::BTreeMap;

use super::{Field, LogConfig};

/// A configuration that a topic has, whether somebody set it or not.
///
/// ```
/// use logstead::{Cluster, TopicConfig};
/// # let cluster = Cluster::builder().storage(logstead::storage::MemStorage::new()).open("/data")?;
/// let orders = cluster.create_topic("orders", TopicConfig::new().segment_bytes(64 << 20))?;
/// let set: Vec<_> = orders.configs().into_iter().filter(|entry| !entry.is_default()).collect();
/// assert_eq!((set[0].key.as_str(), set[0].value.as_str(), set.len()), ("segment.bytes", "67108864", 1));
/// assert_eq!(set[0].field.map(|field| field.default), Some("1073741824"));
/// # Ok::<(), logstead::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigEntry {
    /// Kafka's key.
    pub key: String,
    /// The value that is in force, in Kafka's spelling; of a key without effect, the one that is stored.
    pub value: String,
    /// What is known about the key: default, accepted values, documentation. `None` for a key that is unknown here, or that
    /// is one of Kafka's and not implemented.
    pub field: Option<&'static Field>,
    /// Whether anything here goes by it. A folder may hold more of Kafka's configurations than that.
    pub has_effect: bool,
}

impl ConfigEntry {
    /// Whether the value is the default, so that setting it back would change nothing.
    pub fn is_default(&self) -> bool {
        self.field.is_some_and(|field| field.default == self.value)
    }

    /// Every key of a log's configuration, and then those that are stored without having an effect.
    pub(crate) fn all(log: &LogConfig, without_effect: &BTreeMap<String, String>) -> Vec<ConfigEntry> {
        let field_of = |key: &str| LogConfig::FIELDS.iter().find(|field| field.key == Some(key));
        let known = log.to_pairs().into_iter().map(|(key, value)| {
            let has_effect = !without_effect.contains_key(key);
            ConfigEntry { key: key.to_owned(), value, field: field_of(key), has_effect }
        });
        let others = without_effect.iter().filter(|(key, _)| field_of(key.as_str()).is_none());
        let others = others.map(|(key, value)| ConfigEntry {
            key: key.clone(),
            value: value.clone(),
            field: None,
            has_effect: false,
        });
        known.chain(others).collect()
    }
}

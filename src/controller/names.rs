//! [P] Which names a new topic may have (Kafka: `Topic`, `ReplicationControlManager.validateNewTopicNames`).
//!
//! Kafka's metrics write `.` as `_`, so that two topics whose names differ in these only could not be told apart: the
//! second one is refused.

use super::image::ClusterImage;
use crate::error::{Error, Result};
use crate::types::TopicName;

/// The metadata log itself. It is no topic, but its folder looks like one's.
pub(crate) const METADATA_TOPIC: &str = "__cluster_metadata";

/// Names that belong to the engine.
const RESERVED: [&str; 4] = [METADATA_TOPIC, "__consumer_offsets", "__transaction_state", "__share_group_state"];

/// Checks the name of a topic that is to be created.
///
/// # Errors
/// [`Error::InvalidTopicName`] for an illegal or reserved name; [`Error::TopicAlreadyExists`].
pub(crate) fn check_new_name(image: &ClusterImage, name: &str) -> Result<TopicName> {
    let name = TopicName::new(name)?;
    let folded = fold(name.as_str());
    if RESERVED.iter().any(|reserved| *reserved == folded) {
        let reason = "it belongs to the engine, or cannot be told from a name that does";
        return Err(Error::InvalidTopicName { name: name.to_string(), reason });
    }
    let in_the_way =
        |existing: &str| Error::TopicAlreadyExists { topic: name.to_string(), existing: existing.to_owned() };
    if image.topic(name.as_str()).is_some() {
        return Err(in_the_way(name.as_str()));
    }
    match image.topics().find(|topic| fold(topic.name.as_str()) == folded) {
        Some(existing) => Err(in_the_way(existing.name.as_str())),
        None => Ok(name),
    }
}

/// Refuses a topic that belongs to the engine.
///
/// # Errors
/// [`Error::InvalidTopicName`].
pub(crate) fn check_not_internal(name: &TopicName) -> Result<()> {
    if RESERVED.contains(&name.as_str()) {
        return Err(Error::InvalidTopicName { name: name.to_string(), reason: "it belongs to the engine" });
    }
    Ok(())
}

/// The error for a topic that does not exist, with the nearest one that does.
pub(crate) fn unknown_topic(image: &ClusterImage, name: &str) -> Error {
    Error::unknown_topic(name, image.topics().map(|topic| topic.name.as_str()))
}

fn fold(name: &str) -> String {
    name.replace('.', "_")
}

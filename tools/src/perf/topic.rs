//! The topics of measurements: `perf-SIZE-NUMBER`, where SIZE is that of the records, and the largest number the
//! newest.

use logstead::cluster::Cluster;
use logstead::config::{LogConfig, TopicConfig};
use logstead::types::TopicName;

use super::Load;
use crate::failure::Failure;

/// A topic's name, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PerfName {
    pub(super) record_size: u64,
    pub(super) number: u64,
}

impl PerfName {
    /// `None` when it is another topic.
    pub(super) fn parse(name: &str) -> Option<PerfName> {
        let (record_size, number) = name.strip_prefix("perf-")?.split_once('-')?;
        let parsed = PerfName { record_size: record_size.parse().ok()?, number: number.parse().ok()? };
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl std::fmt::Display for PerfName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "perf-{}-{}", self.record_size, self.number)
    }
}

/// Makes a topic with a partition for each thread.
pub(super) fn create(cluster: &Cluster, load: &Load) -> Result<TopicName, Failure> {
    let newest =
        cluster.topics().iter().filter_map(|topic| PerfName::parse(topic.name())).map(|name| name.number).max();
    let number = newest.map_or(1, |newest| newest.saturating_add(1));
    let name = TopicName::new(&PerfName { record_size: load.record_size, number }.to_string())?;
    let config = TopicConfig::new().partitions(load.threads).durability(load.durability);
    cluster.create_topic(name.as_str(), config.batch_bytes_max(batch_bytes_max(load)))?;
    Ok(name)
}

/// A limit that no batch of this load exceeds.
pub(super) fn batch_bytes_max(load: &Load) -> u64 {
    // More than what a batch and a record add to a value.
    let of_record = load.record_size.saturating_add(256);
    let largest = i32::MAX.unsigned_abs().into();
    LogConfig::new().get_batch_bytes_max().max(of_record).max(load.batch_bytes).min(largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_others_are_not_taken_for_them() {
        let name = PerfName { record_size: 100, number: 7 };
        assert_eq!(PerfName::parse(&name.to_string()), Some(name));
        for other in ["perf-100", "perf-a-1", "perf-100-1-2", "perf-0100-1", "perf-100-", "xperf-100-1", "orders"] {
            assert_eq!(PerfName::parse(other), None, "{other}");
        }
    }
}

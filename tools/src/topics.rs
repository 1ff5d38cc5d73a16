//! `logstead topics`: makes, lists, describes, changes and deletes topics.
//!
//! Listing and describing only look: they work on a folder that another process owns. Kafka's counterparts:
//! `kafka-topics`, and `kafka-configs` for the configuration of topics.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use logstead::cluster::{Cluster, Partition, ReadOnlyCluster, Topic};
use logstead::config::{LogConfig, TopicConfig};
use logstead::types::{BrokerId, TopicName};

use crate::arguments;
use crate::failure::Failure;
use crate::row::{Cell, Row};

const EXAMPLES: &str = "\
Examples:
    logstead --data data topics create orders --partitions 6 --config segment.bytes=67108864
    logstead --data data topics list
    logstead --data data topics describe orders --json | jq '.partitions[].log_end_offset'
    logstead --data data topics alter orders --partitions 12 --config segment.bytes=
    logstead --data data topics delete orders

Exit codes:
    0   done
    1   error (told on stderr): what depends on the folder, such as a name that exists already or collides with
        another one (. and _ count as the same), or fewer partitions than there are, and configurations that cannot be
    2   wrong usage: what can never be right, such as an illegal name or --partitions 0; no folder is touched";

/// What a new topic is configured with here unless something else is asked for, where that is not the library's
/// default.
///
/// - Kafka's keys alone would mean that nothing is flushed, as in Kafka; unless somebody says so, that is not meant.
/// - Kafka's 1,048,588 bytes for a batch leave no room for a line of 1 MiB with what a batch adds to it.
/// - Kafka's keys alone would also mean that records go after 7 days, which nobody has asked for either.
const CREATE_DEFAULTS: [(&str, &str); 3] =
    [("flush.messages", "1"), ("max.message.bytes", "4194304"), ("retention.ms", "-1")];

/// Make, list, describe, change and delete topics.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Topics {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Create),
    List(List),
    Describe(Describe),
    Alter(Alter),
    Delete(Delete),
}

/// Make a topic; the data folder is made if it does not exist.
#[derive(Debug, Args)]
struct Create {
    /// The name: up to 249 letters, digits, '.', '_' and '-'.
    name: TopicName,

    /// How many partitions it has.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,

    /// A configuration under Kafka's name, such as segment.bytes=67108864; may be given several times. Unless given,
    /// flush.messages=1 (what is acknowledged is on disk), retention.ms=-1 (records are kept for ever), and
    /// max.message.bytes=4194304 (4 MiB; with Kafka's default of 1048588 a line of 1 MiB would be too long).
    #[arg(long, value_name = "KEY=VALUE", value_parser = arguments::pair)]
    config: Vec<(String, String)>,
}

/// List the names of all topics, one a line.
#[derive(Debug, Args)]
struct List {
    /// Print one JSON object a line: name, topic_id, partitions.
    #[arg(long)]
    json: bool,
}

/// Describe a topic, or all: its configuration where it differs from the default, and its partitions.
#[derive(Debug, Args)]
struct Describe {
    /// The topic; all topics when it is missing.
    name: Option<TopicName>,

    /// Print one JSON object a line, a topic each.
    #[arg(long)]
    json: bool,
}

/// Give a topic more partitions, or another configuration.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").args(["partitions", "config"]).required(true).multiple(true))]
struct Alter {
    /// The topic.
    name: TopicName,

    /// How many partitions it has from now on, in all; more than before.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,

    /// A configuration under Kafka's name; an empty value (segment.bytes=) sets it back to the library's default, which
    /// for max.message.bytes is 1048588. May be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = arguments::pair)]
    config: Vec<(String, String)>,
}

/// Delete a topic with all its records.
#[derive(Debug, Args)]
struct Delete {
    /// The topic.
    name: TopicName,
}

impl Topics {
    /// Does it; what is listed goes to `out`.
    ///
    /// # Errors
    /// What the library refuses, or `out`.
    pub(crate) fn run(&self, data: &Path, out: &mut dyn Write) -> Result<(), Failure> {
        match &self.action {
            Action::Create(create) => create.run(data),
            Action::List(list) => list.run(data, out),
            Action::Describe(describe) => describe.run(data, out),
            Action::Alter(alter) => alter.run(data),
            Action::Delete(delete) => delete.run(data),
        }
    }
}

impl Create {
    fn run(&self, data: &Path) -> Result<(), Failure> {
        let config = TopicConfig::new().log(log_config(&self.config)?).partitions(self.partitions);
        let cluster = Cluster::open(data)?;
        cluster.create_topic(self.name.as_str(), config)?;
        Ok(cluster.close()?)
    }
}

impl List {
    fn run(&self, data: &Path, out: &mut dyn Write) -> Result<(), Failure> {
        for topic in Cluster::open_read_only(data)?.topics()? {
            if !self.json {
                writeln!(out, "{}", topic.name())?;
                continue;
            }
            let row = Row(vec![
                ("name", topic.name().into()),
                ("topic_id", Cell::text(topic.id())),
                ("partitions", topic.partition_count().into()),
            ]);
            row.write_json(out)?;
        }
        Ok(())
    }
}

impl Describe {
    fn run(&self, data: &Path, out: &mut dyn Write) -> Result<(), Failure> {
        let cluster = Cluster::open_read_only(data)?;
        let topics = match &self.name {
            Some(name) => vec![cluster.topic(name.as_str())?],
            None => cluster.topics()?,
        };
        for topic in topics {
            self.describe(&cluster, &topic, out)?;
        }
        Ok(())
    }

    fn describe(&self, cluster: &ReadOnlyCluster, topic: &Topic, out: &mut dyn Write) -> Result<(), Failure> {
        let partitions = cluster.describe_topic(topic.name())?;
        let configs = changed_configs(topic.config());
        if self.json {
            let configs = configs.iter().map(|(key, value)| (*key, Cell::text(value))).collect();
            let partitions = partitions.iter().map(|partition| Cell::Object(partition_row(partition))).collect();
            let row = Row(vec![
                ("name", topic.name().into()),
                ("topic_id", Cell::text(topic.id())),
                ("configs", Cell::Object(Row(configs))),
                ("partitions", Cell::List(partitions)),
            ]);
            return Ok(row.write_json(out)?);
        }
        writeln!(out, "topic: {} topic_id: {} partitions: {}", topic.name(), topic.id(), partitions.len())?;
        for (key, value) in configs {
            writeln!(out, "  config: {key}={value}")?;
        }
        for partition in &partitions {
            writeln!(out, "  {}", partition_row(partition))?;
        }
        Ok(())
    }
}

impl Alter {
    fn run(&self, data: &Path) -> Result<(), Failure> {
        let cluster = arguments::open_existing(data)?;
        if let Some(total) = self.partitions {
            // What cannot be is refused before partitions are added, which cannot be taken back.
            self.check_config()?;
            cluster.add_partitions(self.name.as_str(), total)?;
        }
        if !self.config.is_empty() {
            let changes = self.config.iter().map(|(key, value)| (key, Some(value).filter(|value| !value.is_empty())));
            cluster.alter_topic(self.name.as_str(), changes)?;
        }
        Ok(cluster.close()?)
    }

    /// Whether all keys have an effect, and all values are possible. The library is more lenient with one thing: it
    /// sets back keys of Kafka that have none; that takes a command of its own.
    fn check_config(&self) -> Result<(), Failure> {
        let defaults: BTreeMap<_, _> = LogConfig::new().to_pairs().into_iter().collect();
        let meant = self.config.iter().map(|(key, value)| {
            let default = defaults.get(key.as_str()).filter(|_| value.is_empty());
            (key, default.unwrap_or(value))
        });
        LogConfig::from_pairs(meant)?;
        Ok(())
    }
}

impl Delete {
    fn run(&self, data: &Path) -> Result<(), Failure> {
        let cluster = arguments::open_existing(data)?;
        cluster.delete_topic(self.name.as_str())?;
        Ok(cluster.close()?)
    }
}

/// What a new topic is configured with: the library's defaults, on top of them ours, and then what was asked for.
fn log_config(pairs: &[(String, String)]) -> Result<LogConfig, Failure> {
    let asked = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let is_asked = |key: &str| pairs.iter().any(|(asked, _)| asked == key);
    let defaults = CREATE_DEFAULTS.into_iter().filter(|(key, _)| !is_asked(key));
    Ok(LogConfig::from_pairs(asked.chain(defaults))?)
}

/// What differs from the library's defaults, under Kafka's names.
fn changed_configs(config: &LogConfig) -> Vec<(&'static str, String)> {
    let defaults = LogConfig::new().to_pairs();
    config.to_pairs().into_iter().filter(|pair| !defaults.contains(pair)).collect()
}

fn partition_row(partition: &Partition) -> Row<'static> {
    Row(vec![
        ("partition", partition.topic_partition.partition.get().into()),
        ("leader", partition.leader.map_or(Cell::Null, |leader| leader.get().into())),
        ("leader_epoch", partition.leader_epoch.map_or(Cell::Null, |epoch| epoch.get().into())),
        ("replicas", brokers(&partition.replicas)),
        ("in_sync_replicas", brokers(&partition.in_sync_replicas)),
        ("log_start_offset", partition.log_start_offset.get().into()),
        ("high_watermark", partition.high_watermark.get().into()),
        ("last_stable_offset", partition.last_stable_offset.get().into()),
        ("log_end_offset", partition.log_end_offset.get().into()),
        ("size_in_bytes", partition.size_in_bytes.into()),
        ("segment_count", Cell::Size(partition.segment_count as u64)),
    ])
}

fn brokers(ids: &[BrokerId]) -> Cell<'static> {
    Cell::List(ids.iter().map(|id| id.get().into()).collect())
}

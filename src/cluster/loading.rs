//! [S] Opening a data folder: metadata first, then which folders belong to it, then what a crash left in them (Kafka:
//! `LogManager.loadLogs`, `BrokerMetadataPublisher`).
//!
//! A folder whose topic was deleted is removed. A folder that no topic knows is set aside under Kafka's `-stray` name and
//! reported, never removed. In a folder without metadata every partition found becomes a topic. After an unclean stop every
//! partition is recovered now, and its files closed again: a cluster with many partitions holds open those in use only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::broker::{Broker, Host, MetadataLog};
use crate::cluster::admin::AdminState;
use crate::config::{ReadMode, TopicConfig};
use crate::controller;
use crate::controller::image::ClusterImage;
use crate::controller::names::METADATA_TOPIC;
use crate::error::{Corrupt, Result};
use crate::log::{CutTail, RecoveryReport};
use crate::rng::Rng;
use crate::time::Now;
use crate::types::{TopicId, TopicName, TopicPartition};

/// What opening a cluster found and repaired.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct OpenReport {
    /// Whether the last owner had closed the folder.
    pub was_clean: bool,
    /// The file that shows that somebody else, a Kafka broker for one, has owned the folder since we last did.
    pub foreign_file: Option<String>,
    /// Damage below what was durable. The partitions concerned take no writes; what is intact can be read.
    pub damage: Vec<Corrupt>,
    /// Tails that were cut; where intact batches followed the bad one, the bytes were kept in a file.
    pub cut_tails: Vec<(TopicPartition, CutTail)>,
    /// Folders that no topic knows, and where they are now.
    pub set_aside: Vec<PathBuf>,
    /// Topics made of folders that were there without metadata.
    pub adopted: Vec<TopicName>,
    /// Entries of the data folder that are neither Kafka's nor ours; left alone.
    pub unknown_entries: Vec<String>,
}

/// Opens everything in a data folder.
pub(super) fn load(broker: &Broker, mut rng: Rng) -> Result<(AdminState, OpenReport)> {
    let host = broker.host();
    let now = host.clock.now();
    let found = host.directory.report();
    let mut report = OpenReport {
        was_clean: found.was_clean,
        foreign_file: found.foreign_file.clone(),
        unknown_entries: found.unknown_entries.clone(),
        ..OpenReport::default()
    };
    let folders = partition_folders(host)?;
    let (metadata, image, _opened) = MetadataLog::open(&host.directory, host.broker_id, now, &mut rng)?;
    let mut admin = AdminState { metadata, image, rng, leftovers: Vec::new() };
    // Asked of the image rather than of the log's age: a crash may have come between its first batch and the adoption.
    if admin.image.topics().next().is_none() && admin.metadata.removed_topic_ids().next().is_none() {
        adopt(&mut admin, host, &folders, now, &mut report)?;
    }
    if !folders.is_empty() {
        host.background.look_for_expired_at_first(now.mono);
    }
    settle_folders(&mut admin, broker, folders, &mut report)?;
    if !report.was_clean {
        recover(&admin.image, host, now, &mut report)?;
    }
    // Each opening adds a little to the metadata log, which must not grow for ever where topics never change.
    let _ = admin.metadata.maybe_snapshot(&admin.image, now);
    Ok((admin, report))
}

/// The folders of partitions, the metadata log's aside.
fn partition_folders(host: &Host) -> Result<Vec<TopicPartition>> {
    let mut folders = host.directory.partitions()?;
    folders.retain(|tp| tp.topic.as_str() != METADATA_TOPIC);
    Ok(folders)
}

/// Makes topics of the folders that are there: this data folder has logs, but never had metadata.
fn adopt(
    admin: &mut AdminState,
    host: &Host,
    folders: &[TopicPartition],
    now: Now,
    report: &mut OpenReport,
) -> Result<()> {
    let mut topics: BTreeMap<TopicName, (TopicId, i32)> = BTreeMap::new();
    for tp in folders {
        let Some(id) = host.directory.partition_topic_id(tp)? else { continue };
        let (_, last) = topics.entry(tp.topic.clone()).or_insert((id, 0));
        *last = tp.partition.get().max(*last);
    }
    let mut records = Vec::new();
    let mut image = admin.image.clone();
    for (name, (id, last)) in topics {
        let partitions = u32::try_from(last).unwrap_or_default().saturating_add(1);
        // For how long its records were to be kept nobody knows any more: they stay until somebody says.
        let config = TopicConfig::new().partitions(partitions).retention_time(None);
        let created = controller::create_topic(&image, name.as_str(), &config, id, &[host.broker_id])?;
        created.iter().try_for_each(|record| image.apply(record))?;
        records.extend(created);
        report.adopted.push(name);
    }
    // One batch: all of them, or none and the next open adopts them.
    admin.commit(&records, now)
}

/// Brings folders and metadata together.
fn settle_folders(
    admin: &mut AdminState,
    broker: &Broker,
    folders: Vec<TopicPartition>,
    report: &mut OpenReport,
) -> Result<()> {
    let directory = &broker.host().directory;
    // What an earlier session had begun to delete.
    directory.remove_deleted()?;
    let removed: Vec<TopicId> = admin.metadata.removed_topic_ids().collect();
    for tp in folders {
        if directory.listed_topic_id(&tp).is_some_and(|id| is_known(&admin.image, &tp, id)) {
            continue;
        }
        let Some(id) = directory.partition_topic_id(&tp)? else { continue };
        if is_known(&admin.image, &tp, id) {
            continue;
        }
        if removed.contains(&id) {
            // Whoever read it is gone.
            admin.leftovers.push((id, tp, Duration::ZERO));
        } else {
            report.set_aside.push(directory.set_aside(&tp)?);
        }
    }
    admin.remove_leftovers(broker, broker.host().clock.now());
    for id in removed.into_iter().filter(|id| !admin.leftovers.iter().any(|(left, ..)| left == id)) {
        admin.metadata.on_folders_removed(id);
    }
    Ok(())
}

fn is_known(image: &ClusterImage, tp: &TopicPartition, id: TopicId) -> bool {
    let topic = image.topic_by_id(id).filter(|topic| topic.name == tp.topic);
    topic.is_some_and(|topic| topic.partitions.contains_key(&tp.partition))
}

/// Opens every log that a crash may have left unfinished, which repairs it, and closes it again.
fn recover(image: &ClusterImage, host: &Host, now: Now, report: &mut OpenReport) -> Result<()> {
    for tp in partition_folders(host)? {
        let Some(topic) = image.topic(tp.topic.as_str()) else { continue };
        let config = crate::config::StoredConfig::from_pairs(&topic.configs)?.log.read_mode(ReadMode::Positioned);
        let log = host.directory.open_log(&tp, Some(topic.id), config, now)?;
        note(&tp, log.recovery_report(), report);
        if log.check_online().is_ok() {
            log.close()?;
        }
    }
    Ok(())
}

fn note(tp: &TopicPartition, found: &RecoveryReport, report: &mut OpenReport) {
    report.damage.extend(found.damage.iter().cloned());
    report.cut_tails.extend(found.cuts.iter().map(|cut| (tp.clone(), cut.clone())));
}

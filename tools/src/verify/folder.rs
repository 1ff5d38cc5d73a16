//! One data folder: its own files, then its partitions in the order of their names.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use logstead::log::{MANIFEST_FILE, WITNESS_FILE, decode_partition_metadata};
use logstead::storage::{DirEntry, EntryKind};
use logstead::types::{Offset, TopicId, TopicName, TopicPartition};

use super::facts::{CHECKPOINTS, CLEAN_FILE, FolderFacts, IDENTITY_FILE, LOCK_FILE, RECOVERY_POINTS};
use super::partition::{self, METADATA_FILE, Partition};
use super::report::{Findings, Report, Spot, steadily};
use super::{Progress, files, leftover, metadata, missing, path_of};

const BOOTSTRAP_FILE: &str = "bootstrap.checkpoint";
/// Kafka's own, without anything that could be checked.
const CACHE_FOLDER: &str = "remote-log-index-cache";

/// Checks a data folder and prints what was found.
pub(crate) fn check(report: &mut Report<'_>, folder: &Path, progress: &Progress) -> io::Result<()> {
    let (findings, looked) = steadily(|findings| {
        findings.tally.folders += 1;
        let entries = files::list(findings, folder)?;
        let facts = FolderFacts::load(findings, folder, &entries);
        check_entries(findings, folder, &entries, &facts);
        Some((entries, facts))
    });
    report.print(&findings)?;
    let Some((entries, facts)) = looked else { return Ok(()) };
    for (entry, tp) in partitions(&entries) {
        let path = path_of(folder, entry);
        let told = |path: &Path| progress.tell(path);
        let mut is_first = true;
        let (findings, ()) = steadily(|findings| {
            // What the folder says is older than what the log holds: a second look needs it anew.
            let again = (!is_first).then(|| FolderFacts::load(&mut Findings::default(), folder, &entries));
            is_first = false;
            let facts = again.as_ref().unwrap_or(&facts);
            let partition = Partition { folder: &path, tp: Some(tp.clone()), facts: Some(facts), progress: &told };
            partition::check(findings, &partition);
        });
        report.print(&findings)?;
    }
    Ok(())
}

fn partitions(entries: &[DirEntry]) -> impl Iterator<Item = (&DirEntry, TopicPartition)> {
    let folders = entries.iter().filter(|entry| entry.kind == EntryKind::Dir);
    folders.filter_map(|entry| Some((entry, TopicPartition::from_folder_name(&entry.name)?)))
}

/// The entries that are not read with the facts, and the partitions that should be among them.
fn check_entries(findings: &mut Findings, folder: &Path, entries: &[DirEntry], facts: &FolderFacts) {
    let known = [LOCK_FILE, CLEAN_FILE, IDENTITY_FILE, MANIFEST_FILE, WITNESS_FILE];
    for entry in entries {
        let (path, name) = (path_of(folder, entry), entry.name.as_str());
        match entry.kind {
            EntryKind::File if known.contains(&name) || CHECKPOINTS.contains(&name) => {}
            EntryKind::File if name == BOOTSTRAP_FILE => metadata::check_snapshot(findings, &path),
            EntryKind::Dir if name == CACHE_FOLDER || TopicPartition::from_folder_name(name).is_some() => {}
            EntryKind::File | EntryKind::Dir | EntryKind::Other => leftover::note(findings, &path, entry),
        }
    }
    if !entries.iter().any(|entry| entry.name == IDENTITY_FILE) {
        findings.note("missing-file", Spot::of(&folder.join(IDENTITY_FILE)), "the folder's identity is not known");
    }
    let is_there = |tp: &TopicPartition| entries.iter().any(|entry| entry.name == tp.to_string());
    for witness in facts.witness.values().filter(|witness| !is_there(&witness.tp)) {
        let is_empty = witness.synced_offset <= witness.log_start;
        let what = format!("the witness knows offsets up to {} of it", witness.synced_offset);
        missing(findings, !is_empty, &folder.join(witness.tp.to_string()), what);
    }
    let listed = facts.manifest.iter().flat_map(|manifest| manifest.partitions.iter());
    for (tp, known) in listed.filter(|(tp, _)| !is_there(tp) && !facts.witness.contains_key(tp)) {
        let is_empty = known.recovery_point <= known.log_start;
        missing(findings, !is_empty, &folder.join(tp.to_string()), "the manifest names it".into());
    }
    for (name, offsets) in &facts.checkpoints {
        let nowhere = offsets.iter().filter(|(tp, _)| !is_there(tp) && !facts.witness.contains_key(tp));
        for (tp, offset) in nowhere {
            // Who closes a folder writes the recovery points of the partitions that it has.
            if facts.is_clean && *name == RECOVERY_POINTS && *offset > Offset::ZERO {
                let what = format!("its log reached {offset} when the folder was closed");
                missing(findings, true, &folder.join(tp.to_string()), what);
            } else {
                let what = format!("it names {tp}, which has no folder here");
                findings.note("checkpoint", Spot::of(&folder.join(name)), what);
            }
        }
    }
    check_topic_ids(findings, folder, entries, facts);
}

/// One topic has one id, and no other topic has it. Partitions that our own files know are compared with those.
fn check_topic_ids(findings: &mut Findings, folder: &Path, entries: &[DirEntry], facts: &FolderFacts) {
    let mut ids: BTreeMap<TopicName, TopicId> = BTreeMap::new();
    let mut topics: BTreeMap<TopicId, TopicName> = BTreeMap::new();
    for (entry, tp) in partitions(entries).filter(|(_, tp)| facts.topic_id(tp).is_none()) {
        let path = path_of(folder, entry).join(METADATA_FILE);
        // The file is counted, and its damage told, with its partition.
        let bytes = files::read(&mut Findings::default(), &path);
        let Some(id) = bytes.and_then(|bytes| decode_partition_metadata(&bytes).ok()) else { continue };
        let known = *ids.entry(tp.topic.clone()).or_insert(id);
        let owner = topics.entry(id).or_insert_with(|| tp.topic.clone());
        if known != id {
            let what = format!("topic id {id}; another partition of {} has {known}", tp.topic);
            findings.damage("metadata", Spot::of(&path), what);
        } else if *owner != tp.topic {
            findings.damage("metadata", Spot::of(&path), format!("topic id {id}, which is that of {owner}"));
        }
    }
}

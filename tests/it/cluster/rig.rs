//! Where a script can die or fail, what the disk may hold then, and what the next session must find.
//!
//! A run is thinned out to some seconds; `LOGSTEAD_CRASH_EFFORT=41` tries every image of every crash and every fault.

#![allow(clippy::print_stderr, reason = "the watchdog says why it ends the run")]

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use logstead::producer::Record;
use logstead::storage::{CrashModel, Fault, MemStorage, OperationKind, StopPoint, Storage};
use logstead::time::ManualClock;

use super::model::{Keep, Ledger};
use super::session::{Ended, OnError, Session, Step, look, open};
use crate::support::FOLDER;

const IMAGES: [CrashModel; 6] = [
    CrashModel::KeepAll,
    CrashModel::DropAll,
    CrashModel::Prefix,
    CrashModel::Subset,
    CrashModel::Subset,
    CrashModel::Subset,
];

/// Picks every n-th.
pub(super) struct Stride {
    stride: u64,
    seen: u64,
}

impl Stride {
    /// One of so many; fewer where whoever runs the tests wants more of them.
    pub(super) fn one_of(stride: u64) -> Stride {
        let times = std::env::var("LOGSTEAD_CRASH_EFFORT").ok().and_then(|times| times.parse().ok()).unwrap_or(1u64);
        Stride { stride: (stride / times.max(1)).max(1), seen: 0 }
    }

    pub(super) fn takes(&mut self) -> bool {
        self.seen += 1;
        self.seen.is_multiple_of(self.stride)
    }
}

/// Ends the test binary if a test hangs: nothing else would.
pub(super) struct Watchdog {
    done: Option<mpsc::Sender<()>>,
}

impl Watchdog {
    pub(super) fn start(limit: Duration) -> Watchdog {
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            if is_done.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("a test of the cluster hangs");
                std::process::abort();
            }
        });
        Watchdog { done: Some(done) }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.done.take());
    }
}

/// What was tried.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    calls: u64,
    images: u64,
    second_crashes: u64,
    faults: u64,
    refused: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { calls, images, second_crashes, faults, refused } = self;
        write!(
            f,
            "{calls} calls, {images} images, {second_crashes} crashes of recovery, {faults} faults, {refused} errors"
        )
    }
}

fn keep(model: &CrashModel) -> Keep {
    if *model == CrashModel::KeepAll { Keep::Everything } else { Keep::Synced }
}

fn seed(point: StopPoint, number: u64) -> u64 {
    match point {
        StopPoint::Before(index) => index * 1_000 + number,
        StopPoint::After(index) => index * 1_000 + 500 + number,
    }
}

/// The disk and the debts after a process ran the script and died at `point`; without one, after the whole script.
fn run(script: &[Step], point: Option<StopPoint>) -> Result<(MemStorage, Session), String> {
    let storage = MemStorage::new();
    if let Some(point) = point {
        storage.stop_at(point);
    }
    let mut session = Session::new(storage.clone(), OnError::Stop);
    match session.run(script) {
        Ok(()) | Err(Ended::Dead) => Ok((storage, session)),
        Err(Ended::Broken(what)) => Err(what),
    }
}

/// The next session: finds what it must, goes on writing, stops cleanly, and the one after it has nothing to repair.
pub(super) fn recover(image: &MemStorage, clock: &Arc<ManualClock>, owed: &Ledger, kept: Keep) -> Result<(), String> {
    let cluster = open(image, clock).map_err(|error| format!("it does not open: {error}"))?;
    let found = look(&cluster)?;
    owed.check(&found, kept)?;
    if let Some(damage) = cluster.report().damage.first() {
        return Err(format!("damage: {damage:?}"));
    }
    let producer = cluster.producer().seed(1).build().unwrap();
    let mut expected = found.clone();
    for (name, found) in &mut expected {
        for (partition, values) in (0..).zip(&mut found.partitions) {
            let record = Record::to(name).partition(partition).value("after the crash");
            let stored = producer.send(record).and_then(|delivery| delivery.wait());
            let stored = stored.map_err(|error| format!("{name}-{partition} takes no writes: {error}"))?;
            if stored.offset.unwrap().get() != values.len() as i64 {
                return Err(format!("{name}-{partition}: {stored:?} after {} records", values.len()));
            }
            values.push("after the crash".to_owned());
        }
    }
    cluster.close().map_err(|error| format!("it does not close: {error}"))?;
    let cluster = open(image, clock).map_err(|error| format!("it does not open again: {error}"))?;
    if !cluster.report().was_clean || !cluster.report().cut_tails.is_empty() || !cluster.report().set_aside.is_empty() {
        return Err(format!("the second open is not clean: {:?}", cluster.report()));
    }
    if look(&cluster)? != expected {
        return Err("the second open finds something else".to_owned());
    }
    let entries = image.list(Path::new(FOLDER)).unwrap();
    match entries.iter().find(|entry| entry.name.ends_with("-delete") || entry.name.ends_with("-stray")) {
        Some(left) => Err(format!("{} is left", left.name)),
        None => Ok(()),
    }
}

/// Dies at every call of the script, recovers from every kind of image, and dies again during some of these recoveries.
pub(super) fn crash_everywhere(script: &[Step]) -> Result<Counts, String> {
    let (storage, session) = run(script, None).map_err(|what| format!("undisturbed: {what}"))?;
    let mut counts = Counts { calls: storage.operation_count(), ..Counts::default() };
    recover(&storage.crash_image(&CrashModel::DropAll, 0), session.clock(), &session.ledger, Keep::Synced)
        .map_err(|what| format!("after the last call: {what}"))?;
    let (mut images, mut again) = (Stride::one_of(41), Stride::one_of(29));
    for index in 0..counts.calls {
        for point in [StopPoint::Before(index), StopPoint::After(index)] {
            let chosen: Vec<_> = (0u64..).zip(&IMAGES).filter(|_| images.takes()).collect();
            if chosen.is_empty() {
                continue;
            }
            let place = |model: &CrashModel, number: u64, storage: &MemStorage| {
                let operation = storage.operations().get(usize::try_from(index).unwrap()).cloned();
                format!("{point:?} {operation:?}, {model:?} {number}")
            };
            let (storage, session) = run(script, Some(point)).map_err(|what| format!("{point:?}: {what}"))?;
            for (number, model) in chosen {
                let image = storage.crash_image(model, seed(point, number));
                let place = || place(model, number, &storage);
                if again.takes() {
                    counts.second_crashes += crash_again(&image, &session, keep(model), seed(point, number))
                        .map_err(|what| format!("{}: then {what}", place()))?;
                }
                counts.images += 1;
                recover(&image, session.clock(), &session.ledger, keep(model))
                    .map_err(|what| format!("{}: {what}", place()))?;
            }
        }
    }
    Ok(counts)
}

/// Recovery dies as well, at some of its calls, and is recovered from.
fn crash_again(first: &MemStorage, session: &Session, kept: Keep, seed: u64) -> Result<u64, String> {
    let rehearsal = first.crash_image(&CrashModel::KeepAll, 0);
    drop(open(&rehearsal, session.clock()));
    let calls = rehearsal.operation_count();
    let mut crashes = 0;
    let mut stride = Stride::one_of(37);
    for index in 0..calls {
        for point in [StopPoint::Before(index), StopPoint::After(index)] {
            if !stride.takes() {
                continue;
            }
            let dying = first.crash_image(&CrashModel::KeepAll, 0);
            dying.stop_at(point);
            if let Ok(cluster) = open(&dying, session.clock()) {
                drop(cluster);
            }
            for (number, model) in [CrashModel::KeepAll, CrashModel::DropAll, CrashModel::Subset].iter().enumerate() {
                let kept = if *model == CrashModel::KeepAll { kept } else { Keep::Synced };
                let image = dying.crash_image(model, seed + index * 3 + number as u64);
                crashes += 1;
                recover(&image, session.clock(), &session.ledger, kept).map_err(|what| {
                    let operation = rehearsal.operations().get(usize::try_from(index).unwrap()).cloned();
                    format!("{point:?} {operation:?} {model:?}: {what}")
                })?;
            }
        }
    }
    Ok(crashes)
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    Once,
    OnceTakingEffect,
    NoSpaceOnce,
    Ever,
    NoSpaceEver,
}

impl Failing {
    const ALL: [Failing; 5] =
        [Failing::Once, Failing::OnceTakingEffect, Failing::NoSpaceOnce, Failing::Ever, Failing::NoSpaceEver];

    fn fault(self, index: u64) -> Fault {
        let no_space = |fault: Fault| fault.with_error_kind(std::io::ErrorKind::StorageFull);
        match self {
            Failing::Once => Fault::nth(index),
            Failing::OnceTakingEffect => Fault::nth(index).taking_effect(),
            Failing::NoSpaceOnce => no_space(Fault::nth(index)),
            Failing::Ever => Fault::nth(index).sticky(),
            Failing::NoSpaceEver => no_space(Fault::nth(index).sticky()),
        }
    }
}

/// Lets every call of the script fail, in each way, while the user goes on as well as possible.
pub(super) fn fail_everywhere(script: &[Step]) -> Result<Counts, String> {
    let (storage, _) = run(script, None).map_err(|what| format!("undisturbed: {what}"))?;
    let operations = storage.operations();
    let mut counts = Counts { calls: operations.len() as u64, ..Counts::default() };
    let mut stride = Stride::one_of(31);
    for operation in &operations {
        for failing in Failing::ALL {
            if !stride.takes() {
                continue;
            }
            counts.faults += 1;
            let refused = fail_at(script, operation.index, operation.kind, failing);
            counts.refused += refused.map_err(|what| format!("{failing:?} at {operation:?}: {what}"))?;
        }
    }
    Ok(counts)
}

fn fail_at(script: &[Step], index: u64, kind: OperationKind, failing: Failing) -> Result<u64, String> {
    let storage = MemStorage::new();
    storage.fail(failing.fault(index));
    let mut session = Session::new(storage.clone(), OnError::GoOn);
    let broken = |ended: Ended| match ended {
        Ended::Broken(what) => what,
        Ended::Dead => "the storage was not to be stopped".to_owned(),
    };
    session.run(script).map_err(broken)?;
    storage.clear_faults();
    for step in [Step::Tick(50), Step::Wait, Step::Read] {
        session.step(step).map_err(|ended| format!("after the failure: {}", broken(ended)))?;
    }
    if matches!(failing, Failing::NoSpaceOnce | Failing::NoSpaceEver) && leaves_no_doubt(kind) {
        resume(&mut session)?;
    }
    session.step(Step::Close).map_err(broken)?;
    let image = storage.crash_image(&CrashModel::KeepAll, index);
    let cluster = open(&image, session.clock()).map_err(|error| format!("it does not open: {error}"))?;
    if session.closed_cleanly && !cluster.report().was_clean {
        return Err("a clean stop left no clean folder".to_owned());
    }
    drop(cluster);
    let doubtful_names = kind == OperationKind::SyncDir && failing != Failing::OnceTakingEffect;
    for model in [CrashModel::KeepAll, CrashModel::DropAll, CrashModel::Subset] {
        if doubtful_names && model != CrashModel::KeepAll {
            // Names whose sync failed are in doubt for ever.
            continue;
        }
        let image = storage.crash_image(&model, index);
        recover(&image, session.clock(), &session.ledger, keep(&model))
            .map_err(|what| format!("at last {model:?}: {what}"))?;
    }
    Ok(session.refused as u64)
}

/// Whether the call, failing for want of space, has certainly had no effect.
fn leaves_no_doubt(kind: OperationKind) -> bool {
    matches!(kind, OperationKind::Create | OperationKind::Write | OperationKind::Preallocate | OperationKind::CreateDir)
}

/// There is space again: every partition takes writes, without anybody doing anything for it.
fn resume(session: &mut Session) -> Result<(), String> {
    let Some(cluster) = session.cluster() else { return Ok(()) };
    let tps: Vec<_> = cluster.topics().iter().flat_map(|topic| topic.partitions().collect::<Vec<_>>()).collect();
    let producer = cluster.producer().seed(1).build().unwrap();
    for tp in tps {
        let record = Record::to(tp.topic.as_str()).partition(tp.partition.get()).value("resumed");
        let stored = producer.send(record).and_then(|delivery| delivery.wait());
        stored.map_err(|error| format!("{tp} does not resume: {error}"))?;
    }
    Ok(())
}

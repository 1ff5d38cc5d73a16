//! Enumerates where a script can die, builds what the disk may then hold, and recovers it; then the same of recovery.

use std::fmt;
use std::ops::AddAssign;

use logstead::storage::{CrashModel, Fault, MemStorage, Operation, OperationKind, StopPoint};

use crate::check::{open_all, recover};
use crate::lying::Lie;
use crate::model::{Expected, Keep};
use crate::session::{OnError, Script, Session};

/// How thoroughly: 1 tries everything, n every n-th of what there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// Images of a script's crashes.
    pub(crate) image_stride: u64,
    /// Crashes whose recovery is crashed as well.
    pub(crate) rehearsal_stride: u64,
    /// Crashes of those recoveries.
    pub(crate) recovery_stride: u64,
    /// Failing calls.
    pub(crate) fault_stride: u64,
}

/// Picks every n-th.
struct Stride {
    stride: u64,
    seen: u64,
}

impl Stride {
    fn new(stride: u64) -> Stride {
        Stride { stride, seen: 0 }
    }

    fn takes(&mut self) -> bool {
        self.seen += 1;
        self.seen.is_multiple_of(self.stride)
    }
}

/// What was tried.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) calls: u64,
    pub(crate) crash_points: u64,
    pub(crate) images: u64,
    pub(crate) recovery_crash_points: u64,
    pub(crate) recovery_images: u64,
    pub(crate) faults: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.calls += other.calls;
        self.crash_points += other.crash_points;
        self.images += other.images;
        self.recovery_crash_points += other.recovery_crash_points;
        self.recovery_images += other.recovery_images;
        self.faults += other.faults;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls, {} crash points, {} images; {} crash points in recovery, {} images; {} faults",
            self.calls, self.crash_points, self.images, self.recovery_crash_points, self.recovery_images, self.faults
        )
    }
}

const IMAGES: [CrashModel; 8] = [
    CrashModel::KeepAll,
    CrashModel::DropAll,
    CrashModel::Prefix,
    CrashModel::Prefix,
    CrashModel::Subset,
    CrashModel::Subset,
    CrashModel::Subset,
    CrashModel::Subset,
];

const RECOVERY_IMAGES: [CrashModel; 4] =
    [CrashModel::KeepAll, CrashModel::DropAll, CrashModel::Subset, CrashModel::Subset];

fn keep(model: &CrashModel) -> Keep {
    if *model == CrashModel::KeepAll { Keep::Everything } else { Keep::Synced }
}

/// The disk and the debts after a process ran the script and died at `point`; without one, after the whole script.
fn run(script: &Script, lie: Lie, point: Option<StopPoint>) -> Result<(MemStorage, Vec<Expected>), String> {
    let disk = MemStorage::new();
    if let Some(point) = point {
        disk.stop_at(point);
    }
    let mut session = Session::new(script, disk.clone(), lie, OnError::Stop);
    session.run()?;
    let expected = std::mem::take(&mut session.expected);
    Ok((disk, expected))
}

/// Dies at every call of the script and recovers from every kind of image.
pub(crate) fn crash_everywhere(script: &Script, lie: Lie, effort: Effort) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let (disk, expected) = run(script, lie, None).map_err(|what| format!("{}: undisturbed: {what}", script.name))?;
    counts.calls = disk.operation_count();
    recover(&disk.crash_image(&CrashModel::DropAll, 0), script, &expected, Keep::Synced, 2)
        .map_err(|what| format!("{}: after the last call: {what}", script.name))?;
    let mut stride = Stride::new(effort.image_stride);
    for index in 0..counts.calls {
        for point in [StopPoint::Before(index), StopPoint::After(index)] {
            let images: Vec<_> = (0u64..).zip(&IMAGES).filter(|_| stride.takes()).collect();
            if images.is_empty() {
                continue;
            }
            let (disk, expected) =
                run(script, lie, Some(point)).map_err(|what| format!("{}: {point:?}: {what}", script.name))?;
            counts.crash_points += 1;
            for (number, model) in images {
                let seed = seed(point, number);
                let image = disk.crash_image(model, seed);
                counts.images += 1;
                recover(&image, script, &expected, keep(model), counts.images).map_err(|what| {
                    let operation = &disk.operations()[usize::try_from(index).unwrap()];
                    format!("{}: {point:?} {operation:?}, {model:?} {seed}: {what}", script.name)
                })?;
            }
        }
    }
    Ok(counts)
}

/// Dies during the script, recovers, dies during recovery, recovers again.
pub(crate) fn crash_recovery(script: &Script, effort: Effort) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let calls = run(script, Lie::None, None)?.0.operation_count();
    let mut strides = (Stride::new(effort.rehearsal_stride), Stride::new(effort.recovery_stride));
    for index in 0..calls {
        let point = StopPoint::After(index);
        for model in [CrashModel::Subset, CrashModel::KeepAll] {
            if !strides.0.takes() {
                continue;
            }
            let (disk, expected) = run(script, Lie::None, Some(point))?;
            let first = disk.crash_image(&model, seed(point, 9));
            let rehearsal = first.crash_image(&CrashModel::KeepAll, 0);
            open_all(&rehearsal, script, &expected, keep(&model))
                .map_err(|what| format!("{}: {point:?} {model:?}: {what}", script.name))?;
            for inner in 0..rehearsal.operation_count() {
                for inner_point in [StopPoint::Before(inner), StopPoint::After(inner)] {
                    if !strides.1.takes() {
                        continue;
                    }
                    counts.recovery_crash_points += 1;
                    counts.recovery_images += crash_once_more(script, &first, &expected, keep(&model), inner_point)
                        .map_err(|what| {
                            let operation = &rehearsal.operations()[usize::try_from(inner).unwrap()];
                            let place = format!("{point:?} {model:?}, recovery {inner_point:?} {operation:?}");
                            format!("{}: {place}: {what}", script.name)
                        })?;
                }
            }
        }
    }
    Ok(counts)
}

/// Recovers a copy of `first` up to `point`, and then what that leaves, in several ways.
fn crash_once_more(
    script: &Script,
    first: &MemStorage,
    expected: &[Expected],
    kept: Keep,
    point: StopPoint,
) -> Result<u64, String> {
    let mut images = 0;
    let dying = first.crash_image(&CrashModel::KeepAll, 0);
    dying.stop_at(point);
    // It fails where it was stopped; what it says of logs that were recovered before is not owed yet.
    let _ = open_all(&dying, script, expected, kept);
    for (number, model) in (0u64..).zip(&RECOVERY_IMAGES) {
        let image = dying.crash_image(model, seed(point, number));
        images += 1;
        let kept = if kept == Keep::Everything && *model == CrashModel::KeepAll { kept } else { Keep::Synced };
        recover(&image, script, expected, kept, seed(point, number) / 7)
            .map_err(|what| format!("then {model:?} {number}: {what}"))?;
    }
    Ok(images)
}

/// Lets every call of the script fail once, in each way, while the owner goes on as well as possible; then kills the
/// process, and once more cuts the power.
pub(crate) fn fail_everywhere(script: &Script, effort: Effort) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let operations = run(script, Lie::None, None)?.0.operations();
    let mut stride = Stride::new(effort.fault_stride);
    let mut turn = 0;
    for Operation { index, kind, .. } in operations {
        for (name, fault) in [
            ("EIO", Fault::nth(index)),
            ("EIO taking effect", Fault::nth(index).taking_effect()),
            ("ENOSPC", Fault::nth(index).with_error_kind(std::io::ErrorKind::StorageFull)),
        ] {
            if !stride.takes() {
                continue;
            }
            let names_in_doubt = kind == OperationKind::SyncDir && name != "EIO taking effect";
            let disk = MemStorage::new();
            disk.fail(fault);
            let mut session = Session::new(script, disk.clone(), Lie::None, OnError::GoOn);
            session.names_in_doubt = names_in_doubt;
            let place = |what: String| {
                let operations = disk.operations();
                let operation = operations.get(usize::try_from(index).unwrap());
                format!("{}: {name} at {operation:?}: {what}", script.name)
            };
            session.run().map_err(place)?;
            let expected = std::mem::take(&mut session.expected);
            counts.faults += 1;
            let operations = disk.operations();
            if operations[usize::try_from(index).unwrap()].kind == OperationKind::SyncDir && name != "EIO taking effect"
            {
                // Names whose sync failed are in doubt for ever, and only giving the files new names would help.
                let image = disk.crash_image(&CrashModel::KeepAll, index);
                open_all(&image, script, &expected, Keep::Everything).map_err(place)?;
                continue;
            }
            for model in [CrashModel::KeepAll, CrashModel::DropAll, CrashModel::Subset] {
                let image = disk.crash_image(&model, index);
                turn += 1;
                recover(&image, script, &expected, keep(&model), turn / 2)
                    .map_err(|what| place(format!("at last {model:?}: {what}")))?;
            }
        }
    }
    Ok(counts)
}

fn seed(point: StopPoint, number: u64) -> u64 {
    match point {
        StopPoint::Before(index) => index * 1_000 + number,
        StopPoint::After(index) => index * 1_000 + 500 + number,
    }
}

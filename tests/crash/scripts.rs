//! The workloads. Small segments, so that little is written and much happens.

use std::io::ErrorKind;

use logstead::config::Durability;
use logstead::storage::OperationKind;

use crate::session::Script;
use crate::session::Step::{self, *};

fn script(name: &'static str, segment_bytes: u64, steps: Vec<Step>) -> Script {
    Script { name, logs: 1, segment_bytes, durability: Durability::Synced, steps }
}

fn opening() -> Vec<Step> {
    vec![OpenDirectory, Open(0), Lead(0, 0)]
}

fn with_opening(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    opening().into_iter().chain(steps).collect()
}

/// (a) The folder is created, the log grows over several segments, all of it flushed and committed now and then.
pub(crate) fn growth() -> Script {
    let round = |flush: Step| [Append(0, 1), Append(0, 3), Append(0, 2), flush, Advance(0), Append(0, 1)];
    let rounds = [Flush(0), FlushAcrossAppend(0), Flush(0), Checkpoint, Flush(0), FlushAcrossAppend(0)];
    script("growth", 900, with_opening(rounds.into_iter().flat_map(round)))
}

/// (b) Transactions that overlap, with aborts across a roll, under several epochs, with checkpoints.
pub(crate) fn transactions() -> Script {
    let mut steps = opening();
    steps.extend([Transact(0, 1), Append(0, 1), Transact(0, 2), Flush(0), Abort(0, 1), Advance(0), Transact(0, 1)]);
    steps.extend([Lead(0, 2), Produce(0, 9), Transact(0, 2), Checkpoint, Abort(0, 2), Transact(0, 3), Flush(0)]);
    steps.extend([Advance(0), Commit(0, 1), Produce(0, 9), Flush(0), Transact(0, 1), Abort(0, 3), Abort(0, 1)]);
    steps.extend([Checkpoint, Advance(0), Lead(0, 5), Transact(0, 4), Produce(0, 9), Flush(0), Abort(0, 4)]);
    script("transactions", 600, steps)
}

/// (c) The log is cut in its active segment and in sealed ones; other records take the place of those cut.
pub(crate) fn truncation() -> Script {
    let mut steps = opening();
    steps.extend([Produce(0, 1), Append(0, 2), Flush(0), Advance(0), Produce(0, 1), Transact(0, 2), Append(0, 1)]);
    steps.extend([TruncateBy(0, 2), Follow(0, 3, 2), Flush(0), Advance(0), Follow(0, 4, 4), Checkpoint, Advance(0)]);
    steps.extend([Lead(0, 5), Produce(0, 1), Abort(0, 2), Produce(0, 7), Checkpoint, Append(0, 1), TruncateBy(0, 6)]);
    steps.extend([Lead(0, 6), Transact(0, 7), Append(0, 1), Flush(0), Append(0, 3), TruncateBy(0, 1), Lead(0, 7)]);
    steps.extend([Abort(0, 7), Produce(0, 1), Append(0, 2), TruncateBy(0, 9), Lead(0, 8), Produce(0, 8), Flush(0)]);
    steps.extend([Append(0, 3), Append(0, 3), Append(0, 3), Append(0, 3), Flush(0), Append(0, 2), Flush(0)]);
    script("truncation", 700, steps)
}

/// (d) Old records are deleted, by whole segments and within one, and at last the log starts anew.
pub(crate) fn deletion() -> Script {
    let grow = || [Append(0, 2), Produce(0, 1), Append(0, 2), Flush(0), Advance(0)];
    let mut steps = opening();
    steps.extend(grow().into_iter().chain(grow()));
    steps.extend([DeleteBefore(0, 5), Append(0, 1), Checkpoint, Transact(0, 2), Flush(0), Advance(0)]);
    steps.extend([
        RemoveDue,
        DeleteBefore(0, 11),
        Append(0, 1),
        Flush(0),
        Append(0, 1),
        Flush(0),
        Abort(0, 2),
        Flush(0),
    ]);
    steps.extend([Advance(0), DeleteBefore(0, 16), Checkpoint, RemoveDue, StartAt(0, 40), Lead(0, 3)]);
    steps.extend(grow().into_iter().chain([DeleteBefore(0, 43), Flush(0)]));
    script("deletion", 600, steps)
}

/// (i) The log is kept within sizes, down to nothing, with a transaction that is open meanwhile.
pub(crate) fn retention() -> Script {
    let grow = || [Append(0, 2), Produce(0, 1), Append(0, 2), Flush(0), Advance(0)];
    let mut steps = opening();
    steps.extend(grow().into_iter().chain(grow()));
    steps.extend([Retain(0, 900), Append(0, 1), Transact(0, 2), Append(0, 2), Flush(0), Advance(0), RemoveDue]);
    steps.extend(grow().into_iter().chain([Checkpoint, Retain(0, 500), Abort(0, 2), Flush(0), Advance(0)]));
    steps.extend([Retain(0, 0), Append(0, 1), Flush(0), RemoveDue, Advance(0), Retain(0, 0), Produce(0, 1), Flush(0)]);
    steps.extend([Advance(0), Append(0, 3), Append(0, 2), Retain(0, 0), Close, OpenDirectory, Open(0), Lead(0, 1)]);
    steps.extend(grow().into_iter().chain([Retain(0, 300), Append(0, 1), Flush(0)]));
    script("retention", 600, steps)
}

/// (e) The folder is closed and opened again, with and without records in between.
pub(crate) fn reopening() -> Script {
    let mut steps = opening();
    steps.extend([Append(0, 2), Produce(0, 1), Flush(0), Advance(0), Append(0, 1), Close, OpenDirectory, Open(0)]);
    steps.extend([Close, OpenDirectory, Open(0), Lead(0, 1), Produce(0, 1), Transact(0, 2), Append(0, 2), Flush(0)]);
    steps.extend([Advance(0), Append(0, 1), Append(0, 2), Close, OpenDirectory, Open(0), Lead(0, 2), Abort(0, 2)]);
    steps.extend([Produce(0, 1), Flush(0), Append(0, 1), Close, OpenDirectory, Close, OpenDirectory, Open(0)]);
    steps.extend([Lead(0, 3), Append(0, 1), Flush(0)]);
    script("reopening", 800, steps)
}

/// (f) Two logs in one folder, flushed through one committer.
pub(crate) fn two_logs() -> Script {
    let round = |first: usize| {
        let second = 1 - first;
        [Append(first, 2), Append(second, 1), GroupCommit(vec![first, second]), Advance(first), Append(second, 2)]
    };
    let mut steps = vec![OpenDirectory, Open(0), Lead(0, 0), Append(0, 1), Open(1), Lead(1, 0)];
    steps.extend([0, 1, 0].into_iter().flat_map(round));
    steps.push(Checkpoint);
    steps.extend([1, 0].into_iter().flat_map(round));
    steps.push(DeleteBefore(0, 2));
    steps.extend(round(1));
    steps.push(Close);
    Script { logs: 2, ..script("two logs", 700, steps) }
}

/// (g) A sync fails: nothing is acknowledged from there on until the log is opened again.
pub(crate) fn failed_sync() -> Script {
    let refused = |step| Refused(Box::new(step));
    let mut steps = with_opening([Append(0, 2), Flush(0), Advance(0), Append(0, 2), Append(0, 3), Append(0, 3)]);
    steps.extend([Fail(OperationKind::Sync, ".log", ErrorKind::Other), refused(Flush(0)), refused(Append(0, 1))]);
    steps.extend([refused(Flush(0)), refused(Checkpoint), Close, OpenDirectory, Open(0), Lead(0, 1), Append(0, 1)]);
    steps.extend([Flush(0), Advance(0), Append(0, 1)]);
    steps.extend([Fail(OperationKind::Sync, ".log", ErrorKind::StorageFull), refused(Flush(0)), refused(Flush(0))]);
    steps.extend([Close, OpenDirectory, Open(0), Lead(0, 2), Append(0, 1), Flush(0)]);
    script("failed sync", 800, steps)
}

/// (h) There is no space for an append: it is undone, and the log goes on.
pub(crate) fn no_space(durability: Durability) -> Script {
    let full = |kind, suffix| Fail(kind, suffix, ErrorKind::StorageFull);
    let refused = |step| Refused(Box::new(step));
    let mut steps = with_opening([Append(0, 2), Flush(0), Advance(0), Append(0, 1)]);
    steps.extend([full(OperationKind::Write, ".log"), refused(Append(0, 1)), Append(0, 2), Advance(0), Flush(0)]);
    steps.extend([full(OperationKind::Create, ".log"), refused(Append(0, 2)), Append(0, 1), Append(0, 2), Flush(0)]);
    steps.extend([Append(0, 4), Advance(0), full(OperationKind::Write, ".tmp"), refused(Checkpoint), Append(0, 1)]);
    steps.extend([Flush(0), Advance(0), Append(0, 2), Advance(0), Append(0, 1), Flush(0)]);
    let name = if durability == Durability::Os { "no space, page cache" } else { "no space" };
    Script { durability, ..script(name, 900, steps) }
}

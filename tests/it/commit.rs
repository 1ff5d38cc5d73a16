//! Group commit on real logs: several threads, several logs, one committer.

use std::sync::Arc;

use logstead::config::LogConfig;
use logstead::log::LogDirectory;
use logstead::sync::{Committer, CommitterConfig};
use logstead::types::{LeaderEpoch, Offset, TopicPartition};

use crate::support::{all_bytes, batch_of, now};

#[test]
fn every_thread_finds_its_record_durable_on_whatever_log_it_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let directory = LogDirectory::options().seed(1).open(folder.path()).unwrap();
    let logs: Vec<_> = (0..3)
        .map(|partition| {
            let tp = TopicPartition::new("orders", partition).unwrap();
            let log = directory.open_log(&tp, None, LogConfig::new().segment_bytes(2_000), now()).unwrap();
            log.begin_epoch(LeaderEpoch::ZERO).unwrap();
            log
        })
        .collect();
    let committer = Committer::new(CommitterConfig::default());
    std::thread::scope(|scope| {
        for thread in 0..6 {
            let (log, committer) = (Arc::clone(&logs[thread % 3]), &committer);
            scope.spawn(move || {
                for _ in 0..20 {
                    let info = log.append_as_leader(&mut batch_of(1, &[thread as u8; 30]), now()).unwrap();
                    committer.sync_to(&*log, info.last_offset.next()).unwrap();
                    assert!(log.synced_offset() > info.last_offset);
                    log.advance_high_watermark(info.last_offset.next()).unwrap();
                }
            });
        }
    });
    let written: Vec<Vec<u8>> = logs.iter().map(|log| all_bytes(log)).collect();
    assert!(logs.iter().all(|log| log.high_watermark() == Offset::from(40)));
    drop((logs, directory));
    let directory = LogDirectory::open(folder.path()).unwrap();
    for (partition, written) in (0..3).zip(written) {
        let tp = TopicPartition::new("orders", partition).unwrap();
        let log = directory.open_log(&tp, None, LogConfig::new(), now()).unwrap();
        assert_eq!((all_bytes(&log), log.high_watermark()), (written, Offset::from(40)));
    }
}

#[test]
fn submitted_commits_are_resolved_by_whoever_drives() {
    let home = crate::support::Home::leading(LogConfig::new());
    let committer = Committer::new(CommitterConfig::default());
    home.append(2, b"value");
    let handle = committer.submit(&*home.log, Offset::from(2));
    assert!(handle.try_get().is_none());
    committer.drive(&*home.log).unwrap();
    assert_eq!(handle.wait().unwrap(), Offset::from(2));
}

#[test]
fn a_flush_that_a_truncation_overtook_counts_for_nothing() {
    let home = crate::support::Home::leading(LogConfig::new());
    home.append(1, b"stays");
    home.append(1, b"goes");
    let ticket = home.log.begin_flush().unwrap();
    let result = ticket.run();
    home.log.truncate_to(Offset::from(1), now()).unwrap();
    home.log.begin_epoch(LeaderEpoch::new(1).unwrap()).unwrap();
    home.append(1, b"comes");
    assert!(home.log.complete_flush(ticket, result).unwrap() < Offset::from(2));
    assert_eq!(home.log.flush().unwrap(), Offset::from(2));
}

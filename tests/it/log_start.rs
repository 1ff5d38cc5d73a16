//! Where a log starts once records were deleted, whatever happens to what was not durable.

use logstead::config::{Durability, LogConfig};
use logstead::storage::CrashModel;
use logstead::types::Offset;

use crate::support::{Home, now};

fn offset(raw: i64) -> Offset {
    Offset::new(raw).unwrap()
}

/// A power cut that takes everything that was not synced.
fn cut_power(home: Home, config: LogConfig, model: CrashModel) -> Home {
    let storage = home.storage.crash_image(&model, 1);
    drop(home);
    Home::on(storage, config)
}

#[test]
fn records_that_were_deleted_before_they_were_durable_do_not_come_back() {
    for (segment_bytes, before) in [(250, 3), (250, 4), (250, 5), (1 << 20, 5), (1 << 20, 3)] {
        for model in [CrashModel::DropAll, CrashModel::KeepAll] {
            let config = LogConfig::new().segment_bytes(segment_bytes).durability(Durability::Os);
            let home = Home::leading(config.clone());
            (0..5).for_each(|round: u8| home.append(1, &[round; 40]));
            home.log.advance_high_watermark(offset(5)).unwrap();
            home.log.delete_before(offset(before)).unwrap();
            let home = cut_power(home, config, model);
            let report = home.log.recovery_report();
            assert_eq!(report.damage, [], "{segment_bytes} {before} {model:?}");
            assert!(home.log.log_start_offset() >= offset(before), "{segment_bytes} {before} {model:?}");
            home.log.begin_epoch(crate::support::epoch(1)).unwrap();
            home.append(1, b"on");
            home.log.flush().unwrap();
        }
    }
}

#[test]
fn a_segment_that_holds_the_durable_point_may_go_after_a_truncation() {
    for model in [CrashModel::DropAll, CrashModel::KeepAll] {
        let config = LogConfig::new().segment_bytes(250);
        let home = Home::leading(config.clone());
        (0..2).for_each(|round: u8| home.append(1, &[round; 40]));
        home.log.flush().unwrap();
        (0..2).for_each(|round: u8| home.append(1, &[round; 40]));
        home.log.truncate_to(offset(3), now()).unwrap();
        home.log.advance_high_watermark(offset(2)).unwrap();
        home.log.delete_before(offset(2)).unwrap();
        assert_eq!(home.bases(), [2]);
        let home = cut_power(home, config, model);
        assert_eq!(home.log.recovery_report().damage, [], "{model:?}");
        assert_eq!(home.log.log_start_offset(), offset(2));
        home.log.begin_epoch(crate::support::epoch(1)).unwrap();
        home.append(1, b"on");
    }
}

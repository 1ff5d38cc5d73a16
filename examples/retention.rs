//! A topic that is kept small by size and young by age, watched while it rolls and expires. Time is a clock that the example
//! moves itself, so that a week passes at once.
//!
//! `cargo run --release --example retention`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::sync::Arc;
use std::time::Duration;

use logstead::cluster::{Driver, Partition, RecordsToDelete};
use logstead::time::{Clock, ManualClock};
use logstead::types::Offset;
use logstead::{Cluster, Error, Record, TopicConfig};

const HOUR: Duration = Duration::from_secs(3600);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let clock = Arc::new(ManualClock::new());
    let builder = Cluster::builder().clock(Arc::clone(&clock) as Arc<dyn Clock>).driver(Driver::Manual);
    let cluster = builder.open(folder.path())?;
    // At most about 256 KiB in segments of 64 KiB, and nothing that is older than a day.
    let config = TopicConfig::new().segment_bytes(64 << 10).retention_bytes(Some(256 << 10));
    cluster.create_topic("readings", config.retention_time(Some(24 * HOUR)))?;

    let producer = cluster.producer().build()?;
    for hour in 1..=4 {
        for _ in 0..100 {
            producer.send(Record::to("readings").value(&[b'x'; 1_000]).timestamp(clock.now().wall))?;
        }
        producer.flush()?;
        pass(&cluster, &clock, HOUR);
        show(&format!("after hour {hour}"), &only_partition(&cluster)?);
    }
    let bounded = only_partition(&cluster)?;
    assert!(
        bounded.size_in_bytes < (256 + 2 * 64) << 10,
        "no more than the limit, and what has not become a whole segment"
    );

    // By hand: everything below an offset, whole segment or not.
    let middle = Offset::from(300);
    let start = cluster.delete_records(&bounded.topic_partition, RecordsToDelete::Before(middle))?;
    println!("deleted by hand: the log starts at {start}");

    // A consumer that comes too late is told where the log starts now.
    let mut consumer = cluster.consumer().assign([bounded.topic_partition.clone()]).build()?;
    consumer.seek(&bounded.topic_partition, Offset::ZERO)?;
    match consumer.poll(Duration::ZERO) {
        Err(Error::OffsetOutOfRange { requested, start, .. }) => {
            println!("too late: {requested} is gone, {start} is not")
        }
        other => return Err(format!("record 0 should be gone: {other:?}").into()),
    }

    // The last segment goes too: it is rolled first, and the log goes on empty.
    pass(&cluster, &clock, 7 * 24 * HOUR);
    let expired = only_partition(&cluster)?;
    show("after a week", &expired);
    assert_eq!((expired.log_start_offset, cluster.poll(clock.now())), (expired.log_end_offset, None));
    println!("everything has expired, and nothing is armed any more");
    cluster.close()?;
    Ok(())
}

/// Lets time pass, stopping wherever the cluster has something to do.
fn pass(cluster: &Cluster, clock: &ManualClock, time: Duration) {
    let end = clock.now().mono.after(time);
    loop {
        let now = clock.now();
        match cluster.poll(now).filter(|next| *next <= end) {
            Some(next) => clock.advance(next.since(now.mono)),
            None => return clock.advance(end.since(now.mono)),
        }
    }
}

fn only_partition(cluster: &Cluster) -> Result<Partition, Box<dyn std::error::Error>> {
    Ok(cluster.describe_topic("readings")?.pop().ok_or("the topic has a partition")?)
}

fn show(when: &str, partition: &Partition) {
    println!(
        "{when}: offsets {} to {}, {} KiB in {} segments",
        partition.log_start_offset,
        partition.log_end_offset,
        partition.size_in_bytes >> 10,
        partition.segment_count
    );
}

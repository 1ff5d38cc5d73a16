//! A producer with room for 64 KiB against a slow disk, and the three ways to meet the limit side by side: wait for room,
//! be refused at once and get the record back, or await room.
//!
//! `cargo run --release --example backpressure`
#![allow(clippy::print_stdout, reason = "an example prints")]
#![allow(clippy::disallowed_methods, reason = "an application reads the clock and names its threads as it likes")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use logstead::{Cluster, Delivery, Error, Producer, Record, TopicConfig};

const RECORDS: usize = 2_000;
const VALUE: [u8; 1_000] = [b'x'; 1_000];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let cluster = Cluster::open(folder.path())?;
    cluster.create_topic("readings", TopicConfig::new())?;
    println!("{RECORDS} records of {} bytes through a buffer of 64 KiB, acknowledged when on disk", VALUE.len());

    // Acknowledged bytes make room, so the disk's speed is the limit, however fast the records come.
    let producer = build(&cluster)?;
    let began = Instant::now();
    for _ in 0..RECORDS {
        producer.send(reading())?; // blocks while the buffer is full
    }
    producer.flush()?;
    println!("send        waits for room:    {RECORDS} stored in {:?}", began.elapsed());

    let producer = build(&cluster)?;
    let (mut stored, mut dropped) = (0, 0);
    for _ in 0..RECORDS {
        match producer.try_send(reading()) {
            Ok(_) => stored += 1,
            Err(refused) => {
                // The record comes back, to be kept, thinned out or thrown away; here the newest reading is.
                let (_record, error) = refused.into_parts();
                assert!(matches!(error, Error::BufferFull { .. }));
                dropped += 1;
            }
        }
    }
    producer.flush()?;
    println!("try_send    never waits:       {stored} stored, {dropped} given back");

    let producer = build(&cluster)?;
    let began = Instant::now();
    let last = block_on(send_all(&producer))?;
    producer.flush()?;
    println!("send_async  awaits room:       {RECORDS} stored in {:?}, the last one at {last}", began.elapsed());

    let expected = 2 * RECORDS + stored;
    let mut consumer = cluster.consumer().topic("readings").build()?;
    let mut count = 0;
    while count < expected {
        count += consumer.poll(Duration::from_secs(10))?.len();
    }
    println!("all {count} stored records were read back");
    cluster.close()?;
    Ok(())
}

fn build(cluster: &Cluster) -> logstead::Result<Producer> {
    cluster.producer().buffer_bytes(64 << 10).batch_bytes(8 << 10).build()
}

fn reading() -> Record<'static> {
    Record::to("readings").value(&VALUE)
}

async fn send_all(producer: &Producer) -> logstead::Result<logstead::RecordMetadata> {
    let mut last: Option<Delivery> = None;
    for _ in 0..RECORDS {
        last = Some(producer.send_async(reading()).await?);
    }
    match last {
        Some(delivery) => delivery.await,
        None => Err(Error::InvalidState { operation: "wait for the last record", state: "there was none" }),
    }
}

/// The smallest executor there is: the calling thread sleeps until it is woken.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

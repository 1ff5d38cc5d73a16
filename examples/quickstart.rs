//! The first fifteen minutes: a topic, a producer and a consumer in one process. Run it again: the records stay.
//!
//! `cargo run --release --example quickstart -- [DATA_FOLDER]`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::time::Duration;

use logstead::{Cluster, Record, TopicConfig};

fn main() -> logstead::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or("quickstart-data".to_owned());
    let cluster = Cluster::open(folder)?; // one owner at a time; what a crash left is repaired
    if cluster.topics().is_empty() {
        cluster.create_topic("orders", TopicConfig::new().partitions(3))?;
    }

    let producer = cluster.producer().build()?; // acks=all: on disk when acknowledged
    let stored = producer.send(Record::to("orders").key("customer-7").value("order 1"))?.wait()?;
    println!("order 1 is {stored}");
    let orders = producer.topic("orders")?; // the fast path: nothing is looked up any more
    for number in 2..=100_000 {
        orders.push("customer-7", format!("order {number}"))?;
    }
    producer.flush()?; // all of them are on disk now

    let mut consumer = cluster.consumer().topic("orders").build()?; // from the beginning
    let mut count = 0;
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        count += records.iter().filter(|record| record.key() == Some(b"customer-7")).count();
        if records.is_empty() {
            break;
        }
    }
    println!("read {count} orders back");
    cluster.close()
}

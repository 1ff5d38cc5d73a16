//! The first fifteen minutes: a topic, a producer and a consumer in one process. Run it again: the records stay.
//!
//! `cargo run --release --example quickstart` writes into `./quickstart-data`.
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::time::Duration;

use logstead::{Cluster, Record, TopicConfig};

fn main() -> logstead::Result<()> {
    let cluster = Cluster::open("quickstart-data")?; // one owner at a time; what a crash left is repaired
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
    while consumer.total_lag()? > 0 {
        count += consumer.poll(Duration::from_secs(1))?.iter().filter(|record| record.value().is_some()).count();
    }
    println!("read {count} orders back");
    cluster.close()
}

//! One process writes, a second one follows: it opens the same folder read-only and sees each committed record once, in
//! order, while the writer goes on. This program starts itself a second time as the follower.
//!
//! `cargo run --release --example two_processes`
#![allow(clippy::print_stdout, reason = "an example prints")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use logstead::{Cluster, TopicConfig};

const RECORDS: u32 = 50_000;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some("follow"), Some(folder)) => follow(&folder),
        _ => write(),
    }
}

fn write() -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let cluster = Cluster::open(folder.path())?;
    cluster.create_topic("ticks", TopicConfig::new())?;
    let mut follower = start_follower(folder.path().to_string_lossy().as_ref())?;
    let mut said = BufReader::new(follower.stdout.take().ok_or("the follower has no output")?).lines();
    println!("writer {}: {}", std::process::id(), said.next().ok_or("the follower said nothing")??);

    // It holds the folder open for reading: that needs no lock, and this process is still the only owner.
    let producer = cluster.producer().build()?;
    let ticks = producer.topic("ticks")?;
    for number in 0..RECORDS {
        ticks.push((), number.to_be_bytes())?;
        if number % 10_000 == 9_999 {
            producer.flush()?; // committed: the follower may see these now
        }
    }
    producer.close()?;
    for line in said {
        println!("{}", line?);
    }
    if !follower.wait()?.success() {
        return Err("the follower failed".into());
    }
    cluster.close()?;
    Ok(())
}

fn start_follower(folder: &str) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?).args(["follow", folder]).stdout(Stdio::piped()).spawn()
}

fn follow(folder: &str) -> Fallible<()> {
    let cluster = Cluster::open_read_only(folder)?;
    let owner = cluster.owner()?.ok_or("nobody owns the folder")?;
    println!("follower {} looks at the folder of process {owner}", std::process::id());
    std::io::stdout().flush()?;

    let mut consumer = cluster.consumer().topic("ticks").build()?;
    let mut expected = 0;
    while expected < RECORDS {
        for record in &consumer.poll(Duration::from_secs(10))? {
            let number = record.value().and_then(|value| value.try_into().ok()).map(u32::from_be_bytes);
            if number != Some(expected) {
                return Err(format!("{number:?} came where {expected} was due").into());
            }
            expected += 1;
        }
    }
    println!("follower: saw all {expected} records once and in order");
    Ok(())
}

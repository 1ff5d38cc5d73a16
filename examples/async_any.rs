//! One piece of code, blocking on a plain thread and awaited in a tiny executor: the library needs no runtime, and any will
//! do. The executor here runs a producer and a consumer as two tasks on one thread.
//!
//! `cargo run --release --example async_any`
#![allow(clippy::print_stdout, reason = "an example prints")]
#![allow(clippy::disallowed_types, reason = "an application uses the locks that it likes")]

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use logstead::{Cluster, Consumer, Producer, Record, TopicConfig};

const RECORDS: usize = 1_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let cluster = Cluster::open(folder.path())?;
    cluster.create_topic("orders", TopicConfig::new())?;

    // On plain threads.
    let producer = cluster.producer().build()?;
    let mut consumer = cluster.consumer().topic("orders").build()?;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_blocking(&mut consumer));
        for number in 0..RECORDS {
            producer.send(Record::to("orders").value(&number.to_string()))?;
        }
        producer.flush()?;
        let read = reader.join().map_err(|_| "the reader panicked")??;
        println!("threads: read {read} records while they were written");
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    })
    .map_err(|error| error.to_string())?;

    // The same as two tasks on one thread. Nothing here blocks: both are woken when there is something to do.
    let executor = Executor::default();
    executor.spawn(async move {
        let stored = write(&producer).await;
        println!(
            "tasks: the last record is {}",
            stored.map_or_else(|error| error.to_string(), |last| last.to_string())
        );
    });
    executor.spawn(async move {
        match read(&mut consumer).await {
            Ok(read) => println!("tasks: read {read} records while they were written"),
            Err(error) => println!("tasks: cannot read: {error}"),
        }
    });
    executor.run();
    cluster.close()?;
    Ok(())
}

fn read_blocking(consumer: &mut Consumer) -> logstead::Result<usize> {
    let mut read = 0;
    while read < RECORDS {
        read += consumer.poll(Duration::from_secs(10))?.len();
    }
    Ok(read)
}

async fn write(producer: &Producer) -> logstead::Result<logstead::RecordMetadata> {
    for number in 1..RECORDS {
        producer.send_async(Record::to("orders").value(&number.to_string())).await?;
    }
    producer.send_async(Record::to("orders").value("the last one")).await?.await
}

async fn read(consumer: &mut Consumer) -> logstead::Result<usize> {
    let mut read = 0;
    while read < RECORDS {
        read += consumer.poll_async().await?.len();
    }
    Ok(read)
}

/// Runs tasks on the calling thread until all have ended, and sleeps while none of them can go on.
#[derive(Default)]
struct Executor {
    ready: Arc<Ready>,
}

#[derive(Default)]
struct Ready {
    tasks: Mutex<VecDeque<Arc<Task>>>,
    woken: Condvar,
}

struct Task {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    ready: Arc<Ready>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let ready = Arc::clone(&self.ready);
        ready.push(self);
    }
}

impl Ready {
    fn push(&self, task: Arc<Task>) {
        if let Ok(mut tasks) = self.tasks.lock() {
            tasks.push_back(task);
        }
        self.woken.notify_one();
    }
}

impl Executor {
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let future = Mutex::new(Some(Box::pin(future) as Pin<Box<dyn Future<Output = ()> + Send>>));
        self.ready.push(Arc::new(Task { future, ready: Arc::clone(&self.ready) }));
    }

    fn run(self) {
        let mut unfinished = self.ready.tasks.lock().map_or(0, |tasks| tasks.len());
        while unfinished > 0 {
            let Ok(tasks) = self.ready.tasks.lock() else { return };
            let Ok(mut tasks) = self.ready.woken.wait_while(tasks, |tasks| tasks.is_empty()) else { return };
            let Some(task) = tasks.pop_front() else { continue };
            drop(tasks);
            let waker = Waker::from(Arc::clone(&task));
            let Ok(mut slot) = task.future.lock() else { return };
            let Some(mut future) = slot.take() else { continue };
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(()) => unfinished -= 1,
                Poll::Pending => *slot = Some(future),
            }
        }
    }
}

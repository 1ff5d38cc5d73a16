//! `logstead produce`: one record a line.
//!
//! One thread reads lines and sends; this one looks after the acknowledgements, in the order of the lines. So many
//! records are under way at a time, and what is printed was acknowledged. The reader may be blocked in a read of a
//! terminal or a pipe when the command ends; nothing waits for it. Kafka's counterpart: `kafka-console-producer`.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::Duration;

use clap::Args;
use logstead::cluster::Cluster;
use logstead::config::{Acks, ProducerConfig};
use logstead::producer::{Delivery, Record, RecordMetadata, TopicProducer};
use logstead::types::Compression;
use logstead::types::TopicName;

use crate::arguments;
use crate::failure::Failure;
use crate::lines::{self, Lines};
use crate::progress::Progress;

/// Records that may be under way, besides the producer's own limit in bytes.
const UNDER_WAY_MAX: usize = 1 << 16;
/// How much of the input is read at a time.
const READ_BYTES: usize = 256 << 10;

const EXAMPLES: &str = "\
Examples:
  The lines of a file, the customer as key:
    logstead --data data produce orders --file orders.txt --key-separator :

  As they come, each told when it is on disk:
    tail -f access.log | logstead --data data produce access --print-acks

Exit codes: 0 every record is acknowledged, 1 error (told on stderr), 2 wrong usage.";

/// Write one record for each line of the input.
///
/// A line ends at a newline and is bytes, not text: a carriage return belongs to it, and the last line needs no
/// newline. An empty line is a record with an empty value. The topic must exist, and its max.message.bytes says how
/// long a line may be; a line that is longer ends the command, and what was read before it is still written.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Produce {
    /// The topic.
    topic: TopicName,

    /// Read this file rather than the standard input.
    #[arg(long, value_name = "F")]
    file: Option<PathBuf>,

    /// What stands between key and value, at its first place in the line. A line without it has a null key, and is the
    /// value as a whole.
    #[arg(long, value_name = "S", value_parser = arguments::not_empty)]
    key_separator: Option<String>,

    /// Write to this partition, whatever the keys are.
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,

    /// When a record counts as delivered: 0 at once, 1 when it is in the log file, all when it is as durable as the
    /// topic is configured to be: on disk, unless somebody said otherwise.
    #[arg(long, default_value = "all", value_parser = arguments::acks())]
    acks: Acks,

    /// How batches are compressed.
    #[arg(long, default_value = "none", value_parser = arguments::compression())]
    compression: Compression,

    /// Bytes that a batch of records does not exceed.
    #[arg(long, value_name = "B")]
    batch_bytes: Option<u64>,

    /// How long a batch that is not full waits for more records. With --print-acks none waits, since each
    /// acknowledgement is waited for.
    #[arg(long, value_name = "MS")]
    linger_ms: Option<u64>,

    /// Print TOPIC-PARTITION@OFFSET for each record, in the order of the input, as soon as it is acknowledged. Not with
    /// --acks 0, where no offset is known.
    #[arg(long)]
    print_acks: bool,
}

/// What the reader tells.
enum Event {
    /// The record of a line is under way.
    Sent(Delivery),
    /// The record of a line was refused. Nothing comes after this.
    Refused(logstead::Error),
    /// There is no next line to be had. Nothing comes after this.
    Failed(Failure),
}

impl Produce {
    /// Whether the arguments go together.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self {
            Produce { print_acks: true, acks: Acks::None, .. } => {
                Err("--print-acks cannot be used with --acks 0: no offset is known then")
            }
            Produce { .. } => Ok(()),
        }
    }

    /// Sends every line; acknowledgements go to `out`.
    ///
    /// # Errors
    /// The first failure. What was sent before it is delivered all the same, unless the log itself failed.
    pub(crate) fn run(&self, data: &Path, out: &mut dyn Write) -> Result<(), Failure> {
        let lines = self.open_input()?;
        let cluster = arguments::open_existing(data)?;
        let producer = cluster.producer().config(self.config(&cluster)?).build()?;
        let topic = producer.topic(self.topic.as_str())?;
        let sender = Sender { topic, partition: self.partition, separator: self.key_separator.clone() };
        let (events, deliveries) = sync_channel(UNDER_WAY_MAX);
        let reader = thread::Builder::new().name("reader".to_owned());
        // Not joined: it may be blocked in a read for ever.
        reader.spawn(move || sender.run(lines, &events)).map_err(cannot_start)?;
        let outcome = self.settle_all(&deliveries, out);
        let closed = producer.close().and(cluster.close());
        outcome?;
        Ok(closed?)
    }

    fn open_input(&self) -> Result<Lines<Box<dyn BufRead + Send>>, Failure> {
        let Some(path) = &self.file else {
            let input = BufReader::with_capacity(READ_BYTES, io::stdin());
            return Ok(Lines::new(Box::new(input), "the standard input".to_owned()));
        };
        let name = path.display().to_string();
        #[allow(clippy::disallowed_methods, reason = "the input is the user's file, not one of the data folder")]
        let file = std::fs::File::open(path).map_err(|source| Failure::Input { name: name.clone(), source })?;
        Ok(Lines::new(Box::new(BufReader::with_capacity(READ_BYTES, file)), name))
    }

    /// Only the topic's own limit says how large a record may be.
    fn config(&self, cluster: &Cluster) -> Result<ProducerConfig, Failure> {
        let record_bytes_max = cluster.topic(self.topic.as_str())?.config().get_batch_bytes_max();
        let mut config = ProducerConfig::new().acks(self.acks).compression(self.compression);
        config = config.request_bytes_max(i32::MAX.unsigned_abs().into());
        let buffer_bytes = config.get_buffer_bytes().max(record_bytes_max.saturating_mul(2));
        config = config.buffer_bytes(buffer_bytes);
        if let Some(bytes) = self.batch_bytes {
            config = config.batch_bytes(bytes);
        }
        if let Some(millis) = self.linger_ms {
            let linger = Duration::from_millis(millis);
            let delivery_timeout = config.get_delivery_timeout().saturating_add(linger);
            config = config.linger(linger).delivery_timeout(delivery_timeout);
        }
        Ok(config)
    }

    /// Looks after every record. After a failure only after those that are under way already.
    fn settle_all(&self, events: &Receiver<Event>, out: &mut dyn Write) -> Result<(), Failure> {
        let mut tracker = Tracker {
            out: self.print_acks.then_some(out),
            lines: 0,
            under_way: VecDeque::new(),
            progress: Progress::beside_output("written", None),
        };
        let outcome = tracker.run(events);
        if outcome.is_err() {
            // The first failure is the one that is told; the reader may go on meanwhile.
            for event in events.try_iter().take(UNDER_WAY_MAX) {
                let _ = tracker.take(event);
            }
            while !tracker.under_way.is_empty() {
                let _ = tracker.settle_all();
            }
        }
        outcome
    }
}

/// Reads and sends.
struct Sender {
    topic: TopicProducer,
    partition: Option<i32>,
    separator: Option<String>,
}

impl Sender {
    /// Ends with the input, with a failure, or when nobody waits for deliveries any more.
    fn run(&self, mut lines: Lines<impl BufRead>, events: &SyncSender<Event>) {
        loop {
            let event = match lines.next() {
                Ok(Some(line)) => self.send(line).map_or_else(Event::Refused, Event::Sent),
                Ok(None) => return,
                Err(failure) => Event::Failed(failure),
            };
            let is_last = !matches!(event, Event::Sent(_));
            if events.send(event).is_err() || is_last {
                return;
            }
        }
    }

    fn send(&self, line: &[u8]) -> logstead::Result<Delivery> {
        let (key, value) = lines::split(line, self.separator.as_deref());
        let mut record = Record::to(self.topic.name().as_str()).value(value);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(partition) = self.partition {
            record = record.partition(partition);
        }
        self.topic.send_record(&record)
    }
}

/// Looks after deliveries and tells of them.
struct Tracker<'a> {
    /// `None` when nobody wants to know, or nobody reads any more: the records are delivered all the same.
    out: Option<&'a mut dyn Write>,
    /// How many lines were heard of.
    lines: u64,
    /// With the numbers of their lines.
    under_way: VecDeque<(u64, Delivery)>,
    progress: Progress,
}

impl Tracker<'_> {
    /// To the end of the input, and until everything is acknowledged.
    fn run(&mut self, events: &Receiver<Event>) -> Result<(), Failure> {
        while let Some(event) = self.next(events)? {
            self.take(event)?;
            self.settle_some()?;
        }
        self.settle_all()
    }

    /// The next event. Before there is anything to wait for, what was printed reaches its reader.
    fn next(&mut self, events: &Receiver<Event>) -> Result<Option<Event>, Failure> {
        match events.try_recv() {
            Ok(event) => Ok(Some(event)),
            Err(TryRecvError::Disconnected) => Ok(None),
            Err(TryRecvError::Empty) => {
                self.flush()?;
                Ok(events.recv().ok())
            }
        }
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        self.lines += 1;
        let line = self.lines;
        match event {
            Event::Sent(delivery) => self.under_way.push_back((line, delivery)),
            Event::Refused(source) => return Err(Failure::Line { line, source }),
            Event::Failed(failure) => return Err(failure),
        }
        Ok(())
    }

    /// Those that are acknowledged; the others only where somebody wants to know, or they are too many: a record that
    /// is waited for goes at once, and its batch with it, full or not, whatever the linger.
    fn settle_some(&mut self) -> Result<(), Failure> {
        while let Some((line, delivery)) = self.under_way.front_mut() {
            let line = *line;
            match delivery.try_get() {
                Some(outcome) => {
                    self.under_way.pop_front();
                    self.tell(line, outcome)?;
                }
                None if self.out.is_some() || self.under_way.len() >= UNDER_WAY_MAX => self.settle_first()?,
                None => break,
            }
        }
        Ok(())
    }

    fn settle_all(&mut self) -> Result<(), Failure> {
        while !self.under_way.is_empty() {
            self.settle_first()?;
        }
        Ok(())
    }

    fn settle_first(&mut self) -> Result<(), Failure> {
        let Some((line, delivery)) = self.under_way.pop_front() else { return Ok(()) };
        self.flush()?;
        let outcome = delivery.wait();
        self.tell(line, outcome)
    }

    fn tell(&mut self, line: u64, outcome: logstead::Result<RecordMetadata>) -> Result<(), Failure> {
        let metadata = outcome.map_err(|source| Failure::Line { line, source })?;
        self.progress.add();
        let Some(offset) = metadata.offset else { return Ok(()) };
        self.print(|out| writeln!(out, "{}@{offset}", metadata.topic_partition))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        self.print(|out| out.flush())
    }

    fn print(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
        let Some(out) = &mut self.out else { return Ok(()) };
        match write(*out) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.out = None;
                Ok(())
            }
            outcome => Ok(outcome?),
        }
    }
}

fn cannot_start(error: io::Error) -> Failure {
    Failure::Told(format!("cannot start a thread: {error}"))
}

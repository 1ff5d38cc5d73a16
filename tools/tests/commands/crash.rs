//! `logstead produce --print-acks`, killed again and again: what it printed is there, and what a follower saw stays.

use std::io::{BufRead, Write};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Data, Running};

const ROUNDS: u64 = 30;
const FOLLOWED_ROUNDS: u64 = 8;
/// A follower that shows nothing for so long never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// A fixed series of numbers that look random.
struct Series(u64);

impl Series {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn what_was_acknowledged_survives_any_number_of_kills() {
    let data = Data::with_topic("lines", 1);
    let mut series = Series(0x9e37_79b9_7f4a_7c15);
    let mut acknowledged: Vec<(usize, String)> = Vec::new();
    for round in 0..ROUNDS {
        let kill_after = if round % 5 == 0 { series.below(3) } else { series.below(3000) };
        let printed = produce_and_kill(&data, round, kill_after);
        assert!(printed.len() as u64 >= kill_after, "round {round}");
        acknowledged.extend(printed.into_iter().zip(0..).map(|(offset, number)| (offset, line_of(round, number))));
        if round % 10 == 9 {
            check(&data, &acknowledged);
        }
    }
    assert!(acknowledged.len() > 10_000, "{}", acknowledged.len());
    let sound = data.run(&["verify"]);
    assert_eq!((sound.code, sound.stderr.as_str()), (0, ""), "{}", String::from_utf8_lossy(&sound.stdout));
    data.produce("lines", b"the end\n");
    assert!(data.values("lines").ends_with(b"\nthe end\n"));
}

#[test]
fn no_record_that_a_follower_saw_disappears_with_the_writer() {
    for flush_messages in ["1", "9223372036854775807"] {
        let data = Data::new();
        let config = format!("flush.messages={flush_messages}");
        data.run(&["topics", "create", "lines", "--partitions", "1", "--config", &config]).assert_silent();
        let mut follower = Follower::of(&data);
        let mut series = Series(0x2545_f491_4f6c_dd1d);
        let mut acknowledged = Vec::new();
        for round in 0..FOLLOWED_ROUNDS {
            let kill_after = if round % 4 == 0 { series.below(3) } else { series.below(2000) };
            let printed = produce_and_kill(&data, round, kill_after);
            acknowledged.extend(printed.into_iter().zip(0..).map(|(offset, number)| (offset, line_of(round, number))));
            // In other rounds the next writer comes while the follower has not seen all yet.
            if round % 2 == 0 {
                follower.read_until(|seen| acknowledged.last().is_none_or(|(last, _)| seen.len() > *last));
            }
        }
        data.produce("lines", b"the end\n");
        follower.read_until(|seen| seen.last().is_some_and(|line| line.contains("the end")));
        let log = data.run(&["consume", "lines", "--format", "json"]).stdout_of_success();
        assert!(follower.seen.concat().as_bytes() == log, "flush.messages={flush_messages}");
        let values = values_in_order(&follower.seen);
        for (offset, line) in &acknowledged {
            assert_eq!(values.get(*offset), Some(line), "offset {offset}, flush.messages={flush_messages}");
        }
        assert!(acknowledged.len() > 1000, "{}", acknowledged.len());
    }
}

/// A running `consume --follow`, whose output is read as it comes, so that it never waits for this test.
struct Follower {
    lines: Receiver<String>,
    seen: Vec<String>,
    _running: Running,
}

impl Follower {
    fn of(data: &Data) -> Follower {
        let mut running = data.start(&["consume", "lines", "--follow", "--from-beginning", "--format", "json"]);
        let mut stdout = running.take_stdout();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            while stdout.read_line(&mut line).is_ok_and(|length| length > 0) {
                if sender.send(std::mem::take(&mut line)).is_err() {
                    break;
                }
            }
        });
        Follower { lines, seen: Vec::new(), _running: running }
    }

    fn read_until(&mut self, is_enough: impl Fn(&[String]) -> bool) {
        while !is_enough(&self.seen) {
            self.seen.push(self.lines.recv_timeout(PATIENCE).unwrap());
        }
    }
}

/// The values of printed records, whose offsets must have no gap and come once and in order.
fn values_in_order(lines: &[String]) -> Vec<String> {
    let values = lines.iter().zip(0_u64..).map(|(line, offset)| {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["offset"], offset);
        record["value"].as_str().unwrap().to_owned()
    });
    values.collect()
}

fn line_of(round: u64, number: u64) -> String {
    format!("round {round} line {number}")
}

/// The offsets printed before the program was gone: those of the round's first lines, in their order.
fn produce_and_kill(data: &Data, round: u64, kill_after: u64) -> Vec<usize> {
    let mut producer = data.start(&["produce", "lines", "--print-acks", "--batch-bytes", "1000"]);
    let mut stdin = producer.take_stdin();
    let feeder = thread::spawn(move || {
        // Until there is nobody any more to take them.
        let mut lines = (0..).map(|number| line_of(round, number) + "\n");
        while stdin.write_all(lines.next().unwrap().as_bytes()).is_ok() {}
    });
    let mut printed = Vec::new();
    let mut is_alive = true;
    loop {
        if is_alive && printed.len() as u64 >= kill_after {
            producer.kill();
            is_alive = false;
        }
        let line = producer.read_line();
        // A line that was cut off says nothing.
        let Some(place) = line.strip_suffix('\n') else { break };
        printed.push(place.strip_prefix("lines-0@").unwrap().parse().unwrap());
    }
    feeder.join().unwrap();
    printed
}

/// Every acknowledged record is at its offset, offsets have no gap, and no line is there twice or out of order.
fn check(data: &Data, acknowledged: &[(usize, String)]) {
    let records = data.json(&["consume", "lines", "--format", "json"]);
    for (expected, record) in records.iter().enumerate() {
        assert_eq!(record["offset"].as_u64(), Some(expected as u64));
    }
    let values: Vec<&str> = records.iter().map(|record| record["value"].as_str().unwrap()).collect();
    for (offset, line) in acknowledged {
        assert_eq!(values.get(*offset), Some(&line.as_str()), "offset {offset}");
    }
    let mut next = (0, 0);
    for value in values {
        let mut words = value.split(' ').filter_map(|word| word.parse::<u64>().ok());
        let (round, number) = (words.next().unwrap(), words.next().unwrap());
        let follows = if round == next.0 { number == next.1 } else { round > next.0 && number == 0 };
        assert!(follows, "{value:?} where {next:?} was due");
        next = (round, number + 1);
    }
}

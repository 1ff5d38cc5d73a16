//! `logstead produce --print-acks`, killed again and again: what it printed is there.

use std::io::Write;
use std::thread;

use crate::support::Data;

const ROUNDS: u64 = 30;

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

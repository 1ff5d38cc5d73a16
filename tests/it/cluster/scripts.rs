//! What users do while the disk fails them.

use logstead::config::Durability::{Os, Synced};

use super::session::Step::{self, Alter, Close, Create, Delete, Grow, Read, Reopen, Send, Tick, Wait};

/// Topics of several partitions, produced into beyond several rolls, over two sessions.
pub(super) fn growth() -> Vec<Step> {
    let round =
        [Send("orders", 0, 3), Send("orders", 1, 2), Wait, Send("orders", 2, 1), Send("orders", 0, 4), Wait, Tick(20)];
    let mut steps = vec![Create("orders", 3, Synced), Create("events", 1, Os)];
    steps.extend(round);
    steps.extend([Send("events", 0, 5), Wait, Tick(20), Read]);
    steps.extend(round);
    steps.extend([
        Send("events", 0, 5),
        Tick(5),
        Reopen,
        Send("events", 0, 3),
        Grow("orders", 4),
        Send("orders", 3, 2),
    ]);
    steps.extend(round);
    steps.extend([Read, Send("orders", 0, 1), Close]);
    steps
}

/// Topics deleted and created again under the same name, with records before and after.
pub(super) fn successors() -> Vec<Step> {
    vec![
        Create("stays", 1, Synced),
        Create("orders", 2, Synced),
        Send("stays", 0, 3),
        Send("orders", 0, 6),
        Send("orders", 1, 2),
        Wait,
        Delete("orders"),
        Create("orders", 2, Synced),
        Send("orders", 0, 2),
        Wait,
        Send("orders", 0, 2),
        Send("orders", 1, 1),
        Delete("orders"),
        Send("stays", 0, 1),
        Create("orders", 1, Os),
        Send("orders", 0, 7),
        Wait,
        Read,
        Tick(50),
        Reopen,
        Send("orders", 0, 2),
        Delete("orders"),
        Create("orders", 3, Synced),
        Send("orders", 2, 2),
        Send("stays", 0, 2),
        Wait,
        Read,
        Close,
    ]
}

/// The durability changes both ways while records are on their way.
pub(super) fn durabilities() -> Vec<Step> {
    vec![
        Create("orders", 2, Synced),
        Create("events", 1, Os),
        Send("orders", 0, 3),
        Send("orders", 1, 3),
        Send("events", 0, 4),
        Alter("orders", Os),
        Send("orders", 0, 3),
        Tick(6),
        Alter("events", Synced),
        Send("events", 0, 1),
        Wait,
        Read,
        Send("events", 0, 4),
        Send("orders", 1, 4),
        Tick(6),
        Alter("orders", Synced),
        Send("orders", 1, 1),
        Wait,
        Alter("events", Os),
        Send("orders", 0, 4),
        Send("events", 0, 4),
        Tick(50),
        Alter("events", Synced),
        Wait,
        Read,
        Close,
    ]
}

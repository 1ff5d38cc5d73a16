//! Golden bytes, round trips and hostile bytes of metadata records.

use proptest::prelude::*;

use super::*;
use crate::error::Damage;

fn broker(id: i32) -> BrokerId {
    BrokerId::new(id).unwrap()
}

fn epoch(epoch: i32) -> LeaderEpoch {
    LeaderEpoch::new(epoch).unwrap()
}

fn id(byte: u8) -> TopicId {
    TopicId::from_bytes([byte; 16])
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn partition_record() -> PartitionRecord {
    PartitionRecord {
        partition_id: PartitionId::ZERO,
        topic_id: id(0xaa),
        replicas: vec![broker(0)],
        isr: vec![broker(0)],
        removing_replicas: vec![],
        adding_replicas: vec![],
        leader: Some(broker(0)),
        leader_epoch: LeaderEpoch::ZERO,
        partition_epoch: 0,
        directories: vec![id(0xdd)],
        leader_recovery_state: 0,
        eligible_leader_replicas: None,
        last_known_elr: None,
    }
}

pub(crate) fn partition_change() -> PartitionChangeRecord {
    PartitionChangeRecord {
        partition_id: PartitionId::ZERO,
        topic_id: id(0xaa),
        isr: None,
        leader: None,
        replicas: None,
        removing_replicas: None,
        adding_replicas: None,
        leader_recovery_state: -1,
        eligible_leader_replicas: None,
        last_known_elr: None,
        directories: None,
    }
}

pub(crate) fn broker_record() -> RegisterBrokerRecord {
    RegisterBrokerRecord {
        broker_id: broker(0),
        is_migrating_zk_broker: false,
        incarnation_id: id(0x11),
        broker_epoch: 2,
        end_points: vec![],
        features: vec![],
        rack: None,
        fenced: false,
        in_controlled_shutdown: false,
        log_dirs: vec![id(0xdd)],
    }
}

fn end_point() -> EndPoint {
    EndPoint { name: "PLAINTEXT".into(), host: "localhost".into(), port: 9092, security_protocol: 0 }
}

fn feature() -> FeatureRange {
    FeatureRange { name: "metadata.version".into(), min_supported_version: 7, max_supported_version: 25 }
}

/// One record of every type and version, each with the bytes that Kafka's decoder was seen to read back as the same record.
fn golden() -> Vec<(MetadataRecord, &'static str)> {
    use MetadataRecord as R;
    vec![
        (
            R::RegisterBroker(RegisterBrokerRecord { log_dirs: vec![], ..broker_record() }),
            "010000000000001111111111111111111111111111111100000000000000020101000000",
        ),
        (
            R::RegisterBroker(RegisterBrokerRecord {
                log_dirs: vec![],
                in_controlled_shutdown: true,
                ..broker_record()
            }),
            "01000100000000111111111111111111111111111111110000000000000002010100000100",
        ),
        (
            R::RegisterBroker(RegisterBrokerRecord {
                log_dirs: vec![],
                is_migrating_zk_broker: true,
                ..broker_record()
            }),
            "0100020000000001111111111111111111111111111111110000000000000002010100000000",
        ),
        (
            R::RegisterBroker(broker_record()),
            "0100030000000000111111111111111111111111111111110000000000000002010100000001001102dddddddddddddddddddddddddddddddd",
        ),
        (
            R::RegisterBroker(RegisterBrokerRecord {
                end_points: vec![end_point()],
                features: vec![feature()],
                rack: Some("r1".into()),
                fenced: true,
                ..broker_record()
            }),
            "0100030000000000111111111111111111111111111111110000000000000002020a504c41494e544558540a6c6f63616c686f7374238400000002116d657461646174612e76657273696f6e0007001900037231010001001102dddddddddddddddddddddddddddddddd",
        ),
        (
            R::UnregisterBroker(UnregisterBrokerRecord { broker_id: broker(3), broker_epoch: 9 }),
            "01010000000003000000000000000900",
        ),
        (
            R::Topic(TopicRecord { name: "orders".into(), topic_id: id(0xaa) }),
            "010200076f7264657273aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa00",
        ),
        (
            R::Partition(PartitionRecord { directories: vec![], ..partition_record() }),
            "01030000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa02000000000200000000010100000000000000000000000000",
        ),
        (
            R::Partition(partition_record()),
            "01030100000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa02000000000200000000010100000000000000000000000002dddddddddddddddddddddddddddddddd00",
        ),
        (
            R::Partition(PartitionRecord {
                leader: None,
                leader_recovery_state: 1,
                removing_replicas: vec![broker(1)],
                adding_replicas: vec![broker(2)],
                eligible_leader_replicas: Some(vec![broker(2)]),
                last_known_elr: Some(vec![]),
                ..partition_record()
            }),
            "01030200000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0200000000020000000002000000010200000002ffffffff000000000000000002dddddddddddddddddddddddddddddddd0300010101050200000002020101",
        ),
        (
            R::Config(ConfigRecord {
                resource_type: RESOURCE_TOPIC,
                resource_name: "orders".into(),
                name: "flush.messages".into(),
                value: Some("1".into()),
            }),
            "01040002076f72646572730f666c7573682e6d65737361676573023100",
        ),
        (
            R::Config(ConfigRecord {
                resource_type: RESOURCE_TOPIC,
                resource_name: "orders".into(),
                name: "segment.ms".into(),
                value: None,
            }),
            "01040002076f72646572730b7365676d656e742e6d730000",
        ),
        (
            R::PartitionChange(PartitionChangeRecord { leader: Some(None), ..partition_change() }),
            "01050000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa010104ffffffff",
        ),
        (
            R::PartitionChange(PartitionChangeRecord {
                isr: Some(vec![broker(0), broker(1)]),
                leader: Some(Some(broker(1))),
                replicas: Some(vec![broker(1)]),
                removing_replicas: Some(vec![]),
                adding_replicas: Some(vec![broker(2)]),
                leader_recovery_state: 0,
                ..partition_change()
            }),
            "01050000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0600090300000000000000010104000000010205020000000103010104050200000002050100",
        ),
        (
            R::PartitionChange(PartitionChangeRecord { directories: Some(vec![id(0xdd)]), ..partition_change() }),
            "01050100000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01081102dddddddddddddddddddddddddddddddd",
        ),
        (
            R::PartitionChange(PartitionChangeRecord {
                eligible_leader_replicas: Some(vec![broker(2)]),
                last_known_elr: Some(vec![broker(1)]),
                ..partition_change()
            }),
            "01050200000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa020605020000000207050200000001",
        ),
        (R::FenceBroker(FenceBrokerRecord { id: broker(3), epoch: 9 }), "01070000000003000000000000000900"),
        (R::UnfenceBroker(UnfenceBrokerRecord { id: broker(3), epoch: 9 }), "01080000000003000000000000000900"),
        (R::RemoveTopic(RemoveTopicRecord { topic_id: id(0xaa) }), "010900aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa00"),
        (
            R::FeatureLevel(FeatureLevelRecord { name: "metadata.version".into(), feature_level: 25 }),
            "010c00116d657461646174612e76657273696f6e001900",
        ),
        (
            R::ProducerIds(ProducerIdsRecord {
                broker_id: Some(broker(1)),
                broker_epoch: 8,
                next_producer_id: ProducerId::new(1000).unwrap(),
            }),
            "010f0000000001000000000000000800000000000003e800",
        ),
        (
            R::ProducerIds(ProducerIdsRecord {
                broker_id: None,
                broker_epoch: -1,
                next_producer_id: ProducerId::new(1000).unwrap(),
            }),
            "010f00ffffffffffffffffffffffff00000000000003e800",
        ),
        (
            R::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
                broker_id: broker(1),
                broker_epoch: 8,
                fenced: -1,
                in_controlled_shutdown: 0,
                log_dirs: vec![],
            }),
            "011100000000010000000000000008010001ff",
        ),
        (
            R::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
                broker_id: broker(1),
                broker_epoch: 8,
                fenced: 0,
                in_controlled_shutdown: 1,
                log_dirs: vec![],
            }),
            "01110100000001000000000000000801010101",
        ),
        (
            R::BrokerRegistrationChange(BrokerRegistrationChangeRecord {
                broker_id: broker(1),
                broker_epoch: 8,
                fenced: 1,
                in_controlled_shutdown: 0,
                log_dirs: vec![id(0xdd)],
            }),
            "01110200000001000000000000000802000101021102dddddddddddddddddddddddddddddddd",
        ),
        (R::NoOp(NoOpRecord {}), "01140000"),
        (
            R::BeginTransaction(BeginTransactionRecord { name: Some("Bootstrap records".into()) }),
            "01170001001212426f6f747374726170207265636f726473",
        ),
        (R::EndTransaction(EndTransactionRecord {}), "01180000"),
        (R::AbortTransaction(AbortTransactionRecord { reason: None }), "01190000"),
        (R::AbortTransaction(AbortTransactionRecord { reason: Some("gone".into()) }), "01190001000505676f6e65"),
        (
            R::RegisterController(RegisterControllerRecord {
                controller_id: broker(1),
                incarnation_id: id(0x22),
                zk_migration_ready: false,
                end_points: vec![end_point()],
                features: vec![feature()],
            }),
            "011b00000000012222222222222222222222222222222200020a504c41494e544558540a6c6f63616c686f7374238400000002116d657461646174612e76657273696f6e000700190000",
        ),
    ]
}

#[test]
fn every_type_and_version_is_encoded_as_kafka_reads_it() {
    for (record, expected) in golden() {
        assert_eq!(hex(&record.encode()), hex(&bytes(expected)), "{record:?}");
        assert_eq!(MetadataRecord::decode(&bytes(expected)).unwrap(), record);
    }
}

#[test]
fn the_golden_records_are_of_every_type_and_version() {
    let mut seen: Vec<_> = golden().iter().map(|(record, _)| record.kind_and_version()).collect();
    seen.sort_unstable();
    seen.dedup();
    let newest = [(0, 3), (1, 0), (2, 0), (3, 2), (4, 0), (5, 2), (7, 0), (8, 0), (9, 0), (12, 0), (15, 0), (17, 2)];
    let rest = [(20, 0), (23, 0), (24, 0), (25, 0), (27, 0)];
    let every: Vec<_> = newest
        .into_iter()
        .chain(rest)
        .flat_map(|(kind, newest)| (0..=newest).map(move |version| (kind, version)))
        .collect();
    assert_eq!(seen, every);
}

#[test]
fn a_partition_of_kafka_is_read_although_we_would_write_a_lower_version() {
    // As a broker of Kafka 4.0 writes it: version 2, the leader of partition 1 changes to none.
    let kafka = bytes("01 05 02 00000001 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 01 01 04 ffffffff");
    let expected =
        PartitionChangeRecord { partition_id: PartitionId::new(1).unwrap(), leader: Some(None), ..partition_change() };
    assert_eq!(MetadataRecord::decode(&kafka).unwrap(), MetadataRecord::PartitionChange(expected));
}

#[test]
fn a_type_or_version_that_is_not_known_is_a_typed_error() {
    for (value, expected) in [("01 12 00 00", (18, 0)), ("01 0c 01 00", (12, 1)), ("01 06 00", (6, 0))] {
        match MetadataRecord::decode(&bytes(value)) {
            Err(Error::UnsupportedMetadataRecord { record_type, version }) => {
                assert_eq!((record_type, version), expected)
            }
            other => panic!("{other:?}"),
        }
    }
    let error = MetadataRecord::decode(&bytes("01 12 00 00")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "metadata records of type 18, version 0 are not known here; the folder uses a feature of Kafka that logstead does \
         not have, or was written by a newer version"
    );
}

#[test]
fn tagged_fields_that_are_not_known_are_skipped() {
    let record = MetadataRecord::decode(&bytes("01 14 00 01 63 03 010203")).unwrap();
    assert_eq!(record, MetadataRecord::NoOp(NoOpRecord {}));
}

#[test]
fn broken_records_are_damage() {
    for value in ["", "02 14 00 00", "01 14 00", "01 14 00 00 00", "01 02 00 00", "01 0c 00 03 ff fe 0019 00"] {
        match MetadataRecord::decode(&bytes(value)) {
            Err(Error::Corrupt(corrupt)) => {
                assert!(matches!(corrupt.what, Damage::Truncated { .. } | Damage::Structure(_)), "{value}");
            }
            other => panic!("{value}: {other:?}"),
        }
    }
}

fn brokers() -> impl Strategy<Value = Vec<BrokerId>> {
    prop::collection::vec((0..i32::MAX).prop_map(broker), 0..4)
}

fn ids() -> impl Strategy<Value = Vec<TopicId>> {
    prop::collection::vec(any::<[u8; 16]>().prop_map(TopicId::from_bytes), 0..4)
}

prop_compose! {
    fn partitions()(
        number in 0..i32::MAX, replicas in brokers(), isr in brokers(), leader in prop::option::of(0..i32::MAX),
        leader_epoch in 0..i32::MAX, partition_epoch in any::<i32>(), directories in ids(), state in any::<i8>(),
        elr in prop::option::of(brokers()),
    ) -> PartitionRecord {
        PartitionRecord {
            partition_id: PartitionId::new(number).unwrap(),
            replicas, isr, leader: leader.map(broker), leader_epoch: epoch(leader_epoch), partition_epoch, directories,
            leader_recovery_state: state, eligible_leader_replicas: elr.clone(), last_known_elr: elr,
            ..partition_record()
        }
    }
}

prop_compose! {
    fn changes()(
        isr in prop::option::of(brokers()), leader in prop::option::of(prop::option::of(0..i32::MAX)),
        directories in prop::option::of(ids()), state in any::<i8>(), elr in prop::option::of(brokers()),
    ) -> PartitionChangeRecord {
        PartitionChangeRecord {
            isr: isr.clone(), leader: leader.map(|leader| leader.map(broker)), replicas: isr, directories,
            leader_recovery_state: state, eligible_leader_replicas: elr, ..partition_change()
        }
    }
}

prop_compose! {
    fn registrations()(
        rack in prop::option::of(".{0,9}"), flags in any::<[bool; 3]>(), log_dirs in ids(), host in ".{0,200}",
        broker_epoch in any::<i64>(),
    ) -> RegisterBrokerRecord {
        RegisterBrokerRecord {
            rack, is_migrating_zk_broker: flags[0], fenced: flags[1], in_controlled_shutdown: flags[2], log_dirs,
            end_points: vec![EndPoint { host, ..end_point() }], features: vec![feature()], broker_epoch, ..broker_record()
        }
    }
}

proptest! {
    #[test]
    fn decoding_gives_back_what_was_encoded(
        partition in partitions(), change in changes(), registration in registrations(), text in prop::option::of(".{0,300}"),
    ) {
        let config = ConfigRecord {
            resource_type: RESOURCE_TOPIC, resource_name: "t".into(), name: "k".into(), value: text.clone(),
        };
        for record in [
            MetadataRecord::Partition(partition),
            MetadataRecord::PartitionChange(change),
            MetadataRecord::RegisterBroker(registration),
            MetadataRecord::Config(config),
            MetadataRecord::AbortTransaction(AbortTransactionRecord { reason: text }),
        ] {
            prop_assert_eq!(MetadataRecord::decode(&record.encode()).unwrap(), record);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        kind in 0u8..30, version in 0u8..4, body in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..60, with: u8,
    ) {
        let _ = MetadataRecord::decode(&body);
        let _ = MetadataRecord::decode(&[&[1, kind, version], body.as_slice()].concat());
        for (record, _) in golden() {
            let mut bytes = record.encode();
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = MetadataRecord::decode(&bytes);
            bytes.truncate(at);
            prop_assert!(MetadataRecord::decode(&bytes).is_err());
        }
    }
}

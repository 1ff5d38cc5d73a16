// What Apache Kafka's own clients write and read, for broker.sh.
//
//   Exchange write BOOTSTRAP [bulk]   topics and records of every kind; with `bulk` also some that roll by size
//   Exchange more BOOTSTRAP           goes on in a second session of the broker
//   Exchange topics BOOTSTRAP NAME:PARTITIONS...   makes empty topics and prints NAME, a tab, and the topic id
//   Exchange dump BOOTSTRAP DIR       everything that a consumer and an admin see:
//       DIR/records.read_committed, DIR/records.read_uncommitted: the lines that `logstead consume --format json` prints
//       DIR/offsets: topic, partition, isolation, what was asked for, offset, timestamp, leader epoch; between tabs
//
// Topics whose name starts with two underscores are left out of a dump.

import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.*;

public class Exchange {
    static final long START = 1_700_000_000_000L;
    static final List<String> CODECS = List.of("none", "gzip", "snappy", "lz4", "zstd");
    static final long PATIENCE_MILLIS = 60_000;
    static String bootstrap;

    public static void main(String[] arguments) throws Exception {
        bootstrap = arguments[1];
        List<String> rest = List.of(arguments).subList(2, arguments.length);
        switch (arguments[0]) {
            case "write" -> write(rest.contains("bulk"));
            case "more" -> more();
            case "topics" -> topics(rest);
            case "dump" -> dump(Path.of(rest.get(0)));
            default -> throw new IllegalArgumentException(arguments[0]);
        }
        // Closing a producer would abort its open transaction.
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    // ---- writing

    static class Writer {
        final KafkaProducer<byte[], byte[]> producer;

        /** A producer that sends a batch when it is told to. */
        Writer(String... settings) {
            Properties all = new Properties();
            all.put("bootstrap.servers", bootstrap);
            all.put("acks", "all");
            all.put("linger.ms", "600000");
            all.put("delivery.timeout.ms", "1200000");
            all.put("batch.size", "100000");
            all.put("enable.idempotence", "false");
            for (int i = 0; i < settings.length; i += 2) all.put(settings[i], settings[i + 1]);
            producer = new KafkaProducer<>(all, new ByteArraySerializer(), new ByteArraySerializer());
        }

        static Writer idempotent() {
            return new Writer("enable.idempotence", "true");
        }

        static Writer transactional(String id, String codec) {
            Writer writer = new Writer("enable.idempotence", "true", "transactional.id", id,
                    "transaction.timeout.ms", "900000", "compression.type", codec);
            writer.producer.initTransactions();
            return writer;
        }

        Writer add(String topic, int partition, long after, byte[] key, byte[] value, Object... headers) {
            RecordHeaders all = new RecordHeaders();
            for (int i = 0; i < headers.length; i += 2) all.add((String) headers[i], (byte[]) headers[i + 1]);
            producer.send(new ProducerRecord<>(topic, partition, START + after, key, value, all));
            return this;
        }

        Writer add(String topic, int partition, long after, String key, String value) {
            return add(topic, partition, after, bytes(key), bytes(value));
        }

        /** Ends the batch. */
        Writer batch() {
            producer.flush();
            return this;
        }

        void close() {
            producer.close();
        }
    }

    static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    static NewTopic topic(String name, int partitions, String... settings) {
        Map<String, String> all = new TreeMap<>();
        all.put("retention.ms", "-1");
        // The indexes of a broker that was killed keep the size that they are given here.
        all.put("segment.index.bytes", "960");
        for (int i = 0; i < settings.length; i += 2) all.put(settings[i], settings[i + 1]);
        return new NewTopic(name, partitions, (short) 1).configs(all);
    }

    static Admin admin() {
        return Admin.create(Map.of("bootstrap.servers", bootstrap));
    }

    static void write(boolean bulk) throws Exception {
        try (Admin admin = admin()) {
            List<NewTopic> topics = new ArrayList<>(List.of(
                    topic("plain", 3),
                    topic("segments", 2, "segment.ms", "1000", "index.interval.bytes", "1"),
                    topic("disorder", 1, "segment.ms", "1000", "index.interval.bytes", "1"),
                    topic("transactions", 2, "index.interval.bytes", "1", "segment.ms", "1000"),
                    topic("appendtime", 1, "message.timestamp.type", "LogAppendTime"),
                    topic("recompressed", 1, "compression.type", "lz4"),
                    topic("deleted", 2, "segment.ms", "1000"),
                    topic("gone", 1),
                    topic("empty", 1),
                    topic("compacted", 1, "cleanup.policy", "compact", "segment.ms", "1000", "index.interval.bytes", "1",
                            "min.cleanable.dirty.ratio", "0.0", "min.compaction.lag.ms", "0")));
            for (String codec : CODECS) topics.add(topic("codec-" + codec, 1));
            if (bulk) topics.add(topic("bulk", 2, "segment.bytes", "1048576", "segment.index.bytes", "10000"));
            admin.createTopics(topics).all().get();
            kinds();
            codecs();
            segments();
            disorder();
            transactions();
            serverSide();
            deleted(admin);
            compacted();
            if (bulk) bulk();
        }
    }

    /** Keys, values and headers that are null, empty, repeated, or no text. */
    static void kinds() {
        Writer writer = new Writer();
        writer.add("plain", 0, 0, "key", "value").batch();
        writer.add("plain", 0, 1, null, "null key").add("plain", 0, 2, "null value", null).add("plain", 0, 3, (String) null, null)
                .add("plain", 0, 4, "", "").batch();
        writer.add("plain", 1, 5, bytes("headers"), bytes("several"), "trace", bytes("abc"), "empty", bytes(""), "trace",
                bytes("again"), "nothing", null, "", bytes("no name")).batch();
        writer.add("plain", 1, 6, "\u00e9\u4e16\ud83d\ude00", "quote \" backslash \\ tab \t line\nbreak \u0001 \u007f").batch();
        writer.add("plain", 1, 7, new byte[] {(byte) 0xff, 0, (byte) 0xfe}, new byte[] {(byte) 0xc0, (byte) 0x80}, "raw",
                new byte[] {(byte) 0x80}).batch();
        writer.add("plain", 2, 8, "large", "0123456789".repeat(200)).batch();
        writer.close();
    }

    /** A small batch, one that repeats itself, and one that hardly shrinks, of each codec. */
    static void codecs() {
        for (String codec : CODECS) {
            String topic = "codec-" + codec;
            Random random = new Random(codec.hashCode());
            Writer writer = new Writer("compression.type", codec);
            for (int i = 0; i < 3; i++)
                writer.add(topic, 0, i, bytes("k" + i), i == 1 ? null : bytes(codec + " " + i), "codec", bytes(codec), "none", null);
            writer.batch();
            for (int i = 0; i < 12; i++) writer.add(topic, 0, 10 + i % 7, "key-" + i % 5, "again and again and again " + i);
            writer.batch();
            for (int i = 0; i < 4; i++) {
                byte[] noise = new byte[80];
                random.nextBytes(noise);
                writer.add(topic, 0, 100 + i, bytes("noise"), noise);
            }
            writer.batch().close();
        }
    }

    static void segments() {
        Writer writer = Writer.idempotent();
        for (int segment = 0; segment < 3; segment++)
            for (int batch = 0; batch < 2; batch++)
                for (int partition = 0; partition < 2; partition++)
                    writer.add("segments", partition, segment * 2000 + batch * 10, "s" + segment, "first")
                            .add("segments", partition, segment * 2000 + batch * 10 + 1, "s" + segment, "second").batch();
        writer.close();
    }

    /** Timestamps that fall, repeat, and have their largest one early and twice. */
    static void disorder() {
        Writer writer = new Writer("compression.type", "gzip");
        long[][] batches = {{500, 100, 300}, {900, 200, 900}, {50, 40}, {5000, 4000, 5000}, {4500}, {300, 8000, 300}, {7000, 8000}, {1}};
        for (long[] batch : batches) {
            for (long after : batch) writer.add("disorder", 0, after, "at", Long.toString(after));
            writer.batch();
        }
        writer.close();
    }

    /** Committed, aborted, side by side, across segments, and open at the end. */
    static void transactions() {
        Writer pay = Writer.transactional("payments", "none"), refund = Writer.transactional("refunds", "gzip");
        Writer plain = new Writer();
        String topic = "transactions";
        pay.producer.beginTransaction();
        pay.add(topic, 0, 0, "a", "committed").add(topic, 1, 0, "a", "committed").add(topic, 0, 1, "b", "committed").batch();
        pay.producer.commitTransaction();
        pay.producer.beginTransaction();
        refund.producer.beginTransaction();
        pay.add(topic, 0, 2, "c", "aborted").batch();
        refund.add(topic, 0, 3, "d", "refund committed").add(topic, 0, 3, "d", "in one batch").batch();
        plain.add(topic, 0, 2004, "e", "in no transaction").batch();
        pay.add(topic, 0, 2005, "f", "aborted in the next segment").batch();
        refund.producer.commitTransaction();
        pay.producer.abortTransaction();
        refund.producer.beginTransaction();
        refund.add(topic, 0, 2006, "g", "refund aborted").add(topic, 1, 2006, "g", "refund aborted").batch();
        refund.producer.abortTransaction();
        pay.producer.beginTransaction();
        pay.add(topic, 0, 4007, "h", "committed again").batch();
        pay.producer.commitTransaction();
        pay.producer.beginTransaction();
        pay.add(topic, 0, 4008, "i", "open").batch();
        plain.add(topic, 0, 4009, "j", "behind an open one").batch();
        refund.producer.beginTransaction();
        refund.add(topic, 0, 4010, "k", "aborted behind an open one").batch();
        refund.producer.abortTransaction();
        pay.add(topic, 0, 4011, "l", "still open").batch();
    }

    /** What the broker changes: it sets timestamps, and compresses anew. */
    static void serverSide() {
        Writer writer = new Writer("compression.type", "snappy");
        writer.add("appendtime", 0, 0, "k", "the broker's clock").add("appendtime", 0, 1, "k", "for the whole batch").batch();
        for (int i = 0; i < 20; i++) writer.add("recompressed", 0, i, "k" + i, "from snappy to lz4");
        writer.batch().close();
    }

    static void deleted(Admin admin) throws Exception {
        Writer writer = Writer.idempotent();
        for (int segment = 0; segment < 4; segment++)
            for (int partition = 0; partition < 2; partition++) {
                for (int i = 0; i < 5; i++) writer.add("deleted", partition, segment * 2000 + i, "s" + segment, "record " + i);
                writer.batch();
            }
        writer.add("gone", 0, 0, "k", "v").batch().close();
        // Inside a batch; and everything.
        admin.deleteRecords(Map.of(new TopicPartition("deleted", 0), RecordsToDelete.beforeOffset(7),
                new TopicPartition("deleted", 1), RecordsToDelete.beforeOffset(-1))).all().get();
        admin.deleteTopics(List.of("gone")).all().get();
    }

    static void compacted() throws Exception {
        Writer writer = new Writer("compression.type", "zstd");
        writer.add("compacted", 0, 0, "a", "1").add("compacted", 0, 1, "b", "1").add("compacted", 0, 2, "c", "1")
                .add("compacted", 0, 3, "a", "2").batch();
        writer.add("compacted", 0, 2000, "b", null).add("compacted", 0, 2001, "d", "1").add("compacted", 0, 2002, "a", "3").batch();
        writer.add("compacted", 0, 4000, "d", "2").batch();
        writer.add("compacted", 0, 6000, "active", "the cleaner leaves the active segment alone").batch().close();
        TopicPartition partition = new TopicPartition("compacted", 0);
        long end = System.currentTimeMillis() + PATIENCE_MILLIS;
        // Of nine records c, b's tombstone, a's third, d's second and the active one stay.
        while (records(partition, IsolationLevel.READ_UNCOMMITTED).size() != 5) {
            if (System.currentTimeMillis() > end) throw new IllegalStateException("the cleaner has not cleaned in time");
            Thread.sleep(200);
        }
    }

    /** Some megabytes, through every codec. */
    static void bulk() {
        Random random = new Random(1);
        for (String codec : CODECS) {
            Writer writer = new Writer("compression.type", codec, "linger.ms", "5", "batch.size", "20000");
            for (int i = 0; i < 6000; i++) {
                String value = "{\"id\":" + i + ",\"name\":\"" + Long.toString(random.nextLong(), 36) + "\",\"text\":\""
                        + "lorem ipsum ".repeat(random.nextInt(20)) + "\"}";
                writer.add("bulk", i % 2, i, codec + i % 100, value);
            }
            writer.batch().close();
        }
    }

    /** After a restart: the same producers' ids are gone, the leader epoch is another. */
    static void more() throws Exception {
        Writer writer = Writer.idempotent();
        for (int partition = 0; partition < 2; partition++)
            writer.add("segments", partition, 9000, "s3", "after the restart").batch();
        writer.add("plain", 0, 9001, "key", "after the restart").batch();
        Writer late = Writer.transactional("late", "lz4");
        late.producer.beginTransaction();
        late.add("transactions", 0, 9002, "m", "aborted later").add("transactions", 1, 9002, "m", "aborted later").batch();
        late.producer.abortTransaction();
        late.producer.beginTransaction();
        late.add("transactions", 1, 9003, "n", "open when the broker is killed").batch();
        try (Admin admin = admin()) {
            admin.deleteRecords(Map.of(new TopicPartition("deleted", 0), RecordsToDelete.beforeOffset(12))).all().get();
        }
    }

    static void topics(List<String> wanted) throws Exception {
        try (Admin admin = admin()) {
            List<NewTopic> topics = new ArrayList<>();
            for (String item : wanted) {
                String[] parts = item.split(":");
                topics.add(new NewTopic(parts[0], Integer.parseInt(parts[1]), (short) 1)
                        .configs(Map.of("retention.ms", "-1", "max.message.bytes", "10000000")));
            }
            CreateTopicsResult result = admin.createTopics(topics);
            for (NewTopic topic : topics) System.out.println(topic.name() + "\t" + result.topicId(topic.name()).get());
        }
    }

    // ---- reading

    static List<TopicPartition> partitions(Admin admin) throws Exception {
        List<TopicPartition> all = new ArrayList<>();
        TreeSet<String> names = new TreeSet<>(admin.listTopics().names().get());
        names.removeIf(name -> name.startsWith("__"));
        for (var topic : new TreeMap<>(admin.describeTopics(names).allTopicNames().get()).values())
            topic.partitions().forEach(one -> all.add(new TopicPartition(topic.name(), one.partition())));
        return all;
    }

    static KafkaConsumer<byte[], byte[]> consumer(IsolationLevel isolation) {
        Properties all = new Properties();
        all.put("bootstrap.servers", bootstrap);
        all.put("isolation.level", isolation.toString());
        all.put("auto.offset.reset", "none");
        all.put("fetch.max.wait.ms", "10");
        return new KafkaConsumer<>(all, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    /** All that a consumer sees of a partition from its beginning to what is its end now, as lines of JSON. */
    static List<String> records(TopicPartition partition, IsolationLevel isolation) {
        try (var consumer = consumer(isolation)) {
            return records(consumer, partition);
        }
    }

    static List<String> records(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition) {
        consumer.assign(List.of(partition));
        consumer.seekToBeginning(List.of(partition));
        long end = consumer.endOffsets(List.of(partition)).get(partition), patience = System.currentTimeMillis() + PATIENCE_MILLIS;
        List<String> lines = new ArrayList<>();
        while (consumer.position(partition) < end) {
            if (System.currentTimeMillis() > patience) throw new IllegalStateException(partition + " cannot be read in time");
            for (var record : consumer.poll(Duration.ofMillis(100))) lines.add(json(record));
        }
        return lines;
    }

    static void dump(Path folder) throws Exception {
        try (Admin admin = admin(); PrintStream offsets = file(folder, "offsets")) {
            List<TopicPartition> partitions = partitions(admin);
            for (IsolationLevel isolation : IsolationLevel.values()) {
                try (PrintStream records = file(folder, "records." + isolation); var consumer = consumer(isolation)) {
                    for (TopicPartition partition : partitions) records(consumer, partition).forEach(line -> print(records, line));
                }
                offsets(admin, partitions, isolation, offsets);
            }
        }
    }

    static void offsets(Admin admin, List<TopicPartition> partitions, IsolationLevel isolation, PrintStream out) throws Exception {
        Map<String, OffsetSpec> specs = new LinkedHashMap<>();
        specs.put("earliest", OffsetSpec.earliest());
        specs.put("latest", OffsetSpec.latest());
        specs.put("max-timestamp", OffsetSpec.maxTimestamp());
        for (long after : List.of(-1L, 1L, 13L, 101L, 501L, 2001L, 4008L, 6003L, 8000L, 9002L))
            specs.put(Long.toString(START + after), OffsetSpec.forTimestamp(START + after));
        specs.put("4000000000000", OffsetSpec.forTimestamp(4_000_000_000_000L));
        for (var spec : specs.entrySet()) {
            Map<TopicPartition, OffsetSpec> asked = new LinkedHashMap<>();
            partitions.forEach(partition -> asked.put(partition, spec.getValue()));
            var answers = admin.listOffsets(asked, new ListOffsetsOptions(isolation)).all().get();
            for (TopicPartition partition : partitions) {
                var answer = answers.get(partition);
                print(out, String.join("\t", partition.topic(), "" + partition.partition(), isolation.toString(), spec.getKey(),
                        "" + answer.offset(), "" + answer.timestamp(), "" + answer.leaderEpoch().orElse(-1)));
            }
        }
    }

    static PrintStream file(Path folder, String name) throws Exception {
        return new PrintStream(folder.resolve(name).toFile(), StandardCharsets.UTF_8);
    }

    static void print(PrintStream out, String line) {
        out.print(line + "\n");
    }

    // ---- JSON, field by field as the command line of logstead prints it

    static String json(ConsumerRecord<byte[], byte[]> record) {
        StringBuilder line = new StringBuilder("{\"topic\":").append(quoted(record.topic()));
        line.append(",\"partition\":").append(record.partition()).append(",\"offset\":").append(record.offset());
        line.append(",\"timestamp\":").append(record.timestamp() < 0 ? "null" : "" + record.timestamp());
        put(line.append(','), "key", record.key());
        put(line.append(','), "value", record.value());
        line.append(",\"headers\":[");
        String comma = "";
        for (Header header : record.headers()) {
            put(line.append(comma).append('{'), "key", bytes(header.key()));
            put(line.append(','), "value", header.value());
            line.append('}');
            comma = ",";
        }
        return line.append("]}").toString();
    }

    static void put(StringBuilder line, String name, byte[] bytes) {
        String text = bytes == null ? null : text(bytes);
        if (bytes != null && text == null) {
            line.append('"').append(name).append("_base64\":\"").append(Base64.getEncoder().encodeToString(bytes)).append('"');
        } else {
            line.append('"').append(name).append("\":").append(text == null ? "null" : quoted(text));
        }
    }

    /** Null when the bytes are no text. */
    static String text(byte[] bytes) {
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
        } catch (CharacterCodingException error) {
            return null;
        }
    }

    static String quoted(String text) {
        StringBuilder line = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            int escaped = "\"\\\b\f\n\r\t".indexOf(c);
            if (escaped >= 0) line.append('\\').append("\"\\bfnrt".charAt(escaped));
            else if (c < ' ') line.append(String.format("\\u%04x", (int) c));
            else line.append(c);
        }
        return line.append('"').toString();
    }
}

#!/usr/bin/env bash
# Lets a running Apache Kafka broker and logstead read what the other one has written.
#
#   tests/kafka/broker.sh                  both directions, with a broker of its own on loopback
#   tests/kafka/broker.sh --self-test      proves, without Java, that the comparisons notice differences
#   tests/kafka/broker.sh --fixtures DIR   writes what tests/fixtures/kafka-4.0-broker holds to DIR
#
# Needs what judge.sh needs, and skips as it does; judge.sh calls both. However the script ends, no broker is left.
#
# Kafka to logstead: Exchange.java writes topics of every kind and notes all that Kafka's own consumer and admin see, in both
# isolations. The broker is stopped, and in a later session killed. Copies of its folder must then show logstead the same:
# to a reader that changes nothing, and to an owner that has recovered the folder and gone on; `verify` must find no damage.
#
# logstead to Kafka: empty topics are made on the broker. While it is stopped, partition folders of logstead take the place of
# theirs. Then Kafka's consumer must see what logstead sees in them.
set -euo pipefail

judge="kafka broker"
# shellcheck source=tests/kafka/kafka.sh
source "$(dirname "${BASH_SOURCE[0]}")/kafka.sh"
work=$target/kafka/broker
classes=$work/classes
data=$work/data
logstead=$target/release/logstead
fixtures=$root/tests/fixtures/kafka-4.0-broker
isolations="read_committed read_uncommitted"
# The processes that must not outlive this script, also by name of a file for the guard: a broker, a client.
broker= client=
running=$work/running
passed=0 failed=0
# What verify may say of folders that were given to another topic.
moved_topics=

note_running() {
    echo "$broker $client" >"$running"
}

end_broker() {
    [ -z "$broker" ] || kill -KILL "$broker" 2>/dev/null || true
    wait_for_end
}

# The broker is ending.
wait_for_end() {
    [ -z "$broker" ] || wait "$broker" 2>/dev/null || true
    broker=
    note_running
}

end_all() {
    [ -z "$client" ] || kill -KILL "$client" 2>/dev/null || true
    client=
    end_broker
}

# Whoever is killed cannot clean up: the guard does, once nobody holds the other end of its pipe.
start_guard() {
    note_running
    exec 9> >(
        exec >/dev/null 2>&1
        trap '' INT TERM HUP
        cat
        xargs -r kill -KILL <"$running"
    )
}

give_up() {
    echo "$judge: FAILED: $1" >&2
    exit 1
}

# verdict WHAT COMMAND...: counts and tells whether the command succeeds; shows the end of what it prints when it does not.
verdict() {
    local what=$1 output=$work/verdict
    shift
    if "$@" >"$output" 2>&1; then
        passed=$((passed + 1))
        echo "pass $what"
    else
        failed=$((failed + 1))
        echo "FAIL $what"
        cut -c 1-300 "$output" | sed -n 's/^/     /;1,15p'
    fi
}

# ---- the broker

java_options=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx512m)

# Waits for the client as for a job, or a signal would have to wait for it.
run_java() {
    local status=0
    timeout --foreground --signal=KILL 300 java "${java_options[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
        -cp "$classes:$libs/*" "$@" 9>&- &
    client=$!
    note_running
    wait "$client" || status=$?
    client=
    note_running
    return $status
}

exchange() {
    local action=$1
    shift
    run_java Exchange "$action" "127.0.0.1:$port" "$@" 2>"$work/exchange.err" || {
        cat "$work/exchange.err" >&2
        give_up "Exchange $action"
    }
}

is_open() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Two neighbouring ports that nobody listens on, below those that the system gives away by itself.
choose_port() {
    local try
    for try in {1..50}; do
        port=$((20000 + (RANDOM * 5 + try) % 12000))
        is_open "$port" || is_open $((port + 1)) || return 0
    done
    give_up "no free port was found"
}

# write_properties FOLDER INDEX_BYTES
write_properties() {
    cat >"$work/server.properties" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
controller.listener.names=CONTROLLER
log.dirs=$1
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
log.retention.ms=-1
log.cleaner.backoff.ms=500
log.initial.task.delay.ms=600000
log.index.size.max.bytes=$2
metadata.max.idle.interval.ms=0
EOF
}

# start_broker FOLDER INDEX_BYTES: formats a new folder.
start_broker() {
    local try
    for try in 1 2 3; do
        choose_port
        write_properties "$1" "$2"
        if [ ! -e "$1/meta.properties" ]; then
            run_java kafka.tools.StorageTool format -t bG9nc3RlYWQtYnJva2VyMQ -c "$work/server.properties" >"$work/format.log" 2>&1 ||
                give_up "the folder cannot be formatted (see $work/format.log)"
        fi
        java "${java_options[@]}" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$libs/*" \
            kafka.Kafka "$work/server.properties" >"$work/broker.log" 2>&1 9>&- &
        broker=$!
        note_running
        if wait_for_broker; then return; fi
        end_broker
    done
    cut -c 1-300 "$work/broker.log" | grep -a -m 5 -A 3 ERROR >&2 || true
    give_up "the broker does not start (see $work/broker.log)"
}

# Until it listens, for some minutes at most; fails at once when it has ended.
wait_for_broker() {
    local tenth
    for tenth in {1..1800}; do
        kill -0 "$broker" 2>/dev/null || return 1
        if is_open "$port"; then return 0; fi
        sleep 0.1
    done
    return 1
}

stop_broker() {
    local tenth
    kill -TERM "$broker"
    for tenth in {1..1800}; do
        kill -0 "$broker" 2>/dev/null || {
            wait_for_end
            return 0
        }
        sleep 0.1
    done
    give_up "the broker does not stop"
}

# ---- what logstead sees

# copy_folder FROM TO: what a broker leaves, without its lock.
copy_folder() {
    rm -rf "$2"
    cp -R --sparse=always "$1" "$2"
    rm -f "$2/.lock"
}

# see DATA OUT: writes what Exchange dumps, as far as the command line shows it, for the same partitions: `topic partition`
# lines on stdin.
see() {
    local topic partition isolation
    mkdir -p "$2"
    for isolation in $isolations; do : >"$2/records.$isolation"; done
    while read -r topic partition; do
        for isolation in $isolations; do
            "$logstead" --data "$1" consume "$topic" --partition "$partition" --isolation "$isolation" --format json \
                </dev/null >>"$2/records.$isolation" || return 1
        done
    done
}

# The partitions of a dump.
partitions_of() {
    cut -f 1,2 "$1/offsets" | sort -u -k 1,1 -k 2,2n
}

# same_records EXPECTED DATA: logstead reads the records that Kafka has read, in both isolations.
same_records() {
    local seen=$work/seen isolation status=0
    rm -rf "$seen"
    partitions_of "$1" | see "$2" "$seen" || return 1
    for isolation in $isolations; do
        diff "$1/records.$isolation" "$seen/records.$isolation" || status=1
    done
    return $status
}

# offsets_as_kafka EXPECTED DATA: what logstead answers where Kafka has answered, as lines of the same columns. The leader epoch
# of what is no record is left out: a broker answers with the one under which it leads since its start.
offsets_as_kafka() {
    local topic asked
    awk -F '\t' '$3 == "read_committed" { print $1, $4 }' "$1/offsets" | sort -u | while read -r topic asked; do
        "$logstead" --data "$2" offsets "$topic" --at "$asked" --json </dev/null |
            sed -E "s/null/-1/g; s/[^0-9,-]//g; s/,/ /g; s/^([0-9]+)/$topic \\1 $asked/" || return 1
    done | without_epochs | sort
}

without_epochs() {
    awk '$3 == "earliest" || $3 == "latest" { $6 = -1 } { print }'
}

# same_offsets EXPECTED DATA: and only the differences that `Log::list_offset` tells of, of partitions whose first records are
# deleted: Kafka finds no record of a time where there is one, or as the one of the largest time one that is deleted. And of
# records without a time: before such a segment Kafka finds nothing later, and of nothing but them it names the first one.
same_offsets() {
    awk -F '\t' '$3 == "read_committed" { print $1, $2, $4, $5, $6, $7 }' "$1/offsets" | without_epochs | sort >"$work/offsets.kafka"
    offsets_as_kafka "$1" "$2" >"$work/offsets.logstead" || return 1
    awk '
        { key = $1 " " $2 " " $3 }
        NR == FNR { kafka[key] = $0; offset[key] = $4; timestamp[key] = $5; expected++; next }
        { found++ }
        kafka[key] != $0 {
            start = offset[$1 " " $2 " earliest"]
            if (start > 0 && $3 != "max-timestamp" && offset[key] == -1 && $4 >= start) next
            if (start > 0 && $3 == "max-timestamp" && offset[key] < start && ($4 == -1 || $4 >= start)) next
            if ($1 ~ /[.]untimed$/ && $3 ~ /^[0-9]+$/ && offset[key] == -1) next
            if ($3 == "max-timestamp" && timestamp[key] == -1 && $4 == -1) next
            print "Kafka " kafka[key] ", logstead " $0
            wrong++
        }
        END { if (found != expected) print found " answers, not " expected
              exit !expected || wrong > 0 || found != expected }' "$work/offsets.kafka" "$work/offsets.logstead"
}

# No line may speak of damage, whatever the exit code. Seals name the topic by the id that it had when they were written: where
# folders were given to a topic of Kafka's, that they disagree is no damage.
no_damage() {
    local status=0 damages
    "$logstead" --data "$1" verify >"$work/verify.out" 2>&1 || status=$?
    damages=$(grep -a '^damage' "$work/verify.out" | grep -avE "${moved_topics:-^$}" || true)
    [ -z "$damages" ] || {
        echo "$damages"
        return 1
    }
    [ "$status" = 0 ] || [ -n "$moved_topics" ] || {
        cat "$work/verify.out"
        return 1
    }
}

# goes_on EXPECTED DATA: an owner opens the folder, adds a record to every partition, and closes it; then what Kafka has read
# is still there, and the added records besides.
goes_on() {
    local seen=$work/seen isolation topic partition count=0 status=0
    while read -r topic partition; do
        echo "logstead goes on" | "$logstead" --data "$2" produce "$topic" --partition "$partition" || return 1
        count=$((count + 1))
    done < <(partitions_of "$1")
    rm -rf "$seen"
    partitions_of "$1" | see "$2" "$seen" || return 1
    for isolation in $isolations; do
        grep -av '"key":null,"value":"logstead goes on","headers":\[\]}$' "$seen/records.$isolation" |
            diff "$1/records.$isolation" - || status=1
    done
    [ "$(grep -ac '"value":"logstead goes on"' "$seen/records.read_uncommitted")" = "$count" ] || {
        echo "not every added record is there"
        status=1
    }
    return $status
}

# judge_data NAME EXPECTED DATA: everything that logstead must see in a folder of Kafka's.
judge_data() {
    local copy=$work/copy lines
    copy_folder "$3" "$copy"
    lines=$(cat "$2"/records.* | wc -l)
    verdict "$1: no damage" no_damage "$copy"
    verdict "$1: $lines lines of records, nothing changed" same_records "$2" "$copy"
    verdict "$1: $(grep -c read_committed "$2/offsets") offsets by what was asked for" same_offsets "$2" "$copy"
    verdict "$1: the folder is as it was" diff -r "$3" "$copy"
    verdict "$1: an owner goes on" goes_on "$2" "$copy"
    verdict "$1: no damage after that" no_damage "$copy"
    rm -rf "$copy"
}

# ---- what logstead writes

# Topics of lines through every codec, as `logstead produce` writes them: $work/lines, and their source $work/lines.txt.
write_lines() {
    local codec
    rm -rf "$work/lines"
    seq 1 3000 | sed 's/.*/key-&:line & of the lines that every codec takes, with a tail that repeats itself itself itself/' \
        >"$work/lines.txt"
    for codec in none gzip snappy lz4 zstd; do
        "$logstead" --data "$work/lines" topics create "$codec" --partitions 1 --config segment.bytes=30000
        "$logstead" --data "$work/lines" produce "$codec" --key-separator : --compression "$codec" --batch-bytes 4000 \
            --file "$work/lines.txt"
    done
}

# The folders that go to Kafka: folder, a tab, topic and partition there. Of those that the example writes, `epochs`, its
# replica, and `highoffsets` are left out: their leader epochs are above any that this broker hands out.
folders_for_kafka() {
    local kind folder name
    for kind in "$written" "$written/cluster" "$work/lines"; do
        for folder in "$kind"/*-[0-9]*; do
            name=$(basename "$folder")
            case $name in epochs-* | replicated-1 | highoffsets-* | *-delete | *-stray | __*) continue ;; esac
            printf '%s\t%s\n' "$folder" "from.$(basename "$kind").$name"
        done
    done
}

# The same as arguments for `Exchange topics`: a topic has as many partitions as its highest number says.
topics_for_kafka() {
    folders_for_kafka | cut -f 2 | sed 's/^\(.*\)-\([0-9]*\)$/\1 \2/' |
        awk '{ if ($2 + 1 > count[$1]) count[$1] = $2 + 1 } END { for (name in count) print name ":" count[name] }' | sort
}

# put_folders DATA IDS: puts them in the place of the empty ones that the broker has made, each under its topic's id, and says
# where their logs start.
put_folders() {
    local folder name id
    while IFS=$'\t' read -r folder name; do
        id=$(awk -F '\t' -v name="${name%-*}" '$1 == name { print $2 }' "$2")
        [ -n "$id" ] && [ -d "$1/$name" ] || give_up "the broker has no folder for $name"
        rm -rf "${1:?}/$name"
        cp -R "$folder" "$1/$name"
        printf 'version: 0\ntopic_id: %s' "$id" >"$1/$name/partition.metadata"
    done < <(folders_for_kafka)
    local kind starts
    starts=$(for kind in "$written" "$written/cluster" "$work/lines"; do
        [ ! -e "$kind/log-start-offset-checkpoint" ] ||
            awk -v prefix="from.$(basename "$kind")." 'NR > 2 && !/^(epochs|highoffsets) / { print prefix $0 }' \
                "$kind/log-start-offset-checkpoint"
    done)
    printf '0\n%s\n%s\n' "$(grep -c . <<<"$starts")" "$starts" >"$1/log-start-offset-checkpoint"
}

# console_consumer TOPIC: Kafka's command line reads 3000 records.
console_consumer() {
    run_java org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "127.0.0.1:$port" --topic "$1" \
        --partition 0 --offset earliest --max-messages 3000 --timeout-ms 20000 \
        --property print.timestamp=true --property print.partition=true --property print.offset=true \
        --property print.headers=true --property print.key=true 2>"$work/console.err"
}

# The console consumer prints the lines that were written, under the offsets and timestamps that logstead shows.
same_lines() {
    local codec=$1
    console_consumer "from.lines.$codec" >"$work/console.out" || {
        cat "$work/console.err"
        return 1
    }
    cut -f 5,6 "$work/console.out" | sed 's/\t/:/' | diff "$work/lines.txt" - || return 1
    "$logstead" --data "$work/lines" consume "$codec" --format json </dev/null |
        sed 's/^.*"partition":\([0-9]*\),"offset":\([0-9]*\),"timestamp":\([0-9]*\),"key":"\(.*\)","value":"\(.*\)","headers":\[\]}$/CreateTime:\3\tPartition:\1\tOffset:\2\tNO_HEADERS\t\4\t\5/' |
        diff - "$work/console.out"
}

# ---- the proof that differences are noticed

# noticed WHAT COMMAND...: the command must fail.
noticed() {
    local what=$1
    shift
    if "$@" >"$work/verdict" 2>&1; then
        failed=$((failed + 1))
        echo "NOT NOTICED: $what"
    else
        passed=$((passed + 1))
        echo "noticed: $what"
    fi
}

# What the broker's fixtures hold is read as Kafka has read it; then the expectation, or a log, is changed.
self_test() {
    local kind expected=$work/expected copy=$work/copy change
    build_logstead
    for kind in clean killed; do judge_data "fixture $kind" "$fixtures/$kind" "$fixtures/$kind/data"; done
    copy_folder "$fixtures/clean/data" "$copy"
    for change in '100d' '100p' '100s/"offset":/"offset":1/' '100s/"value":"./"value":"/' '100s/"timestamp":1/"timestamp":2/' \
        '100s/"headers":\[/&{"key":"k","value":null}/' '$d'; do
        rm -rf "$expected"
        mkdir -p "$expected"
        cp "$fixtures/clean/offsets" "$fixtures/clean"/records.* "$expected"
        sed -i -e "$change" "$expected/records.read_uncommitted"
        noticed "an expectation that sed '$change' has changed" same_records "$expected" "$copy"
    done
    for change in '$s/[0-9-]*$/77/' '/earliest/s/[0-9]*\t-1\t/9&/' '$d' '$p'; do
        rm -rf "$expected"
        mkdir -p "$expected"
        sed -e "$change" "$fixtures/clean/offsets" >"$expected/offsets"
        noticed "offsets that sed '$change' has changed" same_offsets "$expected" "$copy"
    done
    noticed "the other isolation" diff "$fixtures/clean/records.read_committed" "$fixtures/clean/records.read_uncommitted"
    add_to_byte "$copy/codec-lz4-0/00000000000000000000.log" 100 1
    noticed "a flipped byte in a compressed batch, by the records" same_records "$fixtures/clean" "$copy"
    noticed "a flipped byte in a compressed batch, by verify" no_damage "$copy"
}

# ---- the runs

prepare() {
    install_tools
    fetch_kafka
    rm -rf "$data" "$work/clean" "$work/killed" "$work/ours" "$work/dump"*
    mkdir -p "$classes" "$work/dump-clean" "$work/dump-killed" "$work/dump-ours"
    javac -nowarn -d "$classes" -cp "$libs/*" "$root/tests/kafka/Exchange.java" || give_up "Exchange.java does not compile"
}

build_logstead() {
    (cd "$root" && cargo build -q --release -p logstead-tools)
    [ -x "$logstead" ] || give_up "$logstead was not built"
}

# One session that ends well, one that is killed: $work/clean and $work/killed, and what Kafka shows of each. Of the killed
# one that is what Kafka itself has after a restart: it may have forgotten that records were deleted in its last minute.
write_with_kafka() {
    start_broker "$data" 960
    exchange write "$@"
    exchange dump "$work/dump-clean"
    stop_broker
    copy_folder "$data" "$work/clean"
    start_broker "$data" 960
    exchange more
    end_broker
    copy_folder "$data" "$work/killed"
    start_broker "$data" 960
    exchange dump "$work/dump-killed"
    end_broker
}

judge_what_kafka_writes() {
    write_with_kafka bulk
    judge_data "Kafka, stopped" "$work/dump-clean" "$work/clean"
    judge_data "Kafka, killed" "$work/dump-killed" "$work/killed"
}

judge_what_logstead_writes() {
    [ -d "$written/cluster" ] || write_folders
    write_lines
    # Room for all entries of the largest of these folders, or the broker cannot build its indexes anew.
    start_broker "$work/ours" 1048576
    # shellcheck disable=SC2046 # each line is an argument
    exchange topics $(topics_for_kafka) >"$work/ids"
    stop_broker
    put_folders "$work/ours" "$work/ids"
    copy_folder "$work/ours" "$work/copy"
    start_broker "$work/ours" 1048576
    exchange dump "$work/dump-ours"
    verdict "logstead's folders: $(cat "$work/dump-ours"/records.* | wc -l) lines of records" \
        same_records "$work/dump-ours" "$work/copy"
    verdict "logstead's folders: offsets by what was asked for" same_offsets "$work/dump-ours" "$work/copy"
    local codec
    for codec in none gzip snappy lz4 zstd; do
        verdict "logstead's lines ($codec) on Kafka's console" same_lines "$codec"
    done
    stop_broker
    moved_topics='^damage metadata [^ ]*/partition[.]metadata: the topic id is not [^ ]*, which the seals of the log name$|^damage: '
    judge_data "logstead's folders after Kafka" "$work/dump-ours" "$work/ours"
}

report() {
    echo "$judge: $passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" != 0 ]
}

mkdir -p "$work"
trap end_all EXIT
trap 'exit 130' INT TERM HUP
start_guard
case ${1:-} in
"")
    build_logstead
    prepare
    judge_what_kafka_writes
    judge_what_logstead_writes
    report
    ;;
--fixtures)
    prepare
    write_with_kafka
    for kind in clean killed; do
        mkdir -p "${2:?}/$kind"
        cp -R "$work/$kind" "$2/$kind/data"
        cp "$work/dump-$kind"/* "$2/$kind/"
        (
            cd "$2/$kind/data"
            dump_log_segments --files "$(join_with_commas [a-z]*-[0-9]/*.snapshot [a-z]*-[0-9]/*.txnindex)"
        ) >"$2/$kind/states"
        # Ten megabytes of zeros each, where the broker was killed.
        rm -f "$2/$kind/data/__cluster_metadata-0"/*index
    done
    ;;
--self-test)
    self_test
    report
    ;;
*)
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac

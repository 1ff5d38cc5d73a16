#!/usr/bin/env bash
# Lets Apache Kafka's own DumpLogSegments judge partition folders.
#
#   tests/kafka/judge.sh                 writes folders with the example `write_for_kafka`, judges each of them, and then lets
#                                        a running broker judge (broker.sh)
#   tests/kafka/judge.sh FOLDER...       judges the given partition folders
#   tests/kafka/judge.sh --self-test     proves that the judge accepts Kafka's own folders and complains about damaged ones
#
# Needs Java 17 and Maven, and installs them where apt-get and root are at hand. Where they cannot be had it prints a line
# that starts with SKIP and exits with 0, or with 1 if LOGSTEAD_KAFKA=required. Jars are kept in target/kafka/libs.
#
# A folder passes when, in each of three runs over its files, DumpLogSegments exits with 0, writes nothing to stderr, names
# every file, prints no complaint, and shows as many records as the batch headers count. Folders named `compacted-*` may
# have gaps between offsets. Of `__cluster_metadata-0` every record, also those in snapshots, must be one of Kafka's. Record values with line breaks could imitate a complaint: do not put any into such folders.
set -euo pipefail

start=$PWD
judge="kafka judge"
# shellcheck source=tests/kafka/kafka.sh
source "$(dirname "${BASH_SOURCE[0]}")/kafka.sh"
work=$target/kafka/work
fixtures=$root/tests/fixtures/kafka-4.0
# A metadata log as Kafka wrote it, and one that a unit test of `MetadataLog` requires it to write byte for byte.
kafkas_metadata=$root/tests/fixtures/kafka-4.0-metadata/__cluster_metadata-0
golden_metadata=$root/tests/fixtures/golden/__cluster_metadata-0

# Totals over all judged folders.
files=0 batches=0 records=0 index_entries=0 time_entries=0 aborted=0 producers=0 passed=0 failed=0

# run_mode NAME FILE_COUNT OPTION... : one run over the folder's files; prints its complaints, succeeds when there are none.
# Expects `name`, `out` and the current folder to be set by `judge_folder`.
run_mode() {
    local mode=$1 count=$2 status=0 complaints=$out/$1.complaints
    shift 2
    dump_log_segments "$@" >"$out/$mode.out" 2>"$out/$mode.err" || status=$?
    : >"$complaints"
    [ "$status" = 0 ] || echo "exit code $status" >>"$complaints"
    # All of stderr is a complaint, save the gaps that compaction leaves.
    case $name in
    compacted-*) sed -e '/^Non-consecutive offsets in /d' -e '/^ *[0-9]* is followed by [0-9]*$/d' "$out/$mode.err" ;;
    *) cat "$out/$mode.err" ;;
    esac >>"$complaints"
    # On stdout, lines of records start with a bar and hold the user's data: they prove nothing.
    # They may also hold any byte, and grep gives up on what it takes for a binary file.
    grep -av '^| ' "$out/$mode.out" |
        grep -aiE 'mismatch|out of order|not found|isvalid: false|invalid bytes|non-consecutive|exception|corrupt|error' \
            >>"$complaints" || true
    # A metadata record that cannot be decoded is shown as such, in its own line.
    if [ "$name" = __cluster_metadata-0 ]; then
        grep -aE '^\| .* payload: Error at ' "$out/$mode.out" >>"$complaints" || true
    fi
    local named
    named=$(grep -ac '^Dumping ' "$out/$mode.out" || true)
    [ "$named" = "$count" ] || echo "$named of $count files were looked at" >>"$complaints"
    [ ! -s "$complaints" ]
}

# judge_folder FOLDER: prints one line; on failure also the complaints.
judge_folder() {
    local folder name out complaint=
    folder=$(cd "$start" && cd "$1" 2>/dev/null && pwd) || {
        failed=$((failed + 1))
        echo "FAIL $1: no such folder"
        return 1
    }
    name=$(basename "$folder")
    out=$work/$name
    rm -rf "$out"
    mkdir -p "$out"
    # Sets `complaint`, and the counts when there is none.
    judge_files "$folder" || true
    if [ -n "$complaint" ]; then
        failed=$((failed + 1))
        echo "FAIL $name: $complaint"
        cat "$out"/*.complaints 2>/dev/null | sed -n 's/^/     /;1,20p'
        return 1
    fi
    passed=$((passed + 1))
    echo "pass $name: $file_count files, $batch_count batches, $record_count records," \
        "$index_count index entries, $time_count time index entries, $aborted_count aborted transactions," \
        "$producer_count producers in snapshots"
}

judge_files() {
    cd "$1"
    shopt -s nullglob
    local logs=(*.log) indexes=(*.index) times=(*.timeindex) others=(*.snapshot *.txnindex) decoder=()
    if [ "$name" = __cluster_metadata-0 ]; then
        others+=(*.checkpoint)
        decoder=(--cluster-metadata-decoder)
    fi
    shopt -u nullglob
    local all=("${logs[@]}" "${indexes[@]}" "${times[@]}" "${others[@]}") both=("${indexes[@]}" "${times[@]}")
    file_count=${#all[@]}
    if [ ${#logs[@]} = 0 ]; then
        complaint="no .log file"
        return
    fi
    if ! run_mode dump "$file_count" --deep-iteration --print-data-log ${decoder[@]+"${decoder[@]}"} --files "$(join_with_commas "${all[@]}")"; then
        complaint="DumpLogSegments complains"
        return
    fi
    if [ ${#both[@]} != 0 ]; then
        if ! run_mode verify ${#both[@]} --verify-index-only --files "$(join_with_commas "${both[@]}")"; then
            complaint="--verify-index-only complains"
            return
        fi
        if ! run_mode sanity ${#both[@]} --index-sanity-check --files "$(join_with_commas "${both[@]}")"; then
            complaint="--index-sanity-check complains"
            return
        fi
        # An empty index need not pass; one that holds bytes must, by name.
        local index sane=0 held=0
        for index in "${both[@]}"; do
            [ -s "$index" ] || continue
            held=$((held + 1))
            if grep -qaxF "$index passed sanity check." "$out/sanity.out"; then sane=$((sane + 1)); fi
        done
        if [ "$sane" != "$held" ]; then
            complaint="only $sane of $held indexes passed the sanity check"
            return
        fi
    fi
    # DumpLogSegments prints aborted transactions unchecked: each must end at an abort marker of its producer.
    awk '
        /^baseOffset: /           { for (i = 1; i < NF; i++) if ($i == "producerId:") producer = $(i + 1) }
        /^\| offset: .* endTxnMarker: ABORT / { aborts[producer " " $3] = 1 }
        /^version: .* lastStableOffset: / { ends[++n] = $4 " " $8 }
        END { for (i = 1; i <= n; i++) if (!(ends[i] in aborts)) print "no abort marker (producer, offset): " ends[i] }' \
        "$out/dump.out" >"$out/transactions.complaints"
    if [ -s "$out/transactions.complaints" ]; then
        complaint="a transaction index disagrees with its log"
        return
    fi
    # Batches, records that their headers count, records shown, index entries, time index entries, aborted transactions,
    # producers in snapshots, logs with batches.
    local counted logs_with_batches full=0 log
    read -r batch_count counted record_count index_count time_count aborted_count producer_count logs_with_batches < <(awk '
        /^Dumping /              { in_log = /\.log$/; fresh = in_log }
        /^baseOffset: /          { batches++; for (i = 1; i < NF; i++) if ($i == "count:") counted += $(i + 1)
                                   if (fresh) { logs++; fresh = 0 } }
        /^\| offset: /           { records++ }
        /^offset: [0-9]+ position: / { entries++ }
        /^timestamp: [0-9]+ offset: / { times++ }
        /^version: .* lastStableOffset: / { aborted++ }
        /^producerId: [0-9]+ producerEpoch: / { producers++ }
        END { print batches + 0, counted + 0, records + 0, entries + 0, times + 0, aborted + 0, producers + 0, logs + 0 }' \
        "$out/dump.out")
    for log in "${logs[@]}"; do
        if [ -s "$log" ]; then full=$((full + 1)); fi
    done
    if [ "$counted" != "$record_count" ]; then
        complaint="batch headers count $counted records, the dump shows $record_count"
    elif [ "$logs_with_batches" != "$full" ]; then
        complaint="$full logs have bytes, but batches were found in $logs_with_batches"
    else
        files=$((files + file_count)) batches=$((batches + batch_count)) records=$((records + record_count))
        index_entries=$((index_entries + index_count)) time_entries=$((time_entries + time_count))
        aborted=$((aborted + aborted_count)) producers=$((producers + producer_count))
    fi
}

report() {
    echo "kafka judge: judged $files files, $batches batches, $records records, $index_entries index entries," \
        "$time_entries time index entries, $aborted aborted transactions, $producers producers in snapshots"
    echo "kafka judge: $passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" != 0 ]
}

# The folders that the example writes must hold something of every kind, or a check had nothing to check.
require_every_kind() {
    local kind
    for kind in index_entries time_entries aborted producers; do
        [ "${!kind}" != 0 ] || {
            echo "kafka judge: FAILED: nothing was judged of kind: $kind" >&2
            return 1
        }
    done
    for kind in "$written" "$written/cluster"; do
        [ -e "$kind/.kafka_cleanshutdown" ] || {
            echo "kafka judge: FAILED: the example did not leave $kind as after a clean stop" >&2
            return 1
        }
    done
}

# damaged NAME FIXTURE COMMAND...: runs the command in a copy of the fixture and requires that the judge then complains.
damaged() {
    local what=$1 copy=$work/damaged/${2##*/}
    rm -rf "$work/damaged"
    mkdir -p "$work/damaged"
    cp -R "$fixtures/$2" "$copy"
    (cd "$copy" && "${@:3}")
    if (judge_folder "$copy") >"$work/damaged/verdict"; then
        echo "NOT NOTICED: $what"
        unnoticed=$((unnoticed + 1))
    else
        noticed=$((noticed + 1))
        echo "noticed: $what: $(sed "s|$work/damaged/||g; s/^.*isvalid: false/isvalid: false/; s/^FAIL [^:]*: //; s/^ *//" "$work/damaged/verdict" | head -n 2 | paste -sd "|" | cut -c 1-110)"
    fi
}

# Appends an intact batch, at offset 16, whose one record has the type 99.
unknown_metadata_record() {
    printf '%b' '\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x3c\x00\x00\x00\x02\x02\x3c\xdc\xbc\xa6\x00\x00\x00\x00' \
        '\x00\x00\x00\x00\x01\x8b\xcf\xe5\x68\x00\x00\x00\x01\x8b\xcf\xe5\x68\x00\xff\xff\xff\xff\xff\xff\xff' \
        '\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x01\x14\x00\x00\x00\x01\x08\x01\x63\x00\x00\x00' >>00000000000000000000.log
}

# In segments-0 the first log has two batches of 111 bytes, the first index one entry (offset 3, position 111).
self_test() {
    local first=00000000000000000000 folder noticed=0 unnoticed=0
    for folder in "$fixtures"/*/; do
        judge_folder "$folder" || true
    done
    judge_folder "$kafkas_metadata" || true
    damaged "a metadata record of an unknown type" "../golden/__cluster_metadata-0" unknown_metadata_record
    damaged "a flipped byte in a metadata snapshot" "../golden/__cluster_metadata-0" \
        add_to_byte 00000000000000000012-0000000001.checkpoint 150 1
    damaged "a flipped byte in a batch header" segments-0 add_to_byte $first.log 40 1
    damaged "a flipped byte in a record's value" segments-0 add_to_byte $first.log 80 1
    damaged "a log that is cut inside its last batch" segments-0 truncate -s -5 $first.log
    damaged "a base offset that leaves a gap" segments-0 add_to_byte 00000000000000000008.log 118 1
    damaged "an index entry whose offset is shifted" segments-0 add_to_byte $first.index 3 1
    damaged "an index entry whose position is shifted" segments-0 add_to_byte $first.index 7 1
    damaged "an index entry that points at the wrong batch" segments-0 add_to_byte $first.index 7 145
    damaged "an index that is cut inside an entry" segments-0 truncate -s -3 $first.index
    damaged "a time index entry whose timestamp is shifted" segments-0 add_to_byte $first.timeindex 7 1
    damaged "a flipped byte in a producer snapshot" segments-0 add_to_byte 00000000000000000004.snapshot 20 1
    damaged "an aborted transaction of an unknown version" transactions-0 add_to_byte 00000000000000000002.txnindex 0 7
    damaged "an aborted transaction that ends elsewhere" transactions-0 add_to_byte 00000000000000000002.txnindex 25 1
    damaged "a folder without a log" segments-0 sh -c 'rm ./*.log'
    damaged "a folder that is not there" segments-0 sh -c 'mv ../segments-0 ../elsewhere'
    echo "kafka judge: self-test: $noticed kinds of damage noticed, $unnoticed not"
    [ "$unnoticed" = 0 ]
}

install_tools
fetch_kafka

case ${1:-} in
--self-test)
    self_test
    report
    "$root/tests/kafka/broker.sh" --self-test
    ;;
-*)
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
*)
    every_kind=true
    if [ $# = 0 ]; then
        every_kind=require_every_kind
        write_folders
        set -- "$written"/*-[0-9]*/ "$written"/cluster/*-[0-9]*/ "$golden_metadata"
    fi
    for folder in "$@"; do
        judge_folder "$folder" || true
    done
    report
    $every_kind
    # Last, for it may skip. It takes the folders that were just judged.
    [ $every_kind = true ] || "$root/tests/kafka/broker.sh"
    ;;
esac

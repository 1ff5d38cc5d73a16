# Sourced by judge.sh and broker.sh: where things are, and how Java and Kafka's jars come to this machine.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
mkdir -p "$target/kafka"
target=$(cd "$target" && pwd)
libs=$target/kafka/libs
# The folders that the example `write_for_kafka` writes: `<topic>-<partition>` in this one, and in `cluster` below it.
written=$target/kafka/folders

# skip WHY: expects `judge`, the name under which the script speaks.
skip() {
    if [ "${LOGSTEAD_KAFKA:-}" = required ]; then
        echo "$judge: FAILED: $1, and LOGSTEAD_KAFKA=required forbids skipping" >&2
        exit 1
    fi
    echo "SKIP: $judge did not run: $1"
    exit 0
}

java_is_new_enough() {
    local major
    command -v javac >/dev/null || return 1
    major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1) || return 1
    [ -n "$major" ] && [ "$major" -ge 17 ]
}

# broker.sh compiles a program, hence a whole JDK.
install_tools() {
    if java_is_new_enough && { [ -e "$libs/.complete" ] || command -v mvn >/dev/null; }; then
        return
    fi
    command -v apt-get >/dev/null || skip "Java 17 or Maven is missing and there is no apt-get"
    [ "$(id -u)" = 0 ] || skip "Java 17 or Maven is missing and only root may install them"
    echo "installing Java and Maven"
    mkdir -p "$work"
    export DEBIAN_FRONTEND=noninteractive
    {
        timeout 300 apt-get update -q &&
            timeout 600 apt-get install -q -y --no-install-recommends default-jdk-headless maven
    } >"$work/apt.log" 2>&1 || skip "apt-get could not install Java and Maven (see $work/apt.log)"
    java_is_new_enough || skip "the Java that apt-get installs is older than 17"
}

# Fetches the jars that pom.xml names, once: the stamp holds the pom's checksum.
fetch_kafka() {
    local stamp
    stamp=$(cksum <"$root/tests/kafka/pom.xml")
    if [ -e "$libs/.complete" ] && [ "$(cat "$libs/.complete")" = "$stamp" ]; then
        return
    fi
    command -v mvn >/dev/null || skip "Maven is missing and the jars of this version are not there yet"
    echo "fetching Kafka's jars with Maven"
    rm -rf "$libs"
    mkdir -p "$libs" "$work"
    timeout 600 mvn -B -q -f "$root/tests/kafka/pom.xml" \
        org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies "-DoutputDirectory=$libs" \
        >"$work/maven.log" 2>&1 || skip "Maven could not fetch Kafka's jars (see $work/maven.log)"
    printf '%s\n' "$stamp" >"$libs/.complete"
}

# Runs DumpLogSegments in the current folder. Kafka 4.0 has it in the broker's jar, later versions in org.apache.kafka.tools.
dump_log_segments() {
    java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=off -cp "$libs/*" \
        kafka.tools.DumpLogSegments "$@"
}

join_with_commas() {
    local IFS=,
    printf '%s' "$*"
}

# Writes partition folders of every kind to `$written`.
write_folders() {
    rm -rf "$written"
    mkdir -p "$written"
    (cd "$root" && cargo run -q --release -p logstead --example write_for_kafka -- "$written")
}

# add_to_byte FILE POSITION DELTA
add_to_byte() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\$(printf '%03o' $(((byte + $3) % 256)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

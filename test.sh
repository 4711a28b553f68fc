#!/usr/bin/env bash
# Installs what the tests use when it is missing, then builds, lints and runs every test. Changes no source file.
# Options: --long also runs the long forms of the crash, kill and chaos tests (hours).
set -euo pipefail
cd "$(dirname "$0")"

long=0
for argument in "$@"; do
    case $argument in
        --long) long=1 ;;
        *) echo "usage: $0 [--long]" >&2; exit 2 ;;
    esac
done

# What is built once gains nothing from files that make the next build faster; they take tens of gigabytes.
[ -z "${CI:-}" ] || export CARGO_INCREMENTAL=0

say() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

pgbin=/usr/lib/postgresql/15/bin
packages=()
[ -x $pgbin/postgres ] && [ -x $pgbin/pgbench ] || packages+=(postgresql-15)
[ -e /usr/lib/postgresql/15/lib/pgxs/src/test/perl/PostgreSQL/Test/Cluster.pm ] || packages+=(postgresql-server-dev-15)
perl -MIPC::Run -e 1 2>/dev/null || packages+=(libipc-run-perl)
command -v strace >/dev/null || packages+=(strace)
command -v ip >/dev/null || packages+=(iproute2)
command -v nft >/dev/null || packages+=(nftables)
[ -e /usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1 ] || packages+=(libfaketime)
command -v openssl >/dev/null || packages+=(openssl)
command -v cc >/dev/null || packages+=(gcc libc6-dev)
# Drivers, and what they run in; those of Python and JavaScript the tests fetch themselves.
[ -e /usr/share/java/postgresql.jar ] || packages+=(libpostgresql-jdbc-java)
command -v javac >/dev/null || packages+=(default-jdk-headless)
[ -x /usr/sbin/pgbouncer ] || packages+=(pgbouncer)
python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
command -v npm >/dev/null || packages+=(nodejs npm)
if [ ${#packages[@]} -gt 0 ]; then
    say "installing ${packages[*]}"
    root=()
    [ "$(id -u)" -eq 0 ] || root=(sudo)
    export DEBIAN_FRONTEND=noninteractive
    # Debian starts a cluster of its own when the server package comes in; the tests want none.
    "${root[@]}" apt-get update -qq
    "${root[@]}" mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' | "${root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    "${root[@]}" apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi

say "format"
cargo fmt --all --check

say "lint"
cargo clippy --workspace --all-targets --quiet -- -D warnings

say "build"
cargo build --workspace --all-targets --quiet

say "tests"
export PLIMSOLL_LONG_TESTS=$long
if cargo nextest --version >/dev/null 2>&1; then
    profile=default
    [ $long -eq 0 ] || profile=long
    cargo nextest run --profile $profile --workspace --no-fail-fast --status-level fail --final-status-level slow
else
    cargo test --workspace --no-fail-fast --quiet
fi

say "documentation examples"
cargo test --workspace --doc --quiet

# The simulator is built apart: the feature `simulated` of host changes each of our crates and `test-util` the
# runtime, so little could come from the build above in any profile. From scratch it takes 7 minutes of a
# processor.
say "simulator: build"
simulated=(--profile simulation -p tools -p simulator --features tools/simulate,simulator/simulated)
cargo build "${simulated[@]}" --bin plimsoll --test runner --quiet

say "simulator: its rules and its runner"
cargo test "${simulated[@]}" --lib --test runner --quiet

say "simulator: regressions"
simulate="${CARGO_TARGET_DIR:-target}/simulation/plimsoll simulate"
shopt -s nullglob
for story in simulation/cluster/regressions/*.story; do
    $simulate --story "$story"
done

# A run takes 0.5 s of a processor: ten seeds twice and 250 more take some 80 s of two.
say "simulator: the same seed takes the same course"
$simulate --seeds 1..11 --twice

# What none of them comes to is not tested.
say "simulator: a share of the seeds"
$simulate --seeds 1..251 --all-states

say "done"

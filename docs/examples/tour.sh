#!/bin/sh
# Builds agp, then takes a copy of the sample tree through a governed run that passes, and one whose stage plants a
# secret and is taken back; verifies, and catches one changed byte.
set -eu
cd "$(dirname "$0")/../.."
cargo build --release --locked
agp="$PWD/target/release/agp"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cp -R docs/examples/assets docs/examples/run.json "$place"
cd "$place"

show() {
    expected=$1
    shift
    echo "\$ agp $*"
    code=0
    "$agp" "$@" || code=$?
    echo "[exit code $code]"
    echo
    [ "$code" = "$expected" ] || { echo "exit code $expected was expected" >&2; exit 1; }
}

show 0 tool keys generate --output release.key
show 0 run --config run.json --stage index --key-file release.key
cp -R assets before
# The secret is made up here and now, so that none stands in this repository.
secret=$("$agp" tool keys generate | cut -c 5-44)
echo "echo 'db_pass''word = \"$secret\"' >> assets/credits.txt" > careless.sh
echo "\$ # careless.sh writes a password into assets/credits.txt"
show 19 run --config run.json --stage careless --key-file release.key
diff -r before assets
echo "\$ # nothing is left of it: assets is what it was"
show 0 verify --manifest assets/integrity_manifest.json --key-file release.key
echo '$ printf X >> assets/items.csv'
printf X >> assets/items.csv
show 1 verify --manifest assets/integrity_manifest.json --key-file release.key
show 0 audit verify --key-file release.key

#!/bin/sh
# Builds agp, then signs, verifies, damages and verifies again a copy of the sample tree.
set -eu
cd "$(dirname "$0")/../.."
cargo build --release --locked
agp="$PWD/target/release/agp"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cp -R docs/examples/assets "$place/assets"
cd "$place"

show() {
    echo "\$ agp $*"
    code=0
    "$agp" "$@" || code=$?
    echo "[exit code $code]"
    echo
}

show tool keys generate --output release.key
show sign --input-dir assets --key-file release.key
show verify --manifest assets/integrity_manifest.json --key-file release.key
echo '$ printf X >> assets/items.csv'
printf X >> assets/items.csv
show verify --manifest assets/integrity_manifest.json --key-file release.key
[ "$code" = 1 ] || { echo "the damage went unnoticed" >&2; exit 1; }
show audit verify --key-file release.key

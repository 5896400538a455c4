#!/usr/bin/env bash
# Signs a tree with GNU parallel, one shard a processor; a worker that is killed is tried again.
#
#   parallel.sh TREE MANIFEST [SHARDS] [FLAGS OF MERGE...]
#
# The signing secret stays here: workers get a part key that lives as long as this script. With `--sshlogin` in
# $PARALLEL the shards run on other hosts that have the same file system; add `--env AGP_PART_KEY --env
# AGP_SHARD_COUNT` there, and let $TMPDIR lie on it.
set -euo pipefail

tree=$1
manifest=$2
shards=${3:-$(nproc)}
shift $(($# < 3 ? $# : 3))

parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
agp tool keys generate --quiet --output "$parts/key"
AGP_PART_KEY=$(cat "$parts/key")
export AGP_PART_KEY AGP_SHARD_COUNT=$shards

# `auto` reads PARALLEL_SEQ, which stays the same when a job is tried again.
seq "$shards" | env -u POCKETMON_SIGN_SECRET parallel --will-cite --quote --retries 3 --halt soon,fail=1 \
  agp sign --quiet --input-dir "$tree" --shard auto --output "$parts/part-{}"

agp tool merge "$parts"/part-* --output "$manifest" "$@"

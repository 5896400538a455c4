#!/bin/sh
# Appends what the audit log has got since the last time to a file that a collector follows. For a timer:
#
#   ship-audit.sh STATE_DIR FILE [agp]
#
# At least once: a record of the very second may come twice, and `event.sequence` with `labels.log_id` tells it. Where agp
# cannot read the log nothing is appended and the next run begins at the same place.
set -eu
umask 077
state=$1 file=$2 agp=${3:-agp}
since=$(cat "$file.since" 2>/dev/null || echo 1970-01-01T00:00:00Z)
now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
"$agp" audit export --state-dir "$state" --to ecs --since "$since" >"$file.part"
cat "$file.part" >>"$file"
echo "$now" >"$file.since"
rm "$file.part"

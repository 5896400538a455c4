#!/usr/bin/env bash
# Signs a tree as an array of Slurm jobs on a shared file system, then merges.
#
#   export TREE=/shared/output MANIFEST=/shared/output/integrity_manifest.json PARTS=/shared/parts
#   mkdir -p "$PARTS" && agp tool keys generate --output "$PARTS/key"
#   array=$(sbatch --parsable slurm.sh)
#   sbatch --dependency="afterok:$array" --array=0-0 --export=ALL,MERGE=yes slurm.sh
#
# The signing secret is asked for by the merge alone (POCKETMON_SIGN_SECRET, or a key of the policy).
#SBATCH --job-name=agp
#SBATCH --array=0-63
#SBATCH --ntasks=1
#SBATCH --requeue
set -euo pipefail

: "${TREE:?the tree}" "${MANIFEST:?where the manifest goes}" "${PARTS:?a folder outside of the tree}"

if [ "${MERGE:-no}" = yes ]; then
  agp tool merge "$PARTS"/part-* --part-key-file "$PARTS/key" --output "$MANIFEST"
else
  # `auto` reads SLURM_ARRAY_TASK_ID and its bounds; a job that is requeued writes the same part once more.
  agp sign --input-dir "$TREE" --shard auto --part-key-file "$PARTS/key" \
    --output "$PARTS/part-$SLURM_ARRAY_TASK_ID"
fi

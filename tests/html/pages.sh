#!/usr/bin/env bash
# A page of every verb, good ones and bad ones, with names that try to be markup.
#
#   pages.sh AGP FOLDER
set -euo pipefail
agp=$(realpath "$1")
pages=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
POCKETMON_SIGN_SECRET=hex:$(printf '0123456789abcdef%.0s' 1 2 3 4)
export POCKETMON_SIGN_SECRET

# page NAME CODE ARGUMENTS...: one run and its page.
page() {
  local name=$1 expected=$2 code=0
  shift 2
  "$agp" "$@" >said 2>&1 || code=$?
  [ "$code" -eq "$expected" ] || { echo "$name: exit $code" >&2 && cat said >&2 && exit 1; }
}
with() { page "$1" "$2" "$3" --quiet --report "html=$pages/$1.html" "${@:4}"; }

hostile='<img src=x onerror=alert(1)> "&quot;
::error::x'
mkdir tree
for at in $(seq 30); do seq 1000 >"tree/$at.txt"; done
echo >"tree/$hostile"
with sign 0 sign --input-dir tree
with verify 0 verify --manifest tree/integrity_manifest.json
echo x >tree/1.txt
rm tree/2.txt
echo changed >"tree/$hostile"
# Put together here, so that no scanner takes this file for what it tests.
printf 'pass%s = "%s"\n' word x9fKQz72LpWmv41T >tree/settings.py
with verify-changed 1 verify --manifest tree/integrity_manifest.json
with verify-none 2 verify --manifest none
with guard 19 guard --target tree
for seconds in 3.1 3.2 2.9 3 3.3 3.1; do page budget 0 budget --target tree --kind pack --record $seconds; done
with budget 0 budget --target tree --kind pack
echo '{"adaptive_budget": {"max_budget_seconds": 4, "base_budget_seconds": 2}}' >policy.json
with budget-cut 0 budget --target tree --kind pack --config policy.json
with rollback 0 rollback snapshot --target-dirs tree
with rollback-list 0 rollback list
page playbook 0 rollback --target-dirs tree --output playbook.json
with rollback-show 0 rollback show playbook.json
stages=(--define-stage 'pack=tar -czf p.tgz tree; sleep 0.1' --define-stage 'hash=sha256sum tree/* >/dev/null'
  --define-stage "<b>$'\x1b'[31m wait=sleep 0.2")
with profile-first 0 profile "${stages[@]}"
for _ in $(seq 8); do page past 0 profile "${stages[@]}"; done
with profile 0 profile "${stages[@]}"
with profile-failed 1 profile --define-stage 'bad=sleep 0.1; exit 3'
mkdir built
with run 0 run --target-dirs built -- sh -c 'seq 9 >built/a.txt; sleep 0.2'
with run-rolled-back 1 run --target-dirs built -- sh -c 'seq 9 >built/b.txt; sleep 0.2; exit 3'
with audit 0 audit verify

# Ten thousand findings in at most 300 KB.
mkdir many
echo a >many/a
page many 0 sign --input-dir many
(cd many && seq -f 'a file of a rather long name, number %.0f.txt' 10000 | tr '\n' '\0' | xargs -0 touch)
with verify-many 1 verify --manifest many/integrity_manifest.json
size=$(stat -c %s "$pages/verify-many.html")
echo "10,000 findings: $size bytes"
[ "$size" -le 300000 ]
grep -q 'more\.' "$pages/verify-many.html"

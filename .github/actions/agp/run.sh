#!/usr/bin/env bash
# One run of agp in a step of GitHub Actions. Inputs come as AGP_ACTION_… variables; nothing of them is evaluated.
# While agp works the runner obeys no workflow command, since a governed command or a file name may look like one.
set -euo pipefail

refuse() {
  # A value that is shown ends neither the line nor the command.
  local text=${1//'%'/%25}
  text=${text//$'\r'/%0D}
  echo "::error title=agp::${text//$'\n'/%0A}"
  exit 2
}

case $AGP_ACTION_COMMAND in
  audit | budget | guard | profile | rollback | run | sign | verify) ;;
  *) refuse "no command \`$AGP_ACTION_COMMAND\`; there are audit, budget, guard, profile, rollback, run, sign, verify" ;;
esac
case $AGP_ACTION_FAIL in
  true | false) ;;
  *) refuse "\`fail\` is \`$AGP_ACTION_FAIL\`; expected true or false" ;;
esac
[ -d "$AGP_ACTION_DIRECTORY" ] || refuse "no directory \`$AGP_ACTION_DIRECTORY\`"

# The input, or what is on PATH, or what the action's own repository builds.
agp=$AGP_ACTION_AGP
if [ -z "$agp" ] && ! agp=$(type -P agp); then
  source=$(cd "$GITHUB_ACTION_PATH/../../.." && pwd)
  # Out of the workspace, which may be what is looked at.
  CARGO_TARGET_DIR=$RUNNER_TEMP/agp-target cargo install --locked --quiet --path "$source" --root "$RUNNER_TEMP/agp-built"
  agp=$RUNNER_TEMP/agp-built/bin/agp
fi

place=$(mktemp -d "$RUNNER_TEMP/agp.XXXXXX")
flags=(--report "json=$place/report.json" --report "sarif=$place/agp.sarif" --report "github=$place/annotations")
[ -z "$AGP_ACTION_CONFIG" ] || flags+=("--config=$AGP_ACTION_CONFIG")
arguments=()
while IFS= read -r line; do
  line=${line%$'\r'}
  [ -z "$line" ] || arguments+=("$line")
done <<<"$AGP_ACTION_ARGUMENTS"

token=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
echo "::stop-commands::$token"
code=0
(cd -- "$AGP_ACTION_DIRECTORY" && "$agp" "$AGP_ACTION_COMMAND" "${flags[@]}" "${arguments[@]}") || code=$?
echo
echo "::$token::"
[ ! -s "$place/annotations" ] || cat "$place/annotations"

# agp's own layout: the frame's verdict is the only one at that depth.
verdict=
[ ! -s "$place/report.json" ] || verdict=$(sed -n 's/^  "verdict": "\(pass\|fail\|error\)",\{0,1\}$/\1/p' "$place/report.json")
{
  echo "exit-code=$code"
  echo "verdict=${verdict:-error}"
  echo "report=$place/report.json"
  echo "sarif=$place/agp.sarif"
} >>"$GITHUB_OUTPUT"
[ "$AGP_ACTION_FAIL" = true ] || exit 0
exit "$code"

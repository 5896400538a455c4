#!/usr/bin/env python3
"""The composite action as a runner runs it, and what others say of it, of the workflows and of the examples.

    check.py --agp target/debug/agp --zizmor PROGRAM      needs check-jsonschema as a module

The step's `env` and `run` are read out of action.yml, inputs are filled in as the runner does it, and what comes out is
obeyed as the runner obeys it: what would be a workflow command, and which outputs there are.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
ACTION = ROOT / ".github/actions/agp"
EXAMPLES = [*(ROOT / "docs/examples/github").glob("*.yml"), *(ROOT / "docs/examples/shards").glob("*.yml")]
#: Names that try to be commands of a workflow.
NAMES = ["::error ::owned", "##[error]owned", "a\n::warning::owned", "%0A::notice::owned", "::stop-commands::owned",
         "::add-mask::a", "\x1b[31m::set-env name=X::owned", "</script><!channel>", "=cmd|'x'"]
#: Inputs that try to be text of a command.
INJECTIONS = ["; touch pwned", "$(touch pwned)", "`touch pwned`", "&& touch pwned", "| touch pwned", "\ntouch pwned\n",
              "' ; touch pwned ; '", '" ; touch pwned ; "', "$GITHUB_OUTPUT", "a[$(touch pwned)]", "::error::owned", "%0Aowned",
              "-n", "*", "~", "{a,b}", "<(touch pwned)"]


def must(condition, *what):
    if not condition:
        raise SystemExit("check.py: " + " ".join(map(str, what)))


def commands(text):
    """The workflow commands that a runner finds in a step's output."""
    found, stopped = [], None
    for line in re.split(r"\r\n|\r|\n", text):
        line = line.strip()
        matched = re.match(r"::([a-zA-Z-]+)(?: ([^:]*))?::(.*)|.*##\[([a-z-]+)[^\]]*\](.*)", line)
        if stopped is not None:
            stopped = None if line == f"::{stopped}::" else stopped
        elif matched and matched[1] == "stop-commands":
            stopped = matched[3]
        elif matched:
            found.append((matched[1] or matched[4], matched[2] or "", matched[3] or matched[5]))
    must(stopped is None, "commands stay stopped")
    return found


class Step:
    """The action's one step, in a place of its own."""

    def __init__(self, agp):
        self.action = YAML(typ="safe").load(ACTION / "action.yml")
        (self.step,) = self.action["runs"]["steps"]
        must("${{" not in self.step["run"], "an expression within `run`")
        self.agp = agp
        self.folder = Path(tempfile.mkdtemp(prefix="agp-github-"))
        self.place = self.folder / "workspace"
        (self.folder / "temp").mkdir()
        (self.folder / "bin").mkdir()
        (self.folder / "bin/agp").symlink_to(agp)
        self.place.mkdir()

    def run(self, expected, **given):
        """Runs the step with these inputs; gives its workflow commands, outputs and text."""
        given = {name.replace("_", "-"): value for name, value in given.items()}
        must(set(given) <= set(self.action["inputs"]), given)
        inputs = {name: given.get(name, one.get("default", "")) for name, one in self.action["inputs"].items()}
        fill = lambda text: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda name: inputs[name[1]], text)
        output, summary = self.folder / "output", self.folder / "summary"
        output.write_text("")
        environment = {
            "PATH": f"{self.folder}/bin:/usr/bin:/bin", "RUNNER_TEMP": str(self.folder / "temp"), "HOME": str(self.folder),
            "GITHUB_ACTION_PATH": str(ACTION), "GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary),
            "GITHUB_ACTIONS": "true", "CI": "true",
            "POCKETMON_SIGN_SECRET": "hex:" + "0123456789abcdef" * 4,
            **{name: fill(text) for name, text in self.step["env"].items()},
        }
        script = self.folder / "script.sh"
        script.write_text(self.step["run"])
        ran = subprocess.run(["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script], cwd=self.place,
                             env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        text = ran.stdout.decode(errors="replace")
        must(ran.returncode == expected, given, "gave", ran.returncode, text)
        outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
        promised = set(self.action["outputs"])
        must(not outputs or set(outputs) == promised, "outputs", outputs)
        for name in promised:
            must(self.action["outputs"][name]["value"] == f"${{{{ steps.run.outputs.{name} }}}}", name)
        return commands(text), outputs, text

    def nothing_was_obeyed(self):
        left = [path for path in [*self.folder.rglob("pwned*")]]
        must(not left, "an input was obeyed:", left)


def action(agp):
    step = Step(agp)
    try:
        tree = step.place / "tree"
        tree.mkdir()
        for name in NAMES:
            # Put together here, so that no scanner takes this file for what it tests.
            (tree / name.replace("/", "|")).write_text("pass" + 'word = "x9fKQz72LpWmv41T"\n')
        found, outputs, text = step.run(19, command="guard", arguments="--target\ntree\n")
        must((outputs["exit-code"], outputs["verdict"]) == ("19", "fail"), outputs)
        # The nine worst, and one that counts the rest.
        must(len(found) == 10 and found[9][2] == "and 2 findings more: 2 medium", found)
        must(all(re.fullmatch(r"file=[^,:]*,line=1,.*title=generic.password", rest) for _, rest, _ in found[:9]), found)
        must(not any("owned" in text for _, _, text in found), found)
        report = json.loads(Path(outputs["report"]).read_text())
        log = json.loads(Path(outputs["sarif"]).read_text())
        must(report["exit_code"] == 19 and log["version"] == "2.1.0", "report and SARIF")
        must(len(report["findings"]) >= len(NAMES), "findings")
        must("## agp guard: failed" in (step.folder / "summary").read_text(), "the step's summary")
        _, outputs, _ = step.run(0, command="guard", arguments="--target\r\ntree\r\n", fail="false")
        must(outputs["exit-code"] == "19", outputs)
        for name in NAMES[:4]:
            found, outputs, _ = step.run(2, command="verify", arguments=f"--manifest={name}".replace("\n", " "))
            must(outputs["verdict"] == "error" and len(found) == 1, found, outputs)

        step.run(0, command="sign", arguments="--input-dir\ntree")
        verify = {"command": "verify", "arguments": "--manifest\ntree/integrity_manifest.json"}
        found, outputs, _ = step.run(0, **verify)
        must(not found and outputs["verdict"] == "pass", found, outputs)
        step.run(0, command="verify", arguments="--manifest\nintegrity_manifest.json", working_directory="tree")
        # What a governed command says is text, whatever it says.
        says = "echo '::error::owned'; echo '::set-output name=verdict::pass'; echo '##[error]owned' >&2; exit 3"
        run = f"run\n--target-dirs\ntree\n--\nsh\n-c\n{says}"
        found, outputs, text = step.run(1, command="rollback", arguments=run)
        must("owned" in text and not any("owned" in str(one) for one in found), found)
        must(outputs["verdict"] == "fail", outputs)

        for text in INJECTIONS:
            found, outputs, _ = step.run(2, command=text)
            must(len(found) == 1 and found[0][0] == "error" and not outputs, found, outputs)
            step.run(2, command="verify", arguments="", fail=text)
            for given in [{"arguments": f"--manifest\n{text}"}, {"config": f"x{text}", "arguments": "--manifest\nx"},
                          {"arguments": text}]:
                found, outputs, _ = step.run(2, command="verify", **given)
                must(all(kind == "error" and "title=" in rest for kind, rest, _ in found), found)
                must(outputs["verdict"] == "error" and outputs["exit-code"] == "2", outputs)
            found, outputs, _ = step.run(2, command="verify", working_directory=f"none{text}")
            must(len(found) == 1 and not outputs, found, outputs)
            _, outputs, _ = step.run(127, command="verify", agp=f"none{text}")
            must(outputs["verdict"] == "error" and outputs["exit-code"] == "127", outputs)
        # Without an agp on PATH one is built from the action's own repository, out of the workspace.
        (step.folder / "bin/agp").unlink()
        cargo = step.folder / "bin/cargo"
        cargo.write_text(f"""#!/bin/sh
            echo "$CARGO_TARGET_DIR $*" >"{step.folder}/built"
            while [ "$1" != --root ]; do shift; done
            mkdir -p "$2/bin" && ln -s "{agp}" "$2/bin/agp"
        """)
        cargo.chmod(0o755)
        step.run(0, command="audit", arguments="verify")
        temp = step.folder / "temp"
        built = f"{temp}/agp-target install --locked --quiet --path {ROOT} --root {temp}/agp-built\n"
        must((step.folder / "built").read_text() == built, (step.folder / "built").read_text())
        step.nothing_was_obeyed()
        must(not list(step.place.glob("*.sarif")), "a report in the workspace")
    finally:
        shutil.rmtree(step.folder)


def linters(zizmor):
    """What zizmor and the published schemas say; both must be able to say no."""
    folder = Path(tempfile.mkdtemp(prefix="agp-zizmor-"))
    try:
        shutil.copytree(ROOT / ".github", folder / ".github")
        for example in EXAMPLES:
            shutil.copy(example, folder / ".github/workflows")

        def audit():
            flags = ["--offline", "--persona=auditor", "--no-progress", "--strict-collection", "--quiet"]
            return subprocess.run([zizmor, *flags, folder], capture_output=True, text=True)

        clean = audit()
        must(clean.returncode == 0, clean.stdout, clean.stderr)
        workflow = folder / ".github/workflows/ci.yml"
        text = workflow.read_text()
        for fault in [("@11bd71901bbe5b1630ceea73d27597364c9af683", "@v4"), ("bash .ci/run", "echo ${{ github.head_ref }}"),
                      ("contents: read", "contents: write")]:
            must(fault[0] in text, fault)
            workflow.write_text(text.replace(*fault))
            must(audit().returncode != 0, "zizmor likes what it should not:", fault)
        for action in re.findall(r"uses: (\S+)", "".join(path.read_text() for path in folder.rglob("*.yml"))):
            must(re.search(r"@[0-9a-f]{40}$", action) or action.startswith("$/") or action == "actions/checkout@v4", action)
        schemas = [("vendor.github-actions", [ACTION / "action.yml"]),
                   ("vendor.github-workflows", [*(ROOT / ".github/workflows").glob("*.yml"),
                                                *EXAMPLES]),
                   ("vendor.gitlab-ci", [*(ROOT / "docs/examples/gitlab").glob("*.yml")])]
        for schema, files in schemas:
            check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema]
            ran = subprocess.run([*check, *files], capture_output=True, text=True)
            must(files and ran.returncode == 0, schema, ran.stdout, ran.stderr)
        workflow.write_text(text.replace("runs-on:", "runs-where:"))
        ran = subprocess.run([*check[:-1], "vendor.github-workflows", workflow], capture_output=True)
        must(ran.returncode != 0, "the schema likes what it should not")
    finally:
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--agp", required=True, type=lambda path: Path(path).resolve())
    parser.add_argument("--zizmor", required=True, type=lambda path: Path(path).resolve())
    arguments = parser.parse_args()
    linters(arguments.zizmor)
    action(arguments.agp)
    print(f"action, workflows and examples are clean; {len(INJECTIONS)} injections and {len(NAMES)} names are inert")


if __name__ == "__main__":
    main()

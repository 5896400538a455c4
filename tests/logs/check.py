#!/usr/bin/env python3
"""The operational log and the exported audit log of real runs, collected by a real rsyslogd with our example.

    check.py --agp target/debug/agp --root FOLDER      FOLDER holds rsyslogd and its modules below usr/
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "docs/examples/logs"
#: A name that tries to end its line, to be a workflow command, to colour a terminal, to page everybody.
HOSTILE = "::error ::x\n{\"level\":\"info\"}\x1b[31m\u202e<!channel>##[group]"


def must(condition, *what):
    if not condition:
        raise SystemExit("check.py: " + " ".join(map(str, what)))


def runs(agp, folder, log):
    """Good and bad runs whose stderr goes to the log; gives what each line has to say."""
    environment = {"PATH": os.environ["PATH"], "POCKETMON_SIGN_SECRET": "hex:" + "0123456789abcdef" * 4}
    (folder / "tree").mkdir()
    (folder / "tree" / HOSTILE.replace("/", "|")).write_text("1")
    (folder / "policy.json").write_text("{}")
    outcomes = []
    for expected, verdict, line in [
        (0, "pass", "sign --input-dir tree"),
        (0, "pass", "verify --manifest tree/integrity_manifest.json"),
        (1, "fail", "verify --manifest tree/integrity_manifest.json --json"),
        (2, "error", "verify --manifest none"),
        (2, "error", "verify --no-such-flag"),
        (2, "error", "sign"),
    ]:
        if expected == 1:
            (folder / "tree" / HOSTILE.replace("/", "|")).write_text("2")
        with open(log, "a") as stderr:
            ran = subprocess.run([agp, *line.split(), "--config", "policy.json", "--log-format", "json"], cwd=folder,
                                 env=environment, stdout=subprocess.PIPE, stderr=stderr, stdin=subprocess.DEVNULL)
        must(ran.returncode == expected, line, "gave", ran.returncode)
        outcomes.append((expected, verdict, line.split()[0]))
    return outcomes


def operational(text, outcomes):
    """Every line is one object with the fields that are promised, and every run has one outcome, at its end."""
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        must({"time", "level", "event", "message", "tool", "command", "run_id"} <= set(line), line)
        must(line["level"] in {"info", "warning", "error"} and line["tool"] == "agp", line)
        must(line["event"] in {"finding", "note", "outcome"} and len(line["run_id"]) == 32, line)
        values = "".join(str(value) for value in line.values())
        must(not any(character in values for character in "\x1b\u202e\n") and "##[" not in values, line)
    must("\x1b" not in text and not any(line.startswith("::") for line in text.splitlines()), "a command in the log")
    ends = [line for line in lines if line["event"] == "outcome"]
    told = [(end["exit_code"], end["verdict"], end["command"]) for end in ends]
    must(told == outcomes, told)
    must(all((end["level"] == "info") == (end["exit_code"] == 0) for end in ends), ends)
    must(len({end["run_id"] for end in ends}) == len(ends), "two runs have one identifier")
    codes = {line["code"] for line in lines if line["event"] == "finding"}
    must({"file.modified", "command.usage"} <= codes, codes)
    return lines


def shipped(agp, folder):
    """The audit log as it is shipped: each record once, new ones behind old ones."""
    ship = ["sh", EXAMPLES / "ship-audit.sh", folder / ".agp", folder / "audit.jsonl", agp]
    # The second that the records are of has to be over, or they come twice.
    time.sleep(1.1)
    subprocess.run(ship, check=True, cwd=folder)
    first = (folder / "audit.jsonl").read_text()
    subprocess.run(ship, check=True, cwd=folder)
    must((folder / "audit.jsonl").read_text() == first, "records came twice")
    records = [json.loads(line) for line in first.splitlines()]
    numbers = [record["event"]["sequence"] for record in records]
    must(len(numbers) >= 6 and numbers == list(range(1, len(numbers) + 1)), numbers)
    return records


def collected(root, folder, wanted):
    """Starts rsyslogd with our example, its paths below the folder, and reads what it collects."""
    library = next(root.glob("usr/lib/*/rsyslog"))
    text = (EXAMPLES / "rsyslog.conf").read_text().replace("/var/log/agp", str(folder))
    (folder / "rsyslog.conf").write_text(f'global(workDirectory="{folder}")\n{text}')
    environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(library.parent)}
    command = [root / "usr/sbin/rsyslogd", "-n", "-M", library, "-f", folder / "rsyslog.conf", "-i", folder / "pid"]
    checked = subprocess.run([*command, "-N1"], env=environment, capture_output=True, text=True)
    must(checked.returncode == 0 and "error" not in checked.stderr.lower(), checked.stderr)
    (folder / "broken.conf").write_text(text.replace("action(", "acton("))
    broken = subprocess.run([*command[:5], folder / "broken.conf", "-N1"], env=environment, capture_output=True)
    must(broken.returncode != 0, "rsyslogd likes what it should not")
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            time.sleep(0.1)
            file = folder / "collected.jsonl"
            lines = file.read_text().splitlines() if file.exists() else []
            if len(lines) >= wanted:
                return [json.loads(line) for line in lines]
        must(False, "rsyslogd collected", len(lines), "of", wanted)
    finally:
        server.terminate()
        server.wait(10)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--agp", required=True, type=lambda path: Path(path).resolve())
    parser.add_argument("--root", required=True, type=lambda path: Path(path).resolve())
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="agp-logs-"))
    try:
        log = folder / "agp.jsonl"
        outcomes = runs(arguments.agp, folder, log)
        lines = operational(log.read_text(), outcomes)
        records = shipped(arguments.agp, folder)
        found = collected(arguments.root, folder, len(lines) + len(records))
        by_log = lambda name: [line for line in found if line["log_name"] == name]
        must([line["message"] for line in by_log("agp")] == [line["message"] for line in lines], "the log")
        must([line["event"] for line in by_log("agp-audit")] == [record["event"] for record in records], "the audit log")
        print(f"{len(lines)} lines and {len(records)} records collected")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

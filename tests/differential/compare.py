#!/usr/bin/env python3
"""Lets two independent verifiers judge the same manifests and shows where they differ.

    compare.py DIR --key-file KEY [--agp PATH]      agp against docs/verify_manifest.py
    compare.py DIR --key-file KEY --oracle-only     docs/verify_manifest.py against what mutate.py expects

Each verifier runs once over all of DIR. Prints one line of counts and the first 20 disagreements;
exit 0 when there are none, 1 when there are some, 2 when one of the two gave no answer.
"""
import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
VERIFIER = os.path.join(HERE, "..", "..", "docs", "verify_manifest.py")
SHOWN_MAX = 20


def run(argv):
    """stdout of a verifier, run where no policy and no state lie about."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith("AGP_") and name != "POCKETMON_SIGN_SECRET"}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as nowhere:
        done = subprocess.run(argv, cwd=nowhere, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    print("%6.1f s  exit %d  %s" % (time.monotonic() - started, done.returncode, os.path.basename(argv[0])), file=sys.stderr)
    return done


def by_oracle(directory, key_file):
    """{path below the directory: (code, reason)}"""
    done = run([sys.executable, os.path.abspath(VERIFIER), "--all", directory, "--json", "--key-file", key_file])
    try:
        lines = [json.loads(line) for line in done.stdout.splitlines()]
    except ValueError:
        lines = []
    if not lines or b"Traceback" in done.stderr:
        sys.stderr.buffer.write(done.stderr[-4000:])
        raise SystemExit(2)
    return {os.path.relpath(line["manifest"], directory): (line["code"], line["reason"]) for line in lines}


def by_agp(agp, directory, key_file):
    """{path below the directory: (code, reason)}"""
    done = run([os.path.abspath(agp), "verify", "--all", directory, "--json", "--key-file", key_file])
    try:
        report = json.loads(done.stdout)
        manifests = report["manifests"]
    except (ValueError, KeyError, TypeError):
        sys.stderr.buffer.write(done.stdout[-2000:] + done.stderr[-4000:])
        raise SystemExit(2)
    code_of = {"pass": 0, "fail": 1, "error": 2}
    codes = [code_of[item["verdict"]] for item in manifests]
    if codes and done.returncode != max(codes):
        print("agp's exit code is %d and the worst of its manifests %d" % (done.returncode, max(codes)), file=sys.stderr)
    return {os.path.relpath(item["manifest"], directory): (code_of[item["verdict"]], reason_of(item)) for item in manifests}


def reason_of(item):
    """Whatever the report has to say beside the code, short."""
    said = [str(item[name]) for name in ("reason", "code", "verdict", "message", "error") if item.get(name)]
    said += [str(finding.get("code")) for finding in item.get("findings", [])[:3] if isinstance(finding, dict)]
    return " ".join(said) or "-"


def expectations(directory):
    """{path: (codes as a string of digits, what was done)}, empty for a directory of other origin."""
    try:
        with open(os.path.join(directory, "expected.jsonl")) as file:
            lines = [json.loads(line) for line in file]
    except FileNotFoundError:
        return {}
    return {line["manifest"]: (line["codes"], line["case"]) for line in lines}


def main():
    parser = argparse.ArgumentParser(description="Compare two verifiers manifest by manifest")
    parser.add_argument("directory", metavar="DIR")
    parser.add_argument("--key-file", required=True)
    parser.add_argument("--agp", default=os.path.join(HERE, "..", "..", "target", "release", "agp"))
    parser.add_argument("--oracle-only", action="store_true", help="against the expectations of mutate.py")
    parser.add_argument("--by-case", action="store_true", help="also count codes by kind of case")
    options = parser.parse_args()
    directory, key_file = os.path.abspath(options.directory), os.path.abspath(options.key_file)
    expected = expectations(directory)
    oracle = by_oracle(directory, key_file)
    other = None if options.oracle_only else by_agp(options.agp, directory, key_file)
    nothing = (None, "no answer")
    disagreements = []
    for path in sorted(set(oracle) | set(expected) | set(other or ())):
        code, reason = oracle.get(path, nothing)
        codes, case = expected.get(path, ("012", "?"))
        if str(code) not in codes:
            disagreements.append("%s (%s): expected %s, verify_manifest.py %s %s" % (path, case, codes, code, reason))
        if other is not None and other.get(path, nothing)[0] != code:
            disagreements.append("%s (%s): agp %s %s, verify_manifest.py %s %s" % (
                (path, case) + other.get(path, nothing) + (code, reason)))
    counts = collections.Counter(code for code, _ in oracle.values())
    print("%d cases: %d accepted, %d rejected, %d could-not-tell, %d disagreements" % (
        len(oracle), counts[0], counts[1], counts[2], len(disagreements)))
    for line in disagreements[:SHOWN_MAX]:
        print("  " + line)
    if options.by_case:
        table = collections.Counter((expected[path][1].split("/")[1], oracle[path][0]) for path in expected if path in oracle)
        for (case, code), count in sorted(table.items()):
            print("  %-28s %s %6d" % (case, code, count))
    return 1 if disagreements else 0


if __name__ == "__main__":
    sys.exit(main())

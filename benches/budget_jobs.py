#!/usr/bin/env python3
"""Runs real jobs under budgets: asks before each, records after each, and looks back at the end.

    budget_jobs.py [--agp PATH] [--jobs 60] [--seed 1] [--coverage 0.95]

Three kinds of jobs in turn (`agp sign`, `tar`, and `gzip` of every file) on generated trees of 5 to 400 files
whose size differs from job to job. Nothing is killed: a job that takes longer than its budget counts as a
miss. Prints one line a job and then `agp budget --backtest`. Times are this machine's; coverage and waste
should hold anywhere.
"""
import argparse
import json
import os
import random
import secrets
import shutil
import subprocess
import tempfile
import time


def make_tree(folder, generator):
    """A tree of log-normal size; half of each file is noise, so that compression has work to do."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    files = max(5, min(400, int(60 * generator.lognormvariate(0, 0.9))))
    for at in range(files):
        size = int(20_000 * generator.lognormvariate(0, 0.8))
        with open(os.path.join(folder, f"f{at:04}.bin"), "wb") as out:
            out.write(generator.randbytes(size // 2) + b"agp " * (size // 8))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agp", default="target/release/agp")
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--coverage", default="0.95")
    arguments = parser.parse_args()
    agp = os.path.abspath(arguments.agp)
    generator = random.Random(arguments.seed)
    environment = dict(os.environ, POCKETMON_SIGN_SECRET=secrets.token_hex(32))
    with tempfile.TemporaryDirectory() as place:
        def budget(kind, *words):
            command = [agp, "budget", "--target", "tree", "--kind", kind, "--coverage", arguments.coverage, "--json", *words]
            return json.loads(subprocess.run(command, cwd=place, check=True, capture_output=True).stdout)

        jobs = {
            "sign": f"{agp} sign --input-dir tree --output ../manifest.json --quiet",
            "tar": "tar -cf ../out.tar tree",
            "gzip": "for f in tree/*; do gzip -c $f > ../out.gz; done",
        }
        jobs = {kind: line.replace("../", "out/") for kind, line in jobs.items()}
        os.makedirs(os.path.join(place, "out"))
        misses = 0
        for at in range(arguments.jobs):
            kind = generator.choice(sorted(jobs))
            make_tree(os.path.join(place, "tree"), generator)
            asked = budget(kind)
            begun = time.monotonic()
            subprocess.run(["sh", "-c", jobs[kind]], cwd=place, check=True, env=environment)
            taken = time.monotonic() - begun
            budget(kind, "--record", f"{taken:.6f}")
            missed = taken > asked["budget_seconds"]
            misses += missed
            files = asked["workload"]["files"]
            expert = asked["budgets"]["processing_seconds"]["expert"]
            print(f"{at + 1:3} {kind:5} {files:4} files  budget {asked['budget_seconds']:8.3f} s"
                  f"  taken {taken:7.3f} s  by {expert}{'  MISS' if missed else ''}", flush=True)
        print(f"\n{arguments.jobs - misses} of {arguments.jobs} jobs kept within the budgets that they were given\n", flush=True)
        command = [agp, "budget", "--target", "tree", "--kind", "sign", "--coverage", arguments.coverage, "--backtest"]
        subprocess.run(command, cwd=place, check=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Takes snapshots of the same trees and restores them with agp, restic and borg, side by side.

    rollback.py [--agp PATH] [--corpora small,mixed] [--scale 0.1] [--runs 3] [--workdir DIR]

Four acts: the first snapshot, one of an unchanged tree, one after 1 % of the files changed, and a restore to where nothing is.
agp checks every digest while it restores, reads the restored tree again, and makes it durable; the others do none of the last two.
Prints Markdown: medians of wall and CPU seconds, peak memory, and how many times agp's CPU and wall time each peer takes.
Corpora are those of compare.py. Peers are used when they are found: apt install restic borgbackup
"""
import argparse
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time

import compare

ACTS = ("first", "unchanged", "1 % changed", "restore")
KEY = "hex:" + "0123456789abcdef" * 4


class Tool:
    """How a tool takes a snapshot and restores it. {store}, {tree}, {target} stand for places."""

    def __init__(self, name, environment, prepare, save, restore):
        self.name, self.environment = name, environment
        self.prepare, self.save, self.restore = prepare, save, restore
        self.samples = {act: [] for act in ACTS}


def tools(agp):
    found = [Tool("agp", {"POCKETMON_SIGN_SECRET": KEY}, None,
                  [agp, "rollback", "snapshot", "--quiet", "--state-dir", "{store}", "--target-dirs", "{tree}"],
                  [agp, "rollback", "restore", "last", "--yes", "--quiet", "--state-dir", "{store}"])]
    restic = shutil.which("restic")
    if restic:
        environment = {"RESTIC_PASSWORD": "benchmark", "RESTIC_CACHE_DIR": "{store}-cache"}
        for name, level in (("restic, uncompressed", "off"), ("restic, compressed", "auto")):
            base = [restic, "-q", "-r", "{store}", "--compression", level]
            found.append(Tool(name, environment, [restic, "-q", "-r", "{store}", "init", "--repository-version", "2"],
                              base + ["backup", "{tree}"], base + ["restore", "latest", "--target", "{target}"]))
    borg = shutil.which("borg")
    if borg:
        environment = {"BORG_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_BASE_DIR": "{store}-base"}
        found.append(Tool("borg, lz4", environment, [borg, "init", "-e", "none", "{store}"],
                          [borg, "create", "-C", "lz4", "{store}::{number}", "{tree}"],
                          [borg, "extract", "{store}::{number}"]))
    return found


def change(tree, seed):
    """Writes another content into one file of a hundred."""
    files = sorted(os.path.join(at, name) for at, _, names in os.walk(tree) for name in names)
    rng = random.Random(seed)
    for path in rng.sample(files, max(1, len(files) // 100)):
        with open(path, "r+b") as file:
            file.write(rng.randbytes(min(64, max(1, os.path.getsize(path)))))


def round_of(tool, corpus, workdir, seed):
    with tempfile.TemporaryDirectory(dir=workdir) as folder:
        tree, store, target = folder + "/tree", folder + "/store", folder + "/target"
        subprocess.run(["cp", "-a", corpus, tree], check=True)
        os.mkdir(target)
        # What is younger than two seconds no tool may trust by its times.
        time.sleep(2.5)
        number = [0]
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder}
        environment.update({key: value.format(store=store) for key, value in tool.environment.items()})

        def run(argv):
            argv = [word.format(store=store, tree=tree, target=target, number=number[0]) for word in argv]
            return compare.Sample(argv, environment, folder + "/log")
        if tool.prepare:
            run(tool.prepare)
        for act in ACTS[:3]:
            if act == ACTS[2]:
                change(tree, seed)
                time.sleep(2.5)
            number[0] += 1
            tool.samples[act].append(run(tool.save))
        back = os.getcwd()
        os.chdir(target)  # where borg extracts
        os.rename(tree, folder + "/aside")
        tool.samples["restore"].append(run(tool.restore))
        os.chdir(back)
        restored = {"agp": tree}.get(tool.name, target + os.path.abspath(tree))
        same = subprocess.run(["diff", "-rq", folder + "/aside", restored], capture_output=True)
        if same.returncode != 0:
            raise SystemExit("%s restored something else: %s" % (tool.name, same.stdout[:300]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agp", default="target/release/agp")
    parser.add_argument("--corpora", default="small,mixed")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--workdir", default="/dev/shm")
    options = parser.parse_args()
    options.agp = os.path.abspath(options.agp)
    print("# Rollback beside its peers\n\n`benches/rollback.py`, %s, %d CPUs, medians of %d interleaved rounds.\n"
          % (options.workdir, compare.CPUS, options.runs))
    with tempfile.TemporaryDirectory(dir=options.workdir) as workdir:
        for name in options.corpora.split(","):
            corpus, facts = compare.make_corpus(name, options.scale, workdir)
            all_tools = tools(options.agp)
            for turn in range(options.runs):
                for at in range(len(all_tools)):
                    round_of(all_tools[(at + turn) % len(all_tools)], corpus, workdir, turn)
            show(name, facts, all_tools)
            shutil.rmtree(corpus)


def show(name, facts, all_tools):
    print("## %s: %d files, %.0f MB\n" % (name, facts["files"], facts["bytes"] / 1e6))
    print("| tool | " + " | ".join("%s, wall (CPU) s" % act for act in ACTS) + " | peak MiB |")
    print("|---|" + "--:|" * (len(ACTS) + 1))
    median = lambda tool, act, field: statistics.median(getattr(sample, field) for sample in tool.samples[act])
    for tool in all_tools:
        cells = ["%.2f (%.2f)" % (median(tool, act, "wall"), median(tool, act, "cpu")) for act in ACTS]
        peak = max(median(tool, act, "peak") for act in ACTS) / compare.MIB
        print("| %s | %s | %.0f |" % (tool.name, " | ".join(cells), peak))
    own = all_tools[0]
    print("\n| agp is so many times as fast as | " + " | ".join("%s, wall (CPU)" % act for act in ACTS) + " |")
    print("|---|" + "--:|" * len(ACTS))
    for tool in all_tools[1:]:
        ratio = lambda act, field: median(tool, act, field) / max(median(own, act, field), 1e-9)
        print("| %s | %s |" % (tool.name, " | ".join("%.1f (%.1f)" % (ratio(act, "wall"), ratio(act, "cpu")) for act in ACTS)))
    print(flush=True)


if __name__ == "__main__":
    main()

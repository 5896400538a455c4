#!/usr/bin/env python3
"""How often `agp profile` alarms where nothing changed, and what it finds where something did.

A real job of four stages (generate, compress, digest, sort) is profiled again and again. A/A: nothing
changes, so that every exit code 18 is a false alarm. Planted: one stage does 10 % or 20 % more, and the
right stage has to be named. Quiet, or beside a neighbour that comes and goes.

    python3 benches/aa_runs.py --agp target/release/agp --runs 500 [--noisy] [--planted 20] [--out FILE] [--raw FILE]
"""
import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time

PYTHON = sys.executable
SCALE = 2.0


def stages(slow=None, factor=1.0):
    """Each stage's script, with a share more to do for the slow one."""
    def size(name, base):
        return int(base * SCALE * (factor if name == slow else 1.0))
    scripts = {
        "generate": f"import random; r=random.Random(7); [r.random() for _ in range({size('generate', 900000)})]",
        "compress": f"import zlib; b=bytes(range(256))*400; [zlib.compress(b,6) for _ in range({size('compress', 180)})]",
        "digest": f"import hashlib; b=b'x'*65536; [hashlib.sha512(b).digest() for _ in range({size('digest', 900)})]",
        "sort": f"import random; r=random.Random(3); [sorted(r.random() for _ in range(20000)) for _ in range({size('sort', 14)})]",
    }
    words = []
    for name, script in scripts.items():
        words += ["--define-stage", f"{name}={PYTHON} -S -E -c \"{script}\""]
    return words


class Neighbour:
    """A process that works for a while, rests for a while, and so on."""

    def __init__(self, wanted):
        code = ("import random,time\nwhile True:\n  t=time.time()+random.expovariate(1)\n"
                "  while time.time()<t: sum(range(1000))\n  time.sleep(random.expovariate(.5))")
        self.process = subprocess.Popen([PYTHON, "-c", code]) if wanted else None

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def run(agp, place, words):
    command = [agp, "profile", "--json", "--key", "aa", *words]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=600)
    return done.returncode, json.loads(done.stdout)


def regressions(report):
    return {one["stage"] for one in report["judgement"]["series"] if one["verdict"] == "regression"}


def raw(number, what, code, report):
    """One run as a line of JSON: what each stage measured, and each series that was not found in order."""
    series = report["judgement"]["series"]
    values = {}
    for one in series:
        values.setdefault(one["stage"], {})[one["metric"]] = [float(f"{value:.6g}") for value in one["current"]]
    told = [{key: one[key] for key in ("stage", "metric", "verdict", "effect", "p", "why")}
            for one in series if one["verdict"] in ("regression", "inconclusive")]
    return json.dumps({"run": number, "what": what, "exit_code": code, "current": values, "told": told})


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--agp", default="target/release/agp")
    arguments.add_argument("--runs", type=int, default=500)
    arguments.add_argument("--noisy", action="store_true")
    arguments.add_argument("--planted", type=int, default=0, help="slowdowns of each size")
    arguments.add_argument("--scale", type=float, default=SCALE, help="2: stages of a sixth of a second each")
    arguments.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    arguments.add_argument("--out", help="append the sums to this file")
    arguments.add_argument("--raw", help="write what every run measured to this file, as JSON Lines")
    arguments = arguments.parse_args()
    globals()["SCALE"] = arguments.scale
    agp, began = os.path.abspath(arguments.agp), time.time()
    neighbour = Neighbour(arguments.noisy)
    alarms, judged, extra, named = 0, 0, 0, {}
    rows = open(arguments.raw or os.devnull, "w", encoding="utf-8", buffering=1)
    try:
        with tempfile.TemporaryDirectory(dir=os.getcwd()) as place:
            for number in range(arguments.runs):
                if time.time() - began > arguments.seconds:
                    break
                code, report = run(agp, place, stages())
                if code not in (0, 18):
                    raise RuntimeError(report["findings"])
                if report["judgement"]["verdict"] != "not_enough_history":
                    judged += 1
                    alarms += code == 18
                    extra += report["summary"]["runs"] / 4
                    if code == 18:
                        print(f"alarm at run {number}: {sorted(regressions(report))}", flush=True)
                print(raw(number, "same", code, report), file=rows)
            for factor in (1.1, 1.2):
                found, right = 0, 0
                for number in range(arguments.planted):
                    slow = random.choice(["generate", "compress", "digest", "sort"])
                    code, report = run(agp, place, stages(slow, factor))
                    found += code == 18
                    right += code == 18 and regressions(report) == {slow}
                    print(raw(number, f"{slow} x {factor}", code, report), file=rows)
                if arguments.planted:
                    named[factor] = (found, right)
    finally:
        neighbour.stop()
    text = [f"{judged} judged runs of 4 stages x 3 metrics, {'beside a neighbour' if arguments.noisy else 'no neighbour of ours'}, "
            f"load {os.getloadavg()[2]:.1f} on {os.cpu_count()} processors: **{alarms} alarms**, "
            f"{extra / max(judged, 1):.2f} runs of a stage on average."]
    for factor, (found, right) in named.items():
        text.append(f"+{factor - 1:.0%} of one stage: {found} of {arguments.planted} found, "
                    f"in {right} the right stage and no other.")
    print("\n".join(text))
    if arguments.out:
        with open(arguments.out, "a", encoding="utf-8") as out:
            out.write("\n".join(f"- {line}" for line in text) + "\n")


if __name__ == "__main__":
    main()

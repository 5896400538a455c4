#!/usr/bin/env python3
"""`agp run` end to end on a tree that nobody here made: what passes, every trigger, and SIGKILL at random moments.

    python3 tests/run/check.py --agp target/release/agp [--kills 100] [--tree DIR] [--seed N]

Without --tree it takes the source package of Django (6,800 files) from PyPI, with pip.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGE = "django==5.1.4"
MANIFEST = "integrity_manifest.json"
# What the stage of the kills does: a new line at the end of every tenth file, and a new folder.
REWRITE = """
import os, sys
for at, name in enumerate(sorted(os.path.join(d, f) for d, _, fs in os.walk('tree') for f in fs)):
    if at %% 10 == 0 and not name.endswith('%s'):
        with open(name, 'ab') as out:
            out.write(b'\\n')
os.makedirs('tree/made', exist_ok=True)
for at in range(50):
    open('tree/made/%%d' %% at, 'w').write('made')
""" % MANIFEST


def package(place):
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", place, PACKAGE]
    subprocess.run(pip, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    (archive,) = Path(place).glob("*.tar.gz")
    shutil.unpack_archive(archive, place)
    (tree,) = (entry for entry in Path(place).iterdir() if entry.is_dir())
    return tree


def state(tree):
    """Everything that counts of a tree but the manifest, as one digest."""
    hasher = hashlib.sha256()
    for folder, folders, files in sorted(os.walk(tree)):
        folders.sort()
        for name in sorted(folders + files):
            path = os.path.join(folder, name)
            if os.path.relpath(path, tree) == MANIFEST:
                continue
            meta = os.lstat(path)
            hasher.update(os.fsencode(os.path.relpath(path, tree)) + b"\0%o" % meta.st_mode)
            if os.path.islink(path):
                hasher.update(os.fsencode(os.readlink(path)))
            elif os.path.isfile(path):
                hasher.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return hasher.hexdigest()


class Bench:
    def __init__(self, agp, tree, scratch):
        self.agp, self.origin, self.scratch = str(Path(agp).resolve()), tree, Path(scratch)
        self.place, self.number = None, 0

    def fresh(self):
        """A place of its own with a copy of the tree, a folder of settings, and a key."""
        if self.place:
            shutil.rmtree(self.place)
        self.number += 1
        self.place = self.scratch / f"place-{self.number}"
        self.place.mkdir()
        shutil.copytree(self.origin, self.place / "tree", symlinks=True)
        (self.place / "config").mkdir()
        (self.place / "config/core.json").write_text("{}\n")
        self.call("tool", "keys", "generate", "--output", "key")

    def policy(self, script, stage=None, **more):
        command = ["/bin/sh", "-c", script] if isinstance(script, str) else script
        policy = {
            "policy_guard": {
                "enforcement_level": "strict",
                "allowed_operations": ["edit", "undescribed"],
                "blocked_operations": ["modify_core_config"],
                "operation_catalog": {"edit": {"access": "modify", "paths": ["tree/**"]}},
            },
            "pipeline": {
                "targets": ["tree"],
                "stages": [{"name": "edit", "command": command, "operations": ["edit"], **(stage or {})}],
            },
            **more,
        }
        (self.place / "policy.json").write_text(json.dumps(policy))

    def environment(self, **more):
        return {"PATH": os.environ["PATH"], "HOME": str(self.place), **more}

    def command(self, *words):
        return [self.agp, *words]

    def call(self, *words, **environment):
        return subprocess.run(
            self.command(*words), cwd=self.place, env=self.environment(**environment), capture_output=True, text=True
        )

    def run(self, *flags, **environment):
        words = ["run", "--config", "policy.json", "--key-file", "key", "--json", *flags]
        ran = self.call(*words, **environment)
        try:
            report = json.loads(ran.stdout)
        except ValueError:
            raise SystemExit(f"no report: {ran.returncode} {ran.stderr}")
        return ran.returncode, report


def password():
    return "password = '" + "xK4q" + "mR7tBv2NwZ8pHd3T" + "'"


def triggers(bench):
    leak = f"printf '%s\\n' \"{password()}\" > tree/leak.py"
    first = sorted(p for p in bench.origin.rglob("*.py") if p.stat().st_size > 100)[0].relative_to(bench.origin)
    cases = [
        ("a command that fails", f"rm -r tree/{first.parts[0]}; exit 7", {}, {}, {}, 1, "run.command_failed"),
        ("a signal", f"rm tree/{first}; kill -9 $$", {}, {}, {}, 1, "run.command_failed"),
        ("its budget", f"rm tree/{first}; sleep 60", {"budget_seconds": 1}, {}, {}, 18, "run.timed_out"),
        ("the maximum of time", f"rm tree/{first}; sleep 60", {},
         {"performance_benchmarks": {"max_processing_time_seconds": 1}}, {}, 18, "profile.time_exceeded"),
        ("the maximum of memory", f"rm tree/{first}; head -c 400m /dev/zero | tail -c 400m | sleep 60", {},
         {"performance_benchmarks": {"max_memory_usage_mb": 100}}, {}, 18, "profile.memory_exceeded"),
        ("a secret", leak, {}, {}, {}, 19, "guard.secret"),
        ("an emptied file", f": > tree/{first}", {}, {}, {}, 1, "run.data_corruption"),
        ("a change where none is allowed", f"echo >> tree/{first}", {"allow_change": ["nothing/**"]}, {}, {}, 1,
         "run.data_corruption"),
        ("a loosened mode", f"chmod 666 tree/{first}", {}, {}, {}, 19, "run.security_violation"),
        ("a write to the configuration, stopped", "echo x > config/core.json", {}, {}, {}, 1, "run.command_failed"),
        ("the same, undescribed", "echo x > config/core.json", {"operations": ["undescribed"]}, {}, {}, 19,
         "run.operation_blocked"),
        ("the same, without the kernel", "echo x > config/core.json", {}, {}, {"AGP_CONFINE": "off"}, 19,
         "run.operation_blocked"),
    ]
    bench.fresh()
    before, failures = state(bench.place / "tree"), 0
    for name, script, stage, more, environment, code, trigger in cases:
        bench.policy(script, stage, **more)
        got, report = bench.run(**environment)
        found = {finding["code"] for finding in report["findings"]}
        intact = state(bench.place / "tree") == before
        intact = intact and (bench.place / "config/core.json").read_text() == "{}\n"
        good = (got, report["summary"]["status"], intact) == (code, "rolled_back", True) and trigger in found
        failures += not good
        print(f"  {'ok' if good else 'BAD'}: {name}: exit {got}, {report['summary'].get('status')}, {trigger}"
              f"{'' if intact else ', TREE DIFFERS'}")
    return failures


def before_does_not_fire(bench):
    """A secret, a broken file and a tree that is not what its manifest says were there before."""
    bench.fresh()
    (bench.place / "tree/old.py").write_text(password() + "\n")
    (bench.place / "tree/broken.json").write_text("{")
    bench.policy("echo >> tree/old.py")
    first, report = bench.run()
    known = report["summary"]["violations_before"]
    (bench.place / "tree/broken.json").write_text("[")
    second, report = bench.run()
    codes = {finding["code"] for finding in report["findings"]}
    good = first == second == 0 and known > 0 and "run.invalid_before" in codes
    print(f"  {'ok' if good else 'BAD'}: what was bad before: exit {first}, {second}; {known} violations known")
    return not good


def slower(bench):
    """A stage that takes more than twice as long as in fifteen runs before: one such run is a reason for doubt, and
    asked to repeat it the run is sure."""
    bench.fresh()
    spin = "import time; t = time.process_time()\nwhile time.process_time() - t < %s: pass"
    for _ in range(15):
        bench.policy([sys.executable, "-c", spin % 0.2])
        code, report = bench.run()
        if code != 0:
            print(f"  BAD: a run as before ended with {code}: {report['findings']}")
            return 1
    bench.policy([sys.executable, "-c", spin % 0.5])
    before = state(bench.place / "tree")
    code, report = bench.run("--repeat")
    good = (code, report["summary"]["status"]) == (18, "rolled_back") and state(bench.place / "tree") == before
    runs = len(report["profile"]["stages"][0]["runs"])
    print(f"  {'ok' if good else 'BAD'}: a regression: exit {code}, {report['summary']['status']} after {runs} runs, "
          f"{report['summary']['triggers']}")
    return not good


def passes(bench):
    bench.fresh()
    bench.policy([sys.executable, "-c", REWRITE])
    began = time.monotonic()
    code, report = bench.run()
    took = time.monotonic() - began
    verified = bench.call("verify", "--manifest", f"tree/{MANIFEST}", "--key-file", "key").returncode
    good = code == verified == 0 and report["summary"]["is_sealed"]
    print(f"  {'ok' if good else 'BAD'}: a good run: exit {code}, {report['summary']['entries_changed']} entries changed, "
          f"verify {verified}, {took:.1f} s")
    return not good, took, state(bench.place / "tree")


def kills(bench, number, after, seed):
    """SIGKILL of agp at random moments: the next command leaves the tree as it was, or as the run leaves it."""
    draw = random.Random(seed)
    tally = {"taken back": 0, "committed": 0, "not begun": 0, "torn": 0, "unsealed": 0}
    for at in range(number):
        if at % 20 == 0:
            # How long a run takes changes with what else the machine does.
            took = passes(bench)[1]
            bench.fresh()
            before = state(bench.place / "tree")
        bench.policy([sys.executable, "-c", REWRITE])
        words = bench.command("run", "--config", "policy.json", "--key-file", "key", "--quiet")
        child = subprocess.Popen(words, cwd=bench.place, env=bench.environment(), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0, took * 1.1))
        child.send_signal(signal.SIGKILL)
        child.wait()
        touched = state(bench.place / "tree") != before
        # Any command that may change something brings it to its end.
        recovered = bench.call("rollback", "recover", "--key-file", "key") if at % 2 else bench.call(
            "rollback", "snapshot", "--target-dirs", "config", "--key-file", "key")
        now = state(bench.place / "tree")
        if recovered.returncode != 0:
            print(f"  the next command ended with {recovered.returncode}: {recovered.stderr}")
        if now == before:
            tally["taken back" if touched else "not begun"] += 1
            continue
        if now != after:
            tally["torn"] += 1
        elif bench.call("verify", "--manifest", f"tree/{MANIFEST}", "--key-file", "key").returncode != 0:
            tally["unsealed"] += 1
        else:
            tally["committed"] += 1
        bench.fresh()
    told = ", ".join(f"{count} {word}" for word, count in tally.items())
    print(f"  {number} kills: {told}")
    if number >= 20 and not (tally["taken back"] and tally["committed"]):
        print("  BAD: no kill came while a stage ran, or none after the end")
        return 1
    return tally["torn"] + tally["unsealed"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agp", required=True)
    parser.add_argument("--tree")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source"
        source.mkdir()
        tree = Path(arguments.tree) if arguments.tree else package(source)
        files = sum(len(names) for _, _, names in os.walk(tree))
        print(f"agp run on {tree.name}: {files} files")
        bench = Bench(arguments.agp, tree, scratch)
        failures, _, after = passes(bench)
        failures += triggers(bench)
        failures += before_does_not_fire(bench)
        failures += slower(bench)
        failures += kills(bench, arguments.kills, after, arguments.seed)
    print("all good" if not failures else f"{failures} failures")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()

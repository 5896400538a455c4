#!/usr/bin/env python3
"""What `agp profile` makes of jobs that misbehave, of places in which it may not do much, and what looking costs.

    check.py --agp target/release/agp      as root, for the group around the children, the other user and the container

Prints what docs/evidence/measuring.md holds.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

GIB = 1 << 30
GROUPS = Path("/sys/fs/cgroup")
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"]
FORK = "i=0; while [ $i -lt 1000 ]; do /bin/true; i=$((i+1)); done"


def must(condition, *what):
    if not condition:
        raise SystemExit("check.py: " + " ".join(map(str, what)))


class Place:
    """A folder that everybody may enter, and the program in it."""

    def __init__(self, agp, base):
        self.folder = Path(base)
        self.folder.chmod(0o755)
        self.agp = self.folder / "agp"
        shutil.copy(agp, self.agp)
        self.work = self.folder / "work"
        self.work.mkdir()
        self.work.chmod(0o777)

    def profile(self, *words, around=(), expected=0):
        """One run; gives its report."""
        command = [*around, self.agp, "profile", "--no-gate", "--json", "--quiet", *words]
        ran = subprocess.run(command, cwd=self.work, capture_output=True, text=True, timeout=120)
        must(ran.returncode == expected, words, "gave", ran.returncode, ran.stdout[-2000:], ran.stderr[-2000:])
        return json.loads(ran.stdout)

    def policy(self, text):
        (self.work / "policy.json").write_text(text)
        return ["--config", "policy.json"]


def first(report):
    return report["stages"][0]["runs"][0]


def is_running(word):
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in entry.read_bytes().split(b"\0"):
                return True
        except OSError:
            pass
    return False


def misbehaving(place):
    """Jobs that hang, are killed, leave daemons, or do not stop talking."""
    word = f"8{os.getpid()}"
    began = time.monotonic()
    slow = place.policy('{"performance_benchmarks": {"max_processing_time_seconds": 1}}')
    hang = f"a=trap '' TERM INT HUP; setsid sleep {word} & sleep {word}"
    report = place.profile(*slow, "--define-stage", hang, expected=18)
    must(first(report)["outcome"] == "timed_out" and time.monotonic() - began < 10 and not is_running(word), report)
    report = place.profile("--define-stage", "a=kill -9 $$", expected=1)
    must(any("signal 9" in one["message"] for one in report["findings"]), report["findings"])
    daemons = f"a=for i in 1 2 3; do (setsid sleep {word} <&- >&- 2>&- &); done; sleep 0.1"
    report = place.profile("--define-stage", daemons)
    must(first(report)["left_running"] == 3 and not is_running(word), report)
    print("- A job that ignores every signal and has a daemon in another session is stopped at its maximum (18), one that is killed "
          "says by what (1), three daemons without descriptors end with their stage: nothing is left running.")

    ran = subprocess.Popen([place.agp, "profile", "--quiet", "--no-gate", "--output", "r.json", "--", "head", "-c", str(GIB), "/dev/zero"],
                           cwd=place.work, stdout=subprocess.PIPE)
    seen = 0
    while block := ran.stdout.read(1 << 20):
        seen += len(block)
    _, status, usage = os.wait4(ran.pid, 0)
    must((seen, os.waitstatus_to_exitcode(status)) == (GIB, 0), seen, status)
    must(usage.ru_maxrss < 64 << 10, usage)
    print(f"- A job that prints 1 GiB: every byte passes through, {usage.ru_maxrss / 1024:.0f} MiB of our own.")


def within(place, kind, account, script):
    """Figures of a job, and what a group of version 1 around it has in that account; None where there is none."""
    if not os.access(GROUPS / kind / "cgroup.procs", os.W_OK):
        return None
    group = GROUPS / kind / f"agp-check-{os.getpid()}"
    group.mkdir()
    try:
        figures = first(place.profile("--define-stage", f"a=echo $$ > {group}/cgroup.procs; {script}"))["figures"]
        return figures, int((group / account).read_text())
    finally:
        group.rmdir()


def accounts(place):
    """CPU and memory beside what the kernel has of the same processes."""
    cpu = within(place, "cpuacct", "cpuacct.usage", FORK)
    if cpu:
        ours, theirs = cpu[0]["cpu_user_seconds"] + cpu[0]["cpu_system_seconds"], cpu[1] / 1e9
        must(abs(ours - theirs) <= 0.01 * theirs + 0.005, ours, theirs)
        print(f"- CPU of 1,000 short children: {ours:.3f} s here, {theirs:.3f} s in `cpuacct.usage` of a group of version 1 around them.")
    for name, code, bar in (("one Python of 400 MiB", "x=bytearray(400<<20); time.sleep(.5)", 0.02),
                            ("three forks of one Python, of 60, 80 and 100 MiB",
                             "n=[60,80,100][0 if os.fork() else 1 if os.fork() else 2]; x=bytearray(n<<20); time.sleep(1)", 0.12)):
        memory = within(place, "memory", "memory.max_usage_in_bytes", f"exec python3 -S -E -c 'import os, time; {code}'")
        if memory:
            ours, theirs = memory[0]["peak_memory_bytes"] / 1e6, memory[1] / 1e6
            must(abs(ours - theirs) <= bar * theirs, name, ours, theirs)
            print(f"- Peak memory of {name}: {ours:.1f} MB here, {theirs:.1f} MB in `memory.max_usage_in_bytes`.")
    if not cpu:
        print("- Accounts of the kernel: no groups of version 1 to compare with here.")


def elsewhere(place):
    """Somebody who may not make groups, and a container in which there is nearly nothing."""
    report = place.profile("--state-dir", "nobody", "--define-stage", f"a={FORK}", around=NOBODY)
    must(first(report)["figures"]["cpu_user_seconds"] > 0 and report["measuring"]["degraded"], report)
    print(f"- Somebody without rights: {len(report['measuring']['degraded'])} things are said that could not be measured as well, "
          f"the first: {report['measuring']['degraded'][0]}.")
    folders = [name for name in ("usr", "bin", "lib", "lib64", "dev") if Path("/", name).exists()]
    binds = "".join(f"mkdir {name}; mount --bind /{name} {name}; " for name in folders)
    words = ["profile", "--json", "--quiet", "--no-gate", "--state-dir", "/work/state", "--define-stage", f"a={FORK}"]
    for name, mount, expected in (("sys", "mount -t proc proc proc", 0), ("proc", "true", 2)):
        root = place.folder / f"without-{name}"
        root.mkdir()
        script = (f"set -e; mount -t tmpfs none {root}; cd {root}; {binds} mkdir proc work; chmod 777 work; {mount}; "
                  f'cp {place.agp} agp; exec chroot --userspec=65534:65534 . /agp "$@"')
        ran = subprocess.run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", *words],
                             capture_output=True, text=True, timeout=120)
        must(ran.returncode == expected, name, ran.returncode, ran.stdout[-1500:], ran.stderr[-1500:])
        report = json.loads(ran.stdout)
        if expected == 0:
            must(report["measuring"]["degraded"], report)
            print(f"- A container without /sys: {'; '.join(report['measuring']['degraded'])}.")
        else:
            must("/proc" in report["findings"][0]["message"], report)
            print(f"- One without /proc, too, is no place to measure in: exit 2, `{report['findings'][0]['message']}`.")


def cost(place):
    """CPU of looking, from the scheduler's counters."""
    print("\n| job, 4 s | looks | CPU of looking | of one processor |\n|---|--:|--:|--:|")
    many = "a=for i in $(seq 20); do sleep 4 & done; wait"
    for hertz, bar in ((10, 0.01), (100, 0.03)):
        policy = place.policy(f'{{"profile": {{"sample_hz": {hertz}}}}}')
        for name, script in (("one process", "a=sleep 4"), ("21 processes", many)):
            looking = first(place.profile(*policy, "--define-stage", script))["cost"]
            share = looking["cpu_seconds"] / 4
            must(share <= bar, name, hertz, looking)
            print(f"| {name}, {hertz} Hz | {looking['looks']} | {looking['cpu_seconds']:.3f} s | {share:.2%} |")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--agp", required=True)
    with tempfile.TemporaryDirectory(prefix="agp-profile-", dir="/var/tmp") as base:
        place = Place(Path(arguments.parse_args().agp).resolve(), base)
        print(f"# What measuring costs, and how exact it is\n\n{time.strftime('%Y-%m-%d')}, {os.cpu_count()} processors, load "
              f"{os.getloadavg()[0]:.1f}, Linux {os.uname().release.split('-')[0]}, `python3 tests/profile/check.py`.\n")
        misbehaving(place)
        accounts(place)
        elsewhere(place)
        cost(place)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Signs, verifies, scans, snapshots and restores the same trees with agp and with the peers that are installed, side by side.

    compare.py [--agp PATH] [--verbs sign,guard,rollback] [--corpora small,mixed,large] [--scale 0.1] [--runs 5] [--peers b3sum,hashdeep]

Makes the corpora (the same bytes everywhere, except `code`, which is text found on this machine), runs
every tool in turn, round after round with the order rotated, and prints Markdown: medians of wall
seconds, CPU seconds and peak memory, and agp's ratio to each peer. Machines differ, so quote the
ratios and not the seconds, and of an idle machine. All files are read once before the first round: this compares programs,
not disks.

Peers are used when they are found; nothing is installed. In Debian's names:
    apt install coreutils findutils b3sum hashdeep openssl
    python3 -m venv venv && venv/bin/pip install model-signing==1.1.1 pyopenssl
model_signing is looked for on PATH, or given with --model-signing venv/bin/model_signing.
Beside guard stand kingfisher (pip install kingfisher-bin; `--no-validate`, so that it asks nobody) and betterleaks, on `code` and
`mixed`; every tool looks for all that it knows.
Beside rollback stand restic and borg (apt install restic borgbackup), on `small` and `mixed`. Four acts: the first snapshot,
one of an unchanged tree, one after 1 % of the files changed, and a restore to where nothing is. agp checks every digest while it
restores, reads the restored tree again, and makes it durable before it replaces anything; the others do none of the last two.
What was restored is compared with what was there, for every tool. Give a tmpfs for --workdir: this compares programs, not disks.

A loop of one's own (walk, read, SHA-256) can stand beside them: --yardstick 'CMD {}', where {} is the tree.

CPU time and memory are those of wait4(2): the tool with all descendants that it waited for. Linux counts the
memory of the process that forked too, so no figure lies below this script's own, which is printed.
"""
import argparse
import hashlib
import json
import os
import platform
import random
import secrets
import shlex
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time

MIB = 1 << 20
CPUS = len(os.sched_getaffinity(0))
STARTUP_RUNS = 31
MANIFEST_NAME = "integrity_manifest.json"


# ---- Corpora ----

def sizes_of(corpus, scale):
    """(files per directory, sizes in bytes); a smaller scale means fewer files, for `large` smaller ones."""
    rng = random.Random("agp corpus " + corpus)
    if corpus == "large":
        return 8, [int(256 * MIB * scale)] * 8
    if corpus == "mixed":
        count, total = max(int(5000 * scale), 10), 1.07e9 * scale
        drawn = [rng.lognormvariate(0, 1.95) for _ in range(count)]
        return 50, [int(size * total / sum(drawn)) for size in drawn]
    if corpus == "small":
        return 100, [rng.randint(1 << 10, 16 << 10) for _ in range(max(int(20000 * scale), 10))]
    count = {"thousand": 1000, "million": max(int(1e6 * scale), 10)}[corpus]
    return 1000, [rng.randint(16, 256) for _ in range(count)]


def write_synthetic(corpus, scale, folder):
    per_directory, sizes = sizes_of(corpus, scale)
    pool = hashlib.shake_256(corpus.encode()).digest(4 * MIB)
    for index, size in enumerate(sizes):
        directory = os.path.join(folder, "d%04d" % (index // per_directory))
        if index % per_directory == 0:
            os.mkdir(directory)
        with open(os.path.join(directory, "f%06d.bin" % index), "wb", buffering=0) as file:
            left = size
            start = index * 7919 % len(pool)
            while left > 0:
                left -= file.write(pool[start:start + left])
                start = 0


TEXT_SUFFIXES = (".py", ".rs", ".h", ".hpp", ".c", ".js", ".ts", ".json", ".toml", ".md", ".txt", ".html", ".css", ".sh", ".pl",
                 ".pm", ".xml", ".yaml", ".yml", ".cmake", ".go", ".java", ".rb", ".vim", ".el", ".rst", ".m4", ".sql")


def write_code(scale, folder):
    """Source text of this machine, in sorted order, at most 40 % of it from one place."""
    wanted = int(200e6 * scale)
    places = [sysconfig.get_paths()["stdlib"], os.path.expanduser("~/.cargo/registry/src"), "/usr/include", "/usr/share"]
    for number, place in enumerate(places):
        allowed = min(wanted, int(80e6 * scale))
        for directory, below, names in os.walk(place):
            below.sort()
            for name in sorted(names):
                source = os.path.join(directory, name)
                if not name.endswith(TEXT_SUFFIXES) or os.path.islink(source) or not os.path.isfile(source):
                    continue
                size = os.path.getsize(source)
                if size > allowed or size > 4e6:
                    continue
                target = os.path.join(folder, "place%d" % number, os.path.relpath(source, place))
                os.makedirs(os.path.dirname(target), exist_ok=True)
                shutil.copyfile(source, target)
                allowed -= size
                wanted -= size


def make_corpus(corpus, scale, workdir):
    """The corpus's folder and {files, bytes}; made once per workdir."""
    name = "%s-%g" % (corpus, scale)
    folder, note = os.path.join(workdir, name), os.path.join(workdir, name + ".json")
    if not os.path.exists(note):
        shutil.rmtree(folder, ignore_errors=True)
        say("making %s" % name)
        os.makedirs(folder)
        child = os.fork()  # so that what this takes does not count as anybody's peak memory
        if child == 0:
            status = 1
            try:
                write_code(scale, folder) if corpus == "code" else write_synthetic(corpus, scale, folder)
                count = sum(len(names) for _, _, names in os.walk(folder))
                size = sum(os.path.getsize(os.path.join(directory, name))
                           for directory, _, names in os.walk(folder) for name in names)
                with open(note, "w") as file:
                    json.dump({"files": count, "bytes": size}, file)
                status = 0
            finally:
                os._exit(status)
        if os.waitpid(child, 0)[1] != 0:
            raise SystemExit("cannot make " + name)
    with open(note) as file:
        return folder, json.load(file)


# ---- Running ----

class Sample:
    """One run: wall and CPU seconds, peak bytes."""

    def __init__(self, argv, env, log, output=os.devnull):
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                   (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                   (os.POSIX_SPAWN_OPEN, 2, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
        started = time.perf_counter()
        pid = os.posix_spawn(argv[0], argv, env, file_actions=actions)
        _, status, usage = os.wait4(pid, 0)
        self.wall = time.perf_counter() - started
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak = usage.ru_maxrss * 1024
        if status != 0:
            with open(log, errors="replace") as file:
                raise RuntimeError("%s failed with status %#x: %s" % (" ".join(argv[:3]), status, file.read()[-400:]))


class Tool:
    """A way to sign a tree and to verify it. `verify` may be None."""

    def __init__(self, name, sign, verify=None, env=None, after=None):
        self.name, self.sign, self.verify = name, sign, verify
        self.env = dict(os.environ) if env is None else env
        self.after = after or (lambda: None)
        self.samples = {"sign": [], "verify": []}

    def round(self, log):
        try:
            for act, argv in (("sign", self.sign), ("verify", self.verify)):
                if argv:
                    self.samples[act].append(Sample(argv, self.env, log))
        finally:
            self.after()

    def median(self, act, field):
        samples = self.samples[act]
        return statistics.median(getattr(sample, field) for sample in samples) if samples else None


def shell(script, *arguments):
    return ["/bin/sh", "-c", script, "sh", *map(str, arguments)]


def list_hasher(name, command, check, folder, out, files):
    """A tool that hashes files named in argv, as many processes as there are cores."""
    each = max(1, min(1000, files // (8 * CPUS)))  # even work for all, few starts
    sign = shell('rm -rf "$2" && mkdir "$2" && cd "$1" && find . -type f -print0 | '
                 'xargs -0 -n "$3" -P "$4" sh -c \'%s "$@" > "$0/$$"\' "$2"' % command, folder, out, each, CPUS)
    verify = shell('cd "$1" && find "$2" -type f -print0 | xargs -0 -n 1 -P "$3" %s' % check, folder, out, CPUS)
    return Tool(name, sign, verify if check else None)


def peers(options, folder, scratch, files):
    """Every peer that is installed and wanted."""
    out = os.path.join(scratch, "sums")
    key, public, bundle = (os.path.join(scratch, name) for name in ("key.pem", "public.pem", "bundle.json"))
    found = []

    def wanted(name):
        return name in options.peers if options.peers else True

    def have(program):
        return shutil.which(program) is not None
    if wanted("sha256sum") and have("sha256sum"):
        found.append(list_hasher("sha256sum", "sha256sum", "sha256sum -c --quiet", folder, out + "-sha", files))
    if wanted("b3sum") and have("b3sum"):
        found.append(list_hasher("b3sum", "b3sum --num-threads 1", "b3sum --num-threads 1 -c --quiet", folder, out + "-b3", files))
    if wanted("openssl") and have("openssl"):
        found.append(list_hasher("openssl", "openssl dgst -sha256 -r", "", folder, out + "-ssl", files))
    slow = files > 200_000 and not options.peers  # minutes each; named peers run all the same
    if wanted("hashdeep") and have("hashdeep") and not slow:
        found.append(Tool(
            "hashdeep", shell('cd "$1" && hashdeep -j "$3" -c sha256 -r -l . > "$2"', folder, out + "-deep", CPUS),
            shell('cd "$1" && hashdeep -j "$3" -c sha256 -r -l -a -k "$2" .', folder, out + "-deep", CPUS)))
    program = options.model_signing
    if wanted("model-signing") and program and have("openssl") and not slow:
        if not os.path.exists(public):
            for argv in (["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key], ["ec", "-in", key, "-pubout", "-out", public]):
                subprocess.run(["openssl", *argv], check=True, stderr=subprocess.DEVNULL)
        if subprocess.run([program, "--version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
            found.append(Tool("model-signing", [program, "sign", "key", "--private_key", key, "--signature", bundle, folder],
                              [program, "verify", "key", "--public_key", public, "--signature", bundle, folder]))
        else:
            say("model_signing does not start (pyopenssl missing?)")
    if options.yardstick:
        argv = options.yardstick if "{}" in options.yardstick else options.yardstick + ["{}"]
        found.append(Tool("yardstick", [part.replace("{}", folder) for part in argv]))
    return found


def agp_tool(agp, folder, scratch):
    manifest, state = os.path.join(folder, MANIFEST_NAME), os.path.join(scratch, "state")

    def tidy_up():
        if os.path.exists(manifest):
            os.remove(manifest)
    return Tool("agp", [agp, "sign", "--input-dir", folder, "--output", manifest, "--state-dir", state],
                [agp, "verify", "--manifest", manifest, "--state-dir", state], agp_environment(), tidy_up)


SECRET = "hex:" + secrets.token_hex(32)


def agp_environment():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AGP_")}
    return dict(environment, POCKETMON_SIGN_SECRET=SECRET)


def sha_bound(seconds=0.5):
    """Bytes per second of SHA-256 over memory on all cores at once: what no signer here can pass."""
    buffer = b"\xa5" * (256 << 10)
    reader, writer = os.pipe()
    for _ in range(CPUS):
        if os.fork() == 0:
            done, started = 0, time.perf_counter()
            digest = hashlib.sha256()
            while time.perf_counter() - started < seconds:
                digest.update(buffer)
                done += len(buffer)
            os.write(writer, b"%d\n" % (done / (time.perf_counter() - started)))
            os._exit(0)
    for _ in range(CPUS):
        os.wait()
    os.close(writer)
    with os.fdopen(reader) as rates:
        return sum(map(int, rates))


# ---- The report ----

def say(text):
    print(text, file=sys.stderr, flush=True)


def number(value, digits=2):
    return "–" if value is None else "%.*f" % (digits, value)


def ratio(peer, agp):
    return "–" if not peer or not agp else "%.2f" % (peer / agp)


def report_corpus(corpus, facts, tools, bound):
    print("\n### %s: %s files, %.1f MB; SHA-256 bound of %d cores %.2f GB/s\n" % (
        corpus, format(facts["files"], ","), facts["bytes"] / 1e6, CPUS, bound / 1e9))
    print("| tool | sign s | CPU s | peak MiB | files/s | MB/s | verify s | CPU s | peak MiB | sign: wall, CPU ÷ agp's | verify: wall, CPU ÷ agp's |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    agp = next((tool for tool in tools if tool.name == "agp"), None)
    for tool in tools:
        sign = tool.median("sign", "wall")
        if sign is None:
            print("| %s | failed |" % tool.name + " – |" * 9)
            continue
        cells = [tool.name, number(sign, 3), number(tool.median("sign", "cpu"), 3), number(tool.median("sign", "peak") / MIB, 1),
                 format(round(facts["files"] / sign), ","), "%.0f" % (facts["bytes"] / sign / 1e6)]
        peak = tool.median("verify", "peak")
        cells += [number(tool.median("verify", "wall"), 3), number(tool.median("verify", "cpu"), 3), number(peak and peak / MIB, 1)]
        for act in ("sign", "verify"):
            cells.append(", ".join(ratio(tool.median(act, field), agp and agp.median(act, field)) for field in ("wall", "cpu")))
        print("| " + " | ".join(cells) + " |")
    if agp and agp.median("sign", "wall"):
        report_agp(facts, agp, tools, bound)


def report_agp(facts, agp, tools, bound):
    print()
    for act in ("sign", "verify"):
        wall = agp.median(act, "wall")
        if wall:
            print("- agp %s: %.0f %% of the SHA bound, %s files/s, %.2f µs CPU a file" % (
                act, 100 * facts["bytes"] / wall / bound, format(round(facts["files"] / wall), ","),
                1e6 * agp.median(act, "cpu") / facts["files"]))
    if agp.median("verify", "wall"):
        print("- agp verify ÷ sign: %.2f wall, %.2f CPU" % tuple(
            agp.median("verify", field) / agp.median("sign", field) for field in ("wall", "cpu")))
    yardstick = next((tool for tool in tools if tool.name == "yardstick" and tool.samples["sign"]), None)
    if yardstick:
        print("- agp sign ÷ yardstick: %.2f wall, %.2f CPU" % tuple(
            agp.median("sign", field) / yardstick.median("sign", field) for field in ("wall", "cpu")))


def measure_corpus(corpus, options, agp, scratch):
    folder, facts = make_corpus(corpus, options.scale, options.workdir)
    leftover = os.path.join(folder, MANIFEST_NAME)
    if os.path.exists(leftover):  # of a run that was killed
        os.remove(leftover)
    tools = ([agp_tool(agp, folder, scratch)] if agp else []) + peers(options, folder, scratch, facts["files"])
    bounds = take_rounds(corpus, folder, (tools, options), scratch)
    report_corpus(corpus, facts, tools, statistics.median(bounds))


def take_rounds(corpus, folder, tools_and_options, scratch):
    """Runs every tool in turn; gives what SHA-256 could do in each round."""
    tools, options = tools_and_options
    subprocess.run(shell('find "$1" -type f -print0 | xargs -0 cat > /dev/null', folder), check=True)
    log, broken, bounds = os.path.join(scratch, "stderr"), set(), []
    for turn in range(options.runs):
        say("%s, round %d of %d" % (corpus, turn + 1, options.runs))
        bounds.append(sha_bound())  # in every round, so that a busy machine slows it as it slows the tools
        start = turn % len(tools) if tools else 0
        for tool in tools[start:] + tools[:start]:
            try:
                if tool.name not in broken:
                    tool.round(log)
            except (RuntimeError, OSError) as error:
                say("  %s is left out: %s" % (tool.name, error))
                broken.add(tool.name)
                tool.samples = {"sign": [], "verify": []}
    return bounds


# ---- Guard ----

GUARD_CORPORA = ("code", "mixed")


def scanners(folder, agp, scratch):
    """Every scanner that is installed. Its only act stands where signing does; that it found something is no failure."""
    out, state = os.path.join(scratch, "found"), os.path.join(scratch, "state")
    known = [
        ("agp", agp, ["guard", "--target", folder, "--state-dir", state, "--quiet", "--output", out]),
        ("kingfisher", program_path("kingfisher"), ["scan", "--no-validate", "--no-update-check", "--format", "json", "--output", out, folder]),
        ("betterleaks", program_path("betterleaks"), ["dir", "--no-banner", "--report-format", "json", "--report-path", out, folder]),
    ]
    forgiving = '"$@"; code=$?; case $code in 0 | 1 | 19 | 200 | 205) ;; *) exit "$code" ;; esac'
    return [Tool(name, shell(forgiving, program, *arguments), env=agp_environment() if name == "agp" else None)
            for name, program, arguments in known if program]


def measure_guard(corpus, options, agp, scratch):
    folder, facts = make_corpus(corpus, options.scale, options.workdir)
    tools = scanners(folder, agp, scratch)
    take_rounds(corpus, folder, (tools, options), scratch)
    print("\n### Guard on %s: %s files, %.1f MB; medians of %d rounds\n" % (
        corpus, format(facts["files"], ","), facts["bytes"] / 1e6, options.runs))
    print("| tool | wall s | CPU s | MB a CPU second | peak MiB | wall, CPU ÷ agp's |\n|---|--:|--:|--:|--:|--:|")
    first = tools[0] if tools and tools[0].name == "agp" else None
    for tool in tools:
        wall, cpu, peak = (tool.median("sign", field) for field in ("wall", "cpu", "peak"))
        if wall is None:
            print("| %s | failed | – | – | – | – |" % tool.name)
            continue
        against = ", ".join(ratio(tool.median("sign", field), first and first.median("sign", field)) for field in ("wall", "cpu"))
        print("| %s | %.2f | %.2f | %.0f | %.0f | %s |" % (tool.name, wall, cpu, facts["bytes"] / 1e6 / cpu, peak / MIB, against), flush=True)


# ---- Rollback ----

ACTS = ("first", "unchanged", "1 % changed", "restore")
ROLLBACK_CORPORA = ("small", "mixed")


class Keeper:
    """How a tool keeps a tree and puts it back. {store}, {tree}, {target} and {number} stand for places and for the snapshot's number."""

    def __init__(self, name, environment, prepare, save, restore, in_place=False):
        self.name, self.environment, self.prepare, self.save, self.restore = name, environment, prepare, save, restore
        self.in_place = in_place
        self.samples = {act: [] for act in ACTS}

    def median(self, act, field):
        return statistics.median(getattr(sample, field) for sample in self.samples[act])


def keepers(options, agp):
    wanted = lambda name: not options.peers or name in options.peers
    found = []
    if agp:
        found.append(Keeper("agp", {"POCKETMON_SIGN_SECRET": SECRET}, None,
                            [agp, "rollback", "snapshot", "--quiet", "--state-dir", "{store}", "--target-dirs", "{tree}"],
                            [agp, "rollback", "restore", "last", "--yes", "--quiet", "--state-dir", "{store}"], in_place=True))
    restic, borg = program_path("restic"), program_path("borg")
    if restic and wanted("restic"):
        environment = {"RESTIC_PASSWORD": "benchmark", "RESTIC_CACHE_DIR": "{store}-cache"}
        for name, level in (("restic, uncompressed", "off"), ("restic, compressed", "auto")):
            base = [restic, "-q", "-r", "{store}", "--compression", level]
            found.append(Keeper(name, environment, [restic, "-q", "-r", "{store}", "init", "--repository-version", "2"],
                                base + ["backup", "{tree}"], base + ["restore", "latest", "--target", "{target}"]))
    if borg and wanted("borg"):
        environment = {"BORG_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes", "BORG_BASE_DIR": "{store}-base"}
        found.append(Keeper("borg, lz4", environment, [borg, "init", "-e", "none", "{store}"],
                            [borg, "create", "-C", "lz4", "{store}::{number}", "{tree}"], [borg, "extract", "{store}::{number}"]))
    return found


def change_some(tree, seed):
    """Other bytes at the beginning of one file of a hundred."""
    files = sorted(os.path.join(at, name) for at, _, names in os.walk(tree) for name in names)
    rng = random.Random(seed)
    for path in rng.sample(files, max(1, len(files) // 100)):
        with open(path, "r+b") as file:
            file.write(rng.randbytes(min(64, max(1, os.path.getsize(path)))))


def keep_and_restore(keeper, corpus, workdir, seed):
    with tempfile.TemporaryDirectory(dir=workdir) as folder:
        tree, store, target = folder + "/tree", folder + "/store", folder + "/target"
        subprocess.run(["cp", "-a", corpus, tree], check=True)
        os.mkdir(target)
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder}
        environment.update({key: value.format(store=store) for key, value in keeper.environment.items()})

        def run(argv, number):
            places = {"store": store, "tree": tree, "target": target, "number": number}
            return Sample([word.format(**places) for word in argv], environment, folder + "/log")
        if keeper.prepare:
            run(keeper.prepare, 0)
        for number, act in enumerate(ACTS[:3]):
            if act == ACTS[2]:
                change_some(tree, seed)
            # What is younger than two seconds no tool may trust by its times.
            time.sleep(2.5)
            keeper.samples[act].append(run(keeper.save, number))
        os.rename(tree, folder + "/aside")
        back = os.getcwd()
        os.chdir(target)  # where borg extracts
        try:
            keeper.samples["restore"].append(run(keeper.restore, 2))
        finally:
            os.chdir(back)
        restored = tree if keeper.in_place else target + os.path.abspath(tree)
        same = subprocess.run(["diff", "-rq", folder + "/aside", restored], capture_output=True)
        if same.returncode != 0:
            raise RuntimeError("it restored something else: %s" % same.stdout[:300])


def measure_rollback(corpus, options, agp):
    folder, facts = make_corpus(corpus, options.scale, options.workdir)
    tools = keepers(options, agp)
    for turn in range(options.runs):
        say("rollback of %s, round %d of %d" % (corpus, turn + 1, options.runs))
        start = turn % len(tools) if tools else 0
        for tool in tools[start:] + tools[:start]:
            keep_and_restore(tool, folder, options.workdir, turn)
    print("\n### Rollback of %s: %s files, %.1f MB; medians of %d rounds\n" % (
        corpus, format(facts["files"], ","), facts["bytes"] / 1e6, options.runs))
    print("| tool |" + "".join(" %s: wall, CPU s |" % act for act in ACTS) + " peak MiB |\n|---|" + "--:|" * (len(ACTS) + 1))
    for tool in tools:
        cells = ["%.2f, %.2f" % (tool.median(act, "wall"), tool.median(act, "cpu")) for act in ACTS]
        peak = max(tool.median(act, "peak") for act in ACTS) / MIB
        print("| %s | %s | %.0f |" % (tool.name, " | ".join(cells), peak))
    if not agp:
        return
    print("\n| ÷ agp's |" + "".join(" %s: wall, CPU |" % act for act in ACTS) + "\n|---|" + "--:|" * len(ACTS))
    for tool in tools[1:]:
        cells = [", ".join("%.1f" % (tool.median(act, field) / tools[0].median(act, field)) for field in ("wall", "cpu")) for act in ACTS]
        print("| %s | %s |" % (tool.name, " | ".join(cells)), flush=True)


def report_startup(agp, scratch):
    """Milliseconds of the shortest commands, beside a program that does nothing."""
    folder, log = os.path.join(scratch, "one"), os.path.join(scratch, "stderr")
    os.mkdir(folder)
    with open(os.path.join(folder, "file"), "w") as file:
        file.write("one line\n")
    tool = agp_tool(agp, folder, scratch)
    guard = [agp, "guard", "--target", os.path.join(folder, "file"), "--state-dir", os.path.join(scratch, "state"), "--quiet"]
    commands = {"true": [shutil.which("true")], "agp --version": [agp, "--version"], "agp verify, one file": tool.verify,
                "agp guard, one file": guard}
    samples = {name: [] for name in commands}
    try:
        Sample(tool.sign, tool.env, log)
        for _ in range(STARTUP_RUNS):
            for name, argv in commands.items():
                samples[name].append(Sample(argv, tool.env, log))
    except RuntimeError as error:
        return say("start-up is left out: %s" % error)
    print("\n### Start-up, median of %d\n\n| command | wall ms | CPU ms | peak MiB |\n|---|--:|--:|--:|" % STARTUP_RUNS)
    for name, taken in samples.items():
        wall, cpu, peak = (statistics.median(getattr(sample, field) for sample in taken) for field in ("wall", "cpu", "peak"))
        print("| %s | %.2f | %.2f | %.1f |" % (name, 1e3 * wall, 1e3 * cpu, peak / MIB))


def program_path(name):
    """The absolute path of a program, None where there is none."""
    found = shutil.which(name)
    return os.path.abspath(found) if found else None


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            facts = dict(map(str.strip, line.split(":", 1)) for line in file if ":" in line)
    except OSError:
        return platform.machine()
    return "%s%s" % (facts.get("model name", platform.machine()), ", SHA-NI" if "sha_ni" in facts.get("flags", "") else "")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Compare agp with its peers on the same trees")
    parser.add_argument("--agp", default=os.path.join(here, "..", "target", "release", "agp"), help="the release build")
    parser.add_argument("--verbs", default="sign,guard,rollback", help="of sign (with verify), guard and rollback")
    parser.add_argument("--corpora", default="small,mixed,large", help="of small, mixed, large, code, thousand, million")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 for a quick look")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--peers", type=lambda text: text.split(","), help="only these (none: no peer); slow ones on `million` too")
    parser.add_argument("--model-signing", default="model_signing", metavar="PATH")
    parser.add_argument("--yardstick", metavar="CMD", type=shlex.split, help="a plain walk-read-hash program; {} is the tree")
    parser.add_argument("--workdir", help="keeps the corpora for the next run (default: a temporary folder)")
    options = parser.parse_args()
    corpora, verbs = options.corpora.split(","), options.verbs.split(",")
    if set(verbs) - {"sign", "guard", "rollback"}:
        parser.error("no such verb")
    unknown = set(corpora) - {"small", "mixed", "large", "code", "thousand", "million"}
    if unknown:
        parser.error("no such corpus: " + ", ".join(sorted(unknown)))
    # Absolute, since the commands run elsewhere.
    agp, options.model_signing = os.path.abspath(options.agp), program_path(options.model_signing)
    if options.yardstick:
        options.yardstick[0] = program_path(options.yardstick[0]) or parser.error("no such yardstick")
    if not os.access(agp, os.X_OK):
        say("no agp at --agp; peers only")
        agp = None
    with tempfile.TemporaryDirectory() as scratch:
        options.workdir = os.path.abspath(options.workdir or os.path.join(scratch, "corpora"))
        os.makedirs(options.workdir, exist_ok=True)
        empty = os.path.join(scratch, "empty")
        os.mkdir(empty)
        os.chdir(empty)  # where no policy lies about
        floor = Sample([shutil.which("true")], dict(os.environ), os.path.join(scratch, "stderr")).peak
        print("%s, %d cores, Linux %s; medians of %d rounds; memory floor %.1f MiB; load %.2f at the start" % (
            processor(), CPUS, platform.release().split("-")[0], options.runs, floor / MIB, os.getloadavg()[0]))
        for corpus in corpora if "sign" in verbs else ():
            measure_corpus(corpus, options, agp, scratch)
        if agp and {"sign", "guard"} & set(verbs):
            report_startup(agp, scratch)
        for corpus in corpora if "guard" in verbs else ():
            if corpus in GUARD_CORPORA:
                measure_guard(corpus, options, agp, scratch)
        for corpus in corpora if "rollback" in verbs else ():
            if corpus in ROLLBACK_CORPORA:
                measure_rollback(corpus, options, agp)
    return 0


if __name__ == "__main__":
    sys.exit(main())

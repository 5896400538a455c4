#!/usr/bin/env python3
"""What nobody sends with good intent, to `agp guard`: how long it takes, in how much memory, and what it says.

    hostile.py --agp PATH [--workdir DIR]

Makes each input, runs guard on it beside two minutes of patience, and prints Markdown. Ends with 1 where the exit code is another
than the one that is due, a word is missing in the answer, or something takes more memory or time than its row allows: a hang
shows, a slow machine does not. Root reads everything; the unreadable file is left out for root.
"""
import argparse
import base64
import gzip
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile

MIB = 1 << 20
# In pieces, so that no scanner takes it for one.
ACCESS_KEY = b"AK" + b"IA" + b"Q7ZJ4WNV" + b"6XKD2TPM"
PATIENCE_S = 120


def lines_of(words, size, seed):
    """Words in lines of ten, so many bytes."""
    rng = random.Random(seed)
    block = "".join(" ".join(rng.choice(words) for _ in range(10)) + "\n" for _ in range(2000)).encode()
    return (block * (size // len(block) + 1))[:size]


def keywords():
    """The words that our own rules look for."""
    rules = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "guard", "rules")
    words = set()
    for name in sorted(os.listdir(rules)):
        if name.endswith(".toml"):
            with open(os.path.join(rules, name), "rb") as file:
                words.update(word for rule in tomllib.load(file).get("rule", []) for word in rule.get("keywords", []))
    return sorted(words)


def zipped(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def nested(depth, content):
    for level in range(depth):
        content = zipped([("level%d.zip" % level, content)])
    return content


def sparse(path, size):
    with open(path, "wb") as file:
        file.truncate(size)


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def cases():
    """(name, what makes it in a folder, more arguments, exit codes that are due, a word of the answer, most MiB, most s)"""
    names = ["password", "secret", "token", "api_key", "credential", "auth"]
    assigned = ["password = get_it()", "secret=os.environ['A']", "token: self.value", "key->x", "auth(None"]
    return [
        ("32 MB on one line", lambda at: write(at("a.js"), (b"var a=1;function f(x){return x+1};" * MIB)[:32 * MIB]), [], {0}, "", 64, 10),
        ("32 MB of base64", lambda at: write(at("a.txt"), base64.encodebytes(random.Random(7).randbytes(24 * MIB))), [], {0}, "", 64, 10),
        ("32 MB of names that secrets have", lambda at: write(at("a.txt"), lines_of(names, 32 * MIB, 1)), [], {0}, "", 64, 10),
        ("32 MB of assignments without a secret", lambda at: write(at("a.txt"), lines_of(assigned, 32 * MIB, 2)), [], {0}, "", 64, 20),
        # Compiles every rule there is, for every thread.
        ("32 MB of words that rules look for", lambda at: write(at("a.txt"), lines_of(keywords(), 32 * MIB, 3)), [], {0, 19}, "", 128, 20),
        ("zip bomb: 1 GB of zeros in a zip of 1 MB", lambda at: write(at("a.zip"), zipped([("zeros", bytes(MIB * 1024))])), [], {19}, "archive.bomb", 64, 20),
        ("gzip bomb: 1 GB of one letter", lambda at: write(at("a.gz"), gzip.compress(b"a" * (1024 * MIB), 9)), [], {19}, "archive.bomb", 64, 20),
        ("4 zips in each other, a key in the last", lambda at: write(at("a.zip"), nested(3, zipped([("k.txt", ACCESS_KEY)]))), [], {19}, "aws.access_key_id", 64, 10),
        ("30 zips in each other", lambda at: write(at("a.zip"), nested(30, b"x")), [], {19}, "archive.bomb", 64, 10),
        ("zip of 200,000 empty files", lambda at: write(at("a.zip"), zipped([("f%06d" % n, b"") for n in range(200000)])), [], {0}, "", 256, 30),
        ("sparse file of 10 GB", lambda at: sparse(at("a.bin"), 10 << 30), [], {0}, "", 64, 60),
        ("FIFO", lambda at: (write(at("a"), b"x"), os.mkfifo(at("pipe"))), [], {0, 19}, "file_type.special", 64, 10),
        ("unreadable file", lambda at: (write(at("a"), b"x"), os.chmod(at("a"), 0)), [], {19}, "file.unreadable", 64, 10),
        ("200,000 nested brackets", lambda at: write(at("a.json"), b"[" * 200000), [], {0, 19}, "asset.nesting", 64, 10),
        ("200,000 nested brackets in YAML", lambda at: write(at("a.yaml"), b"[" * 200000), [], {0, 19}, "asset.nesting", 64, 10),
        ("10,000 links to each other", links, [], {0, 19}, "", 64, 10),
        ("a user's rule that explodes", lambda at: write(at("a"), b"a" * MIB), ["--rules", explosive()], {2}, "compiles to more than", 64, 10),
    ]


def links(at):
    write(at("a"), b"x")
    for number in range(10000):
        os.symlink("l%05d" % ((number + 1) % 10000), at("l%05d" % number))


def explosive():
    file = tempfile.NamedTemporaryFile("w", suffix=".toml", delete=False)
    file.write('[[rule]]\nid = "x.y"\ntitle = "X"\ncategory = "secret"\nseverity = "high"\nkeywords = ["aaa"]\n'
               "regex = '(?:a{0,1000}){0,1000}b'\nexamples = [\"aaab\"]\nnegatives = [\"c\"]\n")
    file.close()
    return file.name


def run(argv, output):
    """(exit code, wall s, CPU s, peak MiB); a negative code where it was killed for taking too long."""
    started = time.monotonic()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=[
        (os.POSIX_SPAWN_OPEN, 1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), (os.POSIX_SPAWN_DUP2, 1, 2)])
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.alarm(PATIENCE_S)
    _, status, usage = os.wait4(pid, 0)
    signal.alarm(0)
    return os.waitstatus_to_exitcode(status), time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description="Hostile inputs for agp guard")
    parser.add_argument("--agp", required=True)
    parser.add_argument("--workdir", default=None)
    options = parser.parse_args()
    agp = os.path.abspath(options.agp)
    bad = 0
    print("| input | exit | wall s | CPU s | peak MiB | |\n|---|--:|--:|--:|--:|---|")
    for name, make, more, due, word, most_mib, most_s in cases():
        if name == "unreadable file" and os.geteuid() == 0:
            print("| %s | | | | | left out for root |" % name)
            continue
        with tempfile.TemporaryDirectory(dir=options.workdir) as folder:
            tree, output = os.path.join(folder, "tree"), os.path.join(folder, "out")
            os.mkdir(tree)
            child = os.fork()  # so that what this takes does not count as anybody's peak memory
            if child == 0:
                make(lambda path: os.path.join(tree, path))
                os._exit(0)
            if os.waitpid(child, 0)[1] != 0:
                raise SystemExit("cannot make: " + name)
            argv = [agp, "guard", "--target", tree, "--state-dir", os.path.join(folder, "state"), "--output", os.path.join(folder, "r.json"), *more]
            code, wall, cpu, peak = run(argv, output)
            with open(output, errors="replace") as file:
                said = file.read()
        faults = [what for what, is_so in [
            ("exit %s is due" % "/".join(map(str, sorted(due))), code not in due),
            ("`%s` is missing" % word, word not in said),
            ("more than %d MiB" % most_mib, peak > most_mib),
            ("more than %d s" % most_s, wall > most_s),
        ] if is_so]
        bad += bool(faults)
        print("| %s | %d | %.2f | %.2f | %.0f | %s |" % (name, code, wall, cpu, peak, ", ".join(faults) or (word and "`%s`" % word)), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

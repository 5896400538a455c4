#!/usr/bin/env python3
"""Kills, cuts the power, fills the disk and flips bytes under `agp rollback`, and counts what is torn or lost.

    crash.py kill     [--agp PATH] [--on DIR] [--step N]     SIGKILL at every mutating system call (strace)
    crash.py power    [--agp PATH] [--on DIR]                a power cut after every acknowledged success (xfs_io shutdown)
    crash.py full     [--agp PATH]                           no space, no inodes (tmpfs), EIO from fsync (strace)
    crash.py flip     [--agp PATH]                           every byte of a small store flipped
    crash.py faithful [--agp PATH] [--on DIR]                20,000 entries: every attribute after a restore

A tree's state is taken by this script alone, so that agp is not its own judge. `--on` names a directory; with
`--on ext4` or `--on xfs` a file system of that kind is made in a file and mounted (needs root), otherwise /dev/shm is used.
Ends with 0 if nothing was torn and nothing was lost.
"""
import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tempfile

MUTATING = ("openat mkdirat mkdir renameat2 renameat rename linkat link symlinkat mknodat unlinkat unlink rmdir write pwrite64 "
            "fchmod fchmodat chmod fchown fchownat fsetxattr lsetxattr fremovexattr utimensat ftruncate fsync syncfs flock").split()
KEY = "hex:" + "0123456789abcdef" * 4


# ---- Trees ----

def state(root):
    """Everything about a tree: {path: attributes}; hard links as the first path of their group. None where it is not there."""
    if not os.path.lexists(root):
        return None
    found, groups = {}, {}
    walk = [os.fsencode(root)]
    while walk:
        path = walk.pop()
        info = os.lstat(path)
        name = os.path.relpath(path, os.fsencode(root))
        one = [stat.S_IFMT(info.st_mode), info.st_mode, info.st_uid, info.st_gid, info.st_mtime_ns]
        one.append({key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)})
        if stat.S_ISREG(info.st_mode):
            with open(path, "rb") as file:
                one += [info.st_size, hashlib.file_digest(file, "sha1").hexdigest()] if hasattr(hashlib, "file_digest") \
                    else [info.st_size, hashlib.sha1(file.read()).hexdigest()]
            if info.st_nlink > 1:
                groups.setdefault(info.st_ino, []).append(name)
        elif stat.S_ISLNK(info.st_mode):
            one.append(os.readlink(path))
        elif stat.S_ISDIR(info.st_mode):
            walk += [entry.path for entry in os.scandir(path)]
        found[name] = one
    for names in (names for names in groups.values() if len(names) > 1):
        for name in names:
            found[name].append(min(names))
    return found


def differing(a, b):
    return [name for name in sorted(set(a or {}) | set(b or {})) if (a or {}).get(name) != (b or {}).get(name)]


def put(path, content):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def small_tree(root, seed):
    """A dozen entries of every kind."""
    rng = random.Random(seed)
    for number in range(4):
        put("%s/d%d/file%d" % (root, number % 2, number), rng.randbytes(3000 * number))
    put(root + "/text", b"one line\n" * 2000)
    os.link(root + "/text", root + "/d0/same")
    os.symlink("nowhere", root + "/dangling")
    os.mkfifo(root + "/fifo")
    os.makedirs(root + "/empty")
    os.chmod(root + "/d1/file1", 0o4755)
    with contextlib.suppress(OSError):
        os.setxattr(root + "/d1/file3", "user.bytes", b"\0\xff\n")


def damage(root):
    put(root + "/d0/file0", b"damaged")
    os.unlink(root + "/d1/file3")
    put(root + "/new/deep/file", b"new")
    os.chmod(root + "/empty", 0o700)


# ---- Places ----

@contextlib.contextmanager
def place(on):
    """A directory on the asked-for file system, and its mount point (None where it is no mount of ours)."""
    if on not in ("ext4", "xfs"):
        with tempfile.TemporaryDirectory(dir=on or "/dev/shm") as folder:
            yield folder, None
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        image, mount = folder + "/image", folder + "/mount"
        os.mkdir(mount)
        with open(image, "wb") as file:
            file.truncate(400 << 20)
        subprocess.run(["mkfs." + on, "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, mount], check=True)
        try:
            os.mkdir(mount + "/work")
            yield mount + "/work", mount
        finally:
            subprocess.run(["umount", "-l", mount], check=True)


class Work:
    """A folder with two targets and a store."""

    def __init__(self, agp, folder):
        self.agp, self.folder = agp, folder
        self.env = {"POCKETMON_SIGN_SECRET": KEY, "PATH": os.environ["PATH"], "RAYON_NUM_THREADS": "1"}

    def run(self, *arguments, around=(), code=0):
        done = subprocess.run([*around, self.agp, *arguments], cwd=self.folder, env=self.env, capture_output=True)
        if code is not None and done.returncode != code:
            raise SystemExit("%s: exit %d, expected %d\n%s%s" % (
                arguments, done.returncode, code, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")))
        return done

    def state(self):
        return [state(self.folder + "/" + name) for name in ("a", "b")]

    def leftovers(self):
        return [name for name in os.listdir(self.folder) if ".agp-" in name]

    def store_entries(self):
        return sorted(os.path.relpath(os.path.join(at, name), self.folder)
                      for at, _, names in os.walk(self.folder + "/.agp/snapshots") for name in names)


def killed(done):
    return done.returncode in (-9, 137)


def strace(call, number):
    return ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call,
            "-e", "inject=%s:signal=KILL:when=%d" % (call, number))


# ---- Kill ----

def kill(options):
    counts = {}
    for verb in ("snapshot", "restore", "prune"):
        kills = torn = lost = unrecovered = 0
        for call in MUTATING:
            number = 0
            while True:
                number += options.step
                with place(options.on if options.on not in ("ext4", "xfs") else options.mounted) as (folder, _):
                    outcome = one_kill(Work(options.agp, folder), verb, (call, number))
                if outcome is None:
                    break
                kills += 1
                torn += outcome[0]
                lost += outcome[1]
                unrecovered += outcome[2]
        counts[verb] = (kills, torn, lost, unrecovered)
        print("%-9s %5d kills, %d torn, %d lost, %d not recovered" % (verb, *counts[verb]), flush=True)
    return any(sum(row[1:]) for row in counts.values()) or any(row[0] == 0 for row in counts.values())


def one_kill(work, verb, at):
    """(torn, lost, not recovered) after one kill; None where the command came to its end."""
    for name in ("a", "b"):
        small_tree(work.folder + "/" + name, name)
    work.run("rollback", "snapshot", "--target-dirs", "a", "b", "--label", "first", "--pin")
    old = work.state()
    if verb == "prune":
        # A snapshot that nobody protects, older than the retention: its time is in its content, so retention is 0.
        put(work.folder + "/a/more", b"more" * 1000)
        work.run("rollback", "snapshot", "--target-dirs", "a", "b")
        put(work.folder + "/policy.json", b'{"rollback_playbook": {"backup_retention_days": 1}}')
        backdate(work)
    for name in ("a", "b"):
        damage(work.folder + "/" + name)
    bad = work.state()
    words = {"snapshot": ["snapshot", "--target-dirs", "a", "b", "--label", "second"],
             "restore": ["restore", "first", "--yes"], "prune": ["prune", "-c", "policy.json"]}[verb]
    done = work.run("rollback", *words, around=strace(*at), code=None)
    if not killed(done):
        return None
    torn = lost = stuck = 0
    if verb == "restore":
        # Each target is wholly old or wholly new at any moment.
        torn += sum(now not in (before, after) for now, before, after in zip(work.state(), bad, old))
    else:
        torn += work.state() != bad
    recovered = work.run("rollback", "recover", code=None)
    stuck += recovered.returncode != 0 or bool(work.leftovers())
    torn += verb == "restore" and work.state() not in (bad, old)
    # The next snapshot and a check, and what was acknowledged comes back.
    work.run("rollback", "snapshot", "--target-dirs", "a", "b", "--label", "third")
    lost += work.run("rollback", "check", "--read-data", code=None).returncode != 0
    lost += work.run("rollback", "restore", "first", "--yes", code=None).returncode != 0 or work.state() != old
    if verb == "restore":
        now = work.run("rollback", "undo", "--yes", code=None)
        stuck += now.returncode != 0
    if torn or lost or stuck:
        print("  %s at %s %d: torn %d, lost %d, stuck %d" % (verb, *at, torn, lost, stuck), flush=True)
    return bool(torn), bool(lost), bool(stuck)


def backdate(work):
    """Makes the snapshots unsealed copies from 2020, so that retention may remove them; the newest stays."""
    folder = work.folder + "/.agp/snapshots/snapshots"
    work.run("rollback", "snapshot", "--target-dirs", "a", "b")
    for name in sorted(name for name in os.listdir(folder) if name.endswith(".json"))[:-1]:
        with open(folder + "/" + name, "rb") as file:
            text = file.read()
        body = text[len(b'{"snapshot":'):text.rindex(b',\n"sha256"')]
        known = json.loads(body)
        body = body.replace(b'"created_at_milliseconds":%d' % known["created_at_milliseconds"], b'"created_at_milliseconds":1577836800000', 1)
        with open(folder + "/" + name, "wb") as file:
            file.write(b'{"snapshot":' + body + b',\n"sha256":"%s","key_id":null,"mac":null}\n' % hashlib.sha256(body).hexdigest().encode())


# ---- Power ----

def power(options):
    """Cuts the power right after a command said that it succeeded: what it said must hold after a remount."""
    lost = rounds = 0
    kind = options.on
    for seed in range(options.rounds):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            image, mount = folder + "/image", folder + "/mount"
            os.mkdir(mount)
            with open(image, "wb") as file:
                file.truncate(400 << 20)
            subprocess.run(["mkfs." + kind, "-q", image], check=True)
            attach = lambda: subprocess.run(["mount", "-o", "loop", image, mount], check=True)
            attach()
            try:
                work = Work(options.agp, mount + "/work")
                os.mkdir(work.folder)

                def cut():
                    subprocess.run(["xfs_io", "-x", "-c", "shutdown", mount], check=True, capture_output=True)
                    subprocess.run(["umount", mount], check=True)
                    attach()
                for name in ("a", "b"):
                    small_tree(work.folder + "/" + name, seed)
                subprocess.run(["sync", "-f", mount], check=True)
                old = work.state()
                work.run("rollback", "snapshot", "--target-dirs", "a", "b", "--label", "first")
                cut()
                for what in ("snapshot", "restore", "undo"):
                    rounds += 1
                    if what == "snapshot":
                        good = work.run("rollback", "check", "--read-data", code=None).returncode == 0 and work.state() == old
                    elif what == "restore":
                        for name in ("a", "b"):
                            damage(work.folder + "/" + name)
                        subprocess.run(["sync", "-f", mount], check=True)
                        bad = work.state()
                        work.run("rollback", "restore", "first", "--yes")
                        cut()
                        good = work.state() == old
                    else:
                        work.run("rollback", "undo", "--yes")
                        cut()
                        good = work.state() == bad
                    lost += not good
                    if not good:
                        print("  lost after %s, seed %d" % (what, seed))
            finally:
                subprocess.run(["umount", "-l", mount], check=True)
    print("power cut on %s: %d cuts after an acknowledged success, %d lost" % (kind, rounds, lost), flush=True)
    return lost or rounds == 0


# ---- Full ----

def full(options):
    wrong = rounds = refused = 0
    for limit in ["size=%dk" % size for size in range(150, 900, 25)] + ["size=8m,nr_inodes=%d" % inodes for inodes in range(55, 150, 5)]:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as mount:
            subprocess.run(["mount", "-t", "tmpfs", "-o", limit, "none", mount], check=True)
            try:
                work = Work(options.agp, mount)
                try:
                    for name in ("a", "b"):
                        small_tree(mount + "/" + name, name)
                except OSError:
                    continue
                rounds += 1
                before = work.state()
                saved = work.run("rollback", "snapshot", "--target-dirs", "a", "b", "--label", "first", code=None)
                wrong += work.state() != before
                if saved.returncode:
                    refused += 1
                    left = [name for name in work.store_entries() if "/objects/" in name]
                    wrong += bool(left)
                else:
                    try:
                        for name in ("a", "b"):
                            damage(mount + "/" + name)
                    except OSError:
                        continue
                    bad = work.state()
                    done = work.run("rollback", "restore", "first", "--yes", code=None)
                    refused += done.returncode != 0
                    wrong += work.state() != (bad if done.returncode else before)
                    wrong += bool(work.leftovers())
                # With room a retry works.
                subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=0", mount], check=True)
                if saved.returncode == 0:
                    work.run("rollback", "restore", "first", "--yes")
                    wrong += work.state() != before
                else:
                    work.run("rollback", "snapshot", "--target-dirs", "a", "b")
                work.run("rollback", "check", "--read-data")
            finally:
                subprocess.run(["umount", "-l", mount], check=True)
    print("full disk: %d sizes, %d refusals, %d wrong" % (rounds, refused, wrong), flush=True)
    eio_wrong = eio_rounds = 0
    for call in ("fsync", "syncfs"):
        for verb in ("snapshot", "restore"):
            number = 0
            while True:
                number += 1
                with place(None) as (folder, _):
                    work = Work(options.agp, folder)
                    for name in ("a", "b"):
                        small_tree(folder + "/" + name, name)
                    before = work.state()
                    if verb == "restore":
                        work.run("rollback", "snapshot", "--target-dirs", "a", "b", "--label", "first")
                        for name in ("a", "b"):
                            damage(folder + "/" + name)
                    bad = work.state()
                    log = folder + "/strace"
                    words = ["snapshot", "--target-dirs", "a", "b"] if verb == "snapshot" else ["restore", "first", "--yes"]
                    done = work.run("rollback", *words, code=None, around=(
                        "strace", "-f", "-y", "-qq", "-o", log, "-e", "trace=" + call,
                        "-e", "inject=%s:error=EIO:when=%d" % (call, number)))
                    with open(log) as file:
                        hit = [line for line in file if "INJECTED" in line]
                    if not hit:
                        break
                    # Without its cache of digests a snapshot is slower and as good.
                    harmless = all("/cache" in line for line in hit)
                    eio_rounds += 1
                    now = work.state()
                    # Never "ok" with a disk that refused; never torn.
                    torn = now not in (bad, before) if verb == "restore" else now != bad
                    eio_wrong += (done.returncode == 0 and not harmless) or torn
                    work.run("rollback", "recover", code=None)
                    work.run("rollback", *words)
                    work.run("rollback", "check", "--read-data")
                    eio_wrong += verb == "restore" and work.state() != before
                    if (done.returncode == 0 and not harmless) or torn:
                        print("  EIO at %s %d of %s: exit %d, torn %s" % (call, number, verb, done.returncode, torn))
    print("EIO: %d places, %d wrong" % (eio_rounds, eio_wrong), flush=True)
    return wrong or eio_wrong or refused == 0 or eio_rounds == 0


# ---- Flip ----

def flip(options):
    wrong = rounds = unnamed = harmless = 0
    with place(None) as (folder, _):
        work = Work(options.agp, folder)
        for name in ("a", "b"):
            put("%s/%s/one" % (folder, name), name.encode() * 40)
            put("%s/%s/two" % (folder, name), b"text " * 1700)
        work.run("rollback", "snapshot", "--target-dirs", "a", "b", "--label", "first")
        old = work.state()
        put(folder + "/a/one", b"damaged")
        bad = work.state()
        shutil.copytree(folder + "/.agp", folder + "/kept", symlinks=True)
        store = folder + "/.agp/snapshots"
        files = [os.path.join(at, name) for at, _, names in os.walk(store) for name in names]
        files = [path for path in files if os.path.getsize(path) and "/cache/" not in path]
        for path in sorted(files):
            size = os.path.getsize(path)
            for at in range(size):
                with open(path, "r+b") as file:
                    content = file.read()
                    file.seek(at)
                    file.write(bytes([content[at] ^ (1 << (at % 8))]))
                rounds += 1
                done = work.run("rollback", "restore", "first", "--yes", code=None)
                now = work.state()
                if done.returncode == 0:
                    harmless += 1
                    wrong += now != old
                else:
                    wrong += now != bad
                    text = (done.stdout + done.stderr).decode(errors="replace")
                    named = os.path.basename(path) in text or "no snapshot `first`" in text
                    if not named and "/snapshots/snapshots/" in path:
                        named = os.path.basename(path) in work.run("rollback", "check", "--read-data", code=None).stdout.decode()
                    unnamed += not named
                if now != bad or done.returncode == 0:
                    for name in ("a", "b"):
                        shutil.rmtree(folder + "/" + name)
                    shutil.rmtree(folder + "/.agp")
                    shutil.copytree(folder + "/kept", folder + "/.agp", symlinks=True)
                    for name, kept in (("a", bad[0]), ("b", bad[1])):
                        rebuild(folder + "/" + name, kept, name)
                else:
                    with open(path, "r+b") as file:
                        file.write(content)
    print("flip: %d bytes, %d restored all the same (right each time), %d wrong, %d without the file's name" %
          (rounds, harmless, wrong, unnamed), flush=True)
    return wrong or unnamed or rounds == 0


def rebuild(root, kept, name):
    put(root + "/one", b"damaged" if name == "a" else name.encode() * 40)
    put(root + "/two", b"text " * 1700)
    for path in ("one", "two", "."):
        info = kept[path.encode()]
        os.utime(os.path.join(root, path), ns=(info[4], info[4]))


# ---- Faithful ----

def faithful(options):
    """20,000 entries of every kind: 0 attributes differ after a fresh restore and after 300 files were damaged."""
    rng = random.Random(7)
    with place(options.on) as (folder, _):
        root = os.fsencode(folder + "/a")
        for number in range(20000):
            path = root + b"/d%d/e%d/f%d" % (number % 20, number % 400, number)
            if number % 97 == 0:
                path += b"\xff\n\x1b[31m"
            put(path, rng.randbytes(rng.randint(0, 6000)))
            os.utime(path, ns=(0, rng.randint(-10**18, 2 * 10**18)))
            if number % 50 == 0:
                os.link(path, path + b".link")
            if number % 61 == 0:
                os.symlink(rng.choice([b"nowhere", path, b"../f1"]), path + b".symlink")
                os.utime(path + b".symlink", ns=(0, 10**15 + number), follow_symlinks=False)
            if number % 70 == 0:
                os.chmod(path, rng.choice([0o4755, 0o2711, 0o000, 0o1644]))
            if number % 83 == 0 and os.geteuid() == 0:
                os.chown(path, 12345, 54321)
            if number % 89 == 0:
                os.setxattr(path, "user.binary", rng.randbytes(200))
        os.mkfifo(root + b"/fifo", 0o640)
        with open(root + b"/sparse", "wb") as file:
            file.truncate(64 << 20)
            file.seek(32 << 20)
            file.write(b"middle")
        os.makedirs(root + b"/empty/within")
        if shutil.which("setfacl"):
            subprocess.run(["setfacl", "-m", "u:4321:rwx", root + b"/d1/e1/f1"], check=True)
            subprocess.run(["setfacl", "-d", "-m", "g:99:rx", root + b"/empty"], check=True)
        os.chmod(root, 0o2750)
        put(folder + "/b/one", b"one")
        old = state(root)
        work = Work(options.agp, folder)
        del work.env["RAYON_NUM_THREADS"]
        work.run("rollback", "snapshot", "--target-dirs", "a", "b", "--label", "first")
        shutil.rmtree(root)
        work.run("rollback", "restore", "first", "--yes")
        fresh = differing(old, state(root))
        blocks = os.lstat(root + b"/sparse").st_blocks * 512
        files = [name for name, one in old.items() if stat.S_ISREG(one[0]) and one[6]]
        for name in rng.sample(sorted(files), 300):
            path = os.path.join(root, name)
            os.chmod(path, 0o600)
            with open(path, "r+b") as file:
                file.write(b"\xffdamaged")
        for name in rng.sample(sorted(files), 30):
            os.unlink(os.path.join(root, name))
        broken = state(root)
        work.run("rollback", "restore", "first", "--yes")
        in_place = differing(old, state(root))
        work.run("rollback", "undo", "--yes")
        undone = differing(broken, state(root))
        work.run("rollback", "undo", "--yes")
        redone = differing(old, state(root))
    print("faithful: %d entries; differing after a fresh restore %d, after an in-place one %d, after undo %d, after undoing that %d; "
          "64 MiB sparse file occupies %d KiB" % (len(old), len(fresh), len(in_place), len(undone), len(redone), blocks >> 10), flush=True)
    for name in (fresh + in_place + undone + redone)[:10]:
        print("  ", name, old.get(name))
    return fresh or in_place or undone or redone or blocks > 1 << 20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("test", choices=["kill", "power", "full", "flip", "faithful"])
    parser.add_argument("--agp", default="target/release/agp")
    parser.add_argument("--on", default=None)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.agp = os.path.abspath(options.agp)
    if options.test == "kill" and options.on in ("ext4", "xfs"):
        with place(options.on) as (folder, _):
            options.mounted = folder
            failed = kill(options)
    else:
        failed = {"kill": kill, "power": power, "full": full, "flip": flip, "faithful": faithful}[options.test](options)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

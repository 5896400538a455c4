#!/usr/bin/env python3
"""Verifies an integrity manifest, version 1.0, and the tree that it seals.

Written from docs/formats/manifest.md alone, with Python's standard library alone (3.8 or later,
any POSIX system), so that nobody has to trust the signer's own program. Read `verify` first: it is
the whole procedure. Everything above it is the strict reader, everything below it the tree and
the command line.

    verify_manifest.py [--key-file F] [--input-dir D] MANIFEST...
    verify_manifest.py [--key-file F] --all DIR [--json]

The secret comes from --key-file, else from the variable POCKETMON_SIGN_SECRET. Each manifest gives
one line `CODE reason path`; codes are 0 good, 1 found bad, 2 could not tell, and the exit code is
the worst of them, where 2 is worse than 1.
"""
import argparse
import base64
import binascii
import datetime
import hashlib
import hmac
import json
import os
import re
import stat
import sys
import time

GOOD, BAD, CANNOT_TELL = 0, 1, 2
INTEGER_MAX = 2**53 - 1
SKEW_SECONDS = 300
PAYLOAD_TYPE = b"application/vnd.agp.integrity-manifest.v1+json"
KEY_ID_TEXT = b"agp key identifier v1"
SECRET_BYTES_MIN = 8
NEVER_BLOCK_OR_FOLLOW = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class CannotTell(Exception):
    """There is no answer: the text is malformed, the key is unknown, something is unreadable."""


# ---- Strict JSON: one meaning for every reader, or none ----

def _unique(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise CannotTell("malformed: duplicate key")
    return members


def _integer(digits):
    # The length is looked at first: a number of a million digits is not worth converting.
    if len(digits) > 16 or not re.fullmatch("[0-9]+", digits) or int(digits) > INTEGER_MAX:
        raise CannotTell("malformed: number is not an integer from 0 to 2^53-1")
    return int(digits)


def _no_number(text):
    raise CannotTell("malformed: number `%s`" % text[:20])


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer,
                            parse_float=_no_number, parse_constant=_no_number)


def canonical(value):
    """RFC 8785 for objects, arrays, strings, booleans, null and integers."""
    def ordered(value):
        if type(value) is dict:  # by UTF-16 code units, which big-endian bytes sort as
            keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
            return {key: ordered(value[key]) for key in keys}
        return [ordered(item) for item in value] if type(value) is list else value
    # Python's minimal escapes are those of RFC 8785 §3.2.2.2. A lone surrogate does not encode.
    return json.dumps(ordered(value), ensure_ascii=False, separators=(",", ":")).encode("utf-8")


# ---- The grammar: what each field may hold ----

def _text(value):
    return type(value) is str


def _count(value):
    return type(value) is int  # neither bool, which Python counts among the integers


def _matches(pattern):
    pattern = re.compile(pattern)
    return lambda value: type(value) is str and pattern.fullmatch(value) is not None


def _or_null(check):
    return lambda value: value is None or check(value)


def _distinct(check):
    return lambda value: (type(value) is list and all(map(check, value))
                          and len(set(value)) == len(value))


def instant(text):
    """Unix seconds of `YYYY-MM-DDTHH:MM:SSZ`; ValueError where no such instant exists."""
    shape = re.fullmatch("([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z", text)
    if not shape:
        raise ValueError(text)
    moment = datetime.datetime(*map(int, shape.groups()))
    return (moment - datetime.datetime(1970, 1, 1)) // datetime.timedelta(seconds=1)


def _time(value):
    try:
        return type(value) is str and instant(value) is not None
    except ValueError:
        return False


def is_relative_path(raw):
    """Bytes of a path that stays below its root."""
    return (0 < len(raw) <= 4095 and b"\0" not in raw
            and not {b"", b".", b".."} & set(raw.split(b"/")))


def _plain_path(value):
    return type(value) is str and "\\" not in value and is_relative_path(value.encode("utf-8"))


def _glob(value):
    return (_plain_path(value) and not set(value) & set("[]{}!") and "**/**" not in value
            and all("**" not in part or part == "**" for part in value.split("/")))


def spell(raw):
    """The one JSON spelling of a name or target, and whether it is an escaped one."""
    try:
        text = raw.decode("utf-8")
        if "\\" not in text:
            return text, False
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "surrogateescape")  # each byte 0xhh outside UTF-8 is U+DChh
    text = text.replace("\\", "\\\\")
    return re.sub("[\udc80-\udcff]", lambda byte: "\\x%02x" % (ord(byte[0]) - 0xDC00), text), True


# The empty branch reads a stray backslash as itself; spelling it again then doubles it and differs.
_ESCAPE = re.compile(rb"\\(?:\\|x([0-9a-f]{2})|)")


def unspell(text, escaped):
    """The bytes behind a spelling, and whether they need escapes; refuses any second spelling."""
    raw = text.encode("utf-8")
    if escaped and b"\\" in raw:
        raw = _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()) if found[1] else b"\\", raw)
    spelling, needed = spell(raw)
    if spelling != text:  # also where a backslash stands in what is not escaped
        raise CannotTell("malformed: path_encoding")
    return raw, needed


_HEX64 = _matches("[0-9a-f]{64}")
_MODE = _matches("[0-7]{4}")


def _escaped(value):
    return value == "escaped" and type(value) is str


FILE = {"absolute_path": _text, "size_bytes": _count, "checksum_sha256": _HEX64, "modified_time": _count,
        "mode": _MODE, "type": lambda value: value == "file", "path_encoding": _escaped}
SYMLINK = dict(FILE, type=lambda value: value == "symlink",
               symlink_target=lambda value: _text(value) and value != "" and "\0" not in value)
DIRECTORY = {"mode": _MODE, "path_encoding": _escaped}
OPTIONS = {"exclude": _distinct(_glob), "exempt": _distinct(_plain_path),
           "symlinks": lambda value: value == "record"}
SUMMARY = dict.fromkeys(("file_count", "symlink_count", "directory_count", "total_size_bytes"), _count)
AUDIT_HEAD = {"log_id": _text, "sequence": _count, "mac": _or_null(_HEX64)}
SIGNATURE = {"signature": _HEX64, "algorithm": _text, "signed_at": _time, "content_hash": _HEX64,
             "key_id": _matches("[0-9a-f]{16}"), "signature_version": _text}


def _object(fields):
    return lambda value: check_object(value, fields) is None


def check_object(value, fields):
    """Exactly these fields, none more; `path_encoding` alone may be absent."""
    if type(value) is not dict:
        raise CannotTell("malformed: not an object")
    for name in value:
        if name not in fields:
            raise CannotTell("malformed: unknown field %s" % ascii(name[:40]))
    for name, check in fields.items():
        if name not in value:
            if name != "path_encoding":
                raise CannotTell("malformed: missing field `%s`" % name)
        elif not check(value[name]):
            raise CannotTell("malformed: field `%s`" % name)


def _is_object(value):
    return type(value) is dict  # file_inventory and directories: the names are checked in `parse`


MANIFEST = {"manifest_version": _text, "created_at": _time, "algorithm": _text,
            "subject": lambda value: _text(value) and value != "",
            "sequence": lambda value: _count(value) and value >= 1, "expires_at": _or_null(_time),
            "root_relative_to_manifest": _or_null(_matches(r"\.|\.\.(/\.\.)*")),
            "options": _object(OPTIONS), "summary": _object(SUMMARY), "file_inventory": _is_object,
            "directories": _is_object, "audit_head": _or_null(_object(AUDIT_HEAD)),
            "signature": _object(SIGNATURE)}


def parse(data):
    """The manifest, and its entries as {path bytes: entry}; raises CannotTell for anything else."""
    try:
        manifest = _DECODER.decode(data.decode("utf-8"))
        canonical(manifest)
    except ValueError as error:  # not JSON, not UTF-8, a lone surrogate
        raise CannotTell("malformed: %s" % type(error).__name__)
    except RecursionError:
        raise CannotTell("malformed: nested too deeply")
    if type(manifest) is dict and {"manifest_version", "file_inventory", "signature"} <= set(manifest):
        if not {"subject", "sequence", "options", "summary", "directories"} & set(manifest):
            raise CannotTell("legacy format: sign this tree anew")
        if _text(manifest["manifest_version"]) and manifest["manifest_version"] != "1.0":
            raise CannotTell("unsupported manifest_version")
    check_object(manifest, MANIFEST)
    if manifest["algorithm"] != "HMAC-SHA256":
        raise CannotTell("unsupported algorithm")
    entries, directories = {}, {}
    for name, entry in manifest["file_inventory"].items():
        check_object(entry, SYMLINK if _is_object(entry) and entry.get("type") == "symlink" else FILE)
        escaped = "path_encoding" in entry
        path, needed = unspell(name, escaped)
        if "symlink_target" in entry:
            target, target_needs = unspell(entry["symlink_target"], escaped)
            entry, needed = dict(entry, target=target), needed or target_needs
        if needed != escaped or not is_relative_path(path):
            raise CannotTell("malformed: path")
        entries[path] = entry
    for name, entry in manifest["directories"].items():
        check_object(entry, DIRECTORY)
        path, needed = unspell(name, "path_encoding" in entry)
        if needed != ("path_encoding" in entry) or not is_relative_path(path):
            raise CannotTell("malformed: path")
        directories[path] = dict(entry, type="directory")
    return manifest, entries, directories


# ---- The procedure ----

def key_id(secret):
    """Names a key without telling it."""
    return hmac.new(secret, KEY_ID_TEXT, hashlib.sha256).hexdigest()[:16]


def seal(secret, manifest):
    """The MAC of a manifest, whatever stands in its `signature.signature`."""
    signature = {name: value for name, value in manifest["signature"].items() if name != "signature"}
    body = canonical(dict(manifest, signature=signature))
    # DSSE's pre-authentication encoding: lengths first, so that no two (type, body) look alike.
    message = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE, len(body), body)
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def verify(path, secret, options):
    """(code, reason, findings) for one manifest. A finding is (code, reason, path)."""
    try:
        # 1. Read strictly: what two readers could understand differently is no manifest.
        manifest, entries, directories = parse(read_regular(path))
        # 2. A key that we do not hold is not tampering.
        if manifest["signature"]["key_id"] != key_id(secret):
            return CANNOT_TELL, "unknown_key", []
        # 3. Until the MAC is good, nothing that the manifest says is used: no root, no file.
        if not hmac.compare_digest(seal(secret, manifest), manifest["signature"]["signature"]):
            return BAD, "bad_signature", []
    except (CannotTell, OSError) as error:
        return CANNOT_TELL, str(error), []
    # 4. to 6. All that follows is looked at in full; the worst finding decides, 2 before 1.
    root, own = locate(path, manifest, options)
    skipped = Skipped(manifest["options"], own)
    wrong = contradictions(manifest, entries, directories, skipped)
    findings = [(BAD, "inconsistent", what) for what in wrong]
    findings += [(BAD, "time", what) for what in untimely(manifest, options)]
    if not entries and not directories and not options.allow_empty:
        findings.append((BAD, "empty", "the inventory lists nothing"))
    findings += check_tree(root, {**entries, **directories}, skipped)
    if not findings:
        return GOOD, "valid", []
    code, reason, _ = max(findings, key=lambda finding: finding[0])
    return code, reason, findings


def contradictions(manifest, entries, directories, skipped):
    """Where a manifest with a good MAC disagrees with itself."""
    unsigned = {name: value for name, value in manifest.items() if name != "signature"}
    if hashlib.sha256(canonical(unsigned)).hexdigest() != manifest["signature"]["content_hash"]:
        yield "content_hash"
    if manifest["signature"]["algorithm"] != manifest["algorithm"]:
        yield "signature.algorithm"
    if manifest["signature"]["signature_version"] != "1":
        yield "signature_version"
    files = [entry for entry in entries.values() if entry["type"] == "file"]
    counted = {"file_count": len(files), "symlink_count": len(entries) - len(files),
               "directory_count": len(directories),
               "total_size_bytes": sum(entry["size_bytes"] for entry in files)}
    if manifest["summary"] != counted:
        yield "summary"
    for path, entry in [*entries.items(), *directories.items()]:
        parent = path.rpartition(b"/")[0]
        # Each parent is listed itself, so that this one step climbs to the root; a parent that is
        # a file fails here or two lines below.
        if parent and parent not in directories:
            yield "parent is not listed: " + printable(path)
        if path in entries and path in directories:
            yield "both file and directory: " + printable(path)
        if skipped.within(path):
            yield "listed, but exempt or excluded: " + printable(path)
        if entry["type"] == "symlink" and (
                entry["size_bytes"] != len(entry["target"])
                or entry["checksum_sha256"] != hashlib.sha256(entry["target"]).hexdigest()):
            yield "symlink_target: " + printable(path)


def untimely(manifest, options):
    """What is wrong with a manifest's times at `options.now`, Unix seconds."""
    created, signed = instant(manifest["created_at"]), instant(manifest["signature"]["signed_at"])
    if signed < created:
        yield "signed before it was created"
    if max(created, signed) > options.now + SKEW_SECONDS:
        yield "from the future"
    if manifest["expires_at"] is not None and options.now > instant(manifest["expires_at"]):
        yield "expired"
    if options.max_age_days is not None and options.now - signed > options.max_age_days * 86400:
        yield "too old"


# ---- The tree ----

def locate(path, manifest, options):
    """The root to walk (None: it is not known), and the manifest's own path below it."""
    directory = os.path.realpath(os.fsencode(os.path.dirname(path) or "."))
    if options.input_dir is not None:
        root = os.path.realpath(os.fsencode(options.input_dir))
    elif manifest["root_relative_to_manifest"] is not None:
        root = os.path.realpath(os.path.join(directory, manifest["root_relative_to_manifest"].encode()))
    else:
        return None, None
    own = os.path.relpath(os.path.join(directory, os.fsencode(os.path.basename(path))), root)
    return root, own if is_relative_path(own) else None


class Skipped:
    """Paths that nobody looks at: the manifest itself, what is exempt, what a glob excludes."""

    def __init__(self, options, own):
        self.exact = {path.encode("utf-8") for path in options["exempt"]} | ({own} if own else set())
        self.globs = [re.compile(self._pattern(glob.encode("utf-8").split(b"/"))) for glob in options["exclude"]]

    @classmethod
    def _pattern(cls, parts):
        # `d/**` is what lies in `d`, not `d` itself.
        last = b"(?:[^/]+/)+" if parts[-1] == b"**" else cls._component(parts[-1])
        return b"".join(map(cls._component, parts[:-1])) + last

    @staticmethod
    def _component(part):
        # A path is matched with a slash behind each of its components.
        if part == b"**":
            return b"(?:[^/]+/)*"
        parts = (b"[^/]*" if char == b"*" else b"[^/]" if char == b"?" else re.escape(char)
                 for char in re.findall(rb"[\s\S]", part))
        return b"".join(parts) + b"/"

    def __contains__(self, path):
        return path in self.exact or any(glob.fullmatch(path + b"/") for glob in self.globs)

    def within(self, path):
        """Whether the path or one of its ancestors is skipped."""
        if not self.exact and not self.globs:
            return False
        ends = [at for at, byte in enumerate(path) if byte == 0x2F] + [len(path)]
        return any(path[:end] in self for end in ends)


def check_tree(root, listed, skipped):
    """Findings of a walk of the root against {path: entry}."""
    if root is None:
        return [(CANNOT_TELL, "root_unknown", "name it with --input-dir")]
    findings, seen = [], set()
    try:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return [(CANNOT_TELL, "unreadable", "root: %s" % error.strerror)]
    try:
        walk(descriptor, b"", listed, skipped, seen, findings)
    except RecursionError:
        findings.append((CANNOT_TELL, "unreadable", b""))
    finally:
        os.close(descriptor)
    # What a directory that could not be listed holds is unknown, not missing.
    hidden = tuple(path + b"/" if path else b"" for _, reason, path in findings if reason == "unreadable")
    findings += [(BAD, "missing", path) for path in listed
                 if path not in seen and not path.startswith(hidden)]
    return [(code, reason, printable(path)) for code, reason, path in findings]


def walk(directory, prefix, listed, skipped, seen, findings):
    """Compares one open directory and all below it; links are read, never followed."""
    try:
        names = sorted(map(os.fsencode, os.listdir(directory)))
    except OSError:
        findings.append((CANNOT_TELL, "unreadable", prefix.rstrip(b"/")))
        return
    for name in names:
        path = prefix + name
        if path in skipped:
            continue
        seen.add(path)
        entry = listed.get(path)
        if entry is None:
            findings.append((BAD, "unlisted", path))
        try:
            for code, reason in compare(directory, name, entry):
                findings.append((code, reason, path))
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                below = os.open(name, NEVER_BLOCK_OR_FOLLOW | os.O_DIRECTORY, dir_fd=directory)
                try:
                    walk(below, path + b"/", listed, skipped, seen, findings)
                finally:
                    os.close(below)
        except OSError:
            findings.append((CANNOT_TELL, "unreadable", path))


def compare(directory, name, entry):
    """Yields (code, reason) where one name differs from its entry (None: it has none)."""
    if entry is None:
        return
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    kinds = {stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFDIR: "directory"}
    if kinds.get(stat.S_IFMT(found.st_mode)) != entry["type"]:
        yield BAD, "type_changed"
        return
    if entry["type"] == "symlink":
        if os.readlink(name, dir_fd=directory) != entry["target"]:
            yield BAD, "modified"
        return
    if "%04o" % stat.S_IMODE(found.st_mode) != entry["mode"]:
        yield BAD, "mode_changed"
    if entry["type"] == "file":
        digest = hash_file(directory, name, entry["size_bytes"])
        if digest is None:
            yield CANNOT_TELL, "unstable"
        elif digest != entry["checksum_sha256"]:
            yield BAD, "modified"


def hash_file(directory, name, size_bytes):
    """SHA-256 of a file, "" when its size alone tells, None when it does not hold still."""
    for _ in range(3):
        descriptor = os.open(name, NEVER_BLOCK_OR_FOLLOW, dir_fd=directory)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise OSError("not a regular file any more")
            if before.st_size != size_bytes:
                return ""
            digest, count = hashlib.sha256(), 0
            for block in iter(lambda: file.read(1 << 16), b""):
                digest.update(block)
                count += len(block)
            after = os.fstat(descriptor)
        same = all(getattr(before, field) == getattr(after, field)
                   for field in ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino"))
        if same and count == before.st_size:
            return digest.hexdigest()
    return None


# ---- The command line ----

def read_regular(path):
    """All bytes of a regular file; a link, FIFO or device is refused without waiting for it."""
    descriptor = os.open(path, NEVER_BLOCK_OR_FOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CannotTell("not a regular file")
        return file.read()


def decode_secret(raw):
    """One final line end goes; `hex:` and `base64:` are decoded; all else is the secret itself."""
    raw = raw[:-2] if raw.endswith(b"\r\n") else raw[:-1] if raw.endswith(b"\n") else raw
    if raw.startswith(b"hex:"):
        raw = binascii.unhexlify(raw[4:])
    elif raw.startswith(b"base64:"):
        raw = base64.b64decode(raw[7:], validate=True)
    if len(raw) < SECRET_BYTES_MIN:
        raise ValueError("the secret is shorter than %d bytes" % SECRET_BYTES_MIN)
    return raw


def manifests_below(directory):
    """Every name `integrity_manifest.json` below a directory that is not itself a directory."""
    try:
        with os.scandir(directory) as names:
            entries = sorted(names, key=lambda entry: entry.name)
    except OSError:
        yield directory  # opening it as a manifest fails and says why
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from manifests_below(entry.path)
        elif entry.name == "integrity_manifest.json":
            yield entry.path


def printable(raw):
    """Any name, without what steers a terminal."""
    return "".join(char if char.isprintable() else "\\u{%x}" % ord(char) for char in spell(raw)[0])


def main():
    """Exit code: the worst of all manifests, 2 before 1 before 0."""
    parser = argparse.ArgumentParser(description="Verify integrity manifests, independently of agp")
    parser.add_argument("manifests", nargs="*", metavar="MANIFEST")
    parser.add_argument("--key-file", help="the secret (else POCKETMON_SIGN_SECRET)")
    parser.add_argument("--input-dir", help="the root, instead of the one that the manifest names")
    parser.add_argument("--all", metavar="DIR", help="every integrity_manifest.json below DIR")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--allow-empty", action="store_true", help="accept an inventory of nothing")
    parser.add_argument("--max-age-days", type=float, help="refuse what was signed earlier")
    options = parser.parse_args()
    sys.setrecursionlimit(6000)  # a path of 4,095 bytes has at most 2,048 components
    options.now = time.time()
    if bool(options.manifests) == bool(options.all) or (options.all and options.input_dir):
        parser.error("name manifests, or --all DIR without --input-dir")
    try:
        if options.key_file:
            with open(options.key_file, "rb") as file:
                secret = decode_secret(file.read())
        else:
            secret = decode_secret(os.environb[b"POCKETMON_SIGN_SECRET"])
    except (OSError, ValueError, KeyError) as error:
        parser.error("no usable secret: %s" % (type(error).__name__ if type(error) is KeyError else error))
    worst = None
    for path in manifests_below(options.all) if options.all else options.manifests:
        code, reason, findings = verify(path, secret, options)
        shown = printable(os.fsencode(path))
        if options.json:
            print(json.dumps({"manifest": os.fsencode(path).decode("utf-8", "replace"), "code": code, "reason": reason}))
        else:
            print(code, reason, shown)
            for finding in findings:
                print("  %d %s %s" % finding, file=sys.stderr)
        worst = code if worst is None else max(worst, code)
    if worst is None:
        print("no manifest below %s" % options.all, file=sys.stderr)
    return CANNOT_TELL if worst is None else worst


if __name__ == "__main__":
    sys.exit(main())

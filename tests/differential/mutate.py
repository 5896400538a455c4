#!/usr/bin/env python3
"""Writes small sealed trees, most of them damaged in one known way, for two verifiers to judge.

    mutate.py --seed 7 --count 2000 --key-file KEY --out DIR

Each case is DIR/NNN/NNNNNN/tree with an `integrity_manifest.json` in it. The same seed and count give the
same bytes; a case depends on the seed and its own number alone, so `--only NUMBER` writes one again.
DIR/expected.jsonl says per case what was done and which codes are right, as a string of digits
("0" good, "1" found bad, "2" could not tell, "12" anything but good, "012" whatever both agree on).

The signer here is written from docs/formats/manifest.md and shares no code with any verifier. It
also seals what has no seal (duplicate keys, floats, lone surrogates), so that a verifier that reads
carelessly meets a good MAC and shows it. A key file that does not exist is made.
"""
import argparse
import hashlib
import hmac
import json
import os
import random
import re
import sys

PAYLOAD_TYPE = b"application/vnd.agp.integrity-manifest.v1+json"
MANIFEST_NAME = b"integrity_manifest.json"


# ---- JSON that may be wrong on purpose ----

class Raw(str):
    """JSON text that stands as it is where a value belongs."""


class Alias(str):
    """A key with a spelling of its own."""
    literal = ""


class Pairs(list):
    """An object as (key, value) pairs, so that a key may occur twice."""


def quote(text):
    def escape(found):
        char = found[0]
        named = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r"}
        return named.get(char) or "\\u%04x" % ord(char)
    return '"' + re.sub('["\\\\\x00-\x1f]', escape, text) + '"'


def members(value):
    """(key, value) pairs of an object, None for anything else."""
    return value if isinstance(value, Pairs) else list(value.items()) if isinstance(value, dict) else None


def canonical(value):
    """RFC 8785 where that is defined; elsewhere the guess of a careless reader (last key wins)."""
    pairs = members(value)
    if pairs is not None:
        pairs = sorted(dict(pairs).items(), key=lambda pair: pair[0].encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(quote(key) + ":" + canonical(item) for key, item in pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, Raw):
        return str(value)
    return quote(value) if isinstance(value, str) else json.dumps(value)


def canonical_bytes(value):
    return canonical(value).encode("utf-8", "surrogatepass")


class Style:
    """How a document is spelled: none of it changes what it says."""

    def __init__(self, rng, kind):
        self.rng, self.kind = rng, kind

    def space(self):
        if self.kind != "wild" or self.rng.random() < 0.7:
            return ""
        return "".join(self.rng.choice(" \t\n\r") for _ in range(self.rng.randint(1, 3)))

    def text(self, value):
        if isinstance(value, Alias):
            return value.literal
        if self.kind != "wild" or self.rng.random() < 0.7:
            # A lone surrogate has no bytes in UTF-8, only an escape.
            return re.sub("[\ud800-\udfff]", lambda found: "\\u%04x" % ord(found[0]), quote(value))
        out = []
        for char in value:
            if self.rng.random() < 0.3 or 0xD800 <= ord(char) < 0xE000:
                units = char.encode("utf-16-be", "surrogatepass")
                form = self.rng.choice(("\\u%02x%02x", "\\u%02X%02X"))
                out += [form % (units[at], units[at + 1]) for at in range(0, len(units), 2)]
            elif char == "/" and self.rng.random() < 0.5:
                out.append("\\/")
            else:
                out.append(quote(char)[1:-1])
        return '"' + "".join(out) + '"'

    def write(self, value, depth=0):
        space, pretty = self.space, self.kind == "pretty"
        line = "\n" + "  " * (depth + 1) if pretty else ""
        end = "\n" + "  " * depth if pretty else ""
        pairs = members(value)
        if pairs is not None:
            if self.kind == "wild" and isinstance(value, dict):
                self.rng.shuffle(pairs)
            items = [line + space() + self.text(key) + space() + ":" + (" " if pretty else "") + space()
                     + self.write(item, depth + 1) + space() for key, item in pairs]
            return "{" + (",".join(items) + end if items else space()) + "}"
        if isinstance(value, list):
            return "[" + space() + ",".join(space() + self.write(item, depth) + space() for item in value) + "]"
        if isinstance(value, Raw):
            return str(value)
        return self.text(value) if isinstance(value, str) else json.dumps(value)


# ---- The signer ----

def spell(raw):
    out, escaped = [], b"\\" in raw
    for char in raw.decode("utf-8", "surrogateescape"):
        if 0xDC80 <= ord(char) <= 0xDCFF:
            out.append("\\x%02x" % (ord(char) - 0xDC00))
            escaped = True
        else:
            out.append("\\\\" if char == "\\" else char)
    return "".join(out), escaped


def read_secret(path):
    with open(path, "rb") as file:
        raw = file.read()
    raw = raw[:-2] if raw.endswith(b"\r\n") else raw[:-1] if raw.endswith(b"\n") else raw
    return bytes.fromhex(raw[4:].decode()) if raw.startswith(b"hex:") else raw


def key_id(secret):
    return hmac.new(secret, b"agp key identifier v1", hashlib.sha256).digest()[:8].hex()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def mac(secret, document, payload_type=PAYLOAD_TYPE):
    signature = dict(members(document["signature"]))
    signature.pop("signature", None)
    body = canonical_bytes(dict(document, signature=signature))
    head = b"DSSEv1 " + str(len(payload_type)).encode() + b" " + payload_type + b" " + str(len(body)).encode() + b" "
    return hmac.new(secret, head + body, hashlib.sha256).hexdigest()


def content_hash(document):
    return sha256(canonical_bytes({key: value for key, value in document.items() if key != "signature"}))


def component_matches(glob, name):
    places = {0}  # how far in the name what came of the glob can reach
    for char in glob:
        if char == ord("*"):
            places = set(range(min(places), len(name) + 1)) if places else places
        else:
            places = {place + 1 for place in places if place < len(name) and char in (ord("?"), name[place])}
    return len(name) in places


def glob_matches(globs, parts):
    if not globs:
        return not parts
    if globs == [b"**"]:
        return bool(parts)
    if globs[0] == b"**":
        return glob_matches(globs[1:], parts) or (bool(parts) and glob_matches(globs, parts[1:]))
    return bool(parts) and component_matches(globs[0], parts[0]) and glob_matches(globs[1:], parts[1:])


def is_skipped(path, options, own):
    """Whether the path or an ancestor is exempt, excluded, or the manifest itself."""
    parts = path.split(b"/")
    for end in range(1, len(parts) + 1):
        above = b"/".join(parts[:end])
        if above == own or above in [item.encode() for item in options["exempt"]]:
            return True
        if any(glob_matches(glob.encode().split(b"/"), parts[:end]) for glob in options["exclude"]):
            return True
    return False


class Node:
    """One entry of a tree in memory: kind file, directory, symlink or fifo."""
    __slots__ = ("kind", "mode", "data")

    def __init__(self, kind, mode, data=b""):
        self.kind, self.mode, self.data = kind, mode, data


def File(data, mode=0o644):
    return Node("file", mode, data)


def Directory(mode=0o755):
    return Node("directory", mode)


def Symlink(target):
    return Node("symlink", 0o777, target)


class Case:
    """A tree, its document, and how both reach the disk."""

    def __init__(self, rng, secret, tree, **given):
        self.rng, self.secret, self.tree = rng, secret, tree
        self.own = given.pop("own", MANIFEST_NAME)
        self.text_edit = None      # bytes to bytes, after everything else
        self.manifest_node = None  # what stands in the manifest's place on disk
        self.beside = {}           # files beside the tree
        self.root_mode = 0o755
        self.style = rng.choice(("pretty", "pretty", "compact"))
        self.document = self.build(given)
        self.seal()

    def build(self, given):
        options = {"exclude": [], "exempt": ["integrity_report.json"], "symlinks": "record"}
        options.update(given.pop("options", {}))
        self.options = options
        files, directories = {}, {}
        for path, node in self.tree.items():
            if is_skipped(path, options, self.own):
                continue
            name, escaped = spell(path)
            if node.kind == "directory":
                directories[name] = entry = {"mode": "%04o" % node.mode}
            else:
                files[name] = entry = {
                    "absolute_path": "/srv/assets/" + path.decode("utf-8", "replace"), "size_bytes": len(node.data),
                    "checksum_sha256": sha256(node.data), "modified_time": self.rng.randint(0, 1 << 31),
                    "mode": "%04o" % node.mode, "type": node.kind}
                if node.kind == "symlink":
                    entry["symlink_target"], target_escaped = spell(node.data)
                    escaped = escaped or target_escaped
            if escaped:
                entry["path_encoding"] = "escaped"
        document = {"manifest_version": "1.0", "created_at": "2024-03-01T10:00:00Z", "algorithm": "HMAC-SHA256",
                    "subject": "output", "sequence": 42, "expires_at": None, "root_relative_to_manifest": ".",
                    "options": options, "summary": {}, "file_inventory": files, "directories": directories,
                    "audit_head": None}
        document.update(given)
        self.document = document
        self.count()
        return document

    def count(self):
        """Makes the summary agree with the inventory."""
        entries = [entry for entry in self.document["file_inventory"].values() if isinstance(entry, dict)]
        files = [entry for entry in entries if entry["type"] == "file"]
        self.document["summary"] = {
            "file_count": len(files), "symlink_count": len(entries) - len(files),
            "directory_count": len(self.document["directories"]),
            "total_size_bytes": sum(entry["size_bytes"] for entry in files)}

    def seal(self):
        self.document["signature"] = {"signature": "", "algorithm": "HMAC-SHA256", "signed_at": "2024-03-01T10:00:01Z",
                                      "content_hash": "", "key_id": key_id(self.secret), "signature_version": "1"}
        self.reseal()

    def reseal(self, keep_content_hash=False):
        """A new MAC over what the document says now, sound or not."""
        signature = self.document.get("signature")
        if isinstance(signature, Pairs):
            for at, (key, _) in enumerate(signature):
                if key == "signature":
                    signature[at] = (key, mac(self.secret, self.document))
        elif isinstance(signature, dict):
            if not keep_content_hash and "content_hash" in signature:
                signature["content_hash"] = content_hash(self.document)
            if "signature" in signature:
                signature["signature"] = mac(self.secret, self.document)

    def maybe_reseal(self, edited=None):
        """Seals anew more often than not, but never over the very field that was edited."""
        if self.rng.random() < 0.6 and edited != ("signature", "signature"):
            self.reseal(keep_content_hash=edited == ("signature", "content_hash"))

    def listed(self, *kinds):
        """Listed paths of these kinds, in the order of the tree."""
        return [path for path, node in self.tree.items()
                if node.kind in kinds and not is_skipped(path, self.options, self.own)]

    def pick(self, *kinds):
        found = self.listed(*kinds)
        if not found:
            raise Unfit
        return self.rng.choice(found)

    def entry(self, path):
        name = spell(path)[0]
        return (self.document["file_inventory"].get(name) or self.document["directories"][name]), name

    def drop_from_tree(self, path):
        for other in [other for other in self.tree if other == path or other.startswith(path + b"/")]:
            del self.tree[other]

    def bytes(self):
        text = Style(self.rng, self.style).write(self.document)
        if self.style == "pretty":
            text += "\n"
        elif self.style == "wild":
            text = self.rng.choice(("", " ", "\r\n\t")) + text + self.rng.choice(("", " ", "\n\n"))
        data = text.encode("utf-8", "surrogatepass")
        return self.text_edit(data) if self.text_edit else data


class Unfit(Exception):
    """This mutation has nothing to work on in this base; another is drawn."""


# ---- Base trees ----

def noise(rng, most=200):
    return bytes(rng.getrandbits(8) for _ in range(rng.randint(1, most)))


def base_plain(rng, secret):
    return Case(rng, secret, {b"a.txt": File(noise(rng)), b"empty": File(b""), b"dir": Directory(), b"dir/b.json": File(b"{}\n"),
                              b"dir/deep": Directory(0o700), b"dir/deep/c.bin": File(noise(rng), 0o600),
                              b"link": Symlink(b"dir/b.json"), b"hollow": Directory()})


def base_names(rng, secret):
    tree = {b"caf\xe9": File(b"latin"), "café".encode(): File(b"utf8"), b"new\nline": File(b"n"), b"esc\x1b[31m": File(b"e"),
            b"back\\slash": File(b"s"), b"quote\"'": File(b"q"), "\u202ebidi".encode(): File(b"b"), b"\x7f\x01": File(b"d"),
            "\ufb33".encode(): File(b"1"), "\U0001f600".encode(): File(b"2"), "\u20ac".encode(): File(b"3"),
            "\ue000".encode(): File(b"4"), "\u2028".encode(): File(b"5"), b"\xff\xfe": Directory(), b"\xff\xfe/x": File(b"x"),
            b"\xff\xfe/in\\": Directory(), b"\xff\xfe/in\\/y": Symlink(b"../x"), b"to\\": Symlink(b"plain"),
            b"plain-link": Symlink(b"bad\xffname"), "zw\u200d".encode(): Symlink("ü\\".encode()), b"...": File(b"dots"),
            b" ": File(b"blank"), b"\\x41": File(b"looks escaped"), b"-rf": File(b"option"), b"\xed\xa0\x80": File(b"surrogate")}
    keep = rng.sample(list(tree), rng.randint(6, len(tree)))
    keep += [parent for path in keep for parent in (path.rpartition(b"/")[0],) if parent and parent not in keep]
    keep += [b"\xff\xfe"] if b"\xff\xfe/in\\" in keep and b"\xff\xfe" not in keep else []
    return Case(rng, secret, {path: tree[path] for path in sorted(set(keep))})


def base_modes(rng, secret):
    return Case(rng, secret, {b"setuid": File(b"#!", 0o4755), b"all": File(b"w", 0o666), b"read": File(b"r", 0o444), b"sticky": Directory(0o1777),
                              b"sticky/private": File(noise(rng), 0o600), b"group": Directory(0o2775), b"group/run": File(b"x", 0o2755)})


def base_options(rng, secret):
    return Case(rng, secret, {
        b"a.txt": File(noise(rng)), b"integrity_report.json": File(b"{}"), b"x.log": File(b"l"), b"d": Directory(), b"d/y.log": File(b"l"),
        b"d/keep.txt": File(b"k"), b"cache": Directory(), b"cache/1": File(b"c"), b"cache/s": Directory(), b"cache/s/2": File(b"c"),
        b"tmp1": File(b"t"), b".agp": Directory(), b".agp/audit": Directory(), b".agp/audit/log": File(b"z"), b"build": Directory(),
        b"build/x": Directory(), b"build/x/out": Directory(), b"build/x/out/o": File(b"o"), b"build/x/src": File(b"s"), b"d/link.log": Symlink(b"x")},
        options={"exclude": ["**/*.log", "cache", "tmp?", "build/*/out"], "exempt": ["integrity_report.json", ".agp", "not/there"]})


def base_above(rng, secret):
    return Case(rng, secret, {b"data.bin": File(noise(rng)), b"meta": Directory(), b"meta/readme": File(b"r"), b"meta/x": Directory()},
                own=b"meta/" + MANIFEST_NAME, root_relative_to_manifest="..", expires_at="9999-12-31T23:59:59Z",
                audit_head={"log_id": "log", "sequence": 0, "mac": None})


def base_nested(rng, secret):
    inner = Case(rng, secret, {b"n.txt": File(b"inner")}, subject="inner")
    return Case(rng, secret, {b"sub": Directory(), b"sub/n.txt": File(b"inner"), b"sub/" + MANIFEST_NAME: File(inner.bytes()),
                              b"other": File(noise(rng))}, sequence=2**53 - 1,
                audit_head={"log_id": "é\u0000", "sequence": 911, "mac": "ab" * 32})


def base_deep(rng, secret):
    tree, path = {}, b""
    for level in range(rng.randint(5, 40)):
        path = path + b"/d%d" % level if path else b"d0"
        tree[path] = Directory()
    tree[path + b"/leaf"] = File(noise(rng))
    return Case(rng, secret, tree)


def base_links(rng, secret):
    return Case(rng, secret, {b"loop": Symlink(b"loop"), b"dangling": Symlink(b"nowhere/at all"), b"absolute": Symlink(b"/etc/passwd"),
                              b"up": Symlink(b"../../.."), b"real": Directory(), b"real/f": File(b"f"), b"to-dir": Symlink(b"real"),
                              b"to-file": Symlink(b"real/f"), b"long": Symlink(b"x/" * 100 + b"y")})


def base_single(rng, secret):
    return Case(rng, secret, {b"one": File(noise(rng, 3000), rng.choice((0o600, 0o644, 0o755)))}, subject="é 中 \u0001")


GLOB_NAMES = (b"a", b"b", b"ab", b"a.log", b"b.log", b"*", "é".encode(), b"\xff", b"a\\b", b"[x]", b"-")
GLOB_PARTS = ("a", "b", "ab", "*", "?", "**", "*.log", "a*", "*b", "?b", "??", "**", "é", "a?*", "*.*", "-", "*a*b*")


def base_globs(rng, secret):
    """A random tree under random globs; the matcher above says what is listed."""
    tree = {}
    for _ in range(rng.randint(3, 12)):
        parent = rng.choice([b""] + [path for path, node in tree.items() if node.kind == "directory"])
        path = (parent + b"/" if parent else b"") + rng.choice(GLOB_NAMES)
        tree.setdefault(path, Directory() if rng.random() < 0.5 else File(noise(rng, 20)))
    globs = {"/".join(rng.choice(GLOB_PARTS) for _ in range(rng.randint(1, 4))) for _ in range(rng.randint(1, 3))}
    globs = sorted(glob for glob in globs if "**/**" not in glob)  # a set has no order of its own
    rng.shuffle(globs)
    case = Case(rng, secret, tree, options={"exclude": globs})
    if not case.listed("file", "directory"):
        raise Unfit
    return case


BASES = (base_plain, base_plain, base_names, base_names, base_modes, base_options, base_options, base_above, base_nested,
         base_deep, base_links, base_single, base_globs, base_globs)


# ---- Mutations: each takes a case and returns the right codes ----

def untouched(case):
    return "0"


def spelled_otherwise(case):
    case.style = "wild"
    return "0"


def equivalent(case):
    """Signed anew with another value in a field that nobody compares."""
    rng, document = case.rng, case.document
    choice = rng.randrange(8)
    if choice == 0:
        document["subject"] = rng.choice(("x", "a/b", "\u0000", "\U0010ffff", " "))
    elif choice == 1:
        document["sequence"] = rng.choice((1, 2, 2**53 - 1, 2**32))
    elif choice == 2:
        document["created_at"] = rng.choice(("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "2024-02-29T23:59:59Z"))
    elif choice == 3:
        document["expires_at"] = rng.choice((None, "9999-12-31T23:59:59Z", "3000-01-01T00:00:00Z"))
    elif choice == 4:
        document["audit_head"] = rng.choice((None, {"log_id": "", "sequence": 2**53 - 1, "mac": "0" * 64}))
    elif choice == 5:
        entry, _ = case.entry(case.pick("file", "symlink"))
        entry["absolute_path"] = rng.choice(("", "/etc/passwd", "../../x", "\\", "\u0000"))
        entry["modified_time"] = rng.choice((0, 1, 2**53 - 1))
    elif choice == 6:
        case.entry(case.pick("symlink"))[0]["mode"] = rng.choice(("0000", "7777", "0644"))
    else:
        document["options"]["exempt"] = document["options"]["exempt"] + ["no/such", "zz"]
        document["options"]["exclude"] = document["options"]["exclude"] + ["no/such/**/glob?"]
    case.reseal()
    return "0"


def tree_edit_without_effect(case):
    rng = case.rng
    choice = rng.randrange(3)
    if choice == 0:
        case.root_mode = rng.choice((0o700, 0o775, 0o1777))
    elif choice == 1:
        if "integrity_report.json" not in case.options["exempt"]:
            raise Unfit
        case.tree[b"integrity_report.json"] = rng.choice((File(b"r"), Node("fifo", 0o600), Symlink(b"/dev/zero"), Directory()))
    else:
        skipped = [path for path, node in case.tree.items() if node.kind != "directory" and is_skipped(path, case.options, case.own)]
        if not skipped:
            raise Unfit
        path = rng.choice(skipped)
        if rng.random() < 0.3:
            del case.tree[path]
        else:
            case.tree[path] = rng.choice((File(b"other", 0o777), Symlink(b"x"), Node("fifo", 0o600), Directory(0o700)))
    return "0"


def add_in_tree(case):
    rng = case.rng
    parent = rng.choice([b""] + [path for path, node in case.tree.items() if node.kind == "directory"])
    name = rng.choice((b"new", b".hidden", b"x.log", b"bad\xff", b"new\nline", b"\\", b"a", b".git", b"integrity_manifest.json ",
                       b"Integrity_manifest.json", b"tmp2", b"integrity_report.json", b".integrity_manifest.json.agp-new", MANIFEST_NAME))
    path = (parent + b"/" if parent else b"") + name
    if path in case.tree or path == case.own:
        raise Unfit
    case.tree[path] = rng.choice((File(b""), File(b"new"), Directory(), Symlink(b"a.txt"), Symlink(b"."), Node("fifo", 0o600)))
    return "0" if is_skipped(path, case.options, case.own) else "1"


def change_content(case):
    rng, path = case.rng, case.pick("file")
    node = case.tree[path]
    data = bytearray(node.data)
    choice = rng.randrange(4)
    if choice == 0 and data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif choice == 1 and data:
        data = data[:-1]
    elif choice == 2 and data:
        data = bytearray()
    else:
        data += rng.choice((b"\0", b"\n", b"x" * 5000))
    case.tree[path] = File(bytes(data), node.mode)
    return "1"


def change_mode(case):
    rng, path = case.rng, case.pick("file", "directory")
    node = case.tree[path]
    extra = (0o7777, 0o4777, 0o700, 0o1755, 0o2755, 0o755, 0o777) if node.kind == "directory" else (0o4777, 0o600, 0o644, 0o444, 0o1644, 0o2644, 0o755)
    node.mode = rng.choice([mode for mode in extra if mode != node.mode])
    return "1"


def remove_from_tree(case):
    case.drop_from_tree(case.pick("file", "directory", "symlink"))
    return "1"


def rename_in_tree(case):
    path = case.pick("file", "directory", "symlink")
    if case.own.startswith(path + b"/"):
        raise Unfit
    new = path + case.rng.choice((b"x", b" ", b"\n", b"\xff", b"\\"))
    if is_skipped(new, case.options, case.own):
        raise Unfit
    for other in [other for other in case.tree if other == path or other.startswith(path + b"/")]:
        case.tree[new + other[len(path):]] = case.tree.pop(other)
    return "1"


def swap_kind(case):
    rng, path = case.rng, case.pick("file", "directory", "symlink")
    node = case.tree[path]
    if case.own.startswith(path + b"/"):
        raise Unfit
    if node.kind == "file" and rng.random() < 0.4:
        case.beside[b"copy"] = node  # a pristine copy behind a link proves nothing
        case.tree[path] = Symlink(b"../" * (path.count(b"/") + 1) + b"copy")
        return "1"
    if node.kind == "directory" and rng.random() < 0.4:
        moved = {other: case.tree[other] for other in case.tree if other.startswith(path + b"/")}
        case.drop_from_tree(path)
        case.beside[b"moved"] = Directory(node.mode)
        case.beside.update({b"moved" + other[len(path):]: node for other, node in moved.items()})
        case.tree[path] = Symlink(b"../" * (path.count(b"/") + 1) + b"moved")
        return "1"
    case.drop_from_tree(path)
    choices = [File(node.data, node.mode if node.kind == "file" else 0o644), Directory(node.mode if node.kind == "directory" else 0o755),
               Symlink(node.data.replace(b"\0", b"-")[:1000] or b"x"), Node("fifo", 0o644)]
    case.tree[path] = rng.choice([choice for choice in choices if choice.kind != node.kind])
    return "1"


def retarget(case):
    path = case.pick("symlink")
    target = case.tree[path].data
    case.tree[path] = Symlink(case.rng.choice((target + b"x", target[:-1] or b"yy", b"./" + target, target + b"/", target[::-1] + b"\xff")))
    return "1"


def manifest_not_a_file(case):
    if case.rng.random() < 0.5:
        case.beside[b"real.json"] = File(case.bytes())
        case.manifest_node = Symlink(b"../" * (case.own.count(b"/") + 1) + b"real.json")
    else:
        case.manifest_node = Node("fifo", 0o644)
    return "2"


def manifest_mode(case):
    case.manifest_node = File(case.bytes(), case.rng.choice((0o600, 0o777, 0o444)))
    return "0"


# -- the manifest's bytes --

def flip_bit(case):
    if case.style == "wild":
        raise Unfit
    at, bit = case.rng.random(), 1 << case.rng.randrange(8)

    def edit(data):
        where = int(at * len(data))
        return data[:where] + bytes([data[where] ^ bit]) + data[where + 1:]
    case.text_edit = edit
    # Flipped, `\u001b` may become `\u001B`, which says the same.
    return "012" if b"\\u" in case.bytes() else "12"


def scramble(case):
    """A few random edits; only agreement is asked for."""
    rng = case.rng
    edits = [(rng.choice("idr"), rng.random(), bytes([rng.choice(b' \n\t"{}[]:,\\0123456789aeEfu-.+\x00\x80\xff') if rng.random() < 0.8
              else rng.randrange(256)])) for _ in range(rng.randint(1, 3))]

    def edit(data):
        for act, at, byte in edits:
            where = int(at * len(data))
            data = data[:where] + (b"" if act == "d" else byte) + data[where + (act != "i"):]
        return data
    case.text_edit = edit
    return "012"


def break_text(case):
    rng = case.rng
    at = rng.random()
    edits = (
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data + rng.choice((b"x", b"{}", b"\0", b"\x0c", "\u00a0".encode(), b",", b"]", b"// end")),
        lambda data: data + data,
        lambda data: data[:int(at * (len(data) - 3))],
        lambda data: b"",
        lambda data: rng.choice((b"null", b"[]", b"{}", b"1", b'""', b"true", b"\n", b"[" + data.strip() + b"]")),
        lambda data: data.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-16-le", "utf-32"))),
        lambda data: data.replace(b'"subject"', rng.choice((b"'subject'", b"subject", b'/**/"subject"', b',"subject"', b'"subject\t"')), 1),
        lambda data: re.sub(rb"\}\s*$", b",}", data),
        lambda data: data.replace(b'"subject": "', b'"subject": "\x01').replace(b'"subject":"', b'"subject":"\n'),
        lambda data: data.replace(b'"absolute_path": "', b'"absolute_path": "\xff').replace(b'"subject":"', b'"subject":"\xc0\x80'),
        lambda data: data.replace(b'"subject": "', b'"subject": "\xed\xa0\x80').replace(b'"subject":"', b'"subject":"\xf4\x90\x80\x80'),
        lambda data: data.replace(b'"subject": "', b'"subject": "\\x').replace(b'"subject":"', b'"subject":"\\u12g4'),
        lambda data: data.replace(b'"sequence"', b'"\\u+073equence"'),
        lambda data: data.replace(b",", b",\x0b", 1),
        lambda data: data.replace(b":", b"=", 1),
    )
    edit = rng.choice(edits)
    before = case.bytes()
    if edit(before) == before:
        raise Unfit
    case.text_edit = edit
    return "2"


def nested(case):
    """Nesting to exhaust a stack."""
    rng = case.rng
    depth = rng.choice((10, 127, 128, 129, 1000, 20000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ("[[", "]]")))
    text = opening * depth + "1" + closing * depth
    choice = rng.randrange(4)
    if choice == 0:
        case.text_edit = lambda data: (opening * depth).encode()
    elif choice == 1:
        case.text_edit = lambda data: text.encode()
    elif choice == 2:
        case.document["extra"] = Raw(text)
    else:
        case.document["subject"] = Raw(text)
    return "2"


# -- the document's fields --

NAME_MAPS = ("file_inventory", "directories")
NULLABLE = ("expires_at", "root_relative_to_manifest", "audit_head", "mac")


def objects(document):
    """(object, where) for each object; `where` is its path of keys."""
    found = [(document, ())]
    for key in ("options", "summary", "file_inventory", "directories", "audit_head", "signature"):
        if isinstance(document[key], dict):
            found.append((document[key], (key,)))
            if key in NAME_MAPS:
                found += [(entry, (key, name)) for name, entry in document[key].items()]
    return found


def any_field(case, accept=lambda value: True):
    """A random (object, key, where) of the document; objects first, so that each counts alike."""
    candidates = [(holder, where, keys) for holder, where in objects(case.document)
                  for keys in ([key for key in holder if accept(holder[key])],) if keys]
    if not candidates:
        raise Unfit
    by_level = {}
    for candidate in candidates:
        by_level.setdefault(candidate[1][:1] + (len(candidate[1]),), []).append(candidate)
    holder, where, keys = case.rng.choice(by_level[case.rng.choice(sorted(by_level, key=str))])
    return holder, case.rng.choice(keys), where


def is_name_map(where):
    return len(where) == 1 and where[0] in NAME_MAPS


def drop_field(case):
    holder, key, where = any_field(case)
    del holder[key]
    case.maybe_reseal()
    return "1" if is_name_map(where) else "2"


def null_field(case):
    holder, key, where = any_field(case, lambda value: value is not None)
    holder[key] = None
    if key not in NULLABLE or is_name_map(where):
        case.maybe_reseal(where + (key,))
        return "2"
    if case.rng.random() < 0.3:
        return "1"
    case.reseal()
    return "2" if key == "root_relative_to_manifest" else "0"


def other_type(case):
    holder, key, where = any_field(case)
    value, rng = holder[key], case.rng
    if isinstance(value, str):
        choices = (1, True, False, [], {}, [value], {"value": value}, 0)
    elif isinstance(value, int):
        choices = (str(value), True, False, [value], {}, "")
    elif isinstance(value, dict):
        choices = ([], "x", 1, True, [value], list(value.items()), "")
    elif isinstance(value, list):
        choices = ({}, "x", 1, False, "", [1], [None], [[]], [True], [{}], value + [7])
    else:
        choices = (5, True, False, [], {}, [None])
    holder[key] = rng.choice(choices)
    case.maybe_reseal(where + (key,))
    return "2"


BAD_NUMBERS = ("-1", "-0", "0.0", "1.0", "1.5", "1e0", "1E2", "1e-2", "9007199254740992", "9007199254740993", "18446744073709551615",
               "18446744073709551616", "1" + "0" * 40, "1e400", "-9007199254740991", "01", "+1", "0x10", ".5", "1.", "1e", "NaN", "Infinity",
               "-Infinity", "１", "1_000", "--1", "1" * 5000)


def bad_number(case):
    holder, key, _ = any_field(case, lambda value: type(value) is int)
    number = case.rng.choice(BAD_NUMBERS)
    if case.rng.random() < 0.3:
        number = "%d%s" % (holder[key], case.rng.choice((".0", "e0", "E0", "E+0", ".00")))
    holder[key] = Raw(number)
    case.maybe_reseal()
    return "2"


def escaped_alias(rng, key):
    alias = Alias(key)
    at = rng.randrange(len(key)) if key else 0
    units = key[at:at + 1].encode("utf-16-be")
    escape = "".join("\\u%02x%02x" % (units[i], units[i + 1]) for i in range(0, len(units), 2))
    alias.literal = '"' + quote(key[:at])[1:-1] + escape + quote(key[at + 1:])[1:-1] + '"'
    return alias


def duplicate_key(case):
    rng = case.rng
    holder, key, where = any_field(case)
    value = holder[key] if rng.random() < 0.5 else rng.choice((None, 1, "x", {}, holder[rng.choice(list(holder))]))
    pairs = Pairs(holder.items())
    # The true value comes last as often as first: neither a first-wins nor a last-wins reader may pass.
    twin = key if rng.random() < 0.5 or not key else escaped_alias(rng, key)
    pairs.insert(rng.randint(0, len(pairs)), (twin, value))
    if where:
        parent = case.document
        for step in where[:-1]:
            parent = parent[step]
        parent[where[-1]] = pairs
        case.maybe_reseal()
    else:
        whole, case.document = case.document, pairs
        if rng.random() < 0.5:  # sealed over what a last-wins reader sees
            seen = dict(pairs)
            if isinstance(seen.get("signature"), dict):
                whole["signature"]["content_hash"] = content_hash(seen)
                whole["signature"]["signature"] = mac(case.secret, seen)
    return "2"


def unknown_field(case):
    rng = case.rng
    holder, where = rng.choice([(holder, where) for holder, where in objects(case.document) if not is_name_map(where)])
    name = rng.choice(("x", "", "Mode", "mode ", "__proto__", "comment", "$schema", "ｍode", "signature", "symlink_target", "path_encoding", "type"))
    if name in holder:
        raise Unfit
    value = rng.choice((1, None, "x", {}, [], True))
    # What is a field elsewhere is one too many here, unless it is optional here and its value fits.
    pairs = list(holder.items())
    pairs.insert(rng.randint(0, len(pairs)), (name, value))
    holder.clear()
    holder.update(pairs)
    case.maybe_reseal()
    return "2"


BAD_TEXTS = {
    "manifest_version": ("0.9", "2.0", "1", "1.0 ", "", "1.00", "v1.0", "1.1"),
    "algorithm": ("none", "", "HMAC-SHA512", "hmac-sha256", "HMAC-SHA256 ", "SHA256", "HS256"),
    "subject": ("",),
    "root_relative_to_manifest": ("", "/", "a", "../a", "./", "../", "./..", "..//..", "/..", "...", "../.", "..\\..", "..\n"),
    "symlinks": ("", "follow", "Record", "record "),
    "type": ("", "directory", "File", "fifo", "symlink ", "link", "file\u0000"),
    "path_encoding": ("", "Escaped", "escaped ", "none", "utf-8"),
    "mode": ("", "644", "00644", "0888", "0o644", "-644", "064 ", "０644", "0644\n", "64４4"),
    "time": ("", "2024-03-01", "2024-03-01T10:00:00", "2024-03-01T10:00:00.000Z", "2024-03-01T10:00:00+00:00", "2024-03-01t10:00:00z",
             "2024-03-01 10:00:00Z", "2024-02-30T00:00:00Z", "2023-02-29T00:00:00Z", "2024-03-01T24:00:00Z", "2024-12-31T23:59:60Z",
             "0000-01-01T00:00:00Z", "2024-00-01T00:00:00Z", "2024-13-01T00:00:00Z", "2024-03-00T00:00:00Z", "+024-03-01T00:00:00Z",
             "2024-3-01T10:00:00Z", "２024-03-01T10:00:00Z", "2024-03-01T10:60:00Z", "10000-01-01T00:00:00Z", "2024-03-01T10:00:00Z\n", " 2024-03-01T10:00:00Z"),
    "hex": (lambda text: text[:-1], lambda text: text + "0", lambda text: text.upper() if text.upper() != text else "A" + text[1:],
            lambda text: "", lambda text: "g" + text[1:], lambda text: text[:-1] + " ", lambda text: "0x" + text[2:],
            lambda text: text[:-1] + "\u0000", lambda text: text[:-1] + "ａ", lambda text: text[:16 if len(text) == 64 else 8], lambda text: text * 2,
            lambda text: text + "\n"),
}
GRAMMAR_OF = {"created_at": "time", "signed_at": "time", "expires_at": "time", "checksum_sha256": "hex", "content_hash": "hex",
              "signature": "hex", "key_id": "hex", "mac": "hex"}


def bad_text(case):
    """A string of the right type outside its field's grammar."""
    rng = case.rng
    holder, key, where = any_field(case, lambda value: isinstance(value, str) or value is None)
    if key not in BAD_TEXTS and key not in GRAMMAR_OF or is_name_map(where):
        raise Unfit
    if key == "algorithm" and where == ("signature",):
        raise Unfit
    bad = rng.choice(BAD_TEXTS[GRAMMAR_OF.get(key, key)])
    holder[key] = bad(holder[key] or "0" * 64) if callable(bad) else bad
    case.maybe_reseal(where + (key,))
    return "2"


def sequence_zero(case):
    case.document["sequence"] = 0
    case.maybe_reseal()
    return "2"


def lone_surrogate(case):
    rng = case.rng
    surrogate = rng.choice(("\ud800", "\udc00", "\udfff", "x\udbff", "\ud83dx", "\ude00\ud83d"))
    if rng.random() < 0.3:
        entry, name = case.entry(case.pick("file"))
        case.document["file_inventory"][name + surrogate] = case.document["file_inventory"].pop(name)
    elif rng.random() < 0.5:
        case.entry(case.pick("file"))[0]["absolute_path"] = surrogate
    else:
        case.document["subject"] += surrogate
    case.maybe_reseal()
    return "2"


def valid_but_unsigned(case):
    """Another value of the right grammar, and the old MAC."""
    rng = case.rng
    holder, key, where = any_field(case, lambda value: isinstance(value, (str, int)))
    value = holder[key]
    if key in ("manifest_version", "symlinks", "type", "path_encoding", "symlink_target", "exempt", "exclude") or (key == "algorithm" and not where):
        raise Unfit
    grammar = GRAMMAR_OF.get(key)
    if grammar == "hex":
        at = rng.randrange(len(value))
        holder[key] = value[:at] + rng.choice([char for char in "0123456789abcdef" if char != value[at]]) + value[at + 1:]
    elif grammar == "time":
        holder[key] = "2024-03-01T10:00:02Z"
    elif key == "mode":
        holder[key] = "%04o" % (int(value, 8) ^ (1 << rng.randrange(12)))
    elif key == "root_relative_to_manifest":
        holder[key] = rng.choice([up for up in (".", "..", "../..", "../../..") if up != value])
    elif isinstance(value, int):
        holder[key] = value + 1 if value < 2**53 - 1 else 1
    else:
        holder[key] = value + "x"
    return "2" if key == "key_id" else "1"


def order_of_arrays(case):
    """The order of an array is content: changed without a new MAC it is tampering."""
    options = case.document["options"]
    for key in ("exclude", "exempt"):
        if len(options[key]) > 1:
            options[key] = options[key][1:] + options[key][:1]
            if case.rng.random() < 0.5:
                return "1"
            case.reseal()
            return "0"
    raise Unfit


# -- signed by the right key, and wrong --

def wrong_counts(case):
    summary = case.document["summary"]
    key = case.rng.choice(list(summary))
    summary[key] = case.rng.choice([value for value in (summary[key] + 1, max(summary[key] - 1, 0), 0, 2**53 - 1) if value != summary[key]])
    case.reseal()
    return "1"


def wrong_times(case):
    document, rng = case.document, case.rng
    choice = rng.randrange(5)
    if choice == 0:
        document["expires_at"] = rng.choice(("2024-03-01T10:00:02Z", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z"))
    elif choice == 1:
        document["created_at"] = "2024-03-01T10:00:02Z"
    elif choice == 2:
        document["signature"]["signed_at"] = rng.choice(("2024-03-01T09:59:59Z", "1969-12-31T23:59:59Z"))
    elif choice == 3:
        document["signature"]["signed_at"] = "9998-01-01T00:00:00Z"
    else:
        document["created_at"] = document["signature"]["signed_at"] = "9999-12-31T23:59:59Z"
    case.reseal()
    return "1"


def wrong_entry(case):
    """An entry that disagrees with the tree, in a manifest that agrees with itself."""
    rng, inventory = case.rng, case.document["file_inventory"]
    choice = rng.randrange(7)
    if choice == 0:
        entry, _ = case.entry(case.pick("file"))
        entry["checksum_sha256"] = rng.choice((sha256(b"other"), "0" * 64))
    elif choice == 1:
        entry, _ = case.entry(case.pick("file"))
        entry["size_bytes"] = rng.choice((entry["size_bytes"] + 1, 2**53 - 1 - entry["size_bytes"]))
        case.count()
        if case.document["summary"]["total_size_bytes"] > 2**53 - 1:
            raise Unfit
    elif choice == 2:
        entry, _ = case.entry(case.pick("file", "directory"))
        entry["mode"] = "%04o" % (int(entry["mode"], 8) ^ (1 << rng.randrange(12)))
    elif choice == 3:
        entry, name = case.entry(case.pick("file", "symlink"))
        del inventory[name]
        case.count()
    elif choice == 4:
        path = case.pick("directory")
        if any(other.startswith(path + b"/") for other in case.listed("file", "symlink", "directory")):
            raise Unfit
        del case.document["directories"][case.entry(path)[1]]
        case.count()
    elif choice == 5:
        ghost = rng.choice(("ghost", "g" * 4095, "g" * 255, "\u0001", "é", "GHOST", "e\u0301"))
        if is_skipped(ghost.encode(), case.options, case.own) or ghost in inventory or ghost in case.document["directories"]:
            raise Unfit
        if len(ghost.encode()) > 4095:
            raise Unfit
        inventory[ghost] = {"absolute_path": "", "size_bytes": 0, "checksum_sha256": sha256(b""), "modified_time": 0,
                            "mode": "0644", "type": "file"}
        case.count()
    else:
        path = case.pick("symlink")
        entry, _ = case.entry(path)
        target = b"elsewhere"
        if spell(path)[1] != ("path_encoding" in entry) or case.tree[path].data == target:
            raise Unfit
        entry.update(symlink_target=target.decode(), size_bytes=len(target), checksum_sha256=sha256(target))
    case.reseal()
    return "1"


def contradiction(case):
    """A manifest that disagrees with itself, sealed."""
    rng, document = case.rng, case.document
    inventory, directories = document["file_inventory"], document["directories"]
    some = {"absolute_path": "", "size_bytes": 0, "checksum_sha256": sha256(b""), "modified_time": 0, "mode": "0644", "type": "file"}
    choice = rng.randrange(11)
    keep = False
    if choice == 0:
        document["signature"]["content_hash"] = sha256(b"other")
        keep = True
    elif choice == 1:
        document["signature"]["algorithm"] = rng.choice(("none", "", "HMAC-SHA512", "hmac-sha256"))
    elif choice == 2:
        document["signature"]["signature_version"] = rng.choice(("", "2", "1.0", "01", "1 "))
    elif choice == 3:
        parents = [path for path in case.listed("directory") if any(other.startswith(path + b"/") for other in case.listed("file", "directory", "symlink"))]
        if not parents:
            raise Unfit
        del directories[spell(rng.choice(parents))[0]]
    elif choice == 4:
        _, name = case.entry(case.pick("directory"))
        inventory[name] = dict(some, **({"path_encoding": "escaped"} if "path_encoding" in directories[name] else {}))
    elif choice == 5:
        entry, name = case.entry(case.pick("file", "symlink"))
        directories[name] = {"mode": "0755", **({"path_encoding": "escaped"} if "\\" in name else {})}
    elif choice == 6:
        entry, name = case.entry(case.pick("file", "symlink"))
        inventory[name + "/below"] = dict(some, **({"path_encoding": "escaped"} if "\\" in name else {}))
        if rng.random() < 0.5 and name not in directories:
            directories[name] = {"mode": "0755", **({"path_encoding": "escaped"} if "\\" in name else {})}
    elif choice == 7:
        path = rng.choice(case.options["exempt"])
        for above in [path.rsplit("/", depth)[0] for depth in range(1, path.count("/") + 1)]:
            directories.setdefault(above, {"mode": "0755"})
        if path in directories:
            raise Unfit
        inventory[path] = some
        case.tree.setdefault(path.encode(), File(b"")) if "/" not in path else None
    elif choice == 8:
        # Excluding what is listed.
        path = case.pick("file", "symlink", "directory")
        glob = rng.choice(("**", "*", "?*", "**/*", path.split(b"/")[0].decode("utf-8", "replace")))
        if set(glob) & set("[]{}!\\\ufffd") or glob in case.options["exclude"]:
            raise Unfit
        document["options"]["exclude"] = case.options["exclude"] + [glob]
    elif choice == 9:
        entry, _ = case.entry(case.pick("symlink"))
        if rng.random() < 0.5:
            entry["size_bytes"] += 1
        else:
            entry["checksum_sha256"] = sha256(b"another target")
    else:
        own = case.own.decode()
        inventory[own] = dict(some, size_bytes=rng.choice((0, 10)))
    case.count()
    case.reseal(keep_content_hash=keep)
    return "1"


BAD_PATHS = ("", "/", "/x", "../x", "..", ".", "./x", "a//b", "a/", "a/.", "a/..", "a/../b", "a/./b", "//", "x\u0000", "\u0000", "/etc/passwd", "x" * 4096,
             "é" * 2048, "../../../../../../etc/passwd", "a/b/../../..")


def bad_path(case):
    rng, document = case.rng, case.document
    path = rng.choice(BAD_PATHS)
    choice = rng.randrange(5)
    if choice <= 1:
        case.document["file_inventory"][path] = case.entry(case.pick("file"))[0].copy()
        case.document["file_inventory"][path].pop("path_encoding", None)
    elif choice == 2:
        document["directories"][path] = {"mode": "0755"}
    elif choice == 3:
        document["options"]["exempt"] = document["options"]["exempt"] + [path]
    else:
        document["options"]["exclude"] = document["options"]["exclude"] + [path]
    case.count()
    case.maybe_reseal()
    return "2"


def bad_option(case):
    rng, options = case.rng, case.document["options"]
    choice = rng.randrange(3)
    if choice == 0:
        options["exclude"] = options["exclude"] + [rng.choice(
            ("[a]", "a]", "{a,b}", "}", "!a", "a!", "a\\b", "\\*", "a**", "**a", "a/**b/c", "***", "a/***", "**/**x", "*/a**", "**/**", "a/**/**"))]
    elif choice == 1:
        options["exempt"] = options["exempt"] + [rng.choice(("a\\b", "\\", "caf\\xe9", "\\\\"))]
    else:
        key = rng.choice(("exclude", "exempt"))
        item = rng.choice(options[key] or ["twice"])
        options[key] = options[key] + [item] * (1 if item in options[key] else 2)
    case.maybe_reseal()
    return "2"


def literal_in_option(case):
    """In `exempt` a star is a star; a glob's other characters are themselves."""
    rng = case.rng
    name = rng.choice((b"*", b"a?", b"[z]", b"new.log", b"x+y", b"(a|b)", b"a.c", b"^$"))
    if name in case.tree or is_skipped(name, case.options, case.own):
        raise Unfit
    case.tree[name] = File(b"exempt")
    options = case.document["options"]
    if rng.random() < 0.5 and b"[" not in name:
        alone = {"exempt": [], "exclude": [name.decode()]}
        if any(is_skipped(path, alone, None) for path in case.listed("file", "directory", "symlink") if path != name):
            raise Unfit
        options["exclude"] = options["exclude"] + [name.decode()]
        case.reseal()
        return "0"
    if rng.random() < 0.5:
        options["exempt"] = options["exempt"] + [name.decode()]
        case.reseal()
        return "0"
    options["exempt"] = options["exempt"] + [rng.choice(("New.log", "x+", "a.c/d", "abc", "**"))]
    case.reseal()
    return "1"


def bad_escape(case):
    """A name or target with a second spelling, or a flag that is there without need."""
    rng, document = case.rng, case.document
    kind = rng.choice(("file_inventory", "directories"))
    table = document[kind]
    if not table:
        raise Unfit
    name = rng.choice(list(table))
    entry = table[name]
    if "path_encoding" not in entry:
        variants = [(name, True), (name + "\\", False), (name + "\\", True), (name + "\\x41", True), (name + "\\xE9", True), (name + "\\xe", True),
                    (name + "\\y", True), (name + "\\xc3\\xa9", True), (name + "\\\\", False), (name + "\\xff", False), (name + "\\x00", True),
                    (name + "\\u00e9", True), (name + "\\x2fx", True), (name + "\\xff\\", True), (name + "\\X41\\xff", True), (name + "\\xf0\\x9f\\x98\\x80", True)]
    else:
        variants = [(name, False), (re.sub(r"\\x..", lambda found: "\\x" + found[0][2:].upper(), name), True), (name.replace("\\\\", "\\"), True),
                    (name.replace("\\\\", "\\x5c"), True), (name + "\\x41", True), (name + "\\", True), (name + "\\xc3\\xa9", True), (name + "\\x00", True)]
    new, flag = rng.choice([variant for variant in variants if variant != (name, "path_encoding" in entry)])
    new_entry = {key: value for key, value in entry.items() if key != "path_encoding"}
    if flag:
        new_entry["path_encoding"] = "escaped"
    del table[name]
    table[new] = new_entry
    case.maybe_reseal()
    return "2"


def bad_target(case):
    """A target that is no target or has a second spelling, in an entry that otherwise fits it."""
    rng = case.rng
    entry, name = case.entry(case.pick("symlink"))
    target, escaped = entry["symlink_target"], "path_encoding" in entry
    choices = {"": b"", "a\0b": b"a\0b"}
    if escaped:
        choices.update({"\\x41": b"A", "\\xE9": b"\xe9", "\\xc3\\xa9": b"\xc3\xa9", "x\\": b"x\\", "\\xff\\x00": b"\xff\0", "\\xff\\y": b"\xff\\y"})
        if "\\" not in name:
            choices["plain"] = b"plain"  # then nothing needs the flag
    else:
        choices.update({"a\\b": b"a\\b", "a\\\\b": b"a\\b", "\\xff": b"\xff"})
    spelling = rng.choice(sorted(choices))
    raw = choices[spelling]
    entry.update(symlink_target=spelling, size_bytes=len(raw), checksum_sha256=sha256(raw))
    case.maybe_reseal()
    return "2"


def wrong_field_for_type(case):
    """A link without a target, a file with one."""
    path = case.pick("file", "symlink")
    entry, _ = case.entry(path)
    choice = case.rng.randrange(3)
    if entry["type"] == "file":
        if choice == 0:
            entry["type"] = "symlink"
        else:
            entry["symlink_target"] = case.rng.choice(("a", "", None))
    elif choice == 0:
        del entry["symlink_target"]
    else:
        entry["type"] = "file"
    case.maybe_reseal()
    return "2"


def kind_in_manifest(case):
    """A file sealed as a link to its own content, or a link as a file: well formed, and not so on disk."""
    path = case.pick("file", "symlink")
    entry, _ = case.entry(path)
    data = case.tree[path].data
    if entry["type"] == "file":
        spelling, needs = spell(data)
        if not data or b"\0" in data or needs != ("path_encoding" in entry) or needs != spell(path)[1]:
            raise Unfit
        entry.update(type="symlink", symlink_target=spelling)
    else:
        if spell(data)[1] and not spell(path)[1]:
            raise Unfit
        entry["type"] = "file"
        del entry["symlink_target"]
    case.count()
    case.reseal()
    return "1"


# -- keys and signatures --

def wrong_signature(case):
    rng, document = case.rng, case.document
    signature = document["signature"]
    other = hashlib.sha256(b"another secret").digest()
    choice = rng.randrange(9)
    if choice == 0:
        signature["signature"] = mac(other, document)
    elif choice == 1:
        signature["key_id"] = key_id(other)
        signature["signature"] = mac(other, document)
        return "2"
    elif choice == 2:
        signature["key_id"] = rng.choice(("0" * 16, "f" * 16))
        case.reseal()
        return "2"
    elif choice == 3:
        document["signature"] = base_single(rng, case.secret).document["signature"]
    elif choice == 4:
        signature["signature"] = base_plain(rng, case.secret).document["signature"]["signature"]
    elif choice == 5:
        signature["signature"] = mac(case.secret, document, rng.choice((b"", b"application/vnd.agp.audit-record.v1+json", PAYLOAD_TYPE + b" ")))
    elif choice == 6:
        body = canonical_bytes(dict(document, signature={key: value for key, value in signature.items() if key != "signature"}))
        signature["signature"] = rng.choice((hmac.new(case.secret, body, hashlib.sha256).hexdigest(), sha256(case.secret + body), sha256(body)))
    elif choice == 7:
        signature["signature"] = rng.choice(("0" * 64, "f" * 64, signature["content_hash"]))
    else:
        # The guide's shape of seal: over everything without `signature`.
        bare = canonical_bytes({key: value for key, value in document.items() if key != "signature"})
        signature["signature"] = hmac.new(case.secret, bare, hashlib.sha256).hexdigest()
    return "1"


def unsigned_tree_of_another(case):
    """Another tree's manifest, good in itself."""
    other = base_plain(case.rng, case.secret)
    if set(other.tree) == set(case.tree) or case.own != MANIFEST_NAME:
        raise Unfit
    case.document = other.document
    return "1"


def legacy(case):
    document = case.document
    case.document = {key: document[key] for key in ("manifest_version", "created_at", "algorithm", "file_inventory")}
    for entry in case.document["file_inventory"].values():
        for key in ("mode", "type", "symlink_target", "path_encoding"):
            entry.pop(key, None)
    case.document["signature"] = {key: document["signature"][key] for key in ("signature", "algorithm", "signed_at", "content_hash")}
    return "2"


def null_root(case):
    case.document["root_relative_to_manifest"] = None
    case.reseal()
    return "2"


def wrong_root(case):
    """One step too high or too low, sealed. Never higher than the case's own folder."""
    document = case.document
    document["root_relative_to_manifest"] = "../.." if document["root_relative_to_manifest"] == ".." and case.rng.random() < 0.5 \
        else "." if document["root_relative_to_manifest"] == ".." else ".."
    case.reseal()
    return "1"


def empty_inventory(case):
    case.tree.clear()
    case.document = case.build({})
    case.own = MANIFEST_NAME
    case.seal()
    return "1"


def two_wrongs(case):
    """Two tree edits at once, or one and an edit of the manifest."""
    first = case.rng.choice((change_content, change_mode, add_in_tree, remove_from_tree, swap_kind))
    second = case.rng.choice((wrong_counts, wrong_times, null_root, change_content, swap_kind, wrong_signature, drop_field, bad_number, add_in_tree))
    one, two = first(case), second(case)
    if first is swap_kind or second in (change_content, swap_kind, add_in_tree):
        return "".join(sorted(set("01"))) if "2" not in one + two else "012"
    return max(one, two)


MUTATIONS = (
    (untouched, 110), (spelled_otherwise, 70), (equivalent, 60), (tree_edit_without_effect, 40), (manifest_mode, 6),
    (add_in_tree, 50), (change_content, 50), (change_mode, 30), (remove_from_tree, 30), (rename_in_tree, 20), (swap_kind, 50), (retarget, 15),
    (manifest_not_a_file, 8),
    (flip_bit, 60), (scramble, 60), (break_text, 40), (nested, 6),
    (drop_field, 30), (null_field, 30), (other_type, 40), (bad_number, 40), (duplicate_key, 50), (unknown_field, 30), (bad_text, 60),
    (sequence_zero, 3), (lone_surrogate, 15), (valid_but_unsigned, 50), (order_of_arrays, 8),
    (wrong_counts, 20), (wrong_times, 20), (wrong_entry, 40), (contradiction, 60), (bad_path, 30), (bad_option, 20), (literal_in_option, 20),
    (bad_escape, 40), (bad_target, 25), (wrong_field_for_type, 15), (kind_in_manifest, 10),
    (wrong_signature, 40), (unsigned_tree_of_another, 10), (legacy, 4), (null_root, 6), (wrong_root, 8), (empty_inventory, 4), (two_wrongs, 40),
)
FUNCTIONS = [mutation for mutation, _ in MUTATIONS]
WEIGHTS = [weight for _, weight in MUTATIONS]


# ---- To disk ----

def put(path, node):
    if node.kind == "directory":
        os.mkdir(path, 0o755)
    elif node.kind == "symlink":
        os.symlink(node.data, path)
    elif node.kind == "fifo":
        os.mkfifo(path, node.mode)
    else:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, node.mode & 0o777)
        with os.fdopen(descriptor, "wb") as file:
            file.write(node.data)
        if node.mode & 0o7000:
            os.chmod(path, node.mode)


def write_case(case, folder):
    """False where the edits left a tree that cannot be, such as a file below a file."""
    root = folder + b"/tree/"
    placed = dict(case.tree)
    placed.pop(case.own, None)
    for path in placed:
        above = path.rpartition(b"/")[0]
        if above and (above not in placed or placed[above].kind != "directory"):
            raise Unfit
    above = case.own.rpartition(b"/")[0]
    if above and (above not in placed or placed[above].kind != "directory"):
        raise Unfit
    manifest = case.manifest_node or File(case.bytes())
    os.makedirs(root)
    for base, nodes in ((root, placed), (folder + b"/", case.beside)):
        for path in sorted(nodes):  # a parent sorts before what it holds
            put(base + path, nodes[path])
        for path in sorted(nodes, reverse=True):
            if nodes[path].kind == "directory" and nodes[path].mode != 0o755:
                os.chmod(base + path, nodes[path].mode)
    put(root + case.own, manifest)
    os.chmod(root, case.root_mode)


def make_case(seed, number, secret, folder):
    """Draws until a mutation fits its base; gives (names, codes)."""
    rng = random.Random("%s/%d" % (seed, number))
    while True:
        try:
            base = rng.choice(BASES)
            mutation = rng.choices(FUNCTIONS, WEIGHTS)[0]
            case = base(rng, secret)
            codes = mutation(case)
            write_case(case, folder)
            return base.__name__[5:] + "/" + mutation.__name__, codes, case.own
        except Unfit:
            continue


def main():
    parser = argparse.ArgumentParser(description="Write sealed trees, most of them damaged in one known way")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--out", required=True, help="a directory that does not exist yet")
    parser.add_argument("--key-file", required=True, help="the secret; made if it does not exist")
    parser.add_argument("--only", type=int, help="this one case, with the number that it has in the whole")
    options = parser.parse_args()
    if os.path.lexists(options.out):
        parser.error("%s exists" % options.out)
    os.umask(0)
    if not os.path.exists(options.key_file):
        descriptor = os.open(options.key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write("hex:" + sha256(b"differential " + options.seed.encode()) + "\n")
    secret = read_secret(options.key_file)
    os.makedirs(options.out, 0o755)
    with open(os.path.join(options.out, "expected.jsonl"), "w") as expected:
        for number in range(options.count) if options.only is None else [options.only]:
            name = "%03d/%06d" % (number // 1000, number)
            what, codes, own = make_case(options.seed, number, secret, os.fsencode(os.path.join(options.out, name)))
            line = {"manifest": name + "/tree/" + own.decode(), "case": what, "codes": codes}
            expected.write(json.dumps(line) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs `agp sign`, `verify` or `guard` as shards on a Ray cluster and merges the parts here.

    python ray_shards.py --shards 64 --merge "--output output/integrity_manifest.json" -- sign --input-dir output

Every node needs `agp` and the tree, under the path that it has here. Parts come back through Ray, so nothing else is
shared. Workers get a part key that was made for this run, never the signing secret. A task whose worker dies is
run again by Ray, and gives the same part.
"""

import argparse
import os
import pathlib
import secrets
import shlex
import subprocess
import sys
import tempfile

import ray

SECRETS = ("POCKETMON_SIGN_SECRET", "AGP_PART_KEY")


def environment(part_key):
    """What a worker or the merge sees of ours, with the key of this run."""
    return {name: value for name, value in os.environ.items() if name not in SECRETS} | {"AGP_PART_KEY": part_key}


@ray.remote(num_cpus=1, max_retries=3)
def shard(agp, command, place, part_key, directory):
    """One shard: its part, or what it could not do."""
    ran = subprocess.run(
        [agp, *command, "--quiet", "--shard", place, "--output", "-"],
        cwd=directory, env=environment(part_key), stdin=subprocess.DEVNULL, capture_output=True,
    )
    if ran.returncode != 0:
        # An answer of agp, which another try would not change: Ray hands it on and tries nothing again.
        raise RuntimeError(f"shard {place}: exit {ran.returncode}: {ran.stderr.decode(errors='replace')}")
    return ran.stdout


def run(agp, command, shards, merge):
    """Every shard, then the merge; gives the exit code of the merge."""
    part_key = "hex:" + secrets.token_hex(32)
    places = [f"{index}/{shards}" for index in range(1, shards + 1)]
    tasks = [shard.remote(agp, command, place, part_key, os.getcwd()) for place in places]
    with tempfile.TemporaryDirectory() as folder:
        files = [pathlib.Path(folder, f"part-{index}") for index in range(1, shards + 1)]
        for file, part in zip(files, ray.get(tasks)):
            file.write_bytes(part)
        words = [agp, "tool", "merge", *map(str, files), *merge]
        secret = {name: os.environ[name] for name in SECRETS[:1] if name in os.environ}
        return subprocess.run(words, env=environment(part_key) | secret).returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agp", default="agp")
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--merge", default="", metavar="FLAGS", help="flags of `agp tool merge`, as one text")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    given = parser.parse_args()
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    ray.init(log_to_driver=False)
    sys.exit(run(given.agp, command, given.shards, shlex.split(given.merge)))


if __name__ == "__main__":
    main()

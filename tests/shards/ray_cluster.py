"""Runs docs/examples/shards/ray_shards.py on a Ray cluster of two nodes on this host, and kills a worker at its work.

    python3 ray_cluster.py AGP MANIFEST MARK COMMAND...

The worker that runs the third shard first is killed, with its process, before `agp` begins. Ends with the exit code of
the merge; with 1 where the kill did not happen or one node did all the work.
"""

import os
import pathlib
import shlex
import stat
import sys

# A test asks nobody and tells nobody.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import ray  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "docs" / "examples" / "shards"))
import ray_shards  # noqa: E402

DEADLY = """#!/bin/sh
echo "$RAY_NODE" >>{mark}.nodes
case " $* " in
*" 3/7 "*) if mkdir {mark} 2>/dev/null; then kill -9 $PPID; exec sleep 9; fi ;;
esac
exec {agp} "$@"
"""


def main():
    agp, manifest, mark, *command = sys.argv[1:]
    deadly = pathlib.Path(mark + ".sh")
    deadly.write_text(DEADLY.format(agp=shlex.quote(agp), mark=shlex.quote(mark)))
    deadly.chmod(deadly.stat().st_mode | stat.S_IXUSR)
    cluster = Cluster()
    for name in "one", "two":
        cluster.add_node(num_cpus=1, env_vars={"RAY_NODE": name}, include_dashboard=False)
    # Workers import the driver's module by its name.
    paths = os.pathsep.join(sys.path)
    ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": paths}})
    code = ray_shards.run(str(deadly), command, 7, ["--output", manifest])
    ray.shutdown()
    cluster.shutdown()
    nodes = pathlib.Path(mark + ".nodes").read_text().split()
    if not pathlib.Path(mark).is_dir():
        sys.exit("no worker was killed")
    if {"one", "two"} - set(nodes):
        sys.exit(f"only {sorted(set(nodes))} did any work")
    sys.exit(code)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Metrics of real runs, read by the programs that are to read them: promtool, node_exporter's textfile collector, a
Pushgateway, and a Prometheus that collects from both and evaluates our rules and every expression of the dashboard.

    check.py --agp target/debug/agp --bin FOLDER      FOLDER holds the four programs

All of them listen on loopback and keep what they have below a scratch folder.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs/examples"
#: Names and values that try to leave their label.
HOSTILE = 'a"b\\c\nagp_fake{x="y"} 1 \u202e</script><!channel>::error::\x1b[31m'


def must(condition, *what):
    if not condition:
        raise SystemExit("check.py: " + " ".join(map(str, what)))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


class Bench:
    """A scratch folder, the programs, and what was started."""

    def __init__(self, agp, programs):
        self.agp = Path(agp).resolve()
        self.programs = Path(programs).resolve()
        self.folder = Path(tempfile.mkdtemp(prefix="agp-metrics-"))
        self.started = []
        (self.folder / "textfiles").mkdir()
        self.textfile = self.folder / "textfiles/agp.prom"

    def start(self, name, *arguments, ready):
        """Starts a server and waits until it answers."""
        log = open(self.folder / f"{name}.log", "w")
        server = subprocess.Popen([self.programs / name, *arguments], cwd=self.folder, stdout=log, stderr=log)
        self.started.append(server)
        for _ in range(150):
            try:
                get(ready)
                return
            except OSError:
                must(server.poll() is None, name, "ended:", (self.folder / f"{name}.log").read_text()[-2000:])
                time.sleep(0.1)
        must(False, name, "does not answer at", ready)

    def close(self):
        for server in self.started:
            server.send_signal(signal.SIGTERM)
        for server in self.started:
            server.wait(10)
        shutil.rmtree(self.folder)

    def run(self, expected, *arguments, config="policy.json", textfile=True):
        """One run of agp; gives what it took and its report."""
        flags = ["--config", config, "--quiet", "--json"]
        if textfile:
            flags += ["--metrics-file", self.textfile]
        environment = {"PATH": os.environ["PATH"], "POCKETMON_SIGN_SECRET": "hex:" + "0123456789abcdef" * 4}
        # No proxy of the machine's stands between agp and loopback: agp asks none.
        environment["http_proxy"] = "http://127.0.0.1:1"
        own, behind = arguments, []
        if "--" in arguments:
            at = arguments.index("--")
            own, behind = arguments[:at], list(arguments[at:])
        started = time.monotonic()
        ran = subprocess.run([self.agp, *own, *flags, *behind], cwd=self.folder, env=environment,
                             capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        must(ran.returncode == expected, arguments, "gave", ran.returncode, ran.stdout[-1500:], ran.stderr)
        return time.monotonic() - started, json.loads(ran.stdout)

    def promtool(self, *arguments, text=None, expected=0):
        ran = subprocess.run([self.programs / "promtool", *arguments], input=text, capture_output=True, text=True)
        said = ran.stdout + ran.stderr
        must(ran.returncode == expected, "promtool", *arguments, "gave", ran.returncode, said)
        return said


def samples(text):
    """Every sample of a text: its name with labels, and its value."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


def value(text, name, **labels):
    """The one sample of that name and of those labels."""
    found = [number for key, number in samples(text).items() if key.split("{")[0] == name
             and all(f'{label}="{wanted}"' in key for label, wanted in labels.items())]
    must(len(found) == 1, name, labels, "stands", len(found), "times")
    return found[0]


def every_verb(bench):
    """Runs of every verb, good ones, bad ones, and ones without an answer, into one file."""
    tree = bench.folder / "tree"
    (tree / "sub").mkdir(parents=True)
    for at in range(40):
        (tree / f"sub/{at}.txt").write_text(f"file {at}\n" * 50)
    bench.run(0, "sign", "--input-dir", "tree")
    verify = ["verify", "--manifest", "tree/integrity_manifest.json"]
    bench.run(0, *verify)
    good = bench.textfile.read_text()
    (tree / "sub/1.txt").write_text("changed\n")
    (tree / "new.txt").write_text("new\n")
    # Put together here, so that no scanner takes this file for what it tests.
    (tree / "settings.py").write_text("pass" + 'word = "x9fKQz72LpWmv41T"\n')
    bench.run(1, *verify)
    bad = bench.textfile.read_text()
    bench.run(2, "verify", "--manifest", "nowhere.json")
    unknown = bench.textfile.read_text()
    bench.run(1, *verify)
    bench.run(19, "guard", "--target", "tree")
    bench.run(0, "budget", "--target", "tree", "--kind", "pack", "--record", "4.5")
    bench.run(0, "rollback", "snapshot", "--target-dirs", "tree")
    pack = ["profile", "--runs", "1", "--define-stage", "pack=tar -cf pack.tar tree && sleep 0.2", "--define-stage", f"{HOSTILE.replace('=', '')[:40]}=true"]
    # As many as it takes until their past speaks; one repetition each, so that no burst of a neighbour is a regression.
    for _ in range(8):
        bench.run(0, *pack)
    governed(bench)
    bench.run(0, "audit", "verify")
    bench.run(2, "sign", "--input-dir", "nowhere")
    must(value(bench.textfile.read_text(), "agp_audit_sequence", command="audit") > 8, "the log grew")

    text = bench.textfile.read_text()
    must(bench.textfile.stat().st_mode & 0o7777 == 0o644, "the file's mode")
    must(text.endswith("\n") and "\n\n" not in text and not text.startswith("\n"), "the text's form")
    # The one who looked last is the one who speaks, and the last success outlives what came after it.
    success = value(good, "agp_last_success_timestamp_seconds", command="verify")
    for after in [bad, unknown, text]:
        must(value(after, "agp_last_success_timestamp_seconds", command="verify") == success, "the last success")
    must(value(bad, "agp_last_run_timestamp_seconds", command="verify") > success, "the last run")
    for of, code, word in [(good, 0, "pass"), (bad, 1, "fail"), (unknown, 2, "error")]:
        must(value(of, "agp_run_exit_code", command="verify") == code, "exit code", code)
        for verdict in ["pass", "fail", "error"]:
            must(value(of, "agp_run_verdict", command="verify", verdict=verdict) == (verdict == word), verdict)
    must(value(good, "agp_integrity_failures", command="verify") == 0, "no failures")
    must(value(bad, "agp_integrity_failures", command="verify") == 3, "failures")
    must("agp_integrity_failures{" not in unknown, "what is not known is not zero")
    must(value(bad, "agp_integrity_entries", result="modified") == 1, "modified")
    must(value(bad, "agp_integrity_entries", result="unlisted") == 2, "unlisted")
    must(value(text, "agp_guard_findings", command="guard", category="secret") >= 1, "secrets")
    must(value(text, "agp_budget_efficiency_ratio", kind="pack") > 0, "budget efficiency")
    must(value(text, "agp_budget_actual_seconds", kind="pack") == 4.5, "actual time")
    must(value(text, "agp_stage_duration_seconds", command="profile", stage="pack") > 0, "a stage's time")
    must(value(good, "agp_run_assets", command="verify") == 41, "files and a folder that were verified")
    rate = value(good, "agp_run_assets_per_second", command="verify")
    must(abs(rate * value(good, "agp_run_duration_seconds", command="verify") - 41) < 1e-6, "throughput")
    must(value(good, "agp_audit_sequence", command="verify") > 0, "audit sequence")
    for command in ["sign", "verify", "guard", "budget", "rollback", "profile", "audit", "run"]:
        for name in ["agp_run_duration_seconds", "agp_run_peak_memory_bytes", "agp_run_errors"]:
            must(value(text, name, command=command) >= 0, name)
    # Nothing that was found, no path, no run stands in a label.
    for taboo in ["settings", "sub/", "tree", "x9fK", "policy.json", "run_id", "built", "echo", "sh -c"]:
        must(not any(taboo in key for key in samples(text)), taboo, "stands in the metrics")
    must("agp_fake{" not in "".join(key.split("{")[0] + "{" for key in samples(text)), "a label broke out")
    return text


def governed(bench):
    """A governed run that is sealed, and one that is rolled back."""
    (bench.folder / "built").mkdir()
    (bench.folder / "built/a.txt").write_text("a\n")
    run = ["run", "--target-dirs", "built", "--"]
    bench.run(0, *run, "sh", "-c", "echo b >built/b.txt; sleep 0.2")
    text = bench.textfile.read_text()
    must(value(text, "agp_rolled_back", command="run") == 0, "nothing was rolled back")
    must(value(text, "agp_integrity_manifests", command="run", status="valid") == 1, "the run's manifest")
    must(0 < value(text, "agp_stage_budget_efficiency_ratio", command="run", stage="command") < 1, "the stage's budget")
    must(value(text, "agp_run_assets", command="run") >= 2 and value(text, "agp_guard_findings", command="run",
                                                                     category="secret") == 0, "what the run worked on")
    bench.run(1, *run, "sh", "-c", "echo c >built/c.txt; sleep 0.2; exit 3")
    text = bench.textfile.read_text()
    must(value(text, "agp_rolled_back", command="run") == 1, "the trees were put back")
    must(value(text, "agp_run_error_ratio", command="run") == 1, "the one stage failed")


def textfile_collector(bench, text):
    port = free_port()
    bench.start("prometheus-node-exporter", "--collector.disable-defaults", "--collector.textfile",
                f"--collector.textfile.directory={bench.textfile.parent}", f"--web.listen-address=127.0.0.1:{port}",
                ready=f"http://127.0.0.1:{port}/")
    collected = get(f"http://127.0.0.1:{port}/metrics")
    must(value(collected, "node_textfile_scrape_error") == 0, "node_exporter cannot read the file")
    own = {key for key in samples(collected) if key.startswith("agp_")}
    must(len(own) == len(samples(text)), "node_exporter shows", len(own), "of", len(samples(text)))
    # It must be able to say no.
    broken = bench.textfile.with_name("broken.prom")
    broken.write_text("agp_run_errors{command=} 1\n")
    must(value(get(f"http://127.0.0.1:{port}/metrics"), "node_textfile_scrape_error") == 1, "a broken file is fine")
    broken.unlink()
    # A foreign file is left alone; a file of ours that lost a line mends itself.
    foreign = bench.folder / "notes.txt"
    foreign.write_text("mine\n")
    code, report = 0, bench.run(0, "audit", "verify", "--metrics-file", foreign, textfile=False)[1]
    must("metrics.undelivered" in [finding["code"] for finding in report["findings"]], "nobody was told")
    must(report["exit_code"] == code and foreign.read_text() == "mine\n", "a foreign file was replaced")
    bench.textfile.write_text(text + 'agp_run_errors{command="x",broken\nagp_other{command="x"} 1\n')
    bench.run(0, "audit", "verify")
    mended = bench.textfile.read_text()
    must("broken" not in mended and "agp_other" not in mended, "a broken line was kept")
    must(set(samples(text)) == set(samples(mended)), "lines of others were lost")
    bench.promtool("check", "metrics", text=mended)
    return port


def at_once(bench):
    """Runs of several commands at one time leave the lines of each."""
    before = bench.textfile.read_text()
    runs = [["audit", "verify"], ["budget", "--target", "tree", "--kind", "pack", "--record", "4"],
            ["rollback", "list"]]
    threads = [threading.Thread(target=lambda run=run: bench.run(0, *run)) for run in runs * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = bench.textfile.read_text()
    bench.promtool("check", "metrics", text=after)
    for command in ["sign", "verify", "guard", "profile"]:
        name = f'agp_last_run_timestamp_seconds{{command="{command}"'
        must(sum(key.startswith(name) for key in samples(after)) == 1, command, "was lost")
        must(value(after, "agp_last_run_timestamp_seconds", command=command)
             == value(before, "agp_last_run_timestamp_seconds", command=command), command, "changed")


def gateway(bench):
    port = free_port()
    bench.start("prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{port}",
                ready=f"http://127.0.0.1:{port}/-/ready")
    policy(bench, "push.json", {"pushgateway_url": f"http://127.0.0.1:{port}/",
                                "labels": {"pipeline": "nightly", "place": "a/b", "empty": "", "odd": HOSTILE}})
    verify = ["verify", "--manifest", "other/integrity_manifest.json"]
    (bench.folder / "other").mkdir()
    (bench.folder / "other/a").write_text("a\n")
    push = {"config": "push.json", "textfile": False}
    bench.run(0, "sign", "--input-dir", "other", **push)
    bench.run(0, *verify, **push)
    show = lambda: get(f"http://127.0.0.1:{port}/metrics")
    success = value(show(), "agp_last_success_timestamp_seconds", command="verify", pipeline="nightly")
    must(value(show(), "agp_integrity_failures", command="verify", job="agp", place="a/b") == 0, "failures")
    bench.run(2, "verify", "--manifest", "nowhere.json", **push)
    after = show()
    must("agp_integrity_failures{" not in after, "what an earlier run knew still stands")
    must(value(after, "agp_run_exit_code", command="verify") == 2, "exit code at the gateway")
    must(value(after, "agp_last_success_timestamp_seconds", command="verify") == success, "last success at the gateway")
    must(value(after, "agp_run_exit_code", command="sign") == 0, "another command's metrics")
    must("agp_fake{" not in "".join(key.split("{")[0] + "{" for key in samples(after)), "a label broke out")
    return port


class Unkind(BaseHTTPRequestHandler):
    """A gateway that answers what its path says, or not at all."""

    def do_PUT(self):
        self.server.asked.append(self.path)
        word = self.path.split("/")[1]
        if word == "silent":
            time.sleep(8)
            return
        self.send_response(int(word))
        if word == "302":
            self.send_header("Location", "/200/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def unkind_gateways(bench):
    """A gateway that refuses, redirects, hangs or is not there changes no answer and costs little time."""
    server = HTTPServer(("127.0.0.1", 0), Unkind)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    for url, word, seconds_max in [(f"{here}/500", "it answered 500", 5), (f"{here}/400", "it answered 400", 5),
                                   (f"{here}/302", "it answered 302", 5), (f"{here}/silent", "timeout", 10),
                                   (f"http://127.0.0.1:{free_port()}", "cannot push", 5),
                                   ("ftp://127.0.0.1", "does not begin with", 5)]:
        policy(bench, "unkind.json", {"pushgateway_url": url, "textfile": str(bench.textfile)})
        for expected, run in [(0, ["audit", "verify"]), (19, ["guard", "--target", "tree"]),
                              (2, ["verify", "--manifest", "nowhere.json"])]:
            took, report = bench.run(expected, *run, config="unkind.json", textfile=False)
            told = [finding for finding in report["findings"] if finding["code"] == "metrics.undelivered"]
            must(len(told) == 1 and word in told[0]["message"].lower(), url, run, report["findings"])
            must(report["exit_code"] == expected and took < seconds_max, url, "took", took)
            # The file is written whatever the gateway does.
            must(value(bench.textfile.read_text(), "agp_run_exit_code", command=run[0]) == expected, run)
            if url.endswith("silent"):
                break
    must(not any(path.startswith("/200") for path in server.asked), "a redirect was followed")
    server.shutdown()


def expressions():
    """Every expression of the dashboard, as Grafana would send it."""
    dashboard = json.loads((EXAMPLES / "grafana/agp.json").read_text())
    found = [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]
    must(len(found) > 20, "the dashboard has", len(found), "expressions")
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    must(len(set(identifiers)) == len(identifiers), "two panels have one identifier")
    return [(title, expression.replace("$command", ".+")) for title, expression in found]


def prometheus(bench, exporter, pushgateway):
    """A Prometheus that collects both, and has an answer to every expression."""
    rules = bench.folder / "dashboard.rules.yml"
    lines = ["groups:", "  - name: dashboard", "    rules:"]
    for at, (_, expression) in enumerate(expressions()):
        lines += [f"      - record: panel:{at}", f"        expr: {json.dumps(expression)}"]
    rules.write_text("\n".join(lines) + "\n")
    bench.promtool("check", "rules", str(rules), str(EXAMPLES / "prometheus/agp.rules.yml"))
    bench.promtool("test", "rules", str(EXAMPLES / "prometheus/agp.rules.test.yml"))
    # The tests of the rules must be able to say no.
    copy = bench.folder / "rules"
    shutil.copytree(EXAMPLES / "prometheus", copy)
    text = (copy / "agp.rules.yml").read_text()
    for fault in [("agp_integrity_failures > 0", "agp_integrity_failures > 5"), ("== 1\n", "== 2\n")]:
        must(fault[0] in text, fault)
        (copy / "agp.rules.yml").write_text(text.replace(*fault))
        bench.promtool("test", "rules", str(copy / "agp.rules.test.yml"), expected=1)

    port = free_port()
    (bench.folder / "prometheus.yml").write_text(json.dumps({
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(EXAMPLES / "prometheus/agp.rules.yml")],
        "scrape_configs": [
            {"job_name": "node", "static_configs": [{"targets": [f"127.0.0.1:{exporter}"]}]},
            {"job_name": "push", "honor_labels": True, "static_configs": [{"targets": [f"127.0.0.1:{pushgateway}"]}]},
        ]}))
    bench.start("prometheus", f"--config.file={bench.folder}/prometheus.yml", f"--storage.tsdb.path={bench.folder}/tsdb",
                f"--web.listen-address=127.0.0.1:{port}", ready=f"http://127.0.0.1:{port}/-/ready")

    def query(expression):
        answer = json.loads(get(f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(expression)}"))
        must(answer["status"] == "success", expression, answer)
        return answer["data"]["result"]

    def wait_for(expression):
        for _ in range(150):
            if query(expression):
                return
            time.sleep(0.2)
        must(False, "Prometheus has no answer to", expression)

    wait_for("count(up == 1) == 2")
    wait_for('agp_last_run_timestamp_seconds{command="audit"}')
    # A time stamp has to change under its eyes before runs can be counted.
    bench.run(0, "audit", "verify")
    wait_for("changes(agp_last_run_timestamp_seconds[1d]) > 0")
    wait_for('ALERTS{alertstate="firing"}')

    empty = [(title, expression) for title, expression in expressions() if not query(expression)]
    must(not empty, "no answer to", empty)
    firing = {found["metric"]["alertname"] for found in query('ALERTS{alertstate="firing"}')}
    wanted = {"AgpRunFailed", "AgpRunWithoutAnswer", "AgpSevereFinding", "AgpRolledBack"}
    must(wanted <= firing and "AgpNoRun" not in firing, "firing:", firing)
    collected = {found["metric"].get("command") for found in query('agp_run_exit_code{job="agp"}')}
    must(collected == {"sign", "verify"}, "of the gateway:", collected)


def documented():
    """Every metric that the rules and the dashboard name is one that is documented."""
    known = set(re.findall(r"^\| `(agp_[a-z_]+)`", (ROOT / "docs/metrics.md").read_text(), re.M))
    text = (EXAMPLES / "prometheus/agp.rules.yml").read_text() + (EXAMPLES / "grafana/agp.json").read_text()
    used = set(re.findall(r"\bagp_[a-z_]+\b", text))
    must(len(known) > 30 and used <= known, "not documented:", used - known)


def policy(bench, name, metrics):
    guard = {"enforcement_level": "strict"}
    (bench.folder / name).write_text(json.dumps({"metrics": metrics, "policy_guard": guard}))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--agp", required=True)
    parser.add_argument("--bin", required=True)
    arguments = parser.parse_args()
    bench = Bench(arguments.agp, arguments.bin)
    try:
        documented()
        policy(bench, "policy.json", {"labels": {"team": "assets", "odd": HOSTILE}})
        text = every_verb(bench)
        said = bench.promtool("check", "metrics", text=text)
        must(not said.strip(), "promtool:", said)
        exporter = textfile_collector(bench, text)
        at_once(bench)
        pushgateway = gateway(bench)
        prometheus(bench, exporter, pushgateway)
        unkind_gateways(bench)
        print(f"{len(samples(text))} samples of 8 commands collected, {len(expressions())} expressions answered")
    finally:
        bench.close()


if __name__ == "__main__":
    main()

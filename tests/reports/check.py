#!/usr/bin/env python3
"""Judges the reports of one run, each format by a reader that is not ours.

    check.py FOLDER          report.json beside report.{sarif,xml,csv,md,github,gitlab.json,html,trace.json,prom}
    check.py --log FILE...   what the SARIF validator wrote: it came to its end, and found no error

Markdown needs `cmarkgfm`; without it that part is left out and said so, but not where CI is set.
"""

import csv
import io
import json
import os
import re
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path


def must(condition, *what):
    if not condition:
        raise SystemExit("check.py: " + " ".join(map(str, what)))


def sarif(text, report):
    log = json.loads(text)
    must(log["version"] == "2.1.0" and len(log["runs"]) == 1, "one run of SARIF 2.1.0")
    run = log["runs"][0]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    must(len(set(rules)) == len(rules), "a rule twice")
    told = run["invocations"][0]["toolExecutionNotifications"]
    must(len(run["results"]) + len(told) == len(report["findings"]), "SARIF: a finding too few or too many")
    names = set()
    for result in run["results"]:
        must(rules[result["ruleIndex"]] == result["ruleId"], "rule index of", result["ruleId"])
        artifact = result["locations"][0]["physicalLocation"]["artifactLocation"]
        must(re.fullmatch(r"(file:///)?[A-Za-z0-9._~/%-]+", artifact["uri"]), "URI", artifact["uri"])
        must(not artifact["uri"].startswith(("/", "..")), "URI", artifact["uri"])
        names.add(result["partialFingerprints"]["agpFinding/v1"])
    must(len(names) == len(run["results"]), "two results share a fingerprint")


def junit(text, report):
    # expat: what is not well-formed does not parse; entities of its own it has none.
    root = ElementTree.fromstring(text)
    must("<!" not in text, "a declaration in JUnit")
    must(root.tag == "testsuites" and len(root) == 1, "one suite")
    suite = root[0]
    allowed = {
        "testsuites": ({"name", "tests", "failures", "errors", "time"}, {"testsuite"}),
        "testsuite": (
            {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
            {"properties", "testcase"},
        ),
        "properties": (set(), {"property"}),
        "property": ({"name", "value"}, set()),
        "testcase": ({"classname", "name"}, {"failure", "error", "skipped", "system-out"}),
        "failure": ({"message", "type"}, set()),
        "error": ({"message", "type"}, set()),
        "skipped": ({"message"}, set()),
        "system-out": (set(), set()),
    }
    for element in root.iter():
        attributes, children = allowed[element.tag]
        must(set(element.keys()) == attributes, element.tag, element.keys())
        must({child.tag for child in element} <= children, element.tag, [child.tag for child in element])
    cases = suite.findall("testcase")
    must(all(len(case) <= 1 for case in cases), "a case with two outcomes")
    must(len(cases) == max(1, len(report["findings"])), "JUnit: a finding too few or too many")
    for name, counted in [("tests", cases), ("failures", suite.findall("*/failure")),
                          ("errors", suite.findall("*/error")), ("skipped", suite.findall("*/skipped"))]:
        must(int(suite.get(name)) == len(counted), name, suite.get(name), len(counted))


def comma_separated(text, report):
    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    must(len(rows) == len(report["findings"]) + 1, "CSV: a record too few or too many")
    for row, finding in zip(rows[1:], report["findings"]):
        must(len(row) == len(rows[0]), "cells of", row)
        fields = dict(zip(rows[0], row))
        must(fields["code"] == finding["code"] and fields["severity"] == finding["severity"], row)
        for cell in row:
            must(not cell.lstrip().startswith(("=", "+", "-", "@")), "a formula", cell)
            must(not re.search(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]", cell), "a control character", cell)


class Inert(HTMLParser):
    """Nothing but our own elements, and words that nobody acts on outside of code."""

    ELEMENTS = set("h2 h3 p table thead tbody tr th td strong code ul li".split())

    def __init__(self):
        super().__init__()
        self.code = 0

    def handle_starttag(self, tag, attrs):
        must(tag in self.ELEMENTS and not attrs, "Markdown gives", tag, attrs)
        self.code += tag == "code"

    def handle_endtag(self, tag):
        self.code -= tag == "code"

    def handle_data(self, data):
        must(self.code or not re.search(r"[@#<>/\[\]`]", data), "Markdown outside of code:", data)

    def handle_comment(self, data):
        must(False, "Markdown gives a comment", data)


def markdown(text, report):
    must(len(text.encode()) <= 1 << 20, "Markdown is too long")
    try:
        import cmarkgfm
    except ImportError:
        must("CI" not in os.environ, "cmarkgfm is missing, and CI installs it")
        print("skipped: Markdown: cmarkgfm is missing")
        return
    html = cmarkgfm.github_flavored_markdown_to_html(text, cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE)
    Inert().feed(html)
    rows = html.count("<tr>") - html.count("<thead>")
    must(rows >= min(len(report["findings"]), 100), "Markdown shows", rows, "rows")


def github(text, report):
    lines = text.split("\n")
    must(lines.pop() == "" and len(lines) <= 10, "annotations:", len(lines))
    must(bool(lines) or not report["findings"], "no annotation")
    for line in lines:
        must(re.fullmatch(r"::(error|warning|notice) (\w+=[^:,\r\n]*,?)+::[^\r\n]+", line), "annotation", line)


def gitlab(text, report):
    issues = json.loads(text)
    must(len(issues) <= len(report["findings"]), "GitLab: too many issues")
    for issue in issues:
        must(set(issue) == {"check_name", "description", "fingerprint", "location", "severity"}, issue)
        must(issue["severity"] in {"info", "minor", "major", "critical", "blocker"}, issue)
        must(re.fullmatch(r"[0-9a-f]{32}", issue["fingerprint"]), issue)
        location = issue["location"]
        must(set(location) == {"lines", "path"} and location["lines"]["begin"] >= 1, issue)
        must(not location["path"].startswith("./"), issue)
    fingerprints = {issue["fingerprint"] for issue in issues}
    must(len(fingerprints) == len(issues), "two issues share a fingerprint")


class Page(HTMLParser):
    """A page that asks for nothing and runs nothing, and the data in it."""

    def __init__(self):
        super().__init__()
        self.data = None
        self.rows = 0
        self.within = None

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        must(tag not in {"iframe", "object", "embed", "link", "base", "form", "img", "a"}, "HTML has", tag)
        for name, value in attrs.items():
            must(not name.startswith("on") and name not in {"style", "src", "href"}, "HTML has", tag, name)
        if tag == "script":
            must(attrs == {"type": "application/json", "id": "agp-report"}, "HTML runs", attrs)
            self.within = "data"
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy":
            must(attrs["content"].startswith("default-src 'none'; style-src 'sha256-"), attrs["content"])
            self.within = "policy"
        self.rows += tag == "tr"

    def handle_data(self, data):
        if self.within == "data":
            self.data = json.loads(data)
            self.within = None


def page(text, report):
    parsed = Page()
    parsed.feed(text)
    must(parsed.data == report, "the data of the page is another report")
    must(parsed.rows >= min(len(report["findings"]), 100), "HTML shows", parsed.rows, "rows")


def trace(text, report):
    events = json.loads(text)["traceEvents"]
    spans = []
    for event in events:
        must(event["ph"] in "MXC" and isinstance(event["name"], str), event)
        must(isinstance(event["pid"], int) and isinstance(event["tid"], int), event)
        if event["ph"] != "M":
            must(event["ts"] >= 0, event)
        if event["ph"] == "X":
            spans.append((event["ts"], event["ts"] + event["dur"]))
        if event["ph"] == "C":
            must(all(isinstance(value, (int, float)) for value in event["args"].values()), event)
    must(spans, "a trace without a span")
    for at, (begin, end) in enumerate(spans):
        for other, after in spans[at + 1:]:
            must((begin <= other and after <= end + 1) or end <= other + 1, "spans cross", begin, other)


def metrics(text, report):
    # promtool reads the metrics of every verb in tests/metrics; here is what only the report knows.
    samples = [line for line in text.split("\n") if line and not line.startswith("# ")]
    must(text.endswith("\n") and all(re.fullmatch(r'agp_\w+\{(\w+="([^"\\]|\\.)*",?)+\} \S+', one) for one in samples), text)
    code = [one for one in samples if one.startswith("agp_run_exit_code{")]
    must(len(code) == 1 and code[0].endswith(f"}} {report['exit_code']}"), code)
    for finding in report["findings"]:
        must(finding["path"] is None or finding["path"] not in text, "a path in the metrics", finding["path"])


def validator_log(path):
    log = json.loads(path.read_text(encoding="utf-8-sig"))
    run = log["runs"][0]
    for invocation in run["invocations"]:
        must(invocation["executionSuccessful"], path, "the validator did not come to its end")
        for kind in ["toolExecutionNotifications", "toolConfigurationNotifications"]:
            errors = [told for told in invocation.get(kind, []) if told.get("level") == "error"]
            must(not errors, path, errors)
    results = run.get("results", [])
    errors = [result for result in results if result.get("level") == "error"]
    must(not errors, path, json.dumps(errors, indent=1))
    # It has a note for every log, and none for one that it cannot even read.
    must(results, path, "the validator gave up in silence")


READERS = {
    "sarif": sarif,
    "xml": junit,
    "csv": comma_separated,
    "md": markdown,
    "github": github,
    "gitlab.json": gitlab,
    "html": page,
    "trace.json": trace,
    "prom": metrics,
}


def main(arguments):
    if arguments[:1] == ["--log"]:
        for path in arguments[1:]:
            validator_log(Path(path))
        return
    (folder,) = map(Path, arguments)
    report = json.loads((folder / "report.json").read_text())
    for ending, reader in READERS.items():
        text = (folder / f"report.{ending}").read_bytes().decode()
        reader(text, report)


if __name__ == "__main__":
    main(sys.argv[1:])

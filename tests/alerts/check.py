#!/usr/bin/env python3
"""Alerts against receivers that are not ours: an SMTP server, Alertmanager, and HTTP servers that misbehave.

    check.py --agp PATH [PART...]      parts: http sinks mail drip alertmanager spool hostile command; all at once

Needs `aiosmtpd`, `openssl` and `prometheus-alertmanager`. Every run is held against the same promises: no secret in
anything that it prints or keeps, its answer unchanged, its delay bounded.
"""

import argparse
import base64
import concurrent.futures
import email
import email.policy
import hashlib
import hmac
import http.server
import json
import logging
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

AGP = None
ROOT = Path(__file__).resolve().parents[2]
# Put together here, so that no scanner takes this file for what it tests.
CANARY = "canary" + "x9fKQz72Lp" + "Wmv41T"
KEY = base64.b64encode(hashlib.sha256(CANARY.encode()).digest()).decode()
SECRET = "whsec_" + KEY
PASSWORD = CANARY + "-password"
# One attempt, all that a channel may take, and what a run takes beside it on a busy machine.
ATTEMPT, DELIVERY, ASIDE = 10, 30, 4


def must(condition, *what):
    if not condition:
        raise SystemExit("check.py: " + " ".join(map(str, what)))


class Place:
    """A folder with a leaky file and a policy, and runs in it."""

    def __init__(self, channels, routes=None, **alerts):
        self.path = Path(tempfile.mkdtemp(prefix="alerts-"))
        routes = routes or [{"severity_min": "medium", "channels": sorted(channels)}]
        self.policy = {"alerts": {"channels": channels, "routes": routes, **alerts}}
        self.leak("settings.py")
        self.variables = {}

    def leak(self, name, count=1):
        (self.path / "tree").mkdir(exist_ok=True)
        lines = (f'pass{"word"} = "{hashlib.sha256(f"{name}{n}".encode()).hexdigest()[:24]}"\n' for n in range(count))
        (self.path / "tree" / name).write_text("".join(lines))

    def command(self, *words, **variables):
        (self.path / "policy.json").write_text(json.dumps(self.policy))
        environment = {"PATH": os.environ["PATH"], **self.variables, **variables}
        arguments = [AGP, *words, "--config", "policy.json"]
        return {"args": arguments, "cwd": self.path, "env": environment}

    def run(self, *words, expect, within=ASIDE, **variables):
        began = time.monotonic()
        ran = subprocess.run(**self.command(*words, **variables), capture_output=True, timeout=120)
        took = time.monotonic() - began
        what = (words, ran.returncode, ran.stdout[-2000:], ran.stderr[-2000:])
        must(ran.returncode == expect, "exit code, expected", expect, *what)
        must(took < within, f"took {took:.1f} s, at most {within} s", *what)
        self.is_discreet(ran.stdout + ran.stderr)
        return ran

    def guard(self, *words, within=ASIDE, **variables):
        ran = self.run("guard", "--target", "tree", "--json", *words, expect=19, within=within, **variables)
        report = json.loads(ran.stdout)
        must(report["verdict"] == "fail" and report["exit_code"] == 19, "verdict", report["verdict"])
        return [f for f in report["findings"] if f["code"].startswith("alert.")]

    def is_discreet(self, *printed):
        for text in printed:
            must(CANARY.encode() not in text and KEY.encode() not in text, "a secret is printed:", text)
        for path in self.path.rglob("*"):
            if path.is_file():
                text = path.read_bytes()
                must(CANARY.encode() not in text and KEY.encode() not in text, "a secret is kept in", path)

    def waiting(self):
        spool = self.path / ".agp" / "spool"
        must(not spool.exists() or spool.stat().st_mode & 0o777 == 0o700, "mode of the spool")
        entries = sorted(spool.glob("*.json"))
        must(all(entry.stat().st_mode & 0o777 == 0o600 for entry in entries), "mode of an entry")
        return [json.loads(entry.read_text())["message"] for entry in entries]


class Server:
    """An HTTP server on loopback that verifies what it gets and misbehaves by path."""

    def __init__(self, context=None):
        self.got, self.begun = [], threading.Event()
        self.seen = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.got.append(("followed", self.headers, b""))

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.begun.set()
                # The canary is part of every address, so the last part alone says what to do.
                outer.answer(self, self.path.rsplit("/", 1)[-1], body)

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Quiet(("127.0.0.1", 0), Handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.scheme = "https" if context else "http"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, what):
        host = "localhost" if self.scheme == "https" else "127.0.0.1"
        return f"{self.scheme}://{host}:{self.server.server_port}/services/{CANARY}/{what}"

    def answer(self, request, what, body):
        number = self.seen[what] = self.seen.get(what, 0) + 1
        if what == "hang":
            time.sleep(60)
        elif what == "close":
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True
        elif what == "drip":
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 60:
                request.wfile.write(bytes([byte]))
                time.sleep(1)
        elif what == "huge":
            self.got.append((what, request.headers, body))
            request.send_response(200)
            request.send_header("content-length", str(1 << 40))
            request.end_headers()
            while True:
                request.wfile.write(b"x" * (1 << 20))
        elif what == "endless":
            while True:
                request.wfile.write(b"X-Header: " + b"x" * 4096 + b"\r\n" if number else b"")
        elif what == "redirect":
            self.reply(request, 307, location=self.url("stolen"))
        elif what == "500":
            self.reply(request, 500)
        elif what == "404":
            self.reply(request, 404)
        elif what == "patience":
            self.reply(request, 429, retry_after="3600")
        elif what == "later" and number == 1:
            self.reply(request, 429, retry_after="1")
        elif what == "again" and number < 3:
            self.reply(request, 503)
        else:
            if what == "slow":
                time.sleep(1)
            self.got.append((what, request.headers, body))
            self.reply(request, 200)

    @staticmethod
    def reply(request, status, **headers):
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("content-length", "0")
        request.end_headers()


def is_signed(headers, body):
    """Both signatures, computed here from the specifications."""
    hub = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    must(headers["X-Hub-Signature-256"] == f"sha256={hub}", "X-Hub-Signature-256")
    identifier, at = headers["webhook-id"], headers["webhook-timestamp"]
    must(abs(int(at) - time.time()) < 300, "webhook-timestamp", at)
    signed = f"{identifier}.{at}.".encode() + body
    standard = base64.b64encode(hmac.new(base64.b64decode(KEY), signed, hashlib.sha256).digest()).decode()
    must(headers["webhook-signature"] == f"v1,{standard}", "webhook-signature")
    must(json.loads(body)["id"] == identifier, "the identifier")


HOOK = {"hook": {"type": "webhook", "url_env": "HOOK_URL", "secret_env": "HOOK_SECRET"}}


def hook(**alerts):
    place = Place(HOOK, **alerts)
    place.variables["HOOK_SECRET"] = SECRET
    return place


def closed_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def certificates(folder):
    """An authority and a certificate of localhost, made now."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *ec, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority",
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
    openssl("req", *ec, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", "server.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context, folder / "ca.pem"


def http_part(tls, authority):
    """A signed webhook and a Slack message arrive; patience is had; TLS of one's own authority is trusted."""
    server = Server()
    for what, attempts in [("ok", 1), ("later", 2), ("again", 3), ("huge", 1)]:
        place = hook()
        must(place.guard(HOOK_URL=server.url(what)) == [], what)
        must(server.seen[what] == attempts, what, "attempts", server.seen[what])
        (_, headers, body), = [got for got in server.got if got[0] == what]
        is_signed(headers, body)
        must(CANARY.encode() not in body, "the address is in the message")
        must(headers["user-agent"].startswith("agp/"), "user agent")
        message = json.loads(body)
        must(message["events"][0]["event"] == "policy_violation" and not message["test"], "event", message)
        must(place.waiting() == [], "something waits")
        # The same thing again is not told again; something new is.
        must(place.guard(HOOK_URL=server.url(what)) == [] and server.seen[what] == attempts, "told twice")
    place.leak("other.py")
    must(place.guard(HOOK_URL=server.url("ok")) == [] and server.seen["ok"] == 2, "something new was not told")
    secured = Server(tls)
    place = hook()
    place.guard(HOOK_URL=secured.url("ok"), SSL_CERT_FILE=str(authority))
    must(len(secured.got) == 1, "TLS with an authority of one's own")
    is_signed(*secured.got[0][1:])
    place = Place({"slack": {"type": "slack", "url_env": "SLACK_URL"}})
    place.guard(SLACK_URL=server.url("slack"))
    must(slack_texts(json.loads(server.got[-1][2])) > 3, "Slack")
    tried = place.run("tool", "notify-test", expect=0, SLACK_URL=server.url("slack"))
    must(b"slack: delivered" in tried.stdout and b"TEST" in server.got[-1][2], "notify-test", tried.stdout)
    place.run("tool", "notify-test", expect=1, SLACK_URL=server.url("404"))
    place.run("tool", "notify-test", expect=2)


def slack_texts(body):
    """Slack's limits, on every text; gives how many there are."""
    must(len(body["blocks"]) <= 50, "blocks", len(body["blocks"]))
    texts = 0
    for block in body["blocks"]:
        must(block["type"] in ("header", "section", "context"), block["type"])
        for text in block.get("elements") or [block["text"]]:
            limit = {"header": 150, "section": 3000, "context": 2000}[block["type"]]
            must(text["type"] == "plain_text" and 0 < len(text["text"]) <= limit, "text", len(text["text"]))
            texts += 1
    must(len(body["blocks"][-1]["elements"]) <= 10, "elements")
    return texts


def sinks_part(tls, _):
    """Whatever a receiver does: the answer stands, the delay is bounded, the next run delivers the same message."""
    server, secured = Server(), Server(tls)
    sinks = [
        ("hang", server.url("hang"), ATTEMPT, "no answer within 10 s"),
        ("drip", server.url("drip"), ATTEMPT, "no answer within 10 s"),
        ("endless", server.url("endless"), ATTEMPT, ""),
        ("close", server.url("close"), 0, "closed the connection"),
        ("redirect", server.url("redirect"), 0, "it answered 307"),
        ("500", server.url("500"), 4, "it answered 500"),
        ("404", server.url("404"), 0, "it answered 404"),
        ("patience", server.url("patience"), 0, "it answered 429"),
        ("refused", f"http://127.0.0.1:{closed_port()}/{CANARY}", 0, "refused"),
        ("untrusted", secured.url("ok"), 0, "nobody whom we trust signed its certificate"),
        ("no TLS", server.url("ok").replace("http:", "https:").replace("127.0.0.1", "localhost"), 1, "TLS"),
        ("no name", f"https://hooks.invalid/{CANARY}", ATTEMPT, "does not resolve"),
        ("no URL", CANARY, 0, "does not hold"),
        ("no TLS elsewhere", f"http://hooks.invalid/{CANARY}", 0, "without TLS"),
        ("unset", "", 0, "is not set"),
    ]

    def one(sink):
        name, url, delay, why = sink
        place = hook()
        report = place.path / "report.json"
        ran = place.run("guard", "--target", "tree", "--output", "report.json", expect=19,
                        within=delay + 2 * ASIDE, HOOK_URL=url)
        found = [f for f in json.loads(report.read_text())["findings"] if f["code"].startswith("alert.")]
        must(any(f["code"] == "alert.undelivered" and why in f["message"] for f in found), name, found, ran.stderr)
        waiting, = place.waiting()
        # A verb without a report delivers it; what was told is not told again.
        place.run("audit", "show", expect=0, HOOK_URL=server.url("ok"))
        must(place.waiting() == [], name, "still waits")
        (_, headers, body), = [got for got in server.got if got[1]["webhook-id"] == waiting["id"]]
        is_signed(headers, body)
        must(json.loads(body) == waiting, name, "another message")
        return name

    with concurrent.futures.ThreadPoolExecutor(len(sinks)) as pool:
        must(len(list(pool.map(one, sinks))) == len(sinks), "sinks")
    must({got[0] for got in server.got} == {"ok"}, "a redirect was followed", [got[0] for got in server.got])
    # With --require-notify an undelivered alert is an error; a violation stays one.
    place = hook()
    place.run("guard", "--target", "tree", "--require-notify", expect=19, HOOK_URL=server.url("404"))
    place = hook(require_notify=True)
    place.run("verify", "--manifest", "none.json", expect=2, HOOK_URL=server.url("404"))
    place.run("tool", "keys", "generate", "--output", "key", expect=0)
    place.run("sign", "--input-dir", "tree", "--key-file", "key", expect=0)
    place.leak("settings.py", 2)
    place.run("verify", "--manifest", "tree/integrity_manifest.json", "--key-file", "key", expect=2,
              HOOK_URL=server.url("404"))
    place.policy["alerts"]["require_notify"] = False
    place.run("verify", "--manifest", "tree/integrity_manifest.json", "--key-file", "key", expect=1,
              HOOK_URL=server.url("404"))


def mail_part(tls, authority):
    """STARTTLS, TLS, none; logins; a refused recipient keeps no other from the message."""
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import AuthResult

    class Box:
        def __init__(self):
            self.mails, self.refuses = [], set()

        async def handle_RCPT(self, server, session, envelope, address, options):
            if address in self.refuses:
                return "550 no such user here"
            envelope.rcpt_tos.append(address)
            return "250 OK"

        async def handle_DATA(self, server, session, envelope):
            self.mails.append((list(envelope.rcpt_tos), envelope.content, session.ssl is not None))
            return "250 OK"

    def login(server, session, envelope, mechanism, data):
        good = data.login == b"robot" and data.password == PASSWORD.encode()
        return AuthResult(success=good, handled=good)

    def serve(**options):
        box = Box()
        controller = Controller(box, hostname="127.0.0.1", port=closed_port(), **options)
        controller.start()
        return box, controller.port

    def place(port, security, **more):
        channel = {"type": "email", "smtp_host": "localhost", "smtp_port": port, "smtp_tls": security,
                   "from": "agp <agp@example.org>", "to": ["one@example.org", "two@example.org"], **more}
        return Place({"mail": channel})

    box, port = serve(tls_context=tls, require_starttls=True)
    here = place(port, "starttls")
    must(here.guard(SSL_CERT_FILE=str(authority)) == [], "STARTTLS")
    (recipients, content, secured), = box.mails
    must(secured and recipients == ["one@example.org", "two@example.org"], recipients)
    mail = email.message_from_bytes(content, policy=email.policy.default)
    must(mail["Auto-Submitted"] == "auto-generated" and "policy violation" in mail["Subject"], mail.items())
    must(mail.get_content_type() == "multipart/alternative" and mail["Message-ID"].startswith("<agp_"), "mail")
    for kind in ("plain", "html"):
        must("settings.py" in mail.get_body([kind]).get_content(), kind)
    # Without the authority nobody is trusted, and the next run delivers.
    here = place(port, "starttls")
    found, = here.guard()
    must("certificate" in found["message"], found)
    waiting, = here.waiting()
    must(here.guard(SSL_CERT_FILE=str(authority)) == [], "the next run")
    must(waiting["id"] in box.mails[-1][1].decode(), "another message")
    # A server that only does without is not talked to.
    plain_box, plain_port = serve()
    found, = place(plain_port, "starttls").guard()
    must("STARTTLS" in found["message"] and plain_box.mails == [], found)
    must(place(plain_port, "none").guard() == [] and len(plain_box.mails) == 1, "none")
    tls_box, tls_port = serve(ssl_context=tls)
    must(place(tls_port, "tls").guard(SSL_CERT_FILE=str(authority)) == [] and len(tls_box.mails) == 1, "TLS")
    # One refused recipient: the other has it once, and he gets it as soon as he may.
    box.refuses.add("two@example.org")
    here = place(port, "starttls")
    found, = here.guard(SSL_CERT_FILE=str(authority))
    must("refused 1 of 2 recipients with 550" in found["message"], found)
    must(box.mails[-1][0] == ["one@example.org"], box.mails[-1][0])
    waiting, = here.waiting()
    box.refuses.clear()
    here.run("audit", "verify", expect=0, SSL_CERT_FILE=str(authority))
    must(box.mails[-1][0] == ["two@example.org"] and waiting["id"] in box.mails[-1][1].decode(), "the second")
    must(here.waiting() == [], "still waits")
    # Logins.
    with_login = {"username_env": "MAIL_USER", "password_env": "MAIL_PASSWORD"}
    box, port = serve(tls_context=tls, require_starttls=True, authenticator=login, auth_required=True)
    here = place(port, "starttls", **with_login)
    good = {"SSL_CERT_FILE": str(authority), "MAIL_USER": "robot", "MAIL_PASSWORD": PASSWORD}
    must(here.guard(**good) == [] and len(box.mails) == 1, "login")
    here = place(port, "starttls", **with_login)
    found, = here.guard(**{**good, "MAIL_PASSWORD": PASSWORD + "!"})
    must("refused user or password with 535" in found["message"], found)
    must(here.guard(**good) == [] and len(box.mails) == 2, "the right password")
    here = place(port, "none", **with_login)
    here.policy["alerts"]["channels"]["mail"]["smtp_host"] = "mail.example.org"
    must(any("in the open" in f["message"] for f in here.guard(**good)), "a password in the open")
    # A server that says nothing, and one that is not there.
    silent = socket.create_server(("127.0.0.1", 0))
    found, = place(silent.getsockname()[1], "none").guard(within=ATTEMPT + 2 * ASIDE)
    must("no answer within 10 s" in found["message"], found)
    found, = place(closed_port(), "none").guard()
    must("refused" in found["message"], found)


def drip_part(*_):
    """A mail server that says a byte a second: no channel takes longer than it may, whatever it does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def drip():
        while True:
            connection, _ = listener.accept()
            try:
                for byte in b"220-" + b"x" * 90:
                    connection.sendall(bytes([byte]))
                    time.sleep(1)
            except OSError:
                pass

    threading.Thread(target=drip, daemon=True).start()
    server = Server()
    place = Place({"mail": {"type": "email", "smtp_host": "127.0.0.1", "smtp_port": listener.getsockname()[1],
                            "smtp_tls": "none", "from": "agp@example.org", "to": ["one@example.org"]}, **HOOK})
    found, = place.guard(within=DELIVERY + 2 * ASIDE, HOOK_URL=server.url("ok"), HOOK_SECRET=SECRET)
    must("`mail`" in found["message"] and "too long" in found["message"], found)
    must(len(place.waiting()) == 1 and len(server.got) == 1, "one channel held another up")


def alertmanager_part(*_):
    """Three equal posts are one notification, the next clean run resolves it, and the inhibit rule holds."""
    told = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    folder = Path(tempfile.mkdtemp())
    sample = (ROOT / "docs/examples/alertmanager.yml").read_text()
    sample = sample.replace("127.0.0.1:9095", f"127.0.0.1:{receiver.server_port}")
    for slow, quick in [("group_wait: 30s", "group_wait: 1s"), ("group_interval: 5m", "group_interval: 1s")]:
        must(slow in sample, slow)
        sample = sample.replace(slow, quick)
    (folder / "alertmanager.yml").write_text(sample)
    port = closed_port()
    manager = subprocess.Popen(
        ["prometheus-alertmanager", f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data",
         f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
        stdout=subprocess.DEVNULL, stderr=open(folder / "log", "w"))
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: alerts_of(url) is not None, 20, "Alertmanager", folder / "log")
        place = Place({"am": {"type": "alertmanager", "url_env": "AM_URL"}})
        place.variables["AM_URL"] = url
        for _ in range(3):
            must(place.guard() == [], "post")
        wait_for(lambda: told, 10, "a notification")
        time.sleep(3)
        must(len(told) == 1 and told[0]["status"] == "firing" and len(told[0]["alerts"]) == 1, told)
        labels = told[0]["alerts"][0]["labels"]
        must(labels == {"alertname": "AgpPolicyViolation", "severity": "high", "tool": "agp", "command": "guard",
                        "target": "tree", "repository": place.path.name}, labels)
        # What is critical in the same repository inhibits what is high there.
        place.run("tool", "keys", "generate", "--output", "key", expect=0)
        place.run("sign", "--input-dir", "tree", "--key-file", "key", expect=0)
        place.leak("settings.py", 2)
        verify = ["verify", "--manifest", "tree/integrity_manifest.json", "--key-file", "key"]
        place.run(*verify, expect=1)
        wait_for(lambda: len(told) > 1, 10, "a critical notification")
        must(told[1]["receiver"] == "on-call", told[1]["receiver"])
        must(told[1]["commonLabels"]["alertname"] == "AgpIntegrityFailure", told[1]["commonLabels"])
        held = {alert["labels"]["alertname"]: alert["status"] for alert in alerts_of(url)}
        must(held["AgpPolicyViolation"]["inhibitedBy"] and not held["AgpIntegrityFailure"]["inhibitedBy"], held)
        # Both are over with the next clean run of each; what is about something else resolves nothing.
        place.leak("settings.py")
        place.run("guard", "--operation", "read_asset", expect=0)
        must(len([a for a in alerts_of(url) if a["status"]["state"] != "resolved"]) == 2, "too early")
        place.run(*verify, expect=0)
        wait_for(lambda: told[-1]["status"] == "resolved", 10, "resolution of the critical one", told)
        (place.path / "tree" / "settings.py").write_text("x = 1\n")
        place.run("guard", "--target", "tree", expect=0)
        wait_for(lambda: {t["commonLabels"]["alertname"] for t in told if t["status"] == "resolved"}
                 == {"AgpIntegrityFailure", "AgpPolicyViolation"}, 10, "resolution", told)
        must(alerts_of(url) == [], alerts_of(url))
        # A manager that was away learns from the next run, in the order of events.
        place.leak("settings.py")
        place.guard(AM_URL=f"http://127.0.0.1:{closed_port()}")
        (place.path / "tree" / "settings.py").write_text("x = 1\n")
        place.run("guard", "--target", "tree", expect=0)
        must(place.waiting() == [] and alerts_of(url) == [], "order", alerts_of(url))
        place.run("tool", "notify-test", expect=0)
        must([a["labels"]["alertname"] for a in alerts_of(url)] == ["AgpTest"], "test")
    finally:
        manager.terminate()
        manager.wait()


def alerts_of(url):
    import urllib.request
    try:
        with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return None


def wait_for(condition, seconds, *what):
    until = time.monotonic() + seconds
    while not condition():
        must(time.monotonic() < until, "in vain:", *what)
        time.sleep(0.05)


def spool_part(*_):
    """SIGKILL, interruption, two runs at once, a full disk, something else in the spool's place."""
    server = Server()
    # Killed while it sends: the next run of any verb sends the same message.
    for end, code in [(signal.SIGKILL, -9), (signal.SIGTERM, 19)]:
        place = hook()
        server.begun.clear()
        running = subprocess.Popen(**place.command("guard", "--target", "tree", HOOK_URL=server.url("hang")),
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        must(server.begun.wait(20), "no request")
        began = time.monotonic()
        running.send_signal(end)
        running.communicate()
        must(running.returncode == code, "ended with", running.returncode)
        must(time.monotonic() - began < 3, "an interrupted run goes on sending")
        waiting, = place.waiting()
        place.run("audit", "show", expect=0, HOOK_URL=server.url("ok"))
        must(server.got[-1][1]["webhook-id"] == waiting["id"] and place.waiting() == [], "after", end)
    # Five runs at once about things of their own, behind ten that wait: each arrives once.
    place = hook(repeat_interval_seconds=0)
    for _ in range(10):
        place.guard(HOOK_URL=f"http://127.0.0.1:{closed_port()}")
    waiting = [message["id"] for message in place.waiting()]
    must(len(set(waiting)) == 10, "ten wait", waiting)
    before = len(server.got)
    command = place.command("guard", "--target", "tree", HOOK_URL=server.url("ok"))
    runs = [subprocess.Popen(**command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(5)]
    for one in runs:
        said = one.communicate()
        must(one.returncode == 19, said)
    arrived = [got[1]["webhook-id"] for got in server.got[before:]]
    must(len(arrived) == len(set(arrived)) == 15 and arrived[:10] == waiting, "arrived", arrived, waiting)
    must(place.waiting() == [], "still waits")
    # Nothing can be written: it arrives nevertheless, and that is told; what does not arrive is lost, and told.
    place = hook()
    place.policy["policy_guard"] = {"audit_logging": False}
    for what, code in [("ok", b"alert.spool"), ("404", b"alert.lost")]:
        command = place.command("guard", "--target", "tree", HOOK_URL=server.url(what))
        command["args"] = ["sh", "-c", 'trap "" XFSZ; ulimit -f 0; exec "$@"', "sh", *command["args"]]
        ran = subprocess.run(**command, capture_output=True)
        must(ran.returncode == 19 and code in ran.stdout, ran)
    # Something else in its place.
    place = hook()
    (place.path / ".agp").mkdir(mode=0o700)
    (place.path / ".agp" / "spool").symlink_to("/tmp")
    before = len(server.got)
    found = place.guard(HOOK_URL=server.url("ok"))
    must([f["code"] for f in found] == ["alert.spool"] and len(server.got) == before + 1, found)


def hostile_part(*_):
    """Names that are markup, mentions, commands and headers elsewhere; ten thousand findings."""
    from aiosmtpd.controller import Controller
    server = Server()
    mails = []

    class Box:
        async def handle_DATA(self, server, session, envelope):
            mails.append(envelope.content)
            return "250 OK"

    controller = Controller(Box(), hostname="127.0.0.1", port=closed_port())
    controller.start()
    channels = {
        "slack": {"type": "slack", "url_env": "SLACK_URL"},
        "mail": {"type": "email", "smtp_host": "127.0.0.1", "smtp_port": controller.port, "smtp_tls": "none",
                 "from": "agp@example.org", "to": ["one@example.org"]},
        "command": {"type": "command", "argv": ["sh", "-c", "cat >got.json; echo ::error ::from the command"]},
        **HOOK,
    }
    names = ["<!channel> <@U012AB3CD>", "::error ::x", "##[command]x", "<script>alert(1)<", "a\r\nBcc: x@example.org",
             "\x1b[31mred", "\u202etxt.exe", "*bold* :tada: &amp;", "=1+1,\"x\"", "' onload='x"]
    place = Place(channels)
    for name in names:
        place.leak(name + ".py")
    variables = {"SLACK_URL": server.url("slack"), "HOOK_URL": server.url("ok"), "HOOK_SECRET": SECRET}
    must(place.guard(**variables) == [], "hostile names")
    bodies = {what: body for what, _, body in server.got}
    event = (place.path / "got.json").read_bytes()
    for text in [*bodies.values(), event, mails[0]]:
        for bad in [b"\x1b", "\u202e".encode(), b"\\u001b", b"\\u202e"]:
            must(bad not in text, bad, text)
    must(b"<" not in bodies["slack"] and b"&lt;!channel&gt;" in bodies["slack"], "Slack's markup")
    slack_texts(json.loads(bodies["slack"]))
    mail = email.message_from_bytes(mails[0], policy=email.policy.default)
    must(mail["Bcc"] is None and not mail.defects, "headers", mail.items())
    html = mail.get_body(["html"]).get_content()
    must("<script" not in html and "onload='" not in html and "&lt;script&gt;" in html, html)
    must(all("\n" not in f["path"] and "\r" not in f["path"]
             for e in json.loads(event)["events"] for f in e["findings"] if f["path"]), "lines")
    # Ten thousand.
    place.leak("many.py", 10000)
    place.variables.update(variables)
    must(place.guard(within=30) == [], "ten thousand")
    slack = json.loads(server.got[-1][2] if server.got[-1][0] == "slack" else server.got[-2][2])
    slack_texts(slack)
    text = json.dumps(slack)
    must(text.count("\\u2022") <= 10 and "and 1" in text, "at most ten")
    message = json.loads((place.path / "got.json").read_bytes())
    must(message["events"][0]["findings_total"] >= 10000 and len(message["events"][0]["findings"]) <= 50, "many")
    must((place.path / "got.json").stat().st_size < 64 << 10, "size of the event")
    must(len(mails) == 2 and len(mails[1]) < 256 << 10, "size of the mail", len(mails[1]))


def command_part(*_):
    """A program sees the event and no secret; it is stopped in time, with its children."""
    script = "env >environment; cat >event; (sleep 77.25; :) & exec sleep 77.25"
    place = Place({"slow": {"type": "command", "argv": ["sh", "-c", script]}, **HOOK})
    server = Server()
    variables = {"HOOK_URL": server.url("ok"), "HOOK_SECRET": SECRET, "POCKETMON_SIGN_SECRET": CANARY * 2}
    found, = place.guard(within=ATTEMPT + 2 * ASIDE, **variables)
    must("did not end within 10 s" in found["message"] and "`slow`" in found["message"], found)
    must(json.loads((place.path / "event").read_text())["id"] == place.waiting()[0]["id"], "event")
    left = subprocess.run(["pgrep", "-f", "sleep 77.25"], capture_output=True).stdout
    must(left == b"", "left running:", left)
    place.policy["alerts"]["channels"]["slow"]["argv"] = ["sh", "-c", "exit 3"]
    found, = place.guard(**variables)
    must("exit status: 3" in found["message"], found)
    place.policy["alerts"]["channels"]["slow"]["argv"] = ["sh", "-c", "yes; :"]
    found, = place.guard(within=ATTEMPT + 2 * ASIDE, **variables)
    place.policy["alerts"]["channels"]["slow"]["argv"] = ["true"]
    must(place.guard(**variables) == [] and place.waiting() == [], "in the end")


def main():
    global AGP
    parser = argparse.ArgumentParser()
    parser.add_argument("--agp", required=True)
    parser.add_argument("parts", nargs="*")
    arguments = parser.parse_args()
    # aiosmtpd says at length what is meant to go wrong here.
    logging.disable(logging.CRITICAL)
    AGP = str(Path(arguments.agp).resolve())
    folder = Path(tempfile.mkdtemp())
    # Every place is made below it, and goes with it.
    tempfile.tempdir = str(folder)
    parts = {"http": http_part, "sinks": sinks_part, "mail": mail_part, "drip": drip_part,
             "alertmanager": alertmanager_part,
             "spool": spool_part, "hostile": hostile_part, "command": command_part}

    def one(name):
        began = time.monotonic()
        parts[name](*tls)
        print(f"{name}: good, {time.monotonic() - began:.1f} s", flush=True)

    try:
        tls = certificates(folder)
        names = arguments.parts or list(parts)
        with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
            for done in concurrent.futures.as_completed([pool.submit(one, name) for name in names]):
                done.result()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

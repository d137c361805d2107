"""Attacks on the web side: other sites, cookies, logins, sessions, headers, floods, and Gradio's own routes.

Longer than most files: one list of attacks, each a few lines.
"""

from __future__ import annotations

import json
import re
import time
from urllib.parse import urlsplit

from tests.attack import sounds
from tests.attack.registry import Breach, attack, needs, refused
from tests.attack.target import EVIL, Target

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
POSTS = ("/gradio_api/component_server/", "/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/call/merge",
         "/gradio_api/cancel", "/gradio_api/reset")  # fmt: skip
# What Gradio 6 offers and this app does not.
INTERNALS = (
    "/gradio_api/stream/x", "/gradio_api/stream/s/1/2/playlist.m3u8", "/gradio_api/stream/s/1/2/3.ts",
    "/gradio_api/stream/s/1/2/playlist-file", "/monitoring", "/monitoring/summary", "/monitoring/x",
    "/monitoring/x/dashboard", "/gradio_api/deep_link?session_hash=x", "/?deep_link=../../x", "/config?deep_link=x",
    "/gradio_api/dev/reload", "/gradio_api/user", "/gradio_api/token", "/gradio_api/login_check",
    "/gradio_api/custom_component/x/client/component/index.js", "/gradio_api/queue/status", "/gradio_api/runs",
    "/gradio_api/run-history/buckets", "/gradio_api/run-history/records", "/gradio_api/vibe-code",
    "/gradio_api/profiling/traces", "/gradio_api/profiling/summary", "/gradio_api/mcp", "/gradio_api/mcp/sse",
    "/gradio_api/mcp/schema", "/docs", "/redoc", "/openapi.json", "/pwa_icon", "/pwa_icon/192", "/logout",
    "/login/google", "/admin", "/.env", "/.git/config", "/app.py", "/server-status",
)  # fmt: skip
INTERNAL_POSTS = (
    "/gradio_api/stream/x", "/gradio_api/stream/x/close", "/gradio_api/process_recording", "/gradio_api/vibe-edit",
    "/gradio_api/undo-vibe-edit", "/gradio_api/vibe-code", "/gradio_api/vibe-starter-queries",
    "/gradio_api/run-history/connect", "/gradio_api/profiling/clear", "/gradio_api/run/predict",
    "/gradio_api/run/merge", "/gradio_api/api/merge", "/gradio_api/mcp", "/run/predict", "/api/predict", "/upload",
    "/queue/join",
)  # fmt: skip


@attack
def gradio_internals(target: Target) -> str:
    """Reach the routes of Gradio that this app has no use for"""
    person = target.person()
    for path in INTERNALS:
        refused(person.ask("GET", path), "NOT_FOUND", what=path)
    for path in INTERNAL_POSTS:
        refused(person.ask("POST", path, body={}), "NOT_FOUND", what=path)
    for method in ("PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "FROBNICATE"):
        for path in ("/", "/gradio_api/upload", "/config"):
            refused(person.ask(method, path), "NOT_FOUND", "", what=f"{method} {path}")
    return f"{len(INTERNALS) + len(INTERNAL_POSTS)} routes and 6 methods: 404"


@attack
def component_server(target: Target) -> str:
    """Call methods of components that are no server functions (CVE-2024-1561)"""
    person = target.person()
    names = ("__class__", "__init__", "move_resource_to_block_cache", "get_config", "preprocess", "postprocess", "act ",
             "", "__getattribute__", "blocks")  # fmt: skip
    for name in names:
        refused(person.act("x", fn_name=name), what=name)
    for component in (-1, 10**9, "x", None, {}, [], 1.5):
        refused(person.act("x", component_id=component), what=str(component))
    for data in (None, [], "x", 7, {"owner": None}, {"owner": "../../x", "action": "x"}, {"owner": person.owner}):
        told = person.act("x", data=data)
        if told.status == 200 and '"error"' not in told.text:
            raise Breach(f"{data}: {told.text[:200]}")
    for action in ("__import__", "../x", "", None, 7):
        if '"error"' not in person.act(action).text:  # type: ignore[arg-type]
            raise Breach(str(action))
    return f"{len(names)} names, 7 components, 7 payloads, 5 actions refused"


@attack
def cross_origin_post(target: Target) -> str:
    """Post from another site's page: with its origin, a null origin, a look-alike, or only fetch metadata"""
    person = target.person()
    host = target.host
    origins = (EVIL, "null", f"http://{host}.evil.example", f"http://evil.example#{host}", f"http://{host}@evil.example",
               f"http://evil{host}", "file://", f"http://{host.split(':')[0]}:1", "")  # fmt: skip
    for path in POSTS:
        for origin in origins[:-1]:
            reply = person.ask("POST", path, {"Origin": origin}, b"{}")
            refused(reply, "ORIGIN_NOT_ALLOWED", what=f"{path} from {origin}")
        for site in ("cross-site", "same-site"):
            refused(person.ask("POST", path, {"Sec-Fetch-Site": site}, b"{}"), "ORIGIN_NOT_ALLOWED", what=path)
    return f"{len(POSTS)} routes × {len(origins) + 1} origins: 403"


@attack
def csrf_form(target: Target) -> str:
    """Post a form or plain text from another site's page, which needs no preflight"""
    person = target.person()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        for path in POSTS:
            reply = person.ask("POST", path, {"Origin": EVIL, "Content-Type": kind}, b"a=b")
            refused(reply, "ORIGIN_NOT_ALLOWED", what=f"{path} {kind}")
    return "403 for every kind of form"


@attack
def cors_read(target: Target) -> str:
    """Read an answer from another site's page (CVE-2024-47165, CVE-2024-47084)"""
    person = target.person()
    for path in ("/", "/config", "/gradio_api/info", "/gradio_api/queue/data?session_hash=x", "/theme.css", "/nothing"):
        for origin in (EVIL, "null", "http://localhost:1", "http://127.0.0.1:1"):
            for method, more in (("GET", {}), ("OPTIONS", {"Access-Control-Request-Method": "POST"})):
                reply = person.ask(method, path, {"Origin": origin, **more})
                if any(name.lower().startswith("access-control-") for name, _ in reply.headers):
                    raise Breach(f"{method} {path} from {origin}: {reply.headers}")
                refused(reply, what=f"{method} {path} from {origin}")
    return "no Access-Control header for anybody"


@attack
def dns_rebinding(target: Target) -> str:
    """Reach a server without a login under a name of the attacker's, which resolves to it"""
    needs("hosts_checked" in target.planted, "a lab server without login")
    port = target.host.split(":")[-1]
    for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example"):
        refused(target.ask("GET", "/config", {"Host": host}), "HOST_NOT_ALLOWED", what=host)
        refused(target.ask("POST", "/gradio_api/queue/join", {"Host": host, "Origin": f"http://{host}"}, b"{}"),
                "HOST_NOT_ALLOWED", what=host)  # fmt: skip
    return "421 HOST_NOT_ALLOWED"


@attack
def security_headers(target: Target) -> str:
    """Frame the page, sniff its types, inject a script into it: what the headers forbid"""
    for path in ("/", "/config", "/theme.css", "/nothing", "/studio/health"):
        reply = target.ask("GET", path, {"Accept": "text/html"})
        policy = reply.header("content-security-policy")
        scripts = next((part for part in policy.split(";") if "script-src" in part), "")
        if "'unsafe-inline'" in scripts or "*" in scripts or "http" in scripts or "nonce-" not in scripts:
            raise Breach(f"{path}: {scripts}")
        for part in ("default-src 'none'", "frame-ancestors", "base-uri 'self'", "form-action 'self'"):
            if part not in policy:
                raise Breach(f"{path}: no {part}")
        wanted = {"x-content-type-options": "nosniff", "referrer-policy": "same-origin",
                  "cross-origin-resource-policy": "same-origin"}  # fmt: skip
        for name, value in wanted.items():
            if reply.header(name) != value:
                raise Breach(f"{path}: {name} is {reply.header(name)!r}")
        permissions = reply.header("permissions-policy")
        if "microphone=(self)" not in permissions or "camera=()" not in permissions:
            raise Breach(f"{path}: {permissions}")
    policies = [target.ask("GET", "/config").header("content-security-policy") for _ in range(5)]
    if len({nonce for policy in policies for nonce in re.findall(r"nonce-(\w+)", policy)}) != 5:
        raise Breach("a nonce was used twice")
    return "policy with nonces, nosniff, referrer, permissions on every answer"


@attack
def forged_cookie(target: Target) -> str:
    """Get past the login with an invented, emptied or foreign cookie, or with none"""
    needs(target.login, "a login")
    for cookie in ("", "wm_login=", "wm_login=x", "wm_login=" + "A" * 43, "wm_login=null", "wm_login=../../x",
                   "access-token=x", "access-token-unsecure-x=x", "wm_login=a; wm_login=b",
                   "wm_visitor=" + "A" * 43):  # fmt: skip
        headers = {"Cookie": cookie} if cookie else {}
        for path in ("/config", "/", "/gradio_api/info", "/gradio_api/heartbeat/x", "/studio/clips/a/b/c.wav",
                     "/gradio_api/queue/data?session_hash=x", "/gradio_api/call/status/x"):  # fmt: skip
            refused(target.ask("GET", path, headers), "LOGIN_REQUIRED", what=f"{path} {cookie}")
        for path in POSTS:
            refused(target.ask("POST", path, headers, b"{}"), "LOGIN_REQUIRED", what=f"{path} {cookie}")
    return f"401 LOGIN_REQUIRED for 10 cookies × {7 + len(POSTS)} routes"


@attack
def cookie_flags(target: Target) -> str:
    """Steal a cookie by a script or over another site's request: what its flags forbid"""
    answers = [target.ask("GET", "/", {"Accept": "text/html"})]
    if target.login:
        body = f"username={target.login[0]}&password={target.login[1]}"
        answers += [target.ask("POST", door, FORM, body) for door in ("/login", "/studio/login")]
    lines = [value for one in answers for name, value in one.headers if name.lower() == "set-cookie"]
    if len(lines) != len(answers):
        raise Breach(f"{len(lines)} cookies were set")
    wanted = ["HttpOnly", "SameSite=", *(["Secure"] if target.address.startswith("https") else [])]
    for line in lines:
        if not all(flag in line for flag in wanted):
            raise Breach(line)
    return "; ".join(sorted({part.strip() for line in lines for part in line.split(";")[1:]}))


@attack
def brute_force_login(target: Target) -> str:
    """Guess passwords, at both doors, and use the right one while locked out"""
    needs(target.login, "a login")
    assert target.login
    name, password = target.login
    replies = []
    for number in range(12):
        door = ("/login", "/studio/login")[number % 2]
        replies.append(target.ask("POST", door, FORM, f"username={name}&password=wrong-{number}", "127.0.0.9"))
    statuses = [reply.status for reply in replies]
    if 429 not in statuses or any(status not in {401, 429} for status in statuses):
        raise Breach(str(statuses))
    right = target.ask("POST", "/login", FORM, f"username={name}&password={password}", "127.0.0.9")
    if right.status != 429 or not right.header("retry-after"):
        raise Breach(f"the right password: {right.status}")
    elsewhere = target.ask("POST", "/login", FORM, f"username={name}&password={password}", "127.0.0.10")
    if elsewhere.status != 200:
        raise Breach(f"the owner is locked out at another address: {elsewhere.status}")
    for odd in ("", "username=", "username=x", "username=%00&password=x", "username=" + "x" * 9000 + "&password=y" * 3):
        refused(target.ask("POST", "/login", FORM, odd, "127.0.0.11"), what=odd[:30])
    return f"statuses {statuses[:7]}…, locked out with Retry-After {right.header('retry-after')}"


@attack
def proxy_header_spoof(target: Target) -> str:
    """Claim another address, host, scheme or user in a reverse proxy's headers"""
    for header in ("X-Remote-User", "Remote-User", "X-Forwarded-User", target.planted.get("login_header", "X-User")):
        if target.login or "login_header" in target.planted:
            refused(target.ask("GET", "/config", {header: "root"}), "LOGIN_REQUIRED", what=header)
    if "login_header" not in target.planted:
        headers = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "host=evil.example",
                   "X-Forwarded-Prefix": "/evil", "X-Gradio-Server": "https://evil.example",
                   "X-Original-URL": "/gradio_api/runs"}  # fmt: skip
        for path in ("/", "/config"):
            reply = target.ask("GET", path, {**headers, "Accept": "text/html"})
            if "evil" in reply.text.replace(EVIL, "") or "evil" in reply.header("location"):
                raise Breach(f"{path} tells of the forged host")
        for line in (value for name, value in reply.headers if name.lower() == "set-cookie"):
            if "Secure" in line:
                raise Breach("the forged scheme is believed")
    return "no header of a stranger's is believed"


@attack
def rate_flood(target: Target) -> str:
    """Flood the server, with ever new cookies and forged addresses"""
    needs("flood" in target.planted, "low limits")
    seen = []
    for number in range(int(target.planted["flood"]) + 20):
        headers = {"X-Forwarded-For": f"10.9.8.{number % 250}", "Cookie": f"wm_visitor={number:043d}"}
        seen.append(target.ask("GET", "/config", headers, source="127.0.0.7"))
    last = seen[-1]
    if last.status != 429 or last.code != "RATE_LIMITED" or not 1 <= int(last.header("retry-after")) <= 60:
        raise Breach(f"{last.status} {last.code} Retry-After {last.header('retry-after')!r}")
    other = target.ask("GET", "/config", source="127.0.0.8")
    if other.status != 200:
        raise Breach(f"another address suffers: {other.status}")
    let_in = sum(reply.status == 200 for reply in seen)
    return f"{let_in} of {len(seen)} let in, then 429 with Retry-After {last.header('retry-after')}"


@attack
def foreign_session(target: Target) -> str:
    """Listen to, end or use another person's Gradio session by its hash"""
    owner, thief = target.person("owner"), target.person("thief")
    owner.ask("POST", "/gradio_api/queue/join", body={"data": [], "fn_index": 0, "session_hash": owner.session})
    owner.act("history.list")
    paths = [f"/gradio_api/queue/data?session_hash={owner.session}", f"/gradio_api/heartbeat/{owner.session}"]
    for path in paths:
        refused(thief.ask("GET", path), "NOT_FOUND", what=path)
        refused(target.ask("GET", path), "NOT_FOUND", "LOGIN_REQUIRED", what=f"{path} without a cookie")
    for path, body in (("/gradio_api/cancel", {"session_hash": owner.session, "fn_index": 0, "event_id": "x"}),
                       ("/gradio_api/reset", {"session_hash": owner.session, "event_id": "x"}),
                       ("/gradio_api/queue/join", {"data": [], "fn_index": 0, "session_hash": owner.session}),
                       ("/gradio_api/call/status", {"data": [None], "session_hash": owner.session})):  # fmt: skip
        refused(thief.ask("POST", path, body=body), "NOT_FOUND", what=path)
    refused(thief.act("history.list", session_hash=owner.session), "NOT_FOUND", what="component_server")
    return "7 ways refused"


@attack
def foreign_event(target: Target) -> str:
    """Fetch another person's result by its event id"""
    owner, thief = target.person("owner"), target.person("thief")
    begun = owner.ask("POST", "/gradio_api/call/status", body={"data": [None]})
    event = json.loads(begun.body)["event_id"]
    refused(thief.ask("GET", f"/gradio_api/call/status/{event}"), "NOT_FOUND", what="the event")
    if "complete" not in owner.ask("GET", f"/gradio_api/call/status/{event}").text:
        raise Breach("its owner cannot fetch it")
    return "NOT_FOUND for others, good for its owner"


@attack
def foreign_job(target: Target) -> str:
    """Stop, watch or take another person's job and history"""
    owner, thief = target.person("owner"), target.person("thief")
    owner.act("compare.run")
    job = owner.slices().get("job") or {}
    for action in ("job.cancel", "job.pause"):
        told = thief.act(action, {"id": job.get("id"), "paused": True})
        if told.status == 200 and json.loads(told.body).get("result") is True:
            raise Breach(action)
    if thief.slices().get("job", {}) and thief.slices()["job"].get("id") == job.get("id"):
        raise Breach("the job shows on another page")
    for claimed in (owner.owner[:-1], owner.owner.upper(), "", "x" * 22):
        data = {"owner": claimed, "action": "history.list", "payload": {}, "known": {}}
        seen = thief.act("history.list", data=data)
        if job.get("id") and str(job["id"]) in seen.text:
            raise Breach(f"history of {claimed}")
    return "neither stopped nor seen"


@attack
def web_socket(target: Target) -> str:
    """Open a web socket, where no origin is checked"""
    for path in ("/", "/queue/join", "/gradio_api/queue/join", "/gradio_api/queue/data"):
        head = (f"GET {path} HTTP/1.1\r\nHost: {target.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Origin: {EVIL}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                "Sec-WebSocket-Version: 13\r\n\r\n")  # fmt: skip
        found = target.raw(head.encode())
        if b" 101 " in found[:40]:
            raise Breach(f"{path} opened")
    return "4 handshakes refused"


@attack
def header_injection(target: Target) -> str:
    """Put line ends into names and addresses, two hosts or a bad length into a request"""
    person = target.person()
    for name in ("a\rSet-Cookie: stolen=1\r.wav", "a\\r\\nSet-Cookie: stolen=1.wav", 'a"; x="b.wav',
                 "a%0d%0aSet-Cookie: s=1.wav", "\u202egpj.wav"):  # fmt: skip
        reply = person.upload(sounds.tone(), name)
        if "stolen" in reply.header("set-cookie"):
            raise Breach(name)
        refused(reply, what=name) if reply.status not in {200, 0} else None
    for path in ("/%0d%0aSet-Cookie:%20stolen=1", "/gradio_api/heartbeat/%0d%0aX:1", "/studio/login?lang=%0d%0aX:1"):
        if "stolen" in person.ask("GET", path).header("set-cookie"):
            raise Breach(path)
    host = target.host
    for head in (f"GET /config HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\n\r\n",
                 f"GET /config HTTP/1.1\r\nHost: {host}/../evil\r\n\r\n", "GET /config HTTP/1.1\r\nHost: a b\r\n\r\n",
                 f"POST {POSTS[1]} HTTP/1.1\r\nHost: {host}\r\nContent-Length: -1\r\n\r\n{{}}",
                 f"POST {POSTS[1]} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{{}}",
                 f"POST {POSTS[1]} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n"
                 "Transfer-Encoding: x\r\n\r\nzz\r\n"):  # fmt: skip
        found = target.raw(head.encode(), 2.0)
        if found[:20].split(b" ")[1:2] == [b"200"]:
            raise Breach(f"{head[:80]!r}: {found[:80]!r}")
    return "no header of ours, 6 malformed requests refused"


@attack
def open_redirect(target: Target) -> str:
    """Make a link of the server lead to another site"""
    for path in ("//evil.example", "//evil.example/..", "/\\evil.example", "///evil.example/", "/.evil.example",
                 "/login?next=//evil.example", "/studio/login?next=https://evil.example", "/%2f%2fevil.example/",
                 "/config//evil.example/", "/logout?redirect=//evil"):  # fmt: skip
        reply = target.ask("GET", path, {"Accept": "text/html"})
        where = urlsplit(reply.header("location"))
        if where.netloc and where.netloc != target.host:
            raise Breach(f"{path} leads to {reply.header('location')}")
    return "10 links stay here"


@attack
def reflected_script(target: Target) -> str:
    """Get a script back in a page: by the address, by a host's name, by a file's name, by a recipe"""
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>${alert(3)}"
    person = target.person()
    quoted = "".join(f"%{byte:02x}" for byte in evil.encode())
    for path in (f"/?lang={quoted}", f"/?__theme={quoted}", f"/{quoted}", f"/studio/login?lang={quoted}",
                 f"/config?page={quoted}", f"/?recipe={quoted}"):  # fmt: skip
        reply = person.ask("GET", path, {"Accept": "text/html"})
        if "alert(1)" in reply.text or "onerror=alert" in reply.text:
            raise Breach(path)
    path = person.path_of(sounds.tone(0.55), "a.wav")
    told = person.act("clips.add", {"path": path, "name": evil})
    if "json" not in told.header("content-type") or told.header("x-content-type-options") != "nosniff":
        raise Breach("a name comes back as something else than JSON")
    page = person.upload(b"<script>alert(1)</script>", "x.html", "text/html")
    if "application/json" not in page.header("content-type"):
        raise Breach("an upload comes back as a page")
    return "6 addresses echo nothing; names come back as JSON with nosniff"


@attack
def open_streams(target: Target) -> str:
    """Hold more connections open than one address may"""
    needs("streams" in target.planted, "low limits")
    import socket

    host, port = target.host.split(":")
    held, statuses = [], []
    try:
        for number in range(int(target.planted["streams"]) + 3):
            wire = socket.create_connection((host, int(port)), 60, ("127.0.0.6", 0))
            held.append(wire)
            wire.sendall(f"GET /gradio_api/heartbeat/flood{number} HTTP/1.1\r\nHost: {target.host}\r\n\r\n".encode())
            statuses.append(int(wire.recv(200).split(b" ")[1]))
    finally:
        for wire in held:
            wire.close()
    if statuses[-1] != 429 or statuses[0] != 200:
        raise Breach(str(statuses))
    deadline = time.monotonic() + 60
    while target.ask("GET", "/gradio_api/heartbeat/after", source="127.0.0.6").status != 200:
        if time.monotonic() > deadline:
            raise Breach("connections that were closed are still counted")
        time.sleep(0.3)
    return f"{statuses.count(200)} held, the next ones 429; closed ones are forgotten"

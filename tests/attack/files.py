"""Attacks on files: the server's own, other people's, hostile audio, archives and models.

Longer than most files: one list of attacks, each a few lines.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote

from tests.attack import sounds
from tests.attack.registry import Breach, attack, needs, refused
from tests.attack.target import Target

SECRET_FILES = ("/etc/passwd", "/proc/self/environ", "/proc/self/cmdline", str(Path("app.py").resolve()))
MARKS = (b"root:", b"PATH=", b"import argparse", b"SQLite format 3")
RECIPE = {"method": "direct", "parameters": {"direct_alpha": 0.5}}
META = {"_type": "gradio.FileData"}


@contextmanager
def canary() -> Iterator[tuple[str, list[str]]]:
    """(address, paths asked for) of a server that must not be asked for anything."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(sounds.tone())

        do_HEAD = do_POST = do_GET

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


@attack
def path_traversal(target: Target) -> str:
    """Read the server's files through its file and asset routes, with dots plain, encoded and doubled"""
    person = target.person()
    dots = ("../" * 12, "%2e%2e/" * 12, "..%2f" * 12, "%252e%252e%252f" * 12, "....//" * 12, "..\\" * 12)
    paths = [f"/gradio_api/file={file}" for file in SECRET_FILES]
    paths += [f"/gradio_api/file={quote(file, safe='')}" for file in SECRET_FILES]
    paths += [f"/file{sign}{file}" for sign in "=/" for file in SECRET_FILES]
    routes = ("/static/", "/assets/", "/svelte/", "/gradio_api/file/", "/studio/", "/gradio_api/custom_component/",
              "/theme.css/", "/")  # fmt: skip
    paths += [f"{route}{up}etc/passwd" for route in routes for up in dots]
    paths += ["/gradio_api/file=data/history.sqlite", "/data/history.sqlite", "/static/..%00/etc/passwd", "/%00"]
    for path in paths:
        reply = person.ask("GET", path)
        if any(mark in reply.body for mark in MARKS):
            raise Breach(f"{path} gave {reply.body[:80]!r}")
        refused(reply, what=path)
    return f"{len(paths)} paths refused"


@attack
def file_urls(target: Target) -> str:
    """Name a file of the server as the uploaded recording (CVE-2024-0964 and its successors)"""
    person = target.person()
    names = [*SECRET_FILES, "file:///etc/passwd", "../../../../etc/passwd", "/tmp/gradio/../../etc/passwd", "app.py",
             "~/x", "/ETC/PASSWD", "\\\\host\\share", "/dev/zero", "/proc/self/fd/0"]  # fmt: skip
    for name in names:
        for given in ({"path": name, "meta": META}, {"path": name}, {"path": name, "orig_name": "a.wav", "meta": META}):
            told = person.call("compare", [given, RECIPE, None])
            if "error" not in told and "detail" not in told:
                raise Breach(f"{name}: {told[:200]}")
        refused(person.act("clips.add", {"path": name, "name": "x.wav"}), "NOT_FOUND", "URL_NOT_ALLOWED", what=name)
    return f"{len(names)} names refused"


@attack
def ssrf_by_file_data(target: Target) -> str:
    """Make the server fetch an address by naming it as a file (CVE-2024-4325, CVE-2024-47167)"""
    person = target.person()
    with canary() as (address, asked):
        for given in (
            {"path": f"{address}/a.wav", "meta": META},
            {"path": "a.wav", "url": f"{address}/b.wav", "meta": META},
            {"path": None, "url": f"{address}/c.wav", "meta": META},
            {"url": f"{address}/d.wav", "meta": META},
            {"path": f"//{address.removeprefix('http://')}/e.wav", "meta": META},
            {"path": f"HTTP://{address.removeprefix('http://')}/f.wav", "meta": META},
        ):
            told = person.call("compare", [given, RECIPE, None])
            if "error" not in told and "detail" not in told:
                raise Breach(f"{given}: {told[:200]}")
            person.act("clips.add", {**given, "name": "x.wav"})
            person.ask("POST", "/gradio_api/queue/join",
                       body={"data": [given, RECIPE, None], "fn_index": 0, "session_hash": person.session})  # fmt: skip
        if asked:
            raise Breach(f"the server asked for {asked}")
    return "6 forms, the address was not asked"


@attack
def ssrf_by_routes(target: Target) -> str:
    """Use the proxy and file routes to reach an address (CVE-2024-1183, CVE-2024-8021)"""
    person = target.person()
    with canary() as (address, asked):
        bare = address.removeprefix("http://")
        paths = [f"/gradio_api/proxy={address}/x", f"/proxy={address}/x", f"/gradio_api/file={address}/x",
                 f"/file={address}/x", f"/gradio_api/file=//{bare}/x", f"//{bare}/x", f"/gradio_api/proxy=//{bare}",
                 f"/gradio_api/stream/{bare}", f"/static//{bare}/x"]  # fmt: skip
        for path in paths:
            for method in ("GET", "HEAD"):
                reply = person.ask(method, path)
                refused(reply, what=path)
                if bare in reply.header("location"):
                    raise Breach(f"{path} redirects to {reply.header('location')}")
        if asked:
            raise Breach(f"the server asked for {asked}")
    return f"{len(paths)} paths refused, the address was not asked"


@attack
def ssrf_by_playlist(target: Target) -> str:
    """Upload a playlist that names an address, under audio names"""
    person = target.person()
    with canary() as (address, asked):
        for name in ("a.wav", "a.m3u8", "a.mp3"):
            path = person.path_of(sounds.playlist(f"{address}/x.ts"), name)
            refused(person.act("clips.add", {"path": path, "name": name}), "BAD_AUDIO", what=name)
        if asked:
            raise Breach(f"the server asked for {asked}")
    return "3 names, BAD_AUDIO, the address was not asked"


@attack
def foreign_upload(target: Target) -> str:
    """Read or use another person's upload, its path being known"""
    owner, thief = target.person("owner"), target.person("thief")
    path = owner.path_of(sounds.tone(), "private.wav")
    for asked in (f"/gradio_api/file={path}", f"/file={path}", f"/gradio_api/file/{path}", path):
        refused(thief.ask("GET", asked), what=asked)
        refused(owner.ask("GET", asked), what=f"{asked} by its owner")
    refused(thief.act("clips.add", {"path": path, "name": "x.wav"}), "NOT_FOUND", what="clips.add")
    told = thief.call("compare", [{"path": path, "meta": META}, RECIPE, None])
    if "NOT_FOUND" not in told:
        raise Breach(f"/compare: {told[:200]}")
    if owner.act("clips.add", {"path": path, "name": "mine.wav"}).code:
        raise Breach("the owner cannot use the upload")
    return "refused for others, good for its owner"


@attack
def guessed_upload(target: Target) -> str:
    """Find another person's upload by what it holds: Gradio names folders by the content's hash"""
    one, other = target.person(), target.person()
    data = sounds.tone(0.7)
    paths = {person.path_of(data, "same.wav") for person in (one, other)}
    if len(paths) != 2:
        raise Breach("two people's uploads share a path")
    return "equal files get unequal paths"


@attack
def foreign_clip(target: Target) -> str:
    """Hear another person's recording: by its id, by its address with another owner, by a forged signature"""
    owner, thief = target.person("owner"), target.person("thief")
    owner.act("clips.add", {"path": owner.path_of(sounds.tone(0.6)), "name": "private.wav"})
    clip = owner.slices()["clip"]
    for action, payload in (("clips.choose", {"id": clip["id"]}), ("clips.forget", {"id": clip["id"]})):
        refused(thief.act(action, payload), "NOT_FOUND", what=action)
    _, _, folder, clip_id, name = ("/" + clip["url"]).split("/")[-5:]
    forged = (f"{'0' * 24}/{clip_id}/{name}", f"{folder}/{clip_id}/{'0' * 32}.wav", f"{folder}/{clip_id}/.wav",
              f"{folder}/../{folder}/{clip_id}/{name}")  # fmt: skip
    for path in (f"/studio/clips/{end}" for end in forged):
        refused(thief.ask("GET", path), "NOT_FOUND", what=path)
    return "4 addresses and 2 actions refused"


@attack
def oversize_upload(target: Target) -> str:
    """Upload more than is accepted: announced, and without an announcement"""
    person = target.person()
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    announced = person.ask("POST", "/gradio_api/upload", {**headers, "Content-Length": "1000000000000"}, b"--x")
    refused(announced, "REQUEST_TOO_LARGE", what="a terabyte")
    if "upload_limit" in target.planted:
        size = int(target.planted["upload_limit"]) + 500_000
        refused(person.upload(bytes(size)), "REQUEST_TOO_LARGE", what="a file above the limit")
        form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.wav"\r\n\r\n'
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (form, bytes(size)))
        head = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {target.host}\r\nTransfer-Encoding: chunked\r\n"
        found = target.raw(f"{head}Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + chunks)
        if b" 413 " not in found[:40] and found:
            raise Breach(f"unannounced: {found[:200]!r}")
    return "413 REQUEST_TOO_LARGE"


@attack
def oversize_request(target: Target) -> str:
    """Send a huge or bottomless JSON request"""
    person = target.person()
    where, kind = "/gradio_api/queue/join", {"Content-Type": "application/json"}
    endless = person.ask("POST", where, {**kind, "Content-Length": "99000000000"}, b"{")
    refused(endless, "REQUEST_TOO_LARGE", what="99 GB")
    for body in (b"[" * 200_000, b'{"a":' * 100_000, b'{"session_hash":{}}', b'{"session_hash":"' + b"x" * 5000 + b'"}',
                 b"\xff\xfe", b"[]", b"null", b'{"data":[' + b"1," * 50 + b"]}"):  # fmt: skip
        refused(person.ask("POST", where, kind, body), "BAD_REQUEST", what=str(body[:20]))
    return "413 and 400"


@attack
def decompression_bomb(target: Target) -> str:
    """Upload hours of silence packed into a small FLAC file, and a header that promises gigabytes"""
    person = target.person()
    bomb = sounds.silence(2.0)
    path = person.path_of(bomb, "bomb.flac")
    seen = refused(person.act("clips.add", {"path": path, "name": "bomb.flac"}), "AUDIO_TOO_LONG", what="silence")
    boast = person.path_of(sounds.boastful_wav(), "boast.wav")
    refused(person.act("clips.add", {"path": boast, "name": "boast.wav"}), "BAD_AUDIO", what="the header")
    return f"{len(bomb) // 1000} kB of FLAC: {seen}"


@attack
def pickled_model(target: Target) -> str:
    """Open a model whose weights are a pickle that runs code"""
    needs("pickle" in target.planted, "a planted model")
    person = target.person()
    told = person.call("merge", [RECIPE, target.planted["pickle"], "b", None])
    if "UNSAFE_FORMAT" not in told:
        raise Breach(told[:300])
    if Path(target.planted["pickle_proof"]).exists():
        raise Breach("the pickle's code has run")
    return "UNSAFE_FORMAT, its code has not run"


@attack
def linked_model(target: Target) -> str:
    """Open a model folder that is, or whose files are, links out of the allowed roots"""
    needs("links" in target.planted, "planted links")
    person = target.person()
    for name in target.planted["links"].split(","):
        told = person.call("merge", [RECIPE, name, "b", None])
        if "PATH_NOT_ALLOWED" not in told:
            raise Breach(f"{name}: {told[:300]}")
    return f"PATH_NOT_ALLOWED for {target.planted['links']}"


@attack
def model_paths(target: Target) -> str:
    """Name a model outside the roots, or by a Hub id of odd form"""
    person = target.person()
    names = ["/etc", "/", "..", "../..", "a/../../..", "/proc/self/root/etc", "~", "~root", "file:///etc", "a/b/c",
             "a//b", "http://evil.example/m", "../../etc/passwd", "a/b@main", "a/b?x=1", "-/-", "a/..",
             "./a/../../../etc", "\u202egpj/..", "CON/NUL", "a\nb/c", "%2e%2e/%2e%2e", "a/b\u0000",
             "a" * 5000, "x/" + "y" * 300]  # fmt: skip
    for name in names:
        told = person.call("merge", [RECIPE, name, "b", None])
        if ("error" not in told and "detail" not in told) or "INTERNAL" in told or leaks(told.replace(name, "")):
            raise Breach(f"{name!r}: {told[:200]}")
        chosen = person.act("models.choose", {"role": "a", "ref": name})
        if chosen.code == "INTERNAL" or leaks(chosen.text.replace(name, "")):
            raise Breach(f"models.choose {name!r}: {chosen.text[:300]}")
    return f"{len(names)} names refused"


@attack
def export_name(target: Target) -> str:
    """Export to a folder outside the export root"""
    person = target.person()
    names = ["../out", "/tmp/out", "a/b", "..", ".hidden", "a\\b", "x\r\nSet-Cookie: a=b", "a\0b", "~/x", "c:x",
             "x" * 300]  # fmt: skip
    for name in names:
        told = person.call("export", [RECIPE, name, None, None, None])
        if "BAD_RECIPE" not in told and "BAD_ARGUMENT" not in told and "merge-" not in told:
            raise Breach(f"{name!r}: {told[:200]}")
    for name in ("../../../etc/passwd", "/etc/passwd", "..", ""):
        refused(person.act("export.file", {"name": name}), "NOT_FOUND", what=name)
    return f"{len(names)} names refused"


@attack
def zip_slip(target: Target) -> str:
    """Unpack an archive whose names lead out, whose files are links, or that grows without end"""
    from evaluation.archive import ArchiveLimits, unpack
    from evaluation.errors import BadManifest

    hostile = {
        "slip": sounds.zip_of({"../evil.jsonl": b"{}"}),
        "absolute": sounds.zip_of({"/tmp/evil.jsonl": b"{}"}),
        "windows": sounds.zip_of({"..\\evil.jsonl": b"{}", "C:\\evil.jsonl": b"{}"}),
        "link": sounds.zip_of({"m.jsonl": b"/etc/passwd"}, 0o120777),
        "device": sounds.zip_of({"m.jsonl": b"{}"}, 0o020666),
        "bomb": sounds.zip_of({"m.jsonl": b"{}", "zeros": bytes(40 * sounds.ZEROS)}),
        "many": sounds.zip_of({f"{number}": b"" for number in range(400)}),
        "lines": sounds.zip_of({"m.jsonl": b"{}\n" * 400}),
        "nested": sounds.zip_of({"inner.zip": sounds.zip_of({"m.jsonl": b"{}"})}),
        "no zip": b"PK\x03\x04" + bytes(100),
    }
    limits = ArchiveLimits(max_files=300, max_bytes=200_000_000, max_ratio=50, max_lines=300)
    with tempfile.TemporaryDirectory() as folder:
        for name, data in hostile.items():
            archive = Path(folder) / "a.zip"
            archive.write_bytes(data)
            try:
                unpack(archive, Path(folder) / "in" / "out", limits)
            except BadManifest:
                left = [file for file in Path(folder).rglob("*") if file.is_file() and file != archive]
                if left:
                    raise Breach(f"{name} left {left}") from None
            else:
                raise Breach(f"{name} was unpacked")
    return f"{len(hostile)} archives refused, nothing left behind"


@attack
def csv_injection(target: Target) -> str:
    """Give a model or system a name that a spreadsheet would run"""
    from evaluation.report.files import _plain
    from ui.blind import csv_cell

    for formula in ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"):
        for cell in (_plain(formula), csv_cell(formula)):
            if cell.lstrip('"')[:1] in "=+-@\t\r":
                raise Breach(f"{formula!r} is written as {cell!r}")
    return "6 formulas are written as text"


def leaks(text: str) -> list[str]:
    """Traces of the server's inside in an answer."""
    checkout = str(Path(__file__).resolve().parents[2])
    own = (checkout, os.path.expanduser("~") + "/", tempfile.gettempdir() + "/")
    return [mark for mark in ("Traceback", 'File "', 'File \\"', "site-packages", "/home/", *own) if mark in text]

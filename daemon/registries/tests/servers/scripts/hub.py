"""A stand-in for the Hugging Face Hub: python3 hub.py PORT TOKEN FOLDER [STORE]

The routes that the official client uses to create a repository, upload a folder by LFS or inside the commit, tag it and
download it again. It is as strict as the Hub where it matters: nothing without the token, no object whose SHA-256 is not
the announced one, no commit of an object that never arrived, no base64 of what it wants by LFS. Objects over 8 MB go in
parts, the others in one piece; neither URL wants the token, as the Hub's signed ones do not.

With the URL of a Xet store, whoever can sends large files there, and what is in it counts by its content alone. Tokens for
the store expire so soon that each client has to ask for new ones.
"""

import base64
import contextlib
import hashlib
import itertools
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from urllib.request import urlopen

PORT, TOKEN, FOLDER = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
URL = f"http://127.0.0.1:{PORT}"
CHUNK_BYTES = 8_000_000
LFS_SUFFIXES = (".safetensors", ".bin", ".gguf")
PAGE_ENTRIES = 2
REPOSITORIES: dict[str, dict] = {}
STORE = sys.argv[4] if len(sys.argv) > 4 else None
XET_TOKEN_SECONDS = 20
XET_TOKENS = itertools.count(1)
XET_HASHES: dict[str, str] = {}


class Refusal(Exception):
    """A status and a sentence."""


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def xet_hash(sha256: str) -> str | None:
    """By which the Xet store knows a file of this content; a store that does not answer knows none."""
    if STORE and sha256 not in XET_HASHES:
        with contextlib.suppress(OSError):
            for entry in json.load(urlopen(f"{STORE}/simulation/file_entries")):
                name = "".join(f"{word:016x}" for word in entry["file_hash"])
                if name not in XET_HASHES.values():
                    XET_HASHES[hashlib.sha256(xet_content(name)).hexdigest()] = name
    return XET_HASHES.get(sha256)


def xet_content(name: str) -> bytes:
    return urlopen(f"{STORE}/simulation/files/{name}/data").read()


def wants_lfs(path: str, size: int) -> bool:
    return size > 0 and (path.endswith(LFS_SUFFIXES) or size > 10_000_000)


def files_at(repository: dict, revision: str) -> tuple[str, dict]:
    """The commit that a revision names, and its files."""
    commit = repository["tags"].get(revision, revision)
    if revision == "main":
        commit = next(reversed(repository["commits"]))
    if commit not in repository["commits"]:
        raise Refusal(404, "Revision not found")
    return commit, repository["commits"][commit]


def entry_of(path: str, file: dict) -> dict:
    entry = {"type": "file", "path": path, "size": file["size"], "oid": file["oid"]}
    if file["lfs"]:
        entry["lfs"] = {"oid": file["sha256"], "size": file["size"], "pointerSize": 134}
        if (name := xet_hash(file["sha256"])):
            entry["xetHash"] = name
    return entry


def commit(repository: dict, lines: list[dict]) -> str:
    """A new commit of the files that the lines name."""
    files = dict(next(reversed(repository["commits"].values())))
    for line in lines[1:]:
        value = line["value"]
        path = value["path"]
        if line["key"] == "deletedFile":
            files.pop(path)
        elif line["key"] == "lfsFile":
            if not (FOLDER / value["oid"]).exists() and not xet_hash(value["oid"]):
                raise Refusal(422, f"LFS object {value['oid']} of {path} was never uploaded")
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{value['oid']}\nsize {value['size']}\n"
            files[path] = {"lfs": True, "sha256": value["oid"], "size": value["size"], "oid": git_oid(pointer.encode())}
        else:
            content = base64.b64decode(value["content"])
            if wants_lfs(path, len(content)):
                raise Refusal(422, f"{path} has to be uploaded by LFS")
            sha256 = hashlib.sha256(content).hexdigest()
            (FOLDER / sha256).write_bytes(content)
            files[path] = {"lfs": False, "sha256": sha256, "size": len(content), "oid": git_oid(content)}
    name = hashlib.sha1(json.dumps([len(repository["commits"]), files]).encode()).hexdigest()
    repository["commits"][name] = files
    repository["messages"].append(lines[0]["value"]["summary"])
    return name


def lfs_object(repository: str, wanted: dict, is_xet: bool) -> dict:
    """What an uploader has to do for an object."""
    oid, size = wanted["oid"], wanted["size"]
    if (FOLDER / oid).exists() or xet_hash(oid):
        return {"oid": oid, "size": size}
    if is_xet:
        href = f"{URL}/api/models/{repository}/xet-write-token/main"
        return {"oid": oid, "size": size, "actions": {"upload": {"href": href, "header": xet_access()[1]}}}
    upload = {"href": f"{URL}/store/{oid}?signature=x"}
    if size > CHUNK_BYTES:
        parts = range(1, -(-size // CHUNK_BYTES) + 1)
        header = {f"{part:05}": f"{URL}/store/{oid}.{part}?signature=x" for part in parts}
        upload = {"href": f"{URL}/complete/{oid}", "header": {"chunk_size": str(CHUNK_BYTES), **header}}
    verify = {"href": f"{URL}/{repository}.git/info/lfs/verify"}
    return {"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}}


def xet_access() -> tuple[dict, dict]:
    """Access to the Xet store: as JSON, and as header fields."""
    token, expires = f"xet-{next(XET_TOKENS)}", int(time.time()) + XET_TOKEN_SECONDS
    fields = {"X-Xet-Cas-Url": STORE, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expires)}
    return {"casUrl": STORE, "accessToken": token, "exp": expires}, fields


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def handle_one(self) -> None:
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        try:
            if parts[0] not in ("store", "complete", "bridge") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise Refusal(401, "Invalid username or password.")
            self.route(parts, parse_qs(url.query))
        except Refusal as refusal:
            status, message = refusal.args
            code = {"X-Error-Code": "RepoNotFound"} if message == "Repository not found" else {}
            self.answer({"error": message}, status, **code)

    do_GET = do_HEAD = do_POST = do_PUT = handle_one

    def json(self):
        return json.loads(self.body)

    def route(self, parts: list[str], query: dict) -> None:
        match [self.command, *parts]:
            case ["POST", "api", "repos", "create"]:
                wanted = self.json()
                name = f"{wanted['organization']}/{wanted['name']}"
                if name in REPOSITORIES:
                    self.answer({"error": "You already created this model repo", "url": f"{URL}/{name}"}, 409)
                    return
                is_private = wanted.get("private", wanted.get("visibility") == "private")
                first = hashlib.sha1(name.encode()).hexdigest()
                REPOSITORIES[name] = {"commits": {first: {}}, "tags": {}, "messages": ["initial commit"], "private": is_private}
                self.answer({"url": f"{URL}/{name}", "name": name, "id": name})
            case ["POST", "api", "validate-yaml"]:
                self.answer({"errors": [], "warnings": []})
            case [_, "api", "models", owner, name, *call]:
                self.model(f"{owner}/{name}", call, query)
            case ["GET" | "HEAD", owner, name, "resolve", revision, *path]:
                self.resolve(f"{owner}/{name}", revision, "/".join(path))
            case ["POST", owner, name, "info", "lfs", "objects", "batch"] if name.endswith(".git"):
                is_xet = bool(STORE) and "xet" in self.json()["transfers"]
                objects = [lfs_object(f"{owner}/{name[:-4]}", wanted, is_xet) for wanted in self.json()["objects"]]
                self.answer({"transfer": "xet" if is_xet else "multipart", "objects": objects})
            case ["POST", _, _, "info", "lfs", "verify"]:
                wanted = self.json()
                place = FOLDER / wanted["oid"]
                if not place.exists() or place.stat().st_size != wanted["size"]:
                    raise Refusal(404, "Object not found")
                self.answer({})
            case ["GET", "bridge", name]:
                self.send_file(xet_content(name), {"ETag": f'"{name}"'})
            case ["PUT", "store", name]:
                sha256 = hashlib.sha256(self.body).hexdigest()
                if "." not in name and sha256 != name:
                    raise Refusal(422, f"the content has SHA-256 {sha256}")
                (FOLDER / name).write_bytes(self.body)
                self.answer({}, ETag=f'"{sha256}"')
            case ["POST", "complete", oid]:
                pieces = [FOLDER / f"{oid}.{part['partNumber']}" for part in self.json()["parts"]]
                content = b"".join(piece.read_bytes() for piece in pieces)
                if hashlib.sha256(content).hexdigest() != oid:
                    raise Refusal(422, "the parts are not the object")
                (FOLDER / oid).write_bytes(content)
                self.answer({"success": True})
            case _:
                raise Refusal(404, f"no route {self.command} {self.path}")

    def model(self, name: str, call: list[str], query: dict) -> None:
        repository = REPOSITORIES.get(name)
        if repository is None:
            raise Refusal(404, "Repository not found")
        match [self.command, *call]:
            case ["POST", "preupload", "main"]:
                mode = lambda file: "lfs" if wants_lfs(file["path"], file["size"]) else "regular"  # noqa: E731
                files = [{"path": file["path"], "uploadMode": mode(file), "shouldIgnore": False} for file in self.json()["files"]]
                self.answer({"files": files})
            case ["POST", "commit", "main"]:
                oid = commit(repository, [json.loads(line) for line in self.body.splitlines()])
                self.answer({"success": True, "commitOid": oid, "commitUrl": f"{URL}/{name}/commit/{oid}", "hookOutput": ""})
            case ["GET", "xet-read-token" | "xet-write-token", _] if STORE:
                body, fields = xet_access()
                self.answer(body, **fields)
            case ["POST", "tag", revision]:
                tag = self.json()["tag"]
                if tag in repository["tags"]:
                    raise Refusal(409, "Tag reference exists already")
                repository["tags"][tag] = files_at(repository, revision)[0]
                self.answer({})
            case ["GET", "refs"]:
                head = next(reversed(repository["commits"]))
                tag = lambda it: {"name": it[0], "ref": f"refs/tags/{it[0]}", "targetCommit": it[1]}  # noqa: E731
                branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": head}
                self.answer({"branches": [branch], "converts": [], "tags": [tag(it) for it in repository["tags"].items()]})
            case ["GET"] | ["GET", "revision", _]:
                oid, files = files_at(repository, call[1] if call else "main")
                siblings = [{"rfilename": path} for path in sorted(files)]
                self.answer({"_id": name, "id": name, "modelId": name, "sha": oid, "private": repository["private"], "siblings": siblings, "tags": []})
            case ["GET", "tree", revision, *_]:
                entries = [entry_of(path, file) for path, file in sorted(files_at(repository, revision)[1].items())]
                start = int(query.get("cursor", ["0"])[0])
                end = start + PAGE_ENTRIES
                path = urlsplit(self.path).path
                link = {"Link": f'<{URL}{path}?recursive=true&cursor={end}>; rel="next"'} if end < len(entries) else {}
                self.answer(entries[start:end], **link)
            case ["GET", "commits", "main"]:
                pairs = zip(repository["commits"], repository["messages"])
                commits = [{"id": oid, "title": title, "message": "", "authors": [], "date": "2026-01-01T00:00:00.000Z"} for oid, title in pairs]
                self.answer(commits[::-1])
            case _:
                raise Refusal(404, f"no route {self.command} {self.path}")

    def resolve(self, name: str, revision: str, path: str) -> None:
        repository = REPOSITORIES.get(name)
        if repository is None:
            raise Refusal(404, "Repository not found")
        oid, files = files_at(repository, revision)
        if path not in files:
            self.answer({"error": "Entry not found"}, 404, **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": oid})
            return
        file = files[path]
        etag = file["sha256"] if file["lfs"] else file["oid"]
        fields = {"ETag": f'"{etag}"', "X-Repo-Commit": oid}
        if file["lfs"]:
            fields |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(file["size"])}
        if (FOLDER / file["sha256"]).exists():
            self.send_file((FOLDER / file["sha256"]).read_bytes(), fields)
            return
        xet = xet_hash(file["sha256"])
        route = f"{URL}/api/models/{name}/xet-read-token/{oid}"
        fields |= {"X-Xet-Hash": xet, "X-Xet-Refresh-Route": route, "Location": f"{URL}/bridge/{xet}"}
        self.send(b"", 302, "text/plain", {**fields, "Link": f'<{route}>; rel="xet-auth"'})

    def send_file(self, content: bytes, fields: dict) -> None:
        first, status, more = 0, 200, {}
        if (wanted := self.headers.get("Range", "")).startswith("bytes="):
            first, status = int(wanted[6:].split("-")[0]), 206
            more = {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
        self.send(content[first:], status, "application/octet-stream", {**fields, "Accept-Ranges": "bytes", **more})

    def answer(self, value, status: int = 200, **headers: str) -> None:
        self.send(json.dumps(value).encode(), status, "application/json", headers)

    def send(self, body: bytes, status: int, kind: str, headers: dict) -> None:
        self.send_response(status)
        for field, value in {**headers, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(field, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()

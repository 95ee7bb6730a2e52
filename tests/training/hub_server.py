"""A server that speaks the part of the hub's API that `load_dataset` uses, over a real socket.

Files of a repository lie in one folder per branch. Run as a program in its own process, because the
hub's address is read when its library is first imported.
"""

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse


@contextmanager
def hub(repository: str, branches: dict[str, Path]) -> Iterator[str]:
    """Serve `branches` (branch name → folder) of one dataset repository; yields the address."""
    handler = type("Handler", (_Hub,), {"repository": repository, "branches": branches})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def hub_folder(folder: Path, train: list[tuple[str, str]], test: list[tuple[str, str]]) -> Path:
    """A dataset repository as the hub stores it: parquet files, labels as numbers, no script."""
    import datasets

    names = sorted({label for _, label in train})
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)}
    )
    splits = {
        split: datasets.Dataset.from_dict(
            {"text": [text for text, _ in rows], "label": [names.index(label) for _, label in rows]},
            features=features,
        )
        for split, rows in (("train", train), ("test", test))
    }
    (folder / "data").mkdir(parents=True)
    for split, data in splits.items():
        data.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


class _Hub(http.server.BaseHTTPRequestHandler):
    repository: str
    branches: dict[str, Path]

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self._route(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _route(self, body: bytes = b"") -> None:
        path = unquote(urlparse(self.path).path)
        for prefix, answer in (
            (f"/datasets/{self.repository}/resolve/", self._file),
            (f"/api/datasets/{self.repository}/tree/", self._tree),
            (f"/api/datasets/{self.repository}/paths-info/", self._paths),
            (f"/api/datasets/{self.repository}", self._info),
        ):
            if path.startswith(prefix):
                answer(path.removeprefix(prefix), body)
                return
        self._missing("RepoNotFound")

    def _branch(self, rest: str) -> tuple[str, str] | None:
        """The branch that a path begins with (by name or commit), and what follows it."""
        for name in self.branches:
            for spelling in (name, _commit(name)):
                if rest == spelling or rest.startswith(spelling + "/"):
                    return name, rest[len(spelling) :].strip("/")
        return None

    def _info(self, rest: str, _: bytes) -> None:
        found = self._branch(rest.removeprefix("/revision/") if rest else "main")
        if found is None:
            self._missing("RevisionNotFound")
            return
        files = [{"rfilename": entry["path"]} for entry in self._entries(found[0]) if entry["type"] == "file"]
        self._json(
            {
                "id": self.repository,
                "author": self.repository.split("/")[0],
                "sha": _commit(found[0]),
                "private": False,
                "gated": False,
                "disabled": False,
                "downloads": 0,
                "likes": 0,
                "tags": [],
                "siblings": files,
            }
        )

    def _tree(self, rest: str, _: bytes) -> None:
        found = self._branch(rest)
        entries = self._entries(found[0]) if found else []
        below = found[1] if found else ""
        if found is None or (below and not (self.branches[found[0]] / below).is_dir()):
            self._missing("EntryNotFound")
            return
        recursive = parse_qs(urlparse(self.path).query).get("recursive", ["false"])[0].lower() == "true"
        inside = [e for e in entries if not below or e["path"].startswith(below + "/")]
        depth = len(Path(below).parts) + 1
        self._json([e for e in inside if recursive or len(Path(e["path"]).parts) == depth])

    def _paths(self, rest: str, body: bytes) -> None:
        found = self._branch(rest)
        wanted = _wanted(body)
        self._json([e for e in self._entries(found[0]) if e["path"] in wanted] if found else [])

    def _file(self, rest: str, _: bytes) -> None:
        found = self._branch(rest)
        path = self.branches[found[0]] / found[1] if found else None
        if found is None or path is None or not path.is_file():
            self._missing("EntryNotFound")
            return
        content = path.read_bytes()
        self.send_response(HTTPStatus.OK)
        self.send_header("X-Repo-Commit", _commit(found[0]))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _entries(self, branch: str) -> list[dict[str, Any]]:
        folder, entries = self.branches[branch], []
        for path in sorted(folder.rglob("*")):
            entry: dict[str, Any] = {"path": path.relative_to(folder).as_posix()}
            if path.is_dir():
                entries.append(entry | {"type": "directory", "oid": "0" * 40, "size": 0})
                continue
            size = path.stat().st_size
            entries.append(
                entry | {"type": "file", "oid": hashlib.sha1(path.read_bytes()).hexdigest(), "size": size}
            )
        return entries

    def _json(self, document: object) -> None:
        content = json.dumps(document).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _missing(self, code: str) -> None:
        self.send_response(HTTPStatus.NOT_FOUND)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _commit(branch: str) -> str:
    return hashlib.sha1(branch.encode()).hexdigest()


def _wanted(body: bytes) -> set[str]:
    try:
        return set(json.loads(body)["paths"])
    except ValueError:
        return {name for key, names in parse_qs(body.decode()).items() if key == "paths" for name in names}

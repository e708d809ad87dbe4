"""A Hugging Face hub of a few files on this machine, for the hub's own library to talk to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789012345678901234567890123456789"
GATED = "someone/gated"


@contextmanager
def fake_hub(repos: dict[str, dict[str, bytes]]) -> Iterator[str]:
    """Serve ``repos``, files by their names; yield the address to give as HF_ENDPOINT."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            is_list = parts[:2] == ["api", "models"]
            repo = "/".join(parts[2:4] if is_list else parts[:2])
            if repo == GATED:
                self.answer(403, b"", {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
            elif repo not in repos:
                self.answer(401, b"", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "none"})
            elif is_list:
                files = [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in repos[repo].items()
                ]
                self.answer(200, json.dumps(files).encode(), {"Content-Type": "application/json"})
            elif (data := repos[repo].get("/".join(parts[4:]))) is None:
                self.answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Error-Message": "none"})
            else:
                tag = hashlib.sha256(data).hexdigest()
                self.answer(200, data, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})

        do_HEAD = do_GET

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

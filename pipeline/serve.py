"""`python -m pipeline.serve PROFILE PORT [EDITION]`: show a profile's site on this machine."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http
import http.server
import io
import sys
from pathlib import Path
from typing import Any

from lib import files
from pipeline import clean, editions, missing

TEXT = frozenset({".html", ".js", ".css", ".csv", ".svg", ".ipynb"})


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a site; text goes out compressed, for pages hold megabytes of charts."""

    def send_head(self) -> Any:
        """Headers, and the body to copy. What the browser may have already is asked as before."""
        path, accepted = Path(self.translate_path(self.path)), self.headers["Accept-Encoding"] or ""
        known = "If-Modified-Since" in self.headers
        if known or "gzip" not in accepted or path.suffix not in TEXT or not path.is_file():
            return super().send_head()
        body = packed(path, path.stat().st_mtime_ns)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", self.date_time_string(path.stat().st_mtime))
        self.send_header("Vary", "Accept-Encoding")
        self.end_headers()
        return io.BytesIO(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """An error; of a page that is not there the site's own, as other hosts do."""
        page = Path(self.directory) / missing.PAGE
        if code != http.HTTPStatus.NOT_FOUND or not page.is_file():
            return super().send_error(code, message, explain)
        body = page.read_bytes()
        self.send_response(code)
        self.send_header("Content-Type", self.guess_type(page))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@functools.lru_cache(maxsize=64)
def packed(path: Path, changed: int) -> bytes:
    """A file compressed, once for each change of it."""
    return gzip.compress(path.read_bytes(), 6)


def main(name: str, port: str, edition: str = "") -> None:
    """Serve until Ctrl-C. Errors: SystemExit where there is no site yet."""
    site = files.runs(clean.named(name)) / editions.folder("site", editions.named(edition))
    if not (site / "index.html").is_file():
        asked = f"PROFILE={name} EDITION={edition}" if edition else f"PROFILE={name}"
        raise SystemExit(f"No site of profile {name} yet: make book {asked}")
    handler = functools.partial(Handler, directory=site)
    print(f"http://localhost:{port}/ (Ctrl-C ends it)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])

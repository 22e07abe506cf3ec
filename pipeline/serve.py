"""`python -m pipeline.serve PROFILE PORT`: show a profile's site on this machine."""

from __future__ import annotations

import contextlib
import functools
import http.server
import sys

from lib import files
from pipeline import clean


def main(name: str, port: str) -> None:
    """Serve until Ctrl-C. Errors: SystemExit where there is no site yet."""
    site = files.runs(clean.named(name)) / "site"
    if not (site / "index.html").is_file():
        raise SystemExit(f"No site of profile {name} yet: make book PROFILE={name}")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=site)
    print(f"http://localhost:{port}/ (Ctrl-C ends it)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])

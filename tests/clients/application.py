"""An application of the user's, behind an instance. Served by gunicorn."""

import gzip
import hashlib


def content(length):
    """The first so many bytes of what the application has to give."""
    piece = bytes(at % 251 for at in range(251 * 64))
    return (piece * (length // len(piece) + 1))[:length]


def answer(environ, start_response):
    _, verb, *rest = environ["PATH_INFO"].split("/")
    body, status, fields = b"application\n", "200 OK", []
    if verb == "sum":
        digest = hashlib.sha256()
        length = 0
        while piece := environ["wsgi.input"].read(1 << 20):
            digest.update(piece)
            length += len(piece)
        body = f"{digest.hexdigest()} {length}\n".encode()
    elif verb == "bytes":
        body = content(int(rest[0]))
        if asked := environ.get("HTTP_RANGE"):
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            fields.append(("Content-Range", f"bytes {first}-{last}/{len(body)}"))
            status, body = "206 Partial Content", body[first : last + 1]
    elif verb == "chunks":
        whole = content(int(rest[0]))
        start_response(status, [])
        return (whole[at : at + 5_000] for at in range(0, len(whole), 5_000))
    elif verb == "gzip":
        body = gzip.compress(content(100_000))
        fields.append(("Content-Encoding", "gzip"))
    elif verb == "redirect":
        status, fields = "302 Found", [("Location", "/bytes/1000")]
    start_response(status, [*fields, ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

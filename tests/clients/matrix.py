"""What requests and httpx have in common, asked of an application through an instance.

`matrix.py requests|httpx URL` exits with 0 when every answer was right.
"""

import hashlib
import sys

import application

name, url = sys.argv[1:]
url = url.rstrip("/")
large = application.content(8 << 20)


def checked(answer, status=200):
    assert answer.status_code == status, (answer.url, answer.status_code, answer.text[:200])
    return answer


def account(body):
    return f"{hashlib.sha256(body).hexdigest()} {len(body)}\n"


def pieces(body):
    for at in range(0, len(body), 70_000):
        yield body[at : at + 70_000]


def ask_everything(client, redirected, raw_post):
    for count in (0, 1, 1_000, 100_000, len(large)):
        assert checked(client.get(f"{url}/bytes/{count}")).content == large[:count]
        assert checked(client.get(f"{url}/chunks/{count}")).content == large[:count]
        head = checked(client.head(f"{url}/bytes/{count}"))
        assert (head.content, head.headers["Content-Length"]) == (b"", str(count))
        for body in (large[:count], pieces(large[:count])):
            assert checked(raw_post(f"{url}/sum", body)).text == account(large[:count])
    for method in ("PUT", "PATCH", "DELETE", "OPTIONS"):
        assert checked(client.request(method, f"{url}/sum", data="abc")).text == account(b"abc")
    part = checked(client.get(f"{url}/bytes/1000", headers={"Range": "bytes=100-199"}), 206)
    assert part.content == large[100:200]
    assert checked(client.get(f"{url}/gzip")).content == large[:100_000]
    answer = checked(redirected(f"{url}/redirect"))
    assert (answer.content, len(answer.history)) == (large[:1_000], 1)
    form = {"a": "b c", "d": "\u00e9"}
    assert checked(client.post(f"{url}/sum", data=form)).text == account(b"a=b+c&d=%C3%A9")
    upload = checked(client.post(f"{url}/sum", files={"file": ("name", large[:200_000])}))
    assert int(upload.text.split()[1]) > 200_000
    for _ in range(200):
        assert checked(client.get(f"{url}/")).text == "application\n"


def with_requests():
    import requests

    with requests.Session() as client:
        post = lambda target, body: client.post(target, data=body)
        ask_everything(client, client.get, post)


def with_httpx():
    import httpx

    with httpx.Client(timeout=60) as client:
        redirected = lambda target: client.get(target, follow_redirects=True)
        post = lambda target, body: client.post(target, content=body)
        # httpx sends a body with any method, but takes text for `data` under another name.
        request = client.request
        client.request = lambda method, target, data=None, **rest: request(
            method, target, **({"content": data} if isinstance(data, str) else {"data": data}), **rest
        )
        ask_everything(client, redirected, post)


{"requests": with_requests, "httpx": with_httpx}[name]()

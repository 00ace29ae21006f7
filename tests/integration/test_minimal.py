"""Every route, method and status, as h11 and http-parser read them: each answer is framed exactly, and has the fields that it needs and no other.

The client that the other tests use (harness.wire) was written with todod in mind; these two were not.
"""
import json
import socket
from typing import NamedTuple

import h11
import httptools
import pytest

from harness.daemon import Todod
from harness.mongo import new_database_name
from harness.sqlite import small_disk, write_lock
from harness.waiting import SLOW, wait_until
from harness.wire import chunked, request_bytes

HOST = ("Host", "todod.test")
JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
NOBODY = "00000000-0000-7000-8000-000000000000"

# ---- what an answer has besides Date

BODY = {"Content-Type", "Content-Length"}
LIST = {"Cache-Control", "Cache-Status"}
PAGE = LIST | {"ETag", "Vary"}  # the first one
FIELDS = {
    200: BODY, 204: {"Allow"}, 304: set(),
    400: BODY, 404: BODY, 405: BODY | {"Allow"}, 408: BODY, 412: BODY, 413: BODY, 414: BODY, 415: BODY, 417: BODY, 431: BODY,
    501: BODY, 503: BODY | {"Retry-After"}, 504: BODY, 505: BODY, 507: BODY,
}


class Case(NamedTuple):
    request: bytes
    status: int
    more: set = frozenset()  # fields besides FIELDS
    closes: bool = False     # then the answer says so

    @property
    def method(self):
        """Of what h11 has sent, to its mind: it would not send all of these itself."""
        return "HEAD" if self.request.startswith(b"HEAD ") else "GET"

    @property
    def fields(self):
        return {"Date"} | FIELDS[self.status] | self.more | ({"Connection"} if self.closes else set())

    def __str__(self):
        return f"{self.request[:200]} -> {self.status}"


# ---- two readers

class Answer(NamedTuple):
    status: int
    fields: list
    body: bytes

    @property
    def names(self):
        return [name for name, _ in self.fields]

    @property
    def json(self):
        return json.loads(self.body)


class Reader:
    """A connection that h11 reads, answer by answer."""

    def __init__(self, daemon):
        self.sock = daemon.connect().sock
        self.h11 = h11.Connection(our_role=h11.CLIENT)
        self.heard = b""  # what has not been read yet

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)
        return self

    def _expect(self, method):
        if self.h11.our_state is not h11.IDLE:
            self.h11.start_next_cycle()
        self.h11.send(h11.Request(method=method, target="/", headers=[HOST]))
        self.h11.send(h11.EndOfMessage())

    def read(self, method="GET"):
        self._expect(method)
        before, response, body = self.heard, None, b""
        while True:
            event = self.h11.next_event()
            if event is h11.NEED_DATA:
                got = self.sock.recv(65536)
                self.heard += got
                before += got
                self.h11.receive_data(got)
            elif isinstance(event, h11.Response):
                assert event.http_version == b"1.1"
                response = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                assert not event.headers, "trailers"
                break
            else:
                raise AssertionError(f"{event} in {before[:500]}")
        self.heard = self.h11.trailing_data[0]
        fields = [(name.decode(), value.decode()) for name, value in response.headers.raw_items()]
        answer = Answer(response.status_code, fields, body)
        if method != "HEAD":  # http-parser cannot be told
            check_by_http_parser(before[:len(before) - len(self.heard)], answer)
        return answer

    def read_end(self):
        assert not self.heard and self.sock.recv(1) == b"", "bytes behind the last answer"


class _Events:
    def __init__(self):
        self.fields, self.body, self.ends = [], b"", 0

    def on_header(self, name, value):
        self.fields.append((name.decode(), value.decode()))

    def on_body(self, data):
        self.body += data

    def on_message_complete(self):
        self.ends += 1


def check_by_http_parser(data, answer):
    """It ends where h11 has it end, and says the same."""
    events = _Events()
    parser = httptools.HttpResponseParser(events)
    parser.feed_data(data)
    assert events.ends == 1, data
    assert (parser.get_status_code(), events.fields, events.body) == answer
    assert parser.should_keep_alive() == ("Connection" not in answer.names)


def check(case, answer):
    assert answer.status == case.status, (str(case), answer)
    assert len(answer.names) == len(set(answer.names)), (str(case), answer)
    assert set(answer.names) == case.fields, (str(case), answer)
    fields = dict(answer.fields)
    assert fields.get("Connection", "close") == "close"
    if "Content-Length" in fields and case.method != "HEAD":
        assert int(fields["Content-Length"]) == len(answer.body)
    if case.status >= 400:
        assert fields["Content-Type"] == "application/problem+json"
        assert case.method == "HEAD" or answer.json["status"] == case.status
    elif case.status == 200:
        assert fields["Content-Type"] == "application/json"
    if case.method == "HEAD" or case.status in (204, 304):
        assert answer.body == b""


# ---- every route, method and status that a healthy daemon can be brought to

def raw(head, body=b""):
    return head.replace(b"\n", b"\r\n") + body


def cases_of_gets(todo):
    """Of each the HEAD is the same but for the body."""
    etag = ("If-None-Match", "*")
    failed = ("If-Match", '"a"')
    gets = [
        ("/index", [], 200, set()), ("/index", [etag], 304, set()), ("/index", [failed], 412, set()),
        ("/healthz", [], 200, set()), ("/healthz", [etag], 304, set()), ("/healthz", [failed], 412, set()),
        ("/readyz", [], 200, set()), ("/readyz", [etag], 304, set()), ("/readyz", [failed], 412, set()),
        ("/todo", [], 200, PAGE | {"Link"}), ("/todo", [etag], 304, PAGE | {"Link"}), ("/todo", [failed], 412, set()),
        ("/todo", [("Accept-Encoding", "gzip")], 200, PAGE | {"Link", "Content-Encoding"}),
        ("/todo", [("Accept-Encoding", "gzip"), etag], 304, PAGE | {"Link"}),
        ("/todo?start=1&limit=1", [], 200, LIST | {"Link"}), ("/todo?start=1&limit=1", [etag], 304, LIST | {"Link"}),
        ("/todo?start=1", [failed], 412, set()), ("/todo?start=9999", [], 200, LIST), ("/todo?start=9999", [etag], 304, LIST),
        ("/todo?limit=0", [], 400, set()), ("/todo?start=10001", [], 400, set()), ("/todo?after=x", [], 400, set()),
        (f"/todo/{todo}", [], 200, set()), (f"/todo/{todo}", [etag], 304, set()), (f"/todo/{todo}", [failed], 412, set()),
        (f"/todo/{NOBODY}", [], 404, set()), ("/nowhere", [], 404, set()), ("/%zz", [], 400, set()), ("x", [], 400, set()),
        (f"/todo/{todo}/finish", [], 405, set()),
    ]
    return [Case(request_bytes(method, target, fields=fields), status, more)
            for target, fields, status, more in gets for method in ("GET", "HEAD")]


def cases_that_keep(todo, gone):
    """`gone` is deleted by them."""
    content, failed = b"content=x", ("If-Match", '"a"')
    post = [
        (200, {"Location"}, [FORM], content), (200, {"Location"}, [JSON], b'{"content": "x"}'), (412, set(), [FORM, failed], content),
        (400, set(), [FORM], b"x"), (400, set(), [JSON], b"x"), (400, set(), [], None), (413, set(), [FORM], b"content=" + b"x" * 16385),
        (415, {"Accept"}, [], content), (415, {"Accept"}, [("Content-Type", "text/plain")], content),
        (415, {"Accept-Encoding"}, [FORM, ("Content-Encoding", "gzip")], content)]
    options = ["*", "/index", "/todo", f"/todo/{todo}", f"/todo/{todo}/finish", "/healthz", "/readyz", "http://a"]
    others = [
        ("PUT", f"/todo/{todo}/finish", 200), ("PUT", f"/todo/{NOBODY}/finish", 404), ("DELETE", f"/todo/{NOBODY}", 404), ("DELETE", f"/todo/{gone}", 200),
        ("DELETE", f"/todo/{gone}", 404), ("OPTIONS", "/nowhere", 404), ("POST", "/index", 405), ("PUT", "/todo", 405), ("DELETE", "/todo", 405),
        ("PATCH", f"/todo/{todo}", 405), ("DELETE", "/healthz", 405), ("POST", "/readyz", 405), ("TRACE", "/todo", 405), ("CONNECT", "a:80", 405),
        ("BREW", "/todo", 501), ("get", "/todo", 501), ("POST", "/nowhere", 404), ("GET", "*", 400)]
    return [
        *cases_of_gets(todo),
        *(Case(request_bytes("POST", "/todo", body, fields), status, more) for status, more, fields, body in post),
        *(Case(request_bytes("OPTIONS", target), 204) for target in options),
        *(Case(request_bytes(method, target), status) for method, target, status in others),
        Case(request_bytes("PUT", f"/todo/{todo}/finish", fields=[failed]), 412),
        Case(request_bytes("PUT", f"/todo/{todo}/finish", fields=[("Content-Range", "bytes 0-1/2")]), 400),
        Case(request_bytes("DELETE", f"/todo/{todo}", fields=[("If-None-Match", "*")]), 412),
        Case(request_bytes("POST", "/todo", fields=[FORM, ("Transfer-Encoding", "chunked")]) + chunked(content, trailers=b"X: y\r\n"), 200, {"Location"}),
        Case(request_bytes("POST", "/todo", content, [FORM, ("Expect", "100-continue")]), 200, {"Location"}),
    ]


CLOSING = [
    *(Case(request_bytes("GET", target, fields=[("Connection", "close")]), status, more, True)
      for target, status, more in (("/index", 200, set()), ("/todo", 200, PAGE | {"Link"}), ("/nowhere", 404, set()), ("/todo?start=1", 200, LIST | {"Link"}))),
    Case(request_bytes("GET", "/todo", fields=[("Connection", "close"), ("If-None-Match", "*")]), 304, PAGE | {"Link"}, True),
    Case(request_bytes("HEAD", "/todo", fields=[("Connection", "close")]), 200, PAGE | {"Link"}, True),
    Case(request_bytes("OPTIONS", "/todo", fields=[("Connection", "close")]), 204, set(), True),
    Case(request_bytes("GET", "/index", version="1.0"), 200, set(), True),
    Case(raw(b"GET /index HTTP/1.1\n\n"), 400, set(), True),
    Case(raw(b"GET /index\n\n"), 400, set(), True),
    Case(raw(b"HEAD /index HTTP/1.1\nHost: a\nContent-Length: x\n\n"), 400, set(), True),
    Case(raw(b"POST /todo HTTP/1.1\nHost: a\nContent-Length: 70000\n\n"), 413, set(), True),
    Case(raw(b"GET /") + b"a" * 5000, 414, set(), True),
    Case(raw(b"GET / HTTP/1.1\nHost: a\nExpect: x\n\n"), 417, set(), True),
    Case(raw(b"GET / HTTP/1.1\nX: ") + b"a" * 9000, 431, set(), True),
    Case(raw(b"GET / HTTP/1.1\nHost: a\n" + b"X: y\n" * 70), 431, set(), True),
    Case(raw(b"GET / HTTP/1.1\nHost: a\nTransfer-Encoding: gzip, chunked\n\n"), 501, set(), True),
    Case(b"A" * 40, 501, set(), True),
    Case(raw(b"PRI * HTTP/2.0\n\nSM\n\n"), 505, set(), True),
    Case(raw(b"POST /todo HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 1\n\n"), 415, {"Accept"}, True),
    Case(raw(b"POST /index HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 1\n\n"), 405, set(), True),
    Case(raw(b"OPTIONS * HTTP/1.1\nHost: a\nExpect: 100-continue\nContent-Length: 1\n\n"), 204, set(), True),
]


@pytest.fixture(scope="module")
def full(scratch):
    """Twelve todos: the list has a second page."""
    daemon = Todod(scratch / "minimal", workers=2).wait_store()
    for i in range(12):
        daemon.post(f"todo {i}")
    yield daemon
    daemon.finish()


@pytest.fixture
def keeping(full):
    return cases_that_keep(full.post("stays")["id"], full.post("goes")["id"])


def test_the_table_knows_every_status_but_those_of_a_daemon_in_need(keeping):
    assert {case.status for case in keeping + CLOSING} == set(FIELDS) - {408, 503, 504, 507}


def test_kept_alive(full, keeping):
    with Reader(full) as reader:
        for case in keeping:
            check(case, reader.send(case.request).read(case.method))
            assert not reader.heard, f"bytes behind the answer to {case}"


def test_pipelined(full, keeping):
    with Reader(full) as reader:
        reader.send(b"".join(case.request for case in keeping) + CLOSING[0].request)
        for case in keeping + CLOSING[:1]:
            check(case, reader.read(case.method))
        reader.read_end()


@pytest.mark.parametrize("case", CLOSING, ids=str)
def test_closing(full, case):
    """The last of two, so that nothing of the answer before is left in it."""
    for before in (Case(request_bytes("PUT", "/todo"), 405), Case(request_bytes("GET", "/todo"), 200, PAGE | {"Link"})):
        with Reader(full) as reader:
            reader.send(before.request + case.request)
            check(before, reader.read())
            check(case, reader.read(case.method))
            reader.sock.shutdown(socket.SHUT_WR)
            reader.read_end()


def test_head_has_the_fields_of_get(full, keeping):
    gets = [case for case in keeping if case.request.startswith((b"GET ", b"HEAD "))]
    with Reader(full) as reader:
        for get, head in zip(gets[::2], gets[1::2]):
            if get.request[4:] != head.request[5:]:
                continue  # no pair
            got, headed = [[field for field in reader.send(case.request).read(case.method).fields if field[0] not in ("Date", "Cache-Status")]
                           for case in (get, head)]
            assert got == headed, str(get)


def test_1_0_kept_alive(full):
    """The one thing that HTTP/1.0 has to be told."""
    with full.connect() as connection:
        for _ in range(2):
            response = connection.send(request_bytes("GET", "/todo", fields=[("Connection", "keep-alive")], version="1.0")).read()
            assert {name for name, _ in response.fields} == {"Date", "Connection", "Link"} | BODY | PAGE


# ---- a daemon in need

def read_one(daemon, case):
    with Reader(daemon) as reader:
        check(case, answer := reader.send(case.request).read(case.method))
        if case.closes:
            reader.sock.shutdown(socket.SHUT_WR)
            reader.read_end()
        return answer


def test_slow_clients(todod):
    daemon = todod(workers=1, header_timeout_s=1)
    read_one(daemon, Case(b"GET /index HTTP/1.1\r\n", 408, set(), True))
    read_one(daemon, Case(raw(b"POST /todo HTTP/1.1\nHost: a\nContent-Length: 10\n\n"), 408, set(), True))


def test_a_store_that_is_away(todod, mongo):
    daemon = todod(store=mongo.uri(new_database_name()), workers=1, cache="local", cache_fresh_s=1, store_timeout_ms=1000)
    writer = todod(store=mongo.uri(new_database_name()), workers=1, store_timeout_ms=1000)
    writer.post("x")
    todo = daemon.post("x")["id"]
    wait_until(lambda: daemon.request("GET", "/todo").field("Cache-Status") == "todod; hit", "a page to serve on")
    mongo.pause()
    # Before anything else: the driver takes two to four seconds to find that nobody is there, and then a write is not begun.
    read_one(writer, Case(request_bytes("POST", "/todo", {"content": "x"}), 504))
    stale = Case(request_bytes("GET", "/todo"), 200, PAGE | {"Age"})
    wait_until(lambda: "stale" in daemon.request("GET", "/todo").field("Cache-Status"), "a stale page", 5 * SLOW)
    for case in (stale, Case(request_bytes("HEAD", "/todo"), 200, PAGE | {"Age"}), Case(request_bytes("GET", "/todo", fields=[("If-None-Match", "*")]), 304, PAGE | {"Age"}),
                 Case(request_bytes("GET", "/todo", fields=[("If-Match", '"a"')]), 412),
                 Case(request_bytes("GET", f"/todo/{todo}"), 503),
                 Case(request_bytes("GET", f"/todo/{todo}", fields=[("If-None-Match", "*")]), 503),
                 Case(request_bytes("DELETE", f"/todo/{todo}", fields=[("If-Match", '"a"')]), 503),
                 Case(request_bytes("GET", "/todo?start=1"), 503), Case(request_bytes("GET", "/readyz"), 503), Case(request_bytes("HEAD", "/readyz"), 503)):
        read_one(daemon, case)


def test_a_store_that_is_busy(todod, directory):
    daemon = todod(store=f"sqlite:{directory}/todo.db", workers=1, store_timeout_ms=300)
    with write_lock(directory / "todo.db"):
        read_one(daemon, Case(request_bytes("POST", "/todo", {"content": "x"}), 503))
        read_one(daemon, Case(request_bytes("DELETE", f"/todo/{NOBODY}", fields=[("Connection", "close")]), 503, set(), True))


def test_a_store_that_is_full(todod, directory):
    mount, prefix = small_disk(directory, "1m")
    daemon = todod(store=f"sqlite:{mount}/todo.db", workers=1, prefix=prefix)
    case = Case(request_bytes("POST", "/todo", {"content": "x" * 16000}), 507)

    def is_full():
        return daemon.request("POST", "/todo", {"content": "x" * 16000}).status == 507
    wait_until(is_full, "a full disk", 20 * SLOW, poll_s=0)
    read_one(daemon, case)

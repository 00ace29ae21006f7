"""The first page as HTTP has it: its representations, their entity tags, and what caches are told.

RFC 9110 sections 8.8.3, 12.5.3, 13.1.2 and 15.4.5, RFC 9111, RFC 9211. What a hit is made from ready bytes for has to be
the same in every other case; so most tests run with `cache = local`, where most answers are hits, and `off`, where none is.
"""
import contextlib
import email.utils
import os
import re
import signal
import socket
import struct
import time

import pytest

from harness.daemon import Todod
from harness.waiting import wait_until
from harness.wire import request_bytes

CACHES = ["local", "off"]
TAG = r"[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
GZIP = ("Accept-Encoding", "gzip")
HIT, MISS, BYPASS = "todod; hit", "todod; fwd=miss", "todod; fwd=bypass"


def get(daemon, target="/todo", *fields, method="GET"):
    return daemon.request(method, target, fields=list(fields))


def wait_hit(daemon, workers=1):
    """Every worker has the page, and may serve it."""
    for _ in range(workers):
        wait_until(lambda: get(daemon).field("Cache-Status") == HIT, "a hit")


@pytest.fixture(scope="module", params=CACHES)
def full(request, scratch):
    """A daemon with 25 todos that no test changes."""
    daemon = Todod(scratch / f"first-page-{request.param}", workers=2, cache=request.param).wait_store()
    daemon.todos = [daemon.post(f"todo {i} " + "x" * i) for i in range(25)][::-1]
    daemon.status = HIT if request.param == "local" else MISS
    if request.param == "local":
        wait_hit(daemon)
    yield daemon
    daemon.finish()


@pytest.fixture(params=CACHES)
def fresh(request, todod):
    """A daemon with nothing in it."""
    daemon = todod(workers=2, cache=request.param)
    daemon.status = HIT if request.param == "local" else MISS
    return daemon


def names(response):
    return sorted(name for name, _ in response.fields)


# ---- fields --------------------------------------------------------------------------------------------

def test_the_fields_of_the_first_page(full):
    response = get(full)
    assert names(response) == ["Cache-Control", "Cache-Status", "Content-Length", "Content-Type", "Date", "ETag", "Link", "Vary"]
    assert re.fullmatch(f'"{TAG}"', response.field("ETag"))
    assert response.field("Vary") == "Accept-Encoding" and response.field("Cache-Control") == "no-cache"
    assert response.data == full.todos[:10]


def test_cache_status_of_hits_and_misses(full):
    statuses = [get(full).field("Cache-Status") for _ in range(20)]
    assert full.status in statuses
    assert set(statuses) <= ({HIT, MISS} if full.status == HIT else {MISS})


@pytest.mark.parametrize("target", [
    "/todo", "/todo?", "/todo?start=0", "/todo?start=abc", "/todo?start=", "/todo?start=%zz", "/todo?st%61rt=000", "/todo?foo=bar", "/todo?&",
    "/todo?foo=bar&start=x&start=5", "/%74odo", "http://todod.test/todo"])
def test_what_is_the_first_page(full, target):
    first = get(full)
    response = get(full, target)
    assert response.field("ETag") == first.field("ETag") and response.body == first.body and response.next == first.next


@pytest.mark.parametrize("query", ["start=1", "limit=10", "limit=10&start=0", "start=5&limit=3", "after="])
def test_every_other_list_bypasses(full, query):
    if query == "after=":
        query = get(full).next.partition("?")[2]
    for fields in [], [GZIP], [("If-None-Match", '"a"')], [("If-Match", "*")]:
        response = get(full, f"/todo?{query}", *fields)
        assert response.status == 200 and response.field("Cache-Status") == BYPASS
        assert names(response) == ["Cache-Control", "Cache-Status", "Content-Length", "Content-Type", "Date", "Link"]
        assert response.field("Cache-Control") == "no-cache"
    response = get(full, f"/todo?{query}", ("If-None-Match", "*"))
    assert response.status == 304 and response.field("Cache-Status") == BYPASS
    assert names(response) == ["Cache-Control", "Cache-Status", "Date", "Link"]


@pytest.mark.parametrize("query, status", [("limit=0", 400), ("start=99999", 400), ("after=x", 400), ("start=0&after=x", 400)])
def test_a_refusal_is_not_of_the_cache(full, query, status):
    response = get(full, f"/todo?{query}", ("If-None-Match", "*"), GZIP)
    assert response.status == status
    assert names(response) == ["Content-Length", "Content-Type", "Date"]


def test_the_link_leads_on(full):
    response = get(full)
    assert response.next.startswith("/todo?after=") and "limit" not in response.next
    assert full.request("GET", response.next).data == full.todos[10:20]
    assert full.walk("/todo") == full.todos


# ---- gzip ----------------------------------------------------------------------------------------------

def test_gzip_is_the_same_todos_in_fewer_bytes(full):
    plain, coded = get(full), get(full, "/todo", GZIP)
    assert coded.field("Content-Encoding") == "gzip" and plain.field("Content-Encoding") is None
    assert len(coded.body) < len(plain.body) and coded.content == plain.body
    assert coded.field("ETag") == plain.field("ETag")[:-1] + '-gzip"'
    assert [f for f in coded.fields if f[0] not in ("Content-Encoding", "ETag", "Content-Length", "Date", "Cache-Status")] == \
           [f for f in plain.fields if f[0] not in ("ETag", "Content-Length", "Date", "Cache-Status")]


@pytest.mark.parametrize("lines, coded", [
    (["gzip, deflate, br"], True), (["x-gzip"], True), (["GZIP;Q=0.3"], True), (["*"], True), (["br", "gzip"], True), (["gzip;q=0.5", "identity;q=0"], True),
    ([""], False), (["identity"], False), (["br, deflate"], False), (["gzip;q=0"], False), (["gzip;q=0.2, identity"], False), (["*;q=0"], False),
    (["gzip;q=0", "*"], False), (["gzip;q=7"], False), (["gzip, ("], False), (["gzip", "("], False)])
def test_accept_encoding(full, lines, coded):
    response = get(full, "/todo", *(("Accept-Encoding", line) for line in lines))
    assert response.status == 200 and response.data == full.todos[:10]
    assert response.field("Content-Encoding") == ("gzip" if coded else None)


def test_every_worker_has_the_same_tags_and_bytes(full):
    for fields in [], [GZIP]:
        connections = [full.connect() for _ in range(16)]

        def owners():
            connections.append(full.connect())
            return {full.owner(connection) for connection in connections} - {None}
        wait_until(lambda: len(owners()) == 2, "both workers to have some")
        answers = [connection.request("GET", "/todo", fields=fields) for connection in connections]
        for connection in connections:
            connection.close()
        assert len({answer.field("ETag") for answer in answers}) == 1 and len({answer.body for answer in answers}) == 1


# ---- conditional requests ------------------------------------------------------------------------------

def expect_304(response, etag):
    assert response.status == 304 and response.body == b""
    assert response.field("ETag") == etag
    assert names(response) == ["Cache-Control", "Cache-Status", "Date", "ETag", "Link", "Vary"]
    assert response.field("Vary") == "Accept-Encoding" and response.field("Cache-Control") == "no-cache"


@pytest.mark.parametrize("accept", [[], [GZIP]], ids=["identity", "gzip"])
@pytest.mark.parametrize("lines, matches", [
    (["{0}"], True), (["W/{0}"], True), (['"a", {0}'], True), (['"a"', "{0}"], True), (["{0}", '"a"'], True), (["*"], True), (["a b, {0}"], True),
    (["{1}"], False), (["W/{1}"], False), (['"a"'], False), (["{2}"], False), ([""], False), (['"a'], False), (["{0}x"], False),
    (['"a", *'], False)])
def test_if_none_match(full, accept, lines, matches):
    ours, other = [get(full, "/todo", *fields).field("ETag") for fields in (accept, [] if accept else [GZIP])]
    condition = [("If-None-Match", line.format(ours, other, ours.strip('"'))) for line in lines]
    with full.connect() as connection:
        for method in "GET", "HEAD":
            response = connection.request(method, "/todo", fields=[*accept, *condition])
            if matches:
                expect_304(response, ours)
            else:
                assert response.status == 200 and response.field("ETag") == ours
        # Nothing of an answer without body is left in the connection.
        assert connection.request("GET", "/index").json == {"msg": "hello world"}


def test_if_none_match_of_many_lines(full):
    etag = get(full).field("ETag")
    expect_304(get(full, "/todo", *[("If-None-Match", f'"{i}"') for i in range(40)], ("if-none-match", etag)), etag)


def test_if_modified_since_is_nothing_here(full):
    assert get(full, "/todo", ("If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT")).status == 200


@pytest.mark.parametrize("accept", [[], [GZIP]], ids=["identity", "gzip"])
@pytest.mark.parametrize("lines, matches", [
    (["{0}"], True), (['"a", {0}'], True), (['"a"', "{0}"], True), (["*"], True), (["{0}", '"a"'], True),
    (["W/{0}"], False), (["{1}"], False), (['"a"'], False), ([""], False), (["{0}x"], False)])
def test_if_match(full, accept, lines, matches):
    """By strong comparison, and before If-None-Match; whether the page is a hit or has to be waited for."""
    ours, other = [get(full, "/todo", *fields).field("ETag") for fields in (accept, [] if accept else [GZIP])]
    condition = [("If-Match", line.format(ours, other)) for line in lines]
    with full.connect() as connection:
        for method in "GET", "HEAD":
            response = connection.request(method, "/todo", fields=[*accept, *condition])
            assert response.status == (200 if matches else 412) and response.field("ETag") == (ours if matches else None)
            response = connection.request(method, "/todo", fields=[*accept, ("If-None-Match", ours), *condition])
            if matches:
                expect_304(response, ours)
            else:
                assert response.status == 412 and names(response) == ["Content-Length", "Content-Type", "Date"]


def test_a_write_under_a_false_condition_is_not_done(fresh):
    for condition in ("If-None-Match", "*"), ("If-None-Match", '"a"'), ("If-Match", '"a"'), ("If-Match", get(fresh).field("ETag")):
        assert fresh.request("POST", "/todo", {"content": "x"}, [condition]).status == 412
    assert get(fresh).data == []
    assert fresh.request("POST", "/todo", {"content": "x"}, [("If-Match", "*")]).status == 200
    assert len(get(fresh).data) == 1


# ---- other ways to ask ---------------------------------------------------------------------------------

def strip(response, *more):
    return [f for f in response.fields if f[0] not in ("Date", "Cache-Status", *more)]


@pytest.mark.parametrize("fields", [[], [GZIP]], ids=["identity", "gzip"])
def test_head(full, fields):
    with full.connect() as connection:
        for _ in range(2):
            got, head = [connection.request(method, "/todo", fields=fields) for method in ("GET", "HEAD")]
            assert head.status == 200 and strip(head) == strip(got)
            assert got.field("Content-Length") == str(len(got.body))


@pytest.mark.parametrize("fields", [[], [GZIP]], ids=["identity", "gzip"])
def test_http_1_0(full, fields):
    plain = get(full, "/todo", *fields)
    with full.connect() as connection:
        for _ in range(2):
            response = connection.send(request_bytes("GET", "/todo", fields=[*fields, ("Connection", "keep-alive")], version="1.0")).read()
            assert response.body == plain.body and response.field("Connection") == "keep-alive"
            assert strip(response, "Connection") == strip(plain)
        response = connection.send(request_bytes("GET", "/todo", fields=fields, version="1.0")).read()
        assert response.body == plain.body and response.closes
        connection.read_end()


@pytest.mark.parametrize("fields", [[], [GZIP], [("If-None-Match", "*")]], ids=["identity", "gzip", "304"])
def test_connection_close(full, fields):
    plain = get(full, "/todo", *fields)
    with full.connect() as connection:
        response = connection.request("GET", "/todo", fields=[*fields, ("Connection", "close")])
        assert response.closes and response.body == plain.body and strip(response, "Connection") == strip(plain)
        connection.read_end()


def test_pipelined(full):
    etag = get(full).field("ETag")
    mix = [("GET", "/todo", []), ("GET", "/todo", [GZIP]), ("HEAD", "/todo", []), ("GET", "/todo", [("If-None-Match", etag)]),
           ("GET", "/index", []), ("GET", "/todo?start=3", [GZIP]), ("GET", "/todo?limit=x", []), ("HEAD", "/todo", [GZIP]),
           ("GET", f"/todo/{full.todos[0]['id']}", []), ("GET", "/todo?start=abc", []), ("OPTIONS", "/todo", [])] * 20
    with full.connect() as connection:
        connection.send(b"".join(request_bytes(method, target, fields=fields) for method, target, fields in mix))
        for method, target, fields in mix:
            response = connection.read(head_only=method == "HEAD")
            single = full.request(method, target, fields=fields) if response.status not in (200, 304) else response
            assert response.status == single.status == (304 if ("If-None-Match", etag) in fields else
                                                        400 if "limit" in target else 204 if method == "OPTIONS" else 200)
            if "limit" in target or method != "GET" or response.status == 304:
                continue
            if target in ("/todo", "/todo?start=abc"):
                assert response.data == full.todos[:10]
                assert (response.field("Content-Encoding") == "gzip") == (GZIP in fields)
            elif target == "/todo?start=3":
                assert response.data == full.todos[3:13]
        connection.send(request_bytes("GET", "/todo", fields=[("Connection", "close")]))
        assert connection.read().data == full.todos[:10]
        connection.read_end()


def test_many_at_once_each_get_their_own(full):
    plain, coded = get(full), get(full, "/todo", GZIP)
    asked = [([], 200, plain), ([GZIP], 200, coded), ([("If-None-Match", plain.field("ETag"))], 304, plain),
             ([GZIP, ("If-None-Match", coded.field("ETag"))], 304, coded), ([("If-None-Match", coded.field("ETag"))], 200, plain)] * 20
    connections = [full.connect() for _ in asked]
    for connection, (fields, _, _) in zip(connections, asked):
        connection.send(request_bytes("GET", "/todo", fields=fields))
    for connection, (_, status, like) in zip(connections, asked):
        response = connection.read()
        assert response.status == status and response.field("ETag") == like.field("ETag")
        assert response.body == (like.body if status == 200 else b"")
        connection.close()


def test_the_date_is_that_of_the_answer(full):
    """A ready answer is older than its Date."""
    dates = []
    with full.connect() as connection:
        def two_dates():
            before = time.time()
            response = connection.request("GET", "/todo")
            after = time.time()
            date = email.utils.parsedate_to_datetime(response.field("Date")).timestamp()
            assert int(before) - 1 <= date <= after, "the clock of the loop ticks ten times a second"
            assert response.data == full.todos[:10]
            dates.append((date, response.field("Cache-Status")))
            return len({date for date, status in dates if status == full.status}) >= 3
        wait_until(two_dates, "three dates")
    assert [date for date, _ in dates] == sorted(date for date, _ in dates)


# ---- what changes --------------------------------------------------------------------------------------

@pytest.mark.parametrize("fields", [[], [GZIP]], ids=["identity", "gzip"])
def test_an_empty_list(fresh, fields):
    response = get(fresh, "/todo", *fields)
    assert response.data == [] and response.body == b'{"data": []}', "too little to gain by a coding"
    assert response.next is None and re.fullmatch(f'"{TAG}"', response.field("ETag"))
    assert response.field("Content-Encoding") is None and response.field("Vary") == "Accept-Encoding"
    again = get(fresh, "/todo", *fields, ("If-None-Match", response.field("ETag")))
    assert again.status == 304 and again.next is None


@pytest.mark.parametrize("fields", [[], [GZIP]], ids=["identity", "gzip"])
def test_the_tag_changes_with_the_list_and_comes_back_with_it(fresh, fields):
    fresh.post("the one that stays " + "x" * 500)
    first = get(fresh, "/todo", *fields)
    condition = ("If-None-Match", first.field("ETag"))
    assert get(fresh, "/todo", *fields, condition).status == 304

    for i in range(5):
        todo = fresh.post("passing")
        changed = get(fresh, "/todo", *fields, condition)
        assert changed.status == 200 and changed.data[0] == todo and changed.field("ETag") != first.field("ETag")

        finished = fresh.request("PUT", f"/todo/{todo['id']}/finish").json
        again = get(fresh, "/todo", *fields, ("If-None-Match", changed.field("ETag")))
        assert again.status == 200 and again.data[0] == finished

        assert fresh.request("DELETE", f"/todo/{todo['id']}").status == 200
        assert get(fresh, "/todo", *fields, condition).status == 304
        response = get(fresh, "/todo", *fields)
        assert response.field("ETag") == first.field("ETag") and response.body == first.body


def test_whether_more_follow_does_not_show_in_the_bytes(fresh):
    """The eleventh comes and goes: the same bytes, the same tag, another Link."""
    todos = [fresh.post(f"todo {i}") for i in range(11)][::-1]
    full, etag = get(fresh), get(fresh).field("ETag")
    assert fresh.request("GET", full.next).data == todos[10:]
    assert get(fresh, "/todo", ("If-None-Match", etag)).next == full.next
    assert fresh.request("DELETE", f"/todo/{todos[10]['id']}").status == 200
    response = get(fresh)
    assert response.body == full.body and response.field("ETag") == etag and response.next is None
    assert get(fresh, "/todo", GZIP).next is None


@pytest.mark.parametrize("cache", CACHES)
def test_no_worker_says_304_to_what_has_changed(todod, cache):
    daemon = todod(workers=3, cache=cache)
    connections = [daemon.connect() for _ in range(12)]
    etags = [connection.request("GET", "/todo").field("ETag") for connection in connections]
    for i in range(60):
        todo = connections[i % 12].request("POST", "/todo", {"content": f"todo {i}"}).json
        for j in range(3):
            at = (5 * i + 7 * j) % 12
            response = connections[at].request("GET", "/todo", fields=[("If-None-Match", etags[at]), *([GZIP] if i % 2 else [])])
            assert response.status == 200 and response.data[0] == todo
            etags[at] = response.field("ETag")
    for connection in connections:
        connection.close()


def test_a_page_too_large_to_share(fresh):
    todos = [fresh.post("x" * 16000 + str(i)) for i in range(10)][::-1]
    for _ in range(5):
        response = get(fresh, "/todo", GZIP)
        assert response.data == todos and response.field("Cache-Status") == MISS
        assert response.field("Content-Encoding") is None, "it would hold up the loop"
        assert get(fresh, "/todo", ("If-None-Match", response.field("ETag"))).status == 304
    assert fresh.request("DELETE", f"/todo/{todos[0]['id']}").status == 200
    assert get(fresh).data == todos[1:]


# ---- waiting for it ------------------------------------------------------------------------------------

def test_who_leaves_while_waiting_is_forgotten(todod):
    daemon = todod(workers=1, cache="off", deaths=True)
    daemon.post("x")
    keeper, workers = daemon.wait_keeper(), daemon.worker_pids()
    os.kill(keeper, signal.SIGSTOP)
    connections = [daemon.connect() for _ in range(40)]
    for connection in connections:
        connection.send(request_bytes("GET", "/todo", fields=[GZIP, ("If-None-Match", '"a"')]))
    for connection in connections[::2]:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()  # by a reset: who only closes his side may still be waiting
    for connection in connections[1::2]:
        assert len(connection.read().data) == 1
        connection.close()
    with contextlib.suppress(ProcessLookupError):  # after three quarters of a second it is killed
        os.kill(keeper, signal.SIGCONT)
    assert len(get(daemon).data) == 1
    assert daemon.worker_pids() == workers


@pytest.mark.parametrize("cache", CACHES)
def test_readyz_says_how_the_cache_is(todod, cache):
    daemon = todod(cache=cache)
    daemon.wait_keeper()
    wait_until(lambda: daemon.request("GET", "/readyz").json == {"status": "ok", "store": "ok", "cache": cache}, "its cache")

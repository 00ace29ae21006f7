"""Contract section 3: what goes over the wire, but for single requests: see test_conformance. One store is enough here."""
import fcntl
import signal
import socket
import threading
import time
from email.utils import parsedate_to_datetime

import pytest

from harness.daemon import Todod, accepts
from harness.waiting import SLOW, Stopwatch, wait_until
from harness.wire import chunked, request_bytes

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
INDEX = b"GET /index HTTP/1.1\r\nHost: a\r\n\r\n"
JSON = b"Content-Type: application/json\r\n"


def post_head(*lines):
    return b"POST /todo HTTP/1.1\r\nHost: a\r\n" + JSON + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(content):
    return request_bytes("POST", "/todo", {"content": content})


# ---- pipelining and segmentation -----------------------------------------------------------------------

def test_pipelined_requests_are_answered_in_order(web):
    targets = ["/index", "/nowhere", "/healthz", "/todo?limit=x", "/index"]
    with web.connect() as connection:
        connection.send(b"".join(request_bytes("GET", target) for target in targets))
        assert [connection.read().status for _ in targets] == [200, 404, 200, 400, 200]


def test_pipelined_posts_and_lists_see_each_other_in_order(web):
    with web.connect() as connection:
        connection.send(b"".join(post(f"pipelined {i}") + request_bytes("GET", "/todo?limit=1") for i in range(30)))
        for i in range(30):
            todo = connection.read().json
            assert todo["content"] == f"pipelined {i}"
            assert connection.read().data == [todo]


def test_a_mix_in_one_segment(web):
    with web.connect() as connection:
        connection.send(INDEX + post("mix") + b"HEAD /index HTTP/1.1\r\nHost: a\r\n\r\n" + request_bytes("OPTIONS", "/todo") + INDEX)
        assert connection.read().json == {"msg": "hello world"}
        assert connection.read().json["content"] == "mix"
        assert connection.read(head_only=True).field("Content-Length") == "22"
        assert connection.read().status == 204
        assert connection.read().json == {"msg": "hello world"}


def test_ten_thousand_pipelined_requests(web):
    count = 10000
    with web.connect() as connection:
        sender = threading.Thread(target=connection.send, args=(GET * count,))
        sender.start()
        assert all(connection.read(check=False).status == 200 for _ in range(count))
        sender.join()
        assert connection.request("GET", "/index").status == 200


@pytest.mark.parametrize("data, content", [
    (post("byte by byte"), "byte by byte"),
    (post_head(b"Transfer-Encoding: chunked") + chunked(b'{"content":', b'"in chunks"}', trailers=b"X-T: 1\r\n"), "in chunks")])
def test_byte_by_byte(web, data, content):
    with web.connect() as connection:
        for i in range(len(data)):
            connection.send(data[i:i + 1])
        assert connection.read().json["content"] == content
        assert connection.request("GET", "/index").status == 200


def test_cut_anywhere(web):
    data = post("cut") + INDEX
    with web.connect() as connection:
        for at in range(1, len(data), 3):
            connection.send(data[:at])
            time.sleep(0.001)
            connection.send(data[at:])
            assert connection.read().json["content"] == "cut"
            assert connection.read().status == 200


# ---- how long a connection lasts -----------------------------------------------------------------------

def test_keep_alive(web):
    with web.connect() as connection:
        for _ in range(100):
            response = connection.request("GET", "/index")
            assert response.status == 200 and not response.closes


def test_what_comes_behind_the_last_request_costs_no_answer(web):
    """A reset would, and takes with it what the socket still holds. The answer is larger than that, and read slowly."""
    for i in range(100):
        web.post("z" * 16000)
    with web.connect(receive_buffer=4096) as connection:
        connection.send(request_bytes("GET", "/todo?limit=100", fields=[("Connection", "close")]))
        assert connection.sock.recv(1, socket.MSG_PEEK)
        connection.send(b"\r\n")
        time.sleep(0.3)
        assert len(connection.read().data) == 100
        connection.read_end()


def test_a_drain_costs_no_answer(todod):
    """The server ends the connection, and the client is sending its next request already."""
    daemon = todod(workers=1, store_timeout_ms=20000)
    with open(daemon.directory / "todo.db.lock") as lock, daemon.connect() as connection:
        fcntl.flock(lock, fcntl.LOCK_EX)  # no writer can act
        connection.send(post("last"))
        wait_until(lambda: sum(daemon.connections().values()) == 1, "the connection")
        daemon.send(signal.SIGTERM)
        wait_until(lambda: not accepts(daemon.address), "the drain")
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert connection.sock.recv(1, socket.MSG_PEEK)
        connection.send(INDEX)
        time.sleep(0.1)
        response = connection.read()
        assert response.json["content"] == "last" and response.closes
        connection.read_end()
    assert daemon.wait_exit() == 0


# ---- 100-continue --------------------------------------------------------------------------------------

def test_no_100_when_the_body_is_here(web):
    body = b'{"content":"here"}'
    with web.connect() as connection:
        connection.send(post_head(b"Content-Length: %d" % len(body), b"Expect: 100-continue") + body)
        assert connection.read().json["content"] == "here"


def test_curl_uploads_without_a_wait(web):
    body = b'{"content":"x","pad":"' + b"a" * 20000 + b'"}'
    with web.connect() as connection:
        watch = Stopwatch()
        connection.send(post_head(b"Content-Length: %d" % len(body), b"Expect: 100-continue"))
        assert connection.read().status == 100 and watch.seconds < 5
        assert connection.send(body).read().status == 200


# ---- chunked bodies and large uploads ------------------------------------------------------------------

@pytest.mark.parametrize("size", [200_000, 10_000_000])
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_a_large_refused_upload_reads_its_413(web, size, is_chunked):
    """The client sends before it reads. Up to 256 KiB are taken off its hands; of more it is told by an error
    of send(2), but the answer is there first, and no reset may eat it."""
    with web.connect() as connection:
        connection.send(post_head(b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % size))
        piece = b"a" * 50_000
        try:
            for _ in range(size // len(piece)):
                connection.send(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
        except OSError:
            assert size > 256 * 1024
        response = connection.read()
        assert response.status == 413 and response.closes
        if size < 256 * 1024:
            connection.sock.shutdown(socket.SHUT_WR)
            connection.read_end()


# ---- refusals ------------------------------------------------------------------------------------------

def test_a_detail_never_repeats_the_client_unescaped(web):
    for data in (b'GET /"<script>\\" HTTP/1.1\r\nHost: a\r\n\r\n', b'GET /todo?limit="\x7f HTTP/1.1\r\nHost: a\r\n\r\n', b'GET /todo?limit=%22%0a HTTP/1.1\r\nHost: a\r\n\r\n'):
        with web.connect() as connection:
            response = connection.send(data).read()  # checked by the client as it reads
            assert b"script" not in response.body


# ---- time-outs and limits ------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def hasty(scratch):
    """A daemon with short time-outs."""
    daemon = Todod(scratch / "hasty", workers=1, header_timeout_s=1, keepalive_timeout_s=1, write_timeout_s=1).wait_store()
    yield daemon
    daemon.finish()


@pytest.mark.parametrize("data", [b"G", b"GET /index HTTP/1.1\r\nHost: a\r\n"])
def test_an_incomplete_head_is_408(hasty, data):
    with hasty.connect() as connection:
        watch = Stopwatch()
        response = connection.send(data).read()
        assert response.status == 408 and response.closes and 0.8 < watch.seconds < 3 * SLOW
        connection.sock.shutdown(socket.SHUT_WR)
        connection.read_end()


def test_an_empty_line_begins_no_request(hasty):
    """A client that ends its body with one too many is idle, not late: an answer now would be taken for the next one's."""
    with hasty.connect() as connection:
        assert connection.send(b"GET /index HTTP/1.1\r\nHost: a\r\n\r\n\r\n").read().status == 200
        connection.read_end()


def test_the_header_timeout_is_absolute(hasty):
    """A byte now and then does not prolong it."""
    with hasty.connect() as connection:
        watch = Stopwatch()
        connection.sock.settimeout(0.2)
        for byte in b"GET /index HTTP/1.1\r\nX: " + b"a" * 200:
            try:
                connection.send(bytes([byte]))
                if connection.sock.recv(1, socket.MSG_PEEK):
                    break
            except socket.timeout:
                pass
        assert connection.read().status == 408 and watch.seconds < 4 * SLOW


def test_an_idle_connection_is_closed(hasty):
    with hasty.connect() as connection:
        watch = Stopwatch()
        assert connection.request("GET", "/index").status == 200
        connection.read_end()
        assert 0.8 < watch.seconds < 4 * SLOW


def test_a_connection_that_never_speaks_is_closed(hasty):
    watch = Stopwatch()
    with hasty.connect() as connection:
        connection.read_end()
        assert 0.8 < watch.seconds < 4 * SLOW


def test_an_active_connection_is_not_closed(hasty):
    with hasty.connect() as connection:
        for _ in range(15):
            time.sleep(0.2)
            assert connection.request("GET", "/index").status == 200


def test_a_slow_body_is_408(hasty):
    with hasty.connect() as connection:
        watch = Stopwatch()
        connection.send(post_head(b"Content-Length: 3000"))
        connection.sock.settimeout(0.2)
        while watch.seconds < 20:
            try:
                connection.send(b"a" * 10)
                if connection.sock.recv(1, socket.MSG_PEEK):
                    break
            except socket.timeout:
                pass
        response = connection.read()
        assert response.status == 408 and response.closes and watch.seconds < 15


def test_a_body_that_is_slow_but_not_too_slow_is_read(hasty):
    body = b'{"content":"x","pad":"' + b"a" * 6000 + b'"}'
    with hasty.connect() as connection:
        connection.send(post_head(b"Content-Length: %d" % len(body)))
        for at in range(0, len(body), 400):
            connection.send(body[at:at + 400])
            time.sleep(0.15)  # 2.6 KiB/s for 2.3 s: longer than header_timeout_s
        assert connection.read().status == 200


def test_a_client_that_never_reads_is_closed(hasty):
    for i in range(30):
        hasty.post("x" * 16000)
    before = sum(hasty.connections().values())
    with hasty.connect(receive_buffer=4096) as connection:
        connection.send(request_bytes("GET", "/todo?limit=100") * 100)
        wait_until(lambda: sum(hasty.connections().values()) > before, "the connection")
        time.sleep(0.5)
        assert hasty.request("GET", "/index").status == 200, "the others are served meanwhile"
        wait_until(lambda: sum(hasty.connections().values()) <= before, "the connection to be closed", timeout_s=10 * SLOW)


def test_a_slow_reader_with_progress_is_served(hasty):
    for i in range(30):
        hasty.post("y" * 16000)
    with hasty.connect(receive_buffer=4096) as connection:
        connection.send(request_bytes("GET", "/todo?limit=30"))
        for _ in range(20):
            connection.pending += connection.sock.recv(2000)
            time.sleep(0.1)
        assert len(connection.read().data) == 30


def test_at_the_limit_the_connection_idle_longest_makes_room(todod):
    daemon = todod(workers=1, max_connections=10)
    wait_until(lambda: sum(daemon.connections().values()) == 0, "no connections")
    connections = [daemon.connect() for _ in range(10)]
    for connection in connections:
        assert connection.request("GET", "/index").status == 200
    time.sleep(0.3)  # the order is kept by tenths of a second
    assert connections[0].request("GET", "/index").status == 200  # now the second one is idle longest
    with daemon.connect() as extra:
        assert extra.request("GET", "/index").status == 200
        connections[1].read_end()
        others = connections[:1] + connections[2:]
        assert all(connection.request("GET", "/index").status == 200 for connection in others)
    for connection in connections:
        connection.close()


def test_five_hundred_connections_that_come_and_go(web):
    for _ in range(5):
        connections = [web.connect() for _ in range(100)]
        for connection in connections:
            connection.send(INDEX)
        assert all(connection.read().status == 200 for connection in connections)
        for connection in connections:
            connection.close()
    assert accepts(web.address)


def test_rubbish_leaves_the_daemon_well(web):
    for data in (b"\xff" * 70000, b"\r\n" * 3000, b"GET " * 5000, b"POST /todo HTTP/1.1\r\n" + b"\0" * 9000, bytes(range(256)) * 40):
        with web.connect() as connection:
            try:
                connection.send(data)
                connection.sock.shutdown(socket.SHUT_WR)
                while connection.sock.recv(65536):
                    pass
            except OSError:
                pass
    assert web.request("GET", "/index").status == 200


def test_the_date_is_now(web):
    date = parsedate_to_datetime(web.request("GET", "/index").field("Date")).timestamp()
    assert abs(date - time.time()) < 2

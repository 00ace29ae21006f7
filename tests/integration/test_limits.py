"""How many requests and connections a client may have, and who the client is. Every test has client addresses of its own."""
import signal
import threading
import time

import pytest

from harness.daemon import Todod
from harness.nginx import Nginx
from harness.waiting import SLOW, Stopwatch, wait_until
from harness.wire import Connection, request_bytes

INDEX = request_bytes("GET", "/index")
RATE, BURST = 20, 40


def connect(daemon, source, address=None):
    return Connection(address or daemon.address, source=(source, 0))


def statuses(connection, count, fields=()):
    """Of as many requests, pipelined."""
    connection.send(request_bytes("GET", "/index", fields=fields) * count)
    return [connection.read().status for _ in range(count)]


def admitted(connection, fields=(), count=2 * BURST):
    return statuses(connection, count, fields).count(200)


def assert_burst(found, watch):
    """A full bucket was emptied, and no more."""
    assert BURST <= found <= BURST + RATE * watch.seconds + 1, found


# ---- rate_limit ----------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def limited(scratch):
    """Behind proxies at 127.0.1.0/24 and at a unix socket."""
    daemon = Todod(scratch / "limited", workers=4, rate_limit=RATE, listen=["127.0.0.1:0", "unix:limited.sock"],
                   trusted_proxies="127.0.1.0/24,unix:").wait_store()
    yield daemon
    daemon.finish()


def test_a_refusal_and_what_follows(limited):
    def refusals(connection):
        """All at once: in a pause of 50 ms the next one is admitted again. Then it is asked anew."""
        connection.send(2 * BURST * INDEX + request_bytes("POST", "/todo", {"content": "not now"}) + request_bytes("HEAD", "/index") + INDEX)
        for _ in range(2 * BURST):
            connection.read()
        answers = [connection.read(), connection.read(head_only=True), connection.read()]
        return [answer.status for answer in answers] == 3 * [429] and answers
    with connect(limited, "127.0.2.1") as connection:
        # Three: the body was read, what follows it is the next request.
        response, head, _ = wait_until(lambda: refusals(connection), "refusals")
        assert response.field("Retry-After") == "1" and not response.closes
        assert response.json["title"] == "Too Many Requests"
        assert head.field("Content-Length") == response.field("Content-Length")
        wait_until(lambda: connection.request("GET", "/index").status == 200, "the bucket to fill", 5 * SLOW, poll_s=0.1)

    def last_refusal():
        with connect(limited, "127.0.2.1") as connection:
            connection.send(2 * BURST * INDEX + request_bytes("GET", "/index", version="1.0"))
            response = [connection.read() for _ in range(2 * BURST + 1)][-1]
            connection.read_end()
            return response.status == 429 and response
    assert wait_until(last_refusal, "a refusal").closes


def test_all_workers_share_a_bucket(limited):
    connections = [connect(limited, "127.0.2.2") for _ in range(20)]

    def owners():
        connections.append(connect(limited, "127.0.2.2"))
        return {limited.owner(connection) for connection in connections}
    wait_until(lambda: len(owners()) == 4, "every worker to have some")
    watch, counts, begun, answered = Stopwatch(), [], [], []

    def ask(connection):
        while watch.seconds < 1.5:
            begun.append(watch.seconds)
            counts.append(statuses(connection, 20).count(200))
            answered.append(watch.seconds)
    threads = [threading.Thread(target=ask, args=(connection,)) for connection in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found, seconds = sum(counts), watch.seconds
    asked = max(begun) - min(answered)  # surely, and all the time
    assert BURST + RATE * asked - 2 <= found <= BURST + RATE * seconds + 1, (found, asked, seconds)
    with connect(limited, "127.0.2.3") as other:
        assert statuses(other, BURST) == [200] * BURST, "another address has a bucket of its own"
    for connection in connections:
        connection.close()


def test_what_a_client_says_of_itself_is_not_believed(limited):
    with connect(limited, "127.0.2.4") as connection:
        watch = Stopwatch()
        found = sum(admitted(connection, [("X-Forwarded-For", f"198.51.100.{i}"), ("Forwarded", f"for=198.51.100.{i}")], 10)
                    for i in range(10))
        assert_burst(found, watch)


@pytest.mark.parametrize("by", ["tcp", "unix"])
def test_behind_a_proxy_the_client_counts(limited, by):
    net = {"tcp": 1, "unix": 2}[by]
    proxy = connect(limited, "127.0.1.1") if by == "tcp" else Connection(limited.addresses()[1])

    def of(text):
        return [("X-Forwarded-For", text)]
    with proxy:
        watch = Stopwatch()
        assert_burst(admitted(proxy, of(f"192.0.{net}.1")), watch)
        assert statuses(proxy, BURST, of(f"192.0.{net}.2")) == [200] * BURST
        watch = Stopwatch()
        found = sum(admitted(proxy, of(f"198.51.100.{i}, 10.9.9.9, 192.0.{net}.3, 127.0.1.7"), 10) for i in range(10))
        assert_burst(found, watch)
        watch = Stopwatch()
        found = sum(admitted(proxy, of(f"2001:db8:{net}::{i:x}"), 10) for i in range(10))
        assert_burst(found, watch)
        assert statuses(proxy, BURST, of(f"2001:db8:{net}:1::1")) == [200] * BURST
        for own in [(), of("127.0.1.9"), of("192.0.2.1, unknown"), [("Forwarded", f"for=192.0.{net}.1")]]:
            assert statuses(proxy, 3 * BURST, own) == [200] * 3 * BURST, "what it asks by itself"


def test_forwarded(todod):
    daemon = todod(workers=1, rate_limit=RATE, proxy_header="forwarded", trusted_proxies="127.0.1.1")
    with connect(daemon, "127.0.1.1") as proxy:
        watch = Stopwatch()
        found = sum(admitted(proxy, [("X-Forwarded-For", f"198.51.100.{i}"),
                                     ("Forwarded", f'for="198.51.100.{i}, for="[2001:db8::1]:80";proto=http')], 10) for i in range(10))
        assert_burst(found, watch)


def test_behind_nginx(todod, directory):
    """It appends to what the client sent, as the documentation asks for."""
    daemon = todod(workers=2, rate_limit=RATE, trusted_proxies="127.0.0.1")
    host, port = daemon.address
    nginx = Nginx(directory / "nginx", f"location / {{ proxy_pass http://{host}:{port}; "
                                       "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }")
    try:
        for source in ("127.0.2.1", "127.0.2.2"):
            with connect(None, source, nginx.address) as client:
                watch = Stopwatch()
                found = sum(client.request("GET", "/index", fields=[("X-Forwarded-For", f"198.51.100.{i}")]).status == 200
                            for i in range(2 * BURST))
                assert_burst(found, watch)
    finally:
        nginx.close()


def test_the_access_log_names_the_client(todod, directory):
    daemon = todod(workers=1, access_log=f"{directory}/access.log", trusted_proxies="127.0.1.1")
    fields = [("X-Forwarded-For", "198.51.100.1, 192.0.2.1"), ("X-Request-Id", "of-the-sender")]
    for source in ("127.0.1.1", "127.0.2.1"):
        with connect(daemon, source) as connection:
            assert connection.request("GET", "/index", fields=fields).status == 200
            assert connection.send(b"rubbish\r\n").read().status == 400
    wait_until(lambda: (directory / "access.log").read_text().count('" 400 ') == 2, "lines")
    lines = [line.split() for line in (directory / "access.log").read_text().splitlines() if "/readyz" not in line]
    assert [line[0] for line in lines] == ["192.0.2.1", "127.0.1.1", "127.0.2.1", "127.0.2.1"]
    assert ["of-the-sender" in line for line in lines] == [True, False, False, False]


# ---- connections ---------------------------------------------------------------------------------------

def is_refused(connection, status):
    response = connection.read()
    assert response.status == status and response.closes and response.field("Retry-After") == "1", response
    connection.read_end()
    return True


def open_refused(daemon, source, status):
    with connect(daemon, source) as connection:
        return is_refused(connection, status)


def can_connect(daemon, source):
    """And if it can, it stays."""
    connection = connect(daemon, source)
    response = connection.request("GET", "/index")
    if response.status == 200:
        return connection
    connection.close()
    return None


def test_connections_of_an_address(todod):
    daemon = todod(workers=3, max_connections_per_address=3, trusted_proxies="127.0.1.1,unix:", deaths=True,
                   listen=["127.0.0.1:0", "unix:todod.sock"])
    connections = [connect(daemon, "127.0.2.1") for _ in range(3)]
    assert all(connection.request("GET", "/index").status == 200 for connection in connections)
    for _ in range(5):
        assert open_refused(daemon, "127.0.2.1", 429)
    with connect(daemon, "127.0.2.1") as late:  # its request is there before it is told
        late.send(INDEX)
        assert is_refused(late, 429)
    for source in ("127.0.2.2", "127.0.1.1"):
        with connect(daemon, source) as other:
            assert other.request("GET", "/index").status == 200
    proxied = [connect(daemon, "127.0.1.1") for _ in range(6)] + [Connection(daemon.addresses()[1]) for _ in range(6)]
    assert all(connection.request("GET", "/index").status == 200 for connection in proxied), "proxies are exempt"
    connections.pop().close()
    connections.append(wait_until(lambda: can_connect(daemon, "127.0.2.1"), "room for another"))
    assert open_refused(daemon, "127.0.2.1", 429)
    # Whoever dies with its connections forgets them.
    victim = daemon.owner(connections[0])
    lost = [connection for connection in connections if daemon.owner(connection) == victim]
    daemon.send(signal.SIGKILL, victim)
    kept = [wait_until(lambda: can_connect(daemon, "127.0.2.1"), "room for those that were lost") for _ in lost]
    assert open_refused(daemon, "127.0.2.1", 429)
    for connection in connections + kept + proxied:
        connection.close()


def test_no_address_gets_more_connections_than_it_may_in_a_race(todod):
    daemon = todod(workers=4, max_connections_per_address=10)
    answers, together = [], threading.Barrier(40)
    done = threading.Event()

    def ask():
        together.wait()
        with connect(daemon, "127.0.2.1") as connection:
            answers.append(connection.send(INDEX).read().status)
            done.wait(30)
    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answers) == 40, "answers")
    done.set()
    for thread in threads:
        thread.join()
    assert 1 <= answers.count(200) <= 10 and answers.count(429) == 40 - answers.count(200), answers


def test_connections_in_all(todod):
    daemon = todod(workers=2, max_connections_total=10)
    wait_until(lambda: sum(daemon.connections().values()) == 0, "no connections")
    busy, body = [], b"content=x"
    head = request_bytes("POST", "/todo", fields=[("Content-Type", "application/x-www-form-urlencoded"), ("Content-Length", str(len(body))),
                                                  ("Expect", "100-continue")])

    def is_full():
        """Fills it with those that are in the middle of a request, so that none is idle. Workers may let in one too many each."""
        busy.append(daemon.connect().send(head))
        status = busy[-1].read().status
        assert status in (100, 503)
        time.sleep(0.2)  # its worker tells the other one ten times a second
        return status == 503
    wait_until(is_full, "a refusal")
    assert 10 <= len(busy) - 1 <= 12
    assert open_refused(daemon, "127.0.2.1", 503)
    # Whoever is idle makes room; then none is.
    busy[0].send(body)
    assert busy[0].read().status == 200
    taker = wait_until(lambda: can_connect(daemon, "127.0.2.1"), "room")
    busy[0].read_end()
    for connection in busy + [taker]:
        connection.close()
    wait_until(lambda: can_connect(daemon, "127.0.2.1"), "room").close()


def test_those_that_are_refused_do_not_keep_it_full(todod):
    daemon = todod(workers=1, max_connections_total=4)
    wait_until(lambda: sum(daemon.connections().values()) == 0, "no connections")
    busy = [daemon.connect().send(b"GET /index HTTP/1.1\r\n") for _ in range(4)]
    wait_until(lambda: sum(daemon.connections().values()) == 4, "accepted")
    lingering = [daemon.connect() for _ in range(20)]
    assert all(connection.read().status == 503 for connection in lingering)
    watch = Stopwatch()
    busy[0].close()
    wait_until(lambda: can_connect(daemon, "127.0.2.1"), "room", 1.6 * SLOW).close()
    assert watch.seconds < 1.6 * SLOW, "while those that were refused still linger"
    for connection in busy + lingering:
        connection.close()

"""/metrics: one scrape is the whole service, whoever has died. And what else operators are told, and nobody else."""
import json
import os
import re
import signal
import socket
import struct
import subprocess
import threading

import pytest

from harness.daemon import ROOT, accepts, free_port, run_todod
from harness.frame import conf
from harness.metrics import Metrics, Prometheus, scrape, scrape_text
from harness.sqlite import write_lock
from harness.waiting import wait_until
from harness.wire import Closed, Connection, form, request_bytes

UUID = "01a2071d-6594-7a52-9f0e-3c2f1b6d8a47"

# (request, route, code), each answered by the daemon as it stands.
MIXED = [
    (("GET", "/index"), "index", 200),
    (("HEAD", "/index"), "index", 200),
    (("GET", "/todo"), "list", 200),
    (("GET", "/todo?start=1"), "list", 200),
    (("GET", "/todo?limit=x"), "list", 400),
    (("GET", "/nowhere"), "none", 404),
    (("PATCH", "/todo"), "none", 405),
    (("OPTIONS", "/todo"), "options", 204),
    (("GET", f"/todo/{UUID}"), "get", 404),
    (("DELETE", f"/todo/{UUID}"), "delete", 404),
    (("PUT", f"/todo/{UUID}/finish"), "finish", 404),
    (("POST", "/todo", {"content": "x"}), "create", 200),
    (("POST", "/todo", {}), "create", 400),
    (("GET", "/healthz"), "healthz", 200),
    (("GET", "/readyz"), "readyz", 200),
]


@pytest.fixture
def daemon(todod):
    return todod(admin_listen="127.0.0.1:0")


def send_mixed(daemon, rounds, connections=9):
    """Over as many connections, which spread over the workers. {(route, class): count}, {code: count}"""
    routes, codes = {}, {}
    opened = [daemon.connect() for _ in range(connections)]
    for number in range(rounds * len(MIXED)):
        request, route, code = MIXED[number % len(MIXED)]
        response = opened[number % connections].request(*request)
        assert response.status == code, (request, response)
        key = (route, f"{code // 100}xx")
        routes[key] = routes.get(key, 0) + 1
        codes[str(code)] = codes.get(str(code), 0) + 1
    for connection in opened:
        connection.close()
    return routes, codes


def add(into, more):
    for key, count in more.items():
        into[key] = into.get(key, 0) + count


def kill_a_worker(daemon):
    victim = daemon.wait_workers(3)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in daemon.worker_pids() and len(daemon.worker_pids()) == 3, "a successor")


def test_counts_are_exact_whoever_dies(todod):
    daemon = todod(admin_listen="127.0.0.1:0", deaths=True)
    before = scrape(daemon.admin)
    routes, codes = (before.by("todod_http_requests_total", "route", "class"),
                     before.by("todod_http_responses_total", "code"))
    for _ in range(2):
        more = send_mixed(daemon, 12)
        add(routes, more[0])
        add(codes, more[1])
        kill_a_worker(daemon)
    for _ in range(6):  # whichever worker answers
        got = scrape(daemon.admin)
        assert got.by("todod_http_requests_total", "route", "class") == routes
        assert got.by("todod_http_responses_total", "code") == codes
        assert {route: got.sum("todod_http_request_duration_seconds_count", route=route) for route, _ in routes} == {
            route: sum(count for (other, _), count in routes.items() if other == route) for route, _ in routes}
    assert got.by("todod_process_restarts_total", "process", "reason") == {("worker", "crashed"): 2}
    # The master counts a fork when it is itself back from it.
    wait_until(lambda: scrape(daemon.admin).value("todod_process_forks_total", process="worker", result="ok") == 5, "five forks")
    creates = 2 * 12
    assert got.value("todod_store_operations_total", operation="insert", outcome="ok") == creates
    assert got.value("todod_store_operations_total", operation="delete", outcome="not_found") == creates
    # One at a time: each a commit of its own.
    assert got.value("todod_store_commit_writes_bucket", le="1") == got.value("todod_store_commit_writes_sum") == 3 * creates
    assert got.value("todod_store_queue_wait_seconds_count", lane="write") == 3 * creates
    assert got.sum("todod_cache_requests_total") == 2 * creates
    assert got.value("todod_cache_requests_total", outcome="bypass") == creates


def test_counts_under_load_and_kills(todod):
    """What clients got is counted; what they did not get may be."""
    daemon = todod(admin_listen="127.0.0.1:0", deaths=True)
    before = scrape(daemon.admin).value("todod_http_requests_total", route="index", **{"class": "2xx"})
    answered, lost, stopped = [], [], threading.Event()

    def ask():
        connection = None
        while not stopped.is_set():
            try:
                connection = connection or daemon.connect()
                assert connection.request("GET", "/index").status == 200
                answered.append(1)
            except (Closed, OSError):
                lost.append(1)
                connection = None
        if connection:
            connection.close()
    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for goal in (300, 600, 900):
        wait_until(lambda: len(answered) >= goal, "answers")
        kill_a_worker(daemon)
    wait_until(lambda: len(answered) >= 1200, "answers")
    stopped.set()
    for thread in threads:
        thread.join()
    got = scrape(daemon.admin).value("todod_http_requests_total", route="index", **{"class": "2xx"}) - before
    assert len(answered) <= got <= len(answered) + len(lost)


def recycle(daemon):
    for pid in daemon.wait_workers(3):
        os.kill(pid, signal.SIGTERM)  # it leaves, in order
        wait_until(lambda: pid not in daemon.worker_pids() and len(daemon.worker_pids()) == 3, "a successor")


def test_counts_are_exact_whatever_follows(configured, directory):
    """Processes that were told to leave, other generations, other programs, those that would not start."""
    admin = free_port()
    daemon = configured(admin_listen=f"127.0.0.1:{admin}")
    before = scrape(daemon.admin)
    routes = before.by("todod_http_requests_total", "route", "class")

    def bad_reload():
        good = (daemon.directory / "todod.conf").read_text()
        daemon.configure(good + "no_such_key = 1\n")
        daemon.change(result="failed")
        daemon.configure(good)
    for happens in (daemon.change, bad_reload, lambda: daemon.change(signal.SIGUSR2), lambda: recycle(daemon),
                    lambda: daemon.change(signal.SIGUSR2), daemon.change):
        add(routes, send_mixed(daemon, 3)[0])
        happens()
        daemon.wait_settled(3)
    got = wait_until(lambda: (got := scrape(daemon.admin)).value("todod_draining_generations") == 0 and got, "all has left")
    assert got.by("todod_http_requests_total", "route", "class") == routes
    assert got.by("todod_reloads_total", "result") == {"ok": 2, "failed": 1}
    assert got.by("todod_upgrades_total", "result") == {"ok": 2}
    assert got.by("todod_process_restarts_total", "process", "reason") == {("worker", "recycled"): 3}
    assert got.value("todod_process_forks_total", process="worker", result="ok") == 3 * 5 + 3
    assert got.value("todod_start_time_seconds") == before.value("todod_start_time_seconds")
    assert got.by("todod_workers", "state") == {"ready": 3} and got.value("todod_workers_wanted") == 3
    assert got.value("todod_connections_accepted_total") >= before.value("todod_connections_accepted_total") + 6 * 9


def test_a_draining_worker_still_counts(configured, directory):
    daemon = configured(admin_listen="127.0.0.1:0", store_timeout_ms=25000)
    with daemon.connect() as busy:
        with write_lock(directory / "todo.db"):
            busy.send(request_bytes("POST", "/todo", **form(b"content=x")))
            wait_until(lambda: daemon.owner(busy), "a worker has the connection")
            daemon.change()
            got = wait_until(lambda: (got := scrape(daemon.admin)).value("todod_workers", state="draining") == 1 and got,
                             "the others have left")
            assert got.value("todod_draining_generations") == 1
            before = got.value("todod_http_requests_total", route="create", **{"class": "2xx"})
            daemon.send(signal.SIGTTIN)
            wait_until(lambda: scrape(daemon.admin).value("todod_workers_wanted") == 4, "one more")
        assert busy.read().status == 200
    daemon.wait_settled(4)
    got = scrape(daemon.admin)
    assert got.value("todod_http_requests_total", route="create", **{"class": "2xx"}) == before + 1
    assert got.value("todod_store_operations_total", operation="insert", outcome="ok") == 1


def test_recycled_for_what_they_did(configured):
    daemon = configured(admin_listen="127.0.0.1:0", max_requests=20)
    first = set(daemon.wait_workers(3))
    while first & set(daemon.worker_pids()):
        daemon.request("GET", "/index")
    daemon.wait_settled(3)
    got = scrape(daemon.admin).by("todod_process_restarts_total", "process", "reason")
    assert set(got) == {("worker", "recycled")} and got["worker", "recycled"] >= 3


def test_admin_addresses_come_and_go(configured, directory):
    """Each is kept where it is; port 0 means another one for clients and operators; and no address changes sides."""
    daemon = configured(admin_listen="127.0.0.1:0")
    port = free_port()
    admin, clients = daemon.admin, daemon.address

    def configure(admin_listen, *listen):
        daemon.configure(conf(directory, *(listen or ["127.0.0.1:0"]), **({"admin_listen": admin_listen} if admin_listen else {})))
        daemon.change(result="serves")
        assert daemon.request("GET", "/metrics").status == 404 and daemon.request("GET", "/todo").status == 200
    assert clients[1] != admin[1]
    for _ in range(2):
        configure(f"127.0.0.1:0, 127.0.0.1:{port}, unix:{directory}/admin.sock")
        for address in (admin, ("127.0.0.1", port), f"{directory}/admin.sock"):
            assert scrape(address).value("todod_workers_wanted") == 3
        configure("127.0.0.1:0")
        assert scrape(admin).value("todod_workers_wanted") == 3
        wait_until(lambda: not accepts(("127.0.0.1", port)) and not (directory / "admin.sock").exists(), "given up")
    daemon.change(signal.SIGUSR2)
    configure("127.0.0.1:0")
    assert scrape(admin).value("todod_workers_wanted") == 3
    daemon.configure(conf(directory, "127.0.0.1:0", f"127.0.0.1:{port}", admin_listen="127.0.0.1:0"))
    daemon.change()
    daemon.configure(conf(directory, "127.0.0.1:0", admin_listen=f"127.0.0.1:{port}"))
    daemon.change(result="failed")
    with Connection(("127.0.0.1", port)) as connection:
        assert connection.request("GET", "/todo").status == 200
    configure(None)
    wait_until(lambda: not accepts(admin), "off")


def test_promtool_approves(daemon):
    send_mixed(daemon, 2)
    done = subprocess.run(["promtool", "check", "metrics"], input=scrape_text(daemon.admin), text=True, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_histograms_are_whole(daemon):
    send_mixed(daemon, 2)
    got = scrape(daemon.admin)
    for family in (name for name, kind in got.kinds.items() if kind == "histogram"):
        series = {}
        for (name, labels), value in got.samples.items():
            if name == family + "_bucket":
                bound = dict(labels)["le"]
                key = frozenset(label for label in labels if label[0] != "le")
                series.setdefault(key, []).append((float(bound), value))
        for labels, buckets in series.items():
            assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets), (family, labels)
            assert buckets[-1][0] == float("inf") and buckets[-1][1] == got.samples[family + "_count", labels]


def test_prometheus_scrapes(daemon, directory):
    send_mixed(daemon, 2)
    expected = scrape(daemon.admin).sum("todod_http_requests_total")
    prometheus = Prometheus(directory, [daemon.admin])
    try:
        prometheus.wait_for("up", lambda found: found[0][1] == 1)
        prometheus.wait_for("sum(todod_http_requests_total)", lambda found: found[0][1] == expected)
        prometheus.wait_for("todod_build_info", lambda found: found[0][0]["version"])
        send_mixed(daemon, 1)
        prometheus.wait_for("sum(todod_http_requests_total)", lambda found: found[0][1] == expected + len(MIXED))
        wait_until(lambda: prometheus.target_errors() == [], prometheus.target_errors)
    finally:
        prometheus.close()


def test_dashboard_names_what_there_is(daemon):
    """All that it asks for exists, with these labels; and it shows all there is."""
    dashboard = json.loads((ROOT / "conf/grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    got = scrape(daemon.admin)
    labels = {}
    for name, found in got.samples:
        labels.setdefault(name, set()).update(label for label, _ in found)
    shown = set()
    for expression in asked:
        for name, selector in re.findall(r"\b(todod_\w+)\{([^}]*)\}", expression):
            assert name in labels, expression
            assert set(re.findall(r"(\w+)(?:=|!)", selector)) <= labels[name] | {"job", "instance"}, expression
            shown.add(name)
        assert len(re.findall(r"\btodod_\w+", expression)) == len(re.findall(r"\btodod_\w+\{", expression)), expression
    assert {name for name in got.kinds if name not in shown and name + "_bucket" not in shown} == set()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


# ---- who is told ----------------------------------------------------------------------------------------

def test_paths_are_apart(daemon):
    assert daemon.request("GET", "/metrics").status == 404
    with Connection(daemon.admin) as operator:
        for target in ("/", "/todo", "/index", "/metrics/x", f"/todo/{UUID}"):
            assert operator.request("GET", target).status == 404, target
        assert operator.request("POST", "/todo", {"content": "x"}).status == 404
        assert operator.request("POST", "/metrics").status == 405
        assert operator.request("OPTIONS", "/metrics").allow == {"GET", "HEAD", "OPTIONS"}
        assert operator.request("OPTIONS", "*").allow == {"GET", "HEAD", "OPTIONS"}
        head = operator.request("HEAD", "/metrics", check=False)
        assert head.status == 200 and int(head.field("Content-Length")) > 10000
        operator.send(request_bytes("GET", "/metrics") + request_bytes("GET", "/healthz"))
        assert operator.read(check=False).status == operator.read().status == 200


def quiet(daemon):
    """A scrape from when every connection of a client is closed, and told."""
    return wait_until(lambda: (got := scrape(daemon.admin)).value("todod_connections") == 0 and got.value(
        "todod_connections_accepted_total") == got.value("todod_connections_closed_total") and got, "no client")


def test_operators_are_not_counted(daemon):
    """Prometheus itself would else be the busiest client of a quiet service."""
    before = quiet(daemon)
    for _ in range(5):
        with Connection(daemon.admin) as operator:
            operator.request("GET", "/readyz")
            operator.request("GET", "/nowhere")
    after = scrape(daemon.admin)
    for name in ("todod_http_requests_total", "todod_http_responses_total", "todod_connections_accepted_total",
                 "todod_connections_closed_total", "todod_connections", "todod_http_sent_bytes_total"):
        assert after.sum(name) == before.sum(name), name


def test_bytes_and_connections(daemon):
    before = quiet(daemon)
    sent = request_bytes("GET", "/index")
    with daemon.connect() as one, daemon.connect() as other:
        for connection in (one, other):
            connection.send(sent)
            connection.read()
        got = scrape(daemon.admin)
        assert got.value("todod_connections_accepted_total") - before.value("todod_connections_accepted_total") == 2
        assert got.value("todod_connections_closed_total") == before.value("todod_connections_closed_total")
        assert got.value("todod_http_received_bytes_total") - before.value("todod_http_received_bytes_total") == 2 * len(sent)
        wait_until(lambda: scrape(daemon.admin).value("todod_http_sent_bytes_total") > before.value("todod_http_sent_bytes_total"),
                   "counted when the call that sends is over")
        wait_until(lambda: scrape(daemon.admin).value("todod_connections") == 2, "told with the next tick")
    assert quiet(daemon).value("todod_connections_closed_total") == got.value("todod_connections_closed_total") + 2


def test_several_addresses(todod):
    daemon = todod(admin_listen=["127.0.0.1:0", "unix:admin.sock", "[::1]:0"], listen=["127.0.0.1:0", "unix:todod.sock"])
    for address in daemon.admin_addresses:
        assert scrape(address).value("todod_workers_wanted") == 3
    tcp = "%s:%d" % daemon.address
    assert list(scrape(daemon.admin).by("todod_accept_queue_limit", "listener")) == [tcp]
    assert daemon.stop() == 0
    assert not os.path.exists(daemon.directory / "admin.sock")


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0"])
def test_loopback_only(directory, address):
    done = run_todod(directory, "--admin-listen", address)
    assert done.returncode == 78 and "could be reached from other machines" in done.stderr


def test_a_full_daemon_still_tells(todod):
    """Operators have room of their own, and that is bounded."""
    daemon = todod(admin_listen="127.0.0.1:0", workers=1, max_connections=2)
    half = b"GET /todo HTTP/1.1\r\n"
    clients = [daemon.connect().send(half) for _ in range(2)]
    wait_until(lambda: scrape(daemon.admin).value("todod_connections") == 2, "both accepted")
    waiting = [daemon.connect() for _ in range(3)]
    wait_until(lambda: scrape(daemon.admin).sum("todod_accept_queue_length") == 3, "three wait")
    operators = [Connection(daemon.admin).send(half) for _ in range(17)]
    wait_until(lambda: [operator.is_open() for operator in operators].count(False) == 1, "one is too many")
    for client in clients:
        assert client.send(b"Host: x\r\n\r\n").read().status == 200
    for operator in operators:
        operator.close()
    assert daemon.request("GET", "/index").status == 200
    wait_until(lambda: scrape(daemon.admin).sum("todod_connections_evicted_total") >= 1, "idle ones made room")
    for connection in clients + waiting:
        connection.close()


def test_limits_are_for_clients(todod):
    daemon = todod(admin_listen="127.0.0.1:0", rate_limit=1, rate_burst=5, max_connections_per_address=1,
                   max_connections_total=50, wait_store=False)
    wait_until(lambda: ready(daemon).status == 200, "the store")
    operators = [Connection(daemon.admin) for _ in range(4)]
    for operator in operators * 3:
        assert operator.request("GET", "/healthz").status == 200
    with daemon.connect() as client:
        assert {client.request("GET", "/index").status for _ in range(20)} == {200, 429}
        with daemon.connect() as other:
            assert other.read().status == 429
    got = scrape(daemon.admin)
    assert got.value("todod_connections_refused_total") == 1
    assert got.value("todod_http_responses_total", code="429") == got.value(
        "todod_http_requests_total", route="none", **{"class": "4xx"}) > 1
    for operator in operators:
        operator.close()


def test_abandoned(todod):
    daemon = todod(admin_listen="127.0.0.1:0", workers=1, store_timeout_ms=10000)
    lock = subprocess.Popen(["flock", f"{daemon.directory}/todo.db.lock", "sh", "-c", "echo held; cat"],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    lock.stdout.readline()
    clients = [daemon.connect().send(request_bytes("POST", "/todo", **form(b"content=x"))) for _ in range(3)]
    wait_until(lambda: scrape(daemon.admin).value("todod_store_queue_length", lane="write") == 3, "three wait")
    for client in clients:  # with a reset: who has but nothing more to say still gets his answer
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    wait_until(lambda: scrape(daemon.admin).value("todod_http_requests_abandoned_total") == 3, "given up")
    wait_until(lambda: scrape(daemon.admin).value("todod_store_queue_length", lane="write") == 0, "taken back")
    lock.communicate()


def test_writes_that_wait_too_long(todod):
    daemon = todod(admin_listen="127.0.0.1:0", workers=1, store_timeout_ms=200)
    before = scrape(daemon.admin).value("todod_store_refused_total")  # until the store was there
    with write_lock(daemon.directory / "todo.db"):
        for _ in range(2):
            assert daemon.request("POST", "/todo", **form(b"content=x")).status == 503
    assert scrape(daemon.admin).value("todod_store_refused_total") == before + 2


# ---- health in detail -----------------------------------------------------------------------------------

def ready(daemon):
    with Connection(daemon.admin) as operator:
        return operator.request("GET", "/readyz")


def test_health_in_detail(daemon):
    response = wait_until(lambda: (got := ready(daemon)).json["workers_ready"] == 3 and got.json["keeper"] == "ok" and got, "all of them")
    assert response.status == 200
    answer = response.json
    assert {key: answer[key] for key in ("status", "store", "cache", "keeper", "workers_ready", "workers_wanted")} == {
        "status": "ok", "store": "ok", "cache": "local", "keeper": "ok", "workers_ready": 3, "workers_wanted": 3}
    assert {one["pid"] for one in answer["processes"] if one["role"] == "worker"} == set(daemon.worker_pids())
    assert [one["pid"] for one in answer["processes"] if one["role"] == "keeper"] == [daemon.keeper_pid()]
    assert all(one["state"] == "ready" and one["silent_ms"] < 2000 for one in answer["processes"])
    with Connection(daemon.admin) as operator:
        live = operator.request("GET", "/healthz").json
    assert live["status"] == "ok" and live["pid"] in daemon.worker_pids() and live["version"]
    assert daemon.request("GET", "/readyz").json == {"status": "ok", "store": "ok", "cache": "local"}


def test_health_without_a_store(todod):
    daemon = todod(admin_listen="127.0.0.1:0", store="mongodb://127.0.0.1:1/todo", store_timeout_ms=300, wait_store=False)
    response = wait_until(lambda: (got := ready(daemon)).json["workers_ready"] == 3 and got, "workers")
    assert response.status == 503
    assert response.json["store"] == "away" and len(response.json["processes"]) >= 4
    assert daemon.request("GET", "/todo").status == 503
    assert scrape(daemon.admin).value("todod_http_responses_total", code="503") == 1


def test_redis_comes_and_goes(todod, redis):
    daemon = todod(admin_listen="127.0.0.1:0", cache=f"redis://127.0.0.1:{redis.port}")

    def until(condition, what):
        return wait_until(lambda: condition(got := scrape(daemon.admin)) and got, what, 30)
    got = until(lambda m: m.value("todod_cache_state", state="ok") and m.value("todod_cache_vouched_for"), "Redis is there")

    def is_looked_up(m):
        """The keeper asks the store instead where Redis has been late."""
        if m.sum("todod_keeper_lookups_total") == 0:
            daemon.post("x")
            daemon.request("GET", "/todo")
        return m.sum("todod_keeper_lookups_total") >= 1
    until(is_looked_up, "a look at Redis")
    daemon.post("x")

    def is_told(m):
        """Opened once, unless Redis has been late for 350 ms."""
        return m.value("todod_keeper_scripts_total", script="invalidate", result="ok") >= 1 and m.value(
            "todod_keeper_sessions_opened_total") == m.value("todod_keeper_sessions_lost_total") + 1
    got = until(is_told, "an invalidation")
    assert got.value("todod_keeper_scripts_total", script="open", result="ok") >= got.value("todod_keeper_sessions_opened_total")
    redis.kill9()
    # A keeper without CPU is away as well.
    until(lambda m: m.value("todod_cache_state", state="away") and not m.value("todod_cache_vouched_for") and m.value(
        "todod_keeper_sessions_lost_total") == m.value("todod_keeper_sessions_opened_total"), "Redis is away")


def test_scrape_reads_itself(daemon):
    """The parser of these tests is strict: it would find a sample out of place."""
    text = scrape_text(daemon.admin)
    assert text.endswith("\n")
    line = next(line for line in text.splitlines() if not line.startswith("#"))
    for wrong in (text + line + "\n", text + "todod_no_such 1\n"):
        with pytest.raises(AssertionError):
            Metrics(wrong)

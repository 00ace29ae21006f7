"""What ten thousand idle connections cost, and that a worker's life leaks nothing."""
import multiprocessing
import random
import re
import resource
import subprocess

import pytest

from harness.daemon import private_bytes, status_field
from harness.mongo import new_database_name
from harness.waiting import SANITIZE, wait_until
from harness.wire import Closed, Connection, request_bytes

CONNECTIONS = 500 if SANITIZE else 10000
HOLDERS = 4
GROWTH_MAX_BYTES = 4 << 20


def raise_descriptor_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))


def hold(address, count, source, pipe):
    """One process of clients: opens, asks once, waits to be told, asks again."""
    raise_descriptor_limit(count + 100)
    connections = []
    for _ in range(count):
        connection = Connection(address, source=(source, 0))
        assert connection.request("GET", "/healthz").status == 200
        connections.append(connection)
    pipe.send(len(connections))
    pipe.recv()
    pipe.send(sum(connection.request("GET", "/index").status == 200 for connection in connections))
    pipe.recv()


def test_idle_connections_cost_little_and_all_still_answer(todod, counted):
    daemon = todod(keepalive_timeout_s=600)
    fork = multiprocessing.get_context("fork")
    warm = [daemon.connect() for _ in range(200)]
    for connection in warm:
        connection.send(request_bytes("POST", "/todo", {"content": "warm"}) + request_bytes("GET", "/todo"))
    for connection in warm:
        assert connection.read().status == connection.read().status == 200
        connection.close()
    wait_until(lambda: sum(daemon.connections().values()) == 0, "no connections")

    def private():
        return sum(private_bytes(pid) for pid in [daemon.master, *daemon.children()])
    before = private()
    holders = []
    try:
        for i in range(HOLDERS):
            here, there = fork.Pipe()
            process = fork.Process(target=hold, daemon=True,
                                   args=(daemon.address, CONNECTIONS // HOLDERS, f"127.0.0.{i + 2}", there))
            process.start()
            there.close()
            holders.append((process, here))
        opened = sum(pipe.recv() for _, pipe in holders)
        assert opened == CONNECTIONS and sum(daemon.connections().values()) == CONNECTIONS
        growth = private() - before
        for _, pipe in holders:
            pipe.send("ask")
        answered = sum(pipe.recv() for _, pipe in holders)
        assert answered == CONNECTIONS
        counted(f"{CONNECTIONS} idle connections, {growth / 1024:.0f} KiB ({growth / CONNECTIONS:.0f} bytes each), all answered")
        if not SANITIZE:  # a sanitizer's own memory would be measured
            assert growth < GROWTH_MAX_BYTES
    finally:
        for process, _ in holders:
            process.kill()
            process.join()


def mixed_requests(daemon, count):
    chance, ids = random.Random(1), []
    with daemon.connect(timeout_s=120) as connection:
        for i in range(count):
            kind = chance.randrange(10)
            if kind < 3 or not ids:
                ids.append(connection.request("POST", "/todo", {"content": f"todo {i}"}).json["id"])
            elif kind == 3:
                assert connection.request("PUT", f"/todo/{chance.choice(ids)}/finish").status == 200
            elif kind == 4:
                assert connection.request("DELETE", f"/todo/{ids.pop()}").status == 200
            elif kind == 5:
                assert connection.request("GET", f"/todo/{chance.choice(ids)}").status == 200
            elif kind == 6:
                assert connection.request("GET", "/todo?limit=100&start=3").status == 200
            elif kind == 7:
                assert connection.request("GET", "/todo?limit=x").status == 400
            elif kind == 8:
                connection.send(request_bytes("POST", "/todo", b"", [("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")])
                                + b'f\r\n{"content":"x"}\r\n0\r\n\r\n')
                assert connection.read().status == 200
            else:
                assert connection.request("GET", "/index").status == 200


if not SANITIZE:  # valgrind cannot run a program with sanitizers in it, and these look for leaks themselves
    @pytest.mark.parametrize("kind", ["sqlite", "mongodb"])
    def test_a_thousand_requests_leak_nothing(todod, directory, request, kind, counted):
        options = {}
        if kind == "mongodb":
            options["store"] = request.getfixturevalue("mongo").uri(new_database_name())
        daemon = todod(workers=1, worker_timeout_s=60, store_timeout_ms=30000, wait=False, deaths=True, **options, prefix=[
            "valgrind", "--quiet", "--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite",
            "--child-silent-after-fork=no", f"--log-file={directory}/valgrind.%p"])
        daemon.wait_ready(120)
        daemon.wait_store(120)
        mixed_requests(daemon, 1000)
        for _ in range(20):
            daemon.connect().close()
        assert daemon.stop(timeout_s=120) == 0
        # A keeper has 750 ms between two beats, and a second to leave: few where valgrind has to wait for a core.
        assert all(re.search(r"keeper \d+ died, killed", line) for line in daemon.deaths), daemon.deaths
        reports = {path.name: path.read_text() for path in directory.glob("valgrind.*")}
        assert len(reports) >= 4, "master, set-up child, keeper and worker report"
        found = [text for text in reports.values() if re.search(r"definitely lost|Invalid (read|write)|uninitialised", text)]
        assert not found, "\n".join(found)
        counted(f"1000 requests, {len(reports)} processes, no leak")


@pytest.mark.skipif(bool(SANITIZE), reason="a sanitizer takes all of the address space")
def test_a_request_for_which_there_is_no_memory_costs_its_worker(todod):
    """By RLIMIT_AS: a control group is not to be had everywhere. The others, the master and the service live on."""
    daemon = todod(body_max_bytes=16 << 20, deaths=True)
    workers = daemon.wait_workers(3)
    with daemon.connect() as connection:
        connection.request("GET", "/index")
        victim = daemon.owner(connection)
        room = 1024 * int(status_field(victim, "VmSize").split()[0]) + (1 << 20)
        subprocess.run(["prlimit", f"--as={room}:", "--pid", str(victim)], check=True)
        with pytest.raises((OSError, Closed)):
            connection.request("POST", "/todo", {"content": "x" * (12 << 20)})
    now = wait_until(lambda: len(now := daemon.worker_pids()) == 3 and victim not in now and now, lambda: daemon.log)
    assert set(workers) - {victim} < set(now)
    assert daemon.request("GET", "/index").status == 200
    assert len(daemon.deaths) == 1 and f"worker {victim} died, killed by signal" in daemon.deaths[0], daemon.deaths

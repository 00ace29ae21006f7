"""
MongoDB that dies, hangs, is absent, refuses, or changes its primary, under load; judged by the oracle of
harness/load.py. All the time /healthz has to answer, no worker may be replaced, and every request has to be
answered within its deadline.
"""
import os
import signal
import time

import pytest

from harness.load import POST, HealthProbe, Load, answered_seconds, check_order, judge
from harness.mongo import Mongod, new_database_name
from harness.waiting import SLOW, SOAK_SECONDS, Stopwatch, percentile, wait_until

TIMEOUT_S = 2.0       # store_timeout_ms
ANSWER_P99_S = TIMEOUT_S + 1.0 * SLOW
HEALTH_P99_S = 0.5 * SLOW
RECOVERY_S = 4.0      # one that waits out its deadline, and the next one; 10 s is what libmongoc would take between two looks


def rest_of_soak(watch):
    """Some time in any case: what comes after the fault is judged, too."""
    time.sleep(max(2.0, SOAK_SECONDS - watch.seconds))


def seconds_until_served(daemon, since):
    """How long after `since` (monotonic) a post was acknowledged again."""
    wait_until(lambda: daemon.request("POST", "/todo", {"content": "back again"}).status == 200,
               lambda: f"posts are taken again:\n{daemon.log[-3000:]}", timeout_s=30, poll_s=0.02)
    return time.monotonic() - since


def posted_between(load, start, end):
    return [event for event in load.events if event.kind == POST and event.status == 200 and start < event.at < end]


def verdict(daemon, load, probe, counted, workers):
    """What every fault has to leave behind."""
    probe.check(HEALTH_P99_S)
    slow = percentile(answered_seconds(load), 99)
    assert slow <= ANSWER_P99_S, f"p99 of the answers: {slow:.3f} s"
    assert max(answered_seconds(load)) <= TIMEOUT_S + 2 * SLOW, "an answer long after its deadline"
    assert daemon.worker_pids() == workers, f"workers were replaced:\n{daemon.log[-3000:]}"
    counted(judge(load, daemon.walk()))
    assert [event for event in load.events if event.status == 200], "nothing was ever acknowledged"


# ---- one server ----------------------------------------------------------------------------------------

def test_kill_9_and_restart_under_load(todod, mongo, counted):
    daemon = todod(store=mongo.uri(new_database_name()))
    workers, watch = daemon.wait_workers(3), Stopwatch()
    with HealthProbe(daemon.address) as probe, Load(daemon.address, 50) as load:
        time.sleep(SOAK_SECONDS / 4)
        mongo.kill9()
        killed = time.monotonic()
        wait_until(lambda: daemon.request("GET", "/readyz").status == 503, "readiness follows the store", 5)
        time.sleep(0.5)
        mongo.restart()
        mongo.wait_ready()
        back = seconds_until_served(daemon, time.monotonic())
        rest_of_soak(watch)
        end = time.monotonic()
    assert back <= RECOVERY_S * SLOW, f"served again {back:.2f} s after the restart"
    assert posted_between(load, 0, killed) and posted_between(load, end - 1, end)
    verdict(daemon, load, probe, counted, workers)
    assert daemon.lines(r"(warn|error)\b.*worker"), "a failed store operation is logged"


def test_a_server_that_hangs_under_load(todod, mongo, counted):
    daemon = todod(store=mongo.uri(new_database_name()))
    workers, watch = daemon.wait_workers(3), Stopwatch()
    with HealthProbe(daemon.address) as probe, Load(daemon.address, 50) as load:
        time.sleep(1)
        mongo.pause()
        paused = time.monotonic()
        time.sleep(4)
        resumed = time.monotonic()
        mongo.resume()
        back = seconds_until_served(daemon, resumed)
        rest_of_soak(watch)
        end = time.monotonic()
    assert back <= RECOVERY_S * SLOW, f"served again {back:.2f} s after SIGCONT"
    # The end of a wait is looked for ten times a second, and client and worker may wait for a core.
    assert not posted_between(load, paused + 0.05, resumed - TIMEOUT_S - 0.1 - 0.9 * SLOW)
    assert posted_between(load, 0, paused) and posted_between(load, end - 1, end)
    verdict(daemon, load, probe, counted, workers)


def test_workers_and_server_killed_under_a_hundred_connections(todod, mongo, counted):
    daemon = todod(store=mongo.uri(new_database_name()), deaths=True, workers=5)
    watch, kills = Stopwatch(), 0
    with Load(daemon.address, 100) as load:
        while watch.seconds < SOAK_SECONDS:
            time.sleep(0.6)
            for pid in daemon.worker_pids()[:1]:
                os.kill(pid, signal.SIGKILL)
                kills += 1
            if kills % 4 == 2:
                mongo.kill9()
                mongo.restart()
        mongo.wait_ready()
        seconds_until_served(daemon, time.monotonic())
        time.sleep(0.5)
    counted(f"{kills} workers killed; " + judge(load, daemon.walk()))


def test_a_server_absent_at_start(todod, mongod, directory):
    server = Mongod(mongod, directory / "late")
    server.kill9()
    try:
        daemon = todod(store=server.uri("late"), wait_store=False)
        for method, target, body in (("GET", "/todo", None), ("POST", "/todo", {"content": "x"}), ("GET", "/readyz", None)):
            watch = Stopwatch()
            assert daemon.request(method, target, body).status == 503
            assert watch.seconds < TIMEOUT_S + 2 * SLOW
        assert daemon.request("GET", "/healthz").status == 200
        server.start()
        assert seconds_until_served(daemon, time.monotonic()) <= RECOVERY_S * SLOW
        daemon.wait_store(RECOVERY_S * SLOW)  # through any worker
    finally:
        server.close()


def uri_with_password(mongo):
    return f"mongodb://todod:s3cr3tword@127.0.0.1:{mongo.port}/{new_database_name()}?authSource=admin"


@pytest.mark.parametrize("uri", [
    uri_with_password,
    lambda mongo: mongo.uri(new_database_name(), "replicaSet=other"),
    lambda mongo: "mongodb://no-such-host.invalid/todo"], ids=["wrong password", "wrong replica set", "unknown host"])
def test_a_store_that_refuses_is_503_and_a_line_in_the_log(todod, mongo, uri):
    daemon = todod(store=uri(mongo), wait_store=False)
    for method, target, body in (("GET", "/todo", None), ("POST", "/todo", {"content": "x"}), ("GET", "/readyz", None)):
        assert daemon.request(method, target, body).status == 503
    assert daemon.request("GET", "/healthz").status == 200
    wait_until(lambda: daemon.lines(r" (warn|error) "), lambda: f"a line in the log:\n{daemon.log}", 10)
    assert "s3cr3tword" not in daemon.log
    assert len(daemon.wait_workers(3)) == 3


def test_a_newer_schema_is_refused(todod, mongo):
    name = new_database_name()
    daemon = todod(store=mongo.uri(name))
    daemon.stop()
    with mongo.client() as client:
        meta = client[name]["meta"]
        before = meta.find_one()
        version = [key for key, value in before.items() if key != "_id" and isinstance(value, int)]
        assert version, before
        meta.update_one({"_id": before["_id"]}, {"$set": {version[0]: 999}})
    daemon.start(wait=False)
    assert daemon.wait_exit() == 78
    assert daemon.lines(r"schema")


def test_stop_while_the_server_hangs(todod, mongo):
    daemon = todod(store=mongo.uri(new_database_name()), drain_timeout_s=3)
    mongo.pause()
    with daemon.connect() as connection:
        connection.send(b"POST /todo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"content\":\"x\"}")
        time.sleep(0.2)
        watch = Stopwatch()
        daemon.send(signal.SIGTERM)
        assert connection.read().status in (503, 504)
        assert daemon.wait_exit() == 0 and watch.seconds < 6 * SLOW


# ---- a replica set -------------------------------------------------------------------------------------

def test_step_down_under_load(todod, replica_set, counted):
    daemon = todod(store=replica_set.uri(new_database_name()))
    workers, watch = daemon.wait_workers(3), Stopwatch()
    with HealthProbe(daemon.address) as probe, Load(daemon.address, 50) as load:
        time.sleep(SOAK_SECONDS / 4)
        old = replica_set.step_down()
        replica_set.wait_primary(other_than=old)
        back = seconds_until_served(daemon, time.monotonic())
        rest_of_soak(watch)
        end = time.monotonic()
    assert back <= RECOVERY_S * SLOW, f"served again {back:.2f} s after the election"
    assert posted_between(load, end - 1, end)
    verdict(daemon, load, probe, counted, workers)


def test_kill_9_of_the_primary_under_load(todod, replica_set, counted):
    daemon = todod(store=replica_set.uri(new_database_name()))
    workers, watch = daemon.wait_workers(3), Stopwatch()
    with HealthProbe(daemon.address) as probe, Load(daemon.address, 50) as load:
        time.sleep(SOAK_SECONDS / 4)
        old = replica_set.wait_primary()
        old.kill9()
        replica_set.wait_primary(other_than=old)
        back = seconds_until_served(daemon, time.monotonic())
        rest_of_soak(watch)
        end = time.monotonic()
    assert back <= RECOVERY_S * SLOW, f"served again {back:.2f} s after the election"
    assert posted_between(load, end - 1, end)
    verdict(daemon, load, probe, counted, workers)


def test_two_daemons_share_one_database(todod, replica_set):
    uri = replica_set.uri(new_database_name())
    one, other = todod(store=uri), todod(store=uri)
    for i in range(20):
        todo = one.post(f"todo {i}")
        assert other.request("GET", "/todo?limit=1").data == [todo]
    assert len(other.walk()) == 20
    check_order(other.walk())

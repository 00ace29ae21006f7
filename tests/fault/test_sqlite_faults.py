"""SQLite whose writers die, whose disk is full, and whose lock somebody else holds."""
import contextlib
import os
import select
import signal
import sqlite3
import time
from pathlib import Path

from harness.daemon import wait_until_gone
from harness.load import POST, HealthProbe, Load, judge
from harness.sqlite import check_integrity, lock_holder, small_disk, write_lock
from harness.waiting import SLOW, SOAK_SECONDS, Stopwatch, wait_until
from harness.wire import Closed, request_bytes

QUEUE_MAX = 512  # writes that may wait in one worker
WRITERS = 1      # besides those that it has taken already


def test_workers_killed_while_they_hold_the_lock(todod, directory, counted):
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}", workers=5, deaths=True)
    holders, watch = 0, Stopwatch()
    with Load(daemon.address, 50) as load:
        while holders < 5 or watch.seconds < SOAK_SECONDS:
            assert watch.seconds < SOAK_SECONDS + 60, f"only {holders} holders found"
            holder = lock_holder(database)
            if holder in daemon.children():
                os.kill(holder, signal.SIGKILL)
                holders += 1
                time.sleep(0.5)
    counted(f"{holders} lock holders killed; " + judge(load, daemon.walk()))
    assert daemon.stop() == 0
    check_integrity(database)


def test_daemon_and_workers_killed_under_a_hundred_connections(todod, directory, counted):
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}", workers=5, deaths=True)
    workers = daemons = 0
    watch = Stopwatch()
    with Load(daemon.address, 100) as load:
        while watch.seconds < SOAK_SECONDS:
            time.sleep(0.4)
            for pid in daemon.worker_pids()[:1]:
                os.kill(pid, signal.SIGKILL)
                workers += 1
            if workers % 4 == 3:
                daemon.kill_all()
                daemon.start().wait_store()
                daemons += 1
        time.sleep(0.5)
    assert daemons
    counted(f"{workers} workers and {daemons} daemons killed; " + judge(load, daemon.walk()))
    assert daemon.stop() == 0
    check_integrity(database)


def test_only_the_master_killed_loses_nothing(todod, directory, counted):
    daemon = todod(store=f"sqlite:{directory}/todo.db", workers=5)
    with Load(daemon.address, 50) as load:
        time.sleep(1)
        daemon.process.kill()
        daemon.wait_exit()
        assert not wait_until_gone(daemon.master, 12 * SLOW), "workers outlive their master"
        daemon.start().wait_store()
        time.sleep(0.5)
    counted(judge(load, daemon.walk()))


def test_what_an_orphan_has_written_is_shown_by_the_next(todod, directory):
    """It answers who was connected when its master was killed, and the next daemon has a page in memory that it knows nothing of."""
    database, distrusts = f"sqlite:{directory}/todo.db", "the last todod here did not come to its end"
    write = request_bytes("POST", "/todo", {"content": "second"})
    killed = todod(store=database, deaths=True)
    killed.post("first")
    with killed.connect() as connection:
        connection.request("GET", "/index")
        connection.send(write[:20])  # who is idle is closed after a second, which a start on a slow disk outlasts
        killed.process.kill()
        killed.process.wait()
        following = todod(store=database)
        assert following.lines(distrusts)
        for _ in range(3):
            assert [todo["content"] for todo in following.request("GET", "/todo").data] == ["first"]
        assert connection.send(write[20:]).read().status == 200
        assert [todo["content"] for todo in following.request("GET", "/todo").data] == ["second", "first"]
    assert not killed.lines(distrusts)
    assert following.stop() == 0
    assert todod(store=database).lines(distrusts), "it may be there still"


def test_a_full_disk_is_507_and_reads_go_on(todod, directory):
    """In a mount namespace of its own, on a file system of 3 MB."""
    mount, prefix = small_disk(directory)
    daemon = todod(store=f"sqlite:{mount}/todo.db", workers=2, prefix=prefix)
    inside = Path(f"/proc/{daemon.master}/root{mount}")
    todo = daemon.post("before")
    ballast = inside / "ballast"
    space = os.statvfs(inside)
    ballast.write_bytes(b"\0" * (space.f_bavail * space.f_frsize - 200 * 1024))

    posted, refused = [todo], []
    for i in range(200):
        response = daemon.request("POST", "/todo", {"content": f"{i} " + "x" * 10000})
        if response.status == 507:
            refused.append(f"{i} ")
            if len(refused) == 5:
                break
        else:
            assert response.status == 200, response
            posted.append(response.json)
    assert len(refused) == 5, "the disk never became full"
    assert daemon.request("GET", f"/todo/{todo['id']}").json == todo
    assert daemon.request("GET", "/healthz").status == 200
    assert daemon.walk() == posted[::-1]

    ballast.unlink()
    wait_until(lambda: daemon.request("POST", "/todo", {"content": "room again"}).status == 200, "posts are taken again", 5)
    contents = [found["content"] for found in daemon.walk()]
    assert not [content for content in contents for mark in refused if content.startswith(mark)]


def test_a_foreign_writer_means_503_for_writes_and_nothing_for_reads(todod, directory):
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}")
    todo = daemon.post("before")
    with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as foreign:
        foreign.execute("BEGIN IMMEDIATE")
        with daemon.connect() as connection:
            watch = Stopwatch()
            connection.send(request_bytes("POST", "/todo", {"content": "refused"}))
            while watch.seconds < 1.5:
                reading = Stopwatch()
                assert daemon.request("GET", "/todo").data == [todo]
                assert reading.seconds < 1 * SLOW
                time.sleep(0.05)
            assert connection.read().status == 503 and watch.seconds < 2 + 2 * SLOW
        foreign.execute("ROLLBACK")
    wait_until(lambda: daemon.request("POST", "/todo", {"content": "after"}).status == 200, "posts are taken again", 5)
    assert [found["content"] for found in daemon.walk()] == ["after", "before"]


def test_a_write_that_never_got_the_lock_is_503(todod, directory):
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}", store_timeout_ms=1000)
    with write_lock(database):
        watch = Stopwatch()
        assert daemon.request("POST", "/todo", {"content": "refused"}).status == 503
        assert 0.9 < watch.seconds < 1 + 2 * SLOW
        assert daemon.request("GET", "/todo").data == []
    assert daemon.post("after")
    assert [found["content"] for found in daemon.walk()] == ["after"]


def test_a_full_queue_is_503_at_once(todod, directory, counted):
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}", workers=1, store_timeout_ms=20000)
    connections = {f"todo {i}": daemon.connect() for i in range(QUEUE_MAX + 200)}
    refused = {}
    with write_lock(database):
        watch = Stopwatch()
        for content, connection in connections.items():
            connection.send(request_bytes("POST", "/todo", {"content": content}))

        def read_refusals():
            for content, connection in connections.items():
                if content not in refused and select.select([connection.sock], [], [], 0)[0]:
                    refused[content] = connection.read().status
            return len(refused) >= 200 - WRITERS
        wait_until(read_refusals, lambda: f"200 refused, have {len(refused)}", 10)
        assert watch.seconds < 3 * SLOW and set(refused.values()) == {503}
        assert daemon.request("GET", "/todo").data == [] and daemon.request("GET", "/healthz").status == 200
    answers = {content: refused.get(content) or connection.read().status for content, connection in connections.items()}
    for connection in connections.values():
        connection.close()
    accepted = sorted(content for content, status in answers.items() if status == 200)
    assert len(accepted) >= QUEUE_MAX and set(answers.values()) == {200, 503}
    assert sorted(todo["content"] for todo in daemon.walk()) == accepted
    counted(f"{len(accepted)} waited and were acknowledged, {len(answers) - len(accepted)} refused at once and absent")


def test_health_under_load(todod, directory, counted):
    daemon = todod(store=f"sqlite:{directory}/todo.db", store_timeout_ms=10000)  # on a slow disk writers wait long for each other
    workers = daemon.wait_workers(3)
    with HealthProbe(daemon.address) as probe, Load(daemon.address, 50) as load:
        time.sleep(SOAK_SECONDS / 3)
    probe.check(0.5 * SLOW)
    counted(judge(load, daemon.walk(), allowed=(200,)))
    assert daemon.worker_pids() == workers and not [e for e in load.events if e.kind == POST and e.status != 200]


def test_a_store_directory_that_goes_read_only_is_no_crash(todod, directory):
    """Writers that cannot open their lock say 503, and come back."""
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}", workers=1, deaths=True)
    daemon.post("before")
    lock = Path(f"{database}.lock")
    lock.rename(f"{database}.away")
    lock.mkdir()
    try:
        os.kill(daemon.worker_pids()[0], signal.SIGKILL)  # the next worker opens its files anew

        def refused():
            try:
                return daemon.request("POST", "/todo", {"content": "refused"}).status == 503
            except (Closed, OSError):
                return False
        wait_until(refused, "503", 10)
        assert len(daemon.request("GET", "/todo").data) == 1
    finally:
        lock.rmdir()
        Path(f"{database}.away").rename(lock)
    wait_until(lambda: daemon.request("POST", "/todo", {"content": "after"}).status == 200, lambda: daemon.log, 10)

"""SIGHUP, SIGTTIN and SIGTTOU, recycling: processes change under load, and no client sees it."""
import contextlib
import grp
import os
import random
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.daemon import BINARY, accepts, command_line, environment, free_port, status_field
from harness.frame import WORKERS, Frame, conf
from harness.history import History
from harness.machine import HIT
from harness.mongo import new_database_name
from harness.readers import Readers, Wrk
from harness.sqlite import write_lock
from harness.staleness import describe, find_violations
from harness.waiting import SANITIZE, SLOW, Stopwatch, wait_until
from harness.wire import Connection, request_bytes

POST = request_bytes("POST", "/todo", {"content": "in flight"})
END = b"\r\n"  # of a head: who has begun one is not idle, and stays connected while its worker drains


# ---- T8: a storm ---------------------------------------------------------------------------------------------

def test_a_hundred_reloads_under_load_are_not_noticed(configured, directory, counted):
    daemon = configured("127.0.0.1:0", f"unix:{directory}/socket")
    daemon.change()
    daemon.wait_settled(WORKERS)
    frame, old = Frame(daemon), daemon.worker_pids()
    gaps = random.Random(8)
    with Readers(daemon, 8, f"{directory}/socket") as kept, \
            Readers(daemon, 4, f"{directory}/socket", [("Connection", "close")]) as closing_ones, \
            Wrk(f"{daemon.url}/index", 4) as keep_alive, Wrk(f"{daemon.url}/todo", 4, closing=True) as close:
        for _ in range(100):
            daemon.send(signal.SIGHUP)
            time.sleep(gaps.uniform(0, 0.05))
    assert not keep_alive.errors and not close.errors and not kept.wrong and not closing_ones.wrong, (
        keep_alive.errors, close.errors, kept.wrong[:3], closing_ones.wrong[:3])
    assert keep_alive.requests > 100 and close.requests > 100 and kept.answers > 100 and closing_ones.answers > 100
    frame.check()
    assert not set(old) & set(daemon.worker_pids())
    counted(f"{daemon.changes('reload', 'serves')} generations for 100 signals, {keep_alive.requests} requests kept alive, "
            f"{close.requests} closed, {kept.answers + closing_ones.answers} on a unix socket, 0 failed; "
            f"the slowest of these {max(kept.longest, closing_ones.longest):.3f} s")


def test_a_request_in_flight_ends_with_its_old_worker(configured, directory):
    daemon = configured(store_timeout_ms=20000)
    old = daemon.wait_workers(WORKERS)
    with daemon.connect() as busy, daemon.connect() as idle:
        idle.request("GET", "/index")
        with write_lock(directory / "todo.db"):
            busy.send(POST)
            owner = wait_until(lambda: daemon.owner(busy), "a worker has the connection")
            daemon.change()
            wait_until(lambda: set(old) & set(daemon.worker_pids()) == {owner}, lambda: daemon.log)
            watch = Stopwatch()
            assert daemon.request("GET", "/index").status == 200
            assert watch.seconds < 5 * SLOW
            time.sleep(1.2)  # longer than anybody who is told to leave at once is waited for
        response = busy.read()
        assert response.status == 200 and response.closes
        idle.read_end()
    daemon.wait_settled(WORKERS)
    assert [todo["content"] for todo in daemon.walk()] == ["in flight"]


def test_the_end_is_that_no_old_worker_accepts(configured):
    """Whoever waits for a reload meets the new configuration; but one old worker that stands still is waited for 1 s only."""
    daemon = configured(worker_timeout_s=20)
    stopped = daemon.wait_workers(WORKERS)[0]
    os.kill(stopped, signal.SIGSTOP)
    watch = Stopwatch()
    daemon.change()
    assert 0.9 < watch.seconds < 1 + 5 * SLOW, daemon.log
    os.kill(stopped, signal.SIGCONT)
    daemon.wait_settled(WORKERS)


def test_a_stop_before_the_end(configured):
    """The new generation serves: that the reload has succeeded stays true."""
    daemon = configured(worker_timeout_s=20)
    old = daemon.wait_workers(WORKERS)
    os.kill(old[0], signal.SIGSTOP)
    daemon.send(signal.SIGHUP)
    wait_until(lambda: daemon.lines("generation 2 boots") and not set(old[1:]) & set(daemon.worker_pids()), lambda: daemon.log)
    daemon.send(signal.SIGTERM)
    wait_until(lambda: daemon.lines("draining: "), lambda: daemon.log)
    os.kill(old[0], signal.SIGCONT)
    assert daemon.wait_exit() == 0
    assert daemon.changes("reload", "serves") == 1 and daemon.changes("reload", "failed") == 0, daemon.log


def test_at_most_two_generations_drain(configured, directory):
    """A third reload waits: nobody is cut before its time."""
    daemon = configured(store_timeout_ms=20000)
    busy = []
    with write_lock(directory / "todo.db"):
        for _ in range(2):
            busy.append(daemon.connect())
            busy[-1].send(POST)
            wait_until(lambda: daemon.owner(busy[-1]), "a worker has the connection")
            daemon.change()
        for _ in range(2):
            daemon.send(signal.SIGHUP)
            time.sleep(0.3)
        assert daemon.changes("reload", "serves") == 2
    for connection in busy:
        assert connection.read().status == 200
        connection.close()
    wait_until(lambda: daemon.changes("reload", "serves") == 3, lambda: daemon.log)
    daemon.wait_settled(WORKERS)


def test_a_drain_has_a_deadline(configured, directory):
    """T29: clients that trickle do not hold an old generation for ever."""
    # A sanitizer looks for leaks at the end, which may take longer than the second that the master waits for who was told to leave.
    daemon = configured(drain_timeout_s=1, header_timeout_s=60, deaths=bool(SANITIZE))
    old = daemon.wait_workers(WORKERS)
    slow = [daemon.connect() for _ in range(100)]
    for connection in slow:
        connection.send(b"GET /index HTTP/1.1\r\nHost: x\r\nX: ")
    wait_until(lambda: sum(daemon.connections().values()) == 100, "all connections")
    watch = Stopwatch()
    daemon.change()
    while set(old) & set(daemon.worker_pids()):
        for connection in slow:
            try:
                connection.send(b"x")
            except OSError:
                pass
        time.sleep(0.05)
        assert watch.seconds < 1 + 9 * SLOW, daemon.log
    assert watch.seconds > 0.8
    daemon.wait_settled(WORKERS)
    assert re.search(r"generation 1 has left; forced=100 ", daemon.log), daemon.log
    for connection in slow:
        connection.close()


# ---- T9: what cannot be -----------------------------------------------------------------------------------------

BAD = {
    "a syntax error": ("workers 2\n", r"todod.conf:\d+: "),
    "an unknown key": ("wrokers = 2\n", r"did you mean \"workers\""),
    "a store that is none": ("store = mongodb://\n", r"todod.conf:\d+: store: "),
    "an address that is taken": ("listen = 127.0.0.1:{taken}\n", r"cannot listen on 127.0.0.1:{taken}"),
    "a file that is no database": ("store = sqlite:{directory}/none.db\n", r"generation 2: its store cannot be used"),
    "a log that cannot be made": ("access_log = {directory}/none/log\n", r"{directory}/none/log"),
    "a name that nobody has": ("unix_group = nobody-knows\n", r"todod.conf:\d+: unix_group: .*nobody-knows"),
    "a file in use": ("store = sqlite:{directory}/other/todo.db\n", r"other/todo.db is in use by another todod"),
}


def test_what_cannot_be_changes_nothing(configured, directory, todod):
    other = todod(store=f"sqlite:{directory}/other/todo.db")
    (directory / "none.db").write_bytes(b"this is no database at all\n" * 100)
    values = {"taken": other.address[1], "directory": directory}
    daemon = configured()
    daemon.post("x")
    workers, frame = daemon.wait_workers(WORKERS), Frame(daemon)
    with Readers(daemon, 8) as readers:
        for what, (lines, says) in BAD.items():
            text = conf(directory, "127.0.0.1:0")
            lines = lines.format(**values)
            key = lines.split()[0]
            daemon.configure(lines + "".join(line + "\n" for line in text.splitlines()
                                             if line.split()[0] != key or "listen" == key))
            daemon.change(result="failed")
            assert re.search(says.format(**values), daemon.log), f"{what}:\n{daemon.log}"
            wait_until(lambda: daemon.worker_pids() == workers, lambda: f"{what}:\n{daemon.log}")
    assert not readers.wrong, readers.wrong[:3]
    frame.check()
    daemon.configure(conf(directory, "127.0.0.1:0", content_max_bytes=10))
    daemon.change()
    assert daemon.request("POST", "/todo", {"content": "x" * 11}).status == 413
    assert [todo["content"] for todo in daemon.walk()] == ["x"]


@pytest.mark.skipif(bool(SANITIZE), reason="a sanitizer takes all of the address space")
def test_workers_that_do_not_come_up_change_nothing(configured):
    """No room is left for the stacks of a new worker's threads."""
    daemon = configured(deaths=True)
    workers, frame = daemon.wait_workers(WORKERS), Frame(daemon)
    room = 1024 * int(status_field(daemon.master, "VmSize").split()[0]) + (64 << 10)
    subprocess.run(["prlimit", f"--as={room}:", "--pid", str(daemon.master)], check=True)
    with Readers(daemon, 8) as readers:
        daemon.change(result="failed")
        assert daemon.lines(r"reload failed: generation 2: no worker comes up")
        wait_until(lambda: daemon.worker_pids() == workers, lambda: daemon.log)
        subprocess.run(["prlimit", "--as=unlimited:", "--pid", str(daemon.master)], check=True)
        daemon.change()
        daemon.wait_settled(WORKERS)
    assert not readers.wrong, readers.wrong[:3]
    assert not set(workers) & set(daemon.worker_pids())
    frame.check()


def test_a_store_that_is_away_is_waited_for_and_not_taken(configured, directory):
    daemon = configured()
    workers = daemon.wait_workers(WORKERS)
    daemon.configure(conf(directory, "127.0.0.1:0", store="x").replace(f"sqlite:{directory}/x", f"mongodb://127.0.0.1:{free_port()}/x"))
    daemon.change(result="failed", timeout_s=30)
    assert daemon.lines(r"reload failed: generation 2: .*its store is away")
    assert daemon.worker_pids() == workers
    daemon.post("x")


def test_a_configuration_that_cannot_be_read_is_given_up(configured, directory):
    """A pipe that nobody writes to: the child that waits for it is ended, and the master has never waited."""
    daemon = configured()
    daemon.wait_settled(WORKERS)  # all have their names: whoever else is there is the child that reads
    path = daemon.directory / "todod.conf"
    path.unlink()
    os.mkfifo(path)
    daemon.send(signal.SIGHUP)
    time.sleep(0.3)
    assert daemon.request("GET", "/index").status == 200
    judge = wait_until(lambda: set(daemon.children()) - {*daemon.worker_pids(), daemon.keeper_pid()}, "the child that reads").pop()
    os.kill(judge, signal.SIGKILL)
    wait_until(lambda: daemon.lines(r"reload failed: reading the configuration ended with signal 9"), lambda: daemon.log)
    path.unlink()
    daemon.configure(conf(directory, "127.0.0.1:0"))
    daemon.change()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_a_configuration_from_a_pipe_is_not_read_again(todod, directory, number):
    """It is empty by now, or waits for somebody to write: neither is a configuration, and the master must not wait."""
    path = directory / "pipe"
    os.mkfifo(path)
    text = conf(directory, "127.0.0.1:0")
    daemon = todod(arguments=["-c", str(path)], listen=None, workers=None, store=None, wait=False)
    path.write_text(text)
    daemon.wait_ready()
    daemon.send(number)
    path.write_text(text)  # who judges reads that
    wait_until(lambda: daemon.lines(r" (reload|upgrade) failed: .*"), lambda: daemon.log)
    assert daemon.lines(r"pipe: a pipe cannot be read again")
    assert daemon.request("GET", "/index").status == 200


def test_a_stop_during_a_reload(configured, directory):
    daemon = configured()
    for i in range(6):
        if i:
            daemon.start()
        daemon.send(signal.SIGHUP)
        time.sleep(i * 0.004)
        assert daemon.stop() == 0


# ---- T10: addresses ---------------------------------------------------------------------------------------------

def test_addresses_come_and_go(configured, directory):
    daemon = configured("127.0.0.1:0")
    kept = daemon.address
    daemon.wait_settled(WORKERS)
    frame = Frame(daemon)
    port = free_port()
    more = ("127.0.0.1", port), f"{directory}/socket"
    with Readers(daemon, 8) as readers, Wrk(f"{daemon.url}/index", 3, closing=True) as wrk:
        for _ in range(2):
            daemon.configure(conf(directory, f"127.0.0.1:{port}", "127.0.0.1:0", f"unix:{directory}/socket"))
            daemon.change()
            for address in (kept, *more):
                with Connection(address) as connection:
                    assert connection.request("GET", "/index").status == 200
            daemon.configure(conf(directory, "127.0.0.1:0"))
            daemon.change()
            wait_until(lambda: not accepts(more[0]), "the address is given up")
            assert not (directory / "socket").exists()
            daemon.wait_settled(WORKERS)
    assert not readers.wrong and not wrk.errors, (readers.wrong[:3], wrk.errors)
    frame.check()


def test_a_socket_that_stays_gets_other_rights(configured, directory):
    """Once they are in force, and not by a configuration that never is."""
    path = directory / "socket"
    daemon = configured(f"unix:{path}", unix_mode="0600")

    def rights():
        found = path.stat()
        return stat.S_IMODE(found.st_mode), found.st_gid
    inode, own = path.stat().st_ino, os.getegid()
    assert rights() == (0o600, own)
    bad = conf(directory, f"unix:{path}", unix_mode="0666").replace(f"sqlite:{directory}/todo.db", f"sqlite:{directory}/none.db")
    (directory / "none.db").write_bytes(b"this is no database at all\n" * 100)
    daemon.configure(bad)
    daemon.change(result="failed")
    assert rights() == (0o600, own)
    other = grp.getgrgid(os.getgroups()[-1] if os.geteuid() else 1)
    for number in (signal.SIGHUP, signal.SIGUSR2):
        daemon.configure(conf(directory, f"unix:{path}", unix_mode="0660", unix_group=other.gr_name))
        daemon.change(number)
        wait_until(lambda: rights() == (0o660, other.gr_gid), lambda: f"{rights()}\n{daemon.log}")
        daemon.configure(conf(directory, f"unix:{path}"))
        daemon.change(number)
        wait_until(lambda: rights() == (0o666, own), lambda: f"{rights()}\n{daemon.log}")
        assert path.stat().st_ino == inode
    daemon.wait_settled(WORKERS)


# ---- what else may change -----------------------------------------------------------------------------------------

def test_another_number_of_workers(configured, directory):
    """Also many more than at the start: the memory of the page has to grow with them."""
    daemon = configured()
    daemon.post("x")
    for count in (1, 30, 2):
        daemon.configure(conf(directory, "127.0.0.1:0", workers=count))
        daemon.change()
        daemon.wait_settled(count)
        assert [todo["content"] for todo in daemon.request("GET", "/todo").data] == ["x"]


@pytest.mark.parametrize("kind", ["sqlite", "mongodb"])
def test_another_store(configured, directory, todod, kind, request):
    daemon = configured()
    daemon.post("in the first")
    second = f"sqlite:{directory}/second.db" if kind == "sqlite" else request.getfixturevalue("mongo").uri(new_database_name())
    text = conf(directory, "127.0.0.1:0").replace(f"sqlite:{directory}/todo.db", second)
    with Readers(daemon, 4) as readers:
        daemon.configure(text)
        daemon.change()
        daemon.wait_settled(WORKERS)
    assert daemon.walk() == []
    daemon.post("in the second")
    other = todod(store=f"sqlite:{directory}/todo.db")
    assert [todo["content"] for todo in other.walk()] == ["in the first"], "the first file is free"
    other.stop()
    daemon.configure(conf(directory, "127.0.0.1:0"))
    daemon.change()
    daemon.wait_settled(WORKERS)
    assert [todo["content"] for todo in daemon.walk()] == ["in the first"]
    daemon.configure(text)
    daemon.change()
    daemon.wait_settled(WORKERS)
    assert [todo["content"] for todo in daemon.walk()] == ["in the second"]
    assert not readers.wrong, readers.wrong[:3]


CACHES = [{"cache": "local"}, {"cache": "off"}, {"cache": "local", "cache_fresh_s": 5}, {"cache": "local", "workers": 7}]


@pytest.mark.parametrize("with_redis", [False, True], ids=["", "redis"])
def test_no_stale_page_while_caches_change(configured, directory, request, with_redis, counted):
    """Old and new workers write through memories that know nothing of each other; what was acknowledged is seen."""
    caches = [*CACHES, {"cache": request.getfixturevalue("redis").uri()}] if with_redis else CACHES
    patient = {"store_timeout_ms": 10000}  # on a slow disk the writers of seven workers wait long for each other
    daemon = configured(**caches[0], **patient)
    choice = random.Random(10)
    with History([daemon], connections=12) as history:
        end = Stopwatch()
        while end.seconds < 5:
            chosen = choice.choice(caches)
            daemon.configure(conf(directory, "127.0.0.1:0", **chosen, **patient))
            daemon.change()
            time.sleep(choice.uniform(0, 0.3))
    violations = find_violations(history.operations)
    counted(f"{history.summary()}; {daemon.changes('reload', 'serves')} reloads, {len(violations)} violations")
    assert not violations, describe(violations)
    assert {status for _, status in history.statuses()} <= {200, 404}, history.statuses()
    daemon.wait_settled(chosen.get("workers", WORKERS))


def test_an_old_worker_shows_what_a_new_one_has_written(configured, directory):
    """It has a page in memory that knows nothing of the new worker's, and a client that is in no hurry."""
    daemon, ask = configured(header_timeout_s=60), request_bytes("GET", "/todo")
    with daemon.connect() as connection:
        daemon.post("before")
        wait_until(lambda: connection.request("GET", "/todo").field("Cache-Status") == HIT, "the page is known")
        connection.send(ask.removesuffix(END))
        daemon.configure(conf(directory, "127.0.0.1:0", cache="off"))
        daemon.change()
        daemon.post("after")
        response = connection.send(END).read()
        assert [todo["content"] for todo in response.data] == ["after", "before"] and response.closes
    daemon.wait_settled(WORKERS)


def test_the_keeper_stays_where_nothing_changes_for_it(configured, directory):
    daemon = configured(deaths=True)
    keeper = daemon.wait_keeper()
    daemon.change()
    daemon.wait_settled(WORKERS)
    assert daemon.keeper_pid() == keeper
    daemon.configure(conf(directory, "127.0.0.1:0", cache_fresh_s=3))
    daemon.change()
    keeper = daemon.wait_keeper(other_than=keeper)
    assert not daemon.deaths
    daemon.configure(conf(directory, "127.0.0.1:0", cache_fresh_s=4))
    os.kill(keeper, signal.SIGSTOP)
    daemon.change()
    daemon.wait_keeper(other_than=keeper)  # which looks all the time that there are never two over one page


def test_the_keeper_outlives_no_set_up(configured, directory):
    """Where the set-up is made anew, so is the keeper: its word for "the store may be used" goes to a later generation."""
    daemon = configured()
    keeper = daemon.wait_keeper()
    kept = conf(directory, "127.0.0.1:0", access_log=f"{directory}/log")
    daemon.configure(kept)
    daemon.change()
    daemon.wait_settled(WORKERS)
    daemon.wait_keeper(other_than=keeper)
    daemon.configure(kept.replace(f"sqlite:{directory}/todo.db", f"mongodb://127.0.0.1:{free_port()}/x"))
    daemon.send(signal.SIGHUP)
    wait_until(lambda: daemon.lines("generation 3 boots") and len(daemon.pids_named("set-up")) == 1, lambda: daemon.log)
    daemon.post("x")
    assert [todo["content"] for todo in daemon.request("GET", "/todo").data] == ["x"]


def test_limits_are_kept_over_a_reload(configured, directory):
    limits = {"rate_limit": 1, "rate_burst": 4, "max_connections_per_address": 6}
    daemon, ask, watch = configured(header_timeout_s=60, **limits), request_bytes("GET", "/index"), Stopwatch()
    wait_until(lambda: sum(daemon.connections().values()) == 0, "no connections")
    with contextlib.ExitStack() as stack:
        kept = [stack.enter_context(daemon.connect()) for _ in range(6)]
        wait_until(lambda: sum(daemon.connections().values()) == 6, "all accepted")
        while kept[0].request("GET", "/index").status == 200:
            pass
        with daemon.connect() as one_more:
            assert one_more.read().status == 429
        for connection in kept:
            connection.send(ask.removesuffix(END))
        daemon.change()
        with daemon.connect() as one_more:
            assert one_more.read().status == 429, "those of old workers count as well"
        statuses = [connection.send(END).read().status for connection in kept[1:]]
        assert set(statuses) <= {200, 429} and statuses.count(200) < watch.seconds + 1, "one a second has become free, no burst"
    wait_until(lambda: sum(daemon.connections().values()) == 0, "no connections")
    assert daemon.request("GET", "/index").status in (200, 429)
    daemon.configure(conf(directory, "127.0.0.1:0"))
    daemon.change()
    daemon.wait_settled(WORKERS)
    for _ in range(10):
        assert daemon.request("GET", "/index").status == 200


# ---- T15: one more, one less ----------------------------------------------------------------------------------------

def test_ttin_and_ttou(configured, directory):
    daemon = configured()
    first = daemon.wait_workers(WORKERS)
    with Readers(daemon, 8) as readers:
        for count in range(WORKERS + 1, WORKERS + 4):
            daemon.send(signal.SIGTTIN)
            assert set(first) < set(daemon.wait_workers(count))
        for count in range(WORKERS + 2, 0, -1):
            daemon.send(signal.SIGTTOU)
            daemon.wait_workers(count)
        for times in (1, 2):
            daemon.send(signal.SIGTTOU)
            wait_until(lambda: len(daemon.lines(r"1 workers stay: ")) == times, lambda: daemon.log)
        daemon.wait_workers(1)
    assert not readers.wrong, readers.wrong[:3]
    most = int(re.search(r"1 to (\d+) is what there may be", daemon.log).group(1))
    for count in range(2, most + 1):
        daemon.send(signal.SIGTTIN)
        daemon.wait_workers(count)
    daemon.send(signal.SIGTTIN)
    wait_until(lambda: daemon.lines(rf"{most} workers stay: "), lambda: daemon.log)
    daemon.change()
    daemon.wait_settled(WORKERS)


def test_ttou_takes_one_that_is_not_there(configured):
    """Of two workers one dies again and again, and is waited for: the other one stays."""
    daemon = configured(deaths=True, workers=2)
    dying, living = daemon.wait_workers(2)
    for _ in range(5):
        os.kill(dying, signal.SIGKILL)
        dying = wait_until(lambda: set(daemon.worker_pids()) - {dying, living}, lambda: daemon.log).pop()
    os.kill(dying, signal.SIGKILL)
    wait_until(lambda: len(daemon.lines("died")) == 6, lambda: daemon.log)
    daemon.send(signal.SIGTTOU)
    wait_until(lambda: daemon.lines("1 workers wanted"), lambda: daemon.log)
    time.sleep(0.3)
    assert daemon.worker_pids() == [living]
    assert daemon.request("GET", "/index").status == 200


TERMINAL = """
import fcntl, os, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
daemon = subprocess.Popen(sys.argv[1:], process_group=0, stdout=2)
print(daemon.pid, flush=True)
sys.stdin.readline()
reader = subprocess.Popen(["cat"], process_group=daemon.pid)   # in the background: the kernel stops it, by SIGTTIN to its group
assert os.WIFSTOPPED(os.waitpid(reader.pid, os.WUNTRACED)[1])
reader.kill(), reader.wait()
print("stopped", flush=True)
daemon.wait()
"""


def test_a_terminal_takes_no_workers(directory):
    """What the kernel sends to a group because somebody in it reads is not an operator's wish."""
    terminal, own = os.openpty()
    log = directory / "log"
    with open(log, "wb") as err:
        helper = subprocess.Popen(
            [sys.executable, "-c", TERMINAL, BINARY, *command_line({"listen": "127.0.0.1:0", "workers": 2, "store": f"sqlite:{directory}/todo.db"})],
            stdin=own, stdout=subprocess.PIPE, stderr=err, text=True, start_new_session=True, env=environment(directory))
    try:
        master = int(helper.stdout.readline())
        wait_until(lambda: " ready" in log.read_text(), lambda: log.read_text())
        os.write(terminal, b"\n")
        assert helper.stdout.readline() == "stopped\n", log.read_text()
        time.sleep(0.3)
        assert "wanted" not in log.read_text()
        os.kill(master, signal.SIGTTIN)
        wait_until(lambda: "3 workers wanted" in log.read_text(), lambda: log.read_text())
        os.kill(master, signal.SIGTERM)
        assert helper.wait(20) == 0
    finally:
        helper.kill()
        helper.wait()
        os.close(terminal), os.close(own)


# ---- T26: recycling --------------------------------------------------------------------------------------------------

def test_workers_are_recycled_under_load(configured, counted):
    daemon = configured(max_requests=2000)
    daemon.wait_settled(WORKERS)
    frame = Frame(daemon)
    fewest, count_ready = WORKERS, daemon.watch_ready()
    wait_until(lambda: count_ready() == WORKERS, lambda: daemon.log)
    with Wrk(f"{daemon.url}/index", 4 * SLOW) as wrk:
        while wrk.process.poll() is None:
            fewest = min(fewest, count_ready())
    assert not wrk.errors, wrk.errors
    ends = [line.split()[0] for line in daemon.lines(r"gets a successor")]
    assert len(ends) >= 3, daemon.log
    times = [float(end[17:23]) + 60 * int(end[14:16]) for end in ends]
    assert min((after - before) % 3600 for before, after in zip(times, times[1:])) >= 0.1
    assert fewest >= WORKERS, "a successor is there before"
    counted(f"{len(ends)} workers recycled over {wrk.requests} requests, 0 failed")
    frame.check()


@pytest.mark.skipif(bool(SANITIZE), reason="what a sanitizer's worker takes is no measure")
def test_a_worker_that_has_grown_is_recycled(configured):
    daemon = configured(max_rss_mb=1)
    first = daemon.wait_workers(WORKERS)
    wait_until(lambda: not set(first) & set(daemon.worker_pids()), lambda: daemon.log)
    assert daemon.lines(r"info worker\[\d+\] it has grown to \d+ MiB: to be replaced")
    assert not daemon.deaths


def test_a_worker_that_dies_while_it_retires_is_replaced_once(configured):
    daemon = configured(max_requests=1, deaths=True)
    for _ in range(3):
        for _ in range(6):
            daemon.request("GET", "/index")
        for pid in daemon.worker_pids():
            with contextlib.suppress(ProcessLookupError):  # it may just have left
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(daemon.worker_pids()) == WORKERS, lambda: daemon.log)
    wait_until(lambda: len(daemon.worker_pids()) == WORKERS, lambda: daemon.log)


# ---- T1 again: killed, in the midst of all that ----------------------------------------------------------------------

def test_reloads_while_workers_are_killed(configured, counted):
    """Only a killed worker's own connections may break."""
    daemon = configured(deaths=True, worker_timeout_s=20)
    daemon.wait_settled(WORKERS)
    frame, choice, held = Frame(daemon), random.Random(20), 0
    with Readers(daemon, 8) as readers:
        for _ in range(20):
            victim = choice.choice(wait_until(daemon.worker_pids, "a worker"))
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it may just have left
                os.kill(victim, signal.SIGSTOP)  # what it holds when it dies
                held += daemon.connections([victim])[victim]
                os.kill(victim, signal.SIGKILL)
            if choice.random() < 0.5:
                daemon.send(signal.SIGHUP)
            time.sleep(choice.uniform(0.02, 0.15))
    assert not [text for text in readers.wrong if text.startswith("<")], readers.wrong[:3]
    assert len(readers.wrong) <= held
    counted(f"{readers.answers} answers, {len(readers.wrong)} of {held} connections of killed workers broke in a request")
    frame.check()
    assert Path(f"/proc/{daemon.master}").exists()

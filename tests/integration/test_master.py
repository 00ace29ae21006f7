"""The master and its workers: start, stop, death, limits, and everything that ends with an exit code."""
import contextlib
import mmap
import os
import re
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.daemon import (BINARY, accepts, command_line, cpu_seconds, descriptors, environment, free_port, is_alive,
                            processes_of_session, propagation, run_todod, state_of, status_field, wait_until_gone)
from harness.load import Load, judge
from harness.readers import Readers, Wrk
from harness.sqlite import write_lock
from harness.waiting import SLOW, Stopwatch, wait_until
from harness.wire import Closed, Connection, request_bytes

POST = request_bytes("POST", "/todo", {"content": "in flight"})


# ---- T1, T2, T3: workers that die or hang, a master that hangs -------------------------------------------

def test_a_killed_worker_is_replaced(todod):
    daemon = todod(deaths=True)
    workers = daemon.wait_workers(3)
    with Readers(daemon, 30) as readers:
        victim = workers[0]
        held = daemon.connections()[victim]
        watch = Stopwatch()
        os.kill(victim, signal.SIGKILL)
        now = wait_until(lambda: len(now := daemon.worker_pids()) == 3 and victim not in now and now, "a new worker")
        assert watch.seconds < 3 * SLOW
        time.sleep(0.5)
        assert set(workers) - {victim} < set(now)
        assert not [pid for pid in daemon.children() if state_of(pid) == "Z"], "zombies"
    assert len(readers.wrong) <= held and not [text for text in readers.wrong if text.startswith("<")], readers.wrong[:3]
    assert len(daemon.deaths) == 1 and re.search(r"signal 9|SIGKILL", daemon.deaths[0]), daemon.deaths
    assert str(victim) in daemon.deaths[0]
    new = next(iter(set(now) - set(workers)))
    wait_until(lambda: _serves_through(daemon, new), "the new worker serves")


def _serves_through(daemon, pid):
    connections = [daemon.connect() for _ in range(20)]
    try:
        assert all(connection.request("GET", "/index").status == 200 for connection in connections)
        return daemon.connections()[pid]
    finally:
        for connection in connections:
            connection.close()


def test_a_wedged_worker_is_replaced(todod):
    daemon = todod(worker_timeout_s=1, deaths=True)
    workers = daemon.wait_workers(3)
    connections = [daemon.connect() for _ in range(30)]
    for connection in connections:
        assert connection.request("GET", "/index").status == 200
    victim = daemon.owner(connections[0])
    others = [connection for connection in connections if daemon.owner(connection) != victim]
    watch, longest = Stopwatch(), 0.0
    os.kill(victim, signal.SIGSTOP)
    while len(now := daemon.worker_pids()) != 3 or victim in now:
        assert watch.seconds < 1 + 3 * SLOW, daemon.log
        for connection in others:
            one = Stopwatch()
            assert connection.request("GET", "/index").status == 200
            longest = max(longest, one.seconds)
    assert watch.seconds > 0.5  # its last sign of life may be older than the stop
    assert longest < 1
    assert set(workers) - {victim} < set(now)
    assert len(daemon.deaths) >= 1


def test_a_stopped_master_does_not_take_its_workers_for_dead(todod):
    daemon = todod(worker_timeout_s=1)
    workers = daemon.wait_workers(3)
    os.kill(daemon.master, signal.SIGSTOP)
    try:
        watch = Stopwatch()
        while watch.seconds < 2.2:
            assert daemon.request("GET", "/index").status == 200
            time.sleep(0.02)
    finally:
        os.kill(daemon.master, signal.SIGCONT)
    time.sleep(1)
    assert daemon.worker_pids() == workers


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_keeper_that_dies_or_hangs_is_replaced(todod, number):
    daemon = todod(deaths=True)
    workers, keeper = daemon.wait_workers(3), daemon.wait_keeper()
    watch = Stopwatch()
    os.kill(keeper, number)
    daemon.wait_keeper(other_than=keeper)
    assert watch.seconds < 4 * SLOW
    assert not is_alive(keeper)
    assert daemon.post("x") in daemon.request("GET", "/todo").data
    assert daemon.worker_pids() == workers
    assert len(daemon.deaths) == 1 and f"keeper {keeper} " in daemon.deaths[0], daemon.deaths


# ---- T4: a master that is killed -------------------------------------------------------------------------

def _kill_master(daemon):
    daemon.process.kill()
    daemon.wait_exit()
    return wait_until_gone(daemon.master, 7 + 3 * SLOW)  # a worker drains for five seconds, the keeper stays for six; and the way out


@pytest.mark.parametrize("prefix", [[], ["env", "--block-signal=TERM,CHLD"]], ids=["", "signals blocked"])
def test_no_worker_outlives_a_killed_master(todod, directory, prefix):
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}", prefix=prefix, listen=[f"127.0.0.1:{free_port()}", f"unix:{directory}/socket"],
                   store_timeout_ms=30000)
    idle, busy = daemon.connect(), daemon.connect()
    assert idle.request("GET", "/index").status == 200
    with write_lock(database):
        busy.send(POST)
        assert not _kill_master(daemon)
    assert not accepts(daemon.address)
    idle.close(), busy.close()
    assert (directory / "socket").exists(), "kill -9 leaves the socket file"
    daemon.start().wait_store()
    for address in daemon.addresses():
        with Connection(address) as connection:
            assert connection.request("GET", "/index").status == 200


def test_a_master_killed_at_any_moment_leaves_nobody(todod, directory):
    def kill_at(daemon, moments_ms):
        for ms in moments_ms:
            daemon.start(wait=False)
            time.sleep(ms / 1000)
            assert not _kill_master(daemon), f"left after a kill {ms} ms after the start:\n{daemon.log}"

    daemons = [todod(directory=directory / str(i)) for i in range(5)]
    for daemon in daemons:
        daemon.stop()
    with ThreadPoolExecutor(5) as pool:  # most of the time nothing happens: a keeper outlives the last worker
        killed = [pool.submit(kill_at, daemon, range(3 * i, 60, 15)) for i, daemon in enumerate(daemons)]
    for done, daemon in zip(killed, daemons):
        done.result()
        daemon.start().wait_store()


# ---- T5, T6, T7: stopping --------------------------------------------------------------------------------

def test_term_answers_what_is_in_flight(todod, directory):
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}", listen=[f"127.0.0.1:{free_port()}", f"unix:{directory}/socket"], store_timeout_ms=20000)
    address = daemon.address
    with Readers(daemon, 20) as readers:
        connection = daemon.connect()
        with write_lock(database):
            connection.send(POST)
            time.sleep(0.2)
            watch = Stopwatch()
            daemon.send(signal.SIGTERM)
            readers.stopping.set()
            time.sleep(1.3)
            assert daemon.process.poll() is None
        response = connection.read()
        assert response.status == 200 and response.closes
        connection.read_end()
        connection.close()  # the worker waits two seconds for that
        assert daemon.wait_exit() == 0 and watch.seconds < 4 * SLOW
    assert not [text for text in readers.wrong if text.startswith("<")]
    assert not accepts(address)
    assert not (directory / "socket").exists()
    daemon.start().wait_store()
    assert [todo["content"] for todo in daemon.walk()] == ["in flight"]


def test_the_keeper_outlives_the_workers(todod, directory):
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}", store_timeout_ms=20000)
    workers, keeper = daemon.wait_workers(3), daemon.wait_keeper()
    with daemon.connect() as connection:
        with write_lock(database):
            connection.send(POST)
            busy = wait_until(lambda: daemon.owner(connection), "a worker has the connection")
            daemon.send(signal.SIGTERM)
            wait_until(lambda: daemon.worker_pids() == [busy], lambda: f"the idle of {workers} leave:\n{daemon.log}")
            assert daemon.keeper_pid() == keeper
        assert connection.read().status == 200
    assert daemon.wait_exit() == 0
    assert not daemon.deaths


def test_term_answers_the_backlog(todod):
    """Whoever connected before the signal is answered."""
    daemon = todod(workers=1, worker_timeout_s=60)
    worker = daemon.wait_workers(1)[0]
    os.kill(worker, signal.SIGSTOP)
    connections = [daemon.connect() for _ in range(50)]
    for connection in connections:
        connection.send(request_bytes("GET", "/index"))
    daemon.send(signal.SIGTERM)
    time.sleep(0.2)
    os.kill(worker, signal.SIGCONT)
    for connection in connections:
        assert connection.read().status == 200
        connection.close()
    assert daemon.wait_exit() == 0


def test_idle_connections_are_closed_by_a_stop(todod):
    daemon = todod()
    with daemon.connect() as connection, daemon.connect() as silent:
        connection.request("GET", "/index")
        daemon.send(signal.SIGTERM)
        connection.read_end(), silent.read_end()
        watch = Stopwatch()
        assert daemon.wait_exit() == 0 and watch.seconds < 3 * SLOW


def cut_short(daemon):
    """Nobody has died but those whose store thread hangs: they take half a second to leave, and are killed after a whole one."""
    return all("signal 9" in death for death in daemon.deaths)


def test_a_drain_has_a_deadline(todod, directory):
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}", store_timeout_ms=30000, drain_timeout_s=1, deaths=True)
    with write_lock(database), daemon.connect() as connection:
        connection.send(POST)
        time.sleep(0.2)
        watch = Stopwatch()
        assert daemon.stop() == 0
        assert 0.8 < watch.seconds < 1 + 4 * SLOW
    assert daemon.lines(r"forced") and cut_short(daemon), daemon.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_int_and_quit_stop_at_once(todod, directory, number):
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}", store_timeout_ms=30000, deaths=True)
    with write_lock(database), daemon.connect() as connection:
        connection.send(POST)
        time.sleep(0.2)
        watch = Stopwatch()
        assert daemon.stop(number) == 0
        assert watch.seconds < 3 * SLOW and cut_short(daemon), daemon.log


def test_int_cuts_a_drain_short(todod, directory):
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}", store_timeout_ms=30000, deaths=True)
    with write_lock(database), daemon.connect() as connection:
        connection.send(POST)
        time.sleep(0.2)
        daemon.send(signal.SIGTERM)
        time.sleep(0.3)
        assert daemon.process.poll() is None
        watch = Stopwatch()
        assert daemon.stop(signal.SIGINT) == 0 and watch.seconds < 3 * SLOW and cut_short(daemon), daemon.log


def test_term_to_the_whole_group(todod, directory):
    database = directory / "todo.db"
    daemon = todod(store=f"sqlite:{database}", store_timeout_ms=20000)
    daemon.wait_workers(3)
    with daemon.connect() as connection:
        with write_lock(database):
            connection.send(POST)
            time.sleep(0.2)
            os.killpg(daemon.master, signal.SIGTERM)
            time.sleep(0.7)
        assert connection.read().status == 200
    assert daemon.wait_exit() == 0
    assert not daemon.deaths


def test_ctrl_c_in_a_terminal(todod):
    daemon = todod()
    daemon.wait_workers(3)
    os.killpg(daemon.master, signal.SIGINT)
    assert daemon.wait_exit(5 * SLOW) == 0 and not daemon.deaths


def test_a_stop_during_the_start(todod, directory):
    daemon = todod(directory=directory / "early")
    daemon.stop()
    for i in range(10):
        daemon.start(wait=False)
        wait_until(lambda: daemon.listening(), "the listener", 10)
        time.sleep(i * 0.002)
        assert daemon.stop() == 0


# ---- T12, T13, T14: what keeps failing -------------------------------------------------------------------

def test_a_worker_that_always_dies_is_forked_ever_more_slowly(todod):
    daemon = todod(workers=1, deaths=True)
    watch, seen = Stopwatch(), set()
    while watch.seconds < 4:
        for pid in daemon.worker_pids():
            seen.add(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
    assert 2 <= len(seen) <= 14, f"{len(seen)} forks in 4 s"
    assert is_alive(daemon.master)
    wait_until(lambda: accepts(daemon.address) and daemon.worker_pids(), "a worker", 30)
    daemon.wait_store()


def test_workers_that_never_come_up_end_the_master(todod):
    """Their boot is made to fail: they cannot make their loop. Nor can the keeper, which is no reason to give up."""
    daemon = todod(wait=False, deaths=True, traced=True, prefix=[
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=epoll_create1", "-e", "inject=epoll_create1:error=EMFILE"])
    assert daemon.wait_exit(60) == 70
    assert len(daemon.deaths) < 40, daemon.log


def test_forks_that_fail_are_tried_again_slowly(todod, directory):
    daemon = todod(wait=False, deaths=True, traced=True, workers=5, prefix=[
        "strace", "-f", "-qq", "-o", f"{directory}/trace", "-e", "trace=clone,clone3,fork",
        "-e", "inject=clone,clone3,fork:error=EAGAIN:when=4..9"])
    tracer = daemon.master
    daemon.wait_ready(60)
    wait_until(lambda: daemon.request("GET", "/readyz").status == 200, lambda: daemon.log, 60)
    master = next(pid for pid in processes_of_session(tracer)
                  if _name(pid) == "todod" and _parent(pid) == tracer)
    children = ["todod-keeper"] + 5 * ["todod-worker"]
    wait_until(lambda: sorted(_name(pid) for pid in processes_of_session(tracer) if _parent(pid) == master) == children,
               lambda: daemon.log, 30)
    failures = [line for line in daemon.lines(r"fork") if "EAGAIN" in line or "temporarily" in line]
    assert 1 <= len(failures) <= 6, daemon.log
    assert cpu_seconds(master) < 2
    os.kill(master, signal.SIGTERM)
    assert daemon.wait_exit() == 0


def _name(pid):
    """Empty when there is no such process."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def _parent(pid):
    """None when there is no such process."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return None


def _limit_descriptors(pid, count):
    """Returns the limits as they were."""
    return resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))


def test_out_of_descriptors_idle_connections_make_room(todod):
    daemon = todod(workers=1)
    worker = daemon.wait_workers(1)[0]
    with daemon.connect() as served:
        _limit_descriptors(worker, 40)
        crowd = []
        for _ in range(100):
            crowd.append(daemon.connect())
            time.sleep(0.02)  # the order of the idle ones is kept by tenths of a second
            assert served.request("GET", "/index").status == 200
        with daemon.connect() as late:
            assert late.request("GET", "/index").status == 200
        for connection in crowd:
            connection.close()
    assert daemon.worker_pids() == [worker]
    assert 1 <= len(daemon.lines(r"Too many open files")) <= 10, daemon.log


def test_out_of_descriptors_nobody_spins(todod):
    """Connections in the middle of a request are not closed for others, which wait."""
    daemon = todod(workers=1)
    worker = daemon.wait_workers(1)[0]
    before = _limit_descriptors(worker, 40)
    crowd = []
    for _ in range(100):
        crowd.append(daemon.connect())
        crowd[-1].send(b"GET /index HTTP/1.1\r\n")
        time.sleep(0.005)
    start = cpu_seconds(worker)
    time.sleep(2)
    assert cpu_seconds(worker) - start < 0.2 * SLOW, "the worker spins"
    answered = 0
    for connection in crowd[:20]:
        answered += connection.send(b"Host: a\r\n\r\n").read().status == 200
    assert answered == 20
    resource.prlimit(worker, resource.RLIMIT_NOFILE, before)
    for connection in crowd[20:]:
        assert connection.send(b"Host: a\r\n\r\n").read().status == 200
    for connection in crowd:
        connection.close()
    assert daemon.request("GET", "/index").status == 200 and daemon.worker_pids() == [worker]
    assert 1 <= len(daemon.lines(r"Too many open files")) <= 10, daemon.log


# ---- T18: addresses --------------------------------------------------------------------------------------

def test_a_port_that_is_taken_is_69_and_named(todod, directory):
    first = todod()
    second = run_todod(directory, "--listen", first.listening()[0], "--store", f"sqlite:{directory}/other.db")
    assert second.returncode == 69 and first.listening()[0] in second.stderr
    assert first.request("GET", "/index").status == 200
    assert not (directory / "other.db").exists(), "nothing is touched before"


def test_a_unix_socket_in_use_is_69_and_untouched(todod, directory):
    path = directory / "socket"
    first = todod(listen=f"unix:{path}")
    inode = path.stat().st_ino
    second = run_todod(directory, "--listen", f"unix:{path}", "--store", f"sqlite:{directory}/other.db")
    assert second.returncode == 69 and str(path) in second.stderr
    assert path.stat().st_ino == inode and first.request("GET", "/index").status == 200


def test_a_file_that_is_no_socket_is_not_removed(directory):
    path = directory / "precious"
    path.write_text("data")
    done = run_todod(directory, "--listen", f"unix:{path}", "--store", f"sqlite:{directory}/other.db")
    assert done.returncode in (69, 73) and str(path) in done.stderr
    assert path.read_text() == "data"


def test_several_addresses(todod, directory):
    daemon = todod(listen=["127.0.0.1:0", "[::1]:0", f"unix:{directory}/socket", "127.0.0.2:0"])
    assert len(daemon.addresses()) == 4
    for address in daemon.addresses():
        with Connection(address) as connection:
            assert connection.request("GET", "/index").json == {"msg": "hello world"}
    assert stat.S_ISSOCK((directory / "socket").stat().st_mode)


def test_addresses_with_commas(todod, directory):
    daemon = todod(listen=f"127.0.0.1:0,unix:{directory}/socket")
    assert len(daemon.addresses()) == 2
    assert all(accepts(address) for address in daemon.addresses())


def test_one_bad_address_among_good_ones_starts_nothing(todod, directory):
    first = todod()
    port = free_port()
    second = run_todod(directory, "--listen", f"127.0.0.1:{port}", "--listen", first.listening()[0],
                       "--listen", f"unix:{directory}/socket", "--store", f"sqlite:{directory}/other.db")
    assert second.returncode == 69 and not accepts(("127.0.0.1", port)) and not (directory / "socket").exists()


@pytest.mark.parametrize("address", ["192.0.2.1:0", "no-such-host.invalid:80", "unix:/no/such/directory/socket"])
def test_an_address_that_cannot_be_bound(directory, address):
    done = run_todod(directory, "--listen", address, "--store", f"sqlite:{directory}/other.db")
    assert done.returncode in (69, 73) and address.removeprefix("unix:") in done.stderr


# ---- T21 to T25: hygiene ---------------------------------------------------------------------------------

def test_as_pid_1(todod):
    """As in a container: it reaps children that are none of its own, and TERM stops it."""
    rights = "-pf" if os.geteuid() == 0 else "-Urpf"
    daemon = todod(wait=False, prefix=["unshare", rights, *propagation(), "--mount-proc", "--kill-child", "sh", "-c",
                                       '(sleep 0.7 & sleep 0.8 &) ; exec "$@"', "sh"])
    daemon.wait_ready()
    daemon.wait_store()
    master = next(pid for pid in processes_of_session(daemon.master) if _parent(pid) == daemon.master)
    time.sleep(1)
    wait_until(lambda: "sleep" not in [_name(pid) for pid in processes_of_session(daemon.master)], "their end")

    def zombies():
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if state_of(pid) == "Z" and _parent(pid) == master]
    wait_until(lambda: not zombies(), lambda: f"zombies: {zombies()}")
    assert daemon.request("GET", "/index").status == 200 and not daemon.deaths
    os.kill(master, signal.SIGTERM)
    assert daemon.wait_exit() == 0


def test_workers_by_affinity(todod):
    daemon = todod(workers=None, prefix=["taskset", "-c", str(min(os.sched_getaffinity(0)))])
    daemon.wait_workers(3)


def test_workers_as_told(todod):
    assert len(todod(workers=2, prefix=["taskset", "-c", str(min(os.sched_getaffinity(0)))]).wait_workers(2)) == 2


def test_one_worker(todod):
    daemon = todod(workers=1)
    daemon.wait_workers(1)
    assert daemon.post("x") in daemon.request("GET", "/todo").data


def test_descriptors_and_signals(todod, store):
    daemon = todod(store=store, listen="127.0.0.1:0", control="off")
    workers, count_ready = daemon.wait_workers(3), daemon.watch_ready()
    wait_until(lambda: count_ready() == 3, "all of them ready")  # one that boots has all signals blocked
    for _ in range(20):
        daemon.post("x")
    wait_until(lambda: sum(daemon.connections().values()) == 0, "no client connection")
    master = descriptors(daemon.master)
    listeners = {link for link in master.values() if link.startswith("socket:")}
    assert len(listeners) == 1, f"the master has more sockets than listeners: {master}"
    assert not [link for link in master.values() if re.search(r"todo\.db(-|$)", link)], f"the master has the database open: {master}"
    own = {}
    for worker in workers:
        held = descriptors(worker)
        assert not [link for link in held.values() if link.endswith(".owner")], f"a worker holds the daemon's lock: {held}"
        assert not [fd for fd, link in held.items() if link.startswith("pipe:") and fd > 2 and _is_writable(worker, fd)
                    and link in master.values()], f"a worker holds the write end of the lifeline: {held}"
        own[worker] = {link for link in held.values() if link.startswith("socket:")} - listeners
        assert int(status_field(worker, "SigBlk"), 16) == 0
        ignored = int(status_field(worker, "SigIgn"), 16)
        # What a terminal sends to the group, what is meant for the master, and the two that only the C library may touch.
        allowed = {signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGTSTP, signal.SIGTTIN,
                   signal.SIGTTOU, signal.SIGXFSZ, 32, 33}
        assert ignored & 1 << signal.SIGPIPE - 1
        assert not ignored & ~sum(1 << number - 1 for number in allowed), f"{ignored:x}"
    for one in workers:
        for other in workers:
            assert one == other or not own[one] & own[other], "two workers share a connection"


def _is_writable(pid, fd):
    flags = re.search(r"flags:\s+0(\d+)", Path(f"/proc/{pid}/fdinfo/{fd}").read_text()).group(1)
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def test_inherited_descriptors_reach_no_worker(directory, todod):
    """What the caller left open is none of a worker's business."""
    daemon = todod(prefix=["bash", "-c", f'exec 7>{directory}/leak; exec "$@"', "bash"])
    for worker in daemon.wait_workers(3):
        assert not [link for link in descriptors(worker).values() if link.endswith("/leak")]


def until_even(shares_of, daemon):
    """Whoever has no CPU in that moment cannot accept: on a busy machine one of ten tries has to do."""
    tries = []
    while not tries or not (12 <= tries[-1][0] and tries[-1][-1] <= 28):
        assert len(tries) < 10, tries
        tries.append(shares_of(daemon))
    return tries


def shares_one_by_one(daemon):
    """How many of 100 connections each worker gets."""
    wait_until(lambda: sum(daemon.connections().values()) == 0, "no connections")
    connections = []
    for _ in range(100):
        connections.append(daemon.connect())
        assert connections[-1].request("GET", "/index").status == 200
    shares = sorted(daemon.connections().values())
    assert sum(shares) == 100, shares
    for connection in connections:
        connection.close()
    return shares


def test_connections_spread_over_the_workers(todod):
    daemon = todod(workers=5)
    daemon.wait_workers(5)
    until_even(shares_one_by_one, daemon)


def burst_shares(daemon):
    """How many of 100 connections that come at once each worker gets."""
    wait_until(lambda: sum(daemon.connections().values()) == 0, "no connections")
    load = subprocess.Popen([shutil.which("wrk"), "-t1", "-c100", "-d2s", f"{daemon.url}/index"],
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    shares = wait_until(lambda: sum(found := sorted(daemon.connections().values())) == 100 and found, "all connections", 3)
    output = load.communicate(timeout=30)[0]
    assert "Socket errors" not in output and "Non-2xx" not in output and "Requests/sec" in output, output
    return shares


def test_a_burst_of_connections_spreads_over_the_workers(todod, counted):
    daemon = todod(workers=5)
    daemon.wait_workers(5)
    counted(f"connections per worker: {until_even(burst_shares, daemon)}")


def policies(daemon):
    """sched(7): how each worker is scheduled."""
    return {os.sched_getscheduler(pid) for pid in daemon.worker_pids()}


def test_a_busy_worker_preempts_nobody(todod):
    daemon = todod(workers=2, log_level="debug")
    daemon.wait_workers(2)
    assert policies(daemon) == {os.SCHED_OTHER}
    with Wrk(f"{daemon.url}/index", 3, connections=64):
        # On a busy machine it is so for a tenth of a second, now and then.
        wait_until(lambda: os.SCHED_BATCH in policies(daemon) or daemon.lines("scheduled as SCHED_BATCH"), "tried")
    wait_until(lambda: policies(daemon) == {os.SCHED_OTHER}, "as it was, once it has nothing to do")


def test_rubbish_in_the_scoreboard(todod):
    """A mad worker scribbles over the shared memory: the master signals nobody but its own, and stays up."""
    daemon = todod(worker_timeout_s=1, deaths=True)
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        daemon.wait_workers(3)
        fd = next(fd for fd, link in descriptors(daemon.master).items() if "memfd:todod" in link)
        with open(f"/proc/{daemon.master}/fd/{fd}", "r+b") as memory:
            size = 512 * 1024  # the board and more slots than were ever used
            board = mmap.mmap(memory.fileno(), size)
        pid = bystander.pid
        patterns = [b"\xff", b"\x00\x00\x00\x80", pid.to_bytes(4, "little"), pid.to_bytes(8, "little"),
                    (1 << 31).to_bytes(8, "little"), (1).to_bytes(4, "little"), os.urandom(1021)]
        for pattern in patterns:
            for _ in range(30):
                board[:] = (pattern * (size // len(pattern) + 1))[:size]
                time.sleep(0.01)
            assert daemon.process.poll() is None, daemon.log
            assert bystander.poll() is None
        board[:] = bytes(size)
        board.close()
    finally:
        bystander.kill()
        code = bystander.wait()
    assert code == -signal.SIGKILL and daemon.process.poll() is None
    wait_until(lambda: len(daemon.worker_pids()) == 3 and _answers(daemon), lambda: daemon.log, 30)
    assert daemon.stop() == 0


def _answers(daemon):
    try:
        return daemon.request("GET", "/index").status == 200
    except (OSError, Closed):
        return False


def test_the_service_is_not_disturbed_by_window_and_job_signals(todod):
    daemon = todod()
    workers = daemon.wait_workers(3)
    for number in (signal.SIGWINCH, signal.SIGPIPE, signal.SIGALRM, signal.SIGCHLD, signal.SIGCONT):
        daemon.send(number)
    time.sleep(0.3)
    assert daemon.worker_pids() == workers and daemon.request("GET", "/index").status == 200


# ---- T11 and exit codes ------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments", [
    ["--no-such-key", "1"], ["--workers"], ["-x"], ["stray"], ["-c"], ["--log-levle", "info"]], ids=" ".join)
def test_a_wrong_command_line_is_64(directory, arguments):
    done = run_todod(directory, *arguments)
    assert done.returncode == 64 and len(done.stderr.strip()) > 10
    assert os.listdir(directory) == []


def test_a_typo_on_the_command_line_is_answered_with_a_guess(directory):
    assert re.search(r"did you mean .*log.level", run_todod(directory, "--log-levle", "info").stderr)


@pytest.mark.parametrize("arguments", [
    ["--workers", "0"], ["--workers", "many"], ["--store-timeout-ms=-1"], ["--log-level", "loud"], ["--listen", "nonsense"],
    ["--listen", "127.0.0.1:99999"], ["--store", "ftp://x/"], ["--store", "mongodb://"], ["--store", "mongodb://a:b:c/"],
    ["--store", "mongodb://127.0.0.1:99999/"], ["--store", "sqlite:"], ["-c", "/no/such/file"], ["--content-max-bytes", "99999999999999999999"]],
    ids=" ".join)
def test_a_wrong_value_is_78(directory, arguments):
    named = arguments[1] if arguments[0] == "-c" else re.match(r"--(\w+)", arguments[0]).group(1)
    for more in ([], ["-t"]):
        done = run_todod(directory, *more, *arguments)
        assert done.returncode == 78 and named in done.stderr, done
    assert os.listdir(directory) == []


@pytest.mark.parametrize("text, line, says", [
    ("workers = 2\nwrokers = 3\n", 2, "did you mean.*workers"), ("# fine\n\nworkers = x\n", 3, "workers"), ("workers 2\n", 1, ""),
    ("listen = 127.0.0.1:0\nheader_timeout_s = 0\n", 2, "header_timeout_s"), ("store = mongodb://\n", 1, "store")])
def test_a_bad_file_is_78_with_file_and_line(directory, text, line, says):
    path = directory / "todod.conf"
    path.write_text(text)
    for arguments in (["-t", "-c", path], ["-c", path]):
        watch = Stopwatch()
        done = run_todod(directory, *arguments)
        assert done.returncode == 78 and watch.seconds < 5 * SLOW
        assert f"{path}:{line}" in done.stderr and re.search(says, done.stderr), done.stderr
    assert os.listdir(directory) == ["todod.conf"]


def test_a_bad_environment_is_78_and_named(directory):
    done = run_todod(directory, env={"TODOD_WORKERS": "x"})
    assert done.returncode == 78 and "TODOD_WORKERS" in done.stderr


def test_an_unknown_variable_is_only_a_warning(todod):
    daemon = todod(env={"TODOD_PORT_80_TCP": "tcp://10.0.0.1:80"})
    assert daemon.lines("warn.*TODOD_PORT_80_TCP")


def test_configuration_ok(directory):
    path = directory / "todod.conf"
    path.write_text("workers = 2\nlisten = 127.0.0.1:0\n")
    done = run_todod(directory, "-t", "-c", path)
    assert done.returncode == 0 and "configuration OK" in done.stdout + done.stderr
    assert os.listdir(directory) == ["todod.conf"], "-t touches nothing"


def test_dump_config(directory):
    path = directory / "todod.conf"
    path.write_text("workers = 2\nstore = mongodb://user:s3cr3tword@db.test/x\nlog_level = debug\n")
    done = run_todod(directory, "--dump-config", "-c", path, "--workers", "3", env={"TODOD_LOG_LEVEL": "warn"})
    assert done.returncode == 0
    assert "s3cr3tword" not in done.stdout + done.stderr and "db.test" in done.stdout
    assert re.search(r"^workers = 3\b", done.stdout, re.M)
    assert re.search(r"^log_level = warn\b.*TODOD_LOG_LEVEL|TODOD_LOG_LEVEL.*\nlog_level = warn\b", done.stdout, re.M)


def test_a_secret_from_a_file(directory):
    (directory / "secret").write_text("mongodb://user:s3cr3tword@db.test/x\n")
    done = run_todod(directory, "--dump-config", env={"TODOD_STORE_FILE": str(directory / "secret")})
    assert done.returncode == 0 and "db.test" in done.stdout and "s3cr3tword" not in done.stdout


def test_the_layers(todod, directory):
    """Command line before environment before file."""
    (directory / "todod0").mkdir()
    daemon = todod(config="workers = 1\ncontent_max_bytes = 30\nstart_max = 5\n", workers=None,
                   env={"TODOD_CONTENT_MAX_BYTES": "20", "TODOD_START_MAX": "6"}, start_max=7)
    daemon.wait_workers(1)
    assert daemon.request("POST", "/todo", {"content": "x" * 20}).status == 200
    assert daemon.request("POST", "/todo", {"content": "x" * 21}).status == 413
    assert daemon.request("GET", "/todo?start=7").status == 200
    assert daemon.request("GET", "/todo?start=8").status == 400


@pytest.mark.parametrize("flag", ["-h", "-V"])
def test_help_and_version(directory, flag):
    done = run_todod(directory, flag)
    assert done.returncode == 0 and done.stdout and not done.stderr
    assert ("--store-timeout-ms" in done.stdout.replace("_", "-")) if flag == "-h" else re.search(r"todod \d+\.\d+", done.stdout)
    assert os.listdir(directory) == []


def test_with_no_configuration_at_all(directory):
    """The default address and place; another address only so that tests can run side by side."""
    for env, place in (({}, ".local/share/todod"), ({"XDG_DATA_HOME": f"{directory}/xdg"}, "xdg/todod"),
                       ({"STATE_DIRECTORY": f"{directory}/state"}, "state")):
        done = run_todod(directory, "--dump-config", env=env)
        assert re.search(r"^listen = 127\.0\.0\.1:8080\b", done.stdout, re.M)
        assert re.search(rf"^store = sqlite:{re.escape(str(directory))}/{re.escape(place)}/\w+\.db", done.stdout, re.M), done.stdout


def test_the_default_place_is_made(todod, directory):
    daemon = todod(store=None, env={"XDG_DATA_HOME": f"{directory}/deep/share"})
    daemon.post("x")
    assert list((directory / "deep/share/todod").glob("*.db"))


# ---- stores that cannot be used ------------------------------------------------------------------------------

def test_a_second_daemon_on_the_same_file_is_75(todod, directory):
    first = todod(store=f"sqlite:{directory}/todo.db")
    second = run_todod(directory, "--listen", "127.0.0.1:0", "--store", f"sqlite:{directory}/todo.db")
    assert second.returncode == 75 and "todo.db" in second.stderr
    assert first.request("GET", "/todo").status == 200


@pytest.mark.parametrize("path", ["/proc/no/such/todo.db", "/dev/null/todo.db"])
def test_a_path_that_cannot_be_made_is_73_or_77(directory, path):
    done = run_todod(directory, "--listen", "127.0.0.1:0", "--store", f"sqlite:{path}")
    assert done.returncode in (73, 77) and path.rsplit("/", 1)[0] in done.stderr


def test_an_unwritable_directory_is_77(directory):
    """Root may write everywhere, so it becomes somebody else first."""
    place = directory / "place"
    place.mkdir(mode=0o555)
    directory.chmod(0o755)
    prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
    binary = directory / "todod"
    shutil.copy(BINARY, binary)
    done = subprocess.run([*prefix, binary, "--listen", "127.0.0.1:0", "--store", f"sqlite:{place}/todo.db"], text=True,
                          env=environment(directory), cwd="/", capture_output=True, timeout=30)
    assert done.returncode in (73, 77) and str(place) in done.stderr, done


def refused_start(todod, directory, pattern):
    daemon = todod(store=f"sqlite:{directory}/todo.db", wait=False)
    assert daemon.wait_exit() == 78
    assert daemon.lines(pattern), daemon.log


def test_a_file_that_is_no_database_is_78(todod, directory):
    (directory / "todo.db").write_bytes(b"this is no database at all\n" * 100)
    refused_start(todod, directory, r"error.*todo\.db")
    assert (directory / "todo.db").read_bytes().startswith(b"this is no database")


def test_a_newer_schema_is_78(todod, directory):
    daemon = todod(store=f"sqlite:{directory}/todo.db")
    daemon.post("x")
    daemon.stop()
    with contextlib.closing(sqlite3.connect(directory / "todo.db")) as database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        assert version > 0
        database.execute(f"PRAGMA user_version = {version + 1}")
        database.commit()
    refused_start(todod, directory, r"schema|version")


def test_a_database_of_something_else_is_78(todod, directory):
    with contextlib.closing(sqlite3.connect(directory / "todo.db")) as database:
        database.execute("CREATE TABLE todos (something TEXT)")
        database.commit()
    refused_start(todod, directory, r"error")


# ---- logs ------------------------------------------------------------------------------------------------------

def test_every_line_of_the_log_has_its_shape(todod):
    daemon = todod()
    daemon.post("x")
    daemon.stop()
    for line in daemon.log.splitlines():
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warn|info|debug) [a-z-]+\[\d+\] .+", line), line


def test_the_log_never_tells_a_content(todod, store):
    daemon = todod(store=store, log_level="debug")
    daemon.post("a very private thing")
    daemon.request("POST", "/todo", {"content": "a very private thing", "x": "y" * 70000})
    daemon.stop()
    assert "private" not in daemon.log


def test_the_journal_gets_priorities(directory):
    """stderr is the journal when $JOURNAL_STREAM names it."""
    log = directory / "journal"
    with open(log, "wb") as out:
        status = os.fstat(out.fileno())
        process = subprocess.Popen([BINARY, *command_line({"listen": "127.0.0.1:0", "store": f"sqlite:{directory}/todo.db", "workers": 1})],
                                   stderr=out, env=environment(directory, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}),
                                   start_new_session=True)
    try:
        wait_until(lambda: " ready" in log.read_text(), lambda: log.read_text(), 20 * SLOW)
        process.terminate()
        assert process.wait(30) == 0
        assert all(re.match(r"<[0-7]>", line) for line in log.read_text().splitlines())
    finally:
        process.kill()
        process.wait()


def test_load_and_stop_and_start(todod, directory, counted):
    """TERM under writing load, and again: nothing acknowledged is lost, nothing is refused without a word."""
    daemon = todod(store=f"sqlite:{directory}/todo.db")
    with Load(daemon.address, 30) as load:
        for _ in range(3):
            time.sleep(0.7)
            assert daemon.stop() == 0
            daemon.start().wait_store()
    counted(judge(load, daemon.walk()))

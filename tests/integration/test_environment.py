"""How the daemon meets what it runs under: pidfile, unix sockets, users, the service manager."""
import contextlib
import grp
import os
import pwd
import queue
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness.daemon import (BINARY, accepts, descriptors, environment, free_port, processes_of_session, run_todod,
                            sanitizer_reports, status_field, wait_until_gone)
from harness.waiting import SLOW, Stopwatch, wait_until
from harness.wire import Connection

IS_ROOT = os.geteuid() == 0
USER = pwd.getpwnam("nobody")


@contextlib.contextmanager
def several(directory, count, *arguments):
    """Starts that many daemons at once, each with a store of its own; yields them once all but one have ended."""
    started = []
    try:
        for i in range(count):
            (directory / f"n{i}").mkdir()
            with open(directory / f"n{i}" / "log", "wb") as log:
                started.append(subprocess.Popen(
                    [BINARY, *map(str, arguments), "--workers", "1", "--store", f"sqlite:{directory}/n{i}/todo.db"],
                    env=environment(directory / f"n{i}"), stdin=subprocess.DEVNULL, stderr=log, start_new_session=True))
        wait_until(lambda: sum(one.poll() is None for one in started) <= 1, "all but one have ended", 20 * SLOW)
        yield started
    finally:
        for one in started:
            one.terminate()
        for one in started:
            one.wait(30)
        for i in range(count):
            assert not sanitizer_reports(directory / f"n{i}"), sanitizer_reports(directory / f"n{i}")


def _delayed(call, seconds):
    """A prefix under which the master's first such system call is so late."""
    return ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:delay_enter={int(seconds * 1e6)}:when=1"]


def _master_below(tracer):
    for pid in processes_of_session(tracer):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a child that was short-lived
            if status_field(pid, "Name") == "todod":
                return pid
    return None


# ---- the pidfile -----------------------------------------------------------------------------------------

def test_pidfile(todod, directory):
    path = directory / "todod.pid"
    first = todod(pidfile=path, listen=["127.0.0.1:0", f"unix:{directory}/socket"])
    assert path.read_text() == f"{first.master}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644 and path.stat().st_uid == os.geteuid()
    for pid in first.children():
        wait_until(lambda: str(path) not in descriptors(pid).values(), "a child to close the lock that it was forked with")
    inode = path.stat().st_ino
    second = run_todod(directory, "--pidfile", path, "--listen", f"unix:{directory}/socket", "--store", f"sqlite:{directory}/other.db")
    assert second.returncode == 75 and str(path) in second.stderr and str(first.master) in second.stderr
    assert not list(directory.glob("other.db*")), "nothing is touched before"
    assert path.stat().st_ino == inode and path.read_text() == f"{first.master}\n"
    assert first.request("GET", "/index").status == 200
    assert first.stop() == 0
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "1\n", f"{os.getpid()}\n", "99999999\n", "  12 \n"],
                         ids=["empty", "of PID 1", "of another process", "of none", "with blanks"])
def test_a_stale_pidfile_is_taken_over(todod, directory, text):
    path = directory / "todod.pid"
    path.write_text(text)
    assert todod(pidfile=path).master == int(path.read_text())


def test_a_pidfile_after_a_crash_is_taken_over(todod, directory):
    path = directory / "todod.pid"
    daemon = todod(pidfile=path)
    daemon.kill_all()
    assert path.exists()
    daemon.start()
    assert path.read_text() == f"{daemon.master}\n"


def test_a_pidfile_of_a_successor_is_left(todod, directory):
    path = directory / "todod.pid"
    daemon = todod(pidfile=path)
    path.unlink()
    path.write_text("4711\n")
    assert daemon.stop() == 0
    assert path.read_text() == "4711\n"


def test_a_pidfile_that_goes_between_open_and_lock_is_made_anew(todod, directory):
    path = directory / "todod.pid"
    first = todod(pidfile=path)
    second = todod(wait=False, traced=True, pidfile=path, prefix=_delayed("flock", 3 * SLOW))
    wait_until(lambda: (pid := _master_below(second.master)) and str(path) in descriptors(pid).values(), "the second has it open")
    assert first.stop() == 0 and not path.exists()
    second.wait_ready(60)
    master = _master_below(second.master)
    assert path.read_text() == f"{master}\n"
    os.kill(master, signal.SIGTERM)
    assert second.wait_exit() == 0 and not path.exists()


def _mistaken(directory, kind):
    path, target = directory / "todod.pid", directory / "target"
    target.write_text("12\n")
    {"text": lambda: path.write_text("root:x:0:0\n"), "long": lambda: path.write_text("1" * 33),
     "link": lambda: path.symlink_to(target), "directory": path.mkdir}[kind]()
    return path, target


@pytest.mark.parametrize("kind", ["text", "long", "link", "directory"])
def test_what_is_no_pidfile_is_left_as_it_is(directory, kind):
    path, target = _mistaken(directory, kind)
    before = path.read_text() if kind != "directory" else None
    done = run_todod(directory, "--pidfile", path, "--listen", "127.0.0.1:0", "--store", f"sqlite:{directory}/other.db")
    assert done.returncode == 73 and str(path) in done.stderr
    assert target.read_text() == "12\n" and (before is None or path.read_text() == before)
    assert path.is_symlink() == (kind == "link")


def test_of_many_on_one_pidfile_one_runs(directory):
    path = directory / "todod.pid"
    with several(directory, 8, "--pidfile", path, "--listen", "127.0.0.1:0") as started:
        running = [one for one in started if one.poll() is None]
        assert len(running) == 1
        wait_until(lambda: path.read_text() == f"{running[0].pid}\n", "its number, which it writes once it has the lock")
        assert sorted(one.poll() for one in started if one not in running) == 7 * [75]
    assert not path.exists()


# ---- unix sockets ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", [None, "0600", "666", "0770"])
def test_the_mode_of_a_unix_socket(todod, directory, mode):
    path = directory / "socket"
    daemon = todod(listen=f"unix:{path}", unix_mode=mode, prefix=["sh", "-c", 'umask 077; exec "$@"', "sh"])
    assert stat.S_IMODE(path.stat().st_mode) == int(mode or "0666", 8)
    assert daemon.request("GET", "/index").status == 200


def test_the_group_of_a_unix_socket(todod, directory):
    group = grp.getgrnam("www-data") if IS_ROOT else grp.getgrgid(os.getgroups()[-1])
    todod(listen=f"unix:{directory}/socket", unix_group=group.gr_name)
    status = (directory / "socket").stat()
    assert (status.st_uid, status.st_gid) == (os.geteuid(), group.gr_gid)


def test_of_many_on_one_socket_one_runs(directory):
    """A stale file lies there: who looks for one must not take a newcomer's for it."""
    path = directory / "socket"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with several(directory, 8, "--listen", f"unix:{path}") as started:
        running = [one for one in started if one.poll() is None]
        assert len(running) == 1
        assert sorted(one.poll() for one in started if one not in running) == 7 * [69]
        with Connection(str(path)) as connection:
            assert connection.request("GET", "/index").status == 200
    assert not path.exists()


def test_who_is_about_to_listen_is_not_taken_for_dead(todod, directory):
    path = directory / "socket"
    first = todod(wait=False, traced=True, listen=f"unix:{path}", prefix=_delayed("listen", 0.8))
    wait_until(path.exists, "it is bound")
    assert not accepts(str(path)), "and does not listen"
    second = run_todod(directory, "--listen", f"unix:{path}", "--store", f"sqlite:{directory}/other.db")
    assert second.returncode == 69 and str(path) in second.stderr
    first.wait_ready(60)
    with Connection(str(path)) as connection:
        assert connection.request("GET", "/index").status == 200
    os.kill(_master_below(first.master), signal.SIGTERM)
    assert first.wait_exit() == 0


def test_a_socket_file_of_a_successor_is_left(todod, directory):
    path = directory / "socket"
    daemon = todod(listen=["127.0.0.1:0", f"unix:{path}"])
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        inode = path.stat().st_ino
        assert daemon.stop() == 0
        assert path.stat().st_ino == inode and accepts(str(path))


def test_a_directory_locked_by_another_is_not_waited_for_long(directory):
    with subprocess.Popen(["flock", directory, "sleep", "60"], start_new_session=True) as holder:
        try:
            wait_until(lambda: subprocess.run(["flock", "-n", directory, "true"]).returncode, "the lock")
            watch = Stopwatch()
            done = run_todod(directory, "--listen", f"unix:{directory}/socket", "--store", f"sqlite:{directory}/todo.db")
            assert done.returncode == 69 and "lock" in done.stderr and watch.seconds < 10 * SLOW
        finally:
            os.killpg(holder.pid, signal.SIGKILL)


# ---- user and group --------------------------------------------------------------------------------------

@pytest.fixture
def place(directory):
    """A directory in which that user may make files."""
    directory.chmod(0o755)
    path = directory / "place"
    path.mkdir()
    path.chmod(0o777)
    return path


def _low_port():
    for port in range(1023, 512, -1):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port below 1024")


def _refused_to_others(directory):
    """All that can be seen of it without being root."""
    done = run_todod(directory, "--user", "daemon", "--listen", "127.0.0.1:0", "--store", f"sqlite:{directory}/todo.db")
    assert done.returncode == 77 and "daemon" in done.stderr and "root" in done.stderr


def test_processes_run_as_user(todod, directory, place):
    if not IS_ROOT:
        return _refused_to_others(directory)
    daemon = todod(user=USER.pw_name, store=f"sqlite:{place}/made/todo.db", pidfile=f"{directory}/todod.pid",
                   listen=[f"127.0.0.1:{_low_port()}", f"unix:{directory}/socket"], unix_mode="0600")
    assert [daemon.post("x")] == daemon.request("GET", "/todo").data
    assert status_field(daemon.master, "Uid").split() == 4 * ["0"], "the master has to bind again"
    workers = daemon.wait_workers(3)
    for pid in [*workers, daemon.wait_keeper()]:
        wait_until(lambda: os.stat(f"/proc/{pid}/fd").st_uid == USER.pw_uid, "all of its change of users, which comes behind its name")
        assert status_field(pid, "Uid").split() == 4 * [str(USER.pw_uid)]
        assert status_field(pid, "Gid").split() == 4 * [str(USER.pw_gid)]
        assert sorted(map(int, status_field(pid, "Groups").split())) == sorted(os.getgrouplist(USER.pw_name, USER.pw_gid))
        for kind in ("CapPrm", "CapEff", "CapAmb"):
            assert int(status_field(pid, kind), 16) == 0
        assert os.stat(f"/proc/{pid}/fd").st_uid == USER.pw_uid, "it may not dump core, nor read /proc/self"
        assert Path(f"/proc/{pid}/limits").read_text() == Path(f"/proc/{daemon.master}/limits").read_text()
    made = [place / "made", *(place / "made").iterdir()]
    assert len(made) >= 4 and {path.stat().st_uid for path in made} == {USER.pw_uid}
    assert {path.stat().st_gid for path in made} == {USER.pw_gid}
    assert (directory / "todod.pid").stat().st_uid == 0
    assert ((status := (directory / "socket").stat()).st_uid, status.st_gid) == (USER.pw_uid, USER.pw_gid)
    # What replaces a worker is that user, too.
    daemon.expects_deaths = True
    os.kill(workers[0], signal.SIGKILL)
    now = wait_until(lambda: len(now := daemon.worker_pids()) == 3 and workers[0] not in now and now, "a new worker")
    wait_until(lambda: {status_field(pid, "Uid").split()[0] for pid in now} == {str(USER.pw_uid)}, "its user")
    assert daemon.stop() == 0
    assert not (directory / "socket").exists() and not (directory / "todod.pid").exists()


def test_processes_run_as_group(todod, directory, place):
    if not IS_ROOT:
        return _refused_to_others(directory)
    group = grp.getgrnam("www-data")
    daemon = todod(user=USER.pw_name, group=group.gr_name, store=f"sqlite:{place}/todo.db", listen=["127.0.0.1:0", f"unix:{directory}/socket"])
    for pid in daemon.wait_workers(3):
        wait_until(lambda: status_field(pid, "Uid").split() == 4 * [str(USER.pw_uid)], "its user, which comes behind its name")
        assert status_field(pid, "Gid").split() == 4 * [str(group.gr_gid)]
        assert str(group.gr_gid) in status_field(pid, "Groups").split()
    assert (directory / "socket").stat().st_gid == group.gr_gid


def test_the_death_of_the_master_is_asked_for_after_the_user_has_changed(todod, directory, place):
    """The change clears PR_SET_PDEATHSIG, and the master may die at any moment."""
    if not IS_ROOT:
        return _refused_to_others(directory)
    trace = directory / "trace"
    daemon = todod(wait=False, traced=True, user=USER.pw_name, store=f"sqlite:{place}/todo.db",
                   prefix=["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=prctl,setresuid,getppid"])
    daemon.wait_ready(60)
    order = [f"setresuid({USER.pw_uid}, {USER.pw_uid}, {USER.pw_uid}", "prctl(PR_SET_PDEATHSIG, SIGTERM", "getppid("]

    def steps():
        """{process: what it did of these, in its order}"""
        found = {}
        for line in trace.read_text().splitlines():
            pid, call = line.split(maxsplit=1)
            found.setdefault(pid, []).extend(part for part in order if call.startswith(part))
        return [made for made in found.values() if made]
    wait_until(lambda: sum(len(made) >= 3 for made in steps()) == 5, trace.read_text, 20 * SLOW)
    assert steps() == 5 * [order], "set-up, keeper, three workers"
    master = _master_below(daemon.master)
    os.kill(master, signal.SIGTERM)
    assert daemon.wait_exit() == 0


def test_no_process_of_a_user_outlives_a_killed_master(todod, directory, place):
    if not IS_ROOT:
        return _refused_to_others(directory)
    daemon = todod(user=USER.pw_name, store=f"sqlite:{place}/todo.db", pidfile=f"{directory}/pid",
                   listen=f"unix:{directory}/socket", prefix=["env", "--block-signal=TERM,CHLD"])
    daemon.process.kill()
    daemon.wait_exit()
    assert not wait_until_gone(daemon.master, 7 * SLOW)
    daemon.start().wait_store()


def test_only_root_can_name_another_user(directory, place):
    binary, me = place / "todod", []
    shutil.copy(BINARY, binary)
    if IS_ROOT:
        me = ["setpriv", "--reuid", str(USER.pw_uid), "--regid", str(USER.pw_gid), "--clear-groups"]
    name = USER.pw_name if IS_ROOT else pwd.getpwuid(os.geteuid()).pw_name

    def run(*arguments):
        return subprocess.run([*me, binary, "--listen", "127.0.0.1:0", "--store", f"sqlite:{place}/todo.db", *arguments],
                              text=True, env=environment(place), cwd="/", capture_output=True, timeout=30)
    other = run("--user", "daemon")
    assert other.returncode == 77 and "daemon" in other.stderr and "root" in other.stderr, other
    assert not (place / "todo.db").exists()
    assert run("--user", "daemon", "-t").returncode == 0, "the configuration is right"
    with subprocess.Popen([*me, binary, "--listen", f"unix:{place}/socket", "--store", f"sqlite:{place}/todo.db", "--user", name],
                          env=environment(place), cwd="/", stderr=subprocess.DEVNULL, start_new_session=True) as own:
        wait_until(lambda: (place / "socket").exists() and accepts(str(place / "socket")), "its own user")
        own.terminate()
        assert own.wait(30) == 0


def test_a_store_that_the_user_cannot_have_is_77(directory):
    if not IS_ROOT:
        return _refused_to_others(directory)
    done = run_todod(directory, "--user", USER.pw_name, "--listen", "127.0.0.1:0", "--store", f"sqlite:{directory}/sub/todo.db")
    assert done.returncode == 77 and f"{directory}/sub" in done.stderr and f"as user {USER.pw_name}" in done.stderr
    assert not (directory / "sub").exists()


@pytest.mark.parametrize("key", ["user", "unix_group", "group"])
@pytest.mark.parametrize("test", [["-t"], []], ids=["-t", "start"])
def test_an_unknown_name_is_78_and_touches_nothing(directory, key, test):
    (directory / "conf").write_text(f"listen = unix:{directory}/socket\nstore = sqlite:{directory}/todo.db\n"
                                    f"pidfile = {directory}/pid\n{key} = nobody-knows\n" + (key == "group") * "user = nobody\n")
    watch = Stopwatch()
    done = run_todod(directory, "-c", directory / "conf", *test)
    assert done.returncode == 78 and f"{directory}/conf:4: {key}: " in done.stderr and "nobody-knows" in done.stderr
    assert watch.seconds < 5 * SLOW and [path.name for path in directory.iterdir()] == ["conf"]


# ---- socket activation -----------------------------------------------------------------------------------

def test_under_systemd_socket_activate(directory):
    """It waits for the first connection, and becomes todod."""
    ports = [free_port(), free_port()]
    path, log = directory / "socket", directory / "log"
    addresses = [("127.0.0.1", ports[0]), ("::1", ports[1]), str(path)]
    names = [f"127.0.0.1:{ports[0]}", f"[::1]:{ports[1]}", str(path)]
    ignored = directory / "ignored"
    passed = [word for key, value in environment(directory).items() for word in ("-E", f"{key}={value}")]
    with open(log, "wb") as out, subprocess.Popen(
            ["systemd-socket-activate", *[word for name in names for word in ("-l", name)], *passed, BINARY, "--workers", "2",
             "--store", f"sqlite:{directory}/todo.db", "--listen", f"unix:{ignored}", "--control", "off"],
            env=environment(directory), stdout=out, stderr=out, start_new_session=True) as process:
        try:
            wait_until(lambda: accepts(addresses[0]), lambda: log.read_text(), 20 * SLOW)
            for address in addresses:
                with Connection(address) as connection:
                    assert connection.request("GET", "/index").json == {"msg": "hello world"}
            assert not ignored.exists(), "they take the place of listen"
            inodes = {fd: link for fd, link in descriptors(process.pid).items() if link.startswith("socket:")}
            assert sorted(inodes) == [3, 4, 5], "those that were passed, and no others"
            for fd in inodes:
                flags = int(re.search(r"flags:\s+0(\d+)", Path(f"/proc/{process.pid}/fdinfo/{fd}").read_text()).group(1), 8)
                assert flags & os.O_NONBLOCK and flags & os.O_CLOEXEC
            process.terminate()
            assert process.wait(30 * SLOW) == 0
            assert path.exists(), "the file is not its own"
        finally:
            process.kill()
    assert not sanitizer_reports(directory)


def _activate(listener, count=1, pid="$$"):
    """A prefix that passes a socket of the test's own as descriptor 3, as if by a service manager."""
    return ["bash", "-c", f'export LISTEN_PID={pid} LISTEN_FDS={count} LISTEN_FDNAMES=todod.socket; exec "$@" 3<&{listener} {listener}<&-', "bash"]


@contextlib.contextmanager
def activated(directory, listener, *arguments, **how):
    with open(directory / "log", "ab") as log, subprocess.Popen(
            [*_activate(listener.fileno(), **how), BINARY, "--workers", "2", "--store", f"sqlite:{directory}/todo.db", *arguments],
            env=environment(directory), stdin=subprocess.DEVNULL, stderr=log, pass_fds=[listener.fileno()], start_new_session=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def test_a_restart_under_activation_loses_no_connection(directory):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        for content in ("one", "two"):
            # Nobody runs yet: the kernel keeps it.
            with Connection(listener.getsockname()) as connection, activated(directory, listener):
                assert connection.request("POST", "/todo", {"content": content}).status == 200
        assert "listening on" in (directory / "log").read_text()


def test_sockets_for_another_process_are_left_alone(directory):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with activated(directory, listener, "--listen", f"unix:{directory}/socket", pid="1"):
            wait_until(lambda: (directory / "socket").exists() and accepts(str(directory / "socket")), "its own address")
            assert "listening on 127" not in (directory / "log").read_text()


@pytest.mark.parametrize("kind", ["datagram", "connected", "too many"])
def test_what_is_no_listener_is_78(directory, kind):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
    with one, other, activated(directory, one, count=1000 if kind == "too many" else 1) as process:
        assert process.wait(20 * SLOW) == 78
        assert re.search("listening stream socket|at most 16", (directory / "log").read_text())


# ---- what the service manager is told --------------------------------------------------------------------

class Manager:
    """Listens as a service manager does, and notes when and from which process each message came."""

    def __init__(self, address):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.sock.bind("\0" + address[1:] if address[0] == "@" else address)
        self.messages, self.new, self.thread = [], queue.Queue(), None

    def listen(self):
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def _run(self):
        while True:
            try:
                data, ancillary, _, _ = self.sock.recvmsg(4096, socket.CMSG_SPACE(12))
            except OSError:
                return
            if not data:
                return
            pid, _, _ = struct.unpack("3i", ancillary[0][2][:12])
            self.messages.append((time.monotonic(), pid, data.decode().splitlines()))
            self.new.put(data.decode().splitlines())

    def wait(self, line, timeout_s=20 * SLOW):
        end = time.monotonic() + timeout_s
        while True:
            try:
                if line in self.new.get(timeout=max(0.01, end - time.monotonic())):
                    return
            except queue.Empty:
                raise AssertionError(f"no {line} within {timeout_s:g} s: {self.messages}") from None

    def times(self, line):
        return [when for when, _, lines in self.messages if line in lines]

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        if self.thread:
            self.thread.join(5)
        self.sock.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request, directory):
    manager = Manager(f"{directory}/notify" if request.param == "path" else f"@todod-test-{os.getpid()}-{directory.name}")
    yield manager
    manager.close()


def _notify(manager, **more):
    address = manager.sock.getsockname()
    return {"NOTIFY_SOCKET": address if isinstance(address, str) else "@" + address[1:].decode(), **more}


WATCHDOG = {"WATCHDOG_USEC": "300000"}
NAMED = ["sh", "-c", 'export WATCHDOG_PID=$$; exec "$@"', "sh"]


def test_the_service_manager_is_told(todod, manager):
    daemon = todod(wait=False, env=_notify(manager.listen(), **WATCHDOG), prefix=NAMED)
    manager.wait("READY=1")
    assert daemon.request("GET", "/index").status == 200, "ready is ready"
    for _ in range(6):
        manager.wait("WATCHDOG=1")
    assert daemon.stop() == 0
    manager.wait("STOPPING=1")
    ready, stopping = manager.times("READY=1"), manager.times("STOPPING=1")
    assert len(ready) == len(stopping) == 1 and ready[0] < stopping[0]
    assert {pid for _, pid, _ in manager.messages} == {daemon.master}, "none but the master speaks"
    pings = [when for when in manager.times("WATCHDOG=1") if when < stopping[0]]
    gaps = sorted(b - a for a, b in zip(pings, pings[1:]))
    assert gaps[len(gaps) // 4] < 0.15, f"at less than half of what is granted: {gaps}"
    lines = [line for _, _, lines in manager.messages for line in lines]
    status = [line for line in lines if line.startswith("STATUS=")]
    assert re.fullmatch(r"STATUS=[1-3] of 3 workers ready, \d+ connections", next(s for s in status if "starting" not in s)), status
    assert all(re.fullmatch(r"READY=1|STOPPING=1|WATCHDOG=1|STATUS=.*", line) for line in lines), lines


def test_the_service_manager_is_told_of_changes(todod, directory):
    """Each begins with RELOADING=1 at a time that is not before it was asked for, and ends with READY=1, whatever becomes of it."""
    manager = Manager(f"{directory}/notify").listen()
    daemon = todod(env=_notify(manager), config="", listen="127.0.0.1:0")
    manager.wait("READY=1")
    for number, result, text in ((signal.SIGHUP, "serves", ""), (signal.SIGUSR2, "serves", ""), (signal.SIGHUP, "failed", "wrokers = 1\n")):
        daemon.configure(text)
        asked_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        daemon.change(number, result=result)
        manager.wait("READY=1")
        told = next(lines for _, _, lines in reversed(manager.messages) if "RELOADING=1" in lines)
        assert next(int(line.split("=")[1]) for line in told if line.startswith("MONOTONIC_USEC=")) >= asked_us
    wait_until(lambda: any("STATUS=" in line and "; the last reload failed" in line for _, _, lines in manager.messages for line in lines),
               lambda: str(manager.messages[-3:]))
    ready = len(manager.times("READY=1"))
    for _ in range(3):
        daemon.send(signal.SIGHUP)  # those that come during one are one more
        manager.wait("RELOADING=1")
    wait_until(lambda: len(manager.times("READY=1")) > ready + 1, lambda: str(manager.messages))
    assert {pid for _, pid, _ in manager.messages} == {daemon.master}
    manager.close()


def test_a_master_that_stands_still_is_missed(todod, directory):
    manager = Manager(f"{directory}/notify").listen()
    daemon = todod(env=_notify(manager, **WATCHDOG), prefix=NAMED)
    manager.wait("WATCHDOG=1")
    daemon.send(signal.SIGSTOP)
    time.sleep(0.5)  # what it said before is heard by now
    before = len(manager.messages)
    time.sleep(0.5)
    assert len(manager.messages) == before
    daemon.send(signal.SIGCONT)
    manager.wait("WATCHDOG=1")
    manager.close()


def test_a_watchdog_of_another_process_gets_no_ping(todod, directory):
    manager = Manager(f"{directory}/notify").listen()
    daemon = todod(env=_notify(manager, WATCHDOG_PID="1", **WATCHDOG))
    manager.wait("READY=1")
    time.sleep(0.5)
    assert daemon.stop() == 0
    manager.wait("STOPPING=1")
    assert not manager.times("WATCHDOG=1")
    manager.close()


def test_not_ready_before_a_worker_is(todod, directory):
    """Their boot is made to fail: they cannot make their loop."""
    manager = Manager(f"{directory}/notify").listen()
    daemon = todod(wait=False, deaths=True, traced=True, env=_notify(manager), prefix=[
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=epoll_create1", "-e", "inject=epoll_create1:error=EMFILE"])
    assert daemon.wait_exit(60) == 70
    assert not manager.times("READY=1") and manager.messages
    assert all("starting" in line or "stopping" in line or line == "STOPPING=1" for _, _, lines in manager.messages for line in lines)
    manager.close()


def test_a_service_manager_that_does_not_read(todod, directory):
    """The master does not wait for it, and tells it later."""
    manager = Manager(f"{directory}/notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler, contextlib.suppress(BlockingIOError):
        filler.setblocking(False)
        while True:
            filler.sendto(b"X=1", f"{directory}/notify")
    daemon = todod(env=_notify(manager))
    assert daemon.request("GET", "/index").status == 200
    manager.listen().wait("READY=1")
    manager.close()


def test_a_service_manager_that_is_not_there(todod, directory):
    daemon = todod(env={"NOTIFY_SOCKET": f"{directory}/nobody"})
    assert daemon.request("GET", "/index").status == 200

"""The control socket, and todod ctl: each command, each exit code, and clients that mean no good."""
import contextlib
import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.daemon import BINARY, descriptors, environment, free_port, run_todod, sanitizer_reports
from harness.frame import WORKERS, conf
from harness.readers import Readers
from harness.sqlite import write_lock
from harness.waiting import SLOW, Stopwatch, wait_until
from harness.wire import request_bytes

IS_ROOT = os.geteuid() == 0
USER = pwd.getpwnam("nobody")
NOBODY = ["setpriv", "--reuid", str(USER.pw_uid), "--regid", str(USER.pw_gid), "--clear-groups"] if IS_ROOT else []
PATIENCE_S = 5
POST = request_bytes("POST", "/todo", {"content": "in flight"})


def path_of(daemon):
    return daemon.directory / "control.sock"


def ctl(daemon, *words, path=None, env=None):
    """Runs todod ctl to its end, on the daemon's socket."""
    return run_todod(daemon.directory, "ctl", "--control", path or path_of(daemon), *words, env=env, timeout_s=60 * SLOW)


def expect(done, code, stdout="", stderr=""):
    assert done.returncode == code and stdout in done.stdout and stderr in done.stderr, done
    assert bool(done.stderr) == bool(code), done
    if code:
        assert done.stderr.startswith("todod ctl: ") and done.stderr.count("\n") == 1, done


def status(daemon, **how):
    done = ctl(daemon, "status", "--json", **how)
    expect(done, 0)
    return json.loads(done.stdout)


def connections(said):
    return sum(one["connections"] for one in said["processes"] if one["kind"] == "worker")


def requests(said):
    return sum(one["requests"] for one in said["processes"] if one["kind"] == "worker")


def connect(path):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20 * SLOW)
    sock.connect(str(path))
    return sock


def read_answer(sock):
    """To the empty line; b"" when the connection ends before it."""
    text = b""
    while not text.endswith(b"\n\n"):
        try:
            more = sock.recv(65536)
        except ConnectionError:
            return b""
        if not more:
            return b""
        text += more
    return text


def ask(sock, line):
    sock.sendall(line)
    return read_answer(sock)


# ---- status ----------------------------------------------------------------------------------------------------

def test_status_for_programs(configured, directory):
    daemon = configured("127.0.0.1:0", f"unix:{directory}/web.sock", cache="off")
    ready = daemon.watch_ready()
    wait_until(lambda: ready() == WORKERS, "every worker to be ready")
    before = requests(status(daemon))
    with daemon.connect() as client:
        client.request("GET", "/index")
        said = wait_until(lambda: connections(said := status(daemon)) == 1 and said, "its connection is seen")
    assert (said["pid"], said["state"], said["workers"]) == (daemon.master, "serves", WORKERS)
    assert said["version"] in run_todod(directory, "-V").stdout
    assert said["configuration"] == f"{daemon.directory}/todod.conf" and said["program"] == str(BINARY)
    assert said["store"].startswith("sqlite:") and said["cache"] == "off" and said["uptime_ms"] >= 0
    assert [one["name"] for one in said["listeners"]] == daemon.listening()
    assert said["listeners"][0]["queued"] == 0 and said["listeners"][0]["limit"] > 0
    assert said["listeners"][1] == {"queued": None, "limit": None, "name": f"unix:{directory}/web.sock"}
    assert [(one["state"], one["leaves_in_ms"]) for one in said["generations"]] == [("serves", None)]
    kinds = [one["kind"] for one in said["processes"]]
    assert sorted(kinds) == sorted(["master", "keeper"] + ["worker"] * WORKERS)
    assert {one["pid"] for one in said["processes"]} == {daemon.master, daemon.wait_keeper(), *daemon.worker_pids()}
    workers = [one for one in said["processes"] if one["kind"] == "worker"]
    assert {one["state"] for one in workers} == {"ready"}
    assert requests(said) == before + 1
    assert {one["requests"] for one in said["processes"] if one["kind"] != "worker"} == {None}
    for one in said["processes"]:
        resident = 1024 * int(next(line.split()[1] for line in Path(f"/proc/{one['pid']}/status").read_text().splitlines()
                                   if line.startswith("VmRSS")))
        assert resident / 2 < one["resident_bytes"] < resident * 2
    assert said["reload"] == {"number": 0, "outcome": "none", "ended_ms_ago": None, "reason": None}


def test_requests_are_a_process_s_own(configured):
    """Not those of who had its place before; and they cross an upgrade."""
    daemon = configured(store_timeout_ms=20000)
    for _ in range(3):
        daemon.request("GET", "/index")
        daemon.change()
        daemon.wait_settled(WORKERS)
        assert requests(status(daemon)) == 0
    with daemon.connect() as busy:
        busy.request("GET", "/index")
        with write_lock(daemon.directory.parent / "todo.db"):
            busy.send(POST)
            wait_until(lambda: daemon.owner(busy), "a worker has the connection")
            daemon.change(signal.SIGUSR2)
            wait_until(lambda: [one["requests"] for one in status(daemon)["processes"] if one["state"] == "leaves"] == [1],
                       "the busy one alone to be left")
        assert busy.read().status == 200
    daemon.wait_settled(WORKERS)


def test_status_for_people(configured):
    daemon = configured()
    done = ctl(daemon, "status")
    expect(done, 0)
    assert done.stdout.startswith("todod ") and f"process {daemon.master}, serves, up for " in done.stdout
    assert f"{daemon.listening()[0]}, 0 of " in done.stdout
    for pid in daemon.worker_pids():
        assert f" {pid} " in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 120


def test_status_masks_and_tells_of_a_drain(configured, directory):
    """Passwords are not for every eye; a generation that drains says until when."""
    daemon = configured(store_timeout_ms=20000)
    with daemon.connect() as busy:
        with write_lock(directory / "todo.db"):
            busy.send(POST)
            wait_until(lambda: daemon.owner(busy), "a worker has the connection")
            daemon.configure(conf(directory, "127.0.0.1:0", cache="redis://:secret@127.0.0.1:1"))
            expect(ctl(daemon, "reload", "--wait", "30"), 0, "reload 1 has succeeded\n")
            said = status(daemon)
        busy.read()
    assert said["cache"] == "redis://:***@127.0.0.1:1"
    old = next(one for one in said["generations"] if one["state"] == "drains")
    assert 20_000 < old["leaves_in_ms"] < 40_000 and old["number"] == 1
    assert {one["state"] for one in said["processes"] if one["generation"] == 1} <= {"leaves", "runs"}
    assert (said["reload"]["number"], said["reload"]["outcome"]) == (1, "succeeded")


# ---- reload, upgrade, workers, stop ----------------------------------------------------------------------------------

def test_reload(configured):
    daemon = configured()
    old = daemon.worker_pids()
    expect(ctl(daemon, "reload"), 0, "reload 1 is under way\n")
    expect(ctl(daemon, "reload", "--wait"), 0, "has succeeded\n")
    wait_until(lambda: not set(old) & set(daemon.worker_pids()), "the old workers to leave")
    assert status(daemon)["reload"]["outcome"] == "succeeded"


def test_a_reload_that_is_refused_says_why(configured, directory):
    daemon = configured()
    old = daemon.wait_workers(WORKERS)
    daemon.configure(conf(directory, "127.0.0.1:0") + "wrokers = 3\n")
    why = f"{daemon.directory}/todod.conf:"
    expect(ctl(daemon, "reload", "--wait", "30"), 78, stderr='unknown key "wrokers"; did you mean "workers"?')
    assert daemon.worker_pids() == old and daemon.request("GET", "/index").status == 200
    said = status(daemon)["reload"]
    assert said["outcome"] == "failed" and said["reason"].startswith(why) and said["ended_ms_ago"] >= 0
    assert why in ctl(daemon, "status").stdout
    daemon.configure(conf(directory, "127.0.0.1:0"))
    expect(ctl(daemon, "reload", "--wait", "30"), 0)
    assert status(daemon)["reload"]["reason"] is None


def test_a_reload_that_fails_otherwise(configured, directory):
    daemon = configured()
    with socket.socket() as taken:
        port = free_port()  # nobody else's when it is free again
        taken.bind(("127.0.0.1", port))
        taken.listen()
        daemon.configure(conf(directory, "127.0.0.1:0", f"127.0.0.1:{port}"))
        expect(ctl(daemon, "reload", "--wait", "30"), 70, stderr=f"cannot listen on 127.0.0.1:{port}")
    expect(ctl(daemon, "reload", "--wait", "30"), 0)


def test_a_wait_that_is_over_before_the_reload(configured, directory):
    """It waits for those that drain; and those who wait for it see how it ends."""
    daemon = configured(store_timeout_ms=20000)
    busy = []
    with contextlib.ExitStack() as stack:
        with write_lock(directory / "todo.db"):
            for number in range(2):
                busy.append(stack.enter_context(daemon.connect()))
                busy[-1].send(POST)
                wait_until(lambda: daemon.owner(busy[-1]), "a worker has the connection")
                expect(ctl(daemon, "reload", "--wait", "30"), 0, f"reload {number + 1} has succeeded")
            expect(ctl(daemon, "reload", "--wait", "0"), 75, stderr="reload 3 is still under way")
            sock = stack.enter_context(connect(path_of(daemon)))
            sock.sendall(b"await reload 3\n")
        for connection in busy:
            assert connection.read().status == 200
        assert read_answer(sock) == b"ok\n\n"


def test_the_socket_moves_with_a_reload(configured, directory):
    """Who waits for it is told all the same."""
    daemon = configured(control=f"{directory}/one.sock")
    file, one, other = daemon.directory / "todod.conf", f"{directory}/one.sock", f"{directory}/other.sock"
    daemon.configure(conf(directory, "127.0.0.1:0", control=other))
    expect(ctl(daemon, "reload", "--wait", "30", path=one), 0)
    wait_until(lambda: not os.path.exists(one), "the old one is gone")
    assert status(daemon, path=other)["pid"] == daemon.master
    expect(run_todod(directory, "ctl", "-c", file, "status"), 0, f"process {daemon.master}")
    daemon.configure(conf(directory, "127.0.0.1:0", control="off"))
    expect(ctl(daemon, "reload", "--wait", "30", path=other), 0)
    wait_until(lambda: not os.path.exists(other), "there is none")
    expect(run_todod(directory, "ctl", "-c", file, "status"), 69, stderr="control = off")
    with open(other, "w") as taken:
        taken.write("mine")
    daemon.configure(conf(directory, "127.0.0.1:0", control=other))
    daemon.change(result="failed")
    assert Path(other).read_text() == "mine"


def test_an_upgrade_is_waited_for_across_the_exec(configured, directory):
    program = directory / "todod"
    shutil.copy(BINARY, program)
    daemon = configured(program=program)
    inode = path_of(daemon).stat().st_ino
    for number in (1, 2, 3):
        os.replace(shutil.copy(BINARY, directory / "new"), program)
        expect(ctl(daemon, "upgrade", "--wait", "60"), 0, f"upgrade {number} has succeeded\n")
    said = status(daemon)
    assert said["pid"] == daemon.master and said["upgrade"]["outcome"] == "succeeded" and said["generations"][0]["number"] == 4
    assert path_of(daemon).stat().st_ino == inode
    script = directory / "new"
    script.write_text("#!/bin/sh\nexit 78\n")
    script.chmod(0o755)
    script.rename(program)
    expect(ctl(daemon, "upgrade", "--wait", "60"), 78, stderr=f"{program} -t ended with exit code 78")
    program.unlink()
    expect(ctl(daemon, "upgrade", "--wait", "60"), 70, stderr=f"{program} -t ended with exit code 71")
    expect(ctl(daemon, "upgrade"), 0, "upgrade 6 is under way\n")


def test_workers(configured):
    daemon = configured()
    expect(ctl(daemon, "workers", "5"), 0, "5 workers wanted\n")
    daemon.wait_workers(5)
    expect(ctl(daemon, "workers", "1"), 0)
    daemon.wait_workers(1)
    for refused in (0, 100_000, 999_999_999):
        expect(ctl(daemon, "workers", str(refused)), 64, stderr="1 workers stay: 1 to ")
    assert status(daemon)["workers"] == 1


def test_stop(configured, directory):
    daemon = configured(store_timeout_ms=20000)
    with daemon.connect() as busy:
        with write_lock(directory / "todo.db"):
            busy.send(POST)
            wait_until(lambda: daemon.owner(busy), "a worker has the connection")
            expect(ctl(daemon, "stop", "--wait", "0"), 75, stderr="todod is still stopping")
            expect(ctl(daemon, "stop"), 0, "todod is stopping\n")
            assert status(daemon)["state"] == "drains"
            expect(ctl(daemon, "reload"), 70, stderr="todod is stopping")
            expect(ctl(daemon, "workers", "2"), 70, stderr="todod is stopping")
            waiting = ThreadPoolExecutor(1).submit(ctl, daemon, "stop", "--wait")
            wait_until(lambda: len(daemon.lines("a stop was asked for")) == 3, "it waits")
        assert busy.read().status == 200
        expect(waiting.result(), 0, "todod has stopped\n")
    assert daemon.wait_exit() == 0
    assert not path_of(daemon).exists()
    expect(ctl(daemon, "stop", "--wait"), 69, stderr="no todod answers")


def test_stop_waits_to_the_very_end(configured):
    daemon = configured()
    expect(ctl(daemon, "stop", "--wait"), 0, "todod has stopped\n")
    assert daemon.wait_exit(1 * SLOW) == 0


# ---- which socket ----------------------------------------------------------------------------------------------------

def test_the_socket_file(configured):
    daemon = configured()
    made = path_of(daemon).stat()
    assert stat.S_ISSOCK(made.st_mode) and stat.S_IMODE(made.st_mode) == 0o600 and made.st_uid == os.geteuid()
    daemon.kill_all()
    assert path_of(daemon).exists()
    expect(ctl(daemon, "status"), 69, stderr="Connection refused")
    daemon.start().wait_store()
    assert path_of(daemon).stat().st_ino != made.st_ino or path_of(daemon).stat().st_ctime_ns != made.st_ctime_ns
    assert status(daemon)["pid"] == daemon.master
    assert daemon.stop() == 0 and not path_of(daemon).exists()


def test_no_child_has_it(configured):
    daemon = configured()
    with connect(path_of(daemon)) as sock:
        assert ask(sock, b"workers 4\n") == b"ok\n\n"
        daemon.wait_workers(4)
        own = {link for link in descriptors(daemon.master).values() if link.startswith("socket:")}
        web = {link for pid in daemon.worker_pids() for link in descriptors(pid).values() if link.startswith("socket:")}
        assert len(own - web) == 2, "the control socket, and its client"


def test_as_typed(todod, directory):
    """Whoever starts it by hand types todod ctl, and the file that it was started with."""
    daemon = todod()
    where = {"RUNTIME_DIRECTORY": str(daemon.directory)}
    expect(run_todod(directory, "ctl", "status", env=where), 0, f"process {daemon.master}")
    named = {"RUNTIME_DIRECTORY": "", "TODOD_CONTROL": str(path_of(daemon))}
    expect(run_todod(directory, "ctl", "status", env=named), 0, f"process {daemon.master}")
    (directory / "wrong.conf").write_text(f"workers = many\ncontrol = {path_of(daemon)}\nno pair\n")
    expect(run_todod(directory, "ctl", "-c", directory / "wrong.conf", "status"), 0, f"process {daemon.master}")
    (directory / "wrong.conf").write_text("no pair\n")
    expect(run_todod(directory, "ctl", "-c", directory / "wrong.conf", "status"), 78, stderr="wrong.conf:1: expected key = value")
    expect(run_todod(directory, "ctl", "-c", directory / "none.conf", "status"), 78, stderr="none.conf: cannot be read")


def test_as_typed_by_a_user(todod, directory):
    """Who is not root has a directory of the session, or nothing."""
    directory.chmod(0o755)
    program, home = shutil.copy(BINARY, directory / "todod"), directory / "home"
    home.mkdir()
    if IS_ROOT:
        os.chown(home, USER.pw_uid, USER.pw_gid)
    env = {"RUNTIME_DIRECTORY": "", "XDG_RUNTIME_DIR": str(home)}
    daemon = todod(directory=home, env=env, prefix=NOBODY, program=program)

    def as_typed(**how):
        return subprocess.run([*NOBODY, program, "ctl", "status"], env=environment(home, env | how), cwd="/", text=True,
                              capture_output=True, timeout=60 * SLOW)
    expect(as_typed(), 0, f"process {daemon.master}, ")
    assert (home / "todod" / "control.sock").stat().st_uid == (USER.pw_uid if IS_ROOT else os.geteuid())
    done = as_typed(XDG_RUNTIME_DIR="")  # that of an installed service, which may be there
    assert done.returncode in (69, 77) and "/run/todod/control.sock: " in done.stderr, done


def test_a_default_that_is_taken_is_no_obstacle(todod, directory):
    """A second daemon by hand: it has none, and says so. A path that was named has to work."""
    first = todod()
    shared = {"RUNTIME_DIRECTORY": str(first.directory)}
    second = todod(env=shared)
    assert second.lines(r"warn .*no control socket: cannot bind unix:.*control\.sock: Address already in use")
    assert status(first)["pid"] == first.master
    done = run_todod(directory, "--listen", "127.0.0.1:0", "--store", f"sqlite:{directory}/other.db", "--control", path_of(first))
    assert done.returncode == 69 and "control.sock: Address already in use" in done.stderr
    assert second.stop() == 0 and status(first)["pid"] == first.master


# ---- permission --------------------------------------------------------------------------------------------------------

def test_others_are_not_heard(todod, directory):
    daemon = todod()
    if not IS_ROOT:  # there is nobody else to be
        path_of(daemon).chmod(0)
        return expect(ctl(daemon, "status"), 77, stderr="Permission denied")
    for place in (directory, daemon.directory):
        place.chmod(0o755)
    program = shutil.copy(BINARY, directory / "todod")

    def as_nobody():
        done = subprocess.run([*NOBODY, program, "ctl", "--control", path_of(daemon), "status"], env=environment(directory),
                              cwd="/", text=True, capture_output=True, timeout=60 * SLOW)
        assert not sanitizer_reports(directory)
        return done
    expect(as_nobody(), 77, stderr="Permission denied")
    path_of(daemon).chmod(0o666)  # who opens it up has not yet said who may command
    expect(as_nobody(), 77, stderr="only root and the user that todod runs as are heard")
    assert status(daemon)["pid"] == daemon.master


# ---- clients that mean no good -----------------------------------------------------------------------------------------

GARBAGE = [b"\n", b" \n", b"status \n", b"status\r\n", b"STATUS\n", b"stat\n", b"statuss\n", b"workers\n", b"workers -1\n", b"workers 1 2\n",
           b"workers 99999999999999999999\n", b"await\n", b"await reload\n", b"await reload x\n", b"await reload 0\n",
           b"await reload 1\n", b"await upgrade 7\n", b"reload 1\n", b"stop now\n", b"st\0op\n", b"stop\0\n", b"GET / HTTP/1.1\n",
           b"\xff\xfe\n", b"x" * 255 + b"\n"]


def test_garbage(configured):
    daemon = configured()
    for line in GARBAGE:
        with connect(path_of(daemon)) as sock:
            assert ask(sock, line).startswith(b"error 64 "), line
            assert ask(sock, b"status\n").startswith(b"ok\nversion "), line
    with connect(path_of(daemon)) as sock:
        assert ask(sock, b"x" * 256) == b"error 64 a request of more than 256 bytes\n\n"
        assert sock.recv(1) == b""
    with connect(path_of(daemon)) as sock:
        for byte in b"workers 2\n":
            sock.sendall(bytes([byte]))
        assert read_answer(sock) == b"ok\n\n"
    with connect(path_of(daemon)) as sock:
        sock.sendall(b"status\nworkers 3\nstatus\n")
        sock.shutdown(socket.SHUT_WR)
        answers = b""
        while more := sock.recv(65536):
            answers += more
        assert answers.count(b"\nversion ") == 2 and answers.count(b"\nworkers 3\n") == 1, "in order"
    with connect(path_of(daemon)) as sock:
        sock.sendall(b"status")
    assert status(daemon)["state"] == "serves"


def test_whoever_never_stops_asking_is_cut(configured):
    daemon = configured()
    with connect(path_of(daemon)) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(100 * b"status\n")
        answers = 0
        while read_answer(sock):
            answers += 1
    assert 1 <= answers <= 8


def test_who_stalls_delays_nobody_and_is_cut(configured):
    """Seven that say nothing, half a line, or do not read what they asked for, leave room for one who has something to say."""
    daemon = configured()
    with contextlib.ExitStack() as stack:
        stalled = [stack.enter_context(connect(path_of(daemon))) for _ in range(7)]
        watch = Stopwatch()
        stalled[1].sendall(b"relo")
        stalled[2].sendall(8 * b"status\n")
        with Readers(daemon, 2) as readers:
            before = Stopwatch()
            expect(ctl(daemon, "reload", "--wait", "30"), 0)
            assert before.seconds < max(PATIENCE_S - 1, 2 * SLOW)
        assert not readers.wrong, readers.wrong[:3]
        eighth = stack.enter_context(connect(path_of(daemon)))
        eighth.sendall(b"wor")
        expect(ctl(daemon, "status"), 0)  # waits for the first of them to be cut
        for sock in stalled:
            while read_answer(sock):
                pass
        assert PATIENCE_S - 1 < watch.seconds < 2 * PATIENCE_S * SLOW, watch.seconds
    assert status(daemon)["reload"]["number"] == 1


def test_two_at_once(configured):
    daemon = configured()
    with ThreadPoolExecutor(6) as pool:
        for done in pool.map(lambda _: ctl(daemon, "reload", "--wait", "60"), range(6)):
            expect(done, 0, "has succeeded")
    assert status(daemon)["reload"] | {"ended_ms_ago": 0} == {"number": 6, "outcome": "succeeded", "ended_ms_ago": 0, "reason": None}
    assert 1 <= daemon.changes("reload", "serves") <= 6


def test_too_many_wait(configured, directory):
    daemon = configured(store_timeout_ms=20000)
    with contextlib.ExitStack() as stack, daemon.connect() as busy:
        with write_lock(directory / "todo.db"):
            busy.send(POST)
            wait_until(lambda: daemon.owner(busy), "a worker has the connection")
            expect(ctl(daemon, "stop"), 0)
            for _ in range(16):
                sock = stack.enter_context(connect(path_of(daemon)))
                sock.sendall(b"await stop\n")
            expect(ctl(daemon, "stop", "--wait"), 75, stderr="too many wait already")
        assert busy.read().status == 200
    assert daemon.wait_exit() == 0


def test_a_master_that_stands_still_is_told_of(configured):
    daemon = configured(worker_timeout_s=600)
    daemon.send(signal.SIGSTOP)
    try:
        expect(ctl(daemon, "status"), 69, stderr="todod does not answer")
    finally:
        daemon.send(signal.SIGCONT)
    assert status(daemon)["pid"] == daemon.master


def test_a_thousand_requests_leave_nothing_behind(configured):
    daemon = configured()
    before = len(descriptors(daemon.master))
    for number in range(1000):
        with connect(path_of(daemon)) as sock:
            if number % 3 == 0:
                assert ask(sock, b"status\n").startswith(b"ok\n")
            elif number % 3 == 1:
                sock.sendall(b"status\n")
            else:
                sock.sendall(b"await stop\nx")
    wait_until(lambda: len(descriptors(daemon.master)) == before, "no descriptor more than before")


# ---- the command line --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("words, text", [
    ([], "no command"),
    (["frobnicate"], '"frobnicate" is no command'),
    (["--frob", "status"], 'unknown option "--frob"'),
    (["status", "now"], '"now" is one word too many'),
    (["status", "--wait"], "status has nothing to wait for"),
    (["reload", "--json"], "reload has no --json"),
    (["reload", "30"], '"30" is one word too many'),
    (["workers"], "workers needs a whole number"),
    (["workers", "x"], "workers needs a whole number"),
    (["workers", "1000000000"], "workers needs a whole number"),
    (["status", "-c"], "-c needs a value"),
    (["--control", "--json", "status"], "--control needs a value"),
])
def test_wrong_command_lines(directory, words, text):
    expect(run_todod(directory, "ctl", *words), 64, stderr=text)


def test_help(directory):
    done = run_todod(directory, "ctl", "--help")
    expect(done, 0, "Exit codes:")
    for word in ("status", "reload", "upgrade", "stop", "workers N", "--wait", "--json", "--control", " 64 ", " 69 ", " 70 ", " 75 ", " 77 ", " 78 "):
        assert word in done.stdout, word

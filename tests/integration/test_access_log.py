"""The access log and the log of slow requests, from outside."""
import collections
import contextlib
import grp
import json
import os
import pwd
import re
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from harness.daemon import descriptors, propagation, run_todod
from harness.sqlite import write_lock
from harness.waiting import SLOW, Stopwatch, wait_until
from harness.wire import Closed, Connection, form, request_bytes

LINE = re.compile(
    r'(?P<client>\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "(?P<request>[ -~]*?)" (?P<status>\d{3}) '
    r'(?P<bytes>\d+) "(?P<referer>[ -~]*?)" "(?P<agent>[ -~]*?)" (?P<seconds>\d+\.\d{6}) (?P<id>[0-9a-f]{32}|-) '
    r'(?P<route>\S+) (?P<store>\S+) (?P<cache>\S+)')
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def text_of(path):
    return path.read_text(encoding="ascii") if path.exists() else ""


def lines_of(path):
    """Every line, taken apart; the last one is whole, too."""
    text = text_of(path)
    assert text == "" or text.endswith("\n"), text[-300:]
    found = []
    for line in text.splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        found.append(match.groupdict())
    return found


def wait_lines(path, count):
    wait_until(lambda: text_of(path).count("\n") >= count, lambda: f"{count} lines in\n{text_of(path)}")
    return lines_of(path)


def start(todod, log, **options):
    """A daemon of one worker, and how many lines its start took."""
    daemon = todod(workers=1, access_log=log, **options)
    daemon.request("GET", "/index?begin")
    wait_until(lambda: "/index?begin" in log.read_text(), "the first lines")
    return daemon, log.read_bytes().count(b"\n")


def told(line):
    return UUID.sub("ID", line["request"]), int(line["status"]), line["route"], line["store"], line["cache"]


class Load:
    """Keep-alive connections, a thread each, that ask for targets of which none comes twice. `answered` says which were."""

    def __init__(self, daemon, count):
        self.daemon, self.stopping, self.answered, self.broken = daemon, threading.Event(), set(), 0
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.wait_answers(100)
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def wait_answers(self, more):
        before = len(self.answered)
        wait_until(lambda: len(self.answered) >= before + more, "load")

    def _run(self, number):
        count, connection = 0, None
        while not self.stopping.is_set():
            count += 1
            target = f"/index?{number}-{count}"
            try:
                connection = connection or Connection(self.daemon.address)
                if connection.request("GET", target).status == 200:
                    self.answered.add(target)
            except (OSError, Closed):
                self.broken += 1
                connection = None


def targets(lines):
    return [line["request"].split(" ")[1] for line in lines if line["request"].startswith("GET /index?")]


# ---- what stands in a line -------------------------------------------------------------------------------

def test_every_route_and_outcome(todod, directory):
    log = directory / "access.log"
    daemon, before = start(todod, log, store_timeout_ms=1000, header_timeout_s=1)
    with daemon.connect() as connection:
        todo = connection.request("POST", "/todo", **form(b"content=x")).json
        wait_until(lambda: connection.request("GET", "/todo").field("Cache-Status") == "todod; hit", "a hit")
        for method, target in [("HEAD", "/todo"), ("GET", "/todo?limit=1"), ("GET", f"/todo/{todo['id']}"),
                               ("PUT", f"/todo/{todo['id']}/finish"), ("DELETE", f"/todo/{todo['id']}"),
                               ("DELETE", f"/todo/{todo['id']}"), ("POST", "/todo"), ("GET", "/index"), ("GET", "/healthz"),
                               ("GET", "/readyz"), ("OPTIONS", "*"), ("PUT", "/todo"), ("GET", "/nope"), ("WHAT", "/")]:
            connection.request(method, target)
        length = len(connection.request("GET", "/index", fields=[("User-Agent", 'a"b\\c\u00e9'), ("Referer", "r")]).body)
        with write_lock(directory / "todod0" / "todo.db"):
            assert connection.request("POST", "/todo", {"content": "late"}).status == 503
        connection.send(b"nonsense\r\n\r\n").read()
    with daemon.connect() as slow:
        assert slow.send(b"GET / HT").read().status == 408
    wait_until(lambda: '"-" 408' in text_of(log), "the last line")
    lines = lines_of(log)[before:]
    found = [told(line) for line in lines if told(line) != ("GET /todo HTTP/1.1", 200, "list", "ok", "miss")]
    assert found == [
        ("POST /todo HTTP/1.1", 200, "create", "ok", "-"),
        ("GET /todo HTTP/1.1", 200, "list", "-", "hit"),
        ("HEAD /todo HTTP/1.1", 200, "list", "-", "hit"),
        ("GET /todo?limit=1 HTTP/1.1", 200, "list", "ok", "bypass"),
        ("GET /todo/ID HTTP/1.1", 200, "get", "ok", "-"),
        ("PUT /todo/ID/finish HTTP/1.1", 200, "finish", "ok", "-"),
        ("DELETE /todo/ID HTTP/1.1", 200, "delete", "ok", "-"),
        ("DELETE /todo/ID HTTP/1.1", 404, "delete", "not_found", "-"),
        ("POST /todo HTTP/1.1", 400, "create", "-", "-"),
        ("GET /index HTTP/1.1", 200, "index", "-", "-"),
        ("GET /healthz HTTP/1.1", 200, "healthz", "-", "-"),
        ("GET /readyz HTTP/1.1", 200, "readyz", "ok", "-"),
        ("OPTIONS * HTTP/1.1", 204, "options", "-", "-"),
        ("PUT /todo HTTP/1.1", 405, "-", "-", "-"),
        ("GET /nope HTTP/1.1", 404, "-", "-", "-"),
        ("WHAT / HTTP/1.1", 501, "-", "-", "-"),
        ("GET /index HTTP/1.1", 200, "index", "-", "-"),
        ("POST /todo HTTP/1.1", 503, "create", "late", "-"),
        ("-", 400, "-", "-", "-"),
        ("-", 408, "-", "-", "-"),
    ]
    assert {line["client"] for line in lines} == {"127.0.0.1"}
    head, agent = lines[found.index(("HEAD /todo HTTP/1.1", 200, "list", "-", "hit")) - len(found)], lines[-4]
    assert head["bytes"] == "0"
    assert (agent["referer"], agent["agent"], int(agent["bytes"])) == ("r", r"a\x22b\x5Cc\xE9", length)
    assert 0.99 < float(lines[-3]["seconds"]) < 3 and float(agent["seconds"]) < 0.99
    ids = [line["id"] for line in lines]
    assert ids[-2:] == ["-", "-"] and len(set(ids[:-2])) == len(ids) - 2


def test_pipelined_requests_are_logged_in_order(todod, directory):
    log = directory / "access.log"
    daemon, before = start(todod, log)
    wanted = ["/index?1", "/todo?limit=2", "/index?3", "/nope", "/todo?limit=5", "/index?6"]
    with daemon.connect() as connection:
        connection.send(b"".join(request_bytes("GET", target) for target in wanted))
        for _ in wanted:
            connection.read()
    assert [line["request"] for line in wait_lines(log, before + 6)[before:]] == [f"GET {target} HTTP/1.1" for target in wanted]


def test_a_client_that_leaves_before_its_answer_is_499(todod, directory):
    log = directory / "access.log"
    daemon, before = start(todod, log)
    with write_lock(directory / "todod0" / "todo.db"):
        for _ in range(2):
            with daemon.connect() as connection:
                connection.send(request_bytes("POST", "/todo", {"content": "nobody waits"}))
                assert daemon.request("GET", "/index").status == 200  # by now it waits
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not an end
        lines = [line for line in wait_lines(log, before + 4)[before:] if line["route"] != "index"]
    assert [told(line) for line in lines] == [("POST /todo HTTP/1.1", 499, "create", "-", "-")] * 2
    assert {line["bytes"] for line in lines} == {"0"} and len({line["id"] for line in lines}) == 2


def test_nobody_outside_names_a_request(todod, directory):
    log = directory / "access.log"
    daemon, before = start(todod, log)
    daemon.request("GET", "/index", fields=[("X-Request-Id", "0" * 32)])
    [line] = wait_lines(log, before + 1)[before:]
    assert line["id"] != "0" * 32 and len(line["id"]) == 32


def test_json_lines(todod, directory):
    log = directory / "access.log"
    daemon, before = start(todod, log, access_log_format="json")
    with daemon.connect() as connection:
        connection.request("GET", "/index?\"<>", fields=[("User-Agent", "\u00e9\x80\\")])
        connection.request("GET", "/index", fields=[("Referer", "\u00c3\u00a9")])
        connection.send(b"\0\r\n\r\n").read()
    wait_until(lambda: log.read_bytes().count(b"\n") == before + 3, "three lines")
    first, second, third = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()[before:]]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", first.pop("time"))
    assert first.pop("latency_us") < 10**6 and len(first.pop("id")) == 32
    assert first == {"client": "127.0.0.1", "method": "GET", "target": "/index?\"<>", "version": "1.1",
                     "status": first["status"], "bytes": first["bytes"], "referer": None, "user_agent": "\u00e9\x80\\",
                     "route": first["route"], "store": None, "cache": None}
    assert second["referer"] == "\u00e9" and (second["route"], second["status"]) == ("index", 200)
    assert [third[key] for key in ("method", "target", "version", "status", "id")] == [None, None, None, 400, None]


def test_goaccess_reads_the_combined_form(todod, directory):
    log, report = directory / "access.log", directory / "report.json"
    daemon, before = start(todod, log)
    with daemon.connect() as connection:
        for target in ["/index", "/index", "/todo", "/nope\"%22"]:
            connection.request("GET", target, fields=[("User-Agent", 'Mozilla/5.0 "quoted" \\ \u00e9')])
        connection.send(b"nonsense\r\n\r\n").read()
    lines = wait_lines(log, before + 5)
    formats = [["--log-format=COMBINED"],
               ['--log-format=%h %^[%d:%t %^] "%r" %s %b "%R" "%u" %T %^', "--date-format=%d/%b/%Y", "--time-format=%T"]]
    for words in formats:  # with the second, as in the README, it knows how long requests took
        subprocess.run(["goaccess", log, "--no-global-config", *words, "-o", report], check=True, timeout=30,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})
        found = json.loads(report.read_text())
        assert found["general"]["total_requests"] == len(lines) and found["general"]["failed_requests"] == 0
        [index] = [row for row in found["requests"]["data"] if row["data"] == "/index"]
        assert index["hits"]["count"] == 2
    assert index["maxts"] == max(round(float(line["seconds"]) * 1e6) for line in lines if line["request"] == "GET /index HTTP/1.1")


# ---- what becomes of the file ----------------------------------------------------------------------------

def test_what_cannot_be_opened_ends_the_start(directory):
    path = directory / "no" / "access.log"
    done = run_todod(directory, "--store", f"sqlite:{directory}/todo.db", "--listen", "127.0.0.1:0", "--access-log", path)
    assert done.returncode == 73 and f"access_log: cannot open {path}: No such file or directory" in done.stderr
    assert "listening" not in done.stderr
    assert run_todod(directory, "-t", "--access-log", path).returncode == 0
    os.mkfifo(directory / "pipe")
    done = run_todod(directory, "--store", f"sqlite:{directory}/todo.db", "--listen", "127.0.0.1:0", "--access-log", "pipe")
    assert done.returncode == 73 and "nobody reads it" in done.stderr


def test_it_is_off_unless_asked_for(todod):
    daemon = todod(workers=1)
    assert daemon.request("GET", "/index").status == 200
    assert sorted(path.name.split(".")[0] for path in daemon.directory.iterdir()) == ["control", "log"] + ["todo"] * 5


def test_rotation_under_load(todod, directory):
    """USR1 after each mv: no line is lost, split or doubled, and nothing goes to the old file for long."""
    log = directory / "access.log"
    daemon = todod(access_log=log)
    daemon.wait_workers(3)
    moved = []
    with Load(daemon, 12) as load:
        for number in range(4):
            moved.append(directory / f"access.log.{number}")
            log.rename(moved[-1])
            load.wait_answers(50)
            daemon.send(signal.SIGUSR1)
            wait_until(log.exists, "a new file", 5 * SLOW)
            wait_until(lambda: not _held(daemon, moved[-1]), "everybody writes to the new file", 5 * SLOW)
            load.wait_answers(100)  # one of each client may stand in the old file
    assert daemon.stop() == 0
    files = [targets(lines_of(path)) for path in [*moved, log]]
    assert all(len(lines) >= 50 for lines in files), [len(lines) for lines in files]
    counts = collections.Counter(target for lines in files for target in lines)
    assert load.broken == 0 and set(counts) == load.answered and set(counts.values()) == {1}
    assert log.stat().st_mode & 0o777 == 0o640


def _held(daemon, path):
    """By the names of links: one that is closed meanwhile is gone, and no error."""
    return [pid for pid in [daemon.master, *daemon.children()] if str(path.resolve()) in descriptors(pid).values()]


def test_a_file_that_cannot_be_opened_again_is_kept(todod, directory):
    log, moved = directory / "access.log", directory / "access.log.1"
    daemon = todod(workers=1, access_log=log)
    log.rename(moved)
    log.mkdir()
    before = len(lines_of(moved))
    daemon.send(signal.SIGUSR1)
    wait_until(lambda: len(daemon.lines("cannot open .*: Is a directory")) == 2, "master and worker say so")
    daemon.request("GET", "/index")
    wait_lines(moved, before + 1)
    log.rmdir()
    daemon.send(signal.SIGUSR1)
    wait_until(lambda: log.exists() and not _held(daemon, moved), "a new file")
    daemon.request("GET", "/index")
    wait_lines(log, 1)


def test_workers_of_another_user(todod, directory):
    """The master makes the file where `user` may not; what it could not write to ends the start."""
    if os.geteuid() != 0:
        return  # nobody else can have another user: test_environment.py
    user, group = pwd.getpwnam("nobody"), grp.getgrnam("nogroup")
    directory.chmod(0o755)
    place, logs = directory / "place", directory / "logs"
    for path, mode in ((place, 0o777), (logs, 0o755)):
        path.mkdir()
        path.chmod(mode)
    log, moved = logs / "access.log", logs / "access.log.1"
    daemon = todod(workers=1, user=user.pw_name, store=f"sqlite:{place}/todo.db", access_log=log)
    assert (log.stat().st_uid, log.stat().st_gid, log.stat().st_mode & 0o777) == (user.pw_uid, group.gr_gid, 0o640)
    log.rename(moved)
    daemon.send(signal.SIGUSR1)
    wait_until(lambda: log.exists() and not _held(daemon, moved), "a new file")
    daemon.request("GET", "/index")
    wait_lines(log, 1)
    assert daemon.stop() == 0 and log.stat().st_uid == user.pw_uid

    # One that is there stays whose it is.
    log.unlink()
    log.touch(0o600)
    done = run_todod(directory, "--user", user.pw_name, "--store", f"sqlite:{place}/todo.db", "--listen", "127.0.0.1:0",
                     "--access-log", log)
    assert done.returncode == 73 and f"access_log: cannot open {log}: Permission denied" in done.stderr
    assert log.stat().st_uid == 0


def test_what_is_answered_last_is_logged(todod, directory):
    log = directory / "access.log"
    for number in (signal.SIGTERM, signal.SIGQUIT):
        daemon = todod(access_log=log, directory=directory / number.name)
        with Load(daemon, 4) as load:
            pass
        assert daemon.stop(number) == 0
        assert set(targets(lines_of(log))) == load.answered
        log.unlink()


def test_a_killed_worker_loses_its_own_lines_alone(todod, directory, counted):
    log = directory / "access.log"
    daemon = todod(access_log=log, deaths=True)
    daemon.wait_workers(3)
    with Load(daemon, 12) as load:
        for _ in range(5):
            victim = daemon.wait_workers(3)[0]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: len(pids := daemon.worker_pids()) == 3 and victim not in pids, "a new worker")
            load.wait_answers(100)
    assert daemon.stop() == 0
    lines = [line for line in text_of(log).splitlines()]
    broken = [line for line in lines if not LINE.fullmatch(line)]
    assert len(broken) <= 5 and not [line for line in broken if line.count("HTTP/1.1") > 1], broken
    there = set(targets(LINE.fullmatch(line).groupdict() for line in lines if LINE.fullmatch(line)))
    counted(f"{len(load.answered)} answers, {len(load.answered - there)} of them in no line after 5 kills")
    assert len(load.answered - there) < len(load.answered) / 2


def test_a_full_disk(todod, directory):
    """Lines wait for space; none is torn but for what the disk had room for, and nobody else's is lost."""
    mount = directory / "disk"
    mount.mkdir()
    rights = "-m" if os.geteuid() == 0 else "-Urm"
    daemon = todod(workers=2, access_log=mount / "access.log", prefix=[
        "unshare", rights, *propagation(), "sh", "-c", f'mount -t tmpfs -o size=32m todod {mount} && exec "$@"', "sh"])
    daemon.wait_workers(2)
    inside = Path(f"/proc/{daemon.master}/root{mount}")
    log, ballast = inside / "access.log", inside / "ballast"
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    asked, connections = set(), [daemon.connect() for _ in range(8)]

    def ask():
        for connection in connections:
            asked.add(target := f"/index?{len(asked)}")
            assert connection.request("GET", target).status == 200

    for _ in range(50):
        ask()
    wait_until(lambda: daemon.lines("access_log: cannot write .*: No space left on device"), "it is said")
    ballast.unlink()
    wait_until(lambda: daemon.lines("is written again; lost=0 lines"), "it is written again")
    ask()
    wait_until(lambda: asked <= _targets_of_whole(log), "every line")
    for connection in connections:
        connection.close()
    broken = [line for line in text_of(log).splitlines() if not LINE.fullmatch(line)]
    assert len(broken) <= 2 and not [line for line in broken if line.count("HTTP/1.1") > 1], broken
    assert len(daemon.lines("cannot write")) <= 10


def _targets_of_whole(path):
    return set(targets(match.groupdict() for line in text_of(path).splitlines() if (match := LINE.fullmatch(line))))


# ---- slow requests ---------------------------------------------------------------------------------------

SLOW_LINE = re.compile(r"warn worker\[\d+\] slow request: id=(\S+) route=(\S+) status=(\d+) time=(\S+) store=(\S+) "
                       r"queued=(\S+) took=(\S+) batch=(\S+) cache=(\S+)$")


@pytest.mark.parametrize("with_access_log", [True, False])
def test_slow_requests(todod, directory, with_access_log):
    log = directory / "access.log"
    daemon = todod(workers=1, slow_ms=100, access_log=log if with_access_log else None)
    before = len(daemon.lines("slow request"))
    with daemon.connect() as held, daemon.connect() as quick:
        with write_lock(directory / "todod0" / "todo.db"):
            held.send(request_bytes("POST", "/todo?secret", {"content": "secret"}, [("User-Agent", "secret")]))
            assert quick.request("GET", "/index").status == 200  # by now it waits
            watch = Stopwatch()
            while watch.seconds < 0.25:
                assert quick.request("GET", "/index").status == 200
        assert held.read().status == 200
    wait_until(lambda: len(daemon.lines("slow request")) > before, "a slow request")
    [line] = [line for line in daemon.lines("slow request")[before:] if "route=create" in line]
    match = SLOW_LINE.search(line)
    assert match and "secret" not in line, line
    name, _, status, seconds, store, queued, took, batch, cache = match.groups()
    assert (status, store, batch, cache) == ("200", "ok", "1", "-")
    assert 0.2 < float(queued) < float(seconds) < 2 and float(took) < float(seconds) - float(queued) + 0.001
    if with_access_log:
        wait_until(lambda: f" {name} create ok -" in text_of(log), lambda: f"{name} in\n{text_of(log)}")
    else:
        assert len(name) == 32


def test_many_slow_requests_are_counted(todod, directory):
    daemon = todod(workers=1, slow_ms=20, store_timeout_ms=200)
    before = len(daemon.lines("slow request"))

    def told():
        """(how many have a line of their own, how many more were counted): of two seconds, where they fall into two"""
        lines = daemon.lines("slow request")[before:]
        more = sum(int(match.group(1)) for line in lines if (match := re.search(r"slow requests: (\d+) more", line)))
        return len([line for line in lines if SLOW_LINE.search(line)]), more
    with write_lock(directory / "todod0" / "todo.db"):
        connections = [daemon.connect() for _ in range(60)]
        for connection in connections:
            connection.send(request_bytes("POST", "/todo", {"content": "late"}))
        for connection in connections:
            assert connection.read().status == 503
            connection.close()
        wait_until(lambda: sum(told()) >= 60, lambda: f"the counts, not {told()}")
    assert told()[0] <= 30
    assert any("store=late queued=- took=- batch=-" in line for line in daemon.lines("slow request")[before:])

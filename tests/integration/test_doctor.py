"""`todod doctor`: a line for each thing that this configuration depends on, and an exit code that says whether it holds."""
import os
import pwd
import re
import socket
import subprocess
import threading

import pytest

from harness.daemon import BINARY, environment, run_todod
from harness.mongo import new_database_name
from harness.waiting import SLOW, Stopwatch

LINE = re.compile(r"^(ok|warn|FAIL) {1,4}([a-zA-Z ]+): (.+)$")


class Doctor:
    """A run of it: `lines` is [(level, what, text)]."""

    def __init__(self, directory, *arguments, **env):
        self.done = run_todod(directory, "doctor", *arguments, env=env, timeout_s=90 * SLOW)
        self.code, self.text = self.done.returncode, self.done.stdout
        assert self.done.stderr == "", self.done.stderr
        matches = [LINE.match(line) for line in self.text.splitlines()]
        assert all(matches), self.text
        self.lines = [match.groups() for match in matches]
        assert (self.code == 0) == (not self.failed), (self.code, self.text)

    @property
    def failed(self):
        return [what for level, what, _ in self.lines if level == "FAIL"]

    def of(self, what):
        """[(level, text)]"""
        return [(level, text) for level, name, text in self.lines if name == what]

    def one(self, what):
        found = self.of(what)
        assert len(found) == 1, self.text
        return found[0]


def test_before_the_first_start(directory):
    """Nothing is there, all could be made, and nothing is."""
    doctor = Doctor(directory, "--listen", "127.0.0.1:0", "--store", f"sqlite:{directory}/new/todo.db")
    assert doctor.code == 0
    assert doctor.one("configuration") == ("ok", "no file was given with -c")
    assert doctor.one("store") == ("ok", f"{directory}/new/todo.db is not there yet; todod makes it when it starts")
    assert doctor.one("listen") == ("ok", "127.0.0.1:0 is free")
    assert {what for _, what, _ in doctor.lines} == {"configuration", "store", "disk space", "SQLite", "cache", "listen",
                                                     "descriptors", "backlog", "clock"}
    assert not (directory / "new").exists()


def test_beside_a_daemon(todod, directory):
    """It sees the daemon and its file, and disturbs neither."""
    daemon = todod(listen=["127.0.0.1:0", f"unix:{directory}/todod.sock"])
    daemon.post("seen")
    options = [word for address in daemon.listening() for word in ("--listen", address)]
    doctor = Doctor(directory, "--store", daemon.options["store"], *options)
    assert doctor.code == 0
    assert [text for _, text in doctor.of("listen")] == [f"{address} is served by a todod" for address in daemon.listening()]
    assert doctor.one("schema") == ("ok", "version 1")
    assert doctor.one("index")[0] == "ok"
    assert doctor.one("durability") == ("ok", "journal_mode=WAL, synchronous=FULL")
    assert doctor.one("SQLite")[0] == "ok"
    assert [todo["content"] for todo in daemon.walk()] == ["seen"]
    daemon.post("served")


def test_a_daemon_that_starts_meanwhile(todod, directory):
    """No claim, no lock, no bound address of the doctor's stands in its way."""
    path = directory / "busy"
    path.mkdir()
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            Doctor(path, "--store", f"sqlite:{path}/todo.db")
    asking = threading.Thread(target=ask)
    asking.start()
    try:
        daemon = todod(store=f"sqlite:{path}/todo.db")
        for _ in range(3):
            daemon.stop()
            daemon.start()
            daemon.wait_store()
            daemon.post("x")
    finally:
        stop.set()
        asking.join()


def test_addresses(directory):
    """What is taken by another program, what cannot be bound, what a killed daemon left behind."""
    with socket.socket() as taken, socket.socket(socket.AF_UNIX) as left:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        left.bind(str(directory / "left.sock"))
        left.close()
        (directory / "file").write_text("")
        addresses = [f"127.0.0.1:{taken.getsockname()[1]}", "192.0.2.1:8080", f"unix:{directory}/left.sock",
                     f"unix:{directory}/file", f"unix:{directory}/none/x.sock", f"unix:{directory}/new.sock"]
        doctor = Doctor(directory, *[word for address in addresses for word in ("--listen", address)])
        assert doctor.code == 69
        levels = [level for level, _ in doctor.of("listen")]
        assert levels == ["FAIL", "FAIL", "ok", "FAIL", "FAIL", "ok"], doctor.text
        assert "does not answer as a todod does" in doctor.of("listen")[0][1]
        assert (directory / "left.sock").exists() and not (directory / "new.sock").exists()


def test_the_access_log(directory):
    log, store = directory / "logs/access.log", f"sqlite:{directory}/todo.db"

    def look(*prefix):
        return Doctor(directory, "--listen", "127.0.0.1:0", "--store", store, "--access-log", log, *prefix)
    doctor = look()
    assert doctor.code == 73 and doctor.failed == ["access log"]
    assert doctor.one("access log")[1].startswith(f"{log} cannot be made, its directory: No such file or directory")
    log.parent.mkdir()
    assert look().one("access log") == ("ok", f"{log} is made by the start")
    log.touch()
    assert look().one("access log") == ("ok", f"{log} can be written to")
    if os.geteuid() == 0:
        os.chmod(directory, 0o777)
        os.chmod(log.parent, 0o755)
        log.chmod(0o600)
        assert look("--user", "nobody").one("access log")[0] == "FAIL"
        log.unlink()
        assert look("--user", "nobody").one("access log")[0] == "warn"


def test_limits(directory):
    command = ["prlimit", "--nofile=300:300", BINARY, "doctor", "--max-connections", "4000", "--listen", "127.0.0.1:0"]
    done = subprocess.run(command, env=environment(directory), cwd=directory, text=True, capture_output=True, timeout=60)
    assert re.search(r"^warn  descriptors: at most 300 here, .* not for max_connections = 4000; raise", done.stdout, re.M)


def test_a_wrong_configuration(directory):
    done = run_todod(directory, "doctor", "--workers", "many")
    assert done.returncode == 78 and done.stdout == ""
    assert "--workers: \"many\" is neither auto" in done.stderr
    assert run_todod(directory, "doctor", "start").returncode == 64


def test_as_the_user_of_the_service(directory):
    """Root asks, but it is `user` who has to be able to write."""
    (directory / "mine").mkdir(mode=0o700)
    os.chmod(directory, 0o755)
    arguments = ("--store", f"sqlite:{directory}/mine/todo.db", "--listen", "127.0.0.1:0", "--user", "nobody")
    doctor = Doctor(directory, *arguments)
    assert doctor.code == 77
    if os.geteuid() != 0:
        assert doctor.failed == ["user"]
        return
    assert doctor.failed[0] == "store"
    os.chown(directory / "mine", pwd.getpwnam("nobody").pw_uid, -1)
    assert Doctor(directory, *arguments).code == 0


def test_mongodb(todod, directory, replica_set):
    """A healthy replica set, as a daemon uses it."""
    uri = replica_set.uri(new_database_name())
    daemon = todod(store=uri)
    daemon.post("one")
    doctor = Doctor(directory, "--store", uri, "--listen", daemon.listening()[0])
    assert doctor.code == 0
    assert re.fullmatch(r"MongoDB \d+\.\d+\.\d+, the primary of replica set \S+ with 3 members", doctor.one("store")[1])
    for what in ("schema", "index", "durability", "disk space", "clock of the store"):
        assert doctor.one(what)[0] == "ok", doctor.text


def test_redis(directory, redis):
    uri = f"redis://127.0.0.1:{redis.port}"
    doctor = Doctor(directory, "--cache", uri, "--listen", "127.0.0.1:0")
    assert doctor.code == 0
    assert doctor.one("Redis")[0] == "ok" and doctor.one("writing to Redis")[0] == "ok"
    redis.kill9()
    doctor = Doctor(directory, "--cache", uri, "--listen", "127.0.0.1:0")
    assert doctor.code == 69 and doctor.failed == ["Redis"]


def test_secrets_stay_secret(directory):
    doctor = Doctor(directory, "--listen", "127.0.0.1:0", "--cache", "redis://u:s3cret@127.0.0.1:1",
                    TODOD_STORE="mongodb://u:s3cret@127.0.0.1:1/x?serverSelectionTimeoutMS=100")
    assert doctor.code == 69 and doctor.failed == ["store", "Redis"]
    assert "s3cret" not in doctor.text


@pytest.mark.parametrize("scheme", ["mongodb", "redis"])
def test_who_accepts_and_says_nothing(directory, scheme):
    """A server that hangs is a finding, in bounded time, and the other checks come to their end."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        uri = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        watch = Stopwatch()
        doctor = Doctor(directory, "--store" if scheme == "mongodb" else "--cache", uri, "--listen", "127.0.0.1:0")
    assert doctor.code == 69
    assert doctor.failed == ["store" if scheme == "mongodb" else "Redis"]
    assert watch.seconds < 12 * SLOW
    assert doctor.one("clock")


def test_a_check_that_hangs(directory):
    """A file system that does not answer: that check is ended at its deadline, and the others come to their end."""
    command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fstatfs", "-e", "inject=fstatfs:signal=STOP", BINARY,
               "doctor", "--listen", "127.0.0.1:0", "--store", f"sqlite:{directory}/todo.db"]
    watch = Stopwatch()
    done = subprocess.run(command, env=environment(directory, leaks=False), cwd=directory, text=True, capture_output=True,
                          timeout=60)
    assert done.returncode == 69
    assert re.search(r"^FAIL  store: no answer within 10 s; see whether", done.stdout, re.M), done.stdout
    assert re.search(r"^\w+ +clock: ", done.stdout, re.M), done.stdout
    assert watch.seconds < 20 * SLOW

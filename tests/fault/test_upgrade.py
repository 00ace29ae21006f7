"""
SIGUSR2: the program on disk takes the place of the running one, under the same PID. Programs that do something else than todod on the
way are scripts that end in it.
"""
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.daemon import BINARY, descriptors, is_alive, propagation, run_todod, wait_until_gone
from harness.frame import WORKERS, Frame, conf
from harness.history import History
from harness.machine import HIT, wait_cache
from harness.readers import Readers, Wrk
from harness.sqlite import write_lock
from harness.staleness import describe, find_violations
from harness.waiting import SLOW, Stopwatch, wait_until
from harness.wire import request_bytes

POST = request_bytes("POST", "/todo", {"content": "in flight"})


@pytest.fixture
def program(directory):
    """A copy of todod that a test may replace: program() by another copy, program(text) by a script."""
    path = directory / "bin" / "todod"
    path.parent.mkdir()

    def install(text=None):
        new = path.with_suffix(".new")
        if text is None:
            shutil.copy(BINARY, new)
        else:
            new.write_text(text)
            new.chmod(0o755)
        new.rename(path)
        return path
    install()
    install.path = path
    return install


# As an interpreter it keeps all that is handed over to it, and then becomes todod.
TAMPERING = f"""#!{sys.executable}
import os, re, sys
fd = int(os.environ["TODOD_HANDOVER"])
text = os.pread(fd, 1 << 20, 0)
is_asked = sys.argv[-1] == "-t"
{{}}
os.ftruncate(fd, 0)
os.pwrite(fd, text, 0)
os.execv("{BINARY}", sys.argv)
"""


def is_hit(daemon):
    return daemon.request("GET", "/todo").field("Cache-Status") == HIT


# ---- T17 ------------------------------------------------------------------------------------------------------

def test_twenty_upgrades_under_load_are_not_noticed(configured, program, directory, counted):
    daemon = configured("127.0.0.1:0", f"unix:{directory}/socket", program=program.path)
    daemon.change(signal.SIGUSR2)
    daemon.wait_settled(WORKERS)
    frame, inode = Frame(daemon), os.stat(f"{directory}/socket").st_ino
    daemon.post("x")
    with Readers(daemon, 8, f"{directory}/socket") as kept, \
            Readers(daemon, 4, f"{directory}/socket", [("Connection", "close")]) as closing, \
            Wrk(f"{daemon.url}/index", 7) as keep_alive, Wrk(f"{daemon.url}/todo", 7, closing=True) as close:
        for number in range(20):
            program()
            daemon.change(signal.SIGUSR2)
            if number == 0:
                load = Stopwatch()
    assert not keep_alive.errors and not close.errors and not kept.wrong and not closing.wrong, (
        keep_alive.errors, close.errors, kept.wrong[:3], closing.wrong[:3])
    assert keep_alive.requests > 100 and close.requests > 100 and kept.answers > 100 and closing.answers > 100
    frame.check()
    assert os.readlink(f"/proc/{daemon.master}/exe") == str(program.path)
    assert os.stat(f"{directory}/socket").st_ino == inode
    counted(f"20 upgrades in {load.seconds:.1f} s, {keep_alive.requests} requests kept alive, {close.requests} closed, "
            f"{kept.answers + closing.answers} on a unix socket, 0 failed; "
            f"the slowest of these {max(kept.longest, closing.longest):.3f} s")
    assert daemon.stop() == 0
    assert not os.path.exists(f"{directory}/socket")


def test_what_the_new_one_inherits(configured, program, directory):
    daemon = configured(program=program.path)
    daemon.post("x")
    workers, keeper = daemon.wait_workers(WORKERS), daemon.wait_keeper()
    daemon.change(signal.SIGUSR2)
    daemon.wait_settled(WORKERS)
    assert not set(workers) & set(daemon.worker_pids()) and daemon.keeper_pid() != keeper
    wait_until(lambda: is_hit(daemon), "the page is known")
    second = run_todod(directory, "--listen", "127.0.0.1:0", "--store", f"sqlite:{directory}/todo.db")
    assert second.returncode == 75, "the claim is held on"
    for pid in daemon.worker_pids():
        links = descriptors(pid).values()
        assert not [link for link in links if "handover" in link or "memfd" in link or link.endswith(".owner")], links
    daemon.process.kill()
    daemon.wait_exit()
    assert not wait_until_gone(daemon.master, 12 * SLOW), "the lifeline is held on"


def test_a_request_in_flight_ends_with_its_old_worker(configured, directory):
    daemon = configured(store_timeout_ms=20000)
    with daemon.connect() as busy, daemon.connect() as busier:
        with write_lock(directory / "todo.db"):
            busy.send(POST)
            first = wait_until(lambda: daemon.owner(busy), "a worker has the connection")
            daemon.change()  # it drains already when the program changes
            busier.close()
            with daemon.connect() as busier:
                busier.send(POST)
                second = wait_until(lambda: daemon.owner(busier), "a worker has the connection")
                daemon.change(signal.SIGUSR2)
                wait_until(lambda: len(daemon.worker_pids()) == WORKERS + 2, lambda: daemon.log)
                assert is_alive(first) and is_alive(second)
                assert daemon.request("GET", "/index").status == 200
                daemon.send(signal.SIGHUP)  # two drain: it waits
                time.sleep(0.3)
        assert busy.read().status == 200
    wait_until(lambda: daemon.changes("reload", "serves") == 2, lambda: daemon.log)
    daemon.wait_settled(WORKERS)
    assert not daemon.deaths


def test_reloads_do_not_keep_it_waiting(configured):
    def served():
        daemon.send(signal.SIGHUP)
        return daemon.changes("upgrade", "serves")

    daemon = configured()
    daemon.send(signal.SIGHUP)
    daemon.send(signal.SIGUSR2)
    wait_until(served, lambda: daemon.log, poll_s=0.001)
    before = daemon.log.split(" upgrade: ")[0]
    assert before.count("boots") <= 1, daemon.log
    daemon.wait_settled(WORKERS)


def test_a_stop_right_after(configured):
    daemon = configured()
    for i in range(6):
        if i:
            daemon.start()
        daemon.send(signal.SIGUSR2)
        time.sleep(i * 0.015)
        assert daemon.stop() == 0


def test_nothing_is_lost_between_two_programs(configured, directory):
    """A reload that is asked for on the way is made after it."""
    daemon = configured()
    for gap in (0, 0.01, 0.02, 0.04):
        before = {what: daemon.changes(what, "serves") for what in ("upgrade", "reload")}
        daemon.send(signal.SIGUSR2)
        time.sleep(gap)
        daemon.send(signal.SIGHUP)
        for what, count in before.items():
            wait_until(lambda: daemon.changes(what, "serves") > count, lambda: daemon.log)
    daemon.wait_settled(WORKERS)


def test_as_pid_1(todod):
    rights = "-pf" if os.geteuid() == 0 else "-rpf"
    daemon = todod(wait=False, prefix=["unshare", rights, *propagation(), "--mount-proc", "--kill-child"])
    wait_until(lambda: daemon.listening() and daemon.lines(" ready"), lambda: daemon.log)
    inner = daemon.children()[0]
    for what, number in (("upgrade", signal.SIGUSR2), ("reload", signal.SIGHUP)):
        os.kill(inner, number)
        wait_until(lambda: daemon.changes(what, "serves") == 1, lambda: daemon.log)
    assert daemon.request("GET", "/index").status == 200
    os.kill(inner, signal.SIGTERM)
    assert daemon.wait_exit() == 0


# ---- programs that must not take over --------------------------------------------------------------------------

REFUSED = {
    "a program that knows nothing of it": ("#!/bin/sh\nexit 0\n", "does not say that it can take over"),
    "one that refuses": ("#!/bin/sh\nexit 3\n", "-t ended with exit code 3"),
    "one that crashes": ("#!/bin/sh\nkill -SEGV $$\n", "-t ended with signal 11"),
    "no program": ("", "-t ended with exit code 7[18]"),
    "one of another format": (TAMPERING.format('text = text.replace(b"todod 1", b"todod 99")'), "-t ended with exit code 70"),
    "one that is gone by then": (f'#!/bin/sh\n"{BINARY}" "$@"\ncode=$?\nrm -f "$0"\nexit $code\n', "cannot execute .*: No such file"),
}


def test_a_program_that_cannot_take_over_does_not(configured, program, directory):
    daemon = configured(program=program.path)
    daemon.post("x")
    workers, frame = daemon.wait_workers(WORKERS), Frame(daemon)
    with Readers(daemon, 8) as readers:
        for what, (text, says) in REFUSED.items():
            program(text)
            daemon.change(signal.SIGUSR2, result="failed")
            assert daemon.lines(rf"upgrade failed: .*{says}"), f"{what}:\n{daemon.log}"
        program.path.unlink(missing_ok=True)
        daemon.change(signal.SIGUSR2, result="failed")
        program()
        daemon.configure("wrokers = 2\n")
        daemon.change(signal.SIGUSR2, result="failed")
        assert daemon.lines(r"did you mean \"workers\"")
    assert not readers.wrong, readers.wrong[:3]
    frame.check()
    assert daemon.worker_pids() == workers
    wait_until(lambda: is_hit(daemon), "nothing is left of the attempt to hand over")
    daemon.configure(conf(directory, "127.0.0.1:0"))
    daemon.change(signal.SIGUSR2)


def test_nobody_can_be_forked_to_judge(configured):
    daemon = configured()
    daemon.wait_settled(WORKERS)
    frame = Frame(daemon)
    strace = subprocess.Popen(["strace", "-p", str(daemon.master), "-o", "/dev/null", "-e", "inject=clone,clone3,fork:error=EAGAIN"],
                              stderr=subprocess.PIPE, text=True)
    try:
        assert "attached" in strace.stderr.readline()
        for number in (signal.SIGUSR2, signal.SIGUSR2, signal.SIGHUP):
            daemon.change(number, result="failed")
    finally:
        strace.terminate()
        strace.wait()
        strace.stderr.close()
    assert len(daemon.lines("failed: cannot fork: ")) == 3
    frame.check()
    daemon.change(signal.SIGUSR2)


# What no todod hands over, and whether the new one can go on with what is left.
HOSTILE = {
    "a process of others": (r're.sub(rb"(?m)^child \d+ (.*worker)$", rb"child {bystander} \1", text, 1)', True),
    "a place that is none": (r're.sub(rb"(?m)^(child \d+ \d+ \d+) \d+ (.*worker)$", rb"\1 99999 \2", text)', True),
    "a bell that stays behind": (r're.sub(rb"(?m)^(fds .*) \d+( \d+ \d+ \d+)$", rb"\1\2", text)', True),
    "a claim that stays behind": (r're.sub(rb"(?m)^(claim \d+) \d+$", rb"\1 999", text)', False),
    "half of it": ("text[:len(text) // 2]", False),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_handed_over_is_not_trusted(configured, program, what):
    """It is too late to stay with the old one: what cannot be used is left, or all ends, and nobody is left behind."""
    expression, goes_on = HOSTILE[what]
    daemon = configured(program=program.path, deaths=True)
    with subprocess.Popen(["sleep", "100"]) as bystander:
        program(TAMPERING.format("if not is_asked: text = " + expression.format(bystander=bystander.pid)))
        daemon.send(signal.SIGUSR2)
        if goes_on:
            wait_until(lambda: daemon.changes("upgrade", "serves") == 1, lambda: daemon.log)
            daemon.post("x")
            daemon.send(signal.SIGTERM)
        assert daemon.wait_exit() == (0 if goes_on else 70)
        assert bystander.poll() is None
        bystander.kill()


def test_a_program_that_hangs_is_not_waited_for(configured, program):
    daemon = configured(program=program.path)
    program("#!/bin/sh\nexec sleep 60\n")
    daemon.send(signal.SIGUSR2)
    assert daemon.request("GET", "/index").status == 200
    wait_until(lambda: daemon.lines("upgrade failed: .*-t ended with signal 9"), lambda: daemon.log, 15)
    assert not daemon.pids_named("sleep")
    program()
    daemon.change(signal.SIGUSR2)


def test_who_could_not_be_watched_meanwhile_is_not_killed(configured, program):
    """A program that is slow to start has seen nobody for longer than worker_timeout_s."""
    daemon = configured(program=program.path, worker_timeout_s=2)
    program(TAMPERING.format("import time; is_asked or time.sleep(3)"))
    worker = daemon.wait_workers(WORKERS)[0]
    daemon.send(signal.SIGUSR2)
    wait_until(lambda: daemon.lines("upgrade: to "), lambda: daemon.log)
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: daemon.lines("generation 2 boots"), lambda: daemon.log)
    os.kill(worker, signal.SIGCONT)
    wait_until(lambda: daemon.changes("upgrade", "serves"), lambda: daemon.log)


def test_a_program_that_finds_its_configuration_wrong_adopts_and_waits(configured, program, directory, counted):
    """Too late to go back: the old workers serve on, and the next reload may be better."""
    daemon = configured(program=program.path, deaths=True)
    workers = daemon.wait_workers(WORKERS)
    spoil = f'if not is_asked: open("{daemon.directory}/todod.conf", "a").write("wrokers = 2\\n")'
    program(TAMPERING.format(spoil))
    with Readers(daemon, 8) as readers:
        daemon.change(signal.SIGUSR2, result="failed")
        assert daemon.worker_pids() == workers
        daemon.change(result="failed")
        assert daemon.worker_pids() == workers
    assert not readers.wrong, readers.wrong[:3]
    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: daemon.changes("reload", "failed") == 2, "it tries to have workers of its own")
    assert daemon.worker_pids() == workers[1:]
    daemon.configure(conf(directory, "127.0.0.1:0"))
    os.kill(workers[1], signal.SIGKILL)
    wait_until(lambda: daemon.changes("reload", "serves") == 1, "and now it may")
    daemon.wait_settled(WORKERS)
    assert not set(workers) & set(daemon.worker_pids())


# ---- programs that lay out their memory otherwise ------------------------------------------------------------------

FOREIGN = TAMPERING.format(r"""
text = re.sub(rb"(?m)^(scoreboard \d+) \d+$", rb"\1 4711", text)
text = re.sub(rb"(?m)^(memory \d+ \d+ \d+) \d+ ", rb"\1 4711 ", text)
""")


def test_an_old_worker_shows_what_a_new_one_has_written(configured, program):
    daemon, ask = configured(program=program.path, header_timeout_s=60), request_bytes("GET", "/todo")
    program(FOREIGN)
    with daemon.connect() as connection:
        daemon.post("before")
        wait_until(lambda: connection.request("GET", "/todo").field("Cache-Status") == HIT, "the page is known")
        connection.send(ask[:-2])  # who is idle is closed a second after the change
        daemon.change(signal.SIGUSR2)
        daemon.post("after")
        response = connection.send(ask[-2:]).read()
        assert [todo["content"] for todo in response.data] == ["after", "before"] and response.closes
    daemon.wait_settled(WORKERS)


@pytest.mark.parametrize("text", [None, FOREIGN], ids=["the same layout", "another layout"])
def test_no_stale_page_over_upgrades(configured, program, counted, text):
    daemon = configured(program=program.path, store_timeout_ms=10000)  # on a slow disk writers wait long for each other
    program(text)
    choice = random.Random(17)
    with History([daemon], connections=12) as history:
        watch = Stopwatch()
        while watch.seconds < 4:
            daemon.change(signal.SIGUSR2)
            time.sleep(choice.uniform(0, 0.4))
    violations = find_violations(history.operations)
    counted(f"{history.summary()}; {daemon.changes('upgrade', 'serves')} upgrades, {len(violations)} violations")
    assert not violations, describe(violations)
    assert {status for _, status in history.statuses()} <= {200, 404}, history.statuses()
    daemon.wait_settled(WORKERS)
    wait_cache(daemon, "local")
    wait_until(lambda: is_hit(daemon), "the page is known")
    assert Path(f"/proc/{daemon.master}").exists()

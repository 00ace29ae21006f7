"""
Every block of README.md that is marked sh is executed, in order, from the root of the repository, each by its
own `bash -e`, with a home of its own: what the README tells people to type is what works.

Two kinds of blocks differ. One with `make run` keeps running: it is started in the background, and the next
block waits until the server answers. One with `make test`, `make soak` or `make bench` is only checked for its
syntax: executing it here would run this test within itself.

Where a block of JSON follows, it is what the command prints: same members, same words; numbers and ids differ.
"""
import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

from harness.daemon import ROOT, accepts, processes_of_session, wait_until_gone
from harness.waiting import wait_until

ADDRESS = ("127.0.0.1", 8080)
FENCE = re.compile(r"^```(\w*)[ \t]*\n(.*?)^```[ \t]*$", re.M | re.S)
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RECURSIVE = re.compile(r"\bmake (-\S+ )*(test|check|soak|bench)\b")
SERVING = re.compile(r"\bmake run\b")


def blocks():
    """Pairs: what is marked sh, and the JSON that follows it at once, or None."""
    found = FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    return [(text, json.loads(after[1]) if after[0] == "json" else None)
            for (kind, text), after in zip(found, [*found[1:], ("", "")]) if kind == "sh"]


def shape(value):
    """What has to be the same in every run."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shape(element) for element in value]
    if isinstance(value, str) and UUID.fullmatch(value):
        return UUID
    return float if isinstance(value, float) else value


def end(server):
    """TERM, then KILL for what is left of its session: `make` does not pass signals on to what it runs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in processes_of_session(server.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if not wait_until_gone(server.pid):
            break
    server.wait()


def shell(block):
    """As root, as the README says it; otherwise with the sudo that it tells others to add."""
    return block if os.geteuid() == 0 else 'apt-get() { sudo apt-get "$@"; }\n' + block


def run(block, answer, env, log):
    done = subprocess.run(["bash", "-e", "-u", "-o", "pipefail", "-c", shell(block)], cwd=ROOT, env=env, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=900)
    said = f"{block}\n{done.stdout}\n{done.stderr}\n{log.read_text()[-3000:] if log.exists() else ''}"
    assert done.returncode == 0, said
    if answer is not None:
        assert shape(json.loads(done.stdout)) == shape(answer), said


def name_of(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text()
    return ""


def serve(block, env, log):
    """Starts it, and waits until it answers: not another test's, which may have the default address for a moment before it fails."""
    with open(log, "ab") as out:
        server = subprocess.Popen(["bash", "-e", "-c", shell(block)], cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                                  stdout=out, stderr=out, start_new_session=True)

    def serves():
        assert server.poll() is None, f"{block}\nended with {server.returncode}:\n{log.read_text()[-3000:]}"
        return accepts(ADDRESS) and any(name_of(pid).startswith("todod") for pid in processes_of_session(server.pid))
    try:
        wait_until(serves, lambda: f"{block}\nserves:\n{log.read_text()[-3000:]}", timeout_s=600, poll_s=0.1)
    except AssertionError:
        end(server)
        raise
    return server


def test_every_block_of_the_readme_works(directory):
    texts = [text for text, _ in blocks()]
    assert any(SERVING.search(text) for text in texts), "README.md does not say how to run it"
    assert any(RECURSIVE.search(text) for text in texts), "README.md does not say how to test it"
    assert not accepts(ADDRESS), "somebody else serves 127.0.0.1:8080"

    env = {key: value for key, value in os.environ.items()
           if not key.startswith(("TODOD_", "MAKE", "XDG_")) and key not in ("BUILD", "SANITIZE", "MFLAGS", "STATE_DIRECTORY")}
    env.update(HOME=str(directory), XDG_DATA_HOME=str(directory / "data"), LC_ALL="C.UTF-8")
    log, servers = directory / "log", []
    try:
        for text, answer in blocks():
            if RECURSIVE.search(text):
                subprocess.run(["bash", "-n", "-c", text], check=True, timeout=10)
            elif SERVING.search(text):
                servers.append(serve(text, env, log))
            else:
                run(text, answer, env, log)
    finally:
        for server in servers:
            end(server)

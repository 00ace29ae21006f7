"""Real Redis servers, and as much of a client as the tests need (RESP2)."""
import re
import shutil
import signal
import socket
import subprocess

from harness.daemon import free_port, is_alive, state_of
from harness.waiting import wait_until

PAGE_HEAD = "TD2 "
NIL = object()


class RedisError(Exception):
    """An error reply."""


def parse_resp(data, at=0):
    """(value, where the next one begins), or None while it is incomplete. An error reply is a RedisError, as a value."""
    end = data.find(b"\r\n", at)
    if end < 0:
        return None
    kind, line, at = data[at:at + 1], bytes(data[at + 1:end]), end + 2
    if kind == b"+":
        return line.decode(), at
    if kind == b"-":
        return RedisError(line.decode()), at
    if kind == b":":
        return int(line), at
    if kind == b"$":
        length = int(line)
        if length < 0:
            return NIL, at
        return (bytes(data[at:at + length]), at + length + 2) if len(data) >= at + length + 2 else None
    assert kind == b"*", f"no RESP2: {data[:100]!r}"
    items = []
    for _ in range(max(0, int(line))):
        if (found := parse_resp(data, at)) is None:
            return None
        items.append(found[0])
        at = found[1]
    return items, at


def plain(value):
    """Nil as None, in arrays too."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    return None if value is NIL else value


def resp_command(*words):
    encoded = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    return b"*%d\r\n" % len(encoded) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)


class RedisClient:
    def __init__(self, port, timeout_s=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def __call__(self, *words):
        """One command, its reply; texts are bytes, nil is None."""
        self.socket.sendall(resp_command(*words))
        while (found := parse_resp(self.pending)) is None:
            got = self.socket.recv(65536)
            if not got:
                raise ConnectionError("the connection to Redis ended")
            self.pending += got
        value, used = found
        self.pending = self.pending[used:]
        if isinstance(value, RedisError):
            raise value
        return plain(value)


class Redis:
    """A server of its own, on a port and a unix socket. Keeps nothing on disk unless a test says SAVE."""

    def __init__(self, directory, *options):
        self.directory = directory
        (directory / "data").mkdir(parents=True)
        self.port = free_port()
        self.socket = directory / "redis.sock"
        self.options = list(options)
        self.password = options[options.index("--requirepass") + 1] if "--requirepass" in options else None
        self.process = None
        self.start()

    def start(self, *more, wait=True):
        command = ["setpriv", "--pdeathsig", "KILL", "redis-server", "--port", self.port, "--bind", "127.0.0.1",
                   "--unixsocket", self.socket, "--dir", self.directory / "data", "--save", "", "--appendonly", "no",
                   "--enable-protected-configs", "yes", "--repl-diskless-sync-delay", "0", *self.options, *more]
        with open(self.directory / "redis.log", "ab") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        if wait:
            self.wait_ready()

    def wait_ready(self):
        def answers():
            assert self.process.poll() is None, (self.directory / "redis.log").read_text()[-3000:]
            try:
                return self("PING")
            except (RedisError, OSError):
                return False
        wait_until(answers, f"Redis on port {self.port}", timeout_s=20)

    def is_loading(self):
        try:
            return not self("PING")
        except RedisError as error:
            return str(error).startswith("LOADING")
        except OSError:
            return False

    def client(self, password=None):
        client, password = RedisClient(self.port), password or self.password
        try:
            if password:
                client("AUTH", password)
        except BaseException:
            client.socket.close()
            raise
        return client

    def __call__(self, *words):
        """One command, on a connection of its own."""
        with self.client() as client:
            return client(*words)

    def configure(self, **settings):
        for key, value in settings.items():
            self("CONFIG", "SET", key.replace("_", "-"), value)

    def add_user(self, name, password, *rules):
        self("ACL", "SETUSER", name, "on", f">{password}", *rules)

    def stop(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait()

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def pause(self):
        """It stands still when this returns."""
        self.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: state_of(self.process.pid) == "T", "Redis stands still", poll_s=0.001)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    @property
    def dump(self):
        return self.directory / "data/dump.rdb"

    def save(self):
        """What it knows now, as a file that `restart` can bring back."""
        self("SAVE")
        return shutil.copy(self.dump, self.directory / "old.rdb")

    def restart(self, rdb=None, *options, wait=True):
        """After a kill: with nothing, or with an old state."""
        self.dump.unlink(missing_ok=True)
        if rdb:
            shutil.copy(rdb, self.dump)
        self.start(*options, wait=wait)

    def close(self):
        if is_alive(self.process.pid):
            self.process.kill()
        self.process.wait()

    def uri(self, database=0, user="", password=""):
        login = f"{user}:{password}@" if password else ""
        return f"redis://{login}127.0.0.1:{self.port}/{database}"

    # -- todod's keys, of the one database that uses this server --

    def key(self, name):
        """todod:{ID}:name; the id as any of its keys tells."""
        for key in self("KEYS", "todod:*"):
            if match := re.fullmatch(r"todod:\{[0-9a-f-]{36}\}:(?=\w+$)\w+", key.decode()):
                return match.group()[:-2] + name
        return None

    def page(self):
        """The page's text, or None."""
        try:
            return self("GET", self.key("pg") or "none").decode(errors="replace")
        except (RedisError, AttributeError):  # of another type; none
            return None

    def page_ttl_ms(self):
        key = self.key("pg")
        return self("PTTL", key) if key else -2

"""A todod of its own: started in its own session and directory, watched, and ended without a trace."""
import mmap
import os
import random
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from harness.waiting import SANITIZE, SLOW, Stopwatch, wait_until
from harness.wire import Connection

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / os.environ.get("BUILD", "build") / "todod"

_LISTENING = re.compile(r"\blistening on (\S+)$")
_ADMIN_LISTENING = re.compile(r"\blistening on (\S+) for operators$")
_READY = re.compile(r"\] ready\b")
_DEATH = re.compile(r"\b(died|killed)\b")
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_ESTABLISHED = "01"

# src/master/scoreboard.h, include/base/process.h
SLOTS_OF_OTHERS, SLOTS, PROCESS_READY = 16, 16 + 4 * 1024 + 64, 2

_PORT_LOCKS = []  # for as long as this process lives


# ---- /proc ---------------------------------------------------------------------------------------------

def _stat(pid):
    """The fields of /proc/PID/stat from the state on, or None."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return None


def _pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def processes_of_session(session):
    return [pid for pid in _pids() if (stat := _stat(pid)) and int(stat[3]) == session and stat[0] not in "ZX"]


def state_of(pid):
    """One letter, or None when there is no such process."""
    stat = _stat(pid)
    return stat[0] if stat else None


def is_alive(pid):
    return state_of(pid) not in (None, "Z", "X")


def cpu_seconds(pid):
    stat = _stat(pid)
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def status_field(pid, name):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split(":", 1)[1].strip()
    raise KeyError(name)


def descriptors(pid):
    """{descriptor: what it links to}"""
    links = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            links[int(name)] = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            pass
    return links


def socket_inodes(pid):
    """None of a process that has just gone."""
    try:
        links = descriptors(pid)
    except OSError:
        return set()
    return {match.group(1) for link in links.values() if (match := _SOCKET.fullmatch(link))}


def established_tcp():
    """{inode: (local port, remote port)} of every established TCP connection."""
    found = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            part = line.split()
            if part[3] == _ESTABLISHED:
                found[part[9]] = (int(part[1].rsplit(":", 1)[1], 16), int(part[2].rsplit(":", 1)[1], 16))
    return found


def private_bytes(pid):
    return 1024 * sum(int(line.split()[1]) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
                      if line.startswith("Private_"))


def propagation():
    """Mounts of a namespace of its own stay in there; where / is no mount point (chroot), that can only be left as it is."""
    return [] if _is_mount_root() else ["--propagation", "unchanged"]


def _is_mount_root():
    return any(line.split()[4] == "/" for line in Path("/proc/self/mountinfo").read_text().splitlines())


# ---- the daemon ----------------------------------------------------------------------------------------

def sanitizer_environment(directory, leaks=True):
    """Reports go to files: nobody reads the stderr of a process that ends with _exit."""
    if not SANITIZE:
        return {}
    common = f"log_path={directory}/sanitizer:exitcode=66"
    return {
        "ASAN_OPTIONS": f"{common}:detect_leaks={int(leaks)}:detect_stack_use_after_return=1",
        "LSAN_OPTIONS": f"{common}:detect_leaks={int(leaks)}",
        "UBSAN_OPTIONS": common + ":print_stacktrace=1",
        "TSAN_OPTIONS": f"{common}:suppressions={ROOT}/tests/tsan.supp",
    }


def command_line(options):
    """{"header_timeout_s": 1} to ["--header-timeout-s", "1"]; a list repeats its key."""
    words = []
    for key, value in options.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            words += ["--" + key.replace("_", "-"), str(one)]
    return words


def environment(directory, extra=None, leaks=True):
    """A small, known environment: nothing of the caller's reaches the daemon, and its control socket is its own. libmongoc keeps counters in
    /dev/shm/mongoc-PID, which a SIGKILL leaves behind, and the next process of that number complains of."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(directory), "LC_ALL": "C.UTF-8",
            "MONGOC_DISABLE_SHM": "1", "RUNTIME_DIRECTORY": str(directory),
            **sanitizer_environment(directory, leaks), **(extra or {})}


# A process that was killed while leaks were looked for.
_INTERRUPTED = re.compile(r"==\d+==Unable to get registers from thread \d+\.\n")


def sanitizer_reports(directory):
    reports = (path.read_text(errors="replace") for path in sorted(Path(directory).glob("sanitizer*")))
    return "\n".join(filter(None, (_INTERRUPTED.sub("", report) for report in reports)))


def run_todod(directory, *arguments, env=None, timeout_s=20 * SLOW):
    """Runs todod to its end: for what must not start at all. Returns the finished process, with text output."""
    done = subprocess.run([BINARY, *map(str, arguments)], env=environment(directory, env), cwd=directory, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, start_new_session=True)
    assert not sanitizer_reports(directory), sanitizer_reports(directory)
    return done


class Todod:
    """
    A running daemon. Options are keyword arguments (store=…, workers=…); `listen` is a free port of 127.0.0.1
    and `workers` 3 unless given. `prefix` is put in front of the command; `config` is the text of a
    configuration file. `deaths`: that processes die is part of the test. `traced`: it runs under ptrace(2),
    where leaks cannot be looked for. `program`: another one than what was built.
    """

    def __init__(self, directory, *, env=None, config=None, prefix=(), arguments=(), wait=True, deaths=False,
                 traced=False, program=BINARY, **options):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.expects_deaths, self.traced, self.program = deaths, traced, program
        if "listen" not in options:
            options["listen"] = f"127.0.0.1:{free_port()}"
        options.setdefault("workers", 3)
        options.setdefault("store", f"sqlite:{self.directory}/todo.db")
        self.options = {key: value for key, value in options.items() if value is not None}
        self.arguments, self.prefix, self.env = list(arguments), list(prefix), dict(env or {})
        if config is not None:
            self.configure(config)
            self.arguments += ["-c", str(self.directory / "todod.conf")]
        self.process = None
        self.starts = 0
        self.start(wait)

    # -- life --

    def start(self, wait=True):
        """Starts it, or starts it again with the addresses it had."""
        assert self.process is None or self.process.poll() is not None
        if self.starts and self.options.get("listen"):
            self.options["listen"] = self.listening() or self.options["listen"]  # it may have ended before it said so
        self.starts += 1
        self.stopped = False
        self.log_path = self.directory / f"log.{self.starts}"
        with open(self.log_path, "wb") as log:
            # The kernel ends it even when the test process itself is killed.
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.prefix, self.program, *self.arguments, *command_line(self.options)],
                env=environment(self.directory, self.env, not self.traced), cwd=self.directory, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout_s=20 * SLOW):
        """The first worker serves. The store may still be away: see wait_store."""
        def ready_or_dead():
            assert self.process.poll() is None, f"todod ended with {self.process.poll()}:\n{self.log}"
            return _READY.search(self.log)
        wait_until(ready_or_dead, lambda: f"ready:\n{self.log}", timeout_s)

    def wait_store(self, timeout_s=20 * SLOW):
        wait_until(lambda: self.request("GET", "/readyz").status == 200, lambda: f"store:\n{self.log}", timeout_s)
        return self

    def configure(self, text):
        """Writes its configuration file; a reload reads it."""
        (self.directory / "todod.conf").write_text(text)

    def send(self, number, pid=None):
        os.kill(pid or self.master, number)

    def changes(self, what, result):
        """How many reloads or upgrades (`what`) ended so far: as "serves" or as "failed"."""
        return len(self.lines(rf" {what}: generation \d+ serves" if result == "serves" else rf" {what} failed: "))

    def change(self, number=signal.SIGHUP, result="serves", timeout_s=20 * SLOW):
        """Asks for a reload (SIGHUP) or an upgrade (SIGUSR2), and waits for its end."""
        what = {signal.SIGHUP: "reload", signal.SIGUSR2: "upgrade"}[number]
        before = self.changes(what, result)
        self.send(number)
        wait_until(lambda: self.changes(what, result) > before, lambda: f"{what} {result}:\n{self.log}", timeout_s)

    def wait_settled(self, count, timeout_s=20 * SLOW):
        """So many workers, of one generation, and nobody else drains or boots."""
        def settled():
            begun = max([1, *(int(line.rsplit(" generation ", 1)[1].split()[0]) for line in self.lines(r"generation \d+ boots"))])
            gone = len(self.lines(r"generation \d+ has left"))
            return begun - gone == 1 and len(self.worker_pids()) == count and self.keeper_pid()
        wait_until(settled, lambda: f"{count} workers of one generation:\n{self.log}", timeout_s)

    def wait_exit(self, timeout_s=30 * SLOW):
        """The exit code; negative for a signal, as in subprocess."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"todod still runs after {timeout_s:g} s:\n{self.log}") from None
        self.stopped = True
        return code

    def stop(self, number=signal.SIGTERM, timeout_s=30 * SLOW):
        self.send(number)
        return self.wait_exit(timeout_s)

    def kill_all(self):
        """SIGKILL to every process of its session, until none is left."""
        def gone():
            for pid in processes_of_session(self.process.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            self.process.poll()
            return not processes_of_session(self.process.pid)
        wait_until(gone, "every process of the daemon gone")
        self.process.wait()
        self.stopped = True

    def finish(self):
        """Ends it if the test has not, and judges its whole life."""
        try:
            if not self.stopped and self.process.poll() is None:
                code = self.stop()
                assert code == 0, f"exit code {code}:\n{self.log}"
            left = wait_until_gone(self.process.pid)
            assert not left, f"left running: {left}\n{self.log}"
        finally:
            self.kill_all()
        report = sanitizer_reports(self.directory)
        assert not report, f"{report}\n{self.log}"
        if not self.expects_deaths:
            assert not self.deaths, f"processes died: {self.deaths}\n{self.log}"

    # -- what it says --

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def lines(self, pattern):
        return [line for line in self.log.splitlines() if re.search(pattern, line)]

    @property
    def deaths(self):
        return [line for path in sorted(self.directory.glob("log.*"))
                for line in path.read_text(errors="replace").splitlines() if _DEATH.search(line)]

    def listening(self):
        """The addresses as the log names them, ports filled in."""
        return self._named_by(_LISTENING)

    def _named_by(self, pattern):
        return [match.group(1) for line in self.log.splitlines() if (match := pattern.search(line))]

    # -- its processes --

    @property
    def master(self):
        return self.process.pid

    def children(self):
        return sorted(pid for pid in _pids() if (stat := _stat(pid)) and int(stat[1]) == self.master)

    def pids_named(self, part):
        """Living children of such a name."""
        found = []
        for pid in self.children():
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                continue
            if part in name and is_alive(pid):
                found.append(pid)
        return found

    def worker_pids(self):
        """Living workers; the set-up child is none."""
        return self.pids_named("worker")

    def watch_ready(self):
        """A function that tells at once how many workers say in the scoreboard that they are ready. Its slots begin with a time of
        eight bytes, then comes the state."""
        fd = next(fd for fd, link in descriptors(self.master).items() if link.startswith("/memfd:todod ("))
        with open(f"/proc/{self.master}/fd/{fd}", "rb") as memory:
            data = mmap.mmap(memory.fileno(), 0, prot=mmap.PROT_READ)
        stride = len(data) // SLOTS // 128 * 128
        first = len(data) - SLOTS * stride + SLOTS_OF_OTHERS * stride
        states = slice(first + 8, first + 8 + 32 * stride, stride)

        def count():
            """Of one moment: two looks agree. Between two slots a reader may be left waiting for a core."""
            seen, again = data[states], data[states]
            while seen != again:
                seen, again = again, data[states]
            return seen.count(PROCESS_READY)
        return count

    def keeper_pid(self):
        """The living keeper, or None while there is none."""
        found = self.pids_named("keeper")
        assert len(found) <= 1, f"keepers: {found}"
        return found[0] if found else None

    def wait_keeper(self, other_than=None, timeout_s=15 * SLOW):
        return wait_until(lambda: (pid := self.keeper_pid()) != other_than and pid,
                          lambda: f"a keeper other than {other_than}:\n{self.log}", timeout_s)

    def wait_workers(self, count, timeout_s=15 * SLOW):
        return wait_until(lambda: len(pids := self.worker_pids()) == count and pids,
                          lambda: f"{count} workers, have {self.worker_pids()}:\n{self.log}", timeout_s)

    def connections(self, pids=None):
        """{worker: client connections over TCP}, of these or of all workers"""
        ports = {address[1] for address in self.addresses() if isinstance(address, tuple)}
        established = established_tcp()
        return {pid: sum(1 for inode in socket_inodes(pid)
                         if inode in established and established[inode][0] in ports)
                for pid in (pids or self.worker_pids())}

    def owner(self, connection):
        """The worker that serves this client connection."""
        port = connection.sock.getsockname()[1]
        established = established_tcp()
        for pid in self.worker_pids():
            if any(established.get(inode, (0, 0))[1] == port for inode in socket_inodes(pid)):
                return pid
        return None

    # -- talking to it --

    def addresses(self):
        """(host, port) or a path, in the order of the log."""
        return self._parse(self.listening())

    @property
    def admin_addresses(self):
        return self._parse(self._named_by(_ADMIN_LISTENING))

    @property
    def admin(self):
        return self.admin_addresses[0]

    def _parse(self, texts):
        parsed = []
        for text in texts:
            if text.startswith("unix:"):
                parsed.append(str(self.directory / text[5:]))
            else:
                host, port = text.rsplit(":", 1)
                parsed.append((host.strip("[]"), int(port)))
        return parsed

    @property
    def address(self):
        return self.addresses()[0]

    @property
    def url(self):
        host, port = self.address
        return f"http://{host}:{port}"

    def connect(self, **how):
        return Connection(self.address, **how)

    def request(self, method, target, body=None, fields=(), **read):
        """One request on a connection of its own."""
        with self.connect() as connection:
            return connection.request(method, target, body, fields, **read)

    def post(self, content):
        response = self.request("POST", "/todo", {"content": content})
        assert response.status == 200, response
        return response.json

    def walk(self, target="/todo?limit=100"):
        """Every todo of the list, by its Links."""
        todos = []
        with self.connect() as connection:
            while target:
                response = connection.request("GET", target)
                assert response.status == 200, response
                todos += response.data
                target = response.next
        return todos


def wait_until_gone(session, timeout_s=10):
    """What is left of a session after that time."""
    watch = Stopwatch()
    while (left := processes_of_session(session)) and watch.seconds < timeout_s:
        time.sleep(0.01)
    return left


def free_port():
    """A port of 127.0.0.1 for a server that comes later or more than once. Below ip_local_port_range, so that no connection is
    given it meanwhile (one that asks for this very port would even be connected to itself); kept from other test processes by an
    abstract socket of its number."""
    while True:
        port, lock = random.SystemRandom().randrange(10000, 20000), socket.socket(socket.AF_UNIX)
        try:
            lock.bind(f"\0todod-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _PORT_LOCKS.append(lock)
        return port


def accepts(address):
    """Does anybody listen there?"""
    try:
        Connection(address, timeout_s=5).close()
    except OSError:
        return False
    return True

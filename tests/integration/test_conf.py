"""What stands in conf/, as it is installed: units, manuals, and the files for nginx, supervisor and logrotate, each with the real
program that reads it."""
import collections
import http.client
import os
import pwd
import re
import signal
import socket
import subprocess
import threading

import pytest

from harness.daemon import BINARY, ROOT, accepts, environment, free_port, run_todod
from harness.mongo import new_database_name
from harness.waiting import SLOW, wait_until

CONF = ROOT / "conf"
ME = pwd.getpwuid(os.getuid()).pw_name
KEYS = re.findall(r"^(\w+) = ", subprocess.run([BINARY, "--dump-config"], env={"HOME": "/"}, text=True, capture_output=True,
                                               check=True).stdout, re.M)


def run(*words, timeout_s=60 * SLOW, **how):
    """Output of both kinds, together; whatever the exit code."""
    done = subprocess.run(list(map(str, words)), text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout_s, **how)
    return done.returncode, done.stdout


def make(*words):
    """As a user types it: nothing of a make that runs these tests reaches it."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    code, said = run("make", "-j1", f"SANITIZE={os.environ.get('SANITIZE', '')}", *words, cwd=ROOT, env=env, timeout_s=600)
    assert code == 0, said
    return said


def files_below(directory):
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir()}


@pytest.fixture
def installed(directory):
    """Everything below a prefix of the test's own."""
    make("install", f"PREFIX={directory}/usr", f"SYSCONFDIR={directory}/etc")
    return directory


# ---- make install

def test_install_and_uninstall(directory):
    """Each file has its place in Debian's tree, and all are gone again."""
    where = (f"DESTDIR={directory}/root", "PREFIX=/usr")
    make("install", *where)
    doc = "usr/share/doc/todod"
    assert files_below(directory / "root") == {
        "usr/sbin/todod", "etc/todod/todod.conf", "etc/logrotate.d/todod", "usr/lib/systemd/system/todod.service",
        "usr/lib/systemd/system/todod.socket", "usr/lib/sysusers.d/todod.conf", "usr/lib/tmpfiles.d/todod.conf",
        "usr/share/man/man8/todod.8", "usr/share/man/man5/todod.conf.5", f"{doc}/README.md", f"{doc}/examples/nginx.conf",
        f"{doc}/examples/redis.conf", f"{doc}/examples/todod-supervisor.conf",
        f"{doc}/examples/grafana-dashboard.json"}
    config = (directory / "root/etc/todod/todod.conf").read_text()
    assert re.findall(r"^\w.*", config, re.M) == ["store = sqlite:/var/lib/todod/todod.db"]
    assert (directory / "root/usr/lib/systemd/system/todod.service").read_text() == (CONF / "todod.service").read_text()
    make("uninstall", *where)
    assert files_below(directory / "root") == set()
    assert not (directory / "root/etc/todod").exists() and not (directory / "root" / doc).exists()


def test_a_changed_configuration_stays(installed):
    where = (f"PREFIX={installed}/usr", f"SYSCONFDIR={installed}/etc")
    config = installed / "etc/todod/todod.conf"
    config.write_text("workers = 2\n")
    assert f"{config} is kept" in make("install", *where)
    assert config.read_text() == "workers = 2\n"
    assert f"{config} was changed and is kept" in make("uninstall", *where)
    assert files_below(installed) == {"etc/todod/todod.conf"}


def test_paths_follow_the_prefix(installed):
    """A second todod on a machine, say in /opt, reads its own files."""
    for name in ("lib/systemd/system/todod.service", "share/doc/todod/examples/todod-supervisor.conf"):
        text = (installed / "usr" / name).read_text()
        assert f"{installed}/usr/sbin/todod -c {installed}/etc/todod/todod.conf" in text
        assert "=/usr/sbin/todod" not in text
    code, said = run(installed / "usr/sbin/todod", "-t", "-c", installed / "etc/todod/todod.conf", env=environment(installed))
    assert (code, said) == (0, "configuration OK\n")


# ---- manuals

def test_manuals(installed):
    """mandoc has nothing to say of them, and no key, option or exit code is missing."""
    env = {"PATH": os.environ["PATH"], "MANPATH": str(installed / "usr/share/man")}
    pages = [installed / "usr/share/man" / name for name in ("man8/todod.8", "man5/todod.conf.5")]
    _, said = run("mandoc", "-T", "lint", "-W", "style", *pages, env=env)
    # It asks an index of the manuals that are installed.
    findings = [line for line in said.splitlines() if "referenced manual not found" not in line and "mandoc.db" not in line]
    assert findings == [], said
    assert re.findall(r"^\.It Ic (\w+)", pages[1].read_text(), re.M) == KEYS
    shown = re.sub(".\b", "", run("mandoc", "-T", "utf8", "-O", "width=200", pages[0], env=env)[1])
    for code in (0, 64, 69, 70, 71, 73, 75, 77, 78):
        assert re.search(rf"^ {{5}}{code}\b", shown, re.M), code
    for option in ("-c FILE", "--dump-config", "--KEY VALUE", "doctor", "TERM"):
        assert re.search(rf"^ {{5}}{option}(  |$)", shown, re.M), option


def test_examples_of_the_manual_load(directory):
    text = (CONF / "man/todod.conf.5.in").read_text()
    blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed", text, re.M | re.S)
    assert len(blocks) == 2
    for block in blocks:
        (directory / "todod.conf").write_text(block)
        assert run_todod(directory, "-t", "-c", "todod.conf").returncode == 0


def test_files_name_only_keys_that_exist():
    """In their comments, too: keys are the words with a unit behind them, metrics aside, and what is set."""
    word = re.compile(r"(?<![\w-])(?!todod_)(?:[a-z]+_)+(?:s|ms|bytes)\b")
    setting = re.compile(r"^[#;]?\s*todod has +(\w+) =", re.M)
    named = set()
    for path in sorted([*CONF.glob("*"), *CONF.glob("man/*.in")]):
        if path.is_file():
            text = path.read_text()
            named |= set(word.findall(text)) | set(setting.findall(text))
    assert {"drain_timeout_s", "keepalive_timeout_s", "store_timeout_ms", "listen"} <= named
    assert named <= set(KEYS), named - set(KEYS)


# ---- systemd

def unit_setting(name):
    return re.findall(rf"^{name}=(.*)$", (CONF / "todod.service").read_text(), re.M)


def test_units(installed):
    units = installed / "usr/lib/systemd/system"
    code, said = run("systemd-analyze", "verify", "--man=no", units / "todod.service", units / "todod.socket")
    assert (code, said) == (0, "")
    code, said = run("systemd-analyze", "security", "--offline=yes", "--threshold=15", "--no-pager", units / "todod.service")
    assert code == 0, said


def syscall_sets():
    """{"@network-io": {"accept", …}}, sets within sets resolved."""
    sets, name = {}, None
    for line in run("systemd-analyze", "syscall-filter", "--no-pager")[1].splitlines():
        if line.startswith("@"):
            name = line.strip()
            sets[name] = set()
        elif name and (word := re.fullmatch(r"    (@?[\w-]+)", line)):
            sets[name].add(word.group(1))

    def resolve(words):
        return set().union(*(resolve(sets[word]) if word.startswith("@") else {word} for word in words))
    return {name: resolve(words) for name, words in sets.items()}


def allowed_syscalls():
    sets = syscall_sets()
    allowed = set(sets["@default"])
    for line in unit_setting("SystemCallFilter"):
        words = set().union(*(sets.get(word, {word}) for word in line.lstrip("~").split()))
        allowed = allowed - words | sets["@default"] if line.startswith("~") else allowed | words
    return allowed


@pytest.mark.parametrize("kind", ["sqlite", "mongodb and redis"])
def test_the_filter_lets_it_live(todod, directory, request, kind):
    """No system call from start to stop that the unit denies it."""
    options = {}
    if kind != "sqlite":
        options = {"store": request.getfixturevalue("mongo").uri(new_database_name()),
                   "cache": request.getfixturevalue("redis").uri()}
    calls = directory / "calls"
    daemon = todod(prefix=["strace", "-f", "-c", "-o", calls], traced=True, workers=2,
                   listen=["127.0.0.1:0", f"unix:{directory}/todod.sock"], **options)
    daemon.post("one")
    assert len(daemon.walk()) == 1
    tracer = daemon.process.pid
    master = wait_until(lambda: [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and parent_of(pid) == tracer],
                        "the traced daemon")[0]
    os.kill(master, signal.SIGTERM)
    assert daemon.wait_exit() == 0
    used = set(re.findall(r"(\w+)$", "\n".join(line for line in calls.read_text().splitlines() if "." in line), re.M)) - {"total"}
    assert {"accept4", "clone3", "epoll_wait", "fdatasync", "prlimit64"} & used, calls.read_text()
    # Where root runs it, which the unit does not, SQLite gives its files to the owner of the database.
    used -= {"fchown"} if os.geteuid() == 0 else set()
    assert used <= allowed_syscalls(), used - allowed_syscalls()


def parent_of(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rsplit(")", 1)[1].split()[1])
    except OSError:
        return None


def test_users_and_directories(installed):
    """One user in all files, and systemd's programs make it and its directories."""
    [user] = unit_setting("User")
    supervisor = (CONF / "todod-supervisor.conf").read_text()
    assert re.findall(r"^user=(.*)$", supervisor, re.M) == [user]
    assert f" {user} " in (CONF / "logrotate").read_text().replace("\n", " ")
    assert re.search(rf"^\tadduser .* {user}$", (CONF / "debian/todod.postinst").read_text(), re.M)
    root = installed / "root"
    for name in ("sysusers.d", "tmpfiles.d"):
        (root / "usr/lib" / name).mkdir(parents=True)
        (installed / "usr/lib" / name / "todod.conf").rename(root / "usr/lib" / name / "todod.conf")
    (root / "etc").mkdir()
    code, said = run("systemd-sysusers", f"--root={root}")
    assert code == 0, said
    [line] = [line for line in (root / "etc/passwd").read_text().splitlines() if line.startswith(f"{user}:")]
    assert line.split(":")[5:] == ["/var/lib/todod", "/usr/sbin/nologin"]
    if os.getuid() == 0:
        code, said = run("systemd-tmpfiles", f"--root={root}", "--create", "todod.conf")
        assert code == 0, said
        for name, mode in (("run", 0o755), ("var/lib", 0o750), ("var/log", 0o750)):
            made = (root / name / "todod").stat()
            assert (made.st_uid, made.st_mode & 0o777) == (int(line.split(":")[2]), mode)


# ---- supervisor

SUPERVISORD = """
[unix_http_server]
file={0}/supervisor.sock
[supervisord]
logfile={0}/supervisord.log
pidfile={0}/supervisord.pid
nodaemon=true
user={1}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{0}/supervisor.sock
[include]
files={0}/*.program
"""


class Supervisor:
    """A supervisord with the shipped program section, for a todod with such a configuration; and for `broken`, with one that is
    wrong."""

    def __init__(self, directory, config):
        self.directory = directory
        section = (CONF / "todod-supervisor.conf").read_text().replace("/usr/sbin/todod", str(BINARY))
        section = re.sub(r"^user=.*$", f"user={ME}", section, flags=re.M)
        variables = ",".join(f'{key}="{value}"' for key, value in environment(directory).items() if key != "PATH")
        for name, text in (("todod", config), ("broken", "workers = many\n")):
            (directory / f"{name}.conf").write_text(text)
            changed = section.replace("/etc/todod/todod.conf", f"{directory}/{name}.conf").replace("[program:todod]", f"[program:{name}]")
            changed = re.sub(r"^stdout_logfile=.*$", f"stdout_logfile={directory}/{name}.log", changed, flags=re.M)
            (directory / f"{name}.program").write_text(f"{changed}\nenvironment={variables}\n")
        self.config = directory / "supervisord.conf"
        self.config.write_text(SUPERVISORD.format(directory, ME))
        with open(directory / "out", "wb") as out:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", "supervisord", "-n", "-c", self.config], stdout=out,
                                            stderr=out, start_new_session=True)

    def ctl(self, *words):
        return run("supervisorctl", "-c", self.config, *words)[1]

    def state(self, name):
        """(state, pid or None)"""
        found = re.search(rf"^{name} +([A-Z]+)(?: +pid (\d+))?", self.ctl("status"), re.M)
        return (found.group(1), found.group(2) and int(found.group(2))) if found else (None, None)

    def wait(self, name, state, other_than=None, timeout_s=30 * SLOW):
        def reached():
            now, pid = self.state(name)
            return now == state and (pid != other_than or pid is None) and (pid or True)
        return wait_until(reached, lambda: f"{name} {state}, not {self.state(name)}:\n{self.log(name)}", timeout_s, poll_s=0.2)

    def log(self, name):
        path = self.directory / f"{name}.log"
        return path.read_text()[-3000:] if path.exists() else ""

    def close(self):
        self.process.terminate()
        self.process.wait(60)


def test_under_supervisor(directory):
    """Start, crash, stop, start again, and a configuration that is wrong: each ends in the state that an operator expects."""
    port = free_port()
    supervisor = Supervisor(directory, f"listen = 127.0.0.1:{port}\nstore = sqlite:{directory}/todo.db\nworkers = 2\n")
    try:
        first = supervisor.wait("todod", "RUNNING")
        assert accepts(("127.0.0.1", port))
        os.kill(first, signal.SIGKILL)
        supervisor.wait("todod", "RUNNING", other_than=first)
        assert accepts(("127.0.0.1", port))
        assert "stopped" in supervisor.ctl("stop", "todod")
        assert supervisor.state("todod") == ("STOPPED", None)
        assert not accepts(("127.0.0.1", port))
        assert "stopped: todod (exit status 0)" in (directory / "supervisord.log").read_text()
        supervisor.wait("broken", "FATAL")
        assert supervisor.log("broken").count("workers: \"many\" is neither auto") == 4
    finally:
        supervisor.close()


# ---- nginx

NGINX = """
user {me};
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/temp;
    proxy_temp_path {directory}/temp;
    fastcgi_temp_path {directory}/temp;
    uwsgi_temp_path {directory}/temp;
    scgi_temp_path {directory}/temp;
    include {directory}/todod.conf;
}}
"""


class NginxInFront:
    """A real nginx with the shipped configuration; only its port and the path of the socket are of the test's own."""

    def __init__(self, directory, socket_path):
        self.directory, self.port = directory, free_port()
        shipped = (CONF / "nginx.conf").read_text()
        shipped, ports = re.subn(r"^    listen 80;$", f"    listen 127.0.0.1:{self.port};", shipped, flags=re.M)
        shipped, sockets = re.subn(r"^    server unix:/run/todod/todod.sock;$", f"    server unix:{socket_path};", shipped, flags=re.M)
        assert (ports, sockets) == (1, 1)
        # Not every machine has IPv6.
        (directory / "todod.conf").write_text(shipped.replace("    listen [::]:80;\n", ""))
        (directory / "nginx.conf").write_text(NGINX.format(directory=directory, me=ME))
        self.command = ["nginx", "-p", directory, "-c", directory / "nginx.conf"]
        code, said = run(*self.command, "-t")
        assert code == 0 and "warn" not in said, said
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *map(str, self.command)], stdin=subprocess.DEVNULL)
        wait_until(lambda: accepts(("127.0.0.1", self.port)), "nginx")

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(self, connection, method, target, body=None, **fields):
        connection.request(method, target, body, {name.replace("_", "-"): value for name, value in fields.items()})
        response = connection.getresponse()
        return response, response.read()

    def close(self):
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def behind_nginx(directory):
    started = []

    def start(socket_path):
        started.append(NginxInFront(directory, socket_path))
        return started[-1]
    yield start
    for nginx in started:
        nginx.close()


def test_behind_nginx(todod, directory, behind_nginx):
    os.chmod(directory, 0o755)
    daemon = todod(listen=["127.0.0.1:0", f"unix:{directory}/todod.sock"], log_level="debug", workers=1)
    nginx = behind_nginx(f"{directory}/todod.sock")
    closed = r"connection \d+: closed"
    before = len(daemon.lines(closed))
    client = nginx.connect()
    form = "application/x-www-form-urlencoded"
    for number in range(20):
        response, body = nginx.ask(client, "POST", "/todo", f"content=todo+{number}+{'x' * 200}", Content_Type=form)
        assert response.status == 200, body
        response, body = nginx.ask(client, "GET", f"/todo?start={number}")
        assert response.status == 200 and len(body) > 10
    for target in ("/todo", "/todo?start=1"):
        response, body = nginx.ask(client, "GET", target, Accept_Encoding="gzip")
        assert response.getheader("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b", target
    response, body = nginx.ask(client, "POST", "/todo", "content=" + "x" * 70000, Content_Type=form)
    assert response.status == 413 and response.getheader("Content-Type") == "application/problem+json"
    assert "error" not in (directory / "error.log").read_text()
    # All of it went over the connection that nginx keeps; the large body may have cost one.
    daemon.stop()
    assert 1 <= len(daemon.lines(closed)) - before <= 2, daemon.log[-3000:]


def test_no_502_while_todod_reloads_and_upgrades(todod, directory, behind_nginx):
    """Posts, which nginx does not send twice: each connection that todod closed at the wrong moment would show."""
    os.chmod(directory, 0o755)
    # nginx waits for ten seconds, and a loaded disk may let each worker's writes wait for those of the others.
    daemon = todod(listen=["127.0.0.1:0", f"unix:{directory}/todod.sock"], store_timeout_ms=8000)
    nginx, stopping, statuses = behind_nginx(f"{directory}/todod.sock"), threading.Event(), collections.Counter()

    def post():
        client = nginx.connect()
        while not stopping.is_set():
            response, _ = nginx.ask(client, "POST", "/todo", "content=todo", Content_Type="application/x-www-form-urlencoded")
            statuses[response.status] += 1
    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    for number in range(1, 13):
        daemon.send(signal.SIGUSR2 if number % 3 == 0 else signal.SIGHUP)
        wait_until(lambda: len(daemon.lines(r"generation \d+ serves, generation \d+ drains")) == number,
                   lambda: daemon.log[-3000:], 30 * SLOW)
    wait_until(lambda: statuses[200] > 100, lambda: str(statuses), 60 * SLOW)
    stopping.set()
    for thread in threads:
        thread.join(30)
    assert set(statuses) == {200}, statuses
    assert "error" not in (directory / "error.log").read_text()


def test_what_nginx_says_of_the_client(directory, behind_nginx):
    """What the client itself claims is not passed on."""
    os.chmod(directory, 0o755)
    heads = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/todod.sock")
        os.chmod(f"{directory}/todod.sock", 0o666)
        listener.listen()

        def answer_once():
            connection, _ = listener.accept()
            with connection:
                heads.append(connection.recv(65536).decode())
                connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        thread = threading.Thread(target=answer_once, daemon=True)
        thread.start()
        nginx = behind_nginx(f"{directory}/todod.sock")
        response, _ = nginx.ask(nginx.connect(), "GET", "/todo", Host="todo.example:8443", X_Forwarded_For="6.6.6.6",
                                X_Request_Id="forged", X_Forwarded_Proto="gopher")
        thread.join(30)
    assert response.status == 204
    fields = dict(line.split(": ", 1) for line in heads[0].split("\r\n\r\n")[0].split("\r\n")[1:])
    assert heads[0].startswith("GET /todo HTTP/1.1\r\n")
    assert (fields["Host"], fields["X-Forwarded-For"], fields["X-Forwarded-Proto"]) == ("todo.example:8443", "127.0.0.1", "http")
    assert re.fullmatch("[0-9a-f]{32}", fields["X-Request-Id"])
    assert "Connection" not in fields


def test_nginx_for_two_machines(directory):
    """The lines that are commented out are right, too."""
    text = (CONF / "nginx.conf").read_text()
    text, count = re.subn(r"^    # (server 10\.)", r"    \1", text.replace("    server unix:/run/todod/todod.sock;\n", ""), flags=re.M)
    assert count == 2
    text = text.replace("listen 80;", f"listen 127.0.0.1:{free_port()};").replace("    listen [::]:80;\n", "")
    (directory / "todod.conf").write_text(text)
    (directory / "nginx.conf").write_text(NGINX.format(directory=directory, me=ME))
    code, said = run("nginx", "-p", directory, "-c", directory / "nginx.conf", "-t")
    assert code == 0 and "warn" not in said, said


# ---- logrotate

def test_logrotate(directory):
    group = run("id", "-gn")[1].strip()
    text = (CONF / "logrotate").read_text().replace("/var/log/todod", str(directory / "log")).replace("_todod _todod", f"{ME} {group}")
    (directory / "logrotate.conf").write_text(text)
    os.chmod(directory / "logrotate.conf", 0o644)
    (directory / "log").mkdir(mode=0o750)
    (directory / "log/access.log").write_text("one line\n")
    code, said = run("logrotate", "--force", "--state", directory / "state", directory / "logrotate.conf")
    assert code == 0, said
    assert (directory / "log/access.log.1").read_text() == "one line\n"
    assert (directory / "log/access.log").stat().st_mode & 0o777 == 0o640

import itertools
import shutil
import tempfile
from pathlib import Path

import pytest

from harness.daemon import BINARY, Todod
from harness.frame import conf
from harness.machine import Machine
from harness.mongo import Mongod, ReplicaSet, mongod_program, new_database_name
from harness.redis import Redis


@pytest.fixture(scope="session")
def scratch():
    """A directory for servers: not pytest's own, which keeps old runs."""
    path = Path(tempfile.mkdtemp(prefix="todod-test-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def mongod(scratch):
    return mongod_program()


@pytest.fixture(scope="session")
def _mongo_server(mongod, scratch):
    server = Mongod(mongod, scratch / "mongo")
    yield server
    server.close()


@pytest.fixture(scope="session")
def _replica_set_server(mongod, scratch):
    server = ReplicaSet(mongod, scratch / "replica-set")
    yield server
    server.close()


@pytest.fixture
def mongo(_mongo_server):
    """A standalone mongod, whole again after the test."""
    yield _mongo_server
    _mongo_server.make_whole()


@pytest.fixture
def replica_set(_replica_set_server):
    """Three members, healthy before and after the test."""
    yield _replica_set_server
    _replica_set_server.make_whole()


@pytest.fixture
def directory():
    """An empty directory with a short path: unix sockets allow 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="todod-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def todod(directory):
    """Starts daemons: todod(store=…, workers=…). Each is judged and ended when the test is over."""
    daemons, numbers = [], itertools.count()

    def start(**how):
        path = how.pop("directory", directory / f"todod{next(numbers)}")
        wait_store = how.pop("wait_store", how.get("wait", True))
        daemon = Todod(path, **how)
        daemons.append(daemon)
        if wait_store:
            daemon.wait_store()
        return daemon
    start.daemons = daemons
    assert BINARY.exists(), f"{BINARY} is not there: run make"
    yield start
    failures = []
    for daemon in daemons:
        try:
            daemon.finish()
        except AssertionError as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


@pytest.fixture
def configured(todod, directory):
    """A daemon that has everything from its file: configured("127.0.0.1:0", cache="off"). harness/frame.py writes others."""
    def start(*listen, deaths=False, program=BINARY, **keys):
        return todod(config=conf(directory, *(listen or ["127.0.0.1:0"]), **keys), listen=None, workers=None, store=None,
                     deaths=deaths, program=program)
    return start


@pytest.fixture
def redis_server(directory):
    """Starts Redis servers: redis_server("--maxmemory", 1)."""
    servers = []

    def start(*options):
        servers.append(Redis(directory / f"redis{len(servers)}", *options))
        return servers[-1]
    yield start
    for server in servers:
        server.close()


@pytest.fixture
def redis(redis_server):
    return redis_server()


@pytest.fixture
def proxy():
    """Starts proxies: proxy(RedisProxy, port)."""
    proxies = []

    def start(kind, target):
        proxies.append(kind(target))
        return proxies[-1]
    yield start
    for one in proxies:
        one.close()


@pytest.fixture
def machines(proxy, redis, mongo, todod):
    """machines("auto", "strict"): a daemon of each cache_mode; they share one MongoDB and one Redis, and each has its own
    ways to them."""
    database = new_database_name()

    def start(*modes, **options):
        started = [Machine(todod, proxy, redis.port, mongo.port, database, mode, **options) for mode in modes]
        for machine in started:
            machine.wait_ready()
        return started
    return start


@pytest.fixture(params=["sqlite", "mongodb"])
def store(request, directory):
    """The URI of an empty store, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:{directory}/todo.db"
    server = request.getfixturevalue("mongo")
    return server.uri(new_database_name())


@pytest.fixture(scope="session", params=["sqlite", "mongodb"])
def shared(request, scratch):
    """A daemon that many tests share, for each kind of store: for what does not ask for an empty list."""
    path = scratch / f"shared-{request.param}"
    uri = (f"sqlite:{path}/todo.db" if request.param == "sqlite"
           else request.getfixturevalue("_mongo_server").uri(new_database_name()))
    daemon = Todod(path, store=uri).wait_store()
    yield daemon
    daemon.finish()


@pytest.fixture(scope="session")
def web(scratch):
    """A daemon on SQLite that many tests share: for what concerns HTTP alone."""
    daemon = Todod(scratch / "web").wait_store()
    yield daemon
    daemon.finish()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the end of its daemons' logs."""
    report = (yield).get_result()
    if report.failed:
        for name in ("todod", "shared", "web"):
            if name not in item.funcargs:
                continue
            found = item.funcargs[name]
            for daemon in [found] if isinstance(found, Todod) else getattr(found, "daemons", []):
                if daemon.log_path.exists():
                    report.sections.append((f"log of {daemon.directory.name}", daemon.log[-6000:]))


_counts = []


@pytest.fixture
def counted(request):
    """counted("…"): a figure for the end of the run."""
    return lambda text: _counts.append(f"{request.node.name}: {text}")


def pytest_terminal_summary(terminalreporter):
    if _counts:
        terminalreporter.section("counts")
        for line in _counts:
            terminalreporter.write_line(line)

#!/usr/bin/python3
"""What todod does, beside what the parts under it do alone: one Markdown table of ratios.

    /usr/bin/python3 tests/bench/bench.py [--seconds 3] [--rounds 5] [--only NAME]…

Each row alternates todod and its baseline (A B A B …) on the same two cores, and takes the ratio of neighbours:
on a machine whose speed changes from minute to minute that is the only figure worth anything. Prints, and judges
nothing. Needs the Makefile's test packages, and build/todod ($BUILD/todod).

"Cached" rows ask for the first page while nobody writes. "Mixed" ones post as well, and count what the other
servers were asked meanwhile.
"""
import argparse
import contextlib
import json
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Callable, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.daemon import BINARY, ROOT, Todod, accepts, free_port  # noqa: E402
from harness.mongo import Mongod, mongod_program  # noqa: E402
from harness.redis import Redis  # noqa: E402
from harness.waiting import percentile, wait_until  # noqa: E402
from harness.wire import form, request_bytes  # noqa: E402

BENCH = ROOT / "tests/bench"
BUILT = BINARY.parent / "bench"
CORES = 2
CONNECTIONS = 100
LISTED = 10_000  # todos that there are before pages are read
FORM, FIRST_PAGE = "content=buy+milk+5", 10  # ten of these are a page of 1.5 KB
POST_PERCENT = 5  # of the mixed load
SYNC_BYTES, SYNCS = 4096, 100
WARM_UP_S = 1


class Leg(NamedTuple):
    """One measurement: successes a second, latency, what went wrong, and {what else: how much}."""
    rate: float
    p50_us: int
    p99_us: int
    errors: str
    beside: dict = {}


class Row(NamedTuple):
    """todod and its baseline: each a function of seconds that returns a Leg."""
    what: str
    against: str
    wanted: str
    todod: Callable[[int], Leg]
    baseline: Callable[[int], Leg]


# ---- programs ------------------------------------------------------------------------------------------

def build():
    """The baselines, with the Makefile's own flags."""
    show = "--eval=show: ; $(info $(CC) $(CFLAGS) $(LDFLAGS))$(info $(LDLIBS))@:"
    flags = subprocess.run(["make", "-s", show, "show"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    compile_, libraries = map(shlex.split, flags.strip().split("\n"))
    BUILT.mkdir(parents=True, exist_ok=True)
    for source in sorted(BENCH.glob("*.c")):
        subprocess.run([*compile_, "-o", BUILT / source.stem, source, *libraries], cwd=ROOT, check=True)


def output(command, seconds):
    """The last line of its output, which is JSON."""
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True, timeout=seconds + 30)
    return json.loads(done.stdout.splitlines()[-1])


def wrk(url, what, seconds, connections=CONNECTIONS):
    got = output(["wrk", f"-t{min(2, connections)}", f"-c{connections}", f"-d{seconds}s", "-s", BENCH / "load.lua", url, "--", what], seconds)
    errors = [f"{got[kind + '_errors']} {name}" for kind, name in (("status", "non-2xx"), ("socket", "socket"))
              if got[kind + "_errors"]]
    return Leg(got["rate"], got["p50_us"], got["p99_us"], ", ".join(errors) or "0")


def baseline(program, *arguments, seconds):
    got = output([BUILT / program, *arguments, seconds], seconds)
    if not got["rate"]:
        raise SystemExit(f"{program}: nothing succeeded, {got['errors']} errors")
    return Leg(got["rate"], got["p50_us"], got["p99_us"], str(got["errors"]))


def mixed(url, seconds, asked=dict):
    """`asked`: how often the servers behind it were asked so far, by what they were asked for."""
    before = asked()
    got = output([BUILT / "mixed_load", url.rsplit(":", 1)[1], CONNECTIONS, POST_PERCENT, FORM, seconds], seconds)
    beside = {f"{what} /s": (count - before[what]) / seconds for what, count in asked().items()}
    beside["POST p99 ms"] = got["post_p99_us"] / 1000
    return Leg(got["rate"], got["p50_us"], got["p99_us"], str(got["errors"]), beside)


@contextlib.contextmanager
def running(*command):
    """A process, in a session of its own as todod is: the kernel divides cores between those (sched(7), autogroup)."""
    process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *map(str, command)], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def bare_loop(answer, directory):
    """Its URL, while it runs."""
    path = directory / "answer"
    path.write_bytes(answer)
    with running(BUILT / "bare_loop", CORES, path) as process:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"


# How it sends: as Debian sets it up, and what is quickest for one short file.
NGINX_STOCK = "sendfile on; tcp_nopush on;"
NGINX_QUICKEST = "sendfile off; open_file_cache max=16;"
NGINX = """
user {user};
worker_processes {processes};
daemon off;
pid {directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    tcp_nodelay on;
    {how}
    keepalive_requests 1000000000;
    default_type application/json;
    client_body_temp_path {directory}/temp;
    proxy_temp_path {directory}/temp;
    fastcgi_temp_path {directory}/temp;
    uwsgi_temp_path {directory}/temp;
    scgi_temp_path {directory}/temp;
    server {{ listen 127.0.0.1:{port}; root {directory}; }}
}}
"""


@contextlib.contextmanager
def nginx(how, name, body, directory):
    """Its URL, while it serves the body as a file of that name."""
    directory.mkdir()
    (directory / name).write_bytes(body)
    port, configuration = free_port(), directory / "nginx.conf"
    configuration.write_text(NGINX.format(user=pwd.getpwuid(os.getuid()).pw_name, processes=CORES, how=how,
                                          directory=directory, port=port))
    with running("nginx", "-p", directory, "-c", configuration):
        wait_until(lambda: accepts(("127.0.0.1", port)), "nginx")
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def todod(directory, **options):
    daemon = Todod(directory, **options)
    try:
        daemon.wait_store()
        yield daemon
        daemon.stop()
    finally:
        daemon.kill_all()


def answer_bytes(daemon, target):
    """The bytes of an answer, as they come."""
    with socket.create_connection(daemon.address, timeout=10) as connection:
        connection.sendall(request_bytes("GET", target))
        got = b""
        while b"\r\n\r\n" not in got:
            got += connection.recv(65536)
        head, body = got.split(b"\r\n\r\n", 1)
        length = int(re.search(rb"\r\ncontent-length: *(\d+)", head, re.I)[1])
        while len(body) < length:
            body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def fill(daemon):
    """Until the list is as long as it has to be."""
    end = time.monotonic() + 120
    while len(daemon.request("GET", f"/todo?start={LISTED - 10}").data) < 10:
        if time.monotonic() > end:
            raise SystemExit(f"no {LISTED} todos within two minutes:\n{daemon.log[-3000:]}")
        wrk(daemon.url + "/todo", "post", 1)


def sync_us(directory):
    """How long write and fdatasync of a block take here, a few times."""
    block, samples = os.urandom(SYNC_BYTES), []
    descriptor = os.open(directory / "sync", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.write(descriptor, block)
            os.fdatasync(descriptor)
            samples.append((time.perf_counter() - began) * 1e6)
    finally:
        os.close(descriptor)
    return samples


# ---- rows ----------------------------------------------------------------------------------------------
# Each is a context: servers run while its rows are measured.

@contextlib.contextmanager
def mongodb(directory, names):
    directory.mkdir()
    server = Mongod(mongod_program(), directory / "mongod")
    concern = "w=majority&journal=true"
    try:
        with (todod(directory / "todod", store=server.uri("todo", concern), workers=None) as daemon,
              todod(directory / "cores", store=server.uri("cores", concern), workers=CORES) as cores):
            if names & {"page-mongodb", "pages-mongodb"}:
                fill(daemon)
            url = daemon.url + "/todo"

            def page(seconds):
                return baseline("mongo_baseline", "page", server.uri("todo", concern), 10, seconds=seconds)

            many = "libmongoc `insert_many`, 5 threads × 20 rows"

            def inserts(seconds):
                return baseline("mongo_baseline", "insert", server.uri("baseline", concern), 5, seconds=seconds)

            yield {
                "page-mongodb": Row(
                    "`GET /todo?start=10` on MongoDB", "libmongoc, 10 threads, newest page of 10", "≥ 1.0",
                    lambda seconds: wrk(url + "?start=10", "get", seconds), page),
                "pages-mongodb": Row(
                    "`GET /todo?start=N`, N random in 1–1,000", "the same", "≥ 0.7",
                    lambda seconds: wrk(url, "random", seconds), page),
                "post-mongodb": Row(
                    "POST on MongoDB, journaled", many, "≥ 0.4, p99 < 30 ms",
                    lambda seconds: wrk(url, "post", seconds),
                    inserts),
                "post-mongodb-cores": Row(
                    "POST on MongoDB, journaled; `workers` = cores", many, "≥ 0.4, p99 < 30 ms",
                    lambda seconds: wrk(cores.url + "/todo", "post", seconds), inserts),
                **{f"post-mongodb-{n}": Row(
                    f"POST on MongoDB, {n:,} connection{'s' * (n > 1)}", many, "–",
                    lambda seconds, n=n: wrk(url, "post", seconds, n), inserts) for n in (1, 1000)},
            }
    finally:
        server.close()


@contextlib.contextmanager
def sqlite(directory, names):
    with todod(directory, workers=None) as daemon:
        url = daemon.url + "/todo"

        def rows(seconds):
            return baseline("sqlite_baseline", directory / "baseline.db", 5, 16, seconds=seconds)
        sixteen = "16 rows a transaction, 5 processes, same lock"
        scene = {"post-sqlite": Row("POST on SQLite, FULL", sixteen, "≥ 0.4, p99 < 30 ms", lambda seconds: wrk(url, "post", seconds), rows)}
        for n in 1, 1000:
            scene[f"post-sqlite-{n}"] = Row(f"POST on SQLite, {n:,} connection{'s' * (n > 1)}", sixteen, "–",
                                            lambda seconds, n=n: wrk(url, "post", seconds, n), rows)
        if "page-sqlite" in names:
            fill(daemon)
            answer = answer_bytes(daemon, f"/todo?start={LISTED // 2}")
            with bare_loop(answer, directory) as bare:
                scene["page-sqlite"] = Row(
                    f"`GET /todo?start={LISTED // 2}` on SQLite", f"a bare epoll loop of {CORES} processes, same bytes", "–",
                    lambda seconds: wrk(f"{url}?start={LISTED // 2}", "get", seconds),
                    lambda seconds: wrk(bare + "/todo", "get", seconds))
                yield scene
        else:
            yield scene


@contextlib.contextmanager
def healthz(directory, _):
    with todod(directory, workers=CORES) as daemon, bare_loop(answer_bytes(daemon, "/healthz"), directory) as bare:
        yield {"healthz": Row(
            "`GET /healthz`, `workers` = cores", "a bare epoll loop of as many processes, same bytes", "≥ 0.90",
            lambda seconds: wrk(daemon.url + "/healthz", "get", seconds),
            lambda seconds: wrk(bare + "/healthz", "get", seconds))}


def first_page(daemon):
    """What GET /todo answers once there are ten todos, which nothing changes after."""
    for _ in range(FIRST_PAGE):
        daemon.request("POST", "/todo", **form(FORM.encode()))
    return wait_until(lambda: b"; hit" in (answer := answer_bytes(daemon, "/todo")) and answer, "a hit")


@contextlib.contextmanager
def cached(directory, _):
    with contextlib.ExitStack() as stack:
        cores = stack.enter_context(todod(directory / "cores", workers=CORES, cache="local"))
        default = stack.enter_context(todod(directory / "default", workers=None, cache="local"))
        answer = first_page(cores)
        first_page(default)
        body = answer.split(b"\r\n\r\n", 1)[1]
        bare = stack.enter_context(bare_loop(answer, directory))
        stock = stack.enter_context(nginx(NGINX_STOCK, "todo", body, directory / "stock"))
        quickest = stack.enter_context(nginx(NGINX_QUICKEST, "todo", body, directory / "quickest"))

        def get(url, what="get", connections=CONNECTIONS):
            return lambda seconds: wrk(url + "/todo", what, seconds, connections)

        what = f"`GET /todo`, cached, {len(body):,} bytes"
        bare_cores = "a bare epoll loop of as many processes, same bytes"
        bare_default = f"a bare epoll loop of {CORES} processes, same bytes"
        yield {
            "cached": Row(f"{what}; `workers` = cores", bare_cores,
                          "≥ 0.95", get(cores.url), get(bare)),
            "cached-1": Row(f"{what}; `workers` = cores, 1 connection", bare_cores, "–", get(cores.url, connections=1),
                            get(bare, connections=1)),
            "cached-1000": Row(f"{what}; `workers` = cores, 1,000 connections", bare_cores, "≥ 0.75, p99 < 40 ms, no error",
                               get(cores.url, connections=1000), get(bare, connections=1000)),
            "pipelined": Row(f"{what}; `workers` = cores, 16 requests at a time", "todod, one request at a time", "≥ 5",
                             get(cores.url, "pipeline"), get(cores.url)),
            "cached-default": Row(f"{what}; default `workers`", bare_default,
                                  "≥ 0.82", get(default.url), get(bare)),
            "cached-default-1000": Row(f"{what}; default `workers`, 1,000 connections", bare_default, "≥ 0.75, p99 < 40 ms, no error",
                                       get(default.url, connections=1000), get(bare, connections=1000)),
            "cached-nginx": Row(f"{what}; `workers` = cores", f"nginx, {CORES} workers, same body, a file: {NGINX_STOCK}",
                                "≥ 1.25", get(cores.url), get(stock)),
            "cached-nginx-tuned": Row(f"{what}; `workers` = cores", f"the same: {NGINX_QUICKEST}", "–",
                                      get(cores.url), get(quickest)),
        }


def mixed_row(daemon, bare, where, wanted, asked=dict):
    return Row(f"{100 - POST_PERCENT} % `GET /todo` (whose latency it is), {POST_PERCENT} % POST, on {where}",
               f"the same mix on a bare epoll loop of {CORES} processes, always the bytes of the GET", wanted,
               lambda seconds: mixed(daemon.url, seconds, asked), lambda seconds: mixed(bare, seconds))


@contextlib.contextmanager
def mixed_redis(directory, _):
    with contextlib.ExitStack() as stack:
        server = Mongod(mongod_program(), directory / "mongod")
        stack.callback(server.close)
        cache = Redis(directory / "redis")
        stack.callback(cache.close)
        admin = stack.enter_context(server.client()).admin

        def start(name, workers):
            """Each has a database of its own, and so is no second machine to the other."""
            daemon = stack.enter_context(todod(directory / name, store=server.uri(name, "w=majority&journal=true"),
                                               cache=f"redis://127.0.0.1:{cache.port}", workers=workers))
            wait_until(lambda: daemon.request("GET", "/readyz").json["cache"] == "ok", "Redis in use")
            return daemon
        daemons = {name: start(name, workers) for name, workers in (("cores", CORES), ("default", None))}
        answer = [first_page(daemon) for daemon in daemons.values()][0]
        bare = stack.enter_context(bare_loop(answer, directory))

        def asked(name):
            """The scripts are all that todod waits for, but for its PINGs."""
            scripts = cache("INFO", "commandstats").decode()
            return {"page queries": admin.command("top")["totals"][f"{name}.todos"]["queries"]["count"],
                    "Redis round trips": int(re.search(r"cmdstat_evalsha:calls=(\d+)", scripts)[1])}

        def row(name, where, wanted):
            return mixed_row(daemons[name], bare, f"MongoDB and Redis; {where}", wanted, lambda: asked(name))
        yield {"mixed-redis": row("cores", "`workers` = cores", "≥ 0.3, p99 < 25 ms"),
               "mixed-redis-default": row("default", "default `workers`", "–, p99 < 25 ms")}


@contextlib.contextmanager
def mixed_local(directory, _):
    with todod(directory, workers=None, cache="local") as daemon, bare_loop(first_page(daemon), directory) as bare:
        yield {"mixed-local": mixed_row(daemon, bare, "SQLite, `cache = local`", "–")}


# In the order of measuring, pages before posts: the list is not to grow meanwhile.
SCENES = [(mongodb, ["page-mongodb", "pages-mongodb", "post-mongodb", "post-mongodb-cores", "post-mongodb-1", "post-mongodb-1000"]),
          (sqlite, ["page-sqlite", "post-sqlite", "post-sqlite-1", "post-sqlite-1000"]), (healthz, ["healthz"]),
          (cached, ["cached", "cached-1", "cached-1000", "pipelined", "cached-default", "cached-default-1000",
                    "cached-nginx", "cached-nginx-tuned"]),
          (mixed_redis, ["mixed-redis", "mixed-redis-default"]), (mixed_local, ["mixed-local"])]
NAMES = [name for _, names in SCENES for name in names]


def measure(row, directory, options):
    """A line of the table."""
    syncs, pairs = [], []
    for leg in (row.todod, row.baseline):
        leg(WARM_UP_S)
    for number in range(options.rounds):
        syncs += sync_us(directory)
        pair = row.todod(options.seconds), row.baseline(options.seconds)
        pairs.append(pair)
        print(f"  {row.what}, round {number + 1}: {pair[0].rate:,.0f} against {pair[1].rate:,.0f} a second"
              f" = {pair[0].rate / pair[1].rate:.2f}", file=sys.stderr)
    ratios = [a.rate / b.rate for a, b in pairs]
    cells = [row.what, row.against, row.wanted, f"**{statistics.median(ratios):.2f}**",
             f"{min(ratios):.2f}–{max(ratios):.2f}"]
    for legs in zip(*pairs):
        errors = [leg.errors for leg in legs if leg.errors != "0"]
        cells += [f"{statistics.median(leg.rate for leg in legs):,.0f}",
                  " / ".join(f"{statistics.median(leg[i] for leg in legs) / 1000:.2f}" for i in (1, 2)),
                  "; ".join(errors) or "0"]
    beside = [f"{what}: {statistics.median(leg.beside[what] for leg, _ in pairs):,.1f}" for what in pairs[0][0].beside]
    return cells + ["; ".join(beside) or "–", f"{percentile(syncs, 50) / 1000:.2f}"]


HEAD = ["what", "against, measured in the same run", "wanted", "ratio", "spread",
        "todod /s", "p50 / p99 ms", "errors", "baseline /s", "p50 / p99 ms", "errors", "todod besides",
        "fdatasync p50 ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=int, default=3, help="of each leg (default: 3)")
    parser.add_argument("--rounds", type=int, default=5, help="todod and baseline in turn, so many times (default: 5)")
    parser.add_argument("--only", action="append", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    options = parser.parse_args()
    wanted = set(options.only or NAMES)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    os.sched_setaffinity(0, cores)  # what is started from here inherits it
    if not BINARY.exists():
        raise SystemExit(f"{BINARY} is not there: run make")
    build()
    lines = []
    directory = Path(tempfile.mkdtemp(prefix="run-", dir=BUILT))
    try:
        for scene, names in SCENES:
            if not wanted & set(names):
                continue
            with scene(directory / scene.__name__, wanted) as rows:
                lines += [measure(row, directory, options) for name, row in rows.items() if name in wanted]
    finally:
        shutil.rmtree(directory, ignore_errors=True)

    print("| " + " | ".join(HEAD) + " |")
    print("|" + " --- |" * len(HEAD))
    for cells in lines:
        print("| " + " | ".join(cells) + " |")
    print(f"\n{CONNECTIONS} connections; {options.rounds} rounds of {options.seconds} s; client and servers on"
          f" {len(cores)} cores; median of the rounds. Rates count rows, pages or requests; the latency of a baseline is"
          " that of a batch, a page, a transaction or a request. fdatasync: after a write of"
          f" {SYNC_BYTES} bytes, in the directory of the stores.")


if __name__ == "__main__":
    main()

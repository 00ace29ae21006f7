"""
The first page through the faults of everything that it passes: races, Redis, the keeper, the workers, the store. Daemons
that share a MongoDB and a Redis are machines of one cluster; each has proxies of its own to both.
"""
import collections
import contextlib
import http.server
import os
import random
import re
import select
import signal
import subprocess
import threading
import time
import uuid

import pytest

from harness.daemon import established_tcp, socket_inodes
from harness.history import History
from harness.load import POST
from harness.machine import HIT, cache_state, contents, wait_cache
from harness.mongo import new_database_name
from harness.proxy import REPLY, REQUEST, Proxy, RedisProxy
from harness.redis import PAGE_HEAD, RedisError
from harness.staleness import describe, find_violations
from harness.waiting import SLOW, SOAK_SECONDS, Stopwatch, wait_until
from harness.wire import request_bytes

ASK = request_bytes("GET", "/todo")
INTENT_S, GRACE_S, LINK_LEASE_S = 5.0, 2.0, 0.05
IS_LONG = SOAK_SECONDS >= 60


def ask_all(connections):
    for connection in connections:
        connection.send(ASK)
    return [connection.read() for connection in connections]


def page_queries(*machines):
    return sum(machine.mongo.counts["page"] for machine in machines)


def warm_up(*machines):
    for machine in machines:
        machine.warm()


def seconds_until_shown(machine, todo, timeout_s=15):
    watch = Stopwatch()
    wait_until(lambda: machine.shows(todo), f"{todo['content']} is shown", timeout_s, poll_s=0.002)
    return watch.seconds


def check_all_show(todo, *machines):
    for machine in machines:
        assert machine.shows(todo), f"{machine.daemon.directory.name} does not show {todo}\n{machine.daemon.log[-2000:]}"


@contextlib.contextmanager
def many_connections(count, *machines):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(machine.connect()) for _ in range(count // len(machines)) for machine in machines]


# ---- stampedes -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_500_readers_of_a_page_that_is_gone_cost_one_query(machines, redis, mode):
    one, other = machines(mode, mode)
    for machine in (one, other):
        machine.mongo.delay("page", REPLY, 0.3)

    def stampede():
        """(queries, the most at a time on a machine, what was shown)"""
        for machine in (one, other):
            machine.mongo.reset_counts()
        answers = ask_all(connections)
        assert {answer.status for answer in answers} == {200}
        most = max(machine.mongo.most_in_flight["page"] for machine in (one, other))
        return page_queries(one, other), most, {tuple(contents(answer)) for answer in answers}

    def stampedes():
        """After writes and deletions on each, after an eviction, after the page's life."""
        for machine in (one, other):
            todo = machine.post("new")
            yield stampede()
            one.daemon.request("DELETE", f"/todo/{todo['id']}")
            yield stampede()
        redis("DEL", redis.key("pg") or "gone", redis.key("fr") or "gone")
        yield stampede()
        redis("PEXPIRE", redis.key("pg") or "gone", 1)
        time.sleep(0.01)
        yield stampede()

    lost = mode == "strict"
    expected = [(1, 1, {("new",)}), (1, 1, {()})] * 2 + [(lost, lost, {()})] * 2
    with many_connections(500, one, other) as connections:
        rounds = [list(stampedes())]
        # On a loaded machine a Redis that is late is not asked, and each machine asks the store; where a keeper is, each worker does.
        while not all(one_of_them in seen for one_of_them, seen in zip(expected, zip(*rounds))):
            assert len(rounds) < 5, rounds
            rounds.append(list(stampedes()))


def test_readers_elsewhere_do_not_wait_for_the_lease_of_a_dead_keeper(machines):
    one, other = machines("auto", "auto", deaths=True)
    for _ in range(10):
        todo = one.post("todo")
        for machine in (one, other):
            machine.mongo.reset_counts()
            machine.redis.reset_counts()
        with one.mongo.hold("page", REPLY) as held, one.connect() as here, other.connect() as there:
            here.send(ASK)
            held.wait_caught()
            there.send(ASK)
            wait_until(lambda: other.redis.counts["acquire"] >= 2 or page_queries(other), "the other one waits for the lease")
            if page_queries(other):  # a Redis that is late on a loaded machine is not asked: once more
                continue
            os.kill(one.daemon.keeper_pid(), signal.SIGKILL)
            watch = Stopwatch()
            assert there.read().data[0] == todo
            assert watch.seconds < 2 * SLOW
            held.release()
            assert here.read().data[0] == todo
        assert page_queries(other) == 1
        return
    raise AssertionError("the other one never waits for the lease")


# ---- races between a reader and a writer ---------------------------------------------------------------

@pytest.mark.parametrize("what, side", [("page", REPLY), ("fill", REQUEST)], ids=["read late", "stored late"])
def test_a_page_read_before_a_write_is_never_stored_after_it(machines, redis, what, side):
    slow, other, strict = machines("auto", "auto", "strict")
    first = other.post("first")
    held = (slow.mongo if what == "page" else slow.redis).hold(what, side, times=1)
    with held, slow.connect() as connection:
        connection.send(ASK)  # of this machine alone, so that it has the lease

        def caught():
            """Asks once more where there was no lease: a Redis that is late on a loaded machine is not asked, and nothing is stored."""
            if what == "fill" and not held.caught and select.select([connection.sock], [], [], 0.5)[0] and not held.caught:
                assert contents(connection.read())[-1] == first["content"]
                other.post("once more")
                connection.send(ASK)
            return held.caught
        wait_until(caught, f"a {what} is held")
        todo = other.post("second")
        check_all_show(todo, other, strict)
        held.release()
        assert contents(connection.read())[-1] == first["content"]
    for _ in range(50):
        check_all_show(todo, slow, other, strict)
    wait_until(lambda: (strict.get(), "second" in (redis.page() or ""))[1], lambda: f"the page in Redis is the new one: {redis.page()}")


def test_machines_of_different_modes_see_each_others_writes(machines):
    """Who asks Redis for every page has to wait, too, for those who vouch for theirs."""
    auto, strict = both = machines("auto", "strict")
    for number in range(30):
        warm_up(*both)
        check_all_show(both[number % 2].post(f"todo {number}"), *both)


def test_a_writer_waits_until_nobody_elsewhere_vouches_for_an_older_page(machines):
    one, other = both = machines("auto", "auto")
    warm_up(*both)

    def seconds_to_post(content):
        watch = Stopwatch()
        one.post(content)
        return watch.seconds
    assert min(seconds_to_post(f"todo {number}") for number in range(5)) >= LINK_LEASE_S

    def seconds_to_be_answered(content):
        """Once it is in MongoDB, whose disk may take longer than what is measured."""
        connection, held = post_held(one, content)
        with held, connection:
            watch = Stopwatch()
            held.release()
            assert connection.read().status == 200
            return watch.seconds
    other.daemon.stop()  # and says so, or is forgotten after ten seconds
    wait_until(lambda: seconds_to_be_answered("alone") < LINK_LEASE_S, "a writer alone does not wait", 20 * SLOW)


# ---- writers that die ----------------------------------------------------------------------------------

def post_held(machine, content):
    """A post that is in the store, unanswered: (connection, hold)."""
    held = machine.mongo.hold("insert", REPLY)
    connection = machine.connect()
    connection.send(request_bytes("POST", "/todo", {"content": content}))
    held.wait_caught()
    return connection, held


def test_a_worker_killed_between_commit_and_invalidation_leaves_no_old_page(machines):
    one, auto, strict = machines("auto", "auto", "strict", deaths=True)
    warm_up(one, auto, strict)
    connection, held = post_held(one, "unanswered")
    with held, connection:
        assert one.contents() == ["unanswered"], "on its own machine who reads before it is answered may see it"
        os.kill(one.daemon.owner(connection), signal.SIGKILL)
        killed = time.monotonic()
        for machine in (one, auto, strict):
            wait_until(lambda: machine.contents() == ["unanswered"], "the other machines see it", 5, poll_s=0.002)
        assert time.monotonic() - killed < 3, "not only when the intent ends"


@pytest.mark.parametrize("mode, fresh_s, at_most_s", [("strict", 3600, INTENT_S), ("auto", 1, 1 + GRACE_S)],
                         ids=["strict", "auto"])
def test_a_machine_killed_between_commit_and_invalidation_leaves_an_old_page_for_a_bounded_time(
        machines, mode, fresh_s, at_most_s):
    """As long as the intent lets the page in Redis live, or until that is read anew."""
    one, other = machines(mode, mode, deaths=True, cache_fresh_s=fresh_s)
    warm_up(one, other)
    connection, held = post_held(one, "unanswered")
    with held, connection:
        one.daemon.kill_all()
        watch = Stopwatch()
        wait_until(lambda: other.contents() == ["unanswered"], "the other machine sees it", 10)
        assert watch.seconds < at_most_s + 2 * SLOW
    check_all_show(other.post("answered"), other)


def test_an_invalidation_that_is_lost_on_its_way_is_made_up_for(machines):
    """The answer of the writer does not wait for ever, and what its machine owes is paid on the next connection."""
    one, auto, strict = machines("auto", "auto", "strict")
    warm_up(one, auto, strict)
    with one.redis.hold("invalidate", REQUEST):
        watch = Stopwatch()
        todo = one.post("late")
        assert watch.seconds < 1.5 * SLOW
        check_all_show(todo, one)
        for machine in (auto, strict):
            assert seconds_until_shown(machine, todo) < 1.5 * SLOW


# ---- Redis comes and goes ------------------------------------------------------------------------------

def test_a_redis_that_comes_back_with_an_old_state_is_not_believed(machines, redis):
    one, auto, strict = machines("auto", "auto", "strict")
    for is_stored_again in (False, True):
        warm_up(one, auto, strict)
        old = redis.save()
        todo = one.post(f"stored again: {is_stored_again}")
        if is_stored_again:
            warm_up(one, auto, strict)
        redis.kill9()
        redis.restart(old, wait=False)
        watch = Stopwatch()
        while watch.seconds < 0.7:
            check_all_show(todo, one, auto, strict)
        for machine in (one, auto, strict):
            wait_cache(machine.daemon, "ok")
        check_all_show(todo, one, auto, strict)


def test_a_replica_that_lagged_behind_and_is_promoted_is_not_believed(machines, redis, redis_server, proxy):
    way = proxy(Proxy, redis.port)
    replica = redis_server("--replicaof", f"127.0.0.1 {way.port}")
    one, auto, strict = machines("auto", "auto", "strict")
    warm_up(one, auto, strict)
    wait_until(lambda: (strict.get(), replica.page())[1] is not None, "the replica has the page", 10)
    way.stall()
    todo = one.post("the replica does not hear of it")
    redis.kill9()
    assert "hear" not in replica.page()
    replica("REPLICAOF", "NO", "ONE")
    for machine in (one, auto, strict):
        machine.redis.switch(replica.port)
    watch = Stopwatch()
    while watch.seconds < 0.7:
        check_all_show(todo, one, auto, strict)
    for machine in (one, auto, strict):
        wait_cache(machine.daemon, "ok")
        machine.warm()
    check_all_show(todo, one, auto, strict)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_a_redis_that_hangs_under_200_clients_slows_nobody_down(machines, redis, counted, mode):
    hangs_s = 10 if IS_LONG else 4
    both = machines(mode, mode)
    with History(both, connections=200, mix={"first page": 95, POST: 5}, pause_s=0.1 * SLOW, processes=1) as history:
        time.sleep(0.7)
        for machine in both:
            machine.mongo.reset_counts()
        redis.pause()
        time.sleep(hangs_s)
        most = [machine.mongo.most_in_flight["page"] for machine in both]
        states = [cache_state(machine.daemon) for machine in both]
        redis.resume()
        time.sleep(1.2)
    counted(history.summary())
    assert {status for _, status in history.statuses()} == {200}
    assert history.slowest_s() < 2
    assert max(most) <= 3, "one page query at a time per machine, and one of each worker where the keeper is late"
    assert states == ["away", "away"]
    violations = find_violations(history.operations, reads_bind=False)
    assert not violations, describe(violations)
    for machine in both:
        wait_cache(machine.daemon, "ok")
    warm_up(*both)


def break_saving(redis):
    """MISCONF: it cannot save, and so takes no writes."""
    gone = redis.directory / "gone"
    gone.mkdir()
    redis.configure(dir=gone, save="3600 1000000")
    gone.rmdir()
    redis("BGSAVE")
    wait_until(lambda: b"rdb_last_bgsave_status:err" in redis("INFO", "persistence"), "a failed BGSAVE")


REFUSALS = {
    "MISCONF": (break_saving, lambda redis: redis.configure(save="")),
    "NOREPLICAS": (lambda redis: redis.configure(min_replicas_to_write=1),
                   lambda redis: redis.configure(min_replicas_to_write=0)),
    "READONLY": (lambda redis: redis("REPLICAOF", "127.0.0.1", "1"), lambda redis: redis("REPLICAOF", "NO", "ONE")),
}


def test_a_redis_that_refuses_writes_lets_other_machines_lag_a_moment_at_most(machines, redis, counted):
    one, auto, strict = machines("auto", "auto", "strict")
    for name, (refuse, mend) in REFUSALS.items():
        warm_up(one, auto, strict)
        refuse(redis)
        todo = one.post(name)
        check_all_show(todo, one)
        lags = [seconds_until_shown(machine, todo) for machine in (auto, strict)]
        counted(f"{name}: shown after {lags[0]:.3f} s (auto), {lags[1]:.3f} s (strict)")
        assert max(lags) < 2 * SLOW, name
        check_all_show(auto.post(f"{name} again"), auto)
        mend(redis)
        for machine in (one, auto, strict):
            wait_cache(machine.daemon, "ok")
        check_all_show(one.post(f"{name} is over"), one, auto, strict)


def test_a_full_redis_costs_hits_and_nothing_else(machines, redis):
    one, auto, strict = machines("auto", "auto", "strict")
    warm_up(one, auto, strict)
    redis.configure(maxmemory=1)
    for number in range(10):
        check_all_show(one.post(f"todo {number}"), one, auto, strict)
    assert redis.page() is None
    for machine in (one, auto, strict):
        wait_until(lambda: machine.daemon.lines(r" warn .*Redis"), "it says so", 5)
    redis.configure(maxmemory=0)
    wait_until(lambda: (strict.get(), redis.page())[1], "the page is stored again", 5 * SLOW)
    for machine in (one, auto, strict):
        wait_cache(machine.daemon, "ok")
    warm_up(one, auto, strict)


@pytest.mark.parametrize("arrives", [False, True], ids=["what was sent is lost", "what was sent arrives late"])
def test_a_machine_cut_off_from_redis_is_right_itself_and_lags_elsewhere_for_a_bounded_time(machines, counted, arrives):
    one, auto, strict = machines("auto", "auto", "strict", cache_fresh_s=1)
    warm_up(one, auto, strict)
    one.redis.stall()
    todo = one.post("cut off")
    check_all_show(todo, one)
    lags = [seconds_until_shown(machine, todo) for machine in (strict, auto)]
    counted(f"shown after {lags[0]:.3f} s (strict), {lags[1]:.3f} s (auto)")
    assert max(lags) < 1 + GRACE_S + 1.5 * SLOW
    elsewhere = auto.post("meanwhile elsewhere")
    check_all_show(elsewhere, auto, strict, one)
    wait_cache(one.daemon, "away")
    last = one.post("the last one cut off")
    if arrives:
        one.redis.flow()
    else:
        one.redis.lose_and_flow()
    wait_cache(one.daemon, "ok")
    check_all_show(last, one, auto, strict)
    check_all_show(auto.post("healed"), one, auto, strict)
    check_all_show(one.post("healed, too"), one, auto, strict)


# ---- the hit itself ------------------------------------------------------------------------------------

def calls(trace, pid):
    """{system call: how often} of one thread."""
    counted = collections.Counter()
    for line in trace.read_text().splitlines():
        if match := re.match(rf"{pid} +(?:<\.\.\. )?(\w+)(\(| resumed>)", line):
            counted[match.group(1)] += match.group(2) == "("
    return counted


@pytest.mark.parametrize("cache", ["local", "redis"])
def test_a_hit_costs_one_recv_and_one_send(todod, machines, directory, counted, cache):
    """10,000 of them, on 100 connections; the other calls are those of the loop."""
    if cache == "redis":
        daemon = machines("auto", workers=1, worker_timeout_s=60)[0].daemon
    else:
        daemon = todod(workers=1, worker_timeout_s=60)
    pid, = daemon.wait_workers(1)
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(daemon.connect()) for _ in range(100)]
        wait_until(lambda: ask_all(connections)[-1].field("Cache-Status") == HIT, "hits")
        trace = directory / "trace"
        for _ in range(3):  # with Redis some are none where the machine is busy and a PONG late
            with attached_strace(pid, trace) as strace:
                hits = sum(answer.field("Cache-Status") == HIT for _ in range(100) for answer in ask_all(connections))
                strace.send_signal(signal.SIGINT)
                strace.wait(20)
            if hits >= 9000:
                break
    names = calls(trace, pid)
    received = names.pop("recvfrom", 0) + names.pop("recvmsg", 0) + names.pop("recv", 0)
    sent = names.pop("sendto", 0) + names.pop("sendmsg", 0) + names.pop("send", 0) + names.pop("writev", 0)
    others = sum(names.values())
    counted(f"{hits} hits of 10000: {received} recv, {sent} send, {others} others ({dict(names)})")
    assert hits >= 9000
    assert 10000 <= received <= 10100 and 10000 <= sent <= 10100
    assert others <= 0.2 * 10000


@contextlib.contextmanager
def attached_strace(pid, trace):
    process = subprocess.Popen(["strace", "-f", "-p", str(pid), "-o", trace], stderr=subprocess.PIPE, text=True)
    try:
        assert "attached" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_only_the_keeper_talks_to_redis(machines):
    one, = machines("auto")
    one.post("todo")
    warm_up(one)
    established = established_tcp()

    def talks(pid):
        return any(established.get(inode, (0, 0))[1] == one.redis.port for inode in socket_inodes(pid))
    assert [pid for pid in [one.daemon.master, *one.daemon.children()] if talks(pid)] == [one.daemon.keeper_pid()]


# ---- the keeper ----------------------------------------------------------------------------------------

def hinder(daemon, number):
    """SIGKILL or SIGSTOP to the keeper; asks and posts on one connection until its successor is there. The slowest
    answer, and how long that took."""
    keeper = daemon.keeper_pid()
    watch, slowest = Stopwatch(), 0.0
    os.kill(keeper, number)
    with daemon.connect() as connection:
        for count in range(1, 10000):
            each = Stopwatch()
            todo = connection.request("POST", "/todo", {"content": f"{keeper} {count}"})
            assert todo.status == 200, todo
            page = connection.request("GET", "/todo")
            assert page.status == 200 and page.data[0] == todo.json, page
            slowest = max(slowest, each.seconds)
            successor = daemon.keeper_pid()
            if successor not in (None, keeper) and daemon.request("GET", "/todo").field("Cache-Status") == HIT:
                return slowest, watch.seconds
            assert watch.seconds < 15 * SLOW, f"no other keeper than {keeper}:\n{daemon.log}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("cache", ["local", "redis"])
def test_without_a_keeper_answers_stay_right_and_fast_until_it_is_replaced(todod, machines, counted, cache, number):
    daemon = machines("auto", deaths=True)[0].daemon if cache == "redis" else todod(deaths=True, workers=2)
    wait_until(lambda: daemon.request("GET", "/todo").field("Cache-Status") == HIT, "a hit")
    slowest, replaced = hinder(daemon, number)
    counted(f"replaced after {replaced:.2f} s, slowest post and read {slowest:.3f} s")
    assert slowest < (2 if number == signal.SIGKILL else 3) * SLOW and replaced < 5 * SLOW


def test_other_machines_stay_right_while_a_keeper_is_gone(machines):
    one, auto, strict = machines("auto", "auto", "strict", deaths=True)
    for number in (signal.SIGKILL, signal.SIGSTOP):
        warm_up(one, auto, strict)
        keeper = one.daemon.keeper_pid()
        os.kill(keeper, number)
        todo = one.post(f"signal {number}")
        check_all_show(todo, one)
        if one.daemon.lines("acknowledged without Redis"):  # as where a loaded machine takes more than two seconds to replace it
            seconds_until_shown(auto, todo), seconds_until_shown(strict, todo)
        check_all_show(todo, auto, strict)
        check_all_show(auto.post(f"after signal {number}"), one, auto, strict)
        one.daemon.wait_keeper(other_than=keeper)
        wait_cache(one.daemon, "ok")


def test_a_subscription_that_is_cut_again_and_again_costs_hits_and_nothing_else(machines, redis, counted):
    both = machines("auto", "auto")
    with History(both, connections=16, pause_s=0.002 * SLOW) as history:
        watch = Stopwatch()
        while watch.seconds < 2:
            redis("CLIENT", "KILL", "TYPE", "pubsub")
            time.sleep(random.uniform(0, 0.08))
    counted(history.summary())
    violations = find_violations(history.operations, reads_bind=False)
    assert not violations, describe(violations)
    assert {status for _, status in history.statuses()} <= {200, 404}


# ---- penetration ---------------------------------------------------------------------------------------

def test_absurd_requests_never_reach_the_store_and_unknown_ids_never_touch_the_page(machines):
    one, = machines("auto", cache_fresh_s=3600)
    one.post("todo")
    warm_up(one)
    count = 10000 if IS_LONG else 1500
    stop, hits, own = threading.Event(), collections.Counter(), collections.Counter()

    def read():
        with one.connect() as connection:
            while not stop.is_set():
                hits[connection.request("GET", "/todo").field("Cache-Status")] += 1
    reader = threading.Thread(target=read)
    reader.start()
    try:
        one.mongo.reset_counts()
        with one.connect() as connection:
            for number in range(count):
                absurd = ["/todo?start=1000000000", "/todo?start=10001", "/todo?limit=101", f"/todo/{number}",
                          f"/todo/{uuid.uuid4()}x"]
                status = connection.request("GET", absurd[number % len(absurd)]).status
                assert status in (400, 404)
            assert one.mongo.counts["get"] == 0

            def is_hit(target):
                response = connection.request("GET", target)
                own[response.field("Cache-Status")] += 1
                assert contents(response) == ["todo"], target
                return response.field("Cache-Status") == HIT
            for text in ("-1", "abc", "", "%20", "1e3"):
                wait_until(lambda: is_hit(f"/todo?start={text}"), f"a hit for {text!r}")
            # Where Redis was late on a loaded machine those who read have asked, and a worker for itself where the keeper was.
            misses = sum(hits.values()) - hits[HIT] + sum(own.values()) - own[HIT]
            assert one.mongo.counts["page"] <= 2 * (misses + 1)
            for number in range(count):
                assert connection.request("GET", f"/todo/{uuid.uuid4()}").status == 404
            assert one.mongo.counts["get"] == count
    finally:
        stop.set()
        reader.join()
    assert hits[HIT] >= 0.8 * sum(hits.values()) and sum(hits.values()) > 100, hits
    one.redis.reset_counts()
    with one.connect() as connection:
        for _ in range(100):
            assert connection.request("DELETE", f"/todo/{uuid.uuid4()}").status == 404
            assert connection.request("PUT", f"/todo/{uuid.uuid4()}/finish").status == 404
    assert one.redis.counts["invalidate"] == 0


# ---- what others do to our keys ------------------------------------------------------------------------

def put_page(redis, text):
    redis("SET", redis.key("pg"), text, "PX", 60000)
    redis("SET", redis.key("fr"), 1, "PX", 60000)


def put_list(redis, name):
    redis("EVAL", "redis.call('DEL', KEYS[1]); return redis.call('LPUSH', KEYS[1], 'x')", 1, redis.key(name))


DAMAGE = {
    "SCRIPT FLUSH": lambda redis: redis("SCRIPT", "FLUSH"),
    "FLUSHALL": lambda redis: redis("FLUSHALL"),
    "garbage": lambda redis: put_page(redis, bytes(range(256))),
    "empty": lambda redis: put_page(redis, b""),
    "a newer version": lambda redis: put_page(redis, redis.page().replace(PAGE_HEAD, "TD3 ", 1)),
    "an older time": lambda redis: put_page(redis, re.sub(PAGE_HEAD + r"\d+", PAGE_HEAD + "1", redis.page(), count=1)),
    "cut short": lambda redis: put_page(redis, redis.page()[:-3]),
    "one byte changed": lambda redis: put_page(redis, redis.page().replace("false", "falze", 1)),
    "another page": lambda redis: put_page(redis, redis.page().replace('"content": "', '"content": ".', 1)),
    **{f"a list in {name}": lambda redis, name=name: put_list(redis, name) for name in ("pg", "fr", "ls", "wi", "ma")},
    "a lease for ever": lambda redis: (redis("DEL", redis.key("pg")), redis("SET", redis.key("ls"), "x")),
    "a page for ever": lambda redis: redis("PERSIST", redis.key("pg")),
}


def test_damaged_keys_are_survived_and_mended(machines, redis):
    one, other = both = machines("strict", "strict", cache_fresh_s=1)
    failures = []
    for name, damage in DAMAGE.items():
        try:
            todo = one.post(name)
            warm_up(*both)
            wait_until(lambda: (one.get(), redis.page())[1], "a page in Redis")
            damage(redis)
            watch = Stopwatch()
            check_all_show(todo, *both)
            check_all_show(one.post(f"{name}: by one"), *both)
            check_all_show(other.post(f"{name}: by the other"), *both)
            assert watch.seconds < 4 * SLOW, "slow"
            for machine in both:
                wait_cache(machine.daemon, "ok")
            wait_until(lambda: (one.get(), redis.page() or "")[1].startswith(PAGE_HEAD) and name in (redis.page() or ""),
                       lambda: f"a sound page in Redis, not {redis.page()!r}", 5 * SLOW)
            warm_up(*both)
        except (AssertionError, RedisError) as failure:
            failures.append(f"{name}: {failure}")
    assert not failures, "\n\n".join(failures)


def test_lifetimes_are_jittered(machines, redis):
    strict, = machines("strict")
    lives, fresh = [], []
    for _ in range(200):
        redis("DEL", redis.key("pg"))
        lives.append(wait_until(lambda: (strict.get(), ttl := redis.page_ttl_ms())[1] > 0 and ttl, "the page is stored"))
        fresh.append(redis("PTTL", redis.key("fr")))
    assert 3240000 - 1000 < min(lives) and max(lives) <= 3960000
    assert max(lives) - min(lives) > 0.75 * 720000
    assert max(collections.Counter(life // 1000 for life in lives).values()) <= 10
    assert max(fresh) - min(fresh) > 0.75 * 2000


# ---- servers that are not as they should be ------------------------------------------------------------

class _Web(http.server.BaseHTTPRequestHandler):
    """Answers whatever comes as a web server does."""

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def web_server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Web) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


ALL_RIGHTS = ("resetkeys", "resetchannels", "~todod:*", "&todod:*", "+@all")

# What is wrong: the server's options, the URI's login, what breaks it before todod starts, what mends it.
SERVERS = {
    "a wrong password": (["--requirepass", "right"], ":s3cr3tword@", None,
                         lambda redis, way: redis.configure(requirepass="s3cr3tword")),
    "no password": (["--requirepass", "right"], "", None, lambda redis, way: redis.configure(requirepass="")),
    "an unknown user": ([], "someone:s3cr3tword@", None,
                        lambda redis, way: redis.add_user("someone", "s3cr3tword", *ALL_RIGHTS)),
    "no rights": ([], "someone:s3cr3tword@", lambda redis, way: redis.add_user("someone", "s3cr3tword", "+ping"),
                  lambda redis, way: redis.add_user("someone", "s3cr3tword", *ALL_RIGHTS)),
    "a replica": (["--replicaof", "127.0.0.1 1"], "", None, lambda redis, way: redis("REPLICAOF", "NO", "ONE")),
    "full": (["--maxmemory", "1"], "", None, lambda redis, way: redis.configure(maxmemory=0)),
    "cannot save": ([], "", lambda redis, way: break_saving(redis), lambda redis, way: redis.configure(save="")),
    "not there": ([], "", lambda redis, way: way.refuse(), lambda redis, way: way.listen()),
    "silent": ([], "", lambda redis, way: way.stall(), lambda redis, way: way.flow()),
    "no Redis": ([], "", "web", lambda redis, way: way.switch(redis.port)),
    "loading": ([], "", "load", lambda redis, way: (redis.configure(key_load_delay=0), redis.wait_ready())),
}


def load_slowly(redis):
    """Restarts it with so much to load that it takes twenty seconds, unless the delay is taken away."""
    redis("EVAL", "for i = 1, 10000 do redis.call('SET', 'key ' .. i, string.rep('x', 100)) end", 0)
    old = redis.save()
    redis.kill9()
    redis.restart(old, "--key-load-delay", 2000, "--loading-process-events-interval-bytes", 1024, wait=False)
    wait_until(lambda: redis.is_loading(), "it is loading")


def test_a_redis_that_is_no_use_is_said_once_and_served_without_and_taken_when_it_is_mended(
        todod, redis_server, proxy, mongo):
    failures = []

    def attempt(name, check, *arguments):
        try:
            return check(*arguments)
        except (AssertionError, RedisError, OSError) as failure:
            failures.append(f"{name}: {type(failure).__name__} {failure}")

    def serves_without(daemon, name):
        todo = daemon.post(name)
        response = daemon.request("GET", "/todo")
        assert response.status == 200 and response.data[0] == todo, response
        ready = daemon.request("GET", "/readyz")
        assert ready.status == 200 and (ready.json["status"], ready.json["cache"]) == ("degraded", "away"), ready

    def said(daemon):
        return daemon.lines(r" (warn|error) .*(Redis|cache|keeper|page)")

    def said_once(daemon):
        """Or again after an answer that came late on a loaded machine, which is another reason."""
        lines = [re.sub(r".*? (warn|error) ", "", line, count=1) for line in said(daemon)]
        return len(lines) == 1 or len(set(lines)) == 2 and any(re.search("no (reply|connection) within", line) for line in lines)

    def says(daemon, name):
        wait_until(lambda: said(daemon), lambda: f"a line in the log:\n{daemon.log}", 5 * SLOW)
        assert "s3cr3tword" not in daemon.log

    def is_taken(daemon, name, redis):
        wait_cache(daemon, "ok")
        todo = daemon.post(f"{name}: mended")

        def hit():
            response = daemon.request("GET", "/todo")
            assert response.data[0] == todo, response
            return response.field("Cache-Status") == HIT
        wait_until(hit, "a hit")
        assert said_once(daemon), f"not once: {said(daemon)}"

    with web_server() as web:
        started = {}
        for name, (options, login, damage, _) in SERVERS.items():
            redis = redis_server(*options)
            way = proxy(RedisProxy, redis.port)
            if damage == "web":
                way.switch(web)
            elif damage == "load":
                load_slowly(redis)
            elif damage:
                damage(redis, way)
            daemon = todod(store=mongo.uri(new_database_name()), cache=f"redis://{login}127.0.0.1:{way.port}",
                           workers=1, wait=False)
            started[name] = (daemon, redis, way)
        for name, (daemon, *_) in started.items():
            daemon.wait_ready()
            daemon.wait_store()
            attempt(name, serves_without, daemon, name)
        time.sleep(1)  # several tries of each
        for name, (daemon, *_) in started.items():
            attempt(name, says, daemon, name)
        for name, (_, redis, way) in started.items():
            attempt(name, SERVERS[name][3], redis, way)
        for name, (daemon, redis, _) in started.items():
            attempt(name, is_taken, daemon, name, redis)
    assert not failures, "\n\n".join(failures)


def test_a_user_a_password_and_a_database_over_a_unix_socket(todod, redis, mongo):
    redis.add_user("todo", "s3cr3t/word", *ALL_RIGHTS)
    redis.configure(requirepass="another")
    daemon = todod(store=mongo.uri(new_database_name()), cache=f"redis+unix://todo:s3cr3t%2Fword@{redis.socket}?db=3")
    wait_cache(daemon, "ok")
    todo = daemon.post("todo")
    wait_until(lambda: daemon.request("GET", "/todo").field("Cache-Status") == HIT, "a hit")
    with redis.client("another") as client:
        client("SELECT", 3)
        # A page that was read when Redis was late is in memory alone, until it is read anew.
        wait_until(lambda: (daemon.request("GET", "/todo"), client("KEYS", "todod:*:pg"))[1], "the page is in Redis", 15 * SLOW)
        page, = [client("GET", key) for key in client("KEYS", "todod:*:pg")]
        assert page.startswith(PAGE_HEAD.encode()) and todo["id"].encode() in page
        client("SELECT", 0)
        assert client("DBSIZE") == 0


def test_two_databases_on_one_redis_never_mix(todod, redis, mongo):
    daemons = [todod(store=mongo.uri(new_database_name()), cache=redis.uri()) for _ in range(2)]
    for daemon in daemons:
        wait_cache(daemon, "ok")
    for number in range(20):
        todos = [daemon.post(f"todo {number}") for daemon in daemons]
        for daemon, todo in zip(daemons, todos):
            for _ in range(3):
                assert daemon.request("GET", "/todo").data[0] == todo

    def both_stored():
        return all(daemon.request("GET", "/todo") for daemon in daemons) and len(redis("KEYS", "todod:*:pg")) == 2
    for daemon in daemons:
        wait_until(lambda: (daemon.post("more"), both_stored())[1], "both pages are in Redis", poll_s=0.1)


# ---- the store is away ---------------------------------------------------------------------------------

def test_while_the_store_is_down_the_last_page_is_served_as_stale_for_its_life(todod, mongo, redis):
    """With cache = local, and with Redis."""
    life_s = 8
    daemons = {cache: todod(store=mongo.uri(new_database_name()), cache=redis.uri() if cache == "ok" else cache,
                            cache_fresh_s=1, cache_ttl_s=life_s, store_timeout_ms=1000) for cache in ("local", "ok")}
    todos = {}
    for cache, daemon in daemons.items():
        wait_cache(daemon, cache)
        todos[daemon] = daemon.post("todo")
        wait_until(lambda: daemon.request("GET", "/todo").field("Cache-Status") == HIT, "a hit")
    mongo.kill9()
    watch = Stopwatch()

    def stale(daemon):
        response = daemon.request("GET", "/todo")
        assert response.status == 200 and response.data == [todos[daemon]], response
        return "detail=stale" in response.field("Cache-Status") and response
    for daemon in daemons.values():
        response = wait_until(lambda: stale(daemon), "a stale page", 4 * SLOW)
        assert response.field("Cache-Status") == "todod; hit; detail=stale" and int(response.field("Age")) >= 1
        assert daemon.request("GET", "/readyz").status == 503
        refused = daemon.request("POST", "/todo", {"content": "refused"})
        assert refused.status == 503, refused
        assert stale(daemon)
    for daemon in daemons.values():
        wait_until(lambda: daemon.request("GET", "/todo").status == 503, "the end of its life", life_s + 2 * SLOW)
        assert watch.seconds > life_s * 0.9 - 2
    mongo.restart()
    mongo.wait_ready()
    for daemon in daemons.values():
        wait_until(lambda: daemon.request("GET", "/todo").status == 200, "the store is back", 10 * SLOW)
        after = wait_until(lambda: (got := daemon.request("POST", "/todo", {"content": "after"})).status == 200 and got,
                           "the store is back for writing", 10 * SLOW)
        data = daemon.request("GET", "/todo").data  # one that was answered with 504 may have taken effect
        assert data[0] == after.json and data[-1] == todos[daemon]
        wait_until(lambda: daemon.request("GET", "/todo").field("Cache-Status") == HIT, "a hit")

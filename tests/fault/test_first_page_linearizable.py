"""
Through one daemon reads and writes are linearizable: lists, single todos, posts, finishes and deletions, over all of its
workers. What anybody has seen, no later read takes back, not even while the write is unanswered.
"""
import time

import pytest

from harness.history import EVERYTHING, History
from harness.machine import wait_cache
from harness.mongo import new_database_name
from harness.proxy import REPLY, MongoProxy
from harness.staleness import describe, find_violations
from harness.waiting import SOAK_SECONDS

WRITE_S = 0.004  # MongoDB's answers to writes are late by that: others see the write before its own worker knows


@pytest.fixture(params=["sqlite", "mongodb", "mongodb and redis, auto", "mongodb and redis, strict"])
def daemon(request, todod, proxy):
    store, _, redis = request.param.partition(" and redis, ")
    options = {"cache": "local", "workers": 4, "store_timeout_ms": 10000}  # on a slow disk writers wait long for each other
    if store == "mongodb":
        way = proxy(MongoProxy, request.getfixturevalue("mongo").port)
        for kind in ("insert", "update", "delete"):
            way.delay(kind, REPLY, WRITE_S)
        options["store"] = way.uri(new_database_name())
    if redis:
        options.update(cache=request.getfixturevalue("redis").uri(), cache_mode=redis)
    started = todod(**options)
    wait_cache(started, "ok" if redis else "local")
    return started


def test_a_history_through_one_daemon_is_linearizable(daemon, counted):
    operations = []  # of all rounds: a later one sees what an earlier one has written
    for _ in range(5):  # a slow disk may leave hardly a moment without a write, in which there are hits
        with History([daemon], connections=16, mix=EVERYTHING) as history:
            time.sleep(SOAK_SECONDS / 3)
        operations += history.operations
        violations = find_violations(operations)
        counted(f"{history.summary()}; {len(violations)} violations")
        assert not violations, describe(violations)
        assert {status for _, status in history.statuses()} <= {200, 404}
        if history.hits > 10 or daemon.options.get("cache_mode") == "strict":
            return
    raise AssertionError("hits are judged, too")

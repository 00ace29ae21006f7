"""
Readers and writers through two machines while everything around the first page fails in turn: no read is older than an
acknowledged write. Only where a machine can no longer invalidate, the other one may lag, for a bounded time.
"""
import collections
import contextlib
import os
import random
import signal
import time

import pytest

from harness.history import READERS_AND_WRITERS, History
from harness.machine import wait_cache
from harness.staleness import describe, find_violations
from harness.waiting import SLOW, SOAK_SECONDS, Stopwatch, wait_until

FRESH_S = 1
REFUSED_LAG_S = 1.5            # Redis refuses writes: until the next probe of the others, half a second later, has been answered
CUT_OFF_LAG_S = FRESH_S + 2.5  # a machine is cut off: until the others read anew, after FRESH_S + 2
WITHOUT_REDIS = "acknowledged without Redis"

# From `start` to `end` the writes of `machines` could not be invalidated: others may lag by `lag_s`.
Window = collections.namedtuple("Window", "start end machines lag_s")


class Chaos:
    def __init__(self, redis, machines):
        self.redis, self.machines = redis, machines
        self.windows, self.done = [], []  # done: [(start, end, fault)]
        self.random = random.Random()

    def any(self):
        return self.random.choice(self.machines)

    def sleep(self, low_s, high_s):
        time.sleep(self.random.uniform(low_s, high_s))

    def mended(self):
        for machine in self.machines:
            wait_cache(machine.daemon, "ok")

    def lag(self, start, machines, lag_s):
        self.mended()
        self.windows.append(Window(start, time.monotonic(), [self.machines.index(machine) for machine in machines], lag_s))

    # -- faults: each leaves everything whole --

    def kill_a_worker(self):
        os.kill(self.random.choice(wait_until(self.any().daemon.worker_pids, "a worker")), signal.SIGKILL)
        self.sleep(0.05, 0.3)

    def kill_a_keeper(self):
        self.signal_keeper(signal.SIGKILL)

    def stop_a_keeper(self):
        self.signal_keeper(signal.SIGSTOP)

    def signal_keeper(self, number):
        """Where its successor does not come within two seconds, as on a loaded machine, writers no longer wait for it, and say so."""
        start, machine = time.monotonic(), self.any()
        daemon, before = machine.daemon, len(machine.daemon.lines(WITHOUT_REDIS))
        keeper = daemon.wait_keeper()
        with contextlib.suppress(ProcessLookupError):
            os.kill(keeper, number)
        daemon.wait_keeper(other_than=keeper)
        self.mended()
        if len(daemon.lines(WITHOUT_REDIS)) > before:
            self.lag(start, [machine], CUT_OFF_LAG_S)

    def stop_a_keeper_for_a_moment(self):
        keeper = self.any().daemon.wait_keeper()
        with contextlib.suppress(ProcessLookupError):  # the master may have replaced it
            os.kill(keeper, signal.SIGSTOP)
            self.sleep(0.02, 0.4)
            os.kill(keeper, signal.SIGCONT)
        self.sleep(0.05, 0.2)
        self.mended()

    def flush(self):
        for _ in range(5):
            self.redis("FLUSHALL")
            self.sleep(0, 0.05)

    def kill_clients(self):
        for kind in ("pubsub", "normal"):
            self.redis("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            self.sleep(0, 0.1)
        self.mended()

    def stop_redis_for_a_moment(self):
        for _ in range(3):
            self.redis.pause()
            self.sleep(0.01, 0.3)
            self.redis.resume()
            self.sleep(0.01, 0.1)
        self.mended()

    def stop_redis(self):
        self.redis.pause()
        self.sleep(0.6, 1.2)
        self.redis.resume()
        self.mended()

    def restart_redis_with_an_old_state(self):
        old = self.redis.save()
        self.sleep(0.02, 0.1)
        self.redis.kill9()
        self.sleep(0, 0.3)
        self.redis.restart(old, wait=False)
        self.mended()

    def forget_scripts(self):
        for _ in range(6):
            self.redis("SCRIPT", "FLUSH")
            self.sleep(0, 0.01)
        self.mended()

    def fill_redis(self):
        self.redis.configure(maxmemory=1)
        self.sleep(0.1, 0.3)
        self.redis.configure(maxmemory=0)
        self.mended()

    def refuse_writes(self):
        start = time.monotonic()
        refuse, mend = self.random.choice([
            (("CONFIG", "SET", "min-replicas-to-write", 1), ("CONFIG", "SET", "min-replicas-to-write", 0)),
            (("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE"))])
        self.redis(*refuse)
        self.sleep(0.1, 0.8)
        self.redis(*mend)
        self.lag(start, self.machines, REFUSED_LAG_S)

    def cut_off_a_machine(self):
        start, machine = time.monotonic(), self.any()
        machine.redis.stall()
        self.sleep(0.1, 1)
        if self.random.random() < 0.5:
            machine.redis.flow()
        else:
            machine.redis.lose_and_flow()
        self.lag(start, [machine], CUT_OFF_LAG_S)

    def cut_the_connections(self):
        self.any().redis.cut()
        self.mended()

    FAULTS = (kill_a_worker, kill_a_keeper, stop_a_keeper, stop_a_keeper_for_a_moment, flush, kill_clients, stop_redis_for_a_moment,
              stop_redis, restart_redis_with_an_old_state, forget_scripts, fill_redis, refuse_writes, cut_off_a_machine,
              cut_the_connections)

    def run(self, seconds):
        """Each fault in turn, in another order each time, until the time is over; once in any case."""
        watch = Stopwatch()
        while watch.seconds < seconds or not self.done:
            for fault in self.random.sample(self.FAULTS, len(self.FAULTS)):
                start = time.monotonic()
                fault(self)
                self.done.append((start, time.monotonic(), fault.__name__))
                # Sometimes until all trust Redis again, sometimes not.
                self.sleep(0, 2.5 if SOAK_SECONDS >= 60 else 0.1)

    def during(self, violation):
        """What was being done to them."""
        return next((f"{fault} (which began {violation.operation.start - start:.3f} s before and took {end - start:.3f} s)"
                     for start, end, fault in reversed(self.done) if start <= violation.operation.end), "nothing")

    def excuses(self, violation):
        """Is it one of those that may be: on another machine, while the writer could not invalidate, and bounded?"""
        written = violation.cause
        return written is not None and written.machine != violation.operation.machine and any(
            window.start <= written.end and written.start <= window.end and written.machine in window.machines
            and violation.age_s <= window.lag_s * SLOW for window in self.windows)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_no_read_is_older_than_an_acknowledged_write(machines, redis, counted, mode):
    both = machines(mode, mode, deaths=True, cache_fresh_s=FRESH_S, workers=2)
    chaos = Chaos(redis, both)
    with History(both, connections=24, mix=READERS_AND_WRITERS, pause_s=0.001) as history:
        time.sleep(0.3)
        chaos.run(SOAK_SECONDS)
        time.sleep(0.3)
    found = find_violations(history.operations, reads_bind=False)
    violations = [violation for violation in found if not chaos.excuses(violation)]
    excused = [violation.age_s for violation in found if chaos.excuses(violation)]
    counted(f"{len(chaos.done)} faults; {history.summary()}; {len(violations)} reads older than an acknowledged write; "
            f"{len(excused)} where the writer could not invalidate, the worst {max(excused, default=0):.3f} s")
    assert not violations, f"{describe(violations)}\nduring {sorted({chaos.during(violation) for violation in violations})}"
    assert {status for _, status in history.statuses()} <= {0, 200, 404, 503, 504}

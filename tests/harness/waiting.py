"""Waiting for conditions, with a deadline; and how long a deadline is here."""
import os
import time

SANITIZE = os.environ.get("SANITIZE", "")

# Sanitizers cost two to three times; a deadline that is no promise of the contract is stretched by this.
SLOW = 3 if SANITIZE else 1

SOAK_SECONDS = float(os.environ.get("TODOD_SOAK_SECONDS", "6"))


def wait_until(condition, what, timeout_s=15, poll_s=0.01):
    """Returns the first true value of condition()."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {timeout_s:g} s: {what() if callable(what) else what}"
        time.sleep(poll_s)


class Stopwatch:
    def __init__(self):
        self.start = time.monotonic()

    @property
    def seconds(self):
        return time.monotonic() - self.start


def percentile(values, percent):
    """0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else 0

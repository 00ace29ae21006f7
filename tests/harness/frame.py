"""A daemon that has everything from its file, and what of it has to be as before after whatever happens to its processes."""
from harness.daemon import descriptors, status_field
from harness.waiting import SANITIZE, wait_until

WORKERS = 3
GROWTH_MAX_KIB = 65536 if SANITIZE else 2048


def conf(directory, *listen, store="todo.db", **keys):
    """The text of a configuration file."""
    keys = {"workers": WORKERS, "store": f"sqlite:{directory}/{store}", **keys}
    return "".join(f"listen = {address}\n" for address in listen) + "".join(f"{key} = {value}\n" for key, value in keys.items())


class Frame:
    """The master: its descriptors, its memory, its workers' number."""

    def __init__(self, daemon):
        self.daemon, self.count = daemon, len(daemon.wait_workers(WORKERS))
        self.descriptors = len(descriptors(daemon.master))
        self.rss = self._rss()

    def _rss(self):
        return int(status_field(self.daemon.master, "VmRSS").split()[0])

    def check(self):
        daemon = self.daemon
        daemon.wait_settled(self.count)
        assert daemon.process.poll() is None
        wait_until(lambda: len(descriptors(daemon.master)) == self.descriptors, lambda: f"{self.descriptors}: {descriptors(daemon.master)}")
        assert self._rss() < self.rss + GROWTH_MAX_KIB, f"{self.rss} KiB, then {self._rss()} KiB"

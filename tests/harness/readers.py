"""
Load that forgives nothing: every request that is not answered with 200 counts, whatever the reason. Over TCP there is wrk, over any
address a few threads.
"""
import re
import shutil
import subprocess
import threading
import time

from harness.waiting import Stopwatch, wait_until
from harness.wire import Closed, Connection


class Readers:
    """Connections that ask for /index all the time, one thread each; counts what goes wrong. `address`: another one than the
    daemon's first; `fields`: of every request."""

    def __init__(self, daemon, count, address=None, fields=()):
        self.daemon, self.stopping, self.answers, self.wrong, self.longest = daemon, threading.Event(), 0, [], 0.0
        self.address, self.fields = address, fields
        self.answered = set()  # the threads
        self.threads = [threading.Thread(target=self._run) for _ in range(count)]

    def __enter__(self):
        self.address = self.address or self.daemon.address
        for thread in self.threads:
            thread.start()
        wait_until(lambda: len(self.answered) == len(self.threads) and self.answers > 50, "load")
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def _run(self):
        connection = None
        while not self.stopping.is_set():
            watch = Stopwatch()
            try:
                connection = connection or Connection(self.address)
                response = connection.request("GET", "/index", fields=self.fields)
                self.answers += 1
                self.answered.add(threading.get_ident())
                self.longest = max(self.longest, watch.seconds)
                if response.status != 200:
                    self.wrong.append(repr(response))
                if response.closes:
                    connection.close()
                    connection = None
            except (OSError, Closed) as failure:
                self.wrong.append(repr(failure))
                if connection:
                    connection.close()
                connection = None
                time.sleep(0.01)
            time.sleep(0.002)
        if connection:
            connection.close()


class Wrk:
    """wrk for so many seconds, begun by `with`; the end of the block waits for it. `requests` and `errors` are there then."""

    def __init__(self, url, seconds, connections=32, closing=False):
        close = ["-H", "Connection: close"] if closing else []
        self.command = [shutil.which("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", *close, url]
        self.seconds = seconds

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return self

    def __exit__(self, *_):
        output = self.process.communicate(timeout=self.seconds + 30)[0]
        self.requests = int(re.search(r"(\d+) requests in", output).group(1))
        self.errors = re.findall(r"Socket errors.*|Non-2xx.*", output)

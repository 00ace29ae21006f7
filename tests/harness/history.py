"""
Clients that remember everything: what they asked, when, and what they were shown, for harness/staleness.py. They run in
processes of their own; each connection speaks to one of several daemons ("machines").
"""
import asyncio
import collections
import json
import multiprocessing
import random
import re
import time

from harness.load import DELETE, FINISH, LOST, POST, Asker, bytes_without_body, post_bytes
from harness.staleness import GET, LIST, TOP, Operation, Range, Seen, key_of
from harness.waiting import percentile

FIRST_PAGE = 10
WAVE_S = 0.15  # writes come in waves: in between there are hits
FIRST, DEEP = "first page", "deeper page"

# How often each is asked, of all.
READERS_AND_WRITERS = {FIRST: 84, POST: 8, FINISH: 4, DELETE: 4}
EVERYTHING = {FIRST: 50, DEEP: 15, GET: 15, POST: 8, FINISH: 6, DELETE: 6}

_HIT = re.compile(rb"\r\ncache-status: todod; hit(\r\n|$)", re.I)  # from memory
_NEXT = re.compile(rb"\r\nlink: <([^>]+)>", re.I)


def seen_of(todo):
    return Seen(todo["id"], todo["created_at"], todo["content"], todo["is_finished"])


class _Memory:
    """What the connections of one process share: the todos worth asking for, and each page once."""

    def __init__(self):
        self.recent = collections.deque(maxlen=14)
        self.pages = {}
        self.hits = 0

    def page(self, body):
        if body not in self.pages:
            self.pages[body] = tuple(seen_of(todo) for todo in json.loads(body)["data"])
        return self.pages[body]


class _Client:
    def __init__(self, history, number, memory):
        self.history, self.number, self.memory = history, number, memory
        self.machine = number // history.processes % len(history.addresses)
        self.random = random.Random(f"{history.run} {number}")
        self.operations, self.count, self.behind = [], 0, None

    def choose(self):
        """(kind, bytes, key)"""
        kind = self.random.choices(*self.history.mix)[0]
        if kind in (POST, FINISH, DELETE) and time.monotonic() % WAVE_S > WAVE_S / 2:
            kind = FIRST
        if kind in (GET, FINISH, DELETE) and self.memory.recent:
            identity = self.random.choice(self.memory.recent)
            return kind, bytes_without_body(kind, f"/todo/{identity}{'/finish' if kind == FINISH else ''}"), identity
        if kind == POST:
            self.count += 1
            content = f"{self.history.run} {self.number} {self.count}"
            return POST, post_bytes(content), content
        if kind == DEEP:
            return (LIST, *self.choose_deeper())
        return LIST, bytes_without_body("GET", "/todo"), Range(TOP, FIRST_PAGE)

    def choose_deeper(self):
        if self.behind and self.random.random() < 0.3:
            target, key = self.behind
            return bytes_without_body("GET", target), key
        start, limit = self.random.choice([0, 0, self.random.randrange(15)]), self.random.randrange(1, 25)
        return bytes_without_body("GET", f"/todo?start={start}&limit={limit}"), Range(None if start else TOP, limit)

    def understand(self, kind, key, status, head, body):
        if status != 200 or kind == DELETE:
            return None
        if kind != LIST:
            return seen_of(json.loads(body))
        page = self.memory.page(body)
        self.memory.hits += bool(_HIT.search(head))
        following = _NEXT.search(head)
        self.behind = (following.group(1).decode(), Range(key_of(page[-1]), key.limit)) if following else None
        return page

    async def run(self):
        asker = Asker(self.history.addresses[self.machine])
        while not self.history.stopping.value:
            if not await asker.connect():
                continue
            kind, data, key = self.choose()
            start = time.monotonic()
            status, head, body = await asker.ask(data)
            end = time.monotonic()
            seen = self.understand(kind, key, status, head, body)
            self.operations.append(Operation(kind, self.machine, start, end, status, key, seen))
            if kind == POST and seen:
                self.memory.recent.append(seen.id)
            if status == LOST:
                await asyncio.sleep(0.01)
            elif self.history.pause_s:
                await asyncio.sleep(self.history.pause_s * self.random.uniform(0.5, 1.5))
        asker.disconnect()


class History:
    """Runs from `with` to the end of the block; then `operations` are there. `mix`: {what: how often}."""

    def __init__(self, daemons, connections=16, mix=None, pause_s=0.0, processes=2):
        self.addresses = [daemon.address for daemon in daemons]
        self.connections, self.pause_s, self.processes = connections, pause_s, processes
        mix = mix or READERS_AND_WRITERS
        self.mix = (list(mix), list(mix.values()))
        self.run = f"{time.time_ns():x}"
        self.operations, self.hits = None, None

    def __enter__(self):
        fork = multiprocessing.get_context("fork")
        self.stopping = fork.Value("b", 0, lock=False)
        self.clients = []
        for index in range(self.processes):
            receiver, sender = fork.Pipe(duplex=False)
            process = fork.Process(target=self._main, args=(index, sender), daemon=True)
            process.start()
            sender.close()
            self.clients.append((process, receiver))
        return self

    def __exit__(self, *_):
        self.stopping.value = 1
        self.operations, self.hits = [], 0
        try:
            for _, receiver in self.clients:
                assert receiver.poll(40), "the load did not come to its end: some request was never answered"
                operations, hits = receiver.recv()
                self.operations += operations
                self.hits += hits
        finally:
            for process, _ in self.clients:
                process.kill()
                process.join()
        self.operations.sort(key=lambda operation: operation.end)

    def _main(self, index, sender):
        async def clients():
            memory = _Memory()
            everybody = [_Client(self, number, memory) for number in range(index, self.connections, self.processes)]
            await asyncio.gather(*(client.run() for client in everybody))
            return [operation for client in everybody for operation in client.operations], memory.hits
        sender.send(asyncio.run(clients()))

    # -- what came of it --

    def statuses(self):
        return collections.Counter((operation.kind, operation.status) for operation in self.operations)

    def slowest_s(self):
        return max(operation.end - operation.start for operation in self.operations)

    def summary(self):
        lasted = self.operations[-1].end - self.operations[0].start
        times = [operation.end - operation.start for operation in self.operations]
        counts = ", ".join(f"{count} {kind} {status}" for (kind, status), count in sorted(self.statuses().items()))
        return (f"{len(self.operations) / lasted:.0f} requests/s for {lasted:.1f} s ({counts}; "
                f"{self.hits} hits), p99 {percentile(times, 99) * 1000:.0f} ms, slowest {max(times) * 1000:.0f} ms")

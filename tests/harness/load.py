"""
Load, and the oracle that judges what it left behind.

The load runs in a process of its own, so that measuring does not disturb the test: many keep-alive
connections, each posting todos of unique content, and now and then finishing or deleting one of its own.
Every answer is remembered. Afterwards the oracle compares what was said with what is there:

    acknowledged (200)                       there exactly once, as acknowledged
    refused (4xx, 503, 507)                  nothing was done
    unknown (504, or the connection broke)   either way, but never twice
"""
import asyncio
import collections
import json
import multiprocessing
import random
import threading
import time

from harness.waiting import percentile
from harness.wire import Connection

POST, FINISH, DELETE = "POST", "PUT", "DELETE"
LOST = 0  # the status of a request whose connection broke before the answer
UNKNOWN = (LOST, 504)
REFUSED = (503, 507)

Event = collections.namedtuple("Event", "kind key status seconds answer at")  # key: content (POST), else the id


def post_bytes(content):
    body = json.dumps({"content": content})
    return (f"POST /todo HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def bytes_without_body(method, target):
    return f"{method} {target} HTTP/1.1\r\nHost: t\r\n\r\n".encode()


class Asker(asyncio.Protocol):
    """One connection at a time, one request at a time; quick rather than strict."""

    def __init__(self, address):
        self.address = address
        self.transport, self.waiting, self.buffer = None, None, b""

    def data_received(self, data):
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found or not self.waiting or self.waiting.done():
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(rest) >= length:
            self.buffer = rest[length:]
            self.waiting.set_result((int(head[9:12]), head, rest[:length]))

    def connection_lost(self, _):
        self.transport = None
        if self.waiting and not self.waiting.done():
            self.waiting.set_result((LOST, b"", b""))

    async def connect(self):
        """False: not now."""
        if not self.transport:
            try:
                self.buffer = b""
                self.transport, _ = await asyncio.get_running_loop().create_connection(lambda: self, *self.address)
            except OSError:
                await asyncio.sleep(0.02)
                return False
        return True

    async def ask(self, data):
        """(status, head, body); LOST when the connection breaks."""
        self.waiting = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        status, head, body = await self.waiting
        if b"connection: close" in head.lower():
            self.disconnect()
        return status, head, body

    def disconnect(self):
        if self.transport:
            self.transport.abort()
            self.transport = None


class _Client:
    def __init__(self, load, number):
        self.load, self.number, self.random = load, number, random.Random(number)
        self.count, self.mine, self.events = 0, [], []

    def choose(self):
        if self.load.mixed and self.mine and self.random.random() < 0.3:
            kind = self.random.choice([FINISH, DELETE])
            chosen = self.random.randrange(len(self.mine))
            return kind, self.mine.pop(chosen) if kind == DELETE else self.mine[chosen]
        self.count += 1
        return POST, f"{self.load.run} {self.number} {self.count}"

    def bytes_of(self, kind, key):
        if kind == POST:
            return post_bytes(key)
        return bytes_without_body(kind, f"/todo/{key}{'/finish' if kind == FINISH else ''}")

    async def run(self):
        asker = Asker(self.load.address)
        while not self.load.stopping.is_set():
            if not await asker.connect():
                continue
            kind, key = self.choose()
            at = time.monotonic()
            status, _, body = await asker.ask(self.bytes_of(kind, key))
            self.remember(Event(kind, key, status, time.monotonic() - at, json.loads(body) if body else None, at))
            await asyncio.sleep(self.load.pause_s if status == 200 else 0.03)
        asker.disconnect()

    def remember(self, event):
        self.events.append(event)
        if event.kind == POST and event.status == 200:
            self.mine.append(event.answer["id"])
        if event.kind == DELETE and event.status in REFUSED:
            self.mine.append(event.key)


class Load:
    """Runs from `with` to the end of the block; then `events` are there."""

    def __init__(self, address, connections, mixed=True, pause_s=0.005):
        self.address, self.connections, self.mixed, self.pause_s = address, connections, mixed, pause_s
        self.run = f"{time.time_ns():x}"
        self.events = None

    def __enter__(self):
        fork = multiprocessing.get_context("fork")
        self.stopping, self.count = fork.Event(), fork.Value("L", 0, lock=False)
        self.receiver, sender = fork.Pipe(duplex=False)
        self.process = fork.Process(target=self._main, args=(sender,), daemon=True)
        self.process.start()
        sender.close()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        try:
            assert self.receiver.poll(40), "the load did not come to its end: some request was never answered"
            self.events = [Event(*event) for event in self.receiver.recv()]
        finally:
            self.process.kill()
            self.process.join()

    def _main(self, sender):
        async def clients():
            everybody = [_Client(self, number) for number in range(self.connections)]
            await asyncio.gather(*(client.run() for client in everybody))
            return [tuple(event) for client in everybody for event in client.events]
        sender.send(asyncio.run(clients()))


class HealthProbe:
    """Asks /healthz all the time, on a new connection each: its latencies, and how often it got no answer."""

    def __init__(self, address):
        self.address, self.latencies, self.failures = address, [], []
        self.stopping = threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def _run(self):
        while not self.stopping.wait(0.01):
            at = time.monotonic()
            try:
                with Connection(self.address) as connection:
                    response = connection.request("GET", "/healthz")
                assert response.status == 200, response
                self.latencies.append(time.monotonic() - at)
            except Exception as failure:
                self.failures.append(repr(failure))

    def check(self, p99_s):
        assert not self.failures, f"{len(self.failures)} failures of /healthz, the first: {self.failures[0]}"
        assert self.latencies and percentile(self.latencies, 99) < p99_s, (
            f"/healthz p99 {percentile(self.latencies, 99):.3f} s of {len(self.latencies)}")


# ---- the oracle ----------------------------------------------------------------------------------------

def check_order(todos):
    """created_at descending, then id descending; nothing twice."""
    keys = [(todo["created_at"], todo["id"]) for todo in todos]
    for before, after in zip(keys, keys[1:]):
        assert before > after, f"not in the total order: {before} then {after}"


class _Expected:
    """What must be true of one acknowledged todo, as far as it is known."""

    def __init__(self, todo):
        self.todo, self.deleted, self.finished_at, self.finish_unknown = todo, False, None, False

    def follow(self, event):
        if event.status in REFUSED:
            return
        if event.kind == DELETE:
            assert event.status in (200, *UNKNOWN), f"acknowledged todo not found by a delete: {event}"
            self.deleted = True if event.status == 200 else None
        elif event.status in UNKNOWN:
            self.finish_unknown = self.finished_at is None
        else:
            assert event.status == 200, f"acknowledged todo not found by a finish: {event}"
            answer = event.answer
            assert answer["is_finished"] and answer["content"] == self.todo["content"], event
            assert self.finished_at in (None, answer["finished_at"]), f"the first finished_at is gone: {event}"
            self.finished_at, self.finish_unknown = answer["finished_at"], False

    def check(self, found):
        if found is None:
            assert self.deleted is not False, f"LOST: acknowledged and gone: {self.todo}"
            return
        assert self.deleted is not True, f"deleted and still there: {found}"
        for member in ("id", "content", "created_at"):
            assert found[member] == self.todo[member], f"{found} is not what was acknowledged: {self.todo}"
        if not self.finish_unknown:
            assert found["finished_at"] == self.finished_at, f"{found} should be finished at {self.finished_at}"
            assert found["is_finished"] == (self.finished_at is not None), found


def judge(load, todos, allowed=(200, 503, 504)):
    """Asserts the oracle on the whole list as it is after the load. Returns the counts, as text."""
    check_order(todos)
    events = sorted(load.events, key=lambda event: event.at)
    statuses = collections.Counter((event.kind, event.status) for event in events)
    # Everybody finishes and deletes only what was acknowledged: a 404 is a loss, and named below.
    strange = {key: count for key, count in statuses.items() if key[1] not in (*allowed, LOST)
               and not (key[1] == 404 and key[0] != POST)}
    assert not strange, f"answers that should not be: {strange}"

    found = {todo["id"]: todo for todo in todos if todo["content"].startswith(load.run)}
    contents = collections.Counter(todo["content"] for todo in found.values())
    twice = [content for content, count in contents.items() if count > 1]
    assert not twice, f"DUPLICATES: {twice[:5]}"

    expected, posted = {}, set()
    for event in events:
        if event.kind != POST:
            expected[event.key].follow(event)
            continue
        posted.add(event.key)
        if event.status == 200:
            assert event.answer["content"] == event.key, event
            assert event.answer["id"] not in expected, f"one id for two todos: {event}"
            expected[event.answer["id"]] = _Expected(event.answer)
        elif event.status not in UNKNOWN:
            assert event.key not in contents, f"REFUSED and stored all the same: {event}"
    for key, one in expected.items():
        one.check(found.get(key))
    assert set(contents) <= posted, f"todos that nobody posted: {list(set(contents) - posted)[:5]}"

    unsure = [event for event in events if event.kind == POST and event.status in UNKNOWN]
    return ", ".join([
        f"{statuses[POST, 200]} posts acknowledged, all as they should be",
        f"{sum(statuses[POST, status] for status in REFUSED)} refused, all absent",
        f"{len(unsure)} unknown ({sum(event.key in contents for event in unsure)} there)",
        f"{statuses[FINISH, 200]} finished", f"{statuses[DELETE, 200]} deleted",
        f"{len(events)} requests", f"p99 {percentile(answered_seconds(load), 99):.3f} s"])


def answered_seconds(load, kinds=(POST, FINISH, DELETE)):
    return [event.seconds for event in load.events if event.status != LOST and event.kind in kinds]

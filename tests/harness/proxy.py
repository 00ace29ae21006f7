"""
Proxies on the way from todod to its servers: they count, hold, delay, lose, cut and refuse, switched while they run.

A proxy sees messages: a request and its reply are of one kind, by which holds, delays and counts go. Of Redis the kinds are
the scripts (open, probe, acquire, fill, begin, invalidate, release; recognised by their text, then by its SHA-1) and else
the command's name; of MongoDB `page` (a find with a sort on the todos), `get` (one without), and else the command's name.
Within one direction of one connection nothing overtakes: what is held or delayed holds what follows.
"""
import asyncio
import collections
import hashlib
import re
import socket
import struct
import threading

import bson

from harness.daemon import ROOT, free_port
from harness.redis import parse_resp
from harness.waiting import wait_until

REQUEST, REPLY = "request", "reply"


class Hold:
    """Messages of a kind that wait at the proxy, from now until `release`; only the first `times` of them, where given."""

    def __init__(self, proxy, kind, side, times):
        self.proxy, self.kind, self.side, self.left = proxy, kind, side, times
        self.caught, self.released = 0, asyncio.Event()

    def takes(self, kind, side):
        if (kind, side) != (self.kind, self.side) or self.left == 0 or self.released.is_set():
            return False
        self.left = None if self.left is None else self.left - 1
        return True

    def wait_caught(self, count=1, timeout_s=10):
        wait_until(lambda: self.caught >= count, f"{count} of {self.kind} held", timeout_s, poll_s=0.001)
        return self

    def release(self):
        self.proxy._call(self.released.set)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()


class _Link:
    """One connection through the proxy; of the two halves each splits a stream into messages."""

    def __init__(self, proxy):
        self.proxy, self.writers = proxy, []
        self.streams = {REQUEST: bytearray(), REPLY: bytearray()}
        self.in_flight = collections.Counter()

    def messages(self, side, data):
        """[(bytes, kind)] of what is complete."""
        return [(data, None)]

    def close(self):
        for writer in self.writers:
            writer.transport.abort()


class Proxy:
    link = _Link

    def __init__(self, target):
        """`target`: a port of 127.0.0.1; may be changed, for connections to come."""
        self.target = target
        self.counts, self.in_flight, self.most_in_flight = (collections.Counter() for _ in range(3))
        self.connections = 0  # ever
        self.holds, self.delays, self.links = [], {}, set()
        self.loop = asyncio.new_event_loop()
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.port, self.server = free_port(), None
        self.listen()

    def _call(self, function, *arguments):
        """In the proxy's thread, and over when this returns."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (function(*arguments), done.set()))
        assert done.wait(10), "the proxy hangs"

    def _await(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    # -- switches --

    def listen(self):
        """Takes connections (again)."""
        async def start():
            self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1000)
        if self.server is None:
            self._await(start())

    def refuse(self):
        """Connections are refused, those that there are end."""
        def stop():
            self.server.close()
            self.server = None
        self._call(stop)
        self.cut()

    def cut(self):
        def close():
            for link in list(self.links):
                link.close()
        self._call(close)

    def stall(self):
        """A network that is gone: connections stand and are made, and nothing passes, until `flow`."""
        self._call(self.flowing.clear)

    def flow(self):
        self._call(self.flowing.set)

    def lose_and_flow(self):
        """What waited in a stalled network never arrives."""
        self.cut()
        self.flow()

    def hold(self, kind, side, times=None):
        found = Hold(self, kind, side, times)
        self._call(self.holds.append, found)
        return found

    def delay(self, kind, side, seconds):
        self.delays[kind, side] = seconds

    def switch(self, target):
        """Every connection ends; new ones go elsewhere."""
        self.target = target
        self.cut()

    def reset_counts(self):
        self._call(lambda: (self.counts.clear(), self.most_in_flight.clear()))

    def close(self):
        if self.server is not None:
            self.refuse()

        async def cancel():
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._await(cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    # -- carrying --

    async def _serve(self, client_reader, client_writer):
        self.connections += 1
        link = self.link(self)
        link.writers.append(client_writer)
        self.links.add(link)
        try:
            await self.flowing.wait()
            reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
            link.writers.append(writer)
            for one in link.writers:
                one.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.gather(self._carry(link, REQUEST, client_reader, writer),
                                 self._carry(link, REPLY, reader, client_writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            link.close()
            self.links.discard(link)
            self.in_flight.subtract(link.in_flight)

    async def _carry(self, link, side, reader, writer):
        while data := await reader.read(1 << 16):
            for message, kind in link.messages(side, data):
                if side == REQUEST and kind:
                    self._note(link, kind, +1)
                if kind:
                    await self._hold(kind, side)
                if not self.flowing.is_set():
                    await self.flowing.wait()
                if side == REPLY and kind:
                    self._note(link, kind, -1)
                if writer.transport.is_closing():
                    return
                writer.write(message)
            await writer.drain()
        await self.flowing.wait()
        if writer.can_write_eof():
            writer.write_eof()
        if side == REPLY:
            link.close()

    async def _hold(self, kind, side):
        if seconds := self.delays.get((kind, side)):
            await asyncio.sleep(seconds)
        for hold in list(self.holds):
            if hold.takes(kind, side):
                hold.caught += 1
                await hold.released.wait()

    def _note(self, link, kind, step):
        link.in_flight[kind] += step
        self.in_flight[kind] += step
        if step > 0:
            self.counts[kind] += 1
            self.most_in_flight[kind] = max(self.most_in_flight[kind], self.in_flight[kind])


# ---- Redis ---------------------------------------------------------------------------------------------

SCRIPTS = ("open", "probe", "acquire", "fill", "begin", "invalidate", "release")


_COMMENT = re.compile(rb"[ \t]*(--|$)")


def _code(script):
    """Its lines without those that are comments."""
    return b"\n".join(line.rstrip() for line in script.splitlines() if not _COMMENT.match(line))


class _RedisLink(_Link):
    def __init__(self, proxy):
        super().__init__(proxy)
        self.asked, self.subscribed = collections.deque(), False

    def messages(self, side, data):
        stream, found, at = self.streams[side], [], 0
        stream += data
        while at < len(stream) and (parsed := parse_resp(stream, at)) is not None:
            value, end = parsed
            found.append((bytes(stream[at:end]), self.request(value) if side == REQUEST else self.reply()))
            at = end
        del stream[:at]
        return found

    def request(self, words):
        kind = self.proxy.kind_of(words)
        self.subscribed |= kind == "SUBSCRIBE"
        if self.subscribed:
            return None
        self.asked.append(kind)
        return kind

    def reply(self):
        return self.asked.popleft() if self.asked else None  # None: pushed to a subscriber


class RedisProxy(Proxy):
    link = _RedisLink

    def __init__(self, target):
        self.names = {_code((ROOT / f"src/cache/{name}.lua").read_bytes()): name for name in SCRIPTS}
        self.scripts = {}
        super().__init__(target)

    def kind_of(self, words):
        command = words[0].upper().decode()
        if command == "SCRIPT" and words[1].upper() == b"LOAD" or command == "EVAL":
            text = words[2 if command == "SCRIPT" else 1]
            name = self.names.get(_code(text), "unknown script")
            self.scripts[hashlib.sha1(text).hexdigest()] = name
            return name if command == "EVAL" else "SCRIPT LOAD"
        if command == "EVALSHA":
            return self.scripts.get(words[1].decode().lower(), "unknown script")
        return command


# ---- MongoDB -------------------------------------------------------------------------------------------

_OP_MSG = 2013
_HEAD = struct.Struct("<iiii")
_DOCUMENT_AT = _HEAD.size + 5  # behind the flags and the kind of the section


class _MongoLink(_Link):
    def __init__(self, proxy):
        super().__init__(proxy)
        self.asked = {}

    def messages(self, side, data):
        stream, found, at = self.streams[side], [], 0
        stream += data
        while len(stream) - at >= _HEAD.size:
            length, number, answers, operation = _HEAD.unpack_from(stream, at)
            if len(stream) - at < length:
                break
            message = bytes(stream[at:at + length])
            if side == REPLY:
                kind = self.asked.pop(answers, None)
            else:
                kind = self.asked[number] = mongo_kind(message) if operation == _OP_MSG else "handshake"
            found.append((message, kind))
            at += length
        del stream[:at]
        return found


def mongo_kind(message):
    assert message[_DOCUMENT_AT - 1] == 0, "the body is the first section"
    length = struct.unpack_from("<i", message, _DOCUMENT_AT)[0]
    command = bson.decode(message[_DOCUMENT_AT:_DOCUMENT_AT + length])
    name = next(iter(command))
    if name == "find" and command["find"] == "todos":
        return "page" if "sort" in command else "get"
    return name


class MongoProxy(Proxy):
    link = _MongoLink

    def uri(self, database, options=""):
        return f"mongodb://127.0.0.1:{self.port}/{database}{'?' if options else ''}{options}"

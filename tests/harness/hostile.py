"""
Clients that a server has to survive, thousands of them in a process of their own; and ordinary ones, whose patience is measured meanwhile.
"""
import multiprocessing
import resource
import select
import socket
import time

from harness.waiting import percentile
from harness.wire import Connection, request_bytes

_FORK = multiprocessing.get_context("fork")
_TICK_S = 0.25
_TOGETHER, _PAUSE_S = 50, 0.01  # 5,000 a second at most: many clients, no flood of SYNs
_IP_BIND_ADDRESS_NO_PORT = 24  # ip(7): else bind looks for a port that no connection has, one of tens of thousands
_HEAD = b"GET /index HTTP/1.1\r\nHost: t\r\nX-Filler: " + b"a" * 100 + b"\r\n"
_POST = b"POST /todo HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n"

# What each sends at once, and then again and again; and its receive buffer, where it does not mean to read.
KINDS = {
    "silent": (b"", b"", None),
    "heads": (_HEAD, b"X-A: b\r\n", None),
    "bodies": (_POST, b"a" * 50, None),
    "never reading": (request_bytes("GET", "/todo") * 20, b"", 4096),
    "pipelining": (request_bytes("GET", "/todo") * 300, request_bytes("GET", "/todo") * 300, 4096),
}


def raise_descriptor_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))


def _open(address, source, buffer, count, first):
    """So many connections, some at a time: a SYN that is lost to a full queue delays only its own."""
    opened = []
    while len(opened) < count:
        waiting, poll = {}, select.poll()
        for _ in range(min(_TOGETHER, count - len(opened))):
            sock = socket.socket()
            if buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
            sock.setblocking(False)
            sock.connect_ex(address)
            poll.register(sock, select.POLLOUT)
            waiting[sock.fileno()] = sock
        while waiting:
            for fd, _ in poll.poll():
                poll.unregister(fd)
                sock = waiting.pop(fd)
                if _send(sock, first):
                    opened.append(sock)
        time.sleep(_PAUSE_S)
    return opened


def _send(sock, data):
    """False once the connection is gone."""
    try:
        if data:
            sock.send(data)
    except BlockingIOError:
        pass
    except OSError:
        sock.close()
        return False
    return True


def _attack(address, kind, count, source, pipe):
    raise_descriptor_limit(count + 100)
    first, again, buffer = KINDS[kind]
    sockets = _open(address, source, buffer, count, first)
    pipe.send(len(sockets))
    while not pipe.poll(_TICK_S):
        if again:
            sockets = [sock for sock in sockets if _send(sock, again)]
    for sock in sockets:
        sock.close()


class Attack:
    """`count` hostile clients of a kind, from the moment that `opened` has returned to `end`."""

    def __init__(self, address, kind, count, source):
        self.pipe, there = _FORK.Pipe()
        self.process = _FORK.Process(target=_attack, daemon=True, args=(address, kind, count, source, there))
        self.process.start()
        there.close()

    def opened(self):
        """How many."""
        return self.pipe.recv()

    def end(self):
        try:
            self.pipe.send("end")
        except BrokenPipeError:
            pass
        self.process.join(20)
        self.process.kill()


def _ask(address, target, source, pipe):
    """One request every 10 ms, in turn on a connection that is kept and on a new one."""
    kept, delays, late, failures = None, [], [], []
    while not pipe.poll():
        for is_new in (False, False, False, True):
            begin = time.monotonic()
            try:
                if is_new:
                    with Connection(address, source=(source, 0)) as connection:
                        status = connection.request("GET", target).status
                else:
                    kept = kept or Connection(address, source=(source, 0))
                    status = kept.request("GET", target).status
                if status != 200:
                    failures.append(status)
            except Exception as failure:
                failures.append(repr(failure))
                kept = None
            end = time.monotonic()
            delays.append(end - begin)
            time.sleep(0.01)
            late.append(time.monotonic() - end - 0.01)
    pipe.send((delays, late, failures))


class Guest:
    """An ordinary client at a modest rate, and what it went through."""

    def __init__(self, address, target="/todo", source="127.0.9.1"):
        self.pipe, there = _FORK.Pipe()
        self.process = _FORK.Process(target=_ask, daemon=True, args=(address, target, source, there))
        self.process.start()
        there.close()

    def leave(self):
        """(99th percentile in seconds, how late its own wakes were at that percentile, how many requests, failures)"""
        self.pipe.send("leave")
        delays, late, failures = self.pipe.recv()
        self.process.join()
        return percentile(delays, 99), percentile(late, 99), len(delays), failures

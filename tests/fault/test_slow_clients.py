"""
Slow and hostile clients: what they cost, and that ordinary ones hardly notice. Every figure is printed at the end of the run.

Latency is that of a guest: an ordinary client at a modest rate, on connections kept and new. It shares its cores with the attack,
so what its own sleeps were late is granted to it, and a siege that went badly may be repeated once.
"""
import re
import subprocess
import time
from pathlib import Path

import pytest

from harness.daemon import established_tcp
from harness.hostile import KINDS, Attack, Guest, raise_descriptor_limit
from harness.waiting import SANITIZE, SLOW, Stopwatch, wait_until
from harness.wire import Connection, request_bytes

CLIENTS = 300 if SANITIZE else 10000
P99_MAX_S = 0.05
MEMORY_MAX_BYTES = 16 << 10
SIEGE_S = 2
TABLE_BYTES = 1 << 20  # of rate_limit
ATTACKER, PROXY = "127.0.8.1", "127.0.8.2"


def own_memory(daemon):
    """What its processes have allocated, shared memory included; programs and libraries are no part of it."""
    fields = ("Pss_Anon:", "Pss_Shmem:")
    return 1024 * sum(int(line.split()[1]) for pid in [daemon.master, *daemon.children()]
                      for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith(fields))


def count(daemon):
    port = daemon.address[1]
    return sum(local == port for local, _ in established_tcp().values())


def peak_memory(daemon, seconds):
    watch, most = Stopwatch(), 0
    while watch.seconds < seconds:
        most = max(most, own_memory(daemon))
    return most


def wait_empty(daemon):
    wait_until(lambda: sum(daemon.connections().values()) == 0, "the last connection to go", 20 * SLOW, poll_s=0.1)


class Siege:
    """`attack` is what happens meanwhile: it returns what to call at its end. `stays`: bytes that may stay, beyond a tenth of what a
    daemon in use had before."""

    def __init__(self, daemon, attack, stays=0):
        self.before = own_memory(daemon)
        guest = Guest(daemon.address)
        end = attack()
        self.peak = peak_memory(daemon, SIEGE_S)
        self.held = count(daemon)
        self.p99, self.late, self.asked, self.failures = guest.leave()
        end()
        wait_empty(daemon)
        watch, most = Stopwatch(), 1.1 * self.before + stays
        while (after := own_memory(daemon)) > most and watch.seconds < 5:  # what is left is given back at the next tick
            time.sleep(0.1)
        self.after, self.is_given_back = after, after <= most

    def is_good(self):
        return SANITIZE or (self.p99 - self.late < P99_MAX_S and self.is_given_back)

    def __str__(self):
        return (f"p99 {1000 * self.p99:.1f} ms of {self.asked} (sleeps {1000 * self.late:.1f} ms late), memory {self.before >> 10} KiB, "
                f"{self.peak >> 10} at most, {self.after >> 10} after")


def besiege(daemon, attack, stays=0):
    siege = Siege(daemon, attack, stays)
    if not siege.is_good():
        siege = Siege(daemon, attack)
    assert not siege.failures, siege.failures
    assert siege.is_good(), str(siege)
    return siege


@pytest.fixture
def warm(todod):
    """A daemon that has seen some of it already: the memory before is that of a daemon in use."""
    def start(kind=None, **options):
        raise_descriptor_limit(CLIENTS + 1000)
        daemon = todod(worker_timeout_s=20, **options)
        for i in range(20):
            daemon.post(f"todo {i}")
        for one in [kind] if kind else KINDS:
            attack = Attack(daemon.address, one, 200, ATTACKER)
            attack.opened()
            attack.end()
        wait_empty(daemon)
        return daemon
    return start


@pytest.mark.parametrize("kind", KINDS)
def test_ten_thousand(warm, counted, kind):
    daemon = warm(kind, header_timeout_s=60, write_timeout_s=60)  # the first of them stay until the last has come

    def attack():
        attack = Attack(daemon.address, kind, CLIENTS, ATTACKER)
        assert attack.opened() == CLIENTS
        return attack.end
    siege = besiege(daemon, attack)
    each = (siege.peak - siege.before) / CLIENTS
    counted(f"{CLIENTS} clients, {siege.held} held, {each:.0f} bytes each; {siege}")
    assert siege.held >= CLIENTS * 9 // 10
    if not SANITIZE:
        assert each < MEMORY_MAX_BYTES


ATTACKS = {"slowloris": ["-H", "-i", "1"], "slow body": ["-B", "-i", "1", "-s", "60000"], "range": ["-R", "-a", "5", "-b", "3000"],
           "slow read": ["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-k", "3"]}


def test_slowhttptest(warm, counted):
    """Its four attacks at once."""
    daemon = warm(header_timeout_s=2, write_timeout_s=2)
    connections = str(50 if SANITIZE else 1000)

    def attack():
        running = [subprocess.Popen(["slowhttptest", *options, "-c", connections, "-r", connections, "-l", str(SIEGE_S), "-u", daemon.url + "/todo"],
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) for options in ATTACKS.values()]

        def end():
            for one, name in zip(running, ATTACKS):
                output, _ = one.communicate(timeout=30 * SLOW)
                assert one.returncode == 0 and "service available:   NO" not in output, f"{name}:\n{output[-3000:]}"
        return end
    counted(str(besiege(daemon, attack)))


def test_the_kernel_keeps_little_for_who_does_not_read(warm):
    """Else it is megabytes each, and TCP on the whole machine comes to a halt."""
    daemon = warm("silent")
    with daemon.connect(receive_buffer=4096) as connection:
        connection.sock.setblocking(False)

        def unsent():
            try:
                connection.sock.send(request_bytes("GET", "/todo") * 100)
            except BlockingIOError:
                pass
            sockets = subprocess.run(["ss", "-tinH", "sport", "=", f":{daemon.address[1]}"], capture_output=True, text=True, check=True).stdout
            return max((int(found) for found in re.findall(r"notsent:(\d+)", sockets)), default=0)
        most = []
        wait_until(lambda: (most.append(unsent()), most[-1] > 16 << 10)[1], lambda: f"answers that nobody reads: {most}")
        for _ in range(20):
            most.append(unsent())
            time.sleep(0.01)
        assert max(most) < 160 << 10, most


def test_a_flood_from_a_hundred_thousand_addresses(warm, counted):
    """Spoofed in what a trusted proxy says: each has a bucket of its own, and the guest has its own among them."""
    daemon = warm("silent", rate_limit=200, trusted_proxies=PROXY)
    addresses, together = 2000 if SANITIZE else 100000, 500
    fields = "GET /index HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 20.{}.{}.{}\r\n\r\n"
    requests = [fields.format(i >> 16, i >> 8 & 255, i & 255) for i in range(addresses)]
    answers = []

    def attack():
        with Connection(daemon.address, source=(PROXY, 0)) as proxy:
            for first in range(0, addresses, together):
                proxy.send("".join(requests[first:first + together]).encode())
                got = b""
                while got.count(b'{"msg": "hello world"}') + got.count(b'"status": 429') < together:
                    got += proxy.sock.recv(1 << 20)
                answers.append(got.count(b"HTTP/1.1 200 OK\r\n"))
        return lambda: None
    siege = besiege(daemon, attack, stays=TABLE_BYTES)
    counted(f"{addresses} addresses; {siege}")
    assert sum(answers) % addresses == 0, "nobody is limited for what others did"

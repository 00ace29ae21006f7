"""Real MongoDB servers: one alone, and a replica set of three. A test that cannot have one fails."""
import os
import signal
import subprocess
import time

import pymongo
import pymongo.errors

from harness.daemon import ROOT, free_port, is_alive, state_of
from harness.waiting import wait_until

ELECTION_TIMEOUT_MS = 2000


def mongod_program():
    script = ROOT / "tests/mongod"
    if script.exists():
        found = subprocess.run([script], stdout=subprocess.PIPE, text=True, check=True, timeout=600)
        return found.stdout.strip()
    return os.environ["MONGOD"]


class Mongod:
    def __init__(self, program, directory, arguments=()):
        self.directory = directory
        (directory / "data").mkdir(parents=True)
        self.port = free_port()
        self.command = ["setpriv", "--pdeathsig", "KILL", program, "--dbpath", directory / "data",
                        "--port", str(self.port), "--bind_ip", "127.0.0.1", "--nounixsocket",
                        "--wiredTigerCacheSizeGB", "0.25", "--quiet",
                        "--setParameter", "diagnosticDataCollectionEnabled=false", *arguments]
        self.process = None
        self.start()

    def start(self, wait=True):
        with open(self.directory / "mongod.log", "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        if wait:
            self.wait_ready()

    def client(self, timeout_ms=2000):
        return pymongo.MongoClient("127.0.0.1", self.port, directConnection=True, connectTimeoutMS=timeout_ms,
                                   serverSelectionTimeoutMS=timeout_ms, socketTimeoutMS=20000)

    def wait_ready(self):
        def answers():
            assert self.process.poll() is None, (self.directory / "mongod.log").read_text()[-3000:]
            try:
                with self.client(200) as client:
                    return client.admin.command("ping")
            except pymongo.errors.PyMongoError:
                return None
        wait_until(answers, f"mongod on port {self.port}", timeout_s=60, poll_s=0.05)

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def restart(self):
        self.start(wait=False)

    def pause(self):
        """It stands still when this returns."""
        self.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: state_of(self.process.pid) == "T", "mongod stands still")

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def is_running(self):
        return is_alive(self.process.pid)

    def make_whole(self):
        """Undoes whatever a test did to it."""
        if self.process.poll() is None:
            self.resume()
            self.wait_ready()
        else:
            self.start()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def uri(self, database, options=""):
        return f"mongodb://127.0.0.1:{self.port}/{database}{'?' if options else ''}{options}"

    def database(self, name):
        return self.client()[name]


class ReplicaSet:
    name = "todod"

    def __init__(self, program, directory):
        self.members = [Mongod(program, directory / str(i), ["--replSet", self.name, "--oplogSize", "64"])
                        for i in range(3)]
        config = {"_id": self.name, "version": 1,
                  "settings": {"electionTimeoutMillis": ELECTION_TIMEOUT_MS, "heartbeatIntervalMillis": 500},
                  "members": [{"_id": 0, "host": self._host(0)}]}
        with self.members[0].client() as client:
            # One member elects itself at once; the others join it, which is quicker than an election of three.
            client.admin.command("replSetInitiate", config)
            wait_until(lambda: client.admin.command("hello")["isWritablePrimary"], "a primary", 60)
            for i in (1, 2):
                config["version"] += 1
                config["members"].append({"_id": i, "host": self._host(i)})
                client.admin.command("replSetReconfig", config, force=True)
        self.wait_healthy()

    def _host(self, i):
        return f"127.0.0.1:{self.members[i].port}"

    def states(self):
        for member in self.members:
            if not member.is_running():
                continue
            try:
                with member.client(500) as client:
                    return [m["stateStr"] for m in client.admin.command("replSetGetStatus")["members"]]
            except pymongo.errors.PyMongoError:
                continue
        return []

    def wait_healthy(self):
        wait_until(lambda: sorted(self.states()) == ["PRIMARY", "SECONDARY", "SECONDARY"],
                   lambda: f"a healthy replica set: {self.states()}", timeout_s=90, poll_s=0.1)

    def primary(self):
        """The member that says it is the primary, or None."""
        for member in self.members:
            if not member.is_running():
                continue
            try:
                with member.client(300) as client:
                    if client.admin.command("hello")["isWritablePrimary"]:
                        return member
            except pymongo.errors.PyMongoError:
                pass
        return None

    def wait_primary(self, other_than=None):
        return wait_until(lambda: (member := self.primary()) is not other_than and member, "a new primary",
                          timeout_s=60, poll_s=0.02)

    def step_down(self):
        """The primary resigns; returns it. It stays away from the office for 15 s: longer than a secondary on a slow disk may need
        to catch up, without which it does not resign."""
        primary = self.wait_primary()
        with primary.client() as client:
            try:
                client.admin.command("replSetStepDown", 15, secondaryCatchUpPeriodSecs=10)
            except pymongo.errors.AutoReconnect:
                pass
        return primary

    def make_whole(self):
        for member in self.members:
            member.make_whole()
        self.wait_healthy()

    def close(self):
        for member in self.members:
            member.close()

    def uri(self, database, options=""):
        hosts = ",".join(self._host(i) for i in range(3))
        return f"mongodb://{hosts}/{database}?replicaSet={self.name}{'&' if options else ''}{options}"


def new_database_name(prefix="t"):
    return f"{prefix}{time.time_ns():x}"

"""A machine of a cluster: a daemon with its own ways to the Redis and the MongoDB that all share."""
from harness.proxy import MongoProxy, RedisProxy
from harness.waiting import SLOW, wait_until

HIT = "todod; hit"  # Cache-Status of a page that the worker had


def contents(response):
    return [todo["content"] for todo in response.data]


def cache_state(daemon):
    """What /readyz says of the cache; None when it is not ready."""
    response = daemon.request("GET", "/readyz")
    return response.json["cache"] if response.status == 200 else None


def wait_cache(daemon, state, timeout_s=15 * SLOW):
    wait_until(lambda: cache_state(daemon) == state,
               lambda: f"a cache that is {state}, not {cache_state(daemon)}:\n{daemon.log[-3000:]}", timeout_s)


class Machine:
    def __init__(self, todod, proxy, redis_port, mongo_port, database, mode, **options):
        """Begins to start it: see wait_ready."""
        self.redis, self.mongo = proxy(RedisProxy, redis_port), proxy(MongoProxy, mongo_port)
        options.setdefault("workers", 2)
        self.daemon = todod(store=self.mongo.uri(database), cache_mode=mode, wait=False,
                            cache=f"redis://127.0.0.1:{self.redis.port}", **options)

    def wait_ready(self):
        """Until it asks Redis for pages."""
        self.daemon.wait_ready()
        self.daemon.wait_store()
        wait_cache(self.daemon, "ok")
        wait_until(lambda: (self.get(), self.redis.counts["acquire"])[1], "Redis is asked", 10 * SLOW)

    @property
    def address(self):
        return self.daemon.address

    def connect(self, **how):
        return self.daemon.connect(**how)

    def post(self, content):
        return self.daemon.post(content)

    def get(self):
        """The first page."""
        response = self.daemon.request("GET", "/todo")
        assert response.status == 200, response
        return response

    def contents(self):
        return contents(self.get())

    def shows(self, todo):
        return any(shown["id"] == todo["id"] for shown in self.get().data)

    def warm(self):
        """Until the page is served from memory, or from Redis. Returns it."""
        def known():
            response = self.get()
            return response if (response.field("Cache-Status") or "").startswith(HIT) else None
        return wait_until(known, lambda: f"a hit, not {self.get()}", 10 * SLOW)

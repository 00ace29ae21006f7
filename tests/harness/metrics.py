"""What /metrics says, read strictly; and a real Prometheus that scrapes it."""
import json
import re
import socket
import subprocess
import urllib.parse
import urllib.request

from harness.daemon import free_port
from harness.waiting import wait_until
from harness.wire import Connection

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="[^"\\\n]*",?)+)\})? (\d+(?:\.\d+)?)')
_LABEL = re.compile(r'([a-z_]+)="([^"]*)"')
_SUFFIXES = ("_bucket", "_sum", "_count")


class Metrics:
    """One scrape: families in order, each with its kind and its samples {labels: value}."""

    def __init__(self, text):
        self.kinds, self.samples = {}, {}
        family = None
        for line in text.splitlines():
            if line.startswith("# HELP "):
                _, _, family, words = line.split(" ", 3)
                assert words and family not in self.kinds, line
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name == family and kind in ("counter", "gauge", "histogram"), line
                self.kinds[family] = kind
            else:
                self._read_sample(family, line)

    def _read_sample(self, family, line):
        match = _SAMPLE.fullmatch(line)
        assert match, f"no sample: {line!r}"
        name, labels, value = match.groups()
        bare = next((name[:-len(end)] for end in _SUFFIXES if name.endswith(end)), name)
        assert (bare if self.kinds[family] == "histogram" else name) == family, f"{line} within {family}"
        key = (name, frozenset(_LABEL.findall(labels or "")))
        assert key not in self.samples, f"twice: {line}"
        self.samples[key] = float(value)

    def value(self, name, **labels):
        """The sample with just these labels."""
        return self.samples[name, frozenset(labels.items())]

    def sum(self, name, **labels):
        """Of all samples that have these labels."""
        wanted = set(labels.items())
        return sum(value for (have, all_of_it), value in self.samples.items() if have == name and wanted <= all_of_it)

    def by(self, name, *labels):
        """{the values of these labels: sample}, zeros left out."""
        found = {}
        for (have, all_of_it), value in self.samples.items():
            if have == name and value:
                got = dict(all_of_it)
                key = tuple(got[label] for label in labels)
                found[key if len(key) > 1 else key[0]] = value
        return found


def scrape_text(address):
    with Connection(address) as connection:
        response = connection.request("GET", "/metrics", check=False)
    assert response.status == 200 and response.field("Content-Type") == CONTENT_TYPE, response
    return response.body.decode()


def scrape(address):
    return Metrics(scrape_text(address))


class Prometheus:
    """A server that scrapes these (host, port) every second."""

    def __init__(self, directory, targets):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = directory / "prometheus.yml"
        config.write_text(json.dumps({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{"job_name": "todod", "static_configs": [
                {"targets": [f"{host}:{port}" for host, port in targets]}]}]}))
        self.log = directory / "prometheus.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "prometheus", f"--config.file={config}",
                 f"--storage.tsdb.path={directory}/prometheus", f"--web.listen-address=127.0.0.1:{self.port}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def close(self):
        self.process.kill()
        self.process.wait()

    def _get(self, path, **arguments):
        try:
            with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(arguments)}", timeout=5) as answer:
                return json.load(answer)["data"]
        except (OSError, socket.timeout):  # it is starting
            assert self.process.poll() is None, self.log.read_text()
            return None

    def query(self, expression):
        """[(labels, value)], empty while there is nothing."""
        data = self._get("/api/v1/query", query=expression) or {"result": []}
        return [(sample["metric"], float(sample["value"][1])) for sample in data["result"]]

    def wait_for(self, expression, condition, timeout_s=30):
        return wait_until(lambda: (found := self.query(expression)) and condition(found) and found,
                          lambda: f"{expression}: {self.query(expression)}\n{self.log.read_text()[-2000:]}", timeout_s, 0.1)

    def target_errors(self):
        """None while there is no answer."""
        data = self._get("/api/v1/targets")
        return data and [target["lastError"] for target in data["activeTargets"] if target["lastError"]]

"""A raw-socket HTTP/1.1 client that forgives nothing.

Every answer is checked as it is read, so that each test also proves what contract and RFCs ask of *every*
answer: one Content-Length (none with 204 and 304), a Date, problem+json for every error, Allow with 405, Retry-After
with 429 and 503.
"""
import gzip
import json
import re
import socket

TIMEOUT_S = 20

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) ([\t\x20-\x7e]*)")
_FIELD = re.compile(rb"(" + _TOKEN + rb"): ([\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?|)")
_DATE = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) "
                   r"\d{4} \d\d:\d\d:\d\d GMT")
_ESCAPE = re.compile(rb"\\(u....|.)", re.S)
_NEEDED_ESCAPE = re.compile(rb'["\\bfnrt]|u00[01][0-9a-fA-F]')


class Closed(Exception):
    """The server closed the connection where an answer should have been. `got` is what came before."""

    def __init__(self, got=b""):
        super().__init__(f"connection closed after {got!r}")
        self.got = got


def _refuse_constant(name):
    raise ValueError(f"{name} is no JSON")


def strict_json(data):
    """RFC 8259: UTF-8, no NaN, no duplicate names."""
    def members(pairs):
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names)), f"duplicate names in {data!r}"
        return dict(pairs)
    return json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=members)


class Response:
    def __init__(self, status, reason, fields, body, head_only):
        self.status, self.reason, self.fields, self.body, self.head_only = status, reason, fields, body, head_only

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def field(self, name):
        values = self.all(name)
        assert len(values) <= 1, f"{name} given {len(values)} times"
        return values[0] if values else None

    @property
    def content(self):
        """The body without its coding."""
        coding = self.field("Content-Encoding")
        assert coding in (None, "gzip"), self
        return gzip.decompress(self.body) if coding else self.body

    @property
    def json(self):
        assert self.field("Content-Type") in ("application/json", "application/problem+json"), self
        return strict_json(self.content)

    @property
    def data(self):
        return self.json["data"]

    @property
    def detail(self):
        return self.json["detail"]

    @property
    def allow(self):
        return {method.strip() for method in (self.field("Allow") or "").split(",") if method.strip()}

    @property
    def next(self):
        """The target of Link: <…>; rel="next", or None."""
        link = self.field("Link")
        if link is None:
            return None
        match = re.fullmatch(r'<(/todo\?[^>\s]*after=[^>\s]+)>; rel="next"', link)
        assert match, f"malformed Link: {link}"
        return match.group(1)

    @property
    def closes(self):
        return (self.field("Connection") or "").lower() == "close"

    def __repr__(self):
        return f"<{self.status} {self.reason} {self.fields} {self.body[:300]!r}>"

    def check(self):
        assert _DATE.fullmatch(self.field("Date") or ""), f"Date missing or malformed: {self}"
        assert not self.all("Transfer-Encoding"), self
        if self.status == 405:
            assert self.field("Allow") is not None, f"405 without Allow: {self}"
        if self.status in (429, 503):
            assert re.fullmatch(r"[1-9]\d*", self.field("Retry-After") or ""), f"{self.status} without Retry-After: {self}"
        if self.status >= 400:
            assert self.field("Content-Type") == "application/problem+json", self
            if not self.head_only:
                self.check_problem()
        elif self.body:
            assert self.field("Content-Type") == "application/json", self
            self.check_escapes()

    def check_problem(self):
        problem = strict_json(self.body)
        assert problem["status"] == self.status, self
        assert isinstance(problem["title"], str) and problem["title"], self
        detail = problem["detail"]
        assert isinstance(detail, str) and detail.strip() == detail and detail, self
        assert not re.search(r"[\x00-\x1f\x7f]", detail), f"control characters in the detail: {self}"

    def check_escapes(self):
        """JSON out: no escapes beyond the necessary ones."""
        for escape in _ESCAPE.findall(self.content):
            assert _NEEDED_ESCAPE.fullmatch(escape), f"needless escape {escape!r}: {self}"


class Connection:
    """One client connection. `address` is (host, port) or a path of a unix socket."""

    def __init__(self, address, timeout_s=TIMEOUT_S, source=None, receive_buffer=None):
        family = (socket.AF_UNIX if isinstance(address, str) else
                  socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(timeout_s)
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.sock.bind(source)
        try:
            self.sock.connect(address)
        except BaseException:
            self.sock.close()
            raise
        if family != socket.AF_UNIX:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)
        return self

    def _receive(self):
        got = self.sock.recv(65536)
        if not got:
            raise Closed(self.pending)
        self.pending += got

    def _until(self, end):
        while end not in self.pending:
            assert len(self.pending) < 1 << 20, "an endless head"
            self._receive()
        taken, self.pending = self.pending.split(end, 1)
        return taken

    def read(self, head_only=False, check=True):
        """Reads one answer. Raises Closed (nothing, or half an answer, came) or socket.timeout."""
        lines = self._until(b"\r\n\r\n").split(b"\r\n")
        match = _STATUS_LINE.fullmatch(lines[0])
        assert match, f"malformed status line {lines[0]!r}"
        status, fields = int(match.group(1)), []
        for line in lines[1:]:
            field = _FIELD.fullmatch(line)
            assert field, f"malformed field {line!r}"
            fields.append((field.group(1).decode(), field.group(2).decode()))
        response = Response(status, match.group(2).decode(), fields, b"", head_only)
        if status < 200:
            assert not response.all("Content-Length"), response
            return response
        length = response.field("Content-Length")
        if status in (204, 304):
            assert length is None, f"Content-Length with {status}: {response}"
        else:
            assert length is not None and re.fullmatch(r"\d+", length), f"no Content-Length: {response}"
            if not head_only:
                while len(self.pending) < int(length):
                    self._receive()
                response.body, self.pending = self.pending[:int(length)], self.pending[int(length):]
        if check:
            response.check()
        return response

    def read_end(self):
        """The server closes the connection, in order, and has nothing more to say."""
        while True:
            assert not self.pending, f"bytes after the last answer: {self.pending[:200]!r}"
            try:
                self._receive()
            except Closed:
                return

    def is_open(self):
        """No end of file has come so far (and nothing else)."""
        self.sock.setblocking(False)
        try:
            return self.sock.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.sock.settimeout(TIMEOUT_S)

    def request(self, method, target, body=None, fields=(), **read):
        self.send(request_bytes(method, target, body, fields))
        return self.read(head_only=method == "HEAD", **read)


def request_bytes(method, target, body=None, fields=(), version="1.1"):
    """A well-formed request. `body` may be bytes, or a dict or list: then it is sent as JSON."""
    fields = list(fields)
    if not isinstance(body, (bytes, type(None))):
        body = json.dumps(body).encode()
        fields.append(("Content-Type", "application/json"))
    names = {name.lower() for name, _ in fields}
    if "host" not in names:
        fields.insert(0, ("Host", "todod.test"))
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        fields.append(("Content-Length", str(len(body))))
    head = f"{method} {target} HTTP/{version}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields) + "\r\n"
    return head.encode("latin-1") + (body or b"")


def form(body):
    """Fields and body of a form post."""
    return {"body": body, "fields": [("Content-Type", "application/x-www-form-urlencoded")]}


def chunked(*parts, trailers=b""):
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailers + b"\r\n"

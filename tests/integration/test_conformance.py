"""RFC 9110 and 9112, request by request: the tables in tests/conformance, against todod and, but for what its resources are, against nginx.

A line of a table is a case, its columns set apart by " | ":

    name | section | bytes | expectation | nginx: expectation, why

bytes        \\r \\n \\t \\xHH; \\(text)*N repeats; \\. waits for an answer; \\! closes the sending side; $name stands for
             what a line "$name = text" above said. $etag and $tag are the entity tag of GET /todo with and without its
             quotes, $id is the id of a todo.
expectation  the status of each answer, h behind it where the request was a HEAD; then what becomes of the connection,
             keep or close. More may follow about the last answer, each behind a ";": `Name: value`, `no Name`,
             `body TEXT`, `holds TEXT`.
nginx        what it does where it differs, or `-` where the case is none for it; nginx is asked for the statuses and
             the connection alone. 0.9 is an answer without a head.

Behind the bytes of each case comes a request of the runner's own. It is answered when, and only when, the connection is
kept and the case ended where it should: a server that takes too much or too little for one message fails.
"""
import random
import re
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.nginx import Nginx
from harness.wire import Closed, Connection, form

TABLES = Path(__file__).resolve().parents[1] / "conformance"
AREAS = sorted(path.stem for path in TABLES.glob("*.txt"))
# What is no matter of todod's own resources.
SHARED = ["chunks", "connection", "content_length", "expect", "fields", "host", "request_line", "target", "transfer_encoding"]

PROBE = b"GET /healthz HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n"
PROBE_BODY = b'{"status": "ok"}'
CONVERSATIONS = 32  # at a time
BYTEWISE_MAX = 400  # longer ones are cut in two only

AWAIT, END = r"\.", r"\!"
_REPEAT = re.compile(r"\\\((.*?)\)\*(\d+)")
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|[rnt])")
_CONTROLS = {"r": "\r", "n": "\n", "t": "\t"}
_SECTION = re.compile(r"(911[02]|3986|contract) [0-9A-Z.]+")
_STATUSES = r"(none|0\.9|(\d{3}h?)( \d{3}h?)*)"
_EXPECTATION = re.compile(_STATUSES + r" (keep|close)(; .+)?")
_NGINX = re.compile(r"nginx: (-|" + _STATUSES + r" (keep|close)), .+")


# ---- tables --------------------------------------------------------------------------------------------

class Case(NamedTuple):
    where: str
    pieces: list  # of bytes, AWAIT and END
    expected: str
    facts: list
    nginx: str


def unescape(text):
    def character(match):
        code = match.group(1)
        return _CONTROLS.get(code) or chr(int(code[1:], 16))
    assert "\\" not in _ESCAPE.sub("", text), f"no such escape: {text}"
    return _ESCAPE.sub(character, text).encode("latin-1")


def pieces_of(text):
    text = _REPEAT.sub(lambda match: match.group(1) * int(match.group(2)), text)
    parts = re.split(r"(\\[.!])", text)
    pieces = [part if part in (AWAIT, END) else unescape(part) for part in parts if part]
    return pieces if END in pieces else pieces + [PROBE]


def expand(text, names):
    known = re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))
    text = known.sub(lambda match: names[match.group()], text)
    assert "$" not in text, f"a name that nobody has defined: {text}"
    return text


def read_table(area, names):
    """The cases of an area. `names` are known beforehand: {"$name": text}."""
    names, cases = dict(names), []
    for number, line in enumerate((TABLES / f"{area}.txt").read_text("ascii").splitlines(), 1):
        where = f"{area}.txt:{number}"
        if not line or line.startswith("#"):
            continue
        if definition := re.fullmatch(r"(\$[a-z]+) = (.*)", line):
            names[definition.group(1)] = expand(definition.group(2), names)
            continue
        name, section, data, expectation, *nginx = line.split(" | ")
        assert _SECTION.fullmatch(section) and _EXPECTATION.fullmatch(expectation), where
        assert not nginx or (len(nginx) == 1 and _NGINX.fullmatch(nginx[0])), where
        expected, *facts = expand(expectation, names).split("; ")
        of_nginx = _NGINX.fullmatch(nginx[0]).group(1) if nginx else expected
        assert not nginx or of_nginx != expected, f"{where}: no difference"
        cases.append(Case(f"{where} {name}", pieces_of(expand(data, names)), expected, facts, of_nginx))
    assert len(cases) == len({case.where.split(" ", 1)[1] for case in cases}), f"two cases of one name in {area}"
    return cases


# ---- conversations -------------------------------------------------------------------------------------

def whole(pieces):
    """What stands together in one write."""
    joined = []
    for piece in pieces:
        if joined and isinstance(piece, bytes) and isinstance(joined[-1], bytes):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def cut_in_two(pieces):
    pieces = whole(pieces)
    if pieces == [END]:
        return pieces
    longest = max(range(len(pieces)), key=lambda i: isinstance(pieces[i], bytes) and len(pieces[i]))
    at = random.randrange(len(pieces[longest]))
    return pieces[:longest] + [pieces[longest][:at], pieces[longest][at:]] + pieces[longest + 1:]


def byte_by_byte(pieces):
    return [part for piece in pieces for part in ([bytes([byte]) for byte in piece] if isinstance(piece, bytes) else [piece])]


def is_short(case):
    return sum(len(piece) for piece in case.pieces) <= BYTEWISE_MAX


def converse(address, pieces, may_reset=False):
    """All that the server says until it closes. Who was asked to close, and knows of nothing behind, may close at once:
    what comes later is reset. What it knows of may not cost the client its answer (RFC 9112 section 9.6)."""
    heard = b""
    with Connection(address) as connection:
        sock = connection.sock
        try:
            for piece in pieces:
                if piece == AWAIT:
                    heard += sock.recv(65536)
                elif piece == END:
                    sock.shutdown(socket.SHUT_WR)
                else:
                    sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it refused what came before, and says so
        try:
            while got := sock.recv(65536):
                heard += got
        except ConnectionResetError:
            if not may_reset:
                raise
    return heard


class Transcript(Connection):
    def __init__(self, heard):
        self.pending = heard

    def _receive(self):
        raise Closed(self.pending)


def answers_in(heard, expected, check):
    """(answers, words): without the answer to the probe, the words as in an expectation."""
    transcript, answers, words = Transcript(heard), [], []
    if heard and not heard.startswith(b"HTTP/"):
        return [], ["0.9", "close"]
    while transcript.pending:
        head_only = expected[len(words)].endswith("h") if len(words) < len(expected) else False
        answers.append(transcript.read(head_only, check))
        words.append(f"{answers[-1].status}{'h' * head_only}")
    if answers and answers[-1].body == PROBE_BODY:
        return answers[:-1], words[:-1] + ["keep"]
    return answers, (words or ["none"]) + ["close"]


# ---- verdicts ------------------------------------------------------------------------------------------

def holds(fact, answer):
    kind, _, text = fact.partition(" ")
    if kind == "no":
        return not answer.all(text)
    if kind == "body":
        return answer.body == text.encode()
    if kind == "holds":
        return text.encode() in answer.body
    return answer.field(kind[:-1]) == text


def complaint(case, answers, words):
    got = " ".join(words)
    if got != case.expected:
        return f"got {got}"
    if not all(holds(fact, answers[-1]) for fact in case.facts):
        return f"{answers[-1]} is not: {'; '.join(case.facts)}"
    # Who closes says so, with the last answer (RFC 9112 section 9.6); no need to where the client has closed.
    announced = [answer.closes for answer in answers]
    if any(announced[:-1]) or (END not in case.pieces and announced[-1:] == [words[-1] == "keep"]):
        return f"Connection: close in {announced} of {answers}"
    return None


def judge(address, case, delivery):
    """None, or what is wrong."""
    pieces = delivery(case.pieces)
    try:
        heard = converse(address, pieces, may_reset=delivery is not whole)
        answers, words = answers_in(heard, case.expected.split(), check=True)
        wrong = complaint(case, answers, words)
    except (AssertionError, OSError, Closed) as failure:
        wrong = repr(failure)
    return wrong and f"{case.where}: expected {case.expected}, {wrong}; sent as {str(pieces)[:500]}"


def judge_nginx(address, case):
    try:
        words = answers_in(converse(address, whole(case.pieces)), case.nginx.split(), check=False)[1]
        wrong = None if " ".join(words) == case.nginx else f"got {' '.join(words)}"
    except (AssertionError, OSError, Closed) as failure:
        wrong = repr(failure)
    return wrong and f"{case.where}: expected {case.nginx}, {wrong}"


def complaints_of(judgement, cases):
    with ThreadPoolExecutor(CONVERSATIONS) as pool:
        return "\n".join(filter(None, pool.map(judgement, cases)))


# ---- tests ---------------------------------------------------------------------------------------------

@pytest.fixture
def names(web):
    """What the tables know of the server's state. An area that asks for $etag may not write."""
    todo = web.request("POST", "/todo", **form(b"content=milk")).json
    etag = web.request("GET", "/todo").field("ETag")
    return {"$id": todo["id"], "$etag": etag, "$tag": etag.strip('"')}


@pytest.fixture(scope="module")
def nginx(scratch):
    server = Nginx(scratch / "nginx")
    yield server
    server.close()


@pytest.mark.parametrize("area", AREAS)
@pytest.mark.parametrize("delivery", [whole, cut_in_two, byte_by_byte])
def test_todod(web, names, area, delivery):
    cases = [case for case in read_table(area, names) if delivery is not byte_by_byte or is_short(case)]
    complaints = complaints_of(lambda case: judge(web.address, case, delivery), cases)
    assert not complaints, "\n" + complaints


@pytest.mark.parametrize("area", SHARED)
def test_nginx(nginx, area):
    """So that the tables say where todod is stricter, or nginx is."""
    cases = [case for case in read_table(area, {"$id": "1"}) if case.nginx != "-"]
    complaints = complaints_of(lambda case: judge_nginx(nginx.address, case), cases)
    assert not complaints, "\n" + complaints

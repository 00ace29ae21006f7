"""Contract sections 1 and 2: todos, and every request that there is. On both kinds of store."""
import gzip
import re
import shutil
import subprocess
import time
import uuid

import pytest

from harness.daemon import Todod
from harness.load import check_order
from harness.mongo import new_database_name
from harness.wire import form

UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
NOBODY = "01a2071d-6594-7a52-9f0e-3c2f1b6d8a47"
CONTENT_MAX = 16384
BODY_MAX = 65536
JSON = ("Content-Type", "application/json")
FORM = ("Content-Type", "application/x-www-form-urlencoded")


def post_json(daemon, body, content_type="application/json"):
    return daemon.request("POST", "/todo", body, [("Content-Type", content_type)])


def post_form(daemon, body):
    return daemon.request("POST", "/todo", **form(body))


def members(todo):
    return set(todo) == {"id", "content", "created_at", "is_finished", "finished_at"}


# ---- index and health ----------------------------------------------------------------------------------

def test_index_says_hello(shared):
    response = shared.request("GET", "/index")
    assert response.status == 200 and response.json == {"msg": "hello world"}


def test_healthz(shared):
    assert shared.request("GET", "/healthz").status == 200


def test_readyz_says_which_part_is_how(shared):
    response = shared.request("GET", "/readyz")
    assert response.status == 200
    assert response.json["store"] == "ok"
    assert response.json["cache"] in ("ok", "away", "local", "off")
    assert response.json["status"] in ("ok", "ready", "degraded")


# ---- creating ------------------------------------------------------------------------------------------

def test_post_answers_the_todo_and_its_location(shared):
    before = time.time()
    response = post_json(shared, b'{"content": "buy milk"}')
    after = time.time()
    todo = response.json
    assert response.status == 200 and members(todo)
    assert UUID7.fullmatch(todo["id"])
    assert todo["content"] == "buy milk"
    assert before - 0.000002 <= todo["created_at"] <= after + 0.000002
    assert todo["is_finished"] is False and todo["finished_at"] is None
    assert response.field("Location") == f"/todo/{todo['id']}"
    assert shared.request("GET", f"/todo/{todo['id']}").json == todo


def test_created_at_has_microseconds_and_no_more(shared):
    texts = [re.search(rb'"created_at": ?([0-9.]+)', post_json(shared, b'{"content":"x"}').body).group(1).decode()
             for _ in range(20)]
    for text in texts:
        assert re.fullmatch(r"\d{10}(\.\d{1,6})?", text), text
    assert any(len(text.partition(".")[2]) > 3 for text in texts)


def test_created_at_is_taken_when_the_request_is_complete(shared):
    with shared.connect() as connection:
        connection.send(b"POST /todo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{")
        time.sleep(0.3)
        before = time.time()
        connection.send(b'"content":"x"}')
        assert connection.read().json["created_at"] >= before - 0.000002


def test_curl_as_typed(shared):
    done = subprocess.run(["curl", "-sS", "-d", "content=buy milk", f"{shared.url}/todo"],
                          capture_output=True, text=True, timeout=30)
    assert '"buy milk"' in done.stdout, done


def test_curl_urlencoded(shared):
    done = subprocess.run(["curl", "-sS", "--data-urlencode", "content=Grüße & 100% +1", f"{shared.url}/todo"],
                          capture_output=True, text=True, timeout=30)
    assert '"Grüße & 100% +1"' in done.stdout, done


@pytest.mark.parametrize("arguments", [[], ["--form"]], ids=["json", "form"])
def test_httpie_as_typed(shared, directory, arguments):
    done = subprocess.run([shutil.which("http"), "--ignore-stdin", "--print=hb", *arguments, "POST",
                           f"{shared.url}/todo", "content=buy milk"], capture_output=True, text=True, timeout=60,
                          env={"PATH": "/usr/bin:/bin", "HOME": str(directory), "LC_ALL": "C.UTF-8"})
    assert done.stdout.startswith("HTTP/1.1 200 OK") and '"buy milk"' in done.stdout, done


@pytest.mark.parametrize("content", [
    "x", " x ", "\tx\n", "Grüße, 日本語, 🥛", "\u00a0", "\u2028", '"quoted" \\ and /', "a\x01b\x1f\x7f", "\ufeff", "\U0010ffff",
    "a" * CONTENT_MAX, "é" * (CONTENT_MAX // 2)],
    ids=lambda content: ascii(content[:12]))
def test_content_is_kept_as_sent(shared, content):
    todo = shared.post(content)
    assert todo["content"] == content
    assert shared.request("GET", f"/todo/{todo['id']}").json == todo


@pytest.mark.parametrize("body, content", [
    (b"content=a+b", "a b"), (b"content=a%2Bb", "a+b"), (b"content=%F0%9F%A5%9B", "🥛"), ("content=é".encode(), "é"),
    (b"a=1&content=x&b=2", "x"), (b"&&content=x&&", "x"), (b"content=a=b", "a=b"), (b"content=a%26b%3d", "a&b="),
    (b"content=%0d%0a.", "\r\n."), (b"other=%41;&content=x", "x")])
def test_form(shared, body, content):
    response = post_form(shared, body)
    assert response.status == 200 and response.json["content"] == content


@pytest.mark.parametrize("body, content", [
    (b'{"content": "a\\u00e9\\ud83e\\udd5b\\n"}', "aé🥛\n"), (b' \r\n\t{ "content" : "x" } \n', "x"),
    (b'{"other": [1, {"content": 2}], "content": "x", "n": null}', "x"), (b'{"id": "mine", "content": "x"}', "x"),
    (b'{"content":"x","deep":' + b"[" * 30 + b"]" * 30 + b"}", "x")])
def test_json(shared, body, content):
    response = post_json(shared, body)
    assert response.status == 200 and response.json["content"] == content


@pytest.mark.parametrize("content_type", [
    "application/json", "Application/JSON", "application/json; charset=utf-8", "application/json;charset=UTF-8",
    'application/json; charset="utf-8"', "application/json ; charset=utf-8", "application/json; v=1"])
def test_json_media_types(shared, content_type):
    assert post_json(shared, b'{"content":"x"}', content_type).status == 200


@pytest.mark.parametrize("content_type", [
    "application/x-www-form-urlencoded", "APPLICATION/X-WWW-FORM-URLENCODED",
    "application/x-www-form-urlencoded; charset=utf-8", 'application/x-www-form-urlencoded;charset="UTF-8"'])
def test_form_media_types(shared, content_type):
    assert post_json(shared, b"content=x", content_type).status == 200


@pytest.mark.parametrize("content_type", [
    "text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx", "application/problem+json", "json", "/",
    "application/json, text/plain"])
def test_other_media_types_are_415_and_say_which_are_taken(shared, content_type):
    response = post_json(shared, b'{"content":"x"}', content_type)
    assert response.status == 415
    assert "application/json" in response.detail and "application/x-www-form-urlencoded" in response.detail


@pytest.mark.parametrize("content_type", ["application/json; charset=iso-8859-1", 'application/json;charset="utf-16"',
                                          "application/x-www-form-urlencoded; charset=latin1"])
def test_other_charsets_are_415_and_say_which_is_taken(shared, content_type):
    response = post_json(shared, b'{"content":"x"}', content_type)
    assert response.status == 415 and "UTF-8" in response.detail


def test_coded_bytes_are_not_taken_for_text(shared):
    body = gzip.compress(b'{"content":"x"}')
    response = shared.request("POST", "/todo", body, [("Content-Type", "application/json"), ("Content-Encoding", "gzip")])
    assert response.status == 415 and response.field("Accept-Encoding") == "identity" and "Content-Encoding" in response.detail


def test_a_body_without_media_type_is_415(shared):
    assert shared.request("POST", "/todo", b'{"content":"x"}').status == 415


@pytest.mark.parametrize("body", [
    b"", b"content=", b"other=x", b"Content=x", b"content=+", b"content=%20%09%0a%0b%0c%0d", b"content=%00", b"content=a%00b",
    b"content=%", b"content=%2", b"content=%zz", b"content=%ff", b"content=\xff", b"content=%c0%80", b"content=%ed%a0%80",
    b"content=%f4%90%80%80", b"content=a&content=b", b"content=a&content=a", b"content=x&conten%74=y"])
def test_invalid_forms_are_400(shared, body):
    assert post_form(shared, body).status == 400


@pytest.mark.parametrize("body", [
    b"", b"{}", b"[]", b'"x"', b"null", b'{"content": ""}', b'{"content": " \\t\\n"}', b'{"content": null}', b'{"content": 1}',
    b'{"content": ["x"]}', b'{"content": {"a": 1}}', b'{"Content": "x"}', b'{"content": "a\\u0000b"}', b'{"content": "\\ud800"}',
    b'{"content": "\xff"}', b'{"content": "\xc0\x80"}', b'{"content": "a", "content": "b"}', b'{"content": "a", "content": "a"}',
    b'{"content": "x", "n": {"a": 1, "a": 2}}', b"{'content': 'x'}", b'{"content": "x",}', b'{"content": "x"} x', b'{"content": "x"',
    b'\xef\xbb\xbf{"content": "x"}', b'{"content": "a\nb"}', b'{"content": "x", "n": NaN}', b'{"content": "x", "n": 01}',
    b'{"content":"x","deep":' + b"[" * 33 + b"]" * 33 + b"}", b"[" * 20000, b"// x\n{}"], ids=lambda body: ascii(body[:40]))
def test_invalid_json_is_400(shared, body):
    assert post_json(shared, body).status == 400


def test_a_post_with_nothing_is_400(shared):
    with shared.connect() as connection:
        assert connection.send(b"POST /todo HTTP/1.1\r\nHost: a\r\n\r\n").read().status == 400
        assert connection.request("GET", "/healthz").status == 200


@pytest.mark.parametrize("content", [b"a" * (CONTENT_MAX + 1), "é".encode() * (CONTENT_MAX // 2) + b"a"], ids=["ascii", "utf-8"])
def test_content_too_long_is_413(shared, content):
    assert post_form(shared, b"content=" + content).status == 413
    assert post_json(shared, b'{"content":"' + content + b'"}').status == 413


def test_a_body_of_just_the_limit_is_read(shared):
    body = b'{"content":"x","pad":"' + b"a" * (BODY_MAX - 24) + b'"}'
    assert len(body) == BODY_MAX
    assert post_json(shared, body).status == 200


def test_a_body_beyond_the_limit_is_413(shared):
    assert post_json(shared, b'{"content":"x","pad":"' + b"a" * (BODY_MAX - 23) + b'"}').status == 413


def test_a_refused_post_stores_nothing(shared):
    mark = uuid.uuid4().hex
    post_json(shared, b'{"content": "%s", "content": "%s"}' % ((mark.encode(),) * 2))
    post_form(shared, b"content=%s&content=%s" % ((mark.encode(),) * 2))
    post_json(shared, b'{"content": "%s"}' % mark.encode(), "text/plain")
    assert not any(mark in todo["content"] for todo in shared.request("GET", "/todo?limit=100").data)


# ---- conditions ----------------------------------------------------------------------------------------

def test_conditions_of_a_write_to_a_todo(shared):
    """A todo has no entity tag: "*" alone names it (RFC 9110 section 13)."""
    todo = shared.post("conditional")
    path = f"/todo/{todo['id']}"
    refused = [("If-Match", '"a"')], [("If-Match", "")], [("If-None-Match", "*")], [("If-Match", "*"), ("If-None-Match", "*")]
    for fields in refused:
        assert shared.request("PUT", path + "/finish", fields=fields).status == 412
        assert shared.request("DELETE", path, fields=fields).status == 412
    assert shared.request("GET", path).json == todo, "nothing was done"
    fields = [("If-Match", "*"), ("If-None-Match", '"a"')]
    assert shared.request("PUT", path + "/finish", fields=fields).json["is_finished"]
    assert shared.request("DELETE", path, fields=fields).status == 200
    for fields in (*refused, fields):
        assert shared.request("PUT", path + "/finish", fields=fields).status == 404
        assert shared.request("DELETE", path, fields=fields).status == 404


# ---- one todo ------------------------------------------------------------------------------------------

def test_get_delete_get(shared):
    todo = shared.post("x")
    path = f"/todo/{todo['id']}"
    assert shared.request("GET", path).json == todo
    deleted = shared.request("DELETE", path)
    assert deleted.status == 200 and deleted.json == {"id": todo["id"]}
    assert shared.request("GET", path).status == 404
    assert shared.request("DELETE", path).status == 404
    assert shared.request("PUT", f"{path}/finish").status == 404


def test_finish(shared):
    todo = shared.post("x")
    before = time.time()
    response = shared.request("PUT", f"/todo/{todo['id']}/finish")
    after = time.time()
    finished = response.json
    assert response.status == 200 and members(finished)
    assert before - 0.000002 <= finished["finished_at"] <= after + 0.000002
    assert finished == {**todo, "is_finished": True, "finished_at": finished["finished_at"]}
    assert shared.request("GET", f"/todo/{todo['id']}").json == finished


def test_finish_again_keeps_the_first_time(shared):
    path = f"/todo/{shared.post('x')['id']}"
    first = shared.request("PUT", f"{path}/finish").json
    assert shared.request("PUT", f"{path}/finish").json == first
    assert shared.request("GET", path).json == first


@pytest.mark.parametrize("body, content_type", [
    (b"", None), (b"{}", "application/json"), (b"\x00\xff rubbish", "text/plain"), (b'{"finished_at": 1}', None)])
def test_finish_ignores_its_body(shared, body, content_type):
    path = f"/todo/{shared.post('x')['id']}/finish"
    with shared.connect() as connection:
        fields = [("Content-Type", content_type)] if content_type else []
        assert connection.request("PUT", path, body, fields).json["is_finished"]
        assert connection.request("GET", "/index").status == 200


def test_upper_case_ids_are_taken_and_answered_in_lower_case(shared):
    todo = shared.post("x")
    path = f"/todo/{todo['id'].upper()}"
    assert shared.request("GET", path).json == todo
    assert shared.request("PUT", f"{path}/finish").json["id"] == todo["id"]
    assert shared.request("DELETE", path).json == {"id": todo["id"]}


@pytest.mark.parametrize("version", [1, 4, 5])
def test_an_id_of_any_version_is_an_id(shared, version):
    some = {1: uuid.uuid1(), 4: uuid.uuid4(), 5: uuid.uuid5(uuid.NAMESPACE_DNS, "todod")}[version]
    assert shared.request("GET", f"/todo/{some}").status == 404


@pytest.mark.parametrize("method, suffix", [("GET", ""), ("DELETE", ""), ("PUT", "/finish"), ("HEAD", "")])
def test_an_unknown_id_is_404(shared, method, suffix):
    assert shared.request(method, f"/todo/{NOBODY}{suffix}").status == 404


# ---- paths and methods ---------------------------------------------------------------------------------

@pytest.mark.parametrize("path", [
    "/", "/nowhere", "/todo/", "//todo", "//index", "/index/", "/INDEX", "/Todo", "/./index", "/todo/..", "/todo/../index", "/.",
    "/todo%2f" + NOBODY, "/todo/%2e%2e/index", "/todo//finish", f"/todo/{NOBODY}/", f"/todo/{NOBODY}/other", f"/todo/{NOBODY}/finish/",
    f"/todo/{NOBODY}/finish/x", f"/todo/{NOBODY}%2ffinish", "/todo/not-a-uuid", f"/todo/{NOBODY}0", f"/todo/{NOBODY[:-1]}",
    f"/todo/{{{NOBODY}}}", f"/todo/{NOBODY.replace('-', '')}", "/todo/" + "-" * 36, "/a/b/c/d/e/f/g", "/index;x", "/healthz/", "/metrics"])
def test_a_path_nobody_serves_is_404(shared, path):
    assert shared.request("GET", path).status == 404


def test_an_encoded_letter_is_that_letter(shared):
    assert shared.request("GET", "/%69ndex").json == {"msg": "hello world"}


@pytest.mark.parametrize("path", ["/todo/%zz", "/%", "/index%4", "/todo/%00", "/in%0adex", "/%ff", "/%c0%af", "/%7f"])
def test_a_broken_path_is_400(shared, path):
    assert shared.request("GET", path).status == 400


GETS = ["/index", "/todo", "/healthz", "/readyz"]
ALLOW = {
    "/index": {"GET", "HEAD", "OPTIONS"}, "/healthz": {"GET", "HEAD", "OPTIONS"}, "/readyz": {"GET", "HEAD", "OPTIONS"},
    "/todo": {"GET", "HEAD", "POST", "OPTIONS"}, f"/todo/{NOBODY}": {"GET", "HEAD", "DELETE", "OPTIONS"},
    f"/todo/{NOBODY}/finish": {"PUT", "OPTIONS"}}


@pytest.mark.parametrize("path", ALLOW)
def test_options(shared, path):
    response = shared.request("OPTIONS", path)
    assert response.status == 204 and response.allow == ALLOW[path]


def test_options_asterisk(shared):
    response = shared.request("OPTIONS", "*")
    assert response.status == 204 and {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"} <= response.allow


@pytest.mark.parametrize("path", ALLOW)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_another_method_is_405_with_allow(shared, path, method):
    if method in ALLOW[path]:
        method = "PATCH"
    with shared.connect() as connection:
        response = connection.request(method, path)
        assert response.status == 405 and response.allow == ALLOW[path]
        assert connection.request("GET", "/index").status == 200


def test_connect_is_405(web):
    assert web.request("CONNECT", "todod.test:80").status == 405


@pytest.mark.parametrize("method", ["BREW", "get", "Post", "PROPFIND", "!#$%&'*+-.^_`|~"])
def test_a_method_nobody_defined_is_501(shared, method):
    assert shared.request(method, "/todo").status == 501


@pytest.mark.parametrize("path", [*GETS, "/todo?limit=1", f"/todo/{NOBODY}", "/nowhere", "/todo?limit=x"])
def test_head_has_the_headers_of_get(shared, path):
    shared.post("one"), shared.post("two")
    with shared.connect() as connection:
        head, get = connection.request("HEAD", path), connection.request("GET", path)
        assert head.status == get.status
        changing = ("Date", "Age", "Cache-Status")
        assert [f for f in head.fields if f[0] not in changing] == [f for f in get.fields if f[0] not in changing]


def test_head_of_a_todo(shared):
    path = f"/todo/{shared.post('x')['id']}"
    assert shared.request("HEAD", path).field("Content-Length") == shared.request("GET", path).field("Content-Length")


# ---- lists ---------------------------------------------------------------------------------------------

@pytest.fixture(scope="module", params=["sqlite", "mongodb"])
def full(request, scratch):
    """A daemon with 250 todos that no test changes, and all of them in order."""
    path = scratch / f"full-{request.param}"
    uri = (f"sqlite:{path}/todo.db" if request.param == "sqlite"
           else request.getfixturevalue("_mongo_server").uri(new_database_name()))
    daemon = Todod(path, store=uri).wait_store()
    with daemon.connect() as connection:
        daemon.todos = [connection.request("POST", "/todo", {"content": f"todo {i}"}).json for i in range(250)]
    daemon.todos.reverse()
    yield daemon
    daemon.finish()


def test_an_empty_list(todod, store):
    response = todod(store=store).request("GET", "/todo")
    assert response.status == 200 and response.json == {"data": []} and response.next is None


def test_the_newest_ten(full):
    response = full.request("GET", "/todo")
    assert response.status == 200 and set(response.json) == {"data"}
    assert response.data == full.todos[:10] and response.next


def test_the_order_is_total(full):
    check_order(full.walk())


@pytest.mark.parametrize("query, start", [
    ("start=0", 0), ("start=5", 5), ("start=%31", 1), ("start=00012", 12), ("start=abc", 0), ("start=-1", 0), ("start=", 0), ("start", 0),
    ("start=1.5", 0), ("start=0x10", 0), ("start=+1", 0), ("start=1+", 0), ("start=%2B1", 0), ("start=%zz", 0), ("start=%", 0), ("start=%01", 0),
    ("start=1%00", 0), ("start=%ff", 0), ("start=%d9%a1", 0), ("start=3&start=7", 3), ("start=x&start=7", 0), ("foo=bar&start=4", 4),
    ("START=4", 0), ("foo=%zz", 0), ("&&start=2&", 2), ("", 0), ("start=249", 249), ("start=250", 250), ("start=10000", 10000)])
def test_start(full, query, start):
    response = full.request("GET", f"/todo?{query}")
    assert response.status == 200
    assert response.data == full.todos[start:start + 10]
    assert (response.next is not None) == (start + 10 < 250)


@pytest.mark.parametrize("start", ["10001", "99999999999", "18446744073709551615", "18446744073709551616", "9" * 30, "1" + "0" * 3000])
def test_start_too_large_is_400_and_names_after(full, start):
    response = full.request("GET", f"/todo?start={start}")
    assert response.status == 400 and "after=" in response.detail


def test_start_max_is_configured(todod):
    daemon = todod(start_max=20)
    assert daemon.request("GET", "/todo?start=20").status == 200
    assert daemon.request("GET", "/todo?start=21").status == 400


@pytest.mark.parametrize("limit", [1, 7, 10, 99, 100])
def test_limit(full, limit):
    assert full.request("GET", f"/todo?limit={limit}").data == full.todos[:limit]


@pytest.mark.parametrize("limit", ["0", "101", "x", "", "-1", "+5", "5+", "1.0", "%zz", "%", "%01", "%ff", "1%00", "9" * 30, "0x5"])
def test_another_limit_is_400(full, limit):
    assert full.request("GET", f"/todo?limit={limit}").status == 400


@pytest.mark.parametrize("query", ["limit", "limit=0&limit=5"])
def test_the_first_limit_counts(full, query):
    assert full.request("GET", f"/todo?{query}").status == 400
    assert full.request("GET", "/todo?limit=5&limit=0").data == full.todos[:5]


def test_start_and_limit(full):
    assert full.request("GET", "/todo?limit=3&start=100").data == full.todos[100:103]


@pytest.mark.parametrize("limit", [None, 1, 7, 50, 100])
def test_the_walk_by_links_meets_every_todo_once(full, limit):
    assert full.walk("/todo" if limit is None else f"/todo?limit={limit}") == full.todos


def test_the_walk_may_begin_anywhere(full):
    assert full.walk("/todo?start=33&limit=100") == full.todos[33:]


def test_the_link_carries_the_limit(full):
    assert re.search(r"[?&]limit=7(&|$)", full.request("GET", "/todo?limit=7").next)


def test_the_last_page_has_no_link(full):
    assert full.request("GET", "/todo?start=240").next is None
    assert full.request("GET", "/todo?start=239").next is not None


def cursor_of(daemon):
    return re.search(r"after=([^&]+)", daemon.request("GET", "/todo").next).group(1)


def test_after(full):
    assert full.request("GET", f"/todo?after={cursor_of(full)}&limit=20").data == full.todos[10:30]


def test_a_cursor_outlives_the_todo_it_was_made_of(todod, store):
    daemon = todod(store=store)
    todos = [daemon.post(str(i)) for i in range(6)][::-1]
    target = daemon.request("GET", "/todo?limit=2").next
    daemon.request("DELETE", f"/todo/{todos[1]['id']}")
    assert daemon.request("GET", target).data == todos[2:4]


@pytest.mark.parametrize("change", [
    lambda c: "", lambda c: "x", lambda c: c[:-1], lambda c: c + "A", lambda c: c + "=", lambda c: "!" + c[1:], lambda c: c[:-1] + "%",
    lambda c: "%zz" + c, lambda c: "%00", lambda c: c[:-4] + "....", lambda c: "~" * len(c), lambda c: "A" * 5000, lambda c: c + "%20",
    lambda c: "_" * len(c)],
    ids=range(14))
def test_a_malformed_cursor_is_400_or_414(full, change):
    cursor = change(cursor_of(full))
    assert full.request("GET", f"/todo?after={cursor}").status == (414 if len(cursor) > 4000 else 400)


def test_start_with_after_is_400(full):
    cursor = cursor_of(full)
    assert full.request("GET", f"/todo?start=0&after={cursor}").status == 400
    assert full.request("GET", f"/todo?after={cursor}&start=5").status == 400


def test_the_first_after_counts(full):
    cursor = cursor_of(full)
    assert full.request("GET", f"/todo?after={cursor}&after=x").data == full.todos[10:20]
    assert full.request("GET", f"/todo?after=x&after={cursor}").status == 400


# ---- consistency ---------------------------------------------------------------------------------------

def test_a_read_sees_what_was_written_before_through_any_worker(todod, store):
    daemon = todod(store=store, workers=5)
    for i in range(200):
        todo = daemon.post(f"todo {i}")
        assert daemon.request("GET", "/todo?limit=1").data == [todo]
        if i % 10 == 0:
            path = f"/todo/{todo['id']}"
            finished = daemon.request("PUT", f"{path}/finish").json
            assert daemon.request("GET", path).json == finished
            assert daemon.request("GET", "/todo").data[0] == finished
        if i % 10 == 5:
            assert daemon.request("DELETE", f"/todo/{todo['id']}").status == 200
            assert daemon.request("GET", f"/todo/{todo['id']}").status == 404
            assert todo not in daemon.request("GET", "/todo").data


def test_todos_survive_a_restart(todod, store):
    daemon = todod(store=store)
    todos = [daemon.post(f"todo {i}") for i in range(5)][::-1]
    assert daemon.stop() == 0
    daemon.start().wait_store()
    assert daemon.request("GET", "/todo").data == todos


def test_many_finishes_of_one_todo_agree_on_the_first_time(todod, store):
    daemon = todod(store=store, workers=5)
    path = f"/todo/{daemon.post('x')['id']}/finish"
    connections = [daemon.connect() for _ in range(30)]
    for connection in connections:
        connection.send(f"PUT {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    answers = {connection.read().json["finished_at"] for connection in connections}
    assert len(answers) == 1


def test_many_deletes_of_one_todo_have_one_winner(todod, store):
    daemon = todod(store=store, workers=5)
    path = f"/todo/{daemon.post('x')['id']}"
    connections = [daemon.connect() for _ in range(30)]
    for connection in connections:
        connection.send(f"DELETE {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert sorted(connection.read().status for connection in connections) == [200] + [404] * 29

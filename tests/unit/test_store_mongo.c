/*
 * The store contract on real MongoDB servers, one alone and one that is a replica set of one member, and what
 * is MongoDB's own: which outcome is told after which failure (by the server's fail points), documents that
 * are no todos, and a set-up that cannot succeed. The servers are this program's children and die with it.
 */
#include "store_contract.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ftw.h>
#include <mongoc/mongoc.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
	READY_TIMEOUT_MS = 30000,
	FAULT_TIMEOUT_MS = 700, /* of a store whose failures are tested: the socket's is a second more */
	TIMEOUT_MS = 10000,     /* of the others */
	THREADS = 8
};

static struct server {
	const char *set; /* name of the replica set, NULL for a server alone */
	pid_t pid;
	uint16_t port;
	char directory[512];
	char uri[128]; /* with database "todo" */
	mongoc_client_pool_t *pool;
	mongoc_client_t *client; /* of the tests, past the driver under test */
} alone, member = {.set = "rs"};

/* ---- servers ---- */

static void must(bool condition, const char *what)
{
	if (condition)
		return;
	(void)fprintf(stderr, "test_store_mongo: %s\n", what);
	exit(1);
}

/* The first line that tests/mongod prints. */
static void find_program(char *path, int size)
{
	int out[2];
	must(pipe2(out, O_CLOEXEC) == 0, "pipe2");
	pid_t pid = fork();
	if (pid == 0) {
		(void)dup2(out[1], STDOUT_FILENO);
		execl("tests/mongod", "tests/mongod", (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	FILE *lines = fdopen(out[0], "r");
	bool has_line = lines && fgets(path, size, lines);
	int status = 0;
	must(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && has_line, "tests/mongod failed");
	(void)fclose(lines);
	path[strcspn(path, "\n")] = '\0';
}

/* A port that nobody listens on now. */
static uint16_t free_port(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(fd >= 0 && bind(fd, (struct sockaddr *)&address, len) == 0 &&
		 getsockname(fd, (struct sockaddr *)&address, &len) == 0,
	     "no free port");
	close(fd);
	return ntohs(address.sin_port);
}

static void server_spawn(struct server *server, const char *program)
{
	const char *tmp = getenv("TMPDIR");
	(void)snprintf(server->directory, sizeof(server->directory), "%s/todod-mongod-XXXXXX",
		       tmp ? tmp : "/tmp");
	must(mkdtemp(server->directory) != NULL, "mkdtemp");
	server->port = free_port();
	char port[8], log[600];
	(void)snprintf(port, sizeof(port), "%u", server->port);
	(void)snprintf(log, sizeof(log), "%s/log", server->directory);
	pid_t parent = getpid();
	server->pid = fork();
	must(server->pid >= 0, "fork");
	if (server->pid > 0)
		return;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	int fd = open(log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (getppid() != parent || fd < 0)
		_exit(127);
	(void)dup2(fd, STDOUT_FILENO);
	(void)dup2(fd, STDERR_FILENO);
	execl(program, program, "--dbpath", server->directory, "--port", port, "--bind_ip", "127.0.0.1",
	      "--nounixsocket", "--wiredTigerCacheSizeGB", "0.25", "--setParameter", "enableTestCommands=1",
	      "--setParameter", "diagnosticDataCollectionEnabled=false", server->set ? "--replSet" : NULL,
	      server->set, (char *)NULL);
	_exit(127);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *walk)
{
	(void)st;
	(void)type;
	(void)walk;
	return remove(path);
}

static void server_stop(struct server *server)
{
	if (server->pid <= 0)
		return;
	(void)kill(server->pid, SIGKILL);
	(void)waitpid(server->pid, NULL, 0);
	server->pid = 0;
	(void)nftw(server->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void stop_servers(void)
{
	server_stop(&alone);
	server_stop(&member);
}

/* Runs a command given as extended JSON, in which '%s' and the like are filled in. */
__attribute__((format(printf, 3, 4))) static bool run(const struct server *server, const char *database,
						      const char *json, ...)
{
	va_list args;
	va_start(args, json);
	char line[2048];
	int len = vsnprintf(line, sizeof(line), json, args);
	va_end(args);
	must(len > 0 && (size_t)len < sizeof(line), "a command that is too long");
	bson_error_t error = {0};
	bson_t *command = bson_new_from_json((const uint8_t *)line, -1, &error);
	must(command != NULL, error.message);
	bool ok = mongoc_client_command_simple(server->client, database, command, NULL, NULL, &error);
	if (!ok)
		(void)fprintf(stderr, "%s: %s\n", line, error.message);
	bson_destroy(command);
	return ok;
}

static void server_connect(struct server *server)
{
	(void)snprintf(server->uri, sizeof(server->uri), "mongodb://127.0.0.1:%u/todo", server->port);
	mongoc_uri_t *uri = mongoc_uri_new(server->uri);
	mongoc_uri_set_option_as_int32(uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS, READY_TIMEOUT_MS);
	server->pool = mongoc_client_pool_new(uri);
	mongoc_uri_destroy(uri);
	server->client = mongoc_client_pool_pop(server->pool);
	must(run(server, "admin", "{\"ping\": 1}"), "mongod does not answer");
}

static void server_disconnect(struct server *server)
{
	mongoc_client_pool_push(server->pool, server->client);
	mongoc_client_pool_destroy(server->pool);
}

static bool is_primary(const struct server *server)
{
	bson_t command = BSON_INITIALIZER, reply;
	bson_iter_t field;
	BSON_APPEND_INT32(&command, "hello", 1);
	bool ok = mongoc_client_command_simple(server->client, "admin", &command, NULL, &reply, NULL);
	ok = ok && bson_iter_init_find(&field, &reply, "isWritablePrimary") && bson_iter_bool(&field);
	bson_destroy(&command);
	bson_destroy(&reply);
	return ok;
}

static void wait_for_election(const struct server *server)
{
	int64_t deadline_ms = clock_monotonic_ms() + READY_TIMEOUT_MS;
	while (!is_primary(server)) {
		must(clock_monotonic_ms() < deadline_ms, "no primary");
		(void)usleep(20000);
	}
}

/* ---- what each test works with ---- */

static struct bench {
	const struct server *server;
	char uri[256];
	struct store_settings settings;
	struct store *store;
	struct store_session *reader, *writer;
} b;

static void use(const struct server *server, const char *options, uint32_t timeout_ms)
{
	b.server = server;
	(void)snprintf(b.uri, sizeof(b.uri), "%s%s", server->uri, options);
	b.settings = fixture_settings(b.uri);
	b.settings.timeout_ms = timeout_ms;
}

static int bench_open(void **state)
{
	(void)state;
	b.store = fixture_open(&b.settings);
	b.reader = store_session_open(b.store, STORE_READ);
	b.writer = store_session_open(b.store, STORE_WRITE);
	return 0;
}

static int bench_close(void **state)
{
	(void)state;
	store_session_close(b.reader);
	store_session_close(b.writer);
	store_close(b.store);
	return 0;
}

static int bench_clear(void **state)
{
	(void)state;
	return run(b.server, "todo", "{\"delete\": \"todos\", \"deletes\": [{\"q\": {}, \"limit\": 0}]}")
		   ? 0
		   : -1;
}

static int faults_off(void **state)
{
	(void)state;
	bool ok = run(b.server, "admin", "{\"configureFailPoint\": \"failCommand\", \"mode\": \"off\"}");
	if (b.server->set)
		ok =
		    ok && run(b.server, "admin",
			      "{\"configureFailPoint\": \"onPrimaryTransactionalWrite\", \"mode\": \"off\"}");
	return ok ? 0 : -1;
}

static void fault(const char *mode, const char *commands, const char *data)
{
	assert_true(run(b.server, "admin",
			"{\"configureFailPoint\": \"failCommand\", \"mode\": %s, "
			"\"data\": {\"failCommands\": [%s], %s}}",
			mode, commands, data));
}

#define ALWAYS "\"alwaysOn\""
#define ONCE   "{\"times\": 1}"
#define CUT    "\"closeConnection\": true"
#define WRITES "\"insert\", \"update\", \"delete\""

static enum store_status write_and_keep_error(struct store_write write)
{
	struct store_write *pointer = &write;
	if (store_begin(b.writer) != STORE_OK)
		fail_msg("%s", store_error(b.writer));
	store_write(b.writer, &pointer, 1);
	store_end(b.writer);
	buf_release(&write.content);
	return write.status;
}

static bool is_there(uint32_t number)
{
	return fixture_get(b.reader, number) == STORE_OK;
}

static bool is_finished(uint32_t number)
{
	struct todo_page *page = todo_page_new();
	struct uuid id = fixture_id(number);
	assert_int_equal(store_begin(b.reader), STORE_OK);
	assert_int_equal(store_get(b.reader, &id, page), STORE_OK);
	store_end(b.reader);
	bool is = page->todos[0].is_finished;
	todo_page_drop(page);
	return is;
}

/* The three kinds of write: 1 is inserted, 2 finished, 3 deleted. What each of them has done can be seen. */
static const struct {
	enum store_write_kind kind;
	const char *command;
} kinds[] = {
    {STORE_INSERT, "\"insert\""},
    {STORE_FINISH, "\"update\""},
    {STORE_DELETE, "\"delete\""},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static void three_writes(struct store_write writes[KINDS])
{
	assert_int_equal(fixture_write_one(b.writer, fixture_insert(2, 2, "two")), STORE_OK);
	assert_int_equal(fixture_write_one(b.writer, fixture_insert(3, 3, "three")), STORE_OK);
	writes[0] = fixture_insert(1, 1, "buy milk");
	writes[1] = fixture_finish(2, 50);
	writes[2] = fixture_delete(3);
}

static bool is_done(size_t i)
{
	switch (kinds[i].kind) {
	case STORE_INSERT: return is_there(1);
	case STORE_FINISH: return is_finished(2);
	case STORE_DELETE: return !is_there(3);
	}
	return false;
}

/* ---- outcomes ---- */

#define CODE(code)    "\"errorCode\": " #code
#define CONCERN(code) "\"writeConcernError\": {\"code\": " #code ", \"errmsg\": \"failing\"}"

static const struct fault {
	const char *data;
	enum store_status expected;
	bool is_done;
	size_t kinds;       /* how many of the three kinds: after some of them the driver pauses */
	bool is_for_member; /* run it against the replica set too, where the driver tries twice */
} faults[] = {
    {CUT,	  STORE_UNKNOWN,     false, KINDS, true },
    {CODE(10107),  STORE_UNAVAILABLE, false, KINDS, true },
    {CODE(13435),  STORE_UNAVAILABLE, false, 1,     false},
    {CODE(13),     STORE_UNAVAILABLE, false, KINDS, true },
    {CODE(14031),  STORE_FULL,        false, KINDS, true },
    {CODE(91),     STORE_UNKNOWN,     false, 1,     false},
    {CODE(189),    STORE_UNKNOWN,     false, 1,     true },
    {CODE(11600),  STORE_UNKNOWN,     false, 1,     false},
    {CODE(11602),  STORE_UNKNOWN,     false, KINDS, false},
    {CODE(50),     STORE_UNKNOWN,     false, KINDS, true },
    {CODE(262),    STORE_UNKNOWN,     false, KINDS, false},
    {CODE(8000),   STORE_UNKNOWN,     false, KINDS, false},
    {CONCERN(64),  STORE_UNKNOWN,     true,  KINDS, true },
    {CONCERN(100), STORE_UNKNOWN,     true,  KINDS, true },
    {CONCERN(91),  STORE_UNKNOWN,     true,  KINDS, false},
};

/* What a failing write concern leaves behind is there at once, but a majority may have it a little later. */
static void assert_done_soon(size_t i)
{
	int64_t deadline_ms = clock_monotonic_ms() + READY_TIMEOUT_MS;
	while (!is_done(i))
		assert_true(clock_monotonic_ms() < deadline_ms);
}

static void fails_always(const struct fault *f)
{
	struct store_write writes[KINDS];
	three_writes(writes);
	fault(ALWAYS, WRITES, f->data);
	fixture_write(b.writer, writes, f->kinds);
	assert_string_not_equal(store_error(b.writer), "");
	assert_null(strstr(store_error(b.writer), "milk"));
	faults_off(NULL);
	for (size_t i = 0; i < f->kinds; i++) {
		if (writes[i].status != f->expected)
			fail_msg("%s on %s: status %d: %s", f->data, kinds[i].command, (int)writes[i].status,
				 store_error(b.writer));
		if (f->is_done)
			assert_done_soon(i);
		else
			assert_false(is_done(i));
		buf_release(&writes[i].content);
	}
}

static void outcome_of_what_fails_always(void **state)
{
	for (size_t f = 0; f < sizeof(faults) / sizeof(faults[0]); f++) {
		if (b.server->set && !faults[f].is_for_member)
			continue;
		bench_clear(state);
		fails_always(&faults[f]);
	}
}

/* A server that holds the command back: the answer comes after the time-out, the write maybe later still. */
static void outcome_of_silence(void **state)
{
	struct store_write writes[KINDS];
	enum { COUNT = 2 }; /* one with maxTimeMS and one without */
	three_writes(writes);
	fault(ALWAYS, WRITES, "\"blockConnection\": true, \"blockTimeMS\": 3000");
	int64_t start_ms = clock_monotonic_ms();
	fixture_write(b.writer, writes, COUNT);
	int64_t took_ms = clock_monotonic_ms() - start_ms;
	faults_off(state);
	for (size_t i = 0; i < COUNT; i++) {
		assert_int_equal(writes[i].status, STORE_UNKNOWN);
		buf_release(&writes[i].content);
	}
	assert_in_range(took_ms, FAULT_TIMEOUT_MS * 3 / 4 * COUNT, 2 * 3000 + 1000);
}

/* On a replica set the driver repeats a write once, and the server knows it again: the outcome is known. */
static void outcome_settled_by_the_retry(void **state)
{
	static const char *const data[] = {CUT, CODE(10107), CODE(189)};
	for (size_t d = 0; d < sizeof(data) / sizeof(data[0]); d++) {
		for (size_t i = 0; i < KINDS; i++) {
			struct store_write writes[KINDS];
			bench_clear(state);
			three_writes(writes);
			fault(ONCE, kinds[i].command, data[d]);
			fixture_write(b.writer, &writes[i], 1);
			assert_int_equal(writes[i].status, STORE_OK);
			assert_string_equal(store_error(b.writer), "");
			assert_true(is_done(i));
			buf_release(&writes[i].content);
			faults_off(state);
		}
	}
}

static void cut_after_acting(void)
{
	assert_true(run(b.server, "admin",
			"{\"configureFailPoint\": \"onPrimaryTransactionalWrite\", \"mode\": {\"times\": 1}, "
			"\"data\": {\"closeConnection\": true}}"));
}

/* The first attempt acts and its answer is lost: the second one is told what the first did. */
static void outcome_of_a_lost_answer(void **state)
{
	for (size_t i = 0; i < KINDS; i++) {
		struct store_write writes[KINDS];
		bench_clear(state);
		three_writes(writes);
		cut_after_acting();
		fixture_write(b.writer, &writes[i], 1);
		assert_int_equal(writes[i].status, STORE_OK);
		assert_true(is_done(i));
		assert_int_equal(fixture_count(b.reader), kinds[i].kind == STORE_INSERT   ? 3
							  : kinds[i].kind == STORE_DELETE ? 1
											  : 2);
		buf_release(&writes[i].content);
		faults_off(state);
	}
}

/* The first attempt acts and its answer is lost, the second is refused. The driver reports a refusal. */
static void outcome_of_a_lost_answer_and_a_refusal(void **state)
{
	for (size_t i = 0; i < KINDS; i++) {
		struct store_write writes[KINDS];
		bench_clear(state);
		three_writes(writes);
		cut_after_acting();
		fault("{\"skip\": 1}", kinds[i].command, CODE(10107));
		fixture_write(b.writer, &writes[i], 1);
		faults_off(state);
		assert_int_equal(writes[i].status, STORE_UNKNOWN);
		assert_true(is_done(i));
		buf_release(&writes[i].content);
	}
}

static void outcome_of_an_id_that_exists(void **state)
{
	(void)state;
	assert_int_equal(fixture_write_one(b.writer, fixture_insert(1, 1, "first")), STORE_OK);
	struct store_write writes[] = {fixture_insert(2, 2, "two"), fixture_insert(1, 9, "second")};
	fixture_write(b.writer, writes, 2);
	assert_int_equal(writes[0].status, STORE_OK);
	assert_int_equal(writes[1].status, STORE_UNKNOWN);
	assert_non_null(strstr(store_error(b.writer), "refused 1 of 2, with code 11000"));
}

/* An operator's own unique index: the server's words would quote the content. */
static void errors_quote_no_content(void **state)
{
	(void)state;
	assert_true(run(b.server, "todo",
			"{\"createIndexes\": \"todos\", \"indexes\": [{\"key\": {\"content\": 1}, "
			"\"name\": \"own\", \"unique\": true}]}"));
	assert_int_equal(write_and_keep_error(fixture_insert(1, 1, "buy milk")), STORE_OK);
	assert_int_equal(write_and_keep_error(fixture_insert(2, 2, "buy milk")), STORE_UNKNOWN);
	assert_non_null(strstr(store_error(b.writer), "11000"));
	assert_null(strstr(store_error(b.writer), "milk"));
	assert_true(run(b.server, "todo", "{\"dropIndexes\": \"todos\", \"index\": \"own\"}"));
}

/* An operator's own validator refuses single rows; their neighbours are done. */
static void outcome_of_a_refused_row(void **state)
{
	(void)state;
	assert_int_equal(fixture_write_one(b.writer, fixture_insert(5, 5, "todo")), STORE_OK);
	assert_true(run(b.server, "todo",
			"{\"collMod\": \"todos\", \"validator\": {\"content\": {\"$ne\": \"bad\"}, "
			"\"is_finished\": false}}"));
	struct store_write writes[] = {fixture_insert(1, 1, "good"), fixture_insert(2, 2, "bad"),
				       fixture_insert(3, 3, "good"), fixture_finish(5, 50)};
	const enum store_status expected[] = {STORE_OK, STORE_UNAVAILABLE, STORE_OK, STORE_UNAVAILABLE};
	fixture_write(b.writer, writes, 4);
	assert_true(run(b.server, "todo", "{\"collMod\": \"todos\", \"validator\": {}}"));
	for (int i = 0; i < 4; i++) {
		assert_int_equal(writes[i].status, expected[i]);
		buf_release(&writes[i].content);
	}
	assert_false(is_there(2));
	assert_false(is_finished(5));
	assert_int_equal(fixture_count(b.reader), 3);
}

static void outcome_of_reads(void **state)
{
	static const char *const data[] = {CUT, CODE(50)};
	(void)state;
	assert_int_equal(fixture_write_one(b.writer, fixture_insert(1, 1, "todo")), STORE_OK);
	struct uuid id = fixture_id(1);
	struct store_page_query query = {.count = 10};
	for (size_t d = 0; d < sizeof(data) / sizeof(data[0]); d++) {
		struct todo_page *page = todo_page_new();
		fault(ALWAYS, "\"find\"", data[d]);
		assert_int_equal(store_begin(b.reader), STORE_OK);
		assert_int_equal(store_page(b.reader, &query, page), STORE_UNAVAILABLE);
		assert_non_null(strstr(store_error(b.reader), "127.0.0.1"));
		assert_int_equal(store_get(b.reader, &id, page), STORE_UNAVAILABLE);
		faults_off(state);
		assert_int_equal(store_get(b.reader, &id, page), STORE_OK);
		assert_string_equal(store_error(b.reader), "");
		store_end(b.reader);
		todo_page_drop(page);
	}
	fault(ALWAYS, "\"ping\"", CODE(50));
	assert_int_equal(store_begin(b.reader), STORE_OK);
	assert_int_equal(store_ping(b.reader), STORE_UNAVAILABLE);
	assert_non_null(strstr(store_error(b.reader), "code 50"));
	fault(ALWAYS, "\"find\"", CODE(50));
	assert_int_equal(store_id(b.reader, &id), STORE_UNAVAILABLE);
	assert_non_null(strstr(store_error(b.reader), "code 50"));
	store_end(b.reader);
}

/* The finish is done, the find that brings the answers fails. */
static void outcome_of_a_finish_without_answer(void **state)
{
	struct store_write writes[KINDS];
	three_writes(writes);
	fault(ALWAYS, "\"find\"", CODE(50));
	fixture_write(b.writer, &writes[1], 1);
	faults_off(state);
	assert_int_equal(writes[1].status, STORE_UNKNOWN);
	assert_true(is_finished(2));
}

/* ---- documents ---- */

static void put(const char *document)
{
	assert_true(run(b.server, "todo", "{\"insert\": \"todos\", \"documents\": [%s]}", document));
}

/* What others put into the collection is skipped, pages are filled up all the same, and no answer names it.
 */
static void foreign_documents_are_skipped(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 12; i++)
		assert_int_equal(fixture_write_one(b.writer, fixture_insert(i, i, "todo")), STORE_OK);
	/* All of them would sort among the todos or before them. */
	put("{\"content\": \"x\", \"created_at\": 1795415696.000002, \"is_finished\": false}");
	put("{\"_id\": 5, \"content\": \"x\", \"created_at\": 1795415696.000003, \"is_finished\": false}");
	put("{\"_id\": \"a\", \"content\": \"x\", \"created_at\": {\"$date\": 1795415696000}}");
	put("{\"_id\": \"b\", \"content\": \"x\", \"created_at\": \"yesterday\"}");
	put("{\"_id\": \"c\", \"content\": \"x\", \"created_at\": {\"$numberDouble\": \"NaN\"}}");
	put("{\"_id\": \"d\", \"content\": \"x\", \"created_at\": {\"$numberDouble\": \"Infinity\"}}");
	put("{\"_id\": \"e\"}");
	static const char *const bodies[] = {
	    "\"content\": 5, \"created_at\": 1795415696.000004, \"is_finished\": false",
	    "\"content\": \"nul\\u0000\", \"created_at\": 1795415696.000004, \"is_finished\": false",
	    "\"content\": \"x\", \"created_at\": 1795415696.000004",
	    "\"content\": \"x\", \"created_at\": 1795415696, \"is_finished\": true, \"finished_at\": null",
	    "\"content\": \"x\", \"created_at\": null, \"is_finished\": false",
	};
	enum { BODIES = sizeof(bodies) / sizeof(bodies[0]) };
	for (uint32_t i = 0; i < BODIES; i++) {
		char document[512], hex[UUID_TEXT_BYTES];
		struct uuid id = fixture_id(1000 + i);
		uuid_to_text(&id, hex);
		(void)snprintf(document, sizeof(document), "{\"_id\": {\"$uuid\": \"%.36s\"}, %s}", hex,
			       bodies[i]);
		put(document);
	}
	struct todo_page *page = fixture_page(b.reader, (struct store_page_query){.count = 10});
	assert_int_equal(page->count, 10);
	assert_true(page->has_more);
	for (uint32_t i = 0; i < 10; i++)
		assert_id(&page->todos[i], 11 - i);
	todo_page_drop(page);
	assert_int_equal(fixture_count(b.reader), 12);
	page = fixture_page(b.reader, (struct store_page_query){.count = 12});
	assert_int_equal(page->count, 12);
	todo_page_drop(page);
	for (uint32_t i = 0; i < BODIES; i++) {
		assert_int_equal(fixture_get(b.reader, 1000 + i), STORE_NOT_FOUND);
		assert_int_equal(fixture_write_one(b.writer, fixture_finish(1000 + i, 50)), STORE_NOT_FOUND);
	}
}

/* A long run of them at the head: every page is filled behind it. */
static void many_foreign_documents(void **state)
{
	(void)state;
	assert_int_equal(fixture_write_one(b.writer, fixture_insert(1, 1, "todo")), STORE_OK);
	for (int i = 0; i < 8; i++)
		put("{\"created_at\": 1795415697, \"content\": 5}, {\"created_at\": 1795415697, \"content\": "
		    "5}, "
		    "{\"created_at\": 1795415697, \"content\": 5}, {\"created_at\": 1795415697, \"content\": "
		    "5}");
	struct todo_page *page = fixture_page(b.reader, (struct store_page_query){.count = 2});
	assert_int_equal(page->count, 1);
	assert_false(page->has_more);
	todo_page_drop(page);
}

/* Other programs' numbers are numbers too. */
static void integers_are_numbers(void **state)
{
	(void)state;
	put("{\"_id\": {\"$uuid\": \"01020304-0506-7008-800a-0b0c00000007\"}, \"content\": \"x\", "
	    "\"created_at\": {\"$numberLong\": \"1795415696\"}, \"is_finished\": true, "
	    "\"finished_at\": {\"$numberInt\": \"7\"}, \"more\": [1]}");
	struct todo_page *page = fixture_page(b.reader, (struct store_page_query){.count = 1});
	assert_int_equal(page->count, 1);
	assert_id(&page->todos[0], 7);
	assert_true(page->todos[0].created_at == 1795415696.0);
	assert_true(page->todos[0].is_finished && page->todos[0].finished_at == 7.0);
	todo_page_drop(page);
}

/* More than a reply holds (16 MiB): pages are whole, and no finish is taken for one of an absent todo. */
static void replies_that_the_server_cuts(void **state)
{
	enum { COUNT = 20, BYTES = 1 << 20 };
	(void)state;
	char *content = alloc_zeroed(BYTES + 1, 1);
	memset(content, 'x', BYTES);
	struct store_write writes[COUNT];
	for (uint32_t i = 0; i < COUNT; i++)
		writes[i] = fixture_insert(i, i, content);
	fixture_write(b.writer, writes, COUNT);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(writes[i].status, STORE_OK);
	struct todo_page *page = fixture_page(b.reader, (struct store_page_query){.count = COUNT});
	assert_int_equal(page->count, COUNT);
	assert_false(page->has_more);
	todo_page_drop(page);
	page = fixture_page(b.reader, (struct store_page_query){.count = COUNT - 1});
	assert_int_equal(page->count, COUNT - 1);
	assert_true(page->has_more);
	todo_page_drop(page);
	for (uint32_t i = 0; i < COUNT; i++)
		writes[i] = fixture_finish(i, 50);
	fixture_write(b.writer, writes, COUNT);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(writes[i].status, STORE_OK);
		assert_int_equal(writes[i].todo.content.len, BYTES);
		buf_release(&writes[i].content);
	}
	free(content);
}

/* More than the first batch of a find holds by default (101). */
static void large_batches(void **state)
{
	enum { COUNT = 250 };
	(void)state;
	struct store_write writes[COUNT];
	for (uint32_t i = 0; i < COUNT; i++)
		writes[i] = fixture_insert(i, i, "todo");
	fixture_write(b.writer, writes, COUNT);
	for (uint32_t i = 0; i < COUNT; i++) {
		assert_int_equal(writes[i].status, STORE_OK);
		writes[i] = fixture_finish(i, 50);
	}
	fixture_write(b.writer, writes, COUNT);
	for (uint32_t i = 0; i < COUNT; i++) {
		assert_int_equal(writes[i].status, STORE_OK);
		assert_id(&writes[i].todo, i);
		buf_release(&writes[i].content);
	}
}

/* ---- concerns ---- */

/* Has the server's profiler seen a command like this? */
static bool was_seen(const char *filter)
{
	bson_error_t error = {0};
	bson_t *query = bson_new_from_json((const uint8_t *)filter, -1, &error);
	must(query != NULL, error.message);
	mongoc_collection_t *profile =
	    mongoc_client_get_collection(b.server->client, "todo", "system.profile");
	int64_t count = mongoc_collection_count_documents(profile, query, NULL, NULL, NULL, &error);
	assert_true(count >= 0);
	mongoc_collection_destroy(profile);
	bson_destroy(query);
	return count > 0;
}

static void use_and_profile(const char *options)
{
	char uri[160];
	(void)snprintf(uri, sizeof(uri), "%s%s", b.server->uri, options);
	struct store_settings settings = fixture_settings(uri);
	struct err err = {0};
	struct store *store = store_open(&settings, &err);
	assert_non_null(store);
	struct store_session *session = store_session_open(store, STORE_WRITE);
	(void)run(b.server, "todo", "{\"drop\": \"system.profile\"}");
	assert_true(run(b.server, "todo", "{\"profile\": 2}"));
	assert_int_equal(fixture_write_one(session, fixture_insert(1, 1, "todo")), STORE_OK);
	assert_int_equal(fixture_write_one(session, fixture_finish(1, 50)), STORE_OK);
	assert_int_equal(fixture_get(session, 1), STORE_OK);
	assert_int_equal(fixture_write_one(session, fixture_delete(1)), STORE_OK);
	assert_true(run(b.server, "todo", "{\"profile\": 0}"));
	store_session_close(session);
	store_close(store);
}

#define MAJORITY "\"command.writeConcern.w\": \"majority\", \"command.writeConcern.j\": true"

static void what_is_asked_of_the_server(void **state)
{
	(void)state;
	use_and_profile("");
	assert_true(was_seen("{\"command.insert\": \"todos\", \"command.maxTimeMS\": 1500, \"appName\": "
			     "\"todod/" TODOD_VERSION " test 0\", " MAJORITY "}"));
	assert_true(was_seen("{\"command.find\": \"todos\", \"command.maxTimeMS\": 1500}"));
	/* A server alone has no majority. */
	assert_int_equal(was_seen(
			     "{\"command.find\": \"todos\", \"command.readConcern.level\": \"majority\"}"),
			 b.server->set != NULL);

	/* A majority may not have yet what w=1 acknowledged. */
	use_and_profile("?w=1&journal=false");
	assert_true(was_seen("{\"command.insert\": \"todos\", \"command.writeConcern.w\": 1, "
			     "\"command.writeConcern.j\": false}"));
	assert_false(was_seen("{\"command.readConcern.level\": \"majority\"}"));

	use_and_profile("?readConcernLevel=local&appname=mine");
	assert_true(was_seen("{\"command.find\": \"todos\", \"command.readConcern.level\": \"local\", "
			     "\"appName\": \"mine\"}"));
	assert_false(was_seen("{\"command.readConcern.level\": \"majority\"}"));
}

/* ---- threads ---- */

static void *insert_twenty(void *argument)
{
	const uint32_t *thread = argument;
	struct store_session *session = store_session_open(b.store, STORE_WRITE);
	uintptr_t failures = 0;
	for (uint32_t i = 0; i < 20; i++) {
		struct store_write write = fixture_insert(*thread * 1000 + i, i, "todo"), *pointer = &write;
		if (store_begin(session) != STORE_OK) {
			failures++;
			continue;
		}
		store_write(session, &pointer, 1);
		failures += write.status != STORE_OK;
		store_end(session);
	}
	store_session_close(session);
	return failures ? session : NULL; /* only compared with NULL */
}

/* All at once, from the very first begin, which makes the pool. */
static void sessions_of_many_threads(void **state)
{
	pthread_t threads[THREADS];
	uint32_t numbers[THREADS];
	bench_close(state);
	bench_open(state);
	for (uint32_t i = 0; i < THREADS; i++) {
		numbers[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, insert_twenty, &numbers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		void *failed = NULL;
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	assert_int_equal(fixture_count(b.reader), THREADS * 20);
}

/* ---- URIs ---- */

static void uris_are_checked(void **state)
{
	static const struct {
		const char *uri;
		const char *says; /* NULL: it is fine */
	} cases[] = {
	    {"mongodb://127.0.0.1",							  NULL                      },
	    {"mongodb://user:pass@a.example,b.example:27018/app?replicaSet=rs&w=1&tls=true", NULL                      },
	    {"mongodb+srv://user:pass@db.cluster.example/app",                               NULL                      },
	    {"mongodb://[::1]:27017/app?w=2&journal=false&readConcernLevel=local",           NULL                      },
	    {"mongodb://",								   "does not parse"          },
	    {"mongodb://:27017:99",							  "does not parse"          },
	    {"mongodb://host:99999",							 "does not parse"          },
	    {"mongodb://host/da ta.base?w=majority",                                         "does not parse"          },
	    {"mongodb+srv://db.cluster.example:27017",                                       "Port numbers"            },
	    {"mongodb://host/?w=0",							  "w=0"                     },
	    {"mongodb://host/?readPreference=secondary",                                     "readPreference"          },
	    {"mongodb://host/?socketTimeoutMS=0",                                            "sockettimeoutms"         },
	    {"mongodb://host/?serverSelectionTimeoutMS=-1",                                  "serverselectiontimeoutms"},
	    {"mongodb://host/?maxPoolSize=0",						"maxpoolsize"             },
	    {"mongodb://host/?readConcernLevel",                                             "contains no"             },
 /* Secrets that the driver alone would repeat. */
	    {"mongodb://user:s3cr/t@host/app",					       "percent-encoded"         },
	    {"mongodb://user:s3cr%t@host/app",					       "percent-encoded"         },
	    {"mongodb://user:s3cr:t@host/app",					       "percent-encoded"         },
	    {"mongodb://user:s3cr?t@host:99999/app",                                         "does not parse"          },
	    {"mongodb://user:s3cret@host/?ssl=true&tls=false&sslClientCertificateKeyPassword=s3cr&"
	     "tlsCertificateKeyFilePassword=s3crX",			     "does not parse"          },
	};
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = {0};
		int result = store_check(cases[i].uri, &err);
		if (result != (cases[i].says ? -1 : 0))
			fail_msg("%s: %d, %s", cases[i].uri, result, err.text);
		if (!cases[i].says)
			continue;
		assert_int_equal(err.code, EXIT_CODE_CONFIG);
		if (!strstr(err.text, cases[i].says) || strstr(err.text, "s3cr"))
			fail_msg("%s: %s", cases[i].uri, err.text);
	}
}

static size_t thread_count(void)
{
	size_t count = 0;
	DIR *tasks = opendir("/proc/self/task");
	assert_non_null(tasks);
	for (struct dirent *entry; (entry = readdir(tasks));)
		count += entry->d_name[0] != '.';
	closedir(tasks);
	return count;
}

/* Until the first begin there is nothing that a fork could break. */
static void nothing_runs_before_begin(void **state)
{
	(void)state;
	struct err err = {0};
	size_t before = thread_count();
	assert_int_equal(store_check(b.uri, &err), 0);
	assert_int_equal(store_claim(b.uri, &err), -2);
	assert_int_equal(store_doubt_ms(&b.settings), TIMEOUT_MS + 1000 + TIMEOUT_MS * 3 / 4);
	assert_int_equal(store_doubt_ms(
			     &(struct store_settings){.uri = b.uri, .timeout_ms = 100, .process = "test"}),
			 5000);
	struct store *store = store_open(&b.settings, &err);
	assert_non_null(store);
	assert_int_equal(store_delete_threads(store), 3);
	struct store_session *session = store_session_open(store, STORE_READ);
	assert_int_equal(thread_count(), before);
	assert_int_equal(store_begin(session), STORE_OK);
	assert_true(thread_count() > before);
	store_end(session);
	store_session_close(session);
	store_close(store);
	assert_int_equal(thread_count(), before);
}

/* ---- set-up ---- */

static enum exit_code setup(const char *uri, struct err *err)
{
	struct store_settings settings = fixture_settings(uri);
	return store_setup(&settings, err) == 0 ? EXIT_CODE_OK : err->code;
}

static void assert_setup(const char *uri, enum exit_code code, const char *says)
{
	struct err err = {0};
	assert_int_equal(setup(uri, &err), code);
	if (!strstr(err.text, says) || strstr(err.text, "s3cret"))
		fail_msg("%s", err.text);
}

static struct uuid id_of_fresh(const char *uri)
{
	struct store_settings settings = fixture_settings(uri);
	struct store *store = fixture_open(&settings);
	struct store_session *session = store_session_open(store, STORE_READ);
	struct uuid id = id_of_database(session);
	store_session_close(session);
	store_close(store);
	return id;
}

static void setup_makes_meta_and_index(void **state)
{
	(void)state;
	char uri[160];
	(void)snprintf(uri, sizeof(uri), "mongodb://127.0.0.1:%u/fresh", alone.port);
	struct err err = {0};
	for (int i = 0; i < 2; i++)
		assert_int_equal(setup(uri, &err), EXIT_CODE_OK);
	assert_true(run(&alone, "fresh",
			"{\"find\": \"todos\", \"hint\": {\"created_at\": -1, \"_id\": -1}, \"limit\": 1}"));
	bson_t filter = BSON_INITIALIZER;
	BSON_APPEND_UTF8(&filter, "_id", "schema");
	mongoc_collection_t *meta = mongoc_client_get_collection(alone.client, "fresh", "meta");
	mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(meta, &filter, NULL, NULL);
	const bson_t *document = NULL;
	assert_true(mongoc_cursor_next(cursor, &document));
	bson_iter_t field;
	assert_true(bson_iter_init_find(&field, document, "version"));
	assert_int_equal(bson_iter_as_int64(&field), 1);
	assert_true(bson_iter_init_find(&field, document, "id"));
	struct uuid id, told = id_of_fresh(uri);
	assert_int_equal(uuid_from_text(&id, slice_of(bson_iter_utf8(&field, NULL))), 0);
	assert_int_equal(uuid_compare_to(&id, &told), 0);
	mongoc_cursor_destroy(cursor);
	mongoc_collection_destroy(meta);
	bson_destroy(&filter);
}

static void setup_refuses_other_schemas(void **state)
{
	(void)state;
	char uri[160];
	(void)snprintf(uri, sizeof(uri), "mongodb://127.0.0.1:%u/newer", alone.port);
	assert_true(run(&alone, "newer",
			"{\"insert\": \"meta\", \"documents\": [{\"_id\": \"schema\", \"version\": 7}]}"));
	assert_setup(uri, EXIT_CODE_CONFIG, "database newer holds schema version 7, this todod knows 1");
	(void)snprintf(uri, sizeof(uri), "mongodb://127.0.0.1:%u/foreign", alone.port);
	assert_true(run(&alone, "foreign", "{\"insert\": \"meta\", \"documents\": [{\"_id\": \"schema\"}]}"));
	assert_setup(uri, EXIT_CODE_CONFIG, "not todod's");
	(void)snprintf(uri, sizeof(uri), "mongodb://127.0.0.1:%u/nameless", alone.port);
	assert_true(run(&alone, "nameless",
			"{\"insert\": \"meta\", \"documents\": [{\"_id\": \"schema\", \"version\": 1}]}"));
	assert_setup(uri, EXIT_CODE_CONFIG, "lost its id");
}

static void setup_refuses_an_index_conflict(void **state)
{
	(void)state;
	char uri[160];
	(void)snprintf(uri, sizeof(uri), "mongodb://127.0.0.1:%u/conflict", alone.port);
	assert_true(run(&alone, "conflict",
			"{\"createIndexes\": \"todos\", \"indexes\": [{\"key\": {\"x\": 1}, "
			"\"name\": \"created_at_-1__id_-1\"}]}"));
	assert_setup(uri, EXIT_CODE_CONFIG, "drop it");
	assert_true(run(&alone, "conflict", "{\"dropIndexes\": \"todos\", \"index\": \"*\"}"));
	assert_true(
	    run(&alone, "conflict",
		"{\"createIndexes\": \"todos\", \"indexes\": [{\"key\": {\"created_at\": -1, \"_id\": -1}, "
		"\"name\": \"mine\"}]}"));
	assert_setup(uri, EXIT_CODE_CONFIG, "mine");
	assert_true(run(&alone, "conflict", "{\"dropIndexes\": \"todos\", \"index\": \"mine\"}"));
	struct err err = {0};
	assert_int_equal(setup(uri, &err), EXIT_CODE_OK);
}

static void assert_inspection(const char *database, const char *options, enum exit_code code,
			      const char *line)
{
	char uri[160];
	(void)snprintf(uri, sizeof(uri), "mongodb://127.0.0.1:%u/%s%s", alone.port, database, options);
	struct store_settings settings = fixture_settings(uri);
	fixture_assert_inspection(&settings, code, line);
}

static void what_an_inspection_finds(void **state)
{
	(void)state;
	struct err err = {0};
	char uri[160];
	assert_inspection(
	    "inspected", "", EXIT_CODE_OK,
	    "ok    schema: database inspected holds no todos yet; todod makes meta record and index when "
	    "it starts\n");
	(void)snprintf(uri, sizeof(uri), "mongodb://127.0.0.1:%u/inspected", alone.port);
	assert_int_equal(setup(uri, &err), EXIT_CODE_OK);
	assert_inspection("inspected", "", EXIT_CODE_OK, "ok    index: {created_at: -1, _id: -1} is there\n");
	assert_inspection("inspected", "", EXIT_CODE_OK, "warn  store: MongoDB ");
	assert_inspection("inspected", "", EXIT_CODE_OK, "ok    clock of the store: ");
	assert_inspection("inspected", "", EXIT_CODE_OK, "ok    durability: w=majority, journal=true\n");
	assert_inspection("inspected", "?w=1", EXIT_CODE_OK, "warn  durability: w=1: ");
	assert_inspection("inspected", "?w=two", EXIT_CODE_OK, "warn  durability: w=two: ");
	assert_inspection("inspected", "?journal=false", EXIT_CODE_OK, "warn  durability: journal=false: ");
	assert_true(run(&alone, "inspected", "{\"dropIndexes\": \"todos\", \"index\": \"*\"}"));
	assert_inspection("inspected", "", EXIT_CODE_CONFIG,
			  "FAIL  index: {created_at: -1, _id: -1} is missing from inspected.todos");
	assert_true(run(&alone, "inspected", "{\"drop\": \"todos\"}"));
	assert_inspection("inspected", "", EXIT_CODE_CONFIG, "FAIL  index: ");
	assert_true(run(&alone, "inspected",
			"{\"update\": \"meta\", \"updates\": [{\"q\": {}, \"u\": {\"$set\": "
			"{\"version\": 7}}}]}"));
	assert_inspection("inspected", "", EXIT_CODE_CONFIG,
			  "FAIL  schema: database inspected holds schema version 7");
}

static void an_inspection_without_a_server(void **state)
{
	(void)state;
	char uri[160];
	(void)snprintf(uri, sizeof(uri), "mongodb://todo:s3cret@127.0.0.1:%u/todo", alone.port);
	struct store_settings settings = fixture_settings(uri);
	fixture_assert_inspection(&settings, EXIT_CODE_UNAVAILABLE, "FAIL  store: ");
	settings.uri = "mongodb://todo:s3cret@127.0.0.1:1/todo";
	enum exit_code code;
	char *text = fixture_inspect(&settings, &code);
	assert_int_equal(code, EXIT_CODE_UNAVAILABLE);
	assert_non_null(strstr(text, "127.0.0.1:1"));
	assert_null(strstr(text, "s3cret"));
	free(text);
}

static void setup_waits_for_what_may_come(void **state)
{
	static const struct {
		const char *format; /* of the port */
		const char *says;
	} cases[] = {
  /* Nobody checks passwords here; nobody can be found either. */
	    {"mongodb://todo:s3cret@127.0.0.1:%u/todo",                                   "uthentication failed"},
	    {"mongodb://127.0.0.1:%u/todo?replicaSet=other&serverSelectionTimeoutMS=700",
	     "replica set \"other\" at 127.0.0.1:"							      },
	};
	(void)state;
	char uri[200];
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int m = 0; m < 2; m++) {
			uint16_t port = m ? member.port : alone.port;
			struct buf text = BUF_INIT;
			const char *mark = strstr(cases[i].format, "%u");
			buf_append(&text, cases[i].format, (size_t)(mark - cases[i].format));
			buf_append_u64(&text, port);
			buf_append(&text, mark + 2, strlen(mark + 2) + 1);
			assert_setup(text.data, EXIT_CODE_UNAVAILABLE, cases[i].says);
			buf_release(&text);
		}
	(void)snprintf(uri, sizeof(uri),
		       "mongodb://todo:s3cret@127.0.0.1:%u/todo?serverSelectionTimeoutMS=300", free_port());
	assert_setup(uri, EXIT_CODE_UNAVAILABLE, "127.0.0.1");
	b.server = &alone;
	fault(ALWAYS, "\"update\"", "\"errorCode\": 13");
	assert_setup(alone.uri, EXIT_CODE_UNAVAILABLE, "(code 13)");
	faults_off(state);
}

/* The server is away: begin says so within its time, with the cause and without the password. */
static void begin_without_a_server(void **state)
{
	(void)state;
	char uri[200];
	(void)snprintf(uri, sizeof(uri),
		       "mongodb://todo:s3cret@127.0.0.1:%u/todo?serverSelectionTimeoutMS=300", free_port());
	struct store_settings settings = fixture_settings(uri);
	struct err err = {0};
	struct store *store = store_open(&settings, &err);
	assert_non_null(store);
	struct store_session *session = store_session_open(store, STORE_WRITE);
	int64_t start_ms = clock_monotonic_ms();
	for (int i = 0; i < 2; i++)
		assert_int_equal(store_begin(session), STORE_UNAVAILABLE);
	assert_in_range(clock_monotonic_ms() - start_ms, 500, 3000);
	assert_non_null(strstr(store_error(session), "127.0.0.1"));
	assert_null(strstr(store_error(session), "s3cret"));
	store_session_close(session);
	store_close(store);
}

/* A member that is no primary is reached directly: it must be neither read nor written. */
static void begin_without_a_primary(void **state)
{
	(void)state;
	struct err err = {0};
	struct store_settings settings = fixture_settings(member.uri);
	struct store *store = store_open(&settings, &err);
	assert_non_null(store);
	struct store_session *session = store_session_open(store, STORE_READ);
	assert_int_equal(store_begin(session), STORE_UNAVAILABLE);
	assert_non_null(strstr(store_error(session), "is no primary"));
	assert_true(run(&member, "admin",
			"{\"replSetInitiate\": {\"_id\": \"rs\", \"members\": [{\"_id\": 0, \"host\": "
			"\"127.0.0.1:%u\"}]}}",
			member.port));
	wait_for_election(&member);
	int64_t deadline_ms = clock_monotonic_ms() + READY_TIMEOUT_MS;
	while (store_begin(session) != STORE_OK)
		assert_true(clock_monotonic_ms() < deadline_ms);
	store_end(session);
	store_session_close(session);
	store_close(store);
}

/* ---- the run ---- */

#define CASE(function) cmocka_unit_test_setup_teardown(function, bench_clear, faults_off)

static const struct CMUnitTest setups[] = {
    cmocka_unit_test(begin_without_a_primary),         cmocka_unit_test(uris_are_checked),
    cmocka_unit_test(nothing_runs_before_begin),       cmocka_unit_test(begin_without_a_server),
    cmocka_unit_test(setup_makes_meta_and_index),      cmocka_unit_test(setup_refuses_other_schemas),
    cmocka_unit_test(setup_refuses_an_index_conflict), cmocka_unit_test(setup_waits_for_what_may_come),
    cmocka_unit_test(what_an_inspection_finds),        cmocka_unit_test(an_inspection_without_a_server),
};

static const struct CMUnitTest documents[] = {
    CASE(errors_quote_no_content),  CASE(foreign_documents_are_skipped), CASE(many_foreign_documents),
    CASE(integers_are_numbers),     CASE(replies_that_the_server_cuts),  CASE(large_batches),
    CASE(sessions_of_many_threads), CASE(what_is_asked_of_the_server),
};

static const struct CMUnitTest outcomes[] = {
    CASE(outcome_of_what_fails_always), CASE(outcome_of_an_id_that_exists),
    CASE(outcome_of_a_refused_row),     CASE(outcome_of_reads),
    CASE(outcome_of_silence),           CASE(outcome_of_a_finish_without_answer),
};

static const struct CMUnitTest outcomes_direct[] = {
    CASE(outcome_of_a_lost_answer),
};

static const struct CMUnitTest outcomes_of_two_attempts[] = {
    CASE(outcome_of_what_fails_always),
    CASE(outcome_settled_by_the_retry),
    CASE(outcome_of_a_lost_answer),
    CASE(outcome_of_a_lost_answer_and_a_refusal),
};

/* A server that only says it has stepped down is asked again this soon. */
#define QUICK "heartbeatFrequencyMS=500"

#define RUN(name, tests) \
	_cmocka_run_group_tests(name, tests, sizeof(tests) / sizeof((tests)[0]), bench_open, bench_close)

/* In silence: until the servers listen, the driver has a lot to say. */
static void driver_start(void)
{
	mongoc_log_set_handler(NULL, NULL);
	mongoc_init();
}

static int run_contract(const char *name, const char *options)
{
	char other_uri[sizeof(b.uri)];
	(void)snprintf(other_uri, sizeof(other_uri), "%s_other%s", b.server->uri, options);
	return store_contract_run(name, b.uri, other_uri);
}

int main(void)
{
	char program[512];
	find_program(program, sizeof(program));
	driver_start();
	must(atexit(stop_servers) == 0, "atexit");
	server_spawn(&alone, program);
	server_spawn(&member, program);
	server_connect(&alone);
	server_connect(&member);
	log_init("test", LOG_LEVEL_WARN);

	use(&alone, "", TIMEOUT_MS);
	int failures = cmocka_run_group_tests_name("mongodb: set-up", setups, NULL, NULL);
	failures += RUN("mongodb alone: documents", documents);
	failures += run_contract("mongodb alone: store contract", "");
	use(&alone, "?" QUICK, FAULT_TIMEOUT_MS);
	failures += RUN("mongodb alone: outcomes", outcomes);

	use(&member, "?replicaSet=rs&" QUICK, FAULT_TIMEOUT_MS);
	failures += RUN("mongodb replica set: outcomes", outcomes_of_two_attempts);
	/* A single host whose set is not named is reached directly, and is a member all the same. */
	use(&member, "?" QUICK, FAULT_TIMEOUT_MS);
	failures += RUN("mongodb replica set, direct: outcomes", outcomes_direct);
	use(&member, "?replicaSet=rs", TIMEOUT_MS);
	failures += RUN("mongodb replica set: documents", documents);
	failures += run_contract("mongodb replica set: store contract", "?replicaSet=rs");

	server_disconnect(&alone);
	server_disconnect(&member);
	return failures ? 1 : 0;
}

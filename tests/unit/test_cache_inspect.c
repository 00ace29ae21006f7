/* What `todod doctor` says of a Redis: of real ones, and of what is none. */
#include "redis_fixture.h"

#include "cache/inspect.h"

enum { TIMEOUT_MS = 1000 };

static void assert_inspection(const char *uri, enum exit_code code, const char *const *lines)
{
	char *text = NULL;
	size_t size = 0;
	struct report report = {.out = open_memstream(&text, &size)};
	assert_non_null(report.out);
	cache_inspect(uri, TIMEOUT_MS, &report);
	assert_int_equal(fclose(report.out), 0);
	for (; *lines; lines++)
		if (!strstr(text, *lines))
			fail_msg("no \"%s\" in:\n%s", *lines, text);
	assert_null(strstr(text, "s3cret"));
	assert_int_equal(report.code, code);
	free(text);
}

#define INSPECTION(uri, code, ...) assert_inspection(uri, code, (const char *const[]){__VA_ARGS__, NULL})

static void with_server(const char *const *words, enum exit_code code, const char *const *lines)
{
	struct fixture_server server;
	fixture_server_start(&server, words);
	assert_inspection(server.uri, code, lines);
	fixture_server_stop(&server);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_as_it_should_be(void **state)
{
	(void)state;
	with_server(WORDS("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"), EXIT_CODE_OK,
		    WORDS("ok    Redis: ", ", a master\n",
			  "ok    memory of Redis: limited to 64.00M, allkeys-lru\n",
			  "ok    writing to Redis: it takes writes\n"));
}

static void test_settings_to_mend(void **state)
{
	(void)state;
	with_server(WORDS("--maxmemory", "64mb", "--maxmemory-policy", "noeviction", "--appendonly", "yes"),
		    EXIT_CODE_OK,
		    WORDS("warn  memory of Redis: limited to 64.00M with noeviction",
			  "warn  log of Redis: "));
}

static void test_snapshots(void **state)
{
	(void)state;
	struct fixture_server server;
	struct fixture_client client;
	fixture_server_start(&server, WORDS("--loglevel", "warning"));
	fixture_client_open(&client, server.uri);
	assert_string_equal(FIXTURE_CALL(&client, "CONFIG", "SET", "save", "60 1")->text, "OK");
	INSPECTION(server.uri, EXIT_CODE_OK, "warn  snapshots of Redis: save is \"60 1\"");
	assert_string_equal(FIXTURE_CALL(&client, "CONFIG", "SET", "save", "")->text, "OK");
	fixture_client_free(&client);
	fixture_server_stop(&server);
}

static void test_full(void **state)
{
	(void)state;
	with_server(WORDS("--maxmemory", "1", "--maxmemory-policy", "noeviction"), EXIT_CODE_UNAVAILABLE,
		    WORDS("FAIL  writing to Redis: OOM "));
}

static void test_replica(void **state)
{
	(void)state;
	with_server(WORDS("--replicaof", "127.0.0.1", "1"), EXIT_CODE_UNAVAILABLE,
		    WORDS("FAIL  Redis: it is a replica, which takes no writes; name the master in `cache`\n",
			  "FAIL  writing to Redis: READONLY"));
}

static void test_password(void **state)
{
	(void)state;
	struct fixture_server server;
	char uri[200];
	fixture_server_start(&server, WORDS("--requirepass", "other"));
	snprintf(uri, sizeof(uri), "redis+unix://:s3cret@%s", server.path);
	INSPECTION(uri, EXIT_CODE_UNAVAILABLE, "FAIL  Redis: ", "WRONGPASS");
	fixture_server_stop(&server);
}

static void test_nobody_there(void **state)
{
	(void)state;
	INSPECTION("redis://:s3cret@127.0.0.1:1", EXIT_CODE_UNAVAILABLE,
		   "FAIL  Redis: cannot connect: Connection refused");
	INSPECTION("redis+unix:///nowhere", EXIT_CODE_UNAVAILABLE, "FAIL  Redis: ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_as_it_should_be), cmocka_unit_test(test_settings_to_mend),
	    cmocka_unit_test(test_snapshots),       cmocka_unit_test(test_full),
	    cmocka_unit_test(test_replica),         cmocka_unit_test(test_password),
	    cmocka_unit_test(test_nobody_there),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

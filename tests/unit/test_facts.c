/*
 * What todod ctl makes of the facts that the master tells: JSON and a table; and of what no master tells.
 */
#include "ctl/facts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static const char sample[] = "version 0.1.0\n"
			     "pid 42\n"
			     "state serves\n"
			     "uptime_ms 93784005\n"
			     "program /usr/sbin/todod\n"
			     "configuration /etc/todod \"a\\b\".conf\n"
			     "store mongodb://ann:***@db/todo\n"
			     "cache off\n"
			     "workers 3\n"
			     "listener 7 4096 127.0.0.1:8080\n"
			     "listener - - unix:/run/a b.sock\n"
			     "generation 2 serves 2 61000 -\n"
			     "generation 1 drains 1 3700000 29000\n"
			     "process master 0 42 - serves 93784005 - - 1048576\n"
			     "process worker 2 44 1 leaves 500 12 12345 -\n"
			     "reload 3 failed 1500 todod.conf:1: no key\n"
			     "upgrade 0 none - -\n";

static char *render(void (*how)(struct slice facts, struct buf *out), const char *facts)
{
	struct buf out = BUF_INIT;
	how(slice_of(facts), &out);
	char *text = alloc_string(buf_slice(&out));
	buf_release(&out);
	return text;
}

static void expect(void (*how)(struct slice facts, struct buf *out), const char *facts, const char *text)
{
	char *got = render(how, facts);
	assert_string_equal(got, text);
	free(got);
}

static void expect_part(void (*how)(struct slice facts, struct buf *out), const char *facts, const char *part)
{
	char *got = render(how, facts);
	if (!strstr(got, part))
		fail_msg("not in it: %s\n%s", part, got);
	free(got);
}

static void test_json(void **state)
{
	(void)state;
	expect(
	    facts_to_json, sample,
	    "{\n"
	    "  \"version\": \"0.1.0\",\n"
	    "  \"pid\": 42,\n"
	    "  \"state\": \"serves\",\n"
	    "  \"uptime_ms\": 93784005,\n"
	    "  \"program\": \"/usr/sbin/todod\",\n"
	    "  \"configuration\": \"/etc/todod \\\"a\\\\b\\\".conf\",\n"
	    "  \"store\": \"mongodb://ann:***@db/todo\",\n"
	    "  \"cache\": \"off\",\n"
	    "  \"workers\": 3,\n"
	    "  \"listeners\": [\n"
	    "    {\"queued\": 7, \"limit\": 4096, \"name\": \"127.0.0.1:8080\"},\n"
	    "    {\"queued\": null, \"limit\": null, \"name\": \"unix:/run/a b.sock\"}],\n"
	    "  \"generations\": [\n"
	    "    {\"number\": 2, \"state\": \"serves\", \"processes\": 2, \"age_ms\": 61000, "
	    "\"leaves_in_ms\": null},\n"
	    "    {\"number\": 1, \"state\": \"drains\", \"processes\": 1, \"age_ms\": 3700000, "
	    "\"leaves_in_ms\": 29000}],\n"
	    "  \"processes\": [\n"
	    "    {\"kind\": \"master\", \"index\": 0, \"pid\": 42, \"generation\": null, \"state\": "
	    "\"serves\", "
	    "\"age_ms\": 93784005, \"connections\": null, \"requests\": null, \"resident_bytes\": 1048576},\n"
	    "    {\"kind\": \"worker\", \"index\": 2, \"pid\": 44, \"generation\": 1, \"state\": \"leaves\", "
	    "\"age_ms\": 500, \"connections\": 12, \"requests\": 12345, \"resident_bytes\": null}],\n"
	    "  \"reload\": {\"number\": 3, \"outcome\": \"failed\", \"ended_ms_ago\": 1500, \"reason\": "
	    "\"todod.conf:1: no key\"},\n"
	    "  \"upgrade\": {\"number\": 0, \"outcome\": \"none\", \"ended_ms_ago\": null, \"reason\": "
	    "null}\n"
	    "}\n");
}

static void test_table(void **state)
{
	(void)state;
	expect(
	    facts_to_table, sample,
	    "todod 0.1.0, process 42, serves, up for 1 d 2 h\n"
	    "\n"
	    "program        /usr/sbin/todod\n"
	    "configuration  /etc/todod \"a\\b\".conf\n"
	    "store          mongodb://ann:***@db/todo\n"
	    "cache          off\n"
	    "workers wanted 3\n"
	    "listening on   127.0.0.1:8080, 7 of 4096 waiting\n"
	    "listening on   unix:/run/a b.sock\n"
	    "last reload    failed 1.5 s ago: todod.conf:1: no key\n"
	    "last upgrade   none\n"
	    "\n"
	    "GENERATION   STATE    AGE            PROCESSES  LEAVES WITHIN\n"
	    "2            serves   1 min 1 s              2  -\n"
	    "1            drains   1 h 1 min              1  29 s\n"
	    "\n"
	    "PROCESS      STATE    AGE                  PID       OF CONNECTIONS    REQUESTS      MEMORY\n"
	    "master 0     serves   1 d 2 h               42        -           -           -     1.0 MiB\n"
	    "worker 2     leaves   0.5 s                 44        1          12       12345           -\n");
}

/* A newer daemon says more, an older one less, and something else says anything. */
static void test_what_is_not_known(void **state)
{
	(void)state;
	expect_part(facts_to_json, "", "\"version\": null");
	expect_part(facts_to_json, "", "\"listeners\": []");
	expect_part(facts_to_json, "", "\"reload\": {\"number\": null, \"outcome\": null");
	expect_part(facts_to_json, "weather fine\npid 7\npid 8\n\n \npid\n",
		    "\"pid\": 7,\n  \"state\": null");
	expect_part(facts_to_json, "pid 7", "\"pid\": 7");
	expect_part(facts_to_json, "pid\n", "\"pid\": null");
	expect_part(facts_to_json, "pid seven\n", "\"pid\": null");
	expect_part(facts_to_json, "pid 12345678901234567890\n", "\"pid\": null");
	expect_part(facts_to_json, "pid -7\n", "\"pid\": -7");
	expect_part(facts_to_json, "pid -\n", "\"pid\": null");
	expect_part(facts_to_json, "listener 1\n",
		    "[\n    {\"queued\": 1, \"limit\": null, \"name\": null}]");
	expect_part(facts_to_json, "listener  2 x\n", "{\"queued\": null, \"limit\": 2, \"name\": \"x\"}");
	expect_part(facts_to_table, "", "todod -, process -, -, up for -\n");
	expect_part(facts_to_table, "process\n", "\n- -  ");
}

static void test_strings(void **state)
{
	(void)state;
	expect_part(facts_to_json, "store \x01\t\x1f\"\\/\n",
		    "\"store\": \"\\u0001\\u0009\\u001f\\\"\\\\/\"");
	expect_part(facts_to_json, "store \xc3\xa4\n", "\"store\": \"\xc3\xa4\"");
	expect_part(facts_to_json, "store a\xc3(\xff\n", "\"store\": \"a?(?\"");
}

static void test_ages(void **state)
{
	(void)state;
	static const struct {
		const char *fact, *text;
	} cases[] = {
	    {"uptime_ms 0\n",          "up for 0.0 s\n"      },
	    {"uptime_ms 9999\n",       "up for 9.9 s\n"      },
	    {"uptime_ms 10000\n",      "up for 10 s\n"       },
	    {"uptime_ms 60000\n",      "up for 1 min 0 s\n"  },
	    {"uptime_ms 3599999\n",    "up for 59 min 59 s\n"},
	    {"uptime_ms 3600000\n",    "up for 1 h 0 min\n"  },
	    {"uptime_ms 86400000\n",   "up for 1 d 0 h\n"    },
	    {"uptime_ms 8640000000\n", "up for 100 d 0 h\n"  },
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect_part(facts_to_table, cases[i].fact, cases[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_json),
	    cmocka_unit_test(test_table),
	    cmocka_unit_test(test_what_is_not_known),
	    cmocka_unit_test(test_strings),
	    cmocka_unit_test(test_ages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

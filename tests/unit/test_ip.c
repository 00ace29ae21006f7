/*
 * Addresses and networks: what is taken for one, how it is written, what is in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/ip.h"

#include <netinet/in.h>

static struct ip ip(const char *text)
{
	struct ip parsed;
	if (!ip_parse(slice_of(text), &parsed))
		fail_msg("no address: %s", text);
	return parsed;
}

static void addresses_are_read_and_written(void **state)
{
	(void)state;
	static const char *const same[] = {"192.0.2.1", "255.255.255.255", "::1", "2001:db8::1", "fe80::1"};
	static const char *const others[][2] = {
	    {"::ffff:192.0.2.1",     "192.0.2.1"  },
	    {"::FFFF:c000:201",      "192.0.2.1"  },
	    {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"}
        };
	static const char *const wrong[] = {"",
					    "1",
					    "1.2.3",
					    "1.2.3.4.5",
					    "1.2.3.256",
					    " 1.2.3.4",
					    "1.2.3.4 ",
					    "01.2.3.4",
					    "1.2.3.4:80",
					    "[::1]",
					    ":::",
					    "::1%lo",
					    "::",
					    "0.0.0.0",
					    "::0",
					    "::ffff:0.0.0.0",
					    "unix",
					    "localhost",
					    "1:2:3:4:5:6:7:8:9",
					    "0000:0000:0000:0000:0000:ffff:255.255.255.2551"};
	char text[IP_TEXT_BYTES];
	struct ip address = ip("192.0.2.7");
	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		struct ip parsed = ip(same[i]);
		ip_to_text(&parsed, text);
		assert_string_equal(text, same[i]);
	}
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		struct ip parsed = ip(others[i][0]);
		ip_to_text(&parsed, text);
		assert_string_equal(text, others[i][1]);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (ip_parse(slice_of(wrong[i]), &address))
			fail_msg("taken for an address: %s", wrong[i]);
	assert_false(ip_parse(SLICE("1.2.3.4\0x"), &address));
	assert_false(ip_parse((struct slice){NULL, 0}, &address));
	ip_to_text(&address, text);
	assert_string_equal(text, "192.0.2.7");
	struct ip a = ip("::ffff:192.0.2.7"), b = ip("192.0.2.8");
	assert_true(ip_equal(&a, &address));
	assert_false(ip_equal(&a, &b));
}

static void sites(void **state)
{
	(void)state;
	static const char *const cases[][2] = {
	    {"192.0.2.1",            "192.0.2.1"     },
	    {"::ffff:192.0.2.1",     "192.0.2.1"     },
	    {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"},
	    {"2001:db8:1:2::",       "2001:db8:1:2::"}
        };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ip address = ip(cases[i][0]), expected = ip(cases[i][1]), site = ip_site(&address);
		assert_true(ip_equal(&site, &expected));
	}
}

static void networks(void **state)
{
	(void)state;
	static const struct {
		const char *net, *in, *out, *text;
	} cases[] = {
	    {"10.0.0.0/8",      "10.255.255.255",  "11.0.0.0",        NULL         },
	    {"10.0.0.0/8",      "::ffff:10.1.2.3", "::10.1.2.3",      NULL         },
	    {"192.0.2.128/25",  "192.0.2.128",     "192.0.2.127",     NULL         },
	    {"192.0.2.0/31",    "192.0.2.1",       "192.0.2.2",       NULL         },
	    {"192.0.2.1",       "192.0.2.1",       "192.0.2.0",       NULL         },
	    {"192.0.2.1/32",    "192.0.2.1",       "192.0.2.2",       "192.0.2.1"  },
	    {"0.0.0.0/0",       "1.2.3.4",         "::1",             NULL         },
	    {"0.0.0.0/32",      "0.0.0.0",         "0.0.0.1",         "0.0.0.0"    },
	    {"::/0",            "2001:db8::1",     "1.2.3.4",         NULL         },
	    {"::ffff:0:0/96",   "1.2.3.4",         "::1",             "0.0.0.0/0"  },
	    {"2001:db8::/33",   "2001:db8:7fff::", "2001:db8:8000::", NULL         },
	    {"2001:db8::1",     "2001:db8::1",     "2001:db8::2",     NULL         },
	    {"2001:db8::1/128", "2001:db8::1",     "2001:db8::",      "2001:db8::1"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ip_net net;
		char text[IP_NET_TEXT_BYTES];
		if (!ip_net_parse(slice_of(cases[i].net), &net))
			fail_msg("no network: %s", cases[i].net);
		struct ip out = ip(cases[i].out);
		if (strcmp(cases[i].in, "0.0.0.0") != 0) {
			struct ip in = ip(cases[i].in);
			assert_true(ip_net_contains(&net, &in));
		}
		assert_false(ip_net_contains(&net, &out));
		ip_net_to_text(&net, text);
		assert_string_equal(text, cases[i].text ? cases[i].text : cases[i].net);
	}
	static const char *const wrong[] = {"",
					    "/",
					    "/8",
					    "10.0.0.0/",
					    "10.0.0.1/8",
					    "10.0.0.0/33",
					    "10.0.0.0/-1",
					    "10.0.0.0/8 ",
					    "10.0.0.0/0x8",
					    "10.0.0.0/0008",
					    "::/129",
					    "2001:db8::1/64",
					    "0.0.0.0",
					    "::",
					    "10.0.0.0/8/8"};
	struct ip_net net;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (ip_net_parse(slice_of(wrong[i]), &net))
			fail_msg("taken for a network: %s", wrong[i]);
}

static void sets(void **state)
{
	(void)state;
	struct ip_set set = {.count = 0};
	struct ip none = {{0}}, inside = ip("10.1.1.1"), outside = ip("192.0.2.1");
	assert_true(ip_set_is_empty(&set));
	assert_false(ip_set_contains(&set, &none));
	assert_false(ip_set_contains(&set, &inside));
	assert_true(ip_net_parse(SLICE("::/0"), &set.nets[set.count++]));
	assert_true(ip_net_parse(SLICE("10.0.0.0/8"), &set.nets[set.count++]));
	assert_false(ip_set_is_empty(&set));
	assert_false(ip_set_contains(&set, &none));
	assert_true(ip_set_contains(&set, &inside));
	assert_false(ip_set_contains(&set, &outside));
	set.has_none = true;
	assert_true(ip_set_contains(&set, &none));
	assert_false(ip_set_contains(&set, &outside));
}

static void addresses_of_sockets(void **state)
{
	(void)state;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr local = {.sa_family = AF_UNIX};
	struct ip expected = ip("192.0.2.1"), found = ip_of_sockaddr((struct sockaddr *)&in);
	assert_true(ip_equal(&found, &expected));
	expected = ip("::1");
	found = ip_of_sockaddr((struct sockaddr *)&in6);
	assert_true(ip_equal(&found, &expected));
	found = ip_of_sockaddr(&local);
	assert_true(ip_is_none(&found));
	char text[IP_TEXT_BYTES];
	ip_to_text(&found, text);
	assert_string_equal(text, "unix");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(addresses_are_read_and_written),
	    cmocka_unit_test(sites),
	    cmocka_unit_test(networks),
	    cmocka_unit_test(sets),
	    cmocka_unit_test(addresses_of_sockets),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

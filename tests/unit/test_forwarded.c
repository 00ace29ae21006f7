/*
 * Who the client is. The proxies of every case are 10.0.0.0/8, 2001:db8:ff::/48 and unix sockets; the peer is 10.0.0.1.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "http/forwarded.h"
#include "http/parser.h"

#define PEER     "10.0.0.1"
#define F(value) "Forwarded: " value "\r\n"
#define X(value) "X-Forwarded-For: " value "\r\n"

static struct ip_set trusted;

static int trust(void **state)
{
	(void)state;
	trusted = (struct ip_set){.count = 2, .has_none = true};
	return ip_net_parse(SLICE("10.0.0.0/8"), &trusted.nets[0]) &&
		       ip_net_parse(SLICE("2001:db8:ff::/48"), &trusted.nets[1])
		   ? 0
		   : -1;
}

struct found {
	char text[IP_TEXT_BYTES];
	bool is_client;
};

/* `lines`: fields of the head. In memory of its exact size, so that a sanitizer sees a byte too far. */
static struct found find(enum forwarded_field field, struct slice lines)
{
	struct buf text = BUF_INIT;
	buf_append_str(&text, "GET / HTTP/1.1\r\nHost: t\r\n");
	buf_append_slice(&text, lines);
	buf_append_str(&text, "\r\n");
	char *exact = alloc_zeroed(text.len, 1);
	memcpy(exact, text.data, text.len);
	struct parser p;
	size_t len = text.len;
	parser_init(&p, 1024);
	assert_int_equal(parser_feed(&p, exact, &len), PARSE_DONE);
	struct ip ip;
	struct found found;
	assert_true(ip_parse(SLICE(PEER), &ip));
	found.is_client = forwarded_client(&p.req, field, &trusted, &ip);
	assert_true(found.is_client != ip_set_contains(&trusted, &ip));
	ip_to_text(&ip, found.text);
	free(exact);
	buf_release(&text);
	return found;
}

struct example {
	const char *lines, *client;
};

static void check(enum forwarded_field field, const struct example *examples, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct found found = find(field, slice_of(examples[i].lines));
		if (strcmp(found.text, examples[i].client) != 0)
			fail_msg("%s instead of %s for %s", found.text, examples[i].client,
				 examples[i].lines);
	}
}

#define CHECK(field, examples) check(field, examples, sizeof(examples) / sizeof((examples)[0]))

static void x_forwarded_for(void **state)
{
	(void)state;
	static const struct example examples[] = {
	    {"",								 PEER         },
	    {X("192.0.2.1"),						     "192.0.2.1"  },
	    {"x-FORWARDED-for: 192.0.2.1\r\n",                                   "192.0.2.1"  },
	    {X("192.0.2.1, 10.0.0.2"),					   "192.0.2.1"  },
	    {X("192.0.2.1,10.0.0.2\t,  10.9.9.9"),                               "192.0.2.1"  },
	    {X("10.0.0.3, 10.0.0.2"),					    "10.0.0.3"   }, /* one of ours asks by itself */
	    {X("2001:db8::7"),						   "2001:db8::7"},
	    {X("[2001:db8::7]"),						 "2001:db8::7"},
	    {X("[2001:db8::7]:4711"),					    "2001:db8::7"},
	    {X("192.0.2.1:4711"),						"192.0.2.1"  },
	    {X("192.0.2.1, 2001:db8:ff::1, 10.0.0.2:80"),                        "192.0.2.1"  },
	    {X("::ffff:192.0.2.1, ::ffff:10.0.0.2"),                             "192.0.2.1"  },
	    {X("192.0.2.1, unix:"),					      "192.0.2.1"  },
	    {X("unix:"),							 "unix"       },
 /* Several lines are one list. */
	    {X("198.51.100.1") X("192.0.2.1"),                                   "192.0.2.1"  },
	    {X("192.0.2.1") X("10.0.0.2"),                                       "192.0.2.1"  },
	    {X("198.51.100.1, 192.0.2.1") X("10.0.0.2, 10.0.0.3") X("10.0.0.4"), "192.0.2.1"  },
	    {X("192.0.2.1") F("for=198.51.100.1"),                               "192.0.2.1"  },
	    {F("for=198.51.100.1"),					      PEER         },
	    {"X-Forwarded-Fox: 192.0.2.1\r\nX-Forwarded-For2: 192.0.2.1\r\n",    PEER         },
	};
	CHECK(FORWARDED_X_FORWARDED_FOR, examples);
}

/* What a client writes stands left of its address, and does nothing. */
static void x_forwarded_for_is_not_forged(void **state)
{
	(void)state;
	static const char *const inventions[] = {
	    "198.51.100.1",
	    "10.0.0.7",
	    "10.0.0.7, 10.0.0.8",
	    "127.0.0.1",
	    "unix:",
	    "unknown",
	    "",
	    ",",
	    ",,,",
	    "\"",
	    "\"198.51.100.1",
	    "[::1",
	    "]",
	    "\\",
	    "(",
	    "\xff\xfe",
	    "10.0.0.7;for=10.0.0.8",
	    "198.51.100.1, \"",
	    "192.0.2.1:",
	    "for=198.51.100.1",
	    "a\tb  c d",
	};
	for (size_t i = 0; i < sizeof(inventions) / sizeof(inventions[0]); i++) {
		char appended[128], lines[160];
		snprintf(appended, sizeof(appended), "X-Forwarded-For: %s, 192.0.2.1, 10.0.0.2\r\n",
			 inventions[i]);
		snprintf(lines, sizeof(lines),
			 "X-Forwarded-For: %s\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.2\r\n", inventions[i]);
		assert_string_equal(find(FORWARDED_X_FORWARDED_FOR, slice_of(appended)).text, "192.0.2.1");
		assert_string_equal(find(FORWARDED_X_FORWARDED_FOR, slice_of(lines)).text, "192.0.2.1");
	}
}

/* What names nobody ends the way, at the proxy that wrote it. */
static void rubbish_ends_the_way(void **state)
{
	(void)state;
	static const char *const rubbish[] = {
	    "unknown",
	    "_hidden",
	    "",
	    "0.0.0.0",
	    "::",
	    "[::]",
	    "192.0.2",
	    "192.0.2.1.1",
	    "192.0.2.256",
	    "192.0.2.1:",
	    "192.0.2.1:123456",
	    "192.0.2.1:8x",
	    "192.0.2.1:80:80",
	    "[192.0.2.1]",
	    "[2001:db8::1",
	    "2001:db8::1]",
	    "[2001:db8::1]80",
	    "[2001:db8::1]:",
	    "[]",
	    "[]:80",
	    ":80",
	    "192.0.2.1 192.0.2.2",
	    "\"192.0.2.1\"",
	    "fe80::1%eth0",
	    "localhost",
	    "192.0.2.1/32",
	    "192.0.2.1;",
	    "'192.0.2.1'",
	    "unix:/run/x",
	    "unix",
	    "192.0.2.1\x80",
	};
	for (size_t i = 0; i < sizeof(rubbish) / sizeof(rubbish[0]); i++) {
		char lines[256];
		struct found found;
		snprintf(lines, sizeof(lines), "X-Forwarded-For: 198.51.100.1, %s\r\n", rubbish[i]);
		found = find(FORWARDED_X_FORWARDED_FOR, slice_of(lines));
		if (strcmp(found.text, PEER) != 0 || found.is_client)
			fail_msg("%s for %s", found.text, lines);
		snprintf(lines, sizeof(lines), "X-Forwarded-For: 198.51.100.1, %s, 10.0.0.2\r\n", rubbish[i]);
		found = find(FORWARDED_X_FORWARDED_FOR, slice_of(lines));
		if (strcmp(found.text, "10.0.0.2") != 0 || found.is_client)
			fail_msg("%s for %s", found.text, lines);
	}
}

static void forwarded(void **state)
{
	(void)state;
	static const struct example examples[] = {
	    {"",							  PEER               },
	    {X("192.0.2.1"),					      PEER               },
	    {F("for=192.0.2.1"),					  "192.0.2.1"        },
	    {F("FOR=192.0.2.1"),					  "192.0.2.1"        },
	    {F("For=\"[2001:db8:cafe::17]:4711\""),                       "2001:db8:cafe::17"},
	    {F("for=192.0.2.60;proto=http;by=203.0.113.43"),              "192.0.2.60"       },
	    {F("proto=http; for=192.0.2.60 ;by=203.0.113.43"),            "192.0.2.60"       },
	    {F(";;for=192.0.2.60;;"),                                     "192.0.2.60"       },
	    {F("for=\"192.0.2.43:47011\""),                               "192.0.2.43"       },
	    {F("for=\"192.0.2.43:_port\""),                               "192.0.2.43"       },
	    {F("for=\"[2001:db8::1]:_x.y-z\""),                           "2001:db8::1"      },
	    {F("for=192.0.2.43, for=10.0.0.2"),                           "192.0.2.43"       },
	    {F("for=192.0.2.43,for=\"[2001:db8:ff::2]\";host=\"a,b\", "
	       "for=10.0.0.2;host=\"x;for=198.51.100.1\""),
	     "192.0.2.43"								    },
	    {F("for=198.51.100.1") F("for=192.0.2.43") F("for=10.0.0.2"), "192.0.2.43"       },
	    {F("for=192.0.2.43;ext=\"a \\\" , for=198.51.100.1\""),       "192.0.2.43"       },
	    {F("for=192.0.2.43;ext=\"\\\\\\\\\""),                        "192.0.2.43"       },
	    {F("for=192.0.2.43;ext=\"\\\\\\\", \""),                      "192.0.2.43"       },
	    {F("for=192.0.2.43;ext=\"\""),                                "192.0.2.43"       },
	    {F("for=10.0.0.3;by=_a, for=10.0.0.2"),                       "10.0.0.3"         },
 /* Not the grammar, or nobody. */
	    {F("for=unknown"),					    PEER               },
	    {F("for=_SEVKISEK"),					  PEER               },
	    {F("for=\"_gazonk\""),					PEER               },
	    {F("for=\"unknown:80\""),                                     PEER               },
	    {F(""),						       PEER               },
	    {F(","),						      PEER               },
	    {F(";"),						      PEER               },
	    {F("for"),						    PEER               },
	    {F("for="),						   PEER               },
	    {F("for=\"\""),					       PEER               },
	    {F("192.0.2.1"),					      PEER               },
	    {F("proto=https;by=192.0.2.1"),                               PEER               },
	    {F("for=192.0.2.1;for=192.0.2.2"),                            PEER               },
	    {F("for=192.0.2.1 for=192.0.2.2"),                            PEER               },
	    {F("for=192.0.2.1;proto"),                                    PEER               },
	    {F("for=192.0.2.1;=x"),				       PEER               },
	    {F("for =192.0.2.1"),					 PEER               },
	    {F("for= 192.0.2.1"),					 PEER               },
	    {F("for=192.0.2.1:80"),				       PEER               },
	    {F("for=[2001:db8::1]"),				      PEER               },
	    {F("for=\"2001:db8::1\""),                                    PEER               },
	    {F("for=\"[2001:db8::1\""),                                   PEER               },
	    {F("for=\"192.0.2.1"),					PEER               },
	    {F("for=192.0.2.1\""),					PEER               },
	    {F("for=\"192.0.2.1\"x"),                                     PEER               },
	    {F("for=\"192.0.2.1:\""),                                     PEER               },
	    {F("for=\"192.0.2.1:_\""),                                    PEER               },
	    {F("for=\"192.0.2.1:_a b\""),                                 PEER               },
	    {F("for=\"192.0.2.\\1\""),                                    PEER               },
	    {F("for=\"unix:\""),					  PEER               },
	    {F("for=192.0.2.1, for=unknown, for=10.0.0.2"),               "10.0.0.2"         },
	    {F("for=192.0.2.1,, for=10.0.0.2"),                           "10.0.0.2"         },
	};
	CHECK(FORWARDED_FORWARDED, examples);
}

/* However the quotes of what stands to the left are open: what was appended is told from the right. */
static void forwarded_is_not_forged(void **state)
{
	(void)state;
	static const char *const inventions[] = {
	    "for=198.51.100.1",
	    "for=10.0.0.7",
	    "for=\"",
	    "for=\"198.51.100.1",
	    "\"",
	    "\"\"\"",
	    "\\",
	    "\\\"",
	    "\"\\",
	    "for=198.51.100.1;x=\"",
	    "for=198.51.100.1, x=\"a",
	    ",",
	    "",
	    "for=10.0.0.7,\"",
	    "x=\"\\\\",
	    "x=\"\\\\\"\\",
	    "\"for=10.0.0.7;\\",
	};
	static const char *const appended[] = {
	    "for=192.0.2.1",
	    "for=\"192.0.2.1:80\"",
	    "for=192.0.2.1;host=\"a\"",
	    "host=\"\\\"\";for=192.0.2.1",
	    "for=192.0.2.1;host=\"a, for=198.51.100.1\"",
	    "for=192.0.2.1, for=10.0.0.2;host=\"\\\\\"",
	};
	for (size_t i = 0; i < sizeof(inventions) / sizeof(inventions[0]); i++)
		for (size_t j = 0; j < sizeof(appended) / sizeof(appended[0]); j++) {
			char line[256], lines[256];
			snprintf(line, sizeof(line), "Forwarded: %s, %s\r\n", inventions[i], appended[j]);
			snprintf(lines, sizeof(lines), "Forwarded: %s\r\nForwarded: %s\r\n", inventions[i],
				 appended[j]);
			if (strcmp(find(FORWARDED_FORWARDED, slice_of(line)).text, "192.0.2.1") != 0)
				fail_msg("forged by %s", line);
			assert_string_equal(find(FORWARDED_FORWARDED, slice_of(lines)).text, "192.0.2.1");
		}
}

/* Of random bytes left of what the proxies wrote none has an effect; anywhere, none is read past the end. */
static void random_bytes(void **state)
{
	(void)state;
	static const char alphabet[] = "10.0.0.7,:;[]\"\\ \tfor=unkwx_%\xff";
	unsigned seed = 7;
	for (int round = 0; round < 20000; round++) {
		char left[64];
		size_t len = (size_t)rand_r(&seed) % sizeof(left);
		for (size_t i = 0; i < len; i++)
			left[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
		bool quoted = round % 2;
		struct buf lines = BUF_INIT;
		buf_append_str(&lines, quoted ? "Forwarded: " : "X-Forwarded-For: ");
		buf_append(&lines, left, len);
		if (round % 4 < 2)
			buf_append_str(&lines, quoted ? ", for=\"192.0.2.1:1\", for=10.0.0.2"
						      : ",192.0.2.1, 10.0.0.2");
		buf_append_str(&lines, "\r\n");
		struct found found =
		    find(quoted ? FORWARDED_FORWARDED : FORWARDED_X_FORWARDED_FOR, buf_slice(&lines));
		if (round % 4 < 2 && strcmp(found.text, "192.0.2.1") != 0)
			fail_msg("%s for %.*s", found.text, (int)lines.len, lines.data);
		buf_release(&lines);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(x_forwarded_for),         cmocka_unit_test(x_forwarded_for_is_not_forged),
	    cmocka_unit_test(rubbish_ends_the_way),    cmocka_unit_test(forwarded),
	    cmocka_unit_test(forwarded_is_not_forged), cmocka_unit_test(random_bytes),
	};
	return cmocka_run_group_tests(tests, trust, NULL);
}

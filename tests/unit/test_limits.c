/*
 * What limits clients by their address: the buckets, and the count of connections; each also from several processes at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "net/census.h"
#include "net/rate_limit.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SECOND_US = 1000000, PROCESSES = 4 };

static struct ip ip(const char *text)
{
	struct ip parsed;
	assert_true(ip_parse(slice_of(text), &parsed));
	return parsed;
}

static struct ip numbered(uint32_t i)
{
	char text[IP_TEXT_BYTES];
	snprintf(text, sizeof(text), "20.%u.%u.%u", i >> 16 & 255, i >> 8 & 255, i & 255);
	return ip(text);
}

static struct rate_limit open_limit(uint32_t per_second, uint32_t burst)
{
	struct rate_limit r;
	struct err err;
	assert_int_equal(rate_limit_open(&r, per_second, burst, &err), 0);
	return r;
}

/* How many of `count` requests at `now_us` are let through. */
static unsigned admit(struct rate_limit *r, const struct ip *client, int64_t now_us, unsigned count)
{
	unsigned admitted = 0;
	for (unsigned i = 0; i < count; i++)
		admitted += rate_limit_admit(r, client, now_us);
	return admitted;
}

static void a_bucket_empties_and_fills(void **state)
{
	(void)state;
	struct rate_limit r = open_limit(10, 20);
	struct ip a = ip("192.0.2.1"), b = ip("192.0.2.2");
	int64_t now_us = 5 * SECOND_US;
	assert_int_equal(admit(&r, &a, now_us, 50), 20);
	assert_int_equal(admit(&r, &b, now_us, 50), 20);
	assert_int_equal(admit(&r, &a, now_us + 99999, 50), 0);
	assert_int_equal(admit(&r, &a, now_us + 100000, 50), 1);
	assert_int_equal(admit(&r, &a, now_us + SECOND_US, 50), 9);
	assert_int_equal(admit(&r, &a, now_us + 3 * SECOND_US, 50), 20);
	assert_int_equal(admit(&r, &a, now_us + 3600LL * SECOND_US, 50), 20);
	/* A process whose clock lags. */
	assert_int_equal(admit(&r, &a, now_us + 3595LL * SECOND_US, 50), 0);
	rate_limit_close(&r);
}

static void the_extremes(void **state)
{
	(void)state;
	struct ip a = ip("192.0.2.1");
	struct rate_limit r = open_limit(1, 1);
	assert_int_equal(admit(&r, &a, 0, 5), 1);
	assert_int_equal(admit(&r, &a, SECOND_US - 1, 5), 0);
	assert_int_equal(admit(&r, &a, SECOND_US, 5), 1);
	rate_limit_close(&r);
	r = open_limit(1, RATE_LIMIT_MAX_BURST);
	assert_int_equal(admit(&r, &a, 0, 2 * RATE_LIMIT_MAX_BURST), RATE_LIMIT_MAX_BURST);
	rate_limit_close(&r);
	r = open_limit(RATE_LIMIT_MAX_PER_SECOND, 1);
	unsigned admitted = 0;
	for (int64_t us = 0; us < SECOND_US; us += 10)
		admitted += admit(&r, &a, us, 1);
	assert_int_equal(admitted, RATE_LIMIT_MAX_PER_SECOND);
	rate_limit_close(&r);
}

/* The time in a word comes round after 2^42 microseconds. */
static void the_time_comes_round(void **state)
{
	(void)state;
	struct rate_limit r = open_limit(10, 20);
	struct ip a = ip("192.0.2.1");
	int64_t now_us = (1LL << 42) - SECOND_US / 2;
	assert_int_equal(admit(&r, &a, now_us, 50), 20);
	assert_int_equal(admit(&r, &a, now_us + SECOND_US, 50), 10);
	for (int64_t turn = 2; turn < 20;
	     turn++) /* a quarter more each: what is long past may look as if it were to come */
		assert_int_equal(admit(&r, &a, now_us + turn * (5LL << 40), 50), 20);
	rate_limit_close(&r);
}

static void networks_of_ipv6_share_a_bucket(void **state)
{
	(void)state;
	struct rate_limit r = open_limit(10, 20);
	struct ip a = ip("2001:db8:0:1::1"), b = ip("2001:db8:0:1:ffff::2"), c = ip("2001:db8:0:2::1");
	assert_int_equal(admit(&r, &a, 0, 15), 15);
	assert_int_equal(admit(&r, &b, 0, 15), 5);
	assert_int_equal(admit(&r, &c, 0, 15), 15);
	rate_limit_close(&r);
}

/* A million addresses go through a table of 131,072: whoever is over the limit stays in, and nobody is refused for others. */
static void a_flood_does_not_wash_out_who_is_limited(void **state)
{
	(void)state;
	struct rate_limit r = open_limit(10, 20);
	struct ip greedy = ip("192.0.2.1");
	unsigned admitted = 0, refused = 0;
	for (uint32_t i = 0; i < 1000000; i++) {
		int64_t now_us = i; /* a million a second */
		struct ip other = numbered(i);
		refused += !rate_limit_admit(&r, &other, now_us);
		if (i % 1000 == 0)
			admitted += rate_limit_admit(&r, &greedy, now_us);
	}
	assert_in_range(admitted, 29, 31);
	assert_in_range(refused, 0,
			4); /* two addresses in one set may have the same tag, once in two millions */
	rate_limit_close(&r);
}

static void what_others_wrote_is_not_trusted(void **state)
{
	(void)state;
	struct rate_limit r = open_limit(10, 20);
	struct ip a = ip("192.0.2.1");
	for (unsigned byte = 0; byte < 256; byte += 17) {
		memset(r.sets, (int)byte, r.shm.size);
		(void)admit(&r, &a, 1000LL * SECOND_US, 50);
		/* Even where a word happened to be its own: after an hour and the burst at the latest. */
		assert_int_equal(admit(&r, &a, 5000LL * SECOND_US, 50), 20);
	}
	rate_limit_close(&r);
}

/* Several processes hammer one bucket. What is asked moves the time, so that nobody sleeps while it passes. */
static void processes_share_a_bucket(void **state)
{
	(void)state;
	enum { RATE = 1000, BURST = 50, MILLISECONDS = 500 };
	struct rate_limit r = open_limit(RATE, BURST);
	struct shm shm;
	struct err err;
	assert_int_equal(shm_open_new(&shm, "test", 2 * sizeof(_Atomic uint32_t), &err), 0);
	_Atomic uint32_t *admitted = shm.addr, *clock_us = admitted + 1;
	struct ip a = ip("192.0.2.1");
	for (int i = 0; i < PROCESSES; i++)
		if (fork() == 0) {
			for (int64_t now_us; (now_us = atomic_fetch_add(clock_us, 1)) < MILLISECONDS * 1000;)
				if (rate_limit_admit(&r, &a, now_us))
					atomic_fetch_add(admitted, 1);
			_exit(0);
		}
	for (int i = 0; i < PROCESSES; i++) {
		int status;
		assert_true(wait(&status) > 0 && status == 0);
	}
	assert_in_range(atomic_load(admitted), BURST + RATE * MILLISECONDS / 1000 - 1,
			BURST + RATE * MILLISECONDS / 1000 + 1);
	shm_close(&shm);
	rate_limit_close(&r);
}

/* ---- the census */

static void connections_are_counted(void **state)
{
	(void)state;
	struct census c;
	struct err err;
	assert_int_equal(census_open(&c, 3, &err), 0);
	struct ip a = ip("192.0.2.1"), b = ip("2001:db8::1"), neighbour = ip("2001:db8::2");
	assert_int_equal(census_count(&c, &a), 0);
	census_leave(&c, 0, &a);
	assert_int_equal(census_count(&c, &a), 0);
	for (unsigned worker = 0; worker < 3; worker++)
		for (unsigned i = 0; i <= worker; i++)
			census_enter(&c, worker, &a);
	census_enter(&c, 1, &b);
	census_enter(&c, 2, &neighbour);
	assert_int_equal(census_count(&c, &a), 6);
	assert_int_equal(census_count(&c, &b), 2);
	census_leave(&c, 2, &a);
	assert_int_equal(census_count(&c, &a), 5);
	census_clear(&c, 2);
	assert_int_equal(census_count(&c, &a), 3);
	assert_int_equal(census_count(&c, &neighbour), 1);
	memset(c.tables, 0xff, c.shm.size);
	census_enter(&c, 0, &a);
	assert_int_equal(census_count(&c, &a), 3ULL * UINT32_MAX);
	census_close(&c);
}

/* Never too few, seldom too many, and all gone in the end. */
static void many_addresses_are_counted(void **state)
{
	(void)state;
	enum { ADDRESSES = 50000 };
	struct census c;
	struct err err;
	unsigned too_high = 0, much_too_high = 0;
	assert_int_equal(census_open(&c, 2, &err), 0);
	for (uint32_t i = 0; i < ADDRESSES; i++) {
		struct ip one = numbered(i);
		census_enter(&c, i % 2, &one);
	}
	for (uint32_t i = 0; i < ADDRESSES; i++) {
		struct ip one = numbered(i);
		uint64_t count = census_count(&c, &one);
		assert_true(count >= 1);
		too_high += count > 1;
		much_too_high += count > 3;
	}
	assert_in_range(too_high, ADDRESSES / 5, ADDRESSES * 2 / 5);
	assert_in_range(much_too_high, 0, ADDRESSES / 250);
	for (uint32_t i = 0; i < ADDRESSES; i++) {
		struct ip one = numbered(i);
		census_leave(&c, i % 2, &one);
	}
	for (uint32_t i = 0; i < ADDRESSES; i++) {
		struct ip one = numbered(i);
		assert_int_equal(census_count(&c, &one), 0);
	}
	census_close(&c);
}

/* Each process enters, asks and leaves: those who find themselves within the limit are never more than it at once. */
static void processes_keep_to_a_limit(void **state)
{
	(void)state;
	enum { LIMIT = 2, ROUNDS = 20000 };
	struct census c;
	struct shm shm;
	struct err err;
	assert_int_equal(census_open(&c, PROCESSES, &err), 0);
	assert_int_equal(shm_open_new(&shm, "test", 2 * sizeof(_Atomic uint32_t), &err), 0);
	_Atomic uint32_t *inside = shm.addr, *most = inside + 1;
	struct ip a = ip("192.0.2.1");
	for (unsigned i = 0; i < PROCESSES; i++)
		if (fork() == 0) {
			for (int round = 0; round < ROUNDS; round++) {
				census_enter(&c, i, &a);
				if (census_count(&c, &a) <= LIMIT) {
					uint32_t now = atomic_fetch_add(inside, 1) + 1,
						 highest = atomic_load(most);
					while (now > highest &&
					       !atomic_compare_exchange_weak(most, &highest, now))
						continue;
					atomic_fetch_sub(inside, 1);
				}
				census_leave(&c, i, &a);
			}
			_exit(0);
		}
	for (int i = 0; i < PROCESSES; i++) {
		int status;
		assert_true(wait(&status) > 0 && status == 0);
	}
	assert_in_range(atomic_load(most), 1, LIMIT);
	assert_int_equal(census_count(&c, &a), 0);
	shm_close(&shm);
	census_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_bucket_empties_and_fills),
	    cmocka_unit_test(the_extremes),
	    cmocka_unit_test(the_time_comes_round),
	    cmocka_unit_test(networks_of_ipv6_share_a_bucket),
	    cmocka_unit_test(a_flood_does_not_wash_out_who_is_limited),
	    cmocka_unit_test(what_others_wrote_is_not_trusted),
	    cmocka_unit_test(processes_share_a_bucket),
	    cmocka_unit_test(connections_are_counted),
	    cmocka_unit_test(many_addresses_are_counted),
	    cmocka_unit_test(processes_keep_to_a_limit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

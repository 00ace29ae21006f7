/*
 * What Redis gives for the first page: any bytes as a page, as one whose tag and check are right (which chance would never find), and as
 * a reply. It is refused, or a page that holds what its header promises and is written again as the same bytes.
 */
#include "check.h"

#include "cache/lease.h"

#include <ctype.h>
#include <hiredis/hiredis.h>
#include <math.h>

static void check_page(const struct page *page, struct slice text)
{
	struct uuid tag;
	struct buf again = BUF_INIT;
	CHECK(page->state == PAGE_OK && page->source == PAGE_FROM_REDIS);
	CHECK(page->filled_us >= 0 && page->json.len <= PAGE_JSON_MAX_BYTES);
	CHECK(!page->has_more || (isfinite(page->last.created_at) && !signbit(page->last.created_at)));
	uuid_of_bytes(&tag, page->json.data, page->json.len);
	CHECK(uuid_compare_to(&tag, &page->tag) == 0);
	lease_page_encode(page, &again);
	CHECK(slice_equal(buf_slice(&again), text));
	buf_release(&again);
}

/* One bit of a page that was taken, anywhere. */
static void check_damaged(struct slice text, size_t at)
{
	struct page page = {.filled_us = 0};
	struct slice copy = copy_exactly(text.data, text.len);
	((char *)(uintptr_t)copy.data)[at / 8 % text.len] ^= (char)(1 << at % 8);
	CHECK(lease_page_decode(copy, &page) == -1);
	page_release(&page);
	free_copy(copy);
}

static void read_page(struct slice text)
{
	struct page page = {.filled_us = 0};
	struct slice copy = copy_exactly(text.data, text.len);
	if (lease_page_decode(copy, &page) == 0) {
		check_page(&page, text);
		for (size_t i = 0; i < 8; i++)
			check_damaged(text, (size_t)page.tag.bytes[i] << 8 | page.tag.bytes[i + 8]);
	}
	page_release(&page);
	free_copy(copy);
}

static void append_uuid(struct buf *out, const char *bytes, size_t len)
{
	struct uuid id;
	buf_reserve(out, UUID_TEXT_BYTES);
	uuid_of_bytes(&id, bytes, len);
	uuid_to_text(&id, out->data + out->len);
	out->len += UUID_TEXT_BYTES;
}

/* Up to the first line break a header, where '%' stands for the tag; then the JSON. */
static void read_page_with_check(struct slice text)
{
	struct buf page = BUF_INIT;
	const char *line_end = text.len ? memchr(text.data, '\n', text.len) : NULL;
	size_t head_len = line_end ? (size_t)(line_end - text.data) : text.len;
	size_t json_at = line_end ? head_len + 1 : head_len;
	for (size_t i = 0; i < head_len; i++)
		if (text.data[i] == '%')
			append_uuid(&page, text.data + json_at, text.len - json_at);
		else
			buf_append(&page, text.data + i, 1);
	struct buf check = BUF_INIT;
	append_uuid(&check, page.data, page.len);
	buf_append_str(&page, " ");
	buf_append_slice(&page, buf_slice(&check));
	buf_append_str(&page, "\n");
	buf_append(&page, text.data + json_at, text.len - json_at);
	read_page(buf_slice(&page));
	buf_release(&check);
	buf_release(&page);
}

/* hiredis allocates an array when it has read its size, be it two thousand million: not ours to test. */
static bool has_large_array(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] == '*') {
			size_t digits = 0;
			while (i + 1 < text.len && isdigit((unsigned char)text.data[i + 1])) {
				i++;
				digits++;
			}
			if (digits > 2)
				return true;
		}
	return false;
}

/* RESP, as it comes from the socket. */
static void read_reply(struct slice text)
{
	struct page page = {.filled_us = 0};
	struct lease_acquired got;
	redisReader *reader = redisReaderCreate();
	void *reply = NULL;
	CHECK(reader);
	if (!has_large_array(text) && redisReaderFeed(reader, text.data, text.len) == REDIS_OK &&
	    redisReaderGetReply(reader, &reply) == REDIS_OK && reply) {
		lease_read_acquire(reply, &got, &page);
		CHECK(got.verdict <= LEASE_BROKEN && (got.verdict != LEASE_BROKEN || got.why));
		CHECK(got.has_page || (got.verdict != LEASE_HIT && got.verdict != LEASE_SERVE));
		if (got.verdict != LEASE_BROKEN && got.has_page)
			check_page(&page, redis_text(redis_at(reply, 1)));
		freeReplyObject(reply);
	}
	redisReaderFree(reader);
	page_release(&page);
}

static void (*const readings[])(struct slice text) = {read_page, read_page_with_check, read_reply};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	readings[take_byte(&data, &size) % (sizeof(readings) / sizeof(readings[0]))](
	    (struct slice){(const char *)data, size});
	return 0;
}

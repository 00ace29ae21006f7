/*
 * Values of fields, and targets: Accept-Encoding, If-Match and If-None-Match, Content-Type, Host and what stands in a request line. Each is read
 * again in another guise that means the same (white space, case, empty members), and by the plainest reading that there is.
 */
#include "check.h"

#include "base/utf8.h"
#include "http/coding.h"
#include "http/etag.h"
#include "http/media.h"
#include "http/target.h"

#include <ctype.h>
#include <strings.h>

#define ZLIB_CONST
#include <zlib.h>

/* `before` text `after`, in other case if so asked. Owned, by *out. */
static struct slice guise(struct buf *out, const char *before, struct slice text, const char *after,
			  bool upper)
{
	buf_clear(out);
	buf_append_str(out, before);
	buf_append_slice(out, text);
	buf_append_str(out, after);
	for (size_t i = 0; i < out->len && upper; i++)
		out->data[i] = (char)toupper((unsigned char)out->data[i]);
	return buf_slice(out);
}

/* ---- Accept-Encoding */

static bool has_word(struct slice text, const char *word)
{
	size_t len = strlen(word);
	for (size_t i = 0; i + len <= text.len; i++)
		if (strncasecmp(text.data + i, word, len) == 0)
			return true;
	return false;
}

static void check_accept_encoding(struct slice value)
{
	struct buf other = BUF_INIT;
	bool is_wanted = coding_gzip_is_wanted(value);
	CHECK(!is_wanted || has_word(value, "gzip") || has_word(value, "*"));
	CHECK(coding_gzip_is_wanted(guise(&other, "", value, "", true)) == is_wanted);
	CHECK(coding_gzip_is_wanted(guise(&other, " ,\t,", value, "\t, ,", false)) == is_wanted);
	CHECK(!coding_gzip_is_wanted(guise(&other, "", value, ";q=", false)));
	/* What is said first holds. */
	CHECK(!coding_gzip_is_wanted(guise(&other, "gzip;q=0,", value, "", false)));
	CHECK(coding_gzip_is_wanted(guise(&other, "br;q=1.0, ", value, ",a ; Q=0.", false)) == is_wanted);
	buf_release(&other);
}

static void check_gzip(struct slice text)
{
	struct buf packed = BUF_INIT, again = BUF_INIT;
	coding_append_gzip(&packed, text);
	coding_append_gzip(&again, text);
	CHECK(slice_equal(buf_slice(&packed), buf_slice(&again)));
	buf_clear(&again);
	buf_reserve(&again, text.len + 1);
	z_stream stream = {.next_in = (const Bytef *)packed.data,
			   .avail_in = (uInt)packed.len,
			   .next_out = (Bytef *)again.data,
			   .avail_out = (uInt)text.len + 1};
	CHECK(inflateInit2(&stream, 15 + 16) == Z_OK);
	CHECK(inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.avail_in == 0 &&
	      stream.total_out == text.len);
	CHECK(text.len == 0 || memcmp(again.data, text.data, text.len) == 0);
	CHECK(inflateEnd(&stream) == Z_OK);
	buf_release(&packed);
	buf_release(&again);
}

/* ---- If-Match, If-None-Match */

static bool is_etag_char(char c)
{
	return c == '!' || (uint8_t)c >= 0x80 || (c >= '#' && c <= '~');
}

struct naming {
	bool is_list, weakly, strongly;
};

/* Cuts the text at commas outside of quotes. Is each piece an entity tag, or empty? Is one of them `etag`, or is one but for W/? */
static struct naming read_etags(struct slice text, struct slice etag)
{
	struct naming names = {.is_list = true};
	for (size_t at = 0; at < text.len;) {
		while (at < text.len &&
		       (text.data[at] == ',' || text.data[at] == ' ' || text.data[at] == '\t'))
			at++;
		if (at == text.len)
			return names;
		bool is_weak = text.len - at > 2 && memcmp(text.data + at, "W/", 2) == 0;
		at += is_weak ? 2 : 0;
		size_t begin = at++;
		while (at < text.len && is_etag_char(text.data[at]))
			at++;
		if (at == text.len || text.data[begin] != '"' || text.data[at++] != '"')
			return (struct naming){.is_list = false};
		bool is_it = slice_equal((struct slice){text.data + begin, at - begin}, etag);
		names.weakly = names.weakly || is_it;
		names.strongly = names.strongly || (is_it && !is_weak);
		while (at < text.len && (text.data[at] == ' ' || text.data[at] == '\t'))
			at++;
		if (at < text.len && text.data[at] != ',')
			return (struct naming){.is_list = false};
	}
	return names;
}

static void check_evaluation(struct slice value, struct slice etag)
{
	struct etag_conditions match = {.if_match = value}, none_match = {.if_none_match = value};
	struct etag_conditions both = {.if_match = value, .if_none_match = value};
	bool weakly = etag_list_names(value, etag, ETAG_WEAK),
	     strongly = etag_list_names(value, etag, ETAG_STRONG);
	for (int is_read = 0; is_read < 2; is_read++) {
		enum etag_verdict named = is_read ? ETAG_NOT_MODIFIED : ETAG_FAILED;
		CHECK(etag_evaluate(&match, etag, is_read) == (strongly ? ETAG_GO_ON : ETAG_FAILED));
		CHECK(etag_evaluate(&none_match, etag, is_read) == (weakly ? named : ETAG_GO_ON));
		CHECK(etag_evaluate(&both, etag, is_read) == (strongly ? named : ETAG_FAILED));
	}
}

static void check_conditions(struct slice value, struct slice etag)
{
	struct buf other = BUF_INIT;
	bool weakly = etag_list_names(value, etag, ETAG_WEAK),
	     strongly = etag_list_names(value, etag, ETAG_STRONG);
	struct naming names = read_etags(value, etag);
	CHECK(weakly || !strongly);
	check_evaluation(value, etag);
	if (!names.is_list) {
		CHECK(!weakly || slice_equal(value, SLICE("*")) ||
		      memmem(value.data, value.len, etag.data, etag.len));
		return;
	}
	CHECK(weakly == names.weakly && strongly == names.strongly);
	guise(&other, ", \"a\",", value, "\t,W/\"*\",", false);
	CHECK(etag_list_names(buf_slice(&other), etag, ETAG_WEAK) == weakly);
	CHECK(etag_list_names(buf_slice(&other), etag, ETAG_STRONG) == strongly);
	guise(&other, "", value, ",W/", false);
	buf_append_slice(&other, etag);
	CHECK(etag_list_names(buf_slice(&other), etag, ETAG_WEAK));
	CHECK(etag_list_names(buf_slice(&other), etag, ETAG_STRONG) == strongly);
	buf_release(&other);
}

/* ---- Content-Type */

static void check_media(struct slice value)
{
	struct buf other = BUF_INIT;
	enum media_type type = media_parse(value);
	CHECK(media_parse(guise(&other, "", value, "", true)) == type);
	CHECK(media_parse(guise(&other, "", value, "\t; ;", false)) == type);
	CHECK(media_parse(guise(&other, " ", value, "", false)) == MEDIA_MALFORMED);
	CHECK(media_parse(guise(&other, "", value, ";a", false)) == MEDIA_MALFORMED);
	CHECK(media_parse(guise(&other, "", value, ";a=b;A=c", false)) == MEDIA_MALFORMED);
	if (value.len > 0 && !memchr(value.data, ';', value.len)) {
		CHECK(media_parse(guise(&other, "", value, "; charset=\"utf\\-8\"", false)) == type);
		bool is_known = type == MEDIA_JSON || type == MEDIA_FORM;
		CHECK(media_parse(guise(&other, "", value, ";charset=latin1", false)) ==
		      (is_known ? MEDIA_BAD_CHARSET : type));
	}
	if (type != MEDIA_OTHER && type != MEDIA_MALFORMED)
		CHECK(strncasecmp(value.data, "application/", strlen("application/")) == 0);
	buf_release(&other);
}

/* ---- Host, and targets */

static void check_authority(struct slice value)
{
	struct buf other = BUF_INIT;
	bool is_valid = target_authority_is_valid(value);
	CHECK(target_authority_is_valid(guise(&other, "", value, "", true)) == is_valid);
	if (is_valid) {
		for (size_t i = 0; i < value.len; i++)
			CHECK(value.data[i] > ' ' && value.data[i] < 127 &&
			      !strchr("/?#@,\"\\<>^`{|}", value.data[i]));
		CHECK(!target_authority_is_valid(guise(&other, "a@", value, "", false)));
		CHECK(!target_authority_is_valid(guise(&other, "", value, ":65536", false)));
		CHECK(!target_authority_is_valid(guise(&other, "", value, "/", false)));
	}
	buf_release(&other);
}

/* What the segments say, encoded anew, has the same segments. */
static void check_segments(struct slice path)
{
	struct slice segments[TARGET_SEGMENTS_MAX], again[TARGET_SEGMENTS_MAX];
	struct slice scratch = copy_exactly(path.data, path.len);
	int count = target_segments(path, (char *)(uintptr_t)scratch.data, segments);
	CHECK(count == -1 || (count >= 1 && count <= TARGET_SEGMENTS_MAX + 1));
	struct buf text = BUF_INIT;
	for (int i = 0; i < count && i < TARGET_SEGMENTS_MAX; i++) {
		CHECK(utf8_is_valid(segments[i]));
		buf_append_str(&text, "/");
		for (size_t k = 0; k < segments[i].len; k++) {
			CHECK((uint8_t)segments[i].data[k] >= ' ' && segments[i].data[k] != 127);
			buf_printf(&text, "%%%02X", (uint8_t)segments[i].data[k]);
		}
	}
	if (count > 0 && count <= TARGET_SEGMENTS_MAX) {
		struct slice other = copy_exactly(text.data, text.len);
		CHECK(target_segments(buf_slice(&text), (char *)(uintptr_t)other.data, again) == count);
		for (int i = 0; i < count; i++)
			CHECK(slice_equal(segments[i], again[i]));
		free_copy(other);
	}
	buf_release(&text);
	free_copy(scratch);
}

/* The parts are pieces of the whole, in order, and nothing is lost. */
static void check_parts(const struct target *t, struct slice raw)
{
	struct buf whole = BUF_INIT;
	if (t->authority.len > 0)
		buf_append(&whole, raw.data, (size_t)(t->authority.data - raw.data)); /* the scheme */
	buf_append_slice(&whole, t->authority);
	if (t->form == TARGET_ASTERISK && t->authority.len == 0)
		buf_append_str(&whole, "*");
	bool has_path = t->path.len > 0 && t->path.data >= raw.data && t->path.data < raw.data + raw.len;
	CHECK(has_path || t->form != TARGET_ORIGIN);
	CHECK(t->path.len == 0 || t->path.data[0] == '/');
	if (has_path)
		buf_append_slice(&whole, t->path);
	if (whole.len < raw.len) {
		buf_append_str(&whole, "?");
		buf_append_slice(&whole, t->query);
	}
	CHECK(slice_equal(buf_slice(&whole), raw));
	CHECK(t->authority.len == 0 || target_authority_is_valid(t->authority));
	buf_release(&whole);
}

static void check_target(struct slice raw)
{
	for (enum http_method method = HTTP_METHOD_UNKNOWN; method < HTTP_METHOD_COUNT; method++) {
		struct target t;
		const char *detail = NULL;
		if (target_parse(&t, method, raw, &detail) != 0) {
			CHECK(detail && detail[0]);
			continue;
		}
		CHECK((t.form == TARGET_AUTHORITY) == (method == HTTP_CONNECT));
		CHECK(t.form != TARGET_ASTERISK || method == HTTP_OPTIONS);
		check_parts(&t, raw);
		if (t.path.len > 0)
			check_segments(t.path);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice value = copy_exactly(data, size);
	check_accept_encoding(value);
	check_media(value);
	check_authority(value);
	check_target(value);
	check_conditions(value, SLICE("\"abc\""));
	check_conditions(value, SLICE("\"\""));
	if (size > 0 && data[0] == 'z')
		check_gzip(value);
	free_copy(value);
	return 0;
}

/*
 * Hides the secrets of a URI. What is shown is for logs and dumps, so a URI that breaks the rules (a password
 * with an unescaped '@', '/' or '?') rather loses too much than too little.
 */
#include "config/config.h"
#include "base/buf.h"

static const char mask[] = "***";

/* Options of MongoDB's URIs that are, or hold, a secret. */
static bool is_secret_option(struct slice name)
{
	static const char *const secret[] = {"tlsCertificateKeyFilePassword",
					     "sslClientCertificateKeyPassword", "authMechanismProperties"};
	for (size_t i = 0; i < sizeof(secret) / sizeof(secret[0]); i++)
		if (slice_equal_nocase(name, slice_of(secret[i])))
			return true;
	return false;
}

static void append_masked_options(struct buf *out, const char *rest)
{
	size_t len = strcspn(rest, "?");
	buf_append(out, rest, len);
	for (rest += len; *rest; rest += len) {
		buf_append(out, rest++, 1); /* '?' or '&' */
		len = strcspn(rest, "&");
		size_t name_len = strcspn(rest, "=&");
		if (name_len < len && is_secret_option((struct slice){rest, name_len})) {
			buf_append(out, rest, name_len + 1);
			buf_append_str(out, mask);
		} else {
			buf_append(out, rest, len);
		}
	}
}

char *config_mask_password(const char *uri)
{
	struct buf out = BUF_INIT;
	const char *rest = strstr(uri, "://");
	if (!rest)
		return alloc_string(slice_of(uri));
	rest += 3;
	const char *at = memrchr(rest, '@', strcspn(rest, "?"));
	if (!at)
		at = strrchr(rest, '@');
	const char *colon = at ? memchr(rest, ':', (size_t)(at - rest)) : NULL;
	if (colon) {
		buf_append(&out, uri, (size_t)(colon + 1 - uri));
		buf_append_str(&out, mask);
		rest = at;
	} else {
		buf_append(&out, uri, (size_t)(rest - uri));
	}
	append_masked_options(&out, rest);
	buf_append(&out, "", 1);
	return out.data;
}

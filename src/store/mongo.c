/*
 * Todos in a MongoDB collection, through libmongoc 1.23 and later (nothing here that 2.x has dropped).
 *
 * A document: {_id: UUID (binary, subtype 4), content: string, created_at: double, is_finished: bool,
 * finished_at: double or null}. What looks otherwise was put there by somebody else and counts as absent.
 *
 * Invariants:
 *   - Clients come from a pool, never alone: a single client of 1.23 can deadlock in its own scan
 *     (CDRIVER-4666). The pool, with its threads and sockets, is made by the first begin: after fork.
 *   - A session holds a client from begin to end only: libmongoc tidies up clients as they come back.
 *   - Everything is read from the primary.
 *   - "Nothing was done" rests on a count, not on an error code: no command of the operation, retries of the
 *     driver included, came back otherwise than refused (struct trace). All else is STORE_UNKNOWN.
 *
 * libmongoc bounds no operation as a whole: one may take twice the time that the time-outs below add up to.
 */
#include "store/driver.h"

#include "base/clock.h"
#include "base/log.h"

#include <float.h>
#include <math.h>
#include <mongoc/mongoc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- limits ---- */

enum {
	SELECTION_TIMEOUT_MS = 5000, /* longer than a planned step-down, about 1 to 3 s */
	CONNECT_TIMEOUT_MS = 2000,   /* of a connection, and of a monitor's question */
	HEARTBEAT_MS = 2000,         /* how long a change may go unnoticed while nobody asks */
	SOCKET_SPARE_MS = 1000,      /* the server's own answer "too late" has to come first */
	DOUBT_MIN_MS = 5000,         /* a finish has no limit on the server; a stalled one is over by then */
	SETUP_SOCKET_TIMEOUT_MS = 60000 /* to index a collection that is there already */
};

enum {
	CLIENTS_MAX = 8,            /* more than a process has store threads */
	DELETE_THREADS = 3,         /* deletes go singly, since a reply to several holds only a total */
	ROWS_PER_QUERY = 400,       /* measured: 1,000 rows in 0.8 ms, 10 rows in 0.2 ms */
	SCHEMA_VERSION = 1,         /* of the documents, their index and the meta record */
	REPLY_FULL_BYTES = 8 << 20, /* a longer reply may have been cut: the server ends it at 16 MiB */
	ERROR_BYTES = 512,
	INSPECT_SELECTION_MS = 3000,
	CLOCK_APART_MAX_S = 1
};

/* Server error codes: src/mongo/base/error_codes.yml of the server. */
enum {
	CODE_UNAUTHORIZED = 13,
	CODE_INDEX_OPTIONS_CONFLICT = 85,
	CODE_INDEX_KEY_SPECS_CONFLICT = 86,
	CODE_DOCUMENT_VALIDATION = 121,
	CODE_NOT_PRIMARY = 10107,
	CODE_DUPLICATE_KEY = 11000,
	CODE_NOT_PRIMARY_NO_SECONDARY_OK = 13435,
	CODE_OUT_OF_DISK_SPACE = 14031
};

static const char database_default[] = "todo";
static const char collection_name[] = "todos";
static const char meta_name[] = "meta";
static const char meta_id[] = "schema";
static const char index_name[] = "created_at_-1__id_-1";

/* ---- types ---- */

/* What server takes writes now. */
enum primary { PRIMARY_NONE, PRIMARY_ALONE, PRIMARY_REPLICATED };

struct mongo_store {
	struct store base;
	mongoc_uri_t *uri; /* with all defaults filled in */
	const char *database;
	uint32_t max_time_ms;     /* of one command, on the server */
	bool is_majority_durable; /* an acknowledged write is one that a majority has */
	pthread_mutex_t lock;     /* guards the making of pool */
	mongoc_client_pool_t *pool;
	_Atomic int primary; /* enum primary, kept by the driver's monitors */
};

struct mongo_session {
	struct store_session base;
	struct mongo_store *store;
	mongoc_client_t *client; /* between begin and end */
	bool reads_majority;     /* reads ask for what a majority has */
	char error[ERROR_BYTES];
};

/* What became of the commands of one operation, told by the driver's events in the calling thread. */
static _Thread_local struct trace {
	unsigned possibly_done; /* commands that were sent and not refused */
	char host[BSON_HOST_NAME_MAX + 7];
} trace;

/* ---- errors ---- */

/*
 * Refusals that are proof that nothing was done: of a command, because the server looks for it before
 * anything else; or of a row in a command that was otherwise done. Not listed are codes that interrupt what
 * has begun (91, 189, 11600, 11602), and 11000: the row that is there may be ours, from a first attempt.
 */
static const struct refusal {
	int code;
	bool of_command, of_row;
	enum store_status status;
} refusals[] = {
    {CODE_UNAUTHORIZED,                true,  false, STORE_UNAVAILABLE},
    {CODE_NOT_PRIMARY,                 true,  false, STORE_UNAVAILABLE},
    {CODE_NOT_PRIMARY_NO_SECONDARY_OK, true,  false, STORE_UNAVAILABLE},
    {CODE_DOCUMENT_VALIDATION,         false, true,  STORE_UNAVAILABLE},
    {CODE_OUT_OF_DISK_SPACE,           true,  true,  STORE_FULL       },
};

static const struct refusal *find_refusal(int64_t code)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		if (refusals[i].code == code)
			return &refusals[i];
	return NULL;
}

static void on_command_succeeded(const mongoc_apm_command_succeeded_t *event)
{
	(void)event;
	trace.possibly_done++;
}

static void on_command_failed(const mongoc_apm_command_failed_t *event)
{
	bson_error_t error = {0};
	mongoc_apm_command_failed_get_error(event, &error);
	const bson_t *reply = mongoc_apm_command_failed_get_reply(event);
	const struct refusal *refusal = error.domain == MONGOC_ERROR_SERVER ? find_refusal(error.code) : NULL;
	if (!refusal || !refusal->of_command || (reply && bson_has_field(reply, "writeConcernError")))
		trace.possibly_done++;
	(void)snprintf(trace.host, sizeof(trace.host), "%s",
		       mongoc_apm_command_failed_get_host(event)->host_and_port);
}

/* Begins an operation of the contract: what trace and error say from here on is about it. */
static void operation_start(struct mongo_session *s)
{
	trace = (struct trace){0};
	s->error[0] = '\0';
}

/* Sets what mongo_error returns; a text that is too long is cut. */
__attribute__((format(printf, 2, 3))) static void fail(struct mongo_session *s, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	(void)vsnprintf(s->error, sizeof(s->error), format, args);
	va_end(args);
}

/* In the words of the driver or the server. They quote no content; those of single rows might, see settle. */
static void explain(struct mongo_session *s, const char *what, const bson_error_t *error)
{
	fail(s, "%s%s%s: %s (code %u)", what, trace.host[0] ? " at " : "", trace.host, error->message,
	     error->code);
}

/* What is known after a write failed as a whole. */
static enum store_status failed_status(const bson_error_t *error)
{
	if (trace.possibly_done)
		return STORE_UNKNOWN;
	const struct refusal *refusal =
	    error->domain == MONGOC_ERROR_SERVER ? find_refusal(error->code) : NULL;
	return refusal ? refusal->status : STORE_UNAVAILABLE;
}

static void log_driver(mongoc_log_level_t level, const char *domain, const char *message, void *context)
{
	(void)level;
	(void)context;
	log_debug("libmongoc: %s: %s", domain, message);
}

/* ---- URI ---- */

/* The driver's words about a URI may quote any part of it. A user name and a password are replaced before it
 * is asked again; where an option holds a secret, nothing is quoted at all. */
static int explain_uri(const char *text, struct err *err)
{
	static const char *const secret_options[] = {"password=", "authmechanismproperties="};
	for (size_t i = 0; i < sizeof(secret_options) / sizeof(secret_options[0]); i++)
		if (strcasestr(text, secret_options[i]))
			return err_set(err, EXIT_CODE_CONFIG, "the MongoDB URI does not parse");

	const char *authority = strstr(text, "://");
	const char *at = strrchr(text, '@');
	struct buf public_uri = BUF_INIT;
	if (authority && at && at > authority) {
		buf_append(&public_uri, text, (size_t)(authority - text));
		buf_append_str(&public_uri, "://user:secret");
		text = at;
	}
	buf_append(&public_uri, text, strlen(text) + 1);
	bson_error_t error = {0};
	mongoc_uri_t *uri = mongoc_uri_new_with_error(public_uri.data, &error);
	if (uri)
		err_set(
		    err, EXIT_CODE_CONFIG,
		    "the MongoDB URI does not parse: its user name or password holds a character that has "
		    "to be percent-encoded, one of : / ? # [ ] @ %%");
	else
		err_set(err, EXIT_CODE_CONFIG, "the MongoDB URI does not parse: %s", error.message);
	if (uri)
		mongoc_uri_destroy(uri);
	buf_release(&public_uri);
	return -1;
}

/* Times and counts: zero means different things in different places of the driver, so none is taken. */
static int check_numbers(const mongoc_uri_t *uri, struct err *err)
{
	static const char *const names[] = {
	    MONGOC_URI_SERVERSELECTIONTIMEOUTMS, MONGOC_URI_CONNECTTIMEOUTMS,   MONGOC_URI_SOCKETTIMEOUTMS,
	    MONGOC_URI_HEARTBEATFREQUENCYMS,     MONGOC_URI_WAITQUEUETIMEOUTMS, MONGOC_URI_MAXPOOLSIZE,
	};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		bson_iter_t option;
		if (bson_iter_init_find_case(&option, mongoc_uri_get_options(uri), names[i]) &&
		    bson_iter_as_int64(&option) < 1)
			return err_set(err, EXIT_CODE_CONFIG, "the MongoDB URI's %s has to be at least 1",
				       names[i]);
	}
	return 0;
}

/* What the contract with clients cannot be kept with. */
static int check_concerns(const mongoc_uri_t *uri, struct err *err)
{
	if (!mongoc_write_concern_is_acknowledged(mongoc_uri_get_write_concern(uri)))
		return err_set(
		    err, EXIT_CODE_CONFIG,
		    "the MongoDB URI's w=0 asks for writes that nobody confirms; leave w out, or set "
		    "w=majority or w=1");
	if (mongoc_read_prefs_get_mode(mongoc_uri_get_read_prefs_t(uri)) != MONGOC_READ_PRIMARY)
		return err_set(
		    err, EXIT_CODE_CONFIG,
		    "the MongoDB URI's readPreference has to be primary: a secondary may not have yet "
		    "what was just acknowledged");
	return 0;
}

/* Returns owned, or NULL and *err. Starts no thread and opens no socket. */
static mongoc_uri_t *uri_parse(const char *text, struct err *err)
{
	/* In silence: while it parses, the driver logs pieces of the URI. */
	mongoc_log_set_handler(NULL, NULL);
	mongoc_init();
	bson_error_t error = {0};
	mongoc_uri_t *uri = mongoc_uri_new_with_error(text, &error);
	if (!uri)
		explain_uri(text, err);
	else if (check_numbers(uri, err) < 0 || check_concerns(uri, err) < 0) {
		mongoc_uri_destroy(uri);
		uri = NULL;
	}
	mongoc_log_set_handler(log_driver, NULL);
	return uri;
}

static void set_write_concern(mongoc_uri_t *uri, uint32_t timeout_ms)
{
	mongoc_write_concern_t *concern = mongoc_write_concern_copy(mongoc_uri_get_write_concern(uri));
	if (mongoc_write_concern_get_w(concern) == MONGOC_WRITE_CONCERN_W_DEFAULT)
		mongoc_write_concern_set_w(concern, MONGOC_WRITE_CONCERN_W_MAJORITY);
	if (!mongoc_write_concern_journal_is_set(concern))
		mongoc_write_concern_set_journal(concern, true);
	if (mongoc_write_concern_get_wtimeout_int64(concern) == 0)
		mongoc_write_concern_set_wtimeout_int64(concern, timeout_ms);
	mongoc_uri_set_write_concern(uri, concern);
	mongoc_write_concern_destroy(concern);
}

/* Fills in what the URI leaves open. (retryWrites and retryReads are the driver's own defaults.) */
static void uri_set_defaults(mongoc_uri_t *uri, const struct store_settings *settings,
			     uint32_t socket_timeout_ms)
{
	const struct {
		const char *name;
		int32_t value;
	} defaults[] = {
	    {MONGOC_URI_SERVERSELECTIONTIMEOUTMS, SELECTION_TIMEOUT_MS         },
	    {MONGOC_URI_CONNECTTIMEOUTMS,         CONNECT_TIMEOUT_MS           },
	    {MONGOC_URI_SOCKETTIMEOUTMS,          (int32_t)socket_timeout_ms   },
	    {MONGOC_URI_HEARTBEATFREQUENCYMS,     HEARTBEAT_MS                 },
	    {MONGOC_URI_WAITQUEUETIMEOUTMS,       (int32_t)settings->timeout_ms},
	    {MONGOC_URI_MAXPOOLSIZE,              CLIENTS_MAX                  },
	};
	for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++)
		if (!mongoc_uri_has_option(uri, defaults[i].name))
			(void)mongoc_uri_set_option_as_int32(uri, defaults[i].name, defaults[i].value);
	if (!mongoc_uri_has_option(uri, MONGOC_URI_APPNAME)) {
		char name[64];
		(void)snprintf(name, sizeof(name), "todod/%s %s %u", TODOD_VERSION, settings->process,
			       settings->index);
		(void)mongoc_uri_set_appname(uri, name);
	}
	set_write_concern(uri, settings->timeout_ms);
}

static int mongo_check(const char *text, struct err *err)
{
	mongoc_uri_t *uri = uri_parse(text, err);
	if (!uri)
		return -1;
	mongoc_uri_destroy(uri);
	return 0;
}

static int mongo_claim(const char *uri, struct err *err)
{
	(void)uri;
	(void)err;
	return -2; /* any number of daemons may write to one database */
}

static uint32_t socket_wait_ms(const struct store_settings *settings)
{
	return settings->timeout_ms + SOCKET_SPARE_MS;
}

static uint32_t max_time_ms(const struct store_settings *settings)
{
	return settings->timeout_ms - settings->timeout_ms / 4;
}

/* The server does not notice that a client has died while it works for it. What was sent may be on its way for
 * as long as a socket is waited for, and is worked on for max_time_ms from then on. */
static uint32_t mongo_doubt_ms(const struct store_settings *settings)
{
	uint32_t ms = socket_wait_ms(settings) + max_time_ms(settings);
	return ms > DOUBT_MIN_MS ? ms : DOUBT_MIN_MS;
}

/* ---- store and pool ---- */

static enum primary primary_of(const mongoc_server_description_t *server)
{
	static const struct {
		const char *type;
		enum primary primary;
	} types[] = {
	    {"Standalone",   PRIMARY_ALONE     },
	    {"RSPrimary",    PRIMARY_REPLICATED},
	    {"Mongos",       PRIMARY_REPLICATED},
	    {"LoadBalancer", PRIMARY_REPLICATED},
	};
	const char *type = mongoc_server_description_type(server);
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (strcmp(types[i].type, type) == 0)
			return types[i].primary;
	return PRIMARY_NONE;
}

/* Runs in any of the driver's threads, under its topology lock: it must not call a client. */
static void on_topology_changed(const mongoc_apm_topology_changed_t *event)
{
	struct mongo_store *store = mongoc_apm_topology_changed_get_context(event);
	size_t count = 0;
	mongoc_server_description_t **servers =
	    mongoc_topology_description_get_servers(mongoc_apm_topology_changed_get_new_description(event),
						    &count);
	enum primary primary = PRIMARY_NONE;
	for (size_t i = 0; i < count && primary == PRIMARY_NONE; i++)
		primary = primary_of(servers[i]);
	mongoc_server_descriptions_destroy_all(servers, count);
	atomic_store(&store->primary, (int)primary);
}

/* Returns the store's pool, or NULL and *error: a host name that cannot be resolved (mongodb+srv). No event
 * of started commands is asked for: the driver would copy every batch for it. */
static mongoc_client_pool_t *pool_get(struct mongo_store *store, bson_error_t *error)
{
	pthread_mutex_lock(&store->lock);
	if (!store->pool && (store->pool = mongoc_client_pool_new_with_error(store->uri, error))) {
		mongoc_apm_callbacks_t *callbacks = mongoc_apm_callbacks_new();
		mongoc_apm_set_command_succeeded_cb(callbacks, on_command_succeeded);
		mongoc_apm_set_command_failed_cb(callbacks, on_command_failed);
		mongoc_apm_set_topology_changed_cb(callbacks, on_topology_changed);
		(void)mongoc_client_pool_set_apm_callbacks(store->pool, callbacks, store);
		mongoc_apm_callbacks_destroy(callbacks);
		(void)mongoc_client_pool_set_error_api(store->pool, MONGOC_ERROR_API_VERSION_2);
	}
	mongoc_client_pool_t *pool = store->pool;
	pthread_mutex_unlock(&store->lock);
	return pool;
}

static bool is_majority(const mongoc_write_concern_t *concern)
{
	return mongoc_write_concern_get_w(concern) == MONGOC_WRITE_CONCERN_W_MAJORITY;
}

static struct store *open_store(const struct store_settings *settings, uint32_t socket_timeout_ms,
				struct err *err)
{
	mongoc_uri_t *uri = uri_parse(settings->uri, err);
	if (!uri)
		return NULL;
	uri_set_defaults(uri, settings, socket_timeout_ms);
	struct mongo_store *store = alloc_zeroed(1, sizeof(*store));
	store->base.ops = &mongo_ops;
	store->uri = uri;
	store->database = mongoc_uri_get_database(uri);
	if (!store->database)
		store->database = database_default;
	store->max_time_ms = max_time_ms(settings);
	store->is_majority_durable = is_majority(mongoc_uri_get_write_concern(uri));
	pthread_mutex_init(&store->lock, NULL);
	return &store->base;
}

static struct store *mongo_open(const struct store_settings *settings, struct err *err)
{
	return open_store(settings, socket_wait_ms(settings), err);
}

/* With the server away this waits a whole server selection, to tell it that the sessions end. */
static void mongo_close(struct store *base)
{
	struct mongo_store *store = (struct mongo_store *)base;
	if (store->pool)
		mongoc_client_pool_destroy(store->pool);
	mongoc_uri_destroy(store->uri);
	pthread_mutex_destroy(&store->lock);
	free(store);
}

/* ---- sessions ---- */

static struct store_session *mongo_session_open(struct store *store, enum store_access access)
{
	struct mongo_session *s = alloc_zeroed(1, sizeof(*s));
	s->base.ops = &mongo_ops;
	s->base.access = access;
	s->store = (struct mongo_store *)store;
	return &s->base;
}

static void mongo_session_close(struct store_session *session)
{
	free(session);
}

static const char *mongo_error(const struct store_session *session)
{
	return ((const struct mongo_session *)session)->error;
}

static void mongo_end(struct store_session *session)
{
	struct mongo_session *s = (struct mongo_session *)session;
	mongoc_client_pool_push(s->store->pool, s->client);
	s->client = NULL;
}

/* Waits for a server that takes writes. */
static enum primary wait_for_primary(struct mongo_session *s)
{
	bson_error_t error = {0};
	mongoc_server_description_t *server = mongoc_client_select_server(s->client, true, NULL, &error);
	if (!server) {
		/* A server of another set is dropped without a word: say where it was looked for. */
		const char *set = mongoc_uri_get_replica_set(s->store->uri);
		const mongoc_host_list_t *host = mongoc_uri_get_hosts(s->store->uri);
		if (set)
			fail(s, "no primary of replica set \"%s\" at %s: %s", set,
			     host ? host->host_and_port : mongoc_uri_get_srv_hostname(s->store->uri),
			     error.message);
		else
			fail(s, "no primary: %s", error.message);
		return PRIMARY_NONE;
	}
	/* A URI of one host and no replicaSet reaches that host, whatever it is. */
	enum primary primary = primary_of(server);
	if (primary == PRIMARY_NONE)
		fail(s, "%s is no primary (%s)", mongoc_server_description_host(server)->host_and_port,
		     mongoc_server_description_type(server));
	mongoc_server_description_destroy(server);
	return primary;
}

static enum store_status mongo_begin(struct store_session *session)
{
	struct mongo_session *s = (struct mongo_session *)session;
	operation_start(s);
	bson_error_t error = {0};
	mongoc_client_pool_t *pool = pool_get(s->store, &error);
	if (!pool) {
		explain(s, "connect", &error);
		return STORE_UNAVAILABLE;
	}
	s->client = mongoc_client_pool_pop(pool);
	if (!s->client) {
		fail(s, "connect: every connection of this process is in use");
		return STORE_UNAVAILABLE;
	}
	enum primary primary = (enum primary)atomic_load(&s->store->primary);
	if (primary == PRIMARY_NONE)
		primary = wait_for_primary(s);
	if (primary == PRIMARY_NONE) {
		mongo_end(session);
		return STORE_UNAVAILABLE;
	}
	/* A server alone has no majority to ask. With less than w=majority, what a majority has may be older
	 * than what was acknowledged. */
	s->reads_majority = primary == PRIMARY_REPLICATED && s->store->is_majority_durable;
	return STORE_OK;
}

/* ---- reads ---- */

/* Runs a find, and appends to it what all of them carry. *reply is initialised in any case. */
static bool run_find(struct mongo_session *s, bson_t *command, bson_t *reply)
{
	bson_t opts = BSON_INITIALIZER;
	const char *asked = mongoc_read_concern_get_level(mongoc_uri_get_read_concern(s->store->uri));
	if (s->reads_majority && !asked) {
		bson_t concern;
		BSON_APPEND_DOCUMENT_BEGIN(&opts, "readConcern", &concern);
		BSON_APPEND_UTF8(&concern, "level", "majority");
		bson_append_document_end(&opts, &concern);
	}
	BSON_APPEND_INT32(command, "maxTimeMS", (int32_t)s->store->max_time_ms);
	bson_error_t error = {0};
	bool ok = mongoc_client_read_command_with_opts(s->client, s->store->database, command, NULL, &opts,
						       reply, &error);
	if (!ok)
		explain(s, "read", &error);
	bson_destroy(&opts);
	return ok;
}

static enum store_status mongo_ping(struct store_session *session)
{
	struct mongo_session *s = (struct mongo_session *)session;
	operation_start(s);
	bson_t command = BSON_INITIALIZER;
	BSON_APPEND_INT32(&command, "ping", 1);
	bson_error_t error = {0};
	bool ok = mongoc_client_command_simple(s->client, s->store->database, &command, NULL, NULL, &error);
	if (!ok) {
		explain(s, "ping", &error);
	} else if (atomic_load(&s->store->primary) == PRIMARY_NONE) {
		ok = false;
		fail(s, "ping: no primary");
	}
	bson_destroy(&command);
	return ok ? STORE_OK : STORE_UNAVAILABLE;
}

/* Places *documents before the first document of a reply to find. */
static bool reply_documents(struct mongo_session *s, const bson_t *reply, bson_iter_t *documents)
{
	bson_iter_t root, batch;
	if (bson_iter_init(&root, reply) && bson_iter_find_descendant(&root, "cursor.firstBatch", &batch) &&
	    BSON_ITER_HOLDS_ARRAY(&batch) && bson_iter_recurse(&batch, documents))
		return true;
	fail(s, "read: a reply without documents");
	return false;
}

static void append_id(bson_t *document, const char *key, const struct uuid *id)
{
	bson_append_binary(document, key, -1, BSON_SUBTYPE_UUID, id->bytes, UUID_BYTES);
}

static bool read_number(const bson_iter_t *value, double *number)
{
	if (!BSON_ITER_HOLDS_NUMBER(value))
		return false;
	*number = bson_iter_as_double(value);
	return isfinite(*number);
}

static bool read_id(const bson_iter_t *value, struct uuid *id)
{
	bson_subtype_t subtype = BSON_SUBTYPE_BINARY;
	uint32_t len = 0;
	const uint8_t *bytes = NULL;
	if (!BSON_ITER_HOLDS_BINARY(value))
		return false;
	bson_iter_binary(value, &subtype, &len, &bytes);
	if (subtype != BSON_SUBTYPE_UUID || len != UUID_BYTES)
		return false;
	memcpy(id->bytes, bytes, UUID_BYTES);
	return true;
}

static bool read_content(const bson_iter_t *value, struct slice *content)
{
	if (!BSON_ITER_HOLDS_UTF8(value))
		return false;
	uint32_t len = 0;
	content->data = bson_iter_utf8(value, &len);
	content->len = len;
	enum todo_content verdict = todo_check_content(*content, SIZE_MAX);
	return verdict != TODO_CONTENT_NOT_UTF8 && verdict != TODO_CONTENT_NUL;
}

/* Reads one document. Returns NULL, or why it is no todo. todo->content views the reply. */
static const char *decode(const bson_iter_t *document, struct todo *todo)
{
	bool has_id = false, has_content = false, has_created_at = false, has_is_finished = false;
	bool has_finished_at = false;
	bson_iter_t field;
	if (!BSON_ITER_HOLDS_DOCUMENT(document) || !bson_iter_recurse(document, &field))
		return "it is no document";
	while (bson_iter_next(&field)) {
		const char *key = bson_iter_key(&field);
		if (strcmp(key, "_id") == 0)
			has_id = read_id(&field, &todo->id);
		else if (strcmp(key, "content") == 0)
			has_content = read_content(&field, &todo->content);
		else if (strcmp(key, "created_at") == 0)
			has_created_at = read_number(&field, &todo->created_at);
		else if (strcmp(key, "is_finished") == 0) {
			has_is_finished = BSON_ITER_HOLDS_BOOL(&field);
			todo->is_finished = has_is_finished && bson_iter_bool(&field);
		} else if (strcmp(key, "finished_at") == 0)
			has_finished_at = read_number(&field, &todo->finished_at);
	}
	if (!has_id)
		return "its \"_id\" is no UUID";
	if (!has_content)
		return "its \"content\" is no string of valid UTF-8 without NUL";
	if (!has_created_at)
		return "its \"created_at\" is no finite number";
	if (!has_is_finished)
		return "its \"is_finished\" is no boolean";
	if (todo->is_finished && !has_finished_at)
		return "it is finished, and its \"finished_at\" is no finite number";
	return NULL;
}

/* Like decode; what is no todo is told once per process, lest a page that is read often floods the log. */
static bool decode_or_note(const struct mongo_session *s, const bson_iter_t *document, struct todo *todo)
{
	static atomic_bool is_noted;
	*todo = (struct todo){0};
	const char *reason = decode(document, todo);
	if (reason && !atomic_exchange(&is_noted, true))
		log_warn(
		    "%s.%s holds a document that is no todo: %s; such documents are skipped, and this is "
		    "said once",
		    s->store->database, collection_name, reason);
	return !reason;
}

static void append_range(bson_t *document, const char *upper_operator, double upper)
{
	bson_t range;
	BSON_APPEND_DOCUMENT_BEGIN(document, "created_at", &range);
	BSON_APPEND_DOUBLE(&range, "$gte", -DBL_MAX);
	BSON_APPEND_DOUBLE(&range, upper_operator, upper);
	bson_append_document_end(document, &range);
}

/* The range keeps out, in the index already, dates and strings, which would sort before every todo. Behind a
 * position the two branches are one index range each, and the server merges them in order. */
static void append_filter(bson_t *command, const struct store_page_query *query)
{
	bson_t filter, branches, branch, below;
	BSON_APPEND_DOCUMENT_BEGIN(command, "filter", &filter);
	if (query->has_after) {
		BSON_APPEND_ARRAY_BEGIN(&filter, "$or", &branches);
		BSON_APPEND_DOCUMENT_BEGIN(&branches, "0", &branch);
		BSON_APPEND_DOUBLE(&branch, "created_at", query->after.created_at);
		BSON_APPEND_DOCUMENT_BEGIN(&branch, "_id", &below);
		append_id(&below, "$lt", &query->after.id);
		bson_append_document_end(&branch, &below);
		bson_append_document_end(&branches, &branch);
		BSON_APPEND_DOCUMENT_BEGIN(&branches, "1", &branch);
		append_range(&branch, "$lt", query->after.created_at);
		bson_append_document_end(&branches, &branch);
		bson_append_array_end(&filter, &branches);
	} else {
		append_range(&filter, "$lte", DBL_MAX);
	}
	bson_append_document_end(command, &filter);
}

/* Does that filter find a document which follows the position in the order? Not one of the same time whose
 * _id is of another type: $lt compares within a type. */
static bool is_found_behind(const struct todo_position *after, const bson_iter_t *document)
{
	bson_iter_t created_at, id;
	double seconds = 0;
	return bson_iter_recurse(document, &created_at) && bson_iter_find(&created_at, "created_at") &&
	       read_number(&created_at, &seconds) &&
	       (seconds < after->created_at || (bson_iter_recurse(document, &id) &&
						bson_iter_find(&id, "_id") && BSON_ITER_HOLDS_BINARY(&id)));
}

/* The total order of the list, and the key of its index. */
static void append_order(bson_t *document, const char *key)
{
	bson_t order;
	bson_append_document_begin(document, key, -1, &order);
	BSON_APPEND_INT32(&order, "created_at", -1);
	BSON_APPEND_INT32(&order, "_id", -1);
	bson_append_document_end(document, &order);
}

/* One batch, complete but for what the server cuts off at 16 MiB. The default would be 101 documents. */
static void append_limit(bson_t *command, size_t limit)
{
	BSON_APPEND_INT32(command, "limit", (int32_t)limit);
	BSON_APPEND_INT32(command, "batchSize", (int32_t)limit);
	BSON_APPEND_BOOL(command, "singleBatch", true);
}

/*
 * Adds to the page what one find brings, and moves *query behind it. *ends tells that the page is as long as
 * it gets. Plain skip: the server walks the index alone and fetches only what it returns; a covered query
 * first, then a second one from there, measured slower for every start up to 10,000.
 */
static bool page_read(struct mongo_session *s, struct store_page_query *query, struct todo_page *page,
		      bool *ends)
{
	size_t limit = query->count - page->count + 1; /* one more tells whether more follow */
	bson_t command = BSON_INITIALIZER, reply;
	BSON_APPEND_UTF8(&command, "find", collection_name);
	append_filter(&command, query);
	append_order(&command, "sort");
	BSON_APPEND_INT64(&command, "skip", query->start);
	append_limit(&command, limit);

	bson_iter_t documents;
	bool ok = run_find(s, &command, &reply) && reply_documents(s, &reply, &documents);
	size_t seen = 0;
	for (; ok && bson_iter_next(&documents); seen++) {
		struct todo todo;
		if (page->count == query->count) {
			page->has_more = true;
		} else if (decode_or_note(s, &documents, &todo)) {
			todo_page_add(page, &todo);
			query->has_after = true;
			query->after = (struct todo_position){todo.created_at, todo.id};
			query->start = 0;
		} else if (!query->has_after || is_found_behind(&query->after, &documents)) {
			query->start++;
		}
	}
	*ends = page->has_more || seen == 0 || (seen < limit && reply.len < REPLY_FULL_BYTES);
	bson_destroy(&command);
	bson_destroy(&reply);
	return ok;
}

/* More than one round only where documents that are no todos stand in the way, or todos are huge. */
static enum store_status mongo_page(struct store_session *session, const struct store_page_query *asked,
				    struct todo_page *page)
{
	struct mongo_session *s = (struct mongo_session *)session;
	operation_start(s);
	int64_t deadline_ms = clock_monotonic_ms() + s->store->max_time_ms;
	struct store_page_query query = *asked;
	for (bool ends = false; !ends;) {
		if (!page_read(s, &query, page, &ends))
			return STORE_UNAVAILABLE;
		if (!ends && clock_monotonic_ms() > deadline_ms) {
			fail(
			    s,
			    "read: no whole page of %s.%s in time: documents that are no todos, or huge ones",
			    s->store->database, collection_name);
			return STORE_UNAVAILABLE;
		}
	}
	return STORE_OK;
}

static enum store_status mongo_get(struct store_session *session, const struct uuid *id,
				   struct todo_page *page)
{
	struct mongo_session *s = (struct mongo_session *)session;
	operation_start(s);
	bson_t command = BSON_INITIALIZER, filter, reply;
	BSON_APPEND_UTF8(&command, "find", collection_name);
	BSON_APPEND_DOCUMENT_BEGIN(&command, "filter", &filter);
	append_id(&filter, "_id", id);
	bson_append_document_end(&command, &filter);
	append_limit(&command, 1);

	bson_iter_t documents;
	enum store_status status = STORE_UNAVAILABLE;
	if (run_find(s, &command, &reply) && reply_documents(s, &reply, &documents)) {
		struct todo todo;
		status = STORE_NOT_FOUND;
		if (bson_iter_next(&documents) && decode_or_note(s, &documents, &todo)) {
			todo_page_add(page, &todo);
			status = STORE_OK;
		}
	}
	bson_destroy(&command);
	bson_destroy(&reply);
	return status;
}

/* The meta record, as far as it is what the set-up made. */
struct meta {
	bool has_version, has_id;
	double version;
	struct uuid id;
};

static struct meta meta_decode(const bson_iter_t *document)
{
	struct meta meta = {0};
	bson_iter_t field;
	if (!BSON_ITER_HOLDS_DOCUMENT(document) || !bson_iter_recurse(document, &field))
		return meta;
	while (bson_iter_next(&field)) {
		if (strcmp(bson_iter_key(&field), "version") == 0)
			meta.has_version = read_number(&field, &meta.version);
		else if (strcmp(bson_iter_key(&field), "id") == 0 && BSON_ITER_HOLDS_UTF8(&field))
			meta.has_id = uuid_from_text(&meta.id, slice_of(bson_iter_utf8(&field, NULL))) == 0;
	}
	return meta;
}

/* *is_there false: there is none, or not on a majority yet. */
static bool meta_find(struct mongo_session *s, struct meta *meta, bool *is_there)
{
	bson_t command = BSON_INITIALIZER, filter, reply;
	BSON_APPEND_UTF8(&command, "find", meta_name);
	BSON_APPEND_DOCUMENT_BEGIN(&command, "filter", &filter);
	BSON_APPEND_UTF8(&filter, "_id", meta_id);
	bson_append_document_end(&command, &filter);
	append_limit(&command, 1);
	bson_iter_t documents;
	bool ok = run_find(s, &command, &reply) && reply_documents(s, &reply, &documents);
	*is_there = ok && bson_iter_next(&documents);
	if (*is_there)
		*meta = meta_decode(&documents);
	bson_destroy(&command);
	bson_destroy(&reply);
	return ok;
}

static bool meta_read(struct mongo_session *s, struct meta *meta)
{
	bool is_there;
	if (!meta_find(s, meta, &is_there))
		return false;
	if (!is_there)
		fail(s, "the meta record of database %s is not on a majority yet", s->store->database);
	return is_there;
}

static enum store_status mongo_id(struct store_session *session, struct uuid *id)
{
	struct mongo_session *s = (struct mongo_session *)session;
	operation_start(s);
	struct meta meta;
	if (!meta_read(s, &meta))
		return STORE_UNAVAILABLE;
	if (!meta.has_id) {
		fail(s, "the meta record of database %s has lost its id, a UUID", s->store->database);
		return STORE_UNAVAILABLE;
	}
	*id = meta.id;
	return STORE_OK;
}

/* ---- writes ---- */

/* The array of that name in a reply of the driver; false when it is missing or empty. */
static bool reply_errors(const bson_t *reply, const char *name, bson_iter_t *errors)
{
	bson_iter_t found;
	bson_iter_t first;
	if (!bson_iter_init_find(&found, reply, name) || !BSON_ITER_HOLDS_ARRAY(&found) ||
	    !bson_iter_recurse(&found, errors))
		return false;
	first = *errors;
	return bson_iter_next(&first);
}

/* An integer of that name, or -1. */
static int64_t field_of(const bson_t *document, const char *name)
{
	bson_iter_t field;
	return bson_iter_init_find(&field, document, name) ? bson_iter_as_int64(&field) : -1;
}

/* Gives the rows that "writeErrors" lists their status. Returns how many it lists, and the first's code. */
static size_t settle_refused(struct store_write **rows, size_t count, const bson_t *reply,
			     int64_t *first_code)
{
	bson_iter_t errors;
	size_t refused = 0;
	if (!reply_errors(reply, "writeErrors", &errors))
		return 0;
	while (bson_iter_next(&errors)) {
		const uint8_t *data = NULL;
		uint32_t len = 0;
		bson_t error;
		if (BSON_ITER_HOLDS_DOCUMENT(&errors))
			bson_iter_document(&errors, &len, &data);
		if (!data || !bson_init_static(&error, data, len))
			continue;
		int64_t index = field_of(&error, "index"), code = field_of(&error, "code");
		if (index < 0 || (uint64_t)index >= count)
			continue;
		const struct refusal *refusal = find_refusal(code);
		rows[index]->status = refusal && refusal->of_row ? refusal->status : STORE_UNKNOWN;
		if (refused++ == 0)
			*first_code = code;
	}
	return refused;
}

/*
 * Gives each row of a write what is known of it: STORE_OK where the server did what was asked. After a
 * failure the other rows are known only if the reply accounts for all: what was done, counted in `done`, and
 * what was refused.
 */
static void settle(struct mongo_session *s, const char *what, struct store_write **rows, size_t count,
		   bool ok, const bson_t *reply, const char *done, const bson_error_t *error)
{
	for (size_t i = 0; i < count; i++)
		rows[i]->status = STORE_OK;
	if (ok)
		return;
	bson_iter_t errors;
	int64_t code = 0;
	size_t refused = settle_refused(rows, count, reply, &code);
	bool is_whole = field_of(reply, done) == (int64_t)(count - refused) &&
			!reply_errors(reply, "writeConcernErrors", &errors);
	enum store_status status = is_whole ? STORE_OK : failed_status(error);
	for (size_t i = 0; i < count; i++)
		if (rows[i]->status == STORE_OK)
			rows[i]->status = status;
	/* The server's words on a row may quote a key, and somebody may have put a unique one on content. */
	if (refused)
		fail(s, "%s: the server refused %zu of %zu, with code %lld", what, refused, count,
		     (long long)code);
	else
		explain(s, what, error);
}

static mongoc_collection_t *todos(const struct mongo_session *s)
{
	return mongoc_client_get_collection(s->client, s->store->database, collection_name);
}

static void encode(bson_t *document, const struct todo *todo)
{
	bson_init(document);
	append_id(document, "_id", &todo->id);
	bson_append_utf8(document, "content", -1, todo->content.data, (int)todo->content.len);
	BSON_APPEND_DOUBLE(document, "created_at", todo->created_at);
	BSON_APPEND_BOOL(document, "is_finished", todo->is_finished);
	if (todo->is_finished)
		BSON_APPEND_DOUBLE(document, "finished_at", todo->finished_at);
	else
		BSON_APPEND_NULL(document, "finished_at");
}

static void insert_all(struct mongo_session *s, struct store_write **rows, size_t count)
{
	bson_t *documents = alloc_zeroed(count, sizeof(*documents));
	const bson_t **pointers = alloc_zeroed(count, sizeof(const bson_t *));
	for (size_t i = 0; i < count; i++) {
		encode(&documents[i], &rows[i]->todo);
		pointers[i] = &documents[i];
	}
	bson_t opts = BSON_INITIALIZER, reply;
	BSON_APPEND_BOOL(&opts, "ordered", false);
	BSON_APPEND_BOOL(&opts, "validate", false); /* what encode makes has neither dots nor dollars */
	BSON_APPEND_INT32(&opts, "maxTimeMS", (int32_t)s->store->max_time_ms);
	mongoc_collection_t *collection = todos(s);
	bson_error_t error = {0};
	bool ok = mongoc_collection_insert_many(collection, pointers, count, &opts, &reply, &error);
	settle(s, "insert", rows, count, ok, &reply, "insertedCount", &error);

	mongoc_collection_destroy(collection);
	bson_destroy(&reply);
	bson_destroy(&opts);
	for (size_t i = 0; i < count; i++)
		bson_destroy(&documents[i]);
	free(pointers);
	free(documents);
}

/* One unordered command that finishes what is not finished yet. The driver takes no maxTimeMS for it. */
static void finish_open_ones(struct mongo_session *s, struct store_write **rows, size_t count)
{
	bson_t opts = BSON_INITIALIZER, reply;
	BSON_APPEND_BOOL(&opts, "ordered", false);
	mongoc_collection_t *collection = todos(s);
	mongoc_bulk_operation_t *bulk = mongoc_collection_create_bulk_operation_with_opts(collection, &opts);
	bson_error_t error = {0};
	bool ok = true;
	for (size_t i = 0; i < count && ok; i++) {
		bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, set;
		append_id(&filter, "_id", &rows[i]->todo.id);
		BSON_APPEND_BOOL(&filter, "is_finished", false);
		BSON_APPEND_DOCUMENT_BEGIN(&update, "$set", &set);
		BSON_APPEND_BOOL(&set, "is_finished", true);
		BSON_APPEND_DOUBLE(&set, "finished_at", rows[i]->todo.finished_at);
		bson_append_document_end(&update, &set);
		ok = mongoc_bulk_operation_update_one_with_opts(bulk, &filter, &update, NULL, &error);
		bson_destroy(&filter);
		bson_destroy(&update);
	}
	if (ok)
		ok = mongoc_bulk_operation_execute(bulk, &reply, &error) != 0;
	else
		bson_init(&reply);
	settle(s, "finish", rows, count, ok, &reply, "nMatched", &error);

	bson_destroy(&reply);
	mongoc_bulk_operation_destroy(bulk);
	mongoc_collection_destroy(collection);
	bson_destroy(&opts);
}

/* Hands a todo to every row that asked for it, and marks the row as answered. */
static void answer_finish(struct store_write **rows, bool *is_answered, size_t count, const struct todo *todo)
{
	for (size_t i = 0; i < count; i++) {
		if (is_answered[i] || uuid_compare_to(&rows[i]->todo.id, &todo->id) != 0)
			continue;
		is_answered[i] = true;
		/* Unfinished after all: somebody else has opened it again since. */
		rows[i]->status = todo->is_finished ? STORE_OK : STORE_UNKNOWN;
		rows[i]->todo = *todo;
		buf_clear(&rows[i]->content);
		buf_append_slice(&rows[i]->content, todo->content);
		rows[i]->todo.content = buf_slice(&rows[i]->content);
	}
}

/* One find for all rows without an answer. *is_cut tells that the reply may not hold all of them. */
static bool find_finished(struct mongo_session *s, struct store_write **rows, bool *is_answered, size_t count,
			  bool *is_cut)
{
	bson_t command = BSON_INITIALIZER, filter, condition, ids, reply;
	BSON_APPEND_UTF8(&command, "find", collection_name);
	BSON_APPEND_DOCUMENT_BEGIN(&command, "filter", &filter);
	BSON_APPEND_DOCUMENT_BEGIN(&filter, "_id", &condition);
	BSON_APPEND_ARRAY_BEGIN(&condition, "$in", &ids);
	uint32_t asked = 0;
	for (size_t i = 0; i < count; i++) {
		char key_buffer[16];
		const char *key;
		if (is_answered[i])
			continue;
		bson_uint32_to_string(asked++, &key, key_buffer, sizeof(key_buffer));
		append_id(&ids, key, &rows[i]->todo.id);
	}
	bson_append_array_end(&condition, &ids);
	bson_append_document_end(&filter, &condition);
	bson_append_document_end(&command, &filter);
	append_limit(&command, asked);

	bson_iter_t documents;
	bool ok = run_find(s, &command, &reply) && reply_documents(s, &reply, &documents);
	while (ok && bson_iter_next(&documents)) {
		struct todo todo;
		if (decode_or_note(s, &documents, &todo))
			answer_finish(rows, is_answered, count, &todo);
	}
	*is_cut = ok && reply.len >= REPLY_FULL_BYTES;
	bson_destroy(&command);
	bson_destroy(&reply);
	return ok;
}

static void finish_all(struct mongo_session *s, struct store_write **rows, size_t count)
{
	finish_open_ones(s, rows, count);
	bool *is_answered = alloc_zeroed(count, sizeof(*is_answered));
	size_t open = 0;
	for (size_t i = 0; i < count; i++) {
		is_answered[i] = rows[i]->status != STORE_OK;
		open += !is_answered[i];
	}
	bool ok = true;
	for (bool is_cut = open > 0; is_cut && ok;)
		ok = find_finished(s, rows, is_answered, count, &is_cut);
	for (size_t i = 0; i < count; i++)
		if (!is_answered[i])
			rows[i]->status = ok ? STORE_NOT_FOUND : STORE_UNKNOWN;
	free(is_answered);
}

static void delete_all(struct mongo_session *s, struct store_write **rows, size_t count)
{
	mongoc_collection_t *collection = todos(s);
	bson_t opts = BSON_INITIALIZER;
	BSON_APPEND_INT32(&opts, "maxTimeMS", (int32_t)s->store->max_time_ms);
	for (size_t i = 0; i < count; i++) {
		bson_t filter = BSON_INITIALIZER, reply;
		append_id(&filter, "_id", &rows[i]->todo.id);
		bson_error_t error = {0};
		trace = (struct trace){0};
		bool ok = mongoc_collection_delete_one(collection, &filter, &opts, &reply, &error);
		settle(s, "delete", &rows[i], 1, ok, &reply, "deletedCount", &error);
		if (ok && field_of(&reply, "deletedCount") == 0)
			rows[i]->status = STORE_NOT_FOUND;
		bson_destroy(&filter);
		bson_destroy(&reply);
	}
	bson_destroy(&opts);
	mongoc_collection_destroy(collection);
}

static void mongo_write(struct store_session *session, struct store_write **writes, size_t count)
{
	static void (*const steps[])(struct mongo_session *, struct store_write **, size_t) = {
	    [STORE_INSERT] = insert_all,
	    [STORE_FINISH] = finish_all,
	    [STORE_DELETE] = delete_all,
	};
	struct mongo_session *s = (struct mongo_session *)session;
	operation_start(s);
	struct store_write **rows = alloc_zeroed(count, sizeof(*rows));
	for (size_t kind = 0; kind < sizeof(steps) / sizeof(steps[0]); kind++) {
		size_t found = 0;
		for (size_t i = 0; i < count; i++)
			if (writes[i]->kind == (enum store_write_kind)kind)
				rows[found++] = writes[i];
		trace = (struct trace){0};
		if (found)
			steps[kind](s, rows, found);
	}
	free(rows);
}

/* ---- set-up ---- */

/* Makes the meta record unless there is one: {_id: "schema", version, id}. */
static bool meta_insert(struct mongo_session *s)
{
	struct uuid id;
	char text[UUID_TEXT_BYTES];
	uuid_make(&id, clock_wall_us());
	uuid_to_text(&id, text);
	bson_t filter = BSON_INITIALIZER, update = BSON_INITIALIZER, opts = BSON_INITIALIZER, set;
	BSON_APPEND_UTF8(&filter, "_id", meta_id);
	BSON_APPEND_DOCUMENT_BEGIN(&update, "$setOnInsert", &set);
	BSON_APPEND_INT32(&set, "version", SCHEMA_VERSION);
	bson_append_utf8(&set, "id", -1, text, UUID_TEXT_BYTES);
	bson_append_document_end(&update, &set);
	BSON_APPEND_BOOL(&opts, "upsert", true);
	mongoc_collection_t *meta = mongoc_client_get_collection(s->client, s->store->database, meta_name);
	bson_error_t error = {0};
	bool ok = mongoc_collection_update_one(meta, &filter, &update, &opts, NULL, &error);
	/* Another machine was quicker: as good. */
	ok = ok || (error.domain == MONGOC_ERROR_SERVER && error.code == CODE_DUPLICATE_KEY);
	if (!ok)
		explain(s, "set-up", &error);
	mongoc_collection_destroy(meta);
	bson_destroy(&filter);
	bson_destroy(&update);
	bson_destroy(&opts);
	return ok;
}

static int meta_judge(const struct mongo_session *s, const struct meta *meta, struct err *err)
{
	if (!meta->has_version)
		return err_set(
		    err, EXIT_CODE_CONFIG,
		    "database %s has a record \"%s\" in its collection %s that is not todod's: use "
		    "another database",
		    s->store->database, meta_id, meta_name);
	if (meta->version != SCHEMA_VERSION)
		return err_set(err, EXIT_CODE_CONFIG,
			       "database %s holds schema version %g, this todod knows %d", s->store->database,
			       meta->version, SCHEMA_VERSION);
	if (!meta->has_id)
		return err_set(err, EXIT_CODE_CONFIG,
			       "the meta record of database %s has lost its id, a UUID", s->store->database);
	return 0;
}

static int meta_check(struct mongo_session *s, struct err *err)
{
	struct meta meta;
	if (!meta_read(s, &meta))
		return err_set(err, EXIT_CODE_UNAVAILABLE, "%s", s->error);
	return meta_judge(s, &meta, err);
}

/* The command itself: of the driver's helpers, one is newer than 1.23 and the other gone in 2.x. */
static int index_make(struct mongo_session *s, struct err *err)
{
	bson_t command = BSON_INITIALIZER, indexes, index, reply;
	BSON_APPEND_UTF8(&command, "createIndexes", collection_name);
	BSON_APPEND_ARRAY_BEGIN(&command, "indexes", &indexes);
	BSON_APPEND_DOCUMENT_BEGIN(&indexes, "0", &index);
	append_order(&index, "key");
	BSON_APPEND_UTF8(&index, "name", index_name);
	bson_append_document_end(&indexes, &index);
	bson_append_array_end(&command, &indexes);
	bson_error_t error = {0};
	bool ok = mongoc_client_write_command_with_opts(s->client, s->store->database, &command, NULL, &reply,
							&error);
	bool conflicts =
	    !ok && error.domain == MONGOC_ERROR_SERVER &&
	    (error.code == CODE_INDEX_OPTIONS_CONFLICT || error.code == CODE_INDEX_KEY_SPECS_CONFLICT);
	if (conflicts)
		err_set(err, EXIT_CODE_CONFIG,
			"an index of %s.%s is in the way of {created_at: -1, _id: -1}, named %s: drop it "
			"(db.%s.dropIndex(NAME)) and start again. MongoDB says: %s",
			s->store->database, collection_name, index_name, collection_name, error.message);
	else if (!ok) {
		explain(s, "set-up", &error);
		err_set(err, EXIT_CODE_UNAVAILABLE, "%s", s->error);
	}
	bson_destroy(&command);
	bson_destroy(&reply);
	return ok ? 0 : -1;
}

static int mongo_setup(const struct store_settings *settings, struct err *err)
{
	struct store *store = open_store(settings, SETUP_SOCKET_TIMEOUT_MS, err);
	if (!store)
		return -1;
	struct store_session *session = mongo_session_open(store, STORE_WRITE);
	struct mongo_session *s = (struct mongo_session *)session;
	int result = -1;
	if (mongo_begin(session) != STORE_OK) {
		err_set(err, EXIT_CODE_UNAVAILABLE, "%s", s->error);
	} else {
		/* The version before the index: a newer schema may want another. */
		if (!meta_insert(s))
			err_set(err, EXIT_CODE_UNAVAILABLE, "%s", s->error);
		else if (meta_check(s, err) == 0)
			result = index_make(s, err);
		mongo_end(session);
	}
	mongo_session_close(session);
	mongo_close(store);
	return result;
}

/* ---- inspection ---- */

/* Runs {name: value} on the primary; the reply is initialised in any case. */
static bool ask(struct mongo_session *s, const char *database, const char *name, const char *value,
		bson_t *reply)
{
	bson_t command = BSON_INITIALIZER;
	if (value)
		BSON_APPEND_UTF8(&command, name, value);
	else
		BSON_APPEND_INT32(&command, name, 1);
	bson_error_t error = {0};
	bool ok = mongoc_client_command_simple(s->client, database, &command, NULL, reply, &error);
	if (!ok)
		explain(s, name, &error);
	bson_destroy(&command);
	return ok;
}

static const char *text_of(const bson_t *document, const char *name)
{
	bson_iter_t field;
	return bson_iter_init_find(&field, document, name) && BSON_ITER_HOLDS_UTF8(&field)
		   ? bson_iter_utf8(&field, NULL)
		   : "";
}

static size_t length_of(const bson_t *document, const char *name)
{
	bson_iter_t field, element;
	size_t count = 0;
	if (bson_iter_init_find(&field, document, name) && BSON_ITER_HOLDS_ARRAY(&field) &&
	    bson_iter_recurse(&field, &element))
		while (bson_iter_next(&element))
			count++;
	return count;
}

static void inspect_topology(const bson_t *hello, const char *version, struct report *report)
{
	const char *set = text_of(hello, "setName");
	size_t members = length_of(hello, "hosts");
	if (strcmp(text_of(hello, "msg"), "isdbgrid") == 0)
		report_warn(report, "store", "MongoDB %s, a sharded cluster; todod is not tested on those",
			    version);
	else if (members < 2)
		report_warn(report, "store",
			    "MongoDB %s, one server alone%s%s; what it acknowledges is lost with its disk: "
			    "three members of a replica set keep it",
			    version, *set ? ", in replica set " : "", set);
	else
		report_ok(report, "store", "MongoDB %s, the primary of replica set %s with %zu members",
			  version, set, members);
}

/* Todos are ordered by the clocks of those who made them; the server's is what several machines share. */
static void inspect_clock(const bson_t *hello, struct report *report)
{
	bson_iter_t field;
	if (!bson_iter_init_find(&field, hello, "localTime") || !BSON_ITER_HOLDS_DATE_TIME(&field))
		return;
	double apart_s = (double)(bson_iter_date_time(&field) - clock_wall_us() / 1000) / 1000;
	if (fabs(apart_s) > CLOCK_APART_MAX_S)
		report_warn(report, "clock of the store",
			    "it is %.1f s %s of this machine's; synchronise both: todos are ordered by time",
			    fabs(apart_s), apart_s > 0 ? "ahead" : "behind");
	else
		report_ok(report, "clock of the store", "within %d s of this machine's", CLOCK_APART_MAX_S);
}

static void inspect_server(struct mongo_session *s, struct report *report)
{
	bson_t hello, build;
	bool ok = ask(s, "admin", "hello", NULL, &hello) && ask(s, "admin", "buildInfo", NULL, &build);
	if (ok) {
		inspect_topology(&hello, text_of(&build, "version"), report);
		inspect_clock(&hello, report);
		bson_destroy(&build);
	} else {
		report_fail(report, EXIT_CODE_UNAVAILABLE, "store", "%s", s->error);
	}
	bson_destroy(&hello);
}

static void inspect_concern(const struct mongo_store *store, struct report *report)
{
	const mongoc_write_concern_t *concern = mongoc_uri_get_write_concern(store->uri);
	char w[16];
	(void)snprintf(w, sizeof(w), "%d", mongoc_write_concern_get_w(concern));
	const char *name = is_majority(concern) ? "majority" : mongoc_write_concern_get_wtag(concern);
	bool is_journaled = mongoc_write_concern_get_journal(concern);
	name = name ? name : w;
	if (!is_majority(concern))
		report_warn(report, "durability",
			    "w=%s: an election may lose what was acknowledged; leave w out of the URI", name);
	else if (!is_journaled)
		report_warn(
		    report, "durability",
		    "journal=false: a crash of the servers may lose what was acknowledged; leave journal "
		    "out of the URI");
	else
		report_ok(report, "durability", "w=majority, journal=true");
}

/* {created_at: -1, _id: -1}, as append_order makes it. */
static bool is_our_index(const bson_iter_t *index)
{
	bson_iter_t field, part;
	return BSON_ITER_HOLDS_DOCUMENT(index) && bson_iter_recurse(index, &field) &&
	       bson_iter_find(&field, "key") && BSON_ITER_HOLDS_DOCUMENT(&field) &&
	       bson_iter_recurse(&field, &part) && bson_iter_next(&part) &&
	       strcmp(bson_iter_key(&part), "created_at") == 0 && bson_iter_as_int64(&part) == -1 &&
	       bson_iter_next(&part) && strcmp(bson_iter_key(&part), "_id") == 0 &&
	       bson_iter_as_int64(&part) == -1 && !bson_iter_next(&part);
}

static void inspect_index(struct mongo_session *s, struct report *report)
{
	bson_t reply;
	bson_iter_t indexes;
	bool ok = ask(s, s->store->database, "listIndexes", collection_name, &reply) &&
		  reply_documents(s, &reply, &indexes);
	bool found = false;
	while (ok && !found && bson_iter_next(&indexes))
		found = is_our_index(&indexes);
	if (found)
		report_ok(report, "index", "{created_at: -1, _id: -1} is there");
	else if (ok)
		report_fail(
		    report, EXIT_CODE_CONFIG, "index",
		    "{created_at: -1, _id: -1} is missing from %s.%s, every list sorts every todo; start "
		    "todod again, which makes it",
		    s->store->database, collection_name);
	else
		report_fail(report, EXIT_CODE_CONFIG, "index", "%s; todod makes it when it starts", s->error);
	bson_destroy(&reply);
}

static void inspect_schema(struct mongo_session *s, struct report *report)
{
	struct meta meta;
	struct err err;
	bool is_there;
	if (!meta_find(s, &meta, &is_there))
		report_fail(report, EXIT_CODE_UNAVAILABLE, "schema", "%s", s->error);
	else if (!is_there)
		report_ok(report, "schema",
			  "database %s holds no todos yet; todod makes meta record and index when it starts",
			  s->store->database);
	else if (meta_judge(s, &meta, &err) != 0)
		report_fail(report, err.code, "schema", "%s", err.text);
	else {
		report_ok(report, "schema", "version %d", SCHEMA_VERSION);
		inspect_index(s, report);
	}
}

/* Of the server's disk, where it tells (not to a user without read on the database). */
static void inspect_space(struct mongo_session *s, struct report *report)
{
	bson_t reply;
	bool ok = ask(s, s->store->database, "dbStats", NULL, &reply);
	int64_t total = field_of(&reply, "fsTotalSize"), used = field_of(&reply, "fsUsedSize");
	if (ok && total > 0 && used >= 0)
		store_report_space(report, (double)(total - used), (double)total);
	bson_destroy(&reply);
}

static void mongo_inspect(const struct store_settings *settings, struct report *report)
{
	struct err err;
	struct store *store = open_store(settings, socket_wait_ms(settings), &err);
	if (!store) {
		report_fail(report, err.code, "store", "%s", err.text);
		return;
	}
	struct mongo_session *s = (struct mongo_session *)mongo_session_open(store, STORE_READ);
	/* Less patience than a service has: closing a pool takes as long once more when nobody is there. */
	(void)mongoc_uri_set_option_as_int32(s->store->uri, MONGOC_URI_SERVERSELECTIONTIMEOUTMS,
					     INSPECT_SELECTION_MS);
	if (mongo_begin(&s->base) == STORE_OK) {
		inspect_server(s, report);
		inspect_concern(s->store, report);
		inspect_schema(s, report);
		inspect_space(s, report);
		mongo_end(&s->base);
	} else {
		report_fail(report, EXIT_CODE_UNAVAILABLE, "store",
			    "%s; start it, or correct the URI of store", s->error);
	}
	mongo_session_close(&s->base);
	mongo_close(store);
}

static const char *const schemes[] = {"mongodb://", "mongodb+srv://", NULL};

static const char *mongo_library(void)
{
	return "libmongoc " MONGOC_VERSION_S;
}

/*
 * libmongoc keeps its counters in /dev/shm/mongoc-PID, made before main. The name is of no use here, a killed process would leave it
 * behind, and the next process of the same pid would be warned of it on stderr.
 */
__attribute__((constructor)) static void unlink_counters(void)
{
	char name[32];
	(void)snprintf(name, sizeof(name), "/mongoc-%d", getpid());
	(void)shm_unlink(name);
}

const struct store_ops mongo_ops = {
    .name = "mongodb",
    .library = mongo_library,
    .schemes = schemes,
    .delete_threads = DELETE_THREADS,
    .rows_per_query = ROWS_PER_QUERY,
    .doubt_ms = mongo_doubt_ms,
    .check = mongo_check,
    .claim = mongo_claim,
    .setup = mongo_setup,
    .inspect = mongo_inspect,
    .open = mongo_open,
    .close = mongo_close,
    .session_open = mongo_session_open,
    .session_close = mongo_session_close,
    .begin = mongo_begin,
    .end = mongo_end,
    .ping = mongo_ping,
    .id = mongo_id,
    .page = mongo_page,
    .get = mongo_get,
    .write = mongo_write,
    .error = mongo_error,
};

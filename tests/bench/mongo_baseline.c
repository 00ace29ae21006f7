/*
 * What libmongoc alone does against the same server: threads that only insert, or only read the newest page.
 *
 *     mongo_baseline insert URI THREADS SECONDS    insert_many of 20 todos at a time, unordered
 *     mongo_baseline page URI THREADS SECONDS      the newest 10 todos
 *
 * On the collection `todos` of the URI's database, with the write concern of the URI.
 */
#include "tally.h"

#include <mongoc/mongoc.h>
#include <pthread.h>

enum { THREADS_MAX = 64, ROWS = 20, PAGE = 10 };

struct job {
	mongoc_client_pool_t *pool;
	const char *database;
	struct tally *tally;
	unsigned index;
	double until_s;
};

static void insert_until(mongoc_collection_t *todos, struct job *job)
{
	bson_t rows[ROWS];
	const bson_t *pointers[ROWS];
	for (int i = 0; i < ROWS; i++) {
		bson_init(&rows[i]);
		pointers[i] = &rows[i];
	}
	bson_t *options = BCON_NEW("ordered", BCON_BOOL(false));
	unsigned seed = (unsigned)getpid() * THREADS_MAX + job->index, number = 0;
	bson_error_t error;

	for (double began_s; (began_s = now_s()) < job->until_s;) {
		for (int i = 0; i < ROWS; i++) {
			uint8_t id[16];
			char content[64];
			make_id(id, &seed);
			snprintf(content, sizeof(content), BENCH_CONTENT, number++);
			bson_reinit(&rows[i]);
			bson_append_binary(&rows[i], "_id", -1, BSON_SUBTYPE_UUID, id, sizeof(id));
			bson_append_utf8(&rows[i], "content", -1, content, -1);
			bson_append_double(&rows[i], "created_at", -1, wall_s());
			bson_append_bool(&rows[i], "is_finished", -1, false);
			bson_append_null(&rows[i], "finished_at", -1);
		}
		if (mongoc_collection_insert_many(todos, pointers, ROWS, options, NULL, &error)) {
			tally_add(job->tally, ROWS, began_s);
		} else {
			if (job->tally->errors++ == 0)
				warnx("insert_many: %s", error.message);
		}
	}
	bson_destroy(options);
	for (int i = 0; i < ROWS; i++)
		bson_destroy(&rows[i]);
}

static void page_until(mongoc_collection_t *todos, struct job *job)
{
	bson_t *filter = bson_new();
	bson_t *options = BCON_NEW("sort", "{", "created_at", BCON_INT32(-1), "_id", BCON_INT32(-1), "}",
				   "limit", BCON_INT64(PAGE), "singleBatch", BCON_BOOL(true));
	for (double began_s; (began_s = now_s()) < job->until_s;) {
		mongoc_cursor_t *cursor = mongoc_collection_find_with_opts(todos, filter, options, NULL);
		const bson_t *row;
		int rows = 0;
		while (mongoc_cursor_next(cursor, &row))
			rows++;
		mongoc_cursor_destroy(cursor);
		if (rows == PAGE)
			tally_add(job->tally, 1, began_s);
		else
			job->tally->errors++;
	}
	bson_destroy(options);
	bson_destroy(filter);
}

static void run(void *argument_, void (*work)(mongoc_collection_t *, struct job *))
{
	struct job *job = argument_;
	mongoc_client_t *client = mongoc_client_pool_pop(job->pool);
	mongoc_collection_t *todos = mongoc_client_get_collection(client, job->database, "todos");
	work(todos, job);
	mongoc_collection_destroy(todos);
	mongoc_client_pool_push(job->pool, client);
}

static void *insert_thread(void *job)
{
	run(job, insert_until);
	return NULL;
}

static void *page_thread(void *job)
{
	run(job, page_until);
	return NULL;
}

/* The index that todod keeps: without it a baseline would insert for less. */
static void make_index(mongoc_client_pool_t *pool, const char *database)
{
	mongoc_client_t *client = mongoc_client_pool_pop(pool);
	bson_t *command =
	    BCON_NEW("createIndexes", "todos", "indexes", "[", "{", "key", "{", "created_at", BCON_INT32(-1),
		     "_id", BCON_INT32(-1), "}", "name", "created_at_-1__id_-1", "}", "]");
	bson_error_t error;
	if (!mongoc_client_command_simple(client, database, command, NULL, NULL, &error))
		errx(EXIT_FAILURE, "createIndexes: %s", error.message);
	bson_destroy(command);
	mongoc_client_pool_push(pool, client);
}

int main(int argc, char **argv)
{
	if (argc != 5 || (strcmp(argv[1], "insert") != 0 && strcmp(argv[1], "page") != 0))
		errx(EXIT_FAILURE, "usage: mongo_baseline insert|page URI THREADS SECONDS");
	bool inserts = strcmp(argv[1], "insert") == 0;
	unsigned threads = argument(argv[3], THREADS_MAX), seconds = argument(argv[4], 3600);

	mongoc_init();
	bson_error_t error;
	mongoc_uri_t *uri = mongoc_uri_new_with_error(argv[2], &error);
	if (uri == NULL || mongoc_uri_get_database(uri) == NULL)
		errx(EXIT_FAILURE, "the URI does not parse, or names no database");
	mongoc_client_pool_t *pool = mongoc_client_pool_new(uri);
	mongoc_client_pool_set_error_api(pool, MONGOC_ERROR_API_VERSION_2);
	if (inserts)
		make_index(pool, mongoc_uri_get_database(uri));

	struct tally *tallies = tally_new_array(threads);
	struct job jobs[THREADS_MAX];
	pthread_t ids[THREADS_MAX];
	double began_s = now_s();
	for (unsigned i = 0; i < threads; i++) {
		jobs[i] = (struct job){pool, mongoc_uri_get_database(uri), &tallies[i], i, began_s + seconds};
		if (pthread_create(&ids[i], NULL, inserts ? insert_thread : page_thread, &jobs[i]) != 0)
			errx(EXIT_FAILURE, "pthread_create");
	}
	for (unsigned i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	tally_print(tallies, threads, now_s() - began_s);

	mongoc_client_pool_destroy(pool);
	mongoc_uri_destroy(uri);
	mongoc_cleanup();
	return EXIT_SUCCESS;
}

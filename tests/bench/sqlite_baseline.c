/*
 * What SQLite alone does: processes that insert todos in transactions, one after the other under the same
 * lock that todod's writers use, with the same schema and the same durability.
 *
 *     sqlite_baseline FILE PROCESSES ROWS SECONDS    ROWS a transaction
 */
#include "tally.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES_MAX = 64 };

static const char SCHEMA[] =
    "CREATE TABLE IF NOT EXISTS todos(id BLOB PRIMARY KEY CHECK(length(id)=16), content TEXT NOT NULL,"
    " created_at REAL NOT NULL, is_finished INTEGER NOT NULL DEFAULT 0, finished_at REAL) STRICT, WITHOUT "
    "ROWID;"
    "CREATE INDEX IF NOT EXISTS todos_by_time ON todos(created_at, id)";

static void run(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		errx(EXIT_FAILURE, "%s: %s", sql, sqlite3_errmsg(db));
}

static sqlite3 *open_database(const char *path)
{
	sqlite3 *db;
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
			    NULL) != SQLITE_OK)
		errx(EXIT_FAILURE, "%s: %s", path, sqlite3_errmsg(db));
	sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	run(db, "PRAGMA busy_timeout=10000; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
		"PRAGMA wal_autocheckpoint=1000; PRAGMA cache_size=-8000");
	return db;
}

static int open_lock(const char *path)
{
	char lock_path[4096];
	if (snprintf(lock_path, sizeof(lock_path), "%s.lock", path) >= (int)sizeof(lock_path))
		errx(EXIT_FAILURE, "%s: too long", path);
	int lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock == -1)
		err(EXIT_FAILURE, "%s", lock_path);
	return lock;
}

/* One transaction under the lock. */
static bool insert_rows(sqlite3 *db, sqlite3_stmt *insert, int lock, unsigned rows, unsigned *seed)
{
	static unsigned number;
	while (flock(lock, LOCK_EX) == -1)
		continue;
	run(db, "BEGIN IMMEDIATE");
	bool done = true;
	for (unsigned i = 0; i < rows; i++) {
		uint8_t id[16];
		char content[64];
		make_id(id, seed);
		snprintf(content, sizeof(content), BENCH_CONTENT, number++);
		sqlite3_bind_blob(insert, 1, id, sizeof(id), SQLITE_STATIC);
		sqlite3_bind_text(insert, 2, content, -1, SQLITE_STATIC);
		sqlite3_bind_double(insert, 3, wall_s());
		done = sqlite3_step(insert) == SQLITE_DONE && done;
		sqlite3_reset(insert);
	}
	run(db, "COMMIT");
	flock(lock, LOCK_UN);
	return done;
}

static void insert_until(const char *path, unsigned rows, struct tally *tally, double until_s)
{
	sqlite3 *db = open_database(path);
	int lock = open_lock(path);
	sqlite3_stmt *insert;
	if (sqlite3_prepare_v2(db, "INSERT INTO todos(id, content, created_at) VALUES(?, ?, ?)", -1, &insert,
			       NULL) != SQLITE_OK)
		errx(EXIT_FAILURE, "%s", sqlite3_errmsg(db));
	unsigned seed = (unsigned)getpid();
	for (double began_s; (began_s = now_s()) < until_s;) {
		if (insert_rows(db, insert, lock, rows, &seed))
			tally_add(tally, rows, began_s);
		else
			tally->errors++;
	}
	sqlite3_finalize(insert);
	sqlite3_close(db);
}

int main(int argc, char **argv)
{
	if (argc != 5)
		errx(EXIT_FAILURE, "usage: sqlite_baseline FILE PROCESSES ROWS SECONDS");
	const char *path = argv[1];
	unsigned processes = argument(argv[2], PROCESSES_MAX), rows = argument(argv[3], 100000);
	unsigned seconds = argument(argv[4], 3600);

	sqlite3 *db = open_database(path); /* closed again before the fork: a connection must not cross it */
	run(db, SCHEMA);
	sqlite3_close(db);

	struct tally *tallies = tally_new_array(processes);
	double began_s = now_s();
	for (unsigned i = 0; i < processes; i++) {
		pid_t pid = fork();
		if (pid == -1)
			err(EXIT_FAILURE, "fork");
		if (pid == 0) {
			insert_until(path, rows, &tallies[i], began_s + seconds);
			_exit(EXIT_SUCCESS);
		}
	}
	bool failed = false;
	for (int status; wait(&status) != -1;)
		failed = failed || status != 0;
	if (failed)
		errx(EXIT_FAILURE, "a process failed");
	tally_print(tallies, processes, now_s() - began_s);
	return EXIT_SUCCESS;
}

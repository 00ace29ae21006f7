/*
 * What is SQLite's alone: whose file it is, what happens when the disk, another process or this process
 * fails. No connection is open in this process while it forks.
 */
#include "store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- the disk that fails ---- */

enum fault {
	FAULT_NONE,
	FAULT_WRITE_EIO,
	FAULT_WRITE_ENOSPC,
	FAULT_WRITE_KILL,
	FAULT_SYNC_EIO,
	FAULT_READ_EIO
};

static struct {
	enum fault fault;
	unsigned fail_at; /* which call, from 1 */
	unsigned calls;   /* of the kind that fails */
} disk;

static void disk_fails(enum fault fault, unsigned fail_at)
{
	disk.fault = fault;
	disk.fail_at = fail_at;
	disk.calls = 0;
}

static bool disk_is_due(enum fault fault)
{
	return disk.fault == fault && ++disk.calls == disk.fail_at;
}

static ssize_t failing_pwrite(int fd, const void *data, size_t len, off_t at)
{
	if (disk_is_due(FAULT_WRITE_KILL))
		(void)raise(SIGKILL);
	int error = disk_is_due(FAULT_WRITE_EIO) ? EIO : disk_is_due(FAULT_WRITE_ENOSPC) ? ENOSPC : 0;
	if (error == 0)
		return pwrite(fd, data, len, at);
	/* Half of it arrives, then nothing. */
	if (len > 1 && pwrite(fd, data, len / 2, at) < 0)
		return -1;
	errno = error;
	return -1;
}

static ssize_t failing_pread(int fd, void *data, size_t len, off_t at)
{
	if (!disk_is_due(FAULT_READ_EIO))
		return pread(fd, data, len, at);
	errno = EIO;
	return -1;
}

/* In place of the C library's: SQLite calls it directly. */
int fdatasync(int fd)
{
	if (!disk_is_due(FAULT_SYNC_EIO))
		return (int)syscall(SYS_fdatasync, fd);
	errno = EIO;
	return -1;
}

static void disk_init(void)
{
	sqlite3_vfs *vfs = sqlite3_vfs_find("unix");
	assert_non_null(vfs);
	assert_int_equal(vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)failing_pwrite),
			 SQLITE_OK);
	assert_int_equal(vfs->xSetSystemCall(vfs, "pread64", (sqlite3_syscall_ptr)failing_pread), SQLITE_OK);
}

/* ---- a database of its own for each test ---- */

static struct fixture_dir dir;
static struct store_settings settings;

static int make_dir(void **state)
{
	(void)state;
	fixture_dir_make(&dir, "todod.db");
	settings = fixture_settings(dir.uri);
	disk_fails(FAULT_NONE, 0);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	disk_fails(FAULT_NONE, 0);
	fixture_dir_remove(&dir);
	return 0;
}

struct database {
	struct store *store;
	struct store_session *reader, *writer;
};

static struct database open_database(void)
{
	struct database d = {.store = fixture_open(&settings)};
	d.reader = store_session_open(d.store, STORE_READ);
	d.writer = store_session_open(d.store, STORE_WRITE);
	return d;
}

static void close_database(struct database *d)
{
	store_session_close(d->reader);
	store_session_close(d->writer);
	store_close(d->store);
}

/* A connection of some other program. */
static sqlite3 *foreign_open(const char *path)
{
	sqlite3 *db = NULL;
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	return db;
}

static void foreign_run(sqlite3 *db, const char *sql)
{
	char *error = NULL;
	if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
		fail_msg("%s: %s", sql, error);
}

static void foreign_once(const char *sql)
{
	sqlite3 *db = foreign_open(fixture_dir_file(&dir));
	foreign_run(db, sql);
	sqlite3_close(db);
}

static void assert_integrity(const char *path)
{
	sqlite3 *db = foreign_open(path);
	sqlite3_stmt *stmt = NULL;
	assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "ok");
	sqlite3_finalize(stmt);
	sqlite3_close(db);
}

/* Fails with `code` and a line that holds `words`. */
static void assert_setup_fails(enum exit_code code, const char *words)
{
	struct err err = {0};
	assert_int_equal(store_setup(&settings, &err), -1);
	if (err.code != code || !strstr(err.text, words))
		fail_msg("%d instead of %d, \"%s\" instead of \"… %s …\"", err.code, code, err.text, words);
}

/* ---- URIs and files ---- */

static void uris_that_are_wrong(void **state)
{
	(void)state;
	const char *const wrong[] = {"",
				     "sqlite",
				     "sqlite:",
				     "sqlite:/tmp/",
				     "sqlite::memory:",
				     "/tmp/x.db",
				     "mysql://user:secret@host/todo"};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct err err = {0};
		assert_int_equal(store_check(wrong[i], &err), -1);
		assert_int_equal(err.code, EXIT_CODE_CONFIG);
		assert_null(strstr(err.text, "secret"));
		assert_true(strlen(err.text) > 10);
	}
	struct err err = {0};
	assert_int_equal(store_check("sqlite:/nowhere/at/all.db", &err), 0);
	assert_string_equal(err.text, "");
}

static mode_t mode_of(const char *path)
{
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static void a_claim_is_exclusive(void **state)
{
	(void)state;
	struct err err = {0};
	int fd = store_claim(dir.uri, &err);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	char owner[240];
	(void)snprintf(owner, sizeof(owner), "%s.owner", fixture_dir_file(&dir));
	assert_int_equal(mode_of(owner), 0600);

	assert_int_equal(store_claim(dir.uri, &err), -1);
	assert_int_equal(err.code, EXIT_CODE_ALREADY_RUNNING);
	assert_non_null(strstr(err.text, "is in use by another todod"));
	assert_non_null(strstr(err.text, fixture_dir_file(&dir)));

	close(fd);
	fd = store_claim(dir.uri, &err);
	assert_true(fd >= 0);
	close(fd);
}

static void a_claim_that_was_left_is_told_from_one_that_has_ended(void **state)
{
	(void)state;
	struct err err;
	static const bool is_left[] = {false, true, true, false};
	for (size_t i = 0; i < sizeof(is_left) / sizeof(is_left[0]); i++) {
		int fd = store_claim(dir.uri, &err);
		assert_true(fd >= 0);
		assert_int_equal(store_claim_begins(fd), is_left[i]);
		if (i >= 2)
			store_claim_ends(fd);
		close(fd);
	}
}

static void a_claim_makes_directories(void **state)
{
	(void)state;
	char uri[240], path[240];
	(void)snprintf(uri, sizeof(uri), "sqlite:%s/a/b/todod.db", dir.path);
	struct err err = {0};
	int fd = store_claim(uri, &err);
	assert_true(fd >= 0);
	close(fd);
	const char *const made[] = {"a/b/todod.db.owner", "a/b", "a"};
	for (int i = 0; i < 3; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir.path, made[i]);
		if (i > 0)
			assert_int_equal(mode_of(path), 0700);
		assert_int_equal(remove(path), 0);
	}
}

static void places_where_nothing_can_be_made(void **state)
{
	(void)state;
	int fd = open(fixture_dir_file(&dir), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	char below[240], directory[240];
	(void)snprintf(below, sizeof(below), "%s/below/a.db", dir.uri);
	(void)snprintf(directory, sizeof(directory), "sqlite:%s", dir.path);
	struct err err = {0};
	assert_int_equal(store_claim(below, &err), -1);
	assert_int_equal(err.code, EXIT_CODE_CANNOT_CREATE);
	assert_non_null(strstr(err.text, strerror(ENOTDIR)));
	settings.uri = below;
	assert_setup_fails(EXIT_CODE_CANNOT_CREATE, strerror(ENOTDIR));
	settings.uri = directory;
	assert_setup_fails(EXIT_CODE_CANNOT_CREATE, "unable to open database file");
	char lock[240];
	(void)snprintf(lock, sizeof(lock), "%s.lock", dir.path);
	assert_int_equal(unlink(lock), 0);
}

/* In a child, since root may write everywhere. */
static void a_directory_without_permission(void **state)
{
	(void)state;
	assert_int_equal(chmod(dir.path, 0555), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct err err = {0};
		if (geteuid() == 0 && setuid(65534) != 0)
			_exit(1);
		_exit(store_claim(dir.uri, &err) == -1 && err.code == EXIT_CODE_NO_PERMISSION &&
			      store_setup(&settings, &err) == -1
			  ? (int)err.code
			  : 2);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chmod(dir.path, 0700), 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EXIT_CODE_NO_PERMISSION);
}

static void files_are_private(void **state)
{
	(void)state;
	mode_t old = umask(0);
	struct database d = open_database();
	assert_int_equal(fixture_write_one(d.writer, fixture_insert(1, 1, "mine")), STORE_OK);
	umask(old);
	const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
	for (int i = 0; i < 4; i++) {
		char path[240];
		(void)snprintf(path, sizeof(path), "%s%s", fixture_dir_file(&dir), suffixes[i]);
		assert_int_equal(mode_of(path), 0600);
	}
	close_database(&d);
}

/* ---- other people's databases ---- */

static void a_newer_schema_is_refused(void **state)
{
	(void)state;
	struct err err = {0};
	assert_int_equal(store_setup(&settings, &err), 0);
	foreign_once("PRAGMA user_version=7");
	assert_setup_fails(EXIT_CODE_CONFIG, "holds schema version 7, this todod knows 1");

	/* A daemon that runs already, too. */
	struct store *store = store_open(&settings, &err);
	assert_non_null(store);
	struct store_session *reader = store_session_open(store, STORE_READ);
	assert_int_equal(store_begin(reader), STORE_UNAVAILABLE);
	assert_non_null(strstr(store_error(reader), "schema version 7"));
	store_session_close(reader);
	store_close(store);
}

static void a_file_that_is_no_database(void **state)
{
	(void)state;
	int fd = open(fixture_dir_file(&dir), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	char text[5000];
	memset(text, 'x', sizeof(text));
	assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
	close(fd);
	assert_setup_fails(EXIT_CODE_CONFIG, "is not a SQLite database");
}

static void a_foreign_database_stays_as_it_is(void **state)
{
	(void)state;
	const char *const foreign[] = {
	    "CREATE TABLE songs(title TEXT)",
	    "CREATE TABLE todos(title TEXT); PRAGMA user_version=1",
	    "PRAGMA application_id=252006673",
	    "PRAGMA user_version=1",
	};
	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
		char sql[240];
		(void)snprintf(sql, sizeof(sql), "PRAGMA journal_mode=DELETE; %s", foreign[i]);
		foreign_once(sql);
		assert_setup_fails(EXIT_CODE_CONFIG, "is the database of another program");
		sqlite3 *db = foreign_open(fixture_dir_file(&dir));
		sqlite3_stmt *stmt = NULL;
		assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA journal_mode", -1, &stmt, NULL), SQLITE_OK);
		assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
		assert_string_equal((const char *)sqlite3_column_text(stmt, 0), "delete");
		sqlite3_finalize(stmt);
		sqlite3_close(db);
		assert_int_equal(unlink(fixture_dir_file(&dir)), 0);
	}
}

static void a_session_waits_for_the_set_up(void **state)
{
	(void)state;
	struct err err = {0};
	struct store *store = store_open(&settings, &err);
	assert_non_null(store);
	struct store_session *reader = store_session_open(store, STORE_READ);
	struct store_session *writer = store_session_open(store, STORE_WRITE);
	assert_int_equal(store_begin(reader), STORE_UNAVAILABLE);
	assert_non_null(strstr(store_error(reader), fixture_dir_file(&dir)));
	assert_int_equal(store_begin(writer), STORE_UNAVAILABLE);
	assert_string_not_equal(store_error(writer), "");
	assert_int_equal(store_setup(&settings, &err), 0);
	assert_int_equal(fixture_write_one(writer, fixture_insert(1, 1, "late")), STORE_OK);
	assert_int_equal(fixture_get(reader, 1), STORE_OK);
	store_session_close(reader);
	store_session_close(writer);
	store_close(store);
}

static void names_that_mean_something_to_sqlite(void **state)
{
	(void)state;
	char *old = getcwd(NULL, 0);
	assert_non_null(old);
	assert_int_equal(chdir(dir.path), 0);
	const char *const names[] = {"file:x?mode=memory", ":x", "plain.db"};
	for (int i = 0; i < 3; i++) {
		char uri[60];
		(void)snprintf(uri, sizeof(uri), "sqlite:%s", names[i]);
		struct store_settings relative = fixture_settings(uri);
		struct store *store = fixture_open(&relative);
		store_close(store);
		assert_int_equal(access(names[i], F_OK), 0);
	}
	assert_int_equal(chdir(old), 0);
	free(old);
}

/* ---- a full disk ---- */

static const char *page_limit;

static int limit_pages(sqlite3 *db, char **error, const struct sqlite3_api_routines *api)
{
	(void)error, (void)api;
	return sqlite3_exec(db, page_limit, NULL, NULL, NULL);
}

static void a_full_database(void **state)
{
	(void)state;
	struct err err = {0};
	assert_int_equal(store_setup(&settings, &err), 0);
	page_limit = "PRAGMA max_page_count=40";
	assert_int_equal(sqlite3_auto_extension((void (*)(void))limit_pages), SQLITE_OK);
	struct database d = open_database();
	char content[4000];
	memset(content, 'x', sizeof(content) - 1);
	content[sizeof(content) - 1] = '\0';

	uint32_t stored = 0;
	struct store_write writes[4];
	do {
		for (uint32_t i = 0; i < 3; i++)
			writes[i] = fixture_insert(stored + i, stored + i, content);
		writes[3] = fixture_delete(9999);
		fixture_write(d.writer, writes, 4);
		for (int i = 0; i < 3; i++)
			assert_int_equal(writes[i].status, writes[0].status);
		if (writes[0].status == STORE_OK) {
			assert_int_equal(writes[3].status, STORE_NOT_FOUND);
			stored += 3;
		}
	} while (writes[0].status == STORE_OK && stored < 1000);
	assert_int_equal(writes[0].status, STORE_FULL);
	assert_int_equal(writes[3].status, STORE_FULL);
	assert_non_null(strstr(store_error(d.writer), "database or disk is full"));
	assert_null(strstr(store_error(d.writer), "xxxx"));
	assert_true(stored > 0);
	assert_int_equal(fixture_count(d.reader), stored);

	/* What frees space goes on, and then there is space. */
	assert_int_equal(fixture_write_one(d.writer, fixture_delete(0)), STORE_OK);
	assert_int_equal(fixture_write_one(d.writer, fixture_delete(1)), STORE_OK);
	assert_int_equal(fixture_write_one(d.writer, fixture_insert(0, 0, content)), STORE_OK);
	assert_int_equal(fixture_count(d.reader), stored - 1);
	close_database(&d);
	sqlite3_reset_auto_extension();
}

/* ---- another program in the way ---- */

static void an_id_that_is_lost(void **state)
{
	(void)state;
	struct database d = open_database();
	struct uuid id;
	foreign_once("UPDATE meta SET value = 'todod' WHERE key = 'id'");
	assert_int_equal(store_begin(d.reader), STORE_OK);
	assert_int_equal(store_id(d.reader, &id), STORE_UNAVAILABLE);
	assert_non_null(strstr(store_error(d.reader), "no UUID"));
	foreign_once("DELETE FROM meta");
	assert_int_equal(store_id(d.reader, &id), STORE_UNAVAILABLE);
	assert_non_null(strstr(store_error(d.reader), "no UUID"));
	foreign_once("INSERT INTO meta VALUES('id', '01a2071d-6594-7a52-9f0e-3c2f1b6d8a47')");
	assert_int_equal(store_id(d.reader, &id), STORE_OK);
	assert_string_equal(store_error(d.reader), "");
	assert_int_equal(id.bytes[0], 0x01);
	assert_int_equal(id.bytes[15], 0x47);
	store_end(d.reader);
	close_database(&d);
}

static void nothing_is_in_doubt(void **state)
{
	(void)state;
	assert_int_equal(store_doubt_ms(&settings), 0);
}

static void a_foreign_transaction(void **state)
{
	(void)state;
	settings.timeout_ms = 200;
	struct database d = open_database();
	assert_int_equal(fixture_write_one(d.writer, fixture_insert(1, 1, "before")), STORE_OK);
	sqlite3 *foreign = foreign_open(fixture_dir_file(&dir));
	foreign_run(foreign, "BEGIN IMMEDIATE");

	int64_t before_ms = clock_monotonic_ms();
	assert_int_equal(store_begin(d.writer), STORE_UNAVAILABLE);
	int64_t took_ms = clock_monotonic_ms() - before_ms;
	assert_true(took_ms >= 150 && took_ms < 5000);
	assert_non_null(strstr(store_error(d.writer), "locked"));
	assert_int_equal(fixture_count(d.reader), 1);
	struct err err = {0};
	assert_int_equal(store_setup(&settings, &err), -1);
	assert_int_equal(err.code, EXIT_CODE_UNAVAILABLE);

	foreign_run(foreign, "ROLLBACK");
	assert_int_equal(fixture_write_one(d.writer, fixture_insert(2, 2, "after")), STORE_OK);
	assert_int_equal(fixture_count(d.reader), 2);
	sqlite3_close(foreign);
	close_database(&d);
}

static void a_lock_that_is_held(void **state)
{
	(void)state;
	settings.timeout_ms = 100;
	char lock[240];
	(void)snprintf(lock, sizeof(lock), "%s.lock", fixture_dir_file(&dir));
	int fd = open(lock, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_setup_fails(EXIT_CODE_UNAVAILABLE, "locked by a writer");
	close(fd);
	struct err err = {0};
	assert_int_equal(store_setup(&settings, &err), 0);
}

/* ---- every write and every sync fails once ---- */

/* The files as a machine that lost its power would find them: without the shared memory. */
static void copy_without_shm(const char *to)
{
	const char *const suffixes[] = {"", "-wal"};
	for (int i = 0; i < 2; i++) {
		char source[240], target[260];
		(void)snprintf(source, sizeof(source), "%s%s", fixture_dir_file(&dir), suffixes[i]);
		(void)snprintf(target, sizeof(target), "%s%s", to, suffixes[i]);
		/* By another process: closing the files here would drop SQLite's locks. */
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0) {
			execlp("cp", "cp", source, target, (char *)NULL);
			_exit(127);
		}
		int status = 0;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

static void remove_copy(const char *path)
{
	const char *const suffixes[] = {"", "-wal", "-shm"};
	for (int i = 0; i < 3; i++) {
		char file[260];
		(void)snprintf(file, sizeof(file), "%s%s", path, suffixes[i]);
		(void)unlink(file);
	}
}

static bool foreign_has(sqlite3 *db, uint32_t number)
{
	sqlite3_stmt *stmt = NULL;
	struct uuid id = fixture_id(number);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT 1 FROM todos WHERE id = ?", -1, &stmt, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_bind_blob(stmt, 1, id.bytes, UUID_BYTES, SQLITE_TRANSIENT), SQLITE_OK);
	int rc = sqlite3_step(stmt);
	assert_true(rc == SQLITE_ROW || rc == SQLITE_DONE);
	sqlite3_finalize(stmt);
	return rc == SQLITE_ROW;
}

/* Now, and after a loss of power now. */
static void assert_explains(enum store_status status, uint32_t number, struct store_session *reader)
{
	char copy[240];
	(void)snprintf(copy, sizeof(copy), "%s/copy.db", dir.path);
	copy_without_shm(copy);
	assert_integrity(copy);
	sqlite3 *db = foreign_open(copy);
	bool is_there = fixture_get(reader, number) == STORE_OK, is_recovered = foreign_has(db, number);
	sqlite3_close(db);
	remove_copy(copy);
	if (status == STORE_OK)
		assert_true(is_there && is_recovered);
	if (status == STORE_UNAVAILABLE || status == STORE_FULL)
		assert_true(!is_there && !is_recovered);
}

/* NUL-terminated, owned by the caller. */
static char *content_of(size_t bytes)
{
	char *content = alloc_zeroed(bytes + 1, 1);
	memset(content, 'x', bytes);
	return content;
}

/* More than wal_autocheckpoint: its COMMIT checkpoints. */
enum { SMALL_BYTES = 6000, BIG_BYTES = 1010 * 4096 };

/* Writes one todo after the other; in each, one call fails: the first, the one `step` later, … until a write
 * passes untouched. */
static void fail_calls(enum fault fault, enum store_status expected, size_t bytes, unsigned step)
{
	struct database d = open_database();
	char *content = content_of(bytes);
	uint32_t number = 0;
	unsigned fail_at = 1, failures = 0;
	bool has_failed = true;
	assert_int_equal(fixture_write_one(d.writer, fixture_insert(number++, 0, "first")), STORE_OK);
	for (; has_failed; fail_at += step) {
		struct store_write write = fixture_insert(number, number, content), *pointer = &write;
		disk_fails(fault, fail_at);
		assert_int_equal(store_begin(d.writer), STORE_OK);
		store_write(d.writer, &pointer, 1);
		store_end(d.writer);
		has_failed = disk.calls >= fail_at;
		disk_fails(FAULT_NONE, 0);
		/* Where the checkpoint fails, the commit before it has succeeded. */
		assert_true(write.status == STORE_OK || (has_failed && write.status == expected));
		failures += write.status != STORE_OK;
		assert_explains(write.status, number++, d.reader);
		/* The same session goes on. */
		assert_int_equal(fixture_write_one(d.writer, fixture_insert(number, number, "next")),
				 STORE_OK);
		assert_explains(STORE_OK, number++, d.reader);
		if (bytes == BIG_BYTES) /* or each copy would be larger than the last */
			fixture_delete_all(d.writer, d.reader);
	}
	assert_true(failures > 0);
	free(content);
	close_database(&d);
	assert_integrity(fixture_dir_file(&dir));
}

static void writes_that_fail(void **state)
{
	(void)state;
	fail_calls(FAULT_WRITE_EIO, STORE_UNKNOWN, SMALL_BYTES, 1);
}

static void writes_without_space(void **state)
{
	(void)state;
	fail_calls(FAULT_WRITE_ENOSPC, STORE_FULL, SMALL_BYTES, 1);
}

static void syncs_that_fail(void **state)
{
	(void)state;
	fail_calls(FAULT_SYNC_EIO, STORE_UNKNOWN, SMALL_BYTES, 1);
}

static void checkpoints_that_fail(void **state)
{
	(void)state;
	fail_calls(FAULT_SYNC_EIO, STORE_UNKNOWN, BIG_BYTES, 1);
	fail_calls(FAULT_WRITE_ENOSPC, STORE_FULL, BIG_BYTES, 499);
}

static unsigned connections;

static int count_connection(sqlite3 *db, char **error, const struct sqlite3_api_routines *api)
{
	(void)db, (void)error, (void)api;
	connections++;
	return SQLITE_OK;
}

static void a_connection_that_failed_is_made_anew(void **state)
{
	(void)state;
	connections = 0;
	assert_int_equal(sqlite3_auto_extension((void (*)(void))count_connection), SQLITE_OK);
	struct database d = open_database();
	assert_int_equal(connections, 1); /* of the set-up */
	assert_int_equal(fixture_count(d.reader), 0);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(fixture_write_one(d.writer, fixture_insert(i, i, "secret")), STORE_OK);
	assert_int_equal(connections, 3);

	disk_fails(FAULT_READ_EIO, 1);
	struct todo_page *page = todo_page_new();
	const struct uuid id = fixture_id(1);
	assert_int_equal(store_begin(d.reader), STORE_OK);
	assert_int_equal(store_get(d.reader, &id, page), STORE_UNAVAILABLE);
	store_end(d.reader);
	todo_page_drop(page);
	assert_non_null(strstr(store_error(d.reader), fixture_dir_file(&dir)));
	assert_null(strstr(store_error(d.reader), "secret"));
	assert_int_equal(fixture_get(d.reader, 1), STORE_OK);
	assert_string_equal(store_error(d.reader), "");
	assert_int_equal(connections, 4);

	disk_fails(FAULT_SYNC_EIO, 1);
	assert_int_equal(fixture_write_one(d.writer, fixture_insert(5, 5, "secret")), STORE_UNKNOWN);
	assert_non_null(strstr(store_error(d.writer), "cannot commit in "));
	assert_non_null(strstr(store_error(d.writer), "disk I/O error"));
	assert_int_equal(fixture_write_one(d.writer, fixture_insert(6, 6, "secret")), STORE_OK);
	assert_int_equal(connections, 5);
	close_database(&d);
	sqlite3_reset_auto_extension();
}

static void closing_does_not_checkpoint(void **state)
{
	(void)state;
	struct database d = open_database();
	assert_int_equal(fixture_write_one(d.writer, fixture_insert(1, 1, "todo")), STORE_OK);
	close_database(&d);
	char wal[240];
	struct stat st;
	(void)snprintf(wal, sizeof(wal), "%s-wal", fixture_dir_file(&dir));
	assert_int_equal(stat(wal, &st), 0);
	assert_true(st.st_size > 0);
}

/* ---- processes that die ---- */

enum { CHILD_BATCHES = 3, CHILD_BATCH = 4 };

/* Writes numbers from `first` on in batches, and tells `fd` every acknowledged one. */
static void child_writes(int fd, uint32_t first, const char *content, unsigned kill_at)
{
	struct err err = {0};
	struct store *store = store_open(&settings, &err);
	struct store_session *writer = store_session_open(store, STORE_WRITE);
	disk_fails(FAULT_WRITE_KILL, kill_at);
	for (uint32_t batch = 0; batch < CHILD_BATCHES; batch++) {
		struct store_write writes[CHILD_BATCH], *pointers[CHILD_BATCH];
		for (uint32_t i = 0; i < CHILD_BATCH; i++) {
			uint32_t number = first + batch * CHILD_BATCH + i;
			writes[i] = fixture_insert(number, number, content);
			pointers[i] = &writes[i];
		}
		if (store_begin(writer) != STORE_OK)
			continue;
		store_write(writer, pointers, CHILD_BATCH);
		store_end(writer);
		for (uint32_t i = 0; i < CHILD_BATCH; i++) {
			uint32_t number = first + batch * CHILD_BATCH + i;
			if (writes[i].status == STORE_OK && write(fd, &number, sizeof(number)) < 0)
				_exit(1);
		}
	}
	store_session_close(writer);
	store_close(store);
	_exit(0);
}

/* The next writer proceeds, what was acknowledged is there, and of each batch all or nothing. */
static void check_after_child(int fd, uint32_t first, bool was_killed)
{
	struct database d = open_database();
	assert_int_equal(fixture_write_one(d.writer, fixture_insert(first + 99, 0, "next")), STORE_OK);
	uint32_t number, acknowledged = 0;
	for (; read(fd, &number, sizeof(number)) == sizeof(number); acknowledged++)
		assert_int_equal(fixture_get(d.reader, number), STORE_OK);
	assert_true(was_killed || acknowledged == CHILD_BATCHES * CHILD_BATCH);
	for (uint32_t batch = first; batch < first + CHILD_BATCHES * CHILD_BATCH; batch += CHILD_BATCH)
		for (uint32_t i = 1; i < CHILD_BATCH; i++)
			assert_int_equal(fixture_get(d.reader, batch + i), fixture_get(d.reader, batch));
	close_database(&d);
	assert_integrity(fixture_dir_file(&dir));
}

/* Kills one child after the other: at its first write to a file, at the one `step` later, … until one lives.
 */
static void kill_children(size_t bytes, unsigned step)
{
	struct err err = {0};
	assert_int_equal(store_setup(&settings, &err), 0);
	char *content = content_of(bytes);
	bool was_killed = true;
	unsigned kill_at = 1, kills = 0;
	for (uint32_t first = 0; was_killed; first += 100, kill_at += step) {
		int fds[2];
		assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
		pid_t pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			child_writes(fds[1], first, content, kill_at);
		close(fds[1]);
		int status = 0;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		assert_true(was_killed || status == 0);
		kills += was_killed;
		check_after_child(fds[0], first, was_killed);
		close(fds[0]);
	}
	assert_true(kills > 5);
	free(content);
}

static void a_kill_at_every_write(void **state)
{
	(void)state;
	kill_children(20, 1);
}

static void a_kill_in_a_checkpoint(void **state)
{
	(void)state;
	kill_children(BIG_BYTES / CHILD_BATCH, 997);
}

static void a_killed_holder_of_the_lock(void **state)
{
	(void)state;
	struct err err = {0};
	assert_int_equal(store_setup(&settings, &err), 0);
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct store *store = store_open(&settings, &err);
		struct store_session *writer = store_session_open(store, STORE_WRITE);
		char begun = store_begin(writer) == STORE_OK;
		if (write(fds[1], &begun, 1) == 1)
			for (;;)
				(void)pause();
		_exit(1);
	}
	close(fds[1]);
	char begun = 0;
	assert_int_equal(read(fds[0], &begun, 1), 1);
	assert_int_equal(begun, 1);
	close(fds[0]);
	char lock[240];
	(void)snprintf(lock, sizeof(lock), "%s.lock", fixture_dir_file(&dir));
	int fd = open(lock, O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
	close(fd);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	struct database d = open_database();
	assert_int_equal(fixture_write_one(d.writer, fixture_insert(1, 1, "next")), STORE_OK);
	close_database(&d);
	assert_integrity(fixture_dir_file(&dir));
}

enum { RACERS = 4, RACE_MS = 2000, RACE_BATCH = 16 };

/* Writes as fast as it can until the deadline; says how many were acknowledged. */
static void child_races(int fd, uint32_t first, int64_t deadline_ms)
{
	struct err err = {0};
	struct store *store = store_open(&settings, &err);
	struct store_session *writer = store_session_open(store, STORE_WRITE);
	uint32_t acknowledged = 0, number = first;
	while (clock_monotonic_ms() < deadline_ms) {
		struct store_write writes[RACE_BATCH], *pointers[RACE_BATCH];
		for (int i = 0; i < RACE_BATCH; i++, number++) {
			/* Scattered over the tree, so that there are pages to checkpoint. */
			writes[i] =
			    fixture_insert(number * UINT32_C(2654435761), number, "written in a race");
			pointers[i] = &writes[i];
		}
		if (store_begin(writer) != STORE_OK)
			continue;
		store_write(writer, pointers, RACE_BATCH);
		store_end(writer);
		for (int i = 0; i < RACE_BATCH; i++)
			acknowledged += writes[i].status == STORE_OK;
	}
	store_session_close(writer);
	store_close(store);
	_exit(write(fd, &acknowledged, sizeof(acknowledged)) == sizeof(acknowledged) ? 0 : 1);
}

static void many_processes_write_and_checkpoint(void **state)
{
	(void)state;
	struct err err = {0};
	assert_int_equal(store_setup(&settings, &err), 0);
	int64_t deadline_ms = clock_monotonic_ms() + RACE_MS;
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid_t pids[RACERS];
	for (uint32_t i = 0; i < RACERS; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0)
			child_races(fds[1], i << 28, deadline_ms);
	}
	close(fds[1]);
	uint32_t acknowledged = 0, one;
	for (int i = 0; i < RACERS; i++) {
		assert_int_equal(read(fds[0], &one, sizeof(one)), sizeof(one));
		assert_true(one > 0); /* nobody starves */
		acknowledged += one;
	}
	close(fds[0]);
	for (int i = 0; i < RACERS; i++) {
		int status = 0;
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	struct database d = open_database();
	assert_int_equal(fixture_count(d.reader), acknowledged);
	close_database(&d);
	assert_integrity(fixture_dir_file(&dir));
	/* There were checkpoints: the database grew without the WAL. */
	struct stat st;
	assert_int_equal(stat(fixture_dir_file(&dir), &st), 0);
	assert_true(st.st_size > 100 * 4096);
}

/* ---- inspection ---- */

static void what_an_inspection_finds(void **state)
{
	(void)state;
	struct stat st;
	fixture_assert_inspection(&settings, EXIT_CODE_OK,
				  "is not there yet; todod makes it when it starts\n");
	assert_int_equal(stat(fixture_dir_file(&dir), &st), -1);
	foreign_once("VACUUM");
	fixture_assert_inspection(&settings, EXIT_CODE_OK, "ok    schema: the database is empty");
	assert_int_equal(unlink(fixture_dir_file(&dir)), 0);

	struct database d = open_database();
	close_database(&d);
	fixture_assert_inspection(&settings, EXIT_CODE_OK,
				  "ok    durability: journal_mode=WAL, synchronous=FULL\n");
	foreign_once("DROP INDEX todos_by_age");
	fixture_assert_inspection(
	    &settings, EXIT_CODE_CONFIG,
	    "FAIL  index: todos_by_age is missing, every list reads every todo; stop todod "
	    "and run CREATE INDEX todos_by_age ON todos(created_at, id)\n");
	foreign_once("CREATE INDEX todos_by_age ON todos(created_at, id); PRAGMA journal_mode=DELETE");
	fixture_assert_inspection(
	    &settings, EXIT_CODE_CONFIG,
	    "FAIL  durability: journal_mode is not WAL, synchronous 2; start todod again");
	foreign_once("PRAGMA user_version=9");
	fixture_assert_inspection(&settings, EXIT_CODE_CONFIG, "FAIL  schema: ");
}

static void an_inspection_where_nothing_can_be_made(void **state)
{
	(void)state;
	char uri[240];
	(void)snprintf(uri, sizeof(uri), "%s/below/a.db", dir.uri);
	foreign_once("VACUUM");
	settings.uri = uri;
	fixture_assert_inspection(&settings, EXIT_CODE_CANNOT_CREATE, strerror(ENOTDIR));

	/* Files of another user: the doctor was asked as the wrong one. */
	settings.uri = dir.uri;
	assert_int_equal(chmod(dir.path, 0555), 0);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		enum exit_code code;
		if (geteuid() == 0 && setuid(65534) != 0)
			_exit(1);
		char *text = fixture_inspect(&settings, &code);
		bool is_said = strstr(text, "cannot be read and written by user ");
		_exit(is_said ? (int)code : 2);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(chmod(dir.path, 0700), 0);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EXIT_CODE_NO_PERMISSION);
}

/* Another program is another name: ours, as the kernel shows it, is "test_sqlite". */
static void an_inspection_beside_another_program(void **state)
{
	(void)state;
	static const char bug[] = "has the WAL-reset bug, and sleep[";
	struct database d = open_database();
	close_database(&d);
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)open(fixture_dir_file(&dir), O_RDONLY); /* and stays open in what runs here */
		execlp("sleep", "sleep", "60", (char *)NULL);
		_exit(127);
	}
	enum exit_code code;
	char *text;
	int64_t deadline_ms = clock_monotonic_ms() + 10000;
	while (text = fixture_inspect(&settings, &code), !strstr(text, bug)) {
		assert_true(clock_monotonic_ms() < deadline_ms);
		free(text);
	}
	assert_int_equal(code, EXIT_CODE_OK);
	assert_non_null(strstr(text, "warn  SQLite: "));
	free(text);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	fixture_assert_inspection(&settings, EXIT_CODE_OK, "to which this set-up is not exposed");
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, make_dir, remove_dir)
	const struct CMUnitTest tests[] = {
	    CASE(uris_that_are_wrong),
	    CASE(a_claim_is_exclusive),
	    CASE(a_claim_that_was_left_is_told_from_one_that_has_ended),
	    CASE(a_claim_makes_directories),
	    CASE(places_where_nothing_can_be_made),
	    CASE(a_directory_without_permission),
	    CASE(files_are_private),
	    CASE(a_newer_schema_is_refused),
	    CASE(a_file_that_is_no_database),
	    CASE(a_foreign_database_stays_as_it_is),
	    CASE(a_session_waits_for_the_set_up),
	    CASE(names_that_mean_something_to_sqlite),
	    CASE(a_full_database),
	    CASE(an_id_that_is_lost),
	    CASE(nothing_is_in_doubt),
	    CASE(a_foreign_transaction),
	    CASE(a_lock_that_is_held),
	    CASE(writes_that_fail),
	    CASE(writes_without_space),
	    CASE(syncs_that_fail),
	    CASE(checkpoints_that_fail),
	    CASE(a_connection_that_failed_is_made_anew),
	    CASE(closing_does_not_checkpoint),
	    CASE(a_kill_at_every_write),
	    CASE(a_kill_in_a_checkpoint),
	    CASE(a_killed_holder_of_the_lock),
	    CASE(many_processes_write_and_checkpoint),
	    CASE(what_an_inspection_finds),
	    CASE(an_inspection_where_nothing_can_be_made),
	    CASE(an_inspection_beside_another_program),
	};
	disk_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

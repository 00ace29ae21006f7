/*
 * Todos in one SQLite file, in WAL mode, shared by several processes.
 *
 * Invariants:
 *   - A connection belongs to one session, hence to one thread, and is made after fork.
 *   - Whoever writes, and whoever checkpoints, holds flock(2) on PATH.lock: SQLite up to 3.51.2 can damage a
 *     WAL that one process writes while another checkpoints it (sqlite.org/wal.html, "the WAL-reset bug"). So
 *     checkpoints run only inside COMMIT (wal_autocheckpoint), never when a connection closes. The kernel
 *     drops the lock of a process that dies, and SQLite ignores what it had not committed.
 *   - The lock also queues the writers: with the busy handler alone some of them starve.
 *   - PATH.owner is locked by the one daemon that serves this file (sqlite_claim).
 *   - A database file is never opened past SQLite while a connection may exist: closing any descriptor of it
 *     would drop the process's POSIX locks (sqlite.org/howtocorrupt.html section 2.2).
 *
 * A write session: begin takes the lock and BEGIN IMMEDIATE, write runs all writes and COMMIT, end rolls back
 * what is open and drops the lock. Reads are single statements, reset at once: an open read transaction would
 * keep the WAL from being reused.
 */
#include "store/driver.h"

#include "base/clock.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum {
	SCHEMA_VERSION = 1,
	APPLICATION_ID = 0x746f646f, /* "todo": what file(1) and we know our files by */
	SETUP_LOCK_POLL_NS = 1000000,
	SYNCHRONOUS_FULL = 2, /* what PRAGMA synchronous says of FULL */
	ERROR_BYTES = 512
};

#define SCHEME "sqlite:"

#define INDEX_SQL "CREATE INDEX todos_by_age ON todos(created_at, id)"

static const char schema_sql[] =
    "CREATE TABLE todos(id BLOB PRIMARY KEY CHECK(length(id)=16), content TEXT NOT NULL, "
    "created_at REAL NOT NULL, is_finished INTEGER NOT NULL DEFAULT 0, finished_at REAL) "
    "STRICT, WITHOUT ROWID;" INDEX_SQL ";"
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT) STRICT;";

enum statement {
	SQL_BEGIN,
	SQL_COMMIT,
	SQL_ROLLBACK,
	SQL_ID,
	SQL_GET,
	SQL_PAGE,
	SQL_PAGE_START,
	SQL_PAGE_AFTER,
	SQL_INSERT,
	SQL_FINISH,
	SQL_DELETE,
	SQL_COUNT
};

#define COLUMNS "id, content, created_at, is_finished, finished_at"
#define NEWEST  "ORDER BY created_at DESC, id DESC "

/* Skips in the index alone, which holds all that the order needs, and fetches only the page's rows. */
static const char page_start_sql[] = "SELECT " COLUMNS " FROM todos "
				     "WHERE (created_at, id) <= (SELECT created_at, id FROM todos " NEWEST
				     "LIMIT 1 OFFSET ?2) " NEWEST "LIMIT ?1";

static const char page_after_sql[] =
    "SELECT " COLUMNS " FROM todos WHERE (created_at, id) < (?2, ?3) " NEWEST "LIMIT ?1";

static const char finish_sql[] =
    "UPDATE todos SET is_finished = 1, finished_at = ?2 WHERE id = ?1 AND is_finished = 0";

static const struct {
	const char *what; /* for the log */
	const char *sql;
} statements[SQL_COUNT] = {
    [SQL_BEGIN] = {"begin",     "BEGIN IMMEDIATE"                                          },
    [SQL_COMMIT] = {"commit",    "COMMIT"						   },
    [SQL_ROLLBACK] = {"roll back", "ROLLBACK"						 },
    [SQL_ID] = {"read id",   "SELECT value FROM meta WHERE key = 'id'"                  },
    [SQL_GET] = {"get",       "SELECT " COLUMNS " FROM todos WHERE id = ?1"              },
    [SQL_PAGE] = {"list",      "SELECT " COLUMNS " FROM todos " NEWEST "LIMIT ?1"         },
    [SQL_PAGE_START] = {"list",      page_start_sql                                             },
    [SQL_PAGE_AFTER] = {"list",      page_after_sql                                             },
    [SQL_INSERT] = {"insert",    "INSERT INTO todos(" COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5)"},
    [SQL_FINISH] = {"finish",    finish_sql						 },
    [SQL_DELETE] = {"delete",    "DELETE FROM todos WHERE id = ?1"                          },
};

struct sqlite_store {
	struct store base;
	char *path;      /* as SQLite wants it, see database_path */
	char *lock_path; /* PATH.lock */
	uint32_t timeout_ms;
};

struct sqlite_session {
	struct store_session base;
	const struct sqlite_store *store;
	int lock_fd;                       /* PATH.lock, of a write session; -1 until the first begin */
	sqlite3 *db;                       /* NULL until the first begin, and after an error that breaks it */
	sqlite3_stmt *prepared[SQL_COUNT]; /* made at first use, live as long as db */
	bool is_broken;                    /* db has to be closed before its next use */
	char error[ERROR_BYTES];
};

/* ---- paths ---- */

static char *join(const char *a, const char *b)
{
	struct buf joined = BUF_INIT;
	buf_append_str(&joined, a);
	buf_append(&joined, b, strlen(b) + 1);
	return joined.data;
}

/* Returns owned. With a slash in front SQLite takes neither ":memory:" nor "file:…" for something else. */
static char *database_path(const char *uri)
{
	const char *path = uri + strlen(SCHEME);
	return path[0] == '/' ? join(path, "") : join("./", path);
}

static enum exit_code exit_code_of(int errno_value)
{
	return errno_value == EACCES || errno_value == EPERM ? EXIT_CODE_NO_PERMISSION
							     : EXIT_CODE_CANNOT_CREATE;
}

static int sqlite_check(const char *uri, struct err *err)
{
	const char *path = uri + strlen(SCHEME);
	size_t len = strlen(path);
	if (len == 0)
		return err_set(err, EXIT_CODE_CONFIG, "sqlite: needs the path of a file behind it");
	if (path[len - 1] == '/')
		return err_set(err, EXIT_CODE_CONFIG, "%s is a directory: sqlite: needs the path of a file",
			       path);
	if (strcmp(path, ":memory:") == 0)
		return err_set(
		    err, EXIT_CODE_CONFIG,
		    "sqlite::memory: cannot be shared between processes: a path of a file is needed");
	return 0;
}

static int make_directories(const char *path, struct err *err)
{
	char *directory = join(path, "");
	int result = 0;
	for (char *slash = directory + 1; result == 0 && (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (mkdir(directory, 0700) != 0 && errno != EEXIST)
			result = err_set(err, exit_code_of(errno), "cannot create the directory %s: %s",
					 directory, strerror(errno));
		*slash = '/';
	}
	free(directory);
	return result;
}

/* The shared memory of a WAL exists on one machine only (sqlite.org/wal.html). */
static int refuse_network(const char *path, int fd, struct err *err)
{
	static const struct {
		uint32_t magic;
		const char *name;
	} networks[] = {
	    {NFS_SUPER_MAGIC,  "NFS" },
            {SMB_SUPER_MAGIC,  "SMB" },
            {CIFS_SUPER_MAGIC, "CIFS"},
	    {SMB2_SUPER_MAGIC, "SMB" },
            {AFS_SUPER_MAGIC,  "AFS" },
            {AFS_FS_MAGIC,     "AFS" },
	    {CEPH_SUPER_MAGIC, "Ceph"}
        };
	struct statfs fs;
	if (fstatfs(fd, &fs) != 0)
		return 0;
	for (size_t i = 0; i < sizeof(networks) / sizeof(networks[0]); i++)
		if ((uint32_t)fs.f_type == networks[i].magic)
			return err_set(
			    err, EXIT_CODE_CONFIG,
			    "%s is on a network filesystem (%s), where SQLite cannot share it between "
			    "processes: choose a local one",
			    path, networks[i].name);
	return 0;
}

static int sqlite_claim(const char *uri, struct err *err)
{
	if (sqlite_check(uri, err) != 0)
		return -1;
	const char *path = uri + strlen(SCHEME);
	char *owner = join(path, ".owner");
	int fd = -1, result = -1;
	if (make_directories(path, err) != 0)
		goto out;
	fd = open(owner, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		err_set(err, exit_code_of(errno), "cannot create %s: %s", owner, strerror(errno));
		goto out;
	}
	if (refuse_network(path, fd, err) != 0)
		goto out;
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno == EWOULDBLOCK)
			err_set(err, EXIT_CODE_ALREADY_RUNNING, "%s is in use by another todod", path);
		else
			err_set(err, exit_code_of(errno), "cannot lock %s: %s", owner, strerror(errno));
		goto out;
	}
	result = fd;
	fd = -1;
out:
	if (fd >= 0)
		close(fd);
	free(owner);
	return result;
}

static int open_lock(const char *lock_path)
{
	return open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

/* ---- connections ---- */

/* What both kinds of connections need. Returns an SQLite result code. */
static int configure(sqlite3 *db, uint32_t timeout_ms)
{
	int rc = sqlite3_extended_result_codes(db, 1);
	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_busy_timeout(db, (int)timeout_ms);
	if (rc == SQLITE_OK)
		rc =
		    sqlite3_exec(db,
				 "PRAGMA synchronous=FULL; PRAGMA cache_size=-8000; PRAGMA temp_store=MEMORY;"
				 "PRAGMA trusted_schema=OFF; PRAGMA mmap_size=0;"
				 "PRAGMA wal_autocheckpoint=1000; PRAGMA journal_size_limit=67108864;",
				 NULL, NULL, NULL);
	return rc;
}

/* The integer that `sql` yields in its one row. Returns an SQLite result code. */
static int read_integer(sqlite3 *db, const char *sql, sqlite3_int64 *value)
{
	sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &stmt, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	if (rc == SQLITE_ROW) {
		*value = sqlite3_column_int64(stmt, 0);
		rc = SQLITE_OK;
	} else if (rc == SQLITE_DONE) {
		rc = SQLITE_CORRUPT;
	}
	/* It repeats the error of the step, which is known already. */
	(void)sqlite3_finalize(stmt);
	return rc;
}

/* "disk I/O error (522, No space left on device)". Of `db` (may be NULL) only what belongs to this `rc`. */
static void explain(char *text, size_t size, sqlite3 *db, int rc)
{
	bool is_latest = db && sqlite3_extended_errcode(db) == rc;
	bool is_from_system = (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN;
	int os_error = is_latest && is_from_system ? sqlite3_system_errno(db) : 0;
	(void)snprintf(text, size, "%s (%d%s%s)", is_latest ? sqlite3_errmsg(db) : sqlite3_errstr(rc), rc,
		       os_error ? ", " : "", os_error ? strerror(os_error) : "");
}

/* ---- set-up ---- */

/* One line for the operator, and whether trying again may help. */
static int setup_failed(sqlite3 *db, int rc, const char *path, struct err *err)
{
	enum exit_code code = EXIT_CODE_UNAVAILABLE;
	char reason[ERROR_BYTES];
	explain(reason, sizeof(reason), db, rc);
	switch (rc & 0xff) {
	case SQLITE_NOTADB: return err_set(err, EXIT_CODE_CONFIG, "%s is not a SQLite database", path);
	case SQLITE_CORRUPT: return err_set(err, EXIT_CODE_CONFIG, "%s is damaged: %s", path, reason);
	case SQLITE_READONLY:
	case SQLITE_PERM: code = EXIT_CODE_NO_PERMISSION; break;
	case SQLITE_CANTOPEN: code = exit_code_of(sqlite3_system_errno(db)); break;
	}
	return err_set(err, code, "cannot set up %s: %s", path, reason);
}

/* Makes an empty file that nobody else may read, where there is none: SQLite would use the umask, and gives
 * -wal and -shm the mode of the database. O_EXCL: an existing file is not opened here (see the invariants).
 */
static int make_private_file(const char *path, struct err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd >= 0)
		close(fd);
	else if (errno != EEXIST)
		return err_set(err, errno == ENOSPC ? EXIT_CODE_UNAVAILABLE : exit_code_of(errno),
			       "cannot create %s: %s", path, strerror(errno));
	return 0;
}

/* Polls, unlike a writer, who queues: a set-up that waited for ever would say nothing. */
static int lock_for_setup(int fd, const char *lock_path, uint32_t timeout_ms, struct err *err)
{
	const struct timespec pause = {0, SETUP_LOCK_POLL_NS};
	int64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_set(err, EXIT_CODE_UNAVAILABLE, "cannot lock %s: %s", lock_path,
				       strerror(errno));
		if (clock_monotonic_ms() >= deadline_ms)
			return err_set(err, EXIT_CODE_UNAVAILABLE, "%s is locked by a writer for over %u ms",
				       lock_path, (unsigned)timeout_ms);
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

enum owner { OWNER_ERROR = -1, OWNER_NOBODY, OWNER_TODOD };

/* Whose database is it? Changes nothing, not even the journal mode. */
static enum owner examine(sqlite3 *db, const char *path, struct err *err)
{
	sqlite3_int64 application = 0, version = 0, objects = 0;
	int rc = read_integer(db, "PRAGMA application_id", &application);
	if (rc == SQLITE_OK)
		rc = read_integer(db, "PRAGMA user_version", &version);
	if (rc == SQLITE_OK)
		rc = read_integer(db, "SELECT count(*) FROM sqlite_schema", &objects);
	if (rc != SQLITE_OK)
		return (enum owner)setup_failed(db, rc, path, err);

	bool is_ours = application == APPLICATION_ID, is_empty = application == 0 && objects == 0;
	if ((is_ours || is_empty) && version > SCHEMA_VERSION)
		return (enum owner)
		    err_set(err, EXIT_CODE_CONFIG,
			    "%s holds schema version %lld, this todod knows %d: a newer todod made it", path,
			    (long long)version, SCHEMA_VERSION);
	if (is_ours && version == SCHEMA_VERSION)
		return OWNER_TODOD;
	if (is_empty && version == 0)
		return OWNER_NOBODY;
	return (enum owner)err_set(err, EXIT_CODE_CONFIG,
				   "%s is the database of another program: it is left as it is", path);
}

/* WAL is a property of the file, not of the connection. */
static int set_wal(sqlite3 *db, const char *path, struct err *err)
{
	sqlite3_stmt *stmt = NULL;
	int result = 0, rc = sqlite3_prepare_v2(db, "PRAGMA journal_mode=WAL", -1, &stmt, NULL);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	const char *mode = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
	if (rc != SQLITE_ROW)
		result = setup_failed(db, rc, path, err);
	else if (!mode || strcmp(mode, "wal") != 0)
		result = err_set(err, EXIT_CODE_CANNOT_CREATE,
				 "%s is on a filesystem without shared memory, which SQLite's WAL mode needs",
				 path);
	(void)sqlite3_finalize(stmt); /* repeats the error of the step */
	return result;
}

static int create_schema(sqlite3 *db)
{
	struct uuid id;
	char text[UUID_TEXT_BYTES];
	uuid_make(&id, clock_wall_us());
	uuid_to_text(&id, text);
	struct buf sql = BUF_INIT;
	buf_append_str(&sql, schema_sql);
	buf_printf(&sql, "INSERT INTO meta VALUES('id', '%.*s');", UUID_TEXT_BYTES, text);
	buf_printf(&sql, "PRAGMA application_id=%d; PRAGMA user_version=%d;", APPLICATION_ID, SCHEMA_VERSION);
	buf_append(&sql, "", 1);
	int rc = sqlite3_exec(db, sql.data, NULL, NULL, NULL);
	buf_release(&sql);
	return rc;
}

static int setup_database(sqlite3 *db, const char *path, uint32_t timeout_ms, struct err *err)
{
	int rc = configure(db, timeout_ms);
	if (rc != SQLITE_OK)
		return setup_failed(db, rc, path, err);
	if (examine(db, path, err) == OWNER_ERROR || set_wal(db, path, err) != 0)
		return -1;
	rc = sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return setup_failed(db, rc, path, err);
	/* Again: somebody without our lock may have been here in between. */
	enum owner owner = examine(db, path, err);
	if (owner == OWNER_NOBODY)
		rc = create_schema(db);
	if (owner != OWNER_ERROR && rc == SQLITE_OK)
		rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
	if (owner != OWNER_ERROR && rc != SQLITE_OK)
		setup_failed(db, rc, path, err);
	/* An open transaction ends with the connection. */
	return owner != OWNER_ERROR && rc == SQLITE_OK ? 0 : -1;
}

static int sqlite_setup(const struct store_settings *settings, struct err *err)
{
	char *path = database_path(settings->uri), *lock_path = join(path, ".lock");
	sqlite3 *db = NULL;
	int result = -1, lock_fd = open_lock(lock_path);
	if (lock_fd < 0) {
		err_set(err, exit_code_of(errno), "cannot create %s: %s", lock_path, strerror(errno));
		goto out;
	}
	if (lock_for_setup(lock_fd, lock_path, settings->timeout_ms, err) != 0 ||
	    make_private_file(path, err) != 0)
		goto out;
	int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc != SQLITE_OK)
		setup_failed(db, rc, path, err);
	else if (sqlite3_db_readonly(db, "main") == 1)
		err_set(err, EXIT_CODE_NO_PERMISSION, "%s may be read but not written", path);
	else
		result = setup_database(db, path, settings->timeout_ms, err);
out:
	(void)sqlite3_close(db); /* no statement is left that it could object to */
	if (lock_fd >= 0)
		close(lock_fd); /* and with it the lock */
	free(lock_path);
	free(path);
	return result;
}

/* ---- inspection ---- */

/* The name of a process's program, without its directory; empty when that cannot be seen. */
static void program_of(const char *pid, char *name, size_t size)
{
	char link[64], target[PATH_MAX];
	(void)snprintf(link, sizeof(link), "/proc/%.20s/exe", pid);
	ssize_t len = readlink(link, target, sizeof(target) - 1);
	target[len < 0 ? 0 : len] = '\0';
	/* An upgraded program still runs from a file that is gone. */
	char *deleted = strstr(target, " (deleted)");
	if (deleted)
		*deleted = '\0';
	const char *slash = strrchr(target, '/');
	(void)snprintf(name, size, "%.40s", slash ? slash + 1 : target);
}

static bool has_open(const char *pid, const struct stat *file)
{
	char path[64];
	(void)snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	DIR *directory = opendir(path);
	bool found = false;
	for (struct dirent *entry; directory && !found && (entry = readdir(directory));) {
		struct stat st;
		found = fstatat(dirfd(directory), entry->d_name, &st, 0) == 0 && st.st_dev == file->st_dev &&
			st.st_ino == file->st_ino;
	}
	if (directory)
		(void)closedir(directory);
	return found;
}

/* "sqlite3[123]": a process of another program that has the file open, as far as this user may see. */
static bool find_stranger(const char *path, char *name, size_t size)
{
	char own[48], program[48];
	struct stat file;
	DIR *processes = stat(path, &file) == 0 ? opendir("/proc") : NULL;
	bool found = false;
	program_of("self", own, sizeof(own));
	for (struct dirent *entry; processes && !found && (entry = readdir(processes));) {
		if (!isdigit((unsigned char)entry->d_name[0]) || !has_open(entry->d_name, &file))
			continue;
		program_of(entry->d_name, program, sizeof(program));
		found = program[0] && strcmp(program, own) != 0;
		(void)snprintf(name, size, "%s[%.20s]", program, entry->d_name);
	}
	if (processes)
		(void)closedir(processes);
	return found;
}

/* sqlite.org/wal.html, "the WAL-reset bug": mended in 3.51.3, and in two older lines. */
static bool has_wal_bug(int version)
{
	static const struct {
		int from, below;
	} mended[] = {
	    {3044006, 3045000},
            {3050007, 3051000},
            {3051003, INT_MAX}
        };
	for (size_t i = 0; i < sizeof(mended) / sizeof(mended[0]); i++)
		if (version >= mended[i].from && version < mended[i].below)
			return false;
	return true;
}

static void inspect_library(const char *path, struct report *report)
{
	const char *version = sqlite3_libversion();
	char stranger[80];
	if (!has_wal_bug(sqlite3_libversion_number()))
		report_ok(report, "SQLite", "%s, in which the WAL-reset bug is mended", version);
	else if (find_stranger(path, stranger, sizeof(stranger)))
		report_warn(report, "SQLite",
			    "%s has the WAL-reset bug, and %s has %s open; let it only read while todod "
			    "runs, or install SQLite 3.51.3",
			    version, stranger, path);
	else
		report_ok(report, "SQLite",
			  "%s has the WAL-reset bug (mended in 3.51.3), to which this set-up is not exposed: "
			  "todod holds one lock around every write and checkpoint, and no other program has "
			  "the file open",
			  version);
}

static void inspect_durability(sqlite3 *db, struct report *report)
{
	sqlite3_int64 synchronous = 0, is_wal = 0;
	int rc = read_integer(db, "PRAGMA synchronous", &synchronous);
	if (rc == SQLITE_OK)
		rc = read_integer(db, "SELECT journal_mode = 'wal' FROM pragma_journal_mode", &is_wal);
	if (rc != SQLITE_OK)
		report_fail(report, EXIT_CODE_UNAVAILABLE, "durability", "%s", sqlite3_errmsg(db));
	else if (!is_wal || synchronous < SYNCHRONOUS_FULL)
		report_fail(report, EXIT_CODE_CONFIG, "durability",
			    "journal_mode is %sWAL, synchronous %lld; start todod again, which sets both",
			    is_wal ? "" : "not ", (long long)synchronous);
	else
		report_ok(report, "durability", "journal_mode=WAL, synchronous=FULL");
}

static void inspect_schema(sqlite3 *db, const char *path, struct report *report)
{
	struct err err;
	sqlite3_int64 indexes = 0;
	enum owner owner = examine(db, path, &err);
	if (owner == OWNER_ERROR) {
		report_fail(report, err.code, "schema", "%s", err.text);
		return;
	}
	if (owner == OWNER_NOBODY) {
		report_ok(report, "schema",
			  "the database is empty; todod makes tables and index when it starts");
		return;
	}
	report_ok(report, "schema", "version %d", SCHEMA_VERSION);
	inspect_durability(db, report);
	int rc =
	    read_integer(db,
			 "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name = 'todos_by_age'",
			 &indexes);
	if (rc == SQLITE_OK && indexes == 1)
		report_ok(report, "index", "todos_by_age is there");
	else
		report_fail(
		    report, EXIT_CODE_CONFIG, "index",
		    "todos_by_age is missing, every list reads every todo; stop todod and run " INDEX_SQL);
}

/* Past SQLite, which would make a file that is missing. */
static bool inspect_file(const char *path, struct report *report)
{
	if (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) == 0) {
		report_ok(report, "store", "%s can be read and written", path);
		return true;
	}
	if (errno == ENOENT)
		report_ok(report, "store", "%s is not there yet; todod makes it when it starts", path);
	else
		report_fail(
		    report, exit_code_of(errno), "store",
		    "%s cannot be read and written by user %u: %s; ask as the user that todod runs as", path,
		    (unsigned)geteuid(), strerror(errno));
	return false;
}

static void inspect_directory(const char *path, const char *directory, int fd, struct report *report)
{
	struct err err;
	struct statvfs space;
	if (faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) != 0)
		report_fail(report, exit_code_of(errno), "store",
			    "nothing can be made in %s by user %u: %s; ask as the user that todod runs as",
			    directory, (unsigned)geteuid(), strerror(errno));
	if (refuse_network(path, fd, &err) != 0)
		report_fail(report, err.code, "store", "%s", err.text);
	if (fstatvfs(fd, &space) == 0 && space.f_blocks > 0)
		store_report_space(report, (double)space.f_bavail * (double)space.f_frsize,
				   (double)space.f_blocks * (double)space.f_frsize);
}

/* The nearest directory above `path` that exists: todod makes those below it. Returns a descriptor or -1; `path` is cut to its name. */
static int open_nearest(char *path)
{
	for (;;) {
		char *directory = dirname(path);
		int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		memmove(path, directory, strlen(directory) + 1);
		if (fd >= 0 || errno != ENOENT || strcmp(path, ".") == 0 || strcmp(path, "/") == 0)
			return fd;
	}
}

static void inspect_database(const char *path, uint32_t timeout_ms, struct report *report)
{
	sqlite3 *db = NULL;
	int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc == SQLITE_OK)
		rc = configure(db, timeout_ms);
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(db, "PRAGMA query_only=ON", NULL, NULL, NULL);
	if (rc == SQLITE_OK) {
		inspect_schema(db, path, report);
	} else {
		char reason[ERROR_BYTES];
		explain(reason, sizeof(reason), db, rc);
		report_fail(report, EXIT_CODE_UNAVAILABLE, "store", "%s: %s", path, reason);
	}
	(void)sqlite3_close(db); /* no statement is left that it could object to */
}

static void sqlite_inspect(const struct store_settings *settings, struct report *report)
{
	struct err err;
	if (sqlite_check(settings->uri, &err) != 0) {
		report_fail(report, err.code, "store", "%s", err.text);
		return;
	}
	char *path = database_path(settings->uri), *directory = join(path, "");
	bool is_usable = inspect_file(path, report);
	int fd = open_nearest(directory);
	if (fd >= 0) {
		inspect_directory(path, directory, fd, report);
		close(fd);
	} else {
		report_fail(report, exit_code_of(errno), "store", "%s: %s", directory, strerror(errno));
	}
	if (is_usable)
		inspect_database(path, settings->timeout_ms, report);
	inspect_library(path, report);
	free(directory);
	free(path);
}

/* ---- store and sessions ---- */

static struct store *sqlite_open(const struct store_settings *settings, struct err *err)
{
	if (sqlite_check(settings->uri, err) != 0)
		return NULL;
	struct sqlite_store *store = alloc_zeroed(1, sizeof(*store));
	store->base.ops = &sqlite_ops;
	store->path = database_path(settings->uri);
	store->lock_path = join(store->path, ".lock");
	store->timeout_ms = settings->timeout_ms;
	return &store->base;
}

static void sqlite_close(struct store *base)
{
	struct sqlite_store *store = (struct sqlite_store *)base;
	free(store->path);
	free(store->lock_path);
	free(store);
}

static struct store_session *sqlite_session_open(struct store *store, enum store_access access)
{
	struct sqlite_session *s = alloc_zeroed(1, sizeof(*s));
	s->base.ops = &sqlite_ops;
	s->base.access = access;
	s->store = (const struct sqlite_store *)store;
	s->lock_fd = -1;
	return &s->base;
}

static void disconnect(struct sqlite_session *s)
{
	for (int i = 0; i < SQL_COUNT; i++) {
		(void)sqlite3_finalize(s->prepared[i]); /* repeats an error that was reported */
		s->prepared[i] = NULL;
	}
	(void)sqlite3_close(s->db); /* no statement is left that it could object to */
	s->db = NULL;
	s->is_broken = false;
}

static void sqlite_session_close(struct store_session *base)
{
	struct sqlite_session *s = (struct sqlite_session *)base;
	disconnect(s);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	free(s);
}

static void set_error(struct sqlite_session *s, const char *what, const char *reason)
{
	(void)snprintf(s->error, sizeof(s->error), "cannot %s in %s: %s", what, s->store->path, reason);
}

/* Errors after which nothing is certain about the connection, or about the file behind it. */
static bool breaks_connection(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_IOERR:
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_CANTOPEN:
	case SQLITE_READONLY:
	case SQLITE_NOMEM:
	case SQLITE_MISUSE:
	case SQLITE_PROTOCOL:
	case SQLITE_PERM: return true;
	default: return false;
	}
}

/* Remembers a failed call, and that the connection has to be made anew where it has. */
static void note_failure(struct sqlite_session *s, const char *what, int rc)
{
	char reason[ERROR_BYTES / 2];
	explain(reason, sizeof(reason), s->db, rc);
	set_error(s, what, reason);
	s->is_broken = s->is_broken || breaks_connection(rc);
}

static bool connect_database(struct sqlite_session *s)
{
	if (s->is_broken)
		disconnect(s);
	if (s->db)
		return true;
	/* A reader needs to write, too: to the shared memory of the WAL. */
	int rc = sqlite3_open_v2(s->store->path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc == SQLITE_OK)
		rc = configure(s->db, s->store->timeout_ms);
	if (rc == SQLITE_OK && s->base.access == STORE_READ)
		rc = sqlite3_exec(s->db, "PRAGMA query_only=ON", NULL, NULL, NULL);
	sqlite3_int64 version = 0;
	if (rc == SQLITE_OK)
		rc = read_integer(s->db, "PRAGMA user_version", &version);
	if (rc == SQLITE_OK && version == SCHEMA_VERSION)
		return true;
	if (rc == SQLITE_OK) {
		char reason[80];
		(void)snprintf(reason, sizeof(reason), "schema version %lld, this todod knows %d",
			       (long long)version, SCHEMA_VERSION);
		set_error(s, "open the todos", reason);
	} else {
		note_failure(s, "open the database", rc);
	}
	s->is_broken = true;
	return false;
}

/* The statement, reset and without bindings that matter, or NULL. */
static sqlite3_stmt *prepare(struct sqlite_session *s, enum statement which)
{
	if (!s->prepared[which]) {
		int rc = sqlite3_prepare_v3(s->db, statements[which].sql, -1, SQLITE_PREPARE_PERSISTENT,
					    &s->prepared[which], NULL);
		if (rc != SQLITE_OK) {
			note_failure(s, statements[which].what, rc);
			s->is_broken = true; /* another schema than ours: look again */
			return NULL;
		}
	}
	return s->prepared[which];
}

/* Ends a statement that was stepped to `rc`; returns rc. */
static int settle(struct sqlite_session *s, enum statement which, int rc)
{
	if (rc != SQLITE_DONE && rc != SQLITE_ROW)
		note_failure(s, statements[which].what, rc);
	(void)sqlite3_reset(s->prepared[which]); /* repeats the error of the step */
	return rc;
}

/* Runs a statement without parameters and rows. Returns SQLITE_DONE or the error. */
static int run(struct sqlite_session *s, enum statement which)
{
	sqlite3_stmt *stmt = prepare(s, which);
	return stmt ? settle(s, which, sqlite3_step(stmt)) : SQLITE_ERROR;
}

static bool is_in_transaction(const struct sqlite_session *s)
{
	return sqlite3_get_autocommit(s->db) == 0;
}

/* SQLite has rolled back by itself after some errors. Where it cannot, closing the connection does. */
static void roll_back(struct sqlite_session *s)
{
	char error[ERROR_BYTES];
	memcpy(error, s->error, sizeof(error));
	if (is_in_transaction(s) && run(s, SQL_ROLLBACK) != SQLITE_DONE)
		s->is_broken = true;
	if (error[0])
		memcpy(s->error, error, sizeof(error)); /* the first error is the cause */
	if (s->is_broken)
		disconnect(s);
}

/* Queues in the kernel, without a deadline: a holder that stands still is a process that its master replaces,
 * and the requests behind this thread have deadlines of their own. */
static bool take_lock(struct sqlite_session *s)
{
	if (s->lock_fd < 0)
		s->lock_fd = open_lock(s->store->lock_path);
	int rc = -1;
	if (s->lock_fd >= 0)
		do
			rc = flock(s->lock_fd, LOCK_EX);
		while (rc != 0 && errno == EINTR);
	if (rc != 0)
		set_error(s, "take the write lock", strerror(errno));
	return rc == 0;
}

static void drop_lock(struct sqlite_session *s)
{
	if (flock(s->lock_fd, LOCK_UN) != 0) {
		close(s->lock_fd);
		s->lock_fd = -1;
	}
}

static enum store_status sqlite_begin(struct store_session *base)
{
	struct sqlite_session *s = (struct sqlite_session *)base;
	s->error[0] = '\0';
	if (base->access == STORE_READ)
		return connect_database(s) ? STORE_OK : STORE_UNAVAILABLE;
	if (!take_lock(s))
		return STORE_UNAVAILABLE;
	if (connect_database(s) && run(s, SQL_BEGIN) == SQLITE_DONE)
		return STORE_OK;
	drop_lock(s);
	return STORE_UNAVAILABLE;
}

static void sqlite_end(struct store_session *base)
{
	struct sqlite_session *s = (struct sqlite_session *)base;
	if (base->access == STORE_READ)
		return;
	if (s->db)
		roll_back(s);
	drop_lock(s);
}

static const char *sqlite_error(const struct store_session *base)
{
	return ((const struct sqlite_session *)base)->error;
}

/* ---- reads ---- */

/* The todo of the current row; its content is a view until the statement's next step. Returns false for a row
 * that no todod has written. */
static bool read_row(sqlite3_stmt *stmt, struct todo *todo)
{
	const void *id = sqlite3_column_blob(stmt, 0);
	const unsigned char *content = sqlite3_column_text(stmt, 1);
	if (!id || !content || sqlite3_column_bytes(stmt, 0) != UUID_BYTES)
		return false;
	memcpy(todo->id.bytes, id, UUID_BYTES);
	todo->content = (struct slice){(const char *)content, (size_t)sqlite3_column_bytes(stmt, 1)};
	todo->created_at = sqlite3_column_double(stmt, 2);
	todo->is_finished = sqlite3_column_int(stmt, 3) != 0;
	todo->finished_at = todo->is_finished ? sqlite3_column_double(stmt, 4) : 0;
	return true;
}

static int bind_id(sqlite3_stmt *stmt, int at, const struct uuid *id)
{
	return sqlite3_bind_blob(stmt, at, id->bytes, UUID_BYTES, SQLITE_STATIC);
}

/* Steps the statement through at most `count` rows and looks whether there is one more. */
static enum store_status fill_page(struct sqlite_session *s, enum statement which, uint32_t count,
				   struct todo_page *page)
{
	sqlite3_stmt *stmt = s->prepared[which];
	int rc;
	while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && page->count < count) {
		struct todo todo;
		if (!read_row(stmt, &todo)) {
			rc = SQLITE_CORRUPT;
			break;
		}
		todo_page_add(page, &todo);
	}
	page->has_more = rc == SQLITE_ROW;
	rc = settle(s, which, rc);
	return rc == SQLITE_ROW || rc == SQLITE_DONE ? STORE_OK : STORE_UNAVAILABLE;
}

static enum store_status sqlite_ping(struct store_session *base)
{
	struct sqlite_session *s = (struct sqlite_session *)base;
	s->error[0] = '\0';
	int rc = s->db ? run(s, SQL_ID) : SQLITE_DONE;
	if (rc == SQLITE_DONE)
		set_error(s, "ping", s->db ? "the table meta is empty" : "the connection was lost");
	return rc == SQLITE_ROW ? STORE_OK : STORE_UNAVAILABLE;
}

static enum store_status sqlite_id(struct store_session *base, struct uuid *id)
{
	struct sqlite_session *s = (struct sqlite_session *)base;
	s->error[0] = '\0';
	sqlite3_stmt *stmt = s->db ? prepare(s, SQL_ID) : NULL;
	if (!stmt)
		return STORE_UNAVAILABLE;
	int rc = sqlite3_step(stmt);
	const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0) : NULL;
	bool is_found = text && uuid_from_text(id, slice_of(text)) == 0;
	rc = settle(s, SQL_ID, rc);
	if (!is_found && (rc == SQLITE_ROW || rc == SQLITE_DONE))
		set_error(s, "read id", "the table meta holds no UUID");
	return is_found ? STORE_OK : STORE_UNAVAILABLE;
}

static enum store_status sqlite_page(struct store_session *base, const struct store_page_query *query,
				     struct todo_page *page)
{
	struct sqlite_session *s = (struct sqlite_session *)base;
	s->error[0] = '\0';
	enum statement which = query->has_after ? SQL_PAGE_AFTER : query->start ? SQL_PAGE_START : SQL_PAGE;
	sqlite3_stmt *stmt = s->db ? prepare(s, which) : NULL;
	if (!stmt)
		return STORE_UNAVAILABLE;
	int rc = sqlite3_bind_int64(stmt, 1, (sqlite3_int64)query->count + 1);
	if (rc == SQLITE_OK && which == SQL_PAGE_START)
		rc = sqlite3_bind_int64(stmt, 2, query->start);
	if (rc == SQLITE_OK && which == SQL_PAGE_AFTER)
		rc = sqlite3_bind_double(stmt, 2, query->after.created_at);
	if (rc == SQLITE_OK && which == SQL_PAGE_AFTER)
		rc = bind_id(stmt, 3, &query->after.id);
	if (rc != SQLITE_OK) {
		note_failure(s, statements[which].what, rc);
		return STORE_UNAVAILABLE;
	}
	return fill_page(s, which, query->count, page);
}

static enum store_status sqlite_get(struct store_session *base, const struct uuid *id, struct todo_page *page)
{
	struct sqlite_session *s = (struct sqlite_session *)base;
	s->error[0] = '\0';
	sqlite3_stmt *stmt = s->db ? prepare(s, SQL_GET) : NULL;
	if (!stmt)
		return STORE_UNAVAILABLE;
	int rc = bind_id(stmt, 1, id);
	if (rc != SQLITE_OK) {
		note_failure(s, statements[SQL_GET].what, rc);
		return STORE_UNAVAILABLE;
	}
	enum store_status status = fill_page(s, SQL_GET, 1, page);
	return status == STORE_OK && page->count == 0 ? STORE_NOT_FOUND : status;
}

/* ---- writes ---- */

static int bind_insert(sqlite3_stmt *stmt, const struct todo *todo)
{
	int rc = bind_id(stmt, 1, &todo->id);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_text64(stmt, 2, todo->content.len ? todo->content.data : "",
					 todo->content.len, SQLITE_STATIC, SQLITE_UTF8);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_double(stmt, 3, todo->created_at);
	if (rc == SQLITE_OK)
		rc = sqlite3_bind_int(stmt, 4, todo->is_finished);
	if (rc == SQLITE_OK)
		rc = todo->is_finished ? sqlite3_bind_double(stmt, 5, todo->finished_at)
				       : sqlite3_bind_null(stmt, 5);
	return rc;
}

static int bind_finish(sqlite3_stmt *stmt, const struct todo *todo)
{
	int rc = bind_id(stmt, 1, &todo->id);
	return rc == SQLITE_OK ? sqlite3_bind_double(stmt, 2, todo->finished_at) : rc;
}

static int bind_delete(sqlite3_stmt *stmt, const struct todo *todo)
{
	return bind_id(stmt, 1, &todo->id);
}

static const struct {
	enum statement statement;
	int (*bind)(sqlite3_stmt *stmt, const struct todo *todo);
} kinds[] = {
    [STORE_INSERT] = {SQL_INSERT, bind_insert},
    [STORE_FINISH] = {SQL_FINISH, bind_finish},
    [STORE_DELETE] = {SQL_DELETE, bind_delete},
};

/* After the update of a finish: the row as it is now, whoever finished it. */
static int read_finished(struct sqlite_session *s, struct store_write *write)
{
	sqlite3_stmt *stmt = prepare(s, SQL_GET);
	if (!stmt)
		return SQLITE_ERROR;
	int rc = bind_id(stmt, 1, &write->todo.id);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	struct todo found;
	if (rc == SQLITE_ROW && !read_row(stmt, &found))
		rc = SQLITE_CORRUPT;
	if (rc == SQLITE_ROW) {
		buf_clear(&write->content);
		buf_append_slice(&write->content, found.content);
		write->todo = found;
		write->todo.content = buf_slice(&write->content);
	}
	write->status = rc == SQLITE_ROW ? STORE_OK : STORE_NOT_FOUND;
	return settle(s, SQL_GET, rc);
}

/* Returns SQLITE_DONE when write->status is what counts if the transaction commits, else the error that ends
 * the transaction. */
static int run_write(struct sqlite_session *s, struct store_write *write)
{
	enum statement which = kinds[write->kind].statement;
	sqlite3_stmt *stmt = prepare(s, which);
	if (!stmt)
		return SQLITE_ERROR;
	int rc = kinds[write->kind].bind(stmt, &write->todo);
	if (rc == SQLITE_OK)
		rc = sqlite3_step(stmt);
	rc = settle(s, which, rc);
	/* ABORT, the default: a broken constraint undoes its own statement only. */
	if ((rc & 0xff) == SQLITE_CONSTRAINT) {
		write->status = STORE_UNAVAILABLE;
		return SQLITE_DONE;
	}
	if (rc != SQLITE_DONE)
		return rc;
	if (write->kind == STORE_FINISH) {
		rc = read_finished(s, write);
		return rc == SQLITE_ROW ? SQLITE_DONE : rc;
	}
	bool has_changed = write->kind == STORE_INSERT || sqlite3_changes(s->db) > 0;
	write->status = has_changed ? STORE_OK : STORE_NOT_FOUND;
	return SQLITE_DONE;
}

/* What is known after an error inside the transaction or in its COMMIT. An I/O error in COMMIT may strike
 * after the last frame was written; a full disk strikes before it, a busy database before the first. */
static enum store_status status_of(int rc, bool in_commit)
{
	switch (rc & 0xff) {
	case SQLITE_FULL: return STORE_FULL;
	case SQLITE_BUSY: return STORE_UNAVAILABLE;
	default: return in_commit ? STORE_UNKNOWN : STORE_UNAVAILABLE;
	}
}

static void sqlite_write(struct store_session *base, struct store_write **writes, size_t count)
{
	struct sqlite_session *s = (struct sqlite_session *)base;
	s->error[0] = '\0';
	bool in_commit = false;
	/* A second write within one begin has lost its transaction to the first, but not the lock. */
	int rc = SQLITE_DONE;
	if (!connect_database(s))
		rc = SQLITE_ERROR;
	else if (!is_in_transaction(s))
		rc = run(s, SQL_BEGIN);
	for (size_t i = 0; rc == SQLITE_DONE && i < count; i++)
		rc = run_write(s, writes[i]);
	if (rc == SQLITE_DONE) {
		in_commit = true;
		rc = run(s, SQL_COMMIT);
	}
	if (rc == SQLITE_DONE)
		return;
	if (in_commit && status_of(rc, in_commit) == STORE_UNKNOWN)
		s->is_broken = true;
	if (s->db)
		roll_back(s);
	for (size_t i = 0; i < count; i++)
		writes[i]->status = status_of(rc, in_commit);
}

static const char *const schemes[] = {SCHEME, NULL};

static const char *sqlite_library(void)
{
	return "SQLite " SQLITE_VERSION;
}

const struct store_ops sqlite_ops = {
    .name = "sqlite",
    .library = sqlite_library,
    .schemes = schemes,
    .delete_threads = 0,
    .check = sqlite_check,
    .claim = sqlite_claim,
    .setup = sqlite_setup,
    .inspect = sqlite_inspect,
    .open = sqlite_open,
    .close = sqlite_close,
    .session_open = sqlite_session_open,
    .session_close = sqlite_session_close,
    .begin = sqlite_begin,
    .end = sqlite_end,
    .ping = sqlite_ping,
    .id = sqlite_id,
    .page = sqlite_page,
    .get = sqlite_get,
    .write = sqlite_write,
    .error = sqlite_error,
};

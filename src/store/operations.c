/*
 * What counters call the work of the store threads.
 */
#include "store/executor.h"

#include "base/metrics.h"

#include <assert.h>

static_assert((int)STORE_OPERATIONS <= METRICS_OPERATIONS && (int)STORE_CALLS <= METRICS_CALLS &&
		  (int)LANES <= METRICS_LANES && (int)STORE_UNKNOWN < METRICS_OUTCOMES,
	      "there is room for them");

static const char *const operations[STORE_OPERATIONS] = {
    [STORE_OP_PAGE] = "page",     [STORE_OP_GET] = "get",       [STORE_OP_PING] = "ping",
    [STORE_OP_ID] = "id",         [STORE_OP_INSERT] = "insert", [STORE_OP_FINISH] = "finish",
    [STORE_OP_DELETE] = "delete",
};

static const char *const outcomes[] = {
    [STORE_OK] = "ok",     [STORE_NOT_FOUND] = "not_found", [STORE_UNAVAILABLE] = "unavailable",
    [STORE_FULL] = "full", [STORE_UNKNOWN] = "unknown",
};

static const char *const calls[STORE_CALLS] = {
    [STORE_CALL_PAGE] = "page", [STORE_CALL_GET] = "get",       [STORE_CALL_PING] = "ping",
    [STORE_CALL_ID] = "id",     [STORE_CALL_COMMIT] = "commit", [STORE_CALL_DELETE] = "delete",
};

static const char *const lanes[LANES] = {
    [LANE_READ] = "read",
    [LANE_WRITE] = "write",
    [LANE_DELETE] = "delete",
};

const char *store_operation_name(unsigned operation)
{
	return operation < STORE_OPERATIONS ? operations[operation] : "";
}

const char *store_outcome_name(unsigned status)
{
	return status < sizeof(outcomes) / sizeof(outcomes[0]) ? outcomes[status] : "";
}

const char *store_call_name(unsigned call)
{
	return call < STORE_CALLS ? calls[call] : "";
}

const char *store_lane_name(unsigned lane)
{
	return lane < LANES ? lanes[lane] : "";
}

enum store_operation store_operation_of(const struct job *job)
{
	static const uint8_t jobs[] = {
	    [JOB_PAGE] = STORE_OP_PAGE,
	    [JOB_GET] = STORE_OP_GET,
	    [JOB_PING] = STORE_OP_PING,
	    [JOB_ID] = STORE_OP_ID,
	};
	static const uint8_t writes[] = {
	    [STORE_INSERT] = STORE_OP_INSERT,
	    [STORE_FINISH] = STORE_OP_FINISH,
	    [STORE_DELETE] = STORE_OP_DELETE,
	};
	return (enum store_operation)(job->kind == JOB_WRITE ? writes[job->write.kind] : jobs[job->kind]);
}

/*
 * What logs and counters call routes and outcomes.
 */
#include "api/api.h"

static const char *const routes[API_ROUTES] = {
    [API_ROUTE_NONE] = "-",        [API_ROUTE_OPTIONS] = "options", [API_ROUTE_INDEX] = "index",
    [API_ROUTE_LIST] = "list",     [API_ROUTE_CREATE] = "create",   [API_ROUTE_GET] = "get",
    [API_ROUTE_FINISH] = "finish", [API_ROUTE_DELETE] = "delete",   [API_ROUTE_LIVE] = "healthz",
    [API_ROUTE_READY] = "readyz",  [API_ROUTE_METRICS] = "metrics",
};

static const char *const stores[API_STORES] = {
    [API_STORE_NONE] = "-",
    [API_STORE_OK] = "ok",
    [API_STORE_NOT_FOUND] = "not_found",
    [API_STORE_UNAVAILABLE] = "unavailable",
    [API_STORE_FULL] = "full",
    [API_STORE_UNKNOWN] = "unknown",
    [API_STORE_LATE] = "late",
    [API_STORE_REFUSED] = "refused",
};

static const char *const caches[API_CACHES] = {
    [API_CACHE_NONE] = "-",      [API_CACHE_HIT] = "hit",     [API_CACHE_MISS] = "miss",
    [API_CACHE_REDIS] = "redis", [API_CACHE_STALE] = "stale", [API_CACHE_BYPASS] = "bypass",
};

const char *api_route_name(unsigned route)
{
	return route < API_ROUTES ? routes[route] : "-";
}

const char *api_store_name(unsigned store)
{
	return store < API_STORES ? stores[store] : "-";
}

const char *api_cache_name(unsigned cache)
{
	return cache < API_CACHES ? caches[cache] : "-";
}

/* The store contract, on SQLite. */
#include "store_contract.h"

int main(void)
{
	struct fixture_dir dir;
	char other_uri[sizeof(dir.uri) + 8];
	fixture_dir_make(&dir, "todod.db");
	(void)snprintf(other_uri, sizeof(other_uri), "%s.other", dir.uri);
	int failures = store_contract_run("store contract: sqlite", dir.uri, other_uri);
	fixture_dir_remove(&dir);
	return failures;
}

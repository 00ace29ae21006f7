/* The store contract, on SQLite. */
#include "store_contract.h"

int main(void)
{
	struct fixture_dir dir;
	fixture_dir_make(&dir, "todod.db");
	int failures = store_contract_run("store contract: sqlite", dir.uri);
	fixture_dir_remove(&dir);
	return failures;
}

// SPDX-License-Identifier: Apache-2.0
// The main() of every check program: CK_FORK=no is honoured for sanitizers and debuggers.
#ifndef WARDFS_TESTS_UNIT_MAIN_H
#define WARDFS_TESTS_UNIT_MAIN_H

#include <check.h>
#include <stdlib.h>

// Runs every test of the suite; the exit status says whether all passed.
static inline int unit_main(Suite *suite)
{
	SRunner *runner = srunner_create(suite);

	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif

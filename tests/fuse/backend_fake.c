// SPDX-License-Identifier: Apache-2.0
#include "tests/fuse/backend.h"
#include "tests/fuse/fakefs.h"

const char *const backend_name = "fake";

struct fs *backend_open(void)
{
	return fakefs_new();
}

void backend_close(struct fs *fs)
{
	fakefs_free(fs);
}

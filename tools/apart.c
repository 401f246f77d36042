// SPDX-License-Identifier: Apache-2.0
#include "tools/apart.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/secret.h"

struct shared {
	int is_done;
	int code;
	_Alignas(16) unsigned char answer[];
};

static void work(int (*fn)(void *arg, void *answer), void *arg, struct shared *s)
{
	s->code = fn(arg, s->answer);
	s->is_done = 1;
	_exit(0);
}

int apart_run(int (*fn)(void *arg, void *answer), void *arg, void *answer, size_t size)
{
	const size_t bytes = sizeof(struct shared) + size;
	struct shared *s =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int err = WERR_INTERNAL;

	if (s == MAP_FAILED)
		return WERR_NOMEM;
	// Where memory cannot be locked the rest of the program has said so.
	(void)mlock(s, bytes);
	(void)madvise(s, bytes, MADV_DONTDUMP);
	fflush(NULL);
	const pid_t pid = fork();
	if (pid == 0)
		work(fn, arg, s);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
	}
	if (pid < 0)
		err = WERR_NOMEM;
	else if (s->is_done) {
		err = s->code;
		memcpy(answer, s->answer, size);
	}
	secret_wipe(s, bytes);
	munmap(s, bytes);
	return err;
}

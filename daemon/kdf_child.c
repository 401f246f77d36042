// SPDX-License-Identifier: Apache-2.0
#include "daemon/kdf_child.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/secret.h"

// What the child leaves behind, in memory that both share.
struct result {
	int done; // the rest means something
	int code;
	uint8_t kek[ARGON_KEK_BYTES];
};

static _Noreturn void child(pid_t parent, const struct argon_params *params, const void *pass,
			    size_t pass_len, const uint8_t *salt, struct result *r)
{
	const struct rlimit none = {0, 0};

	// Nobody waits for it when its parent is gone.
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != parent)
		_exit(1);
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)close_range(0, ~0u, 0);
	r->code = argon_derive_here(params, pass, pass_len, salt, r->kek);
	r->done = 1;
	_exit(0);
}

int kdf_child_derive(const struct argon_params *params, const void *pass, size_t pass_len,
		     const uint8_t *salt, uint8_t *kek)
{
	struct result *r = secret_share(sizeof(*r));
	pid_t parent = getpid();
	int status, err = WERR_KDFMEM;

	if (!r)
		return WERR_NOMEM;
	pid_t pid = fork();
	if (pid == 0)
		child(parent, params, pass, pass_len, salt, r);
	if (pid > 0) {
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
		}
		if (r->done) {
			err = r->code;
			memcpy(kek, r->kek, ARGON_KEK_BYTES);
		}
	}
	secret_unshare(r, sizeof(*r));
	return err;
}

void kdf_child_install(void)
{
	argon_set_runner(kdf_child_derive);
}

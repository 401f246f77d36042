// SPDX-License-Identifier: Apache-2.0
#include "daemon/kdf_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
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

// A derivation that runs. Its child ends when the pipe does: where the sandbox is closed no signal
// can be sent to it.
struct running {
	struct running *next;
	int pipe; // our end; -1: it was ended
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; // guards what follows
static struct running *all;
static int refusing;

void kdf_child_refuse(int refuse)
{
	pthread_mutex_lock(&lock);
	refusing = refuse;
	for (struct running *r = refuse ? all : NULL; r; r = r->next) {
		if (r->pipe >= 0)
			close(r->pipe);
		r->pipe = -1;
	}
	pthread_mutex_unlock(&lock);
}

// *ret_end: the child's end of the pipe.
static int begin(struct running *r, int *ret_end)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return WERR_MFILE;
	pthread_mutex_lock(&lock);
	int refused = refusing;
	if (!refused) {
		*r = (struct running){.next = all, .pipe = ends[1]};
		all = r;
		*ret_end = ends[0];
	}
	pthread_mutex_unlock(&lock);
	if (!refused)
		return 0;
	close(ends[0]);
	close(ends[1]);
	return WERR_INTERRUPTED;
}

// Whether it was ended by kdf_child_refuse.
static int finish(struct running *r)
{
	struct running **at = &all;

	pthread_mutex_lock(&lock);
	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	int ended = r->pipe < 0;
	if (!ended)
		close(r->pipe);
	pthread_mutex_unlock(&lock);
	return ended;
}

// In the child: it is killed when the other end is closed, and has ended here when it was already.
static void end_with(int fd)
{
	struct pollfd polled = {.fd = fd, .events = POLLIN};

	if (fcntl(fd, F_SETOWN, getpid()) || fcntl(fd, F_SETSIG, SIGKILL) ||
	    fcntl(fd, F_SETFL, O_ASYNC) || poll(&polled, 1, 0) != 0)
		_exit(1);
}

static _Noreturn void child(pid_t parent, int end, const struct argon_params *params,
			    const void *pass, size_t pass_len, const uint8_t *salt,
			    struct result *r)
{
	const struct rlimit none = {0, 0};

	// Nobody waits for it when its parent is gone.
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0 || getppid() != parent)
		_exit(1);
	(void)setrlimit(RLIMIT_CORE, &none);
	// Our copy of the parent's end, too.
	if (end > 0)
		(void)close_range(0, (unsigned)end - 1, 0);
	(void)close_range((unsigned)end + 1, ~0u, 0);
	end_with(end);
	r->code = argon_derive_here(params, pass, pass_len, salt, r->kek);
	r->done = 1;
	_exit(0);
}

int kdf_child_derive(const struct argon_params *params, const void *pass, size_t pass_len,
		     const uint8_t *salt, uint8_t *kek)
{
	struct result *r = secret_share(sizeof(*r));
	pid_t parent = getpid();
	struct running running;
	int status, end;

	if (!r)
		return WERR_NOMEM;
	int err = begin(&running, &end);
	if (err) {
		secret_unshare(r, sizeof(*r));
		return err;
	}
	err = WERR_KDFMEM;
	pid_t pid = fork();
	if (pid == 0)
		child(parent, end, params, pass, pass_len, salt, r);
	close(end);
	if (pid > 0) {
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
		}
		if (r->done) {
			err = r->code;
			memcpy(kek, r->kek, ARGON_KEK_BYTES);
		}
	}
	if (finish(&running) && err)
		err = WERR_INTERRUPTED;
	secret_unshare(r, sizeof(*r));
	return err;
}

void kdf_child_install(void)
{
	argon_set_runner(kdf_child_derive);
}

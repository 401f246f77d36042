// SPDX-License-Identifier: Apache-2.0
// The wiping runs in a child that was made with CLONE_VM: the same memory, another process, so that
// SIGKILL to the parent stops everybody else for good (a thread that hangs in the kernel never
// comes back from there), and the memory stays until the child is done. The child uses its own
// stack and nothing of libc that keeps a state.
#include "daemon/scrub.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crypto/secret.h"

#define STACK_BYTES ((size_t)256 * 1024)
#define MAPS_BYTES ((size_t)1 << 20)
#define PAGE ((uintptr_t)4096)
#define RESIDENT_PAGES 4096

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

// Its own mapping, which is wiped by nobody: nothing confidential gets there. All that the child
// needs is in it, since the program's variables are wiped, too.
struct room {
	uint8_t stack[STACK_BYTES];
	char before[MAPS_BYTES];
	char maps[MAPS_BYTES];
	unsigned char resident[RESIDENT_PAGES];
	int maps_fd;
	pid_t victim;
	uintptr_t thread; // what the processor's thread register points to: libc's system calls
			  // want it
};

static struct room *prepared;

int scrub_prepare(void)
{
	struct room *r = mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (r == MAP_FAILED)
		return WERR_NOMEM;
	r->maps_fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (r->maps_fd < 0) {
		munmap(r, sizeof(*r));
		return WERR_IO;
	}
	prepared = r;
	return 0;
}

// The child's part. No stack protector: its canary is in memory that is wiped. Volatile, so that no
// function of libc is called for it.
#define BARE __attribute__((no_stack_protector, noinline, no_sanitize("address", "thread")))

BARE static void zero(uintptr_t from, uintptr_t to)
{
	for (volatile uint64_t *p = (volatile uint64_t *)from; (uintptr_t)p < to; p++)
		*p = 0;
}

// Only pages that are there: touching the others would make them.
BARE static void zero_resident(struct room *r, uintptr_t from, uintptr_t to)
{
	while (from < to) {
		uintptr_t part = to - from;

		if (part > RESIDENT_PAGES * PAGE)
			part = RESIDENT_PAGES * PAGE;
		// Refused: given back since the list was read, in a part at least.
		bool there = syscall(SYS_mincore, from, part, r->resident) == 0;
		for (uintptr_t i = 0; there && i < part / PAGE; i++)
			if (r->resident[i] & 1)
				zero(from + i * PAGE, from + (i + 1) * PAGE);
		from += part;
	}
}

BARE static const char *take_hex(const char *at, uintptr_t *ret)
{
	*ret = 0;
	for (;; at++) {
		if (*at >= '0' && *at <= '9')
			*ret = *ret << 4 | (uintptr_t)(*at - '0');
		else if (*at >= 'a' && *at <= 'f')
			*ret = *ret << 4 | (uintptr_t)(*at - 'a' + 10);
		else
			return at;
	}
}

// Memory of the process itself, variables of programs and libraries included, or hidden memory
// (which is shared by nature). "perms offset device inode path"
BARE static bool is_own(const char *at)
{
	if (at[3] == 'p')
		return true;
	for (; *at != '\0' && *at != '\n'; at++)
		if (at[0] == 's' && at[1] == 'e' && at[2] == 'c' && at[3] == 'r' && at[4] == 'e' &&
		    at[5] == 't' && at[6] == 'm')
			return true;
	return false;
}

BARE static const char *wipe_line(struct room *r, const char *at)
{
	uintptr_t from, to;

	at = take_hex(at, &from);
	if (*at == '-')
		at = take_hex(at + 1, &to);
	else
		to = from;
	bool writable = at[0] == ' ' && at[1] == 'r' && at[2] == 'w';
	bool mine = (from <= (uintptr_t)r && (uintptr_t)r < to) ||
		    (from <= r->thread && r->thread < to);
	if (writable && !mine && is_own(at + 1))
		zero_resident(r, from, to);
	while (*at != '\0' && *at != '\n')
		at++;
	return *at == '\n' ? at + 1 : at;
}

// false: it cannot be read to its end any more.
BARE static bool read_maps(struct room *r, char *buf)
{
	size_t len = 0;
	long n;

	syscall(SYS_lseek, r->maps_fd, 0, SEEK_SET);
	do {
		n = syscall(SYS_read, r->maps_fd, buf + len, MAPS_BYTES - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	buf[len] = '\0';
	return n == 0 && len > 0;
}

BARE static int wipe(void *arg)
{
	struct room *r = arg;

	// The list goes with the victim as soon as somebody has waited for it. What stands in the
	// earlier one only was given back meanwhile, and what is new since is in the later one
	// only.
	(void)read_maps(r, r->before);
	syscall(SYS_kill, r->victim, SIGKILL);
	const char *list = read_maps(r, r->maps) ? r->maps : r->before;
	for (const char *at = list; *at != '\0';)
		at = wipe_line(r, at);
	// The connection must end with it. Not before: closing a file of a host that hangs may wait
	// for it.
	syscall(SYS_close_range, 0, ~0u, 0);
	syscall(SYS_exit, 0);
	return 0;
}

_Noreturn void scrub_and_die(void)
{
	struct room *r = prepared;
	int pid = -1;

	if (r != NULL && !SANITIZED) {
		r->victim = getpid();
		r->thread = (uintptr_t)pthread_self();
		// Not waited for: this process ends before it.
		pid = clone(wipe, r->stack + STACK_BYTES, CLONE_VM | CLONE_FS, r);
	}
	if (pid < 0) {
		secret_wipe_all();
		kill(getpid(), SIGKILL);
	}
	for (;;)
		pause();
}

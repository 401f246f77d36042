// SPDX-License-Identifier: Apache-2.0
// Things that have to happen in a process of their own: faults, aborts, refused system calls.
#ifndef WARDFS_TESTS_UNIT_PROCESS_H
#define WARDFS_TESTS_UNIT_PROCESS_H

#include <check.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

// The sanitizers turn mlock into nothing and need the whole address space.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNIT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNIT_SANITIZED 1
#endif
#endif
#ifndef UNIT_SANITIZED
#define UNIT_SANITIZED 0
#endif

// Runs fn(arg) in a child without core dumps or a sanitizer's signal handlers; the child exits with
// what fn returns. Returns the status as waitpid gives it.
static inline int unit_child(int (*fn)(void *), void *arg)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		const struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		signal(SIGABRT, SIG_DFL);
		_exit(fn(arg));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

#define ck_assert_signalled(status, sig)                                                           \
	do {                                                                                       \
		int st_ = (status);                                                                \
		ck_assert_msg(WIFSIGNALED(st_) && WTERMSIG(st_) == (sig), "wait status %#x", st_); \
	} while (0)
#define ck_assert_exited(status, code)                                                         \
	do {                                                                                   \
		int st_ = (status);                                                            \
		ck_assert_msg(WIFEXITED(st_) && WEXITSTATUS(st_) == (code), "wait status %#x", \
			      st_);                                                            \
	} while (0)

// From now on the system call `nr` of this process fails with errno err. 0 on success.
static inline int unit_refuse(long nr, int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog prog = {.len = 4, .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

#endif

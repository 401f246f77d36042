// SPDX-License-Identifier: Apache-2.0
#include "daemon/sandbox_calls.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#if defined(__x86_64__)
#define THIS_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define THIS_ARCH AUDIT_ARCH_AARCH64
#endif

// Allowed whatever the arguments are: none of them opens a way to another process, a device, the
// network, or a file that Landlock does not see.
static const int allowed[] = {
	// memory
	SYS_brk,
	SYS_munmap,
	SYS_mremap,
	SYS_madvise,
	SYS_mincore, // scrub.c: when nobody answers any more for what is refused
	SYS_mlock,
	SYS_mlock2,
	SYS_munlock,
#ifdef SYS_memfd_secret
	SYS_memfd_secret,
#endif
	SYS_memfd_create, // cannot be mapped for execution, nor executed
	// descriptors that are open
	SYS_read,
	SYS_write,
	SYS_readv,
	SYS_writev,
	SYS_pread64,
	SYS_pwrite64,
	SYS_preadv,
	SYS_pwritev,
	SYS_preadv2,
	SYS_pwritev2,
	SYS_close,
	SYS_close_range,
	SYS_fstat,
	SYS_statx,
	SYS_newfstatat,
	SYS_lseek,
	SYS_fcntl,
	SYS_dup,
	SYS_dup3,
	SYS_flock,
	SYS_fstatfs,
	SYS_getdents64,
	SYS_ftruncate,
	SYS_fallocate,
	SYS_fsync,
	SYS_fdatasync,
	SYS_syncfs,
	SYS_sync_file_range,
	SYS_copy_file_range,
	SYS_fadvise64,
	SYS_readahead,
	SYS_fchmod,
	SYS_pipe2,
	SYS_eventfd2,
	SYS_signalfd4,
	SYS_timerfd_create,
	SYS_timerfd_settime,
	SYS_timerfd_gettime,
	SYS_ppoll,
	SYS_pselect6,
	SYS_epoll_create1,
	SYS_epoll_ctl,
	SYS_epoll_pwait,
	// names: Landlock says which
	SYS_openat,
	SYS_openat2,
	SYS_mkdirat,
	SYS_unlinkat,
	SYS_renameat,
	SYS_renameat2,
	SYS_faccessat,
	SYS_faccessat2,
	SYS_readlinkat,
	// sockets that are open: new ones come from others only. None is a datagram socket, so that
	// an address in sendto or sendmsg leads nowhere.
	SYS_sendmsg,
	SYS_recvmsg,
	SYS_sendto,
	SYS_recvfrom,
	SYS_sendmmsg,
	SYS_recvmmsg,
	SYS_shutdown,
	SYS_getsockopt,
	SYS_setsockopt,
	SYS_getsockname,
	SYS_getpeername,
	SYS_accept4,
	// threads, time, signals
	SYS_futex,
	SYS_set_robust_list,
	SYS_get_robust_list,
	SYS_set_tid_address,
	SYS_sched_yield,
	SYS_sched_getaffinity,
	SYS_getcpu,
	SYS_membarrier,
	SYS_rseq,
	SYS_nanosleep,
	SYS_clock_nanosleep,
	SYS_clock_gettime,
	SYS_clock_getres,
	SYS_gettimeofday,
	SYS_getrandom,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_rt_sigreturn,
	SYS_rt_sigpending,
	SYS_rt_sigtimedwait,
	SYS_rt_sigsuspend,
	SYS_sigaltstack,
	SYS_restart_syscall,
	SYS_exit,
	SYS_exit_group,
	SYS_wait4,
	SYS_waitid,
	SYS_getitimer,
	SYS_setitimer,
	// about itself
	SYS_getpid,
	SYS_gettid,
	SYS_getppid,
	SYS_getuid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getegid,
	SYS_getpgid,
	SYS_getsid,
	SYS_uname,
	SYS_sysinfo,
	SYS_getrusage,
	SYS_times,
	SYS_umask,
	SYS_getcwd,
#ifdef __x86_64__
	SYS_stat,
	SYS_lstat,
	SYS_poll,
	SYS_select,
	SYS_pipe,
	SYS_dup2,
	SYS_time,
	SYS_epoll_wait,
	SYS_access,
	SYS_open,
	SYS_mkdir,
	SYS_rmdir,
	SYS_unlink,
	SYS_rename,
	SYS_readlink,
	SYS_arch_prctl,
	SYS_getpgrp,
	SYS_pause,
	SYS_alarm,
#endif
};

// Tried by whoever gets hold of a process.
static const struct {
	int nr;
	const char *name;
} named[] = {
	{SYS_execve, "execve"},
	{SYS_execveat, "execveat"},
	{SYS_socket, "socket"},
	{SYS_socketpair, "socketpair"},
	{SYS_connect, "connect"},
	{SYS_bind, "bind"},
	{SYS_listen, "listen"},
	{SYS_ptrace, "ptrace"},
	{SYS_process_vm_readv, "process_vm_readv"},
	{SYS_process_vm_writev, "process_vm_writev"},
	{SYS_mount, "mount"},
	{SYS_umount2, "umount2"},
	{SYS_kill, "kill"},
	{SYS_tgkill, "tgkill"},
	{SYS_prctl, "prctl"},
	{SYS_ioctl, "ioctl"},
	{SYS_mmap, "mmap"},
	{SYS_mprotect, "mprotect"},
	{SYS_clone, "clone"},
	{SYS_unshare, "unshare"},
	{SYS_setns, "setns"},
	{SYS_setuid, "setuid"},
	{SYS_symlinkat, "symlinkat"},
	{SYS_linkat, "linkat"},
	{SYS_mknodat, "mknodat"},
	{SYS_bpf, "bpf"},
	{SYS_perf_event_open, "perf_event_open"},
	{SYS_io_uring_setup, "io_uring_setup"},
	{SYS_prlimit64, "prlimit64"},
	{SYS_keyctl, "keyctl"},
	{SYS_pidfd_open, "pidfd_open"},
#ifdef __x86_64__
	{SYS_fork, "fork"},
	{SYS_vfork, "vfork"},
#endif
};

const char *sandbox_calls_name(int nr)
{
	for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++)
		if (named[i].nr == nr)
			return named[i].name;
	return NULL;
}

#ifdef THIS_ARCH

#define PROGRAM_MAX 1024

struct program {
	struct sock_filter code[PROGRAM_MAX];
	unsigned len;
};

static void emit(struct program *p, uint16_t code, uint32_t k, uint8_t yes, uint8_t no)
{
	if (p->len < PROGRAM_MAX)
		p->code[p->len++] = (struct sock_filter){code, yes, no, k};
}

static void load(struct program *p, size_t offset)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void finish(struct program *p, uint32_t action)
{
	emit(p, BPF_RET | BPF_K, action, 0, 0);
}

// If the loaded word is k: the action.
static void if_equal(struct program *p, uint32_t k, uint32_t action)
{
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, k, 0, 1);
	finish(p, action);
}

// The low word of an argument; the processors above are little-endian.
static size_t argument(unsigned i)
{
	return offsetof(struct seccomp_data, args) + i * sizeof(uint64_t);
}

// Call nr: allowed when none of the bits of argument i is set, else refused.
static void unless_bits(struct program *p, int nr, unsigned i, uint32_t bits, uint32_t refuse)
{
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 4);
	load(p, argument(i));
	emit(p, BPF_JMP | BPF_JSET | BPF_K, bits, 1, 0);
	finish(p, SECCOMP_RET_ALLOW);
	finish(p, refuse);
}

// Call nr: allowed when argument i is one of the values, else refused.
static void if_one_of(struct program *p, int nr, unsigned i, const uint32_t *values, unsigned count,
		      uint32_t refuse)
{
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, (uint8_t)(2 + 2 * count));
	load(p, argument(i));
	for (unsigned n = 0; n < count; n++)
		if_equal(p, values[n], SECCOMP_RET_ALLOW);
	finish(p, refuse);
}

// Call nr: allowed when its first arguments, so many, are 0, else refused.
static void if_zero(struct program *p, int nr, unsigned count, uint32_t refuse)
{
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, (uint8_t)(3 * count + 1));
	for (unsigned i = 0; i < count; i++) {
		load(p, argument(i));
		emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0);
		finish(p, refuse);
	}
	finish(p, SECCOMP_RET_ALLOW);
}

static void build(struct program *p, uint32_t refuse)
{
	const uint32_t namespaces = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
				    CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_PTRACE;
	// Not PR_SET_DUMPABLE, nor a capability.
	const uint32_t prctls[] = {PR_SET_PDEATHSIG,   PR_GET_PDEATHSIG, PR_SET_NAME,
				   PR_GET_NAME,        PR_GET_DUMPABLE,  PR_SET_TIMERSLACK,
				   PR_GET_NO_NEW_PRIVS};
	const uint32_t ioctls[] = {TCGETS, TIOCGWINSZ, FIONREAD, SECCOMP_IOCTL_NOTIF_RECV,
				   SECCOMP_IOCTL_NOTIF_SEND};
	const uint32_t self = (uint32_t)getpid();

	load(p, offsetof(struct seccomp_data, arch));
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, THIS_ARCH, 1, 0);
	finish(p, SECCOMP_RET_ERRNO | ENOSYS);
	load(p, offsetof(struct seccomp_data, nr));
	// Its flags stand in memory, which a filter cannot look at; the libraries then use clone.
	if_equal(p, SYS_clone3, SECCOMP_RET_ERRNO | ENOSYS);
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++)
		if_equal(p, (uint32_t)allowed[i], SECCOMP_RET_ALLOW);
	// No code but what is there.
	unless_bits(p, SYS_mmap, 2, PROT_EXEC, refuse);
	unless_bits(p, SYS_mprotect, 2, PROT_EXEC, refuse);
	unless_bits(p, SYS_clone, 0, namespaces, refuse);
	if_one_of(p, SYS_prctl, 0, prctls, sizeof(prctls) / sizeof(prctls[0]), refuse);
	if_one_of(p, SYS_ioctl, 1, ioctls, sizeof(ioctls) / sizeof(ioctls[0]), refuse);
	if_one_of(p, SYS_kill, 0, &self, 1, refuse);
	if_one_of(p, SYS_tgkill, 0, &self, 1, refuse);
	// Limits (looked at, and lowered in a child), the priority and the processors of the
	// calling thread or process, never another's.
	if_zero(p, SYS_prlimit64, 1, refuse);
	if_zero(p, SYS_setpriority, 2, refuse);
	if_zero(p, SYS_sched_setaffinity, 1, refuse);
	finish(p, refuse);
}

static int install(const struct program *p, unsigned long flags)
{
	const struct sock_fprog prog = {.len = (unsigned short)p->len,
					.filter = (struct sock_filter *)(uintptr_t)p->code};

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &prog);
}

static int load_plain(struct program *p)
{
	p->len = 0;
	build(p, SECCOMP_RET_ERRNO | EPERM);
	if (p->len == PROGRAM_MAX)
		return WERR_INTERNAL;
	if (install(p, SECCOMP_FILTER_FLAG_LOG) == 0)
		return 0;
	return errno == ENOSYS || errno == EINVAL ? WERR_UNSUPPORTED : WERR_IO;
}

int sandbox_calls_load(int *ret_listener)
{
	struct program *p = calloc(1, sizeof(*p));
	int fd = -1, err = 0;

	if (!p)
		return WERR_NOMEM;
	if (ret_listener) {
		build(p, SECCOMP_RET_USER_NOTIF);
		fd = install(p, SECCOMP_FILTER_FLAG_NEW_LISTENER);
		*ret_listener = fd;
	}
	// An old kernel, or a filter above us that has a listener of its own.
	if (fd < 0)
		err = load_plain(p);
	free(p);
	return err;
}

#else

int sandbox_calls_load(int *ret_listener)
{
	if (ret_listener)
		*ret_listener = -1;
	return WERR_UNSUPPORTED;
}

#endif

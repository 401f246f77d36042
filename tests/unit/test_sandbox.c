// SPDX-License-Identifier: Apache-2.0
// The sandbox of the worker, from inside: a process that has entered it tries what a hijacked
// worker would try, and then serves a whole vault.
#include "daemon/sandbox.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "crypto/object_header.h"
#include "daemon/kdf_child.h"
#include "fusefs/fs.h"
#include "fusefs/host.h"
#include "unit_files.h"
#include "unit_main.h"
#include "unit_process.h"

static char top[UNIT_DIR_BYTES], vault[80], other[80];
static int report[2]; // what was refused, one name a line

static void write_file(const char *dir, const char *name, const char *text)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static void setup(void)
{
	unit_make_dir(top);
	(void)snprintf(vault, sizeof(vault), "%s/vault", top);
	(void)snprintf(other, sizeof(other), "%s/other", top);
	ck_assert_int_eq(mkdir(vault, 0700), 0);
	ck_assert_int_eq(mkdir(other, 0700), 0);
	write_file(other, "file", "not of the vault");
	ck_assert_int_eq(pipe2(report, O_CLOEXEC), 0);
}

static void teardown(void)
{
	unit_remove_tree(top);
	close(report[0]);
	close(report[1]);
}

static void on_refused(void *arg, const char *call)
{
	char line[64];

	(void)arg;
	int n = snprintf(line, sizeof(line), "%s\n", call);
	(void)!write(report[1], line, (size_t)n);
}

// Enters; exits with 77 where this build or machine has no sandbox to test.
static struct sandbox_given enter(int readonly)
{
	const struct sandbox_params params = {
		.dirs = {vault, NULL}, .readonly = readonly, .refused = on_refused};
	struct sandbox_given given;

	if (sandbox_enter(&params, &given))
		_exit(99);
	return given;
}

// The first n bytes of what was reported; waits for the listener.
static int was_reported(const char *name)
{
	static char all[4096];
	static size_t len;
	struct pollfd polled = {.fd = report[0], .events = POLLIN};

	for (int tries = 0; tries < 50; tries++) {
		if (strstr(all, name))
			return 1;
		if (poll(&polled, 1, 200) > 0) {
			ssize_t n = read(report[0], all + len, sizeof(all) - 1 - len);

			if (n > 0)
				len += (size_t)n;
		}
	}
	return 0;
}

#define REFUSED(call, error, line)                   \
	do {                                         \
		errno = 0;                           \
		if ((call) >= 0 || errno != (error)) \
			return line;                 \
	} while (0)

static int try_files(void *arg)
{
	struct sandbox_given given = enter(0);
	char path[128];

	(void)arg;
	if (!given.landlock)
		return 77;
	REFUSED(open("/etc/passwd", O_RDONLY | O_CLOEXEC), EACCES, 1);
	REFUSED(open("/proc/self/maps", O_RDONLY | O_CLOEXEC), EACCES, 2);
	(void)snprintf(path, sizeof(path), "%s/file", other);
	REFUSED(open(path, O_RDONLY | O_CLOEXEC), EACCES, 3);
	REFUSED(open(path, O_WRONLY | O_TRUNC | O_CLOEXEC), EACCES, 4);
	REFUSED(unlink(path) == 0 ? 0 : -1, errno == EPERM ? EPERM : EACCES, 5);
	(void)snprintf(path, sizeof(path), "%s/new", other);
	REFUSED(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600), EACCES, 6);
	REFUSED(symlinkat("/etc/passwd", AT_FDCWD, "x"), EPERM, 7);
	(void)snprintf(path, sizeof(path), "%s/../other/file", vault);
	REFUSED(open(path, O_RDONLY | O_CLOEXEC), EACCES, 8);
	return 0;
}

static int try_calls(void *arg)
{
	struct sandbox_given given = enter(0);
	char *argv[] = {(char *)"true", NULL};
	char byte;
	struct iovec iov = {&byte, 1};
	const struct rlimit limit = {1, 1};
	int pair[2];

	(void)arg;
	if (!given.seccomp)
		return 77;
	REFUSED(execve("/bin/true", argv, NULL), EPERM, 1);
	REFUSED(socket(AF_INET, SOCK_STREAM, 0), EPERM, 2);
	REFUSED(socket(AF_UNIX, SOCK_STREAM, 0), EPERM, 3);
	REFUSED(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), EPERM, 15);
	REFUSED(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), EPERM, 16);
	const struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(1)};
	REFUSED(connect(report[0], (const struct sockaddr *)&in, sizeof(in)), EPERM, 4);
	REFUSED(ptrace(PTRACE_ATTACH, getppid(), NULL, NULL), EPERM, 5);
	REFUSED(process_vm_readv(getppid(), &iov, 1, &iov, 1, 0), EPERM, 6);
	REFUSED(mount("none", "/tmp", "tmpfs", 0, NULL), EPERM, 7);
	REFUSED(kill(getppid(), 0), EPERM, 8);
	REFUSED(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), EPERM, 9);
	REFUSED(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
				MAP_FAILED
			? -1
			: 0,
		EPERM, 10);
	REFUSED(syscall(SYS_unshare, 0x10000000), EPERM, 11);
	REFUSED(setuid(0), EPERM, 12);
	REFUSED(syscall(SYS_prlimit64, getppid(), RLIMIT_CPU, &limit, NULL), EPERM, 13);
	REFUSED(syscall(SYS_io_uring_setup, 1, NULL), EPERM, 14);
	REFUSED(setpriority(PRIO_PROCESS, (id_t)getppid(), 19), EPERM, 17);
	REFUSED(setpriority(PRIO_USER, 0, 19), EPERM, 18);
	REFUSED(syscall(SYS_sched_setaffinity, getppid(), sizeof(byte), &byte), EPERM, 19);
	if (given.seccomp == 1 &&
	    !(was_reported("execve") && was_reported("socket") && was_reported("connect") &&
	      was_reported("ptrace") && was_reported("io_uring_setup")))
		return 50;
	return 0;
}

static int look_at_itself(void *arg)
{
	struct rlimit core;

	(void)arg;
	(void)enter(0);
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return 1;
	if (getrlimit(RLIMIT_CORE, &core) || core.rlim_cur != 0 || core.rlim_max != 0)
		return 2;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 3;
	return prctl(PR_CAPBSET_READ, 21 /* CAP_SYS_ADMIN */, 0, 0, 0) == 1 && geteuid() == 0 ? 4
											      : 0;
}

static int try_readonly(void *arg)
{
	char path[128];

	(void)arg;
	write_file(vault, "there", "x");
	if (!enter(1).landlock)
		return 77;
	(void)snprintf(path, sizeof(path), "%s/there", vault);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 1;
	REFUSED(open(path, O_WRONLY | O_CLOEXEC), EACCES, 2);
	REFUSED(unlink(path), errno == EPERM ? EPERM : EACCES, 3);
	return 0;
}

static void check(int (*fn)(void *))
{
	int status = unit_child(fn, NULL);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		puts("skip sandbox # not on this machine or in this build");
	else
		ck_assert_exited(status, 0);
}

START_TEST(files_outside)
{
	check(try_files);
}
END_TEST

START_TEST(calls)
{
	check(try_calls);
}
END_TEST

START_TEST(process_state)
{
	check(look_at_itself);
}
END_TEST

START_TEST(read_only)
{
	check(try_readonly);
}
END_TEST

START_TEST(no_such_directory)
{
	const struct sandbox_params params = {.dirs = {"/nonexistent/vault"}};
	struct sandbox_given given;

	if (UNIT_SANITIZED || syscall(SYS_landlock_create_ruleset, NULL, 0, 1) <= 0)
		return;
	ck_assert_int_eq(sandbox_enter(&params, &given), WERR_NOTFOUND);
}
END_TEST

// ---- a vault in it ----

static const struct vault_create_params create = {
	.kdf = {8192, 1, 2}, .label = "", .journal_bytes = 8u << 20};

#define TRY(call)                        \
	do {                             \
		if ((call) != 0)         \
			return __LINE__; \
	} while (0)

static int never(void *arg, const struct fs_dirent *d)
{
	(void)arg;
	(void)d;
	return 0;
}

static int use(struct fs *fs)
{
	static uint8_t big[300000];
	const struct fs_make file = {.type = OBJECT_FILE, .mode = 0600};
	const struct fs_make dir = {.type = OBJECT_DIR, .mode = 0700};
	struct fs_setattr cut = {.valid = FS_SET_SIZE, .size = 5000};
	struct fs_stat st, sub, second;
	struct host_space space;
	uint64_t found;
	size_t len;

	TRY(fs_make(fs, FS_ROOT, "dir", &dir, &sub));
	TRY(fs_make(fs, sub.ino, "file", &file, &st));
	TRY(fs_make(fs, FS_ROOT, "other", &file, &second));
	TRY(fs_write(fs, st.ino, 0, big, sizeof(big), 0));
	TRY(fs_fsync_wait(fs, st.ino));
	TRY(fs_write(fs, st.ino, 8192, big, 100000, 0));
	TRY(fs_write(fs, second.ino, 0, "small", 5, 0));
	TRY(fs_fsync_wait(fs, second.ino));
	TRY(fs_setxattr(fs, st.ino, "user.x", big, 20000, 0, NULL));
	TRY(fs_rename(fs, sub.ino, "file", FS_ROOT, "moved", 0));
	TRY(fs_link(fs, st.ino, sub.ino, "again", &st));
	TRY(fs_fallocate(fs, st.ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, 65536));
	TRY(fs_lseek(fs, st.ino, 0, SEEK_HOLE, &found));
	TRY(fs_copy_range(fs, st.ino, 0, second.ino, 8192, 50000, &found));
	TRY(fs_checkpoint(fs));
	TRY(fs_setattr(fs, st.ino, &cut, &st));
	TRY(fs_checkpoint(fs));
	TRY(fs_readdir(fs, FS_ROOT, 0, 0, never, NULL));
	TRY(fs_statfs(fs, &space));
	TRY(fs_unlink(fs, FS_ROOT, "other"));
	fs_forget(fs, second.ino, 1);
	TRY(fs_checkpoint(fs));
	TRY(fs_read(fs, st.ino, 0, sizeof(big), big, &len));
	return len == 5000 ? 0 : 1;
}

static int serve_vault(void *arg)
{
	SECRET_STRUCT_AUTO struct secret pass = {0};
	const struct fs_params params = {.checkpoint_ms = 100};
	struct pollfd polled = {.fd = report[0], .events = POLLIN};
	struct host *host;
	struct vault *v;
	struct fs *fs;

	(void)arg;
	TRY(secret_copy(&pass, "correct horse", 13));
	TRY(host_posix_open(vault, 0, &host));
	TRY(vault_create(host, &create, &pass));
	host->ops->close(host);
	TRY(host_posix_open(vault, 0, &host));
	(void)enter(0);
	kdf_child_install();
	TRY(vault_open(host, &pass, 0, &v));
	TRY(fs_open(v, &params, &fs));
	int bad = use(fs);
	if (bad)
		return bad;
	TRY(fs_close(fs));
	vault_close(v);
	// Nothing that it needed was refused.
	return poll(&polled, 1, 100) == 0 ? 0 : 2;
}

START_TEST(serves_a_vault)
{
	ck_assert_exited(unit_child(serve_vault, NULL), 0);
}
END_TEST

static void *nothing(void *arg)
{
	return arg;
}

static int make_threads(void *arg)
{
	pthread_t thread;

	(void)arg;
	(void)enter(0);
	for (int i = 0; i < 8; i++)
		if (pthread_create(&thread, NULL, nothing, NULL) || pthread_join(thread, NULL))
			return 1;
	return 0;
}

START_TEST(threads_can_be_made)
{
	ck_assert_exited(unit_child(make_threads, NULL), 0);
}
END_TEST

int main(void)
{
	if (secret_init() != 0)
		return EXIT_FAILURE;

	Suite *suite = suite_create("sandbox");
	TCase *tc = tcase_create("sandbox");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, files_outside);
	tcase_add_test(tc, calls);
	tcase_add_test(tc, process_state);
	tcase_add_test(tc, read_only);
	tcase_add_test(tc, no_such_directory);
	tcase_add_test(tc, serves_a_vault);
	tcase_add_test(tc, threads_can_be_made);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}

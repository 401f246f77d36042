// SPDX-License-Identifier: Apache-2.0
// The host shim over a real directory, and the helpers that work over any host.
#include "fusefs/host.h"

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/unit/hostenv.h"
#include "tests/unit/unit_main.h"

#define NUMBER 0x0123456789abcdefull // folder 02
#define OBJECT "02/0123456789abcdef"

static const struct host_ops *ops(void)
{
	return env.host->ops;
}

static struct host_file *open_top(const char *name, unsigned flags)
{
	struct host_file *f = NULL;

	ck_ok(ops()->open_top(env.host, name, flags, &f));
	ck_assert_ptr_null(f->cache);
	return f;
}

static mode_t mode_of(const char *name)
{
	struct stat st;
	char path[256];

	hostenv_path(path, sizeof(path), name);
	ck_ok(lstat(path, &st));
	return st.st_mode;
}

static int open_path(const char *name)
{
	char path[PATH_MAX];

	hostenv_path(path, sizeof(path), name);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	return fd;
}

// Whether the file system of the directory answers without waiting at all (tmpfs does not).
static bool host_tells(void)
{
	char byte = 0;
	const struct iovec iov = {&byte, 1};
	int fd = open_path("probe");

	ck_assert_int_eq(write(fd, "x", 1), 1);
	bool tells = preadv2(fd, &iov, 1, 0, RWF_NOWAIT) == 1;
	close(fd);
	return tells;
}

static void drop_from_memory(const char *name)
{
	int fd = open_path(name);

	ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	close(fd);
}

START_TEST(test_open_directory)
{
	struct host *h = NULL;
	char path[256];
	struct stat st;

	hostenv_path(path, sizeof(path), "absent");
	ck_assert_int_eq(host_posix_open(path, 0, &h), WERR_NOTFOUND);
	umask(022);
	ck_ok(host_posix_open(path, 1, &h));
	h->ops->close(h);
	ck_ok(stat(path, &st));
	ck_assert_uint_eq(st.st_mode & 07777, 0700);
	ck_ok(host_posix_open(path, 1, &h)); // there already: fine
	h->ops->close(h);
	h = NULL;
	hostenv_path(path, sizeof(path), "file");
	env.host->ops->file_close(open_top("file", HOST_RDWR | HOST_CREATE));
	ck_assert_int_eq(host_posix_open(path, 0, &h), WERR_NOTDIR);
	ck_assert_ptr_null(h);
}
END_TEST

START_TEST(test_folders)
{
	static const struct {
		uint64_t number;
		unsigned folder;
	} t[] = {{1, 0}, {1ull << 54, 0}, {1ull << 55, 1}, {NUMBER, 2}, {UINT64_MAX >> 1, 255}};

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		ck_assert_uint_eq(host_folder(t[i].number), t[i].folder);
}
END_TEST

START_TEST(test_flags)
{
	struct host_file *f = NULL;

	ck_assert_int_eq(ops()->open_top(env.host, "a", HOST_RDWR, &f), WERR_NOTFOUND);
	f = open_top("a", HOST_RDWR | HOST_CREATE);
	ops()->file_close(f);
	ck_assert_uint_eq(mode_of("a"), S_IFREG | 0600);
	ck_assert_int_eq(ops()->open_top(env.host, "a", HOST_RDWR | HOST_CREATE | HOST_EXCL, &f),
			 WERR_EXISTS);
	f = open_top("a", HOST_RDONLY);
	ck_assert_int_lt(host_pwrite(f, "x", 1, 0), 0);
	ops()->file_close(f);
	ck_assert_int_eq(ops()->open_object(env.host, NUMBER, HOST_RDWR, &f), WERR_NOTFOUND);
	ck_ok(ops()->open_object(env.host, NUMBER, HOST_RDWR | HOST_CREATE | HOST_EXCL, &f));
	ops()->file_close(f);
	ck_assert_uint_eq(mode_of("02"), S_IFDIR | 0700);
	ck_assert_uint_eq(mode_of(OBJECT), S_IFREG | 0600);
	ck_ok(ops()->sync_folder(env.host, 2));
	ck_ok(ops()->sync_folder(env.host, 3)); // not there
	ck_assert_int_eq(ops()->sync_folder(env.host, HOST_FOLDERS), WERR_INVALID);
	ck_ok(ops()->sync_top(env.host));
	ck_ok(ops()->unlink_object(env.host, NUMBER));
	ck_assert_int_eq(ops()->unlink_object(env.host, NUMBER), WERR_NOTFOUND);
	ck_assert_int_eq(ops()->unlink_object(env.host, 1ull << 62), WERR_NOTFOUND);
	ck_ok(ops()->unlink_top(env.host, "a"));
	ck_assert_int_eq(ops()->unlink_top(env.host, "a"), WERR_NOTFOUND);
}
END_TEST

#define PIECES 1500

START_TEST(test_io)
{
	struct host_file *f = open_top("a", HOST_RDWR | HOST_CREATE);
	static uint8_t out[PIECES][100], in[PIECES][100];
	struct iovec iov[PIECES], back[PIECES];
	uint64_t size = 0;
	size_t got = 0;

	// More pieces than one system call takes, empty ones among them.
	for (unsigned i = 0; i < PIECES; i++) {
		memset(out[i], (int)i + 1, 100);
		iov[i] = (struct iovec){out[i], i % 7 ? 100 : 0};
		back[i] = (struct iovec){in[i], i % 7 ? 100 : 0};
	}
	const size_t total = (PIECES - (PIECES + 6) / 7) * 100;
	ck_ok(ops()->pwritev(f, iov, PIECES, 10000));
	ck_ok(ops()->datasync(f));
	ck_ok(ops()->file_size(f, &size));
	ck_assert_uint_eq(size, 10000 + total);
	ck_ok(ops()->preadv(f, back, PIECES, 10000, &got));
	ck_assert_uint_eq(got, total);
	for (unsigned i = 0; i < PIECES; i++)
		ck_assert(!memcmp(in[i], out[i], i % 7 ? 100 : 0));
	// Past the end: zeros for what is missing, over several pieces.
	memset(in, 0xff, sizeof(in));
	ck_ok(ops()->preadv(f, back, PIECES, 10000 + total - 150, &got));
	ck_assert_uint_eq(got, 150);
	for (unsigned i = 1; i < PIECES; i++)
		for (unsigned b = 0; i % 7 && b < 100; b++)
			ck_assert_uint_eq(in[i][b] != 0, (i - 1) * 100 + b < 150);
	ck_ok(ops()->preadv(f, back, 2, 1u << 30, NULL));
	ck_assert_int_eq(ops()->preadv(f, back, 2, UINT64_MAX - 5, NULL), WERR_FBIG);
	ck_assert_int_eq(ops()->pwritev(f, back, 2, INT64_MAX - 5), WERR_FBIG);
	ops()->file_close(f);
}
END_TEST

// What was just written is in memory; what is not there, and what was dropped from memory, asks for
// the ordinary way.
START_TEST(test_cached)
{
	uint8_t bytes[8192] = {1}, back[8192];
	const struct iovec iov[2] = {{back, 4096}, {back + 4096, 4096}};
	struct host_file *f;

	ck_assert_int_eq(ops()->open_object(env.host, NUMBER, HOST_CACHED, &f), WERR_BUSY);
	ck_ok(ops()->open_object(env.host, NUMBER, HOST_RDWR | HOST_CREATE, &f));
	memset(bytes, 7, sizeof(bytes));
	ck_ok(host_pwrite(f, bytes, sizeof(bytes), 0));
	int err = ops()->preadv_cached(f, iov, 2, 0);
	ck_assert(err == 0 || !host_tells());
	ck_assert(err || !memcmp(back, bytes, sizeof(bytes)));
	ck_assert_int_eq(ops()->preadv_cached(f, iov, 2, 4096), WERR_BUSY);
	ck_assert_int_eq(ops()->preadv_cached(f, iov, 2, UINT64_MAX), WERR_BUSY);
	ck_ok(ops()->datasync(f));
	ops()->file_close(f);
	drop_from_memory(OBJECT);
	err = ops()->open_object(env.host, NUMBER, HOST_CACHED, &f);
	ck_assert(err == 0 || !host_tells());
	if (err == 0) {
		ck_assert_int_eq(ops()->preadv_cached(f, iov, 2, 0), WERR_BUSY);
		ops()->file_close(f);
	}
	ck_assert_int_eq(ops()->open_object(env.host, NUMBER + 1, HOST_CACHED, &f), WERR_BUSY);
}
END_TEST

START_TEST(test_size)
{
	struct host_file *f = open_top("a", HOST_RDWR | HOST_CREATE);
	uint8_t buf[12288];
	uint64_t size = 0;
	size_t got = 0;

	memset(buf, 7, sizeof(buf));
	ck_ok(host_pwrite(f, buf, sizeof(buf), 0));
	int rc = ops()->punch(f, 4096, 4096);
	ck_assert(!rc || rc == WERR_NOTSUP);
	ck_ok(ops()->punch(f, 4096, 0));
	ck_ok(host_pread(f, buf, sizeof(buf), 0, &got));
	ck_assert_uint_eq(got, sizeof(buf));
	ck_assert_uint_eq(buf[4095], 7);
	ck_assert_uint_eq(buf[4096], rc ? 7 : 0);
	ck_assert_uint_eq(buf[8191], rc ? 7 : 0);
	ck_assert_uint_eq(buf[8192], 7);
	ck_ok(ops()->truncate(f, 100));
	ck_ok(ops()->truncate(f, 5000));
	ck_ok(ops()->file_size(f, &size));
	ck_assert_uint_eq(size, 5000);
	ck_ok(host_pread(f, buf, 5000, 0, &got));
	ck_assert_uint_eq(buf[99], 7);
	ck_assert_uint_eq(buf[100], 0);
	ck_assert_int_eq(ops()->truncate(f, UINT64_MAX), WERR_FBIG);
	ck_assert_int_eq(ops()->punch(f, UINT64_MAX, 2), WERR_FBIG);
	ops()->file_close(f);
}
END_TEST

// Makes something under a path that is no plain file.
enum strange { LINK, BROKEN_LINK, FIFO, SOCKET, FOLDER, HARD_LINK, STRANGE };

static void make_strange(enum strange kind, const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char path[256], other[256];

	hostenv_path(path, sizeof(path), name);
	hostenv_path(other, sizeof(other), "victim");
	switch (kind) {
	case LINK:
		ck_ok(symlink(other, path));
		break;
	case BROKEN_LINK:
		ck_ok(symlink("/nonexistent/wardfs", path));
		break;
	case FIFO:
		ck_ok(mkfifo(path, 0600));
		break;
	case SOCKET: {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		ck_assert_int_lt(snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path),
				 (int)sizeof(addr.sun_path));
		ck_ok(bind(fd, (struct sockaddr *)&addr, sizeof(addr)));
		close(fd);
		break;
	}
	case FOLDER:
		ck_ok(mkdir(path, 0700));
		break;
	case HARD_LINK:
	case STRANGE:
		ck_ok(link(other, path));
		break;
	}
}

// Nothing strange is followed, blocked on, or used; it can be moved aside.
START_TEST(test_strange)
{
	static const unsigned flags[] = {HOST_RDONLY, HOST_RDWR, HOST_RDWR | HOST_CREATE};
	struct host_file *f = NULL;

	ops()->file_close(open_top("victim", HOST_RDWR | HOST_CREATE));
	ck_ok(ops()->open_object(env.host, NUMBER + 1, HOST_RDWR | HOST_CREATE, &f));
	ops()->file_close(f);
	make_strange((enum strange)_i, "strange");
	make_strange((enum strange)_i, OBJECT);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert_int_eq(ops()->open_top(env.host, "strange", flags[i], &f), WERR_DAMAGED);
		ck_assert_int_eq(ops()->open_object(env.host, NUMBER, flags[i], &f), WERR_DAMAGED);
	}
	uint8_t *buf;
	size_t len;
	ck_assert_int_eq(host_read_top(env.host, "strange", 100, &buf, &len), WERR_DAMAGED);
	for (int n = 0; n < 2; n++) {
		char aside[64];

		ck_ok(ops()->set_aside(env.host, NUMBER));
		ck_assert_int_eq(ops()->set_aside(env.host, NUMBER), WERR_NOTFOUND);
		snprintf(aside, sizeof(aside), OBJECT ".junk.%d", n);
		mode_of(aside);
		if (n == 0)
			make_strange((enum strange)_i, OBJECT);
	}
	ck_ok(ops()->open_object(env.host, NUMBER, HOST_RDWR | HOST_CREATE | HOST_EXCL, &f));
	ops()->file_close(f);
}
END_TEST

// The folder itself must be one.
START_TEST(test_strange_folder)
{
	struct host_file *f = NULL;
	char path[256];

	hostenv_path(path, sizeof(path), "02");
	ck_ok(_i ? symlink("/tmp", path) : mkfifo(path, 0600));
	ck_assert_int_eq(ops()->open_object(env.host, NUMBER, HOST_RDWR | HOST_CREATE, &f),
			 WERR_DAMAGED);
	ck_assert_int_eq(ops()->unlink_object(env.host, NUMBER), WERR_DAMAGED);
	ck_assert_int_eq(ops()->sync_folder(env.host, 2), WERR_DAMAGED);
}
END_TEST

struct listing {
	unsigned objects, others, stop_after;
	uint64_t number;
};

static int list_object(void *arg, const char *name, uint64_t number)
{
	struct listing *l = arg;

	ck_assert_ptr_nonnull(name);
	l->objects += number != 0;
	l->others += number == 0;
	if (number)
		l->number = number;
	return l->stop_after && l->objects + l->others == l->stop_after ? WERR_BUSY : 0;
}

static int list_name(void *arg, const char *name)
{
	struct listing *l = arg;

	l->others += strcmp(name, "top") == 0;
	l->objects += strcmp(name, "02") == 0;
	return l->stop_after && l->stop_after == l->objects + l->others ? WERR_BUSY : 0;
}

START_TEST(test_lists)
{
	static const char *const others[] = {
		"02/0123456789ABCDEF", "02/0123456789abcdef0", "02/x",
		"02/123456789abcdef",  "02/ffffffffffffffff",  "02/0000000000000000"};
	struct listing l = {0};
	struct host_file *f = NULL;

	ck_ok(ops()->list_folder(env.host, 2, list_object, &l));
	ck_assert_int_eq(ops()->list_folder(env.host, HOST_FOLDERS, list_object, &l), WERR_INVALID);
	ck_ok(ops()->open_object(env.host, NUMBER, HOST_RDWR | HOST_CREATE, &f));
	ops()->file_close(f);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		ops()->file_close(open_top(others[i], HOST_RDWR | HOST_CREATE));
	for (int again = 0; again < 2; again++) {
		memset(&l, 0, sizeof(l));
		ck_ok(ops()->list_folder(env.host, 2, list_object, &l));
		ck_assert_uint_eq(l.objects, 1);
		ck_assert_uint_eq(l.number, NUMBER);
		ck_assert_uint_eq(l.others, sizeof(others) / sizeof(others[0]));
	}
	l = (struct listing){.stop_after = 3};
	ck_assert_int_eq(ops()->list_folder(env.host, 2, list_object, &l), WERR_BUSY);
	ck_assert_uint_eq(l.objects + l.others, 3);
	ops()->file_close(open_top("top", HOST_RDWR | HOST_CREATE));
	l = (struct listing){0};
	ck_ok(ops()->list_top(env.host, list_name, &l));
	ck_assert_uint_eq(l.objects, 1);
	ck_assert_uint_eq(l.others, 1);
	l = (struct listing){.stop_after = 1};
	ck_assert_int_eq(ops()->list_top(env.host, list_name, &l), WERR_BUSY);
}
END_TEST

START_TEST(test_lock_and_space)
{
	struct host_space space = {0};
	struct host *other = NULL;

	ck_ok(ops()->space(env.host, &space));
	ck_assert_uint_gt(space.block_bytes, 0);
	ck_assert_uint_ge(space.blocks, space.blocks_free);
	ck_ok(host_posix_open(env.dir, 0, &other));
	ck_ok(ops()->lock(env.host, 1));
	ck_assert_int_eq(other->ops->lock(other, 1), WERR_BUSY);
	ck_assert_int_eq(other->ops->lock(other, 0), WERR_BUSY);
	ck_ok(ops()->lock(env.host, 0));
	ck_ok(other->ops->lock(other, 0));
	ck_assert_int_eq(other->ops->lock(other, 1), WERR_BUSY);
	hostenv_close();
	ck_ok(other->ops->lock(other, 1));
	other->ops->close(other);
	hostenv_open();
}
END_TEST

static int fail_kind; // of host_replace_top: 1 the write, 2 the flush

static int fail_write(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off)
{
	(void)f, (void)iov, (void)iovcnt, (void)off;
	return fail_kind == 1 ? WERR_NOSPACE : 0;
}

static int fail_sync(struct host_file *f)
{
	(void)f;
	return fail_kind == 2 ? WERR_IO : 0;
}

static void check_top(const char *text)
{
	uint8_t *buf = NULL;
	size_t len = 0;

	ck_ok(host_read_top(env.host, "a", 100, &buf, &len));
	ck_assert_uint_eq(len, strlen(text));
	ck_assert(!memcmp(buf, text, len));
	free(buf);
}

START_TEST(test_replace)
{
	char long_name[260];
	uint8_t *buf = NULL;
	size_t len = 0;

	ck_assert_int_eq(host_read_top(env.host, "a", 100, &buf, &len), WERR_NOTFOUND);
	ck_ok(host_replace_top(env.host, "a", "first", 5));
	check_top("first");
	// A leftover of another run, longer than what comes.
	struct host_file *f = open_top("a.new", HOST_RDWR | HOST_CREATE);
	ck_ok(host_pwrite(f, "leftover leftover", 17, 0));
	ops()->file_close(f);
	ck_ok(host_replace_top(env.host, "a", "second", 6));
	check_top("second");
	ck_assert_int_eq(host_read_top(env.host, "a", 5, &buf, &len), WERR_LIMIT);
	ck_ok(host_read_top(env.host, "a", 6, &buf, &len));
	free(buf);
	env.on_write = fail_write;
	env.on_sync = fail_sync;
	for (fail_kind = 1; fail_kind <= 2; fail_kind++) {
		struct host_file *left = NULL;

		ck_assert_int_eq(host_replace_top(env.host, "a", "third", 5),
				 fail_kind == 1 ? WERR_NOSPACE : WERR_IO);
		check_top("second");
		ck_assert_int_eq(ops()->open_top(env.host, "a.new", HOST_RDONLY, &left),
				 WERR_NOTFOUND);
	}
	ck_assert_uint_eq(mode_of("a"), S_IFREG | 0600);
	ck_ok(host_replace_top(env.host, "a", "", 0));
	check_top("");
	memset(long_name, 'n', sizeof(long_name));
	long_name[252] = 0;
	ck_assert_int_eq(host_replace_top(env.host, long_name, "", 0), WERR_NAMETOOLONG);
}
END_TEST

// Errors of the host keep their meaning.
START_TEST(test_errors)
{
	struct host_file *f[64] = {0};
	struct rlimit old, few;
	int rc = 0, n = 0;

	ck_ok(getrlimit(RLIMIT_NOFILE, &old));
	few = old;
	few.rlim_cur = 32;
	ck_ok(setrlimit(RLIMIT_NOFILE, &few));
	for (n = 0; n < 64 && !rc; n++)
		rc = ops()->open_object(env.host, (uint64_t)n + 10, HOST_RDWR | HOST_CREATE, &f[n]);
	ck_assert_int_eq(rc, WERR_MFILE);
	ck_ok(setrlimit(RLIMIT_NOFILE, &old));
	for (n = 0; n < 64 && f[n]; n++)
		ops()->file_close(f[n]);
	// A write that comes to its end in the middle.
	struct rlimit tiny = {.rlim_cur = 4096, .rlim_max = RLIM_INFINITY};
	struct host_file *g = open_top("a", HOST_RDWR | HOST_CREATE);
	ck_ok(getrlimit(RLIMIT_FSIZE, &old));
	tiny.rlim_max = old.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	ck_ok(setrlimit(RLIMIT_FSIZE, &tiny));
	uint8_t page[8192] = {0};
	ck_assert_int_eq(host_pwrite(g, page, sizeof(page), 0), WERR_FBIG);
	ck_ok(setrlimit(RLIMIT_FSIZE, &old));
	ops()->file_close(g);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("host");
	TCase *c = tcase_create("all");

	tcase_add_checked_fixture(c, hostenv_setup, hostenv_teardown);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, test_open_directory);
	tcase_add_test(c, test_folders);
	tcase_add_test(c, test_flags);
	tcase_add_test(c, test_io);
	tcase_add_test(c, test_cached);
	tcase_add_test(c, test_size);
	tcase_add_loop_test(c, test_strange, 0, STRANGE);
	tcase_add_loop_test(c, test_strange_folder, 0, 2);
	tcase_add_test(c, test_lists);
	tcase_add_test(c, test_lock_and_space);
	tcase_add_test(c, test_replace);
	tcase_add_test(c, test_errors);
	suite_add_tcase(s, c);
	return s;
}

int main(void)
{
	return unit_main(suite());
}

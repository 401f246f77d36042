// SPDX-License-Identifier: Apache-2.0
// The rows of STORAGE.md section 7 that are about the FUSE side, over a socketpair (the others:
// tests/crash/mistakes.c).
//
//   test_mistakes lost-o-trunc | fsync-waits | --list
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/crash/simvault.h"
#include "tests/fuse/harness.h"

#define SECONDS 150
#define FSYNCS 200u
#define THREADS 4u

static struct peer peer;
static struct simvault vault;

static uint64_t make_file(const char *name)
{
	const struct fuse_mknod_in in = {.mode = S_IFREG | 0644};
	struct reply r = peer_call(&peer, FUSE_MKNOD, FS_ROOT, &in, sizeof(in), name);
	struct fuse_entry_out e;

	EXPECT(r.err == 0, "mknod: errno %d", r.err);
	memcpy(&e, r.data, sizeof(e));
	return e.nodeid;
}

static void write_file(uint64_t ino, uint64_t off, uint32_t len)
{
	static uint8_t bytes[20000];
	const struct fuse_write_in in = {.offset = off, .size = len};
	const struct piece pieces[] = {{&in, sizeof(in)}, {bytes, len}};

	memset(bytes, 7, sizeof(bytes));
	struct reply r = peer_wait(&peer, peer_send(&peer, FUSE_WRITE, ino, pieces, 2));

	EXPECT(r.err == 0, "write: errno %d", r.err);
}

// What the kernel does for open(O_TRUNC): where the server has asked for FUSE_ATOMIC_O_TRUNC it
// leaves the truncation to OPEN, which it does not send any more once the server has said ENOSYS.
static void kernel_opens_with_trunc(uint64_t ino)
{
	const struct fuse_open_in in = {.flags = O_WRONLY | O_TRUNC};
	const struct fuse_setattr_in set = {.valid = FATTR_SIZE};

	if (peer.init.flags & FUSE_ATOMIC_O_TRUNC) {
		(void)peer_call(&peer, FUSE_OPEN, ino, &in, sizeof(in), NULL);
		return;
	}
	struct reply r = peer_call(&peer, FUSE_SETATTR, ino, &set, sizeof(set), NULL);

	EXPECT(r.err == 0, "setattr: errno %d", r.err);
}

// open(O_TRUNC), no write, a new mount. (tests/fuse/mounted has it on a real mount, too.)
START_TEST(lost_o_trunc)
{
	simvault_begin(&vault, NULL);
	peer_start(&peer, vault.fs, THREADS, true);
	uint64_t ino = make_file("f");

	write_file(ino, 0, 20000);
	kernel_opens_with_trunc(ino);
	EXPECT(peer_stop(&peer) == 0, "the server did not end well");
	simvault_remount(&vault);
	EXPECT(sv_size(&vault, sv_find(&vault, FS_ROOT, "f")) == 0, "the file is not empty");
	simvault_end(&vault);
}
END_TEST

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int hold, waiting;
} gate = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

// While the gate is shut no flush ends.
static void at_flush(void *arg, enum simcall kind)
{
	(void)arg;
	if (kind != SIM_DATASYNC)
		return;
	pthread_mutex_lock(&gate.lock);
	while (gate.hold) {
		gate.waiting = 1;
		pthread_cond_broadcast(&gate.changed);
		pthread_cond_wait(&gate.changed, &gate.lock);
	}
	pthread_mutex_unlock(&gate.lock);
}

static void shut_gate(int hold)
{
	pthread_mutex_lock(&gate.lock);
	gate.hold = hold;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.lock);
}

static uint64_t send_getattr(uint64_t ino)
{
	static const struct fuse_getattr_in in;
	const struct piece piece = {&in, sizeof(in)};

	return peer_send(&peer, FUSE_GETATTR, ino, &piece, 1);
}

// As many fsyncs as there are threads many times over wait for the disk; a stat is answered while
// the disk does nothing.
START_TEST(fsync_waits)
{
	const struct fs_params params = {.checkpoint_ms = 600000};
	static const struct fuse_fsync_in in;
	const struct piece piece = {&in, sizeof(in)};
	static uint64_t sent[FSYNCS], files[FSYNCS];
	char name[16];

	simvault_begin(&vault, &params);
	simvault_close(&vault);
	simhost_on_call(vault.disk, at_flush, NULL);
	vault.params.blocking = fuse_server_blocking;
	simvault_open(&vault);
	peer_start(&peer, vault.fs, THREADS, true);
	for (unsigned i = 0; i < FSYNCS; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		files[i] = make_file(name);
		write_file(files[i], 0, 100);
	}
	shut_gate(1);
	for (unsigned i = 0; i < FSYNCS; i++)
		sent[i] = peer_send(&peer, FUSE_FSYNC, files[i], &piece, 1);
	pthread_mutex_lock(&gate.lock);
	while (!gate.waiting)
		pthread_cond_wait(&gate.changed, &gate.lock);
	pthread_mutex_unlock(&gate.lock);
	for (unsigned i = 0; i < FSYNCS; i++) {
		struct reply r = peer_wait(&peer, send_getattr(files[i]));

		EXPECT(r.err == 0, "stat: errno %d", r.err);
	}
	shut_gate(0);
	for (unsigned i = 0; i < FSYNCS; i++) {
		struct reply r = peer_wait(&peer, sent[i]);

		EXPECT(r.err == 0, "fsync: errno %d", r.err);
	}
	EXPECT(peer_stop(&peer) == 0, "the server did not end well");
	simvault_end(&vault);
}
END_TEST

int main(int argc, char **argv)
{
	const struct {
		const char *name, *planted;
		const TTest *test;
	} tests[] = {
		{"lost-o-trunc", "LOST_O_TRUNC", lost_o_trunc},
		{"fsync-waits", "FSYNC_WAITS", fsync_waits},
	};
	const char *name = argc == 2 ? argv[1] : "";
	Suite *suite = suite_create("mistakes");

	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		TCase *one = tcase_create(tests[i].name);

		if (strcmp(name, "--list") == 0)
			printf("%s %s\n", tests[i].name, tests[i].planted);
		tcase_set_timeout(one, SECONDS);
		tcase_add_test(one, tests[i].test);
		suite_add_tcase(suite, one);
	}
	SRunner *runner = srunner_create(suite);

	if (strcmp(name, "--list") != 0)
		srunner_run(runner, "mistakes", name, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);

	srunner_free(runner);
	return failed != 0;
}

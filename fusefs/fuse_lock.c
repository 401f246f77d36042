// SPDX-License-Identifier: Apache-2.0
// A server's part in locking: refusing while the kernel brings what it holds, leaving the
// connection to somebody else, and coming back to one that is set up.
#include "fusefs/fuse_private.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "fusefs/handover.h"

#define WROTE_MAX 65536

// ---- refusing ----

static void note_write(struct fuse_refusal *f, uint64_t ino)
{
	pthread_mutex_lock(&f->lock);
	// Writes of one file mostly come in a row.
	bool known = f->wrote_len > 0 && f->wrote[f->wrote_len - 1] == ino;
	if (!known && f->wrote_len == f->wrote_cap && f->wrote_cap < WROTE_MAX) {
		size_t cap = f->wrote_cap != 0 ? f->wrote_cap * 2 : 64;
		uint64_t *wrote = realloc(f->wrote, cap * sizeof(*wrote));

		if (wrote != NULL) {
			f->wrote = wrote;
			f->wrote_cap = cap;
		}
	}
	if (!known && f->wrote_len < f->wrote_cap)
		f->wrote[f->wrote_len++] = ino;
	else if (!known)
		f->wrote_lost = true;
	pthread_mutex_unlock(&f->lock);
}

int fuse_refusal_check(struct fuse_server *s, const struct wire_request *r)
{
	int error = atomic_load_explicit(&s->refusal.error, memory_order_relaxed);

	if (error == 0)
		return 0;
	switch (r->opcode) {
	case FUSE_WRITE:
		note_write(&s->refusal, r->nodeid);
		return 0;
	case FUSE_GETATTR:
		return r->nodeid == FUSE_ROOT_ID ? 0 : error;
	case FUSE_SETATTR:
		// Its reply would tell the kernel attributes, with which programs could go on
		// writing.
		return r->times ? 0 : error;
	case FUSE_FSYNC:
	case FUSE_FSYNCDIR:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_STATFS:
	case FUSE_DESTROY:
	case FUSE_INIT:
		return 0;
	default:
		return error;
	}
}

void fuse_server_refuse(struct fuse_server *s, int error)
{
	pthread_mutex_lock(&s->refusal.lock);
	s->refusal.wrote_len = 0;
	s->refusal.wrote_lost = false;
	pthread_mutex_unlock(&s->refusal.lock);
	atomic_store(&s->refusal.error, error);
}

int fuse_server_wrote(struct fuse_server *s, uint64_t **ret, size_t *ret_len, int *ret_all)
{
	struct fuse_refusal *f = &s->refusal;
	int err = 0;

	pthread_mutex_lock(&f->lock);
	uint64_t *list = malloc((f->wrote_len + 1) * sizeof(*list));
	if (list == NULL) {
		err = WERR_NOMEM;
	} else {
		if (f->wrote_len > 0)
			memcpy(list, f->wrote, f->wrote_len * sizeof(*list));
		*ret = list;
		*ret_len = f->wrote_len;
		*ret_all = f->wrote_lost;
		f->wrote_len = 0;
		f->wrote_lost = false;
	}
	pthread_mutex_unlock(&f->lock);
	return err;
}

// ---- the kernel's names ----

// Collected first: the notification waits for requests that need the directory.
struct names {
	char *bytes; // NUL-terminated names in a row
	size_t len, cap;
	bool failed;
};

static void collect(void *arg, const char *name)
{
	struct names *n = arg;
	size_t len = strlen(name) + 1;

	if (n->cap - n->len < len) {
		size_t cap = n->cap != 0 ? n->cap * 2 : 65536;
		char *bytes = malloc(cap);

		if (bytes == NULL) {
			n->failed = true;
			return;
		}
		if (n->len > 0) {
			memcpy(bytes, n->bytes, n->len);
			secret_wipe(n->bytes, n->len);
		}
		free(n->bytes);
		n->bytes = bytes;
		n->cap = cap;
	}
	memcpy(n->bytes + n->len, name, len);
	n->len += len;
}

int fuse_server_forget_names(struct fuse_server *s)
{
	struct names n = {0};
	int err = fs_known_names(s->fs, FS_ROOT, collect, &n);

	for (size_t at = 0; err == 0 && at < n.len; at += strlen(n.bytes + at) + 1)
		// Unknown to the kernel: nothing to forget.
		(void)fuse_lowlevel_notify_inval_entry(s->se, FUSE_ROOT_ID, n.bytes + at,
						       strlen(n.bytes + at));
	if (n.len > 0)
		secret_wipe(n.bytes, n.len);
	free(n.bytes);
	return err != 0 ? err : n.failed ? WERR_NOMEM : 0;
}

struct reminder {
	struct names names;
	char mountpoint[];
};

static void *remind(void *arg)
{
	struct reminder *r = arg;
	int root = open(r->mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);

	for (size_t at = 0; root >= 0 && at < r->names.len; at += strlen(r->names.bytes + at) + 1) {
		struct stat st;
		int ignored = fstatat(root, r->names.bytes + at, &st,
				      AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT);

		(void)ignored;
	}
	if (root >= 0)
		close(root);
	if (r->names.len > 0)
		secret_wipe(r->names.bytes, r->names.len);
	free(r->names.bytes);
	free(r);
	return NULL;
}

void fuse_server_remind(struct fuse_server *s, const char *mountpoint)
{
	size_t len = strlen(mountpoint) + 1;
	struct reminder *r = calloc(1, sizeof(*r) + len);
	sigset_t all, old;
	pthread_t thread;

	if (r == NULL)
		return;
	memcpy(r->mountpoint, mountpoint, len);
	// What was found before a failure will do.
	int ignored = fs_known_names(s->fs, FS_ROOT, collect, &r->names);
	(void)ignored;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&thread, NULL, remind, r) == 0) {
		pthread_detach(thread);
	} else {
		if (r->names.len > 0)
			secret_wipe(r->names.bytes, r->names.len);
		free(r->names.bytes);
		free(r);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

// ---- leaving and coming back ----

void fuse_server_pause(struct fuse_server *s)
{
	atomic_store(&s->pause_asked, true);
	loop_kick(s->loop);
}

void fuse_server_connection(const struct fuse_server *s, struct fuse_connection *ret)
{
	*ret = (struct fuse_connection){.fd = s->fd, .init_len = s->init_len};
	memcpy(ret->init, s->init, s->init_len);
}

// libfuse learns what was negotiated as it always does; the reply stays here.
static int process_old_init(struct fuse_server *s, const struct fuse_connection *c)
{
	uint8_t request[FUSE_INIT_ROOM] = {0};
	const struct fuse_buf buf = {.mem = request, .size = c->init_len};
	struct wire_request r;

	if (c->init_len > sizeof(request) / 2)
		return WERR_MALFORMED;
	memcpy(request, c->init, c->init_len);
	if (wire_parse(request, c->init_len, false, LOOP_PAYLOAD_BYTES, &r) != 0 ||
	    r.opcode != FUSE_INIT)
		return WERR_MALFORMED;
	s->resuming = true;
	fuse_session_process_buf(s->se, &buf);
	s->resuming = false;
	if (fuse_session_exited(s->se) || !s->negotiated)
		return WERR_MALFORMED;
	s->init_flags = r.init_flags;
	s->setxattr_ext = (r.init_flags & FUSE_SETXATTR_EXT) != 0;
	memcpy(s->init, c->init, c->init_len);
	s->init_len = c->init_len;
	atomic_store(&s->init_done, true);
	loop_kick(s->loop);
	return 0;
}

int fuse_server_resume(struct fs *fs, const struct mountopts *opts, const struct fuse_connection *c,
		       struct fuse_server **ret)
{
	struct fuse_server *s;
	int fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 3);

	if (fd < 0)
		return WERR_MFILE;
	int err = fuse_server_new(fs, opts, NULL, fd, &s);
	if (err != 0) {
		close(fd);
		return err;
	}
	err = process_old_init(s, c);
	if (err != 0) {
		fuse_server_free(s);
		return err;
	}
	close(c->fd);
	*ret = s;
	return 0;
}

int fuse_server_replay(struct fuse_server *s, const void *request, size_t len)
{
	struct loop_worker *w;

	if (len > LOOP_IN_BYTES)
		return WERR_LIMIT;
	int err = loop_guest_enter(s->loop, LOOP_THREADS_MAX, &w);
	if (err != 0)
		return err;
	memcpy(w->in, request, len);
	fuse_process_again(s, w, len);
	loop_guest_leave(s->loop);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Contents: reading, writing, syncing, holes.
#include "fusefs/fuse_private.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fusefs/planted.h"

// One COPY_FILE_RANGE copies at most this much: the caller comes again, and can be interrupted in
// between.
#define COPY_BYTES_MAX (16u << 20)

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	// ENOSYS: the kernel opens by itself from now on, and keeps the cache. Nothing here is kept
	// per open file.
	if (fuse_server_of(req)->no_open) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->keep_cache = 1;
	fuse_reply_open(req, fi);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	const struct fuse_server *server = fuse_server_of(req);
	uint8_t *buf = loop_self()->out;
	size_t len = 0;

	(void)fi;
	int err = fs_read(server->fs, ino, (uint64_t)off, size, buf, &len);
	// Also what a failed read has left, and the rest of a last page.
	loop_out_used(size);
	if (err != 0)
		fuse_fail(req, err);
	else
		fuse_reply_buf(req, (const char *)buf, len);
	fs_read_ahead(server->fs);
}

static void fsync_done(void *arg, int err)
{
	fuse_req_t req = arg;
	struct fuse_server *s = fuse_server_of(req);

	fuse_fail(req, err);
	pthread_mutex_lock(&s->lock);
	if (--s->parked == 0)
		pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

// No thread waits: the committer replies.
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fuse_server *s = fuse_server_of(req);

	(void)fi;
	pthread_mutex_lock(&s->lock);
	s->parked++;
	pthread_mutex_unlock(&s->lock);
	fs_fsync(s->fs, ino, datasync, fsync_done, req);
	if (WARD_PLANTED(FSYNC_WAITS))
		fuse_wait_parked(s);
}

void fuse_wait_parked(struct fuse_server *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->parked > 0)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

// A reply that the kernel must be notified before.
struct fuse_notice {
	struct fuse_notice *next;
	fuse_req_t req;
	uint64_t ino;
	enum {
		NOTICE_SEEK,  // drop the cached pages, writing back; then look for data or a hole
		NOTICE_WRITE, // drop the cached attributes; then reply with the count
		NOTICE_EMPTY, // the same; then reply without data
	} kind;
	uint64_t value; // offset or count
	int whence;
};

static void answer_notice(struct fuse_server *s, struct fuse_notice *n)
{
	uint64_t found = 0;
	int err;

	switch (n->kind) {
	case NOTICE_SEEK:
		err = fs_lseek(s->fs, n->ino, n->value, n->whence, &found);
		if (err != 0)
			fuse_fail(n->req, err);
		else
			fuse_reply_lseek(n->req, (off_t)found);
		break;
	case NOTICE_WRITE:
		fuse_reply_write(n->req, (size_t)n->value);
		break;
	case NOTICE_EMPTY:
		fuse_reply_err(n->req, 0);
		break;
	}
	free(n);
}

static void queue_notice(fuse_req_t req, const struct fuse_notice *what)
{
	struct fuse_server *s = fuse_server_of(req);
	struct fuse_notice *n = malloc(sizeof(*n));

	if (n == NULL) {
		fuse_fail(req, WERR_NOMEM);
		return;
	}
	*n = *what;
	n->next = NULL;
	n->req = req;
	pthread_mutex_lock(&s->lock);
	bool late = s->notifier_stop;
	if (!late) {
		*s->notices_end = n;
		s->notices_end = &n->next;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	// Unmounting has written everything back already.
	if (late)
		answer_notice(s, n);
}

static void *notifier_main(void *arg)
{
	struct fuse_server *s = arg;
	sigset_t set;

	sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct fuse_notice *n = s->notices;

		if (n != NULL) {
			s->notices = n->next;
			if (s->notices == NULL)
				s->notices_end = &s->notices;
			pthread_mutex_unlock(&s->lock);
			// Fails when the kernel knows nothing of the file: then nothing is missing.
			// A negative offset means the attributes alone.
			(void)fuse_lowlevel_notify_inval_inode(s->se, n->ino,
							       n->kind == NOTICE_SEEK ? 0 : -1, 0);
			answer_notice(s, n);
			pthread_mutex_lock(&s->lock);
		} else if (s->notifier_stop) {
			break;
		} else {
			pthread_cond_wait(&s->changed, &s->lock);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int fuse_notifier_start(struct fuse_server *s)
{
	return pthread_create(&s->notifier, NULL, notifier_main, s) == 0 ? 0 : WERR_NOMEM;
}

void fuse_notifier_stop(struct fuse_server *s)
{
	pthread_mutex_lock(&s->lock);
	s->notifier_stop = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->notifier, NULL);
}

// With the write-back cache only the kernel knows what was written last, and it does not write back
// before it asks for data or holes: a copy of a file that is still open would miss it. So what it
// holds is asked for first. The notification waits for WRITEs that workers must serve, hence it
// comes from a thread of its own that holds nothing.
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	const struct fuse_notice n = {
		.kind = NOTICE_SEEK, .ino = ino, .value = (uint64_t)off, .whence = whence};

	(void)fi;
	if (off >= 0 && (whence == SEEK_DATA || whence == SEEK_HOLE))
		queue_notice(req, &n);
	else
		fuse_fail(req, WERR_INVALID);
}

// Whether there are bits that a change of the content by this caller would clear. The kernel goes
// on believing its cached mode after it has asked for the clearing, so it must be told.
static bool has_privileges(struct fs *fs, uint64_t ino)
{
	struct fs_stat st;

	return fs_getattr(fs, ino, &st) == 0 && (st.attr.mode & (S_ISUID | S_ISGID)) != 0;
}

static void answer_count(fuse_req_t req, uint64_t ino, uint64_t count, bool tell)
{
	const struct fuse_notice n = {.kind = NOTICE_WRITE, .ino = ino, .value = count};

	if (tell)
		queue_notice(req, &n);
	else
		fuse_reply_write(req, (size_t)count);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi)
{
	struct fs *fs = fuse_server_of(req)->fs;
	bool kill = (loop_self()->flags & REQUEST_KILL) != 0;
	bool tell = kill && has_privileges(fs, ino);
	int err = WERR_FBIG;

	if ((uint64_t)off <= FS_SIZE_MAX && size <= FS_SIZE_MAX - (uint64_t)off)
		err = fs_write(fs, ino, (uint64_t)off, buf, size,
			       (kill ? FS_WRITE_KILL : 0) | (fi->writepage ? FS_WRITE_CACHED : 0));
	if (err != 0)
		fuse_fail(req, err);
	else
		answer_count(req, ino, size, tell);
}

// FALLOCATE and COPY_FILE_RANGE carry no flag for it. Those without CAP_FSETID, which root has,
// clear the bits.
static bool must_clear(fuse_req_t req, uint64_t ino)
{
	return fuse_req_ctx(req)->uid != 0 && has_privileges(fuse_server_of(req)->fs, ino);
}

static int clear_privileges(fuse_req_t req, uint64_t ino)
{
	const struct fs_setattr set = {.valid = FS_SET_KILL};
	struct fs_stat st;

	return fs_setattr(fuse_server_of(req)->fs, ino, &set, &st);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi)
{
	const struct fuse_notice n = {.kind = NOTICE_EMPTY, .ino = ino};
	bool tell = must_clear(req, ino);
	int err = WERR_INVALID;

	(void)fi;
	if (off >= 0 && len > 0) {
		bool fits = (uint64_t)off <= FS_SIZE_MAX &&
			    (uint64_t)len <= FS_SIZE_MAX - (uint64_t)off;

		err = fits ? fs_fallocate(fuse_server_of(req)->fs, ino, mode, (uint64_t)off,
					  (uint64_t)len)
			   : WERR_FBIG;
	}
	if (err == 0 && tell)
		err = clear_privileges(req, ino);
	if (tell && err == 0)
		queue_notice(req, &n);
	else
		fuse_fail(req, err);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t in_off, struct fuse_file_info *in_fi,
			fuse_ino_t out, off_t out_off, struct fuse_file_info *out_fi, size_t len,
			int flags)
{
	uint64_t done = 0;
	bool tell = must_clear(req, out);
	int err = WERR_INVALID;

	(void)in_fi;
	(void)out_fi;
	if (len > COPY_BYTES_MAX)
		len = COPY_BYTES_MAX;
	if (flags == 0 && in_off >= 0 && out_off >= 0) {
		if ((uint64_t)out_off > FS_SIZE_MAX || len > FS_SIZE_MAX - (uint64_t)out_off)
			err = WERR_FBIG;
		else
			err = fs_copy_range(fuse_server_of(req)->fs, in, (uint64_t)in_off, out,
					    (uint64_t)out_off, len, &done);
	}
	if (err == 0 && tell)
		err = clear_privileges(req, out);
	if (err != 0)
		fuse_fail(req, err);
	else
		answer_count(req, out, done, tell);
}

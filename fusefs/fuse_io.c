// SPDX-License-Identifier: Apache-2.0
// Contents: reading, writing, syncing, holes.
#include "fusefs/fuse_private.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

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
	uint8_t *buf = loop_self()->out;
	size_t len = 0;

	(void)fi;
	int err = fs_read(fuse_server_of(req)->fs, ino, (uint64_t)off, size, buf, &len);
	if (err != 0)
		fuse_fail(req, err);
	else
		fuse_reply_buf(req, (const char *)buf, len);
}

void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi)
{
	int err = WERR_FBIG;

	(void)fi;
	if ((uint64_t)off <= FS_SIZE_MAX && size <= FS_SIZE_MAX - (uint64_t)off)
		err = fs_write(fuse_server_of(req)->fs, ino, (uint64_t)off, buf, size,
			       (loop_self()->flags & REQUEST_KILL) != 0);
	if (err != 0)
		fuse_fail(req, err);
	else
		fuse_reply_write(req, size);
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
}

void fuse_wait_parked(struct fuse_server *s)
{
	pthread_mutex_lock(&s->lock);
	while (s->parked > 0)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi)
{
	int err = WERR_INVALID;

	(void)fi;
	if (off >= 0 && len > 0) {
		uint64_t room = (uint64_t)off <= FS_SIZE_MAX ? FS_SIZE_MAX - (uint64_t)off : 0;

		err = (uint64_t)len > room ? WERR_FBIG
					   : fs_fallocate(fuse_server_of(req)->fs, ino, mode,
							  (uint64_t)off, (uint64_t)len);
	}
	fuse_fail(req, err);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t in_off, struct fuse_file_info *in_fi,
			fuse_ino_t out, off_t out_off, struct fuse_file_info *out_fi, size_t len,
			int flags)
{
	uint64_t done = 0;
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
	if (err != 0)
		fuse_fail(req, err);
	else
		fuse_reply_write(req, (size_t)done);
}

struct seek_request {
	struct seek_request *next;
	fuse_req_t req;
	uint64_t ino;
	uint64_t off;
	int whence;
};

static void answer_seek(struct fuse_server *s, struct seek_request *q)
{
	uint64_t found = 0;

	int err = fs_lseek(s->fs, q->ino, q->off, q->whence, &found);
	if (err != 0)
		fuse_fail(q->req, err);
	else
		fuse_reply_lseek(q->req, (off_t)found);
	free(q);
}

// With the write-back cache only the kernel knows what was written last, and it does not write back
// before it asks for data or holes: a copy of a file that is still open would miss it. So what it
// holds is asked for first. The notification waits for WRITEs that workers must serve, hence it
// comes from a thread of its own that holds nothing.
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct fuse_server *s = fuse_server_of(req);
	struct seek_request *q = NULL;
	int err = WERR_INVALID;

	(void)fi;
	if (off >= 0 && (whence == SEEK_DATA || whence == SEEK_HOLE)) {
		q = malloc(sizeof(*q));
		err = q == NULL ? WERR_NOMEM : 0;
	}
	if (err != 0) {
		fuse_fail(req, err);
		return;
	}
	*q = (struct seek_request){.req = req, .ino = ino, .off = (uint64_t)off, .whence = whence};
	pthread_mutex_lock(&s->lock);
	bool late = s->seeker_stop;
	if (!late) {
		*s->seeks_end = q;
		s->seeks_end = &q->next;
		pthread_cond_broadcast(&s->changed);
	}
	pthread_mutex_unlock(&s->lock);
	// Unmounting has written everything back already.
	if (late)
		answer_seek(s, q);
}

static void *seeker_main(void *arg)
{
	struct fuse_server *s = arg;
	sigset_t set;

	sigfillset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	pthread_mutex_lock(&s->lock);
	for (;;) {
		struct seek_request *q = s->seeks;

		if (q != NULL) {
			s->seeks = q->next;
			if (s->seeks == NULL)
				s->seeks_end = &s->seeks;
			pthread_mutex_unlock(&s->lock);
			// Fails when the kernel has nothing of the file: then nothing is missing.
			(void)fuse_lowlevel_notify_inval_inode(s->se, q->ino, 0, 0);
			answer_seek(s, q);
			pthread_mutex_lock(&s->lock);
		} else if (s->seeker_stop) {
			break;
		} else {
			pthread_cond_wait(&s->changed, &s->lock);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

int fuse_seeker_start(struct fuse_server *s)
{
	return pthread_create(&s->seeker, NULL, seeker_main, s) == 0 ? 0 : WERR_NOMEM;
}

void fuse_seeker_stop(struct fuse_server *s)
{
	pthread_mutex_lock(&s->lock);
	s->seeker_stop = true;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->seeker, NULL);
}

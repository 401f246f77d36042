// SPDX-License-Identifier: Apache-2.0
// The session: libfuse set up over our own channel I/O, the INIT negotiation, running and stopping.
#include "fusefs/fuse_private.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

// How long a stop waits for the kernel to let go of a mount, and of one that others keep busy.
#define DRAIN_MS 10000
#define QUIET_MS 200
#define INIT_FLAGS_AT offsetof(struct fuse_init_out, flags)

static ssize_t channel_writev(const struct fuse_server *s, struct iovec *iov, int count)
{
	if (s->resuming) {
		ssize_t all = 0;

		for (int i = 0; i < count; i++)
			all += (ssize_t)iov[i].iov_len;
		return all;
	}
	if (!s->socket)
		return writev(s->fd, iov, count);
	// No SIGPIPE.
	const struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};
	return sendmsg(s->fd, &msg, MSG_NOSIGNAL);
}

// What libfuse 3.14 knows nothing of, or forgets to pass on. Without KILLPRIV_V2 every write(2)
// costs a GETXATTR; without SETXATTR_EXT an ACL set by a stranger to the group keeps the set-gid
// bit.
static void extend_init(struct fuse_server *s, struct fuse_init_out *out)
{
	const uint32_t extra = FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_PARALLEL_DIROPS;

	out->flags |= s->init_flags & extra;
	s->setxattr_ext = (out->flags & FUSE_SETXATTR_EXT) != 0;
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fuse_server *s = userdata;
	const struct loop_worker *w = loop_self();
	struct fuse_init_out init = {0};
	struct iovec mine[2];

	(void)fd;
	if (w != NULL && (w->flags & REQUEST_INIT) && count == 2 &&
	    iov[1].iov_len >= INIT_FLAGS_AT + sizeof(init.flags) &&
	    iov[1].iov_len <= sizeof(init)) {
		memcpy(&init, iov[1].iov_base, iov[1].iov_len);
		extend_init(s, &init);
		mine[0] = iov[0];
		mine[1] = (struct iovec){.iov_base = &init, .iov_len = iov[1].iov_len};
		iov = mine;
	}
	ssize_t n = channel_writev(s, iov, count);
	// The channel is gone: to libfuse and to the operations that is a request which nobody
	// waits for any more.
	if (n < 0 && (errno == ENODEV || errno == EPIPE || errno == ECONNABORTED ||
		      errno == ECONNRESET || errno == ENOTCONN))
		errno = ENOENT;
	return n;
}

// The loop reads by itself.
static ssize_t io_read(int fd, void *buf, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, buf, len);
}

static int receive(void *arg, struct loop_worker *w, size_t *ret_len)
{
	struct fuse_server *s = arg;
	ssize_t n = read(s->fd, w->in, LOOP_IN_BYTES);

	if (n > 0) {
		*ret_len = (size_t)n;
		return 0;
	}
	if (n == 0)
		return WERR_NODEVICE;
	switch (errno) {
	case EINTR:
	case EAGAIN:
	case ENOENT: // interrupted before it was read
		return WERR_INTERRUPTED;
	case ENODEV:
	case ECONNABORTED:
	case ECONNRESET:
		return WERR_NODEVICE;
	default:
		return werr_from_errno(errno);
	}
}

static bool pending(void *arg)
{
	const struct fuse_server *s = arg;
	struct pollfd p = {.fd = s->fd, .events = POLLIN};

	// The end of the channel counts: receive() sees to it.
	return poll(&p, 1, 0) > 0;
}

// A reply without libfuse.
static void answer_raw(struct fuse_server *s, uint64_t unique, int err)
{
	struct fuse_out_header out = {.len = sizeof(out), .error = -err, .unique = unique};
	struct iovec iov = {.iov_base = &out, .iov_len = sizeof(out)};

	// A failure means that nobody waits.
	ssize_t n = channel_writev(s, &iov, 1);
	(void)n;
}

// Somebody uses the folder: not what the kernel does by itself, or statfs(2) of a df.
static bool is_use(uint32_t opcode)
{
	return opcode != FUSE_FORGET && opcode != FUSE_BATCH_FORGET && opcode != FUSE_INIT &&
	       opcode != FUSE_STATFS && opcode != FUSE_DESTROY && opcode != FUSE_RELEASE &&
	       opcode != FUSE_RELEASEDIR;
}

uint64_t fuse_server_uses(struct fuse_server *s)
{
	return atomic_load_explicit(&s->uses, memory_order_relaxed);
}

static enum loop_class classify(void *arg, struct loop_worker *w, size_t len)
{
	struct fuse_server *s = arg;
	struct fuse_received *in = &s->received[w->index];

	in->refusal = wire_parse(w->in, len, s->setxattr_ext, LOOP_PAYLOAD_BYTES, &in->r);
	if (in->refusal != 0)
		return LOOP_INLINE;
	w->client = in->r.pid;
	if (is_use(in->r.opcode))
		atomic_fetch_add_explicit(&s->uses, 1, memory_order_relaxed);
	if (in->r.opcode == FUSE_INIT)
		return LOOP_ALONE;
	return in->r.heavy ? LOOP_HAND_OVER : LOOP_INLINE;
}

static void process_init(struct fuse_server *s, struct loop_worker *w, size_t len,
			 const struct fuse_buf *buf)
{
	if (atomic_load(&s->init_done)) {
		fuse_session_process_buf(s->se, buf); // refused
		return;
	}
	s->init_len = len < sizeof(s->init) / 2 ? len : sizeof(s->init) / 2;
	memcpy(s->init, w->in, s->init_len);
	// libfuse reads the newest structure, whatever the kernel's length.
	memset(w->in + len, 0, sizeof(struct fuse_init_in));
	w->flags |= REQUEST_INIT;
	fuse_session_process_buf(s->se, buf);
	w->flags &= ~REQUEST_INIT;
	if (fuse_session_exited(s->se)) {
		loop_stop(s->loop);
	} else if (s->negotiated) {
		atomic_store(&s->init_done, true);
		loop_kick(s->loop);
	}
}

static int refused(struct fuse_server *s, const struct wire_request *r)
{
	if (!atomic_load(&s->init_done))
		return EIO;
	// As libfuse implements allow_root.
	if (s->opts.allow_root && r->uid != s->owner && r->uid != 0)
		return EACCES;
	return 0;
}

static void process_setxattr(struct fuse_server *s, const struct wire_request *r)
{
	int e = refused(s, r);

	if (e == 0)
		e = werr_errno(fuse_do_setxattr(s, r));
	answer_raw(s, r->unique, e);
}

static void process(void *arg, struct loop_worker *w, size_t len)
{
	struct fuse_server *s = arg;
	const struct fuse_received *in = &s->received[w->index];
	const struct fuse_buf buf = {.mem = w->in, .size = len};

	if (in->refusal == WIRE_DROP)
		return;
	if (in->refusal != 0) {
		answer_raw(s, in->r.unique, in->refusal);
		return;
	}
	int refusal = fuse_refusal_check(s, &in->r);
	if (refusal != 0) {
		answer_raw(s, in->r.unique, refusal);
		return;
	}
	if (in->r.change && fuse_gate_park(s, w, len))
		return;
	w->flags = in->r.kill ? REQUEST_KILL : 0;
	if (in->r.opcode == FUSE_SETXATTR) {
		process_setxattr(s, &in->r);
	} else if (in->r.opcode == FUSE_INIT) {
		s->init_flags = in->r.init_flags;
		process_init(s, w, len, &buf);
	} else {
		fuse_session_process_buf(s->se, &buf);
	}
}

void fuse_process_again(struct fuse_server *s, struct loop_worker *w, size_t len)
{
	(void)classify(s, w, len);
	process(s, w, len);
}

// In the thread of fuse_server_run: after INIT, and when a stop is asked for.
static int control(void *arg)
{
	struct fuse_server *s = arg;

	if (atomic_load(&s->init_done) && !s->told_ready) {
		s->told_ready = true;
		fuse_mount_tune(s);
		if (s->ready != NULL)
			s->ready(s->ready_arg);
	}
	bool stop = atomic_load(&s->stop_asked);
	if (!stop && !atomic_load(&s->pause_asked))
		return 0;
	(void)!fs_thaw(s->fs);
	fuse_server_open_gate(s);
	// While the workers still serve: the kernel writes back, and LSEEK's notifications come to
	// an end.
	if (stop && s->detach != NULL)
		s->detach(s->detach_arg);
	else if (stop && s->mountpoint != NULL)
		fuse_mount_detach(s);
	fuse_notifier_stop(s);
	s->notifier_ended = true;
	if (stop && (s->detach != NULL || s->mountpoint != NULL))
		(void)loop_drain(s->loop, QUIET_MS, DRAIN_MS);
	return 1;
}

static int add_options(const struct fuse_server *s, char **list)
{
	const struct mountopts *o = &s->opts;
	const struct {
		int set;
		const char *name;
	} flags[] = {
		{1, "default_permissions"},
		{1, o->readonly ? "ro" : "rw"},
		{1, o->suid ? "suid" : "nosuid"},
		{1, o->dev ? "dev" : "nodev"},
		{1, o->exec ? "exec" : "noexec"},
		{o->noatime, "noatime"},
		{o->sync, "sync"},
		{o->dirsync, "dirsync"},
		{o->allow_other, "allow_other"},
		{o->allow_root, "allow_root"},
	};
	char text[512];

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (flags[i].set && fuse_opt_add_opt(list, flags[i].name) != 0)
			return WERR_NOMEM;
	(void)snprintf(text, sizeof(text), "subtype=%s", o->subtype);
	if (fuse_opt_add_opt_escaped(list, text) != 0)
		return WERR_NOMEM;
	(void)snprintf(text, sizeof(text), "fsname=%s",
		       o->fsname[0] != '\0' ? o->fsname : "wardfs");
	return fuse_opt_add_opt_escaped(list, text) == 0 ? 0 : WERR_NOMEM;
}

static int new_session(struct fuse_server *s)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	char *list = NULL;
	int err = add_options(s, &list);

	if (err == 0 && (fuse_opt_add_arg(&args, "wardfs") != 0 ||
			 fuse_opt_add_arg(&args, "-o") != 0 || fuse_opt_add_arg(&args, list) != 0))
		err = WERR_NOMEM;
	if (err == 0) {
		s->se = fuse_session_new(&args, &fuse_ops, sizeof(fuse_ops), s);
		err = s->se == NULL ? WERR_USAGE : 0;
	}
	free(list);
	fuse_opt_free_args(&args);
	return err;
}

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int open_channel(struct fuse_server *s, const char *mountpoint, int channel_fd)
{
	static const struct fuse_custom_io io = {.writev = io_writev, .read = io_read};
	int err = new_session(s);

	if (err != 0)
		return err;
	s->socket = channel_fd >= 0 && is_socket(channel_fd);
	if (channel_fd >= 0)
		s->fd = channel_fd;
	else
		err = fuse_mount_place(s, mountpoint);
	if (err == 0 && fuse_session_custom_io(s->se, &io, s->fd) != 0)
		err = WERR_NOMEM;
	return err;
}

int fuse_mount_open(const struct mountopts *opts, const char *mountpoint, int *ret)
{
	struct fuse_server *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return WERR_NOMEM;
	fuse_capture_log();
	s->opts = *opts;
	s->fd = -1;
	int err = new_session(s);
	if (err == 0)
		err = fuse_mount_place(s, mountpoint);
	if (err == 0) {
		*ret = fcntl(s->fd, F_DUPFD_CLOEXEC, 3);
		if (*ret < 0) {
			fuse_session_unmount(s->se);
			err = WERR_MFILE;
		}
	}
	// Closes its own descriptor and leaves the mount alone.
	if (s->se != NULL)
		fuse_session_destroy(s->se);
	free(s->mountpoint);
	free(s);
	return err;
}

void fuse_server_set_detach(struct fuse_server *s, void (*detach)(void *arg), void *arg)
{
	s->detach = detach;
	s->detach_arg = arg;
}

void fuse_server_blocking(void *arg)
{
	(void)arg;
	loop_blocking();
}

int fuse_server_new(struct fs *fs, const struct mountopts *opts, const char *mountpoint,
		    int channel_fd, struct fuse_server **ret)
{
	struct fuse_server *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return WERR_NOMEM;
	fuse_capture_log();
	s->fs = fs;
	s->opts = *opts;
	s->fd = -1;
	s->owner = getuid();
	s->notices_end = &s->notices;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	fuse_gate_init(&s->gate);
	pthread_mutex_init(&s->refusal.lock, NULL);
	const struct loop_params params = {
		.threads = opts->threads,
		.receive = receive,
		.pending = pending,
		.classify = classify,
		.process = process,
		.control = control,
		.arg = s,
	};
	int err = loop_new(&params, &s->loop);
	if (err == 0)
		err = open_channel(s, mountpoint, channel_fd);
	if (err != 0) {
		fuse_server_free(s);
		return err;
	}
	*ret = s;
	return 0;
}

int fuse_server_run(struct fuse_server *s, void (*ready)(void *arg), void *arg)
{
	s->ready = ready;
	s->ready_arg = arg;
	int err = fuse_notifier_start(s);
	if (err != 0)
		return err;
	err = loop_run(s->loop);
	if (!s->notifier_ended)
		fuse_notifier_stop(s);
	(void)!fs_thaw(s->fs);
	fuse_gate_end(s);
	fuse_wait_parked(s);
	if (err == 0 && fuse_session_exited(s->se))
		err = WERR_UNSUPPORTED;
	return err;
}

void fuse_server_stop(struct fuse_server *s)
{
	atomic_store(&s->stop_asked, true);
	loop_kick(s->loop);
}

// What is mounted at the place after our own detaching is not ours, but libfuse would unmount it.
// In the channel's stead it finds a pipe without a reader, which looks to it like a mount that is
// gone. Cuts off those who still use our mount.
static void disown_place(struct fuse_server *s)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0)
		return;
	close(fds[0]);
	(void)dup3(fds[1], s->fd, O_CLOEXEC);
	close(fds[1]);
}

void fuse_server_free(struct fuse_server *s)
{
	if (s == NULL)
		return;
	if (s->se != NULL) {
		if (s->detached)
			disown_place(s);
		// Closes the channel, then unmounts unless the mount is gone.
		fuse_session_unmount(s->se);
		fuse_session_destroy(s->se);
	}
	fuse_gate_end(s);
	loop_free(s->loop);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->refusal.lock);
	free(s->refusal.wrote);
	free(s->mountpoint);
	free(s);
}

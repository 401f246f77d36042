// SPDX-License-Identifier: Apache-2.0
// Shared by fuse_*.c only: one struct fuse_server per mount, the helpers and the tables of
// operations.
#ifndef WARDFS_FUSEFS_FUSE_PRIVATE_H
#define WARDFS_FUSEFS_FUSE_PRIVATE_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "fusefs/fs.h"
#include "fusefs/fuse_server.h"
#include "fusefs/fuse_wire.h"
#include "fusefs/loop.h"

// Nothing changes behind the kernel's back: an hour for names, absent names and attributes.
#define FUSE_TIMEOUT_S 3600.0

// More than any kernel's INIT, and zeros behind it for a newer libfuse.
#define FUSE_INIT_ROOM 256

// loop_worker.flags
#define REQUEST_KILL 1u // clear suid, sgid and capabilities
#define REQUEST_INIT 2u // the reply is to INIT

struct fuse_notice;

// The request that a worker has in hand.
struct fuse_received {
	int refusal; // of wire_parse
	struct wire_request r;
};

// Where changes wait while the gate is closed, without a thread each.
struct fuse_parked;
struct fuse_gate {
	atomic_bool closed; // written under lock
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct fuse_parked *head, **tail; // oldest first; guarded by lock
	size_t bytes;                     // guarded by lock
	bool starting, running;           // guarded by lock; running: the thread is to be joined
	pthread_t thread;                 // processes them when the gate opens
};

struct fuse_server {
	struct fs *fs;
	struct mountopts opts;
	struct fuse_session *se;
	struct loop *loop;
	int fd;           // the channel; closed by libfuse
	bool socket;      // a socketpair instead of /dev/fuse
	char *mountpoint; // absolute; NULL: not mounted
	bool detached;
	void (*detach)(void *arg); // NULL: ourselves
	void *detach_arg;
	uint64_t device; // of the mount, 0: unknown

	// Negotiated by INIT: written before the next request is received, constant then.
	uint32_t init_flags; // offered by the kernel
	bool setxattr_ext;
	bool no_open, no_opendir;
	uid_t owner;

	bool negotiated;                                     // op init has run
	struct fuse_received received[LOOP_THREADS_MAX + 1]; // by worker; the last: the gate

	// As the kernel sent it: a connection that goes on with another server is set up with it.
	uint8_t init[FUSE_INIT_ROOM];
	size_t init_len;
	bool resuming; // replies are not sent: the kernel has them already

	struct fuse_refusal {
		atomic_int error; // 0: nothing is refused
		pthread_mutex_t lock;
		uint64_t *wrote; // inodes written to meanwhile, each at least once; guarded by lock
		size_t wrote_len, wrote_cap; // guarded by lock
		bool wrote_lost;             // some are missing; guarded by lock
	} refusal;

	atomic_bool init_done;
	atomic_bool stop_asked;
	atomic_bool pause_asked;
	bool told_ready, notifier_ended; // thread of fuse_server_run only
	void (*ready)(void *arg);
	void *ready_arg;

	struct fuse_gate gate;
	atomic_uint_fast64_t uses;

	// Requests that wait without a thread.
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned parked;                  // guarded by lock
	struct fuse_notice *notices;      // oldest first; guarded by lock
	struct fuse_notice **notices_end; // guarded by lock
	bool notifier_stop;               // guarded by lock
	pthread_t notifier;
};

// fuse_ops.c
extern const struct fuse_lowlevel_ops fuse_ops;
void fuse_convert_stat(const struct fs_stat *in, struct stat *ret);
void fuse_convert_entry(const struct fs_stat *in, struct fuse_entry_param *ret);
void fuse_fail(fuse_req_t req, int err);
// Replies with an entry that holds one look-up count, or takes the count back.
void fuse_answer_entry(fuse_req_t req, const struct fs_stat *st);
// 0, or the code for a name that cannot exist.
int fuse_check_name(const char *name) WARN_UNUSED;
int fuse_do_setxattr(struct fuse_server *s, const struct wire_request *r) WARN_UNUSED;

static inline struct fuse_server *fuse_server_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

// fuse_dir.c
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
	       const char *new_name, unsigned flags);
void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi);

// fuse_io.c
void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	      struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		  struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t in_off, struct fuse_file_info *in_fi,
			fuse_ino_t out, off_t out_off, struct fuse_file_info *out_fi, size_t len,
			int flags);
// The thread that notifies the kernel before certain replies.
int fuse_notifier_start(struct fuse_server *s) WARN_UNUSED;
// Answers what is queued and ends; workers must still serve the channel.
void fuse_notifier_stop(struct fuse_server *s);
// Waits until no fsync is parked any more.
void fuse_wait_parked(struct fuse_server *s);

// fuse_init.c: as the loop does for a request in w->in.
void fuse_process_again(struct fuse_server *s, struct loop_worker *w, size_t len);

// fuse_lock.c
// 0, or the errno that this request gets while the vault is being locked.
int fuse_refusal_check(struct fuse_server *s, const struct wire_request *r);

// fuse_gate.c
void fuse_gate_init(struct fuse_gate *g);
// Takes over the request in w->in when it has to wait. Otherwise false, at once or when it has
// waited here.
bool fuse_gate_park(struct fuse_server *s, const struct loop_worker *w, size_t len);
void fuse_gate_end(struct fuse_server *s);

// fuse_mount.c
void fuse_capture_log(void);
int fuse_mount_place(struct fuse_server *s, const char *mountpoint) WARN_UNUSED;
// Finds the device number of the mount and, as root, lifts the kernel's limits. Best effort.
void fuse_mount_tune(struct fuse_server *s);
// Writes back what the kernel holds and detaches the mount. Workers must still serve the channel.
void fuse_mount_detach(struct fuse_server *s);

#endif

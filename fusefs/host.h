// SPDX-License-Identifier: Apache-2.0
// The host I/O shim: *every* access of the engine to the vault's directory goes through this table,
// so that tests can inject faults and cut the power (tests/crash/simhost.h is the other
// implementation).
//
// The vault is seen as: top-level files (by name), 256 object folders ("00".."ff", made on demand),
// object files in them (by number; names as in wardfs-vault(5), "Objects"). Nothing below the vault
// is ever followed: fd first, then one component, O_NOFOLLOW|O_CLOEXEC|O_NONBLOCK; what is not a
// regular file with exactly one link is refused with WERR_DAMAGED. Thread-safe except where said.
// Errors: werr codes made from errno (NOTFOUND, EXISTS, NOSPACE, QUOTA, IO, MFILE, READONLY, PERM
// …).
#ifndef WARDFS_FUSEFS_HOST_H
#define WARDFS_FUSEFS_HOST_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "crypto/werr.h"

struct anchor;
struct host;      // one open vault directory
struct host_file; // one open file; independent handles of the same file are allowed

#define HOST_RDONLY 0u
#define HOST_RDWR 1u
#define HOST_CREATE 2u // with HOST_RDWR: create if absent
#define HOST_EXCL 4u   // with HOST_CREATE: WERR_EXISTS if present
#define HOST_CACHED \
	8u // with HOST_RDONLY: WERR_BUSY where that has to wait for the disk, if the host can tell

#define HOST_FOLDERS 256
// Folder of an object number.
static inline unsigned host_folder(uint64_t number)
{
	return (unsigned)(number >> 55) & 0xffu;
}

struct host_space {
	uint64_t block_bytes;
	uint64_t blocks, blocks_free, blocks_avail;
	uint64_t files, files_free;
};

struct host_ops {
	void (*close)(struct host *h);
	int (*open_top)(struct host *h, const char *name, unsigned flags, struct host_file **ret);
	int (*open_object)(struct host *h, uint64_t number, unsigned flags, struct host_file **ret);
	void (*file_close)(struct host_file *f);
	// Exactly len bytes at off. A read past the end yields zeros for what is missing and
	// reports it in *ret_got (bytes really there; may be NULL).
	int (*preadv)(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off,
		      size_t *ret_got);
	// The same for bytes that are all there and need no waiting for the disk; else WERR_BUSY,
	// and the buffers hold anything. May be NULL.
	int (*preadv_cached)(struct host_file *f, const struct iovec *iov, int iovcnt,
			     uint64_t off);
	int (*pwritev)(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off);
	int (*datasync)(struct host_file *f); // fdatasync: data and size durable
	int (*truncate)(struct host_file *f, uint64_t size);
	int (*punch)(struct host_file *f, uint64_t off,
		     uint64_t len); // WERR_NOTSUP where the host cannot
	int (*file_size)(struct host_file *f, uint64_t *ret);
	int (*unlink_object)(struct host *h, uint64_t number);
	int (*unlink_top)(struct host *h, const char *name);
	int (*rename_top)(struct host *h, const char *from, const char *to); // replaces
	// Moves junk that occupies an object's name aside ("NAME.junk.N" in the same folder, the
	// first N that is free).
	int (*set_aside)(struct host *h, uint64_t number);
	// The names in a folder durable, and the folder's own. A folder that is not there has
	// nothing to flush: 0.
	int (*sync_folder)(struct host *h, unsigned folder);
	int (*sync_top)(struct host *h); // names of top-level files and folders durable
	// Calls fn for every name in a folder (any order; not "." and ".."); number is 0 where the
	// name is not an object's.
	int (*list_folder)(struct host *h, unsigned folder,
			   int (*fn)(void *arg, const char *name, uint64_t number), void *arg);
	int (*list_top)(struct host *h, int (*fn)(void *arg, const char *name), void *arg);
	int (*space)(struct host *h, struct host_space *ret);
	// Exclusive (or shared) advisory lock on the vault for the lifetime of h; WERR_BUSY at once
	// when taken.
	int (*lock)(struct host *h, int exclusive);
};

// Implementations embed this as their first member.
struct host {
	const struct host_ops *ops;
	// What this machine knows of the vault (fusefs/anchor.h): attached by whoever opens the
	// host, before the vault is opened; not owned. NULL: nothing is compared or recorded.
	struct anchor *anchor;
};
struct host_file {
	struct host *host;
	void *cache; // hostcache's own; NULL when opened
};

// Opens an existing directory as a vault's host. WERR_NOTFOUND, WERR_NOTDIR, WERR_PERM. `create`:
// mkdir it first (0700) if absent.
int host_posix_open(const char *path, int create, struct host **ret) WARN_UNUSED;

// A lock on the vault that goes from one process to the next without a gap: the descriptor that
// carries it (the host's own); a host whose lock somebody else has, so that taking it succeeds and
// does nothing; and the descriptor that this one passed on (the caller's; WERR_STALE: of another
// directory).
int host_posix_lock_fd(struct host *h);
void host_posix_borrow_lock(struct host *h);
int host_posix_take_lock(struct host *h, int fd) WARN_UNUSED;

// Convenience over the table (host.c): exact single-buffer forms.
int host_pread(struct host_file *f, void *buf, size_t len, uint64_t off,
	       size_t *ret_got) WARN_UNUSED;
int host_pwrite(struct host_file *f, const void *buf, size_t len, uint64_t off) WARN_UNUSED;
// Replaces a top-level file atomically and durably: temporary name, write, datasync, rename,
// sync_top.
int host_replace_top(struct host *h, const char *name, const void *buf, size_t len) WARN_UNUSED;
// The same for a file whose old content must not stay readable on the disk: once the new one is
// durable, the old one is overwritten in place (at most len bytes), and so is what a replacement
// that was cut left. A failure of that is none of the replacement.
int host_renew_top(struct host *h, const char *name, const void *buf, size_t len) WARN_UNUSED;
// Reads a whole top-level file of at most max bytes (WERR_LIMIT when larger, without reading it).
// *ret_buf: free().
int host_read_top(struct host *h, const char *name, size_t max, uint8_t **ret_buf,
		  size_t *ret_len) WARN_UNUSED;

// An LRU cache of object descriptors. A handle that was written to and not yet datasynced is never
// evicted, so that no flush error is lost with it; borrowed and unflushed handles may therefore
// exceed the capacity. Thread-safe; its lock is a leaf ("fd cache" in the lock order) and is not
// held during host calls.
struct hostcache;
int hostcache_new(struct host *h, unsigned capacity, struct hostcache **ret) WARN_UNUSED;
void hostcache_free(struct hostcache *c); // closes all; nothing may be borrowed
// Borrow a descriptor of an object; give it back with hostcache_put. flags as open_object (with
// HOST_EXCL a cached handle is WERR_EXISTS); a read-only cached handle is reopened for writing when
// asked. While borrowed it is never closed. Errors of open_object; on WERR_MFILE idle handles were
// already given up.
int hostcache_get(struct hostcache *c, uint64_t number, unsigned flags,
		  struct host_file **ret) WARN_UNUSED;
void hostcache_put(struct hostcache *c, struct host_file *f);
// Marks as written (unflushed): call before the first write of each borrow.
void hostcache_dirty(struct hostcache *c, struct host_file *f);
// Takes the mark away: nobody will ask for what was written after a crash.
void hostcache_clean(struct hostcache *c, struct host_file *f);
// datasync, and on success clears the mark unless hostcache_dirty was called meanwhile. A failure
// keeps the mark; the caller rewrites and tries again.
int hostcache_sync(struct hostcache *c, struct host_file *f) WARN_UNUSED;
// datasyncs every handle that is marked and not borrowed (the clean end: nobody else is there).
int hostcache_sync_all(struct hostcache *c) WARN_UNUSED;
// Closes the cached handle of an object, if any (it is about to be unlinked). Waits for borrowers.
void hostcache_drop(struct hostcache *c, uint64_t number);
// Handles now open, and those of them that are marked.
void hostcache_count(struct hostcache *c, unsigned *ret_open, unsigned *ret_dirty);

#endif

// SPDX-License-Identifier: Apache-2.0
// The engine: one open vault as a tree of inodes. What FUSE operations, the model test and the
// crash tests call. All functions are thread-safe unless said otherwise and return 0 or a werr
// code. An inode number is the object's number (root: FS_ROOT). Permission checks are the kernel's
// (default_permissions); the engine checks structure only.
//
// Durability (DESIGN.md section 7): name operations are in the journal (pwrite) before they return;
// fs_fsync makes data, attributes and names durable; a checkpoint runs every checkpoint_ms while
// dirty. fs_write may return before anything is on the host.
#ifndef WARDFS_FUSEFS_FS_H
#define WARDFS_FUSEFS_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/table_page.h"
#include "crypto/werr.h"
#include "fusefs/findings.h"
#include "fusefs/vault.h"

#define FS_ROOT 1ull
#define FS_NAME_MAX 255
#define FS_TARGET_MAX 4095
// 80 + 128 + 128^2 + 128^3 + 128^4 + 128^5 pages would be 141 TB; the host's own limit comes first
// (ext4: 16 TiB a file).
#define FS_SIZE_MAX ((uint64_t)1 << 46)

struct fs;

struct fs_params {
	int readonly;
	unsigned checkpoint_ms; // 0: the default, 5000
	unsigned cache_mib;     // clean metadata and directories kept; 0: default 64
	unsigned overlay_mib;   // overwritten pages kept in memory; 0: default 32
	unsigned dirty_mib;     // small contents not yet written; 0: a quarter of the journal
	unsigned descriptors;   // host files held open; 0: default 512
	int taking_over;        // fs_take_over (fusefs/handover.h) is the next call
	int manual; // tests: no threads of its own; the caller drives fs_checkpoint() and fsyncs
		    // commit inline
	void (*now)(void *arg, struct ward_time *ret); // NULL: CLOCK_REALTIME
	void *now_arg;
	// One line per finding or trouble (no plaintext names); NULL: dropped. Called from any
	// thread, must not call back.
	void (*log)(void *arg, int priority, const char *line);
	void *log_arg;
	int log_names; // lines about findings name the file, where its name is at hand
	// Called right before the calling thread waits for the disk or for another thread: a server
	// may let somebody else work meanwhile. Any thread, locks held: must not call back, and
	// must be quick. NULL: nobody wants to know.
	void (*blocking)(void *arg);
	void *blocking_arg;
	struct salvage *salvage; // check and repair (salvage.h): damage is read around; else NULL
	int *ret_is_root; // when fs_open fails: whether the root directory is why; may be NULL
};

// For people, without a newline: what fs_open refused because of the root directory. NULL: this
// code has nothing to do with how it is.
const char *fs_root_refusal(int err);

// Divides this many MiB (at least 16) among the three; from 256 on they are the defaults.
void fs_params_memory(struct fs_params *params, unsigned mib);

// Opens the engine on an open vault (kept, not owned; must outlive fs): raises the mount number
// durably, replays the journal when the vault is dirty, starts its threads. WERR_AUTH,
// WERR_DAMAGED, WERR_ROLLBACK … when the vault must be refused. params are copied.
int fs_open(struct vault *v, const struct fs_params *params, struct fs **ret) WARN_UNUSED;
// Clean end: commits everything, last checkpoint, vault header := clean. Frees fs in any case; the
// error says what could not be written.
int fs_close(struct fs *fs);
// Stops at once without writing anything more (as a kill would); for tests and after a fatal host
// error.
void fs_abandon(struct fs *fs);

struct fs_stat {
	uint64_t ino;
	uint8_t type; // enum object_type
	struct ward_attr attr;
};

// Every reply that carries an fs_stat of a *named* node (lookup, make, link, readdir with plus)
// raises its look-up count by one; fs_forget gives them back. A node without name is removed when
// its count reaches zero.
int fs_lookup(struct fs *fs, uint64_t parent, const char *name, struct fs_stat *ret) WARN_UNUSED;
void fs_forget(struct fs *fs, uint64_t ino, uint64_t count);
int fs_getattr(struct fs *fs, uint64_t ino, struct fs_stat *ret) WARN_UNUSED;

enum {
	FS_SET_MODE = 1,
	FS_SET_UID = 2,
	FS_SET_GID = 4,
	FS_SET_SIZE = 8,
	FS_SET_ATIME = 16,
	FS_SET_MTIME = 32,
	FS_SET_ATIME_NOW = 64,
	FS_SET_MTIME_NOW = 128,
	FS_SET_CTIME = 256,
	FS_SET_KILL =
		512, // clear suid, and sgid where group-execute is set, and security.capability
};
struct fs_setattr {
	unsigned valid;
	uint32_t mode, uid, gid;
	uint64_t size;
	struct ward_time atime, mtime, ctime;
};
int fs_setattr(struct fs *fs, uint64_t ino, const struct fs_setattr *set,
	       struct fs_stat *ret) WARN_UNUSED;

// Target of a symlink: buf has FS_TARGET_MAX + 1 bytes, NUL-terminated.
int fs_readlink(struct fs *fs, uint64_t ino, char *buf) WARN_UNUSED;

struct fs_make {
	uint8_t type;  // enum object_type
	uint32_t mode; // permission bits, final (umask, default ACL and set-gid inheritance are the
		       // caller's)
	uint32_t uid, gid;     // final
	uint64_t rdev;         // char and block devices
	const char *target;    // symlinks, 1..FS_TARGET_MAX bytes
	const uint8_t *xattrs; // initial encoded set (crypto/xattr_codec.h), or NULL
	size_t xattrs_len;
};
int fs_make(struct fs *fs, uint64_t parent, const char *name, const struct fs_make *make,
	    struct fs_stat *ret) WARN_UNUSED;
int fs_unlink(struct fs *fs, uint64_t parent, const char *name) WARN_UNUSED;
int fs_rmdir(struct fs *fs, uint64_t parent, const char *name) WARN_UNUSED;
#define FS_RENAME_NOREPLACE 1u
#define FS_RENAME_EXCHANGE 2u
int fs_rename(struct fs *fs, uint64_t parent, const char *name, uint64_t new_parent,
	      const char *new_name, unsigned flags) WARN_UNUSED;
int fs_link(struct fs *fs, uint64_t ino, uint64_t new_parent, const char *new_name,
	    struct fs_stat *ret) WARN_UNUSED;

// Reads up to len bytes; *ret_len < len only at the end of the file. buf needs room for len bytes
// only; behind *ret_len it holds anything.
int fs_read(struct fs *fs, uint64_t ino, uint64_t off, size_t len, void *buf,
	    size_t *ret_len) WARN_UNUSED;
// After the reply to fs_read, in the same thread: asks the host for what will probably be read
// next.
void fs_read_ahead(struct fs *fs);
#define FS_WRITE_KILL 1 // as FS_SET_KILL
#define FS_WRITE_CACHED \
	2 // from the kernel's write-back cache: the times are the kernel's, it sends them by itself
// Writes all len bytes or fails; after a failure a part at the front may be there. flags:
// FS_WRITE_*.
int fs_write(struct fs *fs, uint64_t ino, uint64_t off, const void *buf, size_t len,
	     int flags) WARN_UNUSED;

// Parks the request: done(arg, err) is called from the committer (or before return) when data,
// attributes and names of this file (or directory) are durable. done must not call back into fs.
typedef void (*fs_done)(void *arg, int err);
void fs_fsync(struct fs *fs, uint64_t ino, int datasync, fs_done done, void *arg);
// The same, waiting.
int fs_fsync_wait(struct fs *fs, uint64_t ino) WARN_UNUSED;
// Everything durable: a checkpoint.
int fs_checkpoint(struct fs *fs) WARN_UNUSED;

// Everything that was changed before stands in the vault directory, durably, and from then on
// nothing in that directory changes until fs_thaw, or timeout_ms later: changes wait, reads go on.
// The directory can be copied or snapshotted meanwhile; the copy is a vault that was not closed.
// thawed (may be NULL) is called at the end of the freeze, whatever ended it, from a thread of the
// engine, and must not call back. WERR_BUSY: it is frozen already; WERR_READONLY: the engine has
// made itself read-only.
int fs_freeze(struct fs *fs, unsigned timeout_ms, void (*thawed)(void *arg), void *arg) WARN_UNUSED;
// WERR_NOTFOUND: nothing was frozen (any more).
int fs_thaw(struct fs *fs) WARN_UNUSED;
bool fs_frozen(struct fs *fs);

// The anchor (fusefs/anchor.h), if there is one, learns at once what is durable by now, instead of
// within seconds.
void fs_note_anchor(struct fs *fs);

struct fs_dirent {
	const char *name;    // NUL-terminated, valid during the call
	uint64_t cookie;     // where to go on *after* this entry
	struct fs_stat stat; // attr is filled in plus mode only; ino and type always
	int unknown; // plus mode: no attributes can be had, and no look-up was counted: a look-up
		     // will say why
};
// Returns 0 to take the entry, non-zero to stop before it (it is not delivered: no look-up count).
typedef int (*fs_dirent_fn)(void *arg, const struct fs_dirent *d);
// Entries after `cookie` (0: from the start; "." and ".." come first with cookies 1 and 2). plus:
// with attributes, and a look-up count for each delivered entry except "." and "..".
int fs_readdir(struct fs *fs, uint64_t ino, uint64_t cookie, int plus, fs_dirent_fn fn,
	       void *arg) WARN_UNUSED;

int fs_statfs(struct fs *fs, struct host_space *ret) WARN_UNUSED;

// cap 0: only the length. WERR_NODATA, WERR_RANGE. Names come with their prefix ("user.x",
// "system.posix_acl_access").
int fs_getxattr(struct fs *fs, uint64_t ino, const char *name, void *buf, size_t cap,
		size_t *ret_len) WARN_UNUSED;
// flags: XATTR_CREATE, XATTR_REPLACE of <sys/xattr.h>. mode: NULL, or permission bits to set in the
// same step (ACLs).
int fs_setxattr(struct fs *fs, uint64_t ino, const char *name, const void *value, size_t len,
		int flags, const uint32_t *mode) WARN_UNUSED;
int fs_listxattr(struct fs *fs, uint64_t ino, char *buf, size_t cap, size_t *ret_len) WARN_UNUSED;
int fs_removexattr(struct fs *fs, uint64_t ino, const char *name) WARN_UNUSED;

// mode: FALLOC_FL_* of <linux/falloc.h>: 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE,
// ZERO_RANGE[|KEEP_SIZE]; else WERR_NOTSUP.
int fs_fallocate(struct fs *fs, uint64_t ino, int mode, uint64_t off, uint64_t len) WARN_UNUSED;
// whence: SEEK_DATA or SEEK_HOLE. WERR_NXIO.
int fs_lseek(struct fs *fs, uint64_t ino, uint64_t off, int whence, uint64_t *ret) WARN_UNUSED;
// Copies up to len bytes between files (or inside one, ranges not overlapping); may copy less;
// *ret_len says how much.
int fs_copy_range(struct fs *fs, uint64_t in, uint64_t in_off, uint64_t out, uint64_t out_off,
		  uint64_t len, uint64_t *ret_len) WARN_UNUSED;

struct fs_status {
	uint32_t mount; // mount number
	uint64_t checkpoints;
	uint64_t generation; // of the last checkpoint
	uint64_t journal_used, journal_capacity;
	uint64_t nodes, overlay_bytes, metadata_bytes;
	uint64_t refusals;                // integrity findings
	uint64_t findings[FINDING_KINDS]; // the same by kind
	uint64_t fsyncs, commits;         // fsyncs answered, journal flushes for them
	int readonly;
	char readonly_reason[96]; // empty unless the engine made itself read-only
	int anchor;               // 1: kept; 0: none; negative: the code why it is behind
	uint64_t closed_s;        // last clean end on this machine; 0: none known
	uint32_t closed_mount;
	char closed_machine[64];
	uint8_t slots_digest[32]; // who can open the vault: slots.h
};
void fs_get_status(struct fs *fs, struct fs_status *ret);

#endif

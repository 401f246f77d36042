// SPDX-License-Identifier: Apache-2.0
// Private to the engine (fs.h is its face): nodes, objects, the overlay, and what the modules offer
// each other.
//
// Lock order, outermost first (STORAGE.md section 4):
//   checkpoint_lock  one checkpoint at a time
//   header_lock      one change of the vault header at a time
//   commit_lock      one commit or cut at a time: log → flush → place
//   cut              rwlock; shared by every change of memory, exclusive at a checkpoint's cut
//                    (memory and journal appends only)
//   names_lock       mutex; every change of names: under it directories are locked in any order
//   node->lock       rwlock; directories before the nodes that they name, the links directory
//                    last of the directories
//   journal          inside journal.c
//   dirty_lock       mutex; homes, dirty flags and the dirty list
//   nodes_lock       mutex; the node table, look-up and reference counts
//   host cache       inside objectfile.c
// A thread that holds a node's lock never takes commit_lock. Who waits for an rwlock exclusively
// goes before those who come to share it: readers that overlap without end would else keep a
// checkpoint waiting, and with it every other writer. So no thread locks one twice for sharing.
#ifndef WARDFS_FUSEFS_ENGINE_H
#define WARDFS_FUSEFS_ENGINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/object_header.h"
#include "crypto/record.h"
#include "crypto/seal.h"
#include "crypto/table_page.h"
#include "fusefs/fs.h"
#include "fusefs/host.h"
#include "fusefs/journal.h"
#include "fusefs/table.h"
#include "fusefs/tree.h"
#include "fusefs/vault.h"

#define LINKS_NUMBER 2ull
#define ROOT_SELF_PLACE 0ull  // "." in the root's table: the root's own home entry
#define ROOT_LINKS_PLACE 1ull // "..": the home entry of the links directory
#define OBJECT_CLASS 1u
#define IMAGE_PAGES_MAX \
	16u // so many pages of one object go into the journal as images; more are flushed or old-ok
#define DEFER_PAGES 16u // new files up to so many pages wait in memory for the write-out
#define NO_PAGE UINT64_MAX
#define POSITION_XATTR 210u

// A sealed page in memory.
struct obuf {
	struct seal seal;
	uint8_t cipher[WARD_PAGE];
};

// What the overlay knows of one page index. `dirty`: newest content, in no record yet. `pending`:
// in a record (or in the image set of a checkpoint), not yet at its place; only a holder of
// commit_lock makes or ends one.
struct opage {
	struct opage *next;
	uint64_t index;
	struct obuf *dirty;
	struct obuf *pending;
	bool dead; // truncated or punched away since: pending still has to reach its place, but is
		   // not read
	bool unsaid;           // pending, but its record is not appended yet; until then:
	struct obuf *replaced; // what was pending before
	struct seal before;    // what the tree said
	bool was_dead;
};

struct overlay {
	struct opage **buckets;
	size_t nbuckets;
	size_t count;
	size_t ndirty;
	size_t npending;
	size_t nunsaid;
};

// The content of a node in memory; guarded by the node's lock.
struct object {
	struct object_keys *keys; // NULL until something is sealed
	uint16_t trim;            // 0, or the data key under which every page is: the others may go
	uint16_t layout;
	uint8_t *inline_data; // plaintext, node->attr.size bytes, layout inline only; capacity
			      // OBJECT_INLINE_AREA
	struct tree *tree; // layout tree (files, long symlinks, directories)
	void *tree_source; // the loader's argument
	// Bytes counted in fs->cache_bytes, dirty_bytes and file_bytes.
	_Atomic uint64_t accounted, accounted_dirty, accounted_file;
	struct table *table; // directories
	uint32_t lost_end;   // 1 + the last table page that does not open: what is in the others
			     // can be read and removed, but no name is added, and an absent one
			     // is not known to be absent; 0: all open
	uint8_t *xattrs;     // encoded set
	size_t xattrs_len;
	struct seal xattr_seals[OBJECT_XATTR_PAGES];
	struct overlay overlay;
	uint64_t guard; // pages that a durable or pwritten statement may refer to: below it nothing
			// is written in place
	uint64_t unlogged_from; // content pages [unlogged_from, placed_end) at their places are in
				// no record
	uint64_t placed_end;
	uint64_t flushed_to;   // of those, the ones below this index have been datasynced
	uint64_t logged_size;  // that a crash leaves: of the last checkpoint, or of a record since
	bool logged_since_cut; // of a record that the checkpoint in progress does not have
	uint64_t data_seals;
	uint64_t header_seals;
	uint64_t parent_number; // as the header says it: a hint for repair and replay
	uint64_t parent_incarnation;
	uint8_t name_len;
	uint8_t name[OBJECT_NAME_MAX];
	bool keys_logged;      // an OBJECT assignment or a checkpoint has the keys
	bool on_host;          // the host file was made
	bool xattr_paged;      // the durable form of the xattrs uses pages
	bool unlogged_content; // inline data, size or layout differ from what was logged
	bool unlogged_xattr;
	_Atomic int flush_failed; // what stands at the places may not be on the disk, and the host
				  // no longer says so
	bool reborn; // salvage: the header may reach its place only when the checkpoint that has
		     // it is durable: what leads to the object would else count before its time
	bool host_written;  // unflushed writes at places since the last datasync
	uint64_t unsettled; // sequence of the last record that lets a page be old or new, when
			    // neither SETTLED nor a checkpoint came after it; else 0
	uint64_t drop_from,
		drop_to; // pages dropped whose host space is not yet given back (from == to: none)
	uint64_t drop_sequence;       // record of the last such drop
	_Atomic unsigned bad_level;   // the node page that was loaded last, or failed to: its level
	_Atomic uint64_t bad_first;   // and the first page that it covers; of one load where the
				      // lock is exclusive
	struct replay_object *replay; // candidates, during replay only
	_Atomic table_place ahead_after, ahead_to; // ahead.c: 1 + of the file read last; asked for
						   // below
};

#define DIRTY_ATTR 1u    // the home entry's attributes are behind
#define DIRTY_CONTENT 2u // header, pages or table are behind

struct node {
	struct node *hash_next; // nodes_lock
	uint64_t number;
	uint64_t incarnation;
	uint8_t type;
	uint64_t lookups;   // nodes_lock
	unsigned refs;      // nodes_lock: users, children, dirty list, look-ups (one for all)
	bool hashed;        // nodes_lock
	bool unlink_listed; // nodes_lock: an orphan whose host file is on the list of what has to
			    // go
	struct unlink_entry *grave; // memory to list it with; names_lock until it is an orphan
	uint8_t *target;            // of a short symlink; never changes once the node can be found
	uint16_t target_len;

	struct node
		*home; // dirty_lock: directory of the home entry (referenced); NULL: root or orphan
	table_place place;       // dirty_lock: of the home entry
	unsigned dirty;          // dirty_lock
	struct node *dirty_next; // dirty_lock
	_Atomic bool orphan;     // no name is left; set under names_lock, once

	pthread_rwlock_t lock;
	struct ward_attr attr; // lock
	uint64_t bound;        // lock: least generation the home entry asks for
	uint32_t bound_epoch;
	_Atomic uint64_t generation; // of the last cut that sealed it (0: never); lock for changes
	_Atomic uint64_t base; // of the last completed checkpoint that sealed it; lock for changes
	uint32_t epoch;        // lock: of its keys
	bool unlogged_attr;    // lock: attributes differ from what was logged
	_Atomic uint64_t change; // raised by every change; lets a checkpoint see whether something
				 // came after its cut
	uint64_t cut_change;     // commit_lock: value at the last cut
	struct object *obj;      // lock; NULL: not loaded
	struct node *lru_next, *lru_prev; // nodes_lock: list of nodes whose object is loaded
	bool in_lru;
	size_t replay_index;   // replay only: 1 + place in its list
	_Atomic bool used;     // touched since the last sweep
	bool rotate_queued;    // rotation's lock: moved since the rotation passed by
	bool unloaded;         // cut exclusive: listed with content to seal, and that is not there
	_Atomic bool in_log;   // since the last cut that took it: records that a crash needs
	_Atomic int8_t unread; // why its object could not be loaded for the last checkpoint, or 0
};

#define NODE_BUCKETS_MIN 1024
// Seals under one key with random nonces: a new key is due, and none is made any more.
#define SEALS_RENEW (1ull << 30)
#define SEALS_MAX (1ull << 32)

struct fsync_request {
	struct fsync_request *next;
	struct node *node; // referenced; NULL: journal only
	fs_done done;
	void *arg;
	int err;
	bool bulk; // needs datasync + SETTLED before the reply
};

struct checkpoint; // checkpoint.c
struct findings;   // findings.h

enum freeze_state {
	FREEZE_NONE,
	FREEZE_ASKED,
	FREEZE_HELD,
	FREEZE_ENDED,
};

struct fs {
	struct vault *v;
	struct fs_params params;
	struct host *host;
	struct hostcache *hc;
	struct journal *j;
	uint32_t mount;
	bool small_blocks; // of the host: a page is not written as a whole, so that content, too,
			   // is only overwritten when its image is in the journal
	uint32_t known_mount; // of the vault header as it was found: what is on the host is of this
			      // one, of an earlier one, or of ours
	_Atomic uint64_t k;     // number of the next checkpoint: any at first, raised only at a cut
	_Atomic uint32_t epoch; // current; what the durable header says
	struct rotation *rotation;   // rotate.c; set before any thread runs
	pthread_mutex_t header_lock; // one change of the vault header at a time

	pthread_mutex_t checkpoint_lock;
	pthread_mutex_t commit_lock;
	pthread_rwlock_t cut;
	pthread_mutex_t names_lock;

	pthread_mutex_t nodes_lock;
	struct node **nodes;
	size_t nodes_buckets, nodes_count;
	struct node *lru, *lru_tail; // nodes_lock: nodes whose object is loaded, the newest first
	struct node *root, *links;
	bool root_refused; // fs_open: it is why

	pthread_mutex_t dirty_lock;
	struct node *dirty_list;
	_Atomic size_t dirty_count;
	_Atomic bool left_out; // the last cut left nodes out: below what cannot be read

	struct image_map *images; // replay only
	bool replaying;
	bool quiet; // replay only: what is refused now is only tried
	struct findings *findings;

	// threads.c
	pthread_mutex_t work_lock;
	pthread_cond_t work_cond; // committer, checkpointer and waiters for space
	pthread_cond_t done_cond;
	struct fsync_request *fsync_head, **fsync_tail; // work_lock
	struct fsync_request *flush_head,
		**flush_tail; // work_lock: need a datasync of their object first
	bool stopping;        // work_lock
	uint64_t checkpoint_wanted, checkpoint_done; // work_lock: tickets
	int checkpoint_error;                        // work_lock: of the last one
	bool spill_wanted;                           // work_lock
	uint64_t spills_done;                        // work_lock
	pthread_mutex_t space_lock;
	uint64_t space_left; // space_lock: bytes that may still be promised before the host is
			     // asked again
	uint64_t space_checked_ms; // space_lock
	pthread_t committer, checkpointer, flusher[2];
	unsigned threads;
	pthread_t anchorer;
	pthread_cond_t anchorer_cond; // with work_lock
	bool anchorer_runs;           // of the thread that opens and closes
	bool anchorer_stop;           // work_lock

	struct unlink_entry
		*unlinks; // dirty_lock: host files to remove after the next completed checkpoint
	struct checkpoint *unfinished; // checkpoint_lock: cut, but not yet safely at its places
	_Atomic uint8_t folder_new[HOST_FOLDERS]; // names were made in it since it was last synced

	_Atomic uint64_t overlay_bytes, dirty_bytes, cache_bytes;
	_Atomic uint64_t file_bytes; // the part of cache_bytes that is no directory's: what is new
				     // can be let go only after a checkpoint
	_Atomic uint64_t checkpoints, refusals, fsyncs, commits, last_generation;
	_Atomic uint64_t orphan_count; // nodes in the table that are orphans
	_Atomic uint64_t image_count;  // pages that the next checkpoint has to image, about
	_Atomic bool read_only;
	_Atomic bool no_space;
	_Atomic bool sweep_wanted;
	char read_only_reason[96];
	bool abandoned;

	_Atomic bool freezing;       // asked or held: written under freeze_lock
	pthread_mutex_t freeze_lock; // guards what follows; taken alone
	pthread_cond_t freeze_cond;
	enum freeze_state freeze_state;
	bool thaw_asked;
	int freeze_error;
	unsigned freeze_ms;
	void (*thawed)(void *arg);
	void *thawed_arg;
	pthread_t freezer; // to be joined in FREEZE_ENDED
};

// Before a wait: see fs_params.
static inline void fs_blocking(const struct fs *fs)
{
	if (fs->params.blocking)
		fs->params.blocking(fs->params.blocking_arg);
}

// --- node.c: the node table, references, dirtiness ---
int node_table_init(struct fs *fs) WARN_UNUSED;
// As the lock order says. 0, or an errno.
int rwlock_init_fair(pthread_rwlock_t *lock) WARN_UNUSED;
void node_table_free(struct fs *fs);
// As a home entry says it, before anything of it was loaded: bound, last checkpoint and last cut
// are one.
void node_set_generation(struct node *n, uint64_t generation);
// Keeps the short target of a symlink (a copy).
int node_set_target(struct node *n, const void *target, size_t len) WARN_UNUSED;
// A reference to the node with this number, or NULL.
struct node *node_find(struct fs *fs, uint64_t number);
// The node without a reference; with nodes_lock.
struct node *node_find_locked(const struct fs *fs, uint64_t number);
// Finds or makes the node that a home entry describes; referenced. home is the directory whose
// table has it. `look` raises the look-up count.
int node_from_entry(struct fs *fs, const struct entry *e, struct node *home, table_place place,
		    bool look, struct node **ret) WARN_UNUSED;
// A new node, hashed and referenced once.
int node_new(struct fs *fs, uint64_t number, uint64_t incarnation, uint8_t type,
	     struct node **ret) WARN_UNUSED;
void node_ref(struct fs *fs, struct node *n);
void node_put(struct fs *fs, struct node *n);
void node_look(struct fs *fs, struct node *n);
void node_forget(struct fs *fs, struct node *n, uint64_t count);
// Moves the home entry (reference counts included); home NULL makes an orphan.
void node_set_home(struct fs *fs, struct node *n, struct node *home, table_place place);
// The last name is gone.
void node_make_orphan(struct fs *fs, struct node *n);
// The end: the kernel has forgotten everything, whether it said so or not. Host files of orphans
// are due.
void node_free_orphans(struct fs *fs);
// Lists the node and its ancestors for the next checkpoint.
void node_dirty(struct fs *fs, struct node *n, unsigned flags);
// Why a checkpoint cannot store this node: it, or a directory above it, cannot be read. 0: it can.
int node_unread(struct fs *fs, const struct node *n) WARN_UNUSED;
// The node's object is loaded: the sweep may look at it.
void node_lru_add(struct fs *fs, struct node *n);
// Frees clean loaded objects while more than the cache's share is held.
void node_sweep(struct fs *fs);

// --- object.c: loading and the host file ---
// Loads the content (node->lock exclusive). Already loaded: 0.
int object_load(struct fs *fs, struct node *n) WARN_UNUSED;
// Whether this error of a load means damage, by accident or not; a host that could not read is
// asked again the next time.
bool object_is_damaged(int err);
void object_free(struct fs *fs, struct object *o);
// Brings the cache's byte count up to date. node->lock shared (after reading) or exclusive.
void object_account(struct fs *fs, struct object *o);
// Keys for what is sealed next: made, or renewed where their epoch or their number of seals asks
// for it. node->lock exclusive.
int object_need_keys(struct fs *fs, struct node *n) WARN_UNUSED;
// Inline → tree (node->lock exclusive, cut shared).
int object_make_tree(struct fs *fs, struct node *n) WARN_UNUSED;
int object_tree_init(struct fs *fs, struct node *n) WARN_UNUSED;
size_t object_inline_capacity(const struct object *o);
// Locks the node so that its object is loaded: shared where possible. *ret_exclusive says which.
int node_lock_read(struct fs *fs, struct node *n, bool *ret_exclusive) WARN_UNUSED;
int node_lock_write(struct fs *fs, struct node *n) WARN_UNUSED;
void node_unlock(struct node *n);
// Borrows an object's host file for reading, and reads from it: both tell the server first when
// they have to wait.
int object_host_file(struct fs *fs, uint64_t number, struct host_file **ret) WARN_UNUSED;
int object_preadv(struct fs *fs, struct host_file *f, const struct iovec *iov, int iovcnt,
		  uint64_t off) WARN_UNUSED;
// Opens a sealed page under the key that its seal names. plain may be cipher. WERR_AUTH,
// WERR_NOMEM.
int object_open_page(const struct object_keys *keys, const struct seal *s, uint32_t level,
		     uint64_t index, const uint8_t *cipher, uint8_t *plain) WARN_UNUSED;
// Reads raw host pages, images of a replayed journal first.
int object_read_raw(struct fs *fs, uint64_t number, uint64_t position, size_t pages,
		    uint8_t *buf) WARN_UNUSED;
// Writes raw host pages at their places (creating the host file) and remembers that they are
// unflushed.
int object_write_raw(struct fs *fs, struct node *n, uint64_t position, const uint8_t *buf,
		     size_t pages) WARN_UNUSED;
// After a failure no other one succeeds until a checkpoint has written everything again.
int object_datasync(struct fs *fs, struct node *n) WARN_UNUSED;
// Writes every page at its place once more (rewrite.c). node->lock exclusive. A page that cannot be
// had any more makes the vault read-only: what is durable stays, the journal has the rest.
int object_rewrite(struct fs *fs, struct node *n) WARN_UNUSED;
// Makes the names of new host files durable.
int object_sync_folder(struct fs *fs, unsigned folder) WARN_UNUSED;
uint64_t pages_of(uint64_t size);
// Pages of a directory's table, lost ones included.
uint32_t object_table_pages(const struct object *o);
// Whether this page is one that does not open. n loaded.
bool object_page_lost(struct node *n, uint32_t page);
struct objref node_objref(const struct node *n);
struct object_id node_object_id(const struct node *n);

// --- overlay.c ---
struct opage *overlay_find(const struct overlay *ov, uint64_t index);
struct opage *overlay_make(struct overlay *ov, uint64_t index); // NULL: no memory
struct obuf *overlay_buf(struct fs *fs);                        // NULL: no memory
void overlay_buf_free(struct fs *fs, struct obuf *b);
void overlay_prune(struct overlay *ov,
		   struct opage *p); // removes the entry when nothing is left in it
void overlay_clear(struct fs *fs, struct overlay *ov);
// Sorted indices of pages with a dirty (or pending) buffer: malloc'd array.
int overlay_indices(const struct overlay *ov, bool pending, uint64_t **ret,
		    size_t *ret_n) WARN_UNUSED;

// --- page I/O: read.c, write.c (node->lock held) ---
// Plaintext of one page (zeros for a hole).
int page_read(struct fs *fs, struct node *n, uint64_t index,
	      uint8_t plain[static WARD_PAGE]) WARN_UNUSED;
// Seals and stores whole pages [index, index + n): in place above the guard, else in the overlay.
int page_write(struct fs *fs, struct node *n, uint64_t index, size_t pages,
	       const uint8_t *plain) WARN_UNUSED;
// Reads plaintext of any range inside the file (holes as zeros).
int data_read(struct fs *fs, struct node *n, uint64_t off, size_t len, uint8_t *buf) WARN_UNUSED;
int data_write(struct fs *fs, struct node *n, uint64_t off, const uint8_t *buf,
	       size_t len) WARN_UNUSED;
// Zeroes [off, off + len), inside whole pages by holes. Never changes the size.
int data_zero(struct fs *fs, struct node *n, uint64_t off, uint64_t len) WARN_UNUSED;
// Sets the size (both layouts). node->lock exclusive, cut shared.
int data_truncate(struct fs *fs, struct node *n, uint64_t size) WARN_UNUSED;
// Replay: pages at and beyond end have no effect; forgets them (no record).
int data_drop_beyond(struct fs *fs, struct node *n, uint64_t end) WARN_UNUSED;
// Bookkeeping after a change of content.
void data_changed(struct fs *fs, struct node *n);

// --- attributes ---
void fs_now(struct fs *fs, struct ward_time *ret);
void attr_touch(struct fs *fs, struct node *n, bool mtime); // ctime (and mtime) := now; dirty
void fs_fill_stat(const struct node *n, struct fs_stat *ret);
int attr_kill(struct fs *fs,
	      struct node *n) WARN_UNUSED; // clears suid/sgid and security.capability
// Makes set (heap, taken over) the node's extended attributes (xattrs.c).
void xattr_replace(struct fs *fs, struct node *n, uint8_t *set, size_t len);

// --- records: records.c ---
// Appends ATTR for a node's home entry, with the attributes that the log may promise (logged size).
void rec_attr(struct fs *fs, struct record *r, struct node *n);
// The encoded home entry of a node for the journal and the table (attributes as the log may promise
// them).
int rec_entry(struct node *n, const uint8_t *name, size_t name_len,
	      uint8_t out[static ENTRY_BYTES_MAX], size_t *ret_len) WARN_UNUSED;
// Appends the assignments of a slot that was just changed in a directory's table.
void rec_slot(struct record *r, struct node *dir, table_place place);
// The record of a name operation whose tables have changed already: a failure makes the vault
// read-only, because memory and log are not the same any more.
int rec_append_names(struct fs *fs, struct record *r) WARN_UNUSED;
// Before them: what may fail for memory from there on is had, names_lock held until the append.
// victim: loses a name, or NULL.
int rec_prepare_names(struct fs *fs, struct record *r, struct node *victim) WARN_UNUSED;
// Appends the record and, when given, reports its sequence.
// OBJECT: the node's wrapped keys.
void rec_keys(struct record *r, struct node *n);
// Content that belongs to a name operation (a long symlink target): complete in the record.
int rec_new_content(struct fs *fs, struct record *r, struct node *n) WARN_UNUSED;
int rec_append(struct fs *fs, struct record *r, uint64_t *ret_sequence) WARN_UNUSED;
// The same; what for decides how much of the journal stays free. WERR_NOSPACE.
enum rec_room {
	ROOM_NAME,       // fs_admit has let it in
	ROOM_COMMIT,     // content: a checkpoint can take its place
	ROOM_CHECKPOINT, // the cut, and what describes it
};
int rec_append_room(struct fs *fs, struct record *r, enum rec_room room,
		    uint64_t *ret_sequence) WARN_UNUSED;

// --- commit.c ---
enum log_mode {
	LOG_COMMIT, // fsync: everything of this node
	LOG_CUT,    // at the cut: only pages below the guard need a record
	LOG_SPILL,  // overlay pages below the guard, to free memory
};
// Appends what the mode asks for; dirty overlay pages become pending. commit_lock, cut shared or
// exclusive, node->lock exclusive. *ret_bulk: old-ok runs were used (a fsync needs datasync +
// SETTLED).
int commit_log(struct fs *fs, struct node *n, enum log_mode mode, bool *ret_bulk) WARN_UNUSED;
// Writes pending pages to their places (after the journal flush). commit_lock held, node unlocked.
int commit_place(struct fs *fs, struct node *n) WARN_UNUSED;
// Logs a small, new file without a flush, so that a rename over something never exposes an empty
// file. Takes commit_lock.
int commit_before_rename(struct fs *fs, struct node *n) WARN_UNUSED;
// One group of fsyncs; calls done of each. Takes commit_lock.
void commit_group(struct fs *fs, struct fsync_request *list);
void commit_spill(struct fs *fs);

// --- checkpoint.c ---
// Runs one checkpoint (or finishes the unfinished one, then runs one).
int checkpoint_run(struct fs *fs) WARN_UNUSED;
// Whether a checkpoint would have anything to do.
bool checkpoint_pending(struct fs *fs);
// The clean end: everything in its place, host space given back, all of it durable.
int checkpoint_last(struct fs *fs) WARN_UNUSED;
void checkpoint_discard(struct fs *fs);
void unlink_later(struct fs *fs, uint64_t number, uint64_t incarnation);
// Of a node whose grave was made: does not fail for memory.
void unlink_node_later(struct fs *fs, struct node *n);
int unlink_prepare(struct node *n) WARN_UNUSED;
// Whether the next checkpoint removes this host file.
bool unlink_is_listed(struct fs *fs, uint64_t number);

// --- engine.c ---
// Loads the root, checks its own entries, makes the node of the links directory.
int engine_load_root(struct fs *fs) WARN_UNUSED;
// The root and links directories of an empty vault, in memory.
int engine_make_root(struct fs *fs) WARN_UNUSED;
// The header says that everything is in its place, or that the journal counts. Nobody writes
// meanwhile; header_lock where others may use the header.
int engine_write_clean(struct fs *fs) WARN_UNUSED;
int engine_write_dirty(struct fs *fs) WARN_UNUSED;
// The root's own entries with new attributes, where it has lost them; the links directory is made
// unless fs->links is there already.
int engine_fill_root(struct fs *fs, bool self, bool links) WARN_UNUSED;

// --- replay.c ---
// needs_mount: a journal without any record was cut, and is refused.
int replay_journal(struct fs *fs, bool needs_mount) WARN_UNUSED;
const uint8_t *image_find(const struct image_map *m, uint64_t number, uint64_t position);
void image_map_free(struct image_map *m);
// Brings every image to its place, durably, and forgets them: a checkpoint that was cut short while
// overwriting is finished.
int image_map_place(struct fs *fs) WARN_UNUSED;
void replay_object_free(struct replay_object *ro);

// --- committer.c: threads, tickets, waiting for space ---
int threads_start(struct fs *fs) WARN_UNUSED;
void threads_stop(struct fs *fs);
// Before a change: waits for journal and memory space, refuses when read-only. growth: bytes that
// the host must be able to take.
int fs_admit(struct fs *fs, uint64_t growth) WARN_UNUSED;
void want_checkpoint(struct fs *fs);
void want_spill(struct fs *fs);
void want_sweep(struct fs *fs); // the cache holds more than its share

// --- freeze.c ---
// Waits until nothing is frozen, or about to be. No lock held.
void freeze_wait(struct fs *fs);
// Everything is at its place, durably, and nothing changes, the header neither, until quiet_end:
// for a moment, by one thread. checkpoint_lock, header_lock, commit_lock and cut are held then.
// WERR_BUSY: frozen, or more came in than could be placed. WERR_READONLY, and the errors of a
// checkpoint.
int quiet_begin(struct fs *fs) WARN_UNUSED;
void quiet_end(struct fs *fs);
// Before the engine closes: thaws.
void freeze_end(struct fs *fs);

// --- anchoring.c: what the anchor may claim (no anchor: nothing happens) ---
// Tells the anchor what is durable; `write`: it is written at once.
void anchoring_note(struct fs *fs, bool write);
// After the journal was read: WERR_ROLLBACK when this machine has seen more of it.
int anchoring_check(struct fs *fs, uint64_t root_generation) WARN_UNUSED;
void anchoring_status(struct fs *fs, struct fs_status *ret);
int anchoring_start(struct fs *fs) WARN_UNUSED;
void anchoring_stop(struct fs *fs); // before anything that the thread uses goes away

// --- names.c, shared with rename.c and links.c ---
// A directory's table entry by name; dir locked. WERR_NOTFOUND, WERR_NAMETOOLONG.
int dir_find(struct node *dir, const char *name, table_place *ret_place,
	     struct entry *ret) WARN_UNUSED;
// Puts encoded entry bytes somewhere in the directory; dir locked exclusively.
int dir_insert(struct node *dir, const uint8_t *entry, size_t len, table_place *ret) WARN_UNUSED;
// The node an entry names, referenced: through the links directory where it is a link (then under
// names_lock).
int dir_node(struct fs *fs, struct node *dir, const struct entry *e, table_place place, bool look,
	     struct node **ret) WARN_UNUSED;
// The node of a link that was found at a place of dir, with a look-up; nothing is locked.
// WERR_NOTFOUND: the name went away meanwhile.
int dir_linked(struct fs *fs, struct node *dir, table_place place, uint64_t number,
	       uint64_t incarnation, struct node **ret) WARN_UNUSED;
// The directory's times and link count changed with a name in it: attributes into the record,
// dirty.
void dir_changed(struct fs *fs, struct record *r, struct node *dir, int nlink_change);
// The directory node of an inode number, referenced: WERR_STALE, WERR_NOTDIR.
int dir_get(struct fs *fs, uint64_t ino, struct node **ret) WARN_UNUSED;
// Locks one or two nodes (b may be NULL) exclusively for a change of their names, from before the
// change until its record is appended: a commit in between would log a place that no record has
// named yet. names_lock and the directories are held. `links`: the links directory, too; it fails
// when that cannot be loaded.
int nodes_lock(struct fs *fs, struct node *a, struct node *b, bool links);
void nodes_unlock(struct fs *fs, struct node *a, struct node *b, bool links);
// Takes one name off a node (names_lock; dir's slot is already empty): record, link count, orphan.
// Under nodes_lock, `link` as there.
void node_unname(struct fs *fs, struct record *r, struct node *n, bool link);
void links_name(uint64_t number, char out[static 17]);

// --- handover.c ---
// Ends what a locked vault had for files that were open without a name: a mount that does not take
// over from a lock.
int handover_sweep(struct fs *fs) WARN_UNUSED;
// Whether an entry of the links directory is such a file's.
bool handover_nameless(const struct entry *e);

// --- rotate.c ---
// A rotation that the header speaks of goes on.
int rotation_init(struct fs *fs) WARN_UNUSED;
int rotation_resume(struct fs *fs) WARN_UNUSED;
// Ends the thread and lets go of every node; the header keeps what is left to do.
void rotation_stop(struct fs *fs);
// After it was stopped for a hand-over, or by the engine that takes over.
int rotation_go_on(struct fs *fs) WARN_UNUSED;
void rotation_free(struct fs *fs);
// The vault has a newer epoch than the one that a running rotation works towards: another pass is
// due. header_lock held.
void rotation_renewed(struct fs *fs);
// A node stands elsewhere now, where the walk may have been already. names_lock held.
void rotation_moved(struct fs *fs, struct node *n);
// A node is of the current epoch now, but had no room for a new data key: a walk that goes by the
// epoch would pass it by. n->lock held.
void rotation_full(struct fs *fs, struct node *n);

// --- log.c ---
void fs_log(struct fs *fs, int priority, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
// An integrity finding: counted and logged. Returns err.
// what: a literal.
int fs_refuse(struct fs *fs, uint64_t number, int err, const char *what);
// The same for WERR_ROLLBACK, with the two generations.
int fs_refuse_older(struct fs *fs, uint64_t number, const char *what, uint64_t found,
		    uint64_t wanted);
// What happened, and the error that was behind it, in words of the host. For good, logged once.
void fs_set_read_only(struct fs *fs, const char *what, int err);
// The same words, for a line of the log.
const char *fs_host_text(int err);

#endif

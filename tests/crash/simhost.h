// SPDX-License-Identifier: Apache-2.0
// A host in memory whose power can be cut: the other implementation of struct host_ops
// (fusefs/host.h), for tests.
//
// A simhost is a disk with the page cache before it; simhost_open() gives a process's view of it
// (struct host), any number of times. Everything a process issued is visible to all views at once.
// What of it survives is another matter:
//
// - File content. A write is split into blocks of 4096 bytes; every version of a block since the
// last successful datasync of
//   the file is remembered. After a cut each block independently holds any one of them or the
//   durable one. With tearing, each 512-byte sector chooses for itself.
// - Size, truncate, punch. These are the file's metadata, and hosts with a journal keep their
// order: a cut takes effect after any
//   one of them; later ones did not happen. Growth by writing may be missing by itself (delayed
//   allocation). A block that was punched or cut off holds zeros or a version written after that,
//   if the punch happened; a version from before it, if it did not. What lies beyond the size reads
//   as zeros when the file grows again.
// - Names. datasync makes a file's content durable, *not* its name: sync_folder (sync_top for
// top-level files) does. Changes
//   of the same name keep their order, different names do not; a rename happens as a whole or not
//   at all. A folder appears with its first file; its own name is durable with sync_folder or
//   sync_top. An unlinked file whose folder was not synced may be back.
// - A failed datasync promises nothing and loses its pages: a later successful one does not cover
// blocks that were not
//   written again (the kernel believes them clean), though reads still see them.
// - A kill of the process loses nothing that was issued, but makes nothing durable either.
//
// Thread-safe (one lock); deterministic for one thread and a seed. Running out of memory ends the
// program.
#ifndef WARDFS_TESTS_SIMHOST_H
#define WARDFS_TESTS_SIMHOST_H

#include <stdint.h>

#include "fusefs/host.h"

struct simhost;
struct simtape;

struct simhost *simhost_new(void);
// All views and files of it must be closed: aborts, naming the number, when not (a leak in what is
// tested).
void simhost_free(struct simhost *s);
// A process's view; ended with ops->close, which also releases its lock. simhost_of is its way
// back.
struct host *simhost_open(struct simhost *s);
struct simhost *simhost_of(struct host *h);

// The calls of struct host_ops that are counted, can fail, and are the points where the power can
// go.
enum simcall {
	SIM_OPEN, // open_top, open_object
	SIM_READ,
	SIM_WRITE,
	SIM_DATASYNC,
	SIM_TRUNCATE,
	SIM_PUNCH,
	SIM_SIZE,
	SIM_UNLINK, // unlink_object, unlink_top
	SIM_RENAME, // rename_top, set_aside
	SIM_SYNC_FOLDER,
	SIM_SYNC_TOP,
	SIM_LIST, // list_folder, list_top
	SIM_SPACE,
	SIM_LOCK,
	SIM_CALLS,
	SIM_ANY = SIM_CALLS, // in struct simfault
};
// Calls since simhost_new or the clone, failed ones included; SIM_ANY: all.
uint64_t simhost_calls(struct simhost *s, enum simcall kind);

// The nth call of a kind from now on (1: the next one) and the `count` - 1 after it fail with an
// error. `after`: what was asked for happens all the same (not for datasync). Several faults may
// wait at once.
struct simfault {
	enum simcall kind;
	uint64_t nth;
	uint64_t count;
	int error;
	int after;
};
void simhost_fail(struct simhost *s, const struct simfault *fault);
void simhost_fail_clear(struct simhost *s);

// n more calls happen (of any kind); from then on every call returns WERR_IO and nothing changes.
// Closing still works.
void simhost_power_off_after(struct simhost *s, uint64_t n);
int simhost_is_off(struct simhost *s);

// Called before each call, without any lock: to wait, to inject, to watch. NULL: none. Set while no
// other thread runs.
typedef void (*simhost_hook)(void *arg, enum simcall kind);
void simhost_on_call(struct simhost *s, simhost_hook hook, void *arg);

// The size of the disk: writes that need more blocks get WERR_NOSPACE (and may have happened in
// part). 0: no limit.
void simhost_set_space(struct simhost *s, uint64_t bytes);
// What the disk says of the size of its blocks (4096 else): what it writes as a whole.
void simhost_set_block(struct simhost *s, uint32_t bytes);
// punch answers WERR_NOTSUP from now on.
void simhost_no_punch(struct simhost *s);
// The host writes a file's unflushed blocks back by itself and fails: they are lost as after a
// failed datasync, and the next datasync of each handle that is open *now* says WERR_IO. One that
// is opened later never hears of it.
void simhost_fail_writeback(struct simhost *s, uint64_t number);
// Puts something under an object's name that no open will accept (WERR_DAMAGED), durably.
void simhost_junk_object(struct simhost *s, uint64_t number);

// Things issued and not durable: blocks, size changes, names. 0 after a proper unmount.
uint64_t simhost_unflushed(struct simhost *s);
// Files whose name is an object's.
uint64_t simhost_objects(struct simhost *s);

enum simcut_what {
	SIMCUT_RANDOM,       // any subset; per file all, nothing, or a random part
	SIMCUT_NONE,         // nothing that was not flushed
	SIMCUT_ALL,          // everything issued
	SIMCUT_ONLY_FILE,    // all of the top-level file `file`, else nothing
	SIMCUT_ALL_BUT_FILE, // everything but the unflushed of the top-level file `file`
	SIMCUT_TAPE, // as the choices of `tape` say (simtape.h): with simtape_next() every subset
};
#define SIMCUT_TEAR_NONE NULL
#define SIMCUT_TEAR_ALL "*"
struct simcut {
	enum simcut_what what;
	const char *file; // top-level file: "wardfs.journal" when NULL
	const char *tear; // SIMCUT_TEAR_NONE, SIMCUT_TEAR_ALL, or the top-level file whose blocks
			  // may be torn (with SIMCUT_RANDOM)
	// With `tear`: whether this block may be torn; number 0: not of an object. NULL: all.
	int (*tear_block)(void *arg, uint64_t number, uint64_t block);
	void *tear_arg;
	struct simtape *tape;
};

// A new disk as it is when the power comes back: all of it durable, no lock, no fault, no limit but
// the size of the disk. The old one is unchanged and may go on (or be cut once more, with another
// seed).
struct simhost *simhost_clone_after_cut(struct simhost *s, uint64_t seed, const struct simcut *cut);
// The disk as a new process finds it after the old one was killed: everything issued is there, and
// is as (un)durable as it was.
struct simhost *simhost_clone_after_kill(struct simhost *s);

#endif

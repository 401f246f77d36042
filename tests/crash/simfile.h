// SPDX-License-Identifier: Apache-2.0
// A simulated file's content with the history of what is not durable (simhost.h says what it
// means). Not thread-safe.
#ifndef WARDFS_TESTS_SIMFILE_H
#define WARDFS_TESTS_SIMFILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define SIM_BLOCK 4096u
#define SIM_SECTOR 512u

struct simblock;
struct simevent;
struct simtape;

struct simfile {
	unsigned refs; // names, pending name changes, open handles
	unsigned live; // current name and open handles: while not 0 its blocks count as used
	char top_name[64];
	uint64_t number; // of an object; 0: none
	int junk;
	uint64_t writeback_errors; // so far
	uint64_t size;
	uint64_t allocated; // blocks
	uint64_t clock;     // of changes
	uint64_t durable_clock, durable_size;
	struct simblock *table; // open addressing, power of two
	size_t table_cap, table_len;
	uint64_t *dirty; // indexes of blocks with history
	size_t dirty_len, dirty_cap;
	struct simevent *events; // changes of metadata since the last datasync
	size_t events_len, events_cap;
	struct simfile *copy; // while a clone is made
};

// How much of a file survives. chance: of 256, that an unflushed thing takes its newest version.
struct simpick {
	enum { SIMPICK_NONE, SIMPICK_ALL, SIMPICK_SOME, SIMPICK_TAPE } mode;
	unsigned chance;
	int tear;
	int (*tear_block)(void *arg, uint64_t number, uint64_t block); // NULL: all of the file
	void *tear_arg;
	uint64_t *random; // state
	struct simtape *tape;
};
uint64_t simfile_random(uint64_t *state);

struct simfile *simfile_new(void);
void simfile_unref(struct simfile *f);
// Bytes really there.
size_t simfile_read(const struct simfile *f, const struct iovec *iov, int iovcnt, uint64_t off);
// *budget: blocks that may still be allocated, lowered. Returns 0, or -1 when it ran out (the
// blocks before are written).
int simfile_write(struct simfile *f, const struct iovec *iov, int iovcnt, uint64_t off,
		  uint64_t *budget);
void simfile_truncate(struct simfile *f, uint64_t size);
void simfile_punch(struct simfile *f, uint64_t off, uint64_t len);
void simfile_sync(struct simfile *f);
// A failed datasync: nothing became durable for sure, and what was written is taken for clean.
void simfile_sync_failed(struct simfile *f);
uint64_t simfile_unflushed(const struct simfile *f);
// Exact copy, history included (content shared). References are the caller's to set.
struct simfile *simfile_clone(const struct simfile *f);
struct simfile *simfile_clone_cut(const struct simfile *f, const struct simpick *pick);

// Raised while the host in memory allocates (volatile: the compiler knows malloc as a function that
// looks at nothing): a test that makes allocations fail leaves these alone.
extern _Thread_local volatile unsigned sim_allocating;
// calloc and realloc that end the program when there is no memory.
void *sim_alloc(size_t n);
void *sim_grow(void *p, size_t *cap, size_t need, size_t item);

#endif

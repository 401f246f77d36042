// SPDX-License-Identifier: Apache-2.0
// A vault in a simulated host and the engine on it: opening, closing, killing, cutting the power.
// Host errors in what must not fail end the program (trace_fail). Not thread-safe.
#ifndef WARDFS_TESTS_WORLD_H
#define WARDFS_TESTS_WORLD_H

#include <stdint.h>

#include "fusefs/fs.h"

struct world;

// A new vault (cheapest key derivation, smallest journal), not open.
struct world *world_new(uint64_t seed);
// The same once more, on a disk of its own. Not open.
struct world *world_copy(const struct world *w);
void world_free(struct world *w);
// The disk writes nothing larger than 512 bytes as a whole, and says so. Not open.
void world_small_blocks(struct world *w);
// The engine, driven by the caller (fs_params.manual). The clock advances by a little more than a
// second at each reading. Only a power cut armed before may make it fail: then the code is returned
// and world_dark() is true.
int world_open(struct world *w) WARN_UNUSED;
struct fs *world_fs(const struct world *w);
// A clean end. The code of fs_close.
int world_close(struct world *w) WARN_UNUSED;
// rotate_begin with the root key of the vault.
struct rotate_params;
int world_rotate(struct world *w, const struct rotate_params *params) WARN_UNUSED;
// Another root key and master epoch while the vault is in use: the passphrase's own slot is made
// again, so that it opens what a crash leaves of either state. WERR_LIMIT: epochs are used up.
int world_rekey(struct world *w) WARN_UNUSED;
// Page 0 of an object's host file, as it stands there. 0: there is none.
int world_read_object(struct world *w, uint64_t number, uint8_t page[static 4096]);
// SIGKILL: what was written to the host is there.
void world_kill(struct world *w);
// A power cut: of what was not flushed any part may be there.
void world_cut(struct world *w);
// The power goes off by itself after `calls` more host calls that change something; world_cut()
// must follow.
void world_arm(struct world *w, uint64_t calls);
// How the next power cuts are: an index into the kinds (WORLD_CUTS of them), or -1: random.
#define WORLD_CUTS 6
void world_cut_kind(struct world *w, int kind);
// The nth flush from now on and the count - 1 after it fail.
void world_fail_flush(struct world *w, uint64_t nth, uint64_t count);
int world_flushes_failed(const struct world *w); // whether that happened
// fn is called before every flush of a host file; NULL: no longer.
void world_on_flush(struct world *w, void (*fn)(void *arg), void *arg);
// The next calls get no power; world_cut() must follow.
void world_power_off(struct world *w);
// A cut that leaves what `cut` and `seed` say (tests/crash/simhost.h). The old disk stays, until
// world_take(): so it can be cut once more. Ends the process that has the vault open.
struct simhost;
struct simcut;
struct simhost *world_cut_copy(struct world *w, uint64_t seed,
			       const struct simcut *cut) WARN_UNUSED;
void world_take(struct world *w, struct simhost *disk);
// fn is called before every host call that changes something (or makes it durable), on this disk,
// the anchor's, and those that follow; NULL: no longer.
void world_on_change(struct world *w, void (*fn)(void *arg), void *arg);
void world_disarm(struct world *w);
int world_dark(const struct world *w);
// Calls fn for the number of every object file in the host's folders; 0 for other names.
void world_objects(struct world *w, void (*fn)(void *arg, uint64_t number, const char *name),
		   void *arg);

#endif

// SPDX-License-Identifier: Apache-2.0
// Rotation: every object comes under the current epoch of master keys, and with ROTATE_CONTENTS
// every page is sealed again under new data keys; then the masters of older epochs leave the vault
// header. wardfs-vault(5), "Rotation".
//
// What is left to do is not written down anywhere: the least epoch in an object's home entry and
// the number of data keys in its header say whether it is done. Only that a rotation is under way,
// and at what it is aimed, stands in the vault header under its MAC; an engine that opens such a
// vault goes on by itself. Objects are loaded (and so verified) before anything of them is sealed
// again; all changes go through journal and checkpoints like any other.
//
// All functions are thread-safe.
#ifndef WARDFS_FUSEFS_ROTATE_H
#define WARDFS_FUSEFS_ROTATE_H

#include <stdbool.h>
#include <stdint.h>

#include "fusefs/fs.h"

struct rotate_params {
	unsigned level;    // enum vault_rotation_level, not NONE
	const char *path;  // CONTENTS only: inside the vault, "a/b"; NULL or "": everything
	uint64_t max_rate; // bytes of objects sealed again a second, at most (vault_rate_valid)
	uint64_t now_s;
};

enum rotate_state {
	ROTATE_IDLE,     // none, and none since the vault was opened
	ROTATE_COUNTING, // how much there is to do
	ROTATE_RUNNING,  //
	ROTATE_PAUSED,   //
	ROTATE_WAITING,  // for the host (full, failing): tried again by itself; see error
	ROTATE_ENDED, // everything was done; older epochs are gone (unless a subtree was asked for)
	ROTATE_INCOMPLETE, // objects could not be read: they are as they were, older epochs stay
};

struct rotate_status {
	enum rotate_state state;
	unsigned level;
	bool subtree;
	uint32_t epoch;                       // the current one
	unsigned epochs;                      // how many the vault header has
	uint64_t objects_done, objects_total; // about: total of a counting walk
	uint64_t bytes_done, bytes_total;     // likewise
	uint64_t rate;                        // bytes a second, of the last seconds
	uint64_t left_s;                      // UINT64_MAX: unknown
	uint64_t max_rate;
	uint64_t failed; // objects that could not be read in this pass
	uint64_t started_s;
	int error; // why it waits
};

// The root key, from what opens the vault (crypto/offer.h). Codes as vault_unlock.
int rotate_root_key(struct fs *fs, const struct secret *offer, uint8_t **ret) WARN_UNUSED;
// Begins: a new epoch, the header says so durably. root_key: of this vault (vault_root_key).
// WERR_BUSY: one is under way (or was left incomplete; rotate_again takes that up). WERR_READONLY,
// WERR_AUTH (root key), WERR_INVALID (rate, too), WERR_NOTFOUND (path), and the errors of writing
// the header, after which nothing has begun. The work goes on in a thread of the engine, unless it
// is driven by hand (fs_params.manual).
int rotate_begin(struct fs *fs, const uint8_t root_key[static ROOT_KEY_BYTES],
		 const struct rotate_params *params) WARN_UNUSED;
// Takes an incomplete one up again. WERR_NOTFOUND: there is none. WERR_BUSY: it is running.
int rotate_again(struct fs *fs) WARN_UNUSED;
// For engines driven by hand: a bounded piece of work. *ret_more: there is more. A failure may be
// followed by another try.
int rotate_step(struct fs *fs, bool *ret_more) WARN_UNUSED;
// A pause is the engine's: who hands over to another one, or closes this one, carries it.
void rotate_pause(struct fs *fs, bool pause);
// The rate (0, or vault_rate_valid) goes into the header of a rotation that is under way, with its
// next write, at the latest that of fs_close or fs_hand_over.
void rotate_set_rate(struct fs *fs, uint64_t max_rate);
void rotate_get_status(struct fs *fs, struct rotate_status *ret);
// Waits until the state is another one than `state`, or ms have passed.
void rotate_wait(struct fs *fs, enum rotate_state state, unsigned ms);

#endif

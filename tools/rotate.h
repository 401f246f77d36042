// SPDX-License-Identifier: Apache-2.0
// The parts of 'wardfs rotate': of a vault that is not mounted, of a mounted one, and what both
// show.
#ifndef WARDFS_TOOLS_ROTATE_H
#define WARDFS_TOOLS_ROTATE_H

#include "fusefs/rotate.h"
#include "tools/options.h"
#include "tools/secrets.h"

struct rotate_request {
	struct secrets_source source;
	struct secrets_new fresh; // --after-leak: takes the place of the secret that is used
	struct options_kdf kdf;
	const char *target; // DIR, MNT, or below MNT
	const char *path;   // inside the vault
	int contents, after_leak, yes;
	int pause, resume, background, progress_json;
	uint32_t keep;  // --after-leak: further keyslots
	int is_rekeyed; // --after-leak: the keyslots are changed, the rotation has not begun
	uint64_t max_rate;
	int has_rate;
};

// Each prints what goes wrong.
int rotate_offline(struct rotate_request *r) WARN_UNUSED;
int rotate_mounted(struct rotate_request *r, const char *mnt) WARN_UNUSED;
// The right order after a leak, up to the rotation itself: which keyslots stay, a new root key.
// What can fail is asked for first; then one write changes all keyslots, and r->is_rekeyed is set.
// *ret_offer opens the vault afterwards; the caller clears it.
int rotate_after_leak(struct rotate_request *r, int is_mounted,
		      struct secret *ret_offer) WARN_UNUSED;

// A line about how far it is: on a terminal a bar that is drawn again and again, with json a line
// for every call, else nothing.
void rotate_show(const struct rotate_request *r, const struct rotate_status *st);
// The end of it: wipes the bar, prints the outcome; returns the code of the verb.
int rotate_show_end(const struct rotate_request *r, const struct rotate_status *st);

#endif

// SPDX-License-Identifier: Apache-2.0
// For verbs that act on a mounted vault: finding whoever serves it.
#ifndef WARDFS_TOOLS_MOUNTED_H
#define WARDFS_TOOLS_MOUNTED_H

#include <argp.h>
#include <limits.h>
#include <stdint.h>

#include "daemon/control_client.h"

// Connects to the service of the vault that is mounted at mnt (as the user gave it). Prints what
// goes wrong.
int mounted_connect(const char *mnt, struct control_client **ret) WARN_UNUSED;

// Paths in the description of a mount (control_status, control_state) may be no text: whether this
// one ("vault", "mountpoint") is `real`, which is resolved; and its bytes. WERR_NOTFOUND: it is
// no path.
int mounted_path_is(const json_t *mount, const char *key, const char *real) WARN_UNUSED;
int mounted_path(const json_t *mount, const char *key, char ret[static PATH_MAX]) WARN_UNUSED;
// The vault that is mounted at dir, into ret; 0: none of which anything is known.
int mounted_vault(const char *dir, char ret[static PATH_MAX]);

// A time like "90", "10m", "1h" in seconds, within min..max; ends the program with a usage error
// that names the option otherwise.
uint64_t mounted_seconds(struct argp_state *state, const char *option, const char *text,
			 uint64_t min, uint64_t max);

#endif

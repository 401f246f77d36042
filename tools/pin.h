// SPDX-License-Identifier: Apache-2.0
// PINs of hardware: asked for once for each time that secrets are gathered.
#ifndef WARDFS_TOOLS_PIN_H
#define WARDFS_TOOLS_PIN_H

#include "tools/secrets.h"

// *ret stays ours until pin_forget. Prints what goes wrong.
int pin_get(const struct secrets_hardware *hardware, const char *prompt,
	    const struct secret **ret) WARN_UNUSED;
// A new one, asked for twice; the caller's to clear.
int pin_get_new(const struct secrets_hardware *hardware, const char *prompt,
		struct secret *ret) WARN_UNUSED;
void pin_forget(void);

#endif

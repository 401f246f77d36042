// SPDX-License-Identifier: Apache-2.0
// Calls that a secret goes along with: the worker reads it from a pipe when it wants it.
#ifndef WARDFS_TOOLS_HANDOVER_H
#define WARDFS_TOOLS_HANDOVER_H

#include "daemon/control_client.h"
#include "tools/progress.h"
#include "tools/secrets.h"

// What was under way when it failed.
enum handover_stage {
	HANDOVER_VAULT,
	HANDOVER_PASSPHRASE,
	HANDOVER_KEY,
	HANDOVER_ENGINE,
	HANDOVER_MOUNT,
	HANDOVER_READY,
	HANDOVER_CLOSE,
};

struct handover {
	struct secrets_source *source;
	const char *subject; // of messages
	const char *dir;     // the vault
	int foreground;      // stays after the vault is ready; a signal ends the mount then
	// Its own from here on.
	struct progress *progress;
	int passphrase_fd;
	int failed; // to get the secret: reported already
	enum handover_stage stage;
	struct control_client *client;
};

// Calls the method and sees it through: asks for the secret when the worker wants it, shows
// progress and warnings. params: taken over. h->failed, h->stage and control_detail_of(c) tell more
// about a failure.
int handover_call(struct handover *h, struct control_client *c, const char *method,
		  json_t *params) WARN_UNUSED;

#endif

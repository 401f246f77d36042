// SPDX-License-Identifier: Apache-2.0
// The records of the journal as a replay keeps them: those after the newest complete checkpoint,
// and its images.
#include "fusefs/replay.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

void replay_forget(struct replay *rp, uint64_t through)
{
	size_t kept = 0;

	for (size_t i = 0; i < rp->payloads_len; i++) {
		struct payload *p = &rp->payloads[i];

		if (p->sequence <= through) {
			secret_wipe(p->bytes, p->len);
			free(p->bytes);
		} else {
			rp->payloads[kept++] = *p;
		}
	}
	rp->payloads_len = kept;
}

static int scan_images(struct replay *rp, const uint8_t *payload, size_t len)
{
	struct assignment a;
	size_t offset = 0;
	int more, err = 0;

	while (err == 0 && (more = record_next(payload, len, &offset, &a)) > 0) {
		if (a.tag == REC_IMAGE) {
			if (!rp->map) {
				rp->map = image_map_new();
			}
			err = rp->map ? image_add(rp->map, &a) : WERR_NOMEM;
			rp->images++;
		} else if (a.tag == REC_CHECKPOINT) {
			if (rp->images < a.count) {
				return WERR_MALFORMED;
			}
			image_map_free(rp->fs->images);
			rp->fs->images = rp->map;
			rp->map = NULL;
			rp->images = 0;
			rp->generation = a.generation;
			rp->root_generation = a.root_generation;
			replay_forget(rp, a.s);
		}
	}
	return err ? err : more;
}

int replay_collect(void *arg, uint64_t sequence, const uint8_t *payload, size_t len)
{
	struct replay *rp = arg;

	if (rp->payloads_len == rp->payloads_cap) {
		size_t cap = rp->payloads_cap ? rp->payloads_cap * 2 : 256;
		struct payload *list = realloc(rp->payloads, cap * sizeof *list);

		if (!list) {
			return WERR_NOMEM;
		}
		rp->payloads = list;
		rp->payloads_cap = cap;
	}
	uint8_t *copy = malloc(len ? len : 1);
	if (!copy) {
		return WERR_NOMEM;
	}
	memcpy(copy, payload, len);
	rp->payloads[rp->payloads_len++] = (struct payload){sequence, len, copy};
	// cppcheck-suppress memleak ; copy is in rp->payloads
	return scan_images(rp, payload, len);
}

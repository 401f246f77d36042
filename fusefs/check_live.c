// SPDX-License-Identifier: Apache-2.0
// What a check of a mounted vault does differently: it goes through the engine's nodes, under the
// locks that everybody else takes, and believes no entry that it saw a while ago.
#include "fusefs/check_private.h"

#include <stdlib.h>

static int by_entry(struct check *c, const struct job *j, struct node **ret)
{
	struct fs *fs = c->fs;
	struct entry e;
	bool exclusive;
	int err = node_lock_read(fs, j->home, &exclusive);

	if (err) {
		return err == WERR_NOMEM || err == WERR_MFILE ? err : 0;
	}
	err = table_get(j->home->obj->table, j->place, &e);
	if (err == 0 && e.kind == ENTRY_HOME && e.number == j->want.number &&
	    e.incarnation == j->want.incarnation) {
		err = node_from_entry(fs, &e, j->home, j->place, false, ret);
	}
	node_unlock(j->home);
	return err == WERR_NOMEM || err == WERR_MFILE ? err : 0;
}

int check_live_open(struct check *c, const struct job *j, struct node **ret)
{
	*ret = NULL;
	if (j->node) {
		node_ref(c->fs, j->node);
		*ret = j->node;
		return 0;
	}
	if (!j->home) { // the root, the links directory
		*ret = node_find(c->fs, j->want.number);
		return 0;
	}
	return by_entry(c, j, ret);
}

void check_job_clear(struct check *c, struct job *j)
{
	if (j->node) {
		node_forget(c->fs, j->node, 1);
		node_put(c->fs, j->node);
	}
	if (j->home) {
		node_put(c->fs, j->home);
	}
	free(j->path);
	*j = (struct job){0};
}

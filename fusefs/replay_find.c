// SPDX-License-Identifier: Apache-2.0
// What a replay does not find where it looks first: the entry of a directory whose header does not
// say where it stands, and a file of which the log speaks before it names it.
#include "fusefs/replay.h"

#include <stdlib.h>

// ---- a walk over all directories ----

struct level {
	struct node *dir; // referenced
	table_place at;
};

struct walk {
	struct fs *fs;
	replay_load_fn load;
	void *arg;
	struct level *levels;
	size_t len, cap;
};

// Takes over the reference. A directory that does not load is passed by: what is below it cannot be
// reached in any other way, either.
static int enter(struct walk *w, struct node *dir)
{
	bool inside = false;

	for (size_t i = 0; i < w->len && !inside; i++) {
		inside = w->levels[i].dir == dir;
	}
	int err = inside ? WERR_DAMAGED : w->load(w->arg, dir);
	if (err) {
		node_put(w->fs, dir);
		return err == WERR_NOMEM ? err : 0;
	}
	if (w->len == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 32;
		struct level *levels = realloc(w->levels, cap * sizeof *levels);

		if (!levels) {
			node_put(w->fs, dir);
			return WERR_NOMEM;
		}
		w->levels = levels;
		w->cap = cap;
	}
	w->levels[w->len++] = (struct level){dir, 0};
	return 0;
}

// The entry is kept, not what it points to.
static int step(struct walk *w, uint64_t number, uint64_t incarnation, struct entry *ret)
{
	struct level *top = &w->levels[w->len - 1];
	struct node *child;
	int err = table_next(top->dir->obj->table, top->at, &top->at, ret);

	if (err) {
		node_put(w->fs, top->dir);
		w->len--;
		return WERR_NOTFOUND;
	}
	if (ret->kind == ENTRY_HOME && ret->number == number && ret->incarnation == incarnation) {
		return 0;
	}
	table_place place = top->at++;
	if (ret->kind != ENTRY_HOME || ret->type != OBJECT_DIR || ret->number <= LINKS_NUMBER) {
		return WERR_NOTFOUND;
	}
	err = node_from_entry(w->fs, ret, top->dir, place, false, &child);
	if (err == 0) {
		err = enter(w, child);
	}
	return err == WERR_NOMEM ? err : WERR_NOTFOUND;
}

int replay_search(struct fs *fs, uint64_t number, uint64_t incarnation, replay_load_fn load,
		  void *arg, struct node **ret_dir, table_place *ret_place, struct entry *ret)
{
	struct walk w = {.fs = fs, .load = load, .arg = arg};

	node_ref(fs, fs->root);
	int err = enter(&w, fs->root);
	if (err == 0) {
		err = WERR_NOTFOUND;
	}
	while (err == WERR_NOTFOUND && w.len) {
		err = step(&w, number, incarnation, ret);
	}
	if (err == 0) {
		*ret_dir = w.levels[w.len - 1].dir;
		*ret_place = w.levels[w.len - 1].at;
		w.len--; // its reference is the caller's
	}
	while (w.len) {
		node_put(fs, w.levels[--w.len].dir);
	}
	free(w.levels);
	return err;
}

// ---- a name that comes later ----

int replay_named(const struct payload *payloads, size_t len, const struct objref *ref,
		 struct entry *ret)
{
	for (size_t i = 0; i < len; i++) {
		struct assignment a;
		size_t offset = 0;

		while (record_next(payloads[i].bytes, payloads[i].len, &offset, &a) > 0) {
			if (a.tag == REC_SLOT && a.len && entry_decode(a.bytes, a.len, ret) == 0 &&
			    ret->kind == ENTRY_HOME && ret->number == ref->number &&
			    ret->incarnation == ref->incarnation) {
				return 0;
			}
		}
	}
	return WERR_NOTFOUND;
}

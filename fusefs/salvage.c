// SPDX-License-Identifier: Apache-2.0
#include "fusefs/salvage.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "fusefs/inspect.h"

bool salvage_wanted(const struct fs *fs, int err)
{
	switch (err) {
	case WERR_AUTH:
	case WERR_DAMAGED:
	case WERR_MALFORMED:
	case WERR_ROLLBACK:
	case WERR_LIMIT:
	case WERR_NOTFOUND:
	case WERR_UNSUPPORTED:
	case WERR_IO:
		return fs->params.salvage != NULL;
	default:
		return false;
	}
}

bool salvage_has(const struct salvage *s, uint64_t number)
{
	for (size_t i = 0; i < s->dirs_len; i++) {
		if (s->dirs[i] == number) {
			return true;
		}
	}
	return false;
}

int salvage_note(struct salvage *s, uint64_t number)
{
	if (salvage_has(s, number)) {
		return 0;
	}
	if (s->dirs_len == s->dirs_cap) {
		size_t cap = s->dirs_cap ? s->dirs_cap * 2 : 16;
		uint64_t *dirs = realloc(s->dirs, cap * sizeof *dirs);

		if (!dirs) {
			return WERR_NOMEM;
		}
		s->dirs = dirs;
		s->dirs_cap = cap;
	}
	s->dirs[s->dirs_len++] = number;
	return 0;
}

int salvage_lost(struct fs *fs, struct node *n)
{
	n->base = n->generation = 0;
	n->bound = 0;
	n->bound_epoch = n->epoch = 0;
	n->attr.flags = 0;
	int err = salvage_note(fs->params.salvage, n->number);
	if (err == 0) {
		err = object_load(fs, n);
	}
	if (err == 0) {
		n->obj->reborn = true;
	}
	return err;
}

// The seals that the damaged node would have held are gone: its pages are holes from now on.
static int drop_node(struct object *o)
{
	uint64_t first = o->bad_first, pages = UINT64_C(1) << (7 * o->bad_level);

	return tree_drop(o->tree, first, first + pages, NULL);
}

static int table_page(struct fs *fs, struct node *n, uint64_t index, uint8_t *page)
{
	struct object *o = n->obj;
	struct seal s;
	int err = tree_get(o->tree, index, &s);

	if (err && salvage_wanted(fs, err)) {
		err = drop_node(o);
		return err ? err : salvage_note(fs->params.salvage, n->number);
	}
	if (err || seal_is_hole(&s)) {
		return err;
	}
	err = object_read_raw(fs, n->number, tree_position(index), 1, page);
	if (err == 0) {
		err = object_open_page(o->keys, &s, 0, index, page, page);
	}
	if (err == 0 && !table_page_bytes(o->table, (uint32_t)index)) {
		err = table_load_page(o->table, (uint32_t)index, page);
	}
	if (!salvage_wanted(fs, err)) {
		return err;
	}
	err = tree_drop(o->tree, index, index + 1, NULL);
	return err ? err : salvage_note(fs->params.salvage, n->number);
}

int salvage_table(struct fs *fs, struct node *n, uint64_t from, size_t count)
{
	uint8_t *page = malloc(WARD_PAGE);
	int err = page ? 0 : WERR_NOMEM;

	for (size_t i = 0; err == 0 && i < count; i++) {
		err = table_page(fs, n, from + i, page);
	}
	if (page) {
		secret_wipe(page, WARD_PAGE);
	}
	free(page);
	return err;
}

// The links directory by its own header: what its entry said is lost.
static int find_links(struct fs *fs)
{
	struct expected want = {.number = LINKS_NUMBER, .type = OBJECT_DIR};
	struct inspected *in = calloc(1, sizeof *in);
	int err = in ? inspect_open(fs, &want, in) : WERR_NOMEM;

	if (err == 0) {
		err = node_new(fs, LINKS_NUMBER, in->id.incarnation, OBJECT_DIR, &fs->links);
		if (err == 0) {
			node_set_generation(fs->links, in->h.generation);
			fs->links->bound_epoch = in->id.epoch;
			fs->links->attr.flags = ATTR_HAS_OBJECT;
		}
		inspect_close(in);
	}
	free(in);
	return err;
}

int salvage_root(struct fs *fs)
{
	struct entry self = {0}, links = {0};
	struct table *t = fs->root->obj->table;
	bool has_self = table_get(t, ROOT_SELF_PLACE, &self) == 0 && self.number == FS_ROOT;
	bool has_links = table_get(t, ROOT_LINKS_PLACE, &links) == 0 &&
			 links.number == LINKS_NUMBER && links.kind == ENTRY_HOME;
	int err = salvage_note(fs->params.salvage, FS_ROOT);

	if (err == 0 && has_self) {
		fs->root->attr = self.attr;
	}
	if (err == 0 && has_links) {
		err = node_from_entry(fs, &links, fs->root, ROOT_LINKS_PLACE, false, &fs->links);
	} else if (err == 0) {
		err = find_links(fs);
		err = err > 0 ? 0 : err;
	}
	return err ? err : engine_fill_root(fs, !has_self, !has_links);
}

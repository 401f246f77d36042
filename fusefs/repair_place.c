// SPDX-License-Identifier: Apache-2.0
// Names for objects that no table names. What the host shows of such an object is authentic, but
// nothing proves that it is its newest state, or that it was not deleted: it is marked, and told.
#include "fusefs/repair_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/rng.h"

#define MODE_FILE 0600u
#define MODE_DIR 0700u

static int by_number(const void *a, const void *b)
{
	const struct stray *x = *(const struct stray *const *)a;
	const struct stray *y = *(const struct stray *const *)b;

	return x->number < y->number ? -1 : x->number > y->number;
}

// The newest first: of two that claim one name it gets it.
static int by_generation(const void *a, const void *b)
{
	const struct stray *x = a, *y = b;

	if (x->generation != y->generation) {
		return x->generation > y->generation ? -1 : 1;
	}
	return x->number < y->number ? -1 : x->number > y->number;
}

int repair_sort(struct repair *r)
{
	struct check_plan *p = r->params.plan;

	if (p->strays_len == 0) {
		return 0;
	}
	qsort(p->strays, p->strays_len, sizeof *p->strays, by_generation);
	r->by_number = malloc(p->strays_len * sizeof(struct stray *));
	if (!r->by_number) {
		return WERR_NOMEM;
	}
	for (size_t i = 0; i < p->strays_len; i++) {
		r->by_number[i] = &p->strays[i];
	}
	qsort(r->by_number, p->strays_len, sizeof(struct stray *), by_number);
	return 0;
}

struct stray *repair_stray(const struct repair *r, uint64_t number)
{
	struct stray key = {.number = number}, *at = &key;
	struct stray **found = r->by_number ? bsearch(&at, r->by_number, r->params.plan->strays_len,
						      sizeof(struct stray *), by_number)
					    : NULL;

	return found ? *found : NULL;
}

void repair_dir_changed(struct repair *r, struct node *dir)
{
	dir->attr.pages = table_pages(dir->obj->table);
	dir->attr.size = dir->attr.pages * WARD_PAGE;
	node_dirty(r->fs, dir, DIRTY_CONTENT | DIRTY_ATTR);
}

static void default_attr(struct repair *r, struct node *n, const struct node *dir)
{
	bool is_dir = n->type == OBJECT_DIR;

	n->attr = (struct ward_attr){
		.mode = is_dir ? MODE_DIR : MODE_FILE,
		.uid = dir->attr.uid,
		.gid = dir->attr.gid,
		.nlink = is_dir ? 2 : 1,
	};
	fs_now(r->fs, &n->attr.mtime);
	n->attr.atime = n->attr.ctime = n->attr.btime = n->attr.mtime;
}

// The node of a stray, loaded, with attributes of its own. WERR_NOTFOUND: it cannot be used.
static int stray_node(struct repair *r, const struct stray *s, const struct node *dir,
		      struct node **ret)
{
	struct node *n;
	int err = node_new(r->fs, s->number, s->incarnation, s->type, &n);

	if (err) {
		return err == WERR_EXISTS ? WERR_NOTFOUND : err;
	}
	default_attr(r, n, dir);
	node_set_generation(n, s->generation);
	n->bound_epoch = s->epoch;
	n->attr.flags = ATTR_HAS_OBJECT;
	err = object_load(r->fs, n);
	if (err) {
		node_put(r->fs, n);
		return salvage_wanted(r->fs, err) ? WERR_NOTFOUND : err;
	}
	if (n->type == OBJECT_SYMLINK && n->attr.size == 0) {
		static const char gone[] = "wardfs-lost-target"; // it stood in the entry

		err = node_set_target(n, gone, sizeof gone - 1);
		n->attr.size = sizeof gone - 1;
	}
	n->attr.flags |= n->obj->xattrs_len ? ATTR_HAS_XATTRS : 0;
	*ret = n;
	return err;
}

// dirty: what of n is to be stored, DIRTY_*.
static int insert_as(struct repair *r, struct node *dir, struct node *n, const uint8_t *name,
		     size_t name_len, unsigned dirty)
{
	uint8_t bytes[ENTRY_BYTES_MAX];
	table_place place;
	size_t len;
	int err = rec_entry(n, name, name_len, bytes, &len);

	if (err == 0) {
		err = dir_insert(dir, bytes, len, &place);
	}
	if (err == 0) {
		node_set_home(r->fs, n, dir, place);
		node_dirty(r->fs, n, dirty);
		repair_dir_changed(r, dir);
	}
	return err;
}

static int insert(struct repair *r, struct node *dir, struct node *n, const uint8_t *name,
		  size_t name_len)
{
	return insert_as(r, dir, n, name, name_len, DIRTY_CONTENT | DIRTY_ATTR);
}

// Whatever is wrong with its content is put right on the way. Where it was: its header says so, and
// is left as it is, so that a directory of any size fits into one checkpoint; the walk marks it.
static int place(struct repair *r, struct node *dir, struct stray *s, const uint8_t *name,
		 size_t name_len, uint32_t nlink, const char *path, struct node **ret)
{
	bool back = name == s->name;
	struct node *n;
	uint64_t lost = 0;
	int err = stray_node(r, s, dir, &n);

	*ret = NULL;
	if (err) {
		return err == WERR_NOTFOUND ? 0 : err;
	}
	n->attr.nlink = nlink ? nlink : n->attr.nlink;
	if (n->type != OBJECT_DIR) {
		err = repair_content(r, n, path, &lost);
	}
	if (err == 0) {
		err = insert_as(r, dir, n, name, name_len,
				back && !lost ? DIRTY_ATTR : DIRTY_CONTENT | DIRTY_ATTR);
	}
	if (err) {
		node_put(r->fs, n); // no orphan: its host file stays
		return err;
	}
	s->unmarked = n->type == OBJECT_FILE || n->type == OBJECT_DIR;
	if (!back) {
		repair_stray_mark(r, s, n);
	}
	s->taken = true;
	*ret = n;
	return 0;
}

void repair_stray_mark(struct repair *r, struct stray *s, struct node *n)
{
	if (s->unmarked) {
		repair_mark(r, n, REPAIR_MARK_RECOVERED, "age not proven");
	}
	s->unmarked = false;
}

static bool is_name(const struct stray *s)
{
	bool dots = s->name_len && s->name[0] == '.' &&
		    (s->name_len == 1 || (s->name_len == 2 && s->name[1] == '.'));

	return s->name_len && !dots;
}

static bool claims(const struct stray *s, const struct node *dir)
{
	if (s->taken || s->parent_number != dir->number || !is_name(s)) {
		return false;
	}
	return s->parent_incarnation == dir->incarnation;
}

int repair_attach(struct repair *r, struct node *dir, const char *path)
{
	struct check_plan *plan = r->params.plan;
	table_place at;
	struct entry e;
	int err = 0;

	// Files with several names need their names first: repair_link_home.
	for (size_t i = 0; dir != r->fs->links && err == 0 && i < plan->strays_len; i++) {
		struct stray *s = &plan->strays[i];
		struct node *n;

		if (!claims(s, dir) || numberset_has(&r->named, s->number) ||
		    table_find(dir->obj->table, s->name, s->name_len, &at, &e) == 0) {
			continue;
		}
		char *full = repair_join(path, s->name, s->name_len);
		err = place(r, dir, s, s->name, s->name_len, 0, full, &n);
		if (err == 0 && n) {
			repair_did(r, REPAIR_REBUILT, s->number, full, 0, 0);
			node_put(r->fs, n);
		}
		free(full);
	}
	return err;
}

static uint64_t random_number(void)
{
	uint64_t v;

	do {
		rng_bytes(&v, sizeof v);
		v &= ~(UINT64_C(1) << 63);
	} while (v <= LINKS_NUMBER);
	return v;
}

// Of an earlier round.
static int find_quarantine(struct repair *r)
{
	const char *name = r->params.quarantine;
	struct node *root = r->fs->root;
	table_place at;
	struct entry e;
	int err = object_load(r->fs, root);

	if (err == 0) {
		err = table_find(root->obj->table, (const uint8_t *)name, strlen(name), &at, &e);
	}
	if (err == 0) {
		err = e.type == OBJECT_DIR
			      ? node_from_entry(r->fs, &e, root, at, false, &r->quarantine)
			      : WERR_EXISTS;
	}
	if (err == 0) {
		err = object_load(r->fs, r->quarantine);
	}
	return err;
}

static int make_quarantine(struct repair *r)
{
	const char *name = r->params.quarantine;
	struct node *n;
	int err = r->quarantine ? object_load(r->fs, r->quarantine) : find_quarantine(r);

	if (err != WERR_NOTFOUND) {
		return err;
	}
	err = node_new(r->fs, random_number(), random_number(), OBJECT_DIR, &n);
	if (err) {
		return err;
	}
	default_attr(r, n, r->fs->root);
	err = object_load(r->fs, n);
	err = err ? err : object_load(r->fs, r->fs->root);
	if (err == 0) {
		err = insert(r, r->fs->root, n, (const uint8_t *)name, strlen(name));
	}
	if (err) {
		node_put(r->fs, n);
		return err;
	}
	r->fs->root->attr.nlink++;
	r->quarantine = n;
	return 0;
}

// Its number and, as far as it fits, its last name.
static size_t quarantine_name(uint64_t number, const uint8_t *name, size_t len,
			      uint8_t out[static FS_NAME_MAX])
{
	size_t room = FS_NAME_MAX - 17;
	char hex[18];

	(void)snprintf(hex, sizeof hex, "%016" PRIx64 "-", number);
	memcpy(out, hex, 17);
	len = len < room ? len : room;
	if (len) {
		memcpy(out + 17, name, len);
	}
	return len ? 17 + len : 16;
}

int repair_quarantine(struct repair *r, struct stray *s, struct node **ret_node, char **ret_path)
{
	uint8_t name[FS_NAME_MAX];
	size_t len = quarantine_name(s->number, s->name, s->name_len, name);
	int err = make_quarantine(r);

	*ret_path = NULL;
	*ret_node = NULL;
	if (err) {
		return err;
	}
	char *dir = repair_join("", (const uint8_t *)r->params.quarantine,
				strlen(r->params.quarantine));
	char *path = repair_join(dir, name, len);
	free(dir);
	err = place(r, r->quarantine, s, name, len, 0, path, ret_node);
	if (err || !*ret_node) {
		free(path);
		return err;
	}
	repair_did(r, REPAIR_QUARANTINED, s->number, path, 0, 0);
	if (s->type == OBJECT_DIR) {
		r->quarantine->attr.nlink++;
	}
	*ret_path = path;
	return 0;
}

int repair_lost_dir(struct repair *r, const struct stray *s, struct node **ret_node,
		    char **ret_path)
{
	static const char last[] = "lost directory";
	uint8_t name[FS_NAME_MAX];
	size_t len =
		quarantine_name(s->parent_number, (const uint8_t *)last, sizeof last - 1, name);
	struct node *n;
	int err = make_quarantine(r);

	*ret_node = NULL;
	if (err == 0) {
		err = node_new(r->fs, s->parent_number, s->parent_incarnation, OBJECT_DIR, &n);
	}
	if (err) {
		return err == WERR_EXISTS ? 0 : err;
	}
	default_attr(r, n, r->quarantine);
	char *dir = repair_join("", (const uint8_t *)r->params.quarantine,
				strlen(r->params.quarantine));
	char *path = repair_join(dir, name, len);
	free(dir);
	err = object_load(r->fs, n);
	if (err == 0) {
		err = insert(r, r->quarantine, n, name, len);
	}
	if (err == 0) {
		r->quarantine->attr.nlink++;
		repair_did(r, REPAIR_QUARANTINED, n->number, path, 0, 0);
		err = repair_attach(r, n, path);
	}
	if (err) {
		node_put(r->fs, n);
		free(path);
		return err;
	}
	*ret_node = n;
	*ret_path = path;
	return 0;
}

// Nothing is left of it but its names.
static int empty_home(struct repair *r, const struct linked *l, const char *name)
{
	struct node *n;
	int err = node_new(r->fs, l->number, l->incarnation, l->type, &n);

	if (err) {
		return err == WERR_EXISTS ? 0 : err;
	}
	default_attr(r, n, r->fs->root);
	n->attr.nlink = l->names;
	err = object_load(r->fs, n);
	if (err == 0) {
		err = insert(r, r->fs->links, n, (const uint8_t *)name, 16);
	}
	if (err == 0 && n->type == OBJECT_FILE) {
		repair_mark(r, n, REPAIR_MARK_DAMAGED, "all");
	}
	node_put(r->fs, n);
	if (err == 0) {
		repair_did(r, REPAIR_EMPTIED, l->number, NULL, 0, 0);
	}
	return err;
}

int repair_link_home(struct repair *r, const struct linked *l)
{
	struct stray *s = repair_stray(r, l->number);
	struct node *n = NULL;
	char name[17];
	int err = object_load(r->fs, r->fs->links);

	int added = numberset_add(&r->named, l->number);
	err = err ? err : added == WERR_NOMEM ? added : 0;
	links_name(l->number, name);
	if (err == 0 && s && !s->taken && s->incarnation == l->incarnation && s->type == l->type) {
		err = place(r, r->fs->links, s, (const uint8_t *)name, 16, l->names, NULL, &n);
	}
	if (err || n) {
		if (n) {
			repair_did(r, REPAIR_LINK, l->number, NULL, 0, 0);
			node_put(r->fs, n);
		}
		return err;
	}
	return empty_home(r, l, name);
}

int repair_unlinked(struct repair *r, uint64_t number)
{
	struct node *links = r->fs->links, *n;
	uint8_t name[FS_NAME_MAX];
	char hex[17];
	table_place at;
	struct entry e;
	int err = object_load(r->fs, links);

	links_name(number, hex);
	if (err == 0) {
		err = table_find(links->obj->table, (const uint8_t *)hex, 16, &at, &e);
	}
	if (err == 0) {
		err = node_from_entry(r->fs, &e, links, at, false, &n);
	}
	if (err) {
		return err == WERR_NOTFOUND ? 0 : err;
	}
	n->attr.nlink = 1;
	err = make_quarantine(r);
	if (err == 0) {
		err = table_put(links->obj->table, at, NULL, 0);
	}
	if (err == 0) {
		repair_dir_changed(r, links);
		err = insert(r, r->quarantine, n, name, quarantine_name(number, NULL, 0, name));
	}
	if (err == 0) {
		repair_did(r, REPAIR_QUARANTINED, number, NULL, 0, 0);
	}
	node_put(r->fs, n);
	return err;
}

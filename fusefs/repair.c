// SPDX-License-Identifier: Apache-2.0
// The order of a repair: directories that were read around get their names back first, so that no
// checkpoint stores them without; then the tree is walked, what the check found is put right where
// its entry stands, and what no table names goes to the quarantine.
#include "fusefs/repair_private.h"

#include <stdlib.h>
#include <string.h>

static const struct {
	const char *word, *meaning;
} acts[REPAIR_ACTS] = {
	[REPAIR_HOLES] = {"holes", "pages that could not be read are holes now"},
	[REPAIR_EMPTIED] = {"emptied", "its content is lost: only its name and size are left"},
	[REPAIR_XATTRS] = {"xattrs-lost", "its extended attributes are lost"},
	[REPAIR_TABLE] = {"names-lost", "pages of this directory were lost: empty files, short "
					"symbolic links and devices in them cannot come back"},
	[REPAIR_REBUILT] = {"rebuilt", "has its name again, with default owner, mode and times; "
				       "that this is its newest state is not proven"},
	[REPAIR_QUARANTINED] = {"quarantined", "no directory named it: it may be older than it "
					       "looks, or may have been deleted"},
	[REPAIR_ATTRIBUTES] = {"attributes", "size, pages and flags are those of the object now"},
	[REPAIR_LINK_COUNT] = {"link-count", "its links were counted"},
	[REPAIR_LINK] = {"link-rebuilt", "its names lead to it again; that this is its newest "
					 "state is not proven"},
	[REPAIR_TWICE] = {"name-dropped", "a second entry for the same object was taken away"},
};

const char *repair_word(enum repair_act_kind kind)
{
	return acts[kind].word;
}

const char *repair_meaning(enum repair_act_kind kind)
{
	return acts[kind].meaning;
}

void repair_did(struct repair *r, enum repair_act_kind kind, uint64_t number, const char *path,
		uint64_t first, uint64_t count)
{
	struct repair_act act = {kind, number, path, first, count};

	r->acts++;
	if (r->params.did) {
		r->params.did(r->params.arg, &act);
	}
}

char *repair_join(const char *dir, const uint8_t *name, size_t len)
{
	size_t dir_len = dir ? strlen(dir) : 0;
	char *path = malloc(dir_len + len + 2);

	if (path) {
		if (dir_len) {
			memcpy(path, dir, dir_len);
		}
		path[dir_len] = '/';
		if (len) {
			memcpy(path + dir_len + 1, name, len);
		}
		path[dir_len + 1 + len] = '\0';
	}
	return path;
}

// --- directories that were read around ---

// The entry of a directory that starts anew must not ask for the object that is gone.
static int unbind(struct repair *r, struct node *n)
{
	struct node *home = n->home;

	if (n->base || !home) {
		return 0;
	}
	int err = object_load(r->fs, home);
	if (err == 0) {
		err = table_set_bound(home->obj->table, n->place, 0, 0);
	}
	return err == WERR_NOTFOUND ? 0 : err;
}

static int mend_dir(struct repair *r, struct node *n, const char *path)
{
	int err = numberset_add(&r->mended, n->number);

	if (err) {
		return err == WERR_EXISTS ? 0 : err;
	}
	err = unbind(r, n);
	if (err == 0) {
		repair_did(r, REPAIR_TABLE, n->number, path, 0, 0);
		err = repair_attach(r, n, path);
	}
	if (err == 0) {
		n->attr.flags |= n->base || n == r->fs->root ? ATTR_HAS_OBJECT : 0;
		n->attr.flags &= n->obj->xattrs_len ? UINT64_MAX : ~(uint64_t)ATTR_HAS_XATTRS;
		repair_dir_changed(r, n);
	}
	return err;
}

static int repair_early(struct fs *fs, void *arg)
{
	struct repair *r = arg;
	int err;

	r->fs = fs;
	err = repair_sort(r);
	// Only these are in memory, and the replay's checkpoint will store them.
	for (size_t i = 0; err == 0 && i < fs->params.salvage->dirs_len; i++) {
		struct node *n = node_find(fs, fs->params.salvage->dirs[i]);

		if (n && n->obj && n->dirty) {
			err = mend_dir(r, n, NULL);
		}
		if (n) {
			node_put(fs, n);
		}
	}
	return err;
}

// --- the walk ---

struct frame {
	struct frame *up;
	struct node *n; // referenced
	char *path;
	table_place at;
	uint32_t subdirs;
};

static int push(struct frame **top, struct node *n, char *path)
{
	struct frame *f = path ? calloc(1, sizeof *f) : NULL;

	if (!f) {
		free(path);
		return WERR_NOMEM;
	}
	*f = (struct frame){.up = *top, .n = n, .path = path};
	*top = f;
	return 0;
}

static void pop(struct fs *fs, struct frame **top)
{
	struct frame *f = *top;

	*top = f->up;
	node_put(fs, f->n);
	free(f->path);
	free(f);
}

static int count_link(struct repair *r, const struct entry *e)
{
	struct linked *l = linkset_get(&r->links, e->number);

	if (!l) {
		return WERR_NOMEM;
	}
	l->incarnation = e->incarnation;
	l->type = e->type;
	l->names++;
	return 0;
}

static int drop_twice(struct repair *r, struct frame *f, const struct entry *e, const char *path)
{
	uint64_t number = e->number;
	int err = table_put(f->n->obj->table, f->at, NULL, 0);

	if (err == 0) {
		repair_dir_changed(r, f->n);
		repair_did(r, REPAIR_TWICE, number, path, 0, 0);
	}
	return err;
}

// What needs no room in memory any more, and no more changes than one checkpoint takes.
static int relieve(struct repair *r)
{
	struct fs *fs = r->fs;
	uint64_t images = atomic_load(&fs->image_count) * WARD_PAGE;

	node_sweep(fs);
	if (images > journal_capacity(fs->j) / 4 || atomic_load(&fs->dirty_count) > 2000) {
		return checkpoint_run(fs);
	}
	return 0;
}

// What has its name again carries the mark of that.
static int mark(struct repair *r, struct frame *f, const struct entry *e, struct stray *s)
{
	struct node *n;
	int err = node_from_entry(r->fs, e, f->n, f->at, false, &n);

	if (err) {
		return err;
	}
	err = object_load(r->fs, n);
	if (err == 0) {
		repair_stray_mark(r, s, n);
	}
	node_put(r->fs, n);
	return err;
}

static int enter(struct repair *r, struct frame **top, const struct entry *e, char *path)
{
	struct node *n;
	int err = node_from_entry(r->fs, e, (*top)->n, (*top)->at, false, &n);

	(*top)->subdirs++;
	if (err) {
		free(path);
		return salvage_wanted(r->fs, err) ? 0 : err;
	}
	err = push(top, n, path);
	if (err) {
		node_put(r->fs, n);
	}
	return err;
}

static int home_entry(struct repair *r, struct frame **top, const struct entry *e)
{
	struct frame *f = *top;
	char *path = repair_join(f->path, e->name, e->name_len);
	struct stray *s = repair_stray(r, e->number);
	int err = path ? numberset_add(&r->named, e->number) : WERR_NOMEM;

	if (err == WERR_EXISTS) {
		err = drop_twice(r, f, e, path);
		free(path);
		return err;
	}
	if (s && s->incarnation == e->incarnation) {
		s->taken = true;
	}
	bool marks = err == 0 && s && s->taken && s->unmarked;
	if (marks) {
		err = mark(r, f, e, s);
	}
	if (err == 0 && e->type == OBJECT_DIR) {
		return enter(r, top, e, path);
	}
	if (err == 0 && numberset_has(&r->params.plan->damaged, e->number)) {
		err = repair_object(r, f->n, f->at, e, path);
	}
	free(path);
	return err == 0 && marks ? relieve(r) : err; // the entry is not needed any more
}

static bool is_own(const struct node *dir, table_place at, const struct entry *e)
{
	return dir->number == FS_ROOT && at <= ROOT_LINKS_PLACE && e->number == FS_ROOT + at;
}

static int leave(struct repair *r, struct frame *f)
{
	struct node *n = f->n;
	uint32_t nlink = 2 + f->subdirs;

	if (n != r->fs->links && n->attr.nlink != nlink) {
		n->attr.nlink = nlink;
		node_dirty(r->fs, n, DIRTY_ATTR);
		repair_did(r, REPAIR_LINK_COUNT, n->number, f->path, 0, 0);
	}
	return relieve(r);
}

// One entry, or the end of a directory.
static int step(struct repair *r, struct frame **top)
{
	struct frame *f = *top;
	uint8_t name[ENTRY_NAME_MAX], target[ENTRY_TARGET_MAX];
	struct entry e = {0};
	bool around = salvage_has(r->fs->params.salvage, f->n->number);
	bool first = f->at == 0;
	int err = object_load(r->fs, f->n); // the cache may have let it go

	// Read around just now: its names come back before anything is stored.
	if (err == 0 && first && (around || salvage_has(r->fs->params.salvage, f->n->number))) {
		err = mend_dir(r, f->n, f->path);
	}
	if (err == 0) {
		err = table_next(f->n->obj->table, f->at, &f->at, &e);
	}
	if (err == WERR_NOTFOUND) {
		err = leave(r, f);
		pop(r->fs, top);
		return err;
	}
	if (err || !e.name) {
		return err ? err : WERR_INTERNAL;
	}
	memcpy(name, e.name, e.name_len); // the table may change below
	e.name = name;
	if (e.target_len) {
		memcpy(target, e.target, e.target_len);
		e.target = target;
	}
	if (!is_own(f->n, f->at, &e)) {
		err = e.kind == ENTRY_LINK ? count_link(r, &e) : home_entry(r, top, &e);
	}
	f->at++;
	return err;
}

// Takes over the reference and the path.
static int walk(struct repair *r, struct node *n, char *path)
{
	struct frame *top = NULL;
	int err = push(&top, n, path);

	if (err) {
		node_put(r->fs, n);
	}
	while (err == 0 && top) {
		err = step(r, &top);
	}
	while (top) {
		pop(r->fs, &top);
	}
	return err;
}

// --- links and strays ---

static int mend_links(struct repair *r)
{
	struct fs *fs = r->fs;
	int err = 0;

	for (size_t i = 0; err == 0 && i < r->links.cap; i++) {
		const struct linked *l = &r->links.slots[i];
		char name[17];
		table_place at;
		struct entry e;
		struct node *n;

		if (l->number == 0) {
			continue;
		}
		links_name(l->number, name);
		err = object_load(fs, fs->links);
		if (err == 0) {
			err = table_find(fs->links->obj->table, (const uint8_t *)name, 16, &at, &e);
		}
		if (err == WERR_NOTFOUND) {
			err = repair_link_home(r, l);
			err = err ? err : relieve(r);
			continue;
		}
		if (err || e.attr.nlink == l->names || e.incarnation != l->incarnation) {
			continue;
		}
		err = node_from_entry(fs, &e, fs->links, at, false, &n);
		if (err == 0) {
			n->attr.nlink = l->names;
			node_dirty(fs, n, DIRTY_ATTR);
			repair_did(r, REPAIR_LINK_COUNT, n->number, NULL, 0, 0);
			node_put(fs, n);
		}
	}
	return err;
}

// Files of the links directory that no name leads to.
static int mend_unlinked(struct repair *r)
{
	struct fs *fs = r->fs;
	table_place at = 0;
	struct entry e;
	int err = object_load(fs, fs->links);

	while (err == 0) {
		err = table_next(fs->links->obj->table, at, &at, &e);
		if (err) {
			break;
		}
		uint64_t number = e.number;
		at++;
		if (!linkset_find(&r->links, number)) {
			err = repair_unlinked(r, number);
			err = err ? err : object_load(fs, fs->links);
		}
	}
	return err == WERR_NOTFOUND ? 0 : err;
}

static int take_in(struct repair *r, struct stray *s)
{
	struct node *n;
	char *path;
	int err = 0;

	if (s->taken || numberset_has(&r->named, s->number)) {
		return 0;
	}
	err = repair_quarantine(r, s, &n, &path);
	if (err || !n) {
		return err;
	}
	err = numberset_add(&r->named, s->number);
	if (err == 0 && s->type == OBJECT_DIR) {
		return walk(r, n, path); // what it names is taken, too
	}
	node_put(r->fs, n);
	free(path);
	return err ? err : relieve(r);
}

// Whether the directory that it was in is gone without a trace.
static bool lost_its_dir(const struct repair *r, const struct stray *s)
{
	return !s->taken && s->parent_number > LINKS_NUMBER &&
	       !numberset_has(&r->named, s->parent_number) && !repair_stray(r, s->parent_number) &&
	       object_id_check(s->parent_number, s->parent_incarnation) == 0;
}

static int take_in_dirs(struct repair *r)
{
	struct check_plan *plan = r->params.plan;
	struct node *n;
	char *path;
	int err = 0;

	for (size_t i = 0; err == 0 && i < plan->strays_len; i++) {
		const struct stray *s = &plan->strays[i];

		if (!lost_its_dir(r, s) || numberset_has(&r->named, s->number)) {
			continue;
		}
		err = repair_lost_dir(r, s, &n, &path);
		if (err == 0 && n) {
			err = numberset_add(&r->named, n->number);
			err = err ? err : walk(r, n, path);
		}
	}
	return err;
}

// Directories that no other stray claims to hold come first: what is in them keeps its place.
static int take_in_strays(struct repair *r)
{
	struct check_plan *plan = r->params.plan;
	int err = take_in_dirs(r);

	for (int pass = 0; pass < 3; pass++) {
		for (size_t i = 0; err == 0 && i < plan->strays_len; i++) {
			struct stray *s = &plan->strays[i];
			const struct stray *parent = repair_stray(r, s->parent_number);
			bool below = parent && !parent->taken && parent->type == OBJECT_DIR;

			if ((pass == 0 && below) || (pass < 2 && s->type != OBJECT_DIR)) {
				continue;
			}
			err = take_in(r, s);
		}
	}
	return err;
}

static int repair_run(struct fs *fs, void *arg)
{
	struct repair *r = arg;

	node_ref(fs, fs->links);
	int err = walk(r, fs->links, strdup("/(links)"));
	if (err == 0) {
		node_ref(fs, fs->root);
		err = walk(r, fs->root, strdup(""));
	}
	if (err == 0) {
		err = mend_links(r); // before its strays go to the quarantine
	}
	if (err == 0) {
		err = take_in_strays(r);
	}
	if (err == 0) {
		err = mend_links(r); // with the names that came with them
	}
	if (err == 0) {
		err = mend_unlinked(r);
	}
	if (r->quarantine) {
		node_put(fs, r->quarantine);
		r->quarantine = NULL;
	}
	return err ? err : checkpoint_run(fs);
}

int repair_open(struct vault *v, struct repair *r, struct fs **ret)
{
	struct salvage salvage = {.early = repair_early, .repair = repair_run, .arg = r};
	const struct fs_params params = {.manual = 1, .salvage = &salvage};
	int err = 0;

	if (r->params.plan->journal && v->h->state == VAULT_CLEAN) {
		err = journal_recreate(v->host, v->ring, v->h->journal_bytes);
	}
	if (err == 0) {
		err = fs_open(v, &params, ret);
	}
	if (err == 0) {
		(*ret)->params.salvage = NULL; // an ordinary vault from now on
	}
	free(salvage.dirs);
	return err;
}

void repair_clear(struct repair *r)
{
	free(r->by_number);
	numberset_clear(&r->named);
	numberset_clear(&r->mended);
	linkset_clear(&r->links);
}

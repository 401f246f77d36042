// SPDX-License-Identifier: Apache-2.0
// One directory: its pages, its entries, and where they lead.
#include "fusefs/check_private.h"

#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"
#include "fusefs/salvage.h"

static char *join(const char *dir, const uint8_t *name, size_t len)
{
	size_t dir_len = dir ? strlen(dir) : 0;
	char *path = malloc(dir_len + len + 2);

	if (path) {
		if (dir_len) {
			memcpy(path, dir, dir_len);
		}
		path[dir_len] = '/';
		memcpy(path + dir_len + 1, name, len);
		path[dir_len + 1 + len] = '\0';
	}
	return path;
}

// What a walk through one directory gathers.
struct visit {
	struct bench *b;
	const struct job *dir;
	struct node *node; // where memory knows it best
	bool links;        // it is the links directory
	uint64_t subdirs;
	struct numberset names; // hashes
	uint64_t page;          // the one that is being looked at
	uint32_t own_entries;   // of the root: "." and ".." seen
	uint32_t root_nlink, live_nlink;
};

static void entry_finding(const struct visit *v, const struct entry *e, enum check_kind kind)
{
	char *path = join(v->dir->path, e->name, e->name_len);
	struct check_finding f = {.kind = kind, .number = e->number, .path = path};

	check_report(v->b->c, &f);
	free(path);
}

static void job_of(const struct entry *e, struct job *ret)
{
	*ret = (struct job){
		.want = {e->number, e->incarnation, e->type, e->generation, e->epoch},
		.size = e->attr.size,
		.pages = e->attr.pages,
		.flags = e->attr.flags,
		.nlink = e->attr.nlink,
		.target_len = e->target_len,
	};
}

static int push_dir(struct check *c, const struct job *j)
{
	struct dir_job *d = malloc(sizeof *d);

	if (!d) {
		return WERR_NOMEM;
	}
	*d = (struct dir_job){.next = c->dirs, .job = *j};
	c->dirs = d;
	return 0;
}

// A home entry in the links directory: its content is looked at when the first of its names comes.
static int linked_home(struct check *c, const struct entry *e)
{
	struct linked *l = linkset_get(&c->links, e->number);

	if (!l) {
		return WERR_NOMEM;
	}
	*l = (struct linked){
		.number = e->number,
		.incarnation = e->incarnation,
		.generation = e->generation,
		.size = e->attr.size,
		.pages = e->attr.pages,
		.flags = e->attr.flags,
		.epoch = e->epoch,
		.nlink = e->attr.nlink,
		.names = l->names,
		.target_len = e->target_len,
		.type = e->type,
		.home = true,
	};
	return 0;
}

void check_linked(struct bench *b, const struct linked *l, char *path)
{
	struct job j = {
		.want = {l->number, l->incarnation, l->type, l->generation, l->epoch},
		.size = l->size,
		.pages = l->pages,
		.flags = l->flags,
		.nlink = l->nlink,
		.target_len = l->target_len,
		.path = path,
	};

	check_hand_out(b, &j);
}

// On a mounted vault links come and go while we look.
static int live_link(struct visit *v, unsigned slot, const struct entry *e)
{
	struct check *c = v->b->c;
	struct job j;
	int err = numberset_add(&c->named, e->number);

	if (err) {
		return err == WERR_EXISTS ? 0 : err;
	}
	job_of(e, &j);
	err = dir_linked(c->fs, v->node, table_place_make((uint32_t)v->page, (uint16_t)slot),
			 e->number, e->incarnation, &j.node);
	if (err == WERR_NOTFOUND || err == WERR_NOMEM || err == WERR_MFILE) {
		return err == WERR_NOTFOUND ? 0 : err;
	}
	if (err) {
		entry_finding(v, e, CHECK_LINK_LOST);
		return 0;
	}
	j.path = join(v->dir->path, e->name, e->name_len);
	check_hand_out(v->b, &j);
	return 0;
}

static int link_entry(struct visit *v, const struct entry *e)
{
	struct check *c = v->b->c;
	struct linked *l = linkset_get(&c->links, e->number);

	if (!l) {
		return WERR_NOMEM;
	}
	if (!l->home || l->incarnation != e->incarnation || l->type != e->type) {
		if (!l->home) {
			l->incarnation = e->incarnation;
			l->type = e->type;
		}
		l->names++;
		entry_finding(v, e, CHECK_LINK_LOST);
		return 0;
	}
	if (l->names++ == 0) {
		char *path = join(v->dir->path, e->name, e->name_len);

		check_linked(v->b, l, path);
	}
	return 0;
}

static int home_entry(struct visit *v, unsigned slot, const struct entry *e)
{
	struct check *c = v->b->c;
	bool live = c->params->live;
	struct job j;

	if (live && v->links) {
		return 0; // by its names
	}
	int err = numberset_add(&c->named, e->number);
	if (err == WERR_EXISTS && live) { // renamed, or the second walk
		if (e->type != OBJECT_DIR || !c->again) {
			v->subdirs += e->type == OBJECT_DIR;
			return 0;
		}
		err = 0;
	}
	if (err == WERR_EXISTS) {
		entry_finding(v, e, CHECK_NAMED_TWICE);
		return 0;
	}
	if (err || (v->links && !handover_nameless(e))) {
		return err ? err : linked_home(c, e);
	}
	job_of(e, &j);
	j.path = join(v->dir->path, e->name, e->name_len);
	if (!j.path) {
		return WERR_NOMEM;
	}
	if (live) {
		node_ref(c->fs, v->node);
		j.home = v->node;
		j.place = table_place_make((uint32_t)v->page, (uint16_t)slot);
	}
	if (e->type == OBJECT_DIR) {
		v->subdirs++;
		err = push_dir(c, &j);
		if (err) {
			check_job_clear(c, &j);
		}
		return err;
	}
	check_hand_out(v->b, &j);
	return 0;
}

static bool is_own(const struct visit *v, unsigned slot, const struct entry *e)
{
	return v->dir->want.number == FS_ROOT && v->page == 0 && slot < 2 &&
	       e->number == FS_ROOT + slot && e->kind == ENTRY_HOME;
}

static bool is_dots(const struct entry *e)
{
	return e->name[0] == '.' && (e->name_len == 1 || (e->name_len == 2 && e->name[1] == '.'));
}

static int visit_entry(struct visit *v, unsigned slot, const struct entry *e)
{
	if (is_own(v, slot, e)) {
		v->own_entries++;
		if (slot == 0) {
			v->root_nlink = e->attr.nlink;
		}
		return 0;
	}
	if (is_dots(e) || e->number <= LINKS_NUMBER || (v->links && e->kind != ENTRY_HOME)) {
		entry_finding(v, e, CHECK_ROOT_ENTRIES);
		return 0;
	}
	uint64_t hash = dirindex_siphash(v->b->c->name_key, e->name, e->name_len);
	int err = numberset_add(&v->names, hash | 1);
	if (err == WERR_EXISTS) {
		entry_finding(v, e, CHECK_NAMED_TWICE);
		return 0;
	}
	if (err == 0) {
		v->b->c->totals->names++;
		err = e->kind == ENTRY_HOME   ? home_entry(v, slot, e)
		      : v->b->c->params->live ? live_link(v, slot, e)
					      : link_entry(v, e);
	}
	return err;
}

static int visit_page(void *arg, uint64_t index, const uint8_t *page)
{
	struct visit *v = arg;
	int err = 0;

	if (table_page_check(page)) {
		(void)check_bad(v->b, CHECK_TABLE_PAGE, index, 1);
		check_bad_end(v->b);
		return 0;
	}
	v->page = index;
	for (unsigned slot = 0; err == 0 && slot < TABLE_SLOTS; slot++) {
		size_t len;
		const uint8_t *bytes = table_page_slot(page, slot, &len);
		struct entry e;

		if (bytes && entry_decode(bytes, len, &e) == 0) { // the page was checked
			err = visit_entry(v, slot, &e);
		}
	}
	return err;
}

// A file met in a directory may be handed to this very thread, which works on one object at a time:
// pages are copied out and looked at when the directory's own read is over.
struct pages {
	struct visit *v;
	uint8_t *buf;
	size_t len, cap;
	uint64_t *index;
};

static int keep_page(void *arg, uint64_t index, const uint8_t *plain)
{
	struct pages *p = arg;

	if (p->len == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 8;
		uint64_t *list = realloc(p->index, cap * sizeof *list);
		if (!list) {
			return WERR_NOMEM;
		}
		p->index = list;
		uint8_t *buf = malloc(cap * WARD_PAGE);
		if (!buf) {
			return WERR_NOMEM;
		}
		if (p->len) {
			memcpy(buf, p->buf, p->len * WARD_PAGE);
			secret_wipe(p->buf, p->len * WARD_PAGE);
		}
		free(p->buf);
		p->buf = buf;
		p->cap = cap;
	}
	memcpy(p->buf + p->len * WARD_PAGE, plain, WARD_PAGE);
	p->index[p->len++] = index;
	return 0;
}

static int pages_bad(void *arg, enum check_kind kind, uint64_t first, uint64_t count)
{
	return check_bad(((struct pages *)arg)->v->b, kind, first, count);
}

static int pages_step(void *arg, unsigned pages, uint64_t index)
{
	(void)index;
	return check_step(((struct pages *)arg)->v->b, pages);
}

static int host_dir(struct visit *v, struct pages *p)
{
	const struct inspect_calls calls = {keep_page, pages_bad, pages_step, p};
	struct bench *b = v->b;
	uint64_t pages;
	int err = inspect_open(b->c->fs, &v->dir->want, b->in);

	if (err > 0) {
		check_object_report(b->c, v->dir, (enum check_kind)err);
		return 0;
	}
	if (err < 0) {
		return err;
	}
	bool xattrs = (v->dir->flags & ATTR_HAS_XATTRS) != 0;
	// The root's own entry is older than the page that it stands in.
	if (v->dir->want.number > LINKS_NUMBER && xattrs != (b->in->h.xattr_len != 0)) {
		check_object_report(b->c, v->dir, CHECK_ATTRIBUTES);
	}
	err = inspect_pages(b->c->fs, b->in, &calls, b->buf, &pages);
	inspect_close(b->in);
	return err;
}

// Of a directory that memory knows better than the host.
static int live_dir(struct visit *v, struct node *n, struct pages *p)
{
	struct fs *fs = v->b->c->fs;
	int err = node_lock_write(fs, n);

	if (err == WERR_NOMEM || err == WERR_MFILE) {
		return err;
	}
	if (err) {
		return host_dir(v, p);
	}
	v->live_nlink = n->attr.nlink; // of the moment that the pages are of
	uint32_t end = table_pages(n->obj->table);
	for (uint32_t i = 0; err == 0 && i < end; i++) {
		const uint8_t *page = table_page_bytes(n->obj->table, i);

		err = page ? keep_page(p, i, page) : 0;
	}
	node_unlock(n);
	return err;
}

static bool is_partial(struct node *n)
{
	if (!n) {
		return false;
	}
	pthread_rwlock_rdlock(&n->lock);
	bool partial = n->obj && n->obj->lost_end;
	pthread_rwlock_unlock(&n->lock);
	return partial;
}

// What the engine read around is told from the host's bytes; what a replay made of it counts.
static int read_dir(struct visit *v, struct pages *p)
{
	struct check *c = v->b->c;
	const struct salvage *s = c->fs->params.salvage;
	struct node *n = v->node;
	bool around = (s && salvage_has(s, v->dir->want.number)) || is_partial(n);
	int err = 0;

	if ((!n && v->dir->flags & ATTR_HAS_OBJECT) || (n && around)) {
		err = host_dir(v, p);
	}
	if (n && err == 0) {
		p->len = 0;
		err = live_dir(v, n, p);
	}
	return err;
}

int check_dir(struct bench *b, const struct job *dir)
{
	struct visit v = {.b = b, .dir = dir, .links = dir->want.number == LINKS_NUMBER};
	struct pages p = {.v = &v};

	b->job = dir;
	b->any_bad = false;
	int err = 0;
	if (b->c->params->live) {
		err = check_live_open(b->c, dir, &v.node);
		if (err || !v.node) {
			return err; // gone meanwhile
		}
	} else {
		v.node = check_live_node(b->c, dir->want.number);
	}
	err = read_dir(&v, &p);
	bool whole = !b->any_bad;
	b->job = dir;
	check_bad_end(b);
	for (size_t i = 0; err == 0 && i < p.len; i++) {
		b->job = dir;
		err = visit_page(&v, p.index[i], p.buf + i * WARD_PAGE);
	}
	if (p.len) {
		secret_wipe(p.buf, p.len * WARD_PAGE);
	}
	free(p.buf);
	free(p.index);
	numberset_clear(&v.names);
	bool root = dir->want.number == FS_ROOT;
	if (err == 0 && root && whole && v.own_entries != 2 && p.len) {
		check_object_report(b->c, dir, CHECK_ROOT_ENTRIES);
	}
	uint32_t nlink = b->c->params->live ? v.live_nlink : root ? v.root_nlink : dir->nlink;
	if (v.node) {
		node_put(b->c->fs, v.node);
	}
	if (err == 0 && whole && !v.links && p.len && nlink != 2 + v.subdirs) {
		struct check_finding f = {.kind = CHECK_LINK_COUNT,
					  .number = dir->want.number,
					  .path = dir->path,
					  .found = nlink,
					  .wanted = 2 + v.subdirs};
		check_report(b->c, &f);
	}
	b->c->totals->directories++;
	atomic_fetch_add(&b->c->done, 1);
	return err ? err : check_step(b, 0);
}

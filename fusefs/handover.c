// SPDX-License-Identifier: Apache-2.0
// A file that is open but has no name any more has no entry anywhere, so nothing would find it
// again. For the time of the lock it gets a home entry in the links directory, named "-" and its
// number, which no link ever has. wardfs-vault(5), "Files without a name".
#include "fusefs/handover.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "fusefs/engine.h"

#define NAMELESS_BYTES 17

static void nameless_name(uint64_t number, char out[static NAMELESS_BYTES + 1])
{
	(void)snprintf(out, NAMELESS_BYTES + 1, "-%016" PRIx64, number);
}

bool handover_nameless(const struct entry *e)
{
	return e->kind == ENTRY_HOME && e->name_len == NAMELESS_BYTES && e->name[0] == '-';
}

// ---- lists of nodes ----

struct list {
	struct node **nodes;
	size_t len;
};

typedef bool (*node_filter)(const struct node *n);

static bool is_known(const struct node *n)
{
	return n->lookups > 0;
}

static bool is_open_orphan(const struct node *n)
{
	return n->lookups > 0 && atomic_load(&n->orphan) && n->type == OBJECT_FILE;
}

static void list_free(struct fs *fs, struct list *l)
{
	for (size_t i = 0; i < l->len; i++) {
		node_put(fs, l->nodes[i]);
	}
	free(l->nodes);
	*l = (struct list){NULL, 0};
}

// Referenced.
static int list_nodes(struct fs *fs, node_filter wanted, struct list *ret)
{
	pthread_mutex_lock(&fs->nodes_lock);
	struct node **nodes = malloc((fs->nodes_count + 1) * sizeof *nodes);
	size_t len = 0;
	for (size_t i = 0; nodes && i < fs->nodes_buckets; i++) {
		for (struct node *n = fs->nodes[i]; n; n = n->hash_next) {
			if (wanted(n)) {
				n->refs++;
				nodes[len++] = n;
			}
		}
	}
	pthread_mutex_unlock(&fs->nodes_lock);
	if (!nodes) {
		return WERR_NOMEM;
	}
	*ret = (struct list){nodes, len};
	return 0;
}

int fs_known_nodes(struct fs *fs, uint64_t **ret, size_t *ret_len)
{
	struct list l;
	int err = list_nodes(fs, is_known, &l);

	if (err) {
		return err;
	}
	uint64_t *numbers = malloc((l.len + 1) * sizeof *numbers);
	for (size_t i = 0; numbers && i < l.len; i++) {
		numbers[i] = l.nodes[i]->number;
	}
	*ret_len = l.len;
	*ret = numbers;
	list_free(fs, &l);
	return numbers ? 0 : WERR_NOMEM;
}

int fs_known_names(struct fs *fs, uint64_t dir, void (*fn)(void *arg, const char *name), void *arg)
{
	struct node *d;
	bool exclusive;
	int err = dir_get(fs, dir, &d);

	if (err) {
		return err;
	}
	err = node_lock_read(fs, d, &exclusive);
	if (err == 0) {
		struct entry e;

		for (table_place at = 0; table_next(d->obj->table, at, &at, &e) == 0; at++) {
			char name[FS_NAME_MAX + 1];
			bool own = e.name[0] == '.' &&
				   (e.name_len == 1 || (e.name_len == 2 && e.name[1] == '.'));
			struct node *n = own ? NULL : node_find(fs, e.number);

			if (!n) {
				continue; // the root's own entries are no names
			}
			node_put(fs, n);
			memcpy(name, e.name, e.name_len);
			name[e.name_len] = '\0';
			fn(arg, name);
		}
		node_unlock(d);
	}
	node_put(fs, d);
	return err;
}

// ---- leaving ----

// The links directory and n are locked.
static int adopt_locked(struct fs *fs, struct node *n)
{
	RECORD_AUTO struct record r;
	uint8_t bytes[ENTRY_BYTES_MAX];
	char name[NAMELESS_BYTES + 1];
	table_place place;
	size_t len;

	record_init(&r);
	nameless_name(n->number, name);
	n->attr.nlink = 1; // an entry without a link is no entry
	int err = rec_entry(n, (const uint8_t *)name, NAMELESS_BYTES, bytes, &len);
	if (err == 0) {
		err = dir_insert(fs->links, bytes, len, &place);
	}
	if (err) {
		return err;
	}
	rec_slot(&r, fs->links, place);
	node_dirty(fs, fs->links, DIRTY_CONTENT);
	if (atomic_exchange(&n->orphan, false)) {
		atomic_fetch_sub(&fs->orphan_count, 1);
	}
	node_set_home(fs, n, fs->links, place);
	node_dirty(fs, n, DIRTY_CONTENT | DIRTY_ATTR);
	return rec_append_names(fs, &r);
}

static int adopt(struct fs *fs, const struct list *orphans)
{
	int err = 0;

	pthread_rwlock_rdlock(&fs->cut);
	pthread_mutex_lock(&fs->names_lock);
	for (size_t i = 0; err == 0 && i < orphans->len; i++) {
		err = nodes_lock(fs, orphans->nodes[i], NULL, true);
		if (err == 0) {
			err = adopt_locked(fs, orphans->nodes[i]);
			nodes_unlock(fs, orphans->nodes[i], NULL, true);
		}
	}
	pthread_mutex_unlock(&fs->names_lock);
	pthread_rwlock_unlock(&fs->cut);
	return err;
}

// Only after a checkpoint: what of an orphan was in memory is at its place then.
static int adopt_orphans(struct fs *fs)
{
	struct list orphans;
	int err = list_nodes(fs, is_open_orphan, &orphans);

	if (err == 0 && orphans.len > 0) {
		err = adopt(fs, &orphans);
		if (err == 0) {
			err = checkpoint_run(fs);
		}
	}
	if (err == 0) {
		list_free(fs, &orphans);
	}
	return err;
}

struct sorted {
	struct node *n;
	unsigned depth;
};

static int by_depth(const void *a, const void *b)
{
	const struct sorted *x = a, *y = b;

	return x->depth < y->depth ? -1 : x->depth > y->depth;
}

// The node and the directories above it that are not in the list yet (replay_index marks those).
static size_t add_chain(struct fs *fs, struct node *n, struct sorted *out, size_t len)
{
	unsigned depth = 0;

	for (const struct node *up = n->home; up; up = up->home) {
		depth++;
	}
	for (; n && n != fs->root && n != fs->links && !n->replay_index; n = n->home, depth--) {
		n->replay_index = 1;
		out[len++] = (struct sorted){n, depth};
	}
	return len;
}

static void describe(const struct node *n, struct handover_node *ret)
{
	*ret = (struct handover_node){
		.number = n->number,
		.incarnation = n->incarnation,
		.parent = n->home->number,
		.place = n->place,
		.lookups = n->lookups,
		.type = n->type,
	};
}

static int export_nodes(struct fs *fs, struct handover_node **ret, size_t *ret_len)
{
	struct list known;
	size_t len = 0, out = 0;
	int err = list_nodes(fs, is_known, &known);

	if (err) {
		return err;
	}
	pthread_mutex_lock(&fs->nodes_lock);
	struct sorted *all = malloc((fs->nodes_count + 1) * sizeof *all);
	struct handover_node *nodes = calloc(fs->nodes_count + 1, sizeof *nodes);
	for (size_t i = 0; all && nodes && i < known.len; i++) {
		// A removed directory, device or symlink is not brought back.
		if (known.nodes[i]->home) {
			len = add_chain(fs, known.nodes[i], all, len);
		}
	}
	if (all && nodes) {
		qsort(all, len, sizeof *all, by_depth);
		for (size_t i = 0; i < len; i++) {
			all[i].n->replay_index = 0;
			describe(all[i].n, &nodes[out++]);
		}
	}
	pthread_mutex_unlock(&fs->nodes_lock);
	err = all && nodes ? 0 : WERR_NOMEM;
	list_free(fs, &known);
	free(all);
	if (err) {
		free(nodes);
		return err;
	}
	*ret = nodes;
	*ret_len = out;
	return 0;
}

// The engine goes on after all. A header that may say clean above a journal that counts would lose
// what is in it.
static int reopen_header(struct fs *fs)
{
	pthread_mutex_lock(&fs->header_lock);
	int err = engine_write_dirty(fs);
	pthread_mutex_unlock(&fs->header_lock);
	if (err) {
		fs_set_read_only(fs, "the vault header cannot be written", err);
	}
	return err;
}

// The header says clean, so that a mount that is taken away while it is locked leaves a vault that
// was closed. The header is the last that is written; where it fails it must say dirty again before
// the engine goes on.
static int close_header(struct fs *fs)
{
	int err = checkpoint_last(fs);

	if (err) {
		return err;
	}
	pthread_mutex_lock(&fs->header_lock);
	err = engine_write_clean(fs);
	pthread_mutex_unlock(&fs->header_lock);
	if (err) {
		int ignored = reopen_header(fs); // else it is read-only
		(void)ignored;
	}
	return err;
}

int fs_hand_over(struct fs *fs, struct handover_node **ret, size_t *ret_len)
{
	bool adopted = false;
	int err = 0;

	rotation_stop(fs); // the next engine goes on with it
	// After a failure of the host nothing more can be written: what is durable stays.
	if (!atomic_load(&fs->read_only)) {
		err = fs_checkpoint(fs);
		if (err && atomic_load(&fs->left_out)) {
			err = checkpoint_run(fs); // what cannot be read does not hold the lock up
		}
		if (err == 0 && atomic_load(&fs->orphan_count)) {
			adopted = true;
			err = adopt_orphans(fs);
		}
	}
	err = err ? err : export_nodes(fs, ret, ret_len);
	// A mount after a clean end does not look for files without a name.
	if (err == 0 && !adopted && !atomic_load(&fs->read_only)) {
		err = close_header(fs);
		if (err) {
			free(*ret);
		}
	}
	if (err && rotation_go_on(fs)) {
		fs_log(fs, LOG_WARNING, "the rotation goes on at the next mount");
	}
	return err;
}

// ---- coming back ----

static struct node *parent_of(struct fs *fs, uint64_t number)
{
	struct node *n = number == LINKS_NUMBER ? fs->links : node_find(fs, number);

	if (number == LINKS_NUMBER) {
		node_ref(fs, n);
	}
	return n;
}

// The home entry is where it was, or moved when the journal was replayed.
static int find_entry(struct node *dir, const struct handover_node *h, table_place *ret_place,
		      struct entry *ret)
{
	int err = table_get(dir->obj->table, h->place, ret);

	*ret_place = h->place;
	if (err || ret->kind != ENTRY_HOME || ret->number != h->number) {
		err = table_find_number(dir->obj->table, h->number, ret_place, ret);
	}
	if (err == 0 && (ret->incarnation != h->incarnation || ret->type != h->type)) {
		err = WERR_STALE;
	}
	return err;
}

static int import_node(struct fs *fs, const struct handover_node *h, struct node **ret)
{
	struct node *dir = parent_of(fs, h->parent);
	table_place place;
	struct entry e;
	bool exclusive;

	if (!dir) {
		return WERR_STALE;
	}
	int err = dir->type == OBJECT_DIR ? node_lock_read(fs, dir, &exclusive) : WERR_STALE;
	if (err == 0) {
		err = find_entry(dir, h, &place, &e);
		if (err == 0) {
			err = node_from_entry(fs, &e, dir, place, false, ret);
		}
		node_unlock(dir);
	}
	node_put(fs, dir);
	if (err == 0 && h->lookups) {
		node_look(fs, *ret);
		pthread_mutex_lock(&fs->nodes_lock);
		(*ret)->lookups += h->lookups - 1;
		pthread_mutex_unlock(&fs->nodes_lock);
	}
	return err;
}

// Takes the entry away that a file without a name had for the time of the lock.
static int unadopt(struct fs *fs, const struct entry *e, table_place place)
{
	RECORD_AUTO struct record r;
	struct node *n;

	record_init(&r);
	pthread_rwlock_rdlock(&fs->cut);
	pthread_mutex_lock(&fs->names_lock);
	int err = node_from_entry(fs, e, fs->links, place, false, &n);
	if (err == 0) {
		err = nodes_lock(fs, n, NULL, true);
		if (err == 0) {
			node_unname(fs, &r, n, true);
			err = rec_append_names(fs, &r);
			nodes_unlock(fs, n, NULL, true);
		}
		node_put(fs, n);
	}
	pthread_mutex_unlock(&fs->names_lock);
	pthread_rwlock_unlock(&fs->cut);
	return err;
}

int handover_sweep(struct fs *fs)
{
	table_place at = 0;

	for (;; at++) {
		uint8_t bytes[ENTRY_BYTES_MAX];
		struct entry e;
		bool exclusive, found = false;
		int err = node_lock_read(fs, fs->links, &exclusive);

		if (err) {
			return err;
		}
		while (table_next(fs->links->obj->table, at, &at, &e) == 0 && !found) {
			found = handover_nameless(&e);
			at += !found;
		}
		if (found) { // the table may change once it is unlocked
			size_t len;
			const uint8_t *in = table_get_bytes(fs->links->obj->table, at, &len);

			memcpy(bytes, in, len);
			err = entry_decode(bytes, len, &e);
		}
		node_unlock(fs->links);
		if (err == 0 && found) {
			err = unadopt(fs, &e, at);
		}
		if (err || !found) {
			return err;
		}
	}
}

int fs_take_over(struct fs *fs, const struct handover_node *nodes, size_t len, size_t *ret_lost)
{
	struct node **kept = malloc((len + 1) * sizeof(struct node *));
	size_t n = 0, lost = 0;
	int err = 0;

	if (!kept) {
		return WERR_NOMEM;
	}
	if (!fs->params.readonly && fs->v->h->state == VAULT_CLEAN) {
		err = reopen_header(fs); // the same engine
	}
	for (size_t i = 0; err == 0 && i < len; i++) {
		err = import_node(fs, &nodes[i], &kept[n]);
		n += err == 0;
		if (err && err != WERR_NOMEM) {
			lost += nodes[i].lookups > 0;
			err = 0;
		}
	}
	if (lost) {
		fs_log(fs, LOG_WARNING, "%zu of the files in use are not there any more", lost);
	}
	if (err == 0 && !fs->params.readonly) {
		err = handover_sweep(fs);
	}
	while (n > 0) {
		node_put(fs, kept[--n]);
	}
	free(kept);
	*ret_lost = lost;
	return err ? err : rotation_go_on(fs);
}

// SPDX-License-Identifier: Apache-2.0
// The walk of a rotation: depth first over the tables, a few entries per lock hold. Entries keep
// their places, what is made meanwhile has current keys, and what is moved is walked once more
// (rotation_moved), so that nothing is passed by.
#include "fusefs/rotate_private.h"

#include <stdlib.h>
#include <string.h>

int rotate_push(struct fs *fs, struct rotation *r, struct node *dir)
{
	if (r->depth == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 16;
		struct rotate_frame *stack = reallocarray(r->stack, cap, sizeof *stack);

		if (!stack) {
			return WERR_NOMEM;
		}
		r->stack = stack;
		r->cap = cap;
	}
	node_ref(fs, dir);
	r->stack[r->depth++] = (struct rotate_frame){dir, 0};
	return 0;
}

static void pop(struct fs *fs, struct rotation *r)
{
	node_put(fs, r->stack[--r->depth].dir);
}

void rotate_unwind(struct fs *fs, struct rotation *r)
{
	while (r->depth) {
		pop(fs, r);
	}
	if (r->file) {
		node_put(fs, r->file);
		r->file = NULL;
	}
}

// What an entry leads to.
struct step {
	struct node *n; // referenced; NULL: nothing to visit
	bool look;      // a look-up was counted for it, too
	uint64_t link, incarnation;
	table_place link_place;
	bool end; // of the table
};

static bool is_sought(const struct rotation *r, const struct entry *e)
{
	return e->number == r->what.number && e->incarnation == r->what.incarnation;
}

// Whether the entry's object may have to be touched in this pass.
static bool is_wanted(struct fs *fs, const struct rotation *r, const struct entry *e)
{
	if (e->type == OBJECT_DIR) {
		return true;
	}
	switch (r->pass) {
	case PASS_FIND:
		return is_sought(r, e);
	case PASS_COUNT:
		return false;
	default:
		return e->generation && (r->what.level == VAULT_ROTATION_CONTENTS || r->resumed ||
					 e->epoch < atomic_load(&fs->epoch));
	}
}

static void count_entry(struct rotation *r, const struct entry *e)
{
	if (e->generation == 0) {
		return;
	}
	r->pass_objects++;
	r->pass_bytes += WARD_PAGE;
	if (r->what.level == VAULT_ROTATION_CONTENTS) {
		r->pass_bytes += e->attr.pages * WARD_PAGE;
	}
}

// The root's own entry leads to itself; its links directory belongs to the whole only.
static bool is_passed_over(struct fs *fs, const struct rotation *r, const struct node *dir,
			   table_place place)
{
	return dir == fs->root &&
	       (place == ROOT_SELF_PLACE ||
		(place == ROOT_LINKS_PLACE && r->top != fs->root && r->pass != PASS_FIND));
}

// Under the directory's lock: the next entry that matters, out of a few.
static int next_entry(struct fs *fs, struct rotation *r, struct rotate_frame *f, struct step *s)
{
	struct node *dir = f->dir;
	bool exclusive;
	int err = node_lock_read(fs, dir, &exclusive);

	if (err) {
		return err;
	}
	for (unsigned i = 0; err == 0 && i < ROTATE_RUN_ENTRIES && !s->n && !s->link; i++) {
		struct entry e;
		table_place place;

		err = table_next(dir->obj->table, f->next, &place, &e);
		if (err) {
			break;
		}
		f->next = place + 1;
		if (is_passed_over(fs, r, dir, place)) {
			continue;
		}
		if (r->pass == PASS_COUNT && e.kind == ENTRY_HOME) {
			count_entry(r, &e);
		}
		if (e.kind == ENTRY_LINK) {
			// The whole walk comes by its home entry.
			if (r->pass == PASS_WORK && r->top != fs->root) {
				s->link = e.number;
				s->incarnation = e.incarnation;
				s->link_place = place;
			}
		} else if (is_wanted(fs, r, &e)) {
			err = node_from_entry(fs, &e, dir, place, false, &s->n);
		}
	}
	node_unlock(dir);
	s->end = err == WERR_NOTFOUND;
	return s->end ? 0 : err;
}

// What the entry leads to is visited; directories go onto the stack.
static int visit(struct fs *fs, struct rotation *r, struct node *n)
{
	int err = 0;

	if (r->pass == PASS_FIND && n->number == r->what.number &&
	    n->incarnation == r->what.incarnation) {
		node_ref(fs, n);
		r->top = n;
		return 0;
	}
	if (r->pass == PASS_WORK) {
		err = rotate_object(fs, r, n);
	}
	return err == 0 && n->type == OBJECT_DIR ? rotate_push(fs, r, n) : err;
}

int rotate_walk(struct fs *fs, struct rotation *r, bool *ret_end)
{
	*ret_end = r->depth == 0;
	if (*ret_end) {
		return 0;
	}
	struct rotate_frame *f = &r->stack[r->depth - 1];
	const table_place before = f->next;
	struct step s = {0};
	int err = atomic_load(&f->dir->orphan) ? 0 : next_entry(fs, r, f, &s);

	if (err == WERR_NOMEM || err == WERR_MFILE) {
		f->next = before;
		return err;
	}
	if (err) { // the table cannot be read: what is in it stays as it is
		rotate_failed(r);
		pop(fs, r);
		return 0;
	}
	if (s.link) {
		err = dir_linked(fs, f->dir, s.link_place, s.link, s.incarnation, &s.n);
		s.look = err == 0;
		err = err == WERR_NOTFOUND || err == WERR_DAMAGED ? 0 : err;
	}
	bool done = s.end || atomic_load(&f->dir->orphan);
	if (s.n) {
		err = err ? err : visit(fs, r, s.n);
		if (s.look) {
			node_forget(fs, s.n, 1);
		}
		node_put(fs, s.n);
		if (r->pass == PASS_FIND && r->top) {
			rotate_unwind(fs, r);
		}
	} else if (err == 0 && done) {
		pop(fs, r);
	}
	if (err) {
		r->stack[r->depth - 1].next = before;
	}
	return err;
}

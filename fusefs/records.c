// SPDX-License-Identifier: Apache-2.0
// What the engine's modules put into journal records.
#include "fusefs/engine.h"

// The attributes that the journal may promise: a size whose content is not in the log yet is not
// promised.
static struct ward_attr logged_attr(const struct node *n)
{
	struct ward_attr a = n->attr;

	// A short target stands in the entry: the content has no say in the size.
	if (n->type != OBJECT_DIR && !n->target && n->obj &&
	    (n->obj->unlogged_content || n->base == 0)) {
		a.size = n->obj->logged_size;
		if (a.size == 0) {
			a.pages = 0;
		}
	}
	return a;
}

void rec_attr(struct fs *fs, struct record *r, struct node *n)
{
	struct ward_attr a = logged_attr(n);

	pthread_mutex_lock(&fs->dirty_lock);
	struct node *home = n == fs->root ? n : n->home;
	table_place place = n == fs->root ? ROOT_SELF_PLACE : n->place;
	struct objref ref = home ? node_objref(home) : (struct objref){0};
	pthread_mutex_unlock(&fs->dirty_lock);
	if (home) {
		atomic_store(&n->in_log, true);
		record_attr(r, &ref, table_place_page(place), table_place_slot(place), n->number,
			    &a);
	}
}

int rec_entry(struct node *n, const uint8_t *name, size_t name_len,
	      uint8_t out[static ENTRY_BYTES_MAX], size_t *ret_len)
{
	struct entry e = {
		.kind = ENTRY_HOME,
		.type = n->type,
		.name_len = (uint8_t)name_len,
		.name = name,
		.target = n->target,
		.target_len = n->target_len,
		.number = n->number,
		.incarnation = n->incarnation,
		.attr = logged_attr(n),
		// Of the last *completed* checkpoint: a crash may still take the one in progress
		// back.
		.generation = n->base,
		.epoch = n->base ? n->bound_epoch : 0,
	};

	return entry_encode(&e, out, ENTRY_BYTES_MAX, ret_len);
}

void rec_slot(struct record *r, struct node *dir, table_place place)
{
	struct objref ref = node_objref(dir);
	size_t len;
	const uint8_t *bytes = table_get_bytes(dir->obj->table, place, &len);

	atomic_store(&dir->in_log, true);
	record_slot(r, &ref, table_place_page(place), table_place_slot(place), bytes,
		    bytes ? len : 0);
}

// Bytes of the journal that a record of this kind leaves free: behind names and commits come the
// cut and the images of a checkpoint, and behind these those of the checkpoint that ends a replay.
static uint64_t room_behind(struct fs *fs, enum rec_room room)
{
	uint64_t eighth = journal_capacity(fs->j) / 8;

	switch (room) {
	case ROOM_NAME:
		return 3 * eighth;
	case ROOM_COMMIT:
		return 4 * eighth;
	default:
		// As long as the journal is another mount's this is the replay's checkpoint.
		return journal_superblock(fs->j)->mount == fs->mount ? eighth : 0;
	}
}

static int append_room(struct fs *fs, struct record *r, enum rec_room room, bool prepared,
		       uint64_t *ret_sequence)
{
	uint64_t sequence = 0;

	if (r->err) {
		return r->err;
	}
	int err = (prepared ? journal_append_prepared : journal_append)(
		fs->j, r->buf, r->len, room_behind(fs, room), &sequence);
	if (err == 0 && ret_sequence) {
		*ret_sequence = sequence;
	}
	if (journal_used(fs->j) > journal_capacity(fs->j) / 4) {
		want_checkpoint(fs);
	}
	return err;
}

int rec_append_room(struct fs *fs, struct record *r, enum rec_room room, uint64_t *ret_sequence)
{
	return append_room(fs, r, room, false, ret_sequence);
}

int rec_append(struct fs *fs, struct record *r, uint64_t *ret_sequence)
{
	return rec_append_room(fs, r, ROOM_NAME, ret_sequence);
}

int rec_prepare_names(struct fs *fs, struct record *r, struct node *victim)
{
	int err = victim ? unlink_prepare(victim) : 0;

	if (err == 0) {
		err = record_reserve(r, JOURNAL_PREPARED_MAX);
	}
	return err ? err : journal_prepare(fs->j);
}

int rec_append_names(struct fs *fs, struct record *r)
{
	int err = append_room(fs, r, ROOM_NAME, true, NULL);

	if (err) {
		fs_set_read_only(fs, "the journal could not be written", err);
	}
	return err;
}

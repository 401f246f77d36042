// SPDX-License-Identifier: Apache-2.0
// Opening and closing the engine. wardfs-vault(5), "Mounting".
#include "fusefs/engine.h"

#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "crypto/rng.h"
#include "fusefs/findings.h"
#include "fusefs/salvage.h"
#include "fusefs/planted.h"

#define FIRST_CHECKPOINT_MAX (1u << 24)
#define CACHE_MIB_DEFAULT 64u
#define OVERLAY_MIB_DEFAULT 32u
#define DESCRIPTORS_DEFAULT 512u

static int init_locks(struct fs *fs)
{
	pthread_condattr_t clock;
	int rc = rwlock_init_fair(&fs->cut);

	rc |= pthread_mutex_init(&fs->checkpoint_lock, NULL);
	rc |= pthread_mutex_init(&fs->commit_lock, NULL);
	rc |= pthread_mutex_init(&fs->names_lock, NULL);
	rc |= pthread_mutex_init(&fs->nodes_lock, NULL);
	rc |= pthread_mutex_init(&fs->dirty_lock, NULL);
	rc |= pthread_mutex_init(&fs->work_lock, NULL);
	rc |= pthread_mutex_init(&fs->space_lock, NULL);
	rc |= pthread_mutex_init(&fs->header_lock, NULL);
	rc |= pthread_condattr_init(&clock);
	rc |= pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	rc |= pthread_cond_init(&fs->work_cond, &clock);
	rc |= pthread_cond_init(&fs->anchorer_cond, &clock);
	rc |= pthread_cond_init(&fs->done_cond, NULL);
	rc |= pthread_mutex_init(&fs->freeze_lock, NULL);
	rc |= pthread_cond_init(&fs->freeze_cond, &clock);
	pthread_condattr_destroy(&clock);
	return rc ? WERR_NOMEM : 0;
}

static void free_fs(struct fs *fs)
{
	rotation_free(fs);
	anchoring_stop(fs);
	checkpoint_discard(fs);
	if (fs->root) {
		node_put(fs, fs->root);
	}
	if (fs->links) {
		node_put(fs, fs->links);
	}
	node_table_free(fs);
	image_map_free(fs->images);
	hostcache_free(fs->hc);
	journal_close(fs->j);
	findings_free(fs->findings);
	pthread_rwlock_destroy(&fs->cut);
	pthread_mutex_destroy(&fs->checkpoint_lock);
	pthread_mutex_destroy(&fs->commit_lock);
	pthread_mutex_destroy(&fs->names_lock);
	pthread_mutex_destroy(&fs->nodes_lock);
	pthread_mutex_destroy(&fs->dirty_lock);
	pthread_mutex_destroy(&fs->work_lock);
	pthread_mutex_destroy(&fs->freeze_lock);
	pthread_cond_destroy(&fs->freeze_cond);
	pthread_mutex_destroy(&fs->header_lock);
	pthread_mutex_destroy(&fs->space_lock);
	pthread_cond_destroy(&fs->work_cond);
	pthread_cond_destroy(&fs->anchorer_cond);
	pthread_cond_destroy(&fs->done_cond);
	free(fs);
}

// Puts the home entry of a hidden or self entry into the root's table.
static int root_entry(struct fs *fs, struct node *n, const char *name, table_place place)
{
	uint8_t bytes[ENTRY_BYTES_MAX];
	size_t len;
	int err = rec_entry(n, (const uint8_t *)name, strlen(name), bytes, &len);

	return err ? err : table_put(fs->root->obj->table, place, bytes, len);
}

static void hidden_attr(struct fs *fs, struct node *n, uint32_t mode)
{
	n->attr = (struct ward_attr){
		.mode = mode,
		.uid = (uint32_t)geteuid(),
		.gid = (uint32_t)getegid(),
		.nlink = 2,
	};
	fs_now(fs, &n->attr.mtime);
	n->attr.atime = n->attr.ctime = n->attr.btime = n->attr.mtime;
}

static int make_links(struct fs *fs)
{
	uint64_t incarnation;

	do {
		rng_bytes(&incarnation, sizeof incarnation);
	} while (incarnation == 0);
	return node_new(fs, LINKS_NUMBER, incarnation, OBJECT_DIR, &fs->links);
}

int engine_fill_root(struct fs *fs, bool self, bool links)
{
	int err = links && !fs->links ? make_links(fs) : 0;

	if (err == 0 && self) {
		hidden_attr(fs, fs->root, 0755);
		err = root_entry(fs, fs->root, ".", ROOT_SELF_PLACE);
	}
	if (err == 0 && links) {
		err = object_load(fs, fs->links);
	}
	if (err == 0 && links) {
		uint64_t flags = fs->links->attr.flags;

		hidden_attr(fs, fs->links, 0);
		fs->links->attr.flags = flags;
		err = root_entry(fs, fs->links, "..", ROOT_LINKS_PLACE);
	}
	if (err == 0 && links) {
		node_set_home(fs, fs->links, fs->root, ROOT_LINKS_PLACE);
	}
	if (err == 0) {
		node_dirty(fs, fs->root, DIRTY_CONTENT | DIRTY_ATTR);
	}
	return err;
}

// An empty vault: root and links directory come into being in memory; the first checkpoint stores
// them.
int engine_make_root(struct fs *fs)
{
	int err = object_load(fs, fs->root);

	return err ? err : engine_fill_root(fs, true, true);
}

// The root's own entry and that of the links directory: both must be there, nowhere else.
int engine_load_root(struct fs *fs)
{
	struct entry self = {0}, links = {0};
	int err = object_load(fs, fs->root);

	if (err == 0) {
		err = table_get(fs->root->obj->table, ROOT_SELF_PLACE, &self);
	}
	if (err == 0) {
		err = table_get(fs->root->obj->table, ROOT_LINKS_PLACE, &links);
	}
	if (err == WERR_NOTFOUND ||
	    (err == 0 && (self.kind != ENTRY_HOME || self.number != FS_ROOT ||
			  self.incarnation != fs->root->incarnation || links.kind != ENTRY_HOME ||
			  links.number != LINKS_NUMBER || links.type != OBJECT_DIR))) {
		err = fs_refuse(fs, FS_ROOT, WERR_DAMAGED, "its own entries are missing");
		if (fs->params.salvage) {
			return salvage_root(fs);
		}
	}
	if (err) {
		fs->root_refused = true;
		return err;
	}
	fs->root->attr = self.attr;
	return node_from_entry(fs, &links, fs->root, ROOT_LINKS_PLACE, false, &fs->links);
}

static int new_root_node(struct fs *fs)
{
	int err = node_new(fs, FS_ROOT, fs->v->h->root_incarnation, OBJECT_DIR, &fs->root);

	if (err == 0) {
		fs->root->bound_epoch = fs->v->h->root_epoch;
		node_set_generation(fs->root, fs->v->h->root_generation);
		node_look(
			fs,
			fs->root); // the kernel knows the root from the start and never forgets it
	}
	return err;
}

static int write_state(struct fs *fs, uint32_t state, uint32_t replaying)
{
	fs->v->h->mount = fs->mount;
	fs->v->h->state = state;
	fs->v->h->replaying = replaying;
	fs->v->h->journal_sequence = 0;
	// The chain that the header will speak of is durable already, the anchor learns of it with
	// the header.
	if (state == VAULT_DIRTY) {
		anchoring_note(fs, false);
	}
	return vault_write(fs->v);
}

static int log_mount(struct fs *fs)
{
	RECORD_AUTO struct record r;

	record_init(&r);
	record_mount(&r, fs->mount);
	int err = rec_append(fs, &r, NULL);
	return err ? err : journal_sync(fs->j);
}

// A clean header without a root: no object was ever written under it. An authentic root shows that
// the header is an older copy.
static int check_unborn(struct fs *fs)
{
	struct host_file *f;
	int err = hostcache_get(fs->hc, FS_ROOT, HOST_RDONLY, &f);

	if (err) {
		return err == WERR_NOTFOUND || err == WERR_DAMAGED ? 0 : err;
	}
	hostcache_put(fs->hc, f);
	fs->root->base = 1;
	err = object_load(fs, fs->root);
	fs->root->base = fs->root->generation = 0;
	object_free(fs, fs->root->obj);
	fs->root->obj = NULL;
	if (err == 0 || err == WERR_ROLLBACK) {
		return fs_refuse(
			fs, FS_ROOT, WERR_ROLLBACK,
			"it exists, but the vault header says the vault is new: the header "
			"was rolled back");
	}
	return err == WERR_NOMEM || err == WERR_IO ? err : 0;
}

// What was read around is put right before anything is stored.
static int repair_before(struct fs *fs)
{
	const struct salvage *s = fs->params.salvage;

	return s && s->early ? s->early(fs, s->arg) : 0;
}

static int repair_after(struct fs *fs)
{
	const struct salvage *s = fs->params.salvage;

	return s && s->repair && !fs->params.readonly ? s->repair(fs, s->arg) : 0;
}

// The last mount ended cleanly: the journal has nothing to say, and a missing one is made again.
static int open_clean(struct fs *fs)
{
	struct vault *v = fs->v;
	int err = journal_open(fs->host, v->ring, v->h->journal_bytes, v->readonly, &fs->j);

	if (err && err != WERR_NOMEM && !v->readonly) {
		err = journal_recreate(fs->host, v->ring, v->h->journal_bytes);
		if (err == 0) {
			fs_log(fs, LOG_NOTICE,
			       "the journal was made again (the vault was closed cleanly)");
			err = journal_open(fs->host, v->ring, v->h->journal_bytes, 0, &fs->j);
		}
	}
	if (err && v->readonly) {
		err = 0; // nothing to read in it, nothing will be written
	}
	bool empty = v->h->root_generation == 0;
	if (err == 0 && empty) {
		err = check_unborn(fs);
		err = err ? err : engine_make_root(fs);
	} else if (err == 0) {
		err = engine_load_root(fs);
	}
	// A clean end wrote exactly this generation, and the next mount made the header dirty
	// before it wrote anything.
	bool lost = !empty && fs->params.salvage && fs->root->base == 0;
	if (err == 0 && !empty && !lost && fs->root->base != v->h->root_generation) {
		err = fs_refuse(fs, FS_ROOT, WERR_ROLLBACK,
				"newer than the clean vault header: the header was rolled back");
	}
	if (err || v->readonly) {
		return err;
	}
	// Journal first, header second: as long as the header says clean the journal means nothing,
	// and no object is written before the raised mount number is durable.
	// A root that was read around is still the one that has to be there.
	err = journal_start(fs->j, fs->mount, 0, lost ? v->h->root_generation : fs->root->base);
	if (err == 0) {
		err = log_mount(fs);
	}
	if (err == 0) {
		err = write_state(fs, VAULT_DIRTY, 0);
	}
	if (err == 0 && fs->root->epoch < v->h->epoch) {
		node_dirty(fs, fs->root, DIRTY_CONTENT); // its old keys are no proof any more
	}
	if (err == 0) {
		err = repair_before(fs);
	}
	return err == 0 && empty ? checkpoint_run(fs) : err;
}

// It did not: replay, in memory; then an ordinary checkpoint, before anything else.
static int open_dirty(struct fs *fs)
{
	struct vault *v = fs->v;
	bool again = v->h->state == VAULT_REPLAYING;
	uint32_t last = v->h->mount, from = again ? v->h->replaying : last;
	int err = journal_open(fs->host, v->ring, v->h->journal_bytes, v->readonly, &fs->j);

	if (err) {
		fs_log(fs, LOG_ERR,
		       "the vault was not closed cleanly and its journal cannot be used: %s",
		       werr_text(err));
		return err;
	}
	// An earlier replay may already have started its own journal: then everything of the older
	// one is in its place.
	uint32_t mount = journal_superblock(fs->j)->mount;
	if (mount < from || mount > last) {
		fs_log(fs, LOG_ERR, "the journal is of mount %u, the vault's last mount was %u",
		       mount, from);
		return WERR_ROLLBACK;
	}
	// The record MOUNT was durable before the header said dirty, but not before an earlier
	// replay's own journal was started.
	bool needs_mount = !again || mount == from;
	if (!v->readonly && WARD_PLANTED(REPLAY_ONCE)) {
		err = write_state(fs, VAULT_DIRTY, 0);
	} else if (!v->readonly) {
		err = write_state(fs, VAULT_REPLAYING, from);
	}
	if (err) {
		return err;
	}
	fs->replaying = true;
	err = replay_journal(fs, needs_mount);
	fs->replaying = false;
	if (err || v->readonly) {
		return err;
	}
	err = image_map_place(fs);
	if (err == 0) {
		err = repair_before(fs);
	}
	if (err == 0) {
		err = checkpoint_run(fs);
	}
	if (err == 0) {
		err = journal_start(fs->j, fs->mount, 0, fs->root->base);
	}
	if (err == 0) {
		err = log_mount(fs);
	}
	return err ? err : write_state(fs, VAULT_DIRTY, 0);
}

// What goes on by itself from here on.
static int start_work(struct fs *fs)
{
	int err = threads_start(fs);

	if (err) {
		return err;
	}
	err = anchoring_start(fs);
	if (err == 0) {
		err = rotation_resume(fs);
	}
	if (err) {
		threads_stop(fs);
	}
	return err;
}

void fs_params_memory(struct fs_params *params, unsigned mib)
{
	if (mib >= CACHE_MIB_DEFAULT * 4) {
		return;
	}
	// The rest: what is loaded and dirty, nodes, tables in use, the threads' buffers.
	params->cache_mib = mib / 4;
	params->overlay_mib = mib / 8;
	params->dirty_mib = mib / 16;
}

static void set_params(struct fs *fs, struct vault *v, const struct fs_params *params)
{
	fs->v = v;
	fs->host = v->host;
	fs->params = *params;
	fs->params.readonly |= v->readonly;
	fs->params.cache_mib = params->cache_mib ? params->cache_mib : CACHE_MIB_DEFAULT;
	fs->params.overlay_mib = params->overlay_mib ? params->overlay_mib : OVERLAY_MIB_DEFAULT;
	fs->params.descriptors = params->descriptors ? params->descriptors : DESCRIPTORS_DEFAULT;
	fs->fsync_tail = &fs->fsync_head;
	fs->flush_tail = &fs->flush_head;
	// Two copies of the vault that go their own ways have mounts with the same number, and must
	// not have the same generations.
	uint32_t first;
	rng_bytes(&first, sizeof first);
	atomic_store(&fs->k, 1 + first % FIRST_CHECKPOINT_MAX);
	atomic_store(&fs->epoch, v->h->epoch);
	atomic_store(&fs->read_only, fs->params.readonly != 0);
}

int fs_open(struct vault *v, const struct fs_params *params, struct fs **ret)
{
	struct fs *fs = calloc(1, sizeof *fs);

	if (!fs) {
		return WERR_NOMEM;
	}
	set_params(fs, v, params);
	fs->findings = findings_new();
	int err = fs->findings ? init_locks(fs) : WERR_NOMEM;
	if (err) {
		findings_free(fs->findings);
		free(fs);
		return err;
	}
	if (v->h->mount >= MOUNT_NUMBER_MAX && !v->readonly) {
		free_fs(fs);
		return WERR_LIMIT;
	}
	fs->known_mount = v->h->mount;
	fs->mount = v->h->mount + (v->readonly ? 0 : 1);
	struct host_space space;
	fs->small_blocks =
		fs->host->ops->space(fs->host, &space) == 0 && space.block_bytes < WARD_PAGE;
	err = node_table_init(fs);
	if (err == 0) {
		err = rotation_init(fs);
	}
	if (err == 0) {
		err = hostcache_new(fs->host, fs->params.descriptors, &fs->hc);
	}
	if (err == 0) {
		err = new_root_node(fs);
	}
	bool dirty = v->h->state != VAULT_CLEAN;
	if (err == 0) {
		err = dirty ? open_dirty(fs) : open_clean(fs);
	}
	if (err == 0 && dirty && !fs->params.readonly && !fs->params.taking_over) {
		err = handover_sweep(fs);
	}
	if (err == 0) {
		err = repair_after(fs);
	}
	if (err == 0) {
		err = start_work(fs);
	}
	if (err) {
		if (params->ret_is_root) {
			*params->ret_is_root = fs->root_refused;
		}
		free_fs(fs);
		return err;
	}
	*ret = fs;
	return 0;
}

const char *fs_root_refusal(int err)
{
	switch (err) {
	case WERR_TRUNCATED:
	case WERR_MALFORMED:
	case WERR_DAMAGED:
		return "its root directory is missing or damaged; restore it from a backup, or "
		       "keep what can be kept with 'wardfs check --repair'";
	case WERR_AUTH:
		return "its root directory was changed outside wardfs; restore it from a backup, "
		       "or keep what can be kept with 'wardfs check --repair'";
	default:
		return NULL;
	}
}

int engine_write_clean(struct fs *fs)
{
	struct vault_header *h = fs->v->h;

	h->root_generation = fs->root->base;
	h->root_epoch = fs->root->epoch;
	h->state = VAULT_CLEAN;
	h->replaying = 0;
	h->journal_sequence = journal_sequence(fs->j);
	anchoring_note(fs, false);
	return vault_write(fs->v);
}

int engine_write_dirty(struct fs *fs)
{
	return write_state(fs, VAULT_DIRTY, 0);
}

int fs_close(struct fs *fs)
{
	int err = 0;

	freeze_end(fs);
	rotation_stop(fs);
	threads_stop(fs);
	if (!fs->params.readonly) {
		node_free_orphans(fs);
		err = checkpoint_last(fs);
		if (err == 0 && !atomic_load(&fs->read_only)) {
			err = engine_write_clean(fs);
		}
	}
	free_fs(fs);
	return err;
}

void fs_abandon(struct fs *fs)
{
	fs->abandoned = true;
	atomic_store(&fs->read_only, true);
	freeze_end(fs);
	rotation_stop(fs);
	threads_stop(fs);
	free_fs(fs);
}

void fs_get_status(struct fs *fs, struct fs_status *ret)
{
	pthread_mutex_lock(&fs->nodes_lock);
	size_t nodes = fs->nodes_count;
	pthread_mutex_unlock(&fs->nodes_lock);
	*ret = (struct fs_status){
		.mount = fs->mount,
		.checkpoints = atomic_load(&fs->checkpoints),
		.generation = atomic_load(&fs->last_generation),
		.journal_used = fs->j ? journal_used(fs->j) : 0,
		.journal_capacity = fs->j ? journal_capacity(fs->j) : 0,
		.nodes = nodes,
		.overlay_bytes = atomic_load(&fs->overlay_bytes),
		.metadata_bytes = atomic_load(&fs->cache_bytes),
		.refusals = atomic_load(&fs->refusals),
		.fsyncs = atomic_load(&fs->fsyncs),
		.commits = atomic_load(&fs->commits),
		.readonly = atomic_load(&fs->read_only),
	};
	memcpy(ret->readonly_reason, fs->read_only_reason, sizeof ret->readonly_reason);
	findings_count(fs->findings, ret->findings);
	anchoring_status(fs, ret);
	vault_slots_digest(fs->v, ret->slots_digest);
}

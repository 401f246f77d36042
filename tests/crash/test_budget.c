// SPDX-License-Identifier: Apache-2.0
// How much one key seals: new keys come by themselves, long before a key has sealed too much, and
// the counts outlive the mount. wardfs-vault(5), "Data keys".
#include "crypto/object_header.h"
#include "crypto/secret.h"
#include "fusefs/engine.h"
#include "fusefs/rotate.h"
#include "tests/crash/simvault.h"

#define RENEWED_AT (1ull << 30)
#define REFUSED_AT (1ull << 32)

static struct simvault v;
static uint64_t ino;

// The object, loaded; no other thread runs.
static struct node *node(void)
{
	struct node *n = node_find(v.fs, ino);

	EXPECT(n, "no node");
	EXPECT(sv_size(&v, ino) > 0, "no content");
	EXPECT_OK(node_lock_write(v.fs, n));
	node_unlock(n);
	node_put(v.fs, n); // the look-up holds it
	return n;
}

static unsigned keys(void)
{
	return object_keys_count(node()->obj->keys);
}

static void data_key_is_renewed(unsigned known)
{
	node()->obj->data_seals = RENEWED_AT - 1;
	sv_put(&v, ino, 0, SIM_PAGE, 1);
	EXPECT(keys() == known, "%u data keys before it is due, %u before", keys(), known);
	sv_put(&v, ino, 0, SIM_PAGE, 2);
	EXPECT(keys() == known + 1, "%u data keys after 2^30 seals, %u before", keys(), known);
	EXPECT(node()->obj->data_seals < 10, "the new key has sealed %lu pages",
	       node()->obj->data_seals);
}

static void header_key_is_renewed(void)
{
	node()->obj->header_seals = RENEWED_AT;
	sv_put(&v, ino, 0, SIM_PAGE, 3);
	EXPECT_OK(fs_checkpoint(v.fs));
	EXPECT(node()->obj->header_seals < 10, "the header key has sealed %lu headers",
	       node()->obj->header_seals);
}

static void counts_outlive_the_mount(void)
{
	const uint64_t count = RENEWED_AT / 2;

	node()->obj->data_seals = node()->obj->header_seals = count;
	sv_put(&v, ino, 0, SIM_PAGE, 4);
	simvault_remount(&v);
	ino = sv_find(&v, FS_ROOT, "f");
	EXPECT(node()->obj->data_seals > count && node()->obj->header_seals > count,
	       "%lu and %lu seals", node()->obj->data_seals, node()->obj->header_seals);
}

static void begin_rotation(void)
{
	const struct rotate_params params = {.level = VAULT_ROTATION_KEYS, .now_s = 1700000000};
	uint8_t *root_key = NULL;

	EXPECT_OK(rotate_root_key(v.fs, &v.passphrase, &root_key));
	EXPECT_OK(rotate_begin(v.fs, root_key, &params));
	secret_free(root_key);
}

static void end_rotation(void)
{
	bool more = true;

	while (more)
		EXPECT_OK(rotate_step(v.fs, &more));
}

// With seven keys the last one goes on, but never too far; a rotation makes room.
static void seven_keys(void)
{
	uint8_t page[SIM_PAGE] = {1};

	for (unsigned known = keys(); known < 7; known++)
		data_key_is_renewed(known);
	node()->obj->data_seals = RENEWED_AT;
	sv_put(&v, ino, 0, SIM_PAGE, 5);
	EXPECT(keys() == 7, "%u data keys", keys());
	node()->obj->data_seals = REFUSED_AT - 1;
	sv_put(&v, ino, 0, SIM_PAGE, 6);
	EXPECT(fs_write(v.fs, ino, 0, page, sizeof(page), 0) == WERR_LIMIT,
	       "a page was sealed beyond 2^32");
	EXPECT(sv_version(&v, ino, 0, SIM_PAGE) == 6, "the refused write was done");
	node()->obj->data_seals = RENEWED_AT;
	begin_rotation();
	end_rotation();
	sv_put(&v, ino, 0, SIM_PAGE, 7);
	EXPECT(keys() < 7 && node()->obj->data_seals < 10, "%u data keys, %lu seals", keys(),
	       node()->obj->data_seals);
}

// A write takes the file to the epoch of a rotation before the walk comes by, without room for a
// new data key; then the engine ends, and with it what it remembers.
static void renewed_before_the_walk(void)
{
	for (unsigned known = keys(); known < 7; known++)
		data_key_is_renewed(known);
	begin_rotation();
	sv_put(&v, ino, 0, SIM_PAGE, 7);
	EXPECT_OK(fs_checkpoint(v.fs));
	EXPECT(keys() == 7 && node()->epoch == atomic_load(&v.fs->epoch), "not renewed");
	simvault_remount(&v);
	ino = sv_find(&v, FS_ROOT, "f");
	end_rotation();
	EXPECT(keys() < 7, "%u data keys", keys());
}

int main(void)
{
	simvault_begin(&v, NULL);
	ino = sv_make(&v, FS_ROOT, "f", OBJECT_FILE);
	sv_put(&v, ino, 0, (size_t)3 * SIM_PAGE, 1);
	sv_sync(&v, ino);
	data_key_is_renewed(1);
	header_key_is_renewed();
	counts_outlive_the_mount();
	seven_keys();
	renewed_before_the_walk();
	simvault_remount(&v);
	EXPECT(sv_version(&v, sv_find(&v, FS_ROOT, "f"), 0, SIM_PAGE) == 7, "the file");
	simvault_end(&v);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Writes the seed corpora of the targets that drive the engine, and a dictionary of the numbers in
// their vault: make_world_corpus tests/fuzz
#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <sys/stat.h>

#include "crypto/anchor_codec.h"
#include "crypto/cursor.h"
#include "fusefs/journal.h"
#include "fusefs/tree.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/world.h"

static const char *root_dir;
static unsigned records;

static void write_file(const char *folder, const char *name, const void *data, size_t len)
{
	char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", root_dir, folder);
	FUZZ_NEED(mkdir(path, 0777) == 0 || errno == EEXIST);
	(void)snprintf(path, sizeof(path), "%s/%s/%s", root_dir, folder, name);
	FILE *f = fopen(path, "wb");
	FUZZ_NEED(f != NULL && fwrite(data, 1, len, f) == len && fclose(f) == 0);
}

// ---- journal: the records of the vault's own last mount, each once more ----

static int emit_record(void *arg, uint64_t sequence, const uint8_t *payload, size_t len)
{
	static uint8_t seed[65536 + 3];
	char name[32];

	(void)arg;
	if (len >= 12288)
		return 0;
	seed[0] = 0;
	seed[1] = (uint8_t)len;
	seed[2] = (uint8_t)(len >> 8);
	memcpy(seed + 3, payload, len);
	(void)snprintf(name, sizeof(name), "record-%llu", (unsigned long long)sequence);
	write_file("corpus/journal", name, seed, len + 3);
	records++;
	return 0;
}

static void make_journal(void)
{
	struct simhost *disk = world_disk(0);
	struct journal *j;
	struct vault *v;
	uint64_t last;

	FUZZ_NEED(vault_open(simhost_open(disk), world_passphrase(), 0, &v) == 0);
	FUZZ_NEED(journal_open(v->host, v->ring, v->h->journal_bytes, 0, &j) == 0);
	FUZZ_NEED(journal_replay(j, emit_record, NULL, &last) == 0 && records > 3);
	journal_close(j);
	vault_close(v);
	simhost_free(disk);
	write_file("corpus/journal", "advance", "\x01\x00\x00\x00", 4);
	write_file("corpus/journal", "start", "\x02\x00\x00\x00\x01", 5);
	write_file("corpus/journal", "patch", "\x03\x10\x00\x00\x04\xff\xff\xff\xff", 9);
	write_file("corpus/journal", "cut", "\x04\x04\x00", 3);
}

// ---- fuse ----

static uint8_t stream[65536];
static size_t used;

static void message(uint8_t opcode, uint8_t to, uint8_t flags, const void *arg, size_t len,
		    const char *one, const char *two)
{
	const size_t n1 = one ? strlen(one) + 1 : 0, n2 = two ? strlen(two) + 1 : 0;
	const size_t total = len + n1 + n2;

	FUZZ_NEED(used + 5 + total <= sizeof(stream));
	stream[used++] = opcode;
	stream[used++] = to;
	stream[used++] = flags;
	stream[used++] = (uint8_t)total;
	stream[used++] = (uint8_t)(total >> 8);
	if (len)
		memcpy(stream + used, arg, len);
	if (n1)
		memcpy(stream + used + len, one, n1);
	if (n2)
		memcpy(stream + used + len + n1, two, n2);
	used += total;
}

static void finish(const char *name)
{
	write_file("corpus/fuse", name, stream, used);
	used = 0;
}

static void make_fuse(void)
{
	const struct fuse_mknod_in mk = {.mode = S_IFREG | 0644};
	const struct fuse_mkdir_in dir = {.mode = 0755};
	const struct fuse_getattr_in get = {0};
	const struct fuse_read_in rd = {.size = 4096};
	const struct fuse_rename_in mv = {.newdir = 0};
	const struct fuse_rename2_in mv2 = {.newdir = 0, .flags = 2};
	const struct fuse_fsync_in sync = {0};
	const struct fuse_setattr_in cut = {.valid = FATTR_SIZE, .size = 5};
	const struct fuse_setxattr_in set = {.size = 3};
	const struct fuse_getxattr_in list = {.size = 1000};
	const struct fuse_fallocate_in punch = {.offset = 4096, .length = 8192, .mode = 3};
	const struct fuse_lseek_in seek = {.offset = 0, .whence = 4};
	const struct fuse_copy_file_range_in copy = {.len = 5000, .nodeid_out = 2};
	const struct fuse_link_in link = {.oldnodeid = 2};
	const struct fuse_forget_in forget = {.nlookup = 1};
	struct {
		struct fuse_write_in in;
		uint8_t data[200];
	} wr = {.in = {.offset = 10000, .size = 200}};

	message(FUSE_LOOKUP, 0, 0, NULL, 0, "d", NULL);
	message(FUSE_LOOKUP, 1, 0, NULL, 0, "middle", NULL);
	message(FUSE_GETATTR, 2, 0, &get, sizeof(get), NULL, NULL);
	message(FUSE_READ, 2, 0, &rd, sizeof(rd), NULL, NULL);
	message(FUSE_READDIRPLUS, 1, 0, &rd, sizeof(rd), NULL, NULL);
	message(FUSE_READDIR, 0, 0, &rd, sizeof(rd), NULL, NULL);
	message(FUSE_STATFS, 0, 0, NULL, 0, NULL, NULL);
	message(FUSE_LISTXATTR, 2, 0, &list, sizeof(list), NULL, NULL);
	message(FUSE_GETXATTR, 2, 0, &list, sizeof(list), "user.a", NULL);
	message(FUSE_LSEEK, 2, 0, &seek, sizeof(seek), NULL, NULL);
	finish("reading");
	message(FUSE_LOOKUP, 0, 0, NULL, 0, "d", NULL);
	message(FUSE_MKNOD, 1, 0, &mk, sizeof(mk), "n", NULL);
	message(FUSE_WRITE, 2, 0, &wr, sizeof(wr), NULL, NULL);
	message(FUSE_FSYNC, 2, 0, &sync, sizeof(sync), NULL, NULL);
	message(FUSE_SETATTR, 2, 0, &cut, sizeof(cut), NULL, NULL);
	message(FUSE_SETXATTR, 2, 0, &set, 8, "user.n", "abc");
	message(FUSE_REMOVEXATTR, 2, 0, NULL, 0, "user.n", NULL);
	message(FUSE_FALLOCATE, 2, 0, &punch, sizeof(punch), NULL, NULL);
	message(FUSE_COPY_FILE_RANGE, 2, 0, &copy, sizeof(copy), NULL, NULL);
	message(FUSE_FORGET, 2, 0, &forget, sizeof(forget), NULL, NULL);
	finish("writing");
	message(FUSE_MKDIR, 0, 0, &dir, sizeof(dir), "x", NULL);
	message(FUSE_LOOKUP, 0, 0, NULL, 0, "linked", NULL);
	message(FUSE_RENAME, 0, 1, &mv, sizeof(mv), "linked", "l2");
	message(FUSE_RENAME2, 0, 1, &mv2, sizeof(mv2), "l2", "moved");
	message(FUSE_SYMLINK, 1, 0, NULL, 0, "s", "target");
	message(FUSE_LINK, 1, 1, &link, sizeof(link), "again", NULL);
	message(FUSE_UNLINK, 1, 0, NULL, 0, "again", NULL);
	message(FUSE_READLINK, 3, 0, NULL, 0, NULL, NULL);
	message(FUSE_UNLINK, 1, 0, NULL, 0, "s", NULL);
	message(FUSE_RMDIR, 0, 0, NULL, 0, "x", NULL);
	message(FUSE_FSYNCDIR, 0, 0, &sync, sizeof(sync), NULL, NULL);
	finish("names");
}

// ---- anchor and nodes ----

static void make_anchor(void)
{
	struct anchor_claims a = {.counter = 1,
				  .mount = 3,
				  .write_counter = 9,
				  .journal_mount = 3,
				  .journal_sequence = 77,
				  .closed_s = 5,
				  .closed_mount = 2,
				  .closed_machine = "desk"};
	uint8_t body[ANCHOR_BODY_BYTES];

	a.slots[0] = (struct anchor_slot){.serial = 1, .kind = 1, .label = "first"};
	FUZZ_NEED(anchor_body_encode(&a, body) == 0);
	write_file("corpus/anchor", "used", body, 330);
	write_file("corpus/anchor", "empty", body, 0);
	body[20] = 3;
	write_file("corpus/anchor", "state", body, 330);
	write_file("corpus/anchor", "file", "WARDANC\x01\x01\0\0\0\0\0\0\0\x01\0\0\0", 20);
}

// What fuzz_node takes: seals of the header, then operations.
#define ROOT_BYTES (85u * 32)
#define OP_BYTES 16u
#define OPS_MAX 60u

enum { OP_GET, OP_SEEK, OP_SET, OP_DROP, OP_SEAL, OP_PLACE };

static uint8_t node_seed[ROOT_BYTES + OPS_MAX * OP_BYTES];
static size_t node_size;

static void node_seals(unsigned from, unsigned to)
{
	memset(node_seed, 0, sizeof(node_seed));
	node_size = ROOT_BYTES;
	for (size_t i = from * 32u; i < to * 32u; i++)
		node_seed[i] = i % 32 < 28 ? (uint8_t)(i / 32 + i) : i % 32 == 28;
}

static void node_op(uint8_t verb, uint64_t index, uint8_t pages, uint32_t more)
{
	uint8_t *op = node_seed + node_size;

	FUZZ_NEED(node_size + OP_BYTES <= sizeof(node_seed));
	op[0] = verb;
	le64_put(op + 1, index);
	op[10] = (uint8_t)(pages - 1);
	le32_put(op + 11, more);
	op[15] = 1;
	node_size += OP_BYTES;
}

static void node_write(const char *name)
{
	write_file("corpus/node", name, node_seed, node_size);
}

// Where one level of the tree ends and the next one begins: 80 direct pages, 128, 128^2 ….
static const uint64_t node_borders[] = {0, 80, 208, 16592, 2113744, 270549200, TREE_PAGES_MAX};
#define BORDERS (sizeof(node_borders) / sizeof(node_borders[0]))

// Every operation on both sides of each border; of an object without pages, or with all roots.
static void make_node_borders(const char *name, unsigned from, unsigned to)
{
	node_seals(from, to);
	for (size_t i = 0; i < BORDERS; i++) {
		const uint64_t at = node_borders[i] ? node_borders[i] - 1 : 0;

		node_op(OP_SET, at, 3, 1);
		node_op(OP_GET, at, 64, 0);
		node_op(OP_SEEK, at, 1, i & 1);
		node_op(OP_PLACE, at, 1, 0);
	}
	node_op(OP_SEAL, 0, 1, 0);
	for (size_t i = 0; i < BORDERS; i++)
		node_op(OP_DROP, node_borders[i], 1, i & 1 ? 1 : 100000);
	for (size_t i = 0; i < BORDERS; i++)
		node_op(OP_SEEK, node_borders[i], 1, 1);
	node_op(OP_SEAL, 0, 1, 0);
	node_write(name);
}

// Nodes come into being, are sealed, and go again.
static void make_node_life(void)
{
	node_seals(0, 0);
	for (unsigned i = 0; i < 8; i++) {
		node_op(OP_SET, 200u * i, 64, 1);
		node_op(OP_SET, 20000u * i + 16000, 64, 1);
		node_op(OP_SEAL, 0, 1, 0);
		node_op(OP_SET, 200u * i, 32, 0);
		node_op(OP_GET, 200u * i, 64, 0);
	}
	node_op(OP_DROP, 90, 1, UINT32_MAX);
	node_op(OP_SEAL, 0, 1, 0);
	node_op(OP_SEEK, 0, 1, 0);
	node_write("life");
}

static void make_node(void)
{
	static uint8_t seed[ROOT_BYTES + 40 * OP_BYTES];

	for (size_t i = 0; i < ROOT_BYTES; i++)
		seed[i] = i % 32 < 28 ? (uint8_t)(i / 32 + i) : i % 32 == 28;
	for (size_t i = ROOT_BYTES; i < sizeof(seed); i++)
		seed[i] = (uint8_t)(i * 37 + i / 16);
	write_file("corpus/node", "full", seed, sizeof(seed));
	memset(seed, 0, ROOT_BYTES);
	write_file("corpus/node", "empty", seed, sizeof(seed));
	make_node_borders("borders", 0, 0);
	make_node_borders("borders_loaded", 0, 85);
	make_node_borders("borders_roots", 80, 85);
	make_node_life();
	node_seals(0, 85);
	// Seals that break a rule: no generation of a data key, reserved bytes.
	for (unsigned i = 0; i < 85; i++)
		node_seed[i * 32 + 28 + i % 4] ^= (uint8_t)(i % 3 + 1);
	node_op(OP_SEEK, 0, 1, 1);
	node_op(OP_GET, 70, 64, 0);
	node_write("broken_seals");
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		(void)fprintf(stderr, "usage: make_world_corpus DIRECTORY\n");
		return 2;
	}
	root_dir = argv[1];
	make_journal();
	make_fuse();
	make_anchor();
	make_node();
	return EXIT_SUCCESS;
}

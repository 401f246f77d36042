// SPDX-License-Identifier: Apache-2.0
// Whole journal images: records that are authentic but say anything, as somebody who knows the keys
// could make them, and changed bytes; then the replay, a walk through what it made, and the clean
// end. Input: operations, each a byte that says which and its arguments; see below.
#include "fusefs/journal.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/world.h"

enum {
	OP_RECORD,  // length u16, payload: one more record
	OP_ADVANCE, // the superblock moves behind the last record; the root's generation as it was
	OP_START,   // a new chain, of the next mount
	OP_PATCH,   // offset u24, length u8, bytes: into the file, at the end
	OP_CUT,     // length u16: the file is cut to so many pages
	OPS
};

struct input {
	const uint8_t *p, *end;
};

static uint32_t take(struct input *in, unsigned n)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < n; i++)
		value |= (uint32_t)(in->p < in->end ? *in->p++ : 0) << 8 * i;
	return value;
}

static const uint8_t *take_bytes(struct input *in, size_t *len)
{
	const uint8_t *at = in->p;

	if (*len > (size_t)(in->end - in->p))
		*len = (size_t)(in->end - in->p);
	in->p += *len;
	return at;
}

static int pass_over(void *arg, uint64_t sequence, const uint8_t *payload, size_t len)
{
	(void)arg;
	(void)sequence;
	(void)payload;
	(void)len;
	return 0;
}

static void advance(struct journal *j)
{
	struct journal_mark mark;

	journal_mark(j, &mark);
	const struct superblock *sb = journal_superblock(j);
	(void)!journal_advance(j, sb->k + 1, &mark, sb->root_generation);
}

// One operation with its arguments; each pass over the input does those that are its own.
struct op {
	unsigned what;
	uint32_t number; // offset, pages
	const uint8_t *bytes;
	size_t len;
};

static struct op next_op(struct input *in)
{
	struct op op = {.what = take(in, 1) % OPS};

	switch (op.what) {
	case OP_RECORD:
		op.len = take(in, 2);
		break;
	case OP_PATCH:
		op.number = take(in, 3);
		op.len = take(in, 1);
		break;
	case OP_CUT:
		op.number = take(in, 2);
		break;
	default:
		break;
	}
	op.bytes = take_bytes(in, &op.len);
	return op;
}

static void sealed_part(struct vault *v, struct input in)
{
	struct journal *j;
	uint64_t sequence;

	FUZZ_NEED(journal_open(v->host, v->ring, v->h->journal_bytes, 0, &j) == 0);
	FUZZ_NEED(journal_replay(j, pass_over, NULL, &sequence) == 0);
	while (in.p < in.end) {
		const struct op op = next_op(&in);

		if (op.what == OP_RECORD)
			(void)!journal_append(j, op.bytes, op.len, 0, &sequence);
		else if (op.what == OP_ADVANCE)
			advance(j);
		else if (op.what == OP_START)
			(void)!journal_start(j, v->h->mount + 1, 0, v->h->root_generation);
	}
	(void)!journal_sync(j);
	journal_close(j);
}

static void raw_part(struct host *host, struct input in)
{
	struct host_file *f;

	FUZZ_NEED(host->ops->open_top(host, JOURNAL_NAME, HOST_RDWR, &f) == 0);
	while (in.p < in.end) {
		const struct op op = next_op(&in);

		if (op.what == OP_PATCH && op.len)
			(void)!host_pwrite(f, op.bytes, op.len, op.number % JOURNAL_MIN_BYTES);
		else if (op.what == OP_CUT)
			(void)!host->ops->truncate(f, (uint64_t)op.number * 4096);
	}
	host->ops->file_close(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct simhost *disk = world_disk(0);
	struct vault *v;
	struct fs *fs;

	FUZZ_NEED(vault_open(simhost_open(disk), world_passphrase(), 0, &v) == 0);
	sealed_part(v, (struct input){data, data + size});
	raw_part(v->host, (struct input){data, data + size});
	vault_close(v);
	if (world_open_engine(disk, &v, &fs) == 0) {
		world_walk(fs);
		(void)!fs_checkpoint(fs);
		world_walk(fs);
		// What the replay took in must not keep the vault from being closed and opened.
		if (fs_close(fs) == 0) {
			vault_close(v);
			FUZZ_NEED(world_open_engine(disk, &v, &fs) == 0);
			world_walk(fs);
			fs_abandon(fs);
		}
		vault_close(v);
	}
	simhost_free(disk);
	return 0;
}

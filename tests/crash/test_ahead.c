// SPDX-License-Identifier: Apache-2.0
// Which headers the host is asked for before they are wanted (fusefs/ahead.h): those that follow in
// the directory while its files are read in order, each once; nothing otherwise.
#include <stdio.h>

#include "fusefs/engine.h"
#include "tests/crash/simvault.h"

#define FILES 40
#define AHEAD 8

static struct simvault v;
static const struct host_ops *real;
static struct host_ops mine;
static uint64_t ino[FILES], dir;

// The files opened so far, as their places in ino.
static unsigned opened[FILES + 2], count;
static unsigned headers; // asked for or read

static int open_object(struct host *h, uint64_t number, unsigned flags, struct host_file **ret)
{
	for (unsigned i = 0; i < FILES; i++) {
		if (ino[i] == number) {
			EXPECT(count < FILES, "opened twice");
			opened[count++] = i;
		}
	}
	return real->open_object(h, number, flags, ret);
}

// A disk on which nothing is ever in memory.
static int preadv_cached(struct host_file *f, const struct iovec *iov, int iovcnt, uint64_t off)
{
	(void)f;
	(void)iov;
	(void)iovcnt;
	headers += off == 0;
	return WERR_BUSY;
}

static void blocking(void *arg)
{
	(void)arg;
}

static void remount(void)
{
	v.params.blocking = NULL;
	simvault_close(&v);
	v.params.blocking = blocking;
	simvault_open(&v);
	mine = *v.fs->host->ops;
	real = v.fs->host->ops;
	mine.open_object = open_object;
	mine.preadv_cached = preadv_cached;
	v.fs->host->ops = &mine;
	dir = sv_find(&v, FS_ROOT, "d");
	for (unsigned i = 0; i < FILES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%02u", i);
		ino[i] = sv_lookup(&v, dir, name);
	}
	count = headers = 0;
}

// Reads one, and says how many were opened by that; they follow each other
// from `first` on (FILES: any).
static unsigned read_one(unsigned i, unsigned first)
{
	const unsigned before = count;

	EXPECT(sv_version(&v, ino[i], 0, SIM_PAGE) == i + 1, "file %u", i);
	EXPECT(count - before <= 1, "asked for before the reply");
	fs_read_ahead(v.fs);
	for (unsigned k = before; k < count; k++)
		EXPECT(opened[k] == i || first == FILES || opened[k] == first++,
		       "%u where %u was expected", opened[k], first - 1);
	return count - before;
}

static void in_order(void)
{
	remount();
	EXPECT(read_one(0, 0) == 1, "the first says nothing");
	for (unsigned i = 1, end = 1; i < FILES; i++) {
		const unsigned own = end == i ? 1 : 0, first = end + own;

		// Two more each time, until there are AHEAD of them.
		end = first;
		while (end < first + 2 && end <= i + AHEAD && end < FILES)
			end++;
		EXPECT(read_one(i, first) == end - first + own, "at %u", i);
	}
	EXPECT(count == FILES, "not all, once");
	EXPECT(headers == FILES + (FILES - 2), "headers: %u", headers);
	for (unsigned i = 0; i < FILES; i++)
		EXPECT(read_one(i, 0) == 0, "%u again", i);
}

static void out_of_order(void)
{
	remount();
	for (unsigned i = FILES; i-- > 0;)
		EXPECT(read_one(i, 0) == 1, "backwards, at %u", i);
}

// What is gone, what is no file and what the host has not got yet is passed over.
static void others(void)
{
	remount();
	EXPECT_OK(fs_unlink(v.fs, dir, "f04"));
	ino[4] = 0;
	EXPECT_OK(fs_unlink(v.fs, dir, "f06"));
	ino[6] = sv_make(&v, dir, "new", OBJECT_FILE);
	EXPECT(read_one(2, FILES) == 1, "the first");
	EXPECT(read_one(3, FILES) == 3, "the second, and two others");
	for (unsigned k = 0; k < count; k++)
		EXPECT(opened[k] != 4 && opened[k] != 6, "opened %u", opened[k]);
}

int main(void)
{
	simvault_begin(&v, NULL);
	dir = sv_make(&v, FS_ROOT, "d", OBJECT_DIR);
	for (unsigned i = 0; i < FILES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%02u", i);
		sv_put(&v, sv_make(&v, dir, name, OBJECT_FILE), 0, SIM_PAGE, i + 1);
	}
	in_order();
	out_of_order();
	others();
	v.params.blocking = NULL;
	simvault_remount(&v);
	simvault_end(&v);
	return 0;
}

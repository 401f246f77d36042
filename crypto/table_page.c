// SPDX-License-Identifier: Apache-2.0
#include "crypto/table_page.h"

#include <string.h>

#include "crypto/cursor.h"

#define PAGE_COUNT 0
#define PAGE_HEAP 2
#define PAGE_ZERO 4
#define PAGE_SLOTS 8

#define ENTRY_ATTR 24
#define ENTRY_GENERATION 120
#define ENTRY_EPOCH 128
#define NS_PER_S 1000000000u

void attr_encode(const struct ward_attr *a, uint8_t out[static ATTR_BYTES])
{
	le32_put(out, a->mode);
	le32_put(out + 4, a->uid);
	le32_put(out + 8, a->gid);
	le32_put(out + 12, a->nlink);
	le64_put(out + 16, a->size);
	le64_put(out + 24, a->pages);
	le64_put(out + 32, a->rdev);
	le64_put(out + 40, (uint64_t)a->atime.s);
	le64_put(out + 48, (uint64_t)a->mtime.s);
	le64_put(out + 56, (uint64_t)a->ctime.s);
	le64_put(out + 64, (uint64_t)a->btime.s);
	le32_put(out + 72, a->atime.ns);
	le32_put(out + 76, a->mtime.ns);
	le32_put(out + 80, a->ctime.ns);
	le32_put(out + 84, a->btime.ns);
	le64_put(out + 88, a->flags);
}

static int attr_check(const struct ward_attr *a)
{
	if (a->mode > 07777 || a->nlink == 0 || a->size > OBJECT_SIZE_MAX)
		return WERR_MALFORMED;
	if (a->atime.ns >= NS_PER_S || a->mtime.ns >= NS_PER_S || a->ctime.ns >= NS_PER_S ||
	    a->btime.ns >= NS_PER_S)
		return WERR_MALFORMED;
	if ((a->flags & ~(uint64_t)ATTR_FLAGS_ALL) != 0)
		return WERR_MALFORMED;
	return 0;
}

int attr_decode(const uint8_t in[static ATTR_BYTES], struct ward_attr *ret)
{
	struct ward_attr a = {
		.mode = le32_get(in),
		.uid = le32_get(in + 4),
		.gid = le32_get(in + 8),
		.nlink = le32_get(in + 12),
		.size = le64_get(in + 16),
		.pages = le64_get(in + 24),
		.rdev = le64_get(in + 32),
		.atime = {(int64_t)le64_get(in + 40), le32_get(in + 72)},
		.mtime = {(int64_t)le64_get(in + 48), le32_get(in + 76)},
		.ctime = {(int64_t)le64_get(in + 56), le32_get(in + 80)},
		.btime = {(int64_t)le64_get(in + 64), le32_get(in + 84)},
		.flags = le64_get(in + 88),
	};
	int rc = attr_check(&a);

	if (rc < 0)
		return rc;
	*ret = a;
	return 0;
}

static size_t entry_fixed(uint8_t kind)
{
	return kind == ENTRY_HOME ? ENTRY_HOME_FIXED : ENTRY_LINK_FIXED;
}

static int type_has_rdev(uint8_t type)
{
	return type == OBJECT_CHAR || type == OBJECT_BLOCK;
}

size_t entry_size(const struct entry *e)
{
	return entry_fixed(e->kind) + e->name_len + e->target_len;
}

int entry_encode(const struct entry *e, uint8_t *out, size_t cap, size_t *ret_len)
{
	struct wcursor w;
	struct entry again;
	size_t total = entry_size(e);

	if (total > ENTRY_BYTES_MAX)
		return WERR_INVALID;
	wcursor_init(&w, out, cap);
	wcursor_u16(&w, (uint16_t)total);
	wcursor_u8(&w, e->kind);
	wcursor_u8(&w, e->type);
	wcursor_u8(&w, e->name_len);
	wcursor_u8(&w, 0);
	wcursor_u16(&w, e->target_len);
	wcursor_u64(&w, e->number);
	wcursor_u64(&w, e->incarnation);
	if (e->kind == ENTRY_HOME) {
		uint8_t *attr = wcursor_take(&w, ATTR_BYTES);
		if (attr != NULL)
			attr_encode(&e->attr, attr);
		wcursor_u64(&w, e->generation);
		wcursor_u32(&w, e->epoch);
		wcursor_u32(&w, 0);
	}
	wcursor_bytes(&w, e->name, e->name_len);
	if (e->target_len > 0)
		wcursor_bytes(&w, e->target, e->target_len);
	if (w.err < 0)
		return WERR_NOSPACE;
	// One set of rules for both directions: what would not decode is not written.
	if (entry_decode(out, total, &again) < 0)
		return WERR_INVALID;
	*ret_len = total;
	return 0;
}

// The members that stand in home entries only.
static int entry_decode_home(const uint8_t *in, struct entry *e)
{
	int rc = attr_decode(in + ENTRY_ATTR, &e->attr);

	if (rc < 0)
		return rc;
	if (e->attr.rdev != 0 && !type_has_rdev(e->type))
		return WERR_MALFORMED;
	e->generation = le64_get(in + ENTRY_GENERATION);
	e->epoch = le32_get(in + ENTRY_EPOCH);
	return le32_get(in + ENTRY_EPOCH + 4) == 0 ? 0 : WERR_MALFORMED;
}

static int entry_check_names(const struct entry *e)
{
	if (memchr(e->name, '/', e->name_len) != NULL || memchr(e->name, '\0', e->name_len) != NULL)
		return WERR_MALFORMED;
	if (e->target != NULL && memchr(e->target, '\0', e->target_len) != NULL)
		return WERR_MALFORMED;
	return 0;
}

int entry_decode(const uint8_t *in, size_t len, struct entry *ret)
{
	struct entry e = {0};

	if (len < ENTRY_LINK_FIXED)
		return WERR_TRUNCATED;
	e.kind = in[2];
	e.type = in[3];
	e.name_len = in[4];
	e.target_len = le16_get(in + 6);
	e.number = le64_get(in + 8);
	e.incarnation = le64_get(in + 16);
	if (e.kind != ENTRY_HOME && e.kind != ENTRY_LINK)
		return WERR_MALFORMED;
	if (le16_get(in) != len || entry_size(&e) != len)
		return WERR_MALFORMED;
	if (e.type < OBJECT_FILE || e.type > OBJECT_BLOCK || in[5] != 0 || e.name_len == 0)
		return WERR_MALFORMED;
	if (object_id_check(e.number, e.incarnation) < 0)
		return WERR_MALFORMED;
	if (e.target_len > ENTRY_TARGET_MAX ||
	    (e.target_len > 0 && (e.kind != ENTRY_HOME || e.type != OBJECT_SYMLINK)))
		return WERR_MALFORMED;
	// A directory has one name: a second one would make the tree a graph.
	if (e.kind == ENTRY_LINK && e.type == OBJECT_DIR)
		return WERR_MALFORMED;
	if (e.kind == ENTRY_HOME) {
		int rc = entry_decode_home(in, &e);
		if (rc < 0)
			return rc;
	}
	e.name = in + entry_fixed(e.kind);
	e.target = e.target_len > 0 ? e.name + e.name_len : NULL;
	int rc = entry_check_names(&e);
	if (rc < 0)
		return rc;
	*ret = e;
	return 0;
}

static unsigned page_count(const uint8_t *page)
{
	return le16_get(page + PAGE_COUNT);
}

static unsigned page_heap(const uint8_t *page)
{
	return le16_get(page + PAGE_HEAP);
}

static unsigned page_offset(const uint8_t *page, unsigned slot)
{
	return le16_get(page + PAGE_SLOTS + 2 * (size_t)slot);
}

static void page_set_offset(uint8_t *page, unsigned slot, unsigned offset)
{
	le16_put(page + PAGE_SLOTS + 2 * (size_t)slot, (uint16_t)offset);
}

void table_page_init(uint8_t page[static WARD_PAGE])
{
	memset(page, 0, WARD_PAGE);
	le16_put(page + PAGE_HEAP, WARD_PAGE);
}

// Fills offsets[] with those of the used slots, ascending; returns how many, or WERR_MALFORMED.
static int sorted_offsets(const uint8_t *page, uint16_t offsets[static TABLE_SLOTS])
{
	unsigned count = page_count(page);
	int used = 0;

	if (count > TABLE_SLOTS || (count > 0 && page_offset(page, count - 1) == 0))
		return WERR_MALFORMED;
	for (unsigned slot = 0; slot < TABLE_SLOTS; slot++) {
		uint16_t offset = (uint16_t)page_offset(page, slot);
		int at = used;

		if (offset == 0)
			continue;
		if (slot >= count)
			return WERR_MALFORMED;
		while (at > 0 && offsets[at - 1] > offset) {
			offsets[at] = offsets[at - 1];
			at--;
		}
		offsets[at] = offset;
		used++;
	}
	return used;
}

int table_page_check(const uint8_t page[static WARD_PAGE])
{
	static const uint8_t zeros[WARD_PAGE];
	uint16_t offsets[TABLE_SLOTS];
	struct entry e;
	unsigned heap = page_heap(page);
	unsigned at = heap;
	int used = sorted_offsets(page, offsets);

	if (used < 0)
		return used;
	if (le32_get(page + PAGE_ZERO) != 0 || heap < TABLE_HEAP_START || heap > WARD_PAGE)
		return WERR_MALFORMED;
	if (memcmp(page + TABLE_HEAP_START, zeros, heap - TABLE_HEAP_START) != 0)
		return WERR_MALFORMED;
	// The entries tile the heap: neither an overlap nor a gap that could hide bytes.
	for (int i = 0; i < used; i++) {
		if (offsets[i] != at || WARD_PAGE - at < ENTRY_LINK_FIXED)
			return WERR_MALFORMED;
		unsigned len = le16_get(page + at);
		if (len > WARD_PAGE - at || entry_decode(page + at, len, &e) < 0)
			return WERR_MALFORMED;
		at += len;
	}
	return at == WARD_PAGE ? 0 : WERR_MALFORMED;
}

unsigned table_page_used(const uint8_t page[static WARD_PAGE])
{
	unsigned used = 0;

	for (unsigned slot = 0; slot < page_count(page) && slot < TABLE_SLOTS; slot++)
		used += page_offset(page, slot) != 0;
	return used;
}

int table_page_free_slot(const uint8_t page[static WARD_PAGE])
{
	for (unsigned slot = 0; slot < TABLE_SLOTS; slot++) {
		if (page_offset(page, slot) == 0)
			return (int)slot;
	}
	return -1;
}

size_t table_page_free(const uint8_t page[static WARD_PAGE])
{
	if (table_page_free_slot(page) < 0)
		return 0;
	return page_heap(page) - TABLE_HEAP_START;
}

const uint8_t *table_page_slot(const uint8_t page[static WARD_PAGE], unsigned slot, size_t *ret_len)
{
	unsigned offset = slot < TABLE_SLOTS ? page_offset(page, slot) : 0;

	if (offset == 0) {
		*ret_len = 0;
		return NULL;
	}
	*ret_len = le16_get(page + offset);
	return page + offset;
}

// Takes the entry's bytes out of the heap and closes the gap; the freed bytes become zero.
static void heap_remove(uint8_t *page, unsigned slot)
{
	unsigned offset = page_offset(page, slot);
	unsigned heap = page_heap(page);
	unsigned len = le16_get(page + offset);

	memmove(page + heap + len, page + heap, offset - heap);
	memset(page + heap, 0, len);
	for (unsigned i = 0; i < page_count(page); i++) {
		unsigned other = page_offset(page, i);
		if (other != 0 && other < offset)
			page_set_offset(page, i, other + len);
	}
	page_set_offset(page, slot, 0);
	le16_put(page + PAGE_HEAP, (uint16_t)(heap + len));
}

static void trim_count(uint8_t *page)
{
	unsigned count = page_count(page);

	while (count > 0 && page_offset(page, count - 1) == 0)
		count--;
	le16_put(page + PAGE_COUNT, (uint16_t)count);
}

int table_page_put(uint8_t page[static WARD_PAGE], unsigned slot, const uint8_t *entry, size_t len)
{
	struct entry e;
	size_t old_len;

	if (slot >= TABLE_SLOTS)
		return WERR_INVALID;
	if (len > 0 && entry_decode(entry, len, &e) < 0)
		return WERR_MALFORMED;
	const uint8_t *old = table_page_slot(page, slot, &old_len);
	if (len > page_heap(page) - TABLE_HEAP_START + old_len)
		return WERR_NOSPACE;
	if (len > 0 && len == old_len) {
		memcpy(page + (old - page), entry, len);
		return 0;
	}
	if (old != NULL)
		heap_remove(page, slot);
	if (len > 0) {
		unsigned offset = page_heap(page) - (unsigned)len;

		memcpy(page + offset, entry, len);
		le16_put(page + PAGE_HEAP, (uint16_t)offset);
		page_set_offset(page, slot, offset);
		if (slot >= page_count(page))
			le16_put(page + PAGE_COUNT, (uint16_t)(slot + 1));
	}
	trim_count(page);
	return 0;
}

// The home entry in a slot for a change in place. WERR_NOTFOUND: empty; WERR_INVALID: a link.
static int home_in_place(uint8_t *page, unsigned slot, uint8_t **ret)
{
	unsigned offset = slot < TABLE_SLOTS ? page_offset(page, slot) : 0;

	if (offset == 0)
		return WERR_NOTFOUND;
	if (page[offset + 2] != ENTRY_HOME)
		return WERR_INVALID;
	*ret = page + offset;
	return 0;
}

int table_page_set_attr(uint8_t page[static WARD_PAGE], unsigned slot, const struct ward_attr *a)
{
	uint8_t *entry;
	int rc = home_in_place(page, slot, &entry);

	if (rc < 0)
		return rc;
	if (attr_check(a) < 0 || (a->rdev != 0 && !type_has_rdev(entry[3])))
		return WERR_INVALID;
	attr_encode(a, entry + ENTRY_ATTR);
	return 0;
}

int table_page_set_bound(uint8_t page[static WARD_PAGE], unsigned slot, uint64_t generation,
			 uint32_t epoch)
{
	uint8_t *entry;
	int rc = home_in_place(page, slot, &entry);

	if (rc < 0)
		return rc;
	le64_put(entry + ENTRY_GENERATION, generation);
	le32_put(entry + ENTRY_EPOCH, epoch);
	return 0;
}

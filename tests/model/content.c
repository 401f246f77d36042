// SPDX-License-Identifier: Apache-2.0
#include "tests/model/content.h"

#include <stdlib.h>
#include <string.h>

#include "tests/model/trace.h"

static void free_versions(struct content_version *v)
{
	while (v) {
		struct content_version *older = v->older;

		free(v->data);
		free(v);
		v = older;
	}
}

void content_clear(struct content *c)
{
	for (size_t i = 0; i < c->n_pages; i++)
		free_versions(c->pages[i].newest);
	free(c->pages);
	free(c->sizes);
	*c = (struct content){0};
}

uint64_t content_size(const struct content *c)
{
	return c->n_sizes ? c->sizes[c->n_sizes - 1].size : 0;
}

size_t content_pages(const struct content *c)
{
	return c->n_pages;
}

// The position of the first page that is not before index.
static size_t find(const struct content *c, uint64_t index)
{
	size_t low = 0, high = c->n_pages;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (c->pages[mid].index < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static const struct content_page *page_at(const struct content *c, uint64_t index)
{
	size_t i = find(c, index);

	return i < c->n_pages && c->pages[i].index == index ? &c->pages[i] : NULL;
}

static struct content_page *make_page(struct content *c, uint64_t index)
{
	size_t i = find(c, index);

	if (i < c->n_pages && c->pages[i].index == index)
		return &c->pages[i];
	if (c->n_pages == c->cap_pages) {
		c->cap_pages = c->cap_pages ? 2 * c->cap_pages : 8;
		c->pages = trace_realloc(c->pages, c->cap_pages * sizeof(*c->pages));
	}
	memmove(&c->pages[i + 1], &c->pages[i], (c->n_pages - i) * sizeof(*c->pages));
	c->n_pages++;
	c->pages[i] = (struct content_page){.index = index};
	return &c->pages[i];
}

// A version that operation seq may change: a copy of the newest one unless seq already made one.
// data is never NULL.
static uint8_t *new_version(struct content_page *page, uint64_t seq)
{
	struct content_version *v = page->newest;

	if (!v || v->seq != seq) {
		v = trace_calloc(1, sizeof(*v));
		v->seq = seq;
		v->older = page->newest;
		page->newest = v;
	}
	if (!v->data) {
		v->data = trace_calloc(1, CONTENT_PAGE);
		if (v->older && v->older->data)
			memcpy(v->data, v->older->data, CONTENT_PAGE);
	}
	return v->data;
}

// A version that is all zeros.
static void new_zero_version(struct content_page *page, uint64_t seq)
{
	if (page->newest && !page->newest->data)
		return;
	memset(new_version(page, seq), 0, CONTENT_PAGE);
	free(page->newest->data);
	page->newest->data = NULL;
}

void content_read(const struct content *c, uint64_t off, size_t len, uint8_t *buf)
{
	memset(buf, 0, len);
	for (size_t i = find(c, off / CONTENT_PAGE); i < c->n_pages; i++) {
		uint64_t start = c->pages[i].index * CONTENT_PAGE;

		if (start >= off + len)
			break;
		uint64_t from = start > off ? start : off;
		uint64_t to = start + CONTENT_PAGE < off + len ? start + CONTENT_PAGE : off + len;
		const uint8_t *data = c->pages[i].newest->data;

		if (data)
			memcpy(buf + (from - off), data + (from - start), to - from);
	}
}

static void push_size(struct content *c, uint64_t seq, uint64_t size)
{
	if (content_size(c) == size)
		return;
	if (c->n_sizes == c->cap_sizes) {
		c->cap_sizes = c->cap_sizes ? 2 * c->cap_sizes : 4;
		c->sizes = trace_realloc(c->sizes, c->cap_sizes * sizeof(*c->sizes));
	}
	c->sizes[c->n_sizes++] = (struct content_size){.seq = seq, .size = size};
}

void content_write(struct content *c, uint64_t seq, uint64_t off, size_t len, const uint8_t *buf)
{
	uint64_t end = off + len;

	for (uint64_t pos = off; pos < end;) {
		uint64_t in = pos % CONTENT_PAGE;
		uint64_t n = CONTENT_PAGE - in < end - pos ? CONTENT_PAGE - in : end - pos;
		uint8_t *data = new_version(make_page(c, pos / CONTENT_PAGE), seq);

		memcpy(data + in, buf + (pos - off), n);
		pos += n;
	}
	if (end > content_size(c))
		push_size(c, seq, end);
}

void content_zero(struct content *c, uint64_t seq, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;

	for (size_t i = find(c, off / CONTENT_PAGE); i < c->n_pages; i++) {
		uint64_t start = c->pages[i].index * CONTENT_PAGE;

		if (start >= end)
			break;
		if (start >= off && start + CONTENT_PAGE <= end) {
			new_zero_version(&c->pages[i], seq);
			continue;
		}
		if (!c->pages[i].newest->data)
			continue;
		uint64_t from = start > off ? start : off;
		uint64_t to = start + CONTENT_PAGE < end ? start + CONTENT_PAGE : end;

		memset(new_version(&c->pages[i], seq) + (from - start), 0, to - from);
	}
}

void content_resize(struct content *c, uint64_t seq, uint64_t size)
{
	uint64_t old = content_size(c);

	if (size < old)
		content_zero(c, seq, size, old - size);
	push_size(c, seq, size);
}

void content_settle(struct content *c)
{
	size_t kept = 0;

	for (size_t i = 0; i < c->n_pages; i++) {
		struct content_version *v = c->pages[i].newest;

		free_versions(v->older);
		v->older = NULL;
		if (v->data)
			c->pages[kept++] = c->pages[i];
		else
			free_versions(v);
	}
	c->n_pages = kept;
	if (c->n_sizes > 1) {
		c->sizes[0] = c->sizes[c->n_sizes - 1];
		c->n_sizes = 1;
	}
}

int content_size_allowed(const struct content *c, uint64_t durable, uint64_t size)
{
	for (size_t i = c->n_sizes; i-- > 0;) {
		if (c->sizes[i].size == size)
			return 1;
		if (c->sizes[i].seq <= durable)
			return 0;
	}
	return size == 0;
}

static int same(const uint8_t *data, const uint8_t *seen, size_t len)
{
	static const uint8_t zeros[CONTENT_PAGE];

	return memcmp(data ? data : zeros, seen, len) == 0;
}

int content_page_allowed(const struct content *c, uint64_t durable, uint64_t index, size_t len,
			 const uint8_t *seen)
{
	const struct content_page *page = page_at(c, index);

	for (const struct content_version *v = page ? page->newest : NULL; v; v = v->older) {
		if (same(v->data, seen, len))
			return 1;
		if (v->seq <= durable)
			return 0;
	}
	return same(NULL, seen, len);
}

void content_adopt_page(struct content *c, uint64_t index, const uint8_t *data)
{
	struct content_page *page = make_page(c, index);

	free_versions(page->newest);
	page->newest = trace_calloc(1, sizeof(*page->newest));
	if (!same(NULL, data, CONTENT_PAGE))
		memcpy(new_version(page, 0), data, CONTENT_PAGE);
}

int content_has_page(const struct content *c, uint64_t index)
{
	return page_at(c, index) != NULL;
}

void content_adopt_size(struct content *c, uint64_t size)
{
	c->n_sizes = 0;
	push_size(c, 0, size);
}

int content_is_zero(const struct content *c, uint64_t off, uint64_t len)
{
	for (size_t i = find(c, off / CONTENT_PAGE); i < c->n_pages; i++) {
		uint64_t start = c->pages[i].index * CONTENT_PAGE;

		if (start >= off + len)
			break;
		uint64_t from = start > off ? start : off;
		uint64_t to = start + CONTENT_PAGE < off + len ? start + CONTENT_PAGE : off + len;
		const uint8_t *data = c->pages[i].newest->data;

		for (uint64_t k = from; data && k < to; k++) {
			if (data[k - start])
				return 0;
		}
	}
	return 1;
}

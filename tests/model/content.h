// SPDX-License-Identifier: Apache-2.0
// The content of one file as a plain model: pages with all their versions since the file was last
// known to be durable, and all its sizes since then. After a crash every page may show any of these
// versions, the size any of these sizes. seq: the number of the operation that makes a version; it
// only grows.
#ifndef WARDFS_TESTS_CONTENT_H
#define WARDFS_TESTS_CONTENT_H

#include <stddef.h>
#include <stdint.h>

#define CONTENT_PAGE 4096u

struct content_version {
	struct content_version *older;
	uint64_t seq;
	uint8_t *data; // CONTENT_PAGE bytes; NULL: zeros
};
struct content_page {
	uint64_t index;
	struct content_version *newest;
};
struct content_size {
	uint64_t seq;
	uint64_t size;
};
// Zeroed: empty, of size 0 since ever.
struct content {
	struct content_page *pages; // ascending
	size_t n_pages, cap_pages;
	struct content_size *sizes; // oldest first
	size_t n_sizes, cap_sizes;
};

void content_clear(struct content *c);
uint64_t content_size(const struct content *c);
// The current bytes; what lies beyond the size reads as zeros.
void content_read(const struct content *c, uint64_t off, size_t len, uint8_t *buf);
void content_write(struct content *c, uint64_t seq, uint64_t off, size_t len, const uint8_t *buf);
// Zeros in [off, off + len), without changing the size.
void content_zero(struct content *c, uint64_t seq, uint64_t off, uint64_t len);
void content_resize(struct content *c, uint64_t seq, uint64_t size);
// Everything current is durable: forgets the older versions.
void content_settle(struct content *c);
// True when a file that is durable as of operation `durable` may have this size after a crash.
int content_size_allowed(const struct content *c, uint64_t durable, uint64_t size);
// The same for a page: `len` bytes (up to CONTENT_PAGE) as read.
int content_page_allowed(const struct content *c, uint64_t durable, uint64_t index, size_t len,
			 const uint8_t *seen);
// What a page (CONTENT_PAGE bytes) or the size turned out to be after a crash: the only version
// from now on.
void content_adopt_page(struct content *c, uint64_t index, const uint8_t *data);
void content_adopt_size(struct content *c, uint64_t size);
// True when [off, off + len) reads as zeros now.
int content_is_zero(const struct content *c, uint64_t off, uint64_t len);
int content_has_page(const struct content *c, uint64_t index);
size_t content_pages(const struct content *c); // pages that stand in memory

#endif

// SPDX-License-Identifier: Apache-2.0
// Two kinds of mapping, both at a multiple of SPAN_BYTES, so that the mapping of any object is
// found by masking its address: an arena of runs, each run cut into objects of one size class, and
// a mapping of its own for a big object. An object's state is one bit in its run; free objects are
// always all zero bytes.
#include "crypto/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "crypto/secret_pages.h"

#if defined(__SANITIZE_ADDRESS__)
#define SECRET_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SECRET_ASAN 1
#endif
#endif
#ifdef SECRET_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif

#define SPAN_BYTES ((size_t)256 * 1024)
#define RUN_BYTES ((size_t)16 * 1024)
#define RUNS (SPAN_BYTES / RUN_BYTES)
#define HEADER_BYTES ((size_t)4096) // of an arena; run 0 is that much shorter
#define UNIT ((size_t)16)
#define WORDS (RUN_BYTES / UNIT / 64)
#define CLASSES 32u
#define SMALL_MAX ((size_t)8192)
#define NO_CLASS CLASSES
#define ALL_RUNS ((uint32_t)((1ull << RUNS) - 1))
// Empty arenas that are kept: hidden pages are slow to come by.
#define SPARE_MAX 16u

struct span {
	struct span *self; // catches pointers that are not ours
	size_t bytes;      // from the span's start; guard pages not counted
	size_t object;     // a big object's size; 0 in an arena
	enum secret_pages pages;
	LIST_ENTRY(span) link;
};

struct run {
	LIST_ENTRY(run)
	link;                // in heap.partial while it has a free object
	unsigned size_class; // NO_CLASS while the run belongs to no class
	unsigned count;      // used objects; a run with none goes back to its arena
	unsigned cap;
	unsigned hint; // no free object in any word below
	uint64_t used[WORDS];
};

struct arena {
	struct span span;
	LIST_ENTRY(arena) link; // in heap.roomy while it has a free run
	uint32_t free_runs;     // one bit each
	struct run runs[RUNS];
};
_Static_assert(sizeof(struct arena) <= HEADER_BYTES, "the header of an arena holds its runs");

static struct {
	pthread_mutex_t lock; // guards everything below and in the spans
	LIST_HEAD(span_list, span) spans;
	LIST_HEAD(arena_list, arena) roomy;
	LIST_HEAD(run_list, run) partial[CLASSES];
	unsigned spare; // arenas whose runs are all free
	bool unlocked;
	void (*on_unlocked)(void *arg); // NULL: nobody asked, or was told
	void *on_unlocked_arg;
	int fork_pipe[2]; // while a fork is under way; -1: none
} heap = {.lock = PTHREAD_MUTEX_INITIALIZER};

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void poison(const void *p, size_t n)
{
#ifdef SECRET_ASAN
	__asan_poison_memory_region(p, n);
#else
	(void)p, (void)n;
#endif
}

static void unpoison(const void *p, size_t n)
{
#ifdef SECRET_ASAN
	__asan_unpoison_memory_region(p, n);
#else
	(void)p, (void)n;
#endif
}

// The leak checker has to look for pointers in our mappings too.
static void leak_root(const void *p, size_t n, bool add)
{
#ifdef SECRET_ASAN
	if (add)
		__lsan_register_root_region(p, n);
	else
		__lsan_unregister_root_region(p, n);
#else
	(void)p, (void)n, (void)add;
#endif
}

// Size classes: 16, 32, 48, 64, then four to each doubling, up to SMALL_MAX.
static unsigned class_of(size_t n)
{
	if (n <= 64)
		return (unsigned)((n - 1) / UNIT);
	unsigned log = 63 - (unsigned)__builtin_clzl(n - 1);

	return 4 * (log - 6) + (unsigned)((n - 1) >> (log - 2));
}

static size_t class_bytes(unsigned size_class)
{
	if (size_class < 4)
		return UNIT * (size_class + 1);
	return (size_t)(5 + size_class % 4) << (3 + size_class / 4);
}

static struct span *span_of(const void *p)
{
	struct span *s = (struct span *)((uintptr_t)p & ~(uintptr_t)(SPAN_BYTES - 1));

	if (s->self != s)
		abort();
	return s;
}

static uint8_t *run_start(struct arena *a, const struct run *r)
{
	size_t i = (size_t)(r - a->runs);

	return (uint8_t *)a + (i == 0 ? HEADER_BYTES : i * RUN_BYTES);
}

static struct arena *arena_of_run(const struct run *r)
{
	return (struct arena *)span_of(r);
}

// Until the child has its own copies of hidden pages it shares them with the parent, whose heap
// therefore has to stand still: the parent waits until the child has closed its end of a pipe (or
// has died, or was never made).
static void fork_prepare(void)
{
	pthread_mutex_lock(&heap.lock);
	if (LIST_EMPTY(&heap.spans) || pipe2(heap.fork_pipe, O_CLOEXEC) != 0)
		heap.fork_pipe[0] = heap.fork_pipe[1] = -1;
}

static void fork_parent(void)
{
	char none;

	if (heap.fork_pipe[0] >= 0) {
		close(heap.fork_pipe[1]);
		while (read(heap.fork_pipe[0], &none, 1) < 0 && errno == EINTR) {
		}
		close(heap.fork_pipe[0]);
	}
	pthread_mutex_unlock(&heap.lock);
}

static void fork_child(void)
{
	struct span *s = NULL;

	LIST_FOREACH(s, &heap.spans, link)
	{
		enum secret_pages pages = s->pages;

		// Going on with pages that are somebody else's would damage both.
		if (secret_pages_child(s, s->bytes, &pages) != 0)
			_exit(127);
		s->pages = pages;
		if (pages == SECRET_PAGES_PLAIN)
			heap.unlocked = true;
	}
	if (heap.fork_pipe[0] >= 0) {
		close(heap.fork_pipe[0]);
		close(heap.fork_pipe[1]);
	}
	pthread_mutex_unlock(&heap.lock);
}

static void fork_setup(void)
{
	if (pthread_atfork(fork_prepare, fork_parent, fork_child) != 0)
		abort();
}

// With the lock.
static void note_unlocked(void)
{
	void (*fn)(void *arg) = heap.on_unlocked;

	heap.unlocked = true;
	heap.on_unlocked = NULL;
	if (fn)
		fn(heap.on_unlocked_arg);
}

// A zeroed span of `bytes` (a multiple of the page size) between two guard pages.
static struct span *span_map(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t total = bytes + SPAN_BYTES + 2 * page;

	pthread_once(&fork_once, fork_setup);
	uint8_t *raw =
		mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (raw == MAP_FAILED)
		return NULL;
	size_t skip = SPAN_BYTES - (((uintptr_t)raw + page) & (SPAN_BYTES - 1));
	uint8_t *start =
		raw + skip + page; // skip is a multiple of the page size, 1 page … SPAN_BYTES
	uint8_t *rest = start + bytes + page;

	munmap(raw, skip);
	if (rest < raw + total)
		munmap(rest, (size_t)(raw + total - rest));
	enum secret_pages pages;
	if (secret_pages_make(start, bytes, &pages) != 0) {
		munmap(start - page, bytes + 2 * page);
		return NULL;
	}
	struct span *s = (struct span *)(void *)start;

	s->self = s;
	s->bytes = bytes;
	s->pages = pages;
	if (pages == SECRET_PAGES_PLAIN)
		note_unlocked();
	LIST_INSERT_HEAD(&heap.spans, s, link);
	leak_root(s, bytes, true);
	return s;
}

static void span_unmap(struct span *s)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t bytes = s->bytes;

	LIST_REMOVE(s, link);
	leak_root(s, bytes, false);
	s->self = NULL;
	unpoison(s, bytes);
	munmap((uint8_t *)s - page, bytes + 2 * page);
}

static struct arena *arena_new(void)
{
	struct arena *a = (struct arena *)span_map(SPAN_BYTES);

	if (!a)
		return NULL;
	for (size_t i = 0; i < RUNS; i++)
		a->runs[i].size_class = NO_CLASS;
	a->free_runs = ALL_RUNS;
	heap.spare++;
	LIST_INSERT_HEAD(&heap.roomy, a, link);
	poison((uint8_t *)a + HEADER_BYTES, SPAN_BYTES - HEADER_BYTES);
	return a;
}

// A run of the class with all its objects free, in heap.partial.
static struct run *run_new(unsigned size_class)
{
	struct arena *a = LIST_FIRST(&heap.roomy);

	if (!a && !(a = arena_new()))
		return NULL;
	struct run *r = &a->runs[__builtin_ctz(a->free_runs)];

	if (a->free_runs == ALL_RUNS)
		heap.spare--;
	a->free_runs &= a->free_runs - 1;
	if (!a->free_runs)
		LIST_REMOVE(a, link);

	size_t room = r == a->runs ? RUN_BYTES - HEADER_BYTES : RUN_BYTES;

	r->size_class = size_class;
	r->cap = (unsigned)(room / class_bytes(size_class));
	r->count = 0;
	r->hint = 0;
	memset(r->used, 0, sizeof(r->used));
	LIST_INSERT_HEAD(&heap.partial[size_class], r, link);
	return r;
}

// Gives an empty run back to its arena, and an empty arena back to the kernel unless few are spare.
static void run_retire(struct arena *a, struct run *r)
{
	LIST_REMOVE(r, link);
	r->size_class = NO_CLASS;
	if (!a->free_runs)
		LIST_INSERT_HEAD(&heap.roomy, a, link);
	a->free_runs |= 1u << (r - a->runs);
	if (a->free_runs != ALL_RUNS)
		return;
	if (heap.spare < SPARE_MAX) {
		heap.spare++;
		return;
	}
	LIST_REMOVE(a, link);
	span_unmap(&a->span);
}

static void *small_alloc(size_t n)
{
	unsigned size_class = class_of(n);

	pthread_mutex_lock(&heap.lock);
	struct run *r = LIST_FIRST(&heap.partial[size_class]);

	if (!r)
		r = run_new(size_class);
	if (!r) {
		pthread_mutex_unlock(&heap.lock);
		return NULL;
	}
	// A run in the list has a free object, and the lowest is taken: no index reaches cap.
	while (r->used[r->hint] == ~0ull)
		r->hint++;
	unsigned bit = (unsigned)__builtin_ctzll(~r->used[r->hint]);
	unsigned index = r->hint * 64 + bit;

	r->used[r->hint] |= 1ull << bit;
	if (++r->count == r->cap)
		LIST_REMOVE(r, link);
	uint8_t *p = run_start(arena_of_run(r), r) + index * class_bytes(size_class);

	pthread_mutex_unlock(&heap.lock);
	unpoison(p, n);
	return p;
}

static void small_free(struct arena *a, uint8_t *p)
{
	struct run *r = &a->runs[(size_t)(p - (uint8_t *)a) / RUN_BYTES];

	if (r->size_class == NO_CLASS)
		abort();
	// The caller still owns the object, so its run keeps its class, and the wipe needs no lock.
	size_t bytes = class_bytes(r->size_class);
	size_t offset = (size_t)(p - run_start(a, r));
	unsigned index = (unsigned)(offset / bytes);
	uint64_t mask = 1ull << index % 64;

	if (offset % bytes != 0 || index >= r->cap)
		abort();
	unpoison(p, bytes);
	secret_wipe(p, bytes);
	poison(p, bytes);

	pthread_mutex_lock(&heap.lock);
	if (!(r->used[index / 64] & mask))
		abort(); // freed twice
	r->used[index / 64] &= ~mask;
	if (index / 64 < r->hint)
		r->hint = index / 64;
	if (r->count-- == r->cap)
		LIST_INSERT_HEAD(&heap.partial[r->size_class], r, link);
	if (r->count == 0)
		run_retire(a, r);
	pthread_mutex_unlock(&heap.lock);
}

// The object ends at the guard page (but for the rounding to UNIT), so that an overrun faults at
// once.
static void *big_alloc(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t object = (n + UNIT - 1) & ~(UNIT - 1);
	size_t bytes = (sizeof(struct span) + object + page - 1) & ~(page - 1);

	pthread_mutex_lock(&heap.lock);
	struct span *s = span_map(bytes);

	if (s)
		s->object = object;
	pthread_mutex_unlock(&heap.lock);
	return s ? (uint8_t *)s + bytes - object : NULL;
}

static void big_free(struct span *s, uint8_t *p)
{
	if (p != (uint8_t *)s + s->bytes - s->object)
		abort();
	secret_wipe(p, s->object);
	pthread_mutex_lock(&heap.lock);
	span_unmap(s);
	pthread_mutex_unlock(&heap.lock);
}

void *secret_alloc(size_t n)
{
	if (n > PTRDIFF_MAX / 2)
		return NULL;
	if (n == 0)
		n = 1;
	return n <= SMALL_MAX ? small_alloc(n) : big_alloc(n);
}

void secret_free(void *p)
{
	if (!p)
		return;
	struct span *s = span_of(p);

	if (s->object > 0)
		big_free(s, p);
	else
		small_free((struct arena *)s, p);
}

void secret_wipe(void *p, size_t n)
{
	if (n > 0)
		explicit_bzero(p, n);
}

int secret_equal(const void *a, const void *b, size_t n)
{
	return CRYPTO_memcmp(a, b, n) == 0;
}

int secret_unlocked(void)
{
	pthread_mutex_lock(&heap.lock);
	bool unlocked = heap.unlocked;

	pthread_mutex_unlock(&heap.lock);
	return unlocked;
}

void secret_on_unlocked(void (*fn)(void *arg), void *arg)
{
	pthread_mutex_lock(&heap.lock);
	heap.on_unlocked = fn;
	heap.on_unlocked_arg = arg;
	if (heap.unlocked)
		note_unlocked();
	pthread_mutex_unlock(&heap.lock);
}

static size_t whole_pages(size_t n)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (n + page - 1) & ~(page - 1);
}

void *secret_share(size_t n)
{
	void *p = secret_pages_share(whole_pages(n));

	return p == MAP_FAILED ? NULL : p;
}

void secret_unshare(void *p, size_t n)
{
	if (!p)
		return;
	secret_wipe(p, n);
	munmap(p, whole_pages(n));
}

int secret_hidden(void)
{
	struct span *s = NULL;
	bool any = false, all = true;

	pthread_mutex_lock(&heap.lock);
	LIST_FOREACH(s, &heap.spans, link)
	{
		any = true;
		all = all && s->pages == SECRET_PAGES_HIDDEN;
	}
	pthread_mutex_unlock(&heap.lock);
	return any && all;
}

void secret_wipe_all(void)
{
	struct span *s = NULL;

	LIST_FOREACH(s, &heap.spans, link)
	{
		unpoison(s, s->bytes);
		// The header of an arena holds no secret, and the list goes through it.
		size_t skip = s->object > 0 ? sizeof(struct span) : HEADER_BYTES;
		secret_wipe((uint8_t *)s + skip, s->bytes - skip);
	}
}

int secret_copy(struct secret *ret, const void *bytes, size_t len)
{
	uint8_t *copy = secret_alloc(len);

	if (!copy)
		return WERR_NOMEM;
	if (len > 0)
		memcpy(copy, bytes, len);
	ret->bytes = copy;
	ret->len = len;
	return 0;
}

void secret_clear(struct secret *s)
{
	secret_free(s->bytes);
	s->bytes = NULL;
	s->len = 0;
}

// Bytes that an object may be used for without moving it.
static size_t usable(const uint8_t *p)
{
	struct span *s = span_of(p);

	if (s->object > 0)
		return s->object;
	const struct arena *a = (const struct arena *)s;

	return class_bytes(a->runs[(size_t)(p - (const uint8_t *)a) / RUN_BYTES].size_class);
}

static void *openssl_malloc(size_t n, const char *file, int line)
{
	(void)file, (void)line;
	return n > 0 ? secret_alloc(n) : NULL;
}

static void openssl_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	secret_free(p);
}

static void *openssl_realloc(void *p, size_t n, const char *file, int line)
{
	if (!p)
		return openssl_malloc(n, file, line);
	if (n == 0) {
		secret_free(p);
		return NULL;
	}
	size_t old = usable(p);

	unpoison(p, old);
	if (n <= old && n > old / 2) {
		unsigned char *tail = (unsigned char *)p + n;

		poison(tail, old - n);
		return p;
	}
	void *moved = secret_alloc(n);

	if (!moved)
		return NULL;
	memcpy(moved, p, n < old ? n : old);
	secret_free(p);
	return moved;
}

static pthread_once_t openssl_once = PTHREAD_ONCE_INIT;
static int openssl_result;

static void openssl_setup(void)
{
	if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
		openssl_result = WERR_INTERNAL;
}

int secret_init(void)
{
	pthread_once(&openssl_once, openssl_setup);
	return openssl_result;
}

// SPDX-License-Identifier: Apache-2.0
#include "crypto/secret.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "unit_hex.h"
#include "unit_main.h"
#include "unit_maps.h"
#include "unit_process.h"

#define SPAN (256u * 1024)

static const size_t sizes[] = {1,    8,    15,    16,    17,     32,     33,   64,   65,
			       80,   81,   128,   129,   200,    256,    257,  512,  1000,
			       1024, 2047, 2048,  2049,  4095,   4096,   4097, 6000, 8191,
			       8192, 8193, 12288, 65536, 100001, 1 << 20};
#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

START_TEST(every_size)
{
	enum { COUNT = 40 };
	size_t n = sizes[_i];
	uint8_t *p[COUNT];

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < COUNT; i++) {
			p[i] = secret_alloc(n);
			ck_assert_ptr_nonnull(p[i]);
			ck_assert_uint_eq((uintptr_t)p[i] % 16, 0);
			ck_assert_msg(unit_all(p[i], n, 0), "not zeroed");
			memset(p[i], i + 1, n);
		}
		// Each still holds its own byte: no two overlap.
		for (int i = 0; i < COUNT; i++)
			ck_assert(unit_all(p[i], n, (uint8_t)(i + 1)));
		for (int i = 0; i < COUNT; i++)
			secret_free(p[(i * 7) % COUNT]);
	}
}
END_TEST

START_TEST(all_small_sizes)
{
	static uint8_t *p[8300];

	for (size_t n = 0; n < 8300; n++) {
		p[n] = secret_alloc(n);
		ck_assert_ptr_nonnull(p[n]);
		ck_assert(unit_all(p[n], n, 0));
		memset(p[n], (int)(n % 251) + 1, n);
	}
	for (size_t n = 0; n < 8300; n++) {
		ck_assert(unit_all(p[n], n, (uint8_t)(n % 251 + 1)));
		secret_free(p[n]);
	}
}
END_TEST

// Gaps are filled before anything grows.
START_TEST(gaps_are_filled)
{
	enum { COUNT = 4000 };
	static uint8_t *p[COUNT];

	for (int i = 0; i < COUNT; i++) {
		p[i] = secret_alloc(16);
		memset(p[i], i % 255 + 1, 16);
	}
	size_t before = unit_maps_secret_bytes();

	for (int round = 2; round < 12; round++) {
		for (int i = 0; i < COUNT; i += round)
			secret_free(p[i]);
		for (int i = 0; i < COUNT; i += round) {
			p[i] = secret_alloc(16);
			ck_assert(unit_all(p[i], 16, 0));
			memset(p[i], i % 255 + 1, 16);
		}
	}
	ck_assert_uint_eq(unit_maps_secret_bytes(), before);
	for (int i = 0; i < COUNT; i++) {
		ck_assert(unit_all(p[i], 16, (uint8_t)(i % 255 + 1)));
		secret_free(p[i]);
	}
}
END_TEST

START_TEST(no_memory)
{
	volatile size_t huge = SIZE_MAX;

	ck_assert_ptr_null(secret_alloc(huge));
	ck_assert_ptr_null(secret_alloc(huge - 4096));
	ck_assert_ptr_null(secret_alloc(huge / 4));
	secret_free(NULL);
}
END_TEST

static int little_address_space(void *arg)
{
	const struct rlimit limit = {1 << 28, 1 << 28};
	void *p;

	(void)arg;
	if (setrlimit(RLIMIT_AS, &limit) != 0)
		return 77;
	if (secret_alloc(1 << 29))
		return 1;
	unsigned n = 0;

	while ((p = secret_alloc(4096)) && n < 1000000)
		n++;
	// All of it was used, and the refusal was an orderly one.
	return n > 1000 && n < 1 << 16 ? 0 : 2;
}

START_TEST(address_space_runs_out)
{
	if (UNIT_SANITIZED) {
		puts("skipped: a sanitizer needs its address space");
		return;
	}
	ck_assert_exited(unit_child(little_address_space, NULL), 0);
}
END_TEST

// Two objects of one size, so that the mapping stays when one is freed.
START_TEST(wiped_when_freed)
{
	static const size_t small[] = {16, 48, 100, 640, 4096, 8192};
	uint8_t filled[8192], zeros[8192] = {0};

	memset(filled, 0xa5, sizeof(filled));
	for (size_t i = 0; i < sizeof(small) / sizeof(small[0]); i++) {
		size_t n = small[i];
		uint8_t *keeper = secret_alloc(n);
		uint8_t *p = secret_alloc(n);

		memset(p, 0xa5, n);
		ck_assert(unit_raw_equal(p, filled, 0, n));
		secret_free(p);
		ck_assert(unit_raw_equal(p, zeros, 0, n));
		secret_free(keeper);
	}
}
END_TEST

static const struct unit_map *map_of(const void *p, const struct unit_map *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((uintptr_t)p >= v[i].start && (uintptr_t)p < v[i].end)
			return &v[i];
	ck_abort_msg("no mapping of %p", p);
}

static struct unit_map maps[8192];

START_TEST(mappings_are_guarded)
{
	uint8_t *p = secret_alloc(sizes[_i]);
	size_t n = unit_maps(maps, 8192);
	const struct unit_map *m = map_of(p, maps, n);

	ck_assert(unit_map_secret(m));
	ck_assert_str_eq(m->perms, secret_hidden() ? "rw-s" : "rw-p");
	ck_assert_int_eq(m->dumped, 0);
	ck_assert(m > maps && m < maps + n - 1);
	ck_assert_str_eq(m[-1].perms, "---p");
	ck_assert_uint_eq(m[-1].end, m->start);
	ck_assert_str_eq(m[1].perms, "---p");
	ck_assert_uint_eq(m[1].start, m->end);
	// A sanitizer turns mlock into nothing.
	if (!UNIT_SANITIZED && !secret_unlocked())
		ck_assert_int_eq(m->locked, 1);
	secret_free(p);
}
END_TEST

struct touch {
	uintptr_t from; // a number: the compiler knows how large an object is
	long step;
	long steps;
};

__attribute__((no_sanitize("address"))) static int touch(void *arg)
{
	const struct touch *t = arg;
	uint8_t sum = 0;

	for (long i = 1; i <= t->steps; i++)
		sum |= *(const volatile uint8_t *)(t->from + (uintptr_t)(i * t->step));
	return sum == 0xff ? 1 : 0;
}

START_TEST(overruns_fault)
{
	// A small object: whatever runs on leaves the arena, and within its size, in either
	// direction.
	uint8_t *p = secret_alloc(64);
	struct touch up = {(uintptr_t)p, 4096, SPAN / 4096};
	struct touch down = {(uintptr_t)p, -4096, SPAN / 4096};

	ck_assert_signalled(unit_child(touch, &up), SIGSEGV);
	ck_assert_signalled(unit_child(touch, &down), SIGSEGV);
	secret_free(p);

	// A big one: the very next byte, when the size is a multiple of 16.
	for (size_t n = 8208; n < 200000; n = n * 2 + 16) {
		p = secret_alloc(n);
		struct touch inside = {(uintptr_t)p + n - 2, 1, 1};
		struct touch next = {(uintptr_t)p + n - 1, 1, 1};
		struct touch before = {(uintptr_t)p, -4096, 2};

		ck_assert_exited(unit_child(touch, &inside), 0);
		ck_assert_signalled(unit_child(touch, &next), SIGSEGV);
		ck_assert_signalled(unit_child(touch, &before), SIGSEGV);
		secret_free(p);
	}
}
END_TEST

static int free_it(void *p)
{
	secret_free(p);
	return 0;
}

static int free_twice(void *arg)
{
	(void)arg;
	uint8_t *keeper = secret_alloc(100);
	uint8_t *p = secret_alloc(100);

	secret_free(p);
	secret_free(p);
	return keeper ? 0 : 1;
}

START_TEST(wrong_frees_abort)
{
	uint8_t *small = secret_alloc(100);
	uint8_t *big = secret_alloc(100000);

	ck_assert_exited(unit_child(free_it, small), 0);
	ck_assert_exited(unit_child(free_it, big), 0);
	ck_assert_signalled(unit_child(free_it, small + 1), SIGABRT);
	ck_assert_signalled(unit_child(free_it, small + 16), SIGABRT);
	ck_assert_signalled(unit_child(free_it, big + 16), SIGABRT);
	ck_assert_signalled(unit_child(free_twice, NULL), SIGABRT);
	secret_free(small);
	secret_free(big);
}
END_TEST

// Memory that is not used any more goes back to the kernel: locked pages are scarce.
START_TEST(memory_is_given_back)
{
	enum { COUNT = 1500 };
	static void *p[COUNT];
	size_t before = unit_maps_secret_bytes();

	for (int i = 0; i < COUNT; i++)
		p[i] = secret_alloc(4096);
	ck_assert_uint_ge(unit_maps_secret_bytes(), COUNT * 4096ul);
	for (int i = 0; i < COUNT; i++)
		secret_free(p[i]);
	ck_assert_uint_le(unit_maps_secret_bytes(), before + 18ul * SPAN);
}
END_TEST

static int child_is_locked(void *p)
{
	size_t n = unit_maps(maps, 8192);

	return map_of(p, maps, n)->locked ? 0 : 1;
}

START_TEST(locked_in_a_child)
{
	if (UNIT_SANITIZED || secret_unlocked()) {
		puts("skipped: no memory is locked here");
		return;
	}
	uint8_t *small = secret_alloc(64);
	uint8_t *big = secret_alloc(20000);

	ck_assert_exited(unit_child(child_is_locked, small), 0);
	ck_assert_exited(unit_child(child_is_locked, big), 0);
	secret_free(small);
	secret_free(big);
}
END_TEST

static int change_it(void *p)
{
	uint8_t *other = secret_alloc(64);

	if (!unit_all(p, 64, 7))
		return 1;
	memset(p, 9, 64);
	secret_free(other);
	secret_free(p);
	return 0;
}

// Hidden pages are shared mappings: a fork has to part them.
START_TEST(child_has_its_own)
{
	uint8_t *small = secret_alloc(64);
	uint8_t *big = secret_alloc(20000);

	memset(small, 7, 64);
	memset(big, 7, 20000);
	ck_assert_exited(unit_child(change_it, small), 0);
	ck_assert_exited(unit_child(change_it, big), 0);
	ck_assert(unit_all(small, 64, 7));
	ck_assert(unit_all(big, 20000, 7));
	uint8_t *next = secret_alloc(64);
	ck_assert_ptr_ne(next, small);
	secret_free(next);
	secret_free(small);
	secret_free(big);
}
END_TEST

static int wipe_everything(void *p)
{
	uint8_t zeros[100] = {0};
	uint8_t *big = secret_alloc(50000);

	memset(big, 1, 50000);
	secret_wipe_all();
	return unit_raw_equal(p, zeros, 0, 100) && unit_raw_equal(big + 49900, zeros, 0, 100) ? 0
											      : 1;
}

START_TEST(all_is_wiped)
{
	uint8_t *p = secret_alloc(100);

	memset(p, 7, 100);
	ck_assert_exited(unit_child(wipe_everything, p), 0);
	ck_assert(unit_all(p, 100, 7));
	secret_free(p);
}
END_TEST

// Whether [p, p + n) of a process can be read by another one that may read all of it.
static int peek(pid_t pid, const void *p, void *buf, size_t n)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ssize_t got = pread(fd, buf, n, (off_t)(uintptr_t)p);
	close(fd);
	return got == (ssize_t)n;
}

START_TEST(hidden_from_others)
{
	static const char text[] = "nobody else reads this";
	static char plain[sizeof(text)];
	char found[sizeof(text)];
	int ends[2];

	uint8_t *p = secret_alloc(sizeof(text));
	if (!secret_hidden()) {
		puts("skip hidden_from_others # no memfd_secret here");
		return;
	}
	memcpy(p, text, sizeof(text));
	memcpy(plain, text, sizeof(text));
	ck_assert_int_eq(pipe(ends), 0);
	pid_t pid = fork();
	if (pid == 0) {
		char c = 0;

		close(ends[1]);
		(void)!read(ends[0], &c, 1);
		_exit(0);
	}
	close(ends[0]);
	ck_assert_int_eq(peek(pid, plain, found, sizeof(found)), 1);
	ck_assert_str_eq(found, text);
	ck_assert_int_eq(peek(pid, p, found, sizeof(found)), 0);
	close(ends[1]);
	waitpid(pid, NULL, 0);
	secret_free(p);
}
END_TEST

static void count_news(void *arg)
{
	int *told = arg;

	*told += 1;
}

static int without_locks(void *arg)
{
	const struct rlimit none = {0, 0};

	(void)arg;
	if (secret_unlocked())
		return 77;
	// Root may lock whatever the limit says.
	if (setrlimit(RLIMIT_MEMLOCK, &none) != 0 || (getuid() == 0 && setresuid(1, 1, 1) != 0))
		return 77;
	uint8_t *p = secret_alloc(1 << 20);

	if (!p || !secret_unlocked())
		return 1;
	int told = 0;
	secret_on_unlocked(count_news, &told);
	secret_free(secret_alloc(1 << 20));
	if (told != 1)
		return 3;
	memset(p, 1, 1 << 20);
	secret_free(p);
	// Said for good: what was once unlocked may be on a swap disk.
	return secret_unlocked() ? 0 : 2;
}

START_TEST(no_lock_is_no_failure)
{
	if (UNIT_SANITIZED) {
		puts("skipped: a sanitizer turns mlock into nothing");
		return;
	}
	int status = unit_child(without_locks, NULL);

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		puts("skipped: the limit was too small from the start");
	else
		ck_assert_exited(status, 0);
}
END_TEST

START_TEST(wipe_and_equal)
{
	uint8_t a[40], b[40];

	memset(a, 7, sizeof(a));
	memset(b, 7, sizeof(b));
	ck_assert_int_eq(secret_equal(a, b, sizeof(a)), 1);
	for (size_t i = 0; i < sizeof(a) * 8; i++) {
		b[i / 8] ^= (uint8_t)(1u << i % 8);
		ck_assert_int_eq(secret_equal(a, b, sizeof(a)), 0);
		ck_assert_int_eq(secret_equal(a, b, i / 8), 1);
		b[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	secret_wipe(a + 4, 32);
	ck_assert(unit_all(a, 4, 7));
	ck_assert(unit_all(a + 4, 32, 0));
	ck_assert(unit_all(a + 36, 4, 7));
	secret_wipe(NULL, 0);
}
END_TEST

START_TEST(copies)
{
	static const char text[] = "correct horse\0battery";
	SECRET_STRUCT_AUTO struct secret s = {0};
	struct secret empty;

	ck_assert_int_eq(secret_copy(&s, text, sizeof(text)), 0);
	ck_assert_uint_eq(s.len, sizeof(text));
	ck_assert_mem_eq(s.bytes, text, sizeof(text));
	size_t n = unit_maps(maps, 8192);

	ck_assert(unit_map_secret(map_of(s.bytes, maps, n)));
	ck_assert_int_eq(secret_copy(&empty, NULL, 0), 0);
	ck_assert_ptr_nonnull(empty.bytes);
	ck_assert_uint_eq(empty.len, 0);
	secret_clear(&empty);
	ck_assert_ptr_null(empty.bytes);
	secret_clear(&empty);
}
END_TEST

START_TEST(openssl_lives_here)
{
	ck_assert_int_eq(secret_init(), 0);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t n = unit_maps(maps, 8192);

	ck_assert_ptr_nonnull(ctx);
	ck_assert(unit_map_secret(map_of(ctx, maps, n)));
	EVP_MD_CTX_free(ctx);
	ck_assert_ptr_null(OPENSSL_malloc(0));
}
END_TEST

START_TEST(openssl_realloc)
{
	static const size_t steps[] = {10,    16,   17,   40,    100,  97,   5,
				       300,   5000, 8192, 8193,  9000, 9001, 70000,
				       69999, 8000, 8001, 60000, 20,   1};
	uint8_t *p = OPENSSL_realloc(NULL, 3);
	size_t old = 3;

	memset(p, 0x5a, old);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		size_t n = steps[i];

		p = OPENSSL_realloc(p, n);
		ck_assert_ptr_nonnull(p);
		ck_assert_msg(unit_all(p, n < old ? n : old, 0x5a), "lost at step %zu", i);
		memset(p, 0x5a, n);
		old = n;
	}
	ck_assert_ptr_null(OPENSSL_realloc(p, 0));
}
END_TEST

START_TEST(openssl_realloc_wipes)
{
	uint8_t zeros[100] = {0};
	uint8_t *keeper = OPENSSL_malloc(100);
	uint8_t *p = OPENSSL_malloc(100);
	uint8_t *old = p;

	memset(p, 0x5a, 100);
	p = OPENSSL_realloc(p, 1000);
	ck_assert_ptr_ne(p, old);
	ck_assert(unit_raw_equal(old, zeros, 0, 100));
	// A failed one leaves the object as it was.
	ck_assert_ptr_null(OPENSSL_realloc(p, SIZE_MAX / 2));
	ck_assert(unit_all(p, 100, 0x5a));
	OPENSSL_free(p);
	OPENSSL_free(keeper);
}
END_TEST

#define LATE "--openssl-first"

static int run_late(void *arg)
{
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	(void)arg;
	if (n <= 0)
		return 77;
	path[n] = 0;
	execl(path, "test_secret", LATE, (char *)NULL);
	return 77;
}

START_TEST(openssl_came_first)
{
	ck_assert_exited(unit_child(run_late, NULL), 42);
}
END_TEST

struct pool {
	pthread_mutex_t lock;
	struct {
		uint8_t *p;
		size_t n;
		uint8_t value;
	} slots[64];
	bool broken;
};

struct worker {
	pthread_t thread;
	struct pool *pool;
	uint32_t seed;
};

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 8;
}

// Whether objects that come and go at once are this thread's alone.
static bool come_and_go(uint8_t value)
{
	uint8_t *p[8];
	bool good = true;

	for (size_t i = 0; i < 8; i++) {
		p[i] = secret_alloc(48);
		if (p[i])
			memset(p[i], value, 48);
	}
	for (size_t i = 0; i < 8; i++) {
		good = good && p[i] && unit_all(p[i], 48, value);
		secret_free(p[i]);
	}
	return good;
}

// Swaps an object of its own with whatever lies in a slot, so that most are freed by another
// thread.
static void *work(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < 6000; i++) {
		uint32_t r = next_random(&w->seed);
		size_t n = r % 50 == 0 ? 8193 + r % 20000 : 1 + r % 700;
		uint8_t value = (uint8_t)(r >> 3 | 1);
		uint8_t *p = secret_alloc(n);
		bool good = p && unit_all(p, n, 0) && come_and_go(value);

		if (p)
			memset(p, value, n);
		unsigned at = next_random(&w->seed) % 64;

		pthread_mutex_lock(&w->pool->lock);
		uint8_t *other = w->pool->slots[at].p;
		size_t other_n = w->pool->slots[at].n;
		uint8_t other_value = w->pool->slots[at].value;

		w->pool->slots[at].p = p;
		w->pool->slots[at].n = n;
		w->pool->slots[at].value = value;
		pthread_mutex_unlock(&w->pool->lock);
		good = good && (!other || unit_all(other, other_n, other_value));
		secret_free(other);
		if (!good) {
			pthread_mutex_lock(&w->pool->lock);
			w->pool->broken = true;
			pthread_mutex_unlock(&w->pool->lock);
		}
	}
	return NULL;
}

START_TEST(threads)
{
	static struct pool pool = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct worker workers[4];

	for (unsigned i = 0; i < 4; i++) {
		workers[i].pool = &pool;
		workers[i].seed = i * 77 + 5;
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_join(workers[i].thread, NULL), 0);
	ck_assert(!pool.broken);
	for (unsigned i = 0; i < 64; i++)
		secret_free(pool.slots[i].p);
}
END_TEST

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], LATE) == 0) {
		void *first = OPENSSL_malloc(1);
		int code = secret_init() == WERR_INTERNAL && secret_init() == WERR_INTERNAL;

		OPENSSL_free(first);
		return code ? 42 : 1;
	}
	if (secret_init() != 0)
		return EXIT_FAILURE;

	Suite *suite = suite_create("secret");
	TCase *tc = tcase_create("secret");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, every_size, 0, (int)SIZES);
	tcase_add_test(tc, all_small_sizes);
	tcase_add_test(tc, gaps_are_filled);
	tcase_add_test(tc, no_memory);
	tcase_add_test(tc, address_space_runs_out);
	tcase_add_test(tc, wiped_when_freed);
	tcase_add_loop_test(tc, mappings_are_guarded, 0, (int)SIZES);
	tcase_add_test(tc, overruns_fault);
	tcase_add_test(tc, wrong_frees_abort);
	tcase_add_test(tc, memory_is_given_back);
	tcase_add_test(tc, locked_in_a_child);
	tcase_add_test(tc, child_has_its_own);
	tcase_add_test(tc, all_is_wiped);
	tcase_add_test(tc, hidden_from_others);
	tcase_add_test(tc, no_lock_is_no_failure);
	tcase_add_test(tc, wipe_and_equal);
	tcase_add_test(tc, copies);
	tcase_add_test(tc, openssl_lives_here);
	tcase_add_test(tc, openssl_realloc);
	tcase_add_test(tc, openssl_realloc_wipes);
	tcase_add_test(tc, openssl_came_first);
	tcase_add_test(tc, threads);
	suite_add_tcase(suite, tc);
	return unit_main(suite);
}

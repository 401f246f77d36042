// SPDX-License-Identifier: Apache-2.0
// Secret memory: guarded by inaccessible pages; hidden from every other process, root's included,
// where the kernel has memfd_secret(2), else locked; left out of core dumps; wiped when freed.
// OpenSSL's allocator is routed to it. A forked child has a copy of its own.
// No system call that pins pages (O_DIRECT, /dev/fuse, splice) may be given hidden memory: EFAULT.
// Thread-safe. Small objects share locked arenas; each arena stands between guard pages.
#ifndef WARDFS_CRYPTO_SECRET_H
#define WARDFS_CRYPTO_SECRET_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

// Routes OpenSSL's allocator here (CRYPTO_set_mem_functions: must come before OpenSSL allocates
// anything). Call once, first thing in main(); later calls do nothing. Returns 0, or WERR_INTERNAL
// when OpenSSL had already allocated.
int secret_init(void) WARN_UNUSED;

// Zeroed secret memory of n bytes (n > 0), 16-byte aligned; NULL when out of memory.
void *secret_alloc(size_t n) __attribute__((malloc, alloc_size(1)));

// Wipes and frees; NULL is fine.
void secret_free(void *p);

// Wipes n bytes; never optimised away.
void secret_wipe(void *p, size_t n);

// 1 if equal, 0 if not, in time that depends on n only.
int secret_equal(const void *a, const void *b, size_t n) WARN_UNUSED;

// Whether any arena could not be locked (RLIMIT_MEMLOCK too small): said once by the programs.
int secret_unlocked(void);

// Zeroed memory of n bytes that a forked child shares with this process, hidden where possible: to
// hand a secret from one to the other. NULL when out of memory. Wiped and unmapped by
// secret_unshare with the same n; a child's own mapping ends with it.
void *secret_share(size_t n);
void secret_unshare(void *p, size_t n);

// Calls fn once, when memory cannot be locked for the first time (at once if that has happened).
// Any thread, the heap's lock held: fn must not allocate, and only pass the news on.
void secret_on_unlocked(void (*fn)(void *arg), void *arg);

// Whether all of it is hidden memory (memfd_secret) now; 0 while there is none.
int secret_hidden(void);

// Wipes all secret memory at once, whoever still holds it. Takes no lock: only when no other thread
// of the process runs any more, and nothing of it is used afterwards.
void secret_wipe_all(void);

// Scope-bound: `SECRET_AUTO uint8_t *key = secret_alloc(32);`
static inline void secret_cleanup_(void *pp)
{
	secret_free(*(void **)pp);
}
#define SECRET_AUTO __attribute__((cleanup(secret_cleanup_)))

// A byte string that owns its wipe: a passphrase, a key. `bytes` is secret memory or NULL.
struct secret {
	uint8_t *bytes;
	size_t len;
};
// A copy of len bytes (len may be 0: bytes is then still non-NULL). WERR_NOMEM.
int secret_copy(struct secret *ret, const void *bytes, size_t len) WARN_UNUSED;
// Wipes, frees and empties.
void secret_clear(struct secret *s);
#define SECRET_STRUCT_AUTO __attribute__((cleanup(secret_clear)))

#endif

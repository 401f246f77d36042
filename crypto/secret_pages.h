// SPDX-License-Identifier: Apache-2.0
// Private to secret*.c: the pages below the secret heap. Best first: memfd_secret(2), whose pages
// the kernel takes out of its own address space (neither ptrace nor /proc/PID/mem shows them, not
// even to root; never swapped, never dumped, not saved by hibernation), else locked, else plain
// ones; always left out of core dumps.
#ifndef WARDFS_CRYPTO_SECRET_PAGES_H
#define WARDFS_CRYPTO_SECRET_PAGES_H

#include <stddef.h>

#include "crypto/werr.h"

enum secret_pages {
	SECRET_PAGES_PLAIN,
	SECRET_PAGES_LOCKED,
	SECRET_PAGES_HIDDEN,
};

// Turns the reservation [at, at + bytes), whole pages, into zeroed memory. WERR_NOMEM: it is what
// it was.
int secret_pages_make(void *at, size_t bytes, enum secret_pages *ret) WARN_UNUSED;

// bytes of zeroed memory, whole pages, hidden or locked, that children share; MAP_FAILED.
void *secret_pages_share(size_t bytes);

// In the child after a fork: hidden pages are shared with the parent until this has given the child
// a copy of its own; locks are not inherited. *kind is brought up to date. WERR_NOMEM: the pages
// are still the parent's.
int secret_pages_child(void *at, size_t bytes, enum secret_pages *kind) WARN_UNUSED;

#endif

// SPDX-License-Identifier: Apache-2.0
#include "crypto/secret_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// Whether this kernel has it: off by the boot parameter secretmem.enable=0 (the default before
// Linux 6.5) it answers ENOSYS, and then it always will.
static atomic_bool absent;

// A mapping of hidden pages, at a place or anywhere; MAP_FAILED where there are none to be had.
static void *hidden_map(void *at, size_t bytes)
{
#ifdef SYS_memfd_secret
	if (atomic_load_explicit(&absent, memory_order_relaxed))
		return MAP_FAILED;
	int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);
	if (fd < 0) {
		if (errno == ENOSYS || errno == EPERM)
			atomic_store(&absent, true);
		return MAP_FAILED;
	}
	void *p = MAP_FAILED;
	// Beyond RLIMIT_MEMLOCK the mapping is refused.
	if (ftruncate(fd, (off_t)bytes) == 0)
		p = mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED : 0), fd,
			 0);
	close(fd);
	return p;
#else
	(void)at, (void)bytes, (void)absent;
	return MAP_FAILED;
#endif
}

static int plain_map(void *at, size_t bytes)
{
	if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0) == MAP_FAILED)
		return WERR_NOMEM;
	return madvise(at, bytes, MADV_DONTDUMP) == 0 ? 0 : WERR_NOMEM;
}

static enum secret_pages lock(void *at, size_t bytes)
{
	return mlock(at, bytes) == 0 ? SECRET_PAGES_LOCKED : SECRET_PAGES_PLAIN;
}

int secret_pages_make(void *at, size_t bytes, enum secret_pages *ret)
{
	if (hidden_map(at, bytes) != MAP_FAILED) {
		*ret = SECRET_PAGES_HIDDEN;
		return 0;
	}
	int err = plain_map(at, bytes);
	if (!err)
		*ret = lock(at, bytes);
	return err;
}

void *secret_pages_share(size_t bytes)
{
	void *p = hidden_map(NULL, bytes);

	if (p != MAP_FAILED)
		return p;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p != MAP_FAILED) {
		(void)madvise(p, bytes, MADV_DONTDUMP);
		(void)lock(p, bytes);
	}
	return p;
}

// Not memcpy: a sanitizer would look at every byte, and free objects are poisoned.
__attribute__((no_sanitize("address"))) static void
copy_pages(volatile uint64_t *to, const volatile uint64_t *from, size_t bytes)
{
	for (size_t i = 0; i < bytes / sizeof(*to); i++)
		to[i] = from[i];
}

int secret_pages_child(void *at, size_t bytes, enum secret_pages *kind)
{
	if (*kind != SECRET_PAGES_HIDDEN) {
		if (*kind == SECRET_PAGES_LOCKED)
			*kind = lock(at, bytes);
		return 0;
	}
	void *copy = hidden_map(NULL, bytes);
	bool hidden = copy != MAP_FAILED;
	if (!hidden)
		copy = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			    0);
	if (copy == MAP_FAILED)
		return WERR_NOMEM;
	copy_pages(copy, at, bytes);
	if (mremap(copy, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, at) != at) {
		explicit_bzero(copy, bytes);
		munmap(copy, bytes);
		return WERR_NOMEM;
	}
	if (!hidden) {
		*kind = lock(at, bytes);
		return madvise(at, bytes, MADV_DONTDUMP) == 0 ? 0 : WERR_NOMEM;
	}
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
#include "fusefs/host.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int host_pread(struct host_file *f, void *buf, size_t len, uint64_t off, size_t *ret_got)
{
	const struct iovec iov = {.iov_base = buf, .iov_len = len};

	return f->host->ops->preadv(f, &iov, 1, off, ret_got);
}

int host_pwrite(struct host_file *f, const void *buf, size_t len, uint64_t off)
{
	const struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};

	return f->host->ops->pwritev(f, &iov, 1, off);
}

// Writes and flushes a new file; what is there under the name is a leftover of a run that was cut.
static int write_new(struct host *h, const char *name, const void *buf, size_t len)
{
	struct host_file *f = NULL;
	int rc = h->ops->unlink_top(h, name);

	if (rc && rc != WERR_NOTFOUND)
		return rc;
	rc = h->ops->open_top(h, name, HOST_RDWR | HOST_CREATE | HOST_EXCL, &f);
	if (rc)
		return rc;
	rc = host_pwrite(f, buf, len, 0);
	if (!rc)
		rc = h->ops->datasync(f);
	h->ops->file_close(f);
	return rc;
}

int host_replace_top(struct host *h, const char *name, const void *buf, size_t len)
{
	char temporary[NAME_MAX + 1];
	int n = snprintf(temporary, sizeof(temporary), "%s.new", name);

	if (n < 0 || (size_t)n >= sizeof(temporary))
		return WERR_NAMETOOLONG;
	int rc = write_new(h, temporary, buf, len);
	if (!rc)
		rc = h->ops->rename_top(h, temporary, name);
	if (rc) {
		// The old file stands untouched. Should the removal fail too, the next replacement
		// removes it.
		int ignored = h->ops->unlink_top(h, temporary);
		(void)ignored;
		return rc;
	}
	return h->ops->sync_top(h);
}

// Not zeros, which a host may keep as a hole beside the old blocks.
static void overwrite(struct host_file *f, size_t max)
{
	uint64_t size = 0;
	int rc = f->host->ops->file_size(f, &size);
	const size_t len = size < max ? (size_t)size : max;
	uint8_t *fill = len ? malloc(len) : NULL;

	if (!rc && fill) {
		memset(fill, 0xff, len);
		if (!host_pwrite(f, fill, len, 0))
			(void)!f->host->ops->datasync(f);
	}
	free(fill);
}

static void overwrite_leftover(struct host *h, const char *name, size_t max)
{
	char temporary[NAME_MAX + 1];
	struct host_file *f = NULL;
	int n = snprintf(temporary, sizeof(temporary), "%s.new", name);

	if (n < 0 || (size_t)n >= sizeof(temporary) ||
	    h->ops->open_top(h, temporary, HOST_RDWR, &f))
		return;
	overwrite(f, max);
	h->ops->file_close(f);
}

int host_renew_top(struct host *h, const char *name, const void *buf, size_t len)
{
	struct host_file *old = NULL;
	// Nothing there, or nothing that could be overwritten: then it is replaced only.
	int absent = h->ops->open_top(h, name, HOST_RDWR, &old);

	overwrite_leftover(h, name, len);
	int rc = host_replace_top(h, name, buf, len);
	if (absent)
		return rc;
	// As long as the new name is not durable the old file may be what a crash brings back.
	if (!rc)
		overwrite(old, len);
	h->ops->file_close(old);
	return rc;
}

int host_read_top(struct host *h, const char *name, size_t max, uint8_t **ret_buf, size_t *ret_len)
{
	struct host_file *f = NULL;
	uint8_t *buf = NULL;
	uint64_t size = 0;
	size_t got = 0;
	int rc = h->ops->open_top(h, name, HOST_RDONLY, &f);

	if (rc)
		return rc;
	rc = h->ops->file_size(f, &size);
	if (!rc && size > max)
		rc = WERR_LIMIT;
	if (!rc) {
		buf = malloc(size ? (size_t)size : 1);
		rc = buf ? host_pread(f, buf, (size_t)size, 0, &got) : WERR_NOMEM;
	}
	h->ops->file_close(f);
	if (rc) {
		free(buf);
		return rc;
	}
	*ret_buf = buf;
	*ret_len = got;
	return 0;
}

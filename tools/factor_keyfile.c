// SPDX-License-Identifier: Apache-2.0
// A key file: any file, or some bytes of one. Read once, bounded, never waited for.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/sha256.h"
#include "tools/factors.h"
#include "tools/report.h"

#define CHUNK_BYTES 4096u

static int is_given(const struct secrets_source *source)
{
	return source->keyfile != NULL;
}

static int is_new(const struct secrets_new *fresh)
{
	return fresh->keyfile != NULL;
}

// Opens a plain file or a disk; a pipe would be read differently each time, and could keep us
// waiting.
static int open_file(const char *path, int *ret, int *ret_is_open_to_others)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return werr_from_errno(errno);
	if (fstat(fd, &st)) {
		int err = werr_from_errno(errno);
		close(fd);
		return err;
	}
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
		close(fd);
		return S_ISDIR(st.st_mode) ? WERR_ISDIR : WERR_INVALID;
	}
	*ret = fd;
	*ret_is_open_to_others = S_ISREG(st.st_mode) && (st.st_mode & 044);
	return 0;
}

// Hashes the bytes that count. WERR_NODATA: the file ends before them. WERR_LIMIT: it goes on for
// more than is read. WERR_RANGE: fewer than `least`.
static int hash_range(int fd, const struct factor_keyfile *range, uint64_t least,
		      struct sha256 *hash)
{
	SECRET_AUTO uint8_t *chunk = secret_alloc(CHUNK_BYTES);
	const uint64_t most = range->length ? range->length : FACTOR_KEYFILE_MAX + 1ull;
	uint64_t done = 0;

	if (!chunk)
		return WERR_NOMEM;
	while (done < most) {
		const size_t want = most - done < CHUNK_BYTES ? (size_t)(most - done) : CHUNK_BYTES;
		ssize_t n = pread(fd, chunk, want, (off_t)(range->offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return werr_from_errno(errno);
		if (n == 0)
			break;
		int err = sha256_update(hash, chunk, (size_t)n);
		if (err)
			return err;
		done += (uint64_t)n;
	}
	if (done > FACTOR_KEYFILE_MAX)
		return WERR_LIMIT;
	if (done == 0 || (range->length && done < range->length))
		return WERR_NODATA;
	return done < least ? WERR_RANGE : 0;
}

static int hash_file(const char *path, const struct factor_keyfile *range, uint64_t least,
		     uint8_t out[static SHA256_BYTES], int *ret_is_open_to_others)
{
	struct sha256 *hash = sha256_new();
	int fd = -1;

	if (!hash)
		return WERR_NOMEM;
	int err = open_file(path, &fd, ret_is_open_to_others);
	if (!err)
		err = hash_range(fd, range, least, hash);
	if (!err)
		err = sha256_final(hash, out);
	if (fd >= 0)
		close(fd);
	sha256_free(hash);
	return err;
}

static int explain(int err, const char *path, const struct factor_keyfile *range,
		   char why[static FACTORS_WHY_BYTES])
{
	switch (err) {
	case WERR_INVALID:
		return factors_why(why, WERR_USAGE,
				   "key file %s: neither a plain file nor a disk; name one", path);
	case WERR_NODATA:
		return factors_why(why, WERR_NODATA,
				   "key file %s: has no %s at offset %llu; check the file", path,
				   range->length ? "so many bytes" : "bytes",
				   (unsigned long long)range->offset);
	case WERR_LIMIT:
		return factors_why(why, err, "key file %s: longer than %u MiB; use a part of it",
				   path, FACTOR_KEYFILE_MAX >> 20);
	case WERR_RANGE:
		return factors_why(why, WERR_LIMIT,
				   "key file %s: too short to be no guess; a key needs %d bytes, "
				   "random ones",
				   path, FACTOR_KEYFILE_MIN);
	default:
		return factors_why(why, err, "key file %s: %s; check the path", path,
				   werr_text(err));
	}
}

// Nobody vouches for the slot's parameters yet. Were they believed, whoever writes the header could
// choose bytes of the file that he knows or can guess, such as the first one, and have the key file
// open a vault of his own: so they must be what the user says.
static int compare_range(const struct secrets_source *source, const struct factors_slot *slot,
			 const struct factor_keyfile *range, char why[static FACTORS_WHY_BYTES])
{
	char size[64] = "";

	if (range->offset == source->keyfile_offset && range->length == source->keyfile_length)
		return 0;
	if (range->length)
		snprintf(size, sizeof(size), " --keyfile-size %llu",
			 (unsigned long long)range->length);
	factors_why(why, WERR_SECRET,
		    "keyslot %u uses another part of its key file; if you made it so, say "
		    "--keyfile-offset %llu%s",
		    slot->index, (unsigned long long)range->offset, size);
	report_hint(why);
	return WERR_SECRET;
}

static int get(const struct secrets_source *source, const struct factors_slot *slot,
	       struct secret *ret, char why[static FACTORS_WHY_BYTES])
{
	uint8_t key[SHA256_BYTES];
	struct factor_keyfile range;
	int others;

	if (!source->keyfile)
		return factors_why(why, WERR_USAGE,
				   "keyslot %u needs its key file; name it with --keyfile",
				   slot->index);
	int err = factor_keyfile_decode(slot->params, slot->params_len, &range);
	if (err)
		return err;
	err = compare_range(source, slot, &range, why);
	if (err)
		return err;
	err = hash_file(source->keyfile, &range, 1, key, &others);
	if (err)
		return explain(err, source->keyfile, &range, why);
	err = secret_copy(ret, key, sizeof(key));
	secret_wipe(key, sizeof(key));
	return err;
}

static int make(const struct secrets_new *fresh, struct wcursor *params, struct secret *ret)
{
	const struct factor_keyfile range = {.offset = fresh->keyfile_offset,
					     .length = fresh->keyfile_length};
	uint8_t encoded[FACTOR_KEYFILE_PARAMS];
	uint8_t key[SHA256_BYTES];
	char why[FACTORS_WHY_BYTES];
	int others = 0;

	int err = hash_file(fresh->keyfile, &range, FACTOR_KEYFILE_MIN, key, &others);
	if (err)
		return report_fail(explain(err, fresh->keyfile, &range, why), NULL, "%s", why);
	if (others)
		report_warn(fresh->keyfile, "other users can read this key file; use 'chmod 600'");
	factor_keyfile_encode(&range, encoded);
	factor_params_put(params, FACTOR_KEYFILE, encoded, sizeof(encoded));
	err = secret_copy(ret, key, sizeof(key));
	secret_wipe(key, sizeof(key));
	return err ? report_fail(err, NULL, "%s", werr_text(err)) : 0;
}

const struct factors_part factors_keyfile = {
	.factor = FACTOR_KEYFILE,
	.is_per_slot = 1,
	.is_given = is_given,
	.is_new = is_new,
	.get = get,
	.make = make,
};

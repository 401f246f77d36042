// SPDX-License-Identifier: Apache-2.0
#include "crypto/werr.h"

#include <errno.h>
#include <stddef.h>

struct row {
	const char *text;
	int err;
	enum werr_exit status;
};

// Indexed by the negated code.
static const struct row rows[] = {
	[0] = {"success", 0, EXIT_WARD_OK},
	[-WERR_SECRET] = {"wrong passphrase or key", EKEYREJECTED, EXIT_WARD_SECRET},
	[-WERR_AUTH] = {"authentication failed: the data was changed or is not of this vault", EIO,
			EXIT_WARD_TAMPERED},
	[-WERR_UNSUPPORTED] = {"made by a newer or different version of wardfs", EPROTONOSUPPORT,
			       EXIT_WARD_UNSUPPORTED},
	[-WERR_TRUNCATED] = {"data is shorter than its format says", EIO, EXIT_WARD_DAMAGED},
	[-WERR_MALFORMED] = {"data is not in its canonical form", EIO, EXIT_WARD_DAMAGED},
	[-WERR_LIMIT] = {"a number is out of its bounds", EOVERFLOW, EXIT_WARD_LIMIT},
	[-WERR_NOTFOUND] = {"not found", ENOENT, EXIT_WARD_NOTFOUND},
	[-WERR_EXISTS] = {"already exists", EEXIST, EXIT_WARD_EXISTS},
	[-WERR_BUSY] = {"in use", EBUSY, EXIT_WARD_BUSY},
	[-WERR_LOCKED] = {"the vault is locked", ENOKEY, EXIT_WARD_LOCKED},
	[-WERR_PERM] = {"permission denied", EACCES, EXIT_WARD_PERM},
	[-WERR_NOSPACE] = {"no space left", ENOSPC, EXIT_WARD_NOSPACE},
	[-WERR_IO] = {"input/output error", EIO, EXIT_WARD_IO},
	[-WERR_NOMEM] = {"out of memory", ENOMEM, EXIT_WARD_NOMEM},
	[-WERR_INTERNAL] = {"internal error", EIO, EXIT_WARD_INTERNAL},
	[-WERR_USAGE] = {"wrong usage", EINVAL, EXIT_WARD_USAGE},
	[-WERR_NOTVAULT] = {"not a wardfs vault", EINVAL, EXIT_WARD_NOTVAULT},
	[-WERR_DAMAGED] = {"something that the vault needs is missing or unreadable", EIO,
			   EXIT_WARD_DAMAGED},
	[-WERR_ROLLBACK] = {"authentic, but older than what refers to it", EIO, EXIT_WARD_TAMPERED},
	[-WERR_READONLY] = {"read-only", EROFS, EXIT_WARD_READONLY},
	[-WERR_QUOTA] = {"quota exceeded", EDQUOT, EXIT_WARD_NOSPACE},
	[-WERR_NOTDIR] = {"not a directory", ENOTDIR, EXIT_WARD_USAGE},
	[-WERR_ISDIR] = {"is a directory", EISDIR, EXIT_WARD_USAGE},
	[-WERR_NOTEMPTY] = {"directory is not empty", ENOTEMPTY, EXIT_WARD_EXISTS},
	[-WERR_NAMETOOLONG] = {"name is too long", ENAMETOOLONG, EXIT_WARD_USAGE},
	[-WERR_INVALID] = {"invalid argument", EINVAL, EXIT_WARD_USAGE},
	[-WERR_MLINK] = {"too many links", EMLINK, EXIT_WARD_LIMIT},
	[-WERR_FBIG] = {"file is too large", EFBIG, EXIT_WARD_LIMIT},
	[-WERR_NODATA] = {"no such extended attribute", ENODATA, EXIT_WARD_NOTFOUND},
	[-WERR_RANGE] = {"buffer is too small", ERANGE, EXIT_WARD_LIMIT},
	[-WERR_NXIO] = {"no data or hole beyond this offset", ENXIO, EXIT_WARD_NOTFOUND},
	[-WERR_KDFMEM] = {"too little memory to derive the key of this keyslot", ENOMEM,
			  EXIT_WARD_NOMEM},
	[-WERR_MFILE] = {"too many open files", EMFILE, EXIT_WARD_LIMIT},
	[-WERR_STALE] = {"the file is gone", ESTALE, EXIT_WARD_NOTFOUND},
	[-WERR_NOTSUP] = {"operation not supported", EOPNOTSUPP, EXIT_WARD_UNSUPPORTED},
	[-WERR_TOOBIG] = {"extended attribute is too large", E2BIG, EXIT_WARD_LIMIT},
	[-WERR_NOTPERMITTED] = {"operation not permitted", EPERM, EXIT_WARD_PERM},
	[-WERR_NODEVICE] = {"no /dev/fuse: FUSE is not available here", ENODEV, EXIT_WARD_NODEVICE},
	[-WERR_INTERRUPTED] = {"interrupted", EINTR, EXIT_WARD_INTERRUPTED},
	[-WERR_ANCHOR] = {"the anchor is damaged or of another vault", EIO, EXIT_WARD_ANCHOR},
	[-WERR_NOHARDWARE] = {"the hardware that this key needs is not here", ENXIO,
			      EXIT_WARD_NOHARDWARE},
	[-WERR_LOCKOUT] = {"the hardware refuses to be asked for a while: too many wrong PINs",
			   EBUSY, EXIT_WARD_LOCKOUT},
	[-WERR_REPAIRED] = {"damaged, and repaired", EIO, EXIT_WARD_REPAIRED},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

static const struct row *row_of(int code)
{
	static const struct row unknown = {"unknown error", EIO, EXIT_WARD_INTERNAL};

	// Not -code > 0: INT_MIN has no positive counterpart.
	if (code > 0 || code <= -(int)ROWS)
		return &unknown;
	return &rows[-code];
}

const char *werr_text(int code)
{
	return row_of(code)->text;
}

int werr_errno(int code)
{
	return row_of(code)->err;
}

int werr_exit(int code)
{
	return (int)row_of(code)->status;
}

struct pair {
	int err;
	int code;
};

static const struct pair pairs[] = {
	{EKEYREJECTED, WERR_SECRET},
	{EPROTONOSUPPORT, WERR_UNSUPPORTED},
	{EOVERFLOW, WERR_LIMIT},
	{ENOENT, WERR_NOTFOUND},
	{EEXIST, WERR_EXISTS},
	{EBUSY, WERR_BUSY},
	{EAGAIN, WERR_BUSY},
	{ETXTBSY, WERR_BUSY},
	{ENOKEY, WERR_LOCKED},
	{EACCES, WERR_PERM},
	{ENOSPC, WERR_NOSPACE},
	{EIO, WERR_IO},
	{ENOMEM, WERR_NOMEM},
	{EFAULT, WERR_INTERNAL},
	{EBADF, WERR_INTERNAL},
	{EROFS, WERR_READONLY},
	{EDQUOT, WERR_QUOTA},
	{ENOTDIR, WERR_NOTDIR},
	{EISDIR, WERR_ISDIR},
	{ENOTEMPTY, WERR_NOTEMPTY},
	{ENAMETOOLONG, WERR_NAMETOOLONG},
	{EINVAL, WERR_INVALID},
	{EXDEV, WERR_INVALID},
	{EMLINK, WERR_MLINK},
	{EFBIG, WERR_FBIG},
	{ENODATA, WERR_NODATA},
	{ERANGE, WERR_RANGE},
	{ENXIO, WERR_NXIO},
	{EMFILE, WERR_MFILE},
	{ENFILE, WERR_MFILE},
	{ESTALE, WERR_STALE},
	{EOPNOTSUPP, WERR_NOTSUP},
	{ENOSYS, WERR_NOTSUP},
	{E2BIG, WERR_TOOBIG},
	{EPERM, WERR_NOTPERMITTED},
	{ENODEV, WERR_NODEVICE},
	{EINTR, WERR_INTERRUPTED},
};

int werr_from_errno(int err)
{
	if (err == 0)
		return WERR_OK;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if (pairs[i].err == err)
			return pairs[i].code;
	return WERR_IO;
}

// SPDX-License-Identifier: Apache-2.0
// The one error space of wardfs: functions return 0 or a negative code from this enum. Each code
// has a stable text, an errno for applications and an exit status for programs. Thread-safe.
#ifndef WARDFS_CRYPTO_WERR_H
#define WARDFS_CRYPTO_WERR_H

#define WARN_UNUSED __attribute__((warn_unused_result))

enum werr {
	WERR_OK = 0,
	WERR_SECRET = -1,      // wrong passphrase or key
	WERR_AUTH = -2,        // authentication failed: changed or foreign bytes
	WERR_UNSUPPORTED = -3, // version, feature, suite or kind this program does not know
	WERR_TRUNCATED = -4,   // shorter than the format says
	WERR_MALFORMED = -5,   // not canonical
	WERR_LIMIT = -6,       // a number out of its bounds
	WERR_NOTFOUND = -7,
	WERR_EXISTS = -8,
	WERR_BUSY = -9,
	WERR_LOCKED = -10,
	WERR_PERM = -11,
	WERR_NOSPACE = -12,
	WERR_IO = -13,
	WERR_NOMEM = -14,
	WERR_INTERNAL = -15,
	WERR_USAGE = -16,
	WERR_NOTVAULT = -17,
	WERR_DAMAGED = -18,  // something the vault needs is missing or unreadable
	WERR_ROLLBACK = -19, // authentic, but older than what refers to it
	WERR_READONLY = -20,
	WERR_QUOTA = -21,
	WERR_NOTDIR = -22,
	WERR_ISDIR = -23,
	WERR_NOTEMPTY = -24,
	WERR_NAMETOOLONG = -25,
	WERR_INVALID = -26,
	WERR_MLINK = -27,
	WERR_FBIG = -28,
	WERR_NODATA = -29,       // no such xattr
	WERR_RANGE = -30,        // buffer too small
	WERR_NXIO = -31,         // SEEK_DATA / SEEK_HOLE beyond the end
	WERR_KDFMEM = -32,       // too little memory on this machine for the slot's Argon2id
	WERR_MFILE = -33,        // too many open files
	WERR_STALE = -34,        // node is gone
	WERR_NOTSUP = -35,       // operation not supported on this object
	WERR_TOOBIG = -36,       // xattr value too large
	WERR_NOTPERMITTED = -37, // EPERM
	WERR_NODEVICE = -38,     // no /dev/fuse
	WERR_INTERRUPTED = -39,
	WERR_ANCHOR = -40,     // this machine's record of the vault is damaged or foreign
	WERR_NOHARDWARE = -41, // the chip or token of a keyslot is not here
	WERR_LOCKOUT = -42,    // it refuses to be asked for a while: too many wrong PINs
	WERR_REPAIRED = -43,   // it was damaged and is whole again
};

// The stable one-line text of a code ("wrong passphrase", …); never NULL.
const char *werr_text(int code);

// The errno (positive) an application sees for a code; 0 for 0; EIO for AUTH, DAMAGED, ROLLBACK,
// MALFORMED, TRUNCATED.
int werr_errno(int code);

// A code for an errno value (positive); never 0 unless err is 0.
int werr_from_errno(int err);

// Exit statuses of the programs, stable, listed in wardfs(1).
enum werr_exit {
	EXIT_WARD_OK = 0,
	EXIT_WARD_INTERNAL = 1,
	EXIT_WARD_USAGE = 2,
	EXIT_WARD_SECRET = 3,
	EXIT_WARD_TAMPERED = 4, // AUTH, ROLLBACK
	EXIT_WARD_NOTVAULT = 5,
	EXIT_WARD_BUSY = 6,
	EXIT_WARD_LOCKED = 7,
	EXIT_WARD_PERM = 8,
	EXIT_WARD_DAMAGED = 9, // DAMAGED, TRUNCATED, MALFORMED
	EXIT_WARD_IO = 10,
	EXIT_WARD_NOSPACE = 11,
	EXIT_WARD_NOMEM = 12,
	EXIT_WARD_UNSUPPORTED = 13,
	EXIT_WARD_NOTFOUND = 14,
	EXIT_WARD_EXISTS = 15, // exists, not empty
	EXIT_WARD_LIMIT = 16,
	EXIT_WARD_READONLY = 17,
	EXIT_WARD_NODEVICE = 18,
	EXIT_WARD_INTERRUPTED = 19,
	EXIT_WARD_ANCHOR = 20,
	EXIT_WARD_NOHARDWARE = 21,
	EXIT_WARD_LOCKOUT = 22,
	EXIT_WARD_REPAIRED = 23,
};
int werr_exit(int code);

#endif

// SPDX-License-Identifier: Apache-2.0
// A vault on the simulated disk and the engine on it, for tests that call the engine directly. A
// condition that does not hold ends the program with status 1.
#ifndef WARDFS_TESTS_SIMVAULT_H
#define WARDFS_TESTS_SIMVAULT_H

#include <stddef.h>
#include <stdint.h>

#include "crypto/secret.h"
#include "fusefs/fs.h"
#include "fusefs/vault.h"
#include "tests/crash/simhost.h"

#define SIM_PAGE 4096u

struct simvault {
	struct simhost *disk;
	struct vault *vault;
	struct fs *fs;
	struct fs_params params; // of the next open
	struct secret passphrase;
	unsigned refusals; // "refused" lines in the log so far
};

void expect_failed(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4), noreturn));
#define EXPECT(condition, ...)                                          \
	do {                                                            \
		if (!(condition))                                       \
			expect_failed(__FILE__, __LINE__, __VA_ARGS__); \
	} while (0)
#define EXPECT_OK(call)                                                     \
	do {                                                                \
		int expect_err_ = (call);                                   \
		EXPECT(expect_err_ == 0, "%s: %d (%s)", #call, expect_err_, \
		       werr_text(expect_err_));                             \
	} while (0)

// A new vault, smallest journal, open. params: NULL, or those of the engine; without threads
// (manual) unless they say otherwise.
void simvault_begin(struct simvault *v, const struct fs_params *params);
void simvault_end(struct simvault *v); // closes, frees
int simvault_try_open(struct simvault *v);
void simvault_open(struct simvault *v);
void simvault_close(struct simvault *v);
void simvault_remount(struct simvault *v);
// The power goes; `cut` and seed say what is left (simhost.h). Not opened again.
void simvault_cut(struct simvault *v, const struct simcut *cut, uint64_t seed);
// The process is killed. Not opened again.
void simvault_kill(struct simvault *v);
// A copy of the vault as a power cut at this moment leaves it, not open; the original goes on.
void simvault_fork(struct simvault *v, const struct simcut *cut, uint64_t seed,
		   struct simvault *ret);

// Names below a directory; a look-up stays until forgotten.
uint64_t sv_make(struct simvault *v, uint64_t parent, const char *name, uint8_t type);
uint64_t sv_find(struct simvault *v, uint64_t parent, const char *name);   // must be there
uint64_t sv_lookup(struct simvault *v, uint64_t parent, const char *name); // 0: it is not
// Content that depends on the place and the version: every 8 bytes are unlike all others.
uint64_t sv_word(uint64_t word, uint64_t version); // 0 for version 0 only
void sv_put(struct simvault *v, uint64_t ino, uint64_t off, size_t len, uint64_t version);
// The version whose bytes stand at every 8 bytes of the range; UINT64_MAX: more than one, or
// something else; 0: zeros.
uint64_t sv_version(struct simvault *v, uint64_t ino, uint64_t off, size_t len);
uint64_t sv_size(struct simvault *v, uint64_t ino);
void sv_truncate(struct simvault *v, uint64_t ino, uint64_t size);
void sv_sync(struct simvault *v, uint64_t ino);
// A whole vault, closed, has nothing that check would report. Opens it again.
void sv_check_clean(struct simvault *v, const char *what);

#endif

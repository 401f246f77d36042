// SPDX-License-Identifier: Apache-2.0
// The crash matrix: every operation, alone and in pairs, on a vault that has some of everything;
// the power goes before every host call that changes something, everything (or a random part of it)
// that was not flushed may be lost, and the mount that follows loses its power likewise, up to
// three levels deep. README.md says what is checked after each.
//
// To add an operation: a function in matrix_ops.c and a line in its table. It is then tried alone
// and together with all others.
#ifndef WARDFS_TESTS_MATRIX_H
#define WARDFS_TESTS_MATRIX_H

#include <stdatomic.h>
#include <stdint.h>

#include "tests/crash/crash_ops.h"

// One operation. It works on the names that matrix_stage() made, and must do with what the
// operations before it have left of them.
struct matrix_op {
	const char *name;
	void (*act)(struct model *m);
};
extern const struct matrix_op matrix_ops[];
extern const unsigned n_matrix_ops;

// The vault on which every cell begins: everything durable.
void matrix_stage(struct model *m);
// Begins a rotation (VAULT_ROTATION_*), unless one is under way, and drives it so many steps.
void matrix_rotate(struct model *m, unsigned level, uint64_t steps);

// How much is tried.
struct matrix_effort {
	unsigned stride; // of the host calls, every n-th
	unsigned states; // what a cut may leave, at most so many a cut; all where there are no more
	unsigned replay[3]; // of 1,000 calls of a replay (of a replay), so many are cut
	int small;          // the disk may tear every block
	unsigned rotating;  // 0, or the level of a rotation that goes on between the operations
	unsigned after;     // of 1,000 states, so many go on to work with the vault and close it
};

// What was done, in memory that all processes share.
struct matrix_count {
	_Atomic uint64_t cuts;      // moments at which the power went
	_Atomic uint64_t whole;     // of them, those of which every possible state was tried
	_Atomic uint64_t states;    // disks that were mounted and compared
	_Atomic uint64_t replay[3]; // cuts of the replay, of the replay after that, …
};

// Tries `ops` (n of them, one after the other) on the staged model, in this process and children of
// it. Ends the program (status 1) when a state is not as promised. m is not usable afterwards.
void matrix_cell(struct model *m, const char *name, const struct matrix_op *const *ops, unsigned n,
		 uint64_t seed, const struct matrix_effort *effort, struct matrix_count *count);

#endif

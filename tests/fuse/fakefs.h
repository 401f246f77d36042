// SPDX-License-Identifier: Apache-2.0
// A plain in-memory implementation of fusefs/fs.h, linked instead of the engine: for tests of what
// stands above it, with gates that hold an operation as long as a test needs.
#ifndef WARDFS_TESTS_FAKEFS_H
#define WARDFS_TESTS_FAKEFS_H

#include "fusefs/fs.h"

enum fake_gate {
	GATE_LOOKUP,
	GATE_READ,
	GATE_READDIR,
	GATE_COUNT,
};

struct fs *fakefs_new(void);
void fakefs_free(struct fs *fs);
// While a gate is shut, its operation waits in front of it.
void fakefs_shut(struct fs *fs, enum fake_gate gate);
void fakefs_open_gate(struct fs *fs, enum fake_gate gate);
// Waits until n operations stand at the gate.
void fakefs_await(struct fs *fs, enum fake_gate gate, unsigned n);
// While held, fsyncs are parked; returns how many were answered.
void fakefs_hold_fsync(struct fs *fs);
unsigned fakefs_release_fsync(struct fs *fs, int err);
void fakefs_await_fsync(struct fs *fs, unsigned n);
// Sum of all look-up counts.
uint64_t fakefs_lookups(struct fs *fs);
// How many writes and setattrs came with kill set.
unsigned fakefs_kills(struct fs *fs);

#endif

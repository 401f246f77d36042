// SPDX-License-Identifier: Apache-2.0
// Rotation with an end at every host call. crash_ops drives what is left to its end afterwards, and
// the model looks at every object then (tests/model/ops_rotate.c).
#include <stdio.h>
#include <string.h>

#include "fusefs/vault.h"
#include "tests/crash/crash_ops.h"
#include "tests/model/trace.h"

#define PAGE 4096u
#define PAGES(n) ((size_t)(n)*PAGE)

// One of each kind of object.
void prepare_rotation(struct model *m)
{
	char target[3001];

	memset(target, 'x', sizeof(target) - 1);
	target[sizeof(target) - 1] = '\0';
	make(m, "inline", OBJECT_FILE);
	put(m, "inline", 0, 900);
	make(m, "d", OBJECT_DIR);
	make(m, "d/e", OBJECT_DIR);
	make(m, "d/e/pages", OBJECT_FILE);
	put(m, "d/e/pages", 0, PAGES(24) + 17);
	make(m, "d/long", OBJECT_FILE);
	put(m, "d/long", 0, PAGES(150));
	make(m, "d/holes", OBJECT_FILE);
	put(m, "d/holes", PAGES(100), PAGES(2));
	set_xattr(m, "d/holes", 1, 3000);
	make_link(m, "d/target", target);
	link_to(m, "d/e/pages", "linked");
	checkpoint(m);
	chmod_path(m, "inline", 0600);
	put(m, "d/e/pages", PAGES(3), PAGES(2)); // not in any record yet
}

void rotate_keys(struct model *m)
{
	do_rotate(m, VAULT_ROTATION_KEYS, NULL);
	do_rotate_to_the_end(m);
}

void rotate_contents(struct model *m)
{
	do_rotate(m, VAULT_ROTATION_CONTENTS, NULL);
	do_rotate_to_the_end(m);
}

void rotate_subtree(struct model *m)
{
	do_rotate(m, VAULT_ROTATION_CONTENTS, "d/e");
	do_rotate_to_the_end(m);
	do_rotate(m, VAULT_ROTATION_KEYS, NULL);
	do_rotate_to_the_end(m);
}

// Everything that may happen to an object between two steps.
void rotate_while_used(struct model *m)
{
	static const char *const moves[][2] = {
		{"d/long", "a long file"}, {"d/e", "moved"}, {"moved/pages", "d/pages"}};

	do_rotate(m, VAULT_ROTATION_CONTENTS, NULL);
	for (unsigned i = 0; i < 12; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "new%u", i);
		(void)do_rotate_steps(m, 3);
		make(m, name, OBJECT_FILE);
		put(m, name, 0, PAGES(3));
		if (i % 4 == 1)
			move(m, moves[i / 4][0], moves[i / 4][1], 0);
		if (i == 6)
			put(m, "a long file", PAGES(140), PAGES(20));
		if (i == 7)
			resize(m, "a long file", PAGES(20) + 5);
		if (i == 8)
			punch(m, "a long file", PAGES(2), PAGES(9));
		if (i == 10)
			discard(m, "d/holes");
		if (i == 11)
			sync_path(m, "a long file");
	}
	do_rotate_to_the_end(m);
}

// What was moved to where the walk had been already is found all the same: one file after every few
// steps, so that every moment of the walk is met.
#define MOVED_FILES 9u
void rotate_moved(struct model *m)
{
	char from[16], to[16];

	make(m, "late", OBJECT_DIR);
	for (unsigned i = 0; i < MOVED_FILES; i++) {
		(void)snprintf(from, sizeof(from), "late/f%u", i);
		make(m, from, OBJECT_FILE);
		put(m, from, 0, 100);
	}
	checkpoint(m);
	do_rotate(m, VAULT_ROTATION_KEYS, NULL);
	for (unsigned i = MOVED_FILES; i-- > 0;) {
		(void)do_rotate_steps(m, 3);
		(void)snprintf(from, sizeof(from), "late/f%u", i);
		(void)snprintf(to, sizeof(to), "d/e/f%u", i);
		move(m, from, to, 0);
	}
	do_rotate_to_the_end(m);
}

// Another root key between writes, with what only memory and the journal know before and after it.
void rekey_while_used(struct model *m)
{
	for (unsigned i = 0; i < 2; i++) {
		put(m, "d/e/pages", PAGES(i), PAGES(2));
		sync_path(m, "d/e/pages");
		put(m, "inline", 10 * i, 300);
		do_rekey(m);
		put(m, "d/long", PAGES(20 * i), PAGES(3));
		sync_path(m, "d/long");
	}
	do_rotate(m, VAULT_ROTATION_KEYS, NULL);
	do_rotate_to_the_end(m);
}

// A rotation whose epoch is overtaken ends with everything under the newest.
void rekey_while_rotating(struct model *m)
{
	do_rotate(m, VAULT_ROTATION_CONTENTS, NULL);
	for (unsigned i = 0; i < 3; i++) {
		(void)do_rotate_steps(m, 5 + 3 * i);
		put(m, "d/holes", PAGES(100 + i), 900);
		if (i % 2 == 0)
			do_rekey(m);
	}
	do_rotate_to_the_end(m);
}

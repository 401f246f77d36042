// SPDX-License-Identifier: Apache-2.0
// Private to the repair: repair.c (walk, order), repair_place.c (names for objects),
// repair_object.c (what is in them).
#ifndef WARDFS_FUSEFS_REPAIR_PRIVATE_H
#define WARDFS_FUSEFS_REPAIR_PRIVATE_H

#include "fusefs/engine.h"
#include "fusefs/repair.h"

void repair_did(struct repair *r, enum repair_act_kind kind, uint64_t number, const char *path,
		uint64_t first, uint64_t count);
// A path of a directory's path ("" for the root) and a name; NULL: no memory.
char *repair_join(const char *dir, const uint8_t *name, size_t len);

// --- repair_place.c ---
// The stray of this number, or NULL.
struct stray *repair_stray(const struct repair *r, uint64_t number);
int repair_sort(struct repair *r) WARN_UNUSED;
// Its attribute that says so, on a loaded node, where it has none yet.
void repair_stray_mark(struct repair *r, struct stray *s, struct node *n);
// Names in a directory that was read around, for the strays whose headers say that they were in it.
int repair_attach(struct repair *r, struct node *dir, const char *path) WARN_UNUSED;
// A name in the quarantine; *ret_node: referenced, NULL when the object cannot be used.
int repair_quarantine(struct repair *r, struct stray *s, struct node **ret_node,
		      char **ret_path) WARN_UNUSED;
// The directory that a stray says it was in, of which nothing else is left: anew, in the
// quarantine, with all that say so. *ret_node: referenced, or NULL.
int repair_lost_dir(struct repair *r, const struct stray *s, struct node **ret_node,
		    char **ret_path) WARN_UNUSED;
// A home entry in the links directory for a file whose names are there.
int repair_link_home(struct repair *r, const struct linked *l) WARN_UNUSED;
// A file in the links directory that no name leads to gets one in the quarantine.
int repair_unlinked(struct repair *r, uint64_t number) WARN_UNUSED;
// Keeps n's attributes of a directory in step with its table.
void repair_dir_changed(struct repair *r, struct node *dir);

// --- repair_object.c ---
// What a check found wrong with the object of this entry, which is no directory.
int repair_object(struct repair *r, struct node *dir, table_place place, const struct entry *e,
		  const char *path) WARN_UNUSED;
// Counts the pages of a loaded node; those that do not open become holes.
int repair_content(struct repair *r, struct node *n, const char *path,
		   uint64_t *ret_lost) WARN_UNUSED;
// Starts an object anew under its number; what is on the host is moved aside when it is written.
int repair_fresh(struct repair *r, struct node *n, uint64_t size) WARN_UNUSED;
void repair_mark(struct repair *r, struct node *n, const char *name, const char *value);

#endif

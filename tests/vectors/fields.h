// SPDX-License-Identifier: Apache-2.0
// The integer members of the decoded structures by the names that the vectors give them.
#ifndef WARDFS_TESTS_VECTORS_FIELDS_H
#define WARDFS_TESTS_VECTORS_FIELDS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "crypto/anchor_codec.h"
#include "crypto/object_header.h"
#include "crypto/record.h"
#include "crypto/superblock.h"
#include "crypto/table_page.h"
#include "crypto/vault_header.h"

struct field {
	const char *name;
	size_t offset;
	size_t size;
};
#define FIELD(name, type, member)                                            \
	{                                                                    \
		name, offsetof(type, member), sizeof(((type *)NULL)->member) \
	}
#define FIELDS_END         \
	{                  \
		NULL, 0, 0 \
	}

static const struct field entry_fields[] = {
	FIELD("kind", struct entry, kind),
	FIELD("type", struct entry, type),
	FIELD("number", struct entry, number),
	FIELD("incarnation", struct entry, incarnation),
	FIELD("mode", struct entry, attr.mode),
	FIELD("uid", struct entry, attr.uid),
	FIELD("gid", struct entry, attr.gid),
	FIELD("nlink", struct entry, attr.nlink),
	FIELD("size", struct entry, attr.size),
	FIELD("pages", struct entry, attr.pages),
	FIELD("rdev", struct entry, attr.rdev),
	FIELD("atime", struct entry, attr.atime.s),
	FIELD("mtime", struct entry, attr.mtime.s),
	FIELD("ctime", struct entry, attr.ctime.s),
	FIELD("birth", struct entry, attr.btime.s),
	FIELD("atime-ns", struct entry, attr.atime.ns),
	FIELD("mtime-ns", struct entry, attr.mtime.ns),
	FIELD("ctime-ns", struct entry, attr.ctime.ns),
	FIELD("birth-ns", struct entry, attr.btime.ns),
	FIELD("flags", struct entry, attr.flags),
	FIELD("generation", struct entry, generation),
	FIELD("epoch", struct entry, epoch),
	FIELDS_END,
};

static const struct field superblock_fields[] = {
	FIELD("mount", struct superblock, mount),
	FIELD("k", struct superblock, k),
	FIELD("s", struct superblock, s),
	FIELD("tail", struct superblock, tail),
	FIELD("root-generation", struct superblock, root_generation),
	FIELD("journal-bytes", struct superblock, journal_bytes),
	FIELD("counter", struct superblock, counter),
	FIELDS_END,
};

static const struct field header_fields[] = {
	FIELD("type", struct object_header, type),
	FIELD("layout", struct object_header, layout),
	FIELD("xattr-layout", struct object_header, xattr_layout),
	FIELD("generation", struct object_header, generation),
	FIELD("size", struct object_header, size),
	FIELD("parent-number", struct object_header, parent_number),
	FIELD("parent-incarnation", struct object_header, parent_incarnation),
	FIELD("data-seals", struct object_header, data_seals),
	FIELD("header-seals", struct object_header, header_seals),
	FIELD("xattr-bytes", struct object_header, xattr_len),
	FIELDS_END,
};

static const struct field assignment_fields[] = {
	FIELD("tag", struct assignment, tag),
	FIELD("number", struct assignment, ref.number),
	FIELD("incarnation", struct assignment, ref.incarnation),
	FIELD("base", struct assignment, ref.base),
	FIELD("page", struct assignment, page),
	FIELD("slot", struct assignment, slot),
	FIELD("object-number", struct assignment, number),
	FIELD("type", struct assignment, type),
	FIELD("class", struct assignment, class_),
	FIELD("epoch", struct assignment, epoch),
	FIELD("parent-number", struct assignment, parent_number),
	FIELD("parent-incarnation", struct assignment, parent_incarnation),
	FIELD("size", struct assignment, size),
	FIELD("layout", struct assignment, layout),
	FIELD("from", struct assignment, from),
	FIELD("to", struct assignment, to),
	FIELD("count", struct assignment, count),
	FIELD("flags", struct assignment, flags),
	FIELD("k", struct assignment, k),
	FIELD("s", struct assignment, s),
	FIELD("generation", struct assignment, generation),
	FIELD("root-generation", struct assignment, root_generation),
	FIELD("mount", struct assignment, mount),
	FIELDS_END,
};

static const struct field vault_fields[] = {
	FIELD("mount", struct vault_header, mount),
	FIELD("state", struct vault_header, state),
	FIELD("replaying", struct vault_header, replaying),
	FIELD("write-counter", struct vault_header, write_counter),
	FIELD("journal-sequence", struct vault_header, journal_sequence),
	FIELD("root-incarnation", struct vault_header, root_incarnation),
	FIELD("root-generation", struct vault_header, root_generation),
	FIELD("root-epoch", struct vault_header, root_epoch),
	FIELD("epoch", struct vault_header, epoch),
	FIELD("journal-bytes", struct vault_header, journal_bytes),
	FIELD("created", struct vault_header, created_s),
	FIELD("idle", struct vault_header, policy.idle_s),
	FIELD("max-time", struct vault_header, policy.max_time_s),
	FIELD("on-idle", struct vault_header, policy.on[0]),
	FIELD("on-max-time", struct vault_header, policy.on[1]),
	FIELD("on-signal", struct vault_header, policy.on[2]),
	FIELD("on-sleep", struct vault_header, policy.on[3]),
	FIELD("on-screen-lock", struct vault_header, policy.on[4]),
	FIELD("on-session-end", struct vault_header, policy.on[5]),
	FIELD("wipe-after", struct vault_header, policy.wipe_after),
	FIELDS_END,
};

static const struct field rotation_fields[] = {
	FIELD("rotation-level", struct vault_header, rotation.level),
	FIELD("rotation-number", struct vault_header, rotation.number),
	FIELD("rotation-incarnation", struct vault_header, rotation.incarnation),
	FIELD("rotation-began", struct vault_header, rotation.started_s),
	FIELDS_END,
};

// Of an anchor with one keyslot, the first.
static const struct field anchor_fields[] = {
	FIELD("counter", struct anchor_claims, counter),
	FIELD("written", struct anchor_claims, written_s),
	FIELD("mount", struct anchor_claims, mount),
	FIELD("state", struct anchor_claims, state),
	FIELD("write-counter", struct anchor_claims, write_counter),
	FIELD("root-generation", struct anchor_claims, root_generation),
	FIELD("journal-mount", struct anchor_claims, journal_mount),
	FIELD("journal-sequence", struct anchor_claims, journal_sequence),
	FIELD("journal-counter", struct anchor_claims, journal_counter),
	FIELD("closed", struct anchor_claims, closed_s),
	FIELD("closed-mount", struct anchor_claims, closed_mount),
	FIELD("slot-serial", struct anchor_claims, slots[0].serial),
	FIELD("slot-kind", struct anchor_claims, slots[0].kind),
	FIELD("slot-last-use", struct anchor_claims, slots[0].last_use_s),
	FIELDS_END,
};

// The member, zero-extended.
static inline uint64_t field_get(const void *structure, const struct field *f)
{
	uint64_t v = 0;

	memcpy(&v, (const uint8_t *)structure + f->offset, f->size);
	return v;
}

static inline void field_set(void *structure, const struct field *f, uint64_t v)
{
	memcpy((uint8_t *)structure + f->offset, &v, f->size);
}

#endif

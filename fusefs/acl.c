// SPDX-License-Identifier: Apache-2.0
#include "fusefs/acl.h"

#define ACL_VERSION 2u

enum tag {
	TAG_OWNER = 0x01,
	TAG_USER = 0x02,
	TAG_GROUP = 0x04,
	TAG_NAMED_GROUP = 0x08,
	TAG_MASK = 0x10,
	TAG_OTHER = 0x20,
};

static uint32_t get16(const uint8_t *at)
{
	return at[0] | (uint32_t)at[1] << 8;
}

static size_t count_of(size_t len)
{
	return (len - ACL_HEADER_BYTES) / ACL_ENTRY_BYTES;
}

static uint32_t tag_at(const uint8_t *acl, size_t i)
{
	return get16(acl + ACL_HEADER_BYTES + i * ACL_ENTRY_BYTES);
}

static uint8_t *perm_at(uint8_t *acl, size_t i)
{
	return acl + ACL_HEADER_BYTES + i * ACL_ENTRY_BYTES + 2;
}

int acl_check(const uint8_t *acl, size_t len)
{
	uint32_t last = 0, seen = 0;

	if (len < ACL_HEADER_BYTES || (len - ACL_HEADER_BYTES) % ACL_ENTRY_BYTES != 0 ||
	    (get16(acl) | get16(acl + 2) << 16) != ACL_VERSION)
		return WERR_INVALID;
	for (size_t i = 0; i < count_of(len); i++) {
		uint32_t tag = tag_at(acl, i);
		bool named = tag == TAG_USER || tag == TAG_NAMED_GROUP;

		// Tags are single bits and rise in the order of the list.
		if (tag == 0 || tag > TAG_OTHER || (tag & (tag - 1)) != 0 || tag < last ||
		    (tag == last && !named) ||
		    get16(acl + ACL_HEADER_BYTES + i * ACL_ENTRY_BYTES + 2) > 7)
			return WERR_INVALID;
		last = tag;
		seen |= tag;
	}
	const uint32_t needed = TAG_OWNER | TAG_GROUP | TAG_OTHER;
	if ((seen & needed) != needed)
		return WERR_INVALID;
	if ((seen & (TAG_USER | TAG_NAMED_GROUP)) != 0 && (seen & TAG_MASK) == 0)
		return WERR_INVALID;
	return 0;
}

bool acl_is_minimal(const uint8_t *acl, size_t len)
{
	(void)acl;
	return count_of(len) == 3;
}

// The entry that stands for the group bits of the mode.
static uint32_t group_tag(const uint8_t *acl, size_t len)
{
	for (size_t i = 0; i < count_of(len); i++)
		if (tag_at(acl, i) == TAG_MASK)
			return TAG_MASK;
	return TAG_GROUP;
}

static unsigned shift_of(uint32_t tag, uint32_t group)
{
	if (tag == TAG_OWNER)
		return 6;
	if (tag == group)
		return 3;
	return tag == TAG_OTHER ? 0 : ~0u;
}

uint32_t acl_mode(const uint8_t *acl, size_t len)
{
	uint32_t mode = 0, group = group_tag(acl, len);

	for (size_t i = 0; i < count_of(len); i++) {
		unsigned shift = shift_of(tag_at(acl, i), group);

		if (shift != ~0u)
			mode |= get16(acl + ACL_HEADER_BYTES + i * ACL_ENTRY_BYTES + 2) << shift;
	}
	return mode;
}

void acl_chmod(uint8_t *acl, size_t len, uint32_t mode)
{
	uint32_t group = group_tag(acl, len);

	for (size_t i = 0; i < count_of(len); i++) {
		unsigned shift = shift_of(tag_at(acl, i), group);

		if (shift != ~0u)
			*perm_at(acl, i) = (mode >> shift) & 7;
	}
}

uint32_t acl_inherit(uint8_t *acl, size_t len, uint32_t mode)
{
	uint32_t group = group_tag(acl, len);

	for (size_t i = 0; i < count_of(len); i++) {
		unsigned shift = shift_of(tag_at(acl, i), group);

		if (shift == ~0u)
			continue;
		uint8_t *perm = perm_at(acl, i);
		*perm = (uint8_t)(*perm & (mode >> shift));
		mode = (mode & ~(7u << shift)) | (uint32_t)*perm << shift;
	}
	return mode;
}

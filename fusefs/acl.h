// SPDX-License-Identifier: Apache-2.0
// POSIX ACLs in the form of the extended attributes system.posix_acl_access and
// system.posix_acl_default, and what they have to do with the mode. wardfs-vault(5), "Extended
// attributes". Pure functions on bytes.
#ifndef WARDFS_FUSEFS_ACL_H
#define WARDFS_FUSEFS_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crypto/werr.h"

#define ACL_ACCESS "system.posix_acl_access"
#define ACL_DEFAULT "system.posix_acl_default"
#define ACL_HEADER_BYTES 4u
#define ACL_ENTRY_BYTES 8u

// A complete list in the kernel's order: owner, named users, group, named groups, mask (needed by
// named ones), others. WERR_INVALID.
int acl_check(const uint8_t *acl, size_t len) WARN_UNUSED;

// The following take a checked ACL.
// Says nothing that a mode could not say (three entries).
bool acl_is_minimal(const uint8_t *acl, size_t len);
// The nine permission bits that go with it: owner, mask (without one: group), others.
uint32_t acl_mode(const uint8_t *acl, size_t len);
// chmod: changes owner, mask (without one: group) and others to those of mode.
void acl_chmod(uint8_t *acl, size_t len, uint32_t mode);
// Turns a copy of a directory's default ACL into the access ACL of a file made in it with `mode`
// (umask not applied); returns the final mode.
uint32_t acl_inherit(uint8_t *acl, size_t len, uint32_t mode);

#endif

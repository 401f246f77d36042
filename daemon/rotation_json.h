// SPDX-License-Identifier: Apache-2.0
// The state of a rotation as JSON, in both directions: the type Rotation of the interface
// description.
#ifndef WARDFS_DAEMON_ROTATION_JSON_H
#define WARDFS_DAEMON_ROTATION_JSON_H

#include <jansson.h>

#include "fusefs/rotate.h"

json_t *rotation_json(struct fs *fs);
json_t *rotation_pack(const struct rotate_status *st);
// Absent members are zero. WERR_MALFORMED: not such an object.
int rotation_parse(const json_t *j, struct rotate_status *ret) WARN_UNUSED;

#endif

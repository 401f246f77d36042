// SPDX-License-Identifier: Apache-2.0
// Comparing one node after a crash or a remount, and taking over what is there.
#ifndef WARDFS_TESTS_VERIFY_H
#define WARDFS_TESTS_VERIFY_H

#include "tests/model/model.h"

// What stands in the tree and in the model agrees within what a crash allows. durable,
// durable_attr: the operations that the content and the attributes must at least show.
void verify_node(struct model *m, struct shape_node *node, const struct fs_stat *st,
		 uint64_t durable, uint64_t durable_attr);

#endif

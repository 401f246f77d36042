// SPDX-License-Identifier: Apache-2.0
// The verbs of "wardfs key". argv[0] is "wardfs key VERB". Each prints its own errors and returns 0
// or a werr code.
#ifndef WARDFS_TOOLS_KEY_H
#define WARDFS_TOOLS_KEY_H

int key_list(int argc, char **argv);
int key_add(int argc, char **argv);
int key_remove(int argc, char **argv);
int key_change(int argc, char **argv);
int key_test(int argc, char **argv);
int key_label(int argc, char **argv);

#endif

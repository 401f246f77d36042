// SPDX-License-Identifier: Apache-2.0
// Questions before something that cannot be undone, on the terminal only: a script says --yes.
#ifndef WARDFS_TOOLS_CONFIRM_H
#define WARDFS_TOOLS_CONFIRM_H

#include "crypto/werr.h"

// 0: the answer is "yes". WERR_USAGE: there is no terminal to ask, or it is another one.
int confirm_yes(const char *question) WARN_UNUSED;
// The same with a word that has to be typed.
int confirm_word(const char *question, const char *word) WARN_UNUSED;

#endif

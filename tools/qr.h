// SPDX-License-Identifier: Apache-2.0
// A QR code on the terminal, where the build has libqrencode.
#ifndef WARDFS_TOOLS_QR_H
#define WARDFS_TOOLS_QR_H

#include "crypto/werr.h"

int qr_is_available(void) WARN_UNUSED;
// Writes the code for a short text to standard output, without buffering; the process keeps nothing
// of it. WERR_NOTSUP, WERR_NOMEM, WERR_IO; WERR_INTERNAL: the child that draws it died.
int qr_print(const char *text) WARN_UNUSED;

#endif

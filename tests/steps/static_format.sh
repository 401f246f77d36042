#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every C file looks as clang-format 14 makes it.
set -u
if git ls-files '*.c' '*.h' | xargs -r clang-format --dry-run -Werror; then
	echo "ok clang-format"
else
	echo "not ok clang-format"
	exit 1
fi

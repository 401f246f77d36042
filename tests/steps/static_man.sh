#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# mandoc finds nothing to warn about in the manual pages.
set -u
bad=0
found=0
while IFS= read -r page; do
	found=1
	if mandoc -T lint -W warning "$page"; then
		echo "ok man $page"
	else
		echo "not ok man $page"
		bad=1
	fi
done < <(git ls-files 'man/*.[0-9]')
[ "$found" -eq 1 ] || echo "skip man # there is no manual page"
exit $bad

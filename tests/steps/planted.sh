#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Whether the tests find what they are there for: builds with the planted bugs (fusefs/planted.h), runs each test of
# STORAGE.md section 7 without a bug (it passes) and with the bug of its row (it fails, or does not end).
set -u
dir=$WARDFS_TEST_BUILD/planted
programs=(tests/crash/mistakes tests/fuse/test_mistakes)
# One process each, so that nothing is left behind of one that does not end.
export CK_FORK=no
bad=0

[ -e "$dir/build.ninja" ] || rm -rf "$dir"
if ! { meson setup --reconfigure -Dplanted=true -Dwerror=true "$dir" "$WARDFS_SRC" ||
	meson setup -Dplanted=true -Dwerror=true "$dir" "$WARDFS_SRC"; } >/dev/null ||
	! ninja -C "$dir" "${programs[@]}"; then
	echo "not ok planted: build"
	exit 1
fi
for program in "${programs[@]}"; do
	while read -r name planted; do
		if ! "$dir/$program" "$name"; then
			echo "not ok planted: $name fails without any bug"
			bad=1
		elif WARDFS_PLANTED=$planted timeout 40 "$dir/$program" "$name"; then
			echo "not ok planted: $name does not find $planted"
			bad=1
		else
			echo "ok planted: $name finds $planted"
		fi
	done < <("$dir/$program" --list)
done
exit $bad

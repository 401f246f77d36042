#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# build.sh KIND: builds the tree in $WARDFS_TEST_BUILD/KIND. KIND is normal, asan (address and undefined), tsan.
# Warnings are errors in the normal build.
set -u
kind=$1
dir=$WARDFS_TEST_BUILD/$kind
options=(-Dwerror=true)
case $kind in
normal) ;;
asan) options=('-Db_sanitize=address,undefined' -Db_lundef=false) ;;
tsan) options=(-Db_sanitize=thread -Db_lundef=false) ;;
*)
	echo "unknown build '$kind'" >&2
	exit 2
	;;
esac
if [ ! -e "$dir/build.ninja" ]; then
	rm -rf "$dir"
	meson setup "${options[@]}" "$dir" "$WARDFS_SRC" || {
		echo "not ok build-$kind"
		exit 1
	}
fi
# The build lists the files that exist, so a new file must be looked for.
if meson setup --reconfigure "$dir" "$WARDFS_SRC" >/dev/null && ninja -C "$dir"; then
	echo "ok build-$kind"
else
	echo "not ok build-$kind"
	exit 1
fi

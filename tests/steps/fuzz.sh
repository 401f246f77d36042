#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The libFuzzer targets with clang's address and undefined sanitizers: each over its corpus, then a few seconds beyond it.
set -u
dir=$WARDFS_TEST_BUILD/fuzz
bad=0
if [ ! -e "$dir/build.ninja" ]; then
	rm -rf "$dir"
	CC=clang meson setup -Dfuzz=true -Dbuildtype=debugoptimized '-Db_sanitize=address,undefined' -Db_lundef=false \
		"$dir" "$WARDFS_SRC" || exit 1
fi
targets=()
for source in "$WARDFS_SRC"/tests/fuzz/fuzz_*.c; do
	targets+=("tests/fuzz/$(basename "$source" .c)")
done
ninja -C "$dir" "${targets[@]}" || {
	echo "not ok fuzz: build"
	exit 1
}
export ASAN_OPTIONS=abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

# one TARGET: a target of its own folder for what it finds.
one() {
	local target=$1 name found
	name=$(basename "$target")
	name=${name#fuzz_}
	found=$(mktemp -d -p "$WARDFS_TEST_TMP" --suffix=.fuzz) || return 1
	if (cd "$found" && "$dir/$target" -runs=0 "$WARDFS_SRC/tests/fuzz/corpus/$name" &&
		mkdir new && "$dir/$target" -max_total_time=5 -print_final_stats=1 "-dict=$WARDFS_SRC/tests/fuzz/dict/$name.dict" new \
		"$WARDFS_SRC/tests/fuzz/corpus/$name") >"$found/log" 2>&1; then
		echo "ok fuzz: $name ($(grep -o 'number_of_executed_units: .*' "$found/log" | grep -o '[0-9]*') inputs)"
	else
		cat "$found/log"
		# What broke it is shown, because the folder goes away.
		for file in "$found"/crash-* "$found"/oom-* "$found"/timeout-*; do
			[ ! -e "$file" ] || base64 "$file"
		done
		echo "not ok fuzz: $name"
		rm -rf "$found"
		return 1
	fi
	rm -rf "$found"
}

for ((i = 0; i < ${#targets[@]}; i += 2)); do
	one "${targets[i]}" &
	pid=$!
	if [ $((i + 1)) -lt ${#targets[@]} ]; then
		one "${targets[i + 1]}" || bad=1
	fi
	wait "$pid" || bad=1
done
exit $bad

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# meson_test.sh KIND: builds KIND and runs its tests; every test of meson counts as one.
# Sanitizer builds run the long random tests with fewer operations.
set -u
kind=$1
dir=$WARDFS_TEST_BUILD/$kind
bash "$WARDFS_SRC/tests/steps/build.sh" "$kind" || exit 1

# Limits only end what hangs: check's own is four seconds for a test, whatever the machine is doing meanwhile.
export CK_DEFAULT_TIMEOUT=60
multiplier=3
prefix=()
case $kind in
asan)
	export CK_TIMEOUT_MULTIPLIER=5
	export WARDFS_MODEL_OPS=12000 WARDFS_CRASH_STRIDE=7 WARDFS_MATRIX_SECONDS=20 WARDFS_REPAIR_STRIDE=101
	export ASAN_OPTIONS=detect_leaks=1:abort_on_error=1:strict_string_checks=1
	export UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1
	;;
tsan)
	export CK_TIMEOUT_MULTIPLIER=5
	export WARDFS_MODEL_OPS=6000 WARDFS_CRASH_STRIDE=23 WARDFS_MATRIX_SECONDS=10 WARDFS_REPAIR_STRIDE=301
	export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=$WARDFS_SRC/tests/steps/tsan.supp
	# gcc 12's runtime does not know the address layout of newer kernels.
	! setarch -R true 2>/dev/null || prefix=(setarch -R)
	;;
esac
${prefix[@]+"${prefix[@]}"} meson test -C "$dir" --no-rebuild --print-errorlogs --num-processes 2 \
	--timeout-multiplier "$multiplier"
/usr/bin/python3 "$WARDFS_SRC/tests/steps/meson_results.py" "$kind" "$dir/meson-logs/testlog.json"

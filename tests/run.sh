#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is needed, builds, and runs every test. Works from a clean clone, as root on Debian 12, as often as one likes.
#
#   tests/run.sh                 everything
#   tests/run.sh --quick         build, unit and socketpair tests, formatting; no mounts, no sanitizers
#   tests/run.sh --only STEP     that step (and the build it needs); may be repeated, a shell pattern is allowed
#   tests/run.sh --list          the steps with their time limits
#
# WARDFS_TEST_BUILD   where to build (default: build-test in the source folder); logs are in its folder "logs".
# WARDFS_TEST_TMP     where vaults and mount points are made (default: a new folder in /var/tmp)
#
# Every step is a program that prints "ok NAME", "not ok NAME" or "skip NAME # reason", one line a test.
# The last line is "N passed, N failed"; the line before says how many could not run here.
set -u
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
# Debian's python3, meson and tools, whatever stands in front of them on this machine.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
unset PYTHONPATH PYTHONHOME

WARDFS_SRC=$(cd "$(dirname "$0")/.." && pwd)
WARDFS_TEST_BUILD=${WARDFS_TEST_BUILD:-$WARDFS_SRC/build-test}
export WARDFS_SRC WARDFS_TEST_BUILD
steps=$WARDFS_SRC/tests/steps

names=()
limits=()
groups=()
commands=()
# shellcheck source=tests/steps/table.sh
. "$steps/table.sh"

usage() {
	sed -n '4,14s/^# \{0,1\}//p' "$0"
}

list_steps() {
	local i
	for i in "${!names[@]}"; do
		printf '%-24s %5s s  %s\n' "${names[i]}" "${limits[i]}" "${groups[i]}"
	done
}

quick=0
only=()
while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=1 ;;
	--only)
		[ $# -gt 1 ] || { usage >&2; exit 2; }
		only+=("$2")
		shift
		;;
	--only=*) only+=("${1#--only=}") ;;
	--list)
		list_steps
		exit 0
		;;
	-h | --help)
		usage
		exit 0
		;;
	*)
		echo "tests/run.sh: unknown option '$1'" >&2
		usage >&2
		exit 2
		;;
	esac
	shift
done

passed=0
failed=0
skipped=0
failures=()
logs=$WARDFS_TEST_BUILD/logs
mkdir -p "$logs" || exit 1

say() {
	local s=$SECONDS
	printf '[%2d:%02d] %s\n' $((s / 60)) $((s % 60)) "$*"
}

# Counts what a step's log says; $2: the step's exit status.
count_log() {
	local name=$1 status=$2 log=$3 p f s line
	p=$(grep -c '^ok ' "$log")
	f=$(grep -c '^not ok ' "$log")
	s=$(grep -c '^skip ' "$log")
	while IFS= read -r line; do
		failures+=("$name: ${line#not ok }")
	done < <(grep '^not ok ' "$log")
	if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then
		f=1
		if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
			failures+=("$name: stopped at its time limit")
		else
			failures+=("$name: ended with status $status")
		fi
	elif [ $((p + f + s)) -eq 0 ]; then
		f=1
		failures+=("$name: reported nothing")
	fi
	passed=$((passed + p))
	failed=$((failed + f))
	skipped=$((skipped + s))
	say "     $p passed, $f failed, $s skipped in $((SECONDS - step_start)) s"
	grep '^skip ' "$log" | sort | uniq -c | sort -rn | head -5 | sed 's/^ *[0-9]* /        /'
	if [ "$f" -gt 0 ]; then
		grep '^not ok ' "$log" | head -40 | sed 's/^/        /'
		echo "     ---- end of $log:"
		tail -n 60 "$log" | sed 's/^/     | /'
	fi
}

# Runs a step under its time limit. Bit by bit: TERM first, so that it can unmount what it mounted.
run_step() {
	local name=$1 limit=$2 command=$3 status
	local log=$logs/$name.log
	step_start=$SECONDS
	say "$name (at most $limit s)"
	(cd "$WARDFS_SRC" && exec timeout --kill-after=30 "$limit" bash -c "$command") >"$log" 2>&1 </dev/null
	status=$?
	count_log "$name" "$status" "$log"
}

selected() {
	local name=$1 group=$2 pattern
	if [ "${#only[@]}" -gt 0 ]; then
		for pattern in "${only[@]}"; do
			# shellcheck disable=SC2053 # patterns are wanted
			[[ $name == $pattern ]] && return 0
		done
		return 1
	fi
	[ "$quick" -eq 0 ] || [ "$group" = quick ]
}

say "wardfs tests: source $WARDFS_SRC, build $WARDFS_TEST_BUILD"
if ! bash "$steps/packages.sh"; then
	echo "the packages that the tests need could not be installed"
	echo "0 passed, 1 failed"
	exit 1
fi

prepared=$WARDFS_TEST_BUILD/prepared
own_tmp=
clean_up() {
	local dir
	# Nothing mounted is ever removed: --one-file-system.
	[ -z "$own_tmp" ] || rm -rf --one-file-system "$own_tmp"
	while IFS= read -r dir; do
		umount "$dir" 2>/dev/null || umount -l "$dir" 2>/dev/null
	done < <(tac "$prepared" 2>/dev/null)
	rm -f "$prepared"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
bash "$steps/prepare.sh" "$prepared"

if [ -z "${WARDFS_TEST_TMP:-}" ]; then
	WARDFS_TEST_TMP=$(mktemp -d -p /var/tmp --suffix=.wardfs-test) || exit 1
	chmod 711 "$WARDFS_TEST_TMP"
	own_tmp=$WARDFS_TEST_TMP
fi
export WARDFS_TEST_TMP
# What the tests' vaults leave on this machine goes with them.
export XDG_STATE_HOME=$WARDFS_TEST_TMP/state

run_step build 600 "bash tests/steps/build.sh normal"
for i in "${!names[@]}"; do
	selected "${names[i]}" "${groups[i]}" || continue
	run_step "${names[i]}" "${limits[i]}" "${commands[i]}"
done

say "done"
for failure in ${failures[@]+"${failures[@]}"}; do
	echo "FAILED  $failure"
done
[ "$skipped" -eq 0 ] || echo "$skipped skipped, for the reasons above"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

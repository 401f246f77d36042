# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# The steps of tests/run.sh in their order: name, time limit in seconds, group (quick: part of --quick; full), command.
# The limit only ends a step that hangs: several times what a slow machine needs.
# A step whose program does not exist is not listed.

# step NAME LIMIT GROUP PROGRAM [ARGUMENT]...
step() {
	local name=$1 limit=$2 group=$3
	shift 3
	[ -e "$WARDFS_SRC/$1" ] || return 0
	local run=bash
	case $1 in
	*.py) run=/usr/bin/python3 ;;
	esac
	[ "$(head -c 22 "$WARDFS_SRC/$1")" != '#!/usr/bin/env python3' ] || run=/usr/bin/python3
	[ "$(head -c 16 "$WARDFS_SRC/$1")" != '#!/usr/bin/pytho' ] || run=/usr/bin/python3
	names+=("$name")
	limits+=("$limit")
	groups+=("$group")
	commands+=("exec $run $*")
}

step static-format 60 quick tests/steps/static_format.sh
step static-text 60 quick tests/steps/static_text.sh
step static-scripts 60 quick tests/steps/static_scripts.sh
step static-man 30 quick tests/steps/static_man.sh
step static-cppcheck 400 full tests/steps/static_cppcheck.sh
step static-tidy 600 full tests/steps/static_tidy.sh
step static-analyzer 600 full tests/steps/static_analyzer.sh
step meson 1800 quick tests/steps/meson_test.sh normal
step meson-asan 1800 full tests/steps/meson_test.sh asan
step meson-tsan 1800 full tests/steps/meson_test.sh tsan
step planted 600 full tests/steps/planted.sh
step fuzz 400 full tests/steps/fuzz.sh
step cli 1200 full tests/cli/run
step cli-daemon 600 full tests/steps/cli_daemon.sh
step interop 300 full tests/interop/run
step vaults 200 full tests/vaults/run
step hostile 900 full tests/hostile/run
step mount-tree 600 full tests/fuse/mounted/tree.sh
step mount-posix 300 full tests/fuse/mounted/posix.py
step mount-reused 200 full tests/fuse/mounted/reused.py
step mount-hang 300 full tests/fuse/mounted/hang.py
step mount-lock 600 full tests/fuse/mounted/lock.py
step mount-deaths 400 full tests/fuse/mounted/deaths.py
step mount-kill 600 full tests/fuse/mounted/kill.py
step mount-rotate 300 full tests/fuse/mounted/rotate.py
step mount-killload 600 full tests/fuse/mounted/killload.py
step mount-leftovers 600 full tests/fuse/mounted/leftovers.py
step mount-powercut 900 full tests/fuse/mounted/powercut.py
step mount-limits 400 full tests/fuse/mounted/limits.py
step mount-parked 400 full tests/fuse/mounted/parked.py
step mount-load 600 full tests/fuse/mounted/load.sh
step mount-stress 600 full tests/fuse/mounted/stress.sh
step mount-hosts 400 full tests/fuse/mounted/hosts.sh
step mount-hostgone 300 full tests/fuse/mounted/hostgone.py

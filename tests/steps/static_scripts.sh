#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Shell scripts pass shellcheck (SC2317 does not see functions that are called by name); Python files can be read by Debian's python3.
set -u
bad=0
is_shell() {
	case $(head -n 1 "$1" | tr -d '\0') in
	'#!'*bash* | '#!/bin/sh'*) return 0 ;;
	esac
	grep -q -m 1 '^# shellcheck shell=' "$1"
}
is_python() {
	case $(head -n 1 "$1" | tr -d '\0') in
	'#!'*python3*) return 0 ;;
	esac
	[[ $1 == *.py ]]
}
shells=()
pythons=()
while IFS= read -r file; do
	[ -f "$file" ] || continue
	if is_shell "$file"; then
		shells+=("$file")
	elif is_python "$file"; then
		pythons+=("$file")
	fi
done < <(git ls-files | grep -vE '\.([ch]|md|build|txt)$')
if shellcheck -x -e SC2317 "${shells[@]}"; then
	echo "ok shellcheck"
else
	echo "not ok shellcheck"
	bad=1
fi
parse='import ast, sys
for name in sys.argv[1:]:
    ast.parse(open(name, "rb").read(), name)'
if /usr/bin/python3 -c "$parse" "${pythons[@]}"; then
	echo "ok python-syntax"
else
	echo "not ok python-syntax"
	bad=1
fi
exit $bad

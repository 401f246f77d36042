#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What can be seen in the text of the files: licence lines, lengths, words and functions that must not stand there.
set -u
bad=0

# report NAME FINDINGS
report() {
	if [ -z "$2" ]; then
		echo "ok $1"
	else
		printf '%s\n' "$2"
		echo "not ok $1"
		bad=1
	fi
}

mapfile -t c_files < <(git ls-files '*.c' '*.h')
mapfile -t sources < <(git ls-files '*.c' '*.h' '*.sh' '*.py' '*meson.build' '*meson_options.txt' '.ci/run')

report spdx "$(for file in "${sources[@]}"; do
	head -n 2 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' || echo "$file"
done)"
report file-length "$(for file in "${c_files[@]}"; do
	[ "$(wc -l <"$file")" -le 800 ] || echo "$file: more than 800 lines"
done)"
# A function's body starts and ends with a brace in column 1.
report function-length "$(awk '
	FNR == 1 { start = 0 }
	/^{$/ { start = FNR }
	/^}$/ && start { if (FNR - start - 1 > 60) print FILENAME ":" start ": " FNR - start - 1 " lines"; start = 0 }
' ${c_files[@]+"${c_files[@]}"})"
report banned-functions "$(grep -nE '\b(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|alloca|gets|system|rand|srand)\(' \
	${c_files[@]+"${c_files[@]}"} | grep -v '//.*(')"
# What no meson.build names is neither built nor run. A name without its prefix ('test_' + name) counts in its own folder.
mapfile -t builds < <(git ls-files '*meson.build')
report unlisted "$(for file in "${c_files[@]}"; do
	[ "${file%.c}" != "$file" ] || continue
	name=$(basename "$file" .c) folder=$(dirname "$file")
	until [ -e "$folder/meson.build" ]; do folder=$(dirname "$folder"); done
	grep -qE "['/]$name(\.c)?'" "${builds[@]}" || grep -q "'${name#*_}'" "$folder/meson.build" ||
		echo "$file: no meson.build has it"
done)"
report unfinished "$(git grep -nE '\b(TO[D]O|FIX[M]E|XX[X])\b' -- ':!LICENSE')"
report local-paths "$(git grep -nE '(^|[^[:alnum:]._-])/(wor[k]|root/\.pyenv)/' -- ':!LICENSE')"
report crypto-layer "$(grep -nE '#include "(fusefs|daemon|tools)/' crypto/*.[ch] 2>/dev/null)"
report fusefs-layer "$(grep -nE '#include "(daemon|tools)/' fusefs/*.[ch] 2>/dev/null)"
# Libraries return; only programs print.
# What a user's service manager can only do with NoNewPrivileges=, which takes fusermount3 its right to mount.
report user-units "$(grep -nE '^(NoNewPrivileges|Lock|Restrict|SystemCall|Private(Devices|Users|Mounts|Network|Tmp)|Protect|MemoryDeny|Dynamic|Capability|Ambient)' \
	dist/wardfsd.service.in)"
report libraries-print "$(grep -nE '\b(printf|puts|perror|fprintf)\(' crypto/*.c fusefs/*.c 2>/dev/null)"
exit $bad

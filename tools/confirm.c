// SPDX-License-Identifier: Apache-2.0
#include "tools/confirm.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

int confirm_word(const char *question, const char *word)
{
	char line[512];

	if (!isatty(STDIN_FILENO))
		return WERR_USAGE;
	FILE *tty = fopen("/dev/tty", "r+e");
	if (!tty)
		return WERR_USAGE;
	fprintf(tty, "%s ", question);
	fflush(tty);
	const char *got = fgets(line, sizeof(line), tty);
	fclose(tty);
	if (!got)
		return WERR_USAGE;
	line[strcspn(line, "\n")] = 0;
	return strcmp(line, word) == 0 ? 0 : WERR_USAGE;
}

int confirm_yes(const char *question)
{
	char text[256];

	snprintf(text, sizeof(text), "%s Type yes to go on:", question);
	return confirm_word(text, "yes");
}

// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target over files, and over the files of directories, given as arguments. An input
// that the target refuses to survive ends the program by abort(), as under libFuzzer.
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/fuzz/fuzz.h"

#define INPUT_MAX (16u << 20)

static unsigned long inputs;

static int run_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	// Exactly as large as the input, so that a read behind its end shows under a sanitizer.
	uint8_t *whole = malloc(INPUT_MAX);
	uint8_t *data = NULL;
	int ok = 0;

	if (file != NULL && whole != NULL) {
		size_t size = fread(whole, 1, INPUT_MAX, file);
		data = malloc(size > 0 ? size : 1);
		if (ferror(file) == 0 && data != NULL) {
			memcpy(data, whole, size);
			(void)LLVMFuzzerTestOneInput(data, size);
			inputs++;
			ok = 1;
		}
	}
	if (!ok)
		(void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
	free(data);
	free(whole);
	if (file != NULL)
		(void)fclose(file);
	return ok;
}

static int run_directory(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int ok = 1;

	if (dir == NULL) {
		(void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 0;
	}
	while ((entry = readdir(dir)) != NULL) {
		char *name = NULL;

		if (entry->d_name[0] == '.')
			continue;
		if (asprintf(&name, "%s/%s", path, entry->d_name) < 0)
			abort();
		ok &= run_file(name);
		free(name);
	}
	(void)closedir(dir);
	return ok;
}

int main(int argc, char **argv)
{
	struct stat st;
	int ok = 1;

	for (int i = 1; i < argc; i++) {
		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			ok &= run_directory(argv[i]);
		else
			ok &= run_file(argv[i]);
	}
	// A corpus that was not found must not pass.
	if (inputs == 0) {
		(void)fprintf(stderr, "usage: %s FILE|DIRECTORY...\n", argv[0]);
		return 2;
	}
	(void)printf("%lu inputs\n", inputs);
	return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

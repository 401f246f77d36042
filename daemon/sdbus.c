// SPDX-License-Identifier: Apache-2.0
#include "daemon/sdbus.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

const struct sdbus *sdbus_load(void)
{
	static struct sdbus table;
	static int loaded;

	if (loaded)
		return loaded > 0 ? &table : NULL;
	void *library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
	loaded = library ? 1 : -1;
	// ISO C has no conversion from an object's address to a function's.
#define LOAD(name)                                                        \
	do {                                                              \
		void *symbol = loaded > 0 ? dlsym(library, #name) : NULL; \
		memcpy(&table.name, &symbol, sizeof(symbol));             \
		if (!symbol)                                              \
			loaded = -1;                                      \
	} while (0);
	SDBUS_FUNCTIONS(LOAD)
#undef LOAD
	return loaded > 0 ? &table : NULL;
}

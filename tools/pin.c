// SPDX-License-Identifier: Apache-2.0
#include "tools/pin.h"

static struct secret kept; // of this run of secrets_get; one thread

int pin_get(const struct secrets_hardware *hardware, const char *prompt, const struct secret **ret)
{
	if (!kept.bytes) {
		int err = passphrase_get(&hardware->pin, prompt, 0, &kept);
		if (err)
			return err;
	}
	*ret = &kept;
	return 0;
}

int pin_get_new(const struct secrets_hardware *hardware, const char *prompt, struct secret *ret)
{
	return passphrase_get(&hardware->pin, prompt, 1, ret);
}

void pin_forget(void)
{
	secret_clear(&kept);
}

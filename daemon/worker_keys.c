// SPDX-License-Identifier: Apache-2.0
// Header, ChangeKeyslots: other secrets for a mounted vault. The change is made by who asks for it,
// out of a copy of the header; here it is only checked and put in force.
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "daemon/worker_control.h"
#include "fusefs/rekey.h"

#define READ_WAIT_MS 30000

static json_t *hex(const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	char *text = malloc(2 * len);

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	json_t *j = json_stringn(text, 2 * len);
	free(text);
	return j;
}

// A reply with the header that is in force.
static int answer(struct fs *fs, json_t **ret)
{
	uint8_t *buf = malloc(VAULT_HEADER_BYTES);
	int err = buf ? rekey_header(fs, buf) : WERR_NOMEM;

	if (!err)
		*ret = json_pack("{so}", "header", hex(buf, VAULT_HEADER_BYTES));
	free(buf);
	return err;
}

int worker_header(void *arg, struct control_call *c)
{
	struct worker_control *w = arg;
	struct fs *fs = worker_control_fs(w);
	json_t *reply = NULL;

	if (!fs)
		return WERR_LOCKED;
	int err = answer(fs, &reply);
	worker_control_done(w);
	return err ? err : control_result(c, reply);
}

static int read_exactly(int fd, uint8_t *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (poll(&p, 1, READ_WAIT_MS) != 1)
			return WERR_IO;
		ssize_t n = read(fd, buf + done, len - done);
		if (n <= 0)
			return WERR_INVALID;
		done += (size_t)n;
	}
	return 0;
}

static int change(struct fs *fs, struct control_call *c, int fd)
{
	SECRET_AUTO uint8_t *root_key = secret_alloc(ROOT_KEY_BYTES);
	uint8_t *buf = malloc(VAULT_HEADER_BYTES);
	int in_force = 0;
	int err = root_key && buf ? 0 : WERR_NOMEM;

	if (!err)
		err = read_exactly(fd, root_key, ROOT_KEY_BYTES);
	if (!err)
		err = read_exactly(fd, buf, VAULT_HEADER_BYTES);
	if (!err)
		err = rekey_apply(fs, root_key, buf, &in_force);
	if (err && in_force)
		control_detail(c, "in force");
	free(buf);
	return err;
}

int worker_change_keyslots(void *arg, struct control_call *c)
{
	struct worker_control *w = arg;
	const int fd = control_fd(c);
	json_t *reply = NULL;

	if (fd < 0)
		return control_invalid(c, "descriptor");
	struct fs *fs = worker_control_fs(w);
	if (!fs) {
		close(fd);
		return WERR_LOCKED;
	}
	int err = change(fs, c, fd);
	close(fd);
	if (!err)
		err = answer(fs, &reply);
	worker_control_done(w);
	if (err)
		return err;
	worker_control_event(w, "keyslots");
	return control_result(c, reply);
}

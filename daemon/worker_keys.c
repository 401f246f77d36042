// SPDX-License-Identifier: Apache-2.0
// Header, ChangeKeyslots: other secrets for a mounted vault. The change is made by who asks for it,
// out of a copy of the header; here it is only checked and put in force.
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

static int read_exactly(struct control_call *c, int fd, uint8_t *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		int err = control_wait_ms(c, fd, READ_WAIT_MS);

		if (err)
			return err;
		ssize_t n = read(fd, buf + done, len - done);
		if (n <= 0)
			return WERR_INVALID;
		done += (size_t)n;
	}
	return 0;
}

// A lock waits for the end of what uses the engine: first everything is read.
static int change(struct worker_control *w, struct control_call *c, int fd, json_t **ret)
{
	SECRET_AUTO uint8_t *root_key = secret_alloc(ROOT_KEY_BYTES);
	uint8_t *buf = malloc(VAULT_HEADER_BYTES);
	int in_force = 0;
	int err = root_key && buf ? 0 : WERR_NOMEM;

	if (!err)
		err = read_exactly(c, fd, root_key, ROOT_KEY_BYTES);
	if (!err)
		err = read_exactly(c, fd, buf, VAULT_HEADER_BYTES);
	struct fs *fs = err ? NULL : worker_control_fs(w);
	// Only the end of the engine interrupts it, or of the client, which hears nothing then.
	if (err == WERR_INTERRUPTED || (!err && !fs))
		err = WERR_LOCKED;
	if (!err)
		err = rekey_apply(fs, root_key, buf, &in_force);
	if (err && in_force)
		control_detail(c, "in force");
	if (!err)
		err = answer(fs, ret);
	if (fs)
		worker_control_done(w);
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
	int err = change(w, c, fd, &reply);
	close(fd);
	if (err)
		return err;
	worker_control_event(w, "keyslots");
	return control_result(c, reply);
}

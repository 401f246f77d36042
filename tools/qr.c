// SPDX-License-Identifier: Apache-2.0
#include "tools/qr.h"

#ifdef WARDFS_QRENCODE
#include <qrencode.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "crypto/secret.h"
#include "tools/apart.h"

#define QUIET 2 // light modules around it
#define ROW_BYTES_MAX ((177u + 2u * QUIET) * 3u + 16u)

static int is_dark(const QRcode *qr, int x, int y)
{
	return x >= 0 && y >= 0 && x < qr->width && y < qr->width &&
	       (qr->data[y * qr->width + x] & 1);
}

// A row under way.
struct row {
	char *bytes;
	size_t len;
};

static void put(struct row *r, const char *text)
{
	for (; *text; text++)
		r->bytes[r->len++] = *text;
}

// Two rows of modules in a line of half blocks, light on dark, so that it can be read on either
// kind of terminal.
static size_t draw_row(const QRcode *qr, int y, char *out)
{
	static const char *const blocks[] = {"\u2588", "\u2580", "\u2584", " "};
	struct row r = {.bytes = out};

	put(&r, "\033[40;97m");
	for (int x = -QUIET; x < qr->width + QUIET; x++)
		put(&r, blocks[is_dark(qr, x, y) * 2 + is_dark(qr, x, y + 1)]);
	put(&r, "\033[0m\n");
	return r.len;
}

int qr_is_available(void)
{
	return 1;
}

// In a child: the library copies the text to memory that it frees without wiping it.
static int draw(void *arg, void *answer)
{
	SECRET_AUTO char *row = secret_alloc(ROW_BYTES_MAX);
	QRcode *qr = row ? QRcode_encodeString(arg, 0, QR_ECLEVEL_M, QR_MODE_8, 0) : NULL;
	int err = 0;

	(void)answer;
	if (!qr)
		return WERR_NOMEM;
	for (int y = -QUIET; y < qr->width + QUIET && !err; y += 2) {
		const size_t len = draw_row(qr, y, row);
		if (write(STDOUT_FILENO, row, len) != (ssize_t)len)
			err = WERR_IO;
	}
	QRcode_free(qr);
	return err;
}

int qr_print(const char *text)
{
	char nothing;

	return apart_run(draw, (void *)text, &nothing, sizeof(nothing));
}

#else

int qr_is_available(void)
{
	return 0;
}

int qr_print(const char *text)
{
	(void)text;
	return WERR_NOTSUP;
}

#endif

// SPDX-License-Identifier: Apache-2.0
#include "tools/strength.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/report.h"

#define SHORT_BYTES 8

#ifdef WARDFS_PWQUALITY
#include <errno.h>
#include <pwquality.h>

#define CODE_BASE 200 // exit status of the child: this plus the library's code, which is negative

// In a child of its own: the library copies the passphrase into memory that nobody wipes, and the
// end of a process is the surest wipe.
static int judge(const struct secret *passphrase)
{
	SECRET_AUTO char *text = secret_alloc(passphrase->len + 1);
	pwquality_settings_t *settings = pwquality_default_settings();
	void *detail = NULL;

	if (!text || !settings || memchr(passphrase->bytes, 0, passphrase->len))
		return 0;
	memcpy(text, passphrase->bytes, passphrase->len);
	// It prints there that it has no dictionary, which is no fault of the passphrase.
	close(STDERR_FILENO);
	// Length is what counts, not the kinds of characters.
	pwquality_set_int_value(settings, PWQ_SETTING_MIN_LENGTH, SHORT_BYTES);
	int code = pwquality_check(settings, text, NULL, NULL, &detail);
	if (code == PWQ_ERROR_CRACKLIB_CHECK && detail && strstr(detail, "loading"))
		return 0;
	return code < 0 && code >= -CODE_BASE / 2 ? CODE_BASE + code : 0;
}

static const char *weakness(const struct secret *passphrase, char *room, size_t cap)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		_exit(judge(passphrase));
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
	}
	// Any other status is no verdict.
	if (pid < 0 || !WIFEXITED(status) || WEXITSTATUS(status) < CODE_BASE / 2 ||
	    WEXITSTATUS(status) >= CODE_BASE)
		return NULL;
	const int code = WEXITSTATUS(status) - CODE_BASE;
	if (code == PWQ_ERROR_CRACKLIB_CHECK)
		return "it is in a dictionary of passwords";
	return pwquality_strerror(room, cap, code, NULL);
}

#else

static const char *weakness(const struct secret *passphrase, char *room, size_t cap)
{
	(void)room, (void)cap;
	return passphrase->len < SHORT_BYTES ? "it is shorter than 8 characters" : NULL;
}

#endif

void strength_warn(const struct secret *passphrase)
{
	char room[256];
	const char *why = weakness(passphrase, room, sizeof(room));

	if (why)
		report_warn(NULL,
			    "weak passphrase: %s; whoever has a copy of the vault can guess as "
			    "often as they like",
			    why);
}

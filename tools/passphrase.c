// SPDX-License-Identifier: Apache-2.0
#include "tools/passphrase.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "tools/report.h"

extern char **environ;

// A line under way, in secret memory.
struct line {
	uint8_t *bytes;
	size_t len;
};

static void close_cleanup(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}
#define FD_AUTO __attribute__((cleanup(close_cleanup)))

// One byte at a time: what stands behind the newline belongs to the next reader of fd.
// WERR_LIMIT: longer than PASSPHRASE_MAX_BYTES. open_mask: signals are blocked but for this mask
// while waiting, and one that is caught ends it with WERR_INTERRUPTED; NULL: none of that.
static int read_line(int fd, struct line *line, const sigset_t *open_mask)
{
	struct pollfd polled = {.fd = fd, .events = POLLIN};

	line->len = 0;
	for (;;) {
		uint8_t c;

		if (open_mask && ppoll(&polled, 1, NULL, open_mask) < 0)
			return werr_from_errno(errno);
		ssize_t n = read(fd, &c, 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return werr_from_errno(errno);
		if (n == 0 || c == '\n')
			return 0;
		if (line->len == PASSPHRASE_MAX_BYTES)
			return WERR_LIMIT;
		line->bytes[line->len++] = c;
		secret_wipe(&c, sizeof(c));
	}
}

static int report_read(int err, const char *subject)
{
	if (err == WERR_LIMIT)
		return report_fail(err, subject, "passphrase longer than %d bytes; choose another",
				   PASSPHRASE_MAX_BYTES);
	if (errno == EBADF)
		return report_fail(WERR_USAGE, subject, "not open for reading; check --passfd");
	return report_fail(err, subject, "cannot read the passphrase: %s", strerror(errno));
}

static int from_fd(int fd, const char *subject, struct line *line)
{
	int err = read_line(fd, line, NULL);

	return err ? report_read(err, subject) : 0;
}

// What a person calls it who is asked for it.
static const char *noun_of(const char *prompt)
{
	return strstr(prompt, "PIN")       ? "PIN"
	       : strstr(prompt, "ecovery") ? "recovery code"
					   : "passphrase";
}

static int from_file(const char *path, const char *noun, struct line *line)
{
	FD_AUTO int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return report_fail(werr_from_errno(errno), path, "cannot read the %s: %s", noun,
				   strerror(errno));
	if (S_ISREG(st.st_mode) && (st.st_mode & 044))
		report_warn(path, "other users can read this %s; use 'chmod 600'", noun);
	return from_fd(fd, path, line);
}

// ---- a command ----

static int spawn_shell(const char *command, int out, pid_t *ret)
{
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)command, NULL};
	posix_spawn_file_actions_t actions;

	if (posix_spawn_file_actions_init(&actions))
		return WERR_NOMEM;
	int err = posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (!err)
		err = posix_spawn(ret, "/bin/sh", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return werr_from_errno(err);
}

// Reads to the end, so that the command does not fail at writing what we do not need.
static void drain(int fd)
{
	SECRET_AUTO uint8_t *scratch = secret_alloc(PASSPHRASE_MAX_BYTES);

	while (scratch && read(fd, scratch, PASSPHRASE_MAX_BYTES) > 0) {
	}
}

static int wait_for(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -1;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int from_command(const char *command, struct line *line)
{
	FD_AUTO int in = -1;
	FD_AUTO int out = -1;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC))
		return report_fail(werr_from_errno(errno), command, "%s", strerror(errno));
	in = ends[0];
	out = ends[1];
	int err = spawn_shell(command, out, &pid);
	if (err)
		return report_fail(err, command, "cannot be started: %s", werr_text(err));
	close(out);
	out = -1; // NOLINT(clang-analyzer-deadcode.DeadStores): the clean-up of the scope reads it
	err = from_fd(in, command, line);
	drain(in);
	int status = wait_for(pid);
	if (!err && status != 0)
		err = report_fail(WERR_IO, command, "ended with status %d; no passphrase from it",
				  status);
	return err;
}

// ---- the terminal ----

static const int tty_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU};
#define TTY_SIGNALS (sizeof(tty_signals) / sizeof(tty_signals[0]))
static volatile sig_atomic_t tty_caught[TTY_SIGNALS];

static void tty_handler(int sig)
{
	for (size_t i = 0; i < TTY_SIGNALS; i++) {
		if (tty_signals[i] == sig)
			tty_caught[i] = 1;
	}
}

// What is put back when the terminal echoes again.
struct tty_saved {
	struct sigaction actions[TTY_SIGNALS];
	sigset_t mask;
};

// From here on the signals come in only where a wait lets them, so that none is missed between a
// look at tty_caught and the wait.
static void tty_catch(struct tty_saved *old)
{
	struct sigaction catch = {.sa_handler = tty_handler};
	sigset_t block;

	sigemptyset(&catch.sa_mask);
	sigemptyset(&block);
	for (size_t i = 0; i < TTY_SIGNALS; i++)
		sigaddset(&block, tty_signals[i]);
	sigprocmask(SIG_BLOCK, &block, &old->mask);
	for (size_t i = 0; i < TTY_SIGNALS; i++) {
		tty_caught[i] = 0;
		sigaction(tty_signals[i], &catch, &old->actions[i]);
	}
}

// Sends the signals on that came while the terminal did not echo. Returns whether one stopped the
// process and it goes on now, so that the question is due again.
static int tty_release(const struct tty_saved *old)
{
	int again = 0;

	for (size_t i = 0; i < TTY_SIGNALS; i++)
		sigaction(tty_signals[i], &old->actions[i], NULL);
	sigprocmask(SIG_SETMASK, &old->mask, NULL);
	for (size_t i = 0; i < TTY_SIGNALS; i++) {
		int sig = tty_signals[i];

		if (!tty_caught[i])
			continue;
		kill(getpid(), sig);
		again |= sig == SIGTSTP || sig == SIGTTIN || sig == SIGTTOU;
	}
	return again;
}

static int tty_read_once(int tty, const char *prompt, const sigset_t *open_mask, struct line *line)
{
	struct termios saved, silent;

	if (tcgetattr(tty, &saved))
		return werr_from_errno(errno);
	silent = saved;
	silent.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	silent.c_lflag |= ICANON | ISIG;
	if (tcsetattr(tty, TCSAFLUSH, &silent))
		return werr_from_errno(errno);
	dprintf(tty, "%s: ", prompt);
	int err = read_line(tty, line, open_mask);
	int read_errno = errno;
	dprintf(tty, "\n");
	while (tcsetattr(tty, TCSAFLUSH, &saved) && errno == EINTR) {
	}
	errno = read_errno;
	return err;
}

static int tty_ask(const char *prompt, struct line *line)
{
	FD_AUTO int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	struct tty_saved old;
	int err, again;

	if (tty < 0)
		return report_fail(WERR_USAGE, NULL,
				   "no terminal to ask for the passphrase; use --passfile, "
				   "--passfd or --extpass");
	do {
		tty_catch(&old);
		err = tty_read_once(tty, prompt, &old.mask, line);
		again = tty_release(&old);
	} while (err && again);
	return err ? report_read(err, "terminal") : 0;
}

static int from_terminal(const char *prompt, int ask_twice, struct line *line)
{
	SECRET_AUTO uint8_t *again_bytes = secret_alloc(PASSPHRASE_MAX_BYTES);
	struct line again = {.bytes = again_bytes};
	char question[96];

	if (!again_bytes)
		return report_fail(WERR_NOMEM, NULL, "out of memory");
	int err = tty_ask(prompt, line);
	if (err || !ask_twice || line->len == 0)
		return err;
	snprintf(question, sizeof(question), "%s again", prompt);
	err = tty_ask(question, &again);
	if (err)
		return err;
	if (again.len != line->len || !secret_equal(again.bytes, line->bytes, line->len))
		return report_fail(WERR_INVALID, NULL,
				   "the two passphrases differ; nothing was changed, try again");
	return 0;
}

// ---- the choice ----

// The path of the systemd credential, or an empty string.
static void credential_path(const struct passphrase_source *source, char *path, size_t cap)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");

	path[0] = 0;
	if (!dir || !source->credential)
		return;
	int n = snprintf(path, cap, "%s/%s", dir, source->credential);
	if (n < 0 || (size_t)n >= cap || access(path, F_OK))
		path[0] = 0;
}

int passphrase_asks(const struct passphrase_source *source)
{
	char path[4096];

	if (source->kind != PASSPHRASE_AUTO)
		return 0;
	credential_path(source, path, sizeof(path));
	return !path[0] && isatty(STDIN_FILENO);
}

static int from_auto(const struct passphrase_source *source, const char *prompt, int ask_twice,
		     struct line *line)
{
	char path[4096];

	credential_path(source, path, sizeof(path));
	if (path[0])
		return from_file(path, noun_of(prompt), line);
	if (isatty(STDIN_FILENO))
		return from_terminal(prompt, ask_twice, line);
	return from_fd(STDIN_FILENO, "standard input", line);
}

int passphrase_get(const struct passphrase_source *source, const char *prompt, int ask_twice,
		   struct secret *ret)
{
	SECRET_AUTO uint8_t *bytes = secret_alloc(PASSPHRASE_MAX_BYTES);
	struct line line = {.bytes = bytes};
	char name[32];
	int err = WERR_INTERNAL;

	if (!bytes)
		return report_fail(WERR_NOMEM, NULL, "out of memory");
	switch (source->kind) {
	case PASSPHRASE_AUTO:
		err = from_auto(source, prompt, ask_twice, &line);
		break;
	case PASSPHRASE_FILE:
		err = from_file(source->path, noun_of(prompt), &line);
		break;
	case PASSPHRASE_FD:
		snprintf(name, sizeof(name), "file descriptor %d", source->fd);
		err = from_fd(source->fd, name, &line);
		break;
	case PASSPHRASE_COMMAND:
		err = from_command(source->command, &line);
		break;
	}
	if (err)
		return err;
	if (line.len == 0)
		return report_fail(WERR_USAGE, NULL, "empty %s; give one of at least one byte",
				   noun_of(prompt));
	err = secret_copy(ret, line.bytes, line.len);
	return err ? report_fail(err, NULL, "%s", werr_text(err)) : 0;
}

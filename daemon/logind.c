// SPDX-License-Identifier: Apache-2.0
#include "daemon/logind.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "daemon/sdbus.h"

#define NAME "org.freedesktop.login1"
#define PATH "/org/freedesktop/login1"
#define MANAGER NAME ".Manager"
#define SESSION NAME ".Session"

#define CALL_US 5000000u
// A session whose processes go on, as our own may, is "closing" and tells nobody.
#define LOOK_MS 30000
#define RETRY_MS 60000
#define END_S 2
// logind's own, when it does not say.
#define DELAY_MS 5000
#define SESSIONS_MAX 64

const char logind_lack[] = "no logind here tells of";

struct logind {
	struct logind_params p;
	pthread_t thread;
	int wake; // eventfd

	// of the thread
	const struct sdbus *b;
	sd_bus *bus;
	char *sessions[SESSIONS_MAX]; // object paths of the user's
	size_t sessions_len;
	int had_session;
	int64_t look_ms, retry_ms; // when to look at the sessions, and to try again
	int refused;               // the inhibitor

	pthread_mutex_t lock; // guards what follows
	int events, delay, stop;
	int sleeping;  // between PrepareForSleep(true) and (false)
	int inhibitor; // descriptor; -1: none
	int64_t delay_ms;
	enum logind_state state;
};

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void enter(struct logind *l, enum logind_state state, const char *why)
{
	pthread_mutex_lock(&l->lock);
	int changed = l->state != state;
	l->state = state;
	pthread_mutex_unlock(&l->lock);
	if (changed)
		l->p.news(l->p.arg, why);
}

// ---- sessions ----

static void forget_sessions(struct logind *l)
{
	for (size_t i = 0; i < l->sessions_len; i++) {
		free(l->sessions[i]);
		l->sessions[i] = NULL;
	}
	l->sessions_len = 0;
}

static size_t find_session(const struct logind *l, const char *path)
{
	size_t i = 0;

	while (path && i < l->sessions_len && strcmp(l->sessions[i], path) != 0)
		i++;
	return path ? i : l->sessions_len;
}

// Not one of the service manager, of cron or of a greeter; and not one that is over.
static int is_session(struct logind *l, const char *path)
{
	char *class = NULL, *state = NULL;
	int is = l->b->sd_bus_get_property_string(l->bus, NAME, path, SESSION, "Class", NULL,
						  &class) >= 0 &&
		 !strncmp(class, "user", 4);

	if (is && l->b->sd_bus_get_property_string(l->bus, NAME, path, SESSION, "State", NULL,
						   &state) >= 0)
		is = strcmp(state, "closing") != 0;
	free(class);
	free(state);
	return is;
}

static int list_sessions(struct logind *l, sd_bus_message *m)
{
	const char *path;
	uint32_t uid;
	int r = l->b->sd_bus_message_enter_container(m, 'a', "(susso)");

	while (r >= 0 &&
	       (r = l->b->sd_bus_message_read(m, "(susso)", NULL, &uid, NULL, NULL, &path)) > 0) {
		if (uid == getuid() && l->sessions_len < SESSIONS_MAX && is_session(l, path)) {
			l->sessions[l->sessions_len] = strdup(path);
			l->sessions_len += l->sessions[l->sessions_len] != NULL;
		}
	}
	return r;
}

// Whether the last one is gone is told by it, too.
static int look_at_sessions(struct logind *l)
{
	sd_bus_message *m = NULL;
	int r = l->b->sd_bus_call_method(l->bus, NAME, PATH, MANAGER, "ListSessions", NULL, &m,
					 NULL);

	if (r >= 0) {
		forget_sessions(l);
		r = list_sessions(l, m);
		l->b->sd_bus_message_unref(m);
	}
	l->look_ms = now_ms() + LOOK_MS;
	if (r < 0)
		return r;
	int had = l->had_session;
	l->had_session = l->sessions_len > 0;
	if (had && !l->had_session)
		l->p.event(l->p.arg, LOGIND_SESSION_END);
	return 0;
}

// ---- what logind says ----

// lock held
static void drop_inhibitor(struct logind *l)
{
	if (l->inhibitor >= 0)
		close(l->inhibitor);
	l->inhibitor = -1;
}

// Nobody will tell of the end of a sleep that has begun.
static void forget_sleep(struct logind *l)
{
	pthread_mutex_lock(&l->lock);
	int slept = l->sleeping;
	l->sleeping = 0;
	drop_inhibitor(l);
	pthread_mutex_unlock(&l->lock);
	if (slept)
		l->p.event(l->p.arg, LOGIND_WAKE);
}

static int on_sleep(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct logind *l = arg;
	int begins = 0;

	(void)error;
	if (l->b->sd_bus_message_read(m, "b", &begins) < 0)
		return 0;
	pthread_mutex_lock(&l->lock);
	l->sleeping = begins;
	pthread_mutex_unlock(&l->lock);
	l->p.event(l->p.arg, begins ? LOGIND_SLEEP : LOGIND_WAKE);
	return 0;
}

// Another logind, which knows nothing of a sleep that the one before had begun.
static int on_owner(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	const char *owner = "";
	struct logind *l = arg;

	(void)error;
	if (l->b->sd_bus_message_read(m, "sss", NULL, NULL, &owner) < 0 || !owner[0])
		return 0;
	l->refused = 0;
	forget_sleep(l);
	(void)look_at_sessions(l);
	return 0;
}

static int on_session(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	(void)m;
	(void)error;
	(void)look_at_sessions(arg);
	return 0;
}

static int on_lock(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct logind *l = arg;

	(void)error;
	if (find_session(l, l->b->sd_bus_message_get_path(m)) < l->sessions_len)
		l->p.event(l->p.arg, LOGIND_SCREEN_LOCK);
	return 0;
}

// Desktops that lock the screen themselves say so by a hint.
static int on_property(sd_bus_message *m, void *arg, sd_bus_error *error)
{
	struct logind *l = arg;
	const char *name;
	int locked = 0;

	(void)error;
	if (find_session(l, l->b->sd_bus_message_get_path(m)) == l->sessions_len ||
	    l->b->sd_bus_message_skip(m, "s") < 0 ||
	    l->b->sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
		return 0;
	while (l->b->sd_bus_message_enter_container(m, 'e', "sv") > 0) {
		if (l->b->sd_bus_message_read(m, "s", &name) < 0)
			return 0;
		int r = !strcmp(name, "LockedHint")
				? l->b->sd_bus_message_read(m, "v", "b", &locked)
				: l->b->sd_bus_message_skip(m, "v");
		if (r < 0 || l->b->sd_bus_message_exit_container(m) < 0)
			return 0;
	}
	if (locked)
		l->p.event(l->p.arg, LOGIND_SCREEN_LOCK);
	return 0;
}

// ---- the inhibitor ----

static int take_inhibitor(struct logind *l)
{
	sd_bus_message *m = NULL;
	int fd = -1;
	int r = l->b->sd_bus_call_method(l->bus, NAME, PATH, MANAGER, "Inhibit", NULL, &m, "ssss",
					 "sleep", "wardfs", "vaults are locked", "delay");

	if (r >= 0)
		r = l->b->sd_bus_message_read(m, "h", &fd);
	// The message owns its descriptor.
	if (r >= 0) {
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		r = fd < 0 ? -errno : 0;
	}
	l->b->sd_bus_message_unref(m);
	if (r < 0)
		return r;
	pthread_mutex_lock(&l->lock);
	l->inhibitor = fd;
	pthread_mutex_unlock(&l->lock);
	return 0;
}

static void settle_inhibitor(struct logind *l)
{
	char line[120];

	pthread_mutex_lock(&l->lock);
	int take = l->delay && !l->sleeping && l->inhibitor < 0;
	if (!l->delay) {
		drop_inhibitor(l);
		l->refused = 0;
	}
	int delay = l->delay;
	pthread_mutex_unlock(&l->lock);
	if (!take || l->refused) {
		if (!delay)
			enter(l, LOGIND_PRESENT, NULL);
		return;
	}
	int r = take_inhibitor(l);
	l->refused = r < 0;
	snprintf(line, sizeof(line),
		 "logind lets nobody delay sleep here: %s; locking at sleep is "
		 "without effect",
		 r < 0 ? strerror(-r) : "");
	enter(l, r < 0 ? LOGIND_PRESENT : LOGIND_DELAYING, r < 0 ? line : NULL);
}

// ---- the bus ----

static void disconnect(struct logind *l)
{
	l->bus = l->b->sd_bus_flush_close_unref(l->bus);
	forget_sessions(l);
	l->had_session = 0;
	l->refused = 0;
	forget_sleep(l);
}

#define OWNER                                                                       \
	"type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus'," \
	"interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" NAME "'"
#define MATCH(interface, member) \
	"type='signal',sender='" NAME "',interface='" interface "',member='" member "'"

static int listen_to(struct logind *l)
{
	static const struct {
		const char *match;
		sd_bus_message_handler_t handler;
	} signals[] = {
		{OWNER, on_owner},
		{MATCH(MANAGER, "PrepareForSleep") ",path='" PATH "'", on_sleep},
		{MATCH(MANAGER, "SessionNew") ",path='" PATH "'", on_session},
		{MATCH(MANAGER, "SessionRemoved") ",path='" PATH "'", on_session},
		{MATCH(SESSION, "Lock"), on_lock},
		{MATCH("org.freedesktop.DBus.Properties", "PropertiesChanged") ",arg0='" SESSION
									       "'",
		 on_property},
	};
	int r = 0;

	for (size_t i = 0; r >= 0 && i < sizeof(signals) / sizeof(signals[0]); i++)
		r = l->b->sd_bus_add_match(l->bus, NULL, signals[i].match, signals[i].handler, l);
	return r;
}

static int connect_bus(struct logind *l)
{
	uint64_t us = 0;
	int r = l->b->sd_bus_open_system(&l->bus);

	if (r < 0)
		return r;
	(void)l->b->sd_bus_set_method_call_timeout(l->bus, CALL_US);
	r = listen_to(l);
	if (r >= 0)
		r = look_at_sessions(l);
	if (r < 0) {
		disconnect(l);
		return r;
	}
	r = l->b->sd_bus_get_property_trivial(l->bus, NAME, PATH, MANAGER, "InhibitDelayMaxUSec",
					      NULL, 't', &us);
	pthread_mutex_lock(&l->lock);
	l->delay_ms = r < 0 || us / 1000 > INT32_MAX ? DELAY_MS : (int64_t)(us / 1000);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

static void lose(struct logind *l, int r)
{
	char line[160];

	snprintf(line, sizeof(line),
		 "no logind to talk to (%s): locking at sleep, screen lock and session end is "
		 "without effect",
		 strerror(-r));
	l->retry_ms = now_ms() + RETRY_MS;
	enter(l, LOGIND_ABSENT, line);
}

static void keep_connected(struct logind *l, int wanted)
{
	int r = 0;

	if (!wanted && l->bus) {
		disconnect(l);
		enter(l, LOGIND_ASKING, NULL);
	}
	if (!wanted || (!l->bus && now_ms() < l->retry_ms))
		return;
	l->b = sdbus_load();
	if (!l->b)
		r = -ENOPKG;
	else if (!l->bus)
		r = connect_bus(l);
	// As many as there are: they are not seen by poll any more.
	while (r >= 0 && (r = l->b->sd_bus_process(l->bus, NULL)) > 0)
		;
	if (r >= 0 && now_ms() >= l->look_ms)
		r = look_at_sessions(l);
	if (r >= 0) {
		settle_inhibitor(l);
		return;
	}
	if (l->bus)
		disconnect(l);
	lose(l, r);
}

static void wait_for_news(struct logind *l, int wanted)
{
	struct pollfd polled[2] = {{.fd = l->wake, .events = POLLIN}, {.fd = -1}};
	int64_t ms = wanted ? (l->bus ? l->look_ms : l->retry_ms) - now_ms() : -1;
	eventfd_t count;

	if (l->bus) {
		int events = l->b->sd_bus_get_events(l->bus);
		uint64_t until_us = UINT64_MAX;

		polled[1].fd = l->b->sd_bus_get_fd(l->bus);
		polled[1].events = (short)(events < 0 ? POLLIN : events);
		(void)l->b->sd_bus_get_timeout(l->bus, &until_us);
		if (until_us != UINT64_MAX && (int64_t)(until_us / 1000) - now_ms() < ms)
			ms = (int64_t)(until_us / 1000) - now_ms() + 1;
	}
	(void)poll(polled, 2, wanted && ms < 0 ? 0 : (int)ms);
	(void)!eventfd_read(l->wake, &count);
}

static void *follow(void *arg)
{
	struct logind *l = arg;

	for (;;) {
		pthread_mutex_lock(&l->lock);
		int wanted = l->events, stop = l->stop;
		pthread_mutex_unlock(&l->lock);
		keep_connected(l, wanted && !stop);
		if (stop)
			return NULL;
		wait_for_news(l, wanted);
	}
}

// ---- from other threads ----

int logind_new(const struct logind_params *params, struct logind **ret)
{
	struct logind *l = calloc(1, sizeof(*l));
	sigset_t all, old;

	if (!l)
		return WERR_NOMEM;
	l->p = *params;
	l->inhibitor = -1;
	l->delay_ms = DELAY_MS;
	pthread_mutex_init(&l->lock, NULL);
	l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int err = l->wake < 0 ? WERR_MFILE : 0;
	if (!err && pthread_create(&l->thread, NULL, follow, l))
		err = WERR_NOMEM;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err) {
		if (l->wake >= 0)
			close(l->wake);
		free(l);
		return err;
	}
	*ret = l;
	return 0;
}

void logind_want(struct logind *l, int events, int delay)
{
	pthread_mutex_lock(&l->lock);
	int changed = l->events != events || l->delay != delay;
	l->events = events;
	l->delay = delay;
	pthread_mutex_unlock(&l->lock);
	if (changed)
		eventfd_write(l->wake, 1);
}

void logind_let_sleep(struct logind *l)
{
	pthread_mutex_lock(&l->lock);
	if (l->sleeping)
		drop_inhibitor(l);
	pthread_mutex_unlock(&l->lock);
}

enum logind_state logind_state(struct logind *l)
{
	pthread_mutex_lock(&l->lock);
	enum logind_state state = l->state;
	pthread_mutex_unlock(&l->lock);
	return state;
}

int64_t logind_delay_ms(struct logind *l)
{
	pthread_mutex_lock(&l->lock);
	int64_t ms = l->delay_ms;
	pthread_mutex_unlock(&l->lock);
	return ms;
}

void logind_free(struct logind *l)
{
	struct timespec until;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->stop = 1;
	pthread_mutex_unlock(&l->lock);
	eventfd_write(l->wake, 1);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += END_S;
	// A bus that hangs holds the thread; the process ends without it.
	if (pthread_timedjoin_np(l->thread, NULL, &until))
		return;
	close(l->wake);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

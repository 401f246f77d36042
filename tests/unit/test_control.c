// SPDX-License-Identifier: Apache-2.0
// Server and client of the control protocol, over socket pairs.
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/channel.h"
#include "daemon/control_client.h"
#include "daemon/varlink.h"
#include "tests/unit/unit_files.h"
#include "tests/unit/unit_main.h"

struct world {
	struct control_server *server;
	struct control_server *behind; // what `other` relays to
	_Atomic int gone;              // a handler has seen that its client is gone
};

static int echo(void *arg, struct control_call *c)
{
	(void)arg;
	if (!control_string(c, "text"))
		return control_invalid(c, "text");
	return control_result(c, json_incref(control_params(c)));
}

static int count(void *arg, struct control_call *c)
{
	(void)arg;
	for (int i = 1; i <= 3; i++) {
		if (control_progress(c, json_pack("{si}", "n", i)))
			return control_result(c, NULL);
	}
	return control_result(c, json_pack("{si}", "n", 4));
}

static int fails(void *arg, struct control_call *c)
{
	(void)arg;
	control_detail(c, "slot %d", 3);
	return WERR_SECRET;
}

static int read_fd(void *arg, struct control_call *c)
{
	char text[16] = {0};
	int fd = control_fd(c);

	(void)arg;
	if (fd < 0)
		return WERR_USAGE;
	ssize_t n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n < 0 ? WERR_IO : control_result(c, json_pack("{ss}", "text", text));
}

static int until_gone(void *arg, struct control_call *c)
{
	struct world *w = arg;

	if (control_progress(c, NULL) == 0) {
		while (!control_gone(c))
			usleep(1000);
	}
	atomic_store(&w->gone, 1);
	return control_result(c, NULL);
}

static int watch(void *arg, struct control_call *c)
{
	(void)arg;
	return control_progress(c, NULL) ? control_result(c, NULL) : control_watch(c);
}

static int relay(void *arg, struct control_call *c)
{
	struct world *w = arg;
	int ends[2];

	if (!w->behind)
		return WERR_LOCKED;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	ck_assert_int_eq(control_adopt(w->behind, ends[1]), 0);
	return control_forward(c, ends[0]);
}

static const struct control_method methods[] = {
	{"Echo", echo, 0},
	{"Count", count, CONTROL_MORE},
	{"Fails", fails, 0},
	{"ReadFd", read_fd, CONTROL_FD},
	{"UntilGone", until_gone, CONTROL_MORE},
	{"Watch", watch, CONTROL_MORE},
};

static void start(struct world *w, int with_behind)
{
	struct control_params p = {
		.methods = methods, .methods_len = sizeof(methods) / sizeof(methods[0]), .arg = w};

	memset(w, 0, sizeof(*w));
	if (with_behind) {
		ck_assert_int_eq(control_new(&p, &w->behind), 0);
		p.methods_len = 0;
	}
	p.other = relay;
	ck_assert_int_eq(control_new(&p, &w->server), 0);
}

static void end(struct world *w)
{
	control_free(w->server);
	control_free(w->behind);
}

static struct control_client *connect_to(struct world *w)
{
	struct control_client *c = NULL;
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	ck_assert_int_eq(control_adopt(w->server, ends[0]), 0);
	ck_assert_int_eq(control_connect_fd(ends[1], &c), 0);
	return c;
}

static int add(void *arg, json_t *reply)
{
	*(int *)arg += (int)json_integer_value(json_object_get(reply, "n"));
	return 0;
}

START_TEST(calls)
{
	struct world w;
	json_t *reply = NULL;
	int sum = 0;

	start(&w, _i);
	struct control_client *c = connect_to(&w);
	ck_assert_int_eq(control_call(c, "Echo", json_pack("{ss}", "text", "a\n"), NULL, &reply),
			 0);
	ck_assert_str_eq(json_string_value(json_object_get(reply, "text")), "a\n");
	json_decref(reply);
	reply = NULL;
	ck_assert_int_eq(control_call(c, "Echo", NULL, NULL, &reply), WERR_INTERNAL);
	ck_assert_ptr_null(reply);
	ck_assert_int_eq(control_call(c, "Fails", NULL, NULL, &reply), WERR_SECRET);
	ck_assert_str_eq(control_detail_of(c), "slot 3");
	const struct control_how more = {.more = 1, .fd = -1, .progress = add, .arg = &sum};
	ck_assert_int_eq(control_call(c, "Count", NULL, &more, &reply), 0);
	ck_assert_int_eq(sum, 6);
	ck_assert_int_eq(json_integer_value(json_object_get(reply, "n")), 4);
	json_decref(reply);
	// Without "more" there is one reply.
	ck_assert_int_eq(control_call(c, "Count", NULL, NULL, &reply), 0);
	ck_assert_int_eq(json_integer_value(json_object_get(reply, "n")), 4);
	json_decref(reply);
	control_close(c);
	end(&w);
}
END_TEST

START_TEST(descriptors)
{
	struct world w;
	json_t *reply = NULL;
	int ends[2];

	start(&w, _i);
	struct control_client *c = connect_to(&w);
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(write(ends[1], "secret", 6), 6);
	close(ends[1]);
	const struct control_how how = {.fd = ends[0]};
	ck_assert_int_eq(control_call(c, "ReadFd", NULL, &how, &reply), 0);
	close(ends[0]);
	ck_assert_str_eq(json_string_value(json_object_get(reply, "text")), "secret");
	json_decref(reply);
	ck_assert_int_eq(control_call(c, "ReadFd", NULL, NULL, NULL), WERR_USAGE);
	// One that nobody asked for is closed: the pipe has no reader left.
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	const struct control_how unasked = {.fd = ends[0]};
	ck_assert_int_eq(control_call(c, "Fails", NULL, &unasked, NULL), WERR_SECRET);
	ck_assert_int_eq(control_call(c, "Fails", NULL, NULL, NULL), WERR_SECRET);
	close(ends[0]);
	ck_assert_int_eq(write(ends[1], "x", 1), -1);
	close(ends[1]);
	control_close(c);
	end(&w);
}
END_TEST

static int give_up(void *arg, json_t *reply)
{
	(void)arg;
	(void)reply;
	return WERR_INTERRUPTED;
}

START_TEST(handlers_see_that_the_client_is_gone)
{
	struct world w;
	const struct control_how how = {.more = 1, .fd = -1, .progress = give_up};

	start(&w, _i);
	struct control_client *c = connect_to(&w);
	ck_assert_int_eq(control_call(c, "UntilGone", NULL, &how, NULL), WERR_INTERRUPTED);
	ck_assert_int_eq(atomic_load(&w.gone), 0);
	control_close(c);
	for (int i = 0; i < 10000 && !atomic_load(&w.gone); i++)
		usleep(1000);
	ck_assert_int_eq(atomic_load(&w.gone), 1);
	end(&w);
}
END_TEST

START_TEST(handlers_see_the_end_of_the_server)
{
	struct world w;
	const struct control_how how = {.more = 1, .fd = -1, .progress = give_up};

	start(&w, 0);
	struct control_client *c = connect_to(&w);
	ck_assert_int_eq(control_call(c, "UntilGone", NULL, &how, NULL), WERR_INTERRUPTED);
	end(&w);
	ck_assert_int_eq(atomic_load(&w.gone), 1);
	control_close(c);
}
END_TEST

struct seen {
	struct world *w;
	int events, last;
};

static int on_event(void *arg, json_t *reply)
{
	struct seen *s = arg;
	json_t *n = json_object_get(reply, "n");

	if (!n) {
		for (int i = 1; i <= 300; i++)
			control_event(s->w->server, json_pack("{si}", "n", i));
		return 0;
	}
	s->events++;
	ck_assert_int_gt((int)json_integer_value(n), s->last);
	s->last = (int)json_integer_value(n);
	return s->last == 300 ? WERR_INTERRUPTED : 0;
}

START_TEST(watchers_see_events_in_order)
{
	struct world w;
	struct seen seen = {.w = &w};
	const struct control_how how = {.more = 1, .fd = -1, .progress = on_event, .arg = &seen};

	start(&w, 0);
	control_event(w.server, json_pack("{si}", "n", 1000)); // before the watch: not seen
	struct control_client *c = connect_to(&w);
	ck_assert_int_eq(control_call(c, "Watch", NULL, &how, NULL), WERR_INTERRUPTED);
	// Who is slow loses the oldest, never the newest.
	ck_assert_int_gt(seen.events, 100);
	ck_assert_int_eq(seen.last, 300);
	control_close(c);
	end(&w);
}
END_TEST

struct silent {
	struct world *w;
	int times, heard;
};

// The third silence is the last: then there is something to hear.
static int on_silence(void *arg)
{
	struct silent *s = arg;

	s->times++;
	if (s->times == 3)
		control_event(s->w->server, json_pack("{si}", "n", 7));
	return s->heard ? WERR_INTERRUPTED : 0;
}

static int hear(void *arg, json_t *reply)
{
	struct silent *s = arg;

	s->heard |= json_integer_value(json_object_get(reply, "n")) == 7;
	return 0;
}

START_TEST(silence_is_not_the_end)
{
	struct world w;
	struct silent s = {.w = &w};
	const struct control_how how = {.more = 1,
					.fd = -1,
					.progress = hear,
					.silence = on_silence,
					.arg = &s,
					.timeout_ms = 20};
	const struct control_how without = {.more = 1, .fd = -1, .timeout_ms = 20};

	start(&w, 0);
	struct control_client *c = connect_to(&w);
	ck_assert_int_eq(control_call(c, "Watch", NULL, &how, NULL), WERR_INTERRUPTED);
	ck_assert(s.heard && s.times >= 4);
	control_close(c);
	c = connect_to(&w);
	ck_assert_int_eq(control_call(c, "Watch", NULL, &without, NULL), WERR_IO);
	control_close(c);
	end(&w);
}
END_TEST

struct seeker {
	char path[UNIT_DIR_BYTES + 8];
	atomic_int end;
};

static void *seek(void *arg)
{
	struct seeker *s = arg;

	while (!atomic_load(&s->end)) {
		struct control_client *c = NULL;

		if (control_connect_path(s->path, geteuid(), &c) == 0)
			control_close(c);
	}
	return NULL;
}

// Who looks for services removes what a dead one has left, but not one that is just beginning.
START_TEST(found_as_soon_as_it_is_there)
{
	char dir[UNIT_DIR_BYTES];
	struct seeker s = {.end = 0};
	pthread_t thread;

	unit_make_dir(dir);
	snprintf(s.path, sizeof(s.path), "%s/socket", dir);
	ck_assert_int_eq(pthread_create(&thread, NULL, seek, &s), 0);
	for (int i = 0; i < 300; i++) {
		struct control_client *c = NULL;
		struct world w;

		start(&w, 0);
		ck_assert_int_eq(control_listen(w.server, s.path), 0);
		ck_assert_int_eq(control_connect_path(s.path, geteuid(), &c), 0);
		control_close(c);
		end(&w);
	}
	atomic_store(&s.end, 1);
	pthread_join(thread, NULL);
	unit_remove_tree(dir);
}
END_TEST

// What a worker said last is heard although it ended without reading what it was told.
START_TEST(last_words_come_through)
{
	struct channel_msg said = {.kind = CHANNEL_FAILED, .code = WERR_AUTH, .text = "why"};
	struct channel_msg told = {.kind = CHANNEL_STOP}, heard;
	int ends[2], fd;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	ck_assert_int_eq(channel_send(ends[1], &told, -1, 1), 0);
	ck_assert_int_eq(channel_send(ends[0], &said, -1, 1), 0);
	close(ends[0]);
	ck_assert_int_eq(channel_receive(ends[1], &heard, &fd), 0);
	ck_assert_int_eq(heard.code, WERR_AUTH);
	ck_assert_str_eq(heard.text, "why");
	ck_assert_int_eq(channel_receive(ends[1], &heard, &fd), WERR_NODATA);
	close(ends[1]);
}
END_TEST

START_TEST(paths)
{
	static const struct {
		const char *bytes, *text;
	} good[] = {{"/a b", "/a b"}, {"/\xff\x01", "hex:2fff01"}, {"/\xc3\xa4", "/\xc3\xa4"}};
	static const char *const bad[] = {"",       "a",        "hex:",     "hex:2",   "hex:61",
					  "hex:2g", "hex:2f00", "hex:2F2F", "HEX:2f2f"};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		json_t *j = varlink_path(good[i].bytes);
		char *path = varlink_path_of(j);

		ck_assert_str_eq(json_string_value(j), good[i].text);
		ck_assert_str_eq(path, good[i].bytes);
		free(path);
		json_decref(j);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		json_t *j = json_string(bad[i]);

		ck_assert_ptr_null(varlink_path_of(j));
		json_decref(j);
	}
	ck_assert_ptr_null(varlink_path_of(NULL));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("control");
	TCase *t = tcase_create("control");

	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, calls, 0, 2);
	tcase_add_loop_test(t, descriptors, 0, 2);
	tcase_add_loop_test(t, handlers_see_that_the_client_is_gone, 0, 2);
	tcase_add_test(t, last_words_come_through);
	tcase_add_test(t, handlers_see_the_end_of_the_server);
	tcase_add_test(t, watchers_see_events_in_order);
	tcase_add_test(t, silence_is_not_the_end);
	tcase_add_test(t, found_as_soon_as_it_is_there);
	tcase_add_test(t, paths);
	suite_add_tcase(s, t);
	signal(SIGPIPE, SIG_IGN);
	return unit_main(s);
}

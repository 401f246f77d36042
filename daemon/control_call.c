// SPDX-License-Identifier: Apache-2.0
// One call: what the client asks for, what handlers see of it, and org.varlink.service, which every
// Varlink service has.
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/control_private.h"

#define SERVICE "org.varlink.service"

static const char service_idl[] =
	"# The Varlink Service Interface is provided by every Varlink service.\n"
	"interface org.varlink.service\n"
	"\n"
	"method GetInfo() -> (vendor: string, product: string, version: string, url: string, "
	"interfaces: []string)\n"
	"method GetInterfaceDescription(interface: string) -> (description: string)\n"
	"\n"
	"error InterfaceNotFound (interface: string)\n"
	"error MethodNotFound (method: string)\n"
	"error MethodNotImplemented (method: string)\n"
	"error InvalidParameter (parameter: string)\n"
	"error PermissionDenied ()\n"
	"error ExpectedMore ()\n";

// ---- replies ----

static int send_reply(struct control_call *c, json_t *reply, const char *error, int continues)
{
	json_t *m = json_pack("{so}", "parameters", reply ? reply : json_object());

	if (!m)
		return WERR_NOMEM;
	if (error)
		json_object_set_new(m, "error", json_string(error));
	if (continues)
		json_object_set_new(m, "continues", json_true());
	int err = c->oneway ? 0 : varlink_send(c->slot->conn.fd, m, -1);
	json_decref(m);
	return err;
}

static int service_error(struct control_call *c, const char *error, json_t *parameters)
{
	char name[80];

	c->replied = 1;
	snprintf(name, sizeof(name), SERVICE ".%s", error);
	return send_reply(c, parameters, name, 0);
}

int control_progress(struct control_call *c, json_t *reply)
{
	if (!c->more) {
		json_decref(reply);
		return control_hung_up(c) ? WERR_INTERRUPTED : 0;
	}
	return send_reply(c, reply, NULL, 1) ? WERR_INTERRUPTED : 0;
}

int control_result(struct control_call *c, json_t *reply)
{
	c->replied = 1;
	(void)!send_reply(c, reply, NULL, 0);
	return 0;
}

int control_invalid(struct control_call *c, const char *parameter)
{
	(void)!service_error(c, "InvalidParameter", json_pack("{ss}", "parameter", parameter));
	return 0;
}

void control_detail(struct control_call *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->detail, sizeof(c->detail), fmt, ap);
	va_end(ap);
}

static int send_failure(struct control_call *c, int code)
{
	json_t *detail = json_string(c->detail);

	// Words from elsewhere may be any bytes.
	if (!detail)
		detail = json_string("");
	return send_reply(
		c, json_pack("{si ss so}", "code", code, "text", werr_text(code), "detail", detail),
		CONTROL_INTERFACE ".Failed", 0);
}

// ---- what handlers ask ----

json_t *control_params(struct control_call *c)
{
	return c->params;
}

const char *control_string(struct control_call *c, const char *name)
{
	return json_string_value(json_object_get(c->params, name));
}

char *control_path(struct control_call *c, const char *name)
{
	return varlink_path_of(json_object_get(c->params, name));
}

const char *control_method_name(struct control_call *c)
{
	return c->name;
}

int control_wants_more(struct control_call *c)
{
	return c->more;
}

int control_fd(struct control_call *c)
{
	return varlink_take_fd(&c->slot->conn);
}

int control_hung_up(struct control_call *c)
{
	return varlink_gone(c->slot->conn.fd);
}

int control_wait(struct control_call *c, int fd)
{
	return control_wait_ms(c, fd, -1);
}

int control_wait_ms(struct control_call *c, int fd, int ms)
{
	struct pollfd polled[3] = {{.fd = fd, .events = POLLIN},
				   {.fd = c->slot->conn.fd, .events = POLLRDHUP},
				   {.fd = c->server->wake, .events = POLLIN}};

	for (;;) {
		int n = poll(polled, 3, ms);

		if (n < 0)
			continue;
		if (polled[0].revents)
			return 0;
		return n ? WERR_INTERRUPTED : WERR_IO;
	}
}

int control_gone(struct control_call *c)
{
	return atomic_load(&c->server->quiet) || control_hung_up(c);
}

// The events from c->event on. Non-zero: the client is gone.
static int send_events(struct control_call *c)
{
	struct control_server *s = c->server;

	for (;;) {
		char *text = NULL;

		pthread_mutex_lock(&s->lock);
		if (c->event + EVENTS_KEPT < s->events_next)
			c->event = s->events_next - EVENTS_KEPT; // too slow: the oldest are lost
		if (c->event < s->events_next)
			text = strdup(s->events[c->event++ % EVENTS_KEPT]);
		pthread_mutex_unlock(&s->lock);
		if (!text)
			return 0;
		json_t *event = json_loads(text, 0, NULL);
		free(text);
		if (event && control_progress(c, event))
			return WERR_INTERRUPTED;
	}
}

int control_watch(struct control_call *c)
{
	struct pollfd polled[2] = {{.fd = c->slot->kick, .events = POLLIN},
				   {.fd = c->slot->conn.fd, .events = POLLRDHUP}};
	eventfd_t count;

	while (!send_events(c) && !control_gone(c)) {
		if (poll(polled, 2, -1) > 0 && polled[0].revents)
			(void)!eventfd_read(c->slot->kick, &count);
	}
	(void)!send_events(c);
	return control_result(c, NULL);
}

// Pumps replies from a connection of our own to the client's until the last one.
int control_forward(struct control_call *c, int fd)
{
	const struct varlink_wait wait = {
		.wake_fd = -1, .gone_fd = c->slot->conn.fd, .idle_ms = -1, .message_ms = -1};
	struct varlink v;
	int fd_passed = control_fd(c);
	int continues = 1;

	varlink_init(&v, fd, CONTROL_REPLY_MAX_BYTES);
	int err = varlink_send(fd, c->message, fd_passed);
	if (fd_passed >= 0)
		close(fd_passed);
	while (!err && continues) {
		json_t *reply = NULL;

		err = varlink_receive(&v, &wait, &reply);
		if (err)
			break;
		continues = json_is_true(json_object_get(reply, "continues"));
		if (!c->oneway)
			err = varlink_send(c->slot->conn.fd, reply, -1);
		c->replied = !err && !continues;
		json_decref(reply);
	}
	varlink_clear(&v);
	return err;
}

// ---- org.varlink.service ----

static int get_info(struct control_call *c)
{
	return control_result(c, json_pack("{ss ss ss ss s[ss]}", "vendor", "wardfs", "product",
					   "wardfs", "version", WARDFS_VERSION, "url", "",
					   "interfaces", SERVICE, CONTROL_INTERFACE));
}

static int get_description(struct control_call *c)
{
	const char *name = control_string(c, "interface");

	if (!name)
		return control_invalid(c, "interface");
	if (!strcmp(name, SERVICE))
		return control_result(c, json_pack("{ss}", "description", service_idl));
	if (!strcmp(name, CONTROL_INTERFACE))
		return control_result(c, json_pack("{ss}", "description", control_idl));
	return service_error(c, "InterfaceNotFound", json_pack("{ss}", "interface", name));
}

static int not_found(struct control_call *c, const char *method)
{
	return service_error(c, "MethodNotFound", json_pack("{ss}", "method", method));
}

static int serve_service(struct control_call *c, const char *method)
{
	if (!strcmp(c->name, "GetInfo"))
		return get_info(c);
	if (!strcmp(c->name, "GetInterfaceDescription"))
		return get_description(c);
	return not_found(c, method);
}

// ---- our own interface ----

static int handshake(struct control_call *c)
{
	json_t *protocol = json_object_get(c->params, "protocol");

	if (!json_is_integer(protocol))
		return control_invalid(c, "protocol");
	if (json_integer_value(protocol) != CONTROL_PROTOCOL) {
		c->replied = 1;
		return send_reply(c, json_pack("{si}", "protocol", CONTROL_PROTOCOL),
				  CONTROL_INTERFACE ".VersionMismatch", 0);
	}
	return control_result(
		c, json_pack("{si ss}", "protocol", CONTROL_PROTOCOL, "version", WARDFS_VERSION));
}

static const struct control_method *find_method(const struct control_params *p, const char *name)
{
	for (size_t i = 0; i < p->methods_len; i++) {
		if (!strcmp(p->methods[i].name, name))
			return &p->methods[i];
	}
	return NULL;
}

static int run_method(struct control_call *c, const char *method)
{
	const struct control_params *p = &c->server->p;
	control_fn run = p->other;

	if (!strcmp(c->name, "Handshake"))
		return handshake(c);
	c->method = find_method(p, c->name);
	if (c->method)
		run = c->method->run;
	if (!run)
		return not_found(c, method);
	int err = run(p->arg, c);
	if (!c->replied)
		return send_failure(c, err ? err : WERR_INTERNAL);
	return 0;
}

static int dispatch(struct control_call *c, const char *method)
{
	const char *dot = strrchr(method, '.');
	size_t len = dot ? (size_t)(dot - method) : 0;

	if (!dot || !dot[1])
		return not_found(c, method);
	c->name = dot + 1;
	if (len == strlen(SERVICE) && !strncmp(method, SERVICE, len))
		return serve_service(c, method);
	if (len == strlen(CONTROL_INTERFACE) && !strncmp(method, CONTROL_INTERFACE, len))
		return run_method(c, method);
	return service_error(c, "InterfaceNotFound", json_pack("{ss%}", "interface", method, len));
}

// A boolean that may be absent. WERR_MALFORMED.
static int flag(const json_t *message, const char *name, int *ret)
{
	const json_t *j = json_object_get(message, name);

	if (j && !json_is_boolean(j))
		return WERR_MALFORMED;
	*ret = json_is_true(j);
	return 0;
}

int control_call_serve(struct control_client_slot *slot, json_t *message)
{
	struct control_call c = {.server = slot->server, .slot = slot, .message = message};
	const char *method = json_string_value(json_object_get(message, "method"));
	json_t *params = json_object_get(message, "parameters");
	int upgrade = 0;

	if (!method || (params && !json_is_object(params) && !json_is_null(params)) ||
	    flag(message, "more", &c.more) || flag(message, "oneway", &c.oneway) ||
	    flag(message, "upgrade", &upgrade) || (c.more && c.oneway))
		return WERR_MALFORMED;
	if (upgrade)
		return service_error(&c, "MethodNotImplemented",
				     json_pack("{ss}", "method", method));
	pthread_mutex_lock(&slot->server->lock);
	c.event = slot->server->events_next;
	pthread_mutex_unlock(&slot->server->lock);
	c.params = json_is_object(params) ? json_incref(params) : json_object();
	int err = c.params ? dispatch(&c, method) : WERR_NOMEM;
	json_decref(c.params);
	return err;
}

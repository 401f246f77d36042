// SPDX-License-Identifier: Apache-2.0
// libsystemd's sd-bus, loaded when a broker first needs it: so neither the library nor what it
// depends on is ever in a worker, which is a process of the same program that has keys.
#ifndef WARDFS_DAEMON_SDBUS_H
#define WARDFS_DAEMON_SDBUS_H

#include <systemd/sd-bus.h>

#define SDBUS_FUNCTIONS(X)                \
	X(sd_bus_open_system)             \
	X(sd_bus_set_method_call_timeout) \
	X(sd_bus_flush_close_unref)       \
	X(sd_bus_add_match)               \
	X(sd_bus_call_method)             \
	X(sd_bus_get_property_trivial)    \
	X(sd_bus_get_property_string)     \
	X(sd_bus_process)                 \
	X(sd_bus_get_fd)                  \
	X(sd_bus_get_events)              \
	X(sd_bus_get_timeout)             \
	X(sd_bus_message_read)            \
	X(sd_bus_message_skip)            \
	X(sd_bus_message_enter_container) \
	X(sd_bus_message_exit_container)  \
	X(sd_bus_message_get_path)        \
	X(sd_bus_message_unref)           \
	X(sd_bus_error_free)

// NOLINTNEXTLINE(bugprone-macro-parentheses): the name of a member
#define SDBUS_MEMBER(name) __typeof__(name) *name;
struct sdbus {
	SDBUS_FUNCTIONS(SDBUS_MEMBER)
};
#undef SDBUS_MEMBER

// Loads it, and keeps it. NULL: it is not installed. One thread only.
const struct sdbus *sdbus_load(void);

#endif

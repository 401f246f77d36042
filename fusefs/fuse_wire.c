// SPDX-License-Identifier: Apache-2.0
#include "fusefs/fuse_wire.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>

// Protocol 7.31 (Linux 5.4) has every structure in the size that is expected here.
#define WIRE_MINOR_MIN 31
// Offsets into linux/fuse.h structures that both sizes of fuse_setxattr_in share.
#define SETXATTR_IN_COMPAT 8

struct shape {
	uint8_t known;
	uint8_t fixed;  // bytes of the argument structure
	uint8_t names;  // NUL-terminated strings behind it
	uint8_t silent; // has no reply
	uint8_t heavy;
	uint8_t change; // changes something in the vault
};

// What is not listed is answered with ENOSYS: the kernel then does without (locks, CREATE, POLL,
// STATX …).
static const struct shape shapes[] = {
	[FUSE_LOOKUP] = {1, 0, 1, 0, 0, 0},
	[FUSE_FORGET] = {1, sizeof(struct fuse_forget_in), 0, 1, 0, 0},
	[FUSE_GETATTR] = {1, sizeof(struct fuse_getattr_in), 0, 0, 0, 0},
	[FUSE_SETATTR] = {1, sizeof(struct fuse_setattr_in), 0, 0, 0, 1},
	[FUSE_READLINK] = {1, 0, 0, 0, 0, 0},
	[FUSE_SYMLINK] = {1, 0, 2, 0, 0, 1},
	[FUSE_MKNOD] = {1, sizeof(struct fuse_mknod_in), 1, 0, 0, 1},
	[FUSE_MKDIR] = {1, sizeof(struct fuse_mkdir_in), 1, 0, 0, 1},
	[FUSE_UNLINK] = {1, 0, 1, 0, 0, 1},
	[FUSE_RMDIR] = {1, 0, 1, 0, 0, 1},
	[FUSE_RENAME] = {1, sizeof(struct fuse_rename_in), 2, 0, 0, 1},
	[FUSE_RENAME2] = {1, sizeof(struct fuse_rename2_in), 2, 0, 0, 1},
	[FUSE_LINK] = {1, sizeof(struct fuse_link_in), 1, 0, 0, 1},
	[FUSE_OPEN] = {1, sizeof(struct fuse_open_in), 0, 0, 0, 0},
	[FUSE_READ] = {1, sizeof(struct fuse_read_in), 0, 0, 0, 0},
	[FUSE_WRITE] = {1, sizeof(struct fuse_write_in), 0, 0, 0, 1},
	[FUSE_STATFS] = {1, 0, 0, 0, 0, 0},
	[FUSE_RELEASE] = {1, sizeof(struct fuse_release_in), 0, 0, 0, 0},
	[FUSE_FSYNC] = {1, sizeof(struct fuse_fsync_in), 0, 0, 0, 0},
	[FUSE_SETXATTR] = {1, SETXATTR_IN_COMPAT, 0, 0, 0, 1},
	[FUSE_GETXATTR] = {1, sizeof(struct fuse_getxattr_in), 1, 0, 0, 0},
	[FUSE_LISTXATTR] = {1, sizeof(struct fuse_getxattr_in), 0, 0, 0, 0},
	[FUSE_REMOVEXATTR] = {1, 0, 1, 0, 0, 1},
	[FUSE_INIT] = {1, 16, 0, 0, 0, 0},
	[FUSE_OPENDIR] = {1, sizeof(struct fuse_open_in), 0, 0, 0, 0},
	[FUSE_READDIR] = {1, sizeof(struct fuse_read_in), 0, 0, 0, 0},
	[FUSE_READDIRPLUS] = {1, sizeof(struct fuse_read_in), 0, 0, 0, 0},
	[FUSE_RELEASEDIR] = {1, sizeof(struct fuse_release_in), 0, 0, 0, 0},
	[FUSE_FSYNCDIR] = {1, sizeof(struct fuse_fsync_in), 0, 0, 0, 0},
	[FUSE_DESTROY] = {1, 0, 0, 0, 0, 0},
	[FUSE_BATCH_FORGET] = {1, sizeof(struct fuse_batch_forget_in), 0, 1, 0, 0},
	[FUSE_FALLOCATE] = {1, sizeof(struct fuse_fallocate_in), 0, 0, 1, 1},
	[FUSE_LSEEK] = {1, sizeof(struct fuse_lseek_in), 0, 0, 0, 0},
	[FUSE_COPY_FILE_RANGE] = {1, sizeof(struct fuse_copy_file_range_in), 0, 0, 1, 1},
};

// `count` NUL-terminated strings, the last ending within the buffer.
static bool has_names(const uint8_t *at, size_t len, unsigned count)
{
	for (; count > 0; count--) {
		const uint8_t *end = memchr(at, 0, len);

		if (end == NULL)
			return false;
		len -= (size_t)(end - at) + 1;
		at = end + 1;
	}
	return true;
}

static int parse_init(const uint8_t *arg, size_t len, struct wire_request *ret)
{
	struct fuse_init_in in = {0};

	memcpy(&in, arg, len < sizeof(in) ? len : sizeof(in));
	if (in.major == FUSE_KERNEL_VERSION && in.minor < WIRE_MINOR_MIN)
		return EPROTO;
	if ((in.flags & FUSE_INIT_EXT) != 0 && len < offsetof(struct fuse_init_in, unused))
		return EINVAL;
	ret->init_flags = in.flags;
	return 0;
}

static int parse_setxattr(const uint8_t *arg, size_t len, bool ext, struct wire_request *ret)
{
	struct fuse_setxattr_in in = {0};
	size_t fixed = ext ? sizeof(in) : SETXATTR_IN_COMPAT;

	if (len < fixed || !has_names(arg + fixed, len - fixed, 1))
		return EINVAL;
	memcpy(&in, arg, fixed);
	ret->name = (const char *)arg + fixed;
	size_t head = fixed + strlen(ret->name) + 1;
	if (in.size > len - head)
		return EINVAL;
	ret->value = arg + head;
	ret->value_len = in.size;
	ret->flags = in.flags;
	ret->kill_sgid = (in.setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
	return 0;
}

static int parse_io(const uint8_t *arg, size_t len, size_t payload_max, struct wire_request *ret)
{
	// fuse_read_in and fuse_write_in begin alike.
	struct fuse_write_in in;

	memcpy(&in, arg, sizeof(in));
	if (in.size > payload_max || in.offset > INT64_MAX)
		return EINVAL;
	if (ret->opcode == FUSE_WRITE) {
		if (in.size > len - sizeof(in))
			return EINVAL;
		ret->kill = (in.write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
	}
	ret->heavy = ret->opcode != FUSE_READDIR && ret->opcode != FUSE_READDIRPLUS &&
		     in.size >= WIRE_HEAVY_BYTES;
	return 0;
}

static int parse_arg(const uint8_t *arg, size_t len, bool ext, size_t payload_max,
		     struct wire_request *ret)
{
	uint32_t word;

	switch (ret->opcode) {
	case FUSE_INIT:
		return parse_init(arg, len, ret);
	case FUSE_SETXATTR:
		return parse_setxattr(arg, len, ext, ret);
	case FUSE_READ:
	case FUSE_WRITE:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return parse_io(arg, len, payload_max, ret);
	case FUSE_SETATTR:
		memcpy(&word, arg, sizeof(word));
		ret->kill = (word & FATTR_KILL_SUIDGID) != 0;
		ret->times = (word & FATTR_CTIME) != 0 &&
			     (word & ~(uint32_t)(FATTR_MTIME | FATTR_CTIME | FATTR_FH |
						 FATTR_LOCKOWNER)) == 0;
		return 0;
	case FUSE_BATCH_FORGET:
		memcpy(&word, arg, sizeof(word));
		len -= sizeof(struct fuse_batch_forget_in);
		return word > len / sizeof(struct fuse_forget_one) ? EINVAL : 0;
	default:
		return 0;
	}
}

int wire_parse(const uint8_t *buf, size_t len, bool setxattr_ext, size_t payload_max,
	       struct wire_request *ret)
{
	struct fuse_in_header h;

	memset(ret, 0, sizeof(*ret));
	if (len < sizeof(h))
		return WIRE_DROP;
	memcpy(&h, buf, sizeof(h));
	ret->opcode = h.opcode;
	ret->unique = h.unique;
	ret->nodeid = h.nodeid;
	ret->uid = h.uid;
	ret->pid = h.pid;
	if (h.opcode == FUSE_NOTIFY_REPLY)
		return WIRE_DROP;
	// INTERRUPT among them: no request waits for anything that an interruption could shorten.
	if (h.opcode >= sizeof(shapes) / sizeof(shapes[0]) || !shapes[h.opcode].known)
		return h.opcode == FUSE_IOCTL ? ENOTTY : ENOSYS;
	const struct shape *s = &shapes[h.opcode];
	const uint8_t *arg = buf + sizeof(h);
	size_t rest = len - sizeof(h);
	int err = EINVAL;
	if (h.len == len && rest >= s->fixed &&
	    has_names(arg + s->fixed, rest - s->fixed, s->names)) {
		ret->heavy = s->heavy != 0;
		ret->change = s->change != 0;
		err = parse_arg(arg, rest, setxattr_ext, payload_max, ret);
	}
	return err != 0 && s->silent ? WIRE_DROP : err;
}

// SPDX-License-Identifier: Apache-2.0
// What the engine of a mounted vault refuses when somebody brings a header with other secrets
// (fusefs/rekey.h): everything but other secrets, of this vault, made of the header in force.
#include <stdlib.h>

#include "crypto/keyring.h"
#include "crypto/rng.h"
#include "fusefs/engine.h"
#include "fusefs/rekey.h"
#include "tests/crash/simvault.h"

static struct simvault v;
static uint8_t buf[VAULT_HEADER_BYTES];
static uint8_t *root_key;
static struct vault_header h;

// A copy of the header in force, decoded, with its root key.
static void take(void)
{
	struct vault_sealed sealed = {.buf = {buf, NULL}};

	secret_free(root_key);
	root_key = NULL;
	EXPECT_OK(rekey_header(v.fs, buf));
	EXPECT_OK(vault_header_peek(buf, sizeof(buf), sealed.vault_id, sealed.infos));
	EXPECT_OK(vault_unlock(&sealed, &v.passphrase, &root_key, NULL, NULL, &h));
}

// What comes of handing h back, sealed under root_key.
static int apply(void)
{
	struct keyring *ring = NULL;
	int in_force = 0;

	EXPECT_OK(keyring_new(&h, root_key, &ring));
	EXPECT_OK(vault_header_encode(&h, keyring_header_mac(ring), buf));
	keyring_free(ring);
	int err = rekey_apply(v.fs, root_key, buf, &in_force);
	EXPECT((err == 0) == in_force, "%d, but in force: %d", err, in_force);
	return err;
}

static void more_than_secrets(void)
{
	take();
	h.policy.idle_s = 60;
	EXPECT(apply() == WERR_INVALID, "another policy");
	take();
	h.policy.wipe_after = 5;
	EXPECT(apply() == WERR_INVALID, "a wipe");
	take();
	h.created_s++;
	EXPECT(apply() == WERR_INVALID, "another time");
	take();
	h.root_generation++;
	EXPECT(apply() == WERR_INVALID, "another root directory");
}

static void another_vault(void)
{
	take();
	h.vault_id[0] ^= 1;
	// Its masters do not open under another id: the header is not even one.
	struct keyring *ring = NULL;
	int err = keyring_new(&h, root_key, &ring);
	keyring_free(ring);
	EXPECT(err == WERR_AUTH, "another vault's masters: %d", err);
	take();
	int in_force = 1;
	rng_bytes(root_key, ROOT_KEY_BYTES);
	EXPECT(rekey_apply(v.fs, root_key, buf, &in_force) == WERR_AUTH && !in_force,
	       "another root key");
	take();
	buf[VAULT_HEADER_BYTES / 2] ^= 1;
	EXPECT(rekey_apply(v.fs, root_key, buf, &in_force) == WERR_AUTH, "a changed byte");
}

static void changed_since(void)
{
	take();
	EXPECT_OK(apply()); // the same header once more is a change of none
	EXPECT(apply() == WERR_BUSY, "the header was written since");
}

int main(void)
{
	simvault_begin(&v, NULL);
	sv_put(&v, sv_make(&v, FS_ROOT, "f", OBJECT_FILE), 0, SIM_PAGE, 1);
	more_than_secrets();
	another_vault();
	changed_since();
	// Nothing of it counts.
	take();
	EXPECT(h.policy.idle_s == 0 && h.policy.wipe_after == 0, "the policy");
	simvault_remount(&v);
	EXPECT(sv_version(&v, sv_find(&v, FS_ROOT, "f"), 0, SIM_PAGE) == 1, "the file");
	secret_free(root_key);
	simvault_end(&v);
	return 0;
}

// A client of a cluster as one is written with plain hiredis: reads the map from one node, sends each command to the owner of
// its key's slot, and follows one redirect by hand. Says what it has done; ends with 1 when anything is not as it ought to be.
//
// Usage: hiredis_cluster HOST PORT
#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 16384, MAX_NODES = 16, KEYS = 300 };

static struct node {
	char host[256];
	int port, keys;
	redisContext *c;
} nodes[MAX_NODES];
static int node_count;
static struct node *owners[SLOTS];

static void die(const char *format, ...) {
	va_list args;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

static struct node *node_at(const char *host, int port) {
	for (int i = 0; i < node_count; i++)
		if (nodes[i].port == port && strcmp(nodes[i].host, host) == 0) return &nodes[i];
	if (node_count == MAX_NODES) die("more than %d nodes", MAX_NODES);
	struct node *n = &nodes[node_count++];
	snprintf(n->host, sizeof n->host, "%s", host);
	n->port = port;
	struct timeval limit = {30, 0};
	n->c = redisConnectWithTimeout(host, port, limit);
	if (n->c == NULL || n->c->err) die("cannot connect to %s:%d: %s", host, port, n->c ? n->c->errstr : "no memory");
	redisSetTimeout(n->c, limit);
	return n;
}

// The command's words have lengths: keys and arrays hold any bytes.
static redisReply *ask(struct node *n, int argc, const char **argv, const size_t *sizes) {
	redisReply *r = redisCommandArgv(n->c, argc, argv, sizes);
	if (r == NULL) die("%s:%d: %s", n->host, n->port, n->c->errstr);
	return r;
}

// CRC-16/XMODEM of what is between the first { and the next }, or of all, as the cluster specification has it.
static int slot_of(const char *key, size_t size) {
	const char *open = memchr(key, '{', size);
	if (open) {
		const char *end = memchr(open + 1, '}', size - (open + 1 - key));
		if (end && end > open + 1) key = open + 1, size = end - key;
	}
	unsigned crc = 0;
	for (size_t i = 0; i < size; i++) {
		crc ^= (unsigned char)key[i] << 8;
		for (int bit = 0; bit < 8; bit++) crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff;
	}
	return crc % SLOTS;
}

static void read_map(struct node *seed) {
	redisReply *rows = redisCommand(seed->c, "CLUSTER SLOTS");
	if (rows == NULL || rows->type != REDIS_REPLY_ARRAY) die("CLUSTER SLOTS: %s", rows ? rows->str : seed->c->errstr);
	for (size_t i = 0; i < rows->elements; i++) {
		redisReply *row = rows->element[i];
		if (row->type != REDIS_REPLY_ARRAY || row->elements < 3 || row->element[0]->type != REDIS_REPLY_INTEGER || row->element[1]->type != REDIS_REPLY_INTEGER)
			die("row %zu of CLUSTER SLOTS is none", i);
		redisReply *primary = row->element[2];
		if (primary->type != REDIS_REPLY_ARRAY || primary->elements < 3 || primary->element[0]->type != REDIS_REPLY_STRING || primary->element[1]->type != REDIS_REPLY_INTEGER)
			die("row %zu of CLUSTER SLOTS has no primary", i);
		for (long long s = row->element[0]->integer; s <= row->element[1]->integer; s++) {
			if (s < 0 || s >= SLOTS || owners[s]) die("slot %lld is none, or has two owners", s);
			owners[s] = node_at(primary->element[0]->str, (int)primary->element[1]->integer);
		}
	}
	freeReplyObject(rows);
	for (int s = 0; s < SLOTS; s++)
		if (!owners[s]) die("slot %d has no owner", s);
}

// An array of format 1.0 with int16 values of all bytes there are, CR LF and NUL among them.
static size_t make_array(char *out, int seed) {
	int values = 256 + seed;
	memcpy(out, "\x93NUMPY\x01\x00\x76\x00", 10);
	int n = sprintf(out + 10, "{'descr': '<i2', 'fortran_order': False, 'shape': (%d,), }", values);
	memset(out + 10 + n, ' ', 117 - n);
	out[127] = '\n';
	for (int i = 0; i < 2 * values; i++) out[128 + i] = (char)(i * 7 + seed);
	return 128 + 2 * values;
}

static size_t make_key(char *out, int i) {
	memcpy(out, "hi\r\n\0redis:", 11);
	return 11 + sprintf(out + 11, "%d", i);
}

static void expect(redisReply *r, int type, const char *want, size_t size, const char *what) {
	if (r->type != type || r->len != size || memcmp(r->str, want, size) != 0) die("%s: a reply of type %d: %s", what, r->type, r->str ? r->str : "");
	freeReplyObject(r);
}

static void set_and_get(struct node *n, const char *key, size_t key_size, const char *array, size_t size) {
	const char *set[] = {"NP.SET", key, array}, *get[] = {"NP.GET", key};
	size_t set_sizes[] = {6, key_size, size}, get_sizes[] = {6, key_size};
	expect(ask(n, 3, set, set_sizes), REDIS_REPLY_STATUS, "OK", 2, "NP.SET");
	expect(ask(n, 2, get, get_sizes), REDIS_REPLY_STRING, array, size, "NP.GET");
	n->keys++;
}

// Sends a command to a node that does not serve the key, and then to the one that the reply names.
static void follow_redirect(void) {
	char key[32], array[2048];
	size_t key_size = make_key(key, KEYS), size = make_array(array, KEYS);
	int slot = slot_of(key, key_size), said, port;
	struct node *wrong = owners[slot] == &nodes[0] ? &nodes[1] : &nodes[0];
	const char *set[] = {"NP.SET", key, array};
	size_t sizes[] = {6, key_size, size};
	redisReply *r = ask(wrong, 3, set, sizes);
	char *colon = r->type == REDIS_REPLY_ERROR ? strrchr(r->str, ':') : NULL;
	char host[256];
	if (colon == NULL) die("a node that does not serve a key answers with type %d: %s", r->type, r->str);
	*colon = ' '; // an address may have colons of its own
	if (sscanf(r->str, "MOVED %d %255s %d", &said, host, &port) != 3 || said != slot) die("no redirect of slot %d: %s", slot, r->str);
	freeReplyObject(r);
	struct node *right = node_at(host, port);
	if (right != owners[slot]) die("the redirect leads to %s:%d, the map to %s:%d", host, port, owners[slot]->host, owners[slot]->port);
	set_and_get(right, key, key_size, array, size);
	printf("followed a redirect of slot %d\n", slot);
}

int main(int argc, char **argv) {
	if (argc != 3) die("usage: %s HOST PORT", argv[0]);
	read_map(node_at(argv[1], atoi(argv[2])));
	if (node_count < 2) die("there is one node only");
	for (int i = 0; i < KEYS; i++) {
		char key[32], array[2048];
		size_t key_size = make_key(key, i), size = make_array(array, i);
		set_and_get(owners[slot_of(key, key_size)], key, key_size, array, size);
	}
	follow_redirect();
	for (int i = 0; i < node_count; i++) {
		printf("%s:%d has %d keys\n", nodes[i].host, nodes[i].port, nodes[i].keys);
		redisFree(nodes[i].c);
	}
	return 0;
}

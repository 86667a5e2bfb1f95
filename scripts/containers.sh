# shellcheck shell=bash
# Functions of the scripts for the compose cluster, in addition to lib.sh. Sourced, never run.

# How long a node or the cluster may take to start.
patience=${NDRING_PATIENCE:-120}

# find_containers: fills names, and by name id (the container) and at (host and port at which this machine reaches
# it). It includes stopped containers, but not those of `compose run`. It runs Compose once, because Compose is slow.
find_containers() {
	local name container
	names=()
	declare -gA id=() at=()
	while read -r name container; do
		names+=("$name")
		id[$name]=$container
		# shellcheck disable=SC2034 # used by scripts that source this
		at[$name]=$(published "$container")
	done < <(compose ps -aq | xargs -r docker inspect -f '{{if eq (index .Config.Labels "com.docker.compose.oneoff") "False"}}{{index .Config.Labels "com.docker.compose.service"}} {{.Id}}{{end}}' | sed '/^$/d' | sort -V)
	[ ${#names[@]} -gt 0 ] || die "no container is there" "make up starts them"
}

# health ID: starting, healthy, unhealthy, or the state of a container that is not running.
health() { docker inspect -f '{{if .State.Running}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$1"; }

# await_healthy NODE: returns when it serves. It polls more often than the engine does.
await_healthy() {
	local deadline=$((SECONDS + patience)) container=${id[$1]}
	until docker exec "$container" /ndring healthcheck >/dev/null 2>&1; do
		[ $SECONDS -lt $deadline ] || die "$1 is not ready after $patience s: its container is $(health "$container")" "$(docker logs --tail 20 "$container" 2>&1)"
		sleep 0.1
	done
}

# await_copies NODE: returns when no shard has only one copy although it should have more, as that node reports.
await_copies() {
	local deadline=$((SECONDS + patience)) container=${id[$1]}
	until docker exec "$container" /ndring ctl status --json 2>/dev/null | grep -q '"shards_degraded": 0,'; do
		[ $SECONDS -lt $deadline ] || die "the copies of $1 are not in sync after $patience s" "$(docker exec "$container" /ndring ctl status 2>&1)" "the other nodes were not replaced"
		sleep 0.2
	done
}

# one_by_one COMMAND OTHERWISE: runs the command for each node, after the one before serves and all copies are in sync again. It
# starts only if all nodes serve, because taking a node away while another is away would make two unavailable; otherwise it says what
# else can be done.
one_by_one() {
	local name all=("${names[@]}")
	for name in "${all[@]}"; do
		docker exec "${id[$name]}" /ndring healthcheck >/dev/null 2>&1 ||
			die "$name does not serve, its container is $(health "${id[$name]}"): no container was touched" "$(docker logs --tail 5 "${id[$name]}" 2>&1)" "when all nodes serve, try again; $2"
	done
	for name in "${all[@]}"; do
		"$1" "$name" || die "$name does not start (see above)"
		find_containers
		await_healthy "$name"
		await_copies "$name"
		say "$name serves again"
	done
}

# published ID: host and port at which this machine reaches a node.
published() { docker port "$1" | awk 'NR == 1 { print $3 }' | sed -E 's/:([0-9]+)$/ \1/; s/^0\.0\.0\.0 /127.0.0.1 /'; }

# password ID: the password for clients; empty: none.
password() { docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' "$1" | sed -n 's/^NDRING_REQUIREPASS=//p'; }

# small_array: prints a .npy file of 129 bytes.
small_array() {
	local LC_ALL=C
	printf '\x93NUMPY\x01\x00\x76\x00%-117s\n\x01' "{'descr': '|u1', 'fortran_order': False, 'shape': (), }"
}

# writes HOST PORT PASSWORD: stores a small array at a node, and is true if the node accepts it. One node serves the key. NDRING_UP_CERTS is
# the set of certificates of nodes with TLS.
writes() {
	local LC_ALL=C reply=''
	if [ -n "${NDRING_UP_CERTS:-}" ]; then
		local own=$NDRING_UP_CERTS/node1 # in case the nodes want a certificate of clients
		small_array | NDRING_PASSWORD=$3 bin/ndctl --tls --cacert "$own/ca.crt" --cert "$own/tls.crt" --key "$own/tls.key" --timeout 2s -a "$1:$2" put ndring:up - --ex 1 >/dev/null 2>&1
		return
	fi
	# shellcheck disable=SC2016 # the dollar signs belong to the protocol
	{
		exec 3<>"/dev/tcp/$1/$2" || return 1
		[ -z "$3" ] || { printf '*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n' ${#3} "$3" >&3 && read -r -t 5 reply <&3; }
		{ printf '*5\r\n$6\r\nNP.SET\r\n$9\r\nndring:up\r\n$129\r\n' && small_array && printf '\r\n$2\r\nEX\r\n$1\r\n1\r\n'; } >&3 && read -r -t 5 reply <&3
		exec 3>&-
	} 2>/dev/null
	[ "${reply%$'\r'}" = +OK ]
}

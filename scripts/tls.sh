# shellcheck shell=bash
# Functions of the scripts for the compose cluster with TLS, in addition to containers.sh. Sourced, never run.

# The set of `ndctl certs`, and the file password. Only its owner can read it.
certs=${NDRING_CERTS:-.certs}
ndctl=(bin/ndctl)

# use_tls: makes Compose take the files of a cluster with TLS, and its password.
use_tls() {
	export COMPOSE_FILE=${COMPOSE_FILE:-docker-compose.yml:docker-compose.tls.yml}
	[ -n "${NDRING_REQUIREPASS:-}" ] || NDRING_REQUIREPASS=$(cat "$certs/password") || die "no password in $certs/password" "make up-tls makes it"
	export NDRING_REQUIREPASS NDRING_UP_CERTS=$certs
}

# use_tls_if_running: use_tls if that is how the cluster was started.
use_tls_if_running() {
	local containers settings
	containers=$(compose ps -aq 2>/dev/null)
	[ -n "$containers" ] || return 0
	settings=$(docker inspect -f '{{range .Config.Env}}{{println .}}{{end}}' "${containers%%$'\n'*}")
	[[ $settings != *NDRING_TLS_CERT=/certs/* ]] || use_tls
}

# make_certs: makes what is missing: certificates, key of gossip and password.
make_certs() {
	local n hosts=127.0.0.1
	[ "${NDRING_HOST:-127.0.0.1}" = 127.0.0.1 ] || hosts+=,$NDRING_HOST
	if [ ! -d "$certs/ca" ]; then
		[ ! -e "$certs" ] || die "$certs is there, but is no set of ndctl certs" "remove it, or name another folder: NDRING_CERTS=..."
		local nodes=()
		for n in 1 2 3 4 5; do nodes+=(--node "node$n=node$n,$hosts"); done
		quietly "${ndctl[@]}" certs init --out "$certs" "${nodes[@]}" || die "no certificates (see above)"
		say "made a CA, certificates of five nodes and a key for gossip in $certs: keep $certs/ca/ca.key safe"
	fi
	[ -s "$certs/password" ] || (umask 077 && od -An -N 24 -tx1 /dev/urandom | tr -d ' \n' >"$certs/password")
}

# copy_certs: copies the files of each node to its volume, where only the user of the node can read them. A running node reads
# them again within seconds. The containers must exist.
copy_certs() {
	local name volume helper files
	# shellcheck disable=SC2154 # find_containers has set names and id
	for name in "${names[@]}"; do
		volume=$(docker inspect -f '{{range .Mounts}}{{if eq .Destination "/certs"}}{{.Name}}{{end}}{{end}}' "${id[$name]}")
		[ -n "$volume" ] || die "$name has no volume for certificates" "make up-tls starts it with one"
		# The volume is read-only in the node's container, so that another one that never runs takes the files.
		helper=$(docker create --network none -v "$volume:/certs" "$(docker inspect -f '{{.Image}}' "${id[$name]}")" version)
		mapfile -t files < <(cd "$certs/$name" && ls)
		if ! tar -C "$certs/$name" --owner=65532 --group=65532 --mode=0400 -cf - -- "${files[@]}" | docker cp - "$helper:/certs"; then
			docker rm "$helper" >/dev/null
			die "the certificates of $name were not copied (see above)"
		fi
		docker rm "$helper" >/dev/null
	done
}

# shellcheck shell=bash
# Functions of all scripts. Sourced, never run. It sets strict mode and changes to the root of the repository.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }

die() {
	printf '%s: %s\n' "$(basename "$0")" "$1" >&2
	shift
	[ $# -eq 0 ] || printf '  %s\n' "$@" >&2
	exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# CI must have every tool, including those that a developer's machine may lack.
in_ci() { [ "${CI:-}" = true ]; }

# quietly COMMAND...: shows the output only if the command fails.
quietly() {
	local log rc=0
	log=$(mktemp)
	"$@" >"$log" 2>&1 </dev/null || rc=$?
	[ $rc -eq 0 ] || cat "$log" >&2
	rm -f "$log"
	return "$rc"
}

# as_root COMMAND...: runs it as root, with sudo if needed.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif have sudo; then
		sudo "$@"
	else
		return 1
	fi
}

# apt_install PACKAGE...: installs Debian packages, or says how to.
apt_install() {
	have apt-get || die "these are missing and there is no apt-get to install them: $*" \
		"install them with the package manager of this system, then try again"
	if [ "$(id -u)" -ne 0 ] && ! have sudo; then
		die "these packages are missing, and only root can install them. Ask for:" "apt-get install $*"
	fi
	say "installing $*"
	# Debian starts a service when it installs its package; this exit code of a policy keeps it from that.
	local policy=/usr/sbin/policy-rc.d
	if [ -e "$policy" ]; then
		apt_install_packages "$@"
		return
	fi
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
	as_root chmod +x "$policy"
	local rc=0
	(apt_install_packages "$@") || rc=$?
	as_root rm -f "$policy"
	[ $rc -eq 0 ] || exit $rc
}

apt_install_packages() {
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
	# A machine that was never updated, or long ago, does not find them at first.
	quietly as_root "${apt[@]}" install -y --no-install-recommends "$@" 2>/dev/null && return
	quietly as_root "${apt[@]}" update || die "apt-get update failed (see above)"
	quietly as_root "${apt[@]}" install -y --no-install-recommends "$@" ||
		die "apt-get could not install: $*"
}

# has_index PYTHON: true if this interpreter can make virtual environments and its pip reaches a package index. The
# timeout is short, so a machine without an index does not wait.
has_index() {
	"$1" -c 'import sys, ensurepip, pip; sys.exit(sys.version_info < (3, 9))' 2>/dev/null &&
		timeout 20 "$1" -m pip --timeout 5 --retries 0 index versions redis >/dev/null 2>&1
}

# compose ARGUMENT...: Docker Compose, as a docker plugin or a separate program, whichever is installed.
compose() {
	if docker compose version >/dev/null 2>&1; then
		docker compose "$@"
	else
		docker-compose "$@"
	fi
}

#!/usr/bin/env bash
# Installs what the tests need on a Debian 12 machine: PostgreSQL 15 or newer
# and redis-server, with the argument "bench" nginx as well. Says nothing when
# everything is there. The tests run these programs by themselves, so none of
# Debian's own services is started, now or at the next boot.
set -euo pipefail

usage="usage: $0 [bench]"
case "${1-}" in
'' | bench) [ $# -le 1 ] || { echo "$usage" >&2; exit 2; } ;;
*) echo "$usage" >&2; exit 2 ;;
esac

# sbin is not on an ordinary user's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

has_postgres() {
	local dir major
	[ -n "${OPENCLAW_PG_BIN-}" ] && [ -x "$OPENCLAW_PG_BIN/postgres" ] && return
	for dir in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin; do
		major=${dir%/bin} major=${major##*[/-]}
		if [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ] && [ "$major" -ge 15 ] 2>/dev/null; then
			return
		fi
	done
	return 1
}

missing=()
has_postgres || missing+=(postgresql-15)
command -v redis-server >/dev/null || missing+=(redis-server)
if [ "${1-}" = bench ]; then
	command -v nginx >/dev/null || missing+=(nginx)
fi
[ ${#missing[@]} -gt 0 ] || exit 0

fail() {
	printf 'install-deps: missing: %s\ninstall-deps: %s\n' "${missing[*]}" "$1" >&2
	exit 1
}

command -v apt-get >/dev/null || fail 'there is no apt-get here; install them with your package manager'
if [ "$(id -u)" -ne 0 ]; then
	if ! command -v sudo >/dev/null || ! sudo -n true 2>/dev/null; then
		fail "this needs root: run \"sudo $0${1:+ $1}\" once"
	fi
	exec sudo -n env ${OPENCLAW_PG_BIN:+"OPENCLAW_PG_BIN=$OPENCLAW_PG_BIN"} bash "$0" "$@"
fi

# Two runs at once would restore each other's policy file.
exec 9>/run/openclaw-install-deps.lock
flock -w 300 9 || fail 'another run has been busy for five minutes'

# While packages are installed, invoke-rc.d asks this file whether it may
# start a service; 101 forbids it.
policy=/usr/sbin/policy-rc.d
saved=$policy.before-openclaw
marker='# openclaw install-deps: removed when the installation ends'
restore() {
	if [ -e "$policy" ] && grep -qxF "$marker" "$policy"; then
		rm -f "$policy"
	fi
	if [ -e "$saved" ] && [ ! -e "$policy" ]; then
		mv "$saved" "$policy"
	fi
}
restore # what a run that was killed left behind
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
if [ -e "$policy" ]; then
	mv "$policy" "$saved"
fi
printf '#!/bin/sh\n%s\nexit 101\n' "$marker" >"$policy"
chmod 755 "$policy"

# Debian would also make a cluster of its own. An existing answer is the
# operator's and stays.
conf=/etc/postgresql-common/createcluster.conf
if [[ " ${missing[*]} " == *' postgresql-15 '* && ! -e $conf ]]; then
	mkdir -p "${conf%/*}"
	printf 'create_main_cluster = false\n' >"$conf"
fi

export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1
log=$(mktemp)
trap 'restore; rm -f "$log"' EXIT
apt() { apt-get -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 9>&-; }
install() { apt install -y --no-install-recommends "${missing[@]}"; }

echo "install-deps: installing ${missing[*]} with apt-get"
if ! install; then
	echo 'install-deps: refreshing the package lists first'
	if ! apt update || ! install; then
		tail -n 20 "$log" >&2
		fail 'apt-get failed, its last words are above'
	fi
fi

# At the next boot there would be no policy file to stop them.
for service in "${missing[@]}"; do
	case $service in
	redis-server | nginx)
		if command -v systemctl >/dev/null; then
			systemctl disable --quiet "$service.service" 2>/dev/null ||
				echo "install-deps: could not disable $service.service; it may start at the next boot" >&2
		fi
		;;
	esac
done
echo 'install-deps: done'

#!/usr/bin/env bash
# Tries a Debian package in a container with systemd: deploy/test-package.sh PACKAGE. It is
# installed, upgraded, removed and purged. lintian checks it, if it is there.
set -euo pipefail
package=$(realpath "$1")
cd "$(dirname "$0")/systemd"
. ./container.sh

if command -v lintian >/dev/null; then
    if lintian --fail-on warning,error --allow-root "$package"; then
        echo "ok     lintian finds nothing"
    else
        echo "FAILED lintian"
        failed=1
    fi
else
    echo "skipped: there is no lintian"
fi

# The same package with a later version, to upgrade to.
folder=$(mktemp -d)
dpkg-deb --raw-extract "$package" "$folder/later"
sed -i 's/^Version: .*/&+later/' "$folder/later/DEBIAN/control"
dpkg-deb --build --root-owner-group -Zgzip "$folder/later" "$folder/later.deb" >/dev/null

start_systemd
docker cp --quiet "$package" "$container:/root/first.deb"
docker cp --quiet "$folder/later.deb" "$container:/root/later.deb"
rm -r "$folder"
apt() {
    in_container env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends \
        --option Dpkg::Use-Pty=0 "$@" </dev/null >/dev/null
}
no_server_runs() {
    not in_container pgrep -x proxyherd
}

in_container apt-get update -qq </dev/null
apt /root/first.deb
expect "installed, with its user" in_container id proxyherd
expect "nothing runs yet" no_server_runs
expect "the config that is installed is valid" \
    in_container proxyherd check --config /etc/proxyherd/herd.toml
expect "there are manual pages" in_container test -e /usr/share/man/man1/proxyherd-serve.1.gz
in_container systemctl enable --quiet --now proxyherd@Riley </dev/null
expect "a server that is enabled serves" answers 12000
in_container bash -c 'exec 3<>/dev/tcp/127.0.0.1/12000
    echo "IAMAT kiwi +34.068930-118.445127 1621464827" >&3; read -r line <&3; echo "       $line"'
in_container bash -c 'printf "\n[limits]\nidle = \"5min\"\n" >>/etc/proxyherd/herd.toml'
before=$(property MainPID Riley)

apt /root/later.deb
expect "upgraded" in_container bash -c 'dpkg-query --show proxyherd | grep -q later'
expect "a server that runs is restarted" not is MainPID "$before" Riley
expect "and serves" answers 12000
expect "with the report of before" in_container bash -c 'exec 3<>/dev/tcp/127.0.0.1/12000
    echo "WHATSAT kiwi 1 0" >&3; read -r line <&3; [[ $line == "AT Riley "* ]]'
expect "and the config of the operator" in_container grep -q idle /etc/proxyherd/herd.toml

in_container apt-get remove -qq proxyherd </dev/null >/dev/null
expect "removed, and stopped" no_server_runs
expect "the config stays" in_container test -e /etc/proxyherd/herd.toml
expect "the reports stay" in_container test -e /var/lib/private/proxyherd/Riley
apt /root/later.deb
expect "installed again, it is there again" in_container systemctl is-enabled proxyherd@Riley

in_container mkdir -p /etc/proxyherd/certs
in_container systemctl start proxyherd@Riley </dev/null
in_container apt-get purge -qq proxyherd </dev/null >/dev/null
expect "purged, and stopped" no_server_runs
for path in /etc/proxyherd/herd.toml /var/lib/proxyherd /var/lib/private/proxyherd \
    /var/log/proxyherd /var/log/private/proxyherd /usr/bin/proxyherd \
    /etc/systemd/system/multi-user.target.wants/proxyherd@Riley.service; do
    expect "$path is gone" not in_container test -e "$path" -o -L "$path"
done
expect "certificates of the operator stay" in_container test -d /etc/proxyherd/certs

exit "$failed"

#!/usr/bin/env bash
# Tries proxyherd@.service under a real systemd: deploy/systemd/test.sh [PROGRAM]. Two
# servers run in a container of Debian with the rights that systemd needs. A minute, half of
# it for the watchdog.
set -euo pipefail
program=$(realpath "${1:-$(dirname "$0")/../../target/debug/proxyherd}")
cd "$(dirname "$0")"
. ./container.sh

# status_has TEXT: whether the status that Riley sent to systemd has a text.
status_has() {
    property StatusText Riley | grep -q "$1"
}

start_systemd
in_container mkdir -p /etc/proxyherd
docker cp --quiet "$program" "$container:/usr/bin/proxyherd"
docker cp --quiet proxyherd@.service "$container:/usr/lib/systemd/system/"
docker cp --quiet proxyherd.sysusers "$container:/usr/lib/sysusers.d/proxyherd.conf"
in_container systemd-sysusers proxyherd.conf 2>/dev/null
in_container tee /etc/proxyherd/herd.toml >/dev/null <<'END'
[herd]
name = "systemd"
[[servers]]
name = "Riley"
clients = "127.0.0.1:12000"
peers = "127.0.0.1:13000"
talks_to = ["Jaquez"]
[[servers]]
name = "Jaquez"
clients = "127.0.0.1:12001"
peers = "127.0.0.1:13001"
[storage]
dir = "/var/lib/proxyherd"
[log]
dir = "/var/log/proxyherd"
END
in_container systemctl daemon-reload

in_container systemd-analyze security --no-pager proxyherd@Riley.service |
    grep -o 'Overall exposure.*[0-9]'
expect "exposure is at most 2.0" \
    in_container systemd-analyze security --threshold=20 proxyherd@Riley.service
# The manual page is in the package, and not here.
expect "verify finds nothing" in_container bash -c \
    '! systemd-analyze verify proxyherd@Riley.service 2>&1 | grep -v "man proxyherd(1)"'

in_container systemctl start proxyherd@Riley proxyherd@Jaquez
expect "started, and serves" answers 12000
expect "runs as the user proxyherd" in_container bash -c \
    'ps -o user= -p "$(systemctl show --property MainPID --value proxyherd@Riley)" | grep -qx proxyherd'
expect "the status counts the link" status_has '1 of 1 link'
expect "reports are stored" in_container bash -c 'ls /var/lib/proxyherd/Riley/*'
expect "logs are written" in_container test -s /var/log/proxyherd/Riley.log

in_container sed -i 's|^\[log\]|[limits]\nidle = "5min"\n[log]|' /etc/proxyherd/herd.toml
expect "a good file is reloaded" in_container systemctl reload proxyherd@Riley
expect "and applied" in_container grep -q 'limits.idle' /var/log/proxyherd/Riley.log
in_container sed -i 's|"5min"|"never"|' /etc/proxyherd/herd.toml
expect "a bad file ends the reload too" in_container systemctl reload proxyherd@Riley
expect "the status says so" status_has 'reload'
expect "and the server serves on" answers 12000
in_container sed -i 's|"never"|"5min"|' /etc/proxyherd/herd.toml
in_container systemctl reload proxyherd@Riley

before=$(property MainPID Riley)
in_container kill -STOP "$before"
start=$SECONDS
is_replaced() {
    ! is MainPID "$before" Riley && is ActiveState active Riley && answers 12000
}
expect "a server that hangs is replaced" is_replaced
printf '       after %d s\n' $((SECONDS - start))
expect "by the watchdog" in_container bash -c \
    'journalctl --unit proxyherd@Riley | grep -q "Watchdog timeout"'

in_container kill -STOP "$(property MainPID Jaquez)"
start=$SECONDS
in_container systemctl stop proxyherd@Riley
took=$((SECONDS - start))
expect "a server stops beside a neighbour that hangs" is Result success Riley
expect "within 15 s (it took $took s)" test "$took" -lt 15

exit "$failed"

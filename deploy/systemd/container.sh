# shellcheck shell=bash disable=SC2034
# A container of Debian with systemd, for the tests beside this file and of the package.
# Sourced; ends the caller, with a word, if there is no docker or no image
# debian:trixie-slim. `start_systemd` starts it, and the end of the caller removes it.

image=proxyherd-systemd-test
container=proxyherd-systemd-test-$$
failed=0

if ! docker info >/dev/null 2>&1; then
    echo "skipped: there is no docker"
    exit 0
fi
if ! docker image inspect debian:trixie-slim >/dev/null 2>&1 &&
    ! docker pull --quiet debian:trixie-slim >/dev/null 2>&1; then
    echo "skipped: there is no image debian:trixie-slim, and it cannot be pulled"
    exit 0
fi

start_systemd() {
    docker build --quiet --tag "$image" - >/dev/null 2>&1 <<'END'
FROM debian:trixie-slim
RUN apt-get update && apt-get install -y --no-install-recommends systemd-sysv procps
END
    trap 'docker rm --force "$container" >/dev/null 2>&1' EXIT
    # systemd needs cgroups of version 2. Where docker uses version 1, the container takes a
    # group of its own in the other hierarchy. hidepid needs SYS_PTRACE.
    # shellcheck disable=SC2016
    docker run --detach --name "$container" --tmpfs /run --tmpfs /tmp \
        --cap-add SYS_ADMIN --cap-add SYS_PTRACE --security-opt seccomp=unconfined \
        --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
        --entrypoint sh "$image" -c '
            set -e
            mount -o remount,rw /sys
            umount -R /sys/fs/cgroup
            mount -t cgroup2 none /sys/fs/cgroup
            mkdir -p "/sys/fs/cgroup/$HOSTNAME"
            echo $$ >"/sys/fs/cgroup/$HOSTNAME/cgroup.procs"
            exec unshare --cgroup sh -c \
                "umount /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup; exec /sbin/init"' \
        >/dev/null
    expect "systemd is up" in_container systemctl is-active multi-user.target
}

# in_container COMMAND...: runs a command in the container.
in_container() {
    docker exec --interactive --env SYSTEMD_COLORS=0 "$container" "$@"
}

# expect WHAT COMMAND...: waits up to 60 s until a command succeeds.
expect() {
    local what=$1 start=$SECONDS
    shift
    until "$@" >/dev/null 2>&1 </dev/null; do
        if ((SECONDS - start > 60)); then
            printf 'FAILED %s\n' "$what"
            in_container systemctl --no-pager --lines 20 status 'proxyherd@*' </dev/null || true
            failed=1
            return
        fi
        sleep 0.2
    done
    printf 'ok     %s\n' "$what"
}

# not COMMAND...: whether a command fails.
not() {
    ! "$@"
}

# property NAME SERVER: a property of a server's unit.
property() {
    in_container systemctl show --property "$1" --value "proxyherd@$2" </dev/null
}

# is PROPERTY VALUE SERVER: whether a property has a value.
is() {
    [ "$(property "$1" "$3")" = "$2" ]
}

# answers PORT: whether a server answers a line of a client.
answers() {
    in_container bash -c "exec 3<>/dev/tcp/127.0.0.1/$1
        echo x >&3; read -r line <&3; [ \"\$line\" = '? x' ]" </dev/null
}

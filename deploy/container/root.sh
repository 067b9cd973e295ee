#!/bin/sh
# Collects the files of the image: deploy/container/root.sh PROGRAM DIR. The program is
# linked with the C library, whose resolver needs nothing else; so the image has the
# library of the system that this runs on, with its licence.
set -eu
program=$1 root=$2
source=$(dirname "$0")/../..
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$root/etc/proxyherd" \
    "$root/usr/share/doc/libc6" "$root/usr/share/doc/proxyherd"
cp "$program" "$root/usr/bin/proxyherd"

# Paths of libraries, as "libm.so.6 => /lib/... (0x...)" and "/lib64/ld-... (0x...)".
ldd "$program" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
cp /usr/share/doc/libc6/copyright "$root/usr/share/doc/libc6/"
# The licence of the places is a different one.
cp "$source/LICENSE" "$root/usr/share/doc/proxyherd/"
cp "$source/data/README.md" "$root/usr/share/doc/proxyherd/places.md"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
echo 'proxyherd:x:65532:65532::/var/lib/proxyherd:/nonexistent' >"$root/etc/passwd"
echo 'proxyherd:x:65532:' >"$root/etc/group"
cp "$source/deploy/container/herd.toml" "$root/etc/proxyherd/herd.toml"
find "$root" -exec touch --no-dereference --date="@${SOURCE_DATE_EPOCH:-0}" {} +

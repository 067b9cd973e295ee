#!/usr/bin/env bash
# Builds what a release consists of: deploy/release.sh [--twice] [DIR], by default into
# target/release-VERSION. Needs the Rust toolchain; cargo-deb for the package, cargo-cyclonedx
# for the bill of materials and docker for the image are left out, with a word, where they
# are missing. With --twice the program is built again from a copy of the source in another
# folder, and must be the same to the byte.
set -euo pipefail
cd "$(dirname "$0")/.."
twice=
if [ "${1:-}" = --twice ]; then
    twice=yes
    shift
fi
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
machine=$(rustc -vV | sed -n 's/^host: //p')
out=$(mkdir -p "${1:-target/release-$version}" && realpath "${1:-target/release-$version}")
package=target/package
# The time that all files carry: that of the last commit.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

say() {
    printf '== %s\n' "$*"
}
has() {
    command -v "$1" >/dev/null
}

# Debian's changelog has a form of its own; its entry of this version says what CHANGELOG.md
# says.
debian_changelog() {
    printf 'proxyherd (%s-1) unstable; urgency=medium\n\n' "$version"
    awk -v version="$version" '
        /^## / { inside = index($2, "[" version "]") }
        inside && /^- / { printf "%s  * %s", separator, substr($0, 3); separator = "\n" }
        inside && /^  / { printf " %s", substr($0, 3) }
        END { print "" }
    ' CHANGELOG.md | fold --spaces --width=78 | sed --regexp-extended 's/^([^ ])/    \1/; s/ +$//'
    printf '\n -- %s  %s\n' "$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)" \
        "$(LC_ALL=C date --utc --date="@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S +0000')"
}

say "program, manual pages and completions"
rm -rf "$package"
deploy/build.sh "$package"
cargo run --locked --quiet --features manual --example manual -- "$package"
debian_changelog >"$package/changelog"

if [ -n "$twice" ]; then
    say "the same, from another folder"
    elsewhere=$(mktemp -d)
    trap 'rm -rf "$elsewhere"' EXIT
    mkdir "$elsewhere/some-other-folder"
    git ls-files -z | xargs -0 cp --parents --target-directory "$elsewhere/some-other-folder"
    env -u CARGO_TARGET_DIR "$elsewhere/some-other-folder/deploy/build.sh" "$elsewhere/again"
    cmp "$package/proxyherd" "$elsewhere/again/proxyherd"
    say "both builds are equal"
fi

say "tarball"
name=proxyherd-$version-$machine
folder=$(mktemp -d)
mkdir "$folder/$name"
cp -r "$package"/{proxyherd,man1,bash,zsh,fish} "$folder/$name/"
# Only files that git tracks, without leftovers of tests. The licence of the places, in
# data/README.md, is a different one.
git ls-files -z README.md CHANGELOG.md LICENSE config docs deploy data/README.md |
    xargs -0 cp --parents --target-directory "$folder/$name"
tar --create --directory "$folder" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 \
    --numeric-owner --mode=go=rX,u+rw,a-s "$name" | gzip --no-name >"$out/$name.tar.gz"
rm -r "$folder"

if has cargo-deb; then
    say "Debian package"
    cargo deb --no-build --no-strip --output "$out"
else
    say "skipped: the Debian package; cargo-deb is missing (cargo install cargo-deb)"
fi

if has cargo-cyclonedx; then
    say "bill of materials"
    cargo cyclonedx --quiet --format json --spec-version 1.5 --override-filename "$name.cdx"
    # References and the package URL of this crate carry the path of the source.
    sed --regexp-extended 's|"path\+file://[^"#]*#|"|; s|\?download_url=file://\.||' \
        "$name.cdx.json" >"$out/$name.cdx.json"
    rm "$name.cdx.json"
else
    say "skipped: the bill of materials; cargo-cyclonedx is missing (cargo install cargo-cyclonedx)"
fi

if has docker && docker info >/dev/null 2>&1; then
    say "image"
    docker build --build-arg SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" \
        --tag "proxyherd:$version" --tag proxyherd:latest .
    docker save "proxyherd:$version" | gzip --no-name >"$out/proxyherd-$version-image.tar.gz"
else
    say "skipped: the image; there is no docker"
fi

say "checksums"
(cd "$out" && sha256sum -- proxyherd* | tee SHA256SUMS)

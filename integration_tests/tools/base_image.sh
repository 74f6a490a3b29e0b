#!/usr/bin/env bash
# Writes the root file system of a base image as a tar file, from Debian packages: for machines without a registry.
# usage: base_image.sh busybox:latest|[arm64v8/]python:3.11-slim-bookworm FILE
# Exit code 3: the programs that this needs are not installed (busybox-static; mmdebstrap, as root).
set -euo pipefail
image=$1 file=$2
part=$file.part

work=$(mktemp -d)
trap 'rm -rf "$work" "$part"' EXIT

make_busybox() {
    local busybox
    busybox=$(command -v busybox) || exit 3
    ! ldd "$busybox" >/dev/null 2>&1 || exit 3 # the one that needs no library
    mkdir -p "$work"/{bin,etc,root,tmp,usr}
    chmod 1777 "$work/tmp"
    cp "$busybox" "$work/bin/busybox"
    local applet
    for applet in $("$busybox" --list); do
        [[ $applet == busybox ]] || ln -s busybox "$work/bin/$applet"
    done
    ln -s ../bin "$work/usr/bin"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$work/etc/passwd"
    echo 'root:x:0:' >"$work/etc/group"
    tar -C "$work" -cf "$part" .
}

make_python() {
    command -v mmdebstrap >/dev/null && ((EUID == 0)) || exit 3
    # As in the image of that name, `python` and `pip` are Python's commands; certificates of the machine's own are trusted.
    cat >"$work/customize.sh" <<'CUSTOMIZE'
set -eu
root=$1
ln -sf python3 "$root/usr/bin/python"
if ls /usr/local/share/ca-certificates/*.crt >/dev/null 2>&1; then
    mkdir -p "$root/usr/local/share/ca-certificates"
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/"
    chroot "$root" update-ca-certificates >/dev/null
fi
rm -f "$root/usr/lib/python3.11/EXTERNALLY-MANAGED"
rm -rf "$root"/var/cache/apt/*.bin "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/*
CUSTOMIZE
    mmdebstrap --quiet --format=tar --variant=apt \
        --include=ca-certificates,python3,python3-venv,python3-pip \
        --customize-hook="sh $work/customize.sh \"\$1\"" \
        bookworm "$part"
}

# For another machine: unpacked only, since nothing of it can be run here.
make_foreign_python() {
    command -v mmdebstrap >/dev/null && ((EUID == 0)) || exit 3
    cat >"$work/extract.sh" <<'CUSTOMIZE'
set -eu
root=$1
ln -sf python3 "$root/usr/bin/python"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
rm -rf "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/*
# Compiled by the same version, which is much faster than emulated.
case $(/usr/bin/python3 --version 2>/dev/null) in
    "Python 3.11."*) /usr/bin/python3 -m compileall -q -s "$root" "$root/usr/lib/python3.11" || true ;;
esac
CUSTOMIZE
    mmdebstrap --quiet --format=tar --variant=extract --architectures="$1" \
        --include=base-files,bash,ca-certificates,coreutils,dash,dpkg,findutils,grep,python3,python3-distutils,sed \
        --extract-hook="sh $work/extract.sh \"\$1\"" \
        bookworm "$part"
}

case $image in
    busybox:latest) make_busybox ;;
    python:3.11-slim-bookworm) make_python ;;
    arm64v8/python:3.11-slim-bookworm) make_foreign_python arm64 ;;
    *)
        echo "$image is not an image that this script knows" >&2
        exit 2
        ;;
esac
mv "$part" "$file"

#!/usr/bin/env bash
# Takes down all that hosts.sh made in a directory, whatever state it is in. usage: HOSTS_DIR=DIR hosts_down.sh
dir=${HOSTS_DIR:?set HOSTS_DIR as for hosts.sh}
shopt -s nullglob

take_down() {
    local home=$1 n socket pid proc
    n=$(basename "$home") socket=unix://$home/d.sock
    timeout 20 docker -H "$socket" ps -aq 2>/dev/null | xargs -r timeout 60 docker -H "$socket" rm -f >/dev/null 2>&1
    pid=$(cat "$home/pid" 2>/dev/null)
    if [[ -n $pid ]]; then
        kill "$pid" 2>/dev/null
        for _ in $(seq 150); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    fi
    # What a killed engine has left: containerd, shims and what runs in containers name the directory.
    for proc in /proc/[0-9]*; do
        if tr '\0' '\n' <"$proc/cmdline" 2>/dev/null | grep -qF "$home/"; then
            kill -9 "${proc#/proc/}" 2>/dev/null
        fi
    done
    grep -F " $home/" /proc/mounts | awk '{print $2}' | sort -r | xargs -r umount -l 2>/dev/null
    ip netns del "hghost$n" 2>/dev/null
    ip link del "veth$n" 2>/dev/null
    find /sys/fs/cgroup -depth -type d -path "*/hghost$n*" -exec rmdir {} + 2>/dev/null
    rm -rf "$home"
}

for home in "$dir"/*/; do
    take_down "${home%/}" &
done
wait
if ip link show hgbr0 >/dev/null 2>&1 && [[ -z $(ip -o link show master hgbr0) ]]; then
    ip link del hgbr0
    iptables -D DOCKER-USER -i hgbr0 -j ACCEPT 2>/dev/null
fi
exit 0

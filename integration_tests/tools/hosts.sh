#!/usr/bin/env bash
# One Docker host on this machine: a network namespace with its own engine, socket and bridge. Run again, it starts
# the engine of a host that has lost it.
# usage: HOSTS_DIR=DIR hosts.sh N     (root; take all down with hosts_down.sh)
# Host N answers at 10.200.0.(N+1); its engine at unix://$HOSTS_DIR/N/d.sock. `ip link set vethN down` cuts it off.
set -euo pipefail
dir=${HOSTS_DIR:?set HOSTS_DIR to a directory}
n=${1:?which host}
ns=hghost$n home=$dir/$n
mkdir -p "$home"

if ! ip link show hgbr0 >/dev/null 2>&1; then
    ip link add hgbr0 type bridge
    ip addr add 10.200.0.1/24 dev hgbr0
    ip link set hgbr0 up
fi
# An engine of this machine drops what is forwarded between bridges that are not its own.
if iptables -S DOCKER-USER >/dev/null 2>&1; then
    iptables -C DOCKER-USER -i hgbr0 -j ACCEPT 2>/dev/null || iptables -I DOCKER-USER -i hgbr0 -j ACCEPT
fi
if [[ ! -e /run/netns/$ns ]]; then
    ip netns add "$ns"
    ip link add "veth$n" type veth peer name eth0 netns "$ns"
    ip link set "veth$n" master hgbr0 up
    ip -n "$ns" addr add "10.200.0.$((n + 1))/24" dev eth0
    ip -n "$ns" link set eth0 up
    ip -n "$ns" link set lo up
    ip -n "$ns" route add default via 10.200.0.1
fi

# With the hook on its path the engine accepts requests for GPUs, and the hook writes down what was asked for.
tools=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
export PATH=$tools:$PATH HOOK_LOG=$home/gpu.log
# nsenter, not `ip netns exec`: the latter remounts /sys and the engine then finds no cgroups.
setsid unshare --uts sh -c "hostname host$n; exec nsenter --net=/run/netns/$ns dockerd \
    --data-root '$home/root' --exec-root '$home/exec' --pidfile '$home/pid' -H 'unix://$home/d.sock' \
    --bip 172.31.$n.1/24 --cgroup-parent /hghost$n \
    --default-address-pool base=172.30.$((n * 16 - 16)).0/20,size=24" >>"$home/log" 2>&1 </dev/null &
for _ in $(seq 400); do
    docker -H "unix://$home/d.sock" version >/dev/null 2>&1 && exit 0
    sleep 0.05
done
tail -5 "$home/log" >&2
exit 1

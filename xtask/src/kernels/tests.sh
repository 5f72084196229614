#!/bin/sh
# In a guest, as its process 1: makes of the root a host like a user's, with the unified cgroup hierarchy and nothing
# else, and runs the tests that are listed. All that it finds goes to the directory of this run.
#
# Read:     tests, names of tests, one a line, in the order in which they are begun
#           limits, which sets TEST_SECONDS (the longest that a test may take), AT_A_TIME (tests),
#           AGAIN_MAX (tests that are run once more), KERNEL (the release)
# Written:  results/NAME, exit status (137: killed as too slow) and the uptimes at which it began and ended; a second
#           line when it failed beside others and was run once more, alone
#           logs/NAME, what the test said, each time
#           check.txt, what `firedrill host check` says; facts.txt, what kind of host this is
#           before.txt and after.txt, all that tests could have left; done, when all were run
work=/run/work
. "$work/limits"

mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/shm /dev/pts
mount -t tmpfs none /dev/shm
mount -t devpts none /dev/pts
mount -t cgroup2 none /sys/fs/cgroup
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
[ -d /run/lock ] || mkdir /run/lock

# The modules of this kernel, where the kernel and modprobe look for them.
mkdir -p "/lib/modules/$KERNEL"
mount --bind "$work/modules" "/lib/modules/$KERNEL"
# Loaded at boot on a real host: for the device, by systemd. All others are loaded when they are needed.
for module in virtio_blk ext4 fuse; do
    modprobe "$module" || echo "guest: cannot load $module"
done
ip link set lo up
# A real device, which can be throttled and takes direct writes.
mount -t ext4 /dev/vda /tmp && chmod 1777 /tmp || echo 'guest: no disk'
cp -r "$work/bin" /run/tests
cd /tmp || exit

{
    uname -rv
    sed -n 's/^PRETTY_NAME="\(.*\)"/userland: \1/p' /etc/os-release
    nft --version
    echo "cgroup mounts: $(grep -c ' - cgroup' /proc/self/mountinfo), controllers $(cat /sys/fs/cgroup/cgroup.controllers)"
    modprobe sch_netem && echo 'sch_netem: there' && modprobe -r sch_netem
    dmesg | sed -n 's/.*fuse: init (API version \(.*\))/FUSE: version \1/p'
} >"$work/facts.txt" 2>&1
/run/tests/firedrill host check >"$work/check.txt" 2>&1

seen() {
    nft list ruleset
    ip netns list
    ip -o link show | sed 's/^[0-9]*: //; s/ mtu .*//'
    tc qdisc show
    find /sys/fs/cgroup -type d | sort
    # A container's runtime passes all controllers on and leaves it so; the tests of limits look after their own.
    [ -e /run/runc ] || sed '/^$/d' /sys/fs/cgroup/cgroup.subtree_control
    sed 's/.* - //' /proc/self/mountinfo | sort
    # All that are no threads of the kernel.
    ps --ppid 2 --deselect -o comm= | sort | uniq -c
    cat /proc/sys/kernel/pid_max /proc/sys/fs/file-max /proc/sys/vm/overcommit_memory
}

run() {
    case $1 in
        host::*) program=host name=${1#host::} ;;
        *) program=fault name=$1 ;;
    esac
    read -r began _ </proc/uptime
    timeout -s KILL "$TEST_SECONDS" "/run/tests/deps/$program" --exact "$name" --test-threads=1 </dev/null \
        >>"$work/logs/$1" 2>&1
    status=$?
    read -r ended _ </proc/uptime
    echo "$status $began $ended" >>"$work/results/$1"
    echo "guest: $status $1"
}

mkdir -p "$work/logs" "$work/results" /run/begun
seen >"$work/before.txt" 2>&1
worker=0
while [ "$worker" -lt "$AT_A_TIME" ]; do
    worker=$((worker + 1))
    while read -r name; do
        # Whoever makes the directory runs the test.
        mkdir "/run/begun/$name" 2>/dev/null && run "$name"
    done <"$work/tests" &
    workers="$workers $!"
done
# shellcheck disable=SC2086 # a list of words
wait $workers
# What measures times does not always see them beside three other tests on processors that are emulated.
again=0
for result in "$work"/results/*; do
    if ! grep -q '^0 ' "$result" && [ "$again" -lt "$AGAIN_MAX" ]; then
        again=$((again + 1))
        run "${result##*/}"
    fi
done
seen >"$work/after.txt" 2>&1
dmesg >"$work/dmesg.txt"
: >"$work/done"
sync
echo o >/proc/sysrq-trigger
sleep 60

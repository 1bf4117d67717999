#!/usr/bin/env bash
# A Slurm cluster of this one machine, for tests, as root:
#   cluster.sh start DIR   then: export SLURM_CONF=DIR/slurm.conf
#   cluster.sh stop DIR
# Needs Debian's packages slurmctld, slurmd, slurm-client and munge. Two
# partitions: jobs in `high` preempt those in `low`, which are queued again.
set -euo pipefail
what=$1 dir=$2

start() {
  mkdir -p "$dir/state" "$dir/spool"
  cat > "$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPort=$((17000 + RANDOM % 1000))
SlurmdPort=$((18000 + RANDOM % 1000))
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
ReturnToService=2
MpiDefault=none
SlurmdParameters=config_overrides
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 OverSubscribe=NO
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF OverSubscribe=NO
CONF
  chmod 755 "$dir"
  install -d -o munge -g munge "$dir/munge"
  dd if=/dev/urandom of="$dir/munge/key" bs=128 count=1 status=none
  chown munge "$dir/munge/key" && chmod 400 "$dir/munge/key"
  runuser -u munge -- munged --key-file="$dir/munge/key" \
    --socket="$dir/munge/socket" --pid-file="$dir/munge/pid" \
    --log-file="$dir/munge/log" --seed-file="$dir/munge/seed"
  ln -sf "$dir/munge/socket" "$dir/munge.socket"
  slurmctld -c -f "$dir/slurm.conf"
  slurmd -c -f "$dir/slurm.conf"
  export SLURM_CONF=$dir/slurm.conf
  for _ in $(seq 100); do
    sinfo --noheader --format=%t 2> /dev/null | grep -q idle && return
    sleep 0.2
  done
  echo "the cluster did not come up:" >&2
  tail -n 5 "$dir"/*.log >&2
  exit 1
}

stop() {
  for pid in slurmctld.pid slurmd.pid munge/pid; do
    [ -e "$dir/$pid" ] && kill "$(cat "$dir/$pid")" || true
  done
}

"$what"

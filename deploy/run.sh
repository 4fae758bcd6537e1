#!/usr/bin/env bash
# Runs a command on the cluster that KUBECTL reaches: what its flags choose (`kubectl --context=…`) is the current context of a
# kubeconfig of the command's own, which is nobody else's to read, and gone when the command has ended.
set -euo pipefail
read -ra kubectl <<<"${KUBECTL:-kubectl}"
kubeconfig=$(mktemp)
command=
trap 'rm -f "$kubeconfig"' EXIT
# To end is the command's: it is told, and waited for.
trap '[ -z "$command" ] || kill -TERM "$command" 2>/dev/null || true' HUP INT TERM
# In a pod there is no kubeconfig; the command finds its cluster as kubectl does. Flags say which is meant, though.
if "${kubectl[@]}" config view --minify --flatten --raw >"$kubeconfig" 2>/dev/null; then
  export KUBECONFIG=$kubeconfig
elif [ "${#kubectl[@]}" -gt 1 ]; then
  echo "run: '${kubectl[*]} config view' fails, so nobody can tell which cluster is meant: see what it says" >&2
  exit 1
fi
"$@" <&0 &
command=$!
status=0
wait "$command" || status=$?
# A signal ends the wait, and not the command.
while kill -0 "$command" 2>/dev/null; do
  status=0
  wait "$command" || status=$?
done
exit "$status"

#!/usr/bin/env bash
# Deletes the definitions, and with them every object of theirs, from the current kubeconfig's cluster, whether an operator is
# there or not: first what would ask or refuse while nobody answers, then what would be waited for, then all.
#
#   KUBECTL       kubectl, with its flags
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kubectl=${KUBECTL:-kubectl}
definitions=$($kubectl get -f "$here/../crds" --ignore-not-found -o name)

$kubectl delete --ignore-not-found -k "$here/../webhooks"
$kubectl delete --ignore-not-found -f "$here/policies/conversion.yaml"
for definition in $definitions; do
    $kubectl patch "$definition" --type=merge -p '{"spec":{"conversion":{"strategy":"None","webhook":null}}}'
done

# The Go original's finalizers, which it alone takes off, and ours once it is asked to: whoever is left, nobody does it now.
with='{{range .items}}{{or .metadata.namespace "default"}} {{.metadata.name}}{{range .metadata.finalizers}} {{.}}{{end}}{{"\n"}}{{end}}'
for definition in $definitions; do
    kind=${definition#*/}
    while read -r namespace name finalizers; do
        kept=
        for it in $finalizers; do
            [[ $it == gastown.io/*-cleanup ]] || kept+=${kept:+,}\"$it\"
        done
        [[ " $finalizers" != *" gastown.io/"*-cleanup* ]] ||
            $kubectl -n "$namespace" patch "$kind" "$name" --type=merge -p "{\"metadata\":{\"finalizers\":[$kept]}}" </dev/null
    done < <($kubectl get "$kind" --all-namespaces -o go-template="$with")
done
# What goes is shown. Besides, a definition of which nothing was ever listed may stay for five minutes: its store is only made
# then, and the API server, which lists too, can forget to try again.
[ -z "$definitions" ] || $kubectl get --all-namespaces "$(sed 's|.*/||' <<<"$definitions" | paste -sd, -)"
$kubectl delete --ignore-not-found -f "$here/../crds"

# What was made beside them, by people or by `kubectl gt storage migrate`.
$kubectl delete --ignore-not-found -k "$here/dashboards"
if [ -n "$definitions" ] && [ -n "$($kubectl api-resources --api-group=storagemigration.k8s.io -o name)" ]; then
    for definition in $definitions; do
        it=${definition#*/}
        $kubectl delete --ignore-not-found storageversionmigrations.storagemigration.k8s.io "gastown-operator.${it%%.*}"
    done
fi

#!/usr/bin/env bash
# Deletes the definitions, and with them every object of theirs, from the current kubeconfig's cluster, once no operator runs
# there: first what would ask or refuse while nobody answers, then what would be waited for, then all.
#
#   KUBECTL       kubectl, with its flags
#   WATCHED       seconds for which sessions are watched, where there are any (8)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kubectl=${KUBECTL:-kubectl}
# One that still runs would give the conversion back that is taken here.
running=$($kubectl get deployments --all-namespaces -l app.kubernetes.io/name=gastown-operator,control-plane=controller-manager \
    -o 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {end}')
[ -z "$running" ] || {
    echo "uninstall: the operator still runs ($running): take it away first, by \`make undeploy\`, \`helm uninstall\` or its Subscription" >&2
    exit 1
}
# So would one that runs elsewhere, as `make run` does: it renews its session every few seconds.
sessions() {
    $kubectl get leases --all-namespaces -l gastown.io/lease=session \
        -o 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}'
}
before=$(sessions)
if [ -n "$before" ]; then
    sleep "${WATCHED:-8}"
    # By itself, so that no answer ends this instead of passing for no session.
    after=$(sessions)
    renewed=$(LC_ALL=C join <(LC_ALL=C sort <<<"$before") <(LC_ALL=C sort <<<"$after") | awk '$2 != $3 {printf "%s ", $1}')
    [ -z "$renewed" ] || {
        echo "uninstall: an operator is at work (session ${renewed% }): stop it first" >&2
        exit 1
    }
fi
definitions=$($kubectl get -f "$here/../crds" --ignore-not-found -o name)

# API servers take a moment to see that a webhook or a policy is gone, and that a definition was changed.
patiently() {
    for _ in $(seq 30); do
        "$@" && return
        sleep 1
    done
    "$@"
}

# NAMESPACE KIND NAME FINALIZERS: leaves those alone, unless the object is gone.
leave() {
    [ -z "$($kubectl -n "$1" get "$2" "$3" --ignore-not-found -o name)" ] ||
        $kubectl -n "$1" patch "$2" "$3" --type=merge -p "{\"metadata\":{\"finalizers\":[$4]}}" </dev/null
}

$kubectl delete --ignore-not-found -k "$here/../webhooks"
# What the operator applies itself where OLM installed it, nobody took away with it.
$kubectl delete --ignore-not-found mutatingwebhookconfigurations,validatingwebhookconfigurations gastown-operator-pods-of-namespaces
$kubectl delete --ignore-not-found -k "$here/policies"
for definition in $definitions; do
    $kubectl patch "$definition" --type=merge -p '{"spec":{"conversion":{"strategy":"None","webhook":null}}}'
done

# The Go original's finalizers, which it alone takes off, and ours once it is asked to: whoever is left, nobody does it now.
with='{{range .items}}{{or .metadata.namespace "default"}} {{.metadata.name}}{{range .metadata.finalizers}} {{.}}{{end}}{{"\n"}}{{end}}'
for definition in $definitions; do
    kind=${definition#*/}
    all=$(patiently $kubectl get "$kind" --all-namespaces -o go-template="$with")
    while read -r namespace name finalizers; do
        kept=
        for it in $finalizers; do
            [[ $it == gastown.io/*-cleanup ]] || kept+=${kept:+,}\"$it\"
        done
        [[ " $finalizers" != *" gastown.io/"*-cleanup* ]] ||
            patiently leave "$namespace" "$kind" "$name" "$kept"
    done <<<"$all"
done
# What goes is shown. Besides, a definition of which nothing was ever listed may stay for five minutes: its store is only made
# then, and the API server, which lists too, can forget to try again.
[ -z "$definitions" ] || patiently $kubectl get --all-namespaces "$(sed 's|.*/||' <<<"$definitions" | paste -sd, -)"
$kubectl delete --ignore-not-found -f "$here/../crds"

# What was made beside them, by people or by `kubectl gt storage migrate`.
$kubectl delete --ignore-not-found -k "$here/dashboards"
if [ -n "$definitions" ] && [ -n "$($kubectl api-resources --api-group=storagemigration.k8s.io -o name)" ]; then
    for definition in $definitions; do
        it=${definition#*/}
        $kubectl delete --ignore-not-found storageversionmigrations.storagemigration.k8s.io "gastown-operator.${it%%.*}"
    done
fi

# What the operator made for itself, of which Helm and OLM know nothing: its Leases, the original's that it holds, and Secrets with
# the keys of certificates, an authority's among them, also those that cert-manager made for it and leaves.
certificates=gastown-operator-webhook-certificates
places=$($kubectl get leases --all-namespaces -l gastown.io/lease -o 'jsonpath={range .items[*]}{.metadata.namespace}{"\n"}{end}')
places+=$'\n'$($kubectl get secrets --all-namespaces --field-selector "metadata.name=$certificates" \
    -o 'jsonpath={range .items[*]}{.metadata.namespace}{"\n"}{end}')
by='.metadata.annotations.cert-manager\.io/certificate-name'
held='{range .items[?(@.spec.holderIdentity=="gastown-operator")]}lease/{.metadata.name} {end}'
for namespace in $(sort -u <<<"$places"); do
    own="lease/gastown-operator lease/gastown-housekeeper secret/$certificates "
    own+=$($kubectl -n "$namespace" get leases --field-selector metadata.name=9a7b81dd.gastown.io -o "jsonpath=$held")
    for it in gastown-operator-ca gastown-operator-webhook; do
        own+=" "$($kubectl -n "$namespace" get secrets -o "jsonpath={range .items[?(@$by==\"$it\")]}secret/{.metadata.name} {end}")
    done
    $kubectl -n "$namespace" delete leases -l gastown.io/lease
    $kubectl -n "$namespace" delete --ignore-not-found $own
done

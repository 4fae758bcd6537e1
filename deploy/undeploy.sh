#!/usr/bin/env bash
# Takes the operator out of the current kubeconfig's cluster. Definitions and the objects of users stay, readable in the
# version they are stored in, and nothing that is left asks a webhook. `make uninstall CONFIRM=yes` deletes them as well.
#
#   KUBECTL       kubectl, with its flags
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kubectl=${KUBECTL:-kubectl}
namespace=gastown-operator-system

# Nobody answers from now on: first what would ask, then who answers, who hands back what he holds while he has the rights to.
# Who judges goes before who stamps, or what is written between is refused for lack of a stamp.
for it in "$here"/../webhooks/*validating.yaml; do $kubectl delete --ignore-not-found -f "$it"; done
$kubectl delete --ignore-not-found -k "$here/../webhooks"
$kubectl -n "$namespace" delete --ignore-not-found deployment/gastown-operator-controller-manager --cascade=foreground
# Without the rights to convert, which go first, the policy refuses what would be stored cut from here on.
$kubectl delete --ignore-not-found -k "$here/rbac"
for definition in $($kubectl get -f "$here/../crds" --ignore-not-found -o name); do
    $kubectl patch "$definition" --type=merge -p '{
        "metadata":{"annotations":{"cert-manager.io/inject-ca-from":null,"service.beta.openshift.io/inject-cabundle":null}},
        "spec":{"conversion":{"strategy":"None","webhook":null}}}'
done
$kubectl delete --ignore-not-found -f "$here/policies/pods.yaml"
$kubectl delete --ignore-not-found -f "$here/base/network.yaml" -f "$here/base/metrics.yaml" -f "$here/base/metrics-network.yaml"
# What was made for a Prometheus, if anything: its own kinds are there only where its operator is.
if [ -n "$($kubectl api-resources --api-group=monitoring.coreos.com -o name)" ]; then
    $kubectl delete --ignore-not-found -k "$here/monitoring"
else
    $kubectl delete --ignore-not-found -f "$here/monitoring/access.yaml"
fi
$kubectl delete --ignore-not-found -k "$here/priority"

# The namespace goes with all that is in it, unless somebody has objects there, of whichever of our groups.
kinds=$($kubectl get -f "$here/../crds" --ignore-not-found \
    -o 'jsonpath={range .items[?(@.spec.scope=="Namespaced")]}{.metadata.name}{"\n"}{end}' | sed /^shardmaps/d | paste -sd, -)
theirs=
[ -z "$kinds" ] || theirs=$($kubectl -n "$namespace" get "$kinds" --ignore-not-found -o name)
if [ -z "$theirs" ]; then
    $kubectl delete --ignore-not-found -f "$here/base/operator.yaml"
else
    echo "Namespace $namespace stays, because of what is in it:" $theirs
    $kubectl -n "$namespace" delete --ignore-not-found leases,shardmaps --all
    $kubectl -n "$namespace" delete --ignore-not-found secret/gastown-operator-webhook-certificates
    # What cert-manager was asked for, if anything, it would renew for ever; what it made of that it leaves.
    if [ -n "$($kubectl api-resources --api-group=cert-manager.io -o name)" ]; then
        made=$($kubectl get -f "$here/cert-manager" --ignore-not-found \
            -o 'jsonpath={range .items[?(@.kind=="Certificate")]}secret/{.spec.secretName} {end}')
        $kubectl delete --ignore-not-found -f "$here/cert-manager"
        [ -z "$made" ] || $kubectl -n "$namespace" delete --ignore-not-found $made
    fi
    $kubectl -n "$namespace" delete --ignore-not-found pdb,rolebinding,serviceaccount -l app.kubernetes.io/name=gastown-operator
    $kubectl delete --ignore-not-found clusterrolebinding/gastown-operator-manager-rolebinding
fi
echo "Definitions and objects are kept, and so is the policy that refuses writes in an older version while nobody converts them."

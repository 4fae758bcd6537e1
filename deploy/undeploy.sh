#!/usr/bin/env bash
# Takes the operator out of the current kubeconfig's cluster. Definitions and the objects of users stay, readable in the
# version they are stored in, and nothing that is left asks a webhook. `make uninstall CONFIRM=yes` deletes them as well. The
# operator's namespace stays where anything of somebody else's is in it.
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

# Its own objects by name, what it wrote itself, and what others made for it. All else in its namespace is somebody's.
awk -v RS='\n---\n' -v ORS='\n---\n' '!/\nkind: Namespace\n/' "$here/base/operator.yaml" | $kubectl delete --ignore-not-found -f -
[ -z "$($kubectl get crd shardmaps.gastown.gastown.io --ignore-not-found -o name)" ] ||
    $kubectl -n "$namespace" delete shardmaps.gastown.gastown.io --all
$kubectl -n "$namespace" delete leases -l gastown.io/lease
held='{range .items[?(@.spec.holderIdentity=="gastown-operator")]}lease/{.metadata.name} {end}'
own=$($kubectl -n "$namespace" get leases --field-selector metadata.name=9a7b81dd.gastown.io -o "jsonpath=$held")
# What cert-manager was asked for, if anything, it would renew for ever; what it made of that it leaves.
if [ -n "$($kubectl api-resources --api-group=cert-manager.io -o name)" ]; then
    own+=$($kubectl get -f "$here/cert-manager" --ignore-not-found \
        -o 'jsonpath={range .items[?(@.kind=="Certificate")]}secret/{.spec.secretName} {end}')
    $kubectl delete --ignore-not-found -f "$here/cert-manager"
fi
# The election's own Lease has no label of ours.
$kubectl -n "$namespace" delete --ignore-not-found $own secret/gastown-operator-webhook-certificates lease/gastown-housekeeper

# A line for each object that is left, and whether another one owns it, without what every namespace has and what only mirrors other
# objects. Fails where something can't be listed.
each='{{range .items}}{{.kind}}/{{.metadata.name}}{{if .metadata.ownerReferences}} owned{{end}}{{"\n"}}{{end}}'
mirrors='events|events\.events\.k8s\.io|endpoints|endpointslices\.discovery\.k8s\.io|pods\.metrics\.k8s\.io'
mirrors+='|packagemanifests\.packages\.operators\.coreos\.com|appliedclusterresourcequotas\.quota\.openshift\.io'
everywhere='ServiceAccount/(default|builder|deployer)|ConfigMap/(kube-root-ca|openshift-service-ca)\.crt'
everywhere+='|RoleBinding/system:(deployers|image-builders|image-pullers)'
everywhere+='|Secret/(default|builder|deployer|gastown-operator-[a-z-]+)-(dockercfg|token)-[a-z0-9]{5}'
look() {
    local kinds all status=0
    kinds=$($kubectl api-resources --verbs=list --namespaced -o name) || status=1
    kinds=$(grep -vxE "$mirrors" <<<"$kinds" | paste -sd, -) || status=1
    all=$($kubectl -n "$namespace" get "$kinds" -l '!olm.copiedFrom' --ignore-not-found -o go-template="$each") || status=1
    { grep -vxE "($everywhere)( owned)?" <<<"$all" || true; } | sort -u
    return "$status"
}

# The namespace goes where nothing is left in it. What is owned has a moment to go after its owner.
for _ in $(seq 10); do
    if left=$(look); then unseen=; else unseen=yes; fi
    [[ $left == *" owned"* ]] || break
    sleep 1
done
if [ -z "$left$unseen" ]; then
    $kubectl delete --ignore-not-found "namespace/$namespace"
else
    [ -z "$left" ] || echo "Namespace $namespace stays, because of what is in it:" ${left// owned/}
    [ -z "$unseen" ] || echo "Namespace $namespace stays, because not all that may be in it could be listed."
    echo "To delete it with whatever is in it: $kubectl delete namespace $namespace"
fi
echo "Definitions and objects are kept, and so is the policy that refuses writes in an older version while nobody converts them."

#!/usr/bin/env bash
# Applies what it reads over definitions that nobody converts, as the Go original's are, in an order in which no write ever asks where
# nobody answers: the replicas, if they are in it, and once they are ready the definitions and webhooks, which are told at once whom to
# trust. Where ours are there already it changes nothing. Who applies the same afterwards, kubectl or Helm, owns it alone.
#
#   NAMESPACE     the operator's                   (gastown-operator-system)
#   KUBECTL       kubectl, with its flags
#   TIMEOUT       how long to wait for the replicas (180s)
set -euo pipefail

kubectl=${KUBECTL:-kubectl}
namespace=${NAMESPACE:-gastown-operator-system}
deployment=gastown-operator-controller-manager
definition=crd/polecats.gastown.gastown.io
# A writer for whom to trust alone: given up, it stays though it is not among what is applied later. And the one who applies that.
once=gastown-operator-first
later=kubectl

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/all.yaml"
documents() { awk -v RS='\n---\n' -v ORS='\n---\n' "$1" "$work/all.yaml"; }
asking='/\nkind: (CustomResourceDefinition|MutatingWebhookConfiguration|ValidatingWebhookConfiguration)\n/'
documents "$asking" >"$work/asking.yaml"
documents "!$asking && /\nkind: /" >"$work/replicas.yaml"
[ -s "$work/asking.yaml" ] || {
    echo "first: no definitions and no webhooks on standard input; pipe what is to be applied into it" >&2
    exit 2
}
if grep -q '^ *app.kubernetes.io/managed-by: Helm$' "$work/asking.yaml"; then later=helm; fi
apply() { $kubectl apply --server-side --force-conflicts "$@"; }

# What has two owners, such as a webhook, no later release takes out.
owned='{{range .items}}{{$it := .}}{{range $at, $by := .metadata.managedFields}}{{if eq $by.manager "'$once'"}}'
owned+='{{$it.kind}}/{{$it.metadata.name}} {{$it.metadata.resourceVersion}} {{$at}}{{"\n"}}{{end}}{{end}}{{end}}'
give_up() {
    local found object version at
    found=$($kubectl get -f "$work/asking.yaml" --ignore-not-found -o go-template="$owned") || return
    while read -r object version at; do
        [ -z "$object" ] || $kubectl patch "$object" --type=json </dev/null -p "[
            {\"op\": \"test\", \"path\": \"/metadata/resourceVersion\", \"value\": \"$version\"},
            {\"op\": \"remove\", \"path\": \"/metadata/managedFields/$at\"}]" || return
    done <<<"$found"
}
# Once more where somebody wrote meanwhile, as replicas do that tell whom to trust.
done_with() {
    local try
    for try in $(seq 10); do
        if give_up; then return; fi
        sleep 1
    done
    echo "first: $once still owns what it applied; call this once more" >&2
    return 1
}

# Where one begun before was cut off, ours are there, and so may be its name.
case $($kubectl get "$definition" --ignore-not-found -o 'jsonpath={.spec.conversion.strategy}') in
    None) ;;
    "") exit ;;
    *) done_with; exit ;;
esac

if grep -q '^kind: Deployment$' "$work/replicas.yaml"; then
    # The original's budget says minAvailable, which can't be merged with ours.
    budget=poddisruptionbudget/gastown-operator-controller-manager-pdb
    [ -z "$($kubectl -n "$namespace" get "$budget" --ignore-not-found -o 'jsonpath={.spec.minAvailable}')" ] ||
        $kubectl -n "$namespace" delete "$budget"
    apply -f "$work/replicas.yaml"
fi
$kubectl -n "$namespace" rollout status "deployment/$deployment" --timeout="${TIMEOUT:-180s}"
bundle=$($kubectl -n "$namespace" get secret gastown-operator-webhook-certificates --ignore-not-found \
    -o 'jsonpath={.data.ca\.crt}')
awk -v bundle="$bundle" '
    { print } bundle != "" && /^ *clientConfig:$/ { match($0, /^ */); printf "%s  caBundle: %s\n", substr($0, 1, RLENGTH), bundle }' \
    "$work/asking.yaml" >"$work/told.yaml"
apply --field-manager="$once" -f "$work/told.yaml"
# Not given up before: what nobody owns is taken for that of somebody from before, who never gives it up.
apply --field-manager="$later" -f "$work/asking.yaml" >/dev/null
done_with

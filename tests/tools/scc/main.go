// Command scc says of pods what OpenShift's own admission of security context constraints would: its plugin, with the constraints
// of a new cluster, of which everybody may use restricted-v2 and restricted-v3. On standard input JSON objects, one a line:
// {"namespace": {...}, "pod": {...}}; for each a line {"scc": NAME}, {"refused": WHY}, or {"unread": WHY} of what is no pod.
package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	securityv1 "github.com/openshift/api/security/v1"
	"github.com/openshift/apiserver-library-go/pkg/securitycontextconstraints/sccadmission"
	securityfake "github.com/openshift/client-go/security/clientset/versioned/fake"
	securityinformers "github.com/openshift/client-go/security/informers/externalversions"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	"sigs.k8s.io/yaml"
)

// The two that everybody may use, as OpenShift ships them.
//
//go:embed restricted-v2.yaml
var v2 []byte

//go:embed restricted-v3.yaml
var v3 []byte

// The others of a new cluster, without which the plugin takes its cache for unfinished. Nobody here may use them.
var others = []string{
	"anyuid", "hostaccess", "hostmount-anyuid", "hostnetwork", "hostnetwork-v2", "nonroot", "nonroot-v2", "privileged", "restricted",
}

type question struct {
	Namespace json.RawMessage `json:"namespace"`
	Pod       json.RawMessage `json:"pod"`
}

type answer struct {
	SCC     string `json:"scc,omitempty"`
	Refused string `json:"refused,omitempty"`
	Unread  string `json:"unread,omitempty"`
}

type plugin interface {
	admission.MutationInterface
	admission.ValidationInterface
	SetExternalKubeInformerFactory(informers.SharedInformerFactory)
	SetAuthorizer(authorizer.Authorizer)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "scc:", err)
		os.Exit(1)
	}
}

func run() error {
	judge, err := newJudge()
	if err != nil {
		return err
	}
	in, out := bufio.NewScanner(os.Stdin), json.NewEncoder(os.Stdout)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var asked question
		if err := json.Unmarshal(in.Bytes(), &asked); err != nil {
			return err
		}
		said, err := judge.say(asked)
		if err != nil {
			return err
		}
		if err := out.Encode(said); err != nil {
			return err
		}
	}
	return in.Err()
}

type judge struct {
	plugin plugin
	// Where the plugin looks for namespaces.
	namespaces interface {
		Add(any) error
		Update(any) error
	}
}

func newJudge() (*judge, error) {
	// The fake clients list and then watch, and know no other way.
	if err := utilfeature.DefaultMutableFeatureGate.Set("WatchListClient=false"); err != nil {
		return nil, err
	}
	constraints := securityfake.NewSimpleClientset()
	install := func(scc *securityv1.SecurityContextConstraints) error {
		_, err := constraints.SecurityV1().SecurityContextConstraints().Create(context.Background(), scc, metav1.CreateOptions{})
		return err
	}
	for _, text := range [][]byte{v2, v3} {
		scc := &securityv1.SecurityContextConstraints{}
		if err := yaml.UnmarshalStrict(text, scc); err != nil {
			return nil, err
		}
		scc.Groups = []string{user.AllAuthenticated}
		if err := install(scc); err != nil {
			return nil, err
		}
	}
	for _, name := range others {
		err := install(&securityv1.SecurityContextConstraints{
			ObjectMeta:         metav1.ObjectMeta{Name: name},
			RunAsUser:          securityv1.RunAsUserStrategyOptions{Type: securityv1.RunAsUserStrategyRunAsAny},
			SELinuxContext:     securityv1.SELinuxContextStrategyOptions{Type: securityv1.SELinuxStrategyRunAsAny},
			FSGroup:            securityv1.FSGroupStrategyOptions{Type: securityv1.FSGroupStrategyRunAsAny},
			SupplementalGroups: securityv1.SupplementalGroupsStrategyOptions{Type: securityv1.SupplementalGroupsStrategyRunAsAny},
		})
		if err != nil {
			return nil, err
		}
	}
	known := securityinformers.NewSharedInformerFactory(constraints, 0)
	objects := informers.NewSharedInformerFactory(fake.NewSimpleClientset(), 0)
	plugin := sccadmission.NewConstraint()
	plugin.SetSecurityInformers(known.Security().V1().SecurityContextConstraints())
	plugin.SetExternalKubeInformerFactory(objects)
	plugin.SetAuthorizer(nobody{})
	namespaces := objects.Core().V1().Namespaces().Informer()
	stop := make(chan struct{})
	known.Start(stop)
	objects.Start(stop)
	known.WaitForCacheSync(stop)
	objects.WaitForCacheSync(stop)
	return &judge{plugin, namespaces.GetStore()}, nil
}

// Nobody may use what is not granted by group.
type nobody struct{}

func (nobody) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", nil
}

func (j *judge) say(asked question) (answer, error) {
	namespace := &corev1.Namespace{}
	if err := json.Unmarshal(asked.Namespace, namespace); err != nil {
		return answer{}, err
	}
	if err := j.namespaces.Add(namespace); err != nil {
		return answer{}, err
	}
	sent := &corev1.Pod{}
	if err := json.Unmarshal(asked.Pod, sent); err != nil {
		return answer{Unread: err.Error()}, nil
	}
	legacyscheme.Scheme.Default(sent)
	pod := &core.Pod{}
	if err := legacyscheme.Scheme.Convert(sent, pod, nil); err != nil {
		return answer{Unread: err.Error()}, nil
	}
	pod.Namespace = namespace.Name
	// A namespace that lacks an annotation is waited for, ten seconds long.
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	attributes := func() admission.Attributes {
		ada := &user.DefaultInfo{Name: "ada", Groups: []string{user.AllAuthenticated}}
		kind, resource := corev1.SchemeGroupVersion.WithKind("Pod"), corev1.SchemeGroupVersion.WithResource("pods")
		return admission.NewAttributesRecord(
			pod, nil, kind, namespace.Name, pod.Name, resource, "", admission.Create, &metav1.CreateOptions{}, false, ada)
	}
	if err := j.plugin.Admit(ctx, attributes(), nil); err != nil {
		return refused(err), nil
	}
	if err := j.plugin.Validate(ctx, attributes(), nil); err != nil {
		return refused(fmt.Errorf("what it had let in itself: %w", err)), nil
	}
	return answer{SCC: pod.Annotations[securityv1.ValidatedSCCAnnotation]}, nil
}

func refused(err error) answer {
	for next := err; next != nil; next = errors.Unwrap(next) {
		err = next
	}
	return answer{Refused: strings.TrimSpace(err.Error())}
}

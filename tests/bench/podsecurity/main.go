// Kubernetes' own PodSecurity webhook, for the bench to compare with: `main` is upstream's, so that go.mod and go.sum pin it.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/pod-security-admission/cmd/webhook/server"
)

func main() {
	os.Exit(cli.Run(server.NewServerCommand()))
}

//! A real Kubernetes control plane and node on one machine, for tests, benches and the demo.

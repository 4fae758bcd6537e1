//! The one integration-test binary: the layer rule, generated files, and everything that needs a real API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and talks to the API server itself"
)]

mod access;
mod architecture;
mod asking;
mod borrowed;
mod brakes;
mod bundle;
mod catalog;
mod certificates;
mod check;
mod clients;
mod clock;
mod constraints;
mod dashboards;
mod distrusted;
mod doctor;
mod door;
mod draining;
mod ends;
mod exhaustive;
mod failures;
mod faults;
mod fields;
mod forbidden;
mod from_files;
mod full_lists;
mod generated;
mod held;
#[path = "../runner/hello.rs"]
mod hello;
mod hostile;
mod hub;
mod images;
mod judged;
mod kubectl;
mod late_pods;
mod log_level;
mod make;
mod metrics_door;
mod missing_secrets;
mod original;
mod outage;
mod pages;
mod pins;
mod pipeline;
mod pod_security;
mod pods_at_the_door;
mod poisoned;
mod polecats;
mod preconditions;
mod prepared;
mod preparing;
mod process;
mod promql;
mod proxied;
mod put_back;
mod ratchet;
mod real_approved;
mod real_built;
mod real_deployed;
mod real_disruption;
mod real_images;
mod real_node;
mod real_olm;
mod real_openshift;
mod real_pending;
mod real_policies;
mod real_secrets;
mod real_trust;
mod real_upgrade;
mod release;
mod report;
mod restored;
mod rights;
mod roads;
mod samples;
mod scan;
mod scenarios;
mod shard_map;
mod shards;
mod signing;
mod storage;
mod stored;
mod switched_off;
mod takeover;
mod tenants;
mod terminating;
mod tls_profile;
#[path = "../bench/conversion/to_hub.rs"]
mod to_hub;
mod tracing;
mod uninstalled;
mod upgrade;
mod versions;
mod views;
mod waits;
mod words;
mod words_of_the_original;
mod world;

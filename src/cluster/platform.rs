//! What admission asks of the API server about the cluster: which groups it serves, and what a Namespace says of itself.

use kube::{api::GetParams, core::Request};
use serde_json::Value;

use super::{
    Cluster,
    error::{Class, Error},
};

impl Cluster {
    /// Whether this API group is served.
    pub async fn serves(&self, group: &str) -> Result<bool, Error> {
        let built = Request::new("/apis").get(group, &GetParams::default());
        match self.read::<Value>("groups", || format!("look for group {group}"), built).await {
            Ok(_) => Ok(true),
            Err(error) if error.class() == Class::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A Namespace as it is stored.
    pub async fn namespace(&self, name: &str) -> Result<Value, Error> {
        let built = Request::new("/api/v1/namespaces").get(name, &GetParams::default());
        self.read("namespaces", || format!("read Namespace {name}"), built).await
    }
}

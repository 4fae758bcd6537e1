//! What an OpenShift cluster says of the TLS of its components: its `APIServer`, as it is and whenever it changes.

use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::{
    Api,
    api::{ApiResource, GetParams},
    core::{DynamicObject, GroupVersionKind, Request},
};
use serde_json::{Value, json};

use super::{certificates::watched, connect::Connection, watch_clients::Watches, writing::Allowed};

const GROUP: &str = "config.openshift.io";
/// The one object of its kind.
const NAME: &str = "cluster";
/// How soon it is asked again whether there is such a thing.
const AGAIN: Duration = Duration::from_secs(5);

/// The way to it.
pub struct ClusterTls {
    client: kube::Client,
    watches: Watches,
}

impl ClusterTls {
    pub fn new(connection: &Connection) -> Self {
        Self { client: connection.work.clone(), watches: connection.watches.clone() }
    }

    /// Whether this cluster has such a thing; asked until the API server says it.
    pub async fn is_there(&self) -> bool {
        loop {
            let asked = Request::new("/apis").get(GROUP, &GetParams::default());
            if let Some(asked) = asked.ok().and_then(|it| Allowed::reading(it).ok()) {
                match asked.send::<Value>(&self.client).await {
                    Ok(_) => return true,
                    Err(kube::Error::Api(it)) if it.code == 404 => return false,
                    Err(_) => {}
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The object, and `None` while there is none.
    pub fn news(&self) -> impl Stream<Item = Option<Value>> + Send + use<> {
        let kind = GroupVersionKind::gvk(GROUP, "v1", "APIServer");
        let resource = ApiResource::from_gvk_with_plural(&kind, "apiservers");
        let seat = self.watches.seat();
        let api: Api<DynamicObject> = Api::all_with(seat.client.clone(), &resource);
        let spec = |it: DynamicObject| json!({"spec": it.data.get("spec")});
        watched(seat, ("apiservers", api), NAME).map(move |it| it.map(spec))
    }
}

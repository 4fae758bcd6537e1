//! Corrects the labels of Polecats that are found under none, or a wrong one.

use std::sync::Arc;

use super::{FIRST_RETRY, Running, UnderWay, log};
use crate::{
    cluster::{Cluster, meters, plural},
    domain::polecat,
    tasks::{
        queue::{Queue, Turn},
        supervise,
    },
};

impl Running {
    /// One worker that corrects labels.
    pub(super) fn correct(&mut self, cluster: &Cluster, queue: Arc<Queue>) {
        let task = meters::Task { task: "labels", controller: plural::<polecat::Brief>() };
        let (meters, closed) = (cluster.meters.clone(), queue.clone());
        let over = move || {
            let closed = closed.clone();
            async move { closed.until_closed().await }
        };
        let parts = Arc::new((cluster.clone(), queue));
        let begin = move || {
            let parts = parts.clone();
            async move {
                let (cluster, queue) = &*parts;
                while let Some(Turn { key, .. }) = queue.next().await {
                    let under_way = UnderWay { queue, key: &key };
                    tokio::select! {
                        () = cluster.ownership.allowed() => {}
                        () = queue.until_closed() => return,
                    }
                    let answer = cluster.correct_labels(&key).await;
                    under_way.done();
                    queue.done(&key);
                    if let Err(error) = answer {
                        log(&key, &error, FIRST_RETRY);
                        queue.add_after(key, FIRST_RETRY);
                    }
                }
            }
        };
        self.workers.spawn(supervise::keep(task, meters, over, begin));
    }
}

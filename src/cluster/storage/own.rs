//! Writes every object once, page by page, each as it is: a patch of the status that changes nothing. The API server makes
//! a write of it only if what lies in storage is not what it would write now, so doing it twice costs a request and no
//! write. The status, because no admission is asked about that which could change something on the way.

use std::time::Duration;

use kube::api::{ListParams, Patch, PatchParams};
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior};

use super::{
    FIELD_MANAGER, Migration, OBJECTS, Round, Step, objects,
    wire::{Item, List},
};
use crate::{
    cluster::{Class, Error},
    domain::storage::{Definition, Mark, Progress},
};

/// Objects of a page. After each, the place is kept.
pub const PAGE: u32 = 200;
/// Most objects that are named where they could not be written.
const NAMED: usize = 10;
/// An answer of which nothing is read.
const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

impl Migration<'_> {
    /// Writes every object once, from where an earlier round of the same definition was.
    pub(super) async fn write_all(&self, begun: &Definition) -> Result<Round, Error> {
        let fresh = Progress { generation: begun.generation, ..Progress::default() };
        let mut progress = begun.progress().unwrap_or_else(|| fresh.clone());
        let (mut first, mut pace) = (Vec::new(), pace(self.rate));
        loop {
            let listed = match self.page(begun, &progress.token).await {
                Ok(listed) => listed,
                // The snapshot that the token speaks of is gone: what it goes on with is as good, since every object
                // that is written meanwhile is written in the storage version.
                Err(error)
                    if error.has_expired() || error.answer().is_some_and(|it| it.0 == 400) =>
                {
                    let next = error.continuation().map(ToOwned::to_owned);
                    match next {
                        Some(token) => progress.token = token,
                        None if progress.token.is_empty() => return Err(error),
                        None => progress = fresh.clone(),
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            for item in &listed.items {
                pace.tick().await;
                progress.written += 1;
                if let Some(code) = self.write_again(begun, item).await? {
                    progress.refused += 1;
                    if first.len() < NAMED {
                        first.push(format!("{} ({code})", place(item)));
                    }
                }
            }
            let left = listed.metadata.remaining_item_count.and_then(|it| u64::try_from(it).ok());
            (self.tell)(&Step::Wrote { written: progress.written, left });
            match listed.next() {
                Some(token) => progress.token = token,
                None => break,
            }
            self.keep(begun, &progress).await?;
        }
        Ok(Round { written: Some(progress.written), refused: progress.refused, first })
    }

    async fn page(&self, of: &Definition, token: &str) -> Result<List<Item>, Error> {
        let mut params = ListParams::default().limit(PAGE);
        params.continue_token = (!token.is_empty()).then(|| token.to_owned());
        let attempt = format!("list {}", of.plural);
        let build = || objects(of, &of.storage, None).list_metadata(&params);
        self.read(OBJECTS, &attempt, build).await
    }

    /// Writes an object as it is; the answer's code, where the API server will not have it. Whoever wrote it since it was
    /// listed, or deleted it, has spared us that.
    async fn write_again(&self, of: &Definition, item: &Item) -> Result<Option<u16>, Error> {
        let it = &item.metadata;
        let same = json!({"metadata": {"uid": it.uid, "resourceVersion": it.resource_version}});
        let patch = Patch::Merge(same);
        let params =
            PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let attempt = format!("write {} {} as it is", of.plural, place(item));
        let build = || {
            let there = objects(of, &of.storage, it.namespace.as_deref());
            let mut request = there.patch_subresource("status", &it.name, &params, &patch)?;
            let accept = http::HeaderValue::from_static(METADATA_ONLY);
            request.headers_mut().insert(http::header::ACCEPT, accept);
            Ok(request)
        };
        match self.write::<IgnoredAny>(OBJECTS, &attempt, build).await {
            Ok(_) => Ok(None),
            Err(error) => match error.class() {
                Class::Conflict | Class::NotFound => Ok(None),
                Class::Refused => Ok(Some(error.answer().map_or(0, |it| it.0))),
                _ => Err(error),
            },
        }
    }

    /// Keeps the place. Where somebody else wrote the status meanwhile, the next page's place will do.
    async fn keep(&self, begun: &Definition, progress: &Progress) -> Result<(), Error> {
        let Some(found) = self.definition().await?.filter(|it| it.is_still(begun)) else {
            return Ok(());
        };
        match self.mark(&found, &Mark::Under(progress.clone())).await {
            Err(error) if error.class() == Class::Conflict => Ok(()),
            other => other,
        }
    }
}

fn place(item: &Item) -> String {
    let it = &item.metadata;
    it.namespace.as_ref().map_or_else(|| it.name.clone(), |at| format!("{at}/{}", it.name))
}

/// So many a second, and never a burst to catch up.
fn pace(rate: u32) -> Interval {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_migration_writes_at_its_rate_and_makes_up_for_nothing() {
        for (rate, milliseconds) in [(1, 1000), (50, 20), (1000, 1)] {
            let pace = pace(rate);
            assert_eq!(pace.period(), Duration::from_millis(milliseconds), "{rate} a second");
            assert_eq!(pace.missed_tick_behavior(), MissedTickBehavior::Delay);
        }
    }
}

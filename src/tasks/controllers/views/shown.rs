//! What is shown by the views that were listed.

use std::collections::BTreeSet;

use super::View;
use crate::domain::shard::bucket;

/// Views that were listed.
#[derive(Debug, Default)]
pub struct Shown {
    pub views: BTreeSet<View>,
    buckets: BTreeSet<u16>,
}

impl Shown {
    pub fn add(&mut self, view: View) {
        self.views.insert(view);
        self.count();
    }

    pub fn remove(&mut self, view: &View) {
        self.views.remove(view);
        self.count();
    }

    fn count(&mut self) {
        let shards = self.views.iter().filter_map(|it| match it {
            View::Shard(_, buckets) => Some(&**buckets),
            _ => None,
        });
        self.buckets = shards.flatten().copied().collect();
    }

    pub fn has(&self, place: &str) -> bool {
        self.views.contains(&View::All)
            || (self.views.contains(&View::Orphans)
                && (self.buckets.contains(&bucket::of(place))
                    || self.views.contains(&View::Namespace(place.into()))))
    }
}

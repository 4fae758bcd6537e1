//! Who takes part beside the operator: creates Polecats, plays their pods, looks on. Each has connections of its own.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use gastown_testbed::Testbed;
use tokio::task::JoinSet;

use crate::{
    ledger::Ledger,
    load::Load,
    options::Version,
    player::{self, Life},
    sight,
};

/// Without any change for so long, what is not Done is lost.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// They take part until this is dropped.
pub struct Cast {
    pub load: Load,
    pub ledger: Arc<Ledger>,
    _watches: JoinSet<()>,
}

impl Cast {
    /// From now on: what was there before is nobody's business. Polecats are created and seen in this version.
    pub async fn begin(testbed: &Testbed, version: Version, life: Life) -> Result<Self> {
        let ledger = Arc::new(Ledger::new());
        let mut watches = JoinSet::new();
        let observer = testbed.client("observer").await?;
        let pods = sight::version(&observer, sight::PODS).await?;
        let place = sight::polecats(version);
        let from = sight::version(&observer, &place).await?;
        let player = testbed.client("player").await?;
        watches.spawn(player::play(player, ledger.clone(), pods, life));
        watches.spawn(player::observe(observer, ledger.clone(), (place, from)));
        let client = testbed.client("loadgen").await?;
        let load = Load { client, ledger: ledger.clone(), version };
        Ok(Self { load, ledger, _watches: watches })
    }

    /// Waits until all are Done; `false`: nothing has changed for as long as [`PATIENCE`].
    pub async fn all_done(&self) -> Result<bool> {
        self.ledger.until(PATIENCE, |all| all.values().all(|it| it.done.is_some())).await
    }
}

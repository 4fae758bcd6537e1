//! The replicas that are measured: started, counted, ended.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use gastown::domain::{lease::Times, shard::Map};
use gastown_testbed::{Operator, OperatorOptions, Testbed, ask, http_get};

use crate::options::Options;

pub const SHARDS: usize = 64;
/// How long shards may take to be shared out: longer than that takes where the API server gets no processor for a while.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Fleet<'a> {
    testbed: &'a Testbed,
    options: &'a Options,
    pub live: Vec<Operator>,
    made: usize,
}

impl<'a> Fleet<'a> {
    /// So many, with even shares.
    pub async fn start(
        testbed: &'a Testbed,
        options: &'a Options,
        replicas: usize,
    ) -> Result<Self> {
        let mut fleet = Self { testbed, options, live: Vec::new(), made: 0 };
        for _ in 0..replicas {
            fleet.add("first").await?;
        }
        fleet.settled().await?;
        Ok(fleet)
    }

    /// One more, of this build.
    pub async fn add(&mut self, build: &str) -> Result<()> {
        self.made += 1;
        let name = format!("replica-{}", self.made);
        let options = OperatorOptions {
            program: Some(self.options.operator.clone()),
            environment: vec![("POD_UID".into(), format!("uid-{name}"))],
            name,
            flags: vec![
                "--disable-webhooks".into(),
                "--runner-image=registry.example.com/runner:1".into(),
                format!("--shards={SHARDS}"),
                format!("--failover={}", self.options.failover),
                format!("--build={build}"),
            ],
            ..OperatorOptions::default()
        };
        let operator = Operator::start(self.testbed, options).await?;
        operator.wait_ready().await?;
        self.live.push(operator);
        Ok(())
    }

    /// Takes the next victim out, in turn.
    pub fn take(&mut self) -> Result<Operator> {
        if self.live.is_empty() {
            bail!("there is no replica left");
        }
        Ok(self.live.remove(0))
    }

    /// Waits until every replica works in its share, and all of them in every shard.
    pub async fn settled(&self) -> Result<()> {
        self.shared_by(&self.live).await
    }

    /// Waits until these do, and are all that do.
    pub async fn shared_by(&self, some: &[Operator]) -> Result<()> {
        let (least, most) = (SHARDS / some.len(), SHARDS.div_ceil(some.len()));
        let even = ask::answered(PATIENCE, async || {
            let mut all = 0;
            for it in some {
                let owned = shards_of(it).await;
                if !(least..=most).contains(&owned) {
                    return None;
                }
                all += owned;
            }
            (all == SHARDS).then_some(())
        });
        if even.await.is_none() {
            let mut have = Vec::new();
            for it in some {
                have.push(format!("{} has {}", it.name, shards_of(it).await));
            }
            let (seconds, have) = (PATIENCE.as_secs(), have.join(", "));
            bail!("shards were not shared out in {seconds} s: {have}");
        }
        Ok(())
    }
}

/// Makes namespaces, so many for each shard: with as many Polecats in each of them all shards weigh the same, so that shares
/// that are even by weight are even by number.
pub async fn namespaces(testbed: &Testbed, prefix: &str, of_each: usize) -> Result<Vec<String>> {
    let map = Map::first(u16::try_from(SHARDS)?);
    let (mut names, mut have) = (Vec::new(), vec![0; SHARDS]);
    for name in (0..).map(|it| format!("{prefix}-{it:04}")) {
        if names.len() == SHARDS * of_each {
            break;
        }
        let shard = map.shard_of(&name).context("a namespace in no shard")?;
        if let Some(have) = have.get_mut(usize::from(shard.0)).filter(|it| **it < of_each) {
            *have += 1;
            testbed.make_namespace(&name, &[]).await?;
            names.push(name);
        }
    }
    Ok(names)
}

/// The times that the replicas go by.
pub fn times(options: &Options) -> Times {
    if options.failover == "fast" { Times::FAST } else { Times::DEFAULT }
}

/// In how many shards a replica works.
pub async fn shards_of(operator: &Operator) -> usize {
    let Ok((200, text)) = http_get(&operator.metrics).await else { return 0 };
    let owned = text.lines().find_map(|it| it.strip_prefix("gastown_shards_owned "));
    owned.and_then(|it| it.trim().parse().ok()).unwrap_or_default()
}

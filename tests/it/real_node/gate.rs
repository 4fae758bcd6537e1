//! Where agents wait until they may go on: in the check of their repository, which is theirs to run before they commit.

use std::{net::IpAddr, sync::Arc};

use axum::{Router, extract::State, routing::get};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, spawn},
};

use crate::world::PATIENCE;

pub struct Gate {
    /// The check of a repository whose agents wait here.
    pub check: String,
    state: Arc<Waiting>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Waiting {
    agents: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Gate {
    /// At an address that pods can reach.
    pub async fn at(address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let state = Arc::new(Waiting::default());
        let routes = Router::new().route("/", get(wait)).with_state(state.clone());
        let task = spawn(async move { axum::serve(listener, routes).await.unwrap() });
        let check =
            format!("#!/bin/sh\nwget -q -O /dev/null {url} && grep -q Hello greeting.txt\n");
        Self { check, state, task }
    }

    /// Waits until so many agents wait here.
    pub async fn has(&self, agents: usize) {
        let mut there = self.state.agents.subscribe();
        let come = tokio::time::timeout(PATIENCE, there.wait_for(|it| *it == agents)).await;
        assert!(come.is_ok(), "no {agents} agents within {PATIENCE:?}");
    }

    /// Lets all go on.
    pub fn open(&self) {
        self.state.open.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn wait(State(state): State<Arc<Waiting>>) {
    state.agents.send_modify(|it| *it += 1);
    let _ = state.open.subscribe().wait_for(|it| *it).await;
}

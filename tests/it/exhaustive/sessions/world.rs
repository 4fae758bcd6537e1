//! What each event does to the world.

use super::{Owner, Renewal, What, World, Write};

impl World {
    /// Somebody wrote a session's Lease: that replica itself, or the other one who fenced it.
    fn session_written(&mut self, whose: usize) {
        let other = &mut self.replicas[1 - whose];
        other.news = true;
        for it in [&mut other.write, &mut other.late] {
            if let Write::Sent { what: What::Fence, current } = it {
                *current = false;
            }
        }
    }

    fn shard_written(&mut self, by: usize, owner: Owner) {
        self.owner = owner;
        self.replicas[1 - by].owner_news = true;
        for it in &mut self.replicas {
            for it in [&mut it.write, &mut it.late] {
                if let Write::Sent { what: What::Take | What::Release, current } = it {
                    *current = false;
                }
            }
        }
    }

    /// A write arrives at the storage; says whether it was accepted.
    pub fn store(&mut self, by: usize, what: What, current: bool) -> bool {
        match what {
            _ if !current => {}
            What::Take => self.shard_written(by, Owner::Session(by)),
            What::Release => self.shard_written(by, Owner::Nobody),
            What::Fence => {
                self.fenced[1 - by] = true;
                self.session_written(1 - by);
            }
        }
        current
    }

    /// An answer is heard.
    pub fn hear(&mut self, i: usize) {
        let it = &mut self.replicas[i];
        if let Write::Answered { what, accepted: true } = it.write {
            match what {
                What::Take => (it.holds, it.owner) = (true, Owner::Session(i)),
                What::Release => it.owner = Owner::Nobody,
                What::Fence => (it.other_fenced, it.still) = (true, 0),
            }
        }
        it.write = Write::None;
    }

    /// What was stored without an answer is told by the watch.
    pub fn unheard(&mut self, i: usize, what: What) {
        let it = &mut self.replicas[i];
        match what {
            What::Fence => it.news = true,
            What::Take | What::Release => it.owner_news = true,
        }
    }

    pub fn send(&mut self, i: usize, what: What) {
        let it = &mut self.replicas[i];
        let current = match what {
            What::Fence => !it.news,
            What::Take | What::Release => !it.owner_news,
        };
        if what == What::Release {
            it.holds = false;
        }
        it.write = Write::Sent { what, current };
    }

    pub fn see_session(&mut self, i: usize) {
        let it = &mut self.replicas[i];
        (it.news, it.still, it.other_fenced) = (false, 0, self.fenced[1 - i]);
    }

    /// What is newer than an answer to come outdoes it.
    pub fn see_shard(&mut self, i: usize) {
        let owner = self.owner;
        let it = &mut self.replicas[i];
        (it.owner, it.owner_news) = (owner, false);
        if let Write::Answered { what, accepted } = &mut it.write {
            *accepted &= match what {
                What::Take => owner == Owner::Session(i),
                What::Release => false,
                What::Fence => true,
            };
        }
    }

    pub fn store_renewal(&mut self, i: usize) {
        let Renewal::Sent(age) = self.replicas[i].renewal else { return };
        self.replicas[i].renewal =
            if self.fenced[i] { Renewal::Refused } else { Renewal::Accepted(age) };
        if !self.fenced[i] {
            self.session_written(i);
        }
    }

    /// A session of another name; what the one before owned belongs to nobody who lives.
    pub fn anew(&mut self, i: usize) {
        let it = &mut self.replicas[i];
        (it.holds, it.busy, it.age, it.renewal) = (false, false, 0, Renewal::None);
        // A taking for the old session that arrives yet makes an owner who does not live.
        if let Write::Sent { what: what @ What::Take, .. } = &mut it.late {
            *what = What::Release;
        }
        self.fenced[i] = false;
        let [a, b] = &mut self.replicas;
        for it in [&mut self.owner, &mut a.owner, &mut b.owner] {
            if *it == Owner::Session(i) {
                *it = Owner::Left;
            }
        }
        self.session_written(i);
        // What was known or is told yet of the old session says nothing of this one, which has another name.
        let other = &mut self.replicas[1 - i];
        (other.other_fenced, other.still) = (false, 0);
        if let Write::Answered { what: What::Fence, accepted } = &mut other.write {
            *accepted = false;
        }
    }
}

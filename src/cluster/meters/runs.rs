//! How runs end, by Rig: counted from zero for as long as the Rig is there.

use super::{Meters, Run};

pub const DONE: &str = "done";
pub const STUCK: &str = "stuck";
const ENDS: [&str; 2] = [DONE, STUCK];

impl Meters {
    /// Counts the runs of a Rig that is there; of all that are not where the name is empty.
    pub fn rig_begins(&self, rig: &str) {
        for result in ENDS {
            drop(self.runs.get_or_create(&Run { rig: rig.to_owned(), result }));
        }
    }

    /// What was counted of a Rig goes with it.
    pub fn rig_goes(&self, rig: &str) {
        for result in ENDS {
            self.runs.remove(&Run { rig: rig.to_owned(), result });
        }
    }
}

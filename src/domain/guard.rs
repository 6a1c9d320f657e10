//! What holds changes back: a bad merge must not take a gateway down.

use std::{fmt, time::Duration};

/// Which changes of a stack wait for an approval, beyond what its deletion budget holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequireApproval {
    /// Every write, except one that puts back what was changed by hand: that was approved before.
    Always,
    /// Every deletion.
    Deletions,
    /// None.
    #[default]
    Never,
}

impl RequireApproval {
    pub const WORDS: [(&'static str, Self); 3] = [
        ("always", Self::Always),
        ("deletions", Self::Deletions),
        ("never", Self::Never),
    ];
}

/// How many deletions a stack may do unasked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Deletions within 24 hours that go through unasked.
    pub limit: usize,
    /// Objects that the stack owns now.
    pub owned: usize,
    /// Deletions of the stack in the last 24 hours.
    pub recent: usize,
}

/// Why deletions wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdraft {
    /// Git wants nothing at all: far more often a mistake than a wish.
    EmptyDesired {
        owned: usize,
    },
    OverLimit {
        planned: usize,
        budget: Budget,
    },
    /// At least two, and half or more of everything.
    OverHalf {
        planned: usize,
        budget: Budget,
    },
}

/// Judges the deletions of one plan together: they all go, or all wait.
pub fn judge(planned: usize, desired: usize, budget: Budget) -> Option<Overdraft> {
    let Budget {
        limit,
        owned,
        recent,
    } = budget;
    if planned == 0 {
        return None;
    }
    if desired == 0 {
        return Some(Overdraft::EmptyDesired { owned });
    }
    let total = planned + recent;
    if total > limit {
        return Some(Overdraft::OverLimit { planned, budget });
    }
    // What was deleted today was owned this morning.
    if total >= 2 && total * 2 >= owned + recent {
        return Some(Overdraft::OverHalf { planned, budget });
    }
    None
}

impl fmt::Display for Overdraft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let deletions = |planned: usize| match planned {
            1 => "1 deletion".to_owned(),
            many => format!("{many} deletions"),
        };
        let recently = |recent: usize| {
            if recent == 0 {
                String::new()
            } else {
                format!(" after {recent} in the last 24 hours")
            }
        };
        match self {
            Self::EmptyDesired { owned } => write!(
                f,
                "the branch describes no objects at all, and the stack owns {owned}"
            ),
            Self::OverLimit { planned, budget } => write!(
                f,
                "{}{} are more than the stack's limit of {}",
                deletions(*planned),
                recently(budget.recent),
                budget.limit
            ),
            Self::OverHalf { planned, budget } => write!(
                f,
                "{}{} are half or more of the {} objects that the stack owns",
                deletions(*planned),
                recently(budget.recent),
                budget.owned
            ),
        }
    }
}

/// How long the next revert of an object waits that was changed by hand and put back so many
/// times within [`FLAPPING_WITHIN`]: somebody or something else writes it, and two writers that
/// undo each other at full speed help nobody. 10 minutes from the third time on, doubling to 6 h.
pub fn flapping(reverts: i64) -> Option<Duration> {
    const FIRST: Duration = Duration::from_mins(10);
    const LONGEST: Duration = Duration::from_hours(6);
    let doublings = u32::try_from(reverts - 3).ok()?;
    Some(FIRST.saturating_mul(1 << doublings.min(10)).min(LONGEST))
}

pub const FLAPPING_WITHIN: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_is_put_back_again_and_again_is_put_back_ever_later() {
        let minutes: Vec<Option<u64>> = (0..10)
            .map(|reverts| flapping(reverts).map(|wait| wait.as_secs() / 60))
            .collect();
        assert_eq!(
            minutes,
            [
                None,
                None,
                None,
                Some(10),
                Some(20),
                Some(40),
                Some(80),
                Some(160),
                Some(320),
                Some(360)
            ]
        );
    }

    #[test]
    fn deletions_go_through_within_the_budget_only() {
        let cases = [
            // planned, desired, limit, owned, recent, held
            (0, 0, 3, 0, 0, false),
            (1, 9, 3, 10, 0, false),
            (3, 7, 3, 10, 0, false),
            (4, 96, 3, 100, 0, true),
            (1, 96, 3, 97, 3, true),
            (1, 0, 3, 1, 0, true),
            (1, 1, 3, 2, 0, false),
            (2, 2, 3, 4, 0, true),
            (2, 3, 3, 5, 0, false),
            (1, 2, 3, 3, 1, true),
            (50, 950, 100, 1000, 0, false),
        ];
        for (planned, desired, limit, owned, recent, held) in cases {
            let budget = Budget {
                limit,
                owned,
                recent,
            };
            assert_eq!(
                judge(planned, desired, budget).is_some(),
                held,
                "{planned} of {owned}, {desired} desired, {recent} recent, limit {limit}"
            );
        }
    }
}
